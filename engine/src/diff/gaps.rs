//! What exact matches left over: stretches of the target to be matched, and of the source to match
//! them with, joined end to end in memory.

use rayon::prelude::*;

use super::DiffError;
use super::segment::{From, Segment};
use crate::format::SourceRange;
use crate::io::Source;

/// Bytes read by one task: some images take longer to read than to copy.
const READ: u64 = 1 << 20;

/// Stretches of an image, joined end to end.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// Where each stretch starts in `bytes`, and where it lies in the image; in order of both.
    pieces: Vec<(usize, SourceRange)>,
}

impl Joined {
    /// Reads the stretches, which are sorted and disjoint.
    pub(super) fn read(
        image: &dyn Source,
        ranges: &[SourceRange],
        failed: fn(crate::io::Error) -> DiffError,
    ) -> Result<Self, DiffError> {
        let len: u64 = ranges.iter().map(|range| range.len).sum();
        let mut joined =
            Self { bytes: vec![0; in_memory(len)], pieces: Vec::with_capacity(ranges.len()) };
        let parts = parts(ranges, READ);
        joined.bytes.par_chunks_mut(in_memory(READ)).zip(parts).try_for_each(|(bytes, part)| {
            let mut at = 0;
            for range in part {
                let end = at + in_memory(range.len);
                image.read_at(range.offset, &mut bytes[at..end]).map_err(failed)?;
                at = end;
            }
            Ok(())
        })?;
        let mut at = 0;
        for range in ranges {
            joined.pieces.push((at, *range));
            at += in_memory(range.len);
        }
        Ok(joined)
    }

    /// Where byte `at` lies in the image, and the stretch it belongs to, as a range of `bytes`.
    pub(super) fn place(&self, at: usize) -> (u64, std::ops::Range<usize>) {
        let index = self.pieces.partition_point(|(start, _)| *start <= at) - 1;
        let (start, range) = self.pieces[index];
        (range.offset + (at - start) as u64, start..start + in_memory(range.len))
    }

    /// Turns a match between two joined images into segments, cut where either is joined.
    pub(super) fn segments(
        &self,
        mut at: usize,
        source: &Self,
        mut from: usize,
        mut len: usize,
        out: &mut Vec<Segment>,
    ) {
        while len > 0 {
            let (target, target_piece) = self.place(at);
            let (offset, source_piece) = source.place(from);
            let part = len.min(target_piece.end - at).min(source_piece.end - from);
            let diagonal = offset.cast_signed() - target.cast_signed();
            out.push(Segment { target, len: part as u64, from: From::Source { diagonal } });
            at += part;
            from += part;
            len -= part;
        }
    }
}

/// The stretches of `0 .. size` that no range covers; ranges may overlap but are sorted.
pub(super) fn between(
    covered: impl Iterator<Item = SourceRange>,
    whole: SourceRange,
    min_len: u64,
) -> Vec<SourceRange> {
    let mut gaps = Vec::new();
    let mut at = whole.offset;
    for range in covered.chain([SourceRange { offset: whole.end(), len: 0 }]) {
        let end = range.offset.min(whole.end());
        if end >= at + min_len.max(1) {
            gaps.push(SourceRange { offset: at, len: end - at });
        }
        at = at.max(range.end());
    }
    gaps
}

/// Cuts stretches into parts of at most `len_max` bytes in all.
pub(super) fn parts(stretches: &[SourceRange], len_max: u64) -> Vec<Vec<SourceRange>> {
    let mut parts = vec![Vec::new()];
    let mut room = len_max;
    for stretch in stretches {
        let mut rest = *stretch;
        while rest.len > 0 {
            if room == 0 {
                parts.push(Vec::new());
                room = len_max;
            }
            let len = rest.len.min(room);
            parts.last_mut().expect("starts with one").push(SourceRange { len, ..rest });
            rest = SourceRange { offset: rest.offset + len, len: rest.len - len };
            room -= len;
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Lengths of what was sized to fit the memory limit.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("sized to fit the memory limit")
}
