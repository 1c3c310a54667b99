//! Derived regions: bytes that follow from bytes of the target before them, and are computed again.
//!
//! A hash tree of dm-verity changes wherever its data does, and nothing in it can be copied or
//! predicted; but all of it follows from the data and a few parameters. Such a region is a block
//! whose plain bytes are these parameters (format 11.4), and packing it is computing it.
//!
//! Parameters come from a patch: what is decoded here lies before the region and makes exactly its
//! length, so that making it is bounded work and memory.

mod fec;
#[cfg(test)]
mod tests;
mod verity;

pub use fec::Fec;
pub use verity::{Hash, Tree, Verity};

use std::ops::Range;

use super::codec::Codec;
use crate::error::FormatError;
use crate::limits::DERIVED_PIECE_LEN;

/// What a region is computed from, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Derived {
    /// The hash tree of dm-verity.
    Verity(Verity),
    /// Parity for forward error correction.
    Fec(Fec),
}

impl Derived {
    /// Longest parameters, in bytes: those of a tree with the longest salt.
    pub const PLAIN_LEN_MAX: usize = Verity::PLAIN_LEN_MIN + Verity::SALT_LEN_MAX;

    /// Most memory that making a region takes beside it and its parameters, in bytes: what is read
    /// at once, digests of that, and the parity's table.
    pub const MEMORY: u64 = DERIVED_PIECE_LEN + (128 << 10);

    /// Reads the parameters of the region with these bytes of the target.
    ///
    /// # Errors
    /// If they are malformed, need bytes that are not before the region, or make another length.
    pub fn decode(codec: Codec, plain: &[u8], region: Range<u64>) -> Result<Self, FormatError> {
        let derived = match codec {
            Codec::Verity => Verity::decode(plain).map(Self::Verity),
            Codec::Fec => Fec::decode(plain).map(Self::Fec),
            _ => None,
        };
        let fits = |derived: &Self| derived.end() <= region.start && derived.is_len_of(&region);
        derived.filter(fits).ok_or(FormatError::Undecodable("block"))
    }

    /// The parameters as a patch has them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Verity(verity) => verity.encode(),
            Self::Fec(fec) => fec.encode(),
        }
    }

    /// What its block is called.
    #[must_use]
    pub fn codec(&self) -> Codec {
        match self {
            Self::Verity(_) => Codec::Verity,
            Self::Fec(_) => Codec::Fec,
        }
    }

    /// The region's bytes; `read` fills a buffer from an offset of the target.
    ///
    /// # Errors
    /// What `read` says.
    pub fn make<E>(&self, read: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<Vec<u8>, E> {
        match self {
            Self::Verity(verity) => verity.make(read),
            Self::Fec(fec) => fec.make(read),
        }
    }

    /// Length of the region, if there is one of these parameters.
    #[must_use]
    pub fn region_len(&self) -> Option<u64> {
        match self {
            Self::Verity(verity) => verity.tree_len(),
            Self::Fec(fec) => Some(fec.parity_len()),
        }
    }

    fn is_len_of(&self, region: &Range<u64>) -> bool {
        self.region_len() == Some(region.end - region.start)
    }

    /// Where the last bytes end that it is computed from.
    fn end(&self) -> u64 {
        match self {
            Self::Verity(verity) => verity.data().end,
            Self::Fec(fec) => fec.end(),
        }
    }
}
