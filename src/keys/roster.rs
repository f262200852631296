//! Who may do what: a text file that the admin signs.
//!
//! ```text
//! kluis roster 1
//! version 3
//! vault 00112233445566778899aabbccddeeff
//! member 1 lotte backoffice age1…
//! member 2 piet backoffice,admin ssh-ed25519 AAAA…
//! recovery age1…
//! backup nadia age1…
//! backup piet age1…
//! ```
//!
//! There is one way to write a roster: members by number, backup keys by name, roles in the order
//! of [`Role`]. What is not written so is refused, and so is a roster that breaks a rule
//! ([`Roster::check`]), signature or not: a vault must outlive any one person.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use super::admin::{self, AdminKey};
use super::note;
use super::staff::{StaffRecipient, is_throwaway};
use crate::ids::{Digest, StaffId, VaultId};

/// What a member may do. The order is that of the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads letters, decides, answers.
    Backoffice,
    /// Signs rosters and epochs, runs upkeep. Reads nothing.
    Admin,
    /// Data protection officer: reads and verifies, and does not decide (GDPR Art. 38(6)).
    Dpo,
    /// Verifies the ledger. Reads nothing.
    Auditor,
}

impl Role {
    const ALL: [Role; 4] = [Role::Backoffice, Role::Admin, Role::Dpo, Role::Auditor];

    fn word(self) -> &'static str {
        match self {
            Role::Backoffice => "backoffice",
            Role::Admin => "admin",
            Role::Dpo => "dpo",
            Role::Auditor => "auditor",
        }
    }

    /// Whether epochs are wrapped to its members.
    #[must_use]
    pub fn may_read(self) -> bool {
        matches!(self, Role::Backoffice | Role::Dpo)
    }

    /// Whether its members decide, approve and answer.
    #[must_use]
    pub fn may_answer(self) -> bool {
        matches!(self, Role::Backoffice)
    }

    /// Whether its members are given the ledger to verify.
    #[must_use]
    pub fn may_verify(self) -> bool {
        matches!(self, Role::Admin | Role::Dpo | Role::Auditor)
    }

    /// Whether its members run upkeep: rotate the cabinet key.
    #[must_use]
    pub fn may_administer(self) -> bool {
        matches!(self, Role::Admin)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Role::ALL.into_iter().find(|role| role.word() == text).ok_or(Error::Malformed)
    }
}

/// A person of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The number that the ledger knows them by; never given to somebody else.
    pub id: StaffId,
    /// What they are called here.
    pub name: String,
    /// What they may do; not empty.
    pub roles: BTreeSet<Role>,
    /// Their key.
    pub recipient: StaffRecipient,
}

impl Member {
    /// Whether epochs are wrapped to them.
    #[must_use]
    pub fn may_read(&self) -> bool {
        self.roles.iter().any(|role| role.may_read())
    }

    /// Whether they decide, approve and answer.
    #[must_use]
    pub fn may_answer(&self) -> bool {
        self.roles.iter().any(|role| role.may_answer())
    }

    /// Whether they are given the ledger to verify.
    #[must_use]
    pub fn may_verify(&self) -> bool {
        self.roles.iter().any(|role| role.may_verify())
    }

    /// Whether they run upkeep.
    #[must_use]
    pub fn may_administer(&self) -> bool {
        self.roles.iter().any(|role| role.may_administer())
    }
}

/// A key that the cabinet is backed up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupKey {
    /// Whose it is.
    pub name: String,
    /// The key, which is no member's and not recovery's: two keys stay two keys.
    pub recipient: StaffRecipient,
}

/// The signed list of those who may do something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// Counted up with every change, from 1.
    pub version: u32,
    /// The vault it is for.
    pub vault: VaultId,
    /// By number.
    pub members: Vec<Member>,
    /// The last resort.
    pub recovery: StaffRecipient,
    /// By name.
    pub backups: Vec<BackupKey>,
}

/// Why a signed file was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The admin did not sign these bytes.
    #[error("the admin did not sign this")]
    Signature,
    /// Signed, but not written the one way it is written.
    #[error("signed, but not written as such a file is")]
    Malformed,
    /// Written by a later version of kluis.
    #[error("written by a later version of kluis")]
    FutureVersion,
    /// Breaks a rule.
    #[error("{0}")]
    Rule(Rule),
}

/// A rule of the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// One person who leaves must not take the vault along.
    #[error("at least two members must be able to read")]
    TwoReaders,
    /// One lost laptop must not cost the cabinet.
    #[error("at least two backup keys are needed")]
    TwoBackups,
    /// Versions are counted from 1.
    #[error("versions are counted from 1")]
    Version,
    /// Names are 1 to 32 characters of `a-z 0-9 . _ -`, the first one a letter or a digit.
    #[error("a name is 1 to 32 characters of a-z 0-9 . _ - and begins with a letter or a digit")]
    Name,
    /// No name and no number twice.
    #[error("a name or a number stands there twice")]
    Unique,
    /// A member without a role.
    #[error("a member has no role")]
    NoRole,
    /// A key in two places: as two members', or as a member's and a backup or the recovery key.
    #[error("a key stands there twice: each member, backup and recovery key is its own")]
    SameKey,
    /// At most 256 members and 64 backup keys.
    #[error("too many members or backup keys")]
    TooMany,
}

/// The most members.
pub(super) const MOST_MEMBERS: usize = 256;
/// The most backup keys.
const MOST_BACKUPS: usize = 64;
/// The longest signed file that is read, in bytes: the largest roster has about 50 KiB.
pub(super) const LONGEST: usize = 128 << 10;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 32;
/// The version of the layout.
pub(super) const LAYOUT: &str = "1";

impl Roster {
    /// Reads a roster that the admin signed, and checks it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse_signed(note: &str, admin: &[u8; 32]) -> Result<Self, Error> {
        let text = signed_text(note, admin)?;
        let roster = Self::parse(text)?;
        if roster.to_text() != text {
            return Err(Error::Malformed);
        }
        roster.check()?;
        Ok(roster)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = Lines::of(text, "kluis roster ")?;
        let version = lines.number("version ")?;
        let vault = lines.parsed("vault ")?;
        let mut members = Vec::new();
        while let Some(rest) = lines.optional("member ") {
            members.push(member(rest)?);
        }
        let recovery = lines.parsed("recovery ")?;
        let mut backups = Vec::new();
        while let Some(rest) = lines.optional("backup ") {
            let (name, recipient) = named(rest)?;
            backups.push(BackupKey { name, recipient });
        }
        lines.end()?;
        Ok(Self { version, vault, members, recovery, backups })
    }

    /// The one way to write it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("kluis roster {LAYOUT}\n");
        text.push_str(&format!("version {}\nvault {}\n", self.version, self.vault));
        let mut members: Vec<&Member> = self.members.iter().collect();
        members.sort_by_key(|member| member.id);
        for Member { id, name, roles, recipient } in members {
            let roles: Vec<&str> = roles.iter().map(|role| role.word()).collect();
            text.push_str(&format!("member {} {name} {} {recipient}\n", id.0, roles.join(",")));
        }
        text.push_str(&format!("recovery {}\n", self.recovery));
        let mut backups: Vec<&BackupKey> = self.backups.iter().collect();
        backups.sort_by(|a, b| a.name.cmp(&b.name));
        for BackupKey { name, recipient } in backups {
            text.push_str(&format!("backup {name} {recipient}\n"));
        }
        text
    }

    /// Checks and signs it; gives the note.
    ///
    /// # Errors
    /// [`Error::Rule`].
    pub fn sign(&self, admin: &AdminKey) -> Result<String, Error> {
        self.check()?;
        Ok(admin.sign_note(&self.to_text()))
    }

    /// Whether every [`Rule`] holds.
    ///
    /// # Errors
    /// The first rule that does not, as [`Error::Rule`].
    pub fn check(&self) -> Result<(), Error> {
        self.broken_rule().map_or(Ok(()), |rule| Err(Error::Rule(rule)))
    }

    fn broken_rule(&self) -> Option<Rule> {
        let names = || self.members.iter().map(|member| member.name.as_str());
        let backup_names = || self.backups.iter().map(|backup| backup.name.as_str());
        let keys = self.members.iter().map(|member| &member.recipient);
        let keys = keys.chain(self.backups.iter().map(|backup| &backup.recipient));
        let keys = keys.chain([&self.recovery]).map(ToString::to_string);
        let checks = [
            (Rule::TooMany, self.members.len() > MOST_MEMBERS || self.backups.len() > MOST_BACKUPS),
            (Rule::Version, self.version == 0),
            (Rule::Name, !names().chain(backup_names()).all(is_name)),
            (Rule::Unique, !unique(names()) || !unique(backup_names())),
            (Rule::Unique, !unique(self.members.iter().map(|member| member.id))),
            (Rule::NoRole, self.members.iter().any(|member| member.roles.is_empty())),
            (Rule::SameKey, !unique(keys)),
            (Rule::TwoReaders, self.readers().count() < 2),
            (Rule::TwoBackups, self.backups.len() < 2),
        ];
        checks.into_iter().find_map(|(rule, is_broken)| is_broken.then_some(rule))
    }

    /// The member of that name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The members that epochs are wrapped to.
    pub fn readers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.may_read())
    }

    /// Whether one of its keys is published with the source; `serve` refuses such a roster.
    #[must_use]
    pub fn is_throwaway(&self) -> bool {
        let keys = self.members.iter().map(|member| &member.recipient);
        let keys = keys.chain(self.backups.iter().map(|backup| &backup.recipient));
        keys.chain([&self.recovery]).any(is_throwaway)
    }

    /// How this roster stands to one that was accepted before.
    #[must_use]
    pub fn standing(&self, known: &Roster) -> Standing {
        use std::cmp::Ordering;
        if self.vault != known.vault {
            return Standing::OtherVault;
        }
        match self.version.cmp(&known.version) {
            Ordering::Greater => Standing::Newer,
            Ordering::Less => Standing::Older,
            Ordering::Equal if self.to_text() == known.to_text() => Standing::Same,
            Ordering::Equal => Standing::Conflicting,
        }
    }

    /// A number in it that belonged to somebody else: to one of `known` by another name, or to somebody
    /// who was revoked. The ledger knows people by it.
    #[must_use]
    pub fn number_taken(
        &self,
        known: &Roster,
        is_revoked: impl Fn(&StaffId) -> bool,
    ) -> Option<StaffId> {
        let is_another = |member: &&Member| {
            known.members.iter().any(|m| m.id == member.id && m.name != member.name)
        };
        let taken = self.members.iter().find(|m| is_revoked(&m.id) || is_another(m));
        taken.map(|member| member.id)
    }

    /// Whether nobody in it could change it again, though somebody in `known` could.
    #[must_use]
    pub fn loses_admin(&self, known: &Roster) -> bool {
        let has_admin = |roster: &Roster| roster.members.iter().any(Member::may_administer);
        has_admin(known) && !has_admin(self)
    }
}

/// How a roster stands to one that was accepted before. Only `Same` and `Newer` are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The same.
    Same,
    /// Follows it.
    Newer,
    /// Was replaced by it: accepting it would bring back who was revoked.
    Older,
    /// The admin signed two of one version.
    Conflicting,
    /// Of another vault.
    OtherVault,
}

/// The hash that the ledger keeps of a signed file: BLAKE3 of all its bytes.
#[must_use]
pub fn digest(note: &str) -> Digest {
    Digest::new(*blake3::hash(note.as_bytes()).as_bytes())
}

/// The text of a signed file of the admin's.
pub(super) fn signed_text<'a>(note: &'a str, admin: &[u8; 32]) -> Result<&'a str, Error> {
    if note.len() > LONGEST {
        return Err(Error::Malformed);
    }
    note::verify(note, admin::NAME, admin).ok_or(Error::Signature)
}

/// The lines of a signed text, each with a first word that says what it is.
pub(super) struct Lines<'a>(std::iter::Peekable<std::str::Lines<'a>>);

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str, first: &str) -> Result<Self, Error> {
        let mut lines = Self(text.lines().peekable());
        match lines.optional(first) {
            Some(LAYOUT) => Ok(lines),
            Some(other) if other.parse::<u32>().is_ok() => Err(Error::FutureVersion),
            _ => Err(Error::Malformed),
        }
    }

    pub(super) fn optional(&mut self, word: &str) -> Option<&'a str> {
        let rest = self.0.peek()?.strip_prefix(word)?;
        self.0.next();
        Some(rest)
    }

    pub(super) fn parsed<T: FromStr>(&mut self, word: &str) -> Result<T, Error> {
        self.optional(word).and_then(|rest| rest.parse().ok()).ok_or(Error::Malformed)
    }

    pub(super) fn number(&mut self, word: &str) -> Result<u32, Error> {
        self.parsed(word)
    }

    pub(super) fn end(mut self) -> Result<(), Error> {
        if self.0.next().is_some() { Err(Error::Malformed) } else { Ok(()) }
    }
}

fn member(rest: &str) -> Result<Member, Error> {
    let mut words = rest.splitn(3, ' ');
    let (Some(id), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return Err(Error::Malformed);
    };
    let (roles, recipient) = rest.split_once(' ').ok_or(Error::Malformed)?;
    Ok(Member {
        id: StaffId(id.parse().map_err(|_| Error::Malformed)?),
        name: name.to_owned(),
        roles: roles.split(',').map(str::parse).collect::<Result<_, _>>()?,
        recipient: recipient.parse().map_err(|_| Error::Malformed)?,
    })
}

/// `name recipient`.
pub(super) fn named(rest: &str) -> Result<(String, StaffRecipient), Error> {
    let (name, recipient) = rest.split_once(' ').ok_or(Error::Malformed)?;
    Ok((name.to_owned(), recipient.parse().map_err(|_| Error::Malformed)?))
}

/// Whether `name` may be a member's: [`Rule::Name`].
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= LONGEST_NAME
        && name.bytes().next().is_some_and(is_plain)
        && name.bytes().all(|c| is_plain(c) || matches!(c, b'.' | b'_' | b'-'))
}

/// Whether no item comes twice.
pub(super) fn unique<T: Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = HashSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

#[cfg(test)]
#[path = "roster_tests.rs"]
pub(super) mod tests;
