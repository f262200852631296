//! Proof that an entry stands in the ledger, in a form that leaves the house: a C2SP `tlog-proof`.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <the entry's bytes, base64>
//! index <position of the entry, decimal>
//! <a hash of the path, base64>        one a line, from the leaf's sibling up
//!
//! <the checkpoint, a signed note>
//! ```
//!
//! The entry stands in `extra`, for without its bytes nobody can make the leaf. What is written there
//! is believed only because the path leads from it to a root that was signed.

use std::fmt::Write as _;

use data_encoding::BASE64;
use minicbor::{Decode, Encode};

use super::tree;
use super::{Checkpoint, Entry};
use crate::ids::Digest;

/// The first line of every proof.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Hashes on the longest path: a tree of 2^64 leaves is no higher.
const LONGEST_PATH: usize = 64;

/// An entry, where it stands, and the way from it to the root.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proof {
    /// Its position.
    #[n(0)]
    pub index: u64,
    /// Its exact bytes: the leaf.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub entry: Vec<u8>,
    /// The path from the leaf to the root (RFC 9162 §2.1.3).
    #[n(2)]
    pub path: Vec<Digest>,
}

impl Proof {
    /// Whether the path leads from the entry to the root of this checkpoint.
    #[must_use]
    pub fn leads_to(&self, head: &Checkpoint) -> bool {
        let leaf = tree::leaf(&self.entry);
        tree::verify_inclusion(leaf, self.index, head.size, &self.path, head.root)
    }

    /// Whether the entry can be read and says that it stands there.
    #[must_use]
    pub fn says_its_place(&self) -> bool {
        Entry::from_bytes(&self.entry).is_ok_and(|entry| entry.seq == self.index)
    }

    /// Writes the proof with the checkpoint that its path leads to.
    #[must_use]
    pub fn to_text(&self, checkpoint: &str) -> String {
        let extra = BASE64.encode(&self.entry);
        let mut text = format!("{HEADER}\nextra {extra}\nindex {}\n", self.index);
        for hash in &self.path {
            let _ = writeln!(text, "{}", BASE64.encode(hash.as_bytes()));
        }
        text + "\n" + checkpoint
    }

    /// Reads a proof and its checkpoint. There is one way to write one; any other is none. Nothing is
    /// verified here.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, &str)> {
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        if lines.next()? != HEADER {
            return None;
        }
        let entry = BASE64.decode(lines.next()?.strip_prefix("extra ")?.as_bytes()).ok()?;
        let written = lines.next()?.strip_prefix("index ")?;
        let index: u64 = written.parse().ok()?;
        let hash = |line: &str| {
            let bytes = BASE64.decode(line.as_bytes()).ok()?;
            Some(Digest::new(bytes.try_into().ok()?))
        };
        let path = lines.map(hash).collect::<Option<Vec<Digest>>>()?;
        let is_plain = index.to_string() == written && path.len() <= LONGEST_PATH;
        is_plain.then_some((Self { index, entry, path }, checkpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VaultId;
    use crate::ledger::tree::Tree;
    use crate::ledger::{Fact, checkpoint};

    const SEED: [u8; 32] = [6; 32];

    /// A proof of entry `index` of `size`, and the checkpoint.
    fn proof(index: u64, size: u64) -> (Proof, String) {
        let entry = |seq| Entry { seq, ..Entry::new(Fact::Looked, 40 + seq) }.to_bytes();
        let mut tree = Tree::default();
        (0..size).for_each(|seq| tree.append(tree::leaf(&entry(seq))));
        let root = tree.root(size).expect("its own size");
        let head = Checkpoint { vault: VaultId::new([7; 16]), size, root };
        let path = tree.inclusion(index, size).expect("within");
        (Proof { index, entry: entry(index), path }, head.sign(&SEED))
    }

    #[test]
    fn a_proof_reads_back_as_it_was_written_and_leads_to_its_root() {
        for (index, size) in [(0, 1), (0, 2), (3, 9), (8, 9), (1000, 1001)] {
            let (proof, note) = proof(index, size);
            let text = proof.to_text(&note);
            assert_eq!(Proof::parse(&text), Some((proof.clone(), note.as_str())));
            let head = Checkpoint::verify(&note, &checkpoint::public_key(&SEED)).expect("signed");
            assert!(proof.leads_to(&head) && proof.says_its_place());
            assert!(!Proof { index: index + 1, ..proof.clone() }.leads_to(&head));
            assert!(!Proof { index: index + 1, ..proof }.says_its_place());
        }
    }

    #[test]
    fn the_form_is_that_of_the_specification() {
        let (proof, note) = proof(1, 3);
        let text = proof.to_text(&note);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
        assert!(lines[1].starts_with("extra ") && lines[2] == "index 1");
        assert!(lines[3].len() == 44 && lines[4].len() == 44 && lines[5].is_empty());
        assert_eq!(lines[6], "kluis/07070707070707070707070707070707");
        assert_eq!((lines[7], lines[9]), ("3", ""));
        for (from, to) in [
            ("proof@v1", "proof@v2"),
            ("extra ", "Extra "),
            ("extra ", "extra  "),
            ("index 1", "index 01"),
            ("index 1", "index +1"),
            ("index 1", "index -1"),
            ("\nindex", "\n\nindex"),
            ("=\n\n", "=\nAAAA\n\n"),
        ] {
            assert!(Proof::parse(&text.replacen(from, to, 1)).is_none(), "{from:?} as {to:?}");
        }
        let hash = format!("{}\n", lines[3]);
        let longer = text.replacen(&hash, &hash.repeat(LONGEST_PATH), 1);
        assert!(Proof::parse(&longer).is_none(), "no path is that long");
    }
}
