//! A frame: segments that make the next bytes of the target, column by column.
//!
//! A segment is some literals, then a copy from the source or a run of zeros. What a copy differs
//! in is told apart from the segments, as islands of differences in the bytes that copies make, so
//! that copies may be long where bytes differ here and there (C. Percival, "Naive differences of
//! executable code", 2003). Each field has its own column: like stands by like when coded.

use super::{bounded, split, split_array};
use crate::coder::{self, Decoder};
use crate::digest::Digest;
use crate::error::FormatError;
use crate::limits::{BODY_LEN_MAX, COLUMNS_LEN_MAX, IMAGE_SIZE_MAX};
use crate::varint;

/// Length of what stands in front of a frame body, in bytes.
pub const FRAME_PREFIX_LEN: usize = 20;

/// What stands in front of a frame body.
///
/// | at | size | field         | bound                             |
/// |----|------|---------------|-----------------------------------|
/// |  0 |    4 | `body_len`    | 18 ..= 2 MiB                      |
/// |  4 |   16 | `body_digest` | first bytes of BLAKE3 of the body |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePrefix {
    /// Length of the body, in bytes.
    pub body_len: usize,
    /// First half of the body's digest: tells damage in transit from a wrong target.
    pub body_digest: [u8; 16],
}

/// Bytes in the shortest body: the coder, a target length, seven pairs of lengths, one segment.
const BODY_LEN_MIN: u64 = 18;

impl FramePrefix {
    /// The prefix of `body`.
    pub(crate) fn encode(body: &[u8]) -> [u8; FRAME_PREFIX_LEN] {
        let mut out = [0; FRAME_PREFIX_LEN];
        let len = u32::try_from(body.len()).expect("bodies are bounded by BODY_LEN_MAX");
        out[..4].copy_from_slice(&len.to_le_bytes());
        out[4..].copy_from_slice(&Digest::of(body).short());
        out
    }

    /// Reads a prefix.
    ///
    /// # Errors
    /// If the body's length is out of bounds.
    pub fn decode(bytes: &[u8; FRAME_PREFIX_LEN]) -> Result<Self, FormatError> {
        let mut rest = &bytes[..];
        let body_len = u32::from_le_bytes(split_array(&mut rest, "frame")?);
        let body_len = bounded("body_len", body_len.into(), BODY_LEN_MIN, BODY_LEN_MAX as u64)?;
        let body_len = usize::try_from(body_len).map_err(|_| FormatError::Truncated("frame"))?;
        Ok(Self { body_len, body_digest: split_array(&mut rest, "frame")? })
    }
}

/// The columns of a frame, in the order in which they are coded.
///
/// | index | column         | holds                                                           |
/// |-------|----------------|-----------------------------------------------------------------|
/// | 0     | `literal_lens` | per segment: count of literals                                  |
/// | 1     | `run_lens`     | per segment: twice the length of the copy, or of zeros plus one |
/// | 2     | `diagonals`    | per copy: change of source offset minus target offset, zigzag   |
/// | 3     | `gaps`         | per island: bytes of copies since the last island               |
/// | 4     | `island_lens`  | per island: its length minus one                                |
/// | 5     | `differences`  | per byte of an island: what to add to the source's byte         |
pub const COLUMN_NAMES: [&str; COLUMN_COUNT] =
    ["literal_lens", "run_lens", "diagonals", "gaps", "island_lens", "differences"];

/// Count of columns beside the literals.
pub const COLUMN_COUNT: usize = 6;

/// A frame body: its columns decoded, its literals still coded.
#[derive(Debug, Default)]
pub struct Frame {
    /// Bytes of target that the frame makes.
    pub target_len: u64,
    /// The columns, decoded.
    pub columns: [Vec<u8>; COLUMN_COUNT],
    /// How long each column was as coded, in bytes.
    pub coded_lens: [usize; COLUMN_COUNT],
    /// Count of literals.
    pub literals_len: u64,
    /// The literals as coded: the next piece of the literal stream.
    pub literals: Vec<u8>,
    /// The coder of this frame.
    pub coder: u8,
}

impl Frame {
    /// Reads the body of a frame into `self`, whose memory is used again.
    ///
    /// # Errors
    /// If the coder is unknown, a length is out of bounds, or a column does not decode.
    pub fn decode(&mut self, body: &[u8], decoder: &mut Decoder) -> Result<(), FormatError> {
        let mut rest = body;
        let [coder] = split_array(&mut rest, "frame")?;
        if coder != coder::ZSTD && coder != coder::STORED {
            return Err(FormatError::UnknownCoder(coder));
        }
        self.coder = coder;
        let mut at = 0;
        let mut field = |name, min, max| bounded(name, varint::take(rest, &mut at)?, min, max);
        self.target_len = field("target_len", 1, IMAGE_SIZE_MAX)?;
        let mut room = COLUMNS_LEN_MAX as u64;
        let mut lens = [(0, 0); COLUMN_COUNT];
        for (len, name) in lens.iter_mut().zip(COLUMN_NAMES) {
            let raw_len = field(name, 0, room)?;
            room -= raw_len;
            let coded_min = if coder == coder::STORED { raw_len } else { raw_len.min(1) };
            *len = (as_len(raw_len), as_len(field(name, coded_min, raw_len)?));
        }
        self.literals_len = field("literals", 0, self.target_len)?;
        let coded_min = if coder == coder::STORED { self.literals_len } else { 0 };
        let literals_coded = as_len(field("literals", coded_min, BODY_LEN_MAX as u64)?);
        rest = &rest[at..];
        // Frames that fill another column each would make us keep them all.
        let kept = lens.iter().zip(&self.columns).map(|((len, _), c)| c.capacity().max(*len));
        if kept.sum::<usize>() > COLUMNS_LEN_MAX {
            self.columns = Default::default();
        }
        for (index, (raw_len, coded_len)) in lens.into_iter().enumerate() {
            let coded = split(&mut rest, coded_len, COLUMN_NAMES[index])?;
            self.coded_lens[index] = coded_len;
            self.columns[index].clear();
            self.columns[index].reserve_exact(raw_len);
            self.columns[index].resize(raw_len, 0);
            decoder.column(COLUMN_NAMES[index], coded, &mut self.columns[index])?;
        }
        self.literals.clear();
        self.literals.reserve_exact(literals_coded);
        self.literals.extend(split(&mut rest, literals_coded, "literals")?);
        if rest.is_empty() { Ok(()) } else { Err(FormatError::TrailingBytes("literals")) }
    }

    /// Forgets the frame but keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.columns.iter_mut().for_each(Vec::clear);
        self.literals.clear();
        self.literals_len = 0;
        self.target_len = 0;
    }

    /// The body with these columns and this piece of the literal stream, coded by `zstd`.
    pub(crate) fn encode(
        target_len: u64,
        raw_lens: [usize; COLUMN_COUNT],
        columns: &[Vec<u8>; COLUMN_COUNT],
        literals_len: u64,
        literals: &[u8],
    ) -> Vec<u8> {
        let mut out = vec![coder::ZSTD];
        varint::put(&mut out, target_len);
        for (raw_len, coded) in raw_lens.iter().zip(columns) {
            varint::put(&mut out, *raw_len as u64);
            varint::put(&mut out, coded.len() as u64);
        }
        varint::put(&mut out, literals_len);
        varint::put(&mut out, literals.len() as u64);
        columns.iter().for_each(|coded| out.extend(coded));
        out.extend(literals);
        out
    }
}

/// Lengths that were bounded by less than 4 GiB just before.
fn as_len(len: u64) -> usize {
    usize::try_from(len).expect("a bounded length fits in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each column kept the memory of its largest frame, so six frames that fill one column each
    /// held six times the limit; now what is kept counts against it.
    #[test]
    fn frames_that_fill_another_column_each_are_held_within_the_limit() {
        let (mut frame, mut decoder) = (Frame::default(), Decoder::new());
        for index in 0..COLUMN_COUNT {
            let (mut lens, mut columns) = ([0; COLUMN_COUNT], <[Vec<u8>; COLUMN_COUNT]>::default());
            lens[index] = COLUMNS_LEN_MAX;
            columns[index] = coder::column(&vec![0; COLUMNS_LEN_MAX], 1);
            let body = Frame::encode(1, lens, &columns, 0, &[]);
            frame.decode(&body, &mut decoder).expect("the frame is well-formed");
            let held: usize = frame.columns.iter().map(Vec::capacity).sum();
            assert!(held <= COLUMNS_LEN_MAX, "{held} bytes after column {index}");
        }
    }
}
