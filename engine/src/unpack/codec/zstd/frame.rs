//! Reads a frame as its parts and tokens (RFC 8878, section 3.1.1), without making its bytes.

use super::fse::{self, BackReader, Table};
use super::huffman;
use crate::unpack::codec::edits::Token;

/// A frame: header, blocks, checksum.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) header: &'a [u8],
    pub(super) blocks: Vec<Block<'a>>,
    pub(super) checksum: &'a [u8],
}

/// A block of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) is_last: bool,
    pub(super) body: Body<'a>,
}

/// What is in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// So many bytes as they are.
    Raw(u32),
    /// One byte so many times.
    Repeated(u32),
    Packed(Packed<'a>),
}

/// What a compressed block has beside literals and sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed<'a> {
    /// The first four bits: how literals are coded, and the form of their lengths.
    pub(super) literals: u8,
    /// Description of the Huffman codes, if there is one.
    pub(super) codes: &'a [u8],
    /// How literal lengths, offsets and match lengths are coded: two bits each, from the highest.
    pub(super) modes: u8,
    /// Descriptions of the three tables; empty where the mode has none.
    pub(super) tables: [&'a [u8]; 3],
    /// Coded sequences.
    sequences: &'a [u8],
    sequence_count: u32,
    literals_len: u32,
}

/// Ways to code literals (section 3.1.1.3.1.1).
pub(super) const RAW: u8 = 0;
pub(super) const REPEATED: u8 = 1;
pub(super) const WITH_CODES: u8 = 2;

/// Ways to code a field of sequences (section 3.1.1.3.2.1).
const PREDEFINED: u8 = 0;
const SINGLE: u8 = 1;
const DESCRIBED: u8 = 2;

/// Magic, descriptor, window, dictionary and length.
fn header_len(packed: &[u8]) -> Option<usize> {
    let descriptor = *packed.get(4)?;
    let is_single = descriptor >> 5 & 1 == 1;
    let window = usize::from(!is_single);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let len = match descriptor >> 6 {
        0 => usize::from(is_single),
        flag => 1 << flag,
    };
    Some(5 + window + dictionary + len)
}

impl<'a> Frame<'a> {
    /// Reads a whole frame; nothing if it is malformed or has a spelling that is not written here.
    pub(super) fn read(packed: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = packed.split_at_checked(header_len(packed)?)?;
        let mut blocks = Vec::new();
        while blocks.last().is_none_or(|block: &Block<'_>| !block.is_last) {
            blocks.push(Block::read(&mut rest)?);
        }
        let checksum_len = if header[4] & 4 == 0 { 0 } else { 4 };
        (rest.len() == checksum_len).then_some(Self { header, blocks, checksum: rest })
    }

    /// Reads as many blocks as are there, of at most so many plain bytes.
    pub(super) fn read_cut(packed: &'a [u8], plain_len_max: usize) -> Option<Cut<'a>> {
        let (header, mut rest) = packed.split_at_checked(header_len(packed)?)?;
        let mut cut = Cut {
            frame: Self { header, blocks: Vec::new(), checksum: &[] },
            lens: Vec::new(),
            plain_len: 0,
            packed_len: header.len(),
        };
        let mut tables = Tables::default();
        while cut.frame.blocks.last().is_none_or(|block| !block.is_last)
            && let Some(block) = Block::read(&mut rest)
            && let Some(len) = block.plain_len(&mut tables)
            && plain_len_max - cut.plain_len >= len as usize
        {
            cut.frame.blocks.push(block);
            cut.lens.push(len);
            cut.plain_len += len as usize;
            cut.packed_len = packed.len() - rest.len();
        }
        Some(cut)
    }

    /// All tokens, up to where the frame is malformed. Those of one block are held at a time.
    pub(super) fn tokens(&self) -> Tokens<'_> {
        Tokens {
            blocks: self.blocks.iter(),
            tables: Tables::default(),
            literals: 0,
            queue: Vec::new().into_iter(),
            is_done: false,
        }
    }

    /// The plain length of each block, in bytes.
    pub(super) fn block_lens(&self) -> Option<Vec<u32>> {
        let mut tables = Tables::default();
        self.blocks.iter().map(|block| block.plain_len(&mut tables)).collect()
    }
}

/// The first blocks of a frame.
pub(super) struct Cut<'a> {
    pub(super) frame: Frame<'a>,
    /// The plain length of each block, and of all.
    pub(super) lens: Vec<u32>,
    pub(super) plain_len: usize,
    /// Where the last of them ends.
    pub(super) packed_len: usize,
}

impl<'a> Block<'a> {
    /// Takes a block from the front of `rest`.
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let (first, behind) = rest.split_first_chunk::<3>()?;
        let word = u32::from_le_bytes([first[0], first[1], first[2], 0]);
        let size = word >> 3;
        let (body, behind) = match word >> 1 & 3 {
            0 => (Body::Raw(size), behind.get(size as usize..)?),
            1 => (Body::Repeated(size), behind.get(1..)?),
            2 => {
                let (bytes, behind) = behind.split_at_checked(size as usize)?;
                (Body::Packed(Packed::read(bytes)?), behind)
            }
            _ => return None,
        };
        *rest = behind;
        Some(Self { is_last: word & 1 == 1, body })
    }

    /// Its plain length, in bytes. `tables` are those of the blocks before.
    fn plain_len(&self, tables: &mut Tables) -> Option<u32> {
        match &self.body {
            Body::Raw(len) | Body::Repeated(len) => Some(*len),
            Body::Packed(packed) => packed.sequences(tables, &mut 0, &mut Vec::new()),
        }
    }
}

/// The tokens of a frame.
pub(super) struct Tokens<'f> {
    blocks: std::slice::Iter<'f, Block<'f>>,
    tables: Tables,
    /// Literals since the last match, in this block and those before.
    literals: u32,
    /// What is left of a block.
    queue: std::vec::IntoIter<Token>,
    is_done: bool,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            if let Some(token) = self.queue.next() {
                return Some(token);
            }
            if self.is_done {
                return None;
            }
            match self.blocks.next().map(|block| &block.body) {
                None => {
                    self.is_done = true;
                    return Some(Token { literals: self.literals, len: 0, offset: 0 });
                }
                Some(Body::Raw(len) | Body::Repeated(len)) => {
                    self.literals = self.literals.checked_add(*len)?;
                }
                Some(Body::Packed(packed)) => {
                    let mut tokens = Vec::new();
                    packed.sequences(&mut self.tables, &mut self.literals, &mut tokens)?;
                    self.queue = tokens.into_iter();
                }
            }
        }
    }
}

impl<'a> Packed<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let literals = *body.first()? & 15;
        let (kind, form) = (literals & 3, literals >> 2);
        let header = |len: usize| {
            let mut word = [0; 8];
            word[..len].copy_from_slice(body.get(..len)?);
            Some(u64::from_le_bytes(word) >> 4)
        };
        // Sections 3.1.1.3.1.1 and following: lengths in this many bytes and bits.
        let (header_len, literals_len, packed_len) = if kind == RAW || kind == REPEATED {
            let (header_len, literals_len) = match form {
                // One bit of the form belongs to the length.
                0 | 2 => (1, u64::from(body[0] >> 3)),
                1 => (2, header(2)?),
                _ => (3, header(3)?),
            };
            (header_len, literals_len, if kind == RAW { literals_len } else { 1 })
        } else {
            let (header_len, bits) = [(3, 10), (3, 10), (4, 14), (5, 18)][usize::from(form)];
            let word = header(header_len)?;
            let mask = (1 << bits) - 1;
            (header_len, word & mask, word >> bits & mask)
        };
        let (coded, rest) =
            body[header_len..].split_at_checked(usize::try_from(packed_len).ok()?)?;
        let codes = match kind {
            WITH_CODES => &coded[..huffman::description_len(coded)?],
            _ => &[],
        };
        let literals_len = u32::try_from(literals_len).ok()?;
        let mut packed = Self {
            // Of the short form of plain literals, one bit is none of the form.
            literals: if header_len == 1 { kind } else { literals },
            codes,
            modes: 0,
            tables: [&[]; 3],
            sequences: &[],
            sequence_count: 0,
            literals_len,
        };
        packed.read_sequences(rest)?;
        Some(packed)
    }

    /// Parts that are written, with sequences from elsewhere.
    pub(super) fn told(literals: u8, codes: &'a [u8], modes: u8, tables: [&'a [u8]; 3]) -> Self {
        Self { literals, codes, modes, tables, sequences: &[], sequence_count: 0, literals_len: 0 }
    }

    /// Whether both are the same but for literals and sequences.
    pub(super) fn is_like(&self, other: &Packed<'_>) -> bool {
        (self.literals, self.codes, self.modes, self.tables)
            == (other.literals, other.codes, other.modes, other.tables)
    }

    fn read_sequences(&mut self, rest: &'a [u8]) -> Option<()> {
        let (count, mut rest) = match *rest {
            [0] => return Some(()),
            [first @ 1..=127, ..] => (u32::from(first), &rest[1..]),
            [first @ 128..=254, second, ..] => {
                (u32::from(first - 128) << 8 | u32::from(second), &rest[2..])
            }
            [255, low, high, ..] => {
                (u32::from(u16::from_le_bytes([low, high])) + LONG_COUNT, &rest[3..])
            }
            _ => return None,
        };
        let modes = take(&mut rest, 1)?[0];
        for (field, table) in self.tables.iter_mut().enumerate() {
            *table = take_table(&mut rest, modes, field)?;
        }
        (self.modes, self.sequences, self.sequence_count) = (modes, rest, count);
        Some(())
    }

    /// Appends the tokens of this block; its plain length.
    fn sequences(
        &self,
        tables: &mut Tables,
        literals: &mut u32,
        tokens: &mut Vec<Token>,
    ) -> Option<u32> {
        let (mut plain_len, mut literals_left) = (0_u32, self.literals_len);
        if self.sequence_count > 0 {
            tables.update(self.modes, self.tables)?;
            let [literal_lens, offsets, match_lens] = tables.all()?;
            let mut bits = BackReader::new(self.sequences)?;
            let mut literal_state = literal_lens.open(&mut bits)?;
            let mut offset_state = offsets.open(&mut bits)?;
            let mut match_state = match_lens.open(&mut bits)?;
            for index in 0..self.sequence_count {
                let code = u32::from(offsets.symbol(offset_state));
                let offset = 1_u32.checked_shl(code)? | u32::try_from(bits.take(code)?).ok()?;
                let (base, extra) = *MATCH_LENS.get(usize::from(match_lens.symbol(match_state)))?;
                let len = base + u32::try_from(bits.take(extra)?).ok()?;
                let (base, extra) =
                    *LITERAL_LENS.get(usize::from(literal_lens.symbol(literal_state)))?;
                let run = base + u32::try_from(bits.take(extra)?).ok()?;
                literals_left = literals_left.checked_sub(run)?;
                plain_len = plain_len.checked_add(run)?.checked_add(len)?;
                let run = std::mem::take(literals).checked_add(run)?;
                tokens.push(Token { literals: run, len, offset });
                if index + 1 < self.sequence_count {
                    literal_state = literal_lens.step(literal_state, &mut bits)?;
                    match_state = match_lens.step(match_state, &mut bits)?;
                    offset_state = offsets.step(offset_state, &mut bits)?;
                }
            }
            if bits.left() != 0 {
                return None;
            }
        }
        *literals = literals.checked_add(literals_left)?;
        let plain_len = plain_len.checked_add(literals_left)?;
        (plain_len <= BLOCK_LEN_MAX).then_some(plain_len)
    }
}

/// Takes the description of a table, which is empty in some modes.
pub(super) fn take_table<'a>(rest: &mut &'a [u8], modes: u8, field: usize) -> Option<&'a [u8]> {
    let len = match modes >> (6 - 2 * field) & 3 {
        SINGLE => 1,
        DESCRIBED => fse::read(rest, SYMBOLS_MAX[field], LOGS_MAX[field])?.1,
        _ => 0,
    };
    take(rest, len)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(taken)
}

/// The tables of literal lengths, offsets and match lengths, which a later block may use again.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tables: [Option<Table>; 3],
}

impl Tables {
    /// Takes the tables of the next block.
    pub(super) fn update(&mut self, modes: u8, described: [&[u8]; 3]) -> Option<()> {
        if modes & 3 != 0 {
            return None;
        }
        for (field, bytes) in described.into_iter().enumerate() {
            let table = match modes >> (6 - 2 * field) & 3 {
                PREDEFINED => Table::new(DEFAULTS[field].0, DEFAULTS[field].1),
                SINGLE => Some(Table::single(*bytes.first()?)),
                DESCRIBED => Some(fse::read(bytes, SYMBOLS_MAX[field], LOGS_MAX[field])?.0),
                // The last one again.
                _ => self.tables[field].take(),
            };
            self.tables[field] = Some(table?);
        }
        Some(())
    }

    /// Literal lengths, offsets, match lengths.
    pub(super) fn all(&self) -> Option<[&Table; 3]> {
        let [literal_lens, offsets, match_lens] = &self.tables;
        Some([literal_lens.as_ref()?, offsets.as_ref()?, match_lens.as_ref()?])
    }
}

/// Longest plain text of a block, in bytes (section 3.1.1.2.4).
pub(super) const BLOCK_LEN_MAX: u32 = 128 << 10;

/// Least count of sequences in the longest form (section 3.1.1.3.2.1).
pub(super) const LONG_COUNT: u32 = 0x7f00;

/// Codes of literal lengths, offsets and match lengths, and the largest tables (3.1.1.3.2.1.1).
const SYMBOLS_MAX: [usize; 3] = [36, 32, 53];
const LOGS_MAX: [u32; 3] = [9, 8, 9];

/// Least value and extra bits of codes (section 3.1.1.3.2.1.1).
pub(super) const LITERAL_LENS: [(u32, u32); 36] = {
    let extras = [1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    table::<36, 20>(0, 16, extras)
};
pub(super) const MATCH_LENS: [(u32, u32); 53] = {
    let extras = [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    table::<53, 21>(3, 32, extras)
};

/// `simple` codes of one value each from `first` on, and then codes with extra bits.
const fn table<const CODES: usize, const EXTRAS: usize>(
    first: u32,
    simple: usize,
    extras: [u32; EXTRAS],
) -> [(u32, u32); CODES] {
    let mut table = [(0, 0); CODES];
    let (mut base, mut code) = (first, 0);
    while code < CODES {
        let extra = if code < simple { 0 } else { extras[code - simple] };
        table[code] = (base, extra);
        base += 1 << extra;
        code += 1;
    }
    table
}

/// Counts and sizes of the tables that are not described (section 3.1.1.3.2.2).
const DEFAULTS: [(&[i16], u32); 3] = [
    (
        &[
            4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1,
            1, 1, 1, -1, -1, -1, -1,
        ],
        6,
    ),
    (
        &[
            1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1,
            -1,
        ],
        5,
    ),
    (
        &[
            1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
        ],
        6,
    ),
];
const _: () = assert!(LITERAL_LENS[35].0 == 65536 && MATCH_LENS[52].0 == 65539);
