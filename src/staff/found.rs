//! Founds a vault: the staff side's half of `init`.
//!
//! Makes epoch 1 and the mailbox's OpenPGP key, wraps both to the readers of the roster and to
//! recovery, signs roster and epoch. Neither secret leaves this function unwrapped.

use crate::casebook::founding::Foundation;
use crate::ids::EpochId;
use crate::keys::admin::AdminKey;
use crate::keys::epoch::EpochSecret;
use crate::keys::epoch_note::EpochNote;
use crate::keys::mailbox_note::MailboxNote;
use crate::keys::roster::{self, Roster};
use crate::keys::staff::StaffKey;
use crate::keys::wrapped::{self, Kind};
use crate::reply::ComposeError;
use crate::reply::openpgp::{KeyProblem, MailboxKey};

/// Why a vault was not founded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The roster breaks a rule.
    #[error(transparent)]
    Roster(#[from] roster::Error),
    /// The mailbox's address cannot stand in a certificate.
    #[error("the mailbox's address cannot be used: {0}")]
    Mailbox(#[from] ComposeError),
    /// The mailbox's key could not be made.
    #[error(transparent)]
    Key(#[from] KeyProblem),
}

/// Makes what a new vault starts with. `opens` is a member's key that is at hand: if it opens a
/// copy of `1.age`, the epoch is proven.
///
/// # Errors
/// See [`Error`]; nothing is written here anyway.
pub fn found(
    roster: &Roster,
    admin: &AdminKey,
    mailbox: &str,
    opens: Option<&StaffKey>,
    config: String,
    now: u64,
) -> Result<Foundation, Error> {
    let signed_roster = roster.sign(admin)?;
    let epoch = EpochSecret::generate();
    let epoch_file = wrapped::wrap_epoch(&epoch, roster);
    let note = EpochNote::new(EpochId(1), &epoch.public(), roster, &epoch_file);
    let proven_by = opens.and_then(|key| {
        let secret = wrapped::unwrap_epoch(&epoch_file, key).ok()?;
        let member = roster.readers().find(|member| member.recipient == *key.recipient())?;
        note.is_opened_by(&secret).then_some(member.id)
    });
    let key = MailboxKey::generate(mailbox, now)?;
    let mailbox_file = wrapped::wrap_secret(Kind::Mailbox, &key.to_secret_bytes()?, roster);
    let mailbox_certificate = key.public_armored()?;
    let mailbox_note = MailboxNote::new(
        1,
        key.certificate().fingerprint().expose(),
        &mailbox_certificate,
        &mailbox_file,
        roster,
    );
    Ok(Foundation {
        vault: roster.vault,
        admin: format!("{}\n", admin.vkey()),
        roster: signed_roster,
        epoch_note: note.sign(admin)?,
        epoch_file,
        proven_by,
        mailbox_note: mailbox_note.sign(admin)?,
        mailbox_file,
        mailbox_certificate,
        config,
    })
}
