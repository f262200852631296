//! Malware that no scanner could see on the way in: inside of encryption, in files that somebody brings.
//! It is shown to a real clamd before it is sealed, and what was not shown is held back like it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kluis::casebook::Filter;
use kluis::casebook::detail::ItemDetail;
use kluis::config::Endpoint;
use kluis::inbox::scan::Scanner;
use kluis::ledger::entry::Fact;
use kluis::letter::{Finding, Scan};
use kluis::staff::client::{Client, LetterView};
use kluis::staff::letters::AskScanner;

use crate::containers::{Entry, letter_with, zip};
use crate::opened::{armored, gpg, only_case, open_with, pgp_mime};
use crate::scan::{BAD, Clamd, run, scan_with};
use crate::way::{count, deliver, runtime, skipped};
use crate::world::{KLUIS, MAILBOX, World};

/// What a clamd says that listens there.
fn ask(socket: &Path) -> impl Fn(&[u8]) -> Scan + use<> {
    let runtime = runtime();
    let scanner = Scanner::new(Endpoint::Unix(socket.to_owned()), Duration::from_secs(20), 1 << 20);
    move |content: &[u8]| runtime.block_on(scanner.scan(content))
}

/// Of each item by its name, or else its type, what the scanner said.
fn said(client: &mut Client, letter: &LetterView) -> Vec<(String, Option<Scan>)> {
    let detail = letter.detail.as_ref().expect("opens");
    let ids: Vec<_> = detail.items.iter().map(|item| item.id).collect();
    let views = client.look(&ids).expect("opens");
    let said = |view: &kluis::staff::client::ItemView| match &view.detail {
        ItemDetail::Leaf(leaf) => {
            let name = String::from_utf8_lossy(view.name.expose()).into_owned();
            (if name.is_empty() { view.media_type.clone() } else { name }, leaf.scan)
        }
        ItemDetail::Skeleton(_) => unreachable!("no card is the skeleton's"),
    };
    views.iter().map(said).collect()
}

fn findings(letter: &LetterView) -> Vec<Finding> {
    let all = &letter.detail.as_ref().expect("opens").findings;
    let of_scans = |one: &&Finding| matches!(one, Finding::Infected | Finding::NotScanned);
    all.iter().filter(of_scans).copied().collect()
}

/// A letter with an archive of two files, one of them bad.
fn with_archive() -> Vec<u8> {
    let archive = zip(&[Entry::new(b"good.txt", b"nothing"), Entry::new(b"bad.exe", BAD)]);
    letter_with("application/zip", "a.zip", &archive)
}

#[test]
fn what_was_inside_of_encryption_is_scanned_at_the_desk_and_leaves_like_anything_else() {
    let test = "malware inside of encryption";
    let Some(clamd) = Clamd::start() else { return skipped(test, "clamd is not installed") };
    let (world, runtime) = (World::found(), runtime());
    let Some(gpg) = gpg(&world, test) else { return };
    scan_with(&world, &clamd.socket());
    let server = runtime.block_on(world.serve());
    let encrypted = pgp_mime("...", &armored(&gpg, &["-r", MAILBOX], &with_archive()));
    assert_eq!(deliver(&server, false, &[MAILBOX], &encrypted), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna);
    let clean = |name: &str| (name.to_owned(), Some(Scan::Clean));
    assert!(said(&mut anna, &case.letters[0]).iter().all(|(_, scan)| *scan == Some(Scan::Clean)));
    assert_eq!(findings(&case.letters[0]), [], "nobody can see into it");
    let ask = ask(&clamd.socket());
    open_with(&mut anna, Some(&ask as &AskScanner<'_>), &case).expect("opens");
    let case = only_case(&mut anna);
    let inner = &case.letters[1];
    let bad = |name: &str| (name.to_owned(), Some(Scan::Infected));
    assert_eq!(
        said(&mut anna, inner),
        [clean("text/plain"), bad("a.zip"), clean("good.txt"), bad("bad.exe")]
    );
    assert_eq!(findings(inner), [Finding::Infected]);

    let ids: Vec<String> = inner
        .detail
        .as_ref()
        .expect("opens")
        .items
        .iter()
        .map(|card| card.id.to_string())
        .collect();
    let to = world.root.path().join("taken");
    let get = |id: &str| ["get", id, "-o", to.to_str().expect("text")].map(str::to_owned);
    for (nr, code) in [(1, 1), (3, 1), (2, 0)] {
        let arguments = get(&ids[nr]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (found, answer) = run(&world, &arguments);
        assert_eq!(found, code, "{nr}: {answer}");
        assert_eq!(to.exists(), code == 0, "{nr}");
        let _ = std::fs::remove_file(&to);
    }
    assert_eq!(count(&server, Fact::WarningOverridden), 0);
    let arguments = get(&ids[3]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_eq!(run(&world, &[&arguments[..], &["--despite-scan"]].concat()).0, 0);
    assert!(std::fs::read(&to).expect("is read") == BAD);
    assert_eq!(count(&server, Fact::WarningOverridden), 1);
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn what_no_scanner_of_the_desk_saw_is_asked_about_again_where_letters_are_scanned_at_all() {
    let test = "malware inside of encryption, later";
    let Some(clamd) = Clamd::start() else { return skipped(test, "clamd is not installed") };
    for scans in [true, false] {
        let (world, runtime) = (World::found(), runtime());
        let Some(gpg) = gpg(&world, test) else { return };
        if scans {
            scan_with(&world, &clamd.socket());
        }
        let server = runtime.block_on(world.serve());
        let encrypted = pgp_mime("...", &armored(&gpg, &["-r", MAILBOX], &with_archive()));
        assert_eq!(deliver(&server, false, &[MAILBOX], &encrypted), [250]);
        let mut anna = world.log_in("anna").expect("logs in");
        let case = only_case(&mut anna);
        open_with(&mut anna, None, &case).expect("opens");
        let case = only_case(&mut anna);
        let expected = scans.then_some(Scan::NotScanned);
        let told: Vec<_> = said(&mut anna, &case.letters[1]);
        assert!(told.iter().all(|(_, scan)| *scan == expected), "{told:?}");
        let told = if scans { &[Finding::NotScanned][..] } else { &[] };
        assert_eq!(findings(&case.letters[1]), told);
        let items = &case.letters[1].detail.as_ref().expect("opens").items;
        let socket = clamd.socket();
        let socket = socket.to_str().expect("text");
        // The good one, the bad one, and both where no scanner answers.
        for (nr, place, code) in [
            (2, socket, 0),
            (3, socket, i32::from(scans)),
            (2, "/nowhere/clamd.ctl", i32::from(scans)),
        ] {
            let to = world.root.path().join(format!("{nr}{}", place.len()));
            let id = items[nr].id.to_string();
            let to = to.to_str().expect("text");
            let (found, answer) = run(&world, &["get", &id, "-o", to, "--clamd", place]);
            assert_eq!(found, code, "{nr} {place} {scans}: {answer}");
        }
        drop(anna);
        runtime.block_on(server.stop());
    }
}

/// Runs `kluis COMMAND --dir VAULT FILES`, which must do it all.
fn brings(world: &World, command: &str, files: &[&Path]) {
    let output = Command::new(KLUIS)
        .args(["--json", command, "--dir"])
        .arg(world.state())
        .args(files.iter().map(|file| file.as_os_str()).collect::<Vec<&OsStr>>())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_brought_in_from_files_is_scanned_like_what_comes_by_mail() {
    let test = "malware in files";
    let Some(clamd) = Clamd::start() else { return skipped(test, "clamd is not installed") };
    // By a program that has the vault for itself, and by the server that serves it.
    for served in [false, true] {
        let (world, runtime) = (World::found(), runtime());
        scan_with(&world, &clamd.socket());
        let server = served.then(|| runtime.block_on(world.serve()));
        let file = |name: &str, content: &[u8]| {
            let path = world.root.path().join(name);
            std::fs::write(&path, content).expect("is written");
            path
        };
        let mut mbox = b"From a@b.example Mon Nov  2 10:00:00 2026\n".to_vec();
        mbox.extend(with_archive().iter().filter(|byte| **byte != b'\r'));
        let mbox = file("old.mbox", &mbox);
        let (good, bad) = (file("good.pdf", b"%PDF-1.4 good"), file("bad.pdf", BAD));
        let long = file("long.pdf", &[b"%PDF-1.4".as_slice(), &vec![b'x'; 3 << 20], BAD].concat());
        brings(&world, "import", &[&mbox]);
        brings(&world, "import", &[&good, &long]);
        brings(&world, "put", &[&good, &bad]);
        let server = server.unwrap_or_else(|| runtime.block_on(world.serve()));
        let mut anna = world.log_in("anna").expect("logs in");
        let mut told = Vec::new();
        for case in anna.queue(Filter::All).expect("lists") {
            for letter in &case.letters {
                let all = said(&mut anna, letter);
                assert!(all.iter().all(|(_, scan)| scan.is_some()), "{all:?}");
                let is_bad = all.iter().any(|(_, scan)| *scan == Some(Scan::Infected));
                assert_eq!(findings(letter).contains(&Finding::Infected), is_bad, "{all:?}");
                told.extend(all.into_iter().filter(|(_, scan)| *scan == Some(Scan::Infected)));
            }
        }
        let mut names: Vec<String> = told.into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, ["a.zip", "bad.exe", "bad.pdf", "long.pdf"], "served: {served}");
        drop(anna);
        runtime.block_on(server.stop());
    }
}

#[test]
fn while_clamd_is_away_files_are_taken_all_the_same_and_marked() {
    let (world, runtime) = (World::found(), runtime());
    scan_with(&world, &world.root.path().join("nobody.ctl"));
    let path = world.root.path().join("a.pdf");
    std::fs::write(&path, b"%PDF-1.4").expect("is written");
    brings(&world, "import", &[&path]);
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna);
    assert_eq!(said(&mut anna, &case.letters[0]), [("a.pdf".to_owned(), Some(Scan::NotScanned))]);
    assert_eq!(findings(&case.letters[0]), [Finding::NotScanned]);
    drop(anna);
    runtime.block_on(server.stop());
}
