//! Changing who may do what: rosters, epochs, wrapping anew, on the side that has the secrets.
//!
//! The admin's key signs rosters and epochs; a reader's key opens what is to be wrapped anew. They
//! may be two persons: what only the other can do waits for their next log-in. The server sees
//! public keys, wrapped secrets and inner layers, as ever.

use super::client::{Client, Error};
use crate::casebook::protocol::{Request, Response};
use crate::casebook::state::Wrapped;
use crate::ids::{EpochId, StaffId};
use crate::keys::admin::AdminKey;
use crate::keys::admins::HandOver;
use crate::keys::epoch::EpochSecret;
use crate::keys::epoch_note::EpochNote;
use crate::keys::mailbox_note::MailboxNote;
use crate::keys::readers::Readers;
use crate::keys::roster::{self, Roster};
use crate::keys::wrapped;
use crate::reply::openpgp::MailboxKey;
use crate::secret::Personal;

/// The roster in force, as the admin signed it.
pub struct InForce {
    /// The roster.
    pub roster: Roster,
    /// The number that a new member gets.
    pub next: StaffId,
    /// Secrets that were wrapped before it was signed.
    pub stale: Vec<Wrapped>,
    /// The highest epoch that was signed.
    pub epoch: EpochId,
    /// The number of the mailbox's newest key.
    pub mailbox: u32,
}

impl Client {
    /// The roster in force.
    ///
    /// # Errors
    /// `NotSigned` if the admin did not sign it; `Older` if it is older than one that this member
    /// knows of, or another of the same version.
    pub fn roster(&mut self) -> Result<InForce, Error> {
        let Response::Roster { note, next, stale, epoch, mailbox } = self.ask(&Request::Roster)?
        else {
            return Err(Error::Unexpected);
        };
        let roster = self.admins.roster(&note).map_err(|_| Error::NotSigned)?;
        if roster.vault != self.vault {
            return Err(Error::NotSigned);
        }
        let offered = (roster.version, roster::digest(&roster.to_text()));
        if self.newest.roster.is_some_and(|(version, digest)| {
            version > offered.0 || (version == offered.0 && digest != offered.1)
        }) {
            return Err(Error::Older("roster"));
        }
        self.remember_roster(&roster, &note)?;
        Ok(InForce { roster, next, stale, epoch, mailbox })
    }

    /// Who has the secret of the epoch that is sealed to and is no reader of the roster any more: a
    /// new epoch is wanted.
    #[must_use]
    pub fn outsiders(&self, roster: &Roster) -> Vec<String> {
        let known = Readers::of(roster);
        let members = self.wrapped_to.iter().flat_map(|readers| &readers.members);
        let outside = members.filter(|member| !known.members.contains(member));
        outside.map(|(name, _)| name.clone()).collect()
    }

    /// The admin's public key, as this vault was first met with.
    #[must_use]
    pub fn admin_key(&self) -> String {
        self.admins.current().to_string()
    }

    /// Whether `admin` is the key that this vault was first met with.
    #[must_use]
    pub fn is_admin(&mut self, admin: &AdminKey) -> bool {
        let is_it = admin.vkey() == *self.admins.current();
        // Whoever holds that key in their own hand has met this vault.
        self.is_met |= is_it;
        is_it
    }

    /// Puts a roster in force.
    ///
    /// # Errors
    /// A rule that it breaks; what the server says.
    pub fn sign_roster(&mut self, roster: &Roster, admin: &AdminKey) -> Result<(), Error> {
        let note = roster.sign(admin).map_err(|error| Error::Refused(error.to_string()))?;
        self.ask(&Request::SignRoster { note: note.clone() })?;
        self.remember_roster(roster, &note)
    }

    /// Hands the admin key over: the old one signs that, the new one the roster.
    ///
    /// # Errors
    /// What the server says.
    pub fn hand_over(
        &mut self,
        in_force: &InForce,
        old: &AdminKey,
        new: &AdminKey,
    ) -> Result<(), Error> {
        let hand_over = HandOver {
            vault: self.vault,
            number: self.admins.number().checked_add(1).ok_or(Error::Unexpected)?,
            before: old.vkey(),
            key: new.vkey(),
            epoch: in_force.epoch,
            mailbox: in_force.mailbox,
        };
        let note = hand_over.sign(old);
        let version = in_force.roster.version.checked_add(1).ok_or(Error::Unexpected)?;
        let next = Roster { version, ..in_force.roster.clone() };
        let signed = next.sign(new).map_err(|error| Error::Refused(error.to_string()))?;
        let mut admins = self.admins.clone();
        admins.follow(&note).map_err(|error| Error::Refused(error.to_string()))?;
        self.ask(&Request::HandOver { note, roster: signed.clone() })?;
        self.admins = admins;
        self.remember_roster(&next, &signed)
    }

    /// Makes an epoch, wrapped to the readers of `roster`. It is sealed to once a reader has proven
    /// it: at once if this member reads. Says whether it was.
    ///
    /// # Errors
    /// What the server says.
    pub fn add_epoch(
        &mut self,
        in_force: &InForce,
        admin: &AdminKey,
    ) -> Result<(EpochId, bool), Error> {
        let number = EpochId(in_force.epoch.0.checked_add(1).ok_or(Error::Unexpected)?);
        let secret = EpochSecret::generate();
        let file = wrapped::wrap_epoch(&secret, &in_force.roster);
        let note = EpochNote::new(number, &secret.public(), &in_force.roster, &file);
        let note = note.sign(admin).map_err(|error| Error::Refused(error.to_string()))?;
        self.ask(&Request::AddEpoch { note, file })?;
        Ok((number, self.prove_newest()?))
    }

    /// Opens a copy of the newest epoch's secret and shows that it does, if this member reads.
    fn prove_newest(&mut self) -> Result<bool, Error> {
        match self.ask(&Request::Test) {
            Ok(Response::Test { unproven: Some(unproven) }) => {
                let note = self.signed_note(unproven.epoch, &unproven.note)?;
                self.prove(&note, &unproven.test)
            }
            Ok(Response::Test { unproven: None }) => Ok(true),
            Ok(_) => Err(Error::Unexpected),
            // Not every member reads.
            Err(Error::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a new OpenPGP key of the mailbox, wrapped to the readers of the roster; gives its
    /// fingerprint. The older ones still decrypt.
    ///
    /// # Errors
    /// What the server says.
    pub fn add_mailbox(
        &mut self,
        in_force: &InForce,
        admin: &AdminKey,
        now: u64,
    ) -> Result<Personal<String>, Error> {
        let number = in_force.mailbox.checked_add(1).ok_or(Error::Unexpected)?;
        let refused = |error: &dyn std::fmt::Display| Error::Refused(error.to_string());
        let key = MailboxKey::generate(&self.mailbox, now).map_err(|error| refused(&error))?;
        let secret = key.to_secret_bytes().map_err(|error| refused(&error))?;
        let file = wrapped::wrap_secret(wrapped::Kind::Mailbox, &secret, &in_force.roster);
        let certificate = key.public_armored().map_err(|error| refused(&error))?;
        let print = key.certificate().fingerprint();
        let note = MailboxNote::new(number, print.expose(), &certificate, &file, &in_force.roster);
        let note = note.sign(admin).map_err(|error| refused(&error))?;
        self.ask(&Request::AddMailbox { note, certificate, file })?;
        Ok(print)
    }

    /// Wraps every secret that this member may open, and that was wrapped before the roster in force
    /// was signed, to its readers. Gives how many, and how many wait for somebody else: all of them
    /// if this vault was met only now, for then its admin is known from nowhere but the server.
    ///
    /// # Errors
    /// See [`Error`]; what was wrapped stays so.
    pub fn rewrap(&mut self) -> Result<(usize, usize), Error> {
        let InForce { roster, stale, .. } = self.roster()?;
        let (mut done, mut left) = (0, 0);
        for what in stale {
            match if self.is_met { self.rewrap_one(&roster, what) } else { Err(Error::NoKey) } {
                Ok(()) => done += 1,
                // Not this member's to open, or somebody else was faster.
                Err(Error::NoKey | Error::Refused(_)) => left += 1,
                Err(error) => return Err(error),
            }
        }
        self.stale = left > 0;
        Ok((done, left))
    }

    fn rewrap_one(&mut self, roster: &Roster, what: Wrapped) -> Result<(), Error> {
        let Response::Wrapped { file, note } = self.ask(&Request::WrappedFile { what })? else {
            return Err(Error::Unexpected);
        };
        let message = self.opener.unwrap(&file).map_err(|_| Error::NoKey)?;
        let kind = match what {
            Wrapped::Epoch(_) => wrapped::Kind::Epoch,
            Wrapped::Mailbox(_) => wrapped::Kind::Mailbox,
        };
        let secret = wrapped::secret_in(kind, &message).map_err(|_| Error::NoKey)?;
        // What is wrapped must be what the admin signed, whatever the file is called.
        let is_it = match what {
            Wrapped::Epoch(id) => {
                let opened = wrapped::epoch_in(&message).map_err(|_| Error::NoKey)?;
                self.signed_note(id, &note)?.is_opened_by(&opened)
            }
            Wrapped::Mailbox(number) => self.is_mailbox(number, &note, &secret)?,
        };
        if !is_it {
            return Err(Error::NotSigned);
        }
        let file = wrapped::wrap_secret(kind, &secret, roster);
        self.ask(&Request::Rewrap { what, version: roster.version, file }).map(drop)
    }

    fn is_mailbox(&self, number: u32, note: &str, secret: &[u8]) -> Result<bool, Error> {
        let note = self.admins.mailbox(note).map_err(|_| Error::NotSigned)?;
        let key = MailboxKey::from_secret_bytes(secret).map_err(|_| Error::NoKey)?;
        let print = key.certificate().fingerprint();
        Ok(note.vault == self.vault
            && note.number == number
            && print.expose().eq_ignore_ascii_case(&note.fingerprint))
    }

    /// Has the server remove the secrets of epochs that nothing is sealed to any more.
    ///
    /// # Errors
    /// What the server says: boxes may still be sealed to them.
    pub fn destroy_epochs(&mut self) -> Result<Vec<EpochId>, Error> {
        match self.ask(&Request::DestroyEpochs)? {
            Response::Epochs { epochs } => Ok(epochs),
            _ => Err(Error::Unexpected),
        }
    }
}
