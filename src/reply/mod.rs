//! Mail that goes out, and the rule that what is personal leaves encrypted or not at all.
//!
//! A *notice* says that a letter came: the same words for everybody, nothing about the person. An
//! *answer* carries personal data; [`answer::compose`] wants a `Proof` and a lock, and there is no
//! other way to write one. A *checkpoint mail* goes in clear, for it is made of signed numbers alone
//! ([`checkpoint`]). All give an [`Outgoing`], which only this folder can make, and which [`send`]
//! carries out: one recipient a transaction.
//!
//! `compose` writes header fields and MIME bodies, `openpgp` encrypts and signs, `code` is what a
//! person without a key is told by another channel, `token` makes Message-IDs that come home.

pub mod answer;
pub mod canary;
pub mod checkpoint;
pub mod code;
mod compose;
pub mod copy;
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

/// What an age file (`age-encryption.org/v1`) begins with in base64.
const AGE_IN_BASE64: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3Yx";

/// A mail that is ready to go: an envelope with a single recipient, and the message.
///
/// Made by [`notice::Notice::compose`], [`answer::compose`], [`canary::CanaryMail::compose`] and
/// [`checkpoint::CheckpointMail::compose`] alone, or read back from where it
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

    /// Whether it has the form of a notice: an empty reverse-path and the mark of a machine. The last
    /// gate: what another program recorded as a notice does not leave as anything else.
    #[must_use]
    pub fn is_notice(&self) -> bool {
        let text = std::str::from_utf8(&self.mail).unwrap_or_default();
        let head = text.split_once("\r\n\r\n").map_or("", |(head, _)| head);
        self.envelope_from.expose().is_empty()
            && head.contains("\r\nAuto-Submitted: auto-replied\r\n")
            && head.contains("\r\nContent-Type: text/plain; charset=utf-8")
    }

    /// Whether it has the form of an answer that is locked: PGP/MIME (RFC 3156 §4), or an age file
    /// as the attachment that an answer under a code has. The last gate, beside the server, which
    /// cannot look inside: what another program recorded as an answer does not leave in clear.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        let text = std::str::from_utf8(&self.mail).unwrap_or_default();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let is_pgp_mime = head.contains("\r\nContent-Type: multipart/encrypted;")
            && body.contains("\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n");
        let age_file = body.rsplit_once("filename=\"answer.age\"\r\n\r\n");
        is_pgp_mime || age_file.is_some_and(|(_, file)| file.starts_with(AGE_IN_BASE64))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_locked_is_told_from_what_is() {
        let locked = |mail: &str| {
            let mail = mail.replace('\n', "\r\n").into_bytes();
            Outgoing::new("a@b.example", "c@d.example", mail).expect("is small").is_locked()
        };
        let pgp = "To: c@d.example\nContent-Type: multipart/encrypted; boundary=b\n\n--b\n\n\
                   Version: 1\n\n--b\nContent-Type: application/octet-stream\n\n\
                   -----BEGIN PGP MESSAGE-----\n\nx\n";
        let age = "To: c@d.example\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhow\n\
                   --b\nContent-Disposition: attachment;\n filename=\"answer.age\"\n\n\
                   YWdlLWVuY3J5cHRpb24ub3JnL3YxCg==\n--b--\n";
        assert!(locked(pgp) && locked(age));
        for (mail, from, to) in [
            (pgp, "multipart/encrypted", "multipart/mixed"),
            (pgp, "-----BEGIN PGP MESSAGE-----", "Dear Lotte,"),
            (age, "answer.age", "answer.txt"),
            (age, "YWdlLWVuY3J5cHRpb24ub3JnL3Yx", "RGVhciBMb3R0ZSwK"),
            (age, "\n\n", "\n"),
        ] {
            assert!(!locked(&mail.replace(from, to)), "{from}");
        }
        assert!(!locked("To: c@d.example\n\nDear Lotte, your wage is\n") && !locked(""));
    }
}
