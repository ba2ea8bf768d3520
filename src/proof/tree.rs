//! The Merkle tree of RFC 6962, section 2.1. Leaves are numbered from 0. Where hashes of whole subtrees come from is the
//! caller's to say: level `l`, number `i` is the subtree over the leaves from `i << l` up to `(i + 1) << l`.

use sha2::{Digest as _, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf with this content.
pub fn leaf_hash(content: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(content);
    hasher.finalize().into()
}

/// The hash of what stands above two hashes.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The root of a tree without a leaf.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Gives the hash of a whole subtree by its level and number.
type Subtrees<'a, E> = &'a mut dyn FnMut(u32, u64) -> Result<Hash, E>;

/// The largest power of two below a number of two or more.
fn split(leaves: u64) -> u64 {
    1 << (63 - (leaves - 1).leading_zeros())
}

/// The hash over the leaves from `from` up to `to`; of one leaf or more, where RFC 6962 splits.
fn over<E>(subtrees: Subtrees<'_, E>, from: u64, to: u64) -> Result<Hash, E> {
    let mut right = Vec::new();
    let (mut from, to) = (from, to);
    while !(to - from).is_power_of_two() {
        let middle = split(to - from);
        right.push(subtrees(middle.trailing_zeros(), from >> middle.trailing_zeros())?);
        from += middle;
    }
    let level = (to - from).trailing_zeros();
    let last = subtrees(level, from >> level)?;
    Ok(right.iter().rev().fold(last, |hash, left| node_hash(left, &hash)))
}

/// The root of the tree over the first `size` leaves.
///
/// # Errors
/// What `subtrees` fails with.
pub fn root<E>(size: u64, subtrees: Subtrees<'_, E>) -> Result<Hash, E> {
    if size == 0 { Ok(empty_root()) } else { over(subtrees, 0, size) }
}

/// The inclusion proof of the leaf `index` in the tree over the first `size` leaves, from the leaf's sibling up; `index` is
/// below `size`.
///
/// # Errors
/// What `subtrees` fails with.
pub fn inclusion<E>(index: u64, size: u64, subtrees: Subtrees<'_, E>) -> Result<Vec<Hash>, E> {
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(over(subtrees, middle, to)?);
            to = middle;
        } else {
            path.push(over(subtrees, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree over the first `old` leaves is the beginning of that over the first `size`; `old` is no larger. Empty
/// where `old` is 0 or `size`.
///
/// # Errors
/// What `subtrees` fails with.
pub fn consistency<E>(old: u64, size: u64, subtrees: Subtrees<'_, E>) -> Result<Vec<Hash>, E> {
    let mut path = Vec::new();
    if old == 0 {
        return Ok(path);
    }
    let (mut from, mut to, mut is_known) = (0, size, true);
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(over(subtrees, middle, to)?);
            to = middle;
        } else {
            path.push(over(subtrees, from, middle)?);
            (from, is_known) = (middle, false);
        }
    }
    if !is_known {
        path.push(over(subtrees, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// Where a proof goes on: numbers of a node and of the last one of its level.
struct Climb {
    node: u64,
    last: u64,
}

impl Climb {
    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// Whether what the proof names next stands left.
    fn is_right(&self) -> bool {
        self.node & 1 == 1 || self.node == self.last
    }

    /// Over the levels at which a last node has no sibling.
    fn skip(&mut self) {
        while self.node & 1 == 0 && self.node != 0 {
            self.up();
        }
    }
}

/// Whether a proof shows that a leaf with this hash stands at `index` of the tree over `size` leaves that has this root
/// (RFC 9162, 2.1.3.2).
pub fn is_included(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let mut at = Climb { node: index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in proof {
        if at.last == 0 {
            return false;
        }
        if at.is_right() {
            hash = node_hash(sibling, &hash);
            at.skip();
        } else {
            hash = node_hash(&hash, sibling);
        }
        at.up();
    }
    at.last == 0 && hash == *root
}

/// Whether a proof shows that one tree is the beginning of another; each by its size and root (RFC 9162, 2.1.4.2).
pub fn is_consistent(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (size, root)) = (old, new);
    match old_size {
        0 => return proof.is_empty() && *old_root == empty_root(),
        _ if old_size > size => return false,
        _ if old_size == size => return proof.is_empty() && old_root == root,
        _ => {}
    }
    let (first, rest) = match (old_size.is_power_of_two(), proof) {
        (true, rest) => (old_root, rest),
        (false, [first, rest @ ..]) => (first, rest),
        (false, []) => return false,
    };
    let mut at = Climb { node: old_size - 1, last: size - 1 };
    while at.node & 1 == 1 {
        at.up();
    }
    let (mut before, mut after) = (*first, *first);
    for sibling in rest {
        if at.last == 0 {
            return false;
        }
        if at.is_right() {
            before = node_hash(sibling, &before);
            after = node_hash(sibling, &after);
            at.skip();
        } else {
            after = node_hash(&after, sibling);
        }
        at.up();
    }
    at.last == 0 && before == *old_root && after == *root
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    fn subtree(level: u32, index: u64) -> Result<Hash, Infallible> {
        if level == 0 {
            return Ok(leaf(index));
        }
        let Ok(left) = subtree(level - 1, index * 2);
        let Ok(right) = subtree(level - 1, index * 2 + 1);
        Ok(node_hash(&left, &right))
    }

    /// The definition of RFC 6962, word for word.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            more => {
                let mut k = 1;
                while k * 2 < more.len() {
                    k *= 2;
                }
                node_hash(&defined(&more[..k]), &defined(&more[k..]))
            }
        }
    }

    fn root_of(size: u64) -> Hash {
        let Ok(root) = root(size, &mut subtree);
        root
    }

    /// The seven leaves of the reference implementation of Certificate Transparency, and its roots.
    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let known = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, known) in known.iter().enumerate() {
            assert_eq!(hex::encode(defined(&hashes[..=size])), *known, "of {} leaves", size + 1);
        }
    }

    #[test]
    fn roots_and_proofs_of_every_size_hold_and_no_other_does() {
        let leaves: Vec<Hash> = (0..70).map(leaf).collect();
        for size in 0..=70_u64 {
            let whole = root_of(size);
            assert_eq!(whole, defined(&leaves[..usize::try_from(size).expect("small")]));
            for index in 0..size {
                let Ok(proof) = inclusion(index, size, &mut subtree);
                assert!(is_included(&leaf(index), index, size, &proof, &whole));
                assert!(!is_included(&leaf(index + 1), index, size, &proof, &whole));
                assert!(size == 1 || !is_included(&leaf(index), (index + 1) % size, size, &proof, &whole));
                let mut longer = proof.clone();
                longer.push(whole);
                assert!(!is_included(&leaf(index), index, size, &longer, &whole));
                assert!(proof.is_empty() || !is_included(&leaf(index), index, size, &proof[1..], &whole));
            }
            assert!(!is_included(&leaf(size), size, size, &[], &whole));
            for old in 0..=size {
                let Ok(proof) = consistency(old, size, &mut subtree);
                let before = root_of(old);
                assert!(is_consistent((old, &before), (size, &whole), &proof), "{old} in {size}");
                assert!(!is_consistent((old, &leaf(99)), (size, &whole), &proof));
                assert!(old == 0 || !is_consistent((old, &before), (size, &leaf(99)), &proof));
                let mut longer = proof.clone();
                longer.push(whole);
                assert!(!is_consistent((old, &before), (size, &whole), &longer));
            }
            assert!(!is_consistent((size + 1, &root_of(size + 1)), (size, &whole), &[]));
        }
    }
}
