//! SIGHUP: certificate, password and outsiders are taken anew, no session ends for it, and a file
//! that is wrong changes nothing but the log.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::inbox::{certificate, secured};
use crate::mail_client::{Client, letter};
use crate::outsiders::send_checkpoints_to;
use crate::world::{MAILBOX, Process, World};

type Secured = Client<StreamOwned<ClientConnection, TcpStream>>;

/// A vault that offers STARTTLS; where its certificate lies, and who trusts that.
fn with_tls() -> (World, PathBuf, Arc<ClientConfig>) {
    let world = World::found();
    let dir = world.state().join("tls");
    std::fs::create_dir(&dir).expect("is made");
    let trust = certificate(&dir);
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    let text = text
        .replace("\n# [tls]\n", "\n[tls]\n")
        .replace("# certificate =", "certificate =")
        .replace("# key =", "key =");
    std::fs::write(&file, text).expect("is written");
    (world, dir, trust)
}

/// Tells the process, and waits until its log says so once more.
pub(crate) fn reload(world: &World, process: &Process) -> String {
    let log = || std::fs::read_to_string(world.log()).expect("is read");
    let end = |log: &str| log.matches("checkpoints go out").count();
    let (before, length) = (end(&log()), log().len());
    let id = i32::try_from(process.child.id()).expect("a process id");
    kill_process(Pid::from_raw(id).expect("a process id"), Signal::HUP).expect("is told");
    for _ in 0..200 {
        let now = log();
        if end(&now) > before {
            return now[length..].to_owned();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nothing was read again: {}", log());
}

/// A session over TLS, or why there is none.
fn session(process: &Process, trust: &Arc<ClientConfig>) -> std::io::Result<Secured> {
    let client = Client::greet(process.smtp.expect("listens"), false).expect("greets");
    let mut client = secured(client, Arc::clone(trust), false);
    client.hello()?;
    Ok(client)
}

fn takes_a_letter(client: &mut Secured, n: u64) {
    let answers = client.send("", &[MAILBOX], &letter(81, n, 2_000)).expect("answers");
    assert_eq!(answers.iter().map(|answer| answer.code).collect::<Vec<_>>(), [250]);
}

#[test]
fn a_session_stays_open_while_the_next_one_sees_the_new_certificate() {
    let (world, dir, old) = with_tls();
    let process = world.spawn(&[]);
    let mut before = session(&process, &old).expect("the old one is trusted");
    takes_a_letter(&mut before, 1);

    let new = certificate(&dir);
    assert!(session(&process, &new).is_err(), "nothing is taken before it is told");
    let log = reload(&world, &process);
    assert!(log.contains("the TLS certificate and its key were read again"), "{log}");
    let mut after = session(&process, &new).expect("the new one is offered");
    assert!(session(&process, &old).is_err(), "and the old one is not");
    takes_a_letter(&mut after, 2);
    // Letters go on in the old session.
    takes_a_letter(&mut before, 3);
    process.kill();
}

#[test]
fn a_file_that_is_wrong_is_named_and_the_old_one_stays() {
    let (world, dir, old) = with_tls();
    let process = world.spawn(&[]);
    let keep = |name: &str| std::fs::read(dir.join(name)).expect("is read");
    let (cert, key) = (keep("cert.pem"), keep("key.pem"));
    let restore = || {
        std::fs::write(dir.join("cert.pem"), &cert).expect("is written");
        std::fs::write(dir.join("key.pem"), &key).expect("is written");
    };
    let another_key = || {
        let other = tempfile::tempdir().expect("a directory");
        certificate(other.path());
        std::fs::read(other.path().join("key.pem")).expect("is read")
    };
    for (name, content) in [
        ("cert.pem", Some(b"no certificate\n".to_vec())),
        ("key.pem", Some(Vec::new())),
        ("key.pem", None),
        ("key.pem", Some(another_key())),
    ] {
        match content {
            Some(content) => std::fs::write(dir.join(name), content).expect("is written"),
            None => std::fs::remove_file(dir.join(name)).expect("is removed"),
        }
        let log = reload(&world, &process);
        assert!(log.contains("the old TLS certificate stays") && log.contains(name), "{log}");
        session(&process, &old).expect("the old one is offered");
        restore();
    }
    // Settings that are wrong: the files that the old ones name are still read.
    let settings = world.state().join("kluis.toml");
    let good = std::fs::read_to_string(&settings).expect("is read");
    std::fs::write(&settings, format!("colour = 1\n{good}")).expect("is written");
    let new = certificate(&dir);
    let log = reload(&world, &process);
    assert!(log.contains("kluis.toml:1: colour") && log.contains("the old ones stay"), "{log}");
    session(&process, &new).expect("the new one is offered");
    // What does not count before the next start is said.
    std::fs::write(&settings, good.replace("connections = 100", "connections = 99"))
        .expect("is written");
    let log = reload(&world, &process);
    assert!(log.contains("they count from the next start"), "{log}");
    process.kill();
}

#[test]
fn password_and_outsiders_are_read_again() {
    let world = World::found();
    let password = world.root.path().join("password");
    std::fs::write(&password, "first\n").expect("is written");
    world.send_to(1);
    let settings = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&settings).expect("is read");
    let named = format!("port = 1\nusername = \"kluis\"\npassword_file = {password:?}");
    std::fs::write(&settings, text.replace("port = 1", &named)).expect("is written");
    let process = world.spawn(&[]);
    std::fs::write(&password, "second\n").expect("is written");
    let log = reload(&world, &process);
    assert!(log.contains("where mail goes out was read again"), "{log}");
    for spoilt in ["", "\n"] {
        std::fs::write(&password, spoilt).expect("is written");
        let log = reload(&world, &process);
        assert!(log.contains("the old password of the mail server stays"), "{log}");
        assert!(log.contains("no password in its first line"), "{log}");
    }
    send_checkpoints_to(&world, &["dpo@jobexpert.example", "auditor@outside.example"]);
    let log = reload(&world, &process);
    assert!(log.contains("outsiders=2"), "{log}");
    assert!(!log.contains("dpo@"), "the log names nobody: {log}");
    process.kill();
}
