//! Asymmetric keys: epochs, members, the admin, and the signed files that name them.
//!
//! `epoch` is what boxes are sealed to, by way of `recipient`; `epoch_note` says so, `mailbox_note`
//! says what mail to the mailbox is encrypted to, `admins`
//! whose signature counts; `wrapped` is how
//! a secret travels to those who may have it; `staff` and `admin` are the keys of people, each under a
//! [`Passphrase`]; `roster` says who they are and is signed as a `note`; `challenge` proves that
//! somebody holds a key; `box_keys` is what a backup keeps of the cabinet. `shares` splits the recovery
//! key k of n, `sheet` is what is printed of it. With `reply::answer` the one place that names age.

pub mod admin;
pub mod admins;
pub mod box_keys;
pub mod challenge;
pub mod epoch;
pub mod epoch_note;
pub mod mailbox_note;
pub mod note;
pub mod passphrase;
pub mod readers;
pub mod roster;
pub mod shares;
pub mod sheet;
pub mod staff;
pub mod wrapped;

pub(crate) mod file;
mod recipient;

pub use epoch::NotForThisKey;
pub use passphrase::{Passphrase, UnlockError};
