//! What the staff side sealed and sends: notes, decisions, opened letters, answers (design §5).
//!
//! The staff side makes the chunks and the inner layer; the server draws box key and slot, seals
//! the outer layer and commits. It sees no content, and checks what it can: roles, cases, that
//! every chunk a box refers to came along, that nothing takes the place of what is kept.

use std::collections::HashSet;

use minicbor::{Decode, Encode};

use super::copies::{Check, Mark};
use super::state::{BoxRecord, Sending, item_of, letter_of};
use super::{Casebook, Error, bucket, lock};
use crate::case::{self, Intent};
use crate::ids::{Address, CaseId, Digest, EpochId, ItemId, LetterId, StaffId};
use crate::ledger::entry::{Entry, Fact, READ_AT_DESK};
use crate::request::deadline;
use crate::store::Batch;
use crate::vault::chunk::SealedChunk;
use crate::vault::seal::{self, Inner, Kind};

/// A box that the staff side made the inner layer of.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct NewBox {
    /// `Letter`, `Item` or `Note`.
    #[n(0)]
    pub kind: Kind,
    /// The letter it belongs to; for a note its own id.
    #[n(1)]
    pub letter: LetterId,
    /// Its id.
    #[n(2)]
    pub item: ItemId,
    /// Inner layer.
    #[n(3)]
    pub inner: Inner,
    /// BLAKE3(M).
    #[n(4)]
    pub content: Digest,
    /// The epoch it is sealed to.
    #[n(5)]
    pub epoch: EpochId,
    /// The item it was taken out of.
    #[n(6)]
    pub container: Option<ItemId>,
    /// True length of its content in bytes.
    #[n(7)]
    pub length: u64,
    /// Whether it is an item that looks like a copy of an identity document.
    #[n(8)]
    pub is_copy: bool,
}

/// A sealed chunk on its way.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct NewChunk {
    /// Its address.
    #[n(0)]
    pub address: Address,
    /// Ciphertext ‖ tag.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// What a person does to a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Act {
    /// Only remember something.
    #[n(0)]
    Note,
    /// Decide.
    #[n(1)]
    Decide,
    /// Extend to three months.
    #[n(2)]
    Extend,
    /// Ask a question that may pause the clock.
    #[n(3)]
    Ask,
    /// The question was answered.
    #[n(4)]
    Resume,
    /// Put it under a legal hold.
    #[n(5)]
    Hold,
    /// Lift the hold.
    #[n(6)]
    LiftHold,
    /// Close it.
    #[n(7)]
    Close,
    /// Take an encrypted letter's contents in.
    #[n(8)]
    OpenLetter,
    /// Send an answer.
    #[n(9)]
    Answer,
    /// Record evidence of who asks.
    #[n(10)]
    Evidence,
    /// Accept evidence of who asks.
    #[n(11)]
    Prove,
    /// Doubt who asks.
    #[n(12)]
    Doubt,
    /// Have copies of identity documents without their masks; see [`Casebook::unmask`].
    #[n(13)]
    Unmask,
    /// Say that items are copies of identity documents, or none.
    #[n(14)]
    Copy,
}

impl Act {
    fn intent(self) -> Option<Intent> {
        Some(match self {
            Act::Note | Act::OpenLetter | Act::Unmask | Act::Copy => return None,
            Act::Decide => Intent::Decide,
            Act::Extend => Intent::Extend,
            Act::Ask => Intent::Ask,
            Act::Resume => Intent::AnswerQuestion,
            Act::Hold => Intent::Hold,
            Act::LiftHold => Intent::LiftHold,
            Act::Close => Intent::Close,
            Act::Answer => Intent::Answer,
            Act::Evidence | Act::Prove | Act::Doubt => Intent::Identify,
        })
    }

    fn fact(self) -> Option<Fact> {
        Some(match self {
            Act::Note | Act::OpenLetter | Act::Unmask | Act::Copy => return None,
            Act::Decide => Fact::Decided,
            Act::Extend => Fact::Extended,
            Act::Ask => Fact::Asked,
            Act::Resume => Fact::Resumed,
            Act::Hold => Fact::HeldForLaw,
            Act::LiftHold => Fact::HoldLifted,
            Act::Close => Fact::Closed,
            Act::Answer => Fact::Answered,
            Act::Evidence => Fact::EvidenceRecorded,
            Act::Prove => Fact::ProofAccepted,
            Act::Doubt => Fact::DoubtRaised,
        })
    }
}

/// One thing a person records: an act, the boxes that say why, a mail to send.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Recording {
    /// The case.
    #[n(0)]
    pub case: CaseId,
    /// What is done.
    #[n(1)]
    pub act: Act,
    /// The boxes.
    #[n(2)]
    pub boxes: Vec<NewBox>,
    /// Every chunk they refer to.
    #[n(3)]
    pub chunks: Vec<NewChunk>,
    /// For an answer: the composed, encrypted mail.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub mail: Option<Vec<u8>>,
    /// Which items are copies of identity documents, and which none.
    #[n(5)]
    pub marks: Vec<Mark>,
    /// For evidence: that a copy of an identity document was checked.
    #[n(6)]
    pub check: Option<Check>,
}

/// A mail that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its id.
    pub id: LetterId,
    /// When it was recorded, in minutes since 1970.
    pub minute: u64,
    /// Whether it is a notice: those are handed over once at most.
    pub is_notice: bool,
    record: BoxRecord,
}

impl Due {
    /// Its case.
    #[must_use]
    pub fn case(&self) -> CaseId {
        self.record.case
    }
}

impl Casebook {
    /// Records what a person did. Gives the position of the first entry.
    ///
    /// # Errors
    /// `Refused` if the case does not allow it, `Malformed` if the parts do not fit together.
    pub fn record(&self, staff: StaffId, recording: Recording) -> Result<u64, Error> {
        if recording.act == Act::Unmask {
            return Err(Error::Malformed("unmasking names its items"));
        }
        let _turn = lock(&self.acts);
        self.record_in_turn(staff, recording)
    }

    /// Records while the turn is held: what was allowed is still allowed when it is committed.
    pub(super) fn record_in_turn(
        &self,
        staff: StaffId,
        recording: Recording,
    ) -> Result<u64, Error> {
        self.record_with(staff, recording, Vec::new())
    }

    /// As [`record_in_turn`](Self::record_in_turn), with entries before all others of the same frame.
    pub(super) fn record_with(
        &self,
        staff: StaffId,
        recording: Recording,
        entries: Vec<Entry>,
    ) -> Result<u64, Error> {
        let (case, act) = (recording.case, recording.act);
        self.may(case, act)?;
        self.fits(&recording)?;
        // What opens a letter or answers one is as long as the letter: it waits for room.
        let from_reserve = !matches!(act, Act::OpenLetter | Act::Answer);
        let mut batch = Batch { from_reserve, entries, ..Batch::default() };
        if let Some(fact) = act.fact() {
            let entry = self.entry(fact);
            batch.entries.push(Entry { case: Some(case), staff: Some(staff), ..entry });
        }
        for new in &recording.boxes {
            self.add_box(&mut batch, staff, case, new);
        }
        self.add_marks(&mut batch, staff, &recording);
        for chunk in recording.chunks {
            batch.chunks.push(SealedChunk::received(chunk.address, &chunk.bytes)?);
        }
        if let Some(mail) = &recording.mail {
            self.add_outgoing(&mut batch, case, LetterId::random(), mail, Fact::BoxSealed);
        }
        let first = self.commit(batch)?;
        if act == Act::Answer {
            self.outgoing.notify_one();
        }
        Ok(first)
    }

    fn may(&self, case: CaseId, act: Act) -> Result<(), Error> {
        let state = self.state();
        let record = state.cases.get(&case).ok_or(Error::Unknown("case"))?;
        if let Some(intent) = act.intent() {
            case::may(&record.case, deadline::received_on(self.now()), intent)?;
        }
        Ok(())
    }

    /// Whether the parts belong together and to this case.
    fn fits(&self, recording: &Recording) -> Result<(), Error> {
        match (recording.act, &recording.mail) {
            (Act::Answer, None) => return Err(Error::Malformed("an answer without a mail")),
            (Act::Answer, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(Error::Malformed("a mail that is no answer")),
        }
        self.marks_fit(recording)?;
        self.chunks_fit(recording)?;
        let mut ids = HashSet::new();
        for new in &recording.boxes {
            if !ids.insert((new.kind, new.item)) {
                return Err(Error::Malformed("an id that is taken"));
            }
            self.box_fits(recording, new)?;
        }
        Ok(())
    }

    /// Every chunk that a box refers to came along, nothing else did, and none takes the place of
    /// one that is kept.
    fn chunks_fit(&self, recording: &Recording) -> Result<(), Error> {
        let of_boxes = recording.boxes.iter().flat_map(|new| new.inner.chunks.iter().copied());
        let wanted: HashSet<Address> = of_boxes.collect();
        let given: HashSet<Address> = recording.chunks.iter().map(|chunk| chunk.address).collect();
        if given.len() != recording.chunks.len() || wanted != given {
            return Err(Error::Malformed("not the chunks that its boxes refer to"));
        }
        for address in &given {
            // Asked of the index alone: reading what is not there would make the index again.
            if self.store.has_chunk(address)? {
                return Err(Error::Malformed("a chunk that is there already"));
            }
        }
        Ok(())
    }

    fn box_fits(&self, recording: &Recording, new: &NewBox) -> Result<(), Error> {
        let opens = recording.act == Act::OpenLetter;
        let came_along = |letter: LetterId| {
            recording.boxes.iter().any(|b| b.kind == Kind::Letter && b.letter == letter)
        };
        let fits = match new.kind {
            Kind::Note => letter_of(new.item) == new.letter && new.container.is_none(),
            Kind::Letter => opens && item_of(new.letter) == new.item && new.container.is_some(),
            Kind::Item => opens && came_along(new.letter) && new.container.is_some(),
            Kind::Contact | Kind::Outgoing => false,
        };
        if !fits || new.is_copy && new.kind != Kind::Item {
            return Err(Error::Malformed("a box of this kind does not belong here"));
        }
        let state = self.state();
        // Whoever was revoked may have the secret of an older one.
        if state.epoch != Some(new.epoch) {
            return Err(Error::Malformed("there is a newer epoch: log in again"));
        }
        if state.boxed(new.kind, new.item).is_some() {
            return Err(Error::Malformed("an id that is taken"));
        }
        let Some(container) = new.container else { return Ok(()) };
        // What was taken out of a part of the opened letter names that part, which came before it.
        let before = recording.boxes.iter().take_while(|b| b.item != new.item);
        let is_part =
            |b: &NewBox| (b.kind, b.item, b.letter) == (Kind::Item, container, new.letter);
        if new.kind == Kind::Item && before.into_iter().any(is_part) {
            return Ok(());
        }
        let outer = state.boxed(Kind::Item, container).ok_or(Error::Unknown("container"))?;
        if outer.case != recording.case {
            return Err(Error::Malformed("the container belongs to another case"));
        }
        if outer.forgotten {
            return Err(Error::Malformed("the container was forgotten"));
        }
        if state.letters.get(&outer.place.letter).is_some_and(|letter| letter.opened) {
            return Err(Error::Malformed("the letter was opened already"));
        }
        Ok(())
    }

    fn add_box(&self, batch: &mut Batch, staff: StaffId, case: CaseId, new: &NewBox) {
        let place = self.place(new.kind, new.letter, new.item);
        let sealed = seal::outer(&new.inner, place);
        let fact = if new.kind == Kind::Letter { Fact::LetterOpened } else { Fact::BoxSealed };
        batch.entries.push(Entry {
            staff: Some(staff),
            container: new.container,
            size: Some(bucket(new.length)),
            ..self.entry_of(fact, case, &sealed, new.content, Some(new.epoch))
        });
        batch.boxes.push(sealed);
        if new.is_copy {
            let copy = self.copy_entry(case, new.letter, new.item);
            // Its reader saw that, when the member opened the letter.
            let count = Some(READ_AT_DESK);
            batch.entries.push(Entry { staff: Some(staff), count, ..copy });
        }
    }

    /// What is to be sent and was not yet: also after a restart.
    #[must_use]
    pub fn unfinished(&self) -> Vec<Due> {
        let state = self.state();
        let is_due = |how: &Sending| matches!(how, Sending::Due | Sending::NoticeDue);
        let due = state.outgoing.iter().filter(|(_, how)| is_due(how));
        due.filter_map(|(id, how)| {
            let record = *state.boxed(Kind::Outgoing, item_of(*id))?;
            let is_notice = *how == Sending::NoticeDue;
            (!record.forgotten).then_some(Due { id: *id, minute: record.minute, is_notice, record })
        })
        .collect()
    }

    /// Waits until something new may be due.
    pub async fn outgoing_changed(&self) {
        self.outgoing.notified().await;
    }

    /// The composed mail of something due.
    ///
    /// # Errors
    /// What the store says.
    pub fn mail(&self, due: &Due) -> Result<Vec<u8>, Error> {
        self.content(&self.open_server_box(&due.record)?)
    }

    /// Notes how sending ended; a mail handed over is forgotten seven days later.
    ///
    /// # Errors
    /// What the store says.
    pub fn sent(&self, due: &Due, delivered: bool) -> Result<(), Error> {
        let fact = if delivered { Fact::OutgoingDelivered } else { Fact::OutgoingFailed };
        let entry = Entry { case: Some(due.record.case), letter: Some(due.id), ..self.entry(fact) };
        self.record_fact(entry).map(drop)
    }

    /// Notes something about the staff itself: a log-in, a refused one.
    ///
    /// # Errors
    /// What the store says.
    pub fn note_staff(&self, kind: Fact, staff: Option<StaffId>) -> Result<(), Error> {
        self.record_fact(Entry { staff, ..self.entry(kind) }).map(drop)
    }
}
