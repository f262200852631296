//! A real Postfix as the next hop of what goes out: mails arrive one for one and line for line, over TLS
//! that was verified, and wait here while it is away or is not who it says.

use std::path::Path;
use std::time::{Duration, Instant};

use kluis::casebook::Filter;
use kluis::inbox::{Delivery, Kind, Recipients, Settings, Verdict};
use kluis::reply::Outgoing;
use kluis::reply::send::{SendError, Smarthost, Tls, Transport, send};
use kluis::staff::answers::{self, Draft};
use mail_parser::MessageParser;

use crate::answers::{draft, part};
use crate::inbox::{Fate, Server};
use crate::mail_client::Client;
use crate::notices::{believe, letter_from};
use crate::openpgp::{age_opens, now};
use crate::postfix_of_ours::{Postfix, meeting_place, missing};
use crate::way::runtime;
use crate::world::{MAILBOX, World};

const LOTTE: &str = "lotte@example.net";

/// A mail as it was sealed to be sent: nobody composes such ones.
fn outgoing(from: &str, mail: &[u8]) -> Outgoing {
    let mut sealed = minicbor::Encoder::new(Vec::new());
    let written = sealed
        .map(3)
        .and_then(|to| to.u8(0)?.str(from)?.u8(1)?.str(LOTTE)?.u8(2)?.bytes(mail))
        .map(|_| ());
    written.expect("memory takes what is written to it");
    minicbor::decode(sealed.writer()).expect("is a mail")
}

/// Takes everything that Postfix hands on to Lotte.
fn sink(socket: &Path) -> Server {
    let keep = |_: &Delivery| -> Fate { Box::pin(async { Verdict::Accepted }) };
    let settings = Settings { recipients: Recipients::new([LOTTE], false), ..Settings::default() };
    Server::deciding(Kind::Lmtp, Some(socket), settings, keep)
}

/// A Postfix, not started, that hands all mail on to a sink.
fn prepared(services: &str, settings: &str) -> (Server, Postfix) {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = meeting_place(dir.path()).join("lmtp.sock");
    let sink = sink(&socket);
    let settings = format!("default_transport = lmtp:unix:{}\n{settings}", socket.display());
    (sink, Postfix::prepare(dir, "discard:", services, &settings))
}

fn eventually(what: &str, postfix: &Postfix, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}\n{}", postfix.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_goes_out_arrives_line_for_line_and_one_for_one() {
    if let Some(why) = missing() {
        return println!("SKIPPED what_goes_out_arrives_line_for_line_and_one_for_one {why}");
    }
    let (sink, postfix) = prepared("", "");
    postfix.begin();
    drop(postfix.client());
    let transport = Transport::Smtp(Smarthost {
        host: "127.0.0.1".into(),
        port: postfix.addr.port(),
        tls: Tls::None,
        credentials: None,
        helo: "mail.example".into(),
    });
    let head = |n: usize| {
        format!(
            "Date: Mon, 02 Nov 2026 09:00:00 +0000\r\nFrom: <{MAILBOX}>\r\nTo: <{LOTTE}>\r\n\
             Subject: mail {n}\r\nMessage-ID: <k.{n}@jobexpert.be>\r\nMIME-Version: 1.0\r\n\r\n"
        )
    };
    let long = "x".repeat(998);
    let bodies = [
        "".into(),
        "\r\n".into(),
        ".\r\n".into(),
        "..\r\n".into(),
        "...\r\n.\r\n.\r\n".into(),
        ".\r\nMAIL FROM:<x@y.example>\r\nRCPT TO:<lotte@example.net>\r\nDATA\r\n.\r\n".into(),
        "a\r\n.b\r\n . \r\n\r\n\r\n".into(),
        "From here on\r\n>From there\r\n".into(),
        "trailing \t \r\n\ttabs\r\n".into(),
        format!("{long}\r\n.{}\r\n{long}\r\n", &long[1..]),
        "QUIT\r\nRSET\r\n".into(),
        format!("{}\r\n", "=C3=A9".repeat(12)),
        ".x\r\n".repeat(20_000),
    ];
    let runtime = runtime();
    let mut sent = Vec::new();
    for (n, body) in bodies.iter().enumerate() {
        let mail = format!("{}{body}", head(n)).into_bytes();
        // From us, and from nobody.
        for from in [MAILBOX, ""] {
            let outgoing = outgoing(from, &mail);
            assert_eq!(runtime.block_on(send(&transport, &outgoing)), Ok(()), "{n}");
            sent.push((from.to_owned(), mail.clone()));
        }
    }
    // Bytes that a server could change on its way never get there: they leave encoded, or not at all.
    for body in [&b"\xe9\r\n"[..], b"a\n.\r\nb\r\n", &[&b"x".repeat(999)[..], b"\r\n"].concat()] {
        let mail = [head(99).as_bytes(), body].concat();
        let outgoing = outgoing(MAILBOX, &mail);
        let refused = runtime.block_on(send(&transport, &outgoing));
        assert_eq!(refused, Err(SendError::Permanent(None)));
    }
    postfix.drain();
    eventually("all of them", &postfix, || sink.letters().len() >= sent.len());
    let start = b"Date: Mon, 02 Nov";
    let came = sink.letters().into_iter().map(|letter| {
        let raw = letter.raw;
        // Before it stand the lines of the servers that it passed.
        let at = raw.windows(start.len()).position(|part| part == start).expect("begins so");
        assert_eq!(letter.envelope.rcpt_to.len(), 1);
        (letter.envelope.mail_from.into_exposed(), raw[at..].to_vec())
    });
    let mut came: Vec<_> = came.collect();
    came.sort();
    sent.sort();
    assert_eq!(came.len(), sent.len());
    assert!(came == sent, "a mail arrived as another than it was sent");
}

/// Lines that no server may see as they are.
fn text(n: usize) -> String {
    format!(
        "Beste Lotte,\n.\n..\n.x\nFrom here {n}\n{}\n{}\n \n\nGroeten, Zo\u{eb} \u{1f642}\n",
        "lang ".repeat(2_000),
        "\u{e9}".repeat(1_500),
    )
}

#[test]
fn over_tls_that_holds_it_leaves_and_until_then_it_waits() {
    if let Some(why) = missing() {
        return println!("SKIPPED over_tls_that_holds_it_leaves_and_until_then_it_waits {why}");
    }
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a pair");
    let keys = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (keys.path().join("cert.pem"), keys.path().join("key.pem"));
    std::fs::write(&certificate, pair.cert.pem()).expect("is written");
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("is written");
    let settings = format!(
        "smtpd_tls_security_level = encrypt\nsmtpd_tls_loglevel = 1\nsmtpd_tls_cert_file = {}\n\
         smtpd_tls_key_file = {}\nsmtpd_tls_session_cache_database =\n",
        certificate.display(),
        key.display()
    );
    let (sink, postfix) = prepared("tlsmgr unix - - n 1000? 1 tlsmgr\n", &settings);
    let world = World::found();
    believe(&world);
    world.send_to(postfix.addr.port());
    let file = world.state().join("kluis.toml");
    let config = std::fs::read_to_string(&file).expect("is read");
    let config = config
        .replace("host = \"127.0.0.1\"", "host = \"localhost\"")
        .replace("tls = \"none\"", "tls = \"starttls\"");
    std::fs::write(&file, config).expect("is written");

    // It trusts whom the machine trusts, which is not this Postfix; and that one is down.
    let server = world.spawn(&[]);
    let raw =
        letter_from(LOTTE, "1", "", "Bonjour, je souhaite acc\u{e9}der \u{e0} mes donn\u{e9}es.");
    let mut client = Client::greet(server.smtp.expect("listens"), false).expect("greets");
    assert_eq!(client.send(LOTTE, &[MAILBOX], &raw).expect("answers")[0].code, 250);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = anna.queue(Filter::All).expect("lists").remove(0).card.case;
    let mut codes = Vec::new();
    let mut answer = |anna: &mut kluis::staff::client::Client, n: usize| {
        let draft = Draft { text: text(n), files: Vec::new(), ..draft(case, Vec::new(), true) };
        let sent = answers::send(anna, draft, now()).expect("is on its way");
        codes.push(sent.code.expect("has a code").expose().to_string());
    };
    let log = || std::fs::read_to_string(world.log()).expect("a log");
    let waits = || log().matches("a mail waits").count();
    answer(&mut anna, 0);
    eventually("the first waits", &postfix, || waits() >= 1);
    postfix.begin();
    drop(postfix.client());
    let before = waits();
    answer(&mut anna, 1);
    eventually("both wait", &postfix, || waits() >= before + 2);
    assert!(sink.letters().is_empty(), "nothing leaves to a server that nobody vouches for");
    drop(anna);
    server.kill();

    // Now somebody does.
    let trusted = certificate.to_str().expect("UTF-8");
    let server = world.spawn(&[("SSL_CERT_FILE", trusted)]);
    eventually("the notice and both answers", &postfix, || sink.letters().len() >= 3);
    postfix.drain();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(sink.letters().len(), 3, "{}", log());
    let said = postfix.log();
    assert!(said.contains("TLS connection established from"), "{said}");
    let mut opened = 0;
    for letter in sink.letters() {
        let to: Vec<_> = letter.envelope.rcpt_to.iter().map(|to| to.expose().as_str()).collect();
        assert_eq!(to, [LOTTE]);
        let mail = MessageParser::new().parse(&letter.raw).expect("is a mail");
        if letter.envelope.mail_from.expose().is_empty() {
            let text = mail.body_text(0).expect("has a text");
            assert!(text.contains("Nous avons bien re\u{e7}u votre message"), "{text}");
            continue;
        }
        assert_eq!(letter.envelope.mail_from.expose(), MAILBOX);
        for (n, code) in codes.iter().enumerate() {
            let folder = tempfile::tempdir().expect("a folder");
            let locked = part(&letter.raw, "answer.age");
            std::fs::write(folder.path().join("answer.age"), locked).expect("is written");
            if let Some(answer) = age_opens(folder.path(), code) {
                let read = MessageParser::new().parse(&answer).expect("is a mail");
                let read = read.body_text(0).expect("has a text").replace("\r\n", "\n");
                assert_eq!(read, text(n));
                opened += 1;
            }
        }
    }
    assert_eq!(opened, 2, "each opens with its own code");
    let mut anna = world.log_in("anna").expect("logs in");
    assert_eq!(anna.case(case).expect("is there").card.answers, (2, 2, 0));
    drop(anna);
    server.kill();
}
