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

/// A run that is being filled.
#[derive(Default)]
struct Run {
    first: usize,
    /// Plain bytes from its first block to the next one.
    len: u64,
    corrections_len: u64,
}

/// Which blocks begin a run: as few as the limits allow, where something starts if that is near.
fn begins_run(level: &[TargetBlock], starts: &[u64]) -> Vec<bool> {
    let mut begins_run = vec![false; level.len()];
    let mut run = Run::default();
    let mut end = 0;
    for (index, block) in level.iter().enumerate() {
        run.len += block.offset - end;
        let start = starts.partition_point(|start| *start < end);
        let is_start = starts.get(start).is_some_and(|start| *start <= block.offset);
        if run.is_over(block.correction_len) || (is_start && run.may_end()) {
            run = Run { first: index, ..Run::default() };
        }
        if block.correction_len > 0 {
            begins_run[run.first] = true;
        }
        run.corrections_len += block.correction_len;
        run.len += block.plain_len;
        end = block.end();
    }
    begins_run
}

impl Run {
    /// Whether a block with such a correction, which comes next, is one too many.
    fn is_over(&self, correction_len: u64) -> bool {
        let corrections_len = self.corrections_len + correction_len;
        self.len > RUN_LEN_MAX
            || (self.corrections_len > 0 && corrections_len > CORRECTIONS_LEN_MAX)
    }

    /// Whether it is long enough to end where something else starts.
    fn may_end(&self) -> bool {
        self.corrections_len == 0
            || self.len > RUN_LEN_MAX / 2
            || self.corrections_len > CORRECTIONS_LEN_MAX / 2
    }
}
