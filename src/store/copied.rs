//! Reads a copy of a vault: its packs and its ledger, in a folder without a cabinet.
//!
//! Changes nothing. Everything that can be held against itself without keys is; how far each file
//! belongs to the copy is for the caller to say.

use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::packs::{Closing, Fault, PackId, Packs, ReadError, Sort, Spot, header_at};
use super::scrub::{Piece, Stream};
use super::{Error, log};
use crate::ids::{Address, VaultId};
use crate::ledger::Entry;
use crate::ledger::tree::Tree;

/// A copy of a vault.
pub struct Copied {
    packs: Packs,
    log_place: log::Place,
}

impl Copied {
    /// The copy in `dir`, which has the folders `packs` and `ledger`.
    ///
    /// # Errors
    /// [`Error::NotAVault`] without a ledger; [`Error::Damaged`] if its first head is.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let disk = Disk::Machine;
        let ledger = dir.join("ledger");
        let vault = log::vault_of(&disk, &ledger)?;
        Ok(Self {
            packs: Packs::new(disk.clone(), dir.join("packs"), vault),
            log_place: log::Place { disk, dir: ledger, vault },
        })
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.log_place.vault
    }

    /// Where a pack lies.
    #[must_use]
    pub fn pack_path(&self, id: PackId) -> PathBuf {
        self.packs.path(id)
    }

    /// The files of the ledger with their whole lengths.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn ledger_files(&self) -> Result<Vec<(u64, u64)>, Error> {
        let length = |first| {
            let file = self.log_place.disk.open_to_read(&self.log_place.path(first));
            let length = file.and_then(|file| file.length());
            length.map(|length| (first, length)).map_err(Error::io("the ledger cannot be read"))
        };
        self.log_place.files()?.into_iter().map(length).collect()
    }

    /// Reads the ledger, of each file so many bytes, and shows every entry to `visit`; gives the tree
    /// over them.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Damaged`] and [`Error::Later`] with file and offset.
    pub fn ledger(
        &self,
        files: &[(u64, u64)],
        visit: &mut dyn FnMut(&Entry),
    ) -> Result<Tree, Error> {
        let mut tree = Tree::default();
        for &(first, length) in files {
            let path = self.log_place.path(first);
            if first != tree.size() || !self.log_place.disk.exists(&path)? {
                let path = self.log_place.path(tree.size());
                return Err(Error::absent(&path, "a file of the ledger is not there"));
            }
            let bytes = self.log_place.disk.read(&path)?;
            let good = usize::try_from(length).ok().and_then(|length| bytes.get(..length));
            let good = good.ok_or_else(|| {
                Error::damaged(&path, bytes.len() as u64, "a ledger file that ends too early")
            })?;
            let end = log::replay_file(&self.log_place, first, good, &mut |_, entries| {
                for (entry, leaf) in entries {
                    visit(&entry);
                    tree.append(leaf);
                }
            })?;
            if end < length {
                return Err(Error::damaged(&path, end, "a bad frame in a copy of the ledger"));
            }
        }
        Ok(tree)
    }

    /// Holds a pack of `length` bytes against itself: its head, its table, every record. Shows what is
    /// wrong, and where, to `wrong`.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn check_pack(
        &self,
        id: PackId,
        length: u64,
        wrong: &mut dyn FnMut(u64, &'static str),
    ) -> Result<(), Error> {
        let Some((file, _)) = self.packs.open_if_there(id)? else {
            wrong(0, "a pack that is not there");
            return Ok(());
        };
        let head = match self.packs.head(&file) {
            Ok(head) => head,
            Err(bad) => {
                wrong(0, bad.what());
                return Ok(());
            }
        };
        let closing =
            Packs::closing(&file, length).map_err(|bad| bad.at(&self.pack_path(id), 0))?;
        let table = match closing {
            Closing::Open => None,
            Closing::Table { offset, .. } => match Packs::table(id, &file, length, offset) {
                Ok(table) => Some(table),
                Err(bad) => {
                    wrong(offset, bad.what());
                    None
                }
            },
        };
        let Some(mut rows) = table else {
            let mut faults = Vec::new();
            let mut fault = |fault: Fault| faults.push(fault);
            self.packs.scan(id, &file, length, &mut |_, _| Ok(()), &mut fault)?;
            faults.iter().for_each(|fault| wrong(fault.offset, fault.bad.what()));
            return Ok(());
        };
        rows.sort_unstable_by_key(|(_, spot)| spot.offset);
        let mut piece = Piece::new()?;
        let mut stream = Stream::new(&file, length, &mut piece, false);
        for (address, spot) in rows {
            if let Err(what) = stream.record(spot, address, head.sort) {
                let is_dead =
                    head.has_dead && header_at(&file, spot.offset).is_ok_and(|h| h.is_dead);
                if !is_dead {
                    wrong(spot.offset, what);
                }
            }
        }
        Ok(())
    }

    /// Every record of a pack of `length` bytes that is not dead; whether they are boxes.
    ///
    /// # Errors
    /// Where the system refuses. What is damaged is passed over.
    pub fn records(
        &self,
        id: PackId,
        length: u64,
        found: &mut dyn FnMut(Address, Spot),
    ) -> Result<bool, Error> {
        let Some((file, _)) = self.packs.open_if_there(id)? else { return Ok(false) };
        let is_boxes = self.packs.head(&file).is_ok_and(|head| head.sort == Sort::Boxes);
        self.packs.each(id, Some(length), &mut |address, spot| {
            found(address, spot);
            Ok(())
        })?;
        Ok(is_boxes)
    }

    /// The bytes of a box.
    ///
    /// # Errors
    /// [`Error::Damaged`] with file and offset where it is not what was written.
    pub fn read_box(&self, address: Address, spot: Spot) -> Result<Vec<u8>, Error> {
        let at = |what| Error::damaged(&self.packs.path(spot.pack), spot.offset, what);
        match self.packs.read(spot, address, Sort::Boxes) {
            Ok(bytes) if blake3::hash(&bytes).as_bytes() == address.as_bytes() => Ok(bytes),
            Ok(_) => Err(at("a box that is not the one of its address")),
            Err(ReadError::Failed(error)) => Err(error),
            Err(ReadError::Elsewhere | ReadError::Dead) => {
                Err(at("another record than the table says"))
            }
        }
    }
}

/// Whether the file at `path` is a pack that has its table: it never grows again.
///
/// # Errors
/// Where the system refuses; a file that is not there is none.
pub fn is_closed_pack(path: &Path) -> Result<bool, Error> {
    let disk = Disk::Machine;
    if !disk.exists(path)? {
        return Ok(false);
    }
    let read = || -> std::io::Result<_> {
        let file = disk.open_to_read(path)?;
        let length = file.length()?;
        Ok((file, length))
    };
    let (file, length) = read().map_err(Error::io("a pack cannot be opened"))?;
    let closing = Packs::closing(&file, length).map_err(|bad| bad.at(path, 0))?;
    Ok(matches!(closing, Closing::Table { .. }))
}
