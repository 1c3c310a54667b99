//! zip, jar, whl, apk (APPNOTE 6.3, 4.3.7): the entry behind a local header.
//!
//! Entries are found one by one, without the directory at the end, so that a broken or cut archive
//! is found as far as it goes. What a local header says of lengths holds only if a signature comes
//! right behind it; else, and for entries written without knowing their length, a deflate stream is
//! unpacked to find its end.

use super::{Block, Blocks, Codec, Hit, Parsed, Reader, Stop, Stream, check, cut, deflate, one};
use crate::unpack::find::reader::{le16, le32};

/// Fixed part of a local header, in bytes.
const HEADER_LEN: usize = 30;

/// Flag: the entry is encrypted.
const ENCRYPTED: u16 = 1;

/// Flag: lengths come behind the entry, in a descriptor.
const HAS_DESCRIPTOR: u16 = 1 << 3;

/// Highest version needed to extract: 6.3.
const VERSION_MAX: u16 = 63;

/// What may stand behind an entry: the next one, a descriptor, extra bytes of the archive, the
/// directory, its ends.
const SIGNATURES: [[u8; 4]; 7] = [
    *b"PK\x03\x04",
    DESCRIPTOR,
    *b"PK\x06\x08",
    *b"PK\x01\x02",
    *b"PK\x05\x06",
    *b"PK\x06\x06",
    *b"PK\x05\x05",
];
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

/// Finds the entry at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let header: [u8; HEADER_LEN] = reader.array(offset)?;
    let (flags, method) = (le16(&header, 6), le16(&header, 8));
    check(le16(&header, 4) & 0xff <= VERSION_MAX && flags & ENCRYPTED == 0)?;
    let names_len = u64::from(le16(&header, 26)) + u64::from(le16(&header, 28));
    let start = offset + HEADER_LEN as u64 + names_len;
    let said = u64::from(le32(&header, 18));
    let codec = match method {
        0 => return stored(reader, offset, start + said),
        8 => Codec::Deflate,
        93 => Codec::Zstd,
        95 => Codec::Xz,
        _ => return Err(Stop::Malformed),
    };
    let end = if said > 0 && ends(reader, start + said)? {
        start + said
    } else {
        check(codec == Codec::Deflate)?;
        let deflated = deflate::end(reader, start)?;
        if deflated.is_cut {
            return cut(reader, "zip", (offset, start), Stream::Deflate);
        }
        deflated.end
    };
    let block = Block { offset: start, len: end - start, codec };
    let descriptor_len = if flags & HAS_DESCRIPTOR == 0 { 0 } else { descriptor_len(reader, end)? };
    one(reader, "zip", (offset, end + descriptor_len), block)
}

/// An entry without a block; it is part of the archive all the same.
fn stored(reader: &mut Reader<'_>, offset: u64, end: u64) -> Parsed<Hit> {
    check(ends(reader, end)?)?;
    Ok(Hit::new("zip", offset, end - offset, Blocks::new(reader.size())))
}

/// Whether a signature stands where an entry should end.
fn ends(reader: &mut Reader<'_>, end: u64) -> Parsed<bool> {
    let next = reader.up_to(end, 4)?;
    Ok(SIGNATURES.iter().any(|signature| signature == next))
}

/// Length of the descriptor behind an entry: its signature may be left out, and its lengths may be
/// of 8 bytes each.
fn descriptor_len(reader: &mut Reader<'_>, end: u64) -> Parsed<u64> {
    let signature_len = if reader.up_to(end, 4)? == DESCRIPTOR { 4 } else { 0 };
    let [short, long] = [12, 20].map(|len| signature_len + len);
    if !ends(reader, end + short)? && ends(reader, end + long)? { Ok(long) } else { Ok(short) }
}
