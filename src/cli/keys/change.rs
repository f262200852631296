//! Changing who may do what: the admin signs a roster, an epoch follows, readers wrap anew.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::error::{DENIED, USAGE};
use crate::cli::init::{Recipient, recipient};
use crate::cli::session::Connection;
use crate::cli::{Error, Report, key, print};
use crate::ids::{EpochId, StaffId};
use crate::keys::admin::AdminKey;
use crate::keys::file::{replace, write_new};
use crate::keys::roster::{BackupKey, Member, Role, Roster, is_name};
use crate::ledger::Entry;
use crate::ledger::entry::Fact;
use crate::staff::client::Client;
use crate::staff::home::Home;
use crate::staff::keys::InForce;

/// The admin's key, which signs every change.
#[derive(Args)]
struct Signing {
    /// The admin key's file; else the one in your configuration folder
    #[arg(long, value_name = "FILE")]
    admin_key: Option<PathBuf>,
    /// Read the admin key's passphrase from the first line of this file instead of asking
    #[arg(long, value_name = "FILE")]
    admin_passphrase_file: Option<PathBuf>,
    /// Check everything, say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Signing {
    /// Logs in, and reads the roster in force.
    fn begin(&self) -> Result<(Client, InForce), Error> {
        let mut client = self.connection.open()?;
        let in_force = client.roster()?;
        Ok((client, in_force))
    }

    fn admin(&self, client: &mut Client) -> Result<AdminKey, Error> {
        let file = self.admin_file()?;
        let question = "Passphrase of the admin key";
        let passphrase = key::passphrase(question, self.admin_passphrase_file.as_deref(), false)?;
        let admin = AdminKey::unlock(&file, &passphrase)?;
        if client.is_admin(&admin) {
            return Ok(admin);
        }
        Err(Error::new(format!("{}: not the admin key of this vault", file.display()))
            .code(DENIED)
            .hint("the vault's is in admin.pub; name its file with --admin-key"))
    }

    fn admin_file(&self) -> Result<PathBuf, Error> {
        match &self.admin_key {
            Some(file) => Ok(file.clone()),
            None => Ok(Home::find()?.admin_key()),
        }
    }

    /// Signs the roster and puts it in force, unless this is only to be looked at.
    fn put_in_force(
        &self,
        client: &mut Client,
        in_force: &mut InForce,
        new: Roster,
    ) -> Result<Option<AdminKey>, Error> {
        new.check().map_err(|error| {
            Error::new(error.to_string())
                .code(USAGE)
                .hint("a vault must outlive any one person; `kluis keys list` shows who is there")
        })?;
        if self.dry_run {
            return Ok(None);
        }
        let admin = self.admin(client)?;
        client.sign_roster(&new, &admin)?;
        in_force.roster = new;
        Ok(Some(admin))
    }
}

/// What a new name stands for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NewRole {
    /// Reads, decides, answers
    Backoffice,
    /// Signs and runs upkeep; reads nothing
    Admin,
    /// Reads and verifies, does not decide
    Dpo,
    /// Verifies the ledger; reads nothing
    Auditor,
    /// No member: a key that backups of the cabinet are sealed to
    Backup,
}

impl NewRole {
    fn role(self) -> Option<Role> {
        match self {
            NewRole::Backoffice => Some(Role::Backoffice),
            NewRole::Admin => Some(Role::Admin),
            NewRole::Dpo => Some(Role::Dpo),
            NewRole::Auditor => Some(Role::Auditor),
            NewRole::Backup => None,
        }
    }
}

/// Add a member, or a backup key, to the roster
///
/// Needs the admin's key, and a member with the admin role. A new reader opens letters as soon as a
/// reader has wrapped the epochs to them: here and now if you read yourself, else by itself with the
/// next command of one who does.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis keys add fatima age1… --role backoffice")]
pub(super) struct Add {
    /// The name in the roster: 1 to 32 of a-z 0-9 . _ -
    name: String,
    /// The public key: age1…, ssh-ed25519 …, or the path of a file that holds one
    #[arg(value_parser = recipient)]
    key: Recipient,
    /// What they may do; more than one is allowed
    #[arg(long, required = true, value_enum)]
    role: Vec<NewRole>,
    #[command(flatten)]
    signing: Signing,
}

impl Add {
    pub(super) fn run(self) -> Result<Report, Error> {
        let (mut client, mut in_force) = self.signing.begin()?;
        let mut new = next_version(&in_force.roster)?;
        let number = self.insert(&mut new, in_force.next)?;
        let signed = self.signing.put_in_force(&mut client, &mut in_force, new)?;
        let rewrapped = match signed {
            Some(_) => Some(client.rewrap()?),
            None => None,
        };
        let what = number.map_or_else(
            || format!("{} is a backup key", self.name),
            |number| format!("{} is member {}", self.name, number.0),
        );
        let mut json = json!({
            "name": self.name,
            "number": number.map(|number| number.0),
            "version": in_force.roster.version + u32::from(rewrapped.is_none()),
            "dry_run": rewrapped.is_none(),
        });
        let text = match rewrapped {
            None => format!("{what}: would be signed; nothing was changed"),
            Some(rewrapped) => {
                json["rewrapped"] = wraps(rewrapped);
                format!("{what}, roster {}\n{}", in_force.roster.version, wrapped_words(rewrapped))
            }
        };
        Ok(Report::new(text, json))
    }

    /// Puts the new name in; gives the number of a member.
    fn insert(&self, roster: &mut Roster, next: StaffId) -> Result<Option<StaffId>, Error> {
        if !is_name(&self.name) {
            return Err(Error::usage(format!("`{}` is no name", print::short(&self.name, 40)))
                .hint("1 to 32 of a-z 0-9 . _ -, the first one a letter or a digit"));
        }
        let taken = |there: bool| match there {
            true => Err(Error::usage(format!("{} is in the roster already", self.name))
                .hint("choose another name, or `kluis keys revoke` it first")),
            false => Ok(()),
        };
        let roles: std::collections::BTreeSet<Role> =
            self.role.iter().filter_map(|role| role.role()).collect();
        let recipient = self.key.0.clone();
        match (self.role.contains(&NewRole::Backup), roles.is_empty()) {
            (true, true) => {
                taken(roster.backups.iter().any(|backup| backup.name == self.name))?;
                roster.backups.push(BackupKey { name: self.name.clone(), recipient });
                Ok(None)
            }
            (true, false) => Err(Error::usage("a backup key is no member's key")
                .hint("one person may hold both, as two keys: run this twice")),
            (false, _) => {
                taken(roster.member(&self.name).is_some())?;
                roster.members.push(Member { id: next, name: self.name.clone(), roles, recipient });
                Ok(Some(next))
            }
        }
    }
}

/// Drop a member from the roster: their open connections end at once
///
/// From the entry in the ledger on the server gives them nothing more, and a new epoch follows that
/// is not wrapped to them. Says what they had listed and looked at. What they kept stays with them;
/// `kluis keys reseal` makes the secrets that they had worthless. Needs the admin's key, and a member
/// with the admin role.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis keys revoke piet --dry-run\n  kluis keys revoke piet")]
pub(super) struct Revoke {
    /// The name in the roster
    name: String,
    /// It is the name of a backup key
    #[arg(long)]
    backup: bool,
    #[command(flatten)]
    signing: Signing,
}

impl Revoke {
    pub(super) fn run(self) -> Result<Report, Error> {
        let (mut client, mut in_force) = self.signing.begin()?;
        let mut new = next_version(&in_force.roster)?;
        let gone = self.remove(&mut new)?;
        let reads = gone.as_ref().is_some_and(Member::may_read);
        let admin = self.signing.put_in_force(&mut client, &mut in_force, new)?;
        // After it: until then they could go on.
        let record = gone.as_ref().map(|member| seen_by(&mut client, member.id)).transpose()?;
        let mut text = record.as_ref().map_or_else(String::new, |record| {
            format!(
                "{} had listed {} and looked at {}\n",
                self.name,
                print::count(record.listings, "list", "lists"),
                print::count(record.items.len() as u64, "item", "items"),
            )
        });
        let mut json = json!({
            "name": self.name,
            "number": gone.as_ref().map(|member| member.id.0),
            "listings": record.as_ref().map(|record| record.listings),
            "items": record.map(|record| record.items),
            "dry_run": admin.is_none(),
        });
        match admin {
            None => text.push_str("would be revoked; nothing was changed"),
            Some(admin) => {
                text.push_str(&format!("{} is revoked", self.name));
                json["version"] = in_force.roster.version.into();
                if reads {
                    let epoch = client.add_epoch(&in_force, &admin)?;
                    text.push_str(&format!("\n{}", epoch_words(epoch)));
                    json["epoch"] = epoch.0.0.into();
                    json["proven"] = epoch.1.into();
                }
                let rewrapped = client.rewrap()?;
                text.push_str(&format!("\n{}", wrapped_words(rewrapped)));
                if reads {
                    text.push_str("\nnext: kluis keys reseal");
                }
                json["rewrapped"] = wraps(rewrapped);
            }
        }
        Ok(Report::new(text, json))
    }

    /// Takes the name out; gives the member.
    fn remove(&self, roster: &mut Roster) -> Result<Option<Member>, Error> {
        let absent = || {
            Error::usage(format!("{} is not in the roster", print::short(&self.name, 40)))
                .hint(
                "`kluis keys list` shows who is; --backup for a backup key; was a revocation cut off, \
                 `kluis keys rotate` makes the new epoch",
            )
        };
        if self.backup {
            let at = roster.backups.iter().position(|backup| backup.name == self.name);
            roster.backups.remove(at.ok_or_else(absent)?);
            return Ok(None);
        }
        let at = roster.members.iter().position(|member| member.name == self.name);
        Ok(Some(roster.members.remove(at.ok_or_else(absent)?)))
    }
}

/// Make a new epoch, a new key of the mailbox, or give the cabinet a new key
///
/// Without an option: a new epoch, wrapped to everyone who reads; what comes from now on is sealed to
/// it, once a reader has opened a copy of it (at once if you read yourself). What is there already
/// stays under the older one until `kluis keys reseal`. Needs the admin's key, and a member with the
/// admin role.
///
/// With --mailbox: a new OpenPGP key, which mail to the mailbox is encrypted to once its certificate is
/// published again; the older keys still decrypt. With --cabinet: what was forgotten dies in every older
/// copy of the cabinet. The server does so by itself in the night after something was forgotten.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis keys rotate\n  kluis keys rotate --mailbox\n  kluis keys rotate --cabinet"
)]
pub(super) struct Rotate {
    /// The cabinet's key, not the epoch
    #[arg(long)]
    cabinet: bool,
    /// The mailbox's OpenPGP key, not the epoch
    #[arg(long, conflicts_with = "cabinet")]
    mailbox: bool,
    #[command(flatten)]
    signing: Signing,
}

impl Rotate {
    pub(super) fn run(self) -> Result<Report, Error> {
        if self.cabinet {
            if !self.signing.dry_run {
                self.signing.connection.open()?.rotate_cabinet()?;
                return Ok(Report::new(
                    "the cabinet has a new key",
                    json!({ "rotated": "cabinet" }),
                ));
            }
            return Ok(Report::new(
                "the cabinet would get a new key; nothing was changed",
                json!({ "rotated": Value::Null }),
            ));
        }
        let (mut client, in_force) = self.signing.begin()?;
        if self.mailbox {
            return self.mailbox(client, &in_force);
        }
        if self.signing.dry_run {
            let number = in_force.epoch.0 + 1;
            let readers = in_force.roster.readers().count() as u64;
            return Ok(Report::new(
                format!(
                    "epoch {number} would be wrapped to {} and to recovery; nothing was changed",
                    print::count(readers, "reader", "readers")
                ),
                json!({ "epoch": number, "readers": readers, "dry_run": true }),
            ));
        }
        let admin = self.signing.admin(&mut client)?;
        let epoch = client.add_epoch(&in_force, &admin)?;
        Ok(Report::new(
            epoch_words(epoch),
            json!({ "rotated": "epoch", "epoch": epoch.0.0, "proven": epoch.1 }),
        ))
    }
}

/// Put another recovery key into the roster
///
/// After a new ceremony, or when sheets of the old one were lost: every secret is wrapped anew, to the
/// new recovery key and no longer to the old one, by readers at their next log-in. The copy of the
/// admin key for recovery is written anew, too. Whoever has the old key and an old copy of the
/// wrapped secrets still opens those: make a new epoch then, and reseal.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis keys replace-recovery age1…")]
pub(super) struct ReplaceRecovery {
    /// The new public key: age1…, or the path of a file that holds one
    #[arg(value_parser = recipient)]
    key: Recipient,
    #[command(flatten)]
    signing: Signing,
}

impl ReplaceRecovery {
    pub(super) fn run(self) -> Result<Report, Error> {
        let (mut client, mut in_force) = self.signing.begin()?;
        let mut new = next_version(&in_force.roster)?;
        new.recovery = self.key.0.clone();
        let recovery = new.recovery.to_string();
        let Some(admin) = self.signing.put_in_force(&mut client, &mut in_force, new)? else {
            return Ok(Report::new(
                format!("{recovery} would be the recovery key; nothing was changed"),
                json!({ "recovery": recovery, "dry_run": true }),
            ));
        };
        let copy = self.signing.admin_file()?.with_extension("recovery.age");
        replace(&copy, &admin.wrap(&in_force.roster.recovery))
            .map_err(|error| Error::io(copy.display(), &error))?;
        let rewrapped = client.rewrap()?;
        Ok(Report::new(
            format!(
                "{recovery} is the recovery key, roster {}\n{}",
                in_force.roster.version,
                wrapped_words(rewrapped)
            ),
            json!({
                "recovery": recovery,
                "version": in_force.roster.version,
                "rewrapped": wraps(rewrapped),
                "recovery_copy": copy,
            }),
        ))
    }
}

/// Hand the admin key over to somebody else
///
/// The new admin makes a key on their own machine (`kluis key new NAME --admin`). The old key signs
/// that the new one follows, the new one signs the roster: both files and passphrases are needed once,
/// together. From then on nothing new that the old key signs is taken; what it had signed counts on.
/// The copy for recovery of the new key is written beside it.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis keys hand-over new-admin.key")]
pub(super) struct HandOver {
    /// The new admin key's file
    new: PathBuf,
    /// Read the new key's passphrase from the first line of this file instead of asking
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
}

impl HandOver {
    pub(super) fn run(self) -> Result<Report, Error> {
        let (mut client, in_force) = self.signing.begin()?;
        let question = "Passphrase of the new admin key";
        let passphrase = key::passphrase(question, self.new_passphrase_file.as_deref(), false)?;
        let new = AdminKey::unlock(&self.new, &passphrase)?;
        if client.is_admin(&new) {
            return Err(Error::usage("that is the admin key in force")
                .hint("`kluis key new NAME --admin` makes another"));
        }
        let vkey = new.vkey().to_string();
        if self.signing.dry_run {
            return Ok(Report::new(
                format!("{vkey} would sign from now on; nothing was changed"),
                json!({ "admin": vkey, "dry_run": true }),
            ));
        }
        let old = self.signing.admin(&mut client)?;
        let copy = self.new.with_extension("recovery.age");
        if !copy.exists() {
            write_new(&copy, &new.wrap(&in_force.roster.recovery))
                .map_err(|error| Error::io(copy.display(), &error))?;
        }
        client.hand_over(&in_force, &old, &new)?;
        Ok(Report::new(
            format!(
                "{vkey} signs from now on\nits copy for recovery: {}\nnext: delete the old key's files; \
                 members follow by themselves",
                copy.display()
            ),
            json!({ "admin": vkey, "recovery_copy": copy }),
        ))
    }
}

impl Rotate {
    fn mailbox(&self, mut client: Client, in_force: &InForce) -> Result<Report, Error> {
        let number = in_force.mailbox + 1;
        if self.signing.dry_run {
            return Ok(Report::new(
                format!("the mailbox would get key {number}; nothing was changed"),
                json!({ "mailbox": number, "dry_run": true }),
            ));
        }
        let admin = self.signing.admin(&mut client)?;
        let print = client.add_mailbox(in_force, &admin, crate::cli::session::now())?;
        Ok(Report::new(
            format!(
                "the mailbox has key {number}, {}\nnext: publish `mailbox.asc` again; the older keys \
                 still decrypt",
                print.expose()
            ),
            json!({ "rotated": "mailbox", "mailbox": number, "fingerprint": print.expose() }),
        ))
    }
}

fn next_version(known: &Roster) -> Result<Roster, Error> {
    let version = known.version.checked_add(1).ok_or_else(|| Error::new("too many rosters"))?;
    Ok(Roster { version, ..known.clone() })
}

fn epoch_words((epoch, proven): (EpochId, bool)) -> String {
    if proven {
        format!("epoch {}: what comes from now on is sealed to it", epoch.0)
    } else {
        format!("epoch {}: in use as soon as a reader logs in", epoch.0)
    }
}

fn wrapped_words((done, left): (usize, usize)) -> String {
    let count = |n: usize| print::count(n as u64, "secret", "secrets");
    match (done, left) {
        (0, 0) => "every secret is wrapped to the readers of the roster".to_owned(),
        (done, 0) => format!("{} wrapped anew to the readers of the roster", count(done)),
        (done, left) => {
            format!("{} wrapped anew; {} when a reader logs in", count(done), count(left))
        }
    }
}

fn wraps((done, left): (usize, usize)) -> Value {
    json!({ "done": done, "left": left })
}

/// What a member had opened, as the ledger has it.
struct Record {
    listings: u64,
    items: Vec<String>,
}

fn seen_by(client: &mut Client, staff: StaffId) -> Result<Record, Error> {
    let (entries, _) = client.ledger()?;
    let entries = entries.iter().filter_map(|bytes| Entry::from_bytes(bytes).ok());
    let mut record = Record { listings: 0, items: Vec::new() };
    for entry in entries.filter(|entry| entry.staff == Some(staff)) {
        match entry.kind {
            Fact::Listed => record.listings += 1,
            Fact::Looked | Fact::Resealed => {
                record.items.extend(entry.item.map(|item| item.to_string()));
            }
            _ => {}
        }
    }
    record.items.sort_unstable();
    record.items.dedup();
    Ok(record)
}
