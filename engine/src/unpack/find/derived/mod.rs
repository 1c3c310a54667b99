//! Regions that follow from the rest of the image: hash trees of dm-verity, and parity behind them.
//!
//! A superblock of veritysetup says how its tree is made, but not where the data begins, and
//! nothing says that there is parity. So likely places are tried: a digest or two first, and then
//! all of the region is computed. What is found is exactly what the image has.

mod parity;
mod partitions;
mod superblock;

use std::ops::Range;

use rayon::prelude::*;

use super::Found;
use super::reader::Reader;
use crate::io::{Error, Source};
use crate::limits::{DERIVED_MAX, FIND_WORK, FIND_WORK_MIN};
use crate::unpack::Block;
use crate::unpack::derived::{Derived, Tree, Verity};
use crate::unpack::pack::in_memory;
pub(super) use superblock::{Superblock, read as superblock};

/// A region, and what it follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Where it is.
    pub block: Block,
    /// How it is computed.
    pub derived: Derived,
}

/// The regions of an image in which all else was found, in order, none over another.
///
/// # Errors
/// What the image's device says.
pub fn regions(image: &dyn Source, found: &Found) -> Result<Vec<Region>, Error> {
    if found.superblocks.is_empty() {
        return Ok(Vec::new());
    }
    let partitions = partitions::partitions(&mut Reader::new(image, FIND_WORK_MIN))?;
    let starts = partitions.iter().map(|partition| partition.start);
    let containers = found.containers.iter().filter(|container| container.len > 0);
    let starts = starts.chain(containers.map(|container| container.offset).take(STARTS_MAX));
    let work_left = FIND_WORK_MIN + FIND_WORK * image.size();
    let starts = starts.collect();
    let mut search = Search { image, partitions, starts, work_left, regions: Vec::new() };
    for offset in &found.superblocks {
        let superblock = superblock(&mut Reader::new(image, Superblock::WORK), *offset);
        let Ok(superblock) = superblock else { continue };
        if let Some((verity, tree)) = search.tree(&superblock)? {
            search.add(tree.clone(), Derived::Verity(verity.clone()));
            if let Some((fec, parity)) = parity::find(&mut search, &verity, &tree)? {
                search.add(parity, Derived::Fec(fec));
            }
        }
    }
    search.regions.sort_by_key(|region| region.block.offset);
    Ok(search.regions)
}

/// File systems that are taken for data of a tree, at most.
const STARTS_MAX: usize = 256;

/// What was found so far, and what may still be read and computed, in bytes.
struct Search<'a> {
    image: &'a dyn Source,
    partitions: Vec<Range<u64>>,
    /// Where data may begin.
    starts: Vec<u64>,
    work_left: u64,
    regions: Vec<Region>,
}

impl Search<'_> {
    fn add(&mut self, range: Range<u64>, derived: Derived) {
        let block =
            Block { offset: range.start, len: range.end - range.start, codec: derived.codec() };
        let is_over = |other: &Region| {
            other.block.offset < range.end && range.start < other.block.offset + other.block.len
        };
        if self.regions.len() < DERIVED_MAX && !self.regions.iter().any(is_over) {
            self.regions.push(Region { block, derived });
        }
    }

    /// Takes work off what is left; whether there was as much.
    fn spend(&mut self, work: u64) -> bool {
        let left = self.work_left.checked_sub(work);
        self.work_left = left.unwrap_or(0);
        left.is_some()
    }

    /// The tree of a superblock, and where it is.
    fn tree(&mut self, superblock: &Superblock) -> Result<Option<(Verity, Range<u64>)>, Error> {
        let Superblock { offset, ref verity } = *superblock;
        let Some(tree_len) = verity.tree_len() else { return Ok(None) };
        let data_len = verity.data_block_count << verity.data_block_log2;
        // Blocks of digests start at a multiple of their length, from the start of their device.
        let hash_block_len = 1 << verity.hash_block_log2;
        let behind = (offset + Superblock::LEN).next_multiple_of(hash_block_len);
        let mut trees = vec![behind, offset + hash_block_len];
        trees.dedup();
        for start in trees {
            let tree = start..start + tree_len;
            if tree.end > self.image.size() {
                continue;
            }
            let before = [Some(0), offset.checked_sub(data_len)].into_iter().flatten();
            let mut places: Vec<u64> = before.chain(self.starts.iter().copied()).collect();
            places.retain(|place| *place <= start && data_len <= start - place);
            places.sort_unstable();
            places.dedup();
            for data_offset in places {
                let verity = Verity { data_offset, ..verity.clone() };
                if self.is_likely(&verity, &tree)? && self.is_tree(&verity, &tree)? {
                    return Ok(Some((verity, tree)));
                }
            }
        }
        Ok(None)
    }

    /// Whether the digests of the first block and of the last are those of the data.
    fn is_likely(&mut self, verity: &Verity, tree: &Range<u64>) -> Result<bool, Error> {
        let block_len = 1 << verity.data_block_log2;
        let mut block = vec![0; in_memory(block_len)];
        for index in [0, verity.data_block_count - 1] {
            let Some(place) = verity.leaf_place(index) else { return Ok(false) };
            if !self.spend(block_len) {
                return Ok(false);
            }
            self.image.read_at(verity.data_offset + index * block_len, &mut block)?;
            let mut digest = vec![0; in_memory(place.end - place.start)];
            self.image.read_at(tree.start + place.start, &mut digest)?;
            if verity.digests(&block) != digest {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the whole tree is that of the data.
    fn is_tree(&mut self, verity: &Verity, tree: &Range<u64>) -> Result<bool, Error> {
        let data = verity.data();
        if !self.spend(data.end - data.start) {
            return Ok(false);
        }
        let image = self.image;
        let pieces: Vec<_> = verity.pieces().collect();
        let digests = pieces.par_iter().map(|piece| {
            let mut bytes = vec![0; in_memory(piece.end - piece.start)];
            image.read_at(piece.start, &mut bytes)?;
            Ok(verity.digests(&bytes))
        });
        let digests = digests.collect::<Result<Vec<_>, Error>>()?;
        let mut made = Tree::new(verity);
        digests.iter().for_each(|digests| made.add(digests));
        self.has(tree.start, &made.finish())
    }

    /// Whether the image has these bytes at an offset.
    fn has(&self, offset: u64, bytes: &[u8]) -> Result<bool, Error> {
        let mut there = vec![0; bytes.len()];
        self.image.read_at(offset, &mut there)?;
        Ok(there == bytes)
    }
}
