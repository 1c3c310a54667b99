//! Checks of whole images: the source before the first write, the target after the last.

use std::io;

use super::error::{DriveError, Part};
use super::{Event, Progress, Source, Target};
use crate::digest::{self, Digest};
use crate::format::{Header, SourceMap, SourceRange};
use crate::limits::READ_LEN;

/// Reads what the patch uses of the source, in order, and finds the ranges that differ.
///
/// # Errors
/// [`DriveError::WrongSource`] naming them, or what the source's device says.
pub fn source(source: &dyn Source, map: &SourceMap, progress: Progress) -> Result<(), DriveError> {
    progress(Event::Phase { name: "source check", total: map.used_len() });
    let mut differing: Vec<SourceRange> = Vec::new();
    // Not a window long: once so large a buffer is freed, glibc keeps all up to its size on the
    // heap, which then costs apply 3 MiB of holes.
    let mut buffer = vec![0; READ_LEN];
    for (pieces, expected) in map.groups_in_turn().zip(&map.groups) {
        let mut hasher = blake3::Hasher::new();
        for piece in &pieces {
            let mut at = 0;
            while at < piece.len {
                let len = READ_LEN.min(usize::try_from(piece.len - at).unwrap_or(READ_LEN));
                source
                    .read_at(piece.offset + at, &mut buffer[..len])
                    .map_err(DriveError::io(Part::Source, "reading the source"))?;
                hasher.update(&buffer[..len]);
                at += len as u64;
            }
            progress(Event::Advance(piece.len));
        }
        if Digest(*hasher.finalize().as_bytes()).short() != *expected {
            pieces.iter().for_each(|piece| push_joined(&mut differing, *piece));
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(DriveError::WrongSource { differing, used_len: map.used_len() })
}

/// Reads the first `windows` windows back from the target and finds the ranges that differ.
///
/// What lies past the target's end differs, too: a file may be shorter than a journal says.
///
/// # Errors
/// What the target's device says.
pub fn target(
    target: &mut dyn Target,
    header: &Header,
    windows: u64,
    progress: Progress,
) -> Result<Vec<SourceRange>, DriveError> {
    windows_differing(header, windows, progress, |offset, into| target.read_back(offset, into))
}

/// Finds the ranges in which an image is not the target of a patch.
///
/// # Errors
/// What the image's device says.
pub fn image(
    image: &dyn Source,
    header: &Header,
    progress: Progress,
) -> Result<Vec<SourceRange>, DriveError> {
    progress(Event::Phase { name: "verify", total: header.target_size });
    let windows = header.target_windows.len() as u64;
    windows_differing(header, windows, progress, |offset, into| image.read_at(offset, into))
}

/// The BLAKE3 root of the first `size` bytes of an image.
///
/// # Errors
/// What the image's device says.
pub fn root(image: &dyn Source, size: u64, progress: Progress) -> Result<Digest, DriveError> {
    progress(Event::Phase { name: "hash", total: size });
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_LEN];
    let mut offset = 0;
    while offset < size {
        let len = READ_LEN.min(usize::try_from(size - offset).unwrap_or(READ_LEN));
        image
            .read_at(offset, &mut buffer[..len])
            .map_err(DriveError::io(Part::Source, "reading the image"))?;
        hasher.update(&buffer[..len]);
        offset += len as u64;
        progress(Event::Advance(len as u64));
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

fn windows_differing(
    header: &Header,
    windows: u64,
    progress: Progress,
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Result<Vec<SourceRange>, DriveError> {
    let mut differing = Vec::new();
    let mut buffer = Vec::new();
    for (index, expected) in (0..windows).zip(&header.target_windows) {
        let offset = index << header.window_log2;
        let len = header.window_len().min(header.target_size - offset);
        let range = SourceRange { offset, len };
        buffer.resize(piece_len(&range), 0);
        let found = match read(offset, &mut buffer) {
            Ok(()) => Some(digest::window(&buffer, offset, header.target_size)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => {
                return Err(DriveError::io(Part::Target, "reading back the target")(error));
            }
        };
        if found != Some(*expected) {
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

#[cfg(test)]
mod tests {
    use crate::apply::Checkpoint;
    use crate::diff::{self, Options};
    use crate::io::JournalStore;
    use crate::io::drive::{self, Options as DriveOptions};
    use crate::io::memory::{MemoryJournal, MemoryTarget, PatchBytes};
    use crate::journal::Slot;

    // The journal of an apply whose target file was removed afterwards claims windows past the
    // end of the new file. Reading them back failed, and every later apply with it, until someone
    // removed the journal by hand. Now they count as windows that differ.
    #[test]
    fn journal_of_a_target_that_is_gone_starts_from_the_first_window() {
        let source: Vec<u8> =
            (0..1 << 20).map(|i: u32| (i.wrapping_mul(i) >> 9).to_le_bytes()[0]).collect();
        let image: Vec<u8> = source.iter().rev().copied().collect();
        let mut patch = Vec::new();
        let made = diff::diff(&source, &image, &Options::default(), &mut patch, &|_| ());
        let made = made.expect("memory does not fail");
        let bytes = [made.header_bytes, patch].concat();
        let checkpoint = Checkpoint { patch: made.header.id, windows: 2 };
        let slot = Slot { sequence: 1, checkpoint };
        let mut journal = MemoryJournal::default();
        journal.store(slot.index(), &slot.encode()).expect("memory does not fail");
        let mut target = MemoryTarget::default();
        let applied = drive::apply(
            &mut PatchBytes::new(&bytes),
            &source,
            &mut target,
            &mut journal,
            DriveOptions::default(),
            &|_| (),
        );
        let applied = applied.expect("the patch is good");
        assert_eq!(applied.windows_resumed, 0);
        assert!(applied.journal_note.is_some());
        assert!(target.bytes == image);
    }
}
