//! AES-256-GCM (NIST SP 800-38D) under keys that seal one message: the nonce is zero.
//!
//! Of two libraries the one with the faster code for this processor works: AWS-LC with AVX-512, on
//! aarch64 and on old processors; ring where there are VAES and AVX2 alone (Zen 3, Alder Lake), where
//! it takes half the time (docs/benchmarks.md). Both give the same bytes.

use super::{Error, TAG};

/// Seals `message` in place; gives the tag.
pub(super) fn seal(key: &[u8; 32], place: &[u8], message: &mut [u8]) -> [u8; TAG] {
    #[cfg(target_arch = "x86_64")]
    if by_ring::is_faster() {
        return by_ring::seal(key, place, message);
    }
    by_aws_lc::seal(key, place, message)
}

/// Opens `sealed` (ciphertext ‖ tag) in place and gives the message.
pub(super) fn open<'a>(
    key: &[u8; 32],
    place: &[u8],
    sealed: &'a mut [u8],
) -> Result<&'a mut [u8], Error> {
    #[cfg(target_arch = "x86_64")]
    if by_ring::is_faster() {
        return by_ring::open(key, place, sealed);
    }
    by_aws_lc::open(key, place, sealed)
}

mod by_aws_lc {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

    use super::{Error, TAG};

    /// AWS-LC wipes what it frees.
    fn ready(key: &[u8; 32]) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes fits"))
    }

    fn nonce() -> Nonce {
        Nonce::assume_unique_for_key([0; NONCE_LEN])
    }

    pub(super) fn seal(key: &[u8; 32], place: &[u8], message: &mut [u8]) -> [u8; TAG] {
        let tag = ready(key)
            .seal_in_place_separate_tag(nonce(), Aad::from(place), message)
            .expect("a message below 64 GiB can be sealed");
        tag.as_ref().try_into().expect("a GCM tag has 16 bytes")
    }

    pub(super) fn open<'a>(
        key: &[u8; 32],
        place: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], Error> {
        ready(key).open_in_place(nonce(), Aad::from(place), sealed).map_err(|_| Error::Tampered)
    }
}

#[cfg(target_arch = "x86_64")]
mod by_ring {
    use std::mem::MaybeUninit;

    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
    use zeroize::Zeroize as _;

    use super::{Error, TAG};

    pub(super) fn is_faster() -> bool {
        let is_wide = is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("avx2");
        let is_wider = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        is_wide && !is_wider
    }

    /// A key that is wiped: ring leaves its round keys, of which the first two are the key itself.
    struct Ready(MaybeUninit<LessSafeKey>);

    impl Ready {
        fn new(key: &[u8; 32]) -> Self {
            let key = UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes fits");
            Self(MaybeUninit::new(LessSafeKey::new(key)))
        }

        #[allow(unsafe_code, reason = "a key that can be wiped when it is done with")]
        fn get(&self) -> &LessSafeKey {
            // SAFETY: initialised in `new`, and only `drop` takes it away.
            unsafe { self.0.assume_init_ref() }
        }
    }

    impl Drop for Ready {
        #[allow(unsafe_code, reason = "a key that can be wiped when it is done with")]
        fn drop(&mut self) {
            const { assert!(!std::mem::needs_drop::<LessSafeKey>(), "it would be dropped first") };
            let first = self.0.as_mut_ptr().cast::<MaybeUninit<u8>>();
            // SAFETY: the bytes of our own field, borrowed exclusively; nothing reads the key again,
            // and it owns nothing.
            let bytes = unsafe { std::slice::from_raw_parts_mut(first, size_of::<LessSafeKey>()) };
            bytes.zeroize();
        }
    }

    fn nonce() -> Nonce {
        Nonce::assume_unique_for_key([0; NONCE_LEN])
    }

    pub(super) fn seal(key: &[u8; 32], place: &[u8], message: &mut [u8]) -> [u8; TAG] {
        let tag = Ready::new(key)
            .get()
            .seal_in_place_separate_tag(nonce(), Aad::from(place), message)
            .expect("a message below 64 GiB can be sealed");
        tag.as_ref().try_into().expect("a GCM tag has 16 bytes")
    }

    pub(super) fn open<'a>(
        key: &[u8; 32],
        place: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], Error> {
        let ready = Ready::new(key);
        ready.get().open_in_place(nonce(), Aad::from(place), sealed).map_err(|_| Error::Tampered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seal = fn(&[u8; 32], &[u8], &mut [u8]) -> [u8; TAG];
    type Open = for<'a> fn(&[u8; 32], &[u8], &'a mut [u8]) -> Result<&'a mut [u8], Error>;

    fn both() -> Vec<(Seal, Open)> {
        let mut both: Vec<(Seal, Open)> = vec![(by_aws_lc::seal, by_aws_lc::open)];
        #[cfg(target_arch = "x86_64")]
        both.push((by_ring::seal, by_ring::open));
        both
    }

    fn sealed(seal: Seal, key: &[u8; 32], place: &[u8], message: &[u8]) -> Vec<u8> {
        let mut sealed = message.to_vec();
        let tag = seal(key, place, &mut sealed);
        sealed.extend_from_slice(&tag);
        sealed
    }

    #[test]
    fn every_library_gives_the_same_bytes_and_opens_those_of_the_other() {
        for length in [0, 1, 15, 16, 17, 31, 4096, 4097, 70_000, 262_144] {
            let message: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            for place in [&b""[..], b"where it belongs"] {
                let key = crate::ids::random();
                let first = sealed(by_aws_lc::seal, &key, place, &message);
                for (seal, open) in both() {
                    assert_eq!(sealed(seal, &key, place, &message), first, "{length}");
                    assert_eq!(open(&key, place, &mut first.clone()), Ok(&mut message.clone()[..]));
                }
            }
        }
    }

    #[test]
    fn every_library_refuses_what_was_changed() {
        let key = crate::ids::random();
        for (seal, open) in both() {
            let good = sealed(seal, &key, b"place", b"message");
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert_eq!(open(&key, b"place", &mut bad), Err(Error::Tampered));
            }
            assert_eq!(open(&key, b"other", &mut good.clone()), Err(Error::Tampered));
            assert_eq!(open(&key, b"place", &mut good[..TAG - 1].to_vec()), Err(Error::Tampered));
        }
    }
}
