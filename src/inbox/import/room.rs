//! Memory for letters at work: whoever brings one waits until there is room for it.

use std::sync::{Condvar, Mutex, PoisonError};

/// So many bytes, shared.
pub(super) struct Room {
    total: u64,
    held: Mutex<u64>,
    freed: Condvar,
}

/// A share of a [`Room`], given back when dropped.
pub(super) struct Share<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    pub(super) fn new(total: u64) -> Self {
        Self { total, held: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits for so many bytes; more than there are in all means: for everything.
    pub(super) fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.total);
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |held: &mut u64| *held + bytes > self.total;
        let held = self.freed.wait_while(held, is_full);
        *held.unwrap_or_else(PoisonError::into_inner) += bytes;
        Share { room: self, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.room.held.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    #[test]
    fn whoever_finds_no_room_waits_for_it() {
        let room = Room::new(10);
        let first = room.take(6);
        let came = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _all = room.take(1000);
                came.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(20));
            assert!(!came.load(Ordering::SeqCst));
            drop(first);
        });
        assert!(came.load(Ordering::SeqCst));
        drop(room.take(10));
    }
}
