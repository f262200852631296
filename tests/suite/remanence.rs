//! Keys that were destroyed are gone from the device, not only from its file system: after five
//! rotations with forgetting the raw image is searched for every old key of the cabinet, and for the
//! key of every box. The current key is found, so that the search is known to find.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::staff::sealing::Sealing;

use crate::disks::{Disk, Kind};
use crate::mail_client::{Client as Sender, letter};
use crate::thief::Thief;
use crate::way::skipped;
use crate::world::{MAILBOX, World};

/// Rotations, each after something was forgotten.
const ROTATIONS: u64 = 5;
/// Bytes of the disk.
const DISK: u64 = 64 << 20;
/// Where the key stands in its file, and how long it is (vault-format §5).
const KEY: std::ops::Range<usize> = 64..96;

/// How often each key lies in the image.
fn hits<'k>(image: &[u8], keys: &'k BTreeSet<[u8; 32]>) -> HashMap<&'k [u8; 32], usize> {
    let mut begins: HashMap<[u8; 4], Vec<&[u8; 32]>> = HashMap::new();
    let mut first = [false; 1 << 16];
    for key in keys {
        begins.entry(key[..4].try_into().expect("4 bytes")).or_default().push(key);
        first[usize::from(u16::from_le_bytes([key[0], key[1]]))] = true;
    }
    let mut found: HashMap<&[u8; 32], usize> = keys.iter().map(|key| (key, 0)).collect();
    let mut window = 0;
    while let Some(four) = image[window..].first_chunk::<4>() {
        if first[usize::from(u16::from_le_bytes([four[0], four[1]]))] {
            let candidates = begins.get(four).into_iter().flatten();
            for key in candidates.filter(|key| image[window..].starts_with(&key[..])) {
                *found.get_mut(key).expect("is counted") += 1;
            }
        }
        window += 1;
    }
    found
}

/// The cabinet's key, from its only file.
fn cabinet_key(folder: &Path) -> [u8; 32] {
    let files = std::fs::read_dir(folder).expect("is read").map(|entry| entry.expect("one").path());
    let keys: Vec<_> = files.filter(|file| file.extension().is_some_and(|e| e == "key")).collect();
    assert_eq!(keys.len(), 1, "one key at a time");
    std::fs::read(&keys[0]).expect("is read")[KEY].try_into().expect("32 bytes")
}

fn nothing_is_left(kind: Kind) {
    if let Some(reason) = kind.missing() {
        return skipped(&format!("key remanence on {}", kind.name()), reason);
    }
    let disk = Disk::new(kind, DISK, &[]);
    let world = World::found_on(disk.path(), 1 << 20);
    let server = world.spawn(&[]);
    let smtp = server.smtp.expect("it starts");
    for n in 0..=ROTATIONS {
        let mut sender = Sender::greet(smtp, false).expect("greets");
        let raw = letter(61, n, 9_000);
        let answers = sender.send("lotte@client.example", &[MAILBOX], &raw).expect("answers");
        assert_eq!(answers[0].code, 250);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    let (mut old, mut boxes) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..ROTATIONS {
        old.insert(cabinet_key(&world.cabinet_key()));
        let thief = Thief::default().with(&world.state()).with(&world.cabinet_key());
        boxes.extend(thief.boxes().iter().filter_map(|entry| thief.key(entry)));
        let cases = anna.queue(Filter::All).expect("lists");
        let case = &cases[n as usize];
        let detail = case.letters[0].detail.as_ref().expect("a letter box opens");
        let is_it = |media_type: &str| media_type == "application/octet-stream";
        let item = detail.items.iter().find(|card| is_it(&card.media_type)).expect("one").id;
        let proven = anna.sealing().expect("proven");
        let mut sealing = Sealing::new(case.card.case, Act::Note, proven);
        sealing.note(NoteSubject::Reason, "asked for", None, Vec::new());
        anna.forget(vec![item], sealing.finish(), true).expect("forgets");
    }
    let current = cabinet_key(&world.cabinet_key());
    assert!(!old.contains(&current));
    assert_eq!(old.len() as u64, ROTATIONS);
    assert!(boxes.len() as u64 > 3 * ROTATIONS);
    drop(anna);
    server.kill();
    let (image, folder) = disk.unmount();
    let image_bytes = std::fs::read(&image).expect("is read");
    drop(folder);

    let current = BTreeSet::from([current]);
    let found = |keys| hits(&image_bytes, keys).into_values().sum::<usize>();
    let (old_hits, box_hits, current_hits) = (found(&old), found(&boxes), found(&current));
    println!(
        "{}: {} old cabinet keys: {old_hits} hits; {} box keys: {box_hits} hits; the current key: \
         {current_hits}",
        kind.name(),
        old.len(),
        boxes.len()
    );
    assert_eq!((old_hits, box_hits, current_hits), (0, 0, 1));
}

#[test]
fn an_old_cabinet_key_is_nowhere_on_a_raw_ext4() {
    nothing_is_left(Kind::Ext4);
}

#[test]
fn an_old_cabinet_key_is_nowhere_on_a_raw_xfs() {
    nothing_is_left(Kind::Xfs);
}

#[test]
fn the_search_finds_a_key_wherever_it_lies() {
    let keys: BTreeSet<[u8; 32]> = [[7; 32], [8; 32], [9; 32]].into();
    let image = [&[7; 31][..], &[8; 32], &[0; 3], &[7; 32], &[1], &[7; 32]].concat();
    let found = hits(&image, &keys);
    assert_eq!((found[&[7; 32]], found[&[8; 32]], found[&[9; 32]]), (2, 1, 0));
}
