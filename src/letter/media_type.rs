//! Media types and the endings of file names: a short table, both ways.

/// What people attach and send, with our ending for it.
const KNOWN: [(&str, &str); 22] = [
    ("application/json", "json"),
    ("application/msword", "doc"),
    ("application/pdf", "pdf"),
    ("application/pgp-encrypted", "pgp"),
    ("application/pgp-keys", "asc"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/xml", "xml"),
    ("application/zip", "zip"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/jpeg", "jpg"),
    ("image/png", "png"),
    ("image/tiff", "tiff"),
    ("image/webp", "webp"),
    ("message/rfc822", "eml"),
    ("text/csv", "csv"),
    ("text/html", "html"),
    ("text/plain", "txt"),
];

/// The ending for a media type; `bin` for one that is not in the table, so that no program starts
/// by itself on what a stranger sent.
#[must_use]
pub fn ending(media_type: &str) -> &'static str {
    KNOWN.iter().find(|(known, _)| *known == media_type).map_or("bin", |(_, ending)| ending)
}

/// The media type for a file name; that of plain bytes if the ending is not in the table.
#[must_use]
pub fn of(name: &str) -> &'static str {
    known(name.as_bytes()).unwrap_or(BYTES)
}

/// The media type of plain bytes.
pub(super) const BYTES: &str = "application/octet-stream";

/// The media type for a file name, if its ending is in the table.
pub(super) fn known(name: &[u8]) -> Option<&'static str> {
    let at = name.iter().rposition(|&byte| byte == b'.')?;
    let ending = name[at + 1..].to_ascii_lowercase();
    let ending = match ending.as_slice() {
        b"jpeg" => &b"jpg"[..],
        b"tif" => b"tiff",
        other => other,
    };
    let found = KNOWN.iter().find(|(_, known)| known.as_bytes() == ending);
    found.map(|(media_type, _)| *media_type)
}

/// The longest media type in bytes (RFC 6838 §4.2: 127 for each half). It stands in the letter box,
/// once for each item, and a listing opens the letter boxes of all cases. The same for the name of a
/// transfer encoding, all of which are shorter.
pub(super) const MAX_MEDIA_TYPE: usize = 255;

/// Whether a lower-case word can be a media type: two halves, not too long.
pub(super) fn is_plausible(word: &str) -> bool {
    word.len() <= MAX_MEDIA_TYPE
        && word
            .split_once('/')
            .is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_and_types_go_both_ways_and_the_unknown_is_plain_bytes() {
        for (media_type, known) in KNOWN {
            assert_eq!(ending(media_type), known);
            assert_eq!(of(&format!("a.b.{known}")), media_type);
        }
        assert_eq!(of("Scan.JPEG"), "image/jpeg");
        assert_eq!(
            (ending("application/x-sh"), of("noending")),
            ("bin", "application/octet-stream")
        );
    }
}
