//! Bytes that are not foreseen: bit by bit, from what was seen in many contexts.

use super::counters::{
    Buckets, CHANCE_NEW, Chance, Chances, History as Bits, NEXT, Refiner, chance16, learn,
};
use super::decide::hash;
use super::mixer::Mixer;
use super::range::Coder;
use super::squash::{Stretch, squash};

/// Contexts found in the hashed table.
pub(super) const HASHED: usize = 8;

/// Bytes that are expected outright.
pub(super) const EXPECTED: usize = 4;

/// Inputs of a mixer: order 0, the hashed contexts, the expected bytes, and a constant.
const INPUTS: usize = 1 + HASHED + EXPECTED + 1;

/// Buckets of the hashed table: 8 MiB.
const BUCKETS: usize = 1 << 19;

/// What a byte is coded in.
#[derive(Debug, Clone, Default)]
pub(super) struct Around {
    /// Hashed contexts.
    pub(super) hashes: [u32; HASHED],
    /// Bytes that are expected, each with a class, less than 256, of how well; class 0: none.
    pub(super) expected: [(u8, u32); EXPECTED],
    /// What is coded, less than 16: literals are 0.
    pub(super) mode: u32,
    /// Chooses weights: less than 512.
    pub(super) set: u32,
    /// The byte before.
    pub(super) before: u8,
}

/// Codes bytes.
#[derive(Debug)]
pub(super) struct Bytes {
    buckets: Buckets,
    order0: Vec<Bits>,
    /// For each context and history, what came of it.
    maps: Vec<[Chance; 256]>,
    expected: Vec<Chances>,
    mixers: [Mixer<INPUTS>; 2],
    last: Mixer<2>,
    refiners: [Refiner; 2],
    /// What the last byte cost, in 256ths of a bit.
    pub(super) cost: u32,
}

impl Bytes {
    pub(super) fn new() -> Self {
        let weight = 65536 * 2 / 7;
        Self {
            buckets: Buckets::new(BUCKETS),
            order0: vec![0; 16 * 256],
            maps: vec![[CHANCE_NEW; 256]; 2 * (1 + HASHED)],
            expected: (0..EXPECTED).map(|_| Chances::new(1 << 10, 255)).collect(),
            mixers: [Mixer::new(16 * 256, weight, 28, 14), Mixer::new(512, weight, 28, 14)],
            last: Mixer::new(256, 65536 / 2, 8, 2),
            refiners: [Refiner::new(16 * 256), Refiner::new(1 << 11)],
            cost: 0,
        }
    }

    /// Codes one byte.
    pub(super) fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        stretch: &Stretch,
        around: &Around,
        byte: u8,
    ) -> u8 {
        self.cost = 0;
        let mut node = 1_u32;
        let mut found = [0_usize; HASHED];
        let half = usize::from(around.mode != 0) * (1 + HASHED);
        for at in (0..8).rev() {
            if at == 7 || at == 3 {
                self.find(&around.hashes, node, &mut found);
            }
            // Within half a byte, nodes are numbered as in a tree.
            let leaf = if at > 3 { node } else { (node & ((8 >> at) - 1)) | (8 >> at) };
            let leaf = leaf as usize;
            let bit = byte >> at & 1 == 1;
            let bit = self.bit(coder, stretch, around, (&found, half), (node, leaf, at), bit);
            node = node << 1 | u32::from(bit);
        }
        node.to_le_bytes()[0]
    }

    /// Learns from a byte that is known: what followed in its contexts, not how to weigh them.
    pub(super) fn note(&mut self, around: &Around, byte: u8) {
        let mut found = [0_usize; HASHED];
        let mut node = 1_u32;
        for at in (0..8).rev() {
            if at == 7 || at == 3 {
                self.find(&around.hashes, node, &mut found);
            }
            let leaf = if at > 3 { node } else { (node & ((8 >> at) - 1)) | (8 >> at) };
            let bit = byte >> at & 1 == 1;
            found.iter().for_each(|bucket| self.buckets.push(*bucket, leaf as usize, bit));
            node = node << 1 | u32::from(bit);
        }
    }

    /// Finds the buckets of all contexts for the half byte that begins at `node`.
    fn find(&mut self, contexts: &[u32; HASHED], node: u32, found: &mut [usize; HASHED]) {
        let mut index = 0;
        let hashes = contexts.map(|context| {
            index += 1;
            hash(&[context, node << 8 | index])
        });
        let firsts = hashes.map(|hash| self.buckets.first(hash));
        for ((found, hash), (first, check)) in found.iter_mut().zip(hashes).zip(firsts) {
            // Most contexts that were met are where they are looked for first.
            *found =
                if check == hash.to_le_bytes()[0] { first } else { self.buckets.find(hash, first) };
        }
    }

    fn bit<C: Coder>(
        &mut self,
        coder: &mut C,
        stretch: &Stretch,
        around: &Around,
        (found, half): (&[usize; HASHED], usize),
        (node, leaf, at): (u32, usize, u32),
        bit: bool,
    ) -> bool {
        let zero = (around.mode << 8 | node) as usize & (self.order0.len() - 1);
        let mut inputs = [0_i32; INPUTS];
        let mut states = [0_u8; 1 + HASHED];
        states[0] = self.order0[zero];
        for (state, bucket) in states[1..].iter_mut().zip(found) {
            *state = self.buckets.at(*bucket, leaf);
        }
        let maps = &mut self.maps[half..=half + HASHED];
        for ((input, map), state) in inputs.iter_mut().zip(maps.iter()).zip(&states) {
            let state = usize::from(*state);
            *input = if state == 0 { 0 } else { stretch.of(chance16(map[state])) };
        }
        let expected = around.expected.iter().zip(&mut self.expected);
        for (input, ((told, class), chances)) in inputs[1 + HASHED..].iter_mut().zip(expected) {
            let whole = u32::from(*told) | 256;
            if *class > 0 && whole >> (at + 1) == node {
                let one = whole >> at & 1;
                *input = chances.logit((class << 1 | one) as usize, stretch);
            } else {
                // A class of its own that nobody reads.
                chances.logit(0, stretch);
            }
        }
        inputs[INPUTS - 1] = 256;
        let [a, b] = &mut self.mixers;
        let logits = [
            a.mix(&inputs, (around.mode << 8 | node) as usize),
            b.mix(&inputs, around.set as usize),
        ];
        let logit = self.last.mix(&logits, (around.mode << 3 | at) as usize);
        let [first, second] = &mut self.refiners;
        let refined = first.refine(logit, (around.mode << 8 | node) as usize);
        let context = hash(&[around.before.into(), node, around.mode]) >> 21;
        let refined = refined + second.refine(logit, context as usize);
        let chance = (2 * squash(logit) + refined) >> 2;
        let chance = chance.clamp(1, 65535);
        let bit = coder.code(bit, chance);
        self.cost += cost(if bit { chance } else { 65536 - chance });

        self.order0[zero] = NEXT[usize::from(states[0])][usize::from(bit)];
        for (map, state) in maps.iter_mut().zip(&states) {
            learn(&mut map[usize::from(*state)], bit, 255);
        }
        found.iter().for_each(|bucket| self.buckets.push(*bucket, leaf, bit));
        self.expected.iter_mut().for_each(|chances| chances.learn(bit));
        self.mixers.iter_mut().for_each(|mixer| mixer.learn(&inputs, bit));
        self.last.learn(&logits, bit);
        self.refiners.iter_mut().for_each(|refiner| refiner.learn(bit));
        bit
    }
}

/// What a bit of this chance costs in 256ths of a bit, about: straight lines between the powers of
/// two.
fn cost(chance: u32) -> u32 {
    let log2 = chance.ilog2();
    (16 << 8) - (log2 << 8) - (((chance << (16 - log2)) >> 8) & 0xff)
}
