//! Canonical Huffman codes of deflate (RFC 1951, section 3.2.2).

use crate::unpack::codec::bits::BitReader;

/// The codes for these lengths, bits reversed so that the first is the lowest. Nothing if they are
/// above 15 or overfill the code space.
pub(super) fn codes(lengths: &[u8]) -> Option<Vec<u16>> {
    let counts = counts(lengths)?;
    let mut next = [0_u16; 16];
    for len in 1..16 {
        next[len] = (next[len - 1] + counts[len - 1]) << 1;
    }
    let code = |len: &u8| {
        let next = &mut next[usize::from(*len)];
        let code = *next;
        // Behind the last code of 15 bits there may be none.
        *next = next.wrapping_add(1);
        if *len == 0 { 0 } else { code.reverse_bits() >> (16 - u32::from(*len)) }
    };
    Some(lengths.iter().map(code).collect())
}

/// How many codes there are of each length.
fn counts(lengths: &[u8]) -> Option<[u16; 16]> {
    let mut counts = [0_u16; 16];
    for len in lengths {
        *counts.get_mut(usize::from(*len))? += 1;
    }
    counts[0] = 0;
    let mut left = 1_i32;
    for count in &counts[1..] {
        left = left * 2 - i32::from(*count);
        if left < 0 {
            return None;
        }
    }
    Some(counts)
}

/// Decodes one code at a time: short ones by a table, longer ones bit by bit.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    /// Symbol and length of the code that starts with these bits; length 0 if it is longer.
    table: Vec<(u16, u8)>,
    /// How many codes there are of each length.
    counts: [u16; 16],
    /// Symbols by code.
    symbols: Vec<u16>,
}

/// Bits that the table looks at. Most codes of a block are shorter.
const TABLE_BITS: u32 = 10;

impl Decoder {
    /// For lengths of at most 15; nothing if they overfill the code space.
    pub(super) fn new(lengths: &[u8]) -> Option<Self> {
        let (counts, codes) = (counts(lengths)?, codes(lengths)?);
        let mut symbols: Vec<u16> = (0..u16::try_from(lengths.len()).ok()?).collect();
        symbols.retain(|symbol| lengths[usize::from(*symbol)] > 0);
        symbols.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
        let mut table = vec![(0, 0); 1 << TABLE_BITS];
        for (symbol, code) in (0_u16..).zip(codes) {
            let len = lengths[usize::from(symbol)];
            if len > 0 && u32::from(len) <= TABLE_BITS {
                for entry in table.iter_mut().skip(code.into()).step_by(1 << len) {
                    *entry = (symbol, len);
                }
            }
        }
        Some(Self { table, counts, symbols })
    }

    /// The next symbol.
    pub(super) fn decode(&self, bits: &mut BitReader<'_>) -> Option<u16> {
        let ahead = bits.peek(15);
        let (symbol, len) = self.table[usize::try_from(ahead & ((1 << TABLE_BITS) - 1)).ok()?];
        if len > 0 {
            bits.skip(len.into())?;
            return Some(symbol);
        }
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for len in 1..16 {
            code |= u32::from(ahead >> (len - 1) & 1 == 1);
            let count = u32::from(self.counts[len]);
            if code - first < count {
                bits.skip(u32::try_from(len).ok()?)?;
                return self.symbols.get((index + code - first) as usize).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_overfill_their_space_are_none() {
        assert_eq!(codes(&[1, 1]), Some(vec![0, 1]));
        assert_eq!(codes(&[1, 2, 2]), Some(vec![0, 0b01, 0b11]));
        for lengths in [&[1, 1, 1][..], &[1, 2, 2, 15], &[16], &[2; 5]] {
            assert_eq!(codes(lengths), None, "{lengths:?}");
        }
        // Some bits may mean nothing.
        assert!(codes(&[2, 2, 2]).is_some() && codes(&[0, 1]).is_some() && codes(&[]).is_some());
    }
}
