//! Letters that came encrypted: kept as they came, opened at the desk, once; or said why not.
//!
//! GnuPG writes them.

use std::path::Path;

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::ids::{CaseId, LetterId};
use kluis::ledger::entry::Fact;
use kluis::letter::{Finding, Role};
use kluis::staff::answers;
use kluis::staff::client::{CaseView, Client, Error, LetterView};
use kluis::staff::letters::{self, Asked, Outcome};
use kluis::staff::openpgp::Undecryptable;
use kluis::staff::sealing::Sealing;

use crate::containers::{Entry as ZipEntry, letter_with, zip};
use crate::openpgp::{Gpg, now};
use crate::way::{count, deliver, entries, raw, runtime, skipped};
use crate::world::{KLUIS, MAILBOX, Server, World};

/// Who writes.
pub(crate) const PERSON: &str = "lotte@client.example";

/// A GnuPG with a key of the person's, that knows the mailbox's; none if there is no GnuPG.
pub(crate) fn gpg(world: &World, test: &str) -> Option<Gpg> {
    let Some(gpg) = Gpg::new() else {
        skipped(test, "gpg is not installed");
        return None;
    };
    gpg.generate(PERSON, &["future-default", "default", "0"]);
    let mailbox = std::fs::read(world.state().join("mailbox.asc")).expect("the certificate");
    gpg.run(&["--import"], &mailbox);
    Some(gpg)
}

/// Opens what is encrypted in a case, as the desk does that has this virus scanner.
pub(crate) fn open_with(
    client: &mut Client,
    scanner: Option<&letters::AskScanner<'_>>,
    case: &CaseView,
) -> Result<Vec<(LetterId, Outcome)>, Error> {
    let sandbox = kluis::gateway::parser(Path::new(KLUIS), 1);
    letters::open_encrypted(client, &sandbox, Asked { scanner, ..Asked::default() }, case, now())
}

/// As a desk does that has none.
fn open(client: &mut Client, case: &CaseView) -> Result<Vec<(LetterId, Outcome)>, Error> {
    open_with(client, None, case)
}

/// The one case there is.
pub(crate) fn only_case(client: &mut Client) -> CaseView {
    let mut cases = client.queue(Filter::All).expect("lists");
    assert_eq!(cases.len(), 1);
    cases.remove(0)
}

pub(crate) fn armored(gpg: &Gpg, how: &[&str], content: &[u8]) -> String {
    let armor = gpg.run(&[&["--armor", "--encrypt"], how].concat(), content);
    let armor = String::from_utf8(armor).expect("is ASCII");
    armor.replace('\n', "\r\n")
}

/// PGP/MIME as RFC 3156 §4 wants it.
pub(crate) fn pgp_mime(subject: &str, armor: &str) -> Vec<u8> {
    format!(
        "From: Lotte <{PERSON}>\r\nTo: {MAILBOX}\r\nSubject: {subject}\r\n\
         Message-ID: <{}@client.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; \
         boundary=\"e\"\r\n\r\n\
         --e\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n\
         --e\r\nContent-Type: application/octet-stream; name=\"encrypted.asc\"\r\n\r\n\
         {armor}\r\n--e--\r\n",
        armor.len() + subject.len()
    )
    .into_bytes()
}

const TEXT: &str = "Beste,\r\n\r\nGraag al mijn loonfiches. Zoë\r\n";

/// What is inside: a protected subject, a text and a file.
fn entity() -> Vec<u8> {
    format!(
        "Content-Type: multipart/mixed; boundary=\"i\"; protected-headers=\"v1\"\r\n\
         Subject: Inzage in mijn loonfiches\r\nFrom: Lotte <{PERSON}>\r\n\r\n\
         --i\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n{TEXT}\r\n\
         --i\r\nContent-Type: application/pdf; name=\"attest.pdf\"\r\n\
         Content-Disposition: attachment; filename=\"attest.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQgYXR0ZXN0\r\n--i--\r\n"
    )
    .into_bytes()
}

/// The words of the signature of an opened letter.
fn signature(letter: &LetterView) -> String {
    let detail = letter.detail.as_ref().expect("opens");
    detail.signature.as_ref().expect("was taken out of encryption").expose().clone()
}

fn subject(letter: &LetterView) -> String {
    let detail = letter.detail.as_ref().expect("opens");
    detail.headers.subject.as_ref().expect("has a subject").expose().clone()
}

/// Delivers one letter and gives its case, opened: the outer letter and the inner one.
fn delivered_and_opened(server: &Server, anna: &mut Client, raw: &[u8]) -> CaseView {
    assert_eq!(deliver(server, false, &[MAILBOX], raw), [250]);
    let cases = anna.queue(Filter::All).expect("lists");
    let case =
        cases.iter().find(|case| case.letters.iter().any(|l| letters::ciphertext(l).is_some()));
    let case = case.expect("one is encrypted and not opened");
    let outcomes = open(anna, case).expect("opens");
    assert!(matches!(outcomes.as_slice(), [(_, Outcome::Opened(_))]), "{}", outcomes.len());
    anna.case(case.card.case).expect("is there")
}

#[test]
fn an_encrypted_letter_rests_as_it_came_and_is_opened_at_the_desk_once() {
    let (world, runtime) = (World::found(), runtime());
    let test = "an_encrypted_letter_rests_as_it_came_and_is_opened_at_the_desk_once";
    let Some(gpg) = gpg(&world, test) else { return };
    let server = runtime.block_on(world.serve());
    let armor = armored(&gpg, &["--sign", "-u", PERSON, "-r", MAILBOX], &entity());
    let sent = pgp_mime("...", &armor);
    assert_eq!(deliver(&server, false, &[MAILBOX], &sent), [250]);

    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna);
    let outer = case.letters[0].id();
    let container = letters::ciphertext(&case.letters[0]).expect("is encrypted");
    let view = anna.look(&[container]).expect("opens").remove(0);
    assert!(view.stored.as_slice() == armor.as_bytes(), "nothing but the ciphertext rests");
    assert!(raw(&mut anna, &case) == sent);

    let outcomes = open(&mut anna, &case).expect("opens");
    let [(of, Outcome::Opened(inner))] = outcomes.as_slice() else { panic!("is opened") };
    assert_eq!(*of, outer);
    let opened = anna.case(case.card.case).expect("is there");
    assert_eq!(opened.letters.len(), 2);
    assert!(opened.letters[0].card.opened && letters::ciphertext(&opened.letters[0]).is_none());
    let letter = &opened.letters[1];
    assert_eq!(letter.id(), *inner);
    assert_eq!(letter.card.boxed.container, Some(container));
    assert_eq!(subject(letter), "Inzage in mijn loonfiches");
    assert!(signature(letter).starts_with("signed by a key that nobody confirmed: "));
    let detail = letter.detail.as_ref().expect("opens");
    assert_eq!(detail.findings, []);
    let ids: Vec<_> = detail.items.iter().map(|card| card.id).collect();
    let items = anna.look(&ids).expect("opens");
    assert_eq!(items.len(), 2);
    assert!(items[0].content().as_slice() == TEXT.as_bytes());
    assert!(items[1].content().as_slice() == b"%PDF-1.4 attest");
    assert_eq!(items[1].name.expose(), b"attest.pdf");
    assert!(raw(&mut anna, &opened) == entity());

    // Not a second time: with what the queue says now, or with what it said before.
    assert!(open(&mut anna, &opened).expect("has nothing to do").is_empty());
    let again = open(&mut anna, &case);
    assert!(matches!(&again, Err(Error::Refused(why)) if why.contains("opened already")));
    assert_eq!(count(&server, Fact::LetterOpened), 1);
    runtime.block_on(server.stop());
    let server = runtime.block_on(world.serve());
    let mut bert = world.log_in("bert").expect("logs in");
    let case = only_case(&mut bert);
    assert!(open(&mut bert, &case).expect("has nothing to do").is_empty());
    assert_eq!(case.letters.len(), 2);
    assert!(raw(&mut bert, &case) == entity());
    forget_attachment(&mut bert, &case);
    runtime.block_on(server.stop());
}

/// Forgetting what was inside forgets the ciphertext, which holds it still.
fn forget_attachment(client: &mut Client, case: &CaseView) {
    let attachment = case.letters[1].detail.as_ref().expect("opens").items[1].id;
    let container = case.letters[1].card.boxed.container.expect("was taken out");
    let mut reason = Sealing::new(case.card.case, Act::Note, client.sealing().expect("an epoch"));
    reason.note(NoteSubject::Reason, "not needed", None, Vec::new());
    let forgotten = client.forget(vec![attachment], reason.finish(), false).expect("forgets");
    assert_eq!(forgotten.len(), 2);
    for item in [attachment, container] {
        assert!(matches!(client.look(&[item]), Err(Error::Forgotten)));
    }
}

#[test]
fn a_signature_is_told_in_words_and_known_once_its_key_is_confirmed() {
    let (world, runtime) = (World::found(), runtime());
    let test = "a_signature_is_told_in_words_and_known_once_its_key_is_confirmed";
    let Some(gpg) = gpg(&world, test) else { return };
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let signed: &[&str] = &["--sign", "-u", PERSON, "-r", MAILBOX];
    let armor = armored(&gpg, &["-r", MAILBOX], &entity());
    let case = delivered_and_opened(&server, &mut anna, &pgp_mime("...", &armor));
    assert_eq!(signature(&case.letters[1]), "not signed");

    let number = case.card.case;
    let certificate = gpg.export(PERSON);
    let fingerprint =
        answers::confirm_key(&mut anna, number, &certificate, now()).expect("is confirmed");
    let again = pgp_mime(&format!("Re: [{number}]"), &armored(&gpg, signed, &entity()));
    let case = delivered_and_opened(&server, &mut anna, &again);
    assert_eq!((case.card.case, case.letters.len()), (number, 4));
    let known = format!("signed by the confirmed key {}", fingerprint.expose());
    assert_eq!(signature(&case.letters[3]), known);
    // A key that was confirmed for this case says nothing in another.
    let stranger = pgp_mime("een andere zaak", &armored(&gpg, signed, &entity()));
    let other = delivered_and_opened(&server, &mut anna, &stranger);
    assert_ne!(other.card.case, number);
    assert!(signature(&other.letters[1]).starts_with("signed by a key that nobody confirmed: "));
    runtime.block_on(server.stop());
}

#[test]
fn every_encrypted_letter_is_opened_at_one_go() {
    let (world, runtime) = (World::found(), runtime());
    let Some(gpg) = gpg(&world, "every_encrypted_letter_is_opened_at_one_go") else { return };
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let sandbox = kluis::gateway::parser(Path::new(KLUIS), 1);
    let mut subject = "...".to_owned();
    for _ in 0..2 {
        for _ in 0..3 {
            let sent = pgp_mime(&subject, &armored(&gpg, &["-r", MAILBOX], &entity()));
            assert_eq!(deliver(&server, false, &[MAILBOX], &sent), [250]);
            subject = format!("Re: [{}]", only_case(&mut anna).card.case);
        }
        let case = only_case(&mut anna);
        let before = case.letters.len();
        let outcomes = letters::open_encrypted(&mut anna, &sandbox, Asked::default(), &case, now())
            .expect("opens");
        assert_eq!(outcomes.len(), 3);
        for letter in &only_case(&mut anna).letters[before..] {
            let detail = letter.detail.as_ref().expect("opens");
            assert_eq!((detail.items.len(), detail.findings.as_slice()), (2, [].as_slice()));
        }
    }
    runtime.block_on(server.stop());
}

/// A letter whose ciphertext does not stand where RFC 3156 wants it.
fn mangled(content: &str) -> Vec<u8> {
    format!("From: {PERSON}\r\nTo: {MAILBOX}\r\nSubject: ...\r\nMIME-Version: 1.0\r\n{content}")
        .into_bytes()
}

fn in_base64(armor: &str) -> String {
    let encoded = data_encoding::BASE64.encode(armor.as_bytes());
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).map(|line| str::from_utf8(line).expect("ASCII")).collect();
    lines.join("\r\n")
}

#[test]
fn letters_that_mail_programs_mangled_are_opened_all_the_same() {
    let (world, runtime) = (World::found(), runtime());
    let test = "letters_that_mail_programs_mangled_are_opened_all_the_same";
    let Some(gpg) = gpg(&world, test) else { return };
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let armor = armored(&gpg, &["-r", MAILBOX], &entity());
    let version = "Content-Type: application/pgp-encrypted; name=\"PGPMIME version\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nVmVyc2lvbjogMQ0K\r\n";
    for (who, letter) in [
        (
            "Exchange, which makes it multipart/mixed",
            format!(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n\
                 --b\r\nContent-Type: text/plain\r\n\r\n\r\n--b\r\n{version}\
                 --b\r\nContent-Type: application/octet-stream; name=\"ATT00001\"\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
                in_base64(&armor)
            ),
        ),
        (
            "a list, which adds a footer",
            format!(
                "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\
                 Content-Type: multipart/encrypted; boundary=i; \
                 protocol=\"application/pgp-encrypted\"\r\n\r\n\
                 --i\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n\
                 --i\r\nContent-Type: application/octet-stream\r\n\r\n{armor}\r\n--i--\r\n\
                 --o\r\n\r\nlist footer\r\n--o--\r\n"
            ),
        ),
        (
            "a gateway, which makes it text",
            format!(
                "Content-Type: text/plain\r\n\r\n--b\r\n\
                 Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n\
                 --b\r\nContent-Type: application/octet-stream\r\n\r\n{armor}\r\n--b--\r\n"
            ),
        ),
    ] {
        let case = delivered_and_opened(&server, &mut anna, &mangled(&letter));
        let outer = case.letters[0].detail.as_ref().expect("opens");
        assert!(outer.findings.contains(&Finding::MangledEncryption), "{who}");
        assert_eq!(subject(&case.letters[1]), "Inzage in mijn loonfiches", "{who}");
        assert!(raw(&mut anna, &case) == entity(), "{who}");
    }
    runtime.block_on(server.stop());
}

#[test]
fn what_was_encrypted_without_a_header_is_text_or_a_file_and_nothing_of_it_is_lost() {
    let (world, runtime) = (World::found(), runtime());
    let test = "what_was_encrypted_without_a_header_is_text_or_a_file_and_nothing_of_it_is_lost";
    let Some(gpg) = gpg(&world, test) else { return };
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let inline = |text: &[u8]| {
        let armor = armored(&gpg, &["-r", MAILBOX], text);
        mangled(&format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{armor}"))
    };
    // Lines that look like header fields are what people write in such letters.
    for text in [
        TEXT,
        "Naam: Lotte Peeters\r\nGeboren: 1 mei 1990\r\n\r\nGraag inzage.\r\n",
        "Subject: inzage\r\n",
        "Mijn vraag:\r\n  alles wat u over mij heeft\r\n",
        "x",
    ] {
        let case = delivered_and_opened(&server, &mut anna, &inline(text.as_bytes()));
        let detail = case.letters[1].detail.as_ref().expect("opens");
        let [card] = detail.items.as_slice() else { panic!("one text: {text}") };
        assert_eq!((card.role, card.media_type.as_str()), (Role::Body, "text/plain"), "{text}");
        assert_eq!(detail.findings, [], "{text}");
        let view = anna.look(&[card.id]).expect("opens").remove(0);
        assert!(view.content().as_slice() == text.as_bytes(), "{text}");
        assert!(raw(&mut anna, &case) == text.as_bytes(), "{text}");
    }
    // A program that encrypts a whole message and puts it inline.
    let case = delivered_and_opened(&server, &mut anna, &inline(&entity()));
    assert_eq!(case.letters[1].detail.as_ref().expect("opens").items.len(), 2);
    // A file alone.
    let file = b"%PDF-1.4\nNaam: x\n\nnot really\0\xff";
    let armor = gpg.run(&["--armor", "--encrypt", "-r", MAILBOX], file);
    let armor = in_base64(str::from_utf8(&armor).expect("ASCII"));
    let alone = mangled(&format!(
        "Content-Type: application/octet-stream; name=\"attest.pdf.asc\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{armor}\r\n"
    ));
    let case = delivered_and_opened(&server, &mut anna, &alone);
    let detail = case.letters[1].detail.as_ref().expect("opens");
    let [card] = detail.items.as_slice() else { panic!("one file") };
    assert_eq!(card.role, Role::Attachment);
    let view = anna.look(&[card.id]).expect("opens").remove(0);
    assert!(view.content().as_slice() == file);
    runtime.block_on(server.stop());
}

#[test]
fn what_cannot_be_opened_says_why_once_and_stays() {
    let (world, runtime) = (World::found(), runtime());
    let test = "what_cannot_be_opened_says_why_once_and_stays";
    let Some(gpg) = gpg(&world, test) else { return };
    let server = runtime.block_on(world.serve());
    let whole = armored(&gpg, &["-r", MAILBOX], &entity());
    let not_ours = armored(&gpg, &["-r", PERSON], &entity());
    let cut = whole[..whole.len() / 2].to_owned();
    let mut changed = whole.clone().into_bytes();
    let middle = changed.len() / 2;
    let at = (middle..).find(|&at| changed[at].is_ascii_lowercase()).expect("a letter");
    changed[at] = changed[at].to_ascii_uppercase();
    let changed = String::from_utf8(changed).expect("ASCII");
    for (armor, expected) in [
        (not_ours, Undecryptable::NoKeyOfOurs),
        (cut, Undecryptable::Truncated),
        (changed, Undecryptable::Unauthenticated),
    ] {
        stays_closed(&world, &server, &pgp_mime("...", &armor), expected);
    }
    runtime.block_on(server.stop());
}

fn stays_closed(world: &World, server: &Server, sent: &[u8], expected: Undecryptable) {
    let before: Vec<CaseId> = {
        let mut anna = world.log_in("anna").expect("logs in");
        anna.queue(Filter::All).expect("lists").iter().map(|case| case.card.case).collect()
    };
    assert_eq!(deliver(server, false, &[MAILBOX], sent), [250]);
    for member in ["anna", "bert"] {
        let mut client = world.log_in(member).expect("logs in");
        let cases = client.queue(Filter::All).expect("lists");
        let case = cases.iter().find(|case| !before.contains(&case.card.case)).expect("a new one");
        let outcomes = open(&mut client, case).expect("tries");
        let [(letter, Outcome::Closed(why))] = outcomes.as_slice() else { panic!("stays closed") };
        assert_eq!((*letter, *why), (case.letters[0].id(), expected));
        let case = client.case(case.card.case).expect("is there");
        assert_eq!(case.letters.len(), 1);
        assert!(letters::ciphertext(&case.letters[0]).is_some());
        assert!(raw(&mut client, &case) == sent);
        let notes = client.notes(case.card.case).expect("lists");
        let [note] = notes.as_slice() else { panic!("one note, not {}", notes.len()) };
        assert_eq!(note.detail.subject, NoteSubject::Undecryptable);
        assert_eq!(note.detail.letter, Some(*letter));
        assert_eq!(*note.detail.words.expose(), expected.to_string());
    }
}

#[test]
fn an_archive_inside_an_encrypted_letter_is_taken_apart_with_it() {
    let (world, runtime) = (World::found(), runtime());
    let test = "an_archive_inside_an_encrypted_letter_is_taken_apart_with_it";
    let Some(gpg) = gpg(&world, test) else { return };
    let server = runtime.block_on(world.serve());
    let archive = zip(&[ZipEntry::new(b"id.jpg", b"\xff\xd8\xff\xe0 id")]);
    let entity = letter_with("application/zip", "a.zip", &archive);
    let armor = armored(&gpg, &["-r", MAILBOX], &entity);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = delivered_and_opened(&server, &mut anna, &pgp_mime("...", &armor));
    let ciphertext = case.letters[0].detail.as_ref().expect("opens").items[1].id;
    let detail = case.letters[1].detail.as_ref().expect("opens");
    let containers: Vec<_> = detail.items.iter().map(|card| card.container).collect();
    assert_eq!(containers, [None, None, Some(1)]);
    let (packed, picture) = (detail.items[1].id, detail.items[2].id);
    let view = anna.look(&[picture]).expect("opens").remove(0);
    assert_eq!(view.content().as_slice(), b"\xff\xd8\xff\xe0 id");
    let entries = entries(&server);
    let out_of =
        |item| entries.iter().find(|entry| entry.item == Some(item)).expect("one").container;
    assert_eq!((out_of(picture), out_of(packed)), (Some(packed), Some(ciphertext)));
    runtime.block_on(server.stop());
}
