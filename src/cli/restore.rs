//! Making a vault of a backup again, and saying what was forgotten since.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::backup::{KeyFile, line, tell, to_json};
use super::check::progress;
use super::{Error, Report, case, print, session};
use crate::clock::Clock;
use crate::config::{Config, FILE};
use crate::ledger::erasures;
use crate::reply::checkpoint as mailed;
use crate::store;
use crate::upkeep::replay::{self, Settled, Since};
use crate::upkeep::restore::{Backup, Lost, Restored, Target};

/// Make a vault of a backup, in a new folder, with a fresh key of the cabinet
///
/// Lists what is lost: what the ledger names, nobody forgot, and the backup has no key for. What came
/// after the backup is not in it; staff are shown so at the next log-in.
///
/// The restored vault does not serve until it is said what was forgotten after the backup: `kluis
/// restore replay`.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  sudo -u kluis kluis restore /mnt/backup/kluis /var/lib/kluis --key-file nadia.key\n  sudo -u kluis kluis restore replay /var/lib/kluis --erasures note-1.txt note-2.txt"
)]
pub(super) struct Restore {
    #[command(subcommand)]
    command: Option<RestoreCommand>,
    /// The folder of the backup
    #[arg(value_name = "SRC", required = true)]
    src: Option<PathBuf>,
    /// The new state directory: not there, or empty
    #[arg(value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    #[command(flatten)]
    key: KeyFile,
    /// The folder of the new cabinet's key, on another device; else DIR.cabinet-key
    #[arg(long, value_name = "FOLDER")]
    cabinet_key: Option<PathBuf>,
    /// Go on although packs of the backup are damaged: what they held is lost
    #[arg(long)]
    damaged: bool,
    /// Say what would be restored and what is lost, and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Subcommand)]
enum RestoreCommand {
    Replay(Replay),
}

/// Say what was forgotten after the backup: it is forgotten again, and the vault opens
///
/// The server signs erasure notes, which name the keys that were dropped and say nothing about anyone.
/// Give all notes from the backup on: files of them, or mails that carry them. What was forgotten
/// behind the last note nobody here knows. Without notes a person states with a reason that nothing
/// was forgotten; the ledger says so for ever.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  sudo -u kluis kluis restore replay /var/lib/kluis --erasures note-1.txt note-2.txt\n  sudo -u kluis kluis restore replay /var/lib/kluis --no-erasures \"the disk broke an hour after the backup\""
)]
struct Replay {
    /// The restored state directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Files with erasure notes
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "no_erasures")]
    erasures: Vec<PathBuf>,
    /// Nothing was forgotten since, and why you know
    #[arg(long, value_name = "REASON", conflicts_with = "erasures")]
    no_erasures: Option<String>,
    /// The newest signed roster of the lost vault, and hand-overs of the admin key since the backup: who
    /// was revoked stays out
    #[arg(long, value_name = "FILE", num_args = 1..)]
    signed: Vec<PathBuf>,
}

/// Lost entries that are listed for people; programs get all.
const MOST_SHOWN: usize = 50;
/// The longest file of notes, in bytes.
const LONGEST_NOTES: u64 = 16 << 20;
/// The longest signed file, in bytes.
const LONGEST_SIGNED: u64 = 1 << 20;

impl Restore {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        match (&self.command, &self.src, &self.dir) {
            (Some(RestoreCommand::Replay(replay)), ..) => replay.run(),
            (None, Some(src), Some(dir)) => self.make(src, dir, json),
            (None, ..) => Err(Error::usage("no backup is named").hint("`kluis restore --help`")),
        }
    }

    fn make(&self, src: &Path, dir: &Path, json: bool) -> Result<Report, Error> {
        let key = self.key.unlock()?.ok_or_else(|| {
            Error::usage("no backup key is named").hint("--key-file names its file")
        })?;
        let dir = session::absolute(dir)?;
        let cabinet_key = match &self.cabinet_key {
            Some(folder) => session::absolute(folder)?,
            None => store::default_cabinet_key_dir(&dir),
        };
        if cabinet_key.starts_with(&dir) || dir.starts_with(&cabinet_key) {
            return Err(Error::usage("the cabinet's key must not lie in the state directory")
                .hint("--cabinet-key names another folder, on another device"));
        }
        let backup = Backup::open(src)?;
        let target = Target { dir: &dir, cabinet_key: &cabinet_key, despite_damage: self.damaged };
        let bar = progress(json);
        let restored = backup.restore(&target, &key, self.dry_run, &tell(&bar));
        bar.finish_and_clear();
        Ok(shown(&restored?, &dir, &cabinet_key))
    }
}

fn shown(restored: &Restored, dir: &Path, cabinet_key: &Path) -> Report {
    let verb = if restored.is_dry { "would be restored" } else { "restored" };
    let mut lines = vec![format!(
        "{}, {}, {} ({}) {verb}, as of {}",
        print::count(restored.entries, "entry", "entries"),
        print::count(restored.keys, "key", "keys"),
        print::count(restored.packs, "pack", "packs"),
        print::bytes(restored.bytes),
        print::moment(restored.minute),
    )];
    if restored.from_older > 0 {
        let keys = print::count(restored.from_older, "key", "keys");
        lines.push(format!("{keys} only an older file of the backup had"));
    }
    if restored.lost.is_empty() {
        lines.push("nothing of it is lost".into());
    } else {
        let count = print::count(restored.lost.len() as u64, "thing is", "things are");
        lines.push(format!("{count} lost, the backup has no key for them:"));
        lines.extend(restored.lost.iter().take(MOST_SHOWN).map(lost_line));
        if restored.lost.len() > MOST_SHOWN {
            lines.push(format!("  and {} more", restored.lost.len() - MOST_SHOWN));
        }
    }
    lines.extend(restored.flaws.iter().map(|flaw| print::terminal_safe(&line(flaw))));
    if !restored.is_dry {
        lines.push(format!(
            "the cabinet's key lies in {}; it belongs on another device, in no backup",
            cabinet_key.display()
        ));
        lines.push(format!(
            "It does not serve yet. Say what was forgotten since:\n  kluis restore replay {} \
             --erasures NOTE…   (or --no-erasures REASON)\n\
             and give it the newest signed roster (--signed FILE): the backup's own lets in who was revoked \
             since",
            dir.display()
        ));
    }
    let json = json!({
        "dry_run": restored.is_dry,
        "dir": dir.to_string_lossy(),
        "cabinet_key": cabinet_key.to_string_lossy(),
        "entries": restored.entries,
        "minute": restored.minute,
        "packs": restored.packs,
        "bytes": restored.bytes,
        "keys": restored.keys,
        "keys_from_older": restored.from_older,
        "lost": restored.lost.iter().map(lost_json).collect::<Vec<_>>(),
        "flaws": restored.flaws.iter().map(to_json).collect::<Vec<_>>(),
    });
    let problems = !restored.flaws.is_empty();
    Report { problems, ..Report::new(lines.join("\n"), json) }
}

fn lost_line(lost: &Lost) -> String {
    let what = match (lost.item, lost.letter) {
        (Some(item), _) => format!("item {item}"),
        (None, Some(letter)) => format!("letter {letter}"),
        (None, None) => "a key of the server's own".to_owned(),
    };
    let case = lost.case.map_or_else(String::new, |case| format!(" of {case}"));
    format!("  entry {}: {what}{case}", lost.seq)
}

fn lost_json(lost: &Lost) -> serde_json::Value {
    json!({
        "seq": lost.seq,
        "case": lost.case.map(|id| id.to_string()),
        "letter": lost.letter.map(|id| id.to_string()),
        "item": lost.item.map(|id| id.to_string()),
    })
}

/// Which roster is in force; without a newer one it may let in who was revoked.
fn roster_line(settled: &Settled, was_given: bool, dir: &Path) -> String {
    let version = settled.roster.version;
    let names = |names: Vec<&str>| names.join(", ");
    if was_given {
        return match settled.revoked.as_slice() {
            [] => format!("roster {version} is in force"),
            revoked => {
                let gone = names(revoked.iter().map(String::as_str).collect());
                format!("roster {version} is in force; no longer in it: {gone}")
            }
        };
    }
    let members = names(settled.roster.members.iter().map(|m| m.name.as_str()).collect());
    format!(
        "ATTENTION: roster {version} is in force, that of the backup, with {members}.\n  \
         Who was revoked after the backup can log in again. Before it serves, put the newest signed roster \
         into a folder\n  as roster.note: `kluis keys take FOLDER {}`; without one, `kluis keys revoke` at \
         once",
        dir.display()
    )
}

impl Replay {
    fn run(&self) -> Result<Report, Error> {
        session::harden()?;
        let dir = session::absolute(&self.dir)?;
        let config = Config::load(&dir.join(FILE))?;
        let mut notes = Vec::new();
        for file in &self.erasures {
            // A checkpoint mail as it was received is in quoted-printable.
            let text = mailed::text_of(&case::read_at_most(file, LONGEST_NOTES)?);
            let found = erasures::in_text(&text);
            if found.is_empty() {
                return Err(Error::usage(format!("{} holds no erasure note", file.display()))
                    .hint(
                        "a note begins with `kluis erasures 1`, and its signature belongs to it",
                    ));
            }
            notes.extend(found);
        }
        let read = |file: &PathBuf| -> Result<String, Error> {
            let bytes = case::read_at_most(file, LONGEST_SIGNED)?;
            String::from_utf8(bytes.to_vec())
                .map_err(|_| Error::usage(format!("{} is no signed note", file.display())))
        };
        let signed: Vec<String> = self.signed.iter().map(read).collect::<Result<_, _>>()?;
        let has_roster = signed.iter().any(|note| note.starts_with("kluis roster "));
        let since = match &self.no_erasures {
            Some(reason) => Since::Nothing(reason),
            None => Since::Notes(&notes),
        };
        let minute = Clock::System.minutes();
        let settled = replay::replay(&dir, &config.cabinet_key, minute, &since, &signed)?;
        let mut lines = Vec::new();
        if self.no_erasures.is_some() {
            lines.push("it is entered that nothing was forgotten since the backup".to_owned());
        } else {
            let dropped = print::count(settled.replayed.dropped, "key", "keys");
            lines.push(format!("{dropped} dropped again"));
            if settled.replayed.unknown > 0 {
                lines.push(format!(
                    "{} of what came after the backup, which is not here",
                    print::count(settled.replayed.unknown, "note is", "notes are")
                ));
            }
            lines.push(format!(
                "known up to entry {} of the lost ledger: what was forgotten behind it is not here, ask \
                 who might know",
                settled.known_to
            ));
        }
        lines.push(roster_line(&settled, has_roster, &dir));
        lines.push(format!("`kluis serve {}` starts it", dir.display()));
        Ok(Report::new(
            lines.join("\n"),
            json!({
                "dropped": settled.replayed.dropped,
                "unknown": settled.replayed.unknown,
                "size": settled.size,
                "known_to": settled.known_to,
                "no_erasures": self.no_erasures.is_some(),
                "roster": settled.roster.version,
                "members": settled.roster.members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
                "revoked": settled.revoked,
            }),
        ))
    }
}
