//! A document that came by itself: scanned paper, an ID copy, a file that was handed in.
//!
//! It is kept as it is, one item of a letter without a header. What it is called in the vault is
//! the name of its file, in bytes; what it is, its ending and its first bytes say.

use super::{Finding, Item, Role, Storage, magic, media_type};
use crate::secret::Personal;

/// The item for a document of `length` bytes that begin with `beginning`, and what is odd about it.
#[must_use]
pub fn document(name: &[u8], length: u64, beginning: &[u8]) -> (Item, Vec<Finding>) {
    let beginning = &beginning[..beginning.len().min(magic::LOOK)];
    let by_name = media_type::known(name);
    let by_bytes = magic::of(beginning);
    let declared = by_name.or(by_bytes).unwrap_or(media_type::BYTES);
    let mut findings = Vec::new();
    if !beginning.is_empty() && by_name.is_some_and(|name| magic::disagrees(name, by_bytes)) {
        findings.push(Finding::TypeMismatch);
    }
    if magic::is_packed(by_bytes) {
        findings.push(Finding::NotUnpacked);
    }
    let names = if name.is_empty() {
        Vec::new()
    } else {
        vec![Personal::new(String::from_utf8_lossy(name).into_owned())]
    };
    let item = Item {
        start: 0,
        end: usize::try_from(length).unwrap_or(usize::MAX),
        role: Role::Attachment,
        media_type: declared.to_owned(),
        magic: by_bytes.map(str::to_owned),
        names,
        storage: Storage::AsItCame,
        transfer: "binary".into(),
        text: None,
        depth: 0,
        content_id: None,
        container: None,
        scan: None,
        sight: None,
    };
    (item, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_what_its_name_and_its_first_bytes_say() {
        for (name, bytes, media_type, odd) in [
            (&b"id.JPG"[..], &b"\xff\xd8\xff\xe0"[..], "image/jpeg", &[][..]),
            (b"scan", b"%PDF-1.7", "application/pdf", &[]),
            (b"id.jpg", b"%PDF-1.7", "image/jpeg", &[Finding::TypeMismatch]),
            (
                b"a.docx",
                b"PK\x03\x04",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                &[Finding::NotUnpacked],
            ),
            (b"a.zip", b"PK\x03\x04", "application/zip", &[Finding::NotUnpacked]),
            (b"r\xe9sum\xe9", b"text", "application/octet-stream", &[]),
            (b"empty.pdf", b"", "application/pdf", &[]),
        ] {
            let (item, findings) = document(name, bytes.len() as u64, bytes);
            assert_eq!((item.media_type.as_str(), findings.as_slice()), (media_type, odd));
            assert_eq!(item.end, bytes.len());
        }
    }
}
