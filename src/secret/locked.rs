//! Locked memory: regions cut into small cells, shared by all secrets of the process.
//!
//! A page for each secret would spend the limit on locked memory (8 MiB, as systems come) on two
//! thousand of them; one import makes ten thousand box keys. So a region of 64 KiB is mapped,
//! locked and closed to onlookers once, between two pages that nobody may touch, and holds two
//! thousand cells of 32 bytes. A cell that nobody uses is zero.

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fd::{FromRawFd as _, OwnedFd};
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, mprotect,
    munmap,
};

/// The size of a memory page on every platform we build for.
const PAGE: usize = 4096;
/// What one secret takes at least: a key of 32 bytes fits exactly.
pub(super) const CELL: usize = 32;
/// Bytes of a region, if a secret is not longer.
const REGION: usize = 64 << 10;

/// How far a secret is out of reach, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Wiped, and in no core dump; it may be swapped out, and root can read it.
    Unlocked,
    /// Locked into memory, too: never swapped out. Root can read it.
    Locked,
    /// In pages of `memfd_secret(2)`: not even root, or the kernel by itself, can read them.
    Secret,
}

impl Reach {
    /// As it is written for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Reach::Unlocked => "unlocked",
            Reach::Locked => "mlock",
            Reach::Secret => "memfd_secret",
        }
    }
}

/// Takes `size` bytes, zero, aligned to [`CELL`].
pub(super) fn take(size: usize) -> NonNull<u8> {
    let cells = size.div_ceil(CELL).max(1);
    let mut regions = regions();
    if let Some(place) = regions.iter_mut().find_map(|region| region.take(cells)) {
        return place;
    }
    let mut region = Region::map(cells);
    let place = region.take(cells).expect("a fresh region was made long enough");
    regions.push(region);
    place
}

/// Gives back what [`take`] gave for the same size.
///
/// # Safety
/// `place` came from [`take`] with this size, was not given back, and nobody uses it any more.
#[allow(unsafe_code, reason = "cells are wiped when they come back")]
pub(super) unsafe fn give_back(place: NonNull<u8>, size: usize) {
    let cells = size.div_ceil(CELL).max(1);
    // SAFETY: the cells are still the caller's, and whole.
    unsafe { super::wiping::wipe(place.as_ptr(), cells * CELL) };
    let mut regions = regions();
    let Some(at) = regions.iter().position(|region| region.holds(place)) else { return };
    regions[at].give_back(place, cells);
    // One empty region stays for the next secret.
    if regions[at].used == 0 && regions.iter().filter(|region| region.used == 0).count() > 1 {
        regions.swap_remove(at).unmap();
    }
}

/// The worst reach of what is in use, or of what would be given next.
pub(super) fn reach() -> Reach {
    let mut regions = regions();
    if regions.is_empty() {
        regions.push(Region::map(1));
    }
    regions.iter().map(|region| region.reach).min().unwrap_or(Reach::Unlocked)
}

static REGIONS: Mutex<Vec<Region>> = Mutex::new(Vec::new());

fn regions() -> MutexGuard<'static, Vec<Region>> {
    REGIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Region {
    start: NonNull<u8>,
    /// One bit a cell, set if somebody has it.
    taken: Vec<u64>,
    /// Cells that somebody has.
    used: usize,
    reach: Reach,
}

// SAFETY: a region is plain memory of the process, reached through the one lock.
#[allow(unsafe_code, reason = "a pointer to memory that the process maps for all its threads")]
unsafe impl Send for Region {}

impl Region {
    /// Maps a region with room for so many cells in a row, as far out of reach as the system lets.
    fn map(cells: usize) -> Self {
        let length = (cells * CELL).max(REGION).next_multiple_of(PAGE);
        let start = guarded(length);
        let best = crate::lab::best_reach();
        let reach = if best >= Reach::Secret && map_secret(start, length) {
            Reach::Secret
        } else {
            map_ordinary(start, length, best >= Reach::Locked)
        };
        let cells = length / CELL;
        Self { start, taken: vec![0; cells.div_ceil(64)], used: 0, reach }
    }

    fn length(&self) -> usize {
        self.taken.len() * 64 * CELL
    }

    fn holds(&self, place: NonNull<u8>) -> bool {
        let start = self.start.as_ptr() as usize;
        (start..start + self.length()).contains(&(place.as_ptr() as usize))
    }

    /// Takes so many cells in a row, if they are there.
    fn take(&mut self, cells: usize) -> Option<NonNull<u8>> {
        let all = self.taken.len() * 64;
        if self.used + cells > all {
            return None;
        }
        let (mut at, mut free) = (0, 0);
        while free < cells {
            if at >= all {
                return None;
            }
            let word = self.taken[at / 64];
            if at.is_multiple_of(64) && word == u64::MAX {
                (at, free) = (at + 64, 0);
                continue;
            }
            free = if word >> (at % 64) & 1 == 0 { free + 1 } else { 0 };
            at += 1;
        }
        let first = at - cells;
        self.mark(first, cells, true);
        Some(self.cell(first))
    }

    fn give_back(&mut self, place: NonNull<u8>, cells: usize) {
        let first = (place.as_ptr() as usize - self.start.as_ptr() as usize) / CELL;
        self.mark(first, cells, false);
    }

    fn mark(&mut self, first: usize, cells: usize, taken: bool) {
        for cell in first..first + cells {
            let bit = 1 << (cell % 64);
            if taken {
                self.taken[cell / 64] |= bit;
            } else {
                self.taken[cell / 64] &= !bit;
            }
        }
        self.used = if taken { self.used + cells } else { self.used - cells };
    }

    #[allow(unsafe_code, reason = "a place in a mapping of our own")]
    fn cell(&self, cell: usize) -> NonNull<u8> {
        // SAFETY: the cell lies in the mapping, which `take` counted.
        unsafe { self.start.add(cell * CELL) }
    }

    #[allow(unsafe_code, reason = "undoing a mapping of our own")]
    fn unmap(self) {
        // SAFETY: nobody has a cell of it, and the guards belong to the same mapping. What fails
        // here costs address space.
        unsafe {
            let _ = munmap(self.start.sub(PAGE).as_ptr().cast(), self.length() + 2 * PAGE);
        }
    }
}

/// Address space of `length` bytes between two pages that nobody may touch.
#[allow(unsafe_code, reason = "mapping memory")]
fn guarded(length: usize) -> NonNull<u8> {
    // SAFETY: a fresh mapping at a place that the system chooses.
    let whole = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            length + 2 * PAGE,
            ProtFlags::empty(),
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    };
    let whole = whole.expect("there is address space for a secret").cast::<u8>();
    // SAFETY: within the mapping just made.
    NonNull::new(unsafe { whole.add(PAGE) }).expect("no mapping lies at zero")
}

/// Puts pages of `memfd_secret(2)` in place; `false` if the kernel has none, or the limit on locked
/// memory is reached.
#[allow(unsafe_code, reason = "mapping memory")]
fn map_secret(start: NonNull<u8>, length: usize) -> bool {
    // SAFETY: a system call without a pointer; the descriptor it gives is nobody else's.
    let fd = unsafe {
        match libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) {
            fd if fd >= 0 => OwnedFd::from_raw_fd(fd as i32),
            _ => return false,
        }
    };
    if rustix::fs::ftruncate(&fd, length as u64).is_err() {
        return false;
    }
    // SAFETY: replaces a part of our own mapping that nothing points into yet. A child must not
    // share it.
    unsafe {
        let at = start.as_ptr().cast();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        mmap(at, length, protection, flags, &fd, 0).is_ok()
            && madvise(at, length, Advice::LinuxDontFork).is_ok()
    }
}

/// Makes ordinary pages of the place: in no core dump, wiped in children, locked if that can be.
#[allow(unsafe_code, reason = "mapping memory")]
fn map_ordinary(start: NonNull<u8>, length: usize, lock: bool) -> Reach {
    let at = start.as_ptr().cast();
    // SAFETY: a part of our own mapping that nothing points into yet; each advice only narrows who
    // sees it.
    unsafe {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        mmap_anonymous(at, length, ProtFlags::READ | ProtFlags::WRITE, flags)
            .and_then(|_| mprotect(at, length, MprotectFlags::READ | MprotectFlags::WRITE))
            .expect("there is memory for a secret");
        for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
            let _ = madvise(at, length, advice);
        }
        if lock && mlock(at, length).is_ok() { Reach::Locked } else { Reach::Unlocked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A region of the test's own.
    fn region(cells: usize) -> Region {
        Region::map(cells)
    }

    #[test]
    fn cells_are_given_once_and_found_again_when_they_come_back() {
        let mut region = region(1);
        let all = region.length() / CELL;
        let mut places: Vec<_> = (0..all).map(|_| region.take(1).expect("a cell")).collect();
        assert_eq!(region.take(1), None);
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), all);
        for place in &places[10..13] {
            region.give_back(*place, 1);
        }
        region.give_back(places[70], 1);
        assert_eq!(region.take(4), None, "no four in a row");
        assert_eq!(region.take(3), Some(places[10]));
        assert_eq!(region.take(1), Some(places[70]));
        assert_eq!((region.take(1), region.used), (None, all));
        region.unmap();
    }

    #[test]
    fn a_long_secret_gets_a_region_of_its_own_length() {
        let mut region = region(REGION / CELL + 1);
        assert!(region.length() > REGION);
        let place = region.take(REGION / CELL + 1).expect("fits");
        region.give_back(place, REGION / CELL + 1);
        assert_eq!(region.used, 0);
        region.unmap();
    }
}
