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
pub(super) fn ending(media_type: &str) -> &'static str {
    KNOWN.iter().find(|(known, _)| *known == media_type).map_or("bin", |(_, ending)| ending)
}

/// The media type for a file name; that of plain bytes if the ending is not in the table.
#[must_use]
pub(super) fn of(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    let ending = if ending == "jpeg" { "jpg" } else { ending.as_str() };
    let found = KNOWN.iter().find(|(_, known)| *known == ending);
    found.map_or("application/octet-stream", |(media_type, _)| media_type)
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
