//! What can be wrong with a patch, and what can go wrong while it is applied.
//!
//! Messages give the fact and the bound; whoever knows the file's name adds it.

use std::fmt;

use crate::digest::Digest;

/// Why bytes are not a patch that this version can apply. Whoever wrote the patch can cause any.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The first bytes are not the magic.
    NotAPatch,
    /// A version this program does not know.
    UnknownVersion(u16),
    /// A layer this program does not know.
    UnknownLayer(u16),
    /// An entry of the layer list that is there twice, or behind one with a higher id.
    LayerMisplaced(u16),
    /// A coder this program does not know.
    UnknownCoder(u8),
    /// A field is outside its bound.
    OutOfBounds {
        /// The field's name in `docs/format.md`.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// The least it may hold.
        min: u64,
        /// The most it may hold.
        max: u64,
    },
    /// Bytes end inside the named part.
    Truncated(&'static str),
    /// Bytes are left over after the named part.
    TrailingBytes(&'static str),
    /// The header does not have the digest it ends with.
    HeaderDamaged,
    /// The target table does not hash to the target's root.
    TargetTableNotRoot {
        /// What the table hashes to.
        found: Digest,
        /// The root that the header names.
        expected: Digest,
    },
    /// A frame body does not have the digest in front of it.
    FrameDamaged {
        /// Where the frame starts in the patch, in bytes.
        patch_offset: u64,
    },
    /// A variable-length integer runs past its column.
    IntegerTruncated,
    /// A variable-length integer is not the shortest spelling of a 64-bit value.
    IntegerTooLong,
    /// The named column does not decode.
    Undecodable(&'static str),
    /// A segment that makes no byte.
    EmptySegment,
    /// A segment reaches past the end of its frame's target bytes.
    SegmentPastFrame,
    /// A copy reaches outside the source.
    CopyPastEnd {
        /// Where the copy starts in the source.
        offset: i128,
        /// Its length in bytes.
        len: u64,
        /// The size of the source.
        source_size: u64,
    },
    /// A copy uses a block of the source that the source map does not list, so was not checked.
    CopyUnchecked {
        /// Where the copy starts in the source.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// A frame does not start where the restart table says one does.
    RestartMisplaced {
        /// Where the restart is, in the patch.
        patch_offset: u64,
    },
    /// The frames make fewer or more bytes than the target has.
    TargetSize {
        /// Bytes that the frames make.
        made: u64,
        /// Bytes that the header promises.
        expected: u64,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPatch => f.write_str("not a neap patch: the magic is missing"),
            Self::UnknownVersion(version) => {
                write!(f, "patch version {version} is unknown; this program knows version 1")
            }
            Self::UnknownLayer(id) => write!(f, "layer {id} is unknown to this program"),
            Self::LayerMisplaced(id) => {
                write!(f, "layer {id} is listed twice or behind a higher one")
            }
            Self::UnknownCoder(id) => {
                write!(
                    f,
                    "coder {id} is unknown; this program knows 0 (stored), 1 (zstd) and 2 (cm)"
                )
            }
            Self::OutOfBounds { field, value, min, max } => {
                write!(f, "{field} is {value}, allowed is {min} to {max}")
            }
            Self::Truncated(part) => write!(f, "the patch ends inside its {part}"),
            Self::TrailingBytes(part) => write!(f, "bytes are left over after the {part}"),
            Self::HeaderDamaged => f.write_str("the patch header does not match its own digest"),
            Self::TargetTableNotRoot { found, expected } => {
                write!(f, "the target table hashes to {found}, the header names {expected}")
            }
            Self::FrameDamaged { patch_offset } => {
                write!(f, "the frame at byte {patch_offset} does not match its own digest")
            }
            Self::IntegerTruncated => f.write_str("an integer runs past its column"),
            Self::IntegerTooLong => f.write_str("an integer is not in its shortest form"),
            Self::Undecodable(column) => write!(f, "the column {column} does not decode"),
            Self::EmptySegment => f.write_str("a segment makes no byte"),
            Self::SegmentPastFrame => f.write_str("a segment passes the end of its frame"),
            Self::CopyPastEnd { offset, len, source_size } => {
                write!(f, "copy of {len} bytes at {offset} passes the source end at {source_size}")
            }
            Self::CopyUnchecked { offset, len } => {
                write!(f, "copy of {len} bytes at {offset} uses source blocks not in the map")
            }
            Self::RestartMisplaced { patch_offset } => {
                write!(f, "no frame starts at the restart point at byte {patch_offset}")
            }
            Self::TargetSize { made, expected } => {
                write!(f, "the frames make {made} bytes, the header promises {expected}")
            }
        }
    }
}

impl std::error::Error for FormatError {}

/// Why a verified target could not be made from a patch that parses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplyError {
    /// The patch is not well-formed.
    Format(FormatError),
    /// A window about to be written is not what the patch promises.
    ///
    /// Either the patch was made to deceive, or the source changed after it was checked.
    WindowDiffers {
        /// Where the window starts in the target, in bytes.
        offset: u64,
        /// What it hashes to.
        found: Digest,
        /// What the target table says.
        expected: Digest,
    },
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::WindowDiffers { offset, found, expected } => {
                write!(f, "window at byte {offset} has digest {found}, the patch says {expected}")
            }
        }
    }
}

impl std::error::Error for ApplyError {}

impl From<FormatError> for ApplyError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}
