//! Codecs (11.2): unpacking a block, and packing one again.

use crate::Result;
use crate::bytes::Bytes;

/// How a block is packed.
pub(crate) struct Method;

impl Method {
    pub(crate) fn read(_spelling: Bytes<'_>) -> Result<Self> {
        Err("method is not known".to_owned())
    }

    /// The plain bytes of a block, exactly so many.
    pub(crate) fn unpack(&self, _packed: &[u8], _plain_len: u64) -> Result<Vec<u8>> {
        Err("a block does not unpack".to_owned())
    }

    /// The packed bytes of a block, exactly so many.
    pub(crate) fn pack(&self, _plain: &[u8], _correction: &[u8], _len: u64) -> Result<Vec<u8>> {
        Err("a block does not pack".to_owned())
    }
}
