//! Keeps sealed bytes, the keys that open them, and the ledger; loses nothing it answered for.
//!
//! [`Store::commit`] is the only way to make anything durable, and `commit` states the order once.
//! Packs hold chunks and boxes, the cabinet their keys, the ledger what happened; the index can be
//! thrown away at any moment. Everything here blocks: callers give it threads of their own.
//!
//! The store opens no box but to check that it opens. What a box means is the business of
//! `casebook`. Layouts: vault-format §1, §2, §5, §6.

pub mod bench;
mod cabinet;
mod check;
mod coming;
mod commit;
mod copied;
mod disk;
mod error;
mod frame;
mod get;
mod index;
mod log;
mod mark;
mod opening;
mod packing;
mod packs;
mod peek;
mod plan_file;
mod removal;
mod report;
mod restored;
mod rewrap;
mod rotation;
mod scrub;
mod shared;
#[cfg(test)]
mod simulated;
mod snapshot;
mod staged;
mod staging;
mod unit;

pub use coming::Announced;
pub use commit::{COMMIT_STEPS, FORGET_STEPS, ROTATE_STEPS};
pub use copied::{Copied, is_closed_pack};
pub use disk::{Room, Source, room};
pub use error::{Error, KEEPS_ITS_KEY};
pub use get::{Files, GetError};
pub use opening::Opening;
pub use packs::{PackId, Spot};
pub use peek::{each, newest};
pub use plan_file::PlanFile;
pub use removal::{ClosedPack, Listed, REMOVE_STEPS, Removal, Removed, State};
pub use report::{Harmed, Problem, Remedy, Report};
pub use restored::{
    Cabinet, NewRoster, Pending, REPLAY_STEPS, Replayed, Stated, clear_laid, settle,
};
pub use snapshot::{KeptKey, LedgerFile, PackFile, Snapshot};
pub use staged::Staged;
pub use staging::{PutError, Repeats, Short, ShortPut, Staging, Stored, Writer};

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use zeroize::Zeroizing;

use crate::ids::{Address, Digest, SlotId, VaultId};
use crate::ledger::{Checkpoint, Entry};
use crate::secret::Secret;
use crate::vault;
use crate::vault::chunk::{ChunkKey, SealedChunk};
use crate::vault::seal::SealedBox;
use cabinet::Kept;
use commit::{Job, Work};
use disk::{Disk, File};
use packs::{ReadError, Sort};
use shared::Shared;

/// A slot that no entry names is left out of a rotation when it is older than this, in minutes of
/// the ledger.
const ORPHAN_AFTER: u64 = 7 * 24 * 60;

/// What becomes durable together, or not at all.
#[derive(Default)]
pub struct Batch {
    /// Chunks, from `vault::chunk::seal` or from the staff side.
    pub chunks: Vec<SealedChunk>,
    /// Chunks that were written ahead: see [`Store::staging`].
    pub staged: Vec<Staged>,
    /// Boxes; each is recorded by one of the entries (see [`Entry::of_box`]).
    pub boxes: Vec<SealedBox>,
    /// Keys of the server's own, each for the slot that one of the entries names.
    pub keys: Vec<(SlotId, Secret<[u8; 32]>)>,
    /// What happened; numbered by the store. At least one.
    pub entries: Vec<Entry>,
    /// What told the store that this batch would come.
    pub announced: Option<Announced>,
    /// Whether it may use what is kept back for a full disk: what forgets, looks or decides may,
    /// nothing that comes from outside.
    pub from_reserve: bool,
}

impl Batch {
    /// A batch that says something and keeps nothing: it goes on when the disk is full.
    #[must_use]
    pub fn of(entries: Vec<Entry>) -> Self {
        Self { entries, from_reserve: true, ..Self::default() }
    }

    /// What is kept without an entry could never be found, checked or forgotten.
    fn assert_whole(&self, vault: VaultId) {
        assert!(!self.entries.is_empty(), "a batch says what happened");
        for sealed in &self.boxes {
            let is_recorded = self.entries.iter().any(|entry| {
                entry.boxed == Some(sealed.address())
                    && entry.slot == Some(sealed.slot())
                    && entry.place(vault) == Some(sealed.place())
            });
            assert!(is_recorded, "an entry records each box in its place");
            assert!(sealed.bytes().len() <= packs::MAX_BOX, "a box is at most 96 MiB");
        }
        for (slot, _) in &self.keys {
            let is_named = self.entries.iter().any(|e| e.slot == Some(*slot) && e.fills_slot());
            assert!(is_named, "an entry names the slot of each key");
        }
    }
}

/// Where the entries of a batch stand in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The first.
    pub first_seq: u64,
    /// The last.
    pub last_seq: u64,
}

/// An open vault. Dropping it closes the packs and lets others in.
pub struct Store {
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<Job>>,
    committer: Option<JoinHandle<()>>,
    _lock: File,
}

impl Store {
    /// Makes an empty vault in `dir`, its cabinet key in `cabinet_key_dir`, and opens it. Writes no
    /// entry.
    ///
    /// # Errors
    /// [`Error::Io`] if something of a vault is there already; nothing is overwritten.
    pub fn create(dir: &Path, cabinet_key_dir: &Path, vault: VaultId) -> Result<Self, Error> {
        opening::create(&Disk::Machine, dir, cabinet_key_dir, vault)?;
        Self::open(dir, cabinet_key_dir).map(|(store, _)| store)
    }

    /// Opens a vault: reads the ledger and the cabinet, finishes what a crash interrupted, brings
    /// the index up to date. One process at a time.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::NotAVault`]; [`Error::Damaged`] or [`Error::Later`] with file and
    /// offset where the ledger, the cabinet or its key is not what was written.
    pub fn open(dir: &Path, cabinet_key_dir: &Path) -> Result<(Self, Opening), Error> {
        Self::open_and_show(dir, cabinet_key_dir, &mut |_, _| {})
    }

    /// As [`Store::open`]; shows every entry of the ledger to `visit` as it is read, so that nobody
    /// has to read it again. An entry that finishes an interrupted rotation is not among them.
    ///
    /// # Errors
    /// As [`Store::open`]; entries may have been shown then.
    pub fn open_and_show(
        dir: &Path,
        cabinet_key_dir: &Path,
        visit: &mut dyn FnMut(VaultId, &Entry),
    ) -> Result<(Self, Opening), Error> {
        opening::open(&Disk::Machine, dir, cabinet_key_dir, visit)
    }

    /// The vault's id.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.shared.vault
    }

    /// Says that a batch is being made. Batches that come at the same time share their barriers.
    #[must_use]
    pub fn announce(&self) -> Announced {
        self.shared.coming.announce()
    }

    /// Makes a batch durable, whole or not at all; blocks until it is. Slots that the entries call
    /// forgotten or dropped are dropped before the answer.
    ///
    /// # Errors
    /// [`Error::Full`]: there is no room for it beside the reserve, or none even with it if it may
    /// use that; nothing of the batch counts (but see [`Store::forget`]), and later batches may go
    /// through. [`Error::Io`], [`Error::Dead`]: this process keeps nothing any more.
    ///
    /// # Panics
    /// If the batch has no entry, or a box or key that none of its entries records, or a part of a
    /// staging before an earlier part.
    pub fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        batch.assert_whole(self.shared.vault);
        batch.staged.iter().for_each(|staged| staged.hand_in(&self.shared));
        let work = Work::of(batch);
        // Held until the answer: what is admitted and what is written count together.
        let _admitted =
            if work.from_reserve { None } else { Some(self.shared.reserve.admit(work.room())?) };
        self.ask(|reply| Job::Commit(work, reply))
    }

    /// Begins to write content ahead of the commit that will name it: content of any size, in
    /// constant memory.
    #[must_use]
    pub fn staging(&self, repeats: Repeats) -> Staging<'_> {
        Staging::new(Some(Arc::clone(&self.shared)), repeats)
    }

    /// The same for whoever keeps it beside the store: it must be dropped before.
    #[must_use]
    pub fn lasting_staging(&self, repeats: Repeats) -> Staging<'static> {
        Staging::new(Some(Arc::clone(&self.shared)), repeats)
    }

    /// Keeps at least so many bytes back for the day when the disk is full, or twice the cabinet;
    /// as soon as there is room for them. Ask again now and then: the cabinet grows.
    pub fn keep_reserve(&self, least: u64) {
        let cabinet = self.shared.slots().end;
        self.shared.reserve.keep(least, cabinet);
    }

    /// The room on the disk.
    #[must_use]
    pub fn room(&self) -> Room {
        self.shared.reserve.room(0)
    }

    /// Refuses now what would be refused at its commit: `bytes` from outside, about.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn expect_room(&self, bytes: u64) -> Result<(), Error> {
        self.shared.reserve.admit(bytes).map(drop)
    }

    /// Records what is forgotten, durably, then drops the slots, durably. A crash between the two
    /// is made good at the next start.
    ///
    /// # Errors
    /// As [`Store::commit`]. After [`Error::Full`] the entries may be durable and the keys gone
    /// from memory; the drop is then made up for by the next batch or the next start.
    ///
    /// # Panics
    /// If one of `slots` is in no entry of the kind `Forgotten` or `SlotDropped`.
    pub fn forget(&self, entries: Vec<Entry>, slots: &[SlotId]) -> Result<Committed, Error> {
        for slot in slots {
            let is_named = entries.iter().any(|e| e.empties_slot() && e.slot == Some(*slot));
            assert!(is_named, "an entry names each slot to drop");
        }
        self.commit(Batch::of(entries))
    }

    /// Gives the cabinet a new key and destroys the old one: what was dropped dies in every copy.
    /// Slots that no entry names are left out once they are seven days older than the newest entry.
    /// What is committed meanwhile waits for the end of it alone. Whoever asks while a rotation is
    /// under way waits for it, and for the next one.
    ///
    /// # Errors
    /// After [`Error::NotRotated`] all is as before. Else as [`Store::commit`].
    pub fn rotate_cabinet(&self, minute: u64) -> Result<Committed, Error> {
        self.rotate_beside(minute, &|| {})
    }

    /// As [`Store::rotate_cabinet`]; `meanwhile` is called again and again while slots are copied.
    fn rotate_beside(&self, minute: u64, meanwhile: &dyn Fn()) -> Result<Committed, Error> {
        if self.is_dead() {
            return Err(Error::Dead);
        }
        let rotate = || {
            let next = rotation::prepare(&self.shared, &self.orphans()?, meanwhile)?;
            let next = Box::new(next);
            self.ask(|reply| Job::Switch { minute, next, reply })
        };
        self.shared.rotations.take(|| {
            rotate().map_err(|error| {
                // After the switch, or if a commit failed meanwhile, the next start sees to it.
                if self.is_dead() {
                    return error;
                }
                rotation::give_up(&self.shared.cabinet_place, &self.shared.slots);
                Error::NotRotated(Box::new(error))
            })
        })
    }

    /// Slots left by a crash between cabinet and ledger. One this old cannot be named any more.
    fn orphans(&self) -> Result<HashSet<SlotId>, Error> {
        // Then the ledger need not be read.
        if self.shared.unnamed.load(Ordering::Acquire) == 0 {
            return Ok(HashSet::new());
        }
        let newest = self.shared.history().newest_minute;
        // In an old vault these are nearly all of them: no set is made while others wait.
        let old: Vec<SlotId> = {
            let slots = self.shared.slots();
            let is_old = |kept: &Kept| kept.minute.saturating_add(ORPHAN_AFTER) <= newest;
            slots.kept.iter().filter(|(_, kept)| is_old(kept)).map(|(id, _)| *id).collect()
        };
        let mut orphans: HashSet<SlotId> = old.into_iter().collect();
        // Asked afterwards: where the clock was set back, a slot may just have come and be old.
        let size = self.size();
        if !orphans.is_empty() {
            self.shared.each_entry(0..size, |_, bytes| {
                if let Some(slot) = Entry::from_bytes(bytes).ok().and_then(|entry| entry.slot) {
                    orphans.remove(&slot);
                }
                Ok(())
            })?;
        }
        Ok(orphans)
    }

    fn ask(
        &self,
        job: impl FnOnce(mpsc::SyncSender<Result<Committed, Error>>) -> Job,
    ) -> Result<Committed, Error> {
        if self.is_dead() {
            return Err(Error::Dead);
        }
        let (reply, answer) = mpsc::sync_channel(1);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job(reply)).is_ok());
        let answer = if sent { answer.recv().ok() } else { None };
        answer.unwrap_or_else(|| {
            self.shared.dead.store(true, Ordering::Release);
            Err(Error::Dead)
        })
    }

    /// Whether a failed write has ended this store: the process should end, too, and be started
    /// again.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.shared.dead.load(Ordering::Acquire)
    }

    /// How many pairs of barriers (packs and cabinet, then ledger) there were.
    #[must_use]
    pub fn barriers(&self) -> u64 {
        self.shared.barriers.load(Ordering::Relaxed)
    }

    /// The bytes of a box, as they were sealed.
    ///
    /// # Errors
    /// [`vault::Error::Missing`]; [`Error::Damaged`] with file and offset.
    pub fn read_box(&self, address: &Address) -> Result<Vec<u8>, Error> {
        let packs = &self.shared.packs;
        let read = |spot: Spot| {
            let bytes = packs.read(spot, *address, Sort::Boxes)?;
            if blake3::hash(&bytes).as_bytes() == address.as_bytes() {
                Ok(bytes)
            } else {
                let what = "a box that is not the one of its address";
                Err(ReadError::Failed(Error::damaged(&packs.path(spot.pack), spot.offset, what)))
            }
        };
        self.shared.find(*address, read)
    }

    /// The bytes of a chunk, with a true checksum; its key proves the rest.
    ///
    /// # Errors
    /// [`vault::Error::Missing`]; [`Error::Damaged`] with file and offset.
    pub fn read_chunk(&self, address: &Address) -> Result<Vec<u8>, Error> {
        let read = |spot| self.shared.packs.read(spot, *address, Sort::Chunks);
        self.shared.find(*address, read)
    }

    /// Reads a sealed chunk into `buffer`, of [`chunk::RECORD`](crate::vault::chunk::RECORD) bytes, and
    /// says where in it ciphertext ‖ tag lie. `files` keeps packs open between calls.
    ///
    /// # Errors
    /// As [`Store::read_chunk`].
    pub fn read_chunk_into(
        &self,
        files: &Files,
        address: &Address,
        buffer: &mut [u8],
    ) -> Result<Range<usize>, Error> {
        get::read(&self.shared, files, *address, buffer)
    }

    /// Gives content of `length` bytes that was sealed under `keys` to `sink`, in order, piece by
    /// piece, on every core and in constant memory. Every piece was checked before.
    ///
    /// # Errors
    /// What [`Store::read_chunk`] says, and `Tampered` from the vault where a chunk does not hold;
    /// what `sink` says. `sink` may have got a true beginning of the content then.
    pub fn get(
        &self,
        keys: &[ChunkKey],
        length: u64,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), GetError> {
        get::get(&self.shared, keys, length, staging::workers(), sink)
    }

    /// Whether there is a chunk at this address.
    ///
    /// # Errors
    /// Only where the system refuses.
    pub fn has_chunk(&self, address: &Address) -> Result<bool, Error> {
        self.shared.has(*address)
    }

    /// The key in a slot of the cabinet.
    ///
    /// # Errors
    /// [`vault::Error::NoKey`] if it was dropped or never there, [`vault::Error::Tampered`] if the
    /// slot does not open.
    pub fn box_key(&self, slot: SlotId) -> Result<Zeroizing<[u8; 32]>, Error> {
        self.shared.slots().open(slot)
    }

    /// Entries from `from` on, at most `most`.
    ///
    /// # Errors
    /// [`Error::Damaged`] with file and offset.
    pub fn entries(&self, from: u64, most: usize) -> Result<Vec<Entry>, Error> {
        let bytes = self.shared.entry_bytes(from, most)?;
        bytes
            .iter()
            .map(|bytes| Entry::from_bytes(bytes).map_err(|_| vault::Error::Tampered.into()))
            .collect()
    }

    /// The exact bytes of entries from `from` on, at most `most`: what `ledger::audit` reads.
    ///
    /// # Errors
    /// [`Error::Damaged`] with file and offset.
    pub fn entry_bytes(&self, from: u64, most: usize) -> Result<Vec<Vec<u8>>, Error> {
        self.shared.entry_bytes(from, most)
    }

    /// Number of entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.history().tree.size()
    }

    /// The newest entry that says how far a sweep came: `SweepPlanned` or `Swept`.
    #[must_use]
    pub fn newest_sweep(&self) -> Option<Entry> {
        self.shared.history().sweep.clone()
    }

    /// The root of the tree at `size` entries; nothing if there never were so many.
    #[must_use]
    pub fn root(&self, size: u64) -> Option<Digest> {
        self.shared.history().tree.root(size)
    }

    /// Proof that entry `index` is among the first `size`.
    #[must_use]
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        self.shared.history().tree.inclusion(index, size)
    }

    /// Proof that the ledger of `size` entries extends that of `earlier`.
    #[must_use]
    pub fn consistency(&self, earlier: u64, size: u64) -> Option<Vec<Digest>> {
        self.shared.history().tree.consistency(earlier, size)
    }

    /// The signed head of the ledger as it is now.
    ///
    /// # Errors
    /// [`vault::Error::NoKey`] if the ledger names no checkpoint key, or its slot is empty.
    pub fn checkpoint(&self) -> Result<String, Error> {
        let (key, checkpoint) = {
            let history = self.shared.history();
            let size = history.tree.size();
            let root = history.tree.root(size).ok_or(vault::Error::Missing)?;
            (history.checkpoint_key, Checkpoint { vault: self.shared.vault, size, root })
        };
        let (slot, _) = key.ok_or(vault::Error::NoKey)?;
        let seed = self.box_key(slot)?;
        Ok(checkpoint.sign(&seed))
    }

    /// Checks everything that can be checked without staff: every record, frame and slot, the tree,
    /// the index, and that every box opens its outer layer and has its chunks. Repairs nothing but
    /// the index, and that only if `rebuild`. `progress` is told bytes done and bytes in all.
    ///
    /// # Errors
    /// Only where the system refuses; what is wrong with the vault is in the report.
    pub fn check(
        &self,
        rebuild: bool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Report, Error> {
        check::run(&self.shared, rebuild, progress)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(committer) = self.committer.take() {
            let ended = committer.join();
            debug_assert!(ended.is_ok() || std::thread::panicking(), "the committer never panics");
        }
    }
}

/// The default place of the cabinet key: `DIR.cabinet-key` beside `DIR`.
#[must_use]
pub fn default_cabinet_key_dir(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".cabinet-key");
    PathBuf::from(name)
}
