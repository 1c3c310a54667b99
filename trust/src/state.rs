//! What a device remembers between runs: small named files, wherever they are kept.

use std::collections::BTreeMap;
use std::io;

/// Keeps what was verified. It is the device's own storage: whoever can write it can make the
/// device forget which versions it saw, but nothing in it is believed without its signatures.
///
/// | name | holds |
/// |------|-------|
/// | `root.json` | the newest root that was followed to |
/// | `timestamp.json`, `snapshot.json`, `targets.json` | what was accepted last: the floors |
/// | `g.<group>.json` | what was accepted last for a group |
/// | `known-time` | the latest time that was vouched for |
/// | `site-profile.<group>` | the signed profile of the site |
pub trait State: Send {
    /// The whole file, or nothing if there is none of this name.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the file: a cut at any instant leaves either the old bytes or the new ones, and
    /// what was stored when this returns is there after a power cut.
    ///
    /// # Errors
    /// If it cannot be written.
    fn store(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Forgets the file, if it is there.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// Remembers until the process ends: for looking without leaving a trace, and for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryState(pub BTreeMap<String, Vec<u8>>);

impl State for MemoryState {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).cloned())
    }

    fn store(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.insert(name.to_owned(), bytes.to_owned());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.remove(name);
        Ok(())
    }
}
