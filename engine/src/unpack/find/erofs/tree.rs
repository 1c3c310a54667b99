//! All files of an erofs, by walking its directories, each of them once.

use std::collections::HashSet;

use super::inode::Layout;
use super::{Inode, Parsed, Reader, Stop, Superblock, check, le16, le64, sum};
use crate::unpack::find::blocks::count_max;

/// Length of an entry of a directory, in bytes, without its name.
const ENTRY_LEN: usize = 12;

/// Kinds of entries.
const FILE: u8 = 1;
const DIRECTORY: u8 = 2;

/// Inode numbers of all files, in order. Memory is 8 bytes for each, bounded as that of blocks is.
pub(super) fn files(reader: &mut Reader<'_>, superblock: &Superblock) -> Parsed<Vec<u64>> {
    let entries_max = usize::try_from(count_max(reader.size())).unwrap_or(usize::MAX);
    let mut files: Vec<u64> = superblock.fragments.into_iter().collect();
    let mut seen = HashSet::from([superblock.root]);
    let mut waiting = vec![superblock.root];
    while let Some(directory) = waiting.pop() {
        let added = add_entries(reader, superblock, directory, |number, kind| {
            match kind {
                FILE => files.push(number),
                DIRECTORY if seen.insert(number) => waiting.push(number),
                _ => {}
            }
            files.len() + seen.len() < entries_max
        });
        match added {
            // A directory that makes no sense says nothing about others.
            Ok(()) | Err(Stop::Malformed) => {}
            Err(stop) => return Err(stop),
        }
    }
    // Files are looked at in the order of their inodes, and once.
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

/// Gives inode number and kind of all entries of a directory, as long as more are wanted.
fn add_entries(
    reader: &mut Reader<'_>,
    superblock: &Superblock,
    directory: u64,
    mut add: impl FnMut(u64, u8) -> bool,
) -> Parsed<()> {
    let inode = Inode::read(reader, superblock, directory)?;
    let block_len = superblock.block_len();
    for index in 0..inode.len.div_ceil(block_len) {
        let len = block_len.min(inode.len - index * block_len);
        let Some((at, len)) = block(superblock, &inode, index, len)? else { break };
        reader.spend(len as u64)?;
        let entries = reader.bytes(at, len)?;
        // Names come behind the entries; where the first is tells how many entries there are.
        check(entries.len() >= ENTRY_LEN)?;
        let names_at = usize::from(le16(entries, 8)).min(entries.len());
        for entry in entries[..names_at].chunks_exact(ENTRY_LEN) {
            if !add(le64(entry, 0), entry[10]) {
                return Err(Stop::Spent);
            }
        }
    }
    Ok(())
}

/// Where a block of a directory is, and its length; none if directories are not kept so.
fn block(
    superblock: &Superblock,
    inode: &Inode,
    index: u64,
    len: u64,
) -> Parsed<Option<(u64, usize)>> {
    let is_whole = len == superblock.block_len();
    let at = match inode.layout {
        Layout::Inline if !is_whole => inode.end,
        Layout::Plain | Layout::Inline => superblock.block(sum(inode.block, index)?)?,
        _ => return Ok(None),
    };
    Ok(Some((at, usize::try_from(len).map_err(|_| Stop::Malformed)?)))
}
