//! How it stands with the keys: epochs and who opens them, what is kept, when it was last copied,
//! shown to outsiders and tried, and where one person or one machine holds both halves.
//!
//! Facts that the server says after a log-in; ages count from its clock. Nothing is disclosed.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use crate::casebook::protocol;
use crate::casebook::state::{BackedUp, Drilled, Wrapped};
use crate::cli::session::Connection;
use crate::cli::{Error, Report, print};
use crate::config;
use crate::keys::roster::Roster;
use crate::staff::home::{Home, Profile};
use crate::staff::keys::InForce;
use crate::upkeep::backup::KEEP_DAYS;

/// Say which epochs there are, who opens them, how much is sealed to each, and what is kept
///
/// Also when a checkpoint was last mailed to outsiders, when the last backup was made and the
/// recovery key was last tried, and where one person or this machine holds both halves.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis keys status\n  kluis keys status --json")]
pub(super) struct Status {
    #[command(flatten)]
    connection: Connection,
}

/// Rows of a word and what it says.
type Rows = Vec<(&'static str, String)>;

impl Status {
    pub(super) fn run(self) -> Result<Report, Error> {
        let (home, profile) = self.connection.profile()?;
        let mut client = self.connection.open()?;
        let status = client.status()?;
        let in_force = client.roster()?;
        let roster = &in_force.roster;
        let (due, failed, held) = status.outgoing;
        let mut rows: Rows = vec![
            ("roster", format!("version {}", roster.version)),
            ("admin", client.admin_key()),
            ("boxes", format!("{} kept, {} forgotten", status.boxes.0, status.boxes.1)),
            ("cases", format!("{}, {} open", status.cases.0, status.cases.1)),
            ("letters", status.letters.to_string()),
            ("mail", format!("{due} due, {failed} refused, {held} held")),
            ("ledger", print::count(status.entries, "entry", "entries")),
            ("cabinet", format!("its key is of {}", when(status.cabinet_since, status.now))),
            (
                "horizon",
                format!("{} after forgetting", print::count(status.horizon_days, "day", "days")),
            ),
        ];
        rows.extend(notices_row(&status));
        rows.push(("pictures", pictures_row(&status)));
        rows.extend(mailbox_rows(&status));
        rows.extend(checkpoint_rows(&status));
        rows.extend(backup_rows(&status));
        let is_in_force = |drill: &Drilled| {
            drill.recovery.is_none_or(|recovery| recovery == roster.recovery.digest())
        };
        rows.push(("drill", drill_row(&status, is_in_force)));
        let reads = roster.readers().any(|member| member.name == profile.member);
        let here = if reads { both_halves_here(&home, &profile) } else { Vec::new() };
        let persons = both_halves(roster);
        rows.extend(halves_rows(&persons, &here));
        let mut text: String =
            rows.iter().map(|(word, value)| format!("{word:<15} {value}\n")).collect();
        let (lines, epochs) = by_epoch(&status, &in_force);
        text.push_str(&format!("\n{lines}"));
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
                "both_halves": persons,
                "both_halves_here": here,
                "boxes": { "kept": status.boxes.0, "forgotten": status.boxes.1 },
                "cases": { "all": status.cases.0, "open": status.cases.1 },
                "letters": status.letters,
                "outgoing": { "due": due, "failed": failed, "held": held },
                "notices_stopped_until": status.notices_stopped.map(print::timestamp),
                "pictures": status.pictures.map(|looked| json!({
                    "read": looked.read,
                    "failed": looked.failed,
                    "passed_over": looked.passed_over,
                    "failing": looked.is_failing,
                })),
                "mailboxes": status
                    .mailboxes
                    .iter()
                    .map(|mailbox| json!({
                        "name": mailbox.name,
                        "last": mailbox.polled.map(print::timestamp),
                        "fault": mailbox.fault,
                        "set_aside": mailbox.aside,
                        "left": mailbox.left,
                        "remark": mailbox.remark,
                    }))
                    .collect::<Vec<_>>(),
                "entries": status.entries,
                "cabinet_since": print::timestamp(status.cabinet_since),
                "horizon_days": status.horizon_days,
                "now": print::timestamp(status.now),
                "checkpoint": {
                    "last": status.checkpoint.map(|(minute, _)| print::timestamp(minute)),
                    "takers": status.checkpoint.map(|(_, takers)| takers),
                    "outsiders": status
                        .outsiders
                        .iter()
                        .map(|taken| taken.map(print::timestamp))
                        .collect::<Vec<_>>(),
                },
                "backup": {
                    "last": status.backup.map(|backup| print::timestamp(backup.minute)),
                    "entries": status.backup.map(|backup| backup.position),
                    "entries_since": status.backup.map(|backup| since(&status, &backup)),
                    "keys_until": status.backup.map(|backup| print::timestamp(keys_until(&backup))),
                },
                "drill": {
                    "last": status.drill.map(|drill| print::timestamp(drill.minute)),
                    "epochs": status.drill.map(|drill| drill.epochs),
                    "of_key_in_force": status.drill.map(|drill| is_in_force(&drill)),
                },
            }),
        ))
    }
}

/// A minute since 1970, and how long ago that is.
fn when(minute: u64, now: u64) -> String {
    format!("{}, {}", print::moment(minute), print::ago(minute, now))
}

/// That no notice goes out, and until when; nothing while they do.
fn notices_row(status: &protocol::Status) -> Option<(&'static str, String)> {
    let until = print::moment(status.notices_stopped?);
    let why =
        "so many went out within an hour that something is wrong; `kluis queue` has the cases";
    Some(("notices", format!("stopped until {until}: {why}")))
}

/// How looking at the pictures that come in goes.
fn pictures_row(status: &protocol::Status) -> String {
    let Some(looked) = status.pictures else {
        return "not looked at as they come: the models were not there at the start".into();
    };
    let protocol::Looked { read, failed, passed_over, is_failing } = looked;
    let counts =
        format!("{read} read, {failed} failed, {passed_over} without a place since the start");
    match is_failing {
        true => format!("{counts}; the last ones all failed: the server's log, and `kluis doctor`"),
        false => counts,
    }
}

/// How it stands with the mailboxes that letters are fetched from; what needs somebody is said with
/// what to do.
fn mailbox_rows(status: &protocol::Status) -> Rows {
    let mut said = Vec::new();
    for mailbox in &status.mailboxes {
        let name = print::terminal_safe(&mailbox.name);
        let looked = mailbox.polled.map_or_else(
            || "not looked through since the server was started".to_owned(),
            |minute| format!("looked through {}", when(minute, status.now)),
        );
        said.push(format!("{name}: {looked}"));
        if let Some(fault) = &mailbox.fault {
            let fault = print::terminal_safe(fault);
            said.push(format!(
                "{name}: {fault}; it is tried again, and the server's log says more"
            ));
        }
        if mailbox.aside > 0 {
            let mails = print::count(mailbox.aside, "mail", "mails");
            said.push(format!(
                "{name}: {mails} could not be fetched, or not whole, and lie in the mailbox: look at them there, \
                 `kluis import` takes them"
            ));
        }
        if mailbox.left > 0 {
            let mails = print::count(mailbox.left, "mail", "mails");
            said.push(format!(
                "{name}: {mails} whose letters are sealed could not be deleted or moved there"
            ));
        }
        if let Some(remark) = &mailbox.remark {
            said.push(format!("{name}: {}", print::terminal_safe(remark)));
        }
    }
    ["mailbox"].into_iter().chain(std::iter::repeat("")).zip(said).collect()
}

/// When a checkpoint was mailed, and who of those that are named took one since the start.
fn checkpoint_rows(status: &protocol::Status) -> Rows {
    let named = "[checkpoints] in kluis.toml names whom outside it goes to";
    let outsiders = print::count(status.outsiders.len() as u64, "outsider", "outsiders");
    let said = match (status.checkpoint, status.outsiders.is_empty()) {
        (None, true) => format!("never mailed: {named}"),
        (None, false) => format!(
            "never mailed, and {outsiders} named: one is due a minute after the start; the server's \
             log says why not"
        ),
        (Some((minute, takers)), none_named) => {
            let takers = print::count(takers, "outsider", "outsiders");
            let now =
                if none_named { format!("; nobody is named now: {named}") } else { String::new() };
            format!("mailed {}, to {takers}{now}", when(minute, status.now))
        }
    };
    let mut rows = vec![("checkpoint", said)];
    rows.extend((1..).zip(&status.outsiders).map(|(number, taken)| {
        let taken = taken.map_or_else(
            || "took none since the server was started".to_owned(),
            |minute| format!("took one {}", when(minute, status.now)),
        );
        ("", format!("outsider {number} of the settings {taken}"))
    }));
    rows
}

/// Entries that a backup lacks, the one that tells of it aside.
fn since(status: &protocol::Status, backup: &BackedUp) -> u64 {
    status.entries.saturating_sub(backup.position).saturating_sub(1)
}

/// From this minute on a backup removes the keys of that one.
fn keys_until(backup: &BackedUp) -> u64 {
    backup.minute.saturating_add(KEEP_DAYS * 24 * 60)
}

fn backup_rows(status: &protocol::Status) -> Rows {
    let Some(backup) = status.backup else {
        let never = "never made: `kluis backup DEST` on the server, every day";
        return vec![("backup", never.into())];
    };
    let made = when(backup.minute, status.now);
    let (covers, since) = (backup.position, since(status, &backup));
    let until = print::moment(keys_until(&backup));
    vec![
        (
            "backup",
            format!(
                "made {made}, of {}; {since} more since",
                print::count(covers, "entry", "entries")
            ),
        ),
        ("", format!("what is forgotten since stays in it until the first backup after {until}")),
    ]
}

fn drill_row(status: &protocol::Status, is_in_force: impl Fn(&Drilled) -> bool) -> String {
    let how = "`kluis keys drill -` with sheets from paper";
    match status.drill {
        None => format!("never held: {how}"),
        Some(drill) if is_in_force(&drill) => format!(
            "held {}: {} would open",
            when(drill.minute, status.now),
            print::count(drill.epochs, "epoch", "epochs")
        ),
        Some(drill) => format!(
            "held {}, of another recovery key; never of the one in force: {how}",
            when(drill.minute, status.now)
        ),
    }
}

/// Names that read and have a backup key, too: it opens the box keys in a backup.
fn both_halves(roster: &Roster) -> Vec<String> {
    let reads = |name: &str| roster.readers().any(|member| member.name == name);
    let names = roster.backups.iter().map(|backup| &backup.name);
    names.filter(|name| reads(name)).cloned().collect()
}

/// What this machine has beside the member's key, as far as this user can look.
fn both_halves_here(home: &Home, profile: &Profile) -> Vec<String> {
    if !profile.key_file(home).exists() {
        return Vec::new();
    }
    // Behind ssh the socket lies by itself; beside the settings it is the vault's own folder.
    let vault = profile.socket.parent().unwrap_or(Path::new("/"));
    let vault =
        vault.join(config::FILE).exists().then(|| format!("the vault in {}", vault.display()));
    let backup = home.backup_key();
    let backup = backup.exists().then(|| format!("the backup key {}", backup.display()));
    vault.into_iter().chain(backup).collect()
}

fn halves_rows(persons: &[String], here: &[String]) -> Rows {
    let person = |name: &String| format!("{name} holds both: a member's key and a backup key");
    let machine = |what: &String| format!("this machine holds both: a member's key and {what}");
    let mut said: Vec<String> = persons.iter().map(person).collect();
    said.extend(here.iter().map(|what| print::terminal_safe(&machine(what))));
    if said.is_empty() {
        said.push("no one person and not this machine holds both".into());
    }
    ["halves"].into_iter().chain(std::iter::repeat("")).zip(said).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_a_backup_is_counted_without_the_entry_that_tells_of_it() {
        let status = |entries| protocol::Status { entries, ..protocol::Status::default() };
        // Of eight entries one came while it was made, and the last tells of it.
        let backup = BackedUp { minute: 0, seq: 7, position: 6 };
        assert_eq!([since(&status(8), &backup), since(&status(10), &backup)], [1, 3]);
        let backup = BackedUp { minute: 60, seq: 6, position: 6 };
        assert_eq!(since(&status(7), &backup), 0);
        assert_eq!(keys_until(&backup), 60 + 7 * 24 * 60);
    }

    #[test]
    fn a_mailbox_says_what_needs_somebody() {
        let mailbox = |polled, fault: Option<&str>, aside, left| protocol::Mailbox {
            name: "office".into(),
            polled,
            fault: fault.map(str::to_owned),
            aside,
            left,
            remark: (left > 0).then(|| "its server has no UIDPLUS".to_owned()),
        };
        let said = |mailboxes| -> Vec<(&'static str, String)> {
            mailbox_rows(&protocol::Status { mailboxes, now: 29_900_000, ..Default::default() })
        };
        assert!(said(Vec::new()).is_empty());
        let rows = said(vec![mailbox(Some(29_899_995), None, 0, 0)]);
        assert_eq!(rows.len(), 1);
        assert!(rows[0].0 == "mailbox" && rows[0].1.contains("office: looked through"));
        let rows = said(vec![mailbox(None, Some("the server refused the log-in"), 2, 1)]);
        let text: String = rows.into_iter().map(|(_, said)| said + "\n").collect();
        for part in [
            "not looked through",
            "refused the log-in",
            "2 mails could not",
            "1 mail whose",
            "no UIDPLUS",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
