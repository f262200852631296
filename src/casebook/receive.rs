//! A letter comes in: parsed, cut into items, sealed, committed as one batch (design §2, §7).
//!
//! Nothing of it rests unsealed. A letter that the parser cannot take is sealed whole, with a
//! finding; one that was delivered before is recognised and only noted.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use jiff::civil::Date;
use tokio::time::Instant;

use super::detail::{ContactDetail, ItemCard, ItemDetail, LetterDetail, to_bytes};
use super::fetched::Fetched;
use super::looking::Bringer;
use super::state::{days, item_of};
use super::telling::Telling;
use super::{Casebook, Error, WINDOW_MINUTES, blocking, bucket, lock, same_address};
use crate::identity::document::Sight;
use crate::identity::origin::Origin;
use crate::ids::{CaseId, Digest, EpochId, ItemId, LetterId};
use crate::keys::epoch::EpochPublic;
use crate::ledger::entry::{Entry, Fact, REPORT_FAILED, REPORT_OTHER};
use crate::letter::skeleton::{self, Skeleton};
use crate::letter::{DeliveryReport, Envelope, Finding, Item, Letter, Marks, Role, Scan, Source};
use crate::request::deadline;
use crate::sandbox::Failure;
use crate::secret::Personal;
use crate::store::{Announced, Batch};
use crate::vault::chunk::{self, Base, CONVERGES_FROM, ChunkKey, SealedChunk};
use crate::vault::manifest::Manifest;
use crate::vault::seal::{self, Inner, Kind, Place};

/// Minutes for which reports that belong to no case are kept together.
const REPORTS_TOGETHER: u64 = 31 * 24 * 60;

/// What became of a letter that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its case.
    pub case: CaseId,
    /// The letter; of an earlier delivery if it came again.
    pub letter: LetterId,
    /// Whether it was delivered before.
    pub again: bool,
}

/// Whether there is memory for what a parser made of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It may take that much.
    Made,
    /// Not now: others hold it.
    Later,
    /// Not though it were alone: this machine, or what a stranger may have of it, is too small.
    Never,
}

/// Asks for room for so many bytes that a parser made of a letter, and for so many items.
pub type AskRoom<'a> = dyn Fn(usize, usize) -> Room + Send + Sync + 'a;

/// A letter as it came, and what is known of its way.
pub struct Mail {
    /// What the connection said.
    pub envelope: Envelope,
    /// The raw message.
    pub raw: Vec<u8>,
    /// What the network says of its sender.
    pub origin: Option<Origin>,
    /// From where it was fetched, if it was: the ledger says so in the same frame.
    pub fetched: Option<Fetched>,
    /// Who brings it: those who bring many wait for each other.
    pub bringer: Bringer,
}

/// How a letter came, as far as its sealing minds.
pub(super) struct Arrival {
    /// The day of receipt, from which the law counts.
    pub(super) received: Date,
    /// Whose chunks those of an attachment may converge with.
    pub(super) base: Arc<Base>,
    /// The number of the case that it opens, if it opens one.
    pub(super) fresh: CaseId,
    /// The case that somebody put it into.
    pub(super) into: Option<CaseId>,
    /// What the network says of its sender.
    pub(super) origin: Option<Origin>,
    /// Whether it may be answered by itself: that it did not just come out of a file.
    pub(super) is_new: bool,
}

/// A letter that was sealed into a batch.
pub(super) struct Sealed {
    pub(super) case: CaseId,
    pub(super) letter: LetterId,
    /// The entry of its contact box, and what that says.
    pub(super) contact: (Entry, ContactDetail),
    /// The notice that goes out for it.
    pub(super) notice: Option<Telling>,
}

/// A raw letter cut into what is sealed.
pub(super) struct Cut {
    pub(super) letter: Letter,
    pub(super) skeleton: Skeleton,
    pub(super) contents: Vec<Vec<u8>>,
    /// What the virus scanner said of the skeleton.
    pub(super) around: Option<Scan>,
    /// Bytes of the raw message.
    pub(super) length: u64,
}

impl Cut {
    /// How many items it has, the skeleton among them.
    fn items(&self) -> usize {
        self.contents.len() + self.letter.contained.len() + 1
    }

    pub(super) fn letter(&self) -> &Letter {
        &self.letter
    }

    /// From what a child answered, if it did.
    pub(super) fn of(answer: Option<&[u8]>, raw: &[u8]) -> Self {
        let parsed = answer.and_then(Letter::from_answer);
        let (mut letter, skeleton, contents) = skeleton::cut_or_whole(parsed, raw);
        // A leaf is in no container, whatever the child says; and what the header says of answers is
        // read here, since much hangs on it.
        letter.items.iter_mut().for_each(|item| (item.container, item.scan) = (None, None));
        letter.marks = Marks::of(raw);
        Self { letter, skeleton, contents, around: None, length: raw.len() as u64 }
    }
}

impl Casebook {
    /// Takes a letter: when this returns, it is sealed and on disk.
    ///
    /// # Errors
    /// [`Error::NoEpoch`], or what the store says. The sender keeps the letter then.
    pub async fn receive(self: &Arc<Self>, mail: Mail) -> Result<Receipt, Error> {
        self.receive_within(mail, &|_, _| Room::Made).await
    }

    /// The same where memory is counted: `room` is asked once it is known how many bytes a parser made
    /// of the letter, which may be many times those that came, and again when it is known of how many
    /// items. A letter for whose bytes it says `Never` is sealed whole, with a finding: its sender could
    /// try for ever.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and [`Error::NoMemory`] if `room` says `Later`.
    pub async fn receive_within(
        self: &Arc<Self>,
        mail: Mail,
        room: &AskRoom<'_>,
    ) -> Result<Receipt, Error> {
        self.epoch()?;
        let fingerprint = fingerprint(&mail.envelope, &mail.raw);
        let turn = Arc::clone(lock(&self.turns).entry(fingerprint).or_default());
        let guard = turn.lock().await;
        let outcome = self.receive_in_turn(mail, fingerprint, room).await;
        drop(guard);
        let mut turns = lock(&self.turns);
        // Let go under the lock: of those who leave together the last one finds the map alone.
        drop(turn);
        if turns.get(&fingerprint).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&fingerprint);
        }
        outcome
    }

    async fn receive_in_turn(
        self: &Arc<Self>,
        mail: Mail,
        fingerprint: Digest,
        room: &AskRoom<'_>,
    ) -> Result<Receipt, Error> {
        let begun = Instant::now();
        let here = Arc::clone(self);
        let announced = self.store.announce();
        let fetched = mail.fetched;
        if self.delivered_before(&fingerprint) || self.fetched_before(&fingerprint, fetched) {
            let again = move || here.receive_again(&mail.envelope, fetched, fingerprint, announced);
            return blocking(again).await;
        }
        let answer = match self.sandbox.run(&mail.raw).await {
            // Not the letter's fault: it waits with its sender until parsers start again.
            Err(Failure::Unavailable) => return Err(Error::NoParser),
            Ok(bytes) => match room(bytes.len(), 0) {
                Room::Made => Some(bytes),
                Room::Later => return Err(Error::NoMemory),
                Room::Never => None,
            },
            Err(_) => None,
        };
        // A child may be taken over by what it reads: its answer is a proposal, checked here.
        let length = answer.as_ref().map_or(0, Vec::len);
        let (mut mail, mut cut) = blocking(move || {
            let cut = Cut::of(answer.as_deref(), &mail.raw);
            (mail, cut)
        })
        .await;
        if room(length, cut.items()) != Room::Made {
            return Err(Error::NoMemory);
        }
        self.note_canary(&mail, &cut.letter);
        // What it was cut into gives it again: to hold both while it is sealed would be a third copy.
        mail.raw = Vec::new();
        self.scan(&mut cut).await;
        // What lay in a mailbox for long is much, and nobody waits for it.
        let arrived = fetched.and_then(|fetched| fetched.arrived);
        if arrived.is_none_or(|at| self.clock.seconds() < at + WINDOW_MINUTES * 60) {
            self.look_at(&mut cut, mail.bringer, begun).await;
        }
        blocking(move || here.seal_and_commit(mail, &cut, fingerprint, announced)).await
    }

    pub(super) fn delivered_before(&self, fingerprint: &Digest) -> bool {
        let now = self.clock.minutes();
        let contacts = self.contacts.read().expect("no holder panics");
        contacts.seen.get(fingerprint).is_some_and(|seen| now < seen.minute + WINDOW_MINUTES)
    }

    /// Whether a mail that comes from a mailbox came from one before, however long ago: as long as its
    /// contact box is there. A server that numbers its mails anew shows those that it keeps again.
    fn fetched_before(&self, fingerprint: &Digest, fetched: Option<Fetched>) -> bool {
        if fetched.is_none() {
            return false;
        }
        let state = self.state();
        let contacts = self.contacts.read().expect("no holder panics");
        contacts.seen.get(fingerprint).is_some_and(|seen| state.is_fetched(seen.letter))
    }

    /// Notes a re-delivery; recipients that are new go into a contact box of their own.
    fn receive_again(
        &self,
        envelope: &Envelope,
        fetched: Option<Fetched>,
        fingerprint: Digest,
        announced: Announced,
    ) -> Result<Receipt, Error> {
        let (case, letter, known) = {
            let contacts = self.contacts.read().expect("no holder panics");
            let seen = contacts.seen.get(&fingerprint).ok_or(Error::Unknown("letter"))?;
            let known: HashSet<String> =
                seen.recipients.iter().map(|r| r.expose().clone()).collect();
            (seen.case, seen.letter, known)
        };
        // The same mail by the same number: it was fetched twice at the same time.
        if fetched.is_some_and(|fetched| self.is_letter(fetched.mail)) {
            return Ok(Receipt { case, letter, again: true });
        }
        let recipients: Vec<_> =
            envelope.rcpt_to.iter().filter(|r| !known.contains(r.expose())).cloned().collect();
        let again =
            Entry { case: Some(case), letter: Some(letter), ..self.entry(Fact::Redelivered) };
        let mut batch =
            Batch { entries: vec![again], announced: Some(announced), ..Batch::default() };
        self.add_fetched(&mut batch, fetched, case, letter);
        let mut added = None;
        if !recipients.is_empty() {
            let contact =
                ContactDetail { address: None, fingerprint, message_id: None, recipients };
            let entry = self.add_contact(&mut batch, case, letter, &contact);
            added = Some((entry, contact));
        }
        self.commit(batch)?;
        if let Some((entry, contact)) = added {
            self.remember_entry(&entry, &contact);
        }
        Ok(Receipt { case, letter, again: true })
    }

    pub(super) fn remember_entry(&self, entry: &Entry, contact: &ContactDetail) {
        let record = entry.slot.and_then(|slot| self.state().slot(slot).copied());
        if let Some(record) = record {
            self.remember(&record, contact);
        }
    }

    pub(super) fn add_contact(
        &self,
        batch: &mut Batch,
        case: CaseId,
        letter: LetterId,
        contact: &ContactDetail,
    ) -> Entry {
        let (inner, content) = seal::inner_for_server(&Manifest::note(to_bytes(contact)));
        let place = self.place(Kind::Contact, letter, item_of(letter));
        let sealed = seal::outer(&inner, place);
        let entry = self.entry_of(Fact::BoxSealed, case, &sealed, content, None);
        batch.entries.push(entry.clone());
        batch.boxes.push(sealed);
        entry
    }

    pub(super) fn place(&self, kind: Kind, letter: LetterId, item: ItemId) -> Place {
        Place { kind, vault: self.vault, letter, item }
    }

    fn seal_and_commit(
        &self,
        mail: Mail,
        cut: &Cut,
        fingerprint: Digest,
        announced: Announced,
    ) -> Result<Receipt, Error> {
        // The law counts from when the mailbox got it, not from when it was fetched from there.
        let now = self.clock.seconds();
        let arrived = mail.fetched.and_then(|fetched| fetched.arrived).unwrap_or(now).min(now);
        let arrival = Arrival {
            received: deadline::received_on(arrived),
            base: self.window(),
            fresh: self.fresh_case(),
            into: None,
            origin: mail.origin,
            // Whoever wrote long ago may have been answered since.
            is_new: now < arrived.saturating_add(WINDOW_MINUTES * 60),
        };
        let mut batch = Batch { announced: Some(announced), ..Batch::default() };
        let sealed = self.seal_mail(&mut batch, &arrival, mail.envelope, cut, fingerprint)?;
        if let Some(notice) = &sealed.notice {
            let id = LetterId::random();
            self.add_outgoing(&mut batch, sealed.case, id, &notice.mail, Fact::NoticeDue);
        }
        self.add_fetched(&mut batch, mail.fetched, sealed.case, sealed.letter);
        self.commit(batch)?;
        self.remember_entry(&sealed.contact.0, &sealed.contact.1);
        if sealed.notice.is_some() {
            self.outgoing.notify_one();
        }
        Ok(Receipt { case: sealed.case, letter: sealed.letter, again: false })
    }

    fn add_fetched(
        &self,
        batch: &mut Batch,
        fetched: Option<Fetched>,
        case: CaseId,
        letter: LetterId,
    ) {
        let Some(Fetched { mail, arrived, is_whole }) = fetched else { return };
        let entry = self.entry(if is_whole { Fact::MailFetched } else { Fact::MailSetAside });
        let (case, letter) = (Some(case), Some(letter));
        let position = arrived.map(|seconds| seconds / 60);
        batch.entries.push(mail.enter(Entry { case, letter, position, ..entry }));
    }

    /// Seals a mail into `batch`: items, skeleton, letter, contact, and the entries that say so.
    pub(super) fn seal_mail(
        &self,
        batch: &mut Batch,
        arrival: &Arrival,
        envelope: Envelope,
        cut: &Cut,
        fingerprint: Digest,
    ) -> Result<Sealed, Error> {
        let letter = LetterId::random();
        // Only the header, and nobody to answer to, make it a machine's: a person may well enclose a
        // bounce.
        let is_machines = cut.letter.marks.report || envelope.mail_from.expose().is_empty();
        let is_machines = is_machines && envelope.source != Source::File && arrival.into.is_none();
        let report = cut.letter.report.as_ref().filter(|_| is_machines);
        // A mail of our own that comes back opens no case either, whichever way it took.
        let is_own = self.is_our_own(&cut.letter).is_some();
        let is_report =
            report.is_some() || (cut.letter.marks.report || is_own) && arrival.into.is_none();
        // Nobody waits for an answer to a report, and none must join a case as its sender.
        let sender = if is_report { None } else { reply_address(&cut.letter, &envelope) };
        let (joined, names_case) = match arrival.into {
            Some(case) => (Some(case), false),
            None if is_report => (self.case_by_reference(&cut.letter), false),
            None => self.case_for(&cut.letter, sender.as_ref()),
        };
        let case = match joined {
            Some(case) => case,
            None if is_report => self.case_of_reports(arrival.fresh),
            None => arrival.fresh,
        };
        let (notice, silence) = if arrival.is_new && joined.is_none() && !is_report {
            self.may_tell(arrival, cut, &envelope, sender.as_ref(), names_case)
        } else {
            (None, None)
        };
        let (epoch, public) = self.epoch()?;
        let mut sealing = Sealing { casebook: self, batch, case, epoch, public: &public, arrival };
        let cards = sealing.items(letter, cut);
        let skeleton = sealing.skeleton(letter, cut);
        let mut findings = cut.letter.findings.clone();
        if names_case {
            findings.push(Finding::NamesCase);
        }
        let detail = LetterDetail {
            headers: cut.letter.headers.clone(),
            findings,
            protection: cut.letter.protection,
            items: cards,
            skeleton: Some(skeleton),
            length: cut.length,
            signature: None,
            envelope: envelope.clone(),
            origin: arrival.origin.clone(),
            silence,
        };
        if is_report {
            sealing.report(letter, &detail, report.is_some_and(DeliveryReport::says_failed));
        } else {
            sealing.letter(letter, &detail, joined);
        }
        let contact = ContactDetail {
            address: sender,
            fingerprint,
            message_id: cut.letter.headers.message_id.clone(),
            recipients: envelope.rcpt_to,
        };
        let entry = self.add_contact(batch, case, letter, &contact);
        Ok(Sealed { case, letter, contact: (entry, contact), notice })
    }

    /// The case that a letter joins, and whether it names one that it may not join: a reply to a
    /// mail of ours joins by its authenticated message id; a number in the subject only counts
    /// from a sender of that case (design §7).
    fn case_for(
        &self,
        letter: &Letter,
        sender: Option<&Personal<String>>,
    ) -> (Option<CaseId>, bool) {
        let by_reference = self.case_by_reference(letter);
        if by_reference.is_some() {
            return (by_reference, false);
        }
        let state = self.state();
        let subject = letter.headers.subject.as_ref().map_or("", |s| s.expose().as_str());
        let Some(named) = case_in(subject).filter(|case| state.cases.contains_key(case)) else {
            return (None, false);
        };
        let contacts = self.contacts.read().expect("no holder panics");
        let may_join = sender.is_some_and(|sender| {
            contacts.senders.get(&named).is_some_and(|known| {
                known.iter().any(|address| same_address(address.expose(), sender.expose()))
            })
        });
        if may_join { (Some(named), false) } else { (None, true) }
    }

    /// The case whose mail a letter answers or reports on: by a message id of ours, authenticated.
    fn case_by_reference(&self, letter: &Letter) -> Option<CaseId> {
        let state = self.state();
        let reported = letter
            .report
            .iter()
            .flat_map(|report| report.message_id.iter().chain(report.references.iter().rev()));
        let own = letter.headers.message_id.iter();
        let named = own.chain(reported).chain(letter.headers.references.iter().rev());
        let mut cases = named.filter_map(|id| (self.case_of)(id.expose()));
        cases.find(|case| state.cases.contains_key(case))
    }

    /// The case that reports share which belong to none; a new one after a while, so that the old
    /// one can be forgotten as a whole.
    fn case_of_reports(&self, fresh: CaseId) -> CaseId {
        let now = self.clock.minutes();
        let mut reports = lock(&self.reports);
        // Of those that come together only the first is in the ledger.
        let known = reports.or(self.state().reports);
        let known = known.filter(|(_, since)| now < since + REPORTS_TOGETHER);
        reports.insert(known.unwrap_or((fresh, now))).0
    }

    /// Seals a mail to send so that the server can send it by itself.
    pub(super) fn add_outgoing(
        &self,
        batch: &mut Batch,
        case: CaseId,
        id: LetterId,
        mail: &[u8],
        kind: Fact,
    ) {
        let (keys, chunks) = chunk::seal(&Base::fresh(), mail, NonZeroUsize::MIN);
        let manifest = Manifest::new("", b"", mail.len() as u64, keys, Vec::new());
        let (inner, content) = seal::inner_for_server(&manifest);
        let sealed = seal::outer(&inner, self.place(Kind::Outgoing, id, item_of(id)));
        let entry = Entry {
            size: Some(bucket(mail.len() as u64)),
            ..self.entry_of(kind, case, &sealed, content, None)
        };
        batch.entries.push(entry);
        batch.boxes.push(sealed);
        batch.chunks.extend(chunks);
    }
}

/// One letter being sealed into a batch.
pub(super) struct Sealing<'a> {
    pub(super) casebook: &'a Casebook,
    pub(super) batch: &'a mut Batch,
    pub(super) case: CaseId,
    pub(super) epoch: EpochId,
    pub(super) public: &'a EpochPublic,
    pub(super) arrival: &'a Arrival,
}

/// An item's content, sealed, and what its box says beside.
pub(super) struct SealedItem<'a> {
    pub(super) media_type: &'a str,
    pub(super) name: &'a [u8],
    pub(super) length: u64,
    pub(super) keys: Vec<ChunkKey>,
    pub(super) chunks: Vec<SealedChunk>,
    pub(super) detail: ItemDetail,
    /// The item that it was taken out of.
    pub(super) container: Option<ItemId>,
}

impl Sealing<'_> {
    /// Seals every leaf body and what was taken out of them, and gives the cards for the letter box.
    fn items(&mut self, letter: LetterId, cut: &Cut) -> Vec<ItemCard> {
        let leaves = cut.letter.items.iter().zip(cut.contents.iter().map(Vec::as_slice));
        let contained = cut.letter.contained.iter().map(|one| (&one.item, one.content.as_slice()));
        let mut cards: Vec<ItemCard> = Vec::with_capacity(cut.contents.len());
        for (item, content) in leaves.chain(contained) {
            let id = ItemId::random();
            let name = item.names.first().map_or(&[][..], |name| name.expose().as_bytes());
            let (keys, chunks) = seal_content(&self.arrival.base, item, content);
            let container = item.container.and_then(|nr| cards.get(nr as usize));
            let sealed = SealedItem {
                media_type: &item.media_type,
                name,
                length: content.len() as u64,
                keys,
                chunks,
                detail: ItemDetail::Leaf(Box::new(item.clone())),
                container: container.map(|card| card.id),
            };
            self.item(letter, id, sealed);
            if Sight::of(item).is_some_and(|sight| sight.shows_document()) {
                self.batch.entries.push(self.casebook.copy_entry(self.case, letter, id));
            }
            cards.push(ItemCard::of(id, item));
        }
        let contained = cut.letter.contained.iter().map(|one| &one.item);
        let items = cut.letter.items.iter().chain(contained);
        ItemCard::note_closed(&mut cards, items, &cut.letter.findings);
        cards
    }

    fn skeleton(&mut self, letter: LetterId, cut: &Cut) -> ItemId {
        let id = ItemId::random();
        let content = cut.skeleton.encode();
        let (keys, chunks) = chunk::seal(&Base::fresh(), &content, NonZeroUsize::MIN);
        let sealed = SealedItem {
            media_type: "",
            name: b"",
            length: content.len() as u64,
            keys,
            chunks,
            detail: ItemDetail::Skeleton(cut.around),
            container: None,
        };
        self.item(letter, id, sealed);
        id
    }

    /// Makes the box of an item.
    pub(super) fn item(&mut self, letter: LetterId, id: ItemId, item: SealedItem<'_>) {
        let SealedItem { media_type, name, length, keys, chunks, detail, container } = item;
        let manifest = Manifest::new(media_type, name, length, keys, to_bytes(&detail));
        let (inner, digest) = seal::inner(&manifest, self.public);
        let place = self.casebook.place(Kind::Item, letter, id);
        let entry = Entry {
            size: Some(bucket(length)),
            container,
            ..self.boxed(Fact::BoxSealed, place, &inner, digest)
        };
        self.batch.entries.push(entry);
        self.batch.chunks.extend(chunks);
    }

    /// Seals the letter box; its entry goes first, behind the opening of the case.
    pub(super) fn letter(
        &mut self,
        letter: LetterId,
        detail: &LetterDetail,
        joined: Option<CaseId>,
    ) {
        let (inner, digest) = seal::inner(&Manifest::note(to_bytes(detail)), self.public);
        let place = self.casebook.place(Kind::Letter, letter, item_of(letter));
        let mut received = self.boxed(Fact::LetterReceived, place, &inner, digest);
        let day = self.arrival.received;
        let due = deadline::due(day);
        let (one, three) = (Some(days(due.one_month_due)), Some(days(due.three_months_due)));
        // Said only where it is not the day of the entry itself.
        let is_today = day == deadline::received_on(self.casebook.clock.minutes() * 60);
        let count = u64::try_from(days(day)).ok().filter(|_| !is_today);
        let mut first = Vec::new();
        match joined {
            None => first.push(Entry {
                case: Some(self.case),
                due_one: one,
                due_three: three,
                count,
                ..self.casebook.entry(Fact::CaseOpened)
            }),
            // They count if the case is closed by then: one that somebody closes at this very
            // moment is opened again, and the letter does not fall out of the queue.
            Some(_) => {
                (received.due_one, received.due_three, received.count) = (one, three, count);
            }
        }
        first.push(received);
        self.batch.entries.splice(0..0, first);
    }

    /// Seals the letter box of a machine's report.
    fn report(&mut self, letter: LetterId, detail: &LetterDetail, failed: bool) {
        let (inner, digest) = seal::inner(&Manifest::note(to_bytes(detail)), self.public);
        let place = self.casebook.place(Kind::Letter, letter, item_of(letter));
        let received = self.boxed(Fact::ReportReceived, place, &inner, digest);
        let count = Some(if failed { REPORT_FAILED } else { REPORT_OTHER });
        self.batch.entries.insert(0, Entry { count, ..received });
    }

    fn boxed(&mut self, fact: Fact, place: Place, inner: &Inner, content: Digest) -> Entry {
        let sealed = seal::outer(inner, place);
        let entry = self.casebook.entry_of(fact, self.case, &sealed, content, Some(self.epoch));
        self.batch.boxes.push(sealed);
        entry
    }
}

/// Seals the content of an item; what converges does so with the chunks of `base`.
pub(super) fn seal_content(
    base: &Base,
    item: &Item,
    content: &[u8],
) -> (Vec<ChunkKey>, Vec<SealedChunk>) {
    let fresh;
    let base = if converges(item, content.len()) {
        base
    } else {
        fresh = Base::fresh();
        &fresh
    };
    chunk::seal(base, content, NonZeroUsize::MIN)
}

/// Whether an item shares its window's secret: what a guesser could not make up (design §5).
pub(super) fn converges(item: &Item, length: usize) -> bool {
    length >= CONVERGES_FROM
        && item.role == Role::Attachment
        && !item.media_type.starts_with("text/")
}

/// BLAKE3 of reverse-path and raw bytes: a re-delivery has the same (design §7).
pub(super) fn fingerprint(envelope: &Envelope, raw: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let from = envelope.mail_from.expose().as_bytes();
    hasher.update(&(from.len() as u64).to_le_bytes());
    hasher.update(from);
    hasher.update(raw);
    Digest::new(*hasher.finalize().as_bytes())
}

/// Where an answer would go: the one `From` address, else the reverse-path.
fn reply_address(letter: &Letter, envelope: &Envelope) -> Option<Personal<String>> {
    let usable = |address: &str| {
        address
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
            && !address.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    let from = match letter.headers.from.as_slice() {
        [one] => Some(&one.address),
        _ => None,
    };
    from.into_iter().chain([&envelope.mail_from]).find(|a| usable(a.expose())).cloned()
}

/// The first case number in a subject.
fn case_in(subject: &str) -> Option<CaseId> {
    subject
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.len() > 2 && word.is_char_boundary(2))
        .find_map(|word| {
            word.get(..2).filter(|p| p.eq_ignore_ascii_case("k-")).and_then(|_| word.parse().ok())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_number_is_found_in_a_subject() {
        let case = CaseId::random();
        for subject in [format!("Re: [{case}] uw vraag"), format!("{case}"), format!("AW: {case}:")]
        {
            assert_eq!(case_in(&subject), Some(case), "{subject}");
        }
        assert_eq!(case_in("K-12 en verder"), None);
        assert_eq!(case_in("é K- ü"), None);
    }

    #[test]
    fn what_a_lying_child_makes_too_large_is_sealed_whole() {
        let raw = b"From: a@b.example\r\n\r\nBeste";
        let honest = Letter::parse(raw);
        let findings = |letter: &Letter| {
            let answer = minicbor::to_vec(letter).expect("is written");
            let cut = Cut::of(Some(&answer), raw);
            let contents: Vec<_> = cut.contents.iter().map(|one| Some(one.as_slice())).collect();
            assert!(cut.skeleton.rebuild(&contents) == raw);
            cut.letter.findings
        };
        assert_eq!(findings(&honest), []);
        let none = Personal::new(String::new());
        let mut many = honest.clone();
        many.headers.references = vec![none.clone(); crate::letter::MAX_ELEMENTS];
        assert_eq!(findings(&many), [Finding::Unparsed]);
        let mut named = honest;
        named.items[0].names = vec![none; crate::letter::MAX_NAMES + 1];
        assert_eq!(findings(&named), [Finding::Unparsed]);
    }
}
