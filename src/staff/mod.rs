//! The other side of the glass: what runs with a person's key.
//!
//! `home` is where a member's files lie; `agent` keeps the unlocked key for a quarter of an hour,
//! so that the work of a passphrase is paid once. The gateway never uses anything here.

pub mod agent;
pub mod home;
