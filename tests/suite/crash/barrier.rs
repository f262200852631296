//! A barrier that fails ends the process: what the system could not write it may have forgotten, so
//! nothing is answered any more, and the next process looks at what is really there.

use std::time::Duration;

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::staff::client::Error;
use kluis::staff::sealing::Sealing;

use crate::mail_client::{Client as Sender, letter};
use crate::oracles::{self, Found, Sent};
use crate::world::{MAILBOX, World};

/// Letters that are tried.
const LETTERS: u64 = 8;
/// The process is gone within this time after the failure.
const GONE: Duration = Duration::from_secs(5);

#[test]
fn a_failed_barrier_ends_the_process_and_nothing_is_answered_after_it() {
    for (barrier, count) in
        [("packs", 1), ("packs", 5), ("cabinet", 3), ("ledger", 1), ("ledger", 4), ("dir", 3)]
    {
        let world = World::found();
        let [smtp, _] = world.fix_ports();
        let wish = format!("{barrier}:{count}");
        let mut server = world.spawn(&[("KLUIS_LAB_FAIL_SYNC", &wish)]);
        let mut sent = Sent::default();
        let mut answers = Vec::new();
        for n in 0..LETTERS {
            let raw = letter(19, n, 5_000);
            let answer = Sender::greet(smtp, false)
                .and_then(|mut sender| sender.send("lotte@client.example", &[MAILBOX], &raw));
            let kept = answer.is_ok_and(|answers| answers[0].code == 250);
            answers.push(kept);
            if kept {
                sent.kept.insert(raw)
            } else {
                sent.given_up.insert(raw)
            };
        }
        let failed = answers.iter().position(|kept| !kept);
        assert!(failed.is_some_and(|at| !answers[at..].contains(&true)), "{wish}: {answers:?}");
        let ended = server.ended_within(GONE).expect("it ends by itself");
        assert!(ended.code().is_some_and(|code| code != 0), "{wish}: {ended}");
        let log = std::fs::read_to_string(world.log()).expect("is read");
        // The first ones of their sort may come at the start.
        assert!(log.contains("cannot be made durable"), "{log}");

        let server = world.spawn(&[]);
        let mut anna = world.log_in("anna").expect("logs in");
        let found = Found::by(&mut anna).expect("opens");
        assert_eq!(oracles::letters(&sent, &found), [""; 0], "{wish}");
        assert_eq!(anna.check().expect("checks").1, [], "{wish}");
        server.kill();
    }
}

#[test]
fn a_barrier_that_fails_in_a_forgetting_ends_the_process_too() {
    // The note and the erasure's checkpoint before the rotation; the old key after its switch.
    for wish in ["cabinet:2", "key:1", "key:3"] {
        let world = World::found();
        let [smtp, _] = world.fix_ports();
        let raw = letter(23, 1, 5_000);
        let server = world.spawn(&[]);
        let mut sender = Sender::greet(smtp, false).expect("greets");
        let answers = sender.send("lotte@client.example", &[MAILBOX], &raw).expect("answers");
        assert_eq!(answers[0].code, 250);
        server.kill();

        let mut server = world.spawn(&[("KLUIS_LAB_FAIL_SYNC", wish)]);
        let mut anna = world.log_in("anna").expect("logs in");
        let cases = anna.queue(Filter::All).expect("lists");
        let detail = cases[0].letters[0].detail.as_ref().expect("a letter box opens");
        let item = detail.items[0].id;
        let proven = anna.sealing().expect("proven");
        let mut sealing = Sealing::new(cases[0].card.case, Act::Note, proven);
        sealing.note(NoteSubject::Reason, "asked for", None, Vec::new());
        assert!(anna.forget(vec![item], sealing.finish(), true).is_err(), "{wish}");
        let ended = server.ended_within(GONE).expect("it ends by itself");
        assert!(ended.code().is_some_and(|code| code != 0), "{wish}: {ended}");

        let server = world.spawn(&[]);
        let mut anna = world.log_in("anna").expect("logs in");
        assert_eq!(anna.check().expect("checks").1, [], "{wish}");
        assert_eq!(anna.queue(Filter::All).expect("lists").len(), 1, "{wish}");
        server.kill();
    }
}

#[test]
fn a_barrier_that_fails_before_the_switch_of_a_rotation_costs_the_rotation_alone() {
    // The new key; the new cabinet when it is copied, and when it is finished.
    for wish in ["key:2", "cabinet:4", "cabinet:5"] {
        let world = World::found();
        let [smtp, _] = world.fix_ports();
        let send = |n| {
            let raw = letter(29, n, 5_000);
            let mut sender = Sender::greet(smtp, false).expect("greets");
            let answers = sender.send("lotte@client.example", &[MAILBOX], &raw);
            assert_eq!(answers.expect("answers")[0].code, 250, "{wish}");
        };
        let server = world.spawn(&[]);
        send(1);
        server.kill();

        let server = world.spawn(&[("KLUIS_LAB_FAIL_SYNC", wish)]);
        let mut anna = world.log_in("anna").expect("logs in");
        let cases = anna.queue(Filter::All).expect("lists");
        let detail = cases[0].letters[0].detail.as_ref().expect("a letter box opens");
        let item = detail.items[0].id;
        let proven = anna.sealing().expect("proven");
        let mut sealing = Sealing::new(cases[0].card.case, Act::Note, proven);
        sealing.note(NoteSubject::Reason, "asked for", None, Vec::new());
        let refused = anna.forget(vec![item], sealing.finish(), true);
        let Err(Error::Refused(why)) = refused else { panic!("{wish}: {refused:?}") };
        assert!(why.starts_with(kluis::store::KEEPS_ITS_KEY), "{wish}: {why}");
        let files = |dir: std::path::PathBuf, part: &str| {
            let names = std::fs::read_dir(dir).expect("is read").map(|e| e.expect("e").file_name());
            names.filter(|name| name.to_string_lossy().contains(part)).collect::<Vec<_>>()
        };
        assert_eq!(files(world.state(), "cabinet."), ["cabinet.1"], "{wish}");
        assert_eq!(files(world.cabinet_key(), ".key"), ["1.key"], "{wish}");

        // It is forgotten, the server goes on, and the next rotation is done.
        assert!(matches!(anna.look(&[item]), Err(Error::Forgotten)), "{wish}");
        send(2);
        let cases = anna.queue(Filter::All).expect("lists");
        let other = cases[0].letters[0].detail.as_ref().expect("opens").items[1].id;
        let mut sealing =
            Sealing::new(cases[0].card.case, Act::Note, anna.sealing().expect("proven"));
        sealing.note(NoteSubject::Reason, "asked for", None, Vec::new());
        let certificates = anna.forget(vec![other], sealing.finish(), true).expect("forgets");
        assert!(certificates[0].rotated.is_some(), "{wish}");
        assert_eq!(files(world.state(), "cabinet."), ["cabinet.2"], "{wish}");
        assert_eq!(anna.check().expect("checks").1, [], "{wish}");
        server.kill();
    }
}
