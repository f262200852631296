//! The mailbox's own key: letters are encrypted to it, answers signed with it.

use std::time::SystemTime;

use sequoia_openpgp as pgp;

use pgp::Profile;
use pgp::armor::{Kind, Writer};
use pgp::cert::prelude::{Cert, CertBuilder, CipherSuite};
use pgp::crypto::KeyPair;
use pgp::policy::StandardPolicy;
use pgp::serialize::{Serialize as _, SerializeInto as _};
use pgp::types::{AEADAlgorithm, Features, KeyFlags};
use zeroize::Zeroizing;

use super::certificate::{Certificate, KeyProblem, parse_one};
use super::time;
use crate::reply::ComposeError;
use crate::reply::compose::is_address;

/// The secret key of the mailbox. No `Debug`, no `Clone`.
///
/// Version 4, Ed25519 for certifying and signing, Curve25519 for encryption: what every client
/// in use reads. It does not expire: it is replaced by `keys rotate --mailbox`, its secret can be
/// recovered, and a date that nobody extends would only make people write in clear.
pub struct MailboxKey {
    cert: Cert,
}

impl MailboxKey {
    /// Makes one for an address, valid from `now` (seconds since 1970-01-01T00:00:00Z).
    ///
    /// # Errors
    /// `BadField` for an address that is none, `NotEncrypted` if the library fails.
    pub fn generate(address: &str, now: u64) -> Result<Self, ComposeError> {
        // Announce nothing that the library here could not read.
        let features = Features::empty().set_seipdv1();
        let reads_both = AEADAlgorithm::OCB.is_supported();
        Self::generate_with(
            address,
            now,
            if reads_both { features.set_seipdv2() } else { features },
        )
    }

    /// Makes one as programs do that do not know RFC 9580, GnuPG 2.2 say: for what is shown to
    /// them.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_for_gnupg(address: &str, now: u64) -> Result<Self, ComposeError> {
        Self::generate_with(address, now, Features::empty().set_seipdv1())
    }

    fn generate_with(address: &str, now: u64, features: Features) -> Result<Self, ComposeError> {
        if !is_address(address) {
            return Err(ComposeError::BadField("mailbox's address"));
        }
        let encrypts = KeyFlags::empty().set_transport_encryption().set_storage_encryption();
        let made = (|| {
            CertBuilder::new()
                .set_profile(Profile::RFC4880)?
                .set_cipher_suite(CipherSuite::Cv25519)
                .set_creation_time(time(now))
                .set_features(features)?
                .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
                .add_userid(address)
                .add_subkey(encrypts, None, None)
                .generate()
        })();
        let (cert, _revocation) = made.map_err(|_| ComposeError::NotEncrypted)?;
        Ok(Self { cert })
    }

    /// Reads what [`to_secret_bytes`](Self::to_secret_bytes) wrote.
    ///
    /// # Errors
    /// `Unreadable`, `NotOneCertificate`, `TooLarge`, or `NoSecret` if a secret part is missing or
    /// locked with a passphrase.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, KeyProblem> {
        let cert = parse_one(bytes)?;
        if cert.keys().unencrypted_secret().count() != cert.keys().count() {
            return Err(KeyProblem::NoSecret);
        }
        Ok(Self { cert })
    }

    /// The transferable secret key in binary (RFC 9580 §10.2), its secrets in clear: whoever calls
    /// wraps the bytes like an epoch secret.
    ///
    /// # Errors
    /// `Unreadable` if the library cannot write its own key.
    pub fn to_secret_bytes(&self) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        let key = self.cert.as_tsk();
        let mut bytes = Zeroizing::new(vec![0; key.serialized_len()]);
        let written = key.serialize_into(&mut bytes).map_err(|_| KeyProblem::Unreadable)?;
        bytes.truncate(written);
        Ok(bytes)
    }

    /// The certificate in armor without comments, for `mailbox.asc` and for publishing.
    ///
    /// # Errors
    /// `Unreadable` if the library cannot write its own certificate.
    pub fn public_armored(&self) -> Result<String, KeyProblem> {
        let written = (|| {
            let mut writer = Writer::new(Vec::new(), Kind::PublicKey)?;
            self.cert.serialize(&mut writer)?;
            Ok::<_, pgp::anyhow::Error>(writer.finalize()?)
        })();
        written.ok().and_then(|armor| String::from_utf8(armor).ok()).ok_or(KeyProblem::Unreadable)
    }

    /// The public half.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        Certificate::of(&self.cert)
    }

    pub(crate) const fn cert(&self) -> &Cert {
        &self.cert
    }

    /// What signs `now`.
    pub(super) fn signing(
        &self,
        policy: &StandardPolicy<'static>,
        now: SystemTime,
    ) -> Result<KeyPair, KeyProblem> {
        let fit = self.cert.keys().with_policy(policy, now).supported().alive().revoked(false);
        let key = fit.for_signing().unencrypted_secret().next().ok_or(KeyProblem::NoSecret)?;
        key.key().clone().into_keypair().map_err(|_| KeyProblem::NoSecret)
    }
}
