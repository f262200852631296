//! Holds a vault against itself, without any key of the staff (design §5, §7).
//!
//! First every pack, on all cores (`scrub`), and that the index knows its records; then ledger and
//! cabinet; then every box that an entry records is opened to its refs, and each ref is held against
//! the records that were found whole. Of those eight bytes each are remembered, and nothing else:
//! 32 MiB for a terabyte of large content.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::cabinet::{self, Replayed};
use super::frame::{Bad, HEADER};
use super::get::Files;
use super::packs::{Closing, Fault, MAX_BOX, PackId, Packs, ReadError, Sort, Spot};
use super::report::{Harmed, Remedy, Report};
use super::scrub::{Piece, Stream};
use super::shared::Shared;
use super::{Error, log};
use crate::ids::{Address, SlotId};
use crate::ledger::tree::Tree;
use crate::ledger::{Entry, Fact};
use crate::vault;
use crate::vault::seal;

/// How long the index is waited for at once, and how often in one check.
const WAIT: std::time::Duration = std::time::Duration::from_millis(10);
const MOST_WAITS: u32 = 100;
/// Entries that one worker takes at once.
const ENTRIES: u64 = 4096;

/// Runs the whole check.
pub(super) fn run(
    shared: &Shared,
    rebuild: bool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Report, Error> {
    if rebuild {
        shared.index.rebuild(&shared.packs, &|pack| shared.limit(pack))?;
    }
    shared.wait_for_index();
    let packs = shared.packs.list()?;
    let done = Done { bytes: AtomicU64::new(0), total: total_bytes(shared, &packs)?, progress };
    let mut found = check_packs(shared, &packs, &done)?;
    if shared.index.spot(Address::new([0; 32])).is_err() {
        let what = "the index cannot be used, perhaps for want of room: records are searched for";
        found.report.add(shared.index.dir(), 0, what);
    }
    let size = shared.history().tree.size();
    check_ledger(shared, size, &mut found.report, &done)?;
    check_cabinet(shared, &mut found.report)?;
    let mut report = check_boxes(shared, size, found, &done)?;
    remedies(shared, &packs, rebuild, &mut report)?;
    report.sort();
    progress(done.total, done.total);
    Ok(report)
}

/// How far a check is, for whoever waits.
struct Done<'a> {
    bytes: AtomicU64,
    total: u64,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl Done<'_> {
    fn add(&self, bytes: u64) {
        let done = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.progress)(done.min(self.total), self.total);
    }
}

/// What the packs hold.
#[derive(Default)]
struct Found {
    report: Report,
    /// The beginning of the address of each record that is whole; sorted in the end.
    whole: Vec<u64>,
}

impl Found {
    /// Whether a whole record of this address was seen. (That two begin with the same eight bytes
    /// does not happen by chance, and who could make it happen learns nothing from a check.)
    fn has(&self, address: Address) -> bool {
        self.whole.binary_search(&beginning(address)).is_ok()
    }
}

fn beginning(address: Address) -> u64 {
    u64::from_be_bytes(address.as_bytes()[..8].try_into().expect("8 bytes"))
}

/// Has every core work on `items`, each with something of its own that `begin` makes. Gives these
/// back; after an error nobody begins another item.
fn share_out<T: Sync, W: Send>(
    items: &[T],
    begin: impl Fn() -> Result<W, Error> + Sync,
    work: impl Fn(&mut W, &T) -> Result<(), Error> + Sync,
) -> Result<Vec<W>, Error> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let worker = || {
        let mut own = begin()?;
        while !failed.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            work(&mut own, item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(own)
    };
    let count = super::staging::workers().get().min(items.len());
    if count < 2 {
        return Ok(vec![worker()?]);
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(Err(Error::Dead))).collect()
    })
}

/// Bytes to read: boxes are read twice, once as records and once to be opened.
fn total_bytes(shared: &Shared, packs: &[PackId]) -> Result<u64, Error> {
    let mut total = 0;
    for pack in packs {
        let Some((file, length)) = shared.packs.open_if_there(*pack)? else { continue };
        let sort = shared.packs.head(&file).map(|head| head.sort);
        let times = if sort == Ok(Sort::Boxes) { 2 } else { 1 };
        total += times * length;
    }
    for file in shared.log_place.files()? {
        let path = shared.log_place.path(file);
        let length = || shared.log_place.disk.open_to_read(&path)?.length();
        total += length().map_err(Error::io("the ledger cannot be read"))?;
    }
    Ok(total)
}

fn check_packs(shared: &Shared, packs: &[PackId], done: &Done<'_>) -> Result<Found, Error> {
    let begin = || Ok((Found::default(), Piece::new()?));
    let work = |(found, piece): &mut (Found, Piece), pack: &PackId| {
        check_pack(shared, *pack, found, piece, done)
    };
    let mut all = Found::default();
    for (mut found, _) in share_out(packs, begin, work)? {
        all.report.absorb(found.report);
        all.whole.append(&mut found.whole);
    }
    all.whole.sort_unstable();
    Ok(all)
}

/// Every record of a pack: its checksum, its address if it is a box, and that the index knows it.
/// Of a closed pack the table says what there must be; an open one is scanned.
fn check_pack(
    shared: &Shared,
    pack: PackId,
    found: &mut Found,
    piece: &mut Piece,
    done: &Done<'_>,
) -> Result<(), Error> {
    let packs = &shared.packs;
    let report = &mut found.report;
    let path = packs.path(pack);
    // A sweep beside the check may have removed it.
    let Some((file, length)) = packs.open_if_there(pack)? else { return Ok(()) };
    report.bytes += length;
    let closing = Packs::closing(&file, length).unwrap_or_else(|bad| {
        report.add(&path, length, bad.what());
        Closing::Open
    });
    if matches!(closing, Closing::Open) && shared.limit(pack).is_none() {
        // Just begun by the committer: nothing in it is committed yet, its head may not even stand.
        return Ok(());
    }
    let sort = match packs.head(&file) {
        Ok(head) => Some(head.sort),
        Err(bad) => {
            report.add(&path, 0, bad.what());
            None
        }
    };
    if let Closing::Table { offset, .. } = closing {
        match (Packs::table(pack, &file, length, offset), sort) {
            (Ok(table), Some(sort)) => {
                let stream = Stream::new(&file, length, piece, sort == Sort::Chunks);
                return check_table(shared, table, sort, stream, found, done);
            }
            (Ok(_), None) => {}
            (Err(bad), _) => report.add(&path, offset, bad.what()),
        }
    }
    let length = shared.limit(pack).map_or(length, |limit| limit.min(length));
    let mut rows = Vec::new();
    let mut put = |address, spot| {
        rows.push((address, spot));
        Ok(())
    };
    let mut faults = Vec::new();
    packs.scan(pack, &file, length, &mut put, &mut |fault: Fault| faults.push(fault))?;
    for fault in faults.into_iter().filter(|fault| fault.offset > 0) {
        report.add(&path, fault.offset, fault.bad.what());
    }
    let Some(sort) = sort else { return Ok(()) };
    done.add(length);
    rows.into_iter()
        .try_for_each(|(address, spot)| check_record(shared, address, spot, sort, found))
}

/// Every record that the table of a closed pack names, in the order of the pack.
fn check_table(
    shared: &Shared,
    mut rows: Vec<(Address, Spot)>,
    sort: Sort,
    mut stream: Stream<'_>,
    found: &mut Found,
    done: &Done<'_>,
) -> Result<(), Error> {
    rows.sort_unstable_by_key(|(_, spot)| spot.offset);
    let mut at = 0;
    rows.retain(|(address, spot)| {
        let whole = stream.record(*spot, *address, sort);
        match whole {
            // Perhaps while this check was reading it.
            Err(_) if shared.packs.is_removed(*spot, *address, sort) => found.report.dead += 1,
            Ok(()) => {
                found.report.records += 1;
                found.whole.push(beginning(*address));
            }
            Err(what) => {
                found.report.records += 1;
                let path = shared.packs.path(spot.pack);
                found.report.add_record(&path, spot.offset, what, *address);
            }
        }
        let end = spot.offset.saturating_add(spot.length);
        done.add(end.saturating_sub(at));
        at = end.max(at);
        whole.is_ok()
    });
    rows.sort_unstable_by_key(|(address, _)| *address);
    let strangers = shared.index.strangers(&rows).unwrap_or(rows);
    strangers
        .into_iter()
        .try_for_each(|(address, spot)| check_known(shared, address, spot, sort, &mut found.report))
}

fn check_record(
    shared: &Shared,
    address: Address,
    spot: Spot,
    sort: Sort,
    found: &mut Found,
) -> Result<(), Error> {
    let report = &mut found.report;
    let path = shared.packs.path(spot.pack);
    report.records += 1;
    match shared.packs.read(spot, address, sort) {
        Ok(bytes) => {
            let is_true =
                sort == Sort::Chunks || blake3::hash(&bytes).as_bytes() == address.as_bytes();
            if is_true {
                found.whole.push(beginning(address));
            } else {
                let what = "a box that is not the one of its address";
                report.add_record(&path, spot.offset, what, address);
            }
        }
        Err(ReadError::Failed(error)) => report.take(error)?,
        Err(_) if shared.packs.is_removed(spot, address, sort) => {
            report.records -= 1;
            report.dead += 1;
            return Ok(());
        }
        Err(_) => match shared.packs.doubt(spot) {
            Error::Damaged { offset, what, .. } => report.add_record(&path, offset, what, address),
            Error::Later { offset, .. } => {
                report.add_record(&path, offset, Bad::Later.what(), address);
            }
            other => return Err(other),
        },
    }
    check_known(shared, address, spot, sort, report)
}

/// That the index leads to this record, or to an equal one.
fn check_known(
    shared: &Shared,
    address: Address,
    spot: Spot,
    sort: Sort,
    report: &mut Report,
) -> Result<(), Error> {
    // Equal chunks may lie in two packs; the index knows one of them.
    let known = || match shared.index.spot(address) {
        // What cannot be read there is reported with its pack.
        Ok(Some(known)) => {
            known == spot || shared.packs.stands(known, address, sort).unwrap_or(true)
        }
        Ok(None) => false,
        // There is no index: that is said once, not of every record.
        Err(_) => true,
    };
    let mut is_known = known();
    // Beside commits: the index follows what a pack counts by a moment.
    while !is_known && shared.limit(spot.pack).is_some() && report.waits < MOST_WAITS {
        report.waits += 1;
        std::thread::sleep(WAIT);
        is_known = known();
    }
    // Unless a sweep just removed it.
    if !is_known && !shared.packs.is_removed(spot, address, sort) {
        let path = shared.packs.path(spot.pack);
        report.add_strange(&path, spot.offset);
    }
    Ok(())
}

/// Every frame once more from the files, and the tree over them.
fn check_ledger(
    shared: &Shared,
    size: u64,
    report: &mut Report,
    done: &Done<'_>,
) -> Result<(), Error> {
    let mut tree = Tree::default();
    for file in shared.log_place.files()? {
        let path = shared.log_place.path(file);
        let bytes = shared.log_place.disk.read(&path)?;
        report.bytes += bytes.len() as u64;
        done.add(bytes.len() as u64);
        let mut take = |_, entries: Vec<log::Numbered>| {
            entries.into_iter().for_each(|(_, leaf)| tree.append(leaf));
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
        Ok(Replayed { kept, end, .. }) => {
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

/// What one worker finds out about boxes.
#[derive(Default)]
struct Opening {
    report: Report,
    /// Slots that are not in the cabinet, and the entry that filled them.
    missing: Vec<(SlotId, u64)>,
    emptied: HashSet<SlotId>,
    /// What cannot be read for a record that is not whole.
    harmed: Vec<(Address, Harmed)>,
    buffer: Vec<u8>,
}

/// Every box that an entry records and that is not forgotten: there, opens, has its chunks.
fn check_boxes(shared: &Shared, size: u64, found: Found, done: &Done<'_>) -> Result<Report, Error> {
    let broken: HashSet<Address> =
        found.report.problems.iter().filter_map(|problem| problem.address).collect();
    let files = Files::default();
    let ranges: Vec<Range<u64>> =
        (0..size).step_by(ENTRIES as usize).map(|from| from..(from + ENTRIES).min(size)).collect();
    let sight = Sight { shared, found: &found, broken: &broken, files: &files, done };
    let begin = || Ok(Opening::default());
    let openings = share_out(&ranges, begin, |own, range| sight.entries(range.clone(), own))?;

    let (mut lost, mut emptied) = (HashMap::new(), HashSet::new());
    let mut harmed: HashMap<Address, Vec<Harmed>> = HashMap::new();
    let mut report = found.report;
    for opening in openings {
        report.absorb(opening.report);
        lost.extend(opening.missing);
        emptied.extend(opening.emptied);
        for (address, what) in opening.harmed {
            harmed.entry(address).or_default().push(what);
        }
    }
    lost.retain(|slot, _| !emptied.contains(slot));
    check_lost(shared, size, lost, &mut report)?;
    for problem in &mut report.problems {
        let touched = problem.address.and_then(|address| harmed.get(&address));
        for what in touched.into_iter().flatten() {
            problem.harms(*what);
        }
    }
    Ok(report)
}

/// Entries whose key is not in the cabinet, though nothing says that it was dropped.
fn check_lost(
    shared: &Shared,
    size: u64,
    mut lost: HashMap<SlotId, u64>,
    report: &mut Report,
) -> Result<(), Error> {
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
    let cabinet = shared.cabinet_place.cabinet(shared.slots().generation);
    for seq in lost.into_values() {
        for bytes in shared.entry_bytes(seq, 1)? {
            let what = "an entry whose key is not in the cabinet";
            let remedy = Some(Remedy::GoodCopy(cabinet.clone()));
            if let Ok(entry) = Entry::from_bytes(&bytes) {
                report.add_entry(place_of(shared, seq), what, &entry, remedy);
            }
        }
    }
    Ok(())
}

/// What all workers see while boxes are opened.
struct Sight<'a> {
    shared: &'a Shared,
    found: &'a Found,
    /// Records that are there and not whole.
    broken: &'a HashSet<Address>,
    files: &'a Files,
    done: &'a Done<'a>,
}

impl Sight<'_> {
    fn entries(&self, range: Range<u64>, own: &mut Opening) -> Result<(), Error> {
        let mut visit = |seq, bytes: &[u8]| {
            let Ok(entry) = Entry::from_bytes(bytes) else { return Ok(()) };
            let Some(slot) = entry.slot else { return Ok(()) };
            if entry.empties_slot() {
                own.report.forgotten += u64::from(entry.kind == Fact::Forgotten);
                own.emptied.insert(slot);
            } else if entry.fills_slot() {
                let key = self.shared.slots().open(slot);
                match key {
                    Ok(key) if entry.boxed.is_some() => self.open(seq, &entry, &key, own)?,
                    Ok(_) => {}
                    Err(_) => own.missing.push((slot, seq)),
                }
            }
            Ok(())
        };
        let all = self.shared.each_entry(range, &mut visit);
        all.or_else(|error| own.report.take(error))
    }

    fn open(
        &self,
        seq: u64,
        entry: &Entry,
        key: &[u8; 32],
        own: &mut Opening,
    ) -> Result<(), Error> {
        let shared = self.shared;
        let here = || place_of(shared, seq);
        let (Some(address), Some(slot), Some(place)) =
            (entry.boxed, entry.slot, entry.place(shared.vault))
        else {
            let what = "an entry that does not say where its box belongs";
            own.report.add_entry(here(), what, entry, None);
            return Ok(());
        };
        let buffer = &mut own.buffer;
        let length = match shared.find(address, |spot| self.read(spot, address, buffer)) {
            Ok(length) => length,
            Err(Error::Vault(vault::Error::Missing)) if !self.broken.contains(&address) => {
                let remedy = Some(Remedy::LostPack);
                own.report.add_entry(here(), "an entry whose box is missing", entry, remedy);
                return Ok(());
            }
            // Told of with its pack.
            Err(
                Error::Vault(vault::Error::Missing) | Error::Damaged { .. } | Error::Later { .. },
            ) => {
                own.harmed.push((address, Harmed::of(entry)));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.done.add((HEADER + length) as u64);
        let bytes = &own.buffer[HEADER..HEADER + length];
        let Ok(inner) = seal::open_outer(bytes, &place, slot, key) else {
            own.report.add_entry(here(), "an entry whose box does not open", entry, None);
            return Ok(());
        };
        own.report.boxes += 1;
        for chunk in inner.chunks {
            if self.broken.contains(&chunk) {
                own.harmed.push((chunk, Harmed::of(entry)));
            } else if !self.found.has(chunk) && !self.came_since(chunk)? {
                let what = "an entry whose box lacks a chunk";
                own.report.add_entry(here(), what, entry, Some(Remedy::LostPack));
                return Ok(());
            }
        }
        Ok(())
    }

    fn read(&self, spot: Spot, address: Address, buffer: &mut Vec<u8>) -> Result<usize, ReadError> {
        let file = self.files.open(&self.shared.packs, spot.pack)?;
        let length = usize::try_from(spot.length).unwrap_or(usize::MAX);
        if length > MAX_BOX {
            return Err(ReadError::Elsewhere);
        }
        if buffer.len() < HEADER + length {
            buffer.resize(HEADER + length, 0);
        }
        self.shared.packs.read_into(&file, spot, (address, Sort::Boxes), buffer)
    }

    /// Whether a chunk that was not among the packs is there now: it may have come since.
    fn came_since(&self, chunk: Address) -> Result<bool, Error> {
        let stands = |spot| match self.shared.packs.stands(spot, chunk, Sort::Chunks) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ReadError::Elsewhere),
            Err(error) => Err(ReadError::Failed(error)),
        };
        match self.shared.find(chunk, stands) {
            Err(Error::Vault(vault::Error::Missing)) => Ok(false),
            other => other.map(|()| true),
        }
    }
}

/// What would mend each record that is not whole: an equal one elsewhere, which readers find, and
/// which the index is led to if it may be changed; else a good copy of the pack.
fn remedies(
    shared: &Shared,
    packs: &[PackId],
    rebuild: bool,
    report: &mut Report,
) -> Result<(), Error> {
    let mut wanted: HashMap<Address, Vec<usize>> = HashMap::new();
    for (i, problem) in report.problems.iter_mut().enumerate() {
        if let Some(address) = problem.address {
            problem.remedy = Some(Remedy::GoodCopy(problem.file.clone()));
            wanted.entry(address).or_default().push(i);
        }
    }
    for &pack in packs {
        if wanted.is_empty() {
            break;
        }
        let mut equal = Vec::new();
        shared.packs.each(pack, shared.limit(pack), &mut |address, spot| {
            if wanted.contains_key(&address) {
                equal.push((address, spot));
            }
            Ok(())
        })?;
        for (address, spot) in equal {
            let sorts = [Sort::Chunks, Sort::Boxes];
            if !sorts.into_iter().any(|sort| shared.packs.read(spot, address, sort).is_ok()) {
                continue;
            }
            let file = shared.packs.path(spot.pack);
            if rebuild {
                let _ = shared.index.put(&[(address, spot)], &[]);
            }
            for i in wanted.remove(&address).unwrap_or_default() {
                let problem = &mut report.problems[i];
                (problem.harmed, problem.more_harmed) = (Vec::new(), 0);
                let offset = spot.offset;
                problem.remedy = Some(Remedy::EqualCopy { file: file.clone(), offset });
            }
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
