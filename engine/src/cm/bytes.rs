//! Bytes that are not foreseen: bit by bit, from what was seen in many contexts.

use wide::i16x8;

use super::ahead::Ahead;
use super::buckets::{Bucket, Buckets};
use super::counters::{
    CHANCE_NEW, Chance, History as Bits, Outcomes, Place, Refiner, chance16, learn, pushed,
};
use super::decide::{hash, hash_on};
use super::mixer::{Inputs, Mixer, Pair};
use super::range::Coder;
use super::squash::{squash, stretch};

/// Contexts found in the hashed table.
pub(super) const HASHED: usize = 8;

/// Bytes that are expected outright.
pub(super) const EXPECTED: usize = 4;

/// Chances of an expected byte: two for each class.
const EXPECTED_CHANCES: usize = 1 << 10;

/// What a byte is coded in.
#[derive(Debug, Clone, Default)]
pub(super) struct Around {
    /// Hashes of hashed contexts.
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
    order0: Box<[Bits; 16 * 256]>,
    /// For each context, what came of each history: of literals, and of all else.
    outcomes: [[Outcomes; 1 + HASHED]; 2],
    expected: [[Chance; EXPECTED_CHANCES]; EXPECTED],
    by_node: Mixer<2, { 16 * 256 }>,
    by_set: Mixer<2, 512>,
    last: Pair<256>,
    refiners: (Refiner<{ 16 * 256 }>, Refiner<{ 1 << 11 }>),
    /// What the last byte cost, in 256ths of a bit.
    pub(super) cost: u32,
}

/// Half a byte while it is coded.
struct Half {
    /// Buckets of hashed contexts as they were before it.
    buckets: [Bucket; HASHED],
    /// Bits of the byte that are known, under a set bit.
    node: u32,
    /// Bits of the half that are known, under a set bit.
    leaf: usize,
}

/// What was seen where a bit is coded.
struct Seen {
    /// The place in order 0.
    zero: usize,
    /// Histories in order 0 and the hashed contexts.
    histories: [Bits; 1 + HASHED],
    /// Places of the chances of expected bytes; 0 for those that nobody asks.
    expected: [usize; EXPECTED],
    inputs: Inputs<2>,
}

impl Bytes {
    pub(super) fn new() -> Self {
        let weight = 65536 * 2 / 7;
        Self {
            buckets: Buckets::new(),
            order0: Box::new([0; 16 * 256]),
            outcomes: [[Outcomes::new(); 1 + HASHED]; 2],
            expected: [[CHANCE_NEW; EXPECTED_CHANCES]; EXPECTED],
            by_node: Mixer::new(weight, 28, 14),
            by_set: Mixer::new(weight, 28, 14),
            last: Pair::new(65536 / 2, 8, 2),
            refiners: (Refiner::new(), Refiner::new()),
            cost: 0,
        }
    }

    /// Codes one byte.
    pub(super) fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        around: &Around,
        ahead: Ahead,
        byte: u8,
    ) -> u8 {
        self.cost = 0;
        let high = self.half(coder, around, ahead, (1, byte >> 4));
        let low = self.half(coder, around, ahead, (u32::from(high) | 16, byte & 15));
        high << 4 | low
    }

    /// Codes half a byte, `told` to an encoder, that begins at `node`.
    fn half<C: Coder>(
        &mut self,
        coder: &mut C,
        around: &Around,
        ahead: Ahead,
        (node, told): (u32, u8),
    ) -> u8 {
        let found = self.buckets.find(&at_node(&around.hashes, node));
        // They do not change before the half is done: each bit has a history of its own.
        let mut half = Half { buckets: self.buckets.read(&found), node, leaf: 1 };
        for at in (0..4).rev() {
            match (node, at) {
                (1, 0) => {
                    for next in [half.node << 1, half.node << 1 | 1] {
                        self.buckets.fetch(&at_node(&around.hashes, next));
                    }
                }
                (1, _) => {}
                (_, 1) => ahead.two_bits(half.node),
                (_, 0) => ahead.one_bit(half.node, &self.buckets),
                _ => {}
            }
            let bit = self.bit(coder, around, &half, told >> at & 1 == 1);
            half.node = half.node << 1 | u32::from(bit);
            half.leaf = half.leaf << 1 | usize::from(bit);
        }
        let made = half.leaf.to_le_bytes()[0] & 15;
        self.buckets.push(&found, made);
        made
    }

    /// Brings into the cache what is learned from a byte that is known, or likely.
    #[inline]
    pub(super) fn fetch(&self, hashes: &[u32; HASHED], byte: u8) {
        self.buckets.fetch(&at_node(hashes, 1));
        self.buckets.fetch(&at_node(hashes, u32::from(byte >> 4) | 16));
    }

    /// Learns from a byte that is known: what followed in its contexts, not how to weigh them.
    pub(super) fn note(&mut self, hashes: &[u32; HASHED], byte: u8) {
        let (high, low) = (byte >> 4, byte & 15);
        for (node, bits) in [(1, high), (u32::from(high) | 16, low)] {
            let found = self.buckets.find(&at_node(hashes, node));
            self.buckets.push(&found, bits);
        }
    }

    #[inline]
    fn bit<C: Coder>(&mut self, coder: &mut C, around: &Around, half: &Half, bit: bool) -> bool {
        let Around { mode, set, before, .. } = *around;
        let (node, depth) = (half.node, half.node.ilog2());
        let context = (mode << 8 | node) as usize;
        let other = (hash(&[before.into(), node, mode]) >> 21) as usize;
        self.refiners.1.fetch(other);
        let seen = self.look(around, half);
        let logits =
            [self.by_node.mix(&seen.inputs, context), self.by_set.mix(&seen.inputs, set as usize)];
        let logit = self.last.mix(logits, (mode << 3 | (7 - depth)) as usize);
        let place = Place::of(logit);
        let refined = self.refiners.0.refine(place, context) + self.refiners.1.refine(place, other);
        let chance = ((2 * squash(logit) + refined) >> 2).clamp(1, 65535);
        let bit = coder.code(bit, chance);
        self.cost += cost(if bit { chance } else { 65536 - chance });

        self.learn(&seen, usize::from(mode != 0), bit);
        self.last.learn(logits, bit);
        self.refiners.0.learn(place, context, bit);
        self.refiners.1.learn(place, other, bit);
        bit
    }

    #[inline(always)]
    fn look(&self, around: &Around, half: &Half) -> Seen {
        let (node, depth) = (half.node, half.node.ilog2());
        let zero = (around.mode << 8 | node) as usize & (self.order0.len() - 1);
        let [b1, b2, b3, b4, b5, b6, b7, b8] =
            half.buckets.each_ref().map(|bucket| bucket[half.leaf & 15]);
        let histories = [self.order0[zero], b1, b2, b3, b4, b5, b6, b7, b8];
        let expected = around.expected.map(|(told, class)| {
            let whole = u32::from(told) | 256;
            let one = whole >> (7 - depth) & 1;
            let agrees = class > 0 && whole >> (8 - depth) == node;
            if agrees { (class << 1 | one) as usize & (EXPECTED_CHANCES - 1) } else { 0 }
        });
        let outcomes = &self.outcomes[usize::from(around.mode != 0)];
        let of = |index: usize| outcomes[index].logit(histories[index]);
        let told = |index: usize| match expected[index] {
            0 => 0,
            place => stretch(chance16(self.expected[index][place])),
        };
        // One by one, so that they are gathered in registers: a vector that was just written to
        // memory in parts is slow to read.
        let inputs = [
            i16x8::new([of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7)]),
            i16x8::new([of(8), told(0), told(1), told(2), told(3), 256, 0, 0]),
        ];
        Seen { zero, histories, expected, inputs }
    }

    #[inline(always)]
    fn learn(&mut self, seen: &Seen, kind: usize, bit: bool) {
        self.order0[seen.zero] = pushed(seen.histories[0], bit);
        for (outcomes, history) in self.outcomes[kind].iter_mut().zip(&seen.histories) {
            outcomes.learn(*history, bit);
        }
        for (chances, place) in self.expected.iter_mut().zip(seen.expected) {
            if place > 0 {
                learn(&mut chances[place & (EXPECTED_CHANCES - 1)], bit);
            }
        }
        self.by_node.learn(&seen.inputs, bit);
        self.by_set.learn(&seen.inputs, bit);
    }
}

/// Hashes of the contexts of a literal; `tail` are the eight bytes before it, the newest lowest.
#[inline]
pub(super) fn literal_hashes(tail: u64) -> [u32; HASHED] {
    let [b1, b2, b3, b4, ..] = tail.to_le_bytes().map(u32::from);
    let four = b1 | b2 << 8 | b3 << 16 | b4 << 24;
    let high = u32::try_from(tail >> 32 & 0xff).unwrap_or(0);
    let contexts = [
        hash(&[1, b1]),
        hash(&[2, b1, b2]),
        hash(&[3, four & 0xff_ffff]),
        hash(&[5, four, high]),
        hash(&[7, b2, b3]),
        hash(&[8, b4, u32::try_from(tail >> 56).unwrap_or(0)]),
        hash(&[10, b3, b4]),
        hash(&[11, four & 0xff, b4]),
    ];
    contexts.map(|context| hash(&[context]))
}

/// The hashes of contexts for the half byte that begins at `node`.
#[inline]
pub(super) fn at_node(hashes: &[u32; HASHED], node: u32) -> [u32; HASHED] {
    let mut index = 0;
    hashes.map(|hash| {
        index += 1;
        hash_on(hash, &[node << 8 | index])
    })
}

/// What a bit of this chance costs in 256ths of a bit, about: straight lines between the powers of
/// two.
fn cost(chance: u32) -> u32 {
    let log2 = chance.ilog2();
    (16 << 8) - (log2 << 8) - (((chance << (16 - log2)) >> 8) & 0xff)
}
