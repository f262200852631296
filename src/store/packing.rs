//! Writes packs: records in, durable before the ledger names them (vault-format §2).

use std::io::IoSlice;

use super::Error;
use super::disk::{Durable, File};
use super::frame::{self, Bad, GRAIN, HEADER, Header};
use super::packs::{Closing, PackId, Packs, ROW, Sort, Spot, UNIT, closing_bytes, put_row};
use crate::ids::Address;

/// A record ready to be written: header and payload in one piece.
pub(super) struct Record {
    pub(super) address: Address,
    bytes: Vec<u8>,
}

impl Record {
    /// Fills in the header: `bytes` are [`HEADER`] bytes of room, then the payload.
    pub(super) fn new(sort: Sort, address: Address, mut bytes: Vec<u8>) -> Self {
        let (room, payload) = bytes.split_at_mut(HEADER);
        room.copy_from_slice(&Header::of(sort.record(), address.as_bytes(), payload));
        Self { address, bytes }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Writes the packs of one sort. After a failure it begins a new pack.
pub(super) struct Writer {
    packs: Packs,
    sort: Sort,
    current: Option<Current>,
    /// Written to, not yet durable.
    unsynced: Vec<File>,
    /// How far each pack that was written to since the last [`Writer::take_ends`] reaches.
    ends: Vec<(PackId, u64)>,
}

struct Current {
    id: PackId,
    file: File,
    /// Where the next unit starts.
    end: u64,
    rows: Vec<u8>,
    is_dirty: bool,
}

impl Writer {
    pub(super) fn new(packs: Packs, sort: Sort) -> Self {
        Self { packs, sort, current: None, unsynced: Vec::new(), ends: Vec::new() }
    }

    /// Writes the records; says where each is.
    pub(super) fn write(&mut self, records: &[Record]) -> Result<Vec<(Address, Spot)>, Error> {
        let mut spots = Vec::with_capacity(records.len());
        let mut rest = records;
        while let Some(first) = rest.first() {
            let room = self.room_for(first.len())?;
            let mut size = 0;
            let count = rest
                .iter()
                .take_while(|record| {
                    size += record.len().next_multiple_of(GRAIN);
                    size <= room
                })
                .count()
                .max(1);
            self.write_unit(&rest[..count], &mut spots)?;
            rest = &rest[count..];
        }
        Ok(spots)
    }

    /// Opens a pack with room for a record of `length` bytes, or a fresh one; says how much room.
    fn room_for(&mut self, length: u64) -> Result<u64, Error> {
        if self
            .current
            .as_ref()
            .is_some_and(|c| c.end > UNIT && c.end + length > self.packs.close_at())
        {
            self.close()?;
        }
        if self.current.is_none() {
            self.current = Some(self.begin()?);
        }
        Ok(self.current.as_ref().map_or(0, |c| self.packs.close_at().saturating_sub(c.end)))
    }

    fn begin(&self) -> Result<Current, Error> {
        let id = PackId(self.packs.disk().new_name());
        let address = frame::file_address(self.packs.vault(), 0, 0);
        let head = Header::of(self.sort.pack(), &address, &[]);
        let file = self.packs.disk().create_with(&self.packs.path(id), &head, Durable::Packs)?;
        Ok(Current { id, file, end: UNIT, rows: Vec::new(), is_dirty: false })
    }

    fn write_unit(
        &mut self,
        records: &[Record],
        spots: &mut Vec<(Address, Spot)>,
    ) -> Result<(), Error> {
        let current = self.current.as_mut().expect("room was made in a pack");
        let mut slices = Vec::with_capacity(2 * records.len() + 1);
        let mut at = current.end;
        for record in records {
            let offset = at.next_multiple_of(GRAIN);
            push_zeros(&mut slices, offset - at);
            slices.push(IoSlice::new(&record.bytes));
            let length = record.len() - HEADER as u64;
            let spot = Spot { pack: current.id, offset, length };
            spots.push((record.address, spot));
            put_row(&mut current.rows, record.address, spot);
            at = offset + record.len();
        }
        push_zeros(&mut slices, at.next_multiple_of(UNIT) - at);
        current.is_dirty = true;
        current
            .file
            .write_slices_at(&mut slices, current.end)
            .map_err(Error::write("a pack cannot be written"))?;
        current.end = at.next_multiple_of(UNIT);
        self.ends.push((current.id, current.end));
        Ok(())
    }

    /// Closes the current pack with its table; durable with the next [`Writer::sync`]. What the
    /// table speaks of is durable before: whoever finds one after a crash believes it.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        let Some(current) = self.current.take() else { return Ok(()) };
        if current.is_dirty {
            current.file.sync(Durable::Packs)?;
        }
        let bytes = closing_bytes(current.end, &current.rows);
        current
            .file
            .write_all_at(&bytes, current.end)
            .map_err(Error::write("a pack cannot be closed"))?;
        self.ends.push((current.id, current.end + bytes.len() as u64));
        self.unsynced.push(current.file);
        Ok(())
    }

    /// Whether there is something to make durable.
    pub(super) fn is_dirty(&self) -> bool {
        !self.unsynced.is_empty() || self.current.as_ref().is_some_and(|c| c.is_dirty)
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        for file in &self.unsynced {
            file.sync(Durable::Packs)?;
        }
        self.unsynced.clear();
        if let Some(current) = self.current.as_mut().filter(|c| c.is_dirty) {
            current.file.sync(Durable::Packs)?;
            current.is_dirty = false;
        }
        Ok(())
    }

    /// How far each pack reaches that was written to since the last call.
    pub(super) fn take_ends(&mut self) -> Vec<(PackId, u64)> {
        std::mem::take(&mut self.ends)
    }

    /// Leaves the current pack as it is, for ever unclosed in this run: what was written last is
    /// not to be counted.
    pub(super) fn abandon(&mut self) {
        self.current = None;
        self.unsynced.clear();
        self.ends.clear();
    }
}

static ZEROS: [u8; UNIT as usize] = [0; UNIT as usize];

fn push_zeros(slices: &mut Vec<IoSlice<'_>>, count: u64) {
    if count > 0 {
        slices.push(IoSlice::new(&ZEROS[..count as usize]));
    }
}

/// How a pack of an earlier run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    /// Where it ends.
    pub(super) end: u64,
    /// The records in its table.
    pub(super) records: u64,
    /// It was closed, and its table was not true any more: it has another one now.
    pub(super) is_mended: bool,
}

/// Closes what an earlier run left open: a pack without a record is removed, any other gets the
/// table of its true records. `known` is how far the index knows it. Gives nothing if the pack was
/// removed.
pub(super) fn close_left_open(
    packs: &Packs,
    pack: PackId,
    known: Option<u64>,
) -> Result<Option<Closed>, Error> {
    let (file, length) = packs.open(pack)?;
    let refused = |bad: Bad| bad.at(&packs.path(pack), 0);
    let mut is_mended = false;
    if let Closing::Table { offset, records } = Packs::closing(&file, length).map_err(refused)? {
        let closed = Closed { end: length, records, is_mended: false };
        // The index learns of an end that is durable. Else the table may be torn, and the end not.
        if known == Some(length) {
            return Ok(Some(closed));
        }
        match Packs::table(pack, &file, length, offset) {
            Ok(_) => return Ok(Some(closed)),
            Err(bad @ Bad::Refused(_)) => return Err(refused(bad)),
            Err(_) => is_mended = true,
        }
    }
    if length <= UNIT {
        packs.disk().remove(&packs.path(pack))?;
        return Ok(None);
    }
    let mut rows = Vec::new();
    let mut used = UNIT;
    let mut first = None;
    let mut put = |address, spot: Spot| {
        first.get_or_insert((address, spot));
        put_row(&mut rows, address, spot);
        used = (spot.offset + HEADER as u64 + spot.length).next_multiple_of(UNIT);
        Ok(())
    };
    let has_head = packs.scan_readable(pack, &file, length, &mut put)?;
    let records = (rows.len() / ROW) as u64;
    // Room that was asked for ahead, or never reached the disk.
    let is_unused = is_zero(&file, used, length)?;
    if records == 0 && is_unused {
        packs.disk().remove(&packs.path(pack))?;
        return Ok(None);
    }
    let end = if is_unused { used } else { length.next_multiple_of(UNIT) };
    let bytes = closing_bytes(end, &rows);
    let writable = packs.disk().open(&packs.path(pack))?;
    if is_unused {
        writable.set_len(end).map_err(Error::io("a file cannot be cut"))?;
    }
    // What was written ahead of a commit has a head that is durable no sooner than the rest.
    if !has_head {
        let is_of_boxes = match first {
            Some((address, spot)) => packs.stands(spot, address, Sort::Boxes)?,
            None => false,
        };
        let sort = if is_of_boxes { Sort::Boxes } else { Sort::Chunks };
        let address = frame::file_address(packs.vault(), 0, 0);
        let head = Header::of(sort.pack(), &address, &[]);
        writable.write_all_at(&head, 0).map_err(Error::write("a pack cannot be begun"))?;
        writable.sync(Durable::Packs)?;
    }
    writable.write_all_at(&bytes, end).map_err(Error::write("a pack cannot be closed"))?;
    writable.sync(Durable::Packs)?;
    Ok(Some(Closed { end: end + bytes.len() as u64, records, is_mended }))
}

/// Whether there is nothing but zeros from `from` to `to`.
fn is_zero(file: &File, from: u64, to: u64) -> Result<bool, Error> {
    let mut bytes = vec![0; 1 << 20];
    let mut at = from;
    while at < to {
        let some = bytes.len().min(usize::try_from(to - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut bytes[..some], at).map_err(Error::io("a pack cannot be read"))?;
        if bytes[..some].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += some as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VaultId;
    use crate::store::disk::Disk;

    struct Place {
        _dir: tempfile::TempDir,
        packs: Packs,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        let packs = Packs::new(Disk::Machine, dir.path().to_owned(), VaultId::random());
        Place { _dir: dir, packs }
    }

    fn record(fill: u8, length: usize) -> Record {
        let mut bytes = vec![0; HEADER];
        bytes.resize(HEADER + length, fill);
        Record::new(Sort::Boxes, Address::new([fill; 32]), bytes)
    }

    fn scanned(packs: &Packs, pack: PackId) -> (Vec<Address>, Vec<u64>) {
        let (file, length) = packs.open(pack).expect("opens");
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        let mut put = |address, _| {
            found.push(address);
            Ok(())
        };
        packs
            .scan(pack, &file, length, &mut put, &mut |fault| faults.push(fault.offset))
            .expect("scanned");
        (found, faults)
    }

    #[test]
    fn records_are_read_back_from_where_they_were_written() {
        let place = place();
        let mut writer = Writer::new(place.packs.clone(), Sort::Boxes);
        let first = writer.write(&[record(1, 100), record(2, 5000)]).expect("written");
        let second = writer.write(&[record(3, 0)]).expect("written");
        writer.sync().expect("durable");
        assert!(!writer.is_dirty());
        assert_eq!(first[0].1.offset, UNIT);
        assert!(first[1].1.offset.is_multiple_of(GRAIN));
        assert!(second[0].1.offset.is_multiple_of(UNIT));
        for (fill, length, (address, spot)) in
            [(1u8, 100, first[0]), (2, 5000, first[1]), (3, 0, second[0])]
        {
            let payload = place.packs.read(spot, address, Sort::Boxes).expect("read");
            assert_eq!(payload, vec![fill; length]);
            assert!(place.packs.read(spot, address, Sort::Chunks).is_err());
            let stands = place.packs.stands(spot, Address::new([9; 32]), Sort::Boxes);
            assert!(!stands.expect("read"));
        }
        let pack = first[0].1.pack;
        assert_eq!(scanned(&place.packs, pack).0.len(), 3);
        writer.close().expect("closed");
        let (file, length) = place.packs.open(pack).expect("opens");
        let Ok(Closing::Table { offset, records: 3 }) = Packs::closing(&file, length) else {
            panic!("closed with three records");
        };
        let table = Packs::table(pack, &file, length, offset).expect("a true table");
        assert_eq!(table, [first, second].concat());
    }

    #[test]
    fn a_full_pack_is_closed_and_the_next_begun() {
        let place = place();
        let mut writer = Writer::new(place.packs.clone(), Sort::Boxes);
        let big: Vec<_> = (0..3).map(|fill| record(fill, 50 << 20)).collect();
        let spots = writer.write(&big).expect("written");
        assert_eq!(spots[0].1.pack, spots[1].1.pack);
        assert_ne!(spots[1].1.pack, spots[2].1.pack);
        let (file, length) = place.packs.open(spots[0].1.pack).expect("opens");
        assert!(matches!(Packs::closing(&file, length), Ok(Closing::Table { records: 2, .. })));
    }

    #[test]
    fn a_scan_goes_on_behind_a_bad_record_and_names_it() {
        let place = place();
        let mut writer = Writer::new(place.packs.clone(), Sort::Boxes);
        let mut spots = Vec::new();
        for fill in 1..=3 {
            spots.extend(writer.write(&[record(fill, 9000)]).expect("written"));
        }
        let (address, spot) = spots[1];
        let path = place.packs.path(spot.pack);
        let mut bytes = Disk::Machine.read(&path).expect("read");
        bytes[spot.offset as usize + 4000] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        let (found, faults) = scanned(&place.packs, spot.pack);
        assert_eq!(found, [spots[0].0, spots[2].0]);
        assert_eq!(faults, [spot.offset]);
        let Err(super::super::packs::ReadError::Failed(Error::Damaged { offset, .. })) =
            place.packs.read(spot, address, Sort::Boxes)
        else {
            panic!("damaged");
        };
        assert_eq!(offset, spot.offset);
    }

    #[test]
    fn what_a_crash_left_open_is_closed_without_its_torn_end() {
        let place = place();
        let mut writer = Writer::new(place.packs.clone(), Sort::Boxes);
        let spots = writer.write(&[record(1, 10), record(2, 9000)]).expect("written");
        let pack = spots[0].1.pack;
        let file = Disk::Machine.open(&place.packs.path(pack)).expect("opens");
        file.set_len(spots[1].1.offset + 5000).expect("torn");
        let close = |known| close_left_open(&place.packs, pack, known).expect("closed");
        let is_there = |closed: Closed| {
            assert_eq!((closed.records, place.packs.open(pack).expect("opens").1), (1, closed.end));
            assert_eq!(close(None), Some(Closed { is_mended: false, ..closed }));
        };
        let closed = close(None).expect("kept");
        assert!(!closed.is_mended);
        is_there(closed);

        // The end reached the disk, the table did not.
        let file = Disk::Machine.open(&place.packs.path(pack)).expect("opens");
        let table = closed.end - 2 * HEADER as u64 - ROW as u64;
        file.write_all_at(&[0; 32], table / GRAIN * GRAIN).expect("torn");
        assert_eq!(close(Some(closed.end)), Some(closed));
        let mended = close(None).expect("kept");
        assert!(mended.is_mended);
        is_there(mended);

        let begun = || writer.begin().expect("begun");
        for longer in [0, 1 << 20] {
            let begun = begun();
            begun.file.set_len(UNIT + longer).expect("room asked for ahead");
            assert_eq!(close_left_open(&place.packs, begun.id, None).expect("removed"), None);
            assert!(!place.packs.path(begun.id).exists());
        }
    }

    #[test]
    fn a_head_that_never_reached_the_disk_is_written_again() {
        let place = place();
        for sort in [Sort::Boxes, Sort::Chunks] {
            let mut writer = Writer::new(place.packs.clone(), sort);
            let record = Record::new(sort, Address::new([3; 32]), vec![7; HEADER + 5000]);
            let spots = writer.write(&[record]).expect("written");
            let pack = spots[0].1.pack;
            let file = Disk::Machine.open(&place.packs.path(pack)).expect("opens");
            file.write_all_at(&[0; HEADER], 0).expect("lost");
            assert!(place.packs.head(&file).is_err());
            let closed = close_left_open(&place.packs, pack, None).expect("closed");
            assert!(closed.is_some_and(|closed| closed.records == 1));
            assert!(place.packs.head(&file).is_ok_and(|head| head.sort == sort));
            place.packs.read(spots[0].1, spots[0].0, sort).expect("read");
        }
    }

    #[test]
    fn room_that_was_asked_for_and_not_used_is_given_back() {
        let place = place();
        let mut writer = Writer::new(place.packs.clone(), Sort::Boxes);
        let spots = writer.write(&[record(1, 10), record(2, 9000)]).expect("written");
        let pack = spots[0].1.pack;
        let file = Disk::Machine.open(&place.packs.path(pack)).expect("opens");
        let used = file.length().expect("there");
        file.set_len(50 << 20).expect("room asked for ahead");
        let closed = close_left_open(&place.packs, pack, None).expect("closed").expect("kept");
        assert!(closed.end < used + UNIT && closed.records == 2, "{closed:?}");
        assert_eq!(place.packs.open(pack).expect("opens").1, closed.end);
        for (address, spot) in spots {
            place.packs.read(spot, address, Sort::Boxes).expect("read");
        }
    }
}
