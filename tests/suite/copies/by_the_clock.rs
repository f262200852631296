//! The same with the server in a process of its own, which is told the time.

use std::time::Duration;

use kluis::casebook::Filter;
use kluis::staff::client::CaseView;

use super::*;
use crate::backup::dest;
use crate::mail_client::Client as Sender;
use crate::reload::reload;
use crate::thief::{Thief, files};
use crate::world::{MAILBOX, Process};

/// What files tell of it.
fn told_in_files(folder: &std::path::Path, search: &Search) -> Vec<String> {
    let mut found = Vec::new();
    for file in crate::thief::files(folder) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        found.extend(search.find(&bytes).into_iter().map(|n| format!("{}: {n}", file.display())));
    }
    found
}

fn spawn(world: &World, more: &[(&str, &str)]) -> Process {
    world.spawn(&[&[("RUST_LOG", "trace")], more].concat())
}

fn send(process: &Process, raw: &[u8]) {
    let mut sender = Sender::greet(process.smtp.expect("listens"), false).expect("greets");
    let answers = sender.send("lotte@client.example", &[MAILBOX], raw).expect("answers");
    assert_eq!(answers[0].code, 250);
}

fn only_case(client: &mut Client) -> CaseView {
    let mut cases = client.queue(Filter::All).expect("lists");
    assert_eq!(cases.len(), 1);
    cases.remove(0)
}

/// For a server whose half hours are seconds.
const HURRY: (&str, &str) = ("KLUIS_LAB_HURRY", "300");

/// Waits until the item is gone.
fn wait_until_gone(world: &World, item: ItemId) {
    for _ in 0..1200 {
        let mut anna = world.log_in("anna").expect("logs in");
        if matches!(anna.look(&[item]), Err(Error::Forgotten)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it is still there");
}

fn kluis(world: &World, arguments: &[&str]) -> String {
    let output = crate::keyring::program(world, "anna", arguments).output().expect("runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// Everything that the commands of the staff print of a case.
fn printed(world: &World, case: &str) -> String {
    let shown = kluis(world, &["show", case, "--json"]);
    let value: Value = serde_json::from_str(&shown).expect("JSON");
    let mut all = shown;
    for letter in value["letters"].as_array().expect("letters") {
        let id = letter["letter"].as_str().expect("an id");
        // A payslip that no reader can read leaves with a reason.
        let whole = ["--raw", id, "--despite-scan", "--unmasked", "--reason", "all of it"];
        all += &kluis(world, &[&["show", case][..], &whole].concat());
    }
    let commands: [&[&str]; 8] = [
        &["show", case],
        &["show", case, "--numbers"],
        &["who", case],
        &["who", case, "--json"],
        &["queue", "--all"],
        &["queue", "--all", "--json"],
        &["audit", "log"],
        &["get", "--verify-all"],
    ];
    commands.iter().for_each(|command| all += &kluis(world, command));
    all
}

/// The whole way of a copy, from the letter to a time when it is known that there was one, and no
/// more.
#[test]
fn l4_a_copy_that_came_is_checked_once_decided_upon_and_nowhere_three_days_later() {
    let mut world = World::found_at(START);
    let process = spawn(&world, &[]);
    send(&process, &card_and_payslip("inzage"));
    let mut anna = world.log_in("anna").expect("logs in");
    let view = only_case(&mut anna);
    let case = view.card.case.to_string();
    let card = named(&mut anna, &view, "card.jpg");
    let slip = named(&mut anna, &view, "slip.pdf");
    kluis(&world, &["who", &case, "--copy", &card.to_string()]);
    kluis(&world, &["who", &case, "--record", "id", "name", "and", "birth", "date", "agree"]);
    kluis(&world, &["who", &case, "--accept", "L4"]);
    let page = kluis(&world, &["show", &case]);
    assert!(page.contains("forgotten by itself after the decision"), "{page}");
    let text = world.root.path().join("answer.txt");
    std::fs::write(&text, "Beste, hierbij uw gegevens.\n").expect("written");
    let text = text.display().to_string();
    kluis(&world, &["answer", &case, "--text", &text, "--code"]);
    kluis(&world, &["decide", &case, "access", "granted"]);
    let page = kluis(&world, &["show", &case]);
    assert!(page.contains("forgotten by itself on 2026-11-05"), "{page}");

    // Until then whoever looks finds all of it: the search is able to.
    let words: Vec<&str> = ZONE.into_iter().chain(NUMBERS).chain([PIXELS]).collect();
    let found_in = |text: &str| words.iter().filter(|word| text.contains(**word)).count();
    let in_boxes = told(&mut anna, &search());
    assert!(words.iter().all(|word| in_boxes.iter().any(|f| f.contains(word))), "{in_boxes:?}");
    drop(anna);
    process.kill();
    world.set_time(START + 71 * HOUR);
    let process = spawn(&world, &[]);
    let mut anna = world.log_in("anna").expect("logs in");
    assert!(anna.look(&[card]).is_ok());
    drop(anna);
    process.kill();

    world.set_time(START + 73 * HOUR);
    let process = spawn(&world, &[HURRY]);
    wait_until_gone(&world, card);
    let copies = world.root.path().join("before");
    crate::thief::copy(&world.state(), &copies);
    let mut anna = world.log_in("anna").expect("logs in");
    anna.look(&[slip]).expect("what is no copy is there");
    assert_eq!(told(&mut anna, &search()), Vec::<String>::new());
    let said = printed(&world, &case);
    assert_eq!(found_in(&said), 0, "{said}");
    for words in ["identity document checked by anna, 2026-11-02", "forgotten on 2026-11-05"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // The key of the cabinet goes with the night, and with it what older copies of it held.
    world.log_in("adam").expect("logs in").rotate_cabinet().expect("rotates");
    back_up(&world);
    assert_eq!(verify_backup(&world, Some("carla")).lost, 0);
    drop(anna);
    process.kill();
    assert!(files(&dest(&world)).len() > 3 && world.log().exists());
    assert_eq!(told_in_files(world.root.path(), &search()), Vec::<String>::new());
    // Whoever has every file and every key finds no key of it, and those of all else.
    let thief = Thief::default().with(&world.state()).with(&world.cabinet_key()).with(&copies);
    let of_items = thief.boxes();
    let of_items: Vec<_> = of_items.iter().filter(|entry| entry.item.is_some()).collect();
    assert!(of_items.len() >= 4);
    for entry in of_items {
        assert_eq!(thief.key(entry).is_none(), entry.item == Some(card), "entry {}", entry.seq);
    }
}

#[test]
fn killed_between_the_entry_and_the_drop_it_is_finished_at_the_next_start() {
    for step in ["forget:recorded", "forget:drop-written", "forget:dropped"] {
        let mut world = World::found_at(START);
        let process = spawn(&world, &[]);
        send(&process, &card_and_payslip("killed"));
        let mut anna = world.log_in("anna").expect("logs in");
        let view = only_case(&mut anna);
        let card = named(&mut anna, &view, "card.jpg");
        copies::mark(&mut anna, &view, card, true, "").expect("is entered");
        let decided = recording(&anna, view.card.case, Act::Decide);
        anna.record(decided).expect("is recorded");
        drop(anna);
        process.kill();
        world.set_time(START + 72 * HOUR);
        let mut process = world.launch(&[("KLUIS_LAB_KILL", &format!("{step}:1")), HURRY]);
        assert!(process.ended_within(Duration::from_secs(60)).is_some(), "{step}");
        // The next start drops the key before anybody may ask.
        world.set_time(START);
        let process = spawn(&world, &[]);
        let mut anna = world.log_in("anna").expect("logs in");
        assert!(matches!(anna.look(&[card]), Err(Error::Forgotten)), "{step}");
        assert_eq!(anna.check().expect("checks").1, []);
        drop(anna);
        process.kill();
        let forgotten = crate::backup::facts(&world);
        let times = forgotten.iter().filter(|e| e.kind == Fact::Forgotten && e.item == Some(card));
        assert_eq!(times.count(), 1, "{step}: once");
    }
}

#[test]
fn the_time_is_read_again_while_it_serves_and_counts_for_what_is_there() {
    let mut world = World::found_at(START);
    let process = spawn(&world, &[]);
    send(&process, &card_and_payslip("reload"));
    let mut anna = world.log_in("anna").expect("logs in");
    let view = only_case(&mut anna);
    let card = named(&mut anna, &view, "card.jpg");
    copies::mark(&mut anna, &view, card, true, "").expect("is entered");
    let decided = recording(&anna, view.card.case, Act::Decide);
    anna.record(decided).expect("is recorded");
    drop(anna);
    process.kill();
    world.set_time(START + 2 * HOUR);
    let process = spawn(&world, &[HURRY]);
    let settings = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&settings).expect("is read");
    let change = |time: &str| {
        let text = text.replace("\"72h\"", &format!("\"{time}\""));
        std::fs::write(&settings, text).expect("is written");
        reload(&world, &process)
    };
    let log = change("3h");
    assert!(log.contains("kept for another time") && !log.contains("from the next start"), "{log}");
    let mut anna = world.log_in("anna").expect("logs in");
    assert_eq!(anna.policy().expect("is said").forget_copy_after.minutes(), 180);
    assert!(anna.look(&[card]).is_ok());
    let log = change("100 years");
    assert!(log.contains("the old ones stay"), "{log}");
    assert!(anna.look(&[card]).is_ok());
    change("2h");
    wait_until_gone(&world, card);
    process.kill();
}
