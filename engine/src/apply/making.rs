//! The window under construction: bytes are appended to memory that was used before.

use super::later::Later;

/// Bytes of a window that are made, from the front on.
#[derive(Debug, Default)]
pub(super) struct Making {
    /// What is made, and behind it what an earlier window left, so that nothing is filled twice.
    bytes: Vec<u8>,
    len: usize,
    /// Bytes that the window will have at most. Its memory is taken at once: grown bit by bit, it
    /// would come to half as much again.
    len_max: usize,
    /// What of them is put off.
    pub(super) later: Later,
}

impl Making {
    /// An empty window in the memory of another.
    pub(super) fn in_memory_of(bytes: Vec<u8>, len_max: usize) -> Self {
        Self { bytes, len: 0, len_max, later: Later::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends `len` bytes of any value, which are to be filled.
    pub(super) fn more(&mut self, len: usize) -> &mut [u8] {
        let from = self.len;
        self.len += len;
        if self.bytes.len() < self.len {
            self.bytes.reserve_exact(self.len_max.saturating_sub(self.bytes.len()));
            self.bytes.resize(self.len, 0);
        }
        &mut self.bytes[from..self.len]
    }

    /// The last `len` bytes that were appended.
    pub(super) fn last(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.len - len..self.len]
    }

    /// All bytes that were appended, and what of them is put off.
    pub(super) fn take(&mut self) -> (Vec<u8>, Later) {
        let Self { mut bytes, len, later, .. } = std::mem::take(self);
        bytes.truncate(len);
        (bytes, later)
    }
}
