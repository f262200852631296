//! The confined child: what hostile input does to it, and what it cannot do to us.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use landlock::{
    AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, Scope,
};

use kluis::sandbox::probe::PROBES;
use kluis::sandbox::{Failure, Limits, MAX_REQUEST, REQUESTS_PER_CHILD, Sandbox};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kluis");

/// A pool of probing children, confined as `how` says.
fn probing(how: &str, workers: usize, limits: Limits) -> Sandbox {
    let args = ["confined-probe", how].map(Into::into).to_vec();
    Sandbox::new(PROGRAM.into(), args, workers, limits)
}

async fn assert_serves(sandbox: &Sandbox, after: &str) {
    assert_eq!(sandbox.run(b"echo:still here").await, Ok(b"still here".to_vec()), "{after}");
}

/// As [`assert_serves`], by a pool whose time limit is so short that a busy machine may miss it.
async fn assert_served_in_time(sandbox: &Sandbox, after: &str) {
    for _ in 0..20 {
        match sandbox.run(b"echo:still here").await {
            Err(Failure::TimedOut) => {}
            other => return assert_eq!(other, Ok(b"still here".to_vec()), "{after}"),
        }
    }
    panic!("never served after {after}");
}

/// Processes whose command line holds `mark`, zombies not included (they have none).
fn running(mark: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(mark.len()).any(|part| part == mark.as_bytes()))
        })
        .collect()
}

/// Children of this kind that are dead and not waited for; other tests have children, too.
fn zombies() -> usize {
    let ours = format!("(kluis) Z {} ", std::process::id());
    std::fs::read_dir("/proc")
        .expect("/proc is there")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains(&ours))
        .count()
}

async fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(Duration::from_secs(10), what, holds).await;
}

async fn within(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < time, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_answers_request_after_request_and_is_replaced_in_time() {
    let sandbox = probing("landlock=99", 1, Limits::default());
    for round in 0..REQUESTS_PER_CHILD + 3 {
        let request = format!("echo:{round}");
        assert_eq!(sandbox.run(request.as_bytes()).await, Ok(round.to_string().into_bytes()));
    }
    assert_eq!(sandbox.run(b"echo:").await, Ok(Vec::new()));
    let mut large = b"echo:".to_vec();
    large.resize(MAX_REQUEST - 2_000_000, 7);
    assert_eq!(sandbox.run(&large).await.as_deref(), Ok(&large[5..]));
}

/// Landlock versions that children are confined at: none, an old one, and the kernel's own.
const LEVELS: [u8; 3] = [0, 2, 99];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_kills_a_child_is_a_failure_and_the_next_request_is_served() {
    let limits = Limits { wall: Duration::from_secs(15), answer: 1 << 20 };
    for version in LEVELS {
        let sandbox = probing(&format!("landlock={version}"), 1, limits);
        for (request, failure) in [
            ("abort", Failure::Crashed),
            ("panic", Failure::Crashed),
            ("overflow", Failure::Crashed),
            ("allocate", Failure::Crashed),
            ("flood", Failure::TooLarge),
            ("lie", Failure::TooLarge),
        ] {
            let begun = Instant::now();
            let outcome = sandbox.run(request.as_bytes()).await;
            assert_eq!(outcome, Err(failure), "{request} at {version}");
            assert!(begun.elapsed() < limits.wall, "{request} took the whole time");
            assert_serves(&sandbox, request).await;
        }
    }
    let sandbox = probing("landlock=99", 1, limits);
    // The allocator's own habits are no crime.
    assert_eq!(sandbox.run(b"churn").await, Ok(b"ok".to_vec()));
    assert_eq!(sandbox.run(&vec![0; MAX_REQUEST + 1]).await, Err(Failure::TooLarge));
    assert_serves(&sandbox, "a request too large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_hangs_is_killed_after_the_limit() {
    let limits = Limits { wall: Duration::from_millis(500), ..Limits::default() };
    for version in LEVELS {
        let sandbox = probing(&format!("landlock={version}"), 1, limits);
        for request in ["hang", "wait"] {
            let begun = Instant::now();
            assert_eq!(sandbox.run(request.as_bytes()).await, Err(Failure::TimedOut), "{request}");
            assert!(begun.elapsed() >= limits.wall);
            // A loaded machine may take longer to start a child than this pool waits.
            assert_served_in_time(&sandbox, request).await;
        }
    }
}

/// How many attempts are told of.
const TOLD_PROBES: usize = if cfg!(target_arch = "x86_64") { 180 } else { 176 };

#[tokio::test(flavor = "multi_thread")]
async fn no_probe_gets_out_at_any_landlock_version() {
    assert_eq!(PROBES.len(), TOLD_PROBES, "as docs/threat-model.md says");
    for version in [0, 1, 2, 4, 99] {
        let sandbox = probing(&format!("landlock={version}"), 1, Limits::default());
        for probe in PROBES {
            let outcome = sandbox.run(probe.name.as_bytes()).await;
            // The filter answers one call with an error; every other one is death.
            let denied = probe.name.starts_with("open-") && outcome == Ok(b"errno 13".to_vec());
            assert!(
                denied || outcome == Err(Failure::Crashed),
                "{} at {version}: {:?}",
                probe.name,
                outcome.map(|answer| String::from_utf8_lossy(&answer).into_owned())
            );
        }
        assert_eq!(sandbox.run(b"none such").await, Ok(b"no such probe".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_confinement_the_harmless_probes_succeed() {
    // One descriptor that a careless parent lets through.
    let (_end, pipe) = rustix::pipe::pipe().expect("a pipe");
    let leaked = rustix::io::dup(&pipe).expect("a descriptor");
    assert!(leaked.as_raw_fd() > 2);
    for probe in PROBES.iter().filter(|probe| probe.works) {
        let sandbox = probing("bare", 1, Limits::default());
        let outcome = sandbox.run(probe.name.as_bytes()).await;
        let text = outcome.map(|answer| String::from_utf8_lossy(&answer).into_owned());
        assert_eq!(text.as_deref(), Ok("ok"), "{}", probe.name);
    }
}

/// The Landlock version of this kernel, up to 6, by asking for the newest right of each.
fn landlock_of_the_kernel() -> u8 {
    let rights = [
        (1, AccessFs::Execute),
        (2, AccessFs::Refer),
        (3, AccessFs::Truncate),
        (5, AccessFs::IoctlDev),
    ];
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let files = rights.map(|(version, right)| (version, strict().handle_access(right)));
    let more =
        [(4, strict().handle_access(AccessNet::ConnectTcp)), (6, strict().scope(Scope::Signal))];
    let has = files.into_iter().chain(more).filter(|(_, rules)| rules.is_ok());
    has.map(|(version, _)| version).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layers_below_the_filter_hold_by_themselves() {
    let (_end, pipe) = rustix::pipe::pipe().expect("a pipe");
    let _leaked = rustix::io::dup(&pipe).expect("a descriptor");
    let sandbox = probing("unfiltered", 1, Limits::default());
    let landlock = sandbox.landlock().await.expect("a child");
    assert_eq!(landlock, landlock_of_the_kernel());
    let mut rows = vec![
        ("inherited", libc::EBADF),
        ("open-passwd", libc::EMFILE),
        ("socket-inet", libc::EMFILE),
        ("memfd", libc::EMFILE),
    ];
    if landlock >= 1 {
        rows.push(("mkdir", libc::EACCES));
    }
    if landlock >= 6 {
        rows.push(("kill-parent", libc::EPERM));
    }
    for (probe, errno) in rows {
        let expected = format!("errno {errno}").into_bytes();
        assert_eq!(sandbox.run(probe.as_bytes()).await, Ok(expected), "{probe}");
    }
    assert_eq!(sandbox.run(b"allocate").await, Err(Failure::Crashed));
    let at_two = probing("landlock=2", 1, Limits::default());
    assert_eq!(at_two.landlock().await, Ok(landlock.min(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_children_than_places_and_no_zombie_stays() {
    let mark = format!("mark-{}", kluis::ids::ItemId::random());
    let args = ["confined-probe", "landlock=99", &mark].map(Into::into).to_vec();
    let sandbox = Arc::new(Sandbox::new(PROGRAM.into(), args, 2, Limits::default()));
    let tasks: Vec<_> = (0..24)
        .map(|n| {
            let sandbox = Arc::clone(&sandbox);
            tokio::spawn(async move {
                match n % 3 {
                    0 => assert_eq!(sandbox.run(b"abort").await, Err(Failure::Crashed)),
                    _ => assert_serves(&sandbox, "abort beside").await,
                }
            })
        })
        .collect();
    let mut most = 0;
    while !tasks.iter().all(|task| task.is_finished()) {
        most = most.max(running(&mark).len());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for task in tasks {
        task.await.expect("every caller is answered");
    }
    assert!((1..=2).contains(&most), "{most} children at once");
    // A caller that gives up takes its child with it.
    let hanging = tokio::time::timeout(Duration::from_millis(300), sandbox.run(b"hang"));
    assert!(hanging.await.is_err());
    assert_serves(&sandbox, "a caller gave up").await;
    assert!(running(&mark).len() <= 2);
    drop(sandbox);
    eventually("the children go with the pool", || running(&mark).is_empty()).await;
    // A server that another test has killed is one, too, until that test looks at it.
    within(Duration::from_secs(120), "no zombie stays", || zombies() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_killed_while_idle_costs_no_request() {
    let mark = format!("mark-{}", kluis::ids::ItemId::random());
    let args = ["confined-probe", "landlock=99", &mark].map(Into::into).to_vec();
    let sandbox = Sandbox::new(PROGRAM.into(), args, 1, Limits::default());
    assert_serves(&sandbox, "the start").await;
    let [pid] = running(&mark)[..] else { panic!("one child") };
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("our own child");
    eventually("it is gone", || running(&mark).is_empty()).await;
    assert_serves(&sandbox, "a death while idle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_no_child_is_unavailable() {
    for (program, args) in [
        ("/nonexistent/program", vec![]),
        ("/bin/true", vec![]),
        ("/bin/echo", vec!["something else".into()]),
    ] {
        let sandbox = Sandbox::new(program.into(), args, 1, Limits::default());
        assert_eq!(sandbox.run(b"echo:").await, Err(Failure::Unavailable), "{program}");
    }
}

#[test]
fn a_child_dies_with_the_thread_that_started_it() {
    let started = std::thread::spawn(|| {
        let mut child = Command::new(PROGRAM)
            .arg("confined-parse")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut hello = [0; 5];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut hello).expect("a greeting");
        child
    });
    // Its standard input stays open: end of file is not what ends it.
    let mut child = started.join().expect("a child");
    let begun = Instant::now();
    while child.try_wait().expect("its state").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it outlived its parent");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As root most limits mean less; a service user must get through its own confinement.
#[test]
fn a_child_without_privileges_confines_itself_and_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("kluis");
    std::fs::copy(PROGRAM, &program).expect("a copy");
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("its mode");
    }
    let mut command = Command::new(&program);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command
        .args(["confined-probe", "landlock=99"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let request = b"echo:hello";
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&(request.len() as u32).to_le_bytes()).expect("a length");
    stdin.write_all(request).expect("a request");
    drop(stdin);
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(output.stdout[5..], *b"\x05\0\0\0hello");
}

/// A user without any rights.
const NOBODY: u32 = 65534;

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_parsed_in_the_child_as_it_is_here() {
    let sandbox = Sandbox::new(PROGRAM.into(), vec!["confined-parse".into()], 2, Limits::default());
    for raw in [&b""[..], b"From: a@example.org\r\nSubject: x\r\n\r\nhello\r\n", &[0xff; 5000]] {
        let answer = sandbox.run(raw).await.expect("an answer");
        let letter: kluis::letter::Letter = minicbor::decode(&answer).expect("a letter");
        assert_eq!(letter, kluis::letter::Letter::parse(raw));
    }
}
