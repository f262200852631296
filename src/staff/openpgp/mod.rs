//! Opens letters that were encrypted to the mailbox.
//!
//! Runs with the mailbox's secret keys, so on the staff side only, and best in a process of its
//! own. What comes out was read to the end and is authenticated as a whole: nothing is handed out
//! before that, and a letter without integrity protection is not opened at all (EFAIL). Nothing
//! that leaves by itself, a notice say, may depend on what happens here.
//!
//! Limits: [`MAX_RECIPIENTS`] recipients, [`MAX_HIDDEN`] hidden ones tried, no passwords,
//! [`MAX_LAYERS`] layers, content at most [`MAX_CONTENT`] bytes and [`MAX_RATIO`] times the letter.

mod armor;
mod outline;

use std::cell::Cell;
use std::time::Duration;

use sequoia_openpgp as pgp;

use pgp::KeyHandle;
use pgp::cert::prelude::Cert;
use pgp::crypto::SessionKey;
use pgp::packet::{PKESK, SKESK};
use pgp::parse::Parse as _;
use pgp::parse::stream::{
    DecryptionHelper, DecryptorBuilder, MessageLayer, MessageStructure, VerificationError,
    VerificationHelper, VerificationResult,
};
use pgp::types::SymmetricAlgorithm;
use zeroize::Zeroizing;

use crate::reply::openpgp::{Certificate, MailboxKey, policy, time};
use crate::secret::Personal;

/// Recipients of a message that is looked at.
pub const MAX_RECIPIENTS: usize = 32;
/// Recipients without a name that are tried with our keys.
pub const MAX_HIDDEN: usize = 4;
/// Encryption layers.
pub const MAX_LAYERS: usize = 2;
/// Bytes of opened content: four times the largest letter.
pub const MAX_CONTENT: usize = 256 << 20;
/// How many times larger than the letter its content may be.
pub const MAX_RATIO: usize = 100;

/// What every letter may grow to, however small it is.
const FREE_CONTENT: usize = 1 << 20;
/// How far a sender's clock may be ahead of ours.
const CLOCK_SKEW: Duration = Duration::from_secs(30 * 60);

/// An opened letter.
pub struct Decrypted {
    /// The content, usually a MIME entity.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// What the signature inside says. A `multipart/signed` within the content is not looked at.
    pub signature: Signature,
    /// The armor or what stood behind the message had to be mended to read it.
    pub repaired: bool,
}

/// What is known of the signature on a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    None,
    /// By the certificate with this fingerprint, upper-case hexadecimal.
    Good(Personal<String>),
    /// There is one that does not hold: wrong, too weak, by an expired key, for somebody else.
    Bad,
    /// By a key, named by its id or fingerprint if at all, that is not among the senders'.
    UnknownKey(Option<Personal<String>>),
}

/// Why a letter was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecryptable {
    /// Encrypted, but not to a key of ours.
    #[error("encrypted to a key that is not ours")]
    NoKeyOfOurs,
    /// GnuPG's own encryption packet (tag 20, LibrePGP): the sender has an edited copy of our key.
    #[error("encrypted in a form of GnuPG's own; ask the sender to fetch our key again")]
    LibrePgpOcb,
    /// Its integrity could not be shown: no protection, or it does not hold.
    #[error("altered on the way, or not protected against it")]
    Unauthenticated,
    /// Not an encrypted OpenPGP message, or a broken one.
    #[error("not an encrypted message")]
    Malformed,
    /// More recipients, layers or content than is read.
    #[error("over the limits for an encrypted message")]
    OverLimit,
    /// The end is missing.
    #[error("the end of the message is missing")]
    Truncated,
    /// An algorithm or a version that is not supported here.
    #[error("encrypted with an algorithm that is not supported")]
    Unsupported,
}

/// Opens a message with any of our keys, retired ones included: which one, the message says.
///
/// Takes binary or armor, with text before it and slightly damaged. A signature is looked for
/// among `senders`, as it stands `now` (seconds since 1970-01-01T00:00:00Z).
///
/// # Errors
/// The reason why it was not opened; nothing of its content.
pub fn decrypt(
    ciphertext: &[u8],
    keys: &[MailboxKey],
    senders: &[Certificate],
    now: u64,
) -> Result<Decrypted, Undecryptable> {
    let binary = armor::strip(ciphertext)?;
    let message = outline::message(&binary.bytes)?;
    let now = time(now) + CLOCK_SKEW;
    let policy = policy(now);
    let opened = Cell::new(false);
    let opener = Opener { keys, senders, opened: &opened, layers: 0, signature: Signature::None };
    // Whatever goes wrong behind the key, before everything is authenticated, has one name: finer
    // ones would be about bytes that anybody may have put there.
    let why = |error: &pgp::anyhow::Error| match error.downcast_ref() {
        Some(Undecryptable::OverLimit) => Undecryptable::OverLimit,
        _ if opened.get() => Undecryptable::Unauthenticated,
        Some(&why) => why,
        None => Undecryptable::Malformed,
    };
    let mut content = DecryptorBuilder::from_bytes(message)
        .and_then(|builder| builder.with_policy(&policy, now, opener))
        .map_err(|error| why(&error))?;
    let plaintext = read_to_end(&mut content, message.len())?;
    let repaired = binary.repaired || message.len() != binary.bytes.len();
    Ok(Decrypted { plaintext, signature: content.into_helper().signature, repaired })
}

/// Reads everything, within limits. Growing leaves no copy behind.
fn read_to_end(
    content: &mut impl std::io::Read,
    message: usize,
) -> Result<Zeroizing<Vec<u8>>, Undecryptable> {
    let limit = message.saturating_mul(MAX_RATIO).clamp(FREE_CONTENT, MAX_CONTENT);
    let mut plaintext = Zeroizing::new(Vec::with_capacity(message));
    let mut piece = Zeroizing::new(vec![0; 64 * 1024]);
    loop {
        let read = content.read(&mut piece).map_err(|_| Undecryptable::Unauthenticated)?;
        if read == 0 {
            return Ok(plaintext);
        }
        if plaintext.len() + read > limit {
            return Err(Undecryptable::OverLimit);
        }
        if plaintext.len() + read > plaintext.capacity() {
            let room = (plaintext.len() + read).saturating_mul(2).min(limit);
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&plaintext);
            plaintext = larger;
        }
        plaintext.extend_from_slice(&piece[..read]);
    }
}

/// What the library asks while it reads a message.
struct Opener<'a> {
    keys: &'a [MailboxKey],
    senders: &'a [Certificate],
    /// Set once a session key fits.
    opened: &'a Cell<bool>,
    layers: usize,
    signature: Signature,
}

impl Opener<'_> {
    /// Tries one recipient's packet with every key of ours that it can be for; `None` if it is for
    /// none of them.
    fn attempt(
        &self,
        packet: &PKESK,
        algorithm: Option<SymmetricAlgorithm>,
        open: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> Option<Result<Cert, Undecryptable>> {
        let recipient = packet.recipient();
        let mut tried = None;
        for key in self.keys {
            for part in key.cert().keys().unencrypted_secret() {
                let meant = recipient.as_ref().is_none_or(|id| id.aliases(part.key().key_handle()));
                if !meant || part.key().pk_algo() != packet.pk_algo() {
                    continue;
                }
                tried = tried.or(Some(Err(Undecryptable::Malformed)));
                let Ok(mut pair) = part.key().clone().into_keypair() else { continue };
                if let Some((algorithm, session)) = packet.decrypt(&mut pair, algorithm) {
                    if open(algorithm, &session) {
                        return Some(Ok(key.certificate().cert().clone()));
                    }
                    tried = Some(Err(Undecryptable::Unauthenticated));
                }
            }
        }
        tried
    }
}

impl DecryptionHelper for Opener<'_> {
    fn decrypt(
        &mut self,
        packets: &[PKESK],
        _passwords: &[SKESK],
        algorithm: Option<SymmetricAlgorithm>,
        open: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> pgp::Result<Option<Cert>> {
        self.layers += 1;
        let hidden = packets.iter().filter(|packet| packet.recipient().is_none());
        if self.layers > MAX_LAYERS || packets.len() > MAX_RECIPIENTS * MAX_LAYERS {
            return Err(Undecryptable::OverLimit.into());
        }
        let mut why = Undecryptable::NoKeyOfOurs;
        if hidden.clone().count() > MAX_HIDDEN {
            why = Undecryptable::OverLimit;
        }
        let named = packets.iter().filter(|packet| packet.recipient().is_some());
        for packet in named.chain(hidden.take(MAX_HIDDEN)) {
            match self.attempt(packet, algorithm, open) {
                Some(Ok(cert)) => {
                    self.opened.set(true);
                    return Ok(Some(cert));
                }
                // A hidden recipient whose packet does not open was somebody else.
                Some(Err(Undecryptable::Malformed)) if packet.recipient().is_none() => {}
                Some(Err(reason)) => why = reason,
                None => {}
            }
        }
        Err(why.into())
    }
}

impl VerificationHelper for Opener<'_> {
    fn get_certs(&mut self, _ids: &[KeyHandle]) -> pgp::Result<Vec<Cert>> {
        Ok(self.senders.iter().map(|sender| sender.cert().clone()).collect())
    }

    /// Never an error: the content is authenticated by the encryption, and who signed is a fact
    /// for staff to weigh.
    fn check(&mut self, structure: MessageStructure<'_>) -> pgp::Result<()> {
        for layer in structure {
            if let MessageLayer::SignatureGroup { results } = layer {
                for result in results {
                    let seen = verdict(&result);
                    if rank(&seen) > rank(&self.signature) {
                        self.signature = seen;
                    }
                }
            }
        }
        Ok(())
    }
}

fn verdict(result: &VerificationResult<'_>) -> Signature {
    match result {
        Ok(good) => Signature::Good(Personal::new(good.ka.cert().fingerprint().to_hex())),
        Err(VerificationError::MissingKey { sig }) => {
            let issuer = sig.get_issuers().into_iter().next();
            Signature::UnknownKey(issuer.map(|id| Personal::new(id.to_hex())))
        }
        Err(_) => Signature::Bad,
    }
}

/// Of several signatures the one that says most is told.
const fn rank(signature: &Signature) -> u8 {
    match signature {
        Signature::None => 0,
        Signature::UnknownKey(_) => 1,
        Signature::Bad => 2,
        Signature::Good(_) => 3,
    }
}

#[cfg(test)]
mod tests;
