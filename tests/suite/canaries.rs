//! `kluis doctor --mail`: letters to ourselves, which come back, are refused, are swallowed, or show
//! that a server in front lets forged words through.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use kluis::ledger::entry::Fact;
use serde_json::Value;

use crate::mail_client::Client;
use crate::way::{count, runtime};
use crate::world::{KLUIS, MAILBOX, World};

const MX: &str = "mx.agency.example";
const WRONG: &str = "backoffice@jobexerpert.be";
const LOST: &str = "lost@jobexpert.be";

/// A mail server between kluis and itself: hands on what is for the mailbox, refuses what is misspelled,
/// swallows the rest. It says where a letter came from, and takes forged words out if it is `careful`.
struct Between {
    port: u16,
}

impl Between {
    fn start(to: SocketAddr, careful: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("is bound").port();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || talk(stream, to, careful));
            }
        });
        Self { port }
    }
}

fn talk(mut stream: TcpStream, to: SocketAddr, careful: bool) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).ok();
    say("220 between")?;
    let (mut recipient, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let word = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "RCPT" if line.contains(WRONG) => say("550 no such user")?,
            "RCPT" => {
                recipient = line.split(['<', '>']).nth(1)?.to_owned();
                say("250 ok")?;
            }
            "DATA" => {
                say("354 go on")?;
                let mut raw = format!("Authentication-Results: {MX}; none\r\n");
                let mut skips = false;
                loop {
                    line.clear();
                    lines.read_line(&mut line).ok()?;
                    if line == ".\r\n" {
                        break;
                    }
                    skips = careful
                        && (line.starts_with("Authentication-Results")
                            || skips && line.starts_with(' '));
                    if !skips {
                        raw.push_str(&line);
                    }
                }
                say("250 taken")?;
                if recipient == MAILBOX {
                    let mut client = Client::greet(to, false).ok()?;
                    client.send(MAILBOX, &[MAILBOX], raw.as_bytes()).ok()?;
                }
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 ok")?,
        }
    }
}

fn doctor(world: &World, arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(KLUIS)
        .args(["--json", "doctor", "--mail", "--wait", "5"])
        .arg(world.state())
        .args(arguments)
        .output()
        .expect("runs");
    let said = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    (output.status.code().expect("ends"), serde_json::from_slice(said).expect("JSON"))
}

fn of<'a>(said: &'a Value, address: &str) -> &'a Value {
    let letters = said["letters"].as_array().expect("letters");
    letters.iter().find(|letter| letter["address"] == address).expect("is there")
}

#[test]
fn what_comes_back_is_told_with_its_way_and_opens_no_case() {
    for (careful, code) in [(true, 0), (false, 1)] {
        let (world, runtime) = (World::found(), runtime());
        crate::notices::believe(&world);
        let [smtp, _] = world.fix_ports();
        world.send_to(Between::start(smtp, careful).port);
        let server = runtime.block_on(world.serve());
        let (ended, said) = doctor(&world, &[]);
        assert_eq!(ended, code, "{said}");
        let ours = of(&said, MAILBOX);
        assert_eq!((&ours["came_back"], &ours["sent"]), (&true.into(), &true.into()), "{said}");
        assert_eq!(ours["level"], if careful { "well" } else { "problem" }, "{said}");
        assert_eq!(count(&server, Fact::CaseOpened), 0);
        assert_eq!(count(&server, Fact::ReportReceived), 1, "it is kept like any letter");
        assert_eq!(count(&server, Fact::NoticeDue), 0);
        runtime.block_on(server.stop());
    }
}

#[test]
fn what_is_refused_or_swallowed_on_its_way_is_a_problem() {
    let (world, runtime) = (World::found(), runtime());
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    let text = text.replace("published = []", &format!("published = [\"{WRONG}\"]"));
    std::fs::write(&file, text).expect("is written");
    let [smtp, _] = world.fix_ports();
    world.send_to(Between::start(smtp, true).port);
    let server = runtime.block_on(world.serve());
    let (ended, said) = doctor(&world, &["--address", LOST]);
    assert_eq!((ended, &said["problems"]), (1, &2.into()), "{said}");
    assert_eq!(of(&said, MAILBOX)["level"], "well");
    let wrong = of(&said, WRONG)["what"].as_str().expect("text");
    assert!(wrong.contains("refused it (550)"), "{wrong}");
    let lost = of(&said, LOST)["what"].as_str().expect("text");
    assert!(lost.contains("did not come back"), "{lost}");
    runtime.block_on(server.stop());
    // Nobody serves; and answers that go into a folder.
    let (ended, said) = doctor(&world, &[]);
    assert_eq!(ended, 1, "{said}");
    assert!(said["hint"].as_str().expect("text").contains("kluis serve"), "{said}");
    let world = World::found();
    let server = runtime.block_on(world.serve());
    let (ended, said) = doctor(&world, &[]);
    assert_eq!((ended, &of(&said, MAILBOX)["level"]), (0, &"warning".into()), "{said}");
    runtime.block_on(server.stop());
}
