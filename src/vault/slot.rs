//! Wraps the keys that rest in the cabinet (vault-format §5).
//!
//! A slot is 48 bytes: the box key under AES-256-GCM with a key derived from the cabinet key and
//! the slot id, the id as associated data. A slot id is drawn with the key it holds and never used
//! again, and each cabinet key gives each id a key of its own, so the zero nonce seals once.

use zeroize::Zeroizing;

use super::{Error, TAG, open_once, seal_once};
use crate::ids::SlotId;

/// A wrapped key: 32 bytes of ciphertext and the tag.
pub type Slot = [u8; 32 + TAG];

/// Wraps `key` for the slot `id` of the cabinet whose key is `cabinet_key`.
#[must_use]
pub fn wrap(cabinet_key: &[u8; 32], id: SlotId, key: &[u8; 32]) -> Slot {
    let slot_key = Zeroizing::new(*blake3::keyed_hash(cabinet_key, id.as_bytes()).as_bytes());
    let mut slot = [0; 32 + TAG];
    let (message, tag) = slot.split_at_mut(32);
    message.copy_from_slice(key);
    tag.copy_from_slice(&seal_once(&slot_key, id.as_bytes(), message));
    slot
}

/// Unwraps the key in `slot`.
///
/// # Errors
/// [`Error::Tampered`]: another cabinet key, another id, or changed bytes.
pub fn unwrap(
    cabinet_key: &[u8; 32],
    id: SlotId,
    slot: &Slot,
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let slot_key = Zeroizing::new(*blake3::keyed_hash(cabinet_key, id.as_bytes()).as_bytes());
    let mut opened = Zeroizing::new(*slot);
    let message = open_once(&slot_key, id.as_bytes(), opened.as_mut_slice())?;
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(message);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::random;

    #[test]
    fn a_slot_opens_with_its_cabinet_key_and_id_only() {
        let (ck, id, key) = (random(), SlotId::random(), random());
        let slot = wrap(&ck, id, &key);
        assert_eq!(*unwrap(&ck, id, &slot).expect("opens"), key);
        assert_eq!(unwrap(&random(), id, &slot), Err(Error::Tampered));
        assert_eq!(unwrap(&ck, SlotId::random(), &slot), Err(Error::Tampered));
        for at in 0..slot.len() {
            let mut changed = slot;
            changed[at] ^= 1;
            assert_eq!(unwrap(&ck, id, &changed), Err(Error::Tampered));
        }
    }
}
