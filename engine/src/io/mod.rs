//! The edge: devices, files, threads, and the one loop that feeds the applier.

pub mod check;
pub mod drive;
pub mod error;
pub mod file;
pub mod inspect;
pub mod memory;
mod packing;
mod reads;
pub(crate) mod scratch;
mod view;

use std::io;
use std::ops::Range;

pub use std::io::{Error, ErrorKind};

use crate::journal::SLOT_LEN;
use crate::window::Verified;

/// An image that is read at random.
pub trait Source: Sync {
    /// Its size, in bytes.
    fn size(&self) -> u64;
    /// Fills `into` from byte `offset`.
    ///
    /// # Errors
    /// What the device says; `UnexpectedEof` past the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// What a target image is written to.
pub trait Target: Send {
    /// Room there is, in bytes.
    fn size(&self) -> u64;
    /// Makes room for exactly `size` bytes where the target can grow, as a file can.
    ///
    /// # Errors
    /// What the device says.
    fn resize(&mut self, size: u64) -> io::Result<()>;
    /// Writes a window; it may be lost in a power cut until [`Target::sync`].
    ///
    /// # Errors
    /// What the device says.
    fn write(&mut self, window: &Verified) -> io::Result<()>;
    /// Returns when everything written before survives a power cut.
    ///
    /// # Errors
    /// What the device says.
    fn sync(&mut self) -> io::Result<()>;
    /// Reads what is on the device, past any cache that could hide what is not.
    ///
    /// # Errors
    /// What the device says.
    fn read_back(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Reads what was written, whether it was flushed or not.
    ///
    /// # Errors
    /// What the device says.
    fn read_written(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_back(offset, into)
    }
}

/// A patch, read strictly forward.
pub trait Patch {
    /// Fills `into` with the next bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` when the patch ends before.
    fn read(&mut self, into: &mut [u8]) -> io::Result<()>;
    /// Moves on to byte `offset` of the patch, which is not behind.
    ///
    /// # Errors
    /// As for [`Patch::read`].
    fn skip_to(&mut self, offset: u64) -> io::Result<()>;
}

/// Where a journal is kept.
pub trait JournalStore: Send {
    /// The slots as they are; zeros where nothing was written.
    ///
    /// # Errors
    /// What the file system says.
    fn load(&mut self) -> io::Result<Vec<[u8; SLOT_LEN]>>;
    /// Writes a slot so that it survives a power cut when this returns.
    ///
    /// # Errors
    /// What the file system says.
    fn store(&mut self, index: u64, slot: &[u8; SLOT_LEN]) -> io::Result<()>;
    /// Removes the journal: there is nothing left to resume.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&mut self) -> io::Result<()>;
}

/// Where coded frames are kept until the header can be written in front of them.
pub trait Spool {
    /// Appends bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Keeps only these bytes of what was appended.
    ///
    /// # Errors
    /// What the file system says.
    fn keep(&mut self, range: Range<u64>) -> io::Result<()>;
}

/// What an operation is doing, for whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A phase of `total` units begins; units are bytes.
    Phase {
        /// What it is called in the output.
        name: &'static str,
        /// Bytes to do in this phase.
        total: u64,
    },
    /// So many more bytes are done.
    Advance(u64),
}

/// Takes events from any thread.
pub type Progress<'a> = &'a (dyn Fn(Event) + Sync);
