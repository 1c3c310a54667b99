//! bzip2 streams, by a translation of libbzip2 into Rust that makes the same bytes.

use bzip2::{Action, Compress, Compression, Decompress, Status};

use super::{UnpackError, decode_whole};

/// The plain bytes of a stream.
pub(super) fn unpack(packed: &[u8], plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
    let mut decoder = Decompress::new(false);
    decode_whole(packed, plain_len_max, |rest, plain| {
        let status = decoder.decompress_vec(rest, plain).map_err(|_| UnpackError::Malformed)?;
        Ok((decoder.total_in(), status == Status::StreamEnd))
    })
}

/// The level that a stream shows: 100 kB of its blocks.
pub(super) fn level(packed: &[u8]) -> Option<u8> {
    match packed {
        [b'B', b'Z', b'h', digit @ b'1'..=b'9', ..] => Some(digit - b'0'),
        _ => None,
    }
}

/// The stream of `plain`; not much more than `packed_len_max` bytes of it.
pub(super) fn predict(plain: &[u8], level: u8, packed_len_max: usize) -> Option<Vec<u8>> {
    // The work factor is that of the command line; it changes no byte.
    let mut encoder = Compress::new(Compression::new(level.into()), 30);
    let mut packed = Vec::with_capacity(1 << 16);
    loop {
        let taken = usize::try_from(encoder.total_in()).ok()?;
        let status = encoder.compress_vec(&plain[taken..], &mut packed, Action::Finish).ok()?;
        if status == Status::StreamEnd || packed.len() > packed_len_max {
            return Some(packed);
        }
        packed.reserve(1 << 16);
    }
}
