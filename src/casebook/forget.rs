//! Forgetting: the entry is durable, then the key is dropped (design §8, §9).
//!
//! Nothing is opened for it. Forgetting an item forgets what it was taken out of, too, for that
//! holds it still, and what was taken out of it, for that is of it: no box that can be opened holds
//! its bytes then. What an encrypted letter said of itself inside lies in the box of the letter that
//! was taken out of it: that goes with the ciphertext, too. What lay beside an item in the same
//! container stays. What goes is compared with what a person was shown, and nothing goes if that is
//! not the same. A certificate says so to others
//! (`ledger::certificate`); it can be had again at any time, and says more once the cabinet has a
//! new key.

use std::collections::HashSet;

use super::record::{Act, Recording};
use super::state::{BoxRecord, item_of};
use super::{Casebook, Error, lock};
use crate::case::{self, Approval};
use crate::ids::{CaseId, ItemId, SlotId};
use crate::ledger::certificate::Certificate;
use crate::ledger::entry::{Entry, Fact};
use crate::ledger::proof::Proof;
use crate::vault::{self, seal::Kind};

/// Minutes until a rotation that failed is tried again by itself: within the slack that a day has,
/// and not every minute, for each try writes the whole cabinet.
pub(super) const ROTATION_AGAIN: u64 = 60;

impl Casebook {
    /// Forgets items of one case, what they were taken out of and what was taken out of them included,
    /// after the reason was recorded: only if that is what was `planned`, where it was. With `now` the
    /// cabinet key is rotated at once: by a rotation that began after the keys were dropped.
    ///
    /// # Errors
    /// What the store says; after `NotRotated` all of it is forgotten, and only the rotation is not
    /// done.
    /// `Refused` under a legal hold; `Unknown` if an item does not exist or is of another case; `Changed`
    /// if something else would go than was planned.
    pub fn forget(
        &self,
        approval: &Approval,
        items: &[ItemId],
        planned: Option<&[ItemId]>,
        reason: Recording,
        now: bool,
    ) -> Result<Vec<Certificate>, Error> {
        let case = reason.case;
        if reason.act != Act::Note || reason.boxes.is_empty() {
            return Err(Error::Malformed("forgetting needs a reason"));
        }
        let turn = lock(&self.acts);
        let records = self.to_forget(case, approval, items)?;
        if planned.is_some_and(|planned| !is_planned(&records, planned)) {
            return Err(Error::Changed);
        }
        if records.is_empty() {
            return Err(Error::Unknown("item that is not forgotten yet"));
        }
        let staff = approval.staff().ok_or(Error::Malformed("a person forgets, not a rule"))?;
        self.record_in_turn(staff, reason)?;
        let seqs = self.drop_keys(&records, approval)?;
        drop(turn);
        if now {
            self.rotate_cabinet()?;
        }
        seqs.into_iter().map(|seq| self.certificate(seq)).collect()
    }

    /// All that goes with these items and was not forgotten before.
    pub(super) fn to_forget(
        &self,
        case: CaseId,
        approval: &Approval,
        items: &[ItemId],
    ) -> Result<Vec<BoxRecord>, Error> {
        let state = self.state();
        let known = state.cases.get(&case).ok_or(Error::Unknown("case"))?;
        case::may_forget(&known.case, approval)?;
        let boxed = |kind: Kind, item: ItemId| {
            state.boxed(kind, item).filter(|record| record.case == case).copied()
        };
        let find = |item: ItemId| boxed(Kind::Item, item).ok_or(Error::Unknown("item"));
        let mut records: Vec<BoxRecord> = Vec::new();
        let mut seen: HashSet<ItemId> = HashSet::new();
        for &asked in items {
            let mut next = Some(asked);
            while let Some(item) = next.filter(|item| seen.insert(*item)) {
                let record = find(item)?;
                next = record.container;
                records.push(record);
            }
        }
        // In the order of the ledger, in which a container comes before what it holds.
        let mut inside: HashSet<ItemId> = items.iter().copied().collect();
        for letter in &known.letters {
            let items = state.letters.get(letter).map_or(&[][..], |letter| &letter.items);
            let of_items = items.iter().filter_map(|item| boxed(Kind::Item, *item));
            // What is inside names its subject and its author here, and nowhere else.
            for record in of_items.chain(boxed(Kind::Letter, item_of(*letter))) {
                if record.container.is_some_and(|outer| inside.contains(&outer)) {
                    let item = record.place.item;
                    inside.insert(item);
                    if seen.insert(item) {
                        records.push(record);
                    }
                }
            }
        }
        records.retain(|record| !record.forgotten);
        Ok(records)
    }

    pub(super) fn drop_keys(
        &self,
        records: &[BoxRecord],
        approval: &Approval,
    ) -> Result<Vec<u64>, Error> {
        let entries: Vec<Entry> = records
            .iter()
            .map(|record| Entry {
                case: Some(record.case),
                letter: Some(record.place.letter),
                item: Some(record.place.item),
                slot: Some(record.slot),
                staff: approval.staff(),
                ..self.entry(Fact::Forgotten)
            })
            .collect();
        let slots: Vec<SlotId> = records.iter().map(|record| record.slot).collect();
        let committed = self.store.forget(entries.clone(), &slots)?;
        self.take_in(committed.first_seq, entries)?;
        Ok((committed.first_seq..committed.first_seq + records.len() as u64).collect())
    }

    /// Rotates the cabinet key: what older copies of the cabinet held dies with the old one.
    ///
    /// # Errors
    /// What the store says.
    pub fn rotate_cabinet(&self) -> Result<(), Error> {
        let minute = self.clock.minutes();
        let rotated = self.store.rotate_cabinet(minute);
        *lock(&self.rotation_failed) = rotated.is_err().then_some(minute);
        let rotated = rotated?;
        let entries = self.store.entries(rotated.first_seq, 1)?;
        self.take_in(rotated.first_seq, entries)
    }

    /// The certificate of a forgetting, as far as it can be proven by now.
    ///
    /// # Errors
    /// `Unknown` if no such entry says that something was forgotten.
    pub fn certificate(&self, seq: u64) -> Result<Certificate, Error> {
        const UNKNOWN: Error = Error::Unknown("entry of something forgotten");
        let bytes = self.store.entry_bytes(seq, 1)?.pop().ok_or(UNKNOWN)?;
        let entry = Entry::from_bytes(&bytes).map_err(|_| vault::Error::Tampered)?;
        let slot = entry.slot.filter(|_| entry.kind == Fact::Forgotten).ok_or(UNKNOWN)?;
        let (sealed, rotated) = {
            let state = self.state();
            (state.slot(slot).map(|record| record.seq), state.rotated_after(seq))
        };
        // Taken last, so that it covers all of them.
        let (checkpoint, size) = self.checkpoint()?;
        let proof = |index: u64| -> Result<Proof, Error> {
            let entry = self.store.entry_bytes(index, 1)?.pop().ok_or(vault::Error::Missing)?;
            let path = self.store.inclusion(index, size).ok_or(vault::Error::Missing)?;
            Ok(Proof { index, entry, path })
        };
        Ok(Certificate {
            forgotten: proof(seq)?,
            sealed: sealed.map(proof).transpose()?,
            rotated: rotated.map(proof).transpose()?,
            checkpoint,
        })
    }
}

/// Whether just this was planned, in whatever order.
fn is_planned(records: &[BoxRecord], planned: &[ItemId]) -> bool {
    let goes: HashSet<ItemId> = records.iter().map(|record| record.place.item).collect();
    goes == planned.iter().copied().collect()
}
