//! What `fuzz/fuzz_targets/smtp.rs` does with its input, so that an ordinary test does the same with
//! the corpus in `tests/corpora/smtp/`.
//!
//! The first byte says who is there (a bit each: LMTP, a client of ours, the world, behind a proxy, the
//! letter is refused, TLS is offered, the client waits for the handshake), the second how long the
//! pieces are that the rest comes in.
//!
//! A witness reads along: by the bytes that each answer took it says anew what a letter is, and holds
//! the conversation to it.

use std::sync::{Arc, LazyLock};

use kluis::inbox::budget::{Budget, Share};
use kluis::inbox::clients::Clients;
use kluis::inbox::proxy::{Heading, heading};
use kluis::inbox::smtp::{Action, Session};
use kluis::inbox::{Delivery, Kind, Recipients, Settings, Verdict};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::ResolvesServerCertUsingSni;

/// The longest letter here, and the most that is thrown away.
const LETTER: usize = 4_096;
const DISCARDED: usize = 16_384;

/// Feeds the input to a conversation, in pieces and at once. Panics where it finds a fault.
pub(crate) fn run(input: &[u8]) {
    let [who, length, rest @ ..] = input else { return };
    let mut rest = rest;
    if who & 8 != 0 {
        let Some(behind) = behind_header(rest) else { return };
        rest = behind;
    }
    let whole = talk(*who, rest, rest.len().max(1));
    let pieces = talk(*who, rest, usize::from(*length).max(1));
    assert!(whole == pieces, "the cuts between bytes change something");
}

/// What comes behind the header of a proxy; none without one. The header is found in the same place
/// however much comes behind it.
fn behind_header(bytes: &[u8]) -> Option<&[u8]> {
    let said = heading(bytes);
    for at in 0..bytes.len().min(600) {
        match (heading(&bytes[..at]), said) {
            (Heading::Unfinished, _) => {}
            (Heading::Client(length, _), Heading::Client(same, _)) => {
                assert!(length == same && length <= at);
            }
            (Heading::Malformed, Heading::Malformed) => {}
            (early, late) => panic!("{early:?} after {at} bytes, then {late:?}"),
        }
    }
    match said {
        Heading::Client(length, _) => Some(&bytes[length..]),
        Heading::Unfinished | Heading::Malformed => None,
    }
}

/// Everything that a conversation does with these bytes.
fn talk(who: u8, bytes: &[u8], length: usize) -> Vec<Action> {
    let settings = Settings {
        recipients: Recipients::new(["a@b.example", "\u{e9}@b.example"], true),
        max_letter: LETTER,
        max_discarded: DISCARDED,
        tls: (who & 32 != 0).then(|| Arc::clone(&TLS)),
        ..Settings::default()
    };
    let kind = if who & 1 == 0 { Kind::Smtp } else { Kind::Lmtp };
    let client = (who & 2 == 0).then(|| "192.0.2.7".parse().expect("an address"));
    let verdict = if who & 16 == 0 { Verdict::Accepted } else { Verdict::TryLater };
    let budget = Budget::new(1 << 20);
    let mut session = Session::new(kind, Arc::new(settings), budget.clone(), client);
    if let Some(address) = client.filter(|_| who & 4 != 0) {
        session = session.from_the_world(Clients::default().ration(address, 60));
    }
    let mut witness = Witness { kind, verdict, ..Witness::new() };
    let mut actions = Vec::new();
    let (mut taken, mut told) = (0, 0);
    for piece in [&[][..]].into_iter().chain(bytes.chunks(length)) {
        let mut rest = piece;
        loop {
            let before = rest.len();
            let action = session.receive(&mut rest);
            taken += before - rest.len();
            let Some(action) = action else { break };
            witness.hears(&bytes[told..taken], &action);
            told = taken;
            match &action {
                Action::Deliver(delivery) => {
                    assert!(delivery.raw.len() <= LETTER);
                    assert!(who & 4 == 0 || client.is_none() || !delivery.trusted);
                    session.delivered(verdict);
                }
                Action::StartTls(_) if who & 64 != 0 || taken == bytes.len() => session.secured(),
                _ => {}
            }
            let is_end = action == Action::Close;
            actions.push(action);
            if is_end {
                assert!(session.receive(&mut rest).is_none(), "closed is closed");
            }
        }
    }
    drop(session);
    for action in &mut actions {
        if let Action::Deliver(delivery) = action {
            delivery.share = Share::default();
        }
    }
    assert_eq!(budget.held(), 0, "room that is never given back");
    actions
}

/// TLS that nobody can speak: no handshake happens here.
static TLS: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    Arc::new(config)
});

/// Reads along, and knows what the standard says: who may send a letter when, where it ends, which
/// bytes it has, how often it is answered.
struct Witness {
    kind: Kind,
    verdict: Verdict,
    has_sender: bool,
    recipients: usize,
    /// Between 354 and what became of the letter.
    in_data: bool,
    /// The chunks of a letter so far.
    chunks: Vec<u8>,
    /// A letter was handed over and not answered.
    owes: bool,
    /// Handed over between STARTTLS and the handshake, or after an end, nothing counts.
    is_over: bool,
}

impl Witness {
    fn new() -> Self {
        Self {
            kind: Kind::Smtp,
            verdict: Verdict::Accepted,
            has_sender: false,
            recipients: 0,
            in_data: false,
            chunks: Vec::new(),
            owes: false,
            is_over: false,
        }
    }

    fn reset(&mut self) {
        self.has_sender = false;
        self.recipients = 0;
        self.chunks.clear();
    }

    /// `bytes` were taken since the action before this one.
    fn hears(&mut self, bytes: &[u8], action: &Action) {
        assert!(!self.is_over, "after the end");
        self.is_over = *action == Action::Close;
        if let Action::Reply(reply) = action {
            assert!(reply.ends_with(b"\r\n"));
            for line in reply[..reply.len() - 2].split(|&byte| byte == b'\n') {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                assert!(line[..3].iter().all(u8::is_ascii_digit));
                assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)), "an echo");
            }
        }
        if self.owes {
            self.hears_answer(bytes, action);
        } else if self.in_data {
            self.hears_letter(bytes, action);
        } else if !bytes.is_empty() {
            self.hears_command(bytes, action);
        }
    }

    /// One answer for a letter, or one for each recipient, and 250 only if it is kept.
    fn hears_answer(&mut self, bytes: &[u8], action: &Action) {
        let Action::Reply(reply) = action else { panic!("no answer, {action:?}") };
        assert!(bytes.is_empty(), "the answer waits for nothing");
        let lines: Vec<_> = reply.split_inclusive(|&byte| byte == b'\n').collect();
        assert_eq!(lines.len(), if self.kind == Kind::Smtp { 1 } else { self.recipients });
        let is_kept = self.verdict == Verdict::Accepted;
        assert!(lines.iter().all(|line| line.starts_with(b"250 ") == is_kept));
        self.owes = false;
        self.reset();
    }

    fn hears_letter(&mut self, bytes: &[u8], action: &Action) {
        self.in_data = false;
        match action {
            Action::Deliver(delivery) => {
                let (letter, behind) = undotted(bytes).expect("its end");
                assert!(behind.is_empty(), "it ends where it ends");
                self.hears_delivery(delivery, &letter);
            }
            Action::Reply(reply) => {
                assert!(matches!(reply[0], b'4' | b'5'), "what is not handed over is not kept");
                self.reset();
            }
            _ => assert_eq!(*action, Action::Close),
        }
    }

    fn hears_delivery(&mut self, delivery: &Delivery, letter: &[u8]) {
        assert!(self.has_sender && self.recipients > 0, "a letter out of turn");
        assert_eq!(delivery.envelope.rcpt_to.len(), self.recipients);
        assert!(delivery.raw == letter, "other bytes than came");
        for line in letter.split_inclusive(|&byte| byte == b'\n') {
            let text = line.strip_suffix(b"\r\n").expect("every line ends with CRLF");
            assert!(!text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        }
        self.owes = true;
    }

    fn hears_command(&mut self, bytes: &[u8], action: &Action) {
        let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
        let (line, behind) = bytes.split_at(end);
        // What is no text is refused as it stands, whatever it begins with.
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let is_text = text.iter().all(|byte| (b' '..=b'~').contains(byte));
        let line = String::from_utf8_lossy(line).trim_end().to_ascii_uppercase();
        let said = match action {
            Action::Reply(reply) => reply[0],
            _ => b'-',
        };
        if line.trim_start().starts_with("BDAT") {
            return self.hears_chunk(&line, behind, action);
        }
        assert!(!matches!(action, Action::Deliver(_)), "a letter that is none");
        assert!(behind.is_empty(), "one answer to two lines");
        let verb = line.split(' ').next().unwrap_or_default();
        match (verb, said) {
            ("MAIL", b'2') => (self.has_sender, self.recipients) = (true, 0),
            ("RCPT", b'2') => {
                assert!(self.has_sender && self.chunks.is_empty());
                self.recipients += 1;
            }
            ("DATA", b'3') => {
                assert!(self.has_sender && self.recipients > 0 && self.chunks.is_empty());
                self.in_data = true;
            }
            ("DATA", _) if is_text => self.reset(),
            ("RSET" | "HELO" | "EHLO" | "LHLO", b'2') => self.reset(),
            (_, b'3') => panic!("354 to {verb}"),
            _ if matches!(action, Action::StartTls(_)) => self.reset(),
            _ => {}
        }
    }

    fn hears_chunk(&mut self, line: &str, chunk: &[u8], action: &Action) {
        let announced = || line.split_ascii_whitespace().nth(1)?.parse::<usize>().ok();
        let is_last = line.ends_with("LAST");
        match action {
            Action::Deliver(delivery) => {
                assert!(is_last && announced() == Some(chunk.len()), "it ends where it is said");
                let mut letter = std::mem::take(&mut self.chunks);
                letter.extend_from_slice(chunk);
                if !letter.is_empty() && !letter.ends_with(b"\r\n") {
                    letter.extend_from_slice(b"\r\n");
                }
                self.hears_delivery(delivery, &letter);
            }
            Action::Reply(reply) if reply[0] == b'2' => {
                assert!(!is_last && announced() == Some(chunk.len()));
                assert!(self.has_sender && self.recipients > 0);
                self.chunks.extend_from_slice(chunk);
            }
            _ => self.reset(),
        }
    }
}

/// The letter at the start of what comes after 354, its dots taken out, and what stands behind its
/// end; nothing if it has none.
fn undotted(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut letter = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
        let (line, behind) = bytes.split_at(end);
        if line == b".\r\n" {
            return Some((letter, behind));
        }
        letter.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        bytes = behind;
    }
}
