//! The signed head of the ledger: a C2SP `tlog-checkpoint` in a `signed-note` (Ed25519).
//!
//! ```text
//! kluis/<vault id, hex>
//! <size, decimal>
//! <root, base64>
//!
//! — kluis/<vault id, hex> <base64(key id ‖ signature)>
//! ```
//!
//! A checkpoint kept by an outsider is what makes the ledger provable: whoever holds one finds any
//! edit, drop, reorder or fork of what it covers.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER};

use super::Error;
use crate::ids::{Digest, VaultId};

/// What a checkpoint says, once its signature is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The vault whose ledger it is.
    pub vault: VaultId,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Digest,
}

/// The longest note that is read, in bytes: a checkpoint and a few signatures of witnesses.
const LONGEST: usize = 16 * 1024;
/// The signature type of Ed25519 in a signed note.
const ED25519_TYPE: u8 = 1;

impl Checkpoint {
    /// Signs the checkpoint with the key of this seed and gives the note.
    ///
    /// # Panics
    /// If the seed is no Ed25519 seed; every 32 bytes are.
    #[must_use]
    pub fn sign(&self, seed: &[u8; 32]) -> String {
        let name = origin(self.vault);
        let text = format!("{name}\n{}\n{}\n", self.size, BASE64.encode(self.root.as_bytes()));
        let pair = pair(seed);
        let public = public_key(seed);
        let mut signature = key_id(&name, &public).to_vec();
        signature.extend_from_slice(pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n— {name} {}\n", BASE64.encode(&signature))
    }

    /// Verifies a note with the public key and reads what it says. Signatures of others
    /// (witnesses) are passed over.
    ///
    /// # Errors
    /// [`Error::BadCheckpoint`] if it is no checkpoint or not signed with that key.
    pub fn verify(note: &str, public: &[u8; 32]) -> Result<Self, Error> {
        if note.len() > LONGEST {
            return Err(Error::BadCheckpoint);
        }
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(Error::BadCheckpoint)?;
        let text = &note[..=text.len()];
        let this = Self::parse(text).ok_or(Error::BadCheckpoint)?;
        let name = origin(this.vault);
        let id = key_id(&name, public);
        let key = UnparsedPublicKey::new(&ED25519, public);
        let signed = signatures.lines().any(|line| {
            signature_of(line, &name)
                .and_then(|bytes| bytes.strip_prefix(&id).map(<[u8]>::to_vec))
                .is_some_and(|signature| key.verify(text.as_bytes(), &signature).is_ok())
        });
        if signed { Ok(this) } else { Err(Error::BadCheckpoint) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let vault = lines.next()?.strip_prefix("kluis/")?.parse().ok()?;
        let written = lines.next()?;
        let size: u64 = written.parse().ok()?;
        let root = BASE64.decode(lines.next()?.as_bytes()).ok()?.try_into().ok()?;
        (size.to_string() == written).then_some(Self { vault, size, root: Digest::new(root) })
    }
}

/// The signature in one line `— name base64`, if the name is this one.
fn signature_of(line: &str, name: &str) -> Option<Vec<u8>> {
    let (signer, signature) = line.strip_prefix("— ")?.split_once(' ')?;
    if signer != name {
        return None;
    }
    BASE64.decode(signature.as_bytes()).ok()
}

/// The origin line of a vault's checkpoints, also the name of the key.
#[must_use]
pub fn origin(vault: VaultId) -> String {
    format!("kluis/{vault}")
}

/// The public key of a seed.
///
/// # Panics
/// If the seed is no Ed25519 seed; every 32 bytes are.
#[must_use]
pub fn public_key(seed: &[u8; 32]) -> [u8; 32] {
    pair(seed).public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
}

/// The public key as outsiders keep it: `name+key id+base64(0x01 ‖ public key)`.
#[must_use]
pub fn vkey(vault: VaultId, public: &[u8; 32]) -> String {
    let name = origin(vault);
    let id = HEXLOWER.encode(&key_id(&name, public));
    format!("{name}+{id}+{}", BASE64.encode(&typed(public)))
}

/// Reads what [`vkey`] wrote: the vault and the public key.
///
/// # Errors
/// [`Error::BadCheckpoint`] if it is no such text, or its key id is not that of its key.
pub fn parse_vkey(text: &str) -> Result<(VaultId, [u8; 32]), Error> {
    let read = || {
        // The base64 part may hold a plus sign itself.
        let (name, rest) = text.trim().split_once('+')?;
        let (_, key) = rest.split_once('+')?;
        let vault: VaultId = name.strip_prefix("kluis/")?.parse().ok()?;
        let key = BASE64.decode(key.as_bytes()).ok()?;
        let public: [u8; 32] = key.strip_prefix(&[ED25519_TYPE])?.try_into().ok()?;
        (vkey(vault, &public) == text.trim()).then_some((vault, public))
    };
    read().ok_or(Error::BadCheckpoint)
}

fn pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are an Ed25519 seed")
}

fn typed(public: &[u8; 32]) -> [u8; 33] {
    let mut typed = [ED25519_TYPE; 33];
    typed[1..].copy_from_slice(public);
    typed
}

/// The first four bytes of SHA-256(name ‖ newline ‖ 0x01 ‖ public key) (C2SP `signed-note`).
fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let mut input = format!("{name}\n").into_bytes();
    input.extend_from_slice(&typed(public));
    digest(&SHA256, &input).as_ref()[..4].try_into().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint { vault: VaultId::new([7; 16]), size: 42, root: Digest::new([9; 32]) }
    }

    #[test]
    fn a_checkpoint_verifies_with_its_key_only() {
        let note = checkpoint().sign(&[1; 32]);
        assert_eq!(Checkpoint::verify(&note, &public_key(&[1; 32])), Ok(checkpoint()));
        assert!(Checkpoint::verify(&note, &public_key(&[2; 32])).is_err());
        assert!(note.starts_with("kluis/07070707070707070707070707070707\n42\nCQkJ"));
    }

    #[test]
    fn a_witness_may_sign_too() {
        let note = checkpoint().sign(&[1; 32]) + "— witness.example/w AAAAAAAA\n";
        assert_eq!(Checkpoint::verify(&note, &public_key(&[1; 32])), Ok(checkpoint()));
    }

    #[test]
    fn any_changed_byte_of_a_checkpoint_is_refused() {
        let note = checkpoint().sign(&[1; 32]);
        let public = public_key(&[1; 32]);
        for at in 0..note.len() - 1 {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(Checkpoint::verify(&changed, &public).is_err(), "{at}");
            }
        }
        for size in ["042", "+42", "-1", ""] {
            let other = note.replace("\n42\n", &format!("\n{size}\n"));
            assert!(Checkpoint::verify(&other, &public).is_err());
        }
        assert!(Checkpoint::verify("", &public).is_err());
        assert!(Checkpoint::verify(&"\n".repeat(LONGEST + 1), &public).is_err());
    }

    #[test]
    fn the_published_key_reads_back() {
        // The key of RFC 8032 §7.1, test 1.
        let seed: [u8; 32] = HEXLOWER
            .decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .expect("hex")
            .try_into()
            .expect("32 bytes");
        let public = public_key(&seed);
        assert_eq!(
            HEXLOWER.encode(&public),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let vault = VaultId::new([7; 16]);
        let text = vkey(vault, &public);
        assert_eq!(parse_vkey(&text), Ok((vault, public)));
        let (name, key) = text.split_once('+').expect("a name");
        assert!(parse_vkey(&format!("{name}0+{key}")).is_err());
        let (id, rest) = key.split_at(8);
        assert!(parse_vkey(&format!("{name}+{}{rest}", id.replace(&id[..1], "x"))).is_err());
    }
}
