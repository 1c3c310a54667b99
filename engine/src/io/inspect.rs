//! The loop that walks through a patch to say what it holds.

use super::drive::read_header;
use super::error::{DriveError, Part};
use super::{Event, Patch, Progress};
use crate::format::{FRAME_PREFIX_LEN, FramePrefix, Header};
use crate::inspect::{Report, Walk};

/// Reads a whole patch and says what it holds.
///
/// # Errors
/// If it is not a patch that this program can apply, ends early, or is damaged anywhere.
pub fn inspect(patch: &mut dyn Patch, progress: Progress) -> Result<(Header, Report), DriveError> {
    let failed = DriveError::io(Part::Patch, "reading the patch");
    let header = read_header(patch)?;
    progress(Event::Phase { name: "inspect", total: header.patch_size });
    progress(Event::Advance(header.header_len));
    let mut walk = Walk::new(header);
    let mut prefix = [0; FRAME_PREFIX_LEN];
    let mut body = Vec::new();
    while walk.has_next()? {
        patch.read(&mut prefix).map_err(&failed)?;
        let decoded = FramePrefix::decode(&prefix)?;
        body.resize(decoded.body_len, 0);
        patch.read(&mut body).map_err(&failed)?;
        walk.take(decoded, &body)?;
        progress(Event::Advance((FRAME_PREFIX_LEN + body.len()) as u64));
    }
    Ok(walk.finish())
}
