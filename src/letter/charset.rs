//! Bytes to text: charset labels as mailers write them, and what to do without a usable one.
//!
//! The tables are mail-parser's. What it does not know, or knows under a stricter name, is
//! mapped here; a label that nobody knows is reported, and the bytes are read as UTF-8 or, where
//! that fails, as windows-1252, in which every byte is some character.

use mail_parser::decoders::charsets::{DecoderFnc, map::charset_decoder};

enum Charset {
    Utf8,
    /// ASCII by name, anything in practice.
    Ascii,
    Table(DecoderFnc),
}

/// Decodes `bytes` as `label` says. The flag is false if nobody knows the label; an empty label
/// is no label and asks for a guess.
pub(super) fn decode(label: &str, bytes: &[u8]) -> (String, bool) {
    let label = trim(label);
    if label.is_empty() {
        return (guess(bytes, None), true);
    }
    match find(label) {
        Some(Charset::Utf8) => (String::from_utf8_lossy(without_mark(bytes)).into_owned(), true),
        Some(Charset::Ascii) => (guess(bytes, None), true),
        Some(Charset::Table(decoder)) => (decoder(bytes), true),
        None => (guess(bytes, None), false),
    }
}

/// Decodes bytes that carry no label: UTF-8 if they are that, else the charset `hint` (of a body
/// beside them, say), else windows-1252.
pub(super) fn guess(bytes: &[u8], hint: Option<&str>) -> String {
    let bytes = without_mark(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        // Cut off inside a character, after others that were whole: still UTF-8.
        Err(e) if e.error_len().is_none() && !bytes[..e.valid_up_to()].is_ascii() => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        Err(_) => match hint.map(trim).and_then(find) {
            Some(Charset::Table(decoder)) => decoder(bytes),
            _ => windows_1252(bytes),
        },
    }
}

fn windows_1252(bytes: &[u8]) -> String {
    match charset_decoder(b"windows-1252") {
        Some(decoder) => decoder(bytes),
        None => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

fn trim(label: &str) -> &str {
    label.trim_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\''))
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn find(label: &str) -> Option<Charset> {
    if label.len() > MAX_LABEL {
        return None;
    }
    let label = label.to_ascii_lowercase();
    match label.as_str() {
        "utf-8" | "utf8" | "utf_8" | "utf8mb3" | "utf8mb4" | "unicode-1-1-utf-8" => {
            return Some(Charset::Utf8);
        }
        "us-ascii" | "ascii" | "usascii" | "ansi_x3.4-1968" | "ansi_x3.4-1986" => {
            return Some(Charset::Ascii);
        }
        _ => {}
    }
    charset_decoder(label.as_bytes())
        .or_else(|| {
            let digits = label
                .trim_start_matches("windows")
                .trim_start_matches("cp")
                .trim_start_matches(['-', '_']);
            let known = matches!(digits.parse(), Ok(1250..=1258u16));
            known.then(|| charset_decoder(format!("windows-{digits}").as_bytes())).flatten()
        })
        .map(Charset::Table)
}

/// Longer labels are nobody's: mail-parser compares this much.
const MAX_LABEL: usize = 45;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_mailers_write_them() {
        for (label, bytes, text, known) in [
            ("utf-8", &b"caf\xc3\xa9"[..], "café", true),
            ("UTF8", b"\xef\xbb\xbfcaf\xc3\xa9", "café", true),
            ("utf8mb4", b"caf\xc3\xa9", "café", true),
            ("utf-8", b"caf\xe9 au lait", "caf\u{fffd} au lait", true),
            ("1252", b"caf\xe9 \x80", "café €", true),
            ("windows1250", b"\xe8", "č", true),
            ("cp-1251", b"\xcf", "П", true),
            ("\"iso-8859-15\"", b"\xa4", "€", true),
            ("us-ascii", b"caf\xe9", "café", true),
            ("us-ascii", b"caf\xc3\xa9", "café", true),
            ("", b"caf\xe9", "café", true),
            ("x-unknown", b"caf\xc3\xa9", "café", false),
            ("binary", b"caf\xe9", "café", false),
            ("12520", b"caf\xe9", "café", false),
            ("shift_jis", b"\x83n\x83\x8d\x81[", "ハロー", true),
            ("gbk", b"\xc4\xe3\xba\xc3", "你好", true),
            ("iso-2022-jp", b"\x1b$B%O%m!<\x1b(B", "ハロー", true),
        ] {
            assert_eq!(decode(label, bytes), (text.to_owned(), known), "{label}");
        }
    }

    #[test]
    fn bytes_without_a_label_are_utf8_or_the_hint_or_windows_1252() {
        assert_eq!(guess("Zoë".as_bytes(), Some("koi8-r")), "Zoë");
        assert_eq!(guess(b"\xf0\xd2\xc9", Some("koi8-r")), "При");
        assert_eq!(guess(b"Ren\xe9", None), "René");
        assert_eq!(guess(b"Ren\xe9", Some("utf-8")), "René");
        assert_eq!(guess(b"Zo\xc3\xab, Ren\xc3", None), "Zoë, Ren\u{fffd}");
    }
}
