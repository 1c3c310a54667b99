//! Windows of the target: bytes that were made, and bytes that were verified.
//!
//! Only [`Verified`] bytes can be handed to a device, and only [`Window::verify`] makes them.

use crate::apply::later::Later;
use crate::digest::{self, Digest};
use crate::error::ApplyError;

/// A window that the applier has filled and nobody has checked.
#[derive(Debug)]
pub struct Window {
    offset: u64,
    bytes: Vec<u8>,
    later: Later,
    /// None in a view, whose windows are packed and not written.
    expected: Option<Digest>,
    target_size: u64,
}

/// A window whose bytes have the digest that the patch promises.
#[derive(Debug)]
pub struct Verified(Window);

impl Window {
    pub(crate) fn new(
        offset: u64,
        (bytes, later): (Vec<u8>, Later),
        expected: Option<Digest>,
        target_size: u64,
    ) -> Self {
        Self { offset, bytes, later, expected, target_size }
    }

    /// The bytes, and what of them was put off.
    pub(crate) fn parts(&mut self) -> (&mut [u8], &mut Later) {
        (&mut self.bytes, &mut self.later)
    }

    /// The bytes of a window of a view, which is made.
    pub(crate) fn into_view(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether nothing of it was put off, or all that was is made.
    pub(crate) fn is_made(&self) -> bool {
        self.later.is_empty()
    }

    /// Checks the bytes against the target table.
    ///
    /// # Errors
    /// [`ApplyError::WindowDiffers`] if they are anything else than the patch promises.
    ///
    /// # Panics
    /// If it is of a view, or copies were put off and a [`crate::apply::Filler`] has not made them.
    pub fn verify(self) -> Result<Verified, ApplyError> {
        assert!(self.later.is_empty(), "copies that were put off are made before");
        let expected = self.expected.expect("windows of a view are packed");
        let found = digest::window(&self.bytes, self.offset, self.target_size);
        if found == expected {
            Ok(Verified(self))
        } else {
            let Self { offset, .. } = self;
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
