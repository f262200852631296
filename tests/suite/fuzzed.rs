//! The bodies of the fuzz targets, over the committed corpus: what a campaign found once is held to
//! for ever, on every machine.

use std::path::{Path, PathBuf};

use crate::fuzz::TARGETS;
use crate::tree;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|_| panic!("{}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// What must hold for any bytes holds for those of this target's corpus, and for their beginnings.
fn holds(target: &str) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let files = files(&tree::root().join("tests/corpora").join(target));
    assert!(files.len() >= 3, "{target} has {}", files.len());
    for file in files {
        let bytes = std::fs::read(&file).expect("can be read");
        // Where it fails, the file is named.
        println!("{}", file.display());
        body(&bytes);
        for length in [0, bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            body(&bytes[..length]);
        }
    }
}

/// A test for each target.
macro_rules! corpora {
    ($($target:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($target)),*];
        $(#[test]
        fn $target() {
            holds(stringify!($target));
        })*
    };
}

corpora! { archive headers imap letter mbox page people report sealed sheet skeleton tnef zone }

#[test]
fn every_body_is_a_target_that_make_fuzz_runs() {
    let read = |file: &str| std::fs::read_to_string(tree::root().join(file)).expect("is there");
    let manifest = read("fuzz/Cargo.toml");
    let listed: Vec<_> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .collect();
    let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, TESTED, "each has a test");
    for name in names {
        assert!(listed.contains(&name), "{name} is a target");
        let target = read(&format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(target.contains(&format!("bodies::{name}(bytes)")), "{name}");
    }
    assert!(read(".ci/fuzz").contains("cargo") && read("Makefile").contains(".ci/fuzz"));
}
