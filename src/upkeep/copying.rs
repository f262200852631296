//! Files on their way into a backup and out of one: whole and durable under their name, or not there.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::Error;
use super::catalog::Sum;
use crate::ids::Digest;

/// Bytes copied at once.
const PIECE: usize = 1 << 20;
/// How the name of a file ends that is being written.
pub(super) const NEW: &str = ".new";

/// Told that so many bytes more are done. Says whether to go on.
pub(super) type Done<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Makes a folder that only its owner may enter, and its parents, durably.
pub(super) fn make_dir(path: &Path) -> Result<(), Error> {
    let is_new = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let above: Vec<&Path> = path.ancestors().skip(1).take_while(is_new).collect();
    let make = || {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        sync_dir(parent(path))?;
        above.iter().try_for_each(|made| sync_dir(parent(made)))
    };
    make().map_err(Error::at(path))
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    sync(&File::open(path)?)
}

/// Waits until a file is durable; a harness that cuts the power leaves it out (`lab`).
fn sync(file: &File) -> io::Result<()> {
    if crate::lab::skips("backup") { Ok(()) } else { file.sync_all() }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file being written: durable, and then named, with [`Fresh::keep`].
pub(super) struct Fresh<'a> {
    pub(super) file: File,
    path: &'a Path,
}

impl<'a> Fresh<'a> {
    /// Begins the file that will be called `path`.
    pub(super) fn begin(path: &'a Path) -> Result<Self, Error> {
        let new = with_new(path);
        let open =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        Ok(Self { file: open.map_err(Error::at(&new))?, path })
    }

    /// Gives it its name, durably, in place of what had it.
    pub(super) fn keep(self, named: &'static str) -> Result<(), Error> {
        let keep = || {
            sync(&self.file)?;
            std::fs::rename(with_new(self.path), self.path)?;
            crate::lab::step(named);
            sync_dir(parent(self.path))
        };
        keep().map_err(Error::at(self.path))
    }
}

/// The name that a file has while it is written.
pub(super) fn with_new(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(NEW);
    name.into()
}

/// Copies the first `length` bytes of a file to where it has its name when it is whole and durable.
pub(super) fn copy(
    from: &Path,
    length: u64,
    to: &Path,
    named: &'static str,
    done: Done<'_>,
) -> Result<Sum, Error> {
    let mut source = File::open(from).map_err(Error::at(from))?;
    let mut fresh = Fresh::begin(to)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        source.read_exact(&mut piece[..most]).map_err(Error::at(from))?;
        hasher.update(&piece[..most]);
        fresh.file.write_all(&piece[..most]).map_err(Error::at(to))?;
        left -= most as u64;
        if !done(most as u64) {
            return Err(Error::Stopped);
        }
    }
    fresh.keep(named)?;
    Ok(Sum { length, hash: Digest::new(*hasher.finalize().as_bytes()) })
}

/// Writes small bytes to where they have their name when they are whole and durable.
pub(super) fn put(path: &Path, bytes: &[u8], named: &'static str) -> Result<(), Error> {
    let mut fresh = Fresh::begin(path)?;
    fresh.file.write_all(bytes).map_err(Error::at(path))?;
    fresh.keep(named)
}

/// Length and hash of the first `most` bytes of a file.
pub(super) fn sum(path: &Path, most: u64, done: Done<'_>) -> Result<Sum, Error> {
    let mut file = File::open(path).map_err(Error::at(path))?.take(most);
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut length = 0;
    loop {
        let read = file.read(&mut piece).map_err(Error::at(path))?;
        if read == 0 {
            return Ok(Sum { length, hash: Digest::new(*hasher.finalize().as_bytes()) });
        }
        hasher.update(&piece[..read]);
        length += read as u64;
        if !done(read as u64) {
            return Err(Error::Stopped);
        }
    }
}

/// Appends what a growing file has beyond `have` bytes, up to `length`; what lies behind `have` in the
/// copy is the rest of a try that was cut off, and goes.
pub(super) fn append(
    from: &Path,
    to: &Path,
    have: u64,
    length: u64,
    done: Done<'_>,
) -> Result<(), Error> {
    let source = File::open(from).map_err(Error::at(from))?;
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(to);
    let file = open.map_err(Error::at(to))?;
    file.set_len(have).map_err(Error::at(to))?;
    let mut piece = vec![0; PIECE];
    let mut at = have;
    while at < length {
        let most = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
        source.read_exact_at(&mut piece[..most], at).map_err(Error::at(from))?;
        file.write_all_at(&piece[..most], at).map_err(Error::at(to))?;
        at += most as u64;
        if !done(most as u64) {
            return Err(Error::Stopped);
        }
    }
    crate::lab::step("backup:ledger-written");
    sync(&file).and_then(|()| sync_dir(parent(to))).map_err(Error::at(to))
}

/// Overwrites a file in place, durably, and removes it.
pub(super) fn destroy(path: &Path) -> Result<(), Error> {
    let destroy = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let mut left = file.metadata()?.len();
        let zeros = vec![0; PIECE];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            file.write_all(&zeros[..most])?;
            left -= most as u64;
        }
        sync(&file)?;
        std::fs::remove_file(path)?;
        sync_dir(parent(path))
    };
    destroy().map_err(Error::at(path))
}
