//! What seeds did not find: the longest match of every eight bytes, from anywhere in what is left
//! of the source.
//!
//! The rule is that of bsdiff (C. Percival, 2003): another diagonal is taken where it explains
//! clearly more bytes than the last one does, and each match reaches as far as more than half of
//! the bytes agree. Places are looked up in chains of equal seeds, as compressors do, which takes
//! a tenth of the time that sorting all suffixes does and searching them.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::DiffError;
use super::gaps::{Joined, parts};
use super::segment::{Segment, common_prefix};
use crate::format::SourceRange;
use crate::io::{Event, Progress, Source};

/// Bytes of the joined target that one scan takes; scans run in parallel.
const SCAN: usize = 1 << 20;

/// Memory per byte of a joined source that is matched at once: itself, its place and the one
/// before it in a chain, and up to one start of a chain.
const MEMORY_FACTOR: u64 = 13;

/// Length of a seed, in bytes.
const SEED: usize = 8;

/// Most bits of the set of wanted seeds, as a power of two: 16 MiB of memory.
const WANTED_LOG2_MAX: u32 = 27;

/// Most places tried for a seed, latest first. On two executables 256 made patches 0.2 % smaller
/// than 32, and took twice the time.
const TRIES: usize = 64;

/// A match of this many bytes is long enough, whatever else there is.
const LEN_ENOUGH: usize = 512;

/// Bytes behind matches that decide between equally long ones.
const BEHIND: usize = 64;

/// A match must explain this many bytes more than the last diagonal does: less than bsdiff's 8,
/// since here the parse drops what does not pay.
const GAIN: usize = 5;

/// Bytes that agree on the last diagonal and are passed without a look elsewhere.
const PASS: usize = 24;

/// Blocks judged for being compressed already, in bytes.
const BLOCK: usize = 4096;

/// Matches of the given stretches of the target in stretches of the source; not in order.
///
/// The source is taken in parts that fit `memory` bytes with their chains, the target in scans of
/// one size, so that the result does not depend on the number of threads.
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
        for sources in parts(&source_stretches, memory / MEMORY_FACTOR / 2) {
            let source = Joined::read(source, &sources, DiffError::Source)?;
            found.extend(matches(&source, &target));
        }
        progress(Event::Advance(target.bytes.len() as u64));
    }
    Ok(found)
}

fn matches(source: &Joined, target: &Joined) -> Vec<Segment> {
    let chains = Chains::new(&source.bytes, &target.bytes);
    let scans: Vec<usize> = (0..target.bytes.len()).step_by(SCAN).collect();
    let found = scans.into_par_iter().flat_map_iter(|start| {
        let end = (start + SCAN).min(target.bytes.len());
        let mut segments = Vec::new();
        for (place, len) in chains.scan(&source.bytes, &target.bytes[start..end]) {
            target.segments(start + place.at, source, place.from, len, &mut segments);
        }
        segments
    });
    found.collect()
}

/// A byte of the target and the byte of the source it matches.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    from: usize,
}

/// The places of each seed of the source that the target may have, too, latest first.
struct Chains {
    /// For each slot the latest of its places, as a number in `places`.
    heads: Vec<u32>,
    /// For each place the one before it in its slot, as a number in `places`.
    before: Vec<u32>,
    places: Vec<u32>,
    shift: u32,
}

/// The end of a chain.
const NONE: u32 = u32::MAX;

impl Chains {
    fn new(source: &[u8], target: &[u8]) -> Self {
        let wanted = Wanted::new(target);
        let starts: Vec<usize> = (0..source.len()).step_by(SCAN).collect();
        let places = starts.into_par_iter().flat_map_iter(|start| wanted.places(source, start));
        let places: Vec<u32> = places.collect();
        let log2 = places.len().max(1).ilog2().max(8);
        let mut chains = Self {
            heads: vec![NONE; 1 << log2],
            before: vec![NONE; places.len()],
            places,
            shift: u64::BITS - log2,
        };
        for number in 0..chains.places.len() {
            let slot = chains.slot(&source[chains.places[number] as usize..]);
            chains.before[number] = chains.heads[slot];
            chains.heads[slot] = u32::try_from(number).expect("joined images are below 4 GiB");
        }
        chains
    }

    fn slot(&self, seed: &[u8]) -> usize {
        usize::try_from(hash(seed) >> self.shift).expect("a slot of a table in memory")
    }

    /// The longest match of `target` among the places tried, the latest of which has this number:
    /// where, and how long. Of equally long ones that behind which most agrees, then that nearest
    /// to `next`.
    fn longest(
        &self,
        mut number: u32,
        source: &[u8],
        target: &[u8],
        next: usize,
    ) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        // What the best one is worth among equals, once there are any.
        let mut worth = None;
        for _ in 0..TRIES {
            if number == NONE {
                break;
            }
            let from = self.places[number as usize] as usize;
            number = self.before[number as usize];
            let longest = best.map_or(SEED, |(_, len)| len);
            if source.get(from + longest - 1) != target.get(longest - 1) {
                continue;
            }
            let len = common_prefix(&source[from..], target);
            let of = |from: usize| {
                let behind = source[from..].iter().zip(target).skip(len).take(BEHIND);
                (behind.filter(|(a, b)| a == b).count(), Reverse(from.abs_diff(next)))
            };
            match best {
                Some((last, _)) if len == longest => {
                    let here = of(from);
                    if here > *worth.get_or_insert_with(|| of(last)) {
                        (best, worth) = (Some((from, len)), Some(here));
                    }
                }
                _ if len >= longest => (best, worth) = (Some((from, len)), None),
                _ => {}
            }
            if len >= LEN_ENOUGH {
                break;
            }
        }
        best
    }

    /// Matches of the target, in order, each with its length; they may overlap.
    fn scan(&self, source: &[u8], target: &[u8]) -> Vec<(Place, usize)> {
        let mut out = Vec::new();
        let mut last: Option<Place> = None;
        let mut latest = Latest::default();
        let mut at = 0;
        while at + SEED <= target.len() {
            let next = last.map_or(at, |last| at - last.at + last.from);
            let on_last = last.and_then(|_| source.get(next..)).unwrap_or(&[]);
            let agreeing = common_prefix(on_last, &target[at..]);
            if agreeing >= PASS {
                at += agreeing;
                continue;
            }
            let latest = latest.of(at, self, source, target);
            let longest = self.longest(latest, source, &target[at..], next);
            let (from, len) = longest.unwrap_or((0, 0));
            let pairs = on_last.iter().zip(&target[at..at + len]);
            let explained = pairs.filter(|(a, b)| a == b).count();
            if len > explained + GAIN {
                out.extend(last.map(|last| (last, last.ahead(source, &target[..at]))));
                let free = last.map_or(0, |last| last.at);
                let back = Place { at, from }.back(source, &target[free..at]);
                last = Some(Place { at: at - back, from: from - back });
            }
            let is_explained = len > 0 && (len > explained + GAIN || len == explained);
            at += if is_explained { len } else { 1 };
        }
        out.extend(last.map(|last| (last, last.ahead(source, target))));
        out
    }
}

/// How many places are looked up at once.
const BATCH: usize = 16;

/// Latest places, as numbers, of the seeds from a byte of the target on. Looked up one by one, each
/// would wait for memory; looked up together, they wait at the same time.
#[derive(Default)]
struct Latest {
    from: usize,
    count: usize,
    numbers: [u32; BATCH],
}

impl Latest {
    /// The latest place of the seed at byte `at` of the target.
    fn of(&mut self, at: usize, chains: &Chains, source: &[u8], target: &[u8]) -> u32 {
        if at < self.from || at >= self.from + self.count {
            self.look_up(at, chains, source, target);
        }
        self.numbers[at - self.from]
    }

    fn look_up(&mut self, at: usize, chains: &Chains, source: &[u8], target: &[u8]) {
        self.from = at;
        let seeds = target[at..].windows(SEED).take(BATCH);
        self.count = seeds.len();
        for (number, seed) in self.numbers.iter_mut().zip(seeds.clone()) {
            *number = chains.heads[chains.slot(seed)];
        }
        let from = self.numbers.map(|number| chains.places.get(number as usize).copied());
        for ((number, from), seed) in self.numbers.iter_mut().zip(from).zip(seeds) {
            // Of another seed with the same slot: the place before it.
            if from.is_some_and(|from| !source[from as usize..].starts_with(seed)) {
                *number = chains.before[*number as usize];
            }
        }
    }
}

fn hash(seed: &[u8]) -> u64 {
    let word = u64::from_le_bytes(*seed.first_chunk().expect("a whole seed"));
    (word ^ word >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The seeds of the target as a set that may hold others, too: small enough to stay in a cache.
struct Wanted {
    bits: Vec<u64>,
    shift: u32,
}

impl Wanted {
    fn new(target: &[u8]) -> Self {
        // Sixteen bits for a seed: few are set by others.
        let log2 = (target.len().max(1).ilog2() + 4).clamp(u64::BITS.ilog2(), WANTED_LOG2_MAX);
        let words = 1 << (log2 - u64::BITS.ilog2());
        let mut wanted = Self { bits: vec![0; words], shift: u64::BITS - log2 };
        for seed in target.windows(SEED) {
            let (word, bit) = wanted.place(seed);
            wanted.bits[word] |= bit;
        }
        wanted
    }

    fn place(&self, seed: &[u8]) -> (usize, u64) {
        let bit = hash(seed) >> self.shift;
        (usize::try_from(bit / 64).expect("a table in memory"), 1 << (bit % 64))
    }

    /// The places of the source from `start` on whose seeds are wanted, of one scan.
    fn places<'a>(&'a self, source: &'a [u8], start: usize) -> impl Iterator<Item = u32> + 'a {
        let end = (start + SCAN + SEED - 1).min(source.len());
        let seeds = (start..).zip(source[start..end].windows(SEED));
        seeds.filter_map(|(at, seed)| {
            let (word, bit) = self.place(seed);
            let place = u32::try_from(at).expect("joined images are below 4 GiB");
            (self.bits[word] & bit != 0).then_some(place)
        })
    }
}

impl Place {
    /// How far the match reaches ahead, up to the target's end.
    fn ahead(self, source: &[u8], target: &[u8]) -> usize {
        reach(source[self.from..].iter().zip(&target[self.at..]))
    }

    /// How far the match reaches back over the `free` bytes of the target in front of it.
    fn back(self, source: &[u8], free: &[u8]) -> usize {
        reach(source[..self.from].iter().rev().zip(free.iter().rev()))
    }
}

/// Up to where the pairs that agree outnumber the others the most.
fn reach<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    let (mut score, mut best) = (0_i64, (0_i64, 0));
    for (len, (a, b)) in (1..).zip(pairs) {
        score += if a == b { 1 } else { -1 };
        if score > best.0 {
            best = (score, len);
        }
    }
    best.1
}

/// Leaves out whole blocks that are compressed already: matches shorter than a seed do not pay
/// there, and longer ones have been found.
fn compressible(
    image: &dyn Source,
    stretches: &[SourceRange],
    failed: fn(crate::io::Error) -> DiffError,
) -> Result<Vec<SourceRange>, DiffError> {
    let kept = parts(stretches, SCAN as u64).into_par_iter().map(|ranges| {
        let joined = Joined::read(image, &ranges, failed)?;
        let mut bytes = &joined.bytes[..];
        let mut kept: Vec<SourceRange> = Vec::new();
        for range in ranges {
            for offset in (range.offset..range.end()).step_by(BLOCK) {
                let len = (BLOCK as u64).min(range.end() - offset);
                let (block, behind) = bytes.split_at(usize::try_from(len).expect("a block"));
                bytes = behind;
                if block.len() < BLOCK || !looks_random(block) {
                    kept.push(SourceRange { offset, len });
                }
            }
        }
        Ok(kept)
    });
    let mut kept: Vec<SourceRange> = kept.collect::<Result<Vec<_>, DiffError>>()?.concat();
    kept.dedup_by(|next, last| {
        let joined = last.end() == next.offset;
        if joined {
            last.len += next.len;
        }
        joined
    });
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
