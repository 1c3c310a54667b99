//! PNG: the zlib stream of an image that has all of it in one chunk; of others it is only told that
//! they are there.

use super::{
    Block, Blocks, Codec, Hit, NotFollowed, Parsed, Reader, Stop, Stream, check, cut, one,
};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Length and kind of a chunk, in bytes, before its content; its CRC-32 comes behind.
const CHUNK_HEADER_LEN: u64 = 8;
const CHECK_LEN: u64 = 4;

/// Most chunks before the stream.
const CHUNKS_MAX: usize = 64;

/// Finds the stream of the picture at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    check(reader.array(offset)? == SIGNATURE)?;
    let mut at = offset + SIGNATURE.len() as u64;
    let (len, kind) = chunk(reader, at)?;
    check(&kind == b"IHDR" && len == 13)?;
    for _ in 0..CHUNKS_MAX {
        let (len, kind) = chunk(reader, at)?;
        let next = at + CHUNK_HEADER_LEN + len + CHECK_LEN;
        if &kind == b"IDAT" {
            if next > reader.size() {
                // It is cut where the last byte would be asked for.
                reader.up_to(next, 1)?;
                return cut(reader, "png", (offset, at + CHUNK_HEADER_LEN), Stream::Zlib);
            }
            let (_, after) = chunk(reader, next)?;
            if &after == b"IDAT" {
                return in_chunks(reader, offset, next);
            }
            check(after.is_ascii())?;
            let block = Block { offset: at + CHUNK_HEADER_LEN, len, codec: Codec::Zlib };
            return one(reader, "png", (offset, next), block);
        }
        at = next;
    }
    Err(Stop::Malformed)
}

/// What the picture gives whose stream goes on in the chunk at `at` and maybe in others.
fn in_chunks(reader: &mut Reader<'_>, offset: u64, mut at: u64) -> Parsed<Hit> {
    loop {
        reader.spend(CHUNK_HEADER_LEN)?;
        let (len, kind) = chunk(reader, at)?;
        if &kind != b"IDAT" {
            check(kind.is_ascii())?;
            let hit = Hit::new("png", offset, at - offset, Blocks::new(reader.size()));
            return Ok(hit.without(Some(NotFollowed::Chunks)));
        }
        at += CHUNK_HEADER_LEN + len + CHECK_LEN;
    }
}

/// Length of the content of the chunk at `at`, and its kind.
fn chunk(reader: &mut Reader<'_>, at: u64) -> Parsed<(u64, [u8; 4])> {
    let len = u32::from_be_bytes(reader.array(at)?);
    let kind = reader.array(at + 4)?;
    check(len < 1 << 31)?;
    Ok((u64::from(len), kind))
}
