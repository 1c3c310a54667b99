//! What metadata is read from: a folder, a stick, a bucket, a peer. A carrier is never believed.

use std::io;

/// Gives metadata files by name, such as `3.root.json`.
pub trait Carrier: Send + Sync {
    /// The whole file, or nothing if there is none of this name.
    ///
    /// # Errors
    /// If it cannot be read, or holds more than `len_max` bytes: then
    /// [`io::ErrorKind::FileTooLarge`], without having read more than that.
    fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>>;
}
