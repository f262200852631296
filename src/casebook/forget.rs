//! Forgetting: the entry is durable, then the key is dropped (design §8, §9).
//!
//! Nothing is opened for it. Forgetting an item forgets what it was taken out of, too, for that
//! holds it still. The certificate says when the last copy of the key dies.

use minicbor::{Decode, Encode};

use super::record::{Act, Recording};
use super::state::BoxRecord;
use super::{Casebook, Error, lock};
use crate::case::{self, Approval};
use crate::ids::{CaseId, Digest, ItemId, SlotId};
use crate::ledger::entry::{Entry, Fact};
use crate::vault::{self, seal::Kind};

/// Days that a backup of the cabinet is kept (design §8): part of the erasure horizon.
pub(super) const BACKUP_DAYS: u64 = 7;
/// Days between two rotations of the cabinet key.
pub(super) const ROTATION_DAYS: u64 = 1;
/// Minutes until a rotation that failed is tried again by itself: within the slack that a day has,
/// and not every minute, for each try writes the whole cabinet.
pub(super) const ROTATION_AGAIN: u64 = 60;

/// Proof that something was forgotten: the entry, where it stands in the ledger, and when the last
/// copy of its key is gone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Certificate {
    /// Position of the `Forgotten` entry.
    #[n(0)]
    pub seq: u64,
    /// The entry as it stands in the ledger: the leaf's bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub entry: Vec<u8>,
    /// The path from the leaf to the root (RFC 9162 §2.1.3).
    #[n(2)]
    pub path: Vec<Digest>,
    /// The signed checkpoint that the path leads to.
    #[n(3)]
    pub checkpoint: String,
    /// From this minute since 1970 on no copy of the key exists any more, backups included.
    #[n(4)]
    pub horizon: u64,
    /// Whether the cabinet was rotated since: if not, a thief of the running server could still
    /// find the key.
    #[n(5)]
    pub rotated: bool,
}

impl Casebook {
    /// Forgets items of one case, what they were taken out of included, after the reason was
    /// recorded. With `now` the cabinet key is rotated at once: by a rotation that began after the
    /// keys were dropped.
    ///
    /// # Errors
    /// What the store says; after `NotRotated` all of it is forgotten, and only the rotation is not
    /// done.
    /// `Refused` under a legal hold; `Unknown` if an item does not exist or is of another case.
    pub fn forget(
        &self,
        approval: &Approval,
        items: &[ItemId],
        reason: Recording,
        now: bool,
    ) -> Result<Vec<Certificate>, Error> {
        let case = reason.case;
        if reason.act != Act::Note || reason.boxes.is_empty() {
            return Err(Error::Malformed("forgetting needs a reason"));
        }
        let turn = lock(&self.acts);
        let records = self.to_forget(case, approval, items)?;
        let staff = approval.staff().ok_or(Error::Malformed("a person forgets, not a rule"))?;
        self.record_in_turn(staff, reason)?;
        let seqs = self.drop_keys(&records, approval)?;
        drop(turn);
        if now {
            self.rotate_cabinet()?;
        }
        seqs.into_iter().map(|seq| self.certificate(seq, now)).collect()
    }

    fn to_forget(
        &self,
        case: CaseId,
        approval: &Approval,
        items: &[ItemId],
    ) -> Result<Vec<BoxRecord>, Error> {
        let state = self.state();
        let known = state.cases.get(&case).ok_or(Error::Unknown("case"))?;
        case::may_forget(&known.case, approval)?;
        let mut records: Vec<BoxRecord> = Vec::new();
        let mut wanted: Vec<ItemId> = items.to_vec();
        while let Some(item) = wanted.pop() {
            let record = state
                .boxed(Kind::Item, item)
                .filter(|record| record.case == case)
                .ok_or(Error::Unknown("item"))?;
            if record.forgotten || records.iter().any(|r| r.slot == record.slot) {
                continue;
            }
            wanted.extend(record.container);
            records.push(*record);
        }
        if records.is_empty() {
            return Err(Error::Unknown("item that is not forgotten yet"));
        }
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

    fn certificate(&self, seq: u64, rotated: bool) -> Result<Certificate, Error> {
        let (checkpoint, size) = self.checkpoint()?;
        let entry = self.store.entry_bytes(seq, 1)?.pop().ok_or(vault::Error::Missing)?;
        let rotation = if rotated { 0 } else { ROTATION_DAYS };
        Ok(Certificate {
            seq,
            entry,
            path: self.store.inclusion(seq, size).ok_or(vault::Error::Missing)?,
            checkpoint,
            horizon: self.clock.minutes() + (BACKUP_DAYS + rotation) * 24 * 60,
            rotated,
        })
    }
}
