//! What can go wrong at the edge, and what was left behind when it did.

use std::{fmt, io};

use crate::error::{ApplyError, FormatError};
use crate::format::SourceRange;
use crate::unpack::Codec;
use crate::unpack::codec::Family;

/// One of the things an apply works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The patch.
    Patch,
    /// The source image.
    Source,
    /// The target device.
    Target,
    /// The journal.
    Journal,
}

/// Why an apply or a check stopped.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriveError {
    /// The patch is not well-formed, or makes something else than it promises.
    Apply(ApplyError),
    /// The patch ended before its last frame.
    PatchEnded(io::Error),
    /// A device or file failed.
    Io {
        /// Which.
        part: Part,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The source is smaller than the image the patch starts from.
    SourceTooSmall {
        /// Its size in bytes.
        size: u64,
        /// The size in bytes that the patch needs.
        needed: u64,
    },
    /// The source is not what the patch needs; nothing was written.
    WrongSource {
        /// Where it differs: ranges of the source that the patch uses.
        differing: Vec<SourceRange>,
        /// How many bytes of the source the patch uses in all.
        used_len: u64,
    },
    /// The target has too little room; nothing was written.
    TargetTooSmall {
        /// Its size in bytes.
        size: u64,
        /// The size in bytes that the patch needs.
        needed: u64,
    },
    /// A block of the target cannot be packed by this program, or on a machine such as this one;
    /// nothing was written.
    NotPackable {
        /// Where it starts in the target, or in the view that has it.
        offset: u64,
        /// The codec that it is packed with.
        codec: Codec,
    },
    /// The blocks of the patch take more memory than is allowed; nothing was written.
    MemoryTooLarge {
        /// What they take, in bytes.
        needed: u64,
        /// What is allowed, in bytes.
        allowed: u64,
    },
    /// The target, read back, is not what was written.
    ReadBackDiffers {
        /// Where it differs: ranges of the target.
        differing: Vec<SourceRange>,
    },
}

impl DriveError {
    /// Wraps what the system said about one part.
    pub(crate) fn io(part: Part, doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match part {
            Part::Patch if error.kind() == io::ErrorKind::UnexpectedEof => Self::PatchEnded(error),
            _ => Self::Io { part, doing, error },
        }
    }
}

impl fmt::Display for DriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(error) => error.fmt(f),
            Self::PatchEnded(_) => f.write_str("the patch ends before its last frame"),
            Self::Io { doing, error, .. } => write!(f, "{doing}: {error}"),
            Self::SourceTooSmall { size, needed } => {
                write!(f, "the source has {size} bytes, the patch starts from {needed}")
            }
            Self::NotPackable { offset, codec } if codec.family() == Some(Family::Zstd) => write!(
                f,
                "the block at byte {offset} is packed by libzstd 1.5.7, and this program was built \
                 with another one"
            ),
            Self::NotPackable { offset, .. } => write!(
                f,
                "the block at byte {offset} was packed by an lz4 that makes other bytes on \
                 machines of this kind"
            ),
            Self::MemoryTooLarge { needed, allowed } => {
                write!(f, "packing the target takes {needed} bytes of memory, allowed is {allowed}")
            }
            Self::WrongSource { differing, used_len } => {
                let len: u64 = differing.iter().map(|range| range.len).sum();
                write!(
                    f,
                    "the source is not what the patch needs: {len} of the {used_len} bytes it uses \
                     are in {} ranges that differ",
                    differing.len()
                )
            }
            Self::TargetTooSmall { size, needed } => {
                write!(f, "the target has room for {size} bytes, the image needs {needed}")
            }
            Self::ReadBackDiffers { differing } => {
                let len: u64 = differing.iter().map(|range| range.len).sum();
                write!(
                    f,
                    "read back after writing, {len} bytes in {} ranges differ",
                    differing.len()
                )
            }
        }
    }
}

impl std::error::Error for DriveError {}

impl From<ApplyError> for DriveError {
    fn from(error: ApplyError) -> Self {
        Self::Apply(error)
    }
}

impl From<FormatError> for DriveError {
    fn from(error: FormatError) -> Self {
        Self::Apply(error.into())
    }
}
