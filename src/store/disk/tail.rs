//! The growing end of the ledger or the cabinet.

use super::{Durable, File};
use crate::store::Error;
use crate::store::frame::SECTOR;

/// Appends groups of frames, each on a fresh sector, and takes back what was not made durable.
pub(in crate::store) struct Tail {
    file: File,
    durable: Durable,
    /// Where the last frame that counts ends.
    end: u64,
}

impl Tail {
    pub(in crate::store) fn new(file: File, durable: Durable, end: u64) -> Self {
        Self { file, durable, end }
    }

    /// Where the next group starts: on a sector of its own.
    pub(in crate::store) fn start(&self) -> u64 {
        self.end.next_multiple_of(SECTOR)
    }

    pub(in crate::store) fn end(&self) -> u64 {
        self.end
    }

    /// Appends a group at [`Tail::start`]. If there is no room, the file is as before.
    pub(in crate::store) fn append(&mut self, group: &[u8]) -> Result<(), Error> {
        let start = self.start();
        match self.file.write_all_at(group, start).map_err(Error::write("an append failed")) {
            Ok(()) => {
                self.end = start + group.len() as u64;
                Ok(())
            }
            Err(Error::Full) => {
                self.cut(self.end)?;
                Err(Error::Full)
            }
            Err(e) => Err(e),
        }
    }

    /// Takes back what was appended from `end` on and not yet made durable; durably, or a crash
    /// could bring back a frame that was refused.
    pub(in crate::store) fn cut(&mut self, end: u64) -> Result<(), Error> {
        self.file.set_len(end).map_err(Error::io("a file cannot be cut"))?;
        self.end = end;
        self.sync()
    }

    /// Makes sure of the last group, which starts at `from`: an earlier process may have written it
    /// and not made it durable. If its barrier failed, the system takes what it lost for clean, and
    /// a barrier alone would keep nothing; so the same bytes are written once more. The length is set
    /// once more, too: it may be that of a torn end that was cut off.
    pub(in crate::store) fn renew(&self, from: u64, group: &[u8]) -> Result<(), Error> {
        self.file.set_len(self.end).map_err(Error::io("a file cannot be renewed"))?;
        match self.file.write_all_at(group, from).map_err(Error::write("a file cannot be renewed"))
        {
            // A file system that needs room for this has not lost it either.
            Ok(()) | Err(Error::Full) => self.sync(),
            Err(error) => Err(error),
        }
    }

    pub(in crate::store) fn sync(&self) -> Result<(), Error> {
        self.file.sync(self.durable)
    }
}
