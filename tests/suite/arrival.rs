//! Copies of identity documents as letters arrive: read on the way in by one confined child, or at the
//! desk, and one verdict with its reasons. The real program, and pictures of documents that nobody has.

use std::path::Path;
use std::time::{Duration, Instant};

use data_encoding::BASE64_MIME;
use pictures::card::{self, Card, SCALE};
use pictures::chance::Chance;
use pictures::{Third, Truth, canvas, degrade};
use serde_json::{Value, json};

use crate::cli::{Office, Server};
use crate::containers::{Entry as ZipEntry, zip};
use crate::heif::heic;
use crate::id_pictures::{claiming, fonts, models};
use crate::mail_client::Client as Sender;
use crate::opened::{PERSON, armored, pgp_mime};
use crate::openpgp::Gpg;
use crate::thief::{Search, files};
use crate::way::skipped;

const MAILBOX: &str = "backoffice@jobexpert.be";
/// The most that a letter may take, whatever is in it: less than senders wait.
const LONGEST: Duration = Duration::from_secs(50);
/// How often a letter is sent whose pictures found no time.
const TRIES: u32 = 4;
/// Where the seeds of these cards begin.
const SEED: u64 = 0x6b6c_7569_7306_0000;

/// Somebody's card: photos of its front and of its back, as large as an attachment that converges.
struct Paper {
    truth: Truth,
    front: Vec<u8>,
    back: Vec<u8>,
}

impl Paper {
    /// The `nr`th one. The word that says what all of these cards are is painted over: the verdict of
    /// a specimen is that it is one.
    fn of(nr: u64) -> Self {
        let found = (0..).map(|more| {
            let mut chance = Chance::new(SEED + 1000 * nr + more);
            card::any(&mut chance, None)
        });
        let is_wanted = |card: &Card| card.kind == "be old, both sides";
        let mut card = found.into_iter().find(is_wanted).expect("one in a few is");
        for (side, [x, y, width, height]) in
            card.sides.iter_mut().zip([[58.0, 41.0, 27.0, 6.5], [33.0, 21.5, 34.0, 7.0]])
        {
            let mm = |length: f32| (length * SCALE) as i32;
            side.canvas.rectangle(mm(x), mm(y), mm(width), mm(height), [236; 3]);
        }
        let photo = |side: usize| {
            let sides = vec![card.sides[side].clone()];
            let mut chance = Chance::new(SEED + nr);
            let one = Card { sides, ..card.clone() };
            degrade::photographed(&mut chance, Third::Easy, one).bytes
        };
        Self { front: photo(0), back: photo(1), truth: card.truth }
    }

    fn name(&self) -> String {
        format!("{} {}", self.truth.given_names, self.truth.surname)
    }
}

/// A mail with files.
fn mail(from: &str, text: &str, files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut mail = format!(
        "From: {from}\r\nTo: {MAILBOX}\r\nSubject: vraag\r\nMIME-Version: 1.0\r\n\
         Message-ID: <{}.{}@example.org>\r\n\
         Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n",
        from.len() + text.len(),
        files.iter().map(|(_, _, bytes)| bytes.len()).sum::<usize>(),
    );
    for (name, kind, bytes) in files {
        let encoded = BASE64_MIME.encode(bytes);
        mail.push_str(&format!(
            "--b\r\nContent-Type: {kind}; name=\"{name}\"\r\n\
             Content-Disposition: attachment; filename=\"{name}\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n"
        ));
    }
    mail.push_str("--b--\r\n");
    mail.into_bytes()
}

/// An office with a server, and a member at the desk.
struct Desk {
    office: Office,
    server: Option<Server>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.office.run(&["lock"]);
    }
}

impl Desk {
    /// With the models in this folder on the server's side; the member has those of the machine.
    fn new(models: Option<&Path>) -> Self {
        let mut office = Office::new();
        office.found();
        if let Some(models) = models {
            office.with(&[("KLUIS_MODELS", models.to_str().expect("is text"))]);
        }
        let server = office.serve();
        office.with(&[]);
        office.unlock();
        Self { office, server: Some(server) }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("serves")
    }

    /// A letter comes and is kept, byte for byte; gives its case, and how long it took.
    fn letter(&self, raw: &[u8]) -> (String, Duration) {
        let before = self.cases();
        let begun = Instant::now();
        let mut sender = Sender::greet(self.server().smtp(), false).expect("greets");
        let answers = sender.send("lotte@example.org", &[MAILBOX], raw).expect("answers");
        assert_eq!(answers[0].code, 250);
        let took = begun.elapsed();
        assert!(took < LONGEST, "{took:?}");
        let new: Vec<String> =
            self.cases().into_iter().filter(|case| !before.contains(case)).collect();
        let [case] = &new[..] else { panic!("one case more, not {}", new.len()) };
        let shown = self.show(case);
        let letter = shown["letters"][0]["letter"].as_str().expect("an id");
        // A letter with a copy leaves whole with a reason only.
        let whole = ["--raw", letter, "--unmasked", "--reason", "byte for byte"];
        let kept = self.office.run(&[&["show", case][..], &whole].concat()).stdout;
        assert!(kept == raw, "the letter is whole");
        (case.clone(), took)
    }

    /// The same until its pictures were read: on a machine that does much else the time for them may be
    /// little. A letter that was not read is out of the way then.
    fn read(&self, raw: &[u8]) -> (String, Duration, Value) {
        for nr in 1..=TRIES {
            let raw = [format!("X-Try: {nr}\r\n").as_bytes(), raw].concat();
            let (case, took) = self.letter(&raw);
            let shown = self.show(&case);
            let is_late = shown["identity"]["not_read"] != 0
                || shown["identity"].to_string().contains("ran out of time");
            if !is_late || nr == TRIES {
                return (case, took, shown);
            }
            self.close_case(&case);
        }
        unreachable!("the last one is given")
    }

    fn close_case(&self, case: &str) {
        self.office.json(&["decide", case, "geen antwoord nodig"]);
        self.office.json(&["close", case, "niet de betrokkene"]);
    }

    fn cases(&self) -> Vec<String> {
        let queue = self.office.json(&["queue"]);
        let cases = queue["cases"].as_array().expect("a list");
        cases.iter().map(|case| case["case"].as_str().expect("a number").to_owned()).collect()
    }

    fn show(&self, case: &str) -> Value {
        self.office.json(&["show", case])
    }

    fn text(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.office.run(arguments).stdout).expect("UTF-8")
    }

    /// The JSON of `kluis id --case`, whatever its exit code.
    fn id(&self, case: &str, more: &[&str]) -> Value {
        let output = self.office.run(&[&["id", "--case", case, "--json"], more].concat());
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The same once more where this machine was too busy to read it in its time.
    fn id_in_time(&self, case: &str, more: &[&str]) -> Value {
        let is_late = |read: &Value| {
            read["verdict"] == "not read" || read.to_string().contains("ran out of time")
        };
        let mut tries = (0..TRIES).map(|_| self.id(case, more));
        tries.find(|read| !is_late(read)).expect("is read in its time")
    }

    /// The entries that say that something of a case is a copy: of each whether it names a member. None of
    /// these members said so: a reader did, theirs or the server's.
    fn noted(&self, case: &str) -> Vec<bool> {
        let copies = self.office.json(&["who", case])["copies"].clone();
        assert!(
            copies.as_array().expect("a list").iter().all(|copy| copy["by"].is_null()),
            "{copies}"
        );
        let log = self.text(&["audit", "log", "--json", "--case", case]);
        let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let is_copy = |entry: &Value| {
            entry.as_object().expect("an entry").values().any(|value| value == "identity copy")
        };
        entries.filter(is_copy).map(|entry| !entry["staff"].is_null()).collect()
    }

    /// Children of the server that read pictures.
    fn readers(&self) -> usize {
        let parent = format!("PPid:\t{}", self.server().process());
        let processes = std::fs::read_dir("/proc").expect("is listed");
        let is_reader = |place: &Path| {
            let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap_or_default();
            read("status").lines().any(|line| line == parent)
                && read("cmdline").contains("confined-look")
        };
        processes.filter_map(Result::ok).filter(|entry| is_reader(&entry.path())).count()
    }

    /// Stops; neither the log nor anything that rests says what these papers say.
    fn close(mut self, papers: &[&Paper]) {
        let log = self.server.take().expect("serves").stop();
        let words: Vec<(&str, &str)> = papers
            .iter()
            .flat_map(|paper| {
                let Truth { document_number, lines, .. } = &paper.truth;
                [("number", document_number.as_str()), ("zone", lines[0].as_str())]
            })
            .collect();
        let search = Search::for_words(words);
        assert_eq!(search.find(log.as_bytes()), [""; 0]);
        for paper in papers {
            assert!(!log.contains(&paper.truth.surname), "the log names somebody");
        }
        for file in files(&self.office.path("vault")) {
            let bytes = std::fs::read(&file).expect("is read");
            assert_eq!(search.find(&bytes), [""; 0], "{}", file.display());
        }
    }
}

fn first(shown: &Value) -> &Value {
    &shown["identity"]["pictures"][0]
}

#[test]
fn a_copy_is_read_as_it_comes_and_held_against_what_the_letter_says() {
    let name = "a_copy_is_read_as_it_comes_and_held_against_what_the_letter_says";
    let Some(models) = models(name).filter(|_| fonts(name)) else { return };
    let desk = Desk::new(Some(&models));
    let (lotte, other) = (Paper::of(0), Paper::of(1));
    an_ordinary_letter_starts_no_reader(&desk);
    let own = of_its_sender(&desk, &lotte);
    of_somebody_else_and_in_two_cases(&desk, &lotte, &own);
    of_nobody_who_is_named(&desk, &other);
    in_an_archive(&desk, &other);
    on_two_pictures(&desk, &other);
    let end = Instant::now() + Duration::from_secs(30);
    while desk.readers() > 0 {
        assert!(Instant::now() < end, "a child that has nothing to do does not stay");
        std::thread::sleep(Duration::from_millis(100));
    }
    desk.close(&[&lotte, &other]);
}

fn an_ordinary_letter_starts_no_reader(desk: &Desk) {
    let text = "%PDF-1.7 is wat ik wil: een PDF van al mijn gegevens.";
    let (case, took) = desk.letter(&mail("Lotte Peeters <lotte@example.org>", text, &[]));
    println!("without a picture: {took:?}");
    assert_eq!(desk.readers(), 0);
    let shown = desk.show(&case);
    assert_eq!(shown["identity"]["verdict"], "absent");
    assert!(desk.text(&["show", &case]).contains("identity absent: no copy"));
}

fn of_its_sender(desk: &Desk, paper: &Paper) -> String {
    let from = format!("{} <lotte@example.org>", paper.name());
    let files = [("kaart.jpg", "image/jpeg", &paper.back[..])];
    let (case, took, shown) = desk.read(&mail(&from, "Graag inzage.", &files));
    println!("with one card: {took:?}");
    assert!(desk.readers() <= 1, "one child for the whole server");
    assert_eq!(shown["identity"]["verdict"], "consistent", "{}", shown["identity"]);
    let evidence = &first(&shown)["evidence"];
    let said =
        |field: &str| (evidence[field]["standing"].clone(), evidence[field]["reason"].clone());
    let by_letter = (json!("consistent"), json!("the letter gives the same name"));
    assert_eq!((said("surname"), said("given_names")), (by_letter.clone(), by_letter));
    assert_eq!(said("document_number").0, "consistent");
    assert_eq!(shown["pictures"]["documents"], 1);
    assert_eq!(desk.noted(&case), [false], "in the ledger, and no member said so");

    // What `show` prints is no number and nothing of the card.
    let text = desk.text(&["show", &case]);
    assert!(text.contains("consistent: nothing contradicts anything"), "{text}");
    let number = &paper.truth.document_number;
    assert!(!text.contains(number) && !shown.to_string().contains(number));
    assert!(
        !text.contains(&paper.truth.birth_date)
            && !shown.to_string().contains(&paper.truth.birth_date)
    );

    let read = desk.id(&case, &[]);
    assert_eq!(read["pictures"][0]["fields"]["surname"], paper.truth.surname);
    assert_eq!(read["pictures"][0]["read_now"], false, "the picture was not opened");
    assert!(!read.to_string().contains(number));
    let dutch = desk.text(&["id", "--case", &case, "--language", "nl"]);
    assert!(dutch.contains("de brief geeft dezelfde naam") && !dutch.contains(number), "{dutch}");

    let who = desk.office.json(&["who", &case]);
    assert_eq!(who["available"][0]["kind"], "id");
    assert_eq!(who["available"][0]["verdict"], "consistent");
    assert_eq!(
        (&who["reaches"], &who["accepted"]),
        (&json!("L0"), &json!([])),
        "nobody accepted it"
    );
    case
}

fn of_somebody_else_and_in_two_cases(desk: &Desk, paper: &Paper, own: &str) {
    let files = [("id.jpg", "image/jpeg", &paper.back[..])];
    let (case, _, shown) =
        desk.read(&mail("Karel Vandersmissen <karel@example.org>", "Zie bijlage.", &files));
    assert_eq!(shown["identity"]["verdict"], "inconsistent", "{}", shown["identity"]);
    assert_eq!(shown["identity"]["inconsistent"], json!(["name"]));
    let text = desk.text(&["show", &case]);
    assert!(text.contains("inconsistent (name): there are contradictions"), "{text}");
    assert!(text.contains(&format!("the same picture came in case {own}")), "{text}");
    assert_eq!(first(&shown)["also_in"], json!([own]));
    assert_eq!(first(&desk.show(own))["also_in"], json!([case]));
    let who = desk.text(&["who", &case, "--language", "en"]);
    assert!(who.contains("inconsistent (name)") && who.contains(own), "{who}");
    // Not of a closed one.
    desk.close_case(&case);
    assert_eq!(first(&desk.show(own))["also_in"], json!([]));
}

fn of_nobody_who_is_named(desk: &Desk, paper: &Paper) {
    let files = [("id.jpg", "image/jpeg", &paper.back[..])];
    let (_, _, shown) = desk.read(&mail("<x@example.org>", "Zie bijlage.", &files));
    assert_eq!(shown["identity"]["verdict"], "consistent", "{}", shown["identity"]);
    assert_eq!(first(&shown)["evidence"]["surname"]["standing"], "unproven");
    // Below the letter, and in it.
    let below = format!("Zie bijlage.\r\n\r\nMet vriendelijke groeten\r\n{}", paper.name());
    let inside = format!("Voor mijn moeder, {}, die geen computer heeft.", paper.name());
    for text in [below, inside] {
        let (_, _, shown) = desk.read(&mail("privacy <x@example.org>", &text, &files));
        assert_eq!(first(&shown)["evidence"]["surname"]["standing"], "consistent", "{text}");
    }
    // What somebody else wrote, and this letter encloses.
    let enclosed =
        format!("Subject: kaart\r\n\r\nMet vriendelijke groeten\r\n{}\r\n", paper.name());
    let files = [files[0], ("brief.eml", "message/rfc822", enclosed.as_bytes())];
    let (_, _, shown) = desk.read(&mail("privacy <x@example.org>", "Zie bijlagen.", &files));
    assert_eq!(first(&shown)["evidence"]["surname"]["standing"], "unproven");
}

fn in_an_archive(desk: &Desk, paper: &Paper) {
    let archive = zip(&[ZipEntry::new(b"scan/kaart.jpg", &paper.back)]);
    let files = [("papieren.zip", "application/zip", &archive[..])];
    let (_, _, shown) =
        desk.read(&mail(&format!("{} <x@example.org>", paper.name()), "Zie zip.", &files));
    assert_eq!(shown["identity"]["verdict"], "consistent", "{}", shown["identity"]);
    let items = shown["letters"][0]["items"].as_array().expect("a list");
    let item = items.iter().find(|item| item["item"] == first(&shown)["item"]).expect("is listed");
    assert!(!item["container"].is_null(), "it was taken out of the archive");
}

fn on_two_pictures(desk: &Desk, paper: &Paper) {
    let files = [
        ("voor.jpg", "image/jpeg", &paper.front[..]),
        ("achter.jpg", "image/jpeg", &paper.back[..]),
    ];
    let (_, took, shown) = desk.read(&mail("<x@example.org>", "Zie bijlagen.", &files));
    println!("with two pictures: {took:?}");
    let pictures = shown["identity"]["pictures"].as_array().expect("a list");
    assert_eq!(pictures.len(), 2, "{}", shown["identity"]);
    assert_eq!(pictures[0]["other_side"], pictures[1]["item"], "{}", shown["identity"]);
    assert_eq!(pictures[1]["other_side"], pictures[0]["item"]);
    for picture in pictures {
        assert_eq!(picture["verdict"], "consistent");
        assert_eq!(
            picture["evidence"]["birth_date"]["reason"],
            "the front of the document says the same"
        );
    }
}

#[test]
fn broken_files_and_bombs_are_told_and_the_letter_is_kept_whole() {
    let name = "broken_files_and_bombs_are_told_and_the_letter_is_kept_whole";
    let Some(models) = models(name).filter(|_| fonts(name)) else { return };
    let desk = Desk::new(Some(&models));
    let process = desk.server().process();
    let jpeg = degrade::jpeg(&canvas::Canvas::new(400, 300, [200; 3]), 80);
    let looping =
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type \
        /Pages /Kids [2 0 R 2 0 R] /Count 2 >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n";
    let script =
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /OpenAction << /S /JavaScript /JS (app.alert\
        (1)) >> /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n\
        trailer\n<< /Root 1 0 R >>\n%%EOF\n";
    let mut polyglot = degrade::pdf(std::slice::from_ref(&jpeg));
    polyglot.splice(0..0, b"GIF89a".iter().copied());
    let claim = claiming(16_384, 16_384);
    let files: [(&str, &str, &[u8]); 6] = [
        ("groot.png", "image/png", &claim),
        ("half.jpg", "image/jpeg", &jpeg[..jpeg.len() / 3]),
        ("begin.jpg", "image/jpeg", &jpeg[..20]),
        ("lus.pdf", "application/pdf", looping),
        ("script.pdf", "application/pdf", script),
        ("twee.gif", "image/gif", &polyglot),
    ];
    let raw = mail("Lotte Peeters <l@example.org>", "Zie bijlagen.", &files);
    let (case, took, shown) = desk.read(&raw);
    println!("six broken files: {took:?}");
    assert_eq!(shown["identity"]["not_read"], 0, "{}", shown["identity"]);
    let items = shown["letters"][0]["items"].as_array().expect("a list");
    let told = |nr: usize| {
        let item = &items[nr + 1]["item"];
        let pictures = shown["identity"]["pictures"].as_array().expect("a list");
        let picture = pictures.iter().find(|picture| picture["item"] == *item);
        picture.map(|picture| (picture["verdict"].clone(), picture["reason"].clone()))
    };
    let unreadable = |why: &str| Some((json!("unreadable"), json!(why)));
    assert_eq!(told(0), unreadable("it claims more than 50 million pixels"));
    assert_eq!(told(2), unreadable("it is damaged"));
    assert_eq!(told(3), unreadable("it is damaged"));
    assert_eq!(told(4), unreadable("it is damaged"));
    let text = desk.text(&["show", &case]);
    assert!(
        text.contains("unreadable: unreadable, it claims more than 50 million pixels"),
        "{text}"
    );
    assert_eq!(desk.noted(&case), [false; 0], "none of them is a copy");
    // It goes on as before.
    assert_eq!(desk.server().process(), process);
    desk.letter(&mail("Lotte Peeters <l@example.org>", "Nog iets.", &[]));
    desk.close(&[]);
}

#[test]
fn a_picture_of_a_phone_is_read_as_it_comes() {
    let name = "a_picture_of_a_phone_is_read_as_it_comes";
    let Some(models) = models(name).filter(|_| fonts(name)) else { return };
    let paper = Paper::of(4);
    let Some(phone) = heic(name, &paper.back) else { return };
    let desk = Desk::new(Some(&models));
    let from = format!("{} <x@example.org>", paper.name());
    for kind in ["image/heic", "application/octet-stream"] {
        let (case, _, shown) =
            desk.read(&mail(&from, "Zie bijlage.", &[("kaart.heic", kind, &phone)]));
        assert_eq!(shown["identity"]["verdict"], "consistent", "{}", shown["identity"]);
        assert_eq!(desk.noted(&case), [false], "by the server");
        desk.close_case(&case);
    }
    desk.close(&[&paper]);
}

#[test]
fn a_hundred_pictures_cost_one_letter_no_more_than_its_time() {
    let name = "a_hundred_pictures_cost_one_letter_no_more_than_its_time";
    let Some(models) = models(name).filter(|_| fonts(name)) else { return };
    let desk = Desk::new(Some(&models));
    let pictures: Vec<Vec<u8>> = (0..100)
        .map(|nr| {
            let mut page = canvas::Canvas::new(700, 500, [230; 3]);
            for line in 0..12 {
                let text = format!("factuur {nr} regel {line} bedrag 12,50");
                let at = (30.0, 40.0 + 36.0 * line as f32);
                page.text(canvas::Face::Sans, 24.0, at, [20; 3], &text);
            }
            degrade::jpeg(&page, 80)
        })
        .collect();
    let files: Vec<(&str, &str, &[u8])> =
        pictures.iter().map(|bytes| ("f.jpg", "image/jpeg", bytes.as_slice())).collect();
    let (case, took) = desk.letter(&mail("Lotte Peeters <l@example.org>", "Zie bijlagen.", &files));
    println!("a hundred pictures: {took:?}");
    let shown = desk.show(&case);
    let not_read = shown["identity"]["not_read"].as_u64().expect("a number");
    assert!((92..=100).contains(&not_read), "{not_read}");
    // One that was begun when the time was over is unreadable, or no other letter would have a place.
    let count = |what: &str| shown["pictures"][what].as_u64().expect("a number");
    assert_eq!(count("others") + count("unreadable"), 100 - not_read, "{}", shown["pictures"]);
    assert_eq!(shown["identity"]["verdict"], "not read");
    assert_eq!(desk.noted(&case), [false; 0]);
}

#[test]
fn without_models_letters_are_kept_and_a_copy_is_read_at_the_desk() {
    let name = "without_models_letters_are_kept_and_a_copy_is_read_at_the_desk";
    if models(name).is_none() || !fonts(name) {
        return;
    }
    let nowhere = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(Some(nowhere.path()));
    let paper = Paper::of(2);
    let files = [("kaart.jpg", "image/jpeg", &paper.back[..])];
    let from = format!("{} <x@example.org>", paper.name());
    let (case, _) = desk.letter(&mail(&from, "Zie bijlage.", &files));
    let shown = desk.show(&case);
    assert_eq!(shown["identity"]["verdict"], "not read");
    assert_eq!(shown["pictures"]["not_read"], 1);
    assert!(desk.text(&["show", &case]).contains("identity not read: 1 picture"));
    assert_eq!(desk.noted(&case), [false; 0]);
    // A member without the models is told what is missing.
    desk.office.with(&[("KLUIS_MODELS", nowhere.path().to_str().expect("is text"))]);
    let read = desk.id(&case, &[]);
    assert_eq!(read["verdict"], "not read");
    assert!(read["reason"].as_str().is_some_and(|why| why.contains("--fetch-models")), "{read}");
    // One with them reads it, and it is forgotten after the decision like any other.
    desk.office.with(&[]);
    let read = desk.id_in_time(&case, &[]);
    assert_eq!((&read["verdict"], &read["noted"]), (&json!("consistent"), &json!(true)), "{read}");
    assert_eq!(read["pictures"][0]["read_now"], true);
    assert_eq!(desk.noted(&case), [true]);
    let item = read["pictures"][0]["item"].as_str().expect("an id");
    assert_eq!(desk.show(&case)["copies"][0]["item"], item);
    let again = desk.id_in_time(&case, &[&item[..8]]);
    assert_eq!((&again["verdict"], &again["noted"]), (&json!("consistent"), &json!(null)));
    assert_eq!(desk.noted(&case), [true], "once");
    let log = desk.server.take().expect("serves").stop();
    let told = log.lines().filter(|line| line.contains("are not read")).count();
    assert_eq!(told, 1, "{log}");
}

#[test]
fn a_copy_in_an_encrypted_letter_is_read_by_who_opens_it() {
    let name = "a_copy_in_an_encrypted_letter_is_read_by_who_opens_it";
    let Some(models) = models(name).filter(|_| fonts(name)) else { return };
    let Some(gpg) = Gpg::new() else { return skipped(name, "gpg is not installed") };
    let desk = Desk::new(Some(&models));
    gpg.generate(PERSON, &["future-default", "default", "0"]);
    let certificate = std::fs::read(desk.office.path("vault/mailbox.asc")).expect("is read");
    gpg.run(&["--import"], &certificate);
    let paper = Paper::of(3);
    let from = format!("{} <{PERSON}>", paper.name());
    let inner = mail(&from, "Zie bijlage.", &[("kaart.jpg", "image/jpeg", &paper.back)]);
    let sent = pgp_mime("...", &armored(&gpg, &["-r", MAILBOX], &inner));
    // Once more where this machine was too busy to read it in its time.
    let opened = || {
        let before = desk.cases();
        let mut sender = Sender::greet(desk.server().smtp(), false).expect("greets");
        let again = [format!("X-Try: {}\r\n", before.len()).as_bytes(), &sent].concat();
        let answers = sender.send(PERSON, &[MAILBOX], &again).expect("answers");
        assert_eq!(answers[0].code, 250);
        assert_eq!(desk.readers(), 0, "the server sees nothing");
        let case = desk.cases().into_iter().find(|case| !before.contains(case)).expect("a case");
        let shown = desk.show(&case);
        assert_eq!(desk.readers(), 0);
        let is_late = shown["identity"]["not_read"] != 0
            || shown["identity"].to_string().contains("ran out of time");
        if is_late {
            desk.close_case(&case);
        }
        (!is_late).then_some((case, shown))
    };
    let (case, shown) = (0..TRIES).find_map(|_| opened()).expect("it is read in its time");
    assert_eq!(shown["identity"]["verdict"], "consistent", "{}", shown["identity"]);
    assert_eq!(first(&shown)["evidence"]["surname"]["standing"], "consistent");
    assert_eq!(desk.noted(&case), [true], "by whoever opened it");
    desk.close(&[&paper]);
}

/// What stood on a card and is nobody's name: the lines of its zone, its number, the national number.
#[cfg(kluis_lab)]
fn numbers_on(paper: &Paper) -> Search {
    let Truth { lines, document_number, .. } = &paper.truth;
    // The national number stands in the second line, behind the letters of the state.
    let national = lines[1].split_once("BEL").expect("a Belgian card").1[..11].to_owned();
    let part = |from: usize, to: usize| &national[from..to];
    let written =
        format!("{}.{}.{}-{}.{}", part(0, 2), part(2, 4), part(4, 6), part(6, 9), part(9, 11));
    // The third line is a name.
    Search::for_words([
        ("number", document_number.as_str()),
        ("national number", &national),
        ("national number, written", &written),
        ("first line", &lines[0]),
        ("second line", &lines[1]),
    ])
}

#[cfg(kluis_lab)]
#[test]
fn what_a_machine_marked_is_nowhere_once_its_time_after_the_decision_is_over() {
    use kluis::keys::passphrase::Passphrase;
    use kluis::keys::staff::StaffKey;
    use kluis::staff::agent::Opener;
    use kluis::staff::client::Client;

    let name = "what_a_machine_marked_is_nowhere_once_its_time_after_the_decision_is_over";
    let Some(models) = models(name).filter(|_| fonts(name)) else { return };
    let mut desk = Desk::new(Some(&models));
    let paper = Paper::of(4);
    let search = numbers_on(&paper);
    // By itself and in an archive, with words beside it that stay.
    let archive = zip(&[ZipEntry::new(b"kaart.jpg", &paper.back)]);
    let sent = [
        ("kaart.jpg", "image/jpeg", &paper.back[..]),
        ("kaart.zip", "application/zip", &archive[..]),
    ];
    let (case, _, shown) =
        desk.read(&mail(&format!("{} <x@example.org>", paper.name()), "Graag inzage.", &sent));
    assert_eq!(shown["identity"]["verdict"], "consistent", "{}", shown["identity"]);
    assert_eq!(desk.noted(&case), [false; 2], "a machine marked both, and no member");
    desk.office.json(&["decide", &case, "inzage gegeven"]);

    // Everything that a member of staff can have of it, as bytes: what is in the boxes, and what is printed.
    let in_boxes = |desk: &Desk, search: &Search| {
        let key = StaffKey::unlock(
            &desk.office.path("keys/staff1.key"),
            &Passphrase::new("four words are good".into()),
        );
        let opener = Opener::Key(key.expect("unlocks"));
        let socket = desk.office.path("vault/kluis.sock");
        let mut client = Client::connect(&socket, "staff1", opener, None).expect("logs in");
        crate::copies::told(&mut client, search)
    };
    let printed = |desk: &Desk| {
        let id = desk.id(&case, &[]).to_string();
        let commands: [&[&str]; 5] = [
            &["show", &case, "--json"],
            &["show", &case, "--numbers", "--json"],
            &["who", &case, "--json"],
            &["queue", "--all", "--json"],
            &["audit", "log", "--json"],
        ];
        commands.iter().map(|command| desk.text(command)).chain([id]).collect::<String>()
    };
    let in_files = |desk: &Desk| {
        let folders = ["vault", "home"].map(|folder| desk.office.path(folder));
        let files = folders.iter().flat_map(|folder| files(folder));
        // The server tidies meanwhile: what goes in between is nowhere.
        let all = files.map(|file| std::fs::read(file).unwrap_or_default());
        all.flat_map(|bytes| search.find(&bytes).into_iter().map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };

    // The search finds each of them, as long as the copy is there.
    let before = in_boxes(&desk, &search);
    for word in ["national number", "first line", "second line"] {
        assert!(
            before.iter().any(|found| found.contains(&format!(": {word}: "))),
            "{word}: {before:?}"
        );
    }
    assert!(printed(&desk).contains(&paper.truth.birth_date), "what is read is shown");
    let planted = desk.office.path("home/planted");
    std::fs::write(&planted, paper.truth.lines.join("\n")).expect("is written");
    assert!(!in_files(&desk).is_empty());
    std::fs::remove_file(planted).expect("is removed");

    let mut log = desk.server.take().expect("serves").stop();
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let later = (now.as_secs() + 73 * 3_600).to_string();
    desk.office.with(&[
        ("KLUIS_MODELS", models.to_str().expect("is text")),
        ("KLUIS_LAB_TIME", &later),
        ("KLUIS_LAB_HURRY", "300"),
    ]);
    desk.server = Some(desk.office.serve());
    desk.office.with(&[]);
    let end = Instant::now() + Duration::from_secs(90);
    let is_gone = |desk: &Desk| {
        let copies = desk.show(&case)["copies"].clone();
        copies.as_array().expect("a list").iter().all(|copy| copy["forgotten"].is_string())
    };
    while !is_gone(&desk) {
        assert!(Instant::now() < end, "its time is over");
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(in_boxes(&desk, &search), Vec::<String>::new());
    // What the file was called stands in the header, which is to be forgotten by itself.
    let name = Search::for_words([("name", "kaart.jpg")]);
    let log_of_case = desk.text(&["audit", "log", "--json", "--case", &case]);
    let places = in_boxes(&desk, &name).into_iter().filter_map(|place| {
        let (what, id) = place.split(':').next()?.rsplit_once(' ')?;
        log_of_case.contains(id).then(|| (what.to_owned(), id.to_owned()))
    });
    let mut places: Vec<(String, String)> = places.collect();
    places.dedup();
    let [(what, skeleton)] = &places[..] else { panic!("it stands in one place: {places:?}") };
    assert_eq!(what, "item");
    assert!(!desk.show(&case).to_string().contains(skeleton), "it is not listed");
    let dry = ["forget", &case, skeleton, "--reason", "een naam", "--dry-run"];
    desk.office.json(&dry);
    let said = printed(&desk);
    assert_eq!(search.find(said.as_bytes()), [""; 0]);
    assert!(!said.contains(&paper.truth.birth_date), "{said}");
    assert!(desk.text(&["show", &case]).contains("Graag inzage."), "what they ask is there");
    assert_eq!(in_files(&desk), Vec::<String>::new());
    log += &desk.server.take().expect("serves").stop();
    assert_eq!(search.find(log.as_bytes()), [""; 0]);
}

#[test]
fn a_reader_that_fails_again_and_again_is_told_of_once_and_counted() {
    let name = "a_reader_that_fails_again_and_again_is_told_of_once_and_counted";
    let Some(models) = models(name) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let copies = ["ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx"];
    for file in copies {
        std::fs::copy(models.join(file), folder.path().join(file)).expect("is copied");
    }
    let mut desk = Desk::new(Some(folder.path()));
    let looked = |desk: &Desk| desk.office.json(&["keys", "status"])["pictures"].clone();
    let none = json!({ "read": 0, "failed": 0, "passed_over": 0, "failing": false });
    assert_eq!(looked(&desk), none);
    copies.iter().for_each(|file| std::fs::remove_file(folder.path().join(file)).expect("goes"));
    let jpeg = degrade::jpeg(&canvas::Canvas::new(400, 300, [200; 3]), 80);
    for nr in 1..=4 {
        let text = format!("Zie bijlage {nr}.");
        let files = [("foto.jpg", "image/jpeg", &jpeg[..])];
        let (case, _) = desk.letter(&mail("Lotte Peeters <l@example.org>", &text, &files));
        assert_eq!(desk.show(&case)["identity"]["verdict"], "not read");
        let said = looked(&desk);
        assert_eq!((&said["failed"], &said["failing"]), (&json!(nr), &json!(nr >= 3)), "{said}");
    }
    assert!(desk.text(&["keys", "status"]).contains("0 read, 4 failed"));
    let log = desk.server.take().expect("serves").stop();
    let told = log.lines().filter(|line| line.contains("one after another")).count();
    assert_eq!(told, 1, "{log}");
}
