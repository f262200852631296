//! Changing who may do what: rosters, epochs, wrapping and sealing anew, on the side that has the
//! secrets.
//!
//! The admin's key signs rosters and epochs; a reader's key opens what is to be wrapped or sealed
//! anew. They may be two persons: what only the other can do waits for their next log-in. The server
//! sees public keys, wrapped secrets and inner layers, as ever.

use zeroize::Zeroizing;

use super::client::{Client, Error};
use super::seen::Newest;
use crate::casebook::keyring::Resealed;
use crate::casebook::protocol::{Request, Response};
use crate::casebook::state::Wrapped;
use crate::casebook::{NewChunk, Opened, Standing};
use crate::ids::{Digest, EpochId, StaffId};
use crate::keys::admin::AdminKey;
use crate::keys::admins::HandOver;
use crate::keys::epoch::{EpochPublic, EpochSecret};
use crate::keys::epoch_note::EpochNote;
use crate::keys::mailbox_note::MailboxNote;
use crate::keys::readers::Readers;
use crate::keys::roster::{self, Roster};
use crate::keys::wrapped;
use crate::reply::openpgp::MailboxKey;
use crate::secret::Personal;
use crate::vault;
use crate::vault::chunk::{self, Base, ChunkKey};
use crate::vault::seal::{self, Place};

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

/// Boxes that are asked for and handed in at a time.
const AT_ONCE: u32 = 64;
/// Chunks that are sealed anew at a time: 16 MiB.
const CHUNKS_AT_ONCE: usize = 64;

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
        self.remember(Newest { roster: Some(offered), ..self.newest })?;
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
        self.ask(&Request::SignRoster { note })?;
        let signed = (roster.version, roster::digest(&roster.to_text()));
        self.remember(Newest { roster: Some(signed), ..self.newest })
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
        let roster = next.sign(new).map_err(|error| Error::Refused(error.to_string()))?;
        let mut admins = self.admins.clone();
        admins.follow(&note).map_err(|error| Error::Refused(error.to_string()))?;
        self.ask(&Request::HandOver { note, roster })?;
        self.admins = admins;
        let signed = (version, roster::digest(&next.to_text()));
        self.remember(Newest { roster: Some(signed), ..self.newest })
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

    /// Seals boxes of older epochs anew to the newest, `most` at the most; `tell` hears how many are
    /// done. Gives how many were, and how many do not open and were left as they are. Whoever
    /// stops it loses nothing: the next call goes on.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn reseal(&mut self, most: u64, tell: &mut dyn FnMut(u64)) -> Result<(u64, u64), Error> {
        self.reseal_all(most, None, tell)
    }

    /// As [`reseal`](Self::reseal), and the content under new keys, too: what was known of the old
    /// ones opens nothing of it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn reseal_with_content(
        &mut self,
        most: u64,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(u64, u64), Error> {
        self.reseal_all(most, Some(&Base::fresh()), tell)
    }

    fn reseal_all(
        &mut self,
        most: u64,
        base: Option<&Base>,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(u64, u64), Error> {
        let with_content = base.is_some();
        let (mut done, mut unopened, mut after) = (0, 0, None);
        while done < most {
            let most = u32::try_from(most - done).unwrap_or(u32::MAX).min(AT_ONCE);
            let Response::Boxes { boxes } =
                self.ask(&Request::ToReseal { after, most, with_content })?
            else {
                return Err(Error::Unexpected);
            };
            let Some(last) = boxes.last() else { break };
            after = Some((last.place.kind, last.place.item));
            let mut sealed = Vec::with_capacity(boxes.len());
            for opened in &boxes {
                let new = match base {
                    None => self.sealed_anew(opened),
                    Some(base) => self.sealed_anew_with_content(opened, base),
                };
                match new {
                    Ok(new) => sealed.push(new),
                    Err(Error::NoKey | Error::Forgotten | Error::Vault(_)) => unopened += 1,
                    Err(error) => return Err(error),
                }
            }
            if !sealed.is_empty() {
                let Response::Kept { count } = self.ask(&Request::Reseal { boxes: sealed })? else {
                    return Err(Error::Unexpected);
                };
                done += count;
                tell(done);
            }
        }
        Ok((done, unopened))
    }

    /// The content under new keys, handed in, and a manifest that names them.
    fn sealed_anew_with_content(
        &mut self,
        opened: &Opened,
        base: &Base,
    ) -> Result<Resealed, Error> {
        let (inner, old, epoch, public) = self.to_newer(opened)?;
        let mut manifest = seal::open_inner(inner, self.epoch(old)?, opened.content)?;
        if manifest.chunks.is_empty() {
            return self.sealed_anew(opened);
        }
        let mut keys = Vec::with_capacity(manifest.chunks.len());
        for some in manifest.chunks.chunks(CHUNKS_AT_ONCE) {
            let sealed = self.sealed_chunks(some)?;
            let (new, chunks) = resealed(base, some, &sealed)?;
            let Response::Kept { .. } = self.ask(&Request::ResealChunks { chunks })? else {
                return Err(Error::Unexpected);
            };
            keys.extend(new);
        }
        manifest.chunks = keys;
        let (new, content) = seal::inner(&manifest, &public);
        seal::open_inner(&new, self.epoch(epoch)?, content)?;
        Ok(anew(opened, new, epoch, Some(content)))
    }

    /// A box that is sealed to an older epoch: its inner layer, that epoch, and the newest one.
    fn to_newer<'a>(
        &self,
        opened: &'a Opened,
    ) -> Result<(&'a seal::Inner, EpochId, EpochId, EpochPublic), Error> {
        let inner = match (opened.standing, &opened.inner) {
            (Standing::Forgotten, _) => return Err(Error::Forgotten),
            (Standing::Kept, Some(inner)) if opened.place.vault == self.vault => inner,
            _ => return Err(vault::Error::Missing.into()),
        };
        let old = opened.epoch.ok_or(Error::Unexpected)?;
        let (epoch, public) = self.sealing()?;
        // Never back to one whose secret somebody may have taken along.
        if epoch <= old { Err(Error::Older("epoch")) } else { Ok((inner, old, epoch, public)) }
    }

    /// The same manifest, sealed to the newest epoch and opened again to see that it is.
    fn sealed_anew(&mut self, opened: &Opened) -> Result<Resealed, Error> {
        let (inner, old, epoch, public) = self.to_newer(opened)?;
        let message: Zeroizing<Vec<u8>> = {
            let secret = self.epoch(old)?;
            // Compares with what the ledger recorded.
            seal::open_inner(inner, secret, opened.content)?;
            secret.unwrap(&inner.sealed).map_err(|_| Error::NoKey)?
        };
        let new = seal::Inner { chunks: inner.chunks.clone(), sealed: public.wrap(&message) };
        seal::open_inner(&new, self.epoch(epoch)?, opened.content)?;
        Ok(anew(opened, new, epoch, None))
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

/// A box with its new inner layer, as it is handed in.
fn anew(opened: &Opened, inner: seal::Inner, epoch: EpochId, content: Option<Digest>) -> Resealed {
    let Place { kind, item, .. } = opened.place;
    Resealed { kind, item, slot: opened.slot, inner, epoch, content }
}

/// Chunks sealed anew under `base`, on all cores: their keys, and what is handed in.
fn resealed(
    base: &Base,
    keys: &[ChunkKey],
    sealed: &[Vec<u8>],
) -> Result<(Vec<ChunkKey>, Vec<NewChunk>), Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = keys.len().div_ceil(cores).max(1);
    let work = |(keys, sealed): (&[ChunkKey], &[Vec<u8>])| -> Result<Vec<_>, vault::Error> {
        let pairs = keys.iter().zip(sealed);
        pairs.map(|(key, sealed)| chunk::reseal(base, key, sealed)).collect()
    };
    let parts: Vec<Result<Vec<_>, vault::Error>> = std::thread::scope(|scope| {
        let parts = keys.chunks(share).zip(sealed.chunks(share));
        let parts: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let join = |part: std::thread::ScopedJoinHandle<'_, _>| {
            part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        parts.into_iter().map(join).collect()
    });
    let (mut new, mut chunks) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
    for part in parts {
        for (key, chunk) in part? {
            let address = chunk.address();
            new.push(key);
            chunks.push(NewChunk { address, bytes: chunk.bytes().to_vec() });
        }
    }
    Ok((new, chunks))
}
