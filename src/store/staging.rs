//! Content of any size, sealed and written ahead of the commit that names it (design §17).
//!
//! ```text
//! file, reader, bytes ─ a body at a time ─▶ unit: copy, hash, seal, checksum, in place ─▶ pack
//!                       each worker has a unit of its own           one large write, O_DIRECT
//! ```
//!
//! A worker reads a body into its unit and does all else while the body is in its cache. Nothing is
//! shared for a chunk: no lock, no look into the index; the place in a pack is given out for a unit
//! at a time. What is written here counts for nothing: packs of a staging are not listed among
//! those of the vault. [`Staging::take`] closes them, a `Batch` names what it gives, and the
//! committer makes them durable before the ledger says so. What no commit named is removed.

use std::collections::HashSet;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::File;
use super::packs::PackId;
use super::shared::Shared;
use super::staged::{Closed, Pack, Run, Staged, lock, remove, row_at, write_unit};
use super::unit::{self, Sealed, Unit};
use super::{Error, Source, Store};
use crate::ids::Address;
use crate::vault::chunk::{self, BODY, Base, ChunkKey};

/// Workers beyond one a core: while some wait for the disk, every core has one that seals.
const WAITING: usize = 6;
/// Packs that are written to at the same time, at most: writes into one file wait for each other.
const MOST_OPEN: usize = 8;
/// A pack more is begun for no less content than this, in bytes.
const SPREADS: u64 = 32 << 20;

/// Whether a chunk that the same staging holds already is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Always written: whoever sends it must not be able to tell.
    Write,
    /// Left out: for an import, where equal documents are kept once.
    Skip,
}

/// Content that was sealed and written.
pub struct Stored {
    /// True length in bytes.
    pub length: u64,
    /// What opens its chunks, in order: for a manifest.
    pub keys: Vec<ChunkKey>,
}

/// Short content that was sealed last in a staging, and can still be taken back.
pub struct Short {
    /// What there is to know of it.
    pub stored: Stored,
    /// The chunks that were added for it.
    pub added: Vec<Address>,
}

/// What became of short content.
pub enum ShortPut {
    /// It is too long for a unit.
    TooLong,
    /// Nobody wanted it.
    Unwanted,
    /// It is in the unit.
    Put(Short),
}

/// Keys with the numbers of their bodies.
type Numbered = Vec<(u64, ChunkKey)>;

/// Why content was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The content cannot be read, or became shorter meanwhile. Other content may follow.
    #[error("the content cannot be read: {0}")]
    Source(io::Error),
    /// The store cannot keep it.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Chunk packs of its own, written ahead of a commit. Serves many threads and several commits, as
/// long as its store is open.
pub struct Staging<'s> {
    /// Where the packs lie, if anywhere.
    place: Option<Arc<Shared>>,
    workers: NonZeroUsize,
    /// Packs that are written to at the same time.
    most_open: usize,
    written: Mutex<Written>,
    /// Addresses written so far, if repeats are left out.
    known: Option<Mutex<HashSet<Address>>>,
    spare: Mutex<Vec<Unit>>,
    /// Where short content is put, one after the other.
    own: Mutex<Option<Unit>>,
    /// Bytes that are still to come, as far as that is known.
    expected: AtomicU64,
    /// Parts taken so far.
    taken: u64,
    run: Arc<Run>,
    store: PhantomData<&'s Store>,
}

/// Packs being written, and those that are closed.
#[derive(Default)]
struct Written {
    /// With room for more units.
    open: Vec<Pack>,
    /// Full, and waiting for the last of its units.
    ending: Vec<Pack>,
    closed: Vec<Closed>,
}

impl Staging<'_> {
    /// What is staged lies in `place`, or nowhere: for a measurement of all but the disk.
    pub(super) fn new(place: Option<Arc<Shared>>, repeats: Repeats) -> Self {
        let run = Run {
            repeats,
            committing: AtomicU64::new(0),
            failed: Mutex::default(),
            rests_on: Mutex::default(),
            packs: place.as_ref().map(|shared| shared.packs.clone()),
        };
        Self {
            workers: workers(),
            most_open: cores().get().min(MOST_OPEN),
            place,
            written: Mutex::default(),
            known: (repeats == Repeats::Skip).then(Mutex::default),
            spare: Mutex::default(),
            own: Mutex::default(),
            expected: AtomicU64::new(0),
            taken: 0,
            store: PhantomData,
            run: Arc::new(run),
        }
    }

    /// One that writes nothing anywhere: to measure, or to look at content only.
    #[must_use]
    pub fn nowhere(repeats: Repeats) -> Self {
        Self::new(None, repeats)
    }

    /// Seals what `source` holds, on every core.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put(&self, base: &Base, source: &dyn Source) -> Result<Stored, PutError> {
        let length = source.length().map_err(PutError::Source)?;
        let count = chunk::bodies(length);
        let workers = self.workers.get().min(usize::try_from(count).unwrap_or(usize::MAX));
        // Runs of bodies: what lies together in the content lies together in a pack.
        let run = count.div_ceil(workers as u64).min(unit::CHUNKS as u64);
        let next = AtomicU64::new(0);
        self.expected.fetch_add(chunk::padded(length), Ordering::Relaxed);
        let workers = NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN);
        let keys = self.share_out(workers, &|writer, keys| {
            loop {
                let first = next.fetch_add(run, Ordering::Relaxed);
                for index in first..first.saturating_add(run).min(count) {
                    let key = writer.body_of(base, source, length, index);
                    // Without it the rest is of no use: the others stop, too.
                    let key = key.inspect_err(|_| next.store(count, Ordering::Relaxed))?;
                    keys.push((index, key));
                }
                if first.saturating_add(run) >= count {
                    return Ok(());
                }
            }
        })?;
        Ok(Stored { length, keys })
    }

    /// Seals what `reader` gives until its end, on every core.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put_stream(
        &self,
        base: &Base,
        reader: &mut (dyn Read + Send),
    ) -> Result<Stored, PutError> {
        let stream = Mutex::new(Stream { reader, next: 0, length: 0, has_ended: false });
        let keys = self.share_out(self.workers, &|writer, keys| {
            while let Some((index, key)) = writer.next_of(base, &stream)? {
                keys.push((index, key));
            }
            Ok(())
        })?;
        let length = stream.into_inner().unwrap_or_else(PoisonError::into_inner).length;
        Ok(Stored { length, keys })
    }

    /// Seals what `source` holds, on this thread, into a unit that is not written yet, if `wants` it
    /// once it knows its length and what opens it: it can be taken back until something else is put. Chunks that
    /// `is_there` knows are left out.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put_short(
        &mut self,
        base: &Base,
        source: &dyn Source,
        wants: &mut dyn FnMut(u64, &[ChunkKey]) -> bool,
        is_there: &dyn Fn(&Address) -> bool,
    ) -> Result<ShortPut, PutError> {
        let length = source.length().map_err(PutError::Source)?;
        let count = chunk::bodies(length);
        let needed = Unit::needed(count, chunk::padded(length));
        if needed > unit::ROOM as u64 {
            return Ok(ShortPut::TooLong);
        }
        let mut unit = match lock(&self.own).take() {
            Some(unit) => unit,
            None => self.unit()?,
        };
        if unit.room() < needed {
            self.write(&mut unit)?;
        }
        let lengths: Vec<usize> =
            (0..count).map(|index| chunk::body_length(length, index)).collect();
        let fill = |number: usize, body: &mut [u8]| copy_body(source, length, number as u64, body);
        let sealed = unit.seal_if(base, &lengths, fill, &mut |keys| wants(length, keys), is_there);
        *lock(&self.own) = Some(unit);
        Ok(match sealed.map_err(PutError::Source)? {
            Some(Sealed { keys, added }) => {
                ShortPut::Put(Short { stored: Stored { length, keys }, added })
            }
            None => ShortPut::Unwanted,
        })
    }

    /// Takes back what was put last.
    pub fn take_back(&mut self, short: Short) {
        if let Some(unit) = &mut *lock(&self.own) {
            short.added.iter().for_each(|_| unit.take_back());
        }
    }

    /// A way in for one thread, for much content one after the other: it shares units.
    #[must_use]
    pub fn writer(&self) -> Writer<'_> {
        Writer { staging: self, unit: None }
    }

    /// Bytes of ciphertext written since the last [`Staging::take`].
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let written = self.written();
        let open = written.open.iter().chain(&written.ending).map(|pack| pack.end);
        open.chain(written.closed.iter().map(|closed| closed.end)).sum()
    }

    /// Closes the packs written so far and gives them, for a batch to name. What is stored later
    /// goes to other packs. Parts of one staging are committed in the order in which they were
    /// taken, because later content may rest on chunks of an earlier part.
    ///
    /// # Errors
    /// Why something could not be written: nothing stored since the last call may be named then,
    /// and nothing that is stored later.
    pub fn take(&mut self) -> Result<Staged, Error> {
        let own = lock(&self.own).take();
        if let Some(mut unit) = own {
            if !unit.is_empty() {
                self.write(&mut unit)?;
            }
            *lock(&self.own) = Some(unit);
        }
        let open = {
            let mut written = self.written();
            let Written { open, ending, .. } = &mut *written;
            open.drain(..).chain(ending.drain(..)).collect::<Vec<_>>()
        };
        // Without a place there are none.
        if let Some(shared) = &self.place {
            let mut rest = open.into_iter();
            while let Some(pack) = rest.next() {
                match self.close(pack, shared) {
                    Ok(closed) => self.written().closed.push(closed),
                    Err(error) => {
                        // Removed with the staging.
                        self.written().open.extend(rest);
                        return Err(error);
                    }
                }
            }
        }
        if let Some(error) = lock(&self.run.failed).as_ref() {
            return Err(error.again());
        }
        let number = self.taken;
        self.taken += 1;
        let packs = std::mem::take(&mut self.written().closed);
        let (place, run) = (self.place.clone(), Arc::clone(&self.run));
        Ok(Staged { number, packs, place, run, is_named: false })
    }

    /// Lets workers work, each with a writer, and joins the keys in the order of their numbers.
    fn share_out(
        &self,
        workers: NonZeroUsize,
        work: &(dyn Fn(&mut Writer<'_>, &mut Numbered) -> Result<(), PutError> + Sync),
    ) -> Result<Vec<ChunkKey>, PutError> {
        let one = || {
            let mut keys = Vec::new();
            let mut writer = self.writer();
            work(&mut writer, &mut keys)?;
            writer.flush()?;
            Ok::<_, PutError>(keys)
        };
        let mut all = if workers == NonZeroUsize::MIN {
            one()?
        } else {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..workers.get()).map(|_| scope.spawn(one)).collect();
                let mut all = Vec::new();
                for thread in threads {
                    let done = thread.join();
                    all.extend(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
                }
                Ok::<_, PutError>(all)
            })?
        };
        all.sort_unstable_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, key)| key).collect())
    }

    fn unit(&self) -> Result<Unit, Error> {
        lock(&self.spare).pop().map_or_else(Unit::new, Ok)
    }

    /// Whether this chunk is in what was stored so far, as far as repeats are left out.
    #[must_use]
    pub fn holds(&self, address: &Address) -> bool {
        self.known.as_ref().is_some_and(|known| lock(known).contains(address))
    }

    /// Whether this chunk was written before, or is about to be.
    fn repeats(&self, address: Address) -> bool {
        self.known.as_ref().is_some_and(|known| !lock(known).insert(address))
    }

    /// Writes a unit to its place in a pack. If that fails nothing of the staging counts any more.
    fn write(&self, unit: &mut Unit) -> Result<(), Error> {
        let result = match &self.place {
            Some(shared) => shared
                .reserve
                .admit(unit.bytes().len() as u64)
                .and_then(|_admitted| self.write_to(shared, unit)),
            None => Ok(()),
        };
        unit.clear();
        result.inspect_err(|error| {
            lock(&self.run.failed).get_or_insert(error.again());
        })
    }

    fn write_to(&self, shared: &Shared, unit: &mut Unit) -> Result<(), Error> {
        let length = unit.bytes().len() as u64;
        let (id, file, offset) = self.place_for(length, shared)?;
        let result = write_unit(&file, unit.bytes(), offset);
        drop(file);
        let ended = {
            let mut written = self.written();
            let Written { open, ending, .. } = &mut *written;
            let pack = open.iter_mut().chain(ending.iter_mut()).find(|pack| pack.id == id);
            if let Some(pack) = pack {
                pack.in_flight -= 1;
                pack.rows.extend(unit.rows().iter().map(|row| row_at(row, id, offset)));
            }
            result?;
            let ended = ending.iter().position(|pack| pack.in_flight == 0);
            ended.map(|at| ending.swap_remove(at))
        };
        let Some(pack) = ended else { return Ok(()) };
        // Beside what is still sealed, so that the commit has less to wait for.
        let mut closed = self.close(pack, shared)?;
        closed.sync(shared)?;
        self.written().closed.push(closed);
        Ok(())
    }

    /// A place for `length` bytes: in a pack that nobody writes to, if there is one or may be.
    fn place_for(&self, length: u64, shared: &Shared) -> Result<(PackId, Arc<File>, u64), Error> {
        let close_at = shared.packs.close_at();
        let mut written = self.written();
        let Written { open, ending, .. } = &mut *written;
        // Closed by whoever writes the last of its units, or the next one anywhere.
        ending.extend(open.extract_if(.., |pack| pack.end + length > close_at));
        let is_idle = open.iter().any(|pack| pack.in_flight == 0);
        let expected = self.expected.load(Ordering::Relaxed);
        let may_spread = open.len() < self.most_open && expected >= SPREADS;
        if open.is_empty() || !is_idle && may_spread {
            let taken = expected.min(close_at);
            self.expected.fetch_sub(taken, Ordering::Relaxed);
            open.push(Pack::begin(shared, &self.run, taken)?);
        }
        let pack = open.iter_mut().min_by_key(|pack| pack.in_flight).expect("there is one now");
        let offset = pack.end;
        pack.end += length;
        pack.in_flight += 1;
        Ok((pack.id, Arc::clone(&pack.file), offset))
    }

    fn close(&self, pack: Pack, shared: &Shared) -> Result<Closed, Error> {
        let id = pack.id;
        pack.close(shared).inspect_err(|error| {
            lock(&self.run.failed).get_or_insert(error.again());
            remove(shared, id);
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        lock(&self.written)
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        let Some(shared) = &self.place else { return };
        let written = self.written.get_mut().unwrap_or_else(PoisonError::into_inner);
        let open = written.open.iter().chain(&written.ending).map(|pack| pack.id);
        for id in open.chain(written.closed.iter().map(|closed| closed.id)) {
            remove(shared, id);
        }
    }
}

/// One thread's way into a staging. Content put one after the other shares units, so a unit is
/// written when it is full, on [`Writer::flush`], or when the writer is dropped; what cannot be
/// written then, [`Staging::take`] tells.
pub struct Writer<'a> {
    staging: &'a Staging<'a>,
    unit: Option<Unit>,
}

impl Writer<'_> {
    /// Seals what `source` holds, on this thread.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put(&mut self, base: &Base, source: &dyn Source) -> Result<Stored, PutError> {
        let length = source.length().map_err(PutError::Source)?;
        let bodies = 0..chunk::bodies(length);
        let keys = bodies.map(|index| self.body_of(base, source, length, index));
        Ok(Stored { length, keys: keys.collect::<Result<_, _>>()? })
    }

    /// Seals what `reader` gives until its end, on this thread.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put_stream(
        &mut self,
        base: &Base,
        reader: &mut (dyn Read + Send),
    ) -> Result<Stored, PutError> {
        let stream = Mutex::new(Stream { reader, next: 0, length: 0, has_ended: false });
        let mut keys = Vec::new();
        while let Some((_, key)) = self.next_of(base, &stream)? {
            keys.push(key);
        }
        let length = stream.into_inner().unwrap_or_else(PoisonError::into_inner).length;
        Ok(Stored { length, keys })
    }

    /// Takes a chunk that the staff side sealed: `fill` is given room for its ciphertext and tag. One
    /// that the staging holds already is left out, if it leaves repeats out.
    ///
    /// # Errors
    /// `Tampered` from the vault if no chunk has this length; what `fill` says, as `Source`.
    pub fn receive(
        &mut self,
        address: Address,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> Result<(), PutError> {
        let body = chunk::body_in(length).map_err(Error::from)?;
        if self.staging.holds(&address) {
            return Ok(());
        }
        self.room_for(body)?.receive(address, length, fill).map_err(PutError::Source)?;
        self.staging.repeats(address);
        Ok(())
    }

    /// Writes what is left in the unit.
    ///
    /// # Errors
    /// What the store says; the staging has failed then.
    pub fn flush(&mut self) -> Result<(), Error> {
        match self.unit.as_mut().filter(|unit| !unit.is_empty()) {
            Some(unit) => self.staging.write(unit),
            None => Ok(()),
        }
    }

    /// Seals one body of content that is `length` bytes long.
    fn body_of(
        &mut self,
        base: &Base,
        source: &dyn Source,
        length: u64,
        index: u64,
    ) -> Result<ChunkKey, PutError> {
        let padded = chunk::body_length(length, index);
        let fill = |body: &mut [u8]| copy_body(source, length, index, body).map(|()| padded);
        let key = self.add(base, padded, fill)?;
        Ok(key.expect("no body is empty"))
    }

    /// Seals the next body of a stream; nothing at its end.
    fn next_of(
        &mut self,
        base: &Base,
        stream: &Mutex<Stream<'_>>,
    ) -> Result<Option<(u64, ChunkKey)>, PutError> {
        let mut index = 0;
        let key = self.add(base, BODY, |body| {
            // Let go as soon as the body is read: others read on while this one is sealed.
            let mut stream = lock(stream);
            index = stream.next;
            stream.read(body)
        })?;
        Ok(key.map(|key| (index, key)))
    }

    fn add(
        &mut self,
        base: &Base,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Result<Option<ChunkKey>, PutError> {
        let staging = self.staging;
        let unit = self.room_for(most)?;
        let sealed = unit.seal(base, most, fill).map_err(PutError::Source)?;
        Ok(sealed.map(|(key, address)| {
            if staging.repeats(address) {
                unit.take_back();
            }
            key
        }))
    }

    /// A unit with room for a body of `most` bytes.
    fn room_for(&mut self, most: usize) -> Result<&mut Unit, Error> {
        if self.unit.as_ref().is_some_and(|unit| !unit.has_room(most)) {
            self.flush()?;
        }
        Ok(match &mut self.unit {
            Some(unit) => unit,
            none => none.insert(self.staging.unit()?),
        })
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // A failure is remembered by the staging.
        let _ = self.flush();
        lock(&self.staging.spare).extend(self.unit.take());
    }
}

/// Copies body number `index` of content of `length` bytes, with its padding.
fn copy_body(source: &dyn Source, length: u64, index: u64, body: &mut [u8]) -> io::Result<()> {
    let from = index * BODY as u64;
    let kept = usize::try_from(length.saturating_sub(from)).unwrap_or(body.len()).min(body.len());
    let (content, padding) = body.split_at_mut(kept);
    source.copy_at(content, from)?;
    padding.fill(0);
    Ok(())
}

/// Content that can only be read from its beginning to its end.
struct Stream<'a> {
    reader: &'a mut (dyn Read + Send),
    /// The number of the next body.
    next: u64,
    /// Bytes read so far.
    length: u64,
    has_ended: bool,
}

impl Stream<'_> {
    /// Reads one body with its padding; says how long it is. After a failure there is no more.
    fn read(&mut self, body: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < body.len() && !self.has_ended {
            match self.reader.read(&mut body[got..]) {
                Ok(0) => self.has_ended = true,
                Ok(count) => got += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.has_ended = true;
                    return Err(error);
                }
            }
        }
        self.length += got as u64;
        // Empty content has one body; any other ends with the last that something was read for.
        let length =
            if got == 0 && self.next > 0 { 0 } else { chunk::body_length(self.length, self.next) };
        body[got..length.max(got)].fill(0);
        self.next += u64::from(length > 0);
        Ok(length)
    }
}

/// Threads that share one content.
pub(super) fn workers() -> NonZeroUsize {
    cores().saturating_add(WAITING)
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
