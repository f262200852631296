//! Any bytes as what an IMAP server says: `tests/support/fuzz/imap.rs` says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/fuzz/imap.rs"]
#[allow(dead_code, reason = "one of several bodies")]
mod bodies;

fuzz_target!(|bytes: &[u8]| bodies::imap(bytes));
