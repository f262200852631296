//! Copies of identity documents without their masks: who had which, and why.
//!
//! The server cannot tell what is in an item, so it cannot hold an original back from somebody who may
//! look at items. What it does is to enter who wanted which one unmasked, with the reason as a note of
//! the case, in one frame, before it answers; the member's own program gives the original then, and
//! not before.

use super::record::{Act, Recording};
use super::{Casebook, Error, lock};
use crate::ids::{ItemId, StaffId};
use crate::ledger::entry::{Entry, Fact};
use crate::vault::seal::Kind;

impl Casebook {
    /// Enters that a member has items of one case unmasked, with the reason. Gives the position of the
    /// first entry.
    ///
    /// # Errors
    /// `Malformed` without a reason or without an item; `Unknown` if an item does not exist, was
    /// forgotten or is of another case; what the store says.
    pub fn unmask(
        &self,
        staff: StaffId,
        items: &[ItemId],
        reason: Recording,
    ) -> Result<u64, Error> {
        let is_note = |kind: Kind| kind == Kind::Note;
        if reason.act != Act::Unmask
            || reason.boxes.is_empty()
            || !reason.boxes.iter().all(|new| is_note(new.kind))
        {
            return Err(Error::Malformed("unmasking needs a reason"));
        }
        if items.is_empty() {
            return Err(Error::Malformed("unmasking names its items"));
        }
        let _turn = lock(&self.acts);
        let mut entries = Vec::with_capacity(items.len());
        for item in items {
            let known = self.state().boxed(Kind::Item, *item).copied();
            let record = known
                .filter(|record| record.case == reason.case && !record.forgotten)
                .ok_or(Error::Unknown("item"))?;
            entries.push(Entry {
                staff: Some(staff),
                case: Some(record.case),
                letter: Some(record.place.letter),
                item: Some(*item),
                ..self.entry(Fact::Unmasked)
            });
        }
        self.record_with(staff, reason, entries)
    }
}
