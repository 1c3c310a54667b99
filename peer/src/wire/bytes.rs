//! Reading and writing of fields, bounded: little-endian numbers, short texts, ranges of groups.

use neap_engine::digest::Digest;

use super::WireError;
use crate::groups::Groups;
use crate::limits::{GROUP_COUNT_MAX, RANGE_COUNT_MAX};

/// What is left of a message.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { bytes, what }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let parts = self.bytes.split_at_checked(len);
        let (taken, rest) = parts.ok_or(WireError::Length { what: self.what })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let what = self.what;
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| WireError::Length { what })
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn ip(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    pub(super) fn digest(&mut self) -> Result<Digest, WireError> {
        Ok(Digest(self.array()?))
    }

    /// A text of one length byte and UTF-8 without control characters.
    pub(super) fn text(&mut self, field: &'static str, max: usize) -> Result<String, WireError> {
        let len = usize::from(self.u8()?);
        check_len(field, len, max)?;
        let text = std::str::from_utf8(self.take(len)?);
        let text = text.ok().filter(|text| !text.chars().any(char::is_control));
        text.map(str::to_owned).ok_or(WireError::Value { what: field })
    }

    /// A number of ranges, and for each its first group and how many groups it has. They come in
    /// order, and there are groups between them.
    pub(super) fn groups(&mut self, max: usize) -> Result<Groups, WireError> {
        let count = usize::from(self.u16()?);
        check_len("ranges", count, max)?;
        let mut groups = Groups::default();
        let mut before = None;
        for _ in 0..count {
            let (start, len) = (u64::from(self.u32()?), u64::from(self.u32()?));
            let after = before.is_none_or(|end| start > end);
            if len == 0 || !after || start + len > GROUP_COUNT_MAX {
                return Err(WireError::Value { what: "a range of groups" });
            }
            before = Some(start + len);
            groups.insert(start..start + len);
        }
        Ok(groups)
    }

    /// What is left, all of it.
    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), WireError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(WireError::Length { what: self.what }) }
    }
}

pub(super) fn check_len(what: &'static str, found: usize, max: usize) -> Result<(), WireError> {
    if found <= max {
        return Ok(());
    }
    Err(WireError::TooLong { what, found: found as u64, allowed: max as u64 })
}

/// Appends a text.
///
/// # Panics
/// If it is longer than one byte says: names are checked where they come from.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.len()).expect("names are short"));
    out.extend_from_slice(text.as_bytes());
}

/// Appends ranges; those past [`RANGE_COUNT_MAX`] are left out.
pub(super) fn put_groups(groups: &Groups, out: &mut Vec<u8>) {
    let count = groups.range_count().min(RANGE_COUNT_MAX);
    out.extend_from_slice(&u16::try_from(count).expect("RANGE_COUNT_MAX is short").to_le_bytes());
    for range in groups.iter().take(count) {
        for number in [range.start, range.end - range.start] {
            let number = u32::try_from(number).expect("numbers of groups take four bytes");
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}
const _: () = assert!(RANGE_COUNT_MAX <= u16::MAX as usize);
