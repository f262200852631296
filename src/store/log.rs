//! The ledger's files (vault-format §6): one frame of entries for each batch.
//!
//! A frame is the commit point of its batch: what belongs together is one frame. Files roll at
//! 16 MiB and are named after their first entry. In memory stay the tree and the place of each
//! frame; entries are read again from the files.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::disk::{Disk, Durable, File, Tail, quarantine_end};
use super::frame::{self, Bad, Header, Type, Walk};
use super::{Error, rotation};
use crate::ids::{Digest, SlotId, VaultId};
use crate::ledger::entry::CHECKPOINT_KEY;
use crate::ledger::tree::{self, Tree};
use crate::ledger::{self, Entry, Fact};

/// A new file is begun when the last one has reached this.
const ROLL_AT: u64 = 16 << 20;
/// Where in the address of a frame its group is written.
const GROUP: usize = 16;
/// Entries that are handed over together at a start, at least.
const PORTION: usize = 4096;
/// Portions that the reading may be ahead.
const PORTIONS_AHEAD: usize = 8;

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct FramePlace {
    /// Its first entry.
    pub(super) first: u64,
    /// The first entry of its file, which is the file's name.
    file: u64,
    pub(super) offset: u64,
}

impl FramePlace {
    /// The name of its file.
    pub(super) fn file(&self) -> u64 {
        self.file
    }
}

/// What is remembered of the ledger: its tree, where it lies, and the newest of a few facts.
pub(super) struct History {
    pub(super) tree: Tree,
    frames: Vec<FramePlace>,
    pub(super) newest_minute: u64,
    /// The newest generation of the cabinet that the ledger knows of.
    pub(super) generation: u64,
    /// The slot of the key that signs checkpoints, and its public half.
    pub(super) checkpoint_key: Option<(SlotId, Digest)>,
    /// The newest entry about a sweep.
    pub(super) sweep: Option<Entry>,
}

impl History {
    fn new() -> Self {
        Self {
            tree: Tree::default(),
            frames: Vec::new(),
            newest_minute: 0,
            generation: rotation::FIRST,
            checkpoint_key: None,
            sweep: None,
        }
    }

    /// Takes in one durable frame.
    pub(super) fn extend(&mut self, place: FramePlace, entries: &[Numbered]) {
        self.frames.push(place);
        for (entry, leaf) in entries {
            self.tree.append(*leaf);
            self.newest_minute = self.newest_minute.max(entry.minute);
            match (entry.kind, entry.count) {
                (Fact::CabinetRotated, Some(generation)) => self.generation = generation,
                (Fact::ServerKey, Some(CHECKPOINT_KEY)) => {
                    self.checkpoint_key = entry.slot.zip(entry.hash);
                }
                (Fact::SweepPlanned | Fact::Swept, _) => self.sweep = Some(entry.clone()),
                _ => {}
            }
        }
    }

    /// The frame that holds entry `seq`, and those behind it.
    pub(super) fn frames_from(&self, seq: u64) -> &[FramePlace] {
        let behind = self.frames.partition_point(|place| place.first <= seq);
        &self.frames[behind.saturating_sub(1)..]
    }
}

/// Where ledger files lie.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) disk: Disk,
    pub(super) dir: PathBuf,
    pub(super) vault: VaultId,
}

impl Place {
    pub(super) fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:016x}.log"))
    }

    /// The first entries of all files, ascending.
    pub(super) fn files(&self) -> Result<Vec<u64>, Error> {
        let parse = |name: &String| u64::from_str_radix(name.strip_suffix(".log")?, 16).ok();
        Ok(self.disk.names(&self.dir)?.iter().filter_map(parse).collect())
    }

    /// Makes the file that begins with entry `first`.
    pub(super) fn create(&self, first: u64) -> Result<Tail, Error> {
        let head = Header::of(Type::Ledger, &frame::file_address(self.vault, first, 0), &[]);
        let file = self.disk.create_with(&self.path(first), &head, Durable::Ledger)?;
        Ok(Tail::new(file, Durable::Ledger, head.len() as u64))
    }

    /// The exact bytes of the entries in a frame. `open` is kept between calls for one file.
    pub(super) fn read(
        &self,
        place: FramePlace,
        open: &mut Option<(u64, File)>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let path = self.path(place.file);
        let file = match open.take().filter(|(file, _)| *file == place.file) {
            Some((_, file)) => file,
            None => {
                self.disk.open_to_read(&path).map_err(Error::io("the ledger cannot be opened"))?
            }
        };
        let damaged = |bad: Bad| bad.at(&path, place.offset);
        let length = file.length().map_err(Error::io("the ledger cannot be read"))?;
        let mut head = [0; frame::HEADER];
        file.read_exact_at(&mut head, place.offset)
            .map_err(|e| damaged(Bad::unread(&e, "an incomplete header")))?;
        let header = Header::parse(&head).map_err(damaged)?;
        if header.length > length || header.number(0) != place.first {
            return Err(damaged(Bad::Damaged("another frame than the one written here")));
        }
        let mut payload = vec![0; header.length as usize];
        file.read_exact_at(&mut payload, place.offset + frame::HEADER as u64)
            .map_err(|e| damaged(Bad::unread(&e, "an incomplete frame")))?;
        if !header.holds(&payload) {
            return Err(damaged(Bad::Damaged("a frame with a wrong checksum")));
        }
        *open = Some((place.file, file));
        let entries = decode_frame(&payload)
            .ok_or_else(|| damaged(Bad::Damaged("a frame that is no list of entries")))?;
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }
}

/// A frame's payload: a CBOR array of byte strings, one an entry.
fn encode_frame(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut bytes);
    encoder.array(entries.len() as u64).expect("memory takes it");
    for entry in entries {
        encoder.bytes(entry).expect("memory takes it");
    }
    bytes
}

pub(super) fn decode_frame(payload: &[u8]) -> Option<Vec<&[u8]>> {
    let mut decoder = minicbor::Decoder::new(payload);
    let count = decoder.array().ok()??;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(decoder.bytes().ok()?);
    }
    (decoder.position() == payload.len()).then_some(entries)
}

/// An entry with its number, and the leaf of the tree that its exact bytes are.
pub(super) type Numbered = (Entry, Digest);

/// Appends to the ledger. Belongs to the committer alone.
pub(super) struct Writer {
    place: Place,
    pub(super) tail: Tail,
    file: u64,
    next: u64,
}

impl Writer {
    /// The file that grows, and where the last frame in it ends.
    pub(super) fn end(&self) -> (u64, u64) {
        (self.file, self.tail.end())
    }

    /// Numbers the entries of each batch and writes one frame for each, in one write.
    pub(super) fn write(
        &mut self,
        batches: Vec<Vec<Entry>>,
    ) -> Result<Vec<(FramePlace, Vec<Numbered>)>, Error> {
        if self.tail.end() >= ROLL_AT {
            self.tail = self.place.create(self.next)?;
            self.file = self.next;
        }
        let group = self.tail.start();
        let mut next = self.next;
        let mut bytes = Vec::new();
        let mut frames = Vec::with_capacity(batches.len());
        for entries in batches {
            let first = next;
            let (numbered, written): (Vec<Numbered>, Vec<_>) = entries
                .into_iter()
                .map(|entry| {
                    let entry = Entry { seq: next, ..entry };
                    next += 1;
                    let bytes = entry.to_bytes();
                    ((entry, tree::leaf(&bytes)), bytes)
                })
                .unzip();
            let offset = group + (bytes.len() as u64).next_multiple_of(frame::GRAIN);
            let address = address(first, numbered.len() as u64, group);
            frame::put(&mut bytes, Type::Entries, &address, &encode_frame(&written));
            frames.push((FramePlace { first, file: self.file, offset }, numbered));
        }
        self.tail.append(&bytes)?;
        self.next = next;
        Ok(frames)
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        self.tail.sync()
    }
}

fn address(first: u64, count: u64, group: u64) -> [u8; 32] {
    let mut address = [0; 32];
    for (to, number) in address.chunks_exact_mut(8).zip([first, count, group]) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    address
}

/// The vault whose ledger lies in `dir`.
pub(super) fn vault_of(disk: &Disk, dir: &Path) -> Result<VaultId, Error> {
    let path = dir.join(format!("{:016x}.log", 0));
    if !disk.exists(&path)? {
        return Err(Error::NotAVault);
    }
    let bytes = disk.read(&path)?;
    match Walk::new(&bytes).next() {
        Ok(Some(frame)) if frame.header.kind == Type::Ledger => Ok(frame::vault_of(&frame.header)),
        Ok(_) => Err(Error::damaged(&path, 0, "not the head of a ledger file")),
        Err(bad) => Err(bad.at(&path, 0)),
    }
}

/// Frames on their way from the reader to the fold.
#[derive(Default)]
struct Portion {
    frames: Vec<(FramePlace, Vec<Numbered>)>,
    entries: usize,
}

/// A ledger as it was read at the start.
pub(super) struct Opened {
    pub(super) writer: Writer,
    pub(super) history: History,
    /// Where the end of a write that was cut off went.
    pub(super) quarantined: Option<PathBuf>,
}

/// Reads the whole ledger, frame by frame, and shows each to `visit`. A torn end goes to the
/// quarantine; damage before that is an error.
pub(super) fn open(
    place: Place,
    quarantine: &Path,
    visit: &mut dyn FnMut(&[Numbered]),
) -> Result<Opened, Error> {
    let files = place.files()?;
    let mut history = History::new();
    let (last, quarantined) = std::thread::scope(|scope| {
        // Reading, checking and hashing go ahead; the fold and the upper tree follow.
        let (ahead, frames) = mpsc::sync_channel(PORTIONS_AHEAD);
        let (place, files) = (&place, &files);
        let reader = std::thread::Builder::new()
            .name("kluis-ledger".into())
            .spawn_scoped(scope, move || {
                let mut portion = Portion::default();
                let read = read_all(place, quarantine, files, &mut |place, entries| {
                    portion.entries += entries.len();
                    portion.frames.push((place, entries));
                    if portion.entries >= PORTION {
                        // Nobody listens after a panic alone, and then nobody asks for the rest.
                        let _ = ahead.send(std::mem::take(&mut portion));
                    }
                });
                let _ = ahead.send(portion);
                read
            })
            .map_err(Error::io("a thread cannot be started"))?;
        for (place, entries) in frames.iter().flat_map(|portion| portion.frames) {
            visit(&entries);
            history.extend(place, &entries);
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let Last { first: file, end, group } = last.ok_or(Error::NotAVault)?;
    let tail = if end <= frame::HEADER as u64 && file > 0 {
        // Its making was cut off before anything stood in it, maybe by a barrier that failed: then
        // its name is in doubt.
        place.disk.remove(&place.path(file))?;
        place.create(file)?
    } else {
        Tail::new(place.disk.open(&place.path(file))?, Durable::Ledger, end)
    };
    tail.renew(group.0, &group.1)?;
    place.disk.sync_dir(&place.dir)?;
    let next = history.tree.size();
    Ok(Opened { writer: Writer { place, tail, file, next }, history, quarantined })
}

/// The last file of a ledger.
struct Last {
    first: u64,
    /// Where its good part ends.
    end: u64,
    /// Where its last group starts, and the bytes of that.
    group: (u64, Vec<u8>),
}

/// Reads all files and shows each frame to `take`. Gives the last file, and where its bad end went.
fn read_all(
    place: &Place,
    quarantine: &Path,
    files: &[u64],
    take: &mut dyn FnMut(FramePlace, Vec<Numbered>),
) -> Result<(Option<Last>, Option<PathBuf>), Error> {
    let (mut last, mut quarantined) = (None, None);
    let mut next = 0;
    for (i, &first) in files.iter().enumerate() {
        let path = place.path(first);
        if first != next {
            return Err(Error::absent(&place.path(next), "a file of the ledger is not there"));
        }
        let bytes = place.disk.read(&path)?;
        let end = replay_file(place, first, &bytes, &mut |place, entries| {
            next = place.first + entries.len() as u64;
            take(place, entries);
        })?;
        if end < bytes.len() as u64 {
            if i + 1 < files.len() {
                return Err(Error::damaged(&path, end, "a ledger file that ends too early"));
            }
            quarantined = quarantine_end(&place.disk, quarantine, &path, &bytes, end)?;
        }
        let good = &bytes[..end as usize];
        let from = frame::last_group(good, GROUP);
        last = Some(Last { first, end, group: (from, good[from as usize..].to_vec()) });
    }
    Ok((last, quarantined))
}

/// Reads the frames of one file; says where the good part ends.
pub(super) fn replay_file(
    place: &Place,
    file: u64,
    bytes: &[u8],
    take: &mut dyn FnMut(FramePlace, Vec<Numbered>),
) -> Result<u64, Error> {
    let path = place.path(file);
    let mut walk = Walk::new(bytes);
    let (mut next, mut group) = (file, 0);
    loop {
        let frame = match walk.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(bytes.len() as u64),
            Err(bad) => {
                let at = walk.at();
                if bad == Bad::Later || frame::committed_behind(bytes, at, GROUP) {
                    return Err(bad.at(&path, at));
                }
                return Ok(at);
            }
        };
        let damaged = |what| Error::damaged(&path, frame.offset, what);
        if frame.offset == 0 {
            let is_head = frame.header.kind == Type::Ledger
                && frame.header.address == frame::file_address(place.vault, file, 0);
            if !is_head {
                return Err(damaged("not the head of this ledger file"));
            }
            continue;
        }
        if frame.header.kind != Type::Entries || frame.header.number(0) != next {
            return Err(damaged("not the frame that comes next in the ledger"));
        }
        let entries = read_entries(frame.payload, next).map_err(|e| match e {
            ledger::Error::FutureVersion => Bad::Later.at(&path, frame.offset),
            _ => damaged("a frame that is no list of entries"),
        })?;
        if frame.header.number(GROUP) != group {
            group = frame.offset;
        }
        if frame.header.address != address(next, entries.len() as u64, group) {
            return Err(damaged("a frame that was written elsewhere"));
        }
        next += entries.len() as u64;
        take(FramePlace { first: frame.header.number(0), file, offset: frame.offset }, entries);
    }
}

fn read_entries(payload: &[u8], first: u64) -> Result<Vec<Numbered>, ledger::Error> {
    let list = decode_frame(payload).ok_or(ledger::Error::NotAnEntry)?;
    (first..)
        .zip(list)
        .map(|(seq, bytes)| {
            let entry = Entry::from_bytes(bytes)?;
            if entry.seq == seq {
                Ok((entry, tree::leaf(bytes)))
            } else {
                Err(ledger::Error::NotAnEntry)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::simulated::{Call, Crash, Fault, SimDisk, Wrong};

    struct Desk {
        dir: tempfile::TempDir,
        place: Place,
    }

    fn desk() -> Desk {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = dir.path().join("ledger");
        let disk = Disk::Machine;
        disk.make_dir(&ledger).expect("made");
        disk.make_dir(&dir.path().join("quarantine")).expect("made");
        let place = Place { disk, dir: ledger, vault: VaultId::random() };
        place.create(0).expect("created");
        Desk { dir, place }
    }

    fn opened(desk: &Desk) -> Result<Opened, Error> {
        open(desk.place.clone(), &desk.dir.path().join("quarantine"), &mut |_| {})
    }

    fn batch(count: u64) -> Vec<Entry> {
        (0..count).map(|minute| Entry::new(Fact::Looked, minute)).collect()
    }

    /// A ledger of groups of two frames with three entries each.
    fn written(groups: u64) -> Desk {
        let desk = desk();
        let mut writer = opened(&desk).expect("opens").writer;
        for _ in 0..groups {
            writer.write(vec![batch(2), batch(1)]).expect("written");
            writer.sync().expect("durable");
        }
        desk
    }

    #[test]
    fn a_ledger_reads_back_and_goes_on_where_it_ended() {
        let desk = written(3);
        let mut again = opened(&desk).expect("opens");
        assert_eq!(again.history.tree.size(), 9);
        let frames = again.writer.write(vec![batch(1)]).expect("written");
        assert_eq!((frames[0].0.first, frames[0].1[0].0.seq), (9, 9));
        let history = opened(&desk).expect("opens").history;
        let place = history.frames_from(4)[0];
        let entries = desk.place.read(place, &mut None).expect("read");
        assert_eq!((place.first, entries.len()), (3, 2));
        assert_eq!(Entry::from_bytes(&entries[1]).expect("an entry").seq, 4);
    }

    #[test]
    fn a_torn_last_group_is_quarantined_wherever_it_was_cut() {
        let desk = written(3);
        let path = desk.place.path(0);
        let whole = Disk::Machine.read(&path).expect("read");
        let places: Vec<_> = opened(&desk).expect("opens").history.frames.clone();
        let (fifth, sixth) = (places[4].offset as usize, places[5].offset as usize);
        for cut in fifth + 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("written");
            let opened = opened(&desk).expect("opens");
            let expected = if cut < sixth { [6, 8] } else { [8, 8] };
            assert!(expected.contains(&opened.history.tree.size()), "{cut}");
        }
        // The first frame of the group never reached the disk, the second did: not acknowledged.
        let mut holed = whole.clone();
        holed[fifth..sixth].fill(0);
        std::fs::write(&path, &holed).expect("written");
        let opened = opened(&desk).expect("opens");
        assert_eq!(opened.history.tree.size(), 6);
        let kept = Disk::Machine.read(&opened.quarantined.expect("kept")).expect("read");
        assert_eq!(kept, holed[fifth..]);
    }

    #[test]
    fn a_bad_frame_before_a_later_group_stops_the_start_with_file_and_offset() {
        let desk = written(3);
        let path = desk.place.path(0);
        let whole = Disk::Machine.read(&path).expect("read");
        let place = opened(&desk).expect("opens").history.frames[2];
        for at in place.offset..place.offset + 64 {
            let mut flipped = whole.clone();
            flipped[at as usize] ^= 0x10;
            std::fs::write(&path, &flipped).expect("written");
            match opened(&desk) {
                Err(Error::Damaged { file, offset, .. } | Error::Later { file, offset }) => {
                    assert_eq!((file, offset), (path.clone(), place.offset));
                }
                _ => panic!("byte {at} is noticed"),
            }
        }
        std::fs::write(&path, &whole).expect("written");
        assert!(opened(&desk).is_ok());
    }

    #[test]
    fn files_roll_and_a_missing_one_is_noticed() {
        let desk = desk();
        let mut writer = opened(&desk).expect("opens").writer;
        let path = desk.place.path(0);
        writer.write(vec![batch(5)]).expect("written");
        let end = writer.tail.end();
        let file = Disk::Machine.open(&path).expect("opens");
        writer.tail = Tail::new(file, Durable::Ledger, ROLL_AT);
        let frames = writer.write(vec![batch(2)]).expect("written");
        assert_eq!((frames[0].0.file, desk.place.files().expect("read")), (5, vec![0, 5]));
        assert_eq!(Disk::Machine.read(&path).expect("read").len() as u64, end);
        assert_eq!(opened(&desk).expect("opens").history.tree.size(), 7);
        // A file whose making was cut off is made again.
        std::fs::write(desk.place.path(7), b"").expect("written");
        let mut again = opened(&desk).expect("opens");
        again.writer.write(vec![batch(1)]).expect("written");
        assert_eq!(opened(&desk).expect("opens").history.tree.size(), 8);
        std::fs::remove_file(desk.place.path(5)).expect("removed");
        assert!(matches!(opened(&desk), Err(Error::Absent { .. })));
    }

    #[test]
    fn a_file_whose_name_may_be_lost_is_made_again_before_entries_rest_on_it() {
        let disk = SimDisk::new(1);
        let (dir, quarantine) = (PathBuf::from("/ledger"), PathBuf::from("/quarantine"));
        let place = Place { disk: Disk::Simulated(disk.clone()), dir, vault: VaultId::random() };
        place.disk.make_dir(&place.dir).expect("made");
        place.disk.sync_dir(Path::new("/")).expect("durable");
        place.create(0).expect("created");
        let open = || open(place.clone(), &quarantine, &mut |_| {}).expect("opens");
        let mut writer = open().writer;
        writer.write(vec![batch(5)]).expect("written");
        writer.sync().expect("durable");
        // The process that rolls the ledger is told that the new name is not durable, and ends.
        let at = disk.calls() + 4;
        disk.plan(Some(Fault { at, wrong: Wrong::Broken, for_ever: false }));
        assert!(place.create(5).is_err());
        assert_eq!(disk.trace().last(), Some(&Call::SyncDir));
        let mut writer = open().writer;
        writer.write(vec![batch(3)]).expect("written");
        writer.sync().expect("durable");
        disk.crash(Crash::Nothing);
        assert_eq!(open().history.tree.size(), 8);
    }
}
