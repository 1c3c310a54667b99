//! The layer `unpack` (11): the table of blocks, both views, and the way back to the target.

mod codec;
mod derived;

use std::ops::Range;

use crate::bytes::{Bytes, memory, within};
use crate::header::Header;
use crate::{Result, coder, must};
use codec::Method;

/// The table of blocks (11.1).
#[derive(Default)]
pub(crate) struct Blocks {
    methods: Vec<Method>,
    source: Vec<Block>,
    levels: Vec<Vec<Block>>,
}

/// A block of either side: where its packed bytes are, and where its plain bytes are in the view,
/// with `front_len` bytes of corrections in front of them if it begins a run.
#[derive(Default)]
struct Block {
    offset: u64,
    len: u64,
    view_offset: u64,
    plain_len: u64,
    correction_len: u64,
    front_len: u64,
    method: usize,
}

impl Blocks {
    /// Reads the table, which is all of `rest`.
    pub(crate) fn read(mut rest: Bytes<'_>, source_size: u64, target_size: u64) -> Result<Self> {
        let mut blocks = Self::default();
        for _ in 0..within(1..=256, rest.varint()?, "method_count")? {
            let len = within(1..=32, rest.varint()?, "method_len")?;
            blocks.methods.push(Method::read(rest.take(len)?)?);
        }
        let count = within(0..=1 << 18, rest.varint()?, "block_count")?;
        let mut room = (1 << 18) - count;
        blocks.read_source(&mut rest, count, source_size)?;
        let mut size = target_size;
        for _ in 0..within(0..=3, rest.varint()?, "level_count")? {
            let count = within(1..=room, rest.varint()?, "block_count")?;
            room -= count;
            size = blocks.read_level(&mut rest, count, size)?;
        }
        rest.end()?;
        Ok(blocks)
    }

    fn read_source(&mut self, rest: &mut Bytes<'_>, count: u64, source_size: u64) -> Result<()> {
        let columns = columns(rest, count)?;
        let [offsets, lens, plain_lens, methods, gaps] =
            &mut columns.each_ref().map(|column| Bytes::new(column, "blocks"));
        let (mut packed_end, mut end) = (0_u64, source_size);
        let mut depths = Vec::new();
        for _ in 0..count {
            let offset = packed_end.wrapping_add(offsets.signed()?.cast_unsigned());
            let offset = within(0..=128 << 30, offset, "block_offset")?;
            let len = within(1..=64 << 20, lens.varint()?, "block_len")?;
            let plain_len = within(1..=128 << 20, plain_lens.varint()?, "plain_len")?;
            let method = self.method(methods)?;
            must(!self.methods[method].is_derived(), "a block of the source is derived")?;
            let gap = within(0..=128 << 30, gaps.varint()?, "view_gap")?;
            let view_offset = match gap {
                0 => end.next_multiple_of(4096),
                gap => end + gap - 1,
            };
            let before = end;
            end = within(0..=128 << 30, view_offset + plain_len, "the source's view")?;
            packed_end = offset + len;
            let bound = if offset < source_size { source_size } else { before };
            within(0..=bound, packed_end, "the end of a block")?;
            let depths_of_outer = self.source.iter().zip(&depths).filter(|(outer, _)| {
                outer.view_offset < packed_end && offset < outer.view_offset + outer.plain_len
            });
            let depth = 1 + depths_of_outer.map(|(_, depth)| *depth).max().unwrap_or(0);
            depths.push(within(1..=3, depth, "the depth of a block")?);
            let block = Block { offset, len, view_offset, plain_len, method, ..Block::default() };
            self.source.push(block);
        }
        [offsets, lens, plain_lens, methods, gaps].iter().try_for_each(|column| column.end())
    }

    /// Reads a level of something of this size; says the size of its view.
    fn read_level(&mut self, rest: &mut Bytes<'_>, count: u64, size: u64) -> Result<u64> {
        let columns = columns(rest, count)?;
        let [gaps, lens, plain_lens, corrections, methods] =
            &mut columns.each_ref().map(|column| Bytes::new(column, "blocks"));
        let told =
            (0..count).map(|_| within(0..=(128 << 20) + 1, corrections.varint()?, "correction"));
        let told = told.collect::<Result<Vec<_>>>()?;
        let (mut level, mut end, mut view_end, mut derived_count) = (Vec::new(), 0, 0, 0);
        // Where the run began, and the length of its corrections.
        let mut run = None;
        for (index, correction) in told.iter().enumerate() {
            let gap = within(0..=size, gaps.varint()?, "block_gap")?;
            let len = within(1..=64 << 20, lens.varint()?, "block_len")?;
            let plain_len = within(1..=128 << 20, plain_lens.varint()?, "plain_len")?;
            let (correction_len, begins_run) = (correction / 2, correction % 2 == 1);
            let method = self.method(methods)?;
            if self.methods[method].is_derived() {
                within(1..=278, plain_len, "plain_len")?;
                within(0..=0, correction_len, "correction_len")?;
                derived_count += 1;
            }
            let front_len = if begins_run { in_front(&told[index..])? } else { 0 };
            let (offset, view_offset) = (end + gap, view_end + gap + front_len);
            if begins_run {
                run = Some((view_offset, front_len));
            }
            if correction_len > 0 {
                let (start, front_len) = run.ok_or("a correction is not of a run")?;
                within(0..=16 << 20, view_offset - start, "run_len")?;
                within(0..=correction_len.max(1 << 20), front_len, "front_len")?;
            }
            end = within(0..=size, offset + len, "the end of a block")?;
            view_end = within(0..=128 << 30, view_offset + plain_len, "view_size")?;
            level.push(Block {
                offset,
                len,
                view_offset,
                plain_len,
                correction_len,
                front_len,
                method,
            });
        }
        [gaps, lens, plain_lens, corrections, methods].iter().try_for_each(|c| c.end())?;
        within(0..=if self.levels.is_empty() { 64 } else { 0 }, derived_count, "derived_count")?;
        self.levels.push(level);
        within(0..=128 << 30, size - end + view_end, "view_size")
    }

    fn method(&self, column: &mut Bytes<'_>) -> Result<usize> {
        within(0..=self.methods.len() as u64 - 1, column.varint()?, "method").map(memory)
    }

    /// Turns the header into that of both views, and makes the source's view.
    pub(crate) fn open(&self, header: &mut Header, source: &[u8]) -> Result<Vec<u8>> {
        for block in self.source.iter().filter(|block| block.offset < header.source_size) {
            let is_mapped = header.is_mapped(block.offset, block.len);
            must(is_mapped, "a block of the source is not in the source map")?;
        }
        let (view, good) = self.source_view(&source[..memory(header.source_size)]);
        // What lies behind the source needs no run of the map, but must be good.
        let mut good = good.into_iter();
        let first = good.next().expect("the source is the first");
        match header.runs.last_mut().filter(|last| last.end == header.source_size) {
            Some(last) => last.end = first.end,
            None => header.runs.push(header.source_size..first.end),
        }
        header.runs.extend(good);
        header.source_size = view.len() as u64;
        header.target_size = self.view_size(header.target_size);
        Ok(view)
    }

    /// The source, and behind it what its blocks unpack to; and what of that may be copied from,
    /// which is not what a block has in it that does not unpack.
    fn source_view(&self, source: &[u8]) -> (Vec<u8>, Vec<Range<u64>>) {
        let mut view = source.to_vec();
        let whole = 0..source.len() as u64;
        let mut good = Vec::from([whole]);
        for block in &self.source {
            view.resize(memory(block.view_offset), 0);
            let packed = memory(block.offset)..memory(block.offset + block.len);
            let is_good = good
                .iter()
                .any(|good| good.start <= block.offset && block.offset + block.len <= good.end);
            let method = &self.methods[block.method];
            let plain = method.unpack(&view[packed], block.plain_len).filter(|_| is_good);
            let end = block.view_offset + block.plain_len;
            match plain {
                Some(plain) => {
                    view.extend(plain);
                    good.last_mut().expect("the source is the first").end = end;
                }
                None => good.push(end..end),
            }
            view.resize(memory(end), 0);
        }
        (view, good)
    }

    /// Size of the last view of a target of this size.
    fn view_size(&self, target_size: u64) -> u64 {
        self.levels.iter().flatten().fold(target_size, |size, block| {
            size - block.len + block.plain_len + block.correction_len
        })
    }

    /// The target of which this is the last view.
    pub(crate) fn pack(&self, mut view: Vec<u8>) -> Result<Vec<u8>> {
        for level in self.levels.iter().rev() {
            let (mut packed, mut at, mut corrections) = (Vec::new(), 0, &view[..0]);
            for block in level {
                let start = memory(block.view_offset);
                let front = start - memory(block.front_len);
                packed.extend(&view[at..front]);
                if block.front_len > 0 {
                    corrections = &view[front..start];
                }
                at = start + memory(block.plain_len);
                let (correction, others) = corrections.split_at(memory(block.correction_len));
                corrections = others;
                let method = &self.methods[block.method];
                packed.extend(method.pack(&view[start..at], correction, block.len, &packed)?);
            }
            packed.extend(&view[at..]);
            view = packed;
        }
        Ok(view)
    }
}

/// Length of the corrections of a run, of which these begin with the first.
fn in_front(corrections: &[u64]) -> Result<u64> {
    let others = corrections[1..].iter().take_while(|correction| *correction % 2 == 0);
    within(1..=u64::MAX, corrections[..1].iter().chain(others).map(|c| c / 2).sum(), "front_len")
}

/// Five columns, of a varint a block each.
fn columns(rest: &mut Bytes<'_>, count: u64) -> Result<[Vec<u8>; 5]> {
    let mut columns: [Vec<u8>; 5] = Default::default();
    for column in &mut columns {
        let raw_len = within(0..=10 * count, rest.varint()?, "column_len")?;
        let coded_len = within(raw_len.min(1)..=raw_len, rest.varint()?, "column_coded_len")?;
        *column = coder::column(rest, (raw_len, coded_len))?;
    }
    Ok(columns)
}
