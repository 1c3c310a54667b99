//! Families of codecs: what people know them by.

use super::{Codec, Stream};

/// Codecs that share an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// Deflate, with or without zlib's header: gzip, zip, png.
    Deflate,
    /// lz4 and lz4hc.
    Lz4,
    /// LZMA and LZMA2: .xz and .lzma streams, clusters of erofs.
    Xz,
    /// Zstandard.
    Zstd,
    /// bzip2.
    Bzip2,
}

/// A set of families.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Families(u8);

impl Families {
    /// Whether this codec is of one of them.
    #[must_use]
    pub fn has(self, codec: Codec) -> bool {
        codec.family().is_some_and(|family| self.0 & 1 << family as u8 != 0)
    }
}

impl FromIterator<Family> for Families {
    fn from_iter<I: IntoIterator<Item = Family>>(families: I) -> Self {
        Self(families.into_iter().fold(0, |set, family| set | 1 << family as u8))
    }
}

impl Codec {
    /// Its family, if anything packs it.
    #[must_use]
    pub fn family(self) -> Option<Family> {
        match self {
            Self::Stored | Self::Ext4Inodes(_) | Self::Kallsyms(_) => None,
            Self::Verity | Self::Fec => None,
            Self::Deflate | Self::Zlib | Self::Cut(Stream::Deflate | Stream::Zlib) => {
                Some(Family::Deflate)
            }
            Self::Lz4 | Self::Lz4Clusters { .. } => Some(Family::Lz4),
            Self::Xz
            | Self::Lzma
            | Self::LzmaCluster { .. }
            | Self::Cut(Stream::Xz | Stream::Lzma) => Some(Family::Xz),
            Self::Zstd | Self::Cut(Stream::Zstd) => Some(Family::Zstd),
            Self::Bzip2 => Some(Family::Bzip2),
        }
    }
}
