//! One binary decision from many contexts: their chances, mixed and refined.

use super::counters::{Chances, Refiner};
use super::mixer::Mixer;
use super::range::Coder;
use super::squash::Stretch;

/// Codes decisions of one kind, each in `N - 1` contexts.
#[derive(Debug)]
pub(super) struct Decider<const N: usize> {
    chances: Vec<Chances>,
    mixer: Mixer<N>,
    refiner: Refiner,
}

impl<const N: usize> Decider<N> {
    /// `1 << log2` chances for each context; `sets` of weights and of refinements.
    pub(super) fn new(log2: u32, limit: u32, sets: usize) -> Self {
        let weight = 65536 * 3 / (2 * i32::try_from(N).unwrap_or(1));
        Self {
            chances: (1..N).map(|_| Chances::new(1 << log2, limit)).collect(),
            mixer: Mixer::new(sets, weight, 64, 32),
            refiner: Refiner::new(sets),
        }
    }

    /// Codes one decision; `contexts` are hashes, `set` chooses the weights.
    pub(super) fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        stretch: &Stretch,
        contexts: &[u32],
        set: usize,
        bit: bool,
    ) -> bool {
        let mut inputs = [256; N];
        for ((input, chances), context) in inputs.iter_mut().zip(&mut self.chances).zip(contexts) {
            *input = chances.logit((context ^ context >> 15) as usize, stretch);
        }
        let logit = self.mixer.mix(&inputs, set);
        let refined = self.refiner.refine(logit, set);
        let chance = (super::squash::squash(logit) + refined) / 2;
        let bit = coder.code(bit, chance.clamp(1, 65535));
        self.mixer.learn(&inputs, bit);
        self.refiner.learn(bit);
        self.chances.iter_mut().for_each(|chances| chances.learn(bit));
        bit
    }
}

/// Mixes values into a hash.
pub(super) fn hash(values: &[u32]) -> u32 {
    values.iter().fold(0x9e37_79b9, |hash: u32, value| {
        (hash ^ value).wrapping_mul(0x85eb_ca6b).rotate_left(13) ^ value.wrapping_mul(0xc2b2_ae35)
    })
}
