//! `kluis id FILE`: pictures of documents that nobody has, read by the program as it is shipped.
//!
//! The whole set is measured by `make bench-id`; here is a part of it, and what must never happen: a
//! wrong field that is called consistent, a page that is called a document, a file that takes more
//! than its time.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kluis::sandbox::Failure;
use pictures::{Third, canvas, degrade};
use serde_json::Value;
use tempfile::TempDir;

/// Pictures of each third that are read here: 60 with those below.
const EACH: u64 = 15;
/// Altered cards, and pictures that are no documents.
const ALTERED: u64 = 5;
const OTHERS: u64 = 10;
/// The most that a file may take, the start of the program included: the child is killed after 20 s.
const LONGEST: Duration = Duration::from_secs(40);

/// How often a file is read whose time was over.
const TRIES: u32 = 3;

/// The folder of the models; a line that says that the test was skipped if they are not there.
pub(crate) fn models(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("KLUIS_MODELS")
        .map_or_else(|| PathBuf::from("/usr/share/kluis/models"), PathBuf::from);
    if folder.join("ch_PP-OCRv4_rec_infer.onnx").exists() {
        return Some(folder);
    }
    println!("SKIPPED {test} the models are not there: kluis doctor --fetch-models");
    None
}

/// Whether the fonts of the pictures are there.
pub(crate) fn fonts(test: &str) -> bool {
    let missing = canvas::FONTS.iter().find(|font| !std::path::Path::new(font).exists());
    if missing.is_some() {
        println!("SKIPPED {test} fonts-ocr-b, fonts-liberation2 or fonts-dejavu-core is missing");
    }
    missing.is_none()
}

/// The exit code and JSON of `kluis id` for these bytes, and how long it took.
pub(crate) fn id(bytes: &[u8], environment: &[(&str, &str)]) -> (Option<i32>, Value, Duration) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("file");
    fs::write(&path, bytes).expect("is written");
    let mut tries = 0;
    loop {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kluis"));
        command.args(["id", "--json"]).arg(&path).stdin(Stdio::null());
        command.envs(environment.iter().copied());
        let output = command.output().expect("runs");
        let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        let json: Value = serde_json::from_slice(&text).expect("is JSON");
        // On a machine that does much else 20 seconds may be little; a file that hangs never ends.
        tries += 1;
        let is_late = json["reason"] == Failure::TimedOut.to_string();
        if !is_late || tries == TRIES {
            return (output.status.code(), json, begun.elapsed());
        }
    }
}

/// Fields that were read otherwise than they were drawn and that are called consistent all the same.
fn lies(json: &Value, picture: &pictures::Picture) -> Vec<String> {
    let is_lie = |(name, value): &(&str, &str)| {
        let wrong = json["fields"][name].as_str().unwrap_or_default() != *value
            || picture.altered == Some(*name);
        wrong && json["evidence"][name]["standing"] == "consistent"
    };
    let fields = picture.truth.fields();
    fields.iter().filter(|field| is_lie(field)).map(|(name, _)| (*name).to_owned()).collect()
}

/// Reads a part of a third; gives how many checked, and how many had all fields right.
fn third(third: Third) -> (u64, u64) {
    let (mut checked, mut right) = (0, 0);
    for nr in 0..EACH {
        let picture = pictures::picture(third, nr);
        let (_, json, took) = id(&picture.bytes, &[]);
        assert!(took < LONGEST, "{nr} took {took:?}");
        let checks = json["checks"].as_object();
        let fits =
            checks.is_some_and(|all| !all.is_empty() && all.values().all(|fits| fits == true));
        let fields = picture.truth.fields();
        let all = fields
            .iter()
            .all(|(name, value)| json["fields"][name].as_str().unwrap_or_default() == *value);
        assert_eq!(lies(&json, &picture), Vec::<String>::new(), "{} {nr}", third.word());
        checked += u64::from(fits);
        right += u64::from(fits && all);
        if !(fits && all) {
            println!("{} {nr} ({}): {}", third.word(), picture.kind, json["verdict"]);
        }
    }
    (checked, right)
}

#[test]
fn cards_that_are_easy_to_read_are_read_whole() {
    let name = "cards_that_are_easy_to_read_are_read_whole";
    if fonts(name) && models(name).is_some() {
        let (checked, right) = third(Third::Easy);
        assert!(checked == EACH && right == EACH, "{checked} and {right} of {EACH}");
    }
}

#[test]
fn cards_on_a_desk_are_read() {
    let name = "cards_on_a_desk_are_read";
    if fonts(name) && models(name).is_some() {
        let (checked, right) = third(Third::Middle);
        assert!(checked + 1 >= EACH && right + 2 >= EACH, "{checked} and {right} of {EACH}");
    }
}

#[test]
fn poor_pictures_and_scans_are_mostly_read_and_never_misjudged() {
    let name = "poor_pictures_and_scans_are_mostly_read_and_never_misjudged";
    if fonts(name) && models(name).is_some() {
        let (checked, right) = third(Third::Hard);
        assert!(checked + 3 >= EACH && right + 4 >= EACH, "{checked} and {right} of {EACH}");
    }
}

#[test]
fn what_was_altered_is_never_borne_out() {
    let name = "what_was_altered_is_never_borne_out";
    if !fonts(name) || models(name).is_none() {
        return;
    }
    for nr in 0..ALTERED {
        let picture = pictures::altered(nr);
        let (code, json, _) = id(&picture.bytes, &[]);
        assert_eq!(lies(&json, &picture), Vec::<String>::new(), "{nr} {}", picture.kind);
        assert_eq!(code, Some(1), "{nr}");
        let field = picture.altered.expect("is altered");
        assert_ne!(json["evidence"][field]["standing"], "consistent", "{nr} {field}");
    }
}

#[test]
fn other_pages_and_pictures_are_no_documents() {
    let name = "other_pages_and_pictures_are_no_documents";
    if !fonts(name) || models(name).is_none() {
        return;
    }
    for nr in 0..OTHERS {
        let (bytes, _, kind) = pictures::other(nr);
        let (code, json, _) = id(&bytes, &[]);
        let verdict = json["verdict"].as_str().unwrap_or_default();
        assert!(matches!(verdict, "not a document" | "unreadable"), "{kind}: {json}");
        assert_eq!(code, Some(1));
    }
}

#[test]
fn without_the_models_nothing_is_read_and_it_says_so() {
    let nowhere = TempDir::new().expect("a folder");
    let folder = nowhere.path().to_str().expect("is text");
    let (code, json, _) = id(b"\xff\xd8\xff\xe0", &[("KLUIS_MODELS", folder)]);
    assert_eq!((code, &json["verdict"]), (Some(1), &Value::from("not read")));
    assert!(json["reason"].as_str().is_some_and(|why| why.contains("--fetch-models")));
    // A file that has the right name is not taken for a model.
    for name in ["ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx"] {
        fs::write(nowhere.path().join(name), b"no model").expect("is written");
    }
    let (_, json, _) = id(b"\xff\xd8\xff\xe0", &[("KLUIS_MODELS", folder)]);
    assert_eq!(json["verdict"], "not read");
    let package = nowhere.path().join("package.whl");
    fs::write(&package, b"PK\x05\x06 another package").expect("is written");
    let output = Command::new(env!("CARGO_BIN_EXE_kluis"))
        .args(["doctor", "--fetch-models", "--from"])
        .arg(&package)
        .env("KLUIS_MODELS", folder)
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint:"));
}

#[test]
fn a_heic_picture_that_is_none_is_unreadable_or_it_is_said_what_to_install() {
    let name = "a_heic_picture_that_is_none_is_unreadable_or_it_is_said_what_to_install";
    if models(name).is_none() {
        return;
    }
    let (code, json, _) = id(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", &[]);
    assert_eq!(code, Some(1));
    if kluis::sandbox::heif::is_there() {
        assert_eq!(json["verdict"], "unreadable", "{json}");
    } else {
        let hint = json["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("libheif-examples"), "{json}");
    }
}

/// A PNG of 65 bytes or so that claims this many pixels.
pub(crate) fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], body: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(body);
        out.extend((body.len() as u32).to_be_bytes());
        out.extend(kind);
        out.extend(body);
        out.extend(crc.sum().to_be_bytes());
    };
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 6, 0, 0, 0]);
    chunk(b"IHDR", &header);
    chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1]);
    chunk(b"IEND", b"");
    out
}

#[test]
fn bombs_and_broken_files_are_unreadable_in_bounded_time() {
    let name = "bombs_and_broken_files_are_unreadable_in_bounded_time";
    if !fonts(name) || models(name).is_none() {
        return;
    }
    let whole = pictures::picture(Third::Easy, 0);
    let jpeg = degrade::jpeg(&canvas::Canvas::new(400, 300, [200; 3]), 80);
    let looping =
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type \
        /Pages /Kids [2 0 R 2 0 R] /Count 2 >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n";
    let script =
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /OpenAction << /S /JavaScript /JS (app.alert\
        (1)) >> /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n\
        trailer\n<< /Root 1 0 R >>\n%%EOF\n";
    // A page as any other, and a script that is run when it is opened: by nobody here.
    let scripted = {
        let plain = degrade::pdf(std::slice::from_ref(&jpeg));
        let at = plain.windows(8).position(|part| part == b"/Catalog").expect("has one") + 8;
        let action = b" /OpenAction << /S /JavaScript /JS (app.alert(1)) >>";
        [&plain[..at], action, &plain[at..]].concat()
    };
    let mut polyglot = degrade::pdf(std::slice::from_ref(&jpeg));
    polyglot.splice(0..0, b"GIF89a".iter().copied());
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("text", b"Beste, hierbij mijn vraag.".to_vec()),
        ("a claim of 16384 by 16384", claiming(16_384, 16_384)),
        ("a claim of 2^31 by 2^31", claiming(0x7fff_ffff, 0x7fff_ffff)),
        ("a claim of nothing", claiming(0, 0)),
        ("half a picture", whole.bytes[..whole.bytes.len() / 2].to_vec()),
        ("a beginning", jpeg[..20].to_vec()),
        ("pages that hold themselves", looping.to_vec()),
        ("a script and no page", script.to_vec()),
        ("a page and a script", scripted),
        ("two kinds at once", polyglot),
        (
            "a TIFF that points at itself",
            b"II*\0\x08\0\0\0\x01\0\x00\x01\x03\0\x01\0\0\0\x01\0\0\0\x08\0\0\0".to_vec(),
        ),
    ] {
        let (code, json, took) = id(&bytes, &[]);
        let verdict = json["verdict"].as_str().unwrap_or_default();
        // Of half a picture the upper half may be read, and says that it is a specimen.
        let is_right = matches!(verdict, "unreadable" | "not a document")
            || what == "half a picture" && verdict == "specimen";
        assert!(is_right, "{what}: {json}");
        assert_eq!(code, Some(1), "{what}");
        assert!(took < LONGEST, "{what} took {took:?}");
    }
}

/// The most memory that the child may take, for any picture: in kilobytes.
const PEAK: u64 = 400_000;

#[test]
fn every_thread_of_the_child_is_filtered_and_a_huge_picture_stays_within_its_memory() {
    let name = "every_thread_of_the_child_is_filtered_and_a_huge_picture_stays_within_its_memory";
    if !fonts(name) {
        return;
    }
    let Some(models) = models(name) else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_kluis"))
        .arg("confined-look")
        .arg(models)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let (mut stdin, mut stdout) =
        (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut hello = [0; 5];
    stdout.read_exact(&mut hello).expect("says hello");
    assert_eq!(&hello[..4], b"klu1");
    let place = PathBuf::from(format!("/proc/{}", child.id()));
    let line = |status: &str, key: &str| -> String {
        let found = status.lines().find_map(|line| line.strip_prefix(key)).expect("is told");
        found.trim().to_owned()
    };
    let mut threads = 0;
    for entry in fs::read_dir(place.join("task")).expect("is listed") {
        let task = entry.expect("is listed").path();
        let status = fs::read_to_string(task.join("status")).expect("is told");
        assert_eq!(line(&status, "Seccomp:"), "2", "{}", line(&status, "Name:"));
        threads += 1;
    }
    assert!(threads >= 2, "the one that works and those that count");
    let mut huge = canvas::Canvas::new(8000, 6000, [230; 3]);
    huge.text(canvas::Face::OcrB, 160.0, (900.0, 3000.0), [0; 3], "IDBEL592345678<9815<<<<<<<<<<<");
    let file = degrade::jpeg(&huge, 85);
    drop(huge);
    stdin.write_all(&(file.len() as u32).to_le_bytes()).expect("is taken");
    stdin.write_all(&file).expect("is taken");
    let mut length = [0; 4];
    stdout.read_exact(&mut length).expect("answers");
    let mut answer = vec![0; u32::from_le_bytes(length) as usize];
    stdout.read_exact(&mut answer).expect("answers");
    let status = fs::read_to_string(place.join("status")).expect("is told");
    let peak: u64 =
        line(&status, "VmHWM:").trim_end_matches(" kB").trim().parse().expect("a number");
    assert!(peak < PEAK, "{peak} kB");
    println!("peak memory for 48 million pixels: {peak} kB");
    drop(stdin);
    assert!(child.wait().expect("ends").success());
}

/// How patient a thread is with others, as the kernel tells in the 19th field of its `stat`.
fn patience(stat: &std::path::Path) -> i32 {
    let stat = fs::read_to_string(stat).expect("is read");
    let (_, fields) = stat.rsplit_once(')').expect("behind the name");
    fields.split_whitespace().nth(16).and_then(|nice| nice.parse().ok()).expect("a number")
}

#[test]
fn every_thread_of_the_child_that_reads_pictures_leaves_the_processors_to_letters() {
    let name = "every_thread_of_the_child_that_reads_pictures_leaves_the_processors_to_letters";
    let Some(models) = models(name) else { return };
    let mut command = Command::new(env!("CARGO_BIN_EXE_kluis"));
    command.arg("confined-look").arg(models);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut hello = [0; 5];
    child.stdout.as_mut().expect("is piped").read_exact(&mut hello).expect("is confined");
    let own = patience("/proc/self/stat".as_ref());
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).expect("is listed");
    let threads: Vec<i32> =
        tasks.map(|task| patience(&task.expect("a thread").path().join("stat"))).collect();
    drop(child.stdin.take());
    child.wait().expect("ends");
    assert!(threads.len() > 1, "{threads:?}");
    assert!(threads.iter().all(|nice| *nice == (own + 5).min(19)), "{threads:?}, {own}");
}
