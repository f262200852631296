//! Access for a new member when nobody who reads is left: first with sheets, on a machine without
//! network, then on the server, where neither a sheet nor the recovery key ever is.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::init::{Recipient, private_folder};
use super::recovery::{files_in, read, read_file};
use super::session::{self, absolute};
use super::{Error, Report, STATE_DIR, key, keys, print};
use crate::casebook::state::Wrapped;
use crate::cli::error::USAGE;
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::ids::{EpochId, StaffId};
use crate::keys::admins::Admins;
use crate::keys::file::write_new;
use crate::keys::roster::{Member, Role, Roster, is_name};
use crate::keys::shares::combine;
use crate::staff::recovery;

/// Give a new member access with the recovery key, when nobody who reads is left
///
/// For a machine without network, with a copy of the state directory's admin.pub, admin, roster,
/// epochs and mailbox, and of the admin key's copy for recovery. Makes a signed roster with the new member and
/// wraps every secret anew to its readers; nothing of what it writes is a secret in clear. On the
/// server `kluis keys take` puts it in force.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis keys recover - --dir /media/copy --admin-copy /media/copy/admin.recovery.age \\\n    --member eva --recipient age1… --out /media/recovered"
)]
pub(super) struct Recover {
    /// Files with sheets as they were printed or scanned; - to type them in
    #[arg(value_name = "SHEET", required = true)]
    sheets: Vec<PathBuf>,
    /// The copy
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// The admin key's copy for recovery: admin.recovery.age
    #[arg(long, value_name = "FILE")]
    admin_copy: PathBuf,
    /// The new member's name: 1 to 32 of a-z 0-9 . _ -
    #[arg(long, value_name = "NAME")]
    member: String,
    /// The new member's public key: age1…, ssh-ed25519 …, or the path of a file that holds one
    #[arg(long, value_name = "KEY")]
    recipient: Recipient,
    /// What they may do: backoffice, admin, dpo; more than one is allowed, else backoffice and admin
    #[arg(long, value_name = "ROLE")]
    role: Vec<Role>,
    /// Write what `kluis keys take` needs into this new folder
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Write the admin key into this file, too, under a new passphrase: for whoever is admin now
    #[arg(long, value_name = "FILE")]
    admin_key: Option<PathBuf>,
    /// Read the new passphrase of the admin key from the first line of this file
    #[arg(long, value_name = "FILE", requires = "admin_key")]
    passphrase_file: Option<PathBuf>,
}

/// Put in force on the server what `kluis keys recover` made
///
/// As the user of the service, while nothing serves. The admin's signature is verified, and the
/// roster must be newer than the one in force. What was done already is passed over, so it can be
/// repeated.
#[derive(Args)]
#[command(after_help = "Example:\n  sudo -u kluis kluis keys take /media/recovered /var/lib/kluis")]
pub(super) struct Take {
    /// The folder that `kluis keys recover` wrote
    folder: PathBuf,
    /// The state directory
    #[arg(default_value = STATE_DIR)]
    dir: PathBuf,
}

/// The signed roster in the folder of a recovery.
const ROSTER: &str = "roster.note";

impl Recover {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`]; before the first file is written nothing was.
    pub(super) fn run(self) -> Result<Report, Error> {
        session::harden()?;
        if !is_name(&self.member) {
            return Err(Error::usage(format!("`{}` is no name", print::short(&self.member, 40)))
                .hint("1 to 32 of a-z 0-9 . _ -, the first one a letter or a digit"));
        }
        for path in [Some(&self.out), self.admin_key.as_ref()].into_iter().flatten() {
            if path.exists() {
                return Err(Error::io(path.display(), &std::io::ErrorKind::AlreadyExists.into()));
            }
        }
        let copy = read_file(&self.admin_copy)?;
        let recovered = combine(&read(&self.sheets)?)?;
        let files = files_in(&self.dir)?;
        let admin = files.admin_key(&copy, &recovered)?;
        let (roster, number) = self.roster(&files.roster)?;
        let note = roster.sign(&admin).map_err(|error| {
            Error::from(error).hint("each key stands in one place only: `kluis key new` makes one")
        })?;
        let wrapped = files.rewrap(&recovered, &roster)?;
        let words = self.admin_key.as_ref().map(|_| {
            key::passphrase(
                "New passphrase of the admin key",
                self.passphrase_file.as_deref(),
                true,
            )
        });
        let words = words.transpose()?;
        private_folder(&self.out)?;
        let put = |name: String, bytes: &[u8]| {
            let path = self.out.join(name);
            write_new(&path, bytes).map_err(|error| Error::io(path.display(), &error))
        };
        for (what, file) in &wrapped {
            put(file_name(*what), file)?;
        }
        // Last: without it the folder is none.
        put(ROSTER.to_owned(), note.as_bytes())?;
        if let (Some(path), Some(words)) = (&self.admin_key, &words) {
            admin.save(path, words, None).map_err(|error| Error::io(path.display(), &error))?;
        }
        let name = &self.member;
        let text = format!(
            "{name} will be member {}, roster {}; {} wrapped anew\n\n\
             Next:\n  on the server, while nothing serves: kluis keys take {} {STATE_DIR}\n  \
             {name} logs in and reads; then `kluis keys add` for a second reader, `kluis keys revoke` \
             for who is lost, `kluis keys reseal`\n  those sheets have been together: a new ceremony\n",
            number.0,
            roster.version,
            print::count(wrapped.len(), "secret", "secrets"),
            self.out.display(),
        );
        let json = json!({
            "member": name,
            "number": number.0,
            "version": roster.version,
            "wrapped": wrapped.iter().map(|(what, _)| recovery::name(*what)).collect::<Vec<_>>(),
            "folder": self.out,
            "admin_key": self.admin_key,
        });
        Ok(Report::new(text, json))
    }

    /// The next roster, with the new member, who gets a number above all that were ever given.
    fn roster(&self, newest: &Roster) -> Result<(Roster, StaffId), Error> {
        if newest.member(&self.member).is_some() {
            return Err(Error::usage(format!("{} is in the roster already", self.member))
                .hint("a new key is a new member: choose another name"));
        }
        let number = highest_number(&self.dir).checked_add(1);
        let (Some(number), Some(version)) = (number, newest.version.checked_add(1)) else {
            return Err(Error::new("the roster has no number left").hint("found a new vault"));
        };
        let roles = match self.role.as_slice() {
            [] => [Role::Backoffice, Role::Admin].into(),
            roles => roles.iter().copied().collect(),
        };
        let mut roster = newest.clone();
        roster.version = version;
        roster.members.push(Member {
            id: StaffId(number),
            name: self.member.clone(),
            roles,
            recipient: self.recipient.0.clone(),
        });
        Ok((roster, StaffId(number)))
    }
}

/// The highest number of a member in any roster of a state directory. Older ones are not verified: at
/// worst a number stays unused.
fn highest_number(dir: &Path) -> u16 {
    let listed = std::fs::read_dir(dir.join("roster")).into_iter().flatten().flatten();
    let notes = listed.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let highest = |note: String| {
        let members = note.lines().filter_map(|line| line.strip_prefix("member "));
        members.filter_map(|rest| rest.split(' ').next()?.parse().ok()).max()
    };
    notes.filter_map(highest).max().unwrap_or(0)
}

fn file_name(what: Wrapped) -> String {
    match what {
        Wrapped::Epoch(epoch) => format!("epoch-{}.age", epoch.0),
        Wrapped::Mailbox(number) => format!("mailbox-{number}.age"),
    }
}

/// What a file of the folder is.
fn named(path: &Path) -> Option<Wrapped> {
    let (kind, number) = path.file_name()?.to_str()?.strip_suffix(".age")?.split_once('-')?;
    let number = number.parse().ok()?;
    match kind {
        "epoch" => Some(Wrapped::Epoch(EpochId(number))),
        "mailbox" => Some(Wrapped::Mailbox(number)),
        _ => None,
    }
}

impl Take {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        session::harden()?;
        let dir = absolute(&self.dir)?;
        let note = read_file(&self.folder.join(ROSTER))?;
        let note = std::str::from_utf8(&note)
            .map_err(|_| Error::usage(format!("{ROSTER}: not text")).hint("make it again"))?;
        // First: it puts aside what a crash has left and nobody entered.
        let gateway = Gateway::open(&dir, &session::program()?, Clock::System)?;
        let admins = Admins::read(&dir, keys::roster(&dir)?.vault)
            .map_err(|error| Error::io(dir.display(), &error))?;
        let roster = admins
            .roster(note)
            .map_err(|error| Error::from(error).hint("it is not this vault's, or was changed"))?;
        let listed = std::fs::read_dir(&self.folder)
            .map_err(|error| Error::io(self.folder.display(), &error).code(USAGE))?;
        let mut files = Vec::new();
        for entry in listed.flatten() {
            if let Some(what) = named(&entry.path()) {
                files.push((what, read_file(&entry.path())?.to_vec()));
            }
        }
        files.sort_by_key(|(what, _)| *what);
        let by = roster.members.iter().map(|member| member.id).max().unwrap_or(StaffId(0));
        let taken = gateway.take_recovered(by, note, &files).map_err(|error| {
            let error = Error::from(error);
            if error.hint.is_empty() {
                error.hint("make a copy of the state directory as it is now, and recover again")
            } else {
                error
            }
        })?;
        Ok(Report::new(
            format!(
                "roster {} is in force, {} taken over\n\nNext: start `kluis serve`",
                roster.version,
                print::count(taken, "secret", "secrets")
            ),
            json!({ "version": roster.version, "taken": taken }),
        ))
    }
}
