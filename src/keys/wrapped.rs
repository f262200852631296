//! Secrets on their way to those who may have them: age files to every reader and to recovery.
//!
//! An epoch's secret and the mailbox's OpenPGP and S/MIME secrets exist outside the process that
//! made them only like this, and stock `age -d -i` opens them. The first line says what the file
//! holds, behind `#`, so that an epoch's file is an age identity file as it is. It also lets a
//! member's agent refuse everything that is no such file and no log-in challenge.

use zeroize::Zeroizing;

use super::epoch::{self, EpochSecret};
use super::roster::Roster;
use super::staff::{LONGEST_MESSAGE, StaffKey};
use super::{NotForThisKey, challenge};

/// What a wrapped file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An epoch's secret.
    Epoch,
    /// A secret that mail to the mailbox is encrypted to.
    Mailbox,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Epoch, Kind::Mailbox];

    fn header(self) -> &'static [u8] {
        match self {
            Kind::Epoch => b"# kluis secret: epoch\n",
            Kind::Mailbox => b"# kluis secret: mailbox\n",
        }
    }
}

/// The longest secret that is wrapped, in bytes.
pub const LONGEST_SECRET: usize = LONGEST_MESSAGE as usize - 64;

/// Wraps a secret to every reader of `roster` and to its recovery recipient.
///
/// # Panics
/// If `secret` is longer than [`LONGEST_SECRET`].
#[must_use]
pub fn wrap_secret(kind: Kind, secret: &[u8], roster: &Roster) -> Vec<u8> {
    assert!(secret.len() <= LONGEST_SECRET, "a secret is small");
    let mut message = Zeroizing::new(Vec::with_capacity(secret.len() + 64));
    message.extend_from_slice(kind.header());
    message.extend_from_slice(secret);
    let readers = roster.readers().map(|member| &member.recipient);
    let recipients = readers.chain([&roster.recovery]).map(|recipient| recipient.for_age());
    epoch::wrap_to(recipients, &message)
}

/// How many recipients an age file names in its header (age-encryption.org/v1): nobody can tell
/// whom. `None` if it is no age file.
#[must_use]
pub fn stanzas(file: &[u8]) -> Option<usize> {
    let mut lines = file.split(|byte| *byte == b'\n');
    if lines.next()? != b"age-encryption.org/v1" {
        return None;
    }
    let mut count = 0;
    for line in lines {
        if line.starts_with(b"--- ") {
            return Some(count);
        }
        count += usize::from(line.starts_with(b"-> "));
    }
    None
}

/// Unwraps what [`wrap_secret`] wrapped.
///
/// # Errors
/// [`NotForThisKey`], also for a damaged file and for another kind.
pub fn unwrap_secret(
    kind: Kind,
    file: &[u8],
    key: &StaffKey,
) -> Result<Zeroizing<Vec<u8>>, NotForThisKey> {
    secret_in(kind, &key.unwrap(file)?)
}

/// The secret in an unwrapped message.
///
/// # Errors
/// [`NotForThisKey`] if it holds another kind.
pub fn secret_in(kind: Kind, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotForThisKey> {
    let secret = message.strip_prefix(kind.header()).ok_or(NotForThisKey)?;
    Ok(Zeroizing::new(secret.to_vec()))
}

/// Wraps an epoch's secret to every reader of `roster` and to its recovery recipient: `<n>.age`.
#[must_use]
pub fn wrap_epoch(secret: &EpochSecret, roster: &Roster) -> Vec<u8> {
    let mut text = Zeroizing::new(String::with_capacity(256));
    text.push_str(&format!("# public key: {}\n", secret.public()));
    text.push_str(&secret.to_text());
    text.push('\n');
    wrap_secret(Kind::Epoch, text.as_bytes(), roster)
}

/// Unwraps `<n>.age`.
///
/// # Errors
/// [`NotForThisKey`], also for a damaged file.
pub fn unwrap_epoch(file: &[u8], key: &StaffKey) -> Result<EpochSecret, NotForThisKey> {
    epoch_in(&key.unwrap(file)?)
}

/// The epoch's secret in an unwrapped `<n>.age`.
///
/// # Errors
/// [`NotForThisKey`] if there is none.
pub fn epoch_in(message: &[u8]) -> Result<EpochSecret, NotForThisKey> {
    let text = secret_in(Kind::Epoch, message)?;
    EpochSecret::from_text(std::str::from_utf8(&text).map_err(|_| NotForThisKey)?)
}

/// Unwraps a file for a member's program: a secret of a known kind or a log-in challenge, nothing
/// else that may be encrypted to the same key.
///
/// # Errors
/// [`NotForThisKey`], also for other content.
pub fn open(file: &[u8], key: &StaffKey) -> Result<Zeroizing<Vec<u8>>, NotForThisKey> {
    let message = key.unwrap(file)?;
    let is_secret = Kind::ALL.iter().any(|kind| message.starts_with(kind.header()));
    if is_secret || challenge::is_message(&message) { Ok(message) } else { Err(NotForThisKey) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::roster::tests::sample;

    #[test]
    fn readers_and_recovery_unwrap_an_epoch_and_the_auditor_does_not() {
        let (roster, keys) = sample();
        let secret = EpochSecret::generate();
        let file = wrap_epoch(&secret, &roster);
        for key in [&keys.lotte, &keys.dpo, &keys.recovery] {
            let opened = unwrap_epoch(&file, key).expect("opens");
            assert_eq!(opened.public().to_string(), secret.public().to_string());
        }
        for key in [&keys.auditor, &keys.backup] {
            assert_eq!(unwrap_epoch(&file, key).err(), Some(NotForThisKey));
        }
        // age may add one that is for nobody.
        assert!(stanzas(&file).is_some_and(|count| (3..=4).contains(&count)));
        assert_eq!((stanzas(b"age"), stanzas(b"age-encryption.org/v1\n-> X")), (None, None));
        for length in 0..file.len() {
            assert!(unwrap_epoch(&file[..length], &keys.lotte).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn one_kind_of_secret_is_not_taken_for_another() {
        let (roster, keys) = sample();
        let file = wrap_secret(Kind::Mailbox, b"\x95\x00key", &roster);
        let opened = unwrap_secret(Kind::Mailbox, &file, &keys.lotte).expect("opens");
        assert_eq!(opened.as_slice(), b"\x95\x00key");
        assert!(unwrap_secret(Kind::Epoch, &file, &keys.lotte).is_err());
        assert!(unwrap_epoch(&file, &keys.lotte).is_err());
    }

    #[test]
    fn a_members_program_opens_secrets_only() {
        let (roster, keys) = sample();
        let file = wrap_epoch(&EpochSecret::generate(), &roster);
        assert!(open(&file, &keys.lotte).is_ok());
        let other = epoch::wrap_to([keys.lotte.recipient().for_age()], b"# a love letter\n");
        assert!(keys.lotte.unwrap(&other).is_ok());
        assert_eq!(open(&other, &keys.lotte).err(), Some(NotForThisKey));
    }
}
