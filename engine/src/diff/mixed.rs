//! Coding by context mixing: plans become frames whose segments, misses and literals one model
//! codes, group by group.

use rayon::prelude::*;

use super::DiffError;
use super::draft::Room;
use super::frames::Plan;
use super::pack::{self, Packed};
use super::plan::Planner;
use super::price::Price;
use super::regions::Scans;
use super::segment::From;
use crate::cm::{Encoder, Guess, Segment};
use crate::format::Frame;
use crate::format::frame::COLUMN_COUNT;
use crate::io::{Event, Progress, Source, Spool};
use crate::limits::{BODY_LEN_MAX, PIECE_LEN};
use crate::refs::piece::mark;
use crate::refs::votes::Worth;

/// Codes the plans and appends the frames to the spool.
///
/// The model starts afresh after `restart_len` bytes of plans as drafted.
pub(super) fn pack(
    plans: &[Plan],
    source: &dyn Source,
    target: &dyn Source,
    restart_len: u64,
    refs: bool,
    spool: &mut dyn Spool,
    progress: Progress,
) -> Result<Packed, DiffError> {
    let mut packed = Packed::default();
    let lens: Vec<u64> = plans.iter().map(|plan| plan.draft_len).collect();
    let groups = pack::groups(&lens, restart_len);
    for batch in groups.chunks(rayon::current_num_threads()) {
        let coded: Vec<Vec<Body>> = batch
            .par_iter()
            .map(|group| bodies(plans[group.clone()].to_vec(), source, target, refs, progress))
            .collect::<Result<_, DiffError>>()?;
        for (group, bodies) in batch.iter().zip(coded) {
            packed.restart(plans[group.start].target_offset);
            for Body { bytes, columns, mixed } in bodies {
                for (sum, len) in packed.columns.iter_mut().zip(columns) {
                    *sum += len as u64;
                }
                packed.mixed += mixed as u64;
                packed.append(&bytes, spool)?;
            }
        }
    }
    Ok(packed)
}

/// The bodies of plans that one model codes. Those that come out too long are planned anew, with
/// less in a frame.
fn bodies(
    mut plans: Vec<Plan>,
    source: &dyn Source,
    target: &dyn Source,
    refs: bool,
    progress: Progress,
) -> Result<Vec<Body>, DiffError> {
    loop {
        let mut encoder = Encoder::new();
        let mut bodies = Vec::new();
        for plan in &plans {
            let body = body(plan, source, target, refs, &mut encoder, progress)?;
            if body.bytes.len() > BODY_LEN_MAX {
                break;
            }
            bodies.push(body);
        }
        let Some(plan) = plans.get(bodies.len()) else { return Ok(bodies) };
        let regions = &plan.regions;
        let (moves, price, room) = (Worth::CM, &Price::CM, Room::RAW);
        let planner = Planner { source, target, regions, moves, price, room };
        let narrowed = planner.narrowed(plan)?;
        assert!(narrowed.len() > 1, "what is cut for any coder fits");
        plans.splice(bodies.len()..=bodies.len(), narrowed);
    }
}

/// A frame's body, and how many bytes of it are its columns and the rest.
struct Body {
    bytes: Vec<u8>,
    columns: [usize; COLUMN_COUNT],
    mixed: usize,
}

fn body(
    plan: &Plan,
    source: &dyn Source,
    target: &dyn Source,
    refs: bool,
    encoder: &mut Encoder,
    progress: Progress,
) -> Result<Body, DiffError> {
    let segments = segments(plan);
    encoder.segments(&segments);
    let mut at = plan.target_offset;
    for segment in &segments {
        literals(at, segment.literals, target, encoder)?;
        at += segment.literals;
        if !segment.zeros {
            copy(plan, at, segment, source, target, encoder)?;
        }
        at += segment.run;
    }
    progress(Event::Advance(plan.draft_len));
    let stream = encoder.finish();
    let mut columns: [Vec<u8>; COLUMN_COUNT] = Default::default();
    let [.., regions, moves] = &mut columns;
    plan.regions.encode(regions, moves);
    let raw_lens = columns.each_ref().map(Vec::len);
    columns.iter_mut().for_each(|column| *column = crate::coder::column(column, LEVEL));
    let bytes = Frame::encode_mixed(plan.target_len, refs, raw_lens, &columns, &stream);
    Ok(Body { bytes, columns: columns.each_ref().map(Vec::len), mixed: stream.len() })
}

/// zstd level of the columns that name regions.
const LEVEL: i32 = 19;

/// The segments that the pieces make, and literals between them.
fn segments(plan: &Plan) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let (mut at, mut last) = (plan.target_offset, None);
    let mut diagonal = 0;
    for piece in &plan.pieces {
        let (literals, run) = (piece.segment.target - at, piece.segment.len);
        at = piece.segment.end();
        if let From::Source { diagonal: this } = piece.segment.from {
            diagonal = this;
        }
        match segments.last_mut() {
            Some(open) if literals == 0 && last == Some(piece.segment.from) => open.run += run,
            _ => {
                let zeros = piece.segment.from == From::Zeros;
                segments.push(Segment { literals, run, zeros, diagonal });
            }
        }
        last = Some(piece.segment.from);
    }
    if at < plan.end() {
        segments.push(Segment { literals: plan.end() - at, run: 0, zeros: false, diagonal });
    }
    segments
}

fn literals(
    at: u64,
    len: u64,
    target: &dyn Source,
    encoder: &mut Encoder,
) -> Result<(), DiffError> {
    let mut bytes = Vec::new();
    let mut done = 0;
    while done < len {
        bytes.resize(in_piece(PIECE_LEN.min(len - done)), 0);
        target.read_at(at + done, &mut bytes).map_err(DiffError::Target)?;
        encoder.literals(&bytes);
        done += bytes.len() as u64;
    }
    Ok(())
}

fn copy(
    plan: &Plan,
    at: u64,
    segment: &Segment,
    source: &dyn Source,
    target: &dyn Source,
    encoder: &mut Encoder,
) -> Result<(), DiffError> {
    let (mut raw, mut made) = (Vec::new(), Vec::new());
    let (mut guess, mut marks, mut scans) = (Vec::new(), Vec::new(), Scans::default());
    let mut done = 0;
    while done < segment.run {
        let at = at + done;
        let len = (segment.run - done).min(PIECE_LEN - at % PIECE_LEN);
        let offset = at.checked_add_signed(segment.diagonal).expect("copies lie in the source");
        raw.resize(in_piece(len), 0);
        source.read_at(offset, &mut raw).map_err(DiffError::Source)?;
        made.resize(in_piece(len), 0);
        target.read_at(at, &mut made).map_err(DiffError::Target)?;
        guess.clone_from(&raw);
        marks.clear();
        let range = crate::format::SourceRange { offset, len };
        for moved in &plan.regions.0[plan.regions.touched(range)] {
            let diagonal = Some(segment.diagonal);
            moved
                .rewrite(source, offset, diagonal, &mut guess, &mut scans, |fields, part| {
                    for field in fields {
                        mark(field, offset + part.start as u64, part.start, part.end, &mut marks);
                    }
                })
                .map_err(DiffError::Source)?;
        }
        encoder.copy(&Guess { bytes: &guess, raw: &raw, fields: &marks }, &made);
        done += len;
    }
    Ok(())
}

/// Lengths within a piece.
fn in_piece(len: u64) -> usize {
    usize::try_from(len).expect("a piece fits in memory")
}
