//! Why the store could not do it.

use std::io;
use std::path::{Path, PathBuf};

use crate::vault;

/// How the words of [`Error::NotRotated`] begin.
pub const KEEPS_ITS_KEY: &str = "the cabinet keeps its key for now";

/// Why the store could not do it. Names files of ours and offsets, never content.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something sealed could not be found or opened.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// Bytes of ours are not what was written.
    #[error("{what} ({} at byte {offset})", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The cabinet in force cannot be read, and the one that a rotation left beside it can.
    #[error("{why}; the cabinet of before it, {generation}, is there and whole")]
    OlderWhole {
        /// What is wrong.
        why: Box<Error>,
        /// The number of the cabinet of before.
        generation: u64,
    },
    /// A file of the vault is not there.
    #[error("{what} ({})", file.display())]
    Absent {
        /// The file.
        file: PathBuf,
        /// What is not there.
        what: &'static str,
    },
    /// The ledger does not extend the checkpoint that was written with the last erasure.
    #[error(
        "the ledger is older than the last erasure, or another ({} says so)", file.display()
    )]
    Older {
        /// The checkpoint.
        file: PathBuf,
    },
    /// Bytes that a later version wrote, or damage that looks like it.
    #[error("written by a later version of kluis, or damaged ({} at byte {offset})", file.display())]
    Later {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
    },
    /// Another process has the vault open.
    #[error("another process has this vault open")]
    InUse,
    /// There is no vault in this directory.
    #[error("there is no vault in this directory")]
    NotAVault,
    /// The cabinet has no new key: what was begun of it is removed, the key of before stays in force,
    /// nothing is lost, and it can be tried again.
    #[error("{KEEPS_ITS_KEY}: {0}")]
    NotRotated(Box<Error>),
    /// It was restored from a backup, and nobody said yet what was forgotten since.
    #[error("this vault was restored, and what was forgotten after its backup is not replayed yet")]
    Unsettled,
    /// The disk is full. Nothing of the batch was kept; later ones may be.
    #[error("the disk is full")]
    Full,
    /// A write failed before: this process keeps nothing any more. Start it again.
    #[error("the store has stopped after a failed write")]
    Dead,
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn damaged(file: &Path, offset: u64, what: &'static str) -> Self {
        Self::Damaged { file: file.to_owned(), offset, what }
    }

    pub(super) fn absent(file: &Path, what: &'static str) -> Self {
        Self::Absent { file: file.to_owned(), what }
    }

    /// The system's answer to something that needs no room.
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// The system's answer to something that needs room: [`Error::Full`] if there is none.
    pub(super) fn write(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full,
            _ => Self::Io { what, source },
        }
    }

    /// The same answer for another caller of the same group.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Full => Self::Full,
            Self::Vault(e) => Self::Vault(*e),
            Self::Io { what, source } => {
                let source = source
                    .raw_os_error()
                    .map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
                Self::Io { what, source }
            }
            Self::Damaged { file, offset, what } => Self::damaged(file, *offset, what),
            Self::Absent { file, what } => Self::Absent { file: file.clone(), what },
            Self::Older { file } => Self::Older { file: file.clone() },
            Self::Later { file, offset } => Self::Later { file: file.clone(), offset: *offset },
            Self::OlderWhole { why, generation } => {
                Self::OlderWhole { why: Box::new(why.again()), generation: *generation }
            }
            Self::NotRotated(why) => Self::NotRotated(Box::new(why.again())),
            Self::InUse => Self::InUse,
            Self::NotAVault => Self::NotAVault,
            Self::Unsettled => Self::Unsettled,
            Self::Dead => Self::Dead,
        }
    }
}
