//! One binary decision from many contexts: their chances, mixed and refined.

use std::cmp::Ordering;

use wide::i16x8;

use super::ahead::fetch;
use super::counters::{CHANCE_NEW, Chance, Place, Refiner, chance16, learn};
use super::mixer::{Inputs, Mixer};
use super::range::Coder;
use super::squash::{squash, stretch};

/// Codes decisions of one kind, each in `CONTEXTS` contexts, with `CHANCES` chances for each
/// context and `SETS` sets of weights and of refinements.
#[derive(Debug)]
pub(super) struct Decider<
    const CONTEXTS: usize,
    const VECTORS: usize,
    const CHANCES: usize,
    const SETS: usize,
> {
    chances: Vec<Chance>,
    mixer: Mixer<VECTORS, SETS>,
    refiner: Refiner<SETS>,
}

impl<const CONTEXTS: usize, const VECTORS: usize, const CHANCES: usize, const SETS: usize>
    Decider<CONTEXTS, VECTORS, CHANCES, SETS>
{
    pub(super) fn new() -> Self {
        const { assert!(CHANCES.is_power_of_two() && CONTEXTS < 8 * VECTORS) };
        // The contexts, and a constant.
        let inputs = i32::try_from(CONTEXTS + 1).expect("few contexts");
        Self {
            chances: vec![CHANCE_NEW; CHANCES * CONTEXTS],
            mixer: Mixer::new(65536 * 3 / (2 * inputs), 64, 32),
            refiner: Refiner::new(),
        }
    }

    /// Brings into the cache what will be asked in these contexts.
    #[inline]
    pub(super) fn fetch(&self, contexts: &[u32; CONTEXTS]) {
        let (tables, _) = self.chances.as_chunks::<CHANCES>();
        for (chances, context) in tables.iter().zip(contexts) {
            fetch(&chances[place(*context, CHANCES)]);
        }
    }

    /// Codes one decision; `contexts` are hashes, `set` chooses the weights.
    pub(super) fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        contexts: &[u32; CONTEXTS],
        set: usize,
        bit: bool,
    ) -> bool {
        let places = contexts.map(|context| place(context, CHANCES));
        let tables: &[[Chance; CHANCES]; CONTEXTS] =
            self.chances.as_chunks().0.first_chunk().expect("as many as were made");
        let input = |lane: usize| match lane.cmp(&CONTEXTS) {
            Ordering::Less => stretch(chance16(tables[lane][places[lane]])),
            Ordering::Equal => 256,
            Ordering::Greater => 0,
        };
        let inputs: Inputs<VECTORS> = std::array::from_fn(|index| {
            let at = 8 * index;
            i16x8::new([
                input(at),
                input(at + 1),
                input(at + 2),
                input(at + 3),
                input(at + 4),
                input(at + 5),
                input(at + 6),
                input(at + 7),
            ])
        });
        let logit = self.mixer.mix(&inputs, set);
        let between = Place::of(logit);
        let refined = self.refiner.refine(between, set);
        let chance = (squash(logit) + refined) / 2;
        let bit = coder.code(bit, chance.clamp(1, 65535));
        self.mixer.learn(&inputs, bit);
        self.refiner.learn(between, set, bit);
        let (tables, _) = self.chances.as_chunks_mut::<CHANCES>();
        for (chances, place) in tables.iter_mut().zip(&places) {
            learn(&mut chances[*place], bit);
        }
        bit
    }
}

/// Where the chance of a context is among `count`, a power of two.
#[inline]
fn place(context: u32, count: usize) -> usize {
    (context ^ context >> 15) as usize & (count - 1)
}

/// Mixes values into a hash.
pub(super) fn hash(values: &[u32]) -> u32 {
    hash_on(0x9e37_79b9, values)
}

/// Mixes more values into a hash.
#[inline]
pub(super) fn hash_on(hash: u32, values: &[u32]) -> u32 {
    values.iter().fold(hash, |hash, value| {
        (hash ^ value).wrapping_mul(0x85eb_ca6b).rotate_left(13) ^ value.wrapping_mul(0xc2b2_ae35)
    })
}
