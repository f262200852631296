//! Content on its way to new keys: chunks as they lie in the vault go out to a reader, and come back
//! sealed anew (design §8).
//!
//! What comes back is written ahead of the commit that names it, as an import is: it counts for nothing
//! before the boxes that refer to it are kept, and is removed if they never are. The server cannot tell
//! what it is given from other bytes of that length; the reader who opens it can.

mod window;

use std::io;
use std::sync::{Arc, Mutex};

pub use window::{AT_ONCE, SLOTS, Window};

use super::{Casebook, Error, lock};
use crate::ids::{Address, StaffId};
use crate::ledger::entry::{Entry, Fact};
use crate::store::{self, Batch, Files, PutError, Repeats, Staged, Staging};
use crate::vault::chunk::RECORD;

/// Content that one connection seals anew. There is one at a time.
pub struct Exchange {
    at_work: Mutex<AtWork>,
    window: Window,
}

struct AtWork {
    staging: Staging<'static>,
    files: Files,
    /// For one record.
    buffer: Vec<u8>,
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
                buffer: vec![0; RECORD],
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
        let AtWork { casebook, files, buffer, .. } = &mut *lock(&self.at_work);
        let (mut lengths, mut bytes) = (Vec::with_capacity(addresses.len()), Vec::new());
        for (i, address) in addresses.iter().enumerate() {
            let record = match casebook.store().read_chunk_into(files, address, buffer) {
                Ok(place) => &buffer[place],
                Err(error @ (store::Error::Io { .. } | store::Error::Dead)) => {
                    return Err(error.into());
                }
                Err(_) => &[],
            };
            lengths.push(u32::try_from(record.len()).unwrap_or(0));
            match slot {
                Some(slot) => self.window.write(slot.saturating_add(i), record).map_err(misplaced)?,
                None => bytes.extend_from_slice(record),
            }
        }
        Ok((lengths, bytes))
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
        let mut writer = at_work.staging.writer();
        let mut bytes = bytes;
        for (i, (address, length)) in chunks.iter().enumerate() {
            let length = *length as usize;
            // It did not open there.
            if length == 0 {
                continue;
            }
            let fill = |room: &mut [u8]| match slot {
                Some(slot) => self.window.read(slot.saturating_add(i), room),
                None => io::Read::read_exact(&mut bytes, room),
            };
            writer.receive(*address, length, fill).map_err(|error| match error {
                PutError::Source(error) => misplaced(error),
                PutError::Store(error) => error.into(),
            })?;
        }
        writer.flush()?;
        Ok(chunks.len() as u64)
    }

    /// Whether a chunk was taken.
    pub(super) fn holds(&self, address: &Address) -> bool {
        lock(&self.at_work).staging.holds(address)
    }

    /// What was taken since the last call, for the batch whose boxes refer to it.
    pub(super) fn taken(&self) -> Result<Option<Staged>, Error> {
        let staging = &mut lock(&self.at_work).staging;
        Ok(if staging.bytes() > 0 { Some(staging.take()?) } else { None })
    }
}

/// Nothing else can go wrong with the window.
fn misplaced(_: io::Error) -> Error {
    Error::Malformed("chunks where no place is")
}
