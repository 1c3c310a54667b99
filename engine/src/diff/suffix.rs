//! What seeds did not find: suffix-array matching by `bidiff`, within a memory limit.

use super::DiffError;
use super::gaps::{Joined, parts};
use super::segment::Segment;
use crate::format::SourceRange;
use crate::io::{Event, Progress, Source};

/// Bytes of the joined target that one scan takes; scans of a suffix array run in parallel.
const SCAN: usize = 1 << 20;

/// Memory per byte of a joined source that is matched at once: itself and its suffix array.
const MEMORY_FACTOR: u64 = 5;

/// Blocks judged for being compressed already, in bytes.
const BLOCK: usize = 4096;

/// Matches of the given stretches of the target in stretches of the source; not in order.
///
/// The source is taken in parts that fit `memory` bytes with their suffix arrays. Each part is one
/// partition for `bidiff`, so that the result does not depend on the number of threads.
pub(super) fn find(
    source: &dyn Source,
    target: &dyn Source,
    source_stretches: &[SourceRange],
    target_stretches: &[SourceRange],
    memory: u64,
    progress: Progress,
) -> Result<Vec<Segment>, DiffError> {
    let source_stretches = compressible(source, source_stretches, DiffError::Source)?;
    let target_stretches = compressible(target, target_stretches, DiffError::Target)?;
    let mut found = Vec::new();
    for targets in parts(&target_stretches, memory / 4) {
        let target = Joined::read(target, &targets, DiffError::Target)?;
        for sources in parts(&source_stretches, memory / MEMORY_FACTOR / 4) {
            let source = Joined::read(source, &sources, DiffError::Source)?;
            match_parts(&source, &target, &mut found)?;
        }
        progress(Event::Advance(target.bytes.len() as u64));
    }
    Ok(found)
}

fn match_parts(
    source: &Joined,
    target: &Joined,
    found: &mut Vec<Segment>,
) -> Result<(), DiffError> {
    let params = bidiff::DiffParams::new(2, Some(SCAN)).expect("neither count is zero");
    bidiff::diff(&source.bytes, &target.bytes, &params, |m| {
        let (at, from) = (m.add_new_start, m.add_old_start);
        target.segments(at, source, from, m.add_length, found);
        Ok::<(), DiffError>(())
    })
}

/// Leaves out whole blocks that are compressed already: matches shorter than a seed do not pay
/// there, and longer ones have been found.
fn compressible(
    image: &dyn Source,
    stretches: &[SourceRange],
    failed: fn(crate::io::Error) -> DiffError,
) -> Result<Vec<SourceRange>, DiffError> {
    let mut kept: Vec<SourceRange> = Vec::new();
    let mut block = vec![0; BLOCK];
    for stretch in stretches {
        let mut at = stretch.offset;
        while at < stretch.end() {
            let len = (BLOCK as u64).min(stretch.end() - at);
            if len == BLOCK as u64 {
                image.read_at(at, &mut block).map_err(failed)?;
            }
            if len < BLOCK as u64 || !looks_random(&block) {
                match kept.last_mut() {
                    Some(last) if last.end() == at => last.len += len,
                    _ => kept.push(SourceRange { offset: at, len }),
                }
            }
            at += len;
        }
    }
    Ok(kept)
}

/// Whether the bytes of a block are spread as evenly as compressed ones.
///
/// In 4096 random bytes each value is expected 16 times and the squares of the counts sum to
/// 69,632 with a deviation of 360; code and text lie far above, at 100,000 and more.
fn looks_random(block: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    block.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    counts.iter().map(|count| count * count).sum::<u64>() < 75_000
}
