//! Measures the engine and its parts on this machine, for `kluis bench` and docs/benchmarks.md.
//!
//! A part is measured as the engine uses it: on one core, on a full body in a buffer that stays in
//! the cache. What is measured here is the code that runs, not a copy of it.

use std::hint::black_box;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::disk::{DIRECT, Disk, Durable};
use super::frame::{Header, Type};
use super::staging::workers;
use super::unit::Aligned;
use super::{Batch, Error, Files, PutError, Repeats, Source, Staging, Store, Stored};
use crate::ledger::{Entry, Fact};
use crate::secret::Secret;
use crate::vault;
use crate::vault::chunk::{self, BODY, Base, ChunkKey, RECORD};

/// What is done to every body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// BLAKE3.
    Hash,
    /// AES-256-GCM, under a key of its own each time.
    Cipher,
    /// CRC-32C.
    Checksum,
    /// Copied from the content, which should be in the page cache.
    Copy,
}

/// How fast one core does one part, in bytes a second: measured for about `time`.
///
/// # Errors
/// If `source` cannot be read, or there is no memory.
pub fn part(part: Part, source: &dyn Source, time: Duration) -> io::Result<f64> {
    let mut buffer = Aligned::new(BODY).map_err(io::Error::other)?;
    let bodies = (source.length()? / BODY as u64).max(1);
    let length = usize::try_from(source.length()?).unwrap_or(BODY).min(BODY);
    source.copy_at(&mut buffer[..length], 0)?;
    let mut done = 0u64;
    let start = Instant::now();
    while start.elapsed() < time {
        match part {
            Part::Hash => drop(black_box(blake3::hash(black_box(&buffer)))),
            Part::Cipher => vault::run_cipher(&mut buffer),
            Part::Checksum => {
                black_box(Header::of(Type::Chunk, &[0; 32], black_box(&buffer)));
            }
            Part::Copy => {
                source.copy_at(&mut buffer[..length], done % bodies * BODY as u64)?;
                black_box(&buffer);
            }
        }
        done += 1;
    }
    let bytes = if part == Part::Copy { length } else { BODY };
    Ok(done as f64 * bytes as f64 / start.elapsed().as_secs_f64())
}

/// Seals content on every core, and writes it nowhere.
///
/// # Errors
/// See [`PutError`].
pub fn put_nowhere(source: &dyn Source) -> Result<Stored, PutError> {
    Staging::nowhere(Repeats::Write).put(&Base::fresh(), source)
}

/// Seals content on this thread, and writes it nowhere.
///
/// # Errors
/// See [`PutError`].
pub fn put_alone(source: &dyn Source) -> Result<Stored, PutError> {
    Staging::nowhere(Repeats::Write).writer().put(&Base::fresh(), source)
}

/// Seals content, writes it and makes it durable, with an entry that stands for those of a box.
///
/// # Errors
/// See [`PutError`].
pub fn put(store: &Store, source: &dyn Source) -> Result<Stored, PutError> {
    let mut staging = store.staging(Repeats::Write);
    let stored = staging.put(&Base::fresh(), source)?;
    let staged = vec![staging.take()?];
    let entries = vec![Entry::new(Fact::LoggedIn, 0)];
    store.commit(Batch { staged, entries, ..Batch::default() })?;
    Ok(stored)
}

/// Reads chunks, seals them anew on every core, and writes them nowhere.
///
/// # Errors
/// See [`Store::read_chunk`].
pub fn renew_nowhere(store: &Store, keys: &[ChunkKey]) -> Result<(), Error> {
    let (files, next, secret) = (Files::default(), AtomicUsize::new(0), Secret::random());
    let work = || {
        let mut buffer = Zeroizing::new(vec![0; RECORD]);
        while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
            let place = store.read_chunk_into(&files, &key.address(), &mut buffer)?;
            chunk::reseal_in_place(&secret, key, &mut buffer[place])?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers().get()).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().try_for_each(join)
    })
}

/// Writes `length` bytes to a new file in pieces of 4 MiB past the page cache, one after the other,
/// as `dd bs=4M oflag=direct` does, and removes it. Gives the time that writing took, and whether
/// the file system did go past the cache; if not, the time until it was on disk.
///
/// # Errors
/// What the system says.
pub fn write_disk(path: &Path, length: u64) -> Result<(Duration, bool), Error> {
    // Ordinary memory, as `dd` has it.
    let mut room = vec![0; PIECE + DIRECT];
    let aligned = room.as_ptr().align_offset(DIRECT);
    let piece = &mut room[aligned..aligned + PIECE];
    blake3::Hasher::new().finalize_xof().fill(piece);
    let file = Disk::Machine.create(path)?;
    let is_direct = file.go_direct(true);
    let start = Instant::now();
    let written = (0..length / PIECE as u64)
        .try_for_each(|i| file.write_all_at(piece, i * PIECE as u64))
        .map_err(Error::write("a file cannot be written"))
        .and_then(|()| if is_direct { Ok(()) } else { file.sync(Durable::Packs) });
    let took = start.elapsed();
    drop(file);
    Disk::Machine.remove(path)?;
    written.map(|()| (took, is_direct))
}

/// Bytes of a piece.
const PIECE: usize = 4 << 20;
