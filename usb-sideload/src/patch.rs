//! A patch read straight from a stick: what is handed on is the very bytes that were verified, and
//! none is read twice.

use std::io::{self, Read};

use neap_depot::blob::Blob;
use neap_depot::limits::GROUP_LEN;

/// Reads a blob from its start to its end, on any thread.
#[derive(Debug)]
pub struct BlobInput {
    blob: Blob,
    /// Where in the blob what follows `block` begins.
    next: u64,
    /// Verified bytes, of which those from `at` on were not handed on yet.
    block: Vec<u8>,
    at: usize,
}

impl BlobInput {
    /// The blob, from its start.
    #[must_use]
    pub fn new(blob: Blob) -> Self {
        Self { blob, next: 0, block: Vec::new(), at: 0 }
    }
}

impl Read for BlobInput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            let left = usize::try_from(self.blob.len() - self.next).unwrap_or(usize::MAX);
            let mut block = std::mem::take(&mut self.block);
            block.resize(left.min(BLOCK_LEN), 0);
            self.at = 0;
            self.blob.read_at(self.next, &mut block)?;
            self.next += block.len() as u64;
            self.block = block;
        }
        let rest = &self.block[self.at..];
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

/// What is read and verified at once.
const BLOCK_LEN: usize = 8 * GROUP_LEN;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use neap_depot::depot::Depot;
    use neap_depot::directory::Directory;
    use neap_depot::memory::Memory;
    use neap_depot::writer::Present;

    use super::*;

    #[test]
    fn all_is_read_and_a_wrong_byte_ends_it_before_it_is_handed_on() {
        for len in [0, 1, GROUP_LEN, BLOCK_LEN - 1, BLOCK_LEN, BLOCK_LEN + 1, 3 * BLOCK_LEN + 5] {
            let bytes: Vec<u8> = (0..len).map(|i| (i / 91).to_le_bytes()[0]).collect();
            let memory = Memory::default();
            let depot = Depot::new(Box::new(Directory::new(memory.clone())));
            let writer = depot.writer("test").expect("free");
            let added = writer.add(&mut Cursor::new(&bytes), Present::Verify).expect("added");
            let input = || {
                let blob = depot.blob(&added.digest).expect("whole").expect("it is there");
                BlobInput::new(blob)
            };
            let mut read = Vec::new();
            input().read_to_end(&mut read).expect("read");
            assert!(read == bytes, "{len}");
            if len > 0 {
                memory.flip("blobs", &added.digest.to_string(), len - 1);
                let mut read = Vec::new();
                input().read_to_end(&mut read).expect_err("a byte is wrong");
                assert!(bytes.starts_with(&read) && read.len() < len, "{len}");
            }
        }
    }
}
