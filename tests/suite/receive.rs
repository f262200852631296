//! `kluis receive`: a mail server pipes one letter, beside a server or without one; the exit code says
//! whether it may forget the letter.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::mail_client::letter;
use crate::world::{KLUIS, MAILBOX, World};
use kluis::casebook::Filter;

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

/// The letters of all cases: reverse-path, recipients and length of each.
fn letters(world: &World) -> Vec<(String, Vec<String>, u64)> {
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("a queue");
    let letters = cases.into_iter().flat_map(|case| case.letters);
    letters
        .map(|letter| {
            let envelope = &letter.card.envelope;
            let to = envelope.rcpt_to.iter().map(|to| to.expose().clone()).collect();
            (envelope.mail_from.expose().clone(), to, letter.card.length)
        })
        .collect()
}
