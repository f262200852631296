//! Where bytes go that do not count and must not be lost either.

use std::path::{Path, PathBuf};

use super::{Disk, Durable};
use crate::store::Error;

/// Moves the bytes from `from` to the end of a file into the quarantine, durably, then cuts them
/// off. Zeros alone are only cut off. Gives the path in the quarantine.
pub(in crate::store) fn quarantine_end(
    disk: &Disk,
    quarantine: &Path,
    path: &Path,
    bytes: &[u8],
    from: u64,
) -> Result<Option<PathBuf>, Error> {
    let end = usize::try_from(from).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
    let mut kept = None;
    if end.iter().any(|&byte| byte != 0) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let place = free_name(disk, quarantine, &format!("{name}.{from:016x}"))?;
        disk.create_with(&place, end, Durable::Quarantine)?;
        kept = Some(place);
    }
    let file = disk.open(path)?;
    file.set_len(from).map_err(Error::io("a file cannot be cut"))?;
    file.sync(Durable::Quarantine)?;
    Ok(kept)
}

/// `<stem>-<n>` with the least n that is free in `dir`.
pub(in crate::store) fn free_name(disk: &Disk, dir: &Path, stem: &str) -> Result<PathBuf, Error> {
    let mut n = 0u64;
    loop {
        let path = dir.join(format!("{stem}-{n}"));
        if !disk.exists(&path)? {
            return Ok(path);
        }
        n += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quarantine_keeps_what_is_cut_off_and_never_overwrites() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Disk::Machine;
        let path = dir.path().join("a.log");
        let cut = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            quarantine_end(&disk, dir.path(), &path, bytes, 4).expect("cut")
        };
        let kept: Vec<_> = (0..2).map(|_| cut(b"goodBAD").expect("kept")).collect();
        assert_ne!(kept[0], kept[1]);
        assert_eq!(disk.read(&kept[0]).expect("read"), b"BAD");
        assert_eq!(disk.read(&path).expect("read"), b"good");
        assert_eq!(cut(b"good\0\0"), None);
        assert_eq!(disk.read(&path).expect("read"), b"good");
    }
}
