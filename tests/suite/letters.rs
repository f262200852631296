//! Letters: the golden corpus of `tests/letters`, and what holds for every letter there can be.
//!
//! Each `NAME.eml` has a `NAME.json` beside it that says, by hand, what the letter is.

use std::fs;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use kluis::letter::skeleton::{FORGOTTEN, Skeleton, cut};
use kluis::letter::{
    DeliveryReport, Finding, Item, Letter, MAX_DEPTH, MAX_ITEMS, MAX_SAME_FINDING, Protection,
    Role, Storage, content,
};
use kluis::secret::Personal;
use proptest::prelude::*;
use serde_json::{Value, json};

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/letters");
    let mut letters: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("an entry reads").path())
        .filter(|path| path.extension().is_some_and(|name| name == "eml"))
        .map(|path| (path.clone(), fs::read(&path).expect("a letter reads")))
        .collect();
    letters.sort();
    letters
}

/// Cuts, checks what must hold for every letter, and gives the contents.
fn check(raw: &[u8], letter: &Letter) -> Vec<Vec<u8>> {
    let (skeleton, contents) = cut(raw, letter).expect("an honest letter can be cut");
    assert!(!letter.items.is_empty() && letter.items.len() <= MAX_ITEMS);
    let mut from = 0;
    for (item, hole) in letter.items.iter().zip(&skeleton.holes) {
        assert!(from <= item.start && item.start <= item.end && item.end <= raw.len());
        assert!(usize::from(item.depth) <= MAX_DEPTH);
        assert!(hole.storage == item.storage, "a recipe that is proposed is exact");
        from = item.end;
    }
    let all: Vec<_> = contents.iter().map(|content| Some(content.as_slice())).collect();
    assert!(skeleton.rebuild(&all) == raw, "skeleton and items give the raw message");
    let bodies: usize = letter.items.iter().map(|item| item.end - item.start).sum();
    assert_eq!(skeleton.bytes.len() + bodies, raw.len());
    assert!(Skeleton::decode(&skeleton.encode()) == Some(skeleton));
    contents
}

fn describe_storage(storage: &Storage) -> String {
    match storage {
        Storage::AsItCame => "as it came".into(),
        Storage::Base64 { width, bare, closed } => format!(
            "base64 {width} {} {}",
            if *bare { "lf" } else { "crlf" },
            if *closed { "closed" } else { "open" }
        ),
    }
}

/// The item in the words of the corpus; `hex` only where the corpus asks for it.
fn describe_item(item: &Item, stored: &[u8], wanted: &Value) -> Value {
    let mut found = json!({
        "type": item.media_type,
        "role": match item.role {
            Role::Body => "body",
            Role::Attachment => "attachment",
            Role::Secondary => "secondary",
        },
        "storage": describe_storage(&item.storage),
    });
    let mut add = |name: &str, value: Value| found[name] = value;
    if item.depth > 0 {
        add("depth", json!(item.depth));
    }
    if let Some(container) = item.container {
        add("container", json!(container));
    }
    if !item.names.is_empty() {
        add("names", item.names.iter().map(|name| name.expose().as_str()).collect());
    }
    if let Some(magic) = &item.magic {
        add("magic", json!(magic));
    }
    if let Some(text) = &item.text {
        add("text", json!(text.expose()));
    }
    if item.text.is_none() || wanted.get("hex").is_some() {
        add("hex", json!(HEXLOWER.encode(&content(item, stored))));
    }
    found
}

fn describe(letter: &Letter, contents: &[Vec<u8>], wanted: &Value) -> Value {
    let items = letter.items.iter().zip(contents.iter().map(Vec::as_slice));
    let contained = letter.contained.iter().map(|one| (&one.item, one.content.as_slice()));
    let items = items.chain(contained).enumerate();
    let mut found = json!({
        "about": wanted["about"],
        "subject": letter.headers.subject.as_ref().map(|subject| subject.expose()),
        "from": letter.headers.from.iter().map(|one| {
            json!([one.name.as_ref().map(|name| name.expose()), one.address.expose()])
        }).collect::<Value>(),
        "protection": match letter.protection {
            Protection::None => "none".to_owned(),
            Protection::OpenPgp(nr) => format!("openpgp {nr}"),
            Protection::Smime(nr) => format!("smime {nr}"),
            Protection::Signed => "signed".to_owned(),
        },
        "findings": letter.findings.iter().map(|finding| format!("{finding:?}")).collect::<Value>(),
        "items": items.map(|(nr, (item, stored))| describe_item(item, stored, &wanted["items"][nr])).collect::<Value>(),
    });
    if let Some(report) = &letter.report {
        found["report"] = json!(describe_report(report));
    }
    found
}

/// A report with one recipient, in one line.
fn describe_report(report: &DeliveryReport) -> String {
    let text = |text: &Option<Personal<String>>| {
        text.as_ref().map_or_else(|| "-".to_owned(), |text| text.expose().clone())
    };
    let mut words = vec![format!("{:?}", report.kind), text(&report.reporting_mta)];
    for one in &report.recipients {
        words.push(format!(
            "{:?} {:?} {}",
            one.action,
            one.status.unwrap_or_default(),
            text(&one.address)
        ));
    }
    words.push(text(&report.message_id));
    words.extend(report.references.iter().map(|id| id.expose().clone()));
    words.join(" ")
}

#[test]
fn every_golden_letter_is_what_its_page_says() {
    let letters = corpus();
    assert!(letters.len() >= 24);
    let mut wrong = String::new();
    for (path, raw) in letters {
        let page = fs::read(path.with_extension("json")).expect("each letter has its page");
        let wanted: Value = serde_json::from_slice(&page).expect("a page is JSON");
        let letter = Letter::parse(&raw);
        let found = describe(&letter, &check(&raw, &letter), &wanted);
        if found != wanted {
            wrong += &format!("{}\nfound {found:#}\nwanted {wanted:#}\n", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_golden_letter_cut_short_anywhere_is_still_a_letter() {
    for (_, raw) in corpus() {
        for length in 0..raw.len() {
            check(&raw[..length], &Letter::parse(&raw[..length]));
        }
    }
}

#[test]
fn hostile_letters_of_ten_megabytes_stay_within_the_limits() {
    let mixed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let mut nested = String::new();
    for nr in 0..150_000 {
        nested += &format!("Content-Type: multipart/mixed; boundary={nr}\r\n\r\n--{nr}\r\n");
    }
    let letters = [
        mixed.to_owned() + &"--b\r\n\r\n".repeat(1_200_000),
        mixed.to_owned()
            + &"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n".repeat(160_000),
        nested,
        "Content-Type: message/rfc822\r\nx\r\n".repeat(300_000),
        "Content-Type: message/rfc822\r\n\r\n".repeat(300_000),
        "A: b\r\n".repeat(1_600_000),
        mixed.to_owned() + &"--b\r\nContent-Type: a/b; ".repeat(2) + &"x*0=y;".repeat(1_600_000),
        mixed.to_owned()
            + &("--b\r\nContent-Type: a/b; ".to_owned() + &"x=\"".repeat(60_000) + "\r\n\r\n")
                .repeat(50),
        "Subject: ".to_owned()
            + &"=?utf-8?q?a".repeat(20_000)
            + "\r\n\r\n"
            + &"=\r\n".repeat(3_300_000),
        "Content-Type: multipart/mixed; boundary=\"".to_owned()
            + &"-".repeat(900)
            + "\"\r\n\r\n"
            + &"-".repeat(10_000_000),
    ];
    for raw in letters {
        let letter = Letter::parse(raw.as_bytes());
        check(raw.as_bytes(), &letter);
        assert!(letter.findings.len() <= 16 * MAX_SAME_FINDING);
    }
}

/// A message as a generator thinks of it.
#[derive(Debug, Clone)]
enum Tree {
    Leaf { content: Vec<u8>, coding: u8 },
    Multi { parts: Vec<Tree>, closed: bool, junk: bool },
    Message(Box<Tree>),
}

fn tree(well_formed: bool) -> impl Strategy<Value = Tree> {
    let leaf =
        (prop::collection::vec(any::<u8>(), 0..200), 0..3u8).prop_map(|(mut content, coding)| {
            // A CR before the LF of a delimiter is read as the delimiter's.
            while content.ends_with(b"\r") {
                content.pop();
            }
            Tree::Leaf { content, coding }
        });
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let parts = prop::collection::vec(inner.clone(), 1..5);
        prop_oneof![
            4 => (parts, any::<bool>(), any::<bool>()).prop_map(move |(parts, closed, junk)| Tree::Multi {
                parts,
                closed: closed || well_formed,
                junk: junk && !well_formed,
            }),
            1 => inner.prop_map(|tree| Tree::Message(Box::new(tree))),
        ]
    })
}

/// Writes a tree as MIME and lists the contents of its leaves.
fn write(tree: &Tree, end: &str, count: &mut u32, raw: &mut Vec<u8>, leaves: &mut Vec<Vec<u8>>) {
    let line = |raw: &mut Vec<u8>, text: &str| {
        raw.extend_from_slice(text.as_bytes());
        raw.extend_from_slice(end.as_bytes());
    };
    match tree {
        Tree::Leaf { content, coding } => {
            line(raw, "Content-Type: application/octet-stream");
            let coded = match coding {
                0 => {
                    line(raw, "Content-Transfer-Encoding: base64");
                    let text = data_encoding::BASE64.encode(content).into_bytes();
                    text.chunks(60).collect::<Vec<_>>().join(end.as_bytes())
                }
                1 => {
                    line(raw, "Content-Transfer-Encoding: quoted-printable");
                    let escape = |byte: &u8| format!("={byte:02X}");
                    let pieces: Vec<String> = content
                        .chunks(20)
                        .map(|piece| piece.iter().map(escape).collect())
                        .collect();
                    pieces.join(&format!("={end}")).into_bytes()
                }
                _ => {
                    line(raw, "Content-Transfer-Encoding: binary");
                    content.clone()
                }
            };
            line(raw, "");
            raw.extend_from_slice(&coded);
            leaves.push(content.clone());
        }
        Tree::Message(inner) => {
            line(raw, "Content-Type: message/rfc822");
            line(raw, "");
            leaves.push(Vec::new()); // the message itself
            write(inner, end, count, raw, leaves);
        }
        Tree::Multi { parts, closed, junk } => {
            *count += 1;
            let boundary = format!("=_kluis test boundary {count}");
            line(raw, &format!("Content-Type: multipart/mixed; boundary=\"{boundary}\""));
            line(raw, "");
            if *junk {
                line(raw, &format!("preamble --{boundary}"));
            }
            for part in parts {
                line(raw, &format!("--{boundary}"));
                write(part, end, count, raw, leaves);
                line(raw, "");
            }
            if *closed {
                raw.extend_from_slice(format!("--{boundary}--").as_bytes());
            }
            if *junk {
                line(raw, &format!("--{boundary}--junk"));
            }
        }
    }
}

fn message(tree: &Tree, crlf: bool) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut raw, mut leaves) = (b"From: a@b.example\nSubject: x\n".to_vec(), Vec::new());
    write(tree, if crlf { "\r\n" } else { "\n" }, &mut 0, &mut raw, &mut leaves);
    (raw, leaves)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_well_formed_letter_gives_its_leaves(tree in tree(true), crlf in any::<bool>()) {
        let (raw, leaves) = message(&tree, crlf);
        let letter = Letter::parse(&raw);
        let stored = check(&raw, &letter);
        let found: Vec<_> = letter.items.iter().zip(&stored).map(|(item, stored)| content(item, stored)).collect();
        prop_assert_eq!(found, leaves);
        for odd in [Finding::Unterminated, Finding::NoDelimiter, Finding::BadHeader, Finding::BadTransferEncoding] {
            prop_assert!(!letter.findings.contains(&odd));
        }
    }

    #[test]
    fn a_malformed_letter_loses_no_byte(tree in tree(false), crlf in any::<bool>(), at in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..8)) {
        let (mut raw, _) = message(&tree, crlf);
        let at = at.index(raw.len());
        raw.splice(at..(at + 3).min(raw.len()), noise);
        check(&raw, &Letter::parse(&raw));
    }

    #[test]
    fn random_bytes_are_a_letter(raw in prop::collection::vec(any::<u8>(), 0..2000)) {
        check(&raw, &Letter::parse(&raw));
    }

    #[test]
    fn random_lines_of_mail_are_a_letter(lines in prop::collection::vec(prop::sample::select(LINES), 0..60)) {
        let raw = lines.concat();
        check(&raw, &Letter::parse(&raw));
    }

    #[test]
    fn what_is_forgotten_is_gone_and_the_rest_is_not(tree in tree(true), pick in any::<prop::sample::Index>()) {
        let (raw, _) = message(&tree, true);
        let letter = Letter::parse(&raw);
        let (skeleton, contents) = cut(&raw, &letter).expect("an honest letter can be cut");
        let nr = pick.index(contents.len());
        let mut left: Vec<_> = contents.iter().map(|content| Some(content.as_slice())).collect();
        left[nr] = None;
        let item = &letter.items[nr];
        let wanted = [&raw[..item.start], FORGOTTEN, &raw[item.end..]].concat();
        prop_assert!(skeleton.rebuild(&left) == wanted);
    }
}

/// Lines that mean something to a parser of mail, in one order or another.
const LINES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"--b\r\n",
    b"--b--\r\n",
    b"--c\n",
    b"--c--",
    b"--b--c\r\n",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"Content-Type: multipart/digest; boundary=\"c\"\n",
    b"Content-Type: multipart/encrypted; boundary*=utf-8''b\r\n",
    b"Content-Type: multipart/appledouble; boundary=b--\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Type: text/plain;\r\n",
    b" charset=iso-8859-1; name*0*=x''%E9\r\n",
    b"\tname*1=\"a\\\"b\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"QUJDQUJD\r\n",
    b"QQ==\r\n",
    b"a=C3=A9=\r\n",
    b"From: =?utf-8?Q?=C3?= =?utf-8?B?qQ?= <a@b.example>, (c) d:;\r\n",
    b"Subject: =?x?q?=?=\r\n",
    b"Date: Thu, 99 Foo 9999 99:99:99 +9999\r\n",
    b"no field\r\n",
    b"-----BEGIN PGP MESSAGE-----\r\n",
    b"\x00\xff\xfe\r\n",
];
