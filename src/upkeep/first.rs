//! What a first look leaves for the second: the records that it calls dead (vault-format §2).
//!
//! Public facts only: names of packs, places in their tables, how long the ledger was. One bit for
//! each record up to the last dead one of its pack, so that ten million chunks take a megabyte or
//! two.

use minicbor::{Decode, Encode};

use crate::ids::Digest;
use crate::store::PackId;

/// A first plan.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct FirstPlan {
    /// When it was made, in minutes since 1970.
    #[n(0)]
    pub(super) minute: u64,
    /// Entries in the ledger when it was begun: every pack below was closed by then.
    #[n(1)]
    pub(super) size: u64,
    /// The root of the tree over them.
    #[n(2)]
    pub(super) root: Digest,
    /// What was found, so that it can be told while it waits.
    #[n(3)]
    pub(super) found: Found,
    /// The packs with dead records, by name.
    #[n(4)]
    pub(super) packs: Vec<Judged>,
}

/// What a look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Found {
    /// Records that can go.
    #[n(0)]
    pub records: u64,
    /// Of these, copies of one that stays.
    #[n(1)]
    pub copies: u64,
    /// Bytes of their payloads.
    #[n(2)]
    pub bytes: u64,
    /// Packs that they lie in.
    #[n(3)]
    pub packs: u64,
}

/// The dead records of a pack.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Judged {
    #[cbor(n(0), with = "minicbor::bytes")]
    name: [u8; 16],
    /// BLAKE3 of its table.
    #[n(1)]
    pub(super) table: Digest,
    /// Which rows of the table.
    #[n(2)]
    pub(super) dead: Bits,
}

impl Judged {
    pub(super) fn new(pack: PackId, table: Digest) -> Self {
        Self { name: pack.0, table, dead: Bits::default() }
    }

    pub(super) fn pack(&self) -> PackId {
        PackId(self.name)
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(super) struct Bits(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>);

impl Bits {
    pub(super) fn set(&mut self, i: usize) {
        if self.0.len() <= i / 8 {
            self.0.resize(i / 8 + 1, 0);
        }
        self.0[i / 8] |= 1 << (i % 8);
    }

    pub(super) fn has(&self, i: usize) -> bool {
        self.0.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_back_and_takes_a_bit_for_each_record() {
        let mut judged = Judged::new(PackId([5; 16]), Digest::new([6; 32]));
        (0..512).filter(|i| i % 3 == 0).for_each(|i| judged.dead.set(i));
        assert!((0..600).all(|i| judged.dead.has(i) == (i < 512 && i % 3 == 0)));
        // Twenty thousand packs of 128 MiB: ten million chunks.
        let plan = FirstPlan {
            minute: 7,
            size: 9,
            root: Digest::new([1; 32]),
            found: Found { records: 1, copies: 2, bytes: 3, packs: 4 },
            packs: vec![judged; 20_000],
        };
        let bytes = minicbor::to_vec(&plan).expect("memory takes it");
        assert!(bytes.len() < 3 << 20, "{}", bytes.len());
        assert_eq!(minicbor::decode::<FirstPlan>(&bytes).expect("reads back"), plan);
    }
}
