//! Any text is read as sheets or refused, and what is read prints again as what was read.

use kluis::keys::shares;
use kluis::keys::sheet;

/// The body.
pub(crate) fn sheet(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let sheets = sheet::parse(&text).unwrap_or_default();
    for one in &sheets {
        for again in [one.lines(), one.scanned()] {
            let again = sheet::parse(&again).expect("its own lines");
            assert!(again.len() == 1 && *again[0].lines() == *one.lines());
        }
    }
    let _ = shares::combine(&sheets);
}
