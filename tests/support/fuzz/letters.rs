//! Bodies for letters: any bytes are one, and come back bit for bit from skeleton and items.

use kluis::letter::skeleton::{Skeleton, cut, cut_or_whole};
use kluis::letter::{Finding, Letter, MAX_CONTAINED, MAX_ITEMS, MAX_TEXT, MAX_UNPACKED, content};

/// Any bytes are a letter.
pub(crate) fn letter(raw: &[u8]) {
    let letter = Letter::parse(raw);
    assert!(!letter.items.is_empty() && letter.items.len() <= MAX_ITEMS);
    let (skeleton, contents) = cut(raw, &letter).expect("an honest letter can be cut");
    for ((item, hole), stored) in letter.items.iter().zip(&skeleton.holes).zip(&contents) {
        assert!(item.storage == hole.storage);
        assert!(item.text.as_ref().is_none_or(|text| text.expose().len() <= MAX_TEXT));
        let _ = content(item, stored);
    }
    let all: Vec<_> = contents.iter().map(|content| Some(content.as_slice())).collect();
    assert!(skeleton.rebuild(&all) == raw);
    assert!(Skeleton::decode(&skeleton.encode()) == Some(skeleton));
    let bytes: usize = letter.contained.iter().map(|one| one.content.len()).sum();
    assert!(letter.contained.len() <= MAX_CONTAINED && bytes <= MAX_UNPACKED);
    let sent = minicbor::to_vec(&letter).expect("a letter can be written");
    let read = minicbor::decode(&sent).expect("and read");
    assert!(letter == read);
    let (kept, ..) = cut_or_whole(Some(letter), raw);
    assert!(!kept.findings.contains(&Finding::Unparsed), "the parent takes what a child sends");
}

/// Any bytes are a skeleton or none; one is put together whatever it says.
pub(crate) fn skeleton(bytes: &[u8]) {
    if let Some(skeleton) = Skeleton::decode(bytes) {
        let _ = skeleton.rebuild(&[Some(&b"content"[..]), None, Some(&b""[..])]);
        assert!(Skeleton::decode(&skeleton.encode()) == Some(skeleton));
    }
}

/// A letter whose header has these bytes where it matters.
pub(crate) fn headers(bytes: &[u8]) {
    for field in
        ["From: ", "Subject: ", "To: a@b.example\r\nDate: ", "Content-Type: ", "References: "]
    {
        letter(&[field.as_bytes(), bytes, b"\r\n\r\nx\r\n"].concat());
    }
}

/// A letter with these bytes as a zip archive.
pub(crate) fn archive(bytes: &[u8]) {
    attached("application/zip", &[b"PK\x03\x04", bytes].concat());
    attached("application/zip", bytes);
}

/// A letter with these bytes as a TNEF stream.
pub(crate) fn tnef(bytes: &[u8]) {
    attached("application/ms-tnef", &[b"\x78\x9f\x3e\x22\x01\0", bytes].concat());
}

/// A letter with these bytes as a page.
pub(crate) fn page(bytes: &[u8]) {
    attached("text/html; charset=utf-8", bytes);
}

/// A letter with these bytes as a delivery report.
pub(crate) fn report(bytes: &[u8]) {
    attached("message/delivery-status", bytes);
    attached("message/rfc822-headers", bytes);
}

fn attached(media_type: &str, bytes: &[u8]) {
    let head = format!(
        "From: a@b.example\r\nContent-Type: multipart/mixed; boundary=\"0123456789\"\r\n\r\n\
         --0123456789\r\nContent-Type: message/delivery-status\r\n\r\n\r\n--0123456789\r\n\
         Content-Type: {media_type}\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    );
    letter(&[head.as_bytes(), bytes, b"\r\n--0123456789--\r\n"].concat());
}
