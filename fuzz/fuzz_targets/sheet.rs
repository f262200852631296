//! Any text is read as sheets or refused, and what is read prints again as what was read.
#![no_main]

use kluis::keys::shares;
use kluis::keys::sheet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let sheets = sheet::parse(&text).unwrap_or_default();
    for one in &sheets {
        for again in [one.lines(), one.scanned()] {
            let again = sheet::parse(&again).expect("its own lines");
            assert!(again.len() == 1 && *again[0].lines() == *one.lines());
        }
    }
    let _ = shares::combine(&sheets);
});
