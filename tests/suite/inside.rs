//! Forgetting what was inside of something: afterwards its bytes are in no box that opens, and what was
//! beside it is there.

use std::collections::BTreeSet;

use kluis::casebook::Act;
use kluis::casebook::detail::ItemDetail;
use kluis::ids::{CaseId, ItemId};
use kluis::keys::epoch::EpochSecret;
use kluis::keys::wrapped;
use kluis::staff::client::{CaseView, Client, Error};
use kluis::vault::seal::Kind;
use serde_json::Value;

use crate::containers::{Attached, Entry, Tnef, letter_with, zip};
use crate::forget::recording;
use crate::opened::{armored, gpg, open_with, pgp_mime};
use crate::scan::run;
use crate::thief::Thief;
use crate::way::{deliver, entries, runtime};
use crate::world::{MAILBOX, Server, World};

/// Every item of a case by its name, or else by its type and what it is in.
fn items(case: &CaseView) -> Vec<ItemId> {
    let cards = case.letters.iter().flat_map(|letter| &letter.card.items);
    cards.map(|(id, ..)| *id).collect()
}

/// What a box shows to who opens it.
fn shown(client: &mut Client, item: ItemId) -> Option<Vec<u8>> {
    match client.look(&[item]) {
        Ok(views) => {
            let view = &views[0];
            let mut all = [&view.stored[..], &view.content()[..], view.name.expose()].concat();
            if let ItemDetail::Leaf(leaf) = &view.detail {
                for text in leaf.names.iter().chain(&leaf.text) {
                    all.extend_from_slice(text.expose().as_bytes());
                }
            }
            Some(all)
        }
        Err(Error::Forgotten) => None,
        Err(other) => panic!("{other}"),
    }
}

fn has(bytes: &[u8], mark: &str) -> bool {
    bytes.windows(mark.len()).any(|part| part == mark.as_bytes())
}

fn stored(name: &str, content: &[u8]) -> Entry {
    Entry { deflated: false, ..Entry::new(name.as_bytes(), content) }
}

/// A letter that holds marks at every depth: an archive of a file, of an archive, and of a letter with a
/// text, a file, and a `winmail.dat`. Nothing is packed or encoded, so that every mark can be found in
/// all that holds it.
fn letter() -> Vec<u8> {
    let tnef = Tnef {
        attached: vec![Attached {
            title: Some(b"wrapped.txt".to_vec()),
            content: b"MARK-WRAPPED".to_vec(),
            ..Attached::default()
        }],
        ..Tnef::default()
    };
    let head = "From: a@b.example\r\nSubject: in\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nMARK-TEXT\r\n--i\r\n\
         Content-Type: application/octet-stream; name=file.bin\r\n\r\nMARK-FILE\r\n--i\r\n\
         Content-Type: application/ms-tnef; name=winmail.dat\r\n\
         Content-Transfer-Encoding: binary\r\n\r\n";
    let inner = [head.as_bytes(), &tnef.write(), b"\r\n--i--\r\n"].concat();
    let archive = zip(&[
        stored("beside.txt", b"MARK-BESIDE"),
        stored("deep.zip", &zip(&[stored("deep.txt", b"MARK-DEEP")])),
        stored("letter.eml", &inner),
    ]);
    letter_with("application/zip", "all.zip", &archive)
}

const MARKS: [&str; 5] = ["MARK-BESIDE", "MARK-DEEP", "MARK-TEXT", "MARK-FILE", "MARK-WRAPPED"];

/// The item that is this mark and nothing more.
fn item_of(client: &mut Client, case: &CaseView, mark: &str) -> ItemId {
    let is_it = |item: &ItemId| {
        client.look(&[*item]).is_ok_and(|views| views[0].content().trim_ascii() == mark.as_bytes())
    };
    items(case).into_iter().find(is_it).expect("is an item")
}

fn named(client: &mut Client, case: &CaseView, name: &str) -> ItemId {
    let is_it = |item: &ItemId| {
        client.look(&[*item]).is_ok_and(|views| views[0].name.expose() == name.as_bytes())
    };
    items(case).into_iter().find(is_it).expect("is an item")
}

fn deliver_one(server: &Server, client: &mut Client, sent: &[u8]) -> CaseId {
    let before: BTreeSet<CaseId> = cases(client);
    assert_eq!(deliver(server, false, &[MAILBOX], sent), [250]);
    let after = cases(client);
    *after.difference(&before).next().expect("a new case")
}

fn cases(client: &mut Client) -> BTreeSet<CaseId> {
    let all = client.queue(kluis::casebook::Filter::All).expect("lists");
    all.iter().map(|case| case.card.case).collect()
}

/// The marks that can still be read in a case.
fn readable(client: &mut Client, case: CaseId) -> Vec<&'static str> {
    let view = client.case(case).expect("is there");
    let boxes: Vec<Vec<u8>> =
        items(&view).into_iter().filter_map(|item| shown(client, item)).collect();
    MARKS.into_iter().filter(|mark| boxes.iter().any(|all| has(all, mark))).collect()
}

/// The marks that stand in boxes of a case which a thief of everything opens.
fn stolen(world: &World, epoch: EpochSecret, server: &Server, case: CaseId) -> Vec<&'static str> {
    let thief = Thief::default().with(&world.state()).with(&world.cabinet_key()).knowing(epoch);
    let of_case = entries(server)
        .into_iter()
        .filter(|entry| entry.case == Some(case) && entry.box_kind == Some(Kind::Item));
    let ids: BTreeSet<ItemId> = of_case.filter_map(|entry| entry.item).collect();
    let all = thief.boxes();
    let opened: Vec<Vec<u8>> = all
        .iter()
        .filter(|entry| entry.item.is_some_and(|item| ids.contains(&item)))
        .filter_map(|entry| thief.open(entry).map(|(_, content)| content))
        .collect();
    MARKS.into_iter().filter(|mark| opened.iter().any(|all| has(all, mark))).collect()
}

fn epoch(world: &World) -> EpochSecret {
    let file = std::fs::read(world.state().join("epochs/1.age")).expect("is there");
    wrapped::unwrap_epoch(&file, &world.key("anna")).expect("anna reads")
}

#[test]
fn after_forgetting_an_item_its_bytes_are_in_no_box_that_opens_and_the_rest_is_there() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let mut outcomes = Vec::new();
    for (nr, what, gone) in [
        (0, "MARK-BESIDE", &["MARK-BESIDE"][..]),
        (1, "MARK-DEEP", &["MARK-DEEP"]),
        (2, "MARK-TEXT", &["MARK-TEXT"]),
        (3, "MARK-FILE", &["MARK-FILE"]),
        (4, "MARK-WRAPPED", &["MARK-WRAPPED"]),
        // What is a container goes with what it holds.
        (5, "deep.zip", &["MARK-DEEP"]),
        (6, "winmail.dat", &["MARK-WRAPPED"]),
        (7, "letter.eml", &["MARK-TEXT", "MARK-FILE", "MARK-WRAPPED"]),
        (8, "all.zip", &MARKS),
    ] {
        // Another letter each time, or it would be the same one again.
        let sent = [letter(), vec![b' '; nr], b"\r\n".to_vec()].concat();
        let case = deliver_one(&server, &mut anna, &sent);
        assert_eq!(readable(&mut anna, case), MARKS, "{what}");
        let view = anna.case(case).expect("is there");
        let item = match what.starts_with("MARK") {
            true => item_of(&mut anna, &view, what),
            false => named(&mut anna, &view, what),
        };
        let reason = recording(&anna, case, Act::Note);
        anna.forget(vec![item], reason, false).expect("is forgotten");
        let left: Vec<&str> = MARKS.into_iter().filter(|mark| !gone.contains(mark)).collect();
        assert_eq!(readable(&mut anna, case), left, "{what}");
        outcomes.push((what, case, left));
    }
    server.casebook.rotate_cabinet().expect("rotates");
    for (what, case, left) in outcomes {
        assert_eq!(stolen(&world, epoch(&world), &server, case), left, "{what}");
    }
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn the_plan_names_what_goes_with_an_item_and_what_stays_however_deep_it_was() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let case = deliver_one(&server, &mut anna, &letter());
    let view = anna.case(case).expect("is there");
    let mut mark = |mark: &str| item_of(&mut anna, &view, mark).to_string();
    let [beside, deep, text, file, wrapped] = MARKS.map(&mut mark);
    let mut name = |name: &str| named(&mut anna, &view, name).to_string();
    let [all, deep_zip, eml, winmail] =
        ["all.zip", "deep.zip", "letter.eml", "winmail.dat"].map(&mut name);
    let set = |value: &Value, field: Option<&str>| -> BTreeSet<String> {
        let all = value.as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().expect("an id").to_owned();
        all.map(|one| text(field.map_or(one, |field| &one[field]))).collect()
    };
    let plan = |item: &str| {
        let number = case.to_string();
        let (code, plan) = run(&world, &["forget", &number, item, "--reason", "seen", "--dry-run"]);
        assert_eq!(code, 0, "{plan}");
        (set(&plan["would_forget"], Some("item")), set(&plan["taken_out_and_kept"], None), plan)
    };
    let these = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>();
    let (goes, stays, _) = plan(&file);
    assert_eq!(goes, these(&[&file, &eml, &all]));
    assert_eq!(stays, these(&[&beside, &deep, &deep_zip, &text, &winmail, &wrapped]));
    let (goes, stays, said) = plan(&eml);
    assert_eq!(goes, these(&[&eml, &all, &text, &file, &winmail, &wrapped]));
    assert_eq!(stays, these(&[&beside, &deep, &deep_zip]));
    let why = |item: &String, word: &str| {
        let all = said["would_forget"].as_array().expect("a list");
        let one = all.iter().find(|one| one["item"] == **item).expect("goes");
        one[word].as_str().map(str::to_owned)
    };
    assert_eq!((why(&eml, "because_of"), why(&eml, "out_of")), (None, None));
    assert_eq!((why(&all, "because_of"), why(&wrapped, "out_of")), (Some(eml), Some(winmail)));
    let (goes, stays, _) = plan(&all);
    assert_eq!((goes.len(), stays.len()), (9, 0));
    // And so it is done: a certificate for each, and nothing left of it to forget.
    let number = case.to_string();
    let command = ["forget", &number, &all, "--reason", "seen"];
    let (code, done) = run(&world, &command);
    assert_eq!((code, done["certificates"].as_array().map(Vec::len)), (0, Some(9)), "{done}");
    assert_eq!(run(&world, &command).0, 1, "a second time there is nothing");
    assert_eq!(readable(&mut anna, case), Vec::<&str>::new());
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn a_ciphertext_that_is_forgotten_takes_along_what_was_in_it() {
    let (world, runtime) = (World::found(), runtime());
    let Some(gpg) = gpg(&world, "forgetting a ciphertext") else { return };
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let encrypted = pgp_mime("...", &armored(&gpg, &["-r", MAILBOX], &letter()));
    let case = deliver_one(&server, &mut anna, &encrypted);
    let view = anna.case(case).expect("is there");
    let ciphertext = view.letters[0].detail.as_ref().expect("opens").items[1].id;
    open_with(&mut anna, None, &view).expect("opens");
    assert_eq!(readable(&mut anna, case), MARKS);
    let reason = recording(&anna, case, Act::Note);
    anna.forget(vec![ciphertext], reason, true).expect("is forgotten");
    assert_eq!(readable(&mut anna, case), Vec::<&str>::new());
    assert_eq!(stolen(&world, epoch(&world), &server, case), Vec::<&str>::new());
    // The letter around it is as it was.
    let view = anna.case(case).expect("is there");
    let forgotten = |at: usize| {
        let items = &view.letters[at].card.items;
        (items.iter().filter(|(.., forgotten)| *forgotten).count(), items.len())
    };
    assert_eq!(forgotten(0).0, 1);
    assert_eq!(forgotten(1).0, forgotten(1).1, "all that was inside");
    drop(anna);
    runtime.block_on(server.stop());
}
