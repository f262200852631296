//! A new key for the cabinet, so that what was dropped dies in every older copy (design §8).
//!
//! ```text
//! key′ durable beside key → cabinet′ whole, durable → read back, every slot opened
//!   → rename = switch → `CabinetRotated` in the ledger → old key overwritten in place, unlinked
//! ```
//!
//! A crash at any point leaves the old generation whole or the new one, never neither: [`settle`]
//! finds out which at the next start, and destroys keys only after every slot of the current
//! generation opened.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::cabinet::{self, Kept, Place, Replayed, Slots};
use super::disk::{Disk, Durable, Tail};
use super::{Error, frame};
use crate::ids::SlotId;
use crate::lab;
use crate::secret::Secret;
use crate::vault::slot;

/// The generation that a vault is made with.
pub(super) const FIRST: u64 = 1;
/// What is written at once.
const PIECE: usize = 1 << 20;

/// A generation ready to be switched to.
pub(super) struct Next {
    pub(super) generation: u64,
    key: Secret<[u8; 32]>,
    written: PathBuf,
}

/// Makes the next generation beside the current one, without the slots in `left_out`, and opens
/// every slot of it again.
///
/// # Errors
/// After any but [`Error::Io`] the current generation is as before and nothing of the next is left.
pub(super) fn prepare(
    place: &Place,
    slots: &Slots,
    left_out: &HashSet<SlotId>,
) -> Result<Next, Error> {
    let generation = slots.generation + 1;
    match prepare_files(place, slots, left_out, generation) {
        Err(error) if !matches!(error, Error::Io { .. }) => {
            clear(place, generation)?;
            Err(error)
        }
        other => other,
    }
}

fn prepare_files(
    place: &Place,
    slots: &Slots,
    left_out: &HashSet<SlotId>,
    generation: u64,
) -> Result<Next, Error> {
    lab::step("rotate:begin");
    let key = cabinet::make_key(place, generation)?;
    lab::step("rotate:key-written");
    let written = unfinished(place, generation);
    let kept: Vec<_> = slots.kept.iter().filter(|(id, _)| !left_out.contains(id)).collect();
    write_whole(place, &written, generation, slots, &key, &kept)?;
    lab::step("rotate:cabinet-written");
    verify(place, &written, generation, &key, kept.len())?;
    lab::step("rotate:verified");
    Ok(Next { generation, key, written })
}

fn unfinished(place: &Place, generation: u64) -> PathBuf {
    place.dir.join(format!("cabinet.{generation}.new"))
}

/// Removes what a preparation left.
fn clear(place: &Place, generation: u64) -> Result<(), Error> {
    let written = unfinished(place, generation);
    if place.disk.exists(&written)? {
        place.disk.remove(&written)?;
    }
    let key = place.key(generation);
    if place.disk.exists(&key)? { destroy_key(&place.disk, &key) } else { Ok(()) }
}

fn write_whole(
    place: &Place,
    path: &Path,
    generation: u64,
    slots: &Slots,
    key: &Secret<[u8; 32]>,
    kept: &[(&SlotId, &Kept)],
) -> Result<(), Error> {
    let file = place.disk.create(path)?;
    let mut at = 0;
    let mut piece = cabinet::head(place, generation, kept.len() as u64).to_vec();
    let flush = |piece: &mut Vec<u8>, at: &mut u64| -> Result<(), Error> {
        piece.resize(piece.len().next_multiple_of(frame::GRAIN as usize), 0);
        file.write_all_at(piece, *at).map_err(Error::write("the new cabinet cannot be written"))?;
        *at += piece.len() as u64;
        piece.clear();
        Ok(())
    };
    for (id, old) in kept {
        let box_key = slot::unwrap(slots.key.expose(), **id, &old.slot)?;
        let new = Kept { slot: slot::wrap(key.expose(), **id, &box_key), minute: old.minute };
        cabinet::put_add(&mut piece, **id, &new, 0);
        if piece.len() >= PIECE {
            flush(&mut piece, &mut at)?;
        }
    }
    flush(&mut piece, &mut at)?;
    file.sync(Durable::Cabinet)
}

/// Reads a whole cabinet back and opens every slot.
fn verify(
    place: &Place,
    path: &Path,
    generation: u64,
    key: &Secret<[u8; 32]>,
    count: usize,
) -> Result<(), Error> {
    let bytes = place.disk.read(path)?;
    let kept = cabinet::replay(place, generation, path, &bytes)?.kept;
    let opens = kept.iter().all(|(id, kept)| slot::unwrap(key.expose(), *id, &kept.slot).is_ok());
    if kept.len() == count && opens {
        Ok(())
    } else {
        Err(Error::damaged(path, 0, "the new cabinet does not open"))
    }
}

/// Switches to the prepared generation; gives what readers and the writer use from now on. The
/// caller records it in the ledger, then calls [`settle`].
pub(super) fn switch(place: &Place, next: Next) -> Result<(Slots, Tail), Error> {
    let path = place.cabinet(next.generation);
    let disk = &place.disk;
    disk.rename(&next.written, &path).map_err(Error::io("the cabinet cannot be switched"))?;
    lab::step("rotate:renamed");
    disk.sync_dir(&place.dir)?;
    lab::step("rotate:switched");
    let bytes = disk.read(&path)?;
    let Replayed { kept, end, .. } = cabinet::replay(place, next.generation, &path, &bytes)?;
    let tail = Tail::new(disk.open(&path)?, Durable::Cabinet, end);
    Ok((Slots { generation: next.generation, key: next.key, kept, end }, tail))
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
    let current = slots.generation;
    let disk = &place.disk;
    let unfinished: Vec<_> = disk
        .names(&place.dir)?
        .into_iter()
        .filter(|name| name.starts_with("cabinet.") && name.ends_with(".new"))
        .collect();
    let keys: Vec<_> = place.key_files()?.into_iter().filter(|&g| g != current).collect();
    let cabinets: Vec<_> = place.cabinets()?.into_iter().filter(|&g| g != current).collect();
    if unfinished.is_empty() && keys.is_empty() && cabinets.is_empty() {
        return Ok(false);
    }
    for id in slots.kept.keys() {
        slots
            .open(*id)
            .map_err(|_| Error::damaged(&place.cabinet(current), 0, "a slot that does not open"))?;
    }
    disk.sync_dir(&place.dir)?;
    disk.sync_dir(&place.keys)?;
    for name in unfinished {
        disk.remove(&place.dir.join(name))?;
    }
    for generation in keys {
        destroy_key(disk, &place.key(generation))?;
    }
    for generation in cabinets {
        disk.remove(&place.cabinet(generation))?;
    }
    lab::step("rotate:done");
    Ok(true)
}

/// Overwrites a key file in place, makes that durable, then unlinks it. Renaming or truncating
/// would leave the key on the device.
fn destroy_key(disk: &Disk, path: &Path) -> Result<(), Error> {
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
    use super::*;

    #[test]
    fn a_rotation_keeps_every_key_and_destroys_the_old_cabinet_key() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        let keys = fill(&mut writer, &mut slots, 20);
        let orphan = keys[3].0;
        let old_key = Disk::Machine.read(&desk.place.key(1)).expect("read");
        let held =
            Disk::Machine.open_to_read(&desk.place.key(1)).expect("a thief keeps the file open");

        let next = prepare(&desk.place, &slots, &HashSet::from([orphan])).expect("prepared");
        let (slots, tail) = switch(&desk.place, next).expect("switched");
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
    fn a_slot_that_does_not_open_stops_a_rotation_and_leaves_all_as_it_was() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        let keys = fill(&mut writer, &mut slots, 3);
        slots.kept.get_mut(&keys[1].0).expect("kept").slot[7] ^= 1;
        for _ in 0..2 {
            let stopped = prepare(&desk.place, &slots, &HashSet::new());
            assert!(matches!(stopped, Err(Error::Vault(_))));
            assert_eq!(desk.place.key_files().expect("read"), [1]);
            assert!(!unfinished(&desk.place, 2).exists());
        }
        assert_eq!(*slots.open(keys[0].0).expect("opens"), keys[0].1);
    }

    #[test]
    fn nothing_is_destroyed_while_a_slot_of_the_new_cabinet_does_not_open() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        fill(&mut writer, &mut slots, 3);
        let next = prepare(&desk.place, &slots, &HashSet::new()).expect("prepared");
        let (mut slots, _) = switch(&desk.place, next).expect("switched");
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
        let next = prepare(&desk.place, &slots, &HashSet::new()).expect("prepared");
        switch(&desk.place, next).expect("switched");
        let path = desk.place.cabinet(2);
        let whole = Disk::Machine.read(&path).expect("read");
        for cut in (0..whole.len() - 64).step_by(64) {
            std::fs::write(&path, &whole[..cut]).expect("written");
            assert!(matches!(cabinet::load(&desk.place, 2), Err(Error::Damaged { .. })), "{cut}");
        }
    }
}
