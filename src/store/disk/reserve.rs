//! Room on the disk, and what is kept back of it for the day when there is none (design §7).
//!
//! The reserve is a few files that really take their blocks. What comes in from outside is taken
//! only while there is a low-water mark of room beside it; what must always go on (forgetting,
//! looking, deciding, upkeep) lets the reserve go when a write finds no room, and is tried again.
//! Once there is room for both, the reserve is made again and what comes in is taken again.
//!
//! Several files and not one, because a disk can be out of inodes, too. Whether the system tells
//! the truth about free room does not matter for safety: a write that finds none is refused whole.
//! Only the machine's own disk has one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{Disk, Error};

/// Files that the reserve is made of: as many inodes come free with it.
const FILES: u64 = 8;
/// The low-water mark is the reserve divided by this.
const LOW_WATER: u64 = 4;
/// Inodes that nothing from outside may take.
const LOW_INODES: u64 = 64;
/// The reserve is at least so many times the cabinet: a rotation writes it anew.
const CABINETS: u64 = 2;
/// With less room than this, in bytes, a vault is not opened before its reserve is let go.
const OPENING: u64 = 1 << 20;
/// What is written at once where the file system cannot set blocks aside.
const PIECE: usize = 1 << 20;

/// Room on the disk of a vault, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free, the reserve not counted.
    pub free: u64,
    /// Kept back in the reserve.
    pub reserve: u64,
    /// What must be freed until letters are taken; 0 if they are.
    pub wanting: u64,
}

/// What the system says is free.
#[derive(Clone, Copy)]
struct Free {
    bytes: u64,
    inodes: u64,
}

/// The room of the file system that `dir` lies in; one that does not say has no end.
fn free(dir: &Path) -> Free {
    let Ok(told) = statvfs(dir) else { return Free { bytes: u64::MAX, inodes: u64::MAX } };
    Free {
        bytes: if told.f_blocks == 0 {
            u64::MAX
        } else {
            told.f_bavail.saturating_mul(told.f_frsize)
        },
        inodes: if told.f_files == 0 { u64::MAX } else { told.f_favail },
    }
}

/// The reserve of one vault and what is admitted beside it.
pub(in crate::store) struct Reserve {
    disk: Disk,
    /// The state directory.
    dir: PathBuf,
    /// Bytes that it should have; 0 if nobody asked for one.
    wished: AtomicU64,
    /// Bytes that it has.
    kept: AtomicU64,
    /// Bytes admitted and not yet written.
    admitted: AtomicU64,
    /// Whether the last who asked found no room.
    is_short: AtomicBool,
    /// How often it was let go.
    releases: AtomicU64,
    /// Held while the files are made or let go.
    files: Mutex<()>,
}

/// Room that was admitted; given back when dropped, by then it is written or refused.
pub(in crate::store) struct Admitted<'a> {
    reserve: &'a Reserve,
    bytes: u64,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.reserve.admitted.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Reserve {
    /// Takes the reserve as it lies there. It is let go at once if there is not even the room that
    /// opening a vault needs.
    pub(in crate::store) fn open(disk: &Disk, dir: &Path) -> Result<Self, Error> {
        let this = Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            wished: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            is_short: AtomicBool::new(false),
            releases: AtomicU64::new(0),
            files: Mutex::new(()),
        };
        let kept = lying(dir);
        this.kept.store(kept, Ordering::Release);
        this.wished.store(kept, Ordering::Release);
        let free = free(dir);
        if free.bytes < OPENING || free.inodes < FILES {
            this.release()?;
        }
        Ok(this)
    }

    /// From now on there should be `least` bytes, or twice a cabinet of `cabinet` bytes; they are
    /// made as soon as there is room. What the last start or setting left too much is given back.
    pub(in crate::store) fn keep(&self, least: u64, cabinet: u64) {
        let wished = least.max(CABINETS * cabinet).next_multiple_of(FILES * 4096);
        self.wished.store(wished, Ordering::Release);
        if self.kept.load(Ordering::Acquire) != wished {
            self.make();
        }
        self.note(self.room(0).wanting);
    }

    /// Room as it is, and what is wanting for `more` bytes.
    pub(in crate::store) fn room(&self, more: u64) -> Room {
        let kept = self.kept.load(Ordering::Acquire);
        measured(&self.dir, self.wished.load(Ordering::Acquire), kept, more)
    }

    /// Admits `bytes` from outside if they leave the low-water mark and the reserve untouched,
    /// beside all that was admitted and is not written yet.
    pub(in crate::store) fn admit(&self, bytes: u64) -> Result<Admitted<'_>, Error> {
        let all = self.admitted.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        let admitted = Admitted { reserve: self, bytes };
        let wanting = self.room(all).wanting;
        self.note(wanting);
        if wanting > 0 {
            return Err(Error::Full);
        }
        if self.kept.load(Ordering::Acquire) < self.wished.load(Ordering::Acquire) {
            self.make();
        }
        Ok(admitted)
    }

    /// Says it once when room ends, and when there is room again.
    fn note(&self, wanting: u64) {
        if self.is_short.swap(wanting > 0, Ordering::AcqRel) == (wanting > 0) {
            return;
        }
        if wanting > 0 {
            tracing::error!(
                free_this_many_bytes = wanting,
                "the disk is nearly full: letters are answered 452 until there is room again, \
                 reading and forgetting go on"
            );
        } else {
            tracing::info!("there is room on the disk again: letters are taken");
        }
    }

    /// Lets the reserve go; says whether there was one.
    pub(in crate::store) fn release(&self) -> Result<bool, Error> {
        let _turn = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if self.kept.swap(0, Ordering::AcqRel) == 0 {
            return Ok(false);
        }
        for file in files(&self.dir).filter(|file| file.exists()) {
            // Some systems free the blocks of an unlinked file later, those of a cut one at once.
            let cut = File::options().write(true).open(&file).and_then(|file| file.set_len(0));
            cut.map_err(Error::io("the reserve cannot be let go"))?;
            fs::remove_file(&file).map_err(Error::io("the reserve cannot be let go"))?;
        }
        // Freed blocks can be used once the journal has them.
        self.disk.sync_dir(&folder(&self.dir))?;
        self.releases.fetch_add(1, Ordering::AcqRel);
        tracing::warn!("the disk is full: the reserve was let go, so that forgetting goes on");
        Ok(true)
    }

    /// Tries; if there is no room, lets the reserve go and tries once more. Another thread may have
    /// let it go meanwhile.
    pub(in crate::store) fn with<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let releases = || self.releases.load(Ordering::Acquire);
        let before = releases();
        match attempt() {
            Err(Error::Full) if self.release()? || releases() > before => attempt(),
            other => other,
        }
    }

    /// Makes the reserve as large as it should be, if that leaves the low-water mark.
    fn make(&self) {
        let _turn = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let wished = self.wished.load(Ordering::Acquire);
        if self.room(self.admitted.load(Ordering::Acquire)).wanting == 0
            && let Err(error) = make_files(&self.disk, &self.dir, wished / FILES)
        {
            tracing::warn!(%error, "the reserve is not whole");
        }
        self.kept.store(lying(&self.dir), Ordering::Release);
    }
}

/// How it stands with the room of a vault that another process may serve; `least` as it is set.
#[must_use]
pub fn room(dir: &Path, least: u64) -> Room {
    measured(dir, least.next_multiple_of(FILES * 4096), lying(dir), 0)
}

fn measured(dir: &Path, wished: u64, reserve: u64, more: u64) -> Room {
    let free = free(dir);
    let missing = wished.saturating_sub(reserve);
    let needed = missing.saturating_add(wished / LOW_WATER).saturating_add(more);
    let mut wanting = needed.saturating_sub(free.bytes);
    if wished > 0 && free.inodes < LOW_INODES {
        wanting = wanting.max(1);
    }
    Room { free: free.bytes, reserve, wanting }
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("reserve")
}

fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = folder(dir);
    (0..FILES).map(move |n| folder.join(n.to_string()))
}

/// Bytes of the reserve that really take room.
fn lying(dir: &Path) -> u64 {
    let sizes = files(dir).filter_map(|file| fs::metadata(file).ok());
    sizes.map(|found| found.len().min(found.blocks() * 512)).sum()
}

fn make_files(disk: &Disk, dir: &Path, length: u64) -> Result<(), Error> {
    disk.make_dir(&folder(dir))?;
    for path in files(dir) {
        let open =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = open.map_err(Error::write("the reserve cannot be made"))?;
        let made = file.set_len(file.metadata().map_or(0, |found| found.len().min(length)));
        made.and_then(|()| fill(&file, length))
            .map_err(Error::write("the reserve cannot be made"))?;
    }
    Ok(())
}

/// Gives a file all its blocks.
fn fill(file: &File, length: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        other => return other.map_err(io::Error::from),
    }
    // Noise: zeros would take no room where the file system compresses.
    let mut piece = vec![0; PIECE];
    getrandom::fill(&mut piece).expect("the kernel gives randomness");
    let mut at = 0;
    while at < length {
        let some = (length - at).min(PIECE as u64);
        file.write_all_at(&piece[..some as usize], at)?;
        at += some;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_reserve_takes_its_blocks_follows_what_is_wished_and_is_let_go_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let reserve = Reserve::open(&Disk::Machine, dir.path()).expect("opens");
        assert_eq!((lying(dir.path()), reserve.release().expect("nothing to do")), (0, false));
        for (least, cabinet, bytes) in
            [(MIB, 0, MIB), (MIB, 2 * MIB, 4 * MIB), (MIB, MIB / 4, MIB), (MIB, 0, MIB)]
        {
            reserve.keep(least, cabinet);
            assert_eq!(lying(dir.path()), bytes);
            assert_eq!(
                Reserve::open(&Disk::Machine, dir.path()).expect("opens").room(0).reserve,
                bytes
            );
        }
        assert!(reserve.release().expect("is let go"));
        assert!(!reserve.release().expect("once"));
        assert_eq!(lying(dir.path()), 0);
        drop(reserve.admit(1).expect("there is room"));
        assert_eq!(lying(dir.path()), MIB, "and it is made again");
    }

    #[test]
    fn what_is_admitted_counts_until_it_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let reserve = Reserve::open(&Disk::Machine, dir.path()).expect("opens");
        reserve.keep(MIB, 0);
        // Others use this disk, too: coarse steps.
        let free = reserve.room(0).free;
        let held = reserve.admit(free / 4 * 3).expect("there is room");
        assert!(matches!(reserve.admit(free / 2), Err(Error::Full)));
        drop(held);
        drop(reserve.admit(free / 2).expect("it was given back"));
        assert!(matches!(reserve.admit(free * 2), Err(Error::Full)));
        assert!(reserve.room(u64::MAX).wanting > 0 && reserve.room(0).wanting == 0);
    }
}
