//! Copying the vault elsewhere, and holding a copy against itself.
//!
//! Works on the vault itself while nothing serves it; else the server is asked over its socket, as
//! the same user.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::check::progress;
use super::error::{LATER, USAGE};
use super::{Error, Report, STATE_DIR, key, print, session};
use crate::casebook;
use crate::casebook::backup::Said;
use crate::casebook::protocol::{self, Request};
use crate::clock::Clock;
use crate::config::{Config, FILE};
use crate::gateway::{self, Gateway};
use crate::keys::staff::StaffKey;
use crate::store;
use crate::upkeep::backup::{KEEP_DAYS, Summary};
use crate::upkeep::restore;
use crate::upkeep::verify::{Flaw, Verified};

/// Copy what is new of a vault to another folder, the keys of boxes sealed to the backup keys
///
/// Packs, the ledger, the signed files and the settings are copied once and never again; the keys of
/// all boxes that are not forgotten are written as an age file to the backup keys of the roster, and
/// such a file is removed after seven days, by the next backup. The copy is on disk when the command
/// is done; one that was interrupted goes on where it was, and the one before stays whole.
///
/// While a server has the vault open it is asked over its socket, by its own user and nobody else, and
/// writes to the folder itself.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  sudo -u kluis kluis backup /mnt/backup/kluis\n  kluis backup verify /mnt/backup/kluis --key-file nadia.key"
)]
pub(super) struct Backup {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The folder of the backup: empty, or the one of the last time
    #[arg(value_name = "DEST", required = true)]
    dest: Option<PathBuf>,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    dir: PathBuf,
    /// Say what would be copied, and copy nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Subcommand)]
enum BackupCommand {
    Verify(Verify),
}

/// Hold a backup against itself: every file, record and entry, the tree, and with a backup key every
/// box
///
/// Needs no secret for the first part. With a backup key every key of the newest file opens its box,
/// and the chunks of that are there: what a restore would need. Nothing is changed and nothing is
/// decrypted to disk. Exit code 1 if something is wrong.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  kluis backup verify /mnt/backup/kluis\n  kluis backup verify /mnt/backup/kluis --key-file nadia.key"
)]
struct Verify {
    /// The folder of the backup
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    key: KeyFile,
}

/// A backup key.
#[derive(Args)]
pub(super) struct KeyFile {
    /// The file of a backup key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Read the passphrase from the first line of this file instead of asking
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl KeyFile {
    /// Unlocks it, if one is named.
    ///
    /// # Errors
    /// It does not unlock.
    pub(super) fn unlock(&self) -> Result<Option<StaffKey>, Error> {
        let Some(file) = &self.key_file else { return Ok(None) };
        session::harden()?;
        if !file.exists() {
            return Err(crate::keys::UnlockError::NoFile.into());
        }
        let question = format!("Passphrase of {}", file.display());
        let passphrase = key::passphrase(&question, self.passphrase_file.as_deref(), false)?;
        Ok(Some(StaffKey::unlock(file, &passphrase)?))
    }
}

impl Backup {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        match (self.command, self.dest) {
            (Some(BackupCommand::Verify(verify)), _) => verify.run(json),
            (None, Some(dest)) => make(&self.dir, &dest, self.dry_run, json),
            (None, None) => Err(Error::usage("no folder is named").hint("`kluis backup --help`")),
        }
    }
}

fn make(dir: &Path, dest: &Path, is_dry: bool, json: bool) -> Result<Report, Error> {
    let program = session::program()?;
    session::harden()?;
    let (dir, dest) = (session::absolute(dir)?, session::absolute(dest)?);
    let config = Config::load(&dir.join(FILE))?;
    let bar = progress(json);
    let summary = match Gateway::open(&dir, &program, Clock::System) {
        Ok(gateway) => gateway.back_up(&dest, is_dry, &tell(&bar)).map_err(Error::from),
        Err(gateway::Error::Casebook(casebook::Error::Store(store::Error::InUse))) => {
            ask(&config.listen.staff, &dest, is_dry, &bar)
        }
        Err(error) => Err(error.into()),
    };
    bar.finish_and_clear();
    Ok(shown(&summary?, &dest))
}

/// Shows how far it is.
pub(super) fn tell(bar: &ProgressBar) -> impl Fn(u64, u64) -> bool {
    |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        true
    }
}

/// Has the server make it.
fn ask(socket: &Path, dest: &Path, dry: bool, bar: &ProgressBar) -> Result<Summary, Error> {
    let broken = |error: std::io::Error| {
        Error::new(format!("something has this vault open, and it was not asked: {error}"))
            .code(LATER)
            .hint("is it `kluis serve`? else wait until it is done")
    };
    let mut stream = UnixStream::connect(socket).map_err(broken)?;
    let request = Request::Backup { dest: dest.as_os_str().as_bytes().to_vec(), dry };
    protocol::write(&mut stream, &request).map_err(broken)?;
    loop {
        match protocol::read(&mut stream).map_err(broken)? {
            Said::Progress { done, total } => _ = tell(bar)(done, total),
            Said::Done { summary } => return Ok(summary),
            Said::Refused { why, later } => {
                let error = Error::new(why);
                return Err(if later {
                    error.code(LATER).hint("start it again to go on")
                } else {
                    error.hint(
                        "the server writes to the folder itself: may its user, and does its service \
                         let it (ReadWritePaths)?",
                    )
                });
            }
        }
    }
}

fn shown(summary: &Summary, dest: &Path) -> Report {
    let verb = if summary.is_dry { "would be copied" } else { "copied" };
    let packs = print::count(summary.packs, "pack", "packs");
    let mut lines = vec![format!(
        "{packs} {verb}, {} there already, {} in all",
        summary.packs_there,
        print::bytes(summary.bytes)
    )];
    if !summary.is_dry {
        lines.push(format!(
            "{} and {} are in {}; the keys for {} at most",
            print::count(summary.entries, "entry", "entries"),
            print::count(summary.keys, "key", "keys"),
            dest.display(),
            print::count(KEEP_DAYS, "day", "days"),
        ));
    }
    if summary.keys_removed > 0 {
        let files = print::count(summary.keys_removed, "older file", "older files");
        lines.push(format!("{files} of keys removed"));
    }
    if summary.missing > 0 {
        lines.push(format!(
            "{} not in the cabinet though nobody forgot them: `kluis check` names each, older files of \
             keys here may still have them",
            print::count(summary.missing, "key is", "keys are")
        ));
    }
    if summary.same_device {
        lines.push("it lies on the same disk as the vault: it will break with it".into());
    }
    let flaw =
        |(file, offset, what): &(String, u64, String)| format!("{file}: {what} at byte {offset}");
    if !summary.flaws.is_empty() {
        lines.push("damaged in the vault already, see `kluis check`:".into());
        lines.extend(summary.flaws.iter().map(|it| format!("  {}", flaw(it))));
    }
    let json = json!({
        "dest": dest.to_string_lossy(),
        "dry_run": summary.is_dry,
        "entries": summary.entries,
        "packs": summary.packs,
        "packs_there": summary.packs_there,
        "bytes": summary.bytes,
        "keys": summary.keys,
        "keys_missing": summary.missing,
        "key_files_removed": summary.keys_removed,
        "same_device": summary.same_device,
        "flaws": summary.flaws.iter().map(flaw).collect::<Vec<_>>(),
    });
    let problems = summary.missing > 0 || !summary.flaws.is_empty();
    Report { problems, ..Report::new(lines.join("\n"), json) }
}

impl Verify {
    fn run(self, json: bool) -> Result<Report, Error> {
        let key = self.key.unlock()?;
        let backup = restore::Backup::open(&self.dest).map_err(|error| {
            let error = Error::from(error);
            if error.code == USAGE { error } else { Error { code: super::error::FAILED, ..error } }
        })?;
        let bar = progress(json);
        let found = backup.verify(key.as_ref(), &tell(&bar));
        bar.finish_and_clear();
        Ok(verified(&found?, &backup))
    }
}

fn verified(found: &Verified, backup: &restore::Backup) -> Report {
    let mut lines = vec![format!(
        "{}, {}, {} read; made {}",
        print::count(backup.head.entries, "entry", "entries"),
        print::count(found.packs, "pack", "packs"),
        print::bytes(found.bytes),
        print::moment(backup.head.minute),
    )];
    match found.opened {
        Some(opened) => lines.push(format!(
            "{opened} of {} opened with their keys",
            print::count(found.boxes, "box", "boxes")
        )),
        None => lines.push(format!(
            "{} there, none opened: --key-file opens them",
            print::count(found.boxes, "box", "boxes")
        )),
    }
    if found.lost > 0 {
        lines.push(format!(
            "{} without a key in the newest file",
            print::count(found.lost, "slot is", "slots are")
        ));
    }
    lines.extend(found.flaws.iter().map(|flaw| print::terminal_safe(&line(flaw))));
    if found.more > 0 {
        lines.push(format!("and {} more", found.more));
    }
    let is_bad = !found.flaws.is_empty() || found.lost > 0;
    if !is_bad {
        lines.push("nothing is wrong".into());
    }
    lines.push(format!(
        "signed with this key of checkpoints; compare it with the one that you keep:\n{}",
        backup.checkpoint_key()
    ));
    let json = json!({
        "entries": backup.head.entries,
        "minute": backup.head.minute,
        "packs": found.packs,
        "bytes": found.bytes,
        "boxes": found.boxes,
        "opened": found.opened,
        "lost": found.lost,
        "flaws": found.flaws.iter().map(to_json).collect::<Vec<_>>(),
        "more_flaws": found.more,
        "checkpoint_key": backup.checkpoint_key(),
    });
    Report { problems: is_bad, ..Report::new(lines.join("\n"), json) }
}

/// One line about a flaw.
pub(super) fn line(flaw: &Flaw) -> String {
    format!("{}: {} at byte {}", flaw.file.display(), flaw.what, flaw.offset)
}

/// The same for programs.
pub(super) fn to_json(flaw: &Flaw) -> Value {
    json!({ "file": flaw.file.to_string_lossy(), "offset": flaw.offset, "what": flaw.what })
}
