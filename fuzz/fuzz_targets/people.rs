//! Any bytes as a list of people: `tests/support/fuzz/people.rs` says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/fuzz/people.rs"]
mod bodies;

fuzz_target!(|bytes: &[u8]| bodies::people(bytes));
