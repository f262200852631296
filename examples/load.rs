//! Sends many distinct letters to a server over several connections, and says how fast it took
//! them. Retries like a mail server does. The letters are made before the clock starts, so that
//! their making takes nothing from a server on the same machine.
//!
//! ```text
//! cargo run --release --example load -- --addr 127.0.0.1:2525 --letters 1000 --size 200000
//! ```

#[path = "../tests/support/mail_client.rs"]
mod mail_client;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use mail_client::{Plan, send_each, wire};

/// Sends many distinct letters and says how fast they were taken.
#[derive(Parser)]
struct Arguments {
    /// The server.
    #[arg(long)]
    addr: SocketAddr,
    /// How many letters.
    #[arg(long, default_value_t = 1000)]
    letters: u64,
    /// Bytes of each letter, its attachment in base64.
    #[arg(long, default_value_t = 200_000)]
    size: usize,
    /// How many connections at a time.
    #[arg(long, default_value_t = 20)]
    connections: usize,
    /// Speak LMTP instead of SMTP.
    #[arg(long)]
    lmtp: bool,
    /// The sender.
    #[arg(long, default_value = "load@client.example")]
    from: String,
    /// The recipient.
    #[arg(long, default_value = "backoffice@jobexpert.be")]
    rcpt: String,
    /// Letters are made from this number: the same number, the same letters.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Times a letter is tried.
    #[arg(long, default_value_t = 10)]
    tries: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan {
        addr: arguments.addr,
        lmtp: arguments.lmtp,
        from: arguments.from,
        to: arguments.rcpt,
        seed: arguments.seed,
        letters: arguments.letters,
        size: arguments.size,
        connections: arguments.connections,
        tries: arguments.tries,
    };
    let letters: Vec<_> = (0..plan.letters).map(|n| wire(&plan, n)).collect();
    let outcome = send_each(&plan, |n| Cow::Borrowed(&letters[n as usize]));
    let seconds = outcome.elapsed.as_secs_f64();
    let accepted = outcome.accepted.len();
    println!(
        "{accepted} letters in {seconds:.2} s, {:.1} letters/s, {} retries, {} failures",
        accepted as f64 / seconds,
        outcome.retries,
        outcome.failed.len(),
    );
    if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
