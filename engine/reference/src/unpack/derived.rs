//! Regions of the target that follow from what lies before them (11.4): hash trees of dm-verity,
//! and parity for forward error correction.

use sha2::Digest;

use crate::bytes::{Bytes, memory, within};
use crate::{Result, must};

/// The hash tree that these parameters tell of, with `before` in front of it.
pub(crate) fn tree(plain: &[u8], before: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Bytes::new(plain, "block");
    let hash = within(0..=4, plain.number(1)?, "hash")?;
    let is_padded = within(0..=1, plain.number(1)?, "hash_type")? == 1;
    let data_block = 1 << within(9..=19, plain.number(1)?, "data_block_log2")?;
    let hash_block = 1 << within(9..=19, plain.number(1)?, "hash_block_log2")?;
    let offset = plain.number(8)?;
    let count = within(2..=1 << 28, plain.number(8)?, "data_block_count")?;
    let salt_len = within(0..=256, plain.number(2)?, "salt_len")?;
    let salt = plain.take(salt_len)?;
    plain.end()?;
    let make = |blocks: &[u8], block_len| {
        let blocks = blocks.chunks(block_len);
        let digests = blocks.map(|block| match is_padded {
            true => digest(hash, [salt, block]),
            false => digest(hash, [block, salt]),
        });
        level(&digests.collect::<Vec<_>>(), is_padded, hash_block)
    };
    let mut levels = vec![make(part(before, offset, count * data_block)?, memory(data_block))];
    while levels[0].len() > hash_block {
        levels.insert(0, make(&levels[0], hash_block));
    }
    Ok(levels.concat())
}

/// A level of these digests: in each block as many as half of it and more has room for, a power of
/// two, and then zeros.
fn level(digests: &[Vec<u8>], is_padded: bool, block_len: usize) -> Vec<u8> {
    let len = digests[0].len();
    let slot_len = if is_padded { len.next_power_of_two() } else { len };
    let mut level = Vec::new();
    for digests in digests.chunks(1 << (block_len / len).ilog2()) {
        let end = level.len() + block_len;
        for digest in digests {
            level.extend(digest);
            level.resize(level.len() + slot_len - len, 0);
        }
        level.resize(end, 0);
    }
    level
}

fn digest(hash: u64, parts: [&[u8]; 2]) -> Vec<u8> {
    let bytes = parts.concat();
    match hash {
        0 => sha1::Sha1::digest(bytes).to_vec(),
        1 => sha2::Sha224::digest(bytes).to_vec(),
        2 => sha2::Sha256::digest(bytes).to_vec(),
        3 => sha2::Sha384::digest(bytes).to_vec(),
        _ => sha2::Sha512::digest(bytes).to_vec(),
    }
}

/// The parity that these parameters tell of, with `before` in front of it.
pub(crate) fn parity(plain: &[u8], before: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Bytes::new(plain, "block");
    let roots = memory(within(2..=24, plain.number(1)?, "roots")?);
    let block_len = 1 << within(9..=19, plain.number(1)?, "block_log2")?;
    let mut covered = Vec::new();
    for _ in 0..within(1..=2, plain.number(1)?, "range_count")? {
        let (offset, len) = (plain.number(8)?, plain.number(8)?);
        must(len > 0 && len.is_multiple_of(block_len), "a range is not whole blocks")?;
        covered.extend(part(before, offset, len)?);
    }
    plain.end()?;
    let stripes = 255 - roots;
    let block_count = covered.len() / memory(block_len);
    let stripe_len = block_count.div_ceil(stripes) * memory(block_len);
    covered.resize(stripes * stripe_len, 0);
    let generator = generator(roots);
    let mut parity = Vec::new();
    for code in 0..stripe_len {
        let message: Vec<u8> = (0..stripes).map(|s| covered[s * stripe_len + code]).collect();
        parity.extend(remainder(&message, &generator));
    }
    Ok(parity)
}

/// `(x - 1) (x - 2) (x - 4) ...`, of so many factors, from the highest coefficient on.
fn generator(roots: usize) -> Vec<u8> {
    let (mut generator, mut root) = (vec![1], 1);
    for _ in 0..roots {
        generator.push(0);
        for index in (1..generator.len()).rev() {
            generator[index] ^= product(generator[index - 1], root);
        }
        root = product(root, 2);
    }
    generator
}

/// What is left of the message, with as many zeros behind it as there are roots, once it is divided
/// by the generator.
fn remainder(message: &[u8], generator: &[u8]) -> Vec<u8> {
    let mut rest = message.to_vec();
    rest.resize(message.len() + generator.len() - 1, 0);
    for at in 0..message.len() {
        let factor = rest[at];
        for (place, coefficient) in rest[at..].iter_mut().zip(generator) {
            *place ^= product(*coefficient, factor);
        }
    }
    rest.split_off(message.len())
}

/// The product in the field of 256 elements with the polynomial `0x11d`.
fn product(a: u8, b: u8) -> u8 {
    let mut product = 0_u16;
    for bit in (0..8).rev() {
        product <<= 1;
        if product & 0x100 != 0 {
            product ^= 0x11d;
        }
        if b >> bit & 1 == 1 {
            product ^= u16::from(a);
        }
    }
    u8::try_from(product).expect("the polynomial takes off what is above")
}

/// Bytes of what lies before a region.
fn part(before: &[u8], offset: u64, len: u64) -> Result<&[u8]> {
    let end = offset.checked_add(len).filter(|end| *end <= before.len() as u64);
    let end = end.ok_or("a region is derived from what is not before it")?;
    Ok(&before[memory(offset)..memory(end)])
}
