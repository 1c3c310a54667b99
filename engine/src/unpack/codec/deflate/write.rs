//! How a deflate stream is cut into blocks and which codes they have; writes it from that and its
//! tokens.
//!
//! The blocks are told one behind the other:
//!
//! | field    | coding | meaning                                                             |
//! |----------|--------|---------------------------------------------------------------------|
//! | `flags`  | u8     | bit 0: the last block; bits 1 and 2: how it is coded; bit 3: cut    |
//! | `len`    | varint | plain bytes in the block                                            |
//! | `bits`   | varint | only with flags 3: length of the header, in bits                    |
//! | `header` | bytes  | only with flags 3: the header as in the stream, from the lowest bit |
//!
//! It is coded 0: not at all, 1: with fixed codes, 2: with those that zlib makes, 3: as told.
//!
//! Of a stream that is cut, the last block may be cut: then it lacks its end, and its codes are not
//! those that zlib makes, as nobody knows what else it says. A byte follows, which has the bits up
//! to a whole byte.

use super::huffman::codes;
use super::read::{Kind, Symbol, Symbols, read_header};
use super::trees::{self, Lengths};
use super::{DISTANCE_COUNT, DISTANCES, LENGTHS, LITERAL_COUNT, fixed_lengths};
use crate::error::FormatError;
use crate::limits::DEFLATE_BLOCK_TOKENS_MAX;
use crate::unpack::codec::bits::{BitReader, BitWriter};
use crate::unpack::codec::edits::Token;
use crate::unpack::codec::pieces::{Piece, Source};
use crate::varint;

const STORED: u8 = 0;
const FIXED: u8 = 1;
const AS_ZLIB: u8 = 2;
const AS_TOLD: u8 = 3;

/// Flag of a block that lacks its end.
const CUT: u8 = 8;

/// Longest header of a block, in bits: 3 counts, 19 lengths, and 316 codes of at most 14 bits.
const HEADER_BITS_MAX: u64 = 14 + 19 * 3 + 316 * 14;

const UNDECODABLE: FormatError = FormatError::Undecodable("correction");

/// What is told of a stream.
pub(super) struct Told {
    pub(super) blocks: Vec<u8>,
    /// What of it is told: plain bytes, and packed bits.
    pub(super) plain_len: usize,
    pub(super) len_bits: u64,
    /// Whether that is all of the stream.
    pub(super) is_whole: bool,
}

/// Tells the blocks of the stream that makes `plain`, as far as it has nothing that would not be
/// written as it is.
pub(super) fn tell_blocks(packed: &[u8], plain: &[u8]) -> Told {
    let mut told = Told { blocks: Vec::new(), plain_len: 0, len_bits: 0, is_whole: false };
    let mut symbols = Symbols::new(packed);
    let mut open = None;
    let mut counts = Counts::new();
    let mut start = 0;
    while let Some(symbol) = symbols.next() {
        let at = told.plain_len;
        match symbol {
            Symbol::Block { kind, is_last } => {
                let is_stored = kind == Kind::Stored;
                open = Some((kind, is_last));
                counts = Counts::new();
                start = at;
                // It is told whole or not at all.
                if is_stored {
                    continue;
                }
            }
            Symbol::Literals(count) => {
                let Some(literals) = plain.get(at..at + count as usize) else { break };
                counts.literals(literals);
                told.plain_len += literals.len();
                if open.as_ref().is_some_and(|(kind, _)| *kind == Kind::Stored) {
                    continue;
                }
            }
            Symbol::Match { len, offset } => {
                if plain.len() - at < len as usize {
                    break;
                }
                counts.add_match(len, offset);
                told.plain_len += len as usize;
            }
            Symbol::End => {
                let Some((kind, is_last)) = open.take() else { break };
                tell_block(packed, &kind, is_last, at - start, Some(&counts), &mut told.blocks);
            }
        }
        told.len_bits = symbols.position_bits();
    }
    told.is_whole = symbols.ends_whole() && told.plain_len == plain.len();
    if let Some((kind, is_last)) = open
        && kind != Kind::Stored
    {
        let len = told.plain_len - start;
        tell_block(packed, &kind, is_last, len, None, &mut told.blocks);
    }
    told
}

/// Tells a block that uses symbols as often as counted; without counts, one that is cut.
fn tell_block(
    packed: &[u8],
    kind: &Kind,
    is_last: bool,
    len: usize,
    counts: Option<&Counts>,
    told: &mut Vec<u8>,
) {
    let mut header = None;
    let kind = match kind {
        Kind::Stored => STORED,
        Kind::Fixed => FIXED,
        Kind::Dynamic(_, start, end) => {
            let bits = copy_bits(packed, *start, *end);
            let is_as_zlib = counts.is_some_and(|counts| {
                let mut as_zlib = BitWriter::default();
                trees::write_header(&counts.lengths(), &mut as_zlib);
                as_zlib.len_bits() == end - start && as_zlib.finish() == bits
            });
            if is_as_zlib {
                AS_ZLIB
            } else {
                header = Some((end - start, bits));
                AS_TOLD
            }
        }
    };
    let cut = if counts.is_none() { CUT } else { 0 };
    told.push(u8::from(is_last) | kind << 1 | cut);
    varint::put(told, len as u64);
    if let Some((bit_count, bits)) = header {
        varint::put(told, bit_count);
        told.extend_from_slice(&bits);
    }
}

/// Bits of a stream from one place to another, from the lowest bit of the first byte.
fn copy_bits(packed: &[u8], start: u64, end: u64) -> Vec<u8> {
    let first = usize::try_from(start / 8).expect("inside of the stream");
    let mut reader = BitReader::new(&packed[first..]);
    let mut writer = BitWriter::default();
    let mut left = u32::try_from(end - start).expect("a header is short");
    let skipped = reader.take(u32::try_from(start % 8).expect("below 8"));
    debug_assert!(skipped.is_some(), "the header was read before");
    while left > 0 {
        let count = left.min(8);
        writer.put(reader.peek(count), count);
        reader.skip(count).expect("the header was read before");
        left -= count;
    }
    writer.finish()
}

/// Writes a stream; `told` is what `tell_blocks` told of it.
///
/// Makes at most one block's bits more than `packed_len_max` bytes.
pub(super) fn write(
    plain: &[u8],
    told: &[u8],
    tokens: impl Iterator<Item = Result<Token, FormatError>>,
    packed_len_max: usize,
    is_cut: bool,
) -> Result<Vec<u8>, FormatError> {
    let mut out = BitWriter::default();
    let mut source = Source::new(tokens, plain);
    let mut told = Hearing { rest: told };
    let mut is_last = false;
    // Behind the blocks of what is cut there is one byte.
    while !(is_last || is_cut && told.rest.len() == 1) {
        let flags = told.byte()?;
        let has_end = flags & CUT == 0;
        is_last = flags & 1 == 1 || !has_end;
        let len = usize::try_from(told.number(plain.len() as u64)?).map_err(|_| UNDECODABLE)?;
        out.put(u64::from(flags & 1), 1);
        match (flags & !CUT) >> 1 {
            STORED if has_end => write_stored(source.take_plain(len)?, &mut out)?,
            FIXED => {
                out.put(1, 2);
                let coder = Coder::new(&fixed_lengths())?;
                write_block(&mut source, len, &coder, &mut out, packed_len_max)?;
                coder.write_end(has_end, &mut out)?;
            }
            AS_ZLIB if has_end => {
                out.put(2, 2);
                let pieces = source.take_block(len, DEFLATE_BLOCK_TOKENS_MAX)?;
                let lengths = Counts::of(&pieces).lengths();
                trees::write_header(&lengths, &mut out);
                let coder = Coder::new(&lengths)?;
                for piece in &pieces {
                    coder.write(piece, &mut out)?;
                }
                coder.write_end(true, &mut out)?;
            }
            AS_TOLD => {
                out.put(2, 2);
                let coder = Coder::new(&told.header(&mut out)?)?;
                write_block(&mut source, len, &coder, &mut out, packed_len_max)?;
                coder.write_end(has_end, &mut out)?;
            }
            _ => return Err(UNDECODABLE),
        }
        if out.len() > packed_len_max || !(has_end || is_cut) {
            return Err(UNDECODABLE);
        }
    }
    if is_cut {
        let unused = out.len_bits().wrapping_neg() & 7;
        let rest = u64::from(told.byte()?);
        if rest >> unused > 0 {
            return Err(UNDECODABLE);
        }
        out.put(rest, u32::try_from(unused).expect("below 8"));
    }
    source.close()?;
    if told.rest.is_empty() { Ok(out.finish()) } else { Err(UNDECODABLE) }
}

fn write_stored(bytes: &[u8], out: &mut BitWriter) -> Result<(), FormatError> {
    let len = u16::try_from(bytes.len()).map_err(|_| UNDECODABLE)?;
    out.put(0, 2);
    out.align();
    out.put(len.into(), 16);
    out.put((!len).into(), 16);
    out.put_bytes(bytes);
    Ok(())
}

/// What is told of the blocks, as it is read.
struct Hearing<'a> {
    rest: &'a [u8],
}

impl Hearing<'_> {
    fn byte(&mut self) -> Result<u8, FormatError> {
        let (byte, rest) = self.rest.split_first().ok_or(UNDECODABLE)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn number(&mut self, max: u64) -> Result<u64, FormatError> {
        let mut at = 0;
        let value = varint::take(self.rest, &mut at)?;
        self.rest = &self.rest[at..];
        if value > max { Err(UNDECODABLE) } else { Ok(value) }
    }

    /// Reads the header of a block, and writes it.
    fn header(&mut self, out: &mut BitWriter) -> Result<Lengths, FormatError> {
        let bit_count = self.number(HEADER_BITS_MAX)?;
        let len = usize::try_from(bit_count.div_ceil(8)).map_err(|_| UNDECODABLE)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(UNDECODABLE)?;
        self.rest = rest;
        let mut reader = BitReader::new(bytes);
        let lengths = read_header(&mut reader).ok_or(UNDECODABLE)?;
        if reader.position_bits() != bit_count {
            return Err(UNDECODABLE);
        }
        let mut reader = BitReader::new(bytes);
        let mut left = u32::try_from(bit_count).map_err(|_| UNDECODABLE)?;
        while left > 0 {
            let count = left.min(8);
            out.put(reader.take(count).ok_or(UNDECODABLE)?, count);
            left -= count;
        }
        Ok(lengths)
    }
}

/// Writes the symbols of a block of `len` plain bytes whose codes are known.
fn write_block<'a>(
    source: &mut Source<'a, impl Iterator<Item = Result<Token, FormatError>>>,
    mut len: usize,
    coder: &Coder,
    out: &mut BitWriter,
    packed_len_max: usize,
) -> Result<(), FormatError> {
    while len > 0 {
        let piece = source.next_piece(len)?;
        len -= piece.len();
        coder.write(&piece, out)?;
        if out.len() > packed_len_max {
            return Err(UNDECODABLE);
        }
    }
    Ok(())
}

/// How often a block uses each symbol.
struct Counts {
    literals: [u32; LITERAL_COUNT],
    distances: [u32; DISTANCE_COUNT],
}

impl Counts {
    /// Of an empty block, which has its end.
    fn new() -> Self {
        let mut literals = [0; LITERAL_COUNT];
        literals[END] = 1;
        Self { literals, distances: [0; DISTANCE_COUNT] }
    }

    fn of(pieces: &[Piece<'_>]) -> Self {
        let mut counts = Self::new();
        for piece in pieces {
            counts.literals(piece.literals);
            if let Some((len, offset)) = piece.then {
                counts.add_match(len, offset);
            }
        }
        counts
    }

    fn literals(&mut self, literals: &[u8]) {
        for byte in literals {
            self.literals[usize::from(*byte)] += 1;
        }
    }

    fn add_match(&mut self, len: u32, offset: u32) {
        self.literals[END + 1 + code_of(&LENGTHS, len)] += 1;
        self.distances[code_of(&DISTANCES, offset)] += 1;
    }

    fn lengths(&self) -> Lengths {
        trees::lengths(&self.literals, &self.distances)
    }
}

/// The literal code that ends a block.
const END: usize = 256;

/// The last code of a table whose base is no more than `value`, which is at least the first.
fn code_of(table: &[(u32, u32)], value: u32) -> usize {
    table.partition_point(|(base, _)| *base <= value).saturating_sub(1)
}

/// Codes of a block, with their lengths.
struct Coder {
    literals: Vec<(u16, u8)>,
    distances: Vec<(u16, u8)>,
}

impl Coder {
    /// Nothing is written with codes that overfill their space: no decoder takes them.
    fn new(lengths: &Lengths) -> Result<Self, FormatError> {
        let code = |lengths: &[u8]| {
            let codes = codes(lengths).ok_or(UNDECODABLE)?;
            Ok(codes.into_iter().zip(lengths.to_vec()).collect())
        };
        Ok(Self { literals: code(&lengths.literals)?, distances: code(&lengths.distances)? })
    }

    fn write(&self, piece: &Piece<'_>, out: &mut BitWriter) -> Result<(), FormatError> {
        for byte in piece.literals {
            put(&self.literals, usize::from(*byte), out)?;
        }
        let Some((len, offset)) = piece.then else { return Ok(()) };
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&len) || !(1..=OFFSET_MAX).contains(&offset) {
            return Err(UNDECODABLE);
        }
        let code = code_of(&LENGTHS, len);
        put(&self.literals, END + 1 + code, out)?;
        let (base, extra) = LENGTHS[code];
        out.put(u64::from(len - base), extra);
        let code = code_of(&DISTANCES, offset);
        put(&self.distances, code, out)?;
        let (base, extra) = DISTANCES[code];
        out.put(u64::from(offset - base), extra);
        Ok(())
    }

    fn write_end(&self, has_end: bool, out: &mut BitWriter) -> Result<(), FormatError> {
        if has_end { put(&self.literals, END, out) } else { Ok(()) }
    }
}

fn put(codes: &[(u16, u8)], symbol: usize, out: &mut BitWriter) -> Result<(), FormatError> {
    match codes.get(symbol) {
        Some((code, len @ 1..)) => {
            out.put(u64::from(*code), u32::from(*len));
            Ok(())
        }
        _ => Err(UNDECODABLE),
    }
}

/// Bounds of a match, in bytes (RFC 1951, section 3.2.5).
const LENGTH_MIN: u32 = 3;
const LENGTH_MAX: u32 = 258;
const OFFSET_MAX: u32 = 1 << 15;
