//! What stays in memory: of a letter that was received or read, and of keys, nothing that somebody
//! who looks into the process, or finds its core dump, could take.
//!
//! A server, its parsers, a member's agent and a member's command run as they do in life; five
//! seconds after a letter came, and after it was read, everything that can be read of them is
//! searched for its words in every form and for every key. Thirty-two bytes that a lab build keeps
//! in ordinary memory on purpose must be found each time: a search that finds nothing proves
//! nothing.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::{BASE64_MIME, HEXLOWER};
use kluis::ids::random;
use kluis::keys::wrapped;
use kluis::ledger::entry::{CHECKPOINT_KEY, Entry, Fact, MESSAGE_ID_KEY};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::mail_client::Client as Sender;
use crate::secrecy::{bytes_of, secret_text};
use crate::thief::{Search, Thief};
use crate::way::skipped;
use crate::world::{KLUIS, MAILBOX, Process, World, passphrase};

/// What a person writes, in each place; the address stands in memory on purpose while the case is
/// open, and is not looked for.
struct Words {
    name: String,
    subject: String,
    body: String,
    attachment_name: String,
    attachment: String,
}

/// How long after an act the search begins.
const AFTER: Duration = Duration::from_secs(5);
/// Bytes of the large attachment: it goes through every kind of buffer more than once.
const LARGE: usize = 300_000;

impl Words {
    fn random() -> Self {
        let word = || format!("zq{}", HEXLOWER.encode(&random::<9>()));
        Self {
            name: word(),
            subject: word(),
            body: word(),
            attachment_name: word(),
            attachment: word(),
        }
    }

    fn all(&self) -> [(&'static str, &str); 5] {
        [
            ("name", &self.name),
            ("subject", &self.subject),
            ("body", &self.body),
            ("attachment's name", &self.attachment_name),
            ("attachment", &self.attachment),
        ]
    }

    /// A letter with these words, each more than once; the attachment's all over it.
    fn letter(&self) -> Vec<u8> {
        let body = format!("Geachte, {}. ", self.body).repeat(20);
        let mut content = String::with_capacity(LARGE + 100);
        while content.len() < LARGE {
            content.push_str(&format!("{:>5} {} lorem ipsum\n", content.len(), self.attachment));
        }
        format!(
            "From: {} <lotte@client.example>\r\nTo: {MAILBOX}\r\nSubject: {}\r\n\
             Message-ID: <{}@client.example>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=b\r\n\r\n\
             --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n\
             --b\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>{}=\r\n</p>\r\n\
             --b\r\nContent-Type: application/pdf; name=\"{}.pdf\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
            self.name,
            self.subject,
            HEXLOWER.encode(&random::<8>()),
            self.body,
            self.attachment_name,
            BASE64_MIME.encode(content.as_bytes()),
        )
        .into_bytes()
    }
}

/// A vault with a server around it, whose processes the lab may look into.
struct Lab {
    world: World,
    /// What is kept in ordinary memory on purpose.
    control: [u8; 32],
    words: Words,
    level: &'static str,
}

impl Lab {
    /// Secrets reach this level at best.
    fn new(level: &'static str) -> Self {
        let lab = Self { world: World::found(), control: random(), words: Words::random(), level };
        // What the command line needs to find the server and anna's key.
        std::fs::write(lab.path("words"), format!("{}\n", passphrase().expose())).expect("written");
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.root.path().join(name)
    }

    fn variables(&self) -> Vec<(String, String)> {
        let secrets = self.path("secrets").display().to_string();
        [
            ("KLUIS_LAB_OPEN", HEXLOWER.encode(&self.control)),
            ("KLUIS_LAB_SECRETS", secrets),
            ("KLUIS_LAB_MEMORY", self.level.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn serve(&self) -> Process {
        let variables = self.variables();
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.world.spawn(&variables)
    }

    /// A command of the staff side.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(KLUIS);
        command
            .args(arguments)
            .current_dir(self.world.root.path())
            .env("KLUIS_HOME", self.path("home"))
            .envs(self.variables())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the staff side to its end.
    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(arguments).output().expect("runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        output.stdout
    }

    fn unlock(&self) {
        let socket = self.world.state().join("kluis.sock").display().to_string();
        let arguments = ["unlock", "--server", &socket, "--member", "anna"];
        let key = ["--key-file", "keys/anna.key", "--passphrase-file", "words"];
        self.run(&[&arguments[..], &key[..]].concat());
    }

    /// The letter's words in every form, every key there is, and the control.
    fn needles(&self) -> Search {
        let mut needles = Search::for_words(self.words.all()).into_needles();
        needles.push(("control".to_owned(), self.control.to_vec()));
        let mut add = |name: String, bytes: &[u8]| needles.push((name, bytes.to_vec()));
        let file = std::fs::read(self.world.state().join("epochs/1.age")).expect("is there");
        let epoch = wrapped::unwrap_epoch(&file, &self.world.key("anna")).expect("anna reads");
        for (name, text) in
            [("epoch", epoch.to_text().to_string()), ("anna", secret_text(&self.world, "anna"))]
        {
            add(format!("{name}, its bytes"), &bytes_of(&text));
            add(format!("{name}, its text"), text.as_bytes());
        }
        add("passphrase".to_owned(), passphrase().expose().as_bytes());
        let thief = Thief::default()
            .with(&self.world.state())
            .with(&self.world.cabinet_key())
            .knowing(epoch);
        for key in thief.cabinet_keys() {
            add("cabinet key".to_owned(), key);
        }
        let boxes = thief.boxes();
        assert!(boxes.len() >= 5, "the letter's boxes are there");
        for entry in &boxes {
            let kind = entry.box_kind.expect("a box has a kind");
            add(format!("box key of a {kind:?}"), &thief.key(entry).expect("is kept"));
            for chunk in thief.open(entry).expect("opens").0.chunks.iter() {
                add("chunk key".to_owned(), &chunk.to_bytes()[32..]);
            }
        }
        for number in [CHECKPOINT_KEY, MESSAGE_ID_KEY] {
            let is_own = |e: &&Entry| e.kind == Fact::ServerKey && e.count == Some(number);
            let own = thief.entries().iter().find(is_own);
            add(format!("own key {number}"), &thief.key(own.expect("is named")).expect("is kept"));
        }
        for line in std::fs::read_to_string(self.path("secrets")).expect("was told").lines() {
            add("window secret".to_owned(), &HEXLOWER.decode(line.as_bytes()).expect("hex"));
        }
        Search::for_bytes(needles)
    }

    fn deliver(&self, sender: &mut Sender<std::net::TcpStream>) {
        let letter = self.words.letter();
        let answers = sender.send("lotte@client.example", &[MAILBOX], &letter).expect("answers");
        assert_eq!(answers.iter().map(|answer| answer.code).collect::<Vec<_>>(), [250]);
    }
}

/// A stretch of a process's memory.
struct Stretch {
    from: u64,
    to: u64,
    /// Its line in /proc/PID/smaps, and the flags of the kernel.
    line: String,
    flags: String,
    /// Whether it is a part of a file that nobody changed here.
    is_file: bool,
}

fn stretches(pid: u32) -> Option<Vec<Stretch>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    let mut found: Vec<Stretch> = Vec::new();
    for line in text.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if let Some((from, to)) = first.split_once('-')
            && let (Ok(from), Ok(to)) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16))
        {
            found.push(Stretch {
                from,
                to,
                line: line.to_owned(),
                flags: String::new(),
                is_file: line.contains(" /"),
            });
        } else if let (Some(changed), Some(last)) =
            (line.strip_prefix("Anonymous:"), found.last_mut())
        {
            last.is_file &= changed.trim() == "0 kB";
        } else if let (Some(flags), Some(last)) = (line.strip_prefix("VmFlags:"), found.last_mut())
        {
            last.flags = format!("{flags} ");
        }
    }
    Some(found)
}

/// What is found in the memory of a process, each as `name in place`: `locked` is a place that is
/// locked and in no core dump, `ordinary` is any other.
fn found_in(search: &Search, pid: u32) -> Option<Vec<String>> {
    const PIECE: u64 = 1 << 20;
    const OVERLAP: u64 = 256;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut found = Vec::new();
    for stretch in stretches(pid)?.into_iter().filter(|stretch| !stretch.is_file) {
        let is_locked = stretch.flags.contains(" lo ") && stretch.flags.contains(" dd ");
        let place = if is_locked { "locked" } else { "ordinary" };
        let mut at = stretch.from;
        while at < stretch.to {
            let mut piece = vec![0; (stretch.to - at).min(PIECE + OVERLAP) as usize];
            let length = memory.read_at(&mut piece, at).unwrap_or(0);
            if piece[..length].iter().any(|&byte| byte != 0) {
                let names = search.find_unbroken(&piece[..length]);
                if std::env::var_os("MEMORY_SHOW").is_some() && !names.is_empty() {
                    eprintln!("{pid} {} {names:?}", stretch.line);
                }
                found.extend(names.iter().map(|name| format!("{name} in {place}")));
            }
            at += PIECE;
        }
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// The children of a process: its parsers.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("is there");
    let lists = tasks.map(|task| task.expect("a task").path().join("children"));
    lists
        .filter_map(|list| std::fs::read_to_string(list).ok())
        .flat_map(|text| {
            text.split_whitespace().map(|pid| pid.parse().expect("a number")).collect::<Vec<u32>>()
        })
        .collect()
}

/// Lets the process abort with a core dump in its directory, and gives the memory in the dump: not
/// the registers, which hold what was copied last until something else is.
fn core_of(mut process: Child, dir: &Path) -> Option<Vec<u8>> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").ok()?;
    if pattern.trim() != "core" {
        return None;
    }
    let pid = Pid::from_child(&process);
    let all = Rlimit { current: None, maximum: None };
    prlimit(Some(pid), Resource::Core, all).ok()?;
    kill_process(pid, Signal::ABORT).expect("is told");
    process.wait().expect("ends");
    let listed = std::fs::read_dir(dir).expect("is listed");
    let is_core = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core"))
    };
    let core = listed.map(|entry| entry.expect("an entry").path()).find(is_core);
    let core = core.expect("a core dump was left");
    let bytes = std::fs::read(&core).expect("is read");
    std::fs::remove_file(core).expect("is removed");
    // The program headers (ELF-64): type 4, flags 4, offset 8, … ; type 1 is memory.
    let number = |at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
    };
    let headers = (0..number(56, 2)).map(|i| number(32, 8) + i * number(54, 2));
    let memory = headers.filter(|&at| number(at, 4) == 1).map(|at| number(at + 8, 8)).min()?;
    Some(bytes[memory..].to_vec())
}

const CONTROL: &str = "control in ordinary";

/// A member's command that has shown all it has to show, and waits to be looked at.
fn shown(lab: &Lab, arguments: &[&str]) -> (Child, String) {
    let mut child = lab
        .command(arguments)
        .env("KLUIS_LAB_LINGER", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("is piped"));
    stdout.read_line(&mut line).expect("is read");
    (child, line)
}

/// The agent that holds anna's key: the lab's other processes are known.
fn agent(lab: &Lab, others: &[u32]) -> u32 {
    let mark = HEXLOWER.encode(&lab.control);
    let is_ours = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    let listed = std::fs::read_dir("/proc").expect("is listed");
    let pids = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| !others.contains(pid)).find(is_ours).expect("an agent runs")
}

/// What was not found where it must be, and what was found where it must not.
fn faults(who: &str, found: &[String], may_be_locked: bool) -> Vec<String> {
    let is_fine =
        |what: &&String| *what == CONTROL || may_be_locked && what.ends_with(" in locked");
    let mut faults: Vec<String> =
        found.iter().filter(|what| !is_fine(what)).map(|what| format!("{who}: {what}")).collect();
    if !found.iter().any(|what| what == CONTROL) {
        faults.push(format!("{who}: the control was not found"));
    }
    faults
}

/// Has a letter delivered and read, waits, and searches everything that runs; then two core dumps.
/// Gives what was found locked in the server.
fn search_everything(test: &str, level: &'static str) -> Option<Vec<String>> {
    let lab = Lab::new(level);
    let mut server = lab.serve();
    let pid = server.child.id();
    // Its connection stays open: what lies in buffers that wait for the next letter counts.
    let mut sender = Sender::greet(server.smtp.expect("serves"), false).expect("greets");
    lab.deliver(&mut sender);
    lab.unlock();
    let queue: serde_json::Value =
        serde_json::from_slice(&lab.run(&["queue", "--json"])).expect("JSON");
    let case = queue["cases"][0]["case"].as_str().expect("a case").to_owned();
    let (show, line) = shown(&lab, &["show", &case, "--json"]);
    assert!(line.contains(&lab.words.body) && line.contains(&lab.words.subject), "it was read");
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let items = value["letters"][0]["items"].as_array().expect("items");
    let attached = items.iter().find(|item| item["role"] == "attachment").expect("is attached");
    let content = lab.run(&["get", attached["item"].as_str().expect("an id"), "-o", "-"]);
    assert!(content.len() >= LARGE && content.ends_with(b"lorem ipsum\n"), "it was read");
    std::thread::sleep(AFTER);

    let search = lab.needles();
    let agent = agent(&lab, &[pid, show.id()]);
    let mut wrong = Vec::new();
    let mut locked = Vec::new();
    for (who, pid) in [("server", pid), ("agent", agent), ("show", show.id())] {
        let Some(found) = found_in(&search, pid) else {
            skipped(test, "the system does not let this user look into a process");
            return None;
        };
        wrong.extend(faults(who, &found, level == "mlock"));
        let in_locked = found.iter().filter(|what| what.ends_with(" in locked"));
        locked.extend(in_locked.map(|what| format!("{who}: {what}")));
    }
    let parsers = children(pid);
    assert!(!parsers.is_empty(), "the server parsed the letter in a child");
    let itself = Search::for_bytes(vec![("itself".into(), b"confined-parse".to_vec())]);
    for parser in parsers {
        let found = found_in(&search, parser).unwrap_or_default();
        wrong.extend(found.iter().map(|what| format!("parser: {what}")));
        assert_eq!(found_in(&itself, parser).unwrap_or_default(), ["itself in ordinary"]);
    }
    // The agent would leave its dump in the root directory: it is locked as people do it.
    lab.run(&["lock"]);
    let child = std::mem::replace(&mut server.child, Command::new("true").spawn().expect("starts"));
    for (who, child) in [("server", child), ("show", show)] {
        let Some(core) = core_of(child, lab.world.root.path()) else {
            skipped(test, "core dumps go elsewhere than into a file `core`");
            return None;
        };
        assert!(core.len() > 1 << 20, "a whole dump");
        let in_core = |what: &&str| format!("{what} in ordinary");
        let found: Vec<String> = search.find_unbroken(&core).iter().map(in_core).collect();
        wrong.extend(faults(&format!("core of {who}"), &found, false));
    }
    drop(sender);
    assert!(wrong.is_empty(), "{wrong:#?}");
    Some(locked)
}

#[test]
fn neither_memory_nor_a_core_dump_holds_a_letter_or_a_key_five_seconds_after() {
    let test = "neither_memory_nor_a_core_dump_holds_a_letter_or_a_key_five_seconds_after";
    // Without `memfd_secret` the level below is all there is, and the other test is about it.
    let locked = search_everything(test, "memfd_secret").unwrap_or_default();
    assert!(locked.is_empty(), "pages that nobody can read: {locked:#?}");
}

#[test]
fn without_memfd_secret_keys_lie_in_locked_pages_alone_and_in_no_core_dump() {
    let test = "without_memfd_secret_keys_lie_in_locked_pages_alone_and_in_no_core_dump";
    if let Some(locked) = search_everything(test, "mlock") {
        for expected in ["server: cabinet key in locked", "agent: anna, its text in locked"] {
            assert!(locked.iter().any(|what| what == expected), "{expected}: {locked:#?}");
        }
    }
}
