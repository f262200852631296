//! The store as its users see it: what it answered for is there, whatever happens in between.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Barrier};

use kluis::ids::{Address, Digest, ItemId, LetterId, SlotId, VaultId, random};
use kluis::ledger::entry::CHECKPOINT_KEY;
use kluis::ledger::tree::{leaf, verify_consistency, verify_inclusion};
use kluis::ledger::{self, Checkpoint, Entry, Fact, checkpoint};
use kluis::secret::Secret;
use kluis::store::{Batch, COMMIT_STEPS, Error, FORGET_STEPS, Opening, ROTATE_STEPS, Store};
use kluis::vault::seal::{self, Kind, Place, SealedBox};
use kluis::vault::{self, chunk, manifest::Manifest, slot};

pub(crate) struct Vault {
    pub(crate) dir: tempfile::TempDir,
}

impl Vault {
    pub(crate) fn new() -> (Self, Store) {
        let this = Self { dir: tempfile::tempdir().expect("a directory") };
        let store = Store::create(&this.state(), &this.keys(), VaultId::random()).expect("created");
        (this, store)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    pub(crate) fn try_open(&self) -> Result<(Store, Opening), Error> {
        Store::open(&self.state(), &self.keys())
    }

    pub(crate) fn open(&self) -> (Store, Opening) {
        self.try_open().expect("the vault opens")
    }

    pub(crate) fn copy(&self) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        copy_all(self.dir.path(), dir.path());
        Self { dir }
    }

    /// Every file of the vault but the index and the lock.
    fn files(&self) -> Vec<PathBuf> {
        let list = |dir: PathBuf| {
            fs::read_dir(dir).expect("a directory").map(|e| e.expect("entry").path())
        };
        let mut files: Vec<_> = [self.state(), self.keys()]
            .into_iter()
            .chain(["packs", "ledger"].map(|sub| self.state().join(sub)))
            .flat_map(list)
            .filter(|path| path.is_file() && !path.ends_with("lock"))
            .collect();
        files.sort();
        files
    }
}

pub(crate) fn copy_all(from: &Path, to: &Path) {
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

/// A sealed box with content, and what its reader must know.
#[derive(Clone)]
pub(crate) struct Letter {
    place: Place,
    pub(crate) slot: SlotId,
    address: Address,
    digest: Digest,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn letter(vault: VaultId, content: &[u8], minute: u64) -> (Letter, Batch) {
    let (keys, chunks) = chunk::seal(&chunk::Base::fresh(), content, NonZeroUsize::MIN);
    let manifest = Manifest::new("text/plain", b"", content.len() as u64, keys, Vec::new());
    let (inner, digest) = seal::inner_for_server(&manifest);
    let (letter, item) = (LetterId::random(), ItemId::random());
    let place = Place { kind: Kind::Outgoing, vault, letter, item };
    let sealed = seal::outer(&inner, place);
    let entry = Entry::of_box(Fact::BoxSealed, minute, &sealed, digest);
    let letter = known(&sealed, digest, content);
    (letter, Batch { chunks, boxes: vec![sealed], entries: vec![entry], ..Batch::default() })
}

fn known(sealed: &SealedBox, digest: Digest, content: &[u8]) -> Letter {
    let (place, slot, address) = (sealed.place(), sealed.slot(), sealed.address());
    Letter { place, slot, address, digest, content: content.to_vec() }
}

pub(crate) fn put(store: &Store, content: &[u8]) -> Letter {
    let (letter, batch) = letter(store.vault(), content, 1000);
    store.commit(batch).expect("committed");
    letter
}

pub(crate) fn forget(store: &Store, letter: &Letter) {
    let entry = Entry { slot: Some(letter.slot), ..Entry::new(Fact::Forgotten, 1001) };
    store.forget(vec![entry], &[letter.slot]).expect("forgotten");
}

/// Opens a letter with everything that must hold, and gives its content.
pub(crate) fn read(store: &Store, letter: &Letter) -> Result<Vec<u8>, Error> {
    let key = store.box_key(letter.slot)?;
    let bytes = store.read_box(&letter.address)?;
    let inner = seal::open_outer(&bytes, &letter.place, letter.slot, &key)?;
    let manifest = seal::open_for_server(&inner, letter.digest)?;
    let mut content = Vec::new();
    for (i, key) in manifest.chunks.iter().enumerate() {
        let mut bytes = store.read_chunk(&key.address())?;
        let body = chunk::open(key, key.address(), &mut bytes)?;
        chunk::unpad(&mut content, body, i, manifest.length)?;
    }
    Ok(content)
}

pub(crate) fn assert_all_read(store: &Store, letters: &[Letter]) {
    for letter in letters {
        assert!(read(store, letter).expect("opens") == letter.content);
    }
}

pub(crate) fn no_key(result: Result<Vec<u8>, Error>) -> bool {
    matches!(result, Err(Error::Vault(vault::Error::NoKey)))
}

pub(crate) fn content(i: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + i * 7) % 251) as u8).collect()
}

pub(crate) fn some_letters(store: &Store) -> Vec<Letter> {
    [0, 1, 5000, 300_000, 70_000]
        .iter()
        .enumerate()
        .map(|(i, &length)| put(store, &content(i, length)))
        .collect()
}

pub(crate) fn assert_clean(store: &Store) {
    let report = store.check(false, &|_, _| {}).expect("checked");
    assert!(report.is_clean(), "{:?}", report.problems);
}

#[test]
fn what_was_committed_is_read_back_before_and_after_a_restart() {
    let (vault, store) = Vault::new();
    let letters = some_letters(&store);
    assert_all_read(&store, &letters);
    assert_clean(&store);
    drop(store);
    let (store, opening) = vault.open();
    assert_eq!((opening.entries, opening.slots, opening.lost), (5, 5, 0));
    assert!(opening.quarantined.is_empty() && !opening.index_rebuilt);
    assert_all_read(&store, &letters);
    let more = put(&store, b"one more");
    assert_all_read(&store, &[more]);
    let report = store.check(false, &|_, _| {}).expect("checked");
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!((report.entries, report.boxes, report.slots, report.records), (6, 6, 6, 13));
    assert!(matches!(
        store.read_box(&Address::new([1; 32])),
        Err(Error::Vault(vault::Error::Missing))
    ));
}

#[test]
fn a_vault_is_open_once_and_a_directory_without_one_is_told() {
    let (vault, store) = Vault::new();
    assert!(matches!(vault.try_open(), Err(Error::InUse)));
    drop(store);
    vault.open();
    let empty = tempfile::tempdir().expect("a directory");
    let opened = Store::open(empty.path(), empty.path());
    assert!(matches!(opened, Err(Error::NotAVault)));
}

#[test]
fn twenty_letters_at_once_share_three_pairs_of_barriers() {
    for round in 0..20 {
        let pairs = pairs_for_twenty_letters();
        assert!((1..=3).contains(&pairs), "{pairs} pairs in round {round}");
    }
}

/// Seals and commits twenty announced letters at once, reads all of them back, and counts the pairs
/// of barriers.
fn pairs_for_twenty_letters() -> u64 {
    let (_vault, store) = Vault::new();
    let before = store.barriers();
    let together = Barrier::new(20);
    let letters: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|i| {
                let (store, together) = (&store, &together);
                scope.spawn(move || {
                    let announced = store.announce();
                    together.wait();
                    let (letter, batch) = letter(store.vault(), &content(i, 9000), 1);
                    let batch = Batch { announced: Some(announced), ..batch };
                    (letter, store.commit(batch).expect("committed"))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let pairs = store.barriers() - before;
    let mut seqs: Vec<_> = letters.iter().map(|(_, committed)| committed.first_seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (0..20).collect::<Vec<_>>());
    assert_all_read(&store, &letters.into_iter().map(|(letter, _)| letter).collect::<Vec<_>>());
    pairs
}

#[test]
#[should_panic(expected = "an entry records each box in its place")]
fn a_box_without_its_entry_is_refused() {
    let (_vault, store) = Vault::new();
    let (_, mut batch) = letter(store.vault(), b"x", 1);
    batch.entries = vec![Entry::new(Fact::BoxSealed, 1)];
    let _ = store.commit(batch);
}

#[test]
fn the_end_of_a_write_that_was_cut_off_is_quarantined_and_a_bad_frame_before_it_refused() {
    let (vault, store) = Vault::new();
    let letters = some_letters(&store);
    drop(store);
    let log = vault.state().join("ledger/0000000000000000.log");
    let whole = fs::read(&log).expect("read");

    let mut torn = whole.clone();
    torn.resize(torn.len().next_multiple_of(512), 0);
    torn.extend_from_slice(b"half of a frame");
    fs::write(&log, &torn).expect("written");
    let (store, opening) = vault.open();
    assert_eq!((opening.entries, opening.quarantined.len()), (5, 1));
    assert_all_read(&store, &letters);
    drop(store);
    assert!(fs::read(&log).expect("read").starts_with(&whole));

    let mut bad = whole.clone();
    bad[512 + 70] ^= 1;
    fs::write(&log, &bad).expect("written");
    let Err(Error::Damaged { file, offset: 512, .. }) = vault.try_open() else {
        panic!("refused with file and offset");
    };
    assert_eq!((file, fs::read(&log).expect("read")), (log, bad));
}

#[test]
fn a_table_that_is_damaged_is_made_again_at_the_start_and_that_is_said() {
    let (vault, store) = Vault::new();
    let letters = some_letters(&store);
    drop(store);
    // Closes the packs.
    let (_, opening) = vault.open();
    assert_eq!((opening.packs, opening.tables_mended), (2, 0));
    for entry in fs::read_dir(vault.state().join("packs")).expect("a directory") {
        let path = entry.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("read");
        // The last frame says where the table is (vault-format §2).
        let says = bytes.len() - 32;
        let table = u64::from_le_bytes(bytes[says..says + 8].try_into().expect("8 bytes"));
        bytes[table as usize + 64 + 40] ^= 1;
        fs::write(&path, bytes).expect("written");
    }
    let mended = |expected| {
        let (store, opening) = vault.open();
        assert_eq!((opening.packs, opening.tables_mended), (2, expected));
        assert_all_read(&store, &letters);
        assert_clean(&store);
    };
    let forgotten = || fs::remove_dir_all(vault.state().join("index")).expect("removed");
    forgotten();
    mended(2);
    mended(0);
    forgotten();
    mended(0);
}

#[test]
fn a_flipped_byte_anywhere_is_named_or_changes_nothing() {
    let (vault, store) = Vault::new();
    let letters: Vec<_> = (0..2).map(|i| put(&store, &content(i, 3000))).collect();
    drop(store);
    let mut named = 0;
    for file in vault.files() {
        let length = fs::metadata(&file).expect("there").len() as usize;
        for at in (0..length).step_by(length.div_ceil(40)).chain([length - 1]) {
            let copy = vault.copy();
            let file = copy.dir.path().join(file.strip_prefix(vault.dir.path()).expect("inside"));
            let mut bytes = fs::read(&file).expect("read");
            bytes[at] ^= 0x20;
            fs::write(&file, bytes).expect("written");
            named += u32::from(is_named_or_harmless(&copy, &file, &letters));
        }
    }
    assert!(named > 60, "{named}");
}

/// Whether the damage is named; panics if it is not and changed something.
fn is_named_or_harmless(vault: &Vault, damaged: &Path, letters: &[Letter]) -> bool {
    let (store, opening) = match vault.try_open() {
        Ok(opened) => opened,
        Err(Error::Damaged { file, .. } | Error::Later { file, .. }) => {
            assert!(file == damaged || damaged.extension().is_some_and(|e| e == "key"));
            return true;
        }
        Err(other) => panic!("{other}"),
    };
    if !opening.quarantined.is_empty() {
        // The last group of the ledger looks like a write that was cut off.
        assert!(damaged.starts_with(vault.state().join("ledger")));
        return true;
    }
    let report = store.check(false, &|_, _| {}).expect("checked");
    if report.problems.iter().any(|problem| problem.file == damaged) {
        return true;
    }
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_all_read(&store, letters);
    false
}

/// The wrapped key of a slot in the bytes of a cabinet file, found as a thief would.
pub(crate) fn wrapped(cabinet: &[u8], id: SlotId) -> Option<slot::Slot> {
    let at = cabinet.windows(16).position(|bytes| bytes == id.as_bytes())?;
    cabinet.get(at + 32..at + 80)?.try_into().ok()
}

#[test]
fn what_was_forgotten_dies_in_every_copy_of_the_cabinet_with_its_key() {
    let (vault, store) = Vault::new();
    let (kept, gone) = (put(&store, b"kept"), put(&store, b"gone"));
    forget(&store, &gone);
    assert!(no_key(read(&store, &gone)));
    let stolen = fs::read(vault.state().join("cabinet.1")).expect("read");
    let key_file = vault.keys().join("1.key");
    let key: [u8; 32] = fs::read(&key_file).expect("read")[64..].try_into().expect("32 bytes");

    // Until the rotation, whoever holds cabinet and key and ignores the drop still opens it.
    let slot = wrapped(&stolen, gone.slot).expect("in the file");
    assert!(slot::unwrap(&key, gone.slot, &slot).is_ok());

    store.rotate_cabinet(1002).expect("rotated");
    assert!(!key_file.exists() && !vault.state().join("cabinet.1").exists());
    let fresh = fs::read(vault.state().join("cabinet.2")).expect("read");
    assert!(wrapped(&fresh, gone.slot).is_none());
    let key: [u8; 32] =
        fs::read(vault.keys().join("2.key")).expect("read")[64..].try_into().expect("32 bytes");
    assert!(slot::unwrap(&key, gone.slot, &slot).is_err());
    assert!(slot::unwrap(&key, kept.slot, &wrapped(&stolen, kept.slot).expect("there")).is_err());

    assert_all_read(&store, std::slice::from_ref(&kept));
    let last = store.entries(store.size() - 1, 1).expect("read");
    assert_eq!((last[0].kind, last[0].count), (Fact::CabinetRotated, Some(2)));
    let more = put(&store, b"after");
    drop(store);
    let (store, opening) = vault.open();
    assert!(!opening.rotation_settled && opening.lost == 0 && opening.forgets_finished == 0);
    assert_all_read(&store, &[kept, more]);
    assert!(no_key(read(&store, &gone)));
    assert_clean(&store);
}

#[test]
fn a_drop_that_was_lost_is_made_good_at_the_next_start() {
    let (vault, store) = Vault::new();
    let gone = put(&store, b"gone");
    let cabinet = vault.state().join("cabinet.1");
    let before = fs::read(&cabinet).expect("read");
    forget(&store, &gone);
    drop(store);
    assert_ne!(fs::read(&cabinet).expect("read"), before);
    fs::write(&cabinet, &before).expect("written");
    let (store, opening) = vault.open();
    assert_eq!((opening.forgets_finished, opening.slots), (1, 0));
    assert!(no_key(read(&store, &gone)));
    drop(store);
    assert_eq!(vault.open().1.forgets_finished, 0);
}

#[test]
fn a_cabinet_that_lost_a_key_the_ledger_names_is_refused_or_reported() {
    let (vault, store) = Vault::new();
    put(&store, b"first");
    let cabinet = vault.state().join("cabinet.1");
    let before = fs::read(&cabinet).expect("read");
    put(&store, b"second");
    drop(store);
    let whole = fs::read(&cabinet).expect("read");

    fs::write(&cabinet, &whole[..whole.len() - 5]).expect("written");
    let Err(Error::Damaged { file, .. }) = vault.try_open() else { panic!("refused") };
    assert_eq!(file, cabinet);

    // An older cabinet, whole: the vault opens and says what is lost.
    fs::write(&cabinet, &before).expect("written");
    let (store, opening) = vault.open();
    assert_eq!(opening.lost, 1);
    let report = store.check(false, &|_, _| {}).expect("checked");
    assert_eq!((report.lost, report.problems.len()), (1, 1));
}

#[test]
fn proofs_and_checkpoints_of_a_real_ledger_hold_and_a_fork_does_not() {
    let (vault, store) = Vault::new();
    let seed: [u8; 32] = random();
    let public = checkpoint::public_key(&seed);
    let slot = SlotId::random();
    assert!(matches!(store.checkpoint(), Err(Error::Vault(vault::Error::NoKey))));
    let hash = Some(Digest::new(*blake3::hash(&public).as_bytes()));
    let named = Entry {
        slot: Some(slot),
        hash,
        count: Some(CHECKPOINT_KEY),
        ..Entry::new(Fact::ServerKey, 1)
    };
    let keys = vec![(slot, Secret::new(seed))];
    store.commit(Batch { keys, entries: vec![named], ..Batch::default() }).expect("committed");
    some_letters(&store);
    let early = store.checkpoint().expect("signed");
    let old = Checkpoint::verify(&early, &public).expect("verifies");
    some_letters(&store);
    drop(store);
    let (store, _) = vault.open();
    let head = store.checkpoint().expect("signed");
    let new = Checkpoint::verify(&head, &public).expect("verifies");
    assert_eq!((old.size, new.size, new.vault), (6, 11, store.vault()));
    assert_eq!(store.root(11), Some(new.root));
    let proof = store.consistency(6, 11).expect("a proof");
    assert!(verify_consistency(6, old.root, 11, new.root, &proof));
    let entries = store.entry_bytes(0, usize::MAX).expect("read");
    for (index, bytes) in (0..).zip(&entries) {
        let proof = store.inclusion(index, 11).expect("a proof");
        assert!(verify_inclusion(leaf(bytes), index, 11, &proof, new.root));
    }
    let audit = |entries: &[Vec<u8>]| {
        ledger::audit(entries.iter().map(Vec::as_slice), &head, Some(&early), &public)
    };
    assert_eq!(audit(&entries).expect("honest").covered, 11);
    let mut edited = entries.clone();
    edited[2] = Entry { seq: 2, ..Entry::new(Fact::Looked, 3) }.to_bytes();
    assert_eq!(audit(&edited), Err(ledger::Error::Differs(6)));

    // Another ledger of the same vault and key: a fork that its own head does not betray.
    let fork = Checkpoint { root: Digest::new([1; 32]), ..new }.sign(&seed);
    let fork = Checkpoint::verify(&fork, &public).expect("verifies");
    assert!(!verify_consistency(6, old.root, 11, fork.root, &proof));
}

#[test]
fn entries_are_read_in_any_piece() {
    let (_vault, store) = Vault::new();
    for count in [1u64, 3, 2, 5] {
        let entries = (0..count).map(|i| Entry::new(Fact::Looked, i)).collect();
        store.commit(Batch::of(entries)).expect("committed");
    }
    for from in 0..=11 {
        for most in 0..=12 {
            let read = store.entries(from, most).expect("read");
            let seqs: Vec<_> = read.iter().map(|entry| entry.seq).collect();
            assert_eq!(seqs, (from..11.min(from + most as u64)).collect::<Vec<_>>());
        }
    }
    assert!(store.entries(99, 5).expect("read").is_empty());
}

#[test]
fn a_check_runs_beside_commits_and_finds_nothing() {
    let (_vault, store) = Vault::new();
    let store = Arc::new(store);
    let writer = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || {
            for i in 0..60 {
                let letter = put(&store, &content(i, 20_000));
                if i % 3 == 0 {
                    forget(&store, &letter);
                }
                if i % 20 == 19 {
                    store.rotate_cabinet(1000).expect("rotated");
                }
            }
        })
    };
    while !writer.is_finished() {
        assert_clean(&store);
    }
    writer.join().expect("no panic");
    assert_clean(&store);
}

// ---- crashes: the test binary runs itself, dies at a named step, and what is left is opened ----

const DIR: &str = "KLUIS_TEST_DIR";
const PART: &str = "KLUIS_TEST_PART";
pub(crate) const LETTERS: usize = 4;

/// What the child did, one line each: `try`, `kept`, `forget`, `forgotten`, then the letter.
pub(crate) fn note(dir: &Path, what: &str, i: usize, letter: &Letter) {
    let mut file =
        fs::OpenOptions::new().create(true).append(true).open(dir.join("notes")).expect("opens");
    let Letter { place, slot, address, digest, .. } = letter;
    let line = format!("{what} {i} {} {} {slot} {address} {digest}\n", place.letter, place.item);
    file.write_all(line.as_bytes()).expect("written");
}

pub(crate) fn notes(vault: &Vault, id: VaultId) -> HashMap<String, Vec<Letter>> {
    let mut notes: HashMap<String, Vec<Letter>> = HashMap::new();
    let text = fs::read_to_string(vault.dir.path().join("notes")).unwrap_or_default();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let i: usize = words[1].parse().expect("a number");
        let (letter, item) = (words[2].parse().expect("id"), words[3].parse().expect("id"));
        notes.entry(words[0].to_owned()).or_default().push(Letter {
            place: Place { kind: Kind::Outgoing, vault: id, letter, item },
            slot: words[4].parse().expect("id"),
            address: words[5].parse().expect("id"),
            digest: words[6].parse().expect("id"),
            content: content(i, 40_000 * i),
        });
    }
    notes
}

#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    match std::env::var(PART).as_deref() {
        Ok("full") => child_on_a_full_disk(&dir),
        Ok("load") => crate::rotation::child_under_load(&dir),
        _ => child_with_a_day(&dir),
    }
}

/// A day: letters, one forgotten, the cabinet rotated, letters again.
fn child_with_a_day(dir: &Path) {
    let (store, _) = Store::open(&dir.join("state"), &dir.join("keys")).expect("opens");
    let receive = |i: usize| {
        let (letter, batch) = letter(store.vault(), &content(i, 40_000 * i), 1000);
        note(dir, "try", i, &letter);
        store.commit(batch).expect("committed");
        note(dir, "kept", i, &letter);
        letter
    };
    let first = receive(0);
    receive(1);
    note(dir, "forget", 0, &first);
    forget(&store, &first);
    note(dir, "forgotten", 0, &first);
    store.rotate_cabinet(1002).expect("rotated");
    for i in 2..LETTERS {
        receive(i);
    }
}

pub(crate) fn run_child(vault: &Vault, kill: Option<&str>, part: &str) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    if part == "full" {
        let own = command.get_program().to_owned();
        command = Command::new("sh");
        // No file beyond 8 MiB; the signal ignored, so that the write fails instead.
        command.args(["-c", "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\""]).arg(own);
        // The lab's record of the whole suite is longer than that.
        command.env_remove("KLUIS_LAB_RECORD");
    }
    command
        .args(["--exact", "store::child", "--nocapture", "--test-threads=1"])
        .env(DIR, vault.dir.path())
        .env(PART, part)
        .stdout(std::process::Stdio::null());
    if let Some(kill) = kill {
        command.env("KLUIS_LAB_KILL", kill).stderr(std::process::Stdio::null());
    }
    command.status().expect("the child runs")
}

/// Kept letters open, forgotten ones do not, all others are whole or absent; nothing is wrong.
pub(crate) fn assert_survived(vault: &Vault, step: &str) -> Opening {
    let (store, opening) = vault.open();
    assert_eq!(opening.lost, 0, "{step}");
    let notes = notes(vault, store.vault());
    let list = |what: &str| notes.get(what).cloned().unwrap_or_default();
    let recorded: Vec<_> = store.entries(0, usize::MAX).expect("read");
    let is_recorded = |fact: Fact, letter: &Letter| {
        recorded.iter().any(|e| e.kind == fact && e.slot == Some(letter.slot))
    };
    for letter in list("forgotten") {
        assert!(is_recorded(Fact::Forgotten, &letter), "{step}");
    }
    for letter in list("try") {
        if is_recorded(Fact::Forgotten, &letter) {
            assert!(no_key(read(&store, &letter)), "{step}");
        } else if is_recorded(Fact::BoxSealed, &letter) {
            assert!(read(&store, &letter).expect("whole") == letter.content, "{step}");
        } else {
            let is_kept = list("kept").iter().any(|kept| kept.slot == letter.slot);
            assert!(!is_kept, "{step}: an answered letter is lost");
        }
    }
    assert_clean(&store);
    opening
}

#[test]
#[cfg_attr(not(kluis_lab), ignore = "needs a lab build")]
fn every_step_of_a_day_survives_a_crash() {
    let commits = COMMIT_STEPS.iter().flat_map(|step| [1, 2, 3, 4].map(|n| format!("{step}:{n}")));
    let others = FORGET_STEPS.iter().chain(ROTATE_STEPS).map(|step| format!("{step}:1"));
    for kill in commits.chain(others) {
        let (vault, store) = Vault::new();
        drop(store);
        let status = run_child(&vault, Some(&kill), "day");
        assert!(!status.success() && status.code().is_none(), "{kill} is reached: {status}");
        assert_survived(&vault, &kill);
        // A second start finds nothing left to do, and the vault goes on.
        let opening = assert_survived(&vault, &kill);
        assert_eq!((opening.forgets_finished, opening.rotation_settled), (0, false), "{kill}");
        assert!(opening.quarantined.is_empty(), "{kill}");
        let (store, _) = vault.open();
        let more = put(&store, b"goes on");
        store.rotate_cabinet(1003).expect("rotated");
        assert_all_read(&store, &[more]);
        let keys = fs::read_dir(vault.keys()).expect("a directory").count();
        assert_eq!(keys, 1, "{kill}");
        drop(store);
        assert_survived(&vault, &kill);
    }
}

#[test]
#[cfg_attr(not(kluis_lab), ignore = "needs a lab build")]
fn a_slot_that_no_entry_names_is_left_out_of_a_rotation_after_seven_days() {
    let (vault, store) = Vault::new();
    drop(store);
    run_child(&vault, Some("commit:cabinet-synced:2"), "day");
    let (store, opening) = vault.open();
    assert_eq!((opening.entries, opening.slots), (1, 2));
    let slots = |store: &Store| store.check(false, &|_, _| {}).expect("checked").slots;
    let later = |minute| Batch::of(vec![Entry::new(Fact::LoggedIn, minute)]);
    store.commit(later(1000 + 7 * 24 * 60 - 1)).expect("committed");
    store.rotate_cabinet(1).expect("rotated");
    assert_eq!(slots(&store), 2);
    store.commit(later(1000 + 7 * 24 * 60)).expect("committed");
    store.rotate_cabinet(1).expect("rotated");
    assert_eq!(slots(&store), 1);
    drop(store);
    assert_survived(&vault, "rotated");
}

/// In a process whose files cannot grow beyond 8 MiB.
fn child_on_a_full_disk(dir: &Path) {
    let (store, _) = Store::open(&dir.join("state"), &dir.join("keys")).expect("opens");
    let receive = |i: usize, length: usize| {
        let content = content(i, length);
        let (letter, batch) = letter(store.vault(), &content, 1000);
        (letter, store.commit(batch))
    };
    let (small, committed) = receive(0, 100_000);
    committed.expect("there is room");
    let (big, refused) = receive(1, 12 << 20);
    assert!(matches!(refused, Err(Error::Full)));
    assert!(!store.is_dead());
    assert!(no_key(read(&store, &big)));
    let (after, committed) = receive(2, 100_000);
    committed.expect("a small one still fits");
    assert_all_read(&store, &[small, after]);
    assert_eq!(store.size(), 2);
    assert_clean(&store);
}

#[test]
fn a_full_disk_refuses_a_batch_and_nothing_else() {
    let (vault, store) = Vault::new();
    drop(store);
    assert!(run_child(&vault, None, "full").success());
    let (store, opening) = vault.open();
    assert_eq!((opening.entries, opening.lost), (2, 0));
    assert_clean(&store);
}
