//! The program as people use it: arguments in, text or JSON out, an exit code, a hint.
//!
//! Everything runs in the real binary. A day in a small office goes from `init` to `lock` over a
//! real socket, with a key under a real passphrase.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kluis::reply::openpgp::MailboxKey;
use serde_json::{Value, json};

use crate::containers::{Entry, zip};

/// The program under test.
const KLUIS: &str = env!("CARGO_BIN_EXE_kluis");
/// The passphrase of every key here.
const WORDS: &str = "four words are good";

/// A folder with everything of one test in it, the member's home among it.
pub(crate) struct Office {
    root: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Office {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("words"), format!("{WORDS}\n")).expect("written");
        std::fs::write(root.path().join("wrong"), "not these words\n").expect("written");
        Self { root, variables: Vec::new() }
    }

    /// From now on the program has these variables in its environment, and no others of ours.
    pub(crate) fn with(&mut self, variables: &[(&'static str, &str)]) {
        self.variables = variables.iter().map(|(name, value)| (*name, (*value).into())).collect();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(KLUIS);
        command
            .args(arguments)
            .current_dir(self.root.path())
            .env("KLUIS_HOME", self.path("home"))
            .env_remove("RUST_LOG")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("kluis runs")
    }

    /// Runs it for somebody who has no key, no profile and no server.
    fn alone(&self, arguments: &[&str]) -> Output {
        self.command(arguments).env("KLUIS_HOME", self.path("nobody")).output().expect("kluis runs")
    }

    /// Runs what must succeed; gives its JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        let output = self.run(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Runs what must fail so, first for people, then for programs; gives error and hint.
    pub(crate) fn fails(&self, arguments: &[&str], code: i32) -> (String, String) {
        // The log of `serve` stands beside its error.
        let run = |arguments: &[&str]| {
            self.command(arguments).env("RUST_LOG", "off").output().expect("kluis runs")
        };
        let output = run(arguments);
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?} fails on standard error alone");
        assert!(text.starts_with("error: "), "{text}");
        assert!(text.lines().any(|line| line.starts_with("hint: ")), "{arguments:?}: {text}");

        let output = run(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?} --json");
        let value: Value = serde_json::from_slice(&output.stderr).expect("JSON on stderr");
        let word = |name: &str| value[name].as_str().expect("a text").to_owned();
        let (error, hint) = (word("error"), word("hint"));
        assert!(!error.is_empty() && !hint.is_empty(), "{arguments:?}");
        (error, hint)
    }

    /// The first member unlocks the key; the server must be there.
    pub(crate) fn unlock(&self) {
        let unlock = ["unlock", "--server", "vault/kluis.sock", "--member", "staff1"];
        let key = ["--key-file", "keys/staff1.key", "--passphrase-file", "words"];
        self.json(&[&unlock[..], &key].concat());
    }

    /// Founds a vault with every key made, one passphrase for all; SMTP on a port of the kernel's.
    pub(crate) fn found(&self) -> Value {
        let made = self.json(&[
            "init",
            "vault",
            "--address",
            "backoffice@jobexpert.be",
            "--generate",
            "keys",
            "--passphrase-file",
            "words",
        ]);
        let file = self.path("vault/kluis.toml");
        let text = std::fs::read_to_string(&file).expect("settings");
        assert!(text.contains("127.0.0.1:2525"));
        std::fs::write(&file, text.replace("127.0.0.1:2525", "127.0.0.1:0")).expect("written");
        made
    }

    pub(crate) fn serve(&self) -> Server {
        let mut child = self
            .command(&["serve", "vault", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kluis serves");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("a line");
        let listens: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut error = String::new();
            let _ = child.stderr.take().expect("piped").read_to_string(&mut error);
            panic!("not a line of JSON: {line:?}; {error}")
        });
        Server { child, listens }
    }
}

/// A serving process, stopped when dropped.
pub(crate) struct Server {
    child: Child,
    listens: Value,
}

impl Server {
    pub(crate) fn smtp(&self) -> SocketAddr {
        self.listens["smtp"][0].as_str().expect("listens").parse().expect("an address")
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop as a service manager does; gives its log.
    pub(crate) fn stop(mut self) -> String {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("is told");
        let status = self.child.wait().expect("ends");
        let mut log = String::new();
        let _ = self.child.stderr.take().expect("piped").read_to_string(&mut log);
        assert!(status.success(), "{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one letter over SMTP.
pub(crate) fn send(smtp: SocketAddr, letter: &str) {
    let mut stream = TcpStream::connect(smtp).expect("connects");
    let mut replies = BufReader::new(stream.try_clone().expect("cloned"));
    let data = format!("{}\r\n.\r\n", letter.replace('\n', "\r\n"));
    for (line, code) in [
        ("", "220"),
        ("EHLO test.example\r\n", "250"),
        ("MAIL FROM:<lotte@example.org>\r\n", "250"),
        ("RCPT TO:<backoffice@jobexpert.be>\r\n", "250"),
        ("DATA\r\n", "354"),
        (data.as_str(), "250"),
        ("QUIT\r\n", "221"),
    ] {
        stream.write_all(line.as_bytes()).expect("sent");
        loop {
            let mut reply = String::new();
            replies.read_line(&mut reply).expect("a reply");
            assert!(reply.starts_with(code), "{line:?}: {reply}");
            if reply.as_bytes().get(3) == Some(&b' ') {
                break;
            }
        }
    }
}

const LETTER: &str = "From: \"Lotte \u{9b}31m\" <lotte@example.org>
To: backoffice@jobexpert.be
Subject: =?utf-8?q?Inzage_=1B[2J?=
Message-ID: <1@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=utf-8

Beste, ik wil graag mijn gegevens \u{1b}[31minzien.
notes
--b
Content-Type: application/pdf; name=\"../../etc/passwd\"
Content-Transfer-Encoding: base64

JVBERi0xLjQK
--b--";

#[test]
fn the_deadline_is_json_with_exactly_these_keys() {
    let office = Office::new();
    let due = office.json(&["deadline", "2027-01-31"]);
    let expected = serde_json::json!({
        "received": "2027-01-31",
        "one_month_raw": "2027-02-28",
        "one_month_due": "2027-03-01",
        "three_months_raw": "2027-04-30",
        "three_months_due": "2027-04-30",
    });
    assert_eq!(due, expected);
    let text = office.run(&["deadline", "2027-01-31"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains("2027-03-01"));
    let (error, hint) = office.fails(&["deadline", "31-01-2027"], 2);
    assert!(error.contains("31-01-2027") && hint.contains("2026-11-25"));
}

/// The names in the list of commands that a help text shows.
#[test]
fn the_bench_is_json_with_exactly_these_keys_and_leaves_nothing() {
    let office = Office::new();
    std::fs::create_dir(office.path("place")).expect("made");
    let bench = ["bench", "--dir", "place", "--size", "2MiB", "--rounds", "1"];
    let figures = office.json(&bench);
    let keys: Vec<&String> = figures.as_object().expect("an object").keys().collect();
    let expected = [
        "aes256gcm_gbps",
        "blake3_gbps",
        "ceiling_gbps",
        "copy_gbps",
        "cores",
        "crc_gbps",
        "disk_gbps",
        "get_null_gbps",
        "peak_rss_bytes",
        "put_disk_gbps",
        "put_null_gbps",
        "reseal_null_gbps",
    ];
    assert_eq!(keys, expected);
    for key in expected {
        assert!(figures[key].as_f64().expect("a number") > 0.0, "{key}");
    }
    let left = std::fs::read_dir(office.path("place")).expect("there").count();
    assert_eq!(left, 0, "nothing stays");
    let text = String::from_utf8(office.run(&bench).stdout).expect("UTF-8");
    assert!(text.contains("of the ceiling") && text.contains("of the disk"), "{text}");
    office.fails(&["bench", "--dir", "nowhere"], 1);
    office.fails(&["bench", "--size", "1 furlong"], 2);
}

fn commands_in(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    list.lines()
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_help_of_each_command_explains_it_with_an_example() {
    let office = Office::new();
    let help = |words: &[&str]| {
        let output = office.run(&[words, &["--help"]].concat());
        assert!(output.status.success(), "{words:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let top = help(&[]);
    assert!(top.contains("75") && top.contains("77"), "exit codes are documented");
    let commands = commands_in(&top);
    assert!(commands.len() > 20, "{commands:?}");
    assert!(!commands.iter().any(|name| name == "agent" || name.starts_with("confined")));
    for name in &commands {
        let text = help(&[name]);
        let below = commands_in(&text);
        for words in below.iter().map(|sub| vec![name.as_str(), sub]) {
            assert!(help(&words).contains("Example"), "{words:?}");
        }
        assert!(text.contains("Example") || !below.is_empty(), "{name}");
        assert!(text.contains("--json"), "{name}");
    }
}

#[test]
fn errors_say_what_to_do_and_whose_turn_it_is() {
    let office = Office::new();
    office.fails(&["nonsense"], 2);
    office.fails(&["deadline"], 2);
    let (_, hint) = office.fails(&["key", "new"], 2);
    assert!(hint.contains("kluis key new --help"), "{hint}");
    office.fails(&["show", "K-0000-0001"], 2);
    let (error, hint) = office.fails(&["queue"], 2);
    assert!(error.contains("server") && hint.contains("unlock"), "{error} {hint}");
    let (error, _) = office.fails(&["serve", "nowhere"], 2);
    assert!(error.contains("nowhere/kluis.toml"), "{error}");
    office.fails(&["check", "nowhere"], 2);
    office.fails(&["sweep", "nowhere"], 2);
    office.fails(&["keys", "list", "nowhere"], 1);
    office.fails(&["audit", "verify", "nowhere"], 1);
    let known = ["--server", "no.sock", "--member", "lotte"];
    office.fails(&[&["unlock"], &known[..]].concat(), 1);
    office.fails(&[&["queue"], &known[..]].concat(), 1);
    assert!(!office.run(&[]).status.success(), "no command is no success");
}

#[test]
fn a_wrong_line_of_the_settings_is_named_with_its_field() {
    let office = Office::new();
    std::fs::create_dir(office.path("vault")).expect("made");
    let settings = "addresses = [\"a@example.org\"]\n\n[limits]\nparsers = 0\n";
    std::fs::write(office.path("vault/kluis.toml"), settings).expect("written");
    for command in [&["config", "vault"][..], &["serve", "vault"], &["check", "vault"]] {
        let (error, _) = office.fails(command, 2);
        assert!(error.contains("kluis.toml:4: limits.parsers: "), "{error}");
    }
    let doctor = office.run(&["doctor", "vault"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("limits.parsers"));

    let sample = office.run(&["config"]).stdout;
    std::fs::write(office.path("sample.toml"), &sample).expect("written");
    assert!(office.run(&["config", "sample.toml"]).status.success(), "the sample is well formed");
}

#[test]
fn init_checks_everything_first_and_overwrites_nothing() {
    let office = Office::new();
    let base = ["init", "vault", "--address", "backoffice@jobexpert.be"];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    office.fails(&base, 2);
    office.fails(&with(&["--staff", "lotte=age1nonsense"]), 2);
    office.fails(&with(&["--staff", "lotte", "--passphrase-file", "words"]), 2);
    office.fails(&with(&["--generate", "vault/keys", "--passphrase-file", "words"]), 2);
    office.fails(&with(&["--cabinet-key", "vault", "--generate", "k"]), 2);
    office.fails(&["init", "a/b/vault", "--address", "a@b.example", "--generate", "k"], 2);
    office.fails(&["init", "vault", "--address", "nobody", "--generate", "k"], 2);
    let plan = office.json(&with(&["--generate", "keys", "--dry-run"]));
    assert_eq!(plan["would_make"].as_array().map(Vec::len), Some(8));
    for name in ["vault", "keys", "k", "home", "vault.cabinet-key"] {
        assert!(!office.path(name).exists(), "{name} was written");
    }
    std::fs::create_dir(office.path("vault")).expect("made");
    std::fs::write(office.path("vault/letter"), "mine").expect("written");
    let (error, _) = office.fails(&with(&["--generate", "keys", "--passphrase-file", "words"]), 1);
    assert!(error.contains("not empty"), "{error}");
    assert!(!office.path("keys").exists());
}

#[test]
fn keys_of_ones_own_are_made_changed_and_never_overwritten() {
    let office = Office::new();
    let new = ["key", "new", "lotte", "--passphrase-file", "words"];
    let made = office.json(&new);
    let public = made["public"].as_str().expect("a public key");
    assert!(public.starts_with("age1"), "{public}");
    assert!(office.path("home/staff.key").exists());
    office.fails(&new, 1);
    std::fs::write(office.path("short"), "short\n").expect("written");
    office.fails(&["key", "new", "lotte", "--backup", "--passphrase-file", "short"], 2);
    office.fails(&["key", "new", "Lotte!", "--passphrase-file", "words"], 2);
    let admin = office.json(&["key", "new", "lotte", "--admin", "--passphrase-file", "words"]);
    assert!(admin["public"].as_str().expect("a key").starts_with("kluis-admin+"));

    std::fs::write(office.path("next"), "another four good words\n").expect("written");
    let change = |old: &'static str, new: &'static str| {
        ["key", "passwd", "--passphrase-file", old, "--new-passphrase-file", new]
    };
    office.fails(&change("wrong", "next"), 77);
    office.json(&change("words", "next"));
    office.fails(&change("words", "next"), 77);
    let admin = [&change("words", "next")[..], &["--admin"]].concat();
    office.json(&admin);
}

#[test]
fn a_day_in_a_small_office_goes_from_init_to_lock() {
    let office = Office::new();
    let made = office.found();
    assert_eq!(made["proven"], true);
    let vkey = made["checkpoint_key"].as_str().expect("a key").to_owned();
    let roster = office.json(&["keys", "list", "vault"]);
    assert_eq!(roster["members"].as_array().map(Vec::len), Some(2));
    office.json(&["check", "vault"]);

    let server = office.serve();
    let (error, _) = office.fails(&["serve", "vault"], 75);
    assert!(error.contains("another process"), "{error}");
    let (_, hint) = office.fails(&["check", "vault", "--rebuild"], 75);
    assert!(hint.contains("stop"), "{hint}");

    let unlock = |words: &'static str| {
        [
            "unlock",
            "--server",
            "vault/kluis.sock",
            "--member",
            "staff1",
            "--key-file",
            "keys/staff1.key",
            "--passphrase-file",
            words,
        ]
    };
    office.fails(&unlock("wrong"), 77);
    office.json(&unlock("words"));
    office.fails(&unlock("words"), 1);
    // For whoever lists processes.
    let agent = UnixStream::connect(office.path("home/agent.sock"))
        .and_then(|stream| Ok(rustix::net::sockopt::socket_peercred(stream)?.pid))
        .expect("an agent listens");
    let says = |file: &str| {
        let file = format!("/proc/{}/{file}", agent.as_raw_nonzero());
        String::from_utf8(std::fs::read(file).expect("it runs")).expect("UTF-8")
    };
    assert_eq!((&*says("comm"), &*says("cmdline")), ("kluis\n", "kluis\0agent\0"));

    let whoami = office.json(&["whoami"]);
    assert_eq!(whoami["member"], "staff1");
    assert_eq!(whoami["checkpoint_key"], vkey.as_str());
    let queue = office.json(&["queue"]);
    assert_eq!(queue["cases"].as_array().map(Vec::len), Some(0));
    assert_eq!(office.json(&["keys", "status"])["epoch"], 1);

    send(server.smtp(), LETTER);
    let case = a_letter_is_read(&office);
    an_item_is_taken_out_and_forgotten(&office, &case);
    the_case_is_decided_answered_and_closed(&office, &case);
    the_ledger_is_verified(&office, &vkey);

    office.json(&["check", "vault"]);
    assert_eq!(office.json(&["keys", "rotate", "--cabinet"])["rotated"], "cabinet");
    // The packs of a running server are open: nothing is judged yet.
    let asked = office.json(&["sweep", "vault", "--dry-run"]);
    assert_eq!((&asked["stage"], &asked["dry_run"]), (&json!("nothing"), &json!(true)));
    assert_eq!(office.json(&["lock"])["locked"], true);
    assert_eq!(office.json(&["lock"])["locked"], false);
    // Without agent and terminal there is nobody to ask for the passphrase.
    office.fails(&["queue"], 2);
    let by_file = ["queue", "--passphrase-file", "words"];
    assert_eq!(office.json(&by_file)["cases"].as_array().map(Vec::len), Some(0));
    office.fails(&["queue", "--passphrase-file", "wrong"], 77);
    office.fails(&[&by_file[..], &["--member", "nobody"]].concat(), 77);

    let log = server.stop();
    assert!(!log.contains("lotte") && !log.contains("Inzage"), "{log}");
    office.fails(&by_file, 75);
    let offline = ["audit", "verify", "--dir", "vault", "--checkpoint", "ledger.jsonl"];
    assert_eq!(office.json(&offline)["extends_earlier"], true);
    let sweep = |more: &[&str]| office.json(&[&["sweep", "vault"], more].concat());
    let dry = sweep(&["--dry-run"]);
    assert_eq!(dry["stage"], "first");
    assert!(dry["records"].as_u64() > Some(1) && !office.path("vault/sweep.plan").exists());
    let noted = sweep(&[]);
    assert_eq!((&noted["stage"], &noted["records"]), (&json!("first"), &dry["records"]));
    for more in [&["--dry-run"][..], &[]] {
        let waits = sweep(more);
        assert_eq!((&waits["stage"], &waits["until"]), (&json!("waits"), &noted["until"]));
    }
    let shown = String::from_utf8(office.run(&["sweep", "vault"]).stdout).expect("UTF-8");
    assert!(shown.contains("waits until"), "{shown}");
    let found = office.json(&["check", "vault", "--rebuild"]);
    assert_eq!(found["problems"].as_array().map(Vec::len), Some(0));
}

/// Gives the case number.
fn a_letter_is_read(office: &Office) -> String {
    let queue = office.run(&["queue"]);
    let text = String::from_utf8(queue.stdout).expect("UTF-8");
    assert!(text.contains("Inzage") && text.contains("lotte@example.org"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    let queue = office.json(&["queue"]);
    let case = queue["cases"][0]["case"].as_str().expect("a case").to_owned();
    assert_eq!(queue["cases"][0]["attachments"], 1);

    let shown = office.run(&["show", &case]);
    let text = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(text.contains("  | Beste, ik wil graag mijn gegevens \u{fffd}[31minzien."), "{text}");
    assert!(text.contains("  | notes"), "a letter cannot pass for the program: {text}");
    assert!(!text.contains("passwd"), "a name is forgotten with its item: {text}");
    let letter = office.json(&["show", &case])["letters"][0]["letter"].clone();
    let whole = ["show", &case, "--raw", &letter.as_str().expect("an id")[..6]];
    // What is attached is a PDF that nobody can draw: it could be a copy of an identity document.
    let (error, hint) = office.fails(&whole, 1);
    assert!(error.contains("nobody looked") && hint.contains("--unmasked"), "{error} {hint}");
    let raw = office.run(&[&whole[..], &INSISTS].concat());
    let raw = String::from_utf8(raw.stdout).expect("UTF-8");
    assert_eq!(raw.trim_end(), LETTER.replace('\n', "\r\n"));
    case
}

/// What takes out a picture that nobody could look at.
const INSISTS: [&str; 3] = ["--unmasked", "--reason", "it is needed whole"];

fn an_item_is_taken_out_and_forgotten(office: &Office, case: &str) {
    let shown = office.json(&["show", case]);
    let items = shown["letters"][0]["items"].as_array().expect("items");
    let pdf = items.iter().find(|item| item["role"] == "attachment").expect("an attachment");
    let item = &pdf["item"].as_str().expect("an id")[..8];
    let (error, hint) = office.fails(&["get", item], 1);
    assert!(error.contains("nobody looked") && hint.contains("--unmasked"), "{error} {hint}");
    let get = [&["get", item][..], &INSISTS].concat();
    let got = office.json(&get);
    assert_eq!(got["file"], format!("{case}-{item}.pdf"));
    let file = office.path(&format!("{case}-{item}.pdf"));
    assert_eq!(std::fs::read(&file).expect("is there"), b"%PDF-1.4\n");
    let (error, _) = office.fails(&get, 1);
    assert!(error.contains("exists"), "nothing is overwritten: {error}");
    let piped = office.run(&[&get[..], &["-o", "-"]].concat());
    assert_eq!(piped.stdout, b"%PDF-1.4\n");
    office.fails(&["get", "zzzz"], 2);
    office.fails(&["get"], 2);
    office.fails(&["get", item, "--verify-all"], 2);
    let verified = office.json(&["get", "--verify-all"]);
    assert_eq!(verified["problems"].as_array().map(Vec::len), Some(0));
    assert!(verified["verified"].as_u64() > Some(3), "{verified}");
    office.fails(&["get", "00000000000000000000000000000000"], 1);

    let forget = ["forget", case, item, "--reason", "identity checked"];
    office.json(&["hold", case, "claim"]);
    let (error, _) = office.fails(&forget, 1);
    assert!(error.contains("hold"), "{error}");
    office.json(&["hold", "--lift", case, "settled"]);
    let plan = office.json(&[&forget[..], &["--dry-run"]].concat());
    assert_eq!(plan["would_forget"].as_array().map(Vec::len), Some(1));
    let (error, _) = office.fails(&forget, 2);
    assert!(error.contains("nothing was forgotten"), "{error}");
    let seen = ["--plan", plan["plan"].as_str().expect("a digest")];
    office.fails(&[&forget[..], &seen, &["--dry-run"]].concat(), 2);
    std::fs::write(office.path("there.txt"), "mine").expect("written");
    office.fails(&[&forget[..], &seen, &["--certificate", "there.txt"]].concat(), 1);
    let now = ["--now", "--certificate", "erased.txt"];
    let done = office.json(&[&forget[..], &seen, &now].concat());
    assert_eq!(done["certificates"][0]["rotated"], true);
    a_certificate_stands_by_itself(office, item, &done["certificates"][0]);
    office.fails(&forget, 1);
    let (error, _) = office.fails(&["get", item], 1);
    assert!(error.contains("forgotten"), "{error}");
}

/// What is in an archive: listed with what it was in, taken out under a name of our own; no name from
/// inside is a path or reaches a terminal as it is, and nothing of a page does.
#[test]
fn what_was_in_an_archive_is_read_taken_out_and_forgotten() {
    let office = Office::new();
    office.found();
    let server = office.serve();
    office.unlock();
    let archive = zip(&[
        Entry::new(b"../../\x1b[2J\x9b31m.pdf", b"%PDF-1.4 x"),
        Entry::new("a\u{202e}gpj.exe".as_bytes(), b"MZ"),
    ]);
    let archive = data_encoding::BASE64.encode(&archive);
    send(
        server.smtp(),
        &format!(
            "From: Lotte <lotte@example.org>\nContent-Type: multipart/mixed; boundary=b\n\n\
             --b\nContent-Type: text/html\n\n<p>Beste &#27;[2J&#x9b;31m <a href='http://x.example/&#27;]'>hier</a>\n\
             --b\nContent-Type: application/zip\nContent-Transfer-Encoding: base64\n\n{archive}\n\
             --b\nContent-Type: message/rfc822\n\nSubject: binnen\n\nB\n--b--"
        ),
    );
    let case = office.json(&["queue"])["cases"][0]["case"].as_str().expect("a case").to_owned();
    let shown = String::from_utf8(office.run(&["show", &case]).stdout).expect("UTF-8");
    assert!(shown.contains("hier <http://x.example/"), "{shown}");
    assert!(shown.contains("out of "), "{shown}");
    assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{shown:?}");
    assert!(!shown.contains("passwd") && !shown.contains("gpj"), "{shown}");
    let shown = office.json(&["show", &case]);
    let items = shown["letters"][0]["items"].as_array().expect("items").clone();
    let of_type = |media_type: &str| {
        let item = items.iter().find(|item| item["media_type"] == media_type).expect("is there");
        (item["item"].as_str().expect("an id")[..8].to_owned(), item["container"].clone())
    };
    let ((outer, _), (pdf, container)) = (of_type("application/zip"), of_type("application/pdf"));
    assert!(container.as_str().expect("a container").starts_with(&outer));
    let got = office.run(&[&["get", &pdf][..], &INSISTS].concat());
    let text = String::from_utf8(got.stdout).expect("UTF-8");
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    let file = office.path(&format!("{case}-{pdf}.pdf"));
    assert_eq!(std::fs::read(file).expect("a name of our own"), b"%PDF-1.4 x");
    let (error, _) = office.fails(&["get", &of_type("message/rfc822").0], 1);
    assert!(error.contains("its parts"), "{error}");

    let forget = ["forget", &case, &pdf, "--reason", "seen"];
    let plan = office.json(&[&forget[..], &["--dry-run"]].concat());
    assert_eq!(plan["would_forget"].as_array().map(Vec::len), Some(2));
    assert_eq!(plan["taken_out_and_kept"].as_array().map(Vec::len), Some(1));
    let seen = ["--plan", plan["plan"].as_str().expect("a digest")];
    let done = office.json(&[&forget[..], &seen].concat());
    assert_eq!(done["certificates"].as_array().map(Vec::len), Some(2));
    server.stop();
}

/// The file, the vault's public key, and nothing else: no server, no member, no folder of a vault.
fn a_certificate_stands_by_itself(office: &Office, item: &str, made: &Value) {
    let file = std::fs::read_to_string(office.path("erased.txt")).expect("is there");
    assert_eq!(made["certificate"], file.as_str());
    let seq = made["entry"].as_u64().expect("a number").to_string();
    let again = office.run(&["audit", "certificate", item]);
    assert!(again.status.success());
    let by_number = office.json(&["audit", "certificate", &seq, "-o", "again.txt"]);
    assert_eq!((&by_number["item"], &by_number["final"]), (&made["item"], &false.into()));
    office.fails(&["audit", "certificate", &seq, "-o", "again.txt"], 1);
    office.fails(&["audit", "certificate", "0"], 1);
    office.fails(&["audit", "certificate", "ffff0000"], 1);

    let key = std::fs::read_to_string(office.path("vault/checkpoint.pub")).expect("is there");
    std::fs::write(office.path("vault.pub"), &key).expect("written");
    for file in ["erased.txt", "again.txt"] {
        let verify = ["audit", "verify", "--certificate", file, "--key", "vault.pub"];
        let proven = office.alone(&verify);
        assert!(proven.status.success(), "{}", String::from_utf8_lossy(&proven.stderr));
        let said = String::from_utf8_lossy(&proven.stdout).into_owned();
        for words in ["The certificate holds", "It proves", "Provisional until", "does not prove"] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    let altered = file.replacen("by member 1", "by member 2", 1);
    assert_ne!(altered, file);
    std::fs::write(office.path("altered.txt"), altered).expect("written");
    let (error, hint) =
        office.fails(&["audit", "verify", "--certificate", "altered.txt", "--key", key.trim()], 1);
    assert!(error.contains("altered.txt: altered") && error.contains("line"), "{error}");
    assert!(!hint.is_empty());
    let other = "kluis/0123456789abcdef0123456789abcdef+";
    office.fails(&["audit", "verify", "--certificate", "erased.txt", "--key", other], 1);
    office.fails(&["audit", "verify", "--certificate", "erased.txt"], 2);
}

fn the_case_is_decided_answered_and_closed(office: &Office, case: &str) {
    office.json(&["note", case, "called", "back"]);
    office.fails(&["close", case, "too early"], 1);
    office.json(&["ask", case, "which Lotte?"]);
    office.fails(&["ask", case, "again"], 1);
    office.json(&["resume", case, "this one"]);
    office.json(&["extend", case, "three archives"]);
    office.json(&["decide", case, "granted"]);
    std::fs::write(office.path("answer.txt"), "Beste Lotte, in bijlage uw gegevens.\n")
        .expect("written");
    let answer = ["answer", case, "--text", "answer.txt", "--proof"];
    office.fails(&[&answer[..], &["guess:x"]].concat(), 2);
    let (error, hint) = office.fails(&[&answer[..], &["in-person:came by"]].concat(), 1);
    assert!(error.contains("no key") && hint.contains("--code"), "{error}");
    let sent = office.json(&[&answer[..], &["in-person:came by", "--code"]].concat());
    assert_eq!(sent["code"].as_str().map(str::len), Some(21));
    let key = MailboxKey::generate("lotte@example.org", 1_700_000_000).expect("a key");
    std::fs::write(office.path("lotte.asc"), key.public_armored().expect("armor"))
        .expect("written");
    let confirm = ["confirm-key", case, "lotte.asc"];
    let (_, hint) = office.fails(&confirm, 2);
    assert!(hint.contains("--yes"), "{hint}");
    office.fails(&["confirm-key", case, "answer.txt", "--yes"], 1);
    let confirmed = office.json(&[&confirm[..], &["--yes"]].concat());
    let sent = office.json(&[&answer[..], &["match:birth date"]].concat());
    assert_eq!(sent["key"], confirmed["key"]);
    office.json(&["close", case, "answered"]);
    let shown = office.json(&["show", case]);
    assert_eq!(shown["state"], "closed");
    assert_eq!(shown["extended"], true);
    let notes = shown["notes"].as_array().expect("notes");
    assert!(notes.iter().any(|note| note["words"] == "called back"), "{notes:?}");
}

fn the_ledger_is_verified(office: &Office, vkey: &str) {
    let lines = office.run(&["audit", "log", "--json"]).stdout;
    let lines = String::from_utf8(lines).expect("UTF-8");
    assert!(lines.lines().count() > 20);
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    office.json(&["audit", "export", "ledger.jsonl"]);
    office.fails(&["audit", "export", "ledger.jsonl"], 1);
    let proven = office.json(&["audit", "verify", "ledger.jsonl", "--key", vkey]);
    assert_eq!(proven["entries"], proven["covered"]);
    let live = office.json(&["audit", "verify", "--checkpoint", "ledger.jsonl"]);
    assert_eq!(live["extends_earlier"], true);

    office.fails(&["audit", "verify", "--dir", "vault"], 75);
    let text = std::fs::read_to_string(office.path("ledger.jsonl")).expect("reads");
    let cut: Vec<&str> = text.lines().take(text.lines().count() - 1).collect();
    std::fs::write(office.path("cut.jsonl"), cut.join("\n")).expect("written");
    office.fails(&["audit", "verify", "cut.jsonl"], 1);
    assert!(!text.contains("lotte") && !text.contains("Inzage"), "facts only");
}

#[test]
fn a_port_in_use_is_said_and_may_be_tried_later() {
    let office = Office::new();
    office.found();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = taken.local_addr().expect("an address").to_string();
    let file = office.path("vault/kluis.toml");
    let text = std::fs::read_to_string(&file).expect("settings");
    std::fs::write(&file, text.replace("127.0.0.1:0\"", &format!("{place}\""))).expect("written");
    let (error, _) = office.fails(&["serve", "vault"], 75);
    assert!(error.contains(&place), "{error}");
}

#[test]
fn a_reader_who_goes_away_is_no_error() {
    let office = Office::new();
    let mut child = office
        .command(&["config"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kluis runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_doctor_names_what_mends_each_finding() {
    let office = Office::new();
    office.found();
    let file = office.path("vault/kluis.toml");
    let text = std::fs::read_to_string(&file).expect("settings");
    let both = "[\"backoffice@jobexpert.be\", \"backoffice@jobexerpert.be\"]";
    std::fs::write(&file, text.replace("[\"backoffice@jobexpert.be\"]", both)).expect("written");
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(office.path("vault"), open).expect("opened");
    let output = office.run(&["doctor", "vault", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    for finding in findings.iter().filter(|finding| finding["level"] != "well") {
        assert!(!finding["mend"].as_str().expect("a text").is_empty(), "{finding}");
    }
    let found = |words: &str| findings.iter().any(|f| f["what"].as_str().unwrap().contains(words));
    assert!(found("misspelling of jobexpert.be"));
    assert!(found("others may look into"));
    assert!(found("same device"));
    assert!(found("seccomp"));
    assert!(found("nobody outside is mailed checkpoints"));
}

/// An outsider has the mail as it was received, and the auditor what `audit export` wrote.
#[test]
fn a_mailed_checkpoint_verifies_the_ledger_as_it_was_received() {
    let office = Office::new();
    office.found();
    let file = office.path("vault/kluis.toml");
    let text = std::fs::read_to_string(&file).expect("settings");
    std::fs::write(&file, text.replace("\nto = []", "\nto = [\"dpo@outside.example\"]"))
        .expect("written");
    let doctor = || String::from_utf8(office.run(&["doctor", "vault"]).stdout).expect("UTF-8");
    assert!(doctor().contains("no checkpoint was ever mailed to outsiders"));

    let server = office.serve();
    let mailed = || {
        let listed = std::fs::read_dir(office.path("vault/outgoing")).ok()?;
        let mut files = listed.map(|entry| entry.expect("an entry").path());
        files.find(|file| file.extension().is_some_and(|kind| kind == "eml"))
    };
    let start = std::time::Instant::now();
    let mail = loop {
        if let Some(mail) = mailed() {
            break mail;
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "no checkpoint was mailed");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    send(server.smtp(), LETTER);
    let log = server.stop();
    assert!(!log.contains("dpo@"), "{log}");
    assert!(doctor().contains("outsiders were mailed a checkpoint, the last one"));

    // As a program stores it, and as somebody copies it out of one.
    let received = std::fs::read(&mail).expect("is read");
    let shown = kluis::reply::checkpoint::text_of(&received);
    std::fs::write(office.path("mail.eml"), &received).expect("written");
    std::fs::write(office.path("copied.txt"), &shown[shown.find("Please").expect("words")..])
        .expect("written");
    for file in ["mail.eml", "copied.txt"] {
        let verify = ["audit", "verify", "--dir", "vault", "--checkpoint", file];
        assert_eq!(office.json(&verify)["extends_earlier"], true, "{file}");
    }
    let forged = shown.replacen("\nkluis/", "\nkluis/0", 1);
    std::fs::write(office.path("forged.txt"), &forged).expect("written");
    let verify = ["audit", "verify", "--dir", "vault", "--checkpoint", "forged.txt"];
    let (error, _) = office.fails(&verify, 2);
    assert!(error.contains("forged.txt holds no checkpoint"), "{error}");
    let size = shown.lines().skip_while(|line| !line.starts_with("kluis/")).nth(1).expect("a size");
    let other = shown.replacen(&format!("\n{size}\n"), "\n1\n", 1);
    std::fs::write(office.path("other.txt"), other).expect("written");
    office.fails(&["audit", "verify", "--dir", "vault", "--checkpoint", "other.txt"], 1);
}

/// What the doctor finds amiss in the office's vault: level and words.
fn amiss(office: &Office) -> Vec<(String, String)> {
    let output = office.run(&["doctor", "vault", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    let text = |finding: &Value, name: &str| finding[name].as_str().expect("a text").to_owned();
    let amiss = findings.iter().filter(|finding| finding["level"] != "well");
    amiss.map(|finding| (text(finding, "level"), text(finding, "what"))).collect()
}

#[test]
fn the_doctor_finds_what_is_amiss_in_a_vault_and_not_in_one_that_is_well() {
    let office = Office::new();
    office.found();
    let is_in = |found: &[(String, String)], level: &str, words: &str| {
        found.iter().any(|(l, what)| l == level && what.contains(words))
    };
    let expected = [
        ("warning", "a domain without a dot"),
        ("warning", "mail is taken from outside without TLS"),
        ("problem", "vault.cabinet-key: "),
        ("problem", "the ledger was written later than the clock says"),
        ("warning", "are kept back for a full disk"),
        ("warning", "the user that serves holds a member's key"),
    ];
    let found = amiss(&office);
    for (level, words) in expected {
        assert!(!is_in(&found, level, words), "{words}: {found:?}");
    }

    let file = office.path("vault/kluis.toml");
    let text = std::fs::read_to_string(&file).expect("settings");
    let spoilt = text
        .replace("[\"backoffice@jobexpert.be\"]", "[\"backoffice@jobexpert\"]")
        .replacen("\"127.0.0.1:0\"", "\"0.0.0.0:0\"", 1);
    std::fs::write(&file, spoilt).expect("written");
    std::fs::rename(office.path("vault.cabinet-key"), office.path("elsewhere")).expect("moved");
    let listed = std::fs::read_dir(office.path("vault/ledger")).expect("lists");
    let ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
    for entry in listed {
        let file = std::fs::File::options().write(true).open(entry.expect("an entry").path());
        file.expect("opens").set_modified(ahead).expect("is set");
    }
    std::fs::remove_dir_all(office.path("vault/reserve")).expect("removed");
    std::fs::create_dir_all(office.path("home")).expect("made");
    let own = office.path("home/staff.key");
    std::fs::copy(office.path("keys/staff1.key"), own).expect("copied");
    let found = amiss(&office);
    for (level, words) in expected {
        assert!(is_in(&found, level, words), "{words}: {found:?}");
    }

    std::fs::remove_dir_all(office.path("vault/roster")).expect("removed");
    let found = amiss(&office);
    assert!(is_in(&found, "problem", "roster"), "{found:?}");
}

/// Nothing here may depend on the folder that the tests are started in.
#[test]
fn relative_paths_are_remembered_as_absolute_ones() {
    let office = Office::new();
    office.found();
    let server = office.serve();
    office.json(&[
        "unlock",
        "--server",
        "vault/kluis.sock",
        "--member",
        "staff2",
        "--key-file",
        "keys/staff2.key",
        "--passphrase-file",
        "words",
    ]);
    let elsewhere = office
        .command(&["queue", "--json"])
        .current_dir(Path::new("/"))
        .output()
        .expect("kluis runs");
    assert!(elsewhere.status.success(), "{}", String::from_utf8_lossy(&elsewhere.stderr));
    office.json(&["lock"]);
    drop(server);
}

#[test]
fn the_demo_shows_everything_at_work_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a directory");
    let demo = |args: &[&str]| {
        let mut command = std::process::Command::new(crate::world::KLUIS);
        command.args(args).env("TMPDIR", temporary.path()).stdin(std::process::Stdio::null());
        command.output().expect("runs")
    };
    let shown = demo(&["demo"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success(), "{text}{}", String::from_utf8_lossy(&shown.stderr));
    for part in [
        "250  lotte",
        "the same as Lotte sent",
        "| Tess Miller",
        "the answer is on its way",
        "error: this was forgotten",
        "nothing is wrong",
        "proven by the checkpoint",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(std::fs::read_dir(temporary.path()).expect("reads").count(), 0);

    let dir = temporary.path().join("kept");
    let told = demo(&["demo", "--json", "--dir", dir.to_str().expect("is UTF-8")]);
    assert!(told.status.success());
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("is JSON");
    assert_eq!(told["cases"].as_array().map(Vec::len), Some(2));
    assert!(dir.join("vault/kluis.toml").exists());
    let again = demo(&["demo", "--dir", dir.to_str().expect("is UTF-8")]);
    assert!(!again.status.success(), "an existing directory is left alone");
}
