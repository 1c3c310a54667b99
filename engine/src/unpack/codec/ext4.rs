//! Inodes of ext4: packing is putting the checksums back, which follow from the rest of each.
//!
//! As in the kernel's `fs/ext4/inode.c` (`ext4_inode_csum`), of file systems with `metadata_csum`.

use super::UnpackError;
use crate::unpack::crc::crc32c;

/// Inodes side by side, and what their checksums depend on beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inodes {
    /// Length of an inode, as log2 of bytes.
    pub len_log2: u8,
    /// What checksums of the file system start with.
    pub seed: u32,
    /// Number of the first inode.
    pub first: u32,
}

/// Where the low half of the checksum is, the high half, and how much of an inode's end is used.
const LOW_AT: usize = 0x7c;
const HIGH_AT: usize = 0x82;
const EXTRA_LEN_AT: usize = 0x80;

/// Where the generation is.
const GENERATION_AT: usize = 0x64;

/// Inodes before the one with this number are those of the file system itself.
const RESERVED: u32 = 11;

/// Least bytes in use behind the first 128 for there to be a high half.
const EXTRA_LEN_MIN: u16 = 4;

impl Inodes {
    /// Length of the spelling, in bytes.
    const LEN: usize = 9;

    /// Shortest and longest inode, as log2 of bytes.
    const LEN_LOG2: std::ops::RangeInclusive<u8> = 7..=12;

    pub(super) fn encode(self) -> [u8; Self::LEN] {
        let ([a, b, c, d], [e, f, g, h]) = (self.seed.to_le_bytes(), self.first.to_le_bytes());
        [self.len_log2, a, b, c, d, e, f, g, h]
    }

    pub(super) fn decode(spelling: [u8; Self::LEN]) -> Option<Self> {
        let [len_log2, a, b, c, d, e, f, g, h] = spelling;
        let (seed, first) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        Self::LEN_LOG2.contains(&len_log2).then_some(Self { len_log2, seed, first })
    }

    /// The inodes without checksums.
    pub(super) fn unpack(self, packed: &[u8], len_max: usize) -> Result<Vec<u8>, UnpackError> {
        if packed.len() > len_max {
            return Err(UnpackError::TooLarge);
        }
        let mut plain = packed.to_vec();
        for inode in self.inodes(&mut plain).ok_or(UnpackError::Malformed)? {
            put(inode, 0);
        }
        Ok(plain)
    }

    /// The inodes with checksums, but those that nobody used yet: they are all zeros, as are some
    /// of the reserved ones, which have a checksum.
    pub(super) fn predict(self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut packed = plain.to_vec();
        let mut number = self.first;
        for inode in self.inodes(&mut packed)? {
            if number < RESERVED || inode.iter().any(|byte| *byte != 0) {
                let sum = crc32c(self.seed, &number.to_le_bytes());
                let sum = crc32c(sum, &inode[GENERATION_AT..GENERATION_AT + 4]);
                put(inode, crc32c(sum, inode));
            }
            number = number.wrapping_add(1);
        }
        Some(packed)
    }

    fn inodes(self, bytes: &mut [u8]) -> Option<std::slice::ChunksExactMut<'_, u8>> {
        let len = 1 << self.len_log2;
        (!bytes.is_empty() && bytes.len().is_multiple_of(len)).then(|| bytes.chunks_exact_mut(len))
    }
}

/// Puts a checksum where an inode has room for it.
fn put(inode: &mut [u8], sum: u32) {
    let [a, b, c, d] = sum.to_le_bytes();
    inode[LOW_AT..LOW_AT + 2].copy_from_slice(&[a, b]);
    let extra_len = inode.get(EXTRA_LEN_AT..EXTRA_LEN_AT + 2);
    let extra_len = extra_len.map_or(0, |len| u16::from_le_bytes([len[0], len[1]]));
    if extra_len >= EXTRA_LEN_MIN {
        inode[HIGH_AT..HIGH_AT + 2].copy_from_slice(&[c, d]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_without_room_for_a_high_half_keep_what_is_there() {
        for (extra_len, is_kept) in [(0, true), (3, true), (4, false), (32, false)] {
            let inodes = Inodes { len_log2: 8, seed: 7, first: 1 };
            let mut plain = vec![1; 512];
            for inode in plain.chunks_mut(256) {
                inode[EXTRA_LEN_AT..EXTRA_LEN_AT + 2].copy_from_slice(&[extra_len, 0]);
                inode[LOW_AT..LOW_AT + 2].fill(0);
                inode[HIGH_AT..HIGH_AT + 2].fill(if is_kept { 1 } else { 0 });
            }
            let packed = inodes.predict(&plain).expect("it is whole inodes");
            assert_ne!(packed, plain);
            assert_ne!(packed[..256], packed[256..], "numbers count");
            assert_eq!(packed[HIGH_AT..HIGH_AT + 2] == [1, 1], is_kept);
            assert_eq!(inodes.unpack(&packed, 512), Ok(plain));
        }
    }

    #[test]
    fn inodes_that_nobody_used_and_parts_of_one() {
        let inodes = Inodes { len_log2: 7, seed: 7, first: 10 };
        let packed = inodes.predict(&[0; 256]).expect("it is whole inodes");
        assert_ne!(packed[..128], [0; 128], "it is reserved");
        assert_eq!(packed[128..], [0; 128]);
        assert_eq!(inodes.predict(&[0; 129]), None);
        assert_eq!(inodes.unpack(&[0; 127], 4096), Err(UnpackError::Malformed));
        assert_eq!(inodes.unpack(&[], 4096), Err(UnpackError::Malformed));
        assert_eq!(inodes.unpack(&[0; 256], 255), Err(UnpackError::TooLarge));
    }
}
