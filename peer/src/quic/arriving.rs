//! A blob that is read while it comes: each byte as soon as it and all before it are verified.

use std::io::{self, Read};

use neap_depot::limits::GROUP_LEN;
use neap_engine::digest::Digest;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::shelf::Shelf;
use crate::slice::Step;

/// Reads from the start to the end, and waits where nothing came yet. For threads outside of the
/// runtime.
pub struct Arriving {
    handle: Handle,
    shelf: Shelf,
    blob: Digest,
    len: u64,
    verified: watch::Receiver<u64>,
    at: u64,
    group: Vec<u8>,
}

impl Arriving {
    /// The blob, of which `verified` says how many groups from the start on are there.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(shelf: Shelf, blob: Digest, len: u64, verified: watch::Receiver<u64>) -> Self {
        Self { handle: Handle::current(), shelf, blob, len, verified, at: 0, group: Vec::new() }
    }

    /// Reads the group at which we are.
    fn fill(&mut self) -> io::Result<()> {
        let index = self.at / GROUP_LEN as u64;
        let coming = self.verified.wait_for(|verified| *verified > index);
        let stopped = |_| io::Error::new(io::ErrorKind::UnexpectedEof, "it comes no more");
        self.handle.block_on(coming).map_err(stopped)?;
        let left = self.len - index * GROUP_LEN as u64;
        let len = usize::try_from(left).unwrap_or(GROUP_LEN).min(GROUP_LEN);
        let steps = self.shelf.steps(self.blob, vec![Step::Group { index, len }]);
        let gone = || io::Error::other("what was there a moment ago is gone");
        self.group = self.handle.block_on(steps)?.ok_or_else(gone)?;
        Ok(())
    }
}

impl Read for Arriving {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.len || into.is_empty() {
            return Ok(0);
        }
        let inside = usize::try_from(self.at % GROUP_LEN as u64).unwrap_or(0);
        if inside == 0 {
            self.fill()?;
        }
        let rest = self.group.get(inside..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        self.at += len as u64;
        Ok(len)
    }
}

impl std::fmt::Debug for Arriving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arriving({}, {} of {} bytes)", self.blob, self.at, self.len)
    }
}
