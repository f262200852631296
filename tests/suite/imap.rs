//! Letters from mailboxes on other servers: whatever the server does wrong, nothing is lost, nothing
//! comes twice, and a mail that cannot be had does not keep others.
//!
//! The servers here are scripted; `dovecot` has a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kluis::casebook::Filter;
use kluis::casebook::fetched::{Mailboxes, Place};
use kluis::ledger::Fact;
use kluis::ledger::entry::Entry;

use crate::fuzz;
use crate::imap_server::{ImapServer, Mailbox, Twist, Twisted};
use crate::way::{entries, raw, runtime};
use crate::world::{Server, World};

/// Fetching is given this long: a loaded machine and pauses of seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// A mail that no other row has.
pub(crate) fn mail(row: &str, number: u32) -> Vec<u8> {
    format!(
        "Return-Path: <{row}{number}@client.example>\r\nFrom: <{row}{number}@client.example>\r\n\
         To: <backoffice@jobexpert.be>\r\nSubject: {row} {number}\r\n\
         Message-ID: <{row}.{number}@client.example>\r\n\r\nMijn gegevens, graag. {row} {number}\r\n"
    )
    .into_bytes()
}

/// Adds a mailbox to the settings.
pub(crate) fn add_account(world: &World, name: &str, port: u16, more: &str) {
    let file = world.state().join("kluis.toml");
    let mut text = std::fs::read_to_string(&file).expect("is read");
    let login =
        if more.contains("[imap.oauth2]") { "" } else { "password_file = \"imap.password\"\n" };
    text.push_str(&format!(
        "\n[[imap]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n\
         username = \"office\"\n{login}{more}"
    ));
    std::fs::write(&file, text).expect("is written");
    std::fs::write(world.state().join("imap.password"), "secret words\n").expect("is written");
}

/// Which mailbox [`add_account`] adds.
pub(crate) fn place(name: &str, port: u16) -> Place {
    Place::of(name, "127.0.0.1", port, "office", "INBOX")
}

/// What the ledger says of a mailbox: UIDs that are letters, with how many letters, and those set
/// aside.
pub(crate) fn fetched(entries: &[Entry], place: Place) -> (Vec<u32>, usize, Vec<u32>) {
    let mailbox = Mailboxes::of(entries).named(place);
    let ours = entries.iter().filter(|entry| entry.hash == Some(mailbox));
    let (mut uids, mut letters, mut aside) = (Vec::new(), BTreeSet::new(), Vec::new());
    for entry in ours {
        let uid = entry.count.expect("a UID") as u32;
        match (entry.kind, entry.letter) {
            (Fact::MailFetched, Some(letter)) => {
                uids.push(uid);
                letters.insert(letter);
            }
            (Fact::MailSetAside, letter) => {
                aside.push(uid);
                if let Some(letter) = letter {
                    uids.push(uid);
                    letters.insert(letter);
                }
            }
            _ => {}
        }
    }
    (uids, letters.len(), aside)
}

/// Waits until this is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a mailbox was asked for its folder twice more: whatever a poll does is done.
pub(crate) fn two_polls(server: &ImapServer) {
    for _ in 0..2 {
        let before = server.mailbox().count("SELECT");
        server.mailbox().wake();
        eventually("another poll", || {
            let mut mailbox = server.mailbox();
            mailbox.wake();
            mailbox.count("SELECT") > before
        });
    }
    let idles = server.mailbox().count("IDLE");
    eventually("the end of a poll", || {
        let mut mailbox = server.mailbox();
        mailbox.wake();
        mailbox.count("IDLE") > idles
    });
}

/// Everything that was received, as it came.
pub(crate) fn letters(world: &World) -> Vec<Vec<u8>> {
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    cases.iter().map(|case| raw(&mut anna, case)).collect()
}

/// A way to misbehave, and what must come of it.
struct Row {
    /// Number of the report that it is about, in the list of bugs of others, and what it is.
    name: &'static str,
    more: &'static str,
    mails: u32,
    twisted: Twisted,
    /// UIDs that become letters, in this order, and that are set aside.
    letters: &'static [u32],
    aside: &'static [u32],
    /// UIDs that are in the mailbox at the end.
    left: &'static [u32],
}

const fn usual(name: &'static str, twisted: Twisted) -> Row {
    Row { name, more: "", mails: 3, twisted, letters: &[1, 2, 3], aside: &[], left: &[1, 2, 3] }
}

/// Whether a command asks for the content of this mail.
fn is_content(command: &str, uid: u32) -> bool {
    command.starts_with(&format!("UID FETCH {uid} (UID BODY.PEEK"))
}

/// The content of a mail in an answer of this form: `{}` is the literal's length and bytes.
fn content(mailbox: &mut Mailbox, command: &str, before: &str, after: &str) -> Twist {
    let Some((uid, offset, bytes)) = mailbox.slice(command) else { return Twist::Usual };
    mailbox.sent += bytes.len();
    let fill = |text: &str| {
        text.replace("UIDX", &uid.to_string())
            .replace("OFFSET", &offset.to_string())
            .replace("LENGTH", &bytes.len().to_string())
            .into_bytes()
    };
    Twist::Say([&fill(before)[..], &bytes, &fill(after), b"TAG OK done\r\n"].concat())
}

fn is_list(command: &str) -> bool {
    command.starts_with("UID FETCH") && command.contains("RFC822.SIZE")
}

/// A list in which one line is another.
fn list_with(mailbox: &mut Mailbox, command: &str, other: fn(u32) -> Option<String>) -> Twist {
    if !is_list(command) {
        return Twist::Usual;
    }
    let range = command.split(' ').nth(2).expect("a range");
    let mut said = Vec::new();
    for uid in mailbox.within(range) {
        said.extend(other(uid).map_or_else(|| mailbox.list_line(uid), String::into_bytes));
    }
    said.extend_from_slice(b"TAG OK done\r\n");
    Twist::Say(said)
}

pub(crate) fn as_usual(_: &mut Mailbox, _: &str) -> Twist {
    Twist::Usual
}

const ROWS: &[Row] = &[
    usual("as-it-should-be", as_usual),
    Row {
        letters: &[1, 3],
        aside: &[2],
        ..usual("51-a-content-that-cannot-be-read", |_, command| {
            if is_content(command, 2) {
                return Twist::Say(b"* 2 FETCH (UID two BODY[\r\nTAG OK done\r\n".to_vec());
            }
            Twist::Usual
        })
    },
    Row {
        letters: &[1, 3],
        aside: &[2],
        ..usual("51-the-connection-dies-of-a-mail", |_, command| {
            if is_content(command, 2) { Twist::Close } else { Twist::Usual }
        })
    },
    Row {
        letters: &[1, 3],
        aside: &[2],
        ..usual("51-content-without-end", |_, command| {
            if is_content(command, 2) {
                let said = b"* 2 FETCH (UID 2 BODY[]<0> {99999999999}\r\nabc";
                return Twist::Say(said.to_vec());
            }
            Twist::Usual
        })
    },
    Row {
        letters: &[1, 3],
        aside: &[2],
        ..usual("51-longer-than-a-letter", |mailbox, command| {
            list_with(mailbox, command, |uid| {
                (uid == 2).then(|| "* 2 FETCH (UID 2 RFC822.SIZE 67108865)\r\n".into())
            })
        })
    },
    // How long it is nobody says: what comes of it is sealed, and it stays.
    Row {
        aside: &[2],
        ..usual("51-a-line-of-the-list-cannot-be-read", |mailbox, command| {
            list_with(mailbox, command, |uid| {
                (uid == 2).then(|| "* 2 FETCH (UID RFC822.SIZE (\"\" 5)\r\n".into())
            })
        })
    },
    Row {
        letters: &[1, 3],
        aside: &[2],
        ..usual("51-the-connection-dies-of-a-list", |mailbox, command| {
            let range = command.split(' ').nth(2).unwrap_or_default();
            let dies = is_list(command) && mailbox.within(range).contains(&2);
            if dies && mailbox.next > 2 { Twist::Close } else { Twist::Usual }
        })
    },
    Row {
        more: "after = \"move\"\nmove_to = \"Done\"\n",
        mails: 1,
        letters: &[1],
        left: &[1],
        ..usual("52-store-fails-behind-copy", |_, command| {
            if command.starts_with("UID STORE") {
                return Twist::Say(b"TAG NO read only\r\n".to_vec());
            }
            Twist::Usual
        })
    },
    Row {
        more: "after = \"delete\"\n",
        left: &[],
        ..usual("58-gone-before-it-is-flagged", |mailbox, command| {
            if command.starts_with("UID STORE") {
                let uid = command.split(' ').nth(2).and_then(|uid| uid.parse().ok());
                mailbox.mails.remove(&uid.expect("a UID"));
                let said = b"TAG NO Some of the requested messages no longer exist\r\n";
                return Twist::Say(said.to_vec());
            }
            Twist::Usual
        })
    },
    Row {
        letters: &[1, 3],
        left: &[1, 3],
        ..usual("58-gone-before-it-is-fetched", |mailbox, command| {
            if is_content(command, 2) {
                mailbox.mails.remove(&2);
            }
            Twist::Usual
        })
    },
    Row {
        more: "since = \"2026-11-03\"\n",
        letters: &[],
        ..usual("59-history-is-left-alone", as_usual)
    },
    usual("61-somebody-read-them-first", |mailbox, command| {
        list_with(mailbox, command, |uid| {
            Some(format!("* {uid} FETCH (FLAGS (\\Seen \\Answered) UID {uid} RFC822.SIZE 9)\r\n"))
        })
    }),
    Row {
        more: "folder = \"R&D &-&AOk\"\n",
        ..usual("62-no-modified-utf-7", |_, command| {
            let opens = command.starts_with("SELECT") || command.starts_with("EXAMINE");
            if opens && !command.ends_with(" \"R&D &-&AOk\"") {
                return Twist::Say(b"TAG NO no such folder\r\n".to_vec());
            }
            Twist::Usual
        })
    },
    usual("63-no-text-behind-ok", |mailbox, command| {
        if command.is_empty() {
            return Twist::Say(b"* OK\r\n".to_vec());
        }
        if command == "IDLE" || command.starts_with("AUTHENTICATE") {
            return Twist::Usual;
        }
        let answer = String::from_utf8(mailbox.answer("TAG", command)).expect("UTF-8");
        Twist::Say(answer.replace("OK done", "OK").replace("] valid", "]").into_bytes())
    }),
    usual("63-spaces", |mailbox, command| {
        if is_list(command) {
            return list_with(mailbox, command, |uid| {
                Some(format!("* {uid}  FETCH  (UID  {uid}  RFC822.SIZE  9  )\r\n"))
            });
        }
        content(mailbox, command, "* UIDX FETCH  (UID  UIDX BODY[]<OFFSET>  {LENGTH}\r\n", " )\r\n")
    }),
    usual("63-uid-and-flags-behind-the-literal", |mailbox, command| {
        let before = "* UIDX FETCH (BODY[]<OFFSET> {LENGTH}\r\n";
        content(mailbox, command, before, " FLAGS (\\Recent \\Seen) UID UIDX)\r\n")
    }),
    usual("63-flags-nobody-asked-for", |mailbox, command| {
        let before = "* 1 FETCH (FLAGS (\\Seen))\r\n* 9 FETCH (UID 99 FLAGS ())\r\n\
                      * UIDX FETCH (UID UIDX BODY[]<OFFSET> {LENGTH}\r\n";
        content(mailbox, command, before, ")\r\n* 2 FETCH (FLAGS ())\r\n* 3 RECENT\r\n")
    }),
    usual("63-literal-plus-and-binary", |mailbox, command| {
        content(mailbox, command, "* UIDX FETCH (UID UIDX BODY[]<OFFSET> ~{LENGTH+}\r\n", ")\r\n")
    }),
    usual("63-a-date-that-is-nil", |mailbox, command| {
        list_with(mailbox, command, |uid| {
            Some(format!("* {uid} FETCH (INTERNALDATE NIL UID {uid} RFC822.SIZE 9)\r\n"))
        })
    }),
    usual("63-nothing-is-cut", |mailbox, command| {
        content(mailbox, command, "* UIDX FETCH (UID UIDX BODY[] {LENGTH}\r\n", ")\r\n")
    }),
    Row {
        more: "after = \"delete\"\n",
        // They are letters, and there might be more of them.
        aside: &[1, 2, 3],
        ..usual("63-a-size-that-is-too-great", |mailbox, command| {
            list_with(mailbox, command, |uid| {
                Some(format!("* {uid} FETCH (UID {uid} RFC822.SIZE 1000)\r\n"))
            })
        })
    },
    usual("63-the-list-is-upside-down-and-twice", |mailbox, command| {
        if !is_list(command) {
            return Twist::Usual;
        }
        let mut said = Vec::new();
        for uid in mailbox.mails.keys().rev().chain(mailbox.mails.keys()) {
            said.extend(mailbox.list_line(*uid));
        }
        said.extend_from_slice(b"TAG OK done\r\n");
        Twist::Say(said)
    }),
    usual("63-noise-between-the-lines", |mailbox, command| {
        if command.is_empty() || command == "IDLE" {
            return Twist::Usual;
        }
        let noise =
            b"* X-NOISE {3}\r\n)(\"\r\n* NO careful\r\n* LIST () \"/\" {5}\r\nINBOX\r\n\r\n";
        Twist::Say([&noise[..], &mailbox.answer("TAG", command)].concat())
    }),
    usual("65-an-empty-literal", |mailbox, command| {
        let before = "* UIDX FETCH (BODY[HEADER] {0}\r\n UID UIDX BODY[]<OFFSET> {LENGTH}\r\n";
        content(mailbox, command, before, " BODY[TEXT] {0}\r\n)\r\n")
    }),
    usual("68-vanished-nobody-asked-for", |mailbox, command| {
        let before = "* VANISHED (EARLIER) 1:99\r\n* 1 EXPUNGE\r\n* VANISHED 3\r\n\
                      * UIDX FETCH (UID UIDX BODY[]<OFFSET> {LENGTH}\r\n";
        content(mailbox, command, before, ")\r\n")
    }),
    usual("idle-is-refused", |mailbox, command| {
        if command == "IDLE" && mailbox.twists == 0 {
            mailbox.twists += 1;
            return Twist::Say(b"TAG NO not now\r\n".to_vec());
        }
        Twist::Usual
    }),
];

#[test]
fn whatever_a_server_does_nothing_is_lost_and_nothing_comes_twice() {
    let (world, runtime) = (World::found(), runtime());
    let servers: Vec<ImapServer> = ROWS.iter().map(|row| ImapServer::start(row.twisted)).collect();
    let names: Vec<String> = (0..ROWS.len()).map(|n| format!("row-{n}")).collect();
    let mut wanted = BTreeMap::new();
    for ((row, server), name) in ROWS.iter().zip(&servers).zip(&names) {
        for number in 1..=row.mails {
            let raw = mail(name, number);
            let uid = server.mailbox().add(raw.clone());
            if row.letters.contains(&uid) {
                wanted.insert(raw, row.name);
            }
        }
        add_account(&world, name, server.port, row.more);
    }
    let server = runtime.block_on(world.serve());
    let place = |row: &Row, name: &str, port| {
        let folder = if row.more.contains("R&D") { "R&D &-&AOk" } else { "INBOX" };
        Place::of(name, "127.0.0.1", port, "office", folder)
    };
    for ((row, there), name) in ROWS.iter().zip(&servers).zip(&names) {
        let place = place(row, name, there.port);
        let mut last = None;
        let is_so = || {
            let (letters, _, aside) = fetched(&entries(&server), place);
            let all = letters == row.letters && aside == row.aside;
            last = Some((letters, aside));
            all
        };
        eventually(row.name, is_so);
        drop(last);
    }
    // What was dealt with is not asked for again, and nobody's flags were looked at or changed.
    for (row, there) in ROWS.iter().zip(&servers) {
        if row.name == "idle-is-refused" {
            continue;
        }
        eventually(row.name, || there.mailbox().count("IDLE") > 0);
        let (sent, fetches) = there.mailbox().looked_at();
        two_polls(there);
        let mailbox = there.mailbox();
        assert_eq!(mailbox.looked_at(), (sent, fetches), "{}", row.name);
        let left: Vec<u32> = mailbox.mails.keys().copied().collect();
        assert_eq!(left, row.left, "{}", row.name);
        let commands = mailbox.commands.join("\n");
        for never in ["UNSEEN", "ENVELOPE", "BODYSTRUCTURE", "ENABLE", "\\Seen"] {
            assert!(!commands.contains(never), "{}: {never}", row.name);
        }
        let opened = commands.lines().find(|line| line.contains("\"")).expect("opens a folder");
        let logs_in = |line: &&str| !line.starts_with("LOGIN");
        let first = commands.lines().filter(logs_in).find(|line| line.contains('"'));
        assert!(first.is_some_and(|line| line.starts_with("EXAMINE")), "{}: {opened}", row.name);
        if row.name.starts_with("52") {
            assert_eq!(mailbox.count("UID COPY"), 1);
        }
    }
    for ((row, there), name) in ROWS.iter().zip(&servers).zip(&names) {
        let place = place(row, name, there.port);
        let (uids, letters, aside) = fetched(&entries(&server), place);
        assert_eq!((&uids[..], letters, &aside[..]), (row.letters, row.letters.len(), row.aside));
    }
    let mut got: Vec<Vec<u8>> = letters(&world);
    got.sort();
    assert!(got.iter().eq(wanted.keys()), "{} of {} letters", got.len(), wanted.len());
    let status = world.log_in("anna").expect("logs in").status().expect("says").mailboxes;
    let aside: Vec<u64> = status.iter().map(|mailbox| mailbox.aside).collect();
    let expected: Vec<u64> = ROWS.iter().map(|row| row.aside.len() as u64).collect();
    assert_eq!(aside, expected);
    runtime.block_on(server.stop());
}

/// A world with one mailbox of these mails, and its server.
pub(crate) fn office(more: &str, twisted: Twisted, mails: u32) -> (World, ImapServer) {
    let (world, there) = (World::found(), ImapServer::start(twisted));
    for number in 1..=mails {
        there.mailbox().add(mail("office", number));
    }
    add_account(&world, "office", there.port, more);
    (world, there)
}

pub(crate) fn letters_of(server: &Server, there: &ImapServer) -> Vec<u32> {
    fetched(&entries(server), place("office", there.port)).0
}

#[test]
fn a_second_look_fetches_no_byte_after_a_restart_and_without_the_index_neither() {
    let (world, there) = office("", as_usual, 3);
    there.mailbox().add([mail("office", 4), vec![b'x'; 2_500_000]].concat());
    let runtime = runtime();
    for again in [false, true, true] {
        if again {
            std::fs::remove_dir_all(world.state().join("index")).expect("is removed");
        }
        let sent = there.mailbox().sent;
        let selects = there.mailbox().count("SELECT");
        let server = runtime.block_on(world.serve());
        eventually("the letters", || letters_of(&server, &there) == [1, 2, 3, 4]);
        eventually("a poll", || there.mailbox().count("SELECT") > selects);
        two_polls(&there);
        if again {
            assert_eq!(there.mailbox().sent, sent);
        } else {
            let all: usize = there.mailbox().mails.values().map(Vec::len).sum();
            assert_eq!(there.mailbox().sent, all, "each byte once");
        }
        runtime.block_on(server.stop());
    }
}

#[test]
fn a_new_uidvalidity_with_new_mail_loses_nothing_and_hits_no_other_mail() {
    let (world, there) = office("after = \"delete\"\n", as_usual, 3);
    let runtime = runtime();
    let server = runtime.block_on(world.serve());
    eventually("all are gone", || there.mailbox().mails.is_empty());
    // The server lost its numbers, and shows old mails again beside a new one.
    {
        let mut mailbox = there.mailbox();
        (mailbox.validity, mailbox.next) = (8, 1);
        for number in [3, 2, 9] {
            mailbox.add(mail("office", number));
        }
    }
    eventually("all are gone again", || there.mailbox().mails.is_empty());
    let (uids, letters, aside) = fetched(&entries(&server), place("office", there.port));
    assert_eq!((uids, letters, aside), (vec![1, 2, 3, 1, 2, 3], 4, vec![]));
    let mut got = self::letters(&world);
    got.sort();
    let mut wanted = [1, 2, 3, 9].map(|number| mail("office", number)).to_vec();
    wanted.sort();
    assert!(got == wanted);
    // UIDs that begin again under the same UIDVALIDITY are told by UIDNEXT.
    {
        let mut mailbox = there.mailbox();
        mailbox.next = 1;
        mailbox.add(mail("office", 10));
    }
    eventually("the last is gone", || there.mailbox().mails.is_empty());
    assert_eq!(self::letters(&world).len(), 5);
    runtime.block_on(server.stop());
}

#[test]
fn what_could_not_be_deleted_is_deleted_later_and_not_sealed_again() {
    let (world, there) = office(
        "after = \"delete\"\n",
        |mailbox, command| {
            if command.starts_with("UID STORE") && mailbox.twists < 2 {
                mailbox.twists += 1;
                return Twist::Say(b"TAG NO [INUSE] later\r\n".to_vec());
            }
            Twist::Usual
        },
        2,
    );
    let runtime = runtime();
    let server = runtime.block_on(world.serve());
    eventually("both are letters", || letters_of(&server, &there) == [1, 2]);
    eventually("both are gone", || {
        there.mailbox().wake();
        there.mailbox().mails.is_empty()
    });
    assert_eq!(there.mailbox().fetches(), 2);
    runtime.block_on(server.stop());
}

#[test]
fn the_law_counts_from_when_the_mailbox_got_a_letter() {
    let (world, there) = office("", as_usual, 1);
    let runtime = runtime();
    let server = runtime.block_on(world.serve());
    eventually("the letter", || letters_of(&server, &there) == [1]);
    let opened = entries(&server).into_iter().find(|entry| entry.kind == Fact::CaseOpened);
    let day = opened.expect("a case").count.expect("another day than today's");
    // 2 November 2026.
    assert_eq!(day, 20_759);
    drop(there);
    runtime.block_on(server.stop());
}

#[test]
fn whatever_a_server_says_the_client_library_reads_what_is_left_of_it() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/imap");
    let files =
        std::fs::read_dir(corpus).expect("the corpus").map(|entry| entry.expect("an entry"));
    let inputs: Vec<Vec<u8>> = files.map(|f| std::fs::read(f.path()).expect("is read")).collect();
    assert!(inputs.len() > 10);
    for input in &inputs {
        fuzz::imap::imap(input);
        // Each cut short, and each with one byte that is another.
        for at in 0..input.len() {
            fuzz::imap::imap(&input[..at]);
            for byte in *b"\0\n {}()\"9" {
                let mut other = input.clone();
                other[at] = byte;
                fuzz::imap::imap(&other);
            }
        }
    }
}
