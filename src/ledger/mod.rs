//! What happened, and its proof. No files: where the bytes lie is the business of `store`.
//!
//! `entry` is the closed vocabulary of facts, `tree` the Merkle tree over them, `checkpoint` its
//! signed head, `proof` an entry's way to it, `certificate` what somebody gets who was forgotten,
//! `erasures` what names the keys that were dropped. [`audit`] is what an outsider needs: exported
//! entries, a checkpoint, a public key.
//!
//! Layouts: vault-format §6.

pub mod certificate;
pub mod checkpoint;
pub mod entry;
pub mod erasures;
pub mod proof;
pub mod tree;

pub use checkpoint::Checkpoint;
pub use entry::{Entry, Fact};
pub use erasures::Erasures;

use crate::ids::VaultId;

/// What is wrong with a ledger, an entry or a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It says something that only a later version knows.
    #[error("written by a later version of kluis")]
    FutureVersion,
    /// These bytes are no entry.
    #[error("not a ledger entry")]
    NotAnEntry,
    /// It is no checkpoint, or the signature is not of this key.
    #[error("not a checkpoint that this key signed")]
    BadCheckpoint,
    /// It is no erasure note, or the signature is not of this key.
    #[error("not an erasure note that this key signed")]
    BadErasures,
    /// The checkpoints are of two vaults, or the later one covers less than the earlier.
    #[error("the two checkpoints do not belong together")]
    Unrelated,
    /// The entry at this place is unreadable.
    #[error("entry {0} is unreadable")]
    Unreadable(u64),
    /// At this place stands an entry of another number: something was dropped or moved.
    #[error("an entry stands at place {0} that belongs elsewhere")]
    OutOfOrder(u64),
    /// There are fewer entries than the checkpoint covers.
    #[error("the checkpoint covers {covers} entries, here are {found}")]
    Short {
        /// Entries that the checkpoint covers.
        covers: u64,
        /// Entries at hand.
        found: u64,
    },
    /// The first entries are not those that the checkpoint of this size signed: edited, or a fork.
    #[error("the first {0} entries are not those that the checkpoint signed")]
    Differs(u64),
}

/// What an audit found to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The vault.
    pub vault: VaultId,
    /// Entries read.
    pub entries: u64,
    /// Entries that the checkpoint covers: only these are proven.
    pub covered: u64,
}

/// Holds exported entries against a checkpoint, and an earlier one if there is one.
///
/// Finds any edit, drop, reorder or fork of what the checkpoints cover; entries behind the covered
/// ones are only read. `entries` are the exact bytes of each entry, from the first.
///
/// # Errors
/// What does not hold, at the first place where it shows.
pub fn audit<'a>(
    entries: impl IntoIterator<Item = &'a [u8]>,
    checkpoint: &str,
    earlier: Option<&str>,
    public: &[u8; 32],
) -> Result<Audit, Error> {
    let head = Checkpoint::verify(checkpoint, public)?;
    let earlier = earlier.map(|note| Checkpoint::verify(note, public)).transpose()?;
    if earlier.is_some_and(|e| e.vault != head.vault || e.size > head.size) {
        return Err(Error::Unrelated);
    }
    let mut tree = tree::Tree::default();
    let mut misplaced = None;
    for (at, bytes) in (0..).zip(entries) {
        match Entry::from_bytes(bytes) {
            Ok(entry) if entry.seq == at => {}
            Ok(_) => misplaced = misplaced.or(Some(Error::OutOfOrder(at))),
            Err(Error::FutureVersion) => return Err(Error::FutureVersion),
            Err(_) => misplaced = misplaced.or(Some(Error::Unreadable(at))),
        }
        tree.append(tree::leaf(bytes));
    }
    if let Some(error) = misplaced {
        return Err(error);
    }
    for signed in earlier.iter().chain([&head]) {
        match tree.root(signed.size) {
            None => return Err(Error::Short { covers: signed.size, found: tree.size() }),
            Some(root) if root != signed.root => return Err(Error::Differs(signed.size)),
            Some(_) => {}
        }
    }
    Ok(Audit { vault: head.vault, entries: tree.size(), covered: head.size })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [3; 32];

    fn ledger(count: u64) -> Vec<Vec<u8>> {
        (0..count)
            .map(|seq| Entry { seq, ..Entry::new(Fact::Looked, 100 + seq) }.to_bytes())
            .collect()
    }

    fn signed(entries: &[Vec<u8>], size: u64) -> String {
        let mut tree = tree::Tree::default();
        entries.iter().for_each(|bytes| tree.append(tree::leaf(bytes)));
        let root = tree.root(size).expect("within size");
        Checkpoint { vault: VaultId::new([1; 16]), size, root }.sign(&SEED)
    }

    fn check(entries: &[Vec<u8>], head: &str, earlier: Option<&str>) -> Result<Audit, Error> {
        let public = checkpoint::public_key(&SEED);
        audit(entries.iter().map(Vec::as_slice), head, earlier, &public)
    }

    #[test]
    fn an_honest_ledger_passes_and_says_what_is_proven() {
        let entries = ledger(20);
        let (early, head) = (signed(&entries, 7), signed(&entries, 15));
        let audit = check(&entries, &head, Some(&early)).expect("honest");
        assert_eq!((audit.entries, audit.covered), (20, 15));
        assert_eq!(check(&entries, &early, Some(&head)), Err(Error::Unrelated));
    }

    #[test]
    fn an_edit_a_drop_a_reorder_and_a_fork_are_found() {
        let entries = ledger(20);
        let head = signed(&entries, 20);
        let mut edited = entries.clone();
        edited[4] = Entry { seq: 4, ..Entry::new(Fact::Looked, 9) }.to_bytes();
        assert_eq!(check(&edited, &head, None), Err(Error::Differs(20)));

        let mut dropped = entries.clone();
        dropped.remove(4);
        assert_eq!(check(&dropped, &head, None), Err(Error::OutOfOrder(4)));
        assert_eq!(check(&entries[..19], &head, None), Err(Error::Short { covers: 20, found: 19 }));

        let mut swapped = entries.clone();
        swapped.swap(4, 5);
        assert_eq!(check(&swapped, &head, None), Err(Error::OutOfOrder(4)));

        // The forger holds the server's key, too: the new head verifies, the old one tells.
        let forged = signed(&edited, 20);
        assert!(check(&edited, &forged, None).is_ok());
        assert_eq!(check(&edited, &forged, Some(&signed(&entries, 10))), Err(Error::Differs(10)));

        let mut broken = entries.clone();
        broken[3] = vec![0xff];
        assert_eq!(check(&broken, &head, None), Err(Error::Unreadable(3)));
    }
}
