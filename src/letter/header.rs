//! Header blocks: cut into fields, and the outermost one read into [`Headers`].
//!
//! A field name is what RFC 5322 §2.2 allows and nothing that resembles it: `Fr om:` is not From,
//! since whoever verifies DKIM and DMARC does not see one there either. Addresses are read by
//! mail-parser, as those checks read them.

use std::borrow::Cow;
use std::collections::HashSet;

use mail_parser::parsers::MessageStream;
use mail_parser::{DateTime, HeaderValue};

use super::mime::Findings;
use super::transfer::line_end;
use super::{Finding, Headers, Mailbox, words};
use crate::secret::Personal;

/// One field: its name as written, its value unfolded and trimmed.
#[derive(Debug)]
pub(super) struct Field<'a> {
    name: &'a [u8],
    value: Vec<u8>,
}

/// A header block, cut into fields.
#[derive(Debug, Default)]
pub(super) struct Block<'a> {
    fields: Vec<Field<'a>>,
    /// Where a body begins that no blank line announces.
    pub body: Option<usize>,
    /// A line was no field.
    pub odd: bool,
    /// A byte was above 127.
    pub eight_bit: bool,
    /// Longer than [`MAX_HEADER`](super::MAX_HEADER): not cut into fields.
    pub over: bool,
}

impl<'a> Block<'a> {
    /// Cuts the lines before the blank one into fields.
    ///
    /// A line that is none is passed over if a field follows it, and belongs to the field before
    /// if that ends in a semicolon (a fold that lost its space). Otherwise it is text: a body
    /// without the blank line before it, which must not stay behind in the skeleton.
    pub(super) fn cut(block: &'a [u8]) -> Self {
        let mut cut = Self { eight_bit: !block.is_ascii(), ..Self::default() };
        let mut lines = block.split_inclusive(|&byte| byte == b'\n').peekable();
        let mut at = 0;
        let mut open = false;
        // Where the lines began that were passed over since the last field.
        let mut doubt = None;
        while let Some(line) = lines.next() {
            if let Some((name, value)) = field(line) {
                cut.fields.push(Field { name, value: value.to_vec() });
                (open, doubt) = (true, None);
            } else if open && folds(line) {
                cut.extend(line);
            } else {
                cut.odd = true;
                let mailbox_mark =
                    at == 0 && (line.starts_with(b"From ") || line.starts_with(b">From "));
                if open && cut.ends_in_semicolon() {
                    cut.extend(line);
                } else if mailbox_mark
                    || lines.peek().is_some_and(|next| folds(next) || field(next).is_some())
                {
                    (open, doubt) = (false, doubt.or(Some(at)));
                } else {
                    cut.body = doubt.or(Some(at));
                    break;
                }
            }
            at += line.len();
        }
        for field in &mut cut.fields {
            field.value = unfold(&field.value);
        }
        cut
    }

    /// A block that is not read.
    pub(super) fn over() -> Self {
        Self { over: true, ..Self::default() }
    }

    fn ends_in_semicolon(&self) -> bool {
        self.fields.last().is_some_and(|field| field.value.trim_ascii_end().ends_with(b";"))
    }

    fn extend(&mut self, line: &[u8]) {
        if let Some(field) = self.fields.last_mut() {
            field.value.extend_from_slice(line);
        }
    }

    /// The values of every field of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value.as_slice())
    }

    /// The value of the first field of this name.
    pub(super) fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }
}

/// The header of a raw message, cut into fields and not interpreted: for whoever looks at a letter
/// before it is parsed. Total, linear, bounded by [`MAX_HEADER`](super::MAX_HEADER).
pub struct RawHeader<'a>(Block<'a>);

impl<'a> RawHeader<'a> {
    /// Cuts the lines before the first blank one; nothing if they are too many.
    #[must_use]
    pub fn of(raw: &'a [u8]) -> Self {
        let mut at = 0;
        for line in raw.split_inclusive(|&byte| byte == b'\n') {
            if line.len() == line_end(line) {
                break;
            }
            at += line.len();
            if at > super::MAX_HEADER {
                return Self(Block::over());
            }
        }
        Self(Block::cut(&raw[..at]))
    }

    pub(super) fn block(&self) -> &Block<'a> {
        &self.0
    }

    /// Whether it is too long to be read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.over
    }

    /// Whether a line in it was no field: others may read on or stop there.
    #[must_use]
    pub fn is_odd(&self) -> bool {
        self.0.odd
    }

    /// The values of every field of this name, unfolded.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.all(name)
    }

    /// The domain of the one address of the one `From` field, in lower case; empty if that is not
    /// plain to see.
    #[must_use]
    pub fn author_domain(&self) -> String {
        let mut values = self.values("From");
        let (Some(value), None) = (values.next(), values.next()) else { return String::new() };
        let text = String::from_utf8_lossy(value);
        let address = match text.rsplit_once('<') {
            Some((_, rest)) => rest.split_once('>').map_or("", |(address, _)| address),
            None => &text,
        };
        let domain = address.trim().rsplit_once('@').map_or("", |(_, domain)| domain);
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if domain.chars().all(is_plain) { domain.to_lowercase() } else { String::new() }
    }
}

/// Name and value of a line that begins a field. White space before the colon is obsolete and
/// still allowed (RFC 5322 §4.5.8).
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = line.iter().take_while(|byte| matches!(byte, 33..=57 | 59..=126)).count();
    let rest = &line[length..];
    let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    (length > 0 && rest.get(blank) == Some(&b':')).then(|| (&line[..length], &rest[blank + 1..]))
}

fn folds(line: &[u8]) -> bool {
    line.starts_with(b" ") || line.starts_with(b"\t")
}

/// Joins the lines of a value: a line end before white space goes, any other becomes a space.
fn unfold(value: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(value.len());
    for line in value.split_inclusive(|&byte| byte == b'\n') {
        let text = &line[..line.len() - line_end(line)];
        if !joined.is_empty() && !matches!(text.first(), Some(b' ' | b'\t')) {
            joined.push(b' ');
        }
        joined.extend(
            text.iter().map(|&byte| if matches!(byte, b'\t' | b'\r') { b' ' } else { byte }),
        );
    }
    joined.trim_ascii().to_vec()
}

/// Reads the header of the outermost message. `hint` is the charset of its text.
pub(super) fn read(block: &Block<'_>, hint: Option<&str>, findings: &mut Findings) -> Headers {
    let from = mailboxes(block, &["From"], hint, findings);
    if block.all("From").count() != 1 || from.len() != 1 || !is_address(from[0].address.expose()) {
        findings.add(Finding::OddFrom);
    }
    Headers {
        from,
        to: mailboxes(block, &["To", "Cc"], hint, findings),
        reply_to: mailboxes(block, &["Reply-To"], hint, findings),
        subject: subject(block, hint, findings),
        date: date(block, findings),
        message_id: block
            .first("Message-ID")
            .and_then(|value| ids(value).into_iter().next())
            .map(Personal::new),
        references: references(block),
        received: u32::try_from(block.all("Received").count()).unwrap_or(u32::MAX),
    }
}

fn subject(
    block: &Block<'_>,
    hint: Option<&str>,
    findings: &mut Findings,
) -> Option<Personal<String>> {
    let decoded = words::decode(block.first("Subject")?, hint);
    if !decoded.known {
        findings.add(Finding::UnknownCharset);
    }
    if block.all("Subject").nth(1).is_some() {
        findings.add(Finding::BadHeader);
    }
    Some(Personal::new(decoded.text))
}

fn date(block: &Block<'_>, findings: &mut Findings) -> Option<i64> {
    let value = block.first("Date")?;
    let text = String::from_utf8_lossy(&value[..value.len().min(MAX_DATE)]);
    let date = DateTime::parse_rfc822(&text).filter(DateTime::is_valid);
    if date.is_none() {
        findings.add(Finding::BadHeader);
    }
    date.map(|date| date.to_timestamp())
}

/// Bytes of a `Date` field that are read.
const MAX_DATE: usize = 256;
/// Half encoded words in a field of addresses: more make its reading slow and are nobody's mail.
const MAX_LOOSE: usize = 32;

fn mailboxes(
    block: &Block<'_>,
    names: &[&str],
    hint: Option<&str>,
    findings: &mut Findings,
) -> Vec<Mailbox> {
    let mut found = Vec::new();
    for value in names.iter().flat_map(|name| block.all(name)) {
        let mut field = words::regular(value, hint);
        if !field.known {
            findings.add(Finding::UnknownCharset);
        }
        if field.loose > MAX_LOOSE {
            findings.add(Finding::BadHeader);
            continue;
        }
        field.line.push(b'\n');
        let before = found.len();
        if let HeaderValue::Address(address) = MessageStream::new(&field.line).parse_address() {
            found.extend(address.into_list().into_iter().map(|one| Mailbox {
                name: one.name.map(|name| Personal::new(name.into_owned())),
                address: Personal::new(one.address.map(Cow::into_owned).unwrap_or_default()),
            }));
        }
        if found.len() == before && !value.is_empty() {
            findings.add(Finding::BadHeader);
        }
    }
    found
}

/// Whether this can be an address: something that is not an empty quote, an at sign, a domain.
fn is_address(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.trim_matches('"').is_empty()
            && !domain.is_empty()
            && !domain.contains(|c: char| c.is_whitespace() || "<>()\",;".contains(c))
            && (local.starts_with('"')
                || !local.contains(|c: char| c.is_whitespace() || "<>@,;".contains(c)))
    })
}

/// The message ids of a field, without angle brackets; a lone word without them counts too.
pub(super) fn ids(value: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(value);
    let found: Vec<String> = text
        .split('<')
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('>')?.0.split_whitespace().collect::<String>()))
        .filter(|id| !id.is_empty())
        .collect();
    if found.is_empty() && !text.is_empty() && !text.contains([' ', '<', '>']) {
        return vec![text.into_owned()];
    }
    found
}

fn references(block: &Block<'_>) -> Vec<Personal<String>> {
    let mut seen = HashSet::new();
    block
        .all("References")
        .chain(block.all("In-Reply-To"))
        .flat_map(ids)
        .filter(|id| seen.insert(id.clone()))
        .map(Personal::new)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(block: &[u8]) -> (Headers, Vec<Finding>) {
        let mut findings = Findings::default();
        let headers = read(&Block::cut(block), None, &mut findings);
        (headers, findings.into_list())
    }

    fn list(mailboxes: &[Mailbox]) -> Vec<(Option<&str>, &str)> {
        mailboxes
            .iter()
            .map(|one| {
                (
                    one.name.as_ref().map(|name| name.expose().as_str()),
                    one.address.expose().as_str(),
                )
            })
            .collect()
    }

    #[test]
    fn what_resembles_a_field_name_is_none() {
        let block = Block::cut(b"Fr om: a@b.example\r\nFrom : c@d.example\r\n");
        assert!(block.odd);
        assert_eq!(block.all("From").collect::<Vec<_>>(), [b"c@d.example"]);
        assert_eq!(block.body, None);
    }

    #[test]
    fn text_without_a_blank_line_before_it_is_a_body() {
        assert_eq!(Block::cut(b"Beste,\r\nik schrijf u\r\n").body, Some(0));
        assert_eq!(Block::cut(b"Subject: a\r\nBeste,\r\nik schrijf: u\r\n").body, Some(12));
        assert_eq!(Block::cut(b"From a@b Thu Jan  1\r\nSubject: a\r\n").body, None);
        let lost_fold = Block::cut(b"Content-Type: a/b;\r\nname=\"x.exe\"\r\nSubject: c\r\n");
        assert_eq!(lost_fold.first("content-type"), Some(&b"a/b; name=\"x.exe\""[..]));
        assert_eq!(lost_fold.first("subject"), Some(&b"c"[..]));
    }

    #[test]
    fn addresses_are_read_whatever_their_names_hold() {
        let (headers, findings) = headers(
            b"From: =?utf-8?B?4oI=?= =?utf-8?B?rA==?= Jans <jan@a.example>\r\n\
              To: \"Doe, J.\" <j@b.example>, c@d.example (Cees),\r\n\tGroep: e@f.example, g@h.example;\r\n\
              Cc: =?utf-8?Q?x=2C_=3Cy=40z=3E?= <k@l.example>\r\n",
        );
        assert_eq!(list(&headers.from), [(Some("€ Jans"), "jan@a.example")]);
        assert_eq!(
            list(&headers.to),
            [
                (Some("Doe, J."), "j@b.example"),
                (Some("Cees"), "c@d.example"),
                (None, "e@f.example"),
                (None, "g@h.example"),
                (Some("x, <y@z>"), "k@l.example"),
            ]
        );
        assert_eq!(findings, []);
    }

    #[test]
    fn an_odd_from_is_told_and_kept() {
        for (block, addresses) in [
            (&b"Subject: a\r\n"[..], &[][..]),
            (b"From: <\"\"@x.example>\r\n", &["\"\"@x.example"]),
            (b"From: Jan Jans\r\n", &[""]),
            (b"From: a@b.example, c@d.example\r\n", &["a@b.example", "c@d.example"]),
            (b"From: a@b.example\r\nFrom: c@d.example\r\n", &["a@b.example", "c@d.example"]),
            (b"From: <>\r\n", &[]),
        ] {
            let (headers, findings) = headers(block);
            let found: Vec<_> =
                headers.from.iter().map(|one| one.address.expose().as_str()).collect();
            assert_eq!(found, addresses);
            assert!(findings.contains(&Finding::OddFrom));
        }
    }

    #[test]
    fn dates_and_ids_are_read_and_nonsense_is_told() {
        let (headers, findings) = headers(
            b"From: a@b.example\r\nDate: Thu, 01 Jan 1970 01:00:10 +0100\r\n\
              Message-ID: <one@a.example>\r\nReferences: <x@a> <y@a>\r\n <z@a>\r\nIn-Reply-To: <z@a>\r\n\
              Received: 1\r\nReceived: 2\r\n",
        );
        assert_eq!(headers.date, Some(10));
        assert_eq!(headers.message_id, Some(Personal::new("one@a.example".into())));
        assert_eq!(
            headers.references.iter().map(|id| id.expose().as_str()).collect::<Vec<_>>(),
            ["x@a", "y@a", "z@a"]
        );
        assert_eq!(headers.received, 2);
        assert_eq!(findings, []);
        let (headers, findings) = self::headers(b"From: a@b.example\r\nDate: morgen\r\n");
        assert_eq!((headers.date, findings), (None, vec![Finding::BadHeader]));
    }

    #[test]
    fn half_encoded_words_in_a_field_of_addresses_do_not_cost_time() {
        let mut block = b"From: ".to_vec();
        block.extend(b" =?ab?q?".repeat(30_000));
        let (headers, findings) = headers(&block);
        assert_eq!(headers.from, []);
        assert_eq!(findings, [Finding::BadHeader, Finding::OddFrom]);
    }
}
