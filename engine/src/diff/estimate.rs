//! The estimate: what other ways of sending the target would have cost, for people who pay for it.
//!
//! Nothing is coded for it: samples tell how well bytes compress, and the pieces of the delta tell
//! what another tool would have copied. Integers alone, so that every machine writes the same.
//!
//! Calibrated on 18 pairs of the corpus, executables, kernels, firmware, archives and images,
//! against `zstd -19`, `xdelta3 -9 -S lzma` and the blocks of 4 KiB that the source lacks under
//! `zstd -19`: `docs/design.md` has the errors that are left.

use rayon::prelude::*;

use super::DiffError;
use super::parse::Piece;
use super::segment::{From, Segment};
use crate::coder;
use crate::format::{Estimates, SourceRange};
use crate::io::{Event, Progress, Source};

/// Bytes of a block that a block-reuse tool sends or not.
const BLOCK: u64 = 4096;

/// Shortest copy of an xdelta3-class tool, in bytes.
const COPY_MIN: u64 = 8;

/// What a copy costs such a tool, in quarters of a byte, its own coder applied.
const COPY_QUARTERS: u64 = 9;

/// Bytes compressed at once as a sample.
const SAMPLE: u64 = 1 << 20;

/// Samples taken in any case, and one of how many is taken of a large image.
const SAMPLES: u64 = 16;

/// The level of samples, fast enough for the time they take not to be felt.
const LEVEL: i32 = 3;

/// Estimates what others would have sent, from the pieces of a delta of the source as it is, in
/// target order.
///
/// # Errors
/// If the target cannot be read.
pub(super) fn estimate(
    target: &dyn Source,
    pieces: &[Piece],
    progress: Progress,
) -> Result<Estimates, DiffError> {
    progress(Event::Phase { name: "estimate", total: 0 });
    let runs = equal_runs(pieces);
    let size = target.size();
    let zeros = runs.iter().filter(|run| run.from == From::Zeros);
    let full = Sampled::of(target, &left(zeros.map(range), size))?.best;
    let blocks = Sampled::of(target, &left(reused_blocks(&runs, size).into_iter(), size))?.best;
    let literals = Sampled::of(target, &left(runs.iter().map(range), size))?.fast;
    let delta = literals + runs.len() as u64 * COPY_QUARTERS / 4;
    Ok(Estimates { full, delta: delta.min(full), blocks: blocks.min(full) })
}

/// The stretches that pieces copy without a difference, or that are zeros, in target order; the
/// shortest are left out.
fn equal_runs(pieces: &[Piece]) -> Vec<Segment> {
    let mut runs: Vec<Segment> = Vec::new();
    let mut add = |run: Segment| match runs.last_mut() {
        Some(last) if last.end() == run.target && last.from == run.from => last.len += run.len,
        // Nothing goes on with a short one any more.
        Some(last) if last.len < COPY_MIN => *last = run,
        _ => runs.push(run),
    };
    for Piece { segment, islands } in pieces {
        let mut at = segment.target;
        for (agreeing, differing) in &islands.places {
            let len = u64::from(*agreeing);
            if len > 0 {
                add(Segment { target: at, len, ..*segment });
            }
            at += len + u64::from(*differing);
        }
        if at < segment.end() {
            add(Segment { target: at, len: segment.end() - at, ..*segment });
        }
    }
    runs.retain(|run| run.len >= COPY_MIN);
    runs
}

/// Whole blocks of the target that are whole blocks of the source too, or zeros; as ranges.
///
/// A block may be copies along one diagonal and zeros, such as the last block of a file.
fn reused_blocks(runs: &[Segment], size: u64) -> Vec<SourceRange> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for run in runs {
        let diagonal = match run.from {
            From::Source { diagonal } if diagonal.unsigned_abs() % BLOCK != 0 => continue,
            From::Source { diagonal } => Some(diagonal),
            From::Zeros => None,
        };
        let mut zeros = if diagonal.is_none() { run.len } else { 0 };
        let mut next = Stretch { range: range(run), diagonal, zeros };
        if let Some(last) = stretches.last_mut().filter(|last| last.range.end() == run.target) {
            if last.diagonal.is_none() || diagonal.is_none() || last.diagonal == diagonal {
                last.range.len += run.len;
                last.diagonal = last.diagonal.or(diagonal);
                zeros += if diagonal.is_none() { last.zeros } else { 0 };
                last.zeros = zeros;
                continue;
            }
            // The zeros between two diagonals may be of either.
            next.range.offset -= last.zeros;
            next.range.len += last.zeros;
        }
        stretches.push(next);
    }
    let mut blocks = Vec::new();
    let mut done = 0;
    for Stretch { range, .. } in stretches {
        let from = range.offset.next_multiple_of(BLOCK).max(done);
        let to = if range.end() == size { size } else { range.end() / BLOCK * BLOCK };
        if from < to {
            blocks.push(SourceRange { offset: from, len: to - from });
            done = to;
        }
    }
    blocks
}

/// Runs that touch, along one diagonal or zeros.
struct Stretch {
    range: SourceRange,
    /// None before the first copy.
    diagonal: Option<i64>,
    /// Zeros it ends with, in bytes.
    zeros: u64,
}

/// What is left of an image of `size` bytes without sorted ranges.
fn left(ranges: impl Iterator<Item = SourceRange>, size: u64) -> Vec<SourceRange> {
    super::gaps::between(ranges, SourceRange { offset: 0, len: size }, 1)
}

fn range(segment: &Segment) -> SourceRange {
    SourceRange { offset: segment.target, len: segment.len }
}

/// What ranges of an image, joined end to end, compress to; estimated from samples, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sampled {
    /// By the level of the samples.
    fast: u64,
    /// By `zstd -19`.
    best: u64,
}

impl Sampled {
    fn of(image: &dyn Source, ranges: &[SourceRange]) -> Result<Self, DiffError> {
        let mut starts = Vec::with_capacity(ranges.len());
        let mut total = 0;
        for range in ranges {
            starts.push(total);
            total += range.len;
        }
        let count = total.div_ceil(SAMPLE);
        let taken = count.min((count / SAMPLES).max(SAMPLES));
        let (raw, sum) = (0..taken)
            .into_par_iter()
            .map(|index| {
                let from = index * count / taken * SAMPLE;
                let mut bytes = vec![0; in_memory(SAMPLE.min(total - from))];
                read_joined(image, ranges, &starts, from, &mut bytes)?;
                Ok((bytes.len() as u64, Self::of_sample(&bytes)))
            })
            .try_reduce(<(u64, Self)>::default, |(raw, a), (more, b)| {
                Ok((raw + more, Self { fast: a.fast + b.fast, best: a.best + b.best }))
            })?;
        let whole = |len| scaled(len, total, raw.max(1));
        Ok(Self { fast: whole(sum.fast), best: whole(sum.best) })
    }

    /// What the best level makes of a sample: four fifths of what the fast one does where that
    /// halves it at the least, all of it where nothing helps, in between in proportion.
    fn of_sample(bytes: &[u8]) -> Self {
        let fast = coder::column(bytes, LEVEL).len() as u64;
        let permille = scaled(fast, 1000, bytes.len() as u64);
        let share = 800 + (permille.clamp(500, 950) - 500) * 200 / 450;
        Self { fast, best: fast * share / 1000 }
    }
}

/// Fills `into` with what lies from byte `at` on, the ranges being joined end to end.
fn read_joined(
    image: &dyn Source,
    ranges: &[SourceRange],
    starts: &[u64],
    at: u64,
    mut into: &mut [u8],
) -> Result<(), DiffError> {
    let first = starts.partition_point(|start| *start <= at) - 1;
    let mut skip = at - starts[first];
    for range in &ranges[first..] {
        let len = in_memory((range.len - skip).min(into.len() as u64));
        let (now, later) = into.split_at_mut(len);
        image.read_at(range.offset + skip, now).map_err(DiffError::Target)?;
        into = later;
        skip = 0;
        if into.is_empty() {
            break;
        }
    }
    Ok(())
}

fn scaled(value: u64, numerator: u64, denominator: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(numerator) / u128::from(denominator);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a part or sample fits in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::parse::Islands;

    const SIZE: u64 = 64 * BLOCK;

    /// Text that compresses to about a half.
    fn text(seed: u64) -> Vec<u8> {
        let mut state = seed;
        let digits = (0..SIZE).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            b'a' + state.to_le_bytes()[6] % 16
        });
        digits.collect()
    }

    fn piece(target: u64, len: u64, from: From) -> Piece {
        Piece { segment: Segment { target, len, from }, islands: Islands::default() }
    }

    fn copy(target: u64, len: u64, diagonal: i64) -> Piece {
        piece(target, len, From::Source { diagonal })
    }

    /// With the one piece that copies the front of the source to byte `at` of the target.
    #[expect(clippy::ptr_arg, reason = "vectors are sources, slices are not")]
    fn of(source: &[u8], target: &Vec<u8>, at: usize) -> Estimates {
        let source = &source[..target.len() - at];
        let mut copy = copy(at as u64, source.len() as u64, -(at as i64));
        copy.islands.extend(0, source, &target[at..]);
        estimate(target, &[copy], &|_| ()).expect("memory can be read")
    }

    #[test]
    fn same_image_costs_others_nothing_but_a_copy() {
        let image = text(1);
        let estimates = of(&image, &image, 0);
        assert!((SIZE / 3..SIZE * 2 / 3).contains(&estimates.full), "{estimates:?}");
        assert_eq!((estimates.delta, estimates.blocks), (2, 0));
    }

    #[test]
    fn image_moved_by_a_byte_shares_no_block() {
        let source = text(1);
        let target = [&[7], &source[..source.len() - 1]].concat();
        let estimates = of(&source, &target, 1);
        assert_eq!(estimates.blocks, estimates.full);
        assert!(estimates.delta < 20, "{estimates:?}");
    }

    #[test]
    fn one_changed_byte_costs_a_block_and_a_literal() {
        let source = text(1);
        let mut target = source.clone();
        target[9 * 4096] ^= 1;
        let estimates = of(&source, &target, 0);
        assert!((BLOCK / 3..BLOCK).contains(&estimates.blocks), "{estimates:?}");
        assert!(estimates.delta < 20, "{estimates:?}");
    }

    #[test]
    fn copy_that_differs_nearly_everywhere_counts_as_literals() {
        let source = text(1);
        let estimates = of(&source, &text(2), 0);
        assert_eq!(estimates.blocks, estimates.full);
        assert!(estimates.delta > estimates.full * 9 / 10, "{estimates:?}");
    }

    #[test]
    fn tail_of_a_file_and_zeros_make_a_block_that_is_reused() {
        let zeros = |target, len| piece(target, len, From::Zeros);
        let runs = |pieces: &[Piece]| pieces.iter().map(|piece| piece.segment).collect::<Vec<_>>();
        let of_size = |pieces: &[Piece], size| -> Vec<_> {
            let found = reused_blocks(&runs(pieces), size).into_iter();
            found.map(|range| (range.offset / BLOCK, range.len.div_ceil(BLOCK))).collect()
        };
        let blocks = |pieces: &[Piece]| of_size(pieces, SIZE);
        assert_eq!(blocks(&[copy(0, 5000, 0), zeros(5000, 3192)]), [(0, 2)]);
        assert_eq!(blocks(&[copy(0, 5000, 4096), zeros(5000, 3192)]), [(0, 2)]);
        assert_eq!(blocks(&[copy(0, 5000, 0), copy(5000, 3192, 4096)]), [(0, 1)]);
        assert_eq!(blocks(&[copy(0, 5000, 0), zeros(5000, 3191)]), [(0, 1)]);
        assert_eq!(blocks(&[copy(0, 5000, 1), zeros(5000, 3192)]), []);
        // Zeros between two diagonals, over whole blocks: counted once.
        let between = [copy(0, 5000, 0), zeros(5000, 20_000), copy(25_000, 5000, 4096)];
        assert_eq!(blocks(&between), [(0, 6), (6, 1)]);
        // The short block at the end of an image is whole.
        assert_eq!(of_size(&[copy(0, 5000, 0)], 5000), [(0, 2)]);
        assert_eq!(of_size(&[copy(0, 4999, 0)], 5000), [(0, 1)]);
    }

    #[test]
    fn large_image_is_sampled_and_small_one_read_whole() {
        let noise: Vec<u8> = (0..80 << 20).map(|i: u64| ((i * i) >> 11).to_le_bytes()[0]).collect();
        let half = SourceRange { offset: 0, len: 40 << 20 };
        let whole = SourceRange { offset: 0, len: 80 << 20 };
        let [half, whole] = [half, whole].map(|r| Sampled::of(&noise, &[r]).expect("memory").fast);
        assert!(whole > half * 3 / 2 && whole < half * 5 / 2, "{half} and {whole}");
        assert_eq!(Sampled::of(&noise, &[]).expect("memory"), Sampled::default());
    }
}
