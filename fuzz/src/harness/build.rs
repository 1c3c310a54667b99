//! Patches built field by field from a fuzzer's choices: most are well-formed, any part may not be.

use std::sync::LazyLock;

use neap_engine::coder::{self, LiteralEncoder};
use neap_engine::digest::Digest;
use neap_engine::format::frame::REGIONS;
use neap_engine::format::{Header, Restart, SourceMap, SourceRange};
use neap_engine::varint;
use neap_sim::executable::{Arch, images};

use super::choices::Choices;
use super::seal;

/// Target bytes after which no segment is added: a few of the smallest windows.
const TARGET_LEN_MAX: u64 = 300_000;

/// Length of the longest image there is, in bytes.
const IMAGE_LEN_MAX: usize = 6 << 16;

/// Sizes of the source: around the edges of blocks and windows.
const SIZES: [usize; 8] = [0, 1, 4095, 4096, 4097, 65536, 70_000, 200_001];

/// One of the sizes.
pub fn size(choices: &mut Choices) -> usize {
    SIZES[choices.below(SIZES.len())]
}

/// An image of `len` bytes with a little of everything: noise, text, runs.
///
/// # Panics
/// If it shall be longer than [`IMAGE_LEN_MAX`].
pub fn image(len: usize) -> &'static [u8] {
    static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(longest_image);
    &IMAGE[..len]
}

/// Images with a program in each, known by their sizes.
pub fn programs() -> &'static [Vec<u8>; 3] {
    static PROGRAMS: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| Arch::ALL.map(|a| program(a).0));
    &PROGRAMS
}

/// An image with a program, and after an update.
pub fn program(arch: Arch) -> (Vec<u8>, Vec<u8>) {
    images(arch, 60, 1)
}

/// The source of sealed patches that say their source has this size.
pub fn source_of(size: u64) -> &'static [u8] {
    let program = programs().iter().find(|program| program.len() as u64 == size);
    program.map_or_else(|| image(200_001), |program| &program[..])
}

fn longest_image() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut image = Vec::with_capacity(IMAGE_LEN_MAX + 64);
    while image.len() < IMAGE_LEN_MAX {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match image.len() >> 10 & 3 {
            0 => image.extend(state.to_le_bytes()),
            1 => image.extend(b"the same words again, and a number: "),
            2 => image.extend([0; 8]),
            _ => image.extend([state as u8 & 3; 8]),
        }
    }
    image
}

/// A patch and the source it is for.
pub fn patch(choices: &mut Choices) -> (Vec<u8>, &'static [u8]) {
    let source = image(size(choices));
    let mut builder = Builder {
        window_log2: 16 + (choices.byte() & 1),
        source_size: source.len() as u64,
        target_size: 0,
        frames: Vec::new(),
        restarts: Vec::new(),
        used: Vec::new(),
        stream: LiteralEncoder::new(1 << 16, 1),
    };
    for _ in 0..=choices.below(6) {
        builder.frame(choices);
    }
    let mut patch = builder.finish(choices, source);
    match choices.below(16) {
        1 => {
            let at = choices.word() as usize % patch.len();
            patch[at] ^= choices.byte();
        }
        2 => patch.truncate(choices.word() as usize % patch.len()),
        3 => patch.extend(choices.bytes(9)),
        _ => {}
    }
    (patch, source)
}

struct Builder {
    window_log2: u8,
    source_size: u64,
    target_size: u64,
    frames: Vec<u8>,
    restarts: Vec<Restart>,
    used: Vec<SourceRange>,
    stream: LiteralEncoder,
}

/// The columns of a frame before they are coded, but for those of the layer `refs`.
#[derive(Default)]
struct Columns {
    raw: [Vec<u8>; REGIONS],
    literals: Vec<u8>,
    target_len: u64,
    /// Bytes that copies make.
    copied: u64,
    diagonal: i64,
}

impl Builder {
    fn frame(&mut self, choices: &mut Choices) {
        if choices.below(4) == 1 && !self.frames.is_empty() {
            // A restart in the wrong place, now and then.
            let (patch, target) = match choices.below(8) {
                1 => (choices.word(), choices.word()),
                _ => (0, 0),
            };
            self.restarts.push(Restart {
                patch_offset: self.frames.len() as u64 + patch,
                target_offset: self.target_size + target,
            });
            self.stream = LiteralEncoder::new(1 << 16, 1);
        }
        let mut columns = Columns::default();
        for _ in 0..=choices.below(10) {
            if self.target_size + columns.target_len < TARGET_LEN_MAX {
                self.segment(choices, &mut columns);
            }
        }
        islands(choices, &mut columns);
        self.target_size += columns.target_len;
        let body = self.coded(choices, columns);
        self.frames.extend(seal::frame(&body));
    }

    fn segment(&mut self, choices: &mut Choices, columns: &mut Columns) {
        let at = self.target_size + columns.target_len;
        let literals = self.len(choices, at) % 70_000;
        let bytes = choices.bytes(literals.min(9) as usize).to_vec();
        columns.literals.extend(
            (0..literals as usize).map(
                |i| {
                    if bytes.is_empty() { 0 } else { bytes[i % bytes.len()] }
                },
            ),
        );
        varint::put(&mut columns.raw[0], literals);
        columns.target_len += literals;
        let at = at + literals;
        let (len, kind) = (self.len(choices, at), choices.below(4));
        if kind == 0 {
            varint::put(&mut columns.raw[1], len << 1 | 1);
            columns.target_len += len;
            return;
        }
        let mut offset = (choices.word() * self.source_size) >> 16;
        let mut len = len.min(self.source_size - offset);
        match choices.below(32) {
            1 => offset = offset.wrapping_add(choices.number() >> 1) & (i64::MAX as u64),
            2 => len = len.saturating_add(choices.word()),
            _ => {}
        }
        varint::put(&mut columns.raw[1], len << 1);
        if len > 0 {
            let diagonal = offset.cast_signed().wrapping_sub(at.cast_signed());
            let change = diagonal.wrapping_sub(columns.diagonal);
            varint::put_signed(&mut columns.raw[2], change);
            columns.diagonal = diagonal;
            if choices.below(32) != 1 && offset.saturating_add(len) <= self.source_size {
                self.used.push(SourceRange { offset, len });
            }
        }
        columns.target_len = columns.target_len.saturating_add(len);
        columns.copied = columns.copied.saturating_add(len);
    }

    /// A length that often ends where a window does.
    fn len(&self, choices: &mut Choices, at: u64) -> u64 {
        let window_len = 1 << self.window_log2;
        let kind = choices.byte();
        let to_edge = window_len - at % window_len;
        match kind % 8 {
            0 => 0,
            1..=3 => u64::from(choices.byte()),
            4 => choices.word(),
            5 => to_edge,
            6 => to_edge + window_len * u64::from(kind >> 6),
            _ => (to_edge + u64::from(choices.byte() % 8)).saturating_sub(4),
        }
    }

    /// The body of a frame, with a fault in every other field now and then.
    fn coded(&mut self, choices: &mut Choices, mut columns: Columns) -> Vec<u8> {
        let fault = choices.below(32);
        let index = choices.below(REGIONS);
        let (place, value) = if fault < 8 { (choices.byte(), choices.byte()) } else { (0, 0) };
        let place = usize::from(place);
        match fault {
            0 => {
                if let Some(byte) = columns.raw[index].get_mut(place) {
                    *byte ^= value;
                }
            }
            1 => columns.raw[index].push(value),
            2 => drop(columns.raw[index].pop()),
            3 => columns.target_len = columns.target_len.wrapping_add_signed(value as i8 as i64),
            _ => {}
        }
        let is_stored = choices.below(4) == 0;
        let literals_len = columns.literals.len() as u64 + u64::from(fault == 4);
        let literals = match is_stored {
            true => columns.literals,
            false => self.stream.code(&columns.literals),
        };
        let coder = if is_stored { coder::STORED } else { coder::ZSTD };
        let mut body = vec![if fault == 5 { value } else { coder }];
        varint::put(&mut body, columns.target_len);
        let mut coded = Vec::new();
        for raw in &columns.raw {
            let column = if is_stored { raw.clone() } else { coder::column(raw, 1) };
            varint::put(&mut body, raw.len() as u64);
            varint::put(&mut body, column.len() as u64);
            coded.extend(column);
        }
        varint::put(&mut body, literals_len);
        varint::put(&mut body, literals.len() as u64);
        body.extend(coded);
        body.extend(literals);
        match fault {
            6 => {
                let at = place % body.len();
                body[at] ^= value;
            }
            7 => body.truncate(place),
            _ => {}
        }
        body
    }

    fn finish(mut self, choices: &mut Choices, source: &[u8]) -> Vec<u8> {
        self.used.sort_unstable();
        let window_len = 1 << self.window_log2;
        let mut source_map = SourceMap::of_used(&self.used, self.source_size, window_len);
        source_map.groups = source_map
            .group_pieces()
            .iter()
            .map(|pieces| {
                let bytes = pieces.iter().flat_map(|piece| {
                    source[piece.offset as usize..piece.end() as usize].iter().copied()
                });
                Digest::of(&bytes.collect::<Vec<_>>()).short()
            })
            .collect();
        let nothing = Digest([0; Digest::LEN]);
        let header = Header {
            window_log2: self.window_log2,
            patch_size: 0,
            source_size: self.source_size,
            target_size: self.target_size,
            source_root: Digest::of(source),
            target_root: Digest::of(&[]),
            refs: false,
            blocks: None,
            estimates: None,
            restarts: self.restarts,
            target_windows: vec![
                nothing;
                self.target_size.min(1 << 30).div_ceil(window_len) as usize
            ],
            source_map,
            header_len: 0,
            id: nothing,
        };
        let (mut bytes, _) = header.encode(self.frames.len() as u64);
        if choices.below(16) == 1 {
            let at = 10 + choices.word() as usize % (bytes.len() - 10);
            bytes[at] ^= choices.byte();
        }
        seal::reseal(&mut bytes);
        let mut patch = [bytes, self.frames].concat();
        if choices.below(32) != 1 {
            seal::promise_what_is_made(&mut patch, source);
        }
        patch
    }
}

/// Islands in what the copies of a frame make; few lie elsewhere.
fn islands(choices: &mut Choices, columns: &mut Columns) {
    let mut left = columns.copied;
    for _ in 0..choices.below(5) {
        let is_wrong = choices.below(32) == 1;
        let mut gap = match choices.below(3) {
            0 => choices.byte().into(),
            1 => choices.word(),
            _ => left / 2,
        };
        let mut len = u64::from(choices.byte()) + 1;
        if !is_wrong {
            gap = gap.min(left.saturating_sub(1));
            len = len.min(left.saturating_sub(gap));
        }
        if len == 0 {
            return;
        }
        varint::put(&mut columns.raw[3], gap);
        varint::put(&mut columns.raw[4], len - 1);
        let add = choices.byte();
        columns.raw[5].extend((0..len as u8).map(|i| i.wrapping_mul(add)));
        left = left.saturating_sub(gap + len);
    }
}
