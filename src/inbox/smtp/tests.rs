use std::sync::LazyLock;

use proptest::prelude::*;
use tokio_rustls::rustls::ServerConfig;

use super::super::clients::Clients;
use super::super::settings::{BareNewlines, Recipients};
use super::super::text::MAX_TEXT_LINE;
use super::forms::{Form, forms};
use super::*;

const STRANGER: &str = "192.0.2.7";
const OURS: &str = "backoffice@jobexpert.be";

static CERTIFICATE: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let pair = rcgen::generate_simple_self_signed(vec!["mx.example".into()]).expect("a pair");
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, pair.cert.pem()).expect("written");
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("written");
    super::super::tls::Offered::load(&certificate, &key).expect("a pair that works").config()
});

fn settings() -> Settings {
    Settings {
        hostname: "mx.example".into(),
        recipients: Recipients::new([OURS, "desk@jobexpert.be", "priv\u{e9}@jobexpert.be"], true),
        room: Budget::new(1 << 30),
        ..Settings::default()
    }
}

fn session(kind: Kind, settings: &Settings, client: Option<&str>) -> Session {
    let client = client.map(|client| client.parse().expect("an address"));
    Session::new(kind, Arc::new(settings.clone()), settings.room.clone(), client)
}

/// Feeds the pieces; every letter gets the verdict.
fn actions(session: &mut Session, pieces: &[&[u8]], verdict: Verdict) -> Vec<Action> {
    let mut actions = Vec::new();
    // An empty piece first: the greeting waits for no byte.
    for piece in [&[][..]].iter().chain(pieces) {
        let mut rest = *piece;
        while let Some(action) = session.receive(&mut rest) {
            if matches!(action, Action::Deliver(_)) {
                session.delivered(verdict);
            }
            actions.push(action);
        }
    }
    actions
}

/// The codes of all replies, `+` for a letter handed over, `~` for a pause, `T` for a handshake,
/// `.` for a close.
fn codes(actions: &[Action]) -> String {
    let mut words = Vec::new();
    for action in actions {
        match action {
            Action::Reply(reply) => {
                let text = str::from_utf8(reply).expect("replies are ASCII");
                assert!(text.ends_with("\r\n"));
                let last = text.lines().filter(|line| line.as_bytes()[3] == b' ');
                words.extend(last.map(|line| line[..3].to_owned()));
            }
            Action::Pause => words.push("~".into()),
            Action::StartTls(_) => words.push("T".into()),
            Action::Deliver(_) => words.push("+".into()),
            Action::Close => words.push(".".into()),
        }
    }
    words.join(" ")
}

fn heard(session: &mut Session, text: &str) -> String {
    codes(&actions(session, &[text.as_bytes()], Verdict::Accepted))
}

fn letters(actions: Vec<Action>) -> Vec<Delivery> {
    let letter = |action| {
        if let Action::Deliver(letter) = action { Some(letter) } else { None }
    };
    actions.into_iter().filter_map(letter).collect()
}

const BEGIN: &str = "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n\
                     RCPT TO:<backoffice@jobexpert.be>\r\n";

#[test]
fn a_conversation_ends_in_a_letter_and_its_envelope() {
    let mut session = session(Kind::Smtp, &settings(), Some("::ffff:192.0.2.7"));
    let said = "EHLO client.example\r\nMAIL FROM:<\"A b\"@b.example> SIZE=100 BODY=8BITMIME\r\n\
                RCPT TO:<BackOffice@JobExpert.be>\r\nRCPT TO:<@relay.example:postmaster@jobexpert.be>\r\n\
                RCPT TO:<Postmaster>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n";
    let actions = actions(&mut session, &[said.as_bytes()], Verdict::Accepted);
    assert_eq!(codes(&actions), "220 250 250 250 250 250 354 + 250 221 .");
    let [Delivery { envelope, raw, trusted, .. }] = &letters(actions)[..] else {
        panic!("one letter")
    };
    assert!(!trusted);
    assert_eq!(raw, b"Subject: x\r\n\r\n.dot\r\n");
    assert_eq!(envelope.mail_from.expose(), "\"A b\"@b.example");
    let to: Vec<_> = envelope.rcpt_to.iter().map(|to| to.expose().as_str()).collect();
    assert_eq!(to, ["BackOffice@JobExpert.be", "postmaster@jobexpert.be", "Postmaster"]);
    assert_eq!(envelope.helo.expose(), "client.example");
    assert_eq!(envelope.client.as_ref().map(|ip| ip.expose().as_str()), Some(STRANGER));
    assert_eq!((envelope.source, envelope.tls), (Source::Smtp, false));
}

#[test]
fn ehlo_says_what_is_served_and_nothing_else() {
    let ehlo = |settings: &Settings, client| {
        let mut session = session(Kind::Smtp, settings, client);
        let mut said = actions(&mut session, &[b"EHLO x\r\n"], Verdict::Accepted);
        let Some(Action::Reply(reply)) = said.pop() else { panic!("a reply") };
        String::from_utf8(reply.into_owned()).expect("ASCII")
    };
    let plain = "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 67108864\r\n250-8BITMIME\r\n\
                 250-SMTPUTF8\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n";
    assert_eq!(ehlo(&settings(), Some(STRANGER)), plain);
    let secure = Settings { tls: Some(CERTIFICATE.clone()), ..settings() };
    let offered = plain.replace("CHUNKING\r\n", "CHUNKING\r\n250-STARTTLS\r\n");
    assert_eq!(ehlo(&secure, Some(STRANGER)), offered);
    assert_eq!(ehlo(&secure, None), plain, "a Unix socket needs no TLS");
}

#[test]
fn every_command_has_its_answer() {
    let mail = "EHLO x\r\nMAIL FROM:<a@b>\r\n";
    let utf8 = "EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\n";
    for (before, line, answer) in [
        ("", "EHLO x", "250 2 mx.example"),
        ("", "HELO x", "250 mx.example"),
        ("", "LHLO x", replies::OTHER_GREETING),
        ("", "EHLO", replies::BAD_ARGUMENTS),
        ("", "MAIL FROM:<a@b>", replies::BAD_SEQUENCE),
        ("", "RCPT TO:<backoffice@jobexpert.be>", replies::BAD_SEQUENCE),
        ("", "DATA", replies::BAD_SEQUENCE),
        ("", "NOOP", replies::OK),
        ("", "noop whatever", replies::OK),
        ("", "RSET", replies::OK),
        ("", "RSET now", replies::BAD_ARGUMENTS),
        ("", "QUIT now", replies::BAD_ARGUMENTS),
        ("", " RSET now", replies::BAD_ARGUMENTS),
        ("", "QUIT \t", replies::BAD_LINE),
        ("", "quit ", replies::GOODBYE),
        ("", "VRFY backoffice@jobexpert.be", replies::PERHAPS),
        ("", "EXPN list", replies::NOT_SERVED),
        ("", "EXPN", replies::NOT_SERVED),
        ("", "HELP", replies::NOT_SERVED),
        ("", "AUTH PLAIN AGEAYg==", replies::NOT_SERVED),
        ("", "AUTH", replies::NOT_SERVED),
        ("", "ETRN x", replies::NOT_SERVED),
        ("", "BDAT 0 LAST", replies::BAD_SEQUENCE),
        ("", "BDAT", replies::BAD_CHUNK),
        ("", "BDAT x", replies::BAD_CHUNK),
        ("", "bdat 18446744073709551616", replies::BAD_CHUNK),
        ("", "BDAT\u{a0}3", replies::BAD_CHUNK),
        ("", "BDAT 3\0", replies::BAD_CHUNK),
        ("", "STARTTLS", replies::NOT_SERVED),
        ("", "STARTTLS now", replies::BAD_ARGUMENTS),
        ("", "", replies::UNKNOWN_COMMAND),
        ("", "XYZZY", replies::UNKNOWN_COMMAND),
        ("", "No\u{eb}l", replies::BAD_LINE),
        ("", "NO\0P", replies::BAD_LINE),
        ("", "NOOP\rRSET", replies::BAD_LINE),
        ("EHLO x\r\n", "MAIL FROM:<>", replies::SENDER_OK),
        ("HELO x\r\n", "mail from: <a@b>", replies::SENDER_OK),
        ("EHLO x\r\n", "MAIL FROM:<postmaster>", replies::SENDER_OK),
        ("EHLO x\r\n", "MAIL FROM:<a@b> BODY=7BIT", replies::SENDER_OK),
        ("EHLO x\r\n", "MAIL FROM:<a@b> SIZE=67108864", replies::SENDER_OK),
        ("EHLO x\r\n", "MAIL FROM:<a@b> SIZE=67108865", replies::TOO_BIG),
        ("EHLO x\r\n", "MAIL FROM:<a@b> SIZE=x", replies::BAD_ARGUMENTS),
        ("EHLO x\r\n", "MAIL FROM:<a@b> BODY=BINARYMIME", replies::BODY_NOT_SERVED),
        ("EHLO x\r\n", "MAIL FROM:<a@b> SMTPUTF8", replies::SENDER_OK),
        (
            "EHLO x\r\n",
            "MAIL FROM:<vie.priv\u{e9}e@\u{e9}t\u{e9}.example> SMTPUTF8",
            replies::SENDER_OK,
        ),
        ("EHLO x\r\n", "MAIL FROM:<\u{5bc6}@b> BODY=8BITMIME SMTPUTF8 SIZE=9", replies::SENDER_OK),
        ("EHLO x\r\n", "MAIL FROM:<priv\u{e9}@b>", replies::NEEDS_UTF8),
        ("EHLO x\r\n", "MAIL FROM:<priv\u{85}@b> SMTPUTF8", replies::BAD_LINE),
        (mail, "RCPT TO:<priv\u{e9}@b>", replies::NEEDS_UTF8),
        (utf8, "RCPT TO:<priv\u{e9}@b>", replies::NO_SUCH_RECIPIENT),
        (utf8, "RCPT TO:<Priv\u{e9}@jobexpert.be>", replies::RECIPIENT_OK),
        (utf8, "RCPT TO:<\"priv\u{e9}\"@jobexpert.be>", replies::RECIPIENT_OK),
        ("EHLO x\r\n", "MAIL FROM:<a@b> RET=FULL", replies::PARAMETER_NOT_SERVED),
        ("EHLO x\r\n", "MAIL FROM:<a@b> XYZZY=1", replies::PARAMETER_NOT_SERVED),
        ("EHLO x\r\n", "MAIL FROM:a@b", replies::BAD_ARGUMENTS),
        ("EHLO x\r\n", "MAIL FROM:<a>", replies::BAD_SENDER),
        ("EHLO x\r\n", "MAIL TO:<a@b>", replies::BAD_ARGUMENTS),
        (mail, "MAIL FROM:<a@b>", replies::BAD_SEQUENCE),
        (mail, "RCPT TO:<backoffice@jobexpert.be>", replies::RECIPIENT_OK),
        (mail, "rcpt to:<\"BackOffice\"@JOBEXPERT.BE>", replies::RECIPIENT_OK),
        (mail, "RCPT TO:<postmaster>", replies::RECIPIENT_OK),
        (mail, "RCPT TO:<postmaster@jobexpert.be>", replies::RECIPIENT_OK),
        (mail, "RCPT TO:<nobody@jobexpert.be>", replies::NO_SUCH_RECIPIENT),
        (mail, "RCPT TO:<backoffice@other.example>", replies::NO_SUCH_RECIPIENT),
        (mail, "RCPT TO:<backoffice@jobexpert.be> NOTIFY=NEVER", replies::PARAMETER_NOT_SERVED),
        (mail, "RCPT TO:<>", replies::BAD_RECIPIENT),
        (mail, "RCPT TO:<a>", replies::BAD_RECIPIENT),
        (mail, "DATA", replies::BAD_SEQUENCE),
        (mail, "DATA now", replies::BAD_ARGUMENTS),
    ] {
        let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
        heard(&mut session, before);
        let said = actions(&mut session, &[format!("{line}\r\n").as_bytes()], Verdict::Accepted);
        let reply = said.iter().find_map(|action| match action {
            Action::Reply(reply) if !reply.starts_with(b"220") => Some(reply),
            _ => None,
        });
        let reply = str::from_utf8(reply.expect("a reply")).expect("ASCII");
        if answer.ends_with('\n') {
            assert_eq!(reply, answer, "{line}");
        } else {
            assert!(reply.starts_with("250") && reply.contains("mx.example"), "{line}");
        }
    }
}

#[test]
fn what_is_no_smtp_is_dropped_without_a_word() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"post / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
        b"CONNECT x:25 HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ] {
        let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
        assert_eq!(codes(&actions(&mut session, &[bytes], Verdict::Accepted)), "220 .");
    }
}

#[test]
fn a_line_that_ends_otherwise_or_not_at_all_ends_the_conversation() {
    let long = "NOOP ".to_owned() + &"x".repeat(MAX_COMMAND_LINE - 7) + "\r\n";
    for (text, answer) in [
        (format!("{long}NOOP\r\n"), "220 250 250"),
        (format!("x{long}NOOP\r\n"), "220 500 ."),
        ("x".repeat(MAX_COMMAND_LINE + 1), "220 500 ."),
        ("NOOP\nNOOP\r\n".into(), "220 500 ."),
        ("\n".into(), "220 500 ."),
        ("NOOP\r".into(), "220"),
    ] {
        let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
        assert_eq!(heard(&mut session, &text), answer);
    }
}

/// What follows the false end.
const SMUGGLED: &str = "MAIL FROM:<x@y>\r\n";

/// Whether a form ends a letter after DATA.
fn is_end(form: &Form) -> bool {
    form.before.ends_with("\r\n") && form.dot == "." && form.after == "\r\n"
}

#[test]
fn only_crlf_dot_crlf_ends_a_letter_however_it_is_cut() {
    for form in forms() {
        let stream = format!("{BEGIN}DATA\r\nfirst{}{SMUGGLED}\r\n.\r\nQUIT\r\n", form.text());
        let clean = form.before == "\r\n" && form.after == "\r\n";
        let verdict = if clean { "+ 250" } else { "550" };
        let ends = is_end(&form);
        let rest = if ends {
            let first = if form.before == "\r\n" { "+ 250" } else { "550" };
            // The second letter is empty but for an empty line, and no command of ours.
            format!("{first} 250 500 500 221 .")
        } else {
            format!("{verdict} 221 .")
        };
        for at in 0..=stream.len() {
            let (head, tail) = stream.as_bytes().split_at(at);
            let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
            let said = actions(&mut session, &[head, tail], Verdict::Accepted);
            assert_eq!(codes(&said), format!("220 250 250 250 354 {rest}"), "{form:?} at {at}");
            for letter in letters(said) {
                let inside = letter.raw.windows(4).any(|four| four == b"MAIL");
                assert_eq!(inside, !ends, "{form:?} at {at}");
            }
        }
    }
}

#[test]
fn nothing_in_a_chunk_ends_it_however_it_is_cut_and_wherever_chunks_meet() {
    for form in forms() {
        let text = format!("first{}{SMUGGLED}", form.text());
        let clean = form.before == "\r\n" && form.after == "\r\n";
        let verdict = if clean { "+ 250" } else { "550" };
        let one = format!("{BEGIN}BDAT {} LAST\r\n{text}QUIT\r\n", text.len());
        for at in 0..=one.len() {
            let (head, tail) = one.as_bytes().split_at(at);
            let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
            let said = actions(&mut session, &[head, tail], Verdict::Accepted);
            let expected = format!("220 250 250 250 {verdict} 221 .");
            assert_eq!(codes(&said), expected, "{form:?} at {at}");
            assert!(letters(said).iter().all(|letter| letter.raw == text.as_bytes()));
        }
        for at in 0..=text.len() {
            let (head, tail) = text.split_at(at);
            let stream = format!(
                "{BEGIN}BDAT {at}\r\n{head}BDAT {} LAST\r\n{tail}QUIT\r\n",
                text.len() - at
            );
            let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
            let said = actions(&mut session, &[stream.as_bytes()], Verdict::Accepted);
            let heard = codes(&said);
            let whole = format!("220 250 250 250 250 {verdict} 221 .");
            // Refused in its first chunk, the letter is over with it.
            let early = "220 250 250 250 550 503 221 .";
            assert!(heard == whole || !clean && heard == early, "{form:?} at {at}: {heard}");
            assert!(letters(said).iter().all(|letter| letter.raw == text.as_bytes()));
        }
    }
}

#[test]
fn a_chunk_without_a_transaction_is_read_and_refused_and_never_followed() {
    let inside = "RSET\r\nQUIT\r\n";
    let size = inside.len();
    for (before, begun) in [
        ("", "220"),
        ("EHLO x\r\n", "220 250"),
        ("EHLO x\r\nMAIL FROM:<a@b>\r\n", "220 250 250"),
        ("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<nobody@x>\r\n", "220 250 250 550"),
    ] {
        for last in ["", " LAST"] {
            let stream = format!("{before}BDAT {size}{last}\r\n{inside}NOOP\r\n");
            for at in 0..=stream.len() {
                let (head, tail) = stream.as_bytes().split_at(at);
                let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
                let said = actions(&mut session, &[head, tail], Verdict::Accepted);
                assert_eq!(codes(&said), format!("{begun} 503 250"), "{stream:?} at {at}");
            }
        }
    }
}

#[test]
fn a_letter_in_chunks_is_one_letter_and_mixes_with_nothing() {
    for (said, answers) in [
        ("BDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n", "250 + 250"),
        ("BDAT 3\r\na\r\nBDAT 0 LAST\r\n", "250 + 250"),
        ("BDAT 0 LAST\r\n", "+ 250"),
        ("BDAT 0\r\nBDAT 2\r\na\rBDAT 1 LAST\r\n\n", "250 250 + 250"),
        ("BDAT 3\r\na\r\nDATA\r\nBDAT 0 LAST\r\n", "250 503 503"),
        ("BDAT 3\r\na\r\nRCPT TO:<postmaster>\r\nBDAT 0 LAST\r\n", "250 503 + 250"),
        ("BDAT 3\r\na\r\nMAIL FROM:<>\r\nBDAT 0 LAST\r\n", "250 503 + 250"),
        ("BDAT 3\r\na\r\nRSET\r\nBDAT 0 LAST\r\n", "250 250 503"),
        ("BDAT 3\r\na\r\nEHLO x\r\nBDAT 0 LAST\r\n", "250 250 503"),
        ("BDAT 3\r\na\r\nNOOP\r\nBDAT 0 LAST\r\n", "250 250 + 250"),
        ("BDAT 2\r\na\nBDAT 3\r\nb\r\nBDAT 0 LAST\r\nNOOP\r\n", "550 503 503 250"),
        ("BDAT 0 LAST\r\nBDAT 0 LAST\r\n", "+ 250 503"),
    ] {
        let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
        let said = actions(&mut session, &[BEGIN.as_bytes(), said.as_bytes()], Verdict::Accepted);
        assert_eq!(codes(&said), format!("220 250 250 250 {answers}"));
    }
}

#[test]
fn a_letter_without_its_last_line_end_gets_one() {
    let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
    let said = format!("{BEGIN}BDAT 4 LAST\r\na\r\nbQUIT\r\n");
    let said = letters(actions(&mut session, &[said.as_bytes()], Verdict::Accepted));
    assert!(said.len() == 1 && said[0].raw == b"a\r\nb\r\n");
}

#[test]
fn chunks_and_what_is_thrown_away_come_to_an_end() {
    let small = Settings { max_letter: 100, max_discarded: 1000, ..settings() };
    let heard = |settings: &Settings, said: &str| {
        codes(&actions(
            &mut session(Kind::Smtp, settings, Some(STRANGER)),
            &[said.as_bytes()],
            Verdict::Accepted,
        ))
    };
    let chunk = |size: usize| format!("BDAT {size}\r\n{}", "x".repeat(size));
    assert_eq!(heard(&small, &format!("{}NOOP\r\n", chunk(1000))), "220 503 250");
    assert_eq!(heard(&small, &format!("{}NOOP\r\n", chunk(1001))), "220 421 .");
    assert_eq!(heard(&small, &format!("{}NOOP\r\n", chunk(400).repeat(3))), "220 503 503 421 .");
    assert_eq!(
        heard(&small, &format!("{BEGIN}{}NOOP\r\n", chunk(1000))),
        "220 250 250 250 552 250"
    );
    assert_eq!(heard(&small, &format!("{BEGIN}{}NOOP\r\n", chunk(1001))), "220 250 250 250 552 .");
    assert_eq!(
        heard(&small, &format!("{BEGIN}BDAT 18446744073709551615 LAST\r\nNOOP\r\n")),
        "220 250 250 250 552 ."
    );
    let much = format!("{BEGIN}DATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(990));
    assert_eq!(heard(&small, &much), "220 250 250 250 354 552 250");
    let more = format!("{BEGIN}DATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(1000));
    assert_eq!(heard(&small, &more), "220 250 250 250 354 552 .");
    let endless = format!("{BEGIN}DATA\r\n{}", "\r".repeat(1001));
    assert_eq!(heard(&small, &endless), "220 250 250 250 354 550 .");

    let empty = "BDAT 0\r\n".repeat(10_001);
    let said = heard(&settings(), &format!("{BEGIN}{empty}NOOP\r\n"));
    assert!(said.ends_with("250 554 ."));
    assert_eq!(said.split(' ').count(), 4 + 10_000 + 2);
}

#[test]
fn who_sends_too_much_from_the_world_waits_and_is_told_so() {
    let clients = Clients::default();
    let address = "2001:db8::7".parse().expect("an address");
    let connect = || {
        Session::new(Kind::Smtp, Arc::new(settings()), Budget::new(1 << 20), Some(address))
            .from_the_world(clients.ration(address, 60))
    };
    // However many connections it takes.
    for _ in 0..3 {
        let said = heard(&mut connect(), &format!("{BEGIN}DATA\r\n.\r\n").repeat(20));
        assert_eq!(said.matches("+ 250").count(), 20);
    }
    assert_eq!(heard(&mut connect(), BEGIN), "220 250 450 503");
}

#[test]
fn from_the_world_nobody_is_trusted_whatever_the_address() {
    for client in ["127.0.0.1", "::1", STRANGER] {
        let address = client.parse().expect("an address");
        let world =
            |session: Session| session.from_the_world(Clients::default().ration(address, 60));
        let mut session = world(session(Kind::Smtp, &settings(), Some(client)));
        let said = actions(
            &mut session,
            &[BEGIN.as_bytes(), b"DATA\r\n.\r\n", &b"XYZZY\r\n".repeat(6)],
            Verdict::Accepted,
        );
        assert!(codes(&said).ends_with("500 ~ 500"), "a stranger waits for bad news");
        assert!(letters(said).iter().all(|letter| !letter.trusted), "{client}");
    }
}

/// Everything that ends a letter or a chunk badly, with what comes before and what is said.
fn failures() -> Vec<(Settings, Vec<u8>, Verdict)> {
    let small = Settings { max_letter: 100, ..settings() };
    let broke = Settings { room: Budget::new(0), ..settings() };
    let long = vec![b'x'; MAX_TEXT_LINE + 1];
    let mut failures = Vec::new();
    for (settings, letter, verdict) in [
        (settings(), &b"a\nb\r\n"[..], Verdict::Accepted),
        (settings(), b"a\rb\r\n", Verdict::Accepted),
        (settings(), b"a\0b\r\n", Verdict::Accepted),
        (settings(), &long, Verdict::Accepted),
        (small, &[b'x'; 200], Verdict::Accepted),
        (broke, b"x\r\n", Verdict::Accepted),
        (settings(), b"x\r\n", Verdict::TryLater),
        (settings(), b"x\r\n", Verdict::NoRoom),
        (settings(), b"x\r\n", Verdict::Refused),
        (settings(), b"x\r\n", Verdict::Loop),
    ] {
        let data = [b"DATA\r\n", letter, b"\r\n.\r\n"].concat();
        let last = [format!("BDAT {} LAST\r\n", letter.len()).as_bytes(), letter].concat();
        failures.push((settings.clone(), data, verdict));
        if verdict == Verdict::Accepted {
            let chunk = [format!("BDAT {}\r\n", letter.len()).as_bytes(), letter].concat();
            failures.push((settings.clone(), chunk, verdict));
        }
        failures.push((settings, last, verdict));
    }
    for data in [
        &b"DATA now\r\n"[..],
        b"RSET\r\nDATA\r\n",
        b"RSET\r\nMAIL FROM:<a@b>\r\nDATA\r\n",
        b"RSET\r\nMAIL FROM:<a@b>\r\nBDAT 1\r\nx",
        b"RSET\r\nMAIL FROM:<a@b>\r\nBDAT 1 LAST\r\nx",
        b"RSET\r\nBDAT 0 LAST\r\n",
        b"BDAT 3\r\na\r\nDATA\r\n",
    ] {
        failures.push((settings(), data.to_vec(), Verdict::Accepted));
    }
    failures
}

#[test]
fn after_a_refused_letter_only_a_new_transaction_is_followed() {
    for (settings, data, verdict) in failures() {
        for kind in [Kind::Smtp, Kind::Lmtp] {
            let begin =
                if kind == Kind::Lmtp { BEGIN.replace("EHLO", "LHLO") } else { BEGIN.into() };
            for (next, answer) in [
                ("RCPT TO:<backoffice@jobexpert.be>", "503"),
                ("DATA", "503"),
                ("BDAT 0", "503"),
                ("BDAT 0 LAST", "503"),
                ("MAIL FROM:<>", "250"),
                ("RSET", "250"),
                ("NOOP", "250"),
                (if kind == Kind::Lmtp { "LHLO x" } else { "EHLO x" }, "250"),
                ("QUIT", "221 ."),
            ] {
                let shown = data.escape_ascii().to_string();
                let shown = &shown[..shown.len().min(60)];
                let mut session = session(kind, &settings, Some(STRANGER));
                let said = codes(&actions(&mut session, &[begin.as_bytes(), &data], verdict));
                let last = said.rsplit(' ').next().expect("an answer");
                assert!(last.starts_with(['4', '5']), "{shown}: {said}");
                assert_eq!(heard(&mut session, &format!("{next}\r\n")), answer, "{shown} {next}");
            }
        }
    }
}

#[test]
fn lmtp_answers_once_for_each_accepted_recipient() {
    let begin = "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<backoffice@jobexpert.be>\r\n\
                 RCPT TO:<nobody@jobexpert.be>\r\nRCPT TO:<desk@jobexpert.be>\r\nDATA\r\n";
    for (letter, verdict, answers) in [
        ("x\r\n.\r\n", Verdict::Accepted, "+ 250 250"),
        ("x\r\n.\r\n", Verdict::TryLater, "+ 451 451"),
        ("x\ny\r\n.\r\n", Verdict::Accepted, "550 550"),
    ] {
        let mut session = session(Kind::Lmtp, &settings(), Some(STRANGER));
        let said = actions(&mut session, &[begin.as_bytes(), letter.as_bytes()], verdict);
        assert_eq!(codes(&said), format!("220 250 250 250 550 250 354 {answers}"));
        for letter in letters(said) {
            assert_eq!(letter.envelope.source, Source::Lmtp);
            assert_eq!(letter.envelope.rcpt_to.len(), 2);
        }
    }
    // In chunks: one for each of the others, and one for each recipient at the last.
    let begin = begin.replace("DATA\r\n", "");
    for (letter, answers) in [
        ("BDAT 3\r\nx\r\nBDAT 0\r\nBDAT 0 LAST\r\n", "250 250 + 250 250"),
        ("BDAT 0\r\nBDAT 2 LAST\r\nx\n", "250 550 550"),
        ("BDAT 2\r\nx\nBDAT 0 LAST\r\n", "550 503"),
    ] {
        let mut session = session(Kind::Lmtp, &settings(), Some(STRANGER));
        let said = heard(&mut session, &format!("{begin}{letter}"));
        assert_eq!(said, format!("220 250 250 250 550 250 {answers}"));
    }
    let mut session = session(Kind::Lmtp, &settings(), Some(STRANGER));
    let none = "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<nobody@jobexpert.be>\r\nDATA\r\nEHLO x\r\n";
    assert_eq!(heard(&mut session, none), "220 250 250 550 503 500");
}

#[test]
fn a_hundred_recipients_are_enough_for_one_letter() {
    let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
    heard(&mut session, "EHLO x\r\nMAIL FROM:<>\r\n");
    for _ in 0..100 {
        assert_eq!(heard(&mut session, "RCPT TO:<backoffice@jobexpert.be>\r\n"), "250");
    }
    for _ in 0..20 {
        assert_eq!(heard(&mut session, "RCPT TO:<backoffice@jobexpert.be>\r\n"), "452");
    }
    assert_eq!(heard(&mut session, "DATA\r\n.\r\n"), "354 + 250");
}

#[test]
fn starttls_forgets_what_was_said_before_and_is_offered_once() {
    let secure = Settings { tls: Some(CERTIFICATE.clone()), ..settings() };
    let mut session = session(Kind::Smtp, &secure, Some(STRANGER));
    assert_eq!(heard(&mut session, BEGIN), "220 250 250 250");
    assert_eq!(heard(&mut session, "STARTTLS\r\n"), "T");
    session.secured();
    assert_eq!(heard(&mut session, "MAIL FROM:<a@b>\r\n"), "503");
    assert_eq!(heard(&mut session, "RCPT TO:<postmaster>\r\nDATA\r\n"), "503 503");
    let said = actions(&mut session, &[b"EHLO x\r\nSTARTTLS\r\n"], Verdict::Accepted);
    assert_eq!(codes(&said), "250 503");
    assert!(!format!("{said:?}").contains("250-STARTTLS"));
    let said =
        actions(&mut session, &[&BEGIN.as_bytes()[21..], b"DATA\r\n.\r\n"], Verdict::Accepted);
    assert!(letters(said).iter().all(|letter| letter.envelope.tls));
}

#[test]
fn nothing_that_follows_starttls_in_clear_is_ever_a_command() {
    let secure = Settings { tls: Some(CERTIFICATE.clone()), ..settings() };
    let said = format!("EHLO x\r\nSTARTTLS\r\n{BEGIN}DATA\r\nx\r\n.\r\n");
    for at in 0..=said.len() {
        let (head, tail) = said.as_bytes().split_at(at);
        let mut session = session(Kind::Smtp, &secure, Some(STRANGER));
        let said = actions(&mut session, &[head, tail], Verdict::Accepted);
        assert_eq!(codes(&said), "220 250 T 554 .", "at {at}");
        session.secured();
        assert_eq!(heard(&mut session, "NOOP\r\n"), "", "closed is closed");
    }
}

#[test]
fn mistakes_make_us_slow_and_then_deaf() {
    let mut stranger = session(Kind::Smtp, &settings(), Some(STRANGER));
    let said = heard(&mut stranger, &"XYZZY\r\n".repeat(20));
    assert_eq!(said, format!("220 {}{}421 .", "500 ".repeat(5), "~ 500 ".repeat(10)));
    for trusted in [None, Some("127.0.0.1"), Some("::1")] {
        let mut session = session(Kind::Smtp, &settings(), trusted);
        let said = heard(&mut session, &"XYZZY\r\n".repeat(20));
        assert_eq!(said, format!("220 {}421 .", "500 ".repeat(15)));
    }
    let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
    heard(&mut session, &"XYZZY\r\n".repeat(14));
    assert_eq!(heard(&mut session, &format!("{BEGIN}DATA\r\n.\r\n")), "250 250 250 354 + 250");
    assert_eq!(heard(&mut session, "XYZZY\r\n"), "500", "a letter pays for old mistakes");
}

#[test]
fn idle_talk_without_letters_comes_to_an_end() {
    for idle in ["NOOP\r\n", "RSET\r\n", "EHLO x\r\n", "VRFY a\r\n"] {
        let mut session = session(Kind::Smtp, &settings(), Some(STRANGER));
        let said = heard(&mut session, &idle.repeat(1000));
        assert!(said.ends_with("421 ."));
        assert_eq!(said.split(' ').count(), 1 + 115 + 2, "{idle}");
    }
}

#[test]
fn only_a_trusted_lmtp_peer_may_have_its_line_ends_mended() {
    let mending = Settings { bare_newlines: BareNewlines::Normalize, ..settings() };
    let said = format!("{BEGIN}DATA\r\na\nb\r\n.\r\n");
    let lhlo = said.replace("EHLO", "LHLO");
    for (kind, said, settings, client, answer) in [
        (Kind::Lmtp, &lhlo, &mending, None, "+ 250"),
        (Kind::Lmtp, &lhlo, &mending, Some("127.0.0.1"), "+ 250"),
        (Kind::Lmtp, &lhlo, &mending, Some(STRANGER), "550"),
        (Kind::Lmtp, &lhlo, &settings(), None, "550"),
        (Kind::Smtp, &said, &mending, Some("127.0.0.1"), "550"),
    ] {
        let mut session = session(kind, settings, client);
        let said = actions(&mut session, &[said.as_bytes()], Verdict::Accepted);
        assert!(codes(&said).ends_with(answer), "{kind:?} {client:?}");
        assert!(letters(said).iter().all(|letter| letter.raw == b"a\r\nb\r\n"));
    }
}

#[test]
fn the_room_of_a_letter_is_given_back_when_nobody_holds_it() {
    let budget = Budget::new(1 << 20);
    let client = STRANGER.parse().ok();
    let mut session = Session::new(Kind::Smtp, Arc::new(settings()), budget.clone(), client);
    let said = format!("{BEGIN}DATA\r\nx\r\n.\r\nNOOP\r\n");
    let mut rest = said.as_bytes();
    let letter = loop {
        if let Some(Action::Deliver(letter)) = session.receive(&mut rest) {
            break letter;
        }
    };
    assert!(budget.held() > 0);
    assert_eq!(session.receive(&mut rest), None, "what follows waits for the verdict");
    assert_eq!(rest, b"NOOP\r\n");
    session.delivered(Verdict::Accepted);
    assert!(budget.held() > 0, "whoever has the letter still has its room");
    drop(letter);
    assert_eq!(budget.held(), 0);
    assert_eq!(codes(&actions(&mut session, &[rest], Verdict::Accepted)), "250 250");
}

#[test]
fn strangers_find_no_memory_where_one_of_ours_does() {
    let budget = Budget::new(8 << 16);
    let others = budget.lease_of_stranger();
    assert!(others.cover(6 << 16));
    for (client, answer) in [(Some(STRANGER), "452"), (None, "+ 250"), (Some("127.0.0.1"), "+ 250")]
    {
        let client = client.map(|client| client.parse().expect("an address"));
        let connect = || Session::new(Kind::Smtp, Arc::new(settings()), budget.clone(), client);
        let said = heard(&mut connect(), &format!("{BEGIN}DATA\r\nx\r\n.\r\n"));
        assert_eq!(said, format!("220 250 250 250 354 {answer}"), "{client:?}");
        let said = heard(&mut connect(), &format!("{BEGIN}BDAT 3 LAST\r\nx\r\n"));
        assert_eq!(said, format!("220 250 250 250 {answer}"), "{client:?}");
    }
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"EHLO x\r\n",
        b"LHLO x\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<>\r\n",
        b"DATA\r\n",
        b"RCPT TO:<backoffice@jobexpert.be>\r\n",
        b"RCPT TO:<nobody@x>\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"STARTTLS\r\n",
        b"XYZZY\r\n",
        b"BDAT 3\r\n",
        b"BDAT 5\r\ntext\r",
        b"BDAT 0 LAST\r\n",
        b"BDAT 6 LAST\r\ntext\r\n",
        b"BDAT 2000\r\n",
        b"BDAT 99999\r\n",
        b"BDAT -1\r\n",
        b"MAIL FROM:<\xc3\xa9@b> SMTPUTF8\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\r\n",
        b"\r\n.\r\n",
        b"\r\n.\r\n",
        b".\r\n",
        b"..",
        b".",
        b"\r",
        b"\n",
        b"\0",
        b"\x16\x03",
        b"text",
        b"\xff\xfe",
        b" ",
    ];
    prop_oneof![
        12 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
        3 => Just([BEGIN.as_bytes(), b"DATA\r\n"].concat()),
        3 => Just([BEGIN.replace("EHLO", "LHLO").as_bytes(), b"DATA\r\n"].concat()),
        3 => Just(BEGIN.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (1usize..3000).prop_map(|length| vec![b'x'; length]),
    ]
}

proptest! {
    /// Whatever was said before, and whatever it is that failed.
    #[test]
    fn nothing_goes_on_from_a_letter_that_failed(
        kind in prop::sample::select(vec![Kind::Smtp, Kind::Lmtp]),
        before in prop::collection::vec(prop::sample::select(vec![
            "NOOP\r\n", "RSET\r\n", "VRFY x\r\n", "EHLO y\r\n", "MAIL FROM:<c@d>\r\n",
            "RCPT TO:<nobody@x>\r\n", "RCPT TO:<postmaster>\r\n", "BDAT 3\r\na\r\n",
            "DATA\r\nx\r\n.\r\n", "BDAT 0 LAST\r\n",
        ]), 0..6),
        failure in 0..failures().len(),
        next in prop::collection::vec(prop::sample::select(vec![
            ("RCPT TO:<backoffice@jobexpert.be>\r\n", "503"),
            ("DATA\r\n", "503"),
            ("BDAT 0\r\n", "503"),
            ("BDAT 5 LAST\r\nNOOP\n", "503"),
            ("NOOP\r\n", "250"),
            ("RSET\r\n", "250"),
        ]), 1..6),
    ) {
        let (settings, data, verdict) = failures().swap_remove(failure);
        let settings = Settings { soft_errors: 1000, hard_errors: 1000, ..settings };
        let mut session = session(kind, &settings, Some(STRANGER));
        let greets = |text: String| match kind {
            Kind::Smtp => text,
            Kind::Lmtp => text.replace("EHLO", "LHLO"),
        };
        actions(&mut session, &[greets(before.concat()).as_bytes()], verdict);
        let begin = greets(BEGIN.to_owned());
        let said = codes(&actions(&mut session, &[begin.as_bytes(), &data], verdict));
        prop_assert!(said.rsplit(' ').next().is_some_and(|code| code.starts_with(['4', '5'])));
        for (command, answer) in next {
            prop_assert_eq!(heard(&mut session, command), answer, "{}", command);
        }
    }

    #[test]
    fn the_cuts_between_bytes_change_nothing(
        fragments in prop::collection::vec(fragment(), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        kind in prop::sample::select(vec![Kind::Smtp, Kind::Lmtp]),
        verdict in prop::sample::select(vec![Verdict::Accepted, Verdict::TryLater]),
    ) {
        let stream = fragments.concat();
        let secure = Settings {
            tls: Some(CERTIFICATE.clone()),
            max_letter: 1000,
            max_discarded: 2500,
            ..settings()
        };
        let all = |pieces: &[&[u8]]| {
            actions(&mut session(kind, &secure, Some(STRANGER)), pieces, verdict)
        };
        let whole = all(&[&stream]);
        prop_assert_eq!(&all(&stream.chunks(1).collect::<Vec<_>>()), &whole);
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces: Vec<_> = at.windows(2).map(|two| &stream[two[0]..two[1]]).collect();
        prop_assert_eq!(&all(&pieces), &whole);
        for letter in letters(whole) {
            prop_assert!(letter.raw.len() <= 1000);
            prop_assert!(letter.raw.is_empty() || letter.raw.ends_with(b"\r\n"));
            let lines = letter.raw.split_inclusive(|&byte| byte == b'\n');
            for line in lines {
                let text = line.strip_suffix(b"\r\n").expect("every line ends with CRLF");
                prop_assert!(!text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
    }
}
