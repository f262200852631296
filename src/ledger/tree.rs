//! The Merkle tree over the entries: roots, proofs, and their verification (RFC 9162 §2.1, the
//! tree of RFC 6962 §2.1; SHA-256).
//!
//! The tree keeps the hash of every complete subtree, so that a root or a proof of any size it
//! ever had costs a handful of hashes. Verification needs no tree.

use aws_lc_rs::digest;

use crate::ids::Digest;

/// The tree of a ledger, growing at its end.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// `levels[k][i]` is the hash of the 2^k leaves from `i << k`, once they are all there.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Appends a leaf hash, made by [`leaf`].
    pub fn append(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let row = &mut self.levels[level];
            row.push(hash);
            if row.len() % 2 == 1 {
                return;
            }
            hash = node(row[row.len() - 2], row[row.len() - 1]);
        }
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |row| row.len() as u64)
    }

    /// The root that the tree had at `size` leaves; nothing if it never had so many.
    #[must_use]
    pub fn root(&self, size: u64) -> Option<Digest> {
        match size {
            0 => Some(empty_root()),
            _ if size <= self.size() => Some(self.subtree(0, size)),
            _ => None,
        }
    }

    /// The leaf hash at `index`.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<Digest> {
        self.levels.first()?.get(usize::try_from(index).ok()?).copied()
    }

    /// Proof that leaf `index` is in the tree of `size` leaves (RFC 9162 §2.1.3.1).
    #[must_use]
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        if index >= size || size > self.size() {
            return None;
        }
        let (mut from, mut to) = (0, size);
        let mut proof = Vec::new();
        while to - from > 1 {
            let middle = from + split(to - from);
            if index < middle {
                proof.push(self.subtree(middle, to));
                to = middle;
            } else {
                proof.push(self.subtree(from, middle));
                from = middle;
            }
        }
        proof.reverse();
        Some(proof)
    }

    /// Proof that the tree of `size` leaves extends that of `earlier` (RFC 9162 §2.1.4.1). Empty if
    /// they are the same, or the earlier one is empty.
    #[must_use]
    pub fn consistency(&self, earlier: u64, size: u64) -> Option<Vec<Digest>> {
        if earlier > size || size > self.size() {
            return None;
        }
        let mut proof = Vec::new();
        if earlier == 0 || earlier == size {
            return Some(proof);
        }
        let (mut from, mut to) = (0, size);
        while earlier != to {
            let middle = from + split(to - from);
            if earlier <= middle {
                proof.push(self.subtree(middle, to));
                to = middle;
            } else {
                proof.push(self.subtree(from, middle));
                from = middle;
            }
        }
        if from != 0 {
            proof.push(self.subtree(from, to));
        }
        proof.reverse();
        Some(proof)
    }

    /// The hash of the leaves `from..to`, where `from` is a multiple of the least power of two that
    /// is not below their number.
    fn subtree(&self, from: u64, to: u64) -> Digest {
        let count = to - from;
        if count.is_power_of_two() {
            let level = count.trailing_zeros();
            return self.levels[level as usize][(from >> level) as usize];
        }
        let middle = from + split(count);
        node(self.subtree(from, middle), self.subtree(middle, to))
    }
}

/// The largest power of two below `count`; `count` is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    Digest::new(context.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

fn empty_root() -> Digest {
    sha256(&[])
}

/// The hash of a leaf: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf(entry: &[u8]) -> Digest {
    sha256(&[&[0], entry])
}

fn node(left: Digest, right: Digest) -> Digest {
    sha256(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// Whether `proof` shows that `leaf` stands at `index` in the tree of `size` leaves with this
/// `root` (RFC 9162 §2.1.3.2).
#[must_use]
pub fn verify_inclusion(
    leaf: Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: Digest,
) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = leaf;
    for &step in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(step, hash);
            up_to_right_child(&mut at, &mut last);
        } else {
            hash = node(hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether `proof` shows that the tree of `size` leaves with `root` extends the tree of `earlier`
/// leaves with `earlier_root` (RFC 9162 §2.1.4.2).
#[must_use]
pub fn verify_consistency(
    earlier: u64,
    earlier_root: Digest,
    size: u64,
    root: Digest,
    proof: &[Digest],
) -> bool {
    if earlier == size {
        return proof.is_empty() && earlier_root == root;
    }
    if earlier == 0 {
        return proof.is_empty() && earlier_root == empty_root();
    }
    if earlier > size {
        return false;
    }
    let mut steps = proof.iter().copied();
    let first = if earlier.is_power_of_two() { Some(earlier_root) } else { steps.next() };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (earlier - 1, size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (first, first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = node(step, old);
            new = node(step, new);
            up_to_right_child(&mut at, &mut last);
        } else {
            new = node(new, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old == earlier_root && new == root
}

/// Climbs while the node is a left child without a sibling.
fn up_to_right_child(at: &mut u64, last: &mut u64) {
    while *at & 1 == 0 && *at != 0 {
        *at >>= 1;
        *last >>= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves and roots of the reference tests of RFC 6962 implementations.
    const REFERENCE: [(&[u8], &str); 8] = [
        (b"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (&[0], "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (&[0x10], "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (&[0x20, 0x21], "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        (&[0x30, 0x31], "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        (b"@ABC", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
        (b"PQRSTUVW", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        (b"`abcdefghijklmno", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ];

    fn tree(size: usize) -> Tree {
        let mut tree = Tree::default();
        for i in 0..size {
            tree.append(leaf(&i.to_be_bytes()));
        }
        tree
    }

    #[test]
    fn roots_are_those_of_the_reference_tests() {
        let mut tree = Tree::default();
        let hex = |root: Option<Digest>| root.expect("within size").to_string();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(tree.root(0)), empty);
        for (size, (entry, _)) in (1..).zip(REFERENCE) {
            tree.append(leaf(entry));
            for (smaller, (_, root)) in (1..=size).zip(REFERENCE) {
                assert_eq!(hex(tree.root(smaller)), root, "{smaller} of {size}");
            }
        }
        assert_eq!(tree.root(9), None);
    }

    #[test]
    fn proofs_are_those_of_the_reference_tests() {
        let mut tree = Tree::default();
        for (entry, _) in REFERENCE {
            tree.append(leaf(entry));
        }
        let hex = |proof: Option<Vec<Digest>>| -> Vec<String> {
            proof.expect("within size").iter().map(Digest::to_string).collect()
        };
        assert_eq!(
            hex(tree.inclusion(0, 8)),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            hex(tree.consistency(6, 8)),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
    }

    #[test]
    fn every_inclusion_proof_verifies_for_its_leaf_alone() {
        let tree = tree(33);
        for size in 1..=33 {
            let root = tree.root(size).expect("within size");
            for index in 0..size {
                let proof = tree.inclusion(index, size).expect("within size");
                let own = tree.leaf(index).expect("within size");
                assert!(verify_inclusion(own, index, size, &proof, root));
                assert!(!verify_inclusion(leaf(b"other"), index, size, &proof, root));
                assert!(
                    !verify_inclusion(own, (index + 1) % size, size, &proof, root) || size == 1
                );
                for cut in 0..proof.len() {
                    assert!(!verify_inclusion(own, index, size, &proof[..cut], root));
                    let mut changed = proof.clone();
                    changed[cut] = leaf(b"other");
                    assert!(!verify_inclusion(own, index, size, &changed, root));
                }
            }
            assert_eq!(tree.inclusion(size, size), None);
        }
    }

    #[test]
    fn every_consistency_proof_verifies_and_a_fork_does_not() {
        let tree = tree(33);
        let mut fork = Tree::default();
        for i in 0..33u64 {
            fork.append(if i == 3 { leaf(b"edited") } else { tree.leaf(i).expect("there") });
        }
        let root = |of: &Tree, size| of.root(size).expect("within size");
        for size in 0..=33 {
            for earlier in 0..=size {
                let proof = tree.consistency(earlier, size).expect("within size");
                let old = root(&tree, earlier);
                assert!(verify_consistency(earlier, old, size, root(&tree, size), &proof));
                let other = fork.consistency(earlier, size).expect("within size");
                if earlier > 3 {
                    let new = root(&fork, size);
                    assert!(!verify_consistency(earlier, old, size, new, &other));
                    assert!(!verify_consistency(earlier, old, size, new, &proof));
                }
                let mut longer = proof.clone();
                longer.push(leaf(b"other"));
                assert!(!verify_consistency(earlier, old, size, root(&tree, size), &longer));
                if let Some(shorter) = proof.split_last().map(|(_, rest)| rest) {
                    assert!(!verify_consistency(earlier, old, size, root(&tree, size), shorter));
                }
            }
        }
        assert_eq!(tree.consistency(5, 34), None);
        assert_eq!(tree.consistency(6, 5), None);
    }
}
