//! The copy list: for each segment its literals, its run, and where the run comes from.

use super::Segment;
use super::decide::{Decider, hash};
use super::numbers::Numbers;
use super::range::Coder;
use super::squash::Stretch;
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
    /// By its difference from the last one.
    Differs,
}

/// Kinds of numbers.
const COUNT: usize = 0;
const LITERALS: usize = 1;
const RUN: usize = 2;
const DIFFERENCE: usize = 3;
const INDEX: usize = 4;

/// Codes copy lists.
#[derive(Debug)]
pub(super) struct Segments {
    numbers: Numbers,
    choices: Decider<6>,
    recent: [i64; RECENT],
    /// The last ways, run and literal sizes: contexts.
    ways: u32,
    runs: u32,
    gaps: u32,
}

impl Segments {
    pub(super) fn new() -> Self {
        Self {
            numbers: Numbers::new(),
            choices: Decider::new(12, 255, 16),
            recent: [0; RECENT],
            ways: 0,
            runs: 0,
            gaps: 0,
        }
    }

    /// Codes the count of segments, then the segments; a decoder fills `list`.
    pub(super) fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        stretch: &Stretch,
        list: &mut Vec<Segment>,
        limits: Option<SegmentLimits>,
    ) -> Result<(), FormatError> {
        let count = self.numbers.code(coder, stretch, COUNT, [0; 5], list.len() as u64);
        if let Some(limits) = limits {
            bounded("segments", count, 0, limits.count)?;
        }
        self.recent = [0; RECENT];
        let mut made = 0_u64;
        for index in 0..count {
            let known = usize::try_from(index).ok().and_then(|index| list.get(index)).copied();
            let segment = self.segment(coder, stretch, known.unwrap_or_default());
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

    fn segment<C: Coder>(&mut self, coder: &mut C, stretch: &Stretch, told: Segment) -> Segment {
        let (ways, runs, gaps) = (self.ways, self.runs, self.gaps);
        let contexts = [
            hash(&[1, ways & 0xff]),
            hash(&[2, runs & 0xff, gaps & 0xff]),
            hash(&[3, gaps & 0xffff]),
            hash(&[4, ways & 0xfff, runs & 0xff]),
            hash(&[5]),
        ];
        let literals = self.numbers.code(coder, stretch, LITERALS, contexts, told.literals);
        self.gaps = gaps << 8 | size(literals);
        let near = literals.min(20).to_le_bytes()[0];
        let contexts = [
            hash(&[6, ways & 0xff, size(literals)]),
            hash(&[7, runs & 0xffff]),
            hash(&[8, near.into(), runs & 0xff]),
            hash(&[9, ways & 0xffff]),
            hash(&[10]),
        ];
        let run = self.numbers.code(coder, stretch, RUN, contexts, told.run);
        self.runs = runs << 8 | size(run);
        let mut segment = Segment { literals, run, zeros: false, diagonal: self.recent[0] };
        if run > 0 {
            let near = [near.into(), size(run)];
            segment.zeros = self.choice(coder, stretch, 0, near, told.zeros);
            if segment.zeros {
                self.ways = ways << 4 | 15;
            } else {
                segment.diagonal = self.diagonal(coder, stretch, near, segment, told.diagonal);
            }
        }
        segment
    }

    /// Codes the diagonal of a copy.
    fn diagonal<C: Coder>(
        &mut self,
        coder: &mut C,
        stretch: &Stretch,
        near: [u32; 2],
        segment: Segment,
        told: i64,
    ) -> i64 {
        let last = self.recent[0];
        let goes_on = last.wrapping_sub(segment.literals.cast_signed());
        let way = match self.recent.iter().position(|recent| *recent == told) {
            _ if told == goes_on => Way::GoesOn,
            Some(index) => Way::Recent(index),
            None => Way::Differs,
        };
        let ways = self.ways;
        let (diagonal, way) = if self.choice(coder, stretch, 1, near, way == Way::Recent(0)) {
            (last, 1)
        } else if self.choice(coder, stretch, 2, near, way == Way::GoesOn) {
            (goes_on, 2)
        } else if self.choice(coder, stretch, 3, near, way != Way::Differs) {
            let index = if let Way::Recent(index) = way { index as u64 } else { 0 };
            let contexts = [
                hash(&[11]),
                hash(&[12, ways & 15]),
                hash(&[13, near[1]]),
                hash(&[14, ways & 0xff]),
                0,
            ];
            let index = self.numbers.code(coder, stretch, INDEX, contexts, index);
            let index = usize::try_from(index).unwrap_or(0) & (RECENT - 1);
            (self.recent[index], 3)
        } else {
            let change = told.wrapping_sub(last);
            let zigzag = ((change << 1) ^ (change >> 63)).cast_unsigned();
            let contexts = [
                hash(&[15]),
                hash(&[16, ways & 0xff]),
                hash(&[17, near[1]]),
                hash(&[18, near[0]]),
                hash(&[19, ways & 15]),
            ];
            let zigzag = self.numbers.code(coder, stretch, DIFFERENCE, contexts, zigzag);
            let change = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
            (last.wrapping_add(change), 4)
        };
        self.ways = ways << 4 | way;
        let index = self.recent.iter().position(|recent| *recent == diagonal);
        self.recent[..=index.unwrap_or(RECENT - 1)].rotate_right(1);
        self.recent[0] = diagonal;
        diagonal
    }

    fn choice<C: Coder>(
        &mut self,
        coder: &mut C,
        stretch: &Stretch,
        kind: u32,
        near: [u32; 2],
        bit: bool,
    ) -> bool {
        let (ways, runs, gaps) = (self.ways, self.runs, self.gaps);
        let contexts = [
            hash(&[20, kind, ways & 0xfff]),
            hash(&[21, kind, near[0], near[1]]),
            hash(&[22, kind, near[1], runs >> 8 & 0xff, ways & 15]),
            hash(&[23, kind, near[0], gaps >> 8 & 0xff, ways & 15]),
            hash(&[24, kind]),
        ];
        self.choices.code(coder, stretch, &contexts, kind as usize, bit)
    }
}

/// How many bits a number has.
fn size(value: u64) -> u32 {
    64 - value.leading_zeros()
}
