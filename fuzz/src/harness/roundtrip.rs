//! Diff, then apply, gives the target: for images that are edits of each other.

use neap_engine::diff::{self, Coder, Options};
use neap_engine::format::Header;
use neap_sim::executable::{Arch, images};

use super::choices::Choices;
use super::{build, whole};

/// Bytes of the largest image made here.
const IMAGE_LEN_MAX: usize = 300_000;

/// Makes two images, with a program in them or without, from the fuzzer's choices, diffs them, and
/// applies the patch in every way.
pub fn roundtrip(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    // Higher efforts than 6 match small images in the same way, and only code them slower.
    let effort = [1, 1, 2, 2, 3, 3, 4, 6][choices.below(8)];
    let restart_len = [u64::MAX, 1, 512, 8192][choices.below(4)];
    let (source, base) = match choices.below(4) {
        0 => {
            let image = edited(build::image(build::size(&mut choices)).to_vec(), &mut choices);
            (image.clone(), if choices.below(8) == 0 { Vec::new() } else { image })
        }
        arch => images(Arch::ALL[arch - 1], 20 + u32::from(choices.byte()), choices.byte().into()),
    };
    let target = edited(base, &mut choices);
    let coder = if choices.below(3) == 0 { Coder::Cm } else { Coder::Zstd };
    let (patch, header) = coded_by(coder, &source, &target, effort, restart_len);
    assert_eq!(header.target_size, target.len() as u64);
    let made = whole::agreed(&patch, &source).expect("our own patch is accepted");
    assert!(made == target, "the target differs");
}

/// The patch between two images.
pub fn patch_of(source: &[u8], target: &[u8], effort: u8, restart_len: u64) -> (Vec<u8>, Header) {
    coded_by(Coder::Zstd, source, target, effort, restart_len)
}

/// The same by another coder.
pub fn coded_by(
    coder: Coder,
    source: &[u8],
    target: &[u8],
    effort: u8,
    restart_len: u64,
) -> (Vec<u8>, Header) {
    let memory = Options::MEMORY_MIN;
    let options = Options { effort, restart_len, memory, coder, ..Options::default() };
    let mut frames = Vec::new();
    let (source, target) = (source.to_vec(), target.to_vec());
    let patch = diff::diff(&source, &target, &options, &mut frames, &|_| {})
        .expect("images in memory can be read");
    ([patch.header_bytes, frames].concat(), patch.header)
}

/// An image after some edits.
fn edited(mut image: Vec<u8>, choices: &mut Choices) -> Vec<u8> {
    for _ in 0..choices.below(12) {
        let at = place(choices, image.len());
        let len = (choices.word() as usize >> choices.below(16)).min(image.len() - at);
        match choices.below(8) {
            0 => image[at..at + len].fill(0),
            1 => drop(image.drain(at..at + len)),
            2 => {
                let bytes = choices.bytes(len.min(64)).to_vec();
                drop(image.splice(at..at, bytes));
            }
            3 => {
                let to = place(choices, image.len());
                let moved = image[at..at + len].to_vec();
                drop(image.splice(to..to, moved));
            }
            4 => image[at..].rotate_left(len),
            5 => {
                let (step, add) = (choices.below(64) + 1, choices.byte());
                let range = image[at..at + len].iter_mut().step_by(step);
                range.for_each(|byte| *byte = byte.wrapping_add(add));
            }
            6 => image.truncate(at + len),
            _ => {
                let zeros = vec![0; len];
                drop(image.splice(at..at, zeros));
            }
        }
        image.truncate(IMAGE_LEN_MAX);
    }
    image
}

fn place(choices: &mut Choices, len: usize) -> usize {
    (choices.word() as usize * (len + 1)) >> 16
}
