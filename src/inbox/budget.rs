//! Memory for letters: one sum for all that hold one, from its first byte until its fate is known.
//!
//! There is no plaintext spool, so a letter lives in memory until it is sealed. Room is leased before
//! it is allocated, goes with the letter wherever it goes (`Delivery::share`), and is given back when
//! nobody holds it any more. A letter weighs its own size while it comes, and [`AT_WORK`] times that,
//! and what was taken out of it, while it is parsed, sealed and written; there each of its items weighs
//! [`ITEM_AT_WORK`] beside, however short it is. Nobody waits for room: a
//! letter that finds none is refused for now, and its sender keeps it. What would find none though it
//! were alone is told apart ([`Lease::fits_alone`]). Strangers never hold all of it.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lab;

/// Bytes that all letters may hold at most, whatever the machine has.
pub const MAX_IN_FLIGHT: usize = 512 * 1024 * 1024;

/// What a letter at work takes in this process, in times of its size and of what was taken out of it:
/// as it came, cut into items, and sealed.
pub const AT_WORK: usize = 3;

/// What an item takes at work beside its bytes, measured: the grain of its chunk, its box and what that
/// says, and all of it once more on its way to the disk.
pub const ITEM_AT_WORK: usize = 16 * 1024;

/// Room is leased in whole steps of this many bytes.
const STEP: usize = 64 * 1024;

/// The sum of all leases. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    total: usize,
    held: Mutex<Held>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    all: usize,
    /// Of these, by strangers.
    strangers: usize,
}

impl Budget {
    /// A budget of `total` bytes.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self(Arc::new(Pool { total, held: Mutex::default() }))
    }

    /// What this machine can spare, in bytes: a quarter of its memory (or of what the control
    /// group allows), at most [`MAX_IN_FLIGHT`].
    #[must_use]
    pub fn of_this_machine() -> usize {
        if let Some(bytes) = lab::room() {
            return bytes;
        }
        let bytes = [installed_memory(), allowed_memory()].into_iter().flatten().min();
        bytes.map_or(MAX_IN_FLIGHT, |bytes| (bytes / 4).min(MAX_IN_FLIGHT))
    }

    /// A lease of nothing yet, for a letter that comes from one of ours.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease_of(false)
    }

    /// The same for a letter of a stranger: all of theirs together leave a quarter to the others.
    #[must_use]
    pub fn lease_of_stranger(&self) -> Lease {
        self.lease_of(true)
    }

    fn lease_of(&self, is_strangers: bool) -> Lease {
        Lease { budget: self.clone(), is_strangers, held: AtomicUsize::new(0) }
    }

    /// Bytes that are leased now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.lock().all
    }

    /// Whether a letter of ours could have so many bytes, though not now.
    #[must_use]
    pub fn could_ever(&self, bytes: usize) -> bool {
        bytes.div_ceil(STEP).saturating_mul(STEP) <= self.0.total
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What strangers may have of it, and what is enough for one letter at work if it is alone.
    fn most_of_it(&self) -> usize {
        self.total - self.total / 4
    }
}

/// One letter's share of a [`Budget`], given back when dropped.
pub struct Lease {
    budget: Budget,
    is_strangers: bool,
    /// Changed only while the pool is locked.
    held: AtomicUsize,
}

impl Lease {
    /// Grows the lease to at least `bytes`; `false`, and nothing changes, if there is no room.
    #[must_use]
    pub fn cover(&self, bytes: usize) -> bool {
        let pool = &self.budget.0;
        let mut held = pool.lock();
        let mine = self.held.load(Ordering::Relaxed);
        let wanted = bytes.div_ceil(STEP).saturating_mul(STEP);
        let Some(more) = wanted.checked_sub(mine).filter(|more| *more > 0) else { return true };
        let all = held.all.saturating_add(more);
        let strangers = held.strangers.saturating_add(if self.is_strangers { more } else { 0 });
        if all > pool.total || self.is_strangers && strangers > pool.most_of_it() {
            return false;
        }
        *held = Held { all, strangers };
        self.held.store(wanted, Ordering::Relaxed);
        true
    }

    /// Grows the lease to what `bytes` of a letter take while it is at work; `false`, and nothing
    /// changes, if there is no room.
    #[must_use]
    pub fn cover_work(&self, bytes: usize) -> bool {
        self.cover_items(bytes, 0)
    }

    /// The same of a letter of which it is known how many items it has.
    #[must_use]
    pub fn cover_items(&self, bytes: usize, items: usize) -> bool {
        let beside = items.saturating_mul(ITEM_AT_WORK);
        self.cover_alone(bytes.saturating_mul(AT_WORK).saturating_add(beside), bytes)
    }

    /// The same for so many `times` the bytes. Three quarters of the sum are enough for what takes
    /// no more than that once: on a machine with so little memory it is alone then.
    #[must_use]
    pub fn cover_times(&self, times: usize, bytes: usize) -> bool {
        self.cover_alone(bytes.saturating_mul(times), bytes)
    }

    fn cover_alone(&self, wanted: usize, bytes: usize) -> bool {
        let most = self.budget.0.most_of_it() / STEP * STEP;
        self.cover(wanted.min(most.max(bytes)))
    }

    /// Whether so many bytes could be covered if nobody else held any.
    #[must_use]
    pub fn fits_alone(&self, bytes: usize) -> bool {
        let pool = &self.budget.0;
        let most = if self.is_strangers { pool.most_of_it() } else { pool.total };
        bytes <= most / STEP * STEP
    }

    /// Gives everything back.
    pub fn end(&self) {
        let mut held = self.budget.0.lock();
        let mine = self.held.swap(0, Ordering::Relaxed);
        held.all -= mine;
        held.strangers -= if self.is_strangers { mine } else { 0 };
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.held.load(Ordering::Relaxed))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end();
    }
}

/// The lease that goes with a letter: given back when its last holder is done. The default leases
/// nothing and grows without a bound, for letters that come from no wire.
#[derive(Clone, Debug, Default)]
pub struct Share(Option<Arc<Lease>>);

impl From<Lease> for Share {
    fn from(lease: Lease) -> Self {
        Self(Some(Arc::new(lease)))
    }
}

impl Share {
    /// See [`Lease::cover_work`].
    #[must_use]
    pub fn cover_work(&self, bytes: usize) -> bool {
        self.0.as_ref().is_none_or(|lease| lease.cover_work(bytes))
    }

    /// See [`Lease::cover_items`].
    #[must_use]
    pub fn cover_items(&self, bytes: usize, items: usize) -> bool {
        self.0.as_ref().is_none_or(|lease| lease.cover_items(bytes, items))
    }

    /// See [`Lease::fits_alone`].
    #[must_use]
    pub fn fits_alone(&self, bytes: usize) -> bool {
        self.0.as_ref().is_none_or(|lease| lease.fits_alone(bytes))
    }
}

/// What a letter weighs is no part of what it is.
impl PartialEq for Share {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Share {}

fn installed_memory() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn allowed_memory() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let limit = fs::read_to_string(format!("/sys/fs/cgroup{group}/memory.max")).ok()?;
    limit.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_share_one_sum_and_give_it_back() {
        let budget = Budget::new(4 * STEP);
        let (one, two) = (budget.lease(), budget.lease());
        assert!(one.cover(STEP + 1));
        assert_eq!(budget.held(), 2 * STEP);
        assert!(one.cover(1), "a lease never shrinks by asking for less");
        assert!(two.cover(2 * STEP));
        assert!(!two.cover(2 * STEP + 1));
        assert!(!one.cover(3 * STEP));
        one.end();
        assert_eq!(budget.held(), 2 * STEP);
        assert!(two.cover(4 * STEP));
        drop((one, two));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn strangers_leave_a_quarter_to_the_others() {
        let budget = Budget::new(8 * STEP);
        let (one, two) = (budget.lease_of_stranger(), budget.lease_of_stranger());
        assert!(one.cover(4 * STEP));
        assert!(!two.cover(3 * STEP));
        assert!(two.cover(2 * STEP));
        assert!(!budget.lease_of_stranger().cover(1));
        let ours = budget.lease();
        assert!(ours.cover(2 * STEP));
        assert!(!ours.cover(2 * STEP + 1), "nobody has more than there is");
        one.end();
        assert!(ours.cover(6 * STEP), "what strangers leave is for all");
        assert!(!two.cover(3 * STEP));
        drop((one, two, ours));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_letter_at_work_weighs_more_and_alone_it_fits_if_it_fits_at_all() {
        let budget = Budget::new(8 * STEP);
        let (one, two) = (budget.lease(), budget.lease_of_stranger());
        assert!(one.cover_work(STEP));
        assert_eq!(budget.held(), AT_WORK * STEP);
        assert!(two.cover(STEP) && !two.cover_work(2 * STEP));
        one.end();
        assert!(two.cover_work(5 * STEP), "alone, as far as strangers may");
        assert_eq!(budget.held(), 6 * STEP);
        two.end();
        assert!(one.cover_work(8 * STEP), "all of it, if it is that large");
        assert!(!one.cover_work(8 * STEP + 1));
        assert!(budget.could_ever(8 * STEP) && !budget.could_ever(8 * STEP + 1));
        assert!(!budget.could_ever(usize::MAX));
        assert!(!one.cover(usize::MAX) && !one.cover_work(usize::MAX));
    }

    #[test]
    fn items_weigh_beside_their_bytes_and_keep_no_letter_out() {
        let budget = Budget::new(8 * STEP);
        let (one, two) = (budget.lease(), budget.lease());
        let many = STEP / ITEM_AT_WORK;
        assert!(one.cover_items(STEP, many));
        assert_eq!(budget.held(), (AT_WORK + 1) * STEP);
        assert!(!two.cover_items(STEP, 2 * many) && two.cover_items(STEP, many));
        one.end();
        assert!(two.cover_items(STEP, usize::MAX), "alone");
        assert_eq!(budget.held(), 6 * STEP);
    }

    #[test]
    fn what_would_not_fit_alone_is_told_from_what_has_to_wait() {
        for total in [8 * STEP, 8 * STEP + 1, 7 * STEP - 1, STEP, STEP - 1, 0] {
            let budget = Budget::new(total);
            for steps in 0..10 {
                for bytes in [(steps * STEP).saturating_sub(1), steps * STEP, steps * STEP + 1] {
                    for lease in [budget.lease(), budget.lease_of_stranger()] {
                        let fits = lease.cover_work(bytes);
                        assert_eq!(lease.fits_alone(bytes), fits, "{bytes} of {total}: {lease:?}");
                    }
                }
            }
            assert!(!budget.lease().fits_alone(usize::MAX));
        }
        let budget = Budget::new(8 * STEP);
        let (other, one) = (budget.lease(), budget.lease());
        assert!(other.cover(4 * STEP));
        assert!(!one.cover_work(5 * STEP) && one.fits_alone(5 * STEP));
        assert!(one.cover_times(2, 2 * STEP));
        drop(other);
        assert!(one.cover_times(2, 5 * STEP));
        assert_eq!(budget.held(), 6 * STEP, "as far as is enough");
    }

    #[test]
    fn a_share_is_given_back_by_its_last_holder() {
        let budget = Budget::new(8 * STEP);
        let lease = budget.lease();
        assert!(lease.cover(1));
        let share = Share::from(lease);
        let other = share.clone();
        drop(share);
        assert_eq!(budget.held(), STEP);
        assert!(other.cover_work(STEP) && !other.cover_work(9 * STEP));
        drop(other);
        assert_eq!(budget.held(), 0);
        assert!(Share::default().cover_work(usize::MAX));
    }

    #[test]
    fn the_machine_spares_something_and_not_too_much() {
        let bytes = Budget::of_this_machine();
        assert!(bytes > 0 && bytes <= MAX_IN_FLIGHT);
    }
}
