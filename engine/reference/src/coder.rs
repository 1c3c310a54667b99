//! What coder 1 codes: columns (1) and the literal stream (4.5).

use zstd_safe::{DCtx, InBuffer, OutBuffer};

use crate::bytes::{Bytes, memory};
use crate::{Result, must};

const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Decodes a column.
pub(crate) fn column(coded: &[u8], raw_len: u64) -> Result<Vec<u8>> {
    if coded.len() as u64 == raw_len {
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
    let (mut raw, mut chunk, mut is_full) = (Vec::new(), vec![0; 1 << 16], true);
    let mut input = InBuffer::around(piece);
    while is_full && raw.len() as u64 <= raw_len {
        let mut output = OutBuffer::around(&mut chunk[..]);
        let decoded = decoder.decompress_stream(&mut output, &mut input);
        must(decoded.is_ok(), "a piece of literals does not decode")?;
        raw.extend(output.as_slice());
        is_full = output.pos() == chunk.len();
    }
    must(raw.len() as u64 == raw_len, "a piece gives too few or too many literals")?;
    Ok(raw)
}
