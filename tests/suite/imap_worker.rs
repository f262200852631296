//! What fetches letters, over scripted servers and a ledger in memory, with times that are short:
//! servers that hang, spin, flood and lie, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use kluis::inbox::Verdict;
use kluis::inbox::imap::{Account, After, Fault, Grant, Login, OAuth2, Pace, Remark, Security};
use proptest::prelude::*;

use crate::dovecot_server::TokenServer;
use crate::imap::{eventually, mail};
use crate::imap_server::{ImapServer, Mailbox, Twist, Twisted};
use crate::worker::{TIME_OUT, Worker, account, server};

/// The first time that this is so.
fn once(mailbox: &mut Mailbox, is_so: bool) -> bool {
    let is_first = is_so && mailbox.twists == 0;
    mailbox.twists += u32::from(is_first);
    is_first
}

/// Hangs once, at the first command that begins so.
macro_rules! hangs {
    ($start:literal) => {
        hangs!($start, b"")
    };
    ($start:literal, $said:literal) => {
        |mailbox, command| match once(mailbox, command.starts_with($start)) {
            true => Twist::Hang($said.to_vec()),
            false => Twist::Usual,
        }
    };
}

const USUAL: &str = "IDLE UIDPLUS";

/// Where a server hangs: its name, what it can do, what hangs, and whether mails are moved.
const HANGING: &[(&str, &str, Twisted, bool)] = &[
    (
        "greeting",
        USUAL,
        |mailbox, command| match once(mailbox, command.is_empty()) {
            true => Twist::Hang(Vec::new()),
            false => Twist::Usual,
        },
        false,
    ),
    (
        "in-the-greeting",
        USUAL,
        |mailbox, command| match once(mailbox, command.is_empty()) {
            true => Twist::Hang(b"* OK rea".to_vec()),
            false => Twist::Usual,
        },
        false,
    ),
    ("capability", USUAL, hangs!("CAPABILITY"), false),
    ("login", USUAL, hangs!("LOGIN"), false),
    ("authenticate", "IDLE UIDPLUS AUTH=PLAIN", hangs!("AUTHENTICATE"), false),
    (
        "authenticate-after-the-secret",
        "IDLE UIDPLUS AUTH=PLAIN",
        hangs!("AUTHENTICATE", b"+ \r\n"),
        false,
    ),
    ("examine", USUAL, hangs!("EXAMINE"), false),
    ("select", USUAL, hangs!("SELECT", b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] v\r\n"), false),
    ("list", USUAL, hangs!("UID FETCH 1:*", b"* 1 FETCH (UID 1 RFC822.SIZE 9)\r\n"), false),
    ("content", USUAL, hangs!("UID FETCH 2 (UID BODY"), false),
    (
        "literal",
        USUAL,
        hangs!("UID FETCH 2 (UID BODY", b"* 2 FETCH (UID 2 BODY[]<0> {200}\r\nReturn"),
        false,
    ),
    (
        "behind-the-literal",
        USUAL,
        hangs!("UID FETCH 2 (UID BODY", b"* 2 FETCH (UID 2 BODY[]<0> {3}\r\nRet)\r\n"),
        false,
    ),
    ("store", USUAL, hangs!("UID STORE"), false),
    ("expunge", USUAL, hangs!("UID EXPUNGE"), false),
    ("search", "IDLE", hangs!("UID SEARCH", b"* SEARCH 1"), false),
    ("expunge-of-all", "IDLE", hangs!("EXPUNGE"), false),
    ("idle-is-not-begun", USUAL, hangs!("IDLE"), false),
    ("idle", USUAL, hangs!("IDLE", b"+ idling\r\n"), false),
    ("move", "IDLE MOVE", hangs!("UID MOVE"), true),
    (
        "behind-the-move",
        "IDLE MOVE",
        |mailbox, command| match once(mailbox, command.starts_with("UID MOVE")) {
            true => Twist::Hang(mailbox.answer("TAG", command)[..4].to_vec()),
            false => Twist::Usual,
        },
        true,
    ),
    ("copy", "IDLE", hangs!("UID COPY"), true),
];

#[test]
fn a_server_that_hangs_in_any_state_is_left_in_time_and_nothing_is_lost_or_doubled() {
    let servers: Vec<_> = HANGING
        .iter()
        .map(|(name, capabilities, twisted, _)| server(name, 2, capabilities, *twisted))
        .collect();
    let worker = Worker::start(|password| {
        let rows = HANGING.iter().zip(&servers);
        rows.map(|((name, _, _, moves), there)| {
            let after = if *moves { After::Move("Done".into()) } else { After::Delete };
            Account { after, ..account(name, there.port, password.clone()) }
        })
        .collect()
    });
    for ((name, _, _, moves), there) in HANGING.iter().zip(&servers) {
        // All of it once more behind the place where it hung.
        eventually(name, || there.mailbox().twists == 1 && there.mailbox().mails.is_empty());
        there.mailbox().add(mail(name, 3));
        eventually(name, || there.mailbox().mails.is_empty());
        let stayed = there.mailbox().stayed.expect("it was left");
        let in_time = TIME_OUT * 9 / 10..TIME_OUT * 3;
        assert!(in_time.contains(&stayed), "{name} was left after {stayed:?}");
        eventually(name, || worker.state(name).fault.is_none());
        let moved = there.mailbox().moved.len();
        assert_eq!(moved, if *moves { 3 } else { 0 }, "{name}");
    }
    let wanted = HANGING.iter().flat_map(|(name, ..)| (1..=3).map(|number| mail(name, number)));
    let wanted: BTreeSet<Vec<u8>> = wanted.collect();
    let sealed = worker.book.sealed();
    assert_eq!(sealed.len(), wanted.len());
    assert!(sealed.iter().eq(&wanted));
    assert!(worker.book.written().aside.is_empty());
}

#[test]
fn a_server_that_never_answers_before_tls_is_left_and_tried_again() {
    let hangs: Twisted = |_, command| match command {
        "STARTTLS" => Twist::Hang(Vec::new()),
        _ => Twist::Usual,
    };
    let silent: Twisted = |mailbox, _| {
        mailbox.twists += 1;
        Twist::Hang(Vec::new())
    };
    let rows = [("starttls", hangs, Security::Starttls), ("tls", silent, Security::Implicit)];
    let servers = rows.map(|(name, twisted, _)| server(name, 1, USUAL, twisted));
    let worker = Worker::start(|password| {
        let all = rows.iter().zip(&servers);
        all.map(|((name, _, security), there)| Account {
            security: *security,
            ..account(name, there.port, password.clone())
        })
        .collect()
    });
    let start = Instant::now();
    let [starttls, tls] = &servers;
    eventually("three tries", || {
        starttls.mailbox().count("STARTTLS") >= 3 && tls.mailbox().twists >= 3
    });
    assert!(start.elapsed() >= TIME_OUT * 2);
    for name in ["starttls", "tls"] {
        assert_eq!(worker.state(name).fault, Some(Fault::Slow));
    }
    assert_eq!(starttls.mailbox().count("LOGIN"), 0, "nothing is said in clear");
}

/// A server that gives everybody as much to do as it can: its name and what it does.
const SPINNING: &[(&str, Twisted)] = &[
    ("idle-ends-at-once", |_, command| match command {
        "IDLE" => Twist::Say(b"+ idling\r\nTAG OK done\r\n".to_vec()),
        _ => Twist::Usual,
    }),
    ("idle-always-has-news", |_, command| match command {
        "IDLE" => Twist::Say(b"+ idling\r\n* 1 EXISTS\r\nTAG OK done\r\n".to_vec()),
        "DONE" => Twist::Say(b"".to_vec()),
        _ => Twist::Usual,
    }),
    ("bye-at-idle", |_, command| match command {
        "IDLE" => Twist::Leave(b"+ idling\r\n* BYE\r\n".to_vec()),
        _ => Twist::Usual,
    }),
    ("bye-at-the-greeting", |mailbox, command| match command {
        "" => {
            mailbox.twists += 1;
            Twist::Leave(b"* BYE\r\n".to_vec())
        }
        _ => Twist::Usual,
    }),
    ("gone-at-select", |_, command| match command.starts_with("SELECT") {
        true => Twist::Close,
        false => Twist::Usual,
    }),
    ("no-to-all", |_, command| match command {
        "" => Twist::Usual,
        _ => Twist::Say(b"TAG NO\r\n".to_vec()),
    }),
];

#[test]
fn a_server_that_answers_at_once_is_not_asked_without_pause() {
    /// Seconds that are looked at.
    const SECONDS: u64 = 5;
    let mut servers: Vec<_> =
        SPINNING.iter().map(|(name, twisted)| (*name, server(name, 1, USUAL, *twisted))).collect();
    // A token that never holds, and is never refused: a new one each time.
    let tokens = TokenServer::start();
    let expires: Twisted = |_, command| match command.starts_with("SELECT") {
        true => Twist::Leave(b"* BYE Session invalidated - AccessTokenExpired\r\n".to_vec()),
        false => Twist::Usual,
    };
    servers.push(("tokens-expire", server("tokens-expire", 1, USUAL, expires)));
    let worker = Worker::start(|password| {
        let of = |(name, there): &(&str, ImapServer)| {
            let usual = account(name, there.port, password.clone());
            let login = match *name {
                "tokens-expire" => oauth2(&tokens, &password),
                _ => usual.login,
            };
            // As it is outside of tests.
            Account { login, every: Duration::from_secs(300), pace: Pace::default(), ..usual }
        };
        servers.iter().map(of).collect()
    });
    let asked = |there: &ImapServer| {
        let mailbox = there.mailbox();
        mailbox.commands.len() as u64 + u64::from(mailbox.twists)
    };
    for (name, there) in &servers {
        eventually(name, || asked(there) > 0);
    }
    std::thread::sleep(Duration::from_secs(SECONDS));
    drop(worker);
    for (name, there) in &servers {
        let commands = asked(there);
        println!("{name}: {commands} commands in {SECONDS} seconds");
        assert!(commands <= 10 * SECONDS, "{name}: {commands} commands");
    }
    assert!(tokens.given().asked <= 6, "{} tokens", tokens.given().asked);
}

fn oauth2(tokens: &TokenServer, secret: &std::path::Path) -> Login {
    Login::OAuth2(OAuth2 {
        token_url: format!("http://127.0.0.1:{}/token", tokens.port),
        client_id: "kluis".into(),
        client_secret_file: Some(secret.into()),
        grant: Grant::Client,
        scope: None,
    })
}

#[test]
fn a_token_that_ends_in_mid_session_is_renewed_and_nothing_is_lost_or_doubled() {
    let tokens = TokenServer::start();
    let there = server("67", 3, USUAL, |mailbox, command| {
        match once(mailbox, command.starts_with("UID FETCH 2 (UID BODY")) {
            true => Twist::Leave(b"* BYE Session invalidated - AccessTokenExpired\r\n".to_vec()),
            false => Twist::Usual,
        }
    });
    let worker = Worker::start(|password| {
        // If it were a failure, the pause would be longer than anybody waits here.
        let pace = Pace {
            first_pause: Duration::from_secs(600),
            longest_pause: Duration::from_secs(600),
            ..Pace::default()
        };
        let login = oauth2(&tokens, &password);
        vec![Account { login, pace, ..account("67", there.port, password) }]
    });
    eventually("all are gone", || there.mailbox().mails.is_empty());
    let wanted: Vec<_> = (1..=3).map(|number| mail("67", number)).collect();
    assert_eq!(worker.book.sealed(), wanted);
    let engine = base64::engine::general_purpose::STANDARD;
    let said: Vec<String> = there
        .mailbox()
        .commands
        .iter()
        .filter_map(|command| command.strip_prefix("said "))
        .map(|said| String::from_utf8(engine.decode(said).expect("is base64")).expect("UTF-8"))
        .collect();
    let as_with = |number| format!("user=office\x01auth=Bearer access-{number}\x01\x01");
    assert_eq!(said, [as_with(1), as_with(2)]);
    assert_eq!(tokens.given().tokens, 2);
}

/// Answers that are too much of something, once: their names and what they do.
const FLOODING: &[(&str, Twisted)] = &[
    ("rows-of-a-list", |mailbox, command| {
        match once(mailbox, command.starts_with("UID FETCH 1:*")) {
            true => {
                let rows = (1..=100_001).map(|uid| format!("* {uid} FETCH (UID {uid})\r\n"));
                Twist::Say(rows.collect::<String>().into_bytes())
            }
            false => Twist::Usual,
        }
    }),
    ("folders", |mailbox, command| match once(mailbox, command.starts_with("SELECT")) {
        true => Twist::Say(b"* LIST () \"/\" INBOX\r\n".repeat(100_001)),
        false => Twist::Usual,
    }),
    ("found", |mailbox, command| match once(mailbox, command.starts_with("UID SEARCH")) {
        true => Twist::Say(format!("* SEARCH{}\r\n", " 4294967295".repeat(200_001)).into_bytes()),
        false => Twist::Usual,
    }),
    ("capabilities", |mailbox, command| match once(mailbox, command == "CAPABILITY") {
        true => {
            let names: String = (0..300).map(|number| format!(" X-{number}")).collect();
            Twist::Say(format!("* CAPABILITY IMAP4rev1{names}\r\n").into_bytes())
        }
        false => Twist::Usual,
    }),
    ("told-while-it-idles", |mailbox, command| match once(mailbox, command == "IDLE") {
        true => Twist::Say([&b"+ idling\r\n"[..], &b"* 1 RECENT\r\n".repeat(100_001)].concat()),
        false => Twist::Usual,
    }),
];

#[test]
fn a_server_that_says_too_much_is_cut_off_told_of_and_asked_again() {
    let of = |(name, twisted): &(&str, Twisted)| server(name, 3, "IDLE", *twisted);
    let servers: Vec<_> = FLOODING.iter().map(of).collect();
    let worker = Worker::start(|password| {
        let rows = FLOODING.iter().zip(&servers);
        rows.map(|((name, _), there)| {
            let usual = account(name, there.port, password.clone());
            // Long enough for the fault to be seen, and for so many bytes.
            let pace = Pace {
                connect: Duration::from_secs(60),
                command: Duration::from_secs(60),
                first_pause: Duration::from_secs(5),
                longest_pause: Duration::from_secs(5),
                ..usual.pace
            };
            Account { pace, every: Duration::from_secs(60), ..usual }
        })
        .collect()
    });
    let mut seen: BTreeMap<&str, bool> = BTreeMap::new();
    eventually("each is told of", || {
        for (name, _) in FLOODING {
            *seen.entry(name).or_default() |= worker.state(name).fault == Some(Fault::TooMany);
        }
        seen.values().all(|seen| *seen)
    });
    for ((name, _), there) in FLOODING.iter().zip(&servers) {
        eventually(name, || there.mailbox().mails.is_empty());
        eventually(name, || worker.state(name).fault.is_none());
    }
    let wanted = FLOODING.iter().flat_map(|(name, _)| (1..=3).map(|number| mail(name, number)));
    assert_eq!(
        worker.book.sealed(),
        wanted.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );
    assert!(worker.book.written().aside.is_empty());
}

#[test]
fn without_uidplus_nothing_is_removed_that_others_marked_and_the_admin_is_told() {
    let servers = ["removed", "moved"].map(|name| {
        let there = server(name, 0, "IDLE", |_, _| Twist::Usual);
        {
            let mut mailbox = there.mailbox();
            // Nobody fetches it, and somebody marked it: it is theirs.
            mailbox.date = "01-Feb-2020 10:00:00 +0100";
            let old = mailbox.add(mail(name, 1));
            mailbox.flagged.push(old);
        }
        there
    });
    let worker = Worker::start(|password| {
        let rows = ["removed", "moved"].into_iter().zip(&servers);
        rows.map(|(name, there)| {
            let after = if name == "moved" { After::Move("Done".into()) } else { After::Delete };
            // 1 January 2026.
            let since = Some(1_767_225_600);
            Account { after, since, ..account(name, there.port, password.clone()) }
        })
        .collect()
    });
    for (name, there) in ["removed", "moved"].into_iter().zip(&servers) {
        eventually("it is passed over", || worker.state(name).polled.is_some());
        {
            let mut mailbox = there.mailbox();
            mailbox.date = "02-Nov-2026 10:00:00 +0100";
            for number in 2..=4 {
                mailbox.add(mail(name, number));
            }
        }
        eventually("all are sealed", || {
            let state = worker.state(name);
            state.left == 3 && state.remark == Some(Remark::OthersMarked)
        });
        // However often it looks.
        let polls = there.mailbox().count("SELECT");
        eventually("more polls", || there.mailbox().count("SELECT") > polls + 3);
        {
            let mut mailbox = there.mailbox();
            assert_eq!(mailbox.mails.len(), 4, "{name}");
            assert_eq!(mailbox.count("EXPUNGE") + mailbox.count("CLOSE"), 0, "{name}");
            let marked: BTreeSet<u32> = mailbox.flagged.iter().copied().collect();
            assert!(marked.contains(&2));
            // The others remove theirs.
            mailbox.mails.remove(&1);
            mailbox.flagged.retain(|uid| *uid != 1);
        }
        eventually("ours are removed", || there.mailbox().mails.is_empty());
        eventually("it is told", || {
            let state = worker.state(name);
            (state.left, state.remark) == (0, Some(Remark::OnlyTogether))
        });
        let mailbox = there.mailbox();
        assert_eq!(mailbox.moved.len(), if name == "moved" { 3 } else { 0 });
        assert_eq!(mailbox.count("UID COPY"), mailbox.moved.len(), "each once");
        assert_eq!(mailbox.count("UID EXPUNGE"), 0);
    }
    assert_eq!(worker.book.sealed().len(), 6);
}

/// Answers to a search that say not all of what is marked, or in another way: their names and what
/// they are. The first mail is somebody else's, and marked.
const SEARCHING: &[(&str, Twisted)] = &[
    ("says-nothing", |_, command| match command.starts_with("UID SEARCH") {
        true => Twist::Say(b"TAG OK\r\n".to_vec()),
        false => Twist::Usual,
    }),
    ("says-that-there-is-nothing", |_, command| match command.starts_with("UID SEARCH") {
        true => Twist::Say(b"* SEARCH\r\nTAG OK\r\n".to_vec()),
        false => Twist::Usual,
    }),
    ("no-number", |_, command| match command {
        "UID SEARCH DELETED" => Twist::Say(b"* SEARCH 1x 2\r\nTAG OK\r\n".to_vec()),
        _ => Twist::Usual,
    }),
    ("esearch", esearch),
    ("esearch-without-uids", |_, command| match command {
        "UID SEARCH DELETED" => Twist::Say(b"* ESEARCH (TAG \"TAG\") ALL 2\r\nTAG OK\r\n".to_vec()),
        _ => Twist::Usual,
    }),
];

/// Answers a search as IMAP4rev2 does.
fn esearch(mailbox: &mut Mailbox, command: &str) -> Twist {
    if !command.starts_with("UID SEARCH") {
        return Twist::Usual;
    }
    let answer = String::from_utf8(mailbox.answer("TAG", command)).expect("UTF-8");
    let (found, end) = answer.split_once("\r\n").expect("two lines");
    let found = found.trim_start_matches("* SEARCH").trim().replace(' ', ",");
    let all = if found.is_empty() { String::new() } else { format!(" ALL {found}") };
    Twist::Say(format!("* ESEARCH (TAG \"TAG\") UID{all}\r\n{end}").into_bytes())
}

/// Of the first mail it says that there is more than there is.
fn longer(mailbox: &mut Mailbox, command: &str) -> Twist {
    if !command.contains("RFC822.SIZE") {
        return Twist::Usual;
    }
    let answer = mailbox.answer("TAG", command);
    let answer = String::from_utf8(answer).expect("is text");
    Twist::Say(answer.replace("(UID 1 RFC822.SIZE ", "(UID 1 RFC822.SIZE 9").into_bytes())
}

#[test]
fn a_mail_that_came_only_in_part_is_not_removed_with_others_that_are_sealed_whole() {
    let there = server("part", 1, "IDLE", longer);
    let worker = Worker::start(|password| vec![account("part", there.port, password)]);
    eventually("it is set aside", || worker.book.written().aside.len() == 1);
    {
        let mut mailbox = there.mailbox();
        mailbox.flagged.push(1);
        mailbox.add(mail("part", 2));
    }
    eventually("the other is marked", || there.mailbox().count("UID STORE") > 0);
    let polls = there.mailbox().count("SELECT");
    eventually("more polls", || there.mailbox().count("SELECT") > polls + 3);
    {
        let mut mailbox = there.mailbox();
        assert_eq!((mailbox.mails.len(), mailbox.count("EXPUNGE")), (2, 0));
        mailbox.flagged.retain(|uid| *uid != 1);
    }
    eventually("the other is removed", || there.mailbox().mails.len() == 1);
    assert!(there.mailbox().mails.contains_key(&1));
}

#[test]
fn whatever_a_search_says_nothing_is_removed_that_others_marked() {
    let of = |(name, twisted): &(&str, Twisted)| {
        let there = server(name, 0, "IDLE", *twisted);
        {
            let mut mailbox = there.mailbox();
            mailbox.date = "01-Feb-2020 10:00:00 +0100";
            let old = mailbox.add(mail(name, 1));
            mailbox.flagged.push(old);
        }
        there
    };
    let servers: Vec<_> = SEARCHING.iter().map(of).collect();
    let worker = Worker::start(|password| {
        let rows = SEARCHING.iter().zip(&servers);
        // 1 January 2026.
        let since = Some(1_767_225_600);
        rows.map(|((name, _), there)| Account {
            since,
            ..account(name, there.port, password.clone())
        })
        .collect()
    });
    for ((name, _), there) in SEARCHING.iter().zip(&servers) {
        eventually("it is passed over", || worker.state(name).polled.is_some());
        let mut mailbox = there.mailbox();
        mailbox.date = "02-Nov-2026 10:00:00 +0100";
        mailbox.add(mail(name, 2));
    }
    for ((name, _), there) in SEARCHING.iter().zip(&servers) {
        eventually(name, || there.mailbox().count("UID STORE") > 0);
        let polls = there.mailbox().count("SELECT");
        eventually("more polls", || there.mailbox().count("SELECT") > polls + 3);
        let mailbox = there.mailbox();
        assert_eq!(mailbox.mails.len(), 2, "{name}");
        assert_eq!(mailbox.count("EXPUNGE") + mailbox.count("CLOSE"), 0, "{name}");
    }
    // Of one that says what there is it is told as long as there is something.
    eventually("it is told", || {
        let state = worker.state("esearch");
        (state.left, state.remark) == (1, Some(Remark::OthersMarked))
    });
    for ((name, _), there) in SEARCHING.iter().zip(&servers) {
        // Others empty the mailbox.
        there.mailbox().mails.clear();
        there.mailbox().flagged.clear();
        eventually("it is told that nothing is left", || {
            let state = worker.state(name);
            (state.left, state.remark) == (0, Some(Remark::OnlyTogether))
        });
    }
    assert_eq!(worker.book.sealed().len(), SEARCHING.len());
}

#[test]
fn a_server_of_imap4rev2_removes_moves_and_idles() {
    let names = ["removed", "moved", "together"];
    // The last one has nothing but another way to answer a search.
    let rows = names.map(|name| (name, if name == "together" { "IDLE" } else { "IMAP4rev2" }));
    let servers = rows.map(|(name, can)| server(name, 3, can, esearch));
    let worker = Worker::start(|password| {
        let rows = names.into_iter().zip(&servers);
        rows.map(|(name, there)| {
            let after = if name == "moved" { After::Move("Done".into()) } else { After::Delete };
            Account { after, ..account(name, there.port, password.clone()) }
        })
        .collect()
    });
    for (name, there) in names.into_iter().zip(&servers) {
        eventually(name, || there.mailbox().mails.is_empty() && there.mailbox().count("IDLE") > 0);
        let mailbox = there.mailbox();
        let counts = ["UID EXPUNGE", "UID MOVE", "EXPUNGE"].map(|command| mailbox.count(command));
        let wanted = match name {
            "removed" => [3, 0, 0],
            "moved" => [0, 3, 0],
            _ => [0, 0, 3],
        };
        assert_eq!(counts, wanted, "{name}");
    }
    assert_eq!(worker.book.sealed().len(), 9);
}

#[test]
fn a_long_mail_comes_whole_from_a_server_that_cuts_nothing() {
    let long: Vec<u8> = [mail("whole", 1), b"0123456789abcdef\r\n".repeat(3 << 16)].concat();
    assert!(long.len() > 3 << 20);
    // What it says of the size: the truth, too much.
    let says: [Twisted; 2] = [
        |mailbox, command| whole(mailbox, command, |size| size),
        |mailbox, command| whole(mailbox, command, |size| size + 9),
    ];
    let names = ["true", "too-much"];
    let servers: Vec<_> = names
        .iter()
        .zip(says)
        .map(|(name, twisted)| {
            let there = server(name, 0, USUAL, twisted);
            there.mailbox().add(long.clone());
            there
        })
        .collect();
    let worker = Worker::start(|password| {
        let rows = names.iter().zip(&servers);
        rows.map(|(name, there)| {
            let max_letter = 8 << 20;
            Account { max_letter, ..account(name, there.port, password.clone()) }
        })
        .collect()
    });
    eventually("all are sealed", || worker.book.sealed().len() == names.len());
    assert!(worker.book.sealed().iter().all(|raw| *raw == long));
    for (name, there) in names.iter().zip(&servers) {
        // There might be more of what is shorter than it was said to be.
        let lies = *name == "too-much";
        eventually(name, || there.mailbox().mails.is_empty() != lies);
        let fetches = there.mailbox().fetches();
        assert!(if lies { fetches <= 3 } else { fetches == 1 }, "{name}: {fetches}");
    }
    eventually("it is set aside", || worker.book.written().aside.len() == 1);
}

/// The whole of a mail whatever part was asked for.
fn whole(mailbox: &mut Mailbox, command: &str, size: fn(usize) -> usize) -> Twist {
    let Some(uid) = command.strip_prefix("UID FETCH ").and_then(|rest| rest.split(' ').next())
    else {
        return Twist::Usual;
    };
    let Some(raw) = mailbox.mails.get(&1).cloned() else { return Twist::Usual };
    if !command.contains("BODY.PEEK") {
        assert!(uid.contains(':') || uid == "1");
        let said = format!("* 1 FETCH (UID 1 RFC822.SIZE {})\r\nTAG OK\r\n", size(raw.len()));
        return Twist::Say(said.into_bytes());
    }
    let head = format!("* 1 FETCH (UID 1 BODY[] {{{}}}\r\n", raw.len());
    Twist::Say([head.as_bytes(), &raw, b")\r\nTAG OK\r\n"].concat())
}

#[test]
fn what_finds_no_room_here_stays_there_is_not_fetched_every_time_and_comes_once_there_is() {
    let names = ["full", "busy"];
    let servers = names.map(|name| server(name, 0, USUAL, |_, _| Twist::Usual));
    // What is full is known without fetching, what is busy only after it.
    for (name, there) in names.into_iter().zip(&servers) {
        let worker = Worker::start(|password| {
            let usual = account(name, there.port, password);
            let longest_wait = Duration::from_secs(3);
            let pace = Pace { first_wait: longest_wait, longest_wait, ..usual.pace };
            vec![Account { pace, ..usual }]
        });
        eventually("a first look", || worker.state(name).polled.is_some());
        let verdict = (name == "busy").then_some(Verdict::NoRoom);
        {
            let mut written = worker.book.written();
            (written.is_full, written.verdict) = (verdict.is_none(), verdict);
        }
        let start = Instant::now();
        for number in 1..=3 {
            there.mailbox().add(mail(name, number));
        }
        eventually("it is told", || worker.state(name).fault == Some(Fault::Full));
        let polls = there.mailbox().count("SELECT");
        eventually("more polls", || {
            let mut mailbox = there.mailbox();
            mailbox.wake();
            mailbox.count("SELECT") > polls + 5
        });
        let most = start.elapsed().as_secs() as usize / 2 + 1;
        let fetches = there.mailbox().fetches();
        assert!(fetches <= if name == "full" { 0 } else { most }, "{name}: {fetches} of {most}");
        assert_eq!(there.mailbox().mails.len(), 3);
        assert!(worker.book.written().aside.is_empty());
        {
            let mut written = worker.book.written();
            (written.is_full, written.verdict) = (false, None);
        }
        eventually("all are taken", || there.mailbox().mails.is_empty());
        assert_eq!(worker.book.sealed(), [1, 2, 3].map(|number| mail(name, number)));
    }
}

/// Does what the next number of the script says, and from its end on what it should.
fn by_script(mailbox: &mut Mailbox, command: &str) -> Twist {
    let Some(number) = mailbox.script.pop() else { return Twist::Usual };
    match number % 24 {
        0 => Twist::Close,
        1 => Twist::Leave(b"* BYE\r\n".to_vec()),
        2 => Twist::Hang(Vec::new()),
        3 => Twist::Say(b"TAG NO\r\n".to_vec()),
        4 => Twist::Say(b"TAG BAD\r\n".to_vec()),
        5 => Twist::Say(b"TAG OK\r\n".to_vec()),
        6 => Twist::Leave(b"* 1 FETCH (UID 1 BODY[]<0> {500}\r\nabc".to_vec()),
        7 => Twist::Say(b"\xff\0{}()\r\n* \r\n* 9 FETCH\r\nTAG OK\r\n".to_vec()),
        // It does it, and then it is gone.
        8 => {
            mailbox.answer("TAG", command);
            Twist::Close
        }
        // It does it, and says that it did not.
        9 => {
            mailbox.answer("TAG", command);
            Twist::Say(b"TAG NO\r\n".to_vec())
        }
        // The mails get other numbers.
        10 => {
            let mails = std::mem::take(&mut mailbox.mails);
            (mailbox.validity, mailbox.next) = (mailbox.validity + 1, 1);
            mailbox.flagged.clear();
            for raw in mails.into_values() {
                mailbox.add(raw);
            }
            Twist::Leave(b"* BYE\r\n".to_vec())
        }
        // It answers about another mail than it was asked about.
        11 => {
            let answer = mailbox.answer("TAG", command);
            let other = String::from_utf8_lossy(&answer).replace("(UID ", "(UID 9");
            Twist::Say(other.into_bytes())
        }
        // Somebody marks a mail as deleted.
        12 => {
            let uids: Vec<u32> = mailbox.mails.keys().copied().collect();
            mailbox.flagged.extend(uids.last());
            Twist::Usual
        }
        // One more comes.
        13 => {
            let number = mailbox.next;
            mailbox.add(mail("late", 1000 + number));
            Twist::Usual
        }
        // Fewer bytes at once than it was asked for.
        14 => match mailbox.slice(command) {
            Some((uid, offset, bytes)) => {
                let part = &bytes[..bytes.len() / 2 + 1];
                let head = format!("* 1 FETCH (UID {uid} BODY[]<{offset}> {{{}}}\r\n", part.len());
                Twist::Say([head.as_bytes(), part, b")\r\nTAG OK\r\n"].concat())
            }
            None => Twist::Usual,
        },
        15 => Twist::Say(b"* 1 FETCH (UID 1 BODY[]<0> NIL)\r\nTAG OK\r\n".to_vec()),
        // Somebody else changes flags meanwhile.
        16 => {
            let flags = mailbox.mails.keys().enumerate().map(|(number, uid)| {
                format!("* {} FETCH (UID {uid} FLAGS (\\Seen))\r\n", number + 1)
            });
            let flags: String = flags.collect();
            if command == "IDLE" || command.is_empty() {
                return Twist::Usual;
            }
            let answer = mailbox.answer("TAG", command);
            Twist::Say([flags.as_bytes(), &answer, flags.as_bytes()].concat())
        }
        _ => Twist::Usual,
    }
}

/// How long it may take until all is dealt with, whatever was said.
const PLAY_TIME: Duration = Duration::from_secs(60);

/// Lets a server of five mails play a script. In the end every mail is sealed, or lies there and is
/// known to; no more was removed than is sealed, and none came twice under one number.
fn play(can: &'static str, script: &[u8]) {
    let there = server("any", 4, can, by_script);
    // One is longer than what is fetched at once.
    let long = [mail("any", 5), b"0123456789abcdef\r\n".repeat(60_000)].concat();
    there.mailbox().add(long);
    there.mailbox().script = script.to_vec();
    let worker = Worker::start(|password| {
        let usual = account("any", there.port, password);
        let pace = Pace {
            connect: Duration::from_millis(300),
            command: Duration::from_millis(300),
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(20),
            ..usual.pace
        };
        let after = if can.contains("MOVE") { After::Move("Done".into()) } else { After::Delete };
        let (every, max_letter) = (Duration::from_millis(50), 4 << 20);
        vec![Account { after, pace, every, max_letter, ..usual }]
    });
    let is_over = || {
        let mailbox = there.mailbox();
        let sealed: BTreeSet<Vec<u8>> = worker.book.sealed().into_iter().collect();
        let aside = worker.book.written().aside.clone();
        let is_aside = |uid: &u32| {
            aside.iter().any(|mail| (mail.validity, mail.uid) == (mailbox.validity, *uid))
        };
        mailbox.script.is_empty()
            && mailbox.mails.iter().all(|(uid, raw)| sealed.contains(raw) || is_aside(uid))
    };
    let begun = Instant::now();
    while begun.elapsed() < PLAY_TIME && !is_over() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let begin: Vec<String> = there.mailbox().commands.iter().take(60).cloned().collect();
    assert!(is_over(), "not all is dealt with: {begin:?}");
    let mailbox = there.mailbox();
    let sealed: BTreeSet<Vec<u8>> = worker.book.sealed().into_iter().collect();
    for raw in &mailbox.removed {
        let text = String::from_utf8_lossy(raw);
        assert!(sealed.contains(raw), "removed, and not sealed: {text:?}");
    }
    let written = worker.book.written();
    let ids: BTreeSet<_> =
        written.letters.iter().map(|(mail, _)| (mail.validity, mail.uid)).collect();
    assert_eq!(ids.len(), written.letters.len());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_iters: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_a_server_does_no_mail_is_removed_that_is_not_sealed(
        script in prop::collection::vec(any::<u8>(), 0..40),
        can in 0usize..4,
    ) {
        play(["IDLE", "IDLE UIDPLUS", "IDLE MOVE", "UIDPLUS MOVE"][can], &script);
    }
}

/// Scripts that a mail was once lost by, or held up; the last number is said first.
#[test]
fn what_servers_did_once_is_survived() {
    // It tells no size, and sends fewer bytes than there are: what came is no whole mail.
    play("IDLE UIDPLUS", &[38, 231, 107, 190, 239, 113, 71, 19]);
    play("UIDPLUS MOVE", &[14, 15, 17, 17, 17, 17, 17]);
    // The same, and then it says that there is no more.
    play("IDLE UIDPLUS", &[5, 5, 14, 17, 17, 7, 7, 7, 7, 17, 17, 17, 17, 17, 17]);
    play("IDLE UIDPLUS", &[15, 15, 14, 17, 17, 7, 7, 7, 7, 17, 17, 17, 17, 17, 17]);
}
