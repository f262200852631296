//! The member's own key: making one, changing its passphrase, keeping it unlocked for a while.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::session::{self, Connection, absolute};
use super::{Error, Report, print};
use crate::cli::error::USAGE;
use crate::keys::admin::AdminKey;
use crate::keys::roster::is_name;
use crate::keys::staff::StaffKey;
use crate::keys::{Passphrase, UnlockError};
use crate::staff::agent::{self, AgentClient, Plan};
use crate::staff::home::{Home, Profile};
use crate::staff::restored::Gone;

/// Make a key of your own, or change its passphrase
#[derive(Args)]
pub(super) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    New(New),
    Passwd(Passwd),
}

/// Make a key, on your own machine, under a passphrase
///
/// The secret half never leaves the file. The public half is printed: give it to the admin, for `kluis
/// init` or `kluis keys add`. One person may hold a member's key and a backup key, but they are two keys.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis key new lotte\n  kluis key new nadia --backup --out nadia.key"
)]
struct New {
    /// Your name in the roster: 1 to 32 of a-z 0-9 . _ -
    name: String,
    /// The admin key, which signs rosters and epochs and opens nothing
    #[arg(long, conflicts_with = "backup")]
    admin: bool,
    /// A backup key, which backups of the cabinet are sealed to
    #[arg(long)]
    backup: bool,
    /// Where to write it; else the place in your own configuration folder
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Read the new passphrase from the first line of this file instead of asking
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Change the passphrase of a key
#[derive(Args)]
#[command(after_help = "Example:\n  kluis key passwd\n  kluis key passwd nadia.key")]
struct Passwd {
    /// The key file; else your member's key
    file: Option<PathBuf>,
    /// The admin key in your configuration folder
    #[arg(long, conflicts_with_all = ["file", "backup"])]
    admin: bool,
    /// The backup key in your configuration folder
    #[arg(long, conflicts_with = "file")]
    backup: bool,
    /// Read the old passphrase from the first line of this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Read the new passphrase from the first line of this file
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

/// Keep your key unlocked for a while, so that the passphrase is asked once
///
/// Starts an agent of your own that holds the key in locked memory and ends itself. Remembers
/// server and member for all other commands.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis unlock --server /var/lib/kluis/kluis.sock --member lotte"
)]
pub(super) struct Unlock {
    #[command(flatten)]
    connection: Connection,
    /// How many minutes, 1 to 480; else what was remembered, at first 15
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=480))]
    minutes: Option<u16>,
}

/// Forget the unlocked key at once
#[derive(Args)]
#[command(after_help = "Example:\n  kluis lock")]
pub(super) struct Lock {}

/// Say who you are here: member, key, server, and the vault's public key
///
/// With an unlocked key it also asks the server. The public key of checkpoints should be the one
/// that `kluis init` printed.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis whoami\n  kluis whoami --accept-restored")]
pub(super) struct Whoami {
    /// The vault was restored from a backup, and the admin says so: show what is gone, and go on
    #[arg(long)]
    accept_restored: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Asks for a passphrase, or reads it from a file. A new one is asked twice and must be long
/// enough, from a file too.
///
/// # Errors
/// No terminal, an unreadable file, or a passphrase that will not do.
pub(super) fn passphrase(
    question: &str,
    file: Option<&Path>,
    new: bool,
) -> Result<Passphrase, Error> {
    let Some(file) = file else {
        return Passphrase::prompt(question, new).map_err(|error| {
            let invalid = error.kind() == std::io::ErrorKind::InvalidInput;
            let text = if invalid { error.to_string() } else { format!("no passphrase: {error}") };
            Error::new(text)
                .code(USAGE)
                .hint("type it at a terminal, or name a file with --passphrase-file")
        });
    };
    let bad = |error: &std::io::Error| {
        Error::io(file.display(), error).hint("the passphrase is the first line of that file")
    };
    let passphrase = Passphrase::from_file(file).map_err(|error| bad(&error))?;
    if new {
        passphrase.check_new().map_err(|error| bad(&error).code(USAGE))?;
    }
    Ok(passphrase)
}

impl Key {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        session::harden()?;
        match self.command {
            KeyCommand::New(new) => new.run(),
            KeyCommand::Passwd(passwd) => passwd.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<Report, Error> {
        if !is_name(&self.name) {
            return Err(Error::usage("that cannot be a member's name")
                .hint("1 to 32 characters of a-z 0-9 . _ - and a letter or digit first"));
        }
        let path = match &self.out {
            Some(path) => absolute(path)?,
            None => {
                let home = Home::find()?;
                home.create()?;
                match (self.admin, self.backup) {
                    (true, _) => home.admin_key(),
                    (_, true) => home.backup_key(),
                    _ => home.staff_key(),
                }
            }
        };
        if path.exists() {
            return Err(Error::io(path.display(), &std::io::ErrorKind::AlreadyExists.into()));
        }
        let passphrase =
            passphrase("Passphrase of the new key", self.passphrase_file.as_deref(), true)?;
        let written = |error: std::io::Error| Error::io(path.display(), &error);
        let (public, next) = if self.admin {
            let key = AdminKey::generate();
            key.save(&path, &passphrase, None).map_err(written)?;
            (key.vkey().to_string(), "`kluis init` finds it there by itself.".to_owned())
        } else {
            let key = StaffKey::generate();
            key.save(&path, &passphrase, None).map_err(written)?;
            let (option, role) =
                if self.backup { ("backup", "backup") } else { ("staff", "backoffice") };
            let recipient = key.recipient().to_string();
            let name = &self.name;
            let next = format!(
                "Give the public half to the admin:\n  kluis init … --{option} {name}={recipient}\n  \
                 kluis keys add {name} {recipient} --role {role}"
            );
            (recipient, next)
        };
        let place = path.display();
        Ok(Report::new(
            format!("secret  {place}\npublic  {public}\n\n{next}\n"),
            json!({ "name": self.name, "file": path, "public": public }),
        ))
    }
}

impl Passwd {
    fn run(self) -> Result<Report, Error> {
        let home = Home::find()?;
        let file = match (&self.file, self.admin, self.backup) {
            (Some(file), ..) => file.clone(),
            (None, true, _) => home.admin_key(),
            (None, _, true) => home.backup_key(),
            (None, ..) => {
                Profile::load(&home)?.map_or_else(|| home.staff_key(), |p| p.key_file(&home))
            }
        };
        if !file.exists() {
            return Err(UnlockError::NoFile.into());
        }
        let old = passphrase("Old passphrase", self.passphrase_file.as_deref(), false)?;
        let new = passphrase("New passphrase", self.new_passphrase_file.as_deref(), true)?;
        // A key file does not say whose it is before it is open.
        match StaffKey::change_passphrase(&file, &old, &new, None).map_err(Error::from) {
            Err(error) if error == Error::from(UnlockError::NotAKey) => {
                AdminKey::change_passphrase(&file, &old, &new, None)?;
            }
            other => other?,
        }
        Ok(Report::new(
            format!("changed  {}", file.display()),
            json!({ "file": file, "changed": true }),
        ))
    }
}

impl Unlock {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let program = session::program()?;
        let (home, mut profile) = self.connection.profile()?;
        if !is_name(&profile.member) {
            return Err(Error::usage("that cannot be a member's name")
                .hint("the name that stands in the roster"));
        }
        if let Some(minutes) = self.minutes {
            profile.unlock_minutes = minutes;
        }
        session::harden()?;
        home.create()?;
        let key = profile.key_file(&home);
        if !key.exists() {
            return Err(UnlockError::NoFile.into());
        }
        let socket = home.agent_socket();
        match AgentClient::find(&socket) {
            Err(agent::Error::Locked) => {}
            Ok(_) => return Err(agent::Error::Unlocked.into()),
            Err(error) => return Err(error.into()),
        }
        let question = format!("Passphrase of {}", profile.member);
        let file = self.connection.passphrase_file.as_deref();
        let passphrase = passphrase(&question, file, false)?;
        let life = profile.unlock_time();
        let plan = Plan { socket: &socket, key: &key, member: &profile.member, life };
        agent::spawn(&program, &plan, &passphrase)?;
        profile.save(&home)?;
        let minutes = profile.unlock_minutes;
        Ok(Report::new(
            format!(
                "{} is unlocked for {}",
                profile.member,
                print::count(minutes, "minute", "minutes")
            ),
            json!({ "member": profile.member, "server": profile.socket, "minutes": minutes }),
        ))
    }
}

impl Lock {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let home = Home::find()?;
        let was_unlocked = match AgentClient::find(&home.agent_socket()) {
            Ok(agent) => {
                agent.lock()?;
                true
            }
            Err(agent::Error::Locked) => false,
            Err(error) => return Err(error.into()),
        };
        let text = if was_unlocked { "locked" } else { "no key was unlocked" };
        Ok(Report::new(text, json!({ "locked": was_unlocked })))
    }
}

impl Whoami {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        if self.accept_restored {
            return Ok(accepted(self.connection.accept_restored()?));
        }
        let (home, profile) = self.connection.profile()?;
        let status = match AgentClient::find(&home.agent_socket()) {
            Ok(agent) => Some(agent.status()?),
            Err(agent::Error::Locked) => None,
            Err(error) => return Err(error.into()),
        };
        let key = profile.key_file(&home);
        let unlocked = status.as_ref().map(|status| {
            let minutes = status.seconds_left.div_ceil(60);
            format!("{} for {} more", status.member, print::count(minutes, "minute", "minutes"))
        });
        let mut rows = vec![
            ("member", profile.member.clone()),
            ("key", key.display().to_string()),
            ("unlocked", unlocked.unwrap_or_else(|| "no".into())),
            ("server", profile.socket.display().to_string()),
        ];
        let mut json = json!({
            "member": profile.member,
            "key": key,
            "server": profile.socket,
            "seconds_left": status.as_ref().map(|status| status.seconds_left),
        });
        let is_own = status.is_some_and(|status| status.member == profile.member);
        if is_own || self.connection.passphrase_file.is_some() {
            let client = self.connection.open()?;
            rows.push(("number", client.staff.0.to_string()));
            rows.push(("vault", client.vault.to_string()));
            rows.push(("mailbox", print::terminal_safe(&client.mailbox)));
            rows.push(("checkpoints", print::terminal_safe(&client.checkpoint_key)));
            rows.push(("admin", client.admin_key()));
            json["number"] = client.staff.0.into();
            json["vault"] = client.vault.to_string().into();
            json["mailbox"] = client.mailbox.clone().into();
            json["checkpoint_key"] = client.checkpoint_key.clone().into();
            json["admin_key"] = client.admin_key().into();
        }
        let text: Vec<String> =
            rows.iter().map(|(word, value)| format!("{word:<12} {value}")).collect();
        Ok(Report::new(text.join("\n"), json))
    }
}

/// What a restore left out.
fn accepted(gone: Option<Gone>) -> Report {
    let Some(Gone { from, to, minute, known_to, roster, roster_file, admin_is_back }) = gone else {
        return Report::new(
            "the ledger continues what you saw last: there is nothing to accept",
            json!({ "accepted": false }),
        );
    };
    let forgotten = match known_to {
        Some(known) => format!("what was forgotten up to entry {known} was forgotten again"),
        None => "a person stated that nothing was forgotten since".to_owned(),
    };
    let roster_line = match roster {
        0 => String::new(),
        known => format!(
            "\nyou knew roster {known}; if the vault has an older one again, who was revoked since stands \
             in it: give the admin {}",
            roster_file.display()
        ),
    };
    let admin_line = if admin_is_back {
        "\nthe admin key was handed over since the backup, and the one before counts again: if it was \
         stolen, hand it over again before anything else"
    } else {
        ""
    };
    let entries = if to > from {
        format!("Entries {from} to {} that you saw are gone, and what came with them", to - 1)
    } else {
        format!("What came behind entry {from} is gone")
    };
    Report::new(
        format!(
            "accepted: restored {}. {entries}\n{forgotten}{roster_line}{admin_line}",
            print::moment(minute),
        ),
        json!({ "accepted": true, "from": from, "to": to, "minute": minute, "known_to": known_to,
            "roster": roster, "roster_file": roster_file, "admin_is_back": admin_is_back }),
    )
}
