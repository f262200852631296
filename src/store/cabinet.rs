//! The cabinet: the keys of all boxes, each wrapped in its slot (vault-format §5).
//!
//! A file that only grows, of `add(slot)` and `drop(slot id)`. In memory a map from slot id to
//! wrapped key; the cabinet key rests in locked memory. What makes dropping final is the rotation
//! to a new key, in `rotation`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::disk::{Disk, Durable, Tail};
use super::frame::{self, Bad, Header, Type, Walk};
use super::rewrap::Snapshot;
use super::{Error, rotation};
use crate::ids::{SlotId, VaultId};
use crate::secret::Secret;
use crate::vault::slot::{self, Slot};
use crate::vault::{self};

/// Bytes of a wrapped key.
pub(super) const SLOT: usize = size_of::<Slot>();
/// Where in the address of a record its group is written.
const GROUP: usize = 24;

/// Where a cabinet and its key lie.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) disk: Disk,
    pub(super) dir: PathBuf,
    pub(super) keys: PathBuf,
    pub(super) vault: VaultId,
}

impl Place {
    pub(super) fn cabinet(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("cabinet.{generation}"))
    }

    pub(super) fn key(&self, generation: u64) -> PathBuf {
        self.keys.join(format!("{generation}.key"))
    }

    /// The generations of which there is a whole cabinet.
    pub(super) fn cabinets(&self) -> Result<Vec<u64>, Error> {
        numbered(&self.disk, &self.dir, |name| name.strip_prefix("cabinet."))
    }

    /// The generations of which there is a key file.
    pub(super) fn key_files(&self) -> Result<Vec<u64>, Error> {
        numbered(&self.disk, &self.keys, |name| name.strip_suffix(".key"))
    }
}

fn numbered(
    disk: &Disk,
    dir: &Path,
    number: impl Fn(&str) -> Option<&str>,
) -> Result<Vec<u64>, Error> {
    let names = disk.names(dir)?;
    Ok(names.iter().filter_map(|name| number(name)?.parse().ok()).collect())
}

/// A wrapped key, and when it came.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    pub(super) slot: Slot,
    pub(super) minute: u64,
}

/// What readers share.
pub(super) struct Slots {
    pub(super) generation: u64,
    pub(super) key: Arc<Secret<[u8; 32]>>,
    pub(super) kept: HashMap<SlotId, Kept>,
    /// Where the durable part of the file ends.
    pub(super) end: u64,
    /// While they are copied under another key: what came and went.
    pub(super) since: Option<Since>,
}

/// What came and went since a moment.
#[derive(Default)]
pub(super) struct Since {
    pub(super) added: Vec<SlotId>,
    pub(super) dropped: Vec<SlotId>,
}

impl Slots {
    /// The key in a slot.
    pub(super) fn open(&self, id: SlotId) -> Result<Zeroizing<[u8; 32]>, Error> {
        let kept = self.kept.get(&id).ok_or(vault::Error::NoKey)?;
        Ok(slot::unwrap(self.key.expose(), id, &kept.slot)?)
    }

    /// Takes in slots that are durable.
    pub(super) fn add(&mut self, adds: Vec<(SlotId, Kept)>) {
        if let Some(since) = &mut self.since {
            since.added.extend(adds.iter().map(|(id, _)| *id));
        }
        self.kept.extend(adds);
    }

    /// Takes out a slot that is forgotten; says whether it was there.
    pub(super) fn take_out(&mut self, id: SlotId) -> bool {
        if let Some(since) = &mut self.since {
            since.dropped.push(id);
        }
        self.kept.remove(&id).is_some()
    }

    /// What there is now; from now on what comes and goes is remembered.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.since = Some(Since::default());
        Snapshot { key: Arc::clone(&self.key), ids: self.kept.keys().copied().collect() }
    }

    /// Those of these slots that are there.
    pub(super) fn still_there(&self, ids: &[SlotId]) -> Vec<(SlotId, Kept)> {
        ids.iter().filter_map(|id| self.kept.get_key_value(id)).map(|(id, k)| (*id, *k)).collect()
    }

    /// Wraps a key for its slot.
    pub(super) fn wrap(&self, id: SlotId, key: &[u8; 32], minute: u64) -> Kept {
        Kept { slot: slot::wrap(self.key.expose(), id, key), minute }
    }
}

/// A cabinet as it was read.
pub(super) struct Loaded {
    pub(super) slots: Slots,
    pub(super) tail: Tail,
    /// The whole file, if its end is the rest of a write that was cut off; `slots.end` is where.
    pub(super) torn: Option<Vec<u8>>,
    /// Where the last group that counts starts, and its bytes.
    pub(super) last_group: (u64, Vec<u8>),
    /// Nothing was added or dropped since it was made.
    pub(super) is_as_begun: bool,
}

/// Makes the key file of a generation, durable, and gives the key.
pub(super) fn make_key(place: &Place, generation: u64) -> Result<Secret<[u8; 32]>, Error> {
    let key = Secret::<[u8; 32]>::random();
    keep_key(place, generation, &key)?;
    Ok(key)
}

/// Makes the key file of a generation of this key, durable.
pub(super) fn keep_key(
    place: &Place,
    generation: u64,
    key: &Secret<[u8; 32]>,
) -> Result<(), Error> {
    let address = frame::file_address(place.vault, generation, 0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(frame::HEADER + key.expose().len()));
    frame::put(&mut bytes, Type::CabinetKey, &address, key.expose());
    place.disk.create_with(&place.key(generation), &bytes, Durable::Key)?;
    Ok(())
}

/// Reads the key file of a generation.
pub(super) fn read_key(place: &Place, generation: u64) -> Result<Secret<[u8; 32]>, Error> {
    let path = place.key(generation);
    if !place.disk.exists(&path)? {
        return Err(Error::absent(&path, "the key of the cabinet is not there"));
    }
    let bytes = Zeroizing::new(place.disk.read(&path)?);
    let mut walk = Walk::new(&bytes);
    let frame = walk.next().map_err(|bad| bad.at(&path, 0))?;
    let frame = frame.ok_or_else(|| Error::damaged(&path, 0, "an empty key file"))?;
    let expected = frame::file_address(place.vault, generation, 0);
    match <&[u8; 32]>::try_from(frame.payload) {
        Ok(key)
            if frame.header.kind == Type::CabinetKey
                && frame.header.address == expected
                && bytes.len() == frame::HEADER + key.len() =>
        {
            Ok(Secret::filled(|secret| *secret = *key))
        }
        _ => Err(Error::damaged(&path, 0, "not the key of this cabinet")),
    }
}

/// The address of the record of a slot, in a group that starts at `group`.
fn address(id: SlotId, minute: u64, group: u64) -> [u8; 32] {
    let mut address = [0; 32];
    address[..16].copy_from_slice(id.as_bytes());
    address[16..GROUP].copy_from_slice(&minute.to_le_bytes());
    address[GROUP..].copy_from_slice(&group.to_le_bytes());
    address
}

/// Appends the record that adds a slot.
pub(super) fn put_add(bytes: &mut Vec<u8>, id: SlotId, kept: &Kept, group: u64) {
    frame::put(bytes, Type::SlotAdd, &address(id, kept.minute, group), &kept.slot);
}

/// The first frame of a cabinet that begins with so many slots.
pub(super) fn head(place: &Place, generation: u64, count: u64) -> [u8; frame::HEADER] {
    Header::of(Type::Cabinet, &frame::file_address(place.vault, generation, count), &[])
}

/// Reads the cabinet of a generation. Of a torn end nothing counts, and nothing is changed yet.
pub(super) fn load(place: &Place, generation: u64) -> Result<Loaded, Error> {
    load_from(place, generation, &place.cabinet(generation))
}

/// The same from another place.
pub(super) fn load_from(place: &Place, generation: u64, path: &Path) -> Result<Loaded, Error> {
    let key = read_key(place, generation)?;
    let bytes = place.disk.read(path)?;
    let Replayed { kept, end, is_as_begun } = replay(place, generation, path, &bytes)?;
    let file = place.disk.open(path)?;
    let slots = Slots { generation, key: Arc::new(key), kept, end, since: None };
    // One slot that does not open is damage of its own; all of them, and it is the key.
    if !slots.kept.is_empty() && !slots.kept.keys().any(|id| slots.open(*id).is_ok()) {
        let what = "this key does not open the cabinet";
        return Err(Error::damaged(&place.key(generation), 0, what));
    }
    let good = &bytes[..end as usize];
    let from = frame::last_group(good, GROUP);
    let length = if from == 0 { good.len().min(frame::SECTOR as usize) } else { good.len() };
    let last_group = (from, good[from as usize..length].to_vec());
    let torn = (end < bytes.len() as u64).then_some(bytes);
    let tail = Tail::new(file, Durable::Cabinet, end);
    Ok(Loaded { slots, tail, torn, last_group, is_as_begun })
}

/// What the records of a cabinet file come to.
pub(super) struct Replayed {
    pub(super) kept: HashMap<SlotId, Kept>,
    /// Where the good part ends.
    pub(super) end: u64,
    /// Nothing was added or dropped since the file was made.
    pub(super) is_as_begun: bool,
}

/// Reads the records of a cabinet file.
pub(super) fn replay(
    place: &Place,
    generation: u64,
    path: &Path,
    bytes: &[u8],
) -> Result<Replayed, Error> {
    let mut walk = Walk::new(bytes);
    // A map that grows moves everything each time.
    let mut kept = HashMap::with_capacity(bytes.len() / (frame::HEADER + SLOT));
    let (mut records, mut begun_with, mut end, mut group) = (0u64, 0, 0, 0);
    let mut is_as_begun = true;
    loop {
        let frame = match walk.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(Bad::Later) => return Err(Bad::Later.at(path, walk.at())),
            Err(bad) => {
                let at = walk.at();
                if end == 0 || records < begun_with || frame::committed_behind(bytes, at, GROUP) {
                    return Err(bad.at(path, at));
                }
                return Ok(Replayed { kept, end: at, is_as_begun });
            }
        };
        let header = &frame.header;
        let id = SlotId::new(header.address[..16].try_into().expect("16 bytes"));
        if end > 0 && header.number(GROUP) != group {
            group = frame.offset;
        }
        if end > 0 && header.number(GROUP) != group {
            return Err(Error::damaged(path, frame.offset, "a frame that was written elsewhere"));
        }
        match (header.kind, <Slot>::try_from(frame.payload)) {
            (Type::Cabinet, _) if frame.offset == 0 => {
                if header.address != frame::file_address(place.vault, generation, header.number(24))
                {
                    return Err(Error::damaged(path, 0, "the cabinet of another vault or time"));
                }
                begun_with = header.number(24);
            }
            (Type::SlotAdd, Ok(slot)) if end > 0 => {
                kept.insert(id, Kept { slot, minute: header.number(16) });
                records += 1;
                is_as_begun &= records <= begun_with;
            }
            (Type::SlotDrop, _) if end > 0 && frame.payload.is_empty() => {
                kept.remove(&id);
                is_as_begun = false;
            }
            _ => {
                let what = "a frame that does not belong in a cabinet";
                return Err(Error::damaged(path, frame.offset, what));
            }
        }
        end = frame.offset + frame::HEADER as u64 + header.length;
    }
    if end == 0 || records < begun_with {
        return Err(Error::damaged(path, end, "the cabinet ends too early"));
    }
    Ok(Replayed { kept, end: bytes.len() as u64, is_as_begun })
}

/// Appends to the cabinet. Belongs to the committer alone.
pub(super) struct Writer {
    pub(super) place: Place,
    pub(super) tail: Tail,
}

impl Writer {
    /// Appends slots and drops, one group; durable with [`Writer::sync`].
    pub(super) fn append(
        &mut self,
        adds: &[(SlotId, Kept)],
        drops: &[SlotId],
    ) -> Result<(), Error> {
        if adds.is_empty() && drops.is_empty() {
            return Ok(());
        }
        let group = self.tail.start();
        let mut bytes =
            Vec::with_capacity(adds.len() * 2 * (SLOT + 16) + drops.len() * frame::HEADER);
        for (id, kept) in adds {
            put_add(&mut bytes, *id, kept, group);
        }
        for id in drops {
            frame::put(&mut bytes, Type::SlotDrop, &address(*id, 0, group), &[]);
        }
        self.tail.append(&bytes)
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        self.tail.sync()
    }
}

/// Makes the first cabinet and its key.
pub(super) fn create(place: &Place) -> Result<(), Error> {
    make_key(place, rotation::FIRST)?;
    let head = head(place, rotation::FIRST, 0);
    place.disk.create_with(&place.cabinet(rotation::FIRST), &head, Durable::Cabinet)?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ids::random;

    pub(crate) struct Desk {
        _dir: tempfile::TempDir,
        pub(crate) place: Place,
    }

    pub(crate) fn desk() -> Desk {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("keys");
        let disk = Disk::Machine;
        disk.make_dir(&keys).expect("made");
        let place = Place { disk, dir: dir.path().to_owned(), keys, vault: VaultId::random() };
        create(&place).expect("created");
        Desk { _dir: dir, place }
    }

    /// Adds `count` keys in one group and gives them.
    pub(crate) fn fill(
        writer: &mut Writer,
        slots: &mut Slots,
        count: u64,
    ) -> Vec<(SlotId, [u8; 32])> {
        let keys: Vec<(SlotId, [u8; 32])> =
            (0..count).map(|_| (SlotId::random(), random())).collect();
        let adds: Vec<_> = keys.iter().map(|(id, key)| (*id, slots.wrap(*id, key, 5))).collect();
        writer.append(&adds, &[]).expect("appended");
        writer.sync().expect("durable");
        slots.kept.extend(adds);
        keys
    }

    pub(crate) fn opened(desk: &Desk) -> (Writer, Slots) {
        let loaded = load(&desk.place, 1).expect("loads");
        assert!(loaded.torn.is_none());
        (Writer { place: desk.place.clone(), tail: loaded.tail }, loaded.slots)
    }

    #[test]
    fn a_cabinet_reads_back_what_was_added_and_not_dropped() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        let keys = fill(&mut writer, &mut slots, 3);
        writer.append(&[], &[keys[1].0]).expect("appended");
        let (_, slots) = opened(&desk);
        assert_eq!(*slots.open(keys[0].0).expect("opens"), keys[0].1);
        assert_eq!(*slots.open(keys[2].0).expect("opens"), keys[2].1);
        let dropped = slots.open(keys[1].0);
        assert!(matches!(dropped, Err(Error::Vault(vault::Error::NoKey))));
        assert_eq!(slots.kept[&keys[0].0].minute, 5);
    }

    #[test]
    fn a_torn_last_group_is_not_counted_and_damage_before_it_is_named() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        fill(&mut writer, &mut slots, 2);
        let first_end = writer.tail.end();
        fill(&mut writer, &mut slots, 3);
        let path = desk.place.cabinet(1);
        let whole = Disk::Machine.read(&path).expect("read");

        // Cut off anywhere in the last group, or its middle never written.
        let start = first_end.next_multiple_of(frame::SECTOR) as usize;
        for cut in (start + 1..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..cut]).expect("written");
            let loaded = load(&desk.place, 1).expect("loads");
            assert!(loaded.slots.kept.len() < 5 && loaded.slots.kept.len() >= 2, "{cut}");
        }
        let mut holed = whole.clone();
        holed[start..start + 128].fill(0);
        std::fs::write(&path, &holed).expect("written");
        let loaded = load(&desk.place, 1).expect("loads");
        assert_eq!((loaded.slots.kept.len(), loaded.slots.end), (2, start as u64));
        assert!(loaded.torn.is_some());

        // A flipped byte in the first group, with the last one behind it.
        let mut flipped = whole.clone();
        flipped[512 + 70] ^= 1;
        std::fs::write(&path, &flipped).expect("written");
        let Err(Error::Damaged { file, offset: 512, .. }) = load(&desk.place, 1) else {
            panic!("damage is named");
        };
        assert_eq!(file, path);
    }

    #[test]
    fn another_key_and_another_vault_are_refused() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        fill(&mut writer, &mut slots, 1);
        std::fs::remove_file(desk.place.key(1)).expect("removed");
        make_key(&desk.place, 1).expect("made");
        assert!(matches!(load(&desk.place, 1), Err(Error::Damaged { .. })));
        let other = Place { vault: VaultId::random(), ..desk.place.clone() };
        assert!(matches!(load(&other, 1), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_key_or_a_cabinet_of_another_generation_is_refused() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        fill(&mut writer, &mut slots, 2);
        let place = &desk.place;
        std::fs::copy(place.key(1), place.key(2)).expect("copied");
        std::fs::copy(place.cabinet(1), place.cabinet(2)).expect("copied");
        assert!(matches!(read_key(place, 2), Err(Error::Damaged { offset: 0, .. })));
        // The same key, rightly named: the cabinet tells by itself.
        std::fs::remove_file(place.key(2)).expect("removed");
        keep_key(place, 2, &slots.key).expect("made");
        assert!(matches!(load(place, 2), Err(Error::Damaged { offset: 0, .. })));
    }

    #[test]
    fn a_group_that_was_written_elsewhere_is_damage_and_brings_no_slot_back() {
        let desk = desk();
        let (mut writer, mut slots) = opened(&desk);
        let keys = fill(&mut writer, &mut slots, 1);
        let path = desk.place.cabinet(1);
        let first = Disk::Machine.read(&path).expect("read");
        let group = first[frame::SECTOR as usize..].to_vec();
        writer.append(&[], &[keys[0].0]).expect("appended");
        writer.sync().expect("durable");
        let mut bytes = Disk::Machine.read(&path).expect("read");
        bytes.resize(bytes.len().next_multiple_of(frame::SECTOR as usize), 0);
        let at = bytes.len() as u64;
        bytes.extend(group);
        std::fs::write(&path, &bytes).expect("written");
        let Err(Error::Damaged { offset, .. }) = load(&desk.place, 1) else {
            panic!("it is the group of another place")
        };
        assert_eq!(offset, at);
    }
}
