//! Taking over what the admin signed: rosters and epochs; and what readers wrapped or sealed anew.
//!
//! The signature of the pinned admin key is the authority, and nothing that is older than what is in
//! force is taken: a roster counts up, and so does an epoch. What is refused is entered. A file is
//! durable before the entry that names it; the entry decides. Left to others: who may ask
//! (`socket`), and everything secret (`staff::keys`), which this side never sees.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use minicbor::{Decode, Encode};

use super::exchange::Exchange;
use super::read::Opened;
use super::socket::Desk;
use super::state::{BoxRecord, Wrapped};
use super::{Casebook, Error, digest_of, lock};
use crate::ids::{Address, Digest, EpochId, ItemId, SlotId, StaffId, VaultId};
use crate::keys::admins::Admins;
use crate::keys::epoch_note::EpochNote;
use crate::keys::file;
use crate::keys::mailbox_note::MailboxNote;
use crate::keys::readers::Readers;
use crate::keys::roster::{self, Member, Roster, Standing};
use crate::lab::step;
use crate::ledger::entry::{Entry, Fact};
use crate::store::Batch;
use crate::vault::seal::{self, Inner, Kind};

/// Why a change of keys was refused. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The admin did not sign it, or it is not written as it must be.
    #[error(transparent)]
    Signed(#[from] roster::Error),
    /// It is of another vault.
    #[error("signed for another vault")]
    OtherVault,
    /// It is older than what is in force, or the same.
    #[error("not newer than what is in force: it would bring back who was revoked")]
    NotNewer,
    /// A number that somebody else had.
    #[error("member number {} belonged to somebody who was revoked", .0.0)]
    NumberTaken(StaffId),
    /// A key that everybody can read.
    #[error("it holds a throwaway key that everybody can read")]
    Throwaway,
    /// The wrapped secret is not the one that the note speaks of.
    #[error("the wrapped secret is not the one that its note names")]
    OtherFile,
    /// The readers of the note are not those of the roster.
    #[error("it is wrapped to others than the readers of the roster in force")]
    OtherReaders,
    /// It is no age file to so many recipients as there are readers.
    #[error("no age file to every reader of the roster and to recovery")]
    NotWrapped,
    /// It leaves nobody who could sign in the vault's affairs.
    #[error("the roster has no admin any more: nobody could change it again")]
    NoAdmin,
    /// It was wrapped to the readers of the roster in force already.
    #[error("it is wrapped to the readers of the roster already")]
    NotStale,
    /// Boxes are still sealed to it.
    #[error("{0} boxes are still sealed to older epochs")]
    StillUsed(u64),
}

/// A box that was sealed anew to the newest epoch.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Resealed {
    /// What it is.
    #[n(0)]
    pub kind: Kind,
    /// Its id.
    #[n(1)]
    pub item: ItemId,
    /// The slot of the key that it had.
    #[n(2)]
    pub slot: SlotId,
    /// The new inner layer, of the same content.
    #[n(3)]
    pub inner: Inner,
    /// The epoch that it is sealed to.
    #[n(4)]
    pub epoch: EpochId,
    /// BLAKE3(M), if its chunks were sealed anew, too: as many as before, and they are there already.
    #[n(5)]
    pub content: Option<Digest>,
}

/// Boxes handed out for sealing anew at a time.
pub(super) const MOST_RESEALED: usize = 256;
/// Bytes after which no further box is handed out with them: two answers' worth fit one.
const RESEALED_BYTES: usize = 32 << 20;
/// What is put behind the name of a file that the ledger does not name.
const UNNAMED: &str = ".unnamed";
/// The longest wrapped secret, in bytes.
const LONGEST_FILE: usize = 2 << 20;
/// The filter of a listing of boxes to be sealed anew, as a `Listed` entry says it.
const BOXES_OF_OLDER_EPOCHS: u8 = 6;

impl Desk {
    /// Takes a newer roster over. Whoever is not in it any more, or may less than before, gets
    /// nothing more on any connection from before the entry is written.
    ///
    /// # Errors
    /// [`Refusal`], which is entered; what the store says.
    pub(super) fn take_roster(&self, by: StaffId, note: &str) -> Result<u64, Error> {
        let _turn = self.turn(by, Member::may_administer)?;
        let known = self.roster.read().unwrap_or_else(PoisonError::into_inner).clone();
        let checked = self.checked_roster(&self.admins(), &known, note);
        let new = self.or_refused(by, note.as_bytes(), checked)?;
        self.put_in_force(by, known, new, note, Vec::new())
    }

    /// Takes a new admin key over, and the roster that it signed.
    ///
    /// # Errors
    /// [`Refusal`], which is entered; what the store says.
    pub(super) fn take_hand_over(
        &self,
        by: StaffId,
        note: &str,
        roster_note: &str,
    ) -> Result<u64, Error> {
        let _turn = self.turn(by, Member::may_administer)?;
        let known = self.roster.read().unwrap_or_else(PoisonError::into_inner).clone();
        let checked = self.checked_hand_over(&known, note, roster_note);
        let (admins, new) = self.or_refused(by, note.as_bytes(), checked)?;
        let folder = self.dir.join("admin");
        // The ledger will name a file in it: the folder's own name must be durable, too.
        file::make_folder(&folder)
            .and_then(|()| {
                file::replace(&folder.join(format!("{}.note", admins.number())), note.as_bytes())
            })
            .map_err(cannot_write)?;
        step("keys:hand-over-written");
        let entry = Entry {
            count: Some(u64::from(admins.number())),
            hash: Some(roster::digest(note)),
            staff: Some(by),
            ..self.casebook.entry(Fact::AdminSigned)
        };
        let seq = self.put_in_force(by, known, new, roster_note, vec![entry])?;
        *self.admins.write().unwrap_or_else(PoisonError::into_inner) = admins;
        Ok(seq)
    }

    fn checked_hand_over(
        &self,
        known: &Roster,
        note: &str,
        roster_note: &str,
    ) -> Result<(Admins, Roster), Refusal> {
        let mut admins = self.admins();
        admins.follow(note)?;
        let new = self.checked_roster(&admins, known, roster_note)?;
        Ok((admins, new))
    }

    fn admins(&self) -> Admins {
        self.admins.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The signed notes of the hand-overs, oldest first.
    pub(super) fn hand_overs(&self) -> Vec<String> {
        let numbers: Vec<u32> = self.casebook.state().admin_notes.keys().copied().collect();
        let note = |number: &u32| {
            std::fs::read_to_string(self.dir.join("admin").join(format!("{number}.note"))).ok()
        };
        numbers.iter().filter_map(note).collect()
    }

    /// Puts a roster that was checked in force, with what else is entered with it.
    fn put_in_force(
        &self,
        by: StaffId,
        known: Roster,
        new: Roster,
        note: &str,
        mut entries: Vec<Entry>,
    ) -> Result<u64, Error> {
        let path = self.dir.join("roster").join(format!("{}.note", new.version));
        file::replace(&path, note.as_bytes()).map_err(cannot_write)?;
        step("keys:roster-written");
        let ids = |is_gone: &dyn Fn(&Member) -> bool| -> Vec<StaffId> {
            let gone = known.members.iter().filter(|member| is_gone(member));
            gone.map(|member| member.id).collect()
        };
        let gone = ids(&|member| new.members.iter().all(|other| other.id != member.id));
        let lessened = ids(&|member| !new.members.iter().any(|other| keeps(member, other)));
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = new;
        // Before the entry: what was on its way to them when it is written is cut off.
        self.presence.dismiss(&lessened, by);
        let casebook = &self.casebook;
        let hash = Some(roster::digest(note));
        entries.push(Entry { hash, staff: Some(by), ..casebook.entry(Fact::RosterSigned) });
        entries.extend(
            gone.iter().map(|id| Entry { staff: Some(*id), ..casebook.entry(Fact::MemberRevoked) }),
        );
        casebook.commit(Batch::of(entries)).inspect_err(|_| {
            // The ledger decides, and it says what it said before.
            *self.roster.write().unwrap_or_else(PoisonError::into_inner) = known;
        })
    }

    fn checked_roster(
        &self,
        admins: &Admins,
        known: &Roster,
        note: &str,
    ) -> Result<Roster, Refusal> {
        let new = admins.roster(note)?;
        match new.standing(known) {
            Standing::Newer => {}
            Standing::OtherVault => return Err(Refusal::OtherVault),
            Standing::Same | Standing::Older | Standing::Conflicting => {
                return Err(Refusal::NotNewer);
            }
        }
        if new.is_throwaway() {
            return Err(Refusal::Throwaway);
        }
        if new.loses_admin(known) {
            return Err(Refusal::NoAdmin);
        }
        let state = self.casebook.state();
        match new.number_taken(known, |id| state.revoked.contains(id)) {
            Some(id) => Err(Refusal::NumberTaken(id)),
            None => Ok(new),
        }
    }

    /// Takes a new epoch over: its signed note and its wrapped secret. It is sealed to once a member
    /// has proven that it opens.
    ///
    /// # Errors
    /// [`Refusal`], which is entered; what the store says.
    pub(super) fn take_epoch(&self, by: StaffId, note: &str, secret: &[u8]) -> Result<u64, Error> {
        let _turn = self.turn(by, Member::may_administer)?;
        let checked = self.checked_epoch(note, secret);
        let new = self.or_refused(by, note.as_bytes(), checked)?;
        let folder = self.dir.join("epochs");
        file::replace(&folder.join(format!("{}.age", new.number.0)), secret)
            .and_then(|()| {
                file::replace(&folder.join(format!("{}.note", new.number.0)), note.as_bytes())
            })
            .map_err(cannot_write)?;
        step("keys:epoch-written");
        let entry = Entry {
            epoch: Some(new.number),
            hash: Some(roster::digest(note)),
            staff: Some(by),
            ..self.casebook.entry(Fact::EpochSigned)
        };
        let seq = self.casebook.record_fact(entry)?;
        self.casebook.add_epoch(new.number, new.public());
        Ok(seq)
    }

    fn checked_epoch(&self, note: &str, secret: &[u8]) -> Result<EpochNote, Refusal> {
        // What is new only the key in force signs.
        let new = EpochNote::parse_signed(note, &self.admins().current().public)?;
        let highest = self.casebook.state().epoch_notes.keys().max().copied();
        self.fits(new.vault, highest.is_none_or(|highest| new.number > highest), &new.readers)?;
        if secret.len() > LONGEST_FILE || !new.is_of(secret) {
            return Err(Refusal::OtherFile);
        }
        Ok(new)
    }

    /// Takes a new key of the mailbox over: its signed note, its certificate, its wrapped secret. It
    /// is in force from then on; the older ones still decrypt.
    ///
    /// # Errors
    /// [`Refusal`], which is entered; what the store says.
    pub(super) fn take_mailbox(
        &self,
        by: StaffId,
        note: &str,
        certificate: &str,
        secret: &[u8],
    ) -> Result<u64, Error> {
        let _turn = self.turn(by, Member::may_administer)?;
        let checked = self.checked_mailbox(note, certificate, secret);
        let new = self.or_refused(by, note.as_bytes(), checked)?;
        let file = |kind: &str| self.dir.join("mailbox").join(format!("{}.{kind}", new.number));
        file::replace(&file("age"), secret)
            .and_then(|()| file::replace(&file("asc"), certificate.as_bytes()))
            .and_then(|()| file::replace(&file("note"), note.as_bytes()))
            .map_err(cannot_write)?;
        step("keys:mailbox-written");
        let seq = self.casebook.record_fact(Entry {
            count: Some(u64::from(new.number)),
            hash: Some(roster::digest(note)),
            staff: Some(by),
            ..self.casebook.entry(Fact::MailboxSigned)
        })?;
        step("keys:mailbox-entered");
        self.publish_mailbox()?;
        Ok(seq)
    }

    fn checked_mailbox(
        &self,
        note: &str,
        certificate: &str,
        secret: &[u8],
    ) -> Result<MailboxNote, Refusal> {
        let new = MailboxNote::parse_signed(note, &self.admins().current().public)?;
        let highest = self.casebook.state().mailbox_notes.keys().max().copied();
        self.fits(new.vault, highest.is_none_or(|highest| new.number > highest), &new.readers)?;
        if secret.len() > LONGEST_FILE || !new.is_of(certificate, secret) {
            return Err(Refusal::OtherFile);
        }
        Ok(new)
    }

    /// Whether a signed note is of this vault, newer than what there is, and for the readers of the
    /// roster in force.
    fn fits(&self, vault: VaultId, is_newer: bool, readers: &Readers) -> Result<(), Refusal> {
        let known = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        if vault != known.vault {
            return Err(Refusal::OtherVault);
        }
        if !is_newer {
            return Err(Refusal::NotNewer);
        }
        if *readers == Readers::of(&known) { Ok(()) } else { Err(Refusal::OtherReaders) }
    }

    /// Puts the certificate of the mailbox's newest key where it is published from: also what a crash
    /// has left undone.
    fn publish_mailbox(&self) -> Result<(), Error> {
        let highest = self.casebook.state().mailbox_notes.keys().max().copied();
        let Some(number) = highest else { return Ok(()) };
        let newest = self.dir.join("mailbox").join(format!("{number}.asc"));
        let published = self.dir.join("mailbox.asc");
        let publish = || -> io::Result<()> {
            let certificate = file::read(&newest, LONGEST_FILE)?;
            if file::read(&published, LONGEST_FILE).is_ok_and(|there| *there == *certificate) {
                return Ok(());
            }
            file::replace(&published, &certificate)
        };
        publish().map_err(cannot_write)
    }

    /// Puts a roster in force that a recovered admin key signed, and takes secrets over that the
    /// recovery key has wrapped anew to its readers: from the user that this process runs as, since no
    /// member is left who could ask. `by` is the member whom it is for. What was done already is passed
    /// over. Gives how many secrets were taken.
    ///
    /// # Errors
    /// [`Refusal`], which is entered; what the store says. What was taken before it stays.
    pub fn take_recovered(
        &self,
        by: StaffId,
        note: &str,
        files: &[(Wrapped, Vec<u8>)],
    ) -> Result<usize, Error> {
        let _turn = lock(&self.key_changes);
        if self.casebook.state().roster != Some(roster::digest(note)) {
            let known = self.roster.read().unwrap_or_else(PoisonError::into_inner).clone();
            let checked = self.checked_roster(&self.admins(), &known, note);
            let new = self.or_refused(by, note.as_bytes(), checked)?;
            self.put_in_force(by, known, new, note, Vec::new())?;
        }
        let version = self.roster.read().unwrap_or_else(PoisonError::into_inner).version;
        let mut taken = 0;
        for (what, secret) in files {
            if self.casebook.state().stale().contains(what) {
                self.put_wrapped(by, *what, version, secret)?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// Finishes what a crash may have left undone of changes that the ledger has.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish_key_changes(&self) -> Result<(), Error> {
        self.remove_leftovers().map_err(cannot_write)?;
        self.publish_mailbox()?;
        self.finish_destroying()
    }

    /// Takes a secret over that a reader wrapped anew to the readers of the roster in force. The file
    /// before it stays beside it: whether the new one opens only a reader can say.
    ///
    /// # Errors
    /// [`Refusal`], which is entered; what the store says.
    pub(super) fn take_wrapped(
        &self,
        by: StaffId,
        what: Wrapped,
        version: u32,
        secret: &[u8],
    ) -> Result<u64, Error> {
        let may = match what {
            Wrapped::Epoch(_) => Member::may_read,
            Wrapped::Mailbox(_) => Member::may_answer,
        };
        let _turn = self.turn(by, may)?;
        self.put_wrapped(by, what, version, secret)
    }

    /// Takes it over, in its turn.
    fn put_wrapped(
        &self,
        by: StaffId,
        what: Wrapped,
        version: u32,
        secret: &[u8],
    ) -> Result<u64, Error> {
        if !self.casebook.state().stale().contains(&what) {
            // Somebody else was faster: nothing to enter.
            return Err(Refusal::NotStale.into());
        }
        let checked = self.checked_wrapped(version, secret);
        self.or_refused(by, secret, checked)?;
        let path = self.wrapped_file(what);
        let before = path.with_extension("before.age");
        let keep = || -> io::Result<()> {
            file::replace(&before, &file::read(&path, LONGEST_FILE)?)?;
            step("keys:kept-before");
            file::replace(&path, secret)
        };
        keep().map_err(cannot_write)?;
        step("keys:wrapped-written");
        let (epoch, count) = match what {
            Wrapped::Epoch(epoch) => (Some(epoch), None),
            Wrapped::Mailbox(number) => (None, Some(u64::from(number))),
        };
        let hash = Some(Digest::new(*blake3::hash(secret).as_bytes()));
        let staff = Some(by);
        let entry = self.casebook.entry(Fact::ReWrapped);
        self.casebook.record_fact(Entry { epoch, count, hash, staff, ..entry })
    }

    fn checked_wrapped(&self, version: u32, secret: &[u8]) -> Result<(), Refusal> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        if roster.version != version {
            return Err(Refusal::OtherReaders);
        }
        let readers = roster.readers().count();
        let is_wrapped = secret.len() <= LONGEST_FILE
            && crate::keys::wrapped::stanzas(secret).is_some_and(|count| count > readers);
        if is_wrapped { Ok(()) } else { Err(Refusal::NotWrapped) }
    }

    pub(super) fn wrapped_file(&self, what: Wrapped) -> PathBuf {
        match what {
            Wrapped::Epoch(epoch) => self.dir.join("epochs").join(format!("{}.age", epoch.0)),
            Wrapped::Mailbox(number) => self.dir.join("mailbox").join(format!("{number}.age")),
        }
    }

    /// Removes the wrapped secrets of all epochs that nothing is sealed to and that a newer one
    /// follows. Gives them.
    ///
    /// # Errors
    /// [`Refusal::StillUsed`] if there is none and boxes are why; what the store says.
    pub(super) fn destroy_epochs(&self, by: StaffId) -> Result<Vec<EpochId>, Error> {
        let _turn = self.turn(by, Member::may_administer)?;
        let gone = self.casebook.destroy_epochs(by)?;
        step("keys:destroying-entered");
        self.finish_destroying()?;
        Ok(gone)
    }

    /// Removes the files of epochs that the ledger calls destroyed: also what a crash has left.
    ///
    /// # Errors
    /// What the system says.
    fn finish_destroying(&self) -> Result<(), Error> {
        let destroyed = self.casebook.state().destroyed.clone();
        for epoch in destroyed {
            let path = self.wrapped_file(Wrapped::Epoch(epoch));
            let unnamed = path.with_extension(format!("age{UNNAMED}"));
            for path in [unnamed, path.with_extension("before.age"), path] {
                file::wipe(&path).map_err(cannot_write)?;
            }
        }
        Ok(())
    }

    /// The turn to change keys, if the member still may when it has come: they may have waited for the
    /// change that dropped them.
    fn turn(
        &self,
        by: StaffId,
        may: impl Fn(&Member) -> bool,
    ) -> Result<MutexGuard<'_, ()>, Error> {
        let turn = lock(&self.key_changes);
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let may = roster.members.iter().any(|member| member.id == by && may(member));
        if may { Ok(turn) } else { Err(Error::Forbidden) }
    }

    /// Removes what a crash has left of files that were being put in place, and rosters that never
    /// came into force. What else the ledger does not name yet is put aside: whoever reads the folders
    /// without the ledger must not take it for signed, and the ledger may be one that was set back.
    fn remove_leftovers(&self) -> io::Result<()> {
        let in_force = self.roster.read().unwrap_or_else(PoisonError::into_inner).version;
        let (epoch, mailbox) = {
            let state = self.casebook.state();
            let epoch = state.epoch_notes.keys().max().map_or(0, |epoch| epoch.0);
            (epoch, state.mailbox_notes.keys().max().copied().unwrap_or(0))
        };
        let admin = self.admins().number();
        let known =
            [("roster", in_force), ("epochs", epoch), ("mailbox", mailbox), ("admin", admin)];
        for (folder, highest) in known {
            let listed = match std::fs::read_dir(self.dir.join(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listed => listed?,
            };
            for entry in listed {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let number = name.split('.').next().and_then(|number| number.parse::<u32>().ok());
                let is_later = number.is_some_and(|number| number > highest);
                if name.starts_with('.') || (is_later && folder == "roster") {
                    file::wipe(&path)?;
                } else if is_later && !name.ends_with(UNNAMED) {
                    std::fs::rename(&path, path.with_file_name(name + UNNAMED))?;
                }
            }
        }
        Ok(())
    }

    /// Enters a refusal.
    fn or_refused<T>(
        &self,
        by: StaffId,
        offered: &[u8],
        checked: Result<T, Refusal>,
    ) -> Result<T, Error> {
        let refusal = match checked {
            Ok(taken) => return Ok(taken),
            Err(refusal) => refusal,
        };
        let hash = Some(Digest::new(*blake3::hash(offered).as_bytes()));
        let entry = self.casebook.entry(Fact::KeyChangeRefused);
        self.casebook.record_fact(Entry { hash, staff: Some(by), ..entry })?;
        Err(refusal.into())
    }
}

/// Whether `other` is the same member, who may still do what `member` may with the same key.
fn keeps(member: &Member, other: &Member) -> bool {
    member.id == other.id
        && member.name == other.name
        && member.recipient == other.recipient
        && member.roles.is_subset(&other.roles)
}

fn cannot_write(source: io::Error) -> Error {
    Error::Store(crate::store::Error::Io { what: "writing the keys' files", source })
}

impl Casebook {
    /// Boxes that are sealed to an older epoch than the newest proven one, oldest first, without the
    /// server's layer. A listing: one entry.
    ///
    /// # Errors
    /// What the store says.
    pub fn to_reseal(
        &self,
        staff: StaffId,
        after: Option<(Kind, ItemId)>,
        most: usize,
        with_content: bool,
    ) -> Result<Vec<Opened>, Error> {
        let (records, position) = {
            let state = self.state();
            let newest = state.epoch.ok_or(Error::NoEpoch)?;
            let is_old = |r: &&BoxRecord| !r.forgotten && r.epoch.is_some_and(|e| e < newest);
            let old = state.boxes_after(after).filter(is_old).take(most.min(MOST_RESEALED));
            let records: Vec<BoxRecord> = old.copied().collect();
            (records, state.position())
        };
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.record_fact(Entry {
            staff: Some(staff),
            count: Some(records.len() as u64),
            hash: Some(digest_of(records.iter().map(|r| r.place.item.as_bytes().as_slice()))),
            position: Some(position),
            filter: Some(BOXES_OF_OLDER_EPOCHS),
            ..self.entry(Fact::Listed)
        })?;
        let mut boxes = Vec::with_capacity(records.len());
        let mut bytes = 0;
        for record in &records {
            let opened = self.opened(record)?;
            let inner = opened.inner.as_ref();
            bytes += inner.map_or(0, |inner| inner.sealed.len() + inner.chunks.len() * 32);
            boxes.push(opened);
            // The rest comes with the next question.
            if bytes > RESEALED_BYTES {
                break;
            }
        }
        if with_content {
            // Who is given its chunks looks at an item, whatever for.
            let has_content = |opened: &&Opened| {
                opened.inner.as_ref().is_some_and(|inner| !inner.chunks.is_empty())
            };
            let looked: Vec<Entry> = boxes
                .iter()
                .filter(has_content)
                .map(|opened| Entry {
                    staff: Some(staff),
                    case: Some(opened.case),
                    letter: Some(opened.place.letter),
                    item: Some(opened.place.item),
                    ..self.entry(Fact::Looked)
                })
                .collect();
            if !looked.is_empty() {
                self.commit(Batch::of(looked))?;
            }
        }
        Ok(boxes)
    }

    /// Keeps boxes that a reader sealed anew, each under a new key; the old keys are dropped. One
    /// that was forgotten or sealed anew meanwhile is passed over. Gives how many were kept. With them
    /// what `exchange` took becomes durable.
    ///
    /// # Errors
    /// `Malformed` if one refers to other chunks than before, or is not sealed to the newest epoch;
    /// nothing is kept then.
    pub fn reseal(
        &self,
        staff: StaffId,
        boxes: &[Resealed],
        exchange: Option<&Exchange>,
    ) -> Result<u64, Error> {
        // Nothing is forgotten meanwhile.
        let _turn = lock(&self.acts);
        let (newest, _) = self.epoch()?;
        let mut batch = Batch::default();
        let mut once = HashSet::new();
        for new in boxes {
            if !once.insert((new.kind, new.item)) {
                return Err(Error::Malformed("a box twice"));
            }
            if new.epoch != newest {
                return Err(Error::Malformed("not sealed to the newest epoch"));
            }
            let known = self.state().boxed(new.kind, new.item).copied();
            let record = known.ok_or(Error::Unknown("box"))?;
            if record.forgotten || record.slot != new.slot {
                continue;
            }
            if record.epoch.is_none_or(|epoch| epoch >= newest) {
                return Err(Error::Malformed("the box is not sealed to an older epoch"));
            }
            let before = self.open_box(&record)?.chunks;
            match new.content {
                None if before != new.inner.chunks => {
                    return Err(Error::Malformed("a box that refers to other chunks than before"));
                }
                Some(_) if before.len() != new.inner.chunks.len() => {
                    return Err(Error::Malformed("a box that refers to fewer or more chunks"));
                }
                Some(_) => self.are_there(&new.inner.chunks, exchange)?,
                None => {}
            }
            let sealed = seal::outer(&new.inner, record.place);
            batch.entries.push(Entry {
                staff: Some(staff),
                container: record.container,
                size: Some(record.size),
                ..self.entry_of(
                    Fact::Resealed,
                    record.case,
                    &sealed,
                    new.content.unwrap_or(record.content),
                    Some(newest),
                )
            });
            let slot = Some(record.slot);
            batch.entries.push(Entry { slot, ..self.entry(Fact::SlotDropped) });
            batch.boxes.push(sealed);
        }
        let kept = batch.boxes.len() as u64;
        if kept > 0 {
            if let Some(exchange) = exchange {
                batch.staged.push(exchange.taken()?);
            }
            self.commit(batch)?;
        }
        Ok(kept)
    }

    /// How many boxes are sealed to an older epoch than the newest.
    pub(super) fn old_boxes(&self) -> u64 {
        let state = self.state();
        let kept = state.boxes().filter(|record| !record.forgotten);
        kept.filter(|record| record.epoch.is_some() && record.epoch < state.epoch).count() as u64
    }

    fn are_there(&self, chunks: &[Address], exchange: Option<&Exchange>) -> Result<(), Error> {
        for address in chunks {
            let is_taken = exchange.is_some_and(|exchange| exchange.holds(address));
            if !is_taken && !self.store.has_chunk(address)? {
                return Err(Error::Malformed("a box that refers to chunks that are not there"));
            }
        }
        Ok(())
    }

    /// Enters which epochs are over: older than the newest proven one, and nothing that is kept is
    /// sealed to them.
    fn destroy_epochs(&self, by: StaffId) -> Result<Vec<EpochId>, Error> {
        // No batch is on its way that is sealed to one of them; one that comes later is refused.
        let _alone = self.sealing.write().unwrap_or_else(PoisonError::into_inner);
        let (over, used) = {
            let state = self.state();
            let newest = state.epoch.ok_or(Error::NoEpoch)?;
            let kept = state.boxes().filter(|record| !record.forgotten);
            let mut used: Vec<EpochId> = kept.filter_map(|record| record.epoch).collect();
            let count = used.iter().filter(|epoch| **epoch < newest).count() as u64;
            used.sort_unstable();
            used.dedup();
            let is_over = |epoch: &EpochId| {
                *epoch < newest && !state.destroyed.contains(epoch) && !used.contains(epoch)
            };
            let mut over: Vec<EpochId> =
                state.epoch_notes.keys().copied().filter(is_over).collect();
            over.sort_unstable();
            (over, count)
        };
        if over.is_empty() && used > 0 {
            return Err(Refusal::StillUsed(used).into());
        }
        if !over.is_empty() {
            let entries = over.iter().map(|epoch| Entry {
                epoch: Some(*epoch),
                staff: Some(by),
                ..self.entry(Fact::EpochDestroyed)
            });
            self.commit_alone(Batch::of(entries.collect()))?;
        }
        Ok(over)
    }

    /// The secrets that are to be wrapped anew.
    #[must_use]
    pub fn stale(&self) -> Vec<Wrapped> {
        self.state().stale()
    }

    /// The number that a new member gets.
    pub(super) fn next_member(&self, roster: &Roster) -> StaffId {
        let state = self.state();
        let known = roster.members.iter().map(|member| member.id);
        let highest = known.chain(state.revoked.iter().copied()).max();
        StaffId(highest.map_or(1, |id| id.0.saturating_add(1)))
    }
}
