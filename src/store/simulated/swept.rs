//! Days on which room is given back, too, and content is written ahead of its commit.
//!
//! Everything of `day`, with packs that are full soon, and:
//!
//! * sweeps, as `upkeep` does them: first looks, second ones, what both agree on removed. Between
//!   any two of their steps something else may happen, and they may be stopped there. What is live
//!   is said by the model alone: the chunks and boxes of what was not forgotten;
//! * stagings, from one thread: parts that are committed one by one, together, late, or never;
//! * letters that refer to chunks that are there, as the later ones of an import do.
//!
//! In the end two looks that agree must leave what is live, each record once, and nothing else.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

use super::day::{Chunks, Day, Tally, commit_together, in_words};
use super::disk::Crash;
use super::model::{Stop, hold};
use super::rng::Rng;
use crate::ids::Address;
use crate::ledger::Fact;
use crate::store::disk::Durable;
use crate::store::{Batch, Error, PutError, Repeats, Staged, State, Store, Writer};
use crate::upkeep;
use crate::upkeep::sweep::{self, Plan, Progress, WAIT};
use crate::vault;
use crate::vault::chunk::{self, BODY, Base, ChunkKey, GRAIN};

/// Packs end here: a few letters fill one.
const PACKS_END_AT: u64 = 48 << 10;
const PACKS: &str = "/vault/state/packs";
/// Something happens while something else does, and no deeper.
const DEEPEST: u32 = 2;
/// Minutes for which a chunk may be counted on after a commit brought it, as an import does.
const COUNTED_ON: u64 = 24 * 60;
/// So many sweeps leave nothing behind, even of what is dead and is merged first.
const SWEEPS_IN_THE_END: u32 = 3;

/// What such a day has beside the others.
pub(super) struct Swept {
    /// The secret of what converges.
    window: [u8; 32],
    /// How many things are under way.
    depth: u32,
    is_sweeping: bool,
    /// Nothing happens beside a sweep any more.
    is_over: bool,
    /// Barriers of this sort are left out while a sweep removes.
    ignored: Option<Durable>,
}

/// A letter whose chunks lie in staged packs.
struct Part {
    batch: Batch,
    staged: Staged,
}

/// A random day with sweeps and stagings. While a sweep removes, barriers of the sort `ignored` do
/// nothing.
pub(super) fn run(seed: u64, ignored: Option<Durable>) -> Result<Tally, String> {
    in_words(|| found(seed, ignored)?.live())
}

/// A process is killed with a copy of a chunk staged that is kept; the next one sweeps, with nothing
/// between, and the power goes.
pub(super) fn run_merging(seed: u64) -> Result<Tally, String> {
    in_words(|| {
        let mut day = found(seed, None)?;
        let store = day.open()?;
        let base = Base::of(&day.swept().window);
        for is_kept in [true, false] {
            let mut staging = store.staging(Repeats::Skip);
            let mut writer = staging.writer();
            let batch = day.letter_of(|day| {
                let mut chunks = day.put_one(&base, &mut writer, b"a copy")?;
                // With more in it the pack stays: its removal would make every name durable.
                if is_kept {
                    chunks.all.extend(day.put_one(&base, &mut writer, b"no copy")?.all);
                }
                Ok(chunks)
            })?;
            drop(writer);
            let staged = staging.take()?;
            if is_kept {
                day.model.bring(&batch.entries);
                day.commit(&store, Batch { staged: vec![staged], ..batch })?;
            } else {
                day.disk.kill();
            }
        }
        drop(store);
        day.crash(Crash::Process);
        let store = day.reopen()?;
        day.sweep_once(&store)?;
        day.sweep_once(&store)?;
        day.disk.kill();
        drop(store);
        day.crash(Crash::Nothing);
        day.end()
    })
}

/// A part of a staging rests on a chunk of an earlier one, whose letter was forgotten and swept
/// before the later part is committed.
pub(super) fn run_resting(seed: u64) -> Result<Tally, String> {
    in_words(|| {
        let mut day = found(seed, None)?;
        let store = day.open()?;
        let base = Base::of(&day.swept().window);
        let mut staging = store.staging(Repeats::Skip);
        for is_first in [true, false] {
            let mut writer = staging.writer();
            let batch = day.letter_of(|day| day.put_one(&base, &mut writer, b"a repeat"))?;
            drop(writer);
            let staged = staging.take()?;
            day.model.bring(&batch.entries);
            day.commit(&store, Batch { staged: vec![staged], ..batch })?;
            while is_first && !day.model.forgettable().is_empty() {
                day.forget(&store)?;
            }
            if is_first {
                day.sweep_once(&store)?;
                day.sweep_once(&store)?;
            }
        }
        day.verify(&store)?;
        drop(staging);
        drop(store);
        day.end()
    })
}

/// A day with sweeps and stagings as it begins.
fn found(seed: u64, ignored: Option<Durable>) -> Result<Day, Stop> {
    let mut day = Day::new(seed);
    let window = day.rng.bytes();
    day.swept = Some(Swept { window, depth: 0, is_sweeping: false, is_over: false, ignored });
    day.disk.end_packs_at(PACKS_END_AT);
    day.found()?;
    Ok(day)
}

impl Day {
    fn swept(&mut self) -> &mut Swept {
        self.swept.as_mut().expect("a day with sweeps")
    }

    pub(super) fn something_more(&mut self, store: &Store) -> Result<(), Stop> {
        let Swept { depth, is_sweeping, .. } = *self.swept();
        let may_nest = depth < DEEPEST;
        match self.rng.below(100) {
            0..20 => self.letter(store),
            20..26 => self.letters(store),
            26..44 => self.forget(store),
            44..48 => self.rotate(store),
            48..51 => self.checkpoint(store),
            51..53 => self.own_key(store),
            53..58 => self.verify_packs(store),
            58..78 if may_nest => self.amid(|day| day.stage(store)),
            78..98 if may_nest && !is_sweeping => {
                self.swept().is_sweeping = true;
                let done = self.amid(|day| day.sweep(store));
                self.swept().is_sweeping = false;
                done
            }
            _ => self.nothing(store),
        }
    }

    /// What happens meanwhile lies deeper.
    fn amid<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> T {
        self.swept().depth += 1;
        let done = what(self);
        self.swept().depth -= 1;
        done
    }

    /// Sometimes something happens between two steps.
    fn meanwhile(&mut self, store: &Store, percent: u64) -> Result<(), Stop> {
        if self.rng.chance(percent) { self.something(store) } else { Ok(()) }
    }

    /// Compares everything; of what was staged and is not under way nothing is left.
    fn verify_packs(&mut self, store: &Store) -> Result<(), Stop> {
        self.verify(store)?;
        if self.swept().depth == 0 && !self.disk.struck() {
            let lie = self.device().names(Path::new(PACKS))?.len();
            let count = store.shared.packs.list()?.len();
            hold!(lie == count, "of {lie} packs {count} count, and nothing is under way");
        }
        Ok(())
    }

    /// A chunk that is there and that a letter may refer to without bringing it.
    pub(super) fn counted_on(&mut self) -> Option<Address> {
        let mut there = self.model.written_since(self.minute.saturating_sub(COUNTED_ON));
        if self.rng.chance(50) {
            let live = self.model.live();
            there = self.model.chunks().map(|(address, _)| *address).collect();
            there.retain(|address| live.contains(address));
        }
        self.rng.pick(&there).copied().filter(|_| self.rng.chance(25))
    }

    /// One step of a sweep, and perhaps the time that the next one waits for.
    fn sweep(&mut self, store: &Store) -> Result<(), Stop> {
        if self.rng.chance(60) {
            self.minute += WAIT;
            self.look(store)?;
        }
        let minute = self.minute;
        let plan = self.step_by_step(store, |progress| sweep::plan(store, minute, progress))?;
        let Some(plan) = plan else { return Ok(()) };
        self.meanwhile(store, 30)?;
        self.carry_out(store, &plan, minute)
    }

    fn carry_out(&mut self, store: &Store, plan: &Plan, minute: u64) -> Result<(), Stop> {
        let fact = match plan {
            Plan::Waits { .. } => return Ok(()),
            Plan::Nothing | Plan::First(_) => Fact::SweepPlanned,
            Plan::Second(_) => Fact::Swept,
        };
        let ignored = self.swept().ignored;
        let done = if ignored.is_some() && fact == Fact::Swept {
            // Alone, so that nobody else does without the barrier.
            self.disk.ignore(ignored);
            let done = sweep::apply(store, plan, minute, &|_, _| true);
            self.disk.ignore(None);
            done.map(Some).map_err(refused)
        } else {
            self.step_by_step(store, |progress| sweep::apply(store, plan, minute, progress))
        };
        self.model.bring_sweep(fact, minute);
        self.answered(store, &[matches!(done, Ok(Some(_)))])?;
        let Some(summary) = done? else { return Ok(()) };
        self.tally.swept += u64::from(fact == Fact::Swept);
        let is_true = summary.differing == 0 && summary.damaged == 0;
        hold!(is_true || self.disk.struck(), "a sweep finds {summary:?}");
        Ok(())
    }

    /// Does something of a sweep; between its steps something else may happen, or it is stopped.
    fn step_by_step<T>(
        &mut self,
        store: &Store,
        what: impl FnOnce(Progress<'_>) -> Result<T, upkeep::Error>,
    ) -> Result<Option<T>, Stop> {
        let (often, stops) = match self.swept().is_over {
            true => (0, false),
            false => (self.rng.below(8), self.rng.chance(15)),
        };
        let amid = RefCell::new((self, Ok(())));
        let done = what(&|_, _| {
            let (day, happened) = &mut *amid.borrow_mut();
            if stops && day.rng.chance(3) {
                return false;
            }
            *happened = day.meanwhile(store, often);
            happened.is_ok()
        });
        amid.into_inner().1?;
        match done {
            Ok(done) => Ok(Some(done)),
            Err(upkeep::Error::Stopped) => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    /// Content that is written ahead, in parts, and what becomes of them.
    fn stage(&mut self, store: &Store) -> Result<(), Stop> {
        let repeats = if self.rng.chance(60) { Repeats::Skip } else { Repeats::Write };
        let secret = if self.rng.chance(70) { self.swept().window } else { self.rng.bytes() };
        let base = Base::of(&secret);
        let mut staging = store.staging(repeats);
        let mut waiting: Vec<Part> = Vec::new();
        let mut is_broken = false;
        for _ in 0..1 + self.rng.below(3) {
            self.minute += 1;
            let mut writer = staging.writer();
            let batch = self.letter_of(|day| day.put(store, &base, &mut writer))?;
            drop(writer);
            waiting.push(Part { batch, staged: staging.take()? });
            self.meanwhile(store, 25)?;
            if self.rng.chance(50) {
                let parts = std::mem::take(&mut waiting);
                is_broken |= !self.commit_parts(store, parts, repeats, is_broken)?;
            }
            if is_broken && self.rng.chance(50) {
                break;
            }
        }
        if self.rng.chance(15) {
            drop(staging);
        }
        self.meanwhile(store, 25)?;
        if self.rng.chance(70) {
            self.commit_parts(store, waiting, repeats, is_broken)?;
        } else {
            self.tally.abandoned += waiting.len() as u64;
        }
        Ok(())
    }

    /// Commits parts of a staging, one by one or together; says whether all were kept. After one
    /// that was refused the later ones are none, if they may rest on it.
    fn commit_parts(
        &mut self,
        store: &Store,
        parts: Vec<Part>,
        repeats: Repeats,
        mut is_broken: bool,
    ) -> Result<bool, Stop> {
        let mut groups = Vec::new();
        if parts.len() > 1 && self.rng.chance(40) {
            groups.push(parts);
        } else {
            groups.extend(parts.into_iter().map(|part| vec![part]));
        }
        for group in groups {
            let count = group.len() as u64;
            let mut batches = Vec::new();
            for Part { batch, staged } in group {
                self.model.bring(&batch.entries);
                batches.push(Batch { staged: vec![staged], ..batch });
            }
            let answers = if batches.len() > 1 {
                commit_together(store, batches)
            } else {
                batches.into_iter().map(|batch| store.commit(batch)).collect()
            };
            let is_kept = answers.iter().all(Result::is_ok);
            hold!(!is_kept || !is_broken || repeats == Repeats::Write, "a part without an earlier");
            let rests_on_none = |answer: &Result<_, Error>| {
                matches!(answer, Err(Error::Vault(vault::Error::Missing)))
            };
            if is_broken && answers.iter().all(rests_on_none) {
                self.answered(store, &vec![false; answers.len()])?;
            } else {
                self.tally.staged += if is_kept { count } else { 0 };
                is_broken |= !is_kept;
                self.answer(store, answers)?;
            }
        }
        Ok(!is_broken)
    }

    /// Writes some contents ahead.
    fn put(&mut self, store: &Store, base: &Base, writer: &mut Writer<'_>) -> Result<Chunks, Stop> {
        let mut all = Vec::new();
        for _ in 0..self.rng.below(3) {
            let content = self.content();
            all.append(&mut self.put_one(base, writer, &content)?.all);
            if self.rng.chance(30) {
                writer.flush()?;
            }
            self.meanwhile(store, 5)?;
        }
        Ok(Chunks { all, written: Vec::new() })
    }

    fn put_one(
        &mut self,
        base: &Base,
        writer: &mut Writer<'_>,
        content: &[u8],
    ) -> Result<Chunks, Stop> {
        let (keys, chunks) = chunk::seal(base, content, NonZeroUsize::MIN);
        let stored = if self.rng.chance(50) {
            writer.put(base, &content)
        } else {
            writer.put_stream(base, &mut &*content)
        };
        let stored = stored.map_err(|error| match error {
            PutError::Store(error) => error.into(),
            PutError::Source(error) => Stop::Violation(format!("memory: {error}")),
        })?;
        hold!(stored.keys == keys, "other keys than content has");
        for chunk in chunks {
            self.model.bring_chunk(chunk.address(), chunk.bytes().to_vec());
        }
        Ok(Chunks { all: keys.iter().map(ChunkKey::address).collect(), written: Vec::new() })
    }

    /// Content that may come again, seldom of more than one chunk.
    fn content(&mut self) -> Vec<u8> {
        let seed = if self.rng.chance(60) { self.rng.below(6) } else { self.rng.next() };
        let mut rng = Rng::new(seed);
        let length =
            if rng.chance(2) { BODY } else { 0 } + 1 + rng.below(3 * GRAIN as u64) as usize;
        let bytes = rng.bytes::<64>().repeat(length.div_ceil(64));
        bytes[..length].to_vec()
    }

    /// One step of a sweep, when it is due, with nothing beside it.
    fn sweep_once(&mut self, store: &Store) -> Result<(), Stop> {
        self.swept().is_over = true;
        self.minute += WAIT;
        self.look(store)?;
        let minute = self.minute;
        let plan = sweep::plan(store, minute, &|_, _| true).map_err(refused)?;
        hold!(!matches!(plan, Plan::Waits { .. }), "a sweep waits for ever");
        self.carry_out(store, &plan, minute)
    }

    /// Sweeps until nothing dead can be left, and holds every record against the model.
    pub(super) fn sweep_all(&mut self, store: &Store) -> Result<(), Stop> {
        for _ in 0..2 * SWEEPS_IN_THE_END {
            self.sweep_once(store)?;
        }
        let mut live = self.model.live();
        let packs = store.closed_packs()?;
        hold!(packs.len() == store.shared.packs.list()?.len(), "a pack is not closed");
        for (id, _) in packs {
            let pack = store.closed_pack(id)?;
            hold!(pack.is_some(), "a pack that is not judged");
            for record in pack.into_iter().flat_map(|pack| pack.records) {
                let holds = match record.state {
                    State::Whole => live.remove(&record.address),
                    State::Gone => true,
                    State::Dead | State::Damaged => false,
                };
                hold!(holds, "a sweep left {record:?}");
            }
        }
        // The key of checkpoints and the looks since have no records.
        hold!(live.is_empty(), "records of {} addresses are gone", live.len());
        self.verify_packs(store)
    }
}

/// What kept a sweep from its work.
fn refused(error: upkeep::Error) -> Stop {
    match error {
        upkeep::Error::Store(error) => error.into(),
        other => Stop::Refused(Error::Io {
            what: "a sweep stops",
            source: io::Error::other(other.to_string()),
        }),
    }
}
