//! The symbols of a Linux kernel (kallsyms): packing is putting back what follows from their
//! names, and addresses as they were.
//!
//! As `scripts/kallsyms.c` of Linux writes them since 6.1: addresses as 32-bit offsets, names in
//! order of address, each a length and tokens, every how many bytes 256 names are (*markers*), and
//! which symbol is the n-th by name (*sequence*). A new symbol changes all numbers of the sequence
//! behind its own, and a longer function the offsets of all symbols behind it: plain, there are
//! zeros in place of the one, and distances from symbol to symbol in place of the other.

use super::UnpackError;

/// Where the tables are, in bytes from where the block starts, and how many symbols there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kallsyms {
    /// How many symbols there are.
    pub count: u32,
    /// Where their offsets start, 4 bytes each.
    pub offsets: u32,
    /// Where their names start.
    pub names: u32,
    /// Where the markers start, 4 bytes for each 256 symbols.
    pub markers: u32,
    /// Where the sequence starts, 3 bytes for each symbol.
    pub sequence: u32,
    /// Where the tokens start, each ended by a zero byte.
    pub tokens: u32,
    /// Where it says where each token starts, 2 bytes for each of 256.
    pub index: u32,
}

/// Tokens, by the byte that stands for each.
const TOKENS: usize = 256;

/// Symbols for each marker.
const MARKED: usize = 256;

/// Most bytes of a name or token: the kernel's own limit for names is 512.
const NAME_LEN_MAX: usize = 1 << 10;

/// Bytes of all names at most, for each byte of a block: real ones are below 2 for each packed.
const NAMES_SHARE: usize = 4;

impl Kallsyms {
    /// Length of the spelling, in bytes.
    const LEN: usize = 28;

    pub(super) fn encode(self) -> [u8; Self::LEN] {
        let Self { count, offsets, names, markers, sequence, tokens, index } = self;
        let numbers = [count, offsets, names, markers, sequence, tokens, index];
        let mut spelling = [0; Self::LEN];
        for (bytes, number) in spelling.as_chunks_mut().0.iter_mut().zip(numbers) {
            *bytes = number.to_le_bytes();
        }
        spelling
    }

    pub(super) fn decode(spelling: [u8; Self::LEN]) -> Option<Self> {
        let mut numbers = spelling.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let mut number = || numbers.next();
        let (count, offsets, names, markers) = (number()?, number()?, number()?, number()?);
        let (sequence, tokens, index) = (number()?, number()?, number()?);
        Some(Self { count, offsets, names, markers, sequence, tokens, index })
    }

    /// Most memory that packing takes beside plain and packed bytes: names, and where they start.
    pub(super) fn memory(self, plain_len: u64) -> u64 {
        plain_len * NAMES_SHARE as u64 + 24 * u64::from(self.count).min(plain_len)
    }

    /// The symbols with distances, and without markers and sequence.
    pub(super) fn unpack(self, packed: &[u8], len_max: usize) -> Result<Vec<u8>, UnpackError> {
        if packed.len() > len_max {
            return Err(UnpackError::TooLarge);
        }
        let mut plain = packed.to_vec();
        self.without(&mut plain).ok_or(UnpackError::Malformed)?;
        Ok(plain)
    }

    fn without(self, bytes: &mut [u8]) -> Option<()> {
        let mut before = 0_u32;
        for offset in self.offsets(bytes)? {
            let this = u32::from_le_bytes(*offset);
            *offset = this.wrapping_sub(before).to_le_bytes();
            before = this;
        }
        self.markers(bytes)?.fill([0; 4]);
        self.sequence(bytes)?.fill([0; 3]);
        Some(())
    }

    /// The symbols as they were, if these are some.
    pub(super) fn predict(self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut packed = plain.to_vec();
        let mut this = 0_u32;
        for offset in self.offsets(&mut packed)? {
            this = this.wrapping_add(u32::from_le_bytes(*offset));
            *offset = this.to_le_bytes();
        }
        let names = self.names(plain)?;
        for (marker, at) in self.markers(&mut packed)?.iter_mut().zip(&names.marked) {
            *marker = at.to_le_bytes();
        }
        let mut order: Vec<u32> = (0..self.count).collect();
        order.sort_by_key(|symbol| names.of(*symbol));
        for (place, symbol) in self.sequence(&mut packed)?.iter_mut().zip(order) {
            let [_, high, middle, low] = symbol.to_be_bytes();
            *place = [high, middle, low];
        }
        Some(packed)
    }

    fn offsets(self, bytes: &mut [u8]) -> Option<&mut [[u8; 4]]> {
        table(bytes, self.offsets, self.count as usize)
    }

    fn markers(self, bytes: &mut [u8]) -> Option<&mut [[u8; 4]]> {
        table(bytes, self.markers, (self.count as usize).div_ceil(MARKED))
    }

    fn sequence(self, bytes: &mut [u8]) -> Option<&mut [[u8; 3]]> {
        table(bytes, self.sequence, self.count as usize)
    }

    /// Reads the names, without the letter for its kind that is in front of each.
    fn names(self, bytes: &[u8]) -> Option<Names> {
        let tokens = self.tokens(bytes)?;
        let packed = bytes.get(self.names as usize..)?;
        let len_max = bytes.len().saturating_mul(NAMES_SHARE);
        let mut names = Names::default();
        let mut at = 0;
        for symbol in 0..self.count as usize {
            if symbol.is_multiple_of(MARKED) {
                names.marked.push(u32::try_from(at).ok()?);
            }
            let (len, len_len) = name_len(packed.get(at..)?)?;
            let codes = packed.get(at + len_len..at + len_len + len)?;
            names.starts.push(names.bytes.len());
            let start = names.bytes.len();
            for code in codes {
                names.bytes.extend(tokens[usize::from(*code)]);
                let is_short = names.bytes.len() - start <= NAME_LEN_MAX;
                (is_short && names.bytes.len() <= len_max).then_some(())?;
            }
            at += len_len + len;
        }
        names.starts.push(names.bytes.len());
        Some(names)
    }

    /// The tokens, by the byte that stands for each.
    fn tokens(self, bytes: &[u8]) -> Option<[&[u8]; TOKENS]> {
        let index = bytes.get(self.index as usize..)?.get(..2 * TOKENS)?;
        let table = bytes.get(self.tokens as usize..)?;
        let mut tokens: [&[u8]; TOKENS] = [&[]; TOKENS];
        for (token, start) in tokens.iter_mut().zip(index.as_chunks().0) {
            let rest = table.get(usize::from(u16::from_le_bytes(*start))..)?;
            let len = rest.iter().take(NAME_LEN_MAX).position(|byte| *byte == 0)?;
            *token = &rest[..len];
        }
        Some(tokens)
    }
}

/// How many tokens the name that starts here has, and in how many bytes it says so.
pub(crate) fn name_len(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [low, high, ..] if low >= 0x80 => {
            Some((usize::from(low & 0x7f) | usize::from(high) << 7, 2))
        }
        [len, ..] => Some((usize::from(len), 1)),
        [] => None,
    }
}

/// So many entries of a table.
fn table<const LEN: usize>(bytes: &mut [u8], at: u32, count: usize) -> Option<&mut [[u8; LEN]]> {
    bytes.get_mut(at as usize..)?.as_chunks_mut().0.get_mut(..count)
}

/// Names that were read.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    /// Where each starts, and the last one ends.
    starts: Vec<usize>,
    /// Where each 256th starts as packed.
    marked: Vec<u32>,
}

impl Names {
    /// The name of a symbol, without its kind.
    fn of(&self, symbol: u32) -> &[u8] {
        let symbol = symbol as usize;
        self.bytes[self.starts[symbol]..self.starts[symbol + 1]].get(1..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever wrote them: what they say is in bounds or refused, and names do not grow beyond
        /// their share.
        #[test]
        fn tables_that_lie_are_refused(
            numbers in prop::array::uniform7(prop_oneof![0..600_u32, any::<u32>()]),
            mut bytes in prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..1200),
            token in 0..250_usize,
        ) {
            let [count, offsets, names, markers, sequence, tokens, index] = numbers;
            let kallsyms = Kallsyms { count, offsets, names, markers, sequence, tokens, index };
            prop_assert_eq!(Kallsyms::decode(kallsyms.encode()), Some(kallsyms));
            // Long tokens, as they ought not to be.
            let end = bytes.len().min(token * 4);
            bytes[..end].fill(1);
            if let Ok(plain) = kallsyms.unpack(&bytes, bytes.len()) {
                prop_assert_eq!(plain.len(), bytes.len());
            }
            if let Some(packed) = kallsyms.predict(&bytes) {
                prop_assert_eq!(packed.len(), bytes.len());
            }
            if let Some(names) = kallsyms.names(&bytes) {
                prop_assert!(names.bytes.len() <= bytes.len() * NAMES_SHARE);
            }
            prop_assert_eq!(kallsyms.unpack(&bytes, 0).is_ok(), bytes.is_empty() && count == 0);
        }
    }
}
