//! Wraps every slot of a cabinet anew under another key, beside the committer (design §8).
//!
//! ```text
//! key′ durable, read back → the slots that there are, piece by piece → durable → read back, opened
//!   ⇒ in a step of the committer: what came and went meanwhile → durable → read back, opened
//! ```
//!
//! The new file is its head and one record after the other, in the order of vault-format §5. A slot
//! that is dropped meanwhile gives its place to another one, so that it is nowhere in the new
//! cabinet. The head says how many records there are and is written last: until then nobody can
//! take the file for a cabinet. Nothing here touches the generation in force, so that whatever
//! fails costs the copy alone. When it is done and what follows is the business of `rotation`.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use super::cabinet::{self, Kept, Place, SLOT, Slots};
use super::disk::{Durable, File};
use super::frame::{GRAIN, HEADER};
use super::{Error, rotation};
use crate::ids::SlotId;
use crate::lab;
use crate::secret::{Secret, clear_stack};
use crate::vault::slot;

/// Bytes from one record of a new cabinet to the next.
const RECORD: usize = (HEADER + SLOT).next_multiple_of(GRAIN as usize);
/// So much of a copy, in bytes, is not durable at most: a commit beside it must not wait for more.
const UNSYNCED: usize = 16 << 20;
/// Slots for which another core is worth a thread.
const WORTH_A_THREAD: usize = 1024;

/// The slots of the generation in force at one moment.
pub(super) struct Snapshot {
    /// Of that generation.
    pub(super) key: Arc<Secret<[u8; 32]>>,
    /// Sorted.
    pub(super) ids: Vec<SlotId>,
}

/// The next generation of a cabinet, on its way.
pub(super) struct Next {
    pub(super) generation: u64,
    place: Place,
    key: Arc<Secret<[u8; 32]>>,
    /// Where it is written.
    pub(super) path: PathBuf,
    file: File,
    /// The slot of each record.
    order: Vec<SlotId>,
    kept: HashMap<SlotId, Kept>,
}

impl Next {
    /// Makes the key of a generation, and the file of its cabinet without a slot.
    pub(super) fn begin(place: &Place, generation: u64) -> Result<Self, Error> {
        cabinet::make_key(place, generation)?;
        // What will open the slots is what stands in the file.
        let key = Arc::new(cabinet::read_key(place, generation)?);
        lab::step("rotate:key-written");
        let path = rotation::unfinished(place, generation);
        let file = place.disk.create(&path)?;
        let (order, kept) = Default::default();
        Ok(Self { generation, place: place.clone(), key, path, file, order, kept })
    }

    /// Copies the slots of a snapshot, but those that are dropped by then, makes them durable, reads
    /// them back and opens each. `meanwhile` is called again and again, with no slot locked.
    pub(super) fn copy(
        &mut self,
        slots: &RwLock<Slots>,
        snapshot: Snapshot,
        meanwhile: &dyn Fn(),
    ) -> Result<(), Error> {
        let Snapshot { key: old_key, ids } = snapshot;
        self.order.reserve_exact(ids.len());
        self.kept.reserve(ids.len());
        let at_once = self.place.disk.slots_at_once();
        let mut unsynced = 0;
        for ids in ids.chunks(at_once) {
            let slots = slots.read().unwrap_or_else(PoisonError::into_inner);
            let old = slots.still_there(ids);
            drop(slots);
            let parts = on_all_cores(&old, |some| rewrap(&old_key, &self.key, some))?;
            let from = self.order.len();
            for (id, kept) in parts.into_iter().flatten() {
                self.order.push(id);
                self.kept.insert(id, kept);
            }
            unsynced += self.write(from..self.order.len())?;
            if unsynced >= UNSYNCED {
                self.file.sync(Durable::Cabinet)?;
                unsynced = 0;
            }
            meanwhile();
        }
        self.file.sync(Durable::Cabinet)?;
        lab::step("rotate:copied");
        for from in (0..self.order.len()).step_by(at_once) {
            self.verify(from..self.order.len().min(from + at_once))?;
            meanwhile();
        }
        clear_stack();
        lab::step("rotate:copy-verified");
        Ok(())
    }

    /// Follows what came and went since the snapshot, in memory. Gives the records that change.
    pub(super) fn follow(&mut self, slots: &Slots) -> Result<Vec<usize>, Error> {
        let Some(since) = &slots.since else { return Ok(Vec::new()) };
        let mut holes = Vec::new();
        for id in since.dropped.iter().filter(|id| self.kept.remove(id).is_some()) {
            holes.push(self.order.binary_search(id).expect("what was copied has its record"));
        }
        let added: Vec<_> = slots.still_there(&since.added);
        let mut changed = Vec::new();
        for (id, kept) in rewrap(&slots.key, &self.key, &added)? {
            self.kept.insert(id, kept);
            let at = holes.pop().unwrap_or(self.order.len());
            if at == self.order.len() {
                self.order.push(id);
            } else {
                self.order[at] = id;
            }
            changed.push(at);
        }
        // The last hole first: what is at the end then is none.
        holes.sort_unstable();
        while let Some(hole) = holes.pop() {
            self.order.swap_remove(hole);
            changed.push(hole);
        }
        changed.retain(|at| *at < self.order.len());
        changed.sort_unstable();
        changed.dedup();
        Ok(changed)
    }

    /// Writes the records that changed and the head, all durable. If there is no room it may be
    /// called once more.
    pub(super) fn finish(&self, changed: &[usize]) -> Result<(), Error> {
        for records in runs(changed, self.place.disk.slots_at_once()) {
            self.write(records)?;
        }
        self.file.write_all_at(&self.head(), 0).map_err(Error::write(UNWRITTEN))?;
        self.file.set_len(self.end()).map_err(Error::write(UNWRITTEN))?;
        self.file.sync(Durable::Cabinet)?;
        lab::step("rotate:caught-up");
        Ok(())
    }

    /// Reads back what [`Next::finish`] wrote, and the key once more.
    pub(super) fn verify_end(&self, changed: &[usize]) -> Result<(), Error> {
        for records in runs(changed, self.place.disk.slots_at_once()) {
            self.verify(records)?;
        }
        let mut head = [0; HEADER];
        self.file.read_exact_at(&mut head, 0).map_err(Error::io(UNREAD))?;
        let length = self.file.length().map_err(Error::io(UNREAD))?;
        let key = cabinet::read_key(&self.place, self.generation)?;
        if head != self.head() || length != self.end() || key.expose() != self.key.expose() {
            return Err(self.damaged(0));
        }
        lab::step("rotate:verified");
        Ok(())
    }

    /// What readers and the committer use once it is in force: its slots, and its file.
    pub(super) fn into_slots(self) -> (Slots, File) {
        let (generation, end) = (self.generation, self.end());
        (Slots { generation, key: self.key, kept: self.kept, end, since: None }, self.file)
    }

    /// Where the file ends.
    fn end(&self) -> u64 {
        offset(self.order.len())
    }

    fn head(&self) -> [u8; HEADER] {
        cabinet::head(&self.place, self.generation, self.order.len() as u64)
    }

    /// The bytes of some records.
    fn records(&self, ids: &[SlotId]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ids.len() * RECORD);
        for id in ids {
            cabinet::put_add(&mut bytes, *id, &self.kept[id], 0);
            bytes.resize(bytes.len().next_multiple_of(RECORD), 0);
        }
        bytes
    }

    /// Writes some records; says how many bytes they have.
    fn write(&self, records: Range<usize>) -> Result<usize, Error> {
        let at = offset(records.start);
        let parts = on_all_cores(&self.order[records], |ids| Ok(self.records(ids)))?;
        let bytes = parts.concat();
        if !bytes.is_empty() {
            self.file.write_all_at(&bytes, at).map_err(Error::write(UNWRITTEN))?;
        }
        Ok(bytes.len())
    }

    /// Reads some records back and opens their slots.
    fn verify(&self, records: Range<usize>) -> Result<(), Error> {
        let start = offset(records.start);
        let mut read = vec![0; records.len() * RECORD];
        self.file.read_exact_at(&mut read, start).map_err(Error::io(UNREAD))?;
        let all: Vec<_> = self.order[records].iter().zip(read.chunks_exact(RECORD)).collect();
        let is_it = |some: &[(&SlotId, &[u8])]| {
            some.iter().try_for_each(|(id, bytes)| {
                let slot = bytes[HEADER..HEADER + SLOT].try_into().expect("as long as a slot");
                let opens = slot::unwrap(self.key.expose(), **id, &slot).is_ok();
                if opens && *bytes == self.records(&[**id]) { Ok(()) } else { Err(()) }
            })
        };
        let found = on_all_cores(&all, |some| Ok(is_it(some)))?;
        if found.iter().all(Result::is_ok) { Ok(()) } else { Err(self.damaged(start)) }
    }

    fn damaged(&self, offset: u64) -> Error {
        Error::damaged(&self.path, offset, "the new cabinet does not open")
    }
}

const UNWRITTEN: &str = "the new cabinet cannot be written";
const UNREAD: &str = "the new cabinet cannot be read back";

/// Where a record stands; of the one behind the last: where the file ends.
fn offset(record: usize) -> u64 {
    (HEADER + record * RECORD) as u64
}

/// Wraps slots of one generation for another.
fn rewrap(
    old_key: &Secret<[u8; 32]>,
    key: &Secret<[u8; 32]>,
    slots: &[(SlotId, Kept)],
) -> Result<Vec<(SlotId, Kept)>, Error> {
    let anew = |(id, old): &(SlotId, Kept)| {
        let box_key = slot::unwrap(old_key.expose(), *id, &old.slot)?;
        let slot = slot::wrap(key.expose(), *id, &box_key);
        Ok((*id, Kept { slot, minute: old.minute }))
    };
    slots.iter().map(anew).collect()
}

/// Ascending numbers as ranges of at most so many.
fn runs(numbers: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == *number && run.len() < most => run.end += 1,
            _ => runs.push(*number..*number + 1),
        }
    }
    runs
}

/// Does something to all of these, on every core if they are many; gives what came of each part, in
/// order.
fn on_all_cores<T: Sync, R: Send>(
    all: &[T],
    work: impl Fn(&[T]) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let parts = if all.len() < WORTH_A_THREAD { 1 } else { cores };
    let mut parts = all.chunks(all.len().div_ceil(parts).max(1));
    let first = parts.next().unwrap_or_default();
    let work = &work;
    thread::scope(|scope| {
        let spawn = |part| {
            let beside = move || {
                let done = work(part);
                clear_stack();
                done
            };
            thread::Builder::new().name("kluis-rewrap".into()).spawn_scoped(scope, beside)
        };
        let others: Vec<_> = parts
            .map(spawn)
            .collect::<io::Result<_>>()
            .map_err(Error::io("a thread cannot be started"))?;
        let mut done = vec![work(first)?];
        for other in others {
            done.push(other.join().unwrap_or(Err(Error::Dead))?);
        }
        Ok(done)
    })
}
