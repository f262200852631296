//! Batches that are announced before they are made, so that they can share barriers.
//!
//! Whoever begins to seal a letter says so. The committer, with a first batch in its hands, waits
//! for those that were announced by then: twenty letters that come together cost two or three pairs
//! of barriers, not one for each that happens to be ready. An announcement counts for [`PATIENCE`]
//! and no longer: a letter that hangs in its parser holds nobody up for more than that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an announcement is waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// A group of letters leaves so many behind for the next one: their work goes on while the disk
/// does its own.
const LEFT_BEHIND: usize = 8;

/// What is announced and has not come, oldest first.
#[derive(Default)]
pub(super) struct Coming(Mutex<List>);

#[derive(Default)]
struct List {
    next: u64,
    waiting: Vec<(u64, Instant)>,
}

/// What one group waits for.
pub(super) struct Awaited {
    /// Announced before this one.
    before: u64,
    /// No more than so many of them may be missing when the group goes.
    missing: usize,
}

/// Says that a batch is being made: put it into the batch, or drop it if there will be none.
pub struct Announced {
    coming: Arc<Coming>,
    id: u64,
}

impl Coming {
    pub(super) fn announce(self: &Arc<Self>) -> Announced {
        let mut list = self.list();
        let id = list.next;
        list.next += 1;
        list.waiting.push((id, Instant::now()));
        Announced { coming: Arc::clone(self), id }
    }

    /// What a group that begins now waits for.
    pub(super) fn awaited(&self) -> Awaited {
        let list = self.list();
        let fresh = list.fresh(list.next).count();
        let missing = if fresh > LEFT_BEHIND { LEFT_BEHIND } else { 0 };
        Awaited { before: list.next, missing }
    }

    /// Until when the group waits for one more batch; nothing if it should go.
    pub(super) fn worth_waiting(&self, awaited: &Awaited) -> Option<Instant> {
        let list = self.list();
        let fresh = list.fresh(awaited.before);
        let surplus = fresh.count().checked_sub(awaited.missing + 1)?;
        list.fresh(awaited.before).nth(surplus).map(|since| since + PATIENCE)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    /// When those before `before` were announced that still count, oldest first.
    fn fresh(&self, before: u64) -> impl Iterator<Item = Instant> {
        let oldest = Instant::now().checked_sub(PATIENCE);
        let counts = move |since: &Instant| oldest.is_none_or(|oldest| *since > oldest);
        self.waiting
            .iter()
            .take_while(move |(id, _)| *id < before)
            .map(|(_, since)| *since)
            .filter(counts)
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.coming.list().waiting.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_waits_for_what_was_announced_before_it_and_leaves_a_few_behind() {
        let coming = Arc::new(Coming::default());
        assert!(coming.worth_waiting(&coming.awaited()).is_none());
        let mut few: Vec<_> = (0..LEFT_BEHIND).map(|_| coming.announce()).collect();
        let awaited = coming.awaited();
        let late = coming.announce();
        while let Some(one) = few.pop() {
            assert!(coming.worth_waiting(&awaited).is_some());
            drop(one);
        }
        assert!(coming.worth_waiting(&awaited).is_none(), "what came later is not waited for");
        let many: Vec<_> = (0..LEFT_BEHIND).map(|_| coming.announce()).collect();
        let awaited = coming.awaited();
        assert!(coming.worth_waiting(&awaited).is_some());
        drop(late);
        assert!(coming.worth_waiting(&awaited).is_none(), "the rest is for the next group");
        drop(many);
    }

    #[test]
    fn what_does_not_come_is_waited_for_once() {
        let coming = Arc::new(Coming::default());
        let hung = coming.announce();
        let until = coming.worth_waiting(&coming.awaited()).expect("a wait");
        assert!(until <= Instant::now() + PATIENCE);
        std::thread::sleep(PATIENCE);
        assert!(coming.worth_waiting(&coming.awaited()).is_none());
        drop(hung);
    }
}
