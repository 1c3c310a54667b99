//! The bytes of a patch, as `docs/format.md` defines them: a header, then frames.

pub mod frame;
pub mod header;
mod layers;
pub mod source_map;
pub mod unpack;

pub use frame::{FRAME_PREFIX_LEN, Frame, FramePrefix};
pub use header::{Header, Restart};
pub use layers::Estimates;
pub use source_map::{SourceMap, SourceRange};
pub use unpack::{Blocks, SourceBlock, TargetBlock};

use crate::error::FormatError;

/// Names a field in an error when it is outside `min ..= max`.
pub(crate) fn bounded(
    field: &'static str,
    value: u64,
    min: u64,
    max: u64,
) -> Result<u64, FormatError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(FormatError::OutOfBounds { field, value, min, max })
    }
}

/// Takes `len` bytes of the named part from the front of `bytes`.
pub(crate) fn split<'a>(
    bytes: &mut &'a [u8],
    len: usize,
    part: &'static str,
) -> Result<&'a [u8], FormatError> {
    let (head, tail) = bytes.split_at_checked(len).ok_or(FormatError::Truncated(part))?;
    *bytes = tail;
    Ok(head)
}

/// Takes an array of the named part from the front of `bytes`.
pub(crate) fn split_array<const N: usize>(
    bytes: &mut &[u8],
    part: &'static str,
) -> Result<[u8; N], FormatError> {
    let (head, tail) = bytes.split_first_chunk::<N>().ok_or(FormatError::Truncated(part))?;
    *bytes = tail;
    Ok(*head)
}
