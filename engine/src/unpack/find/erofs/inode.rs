//! Inodes of erofs, short and long.

use super::{Parsed, Reader, Stop, Superblock, check, sum};

/// Inodes are numbered by their places, in units of so many bytes.
const SLOT_LEN: u64 = 32;

/// Length of an inode, in bytes.
const LEN_SHORT: u64 = 32;
const LEN_LONG: u64 = 64;

/// Where the content of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In blocks one after another.
    Plain,
    /// The same, but the end is behind the inode.
    Inline,
    /// In clusters, with an index of 8 bytes for each block.
    Full,
    /// In clusters, with an index of 2 or 4 bytes for each block.
    Compact,
    /// In chunks that lie anywhere.
    Chunks,
}

/// What an inode says, as far as blocks are concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    /// Where the content is.
    pub(super) layout: Layout,
    /// Length of the content, in bytes.
    pub(super) len: u64,
    /// First block of the content, where it is plain.
    pub(super) block: u64,
    /// Where inode and attributes end in the image, in bytes.
    pub(super) end: u64,
}

impl Inode {
    /// Reads the inode of a number.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        superblock: &Superblock,
        number: u64,
    ) -> Parsed<Self> {
        check(number <= superblock.len / SLOT_LEN)?;
        let at = superblock.inodes + number * SLOT_LEN;
        reader.spend(LEN_LONG)?;
        let format = reader.u16(at)?;
        let layout = match format >> 1 & 7 {
            0 => Layout::Plain,
            1 => Layout::Full,
            2 => Layout::Inline,
            3 => Layout::Compact,
            4 => Layout::Chunks,
            _ => return Err(Stop::Malformed),
        };
        let (len, inode_len) = if format & 1 == 0 {
            (u64::from(reader.u32(at + 8)?), LEN_SHORT)
        } else {
            (reader.u64(at + 8)?, LEN_LONG)
        };
        let attributes_len = match reader.u16(at + 2)? {
            0 => 0,
            count => 12 + 4 * (u64::from(count) - 1),
        };
        let block = u64::from(reader.u32(at + 16)?);
        let end = sum(at, inode_len + attributes_len)?;
        check(end <= superblock.start + superblock.len)?;
        Ok(Self { layout, len, block, end })
    }

    /// Whether the content is in clusters.
    pub(super) fn is_compressed(&self) -> bool {
        matches!(self.layout, Layout::Full | Layout::Compact)
    }
}
