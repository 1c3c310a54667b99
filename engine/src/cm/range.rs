//! The arithmetic coder: one bit at a time, each with the chance that it is set.
//!
//! Range coding with 32 bits of state and chances of 16 (G. N. N. Martin, "Range encoding: an
//! algorithm for removing redundancy from a digitised message", 1979). Both ends share one trait,
//! so that a model is written once.

use std::hint::select_unpredictable;

use crate::error::FormatError;

/// One end of the coder.
pub(super) trait Coder {
    /// Codes a bit that is set with `chance` in 65536, from 1 to 65535. An encoder takes `bit` and
    /// gives it back; a decoder pays it no heed and gives the bit that was coded.
    fn code(&mut self, bit: bool, chance: u32) -> bool;
}

/// Below this range the top byte is settled and leaves.
const RANGE_MIN: u32 = 1 << 24;

/// Splits a range: the part that a set bit takes.
fn bound(range: u32, chance: u32) -> u32 {
    // Less than 2^32 since the chance is less than 2^16.
    let [.., b2, b3, b4, b5, _, _] = (u64::from(range) * u64::from(chance)).to_le_bytes();
    u32::from_le_bytes([b2, b3, b4, b5])
}

/// The end that writes.
#[derive(Debug)]
pub(super) struct RangeEncoder {
    out: Vec<u8>,
    low: u32,
    range: u32,
}

impl RangeEncoder {
    pub(super) fn new() -> Self {
        Self { out: Vec::new(), low: 0, range: u32::MAX }
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// The code so far, ended with as few bytes as will do: zeros at the end go without saying, but
    /// for more than four, which a decoder would not take.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        // Of all values in the range, the one with most zeros behind.
        let mut values = (0..32).rev().flat_map(|zeros| {
            let unit = 1_u32 << zeros;
            let over = self.low & (unit - 1);
            let up = if over == 0 { 0 } else { unit - over };
            [up, up.saturating_add(unit)]
        });
        let up = values.find(|up| *up < self.range && !self.ends_in_zeros(*up));
        self.add(up.expect("the range holds 2^24 values, of which one would end in zeros"));
        let low = self.low.to_be_bytes();
        self.out.extend(low);
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        (self.low, self.range) = (0, u32::MAX);
        std::mem::take(&mut self.out)
    }

    /// Whether the value that is so far up in the range ends in more than four zeros.
    fn ends_in_zeros(&self, up: u32) -> bool {
        let (low, carry) = self.low.overflowing_add(up);
        let before = self.out.last().map(|byte| byte.wrapping_add(u8::from(carry)));
        low == 0 && before == Some(0)
    }

    fn add(&mut self, up: u32) {
        let (low, carry) = self.low.overflowing_add(up);
        self.low = low;
        if carry {
            for byte in self.out.iter_mut().rev() {
                let (sum, carry) = byte.overflowing_add(1);
                *byte = sum;
                if !carry {
                    break;
                }
            }
        }
    }
}

impl Coder for RangeEncoder {
    #[inline]
    fn code(&mut self, bit: bool, chance: u32) -> bool {
        let bound = bound(self.range, chance);
        if bit {
            self.range = bound;
        } else {
            self.add(bound);
            self.range -= bound;
        }
        while self.range < RANGE_MIN {
            let [top, ..] = self.low.to_be_bytes();
            self.out.push(top);
            self.low <<= 8;
            self.range <<= 8;
        }
        bit
    }
}

/// The end that reads.
#[derive(Debug)]
pub(super) struct RangeDecoder {
    coded: Vec<u8>,
    /// Bytes taken, those behind the end, which are zero, among them.
    taken: usize,
    /// What was read, less the low end of the range.
    code: u32,
    range: u32,
}

impl RangeDecoder {
    pub(super) fn new(coded: Vec<u8>) -> Self {
        let mut decoder = Self { coded, taken: 0, code: 0, range: u32::MAX };
        (0..4).for_each(|_| decoder.take());
        decoder
    }

    fn take(&mut self) {
        let byte = self.coded.get(self.taken).copied().unwrap_or(0);
        self.taken = self.taken.saturating_add(1);
        self.code = self.code << 8 | u32::from(byte);
    }

    /// Whether all was read that was there, and nothing that was not.
    pub(super) fn close(&self) -> Result<(), FormatError> {
        const PART: &str = "coded frame";
        if self.has_run_out() {
            return Err(FormatError::Truncated(PART));
        }
        if self.coded.len() > self.taken || self.coded.last() == Some(&0) {
            return Err(FormatError::TrailingBytes(PART));
        }
        Ok(())
    }

    /// Whether more was read than an encoder leaves away.
    pub(super) fn has_run_out(&self) -> bool {
        self.taken > self.coded.len() + 4
    }
}

impl Coder for RangeDecoder {
    #[inline]
    fn code(&mut self, _: bool, chance: u32) -> bool {
        let bound = bound(self.range, chance);
        let bit = self.code < bound;
        // What is worth coding is not foretold by a processor either.
        self.range = select_unpredictable(bit, bound, self.range - bound);
        self.code -= select_unpredictable(bit, 0, bound);
        while self.range < RANGE_MIN {
            self.take();
            self.range <<= 8;
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set bits are the low part of the range: where they cost much, the code is zeros. All were
    /// left away at the end, and a decoder, which takes four bytes behind the end, refused its own
    /// encoder's code. One of the last four is now never zero.
    #[test]
    fn code_that_ends_in_zeros_is_decoded() {
        for count in 0..60 {
            let bits = (0..100).map(|at| at >= 100 - count || at % 3 == 0);
            let mut encoder = RangeEncoder::new();
            bits.clone().for_each(|bit| assert_eq!(encoder.code(bit, 4096), bit));
            let mut decoder = RangeDecoder::new(encoder.finish());
            bits.for_each(|bit| assert_eq!(decoder.code(false, 4096), bit));
            assert_eq!(decoder.close(), Ok(()), "{count} set bits at the end");
        }
    }
}
