//! The tree beside a blob: by it any group of 16 KiB is verified against the root alone.
//!
//! A tree is the pairs of subtree values in post-order and then the length (`docs/depot.md`
//! defines the bytes). The pairs of any subtree lie together, its own pair last, so a tree is
//! written strictly forward in constant memory, and a part of it is read in one piece.

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use neap_engine::digest::{self, Digest};

use crate::limits::{BLOB_LEN_MAX, GROUP_LEN};

/// Bytes of a pair: the values of the left and of the right subtree.
pub const PAIR_LEN: usize = 64;

/// Bytes of the length at the end of a tree.
pub const LEN_LEN: usize = 8;

/// Makes the tree and the root of bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Builder {
    /// The last group, kept until more comes: only then is it known that it is not the root.
    group: Vec<u8>,
    groups: u64,
    /// Values of whole subtrees, the largest first.
    stack: Vec<[u8; 32]>,
}

/// A part of a tree: the groups of a blob below one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subtree {
    /// Its first group.
    pub first: u64,
    /// How many groups it has.
    pub groups: u64,
    /// The index of its first pair.
    pub base: u64,
    /// Whether it is the whole tree.
    pub is_root: bool,
}

impl Builder {
    /// Takes more bytes; appends to `tree` the pairs that are complete.
    pub fn update(&mut self, mut bytes: &[u8], tree: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.group.len() == GROUP_LEN {
                let group = std::mem::take(&mut self.group);
                self.push(&group, tree);
                self.group = group;
                self.group.clear();
            }
            // Whole groups that something follows need not be kept.
            while self.group.is_empty() && bytes.len() > GROUP_LEN {
                let (group, rest) = bytes.split_at(GROUP_LEN);
                self.push(group, tree);
                bytes = rest;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(GROUP_LEN - self.group.len()));
            self.group.extend_from_slice(now);
            bytes = rest;
        }
    }

    /// Appends the rest of the tree and gives the root and the length.
    pub fn finish(mut self, tree: &mut Vec<u8>) -> (Digest, u64) {
        let before = self.groups * GROUP_LEN as u64;
        let len = before + self.group.len() as u64;
        let mut value = digest::window(&self.group, before, len).0;
        while let Some(left) = self.stack.pop() {
            let pair = join(&left, &value);
            tree.extend_from_slice(&pair);
            value = parent(&pair, self.stack.is_empty());
        }
        tree.extend_from_slice(&len.to_le_bytes());
        (Digest(value), len)
    }

    fn push(&mut self, group: &[u8], tree: &mut Vec<u8>) {
        let offset = self.groups * GROUP_LEN as u64;
        let mut hasher = Hasher::new();
        let mut value = hasher.set_input_offset(offset).update(group).finalize_non_root();
        self.groups += 1;
        // As many subtrees end with this group as its number has zeros at the end.
        for _ in 0..self.groups.trailing_zeros() {
            let left = self.stack.pop().expect("a subtree that ends here has a left half");
            let pair = join(&left, &value);
            tree.extend_from_slice(&pair);
            value = parent(&pair, false);
        }
        self.stack.push(value);
    }
}

impl Subtree {
    /// The whole tree of a blob of `len` bytes.
    #[must_use]
    pub fn whole(len: u64) -> Self {
        Self { first: 0, groups: groups(len), base: 0, is_root: true }
    }

    /// Where its own pair lies; one group has none.
    #[must_use]
    pub fn pair_offset(&self) -> Option<u64> {
        let before = self.groups.checked_sub(2)?;
        Some((self.base + before) * PAIR_LEN as u64)
    }

    /// Its two halves: the left has the largest power of two of groups that leaves any.
    #[must_use]
    pub fn halves(&self) -> Option<(Self, Self)> {
        if self.groups < 2 {
            return None;
        }
        let left = self.groups.next_power_of_two() / 2;
        let Self { first, groups, base, .. } = *self;
        Some((
            Self { first, groups: left, base, is_root: false },
            Self {
                first: first + left,
                groups: groups - left,
                base: base + left - 1,
                is_root: false,
            },
        ))
    }

    /// The values of its groups, from its own value and all its pairs. A group has none if a pair
    /// above it is damaged.
    ///
    /// # Panics
    /// If `pairs` are not as many as a subtree of this size has.
    #[must_use]
    pub fn values(&self, value: [u8; 32], pairs: &[u8]) -> Vec<Option<[u8; 32]>> {
        assert_eq!(pairs.len() as u64, (self.groups - 1) * PAIR_LEN as u64, "pairs of a subtree");
        let mut values = Vec::new();
        let mut open = vec![(*self, Some(value))];
        while let Some((at, value)) = open.pop() {
            let Some((left, right)) = at.halves() else {
                values.push(value);
                continue;
            };
            let index = usize::try_from(at.base - self.base + at.groups - 2);
            let offset = index.expect("pairs are in memory") * PAIR_LEN;
            let below = value.and_then(|value| split(&pairs[offset..], &value, at.is_root));
            open.push((right, below.map(|(_, right)| right)));
            open.push((left, below.map(|(left, _)| left)));
        }
        values
    }
}

/// How many groups a blob has. An empty one has one, empty.
#[must_use]
pub fn groups(len: u64) -> u64 {
    len.div_ceil(GROUP_LEN as u64).max(1)
}

/// Bytes of the tree of a blob of `len` bytes.
#[must_use]
pub fn tree_len(len: u64) -> u64 {
    (groups(len) - 1) * PAIR_LEN as u64 + LEN_LEN as u64
}

/// The length that the end of a tree claims, if a tree of that length is `tree_len` bytes long.
#[must_use]
pub fn claimed_len(end: [u8; LEN_LEN], tree_bytes: u64) -> Option<u64> {
    let len = u64::from_le_bytes(end);
    (len <= BLOB_LEN_MAX && tree_len(len) == tree_bytes).then_some(len)
}

/// The two values of the pair that `bytes` begin with, if it is the one of this value.
#[must_use]
pub fn split(bytes: &[u8], value: &[u8; 32], is_root: bool) -> Option<([u8; 32], [u8; 32])> {
    let pair: &[u8; PAIR_LEN] = bytes.first_chunk()?;
    let (left, right) = (pair.first_chunk::<32>()?, pair.last_chunk::<32>()?);
    (parent(pair, is_root) == *value).then_some((*left, *right))
}

/// Whether these are the bytes of group `index` of a blob of `len` bytes.
#[must_use]
pub fn is_group(bytes: &[u8], index: u64, len: u64, value: &[u8; 32]) -> bool {
    digest::window(bytes, index * GROUP_LEN as u64, len).0 == *value
}

fn join(left: &[u8; 32], right: &[u8; 32]) -> [u8; PAIR_LEN] {
    let mut pair = [0; PAIR_LEN];
    pair[..32].copy_from_slice(left);
    pair[32..].copy_from_slice(right);
    pair
}

fn parent(pair: &[u8; PAIR_LEN], is_root: bool) -> [u8; 32] {
    let (left, right) = pair.split_at(32);
    let (mut l, mut r) = ([0; 32], [0; 32]);
    l.copy_from_slice(left);
    r.copy_from_slice(right);
    if is_root {
        *merge_subtrees_root(&l, &r, Mode::Hash).as_bytes()
    } else {
        merge_subtrees_non_root(&l, &r, Mode::Hash)
    }
}

#[cfg(test)]
mod tests {
    use bao_tree::BlockSize;
    use bao_tree::io::outboard::PostOrderMemOutboard;
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| ((i * i) >> 5).to_le_bytes()[0]).collect()
    }

    fn build(bytes: &[u8], piece: usize) -> (Digest, u64, Vec<u8>) {
        let (mut builder, mut tree) = (Builder::default(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            builder.update(piece, &mut tree);
        }
        let (digest, len) = builder.finish(&mut tree);
        (digest, len, tree)
    }

    /// Lengths around the ends of groups and of powers of two of them.
    fn lengths() -> Vec<usize> {
        let ends = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33].map(|n| n * GROUP_LEN);
        let near = ends.iter().flat_map(|end| [end.saturating_sub(1), *end, end + 1]);
        near.chain([10, 1024, 1025]).collect()
    }

    #[test]
    fn trees_are_those_of_bao_tree() {
        for len in lengths() {
            let bytes = bytes(len);
            let peer = PostOrderMemOutboard::create(&bytes, BlockSize::from_chunk_log(4));
            let (digest, found, tree) = build(&bytes, 10_000);
            assert_eq!(digest, Digest::of(&bytes), "{len}");
            assert_eq!(found, len as u64);
            assert_eq!(tree.len() as u64, tree_len(found), "{len}");
            assert_eq!(tree, peer.into_inner_with_suffix(), "{len}");
        }
    }

    #[test]
    fn a_tree_gives_the_value_of_every_group_and_none_below_a_damaged_pair() {
        for len in lengths() {
            let bytes = bytes(len);
            let (digest, len, mut tree) = build(&bytes, usize::MAX);
            let whole = Subtree::whole(len);
            let pairs = tree.len() - LEN_LEN;
            let values = whole.values(digest.0, &tree[..pairs]);
            let mut groups: Vec<&[u8]> = bytes.chunks(GROUP_LEN).collect();
            if groups.is_empty() {
                groups.push(&[]);
            }
            assert_eq!(values.len(), groups.len());
            for (index, (group, value)) in groups.iter().zip(&values).enumerate() {
                assert!(is_group(group, index as u64, len, &value.expect("known")), "{index}");
            }
            if let Some(offset) = whole.pair_offset() {
                tree[usize::try_from(offset).expect("short")] ^= 1;
                let values = whole.values(digest.0, &tree[..pairs]);
                assert!(values.iter().all(Option::is_none));
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_the_tree_are_refused() {
        let end = |len: u64| len.to_le_bytes();
        assert_eq!(claimed_len(end(0), 8), Some(0));
        assert_eq!(claimed_len(end(GROUP_LEN as u64), 8), Some(GROUP_LEN as u64));
        assert_eq!(claimed_len(end(GROUP_LEN as u64 + 1), 8), None);
        assert_eq!(claimed_len(end(GROUP_LEN as u64 + 1), 72), Some(GROUP_LEN as u64 + 1));
        assert_eq!(claimed_len(end(BLOB_LEN_MAX), tree_len(BLOB_LEN_MAX)), Some(BLOB_LEN_MAX));
        assert_eq!(claimed_len(end(BLOB_LEN_MAX + 1), tree_len(BLOB_LEN_MAX + 1)), None);
        assert_eq!(claimed_len([255; 8], 8), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn pieces_do_not_matter(len in 0_usize..200_000, piece in 1_usize..50_000) {
            let bytes = bytes(len);
            prop_assert_eq!(build(&bytes, piece), build(&bytes, usize::MAX));
        }
    }
}
