//! The one thread that makes anything durable (design §7).
//!
//! ```text
//! chunks and boxes → packs, those of stagings too ‖ box keys → cabinet, both fdatasync, side by side
//!   → one ledger frame a batch, one fdatasync = commit point → drops → index → answer
//! ```
//!
//! Whatever waits is taken together, and what is announced is waited for a little (`coming`): many
//! letters, one pair of barriers. A disk that is full before
//! the commit point costs the group and nothing else; any other failed write or barrier ends it
//! for good, because what the system failed to write it has forgotten.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use super::cabinet::{self, Kept};
use super::coming::{Announced, Coming};
use super::log::Numbered;
use super::packing::{self, Record};
use super::packs::{PackId, Sort, Spot, UNIT};
use super::rewrap::Next;
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::{Batch, Committed, Error, Staged, log, mark, rotation, staged};
use crate::ids::{Address, SlotId};
use crate::lab::step;
use crate::ledger::{Entry, Fact};
use crate::secret::{Secret, clear_stack};
use crate::vault::chunk::SealedChunk;
use crate::vault::seal::SealedBox;

/// The steps of a commit that a crash must survive, in order (the two syncs side by side).
pub const COMMIT_STEPS: &[&str] = &[
    "commit:begin",
    "commit:packs-written",
    "commit:cabinet-written",
    "commit:packs-synced",
    "commit:cabinet-synced",
    "commit:ledger-written",
    "commit:ledger-synced",
    "commit:indexed",
    "commit:answered",
];
/// The steps of forgetting that a crash must survive, between the ledger and the index.
pub const FORGET_STEPS: &[&str] = &["forget:recorded", "forget:drop-written", "forget:dropped"];
/// The steps of a rotation of the cabinet that a crash must survive, in order; those up to
/// `copy-verified` beside the committer.
pub const ROTATE_STEPS: &[&str] = &[
    "rotate:begin",
    "rotate:key-written",
    "rotate:copied",
    "rotate:copy-verified",
    "rotate:caught-up",
    "rotate:verified",
    "rotate:renamed",
    "rotate:switched",
    "rotate:recorded",
    "rotate:key-overwritten",
    "rotate:key-destroyed",
    "rotate:done",
];

/// A group takes no further batch when it has so many bytes.
const GROUP_BYTES: u64 = 64 << 20;
/// Room for a record or an entry in the tables, the cabinet, the ledger and the index, in bytes.
const BESIDE_A_RECORD: u64 = 1 << 10;
/// Room for the head of new files and the end of old ones, in bytes.
const BESIDE_A_BATCH: u64 = 64 << 10;

type Answer = Result<Committed, Error>;
type Reply<T> = SyncSender<Result<T, Error>>;

/// What is asked of the committer.
pub(super) enum Job {
    Commit(Work, Reply<Committed>),
    /// To a cabinet that was copied beside.
    Switch {
        minute: u64,
        next: Box<Next>,
        reply: Reply<Committed>,
    },
    /// How all stands between two groups, for a backup; `true` closes the packs first.
    Snapshot(bool, Reply<Snapshot>),
    /// Batches that share a group, whatever the scheduler does.
    #[cfg(test)]
    Together(Vec<(Work, Reply<Committed>)>),
}

/// A batch, made ready to be written by the thread that brings it.
#[derive(Default)]
pub(super) struct Work {
    chunks: Vec<Record>,
    boxes: Vec<Record>,
    staged: Vec<Staged>,
    sealed: Vec<SealedBox>,
    keys: Vec<(SlotId, Secret<[u8; 32]>)>,
    entries: Vec<Entry>,
    announced: Option<Announced>,
    pub(super) from_reserve: bool,
}

impl Work {
    pub(super) fn of(batch: Batch) -> Self {
        let chunk =
            |chunk: SealedChunk| Record::new(Sort::Chunks, chunk.address(), chunk.into_record());
        let boxed = |sealed: &SealedBox| {
            let mut bytes = vec![0; super::frame::HEADER];
            bytes.extend_from_slice(sealed.bytes());
            Record::new(Sort::Boxes, sealed.address(), bytes)
        };
        Self {
            chunks: batch.chunks.into_iter().map(chunk).collect(),
            boxes: batch.boxes.iter().map(boxed).collect(),
            sealed: batch.boxes,
            keys: batch.keys,
            entries: batch.entries,
            announced: batch.announced,
            // What was staged is content from outside.
            from_reserve: batch.from_reserve && batch.staged.is_empty(),
            staged: batch.staged,
        }
    }

    /// The room that it takes on the disk, in bytes, generously.
    pub(super) fn room(&self) -> u64 {
        let records = self.chunks.iter().chain(&self.boxes);
        let packed: u64 = records.map(|r| r.len().next_multiple_of(UNIT) + BESIDE_A_RECORD).sum();
        let others = self.keys.len() + self.entries.len();
        packed + others as u64 * BESIDE_A_RECORD + BESIDE_A_BATCH
    }

    fn len(&self) -> u64 {
        self.chunks.iter().chain(&self.boxes).map(Record::len).sum()
    }

    /// Takes in what another batch keeps; its entries stay apart.
    fn absorb(&mut self, other: Self) -> Vec<Entry> {
        self.chunks.extend(other.chunks);
        self.boxes.extend(other.boxes);
        self.staged.extend(other.staged);
        self.sealed.extend(other.sealed);
        self.keys.extend(other.keys);
        self.from_reserve &= other.from_reserve;
        other.entries
    }
}

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) chunks: packing::Writer,
    pub(super) boxes: packing::Writer,
    pub(super) cabinet: cabinet::Writer,
    pub(super) ledger: log::Writer,
    /// Recorded as forgotten, not yet dropped: the disk was full.
    pub(super) undropped: Vec<SlotId>,
}

impl Committer {
    /// Serves until every sender is gone; closes the packs then.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let (works, replies, last) = gather(job, jobs, &self.shared.coming);
            // What may use the reserve must not share the fate of what may not.
            let (first, second): (Vec<_>, Vec<_>) =
                works.into_iter().zip(replies).partition(|(work, _)| work.from_reserve);
            for some in [first, second] {
                if !some.is_empty() {
                    let (works, replies) = some.into_iter().unzip();
                    self.serve(works, replies);
                    clear_stack();
                }
            }
            match last {
                Some(Last::Switch(minute, next, reply)) => {
                    let result = self.alive().and_then(|()| self.rotate(minute, *next));
                    clear_stack();
                    let _ = reply.send(result);
                }
                Some(Last::Snapshot(closes, reply)) => {
                    let result = self.alive().and_then(|()| self.snapshot(closes));
                    self.note(&result);
                    let _ = reply.send(result);
                }
                None => {}
            }
        }
        if self.alive().is_ok() && self.close().is_err() {
            tracing::warn!("a pack stays open; it is closed at the next start");
        }
    }

    fn alive(&self) -> Result<(), Error> {
        if self.shared.dead.load(Ordering::Acquire) { Err(Error::Dead) } else { Ok(()) }
    }

    /// A write that failed is final. A full disk, or damage found on the way, is not.
    fn note<T>(&self, result: &Result<T, Error>) {
        if let Err(error) = result
            && !matches!(
                error,
                Error::Full
                    | Error::Vault(_)
                    | Error::Absent { .. }
                    | Error::Damaged { .. }
                    | Error::Later { .. }
            )
        {
            self.stop(error);
        }
    }

    fn stop(&self, error: &Error) {
        if !self.shared.dead.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the store stops");
        }
    }

    fn serve(&mut self, works: Vec<Work>, replies: Vec<Reply<Committed>>) {
        let mut all = Work { from_reserve: true, ..Work::default() };
        let batches: Vec<_> = works.into_iter().map(|work| all.absorb(work)).collect();
        let staged = std::mem::take(&mut all.staged);
        let result = self.alive().and_then(|()| {
            if all.from_reserve {
                self.with_reserve(|this| this.commit(&mut all, Vec::new(), batches.clone()))
            } else {
                self.commit(&mut all, staged, batches)
            }
        });
        self.note(&result);
        match result {
            Ok((done, staged)) => {
                // All is durable, and much may be staged: who asks for it waits, who brought it
                // does not.
                let shared = Arc::clone(&self.shared);
                let indexing = (!staged.is_empty()).then(|| shared.indexing());
                for (reply, answer) in replies.into_iter().zip(done) {
                    let _ = reply.send(answer);
                }
                step("commit:answered");
                staged.into_iter().for_each(|staged| staged.settle(&shared));
                drop(indexing);
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.again()));
                }
            }
        }
    }

    /// Tries; if there is no room, lets the reserve go and tries once more.
    fn with_reserve<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.shared);
        shared.reserve.with(|| attempt(self))
    }

    /// Commits a group; what it gives for each batch may still be a failed drop. What was staged is
    /// left for the index. What was written before an error does not count.
    fn commit(
        &mut self,
        all: &mut Work,
        staged: Vec<Staged>,
        batches: Vec<Vec<Entry>>,
    ) -> Result<(Vec<Answer>, Vec<Staged>), Error> {
        self.try_commit(all, staged, batches).inspect_err(|_| {
            self.chunks.abandon();
            self.boxes.abandon();
        })
    }

    fn try_commit(
        &mut self,
        all: &mut Work,
        mut staged: Vec<Staged>,
        batches: Vec<Vec<Entry>>,
    ) -> Result<(Vec<Answer>, Vec<Staged>), Error> {
        step("commit:begin");
        let mut spots = self.chunks.write(&all.chunks)?;
        spots.append(&mut self.boxes.write(&all.boxes)?);
        step("commit:packs-written");
        let adds = self.wrap(all, &batches);
        if !all.from_reserve {
            // It is not tried again: gives back the memory of what is written.
            *all = Work::default();
        }
        self.cabinet.append(&adds, &[])?;
        step("commit:cabinet-written");
        self.shared.barriers.fetch_add(1, Ordering::Relaxed);
        let is_dirty = self.chunks.is_dirty() || self.boxes.is_dirty() || !staged.is_empty();
        if is_dirty || !adds.is_empty() {
            self.sync_side_by_side(&mut staged)?;
        }
        let forgets: Vec<_> =
            batches.iter().map(|entries| entries.iter().any(Entry::empties_slot)).collect();
        staged.iter_mut().for_each(|staged| staged.keep(true));
        let recorded = self.record(batches, adds);
        if matches!(recorded, Err(Error::Full)) {
            // No frame was written: nothing names it.
            staged.iter_mut().for_each(|staged| staged.keep(false));
        }
        let done = recorded?;
        let dropped = self.drop_forgotten();
        self.index(&spots);
        step("commit:indexed");
        let done = match dropped {
            Ok(()) => done.into_iter().map(Ok).collect(),
            Err(Error::Full) => done
                .into_iter()
                .zip(forgets)
                .map(|(done, forgets)| if forgets { Err(Error::Full) } else { Ok(done) })
                .collect(),
            Err(error) => return Err(error),
        };
        Ok((done, staged))
    }

    /// Wraps every key of the group for its slot.
    fn wrap(&self, all: &Work, batches: &[Vec<Entry>]) -> Vec<(SlotId, Kept)> {
        let minute = batches.iter().flatten().map(|entry| entry.minute).max().unwrap_or(0);
        let slots = self.shared.slots();
        let boxes = all.sealed.iter().map(|sealed| (sealed.slot(), sealed.key()));
        let own = all.keys.iter().map(|(id, key)| (*id, key.expose()));
        boxes.chain(own).map(|(id, key)| (id, slots.wrap(id, key, minute))).collect()
    }

    /// Packs and cabinet durable, at the same time.
    fn sync_side_by_side(&mut self, staged: &mut [Staged]) -> Result<(), Error> {
        let (chunks, boxes, cabinet) = (&mut self.chunks, &mut self.boxes, &self.cabinet);
        let packs = &self.shared.packs;
        let sync_packs = || {
            let synced = chunks.sync().and_then(|()| boxes.sync());
            let synced = synced.and_then(|()| staged::sync(packs, staged));
            step("commit:packs-synced");
            synced
        };
        let sync_cabinet = || {
            let synced = cabinet.sync();
            step("commit:cabinet-synced");
            synced
        };
        cabinet.place.disk.side_by_side(sync_packs, sync_cabinet)
    }

    /// The commit point: one frame a batch, one barrier. Then memory follows.
    fn record(
        &mut self,
        batches: Vec<Vec<Entry>>,
        adds: Vec<(SlotId, Kept)>,
    ) -> Result<Vec<Committed>, Error> {
        let frames = self.ledger.write(batches)?;
        step("commit:ledger-written");
        self.ledger.sync()?;
        step("commit:ledger-synced");
        {
            let mut slots = self.shared.slots_mut();
            slots.add(adds);
            slots.end = self.cabinet.tail.end();
        }
        // Whoever sees an entry finds its key, or the entry that says why not.
        let empties = |(entry, _): &Numbered| entry.slot.filter(|_| entry.empties_slot());
        let emptied: Vec<_> =
            frames.iter().flat_map(|(_, entries)| entries).filter_map(empties).collect();
        let mut done = Vec::with_capacity(frames.len());
        let mut history = self.shared.history_mut();
        for (place, entries) in frames {
            history.extend(place, &entries);
            let last_seq = place.first + entries.len() as u64 - 1;
            done.push(Committed { first_seq: place.first, last_seq });
        }
        drop(history);
        let mut slots = self.shared.slots_mut();
        self.undropped.extend(emptied.into_iter().filter(|slot| slots.take_out(*slot)));
        Ok(done)
    }

    /// Drops the slots of what the ledger calls forgotten. If there is no room even in the reserve
    /// the next group tries again, or the next start.
    pub(super) fn drop_forgotten(&mut self) -> Result<(), Error> {
        if self.undropped.is_empty() {
            return Ok(());
        }
        step("forget:recorded");
        self.with_reserve(|this| this.cabinet.append(&[], &this.undropped))?;
        step("forget:drop-written");
        self.cabinet.sync()?;
        step("forget:dropped");
        self.undropped.clear();
        self.shared.slots_mut().end = self.cabinet.tail.end();
        self.mark()
    }

    /// Puts the checkpoint beside the cabinet's key: an erasure is done. Without room there the one
    /// before stays, which the ledger extends, too.
    fn mark(&self) -> Result<(), Error> {
        match mark::write(&self.cabinet.place, &self.shared.slots(), &self.shared.history()) {
            Err(Error::Full) => {
                tracing::warn!("no room for the checkpoint beside the cabinet's key");
                Ok(())
            }
            other => other,
        }
    }

    /// The index follows; what is wrong with it is found when it is asked.
    pub(super) fn index(&mut self, spots: &[(Address, Spot)]) {
        let ends: Vec<(PackId, u64)> =
            self.chunks.take_ends().into_iter().chain(self.boxes.take_ends()).collect();
        self.shared.reach(&ends);
        if (!spots.is_empty() || !ends.is_empty()) && self.shared.index.put(spots, &ends).is_err() {
            tracing::warn!("the index is in doubt; it is made again when it is asked");
        }
    }

    /// The end of a rotation, in which nothing else is committed. What fails before the switch
    /// costs what was copied and nothing else.
    fn rotate(&mut self, minute: u64, mut next: Next) -> Result<Committed, Error> {
        let changed = next.follow(&self.shared.slots())?;
        self.with_reserve(|_| next.finish(&changed))?;
        next.verify_end(&changed)?;
        // A switch cannot be taken back: what fails from here on, the next start finishes.
        self.switch(minute, next).inspect_err(|error| self.stop(error))
    }

    fn switch(&mut self, minute: u64, next: Next) -> Result<Committed, Error> {
        let place = self.cabinet.place.clone();
        let generation = next.generation;
        let (slots, tail, opens) = rotation::switch(&place, next)?;
        self.cabinet.tail = tail;
        self.undropped.clear();
        // Freed at the end, and not while others wait for the lock.
        let old = std::mem::replace(&mut *self.shared.slots_mut(), slots);
        let committed = self.record_rotation(minute, generation)?;
        rotation::destroy_others(&place, generation, opens)?;
        self.mark()?;
        drop(old);
        Ok(committed)
    }

    /// Enters a switch that is durable.
    pub(super) fn record_rotation(
        &mut self,
        minute: u64,
        generation: u64,
    ) -> Result<Committed, Error> {
        let entry = Entry { count: Some(generation), ..Entry::new(Fact::CabinetRotated, minute) };
        let mut done =
            self.with_reserve(|this| this.record(vec![vec![entry.clone()]], Vec::new()))?;
        step("rotate:recorded");
        done.pop().ok_or(Error::Dead)
    }

    pub(super) fn close(&mut self) -> Result<(), Error> {
        for writer in [&mut self.chunks, &mut self.boxes] {
            writer.close()?;
            writer.sync()?;
        }
        self.index(&[]);
        Ok(())
    }
}

/// What shares no group: it is done behind the one that was gathered before it.
enum Last {
    Switch(u64, Box<Next>, Reply<Committed>),
    Snapshot(bool, Reply<Snapshot>),
}

/// Takes what waits and what is announced, up to what shares no group or to [`GROUP_BYTES`].
fn gather(
    first: Job,
    jobs: &Receiver<Job>,
    coming: &Coming,
) -> (Vec<Work>, Vec<Reply<Committed>>, Option<Last>) {
    let (mut works, mut replies) = (Vec::new(), Vec::new());
    let awaited = coming.awaited();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Commit(mut work, reply) => {
                work.announced = None;
                bytes += work.len();
                works.push(work);
                replies.push(reply);
            }
            #[cfg(test)]
            Job::Together(all) => {
                for (work, reply) in all {
                    works.push(work);
                    replies.push(reply);
                }
            }
            Job::Switch { minute, next, reply } => {
                return (works, replies, Some(Last::Switch(minute, next, reply)));
            }
            Job::Snapshot(closes, reply) => {
                return (works, replies, Some(Last::Snapshot(closes, reply)));
            }
        }
        if bytes >= GROUP_BYTES {
            break;
        }
        next = jobs.try_recv().ok().or_else(|| {
            let until = coming.worth_waiting(&awaited)?;
            jobs.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
        });
    }
    (works, replies, None)
}
