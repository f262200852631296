//! Reads closed packs as fast as the disk gives them, and holds every record against its table.
//!
//! A pack is read from its beginning to its end in large pieces, past the page cache where the file
//! system takes that; checksums and hashes run along, and no record is held as a whole. Several
//! packs are read at the same time, each with one piece of memory.

use std::io;

use super::Error;
use super::disk::{DIRECT, File};
use super::frame::{HEADER, Header};
use super::packs::{self, Sort, Spot};
use super::unit::Aligned;
use crate::ids::Address;

/// Bytes read at once.
const PIECE: usize = 4 << 20;
/// Bytes read at once where the disk does not give a whole piece: what stands beside a bad sector
/// is still read.
const CRUMB: usize = 4096;

const _: () = assert!(PIECE.is_multiple_of(DIRECT) && CRUMB.is_multiple_of(DIRECT));

/// The memory that a pack is read through; used again for the next.
pub(super) struct Piece(Aligned);

impl Piece {
    pub(super) fn new() -> Result<Self, Error> {
        Aligned::new(PIECE).map(Self)
    }
}

/// One pack, being read forwards.
pub(super) struct Stream<'a> {
    file: &'a File,
    piece: &'a mut Aligned,
    /// Where in the file the piece starts, and how many bytes of it are there.
    start: u64,
    filled: usize,
    /// Bytes of the file.
    length: u64,
}

impl<'a> Stream<'a> {
    /// `is_large` says that it is not worth a place in the page cache.
    pub(super) fn new(file: &'a File, length: u64, piece: &'a mut Piece, is_large: bool) -> Self {
        if is_large {
            file.go_direct(true);
        }
        Self { file, piece: &mut piece.0, start: 0, filled: 0, length }
    }

    /// Whether the record of `address` is whole at `spot`, and what is wrong if not; whether one that
    /// is called dead is so rightly is for the caller to see. Spots that rise are read in one pass.
    pub(super) fn record(
        &mut self,
        spot: Spot,
        address: Address,
        sort: Sort,
    ) -> Result<(), &'static str> {
        let mut head = [0; HEADER];
        let mut at = spot.offset;
        let mut to = &mut head[..];
        while !to.is_empty() {
            let bytes = self.bytes(at, to.len())?;
            let (here, rest) = to.split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            at += here.len() as u64;
            to = rest;
        }
        let header =
            packs::expected(&head, spot, address, sort).ok_or("a damaged record header")?;
        if header.is_dead {
            return Err("a dead record in a pack that has none");
        }
        self.payload(&header, at, address, sort)
    }

    fn payload(
        &mut self,
        header: &Header,
        mut at: u64,
        address: Address,
        sort: Sort,
    ) -> Result<(), &'static str> {
        let mut sum = header.sum();
        let mut hash = blake3::Hasher::new();
        let mut left = header.length;
        while left > 0 {
            let bytes = self.bytes(at, usize::try_from(left).unwrap_or(usize::MAX))?;
            sum.update(bytes);
            if sort == Sort::Boxes {
                hash.update(bytes);
            }
            at += bytes.len() as u64;
            left -= bytes.len() as u64;
        }
        if !sum.holds() {
            return Err("a record with a wrong checksum");
        }
        if sort == Sort::Boxes && hash.finalize().as_bytes() != address.as_bytes() {
            return Err("a box that is not the one of its address");
        }
        Ok(())
    }

    /// Bytes from `at` on: at least one, at most `most`.
    fn bytes(&mut self, at: u64, most: usize) -> Result<&[u8], &'static str> {
        let is_here = (self.start..self.start + self.filled as u64).contains(&at);
        if !is_here {
            self.fill(at).map_err(|_| "a part that cannot be read")?;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let here = self.piece.get(from..self.filled).unwrap_or_default();
        if here.is_empty() {
            return Err("a record longer than its pack");
        }
        Ok(&here[..here.len().min(most)])
    }

    fn fill(&mut self, at: u64) -> io::Result<()> {
        self.start = at / DIRECT as u64 * DIRECT as u64;
        self.filled = 0;
        // Direct reads end on whole blocks; behind the last one is no record, but perhaps a table.
        let rest = usize::try_from(self.length.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let whole = (rest / DIRECT * DIRECT).min(PIECE);
        if whole == 0 {
            self.file.go_direct(false);
        }
        let most = if whole == 0 { rest } else { whole };
        self.filled = match self.file.read_at(&mut self.piece[..most], self.start) {
            Ok(read) => read,
            // Perhaps only direct reading is refused, or one sector of many.
            Err(_) => {
                self.file.go_direct(false);
                self.file.read_at(&mut self.piece[..CRUMB], self.start)?
            }
        };
        Ok(())
    }
}
