//! Mail that goes out, and the rule that what is personal leaves encrypted or not at all.
//!
//! A *notice* says that a letter came: the same words for everybody, nothing about the person. An
//! *answer* carries personal data; [`answer::compose`] wants a `Proof` and a lock, and there is no
//! other way to write one. Both give an [`Outgoing`], which only this folder can make, and which
//! [`send`] carries out: one recipient a transaction.
//!
//! `compose` writes header fields and MIME bodies, `openpgp` encrypts and signs, `code` is what a
//! person without a key is told by another channel, `token` makes Message-IDs that come home.

pub mod answer;
pub mod code;
mod compose;
pub mod language;
pub mod notice;
pub mod openpgp;
pub mod send;
pub mod token;

use std::fmt;

use minicbor::{Decode, Encode};

pub use compose::Heading;
pub use language::Language;

use crate::secret::Personal;

/// Bytes of a composed mail: what the large providers still take.
pub const MAX_MAIL: usize = 35 << 20;

/// A mail that is ready to go: an envelope with a single recipient, and the message.
///
/// Made by [`notice::Notice::compose`] and [`answer::compose`] alone, or read back from where it
/// was sealed in the meantime.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Outgoing {
    #[n(0)]
    envelope_from: Personal<String>,
    #[n(1)]
    envelope_to: Personal<String>,
    #[cbor(n(2), with = "minicbor::bytes")]
    mail: Vec<u8>,
}

impl Outgoing {
    fn new(from: &str, to: &str, mail: Vec<u8>) -> Result<Self, ComposeError> {
        if mail.len() > MAX_MAIL {
            return Err(ComposeError::TooLarge);
        }
        Ok(Self {
            envelope_from: Personal::new(from.into()),
            envelope_to: Personal::new(to.into()),
            mail,
        })
    }

    /// The reverse-path without angle brackets; empty for `MAIL FROM:<>` (RFC 5321 §4.5.5).
    #[must_use]
    pub const fn envelope_from(&self) -> &Personal<String> {
        &self.envelope_from
    }

    /// The one recipient.
    #[must_use]
    pub const fn envelope_to(&self) -> &Personal<String> {
        &self.envelope_to
    }

    /// The message: ASCII, every line ended by CRLF and at most 998 characters long.
    #[must_use]
    pub fn mail(&self) -> &[u8] {
        &self.mail
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} bytes)", self.mail.len())
    }
}

/// Why a mail was not composed. Says which field, never what stood in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// This field holds what may not stand in a mail: a line break, say.
    #[error("the {0} cannot stand in a mail")]
    BadField(&'static str),
    /// The mail would be larger than [`MAX_MAIL`].
    #[error("the mail is too large to send")]
    TooLarge,
    /// The recipient's or our own key cannot be used.
    #[error(transparent)]
    Key(#[from] openpgp::KeyProblem),
    /// The OpenPGP or age library did not encrypt; nothing was composed.
    #[error("the mail could not be encrypted")]
    NotEncrypted,
}
