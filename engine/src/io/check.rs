//! Checks of whole images: the source before the first write, the target after the last.

use super::error::{DriveError, Part};
use super::{Event, Progress, Source, Target};
use crate::digest::{self, Digest};
use crate::format::{Header, SourceMap, SourceRange};

/// Reads what the patch uses of the source, in order, and finds the ranges that differ.
///
/// # Errors
/// [`DriveError::WrongSource`] naming them, or what the source's device says.
pub fn source(source: &dyn Source, map: &SourceMap, progress: Progress) -> Result<(), DriveError> {
    progress(Event::Phase { name: "source check", total: map.used_len() });
    let mut differing: Vec<SourceRange> = Vec::new();
    let mut buffer = Vec::new();
    for (pieces, expected) in map.group_pieces().iter().zip(&map.groups) {
        buffer.clear();
        for piece in pieces {
            let from = buffer.len();
            buffer.resize(from + piece_len(piece), 0);
            source
                .read_at(piece.offset, &mut buffer[from..])
                .map_err(DriveError::io(Part::Source, "reading the source"))?;
        }
        if Digest::of(&buffer).short() != *expected {
            pieces.iter().for_each(|piece| push_joined(&mut differing, *piece));
        }
        progress(Event::Advance(buffer.len() as u64));
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(DriveError::WrongSource { differing, used_len: map.used_len() })
}

/// Reads the first `windows` windows back from the target and finds the ranges that differ.
///
/// # Errors
/// What the target's device says.
pub fn target(
    target: &mut dyn Target,
    header: &Header,
    windows: u64,
    progress: Progress,
) -> Result<Vec<SourceRange>, DriveError> {
    let mut differing = Vec::new();
    let mut buffer = Vec::new();
    for (index, expected) in (0..windows).zip(&header.target_windows) {
        let offset = index << header.window_log2;
        let len = header.window_len().min(header.target_size - offset);
        let range = SourceRange { offset, len };
        buffer.resize(piece_len(&range), 0);
        target
            .read_back(offset, &mut buffer)
            .map_err(DriveError::io(Part::Target, "reading back the target"))?;
        if digest::window(&buffer, offset, header.target_size) != *expected {
            push_joined(&mut differing, range);
        }
        progress(Event::Advance(len));
    }
    Ok(differing)
}

fn push_joined(ranges: &mut Vec<SourceRange>, next: SourceRange) {
    match ranges.last_mut() {
        Some(last) if last.end() == next.offset => last.len += next.len,
        _ => ranges.push(next),
    }
}

/// Pieces are at most a window long.
fn piece_len(range: &SourceRange) -> usize {
    usize::try_from(range.len).expect("a piece is at most a window long")
}
