//! Holds a backup against itself: every file, every record, every entry, and with a backup key every box.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::backup::{Bar, Progress};
use super::catalog::Sum;
use super::restore::Backup;
use super::{Error, copying};
use crate::ids::{Address, Digest, SlotId};
use crate::keys::staff::StaffKey;
use crate::store::Spot;
use crate::vault::seal;

/// Flaws that are listed; further ones are counted.
const MOST_FLAWS: usize = 1000;

/// Something that a backup should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Bytes that were read.
    pub bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Boxes that are not forgotten.
    pub boxes: u64,
    /// Boxes that a key of the newest file opened; none if there was no backup key.
    pub opened: Option<u64>,
    /// Boxes and own keys of the server that the newest file of keys does not open; only with a backup
    /// key.
    pub lost: u64,
    /// What is wrong.
    pub flaws: Vec<Flaw>,
    /// Flaws beyond these.
    pub more: u64,
}

impl Verified {
    fn add(&mut self, file: &Path, offset: u64, what: &'static str) {
        if self.flaws.len() < MOST_FLAWS {
            self.flaws.push(Flaw { file: file.to_owned(), offset, what });
        } else {
            self.more += 1;
        }
    }
}

impl Backup {
    /// Holds every file against the catalog, every record against its checksum, and every box that the
    /// ledger names against the packs. With a backup key every key of the newest file opens its box,
    /// and the chunks of that are there.
    ///
    /// # Errors
    /// [`Error::WrongKey`]; where the system refuses. What is wrong with the backup is in the answer.
    pub fn verify(
        &self,
        key: Option<&StaffKey>,
        progress: Progress<'_>,
    ) -> Result<Verified, Error> {
        let layout = self.layout();
        let mut found = Verified { packs: self.catalog.packs.len() as u64, ..Verified::default() };
        let mut bar = Bar { done: 0, total: self.bytes(), progress };
        let named = self.catalog.keys.iter().map(|(name, sum)| (layout.keys(name), *sum));
        let files = self.catalog.files.values().map(|sum| (layout.file(sum.hash), *sum));
        for (path, sum) in named.chain(files) {
            if let Err(what) = self.holds(&path, sum, &mut bar)? {
                found.add(&path, 0, what);
            }
        }
        let mut boxes: HashMap<Address, Spot> = HashMap::new();
        let mut chunks: HashSet<Address> = HashSet::new();
        for (&id, sum) in &self.catalog.packs {
            let path = layout.pack(id);
            let before = found.flaws.len() as u64 + found.more;
            let held = self.holds(&path, *sum, &mut bar)?;
            self.copied.check_pack(id, sum.length, &mut |offset, what| {
                found.add(&path, offset, what);
            })?;
            if let Err(what) = held
                && found.flaws.len() as u64 + found.more == before
            {
                found.add(&path, 0, what);
            }
            let mut records = Vec::new();
            let is_boxes = self.copied.records(id, sum.length, &mut |address, spot| {
                records.push((address, spot));
            })?;
            match is_boxes {
                true => boxes.extend(records),
                false => chunks.extend(records.into_iter().map(|(address, _)| address)),
            }
        }
        found.bytes = bar.done;
        let there: HashSet<Digest> = self.catalog.files.values().map(|sum| sum.hash).collect();
        let named = self.fold.roster.iter().chain(&self.fold.signed);
        for signed in named.filter(|signed| !there.contains(signed)) {
            let what = "a signed file that the ledger names is not there";
            found.add(&layout.file(*signed), 0, what);
        }
        for filled in self.fold.live.values() {
            let Some((address, _)) = &filled.boxed else { continue };
            found.boxes += 1;
            if !boxes.contains_key(address) {
                found.add(&layout.ledger(0), filled.seq, "an entry whose box is missing");
            }
        }
        if let Some(key) = key {
            self.open_boxes(key, &boxes, &chunks, &mut found)?;
        }
        found.flaws.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        Ok(found)
    }

    /// Whether a file is what was copied.
    fn holds(
        &self,
        path: &Path,
        sum: Sum,
        bar: &mut Bar<'_>,
    ) -> Result<Result<(), &'static str>, Error> {
        match copying::sum(path, sum.length, &mut |n| bar.add(n)) {
            Ok(read) if read == sum => Ok(Ok(())),
            Ok(read) if read.length < sum.length => Ok(Err("a file that ends too early")),
            Ok(_) => Ok(Err("not what was copied")),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Err("a file that is not there"))
            }
            Err(error) => Err(error),
        }
    }

    /// Opens every box with the keys of the newest file.
    fn open_boxes(
        &self,
        key: &StaffKey,
        boxes: &HashMap<Address, Spot>,
        chunks: &HashSet<Address>,
        found: &mut Verified,
    ) -> Result<(), Error> {
        let path = self.layout().keys(self.newest_keys()?);
        if found.flaws.iter().any(|flaw| flaw.file == path) {
            (found.opened, found.lost) = (Some(0), self.fold.live.len() as u64);
            return Ok(());
        }
        let mut opened = 0;
        let mut seen: HashSet<SlotId> = HashSet::new();
        let read = self.each_key(&path, key, &mut |row_slot, _, row_key| {
            let Some(filled) = self.fold.live.get(&row_slot) else { return };
            seen.insert(row_slot);
            let Some((address, place)) = &filled.boxed else { return };
            let Some(spot) = boxes.get(address) else { return };
            let file = self.copied.pack_path(spot.pack);
            let bytes = self.copied.read_box(*address, *spot);
            let inner = bytes
                .ok()
                .and_then(|bytes| seal::open_outer(&bytes, place, row_slot, row_key).ok());
            match inner {
                Some(inner) if inner.chunks.iter().all(|chunk| chunks.contains(chunk)) => {
                    opened += 1;
                }
                Some(_) => found.add(&file, spot.offset, "a box that lacks a chunk"),
                None => found.add(&file, spot.offset, "a box that its key does not open"),
            }
        });
        match read {
            Err(Error::Damaged { file, offset, what }) => found.add(&file, offset, what),
            other => other?,
        }
        found.opened = Some(opened);
        found.lost = self.fold.live.keys().filter(|slot| !seen.contains(*slot)).count() as u64;
        Ok(())
    }
}
