//! The plan: a delta, or the whole target where no delta is smaller.

use rayon::prelude::*;

use super::draft::{DRAFT_LEN_MAX, Drafts};
use super::frames::{self, Plan};
use super::pack::{self, Coding, Packed};
use super::parse::{Islands, Piece};
use super::price::Price;
use super::regions::Regions;
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

/// Where mixing makes literals shorter by less than this part, they are noise with repeats in it
/// at best, and zstd finds those over a longer distance: it is tried, too.
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

/// A way to make the target.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    pub(super) plans: Vec<Plan>,
    /// Whether the patch has the layer `refs`.
    pub(super) refs: bool,
    is_full: bool,
}

impl Candidate {
    /// The pieces, with the addresses of `regions` rewritten where that pays.
    pub(super) fn new(
        pieces: Vec<Piece>,
        source: &dyn Source,
        target: &dyn Source,
        regions: &Regions,
        moves: Worth,
        price: &Price,
    ) -> Result<Self, DiffError> {
        // Differences are only known once the copies of a frame are: leave room for more of them.
        let rewrites = !regions.is_empty();
        let len_max = if rewrites { DRAFT_LEN_MAX / 4 * 3 } else { DRAFT_LEN_MAX };
        let mut plans = frames::cut(pieces, 0..target.size(), len_max);
        if rewrites {
            frames::rewrite(&mut plans, source, target, regions, moves, price)?;
            let mut fitting = Vec::new();
            for mut plan in plans {
                let mut fits = is_one_draft(&plan);
                if !fits && !plan.regions.is_empty() {
                    plan.forget_regions(source, target)?;
                    fits = is_one_draft(&plan);
                }
                if fits {
                    fitting.push(plan);
                    continue;
                }
                // Without the regions it differs in more than it was cut for.
                let range = plan.target_offset..plan.end();
                fitting.extend(frames::cut(plan.pieces, range, DRAFT_LEN_MAX));
            }
            plans = fitting;
        }
        let refs = plans.iter().any(|plan| !plan.regions.is_empty());
        Ok(Self { plans, refs, is_full: false })
    }

    /// The whole target but its zeros.
    fn full(zeros: &[Segment], target_size: u64) -> Self {
        let pieces = zeros.iter().map(|s| Piece { segment: *s, islands: Islands::default() });
        let plans = frames::cut(pieces.collect(), 0..target_size, DRAFT_LEN_MAX);
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
        let total = self.plans.iter().map(|plan| plan.draft_len).sum();
        progress(Event::Phase { name: if self.is_full { "code in full" } else { "code" }, total });
        let (restart_len, window_log2) = match self.is_full {
            true => (FULL_RESTART_LEN, LITERAL_WINDOW_LOG2),
            false => (options.restart_len, DELTA_WINDOW_LOG2),
        };
        match coder {
            Coder::Zstd => {
                let drafts = self.plans.par_iter().flat_map_iter(Drafts::of_plan).collect();
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
fn is_one_draft(plan: &Plan) -> bool {
    let drafts = Drafts::of_plan(plan);
    matches!(&drafts[..], [draft] if draft.len() <= DRAFT_LEN_MAX)
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
    let mut try_out = |candidate: Candidate, kept: &mut Option<(u64, Packed, Candidate)>| {
        let mut packed = candidate.pack(options.coder, source, target, options, spool, progress)?;
        let mut from = appended;
        appended += packed.len;
        if options.coder == Coder::Cm && packed.len / NOISE * (NOISE + 1) > candidate.literals() {
            let fast = candidate.pack(Coder::Zstd, source, target, options, spool, progress)?;
            let fast_from = appended;
            appended += fast.len;
            if fast.len < packed.len {
                (packed, from) = (fast, fast_from);
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
            let made = Candidate::new(pieces, &source, &target, &regions, Worth::NONE, price);
            let plans = made.expect("images in memory can be read").plans;
            assert!(plans.iter().all(is_one_draft));
            assert_eq!(plans.iter().map(|plan| plan.target_len).sum::<u64>(), len);
            assert_eq!(plans.len() > 1, !regions.is_empty());
        }
    }
}
