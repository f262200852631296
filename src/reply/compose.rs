//! Writes header fields and MIME bodies (RFC 5322, 2045, 2047, 2231): ASCII, lines ended by CRLF.
//!
//! Nothing that comes in can start a header field of its own. Addresses, subject and names with a
//! control character are refused; message ids, which a stranger may have written, are left out
//! unless they are nothing but a message id.

use data_encoding::{BASE64, HEXLOWER};

use super::ComposeError;
use crate::secret::Personal;

/// Whom a mail goes to, where it belongs, and when.
#[derive(Clone, Debug)]
pub struct Heading {
    /// Our address.
    pub from: Personal<String>,
    /// The person's address.
    pub to: Personal<String>,
    /// Our message id, without angle brackets (`token::compose_id`).
    pub message_id: String,
    /// The message id of the letter that is answered, without angle brackets.
    pub in_reply_to: Option<Personal<String>>,
    /// The message ids before it, oldest first, without angle brackets.
    pub references: Vec<Personal<String>>,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub date: u64,
}

/// A header field; the value is ASCII and folded.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// Message ids in `References`; of more, the first and the newest are kept (RFC 5537 §3.4.4).
const MAX_REFERENCES: usize = 20;
/// Characters of an address (RFC 5321 §4.5.3.1.3, without the brackets).
const MAX_ADDRESS: usize = 254;
/// Characters of a message id that still fits one line well.
const MAX_MESSAGE_ID: usize = 500;
/// Bytes of a subject.
const MAX_SUBJECT: usize = 900;
/// Bytes of an attachment's name.
const MAX_NAME: usize = 255;

impl Heading {
    /// The header fields, with this subject.
    ///
    /// # Errors
    /// `BadField` for an address, a subject, a date or a message id of ours that cannot stand.
    pub(super) fn fields(&self, subject: &str) -> Result<Vec<Field>, ComposeError> {
        if !is_message_id(&self.message_id) {
            return Err(ComposeError::BadField("message id"));
        }
        let mut fields = vec![
            Field { name: "From", value: address(self.from.expose(), "sender")? },
            Field { name: "To", value: address(self.to.expose(), "recipient")? },
            Field { name: "Date", value: date(self.date)? },
            Field { name: "Subject", value: unstructured(subject)? },
            Field { name: "Message-ID", value: format!("<{}>", self.message_id) },
        ];
        let parent = self.in_reply_to.as_ref().map(|id| id.expose().as_str());
        let parent = parent.filter(|id| is_message_id(id));
        let mut before: Vec<&str> = self.references.iter().map(|id| id.expose().as_str()).collect();
        before.retain(|id| is_message_id(id) && Some(*id) != parent);
        before.extend(parent);
        if before.len() > MAX_REFERENCES {
            before.drain(1..=before.len() - MAX_REFERENCES);
        }
        if let Some(parent) = parent {
            fields.push(Field { name: "In-Reply-To", value: format!("<{parent}>") });
        }
        if !before.is_empty() {
            let ids: Vec<String> = before.into_iter().map(|id| format!("<{id}>")).collect();
            fields.push(Field { name: "References", value: ids.join("\r\n ") });
        }
        Ok(fields)
    }
}

/// Appends `name: value`, with `prefix` before the name.
pub(super) fn write_fields(out: &mut Vec<u8>, prefix: &str, fields: &[Field]) {
    for Field { name, value } in fields {
        write(out, &[prefix, name, ": ", value, "\r\n"]);
    }
}

/// Appends text as it is.
pub(super) fn write(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

/// The same fields under another subject, which is ASCII and short.
pub(super) fn with_subject(fields: &[Field], subject: &str) -> Vec<Field> {
    let mut fields = fields.to_vec();
    for field in &mut fields {
        if field.name == "Subject" {
            field.value = subject.into();
        }
    }
    fields
}

/// A boundary that no encoded body can contain (`=_` stands in neither base64 nor
/// quoted-printable).
pub(super) fn boundary() -> String {
    format!("=_{}", HEXLOWER.encode(&crate::ids::random::<16>()))
}

/// Appends a `text/plain` entity: its header, an empty line, its body.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    write(out, &["Content-Type: text/plain; charset=utf-8\r\n"]);
    write(out, &["Content-Transfer-Encoding: quoted-printable\r\n\r\n"]);
    write_quoted_printable(out, text);
}

/// Appends an attachment as an entity in base64.
///
/// # Errors
/// `BadField` for a name that is empty, too long or has control characters, or a media type that
/// is none.
pub(super) fn write_attachment(
    out: &mut Vec<u8>,
    name: &str,
    media_type: &str,
    content: &[u8],
) -> Result<(), ComposeError> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(ComposeError::BadField("attachment's name"));
    }
    let media_type = base64_type(media_type)?;
    write(out, &["Content-Type: ", media_type, ";\r\n name=", &fallback_name(name), "\r\n"]);
    write(out, &["Content-Transfer-Encoding: base64\r\n"]);
    write(out, &["Content-Disposition: attachment;\r\n ", &file_name(name), "\r\n\r\n"]);
    for piece in content.chunks(BASE64_LINE / 4 * 3) {
        let mut line = [0; BASE64_LINE];
        let line = &mut line[..BASE64.encode_len(piece.len())];
        BASE64.encode_mut(piece, line);
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// A name without control characters, its end kept where it is too long: there the kind of file
/// stands. `None` if nothing can be seen of it.
pub(super) fn mended_name(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let from = name.ceil_char_boundary(name.len().saturating_sub(MAX_NAME));
    let name = name[from..].trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The media type, or the one that says nothing.
pub(super) fn mended_type(media_type: &str) -> &str {
    base64_type(media_type).unwrap_or("application/octet-stream")
}

/// Characters of an encoded line (RFC 2045 §6.7, §6.8).
const BASE64_LINE: usize = 76;
/// Characters of a value that is written in one piece.
const PIECE: usize = 60;

/// Quoted-printable (RFC 2045 §6.7) with the line ends of mail, whatever those of the text are. A
/// leading dot and a leading `From ` are hidden from what would alter them on the way.
fn write_quoted_printable(out: &mut Vec<u8>, text: &str) {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for line in text.strip_suffix('\n').unwrap_or(&text).split('\n') {
        let bytes = line.as_bytes();
        let mut width = 0;
        for (i, &byte) in bytes.iter().enumerate() {
            let literal = match byte {
                b'=' => false,
                b' ' | b'\t' => i + 1 < bytes.len(),
                b'.' => i > 0,
                b'F' => i > 0 || !line.starts_with("From "),
                _ => byte.is_ascii_graphic(),
            };
            let cost = if literal { 1 } else { 3 };
            if width + cost > BASE64_LINE - 1 {
                out.extend_from_slice(b"=\r\n");
                width = 0;
            }
            width += cost;
            if literal {
                out.push(byte);
            } else {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend_from_slice(&[b'=', HEX[high], HEX[low]]);
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The media type, if it is one; what may not be sent in base64 (RFC 2045 §6.4) goes as bytes.
fn base64_type(media_type: &str) -> Result<&str, ComposeError> {
    let is_token = |token: &str| {
        (1..=127).contains(&token.len())
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    match media_type.split_once('/') {
        Some((kind, sub)) if is_token(kind) && is_token(sub) => {
            let composite = ["multipart", "message"].iter().any(|c| kind.eq_ignore_ascii_case(c));
            Ok(if composite { "application/octet-stream" } else { media_type })
        }
        _ => Err(ComposeError::BadField("attachment's media type")),
    }
}

fn is_plain(text: &str) -> bool {
    text.len() <= PIECE && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

/// Whether a name stands between quotes as it is, for every reader: some end at a quote that is escaped,
/// and some decode what looks like an encoded word.
fn is_plain_name(name: &str) -> bool {
    is_plain(name) && !name.contains(['"', '\\']) && !name.contains("=?")
}

/// A name for old readers: quoted, with encoded words inside where it is not plain. The standard
/// has no such thing; Outlook reads nothing else.
fn fallback_name(name: &str) -> String {
    if is_plain_name(name) { format!("\"{name}\"") } else { format!("\"{}\"", encoded_words(name)) }
}

/// `filename`, as RFC 2231 wants it where it is not plain; pieces end between characters, since
/// some readers decode each by itself.
fn file_name(name: &str) -> String {
    if is_plain_name(name) {
        return format!("filename=\"{name}\"");
    }
    let mut pieces = vec![String::new()];
    for c in name.chars() {
        let mut bytes = [0; 4];
        let mut encoded = String::new();
        for &byte in c.encode_utf8(&mut bytes).as_bytes() {
            if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
                encoded.push(byte.into());
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        match pieces.last_mut() {
            Some(last) if last.len() + encoded.len() <= PIECE - 12 => last.push_str(&encoded),
            _ => pieces.push(encoded),
        }
    }
    if let [only] = pieces.as_slice() {
        return format!("filename*=utf-8''{only}");
    }
    let charset = |i| if i == 0 { "utf-8''" } else { "" };
    let sections: Vec<String> = pieces
        .iter()
        .enumerate()
        .map(|(i, piece)| format!("filename*{i}*={}{piece}", charset(i)))
        .collect();
    sections.join(";\r\n ")
}

/// RFC 2047 words of whole characters, short enough for a line behind the name of the field.
fn encoded_words(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut piece = String::new();
    let word = |piece: &str| format!("=?utf-8?B?{}?=", BASE64.encode(piece.as_bytes()));
    for c in text.chars() {
        if piece.len() + c.len_utf8() > PIECE / 4 * 3 - 9 {
            words.push(word(&piece));
            piece.clear();
        }
        piece.push(c);
    }
    words.push(word(&piece));
    words.join("\r\n ")
}

fn unstructured(text: &str) -> Result<String, ComposeError> {
    if text.len() > MAX_SUBJECT || text.chars().any(char::is_control) {
        return Err(ComposeError::BadField("subject"));
    }
    let plain = is_plain(text) && !text.contains("=?") && text.trim() == text;
    Ok(if plain { text.into() } else { encoded_words(text) })
}

/// An addr-spec of ASCII without quotes: what every server takes.
fn address(text: &str, which: &'static str) -> Result<String, ComposeError> {
    if is_address(text) { Ok(text.into()) } else { Err(ComposeError::BadField(which)) }
}

/// Whether this is an address that mail can be written to here: a dot-atom, `@`, a host name.
pub(super) fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let is_atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    text.len() <= MAX_ADDRESS
        && (1..=64).contains(&local.len())
        && local.bytes().all(is_atom)
        && !domain.is_empty()
        && domain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

fn is_message_id(text: &str) -> bool {
    text.len() <= MAX_MESSAGE_ID
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
        && text.split_once('@').is_some_and(|(l, r)| !l.is_empty() && !r.is_empty())
}

fn date(seconds: u64) -> Result<String, ComposeError> {
    let time = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let time = time.ok_or(ComposeError::BadField("date"))?;
    Ok(time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string())
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders as _};

    use super::*;

    fn heading() -> Heading {
        Heading {
            from: Personal::new("privacy@example.org".into()),
            to: Personal::new("lotte@example.net".into()),
            message_id: "k.1@example.org".into(),
            in_reply_to: Some(Personal::new("b@example.net".into())),
            references: vec![Personal::new("a@example.net".into())],
            date: 1_792_000_000,
        }
    }

    fn text(out: &[u8]) -> &str {
        std::str::from_utf8(out).unwrap()
    }

    #[test]
    fn a_heading_is_written_as_rfc_5322_wants_it() {
        let mut out = Vec::new();
        write_fields(&mut out, "", &heading().fields("Uw vraag").unwrap());
        assert_eq!(
            text(&out),
            "From: privacy@example.org\r\nTo: lotte@example.net\r\n\
             Date: Wed, 14 Oct 2026 17:46:40 +0000\r\nSubject: Uw vraag\r\n\
             Message-ID: <k.1@example.org>\r\nIn-Reply-To: <b@example.net>\r\n\
             References: <a@example.net>\r\n <b@example.net>\r\n"
        );
    }

    #[test]
    fn no_value_starts_a_header_field_of_its_own() {
        for evil in ["x\r\nBcc: m@evil", "x\nBcc: m@evil", "x\rBcc: m@evil", "x\0", "x\u{85}y"] {
            assert!(matches!(heading().fields(evil), Err(ComposeError::BadField("subject"))));
            let with_at = format!("a@b.example{evil}");
            for spoil in [
                |h: &mut Heading, e: &str| h.from = Personal::new(e.into()),
                |h: &mut Heading, e: &str| h.to = Personal::new(e.into()),
                |h: &mut Heading, e: &str| h.message_id = e.into(),
            ] {
                let mut spoilt = heading();
                spoil(&mut spoilt, &with_at);
                assert!(matches!(spoilt.fields("s"), Err(ComposeError::BadField(_))), "{evil:?}");
            }
            assert!(write_attachment(&mut Vec::new(), evil, "text/plain", b"").is_err());
            let evil_type = format!("text/{evil}");
            assert!(write_attachment(&mut Vec::new(), "a", &evil_type, b"").is_err());

            let mut threaded = heading();
            threaded.in_reply_to = Some(Personal::new(with_at.clone()));
            threaded.references = vec![Personal::new(with_at), Personal::new("ok@x".into())];
            let mut out = Vec::new();
            write_fields(&mut out, "", &threaded.fields("s").unwrap());
            assert!(!text(&out).contains("evil") && !text(&out).contains("In-Reply-To"));
            assert!(text(&out).ends_with("References: <ok@x>\r\n"));
        }
        for address in ["a@b>, <c@d", "a@b,c@d", "a b@c", "\"a\"@b", "a@", "@b", "é@b", "a@b@c"] {
            let mut spoilt = heading();
            spoilt.to = Personal::new(address.into());
            assert!(spoilt.fields("s").is_err(), "{address}");
        }
    }

    #[test]
    fn a_long_thread_keeps_its_first_and_its_newest_ids() {
        let mut long = heading();
        long.references = (0..100).map(|i| Personal::new(format!("{i}@x"))).collect();
        let fields = long.fields("s").unwrap();
        let ids: Vec<&str> = fields.last().unwrap().value.split("\r\n ").collect();
        assert_eq!(ids.len(), MAX_REFERENCES);
        assert_eq!((ids[0], ids[1], ids[19]), ("<0@x>", "<82@x>", "<b@example.net>"));
    }

    #[test]
    fn subjects_and_names_of_any_script_are_read_back() {
        let long = "é".repeat(100);
        for name in ["a.pdf", "Gehaltsübersicht \"März\".pdf", "履歴書🙂.pdf", "c:\\x.pdf", &long]
        {
            let mut out = Vec::new();
            write_fields(&mut out, "", &heading().fields(name).unwrap());
            write_attachment(&mut out, name, "application/pdf", &[7; 200]).unwrap();
            assert!(out.is_ascii() && text(&out).lines().all(|line| line.len() <= 78), "{name}");
            let read = MessageParser::new().parse(&out).unwrap();
            assert_eq!(read.subject(), Some(name));
            assert_eq!(read.attachment_name(), Some(name));
            assert_eq!(read.part(0).unwrap().contents(), [7; 200]);
        }
        assert!(write_attachment(&mut Vec::new(), &"x".repeat(256), "text/plain", b"").is_err());
    }

    #[test]
    fn old_readers_find_a_name_in_the_content_type() {
        let mut out = Vec::new();
        write_attachment(&mut out, "é.pdf", "application/pdf", b"").unwrap();
        assert!(text(&out).contains("name=\"=?utf-8?B?w6kucGRm?=\"\r\n"));
        assert!(text(&out).contains("filename*=utf-8''%C3%A9.pdf\r\n"));
    }

    #[test]
    fn a_name_that_a_stranger_gave_is_mended_so_that_it_can_stand() {
        let long = format!("{}é.pdf", "é".repeat(200));
        let kept = format!("{}.pdf", "é".repeat(125));
        for (given, mended) in [
            ("a.pdf", Some("a.pdf")),
            ("a\r\nBcc: b\0.pdf", Some("aBcc: b.pdf")),
            (" \u{85}", None),
            ("", None),
            (&long, Some(kept.as_str())),
        ] {
            assert_eq!(mended_name(given).as_deref(), mended);
            let name = mended.unwrap_or("fallback");
            assert!(write_attachment(&mut Vec::new(), name, mended_type("x y"), b"").is_ok());
        }
        assert_eq!(mended_type("application/pdf"), "application/pdf");
    }

    #[test]
    fn an_enclosed_message_is_not_declared_in_base64() {
        let mut out = Vec::new();
        write_attachment(&mut out, "a.eml", "Message/rfc822", b"x").unwrap();
        assert!(text(&out).starts_with("Content-Type: application/octet-stream;"));
    }

    #[test]
    fn text_survives_with_mail_line_ends_and_short_lines() {
        let written =
            format!("Geachte,\n.dot\nFrom here\r\nspace \t\rééé={}\n\nend", "wörd ".repeat(60));
        let mut out = Vec::new();
        write_text(&mut out, &written);
        assert!(out.is_ascii());
        assert!(text(&out).split("\r\n").all(|l| l.len() <= 76 && !l.ends_with([' ', '\t'])));
        assert!(!text(&out).contains("\r\n.") && !text(&out).contains("\r\nFrom "));
        let read = MessageParser::new().parse(&out).unwrap();
        let expected = written.replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(read.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), expected);
    }
}
