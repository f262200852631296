//! The index: address → pack, offset, length (vault-format §2). The only file that names sled.
//!
//! It holds no secret and no truth: every answer is checked against the record it points to, and
//! whatever is odd about it leads to making it again from the packs. sled may fail to open, panic,
//! or answer wrongly after a crash; each of these ends here.

use std::fs::TryLockError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use super::Error;
use super::disk::{Disk, free_name};
use super::packs::{PackId, Packs, Spot};
use crate::ids::Address;

/// How long sled may take to open before it is given up.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// How the directory ends in which an index is begun beside one that hangs.
const SPARE: &str = "spare";
/// How long a lock is waited for that somebody else holds.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of cache.
const CACHE: u64 = 16 << 20;
/// Keys that are put at once: until the last one is, what all of them replaced stays in memory.
const BATCH: usize = 256;
/// Records put at once while the index is made again.
const PUT_AT_ONCE: usize = 4096;
/// sled may use this much for every record before it is made again …
const BYTES_A_RECORD: u64 = 4 * 96;
/// … beyond this much in any case.
const BYTES_ANYWAY: u64 = 64 << 20;

/// The index cannot be trusted: it failed, panicked, or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubt;

/// Why sled did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unopened {
    /// It refused, or panicked.
    Failed,
    /// It did not answer in time; its thread goes on, and names its files by their path.
    Hangs,
}

/// The index. Its users decide what a doubt leads to.
pub(super) struct Index {
    disk: Disk,
    dir: PathBuf,
    quarantine: PathBuf,
    /// How long sled may take to open.
    patience: Duration,
    db: RwLock<Option<Db>>,
    /// Nothing was in it when it was opened.
    was_empty: bool,
    rebuilding: Mutex<()>,
    /// How often it was made again in the life of this process.
    remade: AtomicU64,
}

impl Index {
    /// Opens the index, or begins an empty one where it does not open.
    pub(super) fn open(disk: Disk, dir: PathBuf, quarantine: PathBuf) -> Self {
        Self::open_within(OPEN_WITHIN, disk, dir, quarantine)
    }

    fn open_within(patience: Duration, disk: Disk, dir: PathBuf, quarantine: PathBuf) -> Self {
        let spare = dir.with_extension(SPARE);
        Db::take_spare(&disk, &spare, &dir, &quarantine);
        let (db, dir) = match Db::open(&disk, &dir, patience) {
            Ok(db) => (Some(db), dir),
            Err(Unopened::Failed) => (Db::begin(&disk, &dir, &quarantine, patience).ok(), dir),
            // As long as this process lives, what hangs there may wake and write there.
            Err(Unopened::Hangs) => (Db::begin(&disk, &spare, &quarantine, patience).ok(), spare),
        };
        Self {
            was_empty: db.as_ref().is_none_or(Db::was_empty),
            disk,
            dir,
            quarantine,
            patience,
            db: RwLock::new(db),
            rebuilding: Mutex::new(()),
            remade: AtomicU64::new(0),
        }
    }

    /// Whether there was nothing in it when it was opened.
    pub(super) fn was_empty(&self) -> bool {
        self.was_empty
    }

    /// Whether it is there to be asked.
    pub(super) fn is_there(&self) -> bool {
        self.ask(|_| Ok(())).is_ok()
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the record of `address` should be.
    pub(super) fn spot(&self, address: Address) -> Result<Option<Spot>, Doubt> {
        let found = self.ask(|db| db.get(address.as_bytes()))?;
        found.map(|bytes| decode(&bytes).ok_or(Doubt)).transpose()
    }

    /// Those of `rows` that it does not have where they are; asked in the order of their
    /// addresses, it reads each of its own pages once.
    pub(super) fn strangers(
        &self,
        rows: &[(Address, Spot)],
    ) -> Result<Vec<(Address, Spot)>, Doubt> {
        self.ask(|db| {
            let mut strangers = Vec::new();
            for row in rows {
                let found = db.get(row.0.as_bytes())?;
                if found.and_then(|bytes| decode(&bytes)) != Some(row.1) {
                    strangers.push(*row);
                }
            }
            Ok(strangers)
        })
    }

    /// How far the index knows a pack.
    pub(super) fn end(&self, pack: PackId) -> Result<Option<u64>, Doubt> {
        let found = self.ask(|db| db.get(&pack.0))?;
        found
            .map(|bytes| bytes.as_slice().try_into().map(u64::from_le_bytes).map_err(|_| Doubt))
            .transpose()
    }

    /// Puts records, and how far the index then knows each pack. After a doubt the index is
    /// closed, and answers with doubt until it is made again.
    pub(super) fn put(
        &self,
        spots: &[(Address, Spot)],
        ends: &[(PackId, u64)],
    ) -> Result<(), Doubt> {
        self.ask(|db| db.put(spots, ends)).inspect_err(|Doubt| self.close())
    }

    /// Points an address from the place of one record to that of another, or to none, if that is
    /// where it points.
    pub(super) fn replace(
        &self,
        address: Address,
        old: Spot,
        new: Option<Spot>,
    ) -> Result<(), Doubt> {
        self.ask(|db| db.replace(address, old, new))
    }

    /// A pack is gone: should it come back, it is read again.
    pub(super) fn leave_out(&self, pack: PackId) -> Result<(), Doubt> {
        self.ask(|db| db.remove(pack))
    }

    /// Makes what was put durable, as far as sled does.
    pub(super) fn flush(&self) -> Result<(), Doubt> {
        self.ask(Db::flush)
    }

    /// Whether sled uses far more room than `records` records need.
    pub(super) fn is_bloated(&self, records: u64) -> bool {
        self.ask(Db::size_on_disk)
            .is_ok_and(|size| size > BYTES_ANYWAY.saturating_add(records * BYTES_A_RECORD))
    }

    /// How often the index was made again so far: read it before asking.
    pub(super) fn remade(&self) -> u64 {
        self.remade.load(Ordering::Acquire)
    }

    /// Makes the index again for a doubt that came up on the way, but only once in the life of the
    /// process. Says whether it was made since `remade` was read, so that asking again makes sense.
    pub(super) fn rebuild_once(
        &self,
        remade: u64,
        packs: &Packs,
        limit: &dyn Fn(PackId) -> Option<u64>,
    ) -> Result<bool, Error> {
        let _guard = self.rebuild_guard();
        if self.remade() == remade && remade == 0 {
            self.rebuild_guarded(packs, limit)?;
        }
        Ok(self.remade() != remade)
    }

    /// Makes the index again from the packs. `limit` says how far a pack that is still written to
    /// counts. The old one goes to the quarantine.
    pub(super) fn rebuild(
        &self,
        packs: &Packs,
        limit: &dyn Fn(PackId) -> Option<u64>,
    ) -> Result<(), Error> {
        let _guard = self.rebuild_guard();
        self.rebuild_guarded(packs, limit)
    }

    fn rebuild_guard(&self) -> MutexGuard<'_, ()> {
        self.rebuilding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rebuild_guarded(
        &self,
        packs: &Packs,
        limit: &dyn Fn(PackId) -> Option<u64>,
    ) -> Result<(), Error> {
        self.close();
        let fresh = Db::begin(&self.disk, &self.dir, &self.quarantine, self.patience);
        let Ok(fresh) = fresh else {
            tracing::warn!("the index cannot be made again; records are searched for in the packs");
            self.remade.fetch_add(1, Ordering::AcqRel);
            return Ok(());
        };
        // The committer goes on meanwhile: what it puts is in the new index, too.
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        let take_all = || {
            packs.list()?.into_iter().try_for_each(|pack| self.take_in(packs, pack, limit(pack)))
        };
        // Half an index would say that what it lacks is missing.
        take_all().inspect_err(|_| self.close())?;
        self.remade.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Puts every record of a pack.
    pub(super) fn take_in(
        &self,
        packs: &Packs,
        pack: PackId,
        limit: Option<u64>,
    ) -> Result<(), Error> {
        let end = match (limit, packs.open_if_there(pack)?) {
            (_, None) => return Ok(()),
            (Some(limit), _) => limit,
            (None, Some((_, length))) => length,
        };
        let mut spots = Vec::new();
        let mut doubt = false;
        packs.each(pack, limit, &mut |address, spot| {
            spots.push((address, spot));
            if spots.len() == PUT_AT_ONCE {
                doubt |= self.put(&spots, &[]).is_err();
                spots.clear();
            }
            Ok(())
        })?;
        doubt |= self.put(&spots, &[]).is_err();
        // A pack counts as known only when all of it is, and never less than the committer said.
        let known = self.end(pack).ok().flatten().unwrap_or(0);
        if !doubt && known < end {
            let _ = self.put(&[], &[(pack, end)]);
        }
        Ok(())
    }

    /// From now on it answers with doubt, until it is made again.
    pub(super) fn close(&self) {
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }

    /// Asks sled; an error, a panic or its absence is a doubt.
    fn ask<T>(&self, question: impl FnOnce(&Db) -> sled::Result<T>) -> Result<T, Doubt> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or(Doubt)?;
        catch_unwind(AssertUnwindSafe(|| question(db))).map_err(|_| Doubt)?.map_err(|_| Doubt)
    }
}

/// Where the index keeps what it knows.
enum Db {
    Sled(sled::Db),
    /// In the memory of a simulated disk.
    #[cfg(test)]
    Simulated(std::sync::Arc<super::simulated::SimDisk>),
}

impl Db {
    fn open(disk: &Disk, dir: &Path, patience: Duration) -> Result<Self, Unopened> {
        match disk {
            Disk::Machine => open_db(dir, patience).map(Db::Sled),
            #[cfg(test)]
            Disk::Simulated(disk) => Ok(Db::Simulated(disk.clone())),
        }
    }

    /// An empty one; what was there goes to the quarantine.
    fn begin(
        disk: &Disk,
        dir: &Path,
        quarantine: &Path,
        patience: Duration,
    ) -> Result<Self, Unopened> {
        match disk {
            Disk::Machine => set_aside(dir, quarantine).map_err(|Doubt| Unopened::Failed)?,
            #[cfg(test)]
            Disk::Simulated(disk) => disk.clear_index(),
        }
        Self::open(disk, dir, patience)
    }

    /// The one that an earlier process began beside one that hung takes its place.
    fn take_spare(disk: &Disk, spare: &Path, dir: &Path, quarantine: &Path) {
        match disk {
            Disk::Machine => {
                if spare.exists() && set_aside(dir, quarantine).is_ok() {
                    let _ = std::fs::rename(spare, dir);
                }
            }
            #[cfg(test)]
            Disk::Simulated(_) => {}
        }
    }

    fn was_empty(&self) -> bool {
        match self {
            Db::Sled(db) => !db.was_recovered(),
            #[cfg(test)]
            Db::Simulated(_) => false,
        }
    }

    fn get(&self, key: &[u8]) -> sled::Result<Option<Vec<u8>>> {
        match self {
            Db::Sled(db) => Ok(db.get(key)?.map(|value| value.to_vec())),
            #[cfg(test)]
            Db::Simulated(disk) => Ok(disk.index_of(key)),
        }
    }

    fn put(&self, spots: &[(Address, Spot)], ends: &[(PackId, u64)]) -> sled::Result<()> {
        match self {
            Db::Sled(db) => {
                for some in spots.chunks(BATCH) {
                    let mut batch = sled::Batch::default();
                    for (address, spot) in some {
                        batch.insert(address.as_bytes(), &encode(*spot));
                    }
                    db.apply_batch(batch)?;
                    give_back(some.len());
                }
                // Last: a pack is known so far once all of it is.
                let mut batch = sled::Batch::default();
                for (pack, end) in ends {
                    batch.insert(&pack.0, &end.to_le_bytes());
                }
                db.apply_batch(batch)
            }
            #[cfg(test)]
            Db::Simulated(disk) => {
                let spots = spots.iter().map(|(address, spot)| {
                    (address.as_bytes().to_vec(), Some(encode(*spot).to_vec()))
                });
                let ends = ends
                    .iter()
                    .map(|(pack, end)| (pack.0.to_vec(), Some(end.to_le_bytes().to_vec())));
                disk.put_in_index(spots.chain(ends).collect());
                Ok(())
            }
        }
    }

    fn replace(&self, address: Address, old: Spot, new: Option<Spot>) -> sled::Result<()> {
        let (key, old, new) =
            (address.as_bytes(), encode(old), new.map(|spot| encode(spot).to_vec()));
        match self {
            Db::Sled(db) => db.compare_and_swap(key, Some(&old), new).map(drop),
            #[cfg(test)]
            Db::Simulated(disk) => {
                if disk.index_of(key).is_some_and(|known| known == old) {
                    disk.put_in_index(vec![(key.to_vec(), new)]);
                }
                Ok(())
            }
        }
    }

    fn remove(&self, pack: PackId) -> sled::Result<()> {
        match self {
            Db::Sled(db) => db.remove(pack.0).map(drop),
            #[cfg(test)]
            Db::Simulated(disk) => {
                disk.put_in_index(vec![(pack.0.to_vec(), None)]);
                Ok(())
            }
        }
    }

    fn flush(&self) -> sled::Result<()> {
        match self {
            Db::Sled(db) => db.flush().map(drop),
            #[cfg(test)]
            Db::Simulated(disk) => {
                disk.flush_index();
                Ok(())
            }
        }
    }

    fn size_on_disk(&self) -> sled::Result<u64> {
        match self {
            Db::Sled(db) => db.size_on_disk(),
            #[cfg(test)]
            Db::Simulated(_) => Ok(0),
        }
    }
}

/// Frees what sled replaced. It defers that, and looks for some of it only every so often that an
/// operation begins: a batch is one of those, and replaces as many nodes as it has keys. What many
/// batches had replaced stayed for ever.
fn give_back(keys: usize) {
    // Each look takes some hundred objects; for each key there are four at most, and two epochs must
    // pass before.
    for _ in 0..2 + keys / 64 {
        crossbeam_epoch::pin().flush();
    }
}

/// Opens sled in a thread of its own: it may panic or hang on what a crash left.
fn open_db(dir: &Path, patience: Duration) -> Result<sled::Db, Unopened> {
    // A snapshot that was being written makes it refuse the whole one before it.
    for name in Disk::Machine.names(dir).unwrap_or_default() {
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let _ = std::fs::remove_file(dir.join(name));
        }
    }
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(Some(1000));
    let (answer, opened) = mpsc::sync_channel(1);
    let file = dir.join("db");
    std::thread::Builder::new()
        .name("kluis-index".into())
        .spawn(move || {
            wait_for_lock(&file);
            let _ = answer.send(config.open());
        })
        .map_err(|_| Unopened::Failed)?;
    match opened.recv_timeout(patience) {
        Ok(db) => db.map_err(|_| Unopened::Failed),
        // A panic ended the thread, and no more.
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Unopened::Failed),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(Unopened::Hangs),
    }
}

/// A process that ends, or a child between its fork and its exec, may hold sled's lock a moment longer
/// than the vault's. sled does not wait; and an index that does not open is made again.
fn wait_for_lock(file: &Path) {
    let Ok(file) = std::fs::File::open(file) else { return };
    let patience = Instant::now() + LOCK_PATIENCE;
    while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && Instant::now() < patience {
        std::thread::sleep(LOCK_PATIENCE / 500);
    }
    // A close alone would leave the lock with a child that has not reached its exec.
    let _ = file.unlock();
}

/// Moves an index into the quarantine, where only the newest is kept: it can be made again.
fn set_aside(dir: &Path, quarantine: &Path) -> Result<(), Doubt> {
    const BAD: &str = "index.bad";
    if !dir.exists() {
        return Ok(());
    }
    for name in Disk::Machine.names(quarantine).map_err(|_| Doubt)? {
        if name.starts_with(BAD) {
            let _ = std::fs::remove_dir_all(quarantine.join(name));
        }
    }
    let aside = free_name(&Disk::Machine, quarantine, BAD).map_err(|_| Doubt)?;
    std::fs::rename(dir, aside).map_err(|_| Doubt)
}

fn encode(spot: Spot) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&spot.pack.0);
    bytes[16..24].copy_from_slice(&spot.offset.to_le_bytes());
    bytes[24..].copy_from_slice(&spot.length.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Spot> {
    let bytes: &[u8; 32] = bytes.try_into().ok()?;
    let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let pack = PackId(bytes[..16].try_into().ok()?);
    Some(Spot { pack, offset: number(16)?, length: number(24)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::random;
    use crate::store::simulated::Rng;

    /// Bytes of a segment of sled's log.
    const SEGMENT: usize = 512 << 10;

    fn spot() -> Spot {
        Spot { pack: PackId(random()), offset: 4096, length: 77 }
    }

    /// A place for an index.
    struct Place(tempfile::TempDir);

    impl Place {
        /// In memory where there is such a place: nothing here asks what a barrier costs.
        fn new() -> Self {
            let memory = Path::new("/dev/shm");
            let made =
                if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            Self(made.expect("a directory"))
        }

        fn dir(&self) -> PathBuf {
            self.0.path().join("index")
        }

        fn open(&self) -> Index {
            Index::open(Disk::Machine, self.dir(), self.0.path().to_owned())
        }

        fn was_set_aside(&self) -> bool {
            self.0.path().join("index.bad-0").exists()
        }

        /// The files of the index, but no directories.
        fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
            let entries = std::fs::read_dir(self.dir()).expect("a directory");
            let mut files: Vec<_> = entries
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.is_file())
                .map(|path| (path.clone(), std::fs::read(path).expect("read")))
                .collect();
            files.sort();
            files
        }

        /// An index whose log has its first segment twice: sled 0.34 panics at that.
        fn with_a_segment_twice() -> Self {
            let place = Self::new();
            place.open().put(&[(Address::new(random()), spot())], &[]).expect("put");
            let mut log = std::fs::read(place.dir().join("db")).expect("read");
            log.resize(SEGMENT, 0);
            log.extend_from_within(..);
            std::fs::write(place.dir().join("db"), log).expect("written");
            place
        }
    }

    #[test]
    fn a_lock_that_is_held_a_moment_longer_is_waited_for() {
        let place = Place::new();
        let address = Address::new(random());
        let kept = spot();
        place.open().put(&[(address, kept)], &[]).expect("put");
        let held = std::fs::File::open(place.dir().join("db")).expect("opens");
        held.lock().expect("nobody else has it");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(LOCK_PATIENCE / 20);
                held.unlock().expect("given back");
            });
            assert_eq!(place.open().spot(address), Ok(Some(kept)));
        });
        assert!(!place.was_set_aside());
    }

    #[test]
    fn what_was_put_is_found_and_survives_a_restart() {
        let place = Place::new();
        let (address, spot) = (Address::new(random()), spot());
        let index = place.open();
        assert!(index.was_empty());
        index.put(&[(address, spot)], &[(spot.pack, 8192)]).expect("put");
        assert_eq!(index.spot(address), Ok(Some(spot)));
        assert_eq!(index.spot(Address::new(random())), Ok(None));
        drop(index);
        let index = place.open();
        assert!(!index.was_empty());
        assert_eq!(index.spot(address), Ok(Some(spot)));
        assert_eq!(index.end(spot.pack), Ok(Some(8192)));
    }

    #[test]
    fn an_index_that_does_not_open_is_set_aside_and_begun_again() {
        let place = Place::new();
        Disk::Machine.make_dir(&place.dir()).expect("made");
        std::fs::write(place.dir().join("conf"), b"\xff nonsense").expect("written");
        std::fs::write(place.dir().join("db"), vec![0x5a; 100_000]).expect("written");
        let index = place.open();
        let address = Address::new(random());
        index.put(&[(address, spot())], &[]).expect("put");
        assert!(place.was_set_aside() && index.was_empty());
        assert!(index.spot(address).expect("answers").is_some());
    }

    #[test]
    fn a_panic_of_sled_at_the_start_ends_there_and_the_index_is_begun_again() {
        let place = Place::with_a_segment_twice();
        wait_for_lock(&place.dir().join("db"));
        let opened = catch_unwind(|| sled::Config::new().path(place.dir()).open());
        assert!(opened.is_err(), "sled panics at this");
        let index = place.open();
        assert!(place.was_set_aside() && index.was_empty());
        let (address, spot) = (Address::new(random()), spot());
        index.put(&[(address, spot)], &[]).expect("put");
        assert_eq!(index.spot(address), Ok(Some(spot)));
    }

    #[test]
    fn an_unfinished_snapshot_is_no_reason_to_refuse() {
        let place = Place::new();
        let address = Address::new(random());
        place.open().put(&[(address, spot())], &[]).expect("put");
        let unfinished = place.dir().join("snap.0000000000FFFFFF.generating");
        std::fs::write(unfinished, b"half").expect("written");
        let index = place.open();
        assert!(index.spot(address).expect("answers").is_some());
        assert!(!place.was_set_aside());
    }

    /// Nothing that sled writes makes it hang: a pipe does, until somebody writes to it.
    #[test]
    fn an_index_that_hangs_at_the_start_is_left_alone_and_another_begun_beside_it() {
        let place = Place::new();
        let (address, spot) = (Address::new(random()), spot());
        let put = |index: &Index| index.put(&[(address, spot)], &[(spot.pack, 8192)]).expect("put");
        put(&place.open());
        put(&place.open());
        let snapshots = |dir: &Path| -> Vec<PathBuf> {
            let names = Disk::Machine.names(dir).expect("a directory");
            names
                .iter()
                .filter(|name| name.starts_with("snap"))
                .map(|name| dir.join(name))
                .collect()
        };
        let snapshot = std::fs::read(&snapshots(&place.dir())[0]).expect("read");
        let pipe = place.dir().join("snap.FFFFFFFFFFFFFFFF");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a pipe");
        let (root, patience) = (place.0.path().to_owned(), Duration::from_millis(200));
        let index = Index::open_within(patience, Disk::Machine, place.dir(), root.clone());
        assert!(index.was_empty() && !place.was_set_aside());
        assert_eq!(index.spot(address), Ok(None));
        put(&index);

        // It wakes, and writes a snapshot over that of the pipe: where it was, not into the other.
        std::fs::write(&pipe, snapshot).expect("somebody reads");
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while pipe.exists() && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!((pipe.exists(), snapshots(&place.dir()).len()), (false, 1));
        assert_eq!(index.dir(), root.join("index.spare"));
        assert!(snapshots(index.dir()).is_empty());
        assert_eq!(index.spot(address), Ok(Some(spot)));
        drop(index);

        // The next start finds what was begun in its place.
        let index = place.open();
        assert_eq!((index.spot(address), index.end(spot.pack)), (Ok(Some(spot)), Ok(Some(8192))));
        assert!(!index.was_empty() && !root.join("index.spare").exists() && place.was_set_aside());
    }

    /// One piece of damage to a file; says what it was.
    fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) -> &'static str {
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(1, |last| last + 1);
        let at = rng.below(used as u64) as usize;
        let end = (at + 512).min(bytes.len());
        match rng.below(6) {
            0 => {
                bytes[at] ^= 1 << rng.below(8);
                "a bit flipped"
            }
            1 => {
                bytes.truncate(at);
                "cut off"
            }
            2 => {
                bytes[at..end].fill(0);
                "zeros"
            }
            3 => {
                bytes[at..end].fill_with(|| rng.next() as u8);
                "noise"
            }
            4 => {
                let block = bytes[at..end].to_vec();
                bytes.extend(block);
                "grown"
            }
            _ => {
                bytes.resize(bytes.len().next_multiple_of(SEGMENT), 0);
                let to = rng.below((bytes.len() / SEGMENT) as u64 + 1) as usize * SEGMENT;
                let segment = bytes[..SEGMENT].to_vec();
                bytes.resize(bytes.len().max(to + SEGMENT), 0);
                bytes[to..to + SEGMENT].copy_from_slice(&segment);
                "a segment twice"
            }
        }
    }

    /// It may forget, and say so by not knowing the end of the pack; it may be in doubt. It must not
    /// answer wrongly, and what it forgot it must take again.
    #[test]
    fn whatever_is_damaged_in_an_index_it_answers_right_or_says_that_it_does_not_know() {
        let (place, mut rng) = (Place::new(), Rng::new(11));
        let pack = PackId([7; 16]);
        let rows: Vec<_> = (0..300)
            .map(|i| (Address::new(rng.bytes()), Spot { pack, offset: 4096 * i, length: i }))
            .collect();
        let end = |row: &(Address, Spot)| (pack, row.1.offset);
        for some in rows.chunks(100) {
            let index = place.open();
            some.iter().for_each(|row| index.put(&[*row], &[end(row)]).expect("put"));
        }
        let last = Some(end(&rows[299]).1);
        let files = place.files();
        let (mut begun, mut forgot) = (0, 0);
        for round in 0..400 {
            let damaged = Place::new();
            Disk::Machine.make_dir(&damaged.dir()).expect("made");
            let hit = rng.below(files.len() as u64) as usize;
            let mut what = "";
            for (i, (path, bytes)) in files.iter().enumerate() {
                let mut bytes = bytes.clone();
                if i == hit {
                    what = damage(&mut bytes, &mut rng);
                }
                let to = damaged.dir().join(path.file_name().expect("a name"));
                std::fs::write(to, bytes).expect("written");
            }
            let case = format!("{round}: {what} in {}", files[hit].0.display());
            let index = damaged.open();
            assert_eq!(damaged.was_set_aside(), index.was_empty(), "{case}");
            begun += u32::from(index.was_empty());
            let knows_all = index.end(pack) == Ok(last);
            forgot += u32::from(!knows_all && !index.was_empty());
            for (address, spot) in &rows {
                match index.spot(*address) {
                    Ok(Some(found)) => assert_eq!(found, *spot, "{case}"),
                    Ok(None) => assert!(!knows_all, "{case}"),
                    Err(Doubt) => {}
                }
            }
            if index.put(&rows, &[end(&rows[299])]).is_ok() {
                let found = rows.iter().map(|(address, _)| index.spot(*address));
                assert!(found.eq(rows.iter().map(|(_, spot)| Ok(Some(*spot)))), "{case}");
            }
        }
        assert!(begun > 100 && forgot > 20, "{begun} begun again, {forgot} forgot");
    }
}
