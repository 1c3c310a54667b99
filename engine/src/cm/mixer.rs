//! Mixing: predictions are summed as logits, with weights that learn from each bit.
//!
//! A network of gated linear neurons, trained online (M. Mahoney, "Data Compression Explained",
//! section 4.3.2).

use super::squash::{LOGIT_MAX, squash};

/// Weights for `N` inputs, a set for each value of a context.
#[derive(Debug)]
pub(super) struct Mixer<const N: usize> {
    sets: Vec<[i32; N]>,
    chosen: usize,
    chance: u32,
    /// How fast weights learn, in 64ths, to start with and in the end.
    rate: i32,
    rate_min: i32,
    step: u32,
}

impl<const N: usize> Mixer<N> {
    /// `count` sets, a power of two, of weights that all are `weight` in 65536ths.
    pub(super) fn new(count: usize, weight: i32, rate: i32, rate_min: i32) -> Self {
        assert!(count.is_power_of_two(), "sets are chosen by a mask");
        let sets = vec![[weight; N]; count];
        Self { sets, chosen: 0, chance: 32768, rate, rate_min, step: 0 }
    }

    /// The logit of the inputs under the set `context`.
    #[inline]
    pub(super) fn mix(&mut self, inputs: &[i32; N], context: usize) -> i32 {
        self.chosen = context & (self.sets.len() - 1);
        let weights = &self.sets[self.chosen];
        let sum: i32 = inputs.iter().zip(weights).map(|(x, w)| x.wrapping_mul(*w) >> 8).sum();
        let logit = (sum >> 8).clamp(-LOGIT_MAX, LOGIT_MAX);
        self.chance = squash(logit);
        logit
    }

    /// Moves the chosen weights towards what would have foretold `bit`.
    #[inline]
    pub(super) fn learn(&mut self, inputs: &[i32; N], bit: bool) {
        let error = (i32::from(bit) << 16) - self.chance.cast_signed();
        let error = (error * self.rate) >> 6;
        for (weight, input) in self.sets[self.chosen].iter_mut().zip(inputs) {
            *weight = (*weight + ((input * error + 0x2000) >> 14)).clamp(-WEIGHT_MAX, WEIGHT_MAX);
        }
        self.step = self.step.wrapping_add(1);
        if self.step & 255 == 0 && self.rate > self.rate_min {
            self.rate -= 1;
        }
    }
}

/// Largest weight: 8. With inputs of up to 2815, their product stays below 2^31.
const WEIGHT_MAX: i32 = 8 << 16;
const _: () = assert!(WEIGHT_MAX as i64 * (LOGIT_MAX as i64) < 1 << 31);
