//! What the topmost fields of a stored mail say of its way here: when it was received, and from whom.
//!
//! Our own mail server wrote these, above everything the sender wrote; they are read off the bytes
//! without parsing the letter, which is done in a confined child. What cannot be read is absent.

use jiff::fmt::rfc2822;

/// Bytes of the beginning that are looked at.
const LOOK: usize = 64 * 1024;

/// When the mail was received, in seconds since 1970: the date of the topmost `Received` field
/// (RFC 5321 §4.4).
pub(super) fn received(raw: &[u8]) -> Option<u64> {
    let value = field(raw, b"received")?;
    let date = value.rsplit(|&byte| byte == b';').next().filter(|date| date.len() < value.len())?;
    let date = std::str::from_utf8(date).ok()?.trim();
    let date = rfc2822::parse(date).ok()?;
    u64::try_from(date.timestamp().as_second()).ok()
}

/// The reverse-path as it was delivered: the topmost `Return-Path` field.
pub(super) fn return_path(raw: &[u8]) -> Option<String> {
    let value = field(raw, b"return-path")?;
    let value = std::str::from_utf8(&value).ok()?.trim();
    let path = value.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(value);
    let is_path = !path.contains(|c: char| c.is_control() || c.is_whitespace());
    is_path.then(|| path.to_owned())
}

/// The value of the topmost field of this name, unfolded.
fn field(raw: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let raw = &raw[..raw.len().min(LOOK)];
    let mut lines = raw.split_inclusive(|&byte| byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        if line.trim_ascii().is_empty() {
            return None;
        }
        let begins = line.get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name));
        let Some(value) = line.get(name.len()..).filter(|_| begins) else { continue };
        let Some(value) = value.trim_ascii_start().strip_prefix(b":") else { continue };
        let mut value = value.trim_ascii().to_vec();
        while let Some(more) =
            lines.next_if(|line| line.starts_with(b" ") || line.starts_with(b"\t"))
        {
            value.push(b' ');
            value.extend_from_slice(more.trim_ascii());
        }
        return Some(value);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_received_field_says_when() {
        for (raw, expected) in [
            (
                "Return-Path: <a@b.example>\nReceived: from x\n by y; Mon, 2 Nov 2020\n\t11:11:12 +0100 (CET)\n\
                 Received: by z; Sun, 1 Nov 2020 10:00:00 +0000\n\n",
                Some(1_604_311_872),
            ),
            ("RECEIVED : by y; 2 Nov 2020 10:11:12 GMT\r\n\r\n", Some(1_604_311_872)),
            ("Received: by y; yesterday\n\n", None),
            ("Received: by y\n\n", None),
            ("Subject: x\n\nReceived: by y; 2 Nov 2020 10:11:12 GMT\n", None),
            ("Received: by y; 2 Nov 1920 10:11:12 GMT\n\n", None),
            ("", None),
        ] {
            assert_eq!(received(raw.as_bytes()), expected, "{raw}");
        }
    }

    #[test]
    fn the_reverse_path_is_that_of_the_delivery() {
        let path = |raw: &[u8]| return_path(raw);
        assert_eq!(path(b"Return-Path: <a@b.example>\n\n").as_deref(), Some("a@b.example"));
        assert_eq!(path(b"Return-Path: <>\r\n\r\n").as_deref(), Some(""));
        assert_eq!(path(b"Return-Path: a b\n\n"), None);
        assert_eq!(path(b"Return-Path: \xff\n\n"), None);
        assert_eq!(path(b"From: a\n\nReturn-Path: <a@b>\n"), None);
    }
}
