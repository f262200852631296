//! A unit of chunks: sealed where they will be written from (vault-format §2).
//!
//! One aligned buffer of about 1 MiB, used again and again. A body is read into its place, sealed
//! there and gets its header there (and is moved forward, if one before it was left out); the unit
//! is then written in one piece, past the page cache where the file system takes that.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags};
use zeroize::Zeroize as _;

use super::Error;
use super::disk::DIRECT;
use super::frame::{GRAIN, HEADER, Header, Type};
use super::packs::UNIT;
use crate::ids::Address;
use crate::vault::TAG;
use crate::vault::chunk::{self, Base, ChunkKey, Hashed, RECORD};

/// Full chunks that a unit has room for. Disks like writes of 1 MiB, several at a time, better than
/// larger ones (docs/benchmarks.md).
pub(super) const CHUNKS: usize = 4;
/// Bytes of a unit's buffer: a multiple of [`UNIT`].
pub(super) const ROOM: usize =
    (CHUNKS * RECORD.next_multiple_of(GRAIN as usize)).next_multiple_of(UNIT as usize);

const _: () = assert!(chunk::HEADROOM == HEADER && (UNIT as usize).is_multiple_of(DIRECT));

/// A record in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) address: Address,
    /// Offset of its header in the unit.
    pub(super) offset: usize,
    /// Bytes of payload.
    pub(super) length: usize,
}

/// Several bodies, sealed.
pub(super) struct Sealed {
    /// Of all of them, in order.
    pub(super) keys: Vec<ChunkKey>,
    /// Of those that were added.
    pub(super) added: Vec<Address>,
}

/// Records side by side, ready to be written.
pub(super) struct Unit {
    buffer: Aligned,
    end: usize,
    rows: Vec<Row>,
}

impl Unit {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self { buffer: Aligned::new(ROOM)?, end: 0, rows: Vec::with_capacity(CHUNKS) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a record with a body of `length` bytes still fits.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.end.next_multiple_of(GRAIN as usize) + HEADER + length + TAG <= ROOM
    }

    /// The most that records with bodies of `length` bytes together take, `count` of them.
    pub(super) fn needed(count: u64, length: u64) -> u64 {
        let around = (GRAIN - 1) + (HEADER + TAG) as u64;
        count.saturating_mul(around).saturating_add(length)
    }

    /// Bytes that are still free.
    pub(super) fn room(&self) -> u64 {
        (ROOM - self.end) as u64
    }

    /// Seals one chunk behind the others. `fill` is given `most` bytes of room for the body, puts
    /// it there with its padding, and says how long it is; nothing is added if that is 0.
    ///
    /// # Errors
    /// What `fill` says; what it left is wiped then.
    pub(super) fn seal<E>(
        &mut self,
        base: &Base,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Option<(ChunkKey, Address)>, E> {
        let start = self.end.next_multiple_of(GRAIN as usize);
        self.buffer[self.end..start].fill(0);
        let body = start + HEADER;
        let room = &mut self.buffer[body..body + most];
        let length = match fill(room) {
            Ok(0) => return Ok(None),
            Ok(length) => length,
            Err(error) => {
                room.zeroize();
                return Err(error);
            }
        };
        let end = body + length + TAG;
        let record = &mut self.buffer[start..end];
        let key = chunk::seal_in_place(base, record);
        let address = key.address();
        self.put_header(start, end, address);
        Ok(Some((key, address)))
    }

    /// Puts a chunk behind the others that somebody else sealed: `fill` is given room for its
    /// ciphertext and tag, `length` bytes, all of which it fills. There must be room.
    ///
    /// # Errors
    /// What `fill` says; nothing is added then.
    pub(super) fn receive<E>(
        &mut self,
        address: Address,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.end.next_multiple_of(GRAIN as usize);
        self.buffer[self.end..start].fill(0);
        let payload = start + HEADER;
        fill(&mut self.buffer[payload..payload + length])?;
        self.put_header(start, payload + length, address);
        Ok(())
    }

    /// Seals several chunks behind the others, if `wants` them once it knows what opens them. `fill` is
    /// given the number of a body and its room, all of which it fills; those that `is_there` knows are
    /// left out. There must be room.
    ///
    /// # Errors
    /// What `fill` says. What is not sealed is wiped.
    pub(super) fn seal_if<E>(
        &mut self,
        base: &Base,
        lengths: &[usize],
        fill: impl Fn(usize, &mut [u8]) -> Result<(), E>,
        wants: &mut dyn FnMut(&[ChunkKey]) -> bool,
        is_there: &dyn Fn(&Address) -> bool,
    ) -> Result<Option<Sealed>, E> {
        let begin = self.end.next_multiple_of(GRAIN as usize);
        self.buffer[self.end..begin].fill(0);
        let mut starts = Vec::with_capacity(lengths.len());
        let mut records = Vec::with_capacity(lengths.len());
        let mut rest = &mut self.buffer[begin..];
        let mut start = begin;
        for length in lengths {
            let end = start + HEADER + length + TAG;
            let next = end.next_multiple_of(GRAIN as usize);
            let (record, behind) = rest.split_at_mut(next - start);
            starts.push(start);
            records.push(&mut record[..end - start]);
            (rest, start) = (behind, next);
        }
        let end = start;
        let mut filled = Ok(());
        for (number, record) in records.iter_mut().enumerate() {
            let body = HEADER..record.len() - TAG;
            filled = filled.and_then(|()| fill(number, &mut record[body]));
        }
        let hashed: Vec<Hashed<'_>> = match filled {
            Ok(()) => records.into_iter().map(|record| Hashed::of(base, record)).collect(),
            Err(_) => Vec::new(),
        };
        let keys: Vec<ChunkKey> = hashed.iter().map(|hashed| hashed.key().clone()).collect();
        if filled.is_err() || !wants(&keys) {
            self.buffer[begin..end].zeroize();
            return filled.map(|()| None);
        }
        let keys: Vec<ChunkKey> = hashed.into_iter().map(Hashed::seal).collect();
        let mut added = Vec::with_capacity(keys.len());
        for ((key, from), length) in keys.iter().zip(starts).zip(lengths) {
            let address = key.address();
            if added.contains(&address) || is_there(&address) {
                continue;
            }
            // Behind the last that was kept.
            let start = self.end.next_multiple_of(GRAIN as usize);
            self.buffer[self.end..start].fill(0);
            let whole = HEADER + length + TAG;
            if start < from {
                self.buffer.copy_within(from..from + whole, start);
            }
            self.put_header(start, start + whole, address);
            added.push(address);
        }
        Ok(Some(Sealed { keys, added }))
    }

    /// Fills in the header of a sealed record, which is the last one now.
    fn put_header(&mut self, start: usize, end: usize, address: Address) {
        let (header, payload) = self.buffer[start..end].split_at_mut(HEADER);
        header.copy_from_slice(&Header::of(Type::Chunk, address.as_bytes(), payload));
        self.rows.push(Row { address, offset: start, length: payload.len() });
        self.end = end;
    }

    /// Takes back what was sealed last.
    pub(super) fn take_back(&mut self) {
        if let Some(row) = self.rows.pop() {
            self.end = row.offset;
        }
    }

    /// The unit as it is written: filled with zeros to a multiple of [`UNIT`].
    pub(super) fn bytes(&mut self) -> &[u8] {
        let end = self.end.next_multiple_of(UNIT as usize);
        self.buffer[self.end..end].fill(0);
        &self.buffer[..end]
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Makes room for others. What is left in the buffer was sealed.
    pub(super) fn clear(&mut self) {
        self.end = 0;
        self.rows.clear();
    }
}

/// Memory of our own that starts on a page: what a write past the page cache needs. On huge pages
/// where the kernel gives them, which spares it to pin hundreds of pages for each write. Left out of
/// core dumps, because bodies are read into it before they are sealed there.
pub(super) struct Aligned {
    mapping: NonNull<u8>,
    mapped: usize,
    /// Where the memory starts in the mapping.
    offset: usize,
    length: usize,
}

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

// SAFETY: `Aligned` owns its mapping alone, like `Box<[u8]>` does.
#[allow(unsafe_code, reason = "pages of our own, so that they are aligned")]
unsafe impl Send for Aligned {}

impl Aligned {
    /// `length` zero bytes; the kernel gives the pages as they are touched.
    #[allow(unsafe_code, reason = "pages of our own, so that they are aligned")]
    pub(super) fn new(length: usize) -> Result<Self, Error> {
        let mapped = length.next_multiple_of(HUGE) + HUGE;
        // SAFETY: a fresh private mapping that the kernel places touches no memory of others; the
        // advice only says who sees it and how large its pages are.
        let raw = unsafe {
            let raw = rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
            .map_err(|e| Error::io("there is no memory for a buffer")(e.into()))?;
            for advice in [Advice::LinuxDontDump, Advice::LinuxHugepage] {
                let _ = rustix::mm::madvise(raw, mapped, advice);
            }
            raw
        };
        let mapping = NonNull::new(raw.cast::<u8>()).ok_or(Error::Dead)?;
        let offset = mapping.addr().get().next_multiple_of(HUGE) - mapping.addr().get();
        Ok(Self { mapping, mapped, offset, length })
    }
}

impl Deref for Aligned {
    type Target = [u8];

    #[allow(unsafe_code, reason = "pages of our own, so that they are aligned")]
    fn deref(&self) -> &[u8] {
        // SAFETY: mapped in `new` with room for this length behind the offset, initialised by the
        // kernel, unmapped only in `drop`.
        unsafe { std::slice::from_raw_parts(self.mapping.add(self.offset).as_ptr(), self.length) }
    }
}

impl DerefMut for Aligned {
    #[allow(unsafe_code, reason = "pages of our own, so that they are aligned")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(self.mapping.add(self.offset).as_ptr(), self.length)
        }
    }
}

impl Drop for Aligned {
    #[allow(unsafe_code, reason = "pages of our own, so that they are aligned")]
    fn drop(&mut self) {
        // SAFETY: the mapping is still ours and nothing borrows from it.
        let _ = unsafe { rustix::mm::munmap(self.mapping.as_ptr().cast(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::chunk::BODY;

    fn add(unit: &mut Unit, base: &Base, content: &[u8], length: usize) -> (ChunkKey, Address) {
        let fill = |room: &mut [u8]| {
            room.fill(0);
            room[..content.len()].copy_from_slice(content);
            Ok::<_, ()>(length)
        };
        unit.seal(base, BODY, fill).expect("filled").expect("added")
    }

    #[test]
    fn records_of_a_unit_stand_where_their_rows_say_and_open() {
        let (base, mut unit) = (Base::fresh(), Unit::new().expect("memory"));
        // Used before: nothing of that may be left between the records.
        for _ in 0..CHUNKS {
            assert!(unit.has_room(BODY));
            add(&mut unit, &base, &[0xee; BODY], BODY);
        }
        assert!(!unit.has_room(BODY));
        unit.clear();
        let keys: Vec<_> =
            [(b"one".as_slice(), 4096), (b"two".as_slice(), 8192), (&[7; BODY], BODY)]
                .into_iter()
                .map(|(content, length)| (add(&mut unit, &base, content, length), content))
                .collect();
        let rows = unit.rows().to_vec();
        let bytes = unit.bytes();
        assert!(bytes.len().is_multiple_of(UNIT as usize));
        assert!(bytes.as_ptr().addr().is_multiple_of(UNIT as usize));
        let mut end = 0;
        for (row, ((key, address), content)) in rows.iter().zip(&keys) {
            assert!(row.offset.is_multiple_of(GRAIN as usize));
            assert!(bytes[end..row.offset].iter().all(|&byte| byte == 0));
            end = row.offset + HEADER + row.length;
            let (head, payload) = bytes[row.offset..end].split_first_chunk().expect("a header");
            let header = Header::parse(head).expect("a true header");
            assert_eq!((header.kind, header.address), (Type::Chunk, *address.as_bytes()));
            assert!(header.holds(payload));
            let mut payload = payload.to_vec();
            let body = chunk::open(key, *address, &mut payload).expect("opens");
            assert!(body.starts_with(content));
        }
        assert!(bytes[end..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn what_is_taken_back_or_not_filled_leaves_no_trace() {
        let (base, mut unit) = (Base::fresh(), Unit::new().expect("memory"));
        add(&mut unit, &base, b"kept", 4096);
        let before = unit.bytes().to_vec();
        add(&mut unit, &base, b"not kept", 4096);
        unit.take_back();
        assert_eq!(
            unit.seal(&base, BODY, |_| Ok::<_, ()>(0)).map(|added| added.is_some()),
            Ok(false)
        );
        let failed = unit.seal(&base, BODY, |room| {
            room.fill(0x55);
            Err("no")
        });
        assert_eq!(failed.err(), Some("no"));
        let is_left = unit.buffer.windows(16).any(|window| window == [0x55; 16]);
        assert!(!is_left, "plaintext stays in the buffer");
        assert_eq!(unit.bytes(), before);
        assert_eq!(unit.rows().len(), 1);
    }

    #[test]
    fn content_is_sealed_once_it_is_wanted_and_what_is_there_leaves_no_gap() {
        let (base, mut unit) = (Base::fresh(), Unit::new().expect("memory"));
        add(&mut unit, &base, b"before", 4096);
        let (before, rows) = (unit.bytes().to_vec(), unit.rows().len());
        let lengths = [BODY, 8192, 4096];
        let fill = |number: usize, body: &mut [u8]| {
            body.fill(0x50 + number as u8);
            Ok::<_, ()>(())
        };
        let mut seen = Vec::new();
        let no = &mut |keys: &[ChunkKey]| {
            seen = keys.to_vec();
            false
        };
        assert!(unit.seal_if(&base, &lengths, fill, no, &|_| false).expect("filled").is_none());
        let is_plain = |unit: &Unit| {
            (0..3).any(|n| unit.buffer.windows(16).any(|window| window == [0x50 + n; 16]))
        };
        assert_eq!((unit.rows().len(), is_plain(&unit)), (rows, false));
        assert_eq!(unit.bytes(), before);
        let bad = |number: usize, body: &mut [u8]| {
            body.fill(0x50);
            if number == 1 { Err("no") } else { Ok(()) }
        };
        let failed = unit.seal_if(&base, &lengths, bad, &mut |_| true, &|_| false);
        assert_eq!((failed.err(), is_plain(&unit)), (Some("no"), false));
        assert_eq!(unit.bytes(), before);

        let asked = std::cell::Cell::new(0);
        let is_second = |_: &Address| asked.replace(asked.get() + 1) == 1;
        let sealed = unit.seal_if(&base, &lengths, fill, &mut |_| true, &is_second);
        let Sealed { keys, added } = sealed.expect("filled").expect("wanted");
        assert!(keys == seen && !is_plain(&unit));
        assert_eq!(added, [keys[0].address(), keys[2].address()]);
        let rows = unit.rows().to_vec();
        let bytes = unit.bytes().to_vec();
        let end = |row: &Row| (row.offset + HEADER + row.length).next_multiple_of(GRAIN as usize);
        assert_eq!((end(&rows[0]), end(&rows[1])), (rows[1].offset, rows[2].offset));
        for (row, (key, number)) in rows[1..].iter().zip([(&keys[0], 0u8), (&keys[2], 2)]) {
            let mut payload = bytes[row.offset + HEADER..][..row.length].to_vec();
            let body = chunk::open(key, row.address, &mut payload).expect("opens");
            assert!(body.iter().all(|&byte| byte == 0x50 + number));
        }
    }
}
