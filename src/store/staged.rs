//! The packs of a staging, from the first unit to the commit that names them (vault-format §2).
//!
//! A [`Pack`] takes units until it is full, a [`Closed`] one waits, a [`Staged`] lot is what one
//! batch names: the committer makes it durable, and from the ledger frame on it stays. Dropped
//! before, it is removed.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Error;
use super::disk::{Durable, File};
use super::frame::{self, Header};
use super::packs::{PackId, Packs, ROW, Sort, Spot, UNIT, closing_bytes, put_row};
use super::shared::Shared;
use super::staging::Repeats;
use super::unit::Row;
use crate::ids::Address;

/// Content for which room in a pack is asked for ahead, in bytes.
const RESERVES: u64 = 8 << 20;

/// What the parts of one staging share.
pub(super) struct Run {
    pub(super) repeats: Repeats,
    /// Parts handed to the committer so far.
    pub(super) committing: AtomicU64,
    /// Why nothing more of it may be committed.
    pub(super) failed: Mutex<Option<Error>>,
    /// Packs that later content may rest on, and where they are held.
    pub(super) rests_on: Mutex<Vec<PackId>>,
    pub(super) packs: Option<Packs>,
}

impl Run {
    /// Has no sweep judge a pack of this staging before its last part is committed or dropped.
    fn hold(&self, packs: &Packs, id: PackId) {
        if self.repeats == Repeats::Skip {
            packs.hold(id);
            lock(&self.rests_on).push(id);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(packs) = &self.packs {
            packs.let_go(&lock(&self.rests_on));
        }
    }
}

/// A pack being written.
pub(super) struct Pack {
    pub(super) id: PackId,
    pub(super) file: Arc<File>,
    /// Where the next unit goes.
    pub(super) end: u64,
    pub(super) rows: Vec<(Address, Spot)>,
    /// Units that have a place here and are not written yet.
    pub(super) in_flight: usize,
}

/// A whole pack that no commit has named yet.
pub(super) struct Closed {
    pub(super) id: PackId,
    pub(super) file: File,
    pub(super) end: u64,
    pub(super) is_durable: bool,
}

impl Pack {
    /// A fresh pack; so many bytes of content are known to come.
    pub(super) fn begin(shared: &Shared, run: &Run, expected: u64) -> Result<Self, Error> {
        let packs = &shared.packs;
        let id = PackId(packs.disk().new_name());
        packs.set_apart(id);
        run.hold(packs, id);
        let address = frame::file_address(packs.vault(), 0, 0);
        let head = Header::of(Sort::Chunks.pack(), &address, &[]);
        let file = packs.disk().create(&packs.path(id))?;
        file.write_all_at(&head, 0)
            .map_err(Error::write("a pack cannot be begun"))
            .inspect_err(|_| remove(shared, id))?;
        file.go_direct(true);
        if expected >= RESERVES {
            file.reserve((UNIT + expected + expected / 64).min(packs.close_at()));
        }
        Ok(Self { id, file: Arc::new(file), end: UNIT, rows: Vec::new(), in_flight: 0 })
    }

    /// Adds the table and the end, once what they speak of is durable: whoever finds them after a
    /// crash believes them.
    pub(super) fn close(mut self, shared: &Shared) -> Result<Closed, Error> {
        self.rows.sort_unstable_by_key(|(_, spot)| spot.offset);
        let mut rows = Vec::with_capacity(self.rows.len() * ROW);
        for (address, spot) in &self.rows {
            put_row(&mut rows, *address, *spot);
        }
        let bytes = closing_bytes(self.end, &rows);
        let file = Arc::into_inner(self.file).expect("nothing is in flight");
        file.go_direct(false);
        // Room that was asked for and not used.
        file.set_len(self.end).map_err(Error::write("a pack cannot be closed"))?;
        make_durable(&file, shared)?;
        file.write_all_at(&bytes, self.end).map_err(Error::write("a pack cannot be closed"))?;
        let end = self.end + bytes.len() as u64;
        Ok(Closed { id: self.id, file, end, is_durable: false })
    }
}

/// Writes a unit, past the page cache if the file system takes that.
pub(super) fn write_unit(file: &File, unit: &[u8], offset: u64) -> Result<(), Error> {
    let written = match file.write_all_at(unit, offset) {
        // The flag was taken and the write is not: a larger alignment than ours, say.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            file.go_direct(false);
            file.write_all_at(unit, offset)
        }
        written => written,
    };
    written.map_err(Error::write("a pack cannot be written"))
}

impl Closed {
    /// Makes the pack durable, once. A failure is final for the whole store.
    pub(super) fn sync(&mut self, shared: &Shared) -> Result<(), Error> {
        if !self.is_durable {
            make_durable(&self.file, shared)?;
            self.is_durable = true;
        }
        Ok(())
    }
}

/// Closed packs that wait for the batch that names them. Dropped without one, they are removed.
pub struct Staged {
    pub(super) number: u64,
    pub(super) packs: Vec<Closed>,
    pub(super) place: Option<Arc<Shared>>,
    pub(super) run: Arc<Run>,
    /// The ledger may name what is in here.
    pub(super) is_named: bool,
}

impl Staged {
    /// Notes that it is handed to the committer.
    ///
    /// # Panics
    /// If an earlier part of the staging was not.
    pub(super) fn hand_in(&self, shared: &Arc<Shared>) {
        let is_ours = self.place.as_ref().is_some_and(|place| Arc::ptr_eq(place, shared));
        assert!(is_ours, "what is staged belongs to this store");
        let before = self.run.committing.fetch_add(1, Ordering::AcqRel);
        assert!(before == self.number, "parts of a staging are committed in their order");
    }

    /// Whether the ledger may name what is in here. Then it stays, whatever happens.
    pub(super) fn keep(&mut self, is_named: bool) {
        self.is_named = is_named;
    }

    /// Takes the packs among those of the vault, and into the index.
    pub(super) fn settle(self, shared: &Shared) {
        for pack in &self.packs {
            shared.reach(&[(pack.id, pack.end)]);
            if shared.index.take_in(&shared.packs, pack.id, Some(pack.end)).is_err() {
                tracing::warn!("the index lacks a pack; it is made again when it is asked");
                // It would say of what is committed that it is not there.
                shared.index.close();
            }
            shared.packs.count_in(pack.id);
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(shared) = self.place.as_ref().filter(|_| !self.is_named) else { return };
        // What was left out because it is in here is nowhere now.
        if self.run.repeats == Repeats::Skip {
            lock(&self.run.failed).get_or_insert(crate::vault::Error::Missing.into());
        }
        for pack in &self.packs {
            remove(shared, pack.id);
        }
    }
}

/// Makes packs durable, and then their names.
pub(super) fn sync(packs: &Packs, staged: &mut [Staged]) -> Result<(), Error> {
    for part in staged.iter_mut() {
        if let Some(error) = lock(&part.run.failed).as_ref() {
            return Err(error.again());
        }
        if let Some(shared) = part.place.as_deref() {
            part.packs.iter_mut().try_for_each(|pack| pack.sync(shared))?;
        }
    }
    if staged.is_empty() { Ok(()) } else { packs.disk().sync_dir(packs.dir()) }
}

/// Removes a pack that nothing names; it stays apart for whoever read its name before. What cannot
/// be removed is found at the next start; there must be one, for a barrier that failed may have
/// taken with it the name of a pack that is committed next.
pub(super) fn remove(shared: &Shared, id: PackId) {
    let packs = &shared.packs;
    if let Err(error) = packs.disk().remove(&packs.path(id)) {
        tracing::warn!(%error, "what was staged stays behind");
        shared.dead.store(true, Ordering::Release);
    }
}

/// Makes a pack durable. A failure is final for the whole store.
fn make_durable(file: &File, shared: &Shared) -> Result<(), Error> {
    file.sync(Durable::Packs).inspect_err(|_| shared.dead.store(true, Ordering::Release))
}

pub(super) fn row_at(row: &Row, pack: PackId, offset: u64) -> (Address, Spot) {
    let offset = offset + row.offset as u64;
    (row.address, Spot { pack, offset, length: row.length as u64 })
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
