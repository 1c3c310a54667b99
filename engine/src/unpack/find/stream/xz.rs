//! .xz (The .xz File Format 1.2.1): a stream from its header to its footer.
//!
//! The end is found without unpacking: the chunks of LZMA2 tell their lengths, or the header of a
//! block tells that of the whole block. Index and footer must then agree with what was walked.

use super::{Codec, Hit, Parsed, Reader, Stop, Stream, check, cut, whole};
use crate::unpack::crc::crc32;
use crate::unpack::find::reader::le32;

/// Length of the header, and that of the footer, in bytes.
const HEADER_LEN: usize = 12;

const MAGIC: [u8; 6] = *b"\xfd7zXZ\0";
const FOOTER_MAGIC: [u8; 2] = *b"YZ";

/// Longest integer, in bytes of 7 bits each.
const INTEGER_LEN_MAX: usize = 9;

/// The filter that every stream ends with.
const LZMA2: u64 = 0x21;

/// Finds the stream at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let header: [u8; HEADER_LEN] = reader.array(offset)?;
    check(header.starts_with(&MAGIC) && header[6] == 0)?;
    check(crc32(&header[6..8]) == le32(&header, 8))?;
    let check_len = match header[7] {
        0 => 0,
        1 => 4,
        4 => 8,
        10 => 32,
        _ => return Err(Stop::Malformed),
    };
    match end(reader, offset, &header, check_len) {
        Ok(end) => whole(reader, "xz", (offset, end), Codec::Xz),
        Err(Stop::Malformed) => cut(reader, "xz", (offset, offset), Stream::Xz),
        Err(stop) => Err(stop),
    }
}

/// Where the stream ends whose header is at `offset`.
fn end(
    reader: &mut Reader<'_>,
    offset: u64,
    header: &[u8; HEADER_LEN],
    check_len: u64,
) -> Parsed<u64> {
    let mut at = offset + HEADER_LEN as u64;
    let (mut block_count, mut unpadded_sum) = (0, 0_u64);
    // An index begins like a block of no length.
    while reader.bytes(at, 1)? != [0] {
        let end = block_end(reader, at)? + check_len;
        unpadded_sum = unpadded_sum.wrapping_add(end - at);
        // Padding comes before the check, which has a length of whole words itself.
        at = at + (end - at).next_multiple_of(4);
        block_count += 1;
    }
    let index_end = index_end(reader, at, block_count, unpadded_sum)?;
    let footer: [u8; HEADER_LEN] = reader.array(index_end)?;
    check(crc32(&footer[4..10]) == le32(&footer, 0))?;
    check(footer[8..10] == header[6..8] && footer[10..] == FOOTER_MAGIC)?;
    check((u64::from(le32(&footer, 4)) + 1) * 4 == index_end - at)?;
    Ok(index_end + HEADER_LEN as u64)
}

/// Where the packed bytes of the block at `start` end.
fn block_end(reader: &mut Reader<'_>, start: u64) -> Parsed<u64> {
    let header_len = (u64::from(reader.bytes(start, 1)?[0]) + 1) * 4;
    let len = usize::try_from(header_len).map_err(|_| Stop::Malformed)?;
    let header = reader.bytes(start, len)?;
    let (fields, sum) = header.split_at(len - 4);
    check(crc32(fields) == le32(sum, 0))?;
    let flags = fields[1];
    check(flags & 0x3c == 0)?;
    let mut at = 2;
    let packed_len = if flags & 0x40 == 0 { None } else { Some(integer(fields, &mut at)?) };
    if flags & 0x80 != 0 {
        integer(fields, &mut at)?;
    }
    let mut last = 0;
    for _ in 0..=flags & 3 {
        last = integer(fields, &mut at)?;
        let properties_len = integer(fields, &mut at)?;
        at += usize::try_from(properties_len)
            .ok()
            .filter(|&len| len <= len_left(fields, at))
            .ok_or(Stop::Malformed)?;
    }
    check(last == LZMA2)?;
    let packed = start + header_len;
    match packed_len {
        Some(len) => {
            check(len <= reader.size())?;
            reader.spend(4)?;
            Ok(packed + len)
        }
        None => lzma2_end(reader, packed),
    }
}

fn len_left(fields: &[u8], at: usize) -> usize {
    fields.len().saturating_sub(at)
}

/// Where the chunks of LZMA2 from `start` end.
fn lzma2_end(reader: &mut Reader<'_>, start: u64) -> Parsed<u64> {
    let mut at = start;
    loop {
        reader.spend(4)?;
        let chunk = reader.up_to(at, 6)?;
        let size = |place: usize| -> Parsed<u64> {
            let bytes = chunk.get(place..).and_then(<[u8]>::first_chunk).ok_or(Stop::Malformed)?;
            Ok(u64::from(u16::from_be_bytes(*bytes)) + 1)
        };
        at += match chunk.first() {
            Some(0) => return Ok(at + 1),
            // Bytes that were stored.
            Some(1 | 2) => 3 + size(1)?,
            // With new properties there is one more byte.
            Some(0xc0..) => 6 + size(3)?,
            Some(0x80..) => 5 + size(3)?,
            _ => return Err(Stop::Malformed),
        };
    }
}

/// Where the index at `start` ends; it must list so many blocks of so many bytes in all.
fn index_end(reader: &mut Reader<'_>, start: u64, count: u64, sum: u64) -> Parsed<u64> {
    let mut at = start + 1;
    let mut next = |reader: &mut Reader<'_>| -> Parsed<u64> {
        let mut len = 0;
        let value = integer(reader.up_to(at, INTEGER_LEN_MAX)?, &mut len)?;
        at += len as u64;
        Ok(value)
    };
    check(next(reader)? == count)?;
    let mut listed = 0_u64;
    for _ in 0..count {
        listed = listed.wrapping_add(next(reader)?);
        next(reader)?;
    }
    check(listed == sum)?;
    // Then padding to whole words, and a CRC-32.
    Ok(start + (at - start).next_multiple_of(4) + 4)
}

/// An integer of 7 bits a byte, lowest first.
fn integer(bytes: &[u8], at: &mut usize) -> Parsed<u64> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().skip(*at).take(INTEGER_LEN_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *at += index + 1;
            return Ok(value);
        }
    }
    Err(Stop::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_of_ten_bytes_is_refused() {
        assert_eq!(integer(&[0x80, 1], &mut 0).expect("it is whole"), 128);
        let mut at = 0;
        let nine = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 9];
        assert_eq!(integer(&nine, &mut at).expect("it is whole"), u64::MAX >> 1);
        assert_eq!(at, 9);
        assert!(integer(&[0xff; 10], &mut 0).is_err());
        assert!(integer(&[0x80], &mut 0).is_err());
    }
}
