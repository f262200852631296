//! The conversation, fed with anything in pieces of any size: it never panics, and never says that
//! a letter ended where it did not.
#![no_main]

use std::sync::Arc;

use kluis::inbox::budget::Budget;
use kluis::inbox::smtp::{Action, Session};
use kluis::inbox::{Kind, Recipients, Settings, Verdict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let settings = Arc::new(Settings {
        recipients: Recipients::new(["a@b.example"], true),
        ..Settings::default()
    });
    for kind in [Kind::Smtp, Kind::Lmtp] {
        let mut session = Session::new(kind, Arc::clone(&settings), &Budget::new(1 << 20), None);
        for piece in &pieces {
            let mut rest = piece.as_slice();
            while let Some(action) = session.receive(&mut rest) {
                match action {
                    Action::Deliver(delivery) => {
                        let raw = &delivery.raw;
                        assert!(raw.is_empty() || raw.ends_with(b"\r\n"));
                        session.delivered(Verdict::Accepted);
                    }
                    Action::Close => return,
                    _ => {}
                }
            }
        }
    }
});
