//! What runs with a person's key: the other side of the glass.
//!
//! `home` is where a member's files lie, `agent` holds the unlocked key, `client` logs in and opens
//! what the server discloses, `letters` opens encrypted letters, `answers` composes, `sealing`
//! makes boxes, `who` gathers what shows who asks, `pictures` what copies of documents say, `seen` remembers checkpoints, `verify` opens everything and keeps nothing, `found`
//! makes what a new vault starts with, `keys` changes who may do what, `reseal` seals to a newer epoch
//! and `renewal` content under new keys, `recovery` tries the recovery key and wraps anew with it. The
//! gateway never imports any of it.

pub mod agent;
pub mod answers;
pub mod client;
pub mod copies;
pub mod found;
pub mod home;
pub mod keys;
pub mod letters;
pub mod openpgp;
pub mod pictures;
pub mod recovery;
mod renewal;
pub mod reseal;
pub mod restored;
pub mod sealing;
pub mod seen;
pub mod verify;
pub mod who;
