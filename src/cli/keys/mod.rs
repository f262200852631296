//! The vault's keys: who has one, what is sealed to which epoch, and changing either.

mod change;
mod reseal;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::recover::{Recover, Take};
use super::recovery::{Drill, Split};
use super::session::Connection;
use super::{Error, Report, STATE_DIR, print};
use crate::casebook::protocol;
use crate::casebook::state::Wrapped;
use crate::cli::error::USAGE;
use crate::keys::admins::Admins;
use crate::keys::roster::Roster;
use crate::staff::keys::InForce;

/// The keys of the vault: who may what, epochs, the cabinet's key
#[derive(Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    List(List),
    Status(Status),
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

/// Say which epochs there are, who opens them, how much is sealed to each, and what is kept
#[derive(Args)]
#[command(after_help = "Example:\n  kluis keys status")]
struct Status {
    #[command(flatten)]
    connection: Connection,
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

impl Status {
    fn run(self) -> Result<Report, Error> {
        let mut client = self.connection.open()?;
        let status = client.status()?;
        let in_force = client.roster()?;
        let roster = &in_force.roster;
        let (due, failed, held) = status.outgoing;
        let rows = [
            ("roster", format!("version {}", roster.version)),
            ("admin", client.admin_key()),
            ("boxes", format!("{} kept, {} forgotten", status.boxes.0, status.boxes.1)),
            ("cases", format!("{}, {} open", status.cases.0, status.cases.1)),
            ("letters", status.letters.to_string()),
            ("mail", format!("{due} due, {failed} refused, {held} held")),
            ("ledger", print::count(status.entries, "entry", "entries")),
            ("cabinet", format!("its key is of {}", print::moment(status.cabinet_since))),
            (
                "horizon",
                format!("{} after forgetting", print::count(status.horizon_days, "day", "days")),
            ),
        ];
        let mut text: String =
            rows.iter().map(|(word, value)| format!("{word:<15} {value}\n")).collect();
        let (lines, epochs) = by_epoch(&status, &in_force);
        text.push_str(&format!("\n{lines}"));
        let halves = both_halves(roster);
        for name in &halves {
            text.push_str(&format!(
                "\n{name} reads, and has a backup key: with the server's disk, both halves"
            ));
        }
        let outsiders = client.outsiders(roster);
        for name in &outsiders {
            text.push_str(&format!(
                "\n{name} has the secret of the epoch in use and reads no more: `kluis keys rotate`"
            ));
        }
        Ok(Report::new(
            text.trim_end(),
            json!({
                "outsiders": outsiders,
                "roster": roster.version,
                "epoch": status.epoch.map(|epoch| epoch.0),
                "unproven": status.unproven.map(|epoch| epoch.0),
                "epochs": epochs,
                "by_epoch": status
                    .by_epoch
                    .iter()
                    .map(|(epoch, boxes)| json!({ "epoch": epoch.0, "boxes": boxes }))
                    .collect::<Vec<_>>(),
                "both_halves": halves,
                "boxes": { "kept": status.boxes.0, "forgotten": status.boxes.1 },
                "cases": { "all": status.cases.0, "open": status.cases.1 },
                "letters": status.letters,
                "outgoing": { "due": due, "failed": failed, "held": held },
                "entries": status.entries,
                "cabinet_since": print::timestamp(status.cabinet_since),
                "horizon_days": status.horizon_days,
            }),
        ))
    }
}

/// A line for each epoch whose secret lies there: what is sealed to it, and who opens it.
fn by_epoch(status: &protocol::Status, in_force: &InForce) -> (String, Vec<Value>) {
    let names: Vec<&str> = in_force.roster.readers().map(|member| member.name.as_str()).collect();
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for epoch in &status.epochs {
        let boxes = status.by_epoch.iter().find(|(known, _)| known == epoch);
        let boxes = boxes.map_or(0, |(_, boxes)| *boxes);
        let use_ = match (Some(*epoch) == status.epoch, Some(*epoch) == status.unproven) {
            (true, _) => "sealed to",
            (_, true) => "no reader has opened it yet",
            _ => "older",
        };
        let waits = in_force.stale.contains(&Wrapped::Epoch(*epoch));
        let opens = if waits {
            "the readers before the last change; wrapped anew when one logs in".to_owned()
        } else {
            format!("{}, recovery", names.join(", "))
        };
        json.push(json!({ "epoch": epoch.0, "boxes": boxes, "waits_to_be_wrapped": waits }));
        rows.push(vec![epoch.0.to_string(), boxes.to_string(), use_.to_owned(), opens]);
    }
    (print::table(&["EPOCH", "BOXES", "", "OPENS FOR"], &rows), json)
}

/// Names that read and have a backup key, too: it opens the box keys in a backup.
fn both_halves(roster: &Roster) -> Vec<String> {
    let reads = |name: &str| roster.readers().any(|member| member.name == name);
    let names = roster.backups.iter().map(|backup| &backup.name);
    names.filter(|name| reads(name)).cloned().collect()
}
