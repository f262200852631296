//! `kluis receive`: a mail server pipes one letter, beside a server or without one; the exit code says
//! whether it may forget the letter.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::thread;

use kluis::casebook::Filter;
use kluis::ledger::entry::Fact;
#[cfg(kluis_lab)]
use kluis::letter::Finding;

#[cfg(kluis_lab)]
use crate::containers::{Entry, letter_with, zip};
use crate::mail_client::letter;
use crate::way::{count, raw, runtime};
use crate::world::{KLUIS, MAILBOX, World};

/// Pipes `input` into `kluis receive` with these arguments.
fn pipe(arguments: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Output {
    let mut child = Command::new(KLUIS)
        .arg("receive")
        .args(arguments)
        .env_remove("SENDER")
        .env_remove("RECIPIENT")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    // Whoever refuses the command line does not read on.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("ends")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

/// As a mail server has it: lines that end with LF.
fn stored(raw: &[u8]) -> Vec<u8> {
    raw.split(|&byte| byte == b'\r').collect::<Vec<_>>().concat()
}

/// The letters of all cases: reverse-path, recipients and bytes of each.
fn letters(world: &World) -> Vec<(String, Vec<String>, Vec<u8>)> {
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("a queue");
    let mut letters: Vec<_> = cases
        .iter()
        .map(|case| {
            let envelope = &case.letters[0].detail.as_ref().expect("opens").envelope;
            let to = envelope.rcpt_to.iter().map(|to| to.expose().clone()).collect();
            (envelope.mail_from.expose().clone(), to, raw(&mut anna, case))
        })
        .collect();
    letters.sort();
    letters
}

#[test]
fn a_piped_letter_is_kept_beside_a_server_and_without_one() {
    let world = World::found();
    let state = world.state();
    let state = state.to_str().expect("UTF-8");
    let (one, two) = (letter(31, 1, 20_000), letter(31, 2, 20_000));
    let options = ["--from=a@b.example", "--to=backoffice@jobexpert.be", "--to=desk@jobexpert.be"];

    let alone = pipe(&[&[state], &options[..]].concat(), &[], &stored(&one));
    assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
    assert!(alone.stdout.is_empty() && alone.stderr.is_empty(), "it says nothing");

    let runtime = runtime();
    let server = runtime.block_on(world.serve());
    let variables = [("SENDER", "MAILER-DAEMON"), ("RECIPIENT", MAILBOX)];
    let beside = pipe(&[state], &variables, &stored(&two));
    assert!(beside.status.success(), "{}", String::from_utf8_lossy(&beside.stderr));
    // Once more: whoever is not sure that it was taken brings it again.
    assert_eq!(code(&pipe(&[state], &variables, &stored(&two))), 0);
    let mut both = vec![
        ("a@b.example".into(), vec![MAILBOX.into(), "desk@jobexpert.be".into()], one),
        (String::new(), vec![MAILBOX.into()], two),
    ];
    both.sort();
    assert!(letters(&world) == both);
    assert_eq!(count(&server, Fact::Redelivered), 1);
    runtime.block_on(server.stop());
}

#[test]
fn what_may_go_better_later_is_75_and_nothing_else_is() {
    let world = World::found();
    let state = world.state();
    let state = state.to_str().expect("UTF-8");
    let raw = letter(32, 1, 2_000);

    // No vault there, or no settings that can be read.
    let nowhere = world.root.path().join("nowhere");
    assert_eq!(code(&pipe(&[nowhere.to_str().expect("UTF-8")], &[], &raw)), 75);
    let file = world.state().join("kluis.toml");
    let config = std::fs::read_to_string(&file).expect("is read");
    std::fs::write(&file, "nonsense").expect("is written");
    assert_eq!(code(&pipe(&[state], &[], &raw)), 75);
    std::fs::write(&file, &config).expect("is written");

    // Something has the vault open, and nothing serves.
    let gateway = world.open();
    let busy = pipe(&[state], &[], &raw);
    assert_eq!(code(&busy), 75);
    let said = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert!(said.contains("hint: "), "{said}");
    drop(gateway);

    // A server that ends in the middle, or says nothing that can be understood.
    let listener = UnixListener::bind(world.state().join("kluis.sock")).expect("binds");
    for answer in [&b""[..], b"\x00\x00\x00\x02\x81\x17", b"\xff\xff\xff\xff"] {
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("connects");
                let _ = stream.write_all(answer);
            });
            assert_eq!(code(&pipe(&[state], &[], &raw)), 75);
        });
    }
    drop(listener);
    std::fs::remove_file(world.state().join("kluis.sock")).expect("is removed");

    // A command line that nobody can follow: somebody mends it, and no letter goes back for it.
    for arguments in [
        &[state, "--colour"][..],
        &[state, "more"],
        &["--from"],
        &[state, "--json=1"],
        &["--to", "--from", "x"],
        &["--json", "--nonsense"],
        &[""],
    ] {
        let said = pipe(arguments, &[], &raw);
        assert_eq!(code(&said), 75, "{arguments:?}");
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("hint"), "{arguments:?}: {said}");
    }
    // Whatever stands before the command.
    for before in [&["--quiet"][..], &["--json", "--quiet"], &["--json=1"], &["-v", "--"], &["x"]] {
        let said = Command::new(KLUIS).args(before).args(["receive", state]).output();
        assert_eq!(code(&said.expect("starts")), 75, "{before:?}");
    }
    let other = Command::new(KLUIS).args(["--quiet", "queue"]).output().expect("starts");
    assert_eq!(code(&other), 2, "no mail server pipes into another command");
    // Nothing comes: a mail server pipes something.
    assert_eq!(code(&pipe(&[state], &[], b"")), 75);
    // Not a file, not readable, not a folder.
    for odd in ["/dev/null", "/proc/self/mem", "/etc/passwd", "\u{1b}[1m", &"x".repeat(5_000)] {
        assert_eq!(code(&pipe(&[odd], &[], &raw)), 75, "{odd}");
    }
    // Nobody listens to what it says.
    let mut child = Command::new(KLUIS)
        .args(["receive", nowhere.to_str().expect("UTF-8")])
        .stdin(Stdio::null())
        .stdout(std::fs::File::open("/dev/null").expect("opens"))
        .stderr(std::fs::File::open("/dev/null").expect("opens"))
        .spawn()
        .expect("starts");
    assert_eq!(child.wait().expect("ends").code(), Some(75));

    // Nothing can be sealed.
    let unproven = World::found_unproven();
    let place = unproven.state();
    assert_eq!(code(&pipe(&[place.to_str().expect("UTF-8")], &[], &raw)), 75);

    assert_eq!(code(&pipe(&[state], &[], &raw)), 0, "and now it goes well");
}

#[test]
fn a_letter_that_no_second_try_would_change_is_65() {
    let world = World::found();
    let state = world.state();
    let state = state.to_str().expect("UTF-8");
    let raw = letter(33, 1, 2_000);
    assert_eq!(code(&pipe(&["--help"], &[], b"")), 0);

    let circles = [&b"Received: by x\n".repeat(51)[..], &stored(&raw)].concat();
    assert_eq!(code(&pipe(&[state], &[], &circles)), 65);
    let file = world.state().join("kluis.toml");
    let config = std::fs::read_to_string(&file).expect("is read");
    let config = config.replace("letter_bytes = 67108864", "letter_bytes = 65536");
    std::fs::write(&file, config).expect("is written");
    let long = letter(33, 2, 65_600);
    assert_eq!(code(&pipe(&[state], &[], &stored(&long))), 65);
    let fits = letter(33, 3, 65_000);
    assert_eq!(code(&pipe(&[state], &[], &stored(&fits))), 0);
}

/// Whoever sends decides what stands behind `--from=`.
#[test]
fn no_sender_and_no_letter_is_refused_for_what_it_says() {
    let world = World::found();
    let (state, runtime) = (world.state(), runtime());
    let state = state.to_str().expect("UTF-8");
    let server = runtime.block_on(world.serve());
    let long = format!("--from={}@b.example", "x".repeat(5_000));
    for from in
        ["--from=-x@b.example", "--from=", "--from=--to", "--from=\"a b\"@c", "--from=é", &long]
    {
        let raw = format!("Subject: {}\n\nx\n", from.len());
        let said = pipe(&[state, from, "--to=-y@b.example"], &[], raw.as_bytes());
        assert_eq!(code(&said), 0, "{from}: {}", String::from_utf8_lossy(&said.stderr));
    }
    for odd in [&b"\n"[..], b"no header", b"\r\r\0\xff\n.\n", &vec![b'x'; 1 << 20]] {
        let said = pipe(&[state], &[], odd);
        assert_eq!(code(&said), 0, "{}", String::from_utf8_lossy(&said.stderr));
    }
    assert_eq!(letters(&world).len(), 10);
    runtime.block_on(server.stop());
}

#[test]
fn many_pipes_at_once_lose_nothing_and_double_nothing() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let state = world.state();
    let state = state.to_str().expect("UTF-8");
    let sent: Vec<Vec<u8>> = (0..24).map(|n| letter(34, n, 30_000)).collect();
    thread::scope(|scope| {
        for some in sent.chunks(4) {
            scope.spawn(move || {
                for raw in some {
                    let said = pipe(&[state, "--from=a@b.example"], &[], &stored(raw));
                    assert_eq!(code(&said), 0, "{}", String::from_utf8_lossy(&said.stderr));
                }
            });
        }
    });
    let mut got: Vec<Vec<u8>> = letters(&world).into_iter().map(|letter| letter.2).collect();
    let mut sent = sent;
    got.sort();
    sent.sort();
    assert!(got == sent);
    runtime.block_on(server.stop());
}

#[cfg(kluis_lab)]
#[test]
fn a_pipe_finds_no_memory_where_there_is_none() {
    let world = World::found();
    let state = world.state();
    let state = state.to_str().expect("UTF-8");
    let server = world.spawn(&[("KLUIS_LAB_ROOM", "300000")]);
    let large = letter(35, 1, 400_000);
    assert_eq!(code(&pipe(&[state], &[], &stored(&large))), 75);
    assert_eq!(code(&pipe(&[state], &[], &stored(&letter(35, 2, 20_000)))), 0);
    let mut client =
        crate::mail_client::Client::greet(server.smtp.expect("listens"), false).expect("greets");
    let answers = client.send("a@b.example", &[MAILBOX], &large).expect("answers");
    assert_eq!(answers[0].text, "452 4.3.1 No room now, try again later\r\n");
    assert_eq!(letters(&world).len(), 1);
    server.kill();
}

/// A machine whose memory would never hold what lies in a letter: that it comes again helps nobody.
#[cfg(kluis_lab)]
#[test]
fn a_letter_that_would_not_fit_unpacked_though_it_were_alone_is_sealed_whole() {
    let world = World::found();
    let state = world.state();
    let state = state.to_str().expect("UTF-8");
    let server = world.spawn(&[("KLUIS_LAB_ROOM", "300000")]);
    let packed = |byte: u8| {
        let entry = Entry::new(b"scan.bin", &vec![byte; 400_000]);
        letter_with("application/zip", "scan.zip", &zip(&[entry]))
    };
    let (piped, mailed) = (packed(1), packed(2));
    assert!(piped.len() < 50_000);
    assert_eq!(code(&pipe(&[state], &[], &piped)), 0);
    let mut client =
        crate::mail_client::Client::greet(server.smtp.expect("listens"), false).expect("greets");
    let answers = client.send("a@b.example", &[MAILBOX], &mailed).expect("answers");
    assert_eq!(answers[0].code, 250, "{}", answers[0].text);
    // Twice as much while it is read is more than there is, once is not.
    let long = letter(36, 1, 160_000);
    assert!(2 * long.len() > 300_000);
    assert_eq!(code(&pipe(&[state], &[], &stored(&long))), 0);
    let small = letter(36, 2, 20_000);
    assert_eq!(code(&pipe(&[state], &[], &stored(&small))), 0);

    let mut anna = world.log_in("anna").expect("logs in");
    let mut unparsed = Vec::new();
    for case in anna.queue(Filter::All).expect("a queue") {
        let raw = raw(&mut anna, &case);
        assert!([&piped, &mailed, &long, &small].contains(&&raw));
        let findings = &case.letters[0].detail.as_ref().expect("opens").findings;
        if findings.contains(&Finding::Unparsed) {
            unparsed.push(raw);
        } else {
            assert!(raw != piped && raw != mailed);
        }
    }
    assert!(unparsed.contains(&piped) && unparsed.contains(&mailed));
    assert!(!unparsed.contains(&small), "what fits is parsed");
    server.kill();
}
