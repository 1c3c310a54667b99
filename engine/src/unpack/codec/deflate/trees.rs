//! Huffman codes as zlib makes them (trees.c), and the header of a block that tells them.
//!
//! gzip, zip and all that links zlib make a block's codes from its counts alone in this way, down
//! to which of two equal counts goes first; so they need not be carried.

use super::{CODE_LENGTH_ORDER, DISTANCE_COUNT, LITERAL_COUNT};
use crate::unpack::codec::bits::BitWriter;

/// Longest code of literals and distances, in bits (RFC 1951, section 3.2.7).
const CODE_LEN_MAX: u8 = 15;

/// Longest code of code lengths, in bits.
const CODE_LENGTH_LEN_MAX: u8 = 7;

/// Code lengths of both alphabets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) literals: Vec<u8>,
    pub(super) distances: Vec<u8>,
}

/// The lengths that zlib chooses for these counts, up to the last code that is used.
pub(super) fn lengths(literal_counts: &[u32], distance_counts: &[u32]) -> Lengths {
    let mut literals = build(literal_counts, CODE_LEN_MAX);
    let mut distances = build(distance_counts, CODE_LEN_MAX);
    literals.truncate(used(&literals).max(257));
    distances.truncate(used(&distances).max(1));
    Lengths { literals, distances }
}

/// Writes the header that zlib writes for these lengths, behind the block's three bits.
pub(super) fn write_header(lengths: &Lengths, out: &mut BitWriter) {
    let mut runs = Vec::new();
    put_runs(&lengths.literals, &mut runs);
    put_runs(&lengths.distances, &mut runs);
    let mut counts = [0; 19];
    for run in &runs {
        counts[usize::from(run.code)] += 1;
    }
    let code_lengths = build(&counts, CODE_LENGTH_LEN_MAX);
    let in_order = CODE_LENGTH_ORDER.map(|code| code_lengths[code]);
    let sent = used(&in_order).max(4);
    out.put((lengths.literals.len() - LITERAL_COUNT_MIN) as u64, 5);
    out.put((lengths.distances.len() - 1) as u64, 5);
    out.put((sent - 4) as u64, 4);
    for len in &in_order[..sent] {
        out.put(u64::from(*len), 3);
    }
    let codes = super::huffman::codes(&code_lengths).expect("they fill their space");
    for run in runs {
        let code = usize::from(run.code);
        out.put(u64::from(codes[code]), code_lengths[code].into());
        out.put(u64::from(run.extra), EXTRA_BITS[code.saturating_sub(15)]);
    }
}

const LITERAL_COUNT_MIN: usize = 257;

/// How many lengths there are up to the last that is not 0.
fn used(lengths: &[u8]) -> usize {
    lengths.iter().rposition(|len| *len > 0).map_or(0, |last| last + 1)
}

/// Bits behind the codes 15 (none), 16, 17 and 18 of code lengths.
const EXTRA_BITS: [u32; 4] = [0, 2, 3, 7];

/// A code of code lengths, and what follows it.
struct Run {
    code: u8,
    extra: u8,
}

/// Code lengths as runs (`scan_tree` and `send_tree` of zlib): greedy, each alphabet by itself.
fn put_runs(lengths: &[u8], runs: &mut Vec<Run>) {
    let mut before = None;
    let mut rest = lengths;
    while let Some(&len) = rest.first() {
        let count_max = match len {
            0 => 138,
            _ if before == Some(len) => 6,
            _ => 7,
        };
        let count = rest.iter().take(count_max).take_while(|other| **other == len).count();
        let short = if len == 0 || before == Some(len) { 3 } else { 4 };
        let extra = |from: usize| u8::try_from(count - from).expect("at most 138");
        if count < short {
            runs.extend((0..count).map(|_| Run { code: len, extra: 0 }));
        } else if len == 0 {
            runs.push(match count {
                ..=10 => Run { code: 17, extra: extra(3) },
                _ => Run { code: 18, extra: extra(11) },
            });
        } else if before == Some(len) {
            runs.push(Run { code: 16, extra: extra(3) });
        } else {
            runs.push(Run { code: len, extra: 0 });
            runs.push(Run { code: 16, extra: extra(4) });
        }
        before = Some(len);
        rest = &rest[count..];
    }
}

/// Code lengths for counts, none longer than `len_max` (`build_tree` and `gen_bitlen` of zlib).
fn build(counts: &[u32], len_max: u8) -> Vec<u8> {
    let mut counts = counts.to_vec();
    let code_count = counts.len();
    let mut heap = Heap::default();
    heap.nodes.extend((0..code_count).filter(|code| counts[*code] > 0));
    // At least two codes, of count 1, so that there is a tree.
    while heap.nodes.len() < 2 {
        let last = heap.nodes.last().copied();
        let forced = match last {
            Some(last) if last >= 2 => 0,
            Some(last) => last + 1,
            None => 0,
        };
        counts[forced] = 1;
        heap.nodes.push(forced);
    }
    heap.counts = counts.iter().map(|count| u64::from(*count)).collect();
    heap.depths = vec![0; code_count];
    let (order, parents) = heap.into_tree();
    limit(&order, &parents, code_count, len_max)
}

/// Nodes by count and depth; what is lighter is on top.
#[derive(Default)]
struct Heap {
    nodes: Vec<usize>,
    counts: Vec<u64>,
    depths: Vec<u8>,
}

impl Heap {
    /// Joins the two lightest nodes until one is left. Gives all nodes from the root down to the
    /// lightest, and the parent of each.
    fn into_tree(mut self) -> (Vec<usize>, Vec<usize>) {
        let mut parents = vec![usize::MAX; self.counts.len()];
        let mut order = Vec::new();
        for at in (0..self.nodes.len() / 2).rev() {
            self.sink(at);
        }
        while self.nodes.len() > 1 {
            let lightest = self.nodes[0];
            let last = self.nodes.pop().expect("there are two");
            self.nodes[0] = last;
            self.sink(0);
            let second = self.nodes[0];
            order.extend([lightest, second]);
            let node = self.counts.len();
            self.counts.push(self.counts[lightest] + self.counts[second]);
            self.depths.push(self.depths[lightest].max(self.depths[second]).saturating_add(1));
            parents[lightest] = node;
            parents[second] = node;
            parents.push(usize::MAX);
            self.nodes[0] = node;
            self.sink(0);
        }
        order.push(self.nodes[0]);
        order.reverse();
        (order, parents)
    }

    fn sink(&mut self, mut at: usize) {
        let node = self.nodes[at];
        loop {
            let mut child = at * 2 + 1;
            if child >= self.nodes.len() {
                break;
            }
            if child + 1 < self.nodes.len()
                && self.is_lighter(self.nodes[child + 1], self.nodes[child])
            {
                child += 1;
            }
            if self.is_lighter(node, self.nodes[child]) {
                break;
            }
            self.nodes[at] = self.nodes[child];
            at = child;
        }
        self.nodes[at] = node;
    }

    fn is_lighter(&self, one: usize, other: usize) -> bool {
        (self.counts[one], self.depths[one]) <= (self.counts[other], self.depths[other])
    }
}

/// Depths in the tree, with what is deeper than `len_max` moved up as zlib does.
fn limit(order: &[usize], parents: &[usize], code_count: usize, len_max: u8) -> Vec<u8> {
    let mut lens = vec![0_u8; parents.len()];
    let mut counts = [0_u32; 17];
    let mut overflow = 0_i64;
    for node in &order[1..] {
        let mut len = lens[parents[*node]] + 1;
        if len > len_max {
            len = len_max;
            overflow += 1;
        }
        lens[*node] = len;
        if *node < code_count {
            counts[usize::from(len)] += 1;
        }
    }
    if overflow > 0 {
        while overflow > 0 {
            let mut len = usize::from(len_max) - 1;
            while counts[len] == 0 {
                len -= 1;
            }
            // Move one leaf down the tree, and one of what is too deep as its brother.
            counts[len] -= 1;
            counts[len + 1] += 2;
            counts[usize::from(len_max)] -= 1;
            overflow -= 2;
        }
        let mut leaves = order.iter().rev().filter(|node| **node < code_count);
        for len in (1..=len_max).rev() {
            for _ in 0..counts[usize::from(len)] {
                lens[*leaves.next().expect("as many leaves as counted")] = len;
            }
        }
    }
    lens.truncate(code_count);
    lens
}

const _: () = assert!(LITERAL_COUNT == 286 && DISTANCE_COUNT == 30);
