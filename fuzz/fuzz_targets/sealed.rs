//! Any bytes where files and messages are read: `tests/support/fuzz/sealed.rs` says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/fuzz/sealed.rs"]
#[allow(dead_code, reason = "one of several bodies")]
mod bodies;

fuzz_target!(|bytes: &[u8]| bodies::sealed(bytes));
