//! What the committer and the readers share, and how a reader finds a record.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::coming::Coming;
use super::index::Index;
use super::packs::{PackId, Packs, ReadError, Spot};
use super::{Error, cabinet, log};
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

    pub(super) fn reach(&self, ends: &[(PackId, u64)]) {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).extend(ends.iter().copied());
    }

    pub(super) fn limit(&self, pack: PackId) -> Option<u64> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).get(&pack).copied()
    }

    /// Asks the index with `answer`, checks what it says, makes it again once if it is in doubt.
    pub(super) fn find<T>(
        &self,
        address: Address,
        mut answer: impl FnMut(Spot) -> Result<T, ReadError>,
    ) -> Result<T, Error> {
        loop {
            let remade = self.index.remade();
            let found = self.index.spot(address);
            if let Ok(Some(spot)) = found {
                match answer(spot) {
                    Ok(value) => return Ok(value),
                    Err(ReadError::Failed(error)) => return Err(error),
                    Err(ReadError::Elsewhere) => {}
                }
            }
            if self.index.rebuild_once(remade, &self.packs, &|pack| self.limit(pack))? {
                continue;
            }
            let spot = if found.is_err() { self.search(address)? } else { None };
            return match spot.map(answer) {
                Some(Ok(value)) => Ok(value),
                Some(Err(ReadError::Failed(error))) => Err(error),
                _ => Err(vault::Error::Missing.into()),
            };
        }
    }

    /// Whether the index knows a record of this address, or a pack holds one if there is no index.
    pub(super) fn has(&self, address: Address) -> Result<bool, Error> {
        match self.index.spot(address) {
            Ok(spot) => Ok(spot.is_some()),
            Err(_) => Ok(self.search(address)?.is_some()),
        }
    }

    /// Looks through every pack: the way that is left when there is no index.
    fn search(&self, address: Address) -> Result<Option<Spot>, Error> {
        let mut spot = None;
        for pack in self.packs.list()? {
            self.packs.each(pack, self.limit(pack), &mut |found, place| {
                if found == address {
                    spot = Some(place);
                }
                Ok(())
            })?;
        }
        Ok(spot)
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
