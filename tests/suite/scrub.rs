//! A check finds what is not whole, says what is harmed by it and what would mend it, and deletes
//! nothing; a member verifies all that they may read.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::ids::{ItemId, LetterId, VaultId};
use kluis::ledger::{Entry, Fact};
use kluis::letter::Role;
use kluis::staff::sealing::Sealing;
use kluis::staff::verify::verify_all;
use kluis::store::{Batch, Problem, Remedy, Repeats, Report, Store, Stored};
use kluis::vault::chunk::{BODY, Base};
use kluis::vault::manifest::Manifest;
use kluis::vault::seal::{self, Kind, Place};

use crate::thief::{Thief, copy, files};
use crate::way::{count, deliver, runtime};
use crate::world::{MAILBOX, World};

struct Vault {
    dir: tempfile::TempDir,
}

/// Something that was kept.
struct Kept {
    stored: Stored,
    letter: LetterId,
    item: ItemId,
    content: Vec<u8>,
}

impl Vault {
    fn new() -> (Self, Store) {
        let this = Self { dir: tempfile::tempdir().expect("a directory") };
        let (state, keys) = (this.state(), this.dir.path().join("keys"));
        let store = Store::create(&state, &keys, VaultId::random()).expect("created");
        (this, store)
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn open(&self) -> Store {
        Store::open(&self.state(), &self.dir.path().join("keys")).expect("opens").0
    }

    fn packs(&self) -> Vec<PathBuf> {
        files(&self.state().join("packs"))
    }

    fn place_of(&self, address: &[u8; 32], n: usize) -> (PathBuf, u64) {
        place_of(&self.state(), address, n)
    }
}

/// The pack and the offset of the header of the n-th record of this address.
fn place_of(state: &Path, address: &[u8; 32], n: usize) -> (PathBuf, u64) {
    let mut found = Vec::new();
    for pack in files(&state.join("packs")) {
        let bytes = fs::read(&pack).expect("is read");
        for at in (0..bytes.len().saturating_sub(64)).step_by(64) {
            let is_record = bytes[at..].starts_with(b"klus\x01") && bytes[at + 5] & 0xf0 == 0x10;
            if is_record && bytes[at + 32..at + 64] == *address {
                found.push((pack.clone(), at as u64));
            }
        }
    }
    found.sort();
    found.swap_remove(n)
}

/// Commits these contents, all chunks under one base, in packs of their own.
fn keep(store: &Store, base: &Base, contents: Vec<Vec<u8>>) -> Vec<Kept> {
    let mut staging = store.staging(Repeats::Write);
    let mut batch = Batch::default();
    let mut kept = Vec::new();
    for content in contents {
        let stored = staging.put(base, &content.as_slice()).expect("stored");
        let manifest = Manifest::new("", b"", stored.length, stored.keys.clone(), Vec::new());
        let (inner, digest) = seal::inner_for_server(&manifest);
        let (letter, item) = (LetterId::random(), ItemId::random());
        let place = Place { kind: Kind::Item, vault: store.vault(), letter, item };
        let sealed = seal::outer(&inner, place);
        batch.entries.push(Entry::of_box(Fact::BoxSealed, 1, &sealed, digest));
        batch.boxes.push(sealed);
        kept.push(Kept { stored, letter, item, content });
    }
    batch.staged.push(staging.take().expect("written"));
    store.commit(batch).expect("committed");
    kept
}

fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
    content
}

/// Changes one byte of a file.
fn flip(file: &PathBuf, offset: u64) {
    let file = File::options().read(true).write(true).open(file).expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("is read");
    file.write_all_at(&[byte[0] ^ 0x20], offset).expect("is written");
}

fn checked(store: &Store) -> Report {
    store.check(false, &|_, _| {}).expect("checked")
}

fn items(problem: &Problem) -> Vec<(Option<LetterId>, Option<ItemId>)> {
    problem.harmed.iter().map(|harmed| (harmed.letter, harmed.item)).collect()
}

fn read(store: &Store, kept: &Kept) -> Result<Vec<u8>, kluis::store::GetError> {
    let mut content = Vec::new();
    store.get(&kept.stored.keys, kept.stored.length, &mut |part| {
        content.extend_from_slice(part);
        Ok(())
    })?;
    Ok(content)
}

#[test]
fn every_pack_is_read_by_some_core_and_each_damage_is_told_once_with_its_items() {
    let (vault, store) = Vault::new();
    let mut all = Vec::new();
    for pack in 0..5 {
        let contents = (0..3).map(|n| content(pack * 10 + n, 2 * BODY + 5000)).collect();
        all.push(keep(&store, &Base::fresh(), contents));
    }
    drop(store);
    let good = tempfile::tempdir().expect("a directory");
    copy(&vault.state(), good.path());
    let store = vault.open();
    let clean = checked(&store);
    assert!(clean.is_clean(), "{:?}", clean.problems);
    assert_eq!((clean.records, clean.boxes), (5 * 3 * 3 + 15, 15));
    let length: u64 = vault.packs().iter().map(|pack| pack.metadata().expect("there").len()).sum();
    assert!(clean.bytes > length, "packs and ledger were read");

    // One chunk in each of five packs: in its payload, and once in its header.
    let mut expected = Vec::new();
    for (n, kept) in all.iter().enumerate() {
        let (pack, at) = vault.place_of(kept[1].stored.keys[n % 3].address().as_bytes(), 0);
        flip(&pack, if n == 4 { at + 40 } else { at + 64 + 1234 });
        let what =
            if n == 4 { "a damaged record header" } else { "a record with a wrong checksum" };
        expected.push((pack, at, what, (Some(kept[1].letter), Some(kept[1].item))));
    }
    expected.sort();
    let before: Vec<_> =
        vault.packs().iter().map(|pack| fs::read(pack).expect("is read")).collect();
    for rebuild in [false, true] {
        let report = store.check(rebuild, &|_, _| {}).expect("checked");
        let told = report.problems.iter().filter(|problem| !problem.harmed.is_empty());
        let told: Vec<_> = told
            .map(|problem| {
                assert_eq!(problem.remedy, Some(Remedy::GoodCopy(problem.file.clone())));
                (problem.file.clone(), problem.offset, problem.what, items(problem)[0])
            })
            .collect();
        assert_eq!(told, expected, "rebuild: {rebuild}");
        assert_eq!(report.problems.len(), 5, "{:?}", report.problems);
        assert_eq!((report.records, report.boxes), (clean.records, clean.boxes));
    }
    // Nothing was deleted or changed; the index that was made again lies in the quarantine.
    let after: Vec<_> = vault.packs().iter().map(|pack| fs::read(pack).expect("is read")).collect();
    assert!(before == after);
    assert!(!files(&vault.state().join("quarantine")).is_empty());

    // What the check asked for, and nothing else, heals it.
    for (pack, ..) in &expected {
        let name = pack.strip_prefix(vault.state()).expect("in the vault");
        fs::copy(good.path().join(name), pack).expect("copied back");
    }
    assert!(checked(&store).is_clean());
}

#[test]
fn a_damaged_box_and_a_lost_pack_name_the_items_that_cannot_be_read() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let kept = keep(&store, &base, vec![content(1, 5000), content(2, 5000)]);
    let lost = keep(&store, &base, vec![content(3, 5000)]);
    let entries = store.entries(0, 10).expect("are there");
    drop(store);
    let (pack, at) = vault.place_of(entries[1].boxed.expect("a box").as_bytes(), 0);
    flip(&pack, at + 64 + 3);
    let (gone, _) = vault.place_of(lost[0].stored.keys[0].address().as_bytes(), 0);
    fs::remove_file(&gone).expect("is removed");

    let report = checked(&vault.open());
    let told: Vec<_> = report
        .problems
        .iter()
        .map(|problem| (problem.what, items(problem), problem.remedy.clone()))
        .collect();
    let of = |kept: &Kept| vec![(Some(kept.letter), Some(kept.item))];
    assert!(told.contains(&(
        "a record with a wrong checksum",
        of(&kept[1]),
        Some(Remedy::GoodCopy(pack))
    )));
    let lacks = "an entry whose box lacks a chunk";
    assert!(told.contains(&(lacks, of(&lost[0]), Some(Remedy::LostPack))), "{told:?}");
    assert_eq!((told.len(), report.boxes), (2, 2));
}

#[test]
fn an_equal_record_that_is_whole_is_named_and_read_in_its_place() {
    let (vault, store) = Vault::new();
    let base = Base::fresh();
    let twice = [(); 2].map(|()| keep(&store, &base, vec![content(1, BODY)]).remove(0));
    drop(store);
    let address = twice[0].stored.keys[0].address();
    assert_eq!(address, twice[1].stored.keys[0].address());
    let places = [0, 1].map(|n| vault.place_of(address.as_bytes(), n));
    // Either may be the one that the index leads to.
    for n in [0, 1] {
        let (pack, at) = &places[n];
        let (other, other_at) = places[1 - n].clone();
        flip(pack, at + 64 + 9);
        let store = vault.open();
        let report = checked(&store);
        let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
        assert_eq!((&problem.file, problem.offset), (pack, *at));
        let remedy = Some(Remedy::EqualCopy { file: other, offset: other_at });
        assert!(problem.harmed.is_empty());
        assert_eq!(problem.remedy, remedy);
        for kept in &twice {
            assert!(read(&store, kept).expect("is read") == kept.content);
        }
        // Made again, the index may lead to either, and nothing changes.
        let report = store.check(true, &|_, _| {}).expect("checked");
        assert_eq!(report.problems[0].remedy, remedy);
        for kept in &twice {
            assert!(read(&store, kept).expect("is read") == kept.content);
        }
        drop(store);
        flip(pack, at + 64 + 9);
    }
}

#[test]
fn of_more_problems_than_anybody_reads_a_thousand_are_listed_and_the_rest_counted() {
    let (vault, store) = Vault::new();
    let contents = (0..1100).map(|seed| content(seed, 100)).collect();
    let kept = keep(&store, &Base::fresh(), contents);
    drop(store);
    let (pack, _) = vault.place_of(kept[0].stored.keys[0].address().as_bytes(), 0);
    let bytes = fs::read(&pack).expect("is read");
    let chunks =
        (64..bytes.len()).step_by(64).filter(|&at| bytes[at..].starts_with(b"klus\x01\x11"));
    chunks.for_each(|at| flip(&pack, at as u64 + 100));
    let report = checked(&vault.open());
    assert_eq!((report.problems.len(), report.more_problems), (1000, 100));
    assert!(report.problems.iter().all(|problem| problem.harmed.len() == 1));
}

/// A letter with a text and a large attachment that nothing else equals.
fn letter(seed: u64) -> Vec<u8> {
    let attached = data_encoding::BASE64_MIME.encode(&content(seed, 300_000));
    format!(
        "From: lotte@client.example\r\nTo: {MAILBOX}\r\nSubject: number {seed}\r\n\
         Message-ID: <{seed}@client.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nletter {seed}\r\n\
         --b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         {attached}\r\n--b--\r\n"
    )
    .into_bytes()
}

#[test]
fn a_member_verifies_all_that_they_may_read_and_each_look_is_in_the_ledger() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    for seed in 0..4 {
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter(seed)), [250]);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::Open).expect("lists");
    let case = cases[0].card.case;
    let mut sealing = Sealing::new(case, Act::Note, anna.sealing().expect("is proven"));
    sealing.note(NoteSubject::Remark, "called back", None, Vec::new());
    anna.record(sealing.finish()).expect("records");

    let looks = count(&server, Fact::Looked);
    let told = std::cell::RefCell::new(Vec::new());
    let progress = |done, total| told.borrow_mut().push((done, total));
    let verified = verify_all(&mut anna, None, &progress).expect("verifies");
    assert_eq!(verified.faults, []);
    // Of each letter its box, two items and the skeleton; and one note.
    assert_eq!((verified.boxes, verified.forgotten, verified.servers), (4 * 4 + 1, 0, 4));
    assert!(verified.bytes > 4 * 300_000);
    assert_eq!(count(&server, Fact::Looked), looks + 4 * 3, "one look each");
    let told = told.into_inner();
    assert!(told.is_sorted() && told.last().is_some_and(|(done, total)| done == total));
    let one = verify_all(&mut anna, Some(case), &|_, _| {}).expect("verifies");
    assert_eq!((one.boxes, one.faults), (5, Vec::new()));

    // An auditor reads nothing, and so verifies nothing.
    let mut olga = world.log_in("olga").expect("logs in");
    assert!(verify_all(&mut olga, None, &|_, _| {}).is_err());

    let attachment = |n: usize| {
        let detail = cases[n].letters[0].detail.as_ref().expect("opens");
        detail.items.iter().find(|item| item.role == Role::Attachment).expect("is attached").id
    };
    let (forgotten, damaged) = (attachment(1), attachment(2));
    let other = cases[1].card.case;
    let mut reason = Sealing::new(other, Act::Note, anna.sealing().expect("is proven"));
    reason.note(NoteSubject::Reason, "asked for", None, Vec::new());
    anna.forget(vec![forgotten], reason.finish(), true).expect("forgets");
    runtime.block_on(server.stop());

    // One byte of one chunk of the attachment.
    let thief = Thief::default()
        .with(&world.state())
        .with(&world.cabinet_key())
        .knowing(crate::secrecy::epoch(&world));
    let boxes = thief.boxes();
    let entry = boxes.iter().find(|entry| entry.item == Some(damaged)).expect("is recorded");
    let address = thief.open(entry).expect("opens").0.chunks[1].address();
    let (pack, at) = place_of(&world.state(), address.as_bytes(), 0);
    flip(&pack, at + 64 + 77);
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let verified = verify_all(&mut anna, None, &|_, _| {}).expect("verifies");
    let [fault] = verified.faults.as_slice() else { panic!("{:?}", verified.faults) };
    assert_eq!((fault.item, fault.case), (damaged, Some(cases[2].card.case)));
    assert!(fault.is_of_item() && fault.why.contains("checksum"), "{}", fault.why);
    // The reason for forgetting is a note, too.
    assert_eq!((verified.boxes, verified.forgotten), (4 * 4 + 2 - 2, 1));
    let (_, flaws, _) = anna.check().expect("checks");
    let [flaw] = flaws.as_slice() else { panic!("{flaws:?}") };
    assert_eq!(flaw.harmed[0].2, Some(damaged));
    assert!(flaw.to_string().contains(&format!("harms item {damaged}")), "{flaw}");
    assert!(flaw.to_string().contains("a good copy of"), "{flaw}");
    runtime.block_on(server.stop());
}
