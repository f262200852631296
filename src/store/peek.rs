//! Looks into the ledger beside whatever serves it: no lock, no key, nothing changed.
//!
//! For the doctor, who may come at any time. What is being written while it looks counts as not there.

use std::path::Path;

use super::Error;
use super::disk::Disk;
use super::frame::{Type, Walk};
use super::log::{self, Place};
use crate::ledger::{Entry, Fact};

/// The newest entry of each of these kinds in the vault in `dir`. Looks back until it has them all, to
/// the first entry if there is none of one.
///
/// # Errors
/// There is no vault, the system does not let its files be read, or one before the newest is damaged.
pub fn newest<const N: usize>(dir: &Path, kinds: [Fact; N]) -> Result<[Option<Entry>; N], Error> {
    let place = place(dir)?;
    let mut newest = [const { None }; N];
    for (back, first) in place.files()?.into_iter().rev().enumerate() {
        let mut found = [const { None }; N];
        read(&place, first, back == 0, |entry| {
            if let Some(at) = kinds.iter().position(|kind| *kind == entry.kind) {
                found[at] = Some(entry);
            }
        })?;
        for (newest, found) in newest.iter_mut().zip(found) {
            *newest = newest.take().or(found);
        }
        if newest.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(newest)
}

/// Shows every entry of the vault in `dir`, oldest first.
///
/// # Errors
/// As [`newest`].
pub fn each(dir: &Path, mut see: impl FnMut(&Entry)) -> Result<(), Error> {
    let place = place(dir)?;
    let files = place.files()?;
    let last = files.last().copied();
    for first in files {
        read(&place, first, Some(first) == last, |entry| see(&entry))?;
    }
    Ok(())
}

fn place(dir: &Path) -> Result<Place, Error> {
    let disk = Disk::Machine;
    let dir = dir.join("ledger");
    Ok(Place { vault: log::vault_of(&disk, &dir)?, disk, dir })
}

/// The entries of the file that begins with entry `first`; `is_newest` if it may just be written.
fn read(
    place: &Place,
    first: u64,
    is_newest: bool,
    mut see: impl FnMut(Entry),
) -> Result<(), Error> {
    let bytes = place.disk.read(&place.path(first))?;
    let mut walk = Walk::new(&bytes);
    loop {
        let frame = match walk.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            // Only where something may just be written can the end of a file say nothing.
            Err(_) if is_newest => return Ok(()),
            Err(_) => {
                let what = "a frame that is not whole";
                return Err(Error::damaged(&place.path(first), walk.at(), what));
            }
        };
        if frame.header.kind != Type::Entries {
            continue;
        }
        for bytes in log::decode_frame(frame.payload).unwrap_or_default() {
            if let Ok(entry) = Entry::from_bytes(bytes) {
                see(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VaultId;
    use crate::store::{Batch, Store};

    #[test]
    fn the_newest_of_its_kind_is_found_while_the_vault_is_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let (dir, key) = (folder.path().join("vault"), folder.path().join("key"));
        let looked = || newest(&dir, [Fact::CheckpointSent, Fact::BackupMade]);
        assert!(matches!(looked(), Err(Error::NotAVault)));
        let store = Store::create(&dir, &key, VaultId::random()).expect("is made");
        let enter = |kind, minute| {
            store.commit(Batch::of(vec![Entry::new(kind, minute)])).expect("is entered");
        };
        enter(Fact::VaultCreated, 10);
        assert_eq!(looked().expect("looks"), [None, None]);
        enter(Fact::CheckpointSent, 20);
        enter(Fact::CheckpointSent, 30);
        enter(Fact::LoggedIn, 40);
        let found = looked().expect("looks");
        let sent = found[0].as_ref().expect("is there");
        assert_eq!((sent.minute, sent.seq), (30, 2));
        assert_eq!(found[1], None);
        // The end of a write that is still under way is passed over.
        let file = dir.join("ledger").join(format!("{:016x}.log", 0));
        let whole = std::fs::read(&file).expect("reads");
        std::fs::write(&file, [&whole[..], b"klus\x01\x21"].concat()).expect("writes");
        assert_eq!(looked().expect("looks"), found);
        std::fs::write(&file, whole).expect("writes");
    }
}
