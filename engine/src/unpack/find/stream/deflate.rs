//! Where a deflate stream ends, which only unpacking it tells.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Parsed, Reader, STREAM_PLAIN_LEN_MAX, Stop, check};

/// Bytes read at once.
const INPUT_LEN: usize = 64 << 10;

/// Plain bytes made at once.
const OUTPUT_LEN: usize = 64 << 10;

/// Where a stream ends, and what it unpacks to.
pub(super) struct Deflated {
    /// Offset in the image of the first byte behind it.
    pub(super) end: u64,
    /// Length of its plain bytes.
    pub(super) plain_len: u64,
    /// Whether it goes on elsewhere.
    pub(super) is_cut: bool,
}

/// Unpacks the stream at `offset` to nowhere. Memory is a few 10 KiB.
pub(super) fn end(reader: &mut Reader<'_>, offset: u64) -> Parsed<Deflated> {
    let mut state = Decompress::new(false);
    let mut output = vec![0; OUTPUT_LEN];
    let mut used = 0;
    loop {
        let input = reader.up_to(offset + state.total_in(), INPUT_LEN)?;
        let before = state.total_out();
        let status = state
            .decompress(input, &mut output, FlushDecompress::None)
            .map_err(|_| Stop::Malformed)?;
        let made = state.total_out() - before;
        check(state.total_out() <= STREAM_PLAIN_LEN_MAX)?;
        if status == Status::StreamEnd {
            let (end, plain_len) = (offset + state.total_in(), state.total_out());
            return Ok(Deflated { end, plain_len, is_cut: false });
        }
        // At the end, it takes and makes nothing more.
        if made == 0 && state.total_in() == used {
            let (end, plain_len) = (reader.cut(offset)?, state.total_out());
            return Ok(Deflated { end, plain_len, is_cut: true });
        }
        used = state.total_in();
        reader.spend(made)?;
    }
}
