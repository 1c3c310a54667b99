//! Which blocks of the source a patch copies from, and what they must hash to.
//!
//! Only these are read and checked before the first write: a source that was touched elsewhere
//! (a mount count, a log) still serves. The digests are short because they only tell a wrong
//! source early and say where; the target's windows are checked in full in any case.

use super::{bounded, split, split_array};
use crate::coder;
use crate::error::FormatError;
use crate::limits::{SOURCE_BLOCK, SOURCE_RUNS_MAX};
use crate::varint;

/// The used part of the source: sorted, disjoint, non-adjacent runs, and one digest for each
/// `group_len` bytes of their concatenation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceMap {
    /// The runs, in order.
    pub runs: Vec<SourceRange>,
    /// First 16 bytes of the BLAKE3 digest of each group, in order.
    pub groups: Vec<[u8; 16]>,
    /// Bytes of concatenated runs that one digest covers; the last group may be shorter.
    pub group_len: u64,
}

/// A range of the source, in bytes. Starts on a block, ends on one or at the source's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceRange {
    /// First byte.
    pub offset: u64,
    /// Length in bytes, above zero.
    pub len: u64,
}

impl SourceRange {
    /// The byte behind the last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

impl SourceMap {
    /// The map of sorted, disjoint ranges, widened to whole blocks and joined where they touch.
    ///
    /// Joins the nearest runs until at most [`SOURCE_RUNS_MAX`] are left. Digests are still to be
    /// filled in.
    #[must_use]
    pub fn of_used(used: &[SourceRange], source_size: u64, group_len: u64) -> Self {
        let mut runs: Vec<SourceRange> = Vec::new();
        for range in used {
            let offset = range.offset / SOURCE_BLOCK * SOURCE_BLOCK;
            let end = range.end().next_multiple_of(SOURCE_BLOCK).min(source_size);
            match runs.last_mut() {
                Some(last) if last.end() >= offset => {
                    last.len = last.len.max(end - last.offset);
                }
                _ => runs.push(SourceRange { offset, len: end - offset }),
            }
        }
        let mut gap = SOURCE_BLOCK;
        while runs.len() > SOURCE_RUNS_MAX {
            gap *= 2;
            runs.dedup_by(|next, last| {
                let near = next.offset - last.end() <= gap;
                if near {
                    last.len = next.end() - last.offset;
                }
                near
            });
        }
        Self { runs, groups: Vec::new(), group_len }
    }

    /// Bytes of source that are checked.
    #[must_use]
    pub fn used_len(&self) -> u64 {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// Whether every byte of the range was checked.
    #[must_use]
    pub fn covers(&self, offset: u64, len: u64) -> bool {
        let after = self.runs.partition_point(|run| run.offset <= offset);
        after.checked_sub(1).is_some_and(|i| offset + len <= self.runs[i].end())
    }

    /// The same as a check.
    ///
    /// # Errors
    /// [`FormatError::CopyUnchecked`] if a byte was not checked.
    pub(crate) fn check(&self, offset: u64, len: u64) -> Result<(), FormatError> {
        let is_covered = self.covers(offset, len);
        if is_covered { Ok(()) } else { Err(FormatError::CopyUnchecked { offset, len }) }
    }

    /// The pieces of each group, in order: what to read and hash for digest `i`.
    #[must_use]
    pub fn group_pieces(&self) -> Vec<Vec<SourceRange>> {
        self.groups_in_turn().collect()
    }

    /// The same one at a time: a hostile map lists so many that all at once are 40 MiB.
    pub fn groups_in_turn(&self) -> impl Iterator<Item = Vec<SourceRange>> {
        let mut runs = self.runs.iter();
        let mut rest = SourceRange { offset: 0, len: 0 };
        std::iter::from_fn(move || {
            let mut group = Vec::new();
            let mut room = self.group_len;
            while room > 0 {
                if rest.len == 0 {
                    let Some(run) = runs.next() else { break };
                    rest = *run;
                }
                let len = rest.len.min(room);
                group.push(SourceRange { offset: rest.offset, len });
                rest = SourceRange { offset: rest.offset + len, len: rest.len - len };
                room -= len;
            }
            (!group.is_empty()).then_some(group)
        })
    }

    /// Reads a map of exactly `bytes` (format 3).
    pub(crate) fn decode(
        mut bytes: &[u8],
        source_size: u64,
        group_len: u64,
    ) -> Result<Self, FormatError> {
        const PART: &str = "source map";
        let mut at = 0;
        let run_count = varint::take(bytes, &mut at)?;
        bounded("run_count", run_count, 0, SOURCE_RUNS_MAX as u64)?;
        if run_count == 0 {
            return match bytes.len() - at {
                0 => Ok(Self { group_len, ..Self::default() }),
                _ => Err(FormatError::TrailingBytes(PART)),
            };
        }
        let raw_len = varint::take(bytes, &mut at)?;
        bounded("runs_len", raw_len, 2, run_count * 20)?;
        let coded_len = varint::take(bytes, &mut at)?;
        bounded("runs_coded_len", coded_len, 1, raw_len)?;
        let as_len = |len| usize::try_from(len).map_err(|_| FormatError::Truncated(PART));
        split(&mut bytes, at, PART)?;
        let coded = split(&mut bytes, as_len(coded_len)?, PART)?;
        let mut raw = vec![0; as_len(raw_len)?];
        coder::Decoder::new().column("runs", coded, &mut raw)?;
        let mut map = Self { group_len, ..Self::default() };
        let block_count = source_size.div_ceil(SOURCE_BLOCK);
        let (mut at, mut block) = (0, 0);
        for index in 0..run_count {
            let gap = varint::take(&raw, &mut at)?;
            bounded("run_gap", gap, u64::from(index > 0), block_count)?;
            let len = varint::take(&raw, &mut at)?;
            bounded("run_len", len, 1, block_count.saturating_sub(block + gap))?;
            let offset = (block + gap) * SOURCE_BLOCK;
            block += gap + len;
            let end = (block * SOURCE_BLOCK).min(source_size);
            map.runs.push(SourceRange { offset, len: end - offset });
        }
        if at != raw.len() {
            return Err(FormatError::TrailingBytes("runs"));
        }
        for _ in 0..map.used_len().div_ceil(group_len) {
            map.groups.push(split_array(&mut bytes, PART)?);
        }
        if !bytes.is_empty() {
            return Err(FormatError::TrailingBytes(PART));
        }
        Ok(map)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, self.runs.len() as u64);
        if self.runs.is_empty() {
            return out;
        }
        let mut raw = Vec::new();
        let mut block = 0;
        for run in &self.runs {
            let first = run.offset / SOURCE_BLOCK;
            let len = run.len.div_ceil(SOURCE_BLOCK);
            varint::put(&mut raw, first - block);
            varint::put(&mut raw, len);
            block = first + len;
        }
        let coded = coder::column(&raw, coder::LEVEL_MAX);
        varint::put(&mut out, raw.len() as u64);
        varint::put(&mut out, coded.len() as u64);
        out.extend(coded);
        self.groups.iter().for_each(|group| out.extend(group));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_cut_across_runs_and_leave_nothing_out() {
        let range = |offset, len| SourceRange { offset, len };
        let runs = vec![range(0, 3), range(10, 7), range(20, 4)];
        let map = SourceMap { runs, groups: Vec::new(), group_len: 5 };
        let groups = [vec![range(0, 3), range(10, 2)], vec![range(12, 5)], vec![range(20, 4)]];
        assert_eq!(map.group_pieces(), groups);
        assert_eq!(
            SourceMap { group_len: 7, ..map }.group_pieces()[1],
            [range(14, 3), range(20, 4)]
        );
        assert!(SourceMap::default().group_pieces().is_empty());
    }
}
