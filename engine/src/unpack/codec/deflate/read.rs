//! Reads a deflate stream as blocks and symbols (RFC 1951, section 3.2), without making bytes.

use super::huffman::Decoder;
use super::trees::Lengths;
use super::{CODE_LENGTH_ORDER, DISTANCES, LENGTHS, fixed_lengths};
use crate::unpack::codec::bits::BitReader;

/// What a stream says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Symbol {
    /// A block starts.
    Block { kind: Kind, is_last: bool },
    /// So many bytes as they are; one in a compressed block.
    Literals(u32),
    /// A match; of 258 bytes always in the short spelling.
    Match { len: u32, offset: u32 },
    /// The block ends.
    End,
}

/// How a block is coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Stored,
    Fixed,
    /// With codes of its own, and where their header is: its first bit and the one behind it.
    Dynamic(Lengths, u64, u64),
}

/// The symbols of a stream. Nothing in place of what is malformed, or has another spelling that
/// this crate would not write.
pub(super) struct Symbols<'a> {
    bits: BitReader<'a>,
    state: State,
}

enum State {
    /// Before a block.
    Between,
    /// In a stored block with so many bytes left.
    Stored {
        left: u32,
        is_last: bool,
    },
    Coded {
        literals: Box<Decoder>,
        distances: Box<Decoder>,
        is_last: bool,
    },
    /// Behind the last block.
    Ended,
}

impl<'a> Symbols<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self { bits: BitReader::new(packed), state: State::Between }
    }

    /// Where the next symbol starts, in bits from the start of the stream.
    pub(super) fn position_bits(&self) -> u64 {
        self.bits.position_bits()
    }

    /// Whether the last block ended, with nothing but zero bits behind it.
    pub(super) fn ends_whole(mut self) -> bool {
        matches!(self.state, State::Ended) && self.bits.align().is_some() && self.bits.is_empty()
    }

    fn read(&mut self) -> Option<Symbol> {
        match &mut self.state {
            State::Ended => None,
            State::Between => {
                let is_last = self.bits.take(1)? == 1;
                let kind = match self.bits.take(2)? {
                    0 => Kind::Stored,
                    1 => Kind::Fixed,
                    2 => {
                        let start = self.bits.position_bits();
                        let lengths = read_header(&mut self.bits)?;
                        Kind::Dynamic(lengths, start, self.bits.position_bits())
                    }
                    _ => return None,
                };
                self.open(&kind, is_last)?;
                Some(Symbol::Block { kind, is_last })
            }
            State::Stored { left: 0, is_last } => {
                self.state = if *is_last { State::Ended } else { State::Between };
                Some(Symbol::End)
            }
            State::Stored { left, .. } => {
                let count = std::mem::take(left);
                self.bits.take_bytes(count as usize)?;
                Some(Symbol::Literals(count))
            }
            State::Coded { literals, distances, is_last } => {
                match literals.decode(&mut self.bits)? {
                    0..256 => Some(Symbol::Literals(1)),
                    256 => {
                        self.state = if *is_last { State::Ended } else { State::Between };
                        Some(Symbol::End)
                    }
                    code => {
                        let (base, extra) = *LENGTHS.get(usize::from(code) - 257)?;
                        let more = u32::try_from(self.bits.take(extra)?).ok()?;
                        let len = base + more;
                        if len == 258 && extra > 0 {
                            return None;
                        }
                        let code = distances.decode(&mut self.bits)?;
                        let (base, extra) = *DISTANCES.get(usize::from(code))?;
                        let offset = base + u32::try_from(self.bits.take(extra)?).ok()?;
                        Some(Symbol::Match { len, offset })
                    }
                }
            }
        }
    }

    fn open(&mut self, kind: &Kind, is_last: bool) -> Option<()> {
        let fixed;
        let lengths = match kind {
            Kind::Stored => {
                self.bits.align()?;
                let len = self.bits.take(16)?;
                if self.bits.take(16)? != len ^ 0xffff {
                    return None;
                }
                self.state = State::Stored { left: u32::try_from(len).ok()?, is_last };
                return Some(());
            }
            Kind::Fixed => {
                fixed = fixed_lengths();
                &fixed
            }
            Kind::Dynamic(lengths, ..) => lengths,
        };
        self.state = State::Coded {
            literals: Box::new(Decoder::new(&lengths.literals)?),
            distances: Box::new(Decoder::new(&lengths.distances)?),
            is_last,
        };
        Some(())
    }
}

impl Iterator for Symbols<'_> {
    type Item = Symbol;

    fn next(&mut self) -> Option<Symbol> {
        self.read()
    }
}

/// Reads the header of a block with codes of its own, behind the block's three bits.
pub(super) fn read_header(bits: &mut BitReader<'_>) -> Option<Lengths> {
    let literal_count = bits.take_usize(5)? + 257;
    let distance_count = bits.take_usize(5)? + 1;
    let sent = bits.take_usize(4)? + 4;
    let mut code_lengths = [0; 19];
    for code in &CODE_LENGTH_ORDER[..sent] {
        code_lengths[*code] = u8::try_from(bits.take(3)?).ok()?;
    }
    let decoder = Decoder::new(&code_lengths)?;
    let mut all: Vec<u8> = Vec::with_capacity(literal_count + distance_count + 138);
    while all.len() < literal_count + distance_count {
        match decoder.decode(bits)? {
            16 => {
                let before = *all.last()?;
                let count = bits.take_usize(2)? + 3;
                all.extend(std::iter::repeat_n(before, count));
            }
            17 => all.extend(std::iter::repeat_n(0, bits.take_usize(3)? + 3)),
            18 => all.extend(std::iter::repeat_n(0, bits.take_usize(7)? + 11)),
            len => all.push(u8::try_from(len).ok()?),
        }
    }
    if all.len() > literal_count + distance_count || literal_count > super::LITERAL_COUNT {
        return None;
    }
    let distances = all.split_off(literal_count);
    Some(Lengths { literals: all, distances })
}
