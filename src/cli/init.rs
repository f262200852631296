//! Founding a vault: everything is checked before anything is written, and nothing is overwritten.

use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::session::{self, absolute};
use super::{Error, Report, key, print};
use crate::casebook::founding;
use crate::cli::error::USAGE;
use crate::clock::Clock;
use crate::config::{Config, STAFF_SOCKET};
use crate::ids::{StaffId, VaultId};
use crate::keys::admin::AdminKey;
use crate::keys::file::write_new;
use crate::keys::roster::{BackupKey, Member, Role, Roster, is_name};
use crate::keys::staff::{StaffKey, StaffRecipient};
use crate::staff::found::found;
use crate::staff::home::Home;

/// Make a vault: its keys, its settings, its folder
///
/// Needs at least two members who read (--staff, --dpo), two backup keys and a recovery key, each
/// with a key of its own: a vault must outlive any one person. Members make their keys with `kluis
/// key new` and hand in the public half. For trying out, and in a small office, --generate makes
/// every key that is missing into one folder; hand them out then, and delete them there.
///
/// A key is written as age1…, as ssh-ed25519 …, or as the path of a file that holds one.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis init /var/lib/kluis --address backoffice@example.be \\\n    --staff lotte=age1… --staff piet=age1… --admin piet --dpo nadia=age1… \\\n    --backup nadia=age1… --backup omar=age1… --recovery age1…\n  kluis init ./try --address backoffice@example.be --generate ./try-keys"
)]
pub(super) struct Init {
    /// The state directory to make: absent or empty
    dir: PathBuf,
    /// A mailbox that letters are taken for; the first one is who we are
    #[arg(long = "address", value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,
    /// A member who reads, decides and answers
    #[arg(long, value_name = "NAME=KEY")]
    staff: Vec<Person>,
    /// A member who runs upkeep and reads nothing; a NAME that was given otherwise gets this too
    #[arg(long, value_name = "NAME[=KEY]")]
    admin: Vec<Person>,
    /// A data protection officer: reads and verifies, does not decide
    #[arg(long, value_name = "NAME=KEY")]
    dpo: Vec<Person>,
    /// An auditor: verifies the ledger and reads nothing
    #[arg(long, value_name = "NAME=KEY")]
    auditor: Vec<Person>,
    /// A key that backups of the cabinet are sealed to
    #[arg(long, value_name = "NAME=KEY")]
    backup: Vec<Person>,
    /// The key of last resort, kept on paper
    #[arg(long, value_name = "KEY")]
    recovery: Option<Recipient>,
    /// The folder of the cabinet's key: on another device, in no backup; else DIR.cabinet-key
    #[arg(long, value_name = "FOLDER")]
    cabinet_key: Option<PathBuf>,
    /// Make every key that is missing into this folder
    #[arg(long, value_name = "FOLDER")]
    generate: Option<PathBuf>,
    /// Read the passphrase of every new key from the first line of this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Check everything and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// A name, and the public key if it is given.
#[derive(Clone)]
struct Person {
    name: String,
    recipient: Option<StaffRecipient>,
}

impl FromStr for Person {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, key) = text.split_once('=').map_or((text, None), |(n, key)| (n, Some(key)));
        if !is_name(name) {
            return Err(
                "a name is 1 to 32 characters of a-z 0-9 . _ - and begins with a letter or a digit"
                    .into(),
            );
        }
        let recipient = key.map(str::parse::<Recipient>).transpose()?.map(|key| key.0);
        Ok(Self { name: name.to_owned(), recipient })
    }
}

/// A public key, written or in a file.
#[derive(Clone)]
pub(super) struct Recipient(pub(super) StaffRecipient);

impl FromStr for Recipient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(recipient) = text.parse() {
            return Ok(Self(recipient));
        }
        let lines = std::fs::read_to_string(text)
            .map_err(|_| "neither a public key (age1… or ssh-ed25519 …) nor a file".to_owned())?;
        let found = lines.lines().find_map(|line| line.parse().ok());
        found.map(Self).ok_or_else(|| format!("{text}: holds no public key"))
    }
}

/// Reads a [`Recipient`] from the command line.
///
/// # Errors
/// It is neither a public key nor a file that holds one.
pub(super) fn recipient(text: &str) -> Result<Recipient, String> {
    text.parse()
}

/// Everyone who will stand in the roster; who has no key yet gets one.
#[derive(Default)]
struct People {
    members: Vec<(Person, BTreeSet<Role>)>,
    backups: Vec<Person>,
    recovery: Option<StaffRecipient>,
}

/// A key to be made.
struct Missing {
    what: String,
    file: PathBuf,
}

/// Where everything goes.
struct Places {
    dir: PathBuf,
    cabinet_key: PathBuf,
    keys: Option<PathBuf>,
    admin_key: PathBuf,
}

impl Init {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`]; before the first key is written nothing was.
    pub(super) fn run(self) -> Result<Report, Error> {
        session::harden()?;
        let places = self.places()?;
        let (config, reserve) = self.config(&places)?;
        let mut people = self.people()?;
        people.fill(self.generate.is_some())?;
        let missing = people.missing(places.keys.as_deref())?;
        let makes_admin = self.check_keys(&places, &missing)?;
        if self.dry_run {
            return Ok(planned(&places, &missing, makes_admin));
        }
        let admin = self.admin_key(&places, makes_admin)?;
        let mut made = Vec::with_capacity(missing.len());
        for Missing { what, .. } in &missing {
            let passphrase = self.passphrase(what)?;
            made.push((StaffKey::generate(), passphrase));
        }
        people.give(made.iter().map(|(key, _)| key.recipient().clone()));
        let roster = people.roster()?;
        roster.check()?;
        // Of the keys made here the first is a reader's, if any is.
        let opens = made
            .first()
            .map(|(key, _)| key)
            .filter(|key| roster.readers().any(|member| member.recipient == *key.recipient()));
        let now = Clock::System.seconds();
        let foundation = found(&roster, &admin.key, &self.addresses[0], opens, config, now)?;
        if let Some(folder) = &places.keys {
            private_folder(folder)?;
        }
        admin.save(&places.admin_key, &roster)?;
        for (Missing { file, .. }, (key, passphrase)) in missing.iter().zip(&made) {
            key.save(file, passphrase, None).map_err(|e| Error::io(file.display(), &e))?;
        }
        let vkey =
            founding::lay(&places.dir, &places.cabinet_key, &foundation, reserve, Clock::System)?;
        Ok(founded(&places, &missing, &roster, &vkey, foundation.proven_by.is_some()))
    }

    fn places(&self) -> Result<Places, Error> {
        let dir = absolute(&self.dir)?;
        let cabinet_key = match &self.cabinet_key {
            Some(folder) => absolute(folder)?,
            None => crate::store::default_cabinet_key_dir(&dir),
        };
        let keys = self.generate.as_deref().map(absolute).transpose()?;
        for (folder, what) in [(&dir, "the state directory"), (&cabinet_key, "the cabinet's key")] {
            is_free(folder, what)?;
        }
        let apart = |folder: &Path, what: &str| {
            if folder.starts_with(&dir) || dir.starts_with(folder) {
                return Err(Error::usage(format!("{what} lies in the state directory"))
                    .hint("a copy of the state directory must not hold it: name another folder"));
            }
            Ok(())
        };
        apart(&cabinet_key, "the cabinet's key")?;
        if let Some(keys) = &keys {
            apart(keys, "the folder of the new keys")?;
        }
        let admin_key = match &keys {
            Some(keys) => keys.join("admin.key"),
            None => Home::find()?.admin_key(),
        };
        apart(admin_key.parent().unwrap_or(&admin_key), "the admin's key")?;
        Ok(Places { dir, cabinet_key, keys, admin_key })
    }

    /// The text of `kluis.toml`, and the bytes it keeps back for a full disk.
    fn config(&self, places: &Places) -> Result<(String, u64), Error> {
        let config = Config::default_for(&places.dir, &self.addresses).map_err(|error| {
            Error::usage(format!("--address: {}", error.problem))
                .hint("write it as backoffice@example.be")
        })?;
        let text = Config::text_for(&places.dir, &self.addresses);
        let folder = toml::Value::String(places.cabinet_key.to_string_lossy().into_owned());
        let line = |line: &str| {
            if line.starts_with("cabinet_key = ") {
                format!("cabinet_key = {folder}\n")
            } else {
                format!("{line}\n")
            }
        };
        Ok((text.lines().map(line).collect(), config.limits.reserve_bytes))
    }

    fn people(&self) -> Result<People, Error> {
        let mut people = People {
            recovery: self.recovery.clone().map(|recipient| recipient.0),
            backups: self.backup.clone(),
            ..People::default()
        };
        let given = [
            (&self.staff, Role::Backoffice),
            (&self.dpo, Role::Dpo),
            (&self.auditor, Role::Auditor),
            (&self.admin, Role::Admin),
        ];
        for (persons, role) in given {
            for person in persons {
                people.add(person, role)?;
            }
        }
        Ok(people)
    }

    /// Whether the admin key is to be made; that no key file is there already.
    fn check_keys(&self, places: &Places, missing: &[Missing]) -> Result<bool, Error> {
        for Missing { file, .. } in missing {
            is_absent(file)?;
        }
        if places.keys.is_some() {
            is_absent(&places.admin_key)?;
            return Ok(true);
        }
        Ok(!places.admin_key.exists())
    }

    /// The admin key: of this member's home if it is there, else a new one.
    fn admin_key(&self, places: &Places, new: bool) -> Result<Admin, Error> {
        let passphrase = key::passphrase(
            if new { "Passphrase of the new admin key" } else { "Passphrase of the admin key" },
            self.passphrase_file.as_deref(),
            new,
        )?;
        if new {
            return Ok(Admin { key: AdminKey::generate(), save_under: Some(passphrase) });
        }
        let key = AdminKey::unlock(&places.admin_key, &passphrase)?;
        Ok(Admin { key, save_under: None })
    }

    fn passphrase(&self, what: &str) -> Result<crate::keys::Passphrase, Error> {
        let question = format!("Passphrase of the new {what}");
        key::passphrase(&question, self.passphrase_file.as_deref(), true)
    }
}

/// The admin key, and the passphrase of its new file.
struct Admin {
    key: AdminKey,
    save_under: Option<crate::keys::Passphrase>,
}

impl Admin {
    /// Writes a new one, and its copy for recovery beside it.
    fn save(&self, file: &Path, roster: &Roster) -> Result<(), Error> {
        let Some(passphrase) = &self.save_under else { return Ok(()) };
        if let Some(folder) = file.parent() {
            private_folder(folder)?;
        }
        self.key.save(file, passphrase, None).map_err(|e| Error::io(file.display(), &e))?;
        let copy = recovery_copy(file);
        write_new(&copy, &self.key.wrap(&roster.recovery))
            .map_err(|error| Error::io(copy.display(), &error))
    }
}

fn recovery_copy(admin_key: &Path) -> PathBuf {
    admin_key.with_extension("recovery.age")
}

impl People {
    fn add(&mut self, person: &Person, role: Role) -> Result<(), Error> {
        match self.members.iter_mut().find(|(known, _)| known.name == person.name) {
            None => self.members.push((person.clone(), [role].into())),
            Some((known, roles)) => {
                roles.insert(role);
                match (&known.recipient, &person.recipient) {
                    (Some(one), Some(other)) if one != other => {
                        return Err(Error::usage(format!("{} is given two keys", person.name))
                            .hint("a member has one key; give it once"));
                    }
                    (None, Some(_)) => known.recipient.clone_from(&person.recipient),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// With `generate`, adds whom the rules ask for; else says who has no key.
    fn fill(&mut self, generate: bool) -> Result<(), Error> {
        if !generate {
            let nameless = self.members.iter().map(|(person, _)| person).chain(&self.backups);
            if let Some(person) = nameless.into_iter().find(|person| person.recipient.is_none()) {
                return Err(Error::usage(format!("{} has no key", person.name))
                    .hint("write NAME=KEY, or let --generate FOLDER make it"));
            }
            if self.recovery.is_none() {
                return Err(Error::usage("there is no recovery key")
                    .hint("give --recovery KEY, or let --generate FOLDER make it"));
            }
            return Ok(());
        }
        let mut number = 1;
        while self.readers() < 2 {
            let name = format!("staff{number}");
            number += 1;
            if self.members.iter().all(|(person, _)| person.name != name) {
                let person = Person { name, recipient: None };
                self.members.push((person, [Role::Backoffice].into()));
            }
        }
        // Somebody must be able to rotate the cabinet's key.
        if !self.members.iter().any(|(_, roles)| roles.contains(&Role::Admin))
            && let Some((_, roles)) =
                self.members.iter_mut().find(|(_, r)| r.contains(&Role::Backoffice))
        {
            roles.insert(Role::Admin);
        }
        for name in ["first", "second", "third"] {
            if self.backups.len() < 2 && self.backups.iter().all(|backup| backup.name != name) {
                self.backups.push(Person { name: name.into(), recipient: None });
            }
        }
        Ok(())
    }

    fn readers(&self) -> usize {
        self.members.iter().filter(|(_, roles)| roles.iter().any(|role| role.may_read())).count()
    }

    /// The keys to be made, readers first.
    fn missing(&self, keys: Option<&Path>) -> Result<Vec<Missing>, Error> {
        let folder = keys.unwrap_or(Path::new(""));
        let mut missing = Vec::new();
        for (person, _) in self.ordered().filter(|(person, _)| person.recipient.is_none()) {
            let what = format!("key of {}", person.name);
            missing.push(Missing { what, file: folder.join(format!("{}.key", person.name)) });
        }
        for person in self.backups.iter().filter(|person| person.recipient.is_none()) {
            let what = format!("backup key of {}", person.name);
            let file = folder.join(format!("backup-{}.key", person.name));
            missing.push(Missing { what, file });
        }
        if self.recovery.is_none() {
            missing
                .push(Missing { what: "recovery key".into(), file: folder.join("recovery.key") });
        }
        let admin = folder.join("admin.key");
        let mut files = BTreeSet::from([admin.as_path()]);
        if !missing.iter().all(|key| files.insert(&key.file)) {
            return Err(Error::usage("two keys would have one file name")
                .hint("choose other names than `admin`, `recovery` and `backup-…`"));
        }
        Ok(missing)
    }

    /// Readers before the others, else in the order they were given.
    fn ordered(&self) -> impl Iterator<Item = &(Person, BTreeSet<Role>)> {
        let reads =
            |(_, roles): &&(Person, BTreeSet<Role>)| roles.iter().any(|role| role.may_read());
        self.members.iter().filter(reads).chain(self.members.iter().filter(move |m| !reads(m)))
    }

    /// Gives the keys that were made, in the order of [`missing`](Self::missing).
    fn give(&mut self, keys: impl Iterator<Item = StaffRecipient>) {
        let mut keys = keys;
        let order: Vec<String> = self
            .ordered()
            .filter(|(person, _)| person.recipient.is_none())
            .map(|(person, _)| person.name.clone())
            .collect();
        for name in order {
            if let Some((person, _)) = self.members.iter_mut().find(|(p, _)| p.name == name) {
                person.recipient = keys.next();
            }
        }
        for person in self.backups.iter_mut().filter(|person| person.recipient.is_none()) {
            person.recipient = keys.next();
        }
        if self.recovery.is_none() {
            self.recovery = keys.next();
        }
    }

    fn roster(self) -> Result<Roster, Error> {
        let no_key = || Error::usage("a key is missing").hint("see --generate");
        let mut members = Vec::with_capacity(self.members.len());
        for (id, (person, roles)) in (1..).zip(self.members) {
            let recipient = person.recipient.ok_or_else(no_key)?;
            members.push(Member { id: StaffId(id), name: person.name, roles, recipient });
        }
        let mut backups = Vec::with_capacity(self.backups.len());
        for person in self.backups {
            let recipient = person.recipient.ok_or_else(no_key)?;
            backups.push(BackupKey { name: person.name, recipient });
        }
        let recovery = self.recovery.ok_or_else(no_key)?;
        Ok(Roster { version: 1, vault: VaultId::random(), members, recovery, backups })
    }
}

/// Whether a folder can be made there, or is empty.
fn is_free(folder: &Path, what: &str) -> Result<(), Error> {
    match std::fs::read_dir(folder).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Error::new(format!("{what}: {} is not empty", folder.display()))
            .hint("nothing is ever overwritten: name another place, or move it away")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = folder.parent().unwrap_or(Path::new("/"));
            if parent.is_dir() {
                return Ok(());
            }
            Err(Error::new(format!("{what}: {} is not there", parent.display()))
                .code(USAGE)
                .hint("make that folder first, for the user that will serve"))
        }
        Err(error) => Err(Error::io(folder.display(), &error)),
    }
}

fn is_absent(file: &Path) -> Result<(), Error> {
    if file.exists() {
        return Err(Error::io(file.display(), &std::io::ErrorKind::AlreadyExists.into()));
    }
    Ok(())
}

pub(super) fn private_folder(folder: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Error::io(folder.display(), &error))
}

fn planned(places: &Places, missing: &[Missing], makes_admin: bool) -> Report {
    let mut rows = vec![
        ("state directory".to_owned(), places.dir.clone()),
        ("cabinet's key".to_owned(), places.cabinet_key.clone()),
    ];
    if makes_admin {
        rows.push(("admin key".to_owned(), places.admin_key.clone()));
    }
    rows.extend(missing.iter().map(|key| (key.what.clone(), key.file.clone())));
    let table: Vec<Vec<String>> =
        rows.iter().map(|(what, path)| vec![what.clone(), path.display().to_string()]).collect();
    let json: Vec<Value> =
        rows.iter().map(|(what, path)| json!({ "what": what, "path": path })).collect();
    Report::new(
        format!("{}\nNothing was written.\n", print::table(&["WOULD MAKE", "WHERE"], &table)),
        json!({ "would_make": json, "dry_run": true }),
    )
}

fn founded(
    places: &Places,
    missing: &[Missing],
    roster: &Roster,
    vkey: &str,
    proven: bool,
) -> Report {
    let mut rows: Vec<[String; 3]> = Vec::new();
    let mut row = |what: &str, path: &Path, advice: &str| {
        rows.push([what.to_owned(), path.display().to_string(), advice.to_owned()]);
    };
    row("state directory", &places.dir, "the server; back it up");
    row("cabinet's key", &places.cabinet_key, "another device, in no backup and no snapshot");
    row("admin key", &places.admin_key, "the admin's machine, not the server");
    let copy = recovery_copy(&places.admin_key);
    if copy.exists() {
        row("its copy for recovery", &copy, "with the recovery key");
    }
    for key in missing {
        let advice = if key.what.starts_with("recovery") {
            "on paper or a stick, in a safe; not on any machine"
        } else {
            "hand it over, then delete it here"
        };
        row(&key.what, &key.file, advice);
    }
    let kept: Vec<Value> = rows
        .iter()
        .map(|[what, path, advice]| json!({ "what": what, "path": path, "advice": advice }))
        .collect();
    let table: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    let first = roster.readers().next().map_or("NAME", |member| member.name.as_str());
    let its_file = missing.iter().find(|key| key.what == format!("key of {first}"));
    let key_file =
        its_file.map_or_else(String::new, |key| format!(" --key-file {}", key.file.display()));
    let (dir, socket) = (places.dir.display(), places.dir.join(STAFF_SOCKET));
    let mut text = format!(
        "The vault is made: {}\n\n{}\n\
         The key that checkpoints are signed with. Give it to the data protection officer:\n  {vkey}\n\n\
         Next:\n  kluis doctor {dir}\n  kluis serve {dir}\n  kluis unlock --server {} --member {first}{key_file}\n",
        roster.vault,
        print::table(&["WHAT", "WHERE", "KEEP IT"], &table),
        socket.display(),
    );
    if !proven {
        text.push_str("Letters are taken from the first log-in of a member who reads on.\n");
    }
    let json = json!({
        "vault": roster.vault.to_string(),
        "checkpoint_key": vkey,
        "keep": kept,
        "proven": proven,
    });
    Report::new(text, json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(text: &str) -> Person {
        text.parse().expect("a person")
    }

    #[test]
    fn a_person_is_a_name_with_a_key_that_is_written_or_in_a_file() {
        let recipient = StaffKey::generate().recipient().to_string();
        assert!(person("lotte").recipient.is_none());
        assert!(person(&format!("lotte={recipient}")).recipient.is_some());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pub");
        std::fs::write(&file, format!("# mine\n{recipient}\n")).expect("written");
        assert!(person(&format!("lotte={}", file.display())).recipient.is_some());
        for bad in ["", "Lotte", "lotte=", "lotte=age1", "=age1"] {
            assert!(bad.parse::<Person>().is_err(), "{bad}");
        }
    }

    #[test]
    fn generate_adds_whom_the_rules_ask_for_and_the_roster_holds() {
        let mut people = People::default();
        people.add(&person("staff1"), Role::Auditor).expect("added");
        people.fill(true).expect("filled");
        let missing = people.missing(Some(Path::new("/k"))).expect("distinct");
        let files: Vec<_> = missing.iter().map(|key| key.file.display().to_string()).collect();
        assert_eq!(
            files,
            [
                "/k/staff2.key",
                "/k/staff3.key",
                "/k/staff1.key",
                "/k/backup-first.key",
                "/k/backup-second.key",
                "/k/recovery.key",
            ]
        );
        let keys: Vec<StaffKey> = missing.iter().map(|_| StaffKey::generate()).collect();
        people.give(keys.iter().map(|key| key.recipient().clone()));
        let roster = people.roster().expect("complete");
        roster.check().expect("holds");
        assert_eq!(roster.member("staff2").expect("there").recipient, *keys[0].recipient());
        assert!(roster.member("staff2").expect("there").may_administer());
    }

    #[test]
    fn a_member_with_two_keys_or_none_is_refused() {
        let key = || StaffKey::generate().recipient().to_string();
        let mut people = People::default();
        let one = person(&format!("lotte={}", key()));
        people.add(&one, Role::Backoffice).expect("added");
        people.add(&person("lotte"), Role::Admin).expect("the same person");
        let other = person(&format!("lotte={}", key()));
        assert_eq!(people.add(&other, Role::Dpo).expect_err("two keys").code, USAGE);
        people.add(&person("piet"), Role::Backoffice).expect("added");
        assert!(people.fill(false).expect_err("no key").text.contains("piet"));
        let mut people = People::default();
        people.add(&person("admin"), Role::Backoffice).expect("added");
        assert!(people.missing(Some(Path::new("/k"))).is_err(), "admin.key is the admin key");
    }
}
