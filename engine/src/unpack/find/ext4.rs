//! ext4 with `metadata_csum`: tables of inodes, each of which has a checksum.
//!
//! As in the kernel's `Documentation/filesystems/ext4/`, of which the superblock, the descriptors
//! of groups and the tables that they tell of are read.

use super::Hit;
use super::blocks::Blocks;
use super::reader::{Parsed, Reader, Stop, check, le16, le32, sum};
use crate::unpack::codec::Inodes;
use crate::unpack::crc::crc32c;
use crate::unpack::{Block, Codec};

/// Where the superblock is in the file system, and the signature in that.
const SUPERBLOCK_AT: u64 = 1024;
const SIGNATURE_AT: u64 = 56;

const SUPERBLOCK_LEN: usize = 1024;

/// Where the superblock's own checksum is.
const CHECKSUM_AT: usize = 1020;

/// Features: descriptors of 64 bytes, descriptors that lie elsewhere, a seed of its own; checksums.
const WIDE: u32 = 0x80;
const META_GROUPS: u32 = 0x10;
const OWN_SEED: u32 = 0x2000;
const CHECKSUMS: u32 = 0x400;

/// Flag of a group: nobody has written its inodes.
const INODES_UNUSED: u16 = 1;

/// Longest part of a table that is a block, in bytes: a device holds some of these.
const PART_LEN_MAX: u64 = 2 << 20;

/// Most parts: each is packed in a way of its own, as inodes have numbers.
const PARTS_MAX: usize = 64;

/// Finds the tables of the file system whose signature is at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let start = offset.checked_sub(SUPERBLOCK_AT + SIGNATURE_AT).ok_or(Stop::Malformed)?;
    let superblock = Superblock::read(reader, start)?;
    let inode_len = 1 << superblock.inode_len_log2;
    let mut blocks = Blocks::new(reader.size());
    // A run of inodes that lie side by side: where they start, how many, and the first's number.
    let (mut run, mut count, mut first) = (0, 0, 0);
    for group in 0..superblock.group_count {
        let (table, used) = superblock.table(reader, group)?;
        let number = 1 + group * superblock.inodes_per_group;
        if count > 0
            && table == u64::saturating_add(run, count * inode_len)
            && number == first + count
        {
            count += used;
        } else {
            superblock.add(&mut blocks, (run, count, first));
            (run, count, first) = (table, used, number);
        }
    }
    superblock.add(&mut blocks, (run, count, first));
    Ok(Hit::new("ext4", start, superblock.len.min(reader.size() - start), blocks))
}

struct Superblock {
    start: u64,
    len: u64,
    block_len: u64,
    /// Where the descriptors of groups are.
    descriptors: u64,
    descriptor_len: u64,
    group_count: u64,
    inodes_per_group: u64,
    inode_len_log2: u8,
    seed: u32,
}

impl Superblock {
    fn read(reader: &mut Reader<'_>, start: u64) -> Parsed<Self> {
        let bytes: [u8; SUPERBLOCK_LEN] = reader.array(sum(start, SUPERBLOCK_AT)?)?;
        let number = |at: usize| u64::from(le32(&bytes, at));
        let (incompatible, read_only) = (le32(&bytes, 96), le32(&bytes, 100));
        // A copy of a superblock lies in another group.
        check(read_only & CHECKSUMS != 0 && le16(&bytes, 90) == 0)?;
        check(le32(&bytes, CHECKSUM_AT) == crc32c(!0, &bytes[..CHECKSUM_AT]))?;
        check(incompatible & META_GROUPS == 0 && le32(&bytes, 76) >= 1)?;
        let block_len_log2 = number(24) + 10;
        let inode_len = le16(&bytes, 88);
        check(block_len_log2 <= 16 && inode_len.is_power_of_two() && inode_len >= 128)?;
        check(inode_len <= 4096)?;
        let is_wide = incompatible & WIDE != 0;
        let (high, descriptor_len) =
            if is_wide { (number(336) << 32, u64::from(le16(&bytes, 254))) } else { (0, 32) };
        let block_count = high | number(4);
        let (first_block, blocks_per_group) = (number(20), number(32));
        check((32..=1024).contains(&descriptor_len) && blocks_per_group > 0 && first_block < 2)?;
        let group_count = block_count.saturating_sub(first_block).div_ceil(blocks_per_group);
        let (inodes_per_group, inode_count) = (number(40), number(0));
        check(group_count > 0 && group_count.checked_mul(inodes_per_group) == Some(inode_count))?;
        let own_seed = incompatible & OWN_SEED != 0;
        let seed = if own_seed { le32(&bytes, 624) } else { crc32c(!0, &bytes[104..120]) };
        Ok(Self {
            start,
            len: block_count.checked_shl(u32::try_from(block_len_log2).unwrap_or(0)).unwrap_or(0),
            block_len: 1 << block_len_log2,
            descriptors: (first_block + 1) << block_len_log2,
            descriptor_len,
            group_count,
            inodes_per_group,
            inode_len_log2: u8::try_from(inode_len.ilog2()).map_err(|_| Stop::Malformed)?,
            seed,
        })
    }

    /// Where the table of a group starts in the file system, and how many inodes may be in use.
    fn table(&self, reader: &mut Reader<'_>, group: u64) -> Parsed<(u64, u64)> {
        let at = sum(self.start, self.descriptors + group * self.descriptor_len)?;
        let descriptor: [u8; 32] = reader.array(at)?;
        reader.spend(self.descriptor_len)?;
        let is_wide = self.descriptor_len >= 64;
        let (high, unused_high) = if is_wide {
            let high: [u8; 32] = reader.array(at + 32)?;
            (u64::from(le32(&high, 8)) << 32, u64::from(le16(&high, 18)) << 16)
        } else {
            (0, 0)
        };
        let table = (high | u64::from(le32(&descriptor, 8))).checked_mul(self.block_len);
        let unused = unused_high | u64::from(le16(&descriptor, 28));
        let used = match le16(&descriptor, 18) & INODES_UNUSED {
            0 => self.inodes_per_group.saturating_sub(unused),
            _ => 0,
        };
        Ok((table.ok_or(Stop::Malformed)?, used))
    }

    /// Adds a run of inodes in parts, up to the first that cannot be one.
    fn add(&self, blocks: &mut Blocks, (mut at, mut count, mut first): (u64, u64, u64)) {
        while count > 0 && blocks.len() < PARTS_MAX {
            let part = count.min(PART_LEN_MAX >> self.inode_len_log2);
            let Ok(number) = u32::try_from(first) else { return };
            let inodes = Inodes { len_log2: self.inode_len_log2, seed: self.seed, first: number };
            let Some(offset) = self.start.checked_add(at) else { return };
            let len = part << self.inode_len_log2;
            // What is no table goes on past the image, for billions of inodes.
            if !blocks.add(Block { offset, len, codec: Codec::Ext4Inodes(inodes) }) {
                return;
            }
            (at, count, first) = (at.saturating_add(len), count - part, first + part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A superblock that tells of billions of inodes kept a core busy for millions of parts, none
    /// of which lay in the image; an image could have one in each KiB.
    #[test]
    fn run_of_inodes_ends_with_the_first_part_that_is_none() {
        let superblock = Superblock {
            start: 0,
            len: 8 * PART_LEN_MAX,
            block_len: 4096,
            descriptors: 0,
            descriptor_len: 32,
            group_count: 1,
            inodes_per_group: u64::from(u32::MAX),
            inode_len_log2: 7,
            seed: 0,
        };
        let parts = |taken: u64| {
            let mut blocks = Blocks::new(8 * PART_LEN_MAX);
            blocks.add(Block { offset: taken * PART_LEN_MAX, len: 1, codec: Codec::Zlib });
            superblock.add(&mut blocks, (0, superblock.inodes_per_group, 1));
            blocks.len() - 1
        };
        assert_eq!([parts(0), parts(1), parts(7)], [0, 1, 7]);
    }
}
