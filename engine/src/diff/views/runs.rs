//! Which blocks are a run: their corrections stand together in front of them, so that the plain
//! bytes behind follow each other as the packed ones do.
//!
//! A file is several blocks: where nothing stands between their plain bytes, a stream or an
//! executable in it is seen whole.

use crate::io::Error;

use super::read::Stored;
use crate::format::TargetBlock;
use crate::format::unpack::lay_out;
use crate::io::scratch::Scratch;
use crate::limits::{CORRECTIONS_LEN_MAX, RUN_LEN_MAX};
use crate::unpack::pack::in_memory;

/// Puts the blocks of a level in runs and in their places in the view, and says where what it has
/// for each is kept. The plain bytes are at `plains`, each with its correction behind it; something
/// starts at each of `starts`, in order.
pub(super) fn joined(
    level: &mut [TargetBlock],
    plains: &[u64],
    starts: &[u64],
    scratch: &Scratch,
) -> Result<Vec<Stored>, Error> {
    let begins_run = begins_run(level, starts);
    lay_out(level, &begins_run);
    let mut stored: Vec<Stored> = Vec::with_capacity(level.len());
    for (index, &plain) in plains.iter().enumerate() {
        let block = &level[index];
        let front = if block.front_len == block.correction_len {
            plain + block.plain_len
        } else if block.front_len == 0 {
            plain
        } else {
            scratch.append(&[&corrections(&level[index..], &plains[index..], scratch)?])?
        };
        stored.push(Stored { plain, front });
    }
    Ok(stored)
}

/// The corrections of the run that the first of these blocks begins.
fn corrections(
    blocks: &[TargetBlock],
    plains: &[u64],
    scratch: &Scratch,
) -> Result<Vec<u8>, Error> {
    let mut corrections = vec![0; in_memory(blocks[0].front_len)];
    let mut rest = &mut corrections[..];
    for (block, plain) in blocks.iter().zip(plains) {
        let (part, behind) = rest.split_at_mut(in_memory(block.correction_len).min(rest.len()));
        scratch.read_at(plain + block.plain_len, part)?;
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    Ok(corrections)
}

/// Which blocks begin a run.
fn begins_run(level: &[TargetBlock], starts: &[u64]) -> Vec<bool> {
    let mut begins_run = vec![false; level.len()];
    let mut end = level.len();
    for first in firsts(level, starts).into_iter().rev() {
        begins_run[first] = level[first..end].iter().any(|block| block.correction_len > 0);
        end = first;
    }
    begins_run
}

/// A run that is being filled.
#[derive(Default)]
struct Run {
    first: usize,
    /// Plain bytes from its first block to the next one.
    len: u64,
    corrections_len: u64,
    /// Its last block with which something starts, behind the first.
    start: Option<usize>,
}

/// The first blocks of runs: as few as the limits allow, where something starts if that can be.
fn firsts(level: &[TargetBlock], starts: &[u64]) -> Vec<usize> {
    let mut firsts: Vec<usize> = (0..level.len().min(1)).collect();
    let (mut run, mut index) = (Run::default(), 0);
    while let Some(block) = level.get(index) {
        let end = index.checked_sub(1).map_or(0, |before| level[before].end());
        if index > run.first {
            run.len += block.offset - end;
            let start = starts.partition_point(|start| *start < end);
            if starts.get(start).is_some_and(|start| *start <= block.offset) {
                run.start = Some(index);
            }
        }
        // Where nothing is lost by it, too: a device goes back to the front of a run.
        let is_empty = run.corrections_len == 0 && run.start == Some(index);
        if is_empty || run.is_over(block.correction_len) {
            // What was looked at behind the start has no other, so this happens to it once.
            index = run.start.unwrap_or(index);
            run = Run { first: index, ..Run::default() };
            firsts.push(index);
            continue;
        }
        run.corrections_len += block.correction_len;
        run.len += block.plain_len;
        index += 1;
    }
    firsts
}

impl Run {
    /// Whether a block with such a correction, which comes next, is one too many.
    fn is_over(&self, correction_len: u64) -> bool {
        let corrections_len = self.corrections_len + correction_len;
        self.len > RUN_LEN_MAX
            || (self.corrections_len > 0 && corrections_len > CORRECTIONS_LEN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first blocks of runs of blocks of these plain lengths and corrections, two bytes packed
    /// and one byte apart, where something starts with the blocks at `starts`.
    fn runs(told: &[(u64, u64)], starts: &[u64]) -> Vec<usize> {
        let block = |(index, &(plain_len, correction_len)): (usize, &(u64, u64))| TargetBlock {
            offset: 3 * index as u64,
            len: 2,
            view_offset: 0,
            plain_len,
            correction_len,
            front_len: 0,
            method: 0,
        };
        let level: Vec<TargetBlock> = told.iter().enumerate().map(block).collect();
        let starts: Vec<u64> = starts.iter().map(|index| 3 * index).collect();
        let begins_run = begins_run(&level, &starts);
        (0..level.len()).filter(|index| begins_run[*index]).collect()
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn run_is_as_long_as_it_may_be() {
        assert_eq!(runs(&[(MIB, 1); 40], &[]), [0, 16, 32]);
        assert_eq!(runs(&[(MIB, MIB / 4); 10], &[]), [0, 4, 8]);
        assert_eq!(runs(&[(MIB, MIB), (MIB, 0), (MIB, MIB), (MIB, 2 * MIB)], &[]), [0, 2, 3]);
        assert_eq!(runs(&[(20 * MIB, 1), (1, 1), (1, 1)], &[]), [0, 1]);
    }

    #[test]
    fn run_begins_where_something_starts() {
        // At the last start that is near enough, and at the first block that has a correction.
        assert_eq!(runs(&[(MIB, 1); 40], &[5, 9, 20, 31]), [0, 9, 20, 31]);
        assert_eq!(runs(&[(MIB, 1); 40], &[1]), [0, 1, 17, 33]);
        assert_eq!(runs(&[(1, 0), (1, 0), (1, 0), (1, 1), (1, 1)], &[0, 2, 4]), [2]);
    }

    #[test]
    fn blocks_without_corrections_are_in_no_run() {
        assert_eq!(runs(&[(MIB, 0); 40], &[3, 4]), []);
        assert_eq!(runs(&[], &[]), []);
        assert_eq!(runs(&[(MIB, 0), (MIB, 1), (20 * MIB, 0), (1, 0), (1, 2)], &[]), [0, 3]);
    }
}
