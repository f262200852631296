//! Any text as a zone: `tests/support/fuzz/zone.rs` says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/fuzz/zone.rs"]
mod bodies;

fuzz_target!(|bytes: &[u8]| bodies::zone(bytes));
