//! Content that is to be stored: read where it lies, a part at a time.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Content of which every part can be read at any time, by several threads at once.
pub trait Source: Sync {
    /// Bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Fills `bytes` from `offset` on: copies, so that nobody can change them afterwards.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the content ends before; what the system says.
    fn copy_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Source for fs::File {
    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn copy_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }
}

impl Source for &[u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn copy_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let part = usize::try_from(offset).ok().and_then(|at| self.get(at..)?.get(..bytes.len()));
        bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
