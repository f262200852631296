//! Makes boxes and opens them (vault-format §4).
//!
//! ```text
//! S = age(epoch recipient, M padded to PADMÉ, step ≥ 512)     a server-sealed box carries M itself
//! X = AES-256-GCM(EK, nonce 0, place, {[A …], S}) ‖ tag       EK drawn here, used once
//! ```
//!
//! The inner layer is made by both sides, the outer one by the server alone. A box opens only in
//! the place it was sealed for: kind, vault, letter, item and slot are bound to it.

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use super::manifest::{self, Manifest};
use super::{Error, TAG, chunk, open_once, seal_once};
use crate::ids::{Address, Digest, ItemId, LetterId, SlotId, VaultId};
use crate::keys::epoch::{EpochPublic, EpochSecret};
use crate::secret::Secret;

/// What a box is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Envelope, headers, findings and item ids of a letter; no text.
    #[n(1)]
    Letter,
    /// One item of a letter.
    #[n(2)]
    Item,
    /// Server-sealed: the reply address and the delivery fingerprint.
    #[n(3)]
    Contact,
    /// A remark, a reason, a decision, an accepted proof, a confirmed key.
    #[n(4)]
    Note,
    /// Server-sealed: the envelope and ciphertext of a mail to send.
    #[n(5)]
    Outgoing,
}

impl Kind {
    /// Whether the server opens it without staff.
    #[must_use]
    pub fn is_server_sealed(self) -> bool {
        matches!(self, Kind::Contact | Kind::Outgoing)
    }
}

/// Where a box belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Place {
    /// What it is.
    #[n(0)]
    pub kind: Kind,
    /// The vault it was sealed in.
    #[n(1)]
    pub vault: VaultId,
    /// The letter, or the outgoing mail, or the note it belongs to.
    #[n(2)]
    pub letter: LetterId,
    /// The item; for a box that is no item, the letter's id again.
    #[n(3)]
    pub item: ItemId,
}

impl Place {
    /// kind ‖ vault ‖ letter ‖ item ‖ slot: 65 bytes, the associated data of X.
    fn associated_data(&self, slot: SlotId) -> [u8; 65] {
        let mut bytes = [0; 65];
        bytes[0] = self.kind as u8 + 1;
        let ids =
            [self.vault.as_bytes(), self.letter.as_bytes(), self.item.as_bytes(), slot.as_bytes()];
        for (to, id) in bytes[1..].chunks_exact_mut(16).zip(ids) {
            to.copy_from_slice(id);
        }
        bytes
    }
}

/// The inner layer: what the server is given, or makes, before it adds its own.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Inner {
    /// The chunks the box refers to; the server can read these without staff.
    #[cbor(n(0), encode_with = "encode_addresses", decode_with = "decode_addresses")]
    pub chunks: Vec<Address>,
    /// An age file for the epoch, or M itself if server-sealed.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// A box ready for the store, with the key that opens it. Only [`outer`] makes one.
pub struct SealedBox {
    address: Address,
    bytes: Vec<u8>,
    place: Place,
    slot: SlotId,
    key: Secret<[u8; 32]>,
}

impl SealedBox {
    /// BLAKE3(X).
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// X.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it belongs.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// The cabinet slot that its key goes to.
    #[must_use]
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// EK, for the cabinet only.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        self.key.expose()
    }
}

/// Step of padding for M, so that the length of an inner layer says little.
const MANIFEST_GRAIN: u64 = 512;

/// The inner layer of a staff-sealed box, and BLAKE3(M).
#[must_use]
pub fn inner(manifest: &Manifest, epoch: &EpochPublic) -> (Inner, Digest) {
    let mut bytes = manifest.to_bytes();
    let digest = manifest::digest(&bytes);
    let padded = chunk::padme(bytes.len() as u64, MANIFEST_GRAIN, u64::MAX >> 1);
    let mut message = Zeroizing::new(Vec::with_capacity(padded as usize));
    message.append(&mut bytes);
    message.resize(padded as usize, 0);
    (Inner { chunks: addresses(manifest), sealed: epoch.wrap(&message) }, digest)
}

/// The inner layer of a server-sealed box, and BLAKE3(M).
#[must_use]
pub fn inner_for_server(manifest: &Manifest) -> (Inner, Digest) {
    let bytes = manifest.to_bytes();
    let digest = manifest::digest(&bytes);
    (Inner { chunks: addresses(manifest), sealed: bytes.to_vec() }, digest)
}

/// Adds the server's layer: draws the box key and its slot, and seals once.
#[must_use]
pub fn outer(inner: &Inner, place: Place) -> SealedBox {
    outer_in(SlotId::random(), inner, place)
}

/// As [`outer`], in a slot that a simulation has drawn, so that a seed repeats.
#[cfg(test)]
pub(crate) fn outer_in_drawn(slot: SlotId, inner: &Inner, place: Place) -> SealedBox {
    outer_in(slot, inner, place)
}

fn outer_in(slot: SlotId, inner: &Inner, place: Place) -> SealedBox {
    let key = Secret::random();
    let mut bytes = minicbor::to_vec(inner).expect("writing to memory does not fail");
    let tag = seal_once(key.expose(), &place.associated_data(slot), &mut bytes);
    bytes.extend_from_slice(&tag);
    let address = Address::new(*blake3::hash(&bytes).as_bytes());
    SealedBox { address, bytes, place, slot, key }
}

/// Removes the server's layer.
///
/// # Errors
/// [`Error::Tampered`]: other bytes, another key, or another place than it was sealed for.
pub fn open_outer(
    bytes: &[u8],
    place: &Place,
    slot: SlotId,
    key: &[u8; 32],
) -> Result<Inner, Error> {
    if bytes.len() < TAG {
        return Err(Error::Tampered);
    }
    let mut bytes = Zeroizing::new(bytes.to_vec());
    let message = open_once(key, &place.associated_data(slot), &mut bytes)?;
    minicbor::decode(message).map_err(|_| Error::Tampered)
}

/// Removes the staff's layer and compares with what the ledger recorded.
///
/// # Errors
/// [`Error::NoKey`] if the epoch's key does not open it; [`Error::Tampered`] if what it holds is
/// not what was recorded.
pub fn open_inner(inner: &Inner, epoch: &EpochSecret, recorded: Digest) -> Result<Manifest, Error> {
    open_message(inner, epoch, recorded).map(|(manifest, _)| manifest)
}

/// As [`open_inner`], with what the layer held, padding included: to wrap it as it is.
///
/// # Errors
/// As [`open_inner`].
pub fn open_message(
    inner: &Inner,
    epoch: &EpochSecret,
    recorded: Digest,
) -> Result<(Manifest, Zeroizing<Vec<u8>>), Error> {
    let message = epoch.unwrap(&inner.sealed).map_err(|_| Error::NoKey)?;
    let manifest = verified(Manifest::from_bytes(&message)?, inner, recorded)?;
    Ok((manifest, message))
}

/// Reads a server-sealed box and compares with what the ledger recorded.
///
/// # Errors
/// [`Error::Tampered`] if what it holds is not what was recorded.
pub fn open_for_server(inner: &Inner, recorded: Digest) -> Result<Manifest, Error> {
    verified(Manifest::from_bytes(&inner.sealed)?, inner, recorded)
}

fn verified(
    (manifest, digest): (Manifest, Digest),
    inner: &Inner,
    recorded: Digest,
) -> Result<Manifest, Error> {
    if digest == recorded && addresses(&manifest) == inner.chunks {
        Ok(manifest)
    } else {
        Err(Error::Tampered)
    }
}

fn addresses(manifest: &Manifest) -> Vec<Address> {
    manifest.chunks.iter().map(chunk::ChunkKey::address).collect()
}

fn encode_addresses<C, W: minicbor::encode::Write>(
    addresses: &[Address],
    e: &mut minicbor::Encoder<W>,
    _: &mut C,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    let bytes: Vec<u8> = addresses.iter().flat_map(|a| *a.as_bytes()).collect();
    e.bytes(&bytes)?.ok()
}

fn decode_addresses<C>(
    d: &mut minicbor::Decoder<'_>,
    _: &mut C,
) -> Result<Vec<Address>, minicbor::decode::Error> {
    let (addresses, rest) = d.bytes()?.as_chunks();
    if !rest.is_empty() {
        return Err(minicbor::decode::Error::message("addresses of a wrong length"));
    }
    Ok(addresses.iter().copied().map(Address::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::random;
    use std::num::NonZeroUsize;

    fn place(kind: Kind) -> Place {
        Place { kind, vault: VaultId::random(), letter: LetterId::random(), item: ItemId::random() }
    }

    #[test]
    fn a_box_opens_with_both_keys_and_in_its_place_only() {
        let epoch = EpochSecret::generate();
        let (keys, _) = chunk::seal(&chunk::Base::fresh(), b"scan", NonZeroUsize::MIN);
        let manifest = Manifest::new("image/jpeg", b"id.jpg", 4, keys, b"detail".to_vec());
        let (inner, digest) = inner(&manifest, &epoch.public());
        let place = place(Kind::Item);
        let sealed = outer(&inner, place);
        let opened =
            open_outer(sealed.bytes(), &place, sealed.slot(), sealed.key()).expect("opens");
        let read = open_inner(&opened, &epoch, digest).expect("opens");
        assert_eq!((read.name.as_slice(), read.length), (&b"id.jpg"[..], 4));

        let other_epoch = EpochSecret::generate();
        assert_eq!(open_inner(&opened, &other_epoch, digest).err(), Some(Error::NoKey));
        let wrong = Digest::new([0; 32]);
        assert_eq!(open_inner(&opened, &epoch, wrong).err(), Some(Error::Tampered));
        for elsewhere in [
            Place { kind: Kind::Note, ..place },
            Place { vault: VaultId::random(), ..place },
            Place { letter: LetterId::random(), ..place },
            Place { item: ItemId::random(), ..place },
        ] {
            let opened = open_outer(sealed.bytes(), &elsewhere, sealed.slot(), sealed.key());
            assert_eq!(opened.err(), Some(Error::Tampered));
        }
        let slot = SlotId::random();
        assert!(open_outer(sealed.bytes(), &place, slot, sealed.key()).is_err());
        assert!(open_outer(sealed.bytes(), &place, sealed.slot(), &random()).is_err());
    }

    #[test]
    fn any_changed_byte_of_a_box_is_refused() {
        let (inner, _) = inner_for_server(&Manifest::note(b"a@b.example".to_vec()));
        let place = place(Kind::Contact);
        let sealed = outer(&inner, place);
        for at in 0..sealed.bytes().len() {
            let mut changed = sealed.bytes().to_vec();
            changed[at] ^= 4;
            assert!(open_outer(&changed, &place, sealed.slot(), sealed.key()).is_err());
        }
        assert!(open_outer(b"short", &place, sealed.slot(), sealed.key()).is_err());
    }

    #[test]
    fn the_length_of_an_inner_layer_does_not_tell_the_length_of_a_name() {
        let epoch = EpochSecret::generate().public();
        // The header of an age file has a random stanza of random length; the payload has not.
        let length = |name: &[u8]| {
            let manifest = Manifest::new("a/b", name, 0, Vec::new(), Vec::new());
            let sealed = inner(&manifest, &epoch).0.sealed;
            let mac = sealed.windows(5).position(|w| w == b"\n--- ").expect("a header ends");
            sealed.len() - mac
        };
        assert_eq!(length(b"a"), length(&[b'x'; 200]));
    }
}
