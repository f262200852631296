//! What must hold, kept apart from the store: the reference that every answer is compared with.
//!
//! Kept: what was answered is there, bit for bit. Whole or absent: of what was not answered there
//! is all or nothing, and what was refused never comes back. Ordered: the ledger only grows, and
//! every head ever given out stands. Forgotten stays forgotten. Nothing is lost or half, and a
//! check finds nothing to say.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::SimDisk;
use crate::ids::{Address, Digest, SlotId};
use crate::ledger::tree::verify_consistency;
use crate::ledger::{Checkpoint, Entry, Fact};
use crate::store::{Error, Store};
use crate::vault;

/// What went against the rules, in words; or that the disk refused, which may be.
#[derive(Debug)]
pub(super) enum Stop {
    Violation(String),
    Refused(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { .. } | Error::Full | Error::Dead => Stop::Refused(error),
            Error::NotRotated(why) => (*why).into(),
            wrong => Stop::Violation(format!("an answer that cannot be: {wrong}")),
        }
    }
}

/// Stops with a violation if it does not hold.
macro_rules! hold {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(Stop::Violation(format!($($words)+)));
        }
    };
}
pub(super) use hold;

/// A box as it was given to the store.
pub(super) struct Known {
    pub(super) address: Address,
    pub(super) bytes: Vec<u8>,
    pub(super) key: [u8; 32],
    pub(super) chunks: Vec<Address>,
    /// Those of the chunks that came along as bytes.
    pub(super) written: Vec<Address>,
}

/// A batch that was brought to the store and is not in the ledger, as far as it was read.
struct Attempt {
    entries: Vec<Entry>,
    fate: Fate,
}

#[derive(PartialEq)]
enum Fate {
    /// Whole or absent.
    Open,
    /// Kept.
    Answered,
    /// Absent for ever.
    Refused,
}

#[derive(Default)]
pub(super) struct Model {
    /// The exact bytes of what happened.
    ledger: Vec<Vec<u8>>,
    /// Batches that are not in the ledger.
    attempts: Vec<Attempt>,
    /// Every box that was ever brought, by its slot.
    boxes: BTreeMap<SlotId, Known>,
    /// The server's own keys.
    keys: BTreeMap<SlotId, [u8; 32]>,
    chunks: BTreeMap<Address, Vec<u8>>,
    /// When a commit brought each chunk last, in minutes.
    written: BTreeMap<Address, u64>,
    /// Slots that the ledger fills, in that order, and whether it has emptied them.
    slots: Vec<(SlotId, bool)>,
    heads: Vec<(u64, Digest)>,
    generation: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { generation: 1, ..Self::default() }
    }

    /// A batch is about to be brought.
    pub(super) fn bring(&mut self, entries: &[Entry]) {
        self.attempts.push(Attempt { entries: entries.to_vec(), fate: Fate::Open });
    }

    pub(super) fn bring_box(&mut self, slot: SlotId, known: Known) {
        self.boxes.insert(slot, known);
    }

    pub(super) fn bring_key(&mut self, slot: SlotId, key: [u8; 32]) {
        self.keys.insert(slot, key);
    }

    pub(super) fn bring_chunk(&mut self, address: Address, bytes: Vec<u8>) {
        self.chunks.insert(address, bytes);
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = (&Address, &Vec<u8>)> {
        self.chunks.iter()
    }

    /// A sweep is about to make its entry, or was: what it counts is its own affair.
    pub(super) fn bring_sweep(&mut self, fact: Fact, minute: u64) {
        self.bring(&[Entry::new(fact, minute)]);
    }

    /// Everything that a box refers to which is there, and these boxes.
    pub(super) fn live(&self) -> BTreeSet<Address> {
        let kept = self.slots.iter().filter(|(_, emptied)| !emptied);
        kept.filter_map(|(slot, _)| self.boxes.get(slot))
            .flat_map(|known| known.chunks.iter().copied().chain([known.address]))
            .collect()
    }

    /// Chunks that a commit brought in this minute or later.
    pub(super) fn written_since(&self, minute: u64) -> Vec<Address> {
        let since = self.written.iter().filter(|(_, written)| **written >= minute);
        since.map(|(address, _)| *address).collect()
    }

    /// Slots of boxes that are there and can be forgotten.
    pub(super) fn forgettable(&self) -> Vec<SlotId> {
        let kept =
            self.slots.iter().filter(|(slot, emptied)| !emptied && self.boxes.contains_key(slot));
        kept.map(|(slot, _)| *slot).collect()
    }

    /// Slots of what was forgotten.
    pub(super) fn emptied(&self) -> impl Iterator<Item = &SlotId> {
        self.slots.iter().filter(|(_, emptied)| *emptied).map(|(slot, _)| slot)
    }

    /// The generation of the cabinet, as the ledger has it.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Entries that were seen.
    pub(super) fn size(&self) -> u64 {
        self.ledger.len() as u64
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        let forgotten = self.slots.iter().filter(|(_, emptied)| *emptied).count() as u64;
        (self.slots.len() as u64 - forgotten, forgotten)
    }

    /// The batches that were brought last were answered, or not.
    pub(super) fn answered(&mut self, answers: &[bool]) {
        let last = self.attempts.len() - answers.len();
        for (attempt, _) in self.attempts[last..].iter_mut().zip(answers).filter(|(_, ok)| **ok) {
            attempt.fate = Fate::Answered;
        }
    }

    /// What was brought and is not in the ledger was refused, or is gone with the process: it must
    /// never come back.
    pub(super) fn refused(&mut self, store: &Store) -> Result<(), Stop> {
        self.follow(store)?;
        self.attempts.iter_mut().for_each(|attempt| attempt.fate = Fate::Refused);
        Ok(())
    }

    /// Reads what is new in the ledger: whole batches that were brought, and rotations. What was
    /// answered is among it.
    pub(super) fn follow(&mut self, store: &Store) -> Result<(), Stop> {
        let size = self.ledger.len() as u64;
        hold!(store.size() >= size, "{} of {size} entries are there", store.size());
        let new = store.entry_bytes(size, usize::MAX)?;
        hold!(new.len() as u64 + size == store.size(), "entries cannot be read");
        let mut rest = new.as_slice();
        while let Some(bytes) = rest.first() {
            let count = self.batch_of(&read(bytes)?, rest)?;
            for bytes in &rest[..count] {
                self.take(bytes)?;
            }
            rest = &rest[count..];
        }
        let is_kept = self.attempts.iter().all(|attempt| attempt.fate != Fate::Answered);
        hold!(is_kept, "a batch was answered and is not in the ledger");
        Ok(())
    }

    /// How many entries belong to the batch that begins with `first`.
    fn batch_of(&mut self, first: &Entry, rest: &[Vec<u8>]) -> Result<usize, Stop> {
        if first.kind == Fact::CabinetRotated {
            return Ok(1);
        }
        let is_it = |attempt: &Attempt| is_of(&attempt.entries[0], first);
        let found = self.attempts.iter().position(is_it);
        hold!(found.is_some(), "an entry that nobody brought: {first:?}");
        let attempt = self.attempts.remove(found.unwrap_or_default());
        hold!(attempt.fate != Fate::Refused, "a batch that was refused is in the ledger");
        hold!(rest.len() >= attempt.entries.len(), "half a batch is in the ledger");
        for (entry, bytes) in attempt.entries.iter().zip(rest) {
            hold!(is_of(entry, &read(bytes)?), "half a batch is in the ledger");
        }
        Ok(attempt.entries.len())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let entry = read(bytes)?;
        hold!(entry.seq == self.ledger.len() as u64, "an entry with the number of another");
        self.ledger.push(bytes.to_vec());
        if entry.kind == Fact::CabinetRotated {
            self.generation += 1;
            hold!(entry.count == Some(self.generation), "a generation was left out");
        }
        if let Some(slot) = entry.slot {
            if entry.empties_slot() {
                self.slots
                    .iter_mut()
                    .filter(|(id, _)| *id == slot)
                    .for_each(|(_, gone)| *gone = true);
            } else if entry.fills_slot() {
                self.slots.push((slot, false));
                let written = self.boxes.get(&slot).map_or(&[][..], |known| &known.written);
                self.written.extend(written.iter().map(|address| (*address, entry.minute)));
            }
        }
        Ok(())
    }

    /// Remembers the head of the ledger as someone outside may know it.
    pub(super) fn head(&mut self, store: &Store, checkpoint: Checkpoint) -> Result<(), Stop> {
        self.follow(store)?;
        hold!(checkpoint.size == self.ledger.len() as u64, "a checkpoint of another size");
        self.heads.push((checkpoint.size, checkpoint.root));
        Ok(())
    }

    /// Compares everything. What a check says counts only where nothing is wrong with the disk.
    pub(super) fn verify(&mut self, store: &Store, disk: &SimDisk) -> Result<(), Stop> {
        self.follow(store)?;
        hold!(store.entry_bytes(0, usize::MAX)? == self.ledger, "the ledger has changed");
        self.verify_heads(store)?;
        for (slot, emptied) in &self.slots {
            self.verify_slot(store, *slot, *emptied)?;
        }
        let report = disk.calmly(|| store.check(false, &|_, _| {}))?;
        if !disk.struck() {
            hold!(report.is_clean() && report.lost == 0, "a check finds {:?}", report.problems);
        }
        Ok(())
    }

    /// Whether all that was kept is read, of a vault that something happened to. What is read is
    /// what was kept, and what was forgotten is not.
    pub(super) fn reads_all(&self, store: &Store) -> Result<bool, Stop> {
        let mut all = store.entry_bytes(0, usize::MAX).is_ok_and(|ledger| ledger == self.ledger);
        for (slot, emptied) in &self.slots {
            let key = store.box_key(*slot).ok();
            hold!(key.is_none() || !emptied, "a key that was forgotten is there");
            let wanted = self.boxes.get(slot).map_or_else(|| self.keys[slot], |known| known.key);
            hold!(key.as_deref().is_none_or(|key| *key == wanted), "another key than was kept");
            all &= key.is_some() || *emptied;
            let Some(known) = self.boxes.get(slot).filter(|_| !emptied) else { continue };
            let read = store.read_box(&known.address).ok();
            hold!(read.as_ref().is_none_or(|read| *read == known.bytes), "another box");
            all &= read.is_some();
            for address in &known.chunks {
                let read = store.read_chunk(address).ok();
                let is_it = read.is_none() || read.as_ref() == self.chunks.get(address);
                hold!(is_it, "another chunk than was kept");
                all &= read.is_some();
            }
        }
        Ok(all)
    }

    fn verify_heads(&self, store: &Store) -> Result<(), Stop> {
        let size = store.size();
        let root = store.root(size);
        for (earlier, earlier_root) in &self.heads {
            hold!(
                store.root(*earlier) == Some(*earlier_root),
                "a head of {earlier} is contradicted"
            );
            let proof = store.consistency(*earlier, size).unwrap_or_default();
            let holds = root.is_some_and(|root| {
                verify_consistency(*earlier, *earlier_root, size, root, &proof)
            });
            hold!(holds, "the ledger does not extend its head of {earlier}");
        }
        Ok(())
    }

    fn verify_slot(&self, store: &Store, slot: SlotId, emptied: bool) -> Result<(), Stop> {
        let key = store.box_key(slot);
        if emptied {
            let is_gone = matches!(key, Err(Error::Vault(vault::Error::NoKey)));
            hold!(is_gone, "a key that was forgotten is there");
            return Ok(());
        }
        let key = key.map_err(|error| Stop::Violation(format!("a key that was kept: {error}")))?;
        let Some(known) = self.boxes.get(&slot) else {
            hold!(self.keys.get(&slot) == Some(&*key), "another key of the server's own");
            return Ok(());
        };
        hold!(*key == known.key, "another key than was kept");
        hold!(store.read_box(&known.address)? == known.bytes, "another box than was kept");
        for address in &known.chunks {
            hold!(store.has_chunk(address)?, "a chunk that is there is not known");
            let is_it = self.chunks.get(address) == Some(&store.read_chunk(address)?);
            hold!(is_it, "another chunk than was kept");
        }
        Ok(())
    }
}

/// Whether an entry of the ledger is one that was brought.
fn is_of(brought: &Entry, entry: &Entry) -> bool {
    match brought.kind {
        Fact::SweepPlanned | Fact::Swept => {
            brought.kind == entry.kind && brought.minute == entry.minute
        }
        _ => *brought == Entry { seq: 0, ..entry.clone() },
    }
}

fn read(bytes: &[u8]) -> Result<Entry, Stop> {
    Entry::from_bytes(bytes).map_err(|error| Stop::Violation(format!("no entry: {error}")))
}
