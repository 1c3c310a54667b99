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
    moved: Sieve,
    /// Where each stretch of one diagonal starts, from the region's start; the first is 0.
    starts: Vec<u32>,
    diagonals: Vec<i64>,
    /// How many stretches start in front of each multiple of `1 << coarse_log2` bytes, so that few
    /// are left to search.
    coarse: Vec<u32>,
    coarse_log2: u32,
}

/// Addresses that belong to one load.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InLoad {
    first: u64,
    count: u64,
    /// Where the load's bytes start in the source, and how far its last one is from there.
    offset: u64,
    last: u64,
    bias: i64,
}

/// Says of most addresses that they are in no move, without a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sieve {
    first: u64,
    /// Of each `1 << log2` addresses from the first on, whether any is in a move.
    log2: u32,
    bits: [u64; Self::WORDS],
}

impl Sieve {
    const WORDS: usize = 8;

    /// The sieve of moves in order.
    fn of(moves: &[Move]) -> Self {
        let moves = moves.iter().filter(|moved| moved.len > 0);
        let first = moves.clone().next().map_or(0, |moved| moved.start);
        let last = |moved: &Move| moved.start.saturating_add(moved.len - 1).saturating_sub(first);
        let count = 64 * Self::WORDS as u64;
        let most = moves.clone().map(last).max().unwrap_or(0);
        let log2 = (0..u64::BITS).find(|log2| most >> log2 < count).unwrap_or(0);
        let mut sieve = Self { first, log2, bits: [0; Self::WORDS] };
        for moved in moves {
            for place in moved.start.saturating_sub(first) >> log2..=last(moved) >> log2 {
                let word = usize::try_from(place / 64).ok().and_then(|w| sieve.bits.get_mut(w));
                word.into_iter().for_each(|word| *word |= 1 << (place % 64));
            }
        }
        sieve
    }

    /// Whether a move may hold this address.
    fn may_hold(&self, address: u64) -> bool {
        let place = address.wrapping_sub(self.first) >> self.log2;
        let word = usize::try_from(place / 64).ok().and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
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
        let has_bias = biases.iter().any(|bias| *bias != 0);
        let mut map = Self {
            offset: region.offset,
            loads: region.loads.clone(),
            biases: if has_bias { biases.to_vec() } else { Vec::new() },
            moves: moves.to_vec(),
            moved: Sieve::of(moves),
            ..Self::default()
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
        map.count_coarsely();
        map
    }

    /// Fills `coarse`, with no more numbers than there are stretches.
    fn count_coarsely(&mut self) {
        let last = self.starts.last().copied().unwrap_or(0);
        let count = self.starts.len();
        let is_fine = |log2: &u32| (last >> log2) as usize + 1 < count;
        self.coarse_log2 = (0..u32::BITS).find(is_fine).unwrap_or(u32::BITS - 1);
        for (start, index) in self.starts.iter().zip(0_u32..) {
            let place = (start >> self.coarse_log2) as usize;
            if place >= self.coarse.len() {
                self.coarse.resize(place + 1, index);
            }
        }
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn memory_len(&self) -> usize {
        let stretches = size_of_val(&self.starts[..]) + size_of_val(&self.diagonals[..]);
        stretches + size_of_val(&self.coarse[..]) + size_of_val(&self.moves[..])
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
        self.address_near(address, &mut InLoad::default())
    }

    /// As [`Map::address`], for one address after another: most belong to the load that the last
    /// one belonged to.
    pub(super) fn address_near(&self, address: u64, last: &mut InLoad) -> u64 {
        if let Some(moved) = self.move_of(address) {
            return address.wrapping_add_signed(moved.shift);
        }
        if address.wrapping_sub(last.first) >= last.count {
            let Some(in_load) = self.in_load(address) else { return address };
            *last = in_load;
        }
        let into = address.wrapping_sub(last.first).min(last.last);
        let shift = self.shift(self.diagonal(last.offset.wrapping_add(into)));
        address.wrapping_add_signed(shift.wrapping_add(last.bias))
    }

    fn move_of(&self, address: u64) -> Option<&Move> {
        if !self.moved.may_hold(address) {
            return None;
        }
        let next = self.moves.partition_point(|moved| moved.start <= address);
        let moved = self.moves.get(next.checked_sub(1)?)?;
        (address.wrapping_sub(moved.start) < moved.len).then_some(moved)
    }

    /// The addresses that belong to the load that this one belongs to.
    fn in_load(&self, address: u64) -> Option<InLoad> {
        let (index, load) = load_of(&self.loads, address)?;
        // The next load takes what it starts before.
        let starts = self.loads.iter().map(|load| load.address);
        let next = starts.filter(|start| *start > address).min().unwrap_or(u64::MAX);
        Some(InLoad {
            first: load.address,
            count: load.memory_len.saturating_add(1).min(next - load.address),
            offset: load.offset,
            last: load.len.saturating_sub(1),
            bias: self.bias(index),
        })
    }

    /// What the address of a byte becomes that is copied along `diagonal`.
    #[must_use]
    pub fn place(&self, address: u64, diagonal: i64) -> u64 {
        let bias = if self.biases.is_empty() {
            0
        } else {
            load_of(&self.loads, address).map_or(0, |(index, _)| self.bias(index))
        };
        address.wrapping_add_signed(self.shift(diagonal).wrapping_add(bias))
    }

    /// How far addresses move whose bytes are on this diagonal.
    fn shift(&self, diagonal: i64) -> i64 {
        let first = self.diagonals.first().copied().unwrap_or(diagonal);
        first.wrapping_sub(diagonal)
    }

    fn bias(&self, load: usize) -> i64 {
        self.biases.get(load).copied().unwrap_or(0)
    }

    /// The diagonal at a byte of the source.
    #[must_use]
    pub fn diagonal(&self, offset: u64) -> i64 {
        self.diagonals.get(self.run(offset)).copied().unwrap_or(0)
    }

    /// The diagonal at a byte of the source, and the first byte behind that may have another.
    pub(super) fn diagonal_until(&self, offset: u64) -> (i64, u64) {
        let run = self.run(offset);
        let end = self.starts.get(run + 1);
        let end = end.map_or(u64::MAX, |start| self.offset.saturating_add((*start).into()));
        (self.diagonals.get(run).copied().unwrap_or(0), end)
    }

    /// The index of the stretch that a byte of the source is in.
    fn run(&self, offset: u64) -> usize {
        let into = u32::try_from(offset.saturating_sub(self.offset)).unwrap_or(u32::MAX);
        let place = (into >> self.coarse_log2) as usize;
        let count =
            |place: usize| self.coarse.get(place).map_or(self.starts.len(), |c| *c as usize);
        let (from, to) = (count(place), count(place + 1));
        let next = from + self.starts[from..to].partition_point(|start| *start <= into);
        next.saturating_sub(1)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The coarse index, the sieve and the load last found only save time.
        #[test]
        fn addresses_go_where_a_plain_search_finds_them(
            lens in prop::collection::vec((24_u64..3000, -40_i64..40), 0..200),
            spaces in prop::collection::vec((0_u64..5000, 0_u64..300), 0..60),
            far in prop_oneof![Just(0_u64), Just(1 << 40), Just(5 << 60)],
            addresses in prop::collection::vec(0_u64..700_000, 1..200),
        ) {
            let mut region = Region::new(0);
            let load = |offset, address, memory_len| {
                Load { offset, len: 200_000, address, memory_len, code: true }
            };
            region.load(600_000, vec![load(0, 0, 200_000), load(200_000, 1 << 18, 300_000)], false);
            let mut offset = 0;
            let copies: Vec<Copy> = lens.iter().map(|(len, diagonal)| {
                offset += len;
                Copy { offset: offset - len, len: *len, diagonal: *diagonal }
            }).collect();
            let mut start = 1000;
            let mut moves: Vec<Move> = spaces.iter().map(|(gap, len)| {
                start += gap + len;
                Move { start: start - len, len: *len, shift: 7000 }
            }).collect();
            moves.push(Move { start: far.max(start), len: 9, shift: 9000 });
            let map = Map::of(copies, &region, &[], &moves);
            let mut last = InLoad::default();
            for address in addresses.into_iter().chain([far, far + 9]) {
                let holds = |moved: &&Move| address.wrapping_sub(moved.start) < moved.len;
                let expected = match moves.iter().find(holds) {
                    Some(moved) => address.wrapping_add_signed(moved.shift),
                    None => match load_of(&region.loads, address) {
                        Some((_, load)) => {
                            let at = load.offset + (address - load.address).min(load.len - 1);
                            let run = map.runs().filter(|(start, _)| *start <= at).last();
                            map.place(address, run.map_or(0, |(_, diagonal)| diagonal))
                        }
                        None => address,
                    },
                };
                prop_assert_eq!(map.address_near(address, &mut last), expected);
                prop_assert_eq!(map.address(address), expected);
            }
        }
    }
}
