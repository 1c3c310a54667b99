//! Parity for forward error correction, as dm-verity reads it: cryptsetup's
//! `lib/verity/verity_fec.c` and Android's `libfec` make the same.
//!
//! The bytes that are covered, with zeros behind them, are cut into `255 - roots` stripes of equal
//! length. The bytes at one place of all stripes are the message of a Reed-Solomon code, whose
//! parity is `roots` bytes; those of all places lie one behind another.

use std::ops::Range;

use crate::limits::{BLOCK_LEN_MAX, DERIVED_PIECE_LEN, IMAGE_SIZE_MAX};

/// What parity is computed from. 3 bytes and 16 for each range, little-endian (format 11.4).
///
/// | at | size | field | bound |
/// |---:|---:|---|---|
/// | 0 | 1 | `roots` | 2 ..= 24 |
/// | 1 | 1 | `block_log2` | 9 ..= 19 |
/// | 2 | 1 | `range_count` | 1 ..= 2 |
/// | 3 | 8 | `offset` of the first range | |
/// | 11 | 8 | `len` of the first range | whole blocks; ends where the region starts, or before |
/// | 19 | 16 | the second range, if there is one | as the first |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fec {
    /// Bytes of parity for each code.
    pub roots: u8,
    /// Length of a block, as log2 of bytes.
    pub block_log2: u8,
    /// What is covered, one range behind another: data, and its hash tree.
    pub ranges: Vec<Range<u64>>,
}

impl Fec {
    /// Least and most bytes of parity for each code.
    pub const ROOTS: std::ops::RangeInclusive<u8> = 2..=24;

    /// Shortest and longest block, as log2 of bytes: those of the tree.
    pub const BLOCK_LOG2: std::ops::RangeInclusive<u8> = super::Verity::BLOCK_LOG2;

    const RANGES_MAX: usize = 2;

    /// Parity of ranges that are blocks of an image, if there is any and it is not too long.
    #[must_use]
    pub fn new(roots: u8, block_log2: u8, ranges: Vec<Range<u64>>) -> Option<Self> {
        let is_known = Self::ROOTS.contains(&roots) && Self::BLOCK_LOG2.contains(&block_log2);
        let is_good = |range: &Range<u64>| {
            let len = range.end.checked_sub(range.start).filter(|len| *len > 0);
            range.end <= IMAGE_SIZE_MAX
                && len.is_some_and(|len| len.trailing_zeros() >= block_log2.into())
        };
        if !is_known
            || !(1..=Self::RANGES_MAX).contains(&ranges.len())
            || !ranges.iter().all(is_good)
        {
            return None;
        }
        let fec = Self { roots, block_log2, ranges };
        (fec.parity_len() <= BLOCK_LEN_MAX).then_some(fec)
    }

    pub(super) fn decode(plain: &[u8]) -> Option<Self> {
        let ([roots, block_log2, count], rest) = plain.split_first_chunk()?;
        let (ranges, rest) = rest.as_chunks::<16>();
        if ranges.len() != usize::from(*count) || !rest.is_empty() {
            return None;
        }
        let ranges = ranges.iter().map(|range| {
            let (offset, len) = range.split_first_chunk()?;
            let (offset, len) = (u64::from_le_bytes(*offset), len.try_into().ok()?);
            Some(offset..offset.checked_add(u64::from_le_bytes(len))?)
        });
        Self::new(*roots, *block_log2, ranges.collect::<Option<_>>()?)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let count = u8::try_from(self.ranges.len()).expect("there are two at most");
        let mut plain = vec![self.roots, self.block_log2, count];
        for range in &self.ranges {
            plain.extend(range.start.to_le_bytes());
            plain.extend((range.end - range.start).to_le_bytes());
        }
        plain
    }

    pub(super) fn end(&self) -> u64 {
        self.ranges.iter().map(|range| range.end).max().unwrap_or(0)
    }

    /// Length of the parity, in bytes.
    #[must_use]
    pub fn parity_len(&self) -> u64 {
        self.stripe_len() * u64::from(self.roots)
    }

    /// Length of a stripe, which is how many codes there are.
    #[must_use]
    pub fn stripe_len(&self) -> u64 {
        let len: u64 = self.ranges.iter().map(|range| range.end - range.start).sum();
        let block_count = len >> self.block_log2;
        block_count.div_ceil(self.stripe_count()) << self.block_log2
    }

    fn stripe_count(&self) -> u64 {
        255 - u64::from(self.roots)
    }

    pub(super) fn make<E>(
        &self,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let mut parity = vec![0; in_memory(self.parity_len())];
        self.add_stripes(0, &mut parity, &mut read)?;
        Ok(parity)
    }

    /// Makes the parity of codes from the one with index `first` on, as many as there is room for.
    /// What is covered is read from its front to its end.
    ///
    /// # Errors
    /// What `read` says.
    pub fn add_stripes<E>(
        &self,
        first: u64,
        parity: &mut [u8],
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let codes = Codes::new(self.roots);
        let roots = usize::from(self.roots);
        let mut buffer = vec![0; in_memory(DERIVED_PIECE_LEN).min(parity.len() / roots)];
        for stripe in 0..self.stripe_count() {
            let mut at = stripe * self.stripe_len() + first;
            for parity in parity.chunks_mut(buffer.len() * roots) {
                let bytes = &mut buffer[..parity.len() / roots];
                self.read(at, bytes, &mut read)?;
                codes.add(bytes, parity);
                at += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Fills `into` from byte `at` of what is covered, with zeros behind that.
    fn read<E>(
        &self,
        mut at: u64,
        mut into: &mut [u8],
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for range in &self.ranges {
            let len = range.end - range.start;
            if at < len && !into.is_empty() {
                let part_len = (len - at).min(into.len() as u64);
                let (part, rest) = into.split_at_mut(in_memory(part_len));
                read(range.start + at, part)?;
                into = rest;
                at += part_len;
            }
            at -= len.min(at);
        }
        into.fill(0);
        Ok(())
    }
}

/// Reed-Solomon codes over GF(2^8) with the polynomial 0x11d; the generator's roots are the powers
/// of 2 from the 0th on.
struct Codes {
    roots: usize,
    /// For each byte, its products with the generator, whose highest coefficient is left out.
    rows: Vec<[u8; Self::ROOTS_MAX]>,
}

impl Codes {
    const ROOTS_MAX: usize = *Fec::ROOTS.end() as usize;

    fn new(roots: u8) -> Self {
        // From the highest coefficient on.
        let mut generator = vec![1_u8];
        let mut root = 1;
        for _ in 0..roots {
            generator.push(0);
            for index in (1..generator.len()).rev() {
                generator[index] ^= product(generator[index - 1], root);
            }
            root = product(root, 2);
        }
        let row = |byte: u8| {
            let mut row = [0; Self::ROOTS_MAX];
            let products = generator[1..].iter().map(|coefficient| product(*coefficient, byte));
            row.iter_mut().zip(products).for_each(|(place, product)| *place = product);
            row
        };
        Self { roots: usize::from(roots), rows: (0..=255).map(row).collect() }
    }

    /// Takes the next byte of each code, whose parity so far lie one behind another.
    fn add(&self, bytes: &[u8], parity: &mut [u8]) {
        for (byte, parity) in bytes.iter().zip(parity.chunks_exact_mut(self.roots)) {
            let row = &self.rows[usize::from(byte ^ parity[0])];
            for index in 1..parity.len() {
                parity[index - 1] = parity[index] ^ row[index - 1];
            }
            parity[self.roots - 1] = row[self.roots - 1];
        }
    }
}

/// The product of two elements of the field.
fn product(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = a << 1 ^ if a & 0x80 == 0 { 0 } else { 0x1d };
        b >>= 1;
    }
    product
}

/// Lengths that the longest block keeps below what is held in memory.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("parity is held in memory")
}
