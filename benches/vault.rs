//! Wall clock of the vault's chunks by size: `put` seals content, `get` opens it and checks the
//! padding. On all cores; nothing is written. Results and how to read them: docs/benchmarks.md.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use kluis::vault::chunk::{self, Base, ChunkKey};

const SIZES: [(&str, usize); 3] = [("64 KiB", 64 << 10), ("1 MiB", 1 << 20), ("25 MiB", 25 << 20)];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    put(&mut criterion);
    get(&mut criterion);
    criterion.final_summary();
}

fn put(criterion: &mut Criterion) {
    let (base, workers) = (Base::fresh(), workers());
    let mut group = criterion.benchmark_group("put");
    for (name, size) in SIZES {
        let content = content(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| chunk::seal(&base, black_box(&content), workers));
        });
    }
    group.finish();
}

fn get(criterion: &mut Criterion) {
    let workers = workers();
    let mut group = criterion.benchmark_group("get");
    for (name, size) in SIZES {
        let (keys, chunks) = chunk::seal(&Base::fresh(), &content(size), workers);
        let sealed: Vec<_> =
            keys.into_iter().zip(chunks.iter().map(|chunk| chunk.bytes().to_vec())).collect();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched_ref(
                || sealed.clone(),
                |sealed| open(sealed, size, workers),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Opens the chunks in place, shared out over `workers`, and joins what they hold.
fn open(sealed: &mut [(ChunkKey, Vec<u8>)], size: usize, workers: NonZeroUsize) -> Vec<u8> {
    let share = sealed.len().div_ceil(workers.get());
    let open_share = |share: &mut [(ChunkKey, Vec<u8>)]| {
        for (key, bytes) in share {
            chunk::open(key, key.address(), bytes).expect("opens as it was sealed");
        }
    };
    if sealed.len() == 1 {
        open_share(sealed);
    } else {
        thread::scope(|scope| {
            for share in sealed.chunks_mut(share) {
                scope.spawn(move || open_share(share));
            }
        });
    }
    let mut content = Vec::with_capacity(size);
    for (index, (_, bytes)) in sealed.iter().enumerate() {
        let body = &bytes[..bytes.len() - kluis::vault::TAG];
        chunk::unpad(&mut content, body, index, size as u64).expect("the padding is zero");
    }
    content
}

fn workers() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Bytes that do not repeat.
fn content(size: usize) -> Vec<u8> {
    let mut content = vec![0; size];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    content
}
