//! Which addresses are needed: a set in bounded memory that never says no to one that is.
//!
//! A blocked Bloom filter (Putze, Sanders, Singler 2007): an address sets seven bits in one cache
//! line. Sixteen bits for each address, [`MOST`] bytes at most: 20 MB for ten million. A hit that
//! is none keeps a dead record, one in several hundred, and more beyond 32 million addresses. The
//! key is fresh for every look, so that the same record is not kept again by the next.

use crate::ids::{Address, random};

/// Bits for each address that is expected.
const BITS_EACH: u64 = 16;
/// Bits set by an address.
const BITS_SET: u32 = 7;
/// Bits of a block: a cache line.
const BLOCK_BITS: u64 = 512;
/// The least memory of a set, in bytes: of a small vault nearly nothing dead is kept.
const LEAST: u64 = 1 << 10;
/// The most memory of a set, in bytes.
pub(super) const MOST: u64 = 64 << 20;

/// A set of addresses.
pub(super) struct Marks {
    key: [u64; 4],
    blocks: Vec<[u64; 8]>,
}

impl Marks {
    /// An empty set with room for so many.
    pub(super) fn for_about(addresses: u64) -> Self {
        let (least, most) = (LEAST * 8 / BLOCK_BITS, MOST * 8 / BLOCK_BITS);
        let blocks = addresses.saturating_mul(BITS_EACH).div_ceil(BLOCK_BITS).clamp(least, most);
        let key: [u8; 32] = random();
        Self { key: words(&key), blocks: vec![[0; 8]; blocks as usize] }
    }

    /// Takes an address in.
    pub(super) fn insert(&mut self, address: Address) {
        let (at, bits) = self.place(address);
        for (word, bits) in self.blocks[at].iter_mut().zip(bits) {
            *word |= bits;
        }
    }

    /// Whether the address is in: always true if it is, seldom if it is not.
    pub(super) fn has(&self, address: Address) -> bool {
        let (at, bits) = self.place(address);
        self.blocks[at].iter().zip(bits).all(|(word, bits)| word & bits == bits)
    }

    /// The block of an address, and its bits there.
    fn place(&self, address: Address) -> (usize, [u64; 8]) {
        let words = words(address.as_bytes());
        let first = fold(words[0] ^ self.key[0], words[1] ^ self.key[1]);
        let mut second = fold(words[2] ^ self.key[2], words[3] ^ self.key[3]);
        let block = (u128::from(first) * self.blocks.len() as u128) >> 64;
        let mut bits = [0u64; 8];
        for _ in 0..BITS_SET {
            bits[(second >> 6) as usize % 8] |= 1 << (second % 64);
            second >>= 9;
        }
        (block as usize, bits)
    }
}

/// Four words of 32 bytes.
fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

/// Mixes two words: the two halves of their product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Distinct, as unlike each other as hashes are.
    fn address(n: u64) -> Address {
        let mut bytes = [0; 32];
        for (i, to) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(16 * i as u32);
            *to = fold(mixed ^ n, 0xd6e8_feb8_6659_fd93 + i as u64).to_le_bytes();
        }
        Address::new(bytes)
    }

    #[test]
    fn ten_million_addresses_take_twenty_megabytes_and_none_is_missed() {
        const MANY: u64 = 10_000_000;
        let start = Instant::now();
        let mut marks = Marks::for_about(MANY);
        let taken = size_of_val(marks.blocks.as_slice());
        assert!(taken <= 2 * MANY as usize + 64, "{taken} bytes");
        (0..MANY).for_each(|n| marks.insert(address(n)));
        assert_eq!(size_of_val(marks.blocks.as_slice()), taken);
        assert!((0..MANY).step_by(13).all(|n| marks.has(address(n))));
        let strangers = 200_000;
        let hits = (MANY..MANY + strangers).filter(|n| marks.has(address(*n))).count() as u64;
        println!("{taken} bytes, {hits} of {strangers} strangers kept, {:.1?}", start.elapsed());
        assert!(hits * 200 < strangers, "{hits} of {strangers}");
    }

    #[test]
    fn no_number_of_addresses_takes_more_than_the_bound() {
        for about in [0, 1, 1_000, 40_000_000, u64::MAX] {
            let marks = Marks::for_about(about);
            let taken = size_of_val(marks.blocks.as_slice()) as u64;
            assert!((LEAST..=MOST).contains(&taken), "{about}: {taken}");
        }
    }

    #[test]
    fn the_key_differs_from_look_to_look() {
        // A false hit of one look is none of the next.
        let sets: Vec<Marks> = (0..2)
            .map(|_| {
                let mut marks = Marks::for_about(1_000);
                (0..1_000).for_each(|n| marks.insert(address(n)));
                marks
            })
            .collect();
        let hits = |set: &Marks| -> Vec<u64> {
            (1_000..200_000).filter(|n| set.has(address(*n))).collect()
        };
        assert_ne!(hits(&sets[0]), hits(&sets[1]));
    }
}
