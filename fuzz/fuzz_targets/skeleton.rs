//! Any bytes as a skeleton: `tests/support/fuzz/letters.rs` says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/fuzz/letters.rs"]
#[allow(dead_code, reason = "one of several bodies")]
mod bodies;

fuzz_target!(|bytes: &[u8]| bodies::skeleton(bytes));
