//! The checkpoint mail: what an outsider keeps for us, in clear, because it says nothing about anyone.
//!
//! A [`CheckpointMail`] is made of a [`Dispatch`] and of nothing else, so that there is no way to put
//! a letter into one; letters keep the gate of [`Outgoing::is_locked`]. [`text_of`] reads such a mail
//! again, as it was received.

use data_encoding::HEXLOWER;

use super::compose::{write, write_fields, write_text};
use super::{ComposeError, Heading, Outgoing};
use crate::casebook::Dispatch;
use crate::ids::random;
use crate::secret::Personal;

/// A mail with a checkpoint, ready to go.
pub struct CheckpointMail(Outgoing);

impl CheckpointMail {
    /// Writes it, from our address to an outsider's. Nobody is told if it does not arrive: the
    /// reverse-path is empty, or a bounce would come in as a letter.
    ///
    /// # Errors
    /// `BadField` for an address or a date that cannot stand in a mail.
    pub fn compose(
        dispatch: &Dispatch,
        from: &str,
        to: &str,
        date: u64,
    ) -> Result<Self, ComposeError> {
        let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let heading = Heading {
            from: Personal::new(from.into()),
            to: Personal::new(to.into()),
            message_id: format!("checkpoint.{}@{domain}", HEXLOWER.encode(&random::<16>())),
            in_reply_to: None,
            references: Vec::new(),
            date,
        };
        let mut mail = Vec::new();
        let subject = format!("Checkpoint: {} entries", dispatch.size());
        write_fields(&mut mail, "", &heading.fields(&subject)?);
        write(&mut mail, &["Auto-Submitted: auto-generated\r\n"]);
        write(&mut mail, &["X-Auto-Response-Suppress: All\r\n"]);
        write(&mut mail, &["MIME-Version: 1.0\r\n"]);
        write_text(&mut mail, &text(dispatch));
        Outgoing::new("", to, mail).map(Self)
    }

    /// The mail, for `send`.
    #[must_use]
    pub fn outgoing(&self) -> &Outgoing {
        &self.0
    }
}

fn text(dispatch: &Dispatch) -> String {
    let (from, to) = dispatch.looked_through();
    let mut text = format!(
        "Please keep this mail, unchanged. It says nothing about anyone.\n\n\
         The first note is a checkpoint of the ledger of a kluis vault: whoever has it\n\
         finds out if any of the entries that it covers is changed later. Save this mail\n\
         as a file, and `kluis audit verify --checkpoint FILE` compares.\n\n\
         {}\n\
         What follows names the keys that were dropped in the entries from {from} and\n\
         before {to}: {}. If the vault is ever put back from a backup, they must be\n\
         dropped again.\n",
        dispatch.checkpoint(),
        dispatch.dropped(),
    );
    for note in dispatch.erasures() {
        text.push('\n');
        text.push_str(note);
    }
    text
}

/// What a received mail says, or a file that was made of it, with the line ends of Unix: of a mail
/// in quoted-printable (RFC 2045 §6.7) it is decoded. What is none of ours comes back as it is.
#[must_use]
pub fn text_of(received: &[u8]) -> String {
    let text = String::from_utf8_lossy(received).replace("\r\n", "\n");
    // The dash before a signature shows whether somebody decoded it before us.
    if text.contains("=E2=80=94") { decoded(&text) } else { text }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(next) = rest.strip_prefix('\n') {
            rest = next;
        } else if let Some(byte) = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &rest[2..];
        } else {
            bytes.push(b'=');
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}
