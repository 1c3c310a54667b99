//! erofs: the compressed clusters of all files.
//!
//! As in the kernel's `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h` (6.12). The
//! tree is walked from its root, each directory once; the index of each compressed file (`index`)
//! tells where its clusters are. Those of lz4 that lie behind each other become one block, as the
//! encoder cut the file where a cluster was full. Tails inside of metadata are left out.

mod index;
mod inode;
mod tree;

use std::ops::Range;

use super::Hit;
use super::blocks::Blocks;
use super::reader::{Parsed, Reader, Stop, check, le16, le32, le64, sum};
use crate::unpack::{Block, Codec};
use index::Cluster;
use inode::{Inode, Layout};

/// Where the superblock is, in bytes from the start of the file system.
const SUPERBLOCK_AT: u64 = 1024;

/// Length of the superblock, in bytes.
const SUPERBLOCK_LEN: usize = 128;

/// Features without which a file system must not be read, as far as we know them: zeros before a
/// cluster's bytes, settings of codecs and large clusters, chunks, a second codec and other
/// devices, tails in metadata, fragments, prefixes of attributes.
const FEATURE_ZEROS: u32 = 0x1;
const FEATURE_SETTINGS: u32 = 0x2;
const FEATURE_FRAGMENTS: u32 = 0x20;
const FEATURES: u32 = 0x7f;

/// Codecs by their numbers in the index.
const LZ4: u8 = 0;
const LZMA: u8 = 1;
const DEFLATE: u8 = 2;
const ZSTD: u8 = 3;

/// Finds the blocks of a file system whose magic is at `magic`.
pub(super) fn find(reader: &mut Reader<'_>, magic: u64) -> Parsed<Hit> {
    let start = magic.checked_sub(SUPERBLOCK_AT).ok_or(Stop::Malformed)?;
    let superblock = Superblock::read(reader, start)?;
    let mut blocks = Blocks::new(reader.size());
    let mut stretches = Vec::new();
    for file in tree::files(reader, &superblock)? {
        match add_file(reader, &superblock, file, &mut blocks, &mut stretches) {
            // A file that makes no sense says nothing about others.
            Ok(()) | Err(Stop::Malformed) => {}
            Err(stop) => return Err(stop),
        }
    }
    Ok(Hit { stretches, ..Hit::new("erofs", start, superblock.len, blocks) })
}

/// What the superblock says; offsets count from the start of the image.
#[derive(Debug, Clone, Copy)]
struct Superblock {
    start: u64,
    len: u64,
    block_log2: u8,
    /// Where the inodes are counted from.
    inodes: u64,
    root: u64,
    /// The inode whose content is ends of files.
    fragments: Option<u64>,
    /// Whether clusters end where they should and begin with zeros.
    is_padded: bool,
    /// Longest cluster of lz4, in bytes.
    cluster_len_max: u64,
    /// Dictionary of LZMA, in bytes.
    dict_size: u32,
}

impl Superblock {
    fn read(reader: &mut Reader<'_>, start: u64) -> Parsed<Self> {
        let at = start + SUPERBLOCK_AT;
        let bytes: [u8; SUPERBLOCK_LEN] = reader.array(at)?;
        let (block_log2, slots) = (bytes[12], bytes[13]);
        let features = le32(&bytes, 80);
        check((9..=16).contains(&block_log2) && bytes[90] == 0 && features & !FEATURES == 0)?;
        let len = u64::from(le32(&bytes, 36)) << block_log2;
        // The last block of an image may be cut.
        check(len > 0 && sum(start, len)? <= reader.size() + (1 << block_log2))?;
        let mut superblock = Self {
            start,
            len: len.min(reader.size() - start),
            block_log2,
            inodes: start + (u64::from(le32(&bytes, 40)) << block_log2),
            root: u64::from(le16(&bytes, 14)),
            fragments: (features & FEATURE_FRAGMENTS != 0).then(|| le64(&bytes, 96)),
            is_padded: features & FEATURE_ZEROS != 0,
            cluster_len_max: 1 << block_log2,
            dict_size: 0,
        };
        if features & FEATURE_SETTINGS != 0 {
            let settings = at + SUPERBLOCK_LEN as u64 + 16 * u64::from(slots);
            superblock.read_settings(reader, settings, le16(&bytes, 84))?;
        }
        Ok(superblock)
    }

    /// Reads the settings of codecs, in the order of their numbers, each behind its length.
    fn read_settings(&mut self, reader: &mut Reader<'_>, at: u64, codecs: u16) -> Parsed<()> {
        let mut at = at;
        for codec in [LZ4, LZMA] {
            if codecs & 1 << codec == 0 {
                continue;
            }
            let len = u64::from(reader.u16(at)?);
            if codec == LZ4 {
                // The longest distance, and the largest cluster.
                self.cluster_len_max = u64::from(reader.u16(at + 4)?).max(1) << self.block_log2;
            } else {
                self.dict_size = reader.u32(at + 2)?;
            }
            at += 2 + len;
        }
        Ok(())
    }

    fn block_len(&self) -> u64 {
        1 << self.block_log2
    }

    /// Where a block of the file system is in the image.
    fn block(&self, index: u64) -> Parsed<u64> {
        check(index <= self.len >> self.block_log2)?;
        Ok(self.start + (index << self.block_log2))
    }
}

/// Adds the blocks of a file, if it is compressed; if its end is behind its inode, adds what lies
/// before that elsewhere.
fn add_file(
    reader: &mut Reader<'_>,
    superblock: &Superblock,
    file: u64,
    blocks: &mut Blocks,
    stretches: &mut Vec<Range<u64>>,
) -> Parsed<()> {
    let inode = Inode::read(reader, superblock, file)?;
    let whole_blocks_len = inode.len / superblock.block_len() * superblock.block_len();
    if inode.layout == Layout::Inline && (1..inode.len).contains(&whole_blocks_len) {
        let start = superblock.block(inode.block)?;
        stretches.push(start..sum(start, whole_blocks_len)?);
    }
    if !inode.is_compressed() || !superblock.is_padded {
        return Ok(());
    }
    let clusters = index::clusters(reader, superblock, &inode)?;
    if let Some(first) = clusters.first() {
        blocks.add_files(&[first.offset]);
    }
    add_runs(superblock, &clusters, blocks);
    // What is stored counts where it is a part of a file of which others are packed.
    if clusters.iter().any(|cluster| cluster.codec != index::STORED) {
        add_stored(&clusters, blocks);
    }
    for cluster in &clusters {
        let codec = match cluster.codec {
            DEFLATE => Codec::Deflate,
            ZSTD => Codec::Zstd,
            LZMA => {
                let Superblock { dict_size, .. } = *superblock;
                let Ok(plain_len @ 1..) = u32::try_from(cluster.plain_len) else { continue };
                Codec::LzmaCluster { dict_size, plain_len }
            }
            _ => continue,
        };
        let block_len = usize::try_from(superblock.block_len()).map_err(|_| Stop::Malformed)?;
        let first = reader.bytes(cluster.offset, block_len)?;
        let Some(zeros) = first.iter().position(|&byte| byte != 0) else { continue };
        let (offset, len) = (cluster.offset + zeros as u64, cluster.len - zeros as u64);
        blocks.add(Block { offset, len, codec });
    }
    Ok(())
}

/// Adds what is stored, as few blocks.
fn add_stored(clusters: &[Cluster], blocks: &mut Blocks) {
    let stored = |cluster: &Cluster| cluster.codec == index::STORED;
    let joins = |one: &Cluster, next: &Cluster| {
        stored(one) && stored(next) && one.offset + one.len == next.offset
    };
    for run in clusters.chunk_by(joins).filter(|run| stored(&run[0])) {
        let len = run.iter().map(|cluster| cluster.len).sum();
        blocks.add(Block { offset: run[0].offset, len, codec: Codec::Stored });
    }
}

/// Adds the clusters of lz4 as runs: all of a run have the same length, but the last may be short.
fn add_runs(superblock: &Superblock, clusters: &[Cluster], blocks: &mut Blocks) {
    let packed = clusters.iter().filter(|cluster| cluster.codec == LZ4);
    let longest = packed.clone().map(|cluster| cluster.len).max().unwrap_or(0);
    // A file's only cluster may have had room to be longer.
    let is_told = packed.clone().count() > 1 && longest.is_power_of_two();
    let full = if is_told { longest } else { longest.max(superblock.cluster_len_max) };
    let full = full.next_power_of_two();
    let Ok(cluster_log2) = u8::try_from(full.ilog2()) else { return };
    let codec = Codec::Lz4Clusters { cluster_log2 };
    let mut run: Option<Block> = None;
    for cluster in clusters {
        // Clusters that were taken already are those of a file with the same content.
        let is_new = cluster.codec == LZ4 && blocks.is_free(cluster.offset, cluster.len);
        match &mut run {
            Some(run)
                if is_new
                    && run.offset + run.len == cluster.offset
                    && run.len.is_multiple_of(full) =>
            {
                run.len += cluster.len;
            }
            _ => {
                run.take().map(|run| blocks.add(run));
                let Cluster { offset, len, .. } = *cluster;
                run = is_new.then_some(Block { offset, len, codec });
            }
        }
    }
    run.map(|run| blocks.add(run));
}
