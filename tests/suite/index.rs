//! The index as the users of a store meet it: whatever becomes of it, no answer changes.
//!
//! What sled does with damaged files of its own is tried beside its code, in `store::index`.

use std::fs;
use std::path::Path;

use kluis::ids::SlotId;

use crate::store::{Vault, assert_all_read, assert_clean, copy_all, put, some_letters};

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
