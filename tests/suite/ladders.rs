//! Cost ladders: four times as much of anything in a letter takes four times as long, and not
//! sixteen times. Whoever finds what grows faster stops a mailbox with one letter.
//!
//! Counted is the time that the processor gave to this thread, the least of several runs, so that a
//! busy machine does not matter.

use std::hint::black_box;
use std::time::Duration;

use kluis::letter::Letter;

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

/// The least time that parsing takes.
fn cost(raw: &[u8]) -> Duration {
    let once = || {
        let begun = time_of_this_thread();
        black_box(Letter::parse(black_box(raw)));
        time_of_this_thread() - begun
    };
    (0..RUNS).map(|_| once()).min().expect("several runs")
}

/// Climbs a ladder: `letter` makes a letter of a size.
fn climb(what: &str, from: usize, letter: impl Fn(usize) -> Vec<u8>) {
    let mut size = from;
    while cost(&letter(size)) < LEAST && size < from * LONGER {
        size *= 2;
    }
    let mut told = Vec::new();
    for _ in 0..TRIES {
        let rungs = [1, 2, 4].map(|times| cost(&letter(size * times)));
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
        "<!",
        "<script>",
        "<style></style>",
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
