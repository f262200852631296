//! The store on a disk that loses and refuses.
//!
//! `disk` is the disk, `model` what must hold, `day` what happens. A day is one seed: it is lived
//! again with `KLUIS_SEED=<seed> KLUIS_SEEDS=1 cargo test simulated_days -- --nocapture`.
//!
//! What a simulation shows is as good as its disk. So each sort of barrier is left out once, and the
//! days must notice. The index is in memory here; sled asks the system itself, and is tried beside
//! its code, in `suite::index`, and by killing and cutting the power.

mod day;
mod disk;
mod faults;
mod model;
mod rng;

pub(super) use disk::{Call, Crash, Fault, SimDisk, SimFile, Wrong};
pub(super) use rng::Rng;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::disk::Durable;
use day::Tally;

/// Days of `make test`; `KLUIS_SEEDS` asks for another number, `KLUIS_SEED` for another first one.
const SEEDS: u64 = 20_000;
/// Days that once found something.
const REGRESSIONS: &[u64] = &[
    13, 30, 443, 350, 957, 1059, 2176, 3136, 3710, 5916, 6585, 10_591, 12_399, 15_228, 17_810,
    18_693, 19_017, 30_415, 32_044, 34_565,
];
/// Days after which something rots.
const ROTTEN_DAYS: u64 = 1000;
/// A day notices a barrier that is left out after so many seeds at most.
const NOTICED_WITHIN: u64 = 100;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Lives a day; says what went against the rules.
fn live(seed: u64, ignored: Option<Durable>) -> Result<Tally, String> {
    catch_unwind(|| day::run(seed, ignored)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

#[test]
fn simulated_days_lose_nothing_double_nothing_and_bring_nothing_back() {
    let (first, seeds) = (number("KLUIS_SEED", 1), number("KLUIS_SEEDS", SEEDS));
    let next = AtomicU64::new(first);
    let found = Mutex::new((Tally::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let day = live(seed, None);
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
    assert!(bad.is_empty(), "{} of {seeds} days went wrong: seeds {bad:?}", bad.len());
}

#[test]
fn days_that_once_went_wrong_go_well() {
    for seed in REGRESSIONS {
        assert_eq!(live(*seed, None).err(), None, "seed {seed}");
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
    for barrier in [Durable::Packs, Durable::Cabinet, Durable::Ledger, Durable::Names, Durable::Key]
    {
        let noticed =
            (1..=NOTICED_WITHIN).filter(|seed| live(*seed, Some(barrier)).is_err()).count();
        println!("without {barrier:?}: {noticed} of {NOTICED_WITHIN} days went wrong");
        assert!(noticed > 0, "{barrier:?} may be left out, and nothing notices");
    }
}
