//! Copies of identity documents leave masked: staff get the copy itself only with a reason that the case
//! keeps and the ledger knows of, whichever way they ask.

use std::fs;
use std::path::Path;

use data_encoding::BASE64_MIME;
use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::ids::ItemId;
use kluis::ledger::entry::Fact;
use kluis::staff::client::Error as ClientError;
use kluis::staff::sealing::Sealing;
use pictures::{Third, canvas, degrade};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{Office, Server, send};
use crate::containers::{Entry, zip};
use crate::mail_client::letter;
use crate::mask::{PIXELS_ALONE, TRIES, can_run, chunks};
use crate::way::{deliver, entries, runtime};
use crate::world::{MAILBOX, World};

/// An office with a letter that has a copy of a card, the card in an archive, and a payslip.
struct Desk {
    office: Office,
    server: Server,
    case: String,
    letter: String,
    card: String,
    archive: String,
    payslip: String,
    copy: Vec<u8>,
    slip: Vec<u8>,
    raw: String,
}

impl Drop for Desk {
    fn drop(&mut self) {
        // No agent stays behind, not even of a test that failed.
        self.office.run(&["lock"]);
    }
}

impl Desk {
    fn new(models: Option<&Path>) -> Self {
        let mut office = Office::new();
        if let Some(models) = models {
            office.with(&[("KLUIS_MODELS", models.to_str().expect("is text"))]);
        }
        office.found();
        let server = office.serve();
        office.unlock();
        let copy = pictures::picture(Third::Easy, 13).bytes;
        let mut page = canvas::Canvas::new(1240, 1754, [255; 3]);
        for (nr, line) in ["LOONBRIEF", "Bakkerij De Korenaar", "Netto 1.812,40"].iter().enumerate()
        {
            page.text(canvas::Face::Sans, 48.0, (120.0, 200.0 + 90.0 * nr as f32), [10; 3], line);
        }
        let slip = degrade::pdf(&[degrade::jpeg(&page, 80)]);
        let archive = zip(&[Entry::new(b"kaart.jpg", &copy)]);
        let part = |kind: &str, bytes: &[u8]| {
            let coded = BASE64_MIME.encode(bytes).replace("\r\n", "\n");
            format!(
                "--b\nContent-Type: {kind}\nContent-Disposition: attachment\n\
                 Content-Transfer-Encoding: base64\n\n{coded}"
            )
        };
        let raw = format!(
            "From: Lotte <lotte@example.org>\nTo: backoffice@jobexpert.be\nSubject: inzage\n\
             Message-ID: <1@example.org>\nMIME-Version: 1.0\n\
             Content-Type: multipart/mixed; boundary=b\n\n\
             --b\nContent-Type: text/plain\n\nBeste, hierbij mijn kaart.\n{}{}{}--b--",
            part("image/jpeg", &copy),
            part("application/zip", &archive),
            part("application/pdf", &slip),
        );
        send(server.smtp(), &raw);
        let case = office.json(&["queue"])["cases"][0]["case"].as_str().expect("a case").to_owned();
        let shown = office.json(&["show", &case]);
        let letter = &shown["letters"][0];
        let id = |value: &Value| value.as_str().expect("an id").to_owned();
        let items = letter["items"].as_array().expect("items");
        let of = |kind: &str| {
            let is_it = |item: &&Value| item["media_type"] == kind && item["container"].is_null();
            id(&items.iter().find(is_it).expect("is there")["item"])
        };
        let (card, zip, payslip) = (of("image/jpeg"), of("application/zip"), of("application/pdf"));
        let letter = id(&letter["letter"]);
        Self { office, server, case, letter, card, archive: zip, payslip, copy, slip, raw }
    }

    /// How often the ledger has a fact.
    fn facts(&self, fact: &str) -> usize {
        let log = self.office.run(&["audit", "log", "--json"]).stdout;
        String::from_utf8(log).expect("UTF-8").matches(&format!("\"{fact}\"")).count()
    }

    /// How often it says that a copy was given unmasked.
    fn unmasked(&self) -> usize {
        self.facts("unmasked")
    }

    fn bytes(&self, arguments: &[&str]) -> (Vec<u8>, String) {
        let output = self.office.run(arguments);
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success(), "{arguments:?}: {error}");
        (output.stdout, error)
    }

    fn is_mask(&self, png: &[u8]) -> bool {
        png.starts_with(b"\x89PNG") && chunks(png) == PIXELS_ALONE
    }
}

#[test]
fn staff_get_the_mask_and_the_copy_itself_only_with_a_reason_that_is_kept() {
    let test = "staff_get_the_mask_and_the_copy_itself_only_with_a_reason_that_is_kept";
    if !can_run(test) {
        return;
    }
    // On a machine that does much else nobody may have had the time to look when the letter came.
    let seen = |desk: &Desk| desk.facts("identity copy") == 2;
    let desk = (0..TRIES).map(|_| Desk::new(None)).find(seen).expect("card and archive are seen");
    let office = &desk.office;
    let got = office.json(&["get", &desk.card]);
    assert_eq!(got["masked"], true, "{got}");
    let said = got["remark"].as_str().expect("is said");
    assert!(said.contains("all black but surname, given_names, expiry_date"), "{said}");
    let name = got["file"].as_str().expect("a file");
    assert!(name.ends_with("-masked.png"), "{name}");
    let png = fs::read(office.path(name)).expect("is written");
    assert!(desk.is_mask(&png));
    let (png, said) = desk.bytes(&["get", &desk.card, "-o", "-"]);
    assert!(desk.is_mask(&png) && said.contains("masked"), "{said}");
    // In one file with other things it cannot be masked.
    let (error, hint) = office.fails(&["get", &desk.archive], 1);
    assert!(error.contains("identity document") && hint.contains("--unmasked"), "{error} {hint}");
    let raw = ["show", &desk.case, "--raw", &desk.letter];
    let (error, hint) = office.fails(&raw, 1);
    assert!(error.contains("identity document") && hint.contains("--unmasked"), "{error} {hint}");
    let (slip, said) = desk.bytes(&["get", &desk.payslip, "-o", "-"]);
    assert_eq!((slip == desk.slip, said.as_str()), (true, ""));
    assert_eq!(desk.unmasked(), 0);
    for without in [&["--unmasked"][..], &["--reason", "why"], &["--unmasked", "--reason", " "]] {
        office.fails(&[&["get", &desk.card][..], without].concat(), 2);
    }
    office.fails(&["show", &desk.case, "--unmasked", "--reason", "why"], 2);
    office.fails(&["get", "--verify-all", "--unmasked", "--reason", "why"], 2);
    assert_eq!(desk.unmasked(), 0);

    let why = ["--unmasked", "--reason", "the name on the mask is cut"];
    let got = office.json(&[&["get", &desk.card, "-o", "card.jpg"][..], &why].concat());
    assert_eq!(got["masked"], false);
    assert!(fs::read(office.path("card.jpg")).expect("is written") == desk.copy);
    assert_eq!(desk.unmasked(), 1);
    let (archive, _) = desk.bytes(&[&["get", &desk.archive, "-o", "-"][..], &why].concat());
    assert!(archive.starts_with(b"PK"));
    assert_eq!(desk.unmasked(), 2);
    let (letter, _) = desk.bytes(&[&raw[..], &why].concat());
    assert!(String::from_utf8_lossy(&letter).trim_end() == desk.raw.replace('\n', "\r\n"));
    assert!(desk.unmasked() >= 5, "every item of the letter that is no text");
    let notes = &office.json(&["show", &desk.case])["notes"];
    let is_reason = |note: &&Value| {
        note["about"] == "unmasking" && note["words"] == "the name on the mask is cut"
    };
    let kept = notes.as_array().expect("notes").iter().filter(is_reason).count();
    assert_eq!(kept, 3, "{notes}");
    let audit = office.json(&["get", "--verify-all"]);
    assert_eq!(audit["problems"].as_array().map(Vec::len), Some(0));
    assert!(desk.server.smtp().port() > 0);
}

#[test]
fn what_nobody_could_look_at_leaves_only_with_a_reason() {
    let nowhere = TempDir::new().expect("a folder");
    if canvas::FONTS.iter().any(|font| !Path::new(font).exists()) {
        println!("SKIPPED what_nobody_could_look_at_leaves_only_with_a_reason a font is missing");
        return;
    }
    let desk = Desk::new(Some(nowhere.path()));
    let whole = ["show", &desk.case, "--raw", &desk.letter];
    for asks in [&["get", &desk.payslip][..], &["get", &desk.card], &["get", &desk.archive], &whole]
    {
        let (error, hint) = desk.office.fails(asks, 1);
        assert!(error.contains("nobody looked") && error.contains("models"), "{error}");
        assert!(hint.contains("--unmasked") && hint.contains("--no-copy"), "{hint}");
    }
    assert_eq!(desk.unmasked(), 0);
    let (slip, said) = desk.bytes(&[&["get", &desk.payslip, "-o", "-"][..], &WHY].concat());
    assert!(slip == desk.slip && said.contains("the ledger says"), "{said}");
    assert_eq!(desk.unmasked(), 1);
    // Somebody looked, and says what it is.
    desk.office.json(&["who", &desk.case, "--no-copy", &desk.payslip, "it is a payslip"]);
    let (slip, said) = desk.bytes(&["get", &desk.payslip, "-o", "-"]);
    assert!(slip == desk.slip && said.is_empty(), "{said}");
    assert_eq!(desk.unmasked(), 1);
}

/// What takes out anything.
const WHY: [&str; 3] = ["--unmasked", "--reason", "it is needed whole"];

/// With these bytes in the place of those.
fn replaced(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    for at in 0..=file.len() - from.len() {
        if file[at..].starts_with(from) {
            file[at..at + to.len()].copy_from_slice(to);
        }
    }
    file
}

/// A letter with the parts that are given, after a text that is HTML.
fn with_parts(html: &str, parts: &[(&str, &str, Vec<u8>)]) -> String {
    let part = |(name, kind, bytes): &(&str, &str, Vec<u8>)| {
        let coded = BASE64_MIME.encode(bytes).replace("\r\n", "\n");
        format!(
            "--b\nContent-Type: {kind}\nContent-Disposition: attachment; filename={name}\n\
             Content-Transfer-Encoding: base64\n\n{coded}"
        )
    };
    format!(
        "From: Lotte <lotte@example.org>\nSubject: inzage\nMIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n{html}\n{}--b--",
        parts.iter().map(part).collect::<String>()
    )
}

#[test]
fn a_copy_that_lies_deeper_is_found_and_what_cannot_be_looked_into_is_told() {
    let test = "a_copy_that_lies_deeper_is_found_and_what_cannot_be_looked_into_is_told";
    if !can_run(test) {
        return;
    }
    let copy = pictures::picture(Third::Easy, 13).bytes;
    let mut page = canvas::Canvas::new(600, 800, [255; 3]);
    page.text(canvas::Face::Sans, 40.0, (40.0, 100.0), [10; 3], "Arbeidsovereenkomst");
    let page = degrade::jpeg(&page, 80);
    let pages = |card: usize| {
        let one = |nr: usize| if nr == card { copy.clone() } else { page.clone() };
        let file = degrade::pdf(&(1..6).map(one).collect::<Vec<_>>());
        // Pages no larger than a card needs, in as many bytes: each is looked at.
        [(b"[0 0 595 842]", b"[0 0 300 220]"), (b"q 595 0 0 842", b"q 300 0 0 220")]
            .iter()
            .fold(file, |file, (from, to)| replaced(&file, *from, *to))
    };
    let parts = |types: &[u8]| Entry::new(b"[Content_Types].xml", types);
    let word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    let mut scan = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_luma8(400, 300)
        .write_to(&mut scan, image::ImageFormat::Tiff)
        .expect("is written");
    let mut scan = scan.into_inner();
    // A second page, of which nobody knows what it is.
    let first = u32::from_le_bytes(scan[4..8].try_into().expect("four")) as usize;
    let next = first + 2 + 12 * usize::from(u16::from_le_bytes([scan[first], scan[first + 1]]));
    scan[next] = 8;
    let with_card = zip(&[parts(b"<Types/>"), Entry::new(b"word/media/image1.jpeg", &copy)]);
    let locked = || {
        let mut entry = Entry::new(b"kaart.jpg", &copy);
        entry.flags |= 1;
        zip(&[entry])
    };
    let letter = with_parts(
        "<p>Beste</p><img src='data:image/png;base64,iVBORw0KGgo='>",
        &[
            ("kaart.docx", word, with_card),
            (
                "cv.docx",
                word,
                zip(&[parts(b"<Types/>"), Entry::new(b"word/document.xml", b"<w/>")]),
            ),
            ("contract.pdf", "application/pdf", pages(9)),
            ("bundel.pdf", "application/pdf", pages(5)),
            ("scan.tiff", "image/tiff", scan),
            ("oud.doc", "application/msword", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 oud".to_vec()),
            ("a.rar", "application/vnd.rar", b"Rar!\x1a\x07\0 kaart".to_vec()),
            ("dicht.zip", "application/zip", locked()),
            ("dicht.docx", word, locked()),
            ("logo.gif", "image/gif", b"GIF89a logo".to_vec()),
            ("kaart.gif", "image/gif", [b"GIF89a".to_vec(), vec![7; 40_000]].concat()),
            ("logo.bmp", "image/bmp", b"BM logo".to_vec()),
            ("lijst.csv", "text/csv", b"a;b\n".to_vec()),
        ],
    );
    let office = Office::new();
    office.found();
    let server = office.serve();
    office.unlock();
    send(server.smtp(), &letter);
    let case = office.json(&["queue"])["cases"][0]["case"].as_str().expect("a case").to_owned();
    let shown = office.json(&["show", &case]);
    let items = shown["letters"][0]["items"].as_array().expect("items").clone();
    // In the order in which they stand; what was taken out of them follows.
    let names = ["body", "kaart.docx", "cv.docx", "contract.pdf", "bundel.pdf", "scan.tiff"];
    let more = [
        "oud.doc",
        "a.rar",
        "dicht.zip",
        "dicht.docx",
        "logo.gif",
        "kaart.gif",
        "logo.bmp",
        "lijst.csv",
    ];
    let names = [&names[..], &more, &["image1.jpeg"]].concat();
    assert_eq!(items.len(), names.len(), "{items:?}");
    let id = |name: &str| {
        let at = names.iter().position(|one| *one == name).expect("is one of them");
        items[at]["item"].as_str().expect("an id").to_owned()
    };
    // A busy machine may be too slow for one of the looks.
    let get = |name: &str| {
        let arguments = ["get", &id(name), "--json"];
        let is_late = |output: &std::process::Output| {
            let said = String::from_utf8_lossy(&output.stderr);
            said.contains("out of time") || said.contains("the time for it was over")
        };
        let mut tries = (0..TRIES).map(|_| office.run(&arguments));
        tries.find(|output| !is_late(output)).expect("is looked at in time")
    };
    let json = |name: &str| -> Value {
        let output = get(name);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let masked = |name: &str| {
        let got = json(name);
        assert_eq!(got["masked"], true, "{name}: {got}");
    };
    let refused = |name: &str, why: &str| {
        let output = get(name);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(why) && said.contains("--unmasked"), "{name}: {said}");
    };
    let given = |name: &str, remark: Option<&str>| {
        let got = json(name);
        assert_eq!(got["masked"], false, "{name}: {got}");
        let said = got["remark"].as_str();
        let is_said = remark.is_none_or(|remark| said.is_some_and(|said| said.contains(remark)));
        assert!(is_said && (remark.is_some() || said.is_none()), "{name}: {got}");
    };
    // On the last of many pages: it is noted, too, to be forgotten after the decision.
    let is_noted = || {
        let copies = office.json(&["who", &case])["copies"].clone();
        copies.as_array().expect("a list").iter().any(|copy| copy["item"] == id("bundel.pdf"))
    };
    assert!(!is_noted(), "only its first pages were looked at when it came");
    masked("bundel.pdf");
    assert!(is_noted());
    let again = office.json(&["get", &id("bundel.pdf"), "-o", "again.png"]);
    assert_eq!(again["masked"], true, "{again}");
    // Whoever asks what a long file shows has all of it looked at.
    let sees = |name: &str, verdict: &str| {
        let read = || {
            let output = office.run(&["id", "--case", &case, "--json", &id(name)]);
            let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            read["pictures"][0]["verdict"] == verdict
        };
        assert!((0..TRIES).any(|_| read()), "{name} is {verdict}");
    };
    sees("bundel.pdf", "specimen");
    sees("contract.pdf", "not a document");
    // In a text.
    masked("image1.jpeg");
    refused("kaart.docx", "holds a copy of an identity document");
    // Nobody sees into these.
    refused("scan.tiff", "nobody looks behind its first page");
    refused("a.rar", "a kind that is not unpacked");
    refused("dicht.zip", "could not be unpacked");
    refused("dicht.docx", "could not be unpacked");
    refused("kaart.gif", "it is no JPEG");
    refused("logo.bmp", "it is no JPEG");
    // That of two office documents one was not taken apart the letter does not say.
    for name in ["oud.doc", "body", "cv.docx"] {
        given(name, Some("nobody looked into all of this item"));
    }
    for name in ["contract.pdf", "logo.gif", "lijst.csv"] {
        given(name, None);
    }
    // Nor does any of it go into an answer.
    fs::write(office.path("answer.txt"), "Beste, hierbij.").expect("is written");
    let answer =
        ["answer", &case, "--text", "answer.txt", "--code", "--proof", "in-person:was hier"];
    for (name, why) in [
        ("kaart.docx", "a copy of an identity document"),
        ("image1.jpeg", "a copy of an identity document"),
        ("scan.tiff", "nobody looked"),
        ("a.rar", "nobody looked"),
    ] {
        let (error, _) = office.fails(&[&answer[..], &["--item", &id(name)]].concat(), 1);
        assert!(error.contains(why), "{name}: {error}");
    }
    office.json(&[&answer[..], &["--item", &id("lijst.csv")]].concat());
    office.run(&["lock"]);
}

#[test]
fn the_server_enters_who_had_what_with_the_reason_and_never_half_of_it() {
    let runtime = runtime();
    let world = World::found();
    let server = runtime.block_on(world.serve());
    for nr in 1..3 {
        let letter = letter(nr, 1, 2_000);
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter), [250]);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::Open).expect("lists");
    let of = |at: usize| {
        let letter = &cases[at].letters[0];
        (cases[at].card.case, letter.id(), letter.card.items[0].0)
    };
    let ((case, letter, item), (_, _, other)) = (of(0), of(1));
    let size = server.casebook.store().size();
    let refused = |result: Result<u64, ClientError>, why: &str| match result {
        Err(ClientError::Refused(said)) => assert!(said.contains(why), "{said}"),
        other => panic!("{why}: {:?}", other.map_err(|error| error.to_string())),
    };
    refused(anna.unmask(case, (letter, vec![other]), "why"), "no such item");
    refused(anna.unmask(case, (letter, vec![item, other]), "why"), "no such item");
    refused(anna.unmask(case, (letter, vec![ItemId::random()]), "why"), "no such item");
    refused(anna.unmask(case, (letter, vec![]), "why"), "names its items");
    refused(anna.unmask(case, (letter, vec![item; 5000]), "why"), "too many");
    // A note of this kind by itself would be a reason for nothing.
    let mut alone = Sealing::new(case, Act::Unmask, anna.sealing().expect("an epoch"));
    alone.note(NoteSubject::Unmasking, "why", Some(letter), Vec::new());
    refused(anna.record(alone.finish()), "names its items");
    assert_eq!(server.casebook.store().size(), size, "nothing is entered");

    let first = anna.unmask(case, (letter, vec![item]), "the name is cut").expect("is entered");
    let entered = entries(&server);
    let [unmasked, note] = &entered[first as usize..] else { panic!("two entries") };
    assert_eq!((unmasked.kind, unmasked.case), (Fact::Unmasked, Some(case)));
    assert_eq!((unmasked.letter, unmasked.item), (Some(letter), Some(item)));
    assert_eq!((unmasked.staff, note.kind), (Some(anna.staff), Fact::BoxSealed));
    let notes = anna.notes(case).expect("lists");
    let found = notes.iter().filter(|note| note.detail.subject == NoteSubject::Unmasking);
    let words: Vec<&String> = found.map(|note| note.detail.words.expose()).collect();
    assert_eq!(words, ["the name is cut"]);
    // Whoever reads no items takes none out.
    let mut auditor = world.log_in("olga").expect("logs in");
    let no = auditor.unmask(case, (letter, vec![item]), "why");
    assert!(no.is_err(), "an auditor reads nothing");
    runtime.block_on(server.stop());
}
