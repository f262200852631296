//! Whether something may be inside of an item that is no item by itself, so that nobody saw it.

use super::{Item, magic};

/// What may be inside of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// Nothing that a person would take for a file of its own.
    Nothing,
    /// Files, which are items themselves, unless it could not be unpacked.
    Packed,
    /// The pictures of an office document, likewise.
    Office,
    /// Files, in a kind of archive that is not unpacked.
    Sealed,
    /// Pictures between other things, which are not taken out.
    Hidden,
}

/// What may be inside of an item, by its first bytes and by what it was called.
#[must_use]
pub fn inside(item: &Item) -> Inside {
    let is_office =
        ["officedocument", "opendocument"].iter().any(|word| item.media_type.contains(word));
    match item.magic.as_deref() {
        Some(magic::ZIP) if is_office => Inside::Office,
        Some(magic::ZIP | magic::TNEF) => Inside::Packed,
        Some(magic::RAR | magic::SEVEN_ZIP | magic::GZIP) => Inside::Sealed,
        Some(magic::OLE | magic::RTF) => Inside::Hidden,
        _ => match item.media_type.as_str() {
            "message/rfc822" | "message/global" => Inside::Packed,
            "application/pkcs7-mime" | "application/x-pkcs7-mime" => Inside::Hidden,
            _ => Inside::Nothing,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::document;

    #[test]
    fn what_may_hold_a_picture_is_told_by_its_first_bytes_and_its_name() {
        for (name, bytes, holds) in [
            (&b"a.zip"[..], &b"PK\x03\x04"[..], Inside::Packed),
            (b"a.docx", b"PK\x03\x04", Inside::Office),
            (b"a.odt", b"PK\x03\x04", Inside::Office),
            (b"a.rar", b"Rar!\x1a\x07", Inside::Sealed),
            (b"a.txt", b"7z\xbc\xaf\x27\x1c", Inside::Sealed),
            (b"a.gz", b"\x1f\x8b\x08", Inside::Sealed),
            (b"a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Inside::Hidden),
            (b"a.rtf", b"{\\rtf1", Inside::Hidden),
            (b"a.jpg", b"\xff\xd8\xff\xe0", Inside::Nothing),
            (b"a.txt", b"Beste", Inside::Nothing),
        ] {
            let (item, _) = document(name, bytes.len() as u64, bytes);
            assert_eq!(inside(&item), holds, "{}", String::from_utf8_lossy(name));
        }
    }
}
