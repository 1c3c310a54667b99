//! Rewriting a piece of a copy, block by block, within a region that was read before.

use std::ops::Range;

use super::field::Field;
use super::map::Map;
use super::region::Region;
use super::{rewrite, scan};
use crate::cm::FieldMark;
use crate::limits::SOURCE_BLOCK;

/// A part of a copy that is being rewritten; whoever has its bytes passes them to
/// [`super::rewriter::Rewriter::step`].
#[derive(Debug, Default)]
pub struct Piece {
    /// Where it starts in the source.
    offset: u64,
    /// Source offset minus target offset of its copy.
    diagonal: i64,
    /// Which of its bytes are addresses, if that is asked for.
    marks: Option<Vec<FieldMark>>,
    /// How many bytes are done.
    done: usize,
}

impl Piece {
    /// A piece of which no byte is rewritten; memory is used again.
    pub fn reset(&mut self, offset: u64, diagonal: i64, is_marked: bool) {
        (self.offset, self.diagonal, self.done) = (offset, diagonal, 0);
        self.marks = is_marked.then(|| self.marks.take().unwrap_or_default());
        self.marks.iter_mut().for_each(Vec::clear);
    }

    /// The byte of the source behind its last, if it has so many bytes.
    pub(super) fn end(&self, len: usize) -> u64 {
        self.offset + len as u64
    }

    /// The first byte of the source that is not done.
    pub(super) fn at(&self) -> u64 {
        self.offset + self.done as u64
    }

    /// Which of its bytes are addresses, if it is marked.
    #[must_use]
    pub fn marks(&self) -> &[FieldMark] {
        self.marks.as_deref().unwrap_or_default()
    }
}

/// A region that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Its index in the frame, and which frame that is.
    pub(super) index: usize,
    pub(super) frame: u64,
    /// Where it is in the source, as the frame says.
    pub(super) place: Range<u64>,
    /// None where no executable starts there.
    pub(super) region: Option<Region>,
    pub(super) map: Map,
}

impl Loaded {
    /// Bytes of memory that it takes, about.
    pub(crate) fn memory_len(&self) -> usize {
        let region = self.region.as_ref().map_or(0, Region::memory_len);
        size_of::<Self>() + region + self.map.memory_len()
    }

    /// The blocks that must be read to rewrite these bytes, which touch the region: those that they
    /// are only a part of. Where each starts, and how long it is.
    pub(crate) fn cut_blocks(&self, offset: u64, len: u64) -> impl Iterator<Item = (u64, u64)> {
        let end = offset + len;
        let (first, last) = (offset.max(self.place.start), end.min(self.place.end) - 1);
        let cut = [first, last]
            .map(|at| self.block(at))
            .into_iter()
            .filter(move |block| block.start < offset || block.end > end);
        cut.filter(|_| self.region.is_some()).map(|block| (block.start, block.end - block.start))
    }

    /// What the region has of the block that byte `at` of the source is in.
    fn block(&self, at: u64) -> Range<u64> {
        let start = at / SOURCE_BLOCK * SOURCE_BLOCK;
        start.max(self.place.start)..(start + SOURCE_BLOCK).min(self.place.end)
    }
}

/// How many scanned blocks are kept: those whose numbers differ in the last bits.
const BLOCKS_MAX: usize = 128;

/// Most fields in all blocks that are kept: 512 KiB. Real code has some 150 in a block.
const FIELDS_MAX: usize = 1 << 14;

/// The fields of blocks that copies took only a part of: another part may follow.
#[derive(Debug, Default)]
struct Blocks {
    /// Where each block starts, and its fields, by the last bits of its number.
    slots: Vec<(Option<u64>, Vec<Field>)>,
    /// How many fields there are.
    count: usize,
}

impl Blocks {
    fn of(&self, start: u64) -> Option<&[Field]> {
        let (known, fields) = self.slots.get(Self::slot(start))?;
        (*known == Some(start)).then_some(fields)
    }

    fn insert(&mut self, start: u64, fields: &[Field]) {
        if self.count + fields.len() > FIELDS_MAX {
            *self = Self::default();
        }
        self.slots.resize_with(BLOCKS_MAX, Default::default);
        let slot = &mut self.slots[Self::slot(start)];
        self.count = self.count - slot.1.len() + fields.len();
        *slot = (Some(start), fields.to_vec());
    }

    fn slot(start: u64) -> usize {
        let number = start / SOURCE_BLOCK % BLOCKS_MAX as u64;
        usize::try_from(number).expect("a number of few bits")
    }
}

/// Rewrites pieces within regions, and keeps what it found in blocks of which they take a part.
#[derive(Debug, Default)]
pub(crate) struct BlockRewriter {
    /// The frame that `blocks` are of.
    frame: u64,
    blocks: Blocks,
    fields: Vec<Field>,
    buffer: Vec<u8>,
    /// The block that `buffer` is being filled with, if any.
    pending: Option<u64>,
}

impl BlockRewriter {
    /// Forgets what was found, and what was to be read.
    pub(super) fn forget(&mut self) {
        self.blocks = Blocks::default();
        self.pending = None;
    }

    /// Goes on with the piece up to the end of the region, or says what must be read into
    /// [`BlockRewriter::room`] before.
    pub(crate) fn step(
        &mut self,
        loaded: &Loaded,
        piece: &mut Piece,
        bytes: &mut [u8],
    ) -> Option<(u64, usize)> {
        if self.frame != loaded.frame {
            self.forget();
            self.frame = loaded.frame;
        }
        let end = piece.end(bytes.len());
        let stop = loaded.place.end.min(end);
        piece.done = within(piece.at().max(loaded.place.start) - piece.offset);
        let Some(region) = &loaded.region else {
            piece.done = within(stop - piece.offset);
            return None;
        };
        if let Some(block) = self.pending.take() {
            self.fields.clear();
            scan::fields(region, block, &self.buffer, &mut self.fields);
            self.blocks.insert(block, &self.fields);
        }
        while piece.at() < stop {
            let Range { start: from, end: to } = loaded.block(piece.at());
            let is_whole = from >= piece.offset && to <= end;
            let fields = if is_whole {
                let whole = &bytes[within(from - piece.offset)..within(to - piece.offset)];
                self.fields.clear();
                scan::fields(region, from, whole, &mut self.fields);
                &self.fields
            } else if let Some(fields) = self.blocks.of(from) {
                fields
            } else {
                self.pending = Some(from);
                return Some((from, within(to - from)));
            };
            piece.write(region, &loaded.map, fields, to.min(end), bytes);
        }
        None
    }

    /// Room for `len` bytes to be read.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        self.buffer.resize(len, 0);
        &mut self.buffer
    }

    /// What was read.
    pub(super) fn read(&self) -> &[u8] {
        &self.buffer
    }
}

impl Piece {
    /// Writes the fields up to `end` of the source into the bytes of the piece.
    fn write(&mut self, region: &Region, map: &Map, fields: &[Field], end: u64, bytes: &mut [u8]) {
        let (from, to) = (self.done, within(end - self.offset));
        let offset = self.at();
        rewrite(region, map, fields, self.diagonal, offset, &mut bytes[from..to]);
        if let Some(marks) = &mut self.marks {
            fields.iter().for_each(|field| mark(field, offset, from, to, marks));
        }
        self.done = to;
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
