//! Disclosing: the fact is durable before anything is shown (design §9).
//!
//! A *listing* opens letter boxes: one entry with count and hash of the ids. A *look* opens an
//! item: one entry each. What is disclosed is still sealed to the staff's epoch; the server only
//! removes its own layer.

use minicbor::{Decode, Encode};

use super::copies::{CheckCard, CopyCard};
use super::state::{BoxRecord, CaseRecord, Sending, days, item_of};
use super::{Casebook, Error, digest_of};
use crate::ids::{Address, CaseId, Digest, EpochId, ItemId, LetterId, SlotId, StaffId};
use crate::ledger::entry::{Entry, Fact};
use crate::request::deadline;
use crate::store::{self, Batch};
use crate::vault;
use crate::vault::seal::{Inner, Kind, Place};

/// Which cases a listing is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Filter {
    /// Those that someone still has to do something about.
    #[n(0)]
    Open,
    /// All.
    #[n(1)]
    All,
    /// One.
    #[n(2)]
    Case(#[n(0)] CaseId),
    /// So many of the open ones, soonest due first.
    #[n(3)]
    Next(#[n(0)] u32),
}

impl Filter {
    /// As a `Listed` entry says it (vault-format §6).
    fn number(self) -> u8 {
        match self {
            Filter::Open => 1,
            Filter::All => 2,
            Filter::Case(_) => 3,
            Filter::Next(_) => 5,
        }
    }
}

/// The filter of a listing of notes, as a `Listed` entry says it.
const NOTES_OF_A_CASE: u8 = 4;

/// A box without the server's layer, as far as it opens.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Opened {
    /// The place it is bound to.
    #[n(0)]
    pub place: Place,
    /// The inner layer, sealed to the epoch; none if it does not open.
    #[n(1)]
    pub inner: Option<Inner>,
    /// BLAKE3(M), as the ledger recorded it.
    #[n(2)]
    pub content: Digest,
    /// The epoch that opens it.
    #[n(3)]
    pub epoch: Option<EpochId>,
    /// The item it was taken out of.
    #[n(4)]
    pub container: Option<ItemId>,
    /// Its case.
    #[n(5)]
    pub case: CaseId,
    /// When it was sealed, in minutes since 1970.
    #[n(6)]
    pub minute: u64,
    /// Why there is no inner layer.
    #[n(7)]
    pub standing: Standing,
    /// The slot of its key.
    #[n(8)]
    pub slot: SlotId,
}

/// Whether a box can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// It can.
    #[n(0)]
    Kept,
    /// It was forgotten.
    #[n(1)]
    Forgotten,
    /// Its bytes are missing or damaged: see `kluis check`.
    #[n(2)]
    Damaged,
    /// It can, but the listing is too long for one answer without leaving it out: ask for its case
    /// alone.
    #[n(3)]
    LeftOut,
}

/// A letter in a listing.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct LetterCard {
    /// The letter box.
    #[n(0)]
    pub boxed: Opened,
    /// Its items: id, size bucket, whether it is forgotten.
    #[n(1)]
    pub items: Vec<(ItemId, u8, bool)>,
    /// How often it was delivered again.
    #[n(2)]
    pub redelivered: u32,
    /// Whether staff took its contents out of encryption.
    #[n(3)]
    pub opened: bool,
    /// Those of its items that were taken out of another, and out of which.
    #[n(4)]
    pub out_of: Vec<(ItemId, ItemId)>,
}

/// A case in a listing: clear facts, and its letters.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct CaseCard {
    /// Its number.
    #[n(0)]
    pub case: CaseId,
    /// Day of receipt, in days since 1970 like every date here.
    #[n(1)]
    pub received: i32,
    /// The day that counts.
    #[n(2)]
    pub due: i32,
    /// The day if a pause holds.
    #[n(3)]
    pub due_with_pause: Option<i32>,
    /// Closed on.
    #[n(4)]
    pub closed: Option<i32>,
    /// A question is open.
    #[n(5)]
    pub asked: bool,
    /// Extended to three months.
    #[n(6)]
    pub extended: bool,
    /// Under a legal hold.
    #[n(7)]
    pub held: bool,
    /// Decided on.
    #[n(8)]
    pub decided: Option<i32>,
    /// Answers handed over, delivered, refused.
    #[n(9)]
    pub answers: (u32, u32, u32),
    /// Notices that are composed and held.
    #[n(10)]
    pub notices_held: u32,
    /// Its notes.
    #[n(11)]
    pub notes: u32,
    /// Its letters, oldest first.
    #[n(12)]
    pub letters: Vec<LetterCard>,
    /// Notices that were sent, refused, and of which nobody knows.
    #[n(13)]
    pub notices: (u32, u32, u32),
    /// Reports that a mail of ours could not be delivered.
    #[n(14)]
    pub returned: u32,
    /// Whether it is no request, but where reports are kept that belong to none.
    #[n(15)]
    pub is_reports: bool,
    /// What is said of its copies of identity documents.
    #[n(20)]
    pub copies: Vec<CopyCard>,
    /// Who checked one, and when.
    #[n(21)]
    pub checks: Vec<CheckCard>,
}

/// Bytes of letter boxes in one listing: it must fit one answer whatever senders write into their
/// headers, or a few of them could keep everybody from the queue.
const MAX_LISTING: usize = 96 << 20;

/// Leaves the inner layer out if there is no room for it, else takes its room.
fn fit(opened: &mut Opened, room: &mut usize) {
    let Some(inner) = &opened.inner else { return };
    match room.checked_sub(inner.sealed.len()) {
        Some(rest) => *room = rest,
        None => (opened.inner, opened.standing) = (None, Standing::LeftOut),
    }
}

impl Casebook {
    /// Lists cases with their letter boxes, soonest due first. One entry.
    ///
    /// # Errors
    /// `Unknown` for a case that does not exist; what the store says.
    pub fn listing(&self, staff: StaffId, filter: Filter) -> Result<Vec<CaseCard>, Error> {
        let (cases, position) = self.chosen(filter)?;
        let letters: Vec<LetterId> =
            cases.iter().flat_map(|(_, record)| record.letters.iter().copied()).collect();
        let listed = Entry {
            staff: Some(staff),
            case: if let Filter::Case(case) = filter { Some(case) } else { None },
            count: Some(letters.len() as u64),
            hash: Some(digest_of(letters.iter().map(|id| id.as_bytes().as_slice()))),
            position: Some(position),
            filter: Some(filter.number()),
            ..self.entry(Fact::Listed)
        };
        self.record_fact(listed)?;
        let mut room = MAX_LISTING;
        let within = |(id, record): (CaseId, CaseRecord)| {
            let mut card = self.card(id, &record)?;
            card.letters.iter_mut().for_each(|letter| fit(&mut letter.boxed, &mut room));
            Ok(card)
        };
        cases.into_iter().map(within).collect()
    }

    /// Soonest due first; and the ledger position at which they are these.
    fn chosen(&self, filter: Filter) -> Result<(Vec<(CaseId, CaseRecord)>, u64), Error> {
        let state = self.state();
        let is_chosen = |record: &CaseRecord| match filter {
            Filter::Case(_) | Filter::All => true,
            Filter::Open | Filter::Next(_) => record.case.closed.is_none(),
        };
        let mut ids: Vec<_> = match filter {
            Filter::Case(id) => {
                let record = state.cases.get(&id).ok_or(Error::Unknown("case"))?;
                vec![(record.case.due(), id)]
            }
            _ => {
                let chosen = state.cases.iter().filter(|(_, record)| is_chosen(record));
                chosen.map(|(id, record)| (record.case.due(), *id)).collect()
            }
        };
        ids.sort_unstable();
        if let Filter::Next(most) = filter {
            ids.truncate(most as usize);
        }
        let record = |(_, id)| (id, state.cases[&id].clone());
        let cases = ids.into_iter().map(record).collect();
        Ok((cases, state.position()))
    }

    fn card(&self, id: CaseId, record: &CaseRecord) -> Result<CaseCard, Error> {
        let today = deadline::received_on(self.now());
        let case = &record.case;
        let (held, notices) = self.notices_of(record);
        let (copies, checks) = self.copy_cards(&record.copies);
        let letters = record.letters.iter().map(|letter| self.letter_card(*letter));
        Ok(CaseCard {
            case: id,
            received: days(case.term.received),
            due: days(case.due()),
            due_with_pause: case.due_with_pause(today).map(days),
            closed: case.closed.map(days),
            asked: case.asked.is_some(),
            extended: case.extended.is_some(),
            held: case.held,
            decided: case.decided.map(days),
            answers: (case.answers, case.delivered, case.failed),
            notices_held: held,
            notes: record.notes.len() as u32,
            letters: letters.collect::<Result<_, _>>()?,
            notices,
            returned: record.returned,
            is_reports: record.is_reports,
            copies,
            checks,
        })
    }

    /// Notices of a case that are held; and those that were sent, refused, and are unknown.
    fn notices_of(&self, record: &CaseRecord) -> (u32, (u32, u32, u32)) {
        let state = self.state();
        let (mut held, mut ended) = (0, (0, 0, 0));
        for mail in &record.outgoing {
            match (state.outgoing.get(mail), state.is_notice(*mail)) {
                (Some(Sending::Held), _) => held += 1,
                (Some(Sending::Delivered(_)), true) => ended.0 += 1,
                (Some(Sending::Failed), true) => ended.1 += 1,
                (Some(Sending::Unknown), true) => ended.2 += 1,
                _ => {}
            }
        }
        (held, ended)
    }

    fn letter_card(&self, letter: LetterId) -> Result<LetterCard, Error> {
        let (record, items, out_of, known) = {
            let state = self.state();
            let record =
                *state.boxed(Kind::Letter, item_of(letter)).ok_or(Error::Unknown("letter"))?;
            let known = state.letters.get(&letter).cloned().unwrap_or_default();
            let items: Vec<(ItemId, u8, bool)> = known
                .items
                .iter()
                .filter_map(|id| state.boxed(Kind::Item, *id).map(|r| (*id, r.size, r.forgotten)))
                .collect();
            let container = |id: &ItemId| state.boxed(Kind::Item, *id)?.container;
            let out_of: Vec<(ItemId, ItemId)> =
                known.items.iter().filter_map(|id| Some((*id, container(id)?))).collect();
            (record, items, out_of, known)
        };
        Ok(LetterCard {
            boxed: self.opened(&record)?,
            items,
            redelivered: known.redelivered,
            opened: known.opened,
            out_of,
        })
    }

    /// Opens items: one entry each, all durable before the first is disclosed.
    ///
    /// # Errors
    /// `Unknown` if one does not exist, nothing is disclosed then; what the store says.
    pub fn look(&self, staff: StaffId, items: &[ItemId]) -> Result<Vec<Opened>, Error> {
        let records = {
            let state = self.state();
            let find = |id: &ItemId| state.boxed(Kind::Item, *id).copied();
            items
                .iter()
                .map(|id| find(id).ok_or(Error::Unknown("item")))
                .collect::<Result<Vec<_>, _>>()?
        };
        let looked = records.iter().map(|record| Entry {
            staff: Some(staff),
            case: Some(record.case),
            letter: Some(record.place.letter),
            item: Some(record.place.item),
            ..self.entry(Fact::Looked)
        });
        self.commit(Batch::of(looked.collect()))?;
        records.iter().map(|record| self.opened(record)).collect()
    }

    /// Enters that a member insists on an item in spite of a warning.
    ///
    /// # Errors
    /// `Unknown` if it does not exist; what the store says.
    pub fn override_warning(&self, staff: StaffId, item: ItemId) -> Result<(), Error> {
        let found = self.state().boxed(Kind::Item, item).copied();
        let record = found.ok_or(Error::Unknown("item"))?;
        self.record_fact(Entry {
            staff: Some(staff),
            case: Some(record.case),
            letter: Some(record.place.letter),
            item: Some(item),
            ..self.entry(Fact::WarningOverridden)
        })
        .map(drop)
    }

    /// The notes of a case, oldest first. A listing: one entry.
    ///
    /// # Errors
    /// `Unknown` for a case that does not exist; what the store says.
    pub fn notes(&self, staff: StaffId, case: CaseId) -> Result<Vec<Opened>, Error> {
        let (records, position): (Vec<BoxRecord>, u64) = {
            let state = self.state();
            let record = state.cases.get(&case).ok_or(Error::Unknown("case"))?;
            let notes = record.notes.iter().filter_map(|id| state.boxed(Kind::Note, *id).copied());
            (notes.collect(), state.position())
        };
        let listed = Entry {
            staff: Some(staff),
            case: Some(case),
            count: Some(records.len() as u64),
            hash: Some(digest_of(records.iter().map(|r| r.place.item.as_bytes().as_slice()))),
            position: Some(position),
            filter: Some(NOTES_OF_A_CASE),
            ..self.entry(Fact::Listed)
        };
        self.record_fact(listed)?;
        records.iter().map(|record| self.opened(record)).collect()
    }

    pub(super) fn opened(&self, record: &BoxRecord) -> Result<Opened, Error> {
        let mut record = *record;
        let mut opened = self.open_box(&record);
        if matches!(opened, Err(Error::Store(store::Error::Vault(vault::Error::NoKey)))) {
            // Its key may have been replaced since the record was read; not while this is held.
            let _turn = super::lock(&self.acts);
            let newer = self.state().boxed(record.place.kind, record.place.item).copied();
            if let Some(newer) = newer.filter(|newer| newer.slot != record.slot) {
                record = newer;
                opened = self.open_box(&record);
            }
        }
        let (inner, standing) = match opened {
            Ok(inner) => (Some(inner), Standing::Kept),
            Err(_) if record.forgotten => (None, Standing::Forgotten),
            Err(Error::Store(
                store::Error::Vault(
                    vault::Error::NoKey | vault::Error::Missing | vault::Error::Tampered,
                )
                | store::Error::Damaged { .. }
                | store::Error::Later { .. },
            )) => (None, Standing::Damaged),
            Err(other) => return Err(other),
        };
        Ok(Opened {
            place: record.place,
            inner,
            content: record.content,
            epoch: record.epoch,
            container: record.container,
            case: record.case,
            minute: record.minute,
            standing,
            slot: record.slot,
        })
    }

    /// A sealed chunk, for someone who may read the box that refers to it.
    ///
    /// # Errors
    /// What the store says: missing or damaged.
    pub fn chunk(&self, address: &Address) -> Result<Vec<u8>, Error> {
        Ok(self.store.read_chunk(address)?)
    }

    /// Where the mails of a case would go: the newest contact's address and message id, for an
    /// answer. Server-sealed, so the server can say; a look at that letter's contact, one entry.
    ///
    /// # Errors
    /// `Unknown` if the case names no usable address.
    pub fn reply_to(&self, staff: StaffId, case: CaseId) -> Result<super::ContactDetail, Error> {
        let records: Vec<BoxRecord> = {
            let state = self.state();
            let record = state.cases.get(&case).ok_or(Error::Unknown("case"))?;
            record
                .letters
                .iter()
                .rev()
                .filter_map(|letter| state.letters.get(letter))
                .flat_map(|letter| letter.contacts.iter())
                .filter_map(|slot| state.slot(*slot).copied())
                .collect()
        };
        for record in records {
            if record.forgotten {
                continue;
            }
            let manifest = self.open_server_box(&record)?;
            let contact: super::ContactDetail = super::detail::from_bytes(&manifest.detail)?;
            if contact.address.is_some() {
                self.record_fact(Entry {
                    staff: Some(staff),
                    case: Some(case),
                    letter: Some(record.place.letter),
                    box_kind: Some(Kind::Contact),
                    ..self.entry(Fact::Looked)
                })?;
                return Ok(contact);
            }
        }
        Err(Error::Unknown("address to answer to"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VaultId;

    fn opened(length: usize) -> Opened {
        let letter = LetterId::random();
        Opened {
            place: Place {
                kind: Kind::Letter,
                vault: VaultId::random(),
                letter,
                item: item_of(letter),
            },
            inner: Some(Inner { chunks: Vec::new(), sealed: vec![0; length] }),
            content: Digest::new([0; 32]),
            epoch: Some(EpochId(1)),
            container: None,
            case: CaseId::random(),
            minute: 0,
            standing: Standing::Kept,
            slot: SlotId::random(),
        }
    }

    #[test]
    fn one_long_letter_box_leaves_the_others_in_the_listing() {
        let mut boxes = [opened(400), opened(601), opened(600), opened(1)];
        let mut room = 1000;
        boxes.iter_mut().for_each(|opened| fit(opened, &mut room));
        let standing = boxes.map(|opened| (opened.inner.is_some(), opened.standing));
        let (kept, out) = ((true, Standing::Kept), (false, Standing::LeftOut));
        assert_eq!(standing, [kept, out, kept, out]);
    }
}
