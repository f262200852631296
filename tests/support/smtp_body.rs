//! What `fuzz/fuzz_targets/smtp.rs` does with its input, so that an ordinary test does the same with
//! the corpus in `tests/corpora/smtp/`.
//!
//! The first byte says who is there (a bit each: LMTP, a client of ours, the world, behind a proxy, the
//! letter is refused, TLS is wanted), the second how long the pieces are that the rest comes in.

use std::sync::Arc;

use kluis::inbox::budget::{Budget, Share};
use kluis::inbox::clients::Clients;
use kluis::inbox::proxy::{Heading, heading};
use kluis::inbox::smtp::{Action, Session};
use kluis::inbox::{Kind, Recipients, Settings, Verdict};

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
    let mut actions = Vec::new();
    for piece in [&[][..]].into_iter().chain(bytes.chunks(length)) {
        let mut rest = piece;
        while let Some(action) = session.receive(&mut rest) {
            match &action {
                Action::Deliver(delivery) => {
                    let raw = &delivery.raw;
                    assert!(raw.len() <= LETTER);
                    for line in raw.split_inclusive(|&byte| byte == b'\n') {
                        let text = line.strip_suffix(b"\r\n").expect("every line ends with CRLF");
                        assert!(!text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                    }
                    assert!(!delivery.envelope.rcpt_to.is_empty());
                    assert!(who & 4 == 0 || client.is_none() || !delivery.trusted);
                    session.delivered(verdict);
                }
                Action::StartTls(_) if rest.is_empty() => session.secured(),
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
