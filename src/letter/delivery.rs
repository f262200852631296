//! What a report says became of a mail of ours: bounced, late, delivered (RFC 3464), or read
//! (RFC 8098).
//!
//! Facts for whoever can tell a report about our mail from a forged one: anybody can write this,
//! so nothing follows from it but by a Message-ID of ours whose MAC holds. Only a report of the
//! outermost message counts; one inside a forwarded message is about somebody else's mail.

use minicbor::{Decode, Encode};

use super::header::{Block, ids};
use crate::secret::Personal;

/// A report about a mail, as far as anybody asks.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeliveryReport {
    /// What it is about.
    #[n(0)]
    pub kind: ReportKind,
    /// The server that reports, as it names itself.
    #[n(1)]
    pub reporting_mta: Option<Personal<String>>,
    /// The recipients that it is about, at most [`MAX_REPORTED`].
    #[n(2)]
    pub recipients: Vec<ReportedRecipient>,
    /// The `Message-ID` of the mail that it is about, without angle brackets: of its returned
    /// header, or of `Original-Message-ID`.
    #[n(3)]
    pub message_id: Option<Personal<String>>,
    /// Message ids of `In-Reply-To` and `References` of the returned header, oldest first, at most
    /// [`MAX_RETURNED_IDS`].
    #[n(4)]
    pub references: Vec<Personal<String>>,
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ReportKind {
    /// Whether a mail arrived (message/delivery-status).
    #[n(0)]
    Delivery,
    /// What its recipient did with it (message/disposition-notification).
    #[n(1)]
    Disposition,
}

/// What became of a mail for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReportedRecipient {
    /// What the server did.
    #[n(0)]
    pub action: Action,
    /// Its status code (RFC 3463): `5.1.1` is `[5, 1, 1]`.
    #[n(1)]
    pub status: Option<[u16; 3]>,
    /// The address as it was sent to, else the one that it ended at, without its type.
    #[n(2)]
    pub address: Option<Personal<String>>,
}

/// What a server says that it did (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Action {
    /// None of the words, or none at all.
    #[n(0)]
    Unknown,
    /// Given up.
    #[n(1)]
    Failed,
    /// Not yet, and still trying.
    #[n(2)]
    Delayed,
    /// Arrived.
    #[n(3)]
    Delivered,
    /// Handed to a server that sends no reports.
    #[n(4)]
    Relayed,
    /// Handed to several addresses.
    #[n(5)]
    Expanded,
}

/// Recipients of one report that are read.
pub const MAX_REPORTED: usize = 100;
/// Message ids of a returned header that are read.
pub const MAX_RETURNED_IDS: usize = 100;
/// Bytes of a report, or of a returned header, that are read.
pub(super) const MAX_READ: usize = 256 * 1024;

/// Whether a part of this type says what became of a mail.
pub(super) fn kind_of(media_type: &str) -> Option<ReportKind> {
    match media_type {
        "message/delivery-status" | "message/global-delivery-status" => Some(ReportKind::Delivery),
        "message/disposition-notification" | "message/global-disposition-notification" => {
            Some(ReportKind::Disposition)
        }
        _ => None,
    }
}

/// Whether a part of this type is the header of the mail that a report is about.
pub(super) fn is_returned_header(media_type: &str) -> bool {
    matches!(
        media_type,
        "text/rfc822-headers" | "message/rfc822-headers" | "message/global-headers"
    )
}

impl DeliveryReport {
    /// Whether it says of some recipient that the mail was given up.
    #[must_use]
    pub fn says_failed(&self) -> bool {
        let is_over = |one: &ReportedRecipient| {
            one.action == Action::Failed
                || one.action == Action::Unknown && one.status.is_some_and(|[class, ..]| class == 5)
        };
        self.kind == ReportKind::Delivery && self.recipients.iter().any(is_over)
    }

    /// Reads the decoded body of the part that says what became of the mail. Total: what cannot
    /// be read is left out.
    pub(super) fn read(kind: ReportKind, body: &[u8]) -> Self {
        let mut report = Self {
            kind,
            reporting_mta: None,
            recipients: Vec::new(),
            message_id: None,
            references: Vec::new(),
        };
        let mut rest = &body[..body.len().min(MAX_READ)];
        let mut is_first = true;
        while let Some(group) = group(&mut rest) {
            let fields = Block::cut(group);
            // The fields about the whole come first; a notification has but one group.
            if is_first {
                report.reporting_mta = typed(&fields, "Reporting-MTA");
                report.message_id = first_id(&fields, "Original-Message-ID");
            }
            if !is_first || kind == ReportKind::Disposition || names_recipient(&fields) {
                if report.recipients.len() == MAX_REPORTED {
                    break;
                }
                report.recipients.push(recipient(&fields));
            }
            is_first = false;
        }
        report
    }

    /// The same with what the returned header says.
    pub(super) fn about(mut self, returned: Returned) -> Self {
        self.message_id = self.message_id.or(returned.message_id);
        self.references = returned.references;
        self
    }
}

/// What the header of the mail that a report is about says of it. The first one that names a
/// message counts.
#[derive(Default)]
pub(super) struct Returned {
    message_id: Option<Personal<String>>,
    references: Vec<Personal<String>>,
}

impl Returned {
    /// Reads a header, or a message that begins with it, decoded.
    pub(super) fn read(&mut self, message: &[u8]) {
        let mut rest = &message[..message.len().min(MAX_READ)];
        if let Some(header) = group(&mut rest) {
            self.block(&Block::cut(header));
        }
    }

    /// The same of a header that is cut already.
    pub(super) fn block(&mut self, header: &Block<'_>) {
        if self.message_id.is_some() {
            return;
        }
        self.message_id = first_id(header, "Message-ID");
        let all = header.all("References").chain(header.all("In-Reply-To")).flat_map(ids);
        self.references = all.take(MAX_RETURNED_IDS).map(Personal::new).collect();
    }
}

/// The lines up to the next blank one; blank ones before them are passed over. Nothing at the end.
fn group<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let whole = *rest;
    let (mut start, mut at) = (None, 0);
    for line in whole.split_inclusive(|&byte| byte == b'\n') {
        let is_blank = line.trim_ascii().is_empty();
        match start {
            Some(start) if is_blank => {
                *rest = &whole[at + line.len()..];
                return Some(&whole[start..at]);
            }
            None if !is_blank => start = Some(at),
            _ => {}
        }
        at += line.len();
    }
    *rest = &[];
    start.map(|start| &whole[start..])
}

fn names_recipient(fields: &Block<'_>) -> bool {
    ["Final-Recipient", "Original-Recipient", "Action"].iter().any(|n| fields.first(n).is_some())
}

fn recipient(fields: &Block<'_>) -> ReportedRecipient {
    let action = match word(fields.first("Action")).as_str() {
        "failed" => Action::Failed,
        "delayed" => Action::Delayed,
        "delivered" => Action::Delivered,
        "relayed" => Action::Relayed,
        "expanded" => Action::Expanded,
        _ => Action::Unknown,
    };
    let address = typed(fields, "Original-Recipient").or_else(|| typed(fields, "Final-Recipient"));
    ReportedRecipient { action, status: status(&word(fields.first("Status"))), address }
}

/// The first word of a value, lower case.
fn word(value: Option<&[u8]>) -> String {
    let value = value.unwrap_or_default();
    let end = value.iter().position(|b| b.is_ascii_whitespace() || matches!(b, b'(' | b';'));
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).to_ascii_lowercase()
}

/// RFC 3463 §2: a class of one digit, then two numbers of at most three.
fn status(word: &str) -> Option<[u16; 3]> {
    let mut numbers = word.split('.').map(|digits| {
        let is_number =
            (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    });
    let status = [numbers.next()??, numbers.next()??, numbers.next()??];
    (numbers.next().is_none() && matches!(status[0], 2 | 4 | 5)).then_some(status)
}

/// A value behind its type: `rfc822; a@b.example`.
fn typed(fields: &Block<'_>, name: &str) -> Option<Personal<String>> {
    let value = fields.first(name)?;
    let end = value.iter().position(|&byte| byte == b';').map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&value[end..]);
    let text = text.trim();
    let text = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text);
    (!text.is_empty()).then(|| Personal::new(text.to_owned()))
}

fn first_id(fields: &Block<'_>, name: &str) -> Option<Personal<String>> {
    fields.first(name).and_then(|value| ids(value).into_iter().next()).map(Personal::new)
}

#[cfg(test)]
mod tests {
    use super::super::Letter;
    use super::*;

    fn report(parts: &[&str]) -> Option<DeliveryReport> {
        let mut raw = "From: MAILER-DAEMON@mx.example\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
            .to_owned();
        for part in parts {
            raw += &format!("--b\r\n{part}\r\n");
        }
        Letter::parse((raw + "--b--\r\n").as_bytes()).report
    }

    const TEXT: &str = "Content-Type: text/plain\r\n\r\nIt could not be delivered.";
    const STATUS: &str = "Content-Type: message/delivery-status\r\n\r\n\
        Reporting-MTA: dns; mx.example\r\nArrival-Date: Mon, 2 Nov 2026 09:00:00 +0100\r\n\r\n\
        Original-Recipient: rfc822;Lotte@client.example\r\n\
        Final-Recipient: rfc822; lotte@elsewhere.example\r\n\
        Action: failed\r\nStatus: 5.1.1 (no such user)\r\n\
        Diagnostic-Code: smtp; 550 5.1.1\r\n <lotte> unknown\r\n\r\n\
        Final-Recipient: RFC822; jan@client.example\r\nAction: Delayed\r\nStatus: 4.4.7\r\n";
    const RETURNED: &str = "Content-Type: message/rfc822\r\n\r\n\
        Message-ID: <ours@kluis.example>\r\nReferences: <a@b> <c@d>\r\nSubject: x\r\n\r\nbody";

    #[test]
    fn a_bounce_says_who_what_and_about_which_mail() {
        let report = report(&[TEXT, STATUS, RETURNED]).expect("a report");
        assert_eq!(report.kind, ReportKind::Delivery);
        assert_eq!(report.reporting_mta, Some(Personal::new("mx.example".into())));
        assert_eq!(report.message_id, Some(Personal::new("ours@kluis.example".into())));
        assert_eq!(report.references, ["a@b", "c@d"].map(|id| Personal::new(id.into())));
        let [lotte, jan] = report.recipients.as_slice() else { panic!("two recipients") };
        assert_eq!((lotte.action, lotte.status), (Action::Failed, Some([5, 1, 1])));
        assert_eq!(lotte.address, Some(Personal::new("Lotte@client.example".into())));
        assert_eq!((jan.action, jan.status), (Action::Delayed, Some([4, 4, 7])));
    }

    #[test]
    fn a_returned_header_counts_in_every_form_and_before_the_status_too() {
        let headers =
            "Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <ours@kluis.example>\r\n";
        let coded = "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            TWVzc2FnZS1JRDogPG91cnNAa2x1aXMuZXhhbXBsZT4NCg==";
        let whole = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            TWVzc2FnZS1JRDogPG91cnNAa2x1aXMuZXhhbXBsZT4NCg0KeA==";
        for returned in [headers, coded, whole, RETURNED] {
            for parts in [[TEXT, STATUS, returned], [TEXT, returned, STATUS]] {
                let report = report(&parts).expect("a report");
                assert_eq!(report.message_id, Some(Personal::new("ours@kluis.example".into())));
            }
        }
    }

    #[test]
    fn a_read_receipt_is_a_report_and_names_the_mail_itself() {
        let report = report(&[
            TEXT,
            "Content-Type: message/disposition-notification\r\n\r\n\
             Final-Recipient: rfc822;lotte@client.example\r\nOriginal-Message-ID: <ours@kluis.example>\r\n\
             Disposition: manual-action/MDN-sent-manually; displayed\r\n",
        ])
        .expect("a report");
        assert_eq!(report.kind, ReportKind::Disposition);
        assert_eq!(report.message_id, Some(Personal::new("ours@kluis.example".into())));
        assert_eq!(report.recipients.len(), 1);
    }

    #[test]
    fn what_is_no_report_of_the_letter_itself_is_none() {
        assert_eq!(report(&[TEXT, RETURNED]), None);
        let forwarded = format!(
            "Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/report; boundary=c\r\n\r\n\
             --c\r\n{STATUS}\r\n--c\r\n{RETURNED}\r\n--c--"
        );
        assert_eq!(report(&[TEXT, &forwarded]), None);
        let inside = report(&[TEXT, STATUS, &forwarded]).expect("a report");
        assert_eq!(inside.message_id, None, "an inner mail of the returned one is not it");
    }

    #[test]
    fn a_broken_report_is_read_as_far_as_it_makes_sense() {
        let status = |body: &str| DeliveryReport::read(ReportKind::Delivery, body.as_bytes());
        assert_eq!(status("").recipients, []);
        assert_eq!(status("\r\n\r\n \n").recipients, []);
        // Some servers leave out the blank line between the two kinds of fields.
        let one =
            status("Reporting-MTA: dns;x\nFinal-Recipient: rfc822;a@b.example\nAction: failed\n");
        assert_eq!(one.recipients.len(), 1);
        for (text, read) in [
            ("5.1.1", Some([5, 1, 1])),
            ("2.0.0", Some([2, 0, 0])),
            ("5.1", None),
            ("5.1.1.1", None),
            ("5.1111.1", None),
            ("7.1.1", None),
            ("5.-1.1", None),
            ("", None),
        ] {
            let report = status(&format!("X: y\n\nStatus: {text}\nAction: failed\n"));
            assert_eq!(report.recipients[0].status, read, "{text}");
        }
        let many = status(&format!("X: y\n\n{}", "Action: failed\n\n".repeat(5000)));
        assert_eq!(many.recipients.len(), MAX_REPORTED);
        let odd = status("X: y\n\nAction: exploded\nFinal-Recipient: ;<>\n");
        assert_eq!(
            (odd.recipients[0].action, &odd.recipients[0].address),
            (Action::Unknown, &None)
        );
    }
}
