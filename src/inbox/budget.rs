//! Memory for letters in flight: one sum for all connections.
//!
//! There is no plaintext spool, so a letter lives in memory until it is sealed. Room is leased
//! before it is allocated and given back when the letter's fate is known. Nobody waits for room: a
//! letter that finds none is refused for now, and its sender keeps it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all letters in flight may hold at most, whatever the machine has.
pub const MAX_IN_FLIGHT: usize = 512 * 1024 * 1024;

/// Room is leased in whole steps of this many bytes.
const STEP: usize = 64 * 1024;

/// The sum of all leases. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    total: usize,
    held: AtomicUsize,
}

impl Budget {
    /// A budget of `total` bytes.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self(Arc::new(Pool { total, held: AtomicUsize::new(0) }))
    }

    /// What this machine can spare, in bytes: a quarter of its memory (or of what the control
    /// group allows), at most [`MAX_IN_FLIGHT`].
    #[must_use]
    pub fn of_this_machine() -> usize {
        let bytes = [installed_memory(), allowed_memory()].into_iter().flatten().min();
        bytes.map_or(MAX_IN_FLIGHT, |bytes| (bytes / 4).min(MAX_IN_FLIGHT))
    }

    /// A lease of nothing yet.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease { budget: self.clone(), held: 0 }
    }

    /// Bytes that are leased now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }
}

/// One letter's share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Lease {
    budget: Budget,
    held: usize,
}

impl Lease {
    /// Grows the lease to at least `bytes`; `false`, and nothing changes, if there is no room.
    #[must_use]
    pub fn cover(&mut self, bytes: usize) -> bool {
        let wanted = bytes.next_multiple_of(STEP);
        if wanted <= self.held {
            return true;
        }
        let pool = &self.budget.0;
        let grown = pool.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            let held = held + (wanted - self.held);
            (held <= pool.total).then_some(held)
        });
        if grown.is_ok() {
            self.held = wanted;
        }
        grown.is_ok()
    }

    /// Gives everything back.
    pub fn end(&mut self) {
        self.budget.0.held.fetch_sub(self.held, Ordering::AcqRel);
        self.held = 0;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end();
    }
}

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
        let mut one = budget.lease();
        let mut two = budget.lease();
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
    fn the_machine_spares_something_and_not_too_much() {
        let bytes = Budget::of_this_machine();
        assert!(bytes > 0 && bytes <= MAX_IN_FLIGHT);
    }
}
