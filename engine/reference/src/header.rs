//! The header (2) and its source map (3), and what both promise about the two images.

use std::ops::Range;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::bytes::{Bytes, memory, within};
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
    window_len: u64,
    target_windows: Vec<[u8; 32]>,
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
        let (_only_for_metadata, target_root) = (rest.digest()?, rest.digest()?);
        let restart_count = within(0..=65536, rest.number(4)?, "restart_count")?;
        let source_map_len = rest.number(4)?;
        let mut id = 0;
        for _ in 0..layer_count {
            id = within(id + 1..=0xffff, rest.number(2)?, "layer id")?;
            let len = rest.number(2)?;
            let mut layer = Bytes::new(rest.take(len)?, "layers");
            header.refs |= id == 1;
            match id {
                1 => layer.end()?,
                0x8000 => {
                    (0..3).try_for_each(|_| layer.varint().map(drop)).and_then(|()| layer.end())?
                }
                _ => must(id > 0x8000, &format!("layer id is {id}: not known"))?,
            }
        }
        for _ in 0..restart_count {
            let before = *header.restarts.last().unwrap_or(&(header.header_len, 0));
            let next = (rest.number(8)?, rest.number(8)?);
            let is_inside = next.0 < header.patch_size && next.1 < header.target_size;
            must(is_inside && next.0 > before.0 && next.1 > before.1, "a restart is misplaced")?;
            header.restarts.push(next);
        }
        header.target_windows = match header.target_size.div_ceil(header.window_len) {
            1 => vec![target_root],
            count => (0..count).map(|_| rest.digest()).collect::<Result<_>>()?,
        };
        must(join(&header.target_windows, true) == target_root, "the target table is damaged")?;
        let mut map = Bytes::new(rest.take(source_map_len)?, "source map");
        rest.end()?;
        header.runs = read_runs(&mut map, header.source_size)?;
        let used_len: u64 = header.runs.iter().map(|run| run.end - run.start).sum();
        header.groups = map.take(16 * used_len.div_ceil(header.window_len))?.to_vec();
        map.end()?;
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
        let end = start.saturating_add(len);
        let is_in = self.runs.iter().any(|run| run.start <= start && end <= run.end);
        must(is_in, "bytes of the source are used that are not in the source map")?;
        Ok(&source[memory(start)..memory(end)])
    }

    /// Checks each window of the target.
    pub(crate) fn check_target(&self, target: &[u8]) -> Result<()> {
        let mut found = Vec::new();
        for window in target.chunks(memory(self.window_len)) {
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(found.len() as u64 * self.window_len).update(window);
            let is_root = window.len() == target.len();
            found.push(if is_root { hasher.finalize().into() } else { hasher.finalize_non_root() });
        }
        must(found == self.target_windows, "a window of the target is not as promised")
    }
}

/// The digest of neighbouring windows from theirs; of all windows it is the root (2.3).
fn join(windows: &[[u8; 32]], is_root: bool) -> [u8; 32] {
    let (left, right) = match windows {
        [] => return blake3::hash(&[]).into(),
        [only] => return *only,
        _ => windows.split_at(windows.len().next_power_of_two() / 2),
    };
    let (left, right) = (join(left, false), join(right, false));
    match is_root {
        true => merge_subtrees_root(&left, &right, Mode::Hash).into(),
        false => merge_subtrees_non_root(&left, &right, Mode::Hash),
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
    let column = coder::column(map.take(coded_len)?, runs_len)?;
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
