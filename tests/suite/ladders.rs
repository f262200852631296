//! Cost ladders: four times as much of anything in a letter, or of what brings it, takes four times
//! as long, and not sixteen times. Whoever finds what grows faster stops a mailbox with one letter.
//!
//! Counted is the time that the processor gave to this thread, the least of several runs, so that a
//! busy machine does not matter.

use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use kluis::identity::numbers::find::masked;
use kluis::identity::people::{Person, table};
use kluis::inbox::budget::Budget;
use kluis::inbox::imap::sieve::{Cutter, Heard};
use kluis::inbox::import::mbox::Messages;
use kluis::inbox::smtp::{Action, Session};
use kluis::inbox::{Kind, Recipients, Settings, Verdict};
use kluis::letter::Letter;
use kluis::secret::Personal;

use crate::containers::{Attached, Entry, Tnef, letter_with, zip};

/// What four times as much may cost at most, in times of once as much.
const MOST: f64 = 5.0;
/// Runs of which the quickest counts.
const RUNS: usize = 5;
/// Times that a ladder is climbed again if it was too steep.
const TRIES: usize = 4;
/// Below this nothing is measured but the clock.
const LEAST: Duration = Duration::from_millis(2);
/// Steps by which a ladder is made longer until it can be measured.
const LONGER: usize = 8;

#[allow(unsafe_code, reason = "the time of one thread is told by a system call alone")]
fn time_of_this_thread() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, which is ours.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("nanoseconds"))
}

/// The least time that reading takes.
fn cost(bytes: &[u8], read: impl Fn(&[u8])) -> Duration {
    let once = || {
        let begun = time_of_this_thread();
        read(black_box(bytes));
        time_of_this_thread() - begun
    };
    (0..RUNS).map(|_| once()).min().expect("several runs")
}

/// Climbs a ladder: `letter` makes a letter of a size, which is parsed.
fn climb(what: &str, from: usize, letter: impl Fn(usize) -> Vec<u8>) {
    let parse = |raw: &[u8]| drop(black_box(Letter::parse(raw)));
    climb_by(what, from, letter, parse);
}

/// Climbs a ladder of whatever is read.
fn climb_by(what: &str, from: usize, make: impl Fn(usize) -> Vec<u8>, read: impl Fn(&[u8])) {
    let cost = |size| cost(&make(size), &read);
    let mut size = from;
    while cost(size) < LEAST && size < from * LONGER {
        size *= 2;
    }
    let mut told = Vec::new();
    for _ in 0..TRIES {
        let rungs = [1, 2, 4].map(|times| cost(size * times));
        let steep = rungs[2].as_secs_f64() / rungs[0].max(LEAST / 4).as_secs_f64();
        if steep <= MOST {
            return;
        }
        told.push((steep, rungs));
    }
    panic!("{what} from {size} on: {told:?}");
}

fn header(name: &str, piece: &str, times: usize) -> Vec<u8> {
    format!("From: a@b.example\r\n{name}: {}\r\n\r\nx\r\n", piece.repeat(times)).into_bytes()
}

fn body(header: &str, body: &str) -> Vec<u8> {
    format!("From: a@b.example\r\n{header}\r\n\r\n{body}").into_bytes()
}

#[test]
fn headers_cost_what_they_are_long() {
    climb("fields", 3000, |n| body(&"X-Field: value\r\n".repeat(n), "x"));
    climb("folds", 3000, |n| header("Subject", "a\r\n b", n));
    climb("parameters", 3000, |n| header("Content-Type", "a/b; x=y", n));
    climb("sections", 1000, |n| {
        let sections: String = (0..n).map(|nr| format!("name*{nr}*=%41;")).collect();
        header("Content-Disposition", &format!("attachment; {sections}"), 1)
    });
    climb("encoded words", 1000, |n| header("Subject", "=?utf-8?Q?=C3?= =?utf-8?B?qQ?= ", n));
    climb("half encoded words", 3000, |n| header("Subject", "=?ab?q?", n));
    climb("recipients", 1500, |n| header("To", "Jan <a@b.example>, ", n));
    climb("recipients without a comma", 1500, |n| header("To", "a@b.example ", n));
    climb("comments", 3000, |n| header("To", "(", n));
    climb("quotes", 3000, |n| header("To", "\"a\" ", n));
    climb("groups", 3000, |n| header("Cc", "a:;", n));
    climb("escapes", 3000, |n| header("To", "\\\"", n));
    climb("message ids", 2000, |n| header("References", "<a@b> ", n));
    climb("brackets", 5000, |n| header("References", "<", n));
    climb("received", 1000, |n| body(&"Received: from a by b\r\n".repeat(n), "x"));
    climb("received by many", 1000, |n| {
        header("Received", "from a (b [192.0.2.1]) by c with ESMTP id d for <e@f.example>; ", n)
    });
    climb("senders", 1500, |n| body(&"From: Jan <a@b.example>\r\n".repeat(n), "x"));
    climb("names in encoded words", 1000, |n| {
        header("To", "=?utf-8?Q?=C3=A9?= <a@b.example>, ", n)
    });
    climb("half encoded words in names", 1000, |n| header("To", "=?utf-8?Q? <a@b.example>, ", n));
    climb("brackets of an address", 3000, |n| header("To", "<", n));
    climb("at signs", 3000, |n| header("To", "@a", n));
    climb("routes", 3000, |n| header("To", "<@a,@b:c@d.example>", n));
    climb("dates", 1000, |n| body(&"Date: Mon, 2 Nov 2026 09:00:00 +0100\r\n".repeat(n), "x"));
    climb("a long date", 3000, |n| header("Date", "Mon, 2 Nov 2026 09:00:00 +0100 ", n));
    climb("comments in a date", 3000, |n| header("Date", "(", n));
    climb("message ids that differ", 2000, |n| {
        let ids: String = (0..n).map(|nr| format!("<{nr}@b.example> ")).collect();
        header("References", &ids, 1)
    });
    climb("fields of message ids", 2000, |n| body(&"In-Reply-To: <a@b>\r\n".repeat(n), "x"));
    climb("quoted parameters", 3000, |n| header("Content-Type", "a/b; x=\"\\\"\";", n));
    climb("an extended parameter", 3000, |n| {
        header("Content-Disposition", &format!("a; filename*=utf-8''{}", "%C3%A9".repeat(n)), 1)
    });
    climb("encoded words in a parameter", 1000, |n| {
        let words = "=?utf-8?Q?=C3=A9?= ".repeat(n);
        header("Content-Type", &format!("a/b; name=\"{words}\""), 1)
    });
    climb("folds that lost their space", 3000, |n| {
        body(&"Content-Type: a/b;\r\nx=y;\r\n".repeat(n), "x")
    });
    climb("lines that are no fields", 3000, |n| body(&"x\r\nA: b\r\n".repeat(n), "x"));
    climb("wishes for silence", 3000, |n| header("X-Auto-Response-Suppress", "x, ", n));
}

#[test]
fn parts_cost_what_they_are_long() {
    let mixed = "Content-Type: multipart/mixed; boundary=b";
    climb("parts", 200, |n| body(mixed, &"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(n)));
    climb("multiparts in multiparts", 1000, |n| {
        (0..n)
            .map(|nr| format!("Content-Type: multipart/mixed; boundary={nr}\r\n\r\n--{nr}\r\n"))
            .collect::<String>()
            .into_bytes()
    });
    climb("messages in messages", 2000, |n| {
        "Content-Type: message/rfc822\r\n\r\n".repeat(n).into_bytes()
    });
    climb("delimiters of 32 levels", 2000, |n| {
        let open: String = (0..31)
            .map(|nr| format!("Content-Type: multipart/mixed; boundary={nr}\r\n\r\n--{nr}\r\n"))
            .collect();
        (open + &"--x\r\n".repeat(n)).into_bytes()
    });
    // As much as one part may have, in part after part.
    climb("parts with 200 parameters", 8, |n| {
        let parameters: String = (0..200).map(|nr| format!("; p{nr}=value")).collect();
        let part = format!("--b\r\nContent-Type: text/plain{parameters}\r\n\r\nx\r\n");
        body(mixed, &part.repeat(n))
    });
    climb("parts of 30 levels", 8, |n| {
        let part = |at: usize| -> String {
            let levels = (0..30).map(|nr| {
                format!("Content-Type: multipart/mixed; boundary={at}.{nr}\r\n\r\n--{at}.{nr}\r\n")
            });
            format!("--b\r\n{}\r\nx\r\n", levels.collect::<String>())
        };
        body(mixed, &(0..n).map(part).collect::<String>())
    });
    climb("lines", 20_000, |n| body("", &"x\r\n".repeat(n)));
    climb("quoted-printable", 10_000, |n| {
        body("Content-Transfer-Encoding: quoted-printable", &"a=C3=A9=\r\n".repeat(n))
    });
    climb("base64 that is not exact", 10_000, |n| {
        body("Content-Transfer-Encoding: base64", &"QU=JD\r\n".repeat(n))
    });
    climb("recipients of a report", 1000, |n| {
        body("Content-Type: message/delivery-status", &"Action: failed\r\n\r\n".repeat(n))
    });
}

#[test]
fn pages_cost_what_they_are_long() {
    for piece in [
        "<div>",
        "<p>",
        "</div>",
        "<b><i>",
        "<a href=x>",
        "<a href='",
        "<a ",
        "<!--",
        "<!-- -->",
        "<!-- --!>",
        "<!-- >",
        "<!",
        "<script>",
        "<style></style>",
        "<style></x></style>",
        "<title>x</title>",
        "<a href=x>y</a>",
        "<p title='>'>",
        "<table><tr><td>",
        "<form><select>",
        "&",
        "&amp;",
        "&#",
        "&aaaaaaaaaaaaaaaaa",
        "<pre>\n",
        "<",
        "</",
        "<a href=\"&amp;&amp;\"/>",
        "<img alt=' '",
        "x ",
        "<a / / /x=/>",
        "<a b='>' ",
        "<a b=\"",
        "<a b='x\" c=\"y'",
        "<!-- -->",
        "<!-- --!",
        "<!--> <!-",
        "<script></scrip",
        "<title><style>",
        "<?",
        "<template>x</template><template>",
    ] {
        climb(&format!("page of {piece}"), 1500, |n| {
            body("Content-Type: text/html", &piece.repeat(n))
        });
    }
    climb("attributes", 2000, |n| {
        body("Content-Type: text/html", &format!("<a {}>", "x=y ".repeat(n)))
    });
    climb("quoted attributes", 2000, |n| {
        body("Content-Type: text/html", &format!("<a {}>", "x='y' /".repeat(n)))
    });
}

#[test]
fn containers_cost_what_they_are_long() {
    climb("entries of an archive", 200, |n| {
        letter_with("application/zip", "a.zip", &zip(&vec![Entry::new(b"a.txt", b"some text"); n]))
    });
    climb("an entry", 100_000, |n| {
        let content: Vec<u8> = (0..n).map(|nr| (nr * nr / 7) as u8).collect();
        letter_with("application/zip", "a.zip", &zip(&[Entry::new(b"a.txt", &content)]))
    });
    climb("ends of archives", 3000, |n| {
        let ends = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".repeat(n);
        letter_with("application/zip", "a.zip", &[b"PK\x03\x04", &ends[..]].concat())
    });
    climb("files of a TNEF stream", 200, |n| {
        let attached = Attached {
            title: Some(b"a.txt".to_vec()),
            content: b"x".to_vec(),
            ..Attached::default()
        };
        let stream = Tnef { attached: vec![attached; n], ..Tnef::default() };
        letter_with("application/ms-tnef", "winmail.dat", &stream.write())
    });
    climb("attributes of a TNEF stream", 3000, |n| {
        let mut stream = Tnef::default().write();
        (0..n).for_each(|_| stream.extend([1, 6, 0x90, 8, 0, 0, 0, 0, 0, 0, 0]));
        letter_with("application/ms-tnef", "winmail.dat", &stream)
    });
    climb("names and texts in an encoded letter", 100, |n| {
        let part = format!(
            "--b\r\nContent-Type: text/html; name=\"{}\"\r\n\r\n{}\r\n",
            "é".repeat(200),
            "<p>caf&eacute; <a href='x'>".repeat(20)
        );
        let inner = body("Content-Type: multipart/mixed; boundary=b", &part.repeat(n));
        letter_with("message/rfc822", "a.eml", &inner)
    });
    climb("entries that say something else before their bytes", 200, |n| {
        let entry = Entry { local: &[(30, b"b")], ..Entry::new(b"a.txt", b"some text") };
        letter_with("application/zip", "a.zip", &zip(&vec![entry; n]))
    });
    climb("letters in an encoded letter", 200, |n| {
        let inner = body(
            "Content-Type: multipart/digest; boundary=b",
            &"--b\r\n\r\nSubject: x\r\n\r\nx\r\n".repeat(n),
        );
        letter_with("message/rfc822", "a.eml", &inner)
    });
}

#[test]
fn what_a_mail_server_says_costs_what_it_is_long() {
    let most = 64 << 20;
    // As it comes from a socket, in pieces.
    let read = |stream: &[u8]| {
        let (mut cutter, mut heard) = (Cutter::default(), Heard::default());
        for piece in stream.chunks(16 * 1024) {
            cutter.push(piece);
            while let Ok(Some(response)) = cutter.next(most) {
                drop(black_box(heard.sift(&response)));
            }
        }
    };
    for piece in
        ["{", "~{", "{1", "{1}", "{1} ", "{1}+", "(", "\"", "\\", " ", "X ", "[", "<", "{0}\r\n"]
    {
        climb_by(
            &format!("a list of {piece:?}"),
            20_000,
            |n| format!("* 1 FETCH (X ({} UID 5)\r\n", piece.repeat(n)).into_bytes(),
            read,
        );
        climb_by(
            &format!("items that are {piece:?}"),
            20_000,
            |n| format!("* 1 FETCH ({} UID 5)\r\n", piece.repeat(n)).into_bytes(),
            read,
        );
    }
    for response in
        ["* OK x\r\n", "* 1 EXISTS\r\n", "* 1 FETCH (UID 5)\r\n", "+ \r\n", "* CAPABILITY X\r\n"]
    {
        climb_by(response, 2000, |n| response.repeat(n).into_bytes(), read);
    }
    climb_by(
        "spaces before literals",
        20_000,
        |n| format!("* {}X{}\r\n", " ".repeat(n), "{0}\r\n".repeat(n)).into_bytes(),
        read,
    );
    climb_by(
        "spaces before a long literal",
        50_000,
        |n| {
            format!(
                "*{}1 FETCH (BODY[] {{{}}}\r\n{})\r\n",
                " ".repeat(n),
                20 * n,
                "x".repeat(20 * n)
            )
            .into_bytes()
        },
        read,
    );
    climb_by(
        "mails that were found",
        20_000,
        |n| format!("* SEARCH{}\r\n", " 4294967295".repeat(n)).into_bytes(),
        read,
    );
}

#[test]
fn a_conversation_costs_what_it_is_long() {
    let talk = |bytes: &[u8]| {
        let settings = Settings {
            recipients: Recipients::new(["a@b.example"], true),
            max_recipients: usize::MAX,
            hard_errors: u32::MAX,
            soft_errors: u32::MAX,
            ..Settings::default()
        };
        let settings = Arc::new(settings);
        let mut session = Session::new(Kind::Lmtp, settings, Budget::new(1 << 30), None);
        for mut piece in bytes.chunks(16 * 1024) {
            while let Some(action) = session.receive(&mut piece) {
                if let Action::Deliver(_) = black_box(action) {
                    session.delivered(Verdict::Accepted);
                }
            }
        }
    };
    let mail = "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n";
    climb_by(
        "recipients",
        2000,
        |n| {
            let more = "RCPT TO:<a@b.example>\r\n".repeat(n);
            format!("{mail}{more}DATA\r\nx\r\n.\r\n").into_bytes()
        },
        talk,
    );
    climb_by("letters", 500, |n| format!("{mail}DATA\r\nx\r\n.\r\n").repeat(n).into_bytes(), talk);
    climb_by("commands", 4000, |n| format!("{mail}{}", "NOOP\r\n".repeat(n)).into_bytes(), talk);
    climb_by(
        "refused bytes",
        20_000,
        |n| format!("{mail}DATA\r\n\0{}\r\n.\r\n", "\r".repeat(n)).into_bytes(),
        talk,
    );
    climb_by(
        "lines of dots",
        20_000,
        |n| format!("{mail}DATA\r\n{}.\r\n", "..\r\n".repeat(n)).into_bytes(),
        talk,
    );
    climb_by(
        "a line",
        5_000,
        |n| format!("{mail}DATA\r\n{}\r\n.\r\n", "x".repeat(n)).into_bytes(),
        talk,
    );
    climb_by(
        "chunks",
        1000,
        |n| format!("{mail}{}BDAT 0 LAST\r\n", "BDAT 3\r\nx\r\n".repeat(n)).into_bytes(),
        talk,
    );
}

#[test]
fn a_mailbox_costs_what_it_is_long() {
    let read = |file: &[u8]| {
        let length = file.len() as u64;
        let mut messages =
            Messages::open(Cursor::new(file), length, 1 << 20, None).expect("memory can be read");
        while messages.next().expect("memory can be read").is_some() {}
    };
    let from = "From a@b Thu Jan  1 00:00:00 1970\n";
    for piece in [
        "From a@b Thu Jan  1 00:00:00 1970\n\nx\n\n",
        "From a@b Thu Jan  1 00:00:00 1970\nContent-Length: 2\n\nx\n\n",
        "From a@b Thu Jan  1 00:00:00 1970\nContent-Length: 99999\n\nx\n\n",
        "From x\n",
        ">",
        ">From x\n",
        "\n",
        "x",
    ] {
        climb_by(
            &format!("{piece:?}"),
            2000,
            |n| format!("{from}\n{}", piece.repeat(n)).into_bytes(),
            read,
        );
    }
}

#[test]
fn what_staff_read_and_lists_of_people_cost_what_they_are_long() {
    let mask = |text: &[u8]| drop(black_box(masked(str::from_utf8(text).expect("UTF-8"))));
    for piece in
        ["85.07.30-033.28 ", "85.07.30-033.29 ", "nrn 85 07 30 033 29\n", "12 ", "1", "é. "]
    {
        climb_by(piece, 3000, |n| piece.repeat(n).into_bytes(), mask);
    }
    let day = Some(Personal::new(6550));
    let client = Some(Personal::new("de de".to_owned()));
    let person = Person { birth: day.clone(), start: day, client, ..Person::default() };
    let mention = |text: &[u8]| {
        drop(black_box(person.mentioned([str::from_utf8(text).expect("UTF-8")])));
    };
    for piece in ["8 12 ", "december 1987 ", "de "] {
        climb_by(piece, 1000, |n| piece.repeat(n).into_bytes(), mention);
    }
    let read = |file: &[u8]| drop(black_box(table::parse(file)));
    for row in ["Lotte,lotte@example.org\n", "\n", "\"Lotte\n\",a@b.example\n", "\"", ","] {
        let list = |n: usize| format!("name,email\n{}", row.repeat(n)).into_bytes();
        climb_by(row, 1000, list, read);
    }
}
