//! What each kind of box says beside its content (vault-format §7): the `detail` of a manifest.
//!
//! Everything here is sealed before it rests. Personal fields are `Personal`, so none of this can
//! be printed by accident.

use minicbor::{Decode, Encode};

use super::looking::is_read;
use crate::case::notice::Silence;
use crate::identity::document::Sight;
use crate::identity::evidence::Verdict;
use crate::identity::origin::Origin;
use crate::ids::{CaseId, Digest, ItemId, LetterId};
use crate::letter::{Envelope, Finding, Headers, Item, Protection, Role, Scan};
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
            let is_picture = item.magic.as_deref().is_some_and(is_read) && item.role != Role::Body;
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
