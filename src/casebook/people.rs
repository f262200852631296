//! The list of people on file: one box that is in force, replaced as a whole.
//!
//! The staff side seals it to the epoch, so the server cannot read it. It is a note of no case: its
//! number names none. The list before it is forgotten as soon as a newer one is durable; if that is
//! interrupted, upkeep finishes it.

use super::record::NewBox;
use super::state::{BoxRecord, letter_of};
use super::{Casebook, Error, Opened, bucket, lock};
use crate::case::{Approval, Ground};
use crate::ids::{CaseId, LetterId, StaffId};
use crate::lab::step;
use crate::ledger::entry::{Entry, Fact};
use crate::store::Batch;
use crate::vault::seal::{self, Kind};

impl Casebook {
    /// Takes a list of `count` people over, and forgets the one before. Gives the position of its
    /// entry.
    ///
    /// # Errors
    /// `Malformed` for another box than that of a list; what the store says.
    pub fn import_people(&self, staff: StaffId, list: &NewBox, count: u64) -> Result<u64, Error> {
        let _turn = lock(&self.acts);
        let is_note = list.kind == Kind::Note && letter_of(list.item) == list.letter;
        if !is_note || list.container.is_some() || !list.inner.chunks.is_empty() {
            return Err(Error::Malformed("a list of people is one note"));
        }
        {
            let state = self.state();
            if state.epoch != Some(list.epoch) {
                return Err(Error::Malformed("there is a newer epoch: log in again"));
            }
            if state.boxed(list.kind, list.item).is_some() {
                return Err(Error::Malformed("an id that is taken"));
            }
        }
        let known = self.state().people.last().map(|list| list.case);
        let case = known.unwrap_or_else(|| self.fresh_case());
        let sealed = seal::outer(&list.inner, self.place(list.kind, list.letter, list.item));
        let of_box =
            self.entry_of(Fact::PeopleImported, case, &sealed, list.content, Some(list.epoch));
        let entry = Entry {
            staff: Some(staff),
            size: Some(bucket(list.length)),
            count: Some(count),
            ..of_box
        };
        let mut batch = Batch::of(vec![entry]);
        batch.boxes.push(sealed);
        let seq = self.commit(batch)?;
        step("people:entered");
        let replaced = self.replaced_lists();
        if !replaced.is_empty() {
            self.drop_keys(&replaced, &Approval::by(staff, Ground::NotNeeded))?;
        }
        Ok(seq)
    }

    /// The list in force, if there is one: a look, which is durable before it is disclosed.
    ///
    /// # Errors
    /// What the store says.
    pub fn people(&self, staff: StaffId) -> Result<Option<Opened>, Error> {
        let Some(record) = self.list_in_force() else { return Ok(None) };
        self.record_fact(Entry {
            staff: Some(staff),
            case: Some(record.case),
            letter: Some(record.place.letter),
            box_kind: Some(Kind::Note),
            ..self.entry(Fact::Looked)
        })?;
        self.opened(&record).map(Some)
    }

    fn list_in_force(&self) -> Option<BoxRecord> {
        let state = self.state();
        let newest = state.people.last()?;
        state.boxed(Kind::Note, newest.item).filter(|record| !record.forgotten).copied()
    }

    /// Lists that a newer one replaced and that are not forgotten yet.
    pub(super) fn replaced_lists(&self) -> Vec<BoxRecord> {
        let state = self.state();
        let older = state.people.split_last().map_or(&[][..], |(_, older)| older);
        let records = older.iter().filter_map(|list| state.boxed(Kind::Note, list.item));
        records.filter(|record| !record.forgotten).copied().collect()
    }

    /// Enters that a member had the national numbers of a letter shown.
    ///
    /// # Errors
    /// `Unknown` if the case has no such letter; what the store says.
    pub fn numbers_shown(
        &self,
        staff: StaffId,
        case: CaseId,
        letter: LetterId,
    ) -> Result<u64, Error> {
        let is_known =
            self.state().cases.get(&case).is_some_and(|known| known.letters.contains(&letter));
        if !is_known {
            return Err(Error::Unknown("letter"));
        }
        self.record_fact(Entry {
            staff: Some(staff),
            case: Some(case),
            letter: Some(letter),
            ..self.entry(Fact::NumbersShown)
        })
    }
}
