//! Signed notes: a text and the Ed25519 signatures under it (C2SP signed-note).
//!
//! ```text
//! a text of lines, each ended by a newline
//!
//! — name base64(key id ‖ signature)
//! ```
//!
//! The key id is the start of SHA-256(name ‖ "\n" ‖ 0x01 ‖ public key). Any program that reads C2SP
//! notes verifies ours, the roster and the checkpoints of the ledger alike.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER};

/// The longest note that is read, in bytes.
pub const LONGEST: usize = 1 << 20;
/// The most signatures that are looked at.
const MOST_SIGNATURES: usize = 100;
/// C2SP's number for Ed25519.
const ALGORITHM: u8 = 1;
/// What a signature line begins with: an em dash and a space.
pub const MARK: &str = "\u{2014} ";

/// Signs `text` as `name` with the Ed25519 key of `seed`; gives the whole note.
///
/// # Panics
/// If `text` is no note text ([`is_text`]), or `name` no key name: both come from our own code.
#[must_use]
pub fn sign(text: &str, name: &str, seed: &[u8; 32]) -> String {
    assert!(is_text(text) && is_name(name), "only lines of text are signed, under a plain name");
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed has 32 bytes");
    let signature = pair.sign(text.as_bytes());
    let id = key_id(name, &public_of(seed));
    let signature = BASE64.encode(&[&id[..], signature.as_ref()].concat());
    format!("{text}\n{MARK}{name} {signature}\n")
}

/// The text of `note`, if `name` signed it with the key whose public half is `public`.
///
/// Signatures of others are passed over. A bad signature under this very name and key is a refusal,
/// even if a good one stands beside it.
#[must_use]
pub fn verify<'a>(note: &'a str, name: &str, public: &[u8; 32]) -> Option<&'a str> {
    if note.len() > LONGEST || !is_name(name) {
        return None;
    }
    let end = note.rfind("\n\n")? + 1;
    let (text, signatures) = (&note[..end], &note[end + 1..]);
    if !is_text(text) || !signatures.ends_with('\n') {
        return None;
    }
    let wanted = key_id(name, public);
    let mut found = false;
    for (count, line) in signatures.lines().enumerate() {
        let (signer, encoded) = line.strip_prefix(MARK)?.split_once(' ')?;
        let bytes = BASE64.decode(encoded.as_bytes()).ok()?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        if count >= MOST_SIGNATURES || !is_name(signer) || signature.is_empty() {
            return None;
        }
        if signer == name && *id == wanted {
            let key = UnparsedPublicKey::new(&ED25519, public);
            key.verify(text.as_bytes(), signature).ok()?;
            found = true;
        }
    }
    found.then_some(text)
}

/// Whether `text` can be signed: whole lines, no control characters.
#[must_use]
pub fn is_text(text: &str) -> bool {
    text.ends_with('\n') && text.chars().all(|c| c == '\n' || !c.is_control())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// The public half of the Ed25519 key of `seed`.
#[must_use]
pub fn public_of(seed: &[u8; 32]) -> [u8; 32] {
    use aws_lc_rs::signature::KeyPair as _;
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed has 32 bytes");
    pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
}

/// The first four bytes of SHA-256(name ‖ "\n" ‖ 0x01 ‖ public key).
pub(super) fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let hash = digest(&SHA256, &[name.as_bytes(), b"\n", &[ALGORITHM], public].concat());
    *hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// `name+key id+base64(0x01 ‖ key)`, which both halves of a key are written as.
pub(super) fn encode_key(name: &str, public: &[u8; 32], key: &[u8; 32]) -> String {
    let mut bytes = [ALGORITHM; 33];
    bytes[1..].copy_from_slice(key);
    let text =
        format!("{name}+{}+{}", HEXLOWER.encode(&key_id(name, public)), BASE64.encode(&bytes));
    zeroize::Zeroize::zeroize(&mut bytes);
    text
}

/// A public key as C2SP writes it: `name+key id+base64(0x01 ‖ public key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vkey {
    /// Who signs.
    pub name: String,
    /// Ed25519.
    pub public: [u8; 32],
}

impl Vkey {
    /// The text of `note`, if this key signed it; see [`verify`].
    #[must_use]
    pub fn verify<'a>(&self, note: &'a str) -> Option<&'a str> {
        verify(note, &self.name, &self.public)
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_key(&self.name, &self.public, &self.public))
    }
}

/// Why a written public key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public key for signed notes")]
pub struct BadVkey;

impl FromStr for Vkey {
    type Err = BadVkey;

    fn from_str(text: &str) -> Result<Self, BadVkey> {
        let mut parts = text.trim_end_matches('\n').splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadVkey);
        };
        let key = BASE64.decode(key.as_bytes()).map_err(|_| BadVkey)?;
        let Some((&ALGORITHM, public)) = key.split_first() else { return Err(BadVkey) };
        let public: [u8; 32] = public.try_into().map_err(|_| BadVkey)?;
        if !is_name(name) || id != HEXLOWER.encode(&key_id(name, &public)) {
            return Err(BadVkey);
        }
        Ok(Self { name: name.to_owned(), public })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the C2SP signed-note page and of Go's `sumdb/note`.
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SKEY: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvq\
        fqdngotpRZb6KE6RyyBwJnAM=\n";

    fn peter() -> (Vkey, [u8; 32]) {
        let seed = BASE64.decode(SKEY.as_bytes()).expect("base 64");
        (VKEY.parse().expect("parses"), seed[1..].try_into().expect("32 bytes"))
    }

    #[test]
    fn the_published_example_verifies_and_signs_alike() {
        let (key, seed) = peter();
        assert_eq!(key.to_string(), VKEY);
        assert_eq!(public_of(&seed), key.public);
        let text = key.verify(NOTE).expect("verifies");
        assert!(text.ends_with("problem is.\n"));
        assert_eq!(sign(text, "PeterNeumann", &seed), NOTE);
    }

    #[test]
    fn any_changed_character_of_a_note_is_refused() {
        let (key, _) = peter();
        for at in 0..NOTE.len() {
            let mut bytes = NOTE.as_bytes().to_vec();
            bytes[at] ^= 1;
            if let Ok(changed) = std::str::from_utf8(&bytes) {
                assert_eq!(key.verify(changed), None, "byte {at}");
            }
        }
        for cut in (0..NOTE.len()).filter(|&at| NOTE.is_char_boundary(at)) {
            assert_eq!(key.verify(&NOTE[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn signatures_of_others_are_passed_over_but_never_counted() {
        let (key, _) = peter();
        let (text, line) = NOTE.split_once("\n\n").expect("two parts");
        let text = format!("{text}\n");
        let other = sign(&text, "other", &[7; 32]);
        assert_eq!(key.verify(&other), None);
        let impostor = sign(&text, "PeterNeumann", &[7; 32]);
        assert_eq!(key.verify(&impostor), None, "the same name with another key");
        let both = format!("{other}{line}");
        assert_eq!(key.verify(&both), Some(text.as_str()));
        let crowd = format!("{other}{}", line.repeat(MOST_SIGNATURES + 1));
        assert_eq!(key.verify(&crowd), None);
    }

    #[test]
    fn a_text_may_hold_empty_lines_and_what_is_no_vkey_is_refused() {
        let note = sign("one\n\ntwo\n", "n", &[1; 32]);
        assert_eq!(verify(&note, "n", &public_of(&[1; 32])), Some("one\n\ntwo\n"));
        assert!(!is_text("no end") && !is_text("tab\t\n") && !is_text(""));
        for bad in ["", "a+b", "a+00000000+AQ==", &VKEY.replace("c74f", "c74e"), &VKEY[1..]] {
            assert!(bad.parse::<Vkey>().is_err(), "{bad}");
        }
    }
}
