//! Near matches in linear time: short exact seeds, grown along their diagonal through differences.
//!
//! Seeds of the joined source go into a table, one place a slot; the target looks its bytes up and
//! grows each hit as long as most bytes agree. This finds what was moved or patched here and
//! there, and leaves little for what looks closer.

use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use rayon::prelude::*;

use super::DiffError;
use super::agreement;
use super::gaps::{self, Joined};
use super::segment::Segment;
use crate::format::SourceRange;
use crate::io::{Event, Progress, Source};

/// How fine the seeds are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grain {
    /// Length of a seed, in bytes, at least eight.
    pub(super) seed: usize,
    /// Every how many bytes the source is entered into the table.
    pub(super) step: usize,
    /// Shortest match that counts, in bytes that agree less those that do not.
    pub(super) score_min: i64,
}

impl Grain {
    /// For whole files that moved or changed little; chance hits in code are rare.
    pub(super) const COARSE: Self = Self { seed: 24, step: 8, score_min: 32 };
    /// For what is left over then.
    pub(super) const FINE: Self = Self { seed: 12, step: 4, score_min: 12 };
}

/// Most bytes of source to look up at once within `memory` bytes: themselves, and up to twice four
/// bytes for every `step` of them.
pub(super) fn source_len_max(memory: u64, grain: Grain) -> u64 {
    memory / 2 * grain.step as u64 / (grain.step as u64 + 8)
}

/// When to give up growing a match: a byte that agrees gains a point.
#[derive(Clone, Copy)]
struct Rule {
    /// What a byte that does not agree costs.
    miss: i64,
    /// How many points below its best a match is given up.
    drop: i64,
}

/// What counts as found, and need not be looked up again.
const STRICT: Rule = Rule { miss: 3, drop: 96 };

/// What the parse may use: tables of addresses agree in little more than half of their bytes.
const WIDE: Rule = Rule { miss: 1, drop: 1024 };

/// Least score of a match that is widened.
const WIDE_SCORE_MIN: i64 = 64;

/// Furthest that a match is widened each way, in bytes.
const WIDE_MAX: usize = 256 << 10;

/// Matches, as found and as far as the parse may use them.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Matches in which most bytes agree, in target order.
    pub(super) strict: Vec<Segment>,
    /// The same widened, where that differs.
    pub(super) wide: Vec<Segment>,
    /// Where in strict ones so few bytes differ that no short match could explain more.
    pub(super) clear: Vec<Segment>,
}

/// Most bytes of a word that differ where a match is clear.
const CLEAR_MISSES: u32 = 3;

/// Bytes of target that one task takes.
const TASK: u64 = 4 << 20;

/// Seeds that one task enters into the table.
const FILL: usize = 1 << 18;

/// Places in the joined source by the hash of the seed there. The bits of a slot that a place does
/// not need are a check of the seed: most other seeds are told apart without a look at the source.
struct SeedTable {
    slots: Vec<AtomicU32>,
    shift: u32,
    grain: Grain,
    check_bits: u32,
}

/// No seed has this slot.
const EMPTY: u32 = u32::MAX;

impl SeedTable {
    fn new(bytes: &[u8], grain: Grain) -> Self {
        let places = bytes.len() / grain.step + 1;
        let log2 = (places - 1).next_power_of_two().trailing_zeros().max(8);
        // All ones is not the last place but `EMPTY`.
        let place_bits = usize::BITS - places.leading_zeros();
        let check_bits = u32::BITS.checked_sub(place_bits).expect("joined images are below 4 GiB");
        let slots = (0..1_usize << log2).into_par_iter().map(|_| AtomicU32::new(EMPTY));
        let table = Self { slots: slots.collect(), shift: u64::BITS - log2, grain, check_bits };
        let starts = bytes.len().saturating_sub(grain.seed - 1).div_ceil(grain.step);
        let tasks = (0..starts).into_par_iter().step_by(FILL);
        tasks.for_each(|first| table.fill(bytes, first..(first + FILL).min(starts)));
        table
    }

    /// Enters seeds by number. Of those with one slot the first in the source stays, whichever
    /// thread comes first.
    fn fill(&self, bytes: &[u8], seeds: Range<usize>) {
        for first in seeds.clone().step_by(BATCH) {
            let mut entries = [(0, EMPTY); BATCH];
            for (entry, seed) in entries.iter_mut().zip(first..seeds.end) {
                let (slot, check) = self.slot(&bytes[seed * self.grain.step..]);
                let seed = u32::try_from(seed).expect("places have fewer bits than a slot");
                *entry = (slot, seed << self.check_bits | check);
            }
            // Waits for all slots at the same time.
            let known = entries.map(|(slot, _)| self.slots[slot].load(Relaxed));
            for ((slot, entry), known) in entries.into_iter().zip(known) {
                if entry < known {
                    self.slots[slot].fetch_min(entry, Relaxed);
                }
            }
        }
    }

    /// The slot of a seed, and its check.
    fn slot(&self, seed: &[u8]) -> (usize, u32) {
        let word = |i: usize| u64::from_le_bytes(*seed[i..].first_chunk().expect("a whole seed"));
        let last = self.grain.seed - 8;
        let hash = (word(0).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            ^ (word(last / 2).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)).rotate_left(23)
            ^ (word(last).wrapping_mul(0x1656_67b1_9e37_79f9)).rotate_left(41);
        let hash = hash.wrapping_mul(0x9fb2_1c65_1e98_df25);
        let slot = usize::try_from(hash >> self.shift).expect("a slot of a table in memory");
        // The bits behind those of the slot.
        let [a, b, c, d, ..] = (hash << (u64::BITS - self.shift)).to_be_bytes();
        let check = u32::from_be_bytes([a, b, c, d]).checked_shr(u32::BITS - self.check_bits);
        (slot, check.unwrap_or(0))
    }

    /// The place that a slot holds, if it has this check.
    fn place(&self, slot: usize, check: u32) -> Option<usize> {
        let entry = self.slots[slot].load(Relaxed);
        let same = entry & !(u32::MAX << self.check_bits) == check && entry != EMPTY;
        same.then(|| (entry >> self.check_bits) as usize * self.grain.step)
    }
}

/// Near matches of the given stretches of the target in the joined source, in target order.
///
/// Every stretch is shorter than memory allows by far: they are cut to [`TASK`].
pub(super) fn find(
    source: &Joined,
    target: &dyn Source,
    stretches: &[SourceRange],
    grain: Grain,
    progress: Progress,
) -> Result<Found, DiffError> {
    let table = SeedTable::new(&source.bytes, grain);
    let tasks = gaps::parts(stretches, TASK);
    let found: Vec<_> = tasks
        .par_iter()
        .with_max_len(1)
        .map(|ranges| {
            let target = Joined::read(target, ranges, DiffError::Target)?;
            let found = scan(&table, source, &target, grain);
            progress(Event::Advance(target.bytes.len() as u64));
            Ok(found)
        })
        .collect::<Result<_, DiffError>>()?;
    let mut all = Found::default();
    for found in found {
        all.strict.extend(found.strict);
        all.wide.extend(found.wide);
        all.clear.extend(found.clear);
    }
    Ok(all)
}

/// How many places are looked up at once.
const BATCH: usize = 16;

/// Places of the source that agree with the next bytes of the target. Looked up one by one, each
/// would wait for memory; looked up together, they wait at the same time.
#[derive(Default)]
struct Hits {
    from: usize,
    count: usize,
    places: [Option<usize>; BATCH],
}

impl Hits {
    /// The place for byte `at` of the target, where a seed starts. Only some of its bytes are
    /// compared yet.
    fn at(&mut self, at: usize, table: &SeedTable, source: &[u8], target: &[u8]) -> Option<usize> {
        if at < self.from || at >= self.from + self.count {
            self.look_up(at, table, source, target);
        }
        self.places[at - self.from]
    }

    fn look_up(&mut self, at: usize, table: &SeedTable, source: &[u8], target: &[u8]) {
        self.from = at;
        let seeds = target[at..].windows(table.grain.seed).take(BATCH);
        self.count = seeds.len();
        for (place, seed) in self.places.iter_mut().zip(seeds.clone()) {
            let (slot, check) = table.slot(seed);
            *place = table.place(slot, check);
        }
        for (place, seed) in self.places.iter_mut().zip(seeds) {
            let agrees = |from: &usize| source[*from..].first_chunk::<8>() == seed.first_chunk();
            *place = place.filter(agrees);
        }
    }
}

fn scan(table: &SeedTable, source: &Joined, target: &Joined, grain: Grain) -> Found {
    let mut found = Found::default();
    let bytes = &target.bytes;
    let mut at = 0;
    let mut free = 0;
    // Shift between the two joined images at the last match.
    let mut last: Option<usize> = None;
    // The shift of the last match that was widened, and up to where.
    let mut widened: (Option<usize>, usize) = (None, 0);
    let mut hits = Hits::default();
    while at + grain.seed <= bytes.len() {
        let hit = hits.at(at, table, &source.bytes, bytes);
        let next = last.map(|shift| at.wrapping_add(shift));
        let mut best: Option<(usize, usize, usize, i64)> = None;
        for from in next.into_iter().chain(hit) {
            if from + grain.seed > source.bytes.len()
                || source.bytes[from..from + grain.seed] != bytes[at..at + grain.seed]
            {
                continue;
            }
            let (back, ahead, score) = grow(&source.bytes, from, bytes, at, free);
            if score >= grain.score_min && best.is_none_or(|(_, b, a, _)| back + ahead > b + a + 64)
            {
                best = Some((from, back, ahead, score));
            }
        }
        let Some((from, back, ahead, score)) = best else {
            at += 1;
            continue;
        };
        target.segments(at - back, source, from - back, back + ahead, &mut found.strict);
        clear(source, target, from - back, at - back, back + ahead, &mut found.clear);
        let shift = from.wrapping_sub(at);
        let (wide_back, wide_ahead) =
            if score < WIDE_SCORE_MIN || (widened.0 == Some(shift) && at + ahead <= widened.1) {
                // Too little, or what was widened before along the same diagonal covers it.
                (0, 0)
            } else {
                widen(&source.bytes, from - back, bytes, at - back, back + ahead)
            };
        if wide_back + wide_ahead > back + ahead {
            let (start, from) = (at - back - wide_back, from - back - wide_back);
            target.segments(start, source, from, wide_back + wide_ahead, &mut found.wide);
        }
        if wide_ahead > 0 {
            widened = (Some(shift), at - back + wide_ahead);
        }
        last = Some(shift);
        at += ahead;
        free = at;
    }
    found
}

/// Adds where a match is clear, word by word.
fn clear(
    source: &Joined,
    target: &Joined,
    from: usize,
    at: usize,
    len: usize,
    out: &mut Vec<Segment>,
) {
    let (ours, theirs) = (&target.bytes[at..at + len], &source.bytes[from..from + len]);
    let mut words = ours.chunks_exact(WORD).zip(theirs.chunks_exact(WORD));
    let mut place = 0;
    while place + WORD <= len {
        let is_clear =
            |(a, b): &(&[u8], &[u8])| agreement::word(a, b).count_zeros() <= CLEAR_MISSES;
        let run = words.by_ref().take_while(is_clear).count() * WORD;
        target.segments(at + place, source, from + place, run, out);
        // Behind the run is a word that is not clear, or none.
        place += run + WORD;
    }
}

/// How far a match of `len` bytes reaches back of its start and ahead of it, as long as about half
/// of the bytes agree.
fn widen(source: &[u8], from: usize, target: &[u8], at: usize, len: usize) -> (usize, usize) {
    let most = |bytes: &[u8]| bytes.len().min(WIDE_MAX);
    let (source_ahead, target_ahead) = (&source[from + len..], &target[at + len..]);
    let (source_back, target_back) = (&source[..from], &target[..at]);
    let ahead = Reach::ahead(
        &source_ahead[..most(source_ahead)],
        &target_ahead[..most(target_ahead)],
        WIDE,
    );
    let back = Reach::back(
        &source_back[from - most(source_back)..],
        &target_back[at - most(target_back)..],
        WIDE,
    );
    (back.len, len + ahead.len)
}

/// How far a match reaches back and ahead, and its score.
fn grow(source: &[u8], from: usize, target: &[u8], at: usize, free: usize) -> (usize, usize, i64) {
    let ahead = Reach::ahead(&source[from..], &target[at..], STRICT);
    let back = Reach::back(&source[..from], &target[free..at], STRICT);
    (back.len, ahead.len, ahead.score + back.score)
}

/// The best front of two stretches, or the best back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Reach {
    len: usize,
    score: i64,
}

impl Reach {
    /// Both read forwards.
    fn ahead(source: &[u8], target: &[u8], rule: Rule) -> Self {
        let words = source.chunks(WORD).zip(target.chunks(WORD));
        Self::of(words.map(|(a, b)| (agreement::word(a, b), a.len().min(b.len()))), rule)
    }

    /// Both read backwards.
    fn back(source: &[u8], target: &[u8], rule: Rule) -> Self {
        let words = source.rchunks(WORD).zip(target.rchunks(WORD)).map(|(a, b)| {
            let len = a.len().min(b.len());
            let bits = agreement::word(&a[a.len() - len..], &b[b.len() - len..]);
            (bits.reverse_bits() >> (WORD - len), len)
        });
        Self::of(words, rule)
    }

    /// Of words with a bit for each byte that agrees, the first ones lowest, each of up to so many.
    fn of(words: impl Iterator<Item = (u64, usize)>, rule: Rule) -> Self {
        let (mut best, mut score, mut len) = (Self::default(), 0, 0);
        for (mut bits, count) in words {
            let end = len + count;
            while len < end {
                // Bytes that agree, then bytes that do not.
                let run = (bits.trailing_ones() as usize).min(end - len);
                (len, score) = (len + run, score + run as i64);
                if score > best.score {
                    best = Self { len, score };
                }
                bits = bits.checked_shr(in_word(run)).unwrap_or(0);
                let run = (bits.trailing_zeros() as usize).min(end - len);
                (len, score) = (len + run, score - run as i64 * rule.miss);
                if score < best.score - rule.drop {
                    return best;
                }
                bits = bits.checked_shr(in_word(run)).unwrap_or(0);
            }
        }
        best
    }
}

/// Bytes that are compared at once.
const WORD: usize = 64;

/// Shifts within a word.
fn in_word(len: usize) -> u32 {
    u32::try_from(len).expect("a word has 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_the_first_place_of_a_seed_on_any_number_of_threads() {
        // Every seed has four places, which several tasks enter.
        let part: Vec<u8> =
            (0_u32..1 << 18).flat_map(|i| i.wrapping_mul(0x9e37_79b1).to_be_bytes()).collect();
        let bytes = [&part[..]; 4].concat();
        for grain in [Grain::COARSE, Grain::FINE] {
            let table = SeedTable::new(&bytes, grain);
            let mut found = 0;
            for at in (0..part.len() - grain.seed).step_by(grain.step) {
                let (slot, check) = table.slot(&bytes[at..]);
                let place = table.place(slot, check);
                // Another seed may have the slot, but only one before it.
                assert!(
                    table.slots[slot].load(Relaxed) >> table.check_bits
                        <= u32::try_from(at / grain.step).expect("small")
                );
                found += usize::from(place == Some(at));
            }
            assert!(found * 2 > part.len() / grain.step, "{found} places were kept");
        }
    }
}
