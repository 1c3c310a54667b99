//! Deflate streams (RFC 1951), bare or in a zlib wrapper (RFC 1950).
//!
//! zlib predicts them, of which gzip, zip and most others are relatives. A correction, if there is
//! one, is the length of what is told of the blocks as a varint, that (`write`), and edits.

mod huffman;
mod read;
mod trees;
mod write;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use self::read::{Symbol, Symbols};
use self::trees::Lengths;
use self::write::Told;
use super::edits::{self, Edited, Token};
use super::{Step, UnpackError, decode_cut, decode_whole};
use crate::error::FormatError;
use crate::varint;

/// Levels of zlib in the order in which they are worth trying: what mksquashfs and kernels take,
/// the default, and then the others.
pub(super) const LEVELS: [u8; 9] = [9, 6, 8, 7, 5, 4, 3, 2, 1];

/// Window of zlib as log2 of bytes, at most.
pub(super) const WINDOW_LOG2_MAX: u8 = 15;

/// Least window that zlib compresses with, as log2 of bytes; with 8 it takes 9.
pub(super) const WINDOW_LOG2_MIN: u8 = 9;

/// The plain bytes of a stream.
pub(super) fn unpack(packed: &[u8], plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
    inflate(packed, false, plain_len_max)
}

/// The plain bytes of a stream in a zlib wrapper, whose checksum is right.
pub(super) fn unpack_zlib(packed: &[u8], plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
    inflate(packed, true, plain_len_max)
}

fn inflate(packed: &[u8], zlib: bool, plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
    decode_whole(packed, plain_len_max, steps(zlib))
}

/// The plain bytes of a stream, in a zlib wrapper or bare, as far as it goes.
pub(super) fn unpack_cut(
    packed: &[u8],
    zlib: bool,
    plain_len_max: usize,
) -> Result<Vec<u8>, UnpackError> {
    decode_cut(packed, plain_len_max, steps(zlib))
}

fn steps(zlib: bool) -> impl FnMut(&[u8], &mut Vec<u8>) -> Step {
    let mut decoder = Decompress::new(zlib);
    move |rest, plain| {
        let status = decoder
            .decompress_vec(rest, plain, FlushDecompress::None)
            .map_err(|_| UnpackError::Malformed)?;
        Ok((decoder.total_in(), status == Status::StreamEnd))
    }
}

/// What zlib makes of `plain`, without a wrapper.
pub(super) fn predict(plain: &[u8], level: u8, window_log2: u8) -> Vec<u8> {
    let mut encoder =
        Compress::new_with_window_bits(Compression::new(level.into()), false, window_log2);
    // Room as zlib's `deflateBound` has it for any settings.
    let room = plain.len() + plain.len() / 8 + plain.len() / 256 + 64;
    let mut packed = Vec::with_capacity(room);
    let mut taken = 0;
    loop {
        let status = encoder
            .compress_vec(&plain[taken..], &mut packed, FlushCompress::Finish)
            .expect("zlib compresses anything");
        if status == Status::StreamEnd {
            return packed;
        }
        taken = usize::try_from(encoder.total_in()).expect("at most all");
        packed.reserve(room / 8);
    }
}

/// What tells a stream to someone who has the predicted one.
pub(super) fn correct(packed: &[u8], predicted: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let told = write::tell_blocks(packed, plain);
    told.is_whole.then(|| correction(&told, packed, predicted))
}

/// The same for as much of a stream as is there: plain bytes, packed ones, and what tells them.
pub(super) fn correct_cut(
    packed: &[u8],
    plain: &[u8],
    predict: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Option<(usize, usize, Vec<u8>)> {
    let mut told = write::tell_blocks(packed, plain);
    let packed_len = usize::try_from(told.len_bits.div_ceil(8)).ok()?;
    let unused = u32::try_from(packed_len as u64 * 8 - told.len_bits).ok()?;
    // Bits of what is cut, up to the whole byte.
    let rest = packed[..packed_len].last()?.checked_shr(8 - unused).unwrap_or(0);
    told.blocks.push(rest);
    let predicted = predict(&plain[..told.plain_len])?;
    Some((told.plain_len, packed_len, correction(&told, packed, &predicted)))
}

fn correction(told: &Told, packed: &[u8], predicted: &[u8]) -> Vec<u8> {
    let mut correction = Vec::new();
    varint::put(&mut correction, told.blocks.len() as u64);
    correction.extend(&told.blocks);
    let actual = Tokens::of_text(packed, told.plain_len);
    correction.extend(edits::encode(actual, Tokens::new(predicted)));
    correction
}

/// The length of the edits that lead from one stream to another.
pub(super) fn distance(packed: &[u8], predicted: &[u8], plain_len: usize) -> usize {
    edits::distance(Tokens::new(packed), Tokens::new(predicted), plain_len as u64)
}

/// The stream that a correction makes of the predicted one.
pub(super) fn apply(
    plain: &[u8],
    predicted: &[u8],
    correction: &[u8],
    packed_len: usize,
    is_cut: bool,
) -> Result<Vec<u8>, FormatError> {
    let mut at = 0;
    let blocks_len = varint::take(correction, &mut at)?;
    let (blocks, edits) = usize::try_from(blocks_len)
        .ok()
        .and_then(|len| correction[at..].split_at_checked(len))
        .ok_or(FormatError::Undecodable("correction"))?;
    let tokens = Edited::new(edits, Tokens::new(predicted), plain.len())?;
    write::write(plain, blocks, tokens, packed_len, is_cut)
}

/// The two bytes before a stream in a zlib wrapper, if they are well-formed and want no dictionary
/// (RFC 1950, section 2.2).
pub(super) fn zlib_header(packed: &[u8]) -> Option<[u8; 2]> {
    let header = *packed.first_chunk::<2>()?;
    let window_log2 = (header[0] >> 4) + 8;
    let is_whole = u16::from_be_bytes(header).is_multiple_of(31);
    let is_deflate = header[0] & 15 == 8 && window_log2 <= WINDOW_LOG2_MAX;
    (is_whole && is_deflate && header[1] & 0x20 == 0).then_some(header)
}

/// The checksum behind a stream in a zlib wrapper (RFC 1950, section 8.2).
pub(super) fn adler32(plain: &[u8]) -> u32 {
    /// So many bytes are summed before the sums could pass 32 bits (NMAX of zlib).
    const PIECE_LEN: usize = 5552;
    let (mut low, mut high) = (1_u32, 0_u32);
    for piece in plain.chunks(PIECE_LEN) {
        for byte in piece {
            low += u32::from(*byte);
            high += low;
        }
        low %= 65521;
        high %= 65521;
    }
    high << 16 | low
}

/// The tokens of a stream, whatever its blocks; up to where it is malformed.
struct Tokens<'a> {
    symbols: Symbols<'a>,
    /// Plain bytes that they still say.
    left: u64,
    is_done: bool,
}

impl<'a> Tokens<'a> {
    fn new(packed: &'a [u8]) -> Self {
        Self { symbols: Symbols::new(packed), left: u64::MAX, is_done: false }
    }

    /// Those of the first symbols that say so many plain bytes.
    fn of_text(packed: &'a [u8], plain_len: usize) -> Self {
        Self { left: plain_len as u64, ..Self::new(packed) }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        if self.is_done {
            return None;
        }
        let mut literals = 0;
        while self.left > 0
            && let Some(symbol) = self.symbols.next()
        {
            match symbol {
                Symbol::Literals(count) => {
                    literals += count;
                    self.left = self.left.saturating_sub(count.into());
                }
                Symbol::Match { len, offset } => {
                    self.left = self.left.saturating_sub(len.into());
                    return Some(Token { literals, len, offset });
                }
                Symbol::Block { .. } | Symbol::End => {}
            }
        }
        self.is_done = true;
        Some(Token { literals, len: 0, offset: 0 })
    }
}

/// Codes of literals and lengths, and of distances, that have a meaning (RFC 1951, section 3.2.5).
const LITERAL_COUNT: usize = 286;
const DISTANCE_COUNT: usize = 30;

/// The order in which the lengths of the codes of code lengths are written (section 3.2.7).
const CODE_LENGTH_ORDER: [usize; 19] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Least length, in bytes, and extra bits of the codes from 257 (section 3.2.5).
const LENGTHS: [(u32, u32); 29] = {
    let mut table = [(0, 0); 29];
    let (mut code, mut base, mut extra) = (0, 3, 0);
    while code < 28 {
        if code >= 8 && code % 4 == 0 {
            extra += 1;
        }
        table[code] = (base, extra);
        base += 1 << extra;
        code += 1;
    }
    table[28] = (258, 0);
    table
};

/// Least distance, in bytes, and extra bits of each code (section 3.2.5).
const DISTANCES: [(u32, u32); DISTANCE_COUNT] = {
    let mut table = [(0, 0); DISTANCE_COUNT];
    let (mut code, mut base, mut extra) = (0, 1, 0);
    while code < DISTANCE_COUNT {
        if code >= 4 && code % 2 == 0 {
            extra += 1;
        }
        table[code] = (base, extra);
        base += 1 << extra;
        code += 1;
    }
    table
};

/// The codes of blocks that have none of their own (section 3.2.6).
fn fixed_lengths() -> Lengths {
    let mut literals = vec![8; 288];
    literals[144..256].fill(9);
    literals[256..280].fill(7);
    Lengths { literals, distances: vec![5; 32] }
}
