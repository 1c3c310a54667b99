//! Exact matches: blocks of the source found at any offset of the target, in linear time.
//!
//! As in rsync (A. Tridgell, thesis, 1999, chapter 3): a table of the source's aligned blocks by a
//! rolling hash, and the hash rolled over the target. A hit is compared byte by byte and grown
//! both ways, so no weak hash is ever believed.

use rayon::prelude::*;

use super::DiffError;
use super::segment::{From, Segment, common_prefix, common_suffix};
use crate::digest::{self, Digest};
use crate::io::{Event, Progress, Source};
use crate::limits::{SOURCE_BLOCK, WINDOW_LOG2_MIN};

/// Bytes that one task reads and scans: a multiple of a window, and enough to keep the seams rare.
const CHUNK: u64 = 8 << 20;

const BLOCK: usize = 4096;
const _: () = assert!(BLOCK as u64 == SOURCE_BLOCK);

/// Bytes of source compared at a time while a match grows.
const GROW: usize = 64 << 10;

/// An odd multiplier with well-mixed bits; from the 64-bit golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Positions of the source's blocks by hash, and the source's window digests.
pub(super) struct BlockIndex {
    /// Block number plus one at the slot of its hash; zero is free. Ties go to the first block.
    slots: Vec<(u32, u32)>,
    /// One bit for each hash prefix in use: most positions of the target stop here.
    filter: Vec<u64>,
    /// Digests of the source's smallest windows.
    pub(super) windows: Vec<Digest>,
}

/// Bits of a hash that pick a bit of the filter: 512 KiB, half of a core's second-level cache.
const FILTER_LOG2: u32 = 22;

impl BlockIndex {
    /// Reads the whole source once.
    pub(super) fn new(source: &dyn Source, progress: Progress) -> Result<Self, DiffError> {
        let chunks: Vec<_> = chunks(source.size()).collect();
        let hashed: Vec<_> = chunks
            .par_iter()
            .map(|&(offset, len)| {
                let bytes = read(source, offset, len, DiffError::Source)?;
                let hashes: Vec<u64> = bytes.chunks_exact(BLOCK).map(hash).collect();
                progress(Event::Advance(len));
                Ok((hashes, windows(&bytes, offset, source.size())))
            })
            .collect::<Result<_, DiffError>>()?;
        let count: usize = hashed.iter().map(|(hashes, _)| hashes.len()).sum();
        let mut index = Self {
            slots: vec![(0, 0); (count * 2).next_power_of_two()],
            filter: vec![0; 1 << (FILTER_LOG2 - 6)],
            windows: Vec::new(),
        };
        let mut block = 0;
        for (hashes, windows) in hashed {
            for hash in hashes {
                block += 1;
                index.insert(hash, block);
            }
            index.windows.extend(windows);
        }
        Ok(index)
    }

    fn insert(&mut self, hash: u64, block: u32) {
        let mixed = mix(hash);
        let (word, bit) = filter_place(mixed);
        self.filter[word] |= bit;
        let mut at = self.slot(mixed);
        while self.slots[at].1 != 0 {
            if self.slots[at].0 == tag(mixed) {
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = (tag(mixed), block);
    }

    fn may_hold(&self, mixed: u64) -> bool {
        let (word, bit) = filter_place(mixed);
        self.filter[word] & bit != 0
    }

    /// Where in the source a block with this hash may be.
    fn find(&self, mixed: u64) -> Option<u64> {
        let mut at = self.slot(mixed);
        loop {
            match self.slots[at] {
                (_, 0) => return None,
                (found, block) if found == tag(mixed) => {
                    return Some(u64::from(block - 1) * SOURCE_BLOCK);
                }
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    fn slot(&self, mixed: u64) -> usize {
        (mixed >> 16) as usize & (self.slots.len() - 1)
    }
}

/// Exact copies and runs of zeros in the target, in order, and the target's window digests.
pub(super) fn find(
    index: &BlockIndex,
    source: &dyn Source,
    target: &dyn Source,
    progress: Progress,
) -> Result<(Vec<Segment>, Vec<Digest>), DiffError> {
    let chunks: Vec<_> = chunks(target.size()).collect();
    let found: Vec<_> = chunks
        .par_iter()
        .map(|&(offset, len)| {
            let bytes = read(target, offset, len, DiffError::Target)?;
            let mut scan = Scan { index, source, bytes: &bytes, offset, found: Vec::new() };
            scan.run()?;
            progress(Event::Advance(len));
            Ok((scan.found, windows(&bytes, offset, target.size())))
        })
        .collect::<Result<_, DiffError>>()?;
    let mut segments: Vec<Segment> = Vec::new();
    let mut digests = Vec::new();
    for (chunk, windows) in found {
        for segment in chunk {
            match segments.last_mut() {
                Some(last) if last.end() == segment.target && last.from == segment.from => {
                    last.len += segment.len;
                }
                _ => segments.push(segment),
            }
        }
        digests.extend(windows);
    }
    Ok((segments, digests))
}

struct Scan<'a> {
    index: &'a BlockIndex,
    source: &'a dyn Source,
    bytes: &'a [u8],
    offset: u64,
    found: Vec<Segment>,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), DiffError> {
        let mut at = 0;
        let mut free = 0;
        while at + BLOCK <= self.bytes.len() {
            let mut rolling = hash(&self.bytes[at..at + BLOCK]);
            loop {
                let mixed = mix(rolling);
                if (rolling == 0 || self.index.may_hold(mixed))
                    && let Some(segment) = self.try_at(at, free, mixed)?
                {
                    at = in_chunk(segment.end() - self.offset);
                    free = at;
                    self.found.push(segment);
                    break;
                }
                if at + BLOCK == self.bytes.len() {
                    return Ok(());
                }
                rolling = roll(rolling, self.bytes[at], self.bytes[at + BLOCK]);
                at += 1;
            }
        }
        Ok(())
    }

    /// The match that covers the block at `at`, grown back to `free` at most.
    fn try_at(&self, at: usize, free: usize, mixed: u64) -> Result<Option<Segment>, DiffError> {
        let block = &self.bytes[at..at + BLOCK];
        if block.iter().all(|byte| *byte == 0) {
            let back = self.bytes[free..at].iter().rev().take_while(|byte| **byte == 0).count();
            let ahead = self.bytes[at..].iter().take_while(|byte| **byte == 0).count();
            return Ok(Some(self.segment(at - back, back + ahead, From::Zeros)));
        }
        let Some(first) = self.index.find(mixed) else { return Ok(None) };
        let place = self.offset + at as u64;
        // Where a block stands in many places, the one that goes on with the last copy is best.
        let last = self.found.iter().rev().find_map(|segment| match segment.from {
            From::Source { diagonal } => place.checked_add_signed(diagonal),
            _ => None,
        });
        for offset in last.into_iter().chain([first]) {
            if let Some(segment) = self.grow(at, free, offset)? {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }

    fn grow(&self, at: usize, free: usize, from: u64) -> Result<Option<Segment>, DiffError> {
        let mut buffer = vec![0; GROW];
        let mut ahead = 0;
        loop {
            let left = self.source.size().saturating_sub(from + ahead as u64);
            // Where the last copy would go on may lie past the source's end.
            if ahead == 0 && left < SOURCE_BLOCK {
                return Ok(None);
            }
            let piece = if ahead == 0 { BLOCK } else { GROW };
            let len = piece.min(self.bytes.len() - at - ahead).min(in_chunk(left.min(CHUNK)));
            self.source
                .read_at(from + ahead as u64, &mut buffer[..len])
                .map_err(DiffError::Source)?;
            let same = common_prefix(&buffer[..len], &self.bytes[at + ahead..]);
            ahead += same;
            if ahead < BLOCK {
                return Ok(None);
            }
            if same < len || len == 0 {
                break;
            }
        }
        let mut back = 0;
        loop {
            let before = in_chunk((from - back as u64).min(CHUNK));
            let len = GROW.min(at - free - back).min(before);
            if len == 0 {
                break;
            }
            let start = from - (back + len) as u64;
            self.source.read_at(start, &mut buffer[..len]).map_err(DiffError::Source)?;
            let same = common_suffix(&buffer[..len], &self.bytes[..at - back]);
            back += same;
            if same < len {
                break;
            }
        }
        let diagonal = from.cast_signed() - (self.offset + at as u64).cast_signed();
        Ok(Some(self.segment(at - back, back + ahead, From::Source { diagonal })))
    }

    fn segment(&self, at: usize, len: usize, from: From) -> Segment {
        Segment { target: self.offset + at as u64, len: len as u64, from }
    }
}

fn chunks(size: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..size.div_ceil(CHUNK)).map(move |i| (i * CHUNK, CHUNK.min(size - i * CHUNK)))
}

fn windows(bytes: &[u8], offset: u64, size: u64) -> Vec<Digest> {
    let len = 1 << WINDOW_LOG2_MIN;
    let starts = (offset..).step_by(len);
    bytes.chunks(len).zip(starts).map(|(window, at)| digest::window(window, at, size)).collect()
}

fn read(
    image: &dyn Source,
    offset: u64,
    len: u64,
    failed: fn(crate::io::Error) -> DiffError,
) -> Result<Vec<u8>, DiffError> {
    let mut bytes = vec![0; in_chunk(len)];
    image.read_at(offset, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Lengths within a chunk.
fn in_chunk(len: u64) -> usize {
    usize::try_from(len).expect("a chunk fits in memory")
}

/// The polynomial hash of one block; zeros hash to zero.
fn hash(block: &[u8]) -> u64 {
    block.iter().fold(0, |hash: u64, byte| hash.wrapping_mul(FACTOR).wrapping_add((*byte).into()))
}

/// `FACTOR` to the power of the block length: what the leaving byte has been multiplied with.
const LEAVING: u64 = {
    let mut power = 1_u64;
    let mut i = 0;
    while i < BLOCK {
        power = power.wrapping_mul(FACTOR);
        i += 1;
    }
    power
};

fn roll(hash: u64, leaving: u8, entering: u8) -> u64 {
    hash.wrapping_mul(FACTOR)
        .wrapping_add(u64::from(entering))
        .wrapping_sub(LEAVING.wrapping_mul(u64::from(leaving)))
}

/// Spreads a polynomial hash, whose low bits know little, over all bits.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

fn tag(mixed: u64) -> u32 {
    (mixed >> 32) as u32
}

fn filter_place(mixed: u64) -> (usize, u64) {
    let bit = mixed & ((1 << FILTER_LOG2) - 1);
    ((bit >> 6) as usize, 1 << (bit & 63))
}
