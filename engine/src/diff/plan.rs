//! The plan: a delta, or the whole target where no delta is smaller.

use rayon::prelude::*;

use super::draft::Drafts;
use super::pack::{self, Packed};
use super::parse::{Islands, Piece};
use super::segment::{From, Segment};
use super::{DiffError, Options, Summary};
use crate::coder;
use crate::digest::Digest;
use crate::format::SourceMap;
use crate::io::{Event, Progress, Source, Spool};

/// Every how many bytes a sample of the target is compressed to guess its full size.
const SAMPLE_STRIDE: u64 = 4 << 20;

/// Bytes in a sample.
const SAMPLE: u64 = 128 << 10;

/// Restart interval of a full image, in bytes of target: its windows start empty 8 times less
/// often than those of a delta, which keeps it within a thousandth of plain zstd.
const FULL_RESTART_LEN: u64 = 64 << 20;

/// Codes the pieces, or the whole target if that is smaller.
pub(super) fn pack(
    pieces: Vec<Piece>,
    target: &dyn Source,
    options: &Options,
    spool: &mut dyn Spool,
    progress: Progress,
) -> Result<(Packed, Summary), DiffError> {
    let zeros: Vec<Segment> =
        pieces.iter().map(|piece| piece.segment).filter(|s| s.from == From::Zeros).collect();
    let level = options.level();
    let mut summary = summary(&pieces, target.size());
    let drafts = Drafts::of(pieces.into_iter(), target.size());
    let columns: usize = drafts.iter().flat_map(|d| &d.columns).map(Vec::len).sum();
    progress(Event::Phase { name: "code", total: columns as u64 + summary.literals });
    let mut packed = pack::pack(drafts, target, level, options.restart_len, spool, progress)?;
    if packed.len > full_len_least(target, &zeros)? {
        let pieces = zeros.iter().map(|s| Piece { segment: *s, islands: Islands::default() });
        let drafts = Drafts::of(pieces, target.size());
        let literals = target.size() - summary.zeros;
        progress(Event::Phase { name: "code in full", total: literals });
        let full = pack::pack(drafts, target, level, FULL_RESTART_LEN, spool, progress)?;
        let (delta_len, both_len) = (packed.len, packed.len + full.len);
        if full.len < delta_len {
            summary = Summary { zeros: summary.zeros, literals, is_full: true, ..summary };
            (summary.exact, summary.near, summary.differing) = (0, 0, 0);
            packed = full;
            spool.keep(delta_len..both_len).map_err(DiffError::Spool)?;
        } else {
            spool.keep(0..delta_len).map_err(DiffError::Spool)?;
        }
    }
    summary.columns = packed.columns;
    summary.literals_coded = packed.literals;
    Ok((packed, summary))
}

fn summary(pieces: &[Piece], target_size: u64) -> Summary {
    let mut summary = Summary { literals: target_size, ..Summary::default() };
    for Piece { segment, islands } in pieces {
        summary.literals -= segment.len;
        summary.differing += islands.differences.len() as u64;
        *match segment.from {
            From::Zeros => &mut summary.zeros,
            From::Source { .. } if islands.places.is_empty() => &mut summary.exact,
            From::Source { .. } => &mut summary.near,
        } += segment.len;
    }
    summary
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
