//! The vault's keys: who has one, what is sealed to which epoch, and changing either.

mod change;
mod reseal;
mod status;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::recover::{Recover, Take};
use super::recovery::{Drill, Split};
use super::{Error, Report, STATE_DIR, print};
use crate::cli::error::USAGE;
use crate::keys::admins::Admins;
use crate::keys::roster::Roster;

/// The keys of the vault: who may what, epochs, the cabinet's key
#[derive(Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    List(List),
    Status(status::Status),
    Add(change::Add),
    Revoke(change::Revoke),
    Rotate(change::Rotate),
    Reseal(reseal::Reseal),
    HandOver(change::HandOver),
    ReplaceRecovery(change::ReplaceRecovery),
    Split(Split),
    Drill(Drill),
    Recover(Recover),
    Take(Take),
}

/// List the members, backup keys and the recovery key of the signed roster
///
/// Reads the state directory, and verifies the admin's signature.
#[derive(Args)]
#[command(after_help = "Example:\n  sudo -u kluis kluis keys list /var/lib/kluis")]
struct List {
    /// The state directory
    #[arg(default_value = STATE_DIR)]
    dir: PathBuf,
}

impl Keys {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        match self.command {
            KeysCommand::List(list) => list.run(),
            KeysCommand::Status(status) => status.run(),
            KeysCommand::Add(add) => add.run(),
            KeysCommand::Revoke(revoke) => revoke.run(),
            KeysCommand::Rotate(rotate) => rotate.run(),
            KeysCommand::Reseal(reseal) => reseal.run(json),
            KeysCommand::HandOver(hand_over) => hand_over.run(),
            KeysCommand::ReplaceRecovery(replace) => replace.run(),
            KeysCommand::Split(split) => split.run(json),
            KeysCommand::Drill(drill) => drill.run(),
            KeysCommand::Recover(recover) => recover.run(),
            KeysCommand::Take(take) => take.run(),
        }
    }
}

/// The newest roster in a state directory that its admin signed.
///
/// # Errors
/// There is none, or it cannot be read.
pub(super) fn roster(dir: &Path) -> Result<Roster, Error> {
    let folder = dir.join("roster");
    let listed = std::fs::read_dir(&folder).map_err(|error| {
        Error::io(folder.display(), &error).hint("name the folder that `kluis init` made")
    })?;
    let notes: Vec<String> =
        listed.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
    // Each names its vault; the signature decides whether it is believed.
    let vaults = notes
        .iter()
        .filter_map(|note| note.lines().find_map(|line| line.strip_prefix("vault ")?.parse().ok()));
    let mut newest: Option<Roster> = None;
    for vault in vaults {
        let admins = Admins::read(dir, vault).map_err(|error| {
            Error::io(dir.join("admin.pub").display(), &error)
                .hint("put back the files that `kluis init` and `kluis keys hand-over` made")
        })?;
        let signed = notes.iter().filter_map(|note| admins.roster(note).ok());
        newest = newest.into_iter().chain(signed).max_by_key(|roster| roster.version);
    }
    newest.ok_or_else(|| {
        Error::new(format!("{}: no roster that the admin signed", folder.display()))
            .code(USAGE)
            .hint("put back the files that `kluis init` made")
    })
}

impl List {
    fn run(self) -> Result<Report, Error> {
        let roster = roster(&self.dir)?;
        let mut rows: Vec<Vec<String>> = Vec::new();
        for member in &roster.members {
            let roles: Vec<String> = member.roles.iter().map(ToString::to_string).collect();
            rows.push(vec![
                member.id.0.to_string(),
                member.name.clone(),
                roles.join(", "),
                member.recipient.to_string(),
            ]);
        }
        for backup in &roster.backups {
            let recipient = backup.recipient.to_string();
            rows.push(vec![String::new(), backup.name.clone(), "backup key".into(), recipient]);
        }
        let recovery = roster.recovery.to_string();
        rows.push(vec![String::new(), String::new(), "recovery".into(), recovery.clone()]);
        let members: Vec<Value> = roster
            .members
            .iter()
            .map(|member| {
                json!({
                    "number": member.id.0,
                    "name": member.name,
                    "roles": member.roles.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "recipient": member.recipient.to_string(),
                })
            })
            .collect();
        let backups: Vec<Value> = roster
            .backups
            .iter()
            .map(|backup| json!({ "name": backup.name, "recipient": backup.recipient.to_string() }))
            .collect();
        let table = print::table(&["NO", "NAME", "ROLES", "PUBLIC KEY"], &rows);
        Ok(Report::new(
            format!("vault {}, roster {}\n\n{table}", roster.vault, roster.version),
            json!({
                "vault": roster.vault.to_string(),
                "version": roster.version,
                "members": members,
                "backups": backups,
                "recovery": recovery,
            }),
        ))
    }
}
