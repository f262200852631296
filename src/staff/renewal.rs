//! Content under new keys: chunks come out of the vault, are opened, checked and sealed anew in
//! memory of this process, and go back.
//!
//! ```text
//! server   fetches k+1 · takes k−1   fetches k+2 · takes k   …
//! here     seals k anew              seals k+1 anew          …
//! ```
//!
//! So many chunks at a time, on every core. They go through memory that both share (see
//! `casebook::exchange`), only as ciphertext; over a socket that is forwarded from another machine,
//! through the socket.

use std::collections::HashSet;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use zeroize::{Zeroize as _, Zeroizing};

use super::client::{Error, accepted};
use crate::casebook::exchange::{AT_ONCE, SLOTS, Window};
use crate::casebook::protocol::{self, Request, Response};
use crate::ids::Address;
use crate::secret::{Secret, clear_stack};
use crate::vault::TAG;
use crate::vault::chunk::{self, BODY, ChunkKey};

/// Bytes of a full chunk.
const CHUNK: usize = BODY + TAG;

/// Seals content anew, for one connection.
pub(super) struct Renewal {
    /// What the new keys derive from, beside the old ones. Nobody sees it again.
    secret: Secret<[u8; 32]>,
    window: Option<Window>,
    /// What was sealed anew so far, by its new address: one chunk may be in many items.
    made: HashSet<Address>,
    workers: Vec<Worker>,
}

/// A thread's buffer, for one chunk.
struct Worker(Zeroizing<Vec<u8>>);

/// Chunks of one request, and where they are.
struct Lot<'k> {
    keys: &'k [&'k ChunkKey],
    /// The place of the first in the window.
    slot: usize,
    /// The bytes of each; 0 of one that cannot be read.
    lengths: Vec<usize>,
    /// Without a window: one behind the other.
    bytes: Vec<u8>,
}

impl Renewal {
    /// Begins on a connection that is logged in.
    ///
    /// # Errors
    /// What the server says: one reader at a time.
    pub(super) fn begin(stream: &mut UnixStream) -> Result<Self, Error> {
        protocol::write(stream, &Request::Exchange)?;
        let Response::Exchange = accepted(protocol::read(stream)?)? else {
            return Err(Error::Unexpected);
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            secret: Secret::random(),
            window: Window::receive(stream)?,
            made: HashSet::new(),
            workers: (0..cores.min(AT_ONCE)).map(|_| Worker(vec![0; CHUNK].into())).collect(),
        })
    }

    /// What opens a chunk once it is sealed anew.
    pub(super) fn key(&self, old: &ChunkKey) -> ChunkKey {
        old.renewed(&self.secret)
    }

    /// Whether a chunk was sealed anew.
    pub(super) fn has(&self, new: &ChunkKey) -> bool {
        self.made.contains(&new.address())
    }

    /// Seals chunks anew and hands them in; those that were before, or that cannot be read or do not
    /// open, are passed over. `tell` hears how many bytes each lot had.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn seal(
        &mut self,
        stream: &mut UnixStream,
        keys: &[&ChunkKey],
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let mut once = HashSet::new();
        let is_new = |key: &&ChunkKey| {
            let address = self.key(key).address();
            !self.made.contains(&address) && once.insert(address)
        };
        let keys: Vec<&ChunkKey> = keys.iter().copied().filter(is_new).collect();
        let lots: Vec<&[&ChunkKey]> = keys.chunks(AT_ONCE).collect();
        let slot = |number: usize| number * AT_ONCE % SLOTS;
        // What is asked for ahead and what is handed in are answered in the order in which they were sent;
        // neither side ever sends much while the other does.
        for (number, keys) in lots.iter().enumerate().take(2) {
            self.ask_for(stream, keys, slot(number))?;
        }
        let mut next = match lots.first() {
            Some(keys) => Some(self.fetched(stream, keys, slot(0))?),
            None => None,
        };
        for number in 0..lots.len() {
            let lot = next.take().ok_or(Error::Unexpected)?;
            let request = self.sealed_anew(lot)?;
            if number > 0 {
                handed_in(stream)?;
            }
            if let Some(keys) = lots.get(number + 1) {
                next = Some(self.fetched(stream, keys, slot(number + 1))?);
            }
            let Request::Renewed { chunks, .. } = &request else { return Err(Error::Unexpected) };
            let bytes = chunks.iter().map(|(_, length)| u64::from(*length)).sum();
            self.made.extend(
                chunks.iter().filter(|(_, length)| *length > 0).map(|(address, _)| *address),
            );
            protocol::write(stream, &request)?;
            if let Some(keys) = lots.get(number + 2) {
                self.ask_for(stream, keys, slot(number + 2))?;
            }
            tell(bytes);
        }
        if lots.is_empty() { Ok(()) } else { handed_in(stream) }
    }

    fn ask_for(
        &self,
        stream: &mut UnixStream,
        keys: &[&ChunkKey],
        slot: usize,
    ) -> Result<(), Error> {
        let addresses = keys.iter().map(|key| key.address()).collect();
        let slot = self.window.as_ref().map(|_| slot as u32);
        Ok(protocol::write(stream, &Request::Chunks { addresses, slot })?)
    }

    fn fetched<'k>(
        &self,
        stream: &mut UnixStream,
        keys: &'k [&'k ChunkKey],
        slot: usize,
    ) -> Result<Lot<'k>, Error> {
        let Response::Chunks { lengths, bytes } = accepted(protocol::read(stream)?)? else {
            return Err(Error::Unexpected);
        };
        let lengths: Vec<usize> = lengths.into_iter().map(|length| length as usize).collect();
        let is_one = |length: &usize| *length == 0 || chunk::body_in(*length).is_ok();
        let inline = if self.window.is_some() { 0 } else { lengths.iter().sum() };
        if lengths.len() != keys.len() || !lengths.iter().all(is_one) || bytes.len() != inline {
            return Err(Error::Unexpected);
        }
        Ok(Lot { keys, slot, lengths, bytes })
    }

    /// Seals the chunks of a lot anew where they are, on every core.
    fn sealed_anew(&mut self, mut lot: Lot<'_>) -> Result<Request, Error> {
        let Self { secret, window, workers, .. } = self;
        let (secret, window) = (&*secret, window.as_ref());
        let mut rest = &mut lot.bytes[..];
        let mut pieces = Vec::with_capacity(lot.keys.len());
        for (number, (key, length)) in lot.keys.iter().zip(&lot.lengths).enumerate() {
            let inline;
            (inline, rest) = rest.split_at_mut(if window.is_some() { 0 } else { *length });
            pieces.push(Piece { key, length: *length, slot: lot.slot + number, inline });
        }
        let pieces = Mutex::new(pieces.into_iter().enumerate());
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = |worker: &mut Worker| -> Result<Vec<usize>, Error> {
            let mut failed = Vec::new();
            while let Some((number, piece)) = next() {
                if !worker.seal_anew(secret, window, piece)? {
                    failed.push(number);
                }
            }
            clear_stack();
            Ok(failed)
        };
        let failed: Vec<Result<Vec<usize>, Error>> = std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> =
                workers.iter_mut().map(|worker| scope.spawn(move || work(worker))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        for number in failed.into_iter().collect::<Result<Vec<_>, _>>()?.concat() {
            lot.leave_out(number, window.is_none());
        }
        let addresses = lot.keys.iter().map(|key| key.renewed(secret).address());
        let lengths = lot.lengths.iter().map(|length| *length as u32);
        Ok(Request::Renewed {
            chunks: addresses.zip(lengths).collect(),
            slot: window.map(|_| lot.slot as u32),
            bytes: lot.bytes,
        })
    }
}

/// A chunk in its place.
struct Piece<'a> {
    key: &'a ChunkKey,
    length: usize,
    slot: usize,
    inline: &'a mut [u8],
}

impl Worker {
    /// Seals a chunk anew where it is; says whether it was one that opens. What does not open leaves
    /// nothing behind.
    fn seal_anew(
        &mut self,
        secret: &Secret<[u8; 32]>,
        window: Option<&Window>,
        piece: Piece<'_>,
    ) -> Result<bool, Error> {
        let Some(window) = window else {
            let sealed = chunk::reseal_in_place(secret, piece.key, piece.inline);
            if sealed.is_err() {
                piece.inline.zeroize();
            }
            return Ok(sealed.is_ok());
        };
        let buffer = &mut self.0[..piece.length];
        window.read(piece.slot, buffer)?;
        let is_sealed = chunk::reseal_in_place(secret, piece.key, buffer).is_ok();
        if is_sealed {
            window.write(piece.slot, buffer)?;
        }
        Ok(is_sealed)
    }
}

impl Lot<'_> {
    /// Takes out a chunk that did not open.
    fn leave_out(&mut self, number: usize, is_inline: bool) {
        let length = std::mem::take(&mut self.lengths[number]);
        if is_inline {
            let from: usize = self.lengths[..number].iter().sum();
            self.bytes.drain(from..from + length);
        }
    }
}

fn handed_in(stream: &mut UnixStream) -> Result<(), Error> {
    match accepted(protocol::read(stream)?)? {
        Response::Kept { .. } => Ok(()),
        _ => Err(Error::Unexpected),
    }
}
