//! Packing a view again: cuts its bytes into those that are as they are and those of blocks.

use std::collections::VecDeque;

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
    pub(crate) view: Vec<u8>,
    pub(crate) block: TargetBlock,
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
    /// Of the bytes of the view before this one nothing but corrections is needed.
    needed_from: u64,
    /// Corrections that stood in front of the run, from that of the next block on.
    corrections: VecDeque<u8>,
    /// What there is of the next block's plain bytes.
    view: Vec<u8>,
    /// Bytes of what it makes that nobody needs, from the front.
    unneeded: u64,
}

impl<'a> Packer<'a> {
    /// The next piece from the front of `bytes`, which are the next ones of the view; none when
    /// they are used up.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Piece<'b>> {
        while !bytes.is_empty() {
            let block = self.blocks.first();
            let is_needed = self.at >= self.needed_from;
            let front = block.map_or(u64::MAX, TargetBlock::front);
            if self.at < front {
                let end = if is_needed { front } else { front.min(self.needed_from) };
                let plain = self.take(bytes, end - self.at);
                if is_needed {
                    return Some(Piece::Plain(plain));
                }
                continue;
            }
            let block = block.expect("in front of the end there is a block");
            if self.at < block.view_offset {
                let part = self.take(bytes, block.view_offset - self.at);
                self.corrections.reserve_exact(in_memory(block.view_offset - self.at));
                self.corrections.extend(part);
                continue;
            }
            let is_needed = block.view_offset >= self.needed_from;
            if is_needed && self.view.is_empty() {
                self.view.reserve_exact(in_memory(block.view_len()));
            }
            let part = self.take(bytes, block.view_end() - self.at);
            if is_needed {
                self.view.extend(part);
            }
            if self.at == block.view_end() {
                self.blocks = &self.blocks[1..];
                let correction = self.corrections.drain(..in_memory(block.correction_len));
                if is_needed {
                    self.view.extend(correction);
                    let view = std::mem::take(&mut self.view);
                    return Some(Piece::Block(Job { view, block: *block }));
                }
            }
        }
        None
    }

    /// Bytes that are gathered next, if the plain ones of a block begin here.
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
            let packer = Packer::starting(level, at);
            at = packer.at;
            packers.push(packer);
        }
        let is_end = at == blocks.target_view_size(target_size);
        let view_offset = if is_end { at } else { at / PIECE_LEN * PIECE_LEN };
        Self { view_offset, unneeded: at - view_offset, packers }
    }
}

impl<'a> Packer<'a> {
    /// What packs a level from byte `offset` of what it makes on.
    fn starting(level: &'a [TargetBlock], offset: u64) -> Self {
        let next = level.partition_point(|block| block.end() <= offset);
        let inside = level.get(next).and_then(|block| offset.checked_sub(block.offset));
        let needed_from = view_place(level, offset);
        let mut packer = Self {
            blocks: &level[next..],
            at: needed_from,
            needed_from,
            corrections: VecDeque::new(),
            view: Vec::new(),
            unneeded: inside.unwrap_or(0),
        };
        // What is left of a run needs its corrections, which stand in front of all of it.
        let first = level.iter().take(next + 1).rposition(|block| block.front_len > 0);
        if let Some(first) = first.filter(|first| *first < next || inside.is_some()) {
            let rest = level[first + 1..].iter().take_while(|block| block.front_len == 0);
            let mut left = level[first..].iter().take(1 + rest.count()).skip(next - first);
            if left.any(|block| block.correction_len > 0) {
                (packer.blocks, packer.at) = (&level[first..], level[first].front());
            }
        }
        packer
    }
}

/// Lengths that the limits keep below what is held in memory.
pub(crate) fn in_memory(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::unpack::lay_out;

    /// Three blocks with corrections of one byte each, of which the first two are a run, and one
    /// without.
    fn blocks() -> Blocks {
        let block = |offset, len, plain_len, correction_len| TargetBlock {
            offset,
            len,
            plain_len,
            correction_len,
            ..Default::default()
        };
        let mut first = vec![block(10, 5, 19, 1), block(15, 5, 9, 1), block(30, 2, 3, 1)];
        lay_out(&mut first, &[true, false, true]);
        // The view of the target: 10 + 2 + 28 + 10 + 1 + 3 + 8 bytes.
        let mut second = vec![block(12, 4, 7, 0)];
        lay_out(&mut second, &[false]);
        Blocks { levels: vec![first, second], ..Blocks::default() }
    }

    /// The pieces of each level, of a view given in so many bytes at once: lengths, and of blocks
    /// the packed length.
    fn pieces(packer: &mut Packer, len: u64, step: usize) -> Vec<(bool, u64)> {
        let bytes = vec![0; in_memory(len)];
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
        assert_eq!(blocks.target_view_size(40), 62 + 3);
        for step in [1, 3, 7, 100] {
            let mut packers = Start::of(&blocks, 40, 0).packers;
            let found = pieces(&mut packers[1], 65, step);
            assert_eq!(found, [(false, 12), (true, 7), (false, 46)]);
            let found = pieces(&mut packers[0], 62, step);
            let plain = [(false, 10), (false, 8)];
            let made = [plain[0], (true, 20), (true, 10), (false, 10), (true, 4), plain[1]];
            assert_eq!(found, made);
        }
    }

    #[test]
    fn start_lies_in_front_of_the_run_that_has_the_byte() {
        let blocks = blocks();
        // Where in the first view, of which what is needed, what is not of what is made, where in
        // the second view.
        let expected = [
            (0, 0, 0, 0, 0),
            (9, 9, 9, 0, 9),
            (10, 10, 12, 0, 10),
            (11, 10, 12, 1, 10),
            (15, 10, 31, 0, 10),
            (20, 40, 40, 0, 43),
            (29, 49, 49, 0, 52),
            (30, 50, 51, 0, 53),
            (32, 54, 54, 0, 57),
        ];
        for (offset, view, needed, unneeded, last) in expected {
            let start = Start::of(&blocks, 40, offset);
            let (packer, inner) = (&start.packers[0], &start.packers[1]);
            assert_eq!((packer.at, packer.needed_from, packer.unneeded), (view, needed, unneeded));
            assert_eq!((inner.at, start.view_offset + start.unneeded), (last, last), "{offset}");
        }
        let end = Start::of(&blocks, 40, 40);
        assert_eq!((end.view_offset, end.unneeded), (65, 0));
    }

    #[test]
    fn block_in_a_run_is_made_with_its_own_correction_wherever_it_begins() {
        let Blocks { levels, .. } = blocks();
        let view: Vec<u8> = (0..62).collect();
        for offset in 0..40 {
            let mut packer = Packer::starting(&levels[0], offset);
            let mut bytes = &view[in_memory(packer.at)..];
            let mut found = Vec::new();
            while let Some(piece) = packer.next(&mut bytes) {
                if let Piece::Block(job) = piece {
                    found.push((job.view[0], job.view[job.view.len() - 1]));
                }
            }
            let all = [(12, 10), (31, 11), (51, 50)];
            let gone = levels[0].iter().filter(|block| block.end() <= offset).count();
            assert_eq!(found, all[gone..], "{offset}");
        }
    }
}
