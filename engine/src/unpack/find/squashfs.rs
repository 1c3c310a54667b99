//! Squashfs 4.0: data blocks, fragment blocks and metadata blocks.
//!
//! As in the kernel's `Documentation/filesystems/squashfs.rst` and `fs/squashfs/squashfs_fs.h`. The
//! inode table is unpacked and read from its first inode to its last: each file has its first
//! block's offset and a list of the sizes of all. No directory is followed, so there are no cycles,
//! and every byte of metadata is unpacked once.

use super::blocks::{BLOCK_WORK, Blocks, count_max};
use super::reader::{Parsed, Reader, Stop, check, le16, le32, le64, sum};
use super::{Hit, NotFollowed};
use crate::unpack::{Block, Codec};

/// Plain bytes of a metadata block, all but the last of a table.
const METADATA_LEN: usize = 8192;

/// Bit of a metadata block's header: it is stored as it is.
const METADATA_STORED: u16 = 1 << 15;

/// Bit of a data block's size: it is stored as it is.
const DATA_STORED: u32 = 1 << 24;

/// Offset of a table that is not there.
const NONE: u64 = u64::MAX;

/// "No fragment" in an inode.
const NO_FRAGMENT: u32 = u32::MAX;

/// Length of the superblock, in bytes.
const SUPERBLOCK_LEN: usize = 96;

/// Finds the blocks of a file system that starts at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let superblock = Superblock::read(reader, offset)?;
    let blocks = Blocks::new(reader.size());
    let Some(codec) = superblock.codec else {
        let hit = Hit::new("squashfs", offset, superblock.len, blocks);
        return Ok(hit.without(Some(NotFollowed::Lzo)));
    };
    let mut walk = Walk { blocks, superblock, codec, reader };
    walk.metadata()?;
    walk.fragments()?;
    walk.inodes()?;
    let Walk { blocks, superblock, .. } = walk;
    Ok(Hit::new("squashfs", offset, superblock.len, blocks))
}

/// What the superblock says; offsets count from the start of the image.
#[derive(Debug, Clone, Copy)]
struct Superblock {
    start: u64,
    len: u64,
    inode_count: u32,
    block_log2: u16,
    fragment_count: u32,
    id_count: u16,
    /// None is lzo.
    codec: Option<Codec>,
    inode_table: u64,
    directory_table: u64,
    fragment_index: Option<u64>,
    export_index: Option<u64>,
    id_index: u64,
    xattr_index: Option<u64>,
}

impl Superblock {
    fn read(reader: &mut Reader<'_>, start: u64) -> Parsed<Self> {
        let bytes: [u8; SUPERBLOCK_LEN] = reader.array(start)?;
        let codec = match le16(&bytes, 20) {
            1 => Some(Codec::Zlib),
            2 => Some(Codec::Lzma),
            3 => None,
            4 => Some(Codec::Xz),
            5 => Some(Codec::Lz4),
            6 => Some(Codec::Zstd),
            _ => return Err(Stop::Malformed),
        };
        let block_log2 = le16(&bytes, 22);
        check((12..=20).contains(&block_log2) && le32(&bytes, 12) == 1 << block_log2)?;
        check((le16(&bytes, 28), le16(&bytes, 30)) == (4, 0))?;
        let len = le64(&bytes, 40);
        check(sum(start, len)? <= reader.size() && len > SUPERBLOCK_LEN as u64)?;
        let table = |at: usize| -> Parsed<u64> {
            let table = le64(&bytes, at);
            check((SUPERBLOCK_LEN as u64..len).contains(&table))?;
            Ok(start + table)
        };
        let optional = |at: usize| -> Parsed<Option<u64>> {
            if le64(&bytes, at) == NONE { Ok(None) } else { table(at).map(Some) }
        };
        let fragment_count = le32(&bytes, 16);
        let superblock = Self {
            start,
            len,
            inode_count: le32(&bytes, 4),
            block_log2,
            fragment_count,
            id_count: le16(&bytes, 26),
            codec,
            inode_table: table(64)?,
            directory_table: table(72)?,
            // Without fragments, some writers leave an offset that leads nowhere.
            fragment_index: if fragment_count == 0 { None } else { optional(80)? },
            export_index: optional(88)?,
            id_index: table(48)?,
            xattr_index: optional(56)?,
        };
        check(superblock.inode_table < superblock.directory_table)?;
        Ok(superblock)
    }

    /// Where the file system ends.
    fn end(&self) -> u64 {
        self.start + self.len
    }
}

struct Walk<'a, 'b> {
    reader: &'a mut Reader<'b>,
    superblock: Superblock,
    codec: Codec,
    blocks: Blocks,
}

impl Walk<'_, '_> {
    /// Adds the metadata blocks of all tables.
    fn metadata(&mut self) -> Parsed<()> {
        let Superblock { directory_table, id_index, .. } = self.superblock;
        let mut after_directories = id_index;
        for index in self.indexes()? {
            // An index is an array of offsets of the metadata blocks right before it.
            let (first, index) = index;
            if first > directory_table {
                after_directories = after_directories.min(first);
            }
            self.metadata_blocks(first, index)?;
        }
        self.metadata_blocks(self.superblock.inode_table, directory_table)?;
        self.metadata_blocks(directory_table, after_directories)
    }

    /// Where the first metadata block of each indexed table is, and where its index is.
    fn indexes(&mut self) -> Parsed<Vec<(u64, u64)>> {
        let superblock = self.superblock;
        let mut indexes = Vec::new();
        let plain = [superblock.fragment_index, superblock.export_index, Some(superblock.id_index)];
        for index in plain.into_iter().flatten() {
            indexes.push((self.first_of(index)?, index));
        }
        if superblock.id_count == 0 {
            indexes.pop();
        }
        if let Some(header) = superblock.xattr_index {
            // Names and values come first, then the table that the offsets behind its header name.
            let values = sum(superblock.start, self.reader.u64(header)?)?;
            let index = header + 16;
            if self.reader.u32(header + 8)? != 0 {
                let first = self.first_of(index)?;
                check(values <= first)?;
                indexes.extend([(values, first), (first, header)]);
            }
        }
        Ok(indexes)
    }

    fn first_of(&mut self, index: u64) -> Parsed<u64> {
        let first = sum(self.superblock.start, self.reader.u64(index)?)?;
        check(first < index)?;
        Ok(first)
    }

    /// Adds the metadata blocks between two offsets.
    fn metadata_blocks(&mut self, start: u64, end: u64) -> Parsed<()> {
        let codec = self.codec;
        let mut at = start;
        while at < end {
            let header = Header::read(self.reader, at)?;
            self.reader.spend(BLOCK_WORK)?;
            check(header.end <= end)?;
            if !header.is_stored {
                self.blocks.add(Block { offset: at + 2, len: header.end - at - 2, codec });
            }
            at = header.end;
        }
        Ok(())
    }

    /// Adds the blocks that hold ends of files.
    fn fragments(&mut self) -> Parsed<()> {
        let Some(index) = self.superblock.fragment_index else { return Ok(()) };
        let first = self.first_of(index)?;
        let mut table = Table::new(self.codec, first, index);
        for _ in 0..self.superblock.fragment_count {
            let entry = table.take(self.reader, 16)?;
            let (start, size) = (le64(entry, 0), le32(entry, 8));
            // What is stored is no part of a file of which others are packed.
            let block = self.data_block(sum(self.superblock.start, start)?, size)?;
            if let Some(block) = block.filter(|block| block.codec != Codec::Stored) {
                self.blocks.add(block);
            }
        }
        Ok(())
    }

    /// Adds the data blocks of all files.
    fn inodes(&mut self) -> Parsed<()> {
        let Superblock { inode_table, directory_table, .. } = self.superblock;
        let mut table = Table::new(self.codec, inode_table, directory_table);
        for _ in 0..self.superblock.inode_count {
            self.inode(&mut table)?;
        }
        Ok(())
    }

    fn inode(&mut self, table: &mut Table) -> Parsed<()> {
        let reader = &mut *self.reader;
        let kind = le16(table.take(reader, 16)?, 0);
        match kind {
            // Directories.
            1 => table.skip(reader, 16),
            8 => {
                let fixed = table.take(reader, 24)?;
                for _ in 0..le16(fixed, 16) {
                    let entry = table.take(reader, 12)?;
                    // The length of a name is one less than it is.
                    let name_len = u64::from(le32(entry, 8)) + 1;
                    table.skip(reader, name_len)?;
                }
                Ok(())
            }
            2 => {
                let fixed = table.take(reader, 16)?;
                let (start, fragment) = (u64::from(le32(fixed, 0)), le32(fixed, 4));
                let len = u64::from(le32(fixed, 12));
                self.file(table, start, fragment, len)
            }
            9 => {
                let fixed = table.take(reader, 40)?;
                let (start, len, fragment) = (le64(fixed, 0), le64(fixed, 8), le32(fixed, 28));
                self.file(table, start, fragment, len)
            }
            // Symbolic links; the second kind has attributes behind its path.
            3 | 10 => {
                let path_len = u64::from(le32(table.take(reader, 8)?, 4));
                table.skip(reader, path_len + if kind == 10 { 4 } else { 0 })
            }
            // Devices, then pipes and sockets; the second kinds have attributes.
            4 | 5 => table.skip(reader, 8),
            6 | 7 => table.skip(reader, 4),
            11 | 12 => table.skip(reader, 12),
            13 | 14 => table.skip(reader, 8),
            _ => Err(Stop::Malformed),
        }
    }

    /// Adds the blocks of a file, whose sizes come next in the table.
    fn file(&mut self, table: &mut Table, start: u64, fragment: u32, len: u64) -> Parsed<()> {
        let block_len = 1 << self.superblock.block_log2;
        let count = if fragment == NO_FRAGMENT { len.div_ceil(block_len) } else { len / block_len };
        let mut at = sum(self.superblock.start, start)?;
        if count > 0 {
            self.blocks.add_files(&[at]);
        }
        // What is more than can be added is not gathered, either.
        let count_max = usize::try_from(count_max(self.reader.size())).unwrap_or(usize::MAX);
        let mut blocks = Vec::new();
        for _ in 0..count {
            let size = le32(table.take(self.reader, 4)?, 0);
            if blocks.len() < count_max {
                blocks.extend(self.data_block(at, size)?);
            }
            at = sum(at, u64::from(size & !DATA_STORED))?;
        }
        // A file that is stored whole is looked through like bytes of no file system.
        if blocks.iter().any(|block| block.codec != Codec::Stored) {
            // Files that are alike have their blocks in common.
            for block in blocks {
                self.blocks.add(block);
            }
        }
        Ok(())
    }

    /// A data block; the size has a bit for one that is stored, and is 0 for a hole.
    fn data_block(&mut self, offset: u64, size: u32) -> Parsed<Option<Block>> {
        let len = u64::from(size & !DATA_STORED);
        self.reader.spend(if len > 0 { BLOCK_WORK } else { 0 })?;
        check(len <= 1 << self.superblock.block_log2)?;
        check(len == 0 || sum(offset, len)? <= self.superblock.end())?;
        let is_stored = size & DATA_STORED != 0;
        let codec = if is_stored { Codec::Stored } else { self.codec };
        Ok((len > 0).then_some(Block { offset, len, codec }))
    }
}

/// What stands before a metadata block.
struct Header {
    is_stored: bool,
    end: u64,
}

impl Header {
    fn read(reader: &mut Reader<'_>, at: u64) -> Parsed<Self> {
        let header = reader.u16(at)?;
        let len = header & !METADATA_STORED;
        check((1..=METADATA_LEN).contains(&usize::from(len)))?;
        Ok(Self { is_stored: header & METADATA_STORED != 0, end: sum(at, 2 + u64::from(len))? })
    }
}

/// The plain bytes of a run of metadata blocks, from first to last.
struct Table {
    codec: Codec,
    at: u64,
    end: u64,
    plain: Vec<u8>,
    used: usize,
}

impl Table {
    fn new(codec: Codec, at: u64, end: u64) -> Self {
        Self { codec, at, end, plain: Vec::new(), used: 0 }
    }

    /// The next `len` bytes, which are fewer than a metadata block has.
    fn take(&mut self, reader: &mut Reader<'_>, len: usize) -> Parsed<&[u8]> {
        while self.plain.len() - self.used < len {
            self.next(reader)?;
        }
        self.used += len;
        Ok(&self.plain[self.used - len..self.used])
    }

    fn skip(&mut self, reader: &mut Reader<'_>, len: u64) -> Parsed<()> {
        let mut left = len;
        loop {
            let there = (self.plain.len() - self.used) as u64;
            if left <= there {
                self.used += usize::try_from(left).map_err(|_| Stop::Malformed)?;
                return Ok(());
            }
            left -= there;
            self.used = self.plain.len();
            self.next(reader)?;
        }
    }

    /// Unpacks the next metadata block.
    fn next(&mut self, reader: &mut Reader<'_>) -> Parsed<()> {
        check(self.at < self.end)?;
        let header = Header::read(reader, self.at)?;
        check(header.end <= self.end)?;
        let len = usize::try_from(header.end - self.at - 2).map_err(|_| Stop::Malformed)?;
        let packed = reader.bytes(self.at + 2, len)?;
        self.plain.drain(..self.used);
        self.used = 0;
        if header.is_stored {
            self.plain.extend_from_slice(packed);
        } else {
            let plain = self.codec.unpack(packed, METADATA_LEN).map_err(|_| Stop::Malformed)?;
            self.plain.extend_from_slice(&plain);
        }
        self.at = header.end;
        reader.spend(METADATA_LEN as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Source;

    /// A file system whose tables are `inodes`, stored, directories without bytes and an identity,
    /// with `data` in front of them.
    fn image(data: &[u8], inodes: &[u8], inode_count: u32) -> Vec<u8> {
        let mut image = vec![0; SUPERBLOCK_LEN];
        image.extend(data);
        let inode_table = image.len() as u64;
        for piece in inodes.chunks(METADATA_LEN) {
            let len = u16::try_from(piece.len()).expect("it is 8 KiB at most");
            image.extend((len | METADATA_STORED).to_le_bytes());
            image.extend(piece);
        }
        let directories = image.len() as u64;
        image.extend((1 | METADATA_STORED).to_le_bytes());
        image.extend([0]);
        let index = image.len() as u64;
        image.extend(directories.to_le_bytes());
        let len = image.len() as u64;
        image[..4].copy_from_slice(b"hsqs");
        image[4..8].copy_from_slice(&inode_count.to_le_bytes());
        image[12..16].copy_from_slice(&(1_u32 << 12).to_le_bytes());
        (image[20], image[22], image[26], image[28]) = (1, 12, 1, 4);
        image[40..48].copy_from_slice(&len.to_le_bytes());
        image[48..56].copy_from_slice(&index.to_le_bytes());
        image[56..64].fill(0xff);
        image[64..72].copy_from_slice(&inode_table.to_le_bytes());
        image[72..80].copy_from_slice(&directories.to_le_bytes());
        image[80..96].fill(0xff);
        image
    }

    /// A file of so many blocks of `size`, the first of which is right behind the superblock.
    fn file(count: u32, size: u32) -> Vec<u8> {
        let mut inode = vec![0; 16];
        inode[0] = 2;
        let start = u32::try_from(SUPERBLOCK_LEN).expect("it is short");
        inode.extend([start, NO_FRAGMENT, 0, count << 12].into_iter().flat_map(u32::to_le_bytes));
        inode.extend(size.to_le_bytes().repeat(count as usize));
        inode
    }

    fn work_of(image: &dyn Source, work: u64) -> (Parsed<Hit>, u64) {
        let mut reader = Reader::new(image, work);
        let found = find(&mut reader, 0);
        (found, work - reader.work_left())
    }

    /// Four bytes of a table made a block of 48 bytes, and cost what four bytes of work do: 64 MiB
    /// of image took 3 GB. Each costs what adding it takes.
    #[test]
    fn blocks_of_a_file_cost_work() {
        const COUNT: u32 = 10_000;
        let image = image(&[0; COUNT as usize], &file(COUNT, 1), 1);
        let (found, work) = work_of(&image, u64::MAX);
        assert_eq!(found.expect("it is sound").container.block_count, COUNT.into());
        assert!(work > u64::from(COUNT) * BLOCK_WORK, "{work}");
        let (found, _) = work_of(&image, u64::from(COUNT) * BLOCK_WORK);
        assert!(matches!(found, Err(Stop::Spent)));
    }

    #[test]
    fn holes_of_a_file_cost_no_work_and_are_no_blocks() {
        let (found, work) = work_of(&image(&[], &file(100_000, 0), 1), u64::MAX);
        assert_eq!(found.expect("it is sound").container.block_count, 0);
        assert!(work < 3_000_000, "{work}");
    }

    /// Blocks of metadata of one byte took a place in a tree for four bytes of work.
    #[test]
    fn blocks_of_metadata_cost_work() {
        const COUNT: u64 = 10_000;
        let mut image = image(&[], &[0; 3], 0);
        let (start, end) = (SUPERBLOCK_LEN as u64, SUPERBLOCK_LEN as u64 + 3 * COUNT);
        // The inodes' table goes on up to the directories': what is between is a byte each.
        let tail = image.split_off(SUPERBLOCK_LEN + 5);
        image.truncate(SUPERBLOCK_LEN);
        image.extend([1, 0, 0].repeat(usize::try_from(COUNT).expect("it is small")));
        image.extend(&tail[..3]);
        image.extend(end.to_le_bytes());
        let len = image.len() as u64;
        image[40..48].copy_from_slice(&len.to_le_bytes());
        image[48..56].copy_from_slice(&(end + 3).to_le_bytes());
        image[64..72].copy_from_slice(&start.to_le_bytes());
        image[72..80].copy_from_slice(&end.to_le_bytes());
        let (found, work) = work_of(&image, u64::MAX);
        assert_eq!(found.expect("it is sound").container.block_count, COUNT);
        assert!(work > COUNT * BLOCK_WORK, "{work}");
    }
}
