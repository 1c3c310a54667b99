//! A slow, obvious applier: the judge of the fast one, and the guide for porters.
//!
//! ```
//! let refused = neap_reference::apply(b"GIF89a", b"the source").unwrap_err();
//! assert_eq!(refused, "the patch ends inside its header");
//! ```
//!
//! It is written from `docs/format.md` alone and shares no code with the engine but the codecs of
//! blocks (11.2), which are libraries; numbers in brackets are sections there. Read this file, then
//! `header`, `frame`, `coder`, `bytes`; `refs` and `unpack` are the layers of these names (9, 11),
//! `mix` is coder 2 (10), and each needs a sitting of its own. Whatever the bytes, the answer is
//! the target or what is wrong with them. All is in memory.

mod bytes;
mod coder;
mod frame;
mod header;
mod mix;
mod refs;
mod unpack;

use bytes::{Bytes, within};
use header::Header;
use mix::Mix;

/// What was asked for, or the fact for which the patch is refused, in words.
pub type Result<T> = std::result::Result<T, String>;

/// Makes the target from the source, with all checks of section 5.
pub fn apply(patch: &[u8], source: &[u8]) -> Result<Vec<u8>> {
    let target = apply_unverified(patch, source)?;
    Header::read(patch)?.check_target(&target)?;
    Ok(target)
}

/// What the frames make, not held against the target's digests: for tests, which put the digests
/// of what a changed patch makes into its header.
pub fn apply_unverified(patch: &[u8], source: &[u8]) -> Result<Vec<u8>> {
    let mut header = Header::read(patch)?;
    header.check_source(source)?;
    let Some(blocks) = header.blocks.take() else { return frames(patch, &header, source) };
    let view = blocks.open(&mut header, source)?;
    blocks.pack(frames(patch, &header, &view)?)
}

/// What the frames make.
fn frames(patch: &[u8], header: &Header, source: &[u8]) -> Result<Vec<u8>> {
    // Bytes behind `patch_size` are not part of the patch (2.1).
    let mut frames = Bytes::new(Bytes::new(patch, "frames").take(header.patch_size)?, "frames");
    frames.take(header.header_len)?;
    let (mut target, mut restarts) = (Vec::new(), Vec::new());
    // What the coders keep from one restart point to the next, once a frame needs it.
    let (mut literals, mut mix) = (None, None);
    while (target.len() as u64) < header.target_size {
        let start = (header.patch_size - frames.len(), target.len() as u64);
        if !target.is_empty() && header.restarts.contains(&start) {
            (literals, mix) = (None, None);
            restarts.push(start);
        }
        let body_len = within(2..=2 << 20, frames.number(4)?, "body_len")?;
        let body_digest = frames.take(16)?;
        let body = frames.take(body_len)?;
        must(blake3::hash(body).as_bytes().starts_with(body_digest), "a frame is damaged")?;
        let mut body = Bytes::new(body, "frame");
        match within(0..=2, body.number(1)?, "coder")? {
            2 => mix.get_or_insert_with(Mix::new).frame(body, header, source, &mut target)?,
            coder => frame::make(coder, body, &mut literals, header, source, &mut target)?,
        }
    }
    must(restarts == header.restarts, "restart points are not starts of frames in order")?;
    frames.end()?;
    Ok(target)
}

/// Refuses the patch with this fact unless the condition holds.
fn must(holds: bool, otherwise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}
