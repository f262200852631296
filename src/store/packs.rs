//! Packs: where chunks and boxes lie (vault-format §2).
//!
//! A pack is written by one process, in write units that start on 4 KiB boundaries, and closed
//! with a table of what it holds; then it never grows again. What a crash left unclosed is closed
//! at the next start. Records never move. Reading and checking need no keys; where an address is
//! to be found is the business of `index`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;

use super::Error;
use super::disk::{Disk, File};
use super::frame::{self, Bad, GRAIN, HEADER, Header, Type};
use crate::ids::{Address, VaultId};
use crate::vault::TAG;
use crate::vault::chunk::BODY;

/// Write units start on multiples of this; a scan that meets a bad record resumes there.
pub(super) const UNIT: u64 = 4096;
/// A pack is closed when it would grow beyond this.
const CLOSE_AT: u64 = 128 << 20;
/// The longest box in bytes: the manifest of an item of 64 GiB fits.
pub(super) const MAX_BOX: usize = 96 << 20;
const EXTENSION: &str = "pack";

/// The name of a pack: random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub [u8; 16]);

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Chunks,
    Boxes,
}

impl Sort {
    pub(super) fn pack(self) -> Type {
        match self {
            Sort::Chunks => Type::ChunkPack,
            Sort::Boxes => Type::BoxPack,
        }
    }

    pub(super) fn record(self) -> Type {
        match self {
            Sort::Chunks => Type::Chunk,
            Sort::Boxes => Type::Box,
        }
    }

    /// The longest payload of a record.
    fn longest(self) -> u64 {
        match self {
            Sort::Chunks => (BODY + TAG) as u64,
            Sort::Boxes => MAX_BOX as u64,
        }
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// Its pack.
    pub pack: PackId,
    /// Offset of its header in bytes.
    pub offset: u64,
    /// Bytes of payload.
    pub length: u64,
}

/// A row of a table.
pub(super) type Row = (Address, Spot);

/// A place in a pack that is not what was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) offset: u64,
    pub(super) bad: Bad,
}

/// What the head of a pack says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sort: Sort,
    /// Records of it may be dead.
    pub(super) has_dead: bool,
}

/// Why a record could not be read from a spot.
#[derive(Debug)]
pub(super) enum ReadError {
    /// Another record, or none, is there: the index is wrong.
    Elsewhere,
    /// A sweep removed it.
    Dead,
    /// It is there and damaged, or the system refused.
    Failed(Error),
}

/// What a pack says of its content at its end.
pub(super) enum Closing {
    /// Not closed.
    Open,
    /// The table is here, for so many records.
    Table { offset: u64, records: u64 },
}

/// The packs of a vault, to read.
#[derive(Clone)]
pub(super) struct Packs {
    disk: Disk,
    dir: PathBuf,
    vault: VaultId,
    /// Packs of a staging: no commit has named them, so they do not count.
    apart: Arc<Mutex<HashSet<PackId>>>,
    /// Packs whose chunks work that is not committed yet may rest on.
    held: Arc<Mutex<HashSet<PackId>>>,
}

impl Packs {
    pub(super) fn new(disk: Disk, dir: PathBuf, vault: VaultId) -> Self {
        Self { disk, dir, vault, apart: Arc::default(), held: Arc::default() }
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn path(&self, pack: PackId) -> PathBuf {
        self.dir.join(format!("{}.{EXTENSION}", HEXLOWER.encode(&pack.0)))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A pack is closed when it would grow beyond this.
    pub(super) fn close_at(&self) -> u64 {
        match &self.disk {
            Disk::Machine => CLOSE_AT,
            #[cfg(test)]
            Disk::Simulated(disk) => disk.packs_end_at().unwrap_or(CLOSE_AT),
        }
    }

    pub(super) fn vault(&self) -> VaultId {
        self.vault
    }

    /// From now on this pack is not among those of the vault: not read, judged or swept.
    pub(super) fn set_apart(&self, pack: PackId) {
        self.apart().insert(pack);
    }

    /// From now on this pack is one of the vault.
    pub(super) fn count_in(&self, pack: PackId) {
        self.apart().remove(&pack);
    }

    /// From now on nothing of this pack is called dead, although it may count.
    pub(super) fn hold(&self, pack: PackId) {
        self.held().insert(pack);
    }

    /// From now on these packs are judged as any other.
    pub(super) fn let_go(&self, packs: &[PackId]) {
        let mut held = self.held();
        packs.iter().for_each(|pack| _ = held.remove(pack));
    }

    /// Those of the packs that are not held: read off after they were listed.
    pub(super) fn not_held(&self, packs: Vec<PackId>) -> Vec<PackId> {
        let held = self.held();
        packs.into_iter().filter(|pack| !held.contains(pack)).collect()
    }

    fn held(&self) -> MutexGuard<'_, HashSet<PackId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apart(&self) -> MutexGuard<'_, HashSet<PackId>> {
        self.apart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every pack that counts, sorted by name.
    pub(super) fn list(&self) -> Result<Vec<PackId>, Error> {
        let parse = |name: &String| {
            let hex = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
            HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok().map(PackId)
        };
        let names = self.disk.names(&self.dir)?;
        let apart = self.apart();
        Ok(names.iter().filter_map(parse).filter(|pack| !apart.contains(pack)).collect())
    }

    pub(super) fn open(&self, pack: PackId) -> Result<(File, u64), Error> {
        self.try_open(pack).map_err(Error::io("a pack cannot be opened"))
    }

    /// Opens a pack that a sweep may have removed since it was listed.
    pub(super) fn open_if_there(&self, pack: PackId) -> Result<Option<(File, u64)>, Error> {
        match self.try_open(pack) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some).map_err(Error::io("a pack cannot be opened")),
        }
    }

    fn try_open(&self, pack: PackId) -> std::io::Result<(File, u64)> {
        let file = self.disk.open_to_read(&self.path(pack))?;
        let length = file.length()?;
        Ok((file, length))
    }

    /// Reads the record of `address` at `spot` and checks all that can be checked without keys.
    pub(super) fn read(
        &self,
        spot: Spot,
        address: Address,
        sort: Sort,
    ) -> Result<Vec<u8>, ReadError> {
        let (file, header) = self.header(spot, address, sort)?;
        let mut payload = vec![0; header.length as usize];
        file.read_exact_at(&mut payload, spot.offset + HEADER as u64)
            .map_err(|e| self.not_read(spot, e))?;
        if header.holds(&payload) { Ok(payload) } else { Err(self.not_true(&file, spot)) }
    }

    /// Whether the header of `address` stands at `spot`.
    pub(super) fn stands(&self, spot: Spot, address: Address, sort: Sort) -> Result<bool, Error> {
        match self.header(spot, address, sort) {
            Ok(_) => Ok(true),
            Err(ReadError::Elsewhere | ReadError::Dead) => Ok(false),
            Err(ReadError::Failed(error)) => Err(error),
        }
    }

    fn header(
        &self,
        spot: Spot,
        address: Address,
        sort: Sort,
    ) -> Result<(File, Header), ReadError> {
        let file = self.open_record(spot.pack)?;
        let mut bytes = [0; HEADER];
        file.read_exact_at(&mut bytes, spot.offset).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => ReadError::Elsewhere,
            _ => self.not_read(spot, e),
        })?;
        let header = expected(&bytes, spot, address, sort).ok_or(ReadError::Elsewhere)?;
        if header.is_dead { Err(self.why_dead(&file, spot)) } else { Ok((file, header)) }
    }

    /// Opens a pack to read records; where there is none, the index is wrong.
    pub(super) fn open_record(&self, pack: PackId) -> Result<File, ReadError> {
        self.disk.open_to_read(&self.path(pack)).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => ReadError::Elsewhere,
            _ => ReadError::Failed(Error::Io { what: "a pack cannot be opened", source: e }),
        })
    }

    /// Reads the record of `address` at `spot` of an open pack into `buffer`, in one call: header,
    /// then payload. Checks what its header says, and gives the payload's length.
    pub(super) fn read_into(
        &self,
        file: &File,
        spot: Spot,
        (address, sort): (Address, Sort),
        buffer: &mut [u8],
    ) -> Result<usize, ReadError> {
        let length = usize::try_from(spot.length).unwrap_or(usize::MAX);
        let record = length.checked_add(HEADER).and_then(|end| buffer.get_mut(..end));
        let record = record.ok_or(ReadError::Elsewhere)?;
        let read = match file.read_exact_at(record, spot.offset) {
            Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
                return Err(self.not_read(spot, e));
            }
            read => read,
        };
        let (head, payload) = record.split_first_chunk().ok_or(ReadError::Elsewhere)?;
        // What could not be read to its end may be a whole header: then it is damage.
        let header = expected(head, spot, address, sort).ok_or(ReadError::Elsewhere)?;
        if header.is_dead {
            return Err(self.why_dead(file, spot));
        }
        read.map_err(|e| self.not_read(spot, e))?;
        if header.holds(payload) { Ok(payload.len()) } else { Err(self.not_true(file, spot)) }
    }

    /// Of a record with a wrong checksum: damage, unless it was removed while it was read.
    fn not_true(&self, file: &File, spot: Spot) -> ReadError {
        match header_at(file, spot.offset) {
            Ok(header) if header.is_dead => self.why_dead(file, spot),
            _ => self.damaged(spot, "a record with a wrong checksum"),
        }
    }

    fn damaged(&self, spot: Spot, what: &'static str) -> ReadError {
        ReadError::Failed(Error::damaged(&self.path(spot.pack), spot.offset, what))
    }

    fn not_read(&self, spot: Spot, error: std::io::Error) -> ReadError {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                self.damaged(spot, "a record longer than its pack")
            }
            _ => ReadError::Failed(Error::Io { what: "a record cannot be read", source: error }),
        }
    }

    /// Whether a sweep removed this record, or its whole pack.
    pub(super) fn is_removed(&self, spot: Spot, address: Address, sort: Sort) -> bool {
        matches!(self.header(spot, address, sort), Err(ReadError::Dead))
            || matches!(self.open_if_there(spot.pack), Ok(None))
    }

    /// What is wrong at `spot`, where a record should stand and does not.
    pub(super) fn doubt(&self, spot: Spot) -> Error {
        let path = self.path(spot.pack);
        match self.open(spot.pack).map(|(file, _)| header_at(&file, spot.offset)) {
            Err(error) => error,
            Ok(Err(bad)) => bad.at(&path, spot.offset),
            Ok(Ok(_)) => Error::damaged(&path, spot.offset, "another record than the table says"),
        }
    }

    /// A record is dead only in a pack that says so: the head is marked first, and durably. One
    /// flipped bit is damage.
    fn why_dead(&self, file: &File, spot: Spot) -> ReadError {
        if self.head(file).is_ok_and(|head| head.has_dead) {
            return ReadError::Dead;
        }
        self.damaged(spot, "a dead record in a pack that has none")
    }

    /// What the first frame says of the pack.
    pub(super) fn head(&self, file: &File) -> Result<Head, Bad> {
        let header = header_at(file, 0)?;
        if !header.holds(&[]) {
            return Err(Bad::Damaged("a file head with a wrong checksum"));
        }
        if frame::vault_of(&header) != self.vault {
            return Err(Bad::Damaged("a pack of another vault"));
        }
        let sort = match header.kind {
            Type::ChunkPack => Sort::Chunks,
            Type::BoxPack => Sort::Boxes,
            _ => return Err(Bad::Damaged("not the head of a pack")),
        };
        Ok(Head { sort, has_dead: header.is_dead })
    }

    /// Whether the pack is closed, by its last frame.
    ///
    /// # Errors
    /// [`Bad::Refused`] alone.
    pub(super) fn closing(file: &File, length: u64) -> Result<Closing, Bad> {
        let Some(at) = length.checked_sub(HEADER as u64).filter(|at| at.is_multiple_of(GRAIN))
        else {
            return Ok(Closing::Open);
        };
        match header_at(file, at) {
            Ok(end) if end.kind == Type::PackEnd && end.holds(&[]) => {
                Ok(Closing::Table { offset: end.number(0), records: end.number(8) })
            }
            Err(refused @ Bad::Refused(_)) => Err(refused),
            _ => Ok(Closing::Open),
        }
    }

    /// The table at `offset` of a closed pack.
    pub(super) fn table(
        pack: PackId,
        file: &File,
        length: u64,
        offset: u64,
    ) -> Result<Vec<Row>, Bad> {
        let header = header_at(file, offset)?;
        let fits = header.length <= length && header.length.is_multiple_of(ROW as u64);
        if header.kind != Type::PackTable || !fits {
            return Err(Bad::Damaged("no table where the pack's end says"));
        }
        let mut bytes = vec![0; header.length as usize];
        file.read_exact_at(&mut bytes, offset + HEADER as u64)
            .map_err(|e| Bad::unread(&e, "an incomplete table"))?;
        if !header.holds(&bytes) || *blake3::hash(&bytes).as_bytes() != header.address {
            return Err(Bad::Damaged("a table with a wrong checksum"));
        }
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let (rows, _) = bytes.as_chunks::<ROW>();
        Ok(rows
            .iter()
            .map(|row| {
                let address = Address::new(row[..32].try_into().expect("32 bytes"));
                (address, Spot { pack, offset: number(&row[32..40]), length: number(&row[40..]) })
            })
            .collect())
    }

    /// Scans a pack of `length` bytes record by record and checks each. Gives every true record
    /// that is not dead to `found`, and the first bad place of each stretch to `faulty`.
    pub(super) fn scan(
        &self,
        pack: PackId,
        file: &File,
        length: u64,
        found: &mut dyn FnMut(Address, Spot) -> Result<(), Error>,
        faulty: &mut dyn FnMut(Fault),
    ) -> Result<(), Error> {
        let head = self.head(file).map_err(|bad| faulty(Fault { offset: 0, bad })).ok();
        let mut payload = Vec::new();
        let mut at = UNIT;
        let mut lost = false;
        while at + HEADER as u64 <= length {
            match record_at(file, at, length, head, &mut payload) {
                Ok(header) => {
                    lost = false;
                    if matches!(header.kind, Type::Chunk | Type::Box) && !header.is_dead {
                        let spot = Spot { pack, offset: at, length: header.length };
                        found(Address::new(header.address), spot)?;
                    }
                    at = (at + HEADER as u64 + header.length).next_multiple_of(GRAIN);
                }
                Err(bad) => {
                    if bad != Bad::Nothing && (!lost || matches!(bad, Bad::Refused(_))) {
                        faulty(Fault { offset: at, bad });
                        lost = true;
                    }
                    at = (at + 1).next_multiple_of(UNIT);
                }
            }
        }
        Ok(())
    }

    /// Gives every record of a pack that is not dead to `found`: from its table, or by a scan if it
    /// has none. A pack that is gone has none.
    pub(super) fn each(
        &self,
        pack: PackId,
        limit: Option<u64>,
        found: &mut dyn FnMut(Address, Spot) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some((file, length)) = self.open_if_there(pack)? else { return Ok(()) };
        let refused = |bad: Bad| bad.at(&self.path(pack), 0);
        if let Closing::Table { offset, .. } = Self::closing(&file, length).map_err(refused)? {
            match Self::table(pack, &file, length, offset) {
                Ok(table) => {
                    let has_dead = self.head(&file).is_ok_and(|head| head.has_dead);
                    let is_dead =
                        |spot: &Spot| header_at(&file, spot.offset).is_ok_and(|h| h.is_dead);
                    return table
                        .into_iter()
                        .filter(|(_, spot)| !has_dead || !is_dead(spot))
                        .try_for_each(|(address, spot)| found(address, spot));
                }
                Err(bad @ Bad::Refused(_)) => return Err(refused(bad)),
                Err(_) => {}
            }
        }
        let length = limit.map_or(length, |limit| limit.min(length));
        self.scan_readable(pack, &file, length, found).map(drop)
    }

    /// Scans as [`Packs::scan`] does; passes over what is damaged. Says whether the pack has a head,
    /// true or not: only zeros are none.
    ///
    /// # Errors
    /// Where the system refuses to read: what stands there may be a record.
    pub(super) fn scan_readable(
        &self,
        pack: PackId,
        file: &File,
        length: u64,
        found: &mut dyn FnMut(Address, Spot) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let (mut refused, mut has_head) = (None, true);
        self.scan(pack, file, length, found, &mut |fault| match fault.bad {
            Bad::Refused(_) => _ = refused.get_or_insert(fault),
            Bad::Nothing if fault.offset == 0 => has_head = false,
            _ => {}
        })?;
        refused.map_or(Ok(has_head), |fault| Err(fault.bad.at(&self.path(pack), fault.offset)))
    }
}

/// Bytes of one row of a table: address, offset, length.
pub(super) const ROW: usize = 48;

/// The bytes that close a pack whose content ends at `end`: its table and its last frame.
pub(super) fn closing_bytes(end: u64, rows: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() + 3 * HEADER);
    frame::put(&mut bytes, Type::PackTable, blake3::hash(rows).as_bytes(), rows);
    let mut address = [0; 32];
    address[..8].copy_from_slice(&end.to_le_bytes());
    address[8..16].copy_from_slice(&((rows.len() / ROW) as u64).to_le_bytes());
    frame::put(&mut bytes, Type::PackEnd, &address, &[]);
    bytes
}

/// Appends a row to a table.
pub(super) fn put_row(rows: &mut Vec<u8>, address: Address, spot: Spot) {
    rows.extend_from_slice(address.as_bytes());
    rows.extend_from_slice(&spot.offset.to_le_bytes());
    rows.extend_from_slice(&spot.length.to_le_bytes());
}

/// The header that the index promises at `spot`, if these bytes are it.
/// The header in `bytes`, if it is that of `address` at `spot`.
pub(super) fn expected(
    bytes: &[u8; HEADER],
    spot: Spot,
    address: Address,
    sort: Sort,
) -> Option<Header> {
    Header::parse(bytes).ok().filter(|header| {
        header.kind == sort.record()
            && header.address == *address.as_bytes()
            && header.length == spot.length
            && header.length <= sort.longest()
    })
}

pub(super) fn header_at(file: &File, at: u64) -> Result<Header, Bad> {
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, at).map_err(|e| Bad::unread(&e, "an incomplete header"))?;
    Header::parse(&bytes)
}

/// The whole, true record at `at`; its payload is left in `payload`. Of a dead one the payload is
/// not true any more: its length is believed if a frame, or the end of a unit, follows there.
fn record_at(
    file: &File,
    at: u64,
    length: u64,
    head: Option<Head>,
    payload: &mut Vec<u8>,
) -> Result<Header, Bad> {
    let header = header_at(file, at)?;
    let sort = head.map(|head| head.sort);
    let longest = match (header.kind, sort) {
        (Type::Chunk, None | Some(Sort::Chunks)) => Sort::Chunks.longest(),
        (Type::Box, None | Some(Sort::Boxes)) => Sort::Boxes.longest(),
        (Type::PackTable | Type::PackEnd, _) => length,
        _ => return Err(Bad::Damaged("a frame that does not belong in this pack")),
    };
    if header.length > longest || at + HEADER as u64 + header.length > length {
        return Err(Bad::Damaged("a record longer than it can be"));
    }
    payload.resize(header.length as usize, 0);
    file.read_exact_at(payload, at + HEADER as u64)
        .map_err(|e| Bad::unread(&e, "a record that cannot be read"))?;
    if header.is_dead {
        let may_be = head.is_none_or(|head| head.has_dead);
        let next = (at + HEADER as u64 + header.length).next_multiple_of(GRAIN);
        let ends = matches!(header_at(file, next), Ok(_) | Err(Bad::Nothing));
        return if may_be && (ends || next.is_multiple_of(UNIT)) {
            Ok(header)
        } else {
            Err(Bad::Damaged("a dead record in a pack that has none, or of a wrong length"))
        };
    }
    if header.holds(payload) {
        Ok(header)
    } else {
        Err(Bad::Damaged("a record with a wrong checksum"))
    }
}
