//! Packing a view again: cuts its bytes into those that are as they are and those of blocks.

use super::codec::Method;
use super::derived::Derived;
use crate::error::FormatError;
use crate::format::unpack::view_place;
use crate::format::{Blocks, TargetBlock};
use crate::limits::PIECE_LEN;

/// What a stretch of a view becomes.
#[derive(Debug)]
pub enum Piece<'a> {
    /// The same bytes.
    Plain(&'a [u8]),
    /// A block that is to be packed.
    Block(Job),
}

/// A block that is to be packed, by whoever has time.
#[derive(Debug)]
pub struct Job {
    /// Plain bytes, and the correction behind them.
    view: Vec<u8>,
    block: TargetBlock,
}

impl Job {
    /// The packed bytes.
    ///
    /// # Errors
    /// If the patch is wrong about the block.
    pub fn run(self, methods: &[Method]) -> Result<Vec<u8>, FormatError> {
        let plain_len = in_memory(self.block.plain_len);
        let (plain, correction) = self.view.split_at(plain_len);
        method_of(methods, &self.block).pack(plain, correction, in_memory(self.block.len))
    }

    /// What the block is computed from, if it is derived: bytes of the target before it.
    ///
    /// # Errors
    /// If the patch is wrong about that.
    pub fn derived(&self, methods: &[Method]) -> Result<Option<Derived>, FormatError> {
        let codec = method_of(methods, &self.block).codec();
        let region = self.block.offset..self.block.end();
        let is_derived = codec.is_derived();
        is_derived.then(|| Derived::decode(codec, &self.view, region)).transpose()
    }

    /// Most memory that it takes until its bytes are used, in bytes.
    #[must_use]
    pub fn memory(&self, methods: &[Method]) -> u64 {
        packing_memory(methods, &self.block)
    }
}

/// Most memory that a block takes while it is packed, its view's bytes included, in bytes.
#[must_use]
pub fn packing_memory(methods: &[Method], block: &TargetBlock) -> u64 {
    let method = method_of(methods, block);
    // Packed, and once more while what is around it is put there.
    let copies = if method.codec().is_derived() { 1 } else { 2 };
    block.view_len() + copies * block.len + method.memory(block.plain_len)
}

fn method_of<'a>(methods: &'a [Method], block: &TargetBlock) -> &'a Method {
    &methods[block.method as usize]
}

/// Takes a view in order, and tells what its stretches become.
#[derive(Debug)]
pub struct Packer<'a> {
    /// The blocks from the next one on.
    blocks: &'a [TargetBlock],
    /// Where it stands in the view.
    at: u64,
    /// What there is of the next block.
    view: Vec<u8>,
    /// Bytes of what it makes that nobody needs, from the front.
    unneeded: u64,
}

impl<'a> Packer<'a> {
    /// The next piece from the front of `bytes`, which are the next ones of the view; none when
    /// they are used up.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Piece<'b>> {
        while !bytes.is_empty() {
            let Some(block) = self.blocks.first() else {
                return Some(Piece::Plain(self.take(bytes, u64::MAX)));
            };
            if self.at < block.view_offset {
                return Some(Piece::Plain(self.take(bytes, block.view_offset - self.at)));
            }
            let room = block.view_end() - self.at;
            if self.view.is_empty() {
                self.view.reserve_exact(in_memory(room));
            }
            let part = self.take(bytes, room);
            self.view.extend(part);
            if self.at == block.view_end() {
                let job = Job { view: std::mem::take(&mut self.view), block: *block };
                self.blocks = &self.blocks[1..];
                return Some(Piece::Block(job));
            }
        }
        None
    }

    /// Bytes of the view that are gathered next, if a block begins here.
    #[must_use]
    pub fn gathers(&self) -> Option<u64> {
        let block = self.blocks.first()?;
        (self.at == block.view_offset).then(|| block.view_len())
    }

    fn take<'b>(&mut self, bytes: &mut &'b [u8], len_max: u64) -> &'b [u8] {
        let len = in_memory(len_max.min(bytes.len() as u64));
        let (part, rest) = bytes.split_at(len);
        *bytes = rest;
        self.at += len as u64;
        part
    }

    /// What is needed of the next bytes that it made.
    pub fn needed<'b>(&mut self, made: &'b [u8]) -> &'b [u8] {
        let unneeded = self.unneeded.min(made.len() as u64);
        self.unneeded -= unneeded;
        &made[in_memory(unneeded)..]
    }
}

/// Where to begin so that the target is made from a byte of it on.
#[derive(Debug)]
pub struct Start<'a> {
    /// The first byte of the last view that must be made; pieces of copies begin there.
    pub view_offset: u64,
    /// From there so many bytes are not needed.
    pub unneeded: u64,
    /// What packs each level, the target's first.
    pub packers: Vec<Packer<'a>>,
}

impl<'a> Start<'a> {
    /// Of the target from byte `offset` on.
    #[must_use]
    pub fn of(blocks: &'a Blocks, target_size: u64, offset: u64) -> Self {
        let (mut at, mut packers) = (offset, Vec::new());
        for level in &blocks.levels {
            let next = level.partition_point(|block| block.end() <= at);
            let rest = &level[next..];
            let unneeded = rest.first().map_or(0, |block| at.saturating_sub(block.offset));
            at = view_place(level, at);
            packers.push(Packer { blocks: rest, at, view: Vec::new(), unneeded });
        }
        let is_end = at == blocks.target_view_size(target_size);
        let view_offset = if is_end { at } else { at / PIECE_LEN * PIECE_LEN };
        Self { view_offset, unneeded: at - view_offset, packers }
    }
}

/// Lengths that the limits keep below what is held in memory.
pub(crate) fn in_memory(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(offset: u64, len: u64, view_offset: u64, plain_len: u64) -> TargetBlock {
        TargetBlock { offset, len, view_offset, plain_len, correction_len: 1, method: 0 }
    }

    fn blocks() -> Blocks {
        let first = vec![block(10, 5, 10, 19), block(15, 5, 30, 9), block(30, 2, 50, 3)];
        // The view of the target: 10 + 20 + 10 + 10 + 4 + 8 bytes.
        let second = vec![block(12, 4, 12, 7)];
        Blocks { levels: vec![first, second], ..Blocks::default() }
    }

    /// The pieces of each level, of a view given in so many bytes at once: lengths, and of blocks
    /// the packed length.
    fn pieces(packer: &mut Packer, len: u64, step: usize) -> Vec<(bool, u64)> {
        let bytes = vec![0; usize::try_from(len).expect("a test is small")];
        let mut found: Vec<(bool, u64)> = Vec::new();
        for mut part in bytes.chunks(step) {
            while let Some(piece) = packer.next(&mut part) {
                let next = match piece {
                    Piece::Plain(plain) => (false, plain.len() as u64),
                    Piece::Block(job) => (true, job.view.len() as u64),
                };
                match found.last_mut() {
                    Some((false, len)) if !next.0 => *len += next.1,
                    _ => found.push(next),
                }
            }
        }
        found
    }

    #[test]
    fn pieces_are_the_same_however_the_view_arrives() {
        let blocks = blocks();
        assert_eq!(blocks.target_view_size(40), 62 + 4);
        for step in [1, 3, 7, 100] {
            let mut packers = Start::of(&blocks, 40, 0).packers;
            let found = pieces(&mut packers[1], 66, step);
            assert_eq!(found, [(false, 12), (true, 8), (false, 46)]);
            let found = pieces(&mut packers[0], 62, step);
            let plain = [(false, 10), (false, 8)];
            let made = [plain[0], (true, 20), (true, 10), (false, 10), (true, 4), plain[1]];
            assert_eq!(found, made);
        }
    }

    #[test]
    fn start_lies_at_the_front_of_the_block_that_has_the_byte() {
        let blocks = blocks();
        // Where in the first view, what is not needed, where in the second view.
        let expected =
            [(0, 0, 0, 0), (9, 9, 0, 9), (10, 10, 0, 10), (11, 10, 1, 10), (15, 30, 0, 34)];
        for (offset, view, unneeded, last) in expected {
            let start = Start::of(&blocks, 40, offset);
            assert_eq!((start.packers[0].at, start.packers[0].unneeded), (view, unneeded));
            assert_eq!(start.packers[1].at, last);
            assert_eq!(start.view_offset + start.unneeded, last);
        }
        let end = Start::of(&blocks, 40, 40);
        assert_eq!((end.view_offset, end.unneeded), (66, 0));
    }
}
