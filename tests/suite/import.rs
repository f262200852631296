//! What comes from files: mailboxes of every dialect, Maildirs, mails, documents. All of it goes in
//! once and comes out byte for byte, through the program as people use it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kluis::casebook::Filter;
use kluis::casebook::import::wire::Said;
use kluis::casebook::protocol::{self, Request};
use kluis::casebook::state::days;
use kluis::inbox::import::mbox::{Dialect, Message, Messages};
use kluis::ledger::entry::Fact;
use kluis::letter::{Finding, Source};
use kluis::staff::client::{CaseView, Client};
use kluis::store::Store;
use proptest::prelude::*;
use serde_json::Value;

use crate::way::{count, entries, raw, runtime, skipped};
use crate::world::{KLUIS, World};

/// Runs `kluis` on the vault of this world; gives exit code and JSON.
fn kluis(world: &World, command: &str, arguments: &[&OsStr]) -> (i32, Value) {
    let output = spawn(world, command, arguments).wait_with_output().expect("ends");
    let code = output.status.code().expect("it was not killed");
    (code, json(&output))
}

fn spawn(world: &World, command: &str, arguments: &[&OsStr]) -> Child {
    Command::new(KLUIS)
        .args(["--json", command, "--dir"])
        .arg(world.state())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

fn json(output: &Output) -> Value {
    let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    serde_json::from_slice(text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(text)))
}

/// Imports these paths; all of it must be taken, so many new and so many there already.
fn imports(world: &World, paths: &[&Path], taken: u64, there: u64) -> Value {
    let paths: Vec<&OsStr> = paths.iter().map(|path| path.as_os_str()).collect();
    let (code, value) = kluis(world, "import", &paths);
    assert_eq!((code, &value["problems"]), (0, &serde_json::json!([])), "{value}");
    assert_eq!((value["taken"].as_u64(), value["there"].as_u64()), (Some(taken), Some(there)));
    value
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

fn folder(world: &World, name: &str) -> PathBuf {
    let path = world.root.path().join(name);
    std::fs::create_dir_all(&path).expect("a folder");
    path
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("written");
}

fn packs(world: &World) -> BTreeSet<(PathBuf, u64)> {
    let listed = std::fs::read_dir(world.state().join("packs")).expect("listed");
    listed
        .map(|entry| {
            let entry = entry.expect("an entry");
            (entry.path(), entry.metadata().expect("a file").len())
        })
        .collect()
}

/// Bytes that say nothing, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A mail as a server stored it, received on this second of 2 November 2026.
fn mail(n: u64, body: &str) -> Vec<u8> {
    format!(
        "Return-Path: <lotte{n}@example.org>\nReceived: from a by b; Mon, 2 Nov 2026 10:11:{:02} \
         +0000\nFrom: Lotte <lotte{n}@example.org>\nSubject: letter {n}\n\n{body}\n",
        n % 60
    )
    .into_bytes()
}

/// Every document of every case by its name, taken out.
fn documents(client: &mut Client) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let cases = client.queue(Filter::All).expect("lists");
    let details = cases.iter().flat_map(|case| case.letters.iter().map(|letter| &letter.detail));
    let ids: Vec<_> = details
        .flat_map(|detail| detail.as_ref().expect("opens").items.iter().map(|card| card.id))
        .collect();
    let views = client.look(&ids).expect("opens");
    views.iter().map(|view| (view.name.expose().clone(), view.content().to_vec())).collect()
}

fn raws(client: &mut Client, cases: &[CaseView]) -> BTreeSet<Vec<u8>> {
    cases.iter().map(|case| raw(client, case)).collect()
}

// What a mailbox is cut into.

fn dialect(name: &str) -> Dialect {
    match name {
        "Mboxo" => Dialect::Mboxo,
        "Mboxrd" => Dialect::Mboxrd,
        "Mboxcl" => Dialect::Mboxcl,
        "Mboxcl2" => Dialect::Mboxcl2,
        other => panic!("{other} is no dialect"),
    }
}

fn messages(file: &[u8], limit: u64, forced: Option<Dialect>) -> (Dialect, Vec<Message>) {
    let length = file.len() as u64;
    let mut messages = Messages::open(Cursor::new(file), length, limit, forced).expect("opens");
    let mut all = Vec::new();
    while let Some(message) = messages.next().expect("is read") {
        all.push(message);
    }
    assert_eq!(messages.position(), length, "it is read to its end");
    (messages.dialect(), all)
}

/// A message as the golden files have it: each byte is the character of its number.
fn as_golden(message: &Message) -> Value {
    let text = |bytes: &[u8]| bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
    serde_json::json!({
        "raw": text(message.raw.as_ref().expect("is not too long")),
        "doubt": message.doubt,
        "sender": text(&message.sender),
        "seconds": message.seconds,
    })
}

#[test]
fn every_dialect_gives_its_messages_as_they_were_written() {
    let mut files = 0;
    for entry in std::fs::read_dir(corpus()).expect("the corpus") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "mbox") {
            continue;
        }
        files += 1;
        let file = std::fs::read(&path).expect("is read");
        let golden = std::fs::read(path.with_extension("json")).expect("is beside it");
        let golden: Value = serde_json::from_slice(&golden).expect("is JSON");
        let (told, all) = messages(&file, 1 << 20, None);
        let name = path.display();
        assert_eq!(told, dialect(golden["told"].as_str().expect("a name")), "{name}");
        assert_eq!(all.iter().map(as_golden).collect::<Value>(), golden["messages"], "{name}");
        for (forced, expected) in golden["forced"].as_object().expect("an object") {
            let (_, all) = messages(&file, 1 << 20, Some(dialect(forced)));
            assert_eq!(all.iter().map(as_golden).collect::<Value>(), *expected, "{name} {forced}");
        }
    }
    assert!(files >= 12, "{files} mailboxes");
}

/// What is in no message must be a `From ` line or a blank one.
fn nothing_is_lost(file: &[u8]) -> Result<(), TestCaseError> {
    // Lines are taken off their `>` in a file of this dialect alone.
    for forced in [Some(Dialect::Mboxcl2), Some(Dialect::Mboxrd), None] {
        let (told, all) = messages(file, u64::MAX, forced);
        let mut at = 0;
        for message in &all {
            let (start, end) = (message.start as usize, (message.start + message.length) as usize);
            prop_assert!(at <= message.offset as usize && message.offset <= message.start);
            for line in file[at..start].split_inclusive(|&byte| byte == b'\n') {
                let is_ours = line.starts_with(b"From ") || line.trim_ascii().is_empty();
                prop_assert!(is_ours, "{:?} is lost", String::from_utf8_lossy(line));
            }
            let raw = message.raw.as_ref().expect("there is no limit");
            if told == Dialect::Mboxrd {
                prop_assert!(raw.len() <= end - start);
            } else {
                prop_assert!(raw == &file[start..end]);
            }
            at = end;
        }
        prop_assert!(file[at..].iter().all(u8::is_ascii_whitespace));
        // A limit changes what is kept of a message, not where it is.
        let (_, short) = messages(file, 40, Some(told));
        let places = |all: &[Message]| all.iter().map(|m| (m.start, m.length)).collect::<Vec<_>>();
        prop_assert_eq!(places(&short), places(&messages(file, u64::MAX, Some(told)).1));
        prop_assert!(short.iter().all(|m| m.raw.is_some() == (m.length <= 40)));
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_byte_of_a_mailbox_is_lost(lines in prop::collection::vec(prop_oneof![
        Just("From a@b.example Mon Nov  2 10:11:12 2026\n".to_owned()),
        Just("From the text\n".to_owned()),
        Just("\n".to_owned()), Just("\r\n".to_owned()), Just(">From x\n".to_owned()),
        Just(">>From x\n".to_owned()), Just("Subject: x\n".to_owned()), Just("end".to_owned()),
        (0u64..120).prop_map(|n| format!("Content-Length: {n}\n")),
        "[a-z \\x00>]{0,20}\n",
    ], 0..40)) {
        nothing_is_lost(lines.concat().as_bytes())?;
    }
}

#[test]
fn no_byte_of_the_golden_mailboxes_is_lost() {
    for entry in std::fs::read_dir(corpus()).expect("the corpus") {
        let file = std::fs::read(entry.expect("an entry").path()).expect("is read");
        nothing_is_lost(&file).expect("nothing is lost");
    }
}

// What goes into the vault, and comes out.

#[test]
fn a_mailbox_goes_in_once_and_comes_out_byte_for_byte() {
    let (world, runtime) = (World::found(), runtime());
    let mut expected = BTreeSet::new();
    for name in ["mboxrd", "mboxcl2", "any-byte"] {
        let file = std::fs::read(corpus().join(name).with_extension("mbox")).expect("is read");
        let raws = messages(&file, 1 << 20, None).1.into_iter().filter_map(|m| m.raw);
        expected.extend(raws);
    }
    let files =
        ["mboxrd", "mboxcl2", "any-byte"].map(|name| corpus().join(name).with_extension("mbox"));
    let files = files.each_ref().map(|file| file.as_path());
    imports(&world, &files, 7, 0);
    let before = packs(&world);
    imports(&world, &files, 0, 7);
    assert_eq!(packs(&world), before, "nothing was written");
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    assert!(raws(&mut anna, &cases) == expected);
    let detail = cases[0].letters[0].detail.as_ref().expect("opens");
    assert_eq!(detail.envelope.source, Source::File);
    assert!(detail.envelope.mail_from.expose().starts_with("sender"));
    assert_eq!(count(&server, Fact::CaseOpened), 7);
    assert_eq!(count(&server, Fact::NoticeDue), 0, "nobody is sent a notice");
    runtime.block_on(server.stop());
}

#[test]
fn a_maildir_and_single_mails_are_letters_and_files_are_documents() {
    let (world, runtime) = (World::found(), runtime());
    let top = folder(&world, "scans");
    let mails = [1, 2, 3, 4].map(|n| mail(n, "graag inzage"));
    write(&top.join("box/cur/1793614000.M1.host:2,FS"), &mails[0]);
    write(&top.join("box/new/1793614001.M2.host"), &mails[1]);
    write(&top.join("box/.Sent Items/cur/1793614002.M3.host:2,"), &mails[2]);
    for empty in ["box/.Sent Items/new", "box/tmp", "box/.Sent Items/tmp"] {
        std::fs::create_dir_all(top.join(empty)).expect("a folder");
    }
    write(&top.join("box/tmp/1793614003.M4.host"), b"not delivered yet");
    write(&top.join("box/dovecot-uidlist"), b"3 V1 N1\n");
    write(&top.join("mails/four.EML"), &mails[3]);
    let odd = OsStr::from_bytes(b"r\xe9sum\xe9 \x1b[2J.pdf");
    let papers = [
        (b"jan/id.jpg".to_vec(), [b"\xff\xd8\xff".to_vec(), noise(1, 300_000)].concat()),
        (b"piet/id.jpg".to_vec(), [b"\xff\xd8\xff".to_vec(), noise(1, 300_000)].concat()),
        ([b"jan/", odd.as_bytes()].concat(), b"%PDF-1.7 a letter".to_vec()),
        (b"empty".to_vec(), Vec::new()),
    ];
    for (name, content) in &papers {
        write(&top.join(OsStr::from_bytes(name)), content);
    }
    std::os::unix::fs::symlink("/etc/passwd", top.join("link")).expect("a link");
    let value = imports(&world, &[&top], 8, 0);
    assert_eq!(value["remarks"].as_array().expect("a list").len(), 1, "the link: {value}");
    imports(&world, &[&top], 0, 8);
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    assert_eq!(cases.len(), 8);
    let is_mail =
        |case: &&CaseView| case.letters[0].detail.as_ref().expect("opens").skeleton.is_some();
    let letters: Vec<CaseView> = cases.into_iter().filter(|case| is_mail(&case)).collect();
    assert!(raws(&mut anna, &letters) == mails.into());
    // One chunk serves both copies of the card; the short ones stand alone.
    let chunks: BTreeSet<_> = documents(&mut anna)
        .into_iter()
        .filter(|(name, _)| papers.iter().any(|(known, _)| known == name))
        .collect();
    assert!(chunks == papers.into(), "names and contents, bit for bit");
    runtime.block_on(server.stop());
}

#[test]
fn the_clock_counts_from_the_day_of_receipt() {
    let (world, runtime) = (World::found(), runtime());
    let date = |text: &str| text.parse::<jiff::civil::Date>().expect("a date");
    let eml = world.root.path().join("one.eml");
    write(&eml, &mail(1, "graag inzage"));
    let told = imports(&world, &[&eml], 1, 0);
    write(&eml, &mail(2, "graag inzage"));
    let arguments = ["--received", "2026-10-01"].map(OsStr::new);
    let (_, ordered) = kluis(&world, "import", &[arguments[0], arguments[1], eml.as_os_str()]);
    let future = ["--received", "2999-10-01"].map(OsStr::new);
    let (code, _) = kluis(&world, "import", &[future[0], future[1], eml.as_os_str()]);
    assert_eq!(code, 2);
    write(
        &eml,
        b"Received: by a; Mon, 2 Nov 2998 10:11:12 +0000\nSubject: ahead of its time\n\nx\n",
    );
    let clamped = imports(&world, &[&eml], 1, 0);
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let day = |value: &Value| {
        let case = value["cases"][0].as_str().expect("a case").parse().expect("a number");
        cases.iter().find(|view| view.card.case == case).expect("is there").card.clone()
    };
    let (told, ordered) = (day(&told), day(&ordered));
    assert_eq!((told.received, told.due), (days(date("2026-11-02")), days(date("2026-12-02"))));
    assert_eq!(
        (ordered.received, ordered.due),
        (days(date("2026-10-01")), days(date("2026-11-02")))
    );
    let today = kluis::request::deadline::received_on(server.casebook.now());
    assert!(days(today) - day(&clamped).received <= 1, "never in the future");
    runtime.block_on(server.stop());
}

#[test]
fn what_cannot_be_taken_is_listed_and_the_rest_goes_on() {
    let (world, runtime) = (World::found(), runtime());
    let config = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&config).expect("is read");
    let text = text.replace("letter_bytes = 67108864", "letter_bytes = 65536");
    std::fs::write(&config, text).expect("is written");
    let mailbox = world.root.path().join("box.mbox");
    let from = b"From a@b.example Mon Nov  2 10:11:12 2026\n";
    let long = mail(2, &"x".repeat(70_000));
    let parts = [&from[..], &mail(1, "first"), b"\n", from, &long, b"\n", from, b"\n", from];
    let offset = parts[..3].concat().len();
    write(&mailbox, &[&parts.concat()[..], &mail(3, "third")].concat());
    let scans = folder(&world, "scans");
    write(&scans.join("fits"), &noise(1, 60_000));
    let pipe = scans.join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
    let absent = world.root.path().join("absent");
    let paths = [&absent, &mailbox, &scans].map(|path| path.as_os_str());
    let (code, value) = kluis(&world, "import", &paths);
    assert_eq!((code, value["taken"].as_u64()), (1, Some(3)), "{value}");
    let problems = value["problems"].as_array().expect("a list");
    let shown: Vec<_> =
        problems.iter().map(|p| (p["path"].as_str(), p["offset"].as_u64())).collect();
    let path = |path: &Path| path.to_str().map(str::to_owned);
    let expected = [(path(&absent), None), (path(&mailbox), Some(offset as u64))];
    assert_eq!(shown, expected.each_ref().map(|(path, at)| (path.as_deref(), *at)), "{value}");
    let remarks = value["remarks"].as_array().expect("a list");
    assert_eq!(remarks.len(), 2, "the empty mail and the pipe: {value}");
    let server = runtime.block_on(world.serve());
    assert_eq!(count(&server, Fact::CaseOpened), 3);
    runtime.block_on(server.stop());
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let world = World::found();
    let scans = folder(&world, "scans");
    for n in 0..5 {
        write(&scans.join(format!("{n}")), &noise(n % 4, 5_000));
    }
    write(&scans.join("one.eml"), &mail(1, "graag inzage"));
    let ledger = |world: &World| {
        let (store, _) = Store::open(&world.state(), &world.cabinet_key()).expect("opens");
        store.size()
    };
    let (size, before) = (ledger(&world), packs(&world));
    let dry = OsStr::new("--dry-run");
    let (code, value) = kluis(&world, "import", &[dry, scans.as_os_str()]);
    assert_eq!((code, value["taken"].as_u64(), value["there"].as_u64()), (0, Some(6), Some(0)));
    assert_eq!((ledger(&world), packs(&world)), (size, before));
    imports(&world, &[&scans], 6, 0);
    let (code, value) = kluis(&world, "import", &[dry, scans.as_os_str()]);
    assert_eq!((code, value["taken"].as_u64(), value["there"].as_u64()), (0, Some(0), Some(6)));
}

#[test]
fn files_that_are_put_in_together_are_one_letter_and_may_join_a_case() {
    let (world, runtime) = (World::found(), runtime());
    let folder = folder(&world, "desk");
    let files =
        [("page1.png", noise(1, 90_000)), ("page2.png", noise(2, 10)), ("id.jpg", noise(3, 1))];
    for (name, content) in &files {
        write(&folder.join(name), content);
    }
    let paths = files.each_ref().map(|(name, _)| folder.join(name));
    let paths = paths.each_ref().map(|path| path.as_os_str());
    let (code, value) = kluis(&world, "put", &paths[..2]);
    assert_eq!(code, 0, "{value}");
    let case = value["case"].as_str().expect("a case").to_owned();
    let (code, again) = kluis(&world, "put", &paths[..2]);
    assert_eq!((code, &again["taken"]), (0, &Value::Bool(false)));
    let into = [OsStr::new("--case"), OsStr::new(&case), paths[2]];
    let (code, joined) = kluis(&world, "put", &into);
    assert_eq!((code, joined["case"].as_str()), (0, Some(case.as_str())), "{joined}");
    let (code, _) =
        kluis(&world, "put", &[OsStr::new("--case"), OsStr::new("K-0000-0000"), paths[2]]);
    assert_eq!(code, 1, "there is no such case");
    let absent = folder.join("absent");
    let (code, error) = kluis(&world, "put", &[paths[0], absent.as_os_str()]);
    assert_eq!(code, 1);
    assert!(error["error"].as_str().expect("a text").contains("absent"), "{error}");
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    assert_eq!((cases.len(), cases[0].letters.len()), (1, 2));
    let detail = cases[0].letters[0].detail.as_ref().expect("opens");
    assert_eq!(detail.findings, [Finding::TypeMismatch], "it is no picture");
    assert_eq!(detail.length, 90_010);
    let expected: BTreeMap<_, _> =
        files.map(|(name, content)| (name.as_bytes().to_vec(), content)).into();
    assert!(documents(&mut anna) == expected);
    runtime.block_on(server.stop());
}

#[test]
fn equal_documents_of_a_run_are_kept_once() {
    let (world, runtime) = (World::found(), runtime());
    let scans = folder(&world, "scans");
    for n in 0..20 {
        write(&scans.join(format!("{n}.jpg")), &noise(1, 300_000));
    }
    imports(&world, &[&scans], 20, 0);
    let stored: u64 = packs(&world).iter().map(|(_, length)| length).sum();
    assert!(stored < 2 * 300_000, "{stored} bytes for one content");
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let all = documents(&mut anna);
    assert!(all.len() == 20 && all.values().all(|content| *content == noise(1, 300_000)));
    assert!(server.casebook.store().check(false, &|_, _| {}).expect("checks").problems.is_empty());
    runtime.block_on(server.stop());
}

#[test]
fn a_document_of_any_length_goes_in_and_comes_out() {
    let (world, runtime) = (World::found(), runtime());
    let config = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&config).expect("is read");
    let text = text.replace("letter_bytes = 67108864", "letter_bytes = 65536");
    std::fs::write(&config, text).expect("is written");
    let scans = folder(&world, "scans");
    write(&scans.join("long.pdf"), &noise(1, 5_000_000));
    write(&scans.join("short.txt"), b"short");
    imports(&world, &[&scans], 2, 0);
    let before = packs(&world);
    imports(&world, &[&scans], 0, 2);
    assert_eq!(packs(&world), before, "nothing of it stays");
    let put = [scans.join("long.pdf"), scans.join("short.txt")];
    let (code, value) = kluis(&world, "put", &put.each_ref().map(|path| path.as_os_str()));
    assert_eq!((code, &value["taken"]), (0, &Value::Bool(true)), "{value}");
    let server = runtime.block_on(world.serve());
    let (_, refused) = kluis(&world, "import", &[scans.join("long.pdf").as_os_str()]);
    assert_eq!(refused["problems"].as_array().map(Vec::len), Some(1), "{refused}");
    let mut anna = world.log_in("anna").expect("logs in");
    assert!(documents(&mut anna)[&b"long.pdf"[..]] == noise(1, 5_000_000));
    assert_eq!(count(&server, Fact::CaseOpened), 3);
    let report = server.casebook.store().check(false, &|_, _| {}).expect("checks");
    assert!(report.problems.is_empty());
    runtime.block_on(server.stop());
}

// Interrupted, and beside a server.

/// A mailbox of so many mails of about 40 kB, each with a text of its own.
fn large_mailbox(path: &Path, mails: u64) {
    let mut file = Vec::new();
    for n in 0..mails {
        file.extend_from_slice(b"From a@b.example Mon Nov  2 10:11:12 2026\n");
        let text = data_encoding::BASE64.encode(&noise(n, 30_000));
        let lines: Vec<&str> =
            text.as_bytes().chunks(76).map(|l| std::str::from_utf8(l).expect("is text")).collect();
        file.extend_from_slice(&mail(n, &lines.join("\n")));
        file.extend_from_slice(b"\n");
    }
    write(path, &file);
}

/// Waits until packs hold so many bytes, or the process ended.
fn until_written(world: &World, child: &mut Child, bytes: u64) {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end && child.try_wait().expect("is asked").is_none() {
        if packs(world).iter().map(|(_, length)| length).sum::<u64>() >= bytes {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn an_import_that_is_killed_or_stopped_goes_on_where_it_was() {
    const MAILS: u64 = 1500;
    let (world, runtime) = (World::found(), runtime());
    let mailbox = world.root.path().join("old.mbox");
    large_mailbox(&mailbox, MAILS);
    let mut child = spawn(&world, "import", &[mailbox.as_os_str()]);
    until_written(&world, &mut child, 1);
    child.kill().expect("is killed");
    let killed = child.wait().expect("ends").signal().is_some();
    let mut child = spawn(&world, "import", &[mailbox.as_os_str()]);
    until_written(&world, &mut child, 20 << 20);
    let id = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
    let output = child.wait_with_output().expect("ends");
    let value = json(&output);
    let stopped = value["stopped"].as_bool().expect("says so");
    assert_eq!(output.status.code(), Some(i32::from(stopped)), "{value}");
    assert!(killed && stopped, "it was cut off twice: {killed}, {value}");
    let kept = value["taken"].as_u64().expect("a count") + value["there"].as_u64().expect("one");
    assert!(kept < MAILS, "{value}");
    let (code, value) = kluis(&world, "import", &[mailbox.as_os_str()]);
    assert_eq!(code, 0, "{value}");
    let there = value["there"].as_u64().expect("a count");
    assert!(there >= kept, "what was taken before it stopped is there: {there} of {kept}");
    assert_eq!(there + value["taken"].as_u64().expect("a count"), MAILS);
    let server = runtime.block_on(world.serve());
    assert_eq!(count(&server, Fact::CaseOpened) as u64, MAILS, "nothing lost, nothing doubled");
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let subject = |case: &CaseView| {
        let detail = case.letters[0].detail.as_ref().expect("opens");
        detail.headers.subject.as_ref().expect("has one").expose().clone()
    };
    let subjects: BTreeSet<String> = cases.iter().map(subject).collect();
    assert_eq!(subjects.len() as u64, MAILS);
    runtime.block_on(server.stop());
}

#[test]
fn while_a_server_has_the_vault_it_is_asked_over_its_socket() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let scans = folder(&world, "scans");
    for n in 0..40 {
        write(&scans.join(format!("{n}.jpg")), &noise(n % 30, 80_000));
    }
    write(&scans.join("one.eml"), &mail(1, "graag inzage"));
    imports(&world, &[&scans], 41, 0);
    imports(&world, &[&scans], 0, 41);
    for (name, is_new) in [("3.jpg", false), ("another.jpg", true)] {
        write(&scans.join("another.jpg"), &noise(3, 80_000));
        let (code, value) = kluis(&world, "put", &[scans.join(name).as_os_str()]);
        assert_eq!((code, &value["taken"]), (0, &Value::Bool(is_new)), "{value}");
    }
    let mut anna = world.log_in("anna").expect("logs in");
    let all = documents(&mut anna);
    assert!((0..40).all(|n| all[format!("{n}.jpg").as_bytes()] == noise(n % 30, 80_000)));
    assert_eq!(count(&server, Fact::CaseOpened), 42);
    assert_eq!(count(&server, Fact::Redelivered), 0, "a run again is no delivery");
    assert!(entries(&server).iter().all(|entry| entry.kind != Fact::LogInRefused));
    runtime.block_on(server.stop());
}

#[test]
fn one_import_is_at_work_at_a_time_and_another_user_is_refused() {
    let name = "one_import_is_at_work_at_a_time_and_another_user_is_refused";
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let socket = server.addresses.socket.clone();
    let ask = |socket: &Path| -> Said {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("connects");
        protocol::write(&mut stream, &Request::Import { join: None, dry: true }).expect("asks");
        let said = protocol::read(&mut stream).expect("answers");
        // The connection is kept as long as the process lives: so is its run.
        std::mem::forget(stream);
        said
    };
    assert!(matches!(ask(&socket), Said::Running { .. }));
    assert!(matches!(ask(&socket), Said::Refused { later: true, .. }));
    let scan = world.root.path().join("scan");
    write(&scan, b"x");
    let (code, value) = kluis(&world, "import", &[scan.as_os_str()]);
    assert_eq!((code, &value["error"]), (75, &Value::from("another import is at work")));
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt as _;
        for (path, mode) in [(world.root.path(), 0o711), (&world.state(), 0o711), (&socket, 0o666)]
        {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("is set");
        }
        let nobody = rustix::process::Uid::from_raw(65_534);
        // The kernel says of a connection who the thread was that made it.
        let said = std::thread::spawn(move || {
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("becomes nobody");
            ask(&socket)
        });
        let said = said.join().expect("asks");
        assert!(matches!(said, Said::Refused { later: false, .. }), "{said:?}");
    } else {
        skipped(name, "only root can become another user");
    }
    runtime.block_on(server.stop());
}
