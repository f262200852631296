//! A vault made anew from a backup: a fresh cabinet that stays shut until it is said what was
//! forgotten since (vault-format §12).
//!
//! ```text
//! lay:     key of g+1 durable → cabinet.<g+1>.restored whole, durable        nothing opens this vault
//! settle:  one frame: Restored, the newer roster, and Forgotten for each erasure, durable → checkpoint
//!          beside the key → key of g+2 durable → cabinet.<g+2>.new without these slots, durable, every
//!          slot opened → renamed = switch → key of g+1 overwritten, unlinked
//! ```
//!
//! The cabinet of the first step has another name than a cabinet has: no program opens it, and no
//! flag that somebody deletes stands between. The next start enters the rotation. A crash at any
//! point leaves a vault that is still shut, or one that is settled.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::cabinet::{self, Kept, Place, Slots};
use super::disk::{self, Disk, Durable};
use super::frame;
use super::{Error, log, mark, opening, rotation};
use crate::ids::{Digest, ItemId, SlotId, StaffId, VaultId};
use crate::lab::step;
use crate::ledger::{Entry, Fact};
use crate::secret::Secret;
use crate::vault::slot;

/// How the name of a cabinet ends that was restored and waits.
const RESTORED: &str = ".restored";
/// The steps of a replay that a crash must survive, in order.
pub const REPLAY_STEPS: &[&str] = &[
    "replay:recorded",
    "replay:marked",
    "replay:key-written",
    "replay:cabinet-written",
    "replay:switched",
    "replay:cleared",
];

/// The generation of the restored cabinet that waits in this vault, if there is one.
pub(super) fn pending(place: &Place) -> Result<Option<u64>, Error> {
    let names = place.disk.names(&place.dir)?;
    let generation =
        |name: &String| name.strip_prefix("cabinet.")?.strip_suffix(RESTORED)?.parse::<u64>().ok();
    Ok(names.iter().filter_map(generation).max())
}

/// Removes what a replay left that was cut off behind its switch. Its key is gone, or goes as that of
/// an older generation.
pub(super) fn clear(place: &Place) -> Result<(), Error> {
    match pending(place)? {
        Some(generation) => place.disk.remove(&waiting(place, generation)),
        None => Ok(()),
    }
}

fn waiting(place: &Place, generation: u64) -> PathBuf {
    place.dir.join(format!("cabinet.{generation}{RESTORED}"))
}

/// A cabinet on its way into a restored vault.
pub struct Cabinet {
    place: Place,
    generation: u64,
    key: Secret<[u8; 32]>,
    kept: HashMap<SlotId, Kept>,
}

impl Cabinet {
    /// Begins one for the vault in `dir`, whose ledger knows of no later rotation than `generation`.
    /// Nothing is written yet.
    #[must_use]
    pub fn begin(dir: &Path, keys: &Path, vault: VaultId, generation: u64) -> Self {
        let (dir, keys) = (dir.to_owned(), keys.to_owned());
        Self {
            place: Place { disk: Disk::Machine, dir, keys, vault },
            generation: generation.max(rotation::FIRST) + 1,
            key: Secret::random(),
            kept: HashMap::new(),
        }
    }

    /// Takes a key in.
    pub fn put(&mut self, id: SlotId, minute: u64, key: &[u8; 32]) {
        self.kept.insert(id, Kept { slot: slot::wrap(self.key.expose(), id, key), minute });
    }

    /// Whether it has a key for this slot.
    #[must_use]
    pub fn has(&self, id: SlotId) -> bool {
        self.kept.contains_key(&id)
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.kept.len() as u64
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Writes its key and itself, durably. The folder of the key must be empty.
    ///
    /// # Errors
    /// Where the system refuses, or something is there already.
    pub fn lay(self) -> Result<(), Error> {
        let Self { place, generation, key, kept } = self;
        place.disk.make_dir(&place.keys)?;
        cabinet::keep_key(&place, generation, &key)?;
        step("restore:key-written");
        let mut bytes = cabinet::head(&place, generation, kept.len() as u64).to_vec();
        for (id, kept) in &kept {
            cabinet::put_add(&mut bytes, *id, kept, 0);
        }
        bytes.resize(bytes.len().next_multiple_of(frame::GRAIN as usize), 0);
        place.disk.create_with(&waiting(&place, generation), &bytes, Durable::Cabinet)?;
        place.disk.sync_dir(disk::parent(&place.keys))
    }
}

/// Removes what an interrupted [`Cabinet::lay`] left in the folder of the key.
///
/// # Errors
/// Where the system refuses.
pub fn clear_laid(keys: &Path) -> Result<(), Error> {
    let disk = Disk::Machine;
    if !disk.exists(keys)? {
        return Ok(());
    }
    for name in disk.names(keys)?.iter().filter(|name| name.ends_with(".key")) {
        rotation::destroy_key(&disk, &keys.join(name))?;
    }
    Ok(())
}

/// What a person says of the time after the backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The hash of the file that has the notes, or the reason.
    pub hash: Digest,
    /// Up to which entry of the lost ledger erasures are known; none if it is stated that there are
    /// none.
    pub known_to: Option<u64>,
    /// A roster that is newer than the backup's, if there is one.
    pub roster: Option<NewRoster>,
}

/// A roster that was signed after the backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoster {
    /// The hash of its note.
    pub hash: Digest,
    /// Hand-overs of the admin key up to the one that signed it: number, and hash of the note.
    pub hand_overs: Vec<(u32, Digest)>,
    /// Members of the one before who are not in it any more.
    pub gone: Vec<StaffId>,
}

/// What was replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Keys that were dropped.
    pub dropped: u64,
    /// Slots that the notes name and this ledger does not: what came after the backup.
    pub unknown: u64,
}

/// A restored vault that waits.
pub struct Pending {
    /// The vault.
    pub vault: VaultId,
    /// Entries that its backup covers.
    pub size: u64,
    /// The public key of checkpoints.
    pub public: Digest,
    /// The hash of the roster in force.
    pub roster: Option<Digest>,
    /// The hashes of the hand-overs of the admin key, oldest first.
    pub hand_overs: Vec<Digest>,
    /// Who was revoked.
    pub revoked: HashSet<StaffId>,
}

impl Pending {
    /// The restored vault in `dir`, if it still waits.
    ///
    /// # Errors
    /// [`Error::NotAVault`]; what is wrong with its ledger.
    pub fn find(dir: &Path) -> Result<Option<Self>, Error> {
        let copied = super::Copied::open(dir)?;
        let place = Place {
            disk: Disk::Machine,
            dir: dir.to_owned(),
            keys: PathBuf::new(),
            vault: copied.vault(),
        };
        if pending(&place)?.is_none() || !place.cabinets()?.is_empty() {
            return Ok(None);
        }
        let mut fold = Fold::default();
        copied.ledger(&copied.ledger_files()?, &mut |entry| fold.take(entry))?;
        let public = fold.public.unwrap_or(Digest::new([0; 32]));
        let (vault, size) = (copied.vault(), fold.covered());
        let Fold { roster, hand_overs, revoked, .. } = fold;
        Ok(Some(Self { vault, size, public, roster, hand_overs, revoked }))
    }
}

/// What a replay needs of the ledger.
#[derive(Default)]
struct Fold {
    size: u64,
    public: Option<Digest>,
    /// The hashes of the newest roster and of all hand-overs of the admin key.
    roster: Option<Digest>,
    hand_overs: Vec<Digest>,
    revoked: HashSet<StaffId>,
    /// What filled each slot that was not emptied since.
    filled: HashMap<SlotId, Entry>,
    emptied: HashSet<SlotId>,
    /// A `Restored` behind the newest rotation: an earlier replay came so far.
    restored: Option<(u64, Digest)>,
}

impl Fold {
    fn take(&mut self, entry: &Entry) {
        self.size = entry.seq + 1;
        match entry.kind {
            Fact::CabinetRotated => self.restored = None,
            Fact::Restored => {
                let first = self.restored.map_or(entry.seq, |(seq, _)| seq);
                self.restored = Some((first, entry.hash.unwrap_or(Digest::new([0; 32]))));
            }
            Fact::ServerKey if entry.count == Some(crate::ledger::entry::CHECKPOINT_KEY) => {
                self.public = entry.hash;
            }
            Fact::RosterSigned => self.roster = entry.hash,
            Fact::AdminSigned => self.hand_overs.extend(entry.hash),
            Fact::MemberRevoked => self.revoked.extend(entry.staff),
            _ => {}
        }
        let Some(slot) = entry.slot else { return };
        if entry.fills_slot() {
            self.filled.insert(slot, entry.clone());
        } else if entry.empties_slot() {
            self.filled.remove(&slot);
            self.emptied.insert(slot);
        }
    }

    /// Entries that the backup covers.
    fn covered(&self) -> u64 {
        self.restored.map_or(self.size, |(seq, _)| seq)
    }

    /// What is to be entered, unless it stands there: that the vault was restored, the newer roster,
    /// and what is forgotten.
    fn entries(&self, minute: u64, stated: &Stated, drops: &HashSet<SlotId>) -> (Vec<Entry>, u64) {
        let known = drops.iter().filter_map(|slot| self.filled.get(slot));
        let known = known.filter(|entry| entry.boxed.is_some());
        let mut gone: Vec<Entry> = known.map(|entry| forgotten(entry, minute)).collect();
        gone.sort_by_key(|entry| entry.seq);
        let dropped = gone.len() as u64;
        let mut entries = Vec::new();
        if self.restored.map(|(_, hash)| hash) != Some(stated.hash) {
            entries.push(Entry {
                hash: Some(stated.hash),
                position: Some(stated.known_to.unwrap_or(self.covered())),
                count: stated.known_to.map(|_| dropped),
                ..Entry::new(Fact::Restored, minute)
            });
        }
        let roster = stated.roster.as_ref();
        let roster = roster.filter(|new| self.roster != Some(new.hash));
        if let Some(NewRoster { hash, hand_overs, gone }) = roster {
            entries.extend(hand_overs.iter().map(|(number, hash)| {
                let (hash, count) = (Some(*hash), Some(u64::from(*number)));
                Entry { hash, count, ..Entry::new(Fact::AdminSigned, minute) }
            }));
            let hash = Some(*hash);
            entries.push(Entry { hash, ..Entry::new(Fact::RosterSigned, minute) });
            entries.extend(gone.iter().map(|id| {
                let staff = Some(*id);
                Entry { staff, ..Entry::new(Fact::MemberRevoked, minute) }
            }));
        }
        entries.extend(gone);
        (entries, dropped)
    }
}

/// The entry that forgets the box which `entry` recorded; numbered like that one, to be sorted.
fn forgotten(entry: &Entry, minute: u64) -> Entry {
    let Entry { seq, case, letter, item, slot, .. } = *entry;
    let item = item.or_else(|| Some(ItemId::new(*letter?.as_bytes())));
    Entry { seq, case, letter, item, slot, ..Entry::new(Fact::Forgotten, minute) }
}

/// Enters what is stated, forgets `drops`, and gives the vault its cabinet: from now on it opens.
///
/// # Errors
/// Where the system refuses, or something is damaged: the vault stays shut, and the same call goes on.
pub fn settle(
    dir: &Path,
    keys: &Path,
    minute: u64,
    stated: &Stated,
    drops: &HashSet<SlotId>,
) -> Result<Replayed, Error> {
    let disk = Disk::Machine;
    let _lock = opening::lock(&disk, dir)?;
    let ledger = dir.join("ledger");
    let vault = log::vault_of(&disk, &ledger)?;
    let place = Place { disk: disk.clone(), dir: dir.to_owned(), keys: keys.to_owned(), vault };
    let generation = match pending(&place)? {
        // With a cabinet the switch is done: the next start removes what waits beside it.
        Some(generation) if place.cabinets()?.is_empty() => generation,
        _ => return Err(Error::absent(&dir.join("cabinet"), "no restored cabinet waits here")),
    };
    let waits = waiting(&place, generation);
    let mut slots = cabinet::load_from(&place, generation, &waits)?.slots;
    let mut fold = Fold::default();
    let log_place = log::Place { disk: disk.clone(), dir: ledger, vault };
    let mut opened = log::open(log_place, &dir.join("quarantine"), &mut |entries| {
        entries.iter().for_each(|(entry, _)| fold.take(entry));
    })?;
    let unknown = drops
        .iter()
        .filter(|slot| !fold.filled.contains_key(slot) && !fold.emptied.contains(slot))
        .count() as u64;
    let (entries, dropped) = fold.entries(minute, stated, drops);
    if !entries.is_empty() {
        let frames = opened.writer.write(vec![entries])?;
        opened.writer.sync()?;
        for (frame, numbered) in &frames {
            opened.history.extend(*frame, numbered);
            numbered.iter().for_each(|(entry, _)| fold.take(entry));
        }
    }
    step("replay:recorded");
    slots.kept.retain(|id, _| !fold.emptied.contains(id));
    // Before the vault opens: behind the switch nothing would write it until the next erasure, and an
    // older ledger could be put back unnoticed.
    mark::write(&place, &slots, &opened.history)?;
    step("replay:marked");
    switch(&place, generation, &slots)?;
    step("replay:switched");
    rotation::destroy_key(&disk, &place.key(generation))?;
    clear(&place)?;
    step("replay:cleared");
    Ok(Replayed { dropped, unknown })
}

/// Writes the slots of a cabinet under a key that never sealed what is forgotten, opens each again,
/// and gives it the name of a cabinet.
fn switch(place: &Place, generation: u64, slots: &Slots) -> Result<(), Error> {
    let (disk, next) = (&place.disk, generation + 1);
    let path = place.cabinet(next);
    let written = place.dir.join(format!("cabinet.{next}.new"));
    // What a try left that was cut off: no cabinet was ever switched to that key.
    if disk.exists(&written)? {
        disk.remove(&written)?;
    }
    if disk.exists(&place.key(next))? {
        rotation::destroy_key(disk, &place.key(next))?;
    }
    let key = cabinet::make_key(place, next)?;
    step("replay:key-written");
    let mut bytes = cabinet::head(place, next, slots.kept.len() as u64).to_vec();
    for (id, old) in &slots.kept {
        let box_key = slots.open(*id)?;
        let new = Kept { slot: slot::wrap(key.expose(), *id, &box_key), minute: old.minute };
        cabinet::put_add(&mut bytes, *id, &new, 0);
    }
    bytes.resize(bytes.len().next_multiple_of(frame::GRAIN as usize), 0);
    disk.create_with(&written, &bytes, Durable::Cabinet)?;
    step("replay:cabinet-written");
    let kept = cabinet::replay(place, next, &written, &disk.read(&written)?)?.kept;
    let opens = kept.iter().all(|(id, kept)| slot::unwrap(key.expose(), *id, &kept.slot).is_ok());
    if kept.len() != slots.kept.len() || !opens {
        return Err(Error::damaged(&written, 0, "the new cabinet does not open"));
    }
    disk.rename(&written, &path).map_err(Error::io("the cabinet cannot be switched"))?;
    disk.sync_dir(&place.dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replay_enters_is_entered_once() {
        let slot = |n| SlotId::new([n; 16]);
        let mut fold = Fold::default();
        for n in 0..4 {
            let filled = Entry {
                seq: u64::from(n),
                slot: Some(slot(n)),
                boxed: Some(crate::ids::Address::new([n; 32])),
                letter: Some(crate::ids::LetterId::new([9; 16])),
                ..Entry::new(Fact::BoxSealed, 5)
            };
            fold.take(&filled);
        }
        let (hash, hand_overs) = (Digest::new([5; 32]), vec![(2, Digest::new([6; 32]))]);
        let roster = Some(NewRoster { hash, hand_overs, gone: vec![StaffId(3)] });
        let hash = Digest::new([1; 32]);
        let stated = Stated { hash, known_to: Some(7), roster };
        let drops = HashSet::from([slot(1), slot(3), slot(8)]);
        let (entries, dropped) = fold.entries(6, &stated, &drops);
        let facts: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.slot)).collect();
        let expected = [
            (Fact::Restored, None),
            (Fact::AdminSigned, None),
            (Fact::RosterSigned, None),
            (Fact::MemberRevoked, None),
            (Fact::Forgotten, Some(slot(1))),
            (Fact::Forgotten, Some(slot(3))),
        ];
        assert_eq!((facts.as_slice(), dropped), (&expected[..], 2));
        assert_eq!((entries[0].position, entries[0].count), (Some(7), Some(2)));
        assert_eq!((entries[1].hash, entries[1].count), (Some(Digest::new([6; 32])), Some(2)));
        assert_eq!(entries[2].hash, Some(Digest::new([5; 32])));
        assert_eq!(entries[3].staff, Some(StaffId(3)));
        assert_eq!(fold.covered(), 4);
        for (seq, entry) in (4..).zip(entries) {
            fold.take(&Entry { seq, ..entry });
        }
        assert_eq!(fold.covered(), 4, "the backup does not cover what the replay entered");
        assert!(fold.entries(6, &stated, &drops).0.is_empty());
        let none = Stated { hash: Digest::new([2; 32]), known_to: None, roster: None };
        let (entries, _) = fold.entries(6, &none, &HashSet::new());
        assert_eq!((entries.len(), entries[0].count), (1, None));
    }
}
