//! Patches with right digests around wrong contents, so that what a fuzzer changes is decoded.
//!
//! The fuzzer's bytes are sections with [`SEPARATOR`] between them: the header's fields, then the
//! frame bodies. Lengths and digests are put in here, and two fields count from the truth: zero in
//! `patch_size` means the real size, and a restart's `patch_offset` names a frame.

use neap_engine::apply::{Applier, Want};
use neap_engine::digest::{self, Digest};
use neap_engine::error::ApplyError;
use neap_engine::format::header::{Header, MAGIC, VERSION};

/// Stands between two sections.
pub const SEPARATOR: [u8; 4] = [0xf5, 0x5e, 0xa1, 0xed];

/// Target bytes after which a rehearsal stops.
const REHEARSED_MAX: usize = 4 << 20;

/// Offset of the restart count, of the source map's length, and end of the fixed part.
const RESTART_COUNT_AT: usize = 104;
const FIXED_LEN: usize = Header::FIXED_LEN;

/// The sections of a fuzzer's bytes.
pub fn sections(bytes: &[u8]) -> Vec<&[u8]> {
    let mut sections = Vec::new();
    let mut from = 0;
    let mut at = 0;
    while at + SEPARATOR.len() <= bytes.len() {
        if bytes[at..].starts_with(&SEPARATOR) {
            sections.push(&bytes[from..at]);
            at += SEPARATOR.len();
            from = at;
        } else {
            at += 1;
        }
    }
    sections.push(&bytes[from..]);
    sections
}

/// The patch of these sections; `None` if the first has not even the fixed fields.
pub fn patch(sections: &[&[u8]]) -> Option<Vec<u8>> {
    let (fields, bodies) = sections.split_first()?;
    let mut header = header(fields)?;
    let mut offsets = Vec::new();
    let mut frames = Vec::new();
    for body in bodies {
        offsets.push((header.len() + frames.len()) as u64);
        frames.extend(frame(body));
    }
    let patch_size = (header.len() + frames.len()) as u64;
    add(&mut header, 16, patch_size);
    for index in 0..restart_count(&header) {
        let at = FIXED_LEN + index * 16;
        let named = u64::from_le_bytes(*header.get(at..)?.first_chunk()?);
        let offset = offsets.get(usize::from(named as u8)).copied().unwrap_or_default();
        add(&mut header, at, offset.wrapping_sub(u64::from(named as u8)));
    }
    reseal(&mut header);
    Some([header, frames].concat())
}

/// A header of these fields, its digest yet to be put in.
pub fn header(fields: &[u8]) -> Option<Vec<u8>> {
    let (front, rest) = fields.split_at_checked(2)?;
    rest.get(FIXED_LEN - 16..)?;
    let len = 16 + rest.len() + Digest::LEN;
    let len = u32::try_from(len).ok()?;
    let digest = [0; Digest::LEN];
    let parts = [&MAGIC[..], &VERSION.to_le_bytes(), front, &len.to_le_bytes(), rest, &digest];
    Some(parts.concat())
}

/// A frame with this body.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("a fuzzer's input is small");
    [&len.to_le_bytes()[..], &Digest::of(body).short(), body].concat()
}

/// Puts in the target's root as its table has it, where there is one, and the header's digest.
pub fn reseal(header: &mut [u8]) {
    if let Some(digests) = table(header) {
        let digests: Vec<_> = header[digests]
            .chunks_exact(Digest::LEN)
            .map(|digest| Digest(*digest.first_chunk().expect("a digest's length")))
            .collect();
        header[72..104].copy_from_slice(&digest::root(&digests).0);
    }
    let body = header.len() - Digest::LEN;
    let digest = Digest::of(&header[..body]);
    header[body..].copy_from_slice(&digest.0);
}

/// Puts in the digests of what the frames make, as far as they make anything.
pub fn promise_what_is_made(patch: &mut [u8], source: &[u8]) {
    let Some(len) = patch.get(12..16).and_then(<[u8]>::first_chunk) else { return };
    let len = u32::from_le_bytes(*len) as usize;
    let Some((header_bytes, frames)) = patch.split_at_mut_checked(len) else { return };
    let Ok(header) = Header::decode(header_bytes) else { return };
    let made = rehearse(header, frames, source);
    if let Some(table) = table(header_bytes) {
        let made = made.iter().flat_map(|digest| digest.0);
        header_bytes[table].iter_mut().zip(made).for_each(|(byte, made)| *byte = made);
    } else if let [only] = made[..] {
        header_bytes[72..104].copy_from_slice(&only.0);
    }
    reseal(header_bytes);
}

/// Digests of the windows that frames make, up to the first that is not made.
pub fn rehearse(mut header: Header, mut frames: &[u8], source: &[u8]) -> Vec<Digest> {
    let mut made = Vec::new();
    // No window has this digest, so each is found to differ, and how is what we want to know.
    header.target_windows.fill(Digest([0xee; Digest::LEN]));
    let window_len = header.window_len() as usize;
    let mut applier = Applier::new(header, 0);
    while made.len() * window_len <= REHEARSED_MAX {
        match applier.want() {
            Ok(Want::Patch(into)) => {
                let Some((head, rest)) = frames.split_at_checked(into.len()) else { break };
                into.copy_from_slice(head);
                frames = rest;
            }
            Ok(Want::Source { offset, into } | Want::Copy { offset, into }) => {
                let offset = offset as usize;
                let Some(bytes) = source.get(offset..offset + into.len()) else { break };
                into.copy_from_slice(bytes);
            }
            Ok(Want::Write(window)) => match window.verify() {
                Err(ApplyError::WindowDiffers { found, .. }) => made.push(found),
                _ => break,
            },
            Ok(Want::Sync(_)) => {}
            Ok(Want::Done) | Err(_) => break,
        }
    }
    made
}

/// Where the target table is in a header; `None` if there is none or the header is too short.
fn table(header: &[u8]) -> Option<std::ops::Range<usize>> {
    let target_size = u64::from_le_bytes(*header[32..].first_chunk()?);
    let count = target_size.div_ceil(1_u64.checked_shl(header[10].into())?);
    let start = FIXED_LEN + layers_len(header) + restart_count(header) * 16;
    let end = start.checked_add(usize::try_from(count).ok()?.checked_mul(Digest::LEN)?)?;
    (count > 1 && end <= header.len() - Digest::LEN).then_some(start..end)
}

/// Length of the layers, as far as their entries lie in the header.
fn layers_len(header: &[u8]) -> usize {
    let mut rest = &header[FIXED_LEN..];
    for _ in 0..header[11] {
        let Some(len) = rest.get(2..).and_then(<[u8]>::first_chunk) else { break };
        let Some(after) = rest.get(4 + usize::from(u16::from_le_bytes(*len))..) else { break };
        rest = after;
    }
    header.len() - FIXED_LEN - rest.len()
}

/// How many restarts the header claims, but no more than it has room for.
fn restart_count(header: &[u8]) -> usize {
    let claimed = header[RESTART_COUNT_AT..].first_chunk().map_or(0, |c| u32::from_le_bytes(*c));
    (claimed as usize).min((header.len() - FIXED_LEN - Digest::LEN) / 16)
}

/// Adds to the eight bytes at `at`.
fn add(header: &mut [u8], at: usize, value: u64) {
    if let Some(field) = header.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = u64::from_le_bytes(*field).wrapping_add(value).to_le_bytes();
    }
}
