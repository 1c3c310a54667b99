//! From code to decisions: the range coder, what learns, and deciders (10.1 to 10.3).

use std::sync::LazyLock;

use crate::{Result, must};

/// The code of a frame that is being read.
pub(super) struct Code {
    bytes: Vec<u8>,
    taken: usize,
    range: i64,
    code: i64,
}

impl Code {
    pub(super) fn open(bytes: &[u8]) -> Self {
        let mut code = Self { bytes: bytes.to_vec(), taken: 0, range: (1 << 32) - 1, code: 0 };
        (0..4).for_each(|_| code.take());
        code
    }

    /// Bytes behind the end are 0.
    fn take(&mut self) {
        let byte = self.bytes.get(self.taken).copied().unwrap_or(0);
        self.code = (self.code << 8 | i64::from(byte)) & 0xffff_ffff;
        self.taken += 1;
    }

    /// Decodes a bit that is set with a chance of 65536.
    pub(super) fn bit(&mut self, chance: i64) -> Result<bool> {
        let bound = (self.range * chance) >> 16;
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        while self.range < 1 << 24 {
            self.range <<= 8;
            self.take();
        }
        must(self.taken <= self.bytes.len() + 4, "the code of a frame ends too early")?;
        Ok(bit)
    }

    pub(super) fn close(&self) -> Result<()> {
        must(self.taken >= self.bytes.len(), "bytes are left over after the code")?;
        must(self.bytes.last() != Some(&0), "the code of a frame ends with a zero")
    }
}

/// 65536 / (1 + e^(-i/4)), rounded.
const LOGISTIC: [i64; 45] = [
    32768, 36843, 40793, 44511, 47911, 50941, 53581, 55834, 57724, 59287, 60565, 61598, 62428,
    63090, 63615, 64030, 64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328, 65374, 65410,
    65438, 65459, 65476, 65489, 65500, 65508, 65514, 65519, 65523, 65526, 65528, 65530, 65531,
    65532, 65533, 65534, 65534, 65535, 65535,
];

/// The chance of a logit.
pub(super) fn squash(x: i64) -> i64 {
    let size = x.abs().min(2815);
    let (index, part) = (at(size >> 6), size & 63);
    let chance = (LOGISTIC[index] * (64 - part) + LOGISTIC[index + 1] * part + 32) >> 6;
    if x < 0 { 65536 - chance } else { chance }
}

/// The logit of a chance.
pub(super) fn stretch(chance: i64) -> i64 {
    static LOGITS: LazyLock<Vec<i64>> = LazyLock::new(|| {
        let mut x = -2816;
        let mut least = |chance| {
            while squash(x) < chance {
                x += 1;
            }
            x
        };
        (0..4096).map(|index| least(16 * index + 8)).collect()
    });
    LOGITS[at(chance >> 4)]
}

/// An index of a table.
fn at(index: i64) -> usize {
    usize::try_from(index).expect("indices are not negative")
}

/// How likely a set bit is.
#[derive(Clone, Copy)]
pub(super) struct Chance {
    p: i32,
    count: i32,
}

impl Chance {
    pub(super) const NEW: Self = Self { p: 1 << 21, count: 0 };

    pub(super) fn value(self) -> i64 {
        i64::from(self.p >> 6)
    }

    pub(super) fn learn(&mut self, bit: bool) {
        let aim = if bit { 4_194_303 } else { 0 };
        let part = i64::from(131_072 / (2 * self.count + 3));
        let step = (i64::from(aim - self.p) * part) >> 16;
        self.p += i32::try_from(step).expect("chances have 22 bits");
        self.count = (self.count + 1).min(255);
    }
}

/// Mixes logits to one.
pub(super) struct Mixer {
    input_count: usize,
    weights: Vec<i32>,
    rate: i64,
    rate_min: i64,
    learned: u64,
}

impl Mixer {
    pub(super) fn new(
        input_count: usize,
        sets: usize,
        weight: i32,
        rate: i64,
        rate_min: i64,
    ) -> Self {
        Self { input_count, weights: vec![weight; input_count * sets], rate, rate_min, learned: 0 }
    }

    pub(super) fn mix(&self, set: usize, inputs: &[i64]) -> i64 {
        let weights = &self.weights[set * self.input_count..];
        let products = inputs.iter().zip(weights).map(|(i, w)| (i * i64::from(*w)) >> 8);
        (products.sum::<i64>() >> 8).clamp(-2815, 2815)
    }

    /// Learns what came where it mixed to `x`.
    pub(super) fn learn(&mut self, set: usize, inputs: &[i64], x: i64, bit: bool) {
        let error = (((i64::from(bit) << 16) - squash(x)) * self.rate) >> 6;
        let weights = &mut self.weights[set * self.input_count..];
        for (input, weight) in inputs.iter().zip(weights) {
            let moved = i64::from(*weight) + ((input * error + 8192) >> 14);
            *weight = i32::try_from(moved.clamp(-524_288, 524_288)).expect("it was cut");
        }
        self.learned += 1;
        if self.learned.is_multiple_of(256) {
            self.rate = self.rate_min.max(self.rate - 1);
        }
    }
}

/// Learns what chance a logit really has.
pub(super) struct Refiner(Vec<i32>);

impl Refiner {
    pub(super) fn new(sets: usize) -> Self {
        let step = |index: i64| i32::try_from(squash((index - 16) * 176)).expect("it has 16 bits");
        Self((0..sets).flat_map(|_| (0..33).map(step)).collect())
    }

    /// The step below the logit, and how far it is above that.
    fn place(set: usize, x: i64) -> (usize, i64) {
        let q = (x + 2816).clamp(0, 5631);
        (33 * set + at(q / 176), q % 176)
    }

    pub(super) fn refine(&self, set: usize, x: i64) -> i64 {
        let (step, part) = Self::place(set, x);
        (i64::from(self.0[step]) * (176 - part) + i64::from(self.0[step + 1]) * part) / 176
    }

    pub(super) fn learn(&mut self, set: usize, x: i64, bit: bool) {
        let (step, part) = Self::place(set, x);
        let step = &mut self.0[step + usize::from(part >= 88)];
        *step += if bit { (65535 - *step) >> 6 } else { -(*step >> 6) };
    }
}

pub(super) fn hash(values: &[u32]) -> u32 {
    values.iter().fold(0x9e37_79b9, |hash: u32, value| {
        (hash ^ value).wrapping_mul(0x85eb_ca6b).rotate_left(13) ^ value.wrapping_mul(0xc2b2_ae35)
    })
}

/// Count of bits of a number.
pub(super) fn size(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// Decides a bit in `K` contexts.
pub(super) struct Decider<const K: usize> {
    log2: u32,
    /// One table behind the other.
    chances: Vec<Chance>,
    mixer: Mixer,
    refiner: Refiner,
}

impl<const K: usize> Decider<K> {
    pub(super) fn new(log2: u32, sets: usize) -> Self {
        let chances = vec![Chance::NEW; K << log2];
        let weight = 98304 / i32::try_from(K + 1).expect("few contexts");
        let (mixer, refiner) = (Mixer::new(K + 1, sets, weight, 64, 32), Refiner::new(sets));
        Self { log2, chances, mixer, refiner }
    }

    pub(super) fn decide(&mut self, code: &mut Code, contexts: [u32; K], set: u32) -> Result<bool> {
        let (mask, set) = ((1 << self.log2) - 1, set as usize);
        let place =
            |(table, c): (usize, u32)| table << self.log2 | ((c ^ (c >> 15)) & mask) as usize;
        let places: Vec<usize> = contexts.into_iter().enumerate().map(place).collect();
        let logits = places.iter().map(|place| stretch(self.chances[*place].value()));
        let inputs: Vec<i64> = logits.chain([256]).collect();
        let x = self.mixer.mix(set, &inputs);
        let chance = (squash(x) + self.refiner.refine(set, x)) / 2;
        let bit = code.bit(chance.clamp(1, 65535))?;
        places.iter().for_each(|place| self.chances[*place].learn(bit));
        self.mixer.learn(set, &inputs, x, bit);
        self.refiner.learn(set, x, bit);
        Ok(bit)
    }
}
