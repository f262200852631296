//! Reads every picture of tests/identity with the confined child as it is shipped, and prints the table
//! of docs/identity.md: `make bench-id`.
//!
//! `STEP=10` takes every tenth picture. Beside it stands what `tesseract` makes of every tenth, told
//! nothing of where the zone is. `KLUIS_SIGHTS=FOLDER` keeps what was read there, and what it finds there it
//! does not read again: an hour that broke off goes on, and what only judges is measured in seconds.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kluis::identity::document::{self, Conclusion, Sight};
use kluis::identity::evidence::{Known, Standing};
use kluis::identity::mrz;
use kluis::sandbox::{Limits, Sandbox};
use pictures::{Picture, Third};

const TODAY: jiff::civil::Date = jiff::civil::date(2026, 11, 30);
/// Of how many pictures one is shown to tesseract.
const TESSERACT: u64 = 10;

/// What a picture comes to, and how long it took unless it was read before.
type Look<'a> = dyn Fn(&[u8]) -> (Conclusion, Option<Duration>) + 'a;

/// What came of a set of pictures.
#[derive(Default)]
struct Tally {
    pictures: u64,
    checks: u64,
    fields: u64,
    /// Pictures with a wrong field that was called consistent.
    lies: u64,
    specimens: u64,
    times: Vec<Duration>,
    causes: BTreeMap<String, u64>,
    tesseract: (u64, u64),
}

fn main() {
    // `make bench` runs all benchmarks; this one takes an hour.
    if std::env::var_os("KLUIS_BENCH_ID").is_none() {
        println!("identity: `make bench-id` runs it");
        return;
    }
    let step = std::env::var("STEP").ok().and_then(|step| step.parse().ok()).unwrap_or(1);
    let models = std::env::var_os("KLUIS_MODELS")
        .map_or_else(|| PathBuf::from("/usr/share/kluis/models"), PathBuf::from);
    let args = vec![OsString::from("confined-look"), models.into_os_string()];
    let limits = Limits { wall: Duration::from_secs(20), answer: 1 << 20 };
    let sandbox = Sandbox::new(env!("CARGO_BIN_EXE_kluis").into(), args, 1, limits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runs");
    let kept = std::env::var_os("KLUIS_SIGHTS").map(PathBuf::from);
    // The child lives on for many pictures, and another one takes its place.
    let most = Cell::new(0u64);
    let look = |bytes: &[u8]| -> (Conclusion, Option<Duration>) {
        let judged = |cbor: &[u8]| {
            let sight = Sight::from_bytes(cbor).expect("is a sight");
            document::conclude(&sight, Known { today: TODAY, names: &[] })
        };
        let path = kept.as_ref().map(|kept| kept.join(blake3::hash(bytes).to_hex().as_str()));
        if let Some(sight) = path.as_ref().and_then(|path| std::fs::read(path).ok()) {
            return (judged(&sight), None);
        }
        let begun = Instant::now();
        match runtime.block_on(sandbox.run(bytes)) {
            Ok(cbor) => {
                let took = begun.elapsed();
                most.set(most.get().max(peak().unwrap_or(0)));
                path.iter().for_each(|path| std::fs::write(path, &cbor).expect("is kept"));
                (judged(&cbor), Some(took))
            }
            Err(failure) => {
                println!("the child: {failure}");
                let nothing = Conclusion::empty(kluis::identity::evidence::Verdict::Unreadable);
                (nothing, Some(begun.elapsed()))
            }
        }
    };
    let mut tallies = Vec::new();
    for third in Third::ALL {
        let mut tally = Tally::default();
        for nr in (0..pictures::PER_THIRD).step_by(step) {
            let picture = pictures::picture(third, nr);
            tally.add(&picture, &look, &format!("{} {nr}", third.word()));
            if nr % TESSERACT == 0 {
                tally.tesseract.1 += 1;
                tally.tesseract.0 += u64::from(tesseract(&picture).unwrap_or(false));
            }
        }
        tallies.push((third.word(), tally));
    }
    let mut altered = Tally::default();
    for nr in (0..pictures::ALTERED).step_by(step) {
        altered.add(&pictures::altered(nr), &look, &format!("altered {nr}"));
    }
    let (mut others, mut taken) = (0u64, 0u64);
    for nr in (0..pictures::OTHERS).step_by(step) {
        let (bytes, _, kind) = pictures::other(nr);
        let verdict = look(&bytes).0.evidence.verdict.word();
        others += 1;
        if !matches!(verdict, "not a document" | "unreadable" | "not read") {
            taken += 1;
            println!("other {nr} ({kind}): {verdict}");
        }
    }
    println!(
        "| | pictures | all check digits | all fields | wrong field called consistent | median s | longest s | tesseract: check digits |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (word, tally) in &mut tallies {
        tally.print(word);
    }
    println!("| altered | {} | | | {} | | | |", altered.pictures, altered.lies);
    println!();
    println!("{taken} of {others} other pictures and pages were called documents");
    let specimens: u64 = tallies.iter().map(|(_, tally)| tally.specimens).sum();
    println!("{specimens} of the documents were seen to be specimens; all are");
    println!("peak memory of the child: {} MB", most.get());
    for (word, tally) in &tallies {
        for (cause, count) in &tally.causes {
            println!("failures, {word}: {count} {cause}");
        }
    }
    runtime.block_on(sandbox.dismiss());
}

impl Tally {
    fn add(&mut self, picture: &Picture, look: &Look<'_>, name: &str) {
        let (found, took) = look(&picture.bytes);
        self.times.extend(took);
        self.pictures += 1;
        let fits = found.mrz.as_ref().is_some_and(mrz::Mrz::fits);
        let field =
            |name: &str| found.evidence.fields.iter().find(|field| field.name.word() == name);
        let value = |name: &str| field(name).map_or("", |field| field.value.as_str());
        let wrong: Vec<&str> = picture
            .truth
            .fields()
            .into_iter()
            .filter(|(name, truth)| value(name) != *truth)
            .map(|(name, _)| name)
            .collect();
        let is_lie = |name: &&str| {
            field(name).is_some_and(|field| matches!(field.standing, Standing::Consistent(_)))
        };
        let lies = wrong.iter().copied().chain(picture.altered).filter(is_lie).count();
        self.checks += u64::from(fits);
        self.fields += u64::from(fits && wrong.is_empty());
        self.lies += u64::from(lies > 0);
        self.specimens += u64::from(found.evidence.verdict.word() == "specimen");
        if lies > 0 {
            println!("{name} ({}): a wrong field is called consistent", picture.kind);
        }
        if picture.altered.is_none() && !(fits && wrong.is_empty()) {
            let what = if found.mrz.is_none() {
                "no zone".to_owned()
            } else if fits {
                format!("wrong {}", wrong.join(", "))
            } else {
                "check digits".to_owned()
            };
            println!("{name} ({}): {what}", picture.kind);
            for (field, truth) in picture.truth.fields() {
                if wrong.contains(&field) && found.mrz.is_some() {
                    println!("    {field}: {:?} was read {:?}", truth, value(field));
                }
            }
            *self.causes.entry(format!("{}: {what}", picture.kind)).or_default() += 1;
        }
    }

    fn print(&mut self, word: &str) {
        self.times.sort();
        let of = |count: u64| format!("{:.1} %", count as f64 * 100.0 / self.pictures as f64);
        let seconds = |at: usize| self.times.get(at).map_or(0.0, Duration::as_secs_f64);
        println!(
            "| {word} | {} | {} | {} | {} | {:.2} | {:.2} | {} of {} |",
            self.pictures,
            of(self.checks),
            of(self.fields),
            self.lies,
            seconds(self.times.len() / 2),
            seconds(self.times.len().saturating_sub(1)),
            self.tesseract.0,
            self.tesseract.1,
        );
    }
}

/// Whether what tesseract reads of a picture has a zone whose check digits fit.
fn tesseract(picture: &Picture) -> Option<bool> {
    if picture.extension == "pdf" {
        return None;
    }
    let path =
        std::env::temp_dir().join(format!("kluis-id-{}.{}", std::process::id(), picture.extension));
    std::fs::write(&path, &picture.bytes).ok()?;
    let output = Command::new("tesseract")
        .arg(&path)
        .args(["-", "--psm", "6"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let _ = std::fs::remove_file(&path);
    let text = String::from_utf8_lossy(&output.ok()?.stdout).into_owned();
    let text: String = text.chars().take(4000).collect();
    Some(mrz::read(&text, TODAY).is_ok_and(|mrz| mrz.fits()))
}

/// The most memory that a child of this process had, in megabytes.
fn peak() -> Option<u64> {
    let own = std::process::id().to_string();
    let status = |folder: PathBuf| std::fs::read_to_string(folder.join("status")).ok();
    let line = |status: &str, name: &str| -> Option<String> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1).map(ToOwned::to_owned)
    };
    std::fs::read_dir(Path::new("/proc"))
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| status(entry.path()))
        .filter(|status| line(status, "PPid:").as_deref() == Some(&own))
        .filter_map(|status| line(&status, "VmHWM:")?.parse::<u64>().ok())
        .max()
        .map(|kilobytes| kilobytes / 1000)
}
