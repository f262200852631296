//! The index: address → pack, offset, length (vault-format §2). The only file that names sled.
//!
//! It holds no secret and no truth: every answer is checked against the record it points to, and
//! whatever is odd about it leads to making it again from the packs. sled may fail to open, panic,
//! or answer wrongly after a crash; each of these ends here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::time::Duration;

use super::Error;
use super::disk::{Disk, free_name};
use super::packs::{PackId, Packs, Spot};
use crate::ids::Address;

/// How long sled may take to open before it is given up.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of cache.
const CACHE: u64 = 32 << 20;
/// Records put at once while the index is made again.
const PUT_AT_ONCE: usize = 4096;
/// sled may use this much for every record before it is made again …
const BYTES_A_RECORD: u64 = 4 * 96;
/// … beyond this much in any case.
const BYTES_ANYWAY: u64 = 64 << 20;

/// The index cannot be trusted: it failed, panicked, or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubt;

/// The index. Its users decide what a doubt leads to.
pub(super) struct Index {
    disk: Disk,
    dir: PathBuf,
    quarantine: PathBuf,
    db: RwLock<Option<Db>>,
    rebuilding: Mutex<()>,
    /// How often it was made again in the life of this process.
    remade: AtomicU64,
}

impl Index {
    /// Opens the index, or begins an empty one where it does not open.
    pub(super) fn open(disk: Disk, dir: PathBuf, quarantine: PathBuf) -> Self {
        let db = Db::open(&disk, &dir).or_else(|Doubt| Db::begin(&disk, &dir, &quarantine)).ok();
        Self {
            disk,
            dir,
            quarantine,
            db: RwLock::new(db),
            rebuilding: Mutex::new(()),
            remade: AtomicU64::new(0),
        }
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
        let Ok(fresh) = Db::begin(&self.disk, &self.dir, &self.quarantine) else {
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

    fn close(&self) {
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
    fn open(disk: &Disk, dir: &Path) -> Result<Self, Doubt> {
        match disk {
            Disk::Machine => open_db(dir).map(Db::Sled),
            #[cfg(test)]
            Disk::Simulated(disk) => Ok(Db::Simulated(disk.clone())),
        }
    }

    /// An empty one; what was there goes to the quarantine.
    fn begin(disk: &Disk, dir: &Path, quarantine: &Path) -> Result<Self, Doubt> {
        match disk {
            Disk::Machine => set_aside(dir, quarantine)?,
            #[cfg(test)]
            Disk::Simulated(disk) => disk.clear_index(),
        }
        Self::open(disk, dir)
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
                let mut batch = sled::Batch::default();
                for (address, spot) in spots {
                    batch.insert(address.as_bytes(), &encode(*spot));
                }
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
            Db::Simulated(_) => Ok(()),
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

/// Opens sled in a thread of its own: it may panic or hang on what a crash left.
fn open_db(dir: &Path) -> Result<sled::Db, Doubt> {
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
    std::thread::Builder::new()
        .name("kluis-index".into())
        .spawn(move || {
            let db = catch_unwind(AssertUnwindSafe(|| config.open()));
            let _ = answer.send(db.map_err(|_| Doubt).and_then(|db| db.map_err(|_| Doubt)));
        })
        .map_err(|_| Doubt)?;
    opened.recv_timeout(OPEN_WITHIN).unwrap_or(Err(Doubt))
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

    fn spot() -> Spot {
        Spot { pack: PackId(random()), offset: 4096, length: 77 }
    }

    #[test]
    fn what_was_put_is_found_and_survives_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || Index::open(Disk::Machine, dir.path().join("index"), dir.path().to_owned());
        let (address, spot) = (Address::new(random()), spot());
        let index = open();
        index.put(&[(address, spot)], &[(spot.pack, 8192)]).expect("put");
        assert_eq!(index.spot(address), Ok(Some(spot)));
        assert_eq!(index.spot(Address::new(random())), Ok(None));
        drop(index);
        let index = open();
        assert_eq!(index.spot(address), Ok(Some(spot)));
        assert_eq!(index.end(spot.pack), Ok(Some(8192)));
    }

    #[test]
    fn an_index_that_does_not_open_is_set_aside_and_begun_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("index");
        Disk::Machine.make_dir(&path).expect("made");
        std::fs::write(path.join("conf"), b"\xff nonsense").expect("written");
        std::fs::write(path.join("db"), vec![0x5a; 100_000]).expect("written");
        let index = Index::open(Disk::Machine, path.clone(), dir.path().to_owned());
        let address = Address::new(random());
        index.put(&[(address, spot())], &[]).expect("put");
        assert!(dir.path().join("index.bad-0").exists());
        assert!(index.spot(address).expect("answers").is_some());
    }

    #[test]
    fn an_unfinished_snapshot_is_no_reason_to_refuse() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("index");
        let address = Address::new(random());
        let index = Index::open(Disk::Machine, path.clone(), dir.path().to_owned());
        index.put(&[(address, spot())], &[]).expect("put");
        drop(index);
        std::fs::write(path.join("snap.0000000000FFFFFF.generating"), b"half").expect("written");
        let index = Index::open(Disk::Machine, path, dir.path().to_owned());
        assert!(index.spot(address).expect("answers").is_some());
        assert!(!dir.path().join("index.bad-0").exists());
    }
}
