//! Turns bytes into sealed bytes and back. No files, no network, no law.
//!
//! `chunk` seals content under keys derived from it, `content` opens it again in order; `manifest`
//! says what a box holds; `seal` makes the box: an inner layer that the staff's epoch key opens, an
//! outer layer that the cabinet's key opens; `slot` wraps the cabinet's keys. This folder alone
//! names a symmetric cipher (in `cipher`), and there is no setting.
//!
//! Every nonce here is zero. That is safe because, and only because, every key seals exactly one
//! message: a chunk key is derived from all that the cipher sees, a box key is drawn inside
//! [`seal::outer`] and used there once, a slot key is derived from a slot id that is never used
//! again. A lab build records every (key, message) pair of the test suite and proves it.
//!
//! Layouts: vault-format §2 to §5.

pub mod chunk;
pub mod content;
pub mod manifest;
pub mod seal;
pub mod slot;

mod cipher;

/// Why bytes could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A chunk or a box that should be there is not.
    #[error("something that should be there is missing")]
    Missing,
    /// The bytes are not what was sealed, or lie in another place than they were sealed for.
    #[error("the bytes are not what was sealed here")]
    Tampered,
    /// The key that opens it is not at hand: forgotten, or another epoch's.
    #[error("the key that opens it is not at hand")]
    NoKey,
    /// Written by a later version of kluis.
    #[error("written by a later version of kluis")]
    FutureVersion,
}

/// Bytes that the cipher adds to a message (the GCM tag).
pub const TAG: usize = 16;

/// AES-256-GCM under a key that seals this one message: the one place where the cipher is called.
/// Returns the tag; `message` becomes ciphertext in place.
fn seal_once(key: &[u8; 32], place: &[u8], message: &mut [u8]) -> [u8; TAG] {
    crate::lab::sealed(key, &[place, message]);
    cipher::seal(key, place, message)
}

/// Opens `sealed` (ciphertext ‖ tag) in place and gives the message.
fn open_once<'a>(
    key: &[u8; 32],
    place: &[u8],
    sealed: &'a mut [u8],
) -> Result<&'a mut [u8], Error> {
    cipher::open(key, place, sealed)
}

/// Runs the cipher over `message` once, under a key that nobody gets: to measure it.
pub fn run_cipher(message: &mut [u8]) {
    let _ = seal_once(&zeroize::Zeroizing::new(crate::ids::random()), &[], message);
}
