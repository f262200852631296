//! What each kind of box says beside its content (vault-format §7): the `detail` of a manifest.
//!
//! Everything here is sealed before it rests. Personal fields are `Personal`, so none of this can
//! be printed by accident.

use std::collections::HashSet;

use minicbor::{Decode, Encode};

use super::looking::may_show;
use crate::case::notice::Silence;
use crate::identity::document::Sight;
use crate::identity::evidence::Verdict;
use crate::identity::origin::Origin;
use crate::ids::{CaseId, Digest, ItemId, LetterId};
use crate::letter::{Envelope, Finding, Headers, Inside, Item, Protection, Role, Scan, inside};
use crate::secret::Personal;

/// The detail of a letter box: what the letter says about itself, and which items it has. No text,
/// no name of an attachment: those are forgotten with their item.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LetterDetail {
    /// What the connection said.
    #[n(0)]
    pub envelope: Envelope,
    /// The header fields that anyone asks for.
    #[n(1)]
    pub headers: Headers,
    /// What was odd.
    #[n(2)]
    pub findings: Vec<Finding>,
    /// Encrypted, signed or neither.
    #[n(3)]
    pub protection: Protection,
    /// The items in the order of the raw message, then those that were taken out of others.
    #[n(4)]
    pub items: Vec<ItemCard>,
    /// The item that holds the skeleton; none for documents, which came without a mail around them.
    #[n(5)]
    pub skeleton: Option<ItemId>,
    /// Length of the raw message in bytes; of documents, all together.
    #[n(6)]
    pub length: u64,
    /// For a letter that staff took out of an encrypted one: who signed it, in words.
    #[n(7)]
    pub signature: Option<Personal<String>>,
    /// What the network says of its sender.
    #[n(8)]
    pub origin: Option<Origin>,
    /// Why no notice was sent; none also where none was thought of.
    #[n(9)]
    pub silence: Option<Silence>,
}

/// What a letter box says of one item.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ItemCard {
    /// Its id.
    #[n(0)]
    pub id: ItemId,
    /// What it is for a reader.
    #[n(1)]
    pub role: Role,
    /// The media type as declared.
    #[n(2)]
    pub media_type: String,
    /// Message/rfc822 layers around it.
    #[n(3)]
    pub depth: u8,
    /// The card of what it was taken out of, by its number; none if it stands in the raw message.
    #[n(4)]
    pub container: Option<u32>,
    /// Whether it is a picture that was looked at, and what of; none if it is no picture.
    #[n(5)]
    pub picture: Option<Picture>,
}

/// How far a picture was looked at. What it shows its own box says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Picture {
    /// Nobody looked.
    #[n(0)]
    NotRead,
    /// It shows no identity document.
    #[n(1)]
    Other,
    /// It looks like a copy of one.
    #[n(2)]
    Document,
    /// It cannot be read.
    #[n(3)]
    Unreadable,
}

impl Picture {
    /// Of an item.
    #[must_use]
    pub fn of(item: &Item) -> Option<Self> {
        let Some(sight) = Sight::of(item) else {
            let told = [item.magic.as_deref(), Some(item.media_type.as_str())];
            let is_picture = told.into_iter().flatten().any(may_show) && item.role != Role::Body;
            return is_picture.then_some(Self::NotRead);
        };
        Some(match sight.verdict() {
            verdict if sight.is_document(&verdict) => Self::Document,
            Verdict::Unreadable => Self::Unreadable,
            Verdict::NotRead => Self::NotRead,
            _ => Self::Other,
        })
    }
}

impl ItemCard {
    /// The card of an item.
    #[must_use]
    pub fn of(id: ItemId, item: &Item) -> Self {
        let (role, media_type) = (item.role, item.media_type.clone());
        let picture = Picture::of(item);
        Self { id, role, media_type, depth: item.depth, container: item.container, picture }
    }

    /// Says of those items that hold other things, and of which nothing could be taken out, that nobody
    /// looked at what they hold. `findings` are those of their letter.
    pub fn note_closed<'a>(
        cards: &mut [Self],
        items: impl Iterator<Item = &'a Item>,
        findings: &[Finding],
    ) {
        if ![Finding::NotUnpacked, Finding::Unparsed].iter().any(|why| findings.contains(why)) {
            return;
        }
        let opened: HashSet<u32> = cards.iter().filter_map(|card| card.container).collect();
        for (nr, (card, item)) in (0..).zip(cards.iter_mut().zip(items)) {
            if item.role != Role::Body
                && matches!(inside(item), Inside::Packed | Inside::Office | Inside::Sealed)
                && !opened.contains(&nr)
            {
                card.picture.get_or_insert(Picture::NotRead);
            }
        }
    }
}

/// The detail of an item box.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ItemDetail {
    /// A leaf body; the parsed item says how to read it.
    #[n(0)]
    Leaf(#[n(0)] Box<Item>),
    /// The skeleton of the raw message, and what the virus scanner said of it; absent if none was
    /// asked.
    #[n(1)]
    Skeleton(#[n(0)] Option<Scan>),
}

/// The detail of a contact box: what the server must be able to read by itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ContactDetail {
    /// Where an answer goes; absent if the letter names no usable address.
    #[n(0)]
    pub address: Option<Personal<String>>,
    /// BLAKE3 of reverse-path and raw bytes, or of names and contents of documents: recognises what
    /// comes again (design §7).
    #[n(1)]
    pub fingerprint: Digest,
    /// `Message-ID` of the letter, for `In-Reply-To`.
    #[n(2)]
    pub message_id: Option<Personal<String>>,
    /// Recipients that the letter was accepted for, this delivery and earlier ones.
    #[n(3)]
    pub recipients: Vec<Personal<String>>,
}

/// The detail of a note box.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NoteDetail {
    /// The case it belongs to.
    #[n(0)]
    pub case: CaseId,
    /// What it is.
    #[n(1)]
    pub subject: NoteSubject,
    /// The words.
    #[n(2)]
    pub words: Personal<String>,
    /// The letter it is about, if it is about one.
    #[n(3)]
    pub letter: Option<LetterId>,
    /// Attached bytes: a confirmed certificate, say. Empty if none.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub attached: Vec<u8>,
}

/// What a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum NoteSubject {
    /// Anything worth remembering.
    #[n(0)]
    Remark,
    /// An OpenPGP certificate that staff confirmed for this case.
    #[n(1)]
    ConfirmedKey,
    /// Evidence of identity that a person accepted.
    #[n(2)]
    Proof,
    /// What was decided, and why.
    #[n(3)]
    Decision,
    /// Why something was forgotten, extended, held or closed.
    #[n(4)]
    Reason,
    /// The text of an answer that was sent.
    #[n(5)]
    Answer,
    /// That an encrypted letter could not be opened, and why.
    #[n(6)]
    Undecryptable,
    /// Evidence of identity, recorded by hand.
    #[n(7)]
    Evidence,
    /// Why somebody doubts who asks.
    #[n(8)]
    Doubt,
    /// The people on file; of no case.
    #[n(9)]
    People,
    /// Why somebody had a copy of an identity document without its mask.
    #[n(10)]
    Unmasking,
    /// Why an item is a copy of an identity document, or none.
    #[n(11)]
    Copy,
}

/// Writes a detail for a manifest.
pub fn to_bytes<T: Encode<()>>(detail: &T) -> Vec<u8> {
    minicbor::to_vec(detail).expect("writing to memory does not fail")
}

/// Reads a detail.
///
/// # Errors
/// Future version: a number that only a later version knows. Tampered: no such detail.
pub fn from_bytes<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, crate::vault::Error> {
    minicbor::decode(bytes).map_err(|error| {
        if error.is_unknown_variant() {
            crate::vault::Error::FutureVersion
        } else {
            crate::vault::Error::Tampered
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::{Contained, Letter};

    /// An attachment that is called this and begins so.
    fn item(media_type: &str, magic: Option<&str>) -> Item {
        let item = Letter::unparsed(b"").items.remove(0);
        Item { media_type: media_type.into(), magic: magic.map(str::to_owned), ..item }
    }

    #[test]
    fn what_nobody_can_read_was_not_read_and_what_shows_nothing_is_none() {
        for (media_type, magic, picture) in [
            ("image/jpeg", Some("image/jpeg"), Some(Picture::NotRead)),
            ("application/octet-stream", Some("image/heic"), Some(Picture::NotRead)),
            ("application/octet-stream", Some("image/gif"), Some(Picture::NotRead)),
            ("image/avif", None, Some(Picture::NotRead)),
            ("image/x-whatever", None, Some(Picture::NotRead)),
            ("application/msword", Some("application/x-ole-storage"), None),
            ("text/plain", None, None),
        ] {
            assert_eq!(Picture::of(&item(media_type, magic)), picture, "{media_type}");
        }
        let body = Item { role: Role::Body, ..item("text/html", Some("image/gif")) };
        assert_eq!(Picture::of(&body), None);
        let mut letter = Letter::unparsed(b"");
        letter.items = vec![item("image/gif", Some("image/gif"))];
        letter.looked(&[Some(Sight::default().to_bytes())]);
        assert_eq!(Picture::of(&letter.items[0]), Some(Picture::Other), "tiny");
    }

    #[test]
    fn an_archive_of_which_nothing_was_taken_out_was_not_read() {
        let zip = || item("application/zip", Some("application/zip"));
        let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        let noted = |items: Vec<Item>, contained: Vec<Item>, finding: Option<Finding>| {
            let contained = contained.into_iter();
            let contained: Vec<Contained> =
                contained.map(|item| Contained { item, content: Vec::new() }).collect();
            let all = || items.iter().chain(contained.iter().map(|one| &one.item));
            let mut cards: Vec<ItemCard> =
                all().map(|item| ItemCard::of(ItemId::random(), item)).collect();
            ItemCard::note_closed(&mut cards, all(), finding.as_slice());
            cards.into_iter().map(|card| card.picture == Some(Picture::NotRead)).collect::<Vec<_>>()
        };
        let inside = Item { container: Some(0), ..item("text/plain", None) };
        let locked = Some(Finding::NotUnpacked);
        assert_eq!(noted(vec![zip()], vec![], locked), [true]);
        assert_eq!(noted(vec![zip()], vec![], None), [false], "it was empty");
        let two = noted(vec![zip(), zip()], vec![inside], locked);
        assert_eq!(two, [false, true, false], "one of two");
        let office = || vec![item(docx, zip().magic.as_deref())];
        assert_eq!(noted(office(), vec![], None), [false], "it has no pictures");
        assert_eq!(noted(office(), vec![], locked), [true]);
        let deep = Item { container: Some(0), ..item("application/x", Some("application/gzip")) };
        assert_eq!(noted(vec![zip()], vec![deep], locked), [false, true]);
        assert_eq!(
            noted(vec![item("message/rfc822", None)], vec![], Some(Finding::Unparsed)),
            [true]
        );
        assert_eq!(noted(vec![item("message/delivery-status", None)], vec![], locked), [false]);
    }
}
