//! The media type by the first bytes of the content, and whether the declared one agrees.

/// Bytes of decoded content that are looked at.
pub(super) const LOOK: usize = 1024;

/// First bytes, at the start of the content.
const TABLE: &[(&[u8], &str)] = &[
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"{\\rtf", RTF),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"Rar!\x1a\x07", RAR),
    (b"7z\xbc\xaf\x27\x1c", SEVEN_ZIP),
    (b"\x1f\x8b\x08", GZIP),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"\x78\x9f\x3e\x22", TNEF),
    (b"\x00\x05\x16\x07", APPLE_DOUBLE),
];

pub(super) const ZIP: &str = "application/zip";
pub(super) const TNEF: &str = "application/ms-tnef";
pub(super) const RAR: &str = "application/vnd.rar";
pub(super) const SEVEN_ZIP: &str = "application/x-7z-compressed";
pub(super) const GZIP: &str = "application/gzip";
pub(super) const RTF: &str = "application/rtf";
/// What office programs wrote before they wrote zip files (MS-CFB).
pub(super) const OLE: &str = "application/x-ole-storage";
/// The fork of an AppleDouble pair (RFC 1740).
pub(super) const APPLE_DOUBLE: &str = "application/applefile";

/// Brands of an ISO base media file that is a picture.
const BRANDS: &[(&[u8; 4], &str)] = &[
    (b"heic", "image/heic"),
    (b"heix", "image/heic"),
    (b"heim", "image/heic"),
    (b"hevc", "image/heic"),
    (b"mif1", "image/heic"),
    (b"msf1", "image/heic"),
    (b"avif", "image/avif"),
];

/// The media type that the content's first bytes ([`LOOK`] of them) tell.
pub(super) fn of(content: &[u8]) -> Option<&'static str> {
    if let Some((_, kind)) = TABLE.iter().find(|(magic, _)| content.starts_with(magic)) {
        return Some(kind);
    }
    match content {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            return Some("image/webp");
        }
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
            return BRANDS.iter().find(|(name, _)| brand.starts_with(*name)).map(|(_, kind)| *kind);
        }
        _ => {}
    }
    // Readers of PDF accept it anywhere in the first kilobyte (ISO 32000-1, implementation notes).
    if content.windows(5).any(|window| window == b"%PDF-") {
        return Some("application/pdf");
    }
    let start = content.trim_ascii_start();
    let html = [&b"<!doctype html"[..], b"<html"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag)));
    html.then_some("text/html")
}

/// Whether a declared picture or PDF is something else.
pub(super) fn disagrees(declared: &str, magic: Option<&str>) -> bool {
    let declared = match declared {
        "image/jpg" | "image/pjpeg" | "image/jfif" => "image/jpeg",
        "image/x-png" => "image/png",
        "image/heif" | "image/heic-sequence" | "image/heif-sequence" => "image/heic",
        "application/x-pdf" => "application/pdf",
        other => other,
    };
    match magic {
        Some(magic) => {
            (declared.starts_with("image/") || declared == "application/pdf") && declared != magic
        }
        None => {
            declared == "application/pdf"
                || TABLE.iter().any(|(_, kind)| kind.starts_with("image/") && *kind == declared)
        }
    }
}

/// Whether a zip file is an office document: only its pictures are things by themselves.
pub(super) fn is_office(content: &[u8]) -> bool {
    // The name of the first entry follows its 30-byte header.
    let name = content.get(30..).unwrap_or_default();
    OFFICE.iter().any(|first| name.starts_with(first))
}

/// Whether the content may be shown as a picture or a document of pages, by its type.
pub(super) fn is_picture(magic: Option<&str>) -> bool {
    magic.is_some_and(|magic| magic.starts_with("image/") || magic == "application/pdf")
}

/// Whether the content is made of files or pictures.
pub(super) fn is_packed(magic: Option<&str>) -> bool {
    matches!(magic, Some(ZIP | TNEF | RAR | SEVEN_ZIP | GZIP))
}

/// How the first entry of an office document is named (OOXML, OpenDocument).
const OFFICE: &[&[u8]] =
    &[b"[Content_Types].xml", b"_rels/", b"docProps/", b"word/", b"xl/", b"ppt/", b"mimetype"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_type_and_contradict_the_declared_one() {
        for (content, kind) in [
            (&b"\xff\xd8\xff\xe0"[..], Some("image/jpeg")),
            (b"RIFF\x00\x00\x00\x00WEBPVP8 ", Some("image/webp")),
            (b"\x00\x00\x00\x18ftypheic", Some("image/heic")),
            (b"\x00\x00\x00\x18ftypisom", None),
            (b"junk\n%PDF-1.7", Some("application/pdf")),
            (b"\r\n<!DOCTYPE HTML>", Some("text/html")),
            (b"MZ\x90", Some("application/vnd.microsoft.portable-executable")),
            (b"hello", None),
            (b"", None),
        ] {
            assert_eq!(of(content), kind);
        }
        assert!(!disagrees("image/jpg", Some("image/jpeg")));
        assert!(disagrees("image/jpeg", Some("image/png")));
        assert!(disagrees("application/pdf", None));
        assert!(!disagrees("image/svg+xml", None));
        assert!(!disagrees("application/octet-stream", Some("image/png")));
    }

    #[test]
    fn an_office_document_is_told_from_an_archive_by_the_name_of_its_first_entry() {
        let zip = |name: &str| [&b"PK\x03\x04"[..], &[0; 26], name.as_bytes()].concat();
        assert!(!is_office(&zip("cv.pdf")) && !is_office(b"PK\x03\x04"));
        assert!(is_office(&zip("[Content_Types].xml")) && is_office(&zip("mimetype")));
    }
}
