//! Codecs: from packed bytes to plain ones, and back to exactly the same packed bytes.

mod method;

pub use method::{Method, Methods, Rebuilt};

use std::fmt;

/// What unpacks a block. The packed bytes alone, with a bound on the plain length, are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// Nothing: the bytes are as they were. Of a source alone, so that files are seen whole.
    Stored,
    /// A deflate stream without anything around it (RFC 1951): gzip, zip.
    Deflate,
    /// A zlib stream (RFC 1950): squashfs, cramfs, png.
    Zlib,
    /// One lz4 block without anything around it: squashfs, lz4 frames, kernels.
    Lz4,
    /// Clusters of erofs, all but the last of this many bytes (as log2), each an lz4 block behind
    /// zeros.
    Lz4Clusters {
        /// Length of a cluster as packed, as log2 of bytes.
        cluster_log2: u8,
    },
    /// A whole .xz stream, index and footer too.
    Xz,
    /// A whole .lzma stream (the format of LZMA Utils): EDK2, initramfs.
    Lzma,
    /// One zstd frame (RFC 8878).
    Zstd,
    /// A whole bzip2 stream.
    Bzip2,
}

/// Why bytes do not unpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnpackError {
    /// They are not what the codec makes, or end early, or go on behind their end.
    Malformed,
    /// They make more plain bytes, or take more memory, than is allowed.
    TooLarge,
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the block does not unpack",
            Self::TooLarge => "the block unpacks to more than is allowed",
        })
    }
}

impl std::error::Error for UnpackError {}

impl Codec {
    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Deflate => "deflate",
            Self::Zlib => "zlib",
            Self::Lz4 => "lz4",
            Self::Lz4Clusters { .. } => "lz4 clusters",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        }
    }

    /// Most memory that unpacking to so many plain bytes takes beside them and what they are made
    /// from, in bytes.
    #[must_use]
    pub fn memory(self, plain_len: u64) -> u64 {
        plain_len
    }

    /// The plain bytes of a block.
    ///
    /// # Errors
    /// If the bytes are not one block and nothing else, or make more than `plain_len_max` bytes.
    pub fn unpack(self, packed: &[u8], plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
        let _ = (packed, plain_len_max);
        Err(UnpackError::Malformed)
    }
}
