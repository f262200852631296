//! Wall clock of put and get by size: into nowhere, into a vault in memory (tmpfs), into a vault on
//! disk. On all cores, with the code that `kluis import` and `kluis put` run. Results and how to
//! read them: docs/benchmarks.md.
//!
//! `put/null` seals and writes nothing; `put/tmpfs` and `put/disk` are durable when they return.
//! `get/…` reads back, verified, from the same places; what lies on disk is in the page cache, but
//! for a first reading. KLUIS_BENCH_DIR names the disk (default: cargo's target directory).

use std::fs::File;
use std::hint::black_box;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use kluis::ids::VaultId;
use kluis::store::{Store, bench};

const SIZES: [(&str, u64); 5] = [
    ("4 KiB", 4 << 10),
    ("64 KiB", 64 << 10),
    ("1 MiB", 1 << 20),
    ("25 MiB", 25 << 20),
    ("1 GiB", 1 << 30),
];
/// Bytes that one vault takes before a fresh one is begun, so that no disk fills up.
const VAULT: u64 = 4 << 30;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let disk = std::env::var_os("KLUIS_BENCH_DIR").map_or_else(target, PathBuf::from);
    let places = [("tmpfs", PathBuf::from("/dev/shm")), ("disk", disk)];
    let contents: Vec<_> =
        SIZES.iter().map(|(name, size)| (*name, *size, content(*size))).collect();

    let mut group = group(&mut criterion, "put/null");
    for (name, size, content) in &contents {
        group.throughput(Throughput::Bytes(*size));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| bench::put_nowhere(black_box(content)).expect("sealed"));
        });
    }
    group.finish();
    for (place, dir) in places {
        put(&mut self::group(&mut criterion, &format!("put/{place}")), &dir, &contents);
        get(&mut self::group(&mut criterion, &format!("get/{place}")), &dir, &contents);
    }
    criterion.final_summary();
}

type Contents = [(&'static str, u64, File)];

fn put(group: &mut BenchmarkGroup<'_, WallTime>, dir: &Path, contents: &Contents) {
    for (name, size, content) in contents {
        group.throughput(Throughput::Bytes(*size));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                let mut left = times;
                while left > 0 {
                    let vault = Vault::new(dir);
                    let some = left.min((VAULT / size).max(1));
                    let start = Instant::now();
                    for _ in 0..some {
                        bench::put(&vault.store, black_box(content)).expect("stored");
                    }
                    took += start.elapsed();
                    left -= some;
                }
                took
            });
        });
    }
}

fn get(group: &mut BenchmarkGroup<'_, WallTime>, dir: &Path, contents: &Contents) {
    for (name, size, content) in contents {
        let vault = Vault::new(dir);
        let stored = bench::put(&vault.store, content).expect("stored");
        group.throughput(Throughput::Bytes(*size));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                let mut sink = |part: &[u8]| {
                    black_box(part);
                    Ok(())
                };
                vault.store.get(&stored.keys, stored.length, &mut sink).expect("comes back");
            });
        });
    }
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group
}

/// A throwaway vault.
struct Vault {
    store: Store,
    _dir: tempfile::TempDir,
}

impl Vault {
    fn new(dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).expect("a directory");
        let (state, keys) = (dir.path().join("state"), dir.path().join("keys"));
        let store = Store::create(&state, &keys, VaultId::random()).expect("created");
        Self { store, _dir: dir }
    }
}

/// Bytes that do not repeat, in the page cache.
fn content(size: u64) -> File {
    let mut file = tempfile::tempfile_in("/dev/shm").expect("a file");
    let mut bytes = vec![0; 1 << 20];
    let mut random = blake3::Hasher::new().update(&size.to_le_bytes()).finalize_xof();
    let mut left = size as usize;
    while left > 0 {
        let some = left.min(bytes.len());
        random.fill(&mut bytes[..some]);
        file.write_all(&bytes[..some]).expect("written");
        left -= some;
    }
    file.rewind().expect("at the beginning");
    file
}

fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
}
