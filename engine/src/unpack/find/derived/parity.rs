//! Parity behind a hash tree, as `veritysetup --fec-device` makes it. Only the kernel is told where
//! it is and how many roots it has, so both are tried.
//!
//! It covers the data, and then the device of the tree: from the tree's start to the parity if that
//! is on the same device, to its end if it is on another one. Android's covers data and tree.

use std::ops::Range;

use rayon::prelude::*;

use super::Search;
use crate::io::{Error, Source};
use crate::unpack::derived::{Fec, Verity};
use crate::unpack::pack::in_memory;

/// Parity and where it is, if there is any of this data and its tree.
pub(super) fn find(
    search: &mut Search<'_>,
    verity: &Verity,
    tree: &Range<u64>,
) -> Result<Option<(Fec, Range<u64>)>, Error> {
    let block_log2 = verity.data_block_log2;
    if block_log2 != verity.hash_block_log2 {
        return Ok(None);
    }
    let block_len = 1 << block_log2;
    let device = search.partitions.iter().find(|device| device.contains(&tree.start));
    let device_end = device.map_or(tree.end, |device| device.end);
    let starts = search.partitions.iter().map(|partition| partition.start);
    let mut places: Vec<u64> = starts.filter(|start| *start > tree.end).collect();
    places
        .extend([Some(tree.end), next_bytes(search.image, tree.end, block_len)?].iter().flatten());
    places.sort_unstable();
    places.dedup();
    for place in places {
        let mut ends = [tree.end, place, device_end]
            .map(|end| tree.start + (end - tree.start) / block_len * block_len)
            .to_vec();
        ends.retain(|end| *end <= place);
        ends.sort_unstable();
        ends.dedup();
        for end in ends {
            for roots in Fec::ROOTS {
                let covered = vec![verity.data(), tree.start..end];
                let Some(fec) = Fec::new(roots, block_log2, covered) else { continue };
                let parity = place..place + fec.parity_len();
                if parity.end <= search.image.size()
                    && is_likely(search, &fec, &parity)?
                    && is_parity(search, &fec, &parity)?
                {
                    return Ok(Some((fec, parity)));
                }
            }
        }
    }
    Ok(None)
}

/// The block of the next byte that is not zero, near an offset.
fn next_bytes(image: &dyn Source, offset: u64, block_len: u64) -> Result<Option<u64>, Error> {
    const NEAR: u64 = 16 << 20;
    const PIECE: u64 = 64 << 10;
    let end = image.size().min(offset + NEAR);
    let mut at = offset;
    while at < end {
        let mut bytes = vec![0; in_memory(PIECE.min(end - at))];
        image.read_at(at, &mut bytes)?;
        if let Some(place) = bytes.iter().position(|byte| *byte != 0) {
            return Ok(Some(offset + (at - offset + place as u64) / block_len * block_len));
        }
        at += bytes.len() as u64;
    }
    Ok(None)
}

/// Whether a few codes have the parity that is there, of which one is not all zeros.
fn is_likely(search: &mut Search<'_>, fec: &Fec, parity: &Range<u64>) -> Result<bool, Error> {
    const SEEN: u64 = 64 << 10;
    let mut front = vec![0; in_memory(SEEN.min(parity.end - parity.start))];
    search.image.read_at(parity.start, &mut front)?;
    let Some(place) = front.iter().position(|byte| *byte != 0) else { return Ok(false) };
    let (roots, count) = (u64::from(fec.roots), fec.stripe_len());
    for code in [place as u64 / roots, count / 2, count - 1] {
        // A read costs more than its byte.
        if !search.spend(255 * 16) {
            return Ok(false);
        }
        let mut made = vec![0; usize::from(fec.roots)];
        fec.add_stripes(code, &mut made, |offset, into| search.image.read_at(offset, into))?;
        if !search.has(parity.start + code * roots, &made)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Codes that one core computes at once: their bytes are read from 253 stripes.
const CODES: usize = 64 << 10;

/// Whether all of the parity is that of what it covers.
fn is_parity(search: &mut Search<'_>, fec: &Fec, parity: &Range<u64>) -> Result<bool, Error> {
    if !search.spend(fec.stripe_len() * 255) {
        return Ok(false);
    }
    let image = search.image;
    let mut made = vec![0; in_memory(parity.end - parity.start)];
    let pieces = made.par_chunks_mut(CODES * usize::from(fec.roots)).enumerate();
    pieces.try_for_each(|(index, piece)| {
        let first = (index * CODES) as u64;
        fec.add_stripes(first, piece, |offset, into| image.read_at(offset, into))
    })?;
    search.has(parity.start, &made)
}
