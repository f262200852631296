//! Letters from a real Dovecot: fetched, waited for, deleted, moved or kept; over TLS that holds and
//! over none that does not; with a password and with access tokens; through kills and new numbers.

use kluis::casebook::fetched::Place;
use kluis::ledger::Fact;

use crate::dovecot_server::{Dovecot, TokenServer};
use crate::imap::{eventually, fetched, letters, mail, place};
use crate::way::{count, entries, runtime, skipped};
use crate::world::World;

/// Adds the mailbox to the settings.
fn add(world: &World, port: u16, more: &str) {
    crate::imap::add_account(world, "office", port, more);
}

/// Starts Dovecot, or says why the test is skipped.
macro_rules! dovecot {
    ($name:expr, $tokens:expr) => {
        match Dovecot::start($tokens) {
            Ok(dovecot) => dovecot,
            Err(reason) => return skipped($name, reason),
        }
    };
}

fn sorted(mut letters: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    letters.sort();
    letters
}

#[test]
fn dovecot_is_waited_for_and_what_is_sealed_is_deleted() {
    let dovecot = dovecot!("dovecot_is_waited_for_and_what_is_sealed_is_deleted", None);
    let (world, runtime) = (World::found(), runtime());
    dovecot.deliver(&mail("dove", 1));
    dovecot.deliver(&[mail("dove", 2), b"a long line follows\r\n".repeat(150_000)].concat());
    add(&world, dovecot.imap, "after = \"delete\"\n");
    let server = runtime.block_on(world.serve());
    eventually("two letters", || count(&server, Fact::LetterReceived) == 2);
    eventually("an empty mailbox", || dovecot.mails("") == 0);
    // It idles now: what comes is told.
    let start = std::time::Instant::now();
    dovecot.deliver(&mail("dove", 3));
    eventually("the third", || count(&server, Fact::LetterReceived) == 3);
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "a poll would take minutes");
    eventually("an empty mailbox", || dovecot.mails("") == 0);
    let got = letters(&world);
    assert!(got.contains(&mail("dove", 1)) && got.contains(&mail("dove", 3)));
    assert_eq!(got.len(), 3);
    let status = world.log_in("anna").expect("logs in").status().expect("says");
    let [mailbox] = &status.mailboxes[..] else { panic!("one mailbox") };
    assert_eq!((mailbox.fault.as_deref(), mailbox.aside, mailbox.left), (None, 0, 0));
    assert!(mailbox.polled.is_some());
    runtime.block_on(server.stop());
}

#[test]
fn dovecot_moves_and_keeps() {
    let mut dovecot = dovecot!("dovecot_moves_and_keeps", None);
    let (world, runtime) = (World::found(), runtime());
    dovecot.deliver(&mail("dove", 1));
    dovecot.make_folder("Done");
    add(&world, dovecot.imap, "after = \"move\"\nmove_to = \"Done\"\n");
    let server = runtime.block_on(world.serve());
    eventually("it is moved", || dovecot.mails("") == 0 && dovecot.mails(".Done") == 1);
    runtime.block_on(server.stop());
    // From now on mails are kept; then the server numbers them anew while one comes.
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    let text = text.replace("\nafter = \"move\"\nmove_to = \"Done\"\n", "\n");
    std::fs::write(&file, text).expect("is written");
    dovecot.deliver(&mail("dove", 2));
    dovecot.deliver(&mail("dove", 3));
    let server = runtime.block_on(world.serve());
    eventually("three letters", || count(&server, Fact::LetterReceived) == 3);
    runtime.block_on(server.stop());
    dovecot.number_anew();
    dovecot.deliver(&mail("dove", 4));
    let server = runtime.block_on(world.serve());
    eventually("all under the new numbers", || {
        fetched(&entries(&server), place("office", dovecot.imap)).0.len() == 6
    });
    assert_eq!(count(&server, Fact::LetterReceived), 4);
    assert_eq!(count(&server, Fact::Redelivered), 2);
    assert_eq!((dovecot.mails(""), dovecot.mails(".Done")), (3, 1));
    assert_eq!(sorted(letters(&world)), [1, 2, 3, 4].map(|number| mail("dove", number)));
    runtime.block_on(server.stop());
}

#[test]
fn a_dovecot_without_uidplus_removes_nothing_that_others_marked() {
    let name = "a_dovecot_without_uidplus_removes_nothing_that_others_marked";
    let dovecot = match Dovecot::start_that_can(None, Some("IMAP4rev1 IDLE")) {
        Ok(dovecot) => dovecot,
        Err(reason) => return skipped(name, reason),
    };
    let (world, runtime) = (World::found(), runtime());
    dovecot.deliver(&mail("dove", 1));
    let theirs = dovecot.deliver_marked(&mail("theirs", 1));
    add(&world, dovecot.imap, "after = \"delete\"\nsince = \"2026-01-01\"\n");
    let server = runtime.block_on(world.serve());
    let status = || world.log_in("anna").expect("logs in").status().expect("says").mailboxes;
    eventually("it is said", || {
        let [mailbox] = &status()[..] else { panic!("one mailbox") };
        let remark = mailbox.remark.clone().unwrap_or_default();
        mailbox.left == 1 && remark.contains("others marked mails as deleted")
    });
    assert_eq!(dovecot.mails(""), 2);
    // Whoever it was removes it; whether by that or by what comes, the server looks again.
    let marked = std::fs::read_dir(theirs.parent().expect("a folder")).expect("is there");
    for file in
        marked.flatten().filter(|file| file.file_name().to_string_lossy().contains("marked"))
    {
        std::fs::remove_file(file.path()).expect("is removed");
    }
    dovecot.deliver(&mail("dove", 2));
    eventually("an empty mailbox", || dovecot.mails("") == 0);
    eventually("it is said", || status()[0].left == 0);
    assert_eq!(sorted(letters(&world)), [1, 2].map(|number| mail("dove", number)));
    runtime.block_on(server.stop());
}

#[test]
fn tls_holds_or_nothing_is_said() {
    let dovecot = dovecot!("tls_holds_or_nothing_is_said", None);
    let (world, runtime) = (World::found(), runtime());
    dovecot.deliver(&mail("dove", 1));
    let ca = format!("ca = \"{}\"\n", dovecot.certificate().display());
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a pair");
    std::fs::write(world.state().join("other.pem"), other.cert.pem()).expect("is written");
    let add = |name: &str, host: &str, port: u16, tls: &str, ca: &str| {
        crate::imap::add_account(&world, name, port, ca);
        let file = world.state().join("kluis.toml");
        let text = std::fs::read_to_string(&file).expect("is read");
        let at = text.find(&format!("name = \"{name}\"")).expect("is there");
        let (before, after) = text.split_at(at);
        let after = after.replacen("127.0.0.1", host, 1);
        let after = after.replacen("tls = \"none\"", &format!("tls = \"{tls}\""), 1);
        std::fs::write(&file, format!("{before}{after}")).expect("is written");
    };
    add("implicit", "localhost", dovecot.imaps, "implicit", &ca);
    add("starttls", "localhost", dovecot.imap, "starttls", &ca);
    add("stranger", "localhost", dovecot.imaps, "implicit", "ca = \"other.pem\"\n");
    add("nobody", "localhost", dovecot.imap, "starttls", "");
    add("misnamed", "127.0.0.1", dovecot.imaps, "implicit", &ca);
    let server = runtime.block_on(world.serve());
    let of = |name: &str, host: &str, port: u16| {
        fetched(&entries(&server), Place::of(name, host, port, "office", "INBOX")).0
    };
    eventually("both that hold", || {
        of("implicit", "localhost", dovecot.imaps) == [1]
            && of("starttls", "localhost", dovecot.imap) == [1]
    });
    let fault = |name: &str| {
        let status = world.log_in("anna").expect("logs in").status().expect("says");
        let mailbox = status.mailboxes.into_iter().find(|mailbox| mailbox.name == name);
        mailbox.expect("is there").fault
    };
    for name in ["stranger", "nobody", "misnamed"] {
        let wanted = Some("no TLS, or a certificate that does not hold".to_owned());
        eventually(name, || fault(name) == wanted);
    }
    assert_eq!(count(&server, Fact::MailFetched), 2, "nothing of the others");
    runtime.block_on(server.stop());
}

/// The part of the settings that asks this endpoint for tokens.
fn oauth2(tokens: &TokenServer, how: &str) -> String {
    format!(
        "after = \"delete\"\n[imap.oauth2]\ntoken_url = \"http://127.0.0.1:{}/token\"\n\
         client_id = \"kluis\"\n{how}scope = \"mail a\"\n",
        tokens.port
    )
}

#[test]
fn access_tokens_are_asked_for_renewed_and_missed_aloud() {
    let tokens = TokenServer::start();
    let name = "access_tokens_are_asked_for_renewed_and_missed_aloud";
    let mut dovecot = dovecot!(name, Some(&tokens));
    let (world, runtime) = (World::found(), runtime());
    std::fs::write(world.state().join("client"), "of the client\n").expect("is written");
    add(&world, dovecot.imap, &oauth2(&tokens, "client_secret_file = \"client\"\n"));
    dovecot.deliver(&mail("dove", 1));
    let server = runtime.block_on(world.serve());
    eventually("a letter", || count(&server, Fact::LetterReceived) == 1);
    {
        let given = tokens.given();
        assert_eq!(given.tokens, 1);
        let form = &given.forms[0];
        for part in ["grant_type=client_credentials", "client_id=kluis", "scope=mail"] {
            assert!(form.contains(part), "{form}");
        }
    }
    // The connection breaks, and the token is not good any more though its time is not over.
    tokens.given().is_expired = true;
    dovecot.number_anew();
    dovecot.deliver(&mail("dove", 2));
    eventually("a second", || count(&server, Fact::LetterReceived) == 2);
    assert_eq!(tokens.given().tokens, 2);
    // No token any more: that is said, not only logged, and mended when there is one again.
    {
        let mut given = tokens.given();
        (given.is_expired, given.refuses) = (true, true);
    }
    dovecot.number_anew();
    let fault = || {
        let status = world.log_in("anna").expect("logs in").status().expect("says");
        status.mailboxes[0].fault.clone()
    };
    let wanted = Some("the token endpoint gave no access token".to_owned());
    eventually("it is said", || fault() == wanted);
    tokens.given().refuses = false;
    dovecot.deliver(&mail("dove", 3));
    eventually("a third", || count(&server, Fact::LetterReceived) == 3);
    eventually("it is mended", || fault().is_none());
    runtime.block_on(server.stop());
}

#[test]
fn a_refresh_token_is_used_and_a_newer_one_written_down() {
    let tokens = TokenServer::start();
    let name = "a_refresh_token_is_used_and_a_newer_one_written_down";
    let dovecot = dovecot!(name, Some(&tokens));
    let (world, runtime) = (World::found(), runtime());
    let file = world.state().join("refresh");
    std::fs::write(&file, "first-one\n").expect("is written");
    tokens.given().refresh = Some("second-one".into());
    add(&world, dovecot.imap, &oauth2(&tokens, "refresh_token_file = \"refresh\"\n"));
    dovecot.deliver(&mail("dove", 1));
    let server = runtime.block_on(world.serve());
    eventually("a letter", || count(&server, Fact::LetterReceived) == 1);
    let form = tokens.given().forms[0].clone();
    assert!(form.contains("grant_type=refresh_token&refresh_token=first-one"), "{form}");
    assert!(!form.contains("client_secret"));
    assert_eq!(std::fs::read_to_string(&file).expect("is read"), "second-one\n");
    runtime.block_on(server.stop());
}

/// Killed at every step between the fetching of a mail and its deletion, the server loses nothing and
/// doubles nothing, and the mail is gone at the end.
#[cfg(kluis_lab)]
#[test]
fn a_kill_between_sealing_and_deleting_loses_and_doubles_nothing() {
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::Duration;

    let name = "a_kill_between_sealing_and_deleting_loses_and_doubles_nothing";
    let dovecot = dovecot!(name, None);
    let (world, runtime) = (World::found(), runtime());
    add(&world, dovecot.imap, "after = \"delete\"\n");
    let steps = [
        "commit:packs-synced",
        "commit:ledger-written",
        "commit:ledger-synced",
        "commit:answered",
        "imap:sealed",
        "imap:finished",
    ];
    for (number, step) in (1..).zip(steps) {
        dovecot.deliver(&mail("dove", number));
        let mut process = world.spawn(&[("KLUIS_LAB_KILL", &format!("{step}:1"))]);
        let ended = process.ended_within(Duration::from_secs(60)).expect(step);
        assert_eq!(ended.signal(), Some(9), "{step}");
        if step == "imap:sealed" {
            // What is new comes first, so nobody came to deleting yet.
            assert_eq!(dovecot.mails(""), number as usize, "all are sealed and not deleted yet");
        }
    }
    let server = runtime.block_on(world.serve());
    eventually("an empty mailbox", || dovecot.mails("") == 0);
    let all = steps.len();
    eventually("all letters", || count(&server, Fact::LetterReceived) == all);
    assert_eq!(count(&server, Fact::Redelivered), 0);
    let wanted: Vec<_> = (1..=all as u32).map(|number| mail("dove", number)).collect();
    assert_eq!(sorted(letters(&world)), wanted);
    runtime.block_on(server.stop());
}
