//! Content on its way to new keys: chunks as they lie in the vault go out to a reader, and come back
//! sealed anew (design §8).
//!
//! What comes back is written ahead of the commit that names it, as an import is: it counts for nothing
//! before the boxes that refer to it are kept, and is removed if they never are. The server cannot tell
//! what it is given from other bytes of that length; the reader who opens it can.

mod window;

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

pub use window::{AT_ONCE, SLOTS, Window};

use super::{Casebook, Error, lock};
use crate::ids::{Address, StaffId};
use crate::ledger::entry::{Entry, Fact};
use crate::store::{self, Batch, Files, PutError, Repeats, Staged, Staging};
use crate::vault::chunk::RECORD;

const MISPLACED: &str = "chunks where no place is";

/// Content that one connection seals anew. There is one at a time.
pub struct Exchange {
    at_work: Mutex<AtWork>,
    window: Window,
}

struct AtWork {
    staging: Staging<'static>,
    files: Files,
    /// A core's, for one record.
    buffers: Vec<Vec<u8>>,
    /// Last: the store outlives the staging.
    casebook: Arc<Casebook>,
}

impl Exchange {
    /// Begins one, for a member who was told of the boxes.
    ///
    /// # Errors
    /// `Renewing` while there is another; what the store and the system say.
    pub(super) fn begin(casebook: &Arc<Casebook>, staff: StaffId) -> Result<Arc<Self>, Error> {
        let mut running = lock(&casebook.renewing);
        if running.strong_count() > 0 {
            return Err(Error::Renewing);
        }
        let cannot = |source| store::Error::Io { what: "there is no memory to share", source };
        let exchange = Arc::new(Self {
            window: Window::new().map_err(cannot)?,
            at_work: Mutex::new(AtWork {
                staging: casebook.store().lasting_staging(Repeats::Skip),
                files: Files::default(),
                buffers: vec![vec![0; RECORD]; cores()],
                casebook: Arc::clone(casebook),
            }),
        });
        let (count, staff) = (Some(casebook.old_boxes()), Some(staff));
        casebook.commit(Batch::of(vec![Entry {
            count,
            staff,
            ..casebook.entry(Fact::ResealPlanned)
        }]))?;
        *running = Arc::downgrade(&exchange);
        Ok(exchange)
    }

    /// The memory that is shared with the reader.
    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// Gives chunks, into the window from `slot` on or as bytes one behind the other. Gives the length
    /// of each: 0 of one that cannot be read.
    pub(super) fn give(
        &self,
        addresses: &[Address],
        slot: Option<usize>,
    ) -> Result<(Vec<u32>, Vec<u8>), Error> {
        let AtWork { casebook, files, buffers, .. } = &mut *lock(&self.at_work);
        let (store, files) = (casebook.store(), &*files);
        let read = |address: &Address, buffer: &mut [u8]| -> Result<Range<usize>, Error> {
            match store.read_chunk_into(files, address, buffer) {
                Ok(place) => Ok(place),
                Err(store::Error::Dead) => Err(store::Error::Dead.into()),
                // A bad sector, too: its box is left, and the others have their turn.
                Err(_) => Ok(0..0),
            }
        };
        let Some(slot) = slot else {
            let (mut lengths, mut bytes) = (Vec::with_capacity(addresses.len()), Vec::new());
            let buffer = buffers.first_mut().expect("there is a core");
            for address in addresses {
                let place = read(address, buffer)?;
                lengths.push(place.len() as u32);
                bytes.extend_from_slice(&buffer[place]);
            }
            return Ok((lengths, bytes));
        };
        let share = share(addresses.len());
        let places = addresses.chunks(share).zip(buffers).zip((slot..).step_by(share));
        let give = |((addresses, buffer), slot): ((&[Address], &mut Vec<u8>), usize)| {
            let one = |(slot, address): (usize, &Address)| {
                let place = read(address, buffer)?;
                self.window.write(slot, &buffer[place.clone()]).map_err(misplaced)?;
                Ok(place.len() as u32)
            };
            (slot..).zip(addresses).map(one).collect::<Result<Vec<u32>, Error>>()
        };
        Ok((at_once(places, give)?.concat(), Vec::new()))
    }

    /// Takes chunks that were sealed anew, from where [`Exchange::give`] puts them; those without length
    /// did not open there.
    pub(super) fn take(
        &self,
        chunks: &[(Address, u32)],
        slot: Option<usize>,
        bytes: &[u8],
    ) -> Result<u64, Error> {
        let at_work = lock(&self.at_work);
        let staging = &at_work.staging;
        // The copies under the old keys go only with the next sweeps: letters need room until then.
        let store = at_work.casebook.store();
        store.expect_room(store.room().reserve)?;
        let share = if slot.is_some() { share(chunks.len()) } else { chunks.len().max(1) };
        let places = chunks.chunks(share).zip((slot.unwrap_or(0)..).step_by(share));
        let take = |(chunks, first): (&[(Address, u32)], usize)| {
            let (mut writer, mut bytes) = (staging.writer(), bytes);
            for (place, (address, length)) in (first..).zip(chunks) {
                let length = *length as usize;
                if length == 0 {
                    continue;
                }
                // Used up even where the chunk is there already.
                let own;
                let inline = if slot.is_none() { length } else { 0 };
                (own, bytes) = bytes.split_at_checked(inline).ok_or(Error::Malformed(MISPLACED))?;
                let fill = |room: &mut [u8]| match slot {
                    Some(_) => self.window.read(place, room),
                    None => io::Read::read_exact(&mut &*own, room),
                };
                let received = writer.receive(*address, length, fill);
                received.map_err(|error| match error {
                    PutError::Source(error) => misplaced(error),
                    PutError::Store(error) => error.into(),
                })?;
            }
            Ok(writer.flush()?)
        };
        at_once(places, take)?;
        Ok(chunks.len() as u64)
    }

    /// Whether a chunk was taken.
    pub(super) fn holds(&self, address: &Address) -> bool {
        lock(&self.at_work).staging.holds(address)
    }

    /// What was taken since the last call, for the batch whose boxes refer to it.
    ///
    /// # Errors
    /// Why something that was taken is not there any more: [`Exchange::holds`] is not to be believed
    /// then, so this is asked even where nothing new came.
    pub(super) fn taken(&self) -> Result<Staged, Error> {
        Ok(lock(&self.at_work).staging.take()?)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many of these one core is given.
fn share(count: usize) -> usize {
    count.div_ceil(cores()).max(1)
}

/// Does the parts on a thread each; the results in order, or the first error.
fn at_once<P: Send, R: Send>(
    parts: impl Iterator<Item = P>,
    work: impl Fn(P) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

/// Nothing else can go wrong with the window.
fn misplaced(_: io::Error) -> Error {
    Error::Malformed(MISPLACED)
}
