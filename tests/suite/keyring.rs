//! Staff come and go, epochs change, and at every step who can open what is what the admin signed.

use std::path::Path;
use std::process::Command;

use kluis::casebook::Filter;
use kluis::casebook::protocol::{Request, Response};
use kluis::casebook::state::Wrapped;
use kluis::ids::{EpochId, ItemId, StaffId};
use kluis::keys::admin::AdminKey;
use kluis::keys::epoch::EpochSecret;
use kluis::keys::epoch_note::EpochNote;
use kluis::keys::mailbox_note::MailboxNote;
use kluis::keys::roster::{Member, Role, Roster};
use kluis::keys::wrapped;
use kluis::ledger::entry::{Entry, Fact};
use kluis::staff::agent::Opener;
use kluis::staff::client::{Client, Error};
use kluis::staff::reseal::Progress;
use kluis::staff::seen::{Newest, Seen};
use kluis::vault::seal::Kind;

use crate::forget::recording;
use crate::log_in::{Line, refusal};
use crate::mail_client::letter;
use crate::thief::{Thief, copy};
use crate::way::{count, deliver, entries, runtime};
use crate::world::{MAILBOX, Server, World};

/// So many boxes sealed anew, and no content.
fn boxes(count: u64) -> Progress {
    Progress { boxes: count, ..Progress::default() }
}

pub(crate) fn items(server: &Server) -> Vec<ItemId> {
    let all = entries(server);
    let items = all.iter().filter(|entry| entry.box_kind == Some(Kind::Item));
    let mut items: Vec<ItemId> = items.filter_map(|entry| entry.item).collect();
    items.sort_unstable();
    items.dedup();
    items
}

/// The roster with one change, signed and in force.
fn change(world: &World, adam: &mut Client, edit: impl FnOnce(&mut Roster, StaffId)) -> Roster {
    let in_force = adam.roster().expect("is in force");
    let mut new = Roster { version: in_force.roster.version + 1, ..in_force.roster };
    edit(&mut new, in_force.next);
    adam.sign_roster(&new, &world.admin()).expect("is taken");
    new
}

fn hire(world: &World, adam: &mut Client, name: &str, role: Role) -> StaffId {
    let recipient = world.make_key(name).recipient().clone();
    let mut number = StaffId(0);
    change(world, adam, |roster, next| {
        number = next;
        let (name, roles) = (name.to_owned(), [role].into());
        roster.members.push(Member { id: next, name, roles, recipient });
    });
    number
}

pub(crate) fn dismiss(world: &World, adam: &mut Client, name: &str) {
    change(world, adam, |roster, _| roster.members.retain(|member| member.name != name));
}

/// A new epoch, as an admin who reads nothing makes it.
pub(crate) fn rotate(world: &World, adam: &mut Client) -> EpochId {
    let in_force = adam.roster().expect("is in force");
    let (epoch, proven) = adam.add_epoch(&in_force, &world.admin()).expect("is taken");
    assert!(!proven, "adam does not read");
    epoch
}

fn opens_everything(client: &mut Client, server: &Server) -> usize {
    let items = items(server);
    client.look(&items).expect("every item opens").len()
}

/// Hands the admin key over, hires somebody, makes a new epoch, and seals some boxes to it.
pub(crate) fn shake(world: &World) {
    let new = AdminKey::generate();
    let mut adam = world.log_in("adam").expect("logs in");
    hire(world, &mut adam, "fatima", Role::Dpo);
    let in_force = adam.roster().expect("is in force");
    adam.hand_over(&in_force, &world.admin(), &new).expect("is taken");
    let in_force = adam.roster().expect("is in force");
    adam.add_epoch(&in_force, &new).expect("is taken");
    let mut anna = world.log_in("anna").expect("logs in and proves");
    anna.rewrap().expect("wraps");
    assert_eq!(anna.reseal(5, &mut |_| ()).expect("seals"), boxes(5));
}

#[test]
fn a_new_member_reads_what_was_there_before_as_soon_as_a_reader_has_logged_in() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(1, 1, 3000)), [250]);
    let mut adam = world.log_in("adam").expect("logs in");
    let number = hire(&world, &mut adam, "fatima", Role::Backoffice);
    assert_eq!(number, StaffId(6));

    let mut fatima = world.log_in("fatima").expect("logs in");
    let first = fatima.queue(Filter::All);
    assert!(matches!(first, Err(Error::NoKey)), "epoch 1 is not wrapped to her yet");
    assert_eq!(fatima.rewrap().expect("asks"), (0, 2), "she cannot do it herself");

    let mut anna = world.log_in("anna").expect("logs in");
    assert!(anna.stale);
    assert_eq!(anna.rewrap().expect("wraps"), (2, 0), "the epoch, and the mailbox's secret");
    assert!(!world.log_in("bert").expect("logs in").stale);
    let mut fatima = world.log_in("fatima").expect("logs in");
    assert_eq!(opens_everything(&mut fatima, &server), items(&server).len());
    assert_eq!(fatima.mailbox_keys().expect("opens").len(), 1);
    assert_eq!(count(&server, Fact::ReWrapped), 2);
    // It all holds after a restart.
    runtime.block_on(server.stop());
    let server = runtime.block_on(world.serve());
    let mut fatima = world.log_in("fatima").expect("logs in");
    assert!(!fatima.stale);
    assert_eq!(opens_everything(&mut fatima, &server), items(&server).len());
    runtime.block_on(server.stop());
}

#[test]
fn who_is_revoked_in_the_middle_of_a_download_gets_nothing_more() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(2, 1, 20 << 20)), [250]);
    let mut adam = world.log_in("adam").expect("logs in");
    let mut bert = world.log_in("bert").expect("logs in");
    let mut idle = world.log_in("bert").expect("logs in twice");
    let mut anna = world.log_in("anna").expect("logs in");
    let sealed = bert.look_at(&items(&server)).expect("looks");
    let large = sealed.iter().max_by_key(|item| item.length()).expect("has items");
    let (mut got, mut revoked) = (0, false);
    let fetched = bert.fetch(large, &mut |part| {
        if !revoked {
            dismiss(&world, &mut adam, "bert");
            revoked = true;
        }
        got += part.len() as u64;
        Ok(())
    });
    assert!(matches!(fetched, Err(Error::Broken(_))), "{:?}", fetched.err());
    // What lay in the socket already is all he got: the requests that were ahead.
    assert!(got < large.length() / 2, "{got} of {}", large.length());
    assert!(idle.queue(Filter::All).is_err());
    assert!(matches!(world.log_in("bert"), Err(Error::Refused(_))));
    assert!(anna.queue(Filter::All).is_ok(), "others go on");

    let all = entries(&server);
    let at = all.iter().position(|e| e.kind == Fact::MemberRevoked).expect("is entered");
    assert_eq!(all[at].staff, Some(StaffId(2)));
    assert!(
        all[at..].iter().all(|e| e.staff != Some(StaffId(2)) || e.kind == Fact::MemberRevoked),
        "nothing of his is entered after it"
    );
    // His number is nobody else's, ever.
    assert_eq!(hire(&world, &mut adam, "bert", Role::Backoffice), StaffId(6));
    let reused = Roster {
        version: 9,
        members: {
            let roster = adam.roster().expect("is in force").roster;
            let mut members = roster.members;
            members.last_mut().expect("has members").id = StaffId(2);
            members
        },
        ..adam.roster().expect("is in force").roster
    };
    let refused = adam.sign_roster(&reused, &world.admin());
    assert!(matches!(refused, Err(Error::Refused(why)) if why.contains("number 2")));
    runtime.block_on(server.stop());
}

#[test]
fn whoever_takes_themselves_out_is_told_so_and_then_is_out() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    hire(&world, &mut adam, "eve", Role::Admin);
    dismiss(&world, &mut adam, "adam");
    assert!(adam.status().is_err());
    assert!(world.log_in("eve").expect("logs in").status().is_ok());
    runtime.block_on(server.stop());
}

#[test]
fn no_roster_is_taken_that_the_admin_did_not_sign_or_that_is_not_newer() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    let admin = world.admin();
    let first = std::fs::read_to_string(world.state().join("roster/1.note")).expect("is there");
    let one = adam.roster().expect("is in force").roster;
    let two = change(&world, &mut adam, |roster, _| roster.members.retain(|m| m.name != "olga"));
    let version = |version, of: &Roster| Roster { version, ..of.clone() };
    let other_vault = Roster { vault: kluis::ids::VaultId::random(), ..version(3, &two) };
    let unsigned = version(3, &two).sign(&AdminKey::generate()).expect("follows the rules");
    let one_reader = {
        let mut roster = version(3, &two);
        roster.members.retain(|member| !matches!(member.name.as_str(), "anna" | "bert"));
        admin.sign_note(&roster.to_text())
    };
    let no_admin = {
        let mut roster = version(3, &two);
        roster.members.retain(|member| member.name != "adam");
        roster.sign(&admin).expect("follows the rules of a roster")
    };
    let sign = |roster: &Roster| roster.sign(&admin).expect("follows the rules");
    let mut line = Line::open(&world);
    line.log_in(&world, "adam");
    let offers = [
        (first.clone(), "not newer"),
        (sign(&version(2, &one)), "not newer"),
        (sign(&two), "not newer"),
        (sign(&other_vault), "another vault"),
        (unsigned, "did not sign"),
        (one_reader, "at least two members"),
        (first.replace("anna", "eve"), "did not sign"),
        (no_admin, "no admin"),
        (String::new(), "did not sign"),
    ];
    let before = entries(&server).len();
    for (note, why) in &offers {
        let refused = refusal(line.ask(&Request::SignRoster { note: note.clone() }));
        assert!(refused.contains(why), "{refused}");
    }
    let after = entries(&server);
    assert_eq!(after.len(), before + offers.len(), "each is entered, and nothing else");
    assert!(after[before..].iter().all(|entry| entry.kind == Fact::KeyChangeRefused));
    assert_eq!(adam.roster().expect("is in force").roster, two);
    // Not even on disk: what the ledger does not name is not the roster.
    runtime.block_on(server.stop());
    std::fs::write(world.state().join("roster/2.note"), first).expect("written");
    let opened = std::panic::catch_unwind(|| world.open());
    assert!(opened.is_err(), "a roster that was rolled back on disk stops the start");
}

#[test]
fn no_epoch_is_taken_that_is_older_unsigned_for_others_or_with_another_file() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    let admin = world.admin();
    let roster = adam.roster().expect("is in force").roster;
    let secret = EpochSecret::generate();
    let file = wrapped::wrap_epoch(&secret, &roster);
    let note = |number, by: &AdminKey, roster: &Roster| {
        let made = EpochNote::new(EpochId(number), &secret.public(), roster, &file);
        made.sign(by).expect("follows the rules")
    };
    let fewer = Roster {
        members: roster.members.iter().filter(|m| m.name != "bert").cloned().collect(),
        ..roster.clone()
    };
    let other_vault = Roster { vault: kluis::ids::VaultId::random(), ..roster.clone() };
    let offers = [
        (note(1, &admin, &roster), file.clone(), "not newer"),
        (note(2, &AdminKey::generate(), &roster), file.clone(), "did not sign"),
        (note(2, &admin, &fewer), file.clone(), "others than the readers"),
        (note(2, &admin, &other_vault), file.clone(), "another vault"),
        (note(2, &admin, &roster), file[..file.len() - 1].to_vec(), "not the one that its note"),
    ];
    let mut line = Line::open(&world);
    line.log_in(&world, "adam");
    let before = entries(&server).len();
    for (note, file, why) in offers.clone() {
        let refused = refusal(line.ask(&Request::AddEpoch { note, file }));
        assert!(refused.contains(why), "{refused}");
    }
    let after = entries(&server);
    assert_eq!(after.len(), before + offers.len());
    assert!(after[before..].iter().all(|entry| entry.kind == Fact::KeyChangeRefused));
    assert!(!world.state().join("epochs/2.age").exists());

    // The right one is taken once, and sealed to only after a reader has opened a copy of it.
    let good = Request::AddEpoch { note: note(2, &admin, &roster), file };
    assert!(matches!(line.ask(&good), Response::Recorded { .. }));
    assert!(refusal(line.ask(&good)).contains("not newer"), "a replay");
    let epoch_of = |n: u64| {
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter(3, n, 500)), [250]);
        entries(&server).last().and_then(|entry| entry.epoch)
    };
    let epochs = || -> Vec<EpochId> {
        let all = entries(&server);
        all.iter().filter(|e| e.box_kind == Some(Kind::Letter)).filter_map(|e| e.epoch).collect()
    };
    epoch_of(1);
    assert_eq!(epochs(), [EpochId(1)]);
    world.log_in("olga").expect("an auditor proves nothing");
    epoch_of(2);
    assert_eq!(epochs(), [EpochId(1); 2]);
    world.log_in("dora").expect("logs in");
    epoch_of(3);
    assert_eq!(epochs(), [EpochId(1), EpochId(1), EpochId(2)]);
    runtime.block_on(server.stop());
}

#[test]
fn no_mailbox_key_is_taken_that_is_older_unsigned_for_others_or_with_other_files() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    let roster = adam.roster().expect("is in force").roster;
    let file = wrapped::wrap_secret(wrapped::Kind::Mailbox, b"a secret", &roster);
    let note = |number, by: &AdminKey, roster: &Roster| {
        let made = MailboxNote::new(number, "AB01", "a certificate", &file, roster);
        made.sign(by).expect("follows the rules")
    };
    let (admin, stranger) = (world.admin(), AdminKey::generate());
    let fewer = Roster {
        members: roster.members.iter().filter(|m| m.name != "bert").cloned().collect(),
        ..roster.clone()
    };
    let other_vault = Roster { vault: kluis::ids::VaultId::random(), ..roster.clone() };
    let good = note(2, &admin, &roster);
    let mut line = Line::open(&world);
    line.log_in(&world, "adam");
    let before = entries(&server).len();
    let offers = [
        (note(1, &admin, &roster), "a certificate", &file[..], "not newer"),
        (note(2, &stranger, &roster), "a certificate", &file, "did not sign"),
        (note(2, &admin, &fewer), "a certificate", &file, "others than the readers"),
        (note(2, &admin, &other_vault), "a certificate", &file, "another vault"),
        (good.clone(), "another certificate", &file, "not the one that its note"),
        (good, "a certificate", &file[1..], "not the one that its note"),
    ];
    for (note, certificate, file, why) in &offers {
        let (note, certificate) = (note.clone(), (*certificate).to_owned());
        let refused =
            refusal(line.ask(&Request::AddMailbox { note, certificate, file: file.to_vec() }));
        assert!(refused.contains(why), "{refused}");
    }
    let after = entries(&server);
    assert_eq!(after.len(), before + offers.len(), "each is entered, and nothing else");
    assert!(after[before..].iter().all(|entry| entry.kind == Fact::KeyChangeRefused));
    assert!(!world.state().join("mailbox/2.age").exists());
    runtime.block_on(server.stop());
}

#[test]
fn a_public_key_that_was_swapped_on_disk_stops_the_start() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    rotate(&world, &mut adam);
    runtime.block_on(server.stop());
    let path = world.state().join("epochs/2.note");
    let text = std::fs::read_to_string(&path).expect("is there");
    let own = EpochSecret::generate().public().to_string();
    let public = text.lines().find_map(|line| line.strip_prefix("public ")).expect("names it");
    std::fs::write(&path, text.replace(public, &own)).expect("written");
    assert!(std::panic::catch_unwind(|| world.open()).is_err());
}

#[test]
fn after_a_reseal_the_old_secret_is_gone_and_opens_nothing() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    for n in 0..3 {
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter(4, n, 40_000)), [250]);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    let case = anna.queue(Filter::All).expect("lists")[0].card.case;
    let note = recording(&anna, case, kluis::casebook::Act::Decide);
    anna.record(note).expect("decides");
    let forgotten = items(&server)[0];
    let case_of = |item| {
        let all = entries(&server);
        let entry = all.iter().find(|entry| entry.item == Some(item)).cloned();
        entry.and_then(|entry| entry.case).expect("has a case")
    };
    let reason = recording(&anna, case_of(forgotten), kluis::casebook::Act::Note);
    anna.forget(vec![forgotten], reason, false).expect("forgets");
    let old_secret =
        wrapped::unwrap_epoch(&read(&world, "epochs/1.age"), &world.key("bert")).expect("opens");
    let contents = |client: &mut Client| -> Vec<(ItemId, Vec<u8>)> {
        let kept = items(&server).into_iter().filter(|item| *item != forgotten);
        let kept: Vec<ItemId> = kept.collect();
        let looked = client.look(&kept).expect("opens");
        looked.into_iter().map(|item| (item.id, item.stored.to_vec())).collect()
    };
    let before = contents(&mut anna);
    let stolen = tempfile::tempdir().expect("a folder");
    copy(&world.state(), &stolen.path().join("state"));
    copy(&world.cabinet_key(), &stolen.path().join("key"));
    let again = EpochSecret::from_text(&old_secret.to_text()).expect("reads");
    let thief = Thief::default().with(stolen.path()).knowing(again);
    assert!(opened_by(&thief) > 0, "before, both keys opened what was there");

    let mut adam = world.log_in("adam").expect("logs in");
    dismiss(&world, &mut adam, "bert");
    let roster = adam.roster().expect("is in force").roster;
    assert_eq!(world.log_in("dora").expect("logs in").outsiders(&roster), ["bert"]);
    rotate(&world, &mut adam);
    let mut anna = world.log_in("anna").expect("logs in and proves");
    assert_eq!(world.log_in("dora").expect("logs in").outsiders(&roster), [""; 0]);
    assert_eq!(anna.rewrap().expect("wraps"), (2, 0), "epoch 2 was made for this roster");
    let status = anna.status().expect("tells");
    let old = status.by_epoch.iter().find(|(epoch, _)| *epoch == EpochId(1)).expect("is used").1;
    let refused = adam.destroy_epochs();
    assert!(matches!(refused, Err(Error::Refused(why)) if why.contains("still sealed")));

    // In two goes, a letter between them.
    let mut told = Vec::new();
    assert_eq!(anna.reseal(2, &mut |done| told.push(done.boxes)).expect("seals"), boxes(2));
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(4, 9, 40_000)), [250]);
    let told_of = &mut |done: Progress| told.push(done.boxes);
    assert_eq!(anna.reseal(u64::MAX, told_of).expect("seals"), boxes(old - 2));
    assert_eq!(anna.reseal(u64::MAX, &mut |_| ()).expect("nothing is left"), boxes(0));
    assert_eq!(told.last(), Some(&(old - 2)));
    assert_eq!(adam.destroy_epochs().expect("none is used"), [EpochId(1)]);
    assert_eq!(adam.destroy_epochs().expect("once"), []);
    for name in ["1.age", "1.before.age"] {
        assert!(!world.state().join("epochs").join(name).exists(), "{name}");
    }
    assert_eq!(count(&server, Fact::Resealed) as u64, old);
    assert_eq!(anna.status().expect("tells").by_epoch.len(), 1);

    // Whoever seals to it still is refused: nobody could read it.
    let stale = {
        let mut sealing = kluis::staff::sealing::Sealing::new(
            case,
            kluis::casebook::Act::Note,
            (EpochId(1), old_secret.public()),
        );
        let subject = kluis::casebook::detail::NoteSubject::Remark;
        sealing.note(subject, "too late", None, Vec::new());
        sealing.finish()
    };
    assert!(matches!(anna.record(stale), Err(Error::Refused(why)) if why.contains("newer epoch")));

    // Content is what it was, also after a restart; so is what was forgotten.
    let mut all = contents(&mut anna);
    all.retain(|(id, _)| before.iter().any(|(known, _)| known == id));
    assert_eq!(all, before);
    adam.rotate_cabinet().expect("rotates");
    runtime.block_on(server.stop());
    let server = runtime.block_on(world.serve());
    let mut dora = world.log_in("dora").expect("logs in");
    let kept: Vec<ItemId> = before.iter().map(|(id, _)| *id).collect();
    assert_eq!(dora.look(&kept).expect("opens").len(), before.len());
    assert!(matches!(dora.look(&[forgotten]), Err(Error::Forgotten)));
    let (_, problems, _) = dora.check().expect("checks");
    assert_eq!(problems, []);
    let case_of_note = dora.notes(case).expect("opens");
    assert!(!case_of_note.is_empty(), "notes were sealed anew, too");

    // Bert kept the secret of epoch 1 and gets a copy of everything that lies there today.
    runtime.block_on(server.stop());
    let copies = tempfile::tempdir().expect("a folder");
    copy(&world.state(), &copies.path().join("state"));
    copy(&world.cabinet_key(), &copies.path().join("key"));
    let thief = Thief::default().with(copies.path()).knowing(old_secret);
    let opened = opened_by(&thief);
    assert_eq!(opened, 0, "two keys, and the cabinet's old one is gone");
}

/// Boxes for staff that a thief opens.
fn opened_by(thief: &Thief) -> usize {
    let boxes = thief.boxes();
    boxes.iter().filter(|entry| entry.epoch.is_some() && thief.open(entry).is_some()).count()
}

fn read(world: &World, name: &str) -> Vec<u8> {
    std::fs::read(world.state().join(name)).expect("is there")
}

#[test]
fn what_is_sealed_anew_must_be_the_same_content_and_the_newest_epoch() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(5, 1, 90_000)), [250]);
    let mut adam = world.log_in("adam").expect("logs in");
    rotate(&world, &mut adam);
    let mut line = Line::open(&world);
    world.log_in("anna").expect("logs in and proves");
    line.log_in(&world, "anna");
    let Response::Boxes { boxes } =
        line.ask(&Request::ToReseal { after: None, most: 9999, with_content: false })
    else {
        panic!("boxes are handed out")
    };
    let with_chunks = boxes
        .iter()
        .find(|opened| opened.inner.as_ref().is_some_and(|inner| !inner.chunks.is_empty()))
        .expect("an item has chunks");
    let resealed = |change: &dyn Fn(&mut kluis::casebook::keyring::Resealed)| {
        let mut new = kluis::casebook::keyring::Resealed {
            kind: with_chunks.place.kind,
            item: with_chunks.place.item,
            slot: with_chunks.slot,
            inner: with_chunks.inner.clone().expect("opens"),
            epoch: EpochId(2),
            content: None,
        };
        change(&mut new);
        Request::Reseal { boxes: vec![new] }
    };
    let before = entries(&server).len();
    for (request, why) in [
        (resealed(&|new| new.epoch = EpochId(1)), "newest epoch"),
        (resealed(&|new| new.epoch = EpochId(3)), "newest epoch"),
        (resealed(&|new| new.inner.chunks.clear()), "other chunks"),
        (resealed(&|new| new.item = ItemId::random()), "no such box"),
        (resealed(&|new| new.inner.sealed = vec![0; 100 << 20]), "too long"),
        (
            match resealed(&|_| ()) {
                Request::Reseal { boxes } => {
                    Request::Reseal { boxes: [&boxes[..], &boxes].concat() }
                }
                _ => unreachable!("it is one"),
            },
            "twice",
        ),
    ] {
        let refused = refusal(line.ask(&request));
        assert!(refused.contains(why), "{refused}");
    }
    // What is handed out to be sealed anew is not looked at: its content stays where it is.
    let address = with_chunks.inner.as_ref().expect("opens").chunks[0];
    assert!(refusal(line.ask(&Request::Chunk { address })).contains("a look comes first"));
    let dora = &mut Line::open(&world);
    dora.log_in(&world, "dora");
    assert!(refusal(dora.ask(&resealed(&|_| ()))).contains("role"), "she decides nothing");
    let kept = line.ask(&resealed(&|new| new.slot = kluis::ids::SlotId::random()));
    assert!(matches!(kept, Response::Kept { count: 0 }), "somebody else was faster");
    let after = entries(&server);
    assert!(after[before..].iter().all(|entry| entry.kind == Fact::LoggedIn));
    // Who reads nothing gets no boxes and keeps none.
    let mut line = Line::open(&world);
    line.log_in(&world, "adam");
    assert!(
        refusal(line.ask(&Request::ToReseal { after: None, most: 1, with_content: false }))
            .contains("role")
    );
    assert!(refusal(line.ask(&resealed(&|_| ()))).contains("role"));
    runtime.block_on(server.stop());
}

#[test]
fn a_secret_is_wrapped_anew_only_when_the_roster_changed_and_to_as_many_as_read() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    let roster = adam.roster().expect("is in force").roster;
    let secret = EpochSecret::generate();
    let good = wrapped::wrap_epoch(&secret, &roster);
    let what = Wrapped::Epoch(EpochId(1));
    let mut line = Line::open(&world);
    line.log_in(&world, "anna");
    let offer = |line: &mut Line, what, file: &[u8]| {
        refusal(line.ask(&Request::Rewrap { what, version: 2, file: file.to_vec() }))
    };
    assert!(offer(&mut line, what, &good).contains("already"));
    hire(&world, &mut adam, "fatima", Role::Dpo);
    for (what, file, why) in [
        (what, &b"age-encryption.org/v1\n-> X25519 a\nb\n--- c\n"[..], "no age file to every"),
        (what, &b"nothing"[..], "no age file"),
        (Wrapped::Epoch(EpochId(7)), &good[..], "already"),
        (Wrapped::Mailbox(2), &good[..], "already"),
    ] {
        let refused = offer(&mut line, what, file);
        assert!(refused.contains(why), "{refused}");
    }
    // For the readers of a roster that is not in force any more, or not yet.
    for version in [1, 3] {
        let request = Request::Rewrap { what, version, file: good.clone() };
        assert!(refusal(line.ask(&request)).contains("others than the readers"));
    }
    // The data protection officer does not get the mailbox's secret, and so wraps none.
    let mut dora = world.log_in("dora").expect("logs in");
    assert_eq!(dora.rewrap().expect("wraps"), (1, 1));
    assert_eq!(world.log_in("anna").expect("logs in").rewrap().expect("wraps"), (1, 0));
    // The file before stays: if a reader wrapped rubbish, it is there.
    let before = read(&world, "epochs/1.before.age");
    assert!(wrapped::unwrap_epoch(&before, &world.key("bert")).is_ok());
    runtime.block_on(server.stop());
}

/// Runs the program as this member.
pub(crate) fn kluis(world: &World, member: &str, arguments: &[&str]) -> std::process::Output {
    program(world, member, arguments).arg("--json").output().expect("kluis runs")
}

/// The program with these arguments, as this member runs it.
pub(crate) fn program(world: &World, member: &str, arguments: &[&str]) -> Command {
    let keys = world.root.path().join("keys");
    let words = world.root.path().join("words");
    std::fs::write(&words, "correct horse battery staple\n").expect("written");
    let socket = world.state().join("kluis.sock");
    let own = keys.join(format!("{member}.key"));
    let home = world.root.path().join(format!("home-{member}"));
    let text = |path: &Path| path.display().to_string();
    let mut command = Command::new(crate::world::KLUIS);
    command
        .args(arguments)
        .args(["--server", &text(&socket), "--member", member, "--key-file", &text(&own)])
        .args(["--passphrase-file", &text(&words)])
        .env("KLUIS_HOME", home);
    command
}

fn done(world: &World, member: &str, arguments: &[&str]) -> serde_json::Value {
    let output = kluis(world, member, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn an_administrator_adds_rotates_revokes_and_a_reader_reseals_from_the_command_line() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(6, 1, 3000)), [250]);
    let keys = world.root.path().join("keys");
    let fatima = world.make_key("fatima").recipient().to_string();
    let admin = keys.join("admin-signing.key").display().to_string();
    let words = world.root.path().join("words").display().to_string();
    let signing = ["--admin-key", &admin, "--admin-passphrase-file", &words];
    let with = |arguments: &[&str]| [arguments, &signing[..]].concat().join("\u{0}");
    let as_admin = |arguments: &[&str]| {
        let all = with(arguments);
        let all: Vec<&str> = all.split('\u{0}').collect();
        done(&world, "adam", &all)
    };

    let list = keys.join("list.csv").display().to_string();
    std::fs::write(&list, "name,email\nLotte Peeters,lotte@example.org\n").expect("is written");
    done(&world, "anna", &["people", "import", &list]);

    // Whoever meets a vault for the first time acts on nothing that its admin is said to have signed.
    done(&world, "anna", &["whoami"]);
    let planned =
        as_admin(&["keys", "add", "fatima", &fatima, "--role", "backoffice", "--dry-run"]);
    assert_eq!((planned["dry_run"].as_bool(), planned["number"].as_u64()), (Some(true), Some(6)));
    assert_eq!(count(&server, Fact::RosterSigned), 1);
    let added = as_admin(&["keys", "add", "fatima", &fatima, "--role", "backoffice"]);
    assert_eq!(
        (added["version"].as_u64(), added["rewrapped"]["left"].as_u64()),
        (Some(2), Some(2))
    );
    // Anna's next command wraps what is old, whatever it is about.
    done(&world, "anna", &["queue"]);
    let seen = done(&world, "fatima", &["queue"]);
    assert_eq!(seen["cases"].as_array().map(Vec::len), Some(1), "{seen}");

    let rotated = as_admin(&["keys", "rotate"]);
    assert_eq!((rotated["epoch"].as_u64(), rotated["proven"].as_bool()), (Some(2), Some(false)));
    done(&world, "fatima", &["queue"]);
    assert_eq!(done(&world, "anna", &["keys", "status"])["epoch"].as_u64(), Some(2));

    // As it is after a revocation that was cut off: the roster is in force, the epoch is not made.
    let status = || done(&world, "dora", &["keys", "status"]);
    assert_eq!(status()["outsiders"], serde_json::json!([]));
    let revoked = as_admin(&["keys", "revoke", "fatima"]);
    assert_eq!(revoked["number"].as_u64(), Some(6));
    assert_eq!(revoked["listings"].as_u64(), Some(2), "{revoked}");
    assert_eq!(revoked["epoch"].as_u64(), Some(3));
    assert_eq!(kluis(&world, "fatima", &["queue"]).status.code(), Some(77));

    let looked = done(&world, "anna", &["keys", "reseal", "--dry-run"]);
    assert!(looked["boxes"].as_u64() > Some(0), "{looked}");
    assert!(looked["seconds"].as_f64() > Some(0.0) && looked["bytes"].as_u64() == Some(0));
    let looked = done(&world, "anna", &["keys", "reseal", "--chunks", "--dry-run"]);
    assert!(looked["bytes"].as_u64() >= Some(4096), "{looked}");
    let resealed = done(&world, "anna", &["keys", "reseal"]);
    assert_eq!(resealed["left"].as_u64(), Some(0));
    assert_eq!(resealed["destroyed"].as_array().map(Vec::len), Some(0), "anna is no admin");
    let removed = done(&world, "adam", &["keys", "reseal"]);
    assert_eq!(removed["destroyed"], serde_json::json!([1, 2]), "{removed}");
    assert!(!world.state().join("epochs/1.age").exists());
    // The list of people, which is of no case, was sealed anew with the rest.
    let people = world.log_in("anna").expect("logs in").people().expect("opens").expect("is there");
    assert_eq!(people.people.len(), 1);

    // Another recovery key: the next reader wraps to it, and its copy of the admin key opens.
    let recovery = world.make_key("recovery2");
    let replaced = as_admin(&["keys", "replace-recovery", &recovery.recipient().to_string()]);
    assert_eq!(replaced["rewrapped"]["left"].as_u64(), Some(2), "{replaced}");
    done(&world, "anna", &["queue"]);
    assert!(wrapped::unwrap_epoch(&read(&world, "epochs/3.age"), &recovery).is_ok());
    let old = world.key("recovery");
    assert!(wrapped::unwrap_epoch(&read(&world, "epochs/3.age"), &old).is_err());
    let copy = std::fs::read(keys.join("admin-signing.recovery.age")).expect("is written");
    let text = recovery.unwrap(&copy).expect("opens");
    let copied = AdminKey::from_text(&text).expect("is the key");
    assert_eq!(copied.vkey(), world.admin().vkey());

    // Bad input: nothing is changed, and the next command is named.
    let before = entries(&server).len();
    let fails = |arguments: &[&str]| {
        let all = with(arguments);
        let all: Vec<&str> = all.split('\u{0}').collect();
        let output = kluis(&world, "adam", &all);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (arguments, word) in [
        (&["keys", "add", "eve", "age1nonsense", "--role", "dpo"][..], "public key"),
        (&["keys", "add", "Eve", &fatima, "--role", "dpo"][..], "no name"),
        (&["keys", "add", "anna", &fatima, "--role", "dpo"][..], "already"),
        (&["keys", "add", "eve", &fatima, "--role", "dpo", "--role", "backup"][..], "backup key"),
        (&["keys", "revoke", "nobody"][..], "not in the roster"),
        (&["keys", "revoke", "carla", "--backup"][..], "at least two backup keys"),
    ] {
        let error = fails(arguments);
        assert!(error.contains(word), "{arguments:?}: {error}");
        assert!(error.contains("hint"), "{error}");
    }
    let changed = entries(&server);
    let log_ins = changed[before..].iter().filter(|entry| entry.kind == Fact::LoggedIn).count();
    assert_eq!(changed.len() - before, log_ins, "they logged in and did nothing else");
    runtime.block_on(server.stop());
}

#[test]
fn stock_age_opens_an_epoch_that_was_wrapped_anew() {
    if !crate::disks::has_program("age") {
        return crate::way::skipped("stock age", "age is not installed");
    }
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    let path = world.root.path().join("clear.key");
    let fatima = {
        let output = Command::new("age-keygen").output().expect("runs");
        std::fs::write(&path, &output.stdout).expect("written");
        let text = String::from_utf8(output.stdout).expect("text");
        let public = text.lines().find_map(|l| l.strip_prefix("# public key: ")).expect("is there");
        public.parse().expect("a recipient")
    };
    change(&world, &mut adam, |roster, next| {
        let (name, roles) = ("fatima".to_owned(), [Role::Dpo].into());
        roster.members.push(Member { id: next, name, roles, recipient: fatima });
    });
    world.log_in("anna").expect("logs in").rewrap().expect("wraps");
    let output = Command::new("age")
        .args(["-d", "-i"])
        .arg(&path)
        .arg(world.state().join("epochs/1.age"))
        .output()
        .expect("runs");
    assert!(output.status.success());
    let opened = String::from_utf8(output.stdout).expect("text");
    let secret = EpochSecret::from_text(&opened).expect("an identity");
    let note = read(&world, "epochs/1.note");
    let note =
        EpochNote::parse_signed(std::str::from_utf8(&note).expect("text"), &world.admin().public());
    assert!(note.expect("is signed").is_opened_by(&secret));
    runtime.block_on(server.stop());
}

#[test]
fn a_member_who_may_less_than_before_is_held_to_it_at_once() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(8, 1, 500)), [250]);
    let mut adam = world.log_in("adam").expect("logs in");
    let mut bert = world.log_in("bert").expect("logs in");
    hire(&world, &mut adam, "fatima", Role::Backoffice);
    assert!(bert.queue(Filter::All).is_ok(), "a change that is not about him ends nothing");
    change(&world, &mut adam, |roster, _| {
        let bert = roster.members.iter_mut().find(|m| m.name == "bert").expect("is there");
        bert.roles = [Role::Auditor].into();
    });
    assert!(bert.queue(Filter::All).is_err());
    let mut bert = world.log_in("bert").expect("logs in as an auditor");
    assert!(matches!(bert.queue(Filter::All), Err(Error::Refused(why)) if why.contains("role")));
    let all: Vec<Entry> = entries(&server);
    assert!(all.iter().all(|entry| entry.kind != Fact::MemberRevoked), "he is still a member");
    runtime.block_on(server.stop());
}

#[test]
fn the_mailbox_gets_a_new_key_that_the_admin_signed_and_the_old_one_still_decrypts() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    let first = read(&world, "mailbox.asc");
    let in_force = adam.roster().expect("is in force");
    let print = adam.add_mailbox(&in_force, &world.admin(), 1_793_610_000).expect("is taken");
    let again = adam.add_mailbox(&in_force, &world.admin(), 1_793_610_000);
    assert!(matches!(again, Err(Error::Refused(why)) if why.contains("not newer")));
    let mut anna = world.log_in("anna").expect("logs in");
    let keys = anna.mailbox_keys().expect("opens");
    let prints: Vec<String> =
        keys.iter().map(|key| key.certificate().fingerprint().expose().clone()).collect();
    assert_eq!((prints.len(), &prints[0]), (2, print.expose()));
    assert_eq!(keys[1].public_armored().expect("writes").into_bytes(), first);
    let published = read(&world, "mailbox.asc");
    assert_eq!(published, keys[0].public_armored().expect("writes").into_bytes());

    // A crash between the entry and the publishing is made good at the next start.
    runtime.block_on(server.stop());
    std::fs::write(world.state().join("mailbox.asc"), first).expect("written");
    let server = runtime.block_on(world.serve());
    assert_eq!(read(&world, "mailbox.asc"), published);

    // Whoever has the server can wrap a key of their own to everyone; nobody takes it for ours.
    let own = kluis::reply::openpgp::MailboxKey::generate(MAILBOX, 1_793_610_000).expect("is made");
    let secret = own.to_secret_bytes().expect("writes");
    let file = wrapped::wrap_secret(wrapped::Kind::Mailbox, &secret, &in_force.roster);
    let genuine = read(&world, "mailbox/2.age");
    std::fs::write(world.state().join("mailbox/2.age"), file).expect("written");
    let mut anna = world.log_in("anna").expect("logs in");
    assert!(matches!(anna.mailbox_keys(), Err(Error::NotSigned)));
    std::fs::write(world.state().join("mailbox/2.age"), genuine).expect("written");
    assert_eq!(anna.mailbox_keys().expect("opens").len(), 2);
    let note = String::from_utf8(read(&world, "mailbox/1.note")).expect("text");
    std::fs::write(world.state().join("mailbox/2.note"), note).expect("written");
    assert!(matches!(anna.mailbox_keys(), Err(Error::NotSigned)), "a note of an older key");
    runtime.block_on(server.stop());
}

/// What is done to the keys, as far as the server lives; and whether it lived to the end.
#[cfg(kluis_lab)]
fn change_everything(world: &World) -> Result<(), Error> {
    let mut adam = world.log_in("adam")?;
    let in_force = adam.roster()?;
    if in_force.roster.member("bert").is_some() {
        let mut new = in_force.roster.clone();
        new.version += 1;
        new.members.retain(|member| member.name != "bert");
        adam.sign_roster(&new, &world.admin())?;
    }
    let in_force = adam.roster()?;
    if in_force.epoch == EpochId(1) {
        adam.add_epoch(&in_force, &world.admin())?;
    }
    if in_force.mailbox == 1 {
        adam.add_mailbox(&in_force, &world.admin(), 1_793_610_000)?;
    }
    let mut anna = world.log_in("anna")?;
    anna.rewrap()?;
    while anna.reseal_with_content(3, &mut |_| ())?.boxes > 0 {}
    adam.destroy_epochs().map(drop)
}

/// A roster, an epoch, a key of the mailbox, wrapping anew, a reseal, and an epoch that is destroyed:
/// the server is killed at every step of it, and the same commands go on where it stood.
#[cfg(kluis_lab)]
#[test]
fn killed_at_any_step_of_changing_keys_the_vault_is_whole_and_the_change_goes_on() {
    let prepared = World::found();
    {
        let runtime = runtime();
        let server = runtime.block_on(prepared.serve());
        for n in 0..2 {
            assert_eq!(deliver(&server, false, &[MAILBOX], &letter(9, n, 3000)), [250]);
        }
        runtime.block_on(server.stop());
    }
    let base = tempfile::tempdir().expect("a folder");
    copy(prepared.root.path(), base.path());
    let restore = || {
        std::fs::remove_dir_all(prepared.state()).expect("removed");
        std::fs::remove_dir_all(prepared.cabinet_key()).expect("removed");
        let _ = std::fs::remove_dir_all(prepared.root.path().join("seen"));
        copy(base.path(), prepared.root.path());
    };
    let steps = prepared.root.path().join("steps");
    let process = prepared.spawn(&[("KLUIS_LAB_STEPS", &steps.display().to_string())]);
    std::fs::write(&steps, "").expect("emptied: what the start did is not of it");
    change_everything(&prepared).expect("all of it");
    process.kill();
    let reached = std::fs::read_to_string(&steps).expect("is read");
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    reached.lines().for_each(|name| *counts.entry(name).or_default() += 1);
    assert!(counts.keys().filter(|name| name.starts_with("keys:")).count() >= 6, "{counts:?}");

    // Every step of its own at least once; of the commits, the first, one in the middle, the last.
    let mut killed = 0;
    for (name, count) in &counts {
        let mut visits = vec![1, count.div_ceil(2), *count];
        visits.dedup();
        for visit in visits {
            restore();
            let process = prepared.spawn(&[("KLUIS_LAB_KILL", &format!("{name}:{visit}"))]);
            let mut process = process;
            let _ = change_everything(&prepared);
            match process.ended_within(std::time::Duration::from_millis(10)) {
                Some(_) => killed += 1,
                None => process.kill(),
            }
            let process = prepared.spawn(&[]);
            change_everything(&prepared)
                .unwrap_or_else(|error| panic!("killed at {name}:{visit}, then: {error}"));
            let mut anna = prepared.log_in("anna").expect("logs in");
            for case in anna.queue(Filter::All).expect("lists") {
                for letter in &case.letters {
                    let items: Vec<ItemId> = letter.card.items.iter().map(|item| item.0).collect();
                    assert_eq!(anna.look(&items).expect("opens").len(), items.len(), "{name}");
                }
            }
            let (_, problems, _) = anna.check().expect("checks");
            assert_eq!(problems, [], "killed at {name}:{visit}");
            let status = anna.status().expect("tells");
            assert_eq!(status.epochs, [EpochId(2)], "killed at {name}:{visit}");
            assert!(!prepared.state().join("epochs/1.age").exists());
            process.kill();
        }
    }
    println!("killed {killed} times at {} steps", counts.len());
    assert!(killed >= counts.len(), "{killed} of {}", counts.len());
}

#[test]
fn the_admin_key_is_handed_over_and_the_old_one_signs_nothing_new() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(10, 1, 500)), [250]);
    let (old, new, thief) = (world.admin(), AdminKey::generate(), AdminKey::generate());
    let mut adam = world.log_in("adam").expect("logs in");
    let mut anna = world.log_in("anna").expect("logs in");
    let in_force = adam.roster().expect("is in force");
    let forged = adam.hand_over(&in_force, &thief, &new);
    assert!(matches!(forged, Err(Error::Refused(_))));
    adam.hand_over(&in_force, &old, &new).expect("is taken");
    assert_eq!(count(&server, Fact::AdminSigned), 1);

    // Whoever was there follows, whoever was not meets the new one; both read on.
    assert!(anna.roster().is_err(), "a connection from before sees a roster of a stranger");
    let mut anna = world.log_in("anna").expect("follows the hand-over");
    assert_eq!(anna.admin_key(), new.vkey().to_string());
    assert_eq!(opens_everything(&mut anna, &server), items(&server).len());
    assert_eq!(anna.mailbox_keys().expect("was signed before").len(), 1);
    let mut line = Line::open(&world);
    line.log_in(&world, "adam");
    let roster = adam.roster().expect("is in force").roster;
    let next = Roster { version: roster.version + 1, ..roster };
    let by_old = next.sign(&old).expect("follows the rules");
    assert!(refusal(line.ask(&Request::SignRoster { note: by_old })).contains("did not sign"));
    let in_force = adam.roster().expect("is in force");
    let late = adam.add_epoch(&in_force, &old);
    assert!(matches!(late, Err(Error::Refused(why)) if why.contains("did not sign")));
    let (epoch, _) = adam.add_epoch(&in_force, &new).expect("is taken");
    assert_eq!(epoch, EpochId(2));

    // It all holds after a restart, and for the list that is read from the files.
    runtime.block_on(server.stop());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in and proves");
    assert_eq!(anna.sealing().expect("is proven").0, EpochId(2));
    assert_eq!(opens_everything(&mut anna, &server), items(&server).len());
    let listed = Command::new(crate::world::KLUIS)
        .args(["keys", "list", "--json"])
        .arg(world.state())
        .output()
        .expect("runs");
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed["version"].as_u64(), Some(2), "{listed}");
    // A server that hides it cannot bring the old key back.
    runtime.block_on(server.stop());
    std::fs::rename(world.state().join("admin/2.note"), world.state().join("admin/2.gone"))
        .expect("renames");
    assert!(std::panic::catch_unwind(|| world.open()).is_err());
}

#[test]
fn a_reseal_makes_the_nightly_rotation_due() {
    let mut world = World::found_at(1_793_610_000);
    let runtime = runtime();
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(11, 1, 500)), [250]);
    let mut adam = world.log_in("adam").expect("logs in");
    rotate(&world, &mut adam);
    let mut anna = world.log_in("anna").expect("logs in and proves");
    assert!(anna.reseal(u64::MAX, &mut |_| ()).expect("seals").boxes > 0);
    drop((adam, anna));
    runtime.block_on(server.stop());
    world.set_time(1_793_610_000 + 2 * 86_400);
    let gateway = world.open();
    assert!(gateway.casebook.rotation_is_due(), "the old keys lie in older copies of the cabinet");
}

#[test]
fn a_member_acts_on_nothing_that_is_older_than_what_they_know_or_that_they_know_from_nowhere() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    hire(&world, &mut adam, "fatima", Role::Dpo);
    let socket = world.state().join("kluis.sock");
    let seen = Seen::in_dir(world.root.path().join("new-laptop"));
    let on_a_new_laptop =
        || Client::connect(&socket, "anna", Opener::Key(world.key("anna")), Some(&seen));
    // Met only now: whether that is the admin nobody has compared yet.
    let mut anna = on_a_new_laptop().expect("logs in");
    assert_eq!(anna.rewrap().expect("asks"), (0, 2));
    assert_eq!(on_a_new_laptop().expect("logs in").rewrap().expect("wraps"), (2, 0));

    let known = seen.newest(world.vault).expect("reads");
    let (version, digest) = known.roster.expect("was seen");
    assert_eq!((version, known.epoch), (2, 1));
    for (newest, what) in [
        (Newest { roster: Some((3, digest)), ..known }, "roster"),
        (Newest { roster: Some((2, kluis::ids::Digest::new([0; 32]))), ..known }, "roster"),
        (Newest { epoch: 2, ..known }, "epoch"),
    ] {
        seen.remember(world.vault, &newest).expect("is written");
        let refused = on_a_new_laptop().err();
        assert!(matches!(&refused, Some(Error::Older(w)) if *w == what), "{refused:?}");
    }
    seen.remember(world.vault, &Newest { mailbox: 2, ..known }).expect("is written");
    let mut anna = on_a_new_laptop().expect("logs in");
    assert!(matches!(anna.mailbox_keys(), Err(Error::Older("key of the mailbox"))));
    runtime.block_on(server.stop());
}

#[test]
fn an_epoch_file_that_was_swapped_for_another_is_neither_used_nor_wrapped_anew() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(12, 1, 500)), [250]);
    let mut adam = world.log_in("adam").expect("logs in");
    rotate(&world, &mut adam);
    world.log_in("anna").expect("logs in and proves");
    let (one, two) = (read(&world, "epochs/1.age"), read(&world, "epochs/2.age"));
    std::fs::write(world.state().join("epochs/1.age"), &two).expect("written");
    let mut anna = world.log_in("anna").expect("logs in");
    assert!(matches!(anna.queue(Filter::All), Err(Error::NotSigned)));
    hire(&world, &mut adam, "fatima", Role::Dpo);
    assert!(matches!(anna.rewrap(), Err(Error::NotSigned)));
    assert_eq!(read(&world, "epochs/1.age"), two, "nothing was changed");
    std::fs::write(world.state().join("epochs/1.age"), one).expect("written");
    assert!(world.log_in("anna").expect("logs in").queue(Filter::All).is_ok());
    runtime.block_on(server.stop());
}

#[test]
fn a_member_has_sixteen_connections_and_keeps_nobody_out() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut open: Vec<Client> = (0..16).map(|_| world.log_in("bert").expect("logs in")).collect();
    assert!(matches!(world.log_in("bert"), Err(Error::Refused(why)) if why.contains("too many")));
    let mut adam = world.log_in("adam").expect("logs in all the same");
    dismiss(&world, &mut adam, "bert");
    assert!(open.iter_mut().all(|client| client.status().is_err()));
    runtime.block_on(server.stop());
}

#[cfg(kluis_lab)]
#[test]
fn a_proof_that_the_server_died_of_is_given_again() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    rotate(&world, &mut adam);
    runtime.block_on(server.stop());
    // The first entry is the log-in's, the second one the proof's.
    let mut server = world.spawn(&[("KLUIS_LAB_KILL", "commit:begin:2")]);
    assert!(world.log_in("anna").is_err());
    let patience = std::time::Duration::from_secs(5);
    assert!(server.ended_within(patience).is_some(), "it came to its step");
    let server = runtime.block_on(world.serve());
    assert_eq!(count(&server, Fact::EpochProven), 1, "the first epoch's alone");
    let anna = world.log_in("anna").expect("logs in and proves");
    assert_eq!(anna.sealing().expect("is proven").0, EpochId(2));
    runtime.block_on(server.stop());
}

#[test]
fn what_the_ledger_does_not_name_is_put_aside_and_nobody_takes_it_for_signed() {
    let (world, runtime) = (World::found(), runtime());
    // As a crash leaves them: written, and not entered.
    for (folder, name) in [("epochs", "2.age"), ("mailbox", "2.age"), ("mailbox", "2.asc")] {
        let folder = world.state().join(folder);
        std::fs::copy(folder.join(name.replace('2', "1")), folder.join(name)).expect("copied");
    }
    let admin = world.state().join("admin");
    std::fs::create_dir(&admin).expect("made");
    std::fs::write(admin.join("2.note"), "not entered").expect("written");
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let (files, _) = anna.wrapped_files().expect("are signed");
    assert_eq!(files.drill(&world.key("recovery")).expect("is the key").len(), 2);
    for name in ["epochs/2.age", "mailbox/2.age", "mailbox/2.asc", "admin/2.note"] {
        assert!(!world.state().join(name).exists(), "{name}");
        assert!(world.state().join(format!("{name}.unnamed")).exists(), "{name}");
    }
    runtime.block_on(server.stop());
}
