//! The conversation, with chunks and behind a proxy, fed with anything in pieces of any size: it never
//! panics, and never says that a letter ended where it did not.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/smtp_body.rs"]
mod smtp_body;

fuzz_target!(|input: &[u8]| smtp_body::run(input));
