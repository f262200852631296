//! Forgetting what was inside of something: afterwards its bytes are in no box of any kind that opens,
//! and what was beside it is there. The plan says before what goes.

use std::collections::{BTreeMap, BTreeSet};

use kluis::casebook::Act;
use kluis::casebook::detail::{ItemCard, ItemDetail, to_bytes};
use kluis::ids::{CaseId, ItemId, SlotId};
use kluis::keys::epoch::EpochSecret;
use kluis::keys::wrapped;
use kluis::staff::client::{CaseView, Client, Error};
use kluis::vault::seal::Kind;
use serde_json::Value;

use crate::containers::{Attached, Entry, Tnef, letter_with, zip};
use crate::forget::recording;
use crate::opened::{armored, gpg, open_with, pgp_mime};
use crate::openpgp::Gpg;
use crate::scan::run;
use crate::thief::{Thief, files};
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

/// A letter that holds marks at every depth, in contents and in names: an archive of a file, of an
/// archive, and of a letter with a text, a file, and a `winmail.dat`. Nothing is packed or encoded, so that
/// every mark can be found in all that holds it.
pub(crate) fn letter() -> Vec<u8> {
    let tnef = Tnef {
        attached: vec![Attached {
            title: Some(b"NAME-WRAPPED.txt".to_vec()),
            content: b"MARK-WRAPPED".to_vec(),
            ..Attached::default()
        }],
        ..Tnef::default()
    };
    let head = "From: a@b.example\r\nSubject: in\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nMARK-TEXT\r\n--i\r\n\
         Content-Type: application/octet-stream; name=NAME-FILE.bin\r\n\r\nMARK-FILE\r\n--i\r\n\
         Content-Type: application/ms-tnef; name=winmail.dat\r\n\
         Content-Transfer-Encoding: binary\r\n\r\n";
    let inner = [head.as_bytes(), &tnef.write(), b"\r\n--i--\r\n"].concat();
    let archive = zip(&[
        stored("NAME-BESIDE.txt", b"MARK-BESIDE"),
        stored("deep.zip", &zip(&[stored("NAME-DEEP.txt", b"MARK-DEEP")])),
        stored("letter.eml", &inner),
    ]);
    letter_with("application/zip", "all.zip", &archive)
}

pub(crate) const MARKS: [&str; 5] =
    ["MARK-BESIDE", "MARK-DEEP", "MARK-TEXT", "MARK-FILE", "MARK-WRAPPED"];

/// The names of the files that these marks are in, but for the text, which has none.
const NAMES: [&str; 4] = ["NAME-BESIDE", "NAME-DEEP", "NAME-FILE", "NAME-WRAPPED"];

/// Marks in what an encrypted letter says of itself inside.
const PROTECTED: [&str; 2] = ["MARK-SUBJECT", "MARK-AUTHOR"];

/// All marks of [`letter`].
pub(crate) fn everything() -> Vec<&'static str> {
    MARKS.into_iter().chain(NAMES).collect()
}

/// What is left of them without these marks and the names of what they are in.
fn without(gone: &[&str]) -> Vec<&'static str> {
    let of = |mark: &str| mark.split_once('-').expect("a dash").1.to_owned();
    let mut all = everything();
    all.retain(|mark| !gone.iter().any(|gone| of(gone) == of(mark)));
    all
}

/// The item that is this mark and nothing more.
pub(crate) fn item_of(client: &mut Client, case: &CaseView, mark: &str) -> ItemId {
    let is_it = |item: &ItemId| {
        client.look(&[*item]).is_ok_and(|views| views[0].content().trim_ascii() == mark.as_bytes())
    };
    items(case).into_iter().find(is_it).expect("is an item")
}

pub(crate) fn named(client: &mut Client, case: &CaseView, name: &str) -> ItemId {
    let is_it = |item: &ItemId| {
        client.look(&[*item]).is_ok_and(|views| views[0].name.expose() == name.as_bytes())
    };
    items(case).into_iter().find(is_it).expect("is an item")
}

pub(crate) fn deliver_one(server: &Server, client: &mut Client, sent: &[u8]) -> CaseId {
    let before: BTreeSet<CaseId> = cases(client);
    assert_eq!(deliver(server, false, &[MAILBOX], sent), [250]);
    let after = cases(client);
    *after.difference(&before).next().expect("a new case")
}

fn cases(client: &mut Client) -> BTreeSet<CaseId> {
    let all = client.queue(kluis::casebook::Filter::All).expect("lists");
    all.iter().map(|case| case.card.case).collect()
}

/// The marks that can still be read in a case: in its items, its letters and its notes.
pub(crate) fn readable(client: &mut Client, case: CaseId) -> Vec<&'static str> {
    let view = client.case(case).expect("is there");
    let mut boxes: Vec<Vec<u8>> =
        items(&view).into_iter().filter_map(|item| shown(client, item)).collect();
    boxes.extend(view.letters.iter().filter_map(|letter| letter.detail.as_ref()).map(to_bytes));
    let notes = client.notes(case).expect("opens");
    boxes.extend(notes.iter().map(|note| to_bytes(&note.detail)));
    marks_in(&boxes)
}

fn marks_in(boxes: &[Vec<u8>]) -> Vec<&'static str> {
    let all = everything().into_iter().chain(PROTECTED);
    all.filter(|mark| boxes.iter().any(|all| has(all, mark))).collect()
}

/// The marks that stand in boxes of a case, of whatever kind, which a thief of everything opens.
fn stolen(world: &World, epoch: EpochSecret, server: &Server, case: CaseId) -> Vec<&'static str> {
    let thief = Thief::default().with(&world.state()).with(&world.cabinet_key()).knowing(epoch);
    let of_case = entries(server).into_iter().filter(|entry| entry.case == Some(case));
    let slots: BTreeSet<SlotId> = of_case.filter_map(|entry| entry.slot).collect();
    let all = thief.boxes();
    let opened: Vec<(Kind, Vec<u8>)> = all
        .iter()
        .filter(|entry| entry.slot.is_some_and(|slot| slots.contains(&slot)))
        .filter_map(|entry| {
            let (manifest, content) = thief.open(entry)?;
            Some((entry.box_kind?, [&content[..], &manifest.name, &manifest.detail].concat()))
        })
        .collect();
    let has_kind = |kind| opened.iter().any(|(of, _)| *of == kind);
    assert!([Kind::Letter, Kind::Item, Kind::Note, Kind::Contact].into_iter().all(has_kind));
    let opened: Vec<Vec<u8>> = opened.into_iter().map(|(_, all)| all).collect();
    marks_in(&opened)
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
        assert_eq!(readable(&mut anna, case), everything(), "{what}");
        let view = anna.case(case).expect("is there");
        let item = match what.starts_with("MARK") {
            true => item_of(&mut anna, &view, what),
            false => named(&mut anna, &view, what),
        };
        let reason = recording(&anna, case, Act::Note);
        anna.forget(vec![item], reason, false).expect("is forgotten");
        let left = without(gone);
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
    let all: ItemId = all.parse().expect("an id");
    assert_eq!(forget(&world, case, all), 9);
    let (number, all) = (case.to_string(), all.to_string());
    let again = ["forget", &number, &all, "--reason", "seen", "--dry-run"];
    assert_eq!(run(&world, &again).0, 1, "a second time there is nothing");
    assert_eq!(readable(&mut anna, case), Vec::<&str>::new());
    drop(anna);
    runtime.block_on(server.stop());
}

/// What `forget --dry-run` says.
pub(crate) fn dry_run(world: &World, case: CaseId, item: ItemId) -> Value {
    let (case, item) = (case.to_string(), item.to_string());
    let (code, said) = run(world, &["forget", &case, &item, "--reason", "seen", "--dry-run"]);
    assert_eq!(code, 0, "{said}");
    said
}

/// The ids that it says would go, with what it says of each.
pub(crate) fn goes(said: &Value, why: &str) -> BTreeMap<String, Option<String>> {
    let all = said["would_forget"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    all.map(|one| (text(&one["item"]).expect("an id"), text(&one[why]))).collect()
}

/// Forgets as a person does who looked before, and gives how many certificates there were.
fn forget(world: &World, case: CaseId, item: ItemId) -> usize {
    let seen = dry_run(world, case, item);
    let plan = seen["plan"].as_str().expect("a digest");
    let (case, item) = (case.to_string(), item.to_string());
    let forget = ["forget", &case, &item, "--reason", "seen", "--now", "--plan", plan];
    let (code, said) = run(world, &forget);
    assert_eq!(code, 0, "{said}");
    said["certificates"].as_array().expect("a list").len()
}

/// A letter that was forwarded as an attachment, in one that goes on behind it: the message has a text, a
/// file, an archive, and a message again; none of them is encoded but the archive.
fn forwarded() -> Vec<u8> {
    let archive = zip(&[stored("wrapped.txt", b"MARK-WRAPPED")]);
    let archive = data_encoding::BASE64.encode(&archive);
    format!(
        "From: a@b.example\r\nSubject: Fwd\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nsee below\r\n--o\r\n\
         Content-Type: message/rfc822\r\n\r\n\
         From: c@d.example\r\nSubject: first\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nMARK-TEXT\r\n--i\r\n\
         Content-Type: application/octet-stream; name=file.bin\r\n\r\nMARK-FILE\r\n--i\r\n\
         Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         {archive}\r\n--i\r\n\
         Content-Type: message/rfc822\r\n\r\nSubject: second\r\n\r\nMARK-DEEP\r\n--i--\r\n\
         \r\n--o\r\nContent-Type: text/plain; name=beside.txt\r\n\
         Content-Disposition: attachment\r\n\r\nMARK-BESIDE\r\n--o--\r\n"
    )
    .into_bytes()
}

#[test]
fn a_letter_that_was_forwarded_as_an_attachment_goes_with_its_parts() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let archive = |letter: &[u8]| zip(&[stored("letter.eml", letter)]);
    let packed = letter_with("application/zip", "all.zip", &archive(&forwarded()));
    // As it came, and in an archive, where it was taken out of a message that was.
    for (sent, around) in [(forwarded(), 0), (packed, 2)] {
        let case = deliver_one(&server, &mut anna, &sent);
        let view = anna.case(case).expect("is there");
        let cards = &view.letters[0].detail.as_ref().expect("opens").items;
        let is_message = |card: &&ItemCard| card.media_type == "message/rfc822";
        let messages: Vec<&ItemCard> = cards.iter().filter(is_message).collect();
        let message = messages[messages.len() - 2];
        assert_eq!(anna.look(&[message.id]).expect("opens")[0].stored.len(), 0);
        assert_eq!(readable(&mut anna, case), MARKS);
        let inner = messages[messages.len() - 1];
        let part = |mark: &str, anna: &mut Client| item_of(anna, &view, mark).to_string();
        let said = dry_run(&world, case, message.id);
        let parts = goes(&said, "part_of");
        assert_eq!(parts[&message.id.to_string()], None);
        for part in ["MARK-TEXT", "MARK-FILE", "MARK-DEEP"].map(|mark| part(mark, &mut anna)) {
            assert_eq!(parts[&part], Some(message.id.to_string()));
        }
        assert_eq!(parts[&inner.id.to_string()], Some(message.id.to_string()));
        let wrapped = part("MARK-WRAPPED", &mut anna);
        let zip = named(&mut anna, &view, "a.zip").to_string();
        assert_eq!(goes(&said, "out_of")[&wrapped], Some(zip));
        // The message within the message: it and its text, and what is around them.
        let said = dry_run(&world, case, inner.id);
        assert_eq!(goes(&said, "part_of").len(), 2 + around, "{said}");

        assert_eq!(forget(&world, case, inner.id), 2 + around);
        let rest = ["MARK-BESIDE", "MARK-TEXT", "MARK-FILE", "MARK-WRAPPED"];
        assert_eq!(readable(&mut anna, case), rest);
        assert_eq!(forget(&world, case, message.id), 5);
        assert_eq!(readable(&mut anna, case), ["MARK-BESIDE"]);
        assert_eq!(stolen(&world, epoch(&world), &server, case), ["MARK-BESIDE"]);
    }
    drop(anna);
    runtime.block_on(server.stop());
}

/// A letter that is encrypted, with marks in its subject and its author inside.
pub(crate) fn protected(gpg: &Gpg) -> Vec<u8> {
    let from = format!("From: {} <jan@worker.example>\r\nSubject: {}", PROTECTED[1], PROTECTED[0]);
    let inner = String::from_utf8_lossy(&letter()).replacen(
        "From: Jan Jans <jan@worker.example>\r\nSubject: a",
        &from,
        1,
    );
    assert!(inner.starts_with(&from));
    pgp_mime("...", &armored(gpg, &["-r", MAILBOX], inner.as_bytes()))
}

#[test]
fn a_ciphertext_that_is_forgotten_takes_along_what_was_in_it() {
    let (world, runtime) = (World::found(), runtime());
    let Some(gpg) = gpg(&world, "forgetting a ciphertext") else { return };
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let case = deliver_one(&server, &mut anna, &protected(&gpg));
    let view = anna.case(case).expect("is there");
    let ciphertext = view.letters[0].detail.as_ref().expect("opens").items[1].id;
    open_with(&mut anna, None, &view).expect("opens");
    let all: Vec<&str> = everything().into_iter().chain(PROTECTED).collect();
    assert_eq!(readable(&mut anna, case), all);
    let number = case.to_string();
    let shows = |mark: &&str| run(&world, &["show", &number]).1.to_string().contains(mark);
    assert!(PROTECTED.iter().all(&shows));
    let view = anna.case(case).expect("is there");
    let inner = view.letters[1].id().to_string();
    let said = dry_run(&world, case, ciphertext);
    let planned = goes(&said, "letter_in");
    assert_eq!(planned[&inner], Some(ciphertext.to_string()));
    // A file out of it takes the ciphertext along, and leaves what the letter says of itself.
    let beside = item_of(&mut anna, &view, "MARK-BESIDE");
    assert!(!goes(&dry_run(&world, case, beside), "letter_in").contains_key(&inner));
    assert_eq!(forget(&world, case, ciphertext), planned.len());
    assert_eq!(readable(&mut anna, case), Vec::<&str>::new());
    assert_eq!(stolen(&world, epoch(&world), &server, case), Vec::<&str>::new());
    assert!(!PROTECTED.iter().any(&shows));
    let (code, shown) = run(&world, &["show", &number]);
    assert_eq!((code, &shown["letters"][1]["standing"]), (0, &"forgotten".into()), "{shown}");
    let (code, said) = run(&world, &["audit", "certificate", &inner]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(anna.check().expect("checks").1, []);
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

/// Damages the only box of a letter, so that nobody can read it.
fn damage_letter(world: &World) {
    let thief = Thief::default().with(&world.state());
    let boxes = thief.boxes();
    let entry = boxes.iter().find(|entry| entry.box_kind == Some(Kind::Letter)).expect("is there");
    let sealed = thief.sealed(entry).expect("is in a pack");
    for file in files(&world.state()) {
        let bytes = std::fs::read(&file).expect("is read");
        if let Some(at) = bytes.windows(sealed.len()).position(|part| part == sealed) {
            use std::os::unix::fs::FileExt as _;
            let open = std::fs::File::options().write(true).open(&file).expect("opens");
            open.write_all_at(&[!sealed[60]], at as u64 + 60).expect("is damaged");
        }
    }
}

#[test]
fn of_a_letter_that_cannot_be_read_the_plan_is_known_all_the_same() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let case = deliver_one(&server, &mut anna, &letter());
    let view = anna.case(case).expect("is there");
    let all = named(&mut anna, &view, "all.zip");
    let expected = goes(&dry_run(&world, case, all), "out_of");
    damage_letter(&world);
    let letter = anna.case(case).expect("is there").letters.remove(0);
    assert!(letter.detail.is_none(), "its box does not open");
    let said = dry_run(&world, case, all);
    assert_eq!(goes(&said, "out_of"), expected);
    assert_eq!(said["letters_not_readable"][0], *letter.id().to_string());
    assert_eq!(forget(&world, case, all), expected.len());
    assert_eq!(readable(&mut anna, case), Vec::<&str>::new());
    drop(anna);
    runtime.block_on(server.stop());
}

/// Which items are the parts of an enclosed message stands in the letter's box and nowhere else.
#[test]
fn of_a_letter_that_cannot_be_read_the_parts_of_a_message_stay_and_the_plan_says_so() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let case = deliver_one(&server, &mut anna, &forwarded());
    let view = anna.case(case).expect("is there");
    let cards = &view.letters[0].detail.as_ref().expect("opens").items;
    let message =
        cards.iter().find(|card| card.media_type == "message/rfc822").expect("is there").id;
    let parts = goes(&dry_run(&world, case, message), "part_of");
    assert!(parts.len() > 4, "{parts:?}");
    damage_letter(&world);
    let letter = anna.case(case).expect("is there").letters.remove(0);
    assert!(letter.detail.is_none(), "its box does not open");
    let said = dry_run(&world, case, message);
    let only = BTreeSet::from([message.to_string()]);
    assert_eq!(goes(&said, "part_of").into_keys().collect::<BTreeSet<_>>(), only);
    assert_eq!(said["letters_not_readable"][0], *letter.id().to_string());
    assert_eq!(forget(&world, case, message), 1);
    assert_eq!(readable(&mut anna, case), MARKS, "nothing went that was not shown");
    // Named one by one they go.
    for (part, _) in parts.into_iter().filter(|(_, of)| of.is_some()) {
        forget(&world, case, part.parse().expect("an id"));
    }
    assert_eq!(readable(&mut anna, case), ["MARK-BESIDE"]);
    drop(anna);
    runtime.block_on(server.stop());
}
