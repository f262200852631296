//! What is forgotten does not open again, for nobody, and there is a proof of it; what is not
//! forgotten opens as before.

use std::path::Path;

use kluis::casebook::detail::{ItemDetail, NoteSubject};
use kluis::casebook::{Act, Filter, Recording, Standing};
use kluis::gateway;
use kluis::identity::ladder;
use kluis::ids::{CaseId, ItemId, StaffId};
use kluis::keys::epoch::EpochSecret;
use kluis::keys::wrapped;
use kluis::ledger::certificate::{self, Certificate, Proven};
use kluis::ledger::checkpoint;
use kluis::ledger::entry::{Entry, Fact};
use kluis::letter::skeleton::{FORGOTTEN, Skeleton};
use kluis::reply::answer::{self, Answer, Attachment, Lock};
use kluis::reply::{Heading, Language, openpgp};
use kluis::secret::Personal;
use kluis::staff::answers::{self, Draft};
use kluis::staff::client::{CaseView, Client, Error, LetterView};
use kluis::staff::letters::{self, Outcome};
use kluis::staff::sealing::Sealing;
use kluis::store;
use kluis::vault;
use kluis::vault::seal::{self, Kind};

use crate::containers::{Entry as ZipEntry, letter_with, zip};
use crate::mail_client::letter;
use crate::thief::{Thief, copy};
use crate::way::{deliver, entries, raw, runtime};
use crate::world::{KLUIS, MAILBOX, Server, World};

/// 2 November 2026, ten in the morning in Brussels.
const START: u64 = 1_793_610_000;
const DAY: u64 = 86_400;

pub(crate) fn recording(client: &Client, case: CaseId, act: Act) -> Recording {
    let mut sealing = Sealing::new(case, act, client.sealing().expect("is proven"));
    sealing.note(NoteSubject::Reason, "the copy was checked", None, Vec::new());
    sealing.finish()
}

fn forget(
    client: &mut Client,
    case: CaseId,
    items: &[ItemId],
    now: bool,
) -> Result<Vec<Certificate>, Error> {
    let reason = recording(client, case, Act::Note);
    client.forget(items.to_vec(), reason, now)
}

fn only_case(client: &mut Client) -> CaseView {
    let mut cases = client.queue(Filter::All).expect("lists");
    assert_eq!(cases.len(), 1);
    cases.remove(0)
}

/// The item of this media type.
fn item(letter: &LetterView, media_type: &str) -> ItemId {
    let detail = letter.detail.as_ref().expect("opens");
    detail.items.iter().find(|card| card.media_type == media_type).expect("is there").id
}

fn epoch(world: &World) -> EpochSecret {
    let file = std::fs::read(world.state().join("epochs/1.age")).expect("is there");
    wrapped::unwrap_epoch(&file, &world.key("anna")).expect("anna reads")
}

/// Verifies a certificate as an outsider does who has the file and the public key alone.
fn proven(world: &World, certificate: &Certificate) -> Proven {
    let (vault, public) = checkpoint::parse_vkey(&world.checkpoint_key).expect("a public key");
    let file = certificate.to_text().expect("can be written");
    let proven = certificate::verify(file.as_bytes(), vault, &public).expect("holds");
    assert_eq!((proven.vault, proven.forgotten.kind), (world.vault, Fact::Forgotten));
    // It shows which box the key was of.
    let sealed = proven.sealed.as_ref().expect("is shown");
    assert_eq!((sealed.slot, sealed.item), (proven.forgotten.slot, proven.forgotten.item));
    assert_eq!(sealed.kind, Fact::BoxSealed);
    proven
}

/// The entry of a certificate that holds.
fn verified(world: &World, certificate: &Certificate) -> Entry {
    proven(world, certificate).forgotten
}

#[test]
fn a_forgotten_item_leaves_a_marked_hole_and_a_certificate_that_verifies() {
    let (world, runtime) = (World::found_at(START), runtime());
    let server = runtime.block_on(world.serve());
    let sent = letter(31, 1, 90_000);
    assert_eq!(deliver(&server, false, &[MAILBOX], &sent), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna);
    let number = case.card.case;
    let attachment = item(&case.letters[0], "application/octet-stream");
    let text = item(&case.letters[0], "text/plain");

    let certificates = forget(&mut anna, number, &[attachment], false).expect("is forgotten");
    let [certificate] = certificates.as_slice() else { panic!("one certificate for one item") };
    let entry = verified(&world, certificate);
    assert_eq!(
        (entry.item, entry.case, entry.staff),
        (Some(attachment), Some(number), Some(StaffId(1)))
    );
    let waits = proven(&world, certificate);
    assert_eq!(waits.rotated, None);
    assert_eq!(waits.horizon(), START / 60 + 8 * 24 * 60, "a week of backups, a day to rotate");
    let (seq, waiting) = (waits.forgotten.seq, certificate.clone());

    // To staff it says so, in the list and when asked for.
    let case = only_case(&mut anna);
    let listed = &case.letters[0].card.items;
    assert_eq!(listed.iter().filter(|(_, _, forgotten)| *forgotten).count(), 1);
    assert!(listed.iter().any(|(id, _, forgotten)| *id == attachment && *forgotten));
    assert!(matches!(anna.look(&[attachment]), Err(Error::Forgotten)));
    assert!(matches!(anna.look(&[text, attachment]), Err(Error::Forgotten)));

    // The rest of the letter is as it came, around a marked hole.
    let detail = case.letters[0].detail.as_ref().expect("the letter box opens");
    let mut contents = Vec::new();
    for card in &detail.items {
        contents.push(match anna.look(&[card.id]) {
            Ok(views) => Some(views[0].stored.to_vec()),
            Err(Error::Forgotten) => None,
            Err(other) => panic!("{other}"),
        });
    }
    assert_eq!(contents.iter().filter(|content| content.is_none()).count(), 1);
    let skeleton = anna.look(&[detail.skeleton.expect("a mail has one")]).expect("opens").remove(0);
    assert!(matches!(skeleton.detail, ItemDetail::Skeleton(_)));
    let skeleton = Skeleton::decode(&skeleton.stored).expect("a skeleton");
    let contents: Vec<_> = contents.iter().map(Option::as_deref).collect();
    let rebuilt = skeleton.rebuild(&contents);
    let hole = rebuilt.windows(FORGOTTEN.len()).position(|w| w == FORGOTTEN).expect("is marked");
    let (before, after) = (&rebuilt[..hole], &rebuilt[hole + FORGOTTEN.len()..]);
    assert!(sent.starts_with(before) && sent.ends_with(after));
    let after = after.strip_prefix(b"\r\n").unwrap_or(after);
    assert!(before.ends_with(b"\r\n\r\n") && after.starts_with(b"--"));

    // The reason is a note; a second time there is nothing to forget.
    let notes = anna.notes(number).expect("lists");
    assert_eq!(notes.iter().filter(|n| n.detail.subject == NoteSubject::Reason).count(), 1);
    assert!(matches!(forget(&mut anna, number, &[attachment], false), Err(Error::Refused(_))));

    // With a rotation at once the certificate says so, and a restart changes nothing.
    let certificate = forget(&mut anna, number, &[text], true).expect("is forgotten").remove(0);
    let rotated = proven(&world, &certificate);
    assert!(rotated.rotated.is_some());
    assert_eq!(rotated.horizon(), START / 60 + 7 * 24 * 60);
    // That of the first one, asked for again, shows the new key, too; an auditor may ask.
    let mut olga = world.log_in("olga").expect("logs in");
    let again = olga.certificate(seq).expect("is there");
    assert_ne!(again, waiting);
    let again = proven(&world, &again);
    assert_eq!((again.forgotten, again.rotated), (waits.forgotten, rotated.rotated));
    assert!(matches!(olga.certificate(0), Err(Error::Refused(_))), "nothing was forgotten there");
    assert!(matches!(olga.certificate(u64::MAX), Err(Error::Refused(_))));
    drop(olga);
    runtime.block_on(server.stop());
    let server = runtime.block_on(world.serve());
    let mut bert = world.log_in("bert").expect("logs in");
    for id in [attachment, text] {
        assert!(matches!(bert.look(&[id]), Err(Error::Forgotten)));
    }
    assert_eq!(bert.check().expect("checks").1, []);
    runtime.block_on(server.stop());
}

#[test]
fn nothing_opens_what_was_forgotten_once_the_cabinet_was_rotated() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(32, 1, 90_000)), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna);
    let number = case.card.case;
    let attachment = item(&case.letters[0], "application/octet-stream");
    let text = item(&case.letters[0], "text/plain");
    let known = anna.look(&[attachment]).expect("opens").remove(0).stored.to_vec();
    let copies = tempfile::tempdir().expect("a directory");
    let copied = |name: &str| {
        let (state, key) = (copies.path().join(name), copies.path().join(format!("{name}.key")));
        copy(&world.state(), &state);
        copy(&world.cabinet_key(), &key);
        (state, key)
    };
    let opens = |thief: &Thief, item: ItemId| {
        let boxes = thief.boxes();
        let entry = boxes.iter().find(|entry| entry.item == Some(item)).expect("is in the ledger");
        assert!(thief.sealed(entry).is_some(), "the box is in the copy");
        thief.open(entry).map(|(_, content)| content)
    };

    let (before, old_key) = copied("before");
    let certificate =
        forget(&mut anna, number, &[attachment], false).expect("is forgotten").remove(0);
    assert!(certificate.rotated.is_none());
    // The key was dropped, and who ignores that finds it still: the certificate says so.
    let (dropped, key) = copied("dropped");
    let thief = Thief::default().with(&dropped).with(&key).knowing(epoch(&world));
    assert_eq!(opens(&thief, attachment), Some(known.clone()));

    // Forgetting something else rotates the cabinet, and both are gone.
    let certificate = forget(&mut anna, number, &[text], true).expect("is forgotten").remove(0);
    assert!(certificate.rotated.is_some());
    runtime.block_on(server.stop());
    let thief = Thief::default()
        .with(&before)
        .with(&dropped)
        .with(&world.state())
        .with(&world.cabinet_key())
        .knowing(epoch(&world));
    assert_eq!(opens(&thief, attachment), None);
    assert_eq!(opens(&thief, text), None);
    // The same thief opens everything else.
    let others =
        thief.boxes().into_iter().filter(|e| e.item != Some(attachment) && e.item != Some(text));
    let others: Vec<_> = others.collect();
    assert!(others.len() >= 4);
    assert!(others.iter().all(|entry| thief.open(entry).is_some()));
    // All that stands between is the cabinet key that was destroyed.
    let thief = thief.with(&old_key);
    assert_eq!(opens(&thief, attachment), Some(known));
}

/// A letter encrypted to the mailbox, with this picture, as a person's program would send it.
pub(crate) fn encrypted(world: &World, picture: &[u8]) -> Vec<u8> {
    let file = std::fs::read(world.state().join("mailbox.asc")).expect("is published");
    let to = openpgp::Certificate::parse(&file).expect("a certificate");
    let sender = "lotte@client.example";
    let now = kluis::clock::Clock::System.seconds();
    let signer = openpgp::MailboxKey::generate(sender, now).expect("makes a key");
    let answer = Answer {
        heading: Heading {
            from: Personal::new(sender.into()),
            to: Personal::new(MAILBOX.into()),
            message_id: "one@client.example".into(),
            in_reply_to: None,
            references: Vec::new(),
            date: now,
        },
        case: CaseId::random(),
        language: Language::Nl,
        subject: Personal::new("inzage".into()),
        text: Personal::new("Mijn gegevens, graag.\n".into()),
        attachments: vec![Attachment {
            name: Personal::new("kaart.png".into()),
            media_type: "image/png".into(),
            content: Personal::new(picture.to_vec()),
        }],
    };
    let lock = Lock::OpenPgp { to: &to, signer: &signer };
    answer::compose(&answer, &lock, &crate::openpgp::proof()).expect("composes").mail().to_vec()
}

#[test]
fn forgetting_what_came_out_of_an_encrypted_letter_forgets_the_ciphertext_too() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(
        deliver(
            &server,
            false,
            &[MAILBOX],
            &encrypted(&world, &b"\x89PNG\r\n\x1a\n a card".repeat(50))
        ),
        [250]
    );
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna);
    let ciphertext = letters::ciphertext(&case.letters[0]).expect("is encrypted");
    let parser = {
        let _inside = runtime.enter();
        gateway::parser(Path::new(KLUIS), 1)
    };
    let now = kluis::clock::Clock::System.seconds();
    let outcomes =
        letters::open_encrypted(&mut anna, &parser, letters::Asked::default(), &case, now)
            .expect("opens");
    let [(_, Outcome::Opened(inner))] = outcomes.as_slice() else { panic!("one letter is opened") };
    let case = only_case(&mut anna);
    let inner = case.letters.iter().find(|letter| letter.id() == *inner).expect("is listed");
    let (card, text) = (item(inner, "image/png"), item(inner, "text/plain"));
    assert!(anna.look(&[card, text, ciphertext]).is_ok());

    let number = case.card.case;
    let certificates = forget(&mut anna, number, &[card], true).expect("is forgotten");
    let forgotten: Vec<_> = certificates.iter().map(|c| verified(&world, c).item).collect();
    assert_eq!(forgotten.len(), 2);
    assert!(forgotten.contains(&Some(card)) && forgotten.contains(&Some(ciphertext)));
    for id in [card, ciphertext] {
        assert!(matches!(anna.look(&[id]), Err(Error::Forgotten)));
    }
    assert_eq!(anna.look(&[text]).expect("opens").len(), 1);
    runtime.block_on(server.stop());
    let thief =
        Thief::default().with(&world.state()).with(&world.cabinet_key()).knowing(epoch(&world));
    for entry in thief.boxes().iter().filter(|entry| entry.box_kind == Some(Kind::Item)) {
        let is_forgotten = forgotten.contains(&entry.item);
        assert_eq!(thief.open(entry).is_none(), is_forgotten, "entry {}", entry.seq);
    }
}

#[test]
fn a_box_in_another_place_than_its_own_does_not_open() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    for n in 0..3 {
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter(33, n, 4_000)), [250]);
    }
    runtime.block_on(server.stop());
    // With every key there is: no box opens in the place of another.
    let thief = Thief::default().with(&world.state()).with(&world.cabinet_key());
    let boxes = thief.boxes();
    for (i, here) in boxes.iter().enumerate() {
        let place = here.place(world.vault).expect("a box has a place");
        let slot = here.slot.expect("a box has a slot");
        for (j, there) in boxes.iter().enumerate() {
            let (sealed, key) = (thief.sealed(there).expect("is there"), thief.key(there));
            let opened = seal::open_outer(sealed, &place, slot, &key.expect("opens"));
            assert_eq!(opened.is_ok(), i == j, "box {j} in the place of box {i}");
        }
    }
    // On the disk: the bytes of one box under the name of another.
    let items: Vec<_> = boxes.iter().filter(|e| e.box_kind == Some(Kind::Item)).collect();
    let length = |entry: &Entry| thief.sealed(entry).expect("is there").len();
    let (target, moved) = items
        .iter()
        .flat_map(|target| items.iter().map(move |moved| (*target, *moved)))
        .find(|(target, moved)| target.seq != moved.seq && length(target) == length(moved))
        .or_else(|| {
            let longest = items.iter().max_by_key(|entry| length(entry))?;
            let other = items.iter().find(|entry| entry.seq != longest.seq)?;
            Some((longest, other))
        })
        .expect("there are several items");
    let sealed = thief.sealed(moved).expect("is there").to_vec();
    for file in crate::thief::files(&world.state().join("packs")) {
        let mut bytes = std::fs::read(&file).expect("can be read");
        let address = target.boxed.expect("a box has an address");
        let found = (0..bytes.len()).step_by(64).find(|at| {
            bytes[*at..].starts_with(b"klus\x01\x12")
                && bytes[at + 32..].starts_with(address.as_bytes())
        });
        let Some(at) = found else { continue };
        bytes[at + 64..at + 64 + sealed.len()].copy_from_slice(&sealed);
        bytes[at + 8..at + 16].copy_from_slice(&(sealed.len() as u64).to_le_bytes());
        let mut sum = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        for part in [&bytes[at..at + 6], &bytes[at + 8..at + 16], &bytes[at + 20..at + 64], &sealed]
        {
            sum.update(part);
        }
        bytes[at + 16..at + 20].copy_from_slice(&(sum.finalize() as u32).to_le_bytes());
        std::fs::write(&file, &bytes).expect("writes");
    }
    let server = runtime.block_on(world.serve());
    let id = target.item.expect("is an item");
    let opened = server.casebook.look(StaffId(1), &[id]).expect("answers");
    assert_eq!(opened[0].standing, Standing::Damaged);
    assert!(opened[0].inner.is_none());
    let mut anna = world.log_in("anna").expect("logs in");
    let asked = anna.look(&[id]);
    assert!(matches!(asked, Err(Error::Vault(vault::Error::Missing))), "{:?}", asked.err());
    assert_ne!(anna.check().expect("checks").1, []);
    runtime.block_on(server.stop());
}

#[test]
fn what_is_held_unknown_or_of_another_case_is_not_forgotten() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    for n in 0..2 {
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter(34, n, 4_000)), [250]);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let text = |case: &CaseView| item(&case.letters[0], "text/plain");
    let (one, other) = (&cases[0], &cases[1]);
    let number = one.card.case;
    let refused = |result: Result<Vec<Certificate>, Error>, why: &str| match result {
        Err(Error::Refused(said)) => assert!(said.contains(why), "{said}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("was forgotten"),
    };
    refused(forget(&mut anna, number, &[ItemId::random()], true), "no such item");
    refused(forget(&mut anna, number, &[text(other)], true), "no such item");
    refused(forget(&mut anna, number, &[text(one), text(other)], true), "no such item");
    refused(forget(&mut anna, CaseId::random(), &[text(one)], true), "no such case");
    refused(forget(&mut anna, number, &[], true), "no such item");
    // A letter box or a note is no item.
    let letter_id = ItemId::new(*one.letters[0].id().as_bytes());
    refused(forget(&mut anna, number, &[letter_id], true), "no such item");
    // Without a reason, or with an act that is more than a reason.
    let mut silent = recording(&anna, number, Act::Note);
    silent.boxes.clear();
    refused(anna.forget(vec![text(one)], silent, true), "needs a reason");
    let closing = recording(&anna, number, Act::Close);
    refused(anna.forget(vec![text(one)], closing, true), "needs a reason");

    let hold = recording(&anna, number, Act::Hold);
    anna.record(hold).expect("is held");
    refused(forget(&mut anna, number, &[text(one)], true), "legal hold");
    let before = entries(&server);
    assert!(before.iter().all(|entry| entry.kind != Fact::Forgotten));
    assert!(before.iter().all(|entry| entry.kind != Fact::CabinetRotated));
    let notes = before.iter().filter(|entry| entry.box_kind == Some(Kind::Note));
    assert_eq!(notes.count(), 1, "no reason is kept for what was refused");
    assert!(anna.look(&[text(one), text(other)]).is_ok());

    let lift = recording(&anna, number, Act::LiftHold);
    anna.record(lift).expect("is lifted");
    assert_eq!(forget(&mut anna, number, &[text(one)], false).expect("is forgotten").len(), 1);
    runtime.block_on(server.stop());
}

fn mail(from: &str, subject: &str) -> Vec<u8> {
    format!(
        "From: {from}\r\nTo: {MAILBOX}\r\nSubject: {subject}\r\nMessage-ID: <{subject}.{from}>\r\n\
         \r\nMijn gegevens, graag.\r\n"
    )
    .into_bytes()
}

/// Delivers a letter from this address and gives its case.
fn open_case(server: &Server, from: &str) -> CaseId {
    assert_eq!(deliver(server, false, &[MAILBOX], &mail(from, "inzage")), [250]);
    let opened = entries(server).into_iter().rfind(|entry| entry.kind == Fact::CaseOpened);
    opened.expect("is opened").case.expect("has a number")
}

fn answer_with_code(client: &mut Client, case: CaseId) {
    let draft = Draft {
        case,
        subject: "inzage".into(),
        text: "Beste, hierbij.".into(),
        items: Vec::new(),
        files: Vec::new(),
        language: Language::Nl,
        proof: Some((ladder::Kind::Address, "het adres is gekend".into())),
        with_code: true,
    };
    answers::send(client, draft, START).expect("is recorded");
}

/// Waits until an entry of this kind is there.
fn wait_for(server: &Server, fact: Fact) {
    for _ in 0..200 {
        if entries(server).iter().any(|entry| entry.kind == fact) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("no entry {fact:?}");
}

/// Opens the vault at this time, tidies, and says which kinds of box of which case were forgotten.
fn tidied(world: &mut World, day: u64) -> Vec<(CaseId, Kind)> {
    world.set_time(START + day * DAY);
    let gateway = world.open();
    let store = gateway.casebook.store();
    let size = store.size();
    let count = gateway.casebook.tidy().expect("tidies");
    assert_eq!(gateway.casebook.tidy().expect("tidies"), 0, "once is enough");
    let all = store.entries(0, usize::MAX).expect("reads");
    let mut gone = Vec::new();
    for entry in &all[size as usize..] {
        assert_eq!((entry.kind, entry.staff), (Fact::Forgotten, None));
        let slot = entry.slot.expect("names a slot");
        let key = store.box_key(slot);
        assert!(matches!(key, Err(store::Error::Vault(vault::Error::NoKey))));
        let sealed = all.iter().find(|e| e.boxed.is_some() && e.slot == Some(slot));
        let sealed = sealed.expect("was sealed once");
        gone.push((sealed.case.expect("has a case"), sealed.box_kind.expect("has a kind")));
    }
    assert_eq!(gone.len(), count);
    gone.sort_by_key(|(case, kind)| (*case, *kind as u8));
    gone
}

#[test]
fn a_week_after_its_end_a_case_forgets_where_it_was_answered_to_unless_it_is_held() {
    let (mut world, runtime) = (World::found_at(START), runtime());
    let server = runtime.block_on(world.serve());
    let [done, held, open] = ["lotte@client.example", "mark@client.example", "nora@client.example"]
        .map(|from| open_case(&server, from));
    let mut anna = world.log_in("anna").expect("logs in");
    answer_with_code(&mut anna, done);
    wait_for(&server, Fact::OutgoingDelivered);
    for case in [done, held] {
        for act in [Act::Decide, Act::Close] {
            let recording = recording(&anna, case, act);
            anna.record(recording).expect("is recorded");
        }
    }
    let hold = recording(&anna, held, Act::Hold);
    anna.record(hold).expect("is held");
    drop(anna);
    runtime.block_on(server.stop());

    assert_eq!(tidied(&mut world, 6), []);
    // The address, and the answer that was delivered.
    let gone = tidied(&mut world, 8);
    assert_eq!(gone, [(done, Kind::Contact), (done, Kind::Outgoing)]);
    assert_eq!(tidied(&mut world, 40), []);

    // The number alone does not join the case any more, and the others are known as before.
    let server = runtime.block_on(world.serve());
    for (from, case, joins) in [
        ("lotte@client.example", done, false),
        ("nora@client.example", open, true),
        ("mark@client.example", held, true),
    ] {
        let subject = format!("Re: {case}");
        assert_eq!(deliver(&server, false, &[MAILBOX], &mail(from, &subject)), [250]);
        let received = entries(&server).into_iter().rfind(|e| e.kind == Fact::LetterReceived);
        assert_eq!(received.expect("is there").case == Some(case), joins, "{from}");
    }
    // The letter itself stays.
    let mut bert = world.log_in("bert").expect("logs in");
    let case = bert.case(done).expect("lists");
    assert_eq!(raw(&mut bert, &case), mail("lotte@client.example", "inzage"));
    runtime.block_on(server.stop());
}

#[test]
fn an_address_lives_until_its_case_is_closed_and_a_mail_a_week_from_its_delivery() {
    let (mut world, runtime) = (World::found_at(START), runtime());
    // Nothing can be delivered: a file stands where the folder goes.
    std::fs::write(world.outgoing(), b"").expect("writes");
    let server = runtime.block_on(world.serve());
    let case = open_case(&server, "lotte@client.example");
    let mut anna = world.log_in("anna").expect("logs in");
    answer_with_code(&mut anna, case);
    drop(anna);
    runtime.block_on(server.stop());
    assert_eq!(tidied(&mut world, 10), []);

    // On the tenth day it goes out, and the case is closed.
    std::fs::remove_file(world.outgoing()).expect("removes");
    let server = runtime.block_on(world.serve());
    wait_for(&server, Fact::OutgoingDelivered);
    let mut anna = world.log_in("anna").expect("logs in");
    let close = recording(&anna, case, Act::Close);
    anna.record(close).expect("is closed");
    drop(anna);
    runtime.block_on(server.stop());
    // The address is old enough; the answer is not.
    assert_eq!(tidied(&mut world, 16), [(case, Kind::Contact)]);
    assert_eq!(tidied(&mut world, 18), [(case, Kind::Outgoing)]);
}

#[test]
fn what_a_running_server_forgets_of_a_sender_it_does_not_remember_either() {
    let (mut world, runtime) = (World::found_at(START), runtime());
    let server = runtime.block_on(world.serve());
    let case = open_case(&server, "lotte@client.example");
    let mut anna = world.log_in("anna").expect("logs in");
    for act in [Act::Decide, Act::Close] {
        let recording = recording(&anna, case, act);
        anna.record(recording).expect("is recorded");
    }
    drop(anna);
    runtime.block_on(server.stop());
    // Tidied while it serves.
    world.set_time(START + 9 * DAY);
    let server = runtime.block_on(world.serve());
    wait_for(&server, Fact::Forgotten);
    let again = mail("lotte@client.example", &format!("Re: {case}"));
    assert_eq!(deliver(&server, false, &[MAILBOX], &again), [250]);
    let received = entries(&server).into_iter().rfind(|e| e.kind == Fact::LetterReceived);
    assert_ne!(received.expect("is there").case, Some(case));
    runtime.block_on(server.stop());
}

#[test]
fn a_letter_that_comes_again_after_a_week_is_new_and_then_recognised_again() {
    let (mut world, runtime) = (World::found_at(START), runtime());
    let counts = |server: &Server| {
        let all = entries(server);
        let count = |fact| all.iter().filter(|entry| entry.kind == fact).count();
        (count(Fact::LetterReceived), count(Fact::Redelivered))
    };
    let again = mail("lotte@client.example", "inzage");
    let mut expected = (0, 0);
    for (day, is_new) in [(0, true), (6, false), (8, true), (8, false), (14, false), (16, true)] {
        world.set_time(START + day * DAY);
        let server = runtime.block_on(world.serve());
        // In the process that took it, and in one that read of it at the start.
        for is_new in [is_new, false] {
            assert_eq!(deliver(&server, false, &[MAILBOX], &again), [250]);
            expected.0 += usize::from(is_new);
            expected.1 += usize::from(!is_new);
            assert_eq!(counts(&server), expected, "day {day}");
        }
        runtime.block_on(server.stop());
    }
}

#[test]
fn a_rotation_that_fails_is_not_tried_every_minute_and_what_is_forgotten_stays_so() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(33, 1, 9_000)), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna);
    let attachment = item(&case.letters[0], "application/octet-stream");
    let text = item(&case.letters[0], "text/plain");
    assert!(!server.casebook.rotation_is_due());
    forget(&mut anna, case.card.case, &[attachment], false).expect("is forgotten");
    assert!(server.casebook.rotation_is_due());

    let in_the_way = world.state().join("cabinet.2.new");
    std::fs::create_dir(&in_the_way).expect("is made");
    let Err(Error::Refused(why)) = forget(&mut anna, case.card.case, &[text], true) else {
        panic!("the cabinet got a new key where there is no place for it");
    };
    assert!(why.starts_with(store::KEEPS_ITS_KEY), "{why}");
    assert!(!server.casebook.rotation_is_due(), "not before an hour is over");
    for id in [attachment, text] {
        assert!(matches!(anna.look(&[id]), Err(Error::Forgotten)));
    }

    std::fs::remove_dir(&in_the_way).expect("is removed");
    server.casebook.rotate_cabinet().expect("is rotated");
    assert!(!server.casebook.rotation_is_due());
    assert!(world.state().join("cabinet.2").exists());
    assert_eq!(anna.check().expect("checks").1, []);
    runtime.block_on(server.stop());
}

#[test]
fn what_was_taken_out_of_an_archive_takes_the_archive_with_it() {
    let (world, runtime) = (World::found_at(START), runtime());
    let server = runtime.block_on(world.serve());
    let inner = zip(&[ZipEntry::new(b"deep.txt", b"deep")]);
    let archive = zip(&[
        ZipEntry::new(b"id.jpg", b"\xff\xd8\xff\xe0 id"),
        ZipEntry::new(b"cv.pdf", b"%PDF-1.4 cv"),
        ZipEntry::new(b"in.zip", &inner),
    ]);
    let sent = letter_with("application/zip", "a.zip", &archive);
    assert_eq!(deliver(&server, false, &[MAILBOX], &sent), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna);
    let detail = case.letters[0].detail.as_ref().expect("opens");
    let containers: Vec<_> = detail.items.iter().map(|card| card.container).collect();
    assert_eq!(containers, [None, None, Some(1), Some(1), Some(1), Some(4)]);
    assert_eq!(detail.findings, []);
    let ids: Vec<ItemId> = detail.items.iter().map(|card| card.id).collect();
    let views = anna.look(&ids).expect("opens");
    assert_eq!(views[1].stored.as_slice(), archive);
    assert_eq!(
        (views[2].name.expose().as_slice(), views[2].content().as_slice()),
        (&b"id.jpg"[..], &b"\xff\xd8\xff\xe0 id"[..])
    );
    assert_eq!(views[5].content().as_slice(), b"deep");
    for (nr, entry) in
        entries(&server).iter().filter(|e| e.box_kind == Some(Kind::Item)).enumerate()
    {
        let container = detail.items.get(nr).and_then(|card| card.container);
        assert_eq!(entry.container, container.map(|at| ids[at as usize]), "item {nr}");
    }
    assert!(raw(&mut anna, &case) == sent, "none of it is part of the raw message");

    let number = case.card.case;
    let forgotten = |certificates: &[Certificate]| -> Vec<Option<ItemId>> {
        certificates.iter().map(|c| verified(&world, c).item).collect()
    };
    // The innermost: what it was in, and what that was in.
    let certificates = forget(&mut anna, number, &[ids[5]], true).expect("is forgotten");
    assert_eq!(forgotten(&certificates), [ids[5], ids[4], ids[1]].map(Some));
    for (id, is_there) in
        [(ids[1], false), (ids[2], true), (ids[3], true), (ids[4], false), (ids[5], false)]
    {
        assert_eq!(anna.look(&[id]).is_ok(), is_there);
    }
    let certificates = forget(&mut anna, number, &[ids[2]], false).expect("is forgotten");
    assert_eq!(forgotten(&certificates), [Some(ids[2])], "the archive is gone already");
    runtime.block_on(server.stop());
}
