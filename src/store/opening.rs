//! Makes a vault, and opens one: finishes what a crash interrupted (design §7).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cabinet::{self, Loaded};
use super::commit::Committer;
use super::disk::{self, Disk, File, Reserve, quarantine_end};
use super::index::Index;
use super::packs::{PackId, Packs, Sort};
use super::shared::Shared;
use super::{Error, Store, log, mark, packing, restored, rotation};
use crate::clock::Clock;
use crate::ids::{SlotId, VaultId};
use crate::ledger::Entry;

/// What was found and done when a vault was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Entries in the ledger.
    pub entries: u64,
    /// Keys in the cabinet.
    pub slots: u64,
    /// Packs.
    pub packs: u64,
    /// Ends of writes that were cut off, moved there.
    pub quarantined: Vec<PathBuf>,
    /// Boxes whose key a crash had left in the cabinet though they were forgotten: dropped now.
    pub forgets_finished: u64,
    /// A rotation of the cabinet was interrupted; it was finished, or what it left was removed.
    pub rotation_settled: bool,
    /// The index was made again.
    pub index_rebuilt: bool,
    /// Closed packs whose table was not true any more; each got one of what it holds.
    pub tables_mended: u64,
    /// Boxes and keys that the ledger knows and whose slot is not in the cabinet, though they were
    /// never forgotten.
    pub lost: u64,
}

/// Makes the files of an empty vault. The ledger comes last: without it there is no vault.
pub(super) fn create(disk: &Disk, dir: &Path, keys: &Path, vault: VaultId) -> Result<(), Error> {
    for sub in [dir.to_owned(), dir.join("packs"), dir.join("ledger"), dir.join("quarantine")] {
        disk.make_dir(&sub)?;
    }
    disk.make_dir(keys)?;
    disk.create(&dir.join("lock"))?;
    let place =
        cabinet::Place { disk: disk.clone(), dir: dir.to_owned(), keys: keys.to_owned(), vault };
    cabinet::create(&place)?;
    log::Place { disk: disk.clone(), dir: dir.join("ledger"), vault }.create(0)?;
    for made in [dir, disk::parent(dir), disk::parent(keys)] {
        disk.sync_dir(made)?;
    }
    Ok(())
}

/// Opens a vault and starts its committer. Shows every entry of the ledger to `visit`, in order.
pub(super) fn open(
    disk: &Disk,
    dir: &Path,
    keys: &Path,
    visit: &mut dyn FnMut(VaultId, &Entry),
) -> Result<(Store, Opening), Error> {
    let lock = lock(disk, dir)?;
    let (committer, opening) = prepare(disk, dir, keys, visit)?;
    Ok((start(committer, lock)?, opening))
}

/// Work of another thread that ends before this one goes on, whatever happens: a vault that is
/// refused must not be touched afterwards.
struct Beside<T>(Option<JoinHandle<T>>);

impl<T> Beside<T> {
    fn join(mut self) -> T {
        let thread = self.0.take().expect("joined once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<T> Drop for Beside<T> {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

/// Reads everything and finishes what was interrupted.
fn prepare(
    disk: &Disk,
    dir: &Path,
    keys: &Path,
    visit: &mut dyn FnMut(VaultId, &Entry),
) -> Result<(Committer, Opening), Error> {
    let quarantine = dir.join("quarantine");
    let vault = log::vault_of(disk, &dir.join("ledger"))?;
    let log_place = log::Place { disk: disk.clone(), dir: dir.join("ledger"), vault };
    let cabinet_place =
        cabinet::Place { disk: disk.clone(), dir: dir.to_owned(), keys: keys.to_owned(), vault };
    let mut opening = Opening::default();
    let reserve = Reserve::open(disk, dir)?;

    // It takes its time to open, and needs nothing of the rest.
    let index = {
        let (disk, dir, quarantine) = (disk.clone(), dir.join("index"), quarantine.clone());
        Beside(Some(std::thread::spawn(move || Index::open(disk, dir, quarantine))))
    };
    let mut loaded = load_cabinet(&cabinet_place)?;
    let mut fold = Fold::default();
    let ledger = log::open(log_place.clone(), &quarantine, &mut |entries| {
        fold.take(&loaded.slots, entries);
        entries.iter().for_each(|(entry, _)| visit(vault, entry));
    })?;
    opening.quarantined.extend(ledger.quarantined);
    mark::verify(&cabinet_place, &ledger.history)?;
    if let Some(bytes) = loaded.torn.take() {
        opening.quarantined.extend(cut_cabinet(
            &mut loaded,
            &cabinet_place,
            &quarantine,
            &bytes,
            &fold,
        )?);
    }
    if loaded.is_as_begun && ledger.history.generation < loaded.slots.generation {
        rotation::switch_again(&cabinet_place, loaded.slots.generation)?;
    }
    loaded.tail.renew(loaded.last_group.0, &loaded.last_group.1)?;
    disk.sync_dir(dir)?;

    let packs = Packs::new(disk.clone(), dir.join("packs"), vault);
    let index = index.join();
    let left_open = catch_up(&packs, &index, &mut opening)?;
    opening.entries = ledger.history.tree.size();
    opening.lost = fold.lost.len() as u64;

    let shared = Arc::new(Shared {
        vault,
        cabinet_place: cabinet_place.clone(),
        log_place,
        slots: RwLock::new(loaded.slots),
        history: RwLock::new(ledger.history),
        packs: packs.clone(),
        reached: Mutex::new(left_open),
        index,
        coming: Arc::default(),
        rotations: rotation::Turns::default(),
        unnamed: AtomicU64::new(0),
        reserve,
        indexing: RwLock::default(),
        dead: AtomicBool::new(false),
        barriers: AtomicU64::new(0),
    });
    let mut committer = Committer {
        shared: Arc::clone(&shared),
        chunks: packing::Writer::new(packs.clone(), Sort::Chunks),
        boxes: packing::Writer::new(packs, Sort::Boxes),
        cabinet: cabinet::Writer { place: cabinet_place, tail: loaded.tail },
        ledger: ledger.writer,
        undropped: Vec::new(),
    };
    finish_forgets(&mut committer, &fold, &mut opening)?;
    let slots = shared.slots().kept.len() as u64;
    shared.unnamed.store(slots.saturating_sub(fold.named), Ordering::Release);
    settle_rotation(&mut committer, &mut opening)?;
    restored::clear(&committer.cabinet.place)?;
    opening.slots = shared.slots().kept.len() as u64;
    opening.packs = shared.packs.list()?.len() as u64;
    Ok((committer, opening))
}

fn start(committer: Committer, lock: File) -> Result<Store, Error> {
    let shared = Arc::clone(&committer.shared);
    let (jobs, waiting) = mpsc::channel();
    let committer = std::thread::Builder::new()
        .name("kluis-commit".into())
        .spawn(move || committer.run(&waiting))
        .map_err(Error::io("the committer cannot be started"))?;
    Ok(Store { shared, jobs: Some(jobs), committer: Some(committer), _lock: lock })
}

pub(super) fn lock(disk: &Disk, dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    if !disk.exists(&path)? {
        return Err(Error::NotAVault);
    }
    let file = disk.open(&path)?;
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        if file.try_lock().map_err(Error::io("the lock cannot be taken"))? {
            return Ok(file);
        }
        if Instant::now() >= patience {
            return Err(Error::InUse);
        }
        std::thread::sleep(LOCK_PATIENCE / 50);
    }
}

/// A process that ends, or a child between its fork and its exec, may hold the lock a moment longer
/// than the vault is open.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Loads the newest cabinet: a switch to it was a rename, whole or not there.
fn load_cabinet(place: &cabinet::Place) -> Result<Loaded, Error> {
    let generation = place.cabinets()?.into_iter().max();
    let Some(generation) = generation else {
        return Err(match restored::pending(place)? {
            Some(_) => Error::Unsettled,
            None => Error::absent(&place.cabinet(rotation::FIRST), "the cabinet is not there"),
        });
    };
    cabinet::load(place, generation).map_err(|error| match generation.checked_sub(1) {
        // A rotation that was cut off destroyed nothing yet. Which one to take is for a person: what
        // was kept since is in the newer one alone.
        Some(before) if is_damage(&error) && cabinet::load(place, before).is_ok() => {
            Error::OlderWhole { why: Box::new(error), generation: before }
        }
        _ => error,
    })
}

fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::Later { .. } | Error::Absent { .. })
}

/// What the ledger says about slots, held against the cabinet.
#[derive(Default)]
struct Fold {
    /// Named, never forgotten, not in the cabinet.
    lost: HashSet<SlotId>,
    /// How many are named, not forgotten, and in the cabinet.
    named: u64,
    /// Forgotten, still in the cabinet.
    unfinished: Vec<SlotId>,
    /// Those lost that the newest frame with slots brought.
    newest_lost: HashSet<SlotId>,
}

impl Fold {
    fn take(&mut self, slots: &cabinet::Slots, entries: &[log::Numbered]) {
        if entries.iter().any(|(entry, _)| entry.fills_slot()) {
            self.newest_lost.clear();
        }
        for (entry, _) in entries {
            let Some(slot) = entry.slot else { continue };
            let is_there = slots.kept.contains_key(&slot);
            if entry.fills_slot() && is_there {
                self.named += 1;
            } else if entry.fills_slot() {
                self.lost.insert(slot);
                self.newest_lost.insert(slot);
            } else if entry.empties_slot() {
                self.lost.remove(&slot);
                self.newest_lost.remove(&slot);
                if is_there {
                    self.unfinished.push(slot);
                    self.named = self.named.saturating_sub(1);
                }
            }
        }
    }
}

/// Cuts off the end of a write to the cabinet that was interrupted. If the ledger names what stood
/// there, it was durable once: then it is damage.
fn cut_cabinet(
    loaded: &mut Loaded,
    place: &cabinet::Place,
    quarantine: &Path,
    bytes: &[u8],
    fold: &Fold,
) -> Result<Option<PathBuf>, Error> {
    let path = place.cabinet(loaded.slots.generation);
    let end = loaded.slots.end;
    if !fold.newest_lost.is_empty() {
        return Err(Error::damaged(&path, end, "a slot that the ledger names is damaged"));
    }
    quarantine_end(&place.disk, quarantine, &path, bytes, end)
}

/// Closes the packs that an earlier run left open, and tells the index what it does not know. Gives
/// how far those packs count that could not be closed.
fn catch_up(
    packs: &Packs,
    index: &Index,
    opening: &mut Opening,
) -> Result<HashMap<PackId, u64>, Error> {
    let mut left_open = HashMap::new();
    let mut total = 0;
    let mut behind = Vec::new();
    let mut doubt = false;
    for pack in packs.list()? {
        let known = index.end(pack);
        let end = match packing::close_left_open(packs, pack, known.ok().flatten()) {
            Ok(None) => continue,
            Ok(Some(closed)) => {
                opening.tables_mended += u64::from(closed.is_mended);
                total += closed.records;
                closed.end
            }
            // Read by scanning until there is room to close it.
            Err(Error::Full) => {
                let end = packs.open(pack)?.1;
                left_open.insert(pack, end);
                end
            }
            Err(error) => return Err(error),
        };
        match known {
            Ok(Some(known)) if known == end => {}
            Ok(Some(known)) if known > end => doubt = true,
            Ok(_) => behind.push(pack),
            Err(_) => doubt = true,
        }
    }
    doubt |= index.is_bloated(total);
    if !doubt {
        opening.index_rebuilt = index.was_empty() && !behind.is_empty();
        for pack in behind {
            index.take_in(packs, pack, None)?;
        }
        // It is closed by what it could not take.
        doubt = !index.is_there();
    }
    if doubt {
        index.rebuild(packs, &|_| None)?;
        opening.index_rebuilt = index.is_there();
    }
    Ok(left_open)
}

/// Drops every slot that the ledger calls forgotten and the cabinet still has.
fn finish_forgets(
    committer: &mut Committer,
    fold: &Fold,
    opening: &mut Opening,
) -> Result<(), Error> {
    {
        let mut slots = committer.shared.slots_mut();
        for slot in &fold.unfinished {
            if slots.take_out(*slot) {
                committer.undropped.push(*slot);
            }
        }
    }
    opening.forgets_finished = committer.undropped.len() as u64;
    match committer.drop_forgotten() {
        // No room: nothing reads them any more, and the next batch tries again.
        Err(Error::Full) => Ok(()),
        other => other,
    }
}

/// Records a switch of the cabinet that the ledger does not know of, then removes what is left of
/// other generations.
fn settle_rotation(committer: &mut Committer, opening: &mut Opening) -> Result<(), Error> {
    let generation = committer.shared.slots().generation;
    if committer.shared.history().generation < generation {
        match committer.record_rotation(Clock::System.minutes(), generation) {
            Ok(_) => opening.entries += 1,
            // No room: what is left of other generations stays until the next start.
            Err(Error::Full) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let place = committer.cabinet.place.clone();
    opening.rotation_settled = rotation::settle(&place, &committer.shared.slots())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Address;
    use crate::ledger::Fact;
    use crate::store::Batch;
    use crate::store::disk::{Durable, Tail};
    use crate::store::frame::HEADER;
    use crate::store::packs::{Spot, UNIT};
    use crate::store::simulated::Rng;

    fn vault() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        create(
            &Disk::Machine,
            &dir.path().join("state"),
            &dir.path().join("keys"),
            VaultId::random(),
        )
        .expect("created");
        dir
    }

    /// Opens with a ledger that cannot be written to.
    fn broken(dir: &Path) -> Store {
        let (state, keys) = (dir.join("state"), dir.join("keys"));
        let disk = Disk::Machine;
        let lock = lock(&disk, &state).expect("locked");
        let (mut committer, _) = prepare(&disk, &state, &keys, &mut |_, _| {}).expect("prepared");
        let ledger = state.join("ledger/0000000000000000.log");
        let read_only = disk.open_to_read(&ledger).expect("opens");
        committer.ledger.tail = Tail::new(read_only, Durable::Ledger, 64);
        start(committer, lock).expect("started")
    }

    #[test]
    fn after_a_failed_write_nothing_is_acknowledged_any_more() {
        let dir = vault();
        let batch = || Batch::of(vec![Entry::new(Fact::LoggedIn, 1)]);
        let store = broken(dir.path());
        assert!(!store.is_dead());
        assert!(matches!(store.commit(batch()), Err(Error::Io { .. })));
        assert!(store.is_dead());
        assert!(matches!(store.commit(batch()), Err(Error::Dead)));
        assert!(matches!(store.rotate_cabinet(1), Err(Error::Dead)));
        drop(store);
        let (store, opening) = open(
            &Disk::Machine,
            &dir.path().join("state"),
            &dir.path().join("keys"),
            &mut |_, _| {},
        )
        .expect("a new process goes on");
        assert_eq!(opening.entries, 0);
        assert_eq!(store.commit(batch()).expect("committed").first_seq, 0);
    }

    #[test]
    fn a_vault_is_made_once() {
        let dir = vault();
        let (state, keys) = (dir.path().join("state"), dir.path().join("keys"));
        assert!(matches!(
            create(&Disk::Machine, &state, &keys, VaultId::random()),
            Err(Error::Io { .. })
        ));
        assert!(open(&Disk::Machine, &state, &keys, &mut |_, _| {}).is_ok());
    }

    /// A pack with many records, closed.
    fn pack_of(packs: &Packs, count: usize) -> Vec<(Address, Spot)> {
        let mut rng = Rng::new(5);
        let record = |address| packing::Record::new(Sort::Boxes, address, vec![0; HEADER + 8]);
        let records: Vec<_> = (0..count).map(|_| record(Address::new(rng.bytes()))).collect();
        let mut writer = packing::Writer::new(packs.clone(), Sort::Boxes);
        let rows = writer.write(&records).expect("written");
        writer.close().expect("closed");
        rows
    }

    fn index_in(dir: &Path) -> Index {
        Index::open(Disk::Machine, dir.join("index"), dir.to_owned())
    }

    /// The files of an index in a fresh place, its log with a block of zeros at `at`.
    fn damaged(log: &[u8], from: &Path, at: usize) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let index = dir.path().join("index");
        Disk::Machine.make_dir(&index).expect("made");
        for name in Disk::Machine.names(from).expect("a directory") {
            if from.join(&name).is_file() {
                std::fs::copy(from.join(&name), index.join(&name)).expect("copied");
            }
        }
        let mut log = log.to_vec();
        log[at..].iter_mut().take(4096).for_each(|byte| *byte = 0);
        std::fs::write(index.join("db"), log).expect("written");
        dir
    }

    #[test]
    fn an_index_that_cannot_take_what_it_lacks_is_made_again_at_the_start_and_that_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let packs = Packs::new(Disk::Machine, dir.path().join("packs"), VaultId::random());
        Disk::Machine.make_dir(packs.dir()).expect("made");
        let rows = pack_of(&packs, 3000);
        let pack = rows[0].1.pack;
        index_in(dir.path()).put(&rows, &[(pack, UNIT)]).expect("put");
        // It reads no more of the log than it must: a hole behind a snapshot is found when asked.
        drop(index_in(dir.path()));
        let from = dir.path().join("index");
        let log = std::fs::read(from.join("db")).expect("read");
        let refuses = |at: &usize| {
            let place = damaged(&log, &from, *at);
            let index = index_in(place.path());
            !index.was_empty()
                && index.end(pack) == Ok(Some(UNIT))
                && index.put(&rows, &[]).is_err()
        };
        let at = (0..log.len()).step_by(8192).find(refuses).expect("some block is needed");
        let place = damaged(&log, &from, at);
        let (index, mut opening) = (index_in(place.path()), Opening::default());
        catch_up(&packs, &index, &mut opening).expect("caught up");
        assert!(opening.index_rebuilt && index.remade() == 1);
        for (address, spot) in &rows {
            assert_eq!(index.spot(*address), Ok(Some(*spot)));
        }
    }
}
