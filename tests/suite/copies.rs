//! Copies of identity documents: used once, kept until the case is decided and the time of the policy is
//! over, and then forgotten by the server itself. Afterwards nothing that stood on the card is anywhere,
//! and it is known who checked it, and when.

#[cfg(kluis_lab)]
#[path = "copies/by_the_clock.rs"]
mod by_the_clock;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kluis::casebook::copies::SEEN_AGAIN;
use kluis::casebook::detail::{ItemDetail, NoteSubject, to_bytes};
use kluis::casebook::{Act, Casebook};
use kluis::identity::ladder;
use kluis::ids::{CaseId, ItemId};
use kluis::ledger::entry::Fact;
use kluis::reply::Language;
use kluis::staff::answers::{self, Draft};
use kluis::staff::client::{Client, Error};
use kluis::staff::copies;
use kluis::staff::letters::{self, Outcome};
use kluis::staff::sealing::Sealing;
use kluis::staff::who;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::backup::{
    accept, back_up, lose, note, replay_with, restore_with, verify as verify_backup,
};
use crate::containers::{Entry as ZipEntry, zip};
use crate::forget::{encrypted, recording};
use crate::inside::{deliver_one, named};
use crate::opened::open_with;
use crate::scan::run;
use crate::thief::Search;
use crate::way::{entries, runtime};
use crate::world::{Server, World};

/// 2 November 2026, ten in the morning in Brussels.
const START: u64 = 1_793_610_000;
const HOUR: u64 = 3_600;

/// What stands on the card of nobody.
const ZONE: [&str; 3] = [
    "IDBEL591191706<4586<<<<<<<<<<<",
    "8507300F2801014BEL850730033289",
    "PEETERS<<LOTTE<ANNA<<<<<<<<<<<",
];
const NUMBERS: [&str; 4] = ["85.07.30-033.28", "85073003328", "591-1917064-58", "591191706458"];
/// What a picture is made of, as far as a search is concerned.
const PIXELS: &str = "picture of a card that nobody has";

/// A picture of the card.
fn card() -> Vec<u8> {
    let told: Vec<&str> = ZONE.into_iter().chain(NUMBERS).chain([PIXELS]).collect();
    [&b"\xff\xd8\xff\xe0"[..], told.join("\n").as_bytes()].concat()
}

/// Everything of the card, in whatever form.
fn search() -> Search {
    let told = ZONE.into_iter().chain(NUMBERS).chain([PIXELS]);
    Search::for_words(told.map(|word| (word, word)))
}

/// What a member sees that tells something of the card: in every box that opens, in what the program
/// prints, and in the raw letters.
pub(crate) fn told(client: &mut Client, search: &Search) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |what: String, bytes: &[u8]| {
        let names = search.find(bytes);
        found.extend(names.into_iter().map(|name| format!("{what}: {name}")));
    };
    for case in client.queue(kluis::casebook::Filter::All).expect("lists") {
        for letter in &case.letters {
            let detail = letter.detail.as_ref().expect("a letter box opens");
            look(format!("letter {}", letter.id()), &to_bytes(detail));
            for (item, _, is_forgotten) in &letter.card.items {
                match client.look(&[*item]) {
                    Ok(views) => {
                        assert!(!is_forgotten);
                        let view = &views[0];
                        let all = [&view.stored[..], &view.content()[..], view.name.expose()];
                        look(format!("item {item}"), &all.concat());
                        if let ItemDetail::Leaf(leaf) = &view.detail {
                            look(format!("text of {item}"), &to_bytes(leaf));
                        }
                    }
                    Err(Error::Forgotten) => assert!(is_forgotten),
                    Err(other) => panic!("{other}"),
                }
            }
        }
        for note in client.notes(case.card.case).expect("opens") {
            look("a note".into(), &to_bytes(&note.detail));
        }
    }
    found
}

/// A letter with these files.
fn letter(subject: &str, files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut raw = format!(
        "From: Lotte Peeters <lotte@client.example>\r\nSubject: {subject}\r\n\
         Message-ID: <{subject}@client.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nGraag inzage.\r\n"
    );
    for (media_type, name, content) in files {
        let coded = data_encoding::BASE64.encode(content);
        raw.push_str(&format!(
            "--b\r\nContent-Type: {media_type}\r\nContent-Disposition: attachment; \
             filename=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{coded}\r\n"
        ));
    }
    raw.push_str("--b--\r\n");
    raw.into_bytes()
}

const PAYSLIP: &[u8] = b"%PDF-1.4 a payslip of nobody";

fn card_and_payslip(subject: &str) -> Vec<u8> {
    let files = [("image/jpeg", "card.jpg", &card()[..]), ("application/pdf", "slip.pdf", PAYSLIP)];
    letter(subject, &files)
}

/// An agency at work, at an hour of its own.
struct Agency {
    world: World,
    runtime: Runtime,
    server: Option<Server>,
}

impl Agency {
    fn new() -> Self {
        let (world, runtime) = (World::found_at(START), runtime());
        let server = Some(runtime.block_on(world.serve()));
        Self { world, runtime, server }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("serves")
    }

    fn anna(&self) -> Client {
        self.world.log_in("anna").expect("logs in")
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }

    /// It is so many hours after the start, and upkeep has been around.
    fn at_hour(&mut self, hours: u64) {
        self.stop();
        self.world.set_time(START + hours * HOUR);
        let server = self.runtime.block_on(self.world.serve());
        come_round(&server.casebook);
        self.server = Some(server);
    }

    /// A letter comes; gives its case.
    fn takes(&self, raw: &[u8]) -> CaseId {
        deliver_one(self.server(), &mut self.anna(), raw)
    }

    /// The item of this name.
    fn item(&self, case: CaseId, name: &str) -> ItemId {
        let mut anna = self.anna();
        let view = anna.case(case).expect("is there");
        named(&mut anna, &view, name)
    }

    fn says(&self, case: CaseId, item: ItemId, is_copy: bool) -> Vec<ItemId> {
        let mut anna = self.anna();
        let view = anna.case(case).expect("is there");
        copies::mark(&mut anna, &view, item, is_copy, "").expect("is entered").0
    }

    fn does(&self, case: CaseId, act: Act) {
        let mut anna = self.anna();
        let recording = recording(&anna, case, act);
        anna.record(recording).expect("is recorded");
    }

    fn is_there(&self, item: ItemId) -> bool {
        match self.anna().look(&[item]) {
            Ok(_) => true,
            Err(Error::Forgotten) => false,
            Err(other) => panic!("{other}"),
        }
    }

    /// Forgotten by the server itself.
    fn forgotten(&self) -> Vec<ItemId> {
        let entries = entries(self.server());
        let forgotten = entries.iter().filter(|entry| entry.kind == Fact::Forgotten);
        forgotten
            .filter(|entry| entry.item.is_some_and(|item| is_item(&entries, item)))
            .map(|entry| {
                assert_eq!(entry.staff, None, "no person did");
                entry.item.expect("names an item")
            })
            .collect()
    }
}

/// Upkeep comes round, and once more when what it saw is believed.
fn come_round(casebook: &Casebook) {
    let now = casebook.steady();
    for steady in [now, now + SEEN_AGAIN] {
        casebook.tidy_at(steady).expect("tidies");
    }
}

/// Whether there is an item of this id, and not only a letter or a note.
fn is_item(entries: &[kluis::ledger::entry::Entry], item: ItemId) -> bool {
    entries
        .iter()
        .any(|e| e.item == Some(item) && e.box_kind == Some(kluis::vault::seal::Kind::Item))
}

impl Drop for Agency {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

#[test]
fn a_copy_is_there_for_its_time_after_the_decision_and_then_it_and_nothing_else_is_gone() {
    let mut agency = Agency::new();
    let case = agency.takes(&card_and_payslip("one"));
    let (card, slip) = (agency.item(case, "card.jpg"), agency.item(case, "slip.pdf"));
    assert_eq!(agency.says(case, card, true), [card]);
    agency.at_hour(10);
    agency.does(case, Act::Decide);
    agency.at_hour(10 + 71);
    assert!(agency.is_there(card));
    agency.at_hour(10 + 72);
    assert!(!agency.is_there(card) && agency.is_there(slip));
    assert_eq!(agency.forgotten(), [card]);
    agency.at_hour(10 + 200);
    assert_eq!(agency.forgotten(), [card], "once is enough");
}

#[test]
fn a_clock_that_is_set_wrong_for_a_moment_and_a_time_that_is_mistyped_forget_nothing() {
    let mut agency = Agency::new();
    let case = agency.takes(&card_and_payslip("clock"));
    let card = agency.item(case, "card.jpg");
    agency.says(case, card, true);
    agency.does(case, Act::Decide);
    agency.stop();
    let time: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(START)));
    agency.world.moves_with(time);
    let gateway = agency.world.open();
    // How many boxes a round forgets, with so many hours on the clock, and minutes on one that nobody sets.
    let round = |hours: u64, minutes: u64| {
        time.store(START + hours * HOUR, Ordering::Relaxed);
        gateway.casebook.tidy_at(Duration::from_secs(60 * minutes)).expect("tidies")
    };
    assert_eq!(round(1, 0), 0);
    // A year ahead, once and again, and back.
    assert_eq!([round(8_760, 1), round(8_760, 2), round(1, 3), round(1, 60)], [0; 4]);
    // The policy's time, once and again, and put right.
    let keep_for = |time: &str| gateway.casebook.keep_copies_for(time.parse().expect("a time"));
    keep_for("1h");
    assert_eq!([round(1, 61), round(1, 89)], [0; 2]);
    keep_for("72h");
    assert_eq!([round(1, 90), round(1, 119)], [0; 2]);
    keep_for("1h");
    assert_eq!([round(1, 120), round(1, 149), round(1, 150)], [0, 0, 1]);
    drop(gateway);
    agency.at_hour(2);
    assert_eq!(agency.forgotten(), [card]);
}

#[test]
fn a_case_that_is_never_decided_keeps_its_copy_and_an_answer_or_the_closing_ends_it_as_well() {
    let mut agency = Agency::new();
    let [(_, never), (answered, by_answer)] = ["none", "answered"].map(|how| {
        let case = agency.takes(&card_and_payslip(how));
        let card = agency.item(case, "card.jpg");
        agency.says(case, card, true);
        (case, card)
    });
    let closed = agency.takes(&letter("closed", &[]));
    for case in [answered, closed] {
        answer(&agency, case);
    }
    agency.at_hour(1);
    // An answer of before may have asked for the copy: it ends nothing.
    deliver_into(&agency, &card_and_payslip(&format!("Re: {closed}")));
    let by_closing = agency.item(closed, "card.jpg");
    agency.says(closed, by_closing, true);
    agency.at_hour(2);
    agency.does(closed, Act::Close);
    agency.at_hour(72);
    assert!(!agency.is_there(by_answer));
    agency.at_hour(73);
    assert!(agency.is_there(by_closing));
    agency.at_hour(74);
    assert!(!agency.is_there(by_closing));
    agency.at_hour(24 * 365);
    assert!(agency.is_there(never), "nobody decided: nobody may have looked at it yet");
}

/// Answers under a code, by evidence that is stated with it.
fn answer(agency: &Agency, case: CaseId) {
    let draft = Draft {
        case,
        subject: "inzage".into(),
        text: "Beste, hierbij.".into(),
        items: Vec::new(),
        files: Vec::new(),
        language: Language::Nl,
        proof: Some((ladder::Kind::InPerson, "kwam langs".into())),
        with_code: true,
    };
    answers::send(&mut agency.anna(), draft, START).expect("is recorded");
}

#[test]
fn an_answer_rests_on_a_copy_only_once_a_check_is_recorded_and_takes_no_copy_along() {
    let agency = Agency::new();
    let case = agency.takes(&card_and_payslip("answered"));
    let (card, slip) = (agency.item(case, "card.jpg"), agency.item(case, "slip.pdf"));
    let draft = |items: &[ItemId]| Draft {
        case,
        subject: "inzage".into(),
        text: "Beste, hierbij.".into(),
        items: items.to_vec(),
        files: Vec::new(),
        language: Language::Nl,
        proof: Some((ladder::Kind::Id, "naam en foto kloppen".into())),
        with_code: true,
    };
    let send = |items: &[ItemId]| answers::send(&mut agency.anna(), draft(items), START);
    assert!(matches!(send(&[slip]), Err(answers::Error::NotChecked)));
    let number = case.to_string();
    let who = |more: &[&str]| run(&agency.world, &[&["who", &number][..], more].concat());
    // Which one was checked must be said: a copy that nobody names stays.
    let (code, said) = who(&["--record", "id", "agrees"]);
    assert_eq!(code, 2, "{said}");
    assert!(said["hint"].as_str().is_some_and(|hint| hint.contains("--elsewhere")), "{said}");
    assert_eq!(who(&["--record", "id", "--item", &card.to_string(), "agrees"]).0, 0);
    assert!(matches!(send(&[slip, card]), Err(answers::Error::Copy)));
    send(&[slip]).expect("is recorded");
}

#[test]
fn a_legal_hold_keeps_a_copy_and_once_it_is_lifted_it_goes() {
    let mut agency = Agency::new();
    let case = agency.takes(&card_and_payslip("held"));
    let card = agency.item(case, "card.jpg");
    agency.says(case, card, true);
    agency.does(case, Act::Decide);
    agency.does(case, Act::Hold);
    agency.at_hour(100);
    assert!(agency.is_there(card));
    let (code, said) = run(&agency.world, &["show", &case.to_string()]);
    assert_eq!((code, &said["copies"][0]["forgotten_on"]), (0, &Value::Null), "{said}");
    assert_eq!(said["copies"][0]["is_copy"], true);
    agency.does(case, Act::LiftHold);
    agency.at_hour(101);
    assert!(!agency.is_there(card));
}

#[test]
fn what_a_copy_was_taken_out_of_goes_with_it_and_what_lay_beside_it_stays() {
    let mut agency = Agency::new();
    let picture = card();
    let inner = zip(&[ZipEntry::new(b"card.jpg", &picture), ZipEntry::new(b"note.txt", b"beside")]);
    let archive = zip(&[ZipEntry::new(b"slip.pdf", PAYSLIP), ZipEntry::new(b"in.zip", &inner)]);
    let case = agency.takes(&letter("archive", &[("application/zip", "all.zip", &archive)]));
    let [card, outer, between, slip, beside] =
        ["card.jpg", "all.zip", "in.zip", "slip.pdf", "note.txt"].map(|n| agency.item(case, n));
    agency.says(case, card, true);
    // Nothing that holds it goes into an answer.
    for item in [card, between, outer] {
        let draft = Draft {
            case,
            subject: "inzage".into(),
            text: "Beste, hierbij.".into(),
            items: vec![item],
            files: Vec::new(),
            language: Language::Nl,
            proof: Some((ladder::Kind::InPerson, "was hier".into())),
            with_code: true,
        };
        let sent = answers::send(&mut agency.anna(), draft, START);
        assert!(matches!(sent, Err(answers::Error::Copy)), "{item}");
    }
    agency.does(case, Act::Decide);
    agency.at_hour(72);
    for (item, is_there) in
        [(card, false), (between, false), (outer, false), (slip, true), (beside, true)]
    {
        assert_eq!(agency.is_there(item), is_there, "{item}");
    }
    assert_eq!(told(&mut agency.anna(), &search()), Vec::<String>::new());
}

#[test]
fn a_copy_inside_an_encrypted_letter_takes_the_ciphertext_along_and_its_text_stays() {
    let mut agency = Agency::new();
    let case = agency.takes(&encrypted(&agency.world, &card()));
    let mut anna = agency.anna();
    let view = anna.case(case).expect("is there");
    let ciphertext = letters::ciphertext(&view.letters[0]).expect("is encrypted");
    let opened = {
        let _inside = agency.runtime.enter();
        open_with(&mut anna, None, &view).expect("opens")
    };
    assert!(matches!(opened.as_slice(), [(_, Outcome::Opened(_))]));
    let card = agency.item(case, "kaart.png");
    let view = anna.case(case).expect("is there");
    let text = view.letters[1].detail.as_ref().expect("opens").items[0].id;
    assert!(!told(&mut anna, &search()).is_empty());
    drop(anna);
    agency.says(case, card, true);
    agency.does(case, Act::Decide);
    agency.at_hour(72);
    assert!(!agency.is_there(card) && !agency.is_there(ciphertext));
    assert!(agency.is_there(text), "what the letter asks for is still to be read");
    let view = agency.anna().case(case).expect("is there");
    assert!(view.letters.iter().all(|letter| letter.detail.is_some()), "and who wrote it");
    assert_eq!(told(&mut agency.anna(), &search()), Vec::<String>::new());
}

#[test]
fn the_same_file_in_a_case_is_the_same_copy_and_of_another_case_it_is_not() {
    let mut agency = Agency::new();
    let case = agency.takes(&card_and_payslip("first"));
    let other = agency.takes(&card_and_payslip("second"));
    let once_more = [
        ("image/jpeg", "again.jpg", &card()[..]),
        ("image/jpeg", "other.jpg", &b"\xff\xd8\xff\xe0 another picture of that length, about"[..]),
    ];
    let subject = format!("Re: {case}");
    deliver_into(&agency, &letter(&subject, &once_more));
    let (card, again) = (agency.item(case, "card.jpg"), agency.item(case, "again.jpg"));
    let marked = agency.says(case, card, true);
    assert_eq!(marked, [card, again]);
    agency.does(case, Act::Decide);
    agency.does(other, Act::Decide);
    agency.at_hour(72);
    assert!(!agency.is_there(card) && !agency.is_there(again));
    assert!(agency.is_there(agency.item(case, "other.jpg")));
    assert!(agency.is_there(agency.item(other, "card.jpg")), "nobody said so of that one");
}

/// A letter that joins the case that its subject names.
fn deliver_into(agency: &Agency, raw: &[u8]) {
    let codes = crate::way::deliver(agency.server(), false, &[crate::world::MAILBOX], raw);
    assert_eq!(codes, [250]);
}

#[test]
fn what_a_letter_says_is_no_copy_unless_it_is_a_picture() {
    let agency = Agency::new();
    // A picture that its sender calls text, and a text that is one.
    let mut raw = letter("body", &[]);
    let end = raw.len() - b"--b--\r\n".len();
    let coded = data_encoding::BASE64.encode(&card());
    let picture = format!("--b\r\nContent-Transfer-Encoding: base64\r\n\r\n{coded}\r\n");
    raw.splice(end..end, picture.into_bytes());
    let case = agency.takes(&raw);
    let view = agency.anna().case(case).expect("is there");
    let detail = view.letters[0].detail.as_ref().expect("opens");
    let [text, picture] = [0, 1].map(|nr| detail.items[nr].id.to_string());
    let skeleton = detail.skeleton.expect("has one").to_string();
    let who = |more: &[&str]| run(&agency.world, &[&["who", &case.to_string()][..], more].concat());
    for item in [&text, &skeleton] {
        for how in [&["--copy", item][..], &["--record", "id", "--item", item, "it", "agrees"]] {
            let (code, said) = who(how);
            assert_eq!(code, 2, "{how:?}: {said}");
            assert!(
                said["hint"].as_str().is_some_and(|hint| hint.contains("kluis forget")),
                "{said}"
            );
        }
    }
    assert_eq!(who(&[]).1["copies"], serde_json::json!([]));
    // A mark of before can be taken back.
    assert_eq!(who(&["--no-copy", &text, "what", "they", "ask"]).0, 0);
    assert_eq!(who(&["--copy", &picture]).0, 0);
}

#[test]
fn a_member_takes_the_word_back_and_the_newest_word_counts() {
    let mut agency = Agency::new();
    let case = agency.takes(&card_and_payslip("mistaken"));
    let (card, slip) = (agency.item(case, "card.jpg"), agency.item(case, "slip.pdf"));
    agency.says(case, slip, true);
    agency.does(case, Act::Decide);
    agency.at_hour(71);
    agency.says(case, slip, false);
    agency.at_hour(72);
    assert!(agency.is_there(slip));
    // It is said late of another one: it has its time from then on, and no more for being said again.
    agency.says(case, card, true);
    agency.at_hour(72 + 71);
    agency.says(case, card, true);
    assert!(agency.is_there(card));
    agency.at_hour(72 + 72);
    assert!(!agency.is_there(card) && agency.is_there(slip));
    // Of what is gone nothing more is said.
    let mut anna = agency.anna();
    let view = anna.case(case).expect("is there");
    let gone = copies::mark(&mut anna, &view, card, false, "");
    assert!(matches!(gone, Err(who::Error::Client(Error::Forgotten))));
}

#[test]
fn a_copy_that_comes_after_the_decision_has_its_time_and_one_that_reopens_waits_for_the_next() {
    let mut agency = Agency::new();
    let case = agency.takes(&card_and_payslip("late"));
    agency.does(case, Act::Decide);
    agency.at_hour(200);
    let more = [("image/jpeg", "later.jpg", &card()[..])];
    let subject = format!("Re: {case}");
    deliver_into(&agency, &letter(&subject, &more));
    let later = agency.item(case, "later.jpg");
    agency.says(case, later, true);
    agency.at_hour(271);
    assert!(agency.is_there(later));
    agency.at_hour(272);
    assert!(!agency.is_there(later), "the case is decided: it had 72 hours");

    agency.does(case, Act::Close);
    let more = [("image/jpeg", "reopens.jpg", &[&card()[..], b"."].concat()[..])];
    deliver_into(&agency, &letter(&format!("Re: {case} nog iets"), &more));
    let reopens = agency.item(case, "reopens.jpg");
    agency.says(case, reopens, true);
    agency.at_hour(2_000);
    assert!(agency.is_there(reopens), "of this nothing is decided yet");
    agency.does(case, Act::Decide);
    agency.at_hour(2_072);
    assert!(!agency.is_there(reopens));
}

#[test]
fn the_time_is_that_of_the_settings_and_nothing_at_all_is_a_time() {
    let mut agency = Agency::new();
    let settings = agency.world.state().join("kluis.toml");
    let keep_for = |time: &str| {
        let text = std::fs::read_to_string(&settings).expect("is read");
        let (before, after) = text.split_once("forget_copy_after = ").expect("is there");
        let after = after.split_once('\n').expect("a line").1;
        std::fs::write(&settings, format!("{before}forget_copy_after = \"{time}\"\n{after}"))
            .expect("is written");
    };
    let case = agency.takes(&card_and_payslip("settings"));
    let card = agency.item(case, "card.jpg");
    agency.says(case, card, true);
    agency.does(case, Act::Decide);
    keep_for("5d");
    agency.at_hour(119);
    assert!(agency.is_there(card));
    agency.at_hour(120);
    assert!(!agency.is_there(card));
    let next = agency.takes(&card_and_payslip("at-once"));
    let card = agency.item(next, "card.jpg");
    agency.says(next, card, true);
    keep_for("0h");
    agency.at_hour(121);
    assert!(agency.is_there(card), "not before it is decided");
    agency.does(next, Act::Decide);
    agency.server().casebook.tidy().expect("tidies");
    assert!(agency.is_there(card), "one round is not believed");
    come_round(&agency.server().casebook);
    assert!(!agency.is_there(card));
    keep_for("31d");
    let refused = run_config(&settings);
    assert!(refused.contains("forget_copy_after") && refused.contains("720h"), "{refused}");
}

fn run_config(file: &std::path::Path) -> String {
    let output = std::process::Command::new(crate::world::KLUIS)
        .arg("config")
        .arg(file)
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_said_of_copies_belongs_to_its_case_and_to_its_act() {
    let agency = Agency::new();
    let case = agency.takes(&card_and_payslip("mine"));
    let other = agency.takes(&card_and_payslip("other"));
    let (own, foreign) = (agency.item(case, "card.jpg"), agency.item(other, "card.jpg"));
    let mut anna = agency.anna();
    let mut refused = |act: Act, marks: &[ItemId], check: Option<ItemId>, why: &str| {
        let mut sealing = Sealing::new(case, act, anna.sealing().expect("is proven"));
        sealing.note(NoteSubject::Remark, "words", None, Vec::new());
        sealing.marks(marks, true);
        if check.is_some() {
            sealing.check(check);
        }
        match anna.record(sealing.finish()) {
            Err(Error::Refused(said)) => assert!(said.contains(why), "{said}"),
            other => panic!("{other:?}"),
        }
    };
    refused(Act::Copy, &[foreign], None, "no such item");
    refused(Act::Copy, &[ItemId::random()], None, "no such item");
    refused(Act::Copy, &[], None, "does not belong here");
    refused(Act::Copy, &[own], Some(own), "does not belong here");
    refused(Act::Note, &[own], None, "does not belong here");
    refused(Act::Evidence, &[own], None, "does not belong here");
    refused(Act::Evidence, &[], Some(foreign), "no such item");
    refused(Act::Prove, &[], Some(own), "does not belong here");
    let kinds = [Fact::IdentityCopy, Fact::IdentityChecked];
    assert!(entries(agency.server()).iter().all(|entry| !kinds.contains(&entry.kind)));
    // An auditor has no say in it, and no member one about a case that is not there.
    let mut olga = agency.world.log_in("olga").expect("logs in");
    let mut sealing = Sealing::new(case, Act::Copy, anna.sealing().expect("is proven"));
    sealing.marks(&[own], true);
    assert!(matches!(olga.record(sealing.finish()), Err(Error::Refused(_))));
    let mut sealing = Sealing::new(CaseId::random(), Act::Copy, anna.sealing().expect("is proven"));
    sealing.marks(&[own], true);
    assert!(matches!(anna.record(sealing.finish()), Err(Error::Refused(_))));
}

#[test]
fn evidence_names_the_copy_that_was_checked_and_its_words_hold_no_number() {
    let agency = Agency::new();
    let case = agency.takes(&card_and_payslip("checked"));
    let number = case.to_string();
    let who = |more: &[&str]| run(&agency.world, &[&["who", &number][..], more].concat());
    let (card, slip) = (agency.item(case, "card.jpg"), agency.item(case, "slip.pdf"));
    for words in ZONE.into_iter().chain(NUMBERS) {
        for how in [
            &["--record", "id"][..],
            &["--doubt"],
            &["--accept", "L4"],
            &["--no-copy", &slip.to_string()],
        ] {
            let (code, said) = who(&[how, &["it", "says", words]].concat());
            assert_eq!(code, 2, "{how:?} {words}: {said}");
            let hint = said["hint"].as_str().unwrap_or_default();
            assert!(hint.contains("without the numbers"), "{how:?} {words}: {said}");
            assert!(!said.to_string().contains(words), "the error does not repeat it");
        }
    }
    assert_eq!(who(&["--item", &card.to_string(), "--record", "challenge", "x"]).0, 2);
    // A card that somebody held in their hand is no item.
    assert_eq!(
        who(&["--record", "id", "--elsewhere", "at", "the", "counter"]).1["item"],
        Value::Null
    );
    // The item that is named is a copy from now on, and then it is the only one.
    let (code, said) =
        who(&["--record", "id", "--item", &card.to_string(), "the", "name", "agrees"]);
    assert_eq!((code, &said["item"]), (0, &Value::from(card.to_string())), "{said}");
    let (_, said) = who(&["--record", "id", "the", "date", "agrees"]);
    assert_eq!(said["item"], Value::from(card.to_string()));
    assert_eq!(who(&["--copy", &slip.to_string()]).0, 0);
    let (code, said) = who(&["--record", "id", "both", "agree"]);
    assert!(code == 2 && said["hint"].as_str().is_some_and(|h| h.contains("--item")), "{said}");
    let (_, said) = who(&[]);
    let checked = said["checked"].as_array().expect("a list");
    assert_eq!(checked.len(), 3);
    assert!(checked.iter().all(|check| check["by"] == "anna" && check["time"].is_string()));
    let copies = said["copies"].as_array().expect("a list");
    assert_eq!(copies.len(), 2, "{said}");
    assert!(copies.iter().all(|copy| copy["is_copy"] == true && copy["by"] == "anna"));
    assert_eq!(who(&["--no-copy", &slip.to_string()]).0, 2, "the words say what it is");
    assert_eq!(who(&["--no-copy", &slip.to_string(), "a", "payslip"]).0, 0);
    assert_eq!(who(&[]).1["copies"][1]["is_copy"], false);
    let facts = entries(agency.server());
    let of = |kind| facts.iter().filter(|entry| entry.kind == kind).collect::<Vec<_>>();
    let checks = of(Fact::IdentityChecked);
    let items: Vec<_> = checks.iter().map(|entry| (entry.item, entry.letter.is_some())).collect();
    assert_eq!(items, [(None, false), (Some(card), true), (Some(card), true)]);
    // Each stands in the frame of its evidence, and proves nothing by itself.
    assert_eq!(of(Fact::EvidenceRecorded).len(), 3);
    assert!(of(Fact::ProofAccepted).is_empty());
    let text = String::from_utf8(
        crate::keyring::program(&agency.world, "anna", &["show", &number])
            .output()
            .expect("runs")
            .stdout,
    )
    .expect("text");
    for words in ["identity document checked by anna", "forgotten by itself after the decision"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn what_was_forgotten_by_itself_stays_so_when_an_older_backup_is_restored() {
    let mut agency = Agency::new();
    let case = agency.takes(&card_and_payslip("restored"));
    let (card, slip) = (agency.item(case, "card.jpg"), agency.item(case, "slip.pdf"));
    agency.says(case, card, true);
    agency.does(case, Act::Decide);
    let size = back_up(&agency.world)["entries"].as_u64().expect("a number");
    assert_eq!(verify_backup(&agency.world, Some("carla")).lost, 0);
    agency.at_hour(72);
    assert!(!agency.is_there(card));
    agency.stop();
    let erased = note(&agency.world, size);
    lose(&agency.world);
    restore_with(&agency.world, "carla").expect("is restored");
    let since = kluis::upkeep::replay::Since::Notes(std::slice::from_ref(&erased));
    let settled = replay_with(&agency.world, &since, &[]).expect("is settled");
    assert_eq!(settled.replayed.dropped, 1);
    let server = agency.runtime.block_on(agency.world.serve());
    agency.server = Some(server);
    accept(&agency.world, "anna").expect("is accepted");
    assert!(!agency.is_there(card) && agency.is_there(slip));
    let said = run(&agency.world, &["show", &case.to_string()]).1;
    assert!(said["copies"][0]["forgotten"].is_string(), "{said}");
}
