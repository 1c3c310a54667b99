//! What coder 1 codes: columns (1) and the literal stream (4.5).

use zstd_safe::{DCtx, InBuffer, OutBuffer};

use crate::bytes::{Bytes, memory, within};
use crate::{Result, must};

const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Raw and coded lengths of `count` columns (4.2).
pub(crate) fn lens(body: &mut Bytes<'_>, count: usize, coder: u64) -> Result<Vec<(u64, u64)>> {
    let (mut lens, mut room) = (Vec::new(), 3 << 20);
    while lens.len() < count {
        let raw_len = within(0..=room, body.varint()?, "the raw length of a column")?;
        let least = if coder == 0 { raw_len } else { raw_len.min(1) };
        lens.push((raw_len, within(least..=raw_len, body.varint()?, "a coded length")?));
        room -= raw_len;
    }
    Ok(lens)
}

/// Takes a column of these lengths from the front of bytes, and decodes it.
pub(crate) fn column(from: &mut Bytes<'_>, (raw_len, coded_len): (u64, u64)) -> Result<Vec<u8>> {
    let coded = from.take(coded_len)?;
    if coded_len == raw_len {
        return Ok(coded.to_vec());
    }
    let is_one_frame = coded.starts_with(ZSTD_MAGIC)
        && zstd_safe::find_frame_compressed_size(coded) == Ok(coded.len());
    must(is_one_frame, "a column is not one zstd frame")?;
    let mut raw = vec![0; memory(raw_len)];
    let made = zstd_safe::decompress(&mut raw[..], coded);
    must(made == Ok(raw.len()), "a column does not decode")?;
    Ok(raw)
}

/// Decodes literals from one restart point to the next; none before the first piece.
pub(crate) type LiteralStream = Option<DCtx<'static>>;

/// Decodes the next piece of the stream, which must give exactly `raw_len` bytes.
pub(crate) fn literals(stream: &mut LiteralStream, piece: &[u8], raw_len: u64) -> Result<Vec<u8>> {
    let mut blocks = Bytes::new(piece, "literals");
    if stream.is_none() {
        let start = blocks.take(6)?;
        let is_plain = start.starts_with(ZSTD_MAGIC) && start[4] == 0 && start[5] <= 0x68;
        must(is_plain, "a literal stream does not begin as it must")?;
    }
    while blocks.len() > 0 {
        let block = blocks.number(3)?;
        let (is_last, kind, size) = (block & 1 == 1, block >> 1 & 3, block >> 3);
        must(!is_last, "a literal stream ends")?;
        // A block of kind 1 is one byte, repeated `size` times.
        blocks.take(if kind == 1 { 1 } else { size })?;
    }
    let decoder = stream.get_or_insert_with(DCtx::create);
    let (mut raw, mut input) = (Vec::new(), InBuffer::around(piece));
    // The decoder has more to give while it fills all room.
    while raw.len() == raw.capacity() && raw.len() as u64 <= raw_len {
        let at = raw.len();
        raw.reserve(1 << 16);
        let decoded =
            decoder.decompress_stream(&mut OutBuffer::around_pos(&mut raw, at), &mut input);
        must(decoded.is_ok(), "a piece of literals does not decode")?;
    }
    must(raw.len() as u64 == raw_len, "a piece gives too few or too many literals")?;
    Ok(raw)
}
