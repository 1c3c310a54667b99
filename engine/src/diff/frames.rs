//! Which pieces go into which frame, and what their copies differ in once the addresses are
//! rewritten by the frame's own copies.

use std::ops::Range;

use rayon::prelude::*;

use super::DiffError;
use super::draft::{Drafts, Room};
use super::parse::{Islands, Piece};
use super::price::Price;
use super::regions::{Moved, Regions, Scans, joined};
use super::segment::{From, Segment};
use crate::format::SourceRange;
use crate::io::Source;
use crate::limits::{COPIES_MAX, MOVES_MAX};
use crate::refs::loads::Loads;
use crate::refs::map::{Copy, Map};
use crate::refs::votes::Worth;

/// The pieces of one frame.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// Where its bytes start in the target.
    pub(super) target_offset: u64,
    /// Bytes of target that it makes.
    pub(super) target_len: u64,
    /// Its copies and zeros; what they leave over is literal.
    pub(super) pieces: Vec<Piece>,
    /// Whose addresses are rewritten.
    pub(super) regions: Regions,
    /// Bytes of columns and literals before they are coded.
    pub(super) draft_len: u64,
}

impl Plan {
    /// The byte behind the last.
    pub(super) fn end(&self) -> u64 {
        self.target_offset + self.target_len
    }
}

/// Cuts the pieces of a range of the target where drafts are full.
pub(super) fn cut(pieces: Vec<Piece>, range: Range<u64>, room: Room) -> Vec<Plan> {
    let drafts = Drafts::of(&pieces, range, room);
    let mut pieces = pieces.into_iter();
    let mut rest: Option<Piece> = None;
    let plans = drafts.iter().map(|draft| {
        let mut plan = Plan {
            target_offset: draft.target_offset,
            target_len: draft.target_len,
            draft_len: draft.len() as u64,
            ..Plan::default()
        };
        while let Some(piece) = rest.take().or_else(|| pieces.next()) {
            if piece.segment.target >= plan.end() {
                rest = Some(piece);
                break;
            }
            let end = plan.end().min(piece.segment.target + PIECE_LEN_MAX);
            let (now, later) = split(piece, end);
            plan.pieces.push(now);
            rest = later;
        }
        plan
    });
    plans.collect()
}

/// Longest piece, in bytes: places within one fit 32 bits.
const PIECE_LEN_MAX: u64 = 1 << 30;

/// Splits a piece at byte `end` of the target, if it reaches beyond.
fn split(mut piece: Piece, end: u64) -> (Piece, Option<Piece>) {
    let Segment { target, len, from } = piece.segment;
    if piece.segment.end() <= end {
        return (piece, None);
    }
    let segment = Segment { target: end, len: target + len - end, from };
    let cut = end - target;
    piece.segment.len = cut;
    let mut later = Piece { segment, islands: Islands::default() };
    let islands = std::mem::take(&mut piece.islands);
    let narrow = |len: u64| u32::try_from(len).expect("pieces are shorter than 4 GiB");
    let mut differences = &islands.differences[..];
    let mut at = 0;
    for (gap, len) in islands.places {
        // An island across the cut becomes two.
        let (start, stop) = (at + u64::from(gap), at + u64::from(gap) + u64::from(len));
        let (bytes, behind) = differences.split_at(len as usize);
        let before = cut.clamp(start, stop) - start;
        let (now, then) = bytes.split_at(usize::try_from(before).expect("within an island"));
        if start < cut {
            piece.islands.places.push((gap, narrow(before)));
            piece.islands.differences.extend(now);
        }
        if stop > cut {
            let gap = start.max(cut) - at.max(cut);
            later.islands.places.push((narrow(gap), narrow(then.len() as u64)));
            later.islands.differences.extend(then);
        }
        differences = behind;
        at = stop;
    }
    (piece, Some(later))
}

/// Gives each plan the regions that pay within it, and its pieces the differences that are left.
pub(super) fn rewrite(
    plans: &mut [Plan],
    source: &dyn Source,
    target: &dyn Source,
    regions: &Regions,
    moves: Worth,
    price: &Price,
) -> Result<(), DiffError> {
    plans.par_iter_mut().try_for_each(|plan| plan.rewrite(source, target, regions, moves, price))
}

impl Plan {
    /// Leaves addresses as they are: the pieces differ from the source itself.
    pub(super) fn forget_regions(
        &mut self,
        source: &dyn Source,
        target: &dyn Source,
    ) -> Result<(), DiffError> {
        let none = Regions::default();
        let mut comparison = Comparison::new(source, target, &none);
        for piece in &mut self.pieces {
            if self.regions.touch(&piece.segment) {
                piece.islands = comparison.islands(&piece.segment)?.0;
            }
        }
        self.regions = none;
        Ok(())
    }

    /// Whether a device takes the frame with those of the regions that pay.
    fn is_taken(&self, regions: &Regions, pays: &[bool]) -> bool {
        let mut loads = Loads::default();
        joined(&self.pieces).iter().all(|copy| {
            let range = SourceRange { offset: copy.offset, len: copy.len };
            let mut touched = regions.touched(range).filter(|index| pays[*index]);
            touched.all(|index| loads.touch(index, copy.len).is_ok())
        })
    }

    /// What coding it costs, about, in 1/32 of a bit.
    pub(super) fn cost(&self, price: &Price) -> u64 {
        let copied: u64 = self.pieces.iter().map(|piece| piece.segment.len).sum();
        let islands: i64 = self.pieces.iter().map(|piece| cost(&piece.islands, price)).sum();
        let segments = self.pieces.len() as u64 * price.enter;
        (self.target_len - copied) * price.literal + segments + islands.unsigned_abs()
    }

    fn rewrite(
        &mut self,
        source: &dyn Source,
        target: &dyn Source,
        regions: &Regions,
        moves: Worth,
        price: &Price,
    ) -> Result<(), DiffError> {
        let copies = regions.copies(&self.pieces);
        let mut sum = 0;
        let mut used = Vec::new();
        for (moved, copies) in regions.0.iter().zip(copies) {
            sum += copies.iter().filter(|copy| copy.len >= Map::COPY_LEN_MIN).count();
            if !copies.is_empty() && sum <= COPIES_MAX {
                used.push((moved, copies));
            }
        }
        let used = mapped(&used, source, target, moves)?;
        // With and without the layer, by region; what copies of several regions cost counts for
        // each of them.
        let touched = |piece: &Piece| {
            super::source_range(&piece.segment).map_or(0..0, |range| used.touched(range))
        };
        let both: Vec<Option<(Islands, Islands)>> = self
            .pieces
            .par_iter()
            .map_init(
                || Comparison::new(source, target, &used),
                |comparison, piece| match touched(piece).is_empty() {
                    true => Ok(None),
                    false => comparison.islands(&piece.segment).map(Some),
                },
            )
            .collect::<Result<_, DiffError>>()?;
        let mut gains = vec![0_i64; used.0.len()];
        for (piece, both) in self.pieces.iter().zip(&both) {
            let Some((raw, rewritten)) = both else { continue };
            let gain = cost(raw, price) - cost(rewritten, price);
            touched(piece).for_each(|index| gains[index] += gain);
        }
        let mut pays: Vec<bool> = gains.iter().map(|gain| *gain > REGION_COST).collect();
        if !self.is_taken(&used, &pays) {
            pays.fill(false);
        }
        let kept = Regions(
            used.0
                .iter()
                .zip(&pays)
                .filter(|(_, pays)| **pays)
                .map(|(moved, _)| moved.clone())
                .collect(),
        );
        let mut comparison = Comparison::new(source, target, &kept);
        for (piece, both) in self.pieces.iter_mut().zip(both) {
            let Some((raw, rewritten)) = both else { continue };
            let range = super::source_range(&piece.segment).expect("zeros touch no region");
            let kept_count = used.touched(range).filter(|index| pays[*index]).count();
            piece.islands = if kept_count == 0 {
                raw
            } else if kept_count == used.touched(range).len() {
                rewritten
            } else {
                comparison.islands(&piece.segment)?.1
            };
        }
        self.regions = kept;
        Ok(())
    }
}

/// The regions as these copies of a frame map them, with no more moves than a frame may have.
fn mapped(
    regions: &[(&Moved, Vec<Copy>)],
    source: &dyn Source,
    target: &dyn Source,
    moves: Worth,
) -> Result<Regions, DiffError> {
    let mapped = regions.par_iter();
    let mapped = mapped.map(|(moved, copies)| moved.mapped(copies, source, target, moves));
    let mut mapped: Vec<Moved> = mapped.collect::<Result<_, DiffError>>()?;
    let mut room = MOVES_MAX;
    for (moved, (_, copies)) in mapped.iter_mut().zip(regions) {
        moved.limit_moves(room, copies);
        room -= moved.entry.moves.len();
    }
    Ok(Regions(mapped))
}

/// What naming a region costs, in 1/32 of a bit: some eight bytes.
const REGION_COST: i64 = 8 * 8 * 32;

/// Compares copies with the target. Copies that lie together are best compared by the same one.
pub(super) struct Comparison<'a> {
    source: &'a dyn Source,
    target: &'a dyn Source,
    regions: &'a Regions,
    scans: Scans,
    /// Memory that is used again: of the source and the target.
    bytes: [Vec<u8>; 2],
}

impl<'a> Comparison<'a> {
    /// With the addresses of these regions rewritten.
    pub(super) fn new(
        source: &'a dyn Source,
        target: &'a dyn Source,
        regions: &'a Regions,
    ) -> Self {
        let (scans, bytes) = (Scans::default(), [Vec::new(), Vec::new()]);
        Self { source, target, regions, scans, bytes }
    }

    /// How many bytes of a copy differ from the source as it is rewritten.
    pub(super) fn differing(&mut self, segment: &Segment) -> Result<u64, DiffError> {
        if !self.regions.touch(segment) {
            return Ok(0);
        }
        Ok(self.islands(segment)?.1.differences.len() as u64)
    }

    /// In what a copy differs from the source as it is, and as it is rewritten.
    fn islands(&mut self, segment: &Segment) -> Result<(Islands, Islands), DiffError> {
        let (Some(range), From::Source { diagonal }) = (super::source_range(segment), segment.from)
        else {
            return Ok(Default::default());
        };
        let (mut raw, mut rewritten, mut behind) = (Islands::default(), Islands::default(), (0, 0));
        let mut at = 0;
        // In steps, since an exact copy may be as long as an image.
        while at < range.len {
            let len = STEP.min(range.len - at);
            let offset = range.offset + at;
            let [bytes, made] = &mut self.bytes;
            for buffer in [&mut *bytes, made] {
                buffer.resize(usize::try_from(len).expect("a step fits in memory"), 0);
            }
            self.source.read_at(offset, bytes).map_err(DiffError::Source)?;
            self.target.read_at(segment.target + at, made).map_err(DiffError::Target)?;
            behind.0 = raw.extend(behind.0, bytes, made);
            self.regions
                .rewrite(self.source, offset, Some(diagonal), bytes, &mut self.scans)
                .map_err(DiffError::Source)?;
            behind.1 = rewritten.extend(behind.1, bytes, made);
            at += len;
        }
        Ok((raw, rewritten))
    }
}

/// Bytes of a copy compared at once.
const STEP: u64 = 1 << 20;

fn cost(islands: &Islands, price: &Price) -> i64 {
    let (places, bytes) = (islands.places.len() as u64, islands.differences.len() as u64);
    let cost = places * price.island + (bytes - places) * price.difference;
    i64::try_from(cost).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::REGION_LOOKS_MAX;
    use crate::refs::region::{Arch, Region};
    use crate::refs::rewriter::RegionEntry;

    fn region(offset: u64, len: u64) -> Moved {
        let region = Region {
            offset,
            len,
            arch: Arch::Other,
            is_wide: true,
            is_fixed: false,
            loads: Vec::new(),
            spans: Vec::new(),
            sections: Vec::new(),
            section_symbols: Vec::new(),
        };
        let entry = RegionEntry { offset, len, ..RegionEntry::default() };
        Moved { region, entry, map: Map::default(), reads: Vec::new() }
    }

    /// A plan of copies from these places, of these lengths.
    fn plan(copies: impl Iterator<Item = (u64, u64)>) -> Plan {
        let mut plan = Plan::default();
        for (offset, len) in copies {
            let target = plan.target_len;
            let from = From::Source { diagonal: offset.cast_signed() - target.cast_signed() };
            let segment = Segment { target, len, from };
            plan.pieces.push(Piece { segment, islands: Islands::default() });
            plan.target_len += len;
        }
        plan
    }

    #[test]
    fn frame_whose_loads_devices_refuse_is_not_taken() {
        let regions = Regions((0..5).map(|index| region(100 * index, 100)).collect());
        let rounds = 2048;
        let long = REGION_LOOKS_MAX / rounds / rounds;
        // Each round loads region 0 again. Two pieces that go on along one diagonal are one copy.
        let round = |more: bool| {
            let long = (0..long).map(|place| (place, 24));
            let joined = more.then_some([(50, 20), (70, 20)]).into_iter().flatten();
            long.chain(joined).chain((1..5).map(|region| (100 * region, 20)))
        };
        let frame = |more| plan((0..rounds).flat_map(|number| round(more && number == 7)));
        assert!(frame(false).is_taken(&regions, &[true; 5]));
        assert!(!frame(true).is_taken(&regions, &[true; 5]));
        // Without one of the five the others are loaded once.
        assert!(frame(true).is_taken(&regions, &[true, true, true, true, false]));
    }
}
