//! Mixing: predictions are summed as logits, with weights that learn from each bit.
//!
//! A network of gated linear neurons, trained online (M. Mahoney, "Data Compression Explained",
//! section 4.3.2). Vectors have lanes of 16 bits, which all machines multiply many at once; what
//! they make are the same integers as without.

use wide::{i16x8, i32x4};

use super::squash::{LOGIT_MAX, squash};

/// Inputs of a mixer, eight to a vector; those that are not used are 0 and change nothing.
pub(super) type Inputs<const VECTORS: usize> = [i16x8; VECTORS];

/// Weights for as many inputs, a set for each value of a context.
#[derive(Debug)]
pub(super) struct Mixer<const VECTORS: usize, const SETS: usize> {
    sets: Box<[[Weights; VECTORS]; SETS]>,
    chosen: usize,
    learner: Learner,
}

/// Weights in 65536ths, each in two parts.
#[derive(Debug, Clone, Copy)]
struct Weights {
    /// The weight in 256ths, rounded.
    high: i16x8,
    /// 256 times what is to be added to that, from -128 to 127 65536ths.
    low: i16x8,
}

impl<const VECTORS: usize, const SETS: usize> Mixer<VECTORS, SETS> {
    /// Weights that all are `weight` in 65536ths.
    pub(super) fn new(weight: i32, rate: i32, rate_min: i32) -> Self {
        const { assert!(SETS.is_power_of_two(), "sets are chosen by a mask") };
        let (high, low) = split(weight);
        let weights = Weights { high: i16x8::splat(high), low: i16x8::splat(low) };
        let sets = vec![[weights; VECTORS]; SETS].into_boxed_slice().try_into();
        let sets = sets.expect("as many as were made");
        Self { sets, chosen: 0, learner: Learner::new(rate, rate_min) }
    }

    /// The logit of the inputs, 256ths of the sum of input times weight, under the set `context`.
    #[inline]
    pub(super) fn mix(&mut self, inputs: &Inputs<VECTORS>, context: usize) -> i32 {
        self.chosen = context & (SETS - 1);
        let ones = i16x8::splat(1);
        let sums = inputs.iter().zip(&self.sets[self.chosen]).map(|(input, weights)| {
            input.dot(weights.high) + input.mul_keep_high(weights.low).dot(ones)
        });
        let [a, b, c, d] = sums.reduce(|sum, more| sum + more).map_or([0; 4], i32x4::to_array);
        self.learner.foretold(((a + c) + (b + d)) >> 8)
    }

    /// Moves the chosen weights towards what would have foretold `bit`.
    #[inline]
    pub(super) fn learn(&mut self, inputs: &Inputs<VECTORS>, bit: bool) {
        let error = self.learner.error(bit);
        // A weight is moved by `(input * error + 0x2000) >> 14`. The error has 17 bits; its lowest
        // is multiplied apart, and all is shifted by two so that the upper half is the result.
        let [first, second, ..] = (error >> 1).to_le_bytes();
        let half = i16x8::splat(i16::from_le_bytes([first, second]));
        let odd = i16x8::splat(if error & 1 == 1 { -1 } else { 0 });
        let mut beyond = i16x8::ZERO;
        for (input, Weights { high, low }) in
            inputs.iter().zip(&mut self.sets[self.chosen & (SETS - 1)])
        {
            let eight = *input << 3_u32;
            let upper = eight.mul_keep_high(half);
            // The lower half, unsigned, and 0x8000 and more: whether they carry.
            let lower = (eight * half) ^ i16x8::splat(i16::MIN);
            let carry = lower.simd_gt(!((*input << 2_u32) & odd));
            let moved = (*low >> 8_u32) + upper - carry;
            *low = moved << 8_u32;
            *high += (moved + i16x8::splat(128)) >> 8_u32;
            let [max, min] = [HIGH_MAX, -HIGH_MAX].map(i16x8::splat);
            beyond |= high.simd_gt(max) | high.simd_lt(min);
        }
        if beyond.any() {
            self.bound();
        }
    }

    /// Takes chosen weights that are out of bounds back to them.
    #[cold]
    #[inline(never)]
    fn bound(&mut self) {
        for weights in &mut self.sets[self.chosen] {
            let (high, low) = (weights.high.as_mut_array(), weights.low.as_mut_array());
            for (high, low) in high.iter_mut().zip(low) {
                let weight = (i32::from(*high) << 8) + i32::from(*low >> 8);
                (*high, *low) = split(weight.clamp(-WEIGHT_MAX, WEIGHT_MAX));
            }
        }
    }
}

/// The same for two inputs, which are too few for vectors.
#[derive(Debug)]
pub(super) struct Pair<const SETS: usize> {
    sets: Box<[[i32; 2]; SETS]>,
    chosen: usize,
    learner: Learner,
}

impl<const SETS: usize> Pair<SETS> {
    pub(super) fn new(weight: i32, rate: i32, rate_min: i32) -> Self {
        const { assert!(SETS.is_power_of_two()) };
        let sets = Box::new([[weight; 2]; SETS]);
        Self { sets, chosen: 0, learner: Learner::new(rate, rate_min) }
    }

    #[inline]
    pub(super) fn mix(&mut self, [a, b]: [i32; 2], context: usize) -> i32 {
        self.chosen = context & (SETS - 1);
        let [for_a, for_b] = self.sets[self.chosen];
        self.learner.foretold((((a * for_a) >> 8) + ((b * for_b) >> 8)) >> 8)
    }

    #[inline]
    pub(super) fn learn(&mut self, inputs: [i32; 2], bit: bool) {
        let error = self.learner.error(bit);
        for (weight, input) in self.sets[self.chosen & (SETS - 1)].iter_mut().zip(inputs) {
            let moved = *weight + ((input * error + 0x2000) >> 14);
            *weight = moved.clamp(-WEIGHT_MAX, WEIGHT_MAX);
        }
    }
}

/// How far, and how fast, the weights of a mixer learn.
#[derive(Debug)]
struct Learner {
    chance: u32,
    /// In 64ths, to start with and in the end.
    rate: i32,
    rate_min: i32,
    step: u32,
}

impl Learner {
    fn new(rate: i32, rate_min: i32) -> Self {
        assert!(rate <= 64, "an error that is not made larger has 17 bits");
        Self { chance: 32768, rate, rate_min, step: 0 }
    }

    /// Takes note of what was foretold, and bounds it.
    #[inline]
    fn foretold(&mut self, logit: i32) -> i32 {
        let logit = logit.clamp(-LOGIT_MAX, LOGIT_MAX);
        self.chance = squash(logit);
        logit
    }

    /// By how much it was wrong.
    #[inline]
    fn error(&mut self, bit: bool) -> i32 {
        let error = (i32::from(bit) << 16) - self.chance.cast_signed();
        let error = (error * self.rate) >> 6;
        self.step = self.step.wrapping_add(1);
        if self.step & 255 == 0 && self.rate > self.rate_min {
            self.rate -= 1;
        }
        error
    }
}

/// The two parts of a weight.
fn split(weight: i32) -> (i16, i16) {
    let high = (weight + 128) >> 8;
    let low = (weight - (high << 8)) << 8;
    (i16::try_from(high).expect("a small weight"), i16::try_from(low).expect("-128 to 127 256s"))
}

/// Largest weight: 8. With inputs of up to 2816, their product stays within 32 bits.
const WEIGHT_MAX: i32 = 8 << 16;
const _: () = assert!(WEIGHT_MAX as i64 * (LOGIT_MAX as i64 + 1) < 1 << 31);

/// The upper part of a weight that is within bounds whatever the lower one is.
const HIGH_MAX: i16 = 2047;
const _: () = assert!((HIGH_MAX as i32 + 1) << 8 == WEIGHT_MAX);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A mixer as it is defined, in integers that hold everything.
    struct Plain {
        weights: [i64; 8],
        chance: i64,
        rate: i64,
        step: u32,
    }

    impl Plain {
        fn mix(&mut self, inputs: [i16; 8]) -> i64 {
            let products = inputs.iter().zip(self.weights).map(|(x, w)| (i64::from(*x) * w) >> 8);
            let logit = (products.sum::<i64>() >> 8).clamp(-2815, 2815);
            self.chance = squash(i32::try_from(logit).expect("small")).into();
            logit
        }

        fn learn(&mut self, inputs: [i16; 8], bit: bool) {
            let error = (((i64::from(bit) << 16) - self.chance) * self.rate) >> 6;
            for (weight, input) in self.weights.iter_mut().zip(inputs) {
                *weight += (i64::from(input) * error + 0x2000) >> 14;
                *weight = (*weight).clamp(-(8 << 16), 8 << 16);
            }
            self.step += 1;
            self.rate -= i64::from(self.step.is_multiple_of(256) && self.rate > 32);
        }
    }

    fn inputs() -> impl Strategy<Value = [i16; 8]> {
        proptest::array::uniform8(-2816..=2815_i16)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn lanes_make_what_wide_integers_make(
            weight in prop_oneof![-(8_i32 << 16)..=8 << 16, Just(8 << 16), Just(-(8 << 16))],
            steps in proptest::collection::vec((any::<bool>(), inputs()), 1..600),
            last in any::<bool>(),
        ) {
            let mut mixer = Mixer::<1, 1>::new(weight, 64, 32);
            let mut plain = Plain { weights: [weight.into(); 8], chance: 0, rate: 64, step: 0 };
            for (index, (bit, inputs)) in steps.into_iter().enumerate() {
                // Now and then the same again, until weights reach their bounds.
                let (bit, inputs) = if index % 40 < 8 { (last, [2815; 8]) } else { (bit, inputs) };
                let vector = [i16x8::new(inputs)];
                prop_assert_eq!(i64::from(mixer.mix(&vector, 0)), plain.mix(inputs));
                mixer.learn(&vector, bit);
                plain.learn(inputs, bit);
                let [Weights { high, low }] = mixer.sets[0];
                let made = high.to_array().into_iter().zip(low.to_array());
                let made = made.map(|(high, low)| (i64::from(high) << 8) + i64::from(low >> 8));
                prop_assert!(made.eq(plain.weights), "step {}", index);
            }
        }
    }
}
