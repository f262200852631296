//! What a vault does for itself: the room of what nothing refers to any more is given back.
//!
//! `sweep` finds it and removes it, `marks` remembers what is needed, `first` is what the first look
//! leaves for the second. Knows the store; no law, no mail. What is forgotten was forgotten when its
//! key was dropped: nothing here makes it more so.

mod first;
mod marks;
pub mod sweep;

use crate::ids::Address;
use crate::store;

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
}
