//! What a backup copies: the ledger as it is at one moment, and the packs that hold all it names.
//!
//! Taken by the committer between two groups, so that nothing is half done in it. Packs that are open
//! are closed for it: then each is copied once and never again. What is done with the files is the
//! business of `upkeep`.

use std::path::PathBuf;
use std::sync::mpsc;

use zeroize::Zeroizing;

use super::commit::{Committer, Job};
use super::packs::{Closing, PackId, Packs};
use super::{Error, Store};
use crate::ids::{Digest, SlotId};
use crate::vault;

/// A vault at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Entries in the ledger.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
    /// The files of the ledger, in order.
    pub ledger: Vec<LedgerFile>,
    /// Every pack that counted, and how far an open one did.
    packs: Vec<(PackId, Option<u64>)>,
}

/// A file of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerFile {
    /// Its first entry, which it is named after.
    pub first: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes that belong to the snapshot.
    pub length: u64,
}

/// A pack that belongs to a snapshot.
#[derive(Clone, Debug)]
pub struct PackFile {
    /// Its name.
    pub id: PackId,
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes that count.
    pub length: u64,
    /// It has its table and never grows.
    pub is_closed: bool,
}

/// A key of the cabinet.
pub struct KeptKey {
    /// When its slot was added, in minutes since 1970.
    pub minute: u64,
    /// The key.
    pub key: Zeroizing<[u8; 32]>,
}

impl Committer {
    /// How all stands. Where there is no room to close a pack it stays open, and counts as far as it
    /// did.
    pub(super) fn snapshot(&mut self, closes: bool) -> Result<Snapshot, Error> {
        if closes {
            match self.close() {
                Err(Error::Full) => self.index(&[]),
                closed => closed?,
            }
        }
        let (last, end) = self.ledger.end();
        let place = &self.shared.log_place;
        let mut ledger = Vec::new();
        for first in place.files()?.into_iter().filter(|&first| first <= last) {
            let path = place.path(first);
            let length = if first == last {
                end
            } else {
                let file = place.disk.open_to_read(&path).and_then(|file| file.length());
                file.map_err(Error::io("the ledger cannot be read"))?
            };
            ledger.push(LedgerFile { first, path, length });
        }
        let packs = self.shared.packs.list()?;
        let packs = packs.into_iter().map(|id| (id, self.shared.limit(id))).collect();
        let history = self.shared.history();
        let size = history.tree.size();
        let root = history.tree.root(size).ok_or(vault::Error::Missing)?;
        Ok(Snapshot { size, root, ledger, packs })
    }
}

impl Store {
    /// The vault as it is now. With `closes` open packs get their tables first; letters wait as long
    /// as for one of their own.
    ///
    /// # Errors
    /// Where the system refuses; a failed barrier ends the store.
    pub fn snapshot(&self, closes: bool) -> Result<Snapshot, Error> {
        if self.is_dead() {
            return Err(Error::Dead);
        }
        let (reply, answer) = mpsc::sync_channel(1);
        let job = Job::Snapshot(closes, reply);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        let answer = if sent { answer.recv().ok() } else { None };
        answer.unwrap_or(Err(Error::Dead))
    }

    /// The packs of a snapshot that are still there, by name. One that is gone was removed by a sweep:
    /// nothing refers to it.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn packs_of(&self, snapshot: &Snapshot) -> Result<Vec<PackFile>, Error> {
        let packs = &self.shared.packs;
        let mut files = Vec::with_capacity(snapshot.packs.len());
        for &(id, limit) in &snapshot.packs {
            let Some((file, length)) = packs.open_if_there(id)? else { continue };
            let path = packs.path(id);
            let closing = Packs::closing(&file, length).map_err(|bad| bad.at(&path, 0))?;
            match (closing, limit) {
                (Closing::Table { .. }, _) => {
                    files.push(PackFile { id, path, length, is_closed: true });
                }
                (Closing::Open, Some(limit)) => {
                    let length = limit.min(length);
                    files.push(PackFile { id, path, length, is_closed: false });
                }
                // Nothing in it is committed.
                (Closing::Open, None) => {}
            }
        }
        Ok(files)
    }

    /// The key in a slot; nothing if it is not there any more.
    ///
    /// # Errors
    /// [`vault::Error::Tampered`] if the slot does not open.
    pub fn kept_key(&self, slot: SlotId) -> Result<Option<KeptKey>, Error> {
        let slots = self.shared.slots();
        let Some(kept) = slots.kept.get(&slot) else { return Ok(None) };
        Ok(Some(KeptKey { minute: kept.minute, key: slots.open(slot)? }))
    }
}
