//! OpenPGP for mail that goes out: which certificates are fit, and the sealed message itself.
//!
//! One message, encrypted and signed together (RFC 3156 §6.2), to one certificate and nobody else,
//! ourselves included: what we sent is in the vault. SEIPDv1, the only form that every client
//! reads, unless the certificate announces SEIPDv2. This folder and `staff` are the ones that name
//! an OpenPGP library.

mod certificate;
mod mailbox;

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sequoia_openpgp as pgp;

use pgp::policy::StandardPolicy;
use pgp::serialize::stream::{Armorer, Encryptor, LiteralWriter, Message, Signer};
use pgp::types::SymmetricAlgorithm;

pub use certificate::{Certificate, KeyProblem, MAX_CERTIFICATE};
pub use mailbox::MailboxKey;

use super::ComposeError;
use super::compose::write;

/// The rules by which keys, algorithms and signatures are judged, as they stand at a time.
pub(crate) fn policy(time: SystemTime) -> StandardPolicy<'static> {
    StandardPolicy::at(time)
}

/// A time from seconds since 1970-01-01T00:00:00Z; far beyond what OpenPGP can write it stops.
pub(crate) fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min(u32::MAX.into()))
}

/// Whether the library's backend has OCB, without which our key cannot invite the newer and
/// stronger form of encryption (SEIPDv2, RFC 9580 §5.13.2).
#[must_use]
pub fn has_ocb() -> bool {
    pgp::types::AEADAlgorithm::OCB.is_supported()
}

/// Encrypts `payload` to a certificate, signed by the mailbox, as armor with CRLF line ends and
/// without any armor header. The signature names the certificate as the one it is meant for.
///
/// # Errors
/// `Key` if one of the two cannot be used `now` (seconds since 1970-01-01T00:00:00Z),
/// `NotEncrypted` if the library fails.
pub(super) fn seal(
    payload: &[u8],
    to: &Certificate,
    signer: &MailboxKey,
    now: u64,
) -> Result<Vec<u8>, ComposeError> {
    let now = time(now);
    let policy = policy(now);
    let recipients = to.recipients(&policy, now)?;
    let keypair = signer.signing(&policy, now)?;
    let mut armored = Vec::with_capacity(payload.len() / 2 * 3 + 4096);
    let written = (|| -> pgp::Result<()> {
        let message = Armorer::new(Message::new(&mut armored)).build()?;
        let message = Encryptor::for_recipients(message, recipients)
            .symmetric_algo(SymmetricAlgorithm::AES256)
            .build()?;
        let message = Signer::new(message, keypair)?
            .add_intended_recipient(to.cert())
            .creation_time(now)
            .build()?;
        let mut literal = LiteralWriter::new(message).build()?;
        literal.write_all(payload)?;
        literal.finalize()
    })();
    written.map_err(|_| ComposeError::NotEncrypted)?;
    Ok(with_crlf(&armored))
}

fn with_crlf(armored: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(armored.len() + armored.len() / 32);
    for line in armored.strip_suffix(b"\n").unwrap_or(armored).split(|&b| b == b'\n') {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Appends the `multipart/encrypted` entity (RFC 3156 §4) for a sealed message.
pub(super) fn write_entity(out: &mut Vec<u8>, sealed: &[u8], boundary: &str) {
    write(out, &["Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n"]);
    write(out, &[" boundary=\"", boundary, "\"\r\n\r\n"]);
    write(out, &["--", boundary, "\r\n"]);
    write(out, &["Content-Type: application/pgp-encrypted\r\n"]);
    write(out, &["Content-Description: PGP/MIME version identification\r\n\r\n"]);
    write(out, &["Version: 1\r\n\r\n"]);
    write(out, &["--", boundary, "\r\n"]);
    write(out, &["Content-Type: application/octet-stream; name=\"encrypted.asc\"\r\n"]);
    write(out, &["Content-Description: OpenPGP encrypted message\r\n"]);
    write(out, &["Content-Disposition: inline; filename=\"encrypted.asc\"\r\n\r\n"]);
    out.extend_from_slice(sealed);
    write(out, &["\r\n--", boundary, "--\r\n"]);
}
