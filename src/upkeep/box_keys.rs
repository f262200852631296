//! The keys of boxes in a backup: sealed to the backup keys, named by when, gone after a week.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};

use super::Error;
use super::backup::{ENTRIES_AT_ONCE, Fold, KEEP_DAYS, Layout, Summary, Vault};
use super::catalog::Sum;
use super::copying::Fresh;
use crate::ids::{Digest, SlotId, random};
use crate::keys::box_keys::{About, Sealer};
use crate::lab::step;
use crate::store::{self, Store};

/// Counts and hashes what is written.
struct Summing<W> {
    to: W,
    length: u64,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.length += written as u64;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Seals the keys of all boxes that are not forgotten to the backup keys: never in clear on a disk.
pub(super) fn seal_keys(
    vault: &Vault<'_>,
    layout: &Layout<'_>,
    fold: &Fold,
    size: u64,
    minute: u64,
    done: &mut Summary,
) -> Result<(String, Sum), Error> {
    let hex = data_encoding::HEXLOWER.encode(&random::<4>());
    // By name the newest comes last, whatever the clock says.
    let name = format!("{size:016}-{minute:010}-{hex}.age");
    let path = layout.keys(&name);
    let fresh = Fresh::begin(&path)?;
    let to = Summing { to: BufWriter::new(&fresh.file), length: 0, hasher: blake3::Hasher::new() };
    let about = About { vault: vault.store.vault(), entries: size };
    let sealer = Sealer::begin(vault.roster, about, to).map_err(Error::at(&path))?;
    let mut absent = HashSet::new();
    let sum =
        put_keys(vault.store, sealer, fold, &mut absent, done).map_err(|error| match error {
            PutError::Store(error) => error.into(),
            PutError::File(error) => Error::at(&path)(error),
        })?;
    step("backup:keys-written");
    fresh.keep("backup:keys-named")?;
    done.missing = missing(vault.store, absent, size)?;
    Ok((name, sum))
}

/// Why keys were not written.
enum PutError {
    Store(store::Error),
    File(io::Error),
}

impl From<io::Error> for PutError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Writes every key that the cabinet has; those that it does not have are `absent`.
fn put_keys<W: Write>(
    store: &Store,
    mut sealer: Sealer<Summing<W>>,
    fold: &Fold,
    absent: &mut HashSet<SlotId>,
    done: &mut Summary,
) -> Result<Sum, PutError> {
    for slot in &fold.live {
        match store.kept_key(*slot) {
            Ok(Some(kept)) => {
                sealer.put(*slot, kept.minute, &kept.key)?;
                done.keys += 1;
            }
            Ok(None) | Err(store::Error::Vault(_)) => _ = absent.insert(*slot),
            Err(error) => return Err(PutError::Store(error)),
        }
    }
    let mut to = sealer.finish()?;
    to.flush()?;
    Ok(Sum { length: to.length, hash: Digest::new(*to.hasher.finalize().as_bytes()) })
}

/// How many of the keys that are not there were not forgotten meanwhile.
fn missing(store: &Store, mut absent: HashSet<SlotId>, size: u64) -> Result<u64, Error> {
    let mut from = size;
    while !absent.is_empty() {
        let entries = store.entries(from, ENTRIES_AT_ONCE)?;
        if entries.is_empty() {
            break;
        }
        from += entries.len() as u64;
        for entry in entries.iter().filter(|entry| entry.empties_slot()) {
            entry.slot.map(|slot| absent.remove(&slot));
        }
    }
    Ok(absent.len() as u64)
}

/// Whether a file of keys has served its time, by the minute in its name.
pub(super) fn is_over(name: &str, minute: u64) -> bool {
    let made = name.split('-').nth(1).and_then(|made| made.parse::<u64>().ok());
    made.is_none_or(|made| made.saturating_add(KEEP_DAYS * 24 * 60) <= minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_over_after_seven_days_and_not_before() {
        let made = 29_000_000;
        let name = format!("{:016}-{made:010}-00aa11bb.age", 42);
        let week = KEEP_DAYS * 24 * 60;
        for (minute, over) in
            [(made, false), (made + week - 1, false), (made + week, true), (made - 9, false)]
        {
            assert_eq!(is_over(&name, minute), over, "{minute}");
        }
        assert!(is_over("something else", made));
    }
}
