//! zstd (RFC 8878, 3.1.1): one frame, whose end its blocks' headers tell.

use super::{Codec, Hit, Parsed, Reader, Stop, Stream, check, cut, whole};
use crate::unpack::find::reader::le32;

/// Longest block, in bytes.
const BLOCK_LEN_MAX: u64 = 128 << 10;

/// Largest window, as log2 of bytes, that decoders take without being told to.
const WINDOW_LOG2_MAX: u8 = 27;

/// Finds the frame at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let [.., flags] = reader.array::<5>(offset)?;
    let is_single = flags & 0x20 != 0;
    // A bit is reserved, and a dictionary is not ours to have.
    check(flags & 0x08 == 0 && flags & 3 == 0)?;
    let mut at = offset + 5;
    if !is_single {
        let [window] = reader.array(at)?;
        check(10 + (window >> 3) <= WINDOW_LOG2_MAX)?;
        at += 1;
    }
    at += match (flags >> 6, is_single) {
        (0, false) => 0,
        (0, true) => 1,
        (1, _) => 2,
        (2, _) => 4,
        _ => 8,
    };
    loop {
        reader.spend(4)?;
        let [a, b, c] = match reader.array(at) {
            Err(Stop::Malformed) => return cut(reader, "zstd", (offset, offset), Stream::Zstd),
            header => header?,
        };
        let header = le32(&[a, b, c, 0], 0);
        let len = u64::from(header >> 3);
        check(len <= BLOCK_LEN_MAX)?;
        at += 3 + match (header >> 1) & 3 {
            0 | 2 => len,
            // One byte, again and again.
            1 => 1,
            _ => return Err(Stop::Malformed),
        };
        if header & 1 != 0 {
            break;
        }
    }
    let end = at + if flags & 4 == 0 { 0 } else { 4 };
    if end > reader.size() {
        reader.up_to(end, 1)?;
        return cut(reader, "zstd", (offset, offset), Stream::Zstd);
    }
    whole(reader, "zstd", (offset, end), Codec::Zstd)
}
