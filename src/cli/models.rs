//! The models that read pictures: where they lie, how they get there, and the child that uses them.
//!
//! They are two files of a Python package, taken out of it whole and never run. Package and files have
//! one SHA-256 each: whatever else comes is refused. Without them everything works but the reading of
//! pictures, which then says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::{Decompress, FlushDecompress};
use rustix::time::{ClockId, clock_gettime};

use super::{Error, session};
use crate::identity::document::{self, Eyes, Sight};
use crate::sandbox::{self, Failure, Limits, Sandbox};

/// Names the folder of the models, for whoever keeps them elsewhere.
const VARIABLE: &str = "KLUIS_MODELS";
/// Where they lie otherwise.
const FOLDER: &str = "/usr/share/kluis/models";

/// The package, its version and the hash of its only file.
const PACKAGE: &str = "rapidocr-onnxruntime==1.4.4";
const PACKAGE_HASH: &str = "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf";
/// The folder in it.
const WITHIN: &str = "rapidocr_onnxruntime/models/";

/// A file of the package and its hash.
struct Model {
    name: &'static str,
    hash: &'static str,
}

const DETECTION: Model = Model {
    name: "ch_PP-OCRv4_det_infer.onnx",
    hash: "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
};
const RECOGNITION: Model = Model {
    name: "ch_PP-OCRv4_rec_infer.onnx",
    hash: "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
};

/// Seconds of a processor that one file is read for; then what is known is told. Not of a clock on the
/// wall: what is read of a picture must not depend on what else the machine does.
const BUDGET: i64 = 10;
/// What a child may take for one: its own budget, and decoding before it looks at a clock.
const LIMITS: Limits = Limits { wall: Duration::from_secs(20), answer: 1 << 20 };
/// Address space of the child: what it uses is less than half of it.
const MEMORY: u64 = 1 << 30;

/// The folder in which the models are looked for.
pub(super) fn folder() -> PathBuf {
    std::env::var_os(VARIABLE)
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| PathBuf::from(FOLDER), PathBuf::from)
}

/// Whether both are there and are what they must be.
pub(super) fn are_there(folder: &Path) -> bool {
    load(folder).is_some()
}

fn load(folder: &Path) -> Option<(Vec<u8>, Vec<u8>)> {
    let file = |model: &Model| {
        let bytes = fs::read(folder.join(model.name)).ok()?;
        is_hash(&bytes, model.hash).then_some(bytes)
    };
    Some((file(&DETECTION)?, file(&RECOGNITION)?))
}

fn is_hash(bytes: &[u8], hash: &str) -> bool {
    let hex: String =
        digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    hex == hash
}

/// Seconds that this process was on a processor.
fn spent() -> i64 {
    clock_gettime(ClockId::ProcessCPUTime).tv_sec
}

/// The life of a child that reads pictures with the models in this folder.
pub(super) fn child(folder: &Path) -> ! {
    static EYES: OnceLock<Eyes> = OnceLock::new();
    fn job(file: &[u8]) -> Vec<u8> {
        let begun = spent();
        let sight = EYES
            .get()
            .map(|eyes| document::look(eyes, file, &|| spent() - begun < BUDGET))
            .unwrap_or_default();
        minicbor::to_vec(sight).expect("memory takes what is written to it")
    }
    // The first look at this clock asks for more than a confined child may.
    let _ = spent();
    sandbox::child_main_with(
        || load(folder),
        |(detection, recognition)| {
            let eyes = Eyes::new(detection, recognition);
            // Threads cannot be started later on.
            rten::thread_pool().run(|| ());
            eyes.is_some_and(|eyes| EYES.set(eyes).is_ok())
        },
        job,
        MEMORY,
    )
}

/// What a file shows, seen by a confined child; why not, if it cannot say. `None` without models.
///
/// # Errors
/// This program cannot be found again, or no child started.
pub(super) fn look(file: &[u8]) -> Result<Option<Result<Sight, Failure>>, Error> {
    let folder = folder();
    if !are_there(&folder) {
        return Ok(None);
    }
    let args = vec![super::CONFINED_LOOK.into(), folder.into_os_string()];
    let sandbox = Sandbox::new(session::program()?, args, 1, LIMITS);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("starting", &error))?;
    let answer = runtime.block_on(async {
        let answer = sandbox.run(file).await;
        sandbox.dismiss().await;
        answer
    });
    match answer {
        Ok(cbor) => Ok(Some(minicbor::decode(&cbor).map_err(|_| Failure::Crashed))),
        Err(Failure::Unavailable) => Err(Error::new("no confined child could be started")
            .hint("`kluis doctor` says what this machine lacks")),
        Err(failure) => Ok(Some(Err(failure))),
    }
}

/// Fetches the models, from a file or with pip as it is set up here, and puts them into the folder.
///
/// # Errors
/// They cannot be had, are not what they must be, or cannot be written.
pub(super) fn fetch(from: Option<&Path>) -> Result<PathBuf, Error> {
    let folder = folder();
    if are_there(&folder) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).map_err(|error| Error::io(folder.display(), &error))?;
    let package = match from {
        Some(path) => fs::read(path).map_err(|error| Error::io(path.display(), &error))?,
        None => download(&folder)?,
    };
    if !is_hash(&package, PACKAGE_HASH) {
        return Err(Error::new(format!("this is not the package {PACKAGE}: its hash is another"))
            .hint("nothing of it was used"));
    }
    for model in [&DETECTION, &RECOGNITION] {
        let bytes = unzipped(&package, &format!("{WITHIN}{}", model.name))
            .filter(|bytes| is_hash(bytes, model.hash))
            .ok_or_else(|| Error::new(format!("{} is not in the package", model.name)))?;
        // Whole or not at all: somebody may be looking.
        let (path, part) = (folder.join(model.name), folder.join(format!("{}.part", model.name)));
        fs::write(&part, bytes)
            .and_then(|()| fs::rename(&part, &path))
            .map_err(|error| Error::io(path.display(), &error))?;
    }
    Ok(folder)
}

/// The package, as pip finds it with whatever it is set up with. It comes into a new folder beside the
/// models: whoever fetches them is often root, and in a folder for everybody's files others could have
/// put links there.
fn download(folder: &Path) -> Result<Vec<u8>, Error> {
    let place = folder.join("fetching");
    let left = if place.exists() { fs::remove_dir_all(&place) } else { Ok(()) };
    let fetched = left
        .and_then(|()| fs::create_dir(&place))
        .and_then(|()| {
            let wanted = place.join("wanted.txt");
            fs::write(&wanted, format!("{PACKAGE} --hash=sha256:{PACKAGE_HASH}\n"))?;
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]);
            pip.arg("--dest").arg(&place).arg("--requirement").arg(wanted);
            pip.stdin(Stdio::null()).stdout(Stdio::null()).status()
        })
        .and_then(|status| {
            let mut files = fs::read_dir(&place)?.filter_map(Result::ok).map(|entry| entry.path());
            match files.find(|path| path.extension().is_some_and(|end| end == "whl")) {
                Some(path) if status.success() => fs::read(path),
                _ => Err(std::io::Error::other("pip did not fetch the package")),
            }
        });
    let _ = fs::remove_dir_all(&place);
    fetched.map_err(|error| {
        Error::new(format!("the models cannot be fetched: {error}")).hint(format!(
            "fetch the file of {PACKAGE} elsewhere and give it: `kluis doctor --fetch-models --from FILE`"
        ))
    })
}

/// A file of an archive whose hash was already found right.
fn unzipped(archive: &[u8], name: &str) -> Option<Vec<u8>> {
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = archive.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte)))
    };
    let end = archive.windows(4).rposition(|part| part == b"PK\x05\x06")?;
    let mut at = number(end + 16, 4)?;
    while archive.get(at..at + 4)? == b"PK\x01\x02" {
        let [method, packed, length] =
            [number(at + 10, 2)?, number(at + 20, 4)?, number(at + 24, 4)?];
        let [name_length, extra, comment] =
            [number(at + 28, 2)?, number(at + 30, 2)?, number(at + 32, 2)?];
        if archive.get(at + 46..at + 46 + name_length)? == name.as_bytes() {
            let local = number(at + 42, 4)?;
            let from = local + 30 + number(local + 26, 2)? + number(local + 28, 2)?;
            let bytes = archive.get(from..from + packed)?;
            if method == 0 {
                return Some(bytes.to_vec());
            }
            let mut out = Vec::with_capacity(length);
            Decompress::new(false).decompress_vec(bytes, &mut out, FlushDecompress::Finish).ok()?;
            return Some(out);
        }
        at += 46 + name_length + extra + comment;
    }
    None
}
