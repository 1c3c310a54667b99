//! A nameless file for what is too large to keep in memory, gone when it is closed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are appended by any thread and read at random.
#[derive(Debug)]
pub(crate) struct Scratch {
    file: File,
    len: AtomicU64,
}

impl Scratch {
    /// An empty one, in the folder for temporary files (`TMPDIR`).
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, len: AtomicU64::new(0) })
    }

    /// Appends parts one behind the other; says where the first one starts.
    pub(crate) fn append(&self, parts: &[&[u8]]) -> io::Result<u64> {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        let start = self.len.fetch_add(len, Ordering::Relaxed);
        let mut at = start;
        for part in parts {
            self.file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(start)
    }

    /// Fills `into` from byte `offset`.
    pub(crate) fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}
