//! What was seen in a context: chances that adapt, and histories of bits in a hashed table.

use super::squash::Stretch;

/// A chance that adapts: 22 bits of chance above 10 bits of count.
pub(super) type Chance = u32;

/// A half, never seen.
pub(super) const CHANCE_NEW: Chance = 1 << 31;

/// The chance in 65536ths.
#[inline]
pub(super) fn chance16(chance: Chance) -> u32 {
    chance >> 16
}

/// Moves a chance towards `bit` by one part in `count + 1.5`, `count` up to `limit`.
#[inline]
pub(super) fn learn(chance: &mut Chance, bit: bool, limit: u32) {
    let count = *chance & 1023;
    let aim = if bit { 4_194_303_i64 } else { 0 };
    let part = i64::from(RECIPROCALS[count as usize]);
    let now = i64::from(*chance >> 10);
    let next = now + (((aim - now) * part) >> 16);
    let next = u32::try_from(next).expect("between the chance and its aim");
    *chance = next << 10 | if count < limit { count + 1 } else { count };
}

/// `65536 / (count + 1.5)`.
const RECIPROCALS: [u32; 1024] = {
    let mut table = [0; 1024];
    let mut count = 0;
    while count < 1024 {
        table[count as usize] = 131_072 / (2 * count + 3);
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
pub(super) const NEXT: [[History; 2]; 256] = {
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

/// How many bits a history stands for: what has seen less is given up first.
const fn weight(state: History) -> u8 {
    match state {
        0..127 => (state + 1).ilog2().to_le_bytes()[0],
        127..191 => state - 120,
        _ => state - 184,
    }
}

const WEIGHTS: [u8; 256] = {
    let mut table = [0; 256];
    let mut state = 0;
    while state < 255 {
        table[state as usize] = weight(state);
        state += 1;
    }
    table
};

/// Histories for the bits of half a byte in one context: a check, then 15 nodes of a tree.
pub(super) type Bucket = [u8; 16];

/// Buckets found by hash.
#[derive(Debug)]
pub(super) struct Buckets {
    buckets: Vec<Bucket>,
}

impl Buckets {
    /// `count` buckets, a power of two.
    pub(super) fn new(count: usize) -> Self {
        assert!(count.is_power_of_two(), "buckets are found by a mask");
        Self { buckets: vec![[0; 16]; count] }
    }

    /// Where the bucket of a context is looked for first. Looking at it early, for all contexts at
    /// once, brings them into the cache together.
    #[inline]
    pub(super) fn first(&self, hash: u32) -> (usize, u8) {
        let first = (hash >> 8) as usize & (self.buckets.len() - 1);
        (first, self.buckets[first][0])
    }

    /// The index of the bucket of a context: the one with its check among three, or the one of
    /// them that has seen least, emptied.
    #[inline]
    pub(super) fn find(&mut self, hash: u32, first: usize) -> usize {
        let [check, ..] = hash.to_le_bytes();
        let mut least = (u8::MAX, first);
        for at in [first, first ^ 1, first ^ 2] {
            let bucket = &self.buckets[at];
            if bucket[0] == check {
                return at;
            }
            let seen = WEIGHTS[usize::from(bucket[1])];
            if seen < least.0 {
                least = (seen, at);
            }
        }
        let mut bucket = [0; 16];
        bucket[0] = check;
        self.buckets[least.1] = bucket;
        least.1
    }

    /// A history in a bucket.
    #[inline]
    pub(super) fn at(&self, bucket: usize, node: usize) -> History {
        self.buckets[bucket][node & 15]
    }

    /// Appends a bit to a history.
    #[inline]
    pub(super) fn push(&mut self, bucket: usize, node: usize, bit: bool) {
        let history = &mut self.buckets[bucket][node & 15];
        *history = NEXT[usize::from(*history)][usize::from(bit)];
    }
}

/// Refines a chance by what came of such chances in a context: an adaptive map of 33 steps.
#[derive(Debug)]
pub(super) struct Refiner {
    steps: Vec<[u16; 33]>,
    chosen: (usize, usize),
}

impl Refiner {
    /// One map for each of `count` contexts, a power of two.
    pub(super) fn new(count: usize) -> Self {
        let mut steps = [0; 33];
        for (index, step) in (0_i32..).zip(&mut steps) {
            let chance = super::squash::squash((index - 16) * 176);
            *step = u16::try_from(chance).expect("a chance is below 65536");
        }
        Self { steps: vec![steps; count], chosen: (0, 0) }
    }

    /// The chance that came of chances with this logit in this context.
    #[inline]
    pub(super) fn refine(&mut self, logit: i32, context: usize) -> u32 {
        let set = context & (self.steps.len() - 1);
        let place = (logit + 16 * 176).clamp(0, 32 * 176 - 1).unsigned_abs();
        let (index, part) = ((place / 176) as usize, place % 176);
        let steps = &self.steps[set];
        let (low, high) = (u32::from(steps[index]), u32::from(steps[index + 1]));
        self.chosen = (set, if part < 88 { index } else { index + 1 });
        (low * (176 - part) + high * part) / 176
    }

    /// Moves the nearer step towards `bit`.
    #[inline]
    pub(super) fn learn(&mut self, bit: bool) {
        let step = &mut self.steps[self.chosen.0][self.chosen.1];
        if bit {
            *step += (65535 - *step) >> 6;
        } else {
            *step -= *step >> 6;
        }
    }
}

/// Chances found by hash, without checks: the contexts of one input of a binary decision.
#[derive(Debug)]
pub(super) struct Chances {
    chances: Vec<Chance>,
    chosen: usize,
    limit: u32,
}

impl Chances {
    /// `count` chances, a power of two, that learn by one part in `limit` at the least.
    pub(super) fn new(count: usize, limit: u32) -> Self {
        assert!(count.is_power_of_two(), "chances are found by a mask");
        Self { chances: vec![CHANCE_NEW; count], chosen: 0, limit }
    }

    /// The logit in a context.
    #[inline]
    pub(super) fn logit(&mut self, context: usize, stretch: &Stretch) -> i32 {
        self.chosen = context & (self.chances.len() - 1);
        stretch.of(chance16(self.chances[self.chosen]))
    }

    /// Moves the chosen chance towards `bit`.
    #[inline]
    pub(super) fn learn(&mut self, bit: bool) {
        learn(&mut self.chances[self.chosen], bit, self.limit);
    }
}
