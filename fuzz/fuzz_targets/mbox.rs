//! Any bytes as a mailbox: `tests/support/fuzz/mbox.rs` says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/fuzz/mbox.rs"]
#[allow(dead_code, reason = "one of several bodies")]
mod bodies;

fuzz_target!(|bytes: &[u8]| bodies::mbox(bytes));
