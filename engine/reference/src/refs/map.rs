//! The map (9.4): what addresses and places become.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::region::Region;
use super::{Copy, Listed};
use crate::Result;
use crate::bytes::Bytes;

/// Addresses that move unlike their bytes.
#[derive(Clone)]
pub(super) struct Move {
    start: u64,
    len: u64,
    shift: u64,
}

impl Move {
    /// Reads the moves of one region (9.1).
    pub(super) fn read(column: &mut Bytes<'_>, count: u64) -> Result<Vec<Self>> {
        let (mut moves, mut end) = (Vec::new(), 0_u64);
        for _ in 0..count {
            let overflow = "a move passes the last address";
            let start = end.checked_add(column.varint()?).ok_or(overflow)?;
            let len = column.varint()?;
            end = start.checked_add(len).ok_or(overflow)?;
            moves.push(Self { start, len, shift: column.signed()?.cast_unsigned() });
        }
        Ok(moves)
    }
}

pub(super) struct Map {
    /// From which byte of the source on there is which diagonal, up to the next.
    diagonals: Vec<(u64, u64)>,
    /// The diagonal of the region's first byte.
    first: u64,
    biases: Vec<u64>,
    moves: Vec<Move>,
}

impl Map {
    /// The map that these copies make; all touch the region.
    pub(super) fn of(copies: Vec<Copy>, region: &Region, listed: &Listed) -> Self {
        let mut diagonals: Vec<(u64, u64)> = Vec::new();
        let mut covered_to = region.range.start;
        for (start, end, diagonal) in longest(copies) {
            let (start, end) = (start.max(region.range.start), end.min(region.range.end));
            if start >= end {
                continue;
            }
            // Of bytes that no copy has, the lower half belongs to the lower copy, a middle too.
            let middle = match diagonals.last() {
                Some(_) => start - (start - covered_to) / 2,
                None => region.range.start,
            };
            diagonals.push((middle, diagonal));
            covered_to = end;
        }
        let first = diagonals.first().map_or(0, |first| first.1);
        Self { diagonals, first, biases: listed.biases.clone(), moves: listed.moves.clone() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.diagonals.is_empty()
    }

    /// The diagonal of a byte of the region.
    pub(super) fn diagonal(&self, offset: u64) -> u64 {
        let count = self.diagonals.partition_point(|(start, _)| *start <= offset);
        self.diagonals.get(count.saturating_sub(1)).map_or(0, |found| found.1)
    }

    /// What an address becomes.
    pub(super) fn address(&self, region: &Region, address: u64) -> u64 {
        let after = self.moves.partition_point(|next| next.start <= address);
        if let Some(found) = self.moves[..after].last()
            && address - found.start < found.len
        {
            return address.wrapping_add(found.shift);
        }
        let Some((index, load)) = region.load_of(address) else { return address };
        let offset = load.offset + (address - load.address).min(load.file_len - 1);
        let moved = self.first.wrapping_sub(self.diagonal(offset));
        address.wrapping_add(moved).wrapping_add(self.bias(index))
    }

    /// What the address of a place becomes, in a copy along a diagonal.
    pub(super) fn place(&self, region: &Region, address: u64, diagonal: u64) -> u64 {
        let bias = region.load_of(address).map_or(0, |(index, _)| self.bias(index));
        address.wrapping_add(self.first).wrapping_sub(diagonal).wrapping_add(bias)
    }

    fn bias(&self, load: usize) -> u64 {
        self.biases.get(load).copied().unwrap_or(0)
    }
}

/// Stretches of the source, and the diagonal of the longest copy that has them; of equally long
/// ones that which starts first in the source, then in the target.
fn longest(copies: Vec<Copy>) -> Vec<(u64, u64, u64)> {
    let mut edges: Vec<_> = copies
        .iter()
        .flat_map(|copy| {
            let rank = (Reverse(copy.len), copy.source, copy.target);
            [(copy.source, true, rank), (copy.end(), false, rank)]
        })
        .collect();
    edges.sort_unstable();
    edges.dedup();
    let (mut stretches, mut open, mut before) = (Vec::new(), BTreeSet::new(), 0);
    for (at, is_start, rank) in edges {
        if let Some((_, source, target)) = open.first().filter(|_| before < at) {
            stretches.push((before, at, u64::wrapping_sub(*source, *target)));
        }
        if is_start {
            open.insert(rank);
        } else {
            open.remove(&rank);
        }
        before = at;
    }
    stretches
}
