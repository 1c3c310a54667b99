//! How a block was packed: the codec and the settings with which it is packed again.

use super::Codec;
use crate::error::FormatError;

/// A codec and the settings of the encoder that made a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method {
    codec: Codec,
}

/// How a block is packed again: proven when it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Codec and settings.
    pub method: Method,
    /// What has to be known beside plain bytes and method; mostly nothing. It is carried behind the
    /// plain bytes, so it is worth being short and alike from block to block.
    pub correction: Vec<u8>,
}

/// Finds methods; those that were right before are tried first.
#[derive(Debug, Clone, Default)]
pub struct Methods {}

impl Methods {
    /// How to pack `plain` so that it gives exactly `packed`, if there is a way we know; proven by
    /// packing it.
    pub fn find(&mut self, codec: Codec, packed: &[u8], plain: &[u8]) -> Option<Rebuilt> {
        let _ = (codec, packed, plain);
        None
    }
}

impl Method {
    /// Longest spelling of a method, in bytes.
    pub const LEN_MAX: usize = 32;

    /// A method of this codec, of whatever settings: for blocks that are only unpacked.
    #[must_use]
    pub fn of_codec(codec: Codec) -> Self {
        Self { codec }
    }

    /// What unpacks such blocks.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The block that was packed from `plain`.
    ///
    /// # Errors
    /// If this does not make `packed_len` bytes: the patch is wrong.
    pub fn pack(
        &self,
        plain: &[u8],
        correction: &[u8],
        packed_len: usize,
    ) -> Result<Vec<u8>, FormatError> {
        let _ = (plain, correction, packed_len);
        Err(FormatError::Truncated("block"))
    }

    /// Most memory that packing so many plain bytes takes beside them and what they make, in bytes.
    #[must_use]
    pub fn memory(&self, plain_len: u64) -> u64 {
        plain_len
    }

    /// Its spelling in a patch.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        vec![0]
    }

    /// Reads a spelling of exactly `bytes`.
    ///
    /// # Errors
    /// If it is not one this program knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let _ = bytes;
        Err(FormatError::Truncated("methods"))
    }
}
