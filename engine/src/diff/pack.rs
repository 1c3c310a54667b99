//! Coding: drafts become frames. Columns are coded frame by frame, literals group by group; both
//! in parallel, in an order that does not depend on the number of threads.

use rayon::prelude::*;

use super::DiffError;
use super::draft::Draft;
use crate::coder::{self, LiteralEncoder};
use crate::format::frame::COLUMN_COUNT;
use crate::format::{Frame, FramePrefix, Restart};
use crate::io::{Event, Progress, Source, Spool};
use crate::limits::BODY_LEN_MAX;

/// What the frames came to.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Bytes of all frames.
    pub(super) len: u64,
    /// Restart points, counted from the first frame.
    pub(super) restarts: Vec<Restart>,
    /// Bytes of each column as coded.
    pub(super) columns: [u64; COLUMN_COUNT],
    /// Bytes of literals as coded.
    pub(super) literals: u64,
    /// Bytes of all that frames of the coder `cm` code.
    pub(super) mixed: u64,
}

impl Packed {
    /// The next frame starts a group, with its first byte at `target_offset`.
    pub(super) fn restart(&mut self, target_offset: u64) {
        if target_offset > 0 {
            self.restarts.push(Restart { patch_offset: self.len, target_offset });
        }
    }

    /// Appends a frame.
    pub(super) fn append(&mut self, body: &[u8], spool: &mut dyn Spool) -> Result<(), DiffError> {
        assert!(body.len() <= BODY_LEN_MAX, "drafts are cut so that their bodies fit");
        let prefix = FramePrefix::encode(body);
        self.len += (prefix.len() + body.len()) as u64;
        spool.append(&prefix).and_then(|()| spool.append(body)).map_err(DiffError::Spool)
    }
}

/// How literals are coded, and in what groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coding {
    /// The level of zstd.
    pub(super) level: i32,
    /// A group ends, and the literal stream starts afresh, after so many bytes of coded columns and
    /// literals not yet coded: at most so much must be read again after a power cut.
    pub(super) restart_len: u64,
    /// log2 of the literal stream's window in bytes.
    pub(super) window_log2: u32,
}

/// Codes the drafts and appends the frames to the spool.
pub(super) fn pack(
    mut drafts: Vec<Draft>,
    target: &dyn Source,
    coding: Coding,
    refs: bool,
    spool: &mut dyn Spool,
    progress: Progress,
) -> Result<Packed, DiffError> {
    let raw_lens: Vec<_> = drafts.iter().map(|d| d.columns.each_ref().map(Vec::len)).collect();
    let columns = drafts.par_iter_mut().flat_map(|draft| draft.columns.par_iter_mut());
    columns.for_each(|column| {
        let raw_len = column.len() as u64;
        *column = coder::column(column, coding.level);
        progress(Event::Advance(raw_len));
    });
    let mut packed = Packed::default();
    let lens: Vec<u64> = drafts.iter().map(|draft| draft.len() as u64).collect();
    let groups = groups(&lens, coding.restart_len);
    for batch in groups.chunks(rayon::current_num_threads()) {
        let coded: Vec<_> = batch
            .par_iter()
            .map(|group| literals(&drafts[group.clone()], target, coding, progress))
            .collect::<Result<_, DiffError>>()?;
        for (group, pieces) in batch.iter().zip(coded) {
            packed.restart(drafts[group.start].target_offset);
            for (index, piece) in group.clone().zip(pieces) {
                let draft = &drafts[index];
                for (sum, column) in packed.columns.iter_mut().zip(&draft.columns) {
                    *sum += column.len() as u64;
                }
                packed.literals += piece.len() as u64;
                let (len, count) = (draft.target_len, draft.literals_len);
                let columns = &draft.columns;
                let body = Frame::encode(len, refs, raw_lens[index], columns, count, &piece);
                packed.append(&body, spool)?;
            }
        }
    }
    Ok(packed)
}

/// Cuts frames of these lengths into groups that can be decoded on their own.
pub(super) fn groups(lens: &[u64], restart_len: u64) -> Vec<std::ops::Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    let mut len = 0;
    for (index, next) in lens.iter().enumerate() {
        if len > 0 && len + next > restart_len {
            groups.push(start..index);
            (start, len) = (index, 0);
        }
        len += next;
    }
    if start < lens.len() {
        groups.push(start..lens.len());
    }
    groups
}

/// The literal stream of one group, in a piece for each frame.
fn literals(
    drafts: &[Draft],
    target: &dyn Source,
    coding: Coding,
    progress: Progress,
) -> Result<Vec<Vec<u8>>, DiffError> {
    let in_frame = |len: u64| usize::try_from(len).expect("a frame fits in memory");
    let len = drafts.iter().map(|draft| in_frame(draft.literals_len)).sum();
    let mut encoder = LiteralEncoder::within(len, coding.level, coding.window_log2);
    let mut pieces = Vec::with_capacity(drafts.len());
    let mut raw = Vec::new();
    for draft in drafts {
        raw.clear();
        for range in &draft.literals {
            let from = raw.len();
            raw.resize(from + in_frame(range.len), 0);
            target.read_at(range.offset, &mut raw[from..]).map_err(DiffError::Target)?;
        }
        pieces.push(encoder.code(&raw));
        progress(Event::Advance(draft.literals_len));
    }
    Ok(pieces)
}
