//! Sends many distinct letters to a server over several connections, and says how fast it took
//! them. Retries like a mail server does. The letters are made before the clock starts, so that
//! their making takes nothing from a server on the same machine.
//!
//! ```text
//! cargo run --release --example load -- --addr 127.0.0.1:2525 --letters 1000 --size 200000
//! ```

#[path = "../tests/support/mail_client.rs"]
mod mail_client;
#[path = "../tests/support/name_server.rs"]
mod name_server;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Parser;
use mail_auth::common::crypto::Ed25519Key;
use mail_client::{Plan, letter, send_each, stuffed, wire};
use name_server::{Names, Say, key_and_bytes, signed};

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
    /// Sign every letter (DKIM) for the sender's domain, and answer for that domain as a name server
    /// at this address, with SPF, the key and a DMARC policy.
    #[arg(long, value_name = "ADDR")]
    names: Option<SocketAddr>,
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
    let domain = plan.from.rsplit('@').next().expect("one part at least");
    let (_, key, public) = key_and_bytes();
    let served = arguments.names.map(|address| {
        let zone = [
            (domain.to_owned(), "v=spf1 ip4:127.0.0.1 -all".to_owned()),
            (format!("_dmarc.{domain}"), "v=DMARC1; p=reject".to_owned()),
            (format!("k1._domainkey.{domain}"), public),
        ];
        let zone = zone.map(|(name, text)| (name, Say::Text(text)));
        Names::serve_at(address, &zone.each_ref().map(|(name, say)| (name.as_str(), say.clone())))
    });
    let letters: Vec<_> = (0..plan.letters)
        .map(|n| match served {
            None => wire(&plan, n),
            Some(_) => {
                let key = Ed25519Key::from_pkcs8_der(&key).expect("it was just made");
                stuffed(&signed(key, domain, &letter(plan.seed, n, plan.size), true))
            }
        })
        .collect();
    let outcome = send_each(&plan, |n| Cow::Borrowed(&letters[n as usize]));
    let seconds = outcome.elapsed.as_secs_f64();
    let accepted = outcome.accepted.len();
    println!(
        "{accepted} letters in {seconds:.2} s, {:.1} letters/s, {} retries, {} failures",
        accepted as f64 / seconds,
        outcome.retries,
        outcome.failed.len(),
    );
    if let Some(names) = served {
        println!("{} questions were asked", names.asked.load(Ordering::Relaxed));
    }
    if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
