//! Keys together with stock `age`, and the agent as a process and as a socket.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kluis::ids::{StaffId, VaultId, random};
use kluis::keys::challenge::Challenge;
use kluis::keys::epoch::EpochSecret;
use kluis::keys::roster::{BackupKey, Member, Role, Roster};
use kluis::keys::staff::{StaffKey, StaffRecipient};
use kluis::keys::wrapped::{self, Kind};
use kluis::keys::{Passphrase, UnlockError};
use kluis::staff::agent::{self, Agent, AgentClient, Error, LONGEST_FILE, Opener, Plan};

const WORDS: &str = "four words of passphrase";

fn words(text: &str) -> Passphrase {
    Passphrase::new(text.into())
}

fn roster(members: [&StaffRecipient; 2]) -> Roster {
    let fresh = || StaffKey::generate().recipient().clone();
    let backup = |name: &str| BackupKey { name: name.into(), recipient: fresh() };
    let member = |id: usize| Member {
        id: StaffId(id as u16 + 1),
        name: ["lotte", "piet"][id].into(),
        roles: [Role::Backoffice].into(),
        recipient: members[id].clone(),
    };
    let roster = Roster {
        version: 1,
        vault: VaultId::random(),
        members: vec![member(0), member(1)],
        recovery: fresh(),
        backups: vec![backup("nadia"), backup("wim")],
    };
    roster.check().expect("follows the rules");
    roster
}

/// Whether a program is there. In CI it has to be.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(found || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} is missing");
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs a command at a terminal of its own and types `lines` into it.
fn at_a_terminal(command: &str, lines: &[&str]) -> bool {
    let mut child = Command::new("timeout")
        .args(["120", "script", "-qec", command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    // Held until the command ends: the end of the input would reach it as a key press.
    let mut keyboard = child.stdin.take().expect("is piped");
    for line in lines {
        keyboard.write_all(format!("{line}\n").as_bytes()).expect("typed");
    }
    child.wait().expect("ends").success()
}

fn test_key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/test").join(name)
}

#[test]
fn stock_age_opens_an_epoch_with_a_saved_key_and_a_box_with_the_epoch() {
    if !is_there("age") || !is_there("age-keygen") || !is_there("script") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (lotte, piet) = (StaffKey::generate(), StaffKey::generate());
    let secret = EpochSecret::generate();
    let file = wrapped::wrap_epoch(&secret, &roster([lotte.recipient(), piet.recipient()]));
    fs::write(at("1.age"), file).expect("written");
    lotte.save(Path::new(&at("staff.key")), &words(WORDS), Some(4)).expect("saved");
    fs::write(at("box.age"), secret.public().wrap(b"content")).expect("written");

    let open = format!("age -d -i {} -o {} {}", at("staff.key"), at("1.key"), at("1.age"));
    assert!(!at_a_terminal(&open, &["another passphrase"]));
    assert!(at_a_terminal(&open, &[WORDS]));
    let public = run(Command::new("age-keygen").args(["-y", &at("1.key")]));
    assert_eq!(String::from_utf8_lossy(&public).trim(), secret.public().to_string());
    let content = run(Command::new("age").args(["-d", "-i", &at("1.key"), &at("box.age")]));
    assert_eq!(content, b"content");
}

#[test]
fn a_key_made_and_a_file_wrapped_by_stock_age_open_here() {
    if !is_there("age") || !is_there("age-keygen") || !is_there("script") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    run(Command::new("age-keygen").args(["-o", &at("clear.key")]));
    let clear = StaffKey::unlock(Path::new(&at("clear.key")), &words(WORDS));
    assert_eq!(clear.err(), Some(UnlockError::Unprotected));
    let protect = format!("age -p -o {} {}", at("staff.key"), at("clear.key"));
    assert!(at_a_terminal(&protect, &[WORDS, WORDS]));

    let path = PathBuf::from(at("staff.key"));
    let wrong = StaffKey::unlock(&path, &words("another passphrase"));
    assert_eq!(wrong.err(), Some(UnlockError::WrongPassphrase));
    let key = StaffKey::unlock(&path, &words(WORDS)).expect("unlocks");
    fs::write(at("message"), b"from elsewhere").expect("written");
    let recipient = key.recipient().to_string();
    let file = run(Command::new("age").args(["-r", &recipient, &at("message")]));
    assert_eq!(key.unwrap(&file).expect("opens").as_slice(), b"from elsewhere");
}

#[test]
fn an_ssh_key_serves_as_a_members_key_both_ways() {
    let public = fs::read_to_string(test_key("ssh_ed25519.pub")).expect("reads");
    let recipient: StaffRecipient = public.parse().expect("parses");
    let private = test_key("ssh_ed25519");
    let wrong = StaffKey::unlock(&private, &words("another"));
    assert_eq!(wrong.err(), Some(UnlockError::WrongPassphrase));
    let clear = StaffKey::unlock(&test_key("ssh_clear"), &words("throwaway"));
    assert_eq!(clear.err(), Some(UnlockError::Unprotected));
    let key = StaffKey::unlock(&private, &words("throwaway")).expect("unlocks");
    assert_eq!(key.recipient(), &recipient);

    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy");
    let refused = key.save(&copy, &words(WORDS), Some(4)).expect_err("stays the file it is");
    assert_eq!(refused.kind(), std::io::ErrorKind::Unsupported);
    let secret = EpochSecret::generate();
    let file =
        wrapped::wrap_epoch(&secret, &roster([&recipient, StaffKey::generate().recipient()]));
    let opened = wrapped::unwrap_epoch(&file, &key).expect("opens");
    assert_eq!(opened.public().to_string(), secret.public().to_string());

    if !is_there("age") || !is_there("script") {
        return;
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("1.age"), file).expect("written");
    let open = format!("age -d -i {} -o {} {}", private.display(), at("1.key"), at("1.age"));
    assert!(at_a_terminal(&open, &["throwaway"]));
    let text = fs::read_to_string(at("1.key")).expect("reads");
    assert!(text.contains(secret.to_text().as_str()));
    let pub_file = test_key("ssh_ed25519.pub").display().to_string();
    let wrapped = run(Command::new("age").args(["-R", &pub_file, &at("1.key")]));
    assert_eq!(key.unwrap(&wrapped).expect("opens").as_slice(), text.as_bytes());
}

/// An agent in a thread of this process.
fn agent_of(key: StaffKey, socket: &Path, life: Duration) -> thread::JoinHandle<()> {
    let agent = Agent::listen(socket).expect("listens");
    thread::spawn(move || agent.serve(&key, "lotte", life).expect("serves"))
}

#[test]
fn an_agent_answers_log_ins_and_opens_secrets_until_it_is_locked() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("run/agent.sock");
    assert!(matches!(AgentClient::find(&socket), Err(Error::Locked)));
    let key = StaffKey::generate();
    let recipient = key.recipient().clone();
    let thread = agent_of(key, &socket, Duration::from_secs(60));
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(&folder.path().join("run"))), (0o600, 0o700));
    assert!(matches!(Agent::listen(&socket), Err(Error::Unlocked)));

    let client = AgentClient::find(&socket).expect("runs");
    let status = client.status().expect("answers");
    assert_eq!(status.member, "lotte");
    assert!((50..=60).contains(&status.seconds_left));
    let mut opener = Opener::Agent(client);

    let roster = roster([&recipient, StaffKey::generate().recipient()]);
    let nonce = random();
    let (challenge, file) = Challenge::for_member(roster.vault, "lotte", &recipient, &nonce);
    let other = opener.answer(&file, VaultId::random(), &nonce, "lotte");
    assert!(matches!(other, Err(Error::NotForThisKey(_))));
    let answer = opener.answer(&file, roster.vault, &nonce, "lotte").expect("answers");
    assert!(challenge.verify(&answer));

    let secret = EpochSecret::generate();
    let opened = opener.unwrap_epoch(&wrapped::wrap_epoch(&secret, &roster)).expect("opens");
    assert_eq!(opened.public().to_string(), secret.public().to_string());
    let long = vec![9; 500_000];
    let file = wrapped::wrap_secret(Kind::Mailbox, &long, &roster);
    let opened = opener.unwrap_secret(Kind::Mailbox, &file).expect("opens");
    assert_eq!(opened.as_slice(), long);
    let foreign = EpochSecret::generate().public().wrap(b"for another key");
    for refused in [foreign, vec![0; LONGEST_FILE], vec![0; LONGEST_FILE + 1], Vec::new()] {
        assert!(matches!(opener.unwrap(&refused), Err(Error::NotForThisKey(_))));
    }

    AgentClient::find(&socket).expect("still runs").lock().expect("locks");
    assert!(!socket.exists());
    thread.join().expect("has ended");
    assert!(matches!(opener.unwrap(b"x"), Err(Error::Locked)));
}

#[test]
fn an_agent_survives_clients_that_send_nonsense_or_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("run/agent.sock");
    let thread = agent_of(StaffKey::generate(), &socket, Duration::from_secs(60));
    for nonsense in [&b""[..], b"\0", b"\xff\xff\xff\xffxx", b"\0\0\0\x03\x82\x09\x80", b"\0\0\0\0"]
    {
        let mut stream = UnixStream::connect(&socket).expect("connects");
        stream.write_all(nonsense).expect("written");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    let silent = UnixStream::connect(&socket).expect("connects");
    let asked = Instant::now();
    let client = AgentClient::find(&socket).expect("a silent client delays, and no more");
    assert!(asked.elapsed() < Duration::from_secs(20));
    client.lock().expect("locks");
    thread.join().expect("has ended");
    drop(silent);
}

#[test]
fn an_agent_ends_when_its_time_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("run/agent.sock");
    let began = Instant::now();
    let thread = agent_of(StaffKey::generate(), &socket, Duration::from_millis(1500));
    let client = AgentClient::find(&socket).expect("runs");
    while client.status().is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "being asked must not prolong it");
        thread::sleep(Duration::from_millis(20));
    }
    thread.join().expect("has ended");
    assert!(began.elapsed() >= Duration::from_millis(1500));
    assert!(!socket.exists());
}

#[test]
fn an_agent_does_not_answer_another_user() {
    if !is_there("perl") {
        return;
    }
    let is_root = fs::metadata("/proc/self").map(|found| {
        use std::os::unix::fs::MetadataExt as _;
        found.uid() == 0
    });
    if !is_root.expect("is there") {
        eprintln!("SKIPPED: only root can be another user");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("run/agent.sock");
    let thread = agent_of(StaffKey::generate(), &socket, Duration::from_secs(60));
    // The doors that the file system keeps shut are opened, to see that the agent asks by itself.
    for path in [folder.path().to_owned(), folder.path().join("run")] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("opened");
    }
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("opened");
    let ask = "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); $SIG{PIPE} = 'IGNORE';
        connect(S, sockaddr_un($ARGV[0])) or die 'not connected';
        syswrite(S, qq(\\0\\0\\0\\1\\xf6)); print sysread(S, $b, 64) > 0 ? 'answered' : 'nothing'";
    let ask_as = |user: u32| {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("perl");
        run(command.args(["-e", ask]).arg(&socket).uid(user).gid(user).current_dir("/"))
    };
    assert_eq!(ask_as(0), b"answered");
    assert_eq!(ask_as(65534), b"nothing");
    AgentClient::find(&socket).expect("runs").lock().expect("locks");
    thread.join().expect("has ended");
}

/// What stands for this program in [`an_agent_starts_as_a_process_of_its_own`]: the hidden
/// subcommand, run by this test binary with its report on descriptor 3.
const PROGRAM: &str = "#!/bin/sh
test \"$*\" = agent || exit 9
KLUIS_TEST_AGENT=1 exec 'EXE' --exact keys::the_process_of_an_agent 3>&1 >/dev/null
";

#[test]
fn the_process_of_an_agent() {
    if std::env::var_os("KLUIS_TEST_AGENT").is_some() {
        let report = File::options().write(true).open("/proc/self/fd/3").expect("is open");
        agent::child(std::io::stdin(), report).expect("serves");
    }
}

#[test]
fn an_agent_starts_as_a_process_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("program");
    let exe = std::env::current_exe().expect("has a path").display().to_string();
    fs::write(&program, PROGRAM.replace("EXE", &exe)).expect("written");
    fs::set_permissions(&program, Permissions::from_mode(0o700)).expect("made executable");
    let key_file = folder.path().join("staff.key");
    let socket = folder.path().join("run/agent.sock");
    let key = StaffKey::generate();
    key.save(&key_file, &words(WORDS), Some(4)).expect("saved");
    let plan =
        Plan { socket: &socket, key: &key_file, member: "lotte", life: Duration::from_secs(60) };

    let wrong = agent::spawn(&program, &plan, &words("another passphrase"));
    assert!(matches!(wrong, Err(Error::Unlock(UnlockError::WrongPassphrase))), "{wrong:?}");
    let nowhere = Plan { key: Path::new("/nowhere/staff.key"), ..plan };
    let none = agent::spawn(&program, &nowhere, &words(WORDS));
    assert!(matches!(none, Err(Error::Unlock(UnlockError::NoFile))), "{none:?}");
    assert!(!socket.exists());
    let open = Plan { socket: &folder.path().join("open/agent.sock"), ..plan };
    fs::create_dir(folder.path().join("open")).expect("made");
    fs::set_permissions(folder.path().join("open"), Permissions::from_mode(0o755)).expect("opened");
    let refused = agent::spawn(&program, &open, &words(WORDS));
    assert!(matches!(refused, Err(Error::Home(_))), "{refused:?}");
    let no_program = agent::spawn(Path::new("/bin/false"), &plan, &words(WORDS));
    assert!(no_program.is_err());

    // A socket that a killed agent left behind is no agent.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    agent::spawn(&program, &plan, &words(WORDS)).expect("starts");
    let again = agent::spawn(&program, &plan, &words(WORDS));
    assert!(matches!(again, Err(Error::Unlocked)), "{again:?}");
    assert!(processes_that_show(WORDS).is_empty());

    let roster = roster([key.recipient(), StaffKey::generate().recipient()]);
    let secret = EpochSecret::generate();
    let mut opener = Opener::Agent(AgentClient::find(&socket).expect("runs"));
    assert!(opener.unwrap_epoch(&wrapped::wrap_epoch(&secret, &roster)).is_ok());
    AgentClient::find(&socket).expect("runs").lock().expect("locks");
    assert!(matches!(AgentClient::find(&socket), Err(Error::Locked)));
}

/// The processes whose arguments or environment hold `text`, as far as they may be read.
fn processes_that_show(text: &str) -> Vec<PathBuf> {
    let shows = |file: PathBuf| {
        fs::read(file).is_ok_and(|bytes| bytes.windows(text.len()).any(|w| w == text.as_bytes()))
    };
    let entries = fs::read_dir("/proc").expect("lists").filter_map(Result::ok);
    entries
        .map(|entry| entry.path())
        .filter(|path| shows(path.join("cmdline")) || shows(path.join("environ")))
        .collect()
}
