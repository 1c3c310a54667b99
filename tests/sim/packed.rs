//! Images with packed blocks inside, some of them in others.

use zstd_safe::{CCtx, CParameter};

use crate::random::Random;

/// Source and target: the same texts with changes, packed as zstd frames between noise, of which
/// some frames hold frames. The target is about this long.
///
/// # Panics
/// Never: zstd packs whatever it is given.
#[must_use]
pub fn images(size: usize, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::new(seed);
    let (mut source, mut target) = (Vec::new(), Vec::new());
    while target.len() < size {
        if random.happens(128) {
            let len = random.index(20_000);
            let noise = random.bytes(len);
            source.extend(&noise);
            target.extend(&noise);
        }
        let before = item(&mut random, 0);
        let after = if random.happens(40) { before.clone() } else { before.changed(&mut random) };
        // Some are new, some are gone.
        if !random.happens(20) {
            source.extend(before.packed());
        }
        if !random.happens(20) {
            target.extend(after.packed());
        }
    }
    (source, target)
}

/// The bytes cut into parts of this length, each packed as a zstd frame.
#[must_use]
pub fn in_frames(bytes: &[u8], len: usize) -> Vec<u8> {
    bytes.chunks(len).flat_map(|part| pack(part, 3)).collect()
}

/// The same by an encoder that chooses otherwise than any that the engine tries: with each part
/// comes a correction.
///
/// # Panics
/// Never: zstd packs whatever it is given.
#[must_use]
pub fn in_corrected_frames(bytes: &[u8], len: usize) -> Vec<u8> {
    bytes.chunks(len).flat_map(pack_otherwise).collect()
}

fn pack_otherwise(plain: &[u8]) -> Vec<u8> {
    let mut encoder = CCtx::create();
    for parameter in [CParameter::CompressionLevel(5), CParameter::SearchLog(1)] {
        encoder.set_parameter(parameter).expect("it is in bounds");
    }
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    encoder.compress2(&mut packed, plain).expect("there is room");
    packed
}

/// Source and target: files of text and streams, longer than the blocks that they are cut into, of
/// which most are packed with a correction, some without, and some stored. The target is about this
/// long.
///
/// # Panics
/// Never: zstd packs whatever it is given.
#[must_use]
pub fn images_in_blocks(size: usize, seed: u64) -> (Vec<u8>, Vec<u8>) {
    const BLOCK_LEN: usize = 8192;
    let mut random = Random::new(seed);
    let (mut source, mut target) = (Vec::new(), Vec::new());
    while target.len() < size {
        let file = Frame { level: 3, parts: vec![Part::Frame(item(&mut random, 2))] };
        let file =
            Frame { parts: [vec![Part::Bytes(text(&mut random))], file.parts].concat(), ..file };
        let file =
            Frame { parts: [file.parts, vec![Part::Bytes(text(&mut random))]].concat(), ..file };
        let (before, after) = (file.content(), file.changed(&mut random).content());
        let kinds: Vec<usize> = (0..=after.len() / BLOCK_LEN).map(|_| random.index(12)).collect();
        for (image, content) in [(&mut source, before), (&mut target, after)] {
            for (part, kind) in content.chunks(BLOCK_LEN).zip(kinds.iter().chain([&11; 9])) {
                match kind {
                    0 => image.extend(part),
                    1 => image.extend(pack(part, 3)),
                    _ => image.extend(pack_otherwise(part)),
                }
            }
        }
    }
    (source, target)
}

fn pack(plain: &[u8], level: i32) -> Vec<u8> {
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    zstd_safe::compress(&mut packed, plain, level).expect("there is room");
    packed
}

/// A frame of text, noise and other frames.
#[derive(Clone)]
struct Frame {
    level: i32,
    parts: Vec<Part>,
}

#[derive(Clone)]
enum Part {
    Bytes(Vec<u8>),
    Frame(Frame),
}

fn item(random: &mut Random, depth: usize) -> Frame {
    let level = [1, 3, 9][random.index(3)];
    let mut parts = Vec::new();
    for _ in 0..1 + random.index(3) {
        parts.push(Part::Bytes(text(random)));
        if depth < 2 && random.happens(90) {
            parts.push(Part::Frame(item(random, depth + 1)));
        }
    }
    Frame { level, parts }
}

/// Words from a short list: what packs well and is not found twice by chance.
pub(crate) fn text(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    let len = 200 + random.index(60_000);
    while text.len() < len {
        let number = random.below(900);
        text.extend(format!("word{number}{}", [" ", "\n", ", "][random.index(3)]).bytes());
    }
    text
}

impl Frame {
    /// The same with a few bytes changed, and some put in.
    fn changed(&self, random: &mut Random) -> Self {
        let mut after = self.clone();
        for part in &mut after.parts {
            match part {
                Part::Bytes(bytes) => {
                    for _ in 0..1 + random.index(3) {
                        let at = random.index(bytes.len());
                        bytes[at] ^= 1;
                        let inserted = random.bytes(5);
                        bytes.splice(at..at, inserted);
                    }
                }
                Part::Frame(frame) => *frame = frame.changed(random),
            }
        }
        after
    }

    fn packed(&self) -> Vec<u8> {
        pack(&self.content(), self.level)
    }

    fn content(&self) -> Vec<u8> {
        let parts = self.parts.iter().map(|part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Frame(frame) => frame.packed(),
        });
        parts.collect::<Vec<_>>().concat()
    }
}
