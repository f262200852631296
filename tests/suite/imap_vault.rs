//! Which mailbox is which in the vault, and what of a mail makes it a letter of its own.

use kluis::casebook::Filter;
use kluis::casebook::fetched::MailId;
use kluis::ledger::Fact;
use kluis::staff::client::CaseView;

use crate::dovecot_server::TokenServer;
use crate::imap::{
    add_account, as_usual, eventually, fetched, letters, letters_of, mail, office, place, two_polls,
};
use crate::imap_server::ImapServer;
use crate::way::{entries, runtime};
use crate::world::World;

/// Changes a line of the settings into another.
fn change(world: &World, from: &str, to: &str) {
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    assert!(text.contains(from), "{from}");
    std::fs::write(&file, text.replace(from, to)).expect("is written");
}

/// The mailbox becomes somebody else's: other mails with the same numbers.
fn becomes_anothers(there: &ImapServer, row: &str) -> Vec<Vec<u8>> {
    let mut mailbox = there.mailbox();
    for (uid, raw) in &mut mailbox.mails {
        *raw = mail(row, *uid);
    }
    mailbox.mails.values().cloned().collect()
}

#[test]
fn another_user_under_the_same_name_is_another_mailbox_and_loses_nothing() {
    let (world, there) = office("", as_usual, 3);
    let runtime = runtime();
    let server = runtime.block_on(world.serve());
    eventually("three letters", || letters_of(&server, &there) == [1, 2, 3]);
    runtime.block_on(server.stop());
    let others = becomes_anothers(&there, "others");
    let (user, text) = ("username = \"office\"\n", "username = \"other\"\nafter = \"delete\"\n");
    change(&world, user, text);
    let server = runtime.block_on(world.serve());
    eventually("all are fetched and gone", || there.mailbox().mails.is_empty());
    let got = letters(&world);
    assert_eq!(got.len(), 6);
    assert!(others.iter().all(|raw| got.contains(raw)));
    runtime.block_on(server.stop());
}

#[test]
fn what_an_older_version_fetched_counts_for_the_settings_of_the_first_start_and_for_no_others() {
    let (world, there) = office("", as_usual, 3);
    let runtime = runtime();
    // Older versions named a mailbox by its name and folder alone.
    let mut hasher = blake3::Hasher::new_derive_key("kluis v1 mailbox");
    for part in ["office", "INBOX"] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let by_name = kluis::ids::Digest::new(*hasher.finalize().as_bytes());
    {
        let gateway = world.open();
        let mail = MailId { mailbox: by_name, validity: 7, uid: 2 };
        gateway.casebook.pass_over(mail).expect("is entered");
    }
    for _ in 0..2 {
        let selects = there.mailbox().count("SELECT");
        let server = runtime.block_on(world.serve());
        eventually("the third", || letters_of(&server, &there) == [3]);
        eventually("a poll", || there.mailbox().count("SELECT") > selects);
        two_polls(&there);
        assert_eq!(there.mailbox().fetches(), 1);
        let facts = entries(&server);
        let fetched = facts.iter().filter(|entry| entry.kind == Fact::MailFetched);
        assert!(fetched.map(|entry| entry.hash).eq([Some(by_name); 2]), "both under the old name");
        for fact in [Fact::MailboxBound, Fact::MailboxNamesClosed] {
            assert_eq!(facts.iter().filter(|entry| entry.kind == fact).count(), 1);
        }
        runtime.block_on(server.stop());
    }
    becomes_anothers(&there, "others");
    change(&world, "username = \"office\"\n", "username = \"other\"\nafter = \"delete\"\n");
    let server = runtime.block_on(world.serve());
    eventually("all are fetched and gone", || there.mailbox().mails.is_empty());
    assert_eq!(letters(&world).len(), 4);
    runtime.block_on(server.stop());
}

#[test]
fn a_mail_with_a_defect_is_a_letter_and_one_id_in_two_mailboxes_is_two() {
    let defective = b"From: <a@client.example>\r\nTo: <backoffice@jobexpert.be>\r\nSubject: 55\r\n\
        Message-ID: <same@client.example>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=\"b\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nGraag mijn gegevens.\r\n--b--\r\n";
    let copy = [&b"Delivered-To: <dpo@jobexpert.be>\r\n"[..], defective].concat();
    let (world, runtime) = (World::found(), runtime());
    let (one, two) = (ImapServer::start(as_usual), ImapServer::start(as_usual));
    one.mailbox().add(defective.to_vec());
    two.mailbox().add(copy.clone());
    // The very same bytes a second time are one letter, that both mailboxes had.
    two.mailbox().add(defective.to_vec());
    for (name, there) in [("one", &one), ("two", &two)] {
        add_account(&world, name, there.port, "after = \"delete\"\n");
    }
    let server = runtime.block_on(world.serve());
    for there in [&one, &two] {
        eventually("all are sealed and gone", || there.mailbox().mails.is_empty());
    }
    assert_eq!(fetched(&entries(&server), place("one", one.port)).0, [1]);
    assert_eq!(fetched(&entries(&server), place("two", two.port)).0, [1, 2]);
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let letters: Vec<_> = cases.iter().flat_map(|case| &case.letters).collect();
    assert_eq!(letters.len(), 2);
    for letter in letters {
        let detail = letter.detail.as_ref().expect("opens");
        let subject = detail.headers.subject.as_ref().map(|subject| subject.expose().clone());
        assert_eq!(subject.as_deref(), Some("55"));
        assert!(!detail.items.is_empty());
    }
    runtime.block_on(server.stop());
}

#[test]
fn a_refresh_token_that_died_is_told_of_once() {
    let tokens = TokenServer::start();
    tokens.given().refuses = true;
    let world = World::found();
    std::fs::write(world.state().join("refresh"), "dead\n").expect("is written");
    let more = format!(
        "after = \"delete\"\n[imap.oauth2]\ntoken_url = \"http://127.0.0.1:{}/token\"\n\
         client_id = \"kluis\"\nrefresh_token_file = \"refresh\"\n",
        tokens.port
    );
    let there = ImapServer::start(as_usual);
    add_account(&world, "office", there.port, &more);
    let process = world.spawn(&[]);
    eventually("three tries", || tokens.given().asked >= 3);
    let log = std::fs::read_to_string(world.log()).expect("is read");
    let told: Vec<_> =
        log.lines().filter(|line| line.contains("letters wait in a mailbox")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("the token endpoint gave no access token"), "{log}");
    assert_eq!(there.mailbox().commands.len(), 0, "nobody connects without a token");
    assert_eq!(std::fs::read_to_string(world.state().join("refresh")).expect("is read"), "dead\n");
    drop(process);
}

#[test]
fn which_letters_stay_in_clear_on_a_mail_server_is_told_at_the_start() {
    let world = World::found();
    let servers = [(); 3].map(|()| ImapServer::start(as_usual));
    let settings =
        ["after = \"delete\"\n", "after = \"keep\"\n", "after = \"move\"\nmove_to = \"Done\"\n"];
    for ((name, there), more) in ["gone", "kept", "moved"].iter().zip(&servers).zip(settings) {
        add_account(&world, name, there.port, more);
    }
    let process = world.spawn(&[]);
    let log = || std::fs::read_to_string(world.log()).unwrap_or_default();
    let told = |words: &str| -> Vec<String> {
        let log = log();
        log.lines().filter(|line| line.contains(words)).map(ToOwned::to_owned).collect()
    };
    eventually("both are told", || told("what is forgotten here is there in clear").len() == 2);
    let all = told("what is forgotten here is there in clear");
    let of =
        |words: &str| -> Vec<&String> { all.iter().filter(|line| line.contains(words)).collect() };
    let [kept] = of("letters stay on the mail server")[..] else { panic!("{all:?}") };
    let [moved] = of("letters stay in another folder")[..] else { panic!("{all:?}") };
    assert!(kept.contains("kept") && moved.contains("moved"), "{all:?}");
    assert!(!all.iter().any(|line| line.contains("gone")), "{all:?}");
    drop(process);
}

#[test]
fn a_letter_with_two_hundred_documents_comes_whole_and_holds_up_no_other() {
    const DOCUMENTS: usize = 200;
    let part = |nr: usize| {
        let document = format!("%PDF-1.4\n% loonbrief {nr}\n{}", "0 0 m ".repeat(2_000));
        let coded = data_encoding::BASE64_MIME.encode(document.as_bytes());
        format!(
            "--b\r\nContent-Type: application/pdf; name=\"{nr}.pdf\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{coded}\r\n"
        )
    };
    let raw = format!(
        "From: <a@client.example>\r\nTo: <backoffice@jobexpert.be>\r\nSubject: alles\r\n\
         Message-ID: <many@client.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nGraag mijn gegevens.\r\n{}--b--\r\n",
        (0..DOCUMENTS).map(part).collect::<String>()
    );
    let (world, runtime) = (World::found(), runtime());
    let there = ImapServer::start(as_usual);
    there.mailbox().add(raw.clone().into_bytes());
    there.mailbox().add(mail("after it", 2));
    add_account(&world, "office", there.port, "after = \"delete\"\n");
    let server = runtime.block_on(world.serve());
    eventually("both are sealed and gone", || there.mailbox().mails.is_empty());
    assert_eq!(fetched(&entries(&server), place("office", there.port)).0, [1, 2]);
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let of = |case: &CaseView| case.letters[0].detail.as_ref().expect("opens").items.len();
    let case = cases.iter().find(|case| of(case) == DOCUMENTS + 1).expect("all are there");
    assert!(crate::way::raw(&mut anna, case) == raw.into_bytes(), "byte for byte");
    runtime.block_on(server.stop());
}
