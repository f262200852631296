//! The index as the users of a store meet it: whatever becomes of it, no answer changes.
//!
//! What sled does with damaged files of its own is tried beside its code, in `store::index`.

use std::fs;
use std::path::{Path, PathBuf};

use kluis::ids::{Address, SlotId};
use kluis::store::{Error, Store};
use kluis::vault;

use crate::store::{
    Letter, Vault, assert_all_read, assert_clean, content, copy_all, letter, put, read,
    some_letters,
};

/// The vault's index.
fn index(vault: &Vault) -> PathBuf {
    vault.state().join("index")
}

/// The same files as in `from`, and no others.
fn put_back(from: &Path, to: &Path) {
    fs::remove_dir_all(to).expect("removed");
    fs::create_dir(to).expect("made");
    copy_all(from, to);
}

/// A copy of a directory.
fn kept(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    copy_all(from, copy.path());
    copy
}

fn was_set_aside(vault: &Vault) -> bool {
    vault.state().join("quarantine/index.bad-0").exists()
}

#[test]
fn an_index_that_is_gone_broken_stale_or_foreign_changes_no_answer() {
    let (vault, store) = Vault::new();
    let mut letters = some_letters(&store);
    drop(store);
    let index = vault.state().join("index");
    let stale = tempfile::tempdir().expect("a directory");
    copy_all(&index, stale.path());
    let (store, _) = vault.open();
    letters.push(put(&store, b"after the stale copy"));
    drop(store);
    let (foreign, other) = Vault::new();
    some_letters(&other);
    drop(other);

    let gone = || fs::remove_dir_all(&index).expect("removed");
    let replaced = |from: &Path| {
        gone();
        fs::create_dir(&index).expect("made");
        copy_all(from, &index);
    };
    let broken = || fs::write(index.join("db"), vec![0xa5; 200_000]).expect("written");
    let cases: [&dyn Fn(); 4] =
        [&gone, &broken, &|| replaced(stale.path()), &|| replaced(&foreign.state().join("index"))];
    for (i, damage) in cases.into_iter().enumerate() {
        damage();
        let (store, _) = vault.open();
        assert_all_read(&store, &letters);
        let report = store.check(false, &|_, _| {}).expect("checked");
        assert!(report.is_clean(), "case {i}: {:?}", report.problems);
    }
}

#[test]
fn an_index_that_points_elsewhere_is_made_again_while_the_vault_is_open() {
    let (vault, store) = Vault::new();
    let letters = some_letters(&store);
    drop(store);
    let (store, _) = vault.open();
    assert_all_read(&store, &letters);
    // Other names for the same packs: every answer of the index is wrong now.
    let packs = vault.state().join("packs");
    for entry in fs::read_dir(&packs).expect("a directory").collect::<Vec<_>>() {
        let name = entry.expect("an entry").path();
        fs::rename(&name, packs.join(format!("{}.pack", SlotId::random()))).expect("renamed");
    }
    assert_all_read(&store, &letters);
    assert!(vault.state().join("quarantine/index.bad-0").exists());
    assert_clean(&store);
    let report = store.check(true, &|_, _| {}).expect("checked");
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_all_read(&store, &letters);
}

#[test]
fn an_index_that_is_older_than_the_packs_catches_up_and_is_not_made_again() {
    let (vault, store) = Vault::new();
    let mut letters = some_letters(&store);
    drop(store);
    let old = kept(&index(&vault));
    for i in 0..3 {
        let (store, _) = vault.open();
        letters.push(put(&store, &content(i, 50_000)));
    }
    put_back(old.path(), &index(&vault));
    let (store, opening) = vault.open();
    assert!(!opening.index_rebuilt);
    assert_all_read(&store, &letters);
    assert_clean(&store);
    // It knew all of it: nothing that was asked made it again.
    assert!(!was_set_aside(&vault));
}

/// A letter whose chunk is asked for by its address, too.
fn put_with_chunk(store: &Store, content: &[u8]) -> (Letter, Address) {
    let (letter, batch) = letter(store.vault(), content, 1000);
    let chunk = batch.chunks[0].address();
    store.commit(batch).expect("committed");
    (letter, chunk)
}

/// Nothing of `gone` is said to be there, and the same content is kept when it comes again.
fn assert_gone(store: &Store, gone: &[(Letter, Address)]) {
    for (letter, chunk) in gone {
        assert!(!store.has_chunk(chunk).expect("answers"));
        let missing = |result: Result<Vec<u8>, Error>| {
            matches!(result, Err(Error::Vault(vault::Error::Missing | vault::Error::NoKey)))
        };
        assert!(missing(store.read_chunk(chunk)) && missing(read(store, letter)));
        assert_all_read(store, &[put(store, &letter.content)]);
    }
}

#[test]
fn an_index_that_is_newer_than_the_packs_says_nothing_is_there_that_is_not() {
    let (vault, store) = Vault::new();
    let letters = some_letters(&store);
    drop(store);
    let packs = vault.state().join("packs");
    let older = kept(&packs);
    // In packs that are in no copy.
    let (store, _) = vault.open();
    let gone: Vec<_> = (0..2).map(|i| put_with_chunk(&store, &content(i, 90_000))).collect();
    drop(store);
    drop(vault.open());
    put_back(older.path(), &packs);
    let (store, opening) = vault.open();
    assert_eq!(opening.packs, 2);
    assert_all_read(&store, &letters);
    assert_gone(&store, &gone);
    let report = store.check(false, &|_, _| {}).expect("checked");
    assert_eq!(report.problems.len(), gone.len(), "{:?}", report.problems);
}

#[test]
fn an_index_that_knew_more_of_a_pack_than_there_is_is_made_again() {
    let (vault, store) = Vault::new();
    let packs = vault.state().join("packs");
    let letters = some_letters(&store);
    let older = kept(&packs);
    let gone: Vec<_> = (0..2).map(|i| put_with_chunk(&store, &content(i, 90_000))).collect();
    drop(store);
    put_back(older.path(), &packs);
    let (store, opening) = vault.open();
    assert!(opening.index_rebuilt);
    assert_all_read(&store, &letters);
    assert_gone(&store, &gone);
}

#[test]
fn an_index_that_is_newer_than_the_whole_vault_changes_no_answer() {
    let (vault, store) = Vault::new();
    let letters = some_letters(&store);
    drop(store);
    let older = vault.copy();
    let (store, _) = vault.open();
    let gone: Vec<_> = (0..2).map(|i| put_with_chunk(&store, &content(i, 90_000))).collect();
    drop(store);
    put_back(&index(&vault), &index(&older));
    let (store, opening) = older.open();
    assert_eq!((opening.entries, opening.lost), (5, 0));
    assert_all_read(&store, &letters);
    assert_gone(&store, &gone);
    assert_clean(&store);
}

#[test]
fn an_index_that_is_deleted_under_an_open_vault_is_made_again_at_the_next_start() {
    let (vault, store) = Vault::new();
    let mut letters = some_letters(&store);
    drop(store);
    let (store, opening) = vault.open();
    assert!(!opening.index_rebuilt);
    letters.push(put(&store, b"before"));
    fs::remove_dir_all(index(&vault)).expect("removed");
    for i in 0..20 {
        letters.push(put(&store, &content(i, 60_000)));
        assert_all_read(&store, &letters);
    }
    assert_clean(&store);
    drop(store);
    assert!(!index(&vault).join("db").exists());
    let (store, opening) = vault.open();
    assert!(opening.index_rebuilt && opening.lost == 0);
    assert_all_read(&store, &letters);
    assert_clean(&store);
    drop(store);
    let (_, opening) = vault.open();
    assert!(!opening.index_rebuilt);
}

#[test]
fn an_index_that_sled_panics_at_is_made_again_and_that_is_said() {
    let (vault, store) = Vault::new();
    let letters = some_letters(&store);
    drop(store);
    // Two segments of the log with the same number.
    let log = index(&vault).join("db");
    let mut bytes = fs::read(&log).expect("read");
    bytes.resize(512 << 10, 0);
    bytes.extend_from_within(..);
    fs::write(&log, bytes).expect("written");
    let (store, opening) = vault.open();
    assert!(opening.index_rebuilt && was_set_aside(&vault));
    assert_all_read(&store, &letters);
    assert_clean(&store);
}

#[test]
fn whatever_is_damaged_in_the_index_nothing_changes_and_what_is_made_again_is_said() {
    let (vault, store) = Vault::new();
    let mut letters = some_letters(&store);
    drop(store);
    let (store, _) = vault.open();
    letters.push(put(&store, b"after the first snapshot"));
    drop(store);
    // Closes the packs: from here on a start writes nothing but the index.
    drop(vault.open());
    let whole = kept(&index(&vault));
    let files: Vec<_> =
        ["db", "conf"].map(PathBuf::from).into_iter().chain(snapshots(&whole)).collect();
    let mut said = 0;
    for file in &files {
        let bytes = fs::read(whole.path().join(file)).expect("read");
        let used = bytes.iter().rposition(|&byte| byte != 0).expect("not all zeros");
        for at in (0..used).step_by(used.div_ceil(12)) {
            for (what, damaged) in [
                ("cut off", bytes[..at].to_vec()),
                ("a bit flipped", changed(&bytes, at, 1, |byte| byte ^ 0x10)),
                ("zeros", changed(&bytes, at, 512, |_| 0)),
            ] {
                let case = format!("{what} at {at} of {}", file.display());
                put_back(whole.path(), &index(&vault));
                fs::write(index(&vault).join(file), damaged).expect("written");
                let (store, opening) = vault.open();
                assert_eq!(was_set_aside(&vault), opening.index_rebuilt, "{case}");
                assert_all_read(&store, &letters);
                assert_clean(&store);
                assert_eq!(was_set_aside(&vault), opening.index_rebuilt, "{case}: unsaid");
                said += u32::from(opening.index_rebuilt);
                drop(store);
                let _ = fs::remove_dir_all(vault.state().join("quarantine/index.bad-0"));
            }
        }
    }
    assert!(said > 40, "{said}");
}

fn snapshots(dir: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path()).expect("a directory");
    let names = entries.map(|entry| PathBuf::from(entry.expect("an entry").file_name()));
    names.filter(|name| name.to_string_lossy().starts_with("snap.")).collect()
}

fn changed(bytes: &[u8], at: usize, count: usize, change: impl Fn(u8) -> u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..].iter_mut().take(count).for_each(|byte| *byte = change(*byte));
    bytes
}
