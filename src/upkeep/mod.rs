//! What a vault does for itself: the room of what nothing refers to any more is given back, and a copy
//! of it is kept elsewhere.
//!
//! `sweep` finds what is dead and removes it, `marks` remembers what is needed, `first` is what the
//! first look leaves for the second. `backup` copies what is new, with the keys of `box_keys`;
//! `catalog` is what a backup consists of, `verify` holds one against itself, `restore` makes a vault
//! of it again and `replay` says what was forgotten since; `copying` moves the bytes. Knows the store
//! and the keys; no law, no mail. What is forgotten was forgotten when its key was dropped: nothing
//! here makes it more so, and a backup keeps a dropped key for [`backup::KEEP_DAYS`] at most.

pub mod backup;
mod box_keys;
pub mod catalog;
mod copying;
mod first;
mod marks;
pub mod replay;
pub mod restore;
pub mod sweep;
pub mod verify;

use std::io;
use std::path::{Path, PathBuf};

use crate::ids::Address;
use crate::{keys, ledger, store};

/// Why upkeep did nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It was asked to stop; the next time goes on.
    #[error("stopped")]
    Stopped,
    /// Boxes that were not forgotten do not open: what they refer to is unknown, so that nothing
    /// may be called dead.
    #[error(
        "nothing is removed: the box {address} of ledger entry {seq} was not forgotten and does \
         not open ({why}); {others} more like it"
    )]
    Unopened {
        /// Position of the entry that records it.
        seq: u64,
        /// Its address.
        address: Address,
        /// What is wrong with it.
        why: String,
        /// How many more there are.
        others: u64,
    },
    /// The system refused something about a file of a backup.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something is there, and it is no backup.
    #[error("{} is not empty and no backup", .0.display())]
    NotEmpty(PathBuf),
    /// There is no backup.
    #[error("{} holds no backup", .0.display())]
    NoBackup(PathBuf),
    /// A backup of another vault lies there.
    #[error("{} holds a backup of another vault", .0.display())]
    OtherVault(PathBuf),
    /// The ledger does not continue the one that was copied.
    #[error("the ledger does not continue the one of the backup in {}", .0.display())]
    Forked(PathBuf),
    /// The folder lies in the vault or in that of the cabinet's key, or the other way round.
    #[error("{} and the vault lie in one another", .0.display())]
    Inside(PathBuf),
    /// A vault is made beside its place and then named, which a mount point does not allow.
    #[error("{} is a mount point", .0.display())]
    MountPoint(PathBuf),
    /// Another backup into this folder is at work.
    #[error("another backup into {} is at work", .0.display())]
    Busy(PathBuf),
    /// A file of a backup is not what was copied.
    #[error("{what} ({} at byte {offset})", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Written by a later version.
    #[error("{} was written by a later version of kluis", .0.display())]
    Later(PathBuf),
    /// The key opens no file of box keys.
    #[error("this key does not open {}", .0.display())]
    WrongKey(PathBuf),
    /// No restored vault waits here.
    #[error("no restored vault waits in {} for what was forgotten", .0.display())]
    Settled(PathBuf),
    /// An erasure note does not hold.
    #[error(transparent)]
    Note(#[from] ledger::Error),
    /// Notes leave something out.
    #[error("the notes say nothing of entries {from} to {to}")]
    Gap {
        /// The first entry that no note covers.
        from: u64,
        /// The first one that a note covers again, or the size of the backup.
        to: u64,
    },
    /// A roster or a hand-over that the admin did not sign, or that is not written as it must be.
    #[error("a signed file is not to be believed: {0}")]
    Signed(#[from] keys::roster::Error),
    /// A hand-over without the roster that the new key signed with it.
    #[error("the admin key was handed over, and no roster is there that the new one signed")]
    NoRoster,
    /// The roster is not newer than the one of the backup.
    #[error("roster {offered} is not newer than roster {known}, which is in the backup")]
    OldRoster {
        /// The version of the one that was given.
        offered: u32,
        /// The version of the one in force.
        known: u32,
    },
    /// The roster cannot follow the one in force.
    #[error("roster {version} {why}")]
    UnfitRoster {
        /// Its version.
        version: u32,
        /// Why it cannot.
        why: &'static str,
    },
    /// The roster holds a key that is published with the sources.
    #[error("the roster holds a throwaway key that everybody can read")]
    Throwaway,
    /// A reason that is none.
    #[error("a reason is a line of words")]
    NoReason,
}

impl Error {
    /// The system's answer about a file.
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }

    fn damaged(file: &Path, offset: u64, what: &'static str) -> Self {
        Self::Damaged { file: file.to_owned(), offset, what }
    }
}
