//! Huffman codes of literals (RFC 8878, section 4.2): read from their description, and written.

use super::fse;
use crate::unpack::codec::bits::BitWriter;

/// Longest code, in bits (section 4.2.1).
const CODE_LEN_MAX: u32 = 11;

/// Most bits of a state of the table that codes weights (section 4.2.1.2).
const WEIGHT_LOG_MAX: u32 = 6;

/// Code and length for each byte; length 0 where there is none.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    codes: Vec<(u16, u8)>,
}

/// How long the description is that bytes start with.
pub(super) fn description_len(bytes: &[u8]) -> Option<usize> {
    let first = usize::from(*bytes.first()?);
    let len = if first < 128 { first } else { (first - 127).div_ceil(2) };
    (len < bytes.len()).then_some(1 + len)
}

impl Codes {
    /// Codes as described in exactly these bytes.
    pub(super) fn read(description: &[u8]) -> Option<Self> {
        let (first, rest) = description.split_first()?;
        let mut weights = if *first < 128 {
            let (table, len) = fse::read(rest, 16, WEIGHT_LOG_MAX)?;
            fse::decode_pair(&table, rest.get(len..)?, 255)?
        } else {
            let nibbles = rest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            nibbles.take(usize::from(first - 127)).collect()
        };
        if weights.iter().any(|weight| u32::from(*weight) > CODE_LEN_MAX) {
            return None;
        }
        // Each weight is so many leaves of a full tree; the last fills it up.
        let leaves = |weight: &u8| if *weight == 0 { 0 } else { 1_u32 << (weight - 1) };
        let sum: u32 = weights.iter().map(leaves).sum();
        let len_max = sum.checked_ilog2()? + 1;
        let missing = (1 << len_max) - sum;
        if len_max > CODE_LEN_MAX || !missing.is_power_of_two() || weights.len() > 255 {
            return None;
        }
        weights.push(u8::try_from(missing.ilog2() + 1).ok()?);
        Self::of_weights(&weights, len_max)
    }

    /// The longest codes are those of the least weights, from 0 on.
    fn of_weights(weights: &[u8], len_max: u32) -> Option<Self> {
        let mut codes = vec![(0, 0); weights.len()];
        let mut next = 0_u16;
        for weight in 1..=u8::try_from(len_max).ok()? {
            let len = u8::try_from(len_max + 1 - u32::from(weight)).ok()?;
            for (symbol, _) in weights.iter().enumerate().filter(|(_, other)| **other == weight) {
                codes[symbol] = (next, len);
                next = next.checked_add(1)?;
            }
            next >>= 1;
        }
        Some(Self { codes })
    }

    /// Literals as one stream, from the last to the first (section 4.2.2). Nothing if one has no
    /// code.
    pub(super) fn write(&self, literals: &[u8]) -> Option<Vec<u8>> {
        let mut out = BitWriter::default();
        for byte in literals.iter().rev() {
            let (code, len) = *self.codes.get(usize::from(*byte))?;
            if len == 0 {
                return None;
            }
            out.put(code.into(), len.into());
        }
        out.put(1, 1);
        Some(out.finish())
    }
}
