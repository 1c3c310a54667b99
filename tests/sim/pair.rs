//! Two small images and a patch between them with many frames and restart points.
//!
//! `diff` makes frames of megabytes; here they are coded by hand, so that a small image has many.

use neap_engine::coder::{self, LiteralEncoder};
use neap_engine::digest::{self, Digest};
use neap_engine::format::frame::REGIONS;
use neap_engine::format::{Header, Restart, SourceMap, SourceRange};
use neap_engine::limits::WINDOW_LOG2_MIN;
use neap_engine::varint;

use crate::random::Random;

/// Window size of every pair, in bytes.
pub const WINDOW: usize = 1 << WINDOW_LOG2_MIN;

/// Size of every source, in bytes.
const SOURCE_SIZE: usize = 300_000;

/// A source, a target, and the patch from one to the other.
#[derive(Debug)]
pub struct Pair {
    /// The source image.
    pub source: Vec<u8>,
    /// The target image.
    pub target: Vec<u8>,
    /// The whole patch.
    pub patch: Vec<u8>,
    /// Its header.
    pub header: Header,
}

impl Pair {
    /// A pair with a target of this size; the seed chooses all else.
    #[must_use]
    pub fn new(target_size: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let source = random.bytes(SOURCE_SIZE);
        let mut target = Vec::with_capacity(target_size);
        let (mut frames, mut used, mut restarts) = (Vec::new(), Vec::new(), Vec::new());
        while target.len() < target_size {
            if !target.is_empty() {
                let (patch_offset, target_offset) = (frames.len() as u64, target.len() as u64);
                restarts.push(Restart { patch_offset, target_offset });
            }
            let count = 1 + random.index(3);
            // Literals of a group are one stream.
            let mut encoder = LiteralEncoder::new(1 << 20, 1);
            for _ in 0..count {
                let room = target_size - target.len();
                if room > 0 {
                    let len = room.min(1 + random.index(3 * WINDOW / 2));
                    let frame = FrameDraft::new(len, &source, &mut target, &mut random);
                    used.extend(&frame.used);
                    frames.extend(frame.encode(&mut encoder));
                }
            }
        }
        used.sort_unstable();
        let header = header(&source, &target, &used, restarts);
        let (header_bytes, header) = header.encode(frames.len() as u64);
        Self { source, target, patch: [header_bytes, frames].concat(), header }
    }
}

/// The header of a patch without layers, yet to be put in front of its frames; `used` is in order.
pub(crate) fn header(
    source: &[u8],
    target: &[u8],
    used: &[SourceRange],
    restarts: Vec<Restart>,
) -> Header {
    let mut source_map = SourceMap::of_used(used, source.len() as u64, WINDOW as u64);
    let place = |piece: &SourceRange| &source[index(piece.offset)..index(piece.end())];
    let group = |pieces: &Vec<SourceRange>| pieces.iter().flat_map(place).copied().collect();
    source_map.groups = source_map
        .group_pieces()
        .iter()
        .map(|pieces| Digest::of(&group(pieces) as &Vec<u8>).short())
        .collect();
    let target_windows: Vec<_> = (0..)
        .step_by(WINDOW)
        .zip(target.chunks(WINDOW))
        .map(|(offset, bytes)| digest::window(bytes, offset, target.len() as u64))
        .collect();
    Header {
        window_log2: WINDOW_LOG2_MIN,
        patch_size: 0,
        source_size: source.len() as u64,
        target_size: target.len() as u64,
        source_root: Digest::of(source),
        target_root: digest::root(&target_windows),
        refs: false,
        blocks: None,
        estimates: None,
        restarts,
        target_windows,
        source_map,
        header_len: 0,
        id: Digest([0; 32]),
    }
}

/// A frame before it is coded.
#[derive(Debug, Default)]
struct FrameDraft {
    target_len: usize,
    /// Those of the layer `refs` are left out in a patch without it.
    columns: [Vec<u8>; REGIONS],
    literals: Vec<u8>,
    used: Vec<SourceRange>,
    diagonal: i64,
    gap: u64,
}

impl FrameDraft {
    /// A frame that adds `len` bytes to the target.
    fn new(len: usize, source: &[u8], target: &mut Vec<u8>, random: &mut Random) -> Self {
        let mut frame = Self { target_len: len, ..Self::default() };
        let end = target.len() + len;
        while target.len() < end {
            let literals = random.index(3000).min(end - target.len());
            let bytes = random.bytes(literals);
            target.extend(&bytes);
            frame.literals.extend(bytes);
            let run = (1 + random.index(20_000)).min(end - target.len());
            let is_zeros = run > 0 && random.happens(50);
            varint::put(&mut frame.columns[0], literals as u64);
            varint::put(&mut frame.columns[1], (run as u64) << 1 | u64::from(is_zeros));
            if is_zeros {
                target.resize(target.len() + run, 0);
            } else if run > 0 {
                frame.copy(run, source, target, random);
            }
        }
        frame
    }

    fn copy(&mut self, len: usize, source: &[u8], target: &mut Vec<u8>, random: &mut Random) {
        let from = random.index(source.len() - len + 1);
        self.used.push(SourceRange { offset: from as u64, len: len as u64 });
        let diagonal = i64::try_from(from).expect("images are small")
            - i64::try_from(target.len()).expect("images are small");
        varint::put_signed(&mut self.columns[2], diagonal - self.diagonal);
        self.diagonal = diagonal;
        let start = target.len();
        target.extend(&source[from..from + len]);
        let mut at = 0;
        loop {
            let gap = random.index(5000);
            let island = 1 + random.index(20);
            if at + gap + island > len {
                self.gap += (len - at) as u64;
                return;
            }
            varint::put(&mut self.columns[3], self.gap + gap as u64);
            varint::put(&mut self.columns[4], island as u64 - 1);
            self.gap = 0;
            let differences = random.bytes(island);
            at += gap;
            for (byte, difference) in target[start + at..].iter_mut().zip(&differences) {
                *byte = byte.wrapping_add(*difference);
            }
            self.columns[5].extend(differences);
            at += island;
        }
    }

    /// The frame with its prefix (format 4 and 5).
    fn encode(&self, encoder: &mut LiteralEncoder) -> Vec<u8> {
        let coded = self.columns.each_ref().map(|column| coder::column(column, 1));
        let literals = encoder.code(&self.literals);
        let mut body = vec![coder::ZSTD];
        varint::put(&mut body, self.target_len as u64);
        for (raw, coded) in self.columns.iter().zip(&coded) {
            varint::put(&mut body, raw.len() as u64);
            varint::put(&mut body, coded.len() as u64);
        }
        varint::put(&mut body, self.literals.len() as u64);
        varint::put(&mut body, literals.len() as u64);
        coded.iter().for_each(|coded| body.extend(coded));
        body.extend(literals);
        let len = u32::try_from(body.len()).expect("frames are small");
        [&len.to_le_bytes()[..], &Digest::of(&body).short(), &body].concat()
    }
}

pub(crate) fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("images are in memory")
}
