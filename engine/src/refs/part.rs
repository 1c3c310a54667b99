//! The part of a span that is in a block: its numbers, and where its entries stand.

use super::region::{Region, Span};

/// The part of a span that is in a block.
pub(super) struct Part<'a> {
    pub(super) region: &'a Region,
    pub(super) span: &'a Span,
    /// Where its bytes start in the source.
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

impl Part<'_> {
    /// Starts of the entries of `len` bytes that any byte is here of.
    pub(super) fn entries(&self, len: u64) -> impl Iterator<Item = u64> + use<> {
        let into = self.offset.saturating_sub(self.span.offset);
        let first = self.span.offset.saturating_add(into / len * len);
        let end = self.offset.saturating_add(self.bytes.len() as u64);
        let count = end.saturating_sub(first).div_ceil(len);
        (0..count).map(move |index| first.saturating_add(index * len))
    }

    pub(super) fn number<const LEN: usize>(&self, at: u64) -> Option<[u8; LEN]> {
        let into = usize::try_from(at.checked_sub(self.offset)?).ok()?;
        self.bytes.get(into..)?.first_chunk().copied()
    }

    pub(super) fn u16(&self, at: u64) -> Option<u16> {
        self.number(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, at: u64) -> Option<u32> {
        self.number(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: u64) -> Option<u64> {
        self.number(at).map(u64::from_le_bytes)
    }

    /// Starts of the units of `len` bytes that are whole here, at addresses that are multiples of
    /// it.
    pub(super) fn aligned(&self, len: u64) -> impl Iterator<Item = u64> + use<> {
        let skip = self.address(self.offset).wrapping_neg() % len;
        let count = (self.bytes.len() as u64).saturating_sub(skip) / len;
        let first = self.offset.saturating_add(skip);
        (0..count).map(move |index| first.saturating_add(index * len))
    }

    /// The address of a byte.
    pub(super) fn address(&self, at: u64) -> u64 {
        self.span.address.wrapping_add(at.wrapping_sub(self.span.offset))
    }

    /// Whether an address lies in the span.
    pub(super) fn is_within(&self, address: u64) -> bool {
        address.wrapping_sub(self.span.address) < self.span.len
    }

    pub(super) fn i32(&self, at: u64) -> Option<i64> {
        self.number(at).map(|bytes| i32::from_le_bytes(bytes).into())
    }
}
