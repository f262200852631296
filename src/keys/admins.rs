//! The admin keys of a vault: the one in force, and those before it, each with what it had signed
//! when it was handed over.
//!
//! ```text
//! kluis admin 1
//! vault 00112233445566778899aabbccddeeff
//! number 2
//! before kluis-admin+<key id>+<base64>
//! key kluis-admin+<key id>+<base64>
//! epoch 3
//! mailbox 1
//! ```
//!
//! The key that is handed over signs it. From then on its signature counts for epochs and keys of
//! the mailbox up to those numbers, and for nothing new: whoever finds it later signs nothing.

use std::io;
use std::path::Path;

use super::admin::{self, AdminKey};
use super::epoch_note::EpochNote;
use super::file;
use super::mailbox_note::MailboxNote;
use super::note::Vkey;
use super::roster::{Error, LAYOUT, LONGEST, Lines, Roster, Rule, signed_text};
use crate::ids::{EpochId, VaultId};

/// One admin key gives way to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// The vault it is for.
    pub vault: VaultId,
    /// The number of the new key; that of the founding one is 1.
    pub number: u32,
    /// The key that is handed over, and signs.
    pub before: Vkey,
    /// The new one.
    pub key: Vkey,
    /// The highest epoch that the old one had signed.
    pub epoch: EpochId,
    /// The highest key of the mailbox that the old one had signed.
    pub mailbox: u32,
}

impl HandOver {
    /// The one way to write it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { vault, number, before, key, epoch, mailbox } = self;
        format!(
            "kluis admin {LAYOUT}\nvault {vault}\nnumber {number}\nbefore {before}\nkey {key}\n\
             epoch {}\nmailbox {mailbox}\n",
            epoch.0
        )
    }

    /// Signs it; gives the note.
    #[must_use]
    pub fn sign(&self, old: &AdminKey) -> String {
        old.sign_note(&self.to_text())
    }

    fn parse_signed(note: &str, old: &[u8; 32]) -> Result<Self, Error> {
        let text = signed_text(note, old)?;
        let mut lines = Lines::of(text, "kluis admin ")?;
        let read = Self {
            vault: lines.parsed("vault ")?,
            number: lines.number("number ")?,
            before: lines.parsed("before ")?,
            key: lines.parsed("key ")?,
            epoch: EpochId(lines.number("epoch ")?),
            mailbox: lines.number("mailbox ")?,
        };
        lines.end()?;
        let is_named = read.before.name == admin::NAME && read.key.name == admin::NAME;
        if read.to_text() != text || !is_named { Err(Error::Malformed) } else { Ok(read) }
    }
}

/// The admin keys of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admins {
    vault: VaultId,
    current: Vkey,
    before: Vec<HandOver>,
}

impl Admins {
    /// The founding admin's key alone.
    #[must_use]
    pub fn founding(vault: VaultId, key: Vkey) -> Self {
        Self { vault, current: key, before: Vec::new() }
    }

    /// Reads `admin.pub` and the notes in `admin/` of a state directory, and follows them.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::InvalidData`] if one is not what it must be.
    pub fn read(dir: &Path, vault: VaultId) -> io::Result<Self> {
        let text = |path: &Path| -> io::Result<String> {
            let bytes = file::read(path, LONGEST)?;
            String::from_utf8(bytes.to_vec()).map_err(|_| io::ErrorKind::InvalidData.into())
        };
        let key = text(&dir.join("admin.pub"))?.trim().parse();
        let mut admins = Self::founding(vault, key.map_err(|_| io::ErrorKind::InvalidData)?);
        loop {
            let path = dir.join("admin").join(format!("{}.note", admins.number() + 1));
            match text(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(admins),
                note => admins.follow(&note?).map_err(|_| io::ErrorKind::InvalidData)?,
            }
        }
    }

    /// The key in force.
    #[must_use]
    pub fn current(&self) -> &Vkey {
        &self.current
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        u32::try_from(self.before.len() + 1).unwrap_or(u32::MAX)
    }

    /// Whether `key` is or was an admin's.
    #[must_use]
    pub fn knows(&self, key: &Vkey) -> bool {
        self.current == *key || self.before.iter().any(|hand_over| hand_over.before == *key)
    }

    /// Takes the next hand-over: the key in force must have signed it, for this vault, to a key that
    /// was never one.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn follow(&mut self, note: &str) -> Result<(), Error> {
        let next = HandOver::parse_signed(note, &self.current.public)?;
        let is_next = next.vault == self.vault
            && next.number == self.number() + 1
            && next.before == self.current;
        if !is_next {
            return Err(Error::Rule(Rule::Version));
        }
        if self.knows(&next.key) {
            return Err(Error::Rule(Rule::SameKey));
        }
        self.current = next.key.clone();
        self.before.push(next);
        Ok(())
    }

    /// Reads a roster: the key in force must have signed it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn roster(&self, note: &str) -> Result<Roster, Error> {
        Roster::parse_signed(note, &self.current.public)
    }

    /// Reads an epoch's note: the key in force has signed it, or one before it in its time.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn epoch(&self, note: &str) -> Result<EpochNote, Error> {
        let signed = EpochNote::parse_signed(note, &self.current.public);
        self.in_their_time(signed, |old| {
            EpochNote::parse_signed(note, &old.before.public)
                .ok()
                .filter(|read| read.number <= old.epoch)
        })
    }

    /// Reads the note of a key of the mailbox: as [`epoch`](Self::epoch).
    ///
    /// # Errors
    /// See [`Error`].
    pub fn mailbox(&self, note: &str) -> Result<MailboxNote, Error> {
        let signed = MailboxNote::parse_signed(note, &self.current.public);
        self.in_their_time(signed, |old| {
            MailboxNote::parse_signed(note, &old.before.public)
                .ok()
                .filter(|read| read.number <= old.mailbox)
        })
    }

    fn in_their_time<T>(
        &self,
        signed: Result<T, Error>,
        by: impl Fn(&HandOver) -> Option<T>,
    ) -> Result<T, Error> {
        match signed {
            Err(Error::Signature) => self.before.iter().rev().find_map(by).ok_or(Error::Signature),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::epoch::EpochSecret;
    use crate::keys::roster::tests::sample;

    #[test]
    fn a_key_that_was_handed_over_counts_for_what_it_had_signed_and_nothing_new() {
        let (roster, _) = sample();
        let (one, two, three) = (AdminKey::generate(), AdminKey::generate(), AdminKey::generate());
        let mut admins = Admins::founding(roster.vault, one.vkey());
        let hand_over = |number, before: &AdminKey, key: &AdminKey| HandOver {
            vault: roster.vault,
            number,
            before: before.vkey(),
            key: key.vkey(),
            epoch: EpochId(3),
            mailbox: 1,
        };
        let secret = EpochSecret::generate();
        let epoch = |number, by: &AdminKey| {
            let note = EpochNote::new(EpochId(number), &secret.public(), &roster, b"file");
            note.sign(by).expect("follows the rules")
        };
        let mailbox = |number, by: &AdminKey| {
            let note = MailboxNote::new(number, "AB", "armor", b"file", &roster);
            note.sign(by).expect("follows the rules")
        };
        let first = hand_over(2, &one, &two).sign(&one);
        for bad in [
            hand_over(2, &one, &two).sign(&two),
            hand_over(3, &one, &two).sign(&one),
            hand_over(2, &two, &three).sign(&one),
            hand_over(2, &one, &one).sign(&one),
            HandOver { vault: VaultId::random(), ..hand_over(2, &one, &two) }.sign(&one),
            one.sign_note(&hand_over(2, &one, &two).to_text().replace("epoch 3", "epoch 03")),
        ] {
            let mut tried = admins.clone();
            assert!(tried.follow(&bad).is_err() && tried == admins);
        }
        admins.follow(&first).expect("is signed");
        assert!(admins.follow(&first).is_err(), "once");
        assert!(admins.follow(&hand_over(3, &two, &one).sign(&two)).is_err(), "not back");
        admins.follow(&hand_over(3, &two, &three).sign(&two)).expect("is signed");
        assert_eq!((admins.current(), admins.number()), (&three.vkey(), 3));
        assert!(admins.knows(&one.vkey()) && admins.knows(&two.vkey()));

        let roster_by = |by: &AdminKey| roster.sign(by).expect("follows the rules");
        assert!(admins.roster(&roster_by(&three)).is_ok());
        for old in [&one, &two] {
            assert_eq!(admins.roster(&roster_by(old)).err(), Some(Error::Signature));
            assert!(
                admins.epoch(&epoch(3, old)).is_ok() && admins.mailbox(&mailbox(1, old)).is_ok()
            );
            assert_eq!(admins.epoch(&epoch(4, old)).err(), Some(Error::Signature));
            assert_eq!(admins.mailbox(&mailbox(2, old)).err(), Some(Error::Signature));
        }
        assert!(admins.epoch(&epoch(4, &three)).is_ok());
    }
}
