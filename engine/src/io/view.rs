//! The source's view on a device: the source, and behind it what its blocks unpack to.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Source;
use crate::format::Blocks;
use crate::limits::UNPACKED_KEPT;

/// Reads a source's view; unpacks blocks as they are needed, and keeps the last ones.
pub(super) struct SourceView<'a> {
    source: &'a dyn Source,
    source_size: u64,
    blocks: &'a Blocks,
    kept: Mutex<Kept>,
}

/// Blocks that were unpacked lately, by their index, the latest at the end.
#[derive(Default)]
struct Kept {
    plains: VecDeque<(usize, Arc<Vec<u8>>)>,
    len: u64,
}

impl<'a> SourceView<'a> {
    pub(super) fn new(source: &'a dyn Source, source_size: u64, blocks: &'a Blocks) -> Self {
        Self { source, source_size, blocks, kept: Mutex::default() }
    }

    /// What the block with this index unpacks to. Blocks lie in earlier ones only, three deep at
    /// most.
    fn plain(&self, index: usize) -> io::Result<Arc<Vec<u8>>> {
        if let Some(plain) = self.kept().find(index) {
            return Ok(plain);
        }
        let block = self.blocks.source[index];
        self.kept().make_room(block.plain_len);
        let mut packed = vec![0; in_memory(block.len)];
        self.read_at(block.offset, &mut packed)?;
        let codec = self.blocks.methods[block.method as usize].codec();
        let plain = codec.unpack(&packed, in_memory(block.plain_len)).map_err(io::Error::other)?;
        if plain.len() as u64 != block.plain_len {
            return Err(io::Error::other("a block of the source has another plain length"));
        }
        let plain = Arc::new(plain);
        self.kept().keep(index, &plain);
        Ok(plain)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics with the lock")
    }
}

impl Source for SourceView<'_> {
    fn size(&self) -> u64 {
        self.blocks.source_view_size(self.source_size)
    }

    fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            let room = |end: u64| in_memory(end - offset).min(into.len());
            let len = if offset < self.source_size {
                let len = room(self.source_size);
                self.source.read_at(offset, &mut into[..len])?;
                len
            } else if let Some(index) = self.blocks.source_block_at(offset) {
                let block = self.blocks.source[index];
                let len = room(block.view_end());
                let plain = self.plain(index)?;
                let from = in_memory(offset - block.view_offset);
                into[..len].copy_from_slice(&plain[from..from + len]);
                len
            } else {
                // Between blocks there are zeros.
                let next = self.blocks.source.partition_point(|block| block.view_offset <= offset);
                let next = self.blocks.source.get(next).ok_or(io::ErrorKind::UnexpectedEof)?;
                let len = room(next.view_offset);
                into[..len].fill(0);
                len
            };
            into = &mut into[len..];
            offset += len as u64;
        }
        Ok(())
    }
}

impl Kept {
    fn find(&mut self, index: usize) -> Option<Arc<Vec<u8>>> {
        let place = self.plains.iter().rposition(|(kept, _)| *kept == index)?;
        let found = self.plains.remove(place)?;
        let plain = Arc::clone(&found.1);
        self.plains.push_back(found);
        Some(plain)
    }

    fn keep(&mut self, index: usize, plain: &Arc<Vec<u8>>) {
        // The other thread may have been as fast.
        if self.find(index).is_some() {
            return;
        }
        self.len += plain.len() as u64;
        self.plains.push_back((index, Arc::clone(plain)));
    }

    /// Forgets the oldest, so that with so many bytes more no more are kept than may be.
    fn make_room(&mut self, len: u64) {
        while self.len.saturating_add(len) > UNPACKED_KEPT
            && let Some((_, plain)) = self.plains.pop_front()
        {
            self.len -= plain.len() as u64;
        }
    }
}

/// Lengths that the limits keep below what is held in memory.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
