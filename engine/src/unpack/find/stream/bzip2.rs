//! bzip2: from its first block to the mark at its end.
//!
//! Nothing tells where a stream ends but the mark itself, 48 bits at any bit (the digits of the
//! root of π, as those of π start a block). It is looked for bit by bit, which is ten times as fast
//! as unpacking, and by chance is in a stream of 1 TB once in 30.

use super::{Codec, Hit, Parsed, Reader, check, whole};

/// Starts every block.
const BLOCK_MARK: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];

/// Ends a stream; a CRC-32 and bits up to a whole byte follow.
const END_MARK: u64 = 0x1772_4538_5090;

/// The bits of a mark.
const MARK_BITS: u64 = (1 << 48) - 1;

/// Bytes read at once.
const INPUT_LEN: usize = 64 << 10;

/// Finds the stream at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let header: [u8; 10] = reader.array(offset)?;
    check(header[4..] == BLOCK_MARK)?;
    let mut at = offset + header.len() as u64;
    let mut bits = 0_u64;
    loop {
        let input = reader.up_to(at, INPUT_LEN)?;
        check(!input.is_empty())?;
        for (index, &byte) in input.iter().enumerate() {
            bits = bits << 8 | u64::from(byte);
            if (0..8).any(|after| bits >> after & MARK_BITS == END_MARK) {
                // Up to 7 bits of this byte are behind the mark, so the 32 end in the fourth next.
                let end = at + index as u64 + 1 + 4;
                check(end <= reader.size())?;
                return whole(reader, "bzip2", (offset, end), Codec::Bzip2);
            }
        }
        at += input.len() as u64;
    }
}
