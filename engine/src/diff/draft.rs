//! Frames before they are coded: columns filled from pieces, and which bytes are literals.

use std::ops::Range;

use super::frames::Plan;
use super::parse::{Islands, Piece};
use super::segment::{From, Segment};
use crate::format::SourceRange;
use crate::format::frame::COLUMN_COUNT;
use crate::limits::{BODY_LEN_MAX, COLUMNS_LEN_MAX, COPIES_MAX, SEGMENTS_MAX};
use crate::refs::map::Map;
use crate::varint;

/// Bytes of columns and literals after which a frame ends: coded, they fit a body in any case.
pub(super) const DRAFT_LEN_MAX: usize = BODY_LEN_MAX - (128 << 10);
const _: () = assert!(DRAFT_LEN_MAX <= COLUMNS_LEN_MAX);

/// When a frame ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes that a draft may come to.
    len_max: usize,
    /// Whether these are what the coder `cm` may make of it, and not columns and literals.
    is_mixed: bool,
}

impl Room {
    /// For columns and literals.
    pub(super) const RAW: Self = Self { len_max: DRAFT_LEN_MAX, is_mixed: false };

    /// For a large executable under the coder `cm`. A body may come out too long all the same, and
    /// is then made anew in frames with less in them.
    pub(super) const MIXED: Self = Self { len_max: DRAFT_LEN_MAX / 2 * 3, is_mixed: true };

    /// What these pieces come to, if that is a good part of it.
    pub(super) fn good_part(self, pieces: &[Piece], range: Range<u64>) -> Option<usize> {
        let drafts = Drafts::of(pieces, range, self);
        let len = drafts.iter().map(|draft| self.len_of(draft)).sum();
        (len > self.len_max / 2).then_some(len)
    }

    /// What a frame is filled to before it is known how addresses move in it: there may be more
    /// differences.
    pub(super) fn before_rewriting(self) -> Self {
        let parts = if self.is_mixed { 7 } else { 6 };
        Self { len_max: self.len_max / 8 * parts, ..self }
    }

    /// Half of it.
    pub(super) fn half(self) -> Self {
        Self { len_max: self.len_max / 2, ..self }
    }

    /// Whether a draft keeps within.
    pub(super) fn holds(self, draft: &Draft) -> bool {
        self.len_of(draft) <= self.len_max
    }

    /// Whether there is hardly anything left to halve.
    pub(super) fn is_least(self) -> bool {
        self.len_max < 4 * BATCH_LEN_MAX
    }

    fn len_of(self, draft: &Draft) -> usize {
        if self.is_mixed { draft.mixed_len() } else { draft.len() }
    }
}

/// Most islands taken at once, and most literals in bytes: keeps a frame from overflowing.
const BATCH: usize = 4096;

/// Differing bytes after which no more islands are taken at once.
const BATCH_DIFFERING: usize = 4 * BATCH;

/// Most bytes that one batch adds to a draft: an island's two numbers have 10 bytes at most, but
/// for the first gap of a frame.
const BATCH_LEN_MAX: usize = 16 * BATCH;
const _: () = assert!(10 * BATCH + BATCH_DIFFERING + BATCH <= BATCH_LEN_MAX);

/// Copies after which a frame ends. Those that touch two regions count for both.
const COPIES_HERE_MAX: usize = COPIES_MAX / 16 * 15;

/// A frame whose columns are filled and not coded.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Where its bytes start in the target.
    pub(super) target_offset: u64,
    /// Bytes of target that it makes.
    pub(super) target_len: u64,
    /// The columns.
    pub(super) columns: [Vec<u8>; COLUMN_COUNT],
    /// Which ranges of the target are its literals.
    pub(super) literals: Vec<SourceRange>,
    /// Count of literals.
    pub(super) literals_len: u64,
}

impl Draft {
    /// Bytes of columns and literals.
    pub(super) fn len(&self) -> usize {
        let columns: usize = self.columns.iter().map(Vec::len).sum();
        columns + usize::try_from(self.literals_len).unwrap_or(usize::MAX)
    }

    /// Bytes that the coder `cm` makes of executables, and half as much again, about: half of the
    /// literals, two for each byte of a segment's length, two fifths for each island and each byte
    /// of it. Literals that are noise count in full.
    fn mixed_len(&self) -> usize {
        let [_, run_lens, _, gaps, _, differences, regions, moves] = &self.columns;
        let islands = (gaps.len() + differences.len()) / 5 * 2;
        let columns = 2 * run_lens.len() + islands + regions.len() + moves.len();
        let literals = usize::try_from(self.literals_len).unwrap_or(usize::MAX);
        literals.max(literals / 2 + columns)
    }
}

/// Fills drafts from pieces in target order.
#[derive(Debug)]
pub(super) struct Drafts {
    room: Room,
    done: Vec<Draft>,
    draft: Draft,
    /// The segment being gathered: count of literals, and the run behind them.
    literals: u64,
    run: Option<(u64, From)>,
    diagonal: i64,
    /// Bytes of copies since the last island.
    gap: u64,
    /// Segments of the draft, and those whose copies say how addresses move.
    segment_count: usize,
    copy_count: usize,
}

impl Drafts {
    /// The drafts of a plan: one, unless its differences are more than was reckoned with.
    pub(super) fn of_plan(plan: &Plan, room: Room) -> Vec<Draft> {
        let range = plan.target_offset..plan.end();
        let mut drafts = Self::of(&plan.pieces, range, room);
        let [.., regions, moves] = &mut drafts[0].columns;
        plan.regions.encode(regions, moves);
        drafts
    }

    /// The drafts of a range of the target that keep within some room each, from pieces that are
    /// sorted and disjoint; what they leave over is literal.
    pub(super) fn of(pieces: &[Piece], range: Range<u64>, room: Room) -> Vec<Draft> {
        let draft = Draft { target_offset: range.start, ..Draft::default() };
        let mut drafts = Self {
            room,
            done: Vec::new(),
            draft,
            literals: 0,
            run: None,
            diagonal: 0,
            gap: 0,
            segment_count: 0,
            copy_count: 0,
        };
        let mut at = range.start;
        for piece in pieces {
            drafts.literals(at, piece.segment.target);
            drafts.copy(piece.segment, &piece.islands);
            at = piece.segment.end();
        }
        drafts.literals(at, range.end);
        drafts.end_frame();
        drafts.done
    }

    fn literals(&mut self, mut at: u64, end: u64) {
        while at < end {
            if self.run.is_some() {
                self.end_segment();
            }
            let len = (end - at).min(BATCH as u64);
            match self.draft.literals.last_mut() {
                Some(last) if last.end() == at => last.len += len,
                _ => self.draft.literals.push(SourceRange { offset: at, len }),
            }
            self.literals += len;
            self.draft.literals_len += len;
            at += len;
            self.made(len);
        }
    }

    fn copy(&mut self, segment: Segment, islands: &Islands) {
        let mut left = segment.len;
        let mut differences = &islands.differences[..];
        let (mut count, mut differing, mut len) = (0, 0, 0);
        for (gap, island) in &islands.places {
            let (mut now, later) = differences.split_at(*island as usize);
            differences = later;
            let mut gap = u64::from(*gap);
            // Of a long island the parts stand side by side.
            while !now.is_empty() {
                let (part, rest) = now.split_at(now.len().min(BATCH));
                varint::put(&mut self.draft.columns[3], self.gap + gap);
                varint::put(&mut self.draft.columns[4], part.len() as u64 - 1);
                self.draft.columns[5].extend(part);
                len += gap + part.len() as u64;
                (self.gap, gap, now) = (0, 0, rest);
                (count, differing) = (count + 1, differing + part.len());
                if count == BATCH || differing >= BATCH_DIFFERING {
                    left -= len;
                    self.extend_run(len, segment.from);
                    (count, differing, len) = (0, 0, 0);
                }
            }
        }
        if len > 0 {
            left -= len;
            self.extend_run(len, segment.from);
        }
        if left > 0 {
            if segment.from != From::Zeros {
                self.gap += left;
            }
            self.extend_run(left, segment.from);
        }
    }

    fn extend_run(&mut self, len: u64, from: From) {
        match &mut self.run {
            Some((run, last)) if *last == from => *run += len,
            _ => {
                if self.run.is_some() {
                    self.end_segment();
                }
                self.run = Some((len, from));
            }
        }
        self.made(len);
    }

    fn end_segment(&mut self) {
        let columns = &mut self.draft.columns;
        let run = self.run.take();
        let (len, is_zeros) = run.map_or((0, false), |(len, from)| (len, from == From::Zeros));
        if self.literals == 0 && len == 0 {
            return;
        }
        varint::put(&mut columns[0], self.literals);
        varint::put(&mut columns[1], len << 1 | u64::from(is_zeros));
        self.literals = 0;
        self.segment_count += 1;
        if let Some((_, From::Source { diagonal })) = run {
            self.copy_count += usize::from(len >= Map::COPY_LEN_MIN);
            varint::put_signed(&mut columns[2], diagonal - self.diagonal);
            self.diagonal = diagonal;
        }
    }

    fn made(&mut self, len: u64) {
        self.draft.target_len += len;
        let left = self.room.len_max.saturating_sub(self.room.len_of(&self.draft));
        let is_full = self.segment_count >= SEGMENTS_MAX - 2 || self.copy_count >= COPIES_HERE_MAX;
        if left < BATCH_LEN_MAX || is_full {
            self.end_frame();
        }
    }

    fn end_frame(&mut self) {
        self.end_segment();
        if self.draft.target_len == 0 {
            return;
        }
        let next = self.draft.target_offset + self.draft.target_len;
        let draft = Draft { target_offset: next, ..Draft::default() };
        self.done.push(std::mem::replace(&mut self.draft, draft));
        self.diagonal = 0;
        self.gap = 0;
        self.segment_count = 0;
        self.copy_count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Islands were taken by their count alone, so that long ones made columns that no device
    /// takes, as copies have them whose addresses are not rewritten after all.
    #[test]
    fn draft_of_long_islands_keeps_its_limit() {
        for island in [1_u32, 900, 70_000, 9 << 20] {
            let places = vec![(3, island); (9 << 20) / island as usize];
            let len = places.iter().map(|(gap, len)| u64::from(gap + len)).sum::<u64>();
            let differences = vec![1; places.len() * island as usize];
            let from = From::Source { diagonal: 0 };
            let segment = Segment { target: 0, len, from };
            let pieces = [Piece { segment, islands: Islands { places, differences } }];
            let drafts = Drafts::of(&pieces, 0..len, Room::RAW);
            assert_eq!(drafts.iter().map(|draft| draft.target_len).sum::<u64>(), len);
            let lens: Vec<_> = drafts.iter().map(Draft::len).collect();
            assert!(lens.iter().all(|len| *len <= DRAFT_LEN_MAX), "{island}: {lens:?}");
        }
    }
}
