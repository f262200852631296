//! Epochs: the key pairs that boxes are sealed to (design §8).
//!
//! The gateway holds public halves only. The secret half leaves the process that made it only as
//! `<n>.age`, an age file wrapped to the staff and the recovery key, which stock `age -d` opens.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::str::FromStr;

use age::secrecy::ExposeSecret as _;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

use super::recipient::Recipient;
use crate::secret::Secret;

/// Why something could not be unwrapped. Says nothing of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this key does not open it")]
pub struct NotForThisKey;

/// The public half of an epoch.
#[derive(Clone)]
pub struct EpochPublic {
    text: String,
    recipient: Recipient,
}

impl EpochPublic {
    /// Wraps `message` so that only this epoch's secret opens it: a stock age file, binary.
    #[must_use]
    pub fn wrap(&self, message: &[u8]) -> Vec<u8> {
        wrap_to([&self.recipient as &dyn age::Recipient], message)
    }
}

/// Wraps `message` to each of `recipients`; not empty.
pub(super) fn wrap_to<'a>(
    recipients: impl IntoIterator<Item = &'a dyn age::Recipient>,
    message: &[u8],
) -> Vec<u8> {
    let mut file = Vec::with_capacity(message.len() + 512);
    let encryptor = age::Encryptor::with_recipients(recipients.into_iter())
        .expect("there is a recipient, and X25519 and ssh recipients mix");
    let mut writer = encryptor.wrap_output(&mut file).expect("memory takes the header");
    writer.write_all(message).expect("memory takes the message");
    writer.finish().expect("memory takes the last chunk");
    file
}

/// Unwraps an age file of at most `limit` bytes of content with one identity.
pub(super) fn unwrap_with(
    identity: &dyn age::Identity,
    file: &[u8],
    limit: u64,
) -> Result<Zeroizing<Vec<u8>>, NotForThisKey> {
    let decryptor = age::Decryptor::new(file).map_err(|_| NotForThisKey)?;
    let reader = decryptor.decrypt(std::iter::once(identity)).map_err(|_| NotForThisKey)?;
    // Reserved at once: a vector that grows leaves unwiped copies behind.
    let mut message = Zeroizing::new(Vec::with_capacity(file.len()));
    reader.take(limit).read_to_end(&mut message).map_err(|_| NotForThisKey)?;
    Ok(message)
}

impl fmt::Display for EpochPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for EpochPublic {
    type Err = NotForThisKey;

    fn from_str(text: &str) -> Result<Self, NotForThisKey> {
        Ok(Self { text: text.to_owned(), recipient: Recipient::parse(text)? })
    }
}

/// An age identity. age keeps no key in locked memory, so it rests here as the text that age writes,
/// and is made anew for each use.
pub(super) struct Held(Secret<[u8; TEXT]>);

/// The length of an X25519 identity as age writes it: 32 bytes in Bech32.
const TEXT: usize = 74;

impl Held {
    pub(super) fn new(identity: &age::x25519::Identity) -> Self {
        let text = identity.to_string();
        let text = text.expose_secret().as_bytes();
        Self(Secret::filled(|held| held.copy_from_slice(text)))
    }

    /// The identity of 32 bytes, written as age writes it: in Bech32 (BIP-173), upper case.
    pub(super) fn of_secret(secret: &Secret<[u8; 32]>) -> Self {
        let text = bech32::encode_upper::<Bech32>(prefix(), secret.expose());
        let text = Zeroizing::new(text.expect("short enough for Bech32"));
        Self(Secret::filled(|held| held.copy_from_slice(text.as_bytes())))
    }

    /// The 32 bytes of the identity.
    pub(super) fn secret(&self) -> Secret<[u8; 32]> {
        let read = CheckedHrpstring::new::<Bech32>(self.text()).expect("it was written by age");
        Secret::filled(|secret| {
            let places = secret.iter_mut().zip(read.byte_iter());
            places.for_each(|(place, byte)| *place = byte);
        })
    }

    /// `AGE-SECRET-KEY-1…`
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(self.0.expose()).expect("it was written by age itself")
    }

    pub(super) fn identity(&self) -> age::x25519::Identity {
        self.text().parse().expect("it was written by age itself")
    }
}

/// What an identity begins with.
fn prefix() -> Hrp {
    Hrp::parse("AGE-SECRET-KEY-").expect("letters and dashes")
}

/// The secret half of an epoch. Staff side only.
pub struct EpochSecret(Held);

/// The longest message an epoch's key unwraps: a manifest of 64 GiB of content fits.
const LONGEST: u64 = 64 << 20;

impl EpochSecret {
    /// A fresh pair.
    #[must_use]
    pub fn generate() -> Self {
        Self(Held::new(&age::x25519::Identity::generate()))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> EpochPublic {
        let text = self.0.identity().to_public().to_string();
        text.parse().expect("it was written by age itself")
    }

    /// Unwraps what was wrapped to the public half.
    ///
    /// # Errors
    /// [`NotForThisKey`], also for a damaged file.
    pub fn unwrap(&self, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotForThisKey> {
        unwrap_with(&self.0.identity(), file, LONGEST)
    }

    /// The secret as stock age writes it (`AGE-SECRET-KEY-1…`), to be wrapped and nothing else.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.text().to_owned())
    }

    /// Reads what [`to_text`](Self::to_text) wrote; comment lines and white space are passed over.
    ///
    /// # Errors
    /// [`NotForThisKey`] if there is no secret in it.
    pub fn from_text(text: &str) -> Result<Self, NotForThisKey> {
        text.lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .and_then(|line| line.parse().ok())
            .map(|identity| Self(Held::new(&identity)))
            .ok_or(NotForThisKey)
    }
}
