//! Regions of the target that are derived: blocks whose plain bytes are what they are made from.

use super::{DiffError, Fate, Limits, kept};
use crate::io::Source;
use crate::io::scratch::Scratch;
use crate::unpack::Block;
use crate::unpack::codec::{Method, Rebuilt};
use crate::unpack::find::{self, Found, Region};
use crate::unpack::pack::in_memory;

/// The regions of an image, which then are among the blocks that were found in it. Blocks over one
/// are none: its bytes only look like theirs.
pub(super) fn regions(image: &dyn Source, found: &mut Found) -> Result<Vec<Region>, DiffError> {
    let regions = find::regions(image, found).map_err(DiffError::Target)?;
    let is_over = |block: &Block, region: &Block| {
        block.offset < region.offset + region.len && region.offset < block.offset + block.len
    };
    found.blocks.retain(|block| !regions.iter().any(|region| is_over(block, &region.block)));
    found.blocks.extend(regions.iter().map(|region| region.block));
    found.blocks.sort_unstable();
    Ok(regions)
}

/// Where an image of this size may have the same regions: nobody says where they are in it.
pub(super) fn in_place(regions: &[Region], size: u64) -> Vec<Block> {
    let blocks = regions.iter().map(|region| region.block);
    blocks.filter(|block| block.offset + block.len <= size).collect()
}

/// What becomes of a region that the source does not have.
pub(super) fn fate(region: &Region, scratch: &Scratch, limits: &Limits) -> Result<Fate, DiffError> {
    let Region { block, derived } = region;
    let method = Method::of_block(block.codec, &[]).expect("such a codec has one method");
    let plain = derived.encode();
    let (packed_len, plain_len) = (in_memory(block.len), plain.len());
    let rebuilt = Rebuilt { method, packed_len, plain_len, correction: Vec::new() };
    kept(block, &plain, rebuilt, scratch, limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::Codec;
    use crate::unpack::derived::{Derived, Hash, Verity};

    /// A tree is bytes like any others: what its digests look like is no reason to send them.
    #[test]
    fn blocks_over_a_region_are_none() {
        let verity = Verity {
            hash: Hash::Sha256,
            is_padded: true,
            data_block_log2: 9,
            hash_block_log2: 9,
            data_offset: 0,
            data_block_count: 8,
            salt: Vec::new(),
        };
        let mut image: Vec<u8> = (0..4096_u32).map(|index| index.to_le_bytes()[0]).collect();
        let tree =
            Derived::Verity(verity).make(|offset, into: &mut [u8]| image.read_at(offset, into));
        let tree = tree.expect("it lies in the image");
        let mut superblock = [0; 512];
        superblock[..9].copy_from_slice(b"verity\0\0\x01");
        superblock[12] = 1;
        superblock[32..38].copy_from_slice(b"sha256");
        (superblock[65], superblock[69], superblock[72]) = (2, 2, 8);
        image.extend(superblock);
        image.extend(tree);
        image.extend([7; 512]);
        let block = |offset, len| Block { offset, len, codec: Codec::Zstd };
        let blocks = vec![block(0, 4000), block(4600, 9), block(4700, 500), block(5120, 100)];
        let mut found = Found { blocks, superblocks: vec![4096], ..Found::default() };
        let regions = regions(&image, &mut found).expect("memory can be read");
        let tree = Block { offset: 4608, len: 512, codec: Codec::Verity };
        assert_eq!(regions.iter().map(|region| region.block).collect::<Vec<_>>(), [tree]);
        assert_eq!(found.blocks, [block(0, 4000), tree, block(5120, 100)]);
        let size = image.len() as u64;
        assert_eq!((in_place(&regions, size), in_place(&regions, 5000)), (vec![tree], vec![]));
    }
}
