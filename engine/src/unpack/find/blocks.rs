//! Blocks that were found so far: none over another, and no more than there is memory for.

use std::collections::BTreeMap;

use crate::limits::{BLOCK_SPACING, BLOCKS_MIN};
use crate::unpack::{Block, Codec};

/// What adding a block costs, in bytes of work: a place in a tree, also where it is then refused.
pub(super) const BLOCK_WORK: u64 = 64;

/// A growing set of blocks that do not overlap.
#[derive(Debug)]
pub(super) struct Blocks {
    by_offset: BTreeMap<u64, (u64, Codec)>,
    /// Where the first blocks of files are.
    files: Vec<u64>,
    image_size: u64,
}

impl Blocks {
    /// None yet, of an image of so many bytes.
    pub(super) fn new(image_size: u64) -> Self {
        Self { by_offset: BTreeMap::new(), files: Vec::new(), image_size }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_offset.len()
    }

    /// Whether no block has any of these bytes.
    pub(super) fn is_free(&self, offset: u64, len: u64) -> bool {
        let end = offset.saturating_add(len);
        let before = self.by_offset.range(..end).next_back();
        before.is_none_or(|(start, (len, _))| start + len <= offset)
    }

    /// Adds a block that lies inside the image and over no other, and says whether it did.
    pub(super) fn add(&mut self, block: Block) -> bool {
        let Block { offset, len, codec } = block;
        let is_inside = offset.checked_add(len).is_some_and(|end| end <= self.image_size);
        if len == 0
            || !is_inside
            || !self.is_free(offset, len)
            || self.len() as u64 >= count_max(self.image_size)
        {
            return false;
        }
        self.by_offset.insert(offset, (len, codec));
        true
    }

    /// Adds where the first blocks of files are, as far as there is room for them.
    pub(super) fn add_files(&mut self, files: &[u64]) {
        let count_max = usize::try_from(count_max(self.image_size)).unwrap_or(usize::MAX);
        let room = count_max - self.files.len();
        self.files.extend(&files[..room.min(files.len())]);
    }

    /// Where the first blocks of files are, in no order.
    pub(super) fn files(&self) -> &[u64] {
        &self.files
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Block> {
        self.by_offset.iter().map(|(&offset, &(len, codec))| Block { offset, len, codec })
    }
}

/// Most blocks of an image of so many bytes.
pub(super) fn count_max(image_size: u64) -> u64 {
    BLOCKS_MIN + image_size / BLOCK_SPACING
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(offset: u64, len: u64) -> Block {
        Block { offset, len, codec: Codec::Zlib }
    }

    #[test]
    fn block_that_touches_is_taken_and_one_that_overlaps_is_not() {
        let mut blocks = Blocks::new(100);
        assert!(blocks.add(block(10, 10)));
        for (offset, len) in [(10, 10), (0, 11), (19, 1), (19, 5), (0, 100), (12, 2)] {
            assert!(!blocks.add(block(offset, len)), "{offset} {len}");
        }
        assert!(blocks.add(block(0, 10)) && blocks.add(block(20, 80)));
        assert_eq!(blocks.len(), 3);
    }

    #[test]
    fn block_outside_the_image_or_without_bytes_is_refused() {
        let mut blocks = Blocks::new(100);
        for (offset, len) in [(0, 0), (100, 1), (99, 2), (u64::MAX, 1), (1, u64::MAX)] {
            assert!(!blocks.add(block(offset, len)), "{offset} {len}");
        }
        assert!(blocks.add(block(99, 1)));
    }
}
