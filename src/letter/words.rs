//! Encoded words in header fields (RFC 2047), and header bytes above 127.
//!
//! Neighbouring words of one charset are joined as octets before they are decoded, because mailers
//! split characters between words. Linear in the length of the field, whatever it holds.

use data_encoding::BASE64;

use super::{charset, transfer};

/// Decoded text, and whether every charset it named was known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub text: String,
    pub known: bool,
}

/// Decodes an unstructured field, or a parameter's value, already unfolded. `hint` is the charset
/// of the body, for bytes above 127 that stand outside encoded words.
pub(super) fn decode(value: &[u8], hint: Option<&str>) -> Text {
    let mut decoded = Text { text: String::with_capacity(value.len()), known: true };
    for piece in pieces(value) {
        match piece {
            Piece::Plain(bytes) => decoded.text.push_str(&charset::guess(bytes, hint)),
            Piece::Word { charset, octets } => decoded.push(charset, &octets),
        }
    }
    decoded
}

impl Text {
    fn push(&mut self, label: &[u8], octets: &[u8]) {
        let (text, known) = charset::decode(&String::from_utf8_lossy(label), octets);
        self.text.push_str(&text);
        self.known &= known;
    }
}

/// A structured field with its encoded words made regular, for a parser of addresses.
pub(super) struct Regular {
    /// UTF-8; every run of encoded words is one word in `utf-8` and `B`.
    pub line: Vec<u8>,
    /// Starts of encoded words that are none.
    pub loose: usize,
    /// Every charset was known.
    pub known: bool,
}

/// Makes the encoded words of a structured field regular. Nothing else changes: words are not
/// decoded in place, since what they hide (`<`, `,`) must not become syntax.
pub(super) fn regular(value: &[u8], hint: Option<&str>) -> Regular {
    let mut regular = Regular { line: Vec::with_capacity(value.len() + 1), loose: 0, known: true };
    for piece in pieces(value) {
        match piece {
            Piece::Plain(bytes) => {
                regular.loose += bytes.windows(2).filter(|pair| pair == b"=?").count();
                regular.line.extend_from_slice(charset::guess(bytes, hint).as_bytes());
            }
            Piece::Word { charset, octets } => {
                let mut word = Text { text: String::new(), known: true };
                word.push(charset, &octets);
                regular.known &= word.known;
                regular.line.extend_from_slice(b"=?utf-8?B?");
                regular.line.extend_from_slice(BASE64.encode(word.text.as_bytes()).as_bytes());
                regular.line.extend_from_slice(b"?=");
            }
        }
    }
    regular
}

enum Piece<'a> {
    Plain(&'a [u8]),
    Word { charset: &'a [u8], octets: Vec<u8> },
}

fn pieces(value: &[u8]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while at < value.len() {
        let Some((charset, octets, length)) = word(&value[at..]) else {
            at += 1;
            continue;
        };
        let between = &value[plain..at];
        // White space between encoded words is no part of the text (RFC 2047 §6.2).
        let joins = matches!(pieces.last(), Some(Piece::Word { .. }))
            && between.iter().all(u8::is_ascii_whitespace);
        if !joins && !between.is_empty() {
            pieces.push(Piece::Plain(between));
        }
        match pieces.last_mut() {
            Some(Piece::Word { charset: before, octets: so_far })
                if joins && before.eq_ignore_ascii_case(charset) =>
            {
                so_far.extend_from_slice(&octets);
            }
            _ => pieces.push(Piece::Word { charset, octets }),
        }
        at += length;
        plain = at;
    }
    if plain < value.len() {
        pieces.push(Piece::Plain(&value[plain..]));
    }
    pieces
}

/// The encoded word that `text` starts with: its charset, its octets, its length. It ends at the
/// first `?` of its text, so a field full of half words is looked at three times and no more.
fn word(text: &[u8]) -> Option<(&[u8], Vec<u8>, usize)> {
    let rest = text.strip_prefix(b"=?")?;
    let mut parts = rest.splitn(4, |&byte| byte == b'?');
    let (label, method, coded) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next()?.first() != Some(&b'=') || label.is_empty() || label.contains(&b' ') {
        return None;
    }
    let octets = match method {
        b"q" | b"Q" => unquote(coded),
        b"b" | b"B" => transfer::unbase(coded),
        _ => return None,
    };
    // The language after a star (RFC 2231 §5) says nothing about the octets.
    let charset = label.split(|&byte| byte == b'*').next().unwrap_or(label);
    Some((charset, octets, 2 + label.len() + 1 + method.len() + 1 + coded.len() + 2))
}

/// The `Q` encoding: quoted-printable with `_` for a space.
fn unquote(coded: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> =
        coded.iter().map(|&byte| if byte == b'_' { b' ' } else { byte }).collect();
    transfer::unescape(&spaced, b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> String {
        decode(value.as_bytes(), None).text
    }

    #[test]
    fn words_split_inside_a_character_are_joined_before_decoding() {
        assert_eq!(read("=?UTF-8?B?4oI=?= =?UTF-8?B?rA==?="), "€");
        assert_eq!(read("=?UTF-8?Q?=E2=82?= =?utf-8?q?=AC?="), "€");
        assert_eq!(read("=?UTF-8?Q?=E2?=  =?utf-8?b?gqw?="), "€");
        assert_eq!(read("=?UTF-8?B?4oKs?==?UTF-8?B?4oKs?="), "€€");
        assert_eq!(read("=?iso-2022-jp?B?GyRCJU8=?= =?iso-2022-jp?B?JW0hPBsoQg==?="), "ハロー");
    }

    #[test]
    fn spaces_stay_around_words_and_vanish_between_them() {
        assert_eq!(read("a =?utf-8?Q?b_c?= d"), "a b c d");
        assert_eq!(read("=?utf-8?Q?a?= =?iso-8859-1?Q?=E9?= b"), "aé b");
        assert_eq!(read("=?utf-8*fr?Q?caf=C3=A9?="), "café");
        assert_eq!(read("=?utf-8?Q??="), "");
        assert_eq!(read("=?utf-8?Q?vrije tekst?="), "vrije tekst");
    }

    #[test]
    fn what_is_no_encoded_word_stays_as_it_is() {
        for text in ["=?", "=?utf-8", "=?utf-8?X?a?=", "=?utf-8?Q?a", "=??Q?a?=", "a =? b ?= c"] {
            assert_eq!(read(text), text);
        }
        assert!(!decode(b"=?x-none?Q?a?=", None).known);
    }

    #[test]
    fn a_field_full_of_half_words_takes_no_time() {
        let value = b"=?ab?q?".repeat(100_000);
        assert_eq!(decode(&value, None).text.len(), value.len());
        assert_eq!(regular(&value, None).loose, 100_000);
    }

    #[test]
    fn a_regular_field_hides_syntax_in_its_words() {
        let field = regular(b"=?iso-8859-1?Q?a=2C_=3Cb=40c=3E?= <d@e.example>", None);
        assert_eq!(field.line, b"=?utf-8?B?YSwgPGJAYz4=?= <d@e.example>");
    }
}
