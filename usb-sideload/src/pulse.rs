//! Whether a stick answers: every call of the system that waits for it is counted as it begins and
//! as it ends. Nobody's time is asked here; who watches compares what was counted over a while.
//!
//! Counted for the whole process, which works with one stick: the call that hangs may be the one
//! that opens it.

use std::sync::atomic::{AtomicU64, Ordering};

static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// What was counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Calls that began.
    pub begun: u64,
    /// Calls that ended, well or not.
    pub ended: u64,
    /// Bytes that were read and written.
    pub bytes: u64,
}

/// A call that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Call;

/// What was counted so far.
#[must_use]
pub fn pulse() -> Pulse {
    // In this order, or a call could have ended that did not begin.
    let ended = ENDED.load(Ordering::Acquire);
    let bytes = BYTES.load(Ordering::Relaxed);
    Pulse { begun: BEGUN.load(Ordering::Acquire), ended, bytes }
}

impl Call {
    pub(crate) fn begin() -> Self {
        BEGUN.fetch_add(1, Ordering::AcqRel);
        Self
    }

    /// The same, which read or wrote so many bytes if it ended well.
    pub(crate) fn ended<T, E>(self, len: usize, done: Result<T, E>) -> Result<T, E> {
        if done.is_ok() {
            BYTES.fetch_add(len as u64, Ordering::Relaxed);
        }
        done
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        ENDED.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_is_open_until_it_is_dropped_and_counts_its_bytes_if_it_ended_well() {
        let before = pulse();
        let call = Call::begin();
        let during = pulse();
        assert!(during.begun > before.begun && during.begun > during.ended);
        assert_eq!(call.ended(7, Ok::<_, ()>(1)), Ok(1));
        assert_eq!(Call::begin().ended(1 << 40, Err::<(), _>(2)), Err(2));
        let after = pulse();
        assert!(after.ended > during.ended && after.bytes >= before.bytes + 7);
        assert!(after.bytes < before.bytes + (1 << 40), "what failed moved nothing");
    }
}
