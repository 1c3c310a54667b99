//! The blocks of the layer `unpack`: what of both images is seen as what it was packed from.

use core::time::Duration;
use std::ops::Range;

use super::source_map::SourceRange;
use super::{bounded, split};
use crate::coder;
use crate::error::FormatError;
use crate::limits::{
    BLOCK_LEN_MAX, BLOCKS_MAX, CORRECTIONS_LEN_MAX, DERIVED_MAX, IMAGE_SIZE_MAX, METHODS_MAX,
    PACKED_AT_ONCE, PLAIN_LEN_MAX, RUN_LEN_MAX, SOURCE_BLOCK, UNPACK_DEPTH_MAX, UNPACKED_KEPT,
};
use crate::unpack::Codec;
use crate::unpack::codec::Method;
use crate::unpack::derived::Derived;
use crate::unpack::pack::packing_memory;
use crate::varint;

/// The blocks of both images, and the views that they make (format 11).
///
/// The source's view is the source, and behind it what its blocks unpack to. The target's view is
/// the target, with what blocks unpack to in place of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks {
    /// How blocks are packed.
    pub methods: Vec<Method>,
    /// Blocks of the source's view that are unpacked, in the order in which they lie behind it.
    pub source: Vec<SourceBlock>,
    /// Blocks of the target, then those of its view, and so on; each in order.
    pub levels: Vec<Vec<TargetBlock>>,
}

/// A block of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceBlock {
    /// Where the packed bytes start in the source's view: in the source, or in earlier blocks.
    pub offset: u64,
    /// Length of the packed bytes.
    pub len: u64,
    /// Where the plain bytes start in the source's view.
    pub view_offset: u64,
    /// Length of the plain bytes.
    pub plain_len: u64,
    /// How it is packed, of which only the codec counts, by index.
    pub method: u32,
}

impl SourceBlock {
    /// What unpacking it costs, in bytes that are read and made.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.len + self.plain_len
    }
}

/// What keeping a block unpacked costs, in bytes: a very short one counts as a page, and one that
/// an allocator puts beside others as a quarter more. Between those that come and go are holes: of
/// 30 MiB of a heap 7 were free (measured on an erofs of 640 MiB).
#[must_use]
pub fn kept_len(plain_len: u64) -> u64 {
    let holes = if plain_len < LARGE_LEN { plain_len / 4 } else { 0 };
    (plain_len + holes).max(4096)
}

/// Buffers from this length on, in bytes, have pages of their own (`neap-malloc`).
const LARGE_LEN: u64 = 512 << 10;

/// A block of the target, or of the view before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetBlock {
    /// Where the packed bytes start in the target or the view before.
    pub offset: u64,
    /// Length of the packed bytes.
    pub len: u64,
    /// Where the plain bytes start in the view.
    pub view_offset: u64,
    /// Length of the plain bytes.
    pub plain_len: u64,
    /// Length of the correction, which stands in front of the first block of the run.
    pub correction_len: u64,
    /// Length of all corrections of the run, right in front of the plain bytes, if the block begins
    /// one; otherwise 0.
    pub front_len: u64,
    /// How it is packed, by index.
    pub method: u32,
}

impl SourceBlock {
    /// Where the plain bytes end in the source's view.
    #[must_use]
    pub fn view_end(&self) -> u64 {
        self.view_offset + self.plain_len
    }
}

impl TargetBlock {
    /// Where the packed bytes end.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }

    /// Bytes of the view that the block is packed from.
    #[must_use]
    pub fn view_len(&self) -> u64 {
        self.plain_len + self.correction_len
    }

    /// Where the first byte stands in the view that belongs to the block, or to a run that it
    /// begins.
    #[must_use]
    pub fn front(&self) -> u64 {
        self.view_offset - self.front_len
    }

    /// Where the plain bytes end in the view.
    #[must_use]
    pub fn view_end(&self) -> u64 {
        self.view_offset + self.plain_len
    }
}

/// Where plain bytes start that do not go on where those before them end, here: executables in them
/// lie as they lie in files.
#[must_use]
pub fn view_start(end: u64) -> u64 {
    end.next_multiple_of(SOURCE_BLOCK)
}

/// The blocks of a source's view, by index, that a range of it touches.
#[must_use]
pub fn touched(blocks: &[SourceBlock], range: SourceRange) -> Range<usize> {
    let first = blocks.partition_point(|block| block.view_end() <= range.offset);
    let end = blocks.partition_point(|block| block.view_offset < range.end());
    first..end.max(first)
}

/// Says where blocks stand in the view, whose other fields are known; those of `begins_run` begin
/// runs.
///
/// In front of the first block of a run stand the corrections of all, and then the plain bytes of
/// its blocks follow each other as the packed ones do: what goes on from one into the next goes on
/// in the view, too.
pub fn lay_out(blocks: &mut [TargetBlock], begins_run: &[bool]) {
    let mut corrections_len = 0;
    for (block, begins_run) in blocks.iter_mut().zip(begins_run).rev() {
        corrections_len += block.correction_len;
        block.front_len = if *begins_run { std::mem::take(&mut corrections_len) } else { 0 };
    }
    let (mut end, mut view_end) = (0, 0);
    for block in blocks {
        block.view_offset = view_end + (block.offset - end) + block.front_len;
        (end, view_end) = (block.end(), block.view_end());
    }
}

/// Where byte `offset` of what `blocks` are a view of lies in the view, or where the plain bytes of
/// the block begin that has it.
#[must_use]
pub fn view_place(blocks: &[TargetBlock], offset: u64) -> u64 {
    let next = blocks.partition_point(|block| block.end() <= offset);
    match (blocks.get(next), blocks[..next].last()) {
        (Some(block), _) if block.offset <= offset => block.view_offset,
        (_, Some(before)) => offset - before.end() + before.view_end(),
        (_, None) => offset,
    }
}

/// Size of the view of an image of this size, of which these are the blocks.
#[must_use]
pub fn view_size(size: u64, blocks: &[TargetBlock]) -> u64 {
    blocks.last().map_or(size, |last| size - last.end() + last.view_end())
}

/// Time of one core that packing each of these blocks takes on a device like ours.
pub fn pack_times<'a>(
    methods: &'a [Method],
    levels: &'a [Vec<TargetBlock>],
) -> impl Iterator<Item = Duration> {
    let method = |block: &TargetBlock| &methods[block.method as usize];
    levels.iter().flatten().map(move |block| method(block).pack_time(block.plain_len, block.len))
}

impl Blocks {
    /// Size of the source's view.
    #[must_use]
    pub fn source_view_size(&self, source_size: u64) -> u64 {
        self.source.last().map_or(source_size, SourceBlock::view_end)
    }

    /// Size of the target's last view.
    #[must_use]
    pub fn target_view_size(&self, target_size: u64) -> u64 {
        self.levels.iter().fold(target_size, |size, level| view_size(size, level))
    }

    /// The block of the source that has this byte of its view.
    #[must_use]
    pub fn source_block_at(&self, view_offset: u64) -> Option<usize> {
        let after = self.source.partition_point(|block| block.view_offset <= view_offset);
        after.checked_sub(1).filter(|index| view_offset < self.source[*index].view_end())
    }

    /// The first block of the target that this program cannot pack on a machine such as this one,
    /// and its codec.
    #[must_use]
    pub fn not_packable_here(&self) -> Option<(&TargetBlock, Codec)> {
        let method = |block: &TargetBlock| &self.methods[block.method as usize];
        let mut blocks = self.levels.iter().flatten();
        let block = blocks.find(|block| !method(block).can_pack(block.plain_len))?;
        Some((block, method(block).codec()))
    }

    /// Time of one core that packing and unpacking takes on a device like ours, if each block of
    /// the source is unpacked once.
    #[must_use]
    pub fn time(&self) -> Duration {
        let method = |index: u32| &self.methods[index as usize];
        let unpack = self.source.iter();
        let unpack = unpack.map(|block| method(block.method).unpack_time(block.plain_len));
        unpack.chain(pack_times(&self.methods, &self.levels)).sum()
    }

    /// Most memory that the blocks take on a device, in bytes: what is kept of the source unpacked,
    /// and what is packed at once, or gathered for it, beside the corrections of a run.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let mut unpacking: Vec<u64> = Vec::with_capacity(self.source.len());
        for block in &self.source {
            let method = &self.methods[block.method as usize];
            let own = block.work() + method.unpack_memory(block.plain_len);
            // Its packed bytes are held while what they lie in is unpacked.
            let range = SourceRange { offset: block.offset, len: block.len };
            let outer = &unpacking[touched(&self.source[..unpacking.len()], range)];
            unpacking.push(own.max(block.len + outer.iter().max().unwrap_or(&0)));
        }
        let kept = self
            .source
            .iter()
            .map(|block| kept_len(block.plain_len))
            .sum::<u64>()
            .min(UNPACKED_KEPT);
        let packing = self.levels.iter().map(|level| {
            let jobs = || level.iter().map(|block| packing_memory(&self.methods, block));
            let corrections = level.iter().map(|block| block.front_len).max().unwrap_or(0);
            corrections + jobs().max().unwrap_or(0).max(jobs().sum::<u64>().min(PACKED_AT_ONCE))
        });
        unpacking.iter().max().unwrap_or(&0) + kept + packing.sum::<u64>()
    }

    /// Reads the table of exactly `bytes`.
    pub(super) fn decode(
        mut bytes: &[u8],
        source_size: u64,
        target_size: u64,
    ) -> Result<Self, FormatError> {
        let rest = &mut bytes;
        let mut blocks = Self::default();
        let count = take(rest, "method_count", 1, METHODS_MAX as u64)?;
        for _ in 0..count {
            let len = take(rest, "method_len", 1, Method::LEN_MAX as u64)?;
            blocks.methods.push(Method::decode(split(rest, as_len(len), PART)?)?);
        }
        let mut room = BLOCKS_MAX as u64;
        let count = take(rest, "block_count", 0, room)?;
        room -= count;
        blocks.decode_source(rest, count, source_size)?;
        let levels = take(rest, "level_count", 0, UNPACK_DEPTH_MAX)?;
        let mut size = target_size;
        for depth in 0..levels {
            let count = take(rest, "block_count", 1, room)?;
            room -= count;
            let level = blocks.decode_level(rest, count, size)?;
            // What they are derived from are bytes of the target, not of a view of it.
            let derived_max = if depth == 0 { DERIVED_MAX as u64 } else { 0 };
            let derived = level.iter().filter(|block| blocks.is_derived(block.method.into()));
            bounded("derived_count", derived.count() as u64, 0, derived_max)?;
            size = bounded("view_size", view_size(size, &level), 0, IMAGE_SIZE_MAX)?;
            blocks.levels.push(level);
        }
        match rest.is_empty() {
            true => Ok(blocks),
            false => Err(FormatError::TrailingBytes(PART)),
        }
    }

    fn decode_source(
        &mut self,
        rest: &mut &[u8],
        count: u64,
        source_size: u64,
    ) -> Result<(), FormatError> {
        let mut columns = Columns::<5>::decode(rest, count)?;
        let (mut offset, mut end) = (0_u64, source_size);
        let mut depths: Vec<u64> = Vec::new();
        for _ in 0..count {
            offset = offset.wrapping_add_signed(columns.take_signed(0)?);
            bounded("block_offset", offset, 0, IMAGE_SIZE_MAX)?;
            let len = columns.take(1, "block_len", 1, BLOCK_LEN_MAX)?;
            let plain_len = columns.take(2, "plain_len", 1, PLAIN_LEN_MAX as u64)?;
            let method = columns.take(3, "method", 0, self.methods.len() as u64 - 1)?;
            let gap = columns.take(4, "view_gap", 0, IMAGE_SIZE_MAX)?;
            bounded("derived_count", u64::from(self.is_derived(method)), 0, 0)?;
            let view_offset = match gap.checked_sub(1) {
                Some(gap) => end + gap,
                None => view_start(end),
            };
            let before = std::mem::replace(&mut end, view_offset + plain_len);
            bounded("view_size", end, 0, IMAGE_SIZE_MAX)?;
            // In the source, or in what lies behind it before this one.
            let bound = if offset < source_size { source_size } else { before };
            bounded("block_end", offset + len, 0, bound)?;
            let outer = &depths[touched(&self.source, SourceRange { offset, len })];
            let depth = 1 + outer.iter().max().copied().unwrap_or(0);
            depths.push(bounded("block_depth", depth, 1, UNPACK_DEPTH_MAX)?);
            let method = u32::try_from(method).expect("methods are few");
            self.source.push(SourceBlock { offset, len, view_offset, plain_len, method });
            offset += len;
        }
        // Blocks are beside each other and in each other, but not many on the same bytes.
        let lens = self.source.iter().map(|block| block.len).sum();
        bounded("source_block_lens", lens, 0, 2 * end)?;
        columns.close()
    }

    fn decode_level(
        &self,
        rest: &mut &[u8],
        count: u64,
        size: u64,
    ) -> Result<Vec<TargetBlock>, FormatError> {
        let mut columns = Columns::<5>::decode(rest, count)?;
        let (mut level, mut begins_run) = (Vec::new(), Vec::new());
        let mut end = 0_u64;
        for _ in 0..count {
            let gap = columns.take(0, "block_gap", 0, size)?;
            let len = columns.take(1, "block_len", 1, BLOCK_LEN_MAX)?;
            let plain_len = columns.take(2, "plain_len", 1, PLAIN_LEN_MAX as u64)?;
            let correction = columns.take(3, "correction", 0, 2 * BLOCK_LEN_MAX + 1)?;
            let method = columns.take(4, "method", 0, self.methods.len() as u64 - 1)?;
            if self.is_derived(method) {
                bounded("plain_len", plain_len, 1, Derived::PLAIN_LEN_MAX as u64)?;
                bounded("correction_len", correction / 2, 0, 0)?;
            }
            let offset = end + gap;
            end = bounded("block_end", offset + len, 0, size)?;
            let correction_len = correction / 2;
            let method = u32::try_from(method).expect("methods are few");
            let told = TargetBlock {
                offset,
                len,
                plain_len,
                correction_len,
                method,
                ..Default::default()
            };
            level.push(told);
            begins_run.push(correction % 2 == 1);
        }
        columns.close()?;
        lay_out(&mut level, &begins_run);
        let view_end = level.last().map_or(0, TargetBlock::view_end);
        bounded("view_size", view_end, 0, IMAGE_SIZE_MAX)?;
        check_runs(&level, &begins_run)?;
        Ok(level)
    }

    /// Whether blocks of this method, by index, are derived.
    fn is_derived(&self, method: u64) -> bool {
        self.methods[as_len(method)].codec().is_derived()
    }

    pub(super) fn encode(&self, source_size: u64) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, self.methods.len() as u64);
        for method in &self.methods {
            let bytes = method.encode();
            varint::put(&mut out, bytes.len() as u64);
            out.extend(bytes);
        }
        varint::put(&mut out, self.source.len() as u64);
        let mut columns: [Vec<u8>; 5] = Default::default();
        let (mut offset, mut end) = (0, source_size);
        for block in &self.source {
            varint::put_signed(&mut columns[0], block.offset.wrapping_sub(offset).cast_signed());
            let gap = match block.view_offset {
                at if at == view_start(end) => 0,
                at => 1 + at - end,
            };
            let fields = [block.len, block.plain_len, block.method.into(), gap];
            columns[1..].iter_mut().zip(fields).for_each(|(to, field)| varint::put(to, field));
            (offset, end) = (block.offset + block.len, block.view_end());
        }
        columns.iter().for_each(|column| put_column(&mut out, column));
        varint::put(&mut out, self.levels.len() as u64);
        for level in &self.levels {
            varint::put(&mut out, level.len() as u64);
            let mut columns: [Vec<u8>; 5] = Default::default();
            let mut end = 0;
            for block in level {
                let gap = block.offset - end;
                let correction = 2 * block.correction_len + u64::from(block.front_len > 0);
                let fields = [gap, block.len, block.plain_len, correction, block.method.into()];
                columns.iter_mut().zip(fields).for_each(|(to, field)| varint::put(to, field));
                end = block.end();
            }
            columns.iter().for_each(|column| put_column(&mut out, column));
        }
        out
    }
}

/// Each correction lies in a run, each run has one, and no run is longer than a device can go back
/// or keeps more of corrections than it has memory for. A run of one correction may be larger.
fn check_runs(level: &[TargetBlock], begins_run: &[bool]) -> Result<(), FormatError> {
    let mut first: Option<&TargetBlock> = None;
    for (block, begins_run) in level.iter().zip(begins_run) {
        if *begins_run {
            bounded("front_len", block.front_len, 1, u64::MAX)?;
            first = Some(block);
        }
        if block.correction_len == 0 {
            continue;
        }
        let Some(first) = first else {
            return bounded("correction_len", block.correction_len, 0, 0).map(drop);
        };
        bounded("run_len", block.view_offset - first.view_offset, 0, RUN_LEN_MAX)?;
        let len_max = CORRECTIONS_LEN_MAX.max(block.correction_len);
        bounded("front_len", first.front_len, 1, len_max)?;
    }
    Ok(())
}

/// What the table is called in errors.
const PART: &str = "blocks";

/// Columns of varints, a value for each block.
struct Columns<const N: usize> {
    bytes: [Vec<u8>; N],
    at: [usize; N],
}

impl<const N: usize> Columns<N> {
    fn decode(rest: &mut &[u8], count: u64) -> Result<Self, FormatError> {
        let mut columns = Self { bytes: std::array::from_fn(|_| Vec::new()), at: [0; N] };
        for column in &mut columns.bytes {
            let raw_len = take(rest, "column_len", 0, count * varint::LEN_MAX as u64)?;
            let coded_len = take(rest, "column_coded_len", raw_len.min(1), raw_len)?;
            let coded = split(rest, as_len(coded_len), PART)?;
            column.resize(as_len(raw_len), 0);
            coder::Decoder::new().column(PART, coded, column)?;
        }
        Ok(columns)
    }

    fn take(
        &mut self,
        column: usize,
        field: &'static str,
        min: u64,
        max: u64,
    ) -> Result<u64, FormatError> {
        bounded(field, varint::take(&self.bytes[column], &mut self.at[column])?, min, max)
    }

    fn take_signed(&mut self, column: usize) -> Result<i64, FormatError> {
        varint::take_signed(&self.bytes[column], &mut self.at[column])
    }

    fn close(&self) -> Result<(), FormatError> {
        let is_used = self.bytes.iter().zip(self.at).all(|(column, at)| column.len() == at);
        if is_used { Ok(()) } else { Err(FormatError::TrailingBytes(PART)) }
    }
}

fn put_column(out: &mut Vec<u8>, raw: &[u8]) {
    let coded = coder::column(raw, coder::LEVEL_MAX);
    varint::put(out, raw.len() as u64);
    varint::put(out, coded.len() as u64);
    out.extend(coded);
}

/// Takes a varint from the front of `rest`.
fn take(rest: &mut &[u8], field: &'static str, min: u64, max: u64) -> Result<u64, FormatError> {
    let mut at = 0;
    let value = varint::take(rest, &mut at)?;
    split(rest, at, PART)?;
    bounded(field, value, min, max)
}

/// Lengths that were bounded by less than 4 GiB just before.
fn as_len(len: u64) -> usize {
    usize::try_from(len).expect("a bounded length fits in memory")
}

#[cfg(test)]
mod tests;
