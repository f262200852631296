//! Holds a vault against itself, without any key of the staff (design §5, §7).

use std::path::{Path, PathBuf};

use super::frame::Bad;
use super::packs::{Closing, Fault, PackId, Packs, ReadError, Sort, Spot};
use super::shared::Shared;
use super::{Error, cabinet, log};
use crate::ids::Address;
use crate::ledger::tree::{self, Tree};
use crate::ledger::{Entry, Fact};
use crate::vault;
use crate::vault::seal;

/// Problems that are listed; further ones are counted.
const MOST_PROBLEMS: usize = 1000;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
}

/// How long the index is waited for at once, and how often in one check.
const WAIT: std::time::Duration = std::time::Duration::from_millis(10);
const MOST_WAITS: u32 = 100;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Chunks and boxes in the packs.
    pub records: u64,
    /// Bytes of packs and ledger that were read.
    pub bytes: u64,
    /// Entries in the ledger.
    pub entries: u64,
    /// Keys in the cabinet.
    pub slots: u64,
    /// Boxes whose outer layer opened.
    pub boxes: u64,
    /// Boxes that were forgotten.
    pub forgotten: u64,
    /// Boxes and own keys whose slot is not in the cabinet, though they were never forgotten.
    pub lost: u64,
    /// What is wrong, at most 1000 of it.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub more_problems: u64,
    /// How often the index was waited for.
    waits: u32,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, file: &Path, offset: u64, what: &'static str) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem { file: file.to_owned(), offset, what });
        } else {
            self.more_problems += 1;
        }
    }

    /// Takes damage into the report; anything else stays an error.
    fn take(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Damaged { file, offset, what } => self.add(&file, offset, what),
            Error::Later { file, offset } => self.add(&file, offset, Bad::Later.what()),
            other => return Err(other),
        }
        Ok(())
    }
}

/// Runs the whole check.
pub(super) fn run(
    shared: &Shared,
    rebuild: bool,
    progress: &dyn Fn(u64, u64),
) -> Result<Report, Error> {
    if rebuild {
        shared.index.rebuild(&shared.packs, &|pack| shared.limit(pack))?;
    }
    let mut report = Report::default();
    let packs = shared.packs.list()?;
    let total = total_bytes(shared, &packs)?;
    for pack in packs {
        check_pack(shared, pack, &mut report)?;
        progress(report.bytes, total);
    }
    let size = shared.history().tree.size();
    check_ledger(shared, size, &mut report)?;
    check_cabinet(shared, &mut report)?;
    check_boxes(shared, size, &mut report)?;
    progress(total, total);
    Ok(report)
}

fn total_bytes(shared: &Shared, packs: &[PackId]) -> Result<u64, Error> {
    let mut total = 0;
    for pack in packs {
        total += shared.packs.open(*pack)?.1;
    }
    for file in shared.log_place.files()? {
        let path = shared.log_place.path(file);
        let length = || shared.log_place.disk.open_to_read(&path)?.length();
        total += length().map_err(Error::io("the ledger cannot be read"))?;
    }
    Ok(total)
}

/// Every record of a pack: its checksum, its address if it is a box, and that the index knows it.
/// Of a closed pack the table says what there must be; an open one is scanned.
fn check_pack(shared: &Shared, pack: PackId, report: &mut Report) -> Result<(), Error> {
    let packs = &shared.packs;
    let path = packs.path(pack);
    let (file, length) = packs.open(pack)?;
    report.bytes += length;
    let sort = match packs.sort(&file) {
        Ok(sort) => Some(sort),
        Err(bad) => {
            report.add(&path, 0, bad.what());
            None
        }
    };
    if let Closing::Table { offset, .. } = Packs::closing(&file, length) {
        match (Packs::table(pack, &file, length, offset), sort) {
            (Ok(table), Some(sort)) => {
                return table.into_iter().try_for_each(|(address, spot)| {
                    check_record(shared, address, spot, sort, report)
                });
            }
            (Ok(_), None) => {}
            (Err(bad), _) => report.add(&path, offset, bad.what()),
        }
    } else if shared.limit(pack).is_none() {
        // Just begun by the committer: nothing in it is committed yet.
        return Ok(());
    }
    let length = shared.limit(pack).map_or(length, |limit| limit.min(length));
    let mut found = Vec::new();
    let mut put = |address, spot| {
        found.push((address, spot));
        Ok(())
    };
    let mut faults = Vec::new();
    packs.scan(pack, &file, length, &mut put, &mut |fault: Fault| faults.push(fault))?;
    for fault in faults.into_iter().filter(|fault| fault.offset > 0) {
        report.add(&path, fault.offset, fault.bad.what());
    }
    let Some(sort) = sort else { return Ok(()) };
    found
        .into_iter()
        .try_for_each(|(address, spot)| check_record(shared, address, spot, sort, report))
}

fn check_record(
    shared: &Shared,
    address: Address,
    spot: Spot,
    sort: Sort,
    report: &mut Report,
) -> Result<(), Error> {
    let path = shared.packs.path(spot.pack);
    match shared.packs.read(spot, address, sort) {
        Ok(bytes) => {
            let is_true =
                sort == Sort::Chunks || blake3::hash(&bytes).as_bytes() == address.as_bytes();
            if !is_true {
                report.add(&path, spot.offset, "a box that is not the one of its address");
            }
        }
        Err(ReadError::Failed(error)) => report.take(error)?,
        Err(ReadError::Elsewhere) => report.add(&path, spot.offset, "a damaged record header"),
    }
    report.records += 1;
    // Equal chunks may lie in two packs; the index knows one of them.
    let known = || match shared.index.spot(address) {
        Ok(Some(known)) => known == spot || shared.packs.stands(known, address, sort),
        _ => false,
    };
    let mut is_known = known();
    // Beside commits: the index follows what a pack counts by a moment.
    while !is_known && shared.limit(spot.pack).is_some() && report.waits < MOST_WAITS {
        report.waits += 1;
        std::thread::sleep(WAIT);
        is_known = known();
    }
    if !is_known {
        report.add(&path, spot.offset, "a record that the index does not know");
    }
    Ok(())
}

/// Every frame once more from the files, and the tree over them.
fn check_ledger(shared: &Shared, size: u64, report: &mut Report) -> Result<(), Error> {
    let mut tree = Tree::default();
    for file in shared.log_place.files()? {
        let path = shared.log_place.path(file);
        let bytes = shared.log_place.disk.read(&path)?;
        report.bytes += bytes.len() as u64;
        let mut take = |_, entries: &[log::Numbered]| {
            for (_, bytes) in entries {
                tree.append(tree::leaf(bytes));
            }
        };
        match log::replay_file(&shared.log_place, file, &bytes, &mut take) {
            Ok(end) if end < bytes.len() as u64 && tree.size() < size => {
                report.add(&path, end, "a bad frame at the end of the ledger");
            }
            Ok(_) => {}
            Err(error) => report.take(error)?,
        }
    }
    report.entries = size;
    if tree.root(size) != shared.history().tree.root(size) {
        report.add(&shared.log_place.path(0), 0, "the tree is not the one over these entries");
    }
    Ok(())
}

/// Every record of the cabinet once more from its file, and every slot opened.
fn check_cabinet(shared: &Shared, report: &mut Report) -> Result<(), Error> {
    let slots = shared.slots();
    let place = &shared.cabinet_place;
    report.slots = slots.kept.len() as u64;
    if let Err(error) = cabinet::read_key(place, slots.generation) {
        report.take(error)?;
    }
    let path = place.cabinet(slots.generation);
    let bytes = place.disk.read(&path)?;
    let durable = usize::try_from(slots.end).ok().and_then(|end| bytes.get(..end));
    match cabinet::replay(place, slots.generation, &path, durable.unwrap_or(&bytes)) {
        Ok((kept, end)) => {
            if end < slots.end {
                report.add(&path, end, "a bad record at the end of the cabinet");
            } else if slots.kept.keys().any(|id| !kept.contains_key(id)) {
                report.add(&path, 0, "the cabinet lacks a slot that it had");
            }
        }
        Err(error) => report.take(error)?,
    }
    for id in slots.kept.keys() {
        if slots.open(*id).is_err() {
            report.add(&path, 0, "a slot that does not open");
        }
    }
    Ok(())
}

/// Every box that an entry records and that is not forgotten: there, opens, has its chunks.
fn check_boxes(shared: &Shared, size: u64, report: &mut Report) -> Result<(), Error> {
    let mut lost = std::collections::HashMap::new();
    shared
        .each_entry(0..size, |seq, bytes| {
            let Ok(entry) = Entry::from_bytes(bytes) else { return Ok(()) };
            let Some(slot) = entry.slot else { return Ok(()) };
            if entry.empties_slot() {
                report.forgotten += u64::from(entry.kind == Fact::Forgotten);
                lost.remove(&slot);
            } else if entry.fills_slot() {
                match shared.slots().open(slot) {
                    Ok(key) if entry.boxed.is_some() => {
                        check_box(shared, seq, &entry, &key, report)?
                    }
                    Ok(_) => {}
                    Err(_) => {
                        lost.insert(slot, seq);
                    }
                }
            }
            Ok(())
        })
        .or_else(|error| report.take(error))?;
    if !lost.is_empty() {
        // Forgotten while the check was running?
        let now = shared.history().tree.size();
        let mut forgotten = |_, bytes: &[u8]| {
            if let Ok(entry) = Entry::from_bytes(bytes)
                && let Some(slot) = entry.slot.filter(|_| entry.empties_slot())
            {
                lost.remove(&slot);
            }
            Ok(())
        };
        shared.each_entry(size..now, &mut forgotten).or_else(|error| report.take(error))?;
    }
    report.lost = lost.len() as u64;
    for seq in lost.into_values() {
        let (file, offset) = place_of(shared, seq);
        report.add(&file, offset, "an entry whose key is not in the cabinet");
    }
    Ok(())
}

fn check_box(
    shared: &Shared,
    seq: u64,
    entry: &Entry,
    key: &[u8; 32],
    report: &mut Report,
) -> Result<(), Error> {
    let (file, offset) = place_of(shared, seq);
    let (Some(address), Some(slot), Some(place)) =
        (entry.boxed, entry.slot, entry.place(shared.vault))
    else {
        report.add(&file, offset, "an entry that does not say where its box belongs");
        return Ok(());
    };
    let read = |spot| shared.packs.read(spot, address, Sort::Boxes);
    let bytes = match shared.find(address, read) {
        Ok(bytes) => bytes,
        Err(Error::Vault(vault::Error::Missing)) => {
            report.add(&file, offset, "an entry whose box is missing");
            return Ok(());
        }
        // Damage was reported with its pack.
        Err(Error::Damaged { .. } | Error::Later { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let Ok(inner) = seal::open_outer(&bytes, &place, slot, key) else {
        report.add(&file, offset, "an entry whose box does not open");
        return Ok(());
    };
    report.boxes += 1;
    for chunk in inner.chunks {
        let stands = |spot| {
            if shared.packs.stands(spot, chunk, Sort::Chunks) {
                Ok(())
            } else {
                Err(ReadError::Elsewhere)
            }
        };
        match shared.find(chunk, stands) {
            Err(Error::Vault(vault::Error::Missing)) => {
                report.add(&file, offset, "an entry whose box lacks a chunk");
                return Ok(());
            }
            other => other?,
        }
    }
    Ok(())
}

/// The frame that holds an entry.
fn place_of(shared: &Shared, seq: u64) -> (PathBuf, u64) {
    let history = shared.history();
    history.frames_from(seq).first().map_or_else(
        || (shared.log_place.path(0), 0),
        |place| (shared.log_place.path(place.file()), place.offset),
    )
}
