//! Loops: programs that answer whatever they get, at every pace and under every name, and a second
//! vault behind a relay that takes the marks off. What they cost is printed, and stands in
//! docs/operating.md.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use kluis::clock::Clock;
use kluis::gateway::Gateway;
use kluis::inbox::{Delivery, Kind, Recipients, Settings, Verdict};
use kluis::ledger::entry::Fact;
use kluis::letter::Letter;
use tokio::runtime::Runtime;

use crate::inbox::{Fate, Server as Hop, settings};
use crate::mail_client::Client;
use crate::notices::{MX, Quiet, START, believe, letter_from, wait_for};
use crate::way::{count, runtime};
use crate::world::{KLUIS, MAILBOX, Server, World};

/// Rounds of each responder.
const ROUNDS: usize = 1000;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// A program that answers whatever it gets, badly: the reverse-path and the message of round `n`.
type Responder = fn(usize, &str, Option<&[u8]>) -> (String, Vec<u8>);

/// One whose answers carry no mark, no reference, and a new subject each time.
fn unmarked(n: usize, _: &str, _: Option<&[u8]>) -> (String, Vec<u8>) {
    let raw = letter_from("desk@crm.example", &format!("u{n}"), "", "Thank you for your mail.");
    ("desk@crm.example".into(), raw)
}

/// One that writes from another address each time, behind a plus.
fn tagged(n: usize, _: &str, _: Option<&[u8]>) -> (String, Vec<u8>) {
    let from = format!("exec+{n}@tagged.example");
    let raw = letter_from(&from, &format!("c{n}"), "", "Ticket received");
    (from, raw)
}

/// One that has an address for each ticket.
fn numbered(n: usize, _: &str, _: Option<&[u8]>) -> (String, Vec<u8>) {
    let from = format!("ticket-{n}@ticket.example");
    let raw = letter_from(&from, &format!("t{n}"), "", "Ticket received");
    (from, raw)
}

/// One that piles the subject up and gives no references.
fn growing(n: usize, subject: &str, _: Option<&[u8]>) -> (String, Vec<u8>) {
    let raw = format!(
        "From: <help@pile.example>\r\nTo: <{MAILBOX}>\r\nSubject: Re: {subject} Ticket #{n}\r\n\
         Message-ID: <g{n}@pile.example>\r\n\r\nWe have your mail.\r\n"
    );
    ("help@pile.example".into(), raw.into_bytes())
}

/// A vacation program of the old sort: it quotes, it refers, it is not marked.
fn quoting(n: usize, subject: &str, got: Option<&[u8]>) -> (String, Vec<u8>) {
    let id = got.and_then(|mail| Letter::parse(mail).headers.message_id);
    let refers = id.map_or(String::new(), |id| format!("In-Reply-To: <{}>\r\n", id.expose()));
    let raw = format!(
        "From: <jan@away.example>\r\nSubject: Out of office: {subject}\r\n\
         Message-ID: <q{n}@away.example>\r\n{refers}\r\nI am away.\r\n> your mail\r\n"
    );
    ("jan@away.example".into(), raw.into_bytes())
}

/// A server that bounces what it took, from a reverse-path that is not empty.
fn bouncing(n: usize, _: &str, got: Option<&[u8]>) -> (String, Vec<u8>) {
    let returned = got.map(|mail| String::from_utf8_lossy(mail).into_owned()).unwrap_or_default();
    let raw = format!(
        "From: <info@bounce.example>\r\nSubject: Undelivered\r\nMessage-ID: <b{n}@bounce.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\
         could not be delivered\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n{returned}\r\n--b--\r\n"
    );
    ("info@bounce.example".into(), raw.into_bytes())
}

/// A second mailbox like ours, behind a forwarder that hides whom the mail is from.
fn mirror(n: usize, subject: &str, _: Option<&[u8]>) -> (String, Vec<u8>) {
    let raw = format!(
        "From: <privacy@other.example>\r\nReply-To: <{MAILBOX}>\r\nSubject: {subject}\r\n\
         Message-ID: <m{n}@other.example>\r\nAuto-Submitted: no\r\n\r\nYour number is {n}.\r\n"
    );
    ("privacy@other.example".into(), raw.into_bytes())
}

/// One whose address is new each time and has no number in it.
fn nameless(n: usize, _: &str, _: Option<&[u8]>) -> (String, Vec<u8>) {
    let name: String = n.to_string().bytes().map(|digit| (digit - b'0' + b'a') as char).collect();
    let from = format!("{name}.desk@names.example");
    let raw = letter_from(&from, &format!("n{n}"), "", "We have your mail.");
    (from, raw)
}

/// Somebody who answers from another domain each time.
fn domainless(n: usize, _: &str, _: Option<&[u8]>) -> (String, Vec<u8>) {
    let from = format!("desk@d{n}.example");
    let raw = letter_from(&from, &format!("d{n}"), "", "We have your mail.");
    (from, raw)
}

/// Plays the rounds with all of these at once, a round every `pace` seconds; the mails each got.
fn play<const N: usize>(responders: [(&str, Responder); N], pace: u64) -> [usize; N] {
    let world = World::found_at(START);
    let time: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(START)));
    let open = || {
        let gateway = Gateway::open(&world.state(), Path::new(KLUIS), Clock::Moved(time));
        Quiet::of(gateway.expect("opens"))
    };
    let mut quiet = open();
    let mut mails = [0; N];
    let mut subjects: [String; N] = std::array::from_fn(|_| "vraag".to_owned());
    let mut got: [Option<Vec<u8>>; N] = std::array::from_fn(|_| None);
    for n in 0..ROUNDS {
        for (at, (_, responder)) in responders.iter().enumerate() {
            let (from, raw) = responder(n, &subjects[at], got[at].as_deref());
            quiet.take(&from, &raw);
            for (_, mail) in quiet.hand_over() {
                mails[at] += 1;
                let read = Letter::parse(&mail);
                subjects[at] = read.headers.subject.expect("has one").expose().clone();
                got[at] = Some(mail);
            }
        }
        time.fetch_add(pace, Ordering::Relaxed);
        if n % 100 == 99 {
            quiet.gateway.casebook.tidy().expect("tidies");
        }
        // What is known of them is known after a restart, too.
        if n == ROUNDS / 2 {
            drop(quiet);
            quiet = open();
        }
    }
    let over = ROUNDS as u64 * pace / HOUR;
    for ((name, _), mails) in responders.iter().zip(mails) {
        println!("{name}: {mails} mails in {ROUNDS} rounds over {over} hours");
    }
    mails
}

/// Those that are recognised, whatever they change.
const RECOGNISED: [(&str, Responder); 7] = [
    ("unmarked", unmarked),
    ("tagged", tagged),
    ("numbered", numbered),
    ("growing", growing),
    ("quoting", quoting),
    ("bouncing", bouncing),
    ("mirror", mirror),
];

#[test]
fn a_thousand_rounds_a_minute_apart_bring_a_bad_responder_two_mails_at_most() {
    let mails = play(RECOGNISED, MINUTE);
    assert!(mails.iter().all(|mails| (1..=2).contains(mails)), "{mails:?}");
}

#[test]
fn a_thousand_rounds_an_hour_apart_bring_a_bad_responder_two_mails_at_most() {
    let mails = play(RECOGNISED, HOUR);
    assert!(mails.iter().all(|mails| (1..=2).contains(mails)), "{mails:?}");
}

/// Who has a new address each time is bounded by its domain, and who has a new domain each time by
/// what all get.
#[test]
fn who_changes_its_name_is_bounded_all_the_same() {
    for (pace, of_names, of_domains) in [(MINUTE, 5, 60), (HOUR, 5, ROUNDS)] {
        assert_eq!(play([("nameless", nameless)], pace), [of_names]);
        assert_eq!(play([("domainless", domainless)], pace), [of_domains]);
    }
}

const THEIRS: &str = "privacy@other.example";

/// What tells the other side that it is not to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    NullSender,
    AutoSubmitted,
    AsksSilence,
    References,
    Number,
}

const MARKS: [Mark; 5] =
    [Mark::NullSender, Mark::AutoSubmitted, Mark::AsksSilence, Mark::References, Mark::Number];

/// A vault that serves, and whose mail a relay takes.
struct Vault {
    own: &'static str,
    world: World,
    server: Server,
    relay: Hop,
    /// How many mails the relay handed on.
    passed: usize,
}

impl Vault {
    fn serve(runtime: &Runtime, own: &'static str, other: &str) -> Self {
        let keep = |_: &Delivery| -> Fate { Box::pin(async { Verdict::Accepted }) };
        let recipients = Recipients::new([other], false);
        let relay = Hop::deciding(Kind::Smtp, None, Settings { recipients, ..settings() }, keep);
        let world = World::found();
        believe(&world);
        world.send_to(relay.addr.port());
        let file = world.state().join("kluis.toml");
        let text = std::fs::read_to_string(&file).expect("is read");
        std::fs::write(&file, text.replace(MAILBOX, own)).expect("is written");
        let server = runtime.block_on(world.serve());
        Self { own, world, server, relay, passed: 0 }
    }

    /// Takes a letter over SMTP that the server in front vouches for.
    fn take(&self, from: &str, reverse_path: &str, raw: &[u8]) {
        let domain = from.rsplit('@').next().expect("a domain");
        let said = format!("Authentication-Results: {MX}; dmarc=pass header.from={domain}\r\n");
        let raw = [said.as_bytes(), raw].concat();
        let mut client = Client::greet(self.server.smtp(), false).expect("greets");
        let answers = client.send(reverse_path, &[self.own], &raw).expect("answers");
        assert_eq!(answers[0].code, 250, "{}", answers[0].text);
    }

    /// Hands on what it sent, without these marks; gives how many mails.
    fn pass_on(&mut self, to: &Self, stripped: &[Mark]) -> usize {
        let left =
            || count(&self.server, Fact::NoticeDue) == count(&self.server, Fact::NoticeEnded);
        wait_for("all has left", left);
        let letters = self.relay.letters();
        for letter in &letters[self.passed..] {
            assert!(letter.envelope.mail_from.expose().is_empty());
            let names_us = stripped.contains(&Mark::NullSender);
            to.take(self.own, if names_us { self.own } else { "" }, &strip(&letter.raw, stripped));
        }
        let passed = letters.len() - self.passed;
        self.passed = letters.len();
        passed
    }
}

/// The mail without these marks.
fn strip(raw: &[u8], stripped: &[Mark]) -> Vec<u8> {
    let text = String::from_utf8(raw.to_vec()).expect("is text");
    let (head, body) = text.split_once("\r\n\r\n").expect("has a body");
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let mark = |line: &str| match line.split(':').next().unwrap_or_default() {
        "Auto-Submitted" => Some(Mark::AutoSubmitted),
        "X-Auto-Response-Suppress" => Some(Mark::AsksSilence),
        "In-Reply-To" | "References" => Some(Mark::References),
        "Subject" => Some(Mark::Number),
        _ => None,
    };
    let is_kept = |line: &&str| mark(line).is_none_or(|mark| !stripped.contains(&mark));
    let kept: Vec<&str> = unfolded.split("\r\n").filter(is_kept).collect();
    for mark_of_it in MARKS.into_iter().skip(1) {
        assert!(unfolded.split("\r\n").any(|line| mark(line) == Some(mark_of_it)), "{unfolded}");
    }
    format!("{}\r\n\r\n{body}", kept.join("\r\n")).into_bytes()
}

/// The mails that each of two vaults sends when a person at the other's address writes to the first,
/// through a relay that takes these marks off.
fn answer_each_other(stripped: &[Mark]) -> [usize; 2] {
    let runtime = runtime();
    let mut ours = Vault::serve(&runtime, MAILBOX, THEIRS);
    let mut theirs = Vault::serve(&runtime, THEIRS, MAILBOX);
    let raw = format!(
        "From: <{THEIRS}>\r\nTo: <{MAILBOX}>\r\nSubject: vraag\r\n\
         Message-ID: <first@other.example>\r\n\r\nDag\r\n"
    );
    ours.take(THEIRS, THEIRS, raw.as_bytes());
    let mut mails = [0; 2];
    loop {
        let passed = [ours.pass_on(&theirs, stripped), theirs.pass_on(&ours, stripped)];
        mails = [mails[0] + passed[0], mails[1] + passed[1]];
        if passed == [0, 0] || mails.iter().sum::<usize>() > 20 {
            break;
        }
    }
    for vault in [ours, theirs] {
        assert!(vault.world.delivered().is_empty(), "all goes through the relay");
        runtime.block_on(vault.server.stop());
    }
    println!("two vaults, a relay that strips {stripped:?}: {mails:?} mails");
    mails
}

#[test]
fn two_vaults_that_write_to_each_other_stop_after_the_first_notice() {
    assert_eq!(answer_each_other(&[]), [1, 0]);
}

#[test]
fn two_vaults_stop_whichever_one_mark_a_relay_between_them_takes_off() {
    for mark in MARKS {
        assert_eq!(answer_each_other(&[mark]), [1, 0], "{mark:?}");
    }
}

/// Each mark that is left alone; and none, where only the budgets hold.
#[test]
fn two_vaults_send_two_mails_each_at_most_whatever_a_relay_between_them_takes_off() {
    for left in MARKS {
        let stripped: Vec<Mark> = MARKS.into_iter().filter(|mark| *mark != left).collect();
        let mails = answer_each_other(&stripped);
        let alone = match left {
            Mark::NullSender | Mark::AutoSubmitted | Mark::AsksSilence => [1, 0],
            // The other vault knows neither; ours knows both again.
            Mark::References => [1, 1],
            Mark::Number => [2, 2],
        };
        assert_eq!(mails, alone, "only {left:?}");
    }
    assert_eq!(answer_each_other(&MARKS), [2, 2]);
}
