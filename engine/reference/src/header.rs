//! The header (2) and its source map (3), and what both promise about the two images.

use std::ops::Range;

use blake3::hazmat::HasherExt;

use crate::bytes::{Bytes, memory, within};
use crate::unpack::Blocks;
use crate::{Result, coder, must};

/// A header that keeps all rules.
#[derive(Default)]
pub(crate) struct Header {
    pub(crate) header_len: u64,
    pub(crate) patch_size: u64,
    pub(crate) source_size: u64,
    pub(crate) target_size: u64,
    /// Offsets in the patch and in the target.
    pub(crate) restarts: Vec<(u64, u64)>,
    /// Whether there is the layer `refs`.
    pub(crate) refs: bool,
    /// What the layer `unpack` lists, if there is that.
    pub(crate) blocks: Option<Blocks>,
    target_root: Vec<u8>,
    window_len: u64,
    /// The digests of its windows, one behind the other, if the target has several.
    target_table: Vec<u8>,
    /// Sorted, disjoint ranges of the source, in bytes.
    pub(crate) runs: Vec<Range<u64>>,
    /// Short digests of the groups that the runs make, one behind the other.
    groups: Vec<u8>,
}

impl Header {
    /// Reads the header at the front of a patch.
    pub(crate) fn read(patch: &[u8]) -> Result<Self> {
        let mut header = Self::default();
        let mut rest = Bytes::new(patch, "header");
        must(rest.take(8)? == b"\x89neap\r\n\x1a", "not a neap patch: the magic is missing")?;
        within(1..=1, rest.number(2)?, "version")?;
        header.window_len = 1 << within(16..=21, rest.number(1)?, "window_log2")?;
        let layer_count = within(0..=16, rest.number(1)?, "layer_count")?;
        header.header_len = within(145..=6 << 20, rest.number(4)?, "header_len")?;
        let bytes = Bytes::new(patch, "header").take(header.header_len)?;
        let (bytes, digest) = bytes.split_at(bytes.len() - 32);
        must(blake3::hash(bytes).as_bytes() == digest, "the header is damaged")?;
        let mut rest = Bytes::new(&bytes[16..], "header");
        header.patch_size = within(header.header_len..=u64::MAX, rest.number(8)?, "patch_size")?;
        header.source_size = within(0..=128 << 30, rest.number(8)?, "source_size")?;
        header.target_size = within(0..=128 << 30, rest.number(8)?, "target_size")?;
        // `source_root` is for people.
        rest.take(32)?;
        header.target_root = rest.take(32)?.to_vec();
        let restart_count = within(0..=65536, rest.number(4)?, "restart_count")?;
        let source_map_len = rest.number(4)?;
        let (mut id, mut blocks_len) = (0, 0);
        for _ in 0..layer_count {
            id = within(id + 1..=0xffff, rest.number(2)?, "layer id")?;
            let len = rest.number(2)?;
            let mut layer = Bytes::new(rest.take(len)?, "layers");
            match id {
                1 => header.refs = true,
                2 => blocks_len = within(1..=6 << 20, layer.varint()?, "blocks_len")?,
                0x8000 => (0..3).try_for_each(|_| layer.varint().map(drop))?,
                0x8001.. => continue,
                _ => return Err(format!("layer id is {id}: not known")),
            }
            layer.end()?;
        }
        let restarts = (0..restart_count).map(|_| Ok((rest.number(8)?, rest.number(8)?)));
        header.restarts = restarts.collect::<Result<_>>()?;
        // Whether the table is as long as it must be is seen once it is compared.
        let tables_len = source_map_len + blocks_len;
        let tables_len = within(0..=rest.len(), tables_len, "source_map_len and blocks_len")?;
        header.target_table = rest.take(rest.len() - tables_len)?.to_vec();
        let mut map = Bytes::new(rest.take(source_map_len)?, "source map");
        header.runs = read_runs(&mut map, header.source_size)?;
        header.groups = map.take(map.len())?.to_vec();
        if blocks_len > 0 {
            header.blocks = Some(Blocks::read(rest, header.source_size, header.target_size)?);
        }
        Ok(header)
    }

    /// Checks what the source map lists.
    pub(crate) fn check_source(&self, source: &[u8]) -> Result<()> {
        must(source.len() as u64 >= self.source_size, "the source is too small")?;
        let ranges = self.runs.iter().map(|run| &source[memory(run.start)..memory(run.end)]);
        let used = ranges.collect::<Vec<_>>().concat();
        let groups = used.chunks(memory(self.window_len)).map(blake3::hash);
        let groups: Vec<_> = groups.flat_map(|group| group.as_bytes()[..16].to_vec()).collect();
        must(groups == self.groups, "the source is not what the patch needs")
    }

    /// Bytes of the source, all of which must be in the source map.
    pub(crate) fn used<'a>(&self, source: &'a [u8], start: u64, len: u64) -> Result<&'a [u8]> {
        let is_in = self.is_mapped(start, len);
        must(is_in, "bytes of the source are used that are not in the source map")?;
        Ok(&source[memory(start)..memory(start + len)])
    }

    pub(crate) fn is_mapped(&self, start: u64, len: u64) -> bool {
        let end = start.saturating_add(len);
        self.runs.iter().any(|run| run.start <= start && end <= run.end)
    }

    /// Checks the target and each of its windows.
    pub(crate) fn check_target(&self, target: &[u8]) -> Result<()> {
        must(blake3::hash(target).as_bytes()[..] == self.target_root, "the target is damaged")?;
        let mut table = Vec::new();
        for window in target.chunks(memory(self.window_len)) {
            let offset = table.len() as u64 / 32 * self.window_len;
            let mut hasher = blake3::Hasher::new();
            table.extend(hasher.set_input_offset(offset).update(window).finalize_non_root());
        }
        let listed = if table.len() > 32 { table } else { Vec::new() };
        must(listed == self.target_table, "the target table is not that of the target")
    }
}

fn read_runs(map: &mut Bytes<'_>, source_size: u64) -> Result<Vec<Range<u64>>> {
    const BLOCK_LEN: u64 = 4096;
    let run_count = within(0..=32768, map.varint()?, "run_count")?;
    if run_count == 0 {
        return Ok(Vec::new());
    }
    let runs_len = within(2..=20 * run_count, map.varint()?, "runs_len")?;
    let coded_len = within(1..=runs_len, map.varint()?, "runs_coded_len")?;
    let column = coder::column(map, (runs_len, coded_len))?;
    let mut column = Bytes::new(&column, "runs");
    let (mut runs, mut block, block_count) = (Vec::new(), 0, source_size.div_ceil(BLOCK_LEN));
    for index in 0..run_count {
        let bounds = u64::from(index > 0)..=block_count - block;
        let first = block + within(bounds, column.varint()?, "run_gap")?;
        block = first + within(1..=block_count - first, column.varint()?, "run_len")?;
        runs.push(first * BLOCK_LEN..(block * BLOCK_LEN).min(source_size));
    }
    column.end()?;
    Ok(runs)
}
