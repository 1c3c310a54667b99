//! The .xz format (version 1.2.1 of its specification): what is around LZMA2 data.

use liblzma::stream::Filters;

use crate::limits::XZ_DICT_MAX;
use crate::unpack::crc::crc32;
use crate::varint;

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const FOOTER_MAGIC: [u8; 2] = *b"YZ";

/// Flags of a block header (section 3.1.2).
const HAS_PACKED_LEN: u8 = 0x40;
const HAS_PLAIN_LEN: u8 = 0x80;

/// Ids of filters (section 5.3).
const LZMA2: u64 = 0x21;
const X86: u8 = 4;
const ARM: u8 = 7;
const ARM_THUMB: u8 = 8;
const ARM64: u8 = 10;

/// How a stream is wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Header {
    check: Check,
    /// Filters in front of LZMA2, none with settings of its own.
    filters: Vec<u8>,
    /// Whether block headers tell both lengths.
    has_lens: bool,
    /// Length of block headers, in bytes; 0 is the shortest.
    header_len: u16,
    /// Plain bytes in each block but the last, which has what is left; 0 if there is one block.
    block_len: u64,
}

/// What guards the plain bytes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Check {
    None = 0,
    Crc32 = 1,
    Crc64 = 4,
}

impl Check {
    fn of_id(id: u8) -> Option<Self> {
        [Self::None, Self::Crc32, Self::Crc64].into_iter().find(|check| *check as u8 == id)
    }

    fn of(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Crc32 => crc32(plain).to_le_bytes().to_vec(),
            Self::Crc64 => crc64(plain).to_le_bytes().to_vec(),
        }
    }
}

impl Header {
    /// Check, filters, lengths.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.check as u8 | u8::from(self.has_lens) << 7);
        varint::put(bytes, self.header_len.into());
        varint::put(bytes, self.block_len);
        bytes.extend(&self.filters);
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let mut at = 1;
        let header_len = u16::try_from(varint::take(bytes, &mut at).ok()?).ok()?;
        let block_len = varint::take(bytes, &mut at).ok()?;
        let filters = bytes[at..].to_vec();
        let is_known =
            filters.len() <= FILTERS_MAX && filters.iter().all(|id| is_plain_filter(*id));
        let has_lens = first & 0x80 != 0;
        // The shortest is said by 0; with lengths in it nobody knows it here.
        let is_longer = has_lens || usize::from(header_len) > shortest_len(5 + 2 * filters.len());
        let is_len = header_len == 0
            || header_len <= HEADER_LEN_MAX && header_len.is_multiple_of(4) && is_longer;
        (is_known && is_len).then_some(Self {
            check: Check::of_id(first & 0x7f)?,
            filters,
            has_lens,
            header_len,
            block_len,
        })
    }

    /// Whether there is one block, or all but the last have at least so many plain bytes.
    pub(super) fn has_blocks_of(&self, len_min: u64) -> bool {
        self.block_len == 0 || self.block_len >= len_min
    }

    /// Whether nothing is said of what is around the data.
    pub(super) fn is_bare(&self) -> bool {
        (self.check, self.has_lens, self.header_len, self.block_len) == (Check::None, false, 0, 0)
    }

    /// Adds the filters in front of LZMA2.
    pub(super) fn add_filters(&self, chain: &mut Filters) {
        for id in &self.filters {
            match *id {
                X86 => chain.x86(),
                ARM => chain.arm(),
                ARM_THUMB => chain.arm_thumb(),
                _ => chain.arm64(),
            };
        }
    }

    /// The stream of `plain`, whose blocks `pack` packs into no more bytes than it is told.
    pub(super) fn write(
        &self,
        plain: &[u8],
        dict_size: u32,
        packed_len_max: usize,
        mut pack: impl FnMut(&[u8], usize) -> Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let flags = [0, self.check as u8];
        let mut packed = MAGIC.to_vec();
        packed.extend(flags);
        packed.extend(crc32(&flags).to_le_bytes());
        let mut index = vec![0];
        let block_len = usize::try_from(self.block_len).ok().filter(|len| *len > 0);
        let pieces = plain.chunks(block_len.unwrap_or(plain.len().max(1)));
        put_vli(&mut index, pieces.len() as u64);
        for piece in pieces {
            let data = pack(piece, packed_len_max)?;
            let start = packed.len();
            let lens = self.has_lens.then_some((data.len() as u64, piece.len() as u64));
            self.write_block_header(dict_size, lens, &mut packed)?;
            packed.extend(&data);
            let check = self.check.of(piece);
            put_vli(&mut index, (packed.len() - start + check.len()) as u64);
            put_vli(&mut index, piece.len() as u64);
            pad(&mut packed);
            packed.extend(check);
            if packed.len() > packed_len_max {
                return None;
            }
        }
        pad(&mut index);
        packed.extend(&index);
        packed.extend(crc32(&index).to_le_bytes());
        // Section 2.1.2: the index with its checksum, in words, less one.
        let words = u32::try_from(index.len() / 4).ok()?;
        let mut footer = words.to_le_bytes().to_vec();
        footer.extend(flags);
        packed.extend(crc32(&footer).to_le_bytes());
        packed.extend(footer);
        packed.extend(FOOTER_MAGIC);
        Some(packed)
    }

    fn write_block_header(
        &self,
        dict_size: u32,
        lens: Option<(u64, u64)>,
        packed: &mut Vec<u8>,
    ) -> Option<()> {
        let filter_count = u8::try_from(self.filters.len()).ok()?;
        let mut header = vec![0, filter_count];
        if let Some((packed_len, plain_len)) = lens {
            header[1] |= HAS_PACKED_LEN | HAS_PLAIN_LEN;
            put_vli(&mut header, packed_len);
            put_vli(&mut header, plain_len);
        }
        for id in &self.filters {
            header.extend([*id, 0]);
        }
        put_vli(&mut header, LZMA2);
        header.extend([1, dict_byte(dict_size)?]);
        pad(&mut header);
        if self.header_len > 0 {
            let len = usize::from(self.header_len).checked_sub(4)?;
            if header.len() > len {
                return None;
            }
            header.resize(len, 0);
        }
        header[0] = u8::try_from(header.len() / 4).ok()?;
        packed.extend(&header);
        packed.extend(crc32(&header).to_le_bytes());
        Some(())
    }
}

/// How a stream is wrapped, the size of its dictionary, and the properties of its first packed
/// chunk. What differs from block to block is found out when the stream is packed again.
///
/// Of one that is cut nothing is packed again but the data of its first block.
pub(super) fn read(packed: &[u8], is_cut: bool) -> Option<(Header, u32, u8)> {
    let rest = packed.strip_prefix(&MAGIC)?;
    let check = if is_cut { Check::None } else { Check::of_id(*rest.get(1)?)? };
    let (_, block) = packed.split_at_checked(12)?;
    // A size of 0 is that of the index: no block at all.
    let header_len = (usize::from(*block.first()?) + 1) * 4;
    if header_len == 4 && is_cut {
        return None;
    }
    if header_len == 4 {
        let header =
            Header { check, filters: Vec::new(), has_lens: false, header_len: 0, block_len: 0 };
        return Some((header, 1 << 23, DEFAULT_PROPERTIES));
    }
    let (header, data) = block.split_at_checked(header_len)?;
    let flags = *header.get(1)?;
    let mut at = 2;
    let has_lens = match flags & (HAS_PACKED_LEN | HAS_PLAIN_LEN) {
        0 => false,
        0xc0 => true,
        _ => return None,
    };
    if has_lens {
        take_vli(header, &mut at)?;
        take_vli(header, &mut at)?;
    }
    let mut filters = Vec::new();
    for _ in 0..flags & 3 {
        let id = u8::try_from(take_vli(header, &mut at)?).ok()?;
        let has_settings = take_vli(header, &mut at)? != 0;
        if has_settings || !is_plain_filter(id) {
            return None;
        }
        filters.push(id);
    }
    let is_lzma2 = take_vli(header, &mut at)? == LZMA2 && take_vli(header, &mut at)? == 1;
    let dict_size = dict_size(*header.get(at)?)?;
    let header = if is_cut {
        Header { check, filters, has_lens: false, header_len: 0, block_len: 0 }
    } else {
        let is_shortest = header_len == shortest_len(at + 1);
        let header_len = if is_shortest { 0 } else { u16::try_from(header_len).ok()? };
        Header { check, filters, has_lens, header_len, block_len: read_block_len(packed)? }
    };
    is_lzma2.then_some((header, dict_size, first_properties(data)))
}

/// Length of a block header whose fields have so many bytes, with its padding and CRC-32.
fn shortest_len(fields_len: usize) -> usize {
    fields_len.next_multiple_of(4) + 4
}

/// What is behind the header of the first block.
pub(super) fn data(packed: &[u8]) -> Option<&[u8]> {
    let block = packed.get(12..)?;
    block.get((usize::from(*block.first()?) + 1) * 4..)
}

/// The plain length of the first block as the index tells it; 0 if it is the only one.
fn read_block_len(packed: &[u8]) -> Option<u64> {
    let footer = packed.len().checked_sub(12)?;
    let words = u32::from_le_bytes(*packed.get(footer + 4..)?.first_chunk()?);
    let index_len = (usize::try_from(words).ok()?.checked_add(1)?).checked_mul(4)?;
    let index = packed.get(footer.checked_sub(index_len)?..footer)?;
    let mut at = 1;
    let count = take_vli(index, &mut at)?;
    take_vli(index, &mut at)?;
    let len = take_vli(index, &mut at)?;
    Some(if count == 1 { 0 } else { len })
}

/// Properties of the first LZMA chunk, if there is one before the end or 2 MiB of other chunks
/// (section 5.3.1, and lzma2_decoder.c).
fn first_properties(mut data: &[u8]) -> u8 {
    for _ in 0..32 {
        match data {
            [0xc0..=0xff, _, _, _, _, properties, ..] => return *properties,
            [1 | 2, high, low, ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low])) + 1;
                data = data.get(3 + len..).unwrap_or_default();
            }
            _ => break,
        }
    }
    DEFAULT_PROPERTIES
}

/// `lc` 3, `lp` 0, `pb` 2, as all presets have them.
const DEFAULT_PROPERTIES: u8 = 2 * 5 * 9 + 3;

/// Most filters in front of LZMA2.
const FILTERS_MAX: usize = 3;

/// Longest block header, in bytes.
const HEADER_LEN_MAX: u16 = 1024;

fn is_plain_filter(id: u8) -> bool {
    [X86, ARM, ARM_THUMB, ARM64].contains(&id)
}

/// The size that a byte tells: 2 or 3 times a power of two (section 5.3.1).
fn dict_size(byte: u8) -> Option<u32> {
    let size = (2 | u32::from(byte & 1)).checked_shl(u32::from(byte / 2) + 11)?;
    (byte < 40 && size <= XZ_DICT_MAX).then_some(size)
}

/// The byte of the least size that is no less.
fn dict_byte(size: u32) -> Option<u8> {
    (0..40).find(|byte| dict_size(*byte).is_none_or(|told| told >= size))
}

/// Numbers of the format (section 1.2): as [`varint`], of at most 63 bits.
fn put_vli(bytes: &mut Vec<u8>, value: u64) {
    varint::put(bytes, value);
}

fn take_vli(bytes: &[u8], at: &mut usize) -> Option<u64> {
    varint::take(bytes, at).ok().filter(|value| *value <= u64::MAX >> 1)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// CRC-64 of ECMA-182 (section 6).
fn crc64(bytes: &[u8]) -> u64 {
    const TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut byte = 0_u32;
        while byte < 256 {
            let (mut value, mut bit) = (byte as u64, 0);
            while bit < 8 {
                let low = value & 1;
                value >>= 1;
                if low == 1 {
                    value ^= 0xc96c_5795_d787_0f42;
                }
                bit += 1;
            }
            table[byte as usize] = value;
            byte += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of parametrised CRC algorithms.
    #[test]
    fn checksums_of_the_nine_digits_are_those_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc64(b"123456789"), 0x995d_c9bb_df19_39fa);
    }

    #[test]
    fn every_size_of_a_dictionary_has_its_byte() {
        for byte in 0..40 {
            if let Some(size) = dict_size(byte) {
                assert_eq!(dict_byte(size), Some(byte));
            }
        }
    }
}
