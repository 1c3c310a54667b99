//! Images with packed blocks inside, some of them in others.

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
        let parts = self.parts.iter().map(|part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Frame(frame) => frame.packed(),
        });
        pack(&parts.collect::<Vec<_>>().concat(), self.level)
    }
}
