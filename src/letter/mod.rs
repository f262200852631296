//! A letter: one received mail, parsed.
//!
//! Parsing is total: whatever the bytes are, a `Letter` comes out. Odd input becomes a
//! [`Finding`], never an error and never a lost byte. What a letter carries is cut into *items*
//! that can be forgotten one by one; what is left is the *skeleton*, from which, with the items,
//! the raw message can be rebuilt bit for bit (`skeleton`).
//!
//! Pure: no I/O, no clock. In the order of the bytes: `mime` splits multiparts, line-anchored;
//! `header`, `params` and `words` read the fields; `leaf` makes items, with `transfer`, `charset`
//! `html` and `magic`; `unpack` opens what is made of other things; `protection` says what is
//! encrypted, `delivery` what a report says about a mail; `answer` holds what a child said to all of
//! these limits. What came on paper or as a file alone is
//! a `document`. Addresses, dates and the tables of charsets are mail-parser's; the rest is our
//! own, since it must account for every byte. Format: vault-format §7 (skeleton and letter box).

mod answer;
mod charset;
mod delivery;
mod document;
mod header;
mod html;
mod inside;
mod leaf;
mod looked;
mod magic;
mod marks;
pub mod media_type;
mod mime;
mod params;
mod protection;
mod scanned;
pub mod skeleton;
mod transfer;
mod unpack;
mod words;

use std::fmt;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::secret::Personal;

pub use answer::MAX_ELEMENTS;
pub use delivery::{
    Action, DeliveryReport, MAX_REPORTED, MAX_RETURNED_IDS, ReportKind, ReportedRecipient,
};
pub use document::document;
pub use header::RawHeader;
pub use inside::{Inside, inside};
pub use marks::Marks;
pub use transfer::{content, is_stored_as_content};
pub use unpack::{
    MAX_CONTAINED, MAX_LAYERS, MAX_NAME, MAX_RATIO, MAX_TNEF_ATTRIBUTES, MAX_UNPACKED,
};

/// What the connection said before the bytes came.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Envelope {
    /// The reverse-path without angle brackets; empty for `MAIL FROM:<>` (RFC 5321 §4.5.5).
    #[n(0)]
    pub mail_from: Personal<String>,
    /// The accepted recipients, in the order of their RCPT commands.
    #[n(1)]
    pub rcpt_to: Vec<Personal<String>>,
    /// The name the client gave in EHLO, HELO or LHLO.
    #[n(2)]
    pub helo: Personal<String>,
    /// The client's address, as text; absent on a Unix socket or for a file.
    #[n(3)]
    pub client: Option<Personal<String>>,
    /// How the letter came.
    #[n(4)]
    pub source: Source,
    /// Whether the connection was encrypted.
    #[n(5)]
    pub tls: bool,
}

/// How a letter came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Source {
    /// Over SMTP (RFC 5321).
    #[n(0)]
    Smtp,
    /// Over LMTP (RFC 2033), or from the pipe of a mail server on this machine, which says no HELO.
    #[n(1)]
    Lmtp,
    /// Taken from an IMAP mailbox.
    #[n(2)]
    Imap,
    /// Imported from a file.
    #[n(3)]
    File,
}

/// One received mail, parsed. Made by [`Letter::parse`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Letter {
    /// The header fields that anyone asks for.
    #[n(0)]
    pub headers: Headers,
    /// Every leaf body, in the order of the raw message. Ranges are disjoint and ascending.
    #[n(1)]
    pub items: Vec<Item>,
    /// What was odd, in the order it was met, each kind at most [`MAX_SAME_FINDING`] times.
    #[n(2)]
    pub findings: Vec<Finding>,
    /// Whether, and how, the letter is encrypted or signed.
    #[n(3)]
    pub protection: Protection,
    /// What the header says about answers.
    #[n(10)]
    pub marks: Marks,
    /// What it reports about a mail, if it is a delivery report or a read receipt.
    #[n(4)]
    pub report: Option<DeliveryReport>,
    /// What was taken out of items, each behind what it was taken out of. They are counted on from
    /// the items.
    #[n(5)]
    pub contained: Vec<Contained>,
}

/// Something that was taken out of an item: of an archive, a TNEF blob, an encoded message. It is
/// no part of the raw message.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Contained {
    /// What it is. Its range is all of `content`, and it names its container.
    #[n(0)]
    pub item: Item,
    /// Its bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub content: Vec<u8>,
}

/// Without the bytes.
impl fmt::Debug for Contained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contained").field("item", &self.item).finish_non_exhaustive()
    }
}

/// The header fields of the outermost message, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Headers {
    /// `From` mailboxes.
    #[n(0)]
    pub from: Vec<Mailbox>,
    /// `To` and `Cc` mailboxes.
    #[n(1)]
    pub to: Vec<Mailbox>,
    /// `Reply-To` mailboxes.
    #[n(2)]
    pub reply_to: Vec<Mailbox>,
    /// `Subject`, decoded.
    #[n(3)]
    pub subject: Option<Personal<String>>,
    /// `Date` in seconds since 1970-01-01T00:00:00Z.
    #[n(4)]
    pub date: Option<i64>,
    /// `Message-ID` without angle brackets.
    #[n(5)]
    pub message_id: Option<Personal<String>>,
    /// Message ids of `In-Reply-To` and `References`, without angle brackets, oldest first.
    #[n(6)]
    pub references: Vec<Personal<String>>,
    /// Number of `Received` fields (a loop shows here, RFC 5321 §6.3).
    #[n(7)]
    pub received: u32,
}

/// A display name and an address.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Mailbox {
    /// The display name, decoded.
    #[n(0)]
    pub name: Option<Personal<String>>,
    /// The address as written, comments and folding removed.
    #[n(1)]
    pub address: Personal<String>,
}

/// The text of a file that says nothing of its charset: UTF-8 if it is that, else windows-1252.
#[must_use]
pub fn text_of_file(bytes: &[u8]) -> String {
    charset::guess(bytes, None)
}

/// One leaf body of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Item {
    /// Where the body as it came begins in the raw message.
    #[n(0)]
    pub start: usize,
    /// Where it ends (exclusive). `start == end` for an empty body.
    #[n(1)]
    pub end: usize,
    /// What the item is for a reader.
    #[n(2)]
    pub role: Role,
    /// The media type as declared, lower case, without parameters (`text/plain` if none).
    #[n(3)]
    pub media_type: String,
    /// The media type by the first bytes of the decoded content, where that is known.
    #[n(4)]
    pub magic: Option<String>,
    /// Every name given for it, decoded: `filename` before `name`; the first is shown. At most
    /// [`MAX_NAMES`].
    #[n(5)]
    pub names: Vec<Personal<String>>,
    /// How the content is stored.
    #[n(6)]
    pub storage: Storage,
    /// The transfer encoding as declared, lower case (`7bit` if none).
    #[n(7)]
    pub transfer: String,
    /// For a text item: its text as it is read, decoded to UTF-8, HTML without its tags (at most
    /// [`MAX_TEXT`] bytes).
    #[n(8)]
    pub text: Option<Personal<String>>,
    /// How many message/rfc822 layers enclose it; 0 for the outermost message.
    #[n(9)]
    pub depth: u8,
    /// `Content-ID` without angle brackets.
    #[n(10)]
    pub content_id: Option<Personal<String>>,
    /// The item that it was taken out of, by its number among the letter's items and then what was
    /// taken out of them.
    #[n(11)]
    pub container: Option<u32>,
    /// What the virus scanner said; absent if none was asked.
    #[n(20)]
    pub scan: Option<Scan>,
    /// What the confined child that reads pictures saw in it: the CBOR of an
    /// `identity::document::Sight`, at most [`MAX_SIGHT`] bytes; absent if it was not looked at.
    #[n(21)]
    pub sight: Option<Personal<ByteVec>>,
}

/// What the virus scanner said of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Scan {
    /// Nothing that it knows.
    #[n(0)]
    Clean,
    /// Malware.
    #[n(1)]
    Infected,
    /// It was not there, or did not answer in time.
    #[n(2)]
    NotScanned,
}

/// What an item is for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Text the sender wrote (a text part that is not marked as an attachment).
    #[n(0)]
    Body,
    /// Anything else.
    #[n(1)]
    Attachment,
    /// The fork of an AppleDouble pair: kept, not counted as an attachment of its own (RFC 1740).
    #[n(2)]
    Secondary,
}

/// How an item's content is stored, and so how the raw body is made from it again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Storage {
    /// The bytes as they came.
    #[n(0)]
    AsItCame,
    /// The decoded bytes: standard base64 with padding in lines of `width` characters, each ended
    /// by `\r\n`, or by `\n` when `bare`; the last line's end is there if `closed`.
    #[n(1)]
    Base64 {
        /// Characters a line, a multiple of 4, at least 4.
        #[n(0)]
        width: u32,
        /// Lines end with LF alone.
        #[n(1)]
        bare: bool,
        /// The last line has its end, too.
        #[n(2)]
        closed: bool,
    },
}

/// Encryption or signature around the letter, by content and not by name
/// (reference: RFC 3156, RFC 8551).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Protection {
    /// Neither.
    #[n(0)]
    None,
    /// OpenPGP ciphertext: the item with this index holds the encrypted message (binary or armor).
    #[n(1)]
    OpenPgp(#[n(0)] u32),
    /// S/MIME enveloped data in the item with this index.
    #[n(2)]
    Smime(#[n(0)] u32),
    /// `multipart/signed`: kept whole, so that the signature can be verified.
    #[n(3)]
    Signed,
}

/// Something odd about a letter: seen, kept, never a reason to lose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Finding {
    /// The parser crashed, hung or was over its limits: sealed whole, unparsed.
    #[n(0)]
    Unparsed,
    /// A multipart whose closing delimiter is missing.
    #[n(1)]
    Unterminated,
    /// A multipart without any delimiter line; taken as one item.
    #[n(2)]
    NoDelimiter,
    /// Bytes before the first or after the last delimiter, kept in the skeleton.
    #[n(3)]
    StrayBytes,
    /// A header field that could not be read as what it is.
    #[n(4)]
    BadHeader,
    /// Header bytes above 127 outside encoded words (RFC 6532 or worse).
    #[n(5)]
    EightBitHeader,
    /// A charset nobody knows; read as something else.
    #[n(6)]
    UnknownCharset,
    /// A transfer encoding that could not be decoded; kept as it came.
    #[n(7)]
    BadTransferEncoding,
    /// More parts, deeper nesting or longer headers than the limits allow; the rest is one item.
    #[n(8)]
    OverLimit,
    /// Declared media type and first bytes disagree.
    #[n(9)]
    TypeMismatch,
    /// No `From`, more than one, or one that is no address.
    #[n(10)]
    OddFrom,
    /// A parameter given twice, or broken.
    #[n(11)]
    BadParameter,
    /// A NUL byte in the message.
    #[n(12)]
    Nul,
    /// The subject names a case of another sender.
    #[n(13)]
    NamesCase,
    /// The encrypted part could not be found where its type says it is.
    #[n(14)]
    MangledEncryption,
    /// An archive, a TNEF blob or an encoded message that is kept as one item: of a kind that is not
    /// read, broken, or as one of the next two says.
    #[n(15)]
    NotUnpacked,
    /// An archive that wants a password.
    #[n(16)]
    LockedArchive,
    /// A container whose content is over the limits, or whose entries share bytes: made to be a bomb.
    #[n(17)]
    SwollenArchive,
    /// The virus scanner knows something in it.
    #[n(30)]
    Infected,
    /// The virus scanner did not answer: something in it was not scanned.
    #[n(31)]
    NotScanned,
    /// An archive that two programs may read differently: an entry is not what the directory says of
    /// it, two have one name, or one is not in the directory. What was taken out is what the
    /// directory says; the archive is kept beside it.
    #[n(32)]
    AmbiguousArchive,
}

/// The same finding is listed this often at most.
pub const MAX_SAME_FINDING: usize = 8;
/// Bytes of decoded text kept beside an item.
pub const MAX_TEXT: usize = 256 * 1024;
/// Bytes of what was seen in a picture.
pub const MAX_SIGHT: usize = 64 * 1024;
/// Names of one item that are kept.
pub const MAX_NAMES: usize = 16;
/// Bytes of decoded texts and names kept of one letter; what is more can be read in its item.
pub const MAX_TEXTS: usize = 16 << 20;
/// Leaf bodies in one letter; what follows becomes one item.
pub const MAX_ITEMS: usize = 1000;
/// Nesting of multiparts and enclosed messages.
pub const MAX_DEPTH: usize = 32;
/// Bytes of one header block that are read; a longer one is kept and not interpreted.
pub const MAX_HEADER: usize = 256 * 1024;

impl Letter {
    /// Parses a raw message: the DATA bytes after dot-unstuffing. Total: never fails, never panics
    /// on purpose; run it in the confined child all the same (`sandbox`).
    #[must_use]
    pub fn parse(raw: &[u8]) -> Self {
        mime::parse(raw)
    }

    /// A letter that could not be parsed: one item, the whole message.
    #[must_use]
    pub fn unparsed(raw: &[u8]) -> Self {
        Self {
            headers: Headers::default(),
            items: vec![Item {
                start: 0,
                end: raw.len(),
                role: Role::Attachment,
                media_type: "message/rfc822".into(),
                magic: None,
                names: Vec::new(),
                storage: Storage::AsItCame,
                transfer: "binary".into(),
                text: None,
                depth: 0,
                content_id: None,
                container: None,
                scan: None,
                sight: None,
            }],
            findings: vec![Finding::Unparsed],
            protection: Protection::None,
            marks: Marks::default(),
            report: None,
            contained: Vec::new(),
        }
    }
}
