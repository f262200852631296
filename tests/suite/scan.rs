//! Malware: a real clamd with a signature of our own sees what letters bring before it is sealed;
//! what it knows leaves only when somebody insists; while it is away letters are taken all the same.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use kluis::casebook::Filter;
use kluis::config::Endpoint;
use kluis::inbox::scan::Scanner;
use kluis::ledger::entry::Fact;
use kluis::letter::{Finding, Scan};
use kluis::staff::client::{CaseView, Client};

use crate::keyring::kluis;
use crate::mail_client::Numbers;
use crate::way::{count, deliver, runtime, skipped};
use crate::world::{MAILBOX, World, free_port};

/// What the signature knows: nothing that any other scanner knows.
pub(crate) const BAD: &[u8] = b"kluis-test-of-a-virus-scanner-4d1f";

/// A clamd of our own, ended when dropped.
pub(crate) struct Clamd {
    child: Child,
    place: tempfile::TempDir,
}

impl Clamd {
    /// Starts it, and waits until it answers.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("StreamMaxLength 80M\n")
    }

    /// Starts it with these lines in its settings, too.
    fn start_with(lines: &str) -> Option<Self> {
        let program = ["/usr/sbin/clamd", "/usr/bin/clamd", "/usr/local/sbin/clamd"];
        let program = program.into_iter().find(|path| Path::new(path).exists())?;
        let place = tempfile::tempdir().expect("a directory");
        let path = |name: &str| place.path().join(name);
        std::fs::create_dir(path("db")).expect("a directory");
        let hex = data_encoding::HEXLOWER.encode(BAD);
        std::fs::write(path("db/ours.ndb"), format!("Kluis.Test:0:*:{hex}\n")).expect("writes");
        let socket = path("clamd.ctl");
        let text = format!(
            "LocalSocket {}\nDatabaseDirectory {}\nForeground yes\nTemporaryDirectory {}\n\
             MaxThreads 4\n{lines}",
            socket.display(),
            path("db").display(),
            place.path().display(),
        );
        std::fs::write(path("clamd.conf"), text).expect("writes");
        let mut child = Command::new(program)
            .arg("--config-file")
            .arg(path("clamd.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let ended = child.try_wait().expect("is asked");
            assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(60), "{ended:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, place })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.path().join("clamd.ctl")
    }
}

impl Drop for Clamd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a clamd of our own listens behind a port, and the lines that say so.
fn behind_a_port() -> (SocketAddr, String) {
    let place = free_port();
    (place, format!("TCPSocket {}\nTCPAddr {}\n", place.port(), place.ip()))
}

pub(crate) fn scan_with(world: &World, socket: &Path) {
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    let line = "# clamd = \"/run/clamav/clamd.ctl\"";
    assert!(text.contains(line));
    let text = text.replace(line, &format!("clamd = \"{}\"", socket.display()));
    std::fs::write(&file, text).expect("is written");
}

/// A letter with two attachments, of which the second may be bad, under a name that hides what it is.
fn letter(subject: &str, second: &[u8]) -> Vec<u8> {
    let part = |name: &str, content: &[u8]| {
        let encoded = BASE64.encode(content);
        let lines: Vec<&str> = (0..encoded.len())
            .step_by(76)
            .map(|at| &encoded[at..encoded.len().min(at + 76)])
            .collect();
        format!(
            "--b\r\nContent-Type: application/octet-stream\r\n\
             Content-Disposition: attachment; {name}\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            lines.join("\r\n")
        )
    };
    format!(
        "From: <lotte@example.net>\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nDag\r\n{}{}--b--\r\n",
        part("filename=a.bin", b"nothing at all"),
        part("filename*=utf-8''b%2Eexe", second),
    )
    .into_bytes()
}

fn case_of(client: &mut Client, subject: &str) -> CaseView {
    let mut cases = client.queue(Filter::All).expect("lists").into_iter();
    let is_it = |case: &CaseView| {
        let detail = case.letters[0].detail.as_ref().expect("opens");
        detail.headers.subject.as_ref().is_some_and(|found| found.expose() == subject)
    };
    cases.find(is_it).expect("is there")
}

/// What the scanner said of each item, in their order.
fn said(client: &mut Client, case: &CaseView) -> Vec<Option<Scan>> {
    let detail = case.letters[0].detail.as_ref().expect("opens");
    let ids: Vec<_> = detail.items.iter().map(|item| item.id).collect();
    let views = client.look(&ids).expect("opens");
    let scan = |view: &kluis::staff::client::ItemView| match &view.detail {
        kluis::casebook::detail::ItemDetail::Leaf(leaf) => leaf.scan,
        kluis::casebook::detail::ItemDetail::Skeleton(scan) => *scan,
    };
    views.iter().map(scan).collect()
}

fn findings(case: &CaseView) -> Vec<Finding> {
    case.letters[0].detail.as_ref().expect("opens").findings.clone()
}

/// The exit code of the program as anna runs it, and what it said in JSON.
pub(crate) fn run(world: &World, arguments: &[&str]) -> (i32, serde_json::Value) {
    let output = kluis(world, "anna", arguments);
    let said = if output.status.success() { &output.stdout } else { &output.stderr };
    (output.status.code().expect("ends"), serde_json::from_slice(said).unwrap_or_default())
}

#[test]
fn what_clamd_knows_is_kept_and_leaves_only_when_somebody_insists() {
    let Some(clamd) = Clamd::start() else {
        return skipped("malware", "clamd is not installed");
    };
    let (world, runtime) = (World::found(), runtime());
    scan_with(&world, &clamd.socket());
    let server = runtime.block_on(world.serve());
    let bad = [b"MZ\x90\0".as_slice(), BAD].concat();
    let sent = letter("bad", &bad);
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter("good", b"MZ\x90\0")), [250]);
    assert_eq!(deliver(&server, false, &[MAILBOX], &sent), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let good = case_of(&mut anna, "good");
    assert_eq!(said(&mut anna, &good), [Some(Scan::Clean); 3]);
    let case = case_of(&mut anna, "bad");
    assert!(findings(&case).contains(&Finding::Infected));
    let clean = Some(Scan::Clean);
    assert_eq!(said(&mut anna, &case), [clean, clean, Some(Scan::Infected)]);
    assert!(crate::way::raw(&mut anna, &case) == sent, "all of it is kept");
    let item = case.letters[0].detail.as_ref().expect("opens").items[2].id.to_string();
    let to = world.root.path().join("taken");
    let arguments = ["get", &item, "-o", to.to_str().expect("text")];
    let (code, answer) = run(&world, &arguments);
    assert_eq!(code, 1, "{answer}");
    assert!(answer["error"].as_str().expect("text").contains("virus scanner"), "{answer}");
    assert!(!to.exists());
    assert_eq!(count(&server, Fact::WarningOverridden), 0);
    let insists = [&arguments[..], &["--despite-scan"]].concat();
    let (code, answer) = run(&world, &insists);
    assert_eq!(code, 0, "{answer}");
    assert!(std::fs::read(&to).expect("is read") == bad);
    assert_eq!(count(&server, Fact::WarningOverridden), 1);
    // The whole letter has it in it, too.
    let (number, id) = (case.card.case.to_string(), case.letters[0].id().to_string());
    let whole = ["show", &number, "--raw", &id];
    let (code, answer) = run(&world, &whole);
    assert_eq!(code, 1, "{answer}");
    let insists = [&whole[..], &["--despite-scan"]].concat();
    assert!(kluis(&world, "anna", &insists).stdout == sent);
    assert_eq!(count(&server, Fact::WarningOverridden), 2);
    drop(anna);
    runtime.block_on(server.stop());
}

/// clamd calls clean what is longer than its `MaxFileSize`, unseen.
#[test]
fn what_is_longer_than_clamd_looks_at_was_not_scanned_whatever_it_says() {
    let Some(clamd) = Clamd::start_with("MaxFileSize 1M\n") else {
        return skipped("malware, long", "clamd is not installed");
    };
    let long = [BAD, &vec![b'x'; 3 << 19]].concat();
    let whatever = Scanner::new(Endpoint::Unix(clamd.socket()), Duration::from_secs(20), u64::MAX);
    let runtime = runtime();
    assert_eq!(runtime.block_on(whatever.scan(&long)), Scan::Clean, "it says so");
    let world = World::found();
    scan_with(&world, &clamd.socket());
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    assert!(text.contains("longest_bytes = 26214400"));
    let text = text.replace("longest_bytes = 26214400", "longest_bytes = 1048576");
    std::fs::write(&file, text).expect("is written");
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter("long", &long)), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = case_of(&mut anna, "long");
    let clean = Some(Scan::Clean);
    assert_eq!(said(&mut anna, &case), [clean, clean, Some(Scan::NotScanned)]);
    assert!(findings(&case).contains(&Finding::NotScanned));
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn while_clamd_is_away_letters_are_taken_and_scanned_when_staff_open_them() {
    let Some(clamd) = Clamd::start() else {
        return skipped("malware, later", "clamd is not installed");
    };
    let (world, runtime) = (World::found(), runtime());
    scan_with(&world, &world.root.path().join("nobody.ctl"));
    let server = runtime.block_on(world.serve());
    for (subject, content) in [("good", b"nothing".as_slice()), ("bad", BAD)] {
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter(subject, content)), [250]);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    for (subject, is_bad) in [("good", false), ("bad", true)] {
        let case = case_of(&mut anna, subject);
        assert!(findings(&case).contains(&Finding::NotScanned));
        assert_eq!(said(&mut anna, &case), [Some(Scan::NotScanned); 3]);
        let item = case.letters[0].detail.as_ref().expect("opens").items[2].id.to_string();
        let to = world.root.path().join(subject);
        let to = to.to_str().expect("text");
        let nobody = ["get", &item, "-o", to, "--clamd", "/nowhere/clamd.ctl"];
        let (code, answer) = run(&world, &nobody);
        assert_eq!(code, 1, "{answer}");
        let socket = clamd.socket();
        let asks = ["get", &item, "-o", to, "--clamd", socket.to_str().expect("text")];
        let (code, answer) = run(&world, &asks);
        assert_eq!(code, i32::from(is_bad), "{answer}");
        assert_eq!(Path::new(to).exists(), !is_bad);
    }
    assert_eq!(count(&server, Fact::WarningOverridden), 0);
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn what_stands_around_the_items_is_scanned_and_leaves_only_when_somebody_insists() {
    let Some(clamd) = Clamd::start() else {
        return skipped("malware around the items", "clamd is not installed");
    };
    let (world, runtime) = (World::found(), runtime());
    scan_with(&world, &clamd.socket());
    let server = runtime.block_on(world.serve());
    // Behind the last part, where no reader shows anything.
    let sent = [letter("bad", b"MZ\x90\0").as_slice(), b"\r\n", BAD, b"\r\n"].concat();
    assert_eq!(deliver(&server, false, &[MAILBOX], &sent), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = case_of(&mut anna, "bad");
    assert_eq!(said(&mut anna, &case), [Some(Scan::Clean); 3], "no item is to blame");
    assert!(findings(&case).contains(&Finding::Infected));
    let (number, id) = (case.card.case.to_string(), case.letters[0].id().to_string());
    let skeleton = case.letters[0].detail.as_ref().expect("opens").skeleton.expect("has one");
    let skeleton = skeleton.to_string();
    let to = world.root.path().join("skeleton");
    let get = ["get", &skeleton, "--case", &number, "-o", to.to_str().expect("text")];
    for arguments in [&get[..], &["show", &number, "--raw", &id]] {
        let (code, answer) = run(&world, arguments);
        assert_eq!(code, 1, "{answer}");
        assert!(answer["error"].as_str().expect("text").contains("virus scanner"), "{answer}");
        let insists = [arguments, &["--despite-scan"]].concat();
        assert!(kluis(&world, "anna", &insists).status.success());
    }
    assert!(to.exists());
    assert_eq!(count(&server, Fact::WarningOverridden), 2);
    drop(anna);
    runtime.block_on(server.stop());
}

/// Bytes that no two pieces of are alike, so that clamd has something to look at.
fn noise(length: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(29);
    (0..length.div_ceil(8)).flat_map(|_| numbers.draw().to_le_bytes()).take(length).collect()
}

#[test]
fn behind_a_port_clamd_says_the_same_and_what_it_did_not_get_whole_was_not_scanned() {
    let (place, lines) = behind_a_port();
    let Some(_clamd) = Clamd::start_with(&format!("{lines}StreamMaxLength 2M\n")) else {
        return skipped("malware, behind a port", "clamd is not installed");
    };
    let scanner = Scanner::new(Endpoint::Tcp(place), Duration::from_secs(20), u64::MAX);
    let runtime = runtime();
    let say = |bytes: &[u8]| runtime.block_on(scanner.scan(bytes));
    assert!(runtime.block_on(scanner.is_there()));
    let (short, over) = (noise(2 << 20), noise((2 << 20) + 1));
    for _ in 0..2 {
        assert_eq!(say(b""), Scan::Clean);
        assert_eq!(say(b"nothing at all"), Scan::Clean);
        assert_eq!(say(&[b"MZ\x90\0".as_slice(), BAD].concat()), Scan::Infected);
        // Up to the very byte, and in whichever piece it stands.
        assert_eq!(say(&short), Scan::Clean);
        assert_eq!(say(&[&short[BAD.len()..], BAD].concat()), Scan::Infected);
        assert_eq!(say(&over), Scan::NotScanned, "what is over its limit is not clean");
        assert_eq!(say(&[BAD, &noise(16 << 20)].concat()), Scan::NotScanned, "nor far over it");
    }
}

#[test]
fn a_letter_is_scanned_behind_a_port_as_it_is_by_a_socket() {
    let (place, lines) = behind_a_port();
    let Some(clamd) = Clamd::start_with(&lines) else {
        return skipped("malware, a letter behind a port", "clamd is not installed");
    };
    let (world, runtime) = (World::found(), runtime());
    scan_with(&world, Path::new(&place.to_string()));
    let server = runtime.block_on(world.serve());
    for (subject, content) in [("good", b"nothing".as_slice()), ("bad", BAD)] {
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter(subject, content)), [250]);
    }
    drop(clamd);
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter("away", BAD)), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    for (subject, scan) in
        [("good", Scan::Clean), ("bad", Scan::Infected), ("away", Scan::NotScanned)]
    {
        let case = case_of(&mut anna, subject);
        assert_eq!(said(&mut anna, &case).last(), Some(&Some(scan)), "{subject}");
    }
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn when_clamd_behind_a_port_dies_in_mid_stream_nothing_was_scanned() {
    const BEFORE_IT_DIES: usize = 1 << 20;
    let (place, lines) = behind_a_port();
    let Some(mut clamd) = Clamd::start_with(&format!("{lines}StreamMaxLength 80M\n")) else {
        return skipped("malware, dies in mid-stream", "clamd is not installed");
    };
    // All of it goes through here, so that it dies when it has a part, and not before or after.
    let between = TcpListener::bind("127.0.0.1:0").expect("binds");
    let scanner = Scanner::new(
        Endpoint::Tcp(between.local_addr().expect("is bound")),
        Duration::from_secs(20),
        u64::MAX,
    );
    let mut whole = |kill: bool| {
        let (mut asks, _) = between.accept().expect("is asked");
        let mut answers = TcpStream::connect(place).expect("connects");
        let mut back = (answers.try_clone().expect("clones"), asks.try_clone().expect("clones"));
        let answering = std::thread::spawn(move || {
            let _ = std::io::copy(&mut back.0, &mut back.1);
            let _ = back.1.shutdown(std::net::Shutdown::Both);
        });
        let (mut buffer, mut passed) = (vec![0; 64 * 1024], 0);
        while let Ok(length @ 1..) = asks.read(&mut buffer) {
            if answers.write_all(&buffer[..length]).is_err() {
                break;
            }
            passed += length;
            if kill && passed > BEFORE_IT_DIES {
                clamd.child.kill().expect("is killed");
                clamd.child.wait().expect("ends");
                break;
            }
        }
        drop(asks);
        let _ = answers.shutdown(std::net::Shutdown::Both);
        answering.join().expect("ends");
        passed
    };
    let long = noise(8 << 20);
    let asked = |scanner: &Scanner, bytes: &[u8]| runtime().block_on(scanner.scan(bytes));
    std::thread::scope(|scope| {
        let scan = scope.spawn(|| asked(&scanner, &long));
        assert!(whole(false) > long.len());
        assert_eq!(scan.join().expect("ends"), Scan::Clean, "while it lives");
        let begun = Instant::now();
        let scan = scope.spawn(|| asked(&scanner, &long));
        let passed = whole(true);
        assert!((BEFORE_IT_DIES..long.len()).contains(&passed), "in mid-stream: {passed}");
        assert_eq!(scan.join().expect("ends"), Scan::NotScanned);
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits for the dead");
    });
    assert!(
        !runtime()
            .block_on(Scanner::new(Endpoint::Tcp(place), Duration::from_secs(5), 9).is_there())
    );
}
