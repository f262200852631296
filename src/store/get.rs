//! Reads content of any size back, on every core, in constant memory.
//!
//! Each worker reads a record in one call into its own buffer, checks header and checksum there,
//! and `vault::content` opens it in place. The order is kept by `vault::content`.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Error;
use super::disk::File;
use super::frame::HEADER;
use super::packs::{PackId, Packs, ReadError, Sort};
use super::shared::Shared;
use crate::ids::Address;
use crate::vault::chunk::ChunkKey;
use crate::vault::{self, content};

/// Why content was not given.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// It is not there, or not what was sealed.
    #[error(transparent)]
    Store(#[from] Error),
    /// Who takes it does not.
    #[error("the content cannot be written: {0}")]
    Sink(io::Error),
}

impl From<vault::Error> for GetError {
    fn from(error: vault::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Gives the content under `keys` to `sink`, in order.
pub(super) fn get(
    shared: &Shared,
    keys: &[ChunkKey],
    length: u64,
    workers: NonZeroUsize,
    sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
) -> Result<(), GetError> {
    let (next, files) = (AtomicUsize::new(0), Files::default());
    let fetch = |buffer: &mut [u8]| {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(key) = keys.get(index) else { return Ok(None) };
        Ok(Some((index, read(shared, &files, key.address(), buffer)?)))
    };
    let mut sink = |part: &[u8]| sink(part).map_err(GetError::Sink);
    content::open(keys, length, workers, &fetch, &mut sink)
}

/// Reads a sealed chunk into `buffer`, of [`RECORD`](crate::vault::chunk::RECORD) bytes; says where it
/// lies there.
pub(super) fn read(
    shared: &Shared,
    files: &Files,
    address: Address,
    buffer: &mut [u8],
) -> Result<Range<usize>, Error> {
    let length = shared.find(address, |spot| {
        let file = files.open(&shared.packs, spot.pack)?;
        shared.packs.read_into(&file, spot, (address, Sort::Chunks), buffer)
    })?;
    Ok(HEADER..HEADER + length)
}

/// The packs that were read last, open: neighbours in content are neighbours in a pack.
#[derive(Default)]
pub struct Files(Mutex<Vec<(PackId, Arc<File>)>>);

/// Packs that are kept open: a worker each may be in another.
const KEPT_OPEN: usize = 8;

impl Files {
    pub(super) fn open(&self, packs: &Packs, pack: PackId) -> Result<Arc<File>, ReadError> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = files.iter().find(|(id, _)| *id == pack) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(packs.open_record(pack)?);
        if files.len() == KEPT_OPEN {
            files.remove(0);
        }
        files.push((pack, Arc::clone(&file)));
        Ok(file)
    }
}
