//! Codecs: from packed bytes to plain ones, and back to exactly the same packed bytes.
//!
//! A block is packed again by the encoder and the settings that made it (`method`), which are found
//! by trying (`methods`). Where our release of an encoder chooses otherwise than the one that made
//! the block, the *correction* tells what it chose: the matches that differ (`edits`), and how they
//! are written down. Each codec has a module that unpacks, predicts what its encoder makes, and
//! corrects that.

mod bits;
mod bzip2;
mod cut;
mod deflate;
mod edits;
mod ext4;
mod family;
mod kallsyms;
mod lz4;
mod method;
mod methods;
mod pieces;
#[cfg(test)]
mod tests;
mod time;
mod xz;
mod zstd;

pub use ext4::Inodes;
pub use family::{Families, Family};
pub use kallsyms::Kallsyms;
pub(super) use kallsyms::name_len;
pub use method::{Method, Rebuilt};
pub use methods::Methods;

use std::fmt;

use crate::limits::{DECODER_MEMORY_MAX, PLAIN_LEN_MAX};

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
    /// A cluster of erofs that is packed with LZMA, without the zeros before it.
    LzmaCluster {
        /// Dictionary, in bytes.
        dict_size: u32,
        /// Plain bytes, which the cluster does not tell; 0 for as many as are asked for.
        plain_len: u32,
    },
    /// One zstd frame (RFC 8878).
    Zstd,
    /// A whole bzip2 stream.
    Bzip2,
    /// The first bytes of a stream whose others lie elsewhere.
    Cut(Stream),
    /// Inodes of ext4, whose checksums follow from the rest.
    Ext4Inodes(Inodes),
    /// The symbols of a Linux kernel, of which some follow from the rest.
    Kallsyms(Kallsyms),
    /// A hash tree of dm-verity. It is derived, of a target alone: its plain bytes say from what.
    Verity,
    /// Parity for forward error correction, as dm-verity reads it. It is derived, too.
    Fec,
}

/// What may be cut: plain bytes follow from the packed ones before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// As [`Codec::Deflate`].
    Deflate,
    /// As [`Codec::Zlib`].
    Zlib,
    /// As [`Codec::Xz`].
    Xz,
    /// As [`Codec::Lzma`]; it may tell its plain length.
    Lzma,
    /// As [`Codec::Zstd`].
    Zstd,
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
            Self::TooLarge => "the block unpacks to more, or takes more memory, than is allowed",
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
            Self::Cut(Stream::Deflate) => "deflate, cut",
            Self::Cut(Stream::Zlib) => "zlib, cut",
            Self::Cut(Stream::Xz) => "xz, cut",
            Self::Cut(Stream::Lzma) => "lzma, cut",
            Self::LzmaCluster { .. } => "lzma cluster",
            Self::Cut(Stream::Zstd) => "zstd, cut",
            Self::Ext4Inodes(_) => "ext4 inodes",
            Self::Kallsyms(_) => "kallsyms",
            Self::Verity => "dm-verity tree",
            Self::Fec => "FEC",
        }
    }

    /// The plain length, if what contains the block has to tell it.
    #[must_use]
    pub fn plain_len(self) -> Option<usize> {
        match self {
            Self::LzmaCluster { plain_len: plain_len @ 1.., .. } => usize::try_from(plain_len).ok(),
            _ => None,
        }
    }

    /// The same whatever the plain length.
    pub(crate) fn of_any_len(self) -> Self {
        match self {
            Self::LzmaCluster { dict_size, .. } => Self::LzmaCluster { dict_size, plain_len: 0 },
            codec => codec,
        }
    }

    /// Whether such bytes follow from those before them, and are no packed ones.
    #[must_use]
    pub fn is_derived(self) -> bool {
        matches!(self, Self::Verity | Self::Fec)
    }

    /// The plain bytes of a block. No more than `plain_len_max + 1` bytes are made of any input.
    ///
    /// Of what is cut they are the first ones, as far as the packed bytes go, and at most
    /// `plain_len_max`; what is behind these is not looked at.
    ///
    /// # Errors
    /// If the bytes are not one block and nothing else, or make more than `plain_len_max` bytes; if
    /// those of a cut one make none, or go wrong before so many.
    pub fn unpack(self, packed: &[u8], plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
        self.unpack_within(packed, plain_len_max, DECODER_MEMORY_MAX)
    }

    /// The same by a decoder of LZMA that may take so many bytes of memory; what others take
    /// follows from the lengths.
    fn unpack_within(
        self,
        packed: &[u8],
        plain_len_max: usize,
        memory_max: u64,
    ) -> Result<Vec<u8>, UnpackError> {
        let plain_len_max = plain_len_max.min(PLAIN_LEN_MAX);
        match self {
            Self::Stored if packed.len() > plain_len_max => Err(UnpackError::TooLarge),
            Self::Stored => Ok(packed.to_vec()),
            Self::Deflate => deflate::unpack(packed, plain_len_max),
            Self::Zlib => deflate::unpack_zlib(packed, plain_len_max),
            Self::Lz4 => lz4::unpack(packed, plain_len_max),
            Self::Xz => xz::unpack(packed, plain_len_max, memory_max),
            Self::Lzma => xz::unpack_lzma(packed, plain_len_max, memory_max),
            Self::LzmaCluster { dict_size, .. } => {
                let plain_len = self.plain_len().unwrap_or(plain_len_max);
                if plain_len > plain_len_max {
                    return Err(UnpackError::TooLarge);
                }
                xz::unpack_cluster(packed, dict_size, plain_len, memory_max)
            }
            Self::Zstd => zstd::unpack(packed, plain_len_max),
            Self::Lz4Clusters { cluster_log2 } => {
                lz4::clusters::unpack(packed, cluster_log2, plain_len_max)
            }
            Self::Bzip2 => bzip2::unpack(packed, plain_len_max),
            Self::Cut(stream) => cut::unpack(stream, packed, plain_len_max, memory_max),
            Self::Ext4Inodes(inodes) => inodes.unpack(packed, plain_len_max),
            Self::Kallsyms(kallsyms) => kallsyms.unpack(packed, plain_len_max),
            // From what they are derived is not in them.
            Self::Verity | Self::Fec => Err(UnpackError::Malformed),
        }
    }
}

/// What a step of a decoder says: bytes that were taken in all, and whether that was the end.
type Step = Result<(u64, bool), UnpackError>;

/// What a decoder makes of all of `packed`. Each step is given what is not yet taken, appends to
/// the plain bytes within their capacity, and says how many bytes were taken in all, and whether
/// that was the end.
fn decode_whole(
    packed: &[u8],
    plain_len_max: usize,
    mut step: impl FnMut(&[u8], &mut Vec<u8>) -> Step,
) -> Result<Vec<u8>, UnpackError> {
    let (mut plain, mut taken) = (Vec::new(), 0);
    loop {
        make_room(&mut plain, plain_len_max)?;
        let before = (taken, plain.len());
        let (taken_in_all, is_end) = step(&packed[taken..], &mut plain)?;
        taken = usize::try_from(taken_in_all).map_err(|_| UnpackError::Malformed)?;
        if is_end {
            make_room(&mut plain, plain_len_max)?;
            return if taken == packed.len() { Ok(plain) } else { Err(UnpackError::Malformed) };
        }
        if before == (taken, plain.len()) {
            return Err(UnpackError::Malformed);
        }
    }
}

/// The first plain bytes that a decoder makes of `packed`, as many as it makes or as are allowed.
/// The steps are those of [`decode_whole`].
fn decode_cut(
    packed: &[u8],
    plain_len_max: usize,
    mut step: impl FnMut(&[u8], &mut Vec<u8>) -> Step,
) -> Result<Vec<u8>, UnpackError> {
    let (mut plain, mut taken) = (Vec::new(), 0);
    while plain.len() < plain_len_max {
        make_room(&mut plain, plain_len_max - 1)?;
        let before = (taken, plain.len());
        match step(&packed[taken..], &mut plain) {
            Ok((taken_in_all, false)) => {
                taken = usize::try_from(taken_in_all).map_err(|_| UnpackError::Malformed)?;
                if before == (taken, plain.len()) {
                    break;
                }
            }
            Ok((_, true)) => break,
            // How far decoders look ahead of what they make is theirs.
            Err(_) if plain.len() >= plain_len_max => break,
            Err(error) => return Err(error),
        }
    }
    plain.truncate(plain_len_max);
    if plain.is_empty() { Err(UnpackError::Malformed) } else { Ok(plain) }
}

/// Makes room at the end of `out` for a decoder that fills it up to its capacity.
fn make_room(out: &mut Vec<u8>, len_max: usize) -> Result<(), UnpackError> {
    if out.len() > len_max {
        return Err(UnpackError::TooLarge);
    }
    if out.len() == out.capacity() {
        // One byte more than allowed, so that what is too large is seen.
        let capacity = (out.capacity() * 2).clamp(ROOM_LEN_MIN, (len_max + 1).max(ROOM_LEN_MIN));
        let more = capacity.saturating_sub(out.len()).max(1);
        out.try_reserve_exact(more).map_err(|_| UnpackError::TooLarge)?;
    }
    Ok(())
}

/// The room that a decoder is given first, in bytes.
const ROOM_LEN_MIN: usize = 4096;
