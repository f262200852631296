//! What is the case now: a fold over the ledger, and nothing else (design §6).
//!
//! `apply` takes one entry after the other and is total: an order that nobody expected changes
//! less, never panics. Deleting this state loses nothing; `Casebook::open` makes it again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use jiff::ToSpan as _;
use jiff::civil::Date;
use minicbor::{Decode, Encode};

use super::copies::Copies;
use super::fetched::Mailboxes;
use crate::case::notice::LOOKS_BACK;
use crate::case::{self, Case, Event, Term};
use crate::ids::{Address, CaseId, Digest, EpochId, ItemId, LetterId, SlotId, StaffId, VaultId};
use crate::ledger::entry::{
    Entry, Fact, NOTICE_DEFERRED, NOTICE_REFUSED, NOTICE_TAKEN, REPORT_FAILED,
};
use crate::request::deadline;
use crate::vault::seal::{Kind, Place};

/// Where a box lies and what the ledger knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxRecord {
    /// The place it is bound to.
    pub place: Place,
    /// The cabinet slot of its key.
    pub slot: SlotId,
    /// BLAKE3(X).
    pub address: Address,
    /// BLAKE3(M).
    pub content: Digest,
    /// The epoch it is sealed to; none if server-sealed.
    pub epoch: Option<EpochId>,
    /// The case it belongs to.
    pub case: CaseId,
    /// The item it was taken out of.
    pub container: Option<ItemId>,
    /// Base-2 logarithm of the padded size, rounded up.
    pub size: u8,
    /// When, in minutes since 1970.
    pub minute: u64,
    /// The position of the entry that records it, the newest if it was sealed anew.
    pub seq: u64,
    /// Whether its key was dropped.
    pub forgotten: bool,
}

/// A letter as the ledger knows it.
#[derive(Clone, Debug, Default)]
pub struct LetterRecord {
    /// Its items in the order they were sealed; the skeleton among them.
    pub items: Vec<ItemId>,
    /// Its contact boxes: one, and one more for each re-delivery that brought recipients.
    pub contacts: Vec<SlotId>,
    /// How often it was delivered again.
    pub redelivered: u32,
    /// Whether staff took its contents out of encryption.
    pub opened: bool,
    /// Whether it was fetched from a mailbox, where it may still lie.
    pub fetched: bool,
}

/// A case as the ledger knows it.
#[derive(Clone, Debug)]
pub struct CaseRecord {
    /// Its state and dates.
    pub case: Case,
    /// Its letters, oldest first.
    pub letters: Vec<LetterId>,
    /// Its notes, oldest first.
    pub notes: Vec<ItemId>,
    /// Its outgoing mails, oldest first.
    pub outgoing: Vec<LetterId>,
    /// Reports that a mail of ours could not be delivered.
    pub returned: u32,
    /// Whether it is one that machines' reports share, and no request.
    pub is_reports: bool,
    /// Its copies of identity documents.
    pub copies: Copies,
    /// Whether its sender was told, or is to be.
    pub is_told: bool,
}

impl CaseRecord {
    fn new(case: Case) -> Self {
        Self {
            case,
            letters: Vec::new(),
            notes: Vec::new(),
            outgoing: Vec::new(),
            returned: 0,
            is_reports: false,
            copies: Copies::default(),
            is_told: false,
        }
    }

    fn step(&mut self, minute: u64, event: Event) {
        self.case = case::step(self.case.clone(), day(minute), event);
    }
}

/// How far a mail to send has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// To be sent.
    Due,
    /// A notice that is composed and held: nobody sends it yet.
    Held,
    /// A notice to be sent, once.
    NoticeDue,
    /// A notice that is about to be handed over.
    Begun,
    /// A notice of which nobody knows whether it was taken.
    Unknown,
    /// Handed over, in this minute since 1970.
    Delivered(u64),
    /// Refused for good.
    Failed,
}

/// How far a sweep came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepRecord {
    /// When, in minutes since 1970.
    pub minute: u64,
    /// The position of its entry.
    pub seq: u64,
    /// A first plan was written down and waits for the second look.
    pub waits: bool,
}

/// A secret that lies wrapped to the readers of the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Wrapped {
    /// That of an epoch.
    #[n(0)]
    Epoch(#[n(0)] EpochId),
    /// One that mail to the mailbox is encrypted to, by its number.
    #[n(1)]
    Mailbox(#[n(0)] u32),
}

/// A checkpoint that outsiders were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When, in minutes since 1970.
    pub minute: u64,
    /// Entries before this one are not news any more.
    pub seen: u64,
    /// How many took it.
    pub takers: u64,
}

/// A backup that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BackedUp {
    /// When, in minutes since 1970.
    #[n(0)]
    pub minute: u64,
    /// The position of its entry.
    #[n(1)]
    pub seq: u64,
    /// It covers the entries before this one.
    #[n(2)]
    pub position: u64,
}

/// A drill of the recovery key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Drilled {
    /// When, in minutes since 1970.
    #[n(0)]
    pub minute: u64,
    /// Epochs that would open.
    #[n(1)]
    pub epochs: u64,
    /// Digest of the recovery key's public half; none if the entry does not say.
    #[n(2)]
    pub recovery: Option<Digest>,
}

/// A list of people on file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeopleRecord {
    /// Its box is the note of this id.
    pub item: ItemId,
    /// Its entries have this number, which is no case's.
    pub case: CaseId,
    /// When it was sealed, in minutes since 1970.
    pub minute: u64,
    /// How many people stand in it.
    pub count: u64,
}

/// The fold.
#[derive(Default)]
pub struct State {
    /// Every case.
    pub cases: BTreeMap<CaseId, CaseRecord>,
    /// Every letter.
    pub letters: HashMap<LetterId, LetterRecord>,
    boxes: Vec<BoxRecord>,
    /// Where in `boxes` each is, by its slot and by what it is of.
    slots: HashMap<SlotId, u32>,
    places: HashMap<(Kind, ItemId), u32>,
    /// Every outgoing mail.
    pub outgoing: BTreeMap<LetterId, Sending>,
    /// Those of them that are notices.
    notice_ids: HashSet<LetterId>,
    /// The notices of the time that the budget of all looks back: when.
    pub notices: VecDeque<u64>,
    /// Whether there ever was one.
    pub tells: bool,
    /// The newest case that reports share, and since when.
    pub reports: Option<(CaseId, u64)>,
    /// The newest proven epoch.
    pub epoch: Option<EpochId>,
    /// The slot of each of the server's own keys, by its number.
    pub server_keys: HashMap<u64, (SlotId, Digest)>,
    /// Hash of the newest signed roster.
    pub roster: Option<Digest>,
    /// The position of its entry.
    roster_seq: u64,
    /// Members who were dropped from the roster: their numbers are never given again.
    pub revoked: BTreeSet<StaffId>,
    /// The position at which each secret was wrapped last.
    wrapped: BTreeMap<Wrapped, u64>,
    /// How far each mailbox of another server was fetched.
    pub mailboxes: Mailboxes,
    /// Epochs whose secret is gone.
    pub destroyed: BTreeSet<EpochId>,
    /// Hash of each epoch's signed note.
    pub epoch_notes: HashMap<EpochId, Digest>,
    /// Hash of the signed note of each hand-over of the admin key, by the number of the new key.
    pub admin_notes: BTreeMap<u32, Digest>,
    /// Hash of the signed note of each of the mailbox's keys.
    pub mailbox_notes: BTreeMap<u32, Digest>,
    /// When the cabinet was rotated last, in minutes since 1970; 0 if never.
    pub rotated: u64,
    /// Whether a key was dropped since.
    pub dropped: bool,
    /// The positions of the entries that say that the cabinet was rotated, ascending.
    rotations: Vec<u64>,
    /// When the vault was made: the minute of its first entry.
    pub founded: Option<u64>,
    /// The minute of its newest entry.
    pub last: u64,
    /// How far the newest sweep came.
    pub sweep: Option<SweepRecord>,
    /// The newest checkpoint that outsiders were sent.
    pub sent: Option<Sent>,
    /// The newest backup.
    pub backup: Option<BackedUp>,
    /// When the vault was made anew from a backup last.
    pub restored: Option<u64>,
    /// The newest drill of the recovery key.
    pub drill: Option<Drilled>,
    /// The lists of people on file, oldest first: the newest is in force.
    pub people: Vec<PeopleRecord>,
    /// Entries whose erasures every outsider was told.
    pub told: u64,
    /// Behind the newest entry that says that something was forgotten; 0 if there is none.
    pub erased: u64,
    /// The slot that a box had before it was sealed anew into this one.
    older: HashMap<SlotId, SlotId>,
    next: u64,
}

impl State {
    /// Takes one entry in.
    pub fn apply(&mut self, vault: VaultId, entry: &Entry) {
        self.next = entry.seq.saturating_add(1);
        self.founded.get_or_insert(entry.minute);
        self.last = entry.minute;
        if entry.kind == Fact::Restored {
            self.restored = Some(entry.minute);
        }
        self.apply_box(vault, entry);
        match entry.kind {
            Fact::CaseOpened => self.open_case(entry),
            Fact::LetterReceived | Fact::LetterOpened => self.letter(entry),
            Fact::Redelivered => {
                if let Some(letter) = entry.letter {
                    self.letters.entry(letter).or_default().redelivered += 1;
                }
            }
            Fact::MailboxBound | Fact::MailboxNamesClosed => self.mailboxes.note(entry),
            Fact::MailFetched | Fact::MailSetAside => {
                self.mailboxes.note(entry);
                if let Some(letter) = entry.letter {
                    self.letters.entry(letter).or_default().fetched = true;
                }
            }
            Fact::NoticeHeld => self.sending(entry, Sending::Held),
            Fact::NoticeDue => {
                self.sending(entry, Sending::NoticeDue);
                self.notice(entry);
            }
            Fact::NoticeSending => self.sending(entry, Sending::Begun),
            Fact::NoticeEnded => self.sending(
                entry,
                match entry.count {
                    Some(NOTICE_TAKEN) => Sending::Delivered(entry.minute),
                    Some(NOTICE_REFUSED) => Sending::Failed,
                    Some(NOTICE_DEFERRED) => Sending::NoticeDue,
                    _ => Sending::Unknown,
                },
            ),
            Fact::ReportReceived => self.report(entry),
            Fact::OutgoingDelivered => self.sending(entry, Sending::Delivered(entry.minute)),
            Fact::OutgoingFailed => self.sending(entry, Sending::Failed),
            Fact::EpochSigned => {
                if let (Some(epoch), Some(hash)) = (entry.epoch, entry.hash) {
                    self.epoch_notes.insert(epoch, hash);
                    self.wrapped.insert(Wrapped::Epoch(epoch), entry.seq);
                }
            }
            Fact::AdminSigned => {
                let number = entry.count.and_then(|number| u32::try_from(number).ok());
                self.admin_notes.extend(number.zip(entry.hash));
            }
            Fact::MailboxSigned => {
                let number = entry.count.and_then(|number| u32::try_from(number).ok());
                if let (Some(number), Some(hash)) = (number, entry.hash) {
                    self.mailbox_notes.insert(number, hash);
                    self.wrapped.insert(Wrapped::Mailbox(number), entry.seq);
                }
            }
            Fact::SweepPlanned | Fact::Swept => {
                let (minute, seq) = (entry.minute, entry.seq);
                let waits = entry.kind == Fact::SweepPlanned && entry.hash.is_some();
                self.sweep = Some(SweepRecord { minute, seq, waits });
            }
            Fact::CabinetRotated => {
                (self.rotated, self.dropped) = (entry.minute, false);
                self.rotations.push(entry.seq);
            }
            Fact::Forgotten => {
                (self.dropped, self.erased) = (true, self.next);
                let at = entry.slot.and_then(|slot| self.slots.get(&slot));
                if let Some(record) = at.and_then(|at| self.boxes.get_mut(*at as usize)) {
                    record.forgotten = true;
                }
            }
            Fact::CheckpointSent => {
                let told = entry.position.unwrap_or(0).min(entry.seq);
                // One that not everybody took says where the next begins, not where it ended.
                let seen = if told > self.told { told } else { entry.seq };
                self.told = self.told.max(told);
                let takers = entry.count.unwrap_or(0);
                self.sent = Some(Sent { minute: entry.minute, seen, takers });
            }
            Fact::BackupMade => {
                let (minute, seq) = (entry.minute, entry.seq);
                let position = entry.position.unwrap_or(0).min(seq);
                self.backup = Some(BackedUp { minute, seq, position });
            }
            Fact::RecoveryDrilled => {
                let (minute, epochs) = (entry.minute, entry.count.unwrap_or(0));
                self.drill = Some(Drilled { minute, epochs, recovery: entry.hash });
            }
            Fact::PeopleImported => {
                if let (Some(letter), Some(case)) = (entry.letter, entry.case) {
                    let (item, minute) = (item_of(letter), entry.minute);
                    let count = entry.count.unwrap_or(0);
                    self.people.push(PeopleRecord { item, case, minute, count });
                }
            }
            Fact::EpochProven => self.epoch = self.epoch.max(entry.epoch),
            Fact::RosterSigned => (self.roster, self.roster_seq) = (entry.hash, entry.seq),
            Fact::SlotDropped => self.dropped = true,
            Fact::MemberRevoked => self.revoked.extend(entry.staff),
            Fact::ReWrapped => {
                let mailbox = entry.count.and_then(|n| u32::try_from(n).ok()).map(Wrapped::Mailbox);
                if let Some(what) = entry.epoch.map(Wrapped::Epoch).or(mailbox) {
                    self.wrapped.insert(what, entry.seq);
                }
            }
            Fact::EpochDestroyed => {
                if let Some(epoch) = entry.epoch {
                    self.destroyed.insert(epoch);
                    self.wrapped.remove(&Wrapped::Epoch(epoch));
                }
            }
            Fact::ServerKey => {
                if let (Some(number), Some(slot), Some(hash)) =
                    (entry.count, entry.slot, entry.hash)
                {
                    self.server_keys.insert(number, (slot, hash));
                }
            }
            _ => {}
        }
        if let Some(record) = entry.case.and_then(|case| self.cases.get_mut(&case)) {
            if let Some(event) = event(entry) {
                record.step(entry.minute, event);
            }
            record.copies.apply(entry, &record.case);
        }
    }

    /// The secrets that were wrapped before the roster in force was signed.
    #[must_use]
    pub fn stale(&self) -> Vec<Wrapped> {
        let is_old = |(_, seq): &(&Wrapped, &u64)| **seq < self.roster_seq;
        self.wrapped.iter().filter(is_old).map(|(what, _)| *what).collect()
    }

    /// Whether the letter was fetched from a mailbox.
    #[must_use]
    pub fn is_fetched(&self, letter: LetterId) -> bool {
        self.letters.get(&letter).is_some_and(|record| record.fetched)
    }

    /// The ledger position of this state: the number of entries it is the fold of.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    fn apply_box(&mut self, vault: VaultId, entry: &Entry) {
        let (Some(kind), Some(slot), Some(address), Some(content), Some(letter), Some(case)) =
            (entry.box_kind, entry.slot, entry.boxed, entry.content, entry.letter, entry.case)
        else {
            return;
        };
        let item = entry.item.unwrap_or_else(|| item_of(letter));
        let place = Place { kind, vault, letter, item };
        if entry.kind == Fact::Resealed {
            return self.resealed(place, slot, address, content, entry);
        }
        let record = BoxRecord {
            place,
            slot,
            address,
            content,
            epoch: entry.epoch,
            case,
            container: entry.container,
            size: entry.size.unwrap_or(0),
            minute: entry.minute,
            seq: entry.seq,
            forgotten: false,
        };
        let new = u32::try_from(self.boxes.len()).expect("fewer boxes than memory has room for");
        let at = *self.slots.entry(slot).or_insert(new);
        match self.boxes.get_mut(at as usize) {
            Some(known) => *known = record,
            None => self.boxes.push(record),
        }
        self.places.insert((kind, item), at);
        match kind {
            Kind::Item => self.letters.entry(letter).or_default().items.push(item),
            Kind::Contact => self.letters.entry(letter).or_default().contacts.push(slot),
            Kind::Note => {
                if let Some(record) = self.cases.get_mut(&case) {
                    record.notes.push(item);
                }
            }
            Kind::Outgoing => {
                self.outgoing.entry(letter).or_insert(Sending::Due);
                if let Some(record) = self.cases.get_mut(&case) {
                    record.outgoing.push(letter);
                }
            }
            Kind::Letter => {}
        }
    }

    /// The same box with another key under another epoch: what it is and since when stays.
    fn resealed(
        &mut self,
        place: Place,
        slot: SlotId,
        address: Address,
        content: Digest,
        entry: &Entry,
    ) {
        let Some(at) = self.places.get(&(place.kind, place.item)).copied() else { return };
        let Some(record) = self.boxes.get_mut(at as usize) else { return };
        if record.forgotten {
            return;
        }
        self.slots.remove(&record.slot);
        self.slots.insert(slot, at);
        self.older.insert(slot, record.slot);
        let (epoch, seq) = (entry.epoch, entry.seq);
        *record = BoxRecord { slot, address, content, epoch, seq, ..*record };
    }

    /// The slots that a box had before it was sealed anew into this one, newest first.
    pub fn older_slots(&self, slot: SlotId) -> impl Iterator<Item = SlotId> {
        std::iter::successors(self.older.get(&slot), |slot| self.older.get(slot)).copied()
    }

    fn open_case(&mut self, entry: &Entry) {
        let (Some(id), Some(term)) = (entry.case, term(entry)) else { return };
        self.cases.entry(id).or_insert_with(|| CaseRecord::new(Case::open(id, term)));
    }

    fn letter(&mut self, entry: &Entry) {
        let Some(letter) = entry.letter else { return };
        self.letters.entry(letter).or_default();
        if entry.kind == Fact::LetterOpened
            && let Some(outer) = entry.container
            && let Some(letter) = self.boxed(Kind::Item, outer).map(|record| record.place.letter)
        {
            self.letters.entry(letter).or_default().opened = true;
        }
        if let Some(record) = entry.case.and_then(|case| self.cases.get_mut(&case)) {
            // The first letter is counted by the opening itself; what staff took out of
            // encryption is no further letter from the sender.
            if !record.letters.is_empty() && entry.kind == Fact::LetterReceived {
                let event = term(entry).map_or(Event::LetterJoined, Event::Reopened);
                record.step(entry.minute, event);
            }
            record.letters.push(letter);
        }
    }

    /// Remembers a notice for the budgets, as long as they look back.
    fn notice(&mut self, entry: &Entry) {
        let oldest = entry.minute.saturating_sub(LOOKS_BACK);
        while self.notices.front().is_some_and(|minute| *minute < oldest) {
            self.notices.pop_front();
        }
        self.notice_ids.extend(entry.letter);
        self.notices.push_back(entry.minute);
        self.tells = true;
        if let Some(record) = entry.case.and_then(|case| self.cases.get_mut(&case)) {
            record.is_told = true;
        }
    }

    /// A machine's report: it joins its case and is no step of it; the first of those that belong to
    /// none makes the case that they share, which is closed from the start.
    fn report(&mut self, entry: &Entry) {
        let (Some(letter), Some(case)) = (entry.letter, entry.case) else { return };
        self.letters.entry(letter).or_default();
        let reports = &mut self.reports;
        let record = self.cases.entry(case).or_insert_with(|| {
            *reports = Some((case, entry.minute));
            let term = Term::of(day(entry.minute));
            let opened = Case::open(case, term);
            let case = case::step(opened, day(entry.minute), Event::Closed);
            CaseRecord { is_reports: true, ..CaseRecord::new(case) }
        });
        record.letters.push(letter);
        if entry.count == Some(REPORT_FAILED) && !record.is_reports {
            record.returned = record.returned.saturating_add(1);
        }
    }

    fn sending(&mut self, entry: &Entry, how: Sending) {
        if let Some(letter) = entry.letter {
            self.outgoing.insert(letter, how);
        }
    }

    /// The position of the first rotation of the cabinet after the entry `seq`.
    #[must_use]
    pub fn rotated_after(&self, seq: u64) -> Option<u64> {
        let at = self.rotations.partition_point(|&rotation| rotation <= seq);
        self.rotations.get(at).copied()
    }

    /// Whether an outgoing mail is a notice.
    #[must_use]
    pub fn is_notice(&self, id: LetterId) -> bool {
        self.notice_ids.contains(&id)
    }

    /// The case of an outgoing mail.
    #[must_use]
    pub fn outgoing_case(&self, id: LetterId) -> Option<CaseId> {
        self.boxed(Kind::Outgoing, item_of(id)).map(|record| record.case)
    }

    /// The record of the box of `kind` for `item`.
    #[must_use]
    pub fn boxed(&self, kind: Kind, item: ItemId) -> Option<&BoxRecord> {
        self.boxes.get(*self.places.get(&(kind, item))? as usize)
    }

    /// The boxes behind this one, oldest first; all of them if it is none.
    pub fn boxes_after(&self, after: Option<(Kind, ItemId)>) -> impl Iterator<Item = &BoxRecord> {
        let at = after.and_then(|place| self.places.get(&place));
        self.boxes[at.map_or(0, |at| *at as usize + 1)..].iter()
    }

    /// The record of the box whose key lies in `slot`.
    #[must_use]
    pub fn slot(&self, slot: SlotId) -> Option<&BoxRecord> {
        self.boxes.get(*self.slots.get(&slot)? as usize)
    }

    /// From when on the age of a box that serves a time counts, in minutes since 1970: a mail's from
    /// its delivery; a contact's, and that of a mail that was not delivered, from its sealing, once
    /// the case is closed. `None` while it still serves.
    #[must_use]
    pub fn serves_since(&self, record: &BoxRecord) -> Option<u64> {
        let is_closed = || self.cases.get(&record.case).is_some_and(|r| r.case.closed.is_some());
        let once_closed = || is_closed().then_some(record.minute);
        match (record.place.kind, self.outgoing.get(&record.place.letter)) {
            (Kind::Contact, _) => once_closed(),
            (Kind::Outgoing, Some(Sending::Delivered(minute))) => Some(*minute),
            (Kind::Outgoing, Some(Sending::Held | Sending::Failed | Sending::Unknown)) => {
                once_closed()
            }
            _ => None,
        }
    }

    /// Every box, oldest first.
    pub fn boxes(&self) -> impl Iterator<Item = &BoxRecord> {
        self.boxes.iter()
    }
}

/// The day in Belgium.
fn day(minute: u64) -> Date {
    deadline::received_on(minute * 60)
}

/// The term that an entry sets, if it sets one.
fn term(entry: &Entry) -> Option<Term> {
    // `count` is the day of receipt, where it is not that of the entry.
    let received = entry.count.and_then(|days| date(i32::try_from(days).ok()?));
    Some(Term {
        received: received.unwrap_or_else(|| day(entry.minute)),
        one_month: date(entry.due_one?)?,
        three_months: date(entry.due_three?)?,
    })
}

/// The date of so many days since 1970-01-01.
#[must_use]
pub fn date(days: i32) -> Option<Date> {
    Date::new(1970, 1, 1).ok()?.checked_add(i64::from(days).days()).ok()
}

/// Days since 1970-01-01, as the ledger writes a date.
#[must_use]
pub fn days(date: Date) -> i32 {
    let epoch = Date::new(1970, 1, 1).expect("a valid date");
    i32::try_from(date.duration_since(epoch).as_hours() / 24).unwrap_or(i32::MAX)
}

fn event(entry: &Entry) -> Option<Event> {
    Some(match entry.kind {
        Fact::Asked => Event::Asked,
        Fact::Resumed => Event::AnsweredQuestion,
        Fact::Extended => Event::Extended,
        Fact::HeldForLaw => Event::Held,
        Fact::HoldLifted => Event::HoldLifted,
        Fact::Decided => Event::Decided,
        Fact::Answered => Event::Answered,
        Fact::OutgoingDelivered => Event::Delivered,
        Fact::OutgoingFailed => Event::DeliveryFailed,
        Fact::Closed => Event::Closed,
        _ => return None,
    })
}

/// A box that is no item of its own takes the letter's id as item id (vault-format §4).
#[must_use]
pub fn item_of(letter: LetterId) -> ItemId {
    ItemId::new(*letter.as_bytes())
}

/// A note or an outgoing mail is its own letter.
#[must_use]
pub fn letter_of(item: ItemId) -> LetterId {
    LetterId::new(*item.as_bytes())
}
