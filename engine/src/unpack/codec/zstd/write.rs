//! What a frame has beside its tokens, told to someone who has a predicted frame; writes the frame.
//!
//! A correction is the length of what is told of the blocks as a varint, that, and edits. The
//! blocks are told one behind the other; *its likeness* is the predicted block of the same number:
//!
//! | field    | coding | meaning                                                             |
//! |----------|--------|---------------------------------------------------------------------|
//! | `flags`  | u8     | bit 0: the last block; bits 1 and 2: see below     |
//! | `len`    | varint | plain bytes in the block                                            |
//! | `form`   | u8     | as told: the first four bits of the block          |
//! | `modes`  | u8     | as told: how sequences are coded                                    |
//! | `codes`  | bytes  | description of the codes of literals, unless as in its likeness     |
//! | `tables` | bytes  | the same for literal lengths, offsets and match lengths             |
//!
//! Bits 1 and 2 of `flags` are 0 for a raw block, 1 for one byte repeated, 2 for what is as its
//! likeness but for literals and sequences, and 3 for what is told here. Bit 4 of `form` says that
//! the codes are those of its likeness, bits 5, 6 and 7 the same for the three tables.

use super::Settings;
use super::frame::{
    BLOCK_LEN_MAX, Body, Frame, LITERAL_LENS, LONG_COUNT, MATCH_LENS, Packed, RAW, REPEATED,
    Tables, WITH_CODES, take_table,
};
use super::huffman::{self, Codes};
use crate::error::FormatError;
use crate::unpack::codec::bits::BitWriter;
use crate::unpack::codec::edits::{self, Edited};
use crate::unpack::codec::pieces::{Piece, Source};
use crate::varint;

const AS_LIKENESS: u8 = 2;
const AS_TOLD: u8 = 3;

/// Bits of `form` that say what is as in the likeness: the codes, and each table.
const SAME_CODES: u8 = 1 << 4;
const SAME_TABLES: [u8; 3] = [1 << 5, 1 << 6, 1 << 7];

/// Most parts of a block: each but the last has a match of three bytes.
const PIECES_MAX: usize = BLOCK_LEN_MAX as usize / 3 + 1;

const UNDECODABLE: FormatError = FormatError::Undecodable("correction");

/// What tells a frame to someone who has the predicted one.
pub(in super::super) fn correct(packed: &[u8], predicted: &[u8]) -> Option<Vec<u8>> {
    let (actual, predicted) = (Frame::read(packed)?, Frame::read(predicted)?);
    if (actual.header, actual.checksum) != (predicted.header, predicted.checksum) {
        return None;
    }
    let told = tell_blocks(&actual, &actual.block_lens()?, &predicted);
    let mut correction = Vec::new();
    varint::put(&mut correction, told.len() as u64);
    correction.extend(told);
    correction.extend(edits::encode(actual.tokens(), predicted.tokens()));
    Some(correction)
}

/// The same of the blocks of a frame that are there: plain bytes, packed ones, and what tells them.
/// The header, which may tell the length of more, comes first, behind its length.
pub(in super::super) fn correct_cut(
    packed: &[u8],
    plain: &[u8],
    settings: Settings,
) -> Option<(usize, usize, Vec<u8>)> {
    let actual = Frame::read_cut(packed, plain.len())?;
    let header = actual.frame.header;
    let predicted = settings.predict_cut(&plain[..actual.plain_len], header)?;
    let predicted = Frame::read_cut(&predicted, actual.plain_len)?;
    let told = tell_blocks(&actual.frame, &actual.lens, &predicted.frame);
    let mut correction = Vec::new();
    varint::put(&mut correction, header.len() as u64);
    correction.extend(header);
    varint::put(&mut correction, told.len() as u64);
    correction.extend(told);
    correction.extend(edits::encode(actual.frame.tokens(), predicted.frame.tokens()));
    Some((actual.plain_len, actual.packed_len, correction))
}

fn tell_blocks(actual: &Frame<'_>, lens: &[u32], predicted: &Frame<'_>) -> Vec<u8> {
    let mut told = Vec::new();
    for (index, (block, len)) in actual.blocks.iter().zip(lens).enumerate() {
        let likeness = likeness(predicted, index);
        let kind = match &block.body {
            Body::Raw(_) => 0,
            Body::Repeated(_) => 1,
            Body::Packed(body) if likeness.is_some_and(|likeness| likeness.is_like(body)) => {
                AS_LIKENESS
            }
            Body::Packed(_) => AS_TOLD,
        };
        told.push(u8::from(block.is_last) | kind << 1);
        varint::put(&mut told, (*len).into());
        if let (AS_TOLD, Body::Packed(body)) = (kind, &block.body) {
            tell(body, likeness, &mut told);
        }
    }
    told
}

/// The predicted block that may be like the one of this number.
fn likeness<'f, 'a>(predicted: &'f Frame<'a>, index: usize) -> Option<&'f Packed<'a>> {
    match &predicted.blocks.get(index)?.body {
        Body::Packed(packed) => Some(packed),
        Body::Raw(_) | Body::Repeated(_) => None,
    }
}

fn tell(body: &Packed<'_>, likeness: Option<&Packed<'_>>, told: &mut Vec<u8>) {
    let mut form = body.literals;
    let mut described: Vec<u8> = Vec::new();
    if likeness.is_some_and(|likeness| likeness.codes == body.codes) {
        form |= SAME_CODES;
    } else {
        described.extend(body.codes);
    }
    for (field, bit) in SAME_TABLES.into_iter().enumerate() {
        if likeness.is_some_and(|likeness| likeness.tables[field] == body.tables[field]) {
            form |= bit;
        } else {
            described.extend(body.tables[field]);
        }
    }
    told.extend([form, body.modes]);
    told.extend(described);
}

/// The frame that a correction makes of the predicted one, at most a block more than
/// `packed_len_max` bytes.
pub(in super::super) fn apply(
    plain: &[u8],
    predicted: &[u8],
    correction: &[u8],
    packed_len_max: usize,
) -> Result<Vec<u8>, FormatError> {
    let predicted = Frame::read(predicted).ok_or(UNDECODABLE)?;
    let mut packed = predicted.header.to_vec();
    if write_blocks(plain, &predicted, correction, packed_len_max, &mut packed)? {
        packed.extend_from_slice(predicted.checksum);
        Ok(packed)
    } else {
        Err(UNDECODABLE)
    }
}

/// The first blocks of a frame, by what `correct_cut` tells.
pub(in super::super) fn apply_cut(
    plain: &[u8],
    correction: &[u8],
    packed_len_max: usize,
    settings: Settings,
) -> Result<Vec<u8>, FormatError> {
    let (header, correction) = split(correction)?;
    let predicted = settings.predict_cut(plain, header).ok_or(UNDECODABLE)?;
    let predicted = Frame::read_cut(&predicted, plain.len()).ok_or(UNDECODABLE)?;
    let mut packed = header.to_vec();
    write_blocks(plain, &predicted.frame, correction, packed_len_max, &mut packed)?;
    Ok(packed)
}

/// Bytes from the front, whose length comes before them, and those behind.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), FormatError> {
    let mut at = 0;
    let len = varint::take(bytes, &mut at)?;
    let len = usize::try_from(len).map_err(|_| UNDECODABLE)?;
    bytes[at..].split_at_checked(len).ok_or(UNDECODABLE)
}

/// Writes blocks as a correction makes them of the predicted ones, at most one more than
/// `packed_len_max` bytes; whether the last one says so.
fn write_blocks(
    plain: &[u8],
    predicted: &Frame<'_>,
    correction: &[u8],
    packed_len_max: usize,
    packed: &mut Vec<u8>,
) -> Result<bool, FormatError> {
    let (mut told, edits) = split(correction)?;
    let tokens = Edited::new(edits, predicted.tokens(), plain.len())?;
    let mut source = Source::new(tokens, plain);
    let mut writer = Writer::default();
    let (mut has_end, mut index) = (false, 0);
    while !told.is_empty() && !has_end {
        let (flags, rest) = told.split_first().ok_or(UNDECODABLE)?;
        let mut at = 0;
        let len = usize::try_from(varint::take(rest, &mut at)?).map_err(|_| UNDECODABLE)?;
        told = &rest[at..];
        let likeness = likeness(predicted, index);
        (has_end, index) = (flags & 1 == 1, index + 1);
        let (kind, size, body) = match flags >> 1 {
            0 => (0, len, source.take_plain(len)?.to_vec()),
            1 => (1, len, one_byte(source.take_plain(len)?)?),
            kind => {
                let told_packed;
                let parts = match kind {
                    AS_LIKENESS => likeness.ok_or(UNDECODABLE)?,
                    AS_TOLD => {
                        told_packed = hear(&mut told, likeness).ok_or(UNDECODABLE)?;
                        &told_packed
                    }
                    _ => return Err(UNDECODABLE),
                };
                if len > BLOCK_LEN_MAX as usize {
                    return Err(UNDECODABLE);
                }
                let pieces = source.take_block(len, PIECES_MAX)?;
                let body = writer.write(parts, &pieces).ok_or(UNDECODABLE)?;
                (2, body.len(), body)
            }
        };
        let size = u32::try_from(size).ok().filter(|size| *size < 1 << 21).ok_or(UNDECODABLE)?;
        let word = u32::from(has_end) | kind << 1 | size << 3;
        packed.extend_from_slice(&word.to_le_bytes()[..3]);
        packed.extend(body);
        if packed.len() > packed_len_max {
            return Err(UNDECODABLE);
        }
    }
    source.close()?;
    if told.is_empty() { Ok(has_end) } else { Err(UNDECODABLE) }
}

/// The byte of which a text consists.
fn one_byte(text: &[u8]) -> Result<Vec<u8>, FormatError> {
    let first = *text.first().ok_or(UNDECODABLE)?;
    if text.iter().all(|byte| *byte == first) { Ok(vec![first]) } else { Err(UNDECODABLE) }
}

/// Reads what is told of a block.
fn hear<'a>(told: &mut &'a [u8], likeness: Option<&Packed<'a>>) -> Option<Packed<'a>> {
    let (&[form, modes], mut rest) = told.split_first_chunk::<2>()?;
    let literals = form & 15;
    let codes = if form & SAME_CODES != 0 {
        likeness?.codes
    } else if literals & 3 == WITH_CODES {
        let (codes, behind) = rest.split_at_checked(huffman::description_len(rest)?)?;
        rest = behind;
        codes
    } else {
        &[]
    };
    let mut tables = [&[][..]; 3];
    for (field, bit) in SAME_TABLES.into_iter().enumerate() {
        tables[field] = if form & bit != 0 {
            likeness?.tables[field]
        } else {
            take_table(&mut rest, modes, field)?
        };
    }
    *told = rest;
    Some(Packed::told(literals, codes, modes, tables))
}

/// What of a block the next one may use again.
#[derive(Default)]
struct Writer {
    codes: Option<Codes>,
    tables: Tables,
}

impl Writer {
    /// The body of a block.
    fn write(&mut self, parts: &Packed<'_>, pieces: &[Piece<'_>]) -> Option<Vec<u8>> {
        let literals: Vec<u8> = pieces.iter().flat_map(|piece| piece.literals).copied().collect();
        let mut body = self.write_literals(parts, &literals)?;
        let sequences: Vec<(usize, u32, u32)> = pieces
            .iter()
            .filter_map(|piece| piece.then.map(|(len, offset)| (piece.literals.len(), len, offset)))
            .collect();
        self.write_sequences(parts, &sequences, &mut body)?;
        Some(body)
    }

    fn write_literals(&mut self, parts: &Packed<'_>, literals: &[u8]) -> Option<Vec<u8>> {
        let (kind, form) = (parts.literals & 3, u32::from(parts.literals >> 2));
        let len = literals.len() as u64;
        if kind == RAW || kind == REPEATED {
            let (header_len, word) = match form {
                0 => (1, u64::from(kind) | len << 3),
                1 => (2, u64::from(parts.literals) | len << 4),
                3 => (3, u64::from(parts.literals) | len << 4),
                _ => return None,
            };
            let mut out = put_word(word, header_len)?;
            match kind {
                RAW => out.extend(literals),
                _ => out.extend(one_byte(literals).ok()?),
            }
            return Some(out);
        }
        if kind == WITH_CODES {
            self.codes = Some(Codes::read(parts.codes)?);
        }
        let codes = self.codes.as_ref()?;
        let mut coded = if kind == WITH_CODES { parts.codes.to_vec() } else { Vec::new() };
        if form == 0 {
            coded.extend(codes.write(literals)?);
        } else {
            coded.extend(write_streams(codes, literals)?);
        }
        let (header_len, bits) = [(3, 10), (3, 10), (4, 14), (5, 18)][form as usize];
        let coded_len = coded.len() as u64;
        if len >> bits > 0 || coded_len >> bits > 0 {
            return None;
        }
        let word = u64::from(parts.literals) | len << 4 | coded_len << (4 + bits);
        let mut out = put_word(word, header_len)?;
        out.extend(coded);
        Some(out)
    }

    fn write_sequences(
        &mut self,
        parts: &Packed<'_>,
        sequences: &[(usize, u32, u32)],
        body: &mut Vec<u8>,
    ) -> Option<()> {
        let count = u32::try_from(sequences.len()).ok()?;
        match count {
            0 => {
                body.push(0);
                return Some(());
            }
            1..128 => body.push(u8::try_from(count).ok()?),
            128..LONG_COUNT => {
                body.extend([u8::try_from(count >> 8).ok()? | 128, count.to_le_bytes()[0]]);
            }
            _ => {
                body.push(255);
                body.extend(u16::try_from(count - LONG_COUNT).ok()?.to_le_bytes());
            }
        }
        body.push(parts.modes);
        for table in parts.tables {
            body.extend(table);
        }
        self.tables.update(parts.modes, parts.tables)?;
        body.extend(write_states(self.tables.all()?, sequences)?);
        Some(())
    }
}

/// Literals as four streams, behind the lengths of the first three (section 3.1.1.3.1.6).
fn write_streams(codes: &Codes, literals: &[u8]) -> Option<Vec<u8>> {
    let quarter = literals.len().div_ceil(4);
    let mut rest = literals;
    let (mut lens, mut streams) = (Vec::new(), Vec::new());
    for stream in 0..4 {
        let piece;
        (piece, rest) = if stream < 3 { rest.split_at_checked(quarter)? } else { (rest, &[][..]) };
        let coded = codes.write(piece)?;
        if stream < 3 {
            lens.extend(u16::try_from(coded.len()).ok()?.to_le_bytes());
        }
        streams.extend(coded);
    }
    Some([lens, streams].concat())
}

/// Sequences by their tables, from the last to the first (section 3.1.1.3.2.1.2), in the order in
/// which libzstd encodes them.
fn write_states(
    [literal_lens, offsets, match_lens]: [&super::fse::Table; 3],
    sequences: &[(usize, u32, u32)],
) -> Option<Vec<u8>> {
    let mut out = BitWriter::default();
    // States of literal length, offset and match length of the sequence behind.
    let mut states: Option<[u16; 3]> = None;
    for (literals, len, offset) in sequences.iter().rev() {
        let literals = u32::try_from(*literals).ok()?;
        let (literal_code, (literal_base, literal_bits)) = code_of(&LITERAL_LENS, literals)?;
        let (match_code, (match_base, match_bits)) = code_of(&MATCH_LENS, *len)?;
        let offset_bits = offset.checked_ilog2()?;
        let offset_code = u8::try_from(offset_bits).ok()?;
        states = Some(match states {
            None => {
                let match_state = match_lens.close(match_code)?;
                let offset_state = offsets.close(offset_code)?;
                [literal_lens.close(literal_code)?, offset_state, match_state]
            }
            Some([literal_state, offset_state, match_state]) => {
                let offset_state = offsets.encode(offset_code, offset_state, &mut out)?;
                let match_state = match_lens.encode(match_code, match_state, &mut out)?;
                let literal_state = literal_lens.encode(literal_code, literal_state, &mut out)?;
                [literal_state, offset_state, match_state]
            }
        });
        out.put(u64::from(literals - literal_base), literal_bits);
        out.put(u64::from(len - match_base), match_bits);
        out.put(u64::from(offset - (1 << offset_bits)), offset_bits);
    }
    let [literal_state, offset_state, match_state] = states?;
    match_lens.flush(match_state, &mut out);
    offsets.flush(offset_state, &mut out);
    literal_lens.flush(literal_state, &mut out);
    out.put(1, 1);
    Some(out.finish())
}

/// The code of a value, with its least value and extra bits.
fn code_of(table: &[(u32, u32)], value: u32) -> Option<(u8, (u32, u32))> {
    let code = table.partition_point(|(base, _)| *base <= value).checked_sub(1)?;
    let (base, bits) = table[code];
    ((value - base) >> bits == 0).then_some((u8::try_from(code).ok()?, (base, bits)))
}

/// The lowest bytes of a word that has no more.
fn put_word(word: u64, len: usize) -> Option<Vec<u8>> {
    (word >> (8 * len) == 0).then(|| word.to_le_bytes()[..len].to_vec())
}
