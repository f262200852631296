//! The few things the store asks of the operating system: blocking, positioned, durable.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Error;
use super::frame::SECTOR;

/// Makes a directory that only we may enter, and its parents; one that is there is left as it is.
pub(super) fn make_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::write("a directory cannot be made"))
}

/// Creates a file that only we may read; it must not be there yet.
pub(super) fn create(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::write("a file cannot be created"))
}

/// Opens a file to read and write.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(Error::io("a file cannot be opened"))
}

/// Creates a file with this content, durable with its name.
pub(super) fn create_with(path: &Path, content: &[u8]) -> Result<File, Error> {
    let file = create(path)?;
    file.write_all_at(content, 0).map_err(Error::write("a file cannot be written"))?;
    file.sync_all().map_err(Error::io("a file cannot be made durable"))?;
    sync_dir(parent(path))?;
    Ok(file)
}

/// Makes what was written durable. A failure is final: the system forgets what it could not write,
/// so that a second try would lie.
pub(super) fn sync(file: &File) -> Result<(), Error> {
    file.sync_data().map_err(Error::io("a file cannot be made durable"))
}

/// Makes names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io("a directory cannot be made durable"))
}

/// Removes a file and makes that durable.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(Error::io("a file cannot be removed"))?;
    sync_dir(parent(path))
}

/// The directory a path lies in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The names in a directory that are valid text, sorted.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    };
    read().map_err(Error::io("a directory cannot be read"))
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::io("a file cannot be read"))
}

/// The most slices one call takes (IOV_MAX).
const MOST_SLICES: usize = 1024;

/// Writes all slices one after the other from `offset`, in as few calls as there can be.
pub(super) fn write_all_at(
    file: &File,
    mut slices: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let some = &slices[..slices.len().min(MOST_SLICES)];
        match rustix::io::pwritev(file, some, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// The growing end of the ledger or the cabinet.
pub(super) struct Tail {
    file: File,
    /// Where the last frame that counts ends.
    end: u64,
}

impl Tail {
    pub(super) fn new(file: File, end: u64) -> Self {
        Self { file, end }
    }

    /// Where the next group starts: on a sector of its own.
    pub(super) fn start(&self) -> u64 {
        self.end.next_multiple_of(SECTOR)
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Appends a group at [`Tail::start`]. If there is no room, the file is as before.
    pub(super) fn append(&mut self, group: &[u8]) -> Result<(), Error> {
        let start = self.start();
        match self.file.write_all_at(group, start).map_err(Error::write("an append failed")) {
            Ok(()) => {
                self.end = start + group.len() as u64;
                Ok(())
            }
            Err(Error::Full) => {
                self.cut(self.end)?;
                Err(Error::Full)
            }
            Err(e) => Err(e),
        }
    }

    /// Takes back what was appended from `end` on and not yet made durable.
    pub(super) fn cut(&mut self, end: u64) -> Result<(), Error> {
        self.file.set_len(end).map_err(Error::io("a file cannot be cut"))?;
        self.end = end;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        sync(&self.file)
    }
}

/// Moves the bytes from `from` to the end of a file into the quarantine, durably, then cuts them
/// off. Zeros alone are only cut off. Gives the path in the quarantine.
pub(super) fn quarantine_end(
    quarantine: &Path,
    path: &Path,
    bytes: &[u8],
    from: u64,
) -> Result<Option<PathBuf>, Error> {
    let end = usize::try_from(from).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
    let mut kept = None;
    if end.iter().any(|&byte| byte != 0) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let place = free_name(quarantine, &format!("{name}.{from:016x}"));
        let mut file = create(&place)?;
        file.write_all(end).map_err(Error::write("the quarantine cannot be written"))?;
        file.sync_all().map_err(Error::io("the quarantine cannot be made durable"))?;
        sync_dir(quarantine)?;
        kept = Some(place);
    }
    let file = open(path)?;
    file.set_len(from).map_err(Error::io("a file cannot be cut"))?;
    file.sync_all().map_err(Error::io("a file cannot be made durable"))?;
    Ok(kept)
}

/// `<stem>-<n>` with the least n that is free in `dir`.
pub(super) fn free_name(dir: &Path, stem: &str) -> PathBuf {
    (0u64..)
        .map(|n| dir.join(format!("{stem}-{n}")))
        .find(|path| !path.exists())
        .expect("some number is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_slices_than_one_call_takes_are_all_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = create(&dir.path().join("f")).expect("created");
        let pieces: Vec<[u8; 3]> = (0..3000u32).map(|i| [i as u8, (i >> 8) as u8, 7]).collect();
        let mut slices: Vec<_> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        slices.insert(5, IoSlice::new(&[]));
        write_all_at(&file, &mut slices, 10).expect("written");
        let read = read(&dir.path().join("f")).expect("read");
        assert_eq!(&read[10..], pieces.concat());
    }

    #[test]
    fn the_quarantine_keeps_what_is_cut_off_and_never_overwrites() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.log");
        let kept: Vec<_> = (0..2)
            .map(|_| {
                fs::write(&path, b"goodBAD").expect("written");
                quarantine_end(dir.path(), &path, b"goodBAD", 4).expect("cut").expect("kept")
            })
            .collect();
        assert_ne!(kept[0], kept[1]);
        assert_eq!(read(&kept[0]).expect("read"), b"BAD");
        assert_eq!(read(&path).expect("read"), b"good");
        fs::write(&path, b"good\0\0").expect("written");
        assert_eq!(quarantine_end(dir.path(), &path, b"good\0\0", 4).expect("cut"), None);
        assert_eq!(read(&path).expect("read"), b"good");
    }
}
