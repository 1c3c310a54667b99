//! The map: where each address of a region lies in the target, by what the copies say.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::region::{Load, Region};

/// A copy of a frame: `len` bytes of the source from byte `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Where it starts in the source, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Source offset minus target offset.
    pub diagonal: i64,
}

/// Addresses that move unlike their bytes, or that have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The first address.
    pub start: u64,
    /// How many addresses.
    pub len: u64,
    /// What is added to each.
    pub shift: i64,
}

/// Where the addresses of one region lie in the target.
///
/// The diagonal at a byte of the source is that of the longest copy there; of equally long ones
/// that which starts first in the source, then in the target. Where no copy of
/// [`Map::COPY_LEN_MIN`] bytes is, it is that of the nearest byte that has one, of the lower one
/// where both are as near. An address moves by what its byte's diagonal differs from that of the
/// region's first byte, so that a file that moves whole keeps its addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map {
    /// Where the region starts in the source.
    offset: u64,
    loads: Vec<Load>,
    biases: Vec<i64>,
    moves: Vec<Move>,
    /// Where each stretch of one diagonal starts, from the region's start; the first is 0.
    starts: Vec<u32>,
    diagonals: Vec<i64>,
    /// How many stretches start before each multiple of `1 << shift` bytes: about as many numbers
    /// as there are stretches, so that few are left to search.
    counts: Vec<u32>,
    shift: u32,
}

impl Map {
    /// Shorter copies say nothing of where things moved: they are found by chance.
    pub const COPY_LEN_MIN: u64 = 24;

    /// The map of a region by the copies that touch it, in any order. A load without a bias has
    /// the bias 0. `moves` are in order and disjoint.
    #[must_use]
    pub fn of(
        copies: impl IntoIterator<Item = Copy>,
        region: &Region,
        biases: &[i64],
        moves: &[Move],
    ) -> Self {
        let mut map = Self {
            offset: region.offset,
            loads: region.loads.clone(),
            biases: biases.to_vec(),
            moves: moves.to_vec(),
            starts: Vec::new(),
            diagonals: Vec::new(),
            counts: Vec::new(),
            shift: 0,
        };
        let mut end = None;
        for (from, to, diagonal) in longest(copies, region) {
            // Up to the middle, the bytes between two runs are nearer to the lower one.
            let start = end.map_or(0, |end| u32::midpoint(end, from + u32::from(end < from)));
            if map.diagonals.last() != Some(&diagonal) {
                map.starts.push(start);
                map.diagonals.push(diagonal);
            }
            end = Some(to);
        }
        map.count(region.len);
        map
    }

    /// Counts the stretches of a region of `len` bytes.
    fn count(&mut self, len: u64) {
        let stretches = self.starts.len() as u64;
        self.shift = (0..u64::BITS - 1).find(|shift| len >> shift <= stretches).unwrap_or(0);
        let mut count = 0;
        for bucket in 0..=len >> self.shift {
            let before = self.starts.get(count..).unwrap_or(&[]);
            let first = bucket << self.shift;
            count += before.iter().take_while(|start| u64::from(**start) < first).count();
            self.counts.push(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Whether no copy says anything of the region.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagonals.is_empty()
    }

    /// Stretches of one diagonal: where each starts in the source, and its diagonal, by start. The
    /// first starts with the region, each ends where the next one starts.
    pub fn runs(&self) -> impl Iterator<Item = (u64, i64)> {
        let starts = self.starts.iter().map(|start| self.offset.saturating_add((*start).into()));
        starts.zip(self.diagonals.iter().copied())
    }

    /// What an address becomes in the target.
    #[must_use]
    pub fn address(&self, address: u64) -> u64 {
        let next = self.moves.partition_point(|moved| moved.start <= address);
        if let Some(moved) = next.checked_sub(1).and_then(|last| self.moves.get(last))
            && address.wrapping_sub(moved.start) < moved.len
        {
            return address.wrapping_add_signed(moved.shift);
        }
        let Some((index, load)) = load_of(&self.loads, address) else { return address };
        let into = address.wrapping_sub(load.address).min(load.len.saturating_sub(1));
        let diagonal = self.diagonal(load.offset.wrapping_add(into));
        self.moved(address, diagonal, index)
    }

    /// What the address of a byte becomes that is copied along `diagonal`.
    #[must_use]
    pub fn place(&self, address: u64, diagonal: i64) -> u64 {
        let index = load_of(&self.loads, address).map_or(usize::MAX, |(index, _)| index);
        self.moved(address, diagonal, index)
    }

    fn moved(&self, address: u64, diagonal: i64, load: usize) -> u64 {
        let first = self.diagonals.first().copied().unwrap_or(diagonal);
        let bias = self.biases.get(load).copied().unwrap_or(0);
        address.wrapping_add_signed(first.wrapping_sub(diagonal).wrapping_add(bias))
    }

    /// The diagonal at a byte of the source.
    #[must_use]
    pub fn diagonal(&self, offset: u64) -> i64 {
        let into = u32::try_from(offset.saturating_sub(self.offset)).unwrap_or(u32::MAX);
        let bucket = usize::try_from(u64::from(into) >> self.shift).unwrap_or(usize::MAX);
        let count = |bucket: usize| {
            self.counts.get(bucket).map_or(self.starts.len(), |count| *count as usize)
        };
        let (from, to) = (count(bucket), count(bucket.saturating_add(1)));
        let near = self.starts.get(from..to).unwrap_or(&[]);
        let next = from + near.partition_point(|start| *start <= into);
        self.diagonals.get(next.saturating_sub(1)).copied().unwrap_or(0)
    }
}

/// The load that an address belongs to, and its index: the last one that starts at or before it,
/// its end included, since that is what a pointer behind the last byte means.
fn load_of(loads: &[Load], address: u64) -> Option<(usize, &Load)> {
    // The file stands behind all others, also behind those of higher addresses.
    let (file, others) = loads.split_last()?;
    let before = others.partition_point(|load| load.address <= address).checked_sub(1);
    let other = before.and_then(|index| Some((index, others.get(index)?)));
    let (index, load) = match other {
        Some(found) if found.1.address > file.address => found,
        _ if file.address <= address => (others.len(), file),
        found => found?,
    };
    (address - load.address <= load.memory_len).then_some((index, load))
}

/// A copy in the order of preference, the best one greatest, and its end.
type Ranked = (u64, Reverse<u64>, Reverse<u64>, u64, i64);

/// Runs of the region, by start from its start, each with the diagonal of its longest copy.
fn longest(copies: impl IntoIterator<Item = Copy>, region: &Region) -> Vec<(u32, u32, i64)> {
    let region_end = region.offset.saturating_add(region.len);
    let mut copies: Vec<Copy> = copies
        .into_iter()
        .filter(|copy| copy.len >= Map::COPY_LEN_MIN)
        .filter(|copy| copy.offset < region_end)
        .filter(|copy| copy.offset.saturating_add(copy.len) > region.offset)
        .collect();
    copies.sort_unstable_by_key(|copy| copy.offset);
    let mut runs: Vec<(u32, u32, i64)> = Vec::new();
    let mut waiting = copies.into_iter().peekable();
    let mut open: BinaryHeap<Ranked> = BinaryHeap::new();
    let mut at = region.offset;
    while at < region_end {
        while let Some(copy) = waiting.next_if(|copy| copy.offset <= at) {
            let target = copy.offset.wrapping_sub(copy.diagonal.cast_unsigned());
            let end = copy.offset.saturating_add(copy.len);
            open.push((copy.len, Reverse(copy.offset), Reverse(target), end, copy.diagonal));
        }
        let next = waiting.peek().map_or(region_end, |copy| copy.offset).min(region_end);
        let Some(&(_, _, _, end, diagonal)) = open.peek() else {
            at = next;
            continue;
        };
        if end <= at {
            open.pop();
            continue;
        }
        let to = end.min(next);
        let (Ok(from), Ok(until)) =
            (u32::try_from(at - region.offset), u32::try_from(to - region.offset))
        else {
            break;
        };
        match runs.last_mut() {
            Some(last) if last.1 == from && last.2 == diagonal => last.1 = until,
            _ => runs.push((from, until, diagonal)),
        }
        at = to;
    }
    runs
}
