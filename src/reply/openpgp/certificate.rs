//! Other people's certificates: read with limits, and judged before anything is encrypted to them.

use std::fmt;
use std::time::SystemTime;

use sequoia_openpgp as pgp;

use pgp::cert::CertParser;
use pgp::cert::amalgamation::ValidAmalgamation as _;
use pgp::cert::prelude::{Cert, ValidCert};
use pgp::parse::Parse as _;
use pgp::policy::{AsymmetricAlgorithm, StandardPolicy};
use pgp::serialize::SerializeInto as _;
use pgp::serialize::stream::Recipient;
use pgp::types::{HashAlgorithm, RevocationStatus};

use super::{policy, time};
use crate::secret::Personal;

/// Bytes of a certificate that is read.
pub const MAX_CERTIFICATE: usize = 256 * 1024;

/// A person's OpenPGP certificate. Whether it is *theirs* is for staff to confirm.
#[derive(Clone)]
pub struct Certificate {
    cert: Cert,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Larger than [`MAX_CERTIFICATE`].
    #[error("the key is larger than any we take")]
    TooLarge,
    /// No OpenPGP certificate, or a broken one.
    #[error("this is not an OpenPGP key")]
    Unreadable,
    /// Several certificates.
    #[error("there is more than one key")]
    NotOneCertificate,
    /// The owner sent the secret half: that key is no longer theirs alone.
    #[error("this holds a secret key; ask its owner to make a new one")]
    SecretKey,
    /// Our own key without its secret half.
    #[error("the secret half of the key is missing")]
    NoSecret,
    /// Made, by its own account, later than now.
    #[error("the key is not valid yet")]
    NotYetValid,
    /// Expired, or the subkeys for encryption are.
    #[error("the key has expired; ask its owner for a renewed copy")]
    Expired,
    /// Revoked, or the subkeys for encryption are.
    #[error("the key was revoked by its owner")]
    Revoked,
    /// It can only sign.
    #[error("the key has no part for encryption")]
    NoEncryptionSubkey,
    /// Its own signatures or its numbers are too weak: SHA-1, RSA below 2048 bits and the like.
    #[error("the key is too weak; ask its owner to sign it anew or make a new one")]
    Weak,
    /// An algorithm or a version that is not supported here.
    #[error("the key uses an algorithm that is not supported")]
    Unsupported,
}

impl Certificate {
    /// Reads one certificate, binary or armored. Says nothing yet about its being fit for use: see
    /// [`check`](Certificate::check).
    ///
    /// # Errors
    /// `TooLarge`, `Unreadable`, `NotOneCertificate`, `SecretKey`.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyProblem> {
        let cert = parse_one(bytes)?;
        if cert.is_tsk() {
            return Err(KeyProblem::SecretKey);
        }
        Ok(Self { cert })
    }

    pub(super) fn of(cert: &Cert) -> Self {
        Self { cert: cert.clone().strip_secret_key_material() }
    }

    /// Whether a mail can be encrypted to it `now` (seconds since 1970-01-01T00:00:00Z).
    ///
    /// # Errors
    /// The reason why not.
    pub fn check(&self, now: u64) -> Result<(), KeyProblem> {
        let now = time(now);
        self.recipients(&policy(now), now).map(drop)
    }

    /// The fingerprint in upper-case hexadecimal: what staff compare.
    #[must_use]
    pub fn fingerprint(&self) -> Personal<String> {
        Personal::new(self.cert.fingerprint().to_hex())
    }

    /// The certificate in binary, for sealing.
    ///
    /// # Errors
    /// `Unreadable` if the library cannot write what it has read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, KeyProblem> {
        self.cert.to_vec().map_err(|_| KeyProblem::Unreadable)
    }

    pub(crate) const fn cert(&self) -> &Cert {
        &self.cert
    }

    /// Every part of it that is fit for encrypting mail: never empty.
    pub(super) fn recipients<'a>(
        &'a self,
        policy: &'a StandardPolicy<'static>,
        now: SystemTime,
    ) -> Result<Vec<Recipient<'a>>, KeyProblem> {
        let valid = self.cert.with_policy(policy, now).map_err(|_| self.why_not_bound(now))?;
        if let RevocationStatus::Revoked(_) = valid.revocation_status() {
            return Err(KeyProblem::Revoked);
        }
        if valid.alive().is_err() {
            return Err(KeyProblem::Expired);
        }
        let fit = valid.keys().supported().alive().revoked(false).for_transport_encryption();
        let fit: Vec<Recipient<'_>> = fit.map(Into::into).collect();
        if fit.is_empty() { Err(self.why_none_fit(&valid, now)) } else { Ok(fit) }
    }

    /// No self-signature counts: weak, if one would under older rules.
    fn why_not_bound(&self, now: SystemTime) -> KeyProblem {
        if self.cert.with_policy(&lenient(now), now).is_ok() {
            KeyProblem::Weak
        } else if self.cert.primary_key().key().creation_time() > now {
            KeyProblem::NotYetValid
        } else if self.cert.primary_key().key().pk_algo().is_supported() {
            KeyProblem::Unreadable
        } else {
            KeyProblem::Unsupported
        }
    }

    /// The certificate is valid, yet no part of it can be encrypted to.
    fn why_none_fit(&self, valid: &ValidCert<'_>, now: SystemTime) -> KeyProblem {
        let mut why = None;
        for key in valid.keys().for_transport_encryption() {
            why = Some(if matches!(key.revocation_status(), RevocationStatus::Revoked(_)) {
                KeyProblem::Revoked
            } else if key.alive().is_err() {
                return KeyProblem::Expired; // the one that a newer copy cures
            } else {
                KeyProblem::Unsupported
            });
        }
        let lenient = lenient(now);
        let older = || self.cert.keys().with_policy(&lenient, now).for_transport_encryption();
        why.unwrap_or_else(|| {
            if older().next().is_some() { KeyProblem::Weak } else { KeyProblem::NoEncryptionSubkey }
        })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

/// One certificate, with whatever it holds.
pub(super) fn parse_one(bytes: &[u8]) -> Result<Cert, KeyProblem> {
    if bytes.len() > MAX_CERTIFICATE {
        return Err(KeyProblem::TooLarge);
    }
    // The armor reader stops behind the first block.
    let blocks = bytes.windows(ARMOR.len()).filter(|window| *window == ARMOR).count();
    let mut certs = CertParser::from_bytes(bytes).map_err(|_| KeyProblem::Unreadable)?;
    let first = certs.next().ok_or(KeyProblem::Unreadable)?.map_err(|_| KeyProblem::Unreadable)?;
    if blocks > 1 || certs.next().is_some() {
        return Err(KeyProblem::NotOneCertificate);
    }
    Ok(first)
}

const ARMOR: &[u8] = b"-----BEGIN PGP ";

/// The rules without those against weak algorithms: to tell why the real ones refused, only.
fn lenient(now: SystemTime) -> StandardPolicy<'static> {
    let mut rules = policy(now);
    HashAlgorithm::variants().for_each(|hash| rules.accept_hash(hash));
    AsymmetricAlgorithm::variants().for_each(|algorithm| rules.accept_asymmetric_algo(algorithm));
    rules
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pgp::cert::prelude::CertBuilder;
    use pgp::cert::{CertRevocationBuilder, SubkeyRevocationBuilder};
    use pgp::types::ReasonForRevocation;

    use super::*;

    const MADE: u64 = 1_792_000_000;
    const DAY: u64 = 86_400;

    fn builder() -> CertBuilder<'static> {
        CertBuilder::new().set_creation_time(time(MADE)).add_userid("lotte@example.net")
    }

    fn judged(cert: &Cert, now: u64) -> Result<(), KeyProblem> {
        let bytes = cert.clone().strip_secret_key_material().to_vec().unwrap();
        Certificate::parse(&bytes).unwrap().check(now)
    }

    #[test]
    fn a_key_is_used_only_while_it_is_valid() {
        let year = Duration::from_secs(365 * DAY);
        let made = builder().add_transport_encryption_subkey().set_validity_period(year);
        let (cert, _) = made.generate().unwrap();
        assert_eq!(judged(&cert, MADE - 1), Err(KeyProblem::NotYetValid));
        assert_eq!(judged(&cert, MADE + DAY), Ok(()));
        assert_eq!(judged(&cert, MADE + 364 * DAY), Ok(()));
        assert_eq!(judged(&cert, MADE + 366 * DAY), Err(KeyProblem::Expired));

        let (cert, _) = builder()
            .add_subkey(pgp::types::KeyFlags::empty().set_transport_encryption(), year, None)
            .generate()
            .unwrap();
        assert_eq!(judged(&cert, MADE + DAY), Ok(()));
        assert_eq!(judged(&cert, MADE + 366 * DAY), Err(KeyProblem::Expired));
    }

    #[test]
    fn a_revoked_key_or_part_is_not_used() {
        let (cert, _) = builder().add_transport_encryption_subkey().generate().unwrap();
        let primary = cert.primary_key().key().clone().parts_into_secret().unwrap();
        let mut signer = primary.into_keypair().unwrap();
        let reason = ReasonForRevocation::KeyCompromised;
        let revocation = CertRevocationBuilder::new()
            .set_signature_creation_time(time(MADE + DAY))
            .unwrap()
            .set_reason_for_revocation(reason, b"")
            .unwrap()
            .build(&mut signer, &cert, None)
            .unwrap();
        let revoked = cert.clone().insert_packets(revocation).unwrap().0;
        assert_eq!(judged(&revoked, MADE + 2 * DAY), Err(KeyProblem::Revoked));

        let subkey = cert.keys().subkeys().next().unwrap();
        let revocation = SubkeyRevocationBuilder::new()
            .set_signature_creation_time(time(MADE + DAY))
            .unwrap()
            .set_reason_for_revocation(ReasonForRevocation::KeyRetired, b"")
            .unwrap()
            .build(&mut signer, &cert, subkey.key(), None)
            .unwrap();
        let revoked = cert.clone().insert_packets(revocation).unwrap().0;
        assert_eq!(judged(&revoked, MADE + 2 * DAY), Err(KeyProblem::Revoked));
    }

    #[test]
    fn what_is_not_one_public_key_for_encryption_has_its_reason() {
        let (cert, _) = builder().add_signing_subkey().generate().unwrap();
        assert_eq!(judged(&cert, MADE + DAY), Err(KeyProblem::NoEncryptionSubkey));
        let secret = cert.as_tsk().to_vec().unwrap();
        assert_eq!(Certificate::parse(&secret).unwrap_err(), KeyProblem::SecretKey);

        let public = cert.strip_secret_key_material();
        let (binary, armored) = (public.to_vec().unwrap(), public.armored().to_vec().unwrap());
        for two in [binary.repeat(2), armored.repeat(2)] {
            assert_eq!(Certificate::parse(&two).unwrap_err(), KeyProblem::NotOneCertificate);
        }
        for none in [&b""[..], b"Hello", &[0xff; 99], &binary[..20]] {
            assert_eq!(Certificate::parse(none).unwrap_err(), KeyProblem::Unreadable);
        }
        let large = vec![0; MAX_CERTIFICATE + 1];
        assert_eq!(Certificate::parse(&large).unwrap_err(), KeyProblem::TooLarge);
    }
}
