//! Content of any size: sealed and written ahead of its commit, read back in order, in constant
//! memory; what no commit names leaves nothing behind.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use kluis::ids::{ItemId, LetterId, VaultId};
use kluis::ledger::{Entry, Fact};
use kluis::store::{Batch, Error, GetError, PutError, Repeats, Source, Staged, Store, Stored};
use kluis::vault;
use kluis::vault::chunk::{BODY, Base, GRAIN};
use kluis::vault::manifest::Manifest;
use kluis::vault::seal::{self, Kind, Place};

struct Vault {
    dir: tempfile::TempDir,
}

impl Vault {
    fn new() -> (Self, Store) {
        let this = Self { dir: tempfile::tempdir().expect("a directory") };
        let (state, keys) = (this.dir.path().join("state"), this.dir.path().join("keys"));
        let store = Store::create(&state, &keys, VaultId::random()).expect("created");
        (this, store)
    }

    fn open(&self) -> Store {
        let (state, keys) = (self.dir.path().join("state"), self.dir.path().join("keys"));
        Store::open(&state, &keys).expect("opens").0
    }

    fn packs(&self) -> Vec<PathBuf> {
        let dir = self.dir.path().join("state/packs");
        fs::read_dir(dir)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }

    fn bytes(&self) -> u64 {
        self.packs().iter().map(|pack| pack.metadata().expect("there").len()).sum()
    }
}

/// Bytes that do not repeat.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
    content
}

fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(content).expect("written");
    file
}

/// A batch that names `staged` and records a box that refers to what was stored.
fn batch(store: &Store, stored: &[&Stored], staged: Staged) -> Batch {
    let mut batch = Batch { staged: vec![staged], ..Batch::default() };
    for stored in stored {
        let manifest = Manifest::new("", b"", stored.length, stored.keys.clone(), Vec::new());
        let (inner, digest) = seal::inner_for_server(&manifest);
        let (letter, item) = (LetterId::random(), ItemId::random());
        let place = Place { kind: Kind::Outgoing, vault: store.vault(), letter, item };
        let sealed = seal::outer(&inner, place);
        batch.entries.push(Entry::of_box(Fact::BoxSealed, 1, &sealed, digest));
        batch.boxes.push(sealed);
    }
    batch
}

fn get(store: &Store, stored: &Stored) -> Result<Vec<u8>, GetError> {
    let mut content = Vec::new();
    store.get(&stored.keys, stored.length, &mut |part| {
        content.extend_from_slice(part);
        Ok(())
    })?;
    Ok(content)
}

fn assert_clean(store: &Store) -> u64 {
    let report = store.check(false, &|_, _| {}).expect("checked");
    assert!(report.is_clean(), "{:?}", report.problems);
    report.records
}

fn is_missing(result: Result<Vec<u8>, GetError>) -> bool {
    matches!(result, Err(GetError::Store(Error::Vault(vault::Error::Missing))))
}

#[test]
fn content_of_every_size_and_source_comes_back_the_same_before_and_after_a_restart() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let sizes = [0, 1, GRAIN, GRAIN + 1, BODY - 1, BODY, BODY + 1, 7 * BODY, (20 << 20) + 4321];
    let mut staging = store.staging(Repeats::Write);
    let mut all = Vec::new();
    for (seed, size) in sizes.into_iter().enumerate() {
        let content = content(seed as u64, size);
        let by_file = staging.put(&base, &file(&content)).expect("stored");
        let by_stream = staging.put_stream(&base, &mut Slow(&content, 0)).expect("stored");
        let in_memory = staging.writer().put(&base, &content.as_slice()).expect("stored");
        let streamed = staging.writer().put_stream(&base, &mut content.as_slice()).expect("stored");
        for stored in [by_stream, in_memory, streamed, by_file] {
            assert_eq!(stored.length, size as u64);
            all.push((stored, content.clone()));
        }
        // One window, one content: the same chunks, however they came.
        let last = &all[all.len() - 4..];
        assert!(last.iter().all(|(stored, _)| stored.keys == last[0].0.keys), "{size}");
    }
    assert!(is_missing(get(&store, &all.last().expect("some").0)), "nothing counts yet");
    let staged = staging.take().expect("written");
    let named: Vec<_> = all.iter().map(|(stored, _)| stored).collect();
    store.commit(batch(&store, &named, staged)).expect("committed");
    let records = assert_clean(&store);
    drop(staging);
    let read = |store: &Store| {
        for (stored, content) in &all {
            assert!(get(store, stored).expect("comes back") == *content);
        }
    };
    read(&store);
    drop(store);
    let store = vault.open();
    assert_eq!(assert_clean(&store), records);
    read(&store);
}

/// Gives a few bytes at a time, and is interrupted now and then.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(70_001);
        self.0.read(&mut buffer[..most])
    }
}

#[test]
fn one_staging_serves_many_threads_and_several_commits() {
    let (vault, store) = Vault::new();
    let mut staging = store.staging(Repeats::Write);
    let mut all = Vec::new();
    for round in 0..3u64 {
        let stored: Vec<_> = std::thread::scope(|scope| {
            let staging = &staging;
            let threads: Vec<_> = (0..4u64)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut writer = staging.writer();
                        let seeds = (0..12).map(|i| round * 1000 + thread * 100 + i);
                        let put = |seed: u64| {
                            let content = content(seed, (seed as usize * 7919) % 400_000);
                            (
                                writer.put(&Base::fresh(), &content.as_slice()).expect("stored"),
                                content,
                            )
                        };
                        seeds.map(put).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        let staged = staging.take().expect("written");
        let named: Vec<_> = stored.iter().map(|(stored, _)| stored).collect();
        store.commit(batch(&store, &named, staged)).expect("committed");
        assert_clean(&store);
        all.extend(stored);
    }
    drop(staging);
    drop(store);
    let store = vault.open();
    assert_clean(&store);
    for (stored, content) in &all {
        assert!(get(&store, stored).expect("comes back") == *content);
    }
}

#[test]
fn what_no_commit_names_is_not_judged_while_it_lives_and_removed_with_it() {
    let (vault, store) = Vault::new();
    let content = content(1, 200 << 20);
    let mut staging = store.staging(Repeats::Write);
    let stored = staging.put(&Base::fresh(), &content.as_slice()).expect("stored");
    assert!(vault.packs().len() >= 2, "one pack is full and closed");
    assert_eq!(assert_clean(&store), 0);
    store.check(true, &|_, _| {}).expect("the index is made again without it");
    assert!(is_missing(get(&store, &stored)));
    let staged = staging.take().expect("written");
    assert_eq!(assert_clean(&store), 0);
    drop(staged);
    assert_eq!(vault.packs(), Vec::<PathBuf>::new());
    staging.put(&Base::fresh(), &&content[..9 << 20]).expect("stored");
    assert_eq!(vault.packs().len(), 1);
    drop(staging);
    assert_eq!(vault.packs(), Vec::<PathBuf>::new());
}

#[test]
fn what_a_crash_left_staged_is_garbage_that_harms_nothing() {
    let (vault, store) = Vault::new();
    let content = content(2, 10 << 20);
    let mut staging = store.staging(Repeats::Write);
    let kept = staging.put(&Base::fresh(), &content.as_slice()).expect("stored");
    let staged = staging.take().expect("written");
    store.commit(batch(&store, &[&kept], staged)).expect("committed");
    let lost = staging.put(&Base::fresh(), &content.as_slice()).expect("stored");
    // As a killed process leaves it: nothing is closed, nothing is removed.
    let copy = Vault { dir: tempfile::tempdir().expect("a directory") };
    copy_all(vault.dir.path(), copy.dir.path());
    drop(staging);
    let store = copy.open();
    assert_clean(&store);
    assert!(get(&store, &kept).expect("comes back") == content);
    assert!(get(&store, &lost).expect("whole, as it happens") == content);
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("made");
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn an_import_keeps_equal_content_once_and_only_while_it_is_kept_at_all() {
    let (vault, store) = Vault::new();
    let (base, content) = (Base::fresh(), content(3, 3 << 20));
    let mut staging = store.staging(Repeats::Skip);
    let first = staging.put(&base, &content.as_slice()).expect("stored");
    let staged = staging.take().expect("written");
    store.commit(batch(&store, &[&first], staged)).expect("committed");
    let before = vault.bytes();
    let again = staging.put(&base, &content.as_slice()).expect("stored");
    let staged = staging.take().expect("nothing to write");
    store.commit(batch(&store, &[&again], staged)).expect("committed");
    assert!(vault.bytes() < before + 100_000, "only a box came on top");
    assert!(get(&store, &again).expect("comes back") == content);
    assert_clean(&store);

    let other = self::content(4, 1 << 20);
    staging.put(&base, &other.as_slice()).expect("stored");
    drop(staging.take().expect("written"));
    staging.put(&base, &other.as_slice()).expect("stored");
    let refused = staging.take();
    assert!(matches!(refused, Err(Error::Vault(vault::Error::Missing))), "its chunks are gone");
}

#[test]
#[should_panic(expected = "parts of a staging are committed in their order")]
fn a_later_part_of_a_staging_is_not_committed_before_an_earlier_one() {
    let (_vault, store) = Vault::new();
    let mut staging = store.staging(Repeats::Skip);
    let put = |staging: &kluis::store::Staging<'_>| {
        staging.put(&Base::fresh(), &b"x".as_slice()).expect("stored")
    };
    put(&staging);
    let _first = staging.take().expect("written");
    let second = put(&staging);
    let staged = staging.take().expect("written");
    let _ = store.commit(batch(&store, &[&second], staged));
}

/// Content that fails at some byte.
struct Broken(u64, AtomicU64);

impl Source for Broken {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0)
    }

    fn copy_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        if offset >= self.0 / 2 {
            return Err(io::Error::other("a bad disk"));
        }
        bytes.fill(1);
        Ok(())
    }
}

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let done = self.1.fetch_add(1, Ordering::Relaxed);
        if done > 3 { Err(io::Error::other("a bad disk")) } else { Ok(buffer.len()) }
    }
}

#[test]
fn content_that_cannot_be_read_costs_itself_only() {
    let (_vault, store) = Vault::new();
    let mut staging = store.staging(Repeats::Write);
    let base = Base::fresh();
    let broken = || Broken(40 << 20, AtomicU64::new(0));
    let is_source = |result: Result<Stored, PutError>| matches!(result, Err(PutError::Source(_)));
    assert!(is_source(staging.put(&base, &broken())));
    assert!(is_source(staging.put_stream(&base, &mut broken())));
    assert!(is_source(staging.writer().put(&base, &broken())));
    assert!(is_source(staging.writer().put_stream(&base, &mut broken())));
    let shorter = file(b"0123456789");
    struct Shrunk(File);
    impl Source for Shrunk {
        fn length(&self) -> io::Result<u64> {
            Ok(5000)
        }
        fn copy_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.copy_at(bytes, offset)
        }
    }
    assert!(is_source(staging.put(&base, &Shrunk(shorter))), "a file that became shorter");
    let content = content(5, 1 << 20);
    let good = staging.put(&base, &content.as_slice()).expect("stored");
    let staged = staging.take().expect("written");
    store.commit(batch(&store, &[&good], staged)).expect("committed");
    assert!(get(&store, &good).expect("comes back") == content);
    assert_clean(&store);
}

#[test]
fn a_changed_byte_of_a_pack_is_named_and_nothing_of_that_chunk_is_given() {
    let (vault, store) = Vault::new();
    let content = content(6, 6 * BODY);
    let mut staging = store.staging(Repeats::Write);
    let stored = staging.writer().put(&Base::fresh(), &content.as_slice()).expect("stored");
    let staged = staging.take().expect("written");
    let pack = vault.packs().pop().expect("one");
    store.commit(batch(&store, &[&stored], staged)).expect("committed");
    let mut bytes = fs::read(&pack).expect("read");
    let at = 4096 + 4 * (BODY + 128) + 5000;
    bytes[at] ^= 1;
    fs::write(&pack, bytes).expect("written");
    let mut given = Vec::new();
    let result = store.get(&stored.keys, stored.length, &mut |part| {
        given.extend_from_slice(part);
        Ok(())
    });
    let Err(GetError::Store(Error::Damaged { file, offset, .. })) = result else {
        panic!("named with file and offset");
    };
    assert_eq!(file, pack);
    assert!(offset < at as u64 && at as u64 <= offset + BODY as u64);
    assert!(given.len() <= 4 * BODY && content.starts_with(&given));
    let full = store
        .get(&stored.keys[..2], 2 * BODY as u64, &mut |_| Err(io::ErrorKind::StorageFull.into()));
    assert!(matches!(full, Err(GetError::Sink(_))));
}
