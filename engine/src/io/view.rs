//! The source's view on a device: the source, and behind it what its blocks unpack to.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Source;
use crate::format::unpack::kept_len;
use crate::format::{Blocks, SourceBlock};
use crate::limits::{UNPACK_WORK, UNPACKED_KEPT};
use crate::unpack::pack::in_memory;

/// Reads a source's view; unpacks blocks as they are needed, and keeps the last ones.
pub(super) struct SourceView<'a> {
    source: &'a dyn Source,
    source_size: u64,
    blocks: &'a Blocks,
    kept: Mutex<Kept>,
    /// Held by the thread that unpacks: what one takes is what is told beforehand.
    turn: Mutex<()>,
    /// Bytes that may still be unpacked.
    work_left: AtomicU64,
    /// Gives the system the memory of what is no longer kept: an allocator may have it in pieces
    /// that nothing fits into that comes next.
    give_back: fn(),
}

/// So many bytes that are no longer kept are worth that: it takes a millisecond.
const FORGOTTEN_LEN: u64 = 8 << 20;

/// Blocks that were unpacked lately, by their index, the latest at the end.
#[derive(Default)]
struct Kept {
    plains: VecDeque<(usize, Arc<Vec<u8>>)>,
    len: u64,
    /// Bytes of [`UNPACKED_KEPT`] that others have.
    lent: u64,
    /// Bytes that were forgotten since memory was given back.
    forgotten: u64,
}

impl<'a> SourceView<'a> {
    pub(super) fn new(
        source: &'a dyn Source,
        source_size: u64,
        blocks: &'a Blocks,
        give_back: fn(),
    ) -> Self {
        let work: u64 = blocks.source.iter().map(SourceBlock::work).sum();
        let work_left = AtomicU64::new(UNPACK_WORK * work);
        let (kept, turn) = (Mutex::default(), Mutex::default());
        Self { source, source_size, blocks, kept, turn, work_left, give_back }
    }

    /// What the block with this index unpacks to.
    fn plain(&self, index: usize) -> io::Result<Arc<Vec<u8>>> {
        if let Some(plain) = self.kept().find(index) {
            return Ok(plain);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.unpacked(index)
    }

    /// The same for the thread whose turn it is. Blocks lie in earlier ones only, three deep at
    /// most.
    fn unpacked(&self, index: usize) -> io::Result<Arc<Vec<u8>>> {
        // The other thread may just have made it.
        if let Some(plain) = self.kept().find(index) {
            return Ok(plain);
        }
        let block = self.blocks.source[index];
        let less = |left: u64| left.checked_sub(block.work());
        if self.work_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            return Err(io::Error::other("the patch unpacks the source over and over"));
        }
        let mut packed = vec![0; in_memory(block.len)];
        self.fill(block.offset, &mut packed, |outer| self.unpacked(outer))?;
        self.make_room(kept_len(block.plain_len));
        let method = &self.blocks.methods[block.method as usize];
        let plain = method.unpack(&packed, in_memory(block.plain_len));
        let mut plain = plain.map_err(io::Error::other)?;
        // Decoders take up to twice as much, and it is kept.
        plain.shrink_to_fit();
        if plain.len() as u64 != block.plain_len {
            return Err(io::Error::other("a block of the source has another plain length"));
        }
        let plain = Arc::new(plain);
        self.kept().keep(index, &plain);
        Ok(plain)
    }

    /// Gives memory to who packs: so many bytes less are kept from now on. The few blocks that are
    /// then missed are unpacked once more.
    pub(super) fn lend(&self, len: u64) {
        self.kept().lent = len;
        self.make_room(0);
    }

    fn make_room(&self, len: u64) {
        let mut kept = self.kept();
        kept.make_room(len);
        let is_much = kept.forgotten >= FORGOTTEN_LEN;
        if is_much {
            kept.forgotten = 0;
        }
        drop(kept);
        if is_much {
            (self.give_back)();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `into` from byte `offset` of the view, with what `plain` says of blocks.
    fn fill(
        &self,
        mut offset: u64,
        mut into: &mut [u8],
        plain: impl Fn(usize) -> io::Result<Arc<Vec<u8>>>,
    ) -> io::Result<()> {
        while !into.is_empty() {
            let room = |end: u64| in_memory(end - offset).min(into.len());
            let len = if offset < self.source_size {
                let len = room(self.source_size);
                self.source.read_at(offset, &mut into[..len])?;
                len
            } else if let Some(index) = self.blocks.source_block_at(offset) {
                let block = self.blocks.source[index];
                let len = room(block.view_end());
                let plain = plain(index)?;
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

impl Source for SourceView<'_> {
    fn size(&self) -> u64 {
        self.blocks.source_view_size(self.source_size)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.fill(offset, into, |index| self.plain(index))
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
        self.len += kept_len(plain.len() as u64);
        self.plains.push_back((index, Arc::clone(plain)));
    }

    /// Forgets the oldest, so that with so many bytes more no more are kept than may be.
    fn make_room(&mut self, len: u64) {
        while self.len.saturating_add(len) > UNPACKED_KEPT.saturating_sub(self.lent)
            && let Some((_, plain)) = self.plains.pop_front()
        {
            self.len -= kept_len(plain.len() as u64);
            self.forgotten += plain.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::codec::Method;

    /// Blocks are kept while packing one takes nothing, and not while it takes what they have; what
    /// is read is the same.
    #[test]
    fn what_is_lent_is_not_kept() {
        const LEN: u64 = 5000;
        const KEPT: u64 = LEN + LEN / 4;
        let source: Vec<u8> = (0..4 * LEN).map(|at| (at / 7).to_le_bytes()[0]).collect();
        let size = source.len() as u64;
        let block = |index| SourceBlock {
            offset: index * LEN,
            len: LEN,
            view_offset: size + index * LEN,
            plain_len: LEN,
            method: 0,
        };
        let methods = vec![Method::STORED];
        let blocks = Blocks { methods, source: (0..4).map(block).collect(), ..Blocks::default() };
        let view = SourceView::new(&source, size, &blocks, || ());
        let read = || {
            let mut made = vec![0; in_memory(size)];
            view.read_at(size, &mut made).expect("memory does not fail");
            assert!(made == source);
            view.kept().len
        };
        assert_eq!(read(), 4 * KEPT);
        view.lend(UNPACKED_KEPT - 2 * KEPT);
        assert_eq!(view.kept().len, 2 * KEPT);
        assert_eq!(read(), 2 * KEPT);
        view.lend(UNPACKED_KEPT + 1);
        assert_eq!(view.kept().len, 0);
        // The last one is in memory in any case.
        assert_eq!(read(), KEPT);
        view.lend(0);
        assert_eq!(read(), 4 * KEPT);
    }
}
