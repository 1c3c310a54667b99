//! Finite state entropy: tables and codes (RFC 8878, sections 4.1 and 4.1.1).

use crate::unpack::codec::bits::{BitReader, BitWriter};

/// Most bits of a state that any table of a frame has (section 3.1.1.3.2.1.1: literal lengths).
const LOG_MAX: u32 = 9;

/// Takes bits from the end of bytes, whose last bit that is set marks the end (section 4.1).
#[derive(Debug)]
pub(super) struct BackReader<'a> {
    bytes: &'a [u8],
    /// Bits that are left; fewer than none were taken as zeros.
    left: i64,
}

impl<'a> BackReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let last = bytes.last().filter(|last| **last > 0)?;
        let padding = i64::from(last.leading_zeros()) + 1;
        let len = i64::try_from(bytes.len()).ok()?;
        Some(Self { bytes, left: len * 8 - padding })
    }

    /// The next bits, at most 32; zeros in place of those before the start.
    pub(super) fn take_or_zeros(&mut self, count: u32) -> u64 {
        let end = self.left;
        self.left -= i64::from(count);
        // Below 0 where it starts before the first bit: then the bits that are there move up.
        let (start, missing) = match u64::try_from(self.left) {
            Ok(start) => (start, 0),
            Err(_) => (0, u32::try_from(self.left.unsigned_abs()).unwrap_or(u32::MAX)),
        };
        if end <= 0 || missing >= count {
            return 0;
        }
        let first = usize::try_from(start / 8).unwrap_or(usize::MAX);
        let mut word = [0; 8];
        let source = self.bytes.get(first..).unwrap_or_default();
        let held = source.len().min(8);
        word[..held].copy_from_slice(&source[..held]);
        let bits = u64::from_le_bytes(word) >> (start % 8);
        (bits & ((1 << (count - missing)) - 1)) << missing
    }

    /// The next bits; nothing if there are not so many.
    pub(super) fn take(&mut self, count: u32) -> Option<u64> {
        let bits = self.take_or_zeros(count);
        (self.left >= 0).then_some(bits)
    }

    /// Bits that are left; fewer than none were taken as zeros.
    pub(super) fn left(&self) -> i64 {
        self.left
    }
}

/// A state of a decoder: its symbol, and which states it can come from when it is decoded next.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    symbol: u8,
    bits: u8,
    base: u16,
}

/// A table of states, to decode and to encode by.
#[derive(Debug, Clone)]
pub(super) struct Table {
    log: u32,
    states: Vec<State>,
    /// Where the states of each symbol are in `by_symbol`.
    starts: Vec<u16>,
    /// All states, by symbol and then by number.
    by_symbol: Vec<u16>,
}

impl Table {
    /// One state, that takes no bits.
    pub(super) fn single(symbol: u8) -> Self {
        let states = vec![State { symbol, bits: 0, base: 0 }];
        let mut starts = vec![0; usize::from(symbol) + 1];
        starts.push(1);
        Self { log: 0, states, starts, by_symbol: vec![0] }
    }

    /// The table of counts that sum up to `1 << log`, where -1 is one that is less than one.
    pub(super) fn new(counts: &[i16], log: u32) -> Option<Self> {
        let size = 1_usize << log;
        let mut symbols = vec![0; size];
        let mut next = Vec::with_capacity(counts.len());
        let mut top = size;
        for (symbol, count) in (0_u8..).zip(counts) {
            next.push(count.unsigned_abs());
            if *count < 0 {
                top = top.checked_sub(1)?;
                symbols[top] = symbol;
            }
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut at = 0;
        for (symbol, count) in (0_u8..).zip(counts) {
            for _ in 0..*count {
                *symbols.get_mut(at)? = symbol;
                loop {
                    at = (at + step) & (size - 1);
                    if at < top {
                        break;
                    }
                }
            }
        }
        if at != 0 {
            return None;
        }
        let mut starts = vec![0_u16];
        for count in &next {
            starts.push(starts.last()?.checked_add(*count)?);
        }
        let mut by_symbol = vec![0; size];
        let mut filled = starts.clone();
        let mut states = Vec::with_capacity(size);
        for (number, symbol) in (0_u16..).zip(symbols) {
            let next = &mut next[usize::from(symbol)];
            let bits = log.checked_sub(next.checked_ilog2()?)?;
            let base = u16::try_from((u32::from(*next) << bits).checked_sub(1 << log)?).ok()?;
            *next += 1;
            states.push(State { symbol, bits: u8::try_from(bits).ok()?, base });
            let place = &mut filled[usize::from(symbol)];
            *by_symbol.get_mut(usize::from(*place))? = number;
            *place += 1;
        }
        Some(Self { log, states, starts, by_symbol })
    }

    /// The first state.
    pub(super) fn open(&self, bits: &mut BackReader<'_>) -> Option<u16> {
        u16::try_from(bits.take(self.log)?).ok()
    }

    /// The symbol of a state that this table gave.
    pub(super) fn symbol(&self, state: u16) -> u8 {
        self.states[usize::from(state)].symbol
    }

    /// The next state.
    pub(super) fn step(&self, state: u16, bits: &mut BackReader<'_>) -> Option<u16> {
        let State { bits: count, base, .. } = self.states[usize::from(state)];
        base.checked_add(u16::try_from(bits.take(count.into())?).ok()?)
    }

    /// The next state, with zeros for bits that are not there.
    fn step_or_zeros(&self, state: u16, bits: &mut BackReader<'_>) -> Option<u16> {
        let State { bits: count, base, .. } = self.states[usize::from(state)];
        base.checked_add(u16::try_from(bits.take_or_zeros(count.into())).ok()?)
    }

    fn states_of(&self, symbol: u8) -> Option<&[u16]> {
        let symbol = usize::from(symbol);
        let (start, end) = (*self.starts.get(symbol)?, *self.starts.get(symbol + 1)?);
        self.by_symbol.get(start.into()..end.into()).filter(|states| !states.is_empty())
    }

    /// The state in which the last symbol is encoded, which is encoded first: as libzstd has it,
    /// the first of the symbol's. Nothing if the table has no such symbol.
    pub(super) fn close(&self, symbol: u8) -> Option<u16> {
        self.states_of(symbol)?.first().copied()
    }

    /// Encodes a symbol before the state of what follows it.
    pub(super) fn encode(&self, symbol: u8, state: u16, out: &mut BitWriter) -> Option<u16> {
        let states = self.states_of(symbol)?;
        let count = u32::try_from(states.len()).ok()?;
        let number = u32::from(state) + (1 << self.log);
        // So many bits that `number`, without them, is from `count` to below twice it.
        let mut bits = number.ilog2() - count.ilog2();
        if number >> bits < count {
            bits -= 1;
        }
        out.put(u64::from(number & ((1 << bits) - 1)), bits);
        states.get(((number >> bits) - count) as usize).copied()
    }

    /// Writes the state that is decoded first.
    pub(super) fn flush(&self, state: u16, out: &mut BitWriter) {
        out.put(state.into(), self.log);
    }
}

/// Reads counts (section 4.1.1) of at most `symbols_max` symbols: the table, and how long they are
/// as bytes.
pub(super) fn read(bytes: &[u8], symbols_max: usize, log_max: u32) -> Option<(Table, usize)> {
    let mut bits = BitReader::new(bytes);
    let log = u32::try_from(bits.take(4)?).ok()? + 5;
    if log > log_max.min(LOG_MAX) {
        return None;
    }
    let mut left = 1_i32 << log;
    let mut counts: Vec<i16> = Vec::new();
    while left > 0 && counts.len() < symbols_max {
        // Values are up to `left + 1`, in as few bits as tell them apart; the low ones in one less.
        let max = u32::try_from(left + 1).ok()?;
        let width = max.ilog2() + 1;
        let low = u32::try_from(bits.peek(width - 1)).ok()?;
        let spare = (1 << width) - 1 - max;
        let value = if low < spare {
            bits.skip(width - 1)?;
            low
        } else {
            let value = u32::try_from(bits.take(width)?).ok()?;
            if value >> (width - 1) == 1 { value - spare } else { value }
        };
        let count = i16::try_from(value).ok()? - 1;
        counts.push(count);
        left -= i32::from(count).abs();
        if count == 0 {
            loop {
                let zeros = bits.take_usize(2)?;
                counts.extend(std::iter::repeat_n(0, zeros));
                if zeros < 3 || counts.len() > symbols_max {
                    break;
                }
            }
        }
    }
    if left != 0 || counts.len() > symbols_max {
        return None;
    }
    let len = usize::try_from(bits.position_bits().div_ceil(8)).ok()?;
    Some((Table::new(&counts, log)?, len))
}

/// Decodes bytes of two states that take turns, until the bits are used up (section 4.2.1.2).
pub(super) fn decode_pair(table: &Table, bytes: &[u8], count_max: usize) -> Option<Vec<u8>> {
    let mut bits = BackReader::new(bytes)?;
    let mut states = [table.open(&mut bits)?, table.open(&mut bits)?];
    let mut symbols = Vec::new();
    for turn in (0..2).cycle() {
        symbols.push(table.symbol(states[turn]));
        states[turn] = table.step_or_zeros(states[turn], &mut bits)?;
        if bits.left() < 0 {
            symbols.push(table.symbol(states[1 - turn]));
            break;
        }
        if symbols.len() > count_max {
            return None;
        }
    }
    Some(symbols)
}
