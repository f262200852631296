//! One vault, one seed: letters come, are read and forgotten, the cabinet gets new keys, and the
//! machine dies at any call. On some days (`swept`) more than that happens.

use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, mpsc};

use super::disk::{Crash, Fault, SimDisk, Wrong};
use super::model::{Known, Model, Stop, hold};
use super::rng::Rng;
use super::swept::Swept;
use crate::ids::{Address, Digest, ItemId, LetterId, SlotId, VaultId};
use crate::ledger::entry::CHECKPOINT_KEY;
use crate::ledger::{Checkpoint, Entry, Fact, checkpoint};
use crate::secret::Secret;
use crate::store::commit::{Job, Work};
use crate::store::disk::{Disk, Durable};
use crate::store::{Batch, Committed, Error, Store, opening};
use crate::vault::chunk::{self, SealedChunk};
use crate::vault::seal::{self, Inner, Kind, Place};
use crate::vault::{self, TAG};

const STATE: &str = "/vault/state";
const KEYS: &str = "/vault/keys";
/// How often something happens between two steps of a copy of the cabinet, in percent.
const BESIDE_A_COPY: u64 = 25;

/// What a day came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) crashes: u64,
    pub(super) kept: u64,
    pub(super) forgotten: u64,
    /// Things that happened while the cabinet was copied.
    pub(super) beside: u64,
    /// Second looks of sweeps that were done.
    pub(super) swept: u64,
    /// Letters of staged packs that were kept, and that were not.
    pub(super) staged: u64,
    pub(super) abandoned: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.crashes += other.crashes;
        self.kept += other.kept;
        self.forgotten += other.forgotten;
        self.beside += other.beside;
        self.swept += other.swept;
        self.staged += other.staged;
        self.abandoned += other.abandoned;
    }
}

pub(super) struct Day {
    pub(super) disk: Arc<SimDisk>,
    pub(super) model: Model,
    pub(super) rng: Rng,
    vault: VaultId,
    checkpoint_key: [u8; 32],
    pub(super) minute: u64,
    pub(super) tally: Tally,
    /// The cabinet gets a new key: what happens happens beside.
    is_rotating: bool,
    /// What else may happen on this day.
    pub(super) swept: Option<Swept>,
}

/// A random day. Violations are said in words.
pub(super) fn run(seed: u64, ignored: Option<Durable>) -> Result<Tally, String> {
    in_words(|| {
        let mut day = Day::new(seed);
        day.found()?;
        day.disk.ignore(ignored);
        day.live()
    })
}

/// Violations of a day in words.
pub(super) fn in_words(day: impl FnOnce() -> Result<Tally, Stop>) -> Result<Tally, String> {
    day().map_err(|stop| match stop {
        Stop::Violation(what) => what,
        Stop::Refused(error) => format!("a disk without fault refused: {error}"),
    })
}

/// A short day, and then one place of one file is not what was written. Says whether the damage was
/// named; if not it must have changed nothing.
pub(super) fn rot(seed: u64) -> Result<bool, String> {
    let day = || -> Result<bool, Stop> {
        let mut day = Day::new(seed);
        day.found()?;
        let store = day.reopen()?;
        for _ in 0..6 {
            day.something(&store)?;
        }
        drop(store);
        let damaged = day.disk.rot();
        let opened =
            opening::open(&day.device(), Path::new(STATE), Path::new(KEYS), &mut |_, _| {});
        let (store, opening) = match opened {
            Ok(opened) => opened,
            // An end that was cut off and an erasure in it: the checkpoint beside the key knows. Or a
            // cabinet that was just switched to, with the one before still there.
            Err(
                Error::Damaged { .. }
                | Error::Later { .. }
                | Error::Older { .. }
                | Error::OlderWhole { .. },
            ) => return Ok(true),
            Err(error) => return Err(Stop::Violation(format!("{damaged:?}: {error}"))),
        };
        // The last group of the ledger or the cabinet looks like a write that was cut off.
        if !opening.quarantined.is_empty() {
            return Ok(true);
        }
        // Or like one that never happened: whoever holds a newer checkpoint sees that.
        if store.size() < day.model.size() {
            return Ok(true);
        }
        let all = day.model.reads_all(&store)?;
        let report = store.check(false, &|_, _| {})?;
        hold!(all || !report.is_clean(), "{damaged:?}: damage that nobody names");
        Ok(!report.is_clean())
    };
    day().map_err(|stop| format!("{stop:?}"))
}

impl Day {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(rng.next());
        let vault = VaultId::new(rng.bytes());
        Self {
            disk,
            model: Model::new(),
            vault,
            checkpoint_key: rng.bytes(),
            rng,
            minute: 1_000_000,
            tally: Tally::default(),
            is_rotating: false,
            swept: None,
        }
    }

    /// Makes a vault with a checkpoint key.
    pub(super) fn found(&mut self) -> Result<(), Stop> {
        let device = self.device();
        device.make_dir(Path::new("/vault"))?;
        device.sync_dir(Path::new("/"))?;
        opening::create(&device, Path::new(STATE), Path::new(KEYS), self.vault)?;
        let store = self.open()?;
        self.own_key(&store)
    }

    /// Some processes, each with its crash, and the end.
    pub(super) fn live(mut self) -> Result<Tally, Stop> {
        for _ in 0..=self.rng.below(3) {
            self.session()?;
            let crash = *self.rng.pick(&Crash::ALL).expect("some");
            self.crash(crash);
        }
        self.end()
    }

    pub(super) fn device(&self) -> Disk {
        Disk::Simulated(Arc::clone(&self.disk))
    }

    pub(super) fn open(&mut self) -> Result<Store, Stop> {
        // A pack whose barrier failed may be read from the cache and not be there: see the decisions.
        if self.disk.has_lost_packs() {
            self.crash(Crash::Nothing);
        }
        self.disk.begin();
        let (store, opening) =
            opening::open(&self.device(), Path::new(STATE), Path::new(KEYS), &mut |_, _| {})?;
        hold!(opening.lost == 0, "{} keys were lost", opening.lost);
        Ok(store)
    }

    /// The vault as the next process finds it.
    pub(super) fn reopen(&mut self) -> Result<Store, Stop> {
        let store = self.open()?;
        self.model.refused(&store)?;
        Ok(store)
    }

    /// The same, and everything compared.
    pub(super) fn recover(&mut self) -> Result<Store, Stop> {
        let store = self.reopen()?;
        self.model.verify(&store, &self.disk)?;
        Ok(store)
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        self.disk.kill();
        self.disk.crash(crash);
        self.tally.crashes += 1;
    }

    /// Recovers on a disk without fault; compares, closes, and compares again.
    pub(super) fn end(mut self) -> Result<Tally, Stop> {
        self.disk.plan(None);
        let store = self.recover()?;
        self.one_generation()?;
        self.letter(&store)?;
        drop(store);
        let store = self.recover()?;
        if self.swept.is_some() {
            self.sweep_all(&store)?;
            drop(store);
            drop(self.recover()?);
        }
        let (kept, forgotten) = self.model.counts();
        Ok(Tally { calls: self.disk.calls(), kept, forgotten, ..self.tally })
    }

    /// Of keys and cabinets there is one.
    fn one_generation(&self) -> Result<(), Stop> {
        let keys = self.device().names(Path::new(KEYS))?;
        let keys = keys.iter().filter(|name| name.ends_with(".key")).count();
        let names = self.device().names(Path::new(STATE))?;
        let cabinets = names.iter().filter(|name| name.starts_with("cabinet.")).count();
        hold!(keys == 1 && cabinets == 1, "{keys} keys, {cabinets} cabinets");
        Ok(())
    }

    /// One process: opens the vault, works, and ends in some way.
    fn session(&mut self) -> Result<(), Stop> {
        let early = self.rng.chance(40);
        let (events, calls) = self.swept.as_ref().map_or((8, 150), |_| (12, 500));
        if early {
            self.plan(60);
        }
        let opened = self.recover();
        let Some(store) = self.excused(opened)? else { return Ok(()) };
        if !early {
            self.plan(calls);
        }
        for _ in 0..3 + self.rng.below(events) {
            let done = self.something(&store);
            self.excused(done)?;
            hold!(store.is_dead() || !self.disk.lost(), "a barrier failed, and the store goes on");
            if store.is_dead() {
                return self.after_death(&store);
            }
            if self.disk.is_gone() {
                return Ok(());
            }
        }
        if self.rng.chance(50) {
            self.disk.kill();
        }
        Ok(())
    }

    fn plan(&mut self, within: u64) {
        let wrong = match self.rng.below(10) {
            0..5 => Wrong::Killed,
            n => Wrong::ALL[n as usize - 5],
        };
        let at = self.disk.calls() + 1 + self.rng.below(within);
        self.disk.plan(Some(Fault { at, wrong, for_ever: self.rng.chance(50) }));
    }

    /// A refusal is excused if something was wrong with the disk that a caller may notice.
    pub(super) fn excused<T>(&self, result: Result<T, Stop>) -> Result<Option<T>, Stop> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Refused(_)) if self.disk.struck_hard() => Ok(None),
            Err(Stop::Refused(error)) => {
                Err(Stop::Violation(format!("refused without a reason: {error}")))
            }
            Err(violation) => Err(violation),
        }
    }

    /// A store that has stopped answers for nothing any more.
    pub(super) fn after_death(&mut self, store: &Store) -> Result<(), Stop> {
        let batch = self.make_letter();
        hold!(matches!(store.commit(batch), Err(Error::Dead)), "a dead store answered");
        hold!(store.rotate_cabinet(self.minute).is_err(), "a dead store rotated");
        Ok(())
    }

    pub(super) fn something(&mut self, store: &Store) -> Result<(), Stop> {
        self.minute += 1;
        if self.swept.is_some() {
            return self.something_more(store);
        }
        match self.rng.below(100) {
            0..38 => self.letter(store),
            38..50 => self.letters(store),
            50..58 => self.look(store),
            58..72 => self.forget(store),
            72..80 => self.rotate(store),
            80..86 => self.checkpoint(store),
            86..90 => self.own_key(store),
            90..94 => self.verify(store),
            _ => self.nothing(store),
        }
    }

    pub(super) fn verify(&mut self, store: &Store) -> Result<(), Stop> {
        self.model.verify(store, &self.disk)
    }

    /// Reads something that is not there.
    pub(super) fn nothing(&mut self, store: &Store) -> Result<(), Stop> {
        let address = Address::new(self.rng.bytes());
        match store.read_box(&address) {
            Err(Error::Vault(vault::Error::Missing)) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(Stop::Violation("a box that nobody kept".to_owned())),
        }
    }

    /// Commits, and follows the ledger.
    pub(super) fn commit(&mut self, store: &Store, batch: Batch) -> Result<(), Stop> {
        let committed = store.commit(batch);
        self.answer(store, vec![committed])
    }

    pub(super) fn answer(
        &mut self,
        store: &Store,
        answers: Vec<Result<Committed, Error>>,
    ) -> Result<(), Stop> {
        self.answered(store, &answers.iter().map(Result::is_ok).collect::<Vec<_>>())?;
        answers.into_iter().find_map(Result::err).map_or(Ok(()), |error| Err(error.into()))
    }

    /// What was brought last was answered, or not.
    pub(super) fn answered(&mut self, store: &Store, answers: &[bool]) -> Result<(), Stop> {
        // What was staged comes into the index after the answer, in another thread.
        store.shared.wait_for_index();
        self.model.answered(answers);
        if store.is_dead() { self.model.follow(store) } else { self.model.refused(store) }
    }

    pub(super) fn letter(&mut self, store: &Store) -> Result<(), Stop> {
        let batch = self.make_letter();
        self.commit(store, batch)
    }

    /// Some letters in one group.
    pub(super) fn letters(&mut self, store: &Store) -> Result<(), Stop> {
        let batches: Vec<Batch> = (0..2 + self.rng.below(2)).map(|_| self.make_letter()).collect();
        let answers = commit_together(store, batches);
        self.answer(store, answers)
    }

    pub(super) fn look(&mut self, store: &Store) -> Result<(), Stop> {
        let entry = Entry { count: Some(self.rng.next()), ..Entry::new(Fact::Looked, self.minute) };
        self.model.bring(std::slice::from_ref(&entry));
        self.commit(store, Batch::of(vec![entry]))
    }

    pub(super) fn forget(&mut self, store: &Store) -> Result<(), Stop> {
        let mut there = self.model.forgettable();
        let mut slots = Vec::new();
        for _ in 0..1 + self.rng.below(2) {
            if !there.is_empty() {
                slots.push(there.swap_remove(self.rng.below(there.len() as u64) as usize));
            }
        }
        if slots.is_empty() {
            return Ok(());
        }
        let forgotten = Entry::new(Fact::Forgotten, self.minute);
        let entries: Vec<_> =
            slots.iter().map(|slot| Entry { slot: Some(*slot), ..forgotten.clone() }).collect();
        self.model.bring(&entries);
        let committed = store.forget(entries, &slots);
        self.answer(store, vec![committed])
    }

    /// A new key for the cabinet. Between the steps of the copy other things happen.
    pub(super) fn rotate(&mut self, store: &Store) -> Result<(), Stop> {
        if self.is_rotating {
            // It would wait for the one under way.
            return self.look(store);
        }
        self.is_rotating = true;
        let (minute, generation) = (self.minute, self.model.generation());
        let amid = RefCell::new((&mut *self, Ok(())));
        let rotated = store.rotate_beside(minute, &|| {
            let (day, happened) = &mut *amid.borrow_mut();
            if happened.is_ok() && day.rng.chance(BESIDE_A_COPY) {
                day.tally.beside += 1;
                *happened = day.something(store);
            }
        });
        let (day, happened) = amid.into_inner();
        day.is_rotating = false;
        if matches!(rotated, Err(Error::NotRotated(_))) {
            // Of the copy alone, which is gone.
            day.disk.forgive();
        }
        happened?;
        match rotated {
            Ok(_) => {
                self.model.follow(store)?;
                self.one_generation()?;
                self.nothing_forgotten_in_the_cabinet(store)
            }
            Err(error) => {
                if matches!(error, Error::NotRotated(_)) {
                    self.model.follow(store)?;
                    let is_before = self.model.generation() == generation;
                    hold!(is_before, "a rotation that was refused is in the ledger");
                }
                Err(error.into())
            }
        }
    }

    /// Of what is forgotten, a cabinet that was just made has no slot, dropped or not.
    fn nothing_forgotten_in_the_cabinet(&self, store: &Store) -> Result<(), Stop> {
        let path = store.shared.cabinet_place.cabinet(self.model.generation());
        let bytes = self.disk.calmly(|| self.device().read(&path))?;
        let lies_in = |slot: &SlotId| bytes.windows(16).any(|some| some == slot.as_bytes());
        hold!(
            !self.model.emptied().any(lies_in),
            "a new cabinet has a slot of something forgotten"
        );
        Ok(())
    }

    pub(super) fn checkpoint(&mut self, store: &Store) -> Result<(), Stop> {
        let note = store.checkpoint()?;
        let public = checkpoint::public_key(&self.checkpoint_key);
        let read = Checkpoint::verify(&note, &public)
            .map_err(|error| Stop::Violation(format!("a checkpoint: {error}")))?;
        self.model.head(store, read)
    }

    /// Puts the key that signs checkpoints into a slot.
    pub(super) fn own_key(&mut self, store: &Store) -> Result<(), Stop> {
        let slot = SlotId::new(self.rng.bytes());
        let entry = Entry {
            slot: Some(slot),
            count: Some(CHECKPOINT_KEY),
            hash: Some(Digest::new(checkpoint::public_key(&self.checkpoint_key))),
            ..Entry::new(Fact::ServerKey, self.minute)
        };
        self.model.bring(std::slice::from_ref(&entry));
        self.model.bring_key(slot, self.checkpoint_key);
        let keys = vec![(slot, Secret::new(self.checkpoint_key))];
        self.commit(store, Batch { keys, ..Batch::of(vec![entry]) })
    }

    /// A letter with some items, as casebook brings it; the model knows of it from now on.
    fn make_letter(&mut self) -> Batch {
        let mut chunks = Vec::new();
        let batch = self.letter_of(|day| Ok(day.make_chunks(&mut chunks)));
        let batch = Batch { chunks, ..batch.expect("chunks are made in memory") };
        self.model.bring(&batch.entries);
        batch
    }

    /// A letter with some items whose chunks `make` makes.
    pub(super) fn letter_of(
        &mut self,
        mut make: impl FnMut(&mut Self) -> Result<Chunks, Stop>,
    ) -> Result<Batch, Stop> {
        let letter = LetterId::new(self.rng.bytes());
        let mut batch = Batch::default();
        batch
            .entries
            .push(Entry { letter: Some(letter), ..Entry::new(Fact::LetterReceived, self.minute) });
        let boxes = 1 + self.rng.below(3);
        for i in 0..boxes {
            let (kind, item) = match i {
                0 => (Kind::Letter, ItemId::new(*letter.as_bytes())),
                1 => (Kind::Contact, ItemId::new(*letter.as_bytes())),
                _ => (Kind::Item, ItemId::new(self.rng.bytes())),
            };
            let Chunks { all: chunks, written } =
                if kind == Kind::Contact { Chunks::default() } else { make(self)? };
            let place = Place { kind, vault: self.vault, letter, item };
            let sealed = self.rng.bytes::<200>().repeat(1 + self.rng.below(6) as usize);
            let slot = SlotId::new(self.rng.bytes());
            let inner = Inner { chunks: chunks.clone(), sealed };
            let sealed = seal::outer_in_drawn(slot, &inner, place);
            let content = Digest::new(self.rng.bytes());
            batch.entries.push(Entry::of_box(Fact::BoxSealed, self.minute, &sealed, content));
            let known = Known {
                address: sealed.address(),
                bytes: sealed.bytes().to_vec(),
                key: *sealed.key(),
                chunks,
                written,
            };
            self.model.bring_box(sealed.slot(), known);
            batch.boxes.push(sealed);
        }
        Ok(batch)
    }

    /// Chunks as they come from the staff side: nobody here can tell what they are. Some come twice.
    fn make_chunks(&mut self, chunks: &mut Vec<SealedChunk>) -> Chunks {
        let mut made = Chunks::default();
        for _ in 0..self.rng.below(3) {
            if self.swept.is_some()
                && let Some(there) = self.counted_on()
            {
                made.all.push(there);
                continue;
            }
            let known: Vec<_> = self.model.chunks().map(|(address, _)| *address).collect();
            let again = self.rng.pick(&known).copied().filter(|_| self.rng.chance(30));
            let address = again.unwrap_or_else(|| self.make_chunk());
            let bytes = self.model.chunks().find(|(known, _)| **known == address).expect("known").1;
            chunks.push(SealedChunk::received(address, bytes).expect("a length of chunks"));
            made.all.push(address);
            made.written.push(address);
        }
        made
    }

    fn make_chunk(&mut self) -> Address {
        let address = Address::new(self.rng.bytes());
        let length = chunk::GRAIN * (1 + self.rng.below(3) as usize) + TAG;
        let bytes = self.rng.bytes::<64>().repeat(length.div_ceil(64));
        self.model.bring_chunk(address, bytes[..length].to_vec());
        address
    }
}

/// Chunks of a box.
#[derive(Default)]
pub(super) struct Chunks {
    pub(super) all: Vec<Address>,
    /// Those that come along as bytes.
    pub(super) written: Vec<Address>,
}

/// Brings several batches so that they share a group.
pub(super) fn commit_together(store: &Store, batches: Vec<Batch>) -> Vec<Result<Committed, Error>> {
    let (jobs, answers): (Vec<_>, Vec<_>) = batches
        .into_iter()
        .map(|batch| {
            batch.assert_whole(store.vault());
            batch.staged.iter().for_each(|staged| staged.hand_in(&store.shared));
            let (reply, answer) = mpsc::sync_channel(1);
            ((Work::of(batch), reply), answer)
        })
        .unzip();
    if let Some(queue) = &store.jobs {
        let _ = queue.send(Job::Together(jobs));
    }
    answers.into_iter().map(|answer| answer.recv().unwrap_or(Err(Error::Dead))).collect()
}
