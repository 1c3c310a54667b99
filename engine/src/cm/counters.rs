//! What was seen in a context: chances that adapt, and histories of bits.

use super::ahead::fetch;
use super::squash::{squash, stretch};

/// A chance that adapts: 22 bits of chance above 10 bits of count.
pub(super) type Chance = u32;

/// A half, never seen.
pub(super) const CHANCE_NEW: Chance = 1 << 31;

/// The chance in 65536ths.
#[inline]
pub(super) fn chance16(chance: Chance) -> u32 {
    chance >> 16
}

/// Moves a chance towards `bit` by one part in `count + 1.5`, `count` up to [`COUNT_MAX`].
#[inline]
pub(super) fn learn(chance: &mut Chance, bit: bool) {
    let count = *chance & COUNT_MAX;
    let aim = if bit { 4_194_303_i64 } else { 0 };
    let part = i64::from(RECIPROCALS[count as usize]);
    let step = ((aim - i64::from(*chance >> 10)) * part) >> 16;
    // Its sum with the chance is between the chance and its aim, whatever the sign.
    let step = u32::try_from(step.cast_unsigned() & 0x3f_ffff).unwrap_or(0);
    *chance = chance.wrapping_add(step << 10) + u32::from(count < COUNT_MAX);
}

/// Counts are no higher, though there are bits for 1023.
const COUNT_MAX: u32 = 255;

/// `65536 / (count + 1.5)`.
#[expect(clippy::cast_possible_truncation, reason = "at most two thirds of 65536")]
static RECIPROCALS: [u16; COUNT_MAX as usize + 1] = {
    let mut table = [0; COUNT_MAX as usize + 1];
    let mut count = 0;
    while count < table.len() {
        table[count] = (131_072 / (2 * count + 3)) as u16;
        count += 1;
    }
    table
};

/// A history of bits in one byte: the last six bits, or a run of 7 to 70 equal bits.
///
/// | state       | history                                                        |
/// |-------------|----------------------------------------------------------------|
/// | 0 ..= 126   | `k` bits, `k` up to 6: `2^k - 1` plus the bits, oldest on top   |
/// | 127 ..= 190 | 7 to 70 clear bits                                             |
/// | 191 ..= 254 | 7 to 70 set bits                                               |
pub(super) type History = u8;

/// The state behind each state, for a clear and for a set bit.
static NEXT: [[History; 2]; 256] = {
    let mut table = [[0; 2]; 256];
    let mut state = 0;
    while state < 255 {
        let mut bit = 0;
        while bit < 2 {
            table[state][bit] = next(state, bit);
            bit += 1;
        }
        state += 1;
    }
    table
};

#[expect(clippy::cast_possible_truncation, reason = "states are less than 255")]
const fn next(state: usize, bit: usize) -> u8 {
    let next = match (state, bit) {
        (63, 0) => 127,
        (126, 1) => 191,
        // Half of the histories of up to five bits lie below; one more bit doubles.
        (0..63, _) => 2 * state + 1 + bit,
        (63..127, _) => 63 + ((2 * (state - 63) + bit) & 63),
        (127..190, 0) | (191..254, 1) => state + 1,
        (190, 0) | (254, 1) => state,
        // A run is broken: five bits of it and the one that broke it.
        (..=190, _) => 64,
        _ => 125,
    };
    next as u8
}

/// A history with one more bit.
#[inline]
pub(super) fn pushed(history: History, bit: bool) -> History {
    NEXT[usize::from(history)][usize::from(bit)]
}

/// How many bits a history stands for: what has seen less is given up first.
#[inline]
pub(super) fn seen(history: History) -> u8 {
    WEIGHTS[usize::from(history)]
}

const fn weight(state: History) -> u8 {
    match state {
        0..127 => (state + 1).ilog2().to_le_bytes()[0],
        127..191 => state - 120,
        _ => state - 184,
    }
}

static WEIGHTS: [u8; 256] = {
    let mut table = [0; 256];
    let mut state = 0;
    while state < 255 {
        table[state as usize] = weight(state);
        state += 1;
    }
    table
};

/// What came of each history in one context: chances, and their logits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcomes {
    chances: [Chance; 256],
    /// That of an empty history is 0 for good.
    logits: [i16; 256],
}

impl Outcomes {
    pub(super) fn new() -> Self {
        let mut logits = [stretch(chance16(CHANCE_NEW)); 256];
        logits[0] = 0;
        Self { chances: [CHANCE_NEW; 256], logits }
    }

    #[inline]
    pub(super) fn logit(&self, history: History) -> i16 {
        self.logits[usize::from(history)]
    }

    #[inline]
    pub(super) fn learn(&mut self, history: History, bit: bool) {
        let history = usize::from(history);
        let chance = &mut self.chances[history];
        learn(chance, bit);
        self.logits[history] = stretch(chance16(*chance));
        // Cheaper than to ask whether it was this one.
        self.logits[0] = 0;
    }
}

/// Refines a chance by what came of such chances in a context: an adaptive map of 33 steps.
#[derive(Debug)]
pub(super) struct Refiner<const SETS: usize> {
    steps: Box<[[u16; 33]; SETS]>,
}

/// Where a logit lies on the map: between this step and the next, and how far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    index: usize,
    part: u32,
}

impl Place {
    #[inline]
    pub(super) fn of(logit: i32) -> Self {
        let place = (logit + 16 * 176).clamp(0, 32 * 176 - 1).unsigned_abs();
        Self { index: (place / 176) as usize, part: place % 176 }
    }
}

impl<const SETS: usize> Refiner<SETS> {
    /// A map for each context.
    pub(super) fn new() -> Self {
        const { assert!(SETS.is_power_of_two(), "sets are chosen by a mask") };
        let mut steps = [0; 33];
        for (index, step) in (0_i32..).zip(&mut steps) {
            let chance = squash((index - 16) * 176);
            *step = u16::try_from(chance).expect("a chance is below 65536");
        }
        let steps = vec![steps; SETS].into_boxed_slice().try_into();
        Self { steps: steps.expect("as many as were made") }
    }

    /// Brings the map of a context into the cache.
    #[inline]
    pub(super) fn fetch(&self, context: usize) {
        fetch(&self.steps[context & (SETS - 1)][16]);
    }

    /// The chance that came of chances of this place in this context.
    #[inline]
    pub(super) fn refine(&self, Place { index, part }: Place, context: usize) -> u32 {
        let steps = &self.steps[context & (SETS - 1)];
        let (low, high) = (u32::from(steps[index]), u32::from(steps[index + 1]));
        (low * (176 - part) + high * part) / 176
    }

    /// Moves the nearer step towards `bit`.
    #[inline]
    pub(super) fn learn(&mut self, Place { index, part }: Place, context: usize, bit: bool) {
        let nearer = index + usize::from(part >= 88);
        let step = &mut self.steps[context & (SETS - 1)][nearer];
        // Without a branch: nobody foretells bits that are coded.
        let ones = if bit { u16::MAX } else { 0 };
        *step = ((*step ^ ones) - ((*step ^ ones) >> 6)) ^ ones;
    }
}
