//! The keys of boxes on their way into a backup: an age file to the backup keys (vault-format §11).
//!
//! ```text
//! # kluis secret: box keys\n ‖ vault id (16) ‖ entries of the ledger (8)
//! then for each slot: slot id (16) ‖ minute (8) ‖ key (32)
//! ```
//!
//! Written and read row by row: in clear they are in memory only, a few at a time. age itself tells a
//! file that was cut off from a whole one.

use std::io::{self, Read, Write};

use age::stream::{StreamReader, StreamWriter};
use zeroize::{Zeroize as _, Zeroizing};

use super::NotForThisKey;
use super::roster::Roster;
use super::staff::StaffKey;
use crate::ids::{SlotId, VaultId};

const HEADER: &[u8] = b"# kluis secret: box keys\n";
const ROW: usize = 16 + 8 + 32;
/// Rows that are handed to age at once.
const ROWS_AT_ONCE: usize = 1024;

/// What a file of box keys is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The vault.
    pub vault: VaultId,
    /// Entries of the ledger that it belongs to.
    pub entries: u64,
}

/// Writes a file of box keys.
pub struct Sealer<W: Write> {
    writer: StreamWriter<W>,
    rows: Zeroizing<Vec<u8>>,
}

impl<W: Write> Sealer<W> {
    /// Begins a file to every backup key of `roster`.
    ///
    /// # Errors
    /// What `out` says.
    pub fn begin(roster: &Roster, about: About, out: W) -> io::Result<Self> {
        let recipients = roster.backups.iter().map(|backup| backup.recipient.for_age());
        let encryptor = age::Encryptor::with_recipients(recipients)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut writer = encryptor.wrap_output(out)?;
        writer.write_all(HEADER)?;
        writer.write_all(about.vault.as_bytes())?;
        writer.write_all(&about.entries.to_le_bytes())?;
        Ok(Self { writer, rows: Zeroizing::new(Vec::with_capacity(ROWS_AT_ONCE * ROW)) })
    }

    /// Adds a key.
    ///
    /// # Errors
    /// What the file says.
    pub fn put(&mut self, slot: SlotId, minute: u64, key: &[u8; 32]) -> io::Result<()> {
        self.rows.extend_from_slice(slot.as_bytes());
        self.rows.extend_from_slice(&minute.to_le_bytes());
        self.rows.extend_from_slice(key);
        if self.rows.len() >= ROWS_AT_ONCE * ROW { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.writer.write_all(&self.rows);
        // Empty, and its room wiped.
        self.rows.zeroize();
        written
    }

    /// Ends the file; gives what it was written to.
    ///
    /// # Errors
    /// What the file says.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.writer.finish()
    }
}

/// Reads a file of box keys.
pub struct Opened<R: Read> {
    reader: StreamReader<R>,
    /// What it is about.
    pub about: About,
}

/// One key of a file.
pub struct Row {
    /// Its slot.
    pub slot: SlotId,
    /// When the slot was added.
    pub minute: u64,
    /// The key.
    pub key: Zeroizing<[u8; 32]>,
}

impl<R: Read> Opened<R> {
    /// Begins to read a file with a backup key.
    ///
    /// # Errors
    /// [`NotForThisKey`], also for a damaged file and one that holds something else.
    pub fn begin(file: R, key: &StaffKey) -> Result<Self, NotForThisKey> {
        let decryptor = age::Decryptor::new(file).map_err(|_| NotForThisKey)?;
        let mut reader = key.read(decryptor)?;
        let mut head = [0; HEADER.len() + 16 + 8];
        reader.read_exact(&mut head).map_err(|_| NotForThisKey)?;
        let rest = head.strip_prefix(HEADER).ok_or(NotForThisKey)?;
        let (vault, entries) = rest.split_at(16);
        let about = About {
            vault: VaultId::new(vault.try_into().expect("16 bytes")),
            entries: u64::from_le_bytes(entries.try_into().expect("8 bytes")),
        };
        Ok(Self { reader, about })
    }

    /// The next key; nothing at the end.
    ///
    /// # Errors
    /// What the file says: damage, or a file that was cut off.
    pub fn next_row(&mut self) -> io::Result<Option<Row>> {
        let mut row = Zeroizing::new([0; ROW]);
        let mut length = 0;
        while length < ROW {
            match self.reader.read(&mut row[length..])? {
                0 if length == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => length += read,
            }
        }
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&row[24..]);
        Ok(Some(Row {
            slot: SlotId::new(row[..16].try_into().expect("16 bytes")),
            minute: u64::from_le_bytes(row[16..24].try_into().expect("8 bytes")),
            key,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::random;
    use crate::keys::roster::tests::sample;

    fn written(roster: &Roster, about: About, keys: &[(SlotId, u64, [u8; 32])]) -> Vec<u8> {
        let mut sealer = Sealer::begin(roster, about, Vec::new()).expect("begins");
        for (slot, minute, key) in keys {
            sealer.put(*slot, *minute, key).expect("takes it");
        }
        sealer.finish().expect("ends")
    }

    type Read = (About, Vec<(SlotId, u64, [u8; 32])>);

    fn read(file: &[u8], key: &StaffKey) -> Option<Read> {
        let mut opened = Opened::begin(file, key).ok()?;
        let mut keys = Vec::new();
        while let Some(row) = opened.next_row().ok()? {
            keys.push((row.slot, row.minute, *row.key));
        }
        Some((opened.about, keys))
    }

    #[test]
    fn every_backup_key_reads_all_rows_and_no_other_key_reads_one() {
        let (roster, keys) = sample();
        let about = About { vault: VaultId::random(), entries: 77 };
        for count in [0, 1, ROWS_AT_ONCE, 3 * ROWS_AT_ONCE + 5] {
            let rows: Vec<_> = (0..count as u64).map(|n| (SlotId::random(), n, random())).collect();
            let file = written(&roster, about, &rows);
            assert_eq!(read(&file, &keys.backup), Some((about, rows)));
            for other in [&keys.lotte, &keys.dpo, &keys.auditor, &keys.recovery] {
                assert!(read(&file, other).is_none());
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_off_or_changed_is_refused() {
        let (roster, keys) = sample();
        let about = About { vault: VaultId::random(), entries: 1 };
        let rows: Vec<_> = (0..9).map(|n| (SlotId::random(), n, random())).collect();
        let file = written(&roster, about, &rows);
        for length in 0..file.len() {
            assert!(read(&file[..length], &keys.backup).is_none(), "cut at {length}");
        }
        for at in (0..file.len()).step_by(7) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(read(&changed, &keys.backup).is_none(), "byte {at}");
        }
    }
}
