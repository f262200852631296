//! Seals content in chunks under keys derived from it, and opens them again (vault-format §3).
//!
//! ```text
//! B = BLAKE3.derive_key("kluis v1 chunk", DS ‖ suite ‖ compression ‖ format)
//! H = BLAKE3(body)   K = BLAKE3.keyed_hash(B, H)   A = BLAKE3.derive_key("kluis v1 address", K)
//! C = AES-256-GCM(K, nonce 0, no associated data, body) ‖ tag
//! ```
//!
//! The body is copied first, then hashed and sealed in that copy, in place: a mapped file that
//! changed between hash and cipher would otherwise give one key two messages. Each body of 256 KiB
//! stays in the second-level cache meanwhile.
//!
//! [`Hashed`] is the one way a chunk is made. [`seal`] does it for content in memory (a letter);
//! `store::Staging` for content of any size, in buffers of its own.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Error, TAG, open_once, seal_once};
use crate::ids::Address;
use crate::secret::Secret;

/// Bytes of a full body.
pub const BODY: usize = 256 * 1024;
/// The smallest body, and the grain of padding.
pub const GRAIN: usize = 4 * 1024;
/// Room that a sealed chunk leaves before its bytes, for the header of the record it becomes.
pub const HEADROOM: usize = 64;
/// Bytes of the record of a full body: room for its header, the body, the tag.
pub const RECORD: usize = HEADROOM + BODY + TAG;
/// The least length of an item whose chunks may converge with those of its window (design §5).
pub const CONVERGES_FROM: usize = 64 * 1024;

const SUITE_AES_256_GCM: u8 = 1;
const COMPRESSION_NONE: u8 = 0;
const FORMAT: u8 = 1;

/// What chunk keys of one window derive from. The window secret itself is not kept.
pub struct Base(Secret<[u8; 32]>);

impl Base {
    /// The base of a fresh window secret that nobody will see again.
    #[must_use]
    pub fn fresh() -> Self {
        let ds = Secret::random();
        crate::lab::tell(ds.expose());
        Self::of(ds.expose())
    }

    /// The base of the window secret `ds`.
    #[must_use]
    pub fn of(ds: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("kluis v1 chunk");
        hasher.update(ds);
        hasher.update(&[SUITE_AES_256_GCM, COMPRESSION_NONE, FORMAT]);
        let base = Secret::filled(|base| hasher.finalize_xof().fill(base));
        hasher.zeroize();
        crate::lab::tell(base.expose());
        Self(base)
    }
}

/// What opens one chunk and proves its content: body hash H and key K. Lives in manifests.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ChunkKey {
    hash: [u8; 32],
    key: [u8; 32],
}

impl ChunkKey {
    /// H: BLAKE3 of the body with its padding.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// H ‖ K, as a manifest stores it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.hash);
        bytes[32..].copy_from_slice(&self.key);
        bytes
    }

    /// Reads H ‖ K.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let (hash, key) = bytes.split_at(32);
        Self {
            hash: hash.try_into().expect("half of 64 bytes"),
            key: key.try_into().expect("half of 64 bytes"),
        }
    }

    /// The chunk's public name; commits to the key.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::new(blake3::derive_key("kluis v1 address", &self.key))
    }

    /// What opens the same body once it is sealed anew in the run that has this secret: under a window
    /// of its own, DS = BLAKE3.keyed_hash(secret, K). What was one chunk stays one, and what was two
    /// becomes no more alike than it was.
    #[must_use]
    pub fn renewed(&self, secret: &Secret<[u8; 32]>) -> Self {
        let ds = Zeroizing::new(*blake3::keyed_hash(secret.expose(), &self.key).as_bytes());
        Self { hash: self.hash, key: key_of(&Base::of(&ds), &self.hash) }
    }
}

/// K of a body by its hash.
fn key_of(base: &Base, hash: &[u8; 32]) -> [u8; 32] {
    *blake3::keyed_hash(base.0.expose(), hash).as_bytes()
}

/// A sealed chunk. Only [`seal`] and [`SealedChunk::received`] make one.
pub struct SealedChunk {
    address: Address,
    record: Vec<u8>,
}

impl SealedChunk {
    /// The chunk's public name.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// [`HEADROOM`] bytes for whoever stores it, then ciphertext ‖ tag.
    #[must_use]
    pub fn into_record(self) -> Vec<u8> {
        self.record
    }

    /// Ciphertext ‖ tag.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.record[HEADROOM..]
    }

    /// A chunk that the staff side sealed and sent: the server cannot tell more about it than its
    /// length.
    ///
    /// # Errors
    /// [`Error::Tampered`] if no chunk has this length.
    pub fn received(address: Address, bytes: &[u8]) -> Result<Self, Error> {
        body_in(bytes.len())?;
        let mut record = Vec::with_capacity(HEADROOM + bytes.len());
        record.resize(HEADROOM, 0);
        record.extend_from_slice(bytes);
        Ok(Self { address, record })
    }
}

/// Bytes of the body of a sealed chunk of `length` bytes: ciphertext ‖ tag.
///
/// # Errors
/// [`Error::Tampered`] if no chunk has this length.
pub fn body_in(length: usize) -> Result<usize, Error> {
    let body = length.checked_sub(TAG).ok_or(Error::Tampered)?;
    let is_one = (1..=BODY).contains(&body) && body.is_multiple_of(GRAIN);
    if is_one { Ok(body) } else { Err(Error::Tampered) }
}

/// Pads a length as PADMÉ does (Nikitin et al. 2019), with steps of at least `least` and at most
/// `most` bytes, both powers of two; an empty content takes one least step.
#[must_use]
pub fn padme(length: u64, least: u64, most: u64) -> u64 {
    let exponent = length.max(2).ilog2();
    let kept = exponent.ilog2() + 1;
    let step = (1u64 << exponent.saturating_sub(kept)).clamp(least, most);
    length.max(1).checked_next_multiple_of(step).unwrap_or(u64::MAX)
}

/// The padded length of an item's content in bytes (vault-format §3).
#[must_use]
pub fn padded(length: u64) -> u64 {
    padme(length, GRAIN as u64, BODY as u64)
}

/// How many bodies content of `length` bytes is cut into.
#[must_use]
pub fn bodies(length: u64) -> u64 {
    padded(length).div_ceil(BODY as u64)
}

/// Bytes of body number `index` of content of `length` bytes, padding included; 0 behind the last.
#[must_use]
pub fn body_length(length: u64, index: u64) -> usize {
    let rest = padded(length).saturating_sub(index.saturating_mul(BODY as u64));
    usize::try_from(rest).unwrap_or(BODY).min(BODY)
}

/// Seals the body in `record` where it lies: [`HEADROOM`] bytes that are left alone, the body with
/// its padding, room for the tag. Nobody else may write to `record` meanwhile, which the exclusive
/// borrow says: memory of our own, never a mapped file.
///
/// # Panics
/// If `record` is too short to hold a body.
#[must_use]
pub fn seal_in_place(base: &Base, record: &mut [u8]) -> ChunkKey {
    Hashed::of(base, record).seal()
}

/// A record whose body has been hashed and not sealed yet: for who wants to know what it is first.
/// Nobody can change it between.
pub struct Hashed<'a> {
    record: &'a mut [u8],
    key: ChunkKey,
}

impl<'a> Hashed<'a> {
    /// Hashes the body in `record`, which is as for [`seal_in_place`].
    ///
    /// # Panics
    /// If `record` is too short to hold a body.
    #[must_use]
    pub fn of(base: &Base, record: &'a mut [u8]) -> Self {
        let body =
            record[HEADROOM..].split_last_chunk::<TAG>().expect("room for a body and a tag").0;
        let hash = *blake3::hash(body).as_bytes();
        Self { record, key: ChunkKey { hash, key: key_of(base, &hash) } }
    }

    /// What will open it.
    #[must_use]
    pub fn key(&self) -> &ChunkKey {
        &self.key
    }

    /// Seals the body where it lies.
    #[must_use]
    pub fn seal(self) -> ChunkKey {
        let (body, tag) = self.record[HEADROOM..].split_last_chunk_mut().expect("as it was hashed");
        *tag = seal_once(&self.key.key, &[], body);
        self.key
    }
}

/// Seals `content`; gives the keys in the order of the bodies, and the chunks.
/// `workers` threads share the bodies; one means: here.
#[must_use]
pub fn seal(
    base: &Base,
    content: &[u8],
    workers: NonZeroUsize,
) -> (Vec<ChunkKey>, Vec<SealedChunk>) {
    let total = usize::try_from(padded(content.len() as u64)).expect("content in memory fits");
    let count = total.div_ceil(BODY);
    let body = |i: usize| {
        let from = i * BODY;
        let length = BODY.min(total - from);
        (content.get(from..).map_or(&[][..], |rest| &rest[..rest.len().min(length)]), length)
    };
    if workers.get() == 1 || count == 1 {
        return (0..count).map(|i| seal_body(base, body(i))).unzip();
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..workers.get().min(count) {
            scope.spawn(|| {
                let mut mine = Vec::new();
                loop {
                    let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if i >= count {
                        break;
                    }
                    mine.push((i, seal_body(base, body(i))));
                }
                done.lock().expect("no worker panics while it holds the list").extend(mine);
            });
        }
    });
    let mut done = done.into_inner().expect("no worker panics while it holds the list");
    done.sort_unstable_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, sealed)| sealed).unzip()
}

/// Copies one body, zero-filled to `length`, and seals the copy in place.
fn seal_body(base: &Base, (content, length): (&[u8], usize)) -> (ChunkKey, SealedChunk) {
    let mut record = Vec::with_capacity(HEADROOM + length + TAG);
    record.resize(HEADROOM, 0);
    record.extend_from_slice(content);
    record.resize(HEADROOM + length + TAG, 0);
    let key = seal_in_place(base, &mut record);
    let address = key.address();
    (key, SealedChunk { address, record })
}

/// Opens one chunk in place: checks the address, the tag and the hash, and gives the padded body.
///
/// # Errors
/// [`Error::Tampered`] if any of the three does not hold.
pub fn open<'a>(key: &ChunkKey, address: Address, sealed: &'a mut [u8]) -> Result<&'a [u8], Error> {
    if key.address() == address { open_found(key, sealed) } else { Err(Error::Tampered) }
}

/// Opens in place what was found under the address that `key` gives.
pub(super) fn open_found<'a>(key: &ChunkKey, sealed: &'a mut [u8]) -> Result<&'a [u8], Error> {
    let body = open_once(&key.key, &[], sealed)?;
    let hash = blake3::hash(body);
    if bool::from(hash.as_bytes().ct_eq(&key.hash)) { Ok(body) } else { Err(Error::Tampered) }
}

/// Seals a chunk anew under another key, in place: opens ciphertext ‖ tag, checks it, and seals the
/// same body, the hash of which is known. Gives what opens it now: [`ChunkKey::renewed`].
///
/// # Errors
/// [`Error::Tampered`] if it is not the chunk of `key`; what `sealed` holds is of no use then, and may
/// be plaintext.
pub fn reseal_in_place(
    secret: &Secret<[u8; 32]>,
    key: &ChunkKey,
    sealed: &mut [u8],
) -> Result<ChunkKey, Error> {
    open_found(key, sealed)?;
    let key = key.renewed(secret);
    let (body, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(Error::Tampered)?;
    *tag = seal_once(&key.key, &[], body);
    Ok(key)
}

/// Appends the true content of body number `index` of an item of `length` bytes to `content`.
///
/// # Errors
/// As [`true_part`].
pub fn unpad(content: &mut Vec<u8>, body: &[u8], index: usize, length: u64) -> Result<(), Error> {
    content.extend_from_slice(true_part(body, index, length)?);
    Ok(())
}

/// The true content of body number `index` of an item of `length` bytes.
///
/// # Errors
/// [`Error::Tampered`] if the padding is not all zero or the body has another length than it must.
pub fn true_part(body: &[u8], index: usize, length: u64) -> Result<&[u8], Error> {
    if body.is_empty() || body.len() != body_length(length, index as u64) {
        return Err(Error::Tampered);
    }
    let rest = length.saturating_sub(index as u64 * BODY as u64);
    let (kept, padding) = body.split_at(usize::try_from(rest).unwrap_or(BODY).min(body.len()));
    if padding.iter().any(|&byte| byte != 0) {
        return Err(Error::Tampered);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(content: &[u8], workers: usize) {
        let workers = NonZeroUsize::new(workers).expect("not zero");
        let (keys, chunks) = seal(&Base::fresh(), content, workers);
        let mut opened = Vec::new();
        for (i, (key, chunk)) in keys.iter().zip(&chunks).enumerate() {
            assert_eq!(key.address(), chunk.address());
            let mut bytes = chunk.bytes().to_vec();
            let body = open(key, chunk.address(), &mut bytes).expect("opens");
            unpad(&mut opened, body, i, content.len() as u64).expect("padding is zero");
        }
        assert!(opened == content);
        let total: usize = chunks.iter().map(|c| c.bytes().len() - TAG).sum();
        assert_eq!(total as u64, padded(content.len() as u64));
    }

    #[test]
    fn a_chunk_that_is_sealed_anew_has_the_same_body_under_another_key_and_address() {
        let (base, run) = (Base::fresh(), Secret::random());
        let content = vec![7; BODY + 5000];
        let (keys, chunks) = seal(&base, &content, NonZeroUsize::MIN);
        let mut opened = Vec::new();
        for (i, (key, chunk)) in keys.iter().zip(&chunks).enumerate() {
            let mut bytes = chunk.bytes().to_vec();
            let new = reseal_in_place(&run, key, &mut bytes).expect("is whole");
            assert!(new == key.renewed(&run));
            assert_eq!(new.hash(), key.hash());
            assert_ne!(new.address(), key.address());
            let body = open(&new, new.address(), &mut bytes).expect("opens");
            unpad(&mut opened, body, i, content.len() as u64).expect("is true");
            let mut changed = chunk.bytes().to_vec();
            changed[9] ^= 1;
            assert!(reseal_in_place(&run, key, &mut changed).is_err());
            assert!(reseal_in_place(&run, key, &mut changed[..TAG - 1]).is_err());
        }
        assert_eq!(opened, content);
    }

    #[test]
    fn what_was_one_chunk_stays_one_and_what_was_two_stays_two() {
        let (run, content) = (Secret::random(), vec![7; 5000]);
        let key = |base: &Base| seal(base, &content, NonZeroUsize::MIN).0.remove(0);
        let (one, two) = (Base::fresh(), Base::fresh());
        assert!(key(&one).renewed(&run) == key(&one).renewed(&run));
        assert!(key(&one).renewed(&run).address() != key(&two).renewed(&run).address());
        assert!(key(&one).renewed(&run) != key(&one).renewed(&Secret::random()));
    }

    #[test]
    fn what_was_sealed_opens_again_at_every_size() {
        for size in [0, 1, 4095, 4096, 4097, BODY - 1, BODY, BODY + 1, 3 * BODY + 77] {
            let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            round_trip(&content, 1);
            round_trip(&content, 3);
        }
    }

    #[test]
    fn padding_follows_padme_within_its_clamp() {
        for (length, expected) in [
            (0, 4096),
            (1, 4096),
            (4096, 4096),
            (4097, 8192),
            (200_000, 200_704),
            (1_000_000, 1_015_808),
        ] {
            assert_eq!(padded(length), expected, "{length}");
        }
        assert_eq!(padded(1 << 30), 1 << 30);
        assert_eq!(padded((1 << 30) + 1), (1 << 30) + BODY as u64);
        assert_eq!(padme(9, 1, u64::MAX), 10);
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let (keys, chunks) = seal(&Base::fresh(), b"attest", NonZeroUsize::MIN);
        let sealed = chunks[0].bytes();
        for at in (0..sealed.len()).step_by(97).chain(sealed.len() - TAG..sealed.len()) {
            let mut changed = sealed.to_vec();
            changed[at] ^= 0x40;
            assert_eq!(open(&keys[0], chunks[0].address(), &mut changed), Err(Error::Tampered));
        }
        let other = Address::new([0; 32]);
        assert_eq!(open(&keys[0], other, &mut sealed.to_vec()), Err(Error::Tampered));
    }

    #[test]
    fn equal_content_converges_within_a_window_and_not_beyond_it() {
        let base = Base::of(&[1; 32]);
        let content = vec![7; 100_000];
        let (_, a) = seal(&base, &content, NonZeroUsize::MIN);
        let (_, b) = seal(&base, &content, NonZeroUsize::MIN);
        let (_, c) = seal(&Base::of(&[2; 32]), &content, NonZeroUsize::MIN);
        assert_eq!(a[0].bytes(), b[0].bytes());
        assert_ne!(a[0].address(), c[0].address());
    }

    #[test]
    fn a_body_with_something_in_its_padding_is_refused() {
        let mut body = vec![0; GRAIN];
        body[100] = 1;
        assert_eq!(unpad(&mut Vec::new(), &body, 0, 100), Err(Error::Tampered));
        assert_eq!(unpad(&mut Vec::new(), &body, 0, 101), Ok(()));
        assert_eq!(unpad(&mut Vec::new(), &body, 0, 5000), Err(Error::Tampered));
    }
}
