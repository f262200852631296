//! The store on a disk that loses and refuses.
//!
//! `disk` is the disk, `model` what must hold, `day` what happens, and `swept` what happens beside
//! that on days of a second kind. A day is one seed: it is lived again with
//! `KLUIS_SEED=<seed> KLUIS_SEEDS=1 cargo test simulated_days -- --nocapture`.
//!
//! What a simulation shows is as good as its disk. So each sort of barrier is left out once, and the
//! days must notice. The index is in memory here; sled asks the system itself, and is tried beside
//! its code, in `suite::index`, and by killing and cutting the power.

mod day;
mod disk;
mod faults;
mod model;
mod rng;
mod swept;
#[path = "../../../tests/support/tally.rs"]
mod tally;

pub(super) use disk::{Call, Crash, Fault, SimDisk, SimFile, Wrong};
pub(super) use rng::Rng;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::disk::Durable;
use day::Tally;

/// Days of `make test`; `KLUIS_SEEDS` asks for another number, `KLUIS_SEED` for another first one.
const SEEDS: u64 = 20_000;
/// The same of days with sweeps and stagings.
const SWEPT_SEEDS: u64 = 700;
/// Days that once found something.
const REGRESSIONS: &[u64] = &[
    13, 30, 443, 350, 957, 1059, 2176, 3136, 3710, 5916, 6585, 10_591, 12_399, 15_228, 17_810,
    18_693, 19_017, 30_415, 32_044, 34_565, 161_745,
];
/// The same of days with sweeps and stagings.
const SWEPT_REGRESSIONS: &[u64] = &[
    20, 50, 67, 121, 145, 157, 186, 205, 209, 228, 232, 246, 254, 295, 493, 949, 1052, 1255, 2722,
];
/// Days with a script: which of two copies stays, for one, is chance.
const SCRIPTED: u64 = 20;
/// Days that are lived twice.
const LIVED_TWICE: u64 = 50;
/// Days after which something rots.
const ROTTEN_DAYS: u64 = 1000;
/// A day notices a barrier that is left out after so many seeds at most.
const NOTICED_WITHIN: u64 = 100;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A sort of day: lives one, with a barrier left out or not.
type Days = fn(u64, Option<Durable>) -> Result<Tally, String>;

/// Lives a day; says what went against the rules.
fn live(days: Days, seed: u64, ignored: Option<Durable>) -> Result<Tally, String> {
    catch_unwind(|| days(seed, ignored)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// Lives as many days as were asked for, on every core.
fn live_all(harness: &str, days: Days, otherwise: u64) {
    let (first, seeds) = (number("KLUIS_SEED", 1), number("KLUIS_SEEDS", otherwise));
    let next = AtomicU64::new(first);
    let found = Mutex::new((Tally::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let day = live(days, seed, None);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match day {
                Ok(tally) => found.0.add(tally),
                Err(what) => {
                    println!("seed {seed}: {what}");
                    found.1.push(seed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
        work();
    });
    let (total, bad) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{seeds} days from seed {first}: {total:?}");
    tally::tally(harness, &[("seeds", seeds), ("calls", total.calls), ("crashes", total.crashes)]);
    assert!(bad.is_empty(), "{} of {seeds} days went wrong: seeds {bad:?}", bad.len());
}

#[test]
fn simulated_days_lose_nothing_double_nothing_and_bring_nothing_back() {
    live_all("simulated days", day::run, SEEDS);
}

#[test]
fn simulated_days_with_sweeps_and_stagings_keep_what_is_live_and_nothing_else() {
    live_all("simulated days with sweeps", swept::run, SWEPT_SEEDS);
}

/// Lives days with a script, whose names and bytes alone are chance.
fn live_script(script: fn(u64) -> Result<Tally, String>) {
    for seed in 1..=SCRIPTED {
        let day = catch_unwind(|| script(seed)).unwrap_or_else(|_| Err("a panic".to_owned()));
        assert_eq!(day.err(), None, "seed {seed}");
    }
}

#[test]
fn a_copy_stays_only_where_it_is_durable() {
    live_script(swept::run_merging);
}

#[test]
fn what_a_staging_may_rest_on_is_not_swept() {
    live_script(swept::run_resting);
}

#[test]
fn days_that_once_went_wrong_go_well() {
    let days: [(Days, &[u64]); 2] = [(day::run, REGRESSIONS), (swept::run, SWEPT_REGRESSIONS)];
    for (days, seeds) in days {
        for seed in seeds {
            assert_eq!(live(days, *seed, None).err(), None, "seed {seed}");
        }
    }
}

#[test]
fn a_day_is_lived_the_same_way_again() {
    for days in [day::run, swept::run] as [Days; 2] {
        for seed in 1..=LIVED_TWICE {
            assert_eq!(live(days, seed, None), live(days, seed, None), "seed {seed}");
        }
    }
}

#[test]
fn a_place_that_rots_is_named_or_changes_nothing() {
    let rot = |seed| catch_unwind(|| day::rot(seed)).unwrap_or_else(|_| Err("a panic".to_owned()));
    let mut named = 0;
    for seed in 1..=ROTTEN_DAYS {
        match rot(seed) {
            Ok(is_named) => named += u64::from(is_named),
            Err(what) => panic!("seed {seed}: {what}"),
        }
    }
    println!("{named} of {ROTTEN_DAYS} places were named");
    assert!(named > ROTTEN_DAYS / 2, "{named} of {ROTTEN_DAYS}");
}

#[test]
fn a_barrier_that_is_left_out_is_noticed() {
    let sorts = [Durable::Packs, Durable::Cabinet, Durable::Ledger, Durable::Names, Durable::Key];
    let left_out = sorts.map(|sort| (day::run as Days, sort, "anywhere"));
    let in_sweeps = [(swept::run as Days, Durable::Packs, "in sweeps")];
    for (days, sort, place) in left_out.into_iter().chain(in_sweeps) {
        let noticed =
            (1..=NOTICED_WITHIN).filter(|seed| live(days, *seed, Some(sort)).is_err()).count();
        println!("without {sort:?} {place}: {noticed} of {NOTICED_WITHIN} days went wrong");
        assert!(noticed > 0, "{sort:?} may be left out {place}, and nothing notices");
    }
}
