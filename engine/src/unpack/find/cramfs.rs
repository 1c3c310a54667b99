//! cramfs: blocks of 4 KiB of files and links, each a zlib stream.
//!
//! As in the kernel's `include/uapi/linux/cramfs_fs.h` and `fs/cramfs/README`, little-endian. A
//! file's offset leads to the ends of all of its blocks, behind which the first of them starts.

use std::collections::HashSet;

use super::Hit;
use super::blocks::{Blocks, count_max};
use super::reader::{Parsed, Reader, Stop, check, le16, le32, sum};
use crate::unpack::{Block, Codec};

const SIGNATURE: [u8; 16] = *b"Compressed ROMFS";

/// Length of the superblock, and where the root's inode is in it, in bytes.
const SUPERBLOCK_LEN: usize = 76;
const ROOT_AT: usize = 64;

/// Length of an inode, in bytes; a name follows.
const INODE_LEN: usize = 12;

/// Plain bytes of a block.
const BLOCK_LEN: u64 = 4096;

/// Flags of a later version, of order, of holes, of a signature and of a root that are elsewhere;
/// not that of pointers with flags of their own.
const FLAGS: u32 = 0x703;

/// Kinds of files, in the mode.
const KIND: u16 = 0o17_0000;
const DIRECTORY: u16 = 0o04_0000;
const FILE: u16 = 0o10_0000;
const LINK: u16 = 0o12_0000;

/// Finds the blocks of a file system that starts at `start`.
pub(super) fn find(reader: &mut Reader<'_>, start: u64) -> Parsed<Hit> {
    let superblock: [u8; SUPERBLOCK_LEN] = reader.array(start)?;
    let len = u64::from(le32(&superblock, 4));
    check(superblock[16..32] == SIGNATURE && le32(&superblock, 8) & !FLAGS == 0)?;
    check(len > SUPERBLOCK_LEN as u64 && sum(start, len)? <= reader.size())?;
    let mut blocks = Blocks::new(reader.size());
    let root = Inode::decode(&superblock[ROOT_AT..]);
    check(root.kind == DIRECTORY)?;
    // Memory is bounded as that of blocks is.
    let seen_max = usize::try_from(count_max(reader.size())).unwrap_or(usize::MAX);
    let mut seen = HashSet::from([root.offset]);
    let mut waiting = vec![root];
    while let Some(directory) = waiting.pop() {
        let mut at = directory.offset;
        let end = at + directory.len;
        check(end <= len)?;
        while at < end {
            reader.spend(INODE_LEN as u64)?;
            let inode = Inode::decode(reader.bytes(start + at, INODE_LEN)?);
            at += INODE_LEN as u64 + inode.name_len;
            match inode.kind {
                DIRECTORY if inode.len > 0 && seen.insert(inode.offset) => {
                    if seen.len() > seen_max {
                        return Err(Stop::Spent);
                    }
                    waiting.push(inode);
                }
                FILE | LINK if inode.len > 0 => {
                    add_file(reader, &inode, (start, len), &mut blocks)?;
                }
                _ => {}
            }
        }
    }
    Ok(Hit::new("cramfs", start, len, blocks))
}

/// Adds the blocks of a file; an empty one is a hole.
fn add_file(
    reader: &mut Reader<'_>,
    inode: &Inode,
    (start, len): (u64, u64),
    blocks: &mut Blocks,
) -> Parsed<()> {
    let count = inode.len.div_ceil(BLOCK_LEN);
    let mut at = inode.offset + 4 * count;
    for index in 0..count {
        reader.spend(4)?;
        let end = u64::from(reader.u32(start + inode.offset + 4 * index)?);
        check((at..=len).contains(&end) && end - at <= 2 * BLOCK_LEN)?;
        if end > at {
            blocks.add(Block { offset: start + at, len: end - at, codec: Codec::Zlib });
        }
        at = end;
    }
    Ok(())
}

struct Inode {
    kind: u16,
    len: u64,
    name_len: u64,
    offset: u64,
}

impl Inode {
    fn decode(bytes: &[u8]) -> Self {
        let place = le32(bytes, 8);
        Self {
            kind: le16(bytes, 0) & KIND,
            len: u64::from(le32(bytes, 4) & 0xff_ffff),
            // Both count words.
            name_len: u64::from(place & 0x3f) * 4,
            offset: u64::from(place >> 6) * 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system whose root is `count` directories, each of which has the next one only.
    fn image(count: u32) -> Vec<u8> {
        let inode_len = u32::try_from(INODE_LEN).expect("it is short");
        let first = u32::try_from(SUPERBLOCK_LEN).expect("it is short");
        let inode = |index: u32, len: u32| {
            let at = first + index % count * inode_len;
            [u32::from(DIRECTORY), len, (at / 4) << 6].into_iter().flat_map(u32::to_le_bytes)
        };
        let mut image = vec![0; SUPERBLOCK_LEN];
        image[4..8].copy_from_slice(&(first + count * inode_len).to_le_bytes());
        image[16..32].copy_from_slice(&SIGNATURE);
        image[ROOT_AT..].iter_mut().zip(inode(0, count * inode_len)).for_each(|(to, of)| *to = of);
        (0..count).for_each(|index| image.extend(inode(index + 1, inode_len)));
        image
    }

    /// Each directory that was seen took 8 bytes of memory, and 32 until it was looked at: an image
    /// of nothing else took gigabytes.
    #[test]
    fn file_system_with_more_directories_than_there_is_memory_for_is_given_up() {
        let count = u32::try_from(count_max(1 << 24)).expect("it is about a million");
        let found = |count: u32| {
            let image = image(count);
            find(&mut Reader::new(&image, u64::MAX), 0)
        };
        assert!(found(count - 1000).is_ok());
        assert!(matches!(found(count + 1000), Err(Stop::Spent)));
    }
}
