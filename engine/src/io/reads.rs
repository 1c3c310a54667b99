//! Short reads of the source, from blocks that are read whole: copies are often short, and near
//! each other.

use std::io;

use super::Source;
use crate::limits::SOURCE_BLOCK;

/// Reads a source that nobody writes to.
pub(super) struct Reads<'a> {
    source: &'a dyn Source,
    /// Blocks by the last bits of their numbers: which one it is, and its bytes.
    blocks: Vec<(Option<u64>, Vec<u8>)>,
}

/// How many blocks are kept: 256 KiB.
const BLOCKS_MAX: u64 = 64;

/// Longest read across the border of a block that is taken from both, in bytes.
const ACROSS_MAX: usize = 1024;

impl<'a> Reads<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Self {
        let blocks = (0..BLOCKS_MAX).map(|_| (None, Vec::new())).collect();
        Self { source, blocks }
    }

    /// As [`Source::read_at`], if the blocks of [`SOURCE_BLOCK`] bytes around can be read: what a
    /// patch may copy from is whole blocks.
    pub(super) fn read_at(&mut self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        let room = SOURCE_BLOCK - offset % SOURCE_BLOCK;
        if into.len() > ACROSS_MAX && into.len() as u64 > room {
            return self.source.read_at(offset, into);
        }
        while !into.is_empty() {
            let block = self.block(offset / SOURCE_BLOCK)?;
            let bytes = block.get(index(offset % SOURCE_BLOCK)..).unwrap_or_default();
            let len = bytes.len().min(into.len());
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (front, rest) = into.split_at_mut(len);
            front.copy_from_slice(&bytes[..len]);
            (offset, into) = (offset + len as u64, rest);
        }
        Ok(())
    }

    /// The block with this number, as far as the source has it.
    fn block(&mut self, number: u64) -> io::Result<&[u8]> {
        let (known, bytes) = &mut self.blocks[index(number % BLOCKS_MAX)];
        if *known != Some(number) {
            let start = number * SOURCE_BLOCK;
            let len = self.source.size().saturating_sub(start).min(SOURCE_BLOCK);
            *known = None;
            bytes.resize(index(len), 0);
            self.source.read_at(start, bytes)?;
            *known = Some(number);
        }
        Ok(bytes)
    }
}

/// Numbers below those of a block.
fn index(number: u64) -> usize {
    usize::try_from(number).expect("a number within a block, or of one")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source of which one byte cannot be read.
    struct Broken(Vec<u8>, u64);

    impl Source for Broken {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            if (offset..offset + into.len() as u64).contains(&self.1) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.0.read_at(offset, into)
        }
    }

    #[test]
    fn any_read_is_as_from_the_source_or_fails_with_its_block() {
        let image: Vec<u8> = (0..150_000_u64).map(|i| ((i * i) >> 9).to_le_bytes()[0]).collect();
        let broken = 20_000;
        let source = Broken(image.clone(), broken);
        let mut reads = Reads::new(&source);
        for i in 0..40_000 {
            let (offset, len) = (i * 7919 % 160_000, index(i * 31 % 5000));
            let (mut made, mut expected) = (vec![0; len], vec![0; len]);
            let read = reads.read_at(offset, &mut made).map_err(|error| error.kind());
            let direct = source.read_at(offset, &mut expected).map_err(|error| error.kind());
            let blocks = offset / SOURCE_BLOCK..(offset + len as u64).div_ceil(SOURCE_BLOCK);
            if read != direct {
                assert_eq!(read, Err(io::ErrorKind::InvalidData), "{len} bytes at {offset}");
                assert!(blocks.contains(&(broken / SOURCE_BLOCK)), "{len} bytes at {offset}");
            }
            assert!(read.is_err() || made == expected, "{len} bytes at {offset}");
        }
    }
}
