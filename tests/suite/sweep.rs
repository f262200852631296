//! The sweep: what nothing refers to is removed after two looks that agree, and nothing else ever
//! is: not with a damaged box, an older cabinet, a stale index, a clock that jumps, or a crash.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use kluis::casebook::detail::{ItemCard, NoteSubject};
use kluis::casebook::{Act, Filter};
use kluis::ids::{Address, Digest, ItemId, LetterId, SlotId, VaultId};
use kluis::ledger::{Entry, Fact};
use kluis::staff::sealing::Sealing;
use kluis::store::{Batch, Error, Opening, Repeats, Spot, Staging, State, Store};
use kluis::upkeep;
use kluis::upkeep::sweep::{self, Plan, Stage, Summary, WAIT};
use kluis::vault;
use kluis::vault::chunk::{self, Base};
use kluis::vault::manifest::Manifest;
use kluis::vault::seal::{self, Kind, Place};

use crate::mail_client::letter;
use crate::way::{deliver, entries, runtime};
use crate::world::{MAILBOX, Server, World};

/// When the first things happen, in minutes since 1970.
const START: u64 = 29_000_000;

struct Vault {
    dir: tempfile::TempDir,
}

impl Vault {
    fn new() -> (Self, Store) {
        Self::in_dir(tempfile::tempdir().expect("a directory"))
    }

    fn in_dir(dir: tempfile::TempDir) -> (Self, Store) {
        let this = Self { dir };
        let store = Store::create(&this.state(), &this.keys(), VaultId::random()).expect("created");
        (this, store)
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn packs(&self) -> BTreeMap<PathBuf, u64> {
        let list = fs::read_dir(self.state().join("packs")).expect("a directory");
        let paths = list.map(|entry| entry.expect("an entry").path());
        paths.map(|path| (path.clone(), path.metadata().expect("there").blocks() * 512)).collect()
    }

    /// Bytes that the packs take on the disk.
    fn room(&self) -> u64 {
        self.packs().values().sum()
    }

    fn opened(&self) -> (Store, Opening) {
        Store::open(&self.state(), &self.keys()).expect("the vault opens")
    }

    fn open(&self) -> Store {
        self.opened().0
    }

    /// Closes the packs that are open.
    fn reopen(&self, store: Store) -> Store {
        drop(store);
        self.open()
    }

    fn copy(&self) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        copy_all(self.dir.path(), dir.path());
        Self { dir }
    }
}

fn copy_all(from: &Path, to: &Path) {
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

/// A box with content, and what its reader must know.
#[derive(Clone)]
struct Item {
    place: Place,
    slot: SlotId,
    address: Address,
    digest: Digest,
    content: Vec<u8>,
    chunks: Vec<Address>,
}

/// Seals content with the chunks of `base`: equal content of one base has equal chunks.
fn sealed(vault: VaultId, base: &Base, content: &[u8], minute: u64) -> (Item, Batch) {
    let (keys, chunks) = chunk::seal(base, content, NonZeroUsize::MIN);
    let addresses = chunks.iter().map(|chunk| chunk.address()).collect();
    let manifest = Manifest::new("text/plain", b"", content.len() as u64, keys, Vec::new());
    let (inner, digest) = seal::inner_for_server(&manifest);
    let (letter, item) = (LetterId::random(), ItemId::random());
    let place = Place { kind: Kind::Outgoing, vault, letter, item };
    let sealed = seal::outer(&inner, place);
    let entry = Entry::of_box(Fact::BoxSealed, minute, &sealed, digest);
    let item = Item {
        place: sealed.place(),
        slot: sealed.slot(),
        address: sealed.address(),
        digest,
        content: content.to_vec(),
        chunks: addresses,
    };
    (item, Batch { chunks, boxes: vec![sealed], entries: vec![entry], ..Batch::default() })
}

fn put(store: &Store, base: &Base, content: &[u8], minute: u64) -> Item {
    let (item, batch) = sealed(store.vault(), base, content, minute);
    store.commit(batch).expect("committed");
    item
}

fn forget(store: &Store, item: &Item, minute: u64) {
    let entry = Entry { slot: Some(item.slot), ..Entry::new(Fact::Forgotten, minute) };
    store.forget(vec![entry], &[item.slot]).expect("forgotten");
}

fn read(store: &Store, item: &Item) -> Result<Vec<u8>, Error> {
    let key = store.box_key(item.slot)?;
    let bytes = store.read_box(&item.address)?;
    let inner = seal::open_outer(&bytes, &item.place, item.slot, &key)?;
    let manifest = seal::open_for_server(&inner, item.digest)?;
    let mut content = Vec::new();
    for (i, key) in manifest.chunks.iter().enumerate() {
        let mut bytes = store.read_chunk(&key.address())?;
        let body = chunk::open(key, key.address(), &mut bytes)?;
        chunk::unpad(&mut content, body, i, manifest.length)?;
    }
    Ok(content)
}

#[track_caller]
fn assert_all_read<'a>(store: &Store, items: impl IntoIterator<Item = &'a Item>) {
    for item in items {
        assert!(read(store, item).expect("opens") == item.content);
    }
}

#[track_caller]
fn assert_clean(store: &Store) {
    let report = store.check(false, &|_, _| {}).expect("checked");
    assert!(report.is_clean(), "{:?}", report.problems);
}

fn content(i: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + at / 251 + i * 7) % 253) as u8).collect()
}

fn go_on(_: u64, _: u64) -> bool {
    true
}

/// The next step of a sweep in this minute.
fn try_sweep(store: &Store, minute: u64) -> Result<Summary, upkeep::Error> {
    let plan = sweep::plan(store, minute, &go_on)?;
    sweep::apply(store, &plan, minute, &go_on)
}

#[track_caller]
fn sweep(store: &Store, minute: u64) -> Summary {
    try_sweep(store, minute).expect("a sweep")
}

/// Something happens in this minute.
fn pass_to(store: &Store, minute: u64) {
    store.commit(Batch::of(vec![Entry::new(Fact::LoggedIn, minute)])).expect("committed");
}

/// Both looks, as soon as they may be.
#[track_caller]
fn sweep_twice(store: &Store, minute: u64) -> Summary {
    let first = sweep(store, minute);
    assert_eq!(first.stage, Stage::First, "{first}");
    pass_to(store, minute + WAIT);
    let second = sweep(store, minute + WAIT);
    assert_eq!((second.stage, second.is_dry), (Stage::Second, false), "{second}");
    second
}

/// The refusal of a sweep that must not remove anything; what it says.
#[track_caller]
fn refused(store: &Store, minute: u64) -> String {
    match try_sweep(store, minute) {
        Err(error @ upkeep::Error::Unopened { .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(summary) => panic!("{summary}"),
    }
}

fn facts(store: &Store) -> Vec<(Fact, Option<u64>)> {
    let entries = store.entries(0, usize::MAX).expect("read");
    let about = |entry: &&Entry| matches!(entry.kind, Fact::SweepPlanned | Fact::Swept);
    entries.iter().filter(about).map(|entry| (entry.kind, entry.count)).collect()
}

/// Where the whole records of closed packs are, by address.
fn whole(store: &Store) -> BTreeMap<Address, Vec<Spot>> {
    let mut found: BTreeMap<Address, Vec<Spot>> = BTreeMap::new();
    for (id, _) in store.closed_packs().expect("listed") {
        for record in store.closed_pack(id).expect("read").expect("is closed").records {
            match record.state {
                State::Whole => found.entry(record.address).or_default().push(record.spot),
                State::Gone => {}
                state => panic!("{state:?}"),
            }
        }
    }
    found
}

fn pack_path(vault: &Vault, spot: Spot) -> PathBuf {
    let name: String = spot.pack.0.iter().map(|byte| format!("{byte:02x}")).collect();
    vault.state().join("packs").join(format!("{name}.pack"))
}

/// Writes bytes into a pack behind the store's back.
fn overwrite(vault: &Vault, spot: Spot, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(pack_path(vault, spot)).expect("opens");
    file.write_all_at(bytes, spot.offset + at).expect("written");
}

#[test]
fn what_was_forgotten_goes_after_two_looks_and_everything_else_stays() {
    let (vault, store) = Vault::new();
    let items: Vec<_> =
        (0..8).map(|i| put(&store, &Base::fresh(), &content(i, 400_000), START)).collect();
    let (gone, kept) = items.split_at(4);
    gone.iter().for_each(|item| forget(&store, item, START + 1));
    let store = vault.reopen(store);
    let before = vault.room();

    let dry = sweep::plan(&store, START + 2, &go_on).expect("planned");
    let dry = Summary::of(&dry);
    // Each item is a box and two chunks.
    assert_eq!((dry.stage, dry.found.records, dry.found.packs), (Stage::First, 12, 2));
    assert!(!vault.state().join("sweep.plan").exists() && facts(&store).is_empty());

    assert_eq!(sweep(&store, START + 2), Summary { is_dry: false, ..dry });
    assert_eq!(facts(&store), [(Fact::SweepPlanned, Some(12))]);
    // Three days by the clock alone, or by the ledger alone, are not enough.
    let waits = sweep(&store, START + 2 + 2 * WAIT);
    assert_eq!((waits.stage, waits.until), (Stage::Waits, Some(START + 2 + WAIT)));
    pass_to(&store, START + 1 + WAIT);
    assert_eq!(sweep(&store, START + 2 + 2 * WAIT).stage, Stage::Waits);
    pass_to(&store, START + 2 + WAIT);
    assert_eq!(sweep(&store, START + 1 + WAIT).stage, Stage::Waits);
    assert_eq!(vault.room(), before);

    let done = sweep(&store, START + 2 + WAIT);
    assert_eq!((done.stage, done.found.records), (Stage::Second, 12), "{done}");
    assert_eq!((done.packs_gone, done.unpunched, done.damaged), (0, 0, 0));
    assert_eq!(facts(&store), [(Fact::SweepPlanned, Some(12)), (Fact::Swept, Some(12))]);
    assert!(!vault.state().join("sweep.plan").exists());
    let returned = before - vault.room();
    assert!(returned > 4 * 400_000 - 12 * 8192, "{returned} bytes");

    let mut store = store;
    for round in 0..3 {
        assert_all_read(&store, kept);
        for item in gone {
            let key = store.box_key(item.slot);
            assert!(matches!(key, Err(Error::Vault(vault::Error::NoKey))));
            let boxed = store.read_box(&item.address);
            assert!(matches!(boxed, Err(Error::Vault(vault::Error::Missing))), "{round}");
            for address in &item.chunks {
                assert!(!store.has_chunk(address).expect("asked"));
                let chunk = store.read_chunk(address);
                assert!(matches!(chunk, Err(Error::Vault(vault::Error::Missing))), "{round}");
            }
        }
        let report = store.check(round == 2, &|_, _| {}).expect("checked");
        assert!(report.is_clean(), "{:?}", report.problems);
        assert_eq!((report.records, report.dead), (12, 12));
        drop(store);
        if round == 0 {
            fs::remove_dir_all(vault.state().join("index")).expect("removed");
        }
        store = vault.open();
    }
    // Nothing is left to do, and the ledger says so.
    assert_eq!(sweep(&store, START + 3 + 2 * WAIT).stage, Stage::Nothing);
    assert_eq!(facts(&store).last(), Some(&(Fact::SweepPlanned, Some(0))));
}

#[test]
fn a_pack_with_nothing_live_is_removed_and_one_that_came_after_the_first_look_is_not_judged() {
    let (vault, store) = Vault::new();
    let first: Vec<_> =
        (0..3).map(|i| put(&store, &Base::fresh(), &content(i, 9_000), START)).collect();
    let store = vault.reopen(store);
    let kept = put(&store, &Base::fresh(), b"kept", START);
    let store = vault.reopen(store);
    assert_eq!(vault.packs().len(), 4);
    first.iter().for_each(|item| forget(&store, item, START));
    let noted = sweep(&store, START);
    assert_eq!((noted.found.records, noted.found.packs), (6, 2));

    // Dead, closed, and later than the first look.
    let late = put(&store, &Base::fresh(), b"late", START);
    forget(&store, &late, START);
    let store = vault.reopen(store);
    pass_to(&store, START + WAIT);
    let done = sweep(&store, START + WAIT);
    assert_eq!((done.found.records, done.packs_gone), (6, 2));
    assert_eq!(vault.packs().len(), 4);
    assert_all_read(&store, [&kept]);
    assert_clean(&store);
    // It goes with the next two.
    let done = sweep_twice(&store, START + 2 * WAIT);
    assert_eq!((done.found.records, done.packs_gone), (2, 2));
    assert_eq!(vault.packs().len(), 2);
    assert_all_read(&store, [&kept]);
    assert_clean(&store);
}

#[test]
fn while_one_box_does_not_open_nothing_is_removed_and_it_is_named() {
    let (vault, store) = Vault::new();
    let items: Vec<_> =
        (0..4).map(|i| put(&store, &Base::fresh(), &content(i, 5_000), START)).collect();
    forget(&store, &items[0], START);
    let store = vault.reopen(store);
    let spot = |store: &Store, item: &Item| whole(store)[&item.address][0];
    let broken = spot(&store, &items[2]);
    assert_eq!(sweep(&store, START).stage, Stage::First);
    pass_to(&store, START + WAIT);

    // Damaged, missing and without a key: neither a first nor a second look goes through.
    let check = |vault: &Vault, spoil: &dyn Fn(&Vault)| {
        spoil(vault);
        let (store, _) = vault.opened();
        let room = vault.room();
        for minute in [START + WAIT, START + 3 * WAIT] {
            let why = refused(&store, minute);
            assert!(why.contains(&items[2].address.to_string()), "{why}");
            pass_to(&store, minute);
        }
        assert_eq!(vault.room(), room);
        assert_all_read(&store, [&items[1], &items[3]]);
        assert_eq!(facts(&store).len(), 1);
    };
    drop(store);
    check(&vault.copy(), &|vault| overwrite(vault, broken, 64 + 17, b"!"));
    check(&vault.copy(), &|vault| overwrite(vault, broken, 0, &[0; 64]));
    // A first look anew refuses, too.
    check(&vault.copy(), &|vault| {
        overwrite(vault, broken, 64 + 17, b"!");
        fs::remove_file(vault.state().join("sweep.plan")).expect("removed");
    });
    // Forgotten at last, it stands in nobody's way.
    overwrite(&vault, broken, 64 + 17, b"!");
    let store = vault.open();
    refused(&store, START + WAIT);
    forget(&store, &items[2], START + WAIT);
    assert_eq!(sweep(&store, START + WAIT).stage, Stage::Second);
    assert_all_read(&store, [&items[1], &items[3]]);
}

#[test]
fn with_a_pack_of_boxes_gone_nothing_is_removed() {
    let (vault, store) = Vault::new();
    let old = put(&store, &Base::fresh(), b"old", START);
    let store = vault.reopen(store);
    let items: Vec<_> =
        (0..3).map(|i| put(&store, &Base::fresh(), &content(i, 5_000), START)).collect();
    forget(&store, &items[0], START);
    let store = vault.reopen(store);
    assert_eq!(sweep(&store, START).stage, Stage::First);
    pass_to(&store, START + WAIT);
    let boxes = pack_path(&vault, whole(&store)[&items[1].address][0]);
    drop(store);
    let aside = vault.dir.path().join("aside");
    fs::rename(&boxes, &aside).expect("moved");
    let store = vault.open();
    let packs = vault.packs();
    assert!(refused(&store, START + WAIT).contains("1 more like it"));
    assert_eq!(vault.packs(), packs);
    assert_all_read(&store, [&old]);
    drop(store);
    fs::rename(&aside, &boxes).expect("moved");
    let store = vault.open();
    assert_eq!(sweep(&store, START + WAIT).stage, Stage::Second);
    assert_all_read(&store, items[1..].iter().chain([&old]));
    assert_clean(&store);
}

#[test]
fn with_an_older_or_a_damaged_cabinet_nothing_is_removed() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let old: Vec<_> = (0..3).map(|i| put(&store, &base, &content(i, 90_000), START)).collect();
    let cabinet = vault.state().join("cabinet.1");
    let older = fs::read(&cabinet).expect("read");
    let new: Vec<_> = (3..6).map(|i| put(&store, &base, &content(i, 90_000), START)).collect();
    forget(&store, &old[0], START);
    forget(&store, &new[0], START);
    let store = vault.reopen(store);
    assert_eq!(sweep(&store, START).stage, Stage::First);
    pass_to(&store, START + WAIT);
    drop(store);
    let whole_cabinet = fs::read(&cabinet).expect("read");
    let room = vault.room();

    fs::write(&cabinet, &older).expect("written");
    let (store, opening) = vault.opened();
    assert_eq!((opening.lost, opening.forgets_finished), (2, 1));
    assert!(refused(&store, START + WAIT).contains("1 more like it"));
    assert!(refused(&store, START + 9 * WAIT).contains("1 more like it"));
    assert_eq!(vault.room(), room);
    assert_all_read(&store, &old[1..]);
    drop(store);

    // Damaged: the vault does not even open.
    let mut damaged = whole_cabinet.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&cabinet, &damaged).expect("written");
    assert!(matches!(Store::open(&vault.state(), &vault.keys()), Err(Error::Damaged { .. })));
    assert_eq!(vault.room(), room);

    fs::write(&cabinet, &whole_cabinet).expect("written");
    let store = vault.open();
    let done = sweep(&store, START + WAIT);
    assert_eq!((done.stage, done.found.records), (Stage::Second, 4));
    assert_all_read(&store, old[1..].iter().chain(&new[1..]));
    assert_clean(&store);
}

#[test]
fn a_stale_index_misleads_no_sweep_and_no_reader() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let put = |store: &Store, i| put(store, &base, &content(i, 70_000), START);
    let mut items: Vec<_> = (0..4).map(|i| put(&store, i)).collect();
    let store = vault.reopen(store);
    // The same content once more, in another pack.
    items.extend((0..4).map(|i| put(&store, i)));
    drop(store);
    let index = vault.state().join("index");
    let stale = tempfile::tempdir().expect("a directory");
    copy_all(&index, stale.path());
    let put_back = || {
        fs::remove_dir_all(&index).expect("removed");
        fs::create_dir(&index).expect("made");
        copy_all(stale.path(), &index);
    };
    let store = vault.open();
    forget(&store, &items[0], START);
    forget(&store, &items[4], START);
    assert_eq!(sweep(&store, START).stage, Stage::First);
    pass_to(&store, START + WAIT);
    drop(store);
    put_back();
    let store = vault.open();
    let done = sweep(&store, START + WAIT);
    assert_eq!((done.stage, done.found.copies), (Stage::Second, 3));
    let live = || items[1..4].iter().chain(&items[5..]);
    assert_all_read(&store, live());
    drop(store);
    // The index points to copies that are gone.
    put_back();
    let store = vault.open();
    assert_all_read(&store, live());
    assert_eq!(sweep(&store, START + 2 * WAIT).stage, Stage::Nothing);
    let report = store.check(true, &|_, _| {}).expect("checked");
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_all_read(&store, live());
}

#[test]
fn a_clock_ten_days_ahead_shortens_the_wait_and_removes_nothing_live() {
    const AHEAD: u64 = 10 * 24 * 60;
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let items: Vec<_> = (0..4).map(|i| put(&store, &base, &content(i, 50_000), START)).collect();
    forget(&store, &items[0], START);
    let store = vault.reopen(store);
    assert_eq!(sweep(&store, START).stage, Stage::First);
    // The clock jumps; the same contents come again and meet what was called dead.
    let again: Vec<_> =
        (0..2).map(|i| put(&store, &base, &content(i, 50_000), START + AHEAD)).collect();
    assert_eq!(again[0].chunks, items[0].chunks);
    let done = sweep(&store, START + AHEAD);
    // The box that was forgotten; its chunk is needed again.
    assert_eq!((done.stage, done.found.records), (Stage::Second, 1), "{done}");
    assert_all_read(&store, items[1..].iter().chain(&again));
    assert_clean(&store);
    // Back again: whatever the clock says now, what is live stays.
    for minute in [START, START + AHEAD, START + 2 * AHEAD, 0, START + 3 * AHEAD] {
        pass_to(&store, minute);
        sweep(&store, minute);
        assert_all_read(&store, items[1..].iter().chain(&again));
    }
    assert_clean(&store);
}

#[test]
fn a_plan_that_the_ledger_does_not_know_or_does_not_extend_is_not_followed() {
    let (vault, store) = Vault::new();
    let items: Vec<_> =
        (0..3).map(|i| put(&store, &Base::fresh(), &content(i, 50_000), START)).collect();
    forget(&store, &items[0], START);
    let store = vault.reopen(store);
    drop(store);
    let before = vault.copy();
    let store = vault.open();
    assert_eq!(sweep(&store, START).stage, Stage::First);
    pass_to(&store, START + WAIT);
    drop(store);
    let plan = fs::read(vault.state().join("sweep.plan")).expect("read");

    // The ledger put back from before the plan.
    fs::write(before.state().join("sweep.plan"), &plan).expect("written");
    let store = before.open();
    pass_to(&store, START + WAIT);
    assert_eq!(sweep(&store, START + WAIT).stage, Stage::First);
    drop(store);
    // A plan of another time, or damaged, or none.
    for bytes in [fs::read(before.state().join("sweep.plan")).expect("read"), plan[1..].to_vec()] {
        let vault = vault.copy();
        fs::write(vault.state().join("sweep.plan"), &bytes).expect("written");
        let store = vault.open();
        assert_eq!(sweep(&store, START + WAIT).stage, Stage::First);
        assert_eq!(whole(&store).len(), 6);
    }
    let store = vault.open();
    assert_eq!(sweep(&store, START + WAIT).stage, Stage::Second);
    // Followed once, it is not followed again.
    fs::write(vault.state().join("sweep.plan"), &plan).expect("written");
    assert_eq!(sweep(&store, START + 2 * WAIT).stage, Stage::Nothing);
    assert!(!vault.state().join("sweep.plan").exists());
    assert_all_read(&store, &items[1..]);
}

#[test]
fn what_an_interrupted_import_left_goes_and_what_it_kept_stays() {
    let (vault, store) = Vault::new();
    let kept = put(&store, &Base::fresh(), b"kept before", START);
    drop(store);
    // Packs whose entries never came to the ledger.
    let other = vault.copy();
    let store = other.open();
    for i in 0..5 {
        put(&store, &Base::fresh(), &content(i, 300_000), START);
    }
    drop(store);
    for path in other.packs().into_keys() {
        let to = vault.state().join("packs").join(path.file_name().expect("a name"));
        if !to.exists() {
            fs::copy(path, to).expect("copied");
        }
    }
    let store = vault.open();
    let more = put(&store, &Base::fresh(), b"kept after", START);
    assert_eq!(vault.packs().len(), 6);
    let done = sweep_twice(&store, START);
    assert_eq!((done.found.records, done.packs_gone), (15, 2));
    assert_all_read(&store, [&kept, &more]);
    assert_clean(&store);
}

/// Puts content through a staging and commits it.
fn put_staged(store: &Store, staging: &mut Staging<'_>, base: &Base, content: &[u8]) -> Item {
    let stored = staging.put(base, &content).expect("stored");
    let chunks = stored.keys.iter().map(|key| key.address()).collect();
    let manifest = Manifest::new("text/plain", b"", stored.length, stored.keys, Vec::new());
    let (inner, digest) = seal::inner_for_server(&manifest);
    let (letter, item) = (LetterId::random(), ItemId::random());
    let place = Place { kind: Kind::Outgoing, vault: store.vault(), letter, item };
    let sealed = seal::outer(&inner, place);
    let (slot, address, content) = (sealed.slot(), sealed.address(), content.to_vec());
    let entry = Entry::of_box(Fact::BoxSealed, START, &sealed, digest);
    let staged = vec![staging.take().expect("taken")];
    let batch = Batch { staged, boxes: vec![sealed], entries: vec![entry], ..Batch::default() };
    store.commit(batch).expect("committed");
    Item { place, slot, address, digest, content, chunks }
}

#[test]
fn what_a_running_import_may_rest_on_is_not_judged_before_it_ends() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let mut staging = store.staging(Repeats::Skip);
    let first = put_staged(&store, &mut staging, &base, &content(1, 700_000));
    forget(&store, &first, START);
    // Nothing refers to its chunks now, but the import may meet the same document again.
    assert_eq!(sweep(&store, START).stage, Stage::Nothing);
    for minute in [START + WAIT, START + 2 * WAIT] {
        pass_to(&store, minute);
        assert_eq!(sweep(&store, minute).stage, Stage::Nothing);
    }
    let again = put_staged(&store, &mut staging, &base, &content(1, 700_000));
    assert_eq!(again.chunks, first.chunks);
    assert_all_read(&store, [&again]);
    forget(&store, &again, START + 2 * WAIT);
    drop(staging);
    // It has ended: its chunks are judged as any other.
    let done = sweep_twice(&store, START + 3 * WAIT);
    assert_eq!((done.found.records, done.packs_gone), (3, 1), "{done}");
    let kept = put(&store, &base, b"kept", START);
    assert_all_read(&store, [&kept]);
    assert_clean(&store);
    drop((store, vault));
}

#[test]
fn a_pack_copied_back_brings_nothing_back_and_goes_again() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let gone: Vec<_> = (0..3).map(|i| put(&store, &base, &content(i, 80_000), START)).collect();
    let store = vault.reopen(store);
    let half: Vec<_> = (3..6).map(|i| put(&store, &base, &content(i, 80_000), START)).collect();
    let store = vault.reopen(store);
    drop(store);
    let backup = vault.copy();
    let store = vault.open();
    gone.iter().chain(&half[..1]).for_each(|item| forget(&store, item, START));
    store.rotate_cabinet(START).expect("rotated");
    let done = sweep_twice(&store, START);
    assert_eq!((done.found.records, done.packs_gone), (8, 2));
    drop(store);

    // Packs that are gone come back, and one that lost records has them again.
    for path in backup.packs().into_keys() {
        let to = vault.state().join("packs").join(path.file_name().expect("a name"));
        fs::copy(path, to).expect("copied");
    }
    let store = vault.open();
    // Into a pack that it knew the index does not look again by itself.
    let report = store.check(true, &|_, _| {}).expect("checked");
    assert!(report.is_clean() && report.dead == 0, "{:?}", report.problems);
    for item in gone.iter().chain(&half[..1]) {
        assert!(matches!(read(&store, item), Err(Error::Vault(vault::Error::NoKey))));
    }
    assert_all_read(&store, &half[1..]);
    let done = sweep_twice(&store, START + 2 * WAIT);
    assert_eq!((done.found.records, done.packs_gone), (8, 2));
    assert_eq!(whole(&store).len(), 4);
    assert_all_read(&store, &half[1..]);
    assert_clean(&store);
}

#[test]
fn equal_chunks_are_kept_once_and_never_when_their_bytes_differ_or_one_is_damaged() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let mut store = store;
    let mut items = Vec::new();
    for _ in 0..3 {
        items.extend((0..3).map(|i| put(&store, &base, &content(i, 100_000), START)));
        store = vault.reopen(store);
    }
    let address = |i: usize| items[i].chunks[0];
    let before = whole(&store);
    assert!((0..3).all(|i| before[&address(i)].len() == 3));
    // Of the second, the copy that would stay is damaged; of the third, another one differs.
    drop(store);
    let first = before[&address(1)].iter().min().expect("three");
    overwrite(&vault, *first, 5_000, b"damage");
    let differs = before[&address(2)].iter().max().expect("three");
    replace_payload(&vault, *differs, address(2));
    let store = vault.open();
    let done = sweep_twice(&store, START);
    assert_eq!((done.found.copies, done.differing, done.damaged), (3, 1, 2), "{done}");
    let after = whole(&store);
    assert_eq!((0..3).map(|i| after[&address(i)].len()).collect::<Vec<_>>(), [1, 3, 2]);
    assert_eq!(after[&address(0)][0], *before[&address(0)].iter().min().expect("three"));
    // The damaged one is not what is read, whatever the index says.
    for item in &items {
        if item.chunks[0] != address(2) {
            assert!(read(&store, item).expect("opens") == item.content);
        }
    }
    let problems = store.check(false, &|_, _| {}).expect("checked").problems;
    assert!(problems.iter().all(|problem| problem.offset == first.offset), "{problems:?}");
}

#[test]
fn a_pack_that_is_there_twice_is_kept_once() {
    let (vault, store) = Vault::new();
    let items: Vec<_> =
        (0..4).map(|i| put(&store, &Base::fresh(), &content(i, 30_000), START)).collect();
    forget(&store, &items[0], START);
    drop(store);
    for (i, path) in vault.packs().into_keys().enumerate() {
        fs::copy(&path, path.with_file_name(format!("{:032x}.pack", i + 1))).expect("copied");
    }
    assert_eq!(vault.packs().len(), 4);
    let store = vault.open();
    let done = sweep_twice(&store, START);
    // The names of the copies come first; what was forgotten is in neither.
    assert_eq!((done.found.records, done.found.copies, done.packs_gone), (10, 6, 2), "{done}");
    assert_all_read(&store, &items[1..]);
    assert_eq!(whole(&store).len(), 6);
    assert_clean(&store);
}

#[test]
fn a_copy_whose_twin_is_lost_between_the_looks_stays() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let mut store = store;
    let mut items = Vec::new();
    for _ in 0..2 {
        items.push(put(&store, &base, &content(1, 60_000), START));
        store = vault.reopen(store);
    }
    let copies = whole(&store)[&items[0].chunks[0]].clone();
    assert_eq!(sweep(&store, START).found.copies, 1);
    pass_to(&store, START + WAIT);
    drop(store);
    fs::remove_file(pack_path(&vault, *copies.iter().min().expect("two"))).expect("removed");
    let store = vault.open();
    let done = sweep(&store, START + WAIT);
    assert_eq!((done.stage, done.found.records), (Stage::Second, 0), "{done}");
    assert_all_read(&store, &items);
}

/// Puts other bytes, with a true checksum, under an address: what only a program that is wrong, or
/// a hand, can do.
fn replace_payload(vault: &Vault, spot: Spot, address: Address) {
    let path = pack_path(vault, spot);
    let mut pack = fs::read(&path).expect("read");
    let record = &mut pack[spot.offset as usize..][..64 + spot.length as usize];
    assert_eq!(record[32..64], *address.as_bytes());
    record[64..].iter_mut().for_each(|byte| *byte ^= 0x55);
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&record[..6]);
    digest.update(&record[8..16]);
    digest.update(&record[20..]);
    let sum = u32::try_from(digest.finalize()).expect("32 bits");
    record[16..20].copy_from_slice(&sum.to_le_bytes());
    fs::write(path, pack).expect("written");
}

#[test]
fn a_reader_of_a_damaged_copy_is_given_the_true_one() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let first = put(&store, &base, &content(1, 60_000), START);
    let store = vault.reopen(store);
    let second = put(&store, &base, &content(1, 60_000), START);
    let store = vault.reopen(store);
    let copies = whole(&store)[&first.chunks[0]].clone();
    assert_eq!(copies.len(), 2);
    drop(store);
    for bad in &copies {
        let vault = vault.copy();
        overwrite(&vault, *bad, 64 + 100, b"rotten");
        for rebuilt in [false, true] {
            if rebuilt {
                fs::remove_dir_all(vault.state().join("index")).expect("removed");
            }
            let store = vault.open();
            assert_all_read(&store, [&first, &second]);
            let problems = store.check(false, &|_, _| {}).expect("checked").problems;
            assert_eq!(problems.len(), 1, "{problems:?}");
        }
        // With no true copy left it is damage, with its place.
        let other = copies.iter().find(|spot| *spot != bad).expect("two");
        overwrite(&vault, *other, 64 + 100, b"rotten");
        let store = vault.open();
        assert!(matches!(read(&store, &first), Err(Error::Damaged { .. })));
    }
}

#[test]
fn a_flag_that_no_sweep_set_is_named_and_removes_nothing() {
    let (vault, store) = Vault::new();
    let items: Vec<_> =
        (0..3).map(|i| put(&store, &Base::fresh(), &content(i, 30_000), START)).collect();
    forget(&store, &items[0], START);
    let store = vault.reopen(store);
    let spots = whole(&store);
    drop(store);
    // Bit 0 of the flags of a chunk and of a box, and the others of both.
    for (address, is_box) in [(items[1].chunks[0], false), (items[1].address, true)] {
        for flag in [1, 2, 128] {
            let vault = vault.copy();
            overwrite(&vault, spots[&address][0], 6, &[flag]);
            let store = vault.open();
            assert!(read(&store, &items[1]).is_err());
            let report = store.check(false, &|_, _| {}).expect("checked");
            assert!(!report.is_clean(), "{flag}");
            if is_box {
                refused(&store, START);
            } else {
                sweep_twice(&store, START);
            }
            // Taken back, everything is there.
            overwrite(&vault, spots[&address][0], 6, &[0]);
            drop(store);
            fs::remove_dir_all(vault.state().join("index")).expect("removed");
            let store = vault.open();
            assert_all_read(&store, &items[1..]);
        }
    }
    // On the head of a pack it says what is not so, and costs a look at each record.
    for path in vault.packs().into_keys() {
        let file = fs::OpenOptions::new().write(true).open(path).expect("opens");
        file.write_all_at(&[1], 6).expect("written");
    }
    fs::remove_dir_all(vault.state().join("index")).expect("removed");
    let store = vault.open();
    assert_clean(&store);
    assert_eq!(sweep_twice(&store, START).found.records, 2);
    assert_all_read(&store, &items[1..]);
    assert_clean(&store);
}

#[test]
fn a_pack_without_its_table_is_scanned_past_its_dead_records() {
    let (vault, store) = Vault::new();
    // Several records in one unit: a dead one stands between live ones.
    let (mut items, mut batch) = (Vec::new(), Batch::default());
    for i in 0..6 {
        let (item, more) = sealed(store.vault(), &Base::fresh(), &content(i, 9_000), START);
        items.push(item);
        batch.chunks.extend(more.chunks);
        batch.boxes.extend(more.boxes);
        batch.entries.extend(more.entries);
    }
    store.commit(batch).expect("committed");
    [1, 2, 4].iter().for_each(|i| forget(&store, &items[*i], START));
    let store = vault.reopen(store);
    assert_eq!(sweep_twice(&store, START).found.records, 6);
    drop(store);
    // Cut off behind the last record: the table is gone.
    for path in vault.packs().into_keys() {
        let file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
        let length = file.metadata().expect("there").len();
        file.set_len(length - 64).expect("cut");
    }
    fs::remove_dir_all(vault.state().join("index")).expect("removed");
    let (store, _) = vault.opened();
    assert_all_read(&store, [0, 3, 5].map(|i| &items[i]));
    assert_clean(&store);
    let found = whole(&store);
    assert_eq!(found.len(), 6);
    assert!([1, 2, 4].iter().all(|i| !found.contains_key(&items[*i].address)));
}

#[test]
fn a_sweep_beside_commits_and_readers_disturbs_neither() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let mut store = store;
    let mut items = Vec::new();
    for _ in 0..3 {
        items.extend((0..12).map(|i| put(&store, &base, &content(i, 40_000), START)));
        store = vault.reopen(store);
    }
    let kept: Vec<Item> = items.iter().skip(1).step_by(2).cloned().collect();
    items.iter().step_by(2).for_each(|item| forget(&store, item, START));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let busy = || !stop.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while busy() {
                assert_all_read(&store, &kept);
            }
        });
        scope.spawn(|| {
            let mut i = 0;
            while busy() {
                // What comes meanwhile, some of it as it was before, some of it to be forgotten.
                let item = put(&store, &base, &content(i % 20, 40_000), START);
                assert_all_read(&store, [&item]);
                if i % 3 == 0 {
                    forget(&store, &item, START);
                }
                i += 1;
            }
        });
        let mut minute = START;
        for _ in 0..4 {
            minute += WAIT;
            pass_to(&store, minute);
            sweep(&store, minute);
            assert_clean(&store);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let swept = facts(&store).into_iter().find(|(fact, _)| *fact == Fact::Swept);
    // Half of the boxes, and of the chunks all copies but one.
    assert!(swept.is_some_and(|(_, count)| count >= Some(18 + 12)), "{swept:?}");
    assert_all_read(&store, &kept);
    let store = vault.reopen(store);
    assert_all_read(&store, &kept);
    assert_clean(&store);
}

#[test]
fn a_sweep_that_is_stopped_goes_on_the_next_time() {
    let (vault, store) = Vault::new();
    let mut store = store;
    for i in 0..4 {
        let item = put(&store, &Base::fresh(), &content(i, 20_000), START);
        forget(&store, &item, START);
        store = vault.reopen(store);
    }
    let kept = put(&store, &Base::fresh(), b"kept", START);
    assert!(matches!(sweep::plan(&store, START, &|_, _| false), Err(upkeep::Error::Stopped)));
    assert_eq!(sweep(&store, START).stage, Stage::First);
    pass_to(&store, START + WAIT);
    let plan = sweep::plan(&store, START + WAIT, &go_on).expect("planned");
    let stopped = sweep::apply(&store, &plan, START + WAIT, &|done, _| done < 2);
    assert!(matches!(stopped, Err(upkeep::Error::Stopped)));
    assert_eq!(vault.packs().len(), 8);
    let done = sweep(&store, START + WAIT);
    assert_eq!((done.stage, done.packs_gone), (Stage::Second, 6));
    assert_all_read(&store, [&kept]);
    assert_clean(&store);
}

// ---- by the server, and by command ----

#[test]
fn a_server_looks_a_day_after_its_first_and_removes_three_days_later() {
    const DAY: u64 = 24 * 60;
    let (mut world, runtime) = (World::found_at(START * 60), runtime());
    let facts = |server: &Server| -> Vec<(Fact, u64)> {
        let about = |entry: &Entry| matches!(entry.kind, Fact::SweepPlanned | Fact::Swept);
        entries(server).into_iter().filter(about).map(|e| (e.kind, e.minute)).collect()
    };
    let mut known = Vec::new();
    for (day, fact) in [
        (0, None),
        (1, Some(Fact::SweepPlanned)),
        (3, None),
        (4, None),
        // The newest entry is of this day now.
        (4, Some(Fact::Swept)),
        (5, Some(Fact::SweepPlanned)),
    ] {
        world.set_time((START + day * DAY) * 60);
        let server = runtime.block_on(world.serve());
        let minute = START + day * DAY;
        known.extend(fact.map(|fact| (fact, minute)));
        let deadline = Instant::now() + Duration::from_secs(20);
        while facts(&server) != known {
            assert!(Instant::now() < deadline, "day {day}: {:?}, not {known:?}", facts(&server));
            std::thread::sleep(Duration::from_millis(20));
        }
        if day == 0 {
            assert_eq!(deliver(&server, false, &[MAILBOX], &letter(31, 1, 200_000)), [250]);
            let mut anna = world.log_in("anna").expect("logs in");
            let case = anna.queue(Filter::All).expect("lists").remove(0);
            let detail = case.letters[0].detail.as_ref().expect("opens");
            let is_it = |card: &&ItemCard| card.media_type == "application/octet-stream";
            let item = detail.items.iter().find(is_it).expect("an attachment").id;
            let mut sealing =
                Sealing::new(case.card.case, Act::Note, anna.sealing().expect("is proven"));
            sealing.note(NoteSubject::Reason, "served its time", None, Vec::new());
            anna.forget(vec![item], sealing.finish(), false).expect("is forgotten");
        } else {
            world.log_in("anna").expect("logs in");
        }
        runtime.block_on(server.stop());
    }
    let gateway = world.open();
    let report = gateway.casebook.store().check(false, &|_, _| {}).expect("checks");
    assert!(report.is_clean() && report.dead > 1, "{:?}", report.problems);
}

// ---- a day at random ----

#[derive(Clone, Debug)]
enum Event {
    Put { content: usize, length: usize, in_window: bool },
    Forget(usize),
    Reopen,
    Sweep { later: bool },
    IndexGone,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let length = prop_oneof![Just(0), 1usize..9_000, Just(70_000), Just(300_000)];
    let event = prop_oneof![
        6 => (0usize..6, length, any::<bool>())
            .prop_map(|(content, length, in_window)| Event::Put { content, length, in_window }),
        4 => any::<usize>().prop_map(Event::Forget),
        3 => Just(Event::Reopen),
        4 => any::<bool>().prop_map(|later| Event::Sweep { later }),
        1 => Just(Event::IndexGone),
    ];
    proptest::collection::vec(event, 5..30)
}

/// The records that must be there, each once: those of boxes that were not forgotten.
fn needed(live: &[Item]) -> HashSet<Address> {
    live.iter().flat_map(|item| item.chunks.iter().copied().chain([item.address])).collect()
}

fn live_through(events: Vec<Event>) {
    let (vault, mut store) = Vault::new();
    let window = Base::fresh();
    let (mut live, mut minute): (Vec<Item>, u64) = (Vec::new(), START);
    for event in events {
        minute += 1;
        match event {
            Event::Put { content: i, length, in_window } => {
                let fresh = Base::fresh();
                let base = if in_window { &window } else { &fresh };
                live.push(put(&store, base, &content(i, length), minute));
            }
            Event::Forget(i) if !live.is_empty() => {
                let item = live.remove(i % live.len());
                forget(&store, &item, minute);
                assert!(matches!(read(&store, &item), Err(Error::Vault(vault::Error::NoKey))));
            }
            Event::Forget(_) => {}
            Event::Reopen => store = vault.reopen(store),
            Event::Sweep { later } => {
                if later {
                    minute += WAIT;
                    pass_to(&store, minute);
                }
                sweep(&store, minute);
            }
            Event::IndexGone => {
                drop(store);
                fs::remove_dir_all(vault.state().join("index")).expect("removed");
                store = vault.open();
            }
        }
        assert_all_read(&store, &live);
    }
    // Whatever stands is finished, then everything is judged once more.
    store = vault.reopen(store);
    for _ in 0..4 {
        minute += WAIT;
        pass_to(&store, minute);
        sweep(&store, minute);
    }
    assert_all_read(&store, &live);
    assert_clean(&store);
    assert!(matches!(sweep::plan(&store, minute, &go_on), Ok(Plan::Nothing)));
    let found = whole(&store);
    assert_eq!(found.keys().copied().collect::<HashSet<_>>(), needed(&live));
    assert!(found.values().all(|spots| spots.len() == 1));
    let lengths: u64 = found.values().map(|spots| spots[0].length.next_multiple_of(4096)).sum();
    let dead = store.check(false, &|_, _| {}).expect("checked").dead;
    // A dead record keeps the block of its header, and one that it shares with the next.
    let most = lengths + (found.len() as u64 + dead) * 8192 + vault.packs().len() as u64 * 12_288;
    assert!(vault.room() <= most, "{} bytes, {most} at most", vault.room());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_day_brings_what_is_live_reads_back_and_what_is_dead_goes(events in events()) {
        live_through(events);
    }
}

// ---- a disk without a free byte ----

/// A small file system in memory, as long as this lives.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let path = self.0.path().join("filler");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).expect("opens");
        for piece in [1 << 16, 1 << 12, 1] {
            while std::io::Write::write_all(&mut file, &vec![7; piece]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.path().join("filler")).expect("removed");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn with_no_byte_free_a_plan_takes_the_reserve_or_fails_cleanly_and_a_second_look_makes_room() {
    let Some(small) = Small::mount(24 << 20) else {
        println!("SKIPPED with_no_byte_free: no file system can be mounted here");
        return;
    };
    let dir = tempfile::tempdir_in(small.0.path()).expect("a directory");
    let (vault, store) = Vault::in_dir(dir);
    let items: Vec<_> =
        (0..8).map(|i| put(&store, &Base::fresh(), &content(i, 1_000_000), START)).collect();
    items[..6].iter().for_each(|item| forget(&store, item, START));
    let store = vault.reopen(store);
    pass_to(&store, START);
    small.fill();
    let full = try_sweep(&store, START);
    assert!(matches!(full, Err(upkeep::Error::Store(Error::Full))), "{full:?}");
    let left = fs::read_dir(vault.state()).expect("a directory");
    let names: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(!names.iter().any(|name| name == "sweep.new"), "{names:?}");
    assert!(!store.is_dead());
    small.make_room();
    store.keep_reserve(1 << 20);
    small.fill();
    assert_eq!(sweep(&store, START).stage, Stage::First, "the reserve is for it");
    small.make_room();
    pass_to(&store, START + WAIT);
    small.fill();
    let done = sweep(&store, START + WAIT);
    assert_eq!((done.stage, done.unpunched), (Stage::Second, 0), "{done}");
    assert!(done.found.bytes > 6_000_000);
    // There is room again, with the filler still there.
    let new = put(&store, &Base::fresh(), &content(9, 3_000_000), START + WAIT);
    assert_all_read(&store, items[6..].iter().chain([&new]));
    assert_clean(&store);
    drop((store, vault));
}

// ---- crashes: the test binary runs itself and dies at a named step ----

#[cfg(kluis_lab)]
mod crashes {
    use std::os::unix::process::ExitStatusExt as _;

    use kluis::store::REMOVE_STEPS;
    use kluis::upkeep::sweep::SWEEP_STEPS;

    use super::*;

    const DIR: &str = "KLUIS_TEST_DIR";
    const AT: &str = "KLUIS_TEST_MINUTE";

    #[test]
    fn child() {
        let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
        let minute = std::env::var(AT).expect("a minute").parse().expect("a number");
        let (store, _) = Store::open(&dir.join("state"), &dir.join("keys")).expect("opens");
        sweep(&store, minute);
    }

    /// Sweeps in a child; says whether it was killed there.
    fn is_killed(vault: &Vault, minute: u64, step: &str, count: u32) -> bool {
        let status = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "sweep::crashes::child", "--nocapture", "--test-threads=1"])
            .env(DIR, vault.dir.path())
            .env(AT, minute.to_string())
            .env("KLUIS_LAB_KILL", format!("{step}:{count}"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .expect("the child runs");
        assert!(status.success() || status.signal() == Some(9), "{status}");
        !status.success()
    }

    /// Two packs that go whole, two that lose every other record, copies in all of them.
    fn prepared() -> (Vault, Vec<Item>, usize) {
        let (vault, mut store) = Vault::new();
        let base = Base::fresh();
        let mut live = Vec::new();
        for part in 0..3 {
            for i in 0..4 {
                let item = put(&store, &base, &content(i, 50_000 + part), START);
                let copy = put(&store, &base, &content(i, 50_000), START);
                if part == 0 || i % 2 == 0 {
                    forget(&store, &item, START);
                } else {
                    live.push(item);
                }
                if part == 0 {
                    forget(&store, &copy, START);
                } else {
                    live.push(copy);
                }
            }
            store = vault.reopen(store);
        }
        let left = needed(&live).len();
        (vault, live, left)
    }

    #[test]
    fn a_sweep_killed_at_any_step_loses_nothing_and_the_next_one_finishes_it() {
        let (vault, live, left) = prepared();
        let store = vault.open();
        assert_all_read(&store, &live);
        assert_eq!(sweep(&store, START).stage, Stage::First);
        pass_to(&store, START + WAIT);
        drop(store);
        let mut killed: BTreeMap<&str, u32> = BTreeMap::new();
        let steps = REMOVE_STEPS.iter().chain(SWEEP_STEPS).chain(&["commit:ledger-written"]);
        for step in steps.copied().filter(|step| *step != "sweep:planned") {
            for count in 1.. {
                let vault = vault.copy();
                if !is_killed(&vault, START + WAIT, step, count) {
                    break;
                }
                *killed.entry(step).or_default() += 1;
                let store = vault.open();
                assert_all_read(&store, &live);
                assert_clean(&store);
                // Once more where it was cut off; then nothing dead is left.
                sweep(&store, START + WAIT);
                assert_all_read(&store, &live);
                assert_eq!(sweep(&store, START + 2 * WAIT).stage, Stage::Nothing, "{step}");
                assert_eq!(whole(&store).len(), left, "{step}");
                assert!(whole(&store).values().all(|spots| spots.len() == 1), "{step}");
                assert_clean(&store);
            }
        }
        println!("{killed:?}");
        assert!(REMOVE_STEPS.iter().all(|step| killed.contains_key(step)), "{killed:?}");
        assert!(killed.contains_key("sweep:recorded"));
    }

    #[test]
    fn a_first_look_killed_at_any_step_leaves_a_plan_that_counts_or_none() {
        let (vault, live, left) = prepared();
        for step in ["sweep:planned", "commit:begin", "commit:ledger-written", "commit:answered"] {
            let vault = vault.copy();
            assert!(is_killed(&vault, START, step, 1), "{step}");
            let store = vault.open();
            assert_all_read(&store, &live);
            let planned = !facts(&store).is_empty();
            pass_to(&store, START + WAIT);
            let next = sweep(&store, START + WAIT);
            assert_eq!(next.stage, if planned { Stage::Second } else { Stage::First }, "{step}");
            if !planned {
                pass_to(&store, START + 2 * WAIT);
                assert_eq!(sweep(&store, START + 2 * WAIT).stage, Stage::Second, "{step}");
            }
            assert_all_read(&store, &live);
            assert_eq!(whole(&store).len(), left, "{step}");
        }
    }
}
