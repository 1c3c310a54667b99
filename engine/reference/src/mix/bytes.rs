//! A byte, bit by bit from what is expected (10.6, 10.7).

use super::decide::{Chance, Code, Mixer, Refiner, hash, squash, stretch};
use crate::Result;

/// In what a byte is decoded.
pub(super) struct Contexts {
    pub(super) hashes: [u32; 8],
    /// Bytes that it may be, each with its class; class 0 stands for none.
    pub(super) expected: [(u8, u32); 4],
    pub(super) mode: u32,
    pub(super) set: u32,
    pub(super) before: u32,
}

/// A check, then 15 histories.
type Bucket = [u8; 16];

pub(super) struct ByteModel {
    buckets: Vec<Bucket>,
    /// Histories of order 0.
    short: Vec<u8>,
    /// For mode 0 and for others: for each history of a bit, chances by its state.
    maps: Vec<[[Chance; 256]; 9]>,
    expected: [Vec<Chance>; 4],
    by_node: Mixer,
    by_set: Mixer,
    last: Mixer,
    node_refiner: Refiner,
    before_refiner: Refiner,
}

impl ByteModel {
    pub(super) fn new() -> Self {
        Self {
            buckets: vec![[0; 16]; 1 << 19],
            short: vec![0; 4096],
            maps: vec![[[Chance::NEW; 256]; 9]; 2],
            expected: [(); 4].map(|()| vec![Chance::NEW; 1024]),
            by_node: Mixer::new(14, 4096, 18724, 28, 14),
            by_set: Mixer::new(14, 512, 18724, 28, 14),
            last: Mixer::new(2, 256, 32768, 8, 2),
            node_refiner: Refiner::new(4096),
            before_refiner: Refiner::new(2048),
        }
    }

    /// Decodes a byte; what it cost is added up in `cost`.
    pub(super) fn byte(&mut self, code: &mut Code, asked: &Contexts, cost: &mut i64) -> Result<u8> {
        let (mut node, mut found) = (1, [0; 8]);
        for place in (0..8).rev() {
            if place % 4 == 3 {
                found = self.find(&asked.hashes, node);
            }
            let bit = self.bit(code, asked, &found, node, place, cost)?;
            node = node << 1 | u32::from(bit);
        }
        Ok(node.to_le_bytes()[0])
    }

    /// Puts a byte that is known into the histories of 8 contexts.
    pub(super) fn note(&mut self, hashes: &[u32; 8], byte: u8) {
        let (mut node, mut found) = (1, [0; 8]);
        for place in (0..8).rev() {
            if place % 4 == 3 {
                found = self.find(hashes, node);
            }
            let bit = byte >> place & 1 == 1;
            for bucket in found {
                let history = &mut self.buckets[bucket][leaf(node, place)];
                *history = after(*history, bit);
            }
            node = node << 1 | u32::from(bit);
        }
    }

    fn bit(
        &mut self,
        code: &mut Code,
        asked: &Contexts,
        found: &[usize; 8],
        node: u32,
        place: u32,
        cost: &mut i64,
    ) -> Result<bool> {
        let Contexts { mode, set, before, .. } = *asked;
        let (mode_node, leaf) = ((mode << 8 | node) as usize, leaf(node, place));
        let histories = found.map(|bucket| self.buckets[bucket][leaf]);
        let histories: Vec<u8> = [self.short[mode_node]].into_iter().chain(histories).collect();
        let maps = &mut self.maps[usize::from(mode > 0)];
        let mut inputs: Vec<i64> = Vec::new();
        for (map, history) in maps.iter().zip(&histories) {
            let logit = || stretch(map[usize::from(*history)].value());
            inputs.push(if *history == 0 { 0 } else { logit() });
        }
        let chance_of = |(byte, class): (u8, u32)| {
            let byte = u32::from(byte) | 256;
            let agrees = class > 0 && byte >> (place + 1) == node;
            if agrees { (2 * class + (byte >> place & 1)) as usize } else { 0 }
        };
        let expected = asked.expected.map(chance_of);
        for (table, chance) in self.expected.iter().zip(expected) {
            inputs.push(if chance == 0 { 0 } else { stretch(table[chance].value()) });
        }
        inputs.push(256);
        let set = set as usize;
        let (a, b) = (self.by_node.mix(mode_node, &inputs), self.by_set.mix(set, &inputs));
        let last_set = (mode << 3 | place) as usize;
        let x = self.last.mix(last_set, &[a, b]);
        let before_set = (hash(&[before, node, mode]) >> 21) as usize;
        let r1 = self.node_refiner.refine(mode_node, x);
        let r2 = self.before_refiner.refine(before_set, x);
        let chance = ((2 * squash(x) + r1 + r2) >> 2).clamp(1, 65535);
        let bit = code.bit(chance)?;
        *cost += cost_of(if bit { chance } else { 65536 - chance });

        self.short[mode_node] = after(self.short[mode_node], bit);
        for bucket in found {
            let history = &mut self.buckets[*bucket][leaf];
            *history = after(*history, bit);
        }
        for (map, history) in maps.iter_mut().zip(&histories) {
            map[usize::from(*history)].learn(bit);
        }
        for (table, chance) in self.expected.iter_mut().zip(expected) {
            table[chance].learn(bit);
        }
        self.by_node.learn(mode_node, &inputs, a, bit);
        self.by_set.learn(set, &inputs, b, bit);
        self.last.learn(last_set, &[a, b], x, bit);
        self.node_refiner.learn(mode_node, x, bit);
        self.before_refiner.learn(before_set, x, bit);
        Ok(bit)
    }

    /// The buckets of 8 contexts, for the bits behind those of the node.
    fn find(&mut self, hashes: &[u32; 8], node: u32) -> [usize; 8] {
        let mut keys = [0; 8];
        for ((key, context), j) in keys.iter_mut().zip(hashes).zip(1..) {
            *key = hash(&[*context, node << 8 | j]);
        }
        let home = |key: u32| (key >> 8) as usize % (1 << 19);
        let is_of = |bucket: &Bucket, key: u32| bucket[0] == key.to_le_bytes()[0];
        let is_home = keys.map(|key| is_of(&self.buckets[home(key)], key));
        let mut found = keys.map(home);
        for j in 0..8 {
            if is_home[j] {
                continue;
            }
            let near = [found[j], found[j] ^ 1, found[j] ^ 2];
            let known = near.into_iter().find(|bucket| is_of(&self.buckets[*bucket], keys[j]));
            found[j] = known.unwrap_or_else(|| {
                let least = near.into_iter().min_by_key(|bucket| bits(self.buckets[*bucket][1]));
                let least = least.expect("there are three");
                self.buckets[least] = [0; 16];
                self.buckets[least][0] = keys[j].to_le_bytes()[0];
                least
            });
        }
        found
    }
}

/// Where the history of a bit is in its bucket.
fn leaf(node: u32, place: u32) -> usize {
    match place {
        4.. => node as usize,
        _ => {
            let first = 1 << (3 - place);
            (first | node & (first - 1)) as usize
        }
    }
}

/// How many bits a history stands for.
fn bits(history: u8) -> u32 {
    match u32::from(history) {
        short @ 0..=126 => (short + 1).ilog2(),
        clear @ 127..=190 => clear - 120,
        set => set - 184,
    }
}

/// The history with one more bit.
fn after(history: u8, bit: bool) -> u8 {
    match (history, bit) {
        (0..=62, _) => 2 * history + 1 + u8::from(bit),
        (63, false) => 127,
        (126, true) => 191,
        (64..=126, _) | (63, true) => 63 + ((history - 63) << 1 & 63 | u8::from(bit)),
        (127..=190, false) => (history + 1).min(190),
        (127..=190, true) => 64,
        (191.., true) => history.saturating_add(1).min(254),
        (191.., false) => 125,
    }
}

/// Of what came with this chance, in 1/256 bits.
fn cost_of(chance: i64) -> i64 {
    let log = i64::from(chance.ilog2());
    4096 - 256 * log - (chance << (16 - log) >> 8 & 255)
}
