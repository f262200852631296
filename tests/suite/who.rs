//! Who asks: the ladder from a letter to an accepted proof, rung by rung, in the real program.
//!
//! An agency has a list of people on file. What the network says of a letter is what the mail server in
//! front says (`Authentication-Results`). Each rung is a story of its own; they share an office, since
//! to found one costs more than to climb all of them.

use serde_json::{Value, json};

#[cfg(kluis_lab)]
use kluis::identity::people::{People, Person};

use crate::cli::{Office, Server, send};
use crate::tree;
#[cfg(kluis_lab)]
use crate::{way::runtime, world::World};

/// An office with a list of people, a server in front that is believed, and a member at the desk.
struct Desk {
    office: Office,
    server: Server,
}

impl Drop for Desk {
    fn drop(&mut self) {
        // No agent stays behind, not even of a test that failed.
        self.office.run(&["lock"]);
    }
}

const LIST: &str = "naam;e-mail;gsm;geboortedatum;begin;einde;klant;taal;address since;rijksregister\n\
                    Lotte Peeters;lotte@example.org;0470 12 34 56;08/12/1987;04/03/2024;30/08/2024;\
                    Bakkerij De Korenaar;nl;;87.12.08-002.66\n\
                    Jan Claes;jan@example.org, gezin@example.org;;01/02/1990;;;;fr;;\n\
                    Marie Claes;gezin@example.org;;03/04/1991;;;;de;;\n";

impl Desk {
    fn new() -> Self {
        let office = Office::new();
        office.found();
        let file = office.path("vault/kluis.toml");
        let text = std::fs::read_to_string(&file).expect("settings");
        assert!(text.contains("upstream = \"\""));
        let text = text.replace("upstream = \"\"", "upstream = \"mx.front.example\"");
        std::fs::write(&file, text).expect("written");
        let server = office.serve();
        office.unlock();
        Self { office, server }
    }

    fn with_list() -> Self {
        let desk = Self::new();
        desk.import(LIST);
        desk
    }

    fn import(&self, list: &str) -> Value {
        std::fs::write(self.office.path("list.csv"), list).expect("written");
        self.office.json(&["people", "import", "list.csv"])
    }

    /// A letter comes; gives its case.
    fn letter(&self, from: &str, dmarc: &str, text: &str) -> String {
        let before = self.cases();
        let nr = before.len();
        let domain = from.rsplit('@').next().expect("an address").trim_end_matches('>');
        let letter = format!(
            "Authentication-Results: mx.front.example; dmarc={dmarc} header.from={domain}\n\
             From: {from}\nTo: backoffice@jobexpert.be\nSubject: vraag {nr}\n\
             Message-ID: <{nr}@example.org>\n\
             Content-Type: text/plain; charset=utf-8\n\n{text}"
        );
        send(self.server.smtp(), &letter);
        let after = self.cases();
        let new: Vec<&String> = after.iter().filter(|case| !before.contains(case)).collect();
        assert_eq!(new.len(), 1, "one case more");
        new[0].clone()
    }

    fn cases(&self) -> Vec<String> {
        let queue = self.office.json(&["queue"]);
        let cases = queue["cases"].as_array().expect("a list");
        cases.iter().map(|case| case["case"].as_str().expect("a number").to_owned()).collect()
    }

    fn who(&self, case: &str, more: &[&str]) -> Value {
        self.office.json(&[&["who", case][..], more].concat())
    }

    /// What a right needs, and what to do next for it.
    fn right(&self, case: &str, right: &str) -> (String, Vec<String>) {
        let who = self.who(case, &["--right", right]);
        let found = &who["rights"][0];
        assert_eq!(found["right"], right);
        let steps = found["next"].as_array().expect("steps").iter();
        let steps = steps.map(|step| step.as_str().expect("a word").to_owned()).collect();
        (found["needs"].as_str().expect("a level").to_owned(), steps)
    }

    /// How often the ledger says so of a case, or of anything.
    fn facts(&self, case: Option<&str>, fact: &str) -> usize {
        let of_case = case.map_or(Vec::new(), |case| vec!["--case", case]);
        let log = self.office.run(&[&["audit", "log", "--json"], &of_case[..]].concat()).stdout;
        let log = String::from_utf8(log).expect("UTF-8");
        let is_it = |line: &&str| {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            entry.as_object().expect("an entry").values().any(|value| value == fact)
        };
        log.lines().filter(is_it).count()
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.office.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

const LOTTE: &str = "Lotte Peeters <lotte@example.org>";

#[test]
fn each_rung_of_the_ladder_is_climbed_by_its_evidence_and_by_nothing_less() {
    let desk = Desk::with_list();
    l0_whoever_writes_from_anywhere_gets_no_more_advertising_without_any_proof(&desk);
    l1_a_letter_from_the_address_on_file_whose_domain_stands_for_it_is_enough_to_object(&desk);
    a_forged_sender_reaches_nothing_whatever_name_and_address_say(&desk);
    l2_a_code_that_came_back_from_a_contact_on_file_opens_access(&desk);
    l3_a_code_and_two_details_on_file_open_access_with_pay_and_a_national_number_is_no_detail(
        &desk,
    );
    l3_a_signature_or_a_visit_is_enough_for_another_account_number(&desk);
    l4_a_copy_is_asked_for_after_a_reasoned_doubt_and_never_before(&desk);
    less_than_a_right_needs_is_accepted_with_a_reason_only_and_the_reason_is_kept(&desk);
    of_people_who_share_an_address_the_name_tells_and_without_one_nobody_is_taken_for_it(&desk);
    the_page_speaks_the_language_of_the_staff_and_says_that_no_copy_is_needed(&desk);
}

fn l0_whoever_writes_from_anywhere_gets_no_more_advertising_without_any_proof(desk: &Desk) {
    let case = desk.letter("Mehdi <mehdi@nowhere.example>", "fail", "Stop met jullie sms'jes.");
    let who = desk.who(&case, &[]);
    assert_eq!((&who["reaches"], &who["on_file"]), (&json!("L0"), &json!("nobody")));
    for right in who["rights"].as_array().expect("all rights") {
        let is_harmless = right["needs"] == "L0";
        let harmless = ["marketing", "unsubscribe", "withdrawal"];
        assert_eq!(is_harmless, harmless.iter().any(|name| right["right"] == *name), "{right}");
        assert_eq!(right["accepted"], is_harmless, "{right}");
    }
    assert_eq!(desk.right(&case, "objection").1[0], "ask-which-contact");
}

fn l1_a_letter_from_the_address_on_file_whose_domain_stands_for_it_is_enough_to_object(
    desk: &Desk,
) {
    let case = desk.letter(LOTTE, "pass", "Ik maak bezwaar.");
    let who = desk.who(&case, &[]);
    assert_eq!((&who["reaches"], &who["on_file"]), (&json!("L1"), &json!("address")));
    assert_eq!(who["person"]["name"], "Lotte Peeters");
    assert_eq!(desk.right(&case, "objection"), ("L1".into(), vec!["accept".into()]));
    // Computed, and not accepted: nothing leaves before a person says so.
    std::fs::write(desk.office.path("answer.txt"), "Beste\n").expect("written");
    let answer = ["answer", case.as_str(), "--text", "answer.txt", "--code"];
    let (error, hint) = desk.office.fails(&answer, 1);
    assert!(error.contains("nobody has accepted") && hint.contains("kluis who"), "{error} {hint}");
    desk.who(&case, &["--accept", "L1"]);
    let who = desk.who(&case, &["--right", "objection"]);
    assert_eq!(who["rights"][0]["accepted"], true);
    let proof = &who["accepted"][0];
    assert_eq!((&proof["level"], &proof["by"]), (&json!("L1"), &json!("staff1")));
    assert_eq!(proof["evidence"][0]["kind"], "address");
    assert_eq!(desk.facts(Some(&case), "proof accepted"), 1);
    assert!(desk.office.json(&answer)["code"].is_string(), "now it goes");
}

fn a_forged_sender_reaches_nothing_whatever_name_and_address_say(desk: &Desk) {
    for verdict in ["fail", "none", "temperror"] {
        let case = desk.letter(LOTTE, verdict, "Stuur alles naar mij.");
        let who = desk.who(&case, &[]);
        assert_eq!((&who["reaches"], &who["on_file"]), (&json!("L0"), &json!("address")));
        let (error, hint) = desk.office.fails(&["who", &case, "--accept", "L1"], 1);
        assert!(!error.contains("Lotte") && hint.contains("kluis who"), "{error} {hint}");
        assert_eq!(desk.facts(Some(&case), "proof accepted"), 0);
    }
    let case = desk.letter("Lotte Peeters <lotte@evil.example>", "pass", "Mijn nieuw adres.");
    let who = desk.who(&case, &[]);
    assert_eq!((&who["reaches"], &who["on_file"]), (&json!("L0"), &json!("name")));
    assert_eq!(desk.right(&case, "access").1, ["send-code"]);
    // Who it is may be shown by a code; that the answer goes to that address is another matter.
    desk.who(&case, &["--record", "challenge", "by telephone, 0470"]);
    desk.who(&case, &["--accept", "L2"]);
    std::fs::write(desk.office.path("answer.txt"), "Beste\n").expect("written");
    let answer = ["answer", case.as_str(), "--text", "answer.txt", "--code"];
    let (error, hint) = desk.office.fails(&answer, 1);
    assert!(
        error.contains("not on file") && error.contains("L3") && hint.contains("who"),
        "{error}"
    );
    desk.who(&case, &["--accept", "L3", "she told the new address at the counter"]);
    assert!(desk.office.json(&answer)["code"].is_string());
}

fn l2_a_code_that_came_back_from_a_contact_on_file_opens_access(desk: &Desk) {
    let case = desk.letter(LOTTE, "pass", "Graag inzage.");
    assert_eq!(desk.right(&case, "access"), ("L2".into(), vec!["send-code".into()]));
    let (error, _) = desk.office.fails(&["who", &case, "--accept", "L2"], 1);
    assert!(error.contains("L1") && error.contains("L2"), "{error}");
    desk.who(&case, &["--record", "challenge", "code", "read", "out", "from", "0470"]);
    let who = desk.who(&case, &["--right", "access"]);
    assert_eq!(who["reaches"], "L2");
    assert_eq!(who["recorded"][0]["words"], "code read out from 0470");
    assert_eq!(who["rights"][0]["next"], json!(["accept"]));
    desk.who(&case, &["--accept", "L2"]);
    assert_eq!(desk.who(&case, &["--right", "access"])["rights"][0]["accepted"], true);
    assert_eq!(
        ["evidence recorded", "proof accepted"].map(|fact| desk.facts(Some(&case), fact)),
        [1, 1]
    );
}

fn l3_a_code_and_two_details_on_file_open_access_with_pay_and_a_national_number_is_no_detail(
    desk: &Desk,
) {
    let text = "Ik werkte in 2024 bij Bakkerij De Korenaar, geboren op 8 december 1987. \
                Mijn rijksregisternummer is 87.12.08-002.66.";
    let case = desk.letter(LOTTE, "pass", text);
    let who = desk.who(&case, &[]);
    let fields: Vec<&Value> =
        who["found"].as_array().expect("found").iter().map(|one| &one["fields"]).collect();
    assert_eq!(fields, [&json!([]), &json!(["birth-date", "client"])]);
    assert_eq!(who["reaches"], "L1", "details without a code are no more than that");
    let (needs, steps) = desk.right(&case, "access-sensitive");
    assert_eq!(
        (needs.as_str(), &steps[..]),
        ("L3", &["send-code".to_owned(), "sign-or-come".into()][..])
    );
    desk.who(&case, &["--record", "challenge", "by mail to lotte@example.org"]);
    assert_eq!(desk.who(&case, &[])["reaches"], "L3");
    desk.who(&case, &["--accept", "L3"]);
    for field in ["national-number", "nrn"] {
        let record = ["who", &case, "--record", "match", "--field", field, "x"];
        let (error, _) = desk.office.fails(&record, 2);
        assert!(error.contains("birth-date"), "{error}");
    }
    let (error, hint) = desk.office.fails(&["who", &case, "--record", "match", "x"], 2);
    assert!(error.contains("which") && hint.contains("--field"), "{error} {hint}");
    // A letter that mentions nothing but the number mentions nothing.
    let case = desk.letter(LOTTE, "pass", "Rijksregisternummer 87.12.08-002.66, graag alles.");
    assert_eq!(desk.who(&case, &[])["found"].as_array().map(Vec::len), Some(1));
}

fn l3_a_signature_or_a_visit_is_enough_for_another_account_number(desk: &Desk) {
    for (kind, words) in [("signature", "signed PDF, eID"), ("seen", "came to the office in Genk")]
    {
        let case = desk.letter("jan@example.org", "fail", "Nieuw rekeningnummer.");
        let (needs, steps) = desk.right(&case, "account");
        assert_eq!(needs, "L3");
        assert!(steps.contains(&"sign-or-come".to_owned()), "{steps:?}");
        desk.who(&case, &["--record", kind, words]);
        assert_eq!(desk.right(&case, "account").1, ["accept"]);
    }
}

fn l4_a_copy_is_asked_for_after_a_reasoned_doubt_and_never_before(desk: &Desk) {
    let case = desk.letter("Jan Claes <jan@example.org>", "fail", "Je veux tout.");
    for right in ["access", "account", "erasure", "marketing"] {
        assert!(!desk.right(&case, right).1.contains(&"ask-masked-copy".to_owned()), "{right}");
    }
    let (error, hint) = desk.office.fails(&["who", &case, "--copy-letter"], 1);
    assert!(error.contains("doubt") && hint.contains("--doubt"), "{error} {hint}");
    let (error, _) = desk.office.fails(&["who", &case, "--doubt"], 2);
    assert!(error.contains("words"), "a doubt has a reason: {error}");
    desk.who(&case, &["--doubt", "two people of this name wrote within an hour"]);
    assert_eq!(desk.facts(Some(&case), "doubt raised"), 1);
    let steps = desk.right(&case, "access").1;
    assert_eq!(steps.last().map(String::as_str), Some("ask-masked-copy"));
    let letter = desk.text(&["who", &case, "--copy-letter"]);
    for words in [case.as_str(), "noircissez", "registre national", "MRZ"] {
        assert!(letter.contains(words), "{words}: {letter}");
    }
    let dutch = desk.text(&["who", &case, "--copy-letter", "--language", "nl"]);
    assert!(dutch.contains("rijksregisternummer"), "{dutch}");
    // Of another case nobody doubts.
    let other = desk.letter(LOTTE, "pass", "Graag inzage.");
    desk.office.fails(&["who", &other, "--copy-letter"], 1);
    desk.who(&case, &["--record", "checkdoc", "NO HIT, 30-11-2026"]);
    assert_eq!(desk.who(&case, &[])["reaches"], "L0", "Checkdoc knows a card, not who holds it");
    desk.who(&case, &["--record", "id", "name agrees, masked, forgotten since"]);
    assert_eq!(desk.who(&case, &[])["reaches"], "L4");
}

fn less_than_a_right_needs_is_accepted_with_a_reason_only_and_the_reason_is_kept(desk: &Desk) {
    let case = desk.letter(LOTTE, "pass", "Graag inzage.");
    desk.office.fails(&["who", &case, "--accept", "L2"], 1);
    desk.office.fails(&["who", &case, "--accept", "L9"], 2);
    desk.who(&case, &["--accept", "L2", "she", "works", "at", "the", "next", "desk"]);
    let who = desk.who(&case, &[]);
    let proof = &who["accepted"][0];
    assert_eq!((&proof["level"], &proof["reached"]), (&json!("L2"), &json!("L1")));
    assert_eq!(proof["reason"], "she works at the next desk");
    let shown = desk.text(&["show", &case]);
    assert!(shown.contains("L2 by address: she works at the next desk"), "{shown}");
    let log = desk.text(&["audit", "log", "--json"]);
    assert!(!log.contains("desk") && !log.contains("L2"), "facts only");
}

fn of_people_who_share_an_address_the_name_tells_and_without_one_nobody_is_taken_for_it(
    desk: &Desk,
) {
    let case = desk.letter("\"CLAES, Marie\" <gezin@example.org>", "pass", "Auskunft bitte.");
    assert_eq!(desk.who(&case, &[])["person"]["name"], "Marie Claes");
    let case = desk.letter("gezin@example.org", "pass", "Auskunft bitte.");
    let who = desk.who(&case, &[]);
    assert_eq!((&who["on_file"], &who["reaches"]), (&json!("several"), &json!("L0")));
    assert_eq!(desk.right(&case, "objection").1[0], "choose-person");
}

#[test]
fn the_list_is_replaced_as_a_whole_rests_sealed_and_tells_no_names() {
    let desk = Desk::new();
    let (error, _) = desk.office.fails(&["people", "import", "nowhere.csv"], 1);
    assert!(error.contains("nowhere.csv"));
    assert_eq!(desk.office.json(&["people"])["people"], Value::Null);
    let case = desk.letter(LOTTE, "pass", "Graag inzage.");
    let who = desk.who(&case, &[]);
    assert_eq!((&who["on_file"], &who["reaches"]), (&json!("no-list"), &json!("L0")));
    assert_eq!(desk.right(&case, "access").1[0], "import-people");

    std::fs::write(desk.office.path("list.csv"), LIST.replace("08/12", "08/13")).expect("written");
    let (error, hint) = desk.office.fails(&["people", "import", "list.csv"], 2);
    assert!(error.contains("line 2: the birth date is no date"), "{error}");
    assert!(!error.contains("Lotte") && hint.contains("--help"));
    std::fs::write(desk.office.path("list.csv"), LIST).expect("written");
    let dry = desk.office.json(&["people", "import", "list.csv", "--dry-run"]);
    assert_eq!((&dry["people"], &dry["left_out"]), (&json!(3), &json!(["rijksregister"])));
    assert_eq!(desk.office.json(&["people"])["people"], Value::Null, "nothing was taken");

    desk.import(LIST);
    let status = desk.text(&["people"]);
    assert!(status.contains("3 people") && !status.contains("Lotte"), "{status}");
    assert_eq!(desk.who(&case, &[])["reaches"], "L1");
    an_address_that_came_into_the_file_lately_needs_more(&desk);
    desk.import("name,email\nJan Claes,jan@example.org\n");
    assert_eq!(desk.office.json(&["people"])["people"], 1);
    assert_eq!(desk.who(&case, &[])["on_file"], "nobody");
    assert_eq!((desk.facts(None, "people imported"), desk.facts(None, "forgotten")), (3, 2));
    // Everything that may be read verifies, the list among it; the queue has no case more.
    let verified = desk.office.json(&["get", "--verify-all"]);
    assert_eq!(verified["problems"], json!([]));
    assert_eq!(desk.office.json(&["queue", "--all"])["cases"].as_array().map(Vec::len), Some(3));
    let log = desk.text(&["audit", "log", "--json"]);
    assert!(!log.contains("Claes") && !log.contains("jan@"), "facts only");
    for (path, bytes) in files(&desk.office.path("vault")) {
        for word in [&b"Korenaar"[..], b"jan@example.org", b"Jan Claes"] {
            let is_there = bytes.windows(word.len()).any(|some| some == word);
            assert!(!is_there, "{} in {}", String::from_utf8_lossy(word), path.display());
        }
    }
}

fn an_address_that_came_into_the_file_lately_needs_more(desk: &Desk) {
    let moved = LIST.replace("lotte@example.org;", "lotte@example.org, new@example.org;");
    desk.import(&moved);
    let case = desk.letter("Lotte Peeters <new@example.org>", "pass", "Graag inzage.");
    let who = desk.who(&case, &[]);
    assert_eq!((&who["on_file"], &who["address_is_new"]), (&json!("address"), &json!(true)));
    assert_eq!(desk.right(&case, "access").0, "L3");
    assert_eq!(desk.right(&case, "marketing").0, "L0");
    let case = desk.letter(LOTTE, "pass", "Graag inzage.");
    assert_eq!(desk.who(&case, &[])["address_is_new"], false);
    assert_eq!(desk.right(&case, "access").0, "L2");
}

#[cfg(kluis_lab)]
#[test]
fn a_list_that_a_crash_left_beside_its_successor_is_forgotten_and_the_newer_one_counts() {
    let (world, runtime) = (World::found(), runtime());
    let people = |count: usize| People { people: vec![Person::default(); count] };
    let mut server = world.spawn(&[("KLUIS_LAB_KILL", "people:entered:2")]);
    let mut anna = world.log_in("anna").expect("logs in");
    anna.import_people(&people(1)).expect("is taken");
    anna.import_people(&people(2)).expect_err("the server dies");
    assert!(server.ended_within(std::time::Duration::from_secs(30)).is_some());
    drop(anna);
    let gateway = world.open();
    assert_eq!(gateway.casebook.status().people.map(|(_, count)| count), Some(2));
    assert_eq!(gateway.casebook.status().boxes, (2, 0), "both are there");
    assert_eq!(gateway.casebook.tidy().expect("tidies"), 1);
    assert_eq!(gateway.casebook.status().boxes, (1, 1));
    assert_eq!(gateway.casebook.tidy().expect("tidies"), 0, "the one in force stays");
    drop(gateway);
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    assert_eq!(anna.people().expect("opens"), Some(people(2)));
    anna.import_people(&people(3)).expect("is taken");
    assert_eq!(anna.people().expect("opens"), Some(people(3)));
    assert_eq!(server.casebook.status().boxes, (1, 2));
    drop(anna);
    runtime.block_on(server.stop());
}

/// Every file under a folder.
fn files(folder: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let bytes = std::fs::read(&path).expect("reads");
                found.push((path, bytes));
            }
        }
    }
    assert!(found.len() > 5, "a vault has files");
    found
}

fn the_page_speaks_the_language_of_the_staff_and_says_that_no_copy_is_needed(desk: &Desk) {
    let case = desk.letter(LOTTE, "pass", "Graag inzage.");
    for (language, words) in [
        ("nl", ["inzage", "eenmalige code", "niet nodig"]),
        ("fr", ["accès", "code à usage unique", "pas nécessaire"]),
        ("de", ["Auskunft", "einmaligen Code", "nicht nötig"]),
        ("en", ["access", "single-use code", "No copy"]),
    ] {
        let text = desk.text(&["who", &case, "--language", language]);
        for word in words.into_iter().chain(["Lotte Peeters", "0470 12 34 56", "L1"]) {
            assert!(text.contains(word), "{language} {word}: {text}");
        }
    }
}

#[test]
fn national_numbers_are_masked_wherever_staff_read_until_they_ask_and_the_ledger_says_who_did() {
    let desk = Desk::new();
    let letter = "From: \"Lotte 85.07.30-033.28\" <lotte@example.org>\n\
                  To: backoffice@jobexpert.be\nSubject: inzage, NISS 85073003328\n\
                  Message-ID: <1@example.org>\n\nMijn nummer is 85.07.30-033.28, tel. 0470 12 34 56.";
    send(desk.server.smtp(), letter);
    let case = desk.cases().remove(0);
    desk.office.json(&["note", &case, "zij zegt 85.07.30-033.28"]);
    let pages: [&[&str]; 6] = [
        &["queue"],
        &["queue", "--json"],
        &["show", &case],
        &["show", &case, "--json"],
        &["who", &case],
        &["audit", "log"],
    ];
    for page in pages {
        let text = desk.text(page);
        assert!(!text.contains("033.28") && !text.contains("85073003328"), "{page:?}: {text}");
    }
    let shown = desk.text(&["show", &case]);
    assert!(shown.contains("••.••.••-•••.••") && shown.contains("0470 12 34 56"), "{shown}");
    assert!(shown.contains("--numbers"), "{shown}");
    assert_eq!(desk.facts(None, "numbers shown"), 0);
    let shown = desk.text(&["show", &case, "--numbers"]);
    assert!(shown.contains("85.07.30-033.28") && shown.contains("85073003328"), "{shown}");
    assert_eq!(desk.facts(None, "numbers shown"), 1);
    let plain = desk.letter(LOTTE, "pass", "Graag inzage.");
    desk.text(&["show", &plain, "--numbers"]);
    assert_eq!(desk.facts(None, "numbers shown"), 1, "where there is none nothing is entered");
}

/// Words for an identity document or a copy of one, in small letters, and what says that none is wanted.
const DOCUMENT: [&str; 22] = [
    "identiteitskaart",
    "identiteitsbewijs",
    "identiteitsdocument",
    "paspoort",
    "rijbewijs",
    "kaart",
    "kopie",
    "carte",
    "pièce d'identité",
    "document d'identité",
    "passeport",
    "permis",
    "copie",
    "ausweis",
    "reisepass",
    "führerschein",
    "identity",
    "passport",
    "licence",
    "id card",
    "copy",
    "scan",
];
const NOT_WANTED: [&str; 7] = [
    "hoeft geen",
    "hebt u er toch",
    "pas nécessaire",
    "pas besoin",
    "brauchen sie nicht",
    "you need not",
    "if you did send one",
];

/// The sentences of a letter that ask for a document.
fn asks_for_a_document(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let sentences = text.split(['.', '\n', '?', '!']).map(str::to_owned);
    let names_one = |sentence: &String| DOCUMENT.iter().any(|word| sentence.contains(word));
    let is_unwanted = |sentence: &String| NOT_WANTED.iter().any(|word| sentence.contains(word));
    sentences.filter(names_one).filter(|sentence| !is_unwanted(sentence)).collect()
}

#[test]
fn a_sentence_that_asks_for_a_copy_is_found_however_it_is_put() {
    for asks in [
        "Stuur ons een kopie van uw identiteitskaart.",
        "Mogen wij een scan van uw paspoort?",
        "Joignez une copie de votre pièce d'identité",
        "Veuillez présenter votre carte d'identité",
        "Bitte schicken Sie uns Ihren Personalausweis.",
        "Eine Ausweiskopie genügt!",
        "Please send a copy of your passport",
        "An ID card will do",
    ] {
        assert_eq!(asks_for_a_document(asks).len(), 1, "{asks}");
    }
    for other in ["U hoeft geen kopie van uw identiteitskaart te sturen.", "Wij antwoorden u."] {
        assert!(asks_for_a_document(other).is_empty(), "{other}");
    }
}

#[test]
fn no_letter_of_ours_asks_for_a_copy_but_the_one_that_a_doubt_leads_to() {
    let letters: Vec<_> = tree::files("src/reply/letters")
        .into_iter()
        .filter(|(path, _)| path.ends_with(".txt"))
        .collect();
    assert_eq!(letters.len(), 12, "three letters in four languages");
    for (path, text) in &letters {
        let asks = asks_for_a_document(text);
        if path.ends_with("/copy.txt") {
            assert!(!asks.is_empty(), "{path} is found to ask");
        } else {
            assert!(asks.is_empty(), "{path}: {asks:?}");
        }
    }
    for notice in letters.iter().filter(|(path, _)| path.ends_with("/notice.txt")) {
        let says = NOT_WANTED.iter().any(|word| notice.1.to_lowercase().contains(word));
        assert!(says, "{} says that none is needed", notice.0);
    }
    // Whoever prints that letter has a doubt in hand.
    let uses: Vec<String> = tree::files("src")
        .into_iter()
        .filter(|(_, source)| source.contains("copy::text(") || source.contains("/copy.txt"))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(uses, ["src/cli/who/mod.rs", "src/reply/copy.rs"]);
}

#[test]
fn a_proof_is_made_where_a_person_accepts_or_read_back_from_the_ledger_and_nowhere_else() {
    for (word, homes) in [
        ("Proof::recorded(", &["src/identity/ladder.rs", "src/staff/who.rs"][..]),
        ("Doubt::recorded(", &["src/identity/ladder.rs", "src/reply/copy.rs", "src/staff/who.rs"]),
        ("Self(accepted)", &["src/identity/ladder.rs"]),
        ("Proof(Accepted {", &["src/identity/ladder.rs"]),
    ] {
        let uses: Vec<String> = tree::files("src")
            .into_iter()
            .filter(|(_, source)| source.contains(word))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(uses, homes, "{word}");
    }
}
