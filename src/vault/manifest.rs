//! What a box holds (vault-format §4).
//!
//! A manifest starts with 32 random bytes, so that its hash, which the ledger keeps for ever, says
//! nothing about it. What the box's kind needs beyond content (an envelope, findings, the text of
//! a document) travels in `detail`, bytes that this folder does not look into.

use minicbor::{Decode, Encode, Encoder, encode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Error;
use super::chunk::ChunkKey;
use crate::ids::{Digest, random};

/// The contents of a box.
#[derive(Clone, Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
pub struct Manifest {
    #[cbor(n(0), with = "minicbor::bytes")]
    salt: [u8; 32],
    /// The media type, as declared.
    #[n(1)]
    pub media_type: String,
    /// The name it came with, bytes as decoded; empty if it has none.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// True length of the content in bytes, before padding.
    #[n(3)]
    pub length: u64,
    /// H ‖ K of every chunk, in order.
    #[cbor(n(4), encode_with = "encode_keys", decode_with = "decode_keys")]
    pub chunks: Vec<ChunkKey>,
    /// What the kind of the box needs beside content.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub detail: Vec<u8>,
}

impl Manifest {
    /// A manifest of `chunks` holding `length` bytes, with a fresh salt.
    #[must_use]
    pub fn new(
        media_type: &str,
        name: &[u8],
        length: u64,
        chunks: Vec<ChunkKey>,
        detail: Vec<u8>,
    ) -> Self {
        Self {
            salt: random(),
            media_type: media_type.to_owned(),
            name: name.to_vec(),
            length,
            chunks,
            detail,
        }
    }

    /// A manifest without content: all it says is in `detail`.
    #[must_use]
    pub fn note(detail: Vec<u8>) -> Self {
        Self::new("", b"", 0, Vec::new(), detail)
    }

    /// M as it is sealed. Wiped when dropped.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(minicbor::to_vec(self).expect("writing to memory does not fail"))
    }

    /// Reads M, with zero padding behind it; gives BLAKE3(M), too. A key that this version does not
    /// know is skipped, and is part of what was recorded all the same.
    ///
    /// # Errors
    /// [`Error::Tampered`] if it is no manifest or something follows it.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, Digest), Error> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let manifest = decoder.decode().map_err(|_| Error::Tampered)?;
        let (written, padding) = bytes.split_at(decoder.position());
        if padding.iter().any(|&byte| byte != 0) {
            return Err(Error::Tampered);
        }
        Ok((manifest, digest(written)))
    }
}

/// BLAKE3 of M: what the ledger records, so that a re-seal cannot change content.
#[must_use]
pub fn digest(manifest: &[u8]) -> Digest {
    Digest::new(*blake3::hash(manifest).as_bytes())
}

fn encode_keys<C, W: encode::Write>(
    keys: &[ChunkKey],
    e: &mut Encoder<W>,
    _: &mut C,
) -> Result<(), encode::Error<W::Error>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * keys.len()));
    for key in keys {
        bytes.extend_from_slice(&key.to_bytes());
    }
    e.bytes(&bytes)?.ok()
}

fn decode_keys<C>(
    d: &mut minicbor::Decoder<'_>,
    _: &mut C,
) -> Result<Vec<ChunkKey>, minicbor::decode::Error> {
    let (keys, rest) = d.bytes()?.as_chunks();
    if !rest.is_empty() {
        return Err(minicbor::decode::Error::message("chunk keys of a wrong length"));
    }
    Ok(keys.iter().map(ChunkKey::from_bytes).collect())
}
