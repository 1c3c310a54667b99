//! Codecs (11.2). They are libraries, and their exact releases are part of the format: this applier
//! takes what the engine has made of them, and judges how it is used.

use neap_engine::unpack::codec;

use super::derived;
use crate::bytes::memory;
use crate::{Result, must};

/// How a block is packed.
pub(crate) struct Method(codec::Method);

impl Method {
    pub(crate) fn read(spelling: &[u8]) -> Result<Self> {
        codec::Method::decode(spelling).map(Self).map_err(|error| error.to_string())
    }

    /// The plain bytes of a block, exactly so many.
    pub(crate) fn unpack(&self, packed: &[u8], plain_len: u64) -> Option<Vec<u8>> {
        let plain = self.0.unpack(packed, memory(plain_len)).ok()?;
        (plain.len() as u64 == plain_len).then_some(plain)
    }

    /// Whether blocks are not packed but follow from what lies before them.
    pub(crate) fn is_derived(&self) -> bool {
        self.0.codec().is_derived()
    }

    /// The packed bytes of a block, exactly so many, with `before` in front of them.
    pub(crate) fn pack(
        &self,
        plain: &[u8],
        correction: &[u8],
        len: u64,
        before: &[u8],
    ) -> Result<Vec<u8>> {
        let made = match self.0.codec() {
            codec::Codec::Verity => derived::tree(plain, before)?,
            codec::Codec::Fec => derived::parity(plain, before)?,
            _ => self.0.pack(plain, correction, memory(len)).map_err(|error| error.to_string())?,
        };
        must(made.len() as u64 == len, "a block has another length")?;
        Ok(made)
    }
}
