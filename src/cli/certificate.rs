//! Erasure certificates: fetched, written into a file, and verified by whoever was given one.
//!
//! A certificate says as much as its entries prove. What a verifier cannot know from it is said in
//! the same breath, so that nobody takes the vault's rules for a proof.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::case::read_at_most;
use super::session::{self, Connection};
use super::{Error, Report, print};
use crate::keys::file::write_new;
use crate::ledger::certificate::{self, Certificate, Proven, ROTATION_DAYS};
use crate::ledger::{Entry, Fact, checkpoint};
use crate::staff::client::Client;

/// Fetch the certificate of something that was forgotten
///
/// It says what can be proven by now: fetched again after the cabinet got a new key it says so, and
/// it is final a week later. It names no person and needs nothing but the vault's public key to be
/// verified (`kluis audit verify --certificate`), so it may be given to whoever asked to be forgotten.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis audit certificate 1f0a33c2\n  kluis audit certificate 4711 -o erased.txt"
)]
pub(super) struct Fetch {
    /// The item, by the first digits of its id, or the number of the entry that says it was forgotten
    #[arg(value_name = "ITEM|NUMBER")]
    which: String,
    /// Write it to this file, which is never overwritten; else to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

impl Fetch {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        if let Some(path) = &self.output {
            is_free(path)?;
        }
        let mut client = self.connection.open()?;
        let seq = entry_of(&mut client, &self.which)?;
        let certificate = client.certificate(seq)?;
        let proven = prove(&certificate, &client.checkpoint_key)?;
        if proven.forgotten.seq != seq {
            return Err(unproven());
        }
        let file = certificate.to_text()?;
        let value = value(&certificate, &proven)?;
        let Some(path) = &self.output else { return Ok(Report::new(file, value)) };
        write_new(path, file.as_bytes()).map_err(|error| Error::io(path.display(), &error))?;
        let text = format!("written  {}\n{}", path.display(), standing(&proven));
        Ok(Report::new(text, value))
    }
}

/// Digits of an id that are shown. One id in forty shows decimal digits alone, so a row of as many is
/// a number only if there is such an entry.
const SHOWN_DIGITS: usize = 8;

fn entry_of(client: &mut Client, which: &str) -> Result<u64, Error> {
    let is_number = which.bytes().all(|c| c.is_ascii_digit());
    let number = which.parse().ok().filter(|_| is_number);
    if let Some(number) = number.filter(|_| which.len() < SHOWN_DIGITS) {
        return Ok(number);
    }
    let (entries, _) = client.ledger()?;
    if let Some(number) = number.filter(|&number| number < entries.len() as u64) {
        return Ok(number);
    }
    let entries = entries.iter().filter_map(|bytes| Entry::from_bytes(bytes).ok());
    let forgotten: Vec<_> = entries
        .filter(|entry| entry.kind == Fact::Forgotten)
        .filter_map(|entry| Some((entry.item?, entry.seq)))
        .collect();
    let item = session::complete(forgotten.iter().map(|(item, _)| *item), which, "forgotten item")?;
    let entry = forgotten.iter().rfind(|(known, _)| *known == item);
    Ok(entry.expect("it was completed from this list").1)
}

/// Nothing is overwritten: said before anything is asked for.
pub(super) fn is_free(path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Err(Error::io(path.display(), &std::io::ErrorKind::AlreadyExists.into()));
    }
    Ok(())
}

pub(super) fn unproven() -> Error {
    Error::new("the server's certificate is not about what was asked for")
        .hint("the server cannot prove what it says: tell the admin")
}

/// Holds a certificate against the key of its vault's checkpoints.
pub(super) fn prove(certificate: &Certificate, key: &str) -> Result<Proven, Error> {
    let (vault, public) = checkpoint::parse_vkey(key)?;
    Ok(certificate.prove(vault, &public)?)
}

/// Verifies a file as somebody does who has it and the key alone.
pub(super) fn verify(path: &Path, key: &str) -> Result<Report, Error> {
    let (vault, public) = checkpoint::parse_vkey(key)?;
    let file = read_at_most(path, certificate::LONGEST as u64)?;
    let proven = certificate::verify(&file, vault, &public).map_err(|error| {
        let error = Error::from(error);
        Error { text: format!("{}: {}", path.display(), error.text), ..error }
    })?;
    Ok(Report::new(explained(&proven), facts(&proven)))
}

/// What a certificate proves and what it does not, in plain words.
fn explained(proven: &Proven) -> String {
    let Proven { vault, covered, forgotten, sealed, rotated } = proven;
    let id = |id: Option<String>| id.unwrap_or_default();
    let mut text = format!(
        "The certificate holds: the key of vault {vault} signed for it.\n\n\
         It proves that the ledger of this vault says, among its first {}:\n\
         * entry {}, {}: {} forgot item {} of letter {}{}\n",
        print::count(*covered, "entry", "entries"),
        forgotten.seq,
        print::moment(forgotten.minute),
        by(forgotten),
        id(forgotten.item.map(|id| id.to_string())),
        id(forgotten.letter.map(|id| id.to_string())),
        forgotten.case.map_or_else(String::new, |case| format!(" in case {case}")),
    );
    let key = id(forgotten.slot.map(|id| id.to_string()));
    text.push_str(&match sealed {
        Some(entry) => format!(
            "* entry {}, {}: the key that was dropped, {key}, is that of the box {}\n",
            entry.seq,
            print::moment(entry.minute),
            id(entry.boxed.map(|id| id.to_string())),
        ),
        None => format!("  (the key that was dropped is {key}; of which box is not shown)\n"),
    });
    if let Some(entry) = rotated {
        text.push_str(&format!(
            "* entry {}, {}: the cabinet got a new key; older copies of it open with the old one only\n",
            entry.seq,
            print::moment(entry.minute),
        ));
    }
    text.push_str(
        "Whoever keeps a later checkpoint of this vault finds out if any of this is changed.\n\n",
    );
    text.push_str(&standing(proven));
    text.push_str(
        "\nIt does not prove that the old keys are gone from every disk and every backup: that is the \
         vault's rule, and no file can show it. The times are those of the server's clock. What \
         somebody read or copied before is not undone.\n",
    );
    text
}

fn by(entry: &Entry) -> String {
    entry.staff.map_or_else(
        || "the built-in rule for what has served its time".to_owned(),
        |staff| format!("member {}", staff.0),
    )
}

/// Whether it is final, as of now.
pub(super) fn standing(proven: &Proven) -> String {
    let horizon = print::moment(proven.horizon());
    if proven.is_final(session::now() / 60) {
        return format!(
            "Final: since {horizon}, by the vault's rules, no backup holds the key either.\n"
        );
    }
    if proven.rotated.is_some() {
        return format!(
            "Provisional until {horizon}: until then a backup of the cabinet may hold the key.\n"
        );
    }
    let seq = proven.forgotten.seq;
    let expected = proven.forgotten.minute.saturating_add(ROTATION_DAYS * 24 * 60);
    format!(
        "Provisional: it does not show that the cabinet got a new key since. That is due by {}; \
         `kluis audit certificate {seq}` then shows it.\n",
        print::moment(expected)
    )
}

/// What a certificate proved, for programs.
fn facts(proven: &Proven) -> Value {
    let text = |id: Option<String>| id.map_or(Value::Null, Value::from);
    let at = |entry: &Entry| json!({ "entry": entry.seq, "time": print::timestamp(entry.minute) });
    let Proven { vault, covered, forgotten, sealed, rotated } = proven;
    json!({
        "vault": vault.to_string(),
        "covered": covered,
        "entry": forgotten.seq,
        "time": print::timestamp(forgotten.minute),
        "case": text(forgotten.case.map(|id| id.to_string())),
        "letter": text(forgotten.letter.map(|id| id.to_string())),
        "item": text(forgotten.item.map(|id| id.to_string())),
        "key": text(forgotten.slot.map(|id| id.to_string())),
        "box": text(sealed.as_ref().and_then(|entry| entry.boxed).map(|id| id.to_string())),
        "member": forgotten.staff.map(|staff| staff.0),
        "sealed": sealed.as_ref().map(at),
        "new_cabinet_key": rotated.as_ref().map(at),
        "rotated": rotated.is_some(),
        "horizon": print::timestamp(proven.horizon()),
        "final": proven.is_final(session::now() / 60),
    })
}

/// The same with the file itself.
pub(super) fn value(certificate: &Certificate, proven: &Proven) -> Result<Value, Error> {
    let mut value = facts(proven);
    value["certificate"] = certificate.to_text()?.into();
    Ok(value)
}

/// The files of so many certificates: the one that was named, then the same with a number.
pub(super) fn files(path: &Path, count: usize) -> Vec<PathBuf> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let numbered = |number: usize| {
        let mut name = format!("{stem}-{number}");
        if let Some(extension) = path.extension() {
            name.push('.');
            name.push_str(&extension.to_string_lossy());
        }
        path.with_file_name(name)
    };
    (1..=count).map(|n| if n == 1 { path.to_owned() } else { numbered(n) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ItemId, SlotId, StaffId, VaultId};

    fn proven() -> Proven {
        let forgotten = Entry {
            seq: 7,
            item: Some(ItemId::new([3; 16])),
            slot: Some(SlotId::new([4; 16])),
            staff: Some(StaffId(2)),
            ..Entry::new(Fact::Forgotten, 29_000_000)
        };
        let vault = VaultId::new([1; 16]);
        Proven { vault, covered: 9, forgotten, sealed: None, rotated: None }
    }

    #[test]
    fn what_is_provisional_is_told_from_what_is_final() {
        let waits = proven();
        assert!(explained(&waits).contains("member 2 forgot item 0303"));
        assert!(standing(&waits).contains("`kluis audit certificate 7`"));
        assert_eq!(facts(&waits)["final"], false);
        let rotation = |minute| Some(Entry { seq: 8, ..Entry::new(Fact::CabinetRotated, minute) });
        let over = Proven { rotated: rotation(29_000_100), ..proven() };
        assert!(standing(&over).starts_with("Final: since "));
        assert_eq!(facts(&over)["final"], true);
        let fresh = Proven { rotated: rotation(session::now() / 60), ..proven() };
        assert!(standing(&fresh).starts_with("Provisional until "));
        let by_rule = Proven { forgotten: Entry { staff: None, ..proven().forgotten }, ..proven() };
        assert!(explained(&by_rule).contains("the built-in rule"));
    }

    #[test]
    fn each_certificate_has_a_file_of_its_own() {
        let named = |path: &str, count| -> Vec<String> {
            let all = files(Path::new(path), count);
            all.iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(named("a/erased.txt", 3), ["a/erased.txt", "a/erased-2.txt", "a/erased-3.txt"]);
        assert_eq!(named("erased", 2), ["erased", "erased-2"]);
    }
}
