//! The plan: a delta, or the whole target where no delta is smaller.

use std::cmp::Reverse;
use std::ops::Range;

use rayon::prelude::*;

use super::draft::{Drafts, Room};
use super::frames::{self, Plan};
use super::pack::{self, Coding, Packed};
use super::parse::{Islands, Piece};
use super::price::Price;
use super::regions::{Moved, Regions};
use super::segment::{From, Segment};
use super::{Coder, DiffError, Options, Summary, mixed};
use crate::coder;
use crate::digest::Digest;
use crate::format::{SourceMap, SourceRange};
use crate::io::{Event, Progress, Source, Spool};
use crate::limits::{LITERAL_WINDOW_LOG2, WINDOW_LOG2_MIN};
use crate::refs::votes::Worth;

/// Every how many bytes a sample of the target is compressed to guess its full size.
const SAMPLE_STRIDE: u64 = 4 << 20;

/// Where mixing makes literals, if they are most of it, shorter by less than this part, they are
/// noise with repeats in it at best, and zstd finds those over a longer distance: it is tried, too.
const NOISE: u64 = 16;

/// Bytes in a sample.
const SAMPLE: u64 = 128 << 10;

/// Restart interval of a full image, in bytes of target: its windows start empty 8 times less
/// often than those of a delta, which keeps it within a thousandth of plain zstd.
const FULL_RESTART_LEN: u64 = 64 << 20;

/// Window of the literal stream of a delta, as log2 of bytes: 4 MiB. Of what a delta leaves over
/// little repeats far away: a root image of 640 MiB became 2 bytes larger than with the window that
/// a full image needs, and applying it takes 2 MiB of memory less.
const DELTA_WINDOW_LOG2: u32 = 22;

/// Least length of an executable that may have frames of its own, in bytes.
const LARGE_LEN_MIN: u64 = 1 << 20;

/// A way to make the target.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    pub(super) plans: Vec<Plan>,
    /// Whether the patch has the layer `refs`.
    pub(super) refs: bool,
    is_full: bool,
}

/// What plans are made with.
#[derive(Clone, Copy)]
pub(super) struct Planner<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) target: &'a dyn Source,
    /// Whose addresses are rewritten where that pays.
    pub(super) regions: &'a Regions,
    pub(super) moves: Worth,
    pub(super) price: &'a Price,
    /// What a frame may hold of a large executable; of others it is [`Room::RAW`].
    pub(super) room: Room,
}

impl Planner<'_> {
    /// The plans of a range of the target.
    ///
    /// How the addresses of an executable move is what the copies of one frame say: a large one
    /// begins with a frame, and has it to itself as far as that goes.
    pub(super) fn plans(
        &self,
        mut pieces: Vec<Piece>,
        range: Range<u64>,
    ) -> Result<Vec<Plan>, DiffError> {
        let mut parts = Vec::new();
        let mut end = range.end;
        for Range { start: from, end: to } in self.large(&pieces, &range).into_iter().rev() {
            let behind = pieces.split_off(first(&pieces, to));
            let to = behind.first().map_or(end, |piece| piece.segment.target);
            let within = pieces.split_off(first(&pieces, from));
            let from = within.first().map_or(to, |piece| piece.segment.target);
            parts.extend([(behind, to..end, Room::RAW), (within, from..to, self.room)]);
            end = from;
        }
        parts.push((pieces, range.start..end, Room::RAW));
        let parts = parts.into_par_iter().rev();
        let plans = parts.map(|(pieces, range, room)| self.filled(pieces, range, room));
        Ok(plans.collect::<Result<Vec<_>, DiffError>>()?.concat())
    }

    /// Where the target has large executables, in order. Of those that overlap that counts which
    /// has most to code.
    fn large(&self, pieces: &[Piece], range: &Range<u64>) -> Vec<Range<u64>> {
        let regions = self.regions.0.iter().filter(|moved| moved.entry.len >= LARGE_LEN_MIN);
        let places = regions.filter_map(Moved::target).filter_map(|place| {
            let place = place.start.max(range.start)..place.end.min(range.end);
            let is_within = place.start < place.end;
            let within = || &pieces[first(pieces, place.start)..first(pieces, place.end)];
            let len = Room::RAW.good_part(is_within.then(within)?, place.clone())?;
            Some((len, place))
        });
        let mut places: Vec<_> = places.collect();
        places.sort_unstable_by_key(|(len, place)| (Reverse(*len), place.start));
        let mut large: Vec<Range<u64>> = Vec::new();
        for (_, place) in places {
            if large.iter().all(|other| other.end <= place.start || place.end <= other.start) {
                large.push(place);
            }
        }
        large.sort_unstable_by_key(|place| place.start);
        large
    }

    /// The plans of a part of it, with frames as full as they may be.
    fn filled(
        &self,
        pieces: Vec<Piece>,
        range: Range<u64>,
        room: Room,
    ) -> Result<Vec<Plan>, DiffError> {
        let Self { source, target, regions, moves, price, .. } = *self;
        if regions.is_empty() {
            return Ok(frames::cut(pieces, range, room));
        }
        // Differences are only known once the copies of a frame are: leave room for more of them.
        let mut plans = frames::cut(pieces, range, room.before_rewriting());
        frames::rewrite(&mut plans, source, target, regions, moves, price)?;
        let mut filled = Vec::new();
        for mut plan in plans {
            let range = plan.target_offset..plan.end();
            if is_one_draft(&plan, room) {
                filled.push(plan);
            } else if !plan.regions.is_empty() && !room.is_least() {
                // Its own copies say less of how addresses move than all did.
                filled.extend(self.filled(plan.pieces, range, room.half())?);
            } else {
                // Without the regions it differs in more than it was cut for.
                plan.forget_regions(source, target)?;
                filled.extend(frames::cut(plan.pieces, range, room));
            }
        }
        Ok(filled)
    }

    /// The plans of what one with more room was made of. Its regions must be the planner's.
    pub(super) fn narrowed(&self, plan: &Plan) -> Result<Vec<Plan>, DiffError> {
        self.filled(plan.pieces.clone(), plan.target_offset..plan.end(), Room::RAW)
    }
}

/// The first piece at or behind a byte of the target.
fn first(pieces: &[Piece], at: u64) -> usize {
    pieces.partition_point(|piece| piece.segment.target < at)
}

impl Candidate {
    /// The pieces, with the addresses of the planner's regions rewritten where that pays.
    pub(super) fn new(pieces: Vec<Piece>, planner: &Planner<'_>) -> Result<Self, DiffError> {
        Ok(Self::of(planner.plans(pieces, 0..planner.target.size())?))
    }

    fn of(plans: Vec<Plan>) -> Self {
        let refs = plans.iter().any(|plan| !plan.regions.is_empty());
        Self { plans, refs, is_full: false }
    }

    /// The same in frames that any coder can make.
    fn narrowed(&self, source: &dyn Source, target: &dyn Source) -> Result<Self, DiffError> {
        let plans = self.plans.iter().map(|plan| {
            let planner = Planner {
                source,
                target,
                regions: &plan.regions,
                moves: Worth::ZSTD,
                price: &Price::ZSTD,
                room: Room::RAW,
            };
            planner.narrowed(plan)
        });
        let plans = plans.collect::<Result<Vec<_>, DiffError>>()?.concat();
        Ok(Self { is_full: self.is_full, ..Self::of(plans) })
    }

    /// The whole target but its zeros.
    fn full(zeros: &[Segment], target_size: u64) -> Self {
        let pieces = zeros.iter().map(|s| Piece { segment: *s, islands: Islands::default() });
        let plans = frames::cut(pieces.collect(), 0..target_size, Room::RAW);
        Self { plans, refs: false, is_full: true }
    }

    /// What coding it costs, about, in 1/32 of a bit.
    pub(super) fn cost(&self, price: &Price) -> u64 {
        self.plans.iter().map(|plan| plan.cost(price)).sum()
    }

    /// What is copied or read of the source, in order.
    pub(super) fn used(&self) -> Vec<SourceRange> {
        let pieces = self.plans.iter().flat_map(|plan| &plan.pieces);
        let mut used: Vec<_> =
            pieces.filter_map(|piece| super::source_range(&piece.segment)).collect();
        let regions = self.plans.iter().flat_map(|plan| &plan.regions.0);
        used.extend(regions.flat_map(|moved| &moved.reads));
        used.sort_unstable();
        used
    }

    /// Bytes of the header that depend on what is read of the source, about: the layer's entry,
    /// and the source map, with a digest for each of the least windows.
    fn header_len(&self, source_size: u64) -> u64 {
        const LAYER_LEN: u64 = 4;
        const DIGEST_LEN: u64 = 16;
        let window_len = 1 << WINDOW_LOG2_MIN;
        let map = SourceMap::of_used(&self.used(), source_size, window_len);
        let digests = map.used_len().div_ceil(window_len) * DIGEST_LEN;
        map.encode().len() as u64 + digests + u64::from(self.refs) * LAYER_LEN
    }

    /// Bytes of columns and literals before they are coded.
    fn draft_len(&self) -> u64 {
        self.plans.iter().map(|plan| plan.draft_len).sum()
    }

    /// Bytes of the target that are neither copied nor zero.
    fn literals(&self) -> u64 {
        let made = |plan: &Plan| plan.pieces.iter().map(|piece| piece.segment.len).sum::<u64>();
        self.plans.iter().map(|plan| plan.target_len - made(plan)).sum()
    }

    fn summary(&self, target_size: u64) -> Summary {
        let mut summary = Summary { is_full: self.is_full, ..Summary::default() };
        summary.literals = target_size;
        for Piece { segment, islands } in self.plans.iter().flat_map(|plan| &plan.pieces) {
            summary.literals -= segment.len;
            summary.differing += islands.differences.len() as u64;
            *match segment.from {
                From::Zeros => &mut summary.zeros,
                From::Source { .. } if islands.places.is_empty() => &mut summary.exact,
                From::Source { .. } => &mut summary.near,
            } += segment.len;
        }
        let regions = self.plans.iter().map(|plan| plan.regions.0.len() as u64);
        summary.regions = regions.sum();
        summary
    }

    fn pack(
        &self,
        coder: Coder,
        source: &dyn Source,
        target: &dyn Source,
        options: &Options,
        spool: &mut dyn Spool,
        progress: Progress,
    ) -> Result<Packed, DiffError> {
        let (name, total) = (if self.is_full { "code in full" } else { "code" }, self.draft_len());
        progress(Event::Phase { name, total });
        let (restart_len, window_log2) = match self.is_full {
            true => (FULL_RESTART_LEN, LITERAL_WINDOW_LOG2),
            false => (options.restart_len, DELTA_WINDOW_LOG2),
        };
        match coder {
            Coder::Zstd => {
                let drafts = |plan| Drafts::of_plan(plan, Room::RAW);
                let drafts = self.plans.par_iter().flat_map_iter(drafts).collect();
                let coding = Coding { level: options.level(), restart_len, window_log2 };
                pack::pack(drafts, target, coding, self.refs, spool, progress)
            }
            Coder::Cm => {
                mixed::pack(&self.plans, source, target, restart_len, self.refs, spool, progress)
            }
        }
    }
}

/// Whether a frame can hold a plan, the columns that name its regions too.
fn is_one_draft(plan: &Plan, room: Room) -> bool {
    matches!(&Drafts::of_plan(plan, room)[..], [draft] if room.holds(draft))
}

/// What was kept, and what it is made of.
pub(super) struct Chosen {
    pub(super) packed: Packed,
    pub(super) candidate: Candidate,
    pub(super) summary: Summary,
    /// Where it lies in the spool, and how much that has now.
    pub(super) range: std::ops::Range<u64>,
    pub(super) spooled: u64,
}

/// Codes the candidates, and the whole target if that may be smaller, and chooses the smallest; the
/// spool, which has `spooled` bytes already, then has all.
pub(super) fn choose(
    candidates: Vec<Candidate>,
    source: &dyn Source,
    target: &dyn Source,
    options: &Options,
    spool: &mut dyn Spool,
    spooled: u64,
    progress: Progress,
) -> Result<Chosen, DiffError> {
    let pieces = candidates.iter().flat_map(|c| &c.plans).flat_map(|plan| &plan.pieces);
    let mut zeros: Vec<Segment> =
        pieces.map(|piece| piece.segment).filter(|s| s.from == From::Zeros).collect();
    zeros.sort_unstable();
    zeros.dedup();
    let full_len_least = full_len_least(target, &zeros)?;
    let mut kept: Option<(u64, Packed, Candidate)> = None;
    let mut appended = spooled;
    let mut try_out = |mut candidate: Candidate, kept: &mut Option<(u64, Packed, Candidate)>| {
        let mut packed = candidate.pack(options.coder, source, target, options, spool, progress)?;
        let mut from = appended;
        appended += packed.len;
        let literals = candidate.literals();
        let is_noise = packed.len / NOISE * (NOISE + 1) > literals;
        if options.coder == Coder::Cm && is_noise && literals > candidate.draft_len() / 2 {
            let narrowed = candidate.narrowed(source, target)?;
            let fast = narrowed.pack(Coder::Zstd, source, target, options, spool, progress)?;
            let fast_from = appended;
            appended += fast.len;
            if fast.len < packed.len {
                (packed, from, candidate) = (fast, fast_from, narrowed);
            }
        }
        // Two that differ in a few bytes may differ in more of the header.
        let header_len = candidate.header_len(source.size());
        if kept.as_ref().is_none_or(|(_, best, other)| {
            packed.len + header_len < best.len + other.header_len(source.size())
        }) {
            *kept = Some((from, packed, candidate));
        }
        Ok::<(), DiffError>(())
    };
    for candidate in candidates {
        try_out(candidate, &mut kept)?;
    }
    if kept.as_ref().is_some_and(|(_, packed, _)| packed.len > full_len_least) {
        try_out(Candidate::full(&zeros, target.size()), &mut kept)?;
    }
    let (kept_from, packed, candidate) = kept.expect("there is at least one candidate");
    let mut summary = candidate.summary(target.size());
    summary.columns = packed.columns;
    summary.literals_coded = packed.literals;
    summary.mixed = packed.mixed;
    let range = kept_from..kept_from + packed.len;
    Ok(Chosen { packed, candidate, summary, range, spooled: appended })
}

/// Less than the whole target can be compressed to, from samples: the time for coding it in full
/// is only spent where that may pay.
fn full_len_least(target: &dyn Source, zeros: &[Segment]) -> Result<u64, DiffError> {
    // The best level saves up to a quarter over the fast one, and windows up to as much again.
    const NUMERATOR: u64 = 1;
    const DENOMINATOR: u64 = 2;
    let size = target.size() - zeros.iter().map(|segment| segment.len).sum::<u64>();
    let places: Vec<u64> = (0..target.size().div_ceil(SAMPLE_STRIDE)).collect();
    let sampled = places
        .par_iter()
        .map(|index| {
            let offset = index * SAMPLE_STRIDE;
            let len = SAMPLE.min(target.size() - offset);
            let mut bytes = vec![0; usize::try_from(len).expect("a sample fits in memory")];
            target.read_at(offset, &mut bytes).map_err(DiffError::Target)?;
            let zero = bytes.iter().all(|byte| *byte == 0);
            let raw = if zero { 0 } else { len };
            Ok((raw, if zero { 0 } else { coder::column(&bytes, 3).len() as u64 }))
        })
        .try_reduce(|| (0, 0), |a, b| Ok((a.0 + b.0, a.1 + b.1)))?;
    let (raw, coded) = sampled;
    if raw == 0 {
        return Ok(0);
    }
    let ratio = u128::from(size) * u128::from(coded) / u128::from(raw);
    Ok(u64::try_from(ratio).unwrap_or(u64::MAX) * NUMERATOR / DENOMINATOR)
}

/// Reads what the map covers and fills in its digests.
pub(super) fn hash_groups(
    source: &dyn Source,
    map: &mut SourceMap,
    progress: Progress,
) -> Result<(), DiffError> {
    progress(Event::Phase { name: "hash source", total: map.used_len() });
    map.groups = map
        .group_pieces()
        .par_iter()
        .map(|pieces| {
            let mut bytes = Vec::new();
            for piece in pieces {
                let from = bytes.len();
                let len = usize::try_from(piece.len).expect("a group fits in memory");
                bytes.resize(from + len, 0);
                source.read_at(piece.offset, &mut bytes[from..]).map_err(DiffError::Source)?;
            }
            progress(Event::Advance(bytes.len() as u64));
            Ok(Digest::of(&bytes).short())
        })
        .collect::<Result<_, DiffError>>()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BODY_LEN_MAX;

    /// A copy that agrees by a map of the whole image, but not by that of its frame, came back
    /// with more differences than a frame holds: the coder `cm` made one body of them all.
    #[test]
    fn plans_whose_regions_do_not_pay_are_cut_again() {
        let mut source = b"\x7fELF\x02\x01\x01".to_vec();
        source.resize(16 << 20, 0);
        let target: Vec<u8> =
            (0_u32..).zip(&source).map(|(at, byte)| byte ^ u8::from(at % 8 == 7)).collect();
        let len = target.len() as u64;
        let segment = Segment { target: 0, len, from: From::Source { diagonal: 0 } };
        let piece = |islands| Piece { segment, islands };
        let (none, price) = (Regions::default(), &Price::CM);
        let mut differing = Islands::default();
        differing.extend(0, &source, &target);
        let regions = Regions::find(&source, &target, &[piece(differing)], Worth::NONE, &|_| ());
        let regions = regions.expect("images in memory can be read");
        assert!(!regions.is_empty());
        for regions in [regions, none] {
            let pieces = vec![piece(Islands::default())];
            let (source, target) = (&source, &target);
            let (moves, room) = (Worth::NONE, Room::RAW);
            let planner = Planner { source, target, regions: &regions, moves, price, room };
            let made = Candidate::new(pieces, &planner);
            let plans = made.expect("images in memory can be read").plans;
            assert!(plans.iter().all(|plan| is_one_draft(plan, Room::RAW)));
            assert_eq!(plans.iter().map(|plan| plan.target_len).sum::<u64>(), len);
            assert_eq!(plans.len() > 1, !regions.is_empty());
        }
    }

    /// What a large executable comes to under `cm` is an estimate: of noise it is too low, and the
    /// body was longer than a frame may have.
    #[test]
    fn frames_of_a_large_executable_that_come_out_too_long_are_made_anew() {
        const LEN: usize = 5 << 19;
        let mut source = b"\x7fELF\x02\x01\x01".to_vec();
        source.resize(64, 0);
        (source[32], source[54], source[56]) = (64, 56, 1);
        let load = [1_u64 | 5 << 32, 0, 0x40_0000, 0, LEN as u64, LEN as u64, 4096];
        source.extend(load.iter().flat_map(|word| word.to_le_bytes()));
        source.resize(LEN, 0);
        let mut noise = blake3::Hasher::new().finalize_xof();
        let mut target = source.clone();
        noise.fill(&mut target[4096..]);
        let segment = Segment { target: 0, len: LEN as u64, from: From::Source { diagonal: 0 } };
        let mut islands = Islands::default();
        islands.extend(0, &source, &target);
        let pieces = vec![Piece { segment, islands }];
        let regions = Regions::find(&source, &target, &pieces, Worth::NONE, &|_| ());
        let regions = &regions.expect("images in memory can be read");
        let (source, target) = (&source, &target);
        let (moves, price, room) = (Worth::CM, &Price::CM, Room::MIXED);
        let planner = Planner { source, target, regions, moves, price, room };
        let made = Candidate::new(pieces, &planner).expect("images in memory can be read");
        let mut spool = Vec::new();
        let options = Options { coder: Coder::Cm, ..Options::default() };
        let packed = made.pack(Coder::Cm, source, target, &options, &mut spool, &|_| ());
        let packed = packed.expect("memory does not fail");
        assert!(packed.len > LEN as u64 / 10 * 9, "it is noise");
        let drafts = Drafts::of_plan(&made.plans[0], Room::MIXED);
        assert!(drafts[0].len() > BODY_LEN_MAX, "a frame was to hold more than it can");
    }
}
