//! The one framing of every file of the vault (vault-format §1).
//!
//! A frame is a header of 64 bytes, inside one sector of 512, and a payload. The checksum finds
//! damage by accident; damage on purpose is found by address, tag and tree.
//!
//! Two files only ever grow, the ledger and the cabinet: [`Walk`] reads their frames, and
//! [`committed_behind`] tells the torn end of an interrupted write from damage in the middle.

use std::io;

use super::Error;
use crate::ids::VaultId;

/// Bytes of a header.
pub(super) const HEADER: usize = 64;
/// Headers start on multiples of this, so that none straddles two sectors.
pub(super) const GRAIN: u64 = 64;
/// What a disk writes whole or not at all. Groups of appended frames start on a fresh one, so that
/// a torn write cannot touch what is committed.
pub(super) const SECTOR: u64 = 512;

const MAGIC: [u8; 4] = *b"klus";
const VERSION: u8 = 1;
/// Where in a header the flags are written: outside the checksum, so that one byte sets them.
pub(super) const FLAGS: u64 = 6;
/// The one flag there is. On a record: a sweep removed it, its payload may be gone. On the head of
/// a pack: records of it may be dead.
pub(super) const DEAD: u8 = 1;

/// What a frame is (vault-format §1 lists the reserved numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Type {
    ChunkPack = 0x01,
    BoxPack = 0x02,
    Ledger = 0x03,
    Cabinet = 0x04,
    CabinetKey = 0x05,
    SweepPlan = 0x09,
    Chunk = 0x11,
    Box = 0x12,
    PackTable = 0x13,
    PackEnd = 0x14,
    Entries = 0x21,
    SlotAdd = 0x31,
    SlotDrop = 0x32,
}

const TYPES: [Type; 13] = [
    Type::ChunkPack,
    Type::BoxPack,
    Type::Ledger,
    Type::Cabinet,
    Type::CabinetKey,
    Type::SweepPlan,
    Type::Chunk,
    Type::Box,
    Type::PackTable,
    Type::PackEnd,
    Type::Entries,
    Type::SlotAdd,
    Type::SlotDrop,
];

impl Type {
    /// Whether [`DEAD`] may be set on it.
    fn may_be_dead(self) -> bool {
        matches!(self, Type::Chunk | Type::Box | Type::ChunkPack | Type::BoxPack)
    }
}

/// Why bytes are no frame of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// All zero: never written.
    Nothing,
    /// Not what was written.
    Damaged(&'static str),
    /// A later version's, or damage that looks like it.
    Later,
    /// The system refused to read it, with this error: what stands there nobody knows.
    Refused(i32),
}

impl Bad {
    /// Why bytes could not be read: `short` if the file ends before them.
    pub(super) fn unread(error: &io::Error, short: &'static str) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Bad::Damaged(short),
            _ => Bad::Refused(error.raw_os_error().unwrap_or_default()),
        }
    }

    /// The error that names this place.
    pub(super) fn at(self, file: &std::path::Path, offset: u64) -> Error {
        match self {
            Bad::Nothing => Error::damaged(file, offset, self.what()),
            Bad::Damaged(what) => Error::damaged(file, offset, what),
            Bad::Later => Error::Later { file: file.to_owned(), offset },
            Bad::Refused(code) => {
                Error::Io { what: self.what(), source: io::Error::from_raw_os_error(code) }
            }
        }
    }

    pub(super) fn what(self) -> &'static str {
        match self {
            Bad::Nothing => "zeros where a frame should be",
            Bad::Damaged(what) => what,
            Bad::Later => "written by a later version of kluis, or damaged",
            Bad::Refused(_) => "a file cannot be read",
        }
    }
}

/// A header that could be read. Whether it is true, [`Header::holds`] tells with the payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: Type,
    /// Bytes of payload.
    pub(super) length: u64,
    pub(super) address: [u8; 32],
    /// Whether [`DEAD`] is set.
    pub(super) is_dead: bool,
    bytes: [u8; HEADER],
}

impl Header {
    /// The header of a frame with this payload.
    pub(super) fn of(kind: Type, address: &[u8; 32], payload: &[u8]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = kind as u8;
        bytes[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        bytes[32..].copy_from_slice(address);
        let sum = checksum(&bytes, payload);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a header.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Result<Self, Bad> {
        if *bytes == [0; HEADER] {
            return Err(Bad::Nothing);
        }
        if bytes[..4] != MAGIC {
            return Err(Bad::Damaged("no frame where one should be"));
        }
        if bytes[4] > VERSION {
            return Err(Bad::Later);
        }
        if bytes[4] < VERSION || bytes[20..32] != [0; 12] {
            return Err(Bad::Damaged("a damaged frame header"));
        }
        let kind = TYPES.into_iter().find(|&kind| kind as u8 == bytes[5]).ok_or(Bad::Later)?;
        // Flags lie outside the checksum; a version that does not know them must not guess.
        let is_dead = match bytes[6..8] {
            [0, 0] => false,
            [DEAD, 0] if kind.may_be_dead() => true,
            _ => return Err(Bad::Later),
        };
        let length = u64::from_le_bytes(bytes[8..16].try_into().expect("8 bytes"));
        let address = bytes[32..].try_into().expect("32 bytes");
        Ok(Self { kind, length, address, is_dead, bytes: *bytes })
    }

    /// Whether header and payload are what was written together.
    pub(super) fn holds(&self, payload: &[u8]) -> bool {
        payload.len() as u64 == self.length
            && self.bytes[16..20] == checksum(&self.bytes, payload).to_le_bytes()
    }

    /// As [`Header::holds`], for a payload that comes in pieces.
    pub(super) fn sum(&self) -> Sum {
        let expected = self.bytes[16..20].try_into().expect("4 bytes");
        Sum { digest: of_header(&self.bytes), expected, left: self.length }
    }

    /// The little-endian number in the address at byte `at`.
    pub(super) fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.address[at..at + 8].try_into().expect("8 bytes"))
    }
}

/// The checksum of a payload that comes in pieces.
pub(super) struct Sum {
    digest: crc_fast::Digest,
    expected: [u8; 4],
    left: u64,
}

impl Sum {
    pub(super) fn update(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.left = self.left.wrapping_sub(piece.len() as u64);
    }

    /// Whether what came is what was written, all of it.
    pub(super) fn holds(&self) -> bool {
        self.left == 0 && finished(&self.digest).to_le_bytes() == self.expected
    }
}

/// CRC-32C (CRC-32/ISCSI) of the header without flags and checksum, then the payload.
fn checksum(header: &[u8; HEADER], payload: &[u8]) -> u32 {
    let mut digest = of_header(header);
    digest.update(payload);
    finished(&digest)
}

fn of_header(header: &[u8; HEADER]) -> crc_fast::Digest {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&header[..6]);
    digest.update(&header[8..16]);
    digest.update(&header[20..]);
    digest
}

fn finished(digest: &crc_fast::Digest) -> u32 {
    u32::try_from(digest.finalize()).expect("a CRC of 32 bits")
}

/// Appends a frame to `bytes`, on a multiple of [`GRAIN`].
pub(super) fn put(bytes: &mut Vec<u8>, kind: Type, address: &[u8; 32], payload: &[u8]) {
    bytes.resize(bytes.len().next_multiple_of(GRAIN as usize), 0);
    bytes.extend_from_slice(&Header::of(kind, address, payload));
    bytes.extend_from_slice(payload);
}

/// The address field of a file's first frame: the vault, the file's number, one more number.
pub(super) fn file_address(vault: VaultId, number: u64, more: u64) -> [u8; 32] {
    let mut address = [0; 32];
    address[..16].copy_from_slice(vault.as_bytes());
    address[16..24].copy_from_slice(&number.to_le_bytes());
    address[24..].copy_from_slice(&more.to_le_bytes());
    address
}

/// The vault that a file's first frame names.
pub(super) fn vault_of(head: &Header) -> VaultId {
    VaultId::new(head.address[..16].try_into().expect("16 bytes"))
}

/// One frame of a file in memory.
pub(super) struct Frame<'a> {
    pub(super) offset: u64,
    pub(super) header: Header,
    pub(super) payload: &'a [u8],
}

/// Walks the frames of a growing file: one after the other on multiples of [`GRAIN`], with zeros up
/// to the next sector where a group of frames ended. Stops for good at the first bad place.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the next frame is expected.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether only zeros follow up to the next sector, or the end of the file before it.
    fn is_filling(&self) -> bool {
        let end = self.at.next_multiple_of(SECTOR).min(self.bytes.len() as u64);
        self.at < end && self.bytes[self.at as usize..end as usize].iter().all(|&byte| byte == 0)
    }

    /// The next frame; nothing at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'a>>, Bad> {
        if self.at >= self.bytes.len() as u64 {
            return Ok(None);
        }
        match frame_at(self.bytes, self.at) {
            Err(_) if self.is_filling() => {
                self.at = self.at.next_multiple_of(SECTOR);
                self.next()
            }
            Err(bad) => Err(bad),
            Ok(frame) => {
                let end = self.at + HEADER as u64 + frame.header.length;
                self.at = end.next_multiple_of(GRAIN);
                Ok(Some(frame))
            }
        }
    }
}

/// The whole, true frame at `offset`.
fn frame_at(bytes: &[u8], offset: u64) -> Result<Frame<'_>, Bad> {
    let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let (head, rest) = rest.split_first_chunk().ok_or(Bad::Damaged("an incomplete header"))?;
    let header = Header::parse(head)?;
    let payload = usize::try_from(header.length)
        .ok()
        .and_then(|length| rest.get(..length))
        .ok_or(Bad::Damaged("a frame longer than its file"))?;
    if !header.holds(payload) {
        return Err(Bad::Damaged("a frame with a wrong checksum"));
    }
    Ok(Frame { offset, header, payload })
}

/// Whether behind the bad place `from` stands a frame that was written after it had been durable:
/// one whose group, at byte `group` of its address, starts behind `from`. If so the bad place is
/// damage; if not, it is the end of a write that was cut off.
pub(super) fn committed_behind(bytes: &[u8], from: u64, group: usize) -> bool {
    (from.next_multiple_of(GRAIN)..bytes.len() as u64)
        .step_by(GRAIN as usize)
        .filter(|&at| bytes[at as usize..].starts_with(&MAGIC))
        .any(|at| frame_at(bytes, at).is_ok_and(|frame| frame.header.number(group) > from))
}

/// Where the last group of a growing file starts, whose frames say so at byte `group` of their
/// address; 0 if there is only what the file was made with.
pub(super) fn last_group(bytes: &[u8], group: usize) -> u64 {
    let sectors = (bytes.len() as u64).div_ceil(SECTOR);
    let starts =
        |at: &u64| frame_at(bytes, *at).is_ok_and(|frame| frame.header.number(group) == *at);
    (1..sectors).rev().map(|sector| sector * SECTOR).find(starts).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32c() {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, b"123456789");
        assert_eq!(crc, 0xe306_9283);
    }

    #[test]
    fn a_frame_reads_back_and_any_changed_byte_is_noticed() {
        let mut file = Vec::new();
        put(&mut file, Type::Entries, &[5; 32], b"payload");
        let frame = frame_at(&file, 0).expect("whole");
        assert_eq!((frame.header.kind, frame.payload), (Type::Entries, &b"payload"[..]));
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                assert!(frame_at(&changed, 0).is_err(), "byte {at} bit {bit}");
            }
        }
        for cut in 0..file.len() {
            assert!(frame_at(&file[..cut], 0).is_err());
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = Header::of(Type::Box, &[0; 32], b"");
        bytes[4] = 2;
        assert_eq!(Header::parse(&bytes).err(), Some(Bad::Later));
        bytes[4] = 0;
        assert!(matches!(Header::parse(&bytes), Err(Bad::Damaged(_))));
        assert_eq!(Header::parse(&[0; HEADER]).err(), Some(Bad::Nothing));
    }

    #[test]
    fn only_packs_and_their_records_can_be_called_dead() {
        for kind in TYPES {
            let mut bytes = Header::of(kind, &[7; 32], b"payload");
            bytes[FLAGS as usize] |= DEAD;
            match Header::parse(&bytes) {
                Ok(header) => assert!(
                    header.is_dead && header.holds(b"payload") && kind.may_be_dead(),
                    "{kind:?}"
                ),
                Err(bad) => assert!(bad == Bad::Later && !kind.may_be_dead(), "{kind:?}"),
            }
            for other in [[2, 0], [3, 0], [0, 1], [1, 128]] {
                bytes[6..8].copy_from_slice(&other);
                assert_eq!(Header::parse(&bytes).err(), Some(Bad::Later));
            }
        }
    }

    #[test]
    fn a_walk_meets_every_frame_across_groups() {
        let mut file = Vec::new();
        put(&mut file, Type::Ledger, &[0; 32], b"");
        put(&mut file, Type::Entries, &[0; 32], &[1; 70]);
        put(&mut file, Type::Entries, &[0; 32], &[2; 64]);
        file.resize(file.len().next_multiple_of(SECTOR as usize), 0);
        put(&mut file, Type::Entries, &[0; 32], &[3; 1]);
        let mut walk = Walk::new(&file);
        let mut lengths = Vec::new();
        while let Some(frame) = walk.next().expect("good") {
            lengths.push(frame.header.length);
        }
        assert_eq!(lengths, [0, 70, 64, 1]);
    }
}
