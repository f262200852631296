//! A new key for the cabinet beside letters and forgetting: whatever stops it, one generation is whole.
//!
//! The store by itself: killed at each step under load, with a bit turned in each file of a rotation
//! that was cut off, with no place to write. What is forgotten while slots are copied is nowhere in
//! the new cabinet. (On a disk that loses and refuses: `store::simulated`.)

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kluis::store::{Error, ROTATE_STEPS, Store};

use crate::store::{
    LETTERS, Letter, Vault, assert_all_read, assert_clean, assert_survived, content, forget,
    letter, no_key, note, notes, put, read, run_child, wrapped,
};

/// Rotations under load.
const ROTATIONS: usize = 3;
/// Threads that bring letters.
const SENDERS: usize = 2;

/// Letters and forgetting on some threads, rotations on another; killed in the middle of it.
pub(crate) fn child_under_load(dir: &Path) {
    let (store, _) = Store::open(&dir.join("state"), &dir.join("keys")).expect("opens");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || {
                for n in (sender..).step_by(SENDERS) {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let i = n % LETTERS;
                    let (letter, batch) = letter(store.vault(), &content(i, 40_000 * i), 1000);
                    note(dir, "try", i, &letter);
                    store.commit(batch).expect("committed");
                    note(dir, "kept", i, &letter);
                    if n % 3 == 0 {
                        note(dir, "forget", i, &letter);
                        forget(store, &letter);
                        note(dir, "forgotten", i, &letter);
                    }
                }
            });
        }
        for _ in 0..ROTATIONS {
            store.rotate_cabinet(1002).expect("rotated");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// The names of cabinets and of their keys.
fn generations(vault: &Vault) -> (Vec<String>, Vec<String>) {
    let names = |dir| {
        let names = fs::read_dir(dir).expect("is read").map(|e| e.expect("an entry").file_name());
        let names = names.map(|name| name.into_string().expect("a plain name"));
        let mut names: Vec<_> =
            names.filter(|name| name.starts_with("cabinet.") || name.ends_with(".key")).collect();
        names.sort();
        names
    };
    (names(vault.state()), names(vault.keys()))
}

/// Rotates once more, and looks whether anything forgotten is in the new cabinet.
fn assert_goes_on(vault: &Vault, step: &str) {
    let (store, _) = vault.open();
    let more = put(&store, b"goes on");
    store.rotate_cabinet(1003).expect("rotated");
    assert_all_read(&store, &[more]);
    let (cabinets, keys) = generations(vault);
    assert_eq!((cabinets.len(), keys.len()), (1, 1), "{step}: {cabinets:?}, {keys:?}");
    let cabinet = fs::read(vault.state().join(&cabinets[0])).expect("is read");
    for letter in notes(vault, store.vault()).get("forgotten").into_iter().flatten() {
        assert!(wrapped(&cabinet, letter.slot).is_none(), "{step}: in the new cabinet");
    }
    drop(store);
    assert_survived(vault, step);
}

#[test]
#[cfg_attr(not(kluis_lab), ignore = "needs a lab build")]
fn every_step_of_a_rotation_under_load_survives_a_crash() {
    for kill in ROTATE_STEPS.iter().flat_map(|step| [1, 2].map(|n| format!("{step}:{n}"))) {
        let (vault, store) = Vault::new();
        drop(store);
        let status = run_child(&vault, Some(&kill), "load");
        assert!(!status.success() && status.code().is_none(), "{kill} is reached: {status}");
        let before = generations(&vault);
        assert!(!before.0.is_empty() && !before.1.is_empty(), "{kill}: {before:?}");
        assert_survived(&vault, &kill);
        let opening = assert_survived(&vault, &kill);
        assert!(!opening.rotation_settled && opening.forgets_finished == 0, "{kill}");
        assert_goes_on(&vault, &kill);
    }
}

/// A copy of a vault with one bit of a file turned.
fn flipped(vault: &Vault, name: &str, at: usize) -> Vault {
    let copy = vault.copy();
    let path = copy.dir.path().join(name);
    let mut bytes = fs::read(&path).expect("is read");
    bytes[at] ^= 1 << (at % 8);
    fs::write(path, bytes).expect("is written");
    copy
}

#[test]
#[cfg_attr(not(kluis_lab), ignore = "needs a lab build")]
fn a_bit_that_turns_in_a_rotation_that_was_cut_off_leaves_a_generation_that_opens() {
    let (mut opened, mut refused) = (0, 0);
    // From `key-overwritten` on there is one generation.
    let steps = ROTATE_STEPS.iter().take_while(|step| **step != "rotate:key-overwritten");
    for step in steps {
        let (vault, store) = Vault::new();
        drop(store);
        run_child(&vault, Some(&format!("{step}:1")), "day");
        for name in ["keys/2.key", "state/cabinet.2.new", "state/cabinet.2"] {
            let length = fs::read(vault.dir.path().join(name)).map_or(0, |bytes| bytes.len());
            for at in (0..length).step_by(13) {
                let copy = flipped(&vault, name, at);
                match copy.try_open() {
                    Ok((store, _)) => {
                        drop(store);
                        opened += 1;
                    }
                    // The words say what to do, and it helps.
                    Err(Error::OlderWhole { generation: 1, why }) => {
                        assert!(matches!(*why, Error::Damaged { .. } | Error::Later { .. }));
                        fs::rename(copy.keys().join("2.key"), copy.dir.path().join("2.key"))
                            .expect("is moved");
                        fs::rename(copy.state().join("cabinet.2"), copy.dir.path().join("c"))
                            .expect("is moved");
                        refused += 1;
                    }
                    Err(error) => panic!("{step}, {name}, byte {at}: {error}"),
                }
                assert_survived(&copy, step);
            }
        }
    }
    println!("{opened} opened by themselves, {refused} after the damaged files were moved away");
    assert!(opened > 80 && refused > 50, "{opened} {refused}");
}

#[test]
fn a_rotation_that_finds_no_place_is_given_up_and_the_store_goes_on() {
    let (vault, store) = Vault::new();
    let (kept, gone) = (put(&store, b"kept"), put(&store, b"gone"));
    forget(&store, &gone);
    let given_up = |why: &str| {
        let refused = store.rotate_cabinet(1002);
        assert!(matches!(refused, Err(Error::NotRotated(_))), "{why}: {refused:?}");
        assert!(!store.is_dead(), "{why}");
        assert_all_read(&store, &[kept.clone(), put(&store, b"another")]);
    };
    let in_the_way = vault.state().join("cabinet.2.new");
    fs::create_dir(&in_the_way).expect("is made");
    given_up("a folder in the way");
    assert_eq!(generations(&vault).1, ["1.key"]);
    fs::remove_dir(&in_the_way).expect("is removed");
    let away = vault.dir.path().join("away");
    fs::rename(vault.keys(), &away).expect("is moved");
    given_up("the folder of the keys is gone, as a disk that is not mounted");
    fs::rename(&away, vault.keys()).expect("is moved back");
    store.rotate_cabinet(1002).expect("is rotated at last");
    assert_eq!(generations(&vault), (vec!["cabinet.2".into()], vec!["2.key".into()]));
    assert_all_read(&store, &[kept]);
    assert!(no_key(read(&store, &gone)));
    assert_clean(&store);
}

#[test]
fn what_comes_and_is_forgotten_beside_rotations_is_right_at_any_moment() {
    let (vault, store) = Vault::new();
    let is_over = AtomicBool::new(false);
    let (kept, gone) = thread::scope(|scope| {
        let senders = [0, 1, 2].map(|sender| {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || {
                let (mut kept, mut gone): (Vec<Letter>, Vec<Letter>) = Default::default();
                while !is_over.load(Ordering::Relaxed) || kept.is_empty() || gone.is_empty() {
                    kept.push(put(store, &content(kept.len() + sender, 500)));
                    if kept.len() % 3 == 2 {
                        let letter = kept.swap_remove(kept.len() / 2);
                        forget(store, &letter);
                        gone.push(letter);
                    }
                }
                (kept, gone)
            })
        });
        // Two ask at the same time: they take turns, or share one.
        let rotate = || {
            for _ in 0..10 {
                let last = put(&store, b"forgotten before it is asked for");
                forget(&store, &last);
                store.rotate_cabinet(1002).expect("rotated");
                // A rotation that began meanwhile may have removed it.
                for name in generations(&vault).0 {
                    let cabinet = fs::read(vault.state().join(name)).unwrap_or_default();
                    assert!(wrapped(&cabinet, last.slot).is_none());
                }
            }
        };
        let others = [scope.spawn(rotate), scope.spawn(rotate)];
        for other in others {
            other.join().expect("no panic");
        }
        is_over.store(true, Ordering::Relaxed);
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for sender in senders {
            let (more, forgotten) = sender.join().expect("no panic");
            kept.extend(more);
            gone.extend(forgotten);
        }
        (kept, gone)
    });
    store.rotate_cabinet(1003).expect("rotated");
    let (cabinets, keys) = generations(&vault);
    assert_eq!((cabinets.len(), keys.len()), (1, 1));
    let cabinet = fs::read(vault.state().join(&cabinets[0])).expect("is read");
    assert!(gone.iter().all(|letter| wrapped(&cabinet, letter.slot).is_none()));
    assert_all_read(&store, &kept);
    assert!(gone.iter().all(|letter| no_key(read(&store, letter))));
    assert_clean(&store);
    drop(store);
    let (store, opening) = vault.open();
    assert_eq!((opening.lost, opening.slots), (0, kept.len() as u64));
    assert_all_read(&store, &kept);
}
