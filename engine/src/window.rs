//! Windows of the target: bytes that were made, and bytes that were verified.
//!
//! Only [`Verified`] bytes can be handed to a device, and only [`Window::verify`] makes them.

use crate::digest::{self, Digest};
use crate::error::ApplyError;

/// A window that the applier has filled and nobody has checked.
#[derive(Debug)]
pub struct Window {
    offset: u64,
    bytes: Vec<u8>,
    expected: Digest,
    target_size: u64,
}

/// A window whose bytes have the digest that the patch promises.
#[derive(Debug)]
pub struct Verified(Window);

impl Window {
    pub(crate) fn new(offset: u64, bytes: Vec<u8>, expected: Digest, target_size: u64) -> Self {
        Self { offset, bytes, expected, target_size }
    }

    /// Checks the bytes against the target table.
    ///
    /// # Errors
    /// [`ApplyError::WindowDiffers`] if they are anything else than the patch promises.
    pub fn verify(self) -> Result<Verified, ApplyError> {
        let found = digest::window(&self.bytes, self.offset, self.target_size);
        if found == self.expected {
            Ok(Verified(self))
        } else {
            let Self { offset, expected, .. } = self;
            Err(ApplyError::WindowDiffers { offset, found, expected })
        }
    }
}

impl Verified {
    /// Where the window starts in the target, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.0.offset
    }

    /// The bytes to write.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The window's memory, for the next window.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.0.bytes
    }
}
