//! Cuts a raw message into skeleton and contents, and puts it together again.
//!
//! The skeleton is the raw message with every leaf body cut out, so that keeping it keeps no
//! forgotten ID copy alive (design §5). `rebuild(cut(raw)) == raw`, always: ingest compares before
//! it seals. Here decoding is done by plain code on ranges that `letter::mime` only proposes: a
//! range or recipe that does not give the identical bytes is not used.

use minicbor::{Decode, Encode};

use super::{Letter, Storage};

/// A raw message without its leaf bodies (vault-format §7).
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Skeleton {
    /// The raw bytes that belong to no item, joined.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
    /// Where in `bytes` each item's body goes, ascending, and how it is made from the content.
    #[n(1)]
    pub holes: Vec<Hole>,
}

/// The place of one item in a skeleton.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hole {
    /// Offset into the skeleton's bytes.
    #[n(0)]
    pub at: u64,
    /// How the stored content becomes the raw body.
    #[n(1)]
    pub storage: Storage,
}
