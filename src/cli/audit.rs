//! The ledger from outside: listed, exported, verified. Public keys are enough.
//!
//! An exported file is lines of JSON: a head with vault, key and checkpoint, then one line for each
//! entry with its exact bytes and, for readers, what they say. `verify` reads the bytes and holds
//! the readable part to them, so that nobody can be shown one thing and proven another.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::case::read_at_most;
use super::session::Connection;
use super::{Error, Report, certificate, print};
use crate::cli::error::USAGE;
use crate::config::{Config, FILE};
use crate::ids::CaseId;
use crate::ledger::{self, Audit as Proven, Entry, checkpoint};
use crate::reply::checkpoint as mailed;
use crate::store::Store;

/// List, export and verify the ledger
#[derive(Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    Log(Log),
    Export(Export),
    Certificate(certificate::Fetch),
    Verify(Verify),
}

/// List the entries: what happened, when, by whom
///
/// Facts only: no name, no address, no word of a letter stands in the ledger. With --json one line
/// for each entry.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis audit log\n  kluis audit log --case K-7F3Q-9M2X --json")]
struct Log {
    /// Only what happened to this case
    #[arg(long, value_name = "CASE")]
    case: Option<CaseId>,
    /// From this entry on
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    from: u64,
    #[command(flatten)]
    source: Source,
}

/// Write all entries, a checkpoint that covers them and the public key into one file
///
/// The file says nothing about anyone and can be kept for ever. It is never overwritten.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis audit export ledger-2026-11.jsonl")]
struct Export {
    /// The file to write
    file: PathBuf,
    #[command(flatten)]
    source: Source,
}

/// Verify that nothing in the ledger was edited, dropped, moved or forked
///
/// Takes an exported file, and then needs no server; without one it asks the server. What is proven
/// is what the checkpoint covers. A checkpoint that was kept elsewhere (--checkpoint) finds a
/// ledger that was replaced as a whole, even by somebody who has all the server's keys.
///
/// With --certificate it verifies an erasure certificate instead, with the public key alone, and says
/// what it proves and what is provisional.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis audit verify ledger-2026-11.jsonl --checkpoint october.txt\n  kluis audit verify --checkpoint mail.eml\n  kluis audit verify --certificate erased.txt --key checkpoint.pub"
)]
struct Verify {
    /// A file that `kluis audit export` wrote; else the server is asked
    #[arg(conflicts_with = "dir")]
    file: Option<PathBuf>,
    /// An earlier checkpoint: a signed note, an exported file, or a checkpoint mail as it was received
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// An erasure certificate
    #[arg(
        long,
        value_name = "FILE",
        requires = "key",
        conflicts_with_all = ["file", "checkpoint", "dir", "server", "member", "key_file"]
    )]
    certificate: Option<PathBuf>,
    /// The public key that checkpoints are signed with, as `kluis init` printed it, or a file with it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    source: Source,
}

/// Where the ledger is read: from a running server, or from a vault that nothing serves.
#[derive(Args)]
struct Source {
    /// Read the vault in this folder, which nothing may be serving; else the server is asked
    #[arg(long, value_name = "FOLDER", conflicts_with = "server")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// A ledger outside its vault.
struct Exported {
    key: String,
    checkpoint: String,
    entries: Vec<Vec<u8>>,
}

/// What the first line of an exported file says it is.
const FORMAT: &str = "kluis ledger 1";
/// The longest public key that is read, in bytes.
const LONGEST_KEY: u64 = 16 << 10;
/// The longest checkpoint mail that is read, in bytes: it may name many dropped keys.
const LONGEST_MAIL: u64 = 32 << 20;
/// The longest line of an exported file, in bytes: its head, with the checkpoint.
const LONGEST_LINE: usize = 64 << 10;

impl Audit {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        match self.command {
            AuditCommand::Log(log) => log.run(),
            AuditCommand::Export(export) => export.run(),
            AuditCommand::Certificate(fetch) => fetch.run(),
            AuditCommand::Verify(verify) => verify.run(),
        }
    }
}

impl Log {
    fn run(self) -> Result<Report, Error> {
        let ledger = self.source.read()?;
        let mut report = Report::default();
        for bytes in &ledger.entries {
            let entry = Entry::from_bytes(bytes)?;
            let is_of_case = self.case.is_none() || self.case == entry.case;
            if entry.seq >= self.from && is_of_case {
                report.text.push_str(&line(&entry));
                report.text.push('\n');
                report.json.push(readable(&entry));
            }
        }
        Ok(report)
    }
}

/// One entry as a line for people.
fn line(entry: &Entry) -> String {
    let mut line = format!(
        "{:>6}  {}  {:<18}",
        entry.seq,
        print::moment(entry.minute),
        print::words(&entry.kind)
    );
    let kind = entry.box_kind.map(|kind| format!("({})", print::words(&kind)));
    let dates = entry.due_one.map(|due| format!("due {}", print::date(due)));
    let parts = [
        entry.staff.map(|staff| format!("by {}", staff.0)),
        entry.case.map(|case| case.to_string()),
        kind,
        entry.letter.map(|id| format!("letter {}", print::brief(&id))),
        entry.item.map(|id| format!("item {}", print::brief(&id))),
        entry.epoch.map(|epoch| format!("epoch {}", epoch.0)),
        entry.count.map(|count| format!("count {count}")),
        dates,
    ];
    for part in parts.into_iter().flatten() {
        line.push_str("  ");
        line.push_str(&part);
    }
    line.trim_end().to_owned()
}

/// What an entry says, for programs and readers. Fields that are empty are left out.
fn readable(entry: &Entry) -> Value {
    let text = |id: Option<String>| id.map(Value::from);
    let fields = [
        ("case", text(entry.case.map(|id| id.to_string()))),
        ("letter", text(entry.letter.map(|id| id.to_string()))),
        ("item", text(entry.item.map(|id| id.to_string()))),
        ("slot", text(entry.slot.map(|id| id.to_string()))),
        ("box", text(entry.boxed.map(|id| id.to_string()))),
        ("content", text(entry.content.map(|id| id.to_string()))),
        ("box_kind", text(entry.box_kind.map(|kind| print::words(&kind)))),
        ("due_one", text(entry.due_one.map(|day| print::date(day).to_string()))),
        ("due_three", text(entry.due_three.map(|day| print::date(day).to_string()))),
        ("epoch", entry.epoch.map(|epoch| epoch.0.into())),
        ("staff", entry.staff.map(|staff| staff.0.into())),
        ("size", entry.size.map(Value::from)),
        ("hash", text(entry.hash.map(|hash| hash.to_string()))),
        ("count", entry.count.map(Value::from)),
        ("position", entry.position.map(Value::from)),
        ("container", text(entry.container.map(|id| id.to_string()))),
    ];
    let mut value = json!({
        "seq": entry.seq,
        "time": print::timestamp(entry.minute),
        "fact": print::words(&entry.kind),
    });
    for (name, field) in fields {
        if let Some(field) = field {
            value[name] = field;
        }
    }
    value
}

impl Export {
    fn run(self) -> Result<Report, Error> {
        let failed = |error: std::io::Error| Error::io(self.file.display(), &error);
        if self.file.exists() {
            return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
        }
        let exported = self.source.read()?;
        // What is written must verify: a broken export is noticed today, not in five years.
        let proven = exported.audit(&exported.key, None)?;
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file)
            .map_err(failed)?;
        exported.write(&file).and_then(|()| file.sync_all()).map_err(failed)?;
        let count = print::count(proven.entries, "entry", "entries");
        Ok(Report::new(
            format!("written  {} ({count}, {} proven)", self.file.display(), proven.covered),
            json!({ "file": self.file, "entries": proven.entries, "covered": proven.covered }),
        ))
    }
}

impl Source {
    fn read(&self) -> Result<Exported, Error> {
        if let Some(dir) = &self.dir {
            return offline(dir);
        }
        let mut client = self.connection.open()?;
        let (entries, checkpoint) = client.ledger()?;
        Ok(Exported { key: client.checkpoint_key.clone(), checkpoint, entries })
    }
}

/// Entries read at once.
const AT_ONCE: usize = 4096;

/// The ledger of a vault that nothing serves, with a fresh checkpoint.
fn offline(dir: &Path) -> Result<Exported, Error> {
    let config = Config::load(&dir.join(FILE))?;
    let (store, _) = Store::open(dir, &config.cabinet_key)?;
    let checkpoint = store.checkpoint()?;
    let mut entries: Vec<Vec<u8>> = Vec::new();
    loop {
        let more = store.entry_bytes(entries.len() as u64, AT_ONCE)?;
        if more.is_empty() {
            break;
        }
        entries.extend(more);
    }
    let public = dir.join("checkpoint.pub");
    let bytes = read_at_most(&public, LONGEST_KEY)?;
    let key = String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok(Exported { key, checkpoint, entries })
}

impl Exported {
    fn write(&self, file: &File) -> std::io::Result<()> {
        let mut out = BufWriter::new(file);
        let head = json!({ "format": FORMAT, "key": self.key, "checkpoint": self.checkpoint });
        writeln!(out, "{}", print::json_line(&head))?;
        for bytes in &self.entries {
            let mut value = Entry::from_bytes(bytes).map_or_else(|_| json!({}), |e| readable(&e));
            value["leaf"] = BASE64.encode(bytes).into();
            writeln!(out, "{}", print::json_line(&value))?;
        }
        out.flush()
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let bad = |at: usize, what: &str| {
            Error::new(format!("{}:{at}: {what}", path.display()))
                .hint("take a file that `kluis audit export` wrote, unchanged")
        };
        let file = File::open(path).map_err(|error| Error::io(path.display(), &error))?;
        let mut read: Option<Self> = None;
        for (at, line) in (1..).zip(BufReader::new(file).lines()) {
            let line = line.map_err(|error| Error::io(path.display(), &error))?;
            let value: Value = if line.len() <= LONGEST_LINE {
                serde_json::from_str(&line).map_err(|_| bad(at, "not a line of JSON"))?
            } else {
                return Err(bad(at, "too long a line"));
            };
            match &mut read {
                None => {
                    let word = |name: &str| value[name].as_str().map(str::to_owned);
                    if value["format"] != FORMAT {
                        return Err(bad(at, "not an exported ledger"));
                    }
                    let (Some(key), Some(checkpoint)) = (word("key"), word("checkpoint")) else {
                        return Err(bad(at, "the key or the checkpoint is missing"));
                    };
                    read = Some(Self { key, checkpoint, entries: Vec::new() });
                }
                Some(exported) => {
                    let leaf = leaf(&value).ok_or_else(|| bad(at, "not an entry"))?;
                    // One that does not read is found by the audit, with its place.
                    if let Ok(entry) = Entry::from_bytes(&leaf) {
                        let mut wanted = readable(&entry);
                        wanted["leaf"] = value["leaf"].clone();
                        if wanted != value {
                            return Err(bad(at, "what is readable is not what the leaf says"));
                        }
                    }
                    exported.entries.push(leaf);
                }
            }
        }
        read.ok_or_else(|| bad(1, "the file is empty"))
    }

    fn audit(&self, key: &str, earlier: Option<&str>) -> Result<Proven, Error> {
        let (vault, public) = checkpoint::parse_vkey(key)?;
        let leaves = self.entries.iter().map(Vec::as_slice);
        let proven = ledger::audit(leaves, &self.checkpoint, earlier, &public)?;
        if proven.vault != vault {
            return Err(ledger::Error::Unrelated.into());
        }
        Ok(proven)
    }
}

fn leaf(value: &Value) -> Option<Vec<u8>> {
    BASE64.decode(value["leaf"].as_str()?.as_bytes()).ok()
}

impl Verify {
    fn run(self) -> Result<Report, Error> {
        let key = self.key.as_deref().map(vkey).transpose()?;
        if let (Some(file), Some(key)) = (&self.certificate, &key) {
            return certificate::verify(file, key);
        }
        let earlier = self.checkpoint.as_deref().map(earlier).transpose()?;
        let exported = match &self.file {
            Some(file) => Exported::read(file)?,
            None => self.source.read()?,
        };
        let proven = exported.audit(key.as_deref().unwrap_or(&exported.key), earlier.as_deref())?;
        let mut text = format!(
            "whole: {} of {}, {} proven by the checkpoint",
            print::count(proven.entries, "entry", "entries"),
            proven.vault,
            proven.covered,
        );
        match &earlier {
            Some(_) => text.push_str("\nIt extends the earlier checkpoint."),
            None => text.push_str(
                "\nAgainst a ledger replaced as a whole: give a checkpoint kept elsewhere with --checkpoint.",
            ),
        }
        if key.is_none() && self.file.is_some() {
            text.push_str(&format!(
                "\nThe key is the one that the file names; compare it with what `kluis init` printed:\n{}",
                print::terminal_safe(&exported.key)
            ));
        }
        Ok(Report::new(
            text,
            json!({
                "vault": proven.vault.to_string(),
                "entries": proven.entries,
                "covered": proven.covered,
                "extends_earlier": earlier.is_some(),
                "key": key.as_deref().unwrap_or(&exported.key),
            }),
        ))
    }
}

/// An earlier checkpoint: the note in a file or in a mail, or that of an exported ledger.
fn earlier(path: &Path) -> Result<String, Error> {
    let file = File::open(path).map_err(|error| Error::io(path.display(), &error))?;
    let mut first = String::new();
    let read = std::io::Read::take(BufReader::new(file), LONGEST_LINE as u64).read_line(&mut first);
    if read.is_ok()
        && let Ok(head) = serde_json::from_str::<Value>(&first)
        && let Some(note) = head["checkpoint"].as_str()
    {
        return Ok(note.to_owned());
    }
    let bytes = read_at_most(path, LONGEST_MAIL)?;
    checkpoint::in_text(&mailed::text_of(&bytes)).ok_or_else(|| {
        Error::usage(format!("{} holds no checkpoint", path.display())).hint(
            "a signed note, a mail with one as it was received, or a file of `kluis audit export`",
        )
    })
}

/// The key itself, or the first line of a file that holds it.
fn vkey(text: &str) -> Result<String, Error> {
    if checkpoint::parse_vkey(text).is_ok() {
        return Ok(text.to_owned());
    }
    let bytes = read_at_most(Path::new(text), LONGEST_KEY)?;
    let line = String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned();
    checkpoint::parse_vkey(&line)
        .map(|_| line)
        .map_err(|_| Error::from(ledger::Error::BadCheckpoint).code(USAGE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{StaffId, VaultId};
    use crate::ledger::{Checkpoint, Fact, tree};

    const SEED: [u8; 32] = [9; 32];

    fn exported(count: u64) -> Exported {
        let vault = VaultId::new([5; 16]);
        let entries: Vec<Vec<u8>> = (0..count)
            .map(|seq| {
                let bare = Entry::new(Fact::Looked, 29_000_000 + seq);
                let case = Some(CaseId::random());
                Entry { seq, case, staff: Some(StaffId(2)), ..bare }.to_bytes()
            })
            .collect();
        let mut tree = tree::Tree::default();
        entries.iter().for_each(|bytes| tree.append(tree::leaf(bytes)));
        let root = tree.root(count).expect("its own size");
        let public = checkpoint::public_key(&SEED);
        Exported {
            key: checkpoint::vkey(vault, &public),
            checkpoint: Checkpoint { vault, size: count, root }.sign(&SEED),
            entries,
        }
    }

    #[test]
    fn an_exported_ledger_reads_back_and_verifies_and_an_edited_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.jsonl");
        let ledger = exported(3);
        ledger.write(&File::create(&path).expect("made")).expect("written");
        let read = Exported::read(&path).expect("reads");
        let proven = read.audit(&read.key, Some(&ledger.checkpoint)).expect("verifies");
        assert_eq!((proven.entries, proven.covered), (3, 3));
        assert!(read.audit(&exported(3).key.replace('A', "B"), None).is_err());

        let text = std::fs::read_to_string(&path).expect("reads");
        let lines: Vec<&str> = text.lines().collect();
        let dropped = [lines[0], lines[1], lines[3]].join("\n");
        std::fs::write(&path, dropped).expect("written");
        let read = Exported::read(&path).expect("reads");
        assert!(read.audit(&read.key, None).is_err());

        let reworded = text.replacen("\"fact\":\"looked\"", "\"fact\":\"closed\"", 1);
        assert_ne!(reworded, text);
        std::fs::write(&path, reworded).expect("written");
        let error = Exported::read(&path).map(|_| ()).expect_err("refused");
        assert!(error.text.contains(":2: what is readable"), "{}", error.text);

        for bad in ["", "{}", "no", "{\"format\":\"kluis ledger 1\"}"] {
            std::fs::write(&path, bad).expect("written");
            assert!(Exported::read(&path).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_checkpoint_is_found_in_a_note_and_in_an_exported_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let ledger = exported(2);
        std::fs::write(&path, &ledger.checkpoint).expect("written");
        assert_eq!(earlier(&path), Ok(ledger.checkpoint.clone()));
        ledger.write(&File::create(&path).expect("made")).expect("written");
        assert_eq!(earlier(&path), Ok(ledger.checkpoint.clone()));
        std::fs::write(&path, format!("{}\n", ledger.key)).expect("written");
        assert_eq!(vkey(path.to_str().expect("UTF-8")), Ok(ledger.key.clone()));
        assert_eq!(vkey(&ledger.key), Ok(ledger.key));
    }

    #[test]
    fn a_line_says_who_did_what_to_which_case() {
        let case = CaseId::random();
        let entry = Entry {
            seq: 12,
            case: Some(case),
            staff: Some(StaffId(2)),
            due_one: Some(20_000),
            ..Entry::new(Fact::CaseOpened, 0)
        };
        let line = line(&entry);
        assert!(line.starts_with("    12  1970-01-01 01:00  case opened"), "{line}");
        assert!(line.contains(&case.to_string()) && line.contains("by 2"), "{line}");
        assert_eq!(readable(&entry)["due_one"], "2024-10-04");
    }
}
