//! gzip (RFC 1952): the deflate stream between header and trailer. Each member is one.

use super::{Block, Codec, Hit, Parsed, Reader, Stop, Stream, check, cut, deflate, one};
use crate::unpack::find::reader::le16;

/// Fixed part of the header, in bytes.
const HEADER_LEN: usize = 10;

/// Flags of the header: what follows its fixed part, in this order.
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const HAS_CHECK: u8 = 1 << 1;

/// Longest name or comment, in bytes: that of a path.
const TEXT_LEN_MAX: usize = 4096;

/// CRC-32 and length of the plain bytes, in bytes.
const TRAILER_LEN: u64 = 8;

/// Finds the member at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let header: [u8; HEADER_LEN] = reader.array(offset)?;
    let [_, _, _, flags, .., speed, system] = header;
    // Flags of speed are 2 or 4 for deflate; systems are 0 to 13, or 255.
    check(matches!(speed, 0 | 2 | 4) && (system <= 13 || system == 255))?;
    let mut at = offset + HEADER_LEN as u64;
    if flags & HAS_EXTRA != 0 {
        at += 2 + u64::from(le16(reader.bytes(at, 2)?, 0));
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if flags & text != 0 {
            at += text_len(reader, at)?;
        }
    }
    if flags & HAS_CHECK != 0 {
        at += 2;
    }
    let deflated = deflate::end(reader, at)?;
    if deflated.is_cut {
        return cut(reader, "gzip", (offset, at), Stream::Deflate);
    }
    let end = deflated.end + TRAILER_LEN;
    match reader.u32(deflated.end + 4) {
        Ok(len) => check(u64::from(len) == deflated.plain_len & u64::from(u32::MAX))?,
        // The trailer is what lies elsewhere.
        Err(Stop::Malformed) => drop(reader.cut(at)?),
        Err(stop) => return Err(stop),
    }
    let block = Block { offset: at, len: deflated.end - at, codec: Codec::Deflate };
    one(reader, "gzip", (offset, end.min(reader.size())), block)
}

/// Length of a text with its zero byte.
fn text_len(reader: &mut Reader<'_>, at: u64) -> Parsed<u64> {
    let text = reader.up_to(at, TEXT_LEN_MAX)?;
    let len = text.iter().position(|&byte| byte == 0);
    len.map(|len| len as u64 + 1).ok_or(Stop::Malformed)
}
