//! Takes the armor off a message (RFC 9580 §6), also where mail programs have worn it.
//!
//! Mended, and noted: a missing empty line behind the headers, empty lines elsewhere, blanks of
//! every kind at the ends of lines, soft hyphens. The checksum is not looked at: it protects
//! nothing, the encryption does (§6.1). A quoted message (`> `) is refused.

use std::borrow::Cow;

use data_encoding::BASE64_NOPAD;

use super::Undecryptable;

/// A message without armor.
pub(super) struct Binary<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) repaired: bool,
}

const BEGIN: &[u8] = b"-----BEGIN PGP ";
const MESSAGE: &str = "-----BEGIN PGP MESSAGE-----";
const END: &str = "-----END PGP MESSAGE-----";
/// Bytes in which armor may begin.
const MAX_PREFACE: usize = 16 * 1024;

/// The binary message in `text`, which may be binary already.
pub(super) fn strip(text: &[u8]) -> Result<Binary<'_>, Undecryptable> {
    let preface = &text[..text.len().min(MAX_PREFACE)];
    let Some(begin) = preface.windows(BEGIN.len()).position(|window| window == BEGIN) else {
        return Ok(Binary { bytes: Cow::Borrowed(text), repaired: false });
    };
    if begin > 0 && text[begin - 1] != b'\n' {
        return Err(Undecryptable::Malformed);
    }
    let mut lines = text[begin..].split(|&byte| byte == b'\n');
    let mut repaired = false;
    let first = lines.next().and_then(|line| clean(line, &mut repaired));
    if first.as_deref() != Some(MESSAGE) {
        return Err(Undecryptable::Malformed);
    }
    let mut base64 = String::with_capacity(text.len() - begin);
    let mut in_header = true;
    for line in lines {
        let line = clean(line, &mut repaired).ok_or(Undecryptable::Malformed)?;
        if line == END {
            let bytes = base64.trim_end_matches('=').as_bytes();
            let bytes = BASE64_NOPAD.decode(bytes).map_err(|_| Undecryptable::Malformed)?;
            return Ok(Binary { bytes: Cow::Owned(bytes), repaired });
        }
        if line.starts_with('>') {
            return Err(Undecryptable::Malformed);
        }
        if in_header && line.contains(':') {
            continue;
        }
        match (in_header, line.is_empty()) {
            (true, is_empty) => {
                in_header = false;
                repaired |= !is_empty;
            }
            (false, is_empty) => repaired |= is_empty,
        }
        let is_checksum = line.starts_with('=');
        if !is_checksum {
            base64.push_str(&line);
        }
    }
    Err(Undecryptable::Truncated)
}

/// A line without its end and without what does not belong there; `None` if it is no text.
fn clean<'a>(line: &'a [u8], repaired: &mut bool) -> Option<Cow<'a, str>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = match std::str::from_utf8(line) {
        Ok(line) => Cow::Borrowed(line),
        Err(_) => {
            // Latin-1: a blank that lost its charset.
            Cow::Owned(line.iter().map(|&byte| char::from(byte)).collect::<String>())
        }
    };
    let is_stray = |c: char| c == '\u{ad}' || c == '\u{a0}';
    let worn = line.contains(is_stray) || line.ends_with([' ', '\t']) || *line == *"=20";
    if !worn {
        return Some(line);
    }
    *repaired = true;
    if *line == *"=20" {
        return Some(Cow::Borrowed(""));
    }
    let mended = line.replace('\u{ad}', "").replace('\u{a0}', " ");
    Some(Cow::Owned(mended.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str =
        "-----BEGIN PGP MESSAGE-----\nVersion: x\n\nAAEC\nAwQ=\n=abcd\n-----END PGP MESSAGE-----\n";

    fn stripped(text: &str) -> Option<(Vec<u8>, bool)> {
        strip(text.as_bytes()).ok().map(|binary| (binary.bytes.into_owned(), binary.repaired))
    }

    #[test]
    fn armor_comes_off_whole_or_worn() {
        let bytes = vec![0, 1, 2, 3, 4];
        for (text, repaired) in [
            (WHOLE.to_owned(), false),
            (WHOLE.replace('\n', "\r\n"), false),
            (WHOLE.replace("Version: x\n", ""), false),
            (WHOLE.replace("=abcd\n", ""), false),
            (format!("Hello\n\n{WHOLE}\nBye"), false),
            (WHOLE.replace("x\n\n", "x\n\u{a0}\n"), true),
            (WHOLE.replace("x\n\n", "x\n=20\n"), true),
            (WHOLE.replace("x\n\n", "x\n"), true),
            (WHOLE.replace("Version: x\n\n", ""), true),
            (WHOLE.replace("AwQ=", "Aw\u{ad}Q= \t"), true),
            (WHOLE.replace("\n=abcd", "\n\n=abcd"), true),
        ] {
            assert_eq!(stripped(&text), Some((bytes.clone(), repaired)), "{text}");
        }
        let latin: Vec<u8> = WHOLE
            .replace("x\n\n", "x\n~\n")
            .bytes()
            .map(|b| if b == b'~' { 0xa0 } else { b })
            .collect();
        assert_eq!(strip(&latin).ok().unwrap().bytes, bytes);
    }

    #[test]
    fn what_is_no_whole_message_is_refused() {
        for (text, why) in [
            (WHOLE.replace("-----END", "-----DNE"), Undecryptable::Truncated),
            (WHOLE[..40].to_owned(), Undecryptable::Truncated),
            (WHOLE.replace('\n', "\n> "), Undecryptable::Malformed),
            (format!("> {WHOLE}"), Undecryptable::Malformed),
            (WHOLE.replace("AAEC", "AA!C"), Undecryptable::Malformed),
            (WHOLE.replace("MESSAGE", "PUBLIC KEY BLOCK"), Undecryptable::Malformed),
            (WHOLE.replace("MESSAGE", "MESSAGE, PART 1/2"), Undecryptable::Malformed),
        ] {
            assert_eq!(strip(text.as_bytes()).err(), Some(why), "{text}");
        }
    }

    #[test]
    fn binary_stays_as_it_is() {
        assert_eq!(&*strip(&[0xc1, 0, 0xff]).ok().unwrap().bytes, [0xc1, 0, 0xff]);
        assert!(strip(b"").ok().unwrap().bytes.is_empty());
    }
}
