//! Reading views: what blocks unpack to was kept in a file.

use std::sync::Arc;

use super::parts::{CLUSTER_ZEROS_MAX, Part};
use super::{Unpacked, index_of};
use crate::format::unpack::{touched, view_size, view_start};
use crate::format::{SourceBlock, SourceRange, TargetBlock};
use crate::io::scratch::Scratch;
use crate::io::{Error, ErrorKind, Source};
use crate::limits::{BLOCKS_MAX, IMAGE_SIZE_MAX, METHODS_MAX};
use crate::unpack::Codec;
use crate::unpack::codec::Method;
use crate::unpack::pack::in_memory;

/// What was unpacked, and where its parts are kept.
pub(super) struct Store<T> {
    pub(super) scratch: Arc<Scratch>,
    pub(super) stored: Vec<T>,
}

/// The source, and behind it what its blocks unpack to.
pub(in crate::diff) struct SourceView<'a> {
    pub(super) image: &'a dyn Source,
    pub(super) blocks: Vec<SourceBlock>,
    pub(super) store: Store<u64>,
}

impl SourceView<'_> {
    /// Lists the blocks of the view that were unpacked.
    pub(super) fn add(
        &mut self,
        methods: &mut Vec<Method>,
        found: &[Part],
        unpacked: Vec<Option<Unpacked>>,
    ) {
        let unpacked = found.iter().zip(unpacked);
        let stored_method = index_of(methods, &Method::STORED);
        for (part, (stored, plain_len, method)) in unpacked.filter_map(|(p, u)| Some((p, u?))) {
            let Part { block, goes_on } = part;
            let before = self.blocks.last();
            // A file goes on where a part of it is stored, too.
            let goes_on = before.is_some_and(|before| {
                let is_stored = before.method == stored_method || block.codec == Codec::Stored;
                let end = before.offset + before.len;
                end == block.offset && is_stored
                    || *goes_on && (end..end + CLUSTER_ZEROS_MAX).contains(&block.offset)
            });
            let end = self.size();
            let view_offset = if goes_on { end } else { view_start(end) };
            let has_room = self.blocks.len() < BLOCKS_MAX / 2
                && view_offset + plain_len <= IMAGE_SIZE_MAX
                && (methods.len() < METHODS_MAX || methods.contains(&method));
            if !has_room || !self.is_inside(block.offset, block.len) {
                continue;
            }
            let method = index_of(methods, &method);
            let (offset, len) = (block.offset, block.len);
            self.blocks.push(SourceBlock { offset, len, view_offset, plain_len, method });
            self.store.stored.push(stored);
        }
    }

    /// Whether bytes lie in the source, or end inside of a block: others, as those that end in the
    /// zeros between blocks, the format has no place for.
    fn is_inside(&self, offset: u64, len: u64) -> bool {
        let image_size = self.image.size();
        if offset < image_size {
            return offset + len <= image_size;
        }
        let outer = touched(&self.blocks, SourceRange { offset, len });
        self.blocks[outer].last().is_some_and(|last| offset + len <= last.view_end())
    }
}

impl Source for SourceView<'_> {
    fn size(&self) -> u64 {
        self.blocks.last().map_or(self.image.size(), SourceBlock::view_end)
    }

    fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> Result<(), Error> {
        let image_size = self.image.size();
        while !into.is_empty() {
            let len_to = |end: u64| in_memory(end - offset).min(into.len());
            let next = self.blocks.partition_point(|block| block.view_end() <= offset);
            let len = if offset < image_size {
                let len = len_to(image_size);
                self.image.read_at(offset, &mut into[..len])?;
                len
            } else {
                let block = self.blocks.get(next).ok_or(ErrorKind::UnexpectedEof)?;
                if let Some(within) = offset.checked_sub(block.view_offset) {
                    let len = len_to(block.view_end());
                    let stored = self.store.stored[next] + within;
                    self.store.scratch.read_at(stored, &mut into[..len])?;
                    len
                } else {
                    let len = len_to(block.view_offset);
                    into[..len].fill(0);
                    len
                }
            };
            into = &mut into[len..];
            offset += len as u64;
        }
        Ok(())
    }
}

/// The target, and its views.
pub(super) struct TargetViews<'a> {
    pub(super) image: &'a dyn Source,
    pub(super) levels: Vec<Vec<TargetBlock>>,
    pub(super) store: Store<Vec<Stored>>,
}

/// Where the bytes are kept that the view has for a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) plain: u64,
    /// The corrections of the run that it begins, if it does.
    pub(super) front: u64,
}

/// One of the views: of so many levels.
pub(in crate::diff) struct TargetView<'a> {
    pub(super) views: &'a TargetViews<'a>,
    pub(super) depth: usize,
}

impl TargetViews<'_> {
    fn size(&self, depth: usize) -> u64 {
        self.levels[..depth].iter().fold(self.image.size(), |size, level| view_size(size, level))
    }

    fn read_at(&self, depth: usize, mut offset: u64, mut into: &mut [u8]) -> Result<(), Error> {
        let Some(outer) = depth.checked_sub(1) else { return self.image.read_at(offset, into) };
        let level = &self.levels[outer];
        while !into.is_empty() {
            let next = level.partition_point(|block| block.view_end() <= offset);
            let room = |end: u64| in_memory(end - offset).min(into.len());
            let len = match level.get(next) {
                Some(block) if offset >= block.front() => {
                    let Stored { plain, front } = self.store.stored[outer][next];
                    let (start, end, stored) = match offset < block.view_offset {
                        true => (block.front(), block.view_offset, front),
                        false => (block.view_offset, block.view_end(), plain),
                    };
                    let len = room(end);
                    self.store.scratch.read_at(stored + (offset - start), &mut into[..len])?;
                    len
                }
                block => {
                    let before = next.checked_sub(1).map(|index| &level[index]);
                    let place = before.map_or(offset, |last| offset - last.view_end() + last.end());
                    let len = room(block.map_or(u64::MAX, TargetBlock::front));
                    self.read_at(outer, place, &mut into[..len])?;
                    len
                }
            };
            into = &mut into[len..];
            offset += len as u64;
        }
        Ok(())
    }
}

impl Source for TargetView<'_> {
    fn size(&self) -> u64 {
        self.views.size(self.depth)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        self.views.read_at(self.depth, offset, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::Block;

    /// A stream that ends in the zeros behind a block was listed as one in that block. A device
    /// wants it to end where the block before it ends, and refused the patch once that was the one.
    #[test]
    fn block_that_ends_behind_those_it_lies_in_is_none() {
        let image = vec![0; 10_000];
        let store = Store { scratch: Arc::default(), stored: Vec::new() };
        let mut view = SourceView { image: &image, blocks: Vec::new(), store };
        let mut methods = Vec::new();
        let mut add = |offset, len| {
            let part = Part { block: Block { offset, len, codec: Codec::Stored }, goes_on: false };
            let before = view.blocks.len();
            view.add(&mut methods, &[part], vec![Some((0, 10, Method::STORED))]);
            view.blocks.len() > before
        };
        assert!(add(9990, 10) && add(9000, 10), "they lie in the image");
        assert!(!add(9991, 10), "it lies across the image's end");
        let first = view_start(10_000);
        assert!(add(first, 10) && add(first + 9, 1));
        assert!(!add(first, 11) && !add(first + 9, 2), "they end in zeros");
        assert!(!add(first + 10, 1), "it lies in zeros");
        assert!(add(first + 9, view_start(first + 10) + 10 - first - 9), "it ends in another");
    }
}
