//! Log-in: proof that somebody holds the key of a member of the roster.
//!
//! ```text
//! challenge  age(member, "kluis log-in v1\n" ‖ vault ‖ nonce ‖ secret)       16 + 16 + 16 + 32 bytes
//! answer     BLAKE3.derive_key("kluis v1 log-in", secret ‖ nonce ‖ member's name)
//! ```
//!
//! Both sides know the connection's nonce beforehand, so a challenge of another connection is not
//! answered, and an answer serves once: [`Challenge::verify`] takes the challenge away.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::epoch;
use super::staff::StaffRecipient;
use crate::ids::{VaultId, random};

/// The name under which the recovery key answers; no member can have it.
pub const RECOVERY: &str = "(recovery)";
/// What the message of a challenge begins with.
const PREFIX: &[u8; 16] = b"kluis log-in v1\n";
/// The message of a challenge, in bytes.
const MESSAGE: usize = 16 + 16 + 16 + 32;
/// The context that answers are derived under.
const CONTEXT: &str = "kluis v1 log-in";

/// The server's side of a challenge: what the right answer is.
pub struct Challenge {
    expected: Zeroizing<[u8; 32]>,
}

impl Challenge {
    /// Makes a challenge for the named member; gives the age file to send with it.
    #[must_use]
    pub fn for_member(
        vault: VaultId,
        name: &str,
        recipient: &StaffRecipient,
        nonce: &[u8; 16],
    ) -> (Self, Vec<u8>) {
        let secret = Zeroizing::new(random::<32>());
        let mut message = Zeroizing::new([0; MESSAGE]);
        let parts: [&[u8]; 4] = [PREFIX, vault.as_bytes(), nonce, &secret[..]];
        let mut rest = &mut message[..];
        for part in parts {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        let file = epoch::wrap_to([recipient.for_age()], &message[..]);
        (Self { expected: Zeroizing::new(derive(&secret, nonce, name)) }, file)
    }

    /// Whether `answer` is right, in constant time. There is no second try.
    #[must_use]
    pub fn verify(self, answer: &[u8]) -> bool {
        answer.ct_eq(&self.expected[..]).into()
    }
}

/// The member's side: the answer to an unwrapped challenge.
///
/// `None` if it is no challenge, or one of another vault or connection.
#[must_use]
pub fn answer(message: &[u8], vault: VaultId, nonce: &[u8; 16], name: &str) -> Option<[u8; 32]> {
    let secret = message
        .strip_prefix(PREFIX)?
        .strip_prefix(vault.as_bytes())?
        .strip_prefix(nonce)?
        .try_into()
        .ok()?;
    Some(derive(secret, nonce, name))
}

/// Whether an unwrapped file is a challenge.
pub(super) fn is_message(message: &[u8]) -> bool {
    message.len() == MESSAGE && message.starts_with(PREFIX)
}

fn derive(secret: &[u8; 32], nonce: &[u8; 16], name: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(secret).update(nonce).update(name.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::staff::StaffKey;

    #[test]
    fn only_the_members_key_and_this_connection_answer_a_challenge() {
        let (key, vault, nonce) = (StaffKey::generate(), VaultId::random(), random());
        let make = || Challenge::for_member(vault, "lotte", key.recipient(), &nonce);
        let (challenge, file) = make();
        let message = key.unwrap(&file).expect("opens");
        assert!(is_message(&message));
        let right = answer(&message, vault, &nonce, "lotte").expect("is one");

        assert!(StaffKey::generate().unwrap(&file).is_err());
        assert_eq!(answer(&message, VaultId::random(), &nonce, "lotte"), None);
        assert_eq!(answer(&message, vault, &random(), "lotte"), None);
        assert_eq!(answer(&message[..MESSAGE - 1], vault, &nonce, "lotte"), None);
        assert!(challenge.verify(&right));

        let (next, _) = make();
        assert!(!next.verify(&right), "an answer serves once");
        let (next, file) = make();
        let message = key.unwrap(&file).expect("opens");
        let other = answer(&message, vault, &nonce, "piet").expect("is one");
        assert!(!next.verify(&other), "a member answers for themselves only");
        assert!(!make().0.verify(b""));
        assert!(!make().0.verify(&message));
    }
}
