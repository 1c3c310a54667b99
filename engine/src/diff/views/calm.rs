//! Copies that a device can make without unpacking the same blocks over and over.
//!
//! A device keeps a few megabytes of what it unpacked. A short copy from a block that is not among
//! them costs the whole block, and often the blocks that it lies in, too: it is cheaper to carry
//! its bytes. What a device keeps is followed here, in the order of the target.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::diff::parse::Piece;
use crate::diff::source_range;
use crate::format::unpack::{kept_len, touched};
use crate::format::{SourceBlock, SourceRange};
use crate::limits::{UNPACK_WORK, UNPACKED_KEPT};

/// Bytes that may be unpacked for each byte that is copied, tried in turn.
const RATES: [u64; 5] = [1024, 256, 64, 16, 4];

/// Part of [`UNPACK_WORK`] that a patch may take: threads of a device read in another order.
const WORK_SHARE: u64 = 16;

/// The pieces without those that cost too much; none at all from blocks if it cannot be helped.
pub(super) fn calmed(pieces: Vec<Piece>, blocks: &[SourceBlock], source_size: u64) -> Vec<Piece> {
    let lens = run_lens(&pieces, &Device { blocks, source_size, ..Device::default() });
    for rate in RATES {
        let mut device = Device { blocks, source_size, ..Device::default() };
        let takes = |(piece, len): (&Piece, &u64)| device.takes(piece, len * rate);
        let is_kept: Vec<bool> = pieces.iter().zip(&lens).map(takes).collect();
        if device.work <= UNPACK_WORK / WORK_SHARE * device.listed_work {
            return kept(pieces, &is_kept);
        }
    }
    let is_plain =
        |piece: &Piece| source_range(&piece.segment).is_none_or(|range| range.end() <= source_size);
    let is_kept: Vec<bool> = pieces.iter().map(is_plain).collect();
    kept(pieces, &is_kept)
}

/// For each piece how many bytes it and those behind it copy before other blocks are copied from:
/// what is unpacked for a short one serves them all.
fn run_lens(pieces: &[Piece], device: &Device<'_>) -> Vec<u64> {
    let mut run = (0..0, 0);
    let lens = pieces.iter().rev().map(|piece| {
        let range = source_range(&piece.segment);
        let touched = range.map_or(0..0, |range| device.touched(range));
        if !touched.is_empty() {
            let behind = if touched == run.0 { run.1 } else { 0 };
            run = (touched, behind + piece.segment.len);
        }
        run.1
    });
    let mut lens: Vec<u64> = lens.collect();
    lens.reverse();
    lens
}

fn kept(pieces: Vec<Piece>, is_kept: &[bool]) -> Vec<Piece> {
    let pieces = pieces.into_iter().zip(is_kept);
    pieces.filter_map(|(piece, is_kept)| is_kept.then_some(piece)).collect()
}

/// What a device keeps of what it unpacked.
#[derive(Default)]
struct Device<'a> {
    blocks: &'a [SourceBlock],
    source_size: u64,
    /// When each block was used last, and the other way round.
    used_at: HashMap<usize, u64>,
    by_use: BTreeMap<u64, usize>,
    uses: u64,
    kept_len: u64,
    /// What was ever unpacked, all of which a patch lists, and what each once costs together: a
    /// device allows so many times that.
    listed: HashSet<usize>,
    listed_work: u64,
    /// What was spent.
    work: u64,
}

impl Device<'_> {
    /// Whether a piece takes no more than this many bytes to unpack; then it is made.
    fn takes(&mut self, piece: &Piece, cost_max: u64) -> bool {
        let Some(range) = source_range(&piece.segment) else { return true };
        let touched = self.touched(range);
        if touched.is_empty() {
            return true;
        }
        let cost: u64 = touched.clone().map(|index| self.cost(index)).sum();
        if cost > cost_max {
            return false;
        }
        touched.for_each(|index| self.load(index));
        true
    }

    /// The blocks that a range of the source's view touches.
    fn touched(&self, range: SourceRange) -> std::ops::Range<usize> {
        if range.end() <= self.source_size {
            return 0..0;
        }
        touched(self.blocks, range)
    }

    /// The blocks that a block lies in.
    fn outer(&self, index: usize) -> std::ops::Range<usize> {
        let SourceBlock { offset, len, .. } = self.blocks[index];
        self.touched(SourceRange { offset, len })
    }

    /// Bytes to unpack for a block.
    fn cost(&self, index: usize) -> u64 {
        if self.used_at.contains_key(&index) {
            return 0;
        }
        let outer: u64 = self.outer(index).map(|outer| self.cost(outer)).sum();
        outer + self.blocks[index].plain_len
    }

    fn load(&mut self, index: usize) {
        let block = self.blocks[index];
        match self.used_at.get(&index) {
            Some(at) => drop(self.by_use.remove(at)),
            None => {
                self.outer(index).for_each(|outer| self.load(outer));
                self.work += block.work();
                if self.listed.insert(index) {
                    self.listed_work += block.work();
                }
                let len = kept_len(block.plain_len);
                while self.kept_len + len > UNPACKED_KEPT
                    && let Some((_, oldest)) = self.by_use.pop_first()
                {
                    self.used_at.remove(&oldest);
                    self.kept_len -= kept_len(self.blocks[oldest].plain_len);
                }
                self.kept_len += len;
            }
        }
        self.uses += 1;
        self.used_at.insert(index, self.uses);
        self.by_use.insert(self.uses, index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::parse::Islands;
    use crate::diff::segment::{From, Segment};

    const SOURCE_SIZE: u64 = 1 << 20;

    /// As many blocks, each so long that a device does not keep two.
    fn blocks(count: u64) -> Vec<SourceBlock> {
        let plain_len = UNPACKED_KEPT / 2 + 4096;
        let block = |index| {
            let view_offset = SOURCE_SIZE + index * plain_len;
            SourceBlock { offset: 1000 * index, len: 1000, view_offset, plain_len, method: 0 }
        };
        (0..count).map(block).collect()
    }

    /// Copies of 16 KiB out of the first and the second block in turn.
    fn pieces(blocks: &[SourceBlock], count: usize) -> Vec<Piece> {
        let piece = |index: usize| {
            let target = index as u64 * 0x4000;
            let offset = blocks[index % 2].view_offset;
            let diagonal = offset.checked_signed_diff(target).expect("it is small");
            let segment = Segment { target, len: 0x4000, from: From::Source { diagonal } };
            Piece { segment, islands: Islands::default() }
        };
        (0..count).map(piece).collect()
    }

    /// A device allows work by the blocks that a patch lists, and those that nothing is copied from
    /// are not listed: with many of them, a patch was made that its own apply refused.
    #[test]
    fn work_is_allowed_by_blocks_that_are_copied_from() {
        let kept = |block_count, count| {
            let blocks = blocks(block_count);
            calmed(pieces(&blocks, count), &blocks, SOURCE_SIZE).len()
        };
        let count_max = usize::try_from(2 * UNPACK_WORK / WORK_SHARE).expect("it is small");
        assert_eq!([kept(2, count_max), kept(100, count_max)], [count_max; 2]);
        assert_eq!([kept(2, count_max + 1), kept(100, count_max + 1)], [0; 2]);
    }

    /// The header of a kernel is short, and zeros follow: its copy was not worth unpacking the
    /// kernel, which is copied all the same. All addresses move by where the header went.
    #[test]
    fn short_copy_is_kept_in_front_of_others_from_its_block() {
        let plain_len = 64 << 20;
        let place = SourceBlock { len: 1000, view_offset: SOURCE_SIZE, plain_len, ..blocks(1)[0] };
        let from = From::Source { diagonal: SOURCE_SIZE.cast_signed() };
        let piece = |(target, len)| {
            let segment = Segment { target, len, from };
            Piece { segment, islands: Islands::default() }
        };
        let kept = |copies: &[_]| {
            let pieces = copies.iter().copied().map(piece).collect();
            calmed(pieces, &[place], SOURCE_SIZE).len()
        };
        assert_eq!([kept(&[(0, 300)]), kept(&[(0, 300), (2 << 20, 1 << 20)])], [0, 2]);
    }
}
