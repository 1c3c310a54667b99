//! Codecs (11.2). They are libraries, and their exact releases are part of the format: this applier
//! takes what the engine has made of them, and judges how it is used.

use neap_engine::unpack::codec;

use crate::Result;
use crate::bytes::memory;

/// How a block is packed.
pub(crate) struct Method(codec::Method);

impl Method {
    pub(crate) fn read(spelling: &[u8]) -> Result<Self> {
        codec::Method::decode(spelling).map(Self).map_err(|error| error.to_string())
    }

    /// The plain bytes of a block, exactly so many.
    pub(crate) fn unpack(&self, packed: &[u8], plain_len: u64) -> Option<Vec<u8>> {
        let plain = self.0.codec().unpack(packed, memory(plain_len)).ok()?;
        (plain.len() as u64 == plain_len).then_some(plain)
    }

    /// The packed bytes of a block, exactly so many.
    pub(crate) fn pack(&self, plain: &[u8], correction: &[u8], len: u64) -> Result<Vec<u8>> {
        self.0.pack(plain, correction, memory(len)).map_err(|error| error.to_string())
    }
}
