//! lz4: the blocks of a frame (LZ4 Frame Format 1.6), and those of the format before it.

use super::{Block, Blocks, Codec, Hit, NotFollowed, Parsed, Reader, check};
use crate::unpack::find::reader::sum;

/// Bit of a block's size: it is stored as it is.
const STORED: u32 = 1 << 31;

/// Plain bytes of each block of the old format, all but the last.
const LEGACY_LEN: usize = 8 << 20;

/// Longest packed bytes of such a block, as `LZ4_compressBound` says.
const LEGACY_PACKED_MAX: usize = LEGACY_LEN + LEGACY_LEN / 255 + 16;

/// Finds the blocks of the frame at `offset`, if each stands for itself; else only the frame.
pub(super) fn find_frame(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let [flags, limits] = reader.array(offset + 4)?;
    let has = |bit: u8| flags & 1 << bit != 0;
    // Version 1, no reserved bit, no dictionary.
    check(flags >> 6 == 1 && !has(1) && !has(0))?;
    // Its blocks look back into others.
    let is_linked = !has(5);
    check(limits & 0x8f == 0 && limits >> 4 >= 4)?;
    let block_len_max = 1 << (8 + 2 * (limits >> 4));
    let descriptor_len = if has(3) { 10 } else { 2 };
    let descriptor = reader.bytes(offset + 4, descriptor_len + 1)?;
    let (fields, sum_byte) = descriptor.split_at(descriptor_len);
    check(u32::from(sum_byte[0]) == xxh32_short(fields) >> 8 & 0xff)?;
    let mut at = offset + 4 + descriptor_len as u64 + 1;
    let mut blocks = Blocks::new(reader.size());
    loop {
        let size = reader.u32(at)?;
        reader.spend(4)?;
        at += 4;
        if size == 0 {
            break;
        }
        let len = u64::from(size & !STORED);
        check(len <= block_len_max && sum(at, len)? <= reader.size())?;
        if size & STORED == 0 && !is_linked {
            blocks.add(Block { offset: at, len, codec: Codec::Lz4 });
        }
        at += len + if has(4) { 4 } else { 0 };
    }
    let end = at + if has(2) { 4 } else { 0 };
    check(end <= reader.size())?;
    let hit = Hit::new("lz4", offset, end - offset, blocks);
    Ok(hit.without(is_linked.then_some(NotFollowed::Linked)))
}

/// Finds the blocks of the old format from `offset`, as kernels are packed.
///
/// Nothing says where they end, and kernels have a word behind them that may look like the size of
/// one more: each is unpacked, and the last is the first that is not of full length.
pub(super) fn find_legacy(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let mut blocks = Blocks::new(reader.size());
    let mut at = offset + 4;
    while let Some((len, plain_len)) = legacy_block(reader, at)? {
        blocks.add(Block { offset: at + 4, len, codec: Codec::Lz4 });
        at += 4 + len;
        if plain_len < LEGACY_LEN {
            break;
        }
    }
    check(blocks.len() > 0)?;
    Ok(Hit::new("lz4-legacy", offset, at - offset, blocks))
}

/// Length of the block whose size is at `at`, packed and plain, if there is one.
fn legacy_block(reader: &mut Reader<'_>, at: u64) -> Parsed<Option<(u64, usize)>> {
    let Some(size) = reader.up_to(at, 4)?.first_chunk().copied() else { return Ok(None) };
    let len = u32::from_le_bytes(size);
    let Some(packed_len) = usize::try_from(len).ok().filter(|&len| len <= LEGACY_PACKED_MAX) else {
        return Ok(None);
    };
    if packed_len == 0 || sum(at + 4, u64::from(len))? > reader.size() {
        return Ok(None);
    }
    let plain = Codec::Lz4.unpack(reader.bytes(at + 4, packed_len)?, LEGACY_LEN);
    let Ok(plain) = plain else {
        // It may have made much before it failed.
        reader.spend(LEGACY_LEN as u64)?;
        return Ok(None);
    };
    reader.spend(plain.len() as u64)?;
    Ok(Some((u64::from(len), plain.len())))
}

/// xxHash of 32 bits, with seed 0, of fewer than 16 bytes: the check of a frame's descriptor.
fn xxh32_short(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];
    let len = u32::try_from(bytes.len()).expect("a descriptor is short");
    let mut hash = PRIMES[4].wrapping_add(len);
    let (words, rest) = bytes.as_chunks();
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIMES[2]));
        hash = hash.rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIMES[1]);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIMES[2]);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_that_of_the_specification() {
        // Of nothing, and of three bytes: published values.
        assert_eq!(xxh32_short(b""), 0x02cc_5d05);
        assert_eq!(xxh32_short(b"abc"), 0x32d1_53ff);
    }
}
