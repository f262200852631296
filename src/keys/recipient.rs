//! age's X25519 recipient (age-encryption.org/v1, "The X25519 recipient type"), with the curve of
//! AWS-LC: age's own takes twice as long, and every box is sealed to one.

use std::collections::HashSet;

use age::EncryptError;
use age_core::format::{FileKey, Stanza};
use age_core::primitives::{aead_encrypt, bech32_decode, hkdf};
use age_core::secrecy::ExposeSecret as _;
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::NotForThisKey;

const PREFIX: &str = "age";
const TAG: &str = "X25519";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";

/// A public key that a file's key is wrapped to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Recipient([u8; 32]);

impl Recipient {
    /// Reads `age1…`.
    ///
    /// # Errors
    /// [`NotForThisKey`] if there is no point of the curve in it.
    pub(super) fn parse(text: &str) -> Result<Self, NotForThisKey> {
        let recipient = bech32_decode(
            text,
            |_| NotForThisKey,
            |prefix| if prefix.as_str() == PREFIX { Ok(()) } else { Err(NotForThisKey) },
            |_, bytes| bytes.collect::<Vec<_>>().try_into().map(Self).map_err(|_| NotForThisKey),
        )?;
        // A point of small order: nothing can be kept secret from anybody with it.
        recipient.agree().map(|_| recipient).ok_or(NotForThisKey)
    }

    /// A fresh key's public half, and what both then share.
    fn agree(&self) -> Option<([u8; 32], Zeroizing<[u8; 32]>)> {
        // Of the kernel's randomness: a generator of AWS-LC's own would have to be seeded first.
        let mut own = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *own).expect("the kernel gives randomness");
        let own = PrivateKey::from_private_key(&X25519, &*own).ok()?;
        let public = own.compute_public_key().ok()?.as_ref().try_into().ok()?;
        let theirs = UnparsedPublicKey::new(&X25519, self.0);
        let shared =
            agree(&own, theirs, (), |shared| shared.try_into().map(Zeroizing::new).map_err(|_| ()));
        Some((public, shared.ok()?))
    }
}

impl age::Recipient for Recipient {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let (public, shared) = self.agree().ok_or_else(|| {
            EncryptError::Io(std::io::Error::other("no key was agreed on for a recipient"))
        })?;
        let mut salt = [0; 64];
        salt[..32].copy_from_slice(&public);
        salt[32..].copy_from_slice(&self.0);
        let key = Zeroizing::new(hkdf(&salt, LABEL, &*shared));
        let stanza = Stanza {
            tag: TAG.to_owned(),
            args: vec![BASE64_STANDARD_NO_PAD.encode(public)],
            body: aead_encrypt(&key, file_key.expose_secret()),
        };
        Ok((vec![stanza], HashSet::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::epoch::{unwrap_with, wrap_to};

    #[test]
    fn what_is_wrapped_opens_with_the_identity_of_stock_age_and_no_other() {
        let identity = age::x25519::Identity::generate();
        let recipient = Recipient::parse(&identity.to_public().to_string()).expect("its key");
        for length in [0, 1, 31, 70_000] {
            let message = vec![7; length];
            let file = wrap_to([&recipient as &dyn age::Recipient], &message);
            let opened = unwrap_with(&identity, &file, 1 << 20).expect("opens");
            assert_eq!(*opened, message);
            let other = age::x25519::Identity::generate();
            assert!(unwrap_with(&other, &file, 1 << 20).is_err());
            assert_ne!(file, wrap_to([&recipient as &dyn age::Recipient], &message));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let good = age::x25519::Identity::generate().to_public().to_string();
        let prefix = bech32_decode(&good, |_| (), |_| Ok(()), |prefix, _| Ok(prefix));
        let zero = age_core::primitives::bech32_encode(prefix.expect("one"), &[0; 32]);
        for bad in
            ["", "age1", &good[1..], &good[..good.len() - 1], &good.replace("age1", "agf1"), &zero]
        {
            assert!(Recipient::parse(bad).is_err(), "{bad}");
        }
        assert!(Recipient::parse(&good).is_ok());
    }
}
