//! Poison letters: whatever a letter is, it is taken, sealed, and comes out byte for byte; and a
//! letter that is a bomb costs one child at most.

use kluis::casebook::{Bringer, Filter, Mail};
use kluis::letter::{Envelope, Finding, Letter, Source};
use kluis::sandbox::{Limits, Sandbox};
use kluis::secret::Personal;

use crate::containers::{Entry, Tnef, letter_with, zip};
use crate::mail_client::Client as Sender;
use crate::way::{raw, runtime};
use crate::world::{KLUIS, MAILBOX, World};

/// Letters that somebody's parser fell over, and what is told of ours, where anything must be.
fn poison() -> Vec<(&'static str, Vec<u8>, Option<Finding>)> {
    let text = |text: String| text.into_bytes();
    let with =
        |header: &str, body: &str| text(format!("From: a@b.example\r\n{header}\r\n\r\n{body}"));
    let mixed = "Content-Type: multipart/mixed; boundary=b";
    let part = |header: &str| with(mixed, &format!("--b\r\n{header}\r\n\r\nx\r\n--b--\r\n"));
    let nested = |depth: usize| {
        let mut raw = String::new();
        for nr in 0..depth {
            raw += &format!("Content-Type: multipart/mixed; boundary={nr}\r\n\r\n--{nr}\r\n");
        }
        raw
    };
    let mut encoded = b"From: a@b.example\r\n\r\nx\r\n".to_vec();
    for _ in 0..12 {
        let coded = data_encoding::BASE64.encode(&encoded);
        encoded = text(format!(
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{coded}"
        ));
    }
    let mut layers = zip(&[Entry::new(b"x", b"x")]);
    for _ in 0..20 {
        layers = zip(&[Entry::new(b"x.zip", &layers)]);
    }
    let entry = |change: fn(&mut Entry)| {
        let mut entries = vec![Entry::new(b"a", b"aaaa"), Entry::new(b"b", b"bbbb")];
        change(&mut entries[1]);
        letter_with("application/zip", "a.zip", &zip(&entries))
    };
    let stream = Tnef { body: Some(b"x".repeat(1000)), ..Tnef::default() }.write();
    let tnef = |bytes: &[u8]| letter_with("application/ms-tnef", "winmail.dat", bytes);
    let long = [&stream[..], &[1, 3, 0x90, 6, 0, 0xff, 0xff, 0xff, 0xff]].concat();
    let html = |body: &str| with("Content-Type: text/html", body);
    vec![
        ("nothing at all", Vec::new(), Some(Finding::OddFrom)),
        ("one line end", b"\r\n".to_vec(), None),
        ("no header", text("Beste,\r\nik schrijf u.\r\n".into()), Some(Finding::BadHeader)),
        (
            "a header without end",
            with(&"X-Pad: x\r\n".repeat(60_000), "x"),
            Some(Finding::OverLimit),
        ),
        ("a line without end", vec![b'x'; 3_000_000], None),
        ("NULs", vec![0; 100_000], Some(Finding::Nul)),
        ("every byte", (0..=255u8).cycle().take(100_000).collect(), Some(Finding::Nul)),
        ("line feeds alone", text("From: a@b.example\n\nx\n".into()), None),
        ("carriage returns alone", text("From: a@b.example\r\rx\r".into()), None),
        (
            "parameters",
            part(&format!("Content-Type: a/b; {}", "x*0=y;".repeat(30_000))),
            Some(Finding::BadParameter),
        ),
        (
            "sections",
            part(&format!(
                "Content-Type: a/b; {}",
                (0..9000).map(|n| format!("name*{n}*=%41;")).collect::<String>()
            )),
            Some(Finding::BadParameter),
        ),
        ("half encoded words", with(&format!("Subject: {}", "=?ab?q?".repeat(30_000)), "x"), None),
        ("addresses", with(&format!("To: {}", "a@b.example,".repeat(15_000)), "x"), None),
        ("comments in comments", with(&format!("To: {}", "(".repeat(100_000)), "x"), None),
        ("groups", with(&format!("Cc: {}", "a:;".repeat(50_000)), "x"), None),
        (
            "a date without end",
            with(&format!("Date: {}", "9".repeat(200_000)), "x"),
            Some(Finding::BadHeader),
        ),
        ("ids", with(&format!("References: {}", "<a@b> ".repeat(30_000)), "x"), None),
        ("multiparts in multiparts", text(nested(5000)), Some(Finding::OverLimit)),
        (
            "messages in messages",
            text("Content-Type: message/rfc822\r\n\r\n".repeat(5000)),
            Some(Finding::OverLimit),
        ),
        ("encoded messages in each other", encoded, Some(Finding::SwollenArchive)),
        ("parts", with(mixed, &"--b\r\n\r\nx\r\n".repeat(5000)), Some(Finding::OverLimit)),
        (
            "a boundary of dashes",
            with(
                &format!("Content-Type: multipart/mixed; boundary={}", "-".repeat(900)),
                &"-".repeat(1_000_000),
            ),
            Some(Finding::NoDelimiter),
        ),
        (
            "half escapes",
            with("Content-Transfer-Encoding: quoted-printable", &"=".repeat(1_000_000)),
            Some(Finding::BadTransferEncoding),
        ),
        (
            "noise as base64",
            with("Content-Transfer-Encoding: base64", &"=*".repeat(300_000)),
            Some(Finding::BadTransferEncoding),
        ),
        (
            "charsets that are none",
            with(
                mixed,
                &"--b\r\nContent-Type: text/plain; charset=x\r\n\r\n\u{e9}\r\n".repeat(300),
            ),
            Some(Finding::UnknownCharset),
        ),
        ("elements in elements", html(&"<div><p>".repeat(30_000)), None),
        ("a tag without end", html(&"<a href='".repeat(30_000)), None),
        ("a comment without end", html(&"<!--".repeat(60_000)), None),
        (
            "a bomb",
            letter_with("application/zip", "a.zip", &zip(&[Entry::new(b"x", &vec![0; 30 << 20])])),
            Some(Finding::SwollenArchive),
        ),
        (
            "archives in archives",
            letter_with("application/zip", "a.zip", &layers),
            Some(Finding::SwollenArchive),
        ),
        ("entries that share bytes", entry(|e| e.shares = true), Some(Finding::SwollenArchive)),
        ("an archive with a password", entry(|e| e.flags = 1), Some(Finding::LockedArchive)),
        ("an entry that lies", entry(|e| e.says = Some(1)), Some(Finding::NotUnpacked)),
        ("half a TNEF stream", tnef(&stream[..500]), Some(Finding::NotUnpacked)),
        ("a TNEF attribute without end", tnef(&long), Some(Finding::NotUnpacked)),
        (
            "a report about everybody",
            with(
                "Content-Type: multipart/report; boundary=b",
                &format!(
                    "--b\r\nContent-Type: message/delivery-status\r\n\r\n{}\r\n--b--\r\n",
                    "Action: failed\r\n\r\n".repeat(20_000)
                ),
            ),
            None,
        ),
        #[cfg(kluis_lab)]
        (
            "what aborts the parser",
            text("X-Kluis-Lab: abort\r\n\r\nx\r\n".into()),
            Some(Finding::Unparsed),
        ),
        #[cfg(kluis_lab)]
        (
            "what overflows its stack",
            text("X-Kluis-Lab: overflow\r\n\r\nx\r\n".into()),
            Some(Finding::Unparsed),
        ),
    ]
}

#[test]
fn whatever_a_letter_is_it_is_sealed_and_comes_out_byte_for_byte() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let letters = poison();
    assert!(letters.len() >= 30, "{} kinds", letters.len());
    let mut cases = Vec::new();
    for (what, raw, _) in &letters {
        let envelope = Envelope {
            mail_from: Personal::new("lotte@client.example".into()),
            rcpt_to: Vec::new(),
            helo: Personal::new(String::new()),
            client: None,
            source: Source::Imap,
            tls: false,
        };
        let mail = Mail {
            envelope,
            raw: raw.clone(),
            origin: None,
            fetched: None,
            bringer: Bringer::of(&[]),
        };
        let receipt = runtime.block_on(server.casebook.receive(mail));
        cases.push(receipt.unwrap_or_else(|error| panic!("{what}: {error}")).case);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    for ((what, sent, finding), case) in letters.iter().zip(cases) {
        let view = anna.case(case).expect("is there");
        let detail = view.letters[0].detail.as_ref().expect("opens");
        let told = finding.is_none_or(|finding| detail.findings.contains(&finding));
        assert!(told, "{what}: {:?}", detail.findings);
        let unparsed = detail.findings.contains(&Finding::Unparsed);
        assert_eq!(unparsed, *finding == Some(Finding::Unparsed), "{what}");
        assert!(raw(&mut anna, &view) == *sent, "{what}");
    }
    assert_eq!(anna.queue(Filter::All).expect("lists").len(), letters.len());
    runtime.block_on(server.stop());
}

#[test]
fn no_poison_letter_costs_a_child() {
    let runtime = runtime();
    let sandbox = Sandbox::new(KLUIS.into(), vec!["confined-parse".into()], 1, Limits::default());
    for (what, raw, finding) in poison() {
        if finding == Some(Finding::Unparsed) {
            continue;
        }
        let answer =
            runtime.block_on(sandbox.run(&raw)).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(Letter::from_answer(&answer).is_some(), "{what}");
    }
    runtime.block_on(sandbox.dismiss());
}

/// The letter as SMTP can carry it: no line is longer than a server takes, the last one ends. Nothing
/// if a byte stands alone, which no server of ours takes.
fn for_the_wire(raw: &[u8]) -> Option<Vec<u8>> {
    /// Bytes of a line here; more than 64 KiB are refused.
    const LINE: usize = 60_000;
    let mut wire = Vec::with_capacity(raw.len() + 100);
    for line in raw.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return None;
        }
        let pieces: Vec<_> = text.chunks(LINE).collect();
        wire.extend_from_slice(&pieces.join(&b"\r\n "[..]));
        wire.extend_from_slice(b"\r\n");
    }
    Some(wire)
}

#[test]
fn one_server_process_takes_thirty_kinds_of_poison_and_lives() {
    let world = World::found();
    let mut server = world.spawn(&[]);
    let (smtp, pid) = (server.smtp.expect("it listens"), server.child.id());
    let (mut sent, mut refused) = (Vec::new(), Vec::new());
    for (what, raw, _) in poison() {
        let mut sender = Sender::greet(smtp, false).expect("greets");
        let mut send = |raw: &[u8]| {
            let answers = sender.send("lotte@client.example", &[MAILBOX], raw);
            answers.unwrap_or_else(|error| panic!("{what}: {error}"))[0].code
        };
        if let Some(wire) = for_the_wire(&raw) {
            assert_eq!(send(&wire), 250, "{what}");
            sent.push(wire);
        } else {
            assert_eq!(send(&[&raw[..], b"\r\n"].concat()), 550, "{what}");
            refused.push(what);
        }
        assert!(server.child.try_wait().expect("is asked").is_none(), "{what}: it lives");
    }
    assert_eq!(server.child.id(), pid);
    println!("{} kinds taken; refused: {refused:?}", sent.len());
    assert!(sent.len() >= 30, "{} kinds", sent.len());
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let mut kept: Vec<_> = cases.iter().map(|case| raw(&mut anna, case)).collect();
    kept.sort();
    sent.sort();
    assert!(kept == sent, "every letter that was answered 250 is there, byte for byte");
}
