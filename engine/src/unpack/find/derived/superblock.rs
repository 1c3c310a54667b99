//! The superblock that veritysetup puts in front of a hash tree: `struct verity_sb` of cryptsetup's
//! `lib/verity/verity.c`, 512 bytes, little-endian.

use crate::unpack::derived::{Hash, Verity};
use crate::unpack::find::reader::{Parsed, Reader, Stop, check, le16, le32, le64};

const SIGNATURE: [u8; 8] = *b"verity\0\0";

/// A superblock, and how its tree is made; where the data is it does not say.
#[derive(Debug, Clone)]
pub(in crate::unpack::find) struct Superblock {
    pub(super) offset: u64,
    /// As if the data began at 0.
    pub(super) verity: Verity,
}

impl Superblock {
    /// Its length, in bytes.
    pub(super) const LEN: u64 = 512;

    /// Work that reading one takes at most: what a device gives at once.
    pub(in crate::unpack::find) const WORK: u64 = 4096;
}

/// The superblock that starts at `offset`, of a tree that can be made.
pub(in crate::unpack::find) fn read(reader: &mut Reader<'_>, offset: u64) -> Parsed<Superblock> {
    let bytes: [u8; 512] = reader.array(offset)?;
    check(bytes.starts_with(&SIGNATURE) && le32(&bytes, 8) == 1)?;
    check(offset.is_multiple_of(Superblock::LEN))?;
    let hash_type = le32(&bytes, 12);
    check(hash_type <= 1)?;
    let name = bytes[32..64].split(|byte| *byte == 0).next().unwrap_or_default();
    let hash = Hash::ALL.into_iter().find(|hash| hash.name().as_bytes() == name);
    let salt_len = usize::from(le16(&bytes, 80));
    check(salt_len <= Verity::SALT_LEN_MAX)?;
    let verity = Verity {
        hash: hash.ok_or(Stop::Malformed)?,
        is_padded: hash_type == 1,
        data_block_log2: log2(le32(&bytes, 64))?,
        hash_block_log2: log2(le32(&bytes, 68))?,
        data_offset: 0,
        data_block_count: le64(&bytes, 72),
        salt: bytes[88..88 + salt_len].to_vec(),
    };
    check(verity.tree_len().is_some())?;
    Ok(Superblock { offset, verity })
}

/// The length of a block as a logarithm.
fn log2(len: u32) -> Parsed<u8> {
    check(len.is_power_of_two())?;
    let log2 = u8::try_from(len.ilog2()).map_err(|_| Stop::Malformed)?;
    check(Verity::BLOCK_LOG2.contains(&log2))?;
    Ok(log2)
}
