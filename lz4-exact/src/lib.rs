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
//! of a word is not its lowest: [`IS_CANONICAL`] says whether this machine is as all others.
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

/// Whether liblz4 makes here what it makes on nearly all machines.
pub const IS_CANONICAL: bool = cfg!(all(target_endian = "little", target_pointer_width = "64"));

/// What fits an output of fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// How many bytes of the plain ones are in it.
    pub plain_len: usize,
    /// They, packed.
    pub packed: Vec<u8>,
}
