//! What of the source is unpacked: blocks that the target no longer has and those around them, in
//! parts that a device unpacks alone.

use crate::limits::BLOCK_LEN_MAX;
use crate::unpack::pack::in_memory;
use crate::unpack::{Block, Codec};

/// A block of the source, or a part of one.
pub(super) struct Part {
    pub(super) block: Block,
    /// Whether it goes on with what the part before has of a file.
    pub(super) goes_on: bool,
}

/// Blocks that changed, and those around them: files are matched better whole. Files begin at
/// `files`, in order.
pub(super) fn near_changes(blocks: &[Block], is_changed: &[bool], files: &[u64]) -> Vec<Block> {
    const REACH: usize = 8;
    let mut is_near = vec![false; blocks.len()];
    for (index, _) in is_changed.iter().enumerate().filter(|(_, is_changed)| **is_changed) {
        if blocks[index].codec != Codec::Stored {
            let end = blocks.len().min(index + REACH + 1);
            is_near[index.saturating_sub(REACH)..end].fill(true);
        }
    }
    // What a file system stored as it is of the same file: a stream in it goes on there.
    let goes_on = |index: usize| {
        let [before, next] = [blocks[index - 1], blocks[index]];
        before.offset + before.len == next.offset && files.binary_search(&next.offset).is_err()
    };
    let is_stored = |index: usize| blocks[index].codec == Codec::Stored;
    for index in 1..blocks.len() {
        is_near[index] |= is_near[index - 1] && is_stored(index) && goes_on(index);
    }
    for index in (1..blocks.len()).rev() {
        is_near[index - 1] |= is_near[index] && is_stored(index - 1) && goes_on(index);
    }
    blocks.iter().zip(is_near).filter(|(_, is_near)| *is_near).map(|(block, _)| *block).collect()
}

/// The same blocks, with long runs of clusters, each of which unpacks for itself, in parts: for a
/// copy, a device unpacks a part, and not all of a file. Files begin at `files`, in order.
pub(super) fn in_parts(blocks: Vec<Block>, files: &[u64]) -> Vec<Part> {
    let mut end = 0;
    let parts = blocks.into_iter().flat_map(|block| {
        let is_cluster = matches!(block.codec, Codec::LzmaCluster { .. });
        let goes_on = is_cluster && follows(end, &block, files);
        end = block.offset + block.len;
        let part_len = match block.codec {
            Codec::Lz4Clusters { cluster_log2 } => PART_LEN.max(1 << cluster_log2),
            Codec::Stored => STORED_PART_LEN,
            _ => BLOCK_LEN_MAX.max(block.len),
        };
        (0..block.len).step_by(in_memory(part_len)).map(move |at| {
            let (offset, len) = (block.offset + at, part_len.min(block.len - at));
            Part { block: Block { offset, len, ..block }, goes_on: goes_on || at > 0 }
        })
    });
    parts.collect()
}

/// Whether a cluster is the next one of the file whose cluster ends at `end`: zeros may lie before
/// it, and no file begins there.
fn follows(end: u64, block: &Block, files: &[u64]) -> bool {
    let begun = |at: u64| files.partition_point(|file| *file < at);
    (end..end + CLUSTER_ZEROS_MAX).contains(&block.offset) && begun(end) == begun(block.offset + 1)
}

/// So many zeros are before a cluster at most, in bytes: erofs counts it in blocks.
pub(super) const CLUSTER_ZEROS_MAX: u64 = 4096;

/// Length of such a part as packed, in bytes: below it, the table costs more than is gained.
const PART_LEN: u64 = 16 << 10;

/// The same of what is stored, which takes a device next to nothing.
const STORED_PART_LEN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks near changes of a row of blocks: `z` is packed, `Z` packed and changed, `s`
    /// stored; before a space something lies between, and a file begins at each `|`.
    fn near(row: &str) -> String {
        let (mut blocks, mut is_changed, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let mut offset = 0;
        for sign in row.chars() {
            match sign {
                '|' => files.push(offset),
                ' ' => offset += 1,
                _ => {
                    let codec = if sign == 's' { Codec::Stored } else { Codec::Zstd };
                    blocks.push(Block { offset, len: 10, codec });
                    is_changed.push(sign == 'Z');
                    offset += 10;
                }
            }
        }
        let near = near_changes(&blocks, &is_changed, &files);
        let sign = |block: &Block| if near.contains(block) { 'x' } else { '.' };
        blocks.iter().map(sign).collect()
    }

    #[test]
    fn file_that_is_stored_in_part_is_near_with_all_of_that() {
        assert_eq!(near("zzzzzzzzzzZzzzzzzzzzz"), "..xxxxxxxxxxxxxxxxx..");
        assert_eq!(near("|Zssssssssssssssz"), "xxxxxxxxxxxxxxx.");
        assert_eq!(near("|sssssssssssssssZ|s"), "xxxxxxxxxxxxxxxxx");
        assert_eq!(near("|ssss|sssssssssssZ|s"), "....xxxxxxxxxxxxx");
        assert_eq!(near("|Zssssssssssss|sss"), "xxxxxxxxxxxxx...");
        assert_eq!(near("|Zsssssssss sssss"), "xxxxxxxxxx.....");
        assert_eq!(near("sssssssss"), ".........");
    }
}
