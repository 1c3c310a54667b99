//! Rewriting on the device: piece by piece, from the frame's regions and its copies, in bounded
//! memory. What must be read of the source first is asked for, never read here.

use std::ops::Range;
use std::sync::Arc;

use super::loads::{LOADED_MAX, Loads};
use super::map::{Copy, Map, Move};
pub use super::piece::Piece;
use super::piece::{BlockRewriter, Loaded};
use super::region::RegionReader;
use crate::error::FormatError;
use crate::format::bounded;
use crate::limits::{COPIES_MAX, IMAGE_SIZE_MAX, MOVES_MAX, REGIONS_MAX};
use crate::varint;

/// A region as a frame names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionEntry {
    /// Where it starts in the source, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Per load, what to add to addresses beside what the copies say.
    pub biases: Vec<i64>,
    /// Addresses that move unlike their bytes, in order.
    pub moves: Vec<Move>,
}

impl RegionEntry {
    /// The byte behind the last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// Reads the columns `regions` and `moves` (format 9.1).
///
/// # Errors
/// If a number is out of bounds or the columns do not end together.
pub fn decode_regions(regions: &[u8], moves: &[u8]) -> Result<Vec<RegionEntry>, FormatError> {
    let (mut at, mut moves_at, mut end, mut moves_left) = (0, 0, 0, MOVES_MAX);
    let mut entries = Vec::new();
    while at < regions.len() {
        bounded("region_count", entries.len() as u64 + 1, 1, REGIONS_MAX as u64)?;
        let mut number = |name, max| bounded(name, varint::take(regions, &mut at)?, 0, max);
        let gap = number("region_gap", IMAGE_SIZE_MAX)?;
        let len = number("region_len", IMAGE_SIZE_MAX)?;
        let bias_count = number("bias_count", LOADS_MAX)?;
        let move_count = number("move_count", moves_left as u64)?;
        let offset = end + gap;
        bounded("region_len", len, 1, IMAGE_SIZE_MAX.saturating_sub(offset))?;
        end = offset + len;
        let biases = (0..bias_count).map(|_| varint::take_signed(regions, &mut at));
        let biases = biases.collect::<Result<_, _>>()?;
        let mut address = 0_u64;
        let mut entry = RegionEntry { offset, len, biases, moves: Vec::new() };
        for _ in 0..move_count {
            let gap = varint::take(moves, &mut moves_at)?;
            let len = varint::take(moves, &mut moves_at)?;
            let shift = varint::take_signed(moves, &mut moves_at)?;
            let start = address.checked_add(gap).ok_or(FormatError::Undecodable("moves"))?;
            address = start.checked_add(len).ok_or(FormatError::Undecodable("moves"))?;
            entry.moves.push(Move { start, len, shift });
            moves_left -= 1;
        }
        entries.push(entry);
    }
    if moves_at < moves.len() { Err(FormatError::TrailingBytes("moves")) } else { Ok(entries) }
}

/// Appends the columns `regions` and `moves` of these entries, which are in order.
pub(crate) fn encode_regions(entries: &[RegionEntry], regions: &mut Vec<u8>, moves: &mut Vec<u8>) {
    let mut end = 0;
    for entry in entries {
        for number in
            [entry.offset - end, entry.len, entry.biases.len() as u64, entry.moves.len() as u64]
        {
            varint::put(regions, number);
        }
        end = entry.end();
        entry.biases.iter().for_each(|bias| varint::put_signed(regions, *bias));
        let mut address = 0;
        for Move { start, len, shift } in &entry.moves {
            varint::put(moves, start - address);
            varint::put(moves, *len);
            varint::put_signed(moves, *shift);
            address = start + len;
        }
    }
}

/// Most loads of a region that a bias may be given for.
const LOADS_MAX: u64 = 16;

/// Most regions that are kept, and what those beyond [`LOADED_MAX`] may take in memory with all
/// others, in bytes: most are small, and copies come back to them.
const KEPT_MAX: usize = 64;
const KEPT_LEN_MAX: usize = 1 << 20;

/// Rewrites the copies of one frame after another.
#[derive(Debug, Default)]
pub struct Rewriter {
    entries: Vec<RegionEntry>,
    /// Copies that touch a region, by source offset.
    copies: Vec<Copy>,
    /// What the copies will make the rewriter load.
    loads: Loads,
    /// The last used first.
    loaded: Vec<Arc<Loaded>>,
    reader: Option<RegionReader>,
    blocks: BlockRewriter,
    /// How many frames there were.
    frame: u64,
}

impl Rewriter {
    /// Forgets the frame before and takes the regions of the next one.
    ///
    /// # Errors
    /// As [`decode_regions`].
    pub fn open(
        &mut self,
        regions: &[u8],
        moves: &[u8],
        source_size: u64,
    ) -> Result<(), FormatError> {
        self.entries = decode_regions(regions, moves)?;
        // Of the largest frame they are 1.5 MiB.
        self.copies = Vec::new();
        self.loads.clear();
        self.loaded.clear();
        self.reader = None;
        self.blocks.forget();
        self.frame += 1;
        match self.entries.last() {
            Some(last) if last.end() > source_size => Err(FormatError::CopyPastEnd {
                offset: last.offset.into(),
                len: last.len,
                source_size,
            }),
            _ => Ok(()),
        }
    }

    /// Whether the frame has no region.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes one of the frame's copies, in target order, before any is rewritten.
    ///
    /// # Errors
    /// If too many copies touch regions, or loads of regions would take too long.
    pub fn add_copy(&mut self, copy: Copy) -> Result<(), FormatError> {
        let touched = self.touched(copy.offset, copy.len);
        for index in touched.clone() {
            self.loads.touch(index, copy.len)?;
        }
        if copy.len >= Map::COPY_LEN_MIN && !touched.is_empty() {
            bounded("copies of regions", self.copies.len() as u64 + 1, 0, COPIES_MAX as u64)?;
            self.copies.push(copy);
        }
        Ok(())
    }

    /// All copies were taken.
    pub fn copies_added(&mut self) {
        self.copies.shrink_to_fit();
        // Stable, so that copies of the same start stay in target order.
        self.copies.sort_by_key(|copy| copy.offset);
    }

    /// The indices of the regions in which any of these bytes of the source lie.
    #[must_use]
    pub(crate) fn touched(&self, offset: u64, len: u64) -> Range<usize> {
        let first = self.entries.partition_point(|entry| entry.end() <= offset);
        let behind = self.entries[first..].iter().take_while(|entry| entry.offset < offset + len);
        first..first + behind.count()
    }

    /// Goes on with the piece whose bytes these are, as the source has them where they are not done
    /// yet. If other bytes of the source are needed first, says which: they are to be put into
    /// [`Rewriter::room`] before asking again.
    pub fn step(&mut self, piece: &mut Piece, bytes: &mut [u8]) -> Option<(u64, usize)> {
        loop {
            let at = piece.at();
            let index = self.entries.partition_point(|entry| entry.end() <= at);
            let end = piece.end(bytes.len());
            self.entries.get(index).filter(|entry| entry.offset < end && at < end)?;
            if let Some(wanted) = self.load(index) {
                return Some(wanted);
            }
            if let Some(wanted) = self.blocks.step(&self.loaded[0], piece, bytes) {
                return Some(wanted);
            }
        }
    }

    /// The region with this index, or what must be read for it into [`Rewriter::room`].
    pub(crate) fn region(&mut self, index: usize) -> Result<Arc<Loaded>, (u64, usize)> {
        self.load(index).map_or_else(|| Ok(Arc::clone(&self.loaded[0])), Err)
    }

    /// Makes region `index` the first loaded one, or says what must be read for that.
    fn load(&mut self, index: usize) -> Option<(u64, usize)> {
        if let Some(place) = self.loaded.iter().position(|loaded| loaded.index == index) {
            self.loaded[..=place].rotate_right(1);
            return None;
        }
        let entry = &self.entries[index];
        match &mut self.reader {
            Some(reader) => reader.give(self.blocks.read()),
            none => *none = Some(RegionReader::new(entry.offset, entry.end())),
        }
        if let Some(wanted) = self.reader.as_ref().and_then(RegionReader::want) {
            return Some(wanted);
        }
        let region = self.reader.take().and_then(RegionReader::finish);
        let from = self.copies.partition_point(|copy| copy.offset < entry.offset);
        // Copies may start before the region and reach into it.
        let before =
            self.copies[..from].iter().filter(|copy| copy.offset + copy.len > entry.offset);
        let to = self.copies.partition_point(|copy| copy.offset < entry.end());
        let copies = before.chain(&self.copies[from..to]).copied();
        let map = match &region {
            Some(region) => Map::of(copies, region, &entry.biases, &entry.moves),
            None => Map::default(),
        };
        let (place, frame) = (entry.offset..entry.end(), self.frame);
        self.loaded.insert(0, Arc::new(Loaded { index, frame, place, region, map }));
        let (mut count, mut len) = (0, 0);
        self.loaded.retain(|loaded| {
            (count, len) = (count + 1, len + loaded.memory_len());
            count <= LOADED_MAX || count <= KEPT_MAX && len <= KEPT_LEN_MAX
        });
        None
    }

    /// Room for `len` bytes to be read.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        self.blocks.room(len)
    }
}
