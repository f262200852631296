//! The sweep (design §9): two looks that agree, then what both call dead is removed.
//!
//! Marks come from the boxes: the server opens the outer layer of every box that was not forgotten
//! and marks its own record and the chunks it refers to. If one does not open, nothing is removed.
//! What is not marked, in a pack that was closed before the first look, is dead; so is a chunk that
//! lies somewhere else once more with the same bytes. [`plan`] finds it and changes nothing.
//! [`apply`] notes a first plan, in a file that the ledger has the hash of; [`WAIT`] later a second
//! look begins again from nothing, and only what both call dead is removed.
//!
//! What protects what is needed is the mark, not the clock: when a pack is judged, every commit
//! that wrote to it stands in the ledger before the entry of the first plan.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use minicbor::{Decode, Encode};

use super::Error;
use super::first::{Bits, FirstPlan, Found, Judged};
use super::marks::Marks;
use crate::ids::{Address, Digest, SlotId};
use crate::lab::step;
use crate::ledger::{Entry, Fact};
use crate::store::{self, Batch, ClosedPack, PackId, Removal, Removed, Spot, State, Store};
use crate::vault::seal;

/// Minutes between the two looks, by the clock and by the newest entry: the lesser counts.
pub const WAIT: u64 = 72 * 60;
/// The steps of a sweep that a crash must survive, beside those of the store.
pub const SWEEP_STEPS: &[&str] = &["sweep:planned", "sweep:recorded"];

/// Entries read at once.
const ENTRIES_AT_ONCE: usize = 1024;
/// The most chunks whose copies are looked for in one sweep: the rest waits for the next.
const MOST_COPIED: usize = 100_000;

/// Told what is done, and of how much: entries first, then packs. Says whether to go on.
pub type Progress<'a> = &'a dyn Fn(u64, u64) -> bool;

/// What a sweep would do now.
pub enum Plan {
    /// Everything is needed.
    Nothing,
    /// A first look found something.
    First(First),
    /// A first plan stands and is not old enough.
    Waits {
        /// What the first look found.
        found: Found,
        /// The earliest minute of a second look.
        until: u64,
    },
    /// A second look agreed.
    Second(Second),
}

/// A first plan, to be written down.
pub struct First(FirstPlan);

/// What both looks call dead.
pub struct Second {
    found: Found,
    position: u64,
    packs: Vec<(PackId, Agreed)>,
}

/// What goes from a pack: what nothing refers to, and copies with the one that stays.
struct Agreed {
    table: Digest,
    dead: Bits,
    copies: BTreeMap<usize, Spot>,
}

/// Where a sweep stands, to be printed and to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Summary {
    /// How far it is.
    #[n(0)]
    pub stage: Stage,
    /// Whether it was only looked at.
    #[n(1)]
    pub is_dry: bool,
    /// What is found: of a sweep that was done, what is gone.
    #[n(2)]
    pub found: Found,
    /// The earliest minute of the second look, since 1970.
    #[n(3)]
    pub until: Option<u64>,
    /// Packs that are gone.
    #[n(4)]
    pub packs_gone: u64,
    /// Bytes that the file system does not take back.
    #[n(5)]
    pub unpunched: u64,
    /// Copies that stay, for their bytes differ.
    #[n(6)]
    pub differing: u64,
    /// Records that stay, for they or their copies are damaged.
    #[n(7)]
    pub damaged: u64,
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Stage {
    /// Nothing is dead.
    #[n(0)]
    Nothing,
    /// The first look.
    #[n(1)]
    First,
    /// Between the two.
    #[n(2)]
    Waits,
    /// The second.
    #[n(3)]
    Second,
}

/// Finds out what a sweep would do in this minute; changes nothing.
///
/// # Errors
/// [`Error::Unopened`] if a box that was not forgotten does not open.
pub fn plan(store: &Store, minute: u64, progress: Progress<'_>) -> Result<Plan, Error> {
    let Some(first) = standing(store)? else { return look_first(store, minute, progress) };
    let until = first.minute.saturating_add(WAIT);
    let last = store.entries(store.size().saturating_sub(1), 1)?;
    let passed = last.first().map_or(0, |entry| entry.minute).min(minute);
    if passed < until {
        return Ok(Plan::Waits { found: first.found, until });
    }
    look_again(store, &first, progress)
}

/// The first plan that counts: the newest entry about a sweep names its file, and the ledger is
/// still the one that it was made from.
fn standing(store: &Store) -> Result<Option<FirstPlan>, Error> {
    let entry = store.newest_sweep().filter(|entry| entry.kind == Fact::SweepPlanned);
    let (Some(hash), Some(file)) = (entry.and_then(|entry| entry.hash), store.plan()?) else {
        return Ok(None);
    };
    let plan = minicbor::decode::<FirstPlan>(&file.payload).ok();
    Ok(plan.filter(|plan| file.hash == hash && store.root(plan.size) == Some(plan.root)))
}

fn look_first(store: &Store, minute: u64, progress: Progress<'_>) -> Result<Plan, Error> {
    let size = store.size();
    let root = store.root(size).ok_or(store::Error::Vault(crate::vault::Error::Missing))?;
    let closed = store.closed_packs()?;
    let mut bar = Bar::new(store, &closed, progress);
    let about = closed.iter().map(|(_, records)| records).sum();
    let marks = mark(store, about, &mut bar)?;
    let mut found = Found::default();
    let mut judged: BTreeMap<PackId, Judged> = BTreeMap::new();
    let mut seen = Marks::for_about(about);
    let mut twice = HashSet::new();
    for (id, _) in &closed {
        bar.step()?;
        let Some(pack) = store.closed_pack(*id)? else { continue };
        for (i, record) in pack.records.iter().enumerate().filter(|(_, r)| r.state != State::Gone) {
            if !marks.has(record.address) {
                add(&mut judged, &pack, i, false, &mut found);
            } else if !seen.has(record.address) {
                seen.insert(record.address);
            } else if twice.len() < MOST_COPIED {
                twice.insert(record.address);
            }
        }
    }
    drop((marks, seen));
    each_copy(store, &closed, &twice, &mut |pack, i, _| {
        add(&mut judged, pack, i, true, &mut found);
    })?;
    found.packs = judged.len() as u64;
    if judged.is_empty() {
        return Ok(Plan::Nothing);
    }
    let packs = judged.into_values().collect();
    Ok(Plan::First(First(FirstPlan { minute, size, root, found, packs })))
}

fn add(
    judged: &mut BTreeMap<PackId, Judged>,
    pack: &ClosedPack,
    i: usize,
    is_copy: bool,
    found: &mut Found,
) {
    let of_pack = judged.entry(pack.id).or_insert_with(|| Judged::new(pack.id, pack.table));
    of_pack.dead.set(i);
    count(pack, i, is_copy, found);
}

/// Counts a record that can go; one that a crash left half removed was counted before.
fn count(pack: &ClosedPack, i: usize, is_copy: bool, found: &mut Found) {
    let record = &pack.records[i];
    if record.state == State::Whole {
        found.records += 1;
        found.copies += u64::from(is_copy);
        found.bytes += record.spot.length;
    }
}

fn look_again(store: &Store, first: &FirstPlan, progress: Progress<'_>) -> Result<Plan, Error> {
    let closed = store.closed_packs()?;
    let mut bar = Bar::new(store, &closed, progress);
    let marks = mark(store, closed.iter().map(|(_, records)| records).sum(), &mut bar)?;
    let mut found = Found::default();
    let mut agreed: BTreeMap<PackId, Agreed> = BTreeMap::new();
    let mut planned: HashMap<PackId, &Judged> = HashMap::new();
    let mut twice = HashSet::new();
    for judged in &first.packs {
        bar.step()?;
        let Some(pack) = judged_pack(store, judged.pack(), judged.table)? else { continue };
        planned.insert(pack.id, judged);
        for (i, record) in pack.records.iter().enumerate() {
            if record.state == State::Gone || !judged.dead.has(i) {
                continue;
            }
            if marks.has(record.address) {
                twice.insert(record.address);
            } else {
                agreed.entry(pack.id).or_insert_with(|| Agreed::in_pack(&pack)).dead.set(i);
                count(&pack, i, false, &mut found);
            }
        }
    }
    drop(marks);
    each_copy(store, &closed, &twice, &mut |pack, i, survivor| {
        if planned.get(&pack.id).is_some_and(|judged| judged.dead.has(i)) {
            let of_pack = agreed.entry(pack.id).or_insert_with(|| Agreed::in_pack(pack));
            of_pack.copies.insert(i, survivor);
            count(pack, i, true, &mut found);
        }
    })?;
    found.packs = agreed.len() as u64;
    let packs = agreed.into_iter().collect();
    Ok(Plan::Second(Second { found, position: first.size, packs }))
}

impl Agreed {
    fn in_pack(pack: &ClosedPack) -> Self {
        Self { table: pack.table, dead: Bits::default(), copies: BTreeMap::new() }
    }

    fn has(&self, record: usize) -> bool {
        self.dead.has(record) || self.copies.contains_key(&record)
    }
}

/// A pack, if it is still the one that was judged.
fn judged_pack(store: &Store, id: PackId, table: Digest) -> Result<Option<ClosedPack>, Error> {
    Ok(store.closed_pack(id)?.filter(|pack| pack.table == table))
}

/// Finds the records of these addresses that lie somewhere else once more, and shows each with the
/// one that stays: the first whole one, by the name of its pack and its place there.
fn each_copy(
    store: &Store,
    closed: &[(PackId, u64)],
    twice: &HashSet<Address>,
    visit: &mut dyn FnMut(&ClosedPack, usize, Spot),
) -> Result<(), Error> {
    if twice.is_empty() {
        return Ok(());
    }
    let mut stays: HashMap<Address, Spot> = HashMap::new();
    let mut copied: HashSet<PackId> = HashSet::new();
    for (id, _) in closed {
        let Some(pack) = store.closed_pack(*id)? else { continue };
        for record in pack.records.iter().filter(|record| twice.contains(&record.address)) {
            copied.insert(pack.id);
            if record.state == State::Whole {
                let first = stays.entry(record.address).or_insert(record.spot);
                *first = record.spot.min(*first);
            }
        }
    }
    for (id, _) in closed.iter().filter(|(id, _)| copied.contains(id)) {
        let Some(pack) = store.closed_pack(*id)? else { continue };
        for (i, record) in pack.records.iter().enumerate() {
            if let Some(survivor) = stays.get(&record.address)
                && *survivor != record.spot
                && matches!(record.state, State::Whole | State::Dead)
            {
                visit(&pack, i, *survivor);
            }
        }
    }
    Ok(())
}

/// A box that does not open.
struct Unopened {
    seq: u64,
    address: Address,
    why: String,
}

/// Opens every box that was not forgotten and marks it and what it refers to.
///
/// What is forgotten meanwhile is named by an entry behind, and so is a box that took over its
/// chunks: where a key is gone, the entries that came since are read, too.
fn mark(store: &Store, about: u64, bar: &mut Bar<'_>) -> Result<Marks, Error> {
    let mut marks = Marks::for_about(about);
    let mut unopened: HashMap<SlotId, Unopened> = HashMap::new();
    let mut from = 0;
    loop {
        let size = store.size();
        if from == size {
            break;
        }
        while from < size {
            for entry in store.entries(from, ENTRIES_AT_ONCE)? {
                from = entry.seq + 1;
                bar.step()?;
                let Some(slot) = entry.slot else { continue };
                if entry.empties_slot() {
                    unopened.remove(&slot);
                } else if let Some(address) = entry.boxed
                    && let Err(why) = mark_box(store, &entry, slot, address, &mut marks)
                {
                    unopened.insert(slot, Unopened { seq: entry.seq, address, why });
                }
            }
        }
        if unopened.is_empty() {
            break;
        }
    }
    let others = (unopened.len() as u64).saturating_sub(1);
    match unopened.into_values().min_by_key(|unopened| unopened.seq) {
        Some(Unopened { seq, address, why }) => Err(Error::Unopened { seq, address, why, others }),
        None => Ok(marks),
    }
}

/// Marks a box and its chunks, or says why it does not open.
fn mark_box(
    store: &Store,
    entry: &Entry,
    slot: SlotId,
    address: Address,
    marks: &mut Marks,
) -> Result<(), String> {
    let place = entry.place(store.vault()).ok_or("its entry does not say where it belongs")?;
    let open = || -> Result<seal::Inner, store::Error> {
        let key = store.box_key(slot)?;
        let bytes = store.read_box(&address)?;
        Ok(seal::open_outer(&bytes, &place, slot, &key)?)
    };
    let inner = open().map_err(|error| error.to_string())?;
    marks.insert(address);
    inner.chunks.into_iter().for_each(|chunk| marks.insert(chunk));
    Ok(())
}

/// Does what a plan says. Two at a time are the caller's to prevent.
///
/// # Errors
/// [`store::Error::Full`] where there is no room for the plan or the entry: what was removed before
/// stays removed, and the next sweep goes on.
pub fn apply(
    store: &Store,
    plan: &Plan,
    minute: u64,
    progress: Progress<'_>,
) -> Result<Summary, Error> {
    let mut done = Summary { is_dry: false, ..Summary::of(plan) };
    match plan {
        Plan::Waits { .. } => {}
        Plan::Nothing => {
            record(store, Entry { count: Some(0), ..Entry::new(Fact::SweepPlanned, minute) })?;
            store.drop_plan()?;
        }
        Plan::First(First(plan)) => {
            let payload = minicbor::to_vec(plan).expect("memory takes it");
            let hash = store.keep_plan(&payload)?;
            let (count, position) = (Some(plan.found.records), Some(plan.size));
            let entry = Entry::new(Fact::SweepPlanned, minute);
            record(store, Entry { count, position, hash: Some(hash), ..entry })?;
        }
        Plan::Second(second) => {
            done.take(&remove(store, second, progress)?);
            let (count, position) = (Some(done.found.records), Some(second.position));
            record(store, Entry { count, position, ..Entry::new(Fact::Swept, minute) })?;
            step("sweep:recorded");
            store.drop_plan()?;
        }
    }
    Ok(done)
}

fn record(store: &Store, entry: Entry) -> Result<(), Error> {
    store.commit(Batch::of(vec![entry]))?;
    Ok(())
}

/// Removes what both looks agreed on, pack by pack.
fn remove(store: &Store, second: &Second, progress: Progress<'_>) -> Result<Removed, Error> {
    let mut all = Removed::default();
    let goes = |id: PackId, record: Option<usize>| {
        let agreed = second.packs.binary_search_by_key(&id, |(id, _)| *id).ok();
        agreed.is_some_and(|at| record.is_none_or(|i| second.packs[at].1.has(i)))
    };
    let mut led = None;
    for (done, (id, agreed)) in (1..).zip(&second.packs) {
        led = store.lead_elsewhere(led, &goes)?;
        if let Some(pack) = judged_pack(store, *id, agreed.table)? {
            let dead = (0..pack.records.len()).filter(|i| agreed.dead.has(*i));
            let dead = dead.map(|record| Removal { record, copy_of: None });
            let copies = agreed.copies.iter();
            let copies = copies.map(|(&record, &spot)| Removal { record, copy_of: Some(spot) });
            all.add(&store.remove(&pack, &dead.chain(copies).collect::<Vec<_>>())?);
        }
        if !progress(done, second.packs.len() as u64) {
            return Err(Error::Stopped);
        }
    }
    if led.is_some() {
        store.lead_elsewhere(led, &goes)?;
    }
    Ok(all)
}

impl Summary {
    /// What a plan says.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let (stage, found, until) = match plan {
            Plan::Nothing => (Stage::Nothing, Found::default(), None),
            Plan::First(First(plan)) => {
                (Stage::First, plan.found, Some(plan.minute.saturating_add(WAIT)))
            }
            Plan::Waits { found, until } => (Stage::Waits, *found, Some(*until)),
            Plan::Second(second) => (Stage::Second, second.found, None),
        };
        let (packs_gone, unpunched, differing, damaged) = Default::default();
        Self { stage, is_dry: true, found, until, packs_gone, unpunched, differing, damaged }
    }

    fn take(&mut self, removed: &Removed) {
        let Removed { records, copies, bytes, .. } = *removed;
        self.found = Found { records, copies, bytes, packs: self.found.packs };
        self.packs_gone = removed.packs;
        self.unpunched = removed.unpunched;
        self.differing = removed.differing;
        self.damaged = removed.damaged;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { records, copies, bytes, packs } = self.found;
        let what = format_args!(
            "{records} records, {bytes} bytes, {copies} of them copies, in {packs} packs"
        );
        match (self.stage, self.is_dry) {
            (Stage::Nothing, _) => write!(f, "every record is needed"),
            (Stage::First, true) => write!(f, "a first look finds dead: {what}"),
            (Stage::First, false) => write!(f, "noted as dead by a first look: {what}"),
            (Stage::Waits, _) => write!(f, "a first look found dead: {what}"),
            (Stage::Second, true) => write!(f, "both looks find dead: {what}"),
            (Stage::Second, false) => {
                write!(f, "removed: {what}; {} packs are gone", self.packs_gone)
            }
        }
    }
}

/// How far a look is: entries, then packs.
struct Bar<'a> {
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

impl<'a> Bar<'a> {
    fn new(store: &Store, closed: &[(PackId, u64)], progress: Progress<'a>) -> Self {
        Self { done: 0, total: store.size() + closed.len() as u64, progress }
    }

    fn step(&mut self) -> Result<(), Error> {
        self.done += 1;
        self.total = self.total.max(self.done);
        if (self.progress)(self.done, self.total) { Ok(()) } else { Err(Error::Stopped) }
    }
}
