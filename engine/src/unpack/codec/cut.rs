//! The first bytes of streams whose others lie elsewhere: how such blocks unpack, and the
//! corrections of those that liblzma makes.
//!
//! Packing goes on to the end of the plain bytes that are there, and what it makes is cut where it
//! stops being the same. What comes before the packed data tells lengths that nobody knows here,
//! and so does the header of the chunk that is cut: these bytes are told.
//!
//! | field       | coding | meaning                                     |
//! |-------------|--------|---------------------------------------------|
//! | `front_len` | varint | bytes before the packed data                |
//! | `front`     | bytes  | these                                       |
//! | `right`     | varint | bytes of the data that are as they are made |
//! | `len`       | varint | bytes behind them, at least 1               |
//! | `bytes`     | bytes  | what these are                              |
//!
//! The last three are repeated; where the list ends, all is as it is made.

use super::{Stream, UnpackError, deflate, xz, zstd};
use crate::error::FormatError;
use crate::varint;

const UNDECODABLE: FormatError = FormatError::Undecodable("correction");

/// The plain bytes that follow from packed ones, at most so many, by a decoder of LZMA that may
/// take so many bytes of memory.
pub(super) fn unpack(
    stream: Stream,
    packed: &[u8],
    plain_len_max: usize,
    memory_max: u64,
) -> Result<Vec<u8>, UnpackError> {
    match stream {
        Stream::Deflate => deflate::unpack_cut(packed, false, plain_len_max),
        Stream::Zlib => deflate::unpack_cut(packed, true, plain_len_max),
        Stream::Xz => xz::unpack_cut(packed, plain_len_max, memory_max),
        Stream::Lzma => xz::unpack_lzma_cut(packed, plain_len_max, memory_max),
        Stream::Zstd => zstd::unpack_cut(packed, plain_len_max),
    }
}

/// How much of `packed` is as `data`, which is made of its plain bytes, but for a few bytes; and
/// what tells these and the front.
pub(super) fn correct(packed: &[u8], front_len: usize, data: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (front, actual) = packed.split_at_checked(front_len)?;
    let mut correction = Vec::new();
    varint::put(&mut correction, front_len as u64);
    correction.extend(front);
    let len = actual.len().min(data.len());
    let differs = |at: usize| actual[at] != data[at];
    let mut right_from = 0;
    loop {
        let Some(start) = (right_from..len).find(|at| differs(*at)) else {
            return Some((front_len + len, correction));
        };
        let end_max = len.min(start + TOLD_LEN_MAX);
        let is_end = |end: &usize| {
            let behind = *end..*end + RIGHT_LEN_MIN;
            behind.end <= len && !behind.into_iter().any(differs)
        };
        let Some(end) = (start + 1..end_max).find(is_end) else {
            return Some((front_len + start, correction));
        };
        varint::put(&mut correction, (start - right_from) as u64);
        varint::put(&mut correction, (end - start) as u64);
        correction.extend(&actual[start..end]);
        right_from = end;
    }
}

/// The first `packed_len` bytes of a stream whose data `predict` makes, so many bytes or more.
pub(super) fn apply(
    mut correction: &[u8],
    packed_len: usize,
    predict: impl FnOnce(usize) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, FormatError> {
    let front_len = take_len(&mut correction)?;
    let mut packed = take(&mut correction, front_len)?.to_vec();
    let data_len = packed_len.checked_sub(front_len).ok_or(UNDECODABLE)?;
    packed.extend(predict(data_len).ok_or(UNDECODABLE)?);
    if packed.len() < packed_len {
        return Err(UNDECODABLE);
    }
    packed.truncate(packed_len);
    let mut rest = &mut packed[front_len..];
    while !correction.is_empty() {
        let (right, len) = (take_len(&mut correction)?, take_len(&mut correction)?);
        let (_, behind) = rest.split_at_mut_checked(right).ok_or(UNDECODABLE)?;
        let (wrong, behind) = behind.split_at_mut_checked(len).ok_or(UNDECODABLE)?;
        if wrong.is_empty() {
            return Err(UNDECODABLE);
        }
        wrong.copy_from_slice(take(&mut correction, len)?);
        rest = behind;
    }
    Ok(packed)
}

fn take_len(rest: &mut &[u8]) -> Result<usize, FormatError> {
    let mut at = 0;
    let len = varint::take(rest, &mut at)?;
    *rest = &rest[at..];
    usize::try_from(len).map_err(|_| UNDECODABLE)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], FormatError> {
    let (taken, behind) = rest.split_at_checked(len).ok_or(UNDECODABLE)?;
    *rest = behind;
    Ok(taken)
}

/// Most bytes that are told at once: the header of a chunk has six.
const TOLD_LEN_MAX: usize = 16;

/// So many bytes behind them are right, or what is made has gone another way.
const RIGHT_LEN_MIN: usize = 16;

#[cfg(test)]
mod tests;
