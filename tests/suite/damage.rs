//! Whatever happens to the bytes of a vault is seen or changes nothing: every byte flipped, every
//! file cut, old copies put back beside new ones, the wrong user, a clock that jumps.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use kluis::casebook::Filter;
use kluis::ids::{Digest, SlotId, VaultId};
use kluis::keys::epoch_note::EpochNote;
use kluis::keys::note::Vkey;
use kluis::keys::roster::{self, Roster};
use kluis::ledger::checkpoint;
use kluis::ledger::entry::{CHECKPOINT_KEY, Entry, Fact};
use kluis::secret::Secret;
use kluis::store::{Batch, Error, Opening, Store};

use crate::mail_client::{Numbers, letter as mail};
use crate::store::{Letter, forget, no_key, put, read};
use crate::way::{count, deliver, raw, runtime};
use crate::world::{KLUIS, MAILBOX, World};

/// A directory in memory where the machine has such a place: nothing here is about disks.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// The files of a vault, by their path below its folder; the index is not of it.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(root: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if !path.ends_with("index") && !path.ends_with("quarantine") {
                    folders.push(path);
                }
            } else {
                let name = path.strip_prefix(root).expect("is below").to_owned();
                files.insert(name, fs::read(&path).expect("is read"));
            }
        }
    }
    files
}

/// Puts the vault there again, as it was; what an opening left is gone.
fn put_back(root: &Path, files: &Files) {
    for folder in ["state", "keys"] {
        match fs::remove_dir_all(root.join(folder)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
    for folder in ["state/packs", "state/ledger", "state/quarantine", "keys"] {
        fs::create_dir_all(root.join(folder)).expect("is made");
    }
    for (name, bytes) in files {
        fs::write(root.join(name), bytes).expect("is written");
    }
}

fn open(root: &Path) -> Result<(Store, Opening), Error> {
    Store::open(&root.join("state"), &root.join("keys"))
}

/// A small vault with everything in it, and what it must say.
struct Small {
    files: Files,
    kept: Vec<Letter>,
    forgotten: Letter,
    /// Of the ledger, at each number of entries.
    roots: Vec<Digest>,
}

/// Closed packs and one that is open, a rotated cabinet that grew since, a forgotten letter.
fn small() -> Small {
    let dir = scratch();
    let (state, keys) = (dir.path().join("state"), dir.path().join("keys"));
    let store = Store::create(&state, &keys, VaultId::random()).expect("is made");
    give_checkpoint_key(&store);
    let mut kept = vec![put(&store, b"the first letter"), put(&store, &[7; 3000])];
    let forgotten = put(&store, b"the one that is forgotten");
    forget(&store, &forgotten);
    store.rotate_cabinet(1002).expect("rotates");
    kept.push(put(&store, b"the third letter"));
    drop(store);
    let before = files(dir.path());
    let (store, _) = open(dir.path()).expect("opens");
    kept.push(put(&store, b""));
    let roots = (0..=store.size()).map(|size| store.root(size).expect("was there")).collect();
    drop(store);
    let mut files = files(dir.path());
    // The pack of the last box as a crash leaves it: without its table, and cut behind the record.
    let (_, open) = files
        .iter_mut()
        .find(|(name, bytes)| !before.contains_key(*name) && bytes.get(5) == Some(&0x02))
        .expect("a box pack");
    let length = u64::from_le_bytes(open[4104..4112].try_into().expect("8 bytes"));
    open.truncate(4096 + 64 + length as usize);
    let size: usize = files.values().map(Vec::len).sum();
    assert!(size <= 128 << 10, "{size} bytes");
    Small { files, kept, forgotten, roots }
}

/// How a change was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    /// The vault was refused, with file and offset or a named error.
    Vault,
    /// A letter was refused, with a named error.
    Letter,
    /// The end of the ledger was set aside, and that was said.
    SetAside,
    /// Whole frames at the end of the ledger are gone: only a checkpoint held elsewhere tells.
    Shorter,
    /// Everything is as it was.
    Harmless,
}

/// Reads all that there is in the open vault.
fn read_all(store: &Store, opening: &Opening, small: &Small) -> Met {
    assert!(no_key(read(store, &small.forgotten)), "what was forgotten is read again");
    let size = usize::try_from(store.size()).expect("a small one");
    assert!(store.root(store.size()) == small.roots.get(size).copied(), "another history");
    if size + 1 < small.roots.len() {
        let is_said = !opening.quarantined.is_empty();
        return if is_said { Met::SetAside } else { Met::Shorter };
    }
    let mut met = Met::Harmless;
    for letter in &small.kept {
        match read(store, letter) {
            Ok(content) => assert!(content == letter.content, "another content"),
            Err(error) => {
                assert_named(&error);
                met = Met::Letter;
            }
        }
    }
    met
}

fn assert_named(error: &Error) {
    assert!(
        matches!(
            error,
            Error::Damaged { .. }
                | Error::Later { .. }
                | Error::Absent { .. }
                | Error::NotAVault
                | Error::Older { .. }
                | Error::Vault(_)
        ),
        "{error}"
    );
}

fn open_and_read(root: &Path, small: &Small) -> Met {
    match open(root) {
        Ok((store, opening)) => read_all(&store, &opening, small),
        Err(error) => {
            assert_named(&error);
            Met::Vault
        }
    }
}

/// Does the work of each number below `count`, on two threads with a folder each; counts how the
/// changes were met.
fn on_two(count: usize, work: impl Fn(&Path, usize) -> Vec<Met> + Sync) -> BTreeMap<Met, usize> {
    let next = AtomicUsize::new(0);
    let met = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| {
            scope.spawn(|| {
                let (dir, mut met) = (scratch(), Vec::new());
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        return met;
                    }
                    met.extend(work(dir.path(), i));
                }
            })
        });
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let mut counted = BTreeMap::new();
    for met in met {
        *counted.entry(met).or_default() += 1;
    }
    counted
}

/// Whether opening reads this byte: all but the inside of closed packs.
fn is_read_at_start(name: &Path, bytes: &[u8], at: usize) -> bool {
    let is_closed = bytes.len() > 4096 && bytes[bytes.len() - 64..].starts_with(b"klus");
    !name.starts_with("state/packs") || !is_closed || at < 64 || at >= bytes.len() - 64
}

/// Whether this byte says anything: it lies in a frame, or in a file that has none.
fn is_written(name: &Path, bytes: &[u8], at: usize) -> bool {
    let frames = (0..bytes.len()).step_by(64).filter(|&start| bytes[start..].starts_with(b"klus"));
    let end = |start: usize| {
        let length = bytes[start + 8..start + 16].try_into().expect("8 bytes");
        start + 64 + u64::from_le_bytes(length) as usize
    };
    name.ends_with("checkpoint")
        || frames.into_iter().any(|start| (start..end(start)).contains(&at))
}

#[test]
fn every_flipped_byte_is_refused_or_changes_nothing() {
    let (small, start) = (small(), Instant::now());
    let bits = Numbers::new(5).draw();
    let flips = |at: usize| [1u8 << ((bits as usize).wrapping_mul(at + 1) >> 7 & 7), 0xff];
    // What is read at the start: a start for each flip.
    let places: Vec<(&PathBuf, usize)> = small
        .files
        .iter()
        .flat_map(|(name, bytes)| (0..bytes.len()).map(move |at| (name, at)))
        .filter(|(name, at)| is_read_at_start(name, &small.files[*name], *at))
        .collect();
    let starts = on_two(places.len(), |root, i| {
        let (name, at) = places[i];
        flips(at)
            .map(|flip| {
                let mut files = small.files.clone();
                files.get_mut(name).expect("is there")[at] ^= flip;
                put_back(root, &files);
                let met = open_and_read(root, &small);
                // A pack's head and end only say what its records say, too; the rest is filling.
                let may_be =
                    name.starts_with("state/packs") || !is_written(name, &small.files[name], at);
                assert!(met != Met::Harmless || may_be, "{} {at} {flip}", name.display());
                assert_ne!(met, Met::Shorter, "{} {at} {flip}", name.display());
                met
            })
            .to_vec()
    });
    // What is not: flipped beneath the open vault.
    let closed: Vec<&PathBuf> = small
        .files
        .iter()
        .filter(|(name, bytes)| !is_read_at_start(name, bytes, 64))
        .map(|(name, _)| name)
        .collect();
    assert!(closed.len() >= 2);
    let beneath = on_two(closed.len(), |root, i| {
        put_back(root, &small.files);
        let (store, opening) = open(root).expect("opens");
        let (path, bytes) = (root.join(closed[i]), &small.files[closed[i]]);
        let file = fs::File::options().write(true).open(path).expect("opens");
        let write = |at: usize, byte: u8| {
            std::os::unix::fs::FileExt::write_all_at(&file, &[byte], at as u64)
                .expect("is written");
        };
        let mut met = Vec::new();
        for (at, byte) in bytes.iter().enumerate().take(bytes.len() - 64).skip(64) {
            for flip in flips(at) {
                write(at, byte ^ flip);
                met.push(read_all(&store, &opening, &small));
            }
            write(at, *byte);
        }
        assert_eq!(read_all(&store, &opening, &small), Met::Harmless);
        met
    });
    let total: usize = small.files.values().map(Vec::len).sum();
    let flipped: usize = starts.values().chain(beneath.values()).sum();
    println!(
        "{total} bytes, {flipped} flips: {starts:?} at a start, {beneath:?} beneath an open vault, {:?}",
        start.elapsed()
    );
    assert_eq!(flipped, 2 * total);
    assert!(!beneath.contains_key(&Met::Vault) && !beneath.contains_key(&Met::SetAside));
}

#[test]
fn every_cut_is_refused_or_said() {
    let small = small();
    let step = |name: &Path| if name.starts_with("state/packs") { 64 } else { 16 };
    let cuts: Vec<(&PathBuf, usize)> = small
        .files
        .iter()
        .flat_map(|(name, bytes)| (0..bytes.len()).step_by(step(name)).map(move |at| (name, at)))
        .collect();
    let met = on_two(cuts.len(), |root, i| {
        let (name, length) = cuts[i];
        let mut files = small.files.clone();
        files.get_mut(name).expect("is there").truncate(length);
        put_back(root, &files);
        let met = open_and_read(root, &small);
        vec![met]
    });
    println!("{} cuts: {met:?}", cuts.len());
    assert!(met[&Met::Vault] > 0 && met[&Met::Letter] > 0 && met[&Met::SetAside] > 0);
}

#[test]
fn every_flipped_byte_of_a_signed_or_wrapped_file_is_refused() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vault/base");
    let read = |name: &str| fs::read(base.join(name)).expect("is read");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let admin: Vkey = text(&read("admin.pub")).expect("text").parse().expect("a key");
    let (roster_note, note) = (read("roster/1.note"), read("epochs/1.note"));
    let digest = roster::digest(&text(&roster_note).expect("text"));
    let epoch =
        EpochNote::parse_signed(&text(&note).expect("text"), &admin.public).expect("signed");
    let mut flips = 0;
    let mut each = |bytes: &[u8], is_refused: &dyn Fn(&[u8]) -> bool| {
        for at in 0..bytes.len() {
            for flip in [1 << (at % 8), 0xff] {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= flip;
                assert!(is_refused(&flipped), "byte {at}, {flip}");
                flips += 1;
            }
        }
    };
    each(&roster_note, &|bytes| {
        text(bytes).is_none_or(|text| {
            roster::digest(&text) != digest && Roster::parse_signed(&text, &admin.public).is_err()
        })
    });
    each(&note, &|bytes| {
        text(bytes).is_none_or(|text| EpochNote::parse_signed(&text, &admin.public).is_err())
    });
    each(&read("epochs/1.age"), &|bytes| !epoch.is_of(bytes));
    // The newline at its end is not of the key.
    let pinned = read("admin.pub");
    each(&pinned[..pinned.len() - 1], &|bytes| {
        let key = text(bytes).and_then(|text| text.trim().parse::<Vkey>().ok());
        let roster_text = text(&roster_note).expect("text");
        key.is_none_or(|key| Roster::parse_signed(&roster_text, &key.public).is_err())
    });
    println!("{flips} flips, all refused");
}

/// What a start makes of old and new parts: how it is met, how many keys are lost, which letters
/// are read.
fn restored(root: &Path, letters: &[Letter]) -> String {
    match open(root) {
        Ok((store, opening)) => {
            let readable: Vec<String> = (1..)
                .zip(letters)
                .filter(|(_, letter)| match read(&store, letter) {
                    Ok(content) => content == letter.content,
                    Err(error) => {
                        assert_named(&error);
                        false
                    }
                })
                .map(|(n, _)| n.to_string())
                .collect();
            format!("starts, {} lost, reads {}", opening.lost, readable.join(" "))
        }
        Err(Error::Older { .. }) => "refused: the ledger is older than the last erasure".into(),
        Err(Error::Absent { what, .. }) => format!("refused: {what}"),
        Err(Error::Damaged { what, .. }) => format!("refused: {what}"),
        Err(other) => panic!("{other}"),
    }
}

/// What a founded vault has: the key that signs checkpoints.
fn give_checkpoint_key(store: &Store) {
    let (slot, seed) = (SlotId::random(), [9; 32]);
    let hash = Some(Digest::new(checkpoint::public_key(&seed)));
    let count = Some(CHECKPOINT_KEY);
    let entry = Entry { slot: Some(slot), hash, count, ..Entry::new(Fact::ServerKey, 1000) };
    let keys = vec![(slot, Secret::new(seed))];
    store.commit(Batch { keys, ..Batch::of(vec![entry]) }).expect("is committed");
}

#[test]
fn an_old_state_beside_the_key_that_saw_an_erasure_is_refused() {
    let dir = scratch();
    let (state, keys) = (dir.path().join("state"), dir.path().join("keys"));
    let store = Store::create(&state, &keys, VaultId::random()).expect("is made");
    give_checkpoint_key(&store);
    let letters = [put(&store, b"one"), put(&store, b"two")];
    drop(store);
    let old = files(dir.path());
    let (store, _) = open(dir.path()).expect("opens");
    forget(&store, &letters[0]);
    drop(store);
    let new = files(dir.path());
    assert_eq!(restored(dir.path(), &letters), "starts, 0 lost, reads 2");
    // The key is the same one; but what lies beside it knows of the erasure.
    let mut mixed: Files = old.clone();
    mixed.extend(new.into_iter().filter(|(name, _)| name.starts_with("keys")));
    put_back(dir.path(), &mixed);
    assert!(matches!(open(dir.path()), Err(Error::Older { .. })));
    mixed.insert("keys/checkpoint".into(), b"kluis/0\n1\n".to_vec());
    put_back(dir.path(), &mixed);
    assert!(matches!(open(dir.path()), Err(Error::Damaged { .. })));
}

#[test]
fn old_parts_beside_new_ones_read_nothing_that_was_forgotten() {
    let dir = scratch();
    let (state, keys) = (dir.path().join("state"), dir.path().join("keys"));
    let store = Store::create(&state, &keys, VaultId::random()).expect("is made");
    give_checkpoint_key(&store);
    let mut letters = vec![put(&store, b"one"), put(&store, b"two")];
    drop(store);
    let old = files(dir.path());
    let (store, _) = open(dir.path()).expect("opens");
    letters.push(put(&store, b"three"));
    forget(&store, &letters[0]);
    store.rotate_cabinet(1002).expect("rotates");
    letters.push(put(&store, b"four"));
    drop(store);
    let new = files(dir.path());
    let part = |name: &Path| {
        let name = name.to_string_lossy();
        ["state/packs", "state/ledger", "state/cabinet", "keys"]
            .iter()
            .position(|part| name.starts_with(part))
    };
    let mut table = String::new();
    for case in 0..16 {
        let is_new = |part: usize| case >> (3 - part) & 1 == 1;
        let of = |files: &Files, from_new: bool| -> Files {
            let chosen =
                files.iter().filter(|(name, _)| part(name).map_or(from_new, is_new) == from_new);
            chosen.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
        };
        let mut mixed = of(&old, false);
        mixed.extend(of(&new, true));
        put_back(dir.path(), &mixed);
        let said = restored(dir.path(), &letters);
        let word = |part| if is_new(part) { "new" } else { "old" };
        let row = [word(0), word(1), word(2), word(3)].join(" | ");
        // Whoever puts the old key back, too, has undone the forgetting: it is in no backup.
        let is_undone = !is_new(1) && !is_new(2) && !is_new(3);
        let reads_forgotten = said.split_once("reads ").is_some_and(|(_, r)| r.contains('1'));
        assert_eq!(reads_forgotten, is_undone, "{row}: {said}");
        table.push_str(&format!("| {row} | {said} |\n"));
    }
    let document =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md"))
            .expect("is read");
    assert!(document.contains(&table), "docs/operating.md must say:\n{table}");
}

#[test]
fn a_vault_that_this_user_may_not_write_is_refused_in_words_and_is_as_before() {
    let name = "a_vault_that_this_user_may_not_write_is_refused_in_words_and_is_as_before";
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED {name} another user cannot be taken without root");
        return;
    }
    let world = World::found();
    let before = files(world.root.path());
    let grant = Command::new("chmod").arg("-R").arg("a+rX").arg(world.root.path()).status();
    assert!(grant.expect("runs").success());
    let nobody = 65_534;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(KLUIS);
        command.args(arguments).arg(world.state()).uid(nobody).gid(nobody);
        let output = command.output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for arguments in [&["serve"][..], &["check"]] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(77), "{said}");
        assert!(
            said.contains("ermission denied") && said.contains("hint: run it as the user"),
            "{said}"
        );
    }
    assert_eq!(files(world.root.path()), before);
    drop(world.open());
}

#[test]
fn a_vault_that_is_taken_away_acknowledges_nothing_more() {
    for gone in ["state", "state/ledger", "state/packs"] {
        let dir = scratch();
        let (state, keys) = (dir.path().join("state"), dir.path().join("keys"));
        let store = Store::create(&state, &keys, VaultId::random()).expect("is made");
        let before = put(&store, b"one");
        fs::remove_dir_all(dir.path().join(gone)).expect("is removed");
        let (_, batch) = crate::store::letter(store.vault(), b"two", 1001);
        let Err(Error::Io { source, .. }) = store.commit(batch) else {
            panic!("{gone}: a letter was taken into nothing");
        };
        assert_eq!(source.kind(), std::io::ErrorKind::NotFound, "{gone}");
        assert!(store.is_dead(), "{gone}");
        drop((before, store));
    }
}

#[test]
fn a_clock_that_jumps_back_a_year_or_ahead_ten_loses_nothing() {
    const START: u64 = 1_793_610_000;
    const YEAR: u64 = 365 * 86_400;
    let (mut world, runtime) = (World::found_at(START), runtime());
    let mut sent = Vec::new();
    for (n, time) in (1..).zip([START, START - YEAR, START + 10 * YEAR, START]) {
        world.set_time(time);
        let server = runtime.block_on(world.serve());
        sent.push(mail(43, n, 20_000));
        assert_eq!(deliver(&server, false, &[MAILBOX], &sent[sent.len() - 1]), [250]);
        server.casebook.tidy().expect("tidies");
        let mut anna = world.log_in("anna").expect("logs in");
        let cases = anna.queue(Filter::All).expect("lists");
        let mut read: Vec<Vec<u8>> = cases.iter().map(|case| raw(&mut anna, case)).collect();
        let mut wanted = sent.clone();
        read.sort();
        wanted.sort();
        assert!(read == wanted, "at {time}");
        assert_eq!(count(&server, Fact::Forgotten), 0, "at {time}");
        let (_, flaws, more) = anna.check().expect("checks");
        assert_eq!((flaws.len(), more), (0, 0), "at {time}");
        drop(anna);
        runtime.block_on(server.stop());
    }
}
