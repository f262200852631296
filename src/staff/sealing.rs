//! Boxes that the staff side makes: notes, and the parts of a letter taken out of encryption.
//!
//! Content is sealed under a fresh window secret of its own; the server adds its layer and commits
//! (design §5, "both sides seal").

use std::num::NonZeroUsize;

use crate::casebook::copies::{Check, Mark};
use crate::casebook::detail::{
    ItemCard, ItemDetail, LetterDetail, NoteDetail, NoteSubject, to_bytes,
};
use crate::casebook::state::{item_of, letter_of};
use crate::casebook::{Act, NewBox, NewChunk, Recording};
use crate::identity::document::Sight;
use crate::identity::people::People;
use crate::ids::{CaseId, EpochId, ItemId, LetterId};
use crate::keys::epoch::EpochPublic;
use crate::letter::skeleton::Skeleton;
use crate::letter::{Finding, Headers, Letter, Scan};
use crate::secret::Personal;
use crate::vault::chunk::{self, Base};
use crate::vault::manifest::Manifest;
use crate::vault::seal::{self, Kind};

/// Collects boxes for one recording.
pub struct Sealing {
    epoch: EpochId,
    public: EpochPublic,
    recording: Recording,
}

impl Sealing {
    /// For an act on a case, sealed to this epoch.
    #[must_use]
    pub fn new(case: CaseId, act: Act, (epoch, public): (EpochId, EpochPublic)) -> Self {
        let recording = Recording {
            case,
            act,
            boxes: Vec::new(),
            chunks: Vec::new(),
            mail: None,
            marks: Vec::new(),
            check: None,
        };
        Self { epoch, public, recording }
    }

    /// What is to be recorded.
    #[must_use]
    pub fn finish(self) -> Recording {
        self.recording
    }

    /// Adds the mail of an answer.
    pub fn mail(&mut self, mail: Vec<u8>) {
        self.recording.mail = Some(mail);
    }

    /// Says of items whether they are copies of identity documents.
    pub fn marks(&mut self, items: &[ItemId], is_copy: bool) {
        let by_reader = false;
        self.recording.marks.extend(items.iter().map(|&item| Mark { item, is_copy, by_reader }));
    }

    /// Says of items that the reader of pictures on this machine takes them for copies.
    pub fn seen(&mut self, items: &[ItemId]) {
        let (is_copy, by_reader) = (true, true);
        self.recording.marks.extend(items.iter().map(|&item| Mark { item, is_copy, by_reader }));
    }

    /// Says that a copy of an identity document was checked: this item, if it is one of the case.
    pub fn check(&mut self, item: Option<ItemId>) {
        self.recording.check = Some(Check { item });
    }

    /// Adds a note.
    pub fn note(
        &mut self,
        subject: NoteSubject,
        words: &str,
        letter: Option<LetterId>,
        attached: Vec<u8>,
    ) {
        let id = ItemId::random();
        let words = Personal::new(words.to_owned());
        let detail = NoteDetail { case: self.recording.case, subject, words, letter, attached };
        self.add(Kind::Note, letter_of(id), id, None, &Manifest::note(to_bytes(&detail)));
    }

    /// Adds a letter that was taken out of `container`, with its items and its skeleton, of which
    /// a virus scanner said `around`.
    pub fn letter(
        &mut self,
        container: ItemId,
        outer: &LetterDetail,
        inner: &Letter,
        (skeleton, around): (&Skeleton, Option<Scan>),
        contents: &[Vec<u8>],
        signature: &str,
    ) -> LetterId {
        let letter = LetterId::random();
        let leaves = inner.items.iter().zip(contents.iter().map(Vec::as_slice));
        let contained = inner.contained.iter().map(|one| (&one.item, one.content.as_slice()));
        let mut cards: Vec<ItemCard> = Vec::with_capacity(contents.len());
        for (item, content) in leaves.chain(contained) {
            let id = ItemId::random();
            let name = item.names.first().map_or(&[][..], |name| name.expose().as_bytes());
            let detail = to_bytes(&ItemDetail::Leaf(Box::new(item.clone())));
            let part = item.container.and_then(|nr| cards.get(nr as usize));
            let out_of = part.map_or(container, |card| card.id);
            self.item((letter, id, out_of), &item.media_type, name, content, detail);
            if let Some(new) = self.recording.boxes.last_mut() {
                new.is_copy = Sight::of(item).is_some_and(|sight| sight.shows_document());
            }
            cards.push(ItemCard::of(id, item));
        }
        let items = inner.items.iter().chain(inner.contained.iter().map(|one| &one.item));
        ItemCard::note_closed(&mut cards, items, &inner.findings);
        let id = ItemId::random();
        let detail = to_bytes(&ItemDetail::Skeleton(around));
        self.item((letter, id, container), "", b"", &skeleton.encode(), detail);
        let all: Vec<_> = contents.iter().map(|content| Some(content.as_slice())).collect();
        let length = skeleton.rebuild(&all).len() as u64;
        let detail = LetterDetail {
            envelope: outer.envelope.clone(),
            headers: protected(&outer.headers, &inner.headers),
            findings: findings(inner),
            protection: inner.protection,
            items: cards,
            skeleton: Some(id),
            length,
            signature: Some(Personal::new(signature.to_owned())),
            origin: outer.origin.clone(),
            silence: None,
        };
        let manifest = Manifest::note(to_bytes(&detail));
        self.add(Kind::Letter, letter, item_of(letter), Some(container), &manifest);
        letter
    }

    fn item(
        &mut self,
        (letter, id, container): (LetterId, ItemId, ItemId),
        media_type: &str,
        name: &[u8],
        content: &[u8],
        detail: Vec<u8>,
    ) {
        let (keys, chunks) = chunk::seal(&Base::fresh(), content, NonZeroUsize::MIN);
        self.recording.chunks.extend(
            chunks
                .iter()
                .map(|chunk| NewChunk { address: chunk.address(), bytes: chunk.bytes().to_vec() }),
        );
        let manifest = Manifest::new(media_type, name, content.len() as u64, keys, detail);
        self.add(Kind::Item, letter, id, Some(container), &manifest);
    }

    fn add(
        &mut self,
        kind: Kind,
        letter: LetterId,
        item: ItemId,
        container: Option<ItemId>,
        manifest: &Manifest,
    ) {
        let (inner, content) = seal::inner(manifest, &self.public);
        let (epoch, length) = (self.epoch, manifest.length);
        let is_copy = false;
        let new = NewBox { kind, letter, item, inner, content, epoch, container, length, is_copy };
        self.recording.boxes.push(new);
    }
}

/// The box of a list of people on file: a note of no case.
pub(super) fn people(people: &People, (epoch, public): (EpochId, EpochPublic)) -> NewBox {
    let item = ItemId::random();
    let detail = NoteDetail {
        case: CaseId::random(),
        subject: NoteSubject::People,
        words: Personal::default(),
        letter: None,
        attached: to_bytes(people),
    };
    let (inner, content) = seal::inner(&Manifest::note(to_bytes(&detail)), &public);
    let letter = letter_of(item);
    NewBox {
        kind: Kind::Note,
        letter,
        item,
        inner,
        content,
        epoch,
        container: None,
        length: 0,
        is_copy: false,
    }
}

/// What was odd inside. That nobody is named there is not: the letter around it names its sender.
fn findings(inner: &Letter) -> Vec<Finding> {
    let mut findings = inner.findings.clone();
    if inner.headers.from.is_empty() {
        findings.retain(|finding| *finding != Finding::OddFrom);
    }
    findings
}

/// The header fields of an opened letter: those inside where it has them, else those outside
/// (RFC 9788: what the inside says is what the sender protected).
fn protected(outer: &Headers, inner: &Headers) -> Headers {
    let mut headers = outer.clone();
    if inner.subject.is_some() {
        headers.subject.clone_from(&inner.subject);
    }
    if !inner.from.is_empty() {
        headers.from.clone_from(&inner.from);
    }
    headers
}
