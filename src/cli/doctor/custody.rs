//! Who holds which key, and when the vault was last shown to outsiders, copied and tried.
//!
//! Read from the signed roster and from the ledger as they lie there; no key is needed.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Check, Finding, problem, warning, well};
use crate::cli::print;
use crate::config::{Config, Outgoing};
use crate::ids::Digest;
use crate::keys::roster::Roster;
use crate::ledger::{Entry, Fact};
use crate::staff::home::Home;
use crate::store;

/// Minutes of a day.
const DAY: u64 = 24 * 60;
/// Minutes without a checkpoint mail after which something is wrong: one is due every day.
const CHECKPOINT_AGE: u64 = 2 * DAY;
/// Minutes without a backup after which something is wrong: one is due every day.
const BACKUP_AGE: u64 = 2 * DAY;
/// Minutes without a drill of the recovery key after which one is due: a year.
const DRILL_AGE: u64 = 365 * DAY;
/// Minutes for which it is said that a restore may have brought an old roster back.
const RESTORED_AGE: u64 = 30 * DAY;

/// What was last done with the vault, as its ledger says.
pub(super) struct Past {
    /// Whether outsiders are named, and whether their mail only goes into a folder.
    pub(super) has_outsiders: bool,
    pub(super) into_folder: bool,
    /// The newest entries, or why they are not to be read.
    pub(super) newest: Result<Newest, String>,
}

/// The newest entries of their kinds.
#[derive(Default)]
pub(super) struct Newest {
    pub(super) checkpoint: Option<Entry>,
    pub(super) backup: Option<Entry>,
    pub(super) drill: Option<Entry>,
    pub(super) restored: Option<Entry>,
    pub(super) signed: Option<Entry>,
}

impl Past {
    pub(super) fn read(dir: &Path, config: &Config) -> Self {
        let kinds = [
            Fact::CheckpointSent,
            Fact::BackupMade,
            Fact::RecoveryDrilled,
            Fact::Restored,
            Fact::RosterSigned,
        ];
        let newest = store::newest(dir, kinds);
        Self {
            has_outsiders: !config.checkpoints.to.is_empty(),
            into_folder: matches!(config.outgoing, Outgoing::Folder(_)),
            newest: newest
                .map(|[checkpoint, backup, drill, restored, signed]| Newest {
                    checkpoint,
                    backup,
                    drill,
                    restored,
                    signed,
                })
                .map_err(|error| error.to_string()),
        }
    }

    /// What there is to say of it; `recovery` is the digest of the recovery key in force, `now` in
    /// minutes since 1970.
    pub(super) fn judge(&self, recovery: Option<Digest>, now: u64) -> Vec<Finding> {
        let mut findings = self.outsiders();
        match &self.newest {
            Ok(newest) => {
                findings.push(well(Check::Ledger, "the ledger can be read"));
                if self.has_outsiders {
                    findings.push(checkpoint(newest.checkpoint.as_ref(), now));
                }
                findings.push(backup(newest.backup.as_ref(), now));
                findings.push(drill(newest.drill.as_ref(), recovery, now));
                findings.push(restored(newest, now));
            }
            Err(error) => findings.push(problem(
                Check::Ledger,
                format!("when the vault was last copied and tried is not to be read: {error}"),
                "run the doctor as the user that serves; is the vault in this folder?",
            )),
        }
        findings
    }

    /// Whether somebody outside is to keep checkpoints, and they can get there.
    fn outsiders(&self) -> Vec<Finding> {
        if !self.has_outsiders {
            return vec![warning(
                Check::Outsiders,
                "nobody outside is mailed checkpoints: a ledger that was replaced as a whole, or \
                 set back, is noticed by members' machines alone",
                "[checkpoints] in kluis.toml: the data protection officer, a mailbox elsewhere; \
                 then SIGHUP",
            )];
        }
        let way_out = if self.into_folder {
            warning(
                Check::WayOut,
                "checkpoints for outsiders go into a folder, from which nothing leaves by itself",
                "[outgoing.smtp] in kluis.toml, or something that carries them out",
            )
        } else {
            well(Check::WayOut, "checkpoints for outsiders leave through a mail server")
        };
        vec![well(Check::Outsiders, "outsiders are named who keep checkpoints"), way_out]
    }
}

/// Whether something was done within so many minutes.
fn is_fresh(entry: &Entry, age: u64, now: u64) -> bool {
    // One that was entered while the clock was ahead says nothing.
    entry.minute <= now.saturating_add(DAY) && entry.minute.saturating_add(age) >= now
}

/// When it was, and how long ago.
fn when(entry: &Entry, now: u64) -> String {
    format!("{}, {}", print::moment(entry.minute), print::ago(entry.minute, now))
}

fn checkpoint(sent: Option<&Entry>, now: u64) -> Finding {
    let mend = "does the server run, and does its log say why the mail server takes none?";
    match sent {
        None => warning(Check::Checkpoint, "no checkpoint was ever mailed to outsiders", mend),
        Some(sent) if is_fresh(sent, CHECKPOINT_AGE, now) => well(
            Check::Checkpoint,
            format!("outsiders were mailed a checkpoint, the last one {}", when(sent, now)),
        ),
        Some(sent) => warning(
            Check::Checkpoint,
            format!(
                "the last checkpoint was mailed to outsiders {}: one is due every day",
                when(sent, now)
            ),
            mend,
        ),
    }
}

fn backup(made: Option<&Entry>, now: u64) -> Finding {
    let mend = "`kluis backup DEST`, every day from a timer, onto another disk";
    match made {
        None => warning(
            Check::Backup,
            "no backup was ever made: what is here is lost with the disk",
            mend,
        ),
        Some(made) if is_fresh(made, BACKUP_AGE, now) => {
            well(Check::Backup, format!("the last backup was made {}", when(made, now)))
        }
        Some(made) => warning(
            Check::Backup,
            format!(
                "the last backup was made {}: what came since is lost with the disk",
                when(made, now)
            ),
            mend,
        ),
    }
}

fn drill(held: Option<&Entry>, recovery: Option<Digest>, now: u64) -> Finding {
    let mend = "`kluis keys drill -` with a member's key and sheets from paper, once a year";
    let Some(held) = held else {
        return warning(
            Check::Drill,
            "whether the sheets rebuild the recovery key was never tried",
            mend,
        );
    };
    let at = when(held, now);
    // What an entry does not say, it does not contradict.
    if held.hash.zip(recovery).is_some_and(|(tried, in_force)| tried != in_force) {
        let what =
            format!("the last drill, {at}, was of another recovery key than the one in force");
        return warning(Check::Drill, what, mend);
    }
    if is_fresh(held, DRILL_AGE, now) {
        well(Check::Drill, format!("the recovery key was last tried {at}"))
    } else {
        warning(
            Check::Drill,
            format!("the recovery key was last tried {at}, more than a year"),
            mend,
        )
    }
}

/// Whether the roster may be one that a restore brought back. Whether somebody was revoked meanwhile the
/// files do not say.
fn restored(newest: &Newest, now: u64) -> Finding {
    let signed = newest.signed.as_ref().map(|signed| signed.seq);
    let restored = newest.restored.as_ref();
    match restored.filter(|restored| is_fresh(restored, RESTORED_AGE, now)) {
        Some(restored) if signed <= Some(restored.seq) => warning(
            Check::Restored,
            format!(
                "the vault was restored {}, and its roster is the backup's: who was revoked in \
                 between can log in",
                when(restored, now)
            ),
            "`kluis keys list`; then `kluis keys revoke`, or sign the roster anew with `kluis keys add`",
        ),
        Some(restored) => well(
            Check::Restored,
            format!(
                "the vault was restored {}, and a roster was signed since",
                when(restored, now)
            ),
        ),
        None => well(Check::Restored, "the vault was not restored within thirty days"),
    }
}

/// Who holds which key.
pub(super) struct Custody {
    pub(super) roster: Roster,
    /// Whether the user who asks is the one that serves, and has a member's key.
    pub(super) server_holds_key: bool,
}

impl Custody {
    pub(super) fn read(dir: &Path, roster: Roster) -> Self {
        let owner = std::fs::metadata(dir).map(|found| found.uid()).ok();
        let serves = owner == Some(rustix::process::geteuid().as_raw());
        let holds_key = Home::find().is_ok_and(|home| home.staff_key().exists());
        Self { roster, server_holds_key: serves && holds_key }
    }

    /// What there is to say of it.
    pub(super) fn judge(&self) -> Vec<Finding> {
        let roster = &self.roster;
        let mut findings =
            vec![well(Check::Roster, format!("the admin signed roster {}", roster.version))];
        findings.push(if roster.is_throwaway() {
            problem(
                Check::Throwaway,
                "the roster holds a key that is published with the sources",
                "make keys of your own with `kluis key new`, and a vault with `kluis init`",
            )
        } else {
            well(Check::Throwaway, "the roster holds no key that everybody has")
        });
        findings.extend(one_person(roster));
        findings.push(if roster.members.iter().any(|member| member.may_administer()) {
            well(Check::Admin, "a member has the admin role")
        } else {
            warning(
                Check::Admin,
                "no member has the admin role: only the nightly rotation renews the cabinet's key",
                "a roster with one (`kluis init --admin NAME`)",
            )
        });
        findings.push(if self.server_holds_key {
            warning(
                Check::OneMachine,
                "the user that serves holds a member's key: whoever takes the server over has both",
                "members are other users, and better on other machines",
            )
        } else {
            well(Check::OneMachine, "the user who asks does not both serve and hold a member's key")
        });
        findings
    }
}

/// Whether anybody who reads has a backup key, too.
fn one_person(roster: &Roster) -> Vec<Finding> {
    let both = roster
        .backups
        .iter()
        .filter(|backup| roster.member(&backup.name).is_some_and(|member| member.may_read()));
    let found: Vec<_> = both
        .map(|backup| {
            warning(
                Check::OnePerson,
                format!("{} holds both halves: a member's key and a backup key", backup.name),
                "give the backup key to somebody who does not read letters",
            )
        })
        .collect();
    if found.is_empty() {
        vec![well(Check::OnePerson, "nobody who reads letters has a backup key, too")]
    } else {
        found
    }
}
