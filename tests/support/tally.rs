//! Adds what a long run counted to a file, one line of JSON a run, so that interrupted runs add up:
//! `KLUIS_TALLY` names it (`make soak` does).
#![allow(dead_code, reason = "a release build has fewer tests than a lab build")]

use std::fs::File;
use std::io::Write as _;

/// Appends the counts of one run; nothing if no file is named.
pub(crate) fn tally(harness: &str, counts: &[(&str, u64)]) {
    let Some(path) = std::env::var_os("KLUIS_TALLY") else { return };
    let mut line = serde_json::json!({ "harness": harness, "runs": 1 });
    for (what, count) in counts {
        line[what] = (*count).into();
    }
    // One write: two harnesses at once do not mix their lines.
    let mut file = File::options().create(true).append(true).open(path).expect("the tally opens");
    file.write_all(format!("{line}\n").as_bytes()).expect("the tally takes a line");
}
