//! Entropy coding with zstd: whole columns, and the literal stream that runs through frames.
//!
//! Everything that libzstd is asked to do is here, so that another coder is another file.

use zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, Strategy,
    zstd_sys::ZSTD_EndDirective,
};

use crate::error::FormatError;
use crate::format::{split, split_array};
use crate::limits::{COLUMNS_LEN_MAX, LITERAL_WINDOW_LOG2};

/// Coder id 0: columns and literals are stored as they are.
pub const STORED: u8 = 0;
/// Coder id 1: columns and literals are zstd (RFC 8878).
pub const ZSTD: u8 = 1;
/// Coder id 2: segments, misses and literals are coded by context mixing (module `cm`).
pub const CM: u8 = 2;

/// The highest zstd level.
pub const LEVEL_MAX: i32 = 22;

/// The first bytes of a zstd frame (RFC 8878, section 3.1.1).
const FRAME_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// A block that is one byte, repeated (RFC 8878, section 3.1.1.2.2).
const BLOCK_RLE: u32 = 1;

/// The largest window of the literal stream as RFC 8878, section 3.1.1.1.2 spells it.
const WINDOW_DESCRIPTOR_MAX: u32 = (LITERAL_WINDOW_LOG2 - 10) << 3;

/// log2 of the largest window a column may ask for: columns are decoded in one piece.
const COLUMN_WINDOW_LOG2: u32 = COLUMNS_LEN_MAX.next_power_of_two().trailing_zeros();

/// Codes one column; returns it as it is where that is no longer.
#[must_use]
pub fn column(raw: &[u8], level: i32) -> Vec<u8> {
    let mut context = context(level);
    set(&mut context, CParameter::WindowLog(window_log2(raw.len(), COLUMN_WINDOW_LOG2)));
    if level >= 19 {
        // Columns of varints and differences repeat in threes; measured 0.3 to 1 % smaller.
        set(&mut context, CParameter::MinMatch(3));
    }
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(raw.len()));
    context.compress2(&mut out, raw).expect("the output has room for the worst case");
    if out.len() < raw.len() { out } else { raw.to_vec() }
}

/// Codes the literals of one group of frames as one stream, flushed at the end of each frame.
#[expect(missing_debug_implementations, reason = "wraps a C context that shows nothing")]
pub struct LiteralEncoder {
    context: CCtx<'static>,
}

impl LiteralEncoder {
    /// A stream for a group with `len` bytes of literals in all.
    #[must_use]
    pub fn new(len: usize, level: i32) -> Self {
        Self::within(len, level, LITERAL_WINDOW_LOG2)
    }

    /// The same in a window of at most `2^window_log2_max` bytes.
    pub(crate) fn within(len: usize, level: i32, window_log2_max: u32) -> Self {
        let mut context = context(level);
        let window = window_log2(len, window_log2_max);
        set(&mut context, CParameter::WindowLog(window));
        if let Some(above) = u32::try_from(level - 19).ok().filter(|above| *above <= 3) {
            // Of a stream libzstd does not know the length, and takes the tables that its level
            // has for the largest (22 to 25, 24 to 27). What the window cannot fill is not needed:
            // at most 150 MiB are taken instead of 650 MiB, and 5 MiB for 200 kB of literals.
            set(&mut context, CParameter::HashLog((22 + above).min(window + 1)));
            set(&mut context, CParameter::ChainLog((24 + above).min(window + 1)));
        }
        Self { context }
    }

    /// Codes the next bytes, so that a decoder given the result can make all of them.
    pub fn code(&mut self, raw: &[u8]) -> Vec<u8> {
        if raw.is_empty() {
            return Vec::new();
        }
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(raw.len()) + 64);
        let mut input = InBuffer::around(raw);
        loop {
            let filled = out.len();
            let mut output = OutBuffer::around_pos(&mut out, filled);
            let left = self
                .context
                .compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_flush)
                .expect("compression into a growing buffer does not fail");
            if left == 0 {
                return out;
            }
            out.reserve(left.max(1 << 16));
        }
    }
}

/// The window in bytes that a decoder needs for a literal stream that starts with this piece;
/// nothing if none starts here.
pub(crate) fn literal_window(piece: &[u8]) -> Option<u64> {
    let descriptor = piece.strip_prefix(&FRAME_MAGIC)?.get(1)?;
    // The low three bits are a mantissa (RFC 8878, section 3.1.1.1.2).
    let base = 1_u64 << (10 + (descriptor >> 3));
    Some(base + base / 8 * u64::from(descriptor & 7))
}

/// Decodes columns and the literal stream, in memory that no input can enlarge.
pub struct Decoder {
    columns: DCtx<'static>,
    literals: DCtx<'static>,
    /// Whether the first piece of the literal stream was opened.
    begun: bool,
}

impl Decoder {
    /// A decoder at the start of a literal stream. Windows are taken when a stream asks.
    #[must_use]
    pub fn new() -> Self {
        let mut columns = DCtx::create();
        let mut literals = DCtx::create();
        for (context, log2) in
            [(&mut columns, COLUMN_WINDOW_LOG2), (&mut literals, LITERAL_WINDOW_LOG2)]
        {
            context.set_parameter(DParameter::WindowLogMax(log2)).expect("the log is in range");
        }
        Self { columns, literals, begun: false }
    }

    /// Decodes a column of known length; one as long as its code is stored.
    pub(crate) fn column(
        &mut self,
        name: &'static str,
        coded: &[u8],
        raw: &mut [u8],
    ) -> Result<(), FormatError> {
        if coded.len() == raw.len() {
            raw.copy_from_slice(coded);
            return Ok(());
        }
        // One frame and nothing behind it: libzstd would go on with the next, or skip it.
        let is_one = coded.starts_with(&FRAME_MAGIC)
            && zstd_safe::find_frame_compressed_size(coded) == Ok(coded.len());
        match self.columns.decompress(raw, coded) {
            Ok(len) if is_one && len == raw.len() => Ok(()),
            _ => Err(FormatError::Undecodable(name)),
        }
    }

    /// Forgets the literal stream; the next literals start a new one.
    pub(crate) fn restart(&mut self) {
        self.literals.reset(ResetDirective::SessionOnly).expect("a session can always be reset");
        self.begun = false;
    }

    /// Checks that the next piece of the literal stream is whole blocks, none of them the last
    /// (format 4.5), so that what it gives does not depend on how much is asked for at once.
    pub(crate) fn open_piece(&mut self, piece: &[u8]) -> Result<(), FormatError> {
        const PART: &str = "literals";
        let mut rest = piece;
        if !self.begun {
            let [magic @ .., descriptor, window] = split_array::<6>(&mut rest, PART)?;
            if magic != FRAME_MAGIC || descriptor != 0 || u32::from(window) > WINDOW_DESCRIPTOR_MAX
            {
                return Err(FormatError::Undecodable(PART));
            }
            self.begun = true;
        }
        while !rest.is_empty() {
            let [low, middle, high] = split_array(&mut rest, PART)?;
            let header = u32::from_le_bytes([low, middle, high, 0]);
            let (is_last, kind, size) = (header & 1 == 1, header >> 1 & 3, header >> 3);
            if is_last {
                return Err(FormatError::Undecodable(PART));
            }
            split(&mut rest, if kind == BLOCK_RLE { 1 } else { size as usize }, PART)?;
        }
        Ok(())
    }

    /// Checks that the last piece gives no more literals than were taken.
    pub(crate) fn close_piece(&mut self) -> Result<(), FormatError> {
        let mut more = [0; 1];
        let mut output = OutBuffer::around(&mut more[..]);
        let hint = self.literals.decompress_stream(&mut output, &mut InBuffer::around(&[]));
        if hint.is_err() || output.pos() > 0 {
            return Err(FormatError::TrailingBytes("literals"));
        }
        Ok(())
    }

    /// Fills `raw` with the next literals, and moves `at` behind the code it took.
    pub(crate) fn literals(
        &mut self,
        coded: &[u8],
        at: &mut usize,
        raw: &mut [u8],
    ) -> Result<(), FormatError> {
        const UNDECODABLE: FormatError = FormatError::Undecodable("literals");
        let mut input = InBuffer { src: coded, pos: *at };
        let mut filled = 0;
        while filled < raw.len() {
            let before = (filled, input.pos);
            let mut output = OutBuffer::around_pos(raw, filled);
            let hint = self.literals.decompress_stream(&mut output, &mut input);
            filled = output.pos();
            // A stream that ends (hint 0) or that stands still will never fill the rest.
            let ended = hint.map_err(|_| UNDECODABLE)? == 0 && filled < raw.len();
            if ended || (filled, input.pos) == before {
                return Err(UNDECODABLE);
            }
        }
        *at = input.pos;
        Ok(())
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

fn context(level: i32) -> CCtx<'static> {
    let mut context = CCtx::create();
    set(&mut context, CParameter::CompressionLevel(level));
    set(&mut context, CParameter::ContentSizeFlag(false));
    if level >= 19 {
        set(&mut context, CParameter::Strategy(Strategy::ZSTD_btultra2));
    }
    context
}

fn set(context: &mut CCtx<'static>, parameter: CParameter) {
    context.set_parameter(parameter).expect("every parameter we set is in libzstd's range");
}

/// The smallest window that holds `len` bytes, between libzstd's least (1 KiB) and `max`.
fn window_log2(len: usize, max: u32) -> u32 {
    len.next_power_of_two().trailing_zeros().clamp(10, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libzstd, not told how long a stream will be, took tables for the longest: 658 MB at level
    /// 22 for 200 kB of literals. The window bounds them now.
    #[test]
    fn literal_stream_takes_no_more_memory_than_its_window_needs() {
        let raw: Vec<u8> = (0..200_000_u32).map(|i| i.wrapping_mul(i).to_le_bytes()[1]).collect();
        for level in [3, 16, 19, 20, 21, LEVEL_MAX] {
            let mut encoder = LiteralEncoder::new(raw.len(), level);
            let piece = encoder.code(&raw);
            assert_eq!(piece[..6], [0x28, 0xb5, 0x2f, 0xfd, 0, 0x40]);
            let held = encoder.context.sizeof();
            assert!(held < 48 << 20, "level {level} holds {held} bytes");
            if level >= 19 {
                assert!(held < 12 << 20, "level {level} holds {held} bytes");
            }
        }
    }
}
