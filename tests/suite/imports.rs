//! Who may import whom, and who may name what: the rule of `src/lib.rs`, read off the source.
//!
//! Offences are listed as `file:line: what`. A new folder under `src/` needs a row here.

use super::tree::{self, Named};

/// What everything stands on: names, time, secrets, settings.
const GROUND: &[&str] = &["clock", "config", "ids", "lab", "secret"];
/// What the law and the letter say; in the order of import.
const DECIDING: &[&str] = &["letter", "request", "identity", "case"];
/// What rests, and how; in the order of import.
const KEEPING: &[&str] = &["keys", "vault", "ledger", "store", "upkeep"];

/// Of the modules of this crate, those that `module` may import; `None` if the rule does not know
/// it.
fn may_import(module: &str) -> Option<Vec<&'static str>> {
    let before = |row: &[&'static str]| {
        row.iter().copied().take_while(|&name| name != module).collect::<Vec<_>>()
    };
    let doors = [GROUND, DECIDING, &["casebook"]].concat();
    Some(match module {
        // The library's root only lists its modules; the program hands over to `cli`.
        "lib" => Vec::new(),
        "main" => [GROUND, &["cli"]].concat(),
        "clock" | "ids" | "lab" | "secret" => GROUND.to_vec(),
        // What can be configured is partly a matter of law: retention, what each right needs.
        "config" | "sandbox" => [GROUND, DECIDING].concat(),
        "identity" => [before(DECIDING), vec!["ids", "secret", "config", "sandbox"]].concat(),
        _ if DECIDING.contains(&module) => {
            [before(DECIDING), vec!["ids", "secret", "config"]].concat()
        }
        _ if KEEPING.contains(&module) => [GROUND.to_vec(), before(KEEPING)].concat(),
        "casebook" => [GROUND, &["sandbox"], DECIDING, KEEPING].concat(),
        "inbox" | "reply" => [doors, vec!["sandbox"]].concat(),
        "staff" => [doors, vec!["sandbox", "keys", "ledger", "vault", "reply"]].concat(),
        "cli" => {
            let sides = vec!["sandbox", "inbox", "reply", "staff", "gateway"];
            [doors, sides, vec!["keys", "ledger", "store", "upkeep"]].concat()
        }
        "gateway" => {
            [GROUND, &["sandbox"], DECIDING, KEEPING, &["casebook", "inbox", "reply"]].concat()
        }
        _ => return None,
    })
}

/// Something foreign that few may name.
struct Foreign {
    what: &'static str,
    /// Start of the paths under `src/` that the rule is about.
    within: &'static str,
    /// Starts of the paths under `src/` that may.
    homes: &'static [&'static str],
    is_named: fn(&Named<'_>) -> bool,
}

const FOREIGN: [Foreign; 7] = [
    Foreign { what: "a symmetric cipher", within: "", homes: &["vault/"], is_named: names_cipher },
    Foreign {
        what: "age",
        within: "",
        homes: &["keys/", "reply/answer"],
        is_named: |named| names_crate(named, "age") || names_crate(named, "age_core"),
    },
    Foreign {
        what: "OpenPGP",
        within: "",
        homes: &["reply/openpgp", "staff/"],
        is_named: |named| names_crate(named, "sequoia_openpgp"),
    },
    Foreign {
        what: "sled",
        within: "",
        homes: &["store/index"],
        is_named: |named| names_crate(named, "sled"),
    },
    Foreign {
        what: "another program",
        within: "",
        homes: &["sandbox", "staff/agent/process", "cli/demo", "cli/models"],
        is_named: names_program,
    },
    Foreign {
        what: "the disk past its seam",
        within: "store/",
        homes: &["store/disk/", "store/index"],
        is_named: names_disk,
    },
    Foreign {
        what: "I/O, time, randomness or async in deciding code",
        within: "",
        homes: &[
            "casebook/",
            "cli/",
            "inbox/",
            "keys/",
            "ledger/",
            "reply/",
            "staff/",
            "store/",
            "upkeep/",
            "vault/",
            "clock.rs",
            "config",
            "gateway",
            "ids.rs",
            "lab.rs",
            "lib.rs",
            "main.rs",
            "sandbox",
            "secret",
        ],
        is_named: names_outside,
    },
];

/// A crate by its name: as the start of a path, or imported. A variable called `age` is neither.
fn names_crate(named: &Named<'_>, name: &str) -> bool {
    named.segments[0] == name && (named.segments.len() > 1 || named.imported)
}

fn names_cipher(named: &Named<'_>) -> bool {
    // OpenPGP's own words for its algorithms, and TLS suites, are not calls of a cipher.
    let elsewhere = ["sequoia_openpgp", "openpgp", "rustls", "tokio_rustls"];
    let words = [
        "aead",
        "AES_128_GCM",
        "AES_256_GCM",
        "CHACHA20_POLY1305",
        "LessSafeKey",
        "aes_gcm",
        "chacha20poly1305",
        "PaddedBlockEncryptingKey",
        "UnpaddedEncryptingKey",
        "EncryptingKey",
    ];
    (named.segments.len() > 1 || named.imported)
        && !elsewhere.contains(&named.segments[0])
        && named.segments.iter().any(|segment| words.contains(segment))
}

fn names_program(named: &Named<'_>) -> bool {
    let ends = [["process", "Command"], ["Command", "new"]];
    named.segments[0] != "clap"
        && named.segments.windows(2).any(|pair| ends.iter().any(|end| pair == end))
}

/// Files by name or by descriptor. Of `std::path` the methods that look at the disk are found by
/// [`asks_a_path`].
fn names_disk(named: &Named<'_>) -> bool {
    let starts: [&[&str]; 4] =
        [&["std", "fs"], &["std", "os"], &["rustix", "fs"], &["rustix", "io"]];
    let words = ["DirBuilder", "OpenOptions", "FileExt"];
    names_crate(named, "libc")
        || named.segments.iter().any(|segment| words.contains(segment))
        || starts.iter().any(|start| named.segments.starts_with(start))
        || named.segments.first() == Some(&"fs")
}

/// The lines of code that call a method of `Path` which looks at the disk.
fn asks_a_path(code: &str) -> Vec<usize> {
    let calls = [
        ".exists()",
        ".try_exists()",
        ".metadata()",
        ".symlink_metadata()",
        ".is_file()",
        ".is_dir()",
        ".is_symlink()",
        ".read_dir()",
        ".read_link()",
        ".canonicalize()",
    ];
    let asks = |line: &str| calls.iter().any(|call| line.contains(call));
    code.lines().enumerate().filter(|(_, line)| asks(line)).map(|(i, _)| i + 1).collect()
}

fn names_outside(named: &Named<'_>) -> bool {
    let std_parts = ["env", "fs", "net", "os", "process", "thread"];
    let words = ["SystemTime", "Instant", "async", "await"];
    let crates = ["tokio", "getrandom", "libc", "rustix"];
    let standard = named.segments[0] == "std"
        && named.segments.get(1).is_some_and(|part| std_parts.contains(part));
    let word = named.segments.iter().any(|segment| words.contains(segment));
    standard || word || crates.iter().any(|name| names_crate(named, name))
}

/// The module of this crate that a path in `file` leads to.
fn leads_to<'a>(file: &str, named: &Named<'a>) -> Option<&'a str> {
    let segments = &named.segments;
    match segments[0] {
        "crate" | "kluis" => segments.get(1).copied(),
        "super" => {
            let file = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let depth = file.split('/').count();
            let supers = segments.iter().take_while(|&&segment| segment == "super").count();
            if supers >= depth { segments.get(supers).copied() } else { None }
        }
        _ => None,
    }
}

/// `file` is the path under `src/`.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// Every offence in one file, as `line: what`.
fn offences(file: &str, source: &str) -> Vec<String> {
    let module = module_of(file);
    let Some(allowed) = may_import(module) else {
        return vec![format!("1: the import rule does not know `{module}`")];
    };
    let code = tree::code(source);
    let mut found = Vec::new();
    for named in tree::paths(&code) {
        let Named { line, segments, .. } = &named;
        let path = segments.join("::");
        if let Some(target) = leads_to(file, &named)
            && target != module
            && may_import(target).is_some()
            && !allowed.contains(&target)
        {
            found.push(format!("{line}: {module} imports {target} ({path})"));
        }
        for foreign in &FOREIGN {
            if file.starts_with(foreign.within)
                && (foreign.is_named)(&named)
                && !foreign.homes.iter().any(|home| file.starts_with(home))
            {
                found.push(format!("{line}: names {} ({path})", foreign.what));
            }
        }
    }
    let seam = FOREIGN.iter().find(|foreign| foreign.within == "store/").expect("a row of its own");
    if file.starts_with(seam.within) && !seam.homes.iter().any(|home| file.starts_with(home)) {
        let asks = asks_a_path(&code);
        found.extend(asks.iter().map(|line| format!("{line}: names {} (a path)", seam.what)));
    }
    found
}

/// A file of tests alone, declared under `#[cfg(test)]` elsewhere. (Simulated days sweep as `upkeep`
/// does.)
fn is_tests(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/") || file == "store/simulated/swept.rs"
}

#[test]
fn the_source_keeps_the_import_rule() {
    let mut read = 0;
    let mut all = Vec::new();
    for (path, source) in tree::files("src") {
        let file = path.strip_prefix("src/").expect("listed under src");
        if file.ends_with(".rs") && !is_tests(file) {
            read += 1;
            all.extend(offences(file, &source).into_iter().map(|what| format!("{path}:{what}")));
        }
    }
    assert!(read > 20, "only {read} files were read");
    assert!(all.is_empty(), "the import rule of src/lib.rs is broken:\n{}", all.join("\n"));
}

#[test]
fn an_offence_is_found_wherever_it_hides() {
    let cases = [
        ("letter/mime.rs", "use crate::vault::chunk;", "1: letter imports vault"),
        ("case/mod.rs", "use crate::{ids, store::{Batch}};", "1: case imports store"),
        ("request/mod.rs", "\nfn f() { crate::keys::f() }", "2: request imports keys"),
        ("letter/mime.rs", "use crate::case::Case;", "1: letter imports case"),
        ("vault/seal.rs", "use super::super::letter::Letter;", "1: vault imports letter"),
        ("vault/mod.rs", "use super::store;", "1: vault imports store"),
        ("ledger/tree.rs", "use crate::casebook;", "1: ledger imports casebook"),
        ("gateway.rs", "use crate::staff::unlock;", "1: gateway imports staff"),
        ("inbox/smtp.rs", "use crate::store::Store;", "1: inbox imports store"),
        ("cli/keys.rs", "use crate::vault;", "1: cli imports vault"),
        ("main.rs", "use kluis::store;", "1: main imports store"),
        ("store/cabinet.rs", "use aws_lc_rs::aead;", "1: names a symmetric cipher"),
        ("staff/open.rs", "let k = ::age::x25519::Identity::generate();", "1: names age"),
        ("store/mod.rs", "use age;", "1: names age"),
        ("casebook/mod.rs", "use sequoia_openpgp as pgp;", "1: names OpenPGP"),
        ("store/packs.rs", "fn f(db: &sled::Db) {}", "1: names sled"),
        ("store/packs.rs", "use std::fs::File;", "1: names the disk past its seam"),
        ("store/mod.rs", "use std::{fs, path};", "1: names the disk past its seam"),
        ("store/log.rs", "use std::os::unix::fs::FileExt as _;", "1: names the disk past its seam"),
        ("store/check.rs", "fn f() { rustix::fs::unlink(p); }", "1: names the disk past its seam"),
        ("store/opening.rs", "fn f() { if p.exists() {} }", "1: names the disk past its seam"),
        ("cli/serve.rs", "use std::process::Command;", "1: names another program"),
        ("inbox/mod.rs", "tokio::process::Command::new(x);", "1: names another program"),
        ("letter/mod.rs", "use std::{fmt, fs};", "1: names I/O"),
        ("request/deadline.rs", "let now = std::time::SystemTime::now();", "1: names I/O"),
        ("case/mod.rs", "async fn step() {}", "1: names I/O"),
        ("identity/mod.rs", "tokio::spawn(x);", "1: names I/O"),
        ("helpers/mod.rs", "", "1: the import rule does not know `helpers`"),
    ];
    for (file, source, expected) in cases {
        let found = offences(file, source);
        let hit = found.iter().any(|what| what.starts_with(expected));
        assert!(hit, "{file}: {source}\nwanted: {expected}\nfound: {found:?}");
    }
}

#[test]
fn what_the_rule_allows_is_no_offence() {
    for (file, source) in [
        (
            "vault/seal.rs",
            "use crate::keys::epoch::EpochPublic; use super::chunk; use aws_lc_rs::aead;",
        ),
        ("casebook/mod.rs", "use crate::{case, letter, store, vault};"),
        ("keys/epoch.rs", "fn f(r: age::x25519::Recipient) {}"),
        ("reply/answer.rs", "use age::scrypt;"),
        ("reply/openpgp.rs", "use sequoia_openpgp as openpgp;"),
        ("store/index.rs", "use sled::Db;"),
        ("store/index.rs", "fn f() { if std::fs::remove_file(p).is_ok() || p.exists() {} }"),
        ("store/disk/mod.rs", "use std::fs::File; fn f() { p.try_exists() }"),
        ("store/packs.rs", "fn f(d: &Disk, p: &std::path::Path) { d.exists(p); d.length() }"),
        ("sandbox.rs", "use std::process::Command;"),
        (
            "cli/mod.rs",
            "fn f(c: clap::Command) { clap::Command::new(\"x\"); let age = 3; p.age.max(age); }",
        ),
        (
            "letter/mod.rs",
            "/// See [`crate::store`].\n#[cfg(test)]\nmod tests { use crate::vault; }",
        ),
        ("identity/mod.rs", "use crate::{letter::Letter, sandbox}; use std::fmt;"),
    ] {
        assert_eq!(offences(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}
