//! How much blocks may unpack to in all: a few megabytes of image can unpack to terabytes.
//!
//! Blocks are unpacked beside each other, so which of them take the last of a budget depends on the
//! threads. That a batch of them takes all of it does not: then none of it is taken,
//! nor what follows.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{IMAGE_SIZE_MAX, UNPACKED_MIN, UNPACKED_SHARE};

/// Plain bytes that blocks of an image may still unpack to.
pub(super) struct Budget {
    left: AtomicU64,
}

impl Budget {
    /// That of an image of so many bytes, all levels together.
    pub(super) fn of_image(size: u64) -> Self {
        let left = size.saturating_mul(UNPACKED_SHARE).saturating_add(UNPACKED_MIN);
        Self::new(left.min(IMAGE_SIZE_MAX))
    }

    pub(super) fn new(left: u64) -> Self {
        Self { left: AtomicU64::new(left) }
    }

    /// Takes bytes off what is left; whether that leaves any.
    pub(super) fn take(&self, len: u64) -> bool {
        let less = |left: u64| Some(left.saturating_sub(len));
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        before.is_ok_and(|before| before > len)
    }

    /// Whether nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}
