//! From both images to a patch that lacks its header: as they are, or as they are seen.

use std::ops::Range;

use super::segment::Segment;
use super::views::Views;
use super::{DiffError, Options, Summary, candidates, exact, plan, window_shift};
use crate::digest::{self, Digest};
use crate::format::{Blocks, Estimates, Header, SourceMap, SourceRange};
use crate::io::{Progress, Source, Spool};
use crate::limits::WINDOW_LOG2_MIN;

/// Both images, and what is known of them before anything is chosen.
pub(super) struct Images<'a> {
    source: &'a dyn Source,
    target: &'a dyn Source,
    source_root: Digest,
    /// Digests of the target's least windows.
    target_windows: Vec<Digest>,
    pub(super) exact: Vec<Segment>,
}

/// A patch of which only the header is still to be written.
pub(super) struct Made {
    pub(super) header: Header,
    /// Where the frames lie in the spool, and how much that has.
    pub(super) range: Range<u64>,
    pub(super) spooled: u64,
    pub(super) summary: Summary,
}

impl Made {
    /// Its length, in bytes.
    pub(super) fn len(&self) -> u64 {
        let frames_len = self.range.end - self.range.start;
        self.header.clone().encode(frames_len).1.patch_size
    }
}

impl<'a> Images<'a> {
    pub(super) fn of(
        source: &'a dyn Source,
        target: &'a dyn Source,
        progress: Progress,
    ) -> Result<Self, DiffError> {
        let (index, exact, target_windows) = exact(source, target, progress)?;
        let source_root = digest::root(&index.windows);
        Ok(Self { source, target, source_root, target_windows, exact })
    }

    /// The patch of the images as they are.
    pub(super) fn plain(
        &self,
        options: &Options,
        spool: &mut dyn Spool,
        spooled: u64,
        progress: Progress,
    ) -> Result<Made, DiffError> {
        let Self { source, target, exact, .. } = self;
        let (candidates, estimates) =
            candidates(*source, *target, exact.clone(), &|pieces| pieces, options, progress)?;
        let chosen = plan::choose(candidates, *source, *target, options, spool, spooled, progress)?;
        let used = chosen.candidate.used();
        let header = self.header(&chosen, None, &used, Some(estimates), progress)?;
        Ok(Made::of(chosen, header, self.target.size()))
    }

    /// The patch of their views.
    pub(super) fn unpacked(
        &self,
        views: &Views,
        options: &Options,
        spool: &mut dyn Spool,
        progress: Progress,
    ) -> Result<Made, DiffError> {
        let (source, target) = (&views.source, &views.target());
        let (_, exact, _) = exact(source, target, progress)?;
        let (candidates, _) =
            candidates(source, target, exact, &|pieces| views.calmed(pieces), options, progress)?;
        let chosen = plan::choose(candidates, source, target, options, spool, 0, progress)?;
        let (blocks, used) = views.used(&chosen.candidate.used());
        let header = self.header(&chosen, Some(blocks), &used, None, progress)?;
        Ok(Made::of(chosen, header, target.size()))
    }

    fn header(
        &self,
        chosen: &plan::Chosen,
        blocks: Option<Blocks>,
        used: &[SourceRange],
        estimates: Option<Estimates>,
        progress: Progress,
    ) -> Result<Header, DiffError> {
        let Self { source, target, .. } = self;
        let shift = window_shift(chosen.packed.len, source.size().max(target.size()));
        let window_log2 = WINDOW_LOG2_MIN + shift;
        let mut source_map = SourceMap::of_used(used, source.size(), 1 << window_log2);
        plan::hash_groups(*source, &mut source_map, progress)?;
        let target_windows = digest::widen(&self.target_windows, shift);
        Ok(Header {
            window_log2,
            patch_size: 0,
            source_size: source.size(),
            target_size: target.size(),
            source_root: self.source_root,
            target_root: digest::root(&target_windows),
            refs: chosen.candidate.refs,
            blocks,
            estimates,
            restarts: chosen.packed.restarts.clone(),
            target_windows,
            source_map,
            header_len: 0,
            id: Digest([0; 32]),
        })
    }
}

impl Made {
    fn of(chosen: plan::Chosen, header: Header, view: u64) -> Self {
        let plan::Chosen { mut summary, range, spooled, .. } = chosen;
        summary.view = view;
        Self { header, range, spooled, summary }
    }
}
