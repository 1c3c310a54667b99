//! Taking integers and pieces from the front of bytes (1).

use std::ops::RangeInclusive;

use crate::{Result, must};

/// What is left of a part of the patch, and the part's name.
pub(crate) struct Bytes<'a>(&'a [u8], &'static str);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8], part: &'static str) -> Self {
        Self(bytes, part)
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        must(len <= self.len(), &format!("the patch ends inside its {}", self.1))?;
        let (taken, rest) = self.0.split_at(memory(len));
        self.0 = rest;
        Ok(taken)
    }

    /// The next `len` bytes as an integer.
    pub(crate) fn number(&mut self, len: u64) -> Result<u64> {
        Ok(self.take(len)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    pub(crate) fn varint(&mut self) -> Result<u64> {
        let last = self.0.iter().position(|byte| *byte < 0x80).unwrap_or(self.0.len());
        let bytes = self.take(last as u64 + 1)?;
        must(last == 0 || bytes[last] > 0, "an integer is not in its shortest form")?;
        must(last < 10, "an integer is too long")?;
        let add = |value, byte: &u8| value << 7 | u128::from(byte & 0x7f);
        let value: u128 = bytes.iter().rev().fold(0, add);
        u64::try_from(value).map_err(|_| "an integer is too long".to_owned())
    }

    /// A zigzag varint.
    pub(crate) fn signed(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Refuses bytes that are left over.
    pub(crate) fn end(&self) -> Result<()> {
        must(self.0.is_empty(), &format!("bytes are left over after the {}", self.1))
    }
}

/// The value of the named field, if it is within its bounds.
pub(crate) fn within(bounds: RangeInclusive<u64>, value: u64, field: &str) -> Result<u64> {
    must(bounds.contains(&value), &format!("{field} is {value}, allowed is {bounds:?}"))?;
    Ok(value)
}

/// A length of something in memory.
pub(crate) fn memory(len: u64) -> usize {
    usize::try_from(len).expect("this applier is for machines of 64 bits")
}
