//! Whether the way of a letter is open: the server sends itself letters, and says which came back.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::show::origin_line;
use super::super::{Error, Report, print, session};
use super::Level;
use crate::casebook::canary::{Back, Canary, Flown};
use crate::casebook::protocol::{self, Request};
use crate::config::{Config, FILE};

/// How much longer than the letters the server's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks the server that runs for `dir`.
///
/// # Errors
/// If none answers, or it is another user's.
pub(super) fn run(dir: &Path, further: &[String], wait: u64) -> Result<Report, Error> {
    let dir = session::absolute(dir)?;
    let config = Config::load(&dir.join(FILE))?;
    let mut addresses: Vec<String> = config.addresses.clone();
    for address in config.published.iter().chain(further) {
        if !addresses.iter().any(|known| known.eq_ignore_ascii_case(address)) {
            addresses.push(address.clone());
        }
    }
    let ask = || -> std::io::Result<Vec<Canary>> {
        let mut stream = UnixStream::connect(&config.listen.staff)?;
        stream.set_read_timeout(Some(Duration::from_secs(wait) + PATIENCE))?;
        protocol::write(&mut stream, &Request::Canaries { addresses, seconds: wait })?;
        protocol::read(&mut stream)
    };
    let canaries = ask().map_err(|error| {
        Error::io(config.listen.staff.display(), &error).hint("is `kluis serve` running?")
    })?;
    if canaries.is_empty() {
        return Err(Error::new("the server sends no letters to itself for this user")
            .hint("run it as the service user: sudo -u kluis kluis doctor DIR --mail"));
    }
    Ok(report(&canaries, wait))
}

fn report(canaries: &[Canary], wait: u64) -> Report {
    let mut text = String::new();
    let (mut problems, mut listed) = (0, Vec::new());
    for canary in canaries {
        let (level, what, mend) = judge(canary, wait);
        problems += u64::from(level == Level::Problem);
        let address = print::terminal_safe(canary.address.expose());
        text.push_str(&format!("{:<8} {address}: {}\n", level.word(), print::terminal_safe(&what)));
        if !mend.is_empty() {
            text.push_str(&format!("{:<8} mend: {mend}\n", ""));
        }
        listed.push(to_json(canary, level, &what, mend));
    }
    text.push_str(&format!("{}\n", print::count(problems, "problem", "problems")));
    let json = json!({ "letters": listed, "problems": problems });
    Report { problems: problems > 0, ..Report::new(text, json) }
}

fn judge(canary: &Canary, wait: u64) -> (Level, String, &'static str) {
    const REFUSED: &str = "look at [outgoing.smtp] in kluis.toml, and at that server's log";
    match (canary.sent, &canary.back) {
        (Flown::NoWay, _) => (
            Level::Warning,
            "not tried: answers go into a folder, from which nothing leaves".into(),
            "[outgoing.smtp] in kluis.toml names a mail server",
        ),
        (Flown::Refused(Some(code)), _) => {
            (Level::Problem, format!("the mail server refused it ({code})"), REFUSED)
        }
        (Flown::Refused(None), _) => (Level::Problem, "no mail server took it".to_owned(), REFUSED),
        (Flown::Taken, None) => (
            Level::Problem,
            format!("it left, and did not come back within {wait} s"),
            "follow it through the logs of the servers in between; --wait waits longer",
        ),
        (Flown::Taken, Some(back)) if back.bounced => (
            Level::Problem,
            "it could not be delivered: a report came back".into(),
            "let the mail server know this address, or print another one",
        ),
        (Flown::Taken, Some(back)) if back.kept_forgery => (
            Level::Problem,
            format!(
                "{}, and Authentication-Results that were forged into it were still there",
                way(back)
            ),
            "let the server in front remove fields under its own name (RFC 8601 section 5); until then empty [origin] upstream",
        ),
        (Flown::Taken, Some(back)) => (Level::Well, way(back), ""),
    }
}

/// How it came back, in one line.
fn way(back: &Back) -> String {
    let source = print::words(&back.source);
    let tls = if back.tls { " with TLS" } else { "" };
    let origin = back.origin.as_ref().map(origin_line);
    let origin = origin.map_or_else(String::new, |origin| format!("; {origin}"));
    format!("came back after {} s by {source}{tls}{origin}", back.seconds)
}

fn to_json(canary: &Canary, level: Level, what: &str, mend: &str) -> Value {
    let back = canary.back.as_ref();
    json!({
        "address": canary.address.expose(),
        "level": level.word(),
        "what": what,
        "mend": mend,
        "sent": canary.sent == Flown::Taken,
        "came_back": back.is_some_and(|back| !back.bounced),
        "seconds": back.map(|back| back.seconds),
        "by": back.map(|back| print::words(&back.source)),
        "tls": back.map(|back| back.tls),
    })
}
