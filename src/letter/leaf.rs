//! What a part is: its header read, its body turned into an item.

use std::ops::Range;

use super::header::{Block, ids};
use super::mime::{Findings, Place};
use super::params::Value;
use super::protection::{Cipher, Kind, Trace};
use super::transfer::{Coding, recipe};
use super::{Finding, Item, MAX_NAMES, MAX_TEXT, Role, Storage, charset, html, magic, media_type};
use crate::secret::Personal;

/// What the header of a part says about its body.
pub(super) struct Part {
    /// Lower case; what stands for it where none is declared.
    pub media_type: String,
    /// The parameters of the type.
    pub content: Value,
    disposition: Value,
    transfer: String,
    coding: Coding,
    content_id: Option<String>,
}

impl Part {
    /// Reads the fields of a part. In a digest a part is a message unless it says otherwise.
    pub(super) fn read(block: &Block<'_>, digest: bool, findings: &mut Findings) -> Self {
        if block.over {
            return Self::opaque();
        }
        let value = |name| block.first(name).map(Value::parse).unwrap_or_default();
        let (content, disposition) = (value("Content-Type"), value("Content-Disposition"));
        for name in ["Content-Type", "Content-Disposition", "Content-Transfer-Encoding"] {
            if block.all(name).nth(1).is_some() {
                findings.add(Finding::BadHeader);
            }
        }
        if content.odd || disposition.odd {
            findings.add(Finding::BadParameter);
        }
        let media_type = match content.kind.as_str() {
            kind if media_type::is_plausible(kind) => kind.to_owned(),
            "" if digest => "message/rfc822".into(),
            _ => {
                // RFC 2045 §5.2: what cannot be read as a type is plain text.
                if !content.kind.is_empty() {
                    findings.add(Finding::BadHeader);
                }
                "text/plain".into()
            }
        };
        let mut transfer =
            Value::parse(block.first("Content-Transfer-Encoding").unwrap_or(b"7bit")).kind;
        // One so long is nobody's: its beginning says as much.
        transfer.truncate(transfer.floor_char_boundary(media_type::MAX_MEDIA_TYPE));
        Self {
            media_type,
            content,
            disposition,
            coding: Coding::named(&transfer),
            transfer,
            content_id: block.first("Content-ID").and_then(|value| ids(value).into_iter().next()),
        }
    }

    /// A part about which nothing is known.
    pub(super) fn opaque() -> Self {
        Self {
            media_type: "application/octet-stream".into(),
            content: Value::default(),
            disposition: Value::default(),
            transfer: "binary".into(),
            coding: Coding::Identity,
            content_id: None,
        }
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.media_type.starts_with("multipart/")
    }

    /// Whether the body is a message that can be read in place.
    pub(super) fn is_message(&self) -> bool {
        self.holds_message() && self.coding == Coding::Identity
    }

    pub(super) fn holds_message(&self) -> bool {
        matches!(self.media_type.as_str(), "message/rfc822" | "message/global" | "message/news")
    }

    /// The boundary of a multipart, without the white space that must not end it.
    pub(super) fn boundary(&self) -> Option<Vec<u8>> {
        let boundary = self.is_multipart().then(|| self.content.octets("boundary"))??;
        let boundary = boundary.trim_ascii_end();
        (!boundary.is_empty()).then(|| boundary.to_vec())
    }

    pub(super) fn group_kind(&self) -> Kind {
        match self.media_type.as_str() {
            "multipart/encrypted" => Kind::Encrypted,
            "multipart/appledouble" => Kind::AppleDouble,
            _ => Kind::Other,
        }
    }

    /// Names, decoded, without repetitions: `filename` before `name`, at most [`MAX_NAMES`].
    fn names(&self, findings: &mut Findings) -> Vec<Personal<String>> {
        let mut names: Vec<Personal<String>> = Vec::new();
        for (texts, known) in [self.disposition.texts("filename"), self.content.texts("name")] {
            if !known {
                findings.add(Finding::UnknownCharset);
            }
            for text in texts {
                let name = Personal::new(text.trim().to_owned());
                let is_new = !name.expose().is_empty() && !names.contains(&name);
                if is_new && names.len() == MAX_NAMES {
                    findings.add(Finding::OverLimit);
                    return names;
                }
                if is_new && findings.keeps(name.expose().len()) {
                    names.push(name);
                }
            }
        }
        names
    }

    fn role(&self, place: Place, magic: Option<&str>) -> Role {
        if place.group.kind == Kind::AppleDouble && magic == Some(magic::APPLE_DOUBLE) {
            Role::Secondary
        } else if self.is_text()
            && matches!(self.disposition.kind.as_str(), "" | "inline")
            // A text may name the first bytes of a PDF.
            && !magic.is_some_and(|magic| magic.starts_with("image/"))
        {
            Role::Body
        } else {
            Role::Attachment
        }
    }

    /// Text, or a multipart that turned out to have no parts.
    fn is_text(&self) -> bool {
        self.media_type.starts_with("text/") || self.is_multipart()
    }

    /// As much of a body's content as anybody reads in a text, decoded.
    pub(super) fn beginning(&self, body: &[u8]) -> Vec<u8> {
        self.coding.decode(&body[..body.len().min(MAX_TEXT * OCTETS_A_BYTE)])
    }

    fn text(&self, body: &[u8], findings: &mut Findings) -> String {
        let octets = self.beginning(body);
        let label = self.content.token("charset").unwrap_or_default();
        let (mut text, known) = charset::decode(&label, &octets);
        if !known {
            findings.add(Finding::UnknownCharset);
        }
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        readable(&self.media_type, text)
    }
}

/// A text as it is read: HTML without its tags, at most [`MAX_TEXT`] bytes.
pub(super) fn readable(media_type: &str, mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    if media_type == "text/html" {
        text = html::to_text(&text);
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
    text
}

/// What an item is made of, if it can be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Nothing else.
    None,
    Zip,
    /// A zip file of which the pictures are taken out.
    Office,
    Tnef,
    /// An encoded message.
    Message,
    /// Something that stays as it is.
    Other,
}

impl Packing {
    /// By the first bytes of the content.
    pub(super) fn of(look: &[u8], magic: Option<&str>) -> Self {
        match magic {
            _ if !magic::is_packed(magic) => Self::None,
            Some(magic::ZIP) if magic::is_office(look) => Self::Office,
            Some(magic::ZIP) => Self::Zip,
            Some(magic::TNEF) => Self::Tnef,
            _ => Self::Other,
        }
    }
}

/// An encoded body is at most this many times longer than its content, give or take line ends.
const OCTETS_A_BYTE: usize = 4;

/// Turns a leaf body into an item.
pub(super) fn read(
    raw: &[u8],
    range: Range<usize>,
    part: &Part,
    place: Place,
    findings: &mut Findings,
) -> (Item, Trace) {
    let body = &raw[range.clone()];
    let recipe = (part.coding == Coding::Base64).then(|| recipe(body)).flatten();
    if recipe.is_none() && !part.coding.fits(body) {
        findings.add(Finding::BadTransferEncoding);
    }
    let mut look = part.coding.decode(&body[..body.len().min(magic::LOOK * OCTETS_A_BYTE)]);
    look.truncate(magic::LOOK);
    let magic = magic::of(&look);
    if !body.is_empty() && magic::disagrees(&part.media_type, magic) {
        findings.add(Finding::TypeMismatch);
    }
    let packing = match part.coding {
        Coding::Identity => Packing::of(&look, magic),
        _ if part.holds_message() => Packing::Message,
        _ if part.is_multipart() => Packing::Other,
        _ => Packing::of(&look, magic),
    };
    let cipher = Cipher::of(&look, &part.media_type, &part.content);
    let trace = Trace { group: place.group, cipher, packing };
    let item = Item {
        start: range.start,
        end: range.end,
        role: part.role(place, magic),
        media_type: part.media_type.clone(),
        magic: magic.map(Into::into),
        names: part.names(findings),
        storage: recipe.unwrap_or(Storage::AsItCame),
        transfer: part.transfer.clone(),
        text: part
            .is_text()
            .then(|| part.text(body, findings))
            .filter(|text| findings.keeps(text.len()))
            .map(Personal::new),
        depth: place.depth,
        content_id: part.content_id.clone().map(Personal::new),
        container: None,
        scan: None,
        sight: None,
    };
    (item, trace)
}
