//! A frame: segments that make the next bytes of the target, column by column.
//!
//! A segment is some literals, then a copy from the source or a run of zeros. What a copy differs
//! in is told apart from the segments, as islands of differences in the bytes that copies make, so
//! that copies may be long where bytes differ here and there (C. Percival, "Naive differences of
//! executable code", 2003). Each field has its own column: like stands by like when coded.

use std::ops::Range;

use super::{bounded, split, split_array};
use crate::cm::Segment;
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
/// |  0 |    4 | `body_len`    | 2 ..= 2 MiB                       |
/// |  4 |   16 | `body_digest` | first bytes of BLAKE3 of the body |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePrefix {
    /// Length of the body, in bytes.
    pub body_len: usize,
    /// First half of the body's digest: tells damage in transit from a wrong target.
    pub body_digest: [u8; 16],
}

/// Bytes in the shortest body: the coder and a target length.
const BODY_LEN_MIN: u64 = 2;

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
/// | 6     | `regions`      | layer `refs`: the executables whose addresses are rewritten     |
/// | 7     | `moves`        | layer `refs`: per region, addresses that move unlike their bytes |
pub const COLUMN_NAMES: [&str; COLUMN_COUNT] = [
    "literal_lens",
    "run_lens",
    "diagonals",
    "gaps",
    "island_lens",
    "differences",
    "regions",
    "moves",
];

/// Count of columns beside the literals.
pub const COLUMN_COUNT: usize = 8;

/// Columns that frames of the coders 0 and 1 have in any patch: all before `regions`.
const PLAIN: std::ops::Range<usize> = 0..REGIONS;

/// Index of the column `regions`.
pub const REGIONS: usize = 6;

/// Index of the column `moves`.
pub const MOVES: usize = 7;

/// A frame body: its columns decoded, what stands behind them still coded.
#[derive(Debug, Default)]
pub struct Frame {
    /// Bytes of target that the frame makes.
    pub target_len: u64,
    /// The columns, decoded; those that the frame does not have are empty.
    pub columns: [Vec<u8>; COLUMN_COUNT],
    /// How long each column was as coded, in bytes.
    pub coded_lens: [usize; COLUMN_COUNT],
    /// Count of literals; with the coder `cm` the segments tell it.
    pub literals_len: u64,
    /// Which bytes of the body stand behind the columns: the next piece of the literal stream, or
    /// with the coder `cm` all that the coder codes.
    pub stream: Range<usize>,
    /// The coder of this frame.
    pub coder: u8,
}

impl Frame {
    /// Reads the body of a frame into `self`, whose memory is used again; `refs` says whether the
    /// patch has that layer.
    ///
    /// # Errors
    /// If the coder is unknown, a length is out of bounds, or a column does not decode.
    pub fn decode(
        &mut self,
        body: &[u8],
        refs: bool,
        decoder: &mut Decoder,
    ) -> Result<(), FormatError> {
        let coder = *body.first().ok_or(FormatError::Truncated("frame"))?;
        if ![coder::STORED, coder::ZSTD, coder::CM].contains(&coder) {
            return Err(FormatError::UnknownCoder(coder));
        }
        self.coder = coder;
        let mut at = 1;
        let mut field = |name, min, max| bounded(name, varint::take(body, &mut at)?, min, max);
        self.target_len = field("target_len", 1, IMAGE_SIZE_MAX)?;
        let mut room = COLUMNS_LEN_MAX as u64;
        let mut lens = [(0, 0); COLUMN_COUNT];
        let present = columns_of(coder, refs);
        for (len, name) in lens[present.clone()].iter_mut().zip(&COLUMN_NAMES[present]) {
            let raw_len = field(name, 0, room)?;
            room -= raw_len;
            let coded_min = if coder == coder::STORED { raw_len } else { raw_len.min(1) };
            *len = (as_len(raw_len), as_len(field(name, coded_min, raw_len)?));
        }
        self.literals_len = 0;
        let mut stream_len = None;
        if coder != coder::CM {
            self.literals_len = field("literals", 0, self.target_len)?;
            let coded_min = if coder == coder::STORED { self.literals_len } else { 0 };
            stream_len = Some(as_len(field("literals", coded_min, BODY_LEN_MAX as u64)?));
        }
        let mut rest = &body[at..];
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
        self.stream = body.len() - rest.len()..body.len();
        match stream_len {
            Some(len) if len > rest.len() => Err(FormatError::Truncated("literals")),
            Some(len) if len < rest.len() => Err(FormatError::TrailingBytes("literals")),
            _ => Ok(()),
        }
    }

    /// Forgets the frame but keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.columns.iter_mut().for_each(Vec::clear);
        self.stream = 0..0;
        self.literals_len = 0;
        self.target_len = 0;
    }

    /// The body with these columns and this piece of the literal stream, coded by `zstd`.
    pub(crate) fn encode(
        target_len: u64,
        refs: bool,
        raw_lens: [usize; COLUMN_COUNT],
        columns: &[Vec<u8>; COLUMN_COUNT],
        literals_len: u64,
        literals: &[u8],
    ) -> Vec<u8> {
        let mut out = Self::front(coder::ZSTD, target_len, refs, &raw_lens, columns);
        varint::put(&mut out, literals_len);
        varint::put(&mut out, literals.len() as u64);
        columns.iter().for_each(|coded| out.extend(coded));
        out.extend(literals);
        out
    }

    /// The body with these columns of the layer `refs`, the rest coded by `cm`.
    pub(crate) fn encode_mixed(
        target_len: u64,
        refs: bool,
        raw_lens: [usize; COLUMN_COUNT],
        columns: &[Vec<u8>; COLUMN_COUNT],
        stream: &[u8],
    ) -> Vec<u8> {
        let mut out = Self::front(coder::CM, target_len, refs, &raw_lens, columns);
        columns[columns_of(coder::CM, refs)].iter().for_each(|coded| out.extend(coded));
        out.extend(stream);
        out
    }

    /// What stands in front of the lengths of the literals.
    fn front(
        coder: u8,
        target_len: u64,
        refs: bool,
        raw_lens: &[usize; COLUMN_COUNT],
        columns: &[Vec<u8>; COLUMN_COUNT],
    ) -> Vec<u8> {
        let mut out = vec![coder];
        varint::put(&mut out, target_len);
        let present = columns_of(coder, refs);
        for (raw_len, coded) in raw_lens[present.clone()].iter().zip(&columns[present]) {
            varint::put(&mut out, *raw_len as u64);
            varint::put(&mut out, coded.len() as u64);
        }
        out
    }
}

/// Reads segments from the first three columns.
#[derive(Debug, Clone, Default)]
pub struct SegmentReader {
    at: [usize; 3],
    diagonal: i64,
}

impl SegmentReader {
    /// The next segment; `diagonal` is that of the last copy where it has none.
    ///
    /// # Errors
    /// If a column ends.
    pub fn next(&mut self, columns: &[Vec<u8>; COLUMN_COUNT]) -> Result<Segment, FormatError> {
        let literals = varint::take(&columns[0], &mut self.at[0])?;
        let run = varint::take(&columns[1], &mut self.at[1])?;
        let (run, zeros) = (run >> 1, run & 1 == 1);
        if run > 0 && !zeros {
            let change = varint::take_signed(&columns[2], &mut self.at[2])?;
            // Two offsets of 37 bits are apart by 38; what leaves 64 bits is refused as a copy.
            self.diagonal = self.diagonal.saturating_add(change);
        }
        Ok(Segment { literals, run, zeros, diagonal: self.diagonal })
    }

    /// How much of each column was taken.
    #[must_use]
    pub fn at(&self) -> [usize; 3] {
        self.at
    }
}

/// Which columns a frame has: those of the layer `refs` only in patches with it, the others only
/// with coders that code them one by one.
fn columns_of(coder: u8, refs: bool) -> Range<usize> {
    let start = if coder == coder::CM { PLAIN.end } else { PLAIN.start };
    start..if refs { COLUMN_COUNT } else { PLAIN.end }
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
            let body = Frame::encode(1, true, lens, &columns, 0, &[]);
            frame.decode(&body, true, &mut decoder).expect("the frame is well-formed");
            let held: usize = frame.columns.iter().map(Vec::capacity).sum();
            assert!(held <= COLUMNS_LEN_MAX, "{held} bytes after column {index}");
        }
    }
}
