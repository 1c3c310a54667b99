//! Short matches close to long ones, in linear time.
//!
//! Where code moved, the source of a few changed bytes lies beside the source of what surrounds
//! them. So each piece of the target is looked up, by eight bytes at a time, in just those parts of
//! the source that longer matches around it point to; a better diagonal is taken where it explains
//! clearly more bytes than the last one does, the rule of bsdiff (C. Percival, 2003).

use rayon::prelude::*;

use super::DiffError;
use super::gaps::{self, Joined};
use super::segment::{From, Segment, common_prefix};
use crate::format::SourceRange;
use crate::io::{Event, Progress, Source};

/// Bytes of target looked up together.
const PIECE: u64 = 64 << 10;

/// How far around a piece matches count, and around their source, in bytes.
const REACH: u64 = 32 << 10;

/// Most bytes of source that one piece is looked up in: half of a core's second-level cache.
const WINDOW_MAX: u64 = 1 << 20;

/// Length of a seed, in bytes.
const SEED: usize = 8;

/// Most places tried for a seed, latest first.
const TRIES: usize = 12;

/// A match must explain this many bytes more than the last diagonal does.
const GAIN: usize = 8;

/// Bytes that agree on the last diagonal and are passed without a look elsewhere.
const PASS: usize = 16;

/// Short matches of the stretches of the target, given longer `matches`, all in target order.
pub(super) fn find(
    source: &dyn Source,
    target: &dyn Source,
    stretches: &[SourceRange],
    matches: &[Segment],
    progress: Progress,
) -> Result<Vec<Segment>, DiffError> {
    let longest = matches.iter().map(|segment| segment.len).filter(|len| *len < PIECE).max();
    let pieces = gaps::parts(stretches, PIECE);
    let found: Vec<_> = pieces
        .par_iter()
        .with_max_len(1)
        .map_init(Chains::default, |chains, ranges| {
            let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
                return Ok(Vec::new());
            };
            let around = (first.offset.saturating_sub(REACH), last.end() + REACH);
            let reach = longest.unwrap_or(0).max(PIECE);
            let from = matches.partition_point(|m| m.target + reach <= around.0);
            let to = matches.partition_point(|m| m.target < around.1);
            let windows = windows(&matches[from..to], around, source.size());
            let source = Joined::read(source, &windows, DiffError::Source)?;
            let target = Joined::read(target, ranges, DiffError::Target)?;
            progress(Event::Advance(target.bytes.len() as u64));
            Ok(scan(chains, &source, &target))
        })
        .collect::<Result<_, DiffError>>()?;
    Ok(found.concat())
}

/// The parts of the source that the matches point to, widened, joined, at most [`WINDOW_MAX`].
fn windows(matches: &[Segment], around: (u64, u64), source_size: u64) -> Vec<SourceRange> {
    let mut windows = Vec::new();
    let mut len = 0;
    for segment in matches {
        let From::Source { diagonal } = segment.from else { continue };
        let start = segment.target.max(around.0);
        let end = segment.end().min(around.1);
        let start = start.saturating_add_signed(diagonal).saturating_sub(REACH / 8);
        let end = (end.saturating_add_signed(diagonal) + REACH / 8).min(source_size);
        if start < end && len < WINDOW_MAX {
            len += end - start;
            windows.push(SourceRange { offset: start, len: end - start });
        }
    }
    windows.sort_unstable();
    windows.dedup_by(|next, last| {
        let joined = next.offset <= last.end();
        if joined {
            last.len = last.len.max(next.end() - last.offset);
        }
        joined
    });
    windows
}

/// The places of each seed of the source, latest first. Its memory is used again for each piece.
#[derive(Default)]
struct Chains {
    heads: Vec<u32>,
    before: Vec<u32>,
    shift: u32,
}

impl Chains {
    fn fill(&mut self, bytes: &[u8]) {
        let log2 = bytes.len().next_power_of_two().trailing_zeros().clamp(8, 17);
        self.shift = u64::BITS - log2;
        self.heads.clear();
        self.heads.resize(1 << log2, u32::MAX);
        // What stood here belonged to the last piece: no head leads there.
        self.before.resize(bytes.len().max(self.before.len()), u32::MAX);
        for (at, seed) in bytes.windows(SEED).enumerate() {
            let slot = self.slot(seed);
            self.before[at] = self.heads[slot];
            self.heads[slot] = u32::try_from(at).expect("windows are far below 4 GiB");
        }
    }

    fn slot(&self, bytes: &[u8]) -> usize {
        let word = u64::from_le_bytes(*bytes.first_chunk().expect("a whole seed"));
        let slot = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        usize::try_from(slot).expect("a slot of a table in memory")
    }

    /// The longest match of `target` among the places tried: where, and how long.
    fn longest(&self, source: &[u8], target: &[u8]) -> Option<(usize, usize)> {
        let mut place = self.heads[self.slot(target)];
        let mut best = None;
        for _ in 0..TRIES {
            if place == u32::MAX {
                break;
            }
            let from = place as usize;
            place = self.before[from];
            // A longer one agrees at the byte behind the longest, too.
            let longest: usize = best.map_or(0, |(_, len)| len);
            if source.get(from + longest) != target.get(longest) {
                continue;
            }
            let len = common_prefix(&source[from..], target);
            if best.is_none() || len > longest {
                best = Some((from, len));
            }
        }
        best
    }
}

fn scan(chains: &mut Chains, source: &Joined, target: &Joined) -> Vec<Segment> {
    chains.fill(&source.bytes);
    let (from, bytes) = (&source.bytes[..], &target.bytes[..]);
    let mut out = Vec::new();
    let mut last: Option<usize> = None;
    let mut at = 0;
    while at + SEED <= bytes.len() {
        let on_last = last.and_then(|shift| from.get(at.wrapping_add(shift)..)).unwrap_or(&[]);
        let agreeing = common_prefix(on_last, &bytes[at..]);
        if agreeing >= PASS {
            at += agreeing;
            continue;
        }
        if let Some((place, len)) = chains.longest(from, &bytes[at..]) {
            let pairs = on_last.iter().zip(&bytes[at..at + len]);
            let explained = pairs.filter(|(a, b)| a == b).count();
            if len > explained + GAIN || (len == explained && len > 0) {
                if len > explained {
                    target.segments(at, source, place, len, &mut out);
                    last = Some(place.wrapping_sub(at));
                }
                at += len;
                continue;
            }
        }
        at += 1;
    }
    out
}
