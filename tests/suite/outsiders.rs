//! Outsiders keep checkpoints of the ledger: they come when they are due and not twice, they say what
//! was forgotten, and whoever has such a mail finds a ledger that was changed.

use std::sync::{Arc, Mutex};

use kluis::casebook::{Act, Filter};
use kluis::gateway::Gateway;
use kluis::ids::{CaseId, ItemId, SlotId};
use kluis::inbox::{self, Delivery, Kind, Listener, Recipients, Settings, Verdict};
use kluis::ledger::entry::{Entry, Fact};
use kluis::ledger::erasures::{self, Erasures};
use kluis::ledger::{self, Checkpoint, checkpoint};
use kluis::reply::checkpoint::text_of;
use kluis::staff::client::Client;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::forget::recording;
use crate::keyring::rotate;
use crate::mail_client::letter;
use crate::way::{deliver, entries, runtime};
use crate::world::{MAILBOX, World};

/// 2 November 2026, ten in the morning in Brussels.
const START: u64 = 1_793_610_000;
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const DPO: &str = "dpo@jobexpert.example";
const AUDITOR: &str = "auditor@outside.example";

/// From the next start, or reload, on checkpoints go to these.
pub(crate) fn send_checkpoints_to(world: &World, outsiders: &[&str]) {
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    let (before, after) = text.split_once("\n[checkpoints]\nto = [").expect("the table");
    let after = after.split_once("]\n").expect("its end").1;
    let quoted: Vec<String> = outsiders.iter().map(|to| format!("\"{to}\"")).collect();
    let text = format!("{before}\n[checkpoints]\nto = [{}]\n{after}", quoted.join(", "));
    std::fs::write(&file, text).expect("is written");
}

/// Letters, one case, and the items of that case.
fn with_a_case(world: &World, runtime: &Runtime) -> (CaseId, Vec<ItemId>) {
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(71, 1, 9_000)), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = anna.queue(Filter::All).expect("lists").remove(0);
    let items = case.letters[0].card.items.iter().map(|item| item.0).collect();
    drop(anna);
    runtime.block_on(server.stop());
    (case.card.case, items)
}

fn forget(client: &mut Client, case: CaseId, item: ItemId) {
    let reason = recording(client, case, Act::Note);
    client.forget(vec![item], reason, false).expect("is forgotten");
}

fn facts(gateway: &Gateway) -> Vec<Entry> {
    let all = gateway.casebook.store().entries(0, usize::MAX).expect("reads");
    all.into_iter().filter(|entry| entry.kind == Fact::CheckpointSent).collect()
}

/// What a mail says: the checkpoint, and the keys that were dropped.
fn read(world: &World, mail: &[u8]) -> (Checkpoint, Vec<Erasures>) {
    let (vault, public) = checkpoint::parse_vkey(&world.checkpoint_key).expect("a key");
    let text = text_of(mail);
    let note = checkpoint::in_text(&text).expect("is in there");
    let head = Checkpoint::verify(&note, &public).expect("is signed");
    let notes = erasures::in_text(&text);
    let notes = notes.iter().map(|note| Erasures::verify(note, vault, &public).expect("is signed"));
    (head, notes.collect())
}

fn slots(notes: &[Erasures]) -> Vec<SlotId> {
    notes.iter().flat_map(|note| note.slots.iter().copied()).collect()
}

/// The mails in the folder, which is emptied.
fn taken(world: &World) -> Vec<(Vec<u8>, String)> {
    let mails = world.delivered();
    let _ = std::fs::remove_dir_all(world.outgoing());
    let to = |envelope: &serde_json::Value| envelope["forward_path"][0].as_str().map(str::to_owned);
    mails.into_iter().map(|(mail, envelope)| (mail, to(&envelope).expect("one"))).collect()
}

#[test]
fn outsiders_get_a_checkpoint_once_a_day_and_within_the_hour_after_something_was_forgotten() {
    let (mut world, runtime) = (World::found_at(START), runtime());
    let (case, items) = with_a_case(&world, &runtime);
    assert!(taken(&world).is_empty(), "nobody is named yet");
    send_checkpoints_to(&world, &[DPO, AUDITOR]);

    // Each at its minute, in a process of its own: nothing is remembered but the ledger.
    let mut at = |time: u64| -> Vec<(Checkpoint, Vec<Erasures>)> {
        world.set_time(START + time);
        let gateway = world.open();
        for _ in 0..3 {
            runtime.block_on(gateway.mailer().step()).expect("steps");
        }
        let mails = taken(&world);
        let sent: Vec<_> = mails.iter().map(|(mail, _)| read(&world, mail)).collect();
        let named: Vec<_> = mails.iter().map(|(_, to)| to.as_str()).collect();
        if !mails.is_empty() {
            assert!(named.len() == 2 && named.contains(&DPO) && named.contains(&AUDITOR));
            assert_eq!(sent[0], sent[1]);
            let entry = facts(&gateway).pop().expect("is noted");
            assert_eq!((entry.position, entry.count), (Some(sent[0].0.size), Some(2)));
            assert_eq!(entry.seq, sent[0].0.size);
        }
        sent
    };
    let first = at(0);
    assert_eq!(slots(&first[0].1), []);
    assert_eq!(first[0].1[0].from, 0);
    for (time, is_sent) in [(0, false), (DAY - MINUTE, false), (DAY, true), (DAY, false)] {
        assert_eq!(!at(time).is_empty(), is_sent, "{time}");
    }
    // A clock that was set back sends nothing more, unless it was wrong by more than a day.
    assert!(at(DAY - 60 * MINUTE).is_empty());

    world.set_time(START + DAY + 10 * MINUTE);
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    forget(&mut anna, case, items[0]);
    drop(anna);
    let forgotten = entries(&server).into_iter().rfind(|entry| entry.kind == Fact::Forgotten);
    runtime.block_on(server.stop());
    let dropped = forgotten.and_then(|entry| entry.slot).expect("names its key");
    let mut at = |time: u64| -> Vec<Vec<SlotId>> {
        world.set_time(START + time);
        let gateway = world.open();
        runtime.block_on(gateway.mailer().step()).expect("steps");
        taken(&world).iter().map(|(mail, _)| slots(&read(&world, mail).1)).collect()
    };
    assert!(at(DAY + 59 * MINUTE).is_empty());
    assert_eq!(at(DAY + 60 * MINUTE), [[dropped], [dropped]]);
    assert!(at(DAY + 120 * MINUTE).is_empty(), "once is enough");
    assert_eq!(at(2 * DAY + 60 * MINUTE), [[], []], "the daily one names nothing twice");
    // Weeks ahead by mistake, then set right: it goes on.
    assert_eq!(at(60 * DAY).len(), 2);
    assert_eq!(at(3 * DAY).len(), 2);
    assert!(at(3 * DAY).is_empty());
}

#[test]
fn a_checkpoint_mail_says_nothing_about_anyone_and_is_answered_by_no_machine() {
    let (world, runtime) = (World::found_at(START), runtime());
    let (case, _) = with_a_case(&world, &runtime);
    send_checkpoints_to(&world, &[DPO]);
    let gateway = world.open();
    runtime.block_on(gateway.mailer().step()).expect("steps");
    let (mail, envelope) = world.delivered().remove(0);
    assert!(envelope["reverse_path"].is_null(), "a bounce would come in as a letter: {envelope}");
    let raw = String::from_utf8(mail.clone()).expect("is ASCII");
    for field in ["\r\nAuto-Submitted: auto-generated\r\n", "\r\nX-Auto-Response-Suppress: All\r\n"]
    {
        assert!(raw.contains(field), "{raw}");
    }
    assert!(raw.starts_with(&format!("From: {MAILBOX}\r\nTo: {DPO}\r\n")), "{raw}");
    let text = text_of(&mail);
    assert!(!text.contains(&case.to_string()) && !text.contains("load@client.example"));
    assert!(text.contains("kluis audit verify --checkpoint FILE"));
    // Every line of the body is ours: words, or lines of signed notes.
    let (head, notes) = read(&world, &mail);
    assert_eq!((head.vault, notes.len()), (world.vault, 1));
}

#[test]
fn the_doctor_says_when_the_last_one_is_too_old() {
    let now = kluis::clock::Clock::System.seconds();
    for (age, says) in [(0, "outsiders were mailed"), (3 * DAY, "3 days ago: one is due every day")]
    {
        let world = World::found_at(now - age);
        send_checkpoints_to(&world, &[DPO]);
        let gateway = world.open();
        let runtime = runtime();
        runtime.block_on(gateway.mailer().step()).expect("steps");
        drop(gateway);
        let mut doctor = std::process::Command::new(crate::world::KLUIS);
        let output = doctor.arg("doctor").arg(world.state()).output().expect("runs");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(said.contains(says), "{said}");
    }
}

/// A server that takes mail for one outsider and answers the others 550.
fn receiver(runtime: &Runtime, takes: &str, verdict: Verdict) -> (u16, Arc<Mutex<Vec<Delivery>>>) {
    let taken: Arc<Mutex<Vec<Delivery>>> = Arc::default();
    let keep = Arc::clone(&taken);
    let deliver: inbox::Deliver = Arc::new(move |delivery| {
        keep.lock().expect("no holder panics").push(delivery);
        Box::pin(async move { verdict })
    });
    let settings = Settings { recipients: Recipients::new([takes], false), ..Settings::default() };
    let port = runtime.block_on(async {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = socket.local_addr().expect("is bound").port();
        let listener = Listener::tcp(Kind::Smtp, socket);
        tokio::spawn(inbox::run(
            vec![listener],
            Arc::new(settings),
            deliver,
            std::future::pending(),
        ));
        port
    });
    (port, taken)
}

#[test]
fn who_cannot_be_reached_is_tried_again_and_who_is_refused_holds_nobody_up() {
    let (world, runtime) = (World::found_at(START), runtime());
    send_checkpoints_to(&world, &[DPO, AUDITOR]);
    let step = |gateway: &Gateway| {
        let mut mailer = gateway.mailer();
        runtime.block_on(async { mailer.step().await.map(|_| ()) }).expect("steps");
        mailer
    };

    // Nobody answers: nothing is noted, and it stays due.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = closed.local_addr().expect("is bound").port();
    drop(closed);
    world.send_to(port);
    let gateway = world.open();
    let mut mailer = step(&gateway);
    assert!(facts(&gateway).is_empty() && gateway.casebook.dispatch_is_due());

    // One takes it, the other says later: that one alone is tried again, in the same process.
    let (port, _) = receiver(&runtime, DPO, Verdict::TryLater);
    world.send_to(port);
    gateway.live().reload();
    runtime.block_on(async { mailer.step().await.map(|_| ()) }).expect("steps");
    assert!(facts(&gateway).is_empty(), "one said later, one was refused: nobody has it");
    assert!(gateway.casebook.dispatch_is_due());
    drop((gateway, mailer));

    // Refused for good: the round goes on without them.
    let (port, taken) = receiver(&runtime, DPO, Verdict::Accepted);
    world.send_to(port);
    let gateway = world.open();
    let mut mailer = step(&gateway);
    assert_eq!(taken.lock().expect("no holder panics").len(), 1);
    let noted = facts(&gateway);
    assert_eq!((noted.len(), noted[0].count), (1, Some(1)));
    assert_eq!(noted[0].position, Some(noted[0].seq));
    for _ in 0..3 {
        runtime.block_on(async { mailer.step().await.map(|_| ()) }).expect("steps");
    }
    assert_eq!(taken.lock().expect("no holder panics").len(), 1, "not in a loop");
    let raw = taken.lock().expect("no holder panics")[0].raw.clone();
    assert_eq!(read(&world, &raw).0.size, noted[0].seq);
}

#[test]
fn what_not_everybody_was_told_is_told_again() {
    let (mut world, runtime) = (World::found_at(START), runtime());
    let (case, items) = with_a_case(&world, &runtime);
    let server = runtime.block_on(world.serve());
    let casebook = &server.casebook;
    let first = casebook.dispatch().expect("is made");
    casebook.dispatched(&first, 2, true).expect("is noted");
    let mut anna = world.log_in("anna").expect("logs in");
    forget(&mut anna, case, items[0]);
    let second = casebook.dispatch().expect("is made");
    assert_eq!((second.dropped(), second.looked_through().0), (1, first.size()));
    casebook.dispatched(&second, 1, false).expect("is noted");
    assert!(!casebook.dispatch_is_due(), "who has it is left alone for today");
    forget(&mut anna, case, items[1]);
    let third = casebook.dispatch().expect("is made");
    assert_eq!((third.dropped(), third.looked_through().0), (2, first.size()));
    // The late one comes after all: the next begins where that one ended.
    casebook.dispatched(&second, 1, true).expect("is noted");
    let fourth = casebook.dispatch().expect("is made");
    assert_eq!((fourth.dropped(), fourth.looked_through().0), (1, second.size()));
    drop(anna);
    runtime.block_on(server.stop());
    world.set_time(START + 60 * MINUTE);
    let gateway = world.open();
    assert!(gateway.casebook.dispatch_is_due(), "something was forgotten since");
    assert_eq!(gateway.casebook.dispatch().expect("is made").looked_through().0, second.size());
}

#[test]
fn a_box_that_was_sealed_anew_is_forgotten_with_every_key_it_had() {
    let (world, runtime) = (World::found_at(START), runtime());
    let (case, items) = with_a_case(&world, &runtime);
    let server = runtime.block_on(world.serve());
    let mut keys = Vec::new();
    let key_of = |item: ItemId| {
        let all = entries(&server);
        let newest = all.iter().rfind(|entry| entry.item == Some(item) && entry.boxed.is_some());
        newest.and_then(|entry| entry.slot).expect("has one")
    };
    for _ in 0..2 {
        keys.insert(0, key_of(items[0]));
        let mut adam = world.log_in("adam").expect("logs in");
        rotate(&world, &mut adam);
        let mut anna = world.log_in("anna").expect("logs in and proves");
        assert!(anna.reseal(u64::MAX, &mut |_| ()).expect("seals").boxes > 3);
    }
    keys.insert(0, key_of(items[0]));
    let sealed_anew = server.casebook.dispatch().expect("is made");
    assert_eq!(
        sealed_anew.dropped(),
        0,
        "an older backup needs the keys of what was not forgotten"
    );
    let mut anna = world.log_in("anna").expect("logs in");
    forget(&mut anna, case, items[0]);
    let dispatch = server.casebook.dispatch().expect("is made");
    let public = checkpoint::parse_vkey(&world.checkpoint_key).expect("a key").1;
    let notes = dispatch.erasures().iter();
    let notes = notes.map(|note| Erasures::verify(note, world.vault, &public).expect("is signed"));
    assert_eq!(slots(&notes.collect::<Vec<_>>()), keys);
    // The certificate shows the box as it was sealed last.
    let seq = entries(&server).iter().rfind(|entry| entry.kind == Fact::Forgotten).map(|e| e.seq);
    let certificate = anna.certificate(seq.expect("is there")).expect("is made");
    let proven = certificate.prove(world.vault, &public).expect("holds");
    let sealed = proven.sealed.expect("is shown");
    assert_eq!((sealed.kind, sealed.slot), (Fact::Resealed, Some(keys[0])));
    runtime.block_on(server.stop());
}

#[test]
fn a_checkpoint_mail_finds_a_ledger_that_was_changed() {
    let (world, runtime) = (World::found_at(START), runtime());
    with_a_case(&world, &runtime);
    send_checkpoints_to(&world, &[DPO]);
    let gateway = world.open();
    runtime.block_on(gateway.mailer().step()).expect("steps");
    let mail = world.delivered().remove(0).0;
    let store = gateway.casebook.store();
    let mut leaves = store.entry_bytes(0, usize::MAX).expect("reads");
    let head = store.checkpoint().expect("signs");
    let public = checkpoint::parse_vkey(&world.checkpoint_key).expect("a key").1;
    let earlier = checkpoint::in_text(&text_of(&mail)).expect("is in there");
    let check = |leaves: &[Vec<u8>], head: &str| {
        let leaves = leaves.iter().map(Vec::as_slice);
        ledger::audit(leaves, head, Some(&earlier), &public).map(|_| ())
    };
    assert_eq!(check(&leaves, &head), Ok(()));
    // The forger has the server's key, too.
    let seed = gateway.casebook.server_key(ledger::entry::CHECKPOINT_KEY).expect("is there");
    let entry = Entry::from_bytes(&leaves[2]).expect("an entry");
    leaves[2] = Entry { minute: entry.minute + 1, ..entry }.to_bytes();
    let mut tree = ledger::tree::Tree::default();
    leaves.iter().for_each(|leaf| tree.append(ledger::tree::leaf(leaf)));
    let (vault, size) = (world.vault, tree.size());
    let root = tree.root(size).expect("its own size");
    let forged = Checkpoint { vault, size, root }.sign(seed.expose());
    assert!(matches!(check(&leaves, &forged), Err(ledger::Error::Differs(_))));
}
