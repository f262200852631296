//! How long the cabinet takes to get a new key, and how long what is committed meanwhile waits, with
//! 1,000,000 slots. Results and how to read them: docs/benchmarks.md.
//!
//! The cabinet is made through the library, in about 600 MB under `TMPDIR`; `KLUIS_SLOTS` asks for
//! another number of slots. All of them are older than seven days, as in a vault that was in use for a
//! while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kluis::ids::{SlotId, VaultId};
use kluis::ledger::entry::{Entry, Fact, MESSAGE_ID_KEY};
use kluis::secret::Secret;
use kluis::store::{Batch, Store};

const SLOTS: u64 = 1_000_000;
/// Slots of one batch, and threads that make batches: they share barriers.
const AT_ONCE: u64 = 2_000;
const MAKERS: usize = 4;
const ROUNDS: usize = 5;
/// For so long commits are measured without a rotation.
const BEFORE: Duration = Duration::from_secs(3);
const FIRST_MINUTE: u64 = 29_000_000;
const EIGHT_DAYS: u64 = 8 * 24 * 60;

fn main() {
    // `cargo test --benches` and `cargo bench -- --list` run nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let wished = std::env::var("KLUIS_SLOTS").ok().and_then(|text| text.parse().ok());
    let dir = tempfile::tempdir().expect("a directory");
    let (state, keys) = (dir.path().join("state"), dir.path().join("keys"));
    let store = Store::create(&state, &keys, VaultId::random()).expect("is made");
    let begun = Instant::now();
    fill(&store, wished.unwrap_or(SLOTS));
    println!("{} entries made in {:.1} s", store.size(), begun.elapsed().as_secs_f64());

    report("without a rotation, a commit", beside(&store, || std::thread::sleep(BEFORE)));
    let (mut rotations, mut longest) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let mut waits = beside(&store, || {
            store.rotate_cabinet(FIRST_MINUTE + EIGHT_DAYS).expect("rotates");
            rotations.push(begun.elapsed());
        });
        longest.push(waits.iter().max().copied().unwrap_or_default());
        waits.sort_unstable();
        report("beside a rotation, a commit", waits);
    }
    report("a rotation", rotations);
    report("the longest wait of a commit", longest);
    println!("{}", peak_memory());
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return };
    let (median, count) = (times[times.len() / 2], times.len());
    println!("{what}: median {median:.1?} of {count} ({first:.1?} to {last:.1?})");
}

/// A key of the server's own, for a slot of its own.
fn key(minute: u64) -> (Entry, (SlotId, Secret<[u8; 32]>)) {
    let slot = SlotId::random();
    let count = Some(MESSAGE_ID_KEY);
    let entry = Entry { slot: Some(slot), count, ..Entry::new(Fact::ServerKey, minute) };
    (entry, (slot, Secret::random()))
}

fn batch(minute: u64, count: u64) -> Batch {
    let (entries, keys) = (0..count).map(|_| key(minute)).unzip();
    Batch { entries, keys, ..Batch::default() }
}

/// Puts slots into the cabinet; the newest entry is eight days younger.
fn fill(store: &Store, slots: u64) {
    let made = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..MAKERS {
            scope.spawn(|| {
                while made.fetch_add(AT_ONCE, Ordering::Relaxed) < slots {
                    store.commit(batch(FIRST_MINUTE, AT_ONCE)).expect("commits");
                }
            });
        }
    });
    store
        .commit(Batch::of(vec![Entry::new(Fact::LoggedIn, FIRST_MINUTE + EIGHT_DAYS)]))
        .expect("commits");
}

/// Commits small batches while something else is done, and forgets every other one; gives how long
/// each commit took.
fn beside(store: &Store, what: impl FnOnce()) -> Vec<Duration> {
    let is_over = AtomicBool::new(false);
    let minute = FIRST_MINUTE + EIGHT_DAYS;
    std::thread::scope(|scope| {
        let commits = scope.spawn(|| {
            let mut waits = Vec::new();
            let mut timed = |batch| {
                let begun = Instant::now();
                store.commit(batch).expect("commits");
                waits.push(begun.elapsed());
            };
            while !is_over.load(Ordering::Relaxed) {
                let batch = batch(minute, 1);
                let slot = batch.entries[0].slot;
                timed(batch);
                let dropped = Entry { slot, ..Entry::new(Fact::SlotDropped, minute) };
                timed(Batch::of(vec![dropped]));
            }
            waits
        });
        what();
        is_over.store(true, Ordering::Relaxed);
        commits.join().expect("no panic")
    })
}

/// What the system says of it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    peak.unwrap_or("peak memory is not known").to_owned()
}
