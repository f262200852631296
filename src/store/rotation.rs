//! A new key for the cabinet, so that what was dropped dies in every older copy (design §8).
//!
//! ```text
//! key′ durable beside key → cabinet′ copied beside the committer, durable, read back (`rewrap`)
//!   ⇒ a step of the committer: cabinet′ brought up to date, durable, read back: every slot opened
//!   → rename = switch → `CabinetRotated` in the ledger → old key overwritten in place, unlinked
//! ```
//!
//! What fails before the rename costs the copy alone: it is cleared away, its key overwritten first,
//! and the generation in force stays. A crash at any point leaves the old generation whole or the
//! new one, never neither: [`settle`] finds out which at the next start, and destroys keys only
//! after every slot of the current generation opened.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use zeroize::Zeroizing;

use super::cabinet::{Place, Slots};
use super::disk::{Disk, Durable, Tail};
use super::rewrap::Next;
use super::shared::Shared;
use super::{Committed, Error};
use crate::ids::SlotId;
use crate::lab;

/// The generation that a vault is made with.
pub(super) const FIRST: u64 = 1;
/// A key file is overwritten up to this length.
const PIECE: usize = 1 << 20;

/// One rotation at a time. Whoever asks while one is under way gets the next, which all who wait
/// share: what was dropped before they asked may already be copied by the one under way.
#[derive(Default)]
pub(super) struct Turns {
    begun: AtomicU64,
    /// The newest that was done.
    last: Mutex<Option<(u64, Committed)>>,
}

impl Turns {
    /// Rotates, or waits for a rotation that began after this was asked for.
    pub(super) fn take(
        &self,
        rotate: impl FnOnce() -> Result<Committed, Error>,
    ) -> Result<Committed, Error> {
        let begun = self.begun.load(Ordering::Acquire);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, committed)) = last.filter(|(turn, _)| *turn > begun) {
            return Ok(committed);
        }
        let turn = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let committed = rotate()?;
        *last = Some((turn, committed));
        Ok(committed)
    }
}

/// Makes the next generation beside the current one, without the slots in `left_out`, and opens
/// every slot of it again. `meanwhile` is called again and again, with no slot locked. Without room
/// it lets the reserve go and tries once more.
pub(super) fn prepare(
    shared: &Shared,
    left_out: &HashSet<SlotId>,
    meanwhile: &dyn Fn(),
) -> Result<Next, Error> {
    shared.reserve.with(|| copy(&shared.cabinet_place, &shared.slots, left_out, meanwhile))
}

fn copy(
    place: &Place,
    slots: &RwLock<Slots>,
    left_out: &HashSet<SlotId>,
    meanwhile: &dyn Fn(),
) -> Result<Next, Error> {
    let generation = slots.read().unwrap_or_else(PoisonError::into_inner).generation + 1;
    lab::step("rotate:begin");
    clear(place, generation)?;
    let mut next = Next::begin(place, generation)?;
    let mut snapshot = slots.write().unwrap_or_else(PoisonError::into_inner).snapshot();
    snapshot.ids.retain(|id| !left_out.contains(id));
    // In the order of their ids, nothing tells which came together.
    snapshot.ids.sort_unstable();
    next.copy(slots, snapshot, meanwhile)?;
    Ok(next)
}

/// Where a generation is written before it is in force.
pub(super) fn unfinished(place: &Place, generation: u64) -> PathBuf {
    place.dir.join(format!("cabinet.{generation}.new"))
}

/// After a rotation that failed before its switch: the generation in force stays, and nothing of the
/// next is left. What cannot be removed now is removed by the next rotation, or the next start.
pub(super) fn give_up(place: &Place, slots: &RwLock<Slots>) {
    let generation = {
        let mut slots = slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.since = None;
        slots.generation + 1
    };
    if let Err(error) = clear(place, generation) {
        tracing::warn!(%error, "what was begun of a new cabinet cannot be removed yet");
    }
}

/// Removes what a preparation left, its key first.
fn clear(place: &Place, generation: u64) -> Result<(), Error> {
    let key = place.key(generation);
    if place.disk.exists(&key)? {
        destroy_key(&place.disk, &key)?;
    }
    let written = unfinished(place, generation);
    if place.disk.exists(&written)? { place.disk.remove(&written) } else { Ok(()) }
}

/// That every slot of the current generation was read back and opened: what keys are destroyed for.
pub(super) struct Opens(());

/// Switches to a generation that is finished and verified; gives what readers and the writer use
/// from now on. The caller records it in the ledger, then calls [`destroy_others`].
pub(super) fn switch(place: &Place, next: Next) -> Result<(Slots, Tail, Opens), Error> {
    let path = place.cabinet(next.generation);
    let disk = &place.disk;
    disk.rename(&next.path, &path).map_err(Error::io("the cabinet cannot be switched"))?;
    lab::step("rotate:renamed");
    disk.sync_dir(&place.dir)?;
    lab::step("rotate:switched");
    let (slots, file) = next.into_slots();
    let tail = Tail::new(file, Durable::Cabinet, slots.end);
    Ok((slots, tail, Opens(())))
}

/// Makes sure of a switch that the ledger does not know of, to a cabinet that is as it was made. If
/// the barrier of the directory failed after the rename, the system may take the name for durable
/// that it has lost: so it is given once more. A crash between the two leaves all as before the
/// switch; where what was before is gone, the switch was durable and nothing is done.
pub(super) fn switch_again(place: &Place, generation: u64) -> Result<(), Error> {
    let keys = place.key_files()?;
    let is_before = |g: &u64| *g != generation && keys.contains(g);
    if !place.cabinets()?.iter().any(is_before) {
        return Ok(());
    }
    let (path, unfinished) = (place.cabinet(generation), unfinished(place, generation));
    let renamed = place.disk.rename(&path, &unfinished);
    renamed
        .and_then(|()| place.disk.rename(&unfinished, &path))
        .map_err(Error::io("the cabinet cannot be switched"))?;
    place.disk.sync_dir(&place.dir)
}

/// Removes every other generation than that of `slots`, keys first, once the switch to it is
/// durable and recorded. Says whether there was one.
///
/// # Errors
/// [`Error::Damaged`] if a slot of the current generation does not open: nothing is destroyed then.
pub(super) fn settle(place: &Place, slots: &Slots) -> Result<bool, Error> {
    let others = Others::of(place, slots.generation)?;
    if others.is_none() {
        return Ok(false);
    }
    for id in slots.kept.keys() {
        slots.open(*id).map_err(|_| {
            Error::damaged(&place.cabinet(slots.generation), 0, "a slot that does not open")
        })?;
    }
    others.destroy(place, Opens(())).map(|()| true)
}

/// Removes every other generation than that which was just switched to, keys first.
pub(super) fn destroy_others(place: &Place, generation: u64, opens: Opens) -> Result<(), Error> {
    Others::of(place, generation)?.destroy(place, opens)
}

/// What there is of other generations than the current one.
struct Others {
    unfinished: Vec<String>,
    keys: Vec<u64>,
    cabinets: Vec<u64>,
}

impl Others {
    fn of(place: &Place, current: u64) -> Result<Self, Error> {
        let is_unfinished = |name: &String| name.starts_with("cabinet.") && name.ends_with(".new");
        let is_other = |generation: &u64| *generation != current;
        Ok(Self {
            unfinished: place.disk.names(&place.dir)?.into_iter().filter(is_unfinished).collect(),
            keys: place.key_files()?.into_iter().filter(is_other).collect(),
            cabinets: place.cabinets()?.into_iter().filter(is_other).collect(),
        })
    }

    fn is_none(&self) -> bool {
        self.unfinished.is_empty() && self.keys.is_empty() && self.cabinets.is_empty()
    }

    fn destroy(self, place: &Place, _opens: Opens) -> Result<(), Error> {
        let disk = &place.disk;
        disk.sync_dir(&place.dir)?;
        disk.sync_dir(&place.keys)?;
        for name in self.unfinished {
            disk.remove(&place.dir.join(name))?;
        }
        for generation in self.keys {
            destroy_key(disk, &place.key(generation))?;
        }
        for generation in self.cabinets {
            disk.remove(&place.cabinet(generation))?;
        }
        lab::step("rotate:done");
        Ok(())
    }
}

/// Overwrites a key file in place, makes that durable, then unlinks it. Renaming or truncating
/// would leave the key on the device.
pub(super) fn destroy_key(disk: &Disk, path: &Path) -> Result<(), Error> {
    let file = disk.open(path)?;
    let length = file.length().map_err(Error::io("a key file cannot be read"))?;
    let mut noise = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or(PIECE).min(PIECE)]);
    getrandom::fill(&mut noise).expect("the kernel gives randomness");
    file.write_all_at(&noise, 0).map_err(Error::io("an old key cannot be overwritten"))?;
    file.sync(Durable::Key)?;
    lab::step("rotate:key-overwritten");
    disk.remove(path)?;
    lab::step("rotate:key-destroyed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cabinet::tests::{desk, fill, opened};
    use super::super::{cabinet, frame};
    use super::*;

    /// What the committer does of a rotation, up to the switch.
    fn finished(mut next: Next, slots: &RwLock<Slots>) -> Result<Next, Error> {
        let changed = next.follow(&slots.read().expect("nobody panics"))?;
        next.finish(&changed)?;
        next.verify_end(&changed)?;
        Ok(next)
    }

    fn rotated(
        place: &Place,
        slots: Slots,
        left_out: &HashSet<SlotId>,
    ) -> Result<(Slots, Tail), Error> {
        let slots = RwLock::new(slots);
        let next = finished(copy(place, &slots, left_out, &|| {})?, &slots)?;
        let (slots, tail, _) = switch(place, next)?;
        Ok((slots, tail))
    }

    #[test]
    fn a_rotation_keeps_every_key_and_destroys_the_old_cabinet_key() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        let keys = fill(&mut writer, &mut slots, 20);
        let orphan = keys[3].0;
        let old_key = Disk::Machine.read(&desk.place.key(1)).expect("read");
        let held =
            Disk::Machine.open_to_read(&desk.place.key(1)).expect("a thief keeps the file open");

        let (slots, tail) = rotated(&desk.place, slots, &HashSet::from([orphan])).expect("rotated");
        assert!(settle(&desk.place, &slots).expect("settled"));
        assert!(!settle(&desk.place, &slots).expect("settled"));

        assert_eq!(slots.kept.len(), 19);
        for (id, key) in keys.iter().filter(|(id, _)| *id != orphan) {
            assert_eq!(*slots.open(*id).expect("opens"), *key);
        }
        assert_eq!(desk.place.key_files().expect("read"), [2]);
        assert_eq!(desk.place.cabinets().expect("read"), [2]);
        let mut left = vec![0; old_key.len()];
        held.read_exact_at(&mut left, 0).expect("read");
        assert_ne!(left[frame::HEADER..], old_key[frame::HEADER..]);

        writer.tail = tail;
        let mut slots = slots;
        let more = fill(&mut writer, &mut slots, 1);
        let loaded = cabinet::load(&desk.place, 2).expect("loads");
        assert_eq!(*loaded.slots.open(more[0].0).expect("opens"), more[0].1);
        assert_eq!(loaded.slots.kept.len(), 20);
    }

    #[test]
    fn what_comes_and_goes_while_slots_are_copied_is_there_and_is_not() {
        // Before anything was copied, in the middle, and behind all; none, few and most of them.
        for (count, dropped, added) in
            [(0, 0, 0), (0, 0, 3), (1, 1, 0), (9, 9, 2), (9, 3, 0), (9, 2, 5), (9, 4, 4), (9, 8, 1)]
        {
            let desk = desk();
            let (mut writer, mut slots) = opened(&desk);
            let mut keys = fill(&mut writer, &mut slots, count);
            let slots = RwLock::new(slots);
            let next = copy(&desk.place, &slots, &HashSet::new(), &|| {}).expect("copied");
            let mut now = slots.write().expect("nobody panics");
            let gone: Vec<_> = keys.drain(..dropped).map(|(id, _)| id).collect();
            assert!(gone.iter().all(|id| now.take_out(*id)));
            let more: Vec<_> =
                (0..added).map(|_| (SlotId::random(), crate::ids::random())).collect();
            let adds = more.iter().map(|(id, key)| (*id, now.wrap(*id, key, 7))).collect();
            now.add(adds);
            // One that came and went.
            let brief = (SlotId::random(), now.wrap(SlotId::random(), &[1; 32], 7));
            now.add(vec![brief]);
            assert!(now.take_out(brief.0));
            drop(now);
            keys.extend(more);

            let next = finished(next, &slots).expect("finished");
            switch(&desk.place, next).expect("switched");
            let loaded = cabinet::load(&desk.place, 2).expect("loads");
            assert!(loaded.is_as_begun && loaded.torn.is_none());
            assert_eq!(loaded.slots.kept.len(), keys.len());
            for (id, key) in &keys {
                assert_eq!(*loaded.slots.open(*id).expect("opens"), *key);
            }
            let bytes = Disk::Machine.read(&desk.place.cabinet(2)).expect("read");
            let lies_in = |id: &SlotId| bytes.windows(16).any(|some| some == id.as_bytes());
            assert!(!gone.iter().any(lies_in) && !lies_in(&brief.0));
            assert!(keys.iter().all(|(id, _)| lies_in(id)));
        }
    }

    #[test]
    fn a_slot_that_does_not_open_stops_a_rotation_and_leaves_all_as_it_was() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        let keys = fill(&mut writer, &mut slots, 3);
        slots.kept.get_mut(&keys[1].0).expect("kept").slot[7] ^= 1;
        let slots = RwLock::new(slots);
        for _ in 0..2 {
            let stopped = copy(&desk.place, &slots, &HashSet::new(), &|| {});
            assert!(matches!(stopped, Err(Error::Vault(_))));
            give_up(&desk.place, &slots);
            assert_eq!(desk.place.key_files().expect("read"), [1]);
            assert!(!unfinished(&desk.place, 2).exists());
        }
        let slots = slots.into_inner().expect("nobody panics");
        assert!(slots.since.is_none());
        assert_eq!(*slots.open(keys[0].0).expect("opens"), keys[0].1);
    }

    /// Turns a bit of a file.
    fn flip(path: &Path, at: usize) {
        let mut bytes = std::fs::read(path).expect("read");
        bytes[at] ^= 0x10;
        std::fs::write(path, bytes).expect("written");
    }

    #[test]
    fn a_bit_that_turns_before_the_switch_is_found_and_the_old_generation_stays() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        let keys = fill(&mut writer, &mut slots, 5);
        let slots = RwLock::new(slots);
        let (key, copied) = (desk.place.key(2), unfinished(&desk.place, 2));
        let cabinet = frame::HEADER + 5 * 128;
        let lies = |path: &Path| std::fs::read(path).map_or(0, |bytes| bytes.len());
        // While slots are copied: all that is written by then.
        for at in (frame::HEADER..cabinet).step_by(3) {
            let calls = AtomicU64::new(0);
            let flip_once = || {
                if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                    flip(&copied, at);
                }
            };
            let stopped = copy(&desk.place, &slots, &HashSet::new(), &flip_once);
            assert!(matches!(stopped, Err(Error::Damaged { .. })), "{at}");
            give_up(&desk.place, &slots);
        }
        // In the key, at any time until the committer looks once more.
        for at in 0..96 {
            let next = copy(&desk.place, &slots, &HashSet::new(), &|| {}).expect("copied");
            assert_eq!((lies(&key), lies(&copied)), (96, cabinet));
            flip(&key, at);
            let stopped = finished(next, &slots).err();
            assert!(
                matches!(stopped, Some(Error::Damaged { .. } | Error::Later { .. })),
                "{at}: {stopped:?}"
            );
            give_up(&desk.place, &slots);
            assert_eq!((lies(&key), lies(&copied)), (0, 0));
        }
        let slots = slots.into_inner().expect("nobody panics");
        let (slots, _) = rotated(&desk.place, slots, &HashSet::new()).expect("rotated at last");
        for (id, key) in &keys {
            assert_eq!(*slots.open(*id).expect("opens"), *key);
        }
    }

    #[test]
    fn whoever_asks_while_a_rotation_is_under_way_gets_one_that_began_later() {
        let turns = Turns::default();
        let (runs, begun) = (AtomicU64::new(0), std::sync::Barrier::new(2));
        let run = || {
            let n = runs.fetch_add(1, Ordering::SeqCst);
            Ok(Committed { first_seq: n, last_seq: n })
        };
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                turns.take(|| {
                    begun.wait();
                    // Until the others wait, as far as can be told.
                    std::thread::sleep(std::time::Duration::from_millis(300));
                    run()
                })
            });
            begun.wait();
            let others: Vec<_> = (0..4).map(|_| scope.spawn(|| turns.take(run))).collect();
            assert_eq!(first.join().expect("no panic").expect("rotated").first_seq, 0);
            for other in others {
                assert_eq!(other.join().expect("no panic").expect("rotated").first_seq, 1);
            }
        });
        assert!(turns.take(|| Err(Error::Dead)).is_err());
        assert_eq!(turns.take(run).expect("the next one is not held up").first_seq, 2);
    }

    #[test]
    fn nothing_is_destroyed_while_a_slot_of_the_new_cabinet_does_not_open() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        fill(&mut writer, &mut slots, 3);
        let (mut slots, _) = rotated(&desk.place, slots, &HashSet::new()).expect("rotated");
        let id = *slots.kept.keys().next().expect("a slot");
        slots.kept.get_mut(&id).expect("kept").slot[7] ^= 1;
        assert!(matches!(settle(&desk.place, &slots), Err(Error::Damaged { .. })));
        assert_eq!(desk.place.key_files().expect("read"), [1, 2]);
    }

    #[test]
    fn a_cabinet_that_ends_before_its_first_slots_is_refused() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        fill(&mut writer, &mut slots, 5);
        rotated(&desk.place, slots, &HashSet::new()).expect("rotated");
        let path = desk.place.cabinet(2);
        let whole = Disk::Machine.read(&path).expect("read");
        for cut in (0..whole.len() - 64).step_by(64) {
            std::fs::write(&path, &whole[..cut]).expect("written");
            assert!(matches!(cabinet::load(&desk.place, 2), Err(Error::Damaged { .. })), "{cut}");
        }
    }
}
