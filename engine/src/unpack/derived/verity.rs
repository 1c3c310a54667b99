//! The hash tree of dm-verity, as Linux' `Documentation/admin-guide/device-mapper/verity.rst` and
//! cryptsetup's `lib/verity/verity_hash.c` have it.
//!
//! Each block of the data has a digest; a block of digests has one on the next level, up to a level
//! that is one block. The levels lie one behind another, the topmost first.

use std::ops::Range;

use sha2::Digest;

use crate::limits::{BLOCK_LEN_MAX, DERIVED_PIECE_LEN, IMAGE_SIZE_MAX};

/// A hash function that trees are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-224, 28 bytes.
    Sha224,
    /// SHA-256, 32 bytes: what nearly all trees have.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

/// What a hash tree is computed from. 22 bytes and the salt, little-endian (format 11.4).
///
/// | at | size | field | bound |
/// |---:|---:|---|---|
/// | 0 | 1 | `hash` | 0 (SHA-1), 1 (SHA-224), 2 (SHA-256), 3 (SHA-384) or 4 (SHA-512) |
/// | 1 | 1 | `hash_type` | 0 (digests close together, salt behind) or 1 (padded, salt in front) |
/// | 2 | 1 | `data_block_log2` | 9 ..= 19 |
/// | 3 | 1 | `hash_block_log2` | 9 ..= 19 |
/// | 4 | 8 | `data_offset` | the data ends where the region starts, or before |
/// | 12 | 8 | `data_block_count` | 2 .. |
/// | 20 | 2 | `salt_len` | 0 ..= 256 |
/// | 22 | `salt_len` | `salt` | |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// The hash function.
    pub hash: Hash,
    /// Whether digests are padded and salt comes first, as it is today; Chrome OS has it otherwise.
    pub is_padded: bool,
    /// Length of a block of data, as log2 of bytes.
    pub data_block_log2: u8,
    /// Length of a block of digests, as log2 of bytes.
    pub hash_block_log2: u8,
    /// Where the data starts in the target, in bytes.
    pub data_offset: u64,
    /// How many blocks of data there are.
    pub data_block_count: u64,
    /// What is hashed beside each block.
    pub salt: Vec<u8>,
}

impl Hash {
    /// All, by their number in a patch.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name that a superblock gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn put(self, parts: [&[u8]; 2], into: &mut Vec<u8>) {
        match self {
            Self::Sha1 => put::<sha1::Sha1>(parts, into),
            Self::Sha224 => put::<sha2::Sha224>(parts, into),
            Self::Sha256 => put::<sha2::Sha256>(parts, into),
            Self::Sha384 => put::<sha2::Sha384>(parts, into),
            Self::Sha512 => put::<sha2::Sha512>(parts, into),
        }
    }
}

fn put<D: Digest>(parts: [&[u8]; 2], into: &mut Vec<u8>) {
    let digest = parts.iter().fold(D::new(), |hasher, part| hasher.chain_update(part));
    into.extend_from_slice(&digest.finalize());
}

impl Verity {
    /// Shortest parameters, in bytes: those without a salt.
    pub const PLAIN_LEN_MIN: usize = 22;

    /// Longest salt, in bytes: what a superblock has room for.
    pub const SALT_LEN_MAX: usize = 256;

    /// Shortest and longest block, as log2 of bytes: what veritysetup takes.
    pub const BLOCK_LOG2: std::ops::RangeInclusive<u8> = 9..=19;

    pub(super) fn decode(plain: &[u8]) -> Option<Self> {
        let (fixed, salt) = plain.split_first_chunk::<{ Self::PLAIN_LEN_MIN }>()?;
        let [hash, hash_type, data_block_log2, hash_block_log2, rest @ ..] = *fixed;
        let (offset, rest) = rest.split_first_chunk()?;
        let (count, salt_len) = rest.split_first_chunk()?;
        let is_log2 = |log2: &u8| Self::BLOCK_LOG2.contains(log2);
        let salt_len = u16::from_le_bytes(salt_len.try_into().ok()?);
        if hash_type > 1
            || ![data_block_log2, hash_block_log2].iter().all(is_log2)
            || salt.len() != usize::from(salt_len)
            || salt.len() > Self::SALT_LEN_MAX
        {
            return None;
        }
        let verity = Self {
            hash: *Hash::ALL.get(usize::from(hash))?,
            is_padded: hash_type == 1,
            data_block_log2,
            hash_block_log2,
            data_offset: u64::from_le_bytes(*offset),
            data_block_count: u64::from_le_bytes(*count),
            salt: salt.to_vec(),
        };
        verity.tree_len().map(|_| verity)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let hash = Hash::ALL.iter().position(|hash| *hash == self.hash);
        let hash = hash.and_then(|hash| u8::try_from(hash).ok()).expect("all are in the list");
        let salt_len = u16::try_from(self.salt.len()).expect("a salt is short");
        let mut plain = vec![hash, self.is_padded.into()];
        plain.extend([self.data_block_log2, self.hash_block_log2]);
        plain.extend(self.data_offset.to_le_bytes());
        plain.extend(self.data_block_count.to_le_bytes());
        plain.extend(salt_len.to_le_bytes());
        plain.extend(&self.salt);
        plain
    }

    /// Where the data is in the target.
    ///
    /// # Panics
    /// If there is no tree of these parameters.
    #[must_use]
    pub fn data(&self) -> Range<u64> {
        self.data_offset..self.data_end().expect("the data is in an image")
    }

    fn data_end(&self) -> Option<u64> {
        if self.data_block_count > IMAGE_SIZE_MAX >> self.data_block_log2 {
            return None;
        }
        let end = self.data_offset.checked_add(self.data_block_count << self.data_block_log2)?;
        (end <= IMAGE_SIZE_MAX).then_some(end)
    }

    /// Length of the tree, in bytes; none of data that has none, or that no image has, or of which
    /// the tree is longer than a block may be.
    #[must_use]
    pub fn tree_len(&self) -> Option<u64> {
        self.data_end()?;
        let levels = self.levels();
        let len = levels.iter().map(|level| level.len).sum::<u64>();
        (1..=BLOCK_LEN_MAX).contains(&len).then_some(len)
    }

    /// Where in the tree the digest of a block of data is.
    #[must_use]
    pub fn leaf_place(&self, index: u64) -> Option<Range<u64>> {
        let leaves = *self.levels().first()?;
        let place = leaves.at + self.slot_place(index);
        Some(place..place + self.hash.len() as u64)
    }

    /// Digests of whole blocks of data, one behind another.
    #[must_use]
    pub fn digests(&self, data: &[u8]) -> Vec<u8> {
        self.digests_of(data, 1 << self.data_block_log2)
    }

    fn digests_of(&self, bytes: &[u8], block_len: usize) -> Vec<u8> {
        let mut digests = Vec::with_capacity(bytes.len() / block_len * self.hash.len());
        for block in bytes.chunks(block_len) {
            let parts = if self.is_padded { [&self.salt, block] } else { [block, &self.salt] };
            self.hash.put(parts, &mut digests);
        }
        digests
    }

    pub(super) fn make<E>(
        &self,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let mut tree = Tree::new(self);
        let mut buffer = Vec::new();
        for piece in self.pieces() {
            buffer.resize(in_memory(piece.end - piece.start), 0);
            read(piece.start, &mut buffer)?;
            tree.add(&self.digests(&buffer));
        }
        Ok(tree.finish())
    }

    /// The data in pieces of whole blocks, as they are read at once.
    pub fn pieces(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let Range { start, end } = self.data();
        let count = (end - start).div_ceil(DERIVED_PIECE_LEN);
        (0..count).map(move |index| {
            let start = start + index * DERIVED_PIECE_LEN;
            start..end.min(start + DERIVED_PIECE_LEN)
        })
    }

    /// The levels of the tree, the leaves first.
    fn levels(&self) -> Vec<Level> {
        let (mut levels, mut count) = (Vec::new(), self.data_block_count);
        while count > 1 {
            count = count.div_ceil(1 << self.per_block_log2());
            levels.push(Level { at: 0, len: count << self.hash_block_log2 });
        }
        let mut at = 0;
        for level in levels.iter_mut().rev() {
            level.at = at;
            at += level.len;
        }
        levels
    }

    /// Digests in a block, as log2.
    fn per_block_log2(&self) -> u32 {
        ((1_usize << self.hash_block_log2) / self.hash.len()).ilog2()
    }

    /// Where the digest with this index is in its level.
    fn slot_place(&self, index: u64) -> u64 {
        let (block, slot) = (index >> self.per_block_log2(), index % (1 << self.per_block_log2()));
        let len = self.hash.len();
        let slot_len = if self.is_padded { len.next_power_of_two() } else { len };
        (block << self.hash_block_log2) + slot * slot_len as u64
    }
}

/// A level of a tree: where it is in the tree, and its length, in bytes.
#[derive(Debug, Clone, Copy)]
struct Level {
    at: u64,
    len: u64,
}

/// A tree that is being made.
pub struct Tree<'a> {
    verity: &'a Verity,
    levels: Vec<Level>,
    bytes: Vec<u8>,
    leaf_count: u64,
}

impl<'a> Tree<'a> {
    /// A tree without digests.
    #[must_use]
    pub fn new(verity: &'a Verity) -> Self {
        let levels = verity.levels();
        let len = levels.iter().map(|level| level.len).sum();
        Self { verity, levels, bytes: vec![0; in_memory(len)], leaf_count: 0 }
    }

    /// Takes digests of the next blocks of data.
    pub fn add(&mut self, digests: &[u8]) {
        self.put(0, self.leaf_count, digests);
        self.leaf_count += (digests.len() / self.verity.hash.len()) as u64;
    }

    fn put(&mut self, level: usize, mut index: u64, digests: &[u8]) {
        for digest in digests.chunks(self.verity.hash.len()) {
            let place = in_memory(self.levels[level].at + self.verity.slot_place(index));
            self.bytes[place..place + digest.len()].copy_from_slice(digest);
            index += 1;
        }
    }

    /// The tree, of which all leaves are there.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let block_len = 1 << self.verity.hash_block_log2;
        for level in 1..self.levels.len() {
            let Level { at, len } = self.levels[level - 1];
            let mut index = 0;
            for start in (at..at + len).step_by(in_memory(DERIVED_PIECE_LEN)) {
                let end = (at + len).min(start + DERIVED_PIECE_LEN);
                let below = &self.bytes[in_memory(start)..in_memory(end)];
                let digests = self.verity.digests_of(below, block_len);
                self.put(level, index, &digests);
                index += (end - start) >> self.verity.hash_block_log2;
            }
        }
        self.bytes
    }
}

/// Lengths that the longest tree keeps below what is held in memory.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a tree is held in memory")
}
