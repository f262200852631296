//! What a person does to a case: note, decide, ask, extend, hold, close, confirm a key. Each is
//! one entry in the ledger; the words that go with it are sealed like everything else.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::session::{self, Connection};
use super::{Error, Report, print};
use crate::casebook::Act;
use crate::casebook::detail::NoteSubject;
use crate::cli::error::USAGE;
use crate::identity::numbers::told::told;
use crate::ids::CaseId;
use crate::reply::openpgp::{Certificate, MAX_CERTIFICATE};
use crate::staff::client::Client;
use crate::staff::sealing::Sealing;

/// A case, and the words that go with what is done to it.
#[derive(Args)]
struct Said {
    /// The case number
    #[arg(value_name = "CASE")]
    case: CaseId,
    /// Why, in your own words; - reads them from standard input
    #[arg(required = true)]
    words: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Remember something about a case
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis note K-7F3Q-9M2X called back, will send the form on Monday"
)]
pub(super) struct Note {
    #[command(flatten)]
    said: Said,
}

/// Note what was decided about the request, and why
///
/// A person decides, always: nothing here does it for you. Deciding sends nothing: `kluis answer`
/// does.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis decide K-7F3Q-9M2X access granted, payroll of 2024 included"
)]
pub(super) struct Decide {
    #[command(flatten)]
    said: Said,
}

/// Extend the time to answer to three months from receipt (GDPR Art. 12(3))
///
/// Only inside the first month, once, and the sender must be told with the reason: write to them.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis extend K-7F3Q-9M2X eleven employers, files in three archives"
)]
pub(super) struct Extend {
    #[command(flatten)]
    said: Said,
}

/// Note a question to the sender, which may pause the clock
///
/// Both dates are shown from then on: plan on the earlier one. A letter of theirs ends the pause.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis ask K-7F3Q-9M2X two people have this name: asked for the client number"
)]
pub(super) struct Ask {
    #[command(flatten)]
    said: Said,
}

/// Note that the question was answered: the time runs again
#[derive(Args)]
#[command(after_help = "Example:\n  kluis resume K-7F3Q-9M2X answered by telephone")]
pub(super) struct Resume {
    #[command(flatten)]
    said: Said,
}

/// Close a case that was decided or answered
#[derive(Args)]
#[command(after_help = "Example:\n  kluis close K-7F3Q-9M2X answered in full")]
pub(super) struct Close {
    #[command(flatten)]
    said: Said,
}

/// Put a case under a legal hold: nothing of it is forgotten until it is lifted
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis hold K-7F3Q-9M2X claim before the labour court\n  kluis hold --lift K-7F3Q-9M2X settled"
)]
pub(super) struct Hold {
    /// Lift the hold
    #[arg(long)]
    lift: bool,
    #[command(flatten)]
    said: Said,
}

/// Confirm that an OpenPGP key is the sender's: answers of this case are then encrypted to it
///
/// Compare the fingerprint with the person by another channel: a telephone number on file, face to
/// face. That it came in the same mail proves nothing.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis confirm-key K-7F3Q-9M2X lotte.asc")]
pub(super) struct ConfirmKey {
    /// The case number
    #[arg(value_name = "CASE")]
    case: CaseId,
    /// The certificate, binary or armored
    file: PathBuf,
    /// The fingerprint was compared: do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

/// The longest words that are read from standard input, in bytes.
const LONGEST_WORDS: u64 = 64 << 10;

/// The words of a command line; `-` reads them from standard input.
pub(super) fn said(words: &[String]) -> Result<String, Error> {
    let text = if words == ["-"] {
        let mut text = String::new();
        let input = std::io::stdin().lock().take(LONGEST_WORDS + 1).read_to_string(&mut text);
        input.map_err(|error| Error::io("standard input", &error).code(USAGE))?;
        text
    } else {
        words.join(" ")
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::usage("there are no words").hint("say why, in a sentence"));
    }
    if text.len() as u64 > LONGEST_WORDS {
        return Err(Error::usage("too many words").hint("at most 64 KiB"));
    }
    Ok(text.to_owned())
}

/// Whether words may stay when a copy of an identity document is forgotten.
///
/// # Errors
/// They tell what stands on one.
pub(super) fn may_stay(words: &str) -> Result<(), Error> {
    let refused = |what| {
        Error::usage(format!("the words hold {what}: they are kept for ever"))
            .hint(super::error::WITHOUT_NUMBERS)
    };
    told(words).map_or(Ok(()), |what| Err(refused(what)))
}

impl Said {
    fn record(self, act: Act, subject: NoteSubject, done: &str) -> Result<Report, Error> {
        let words = said(&self.words)?;
        if subject != NoteSubject::Remark {
            may_stay(&words)?;
        }
        let mut client = self.connection.open()?;
        record(&mut client, self.case, act, (subject, &words, Vec::new()), done)
    }
}

/// Records an act with one note.
fn record(
    client: &mut Client,
    case: CaseId,
    act: Act,
    (subject, words, attached): (NoteSubject, &str, Vec<u8>),
    done: &str,
) -> Result<Report, Error> {
    let mut sealing = Sealing::new(case, act, client.sealing()?);
    sealing.note(subject, words, None, attached);
    let position = client.record(sealing.finish())?;
    Ok(Report::new(
        format!("{case}: {done} (entry {position})"),
        json!({ "case": case.to_string(), "done": done, "position": position }),
    ))
}

macro_rules! acts {
    ($($name:ident: $act:ident, $subject:ident, $done:literal;)*) => { $(
        impl $name {
            /// Runs it.
            ///
            /// # Errors
            /// See [`Error`].
            pub(super) fn run(self) -> Result<Report, Error> {
                self.said.record(Act::$act, NoteSubject::$subject, $done)
            }
        }
    )* };
}
acts! {
    Note: Note, Remark, "noted";
    Decide: Decide, Decision, "decided";
    Extend: Extend, Reason, "extended to three months";
    Ask: Ask, Reason, "asked";
    Resume: Resume, Reason, "the time runs again";
    Close: Close, Reason, "closed";
}

impl Hold {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let (act, done) =
            if self.lift { (Act::LiftHold, "the hold is lifted") } else { (Act::Hold, "held") };
        self.said.record(act, NoteSubject::Reason, done)
    }
}

impl ConfirmKey {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        let bytes = read_at_most(&self.file, MAX_CERTIFICATE as u64)?;
        let unfit = |problem: crate::reply::openpgp::KeyProblem| {
            Error::new(format!("{}: {problem}", self.file.display()))
                .hint("the sender's public key, as their mail program exports it")
        };
        let certificate = Certificate::parse(&bytes).map_err(unfit)?;
        certificate.check(session::now()).map_err(unfit)?;
        let fingerprint = certificate.fingerprint().into_exposed();
        if !self.yes {
            confirm(&grouped(&fingerprint), json)?;
        }
        let attached = certificate.to_bytes().map_err(unfit)?;
        let mut client = self.connection.open()?;
        let note = (NoteSubject::ConfirmedKey, "", attached);
        let mut report = record(&mut client, self.case, Act::Note, note, "the key is confirmed")?;
        report.text.push_str(&format!("\nkey {}", grouped(&fingerprint)));
        report.json[0]["key"] = fingerprint.into();
        Ok(report)
    }
}

/// Four characters at a time, as people compare them.
fn grouped(fingerprint: &str) -> String {
    let quads: Vec<&str> = fingerprint
        .as_bytes()
        .chunks(4)
        .map(|quad| std::str::from_utf8(quad).unwrap_or_default())
        .collect();
    quads.join(" ")
}

/// Asks whether the fingerprint was compared.
fn confirm(fingerprint: &str, json: bool) -> Result<(), Error> {
    let no = Error::new("the key was not confirmed");
    if json || !std::io::stdin().is_terminal() {
        return Err(no.code(USAGE).hint(format!(
            "compare the fingerprint {fingerprint} with the person, then use --yes"
        )));
    }
    let question = format!(
        "The key's fingerprint:\n\n  {fingerprint}\n\nDid the person confirm it by another channel? [yes/no] "
    );
    if is_yes(&question) { Ok(()) } else { Err(no.hint("answer yes when you have compared it")) }
}

/// Asks the person at the terminal; whatever is not yes is no.
pub(super) fn is_yes(question: &str) -> bool {
    eprint!("{question}");
    let mut answer = String::new();
    let read = std::io::stdin().lock().take(16).read_line(&mut answer);
    read.is_ok() && answer.trim() == "yes"
}

/// Reads a file of the person at the terminal, of at most `limit` bytes.
pub(super) fn read_at_most(path: &std::path::Path, limit: u64) -> Result<Vec<u8>, Error> {
    let failed = |error: std::io::Error| Error::io(path.display(), &error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Error::usage(format!("{} is too large", path.display()))
            .hint(format!("at most {}", print::count(limit, "byte", "bytes"))));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_and_silence_is_refused() {
        assert_eq!(said(&["a".into(), "b ".into()]), Ok("a b".into()));
        assert_eq!(said(&[" ".into()]).expect_err("no words").code, USAGE);
        assert!(may_stay("name and birth date agree").is_ok());
        let told = may_stay("it says 85.07.30-033.28").expect_err("a number");
        assert!(told.code == USAGE && !format!("{told:?}").contains("033"));
        assert_eq!(said(&["x".repeat(70_000)]).expect_err("long").code, USAGE);
    }

    #[test]
    fn a_fingerprint_is_shown_in_groups() {
        assert_eq!(grouped("0123456789AB"), "0123 4567 89AB");
        assert_eq!(grouped(""), "");
    }
}
