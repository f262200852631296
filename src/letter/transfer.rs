//! Transfer encodings (RFC 2045 §6): tolerant for reading, exact for keeping.
//!
//! Reading takes what senders produce: missing padding, line noise, half escapes. Keeping a body
//! decoded is only allowed where encoding it again gives the identical bytes; [`recipe`] finds
//! out, and [`apart`] and [`each_piece`] are each other's inverse.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Item, Storage};

/// How a body is encoded, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// The bytes are the content.
    Identity,
    Base64,
    Quoted,
    /// Named, and nobody's: the bytes are taken as the content.
    Unknown,
}

impl Coding {
    /// The coding of a lower-case name.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "" | "7bit" | "8bit" | "binary" | "7-bit" | "8-bit" | "none" => Self::Identity,
            "base64" => Self::Base64,
            "quoted-printable" => Self::Quoted,
            _ => Self::Unknown,
        }
    }

    /// The content of a body, decoded as well as it can be.
    pub(super) fn decode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Identity | Self::Unknown => body.to_vec(),
            Self::Base64 => unbase(body),
            Self::Quoted => unquote(body),
        }
    }

    /// Whether the body is what its coding says.
    pub(super) fn fits(self, body: &[u8]) -> bool {
        match self {
            Self::Identity => true,
            Self::Unknown => false,
            Self::Base64 => body
                .iter()
                .all(|&byte| SEXTETS[usize::from(byte)] < 64 || b"=\r\n\t ".contains(&byte)),
            Self::Quoted => body.iter().enumerate().all(|(at, &byte)| {
                byte != b'=' || escape(&body[at + 1..]).is_some() || soft(&body[at + 1..]).is_some()
            }),
        }
    }
}

/// What a person gets who opens the item: the decoded content. `stored` is what [`cut`] gave for
/// it; `item.storage` must be what the skeleton's hole says.
///
/// [`cut`]: super::skeleton::cut
#[must_use]
pub fn content(item: &Item, stored: &[u8]) -> Vec<u8> {
    match item.storage {
        Storage::AsItCame => Coding::named(&item.transfer).decode(stored),
        Storage::Base64 { .. } => stored.to_vec(),
    }
}

/// Whether [`content`] is what is stored, byte for byte.
#[must_use]
pub fn is_stored_as_content(item: &Item) -> bool {
    match item.storage {
        Storage::AsItCame => {
            matches!(Coding::named(&item.transfer), Coding::Identity | Coding::Unknown)
        }
        Storage::Base64 { .. } => true,
    }
}

/// Base64, tolerant: what is not in the alphabet is passed over, padding may be missing, and more
/// may follow after it.
pub(super) fn unbase(coded: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(coded.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0);
    let flush = |octets: &mut Vec<u8>, bits: u32, count: u32| match count {
        2 => octets.push((bits >> 4) as u8),
        3 => octets.extend([(bits >> 10) as u8, (bits >> 2) as u8]),
        _ => {}
    };
    for &byte in coded {
        let sextet = SEXTETS[usize::from(byte)];
        if sextet < 64 {
            bits = bits << 6 | u32::from(sextet);
            count += 1;
            if count == 4 {
                octets.extend([(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
                (bits, count) = (0, 0);
            }
        } else if byte == b'=' {
            flush(&mut octets, bits, count);
            (bits, count) = (0, 0);
        }
    }
    flush(&mut octets, bits, count);
    octets
}

/// The value of each base64 character; 64 for what is none.
const SEXTETS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [64; 256];
    let mut value = 0;
    while value < 64 {
        table[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    table
};

/// Quoted-printable, tolerant: a half escape stays as it is. White space at the end of a line is
/// dropped, as RFC 2045 §6.7 (3) wants.
fn unquote(coded: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(coded.len());
    for line in coded.split_inclusive(|&byte| byte == b'\n') {
        let end = line_end(line);
        let text = line[..line.len() - end].trim_ascii_end();
        match text.strip_suffix(b"=") {
            Some(text) if end > 0 => octets.extend(unescape(text, b'=')),
            _ => {
                octets.extend(unescape(text, b'='));
                octets.extend_from_slice(&line[line.len() - end..]);
            }
        }
    }
    octets
}

/// Replaces each `mark` and two hexadecimal digits by the octet they name.
pub(super) fn unescape(coded: &[u8], mark: u8) -> Vec<u8> {
    let mut octets = Vec::with_capacity(coded.len());
    let mut at = 0;
    while let Some(&byte) = coded.get(at) {
        match escape(&coded[at + 1..]) {
            Some(octet) if byte == mark => {
                octets.push(octet);
                at += 3;
            }
            _ => {
                octets.push(byte);
                at += 1;
            }
        }
    }
    octets
}

fn escape(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    Some((digit(0)? << 4 | digit(1)?) as u8)
}

/// The length of the white space and line end that make a soft line break.
fn soft(rest: &[u8]) -> Option<usize> {
    let blank = rest.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
    match &rest[blank..] {
        [] | [b'\n', ..] => Some(blank + 1),
        [b'\r', b'\n', ..] => Some(blank + 2),
        _ => None,
    }
}

/// Bytes of the line end that `line` carries: 0, 1 or 2.
pub(super) fn line_end(line: &[u8]) -> usize {
    match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    }
}

/// The recipe by which a base64 body is kept decoded, if there is an exact one.
pub(super) fn recipe(body: &[u8]) -> Option<Storage> {
    let first = body.split_inclusive(|&byte| byte == b'\n').next()?;
    let end = line_end(first);
    let storage = Storage::Base64 {
        width: u32::try_from(first.len() - end).ok()?,
        bare: end == 1,
        closed: end > 0 && body.ends_with(b"\n"),
    };
    walk(&storage, body, |_| {})?;
    Some(storage)
}

/// The content that [`each_piece`] turns into `body` again, by this recipe; nothing if there is none.
pub(super) fn apart(storage: &Storage, body: &[u8]) -> Option<Vec<u8>> {
    match storage {
        Storage::AsItCame => Some(body.to_vec()),
        Storage::Base64 { .. } => {
            let mut content = Vec::with_capacity(body.len() / 4 * 3);
            walk(storage, body, |octets| content.extend_from_slice(octets))?;
            Some(content)
        }
    }
}

/// The content of the item whose raw body this is, by its recipe where it has one.
pub(super) fn apart_or_decoded(item: &Item, body: &[u8]) -> Vec<u8> {
    match &item.storage {
        Storage::AsItCame => content(item, body),
        recipe => apart(recipe, body).unwrap_or_else(|| Coding::Base64.decode(body)),
    }
}

/// Characters coded at a time: a multiple of 4.
const STRIDE: usize = 4096;
/// The octets that they stand for.
const OCTETS: usize = STRIDE / 4 * 3;

/// Decodes a base64 body whose lines are exactly those of the recipe. The decoder is strict: it
/// takes one spelling of each content only, with padding at its end and no stray bits, so that
/// [`each_piece`] gives the body again.
fn walk(storage: &Storage, body: &[u8], mut sink: impl FnMut(&[u8])) -> Option<()> {
    let (width, end, closed) = shape(storage)?;
    let mut rest = if closed { body.strip_suffix(end)? } else { body };
    let mut coded = [0; STRIDE];
    let mut octets = [0; OCTETS];
    let mut filled = 0;
    loop {
        let (mut line, after) = rest.split_at(width.min(rest.len()));
        if line.is_empty() || !line.len().is_multiple_of(4) {
            return None;
        }
        while !line.is_empty() {
            if filled == STRIDE {
                // Padding inside the body would end a line that the recipe goes on with.
                let length = STANDARD.decode_slice_unchecked(coded, &mut octets).ok()?;
                (length == OCTETS).then(|| sink(&octets))?;
                filled = 0;
            }
            let some = line.len().min(STRIDE - filled);
            coded[filled..filled + some].copy_from_slice(&line[..some]);
            filled += some;
            line = &line[some..];
        }
        if after.is_empty() {
            let length = STANDARD.decode_slice_unchecked(&coded[..filled], &mut octets).ok()?;
            sink(&octets[..length]);
            return Some(());
        }
        rest = after.strip_prefix(end)?;
    }
}

/// Gives `sink` the raw body that `content` was made from, piece by piece, as long as it says that
/// it wants more; says the same. A recipe that is none gives the content.
pub(super) fn each_piece(
    storage: &Storage,
    content: &[u8],
    sink: &mut dyn FnMut(&[u8]) -> bool,
) -> bool {
    let Some((width, end, closed)) = shape(storage) else { return sink(content) };
    let mut coded = [0; STRIDE];
    let mut column = 0;
    for octets in content.chunks(OCTETS) {
        let length = STANDARD.encode_slice(octets, &mut coded).expect("a stride has the room");
        let mut rest = &coded[..length];
        while !rest.is_empty() {
            if column == width {
                column = 0;
                if !sink(end) {
                    return false;
                }
            }
            let (some, after) = rest.split_at(rest.len().min(width - column));
            if !sink(some) {
                return false;
            }
            column += some.len();
            rest = after;
        }
    }
    !closed || sink(end)
}

/// Width, line end and whether the last line has one; nothing for `AsItCame` and for a width that
/// no base64 has.
fn shape(storage: &Storage) -> Option<(usize, &'static [u8], bool)> {
    match *storage {
        Storage::Base64 { width, bare, closed } if width >= 4 && width % 4 == 0 => {
            let end: &[u8] = if bare { b"\n" } else { b"\r\n" };
            Some((width as usize, end, closed))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(width: u32, bare: bool, closed: bool) -> Storage {
        Storage::Base64 { width, bare, closed }
    }

    fn together(storage: &Storage, content: &[u8]) -> Vec<u8> {
        let mut raw = Vec::new();
        each_piece(storage, content, &mut |piece| {
            raw.extend_from_slice(piece);
            true
        });
        raw
    }

    #[test]
    fn a_recipe_is_found_where_encoding_again_is_exact() {
        for (body, wanted) in [
            ("QUJD", Some(base64(4, false, false))),
            ("QUI=\r\n", Some(base64(4, false, true))),
            ("QUJD\nQUI=", Some(base64(4, true, false))),
            ("QUJDQUJD\r\nQQ==\r\n", Some(base64(8, false, true))),
            ("", None),
            ("\r\n", None),
            ("QUJ", None),
            ("QUJ\r\n", None),
            ("QUJD\r\n\r\n", None),
            ("QUJD\nQUJD\r\n", None),
            ("QUJDQUJD\r\nQUJD\r\nQUJD", None),
            ("QQ==QQ==", None),
            ("QQ==\r\nQQ==", None),
            ("QUJDQUJD\r\nQQ==QUJD", None),
            ("QR==", None),
            ("QUJD ", None),
            ("QUJD\r\nQUJ-", None),
            ("=QUJ", None),
        ] {
            assert_eq!(recipe(body.as_bytes()), wanted, "{body:?}");
            if let Some(storage) = wanted {
                let content = apart(&storage, body.as_bytes()).expect("the recipe was found");
                let again = together(&storage, &content);
                assert_eq!(again, body.as_bytes());
            }
        }
    }

    #[test]
    fn every_length_and_width_comes_back_also_in_one_long_line() {
        let content: Vec<u8> = (0..9000u32).map(|n| (n * 7 % 251) as u8).collect();
        for width in [4, 76, 4096, 4100, 20_000] {
            for length in (1..200).chain([3071, 3072, 3073, 9000]) {
                for (bare, closed) in [(false, false), (true, true)] {
                    let storage = base64(width, bare, closed);
                    let body = together(&storage, &content[..length]);
                    assert_eq!(apart(&storage, &body).as_deref(), Some(&content[..length]));
                    let found = recipe(&body).expect("an exact body has a recipe");
                    assert_eq!(apart(&found, &body).as_deref(), Some(&content[..length]));
                }
            }
        }
    }

    #[test]
    fn a_recipe_that_is_none_does_no_harm() {
        for width in [0, 1, 6, u32::MAX] {
            let storage = base64(width, false, false);
            assert_eq!(apart(&storage, b"QUJDQUJD\r\n"), None, "{width}");
            let raw = together(&storage, b"abc");
            assert_eq!(raw, b"abc");
        }
    }

    #[test]
    fn reading_base64_takes_what_senders_produce() {
        for (coded, octets) in [
            ("QUJD", &b"ABC"[..]),
            ("QU JD\r\nQQ", b"ABCA"),
            ("QQ==QUI=", b"AAB"),
            ("Q*U*J*D", b"ABC"),
            ("Q", b""),
            ("====", b""),
        ] {
            assert_eq!(unbase(coded.as_bytes()), octets, "{coded}");
        }
        assert!(Coding::Base64.fits(b"QUJD\r\nQQ=="));
        assert!(!Coding::Base64.fits(b"QUJD!"));
    }

    #[test]
    fn reading_quoted_printable_takes_what_senders_produce() {
        for (coded, octets) in [
            ("caf=C3=A9", "café"),
            ("caf=c3=a9 \t\r\nx", "café\r\nx"),
            ("een=\r\n twee=  \r\ndrie", "een tweedrie"),
            ("a==3D", "a=="),
            ("a=ZZ=4", "a=ZZ=4"),
            ("einde=", "einde="),
        ] {
            assert_eq!(unquote(coded.as_bytes()), octets.as_bytes(), "{coded}");
        }
        assert!(Coding::Quoted.fits(b"a=3D=\r\nb= \nc="));
        assert!(!Coding::Quoted.fits(b"a==3D"));
    }
}
