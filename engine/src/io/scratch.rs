//! A nameless file for what is too large to keep in memory, gone when it is closed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are appended by any thread and read at random.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Made when it is needed, in the folder for temporary files (`TMPDIR`).
    file: OnceLock<File>,
    len: AtomicU64,
}

impl Scratch {
    fn file(&self) -> io::Result<&File> {
        match self.file.get() {
            Some(file) => Ok(file),
            None => {
                let made = tempfile::tempfile()?;
                Ok(self.file.get_or_init(|| made))
            }
        }
    }

    /// Appends parts one behind the other; says where the first one starts.
    pub(crate) fn append(&self, parts: &[&[u8]]) -> io::Result<u64> {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        let start = self.len.fetch_add(len, Ordering::Relaxed);
        let mut at = start;
        for part in parts {
            self.file()?.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(start)
    }

    /// Fills `into` from byte `offset`.
    pub(crate) fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file()?.read_exact_at(into, offset)
    }
}
