//! lz4 blocks (`doc/lz4_Block_format.md` of lz4): unpacked here, predicted by liblz4.

pub(super) mod clusters;

use neap_lz4_exact::Filled;

use super::UnpackError;
use super::edits::{self, Edited, Token};
use crate::error::FormatError;

/// An encoder of liblz4 and its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Encoder {
    /// `LZ4_compress_fast` with this acceleration.
    Fast(u16),
    /// `LZ4_compress_HC` with this level.
    Hc(u8),
}

/// Encoders in the order in which they are worth trying: the defaults of `mksquashfs -comp lz4`,
/// with `-Xhc`, of `lz4 -l -9` and of `mkfs.erofs -zlz4hc`, and then the others.
pub(super) const ENCODERS: [Encoder; 12] = [
    Encoder::Fast(1),
    Encoder::Hc(12),
    Encoder::Hc(9),
    Encoder::Hc(11),
    Encoder::Hc(10),
    Encoder::Hc(8),
    Encoder::Hc(7),
    Encoder::Hc(6),
    Encoder::Hc(5),
    Encoder::Hc(4),
    Encoder::Hc(3),
    Encoder::Hc(2),
];

impl Encoder {
    /// Two bytes: 0 and an acceleration of up to 255, or 1 and a level above 1, which is as 2.
    pub(super) fn encode(self) -> [u8; 2] {
        match self {
            Self::Fast(acceleration) => [0, u8::try_from(acceleration).unwrap_or(u8::MAX)],
            Self::Hc(level) => [1, level],
        }
    }

    pub(super) fn decode(bytes: [u8; 2]) -> Option<Self> {
        match bytes {
            [0, acceleration @ 1..=255] => Some(Self::Fast(acceleration.into())),
            [1, level @ 2..=neap_lz4_exact::HC_LEVEL_MAX] => Some(Self::Hc(level)),
            _ => None,
        }
    }

    /// Whether it is one of those for clusters: fast compression has no setting there.
    pub(super) fn fills(self) -> bool {
        matches!(self, Self::Fast(1) | Self::Hc(_))
    }

    /// What this encoder makes of `plain`.
    pub(super) fn predict(self, plain: &[u8]) -> Option<Vec<u8>> {
        self.is_canonical(plain.len()).then_some(())?;
        match self {
            Self::Fast(acceleration) => neap_lz4_exact::fast(plain, acceleration),
            Self::Hc(level) => neap_lz4_exact::hc(plain, level),
        }
    }

    /// Whether liblz4 makes here what it makes on other machines: better nothing than other bytes.
    pub(in crate::unpack::codec) fn is_canonical(self, plain_len: usize) -> bool {
        /// From so many bytes on (`LZ4_64Klimit`), fast compression hashes as many as a word has.
        const WORDS_HASHED_MIN: usize = (64 << 10) + 11;
        let is_by_word = matches!(self, Self::Fast(_)) && plain_len >= WORDS_HASHED_MIN;
        cfg!(target_endian = "little") && (cfg!(target_pointer_width = "64") || !is_by_word)
    }

    /// What this encoder gets into `packed_len` bytes of the beginning of `plain`.
    fn fill(self, plain: &[u8], packed_len: usize) -> Option<Filled> {
        self.is_canonical(plain.len()).then_some(())?;
        match self {
            Self::Fast(_) => neap_lz4_exact::fast_filling(plain, packed_len),
            Self::Hc(level) => neap_lz4_exact::hc_filling(plain, level, packed_len),
        }
    }
}

/// The plain bytes of a block.
pub(super) fn unpack(packed: &[u8], plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
    let mut plain = Vec::with_capacity(likely_len(packed, plain_len_max));
    unpack_into(packed, &mut plain, plain_len_max)?;
    Ok(plain)
}

/// The plain length, where it is told and the block packs no better than most: memory that grows
/// bit by bit leaves holes.
fn likely_len(packed: &[u8], plain_len_max: usize) -> usize {
    plain_len_max.min(packed.len() * 4)
}

/// Appends the plain bytes of a block, which may not look at what is there before.
pub(super) fn unpack_into(
    packed: &[u8],
    plain: &mut Vec<u8>,
    plain_len_max: usize,
) -> Result<(), UnpackError> {
    let start = plain.len();
    let mut sequences = Sequences::new(packed);
    while let Some(sequence) = sequences.next_sequence() {
        let (token, literals) = sequence?;
        // On 32 bits a match alone can be longer than what counts it.
        let made = literals.len().checked_add(token.len as usize).ok_or(UnpackError::TooLarge)?;
        if made > plain_len_max - plain.len() {
            return Err(UnpackError::TooLarge);
        }
        plain.try_reserve(made).map_err(|_| UnpackError::TooLarge)?;
        plain.extend_from_slice(literals);
        repeat(plain, start, token.offset as usize, token.len as usize)?;
    }
    Ok(())
}

/// Appends a match: `len` bytes from `offset` bytes before the end, that may be made on the way.
fn repeat(
    plain: &mut Vec<u8>,
    start: usize,
    offset: usize,
    mut len: usize,
) -> Result<(), UnpackError> {
    if len == 0 {
        return Ok(());
    }
    if offset == 0 || offset > plain.len() - start {
        return Err(UnpackError::Malformed);
    }
    let from = plain.len() - offset;
    while len > 0 {
        let piece = len.min(plain.len() - from);
        plain.extend_from_within(from..from + piece);
        len -= piece;
    }
    Ok(())
}

/// What tells a block to someone who has the predicted one.
pub(super) fn correct(packed: &[u8], predicted: &[u8]) -> Option<Vec<u8>> {
    let actual: Option<Vec<Token>> = Sequences::new(packed).map(Result::ok).collect();
    Some(edits::encode(actual?.into_iter(), tokens(predicted)))
}

/// The length of the edits between a block and what is predicted of the beginning of its text.
pub(super) fn distance(packed: &[u8], predicted: &[u8]) -> usize {
    let len: u64 = tokens(predicted).map(|token| u64::from(token.literals + token.len)).sum();
    edits::distance(tokens(packed), tokens(predicted), len)
}

/// The block that a correction makes of the predicted one.
pub(super) fn apply(
    plain: &[u8],
    predicted: &[u8],
    correction: &[u8],
    packed_len: usize,
) -> Result<Vec<u8>, FormatError> {
    write_edited(plain, tokens(predicted), correction, packed_len)
}

/// The block of a text that edits make of tokens; an error if it is longer than `packed_len_max`.
fn write_edited(
    plain: &[u8],
    predicted: impl Iterator<Item = Token>,
    edits: &[u8],
    packed_len_max: usize,
) -> Result<Vec<u8>, FormatError> {
    let mut packed = Vec::new();
    let mut rest = plain;
    for token in Edited::new(edits, predicted, plain.len())? {
        let token = token?;
        let (literals, behind) =
            rest.split_at_checked(token.literals as usize).ok_or(UNDECODABLE)?;
        rest = behind.get(token.len as usize..).ok_or(UNDECODABLE)?;
        write(&mut packed, token, literals)?;
        if packed.len() > packed_len_max {
            return Err(UNDECODABLE);
        }
    }
    Ok(packed)
}

/// The tokens of a block that our encoder made.
pub(super) fn tokens(predicted: &[u8]) -> impl Iterator<Item = Token> {
    Sequences::new(predicted).map_while(Result::ok)
}

/// Appends one sequence.
fn write(packed: &mut Vec<u8>, token: Token, literals: &[u8]) -> Result<(), FormatError> {
    let is_last = token.len == 0;
    let len = if is_last { 0 } else { token.len.checked_sub(MATCH_LEN_MIN).ok_or(UNDECODABLE)? };
    let nibble = |value: u32| u8::try_from(value.min(15)).expect("at most 15");
    packed.push(nibble(token.literals) << 4 | nibble(len));
    write_len(packed, token.literals);
    packed.extend_from_slice(literals);
    if !is_last {
        let offset = u16::try_from(token.offset).map_err(|_| UNDECODABLE)?;
        packed.extend_from_slice(&offset.to_le_bytes());
        write_len(packed, len);
    }
    Ok(())
}

/// Appends what a length has beside its four bits.
fn write_len(packed: &mut Vec<u8>, len: u32) {
    if let Some(mut more) = len.checked_sub(15) {
        while more >= 255 {
            packed.push(255);
            more -= 255;
        }
        packed.push(u8::try_from(more).expect("below 255"));
    }
}

const UNDECODABLE: FormatError = FormatError::Undecodable("correction");

/// Shortest match, in bytes.
const MATCH_LEN_MIN: u32 = 4;

/// The sequences of a block, with their literals.
struct Sequences<'a> {
    rest: &'a [u8],
    is_done: bool,
}

impl<'a> Sequences<'a> {
    fn new(packed: &'a [u8]) -> Self {
        Self { rest: packed, is_done: false }
    }

    fn next_sequence(&mut self) -> Option<Result<(Token, &'a [u8]), UnpackError>> {
        if self.is_done {
            return None;
        }
        let sequence = self.read();
        self.is_done |= sequence.is_none();
        Some(sequence.ok_or(UnpackError::Malformed))
    }

    fn read(&mut self) -> Option<(Token, &'a [u8])> {
        let byte = self.byte()?;
        let literals_len = self.len(byte >> 4)?;
        let (literals, rest) = self.rest.split_at_checked(literals_len as usize)?;
        self.rest = rest;
        if rest.is_empty() {
            self.is_done = true;
            let has_match = byte & 15 != 0;
            let token = Token { literals: literals_len, len: 0, offset: 0 };
            return if has_match { None } else { Some((token, literals)) };
        }
        let offset = u16::from_le_bytes([self.byte()?, self.byte()?]);
        let len = self.len(byte & 15)?.checked_add(MATCH_LEN_MIN)?;
        Some((Token { literals: literals_len, len, offset: offset.into() }, literals))
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn len(&mut self, nibble: u8) -> Option<u32> {
        let mut len = u32::from(nibble);
        if nibble == 15 {
            loop {
                let byte = self.byte()?;
                len = len.checked_add(byte.into())?;
                if byte < 255 {
                    break;
                }
            }
        }
        Some(len)
    }
}

impl Iterator for Sequences<'_> {
    type Item = Result<Token, UnpackError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_sequence().map(|sequence| sequence.map(|(token, _)| token))
    }
}
