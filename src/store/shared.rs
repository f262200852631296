//! What the committer and the readers share, and how a reader finds a record.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::coming::Coming;
use super::disk::Reserve;
use super::index::Index;
use super::packs::{PackId, Packs, ReadError, Sort, Spot};
use super::{Error, cabinet, log, rotation};
use crate::ids::{Address, VaultId};
use crate::vault;

/// Entries read at once where all are read.
const READ_AT_ONCE: usize = 4096;

/// What the committer and the readers share.
pub(super) struct Shared {
    pub(super) vault: VaultId,
    pub(super) cabinet_place: cabinet::Place,
    pub(super) log_place: log::Place,
    pub(super) slots: RwLock<cabinet::Slots>,
    pub(super) history: RwLock<log::History>,
    pub(super) packs: Packs,
    /// How far each pack written by this process counts.
    pub(super) reached: Mutex<HashMap<PackId, u64>>,
    pub(super) index: Index,
    pub(super) coming: Arc<Coming>,
    pub(super) rotations: rotation::Turns,
    /// Slots that no entry named when the vault was opened: this process leaves none.
    pub(super) unnamed: AtomicU64,
    pub(super) reserve: Reserve,
    /// Held while the index takes in what was staged and is committed.
    pub(super) indexing: RwLock<()>,
    pub(super) dead: AtomicBool,
    pub(super) barriers: AtomicU64,
}

impl Shared {
    pub(super) fn slots(&self) -> RwLockReadGuard<'_, cabinet::Slots> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn slots_mut(&self) -> RwLockWriteGuard<'_, cabinet::Slots> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn history(&self) -> RwLockReadGuard<'_, log::History> {
        self.history.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn history_mut(&self) -> RwLockWriteGuard<'_, log::History> {
        self.history.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on whoever looks for a record waits until this is dropped.
    pub(super) fn indexing(&self) -> RwLockWriteGuard<'_, ()> {
        self.indexing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the index knows everything that was answered.
    pub(super) fn wait_for_index(&self) {
        drop(self.indexing.read().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn reach(&self, ends: &[(PackId, u64)]) {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).extend(ends.iter().copied());
    }

    pub(super) fn limit(&self, pack: PackId) -> Option<u64> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).get(&pack).copied()
    }

    /// Asks the index with `answer`, checks what it says, makes it again once if it is in doubt.
    /// Where the copy that it names is damaged, another one answers if there is one.
    pub(super) fn find<T>(
        &self,
        address: Address,
        mut answer: impl FnMut(Spot) -> Result<T, ReadError>,
    ) -> Result<T, Error> {
        let mut asked = None;
        loop {
            let remade = self.index.remade();
            self.wait_for_index();
            let found = self.index.spot(address);
            if let Ok(Some(spot)) = found
                && asked != Some(spot)
            {
                match answer(spot) {
                    Ok(value) => return Ok(value),
                    Err(ReadError::Failed(error)) => {
                        let other = self.search(address, Some(spot), answer);
                        return other.ok().flatten().ok_or(error);
                    }
                    // A sweep may just have pointed the index to another copy: asked once more.
                    Err(ReadError::Elsewhere | ReadError::Dead) => {
                        asked = Some(spot);
                        continue;
                    }
                }
            }
            if self.index.rebuild_once(remade, &self.packs, &|pack| self.limit(pack))? {
                asked = None;
                continue;
            }
            let missing = vault::Error::Missing.into();
            return match found {
                Ok(None) => Err(missing),
                Ok(Some(spot)) => match self.search(address, Some(spot), &mut answer)? {
                    Some(value) => Ok(value),
                    None => Err(match answer(spot) {
                        Err(ReadError::Elsewhere) => self.packs.doubt(spot),
                        _ => missing,
                    }),
                },
                Err(_) => self.search(address, None, answer)?.ok_or(missing),
            };
        }
    }

    /// Whether the index knows a chunk of this address, or a pack holds one where the index is
    /// wrong or not there.
    pub(super) fn has(&self, address: Address) -> Result<bool, Error> {
        let stands = |spot| match self.packs.stands(spot, address, Sort::Chunks) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ReadError::Elsewhere),
            Err(error) => Err(ReadError::Failed(error)),
        };
        self.wait_for_index();
        match self.index.spot(address) {
            Ok(None) => Ok(false),
            Ok(Some(spot)) => match stands(spot) {
                Ok(()) => Ok(true),
                Err(ReadError::Failed(error)) => {
                    let other = self.search(address, Some(spot), stands)?;
                    other.map(|()| true).ok_or(error)
                }
                Err(_) => Ok(self.search(address, Some(spot), stands)?.is_some()),
            },
            Err(_) => Ok(self.search(address, None, stands)?.is_some()),
        }
    }

    /// Looks through every pack for a record that answers, but the one that the index names, which
    /// did not: the way that is left when the index cannot help. The index learns what was found.
    fn search<T>(
        &self,
        address: Address,
        named: Option<Spot>,
        mut answer: impl FnMut(Spot) -> Result<T, ReadError>,
    ) -> Result<Option<T>, Error> {
        let mut answered = None;
        let mut failed = None;
        for pack in self.packs.list()? {
            let mut ask = |found, spot| {
                if found == address && Some(spot) != named && answered.is_none() {
                    match answer(spot) {
                        Ok(value) => answered = Some((value, spot)),
                        Err(ReadError::Failed(error)) => failed = Some(error),
                        Err(ReadError::Elsewhere | ReadError::Dead) => {}
                    }
                }
                Ok(())
            };
            self.packs.each(pack, self.limit(pack), &mut ask)?;
            if answered.is_some() {
                break;
            }
        }
        match (answered, failed) {
            (Some((value, spot)), _) => {
                if let Some(named) = named {
                    let _ = self.index.replace(address, named, Some(spot));
                }
                Ok(Some(value))
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Shows these entries to `visit`, with their exact bytes.
    pub(super) fn each_entry(
        &self,
        range: Range<u64>,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut seq = range.start;
        while seq < range.end {
            let some = self.entry_bytes(seq, READ_AT_ONCE.min((range.end - seq) as usize))?;
            if some.is_empty() {
                return Ok(());
            }
            for bytes in some {
                visit(seq, &bytes)?;
                seq += 1;
            }
        }
        Ok(())
    }

    pub(super) fn entry_bytes(&self, from: u64, most: usize) -> Result<Vec<Vec<u8>>, Error> {
        let mut entries = Vec::new();
        let mut at = from;
        let mut file = None;
        while entries.len() < most {
            let place = {
                let history = self.history();
                if at >= history.tree.size() {
                    break;
                }
                history.frames_from(at)[0]
            };
            let frame = self.log_place.read(place, &mut file)?;
            let before = entries.len();
            let skip = (at - place.first) as usize;
            entries.extend(frame.into_iter().skip(skip).take(most - entries.len()));
            at += (entries.len() - before) as u64;
            if entries.len() == before {
                break;
            }
        }
        Ok(entries)
    }
}
