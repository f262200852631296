//! Small files that must be whole or not there: keys, profiles, the last checkpoint.
//!
//! A file is written beside its place under a random name, mode 0600, synced, renamed, and then its
//! directory is synced; a crash leaves the old file or the new one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use data_encoding::HEXLOWER;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use crate::ids::random;
use crate::lab;

/// Writes a file that is not there yet, mode 0600.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if it is there: nothing is overwritten.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, RenameFlags::NOREPLACE)
}

/// Writes a file, mode 0600, in the place of whatever was there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, RenameFlags::empty())
}

/// Makes a folder of mode 0700, if it is not there, and makes its name durable.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Also one that was there: whoever made it may have died before this.
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Overwrites a file in place and removes it; none is no error. What a file system that copies, or a
/// flash device, keeps of the old blocks is out of reach.
pub(crate) fn wipe(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let zeros = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.write_all(&zeros)?;
    file.sync_all()?;
    fs::remove_file(path)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] above it.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Reserved at once: a vector that grows leaves unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

fn put(path: &Path, bytes: &[u8], flags: RenameFlags) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}", HEXLOWER.encode(&random::<8>())));
    let draft = folder.join(draft);

    let written = write(&draft, bytes)
        .inspect(|()| lab::step("file:drafted"))
        .and_then(|()| renameat_with(CWD, &draft, CWD, path, flags).map_err(io::Error::from));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_new_file_is_private_and_never_overwrites() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        write_new(&path, b"one").expect("written");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        let again = write_new(&path, b"two").expect_err("refused");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path, 3).expect("reads").as_slice(), b"one");
        replace(&path, b"three").expect("replaced");
        assert_eq!(read(&path, 5).expect("reads").as_slice(), b"three");
        assert_eq!(read(&path, 4).expect_err("long").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1, "no draft is left");
        let inner = folder.path().join("inner");
        make_folder(&inner).expect("made");
        make_folder(&inner).expect("is there");
        assert_eq!(fs::metadata(&inner).expect("is there").permissions().mode() & 0o777, 0o700);
        assert!(make_folder(&folder.path().join("none/inner")).is_err());
        wipe(&path).expect("wiped");
        wipe(&path).expect("nothing to do");
        assert!(!path.exists());
    }
}
