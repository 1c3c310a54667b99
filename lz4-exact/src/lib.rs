//! The compressors of liblz4 1.10, as safe functions.
//!
//! ```
//! let plain = [7; 1000];
//! let filled = neap_lz4_exact::hc_filling(&plain, 9, 64).expect("a run packs well");
//! assert_eq!(filled.plain_len, 1000);
//! assert!(filled.packed.len() < 64);
//! ```
//!
//! Same input, same output: what they make is compared with what image tools made, and made again
//! on a device. liblz4 reads four or eight bytes at once and hashes them, so fast compression of
//! 64 KiB and more differs where pointers are not of 64 bits, and all differs where the first byte
//! of a word is not its lowest. Callers that need the bytes of other machines have to look at that.
//!
//! # Limits
//!
//! Plain blocks of at most [`PLAIN_LEN_MAX`] bytes.

mod ffi;

pub use ffi::{fast, fast_filling, hc, hc_filling};

/// Longest plain block, in bytes: `LZ4_MAX_INPUT_SIZE` (lz4.h).
pub const PLAIN_LEN_MAX: usize = 0x7e00_0000;

/// Highest level of `hc`: `LZ4HC_CLEVEL_MAX` (lz4hc.h).
pub const HC_LEVEL_MAX: u8 = 12;

/// Memory that a compressor takes, in bytes: `LZ4_STREAMHC_MINSIZE` (lz4hc.h), rounded up; fast
/// compression takes 16 KiB.
pub const STATE_LEN: usize = 257 << 10;

/// What fits an output of fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// How many bytes of the plain ones are in it.
    pub plain_len: usize,
    /// They, packed.
    pub packed: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that repeat, so that there are matches.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0_u8..4, 0..5000)
    }

    proptest! {
        #[test]
        fn what_fills_an_output_is_no_longer_than_it(plain in texts(), len in 0_usize..600) {
            let levels = (1..=HC_LEVEL_MAX).map(|level| hc_filling(&plain, level, len));
            for filled in levels.chain([fast_filling(&plain, len)]).flatten() {
                prop_assert!(filled.packed.len() <= len);
                prop_assert!(filled.plain_len <= plain.len());
            }
        }

        #[test]
        fn same_input_gives_same_output(plain in texts(), level in 1..=HC_LEVEL_MAX) {
            prop_assert_eq!(hc(&plain, level), hc(&plain, level));
            prop_assert_eq!(fast(&plain, 1), fast(&plain, 1));
        }
    }

    #[test]
    fn levels_that_are_none_are_refused() {
        assert_eq!(hc(&[1; 99], HC_LEVEL_MAX + 1), None);
        assert_eq!(hc_filling(&[1; 99], HC_LEVEL_MAX + 1, 50), None);
    }

    #[test]
    fn nothing_packs_to_one_byte() {
        assert_eq!(fast(&[], 1), Some(vec![0]));
        assert_eq!(hc(&[], 9), Some(vec![0]));
    }
}
