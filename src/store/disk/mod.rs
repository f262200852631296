//! The store's seam to the disk: everything it asks of the operating system goes through here,
//! blocking, positioned, durable. (The index does its own: what sled asks is nobody's to see.)
//!
//! A [`Disk`] gives files by path, a [`File`] reads and writes at offsets. Calls that a signal cuts
//! short or that write only a part are taken up again here; nothing else is ever tried twice. What
//! each barrier makes durable has a name, so that a lab build can leave one out (`lab::skips`) and
//! the harnesses that cut the power can prove that they notice.

mod quarantine;
mod reserve;
mod source;
mod tail;

pub(super) use quarantine::{free_name, quarantine_end};
pub(super) use reserve::Reserve;
pub use reserve::{Room, room};
pub use source::Source;
pub(super) use tail::Tail;

use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
#[cfg(test)]
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags};
pub(super) use rustix::io::Errno;

use super::Error;
#[cfg(test)]
use super::simulated::{SimDisk, SimFile};
use crate::{ids, lab};

/// Where files lie.
#[derive(Clone)]
pub(super) enum Disk {
    /// The file systems of this machine.
    Machine,
    /// One in memory that fails as it is told.
    #[cfg(test)]
    Simulated(Arc<SimDisk>),
}

/// An open file.
pub(super) enum File {
    /// A file of this machine.
    Machine(fs::File),
    /// A file of a simulated disk.
    #[cfg(test)]
    Simulated(SimFile),
}

/// What a barrier makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// Chunks and boxes.
    Packs,
    /// Frames of entries: the commit point.
    Ledger,
    /// Slots and drops.
    Cabinet,
    /// A new cabinet key, or the noise over an old one.
    Key,
    /// Names in a directory.
    Names,
    /// What a first sweep leaves for the second.
    Plan,
    /// The ends of writes that were cut off.
    Quarantine,
}

impl Durable {
    /// The word that a lab build knows it by.
    fn name(self) -> &'static str {
        match self {
            Durable::Packs => "packs",
            Durable::Ledger => "ledger",
            Durable::Cabinet => "cabinet",
            Durable::Key => "key",
            Durable::Names => "dir",
            Durable::Plan => "plan",
            Durable::Quarantine => "quarantine",
        }
    }
}

impl Disk {
    /// Makes a directory that only we may enter, and its parents; one that is there is left as it
    /// is.
    pub(super) fn make_dir(&self, path: &Path) -> Result<(), Error> {
        match self {
            Disk::Machine => DirBuilder::new().recursive(true).mode(0o700).create(path),
            #[cfg(test)]
            Disk::Simulated(disk) => disk.make_dir(path),
        }
        .map_err(Error::write("a directory cannot be made"))
    }

    /// Creates a file that only we may read; it must not be there yet.
    pub(super) fn create(&self, path: &Path) -> Result<File, Error> {
        match self {
            Disk::Machine => OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map(File::Machine),
            #[cfg(test)]
            Disk::Simulated(disk) => disk.create(path).map(File::Simulated),
        }
        .map_err(Error::write("a file cannot be created"))
    }

    /// Creates a file with this content, durable with its name.
    pub(super) fn create_with(
        &self,
        path: &Path,
        content: &[u8],
        durable: Durable,
    ) -> Result<File, Error> {
        let file = self.create(path)?;
        if let Err(error) = file.write_all_at(content, 0) {
            // What finds no room is tried again under the same name.
            self.remove(path)?;
            return Err(Error::write("a file cannot be written")(error));
        }
        file.sync(durable)?;
        self.sync_dir(parent(path))?;
        Ok(file)
    }

    /// Opens a file to read and write.
    pub(super) fn open(&self, path: &Path) -> Result<File, Error> {
        match self {
            Disk::Machine => {
                OpenOptions::new().read(true).write(true).open(path).map(File::Machine)
            }
            #[cfg(test)]
            Disk::Simulated(disk) => disk.open(path).map(File::Simulated),
        }
        .map_err(Error::io("a file cannot be opened"))
    }

    /// Opens a file to read. What the error means, the caller knows.
    pub(super) fn open_to_read(&self, path: &Path) -> io::Result<File> {
        match self {
            Disk::Machine => fs::File::open(path).map(File::Machine),
            #[cfg(test)]
            Disk::Simulated(disk) => disk.open(path).map(File::Simulated),
        }
    }

    /// Reads a whole file.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let read = || {
            let file = self.open_to_read(path)?;
            let mut bytes = vec![0; usize::try_from(file.length()?).unwrap_or(usize::MAX)];
            let length = file.read_at(&mut bytes, 0)?;
            bytes.truncate(length);
            Ok(bytes)
        };
        read().map_err(Error::io("a file cannot be read"))
    }

    /// Whether there is something of this name.
    pub(super) fn exists(&self, path: &Path) -> Result<bool, Error> {
        match self {
            Disk::Machine => path.try_exists(),
            #[cfg(test)]
            Disk::Simulated(disk) => disk.exists(path),
        }
        .map_err(Error::io("a file cannot be looked for"))
    }

    /// The names in a directory that are valid text, sorted.
    pub(super) fn names(&self, dir: &Path) -> Result<Vec<String>, Error> {
        let names = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            match self {
                Disk::Machine => {
                    for entry in fs::read_dir(dir)? {
                        names.extend(entry?.file_name().into_string());
                    }
                }
                #[cfg(test)]
                Disk::Simulated(disk) => names = disk.names(dir)?,
            }
            names.sort_unstable();
            Ok(names)
        };
        names().map_err(Error::io("a directory cannot be read"))
    }

    /// Gives a file another name, whole or not at all; durable with [`Disk::sync_dir`].
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Disk::Machine => fs::rename(from, to),
            #[cfg(test)]
            Disk::Simulated(disk) => disk.rename(from, to),
        }
    }

    /// Removes a file and makes that durable.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        match self {
            Disk::Machine => fs::remove_file(path),
            #[cfg(test)]
            Disk::Simulated(disk) => disk.remove(path),
        }
        .map_err(Error::io("a file cannot be removed"))?;
        self.sync_dir(parent(path))
    }

    /// Makes names in a directory durable.
    pub(super) fn sync_dir(&self, path: &Path) -> Result<(), Error> {
        if lab::skips(Durable::Names.name()) {
            return Ok(());
        }
        if lab::fails(Durable::Names.name()) {
            return Err(Error::io("a directory cannot be made durable")(Errno::IO.into()));
        }
        match self {
            Disk::Machine => fs::File::open(path).and_then(|dir| dir.sync_all()),
            #[cfg(test)]
            Disk::Simulated(disk) => disk.sync_dir(path),
        }
        .map_err(Error::io("a directory cannot be made durable"))
    }

    /// Runs two barriers at the same time and waits for both.
    pub(super) fn side_by_side(
        &self,
        here: impl FnOnce() -> Result<(), Error>,
        beside: impl FnOnce() -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        match self {
            Disk::Machine => std::thread::scope(|scope| {
                let other = std::thread::Builder::new()
                    .name("kluis-sync".into())
                    .spawn_scoped(scope, beside)
                    .map_err(Error::io("a thread cannot be started"))?;
                let here = here();
                here.and(other.join().unwrap_or(Err(Error::Dead)))
            }),
            #[cfg(test)]
            Disk::Simulated(disk) if disk.coin() => {
                let beside = beside();
                here().and(beside)
            }
            #[cfg(test)]
            Disk::Simulated(_) => {
                let here = here();
                here.and(beside())
            }
        }
    }

    /// Slots of a cabinet that are copied at once: 2 MiB of its file.
    pub(super) fn slots_at_once(&self) -> usize {
        match self {
            Disk::Machine => 16 << 10,
            #[cfg(test)]
            Disk::Simulated(_) => SimDisk::SLOTS_AT_ONCE,
        }
    }

    /// Sixteen bytes that nothing else is named after.
    pub(super) fn new_name(&self) -> [u8; 16] {
        match self {
            Disk::Machine => ids::random(),
            #[cfg(test)]
            Disk::Simulated(disk) => disk.new_name(),
        }
    }
}

impl File {
    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    pub(super) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(bytes, offset)? == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Fills `bytes` from `offset` on, as far as the file goes; says how far.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut length = 0;
        while length < bytes.len() {
            match self.read_some_at(&mut bytes[length..], offset + length as u64) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(length)
    }

    /// One call: it may read less than there is.
    fn read_some_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, Errno> {
        match self {
            File::Machine(file) => rustix::io::pread(file, bytes, offset),
            #[cfg(test)]
            File::Simulated(file) => file.read_some_at(bytes, offset),
        }
    }

    /// Writes all of `bytes` at `offset`.
    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_slices_at(&mut [IoSlice::new(bytes)], offset)
    }

    /// Writes all slices one after the other from `offset`, in as few calls as there can be.
    pub(super) fn write_slices_at(
        &self,
        mut slices: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.write_some_at(&slices[..slices.len().min(MOST_SLICES)], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// One call: it may write less than it was given.
    fn write_some_at(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<usize, Errno> {
        match self {
            File::Machine(file) => rustix::io::pwritev(file, slices, offset),
            #[cfg(test)]
            File::Simulated(file) => file.write_some_at(slices, offset),
        }
    }

    /// Cuts the file off, or lengthens it with zeros.
    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        match self {
            File::Machine(file) => file.set_len(length),
            #[cfg(test)]
            File::Simulated(file) => file.set_len(length),
        }
    }

    /// Bytes.
    pub(super) fn length(&self) -> io::Result<u64> {
        match self {
            File::Machine(file) => file.metadata().map(|metadata| metadata.len()),
            #[cfg(test)]
            File::Simulated(file) => file.length(),
        }
    }

    /// Makes what was written durable. A failure is final: the system forgets what it could not
    /// write, so that a second try would lie.
    pub(super) fn sync(&self, durable: Durable) -> Result<(), Error> {
        if lab::skips(durable.name()) {
            return Ok(());
        }
        if lab::fails(durable.name()) {
            return Err(Error::io("a file cannot be made durable")(Errno::IO.into()));
        }
        match self {
            File::Machine(file) => file.sync_data().and_then(|()| still_named(file)),
            #[cfg(test)]
            File::Simulated(file) => file.sync(durable),
        }
        .map_err(Error::io("a file cannot be made durable"))
    }

    /// Gives the room of these bytes back; they read as zeros from now on. Whole blocks of the
    /// file system become free, the rest is zeroed.
    pub(super) fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        match self {
            File::Machine(file) => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, length))?;
                Ok(())
            }
            #[cfg(test)]
            File::Simulated(file) => file.punch_hole(offset, length),
        }
    }

    /// Asks for writes that go past the system's cache; their bytes, their length and their offset
    /// in memory and file must then be aligned to [`DIRECT`]. Says whether the file system does it.
    pub(super) fn go_direct(&self, wish: bool) -> bool {
        match self {
            File::Machine(file) => {
                let set = || -> rustix::io::Result<()> {
                    let mut flags = rustix::fs::fcntl_getfl(file)?;
                    flags.set(OFlags::DIRECT, wish);
                    rustix::fs::fcntl_setfl(file, flags)
                };
                set().is_ok() && wish
            }
            #[cfg(test)]
            File::Simulated(_) => false,
        }
    }

    /// Asks for room up to `length` before it is written, and makes the file that long: several
    /// writes at once are faster then. Only a wish: where there is no room, or nothing is gained
    /// (in memory), the file stays as it is.
    pub(super) fn reserve(&self, length: u64) {
        match self {
            File::Machine(file) => {
                let is_memory = rustix::fs::fstatfs(file).is_ok_and(|fs| fs.f_type == TMPFS);
                if !is_memory {
                    let _ = rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length);
                }
            }
            #[cfg(test)]
            File::Simulated(_) => {}
        }
    }

    /// Takes the lock on the file, if nobody else has it; it is held until the file is closed.
    pub(super) fn try_lock(&self) -> io::Result<bool> {
        match self {
            File::Machine(file) => match file.try_lock() {
                Ok(()) => Ok(true),
                Err(TryLockError::WouldBlock) => Ok(false),
                Err(TryLockError::Error(e)) => Err(e),
            },
            #[cfg(test)]
            File::Simulated(_) => Ok(true),
        }
    }
}

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;
/// The most slices one call takes (IOV_MAX).
const MOST_SLICES: usize = 1024;
/// What direct writes are aligned to: no disk has larger logical blocks.
pub(super) const DIRECT: usize = 4096;

/// An error if the file has no name any more: what is written to it nobody will find again.
fn still_named(file: &fs::File) -> io::Result<()> {
    if file.metadata()?.nlink() > 0 { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// The directory a path lies in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, std::path::PathBuf, File) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f");
        let file = Disk::Machine.create(&path).expect("created");
        (dir, path, file)
    }

    #[test]
    fn more_slices_than_one_call_takes_are_all_written() {
        let (_dir, path, file) = file();
        let pieces: Vec<[u8; 3]> = (0..3000u32).map(|i| [i as u8, (i >> 8) as u8, 7]).collect();
        let mut slices: Vec<_> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        slices.insert(5, IoSlice::new(&[]));
        file.write_slices_at(&mut slices, 10).expect("written");
        let read = Disk::Machine.read(&path).expect("read");
        assert_eq!(&read[10..], pieces.concat());
        file.write_slices_at(&mut [], 10).expect("nothing to write");
    }

    #[test]
    fn a_hole_reads_as_zeros_and_gives_its_room_back() {
        use std::os::unix::fs::MetadataExt as _;
        let (_dir, path, file) = file();
        file.write_all_at(&vec![7; 256 << 10], 0).expect("written");
        file.sync(Durable::Packs).expect("durable");
        let room = || fs::metadata(&path).expect("there").blocks() * 512;
        let before = room();
        file.punch_hole(4096 + 100, 128 << 10).expect("punched");
        file.sync(Durable::Packs).expect("durable");
        assert!(room() + (100 << 10) <= before);
        let read = Disk::Machine.read(&path).expect("read");
        assert_eq!(read.len(), 256 << 10);
        let (hole, rest) = read[4196..].split_at(128 << 10);
        assert!(hole.iter().all(|&b| b == 0) && rest.iter().all(|&b| b == 7));
        assert!(read[..4196].iter().all(|&b| b == 7));
    }

    #[test]
    fn a_wish_for_direct_writes_is_granted_or_falls_back() {
        let (_dir, path, file) = file();
        let room = vec![9; 3 * DIRECT];
        let at = room.as_ptr().align_offset(DIRECT);
        let is_direct = file.go_direct(true);
        file.write_all_at(&room[at..at + DIRECT], DIRECT as u64).expect("an aligned write");
        assert!(!file.go_direct(false));
        file.write_all_at(&[1; 77], 1).expect("any write");
        let read = Disk::Machine.read(&path).expect("read");
        assert_eq!((read.len(), read[77], read[DIRECT]), (2 * DIRECT, 1, 9), "{is_direct}");
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let (_dir, path, file) = file();
        let other = Disk::Machine.open(&path).expect("opened");
        assert!(file.try_lock().expect("asked"));
        assert!(!other.try_lock().expect("asked"));
        drop(file);
        assert!(other.try_lock().expect("asked"));
    }
}
