//! The copy list: for each segment its literals, its run, and where the run comes from.

use super::Segment;
use super::decide::{Decider, hash};
use super::numbers::Numbers;
use super::range::Coder;
use crate::error::FormatError;
use crate::format::bounded;

/// Diagonals that are remembered, the last used first.
const RECENT: usize = 16;

/// What a decoder will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentLimits {
    /// Most segments.
    pub count: u64,
    /// Most bytes that all of them make.
    pub target_len: u64,
}

/// How a diagonal is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By its index among the recent ones.
    Recent(usize),
    /// The source goes on behind the last copy: the literals replace nothing.
    GoesOn,
    /// By the distance of its start from the end of a recent copy in the source.
    From(usize),
}

/// Kinds of numbers.
const COUNT: usize = 0;
const LITERALS: usize = 1;
const RUN: usize = 2;
const SKIPPED: usize = 3;
const INDEX: usize = 4;

/// Codes copy lists.
#[derive(Debug)]
pub(super) struct Segments {
    numbers: Numbers,
    choices: Decider<5, 1, { 1 << 12 }, 16>,
    recent: [Recent; RECENT],
    /// Bytes of target that all segments made.
    at: u64,
    /// The last ways, run and literal sizes: contexts.
    ways: u32,
    runs: u32,
    gaps: u32,
    /// The last indices of copies that starts were told from, and sizes of the distances.
    froms: u32,
    steps: u32,
}

/// A copy that was coded before.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    diagonal: i64,
    /// Where it ended in the source.
    end: i64,
}

impl Segments {
    pub(super) fn new() -> Self {
        Self {
            numbers: Numbers::new(),
            choices: Decider::new(),
            recent: [Recent::default(); RECENT],
            at: 0,
            ways: 0,
            runs: 0,
            gaps: 0,
            froms: 0,
            steps: 0,
        }
    }

    /// Codes the count of segments, then the segments; a decoder fills `list`.
    pub(super) fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        list: &mut Vec<Segment>,
        limits: Option<SegmentLimits>,
    ) -> Result<(), FormatError> {
        let count = self.numbers.code(coder, COUNT, [0; 5], list.len() as u64);
        if let Some(limits) = limits {
            let count = usize::try_from(bounded("segments", count, 0, limits.count)?);
            // Grown bit by bit, it would take up to twice as much.
            list.reserve_exact(count.expect("a bounded count fits in memory"));
        }
        let mut made = 0_u64;
        for index in 0..count {
            let known = usize::try_from(index).ok().and_then(|index| list.get(index)).copied();
            let segment = self.segment(coder, known.unwrap_or_default());
            if let Some(limits) = limits {
                let len = segment.literals.saturating_add(segment.run);
                made = made.saturating_add(len);
                if len == 0 {
                    return Err(FormatError::EmptySegment);
                }
                if made > limits.target_len {
                    return Err(FormatError::SegmentPastFrame);
                }
                list.push(segment);
            }
        }
        Ok(())
    }

    fn segment<C: Coder>(&mut self, coder: &mut C, told: Segment) -> Segment {
        let (ways, runs, gaps) = (self.ways, self.runs, self.gaps);
        let contexts = [
            hash(&[1, ways & 0xff]),
            hash(&[2, runs & 0xff, gaps & 0xff]),
            hash(&[3, gaps & 0xffff]),
            hash(&[4, ways & 0xfff, runs & 0xff]),
            hash(&[5]),
        ];
        let literals = self.numbers.code(coder, LITERALS, contexts, told.literals);
        self.gaps = gaps << 8 | size(literals);
        let near = literals.min(20).to_le_bytes()[0];
        let contexts = [
            hash(&[6, ways & 0xff, size(literals)]),
            hash(&[7, runs & 0xffff]),
            hash(&[8, near.into(), runs & 0xff]),
            hash(&[9, ways & 0xffff]),
            hash(&[10]),
        ];
        let run = self.numbers.code(coder, RUN, contexts, told.run);
        self.runs = runs << 8 | size(run);
        let mut segment =
            Segment { literals, run, zeros: false, diagonal: self.recent[0].diagonal };
        if run > 0 {
            let near = [near.into(), size(run)];
            segment.zeros = self.choice(coder, 0, near, told.zeros);
            if segment.zeros {
                self.ways = ways << 4 | 15;
            } else {
                segment.diagonal = self.diagonal(coder, near, segment, told.diagonal);
            }
        }
        self.at = self.at.wrapping_add(literals).wrapping_add(run);
        segment
    }

    /// Codes the diagonal of a copy.
    fn diagonal<C: Coder>(
        &mut self,
        coder: &mut C,
        near: [u32; 2],
        segment: Segment,
        told: i64,
    ) -> i64 {
        let last = self.recent[0].diagonal;
        let goes_on = last.wrapping_sub(segment.literals.cast_signed());
        let place = self.at.wrapping_add(segment.literals).cast_signed();
        let way = match self.recent.iter().position(|recent| recent.diagonal == told) {
            _ if told == goes_on => Way::GoesOn,
            Some(index) => Way::Recent(index),
            None => Way::From(self.nearest(place.wrapping_add(told))),
        };
        let told_index = if let Way::Recent(index) | Way::From(index) = way { index } else { 0 };
        let ways = self.ways;
        let (diagonal, way) = if self.choice(coder, 1, near, way == Way::Recent(0)) {
            (last, 1)
        } else if self.choice(coder, 2, near, way == Way::GoesOn) {
            (goes_on, 2)
        } else if self.choice(coder, 3, near, matches!(way, Way::Recent(_))) {
            let contexts = [
                hash(&[11]),
                hash(&[12, ways & 15]),
                hash(&[13, near[1]]),
                hash(&[14, ways & 0xff]),
                hash(&[15, near[0]]),
            ];
            let index = self.index(coder, contexts, told_index);
            (self.recent[index].diagonal, 3)
        } else {
            let contexts = [
                hash(&[16]),
                hash(&[17, ways & 0xff]),
                hash(&[18, self.froms & 15]),
                hash(&[19, self.froms & 0xff]),
                hash(&[20, near[1]]),
            ];
            let index = self.index(coder, contexts, told_index);
            self.froms = self.froms << 4 | u32::try_from(index).unwrap_or(0);
            let base = self.recent[index].end;
            let skipped = place.wrapping_add(told).wrapping_sub(base);
            let contexts = [
                hash(&[21, self.froms & 15]),
                hash(&[22, self.steps & 0xff, self.froms & 15]),
                hash(&[23, self.froms & 0xff]),
                hash(&[24, near[0], self.froms & 15]),
                hash(&[25, near[1], self.froms & 15]),
            ];
            let zigzag = ((skipped << 1) ^ (skipped >> 63)).cast_unsigned();
            let zigzag = self.numbers.code(coder, SKIPPED, contexts, zigzag);
            let skipped = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
            self.steps = self.steps << 8 | size(zigzag);
            (base.wrapping_add(skipped).wrapping_sub(place), 4)
        };
        self.ways = ways << 4 | way;
        let index = self.recent.iter().position(|recent| recent.diagonal == diagonal);
        self.recent[..=index.unwrap_or(RECENT - 1)].rotate_right(1);
        let end = place.wrapping_add(diagonal).wrapping_add(segment.run.cast_signed());
        self.recent[0] = Recent { diagonal, end };
        diagonal
    }

    /// The copy whose end in the source is nearest to `start`, each further back at a distance of
    /// twice as much.
    fn nearest(&self, start: i64) -> usize {
        let cost = |(index, recent): (u32, &Recent)| {
            index + size(start.wrapping_sub(recent.end).unsigned_abs())
        };
        let costs = (0..).zip(&self.recent).map(cost);
        costs.enumerate().min_by_key(|(_, cost)| *cost).map_or(0, |(index, _)| index)
    }

    fn index<C: Coder>(&mut self, coder: &mut C, contexts: [u32; 5], index: usize) -> usize {
        let index = self.numbers.code(coder, INDEX, contexts, index as u64);
        usize::try_from(index).unwrap_or(0) & (RECENT - 1)
    }

    fn choice<C: Coder>(&mut self, coder: &mut C, kind: u32, near: [u32; 2], bit: bool) -> bool {
        let (ways, runs, gaps) = (self.ways, self.runs, self.gaps);
        let contexts = [
            hash(&[26, kind, ways & 0xfff]),
            hash(&[27, kind, near[0], near[1]]),
            hash(&[28, kind, near[1], runs >> 8 & 0xff, ways & 15]),
            hash(&[29, kind, near[0], gaps >> 8 & 0xff, ways & 15]),
            hash(&[30, kind]),
        ];
        self.choices.code(coder, &contexts, kind as usize, bit)
    }
}

/// How many bits a number has.
fn size(value: u64) -> u32 {
    64 - value.leading_zeros()
}
