//! Unsigned and zigzag variable-length integers (LEB128), as used in frames and the source map.

use crate::error::FormatError;

/// Longest spelling of a value, in bytes.
pub const LEN_MAX: usize = 10;

/// Appends `value` in groups of seven bits, least significant first, high bit set on all but the
/// last byte.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).expect("seven bits")
}

/// Appends `value` as zigzag: 0, -1, 1, -2 … become 0, 1, 2, 3 …
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Reads one integer from `bytes` at `*at` and moves `*at` behind it.
///
/// Refuses truncated integers, ones beyond 64 bits, and ones with a needless last byte: one value
/// has one spelling, so that a patch re-encodes to itself.
pub fn take(bytes: &[u8], at: &mut usize) -> Result<u64, FormatError> {
    let mut value = 0_u64;
    for shift in (0..).step_by(7) {
        let byte = *bytes.get(*at).ok_or(FormatError::IntegerTruncated)?;
        *at += 1;
        let bits = u64::from(byte & 0x7f);
        if shift > 63 || (shift == 63 && bits > 1) {
            return Err(FormatError::IntegerTooLong);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && shift > 0 {
                return Err(FormatError::IntegerTooLong);
            }
            return Ok(value);
        }
    }
    Err(FormatError::IntegerTooLong)
}

/// Reads one zigzag integer, like [`take`].
pub fn take_signed(bytes: &[u8], at: &mut usize) -> Result<i64, FormatError> {
    let value = take(bytes, at)?;
    Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_integer_survives_the_round_trip(value: u64, signed: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            put_signed(&mut bytes, signed);
            let mut at = 0;
            prop_assert_eq!(take(&bytes, &mut at), Ok(value));
            prop_assert_eq!(take_signed(&bytes, &mut at), Ok(signed));
            prop_assert_eq!(at, bytes.len());
        }
    }

    #[test]
    fn second_spelling_of_a_value_is_refused() {
        assert_eq!(take(&[0x81, 0x00], &mut 0), Err(FormatError::IntegerTooLong));
    }

    #[test]
    fn integer_of_65_bits_is_refused() {
        let mut bytes = vec![0xff; 9];
        bytes.push(0x02);
        assert_eq!(take(&bytes, &mut 0), Err(FormatError::IntegerTooLong));
        bytes[9] = 0x01;
        assert_eq!(take(&bytes, &mut 0), Ok(u64::MAX));
    }

    #[test]
    fn truncated_integer_is_refused() {
        assert_eq!(take(&[0x80], &mut 0), Err(FormatError::IntegerTruncated));
    }
}
