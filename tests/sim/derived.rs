//! Images with regions that follow from the rest: hash trees of dm-verity, and parity behind them.

use neap_engine::unpack::derived::{Derived, Fec, Hash, Verity};

use crate::packed;
use crate::random::Random;

/// A source and a target with packed blocks, each with a hash tree behind it, and parity. The data
/// is this long, rounded up to blocks.
#[must_use]
pub fn images(size: usize, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::new(seed ^ 0x7665_7269);
    let (mut source, mut target) = packed::images(size, seed);
    for image in [&mut source, &mut target] {
        image.resize(image.len().next_multiple_of(4096), 0);
        let salt_len = 32;
        let salt = random.bytes(salt_len);
        seal(image, Hash::Sha256, salt, 12);
        add_parity(image, 2 + u8::try_from(random.index(3)).expect("it is small"), 12);
    }
    (source, target)
}

/// Puts a superblock and the hash tree behind an image, as veritysetup does.
///
/// # Panics
/// If the image is less than two blocks.
pub fn seal(image: &mut Vec<u8>, hash: Hash, salt: Vec<u8>, block_log2: u8) {
    let block_len = 1 << block_log2;
    let verity = Verity {
        hash,
        is_padded: true,
        data_block_log2: block_log2,
        hash_block_log2: block_log2,
        data_offset: 0,
        data_block_count: (image.len() >> block_log2) as u64,
        salt,
    };
    let mut superblock = vec![0; block_len];
    superblock[..8].copy_from_slice(b"verity\0\0");
    superblock[8] = 1;
    superblock[12] = 1;
    superblock[32..32 + hash.name().len()].copy_from_slice(hash.name().as_bytes());
    let block_len = u32::try_from(block_len).expect("blocks are short").to_le_bytes();
    superblock[64..68].copy_from_slice(&block_len);
    superblock[68..72].copy_from_slice(&block_len);
    superblock[72..80].copy_from_slice(&verity.data_block_count.to_le_bytes());
    superblock[80..82]
        .copy_from_slice(&u16::try_from(verity.salt.len()).unwrap_or(0).to_le_bytes());
    superblock[88..88 + verity.salt.len()].copy_from_slice(&verity.salt);
    let tree = made(&Derived::Verity(verity), image);
    image.extend(superblock);
    image.extend(tree);
}

/// Puts parity behind an image that [`seal`] made.
///
/// # Panics
/// If the image has no superblock where it had been put.
pub fn add_parity(image: &mut Vec<u8>, roots: u8, block_log2: u8) {
    let is_superblock = |block: &[u8]| block.starts_with(b"verity\0\0");
    let block_len = 1 << block_log2;
    let at = image.chunks(block_len).position(is_superblock).expect("it is sealed") * block_len;
    let tree = (at + block_len) as u64..image.len() as u64;
    let fec = Fec::new(roots, block_log2, vec![0..at as u64, tree]).expect("it is small");
    let parity = made(&Derived::Fec(fec), image);
    image.extend(parity);
}

fn made(derived: &Derived, image: &[u8]) -> Vec<u8> {
    let made = derived.make(|offset, into: &mut [u8]| {
        let from = usize::try_from(offset).map_err(|_| ())?;
        into.copy_from_slice(image.get(from..from + into.len()).ok_or(())?);
        Ok::<_, ()>(())
    });
    made.expect("it lies in the image")
}
