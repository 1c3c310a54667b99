//! The layer `unpack`: what is packed inside an image is seen as what it was packed from.
//!
//! An image is a sequence of plain bytes and *blocks*: bytes that a codec packed. Its *view* has in
//! place of each block what the block unpacks to, so that a small change stays small. The device
//! makes the target's view and packs it again, byte for byte; blocks that cannot be packed again
//! exactly are left as they are.
//!
//! - [`find`]: where the blocks of an image are.
//! - [`codec`]: unpacks a block, finds how it was packed, and packs it again.
//! - [`derived`]: what is not packed but follows from the rest, such as hash trees.
//! - [`pack`]: from the target's view to the target.

pub mod codec;
mod crc;
pub mod derived;
pub mod find;
pub mod pack;

pub use codec::Codec;

/// Bytes of an image that a codec packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// Where it starts in the image, in bytes.
    pub offset: u64,
    /// Its length as packed, in bytes.
    pub len: u64,
    /// What unpacks it.
    pub codec: Codec,
}
