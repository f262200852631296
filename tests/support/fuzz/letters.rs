//! Bodies for letters: any bytes are one, and come back bit for bit from skeleton and items; what is
//! taken out of them stays within its limits; and nothing that they say stands in a mail of ours.

use jiff::civil::date;
use kluis::ids::CaseId;
use kluis::letter::skeleton::{FORGOTTEN, Skeleton, cut, cut_or_whole};
use kluis::letter::{
    Finding, Item, Letter, MAX_CONTAINED, MAX_ITEMS, MAX_LAYERS, MAX_RATIO, MAX_REPORTED,
    MAX_RETURNED_IDS, MAX_SAME_FINDING, MAX_TEXT, MAX_UNPACKED, Storage, content,
};
use kluis::reply::notice::Notice;
use kluis::reply::{Heading, Language, token};
use kluis::secret::Personal;

/// What a container may grow to, however small it is.
const FREE_CONTENT: usize = 1 << 20;

/// Any bytes are a letter.
pub(crate) fn letter(raw: &[u8]) {
    let _ = read(raw);
}

fn read(raw: &[u8]) -> Letter {
    let letter = Letter::parse(raw);
    comes_back(raw, &letter);
    is_within_limits(&letter);
    let sent = minicbor::to_vec(&letter).expect("a letter can be written");
    let read = Letter::from_answer(&sent).expect("and read, for no letter has too many elements");
    assert!(letter == read);
    let (kept, ..) = cut_or_whole(Some(read), raw);
    assert!(!kept.findings.contains(&Finding::Unparsed), "the parent takes what a child sends");
    letter
}

/// Skeleton and contents give the letter; without one of the contents all but that one.
fn comes_back(raw: &[u8], letter: &Letter) {
    let (skeleton, contents) = cut(raw, letter).expect("an honest letter can be cut");
    for ((item, hole), stored) in letter.items.iter().zip(&skeleton.holes).zip(&contents) {
        assert!(item.storage == hole.storage);
        let _ = content(item, stored);
    }
    let mut all: Vec<_> = contents.iter().map(|content| Some(content.as_slice())).collect();
    assert!(skeleton.rebuild(&all) == raw);
    let forgotten = raw.len() % all.len();
    all[forgotten] = None;
    let Item { start, end, .. } = letter.items[forgotten];
    assert!(skeleton.rebuild(&all) == [&raw[..start], FORGOTTEN, &raw[end..]].concat());
    assert!(Skeleton::decode(&skeleton.encode()) == Some(skeleton));
}

fn is_within_limits(letter: &Letter) {
    assert!(!letter.items.is_empty() && letter.items.len() <= MAX_ITEMS);
    for finding in &letter.findings {
        let same = letter.findings.iter().filter(|one| *one == finding).count();
        assert!(same <= MAX_SAME_FINDING);
    }
    let taken = letter.contained.iter().map(|one| &one.item);
    for item in letter.items.iter().chain(taken) {
        if let Some(text) = &item.text {
            reads_well(&item.media_type, text.expose());
        }
    }
    // How large each item is, and how many containers are around it.
    let mut sizes: Vec<_> = letter.items.iter().map(|item| (item.end - item.start, 0, 0)).collect();
    for one in &letter.contained {
        let outer = one.item.container.expect("it came out of something") as usize;
        let size = one.content.len();
        sizes[outer].2 += size;
        let (room, layer, taken) = sizes[outer];
        assert!(layer < MAX_LAYERS && taken <= room.saturating_mul(MAX_RATIO).max(FREE_CONTENT));
        sizes.push((size, layer + 1, 0));
    }
    let bytes: usize = letter.contained.iter().map(|one| one.content.len()).sum();
    assert!(letter.contained.len() <= MAX_CONTAINED && bytes <= MAX_UNPACKED);
    if let Some(report) = &letter.report {
        assert!(report.recipients.len() <= MAX_REPORTED);
        assert!(report.references.len() <= MAX_RETURNED_IDS);
    }
}

/// A page is lines of words, whatever was written in it.
fn reads_well(media_type: &str, text: &str) {
    assert!(text.len() <= MAX_TEXT);
    if media_type == "text/html" {
        assert!(!text.contains("  ") && !text.contains("\n\n\n") && !text.contains(" \n"));
        assert!(text.chars().all(|c| !c.is_whitespace() || matches!(c, ' ' | '\n')));
    }
}

/// A letter as it is before a child changed what is said of it.
const HONEST: &[u8] = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
    --b\r\n\r\nBeste\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    iVBORw0KGgo=\r\n\r\n--b--\r\n";

/// Any bytes are a skeleton or none, and one is put together whatever it says. As a child's answer
/// they change nothing about the letter that is kept.
pub(crate) fn skeleton(bytes: &[u8]) {
    if let Some(skeleton) = Skeleton::decode(bytes) {
        let contents = [Some(&b"content"[..]), None, Some(&b""[..])];
        let _ = skeleton.rebuild(&contents);
        assert!(Skeleton::decode(&skeleton.encode()) == Some(skeleton));
    }
    is_kept_whole(minicbor::decode(bytes).ok(), HONEST);
    is_kept_whole(Letter::from_answer(bytes), HONEST);
    is_kept_whole(lie(bytes), HONEST);
    is_kept_whole(lie(bytes), bytes);
}

/// What the parent keeps of `raw` is `raw`, whatever the child said.
fn is_kept_whole(said: Option<Letter>, raw: &[u8]) {
    let (letter, skeleton, contents) = cut_or_whole(said, raw);
    assert!(letter.items.len() == contents.len() && skeleton.holes.len() == contents.len());
    let all: Vec<_> = contents.iter().map(|content| Some(content.as_slice())).collect();
    assert!(skeleton.rebuild(&all) == raw);
    let stored: usize = contents.iter().map(Vec::len).sum();
    assert!(skeleton.bytes.len() + stored <= raw.len().max(1));
    assert!(Skeleton::decode(&skeleton.encode()) == Some(skeleton));
}

/// A letter whose items lie where the bytes say: three for an item, where it begins and ends and how
/// it is said to be stored.
fn lie(bytes: &[u8]) -> Option<Letter> {
    let honest = Letter::unparsed(b"");
    let items = bytes.as_chunks::<3>().0.iter().take(8).map(|&[start, end, how]| Item {
        start: start.into(),
        end: end.into(),
        storage: match how {
            0 => Storage::AsItCame,
            _ => Storage::Base64 {
                width: u32::from(how >> 2),
                bare: how & 1 != 0,
                closed: how & 2 != 0,
            },
        },
        ..honest.items[0].clone()
    });
    Some(Letter { items: items.collect(), ..honest.clone() })
}

/// A letter whose header has these bytes where it matters. What is read there goes into a notice, and
/// makes no line in it that is not ours.
pub(crate) fn headers(bytes: &[u8]) {
    for field in [
        "From: ",
        "Subject: ",
        "To: a@b.example\r\nDate: ",
        "Content-Type: ",
        "Message-ID: ",
        "References: ",
    ] {
        let letter = read(&[field.as_bytes(), bytes, b"\r\n\r\nx\r\n"].concat());
        let headers = letter.headers;
        let none = Personal::new("c@d.example".to_owned());
        let to = headers.from.into_iter().map(|from| from.address).next().unwrap_or(none);
        is_plain_notice(to, headers.message_id, headers.references);
    }
}

/// A notice about a letter has the fields that every notice has, each once.
fn is_plain_notice(
    to: Personal<String>,
    answered: Option<Personal<String>>,
    before: Vec<Personal<String>>,
) {
    let case: CaseId = "K-0000-0000".parse().expect("a number");
    let heading = Heading {
        from: Personal::new("privacy@kluis.example".into()),
        to,
        message_id: "k.1@kluis.example".into(),
        in_reply_to: answered,
        references: before,
        date: 1_800_000_000,
    };
    let notice = Notice { heading, case, due: date(2027, 1, 31), language: Language::Nl };
    let Ok(mail) = notice.compose() else { return };
    assert!(mail.is_notice());
    let text = std::str::from_utf8(mail.mail()).expect("it is ASCII");
    let (head, _) = text.split_once("\r\n\r\n").expect("a header");
    let mut names = Vec::new();
    for line in head.split("\r\n") {
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && line.len() <= 998);
        if !line.starts_with(' ') {
            names.push(line.split_once(": ").expect("a field").0);
        }
    }
    let answers = ["In-Reply-To", "References"];
    names.retain(|name| !answers.contains(name));
    let ours = "From To Date Subject Message-ID Auto-Submitted X-Auto-Response-Suppress \
        MIME-Version Content-Type Content-Transfer-Encoding";
    assert!(names.iter().copied().eq(ours.split_whitespace()), "{names:?}");
    let read = Letter::parse(mail.mail());
    assert!(read.headers.to.len() == 1, "it has one recipient");
    assert!(read.headers.to[0].address == *mail.envelope_to());
}

/// A letter with these bytes as a zip archive. Unless it is told, whoever reads it entry after entry
/// sees nothing that did not come out.
pub(crate) fn archive(bytes: &[u8]) {
    for archive in [&[b"PK\x03\x04", bytes].concat()[..], bytes] {
        let letter = attached("application/zip", archive);
        let is_odd =
            |one: &Finding| matches!(one, Finding::AmbiguousArchive | Finding::NotUnpacked);
        // An office document stays closed, and a delimiter in the bytes makes them another archive.
        let is_cut = archive.windows(BOUNDARY.len()).any(|window| window == BOUNDARY.as_bytes());
        if is_cut || letter.contained.is_empty() || letter.findings.iter().any(is_odd) {
            continue;
        }
        let mut out: Vec<&[u8]> =
            letter.contained.iter().map(|one| one.content.as_slice()).collect();
        for content in from_the_front(archive).iter().filter(|content| !content.is_empty()) {
            let at = out.iter().position(|one| *one == content.as_slice());
            out.swap_remove(at.expect("what is read from the front came out"));
        }
    }
}

/// What a plain program finds that reads an archive from the front, as far as it gets.
fn from_the_front(archive: &[u8]) -> Vec<Vec<u8>> {
    let mut contents = Vec::new();
    let mut rest = archive;
    while let Some((content, after)) = first_entry(rest) {
        contents.push(content);
        rest = after;
    }
    contents
}

/// The entry that an archive begins with, and what follows it.
fn first_entry(archive: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let head = archive.strip_prefix(b"PK\x03\x04")?.first_chunk::<26>()?;
    let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let long = |at: usize| u32::from(short(at)) | u32::from(short(at + 2)) << 16;
    let (flags, method, size) = (short(2), short(4), long(14) as usize);
    let packed = archive.get(30 + usize::from(short(22)) + usize::from(short(24))..)?;
    let (content, length) = match method {
        0 => (packed.get(..size)?.to_vec(), size),
        8 => {
            let mut inflater = flate2::bufread::DeflateDecoder::new(packed);
            let mut content = Vec::new();
            std::io::Read::read_to_end(
                &mut std::io::Read::take(&mut inflater, MAX_UNPACKED as u64),
                &mut content,
            )
            .ok()?;
            (content, usize::try_from(inflater.total_in()).ok()?)
        }
        _ => return None,
    };
    let mut after = packed.get(length..)?;
    if flags & 8 != 0 {
        after = after.strip_prefix(b"PK\x07\x08").unwrap_or(after).get(12..)?;
    }
    Some((content, after))
}

/// A letter with these bytes as a TNEF stream.
pub(crate) fn tnef(bytes: &[u8]) {
    attached("application/ms-tnef", &[b"\x78\x9f\x3e\x22\x01\0", bytes].concat());
}

/// A letter with these bytes as a page.
pub(crate) fn page(bytes: &[u8]) {
    attached("text/html; charset=utf-8", bytes);
    let said = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>Beste";
    let letter = read(&[said.as_bytes(), b"<br>", bytes].concat());
    let text = letter.items[0].text.as_ref().expect("a page has a text");
    assert!(text.expose().starts_with("Beste"), "what stands before is not lost");
}

/// The key of our Message-IDs here, and a key that is not.
const KEY: [u8; 32] = [7; 32];
const OTHER_KEY: [u8; 32] = [8; 32];

/// A letter with these bytes as a delivery report, as a receipt, as the header that comes back. Only a
/// Message-ID of ours names a case; a report in a letter that somebody forwards is nobody's. `$OURS`
/// in the bytes stands for an id of ours, `$NEAR` for one that another key made.
pub(crate) fn report(bytes: &[u8]) {
    let case: CaseId = "K-0000-0000".parse().expect("a number");
    let id = |key| token::compose_id(key, case, [1; 8], "kluis.example");
    let ours = id(&KEY);
    let bytes = replaced(bytes, b"$OURS", ours.as_bytes());
    let bytes = replaced(&bytes, b"$NEAR", id(&OTHER_KEY).as_bytes());
    let local = ours.split_once('@').expect("an id has an at sign").0.to_ascii_lowercase();
    let of_type = |media_type: &str| {
        read(&[b"Content-Type: ", media_type.as_bytes(), b"\r\n\r\n", &bytes].concat())
    };
    let letters = [
        of_type("message/delivery-status"),
        of_type("message/disposition-notification"),
        attached("message/rfc822-headers", &bytes),
    ];
    for letter in &letters {
        let report = letter.report.as_ref().expect("a report");
        let reported = report.message_id.iter().chain(&report.references);
        for id in reported.chain(&letter.headers.references).chain(&letter.headers.message_id) {
            if let Some(named) = token::verify_id(&KEY, id.expose()) {
                assert!(named == case);
                assert!(id.expose().to_ascii_lowercase().contains(&local));
            }
        }
    }
    assert!(of_type("message/rfc822").report.is_none(), "somebody else's report");
}

/// The bytes with `to` wherever `from` stands.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        written.extend_from_slice(&rest[..at]);
        written.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    written.extend_from_slice(rest);
    written
}

/// What parts the parts of [`attached`].
const BOUNDARY: &str = "0123456789";

fn attached(media_type: &str, bytes: &[u8]) -> Letter {
    let head = format!(
        "From: a@b.example\r\nContent-Type: multipart/mixed; boundary=\"0123456789\"\r\n\r\n\
         --0123456789\r\nContent-Type: message/delivery-status\r\n\r\n\r\n--0123456789\r\n\
         Content-Type: {media_type}\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    );
    read(&[head.as_bytes(), bytes, b"\r\n--0123456789--\r\n"].concat())
}
