//! Histories of bits in a hashed table, half a byte at a time.

use super::ahead;
use super::counters::{pushed, seen};

/// Histories for the bits of half a byte in one context: a check, then 15 nodes of a tree.
pub(super) type Bucket = [u8; 16];

/// Buckets of the hashed table: 8 MiB.
const BUCKETS: usize = 1 << 19;

/// Buckets found by hash.
#[derive(Debug)]
pub(super) struct Buckets {
    memory: Vec<Bucket>,
    /// Four buckets that a context may be in lie within one line of a cache: the index of the first
    /// that begins one.
    start: usize,
}

impl Buckets {
    pub(super) fn new() -> Self {
        // All zero, so that memory is taken only where it is used.
        let memory = vec![[0; 16]; BUCKETS + 3];
        let start = memory.as_ptr().align_offset(64).min(3);
        Self { memory, start }
    }

    #[inline]
    fn all(&self) -> &[Bucket; BUCKETS] {
        self.memory[self.start..].first_chunk().expect("three more were made")
    }

    #[inline]
    fn all_mut(&mut self) -> &mut [Bucket; BUCKETS] {
        self.memory[self.start..].first_chunk_mut().expect("three more were made")
    }

    /// Brings the buckets of contexts into the cache.
    #[inline]
    pub(super) fn fetch<const N: usize>(&self, hashes: &[u32; N]) {
        let all = self.all();
        hashes.iter().for_each(|hash| ahead::fetch(&all[first(*hash)]));
    }

    /// Finds the buckets of contexts, in their order: the one with the check of the context among
    /// three, or the one of them that has seen least, emptied.
    #[inline]
    pub(super) fn find<const N: usize>(&mut self, hashes: &[u32; N]) -> [usize; N] {
        let all = self.all_mut();
        // Looking at all of them first brings them into the cache together.
        let checks = hashes.map(|hash| all[first(hash)][0]);
        let mut found = hashes.map(first);
        for ((found, was), hash) in found.iter_mut().zip(checks).zip(hashes) {
            let [check, ..] = hash.to_le_bytes();
            // Most contexts that were met are where they are looked for first.
            if was != check {
                *found = seek(all, *found, check);
            }
        }
        found
    }

    #[inline]
    pub(super) fn read<const N: usize>(&self, found: &[usize; N]) -> [Bucket; N] {
        let all = self.all();
        found.map(|at| all[at & (BUCKETS - 1)])
    }

    /// Appends four bits, the first on top, to the histories in buckets.
    #[inline]
    pub(super) fn push<const N: usize>(&mut self, found: &[usize; N], bits: u8) {
        let all = self.all_mut();
        let path = usize::from(bits) | 16;
        for at in found {
            let bucket = &mut all[at & (BUCKETS - 1)];
            for shift in (0..4).rev() {
                let history = &mut bucket[path >> (shift + 1) & 15];
                *history = pushed(*history, path >> shift & 1 == 1);
            }
        }
    }
}

/// The bucket among three that has the check, or that has seen least, emptied. Without branches:
/// nobody foretells which it is.
#[inline]
fn seek(all: &mut [Bucket; BUCKETS], first: usize, check: u8) -> usize {
    let places = [first, first ^ 1, first ^ 2].map(|at| at & (BUCKETS - 1));
    let [a, b, c] = places.map(|at| &all[at]);
    let [seen_a, seen_b, seen_c] = [a, b, c].map(|bucket| seen(bucket[1]));
    let (least, seen) = if seen_b < seen_a { (places[1], seen_b) } else { (places[0], seen_a) };
    let at = if seen_c < seen { places[2] } else { least };
    let [in_a, in_b, in_c] = [a, b, c].map(|bucket| bucket[0] == check);
    let at = if in_c { places[2] } else { at };
    let at = if in_b { places[1] } else { at };
    let at = if in_a { places[0] } else { at };
    let kept = if in_a | in_b | in_c { u128::MAX } else { 0 };
    let bucket = &mut all[at];
    *bucket = (u128::from_le_bytes(*bucket) & kept | u128::from(check)).to_le_bytes();
    at
}

/// The index of the bucket where a context is looked for first.
#[inline]
fn first(hash: u32) -> usize {
    (hash >> 8) as usize & (BUCKETS - 1)
}
