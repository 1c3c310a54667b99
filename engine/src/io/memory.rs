//! Images, patches and journals in memory, for tests and small files.

use std::io;

use super::{JournalStore, Patch, Source, Spool, Target};
use crate::journal::{SLOT_COUNT, SLOT_LEN};
use crate::window::Verified;

/// The error of a read or write past the end of something in memory.
fn past_end() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn range(offset: u64, len: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(len)?)
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = range(offset, into.len()).and_then(|range| self.get(range));
        into.copy_from_slice(bytes.ok_or_else(past_end)?);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, into)
    }
}

/// A patch in memory that can be skipped through.
#[derive(Debug)]
pub struct PatchBytes<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> PatchBytes<'a> {
    /// Stands at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Patch for PatchBytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.bytes.read_at(self.at, into)?;
        self.at += into.len() as u64;
        Ok(())
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        self.at = offset;
        Ok(())
    }
}

impl Spool for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn keep(&mut self, range: std::ops::Range<u64>) -> io::Result<()> {
        let place = |at| usize::try_from(at).expect("what was appended is in memory");
        self.truncate(place(range.end));
        self.drain(..place(range.start));
        Ok(())
    }
}

/// A target in memory that keeps everything.
#[derive(Debug, Default)]
pub struct MemoryTarget {
    /// What was written.
    pub bytes: Vec<u8>,
}

impl Target for MemoryTarget {
    fn size(&self) -> u64 {
        u64::MAX
    }

    fn resize(&mut self, size: u64) -> io::Result<()> {
        self.bytes.resize(usize::try_from(size).map_err(|_| past_end())?, 0);
        Ok(())
    }

    fn write(&mut self, window: &Verified) -> io::Result<()> {
        let bytes = window.bytes();
        let place = range(window.offset(), bytes.len()).and_then(|r| self.bytes.get_mut(r));
        place.ok_or_else(past_end)?.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read_back(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.bytes.read_at(offset, into)
    }
}

/// A journal in memory.
#[derive(Debug)]
pub struct MemoryJournal {
    /// The slots.
    pub slots: Vec<[u8; SLOT_LEN]>,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self { slots: (0..SLOT_COUNT).map(|_| [0; SLOT_LEN]).collect() }
    }
}

impl JournalStore for MemoryJournal {
    fn load(&mut self) -> io::Result<Vec<[u8; SLOT_LEN]>> {
        Ok(self.slots.clone())
    }

    fn store(&mut self, index: u64, slot: &[u8; SLOT_LEN]) -> io::Result<()> {
        let index = usize::try_from(index).map_err(|_| past_end())?;
        *self.slots.get_mut(index).ok_or_else(past_end)? = *slot;
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        *self = Self::default();
        Ok(())
    }
}
