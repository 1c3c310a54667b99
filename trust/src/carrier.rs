//! What metadata is read from: a folder, a stick, a bucket, a peer. A carrier is never believed.

use std::io;

/// Gives metadata files by name, such as `3.root.json`.
pub trait Carrier: Send + Sync {
    /// The whole file, or nothing if there is none of this name.
    ///
    /// # Errors
    /// If it cannot be read, or holds more than `len_max` bytes: then
    /// [`io::ErrorKind::FileTooLarge`], without having read more than that. A carrier behind a
    /// link gives up after a time of its own: [`io::ErrorKind::TimedOut`].
    fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>>;

    /// A small blob by its BLAKE3 digest, such as a site profile; none where there are no blobs.
    ///
    /// # Errors
    /// As for metadata.
    fn document(&self, blake3: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let (_, _) = (blake3, len_max);
        Ok(None)
    }
}

impl<T: Carrier + ?Sized> Carrier for &T {
    fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        (**self).metadata(name, len_max)
    }

    fn document(&self, blake3: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        (**self).document(blake3, len_max)
    }
}
