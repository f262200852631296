//! What the recovery key does once sheets have rebuilt it: tries every wrapped secret, and wraps
//! them anew for people who can read.
//!
//! It opens what the readers' keys open and nothing else: without the server's cabinet it reads no
//! letter. What it is given comes from a server, or from a copy of its folder, so every file is held
//! against what the admin signed.

use std::path::Path;

use zeroize::Zeroizing;

use super::client::{self, Client};
use crate::casebook;
use crate::casebook::protocol::{Request, Response};
use crate::casebook::recovery::WrappedFiles;
use crate::casebook::state::Wrapped;
use crate::ids::VaultId;
use crate::keys::admin::AdminKey;
use crate::keys::admins::Admins;
use crate::keys::challenge::{self, RECOVERY};
use crate::keys::epoch::EpochSecret;
use crate::keys::epoch_note::EpochNote;
use crate::keys::mailbox_note::MailboxNote;
use crate::keys::roster::{self, Roster};
use crate::keys::staff::{StaffKey, StaffRecipient};
use crate::keys::wrapped::{self, Kind};
use crate::keys::{NotForThisKey, UnlockError};
use crate::reply::openpgp::MailboxKey;

/// Why the recovery key was not tried, or nothing was wrapped anew.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is the key of another vault, or of an earlier roster.
    #[error("this is not the recovery key of this vault, which is {0}")]
    OtherKey(StaffRecipient),
    /// A file was not signed by the admin, or is not written as such a file is.
    #[error("{what}: {error}")]
    Signed {
        /// Which.
        what: String,
        /// What is wrong with it.
        error: roster::Error,
    },
    /// The note of a secret is of another vault or another number.
    #[error("the note of {0} belongs elsewhere")]
    OtherNote(String),
    /// A new roster for another vault.
    #[error("the new roster is of another vault")]
    OtherVault,
    /// A secret does not open.
    #[error("{0} does not open with this key")]
    Closed(String),
    /// What lies in the copy of the admin key is none.
    #[error("the copy of the admin key: {0}")]
    Admin(UnlockError),
    /// The files are not all there.
    #[error(transparent)]
    Files(#[from] casebook::Error),
    /// The server did not give or take what it should.
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// What a secret is called, for people.
#[must_use]
pub fn name(what: Wrapped) -> String {
    match what {
        Wrapped::Epoch(epoch) => format!("epoch {}", epoch.0),
        Wrapped::Mailbox(number) => format!("mailbox key {number}"),
    }
}

/// The wrapped secrets of a vault, and what the admin signed of them.
pub struct Files {
    /// The roster in force.
    pub roster: Roster,
    /// Whose signature counts.
    pub admins: Admins,
    epochs: Vec<(EpochNote, Vec<u8>)>,
    mailbox: Vec<(MailboxNote, Vec<u8>)>,
}

impl Files {
    /// Takes files over that lie in a folder: a state directory, or a copy of its `roster/`,
    /// `epochs/` and `mailbox/`.
    ///
    /// # Errors
    /// [`Error::Files`], [`Error::Signed`], [`Error::OtherNote`].
    pub fn read(dir: &Path, vault: VaultId, version: u32) -> Result<Self, Error> {
        let admins = Admins::read(dir, vault);
        let admins = admins.map_err(|_| casebook::Error::Unknown("key of the admin"))?;
        Self::of(WrappedFiles::read(dir, version)?, admins, vault)
    }

    fn of(files: WrappedFiles, admins: Admins, vault: VaultId) -> Result<Self, Error> {
        let signed = |what: String| move |error| Error::Signed { what, error };
        let roster = admins.roster(&files.roster).map_err(signed("roster".into()))?;
        if vault != roster.vault {
            return Err(Error::OtherVault);
        }
        let mut epochs = Vec::with_capacity(files.epochs.len());
        for (number, note, file) in files.epochs {
            let what = Wrapped::Epoch(number);
            let note = admins.epoch(&note).map_err(signed(name(what)))?;
            if note.number != number || note.vault != roster.vault {
                return Err(Error::OtherNote(name(what)));
            }
            epochs.push((note, file.into()));
        }
        let mut mailbox = Vec::with_capacity(files.mailbox.len());
        for (number, note, file) in files.mailbox {
            let what = Wrapped::Mailbox(number);
            let note = admins.mailbox(&note).map_err(signed(name(what)))?;
            if note.number != number || note.vault != roster.vault {
                return Err(Error::OtherNote(name(what)));
            }
            mailbox.push((note, file.into()));
        }
        Ok(Self { roster, admins, epochs, mailbox })
    }

    /// How many epochs there are whose secret is there.
    #[must_use]
    pub fn epochs(&self) -> u32 {
        self.epochs.len() as u32
    }

    /// Whether each secret opens with `key`, the recovery key of the roster, and is the one that the
    /// admin signed.
    ///
    /// # Errors
    /// [`Error::OtherKey`]: nothing was tried.
    pub fn drill(&self, key: &StaffKey) -> Result<Vec<(Wrapped, bool)>, Error> {
        self.belongs(key)?;
        Ok(self.opened(key).map(|(what, opened)| (what, opened.is_some())).collect())
    }

    /// Every secret, wrapped anew to the readers of `roster` and to its recovery key.
    ///
    /// # Errors
    /// [`Error::OtherKey`], [`Error::OtherVault`]; [`Error::Closed`] if one does not open: none is
    /// given then.
    pub fn rewrap(
        &self,
        key: &StaffKey,
        roster: &Roster,
    ) -> Result<Vec<(Wrapped, Vec<u8>)>, Error> {
        self.belongs(key)?;
        if roster.vault != self.roster.vault {
            return Err(Error::OtherVault);
        }
        let anew = |(what, opened): (Wrapped, Option<Zeroizing<Vec<u8>>>)| -> Result<_, Error> {
            let secret = opened.ok_or_else(|| Error::Closed(name(what)))?;
            Ok((what, wrapped::wrap_secret(kind(what), &secret, roster)))
        };
        self.opened(key).map(anew).collect()
    }

    /// Each secret, if `key` opens it and it is the one that the admin signed.
    fn opened(
        &self,
        key: &StaffKey,
    ) -> impl Iterator<Item = (Wrapped, Option<Zeroizing<Vec<u8>>>)> {
        let unwrap = move |what, file: &[u8]| wrapped::unwrap_secret(kind(what), file, key).ok();
        let epochs = self.epochs.iter().map(move |(note, file)| {
            let what = Wrapped::Epoch(note.number);
            let is_signed = |secret: &Zeroizing<Vec<u8>>| {
                let text = std::str::from_utf8(secret).unwrap_or_default();
                EpochSecret::from_text(text).is_ok_and(|secret| note.is_opened_by(&secret))
            };
            (what, unwrap(what, file).filter(is_signed))
        });
        let mailbox = self.mailbox.iter().map(move |(note, file)| {
            let what = Wrapped::Mailbox(note.number);
            let is_signed = |secret: &Zeroizing<Vec<u8>>| {
                MailboxKey::from_secret_bytes(secret).is_ok_and(|key| {
                    let print = key.certificate().fingerprint();
                    print.expose().eq_ignore_ascii_case(&note.fingerprint)
                })
            };
            (what, unwrap(what, file).filter(is_signed))
        });
        epochs.chain(mailbox)
    }

    /// The admin key in its copy for recovery, `admin.recovery.age`.
    ///
    /// # Errors
    /// [`Error::Admin`] if the recovery key does not open it, or what it holds is another key than
    /// that of this vault's admin.
    pub fn admin_key(&self, copy: &[u8], key: &StaffKey) -> Result<AdminKey, Error> {
        let no_key = || Error::Admin(UnlockError::NotAKey);
        let text = key.unwrap(copy).map_err(|NotForThisKey| no_key())?;
        let admin = AdminKey::from_text(&text).map_err(Error::Admin)?;
        if admin.vkey() == *self.admins.current() { Ok(admin) } else { Err(no_key()) }
    }

    fn belongs(&self, key: &StaffKey) -> Result<(), Error> {
        if *key.recipient() == self.roster.recovery {
            Ok(())
        } else {
            Err(Error::OtherKey(self.roster.recovery.clone()))
        }
    }
}

/// What a file holds, as its first line says.
fn kind(what: Wrapped) -> Kind {
    match what {
        Wrapped::Epoch(_) => Kind::Epoch,
        Wrapped::Mailbox(_) => Kind::Mailbox,
    }
}

/// A test of the recovery key, as the server gave it.
pub struct Test {
    file: Vec<u8>,
    nonce: [u8; 16],
}

impl Test {
    /// Anything else that a server has wrapped to this key is not opened for it.
    fn answer(&self, key: &StaffKey, vault: VaultId) -> Result<[u8; 32], client::Error> {
        let message = key.unwrap(&self.file).map_err(|NotForThisKey| client::Error::NoKey)?;
        challenge::answer(&message, vault, &self.nonce, RECOVERY).ok_or(client::Error::Unexpected)
    }
}

impl Client {
    /// Every secret as the server keeps it wrapped, and a test of the recovery key.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn wrapped_files(&mut self) -> Result<(Files, Test), Error> {
        let Response::ToDrill { files, test, nonce } = self.ask(&Request::ToDrill)? else {
            return Err(client::Error::Unexpected.into());
        };
        Ok((Files::of(files, self.admins.clone(), self.vault)?, Test { file: test, nonce }))
    }

    /// Has it entered that the recovery key was rebuilt and would open so many epochs; gives the
    /// position of the entry.
    ///
    /// # Errors
    /// See [`Error`]; nothing is entered then.
    pub fn note_drill(&mut self, key: &StaffKey, test: &Test, epochs: u32) -> Result<u64, Error> {
        let answer = test.answer(key, self.vault)?;
        match self.ask(&Request::Drilled { nonce: test.nonce, answer, epochs })? {
            Response::Recorded { seq } => Ok(seq),
            _ => Err(client::Error::Unexpected.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::challenge::Challenge;

    #[test]
    fn a_test_is_answered_and_nothing_else_is_opened_for_a_server() {
        let (key, vault, nonce) = (StaffKey::generate(), VaultId::random(), [7; 16]);
        let (challenge, file) = Challenge::for_member(vault, RECOVERY, key.recipient(), &nonce);
        let answer = Test { file: file.clone(), nonce }.answer(&key, vault).expect("answers");
        assert!(challenge.verify(&answer));

        let refused = |file, nonce, vault| Test { file, nonce }.answer(&key, vault).is_err();
        assert!(refused(file.clone(), [8; 16], vault));
        assert!(refused(file, nonce, VaultId::random()));
        // A secret of the vault, and the log-in of a member who has the same key.
        assert!(refused(key.recipient().wrap(b"# kluis secret: epoch\n"), nonce, vault));
        let (challenge, file) = Challenge::for_member(vault, "lotte", key.recipient(), &nonce);
        let answer = Test { file, nonce }.answer(&key, vault).expect("cannot be told apart");
        assert!(!challenge.verify(&answer), "and is of no use");
    }
}
