//! `kluis bench`: how fast the vault is on this machine, and what the machine would allow.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::fs::MemfdFlags;
use serde_json::{Map, Value};

use super::{Error, Report, print};
use crate::ids::VaultId;
use crate::store::bench::{self, Part};
use crate::store::{GetError, PutError, Store};

/// Measure this machine: hash, cipher, disk, and the whole vault
///
/// Seals random content to nowhere and into a throwaway vault, reads it back, and measures what the
/// parts and the disk do by themselves. Nothing of it stays. Each figure is the median of its
/// rounds, in GB/s: 10^9 bytes a second.
///
/// The ceiling is what the cores could do if sealing were nothing but its parts: for each core
/// 1 / (1/hash + 1/cipher + 1/checksum + 1/copy), each part measured on 256 KiB in the cache.
/// `put to nowhere` comes close to it; `put to disk` is done when all of it is durable, and the disk
/// is written past the page cache, as `dd bs=4M oflag=direct` does.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis bench --dir /var/lib/kluis\n  kluis bench --json --size 256MiB"
)]
pub(super) struct Bench {
    /// Where the throwaway vault is made: the disk that is measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// How much content: bytes, or with KiB, MiB, GiB. Needs so much memory, and twice as much disk
    #[arg(long, default_value = "1GiB")]
    size: Size,
    /// How often each figure is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

/// A number of bytes, as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u64);

/// The least content that says something.
const LEAST: u64 = 1 << 20;
/// The most content.
const MOST: u64 = 1 << 40;

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match text[digits.len()..].trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err("a number of bytes, KiB, MiB or GiB is wanted"),
        };
        let number: u64 = digits.parse().map_err(|_| "a whole number is wanted")?;
        let size = number.checked_mul(unit).filter(|size| (LEAST..=MOST).contains(size));
        size.map(Self).ok_or("between 1 MiB and 1024 GiB")
    }
}

/// How long one round of a part is measured.
const PART_TIME: Duration = Duration::from_millis(120);
/// 10^9 bytes.
const GB: f64 = 1e9;

impl Bench {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let bar = progress(json, 5 * u64::from(self.rounds) + 4);
        let place = Place::new(&self.dir)?;
        let content = content(self.size.0)?;
        bar.inc(1);
        let mut figures = Figures::default();
        for _ in 0..self.rounds {
            for (name, part) in PARTS {
                let rate = bench::part(part, &content, PART_TIME).map_err(unreadable)?;
                figures.add(name, rate / GB);
            }
            bar.inc(1);
        }
        let ceiling = figures.ceiling() * cores as f64;
        self.measure_put_nowhere(&content, &bar, &mut figures)?;
        self.measure_disk(&place, &content, &bar, &mut figures)?;
        self.measure_get(&place, &content, &bar, &mut figures)?;
        bar.finish_and_clear();
        Ok(figures.report(cores, ceiling, peak_memory()))
    }

    fn measure_put_nowhere(
        &self,
        content: &File,
        bar: &ProgressBar,
        figures: &mut Figures,
    ) -> Result<(), Error> {
        bench::put_nowhere(content)?;
        for _ in 0..self.rounds {
            let start = Instant::now();
            bench::put_nowhere(content)?;
            figures.add("put_null_gbps", self.rate(start.elapsed()));
            bar.inc(1);
        }
        Ok(())
    }

    /// The disk by itself and a put, one after the other: what slows the disk down slows both.
    fn measure_disk(
        &self,
        place: &Place,
        content: &File,
        bar: &ProgressBar,
        figures: &mut Figures,
    ) -> Result<(), Error> {
        for round in 0..self.rounds {
            let (took, is_direct) = bench::write_disk(&place.0.join("disk"), self.size.0)?;
            figures.add("disk_gbps", self.rate(took));
            figures.is_direct = is_direct;
            let vault = place.0.join(format!("put-{round}"));
            let store = Store::create(&vault, &vault.join("key"), VaultId::random())?;
            let start = Instant::now();
            bench::put(&store, content)?;
            figures.add("put_disk_gbps", self.rate(start.elapsed()));
            drop(store);
            place.remove(&vault)?;
            bar.inc(1);
        }
        Ok(())
    }

    /// Reads back what is in the page cache, so that the disk is left out, and seals it anew.
    fn measure_get(
        &self,
        place: &Place,
        content: &File,
        bar: &ProgressBar,
        figures: &mut Figures,
    ) -> Result<(), Error> {
        let vault = place.0.join("get");
        let store = Store::create(&vault, &vault.join("key"), VaultId::random())?;
        let stored = bench::put(&store, content)?;
        let read = || store.get(&stored.keys, stored.length, &mut |_| Ok(()));
        read()?;
        bar.inc(1);
        for _ in 0..self.rounds {
            let start = Instant::now();
            read()?;
            figures.add("get_null_gbps", self.rate(start.elapsed()));
            bar.inc(1);
            let start = Instant::now();
            bench::renew_nowhere(&store, &stored.keys)?;
            figures.add("reseal_null_gbps", self.rate(start.elapsed()));
            bar.inc(1);
        }
        Ok(())
    }

    fn rate(&self, took: Duration) -> f64 {
        self.size.0 as f64 / took.as_secs_f64() / GB
    }
}

const PARTS: [(&str, Part); 4] = [
    ("blake3_gbps", Part::Hash),
    ("aes256gcm_gbps", Part::Cipher),
    ("crc_gbps", Part::Checksum),
    ("copy_gbps", Part::Copy),
];

/// What was measured, by name, every round of it.
#[derive(Default)]
struct Figures {
    rounds: Vec<(&'static str, Vec<f64>)>,
    /// The disk was written past the page cache.
    is_direct: bool,
}

impl Figures {
    fn add(&mut self, name: &'static str, figure: f64) {
        match self.rounds.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rounds)) => rounds.push(figure),
            None => self.rounds.push((name, vec![figure])),
        }
    }

    /// The median of the rounds; 0 where there were none.
    fn of(&self, name: &str) -> f64 {
        let found = self.rounds.iter().find(|(known, _)| *known == name);
        let mut rounds = found.map(|(_, rounds)| rounds.clone()).unwrap_or_default();
        rounds.sort_unstable_by(f64::total_cmp);
        rounds.get(rounds.len() / 2).copied().unwrap_or(0.0)
    }

    /// What one core could do if there were nothing but the parts.
    fn ceiling(&self) -> f64 {
        1.0 / PARTS.iter().map(|(name, _)| 1.0 / self.of(name)).sum::<f64>()
    }

    fn report(&self, cores: usize, ceiling: f64, peak: Option<u64>) -> Report {
        let figure = |name: &str| format!("{:.2} GB/s", self.of(name));
        let share = |name: &str, of: f64| format!("{:.0} %", 100.0 * self.of(name) / of);
        let of_ceiling = |name: &str| format!("{} of the ceiling", share(name, ceiling));
        let of_disk = format!("{} of the disk", share("put_disk_gbps", self.of("disk_gbps")));
        let of_get = format!("{} of get", share("reseal_null_gbps", self.of("get_null_gbps")));
        let cached = if self.is_direct { "" } else { "through the page cache" };
        let rows: [(&str, String, String); 10] = [
            ("hash (BLAKE3)", figure("blake3_gbps"), "one core".into()),
            ("cipher (AES-256-GCM)", figure("aes256gcm_gbps"), "one core".into()),
            ("checksum (CRC-32C)", figure("crc_gbps"), "one core".into()),
            ("copy", figure("copy_gbps"), "one core".into()),
            ("ceiling", format!("{ceiling:.2} GB/s"), print::count(cores as u64, "core", "cores")),
            ("put to nowhere", figure("put_null_gbps"), of_ceiling("put_null_gbps")),
            ("get from memory", figure("get_null_gbps"), of_ceiling("get_null_gbps")),
            ("seal anew from memory", figure("reseal_null_gbps"), of_get),
            ("disk", figure("disk_gbps"), cached.into()),
            ("put to disk", figure("put_disk_gbps"), of_disk),
        ];
        let mut rows: Vec<Vec<String>> =
            rows.into_iter().map(|(name, figure, note)| vec![name.into(), figure, note]).collect();
        if let Some(peak) = peak {
            rows.push(vec!["memory".into(), format!("{} MiB", peak >> 20), "at most".into()]);
        }
        let mut json = Map::new();
        for (name, _) in &self.rounds {
            json.insert((*name).into(), rounded(self.of(name)));
        }
        json.insert("cores".into(), cores.into());
        json.insert("ceiling_gbps".into(), rounded(ceiling));
        json.insert("peak_rss_bytes".into(), peak.into());
        Report::new(print::table(&["", "", ""], &rows), Value::Object(json))
    }
}

fn rounded(figure: f64) -> Value {
    ((figure * 1000.0).round() / 1000.0).into()
}

/// Random content in memory that is no memory of ours: read like a file in the page cache.
fn content(size: u64) -> Result<File, Error> {
    let failed = |error: io::Error| Error::io("memory for the content", &error);
    let descriptor = rustix::fs::memfd_create("kluis-bench", MemfdFlags::CLOEXEC);
    let mut file = File::from(descriptor.map_err(|errno| failed(errno.into()))?);
    let mut random = blake3::Hasher::new().update(&crate::ids::random::<32>()).finalize_xof();
    let mut piece = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let some = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        random.fill(&mut piece[..some]);
        file.write_all(&piece[..some]).map_err(failed)?;
        left -= some as u64;
    }
    Ok(file)
}

/// A directory of our own that is gone afterwards.
struct Place(PathBuf);

impl Place {
    fn new(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(format!(".kluis-bench-{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::io(path.display(), &error).hint("--dir names another place"))?;
        Ok(Self(path))
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        fs::remove_dir_all(path).map_err(|error| Error::io(path.display(), &error))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The most memory that this process ever had (`VmHWM`), in bytes.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn unreadable(error: io::Error) -> Error {
    Error::io("the content", &error)
}

impl From<PutError> for Error {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Source(error) => unreadable(error),
            PutError::Store(error) => error.into(),
        }
    }
}

impl From<GetError> for Error {
    fn from(error: GetError) -> Self {
        match error {
            GetError::Sink(error) => unreadable(error),
            GetError::Store(error) => error.into(),
        }
    }
}

/// A bar on standard error; none for programs, and none where there is no terminal.
fn progress(json: bool, steps: u64) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {percent} % {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_as_people_write_it() {
        for (text, size) in [
            ("1048576", Some(1 << 20)),
            ("1MiB", Some(1 << 20)),
            ("3 GiB", Some(3 << 30)),
            ("2048KiB", Some(2 << 20)),
            ("1MB", None),
            ("MiB", None),
            ("12", None),
            ("-1GiB", None),
            ("99999999999999999999GiB", None),
        ] {
            assert_eq!(text.parse().ok().map(|Size(size)| size), size, "{text}");
        }
    }

    #[test]
    fn the_figure_is_the_median_and_the_ceiling_less_than_any_part() {
        let mut figures = Figures::default();
        for round in [5.0, 1.0, 4.0] {
            for (name, _) in PARTS {
                figures.add(name, round);
            }
        }
        assert!((figures.of("crc_gbps") - 4.0).abs() < 1e-9);
        assert!((figures.ceiling() - 1.0).abs() < 1e-9);
        assert!(figures.of("disk_gbps").abs() < 1e-9);
    }
}
