//! The decoders one by one: any bytes are refused, or mean something that encodes to itself.

use neap_engine::apply::Checkpoint;
use std::sync::LazyLock;

use neap_engine::coder::Decoder;
use neap_engine::digest::Digest;
use neap_engine::format::frame::FRAME_PREFIX_LEN;
use neap_engine::format::{Frame, FramePrefix, Header};
use neap_engine::io::drive::{self, Options};
use neap_engine::io::memory::{MemoryJournal, PatchBytes};
use neap_engine::journal::{SLOT_LEN, Slot};
use neap_engine::limits::COLUMNS_LEN_MAX;
use neap_engine::varint;

use super::choices::Choices;
use super::sparse::SparseTarget;
use super::{build, roundtrip, seal};

/// An integer that is read is written again in the same bytes.
pub fn varint(bytes: &[u8]) {
    let mut at = 0;
    if let Ok(value) = varint::take(bytes, &mut at) {
        let mut again = Vec::new();
        varint::put(&mut again, value);
        assert_eq!(again, bytes[..at], "{value}");
    }
    let mut at = 0;
    if let Ok(value) = varint::take_signed(bytes, &mut at) {
        let mut again = Vec::new();
        varint::put_signed(&mut again, value);
        assert_eq!(again, bytes[..at], "{value}");
    }
}

/// A header that is accepted says the same after it was encoded again.
pub fn header(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        encodes_to_itself(&header);
    }
    let Some(patch) = seal::patch(&seal::sections(bytes)) else { return };
    let Some(len) = patch[12..].first_chunk() else { return };
    if let Ok(header) = Header::decode(&patch[..u32::from_le_bytes(*len) as usize]) {
        encodes_to_itself(&header);
    }
}

fn encodes_to_itself(header: &Header) {
    let mut unplaced = header.clone();
    unplaced.restarts.iter_mut().for_each(|restart| restart.patch_offset -= header.header_len);
    let (bytes, encoded) = unplaced.encode(header.patch_size - header.header_len);
    let again = Header::decode(&bytes).expect("what was accepted once is accepted again");
    assert_eq!(again, encoded);
    // The source map may have been coded in more bytes than ours.
    let shift = header.header_len.wrapping_sub(encoded.header_len);
    let mut moved = again;
    moved.restarts.iter_mut().for_each(|r| r.patch_offset = r.patch_offset.wrapping_add(shift));
    moved.patch_size = moved.patch_size.wrapping_add(shift);
    moved.header_len = header.header_len;
    moved.id = header.id;
    assert_eq!(moved, *header);
}

/// Frames decode within their limits, and a decoder that was used before decodes the same.
pub fn frame(bytes: &[u8]) {
    if let Some(prefix) = bytes.first_chunk::<FRAME_PREFIX_LEN>()
        && let Ok(prefix) = FramePrefix::decode(prefix)
    {
        let len = u32::try_from(prefix.body_len).expect("a body is at most 2 MiB");
        assert_eq!(bytes[..4], len.to_le_bytes());
        assert_eq!(bytes[4..FRAME_PREFIX_LEN], prefix.body_digest);
    }
    let mut decoder = Decoder::new();
    let mut used = Frame::default();
    for body in seal::sections(bytes) {
        let accepted = used.decode(body, true, &mut decoder);
        let held: usize = used.columns.iter().map(Vec::capacity).sum();
        assert!(held <= COLUMNS_LEN_MAX, "the columns hold {held} bytes");
        let mut fresh = Frame::default();
        assert_eq!(fresh.decode(body, true, &mut Decoder::new()), accepted);
        if accepted.is_ok() {
            assert_eq!(fresh.columns, used.columns);
            assert_eq!(fresh.stream, used.stream);
            assert_eq!(fresh.target_len, used.target_len);
        }
    }
}

/// Whatever a journal claims, the target is made; what it claims falsely is made again.
pub fn journal(bytes: &[u8]) {
    static CASE: LazyLock<Case> = LazyLock::new(Case::new);
    let Case { source, target, patch, header } = &*CASE;
    let mut choices = Choices::new(bytes);
    let mut journal = MemoryJournal::default();
    for slot in &mut journal.slots {
        *slot = slot_of(&mut choices, header);
        if let Some(decoded) = Slot::decode(slot) {
            assert_eq!(decoded.encode(), *slot);
        }
    }
    let mut device = SparseTarget::default();
    let window_len = header.window_len();
    for (index, window) in (0_u64..).zip(target.chunks(window_len as usize)) {
        let mut window = window.to_vec();
        match choices.below(4) {
            0 => continue,
            1 => window[usize::from(choices.byte())] ^= choices.byte(),
            _ => {}
        }
        device.windows.insert(index * window_len, window);
    }
    device.is_rewritten = true;
    let options = Options { one_thread: true, ..Options::default() };
    let mut input = PatchBytes::new(patch);
    let applied =
        drive::apply(&mut input, &source.to_vec(), &mut device, &mut journal, options, &|_| {});
    applied.expect("no journal keeps a patch from being applied");
    assert_eq!(device.image().as_deref(), Some(&target[..]));
}

/// A slot: raw bytes, or a well-formed one with some bytes torn off.
fn slot_of(choices: &mut Choices, header: &Header) -> [u8; SLOT_LEN] {
    let kind = choices.below(8);
    let mut slot = [0; SLOT_LEN];
    if kind == 0 {
        let bytes = choices.bytes(SLOT_LEN);
        slot[..bytes.len()].copy_from_slice(bytes);
        return slot;
    }
    let patch = if kind == 1 { Digest::of(choices.bytes(4)) } else { header.id };
    let sequence = if kind == 2 { !choices.number() } else { choices.number() };
    let windows = choices.number();
    slot = Slot { sequence, checkpoint: Checkpoint { patch, windows } }.encode();
    if kind == 3 {
        slot[choices.below(SLOT_LEN)..].fill(choices.byte());
    }
    slot
}

/// A patch that makes a target of five windows and a bit, and what it is made from and into.
struct Case {
    source: &'static [u8],
    target: Vec<u8>,
    patch: Vec<u8>,
    header: Header,
}

impl Case {
    fn new() -> Self {
        let source = build::image(5 * 65536 + 77);
        let mut target = source.to_vec();
        target.rotate_left(4096);
        target[200_000..200_100].fill(7);
        target[70_000..140_000].fill(0);
        let (patch, header) = roundtrip::patch_of(source, &target, 3, u64::MAX);
        Self { source, target, patch, header }
    }
}
