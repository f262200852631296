//! What a first sweep leaves for the second: one frame in `DIR/sweep.plan` (vault-format §2).
//!
//! Written beside and renamed, so that it is whole or not there. What it says is the business of
//! `upkeep`; that it counts is said by the ledger, which has its hash.

use std::path::PathBuf;

use super::disk::{Durable, parent};
use super::frame::{self, Frame, Type, Walk};
use super::{Error, Store};
use crate::ids::Digest;
use crate::lab::step;

/// The plan of a sweep as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFile {
    /// BLAKE3 of the whole file.
    pub hash: Digest,
    /// What `upkeep` wrote.
    pub payload: Vec<u8>,
}

impl Store {
    /// Writes a plan down, durably, in place of the one that was there; gives the hash of its file.
    /// On a full disk the reserve is let go for it.
    ///
    /// # Errors
    /// [`Error::Full`]: there is no room even so, and the plan that was there still is. Any other
    /// ends the store.
    pub fn keep_plan(&self, payload: &[u8]) -> Result<Digest, Error> {
        match self.try_keep_plan(payload) {
            Err(Error::Full) => Err(Error::Full),
            kept => self.or_stop(kept),
        }
    }

    fn try_keep_plan(&self, payload: &[u8]) -> Result<Digest, Error> {
        let disk = self.shared.packs.disk();
        let mut bytes = Vec::with_capacity(frame::HEADER + payload.len());
        let address = frame::file_address(self.vault(), 0, 0);
        frame::put(&mut bytes, Type::SweepPlan, &address, payload);
        let (path, written) = (self.plan_path(), self.plan_path().with_extension("new"));
        // What is half written is in the way of everything else that needs room.
        let clear = || if disk.exists(&written)? { disk.remove(&written) } else { Ok(()) };
        let write = || {
            clear()?;
            disk.create_with(&written, &bytes, Durable::Plan).map(drop)
        };
        let mut kept = write();
        // A sweep gives room back: the reserve is for it, too.
        if matches!(kept, Err(Error::Full)) && self.shared.reserve.release()? {
            kept = write();
        }
        if matches!(kept, Err(Error::Full)) {
            clear()?;
        }
        kept?;
        disk.rename(&written, &path).map_err(Error::io("a plan cannot be kept"))?;
        disk.sync_dir(parent(&path))?;
        step("sweep:planned");
        Ok(Digest::new(*blake3::hash(&bytes).as_bytes()))
    }

    /// The plan that was written down, if there is a true one.
    ///
    /// # Errors
    /// Only where the system refuses: a damaged plan is none.
    pub fn plan(&self) -> Result<Option<PlanFile>, Error> {
        let (disk, path) = (self.shared.packs.disk(), self.plan_path());
        if !disk.exists(&path)? {
            return Ok(None);
        }
        let bytes = disk.read(&path)?;
        let address = frame::file_address(self.vault(), 0, 0);
        let is_plan =
            |f: &Frame<'_>| f.header.kind == Type::SweepPlan && f.header.address == address;
        let frame = Walk::new(&bytes).next().ok().flatten().filter(is_plan);
        Ok(frame.map(|frame| PlanFile {
            hash: Digest::new(*blake3::hash(&bytes).as_bytes()),
            payload: frame.payload.to_vec(),
        }))
    }

    /// Removes the plan, if there is one.
    ///
    /// # Errors
    /// Only where the system refuses; that ends the store.
    pub fn drop_plan(&self) -> Result<(), Error> {
        let (disk, path) = (self.shared.packs.disk(), self.plan_path());
        if disk.exists(&path)? { self.or_stop(disk.remove(&path)) } else { Ok(()) }
    }

    fn plan_path(&self) -> PathBuf {
        self.shared.cabinet_place.dir.join("sweep.plan")
    }
}
