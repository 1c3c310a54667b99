//! Rewriting on the device: piece by piece, from the frame's regions and its copies, in bounded
//! memory. What must be read of the source first is asked for, never read here.

use super::field::Field;
use super::loads::{LOADED_MAX, Loads};
use super::map::{Copy, Map, Move};
use super::region::{Region, RegionReader};
use super::{rewrite, scan};
use crate::cm::FieldMark;
use crate::error::FormatError;
use crate::format::bounded;
use crate::limits::{COPIES_MAX, IMAGE_SIZE_MAX, MOVES_MAX, REGIONS_MAX, SOURCE_BLOCK};
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

/// A part of a copy that is being rewritten.
#[derive(Debug, Default)]
pub struct Piece {
    /// Where it starts in the source.
    pub offset: u64,
    /// Source offset minus target offset of its copy.
    pub diagonal: i64,
    /// The source's bytes.
    pub raw: Vec<u8>,
    /// The same, addresses rewritten.
    pub guess: Vec<u8>,
    /// Which of them are addresses.
    pub marks: Vec<FieldMark>,
    /// How many bytes are done.
    done: usize,
}

impl Piece {
    /// A piece of `len` bytes whose `raw` bytes are to be read; memory is used again.
    pub fn reset(&mut self, offset: u64, diagonal: i64, len: usize) {
        (self.offset, self.diagonal, self.done) = (offset, diagonal, 0);
        self.raw.clear();
        self.raw.resize(len, 0);
        self.guess.clear();
        self.marks.clear();
    }
}

/// A region that was read.
#[derive(Debug)]
struct Loaded {
    index: usize,
    region: Option<Region>,
    map: Map,
}

/// How many scanned blocks are kept.
const BLOCKS_MAX: usize = 8;

/// Rewrites the copies of one frame after another.
#[derive(Debug, Default)]
pub struct Rewriter {
    entries: Vec<RegionEntry>,
    /// Copies that touch a region, by source offset.
    copies: Vec<Copy>,
    /// What the copies will make the rewriter load.
    loads: Loads,
    /// The last used first.
    loaded: Vec<Loaded>,
    reader: Option<RegionReader>,
    buffer: Vec<u8>,
    /// The block that `buffer` is being filled with, if it is not for the reader.
    pending: Option<u64>,
    blocks: Vec<(u64, Vec<Field>)>,
    fields: Vec<Field>,
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
        self.copies.clear();
        self.loads.clear();
        self.loaded.clear();
        self.blocks.clear();
        (self.reader, self.pending) = (None, None);
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
        let end = copy.offset + copy.len;
        let first = self.entries.partition_point(|entry| entry.end() <= copy.offset);
        let behind = self.entries[first..].iter().take_while(|entry| entry.offset < end);
        for (index, _) in (first..).zip(behind) {
            self.loads.touch(index, copy.len)?;
        }
        let touches = self.entries.get(first).is_some_and(|entry| entry.offset < end);
        if copy.len >= Map::COPY_LEN_MIN && touches {
            bounded("copies of regions", self.copies.len() as u64 + 1, 0, COPIES_MAX as u64)?;
            self.copies.push(copy);
        }
        Ok(())
    }

    /// All copies were taken.
    pub fn copies_added(&mut self) {
        // Stable, so that copies of the same start stay in target order.
        self.copies.sort_by_key(|copy| copy.offset);
    }

    /// Whether any of these bytes of the source lie in a region.
    #[must_use]
    pub fn touches(&self, offset: u64, len: u64) -> bool {
        let next = self.entries.partition_point(|entry| entry.end() <= offset);
        self.entries.get(next).is_some_and(|entry| entry.offset < offset + len)
    }

    /// Goes on with the piece; if bytes of the source are needed first, says which: they are to be
    /// put into [`Rewriter::room`] before asking again.
    pub fn step(&mut self, piece: &mut Piece) -> Option<(u64, usize)> {
        self.take_read();
        if piece.guess.is_empty() {
            piece.guess.clone_from(&piece.raw);
        }
        while piece.done < piece.raw.len() {
            let at = piece.offset + piece.done as u64;
            let end = piece.offset + piece.raw.len() as u64;
            let index = self.entries.partition_point(|entry| entry.end() <= at);
            let entry = self.entries.get(index).filter(|entry| entry.offset < end);
            let Some(entry) = entry else { break };
            let (start, entry_end) = (entry.offset, entry.end());
            if start > at {
                piece.done = within(start - piece.offset);
                continue;
            }
            if let Some(wanted) = self.load(index) {
                return Some(wanted);
            }
            if self.loaded[0].region.is_none() {
                piece.done = within(entry_end.min(end) - piece.offset);
                continue;
            }
            let block = at / SOURCE_BLOCK * SOURCE_BLOCK;
            let (from, to) = (block.max(start), (block + SOURCE_BLOCK).min(entry_end));
            if from >= piece.offset && to <= end {
                let bytes = &piece.raw[within(from - piece.offset)..within(to - piece.offset)];
                let Some(region) = &self.loaded[0].region else { break };
                self.fields.clear();
                scan::fields(region, from, bytes, &mut self.fields);
                self.write(None, to.min(end), piece);
            } else if let Some(slot) = self.blocks.iter().position(|(known, _)| *known == from) {
                self.write(Some(slot), to.min(end), piece);
            } else {
                self.pending = Some(from);
                return Some((from, within(to - from)));
            }
        }
        None
    }

    /// Makes region `index` the first loaded one, or says what must be read for that.
    fn load(&mut self, index: usize) -> Option<(u64, usize)> {
        if let Some(place) = self.loaded.iter().position(|loaded| loaded.index == index) {
            self.loaded[..=place].rotate_right(1);
            return None;
        }
        let entry = &self.entries[index];
        let reader =
            self.reader.get_or_insert_with(|| RegionReader::new(entry.offset, entry.end()));
        if let Some(wanted) = reader.want() {
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
        self.loaded.truncate(LOADED_MAX - 1);
        self.loaded.insert(0, Loaded { index, region, map });
        None
    }

    /// Takes what was read since the last step.
    fn take_read(&mut self) {
        if let Some(block) = self.pending.take() {
            let Some(Loaded { region: Some(region), .. }) = self.loaded.first() else { return };
            self.blocks.truncate(BLOCKS_MAX);
            let mut fields = match self.blocks.len() {
                BLOCKS_MAX => self.blocks.pop().map(|(_, fields)| fields).unwrap_or_default(),
                _ => Vec::new(),
            };
            fields.clear();
            scan::fields(region, block, &self.buffer, &mut fields);
            self.blocks.insert(0, (block, fields));
        } else if let Some(reader) = &mut self.reader
            && reader.want().is_some()
        {
            reader.give(&self.buffer);
        }
    }

    /// Room for `len` bytes to be read.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        self.buffer.clear();
        self.buffer.resize(len, 0);
        &mut self.buffer
    }

    /// Writes the fields of a block, up to `end`, into the piece.
    fn write(&mut self, slot: Option<usize>, end: u64, piece: &mut Piece) {
        let Some(Loaded { region: Some(region), map, .. }) = self.loaded.first() else { return };
        let fields = match slot {
            Some(slot) => &self.blocks[slot].1,
            None => &self.fields,
        };
        let (from, to) = (piece.done, within(end - piece.offset));
        let offset = piece.offset + from as u64;
        rewrite(region, map, fields, piece.diagonal, offset, &mut piece.guess[from..to]);
        for field in fields {
            mark(field, offset, from, to, &mut piece.marks);
        }
        piece.done = to;
    }
}

/// Adds the mark of a field that overlaps bytes `from .. to` of a piece; byte `from` is `offset`
/// in the source.
pub(crate) fn mark(field: &Field, offset: u64, from: usize, to: usize, marks: &mut Vec<FieldMark>) {
    let len = field.form.len() as u64;
    if field.offset + len <= offset || field.offset >= offset + (to - from) as u64 {
        return;
    }
    let skip = offset.saturating_sub(field.offset);
    let at = from as u64 + field.offset.saturating_sub(offset);
    let narrow = "a piece is shorter than 64 KiB, a field than 16 bytes";
    marks.push(FieldMark {
        at: u32::try_from(at).expect(narrow),
        skip: u8::try_from(skip).expect(narrow),
        len: u8::try_from(len).expect(narrow),
        kind: field.form.kind(),
        address: field.address,
    });
}

/// Lengths within a piece or a block.
fn within(len: u64) -> usize {
    usize::try_from(len).expect("a piece fits in memory")
}
