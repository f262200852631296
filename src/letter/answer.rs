//! What a child answers, held to what a parser of ours can say.
//!
//! A child may be taken over by what it reads. Every number in its answer is its own choice, so here
//! the parser's limits are counted once more, and before anything is decoded: an empty text is one byte
//! of the answer and twenty-four of memory.

use minicbor::Decoder;
use minicbor::data::Type;

use super::delivery::MAX_READ;
use super::media_type::MAX_MEDIA_TYPE;
use super::{
    Finding, Headers, Item, Letter, MAX_CONTAINED, MAX_HEADER, MAX_ITEMS, MAX_NAMES, MAX_REPORTED,
    MAX_RETURNED_IDS, MAX_SAME_FINDING, MAX_TEXT, MAX_TEXTS, Mailbox,
};

/// Elements of an item's map, its names aside: its keys and values, with room for more of them.
const ITEM: usize = 64;
/// Elements of a mailbox: the map, two keys, two values. No byte of a header makes more than one.
const MAILBOX: usize = 5;
/// Elements of a recipient in a report.
const REPORTED: usize = 16;
/// Kinds of findings.
const FINDINGS: usize = Finding::AmbiguousArchive as usize + 1;
/// Elements of an answer, counted flat: about 24 bytes of memory each once decoded, and no more than
/// a letter has that is at every limit of the parser.
pub const MAX_ELEMENTS: usize = (MAX_ITEMS + MAX_CONTAINED) * (ITEM + MAX_NAMES)
    + MAX_HEADER * MAILBOX
    + MAX_REPORTED * REPORTED
    + MAX_RETURNED_IDS
    + FINDINGS * MAX_SAME_FINDING
    + 256;

/// Bytes of UTF-8 that a byte of a header can become, whatever its charset.
const WIDEST: usize = 4;

impl Letter {
    /// Reads what a child answered; nothing if it is no letter, or would be a larger one in memory
    /// than the parser makes.
    ///
    /// How deep it is needs no count: what is read has the depth of its types, what is passed over
    /// is passed over without recursion.
    #[must_use]
    pub fn from_answer(answer: &[u8]) -> Option<Self> {
        let mut walk = Decoder::new(answer);
        for _ in 0..MAX_ELEMENTS {
            if walk.position() == answer.len() {
                let mut letter: Self = minicbor::decode(answer).ok()?;
                // A parser looks at no picture.
                letter.looked(&[]);
                return Some(letter);
            }
            pass(&mut walk)?;
        }
        None
    }
}

/// Passes over one element, not over what an array or a map holds; nothing if it is of a kind that is in
/// no answer of ours.
fn pass(walk: &mut Decoder<'_>) -> Option<()> {
    let passed = match walk.datatype().ok()? {
        Type::Array => walk.array().map(drop),
        Type::Map => walk.map().map(drop),
        Type::Bytes => walk.bytes().map(drop),
        Type::String => walk.str().map(drop),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => walk.u64().map(drop),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => walk.i64().map(drop),
        Type::Bool => walk.bool().map(drop),
        Type::Null => walk.null(),
        _ => return None,
    };
    passed.ok()
}

/// Whether everything that is said of a letter is within the limits of the parser.
pub(super) fn is_within_limits(letter: &Letter) -> bool {
    let items = || letter.items.iter().chain(letter.contained.iter().map(|one| &one.item));
    let kept = items().flat_map(|item| item.names.iter().chain(&item.text));
    let kept: usize = kept.map(|text| text.expose().len()).sum();
    items().all(is_item) && kept <= MAX_TEXTS && are_findings(&letter.findings)
        && header_bytes(&letter.headers) <= MAX_HEADER * WIDEST
        // What a report says of itself, and the header that came back with it.
        && letter.report.as_ref().is_none_or(|report| {
            let own = report.reporting_mta.iter().chain(&report.message_id);
            let named = report.recipients.iter().filter_map(|one| one.address.as_ref());
            let texts = own.chain(&report.references).chain(named);
            let bytes: usize = texts.map(|text| text.expose().len()).sum();
            report.recipients.len() <= MAX_REPORTED
                && report.references.len() <= MAX_RETURNED_IDS
                && bytes <= (MAX_READ + MAX_HEADER) * WIDEST
        })
}

fn is_item(item: &Item) -> bool {
    let mut said = [&item.media_type, &item.transfer].into_iter().chain(&item.magic);
    let content_id = item.content_id.as_ref().map_or(0, |id| id.expose().len());
    item.names.len() <= MAX_NAMES
        && item.text.as_ref().is_none_or(|text| text.expose().len() <= MAX_TEXT)
        && said.all(|word| word.len() <= MAX_MEDIA_TYPE)
        && content_id <= MAX_HEADER * WIDEST
}

fn are_findings(findings: &[Finding]) -> bool {
    let mut counts = [0; FINDINGS];
    findings.iter().all(|&finding| {
        counts[finding as usize] += 1;
        counts[finding as usize] <= MAX_SAME_FINDING
    })
}

fn header_bytes(headers: &Headers) -> usize {
    let bytes = |one: &Mailbox| {
        one.address.expose().len() + one.name.as_ref().map_or(0, |name| name.expose().len())
    };
    let mailboxes = headers.from.iter().chain(&headers.to).chain(&headers.reply_to).map(bytes);
    let texts = headers.subject.iter().chain(&headers.message_id).chain(&headers.references);
    mailboxes.chain(texts.map(|text| text.expose().len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Personal;

    fn text(length: usize) -> Personal<String> {
        Personal::new("x".repeat(length))
    }

    #[test]
    fn a_letter_at_the_limits_of_the_parser_is_taken() {
        let list = |name: &str, one: &str| {
            let times = (MAX_HEADER - 400) / one.len();
            format!("{name}: {}\r\n\r\nx", one.repeat(times))
        };
        let names: String = (0..9000).map(|nr| format!("; filename=n{nr}")).collect();
        let named = format!("Content-Disposition: attachment{names}\r\n\r\nx");
        let many = "--b\r\n\r\nx\r\n".repeat(MAX_ITEMS + 10);
        let parts = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{many}--b--\r\n");
        let long = |name: &str, word: &str| {
            format!("{name}: {word}{}\r\n\r\nx", "y".repeat(MAX_HEADER - 400))
        };
        let wide =
            [b"Subject: ".as_slice(), &b"\xff".repeat(MAX_HEADER - 400), b"\r\n\r\nx"].concat();
        let raws = [
            list("To", "a,"),
            list("To", ","),
            list("From", "a:;"),
            list("References", "<a>"),
            list("To", "=?koi8-r?q?=ff?= <a>,"),
            named,
            parts,
            long("Content-Type", "text/"),
            long("Content-Transfer-Encoding", ""),
            long("Content-Transfer-Encoding", &"é".repeat(MAX_MEDIA_TYPE)),
            long("Content-ID", "<"),
        ];
        for raw in raws.into_iter().map(String::into_bytes).chain([wide]) {
            let letter = Letter::parse(&raw);
            let what = String::from_utf8_lossy(&raw[..30]).into_owned();
            let answer = minicbor::to_vec(&letter).expect("is written");
            assert!(Letter::from_answer(&answer) == Some(letter.clone()), "{what}");
            assert!(is_within_limits(&letter), "{what}");
        }
    }

    /// Each of these is a letter by its form, of few bytes and much memory.
    #[test]
    fn an_answer_of_more_elements_than_any_letter_has_is_not_decoded() {
        let honest = Letter::unparsed(b"x");
        let lies: [fn(&mut Letter, usize); 4] = [
            |letter, count| letter.headers.references = vec![text(0); count],
            |letter, count| letter.items[0].names = vec![text(0); count],
            |letter, count| letter.findings = vec![Finding::Nul; count],
            |letter, count| {
                letter.headers.to = vec![Mailbox { name: None, address: text(0) }; count];
            },
        ];
        for (nr, lie) in lies.iter().enumerate() {
            let mut letter = honest.clone();
            lie(&mut letter, MAX_ELEMENTS);
            let mut answer = minicbor::to_vec(&letter).expect("is written");
            drop(letter);
            assert!(Letter::from_answer(&answer).is_none(), "lie {nr}");
            let is_letter = minicbor::decode::<Letter>(&answer).is_ok();
            assert!(is_letter, "lie {nr}: it is refused for its size alone");
            answer.truncate(answer.len() / 2);
            assert!(Letter::from_answer(&answer).is_none(), "half of lie {nr}");
        }
        // A field that nobody knows is passed over, however deep it is; so many brackets are not.
        let deep = |depth: usize| [&[0xa1_u8, 0x18, 99][..], &vec![0x81; depth], &[0]].concat();
        assert!(Letter::from_answer(&deep(MAX_ELEMENTS)).is_none());
        assert!(Letter::from_answer(&deep(100_000)).is_none());
        assert!(Letter::from_answer(&[]).is_none());
    }

    #[test]
    fn what_is_over_a_limit_of_the_parser_was_not_said_by_it() {
        let raw = b"From: a@b.example\r\nContent-Type: message/delivery-status\r\n\r\n\
            Reporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; c@d.example\r\n";
        let honest = Letter::parse(raw);
        assert!(honest.report.is_some() && is_within_limits(&honest));
        type Lie = fn(&mut Letter);
        let word = "x".repeat(MAX_MEDIA_TYPE);
        let mut longest = honest.clone();
        let item = &mut longest.items[0];
        (item.media_type, item.transfer, item.magic) = (word.clone(), word.clone(), Some(word));
        assert!(is_within_limits(&longest));
        let lies: [(&str, Lie); 14] = [
            ("a media type", |letter| letter.items[0].media_type = "x".repeat(MAX_MEDIA_TYPE + 1)),
            ("a transfer encoding", |letter| {
                letter.items[0].transfer = "x".repeat(MAX_MEDIA_TYPE + 1);
            }),
            ("magic", |letter| letter.items[0].magic = Some("x".repeat(MAX_MEDIA_TYPE + 1))),
            ("names", |letter| letter.items[0].names = vec![text(1); MAX_NAMES + 1]),
            ("a text", |letter| letter.items[0].text = Some(text(MAX_TEXT + 1))),
            ("texts", |letter| {
                letter.items[0].text = Some(text(MAX_TEXT));
                letter.items = vec![letter.items[0].clone(); MAX_TEXTS / MAX_TEXT + 1];
            }),
            ("a name", |letter| letter.items[0].names = vec![text(MAX_TEXTS + 1)]),
            ("a content id", |letter| {
                letter.items[0].content_id = Some(text(MAX_HEADER * WIDEST + 1));
            }),
            ("findings", |letter| letter.findings = vec![Finding::Nul; MAX_SAME_FINDING + 1]),
            ("a subject", |letter| letter.headers.subject = Some(text(MAX_HEADER * WIDEST + 1))),
            ("references", |letter| {
                letter.headers.references = vec![text(MAX_HEADER); WIDEST + 1];
            }),
            ("an address", |letter| {
                letter.headers.to =
                    vec![Mailbox { name: None, address: text(MAX_HEADER * WIDEST + 1) }];
            }),
            ("recipients", |letter| {
                let report = letter.report.as_mut().expect("a report");
                report.recipients = vec![report.recipients[0].clone(); MAX_REPORTED + 1];
            }),
            ("returned ids", |letter| {
                let report = letter.report.as_mut().expect("a report");
                report.references = vec![text(1); MAX_RETURNED_IDS + 1];
            }),
        ];
        for (what, lie) in lies {
            let mut letter = honest.clone();
            lie(&mut letter);
            assert!(!is_within_limits(&letter), "{what}");
        }
    }
}
