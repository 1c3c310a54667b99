//! What will be needed soon, brought into the cache while the bits before it are coded.
//!
//! The tables are larger than most caches, and a bit is coded in less time than one look into
//! memory takes. So before the last bits of a byte are known, whatever each outcome would need is
//! fetched. It is a hint: nothing that is coded depends on it.

use super::buckets::Buckets;
use super::bytes::{at_node, literal_hashes};
use super::history::History;

/// Where what follows a byte is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead<'a> {
    pub(super) history: &'a History,
    /// The last eight bytes of the target.
    pub(super) tail: u64,
    /// Whether a literal follows.
    pub(super) is_literal: bool,
}

impl Ahead<'_> {
    /// Two bits before the end of a byte: `known` are those before, under a set bit.
    #[inline]
    pub(super) fn two_bits(&self, known: u32) {
        for last in 0..4 {
            self.history.fetch_place(self.tail_with(known << 2 | last));
        }
    }

    /// One bit before the end of a byte.
    #[inline]
    pub(super) fn one_bit(&self, known: u32, buckets: &Buckets) {
        for last in 0..2 {
            let tail = self.tail_with(known << 1 | last);
            self.history.fetch_match(tail);
            if self.is_literal {
                buckets.fetch(&at_node(&literal_hashes(tail), 1));
            }
        }
    }

    fn tail_with(&self, byte: u32) -> u64 {
        self.tail << 8 | u64::from(byte & 0xff)
    }
}

/// Brings a value into the cache, without waiting for it.
#[inline]
pub(super) fn fetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_t0(value);
    // Elsewhere there is nothing safe to ask with, and reading it would wait.
    #[cfg(not(target_arch = "x86_64"))]
    let _unused = value;
}
