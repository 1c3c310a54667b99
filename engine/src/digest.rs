//! BLAKE3 digests, window digests, and how the one is bound to the other.
//!
//! An image is cut into windows of a power of two. The digest of a window is the chaining value of
//! its subtree in the BLAKE3 tree of the whole image (BLAKE3 paper, section 2.1), so the window
//! digests of an image determine its root, and a window can be checked alone.

use std::fmt;

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// A BLAKE3 root or subtree value: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Length of a digest, in bytes.
    pub const LEN: usize = 32;

    /// The root of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first 16 bytes, for checks that a stronger digest backs.
    #[must_use]
    pub fn short(&self) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.0[..16]);
        short
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The digest of the window at byte `offset` of an image of `image_size` bytes.
///
/// The only window of an image is its root; any other is a subtree.
///
/// # Panics
/// If `offset` does not lie on a window boundary, which the caller's types rule out.
#[must_use]
pub fn window(bytes: &[u8], offset: u64, image_size: u64) -> Digest {
    if bytes.len() as u64 == image_size {
        return Digest::of(bytes);
    }
    Digest(Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root())
}

/// The root of an image whose windows have these digests.
///
/// One window is the root itself; no window is the empty image.
#[must_use]
pub fn root(windows: &[Digest]) -> Digest {
    match windows {
        [] => Digest::of(&[]),
        [only] => *only,
        _ => {
            let (left, right) = windows.split_at(left_len(windows.len()));
            let root = merge_subtrees_root(&subtree(left).0, &subtree(right).0, Mode::Hash);
            Digest(*root.as_bytes())
        }
    }
}

/// Joins windows into windows `1 << shift` times as large.
#[must_use]
pub fn widen(windows: &[Digest], shift: u8) -> Vec<Digest> {
    if windows.len() <= 1 << shift {
        return if windows.is_empty() { Vec::new() } else { vec![root(windows)] };
    }
    windows.chunks(1 << shift).map(subtree).collect()
}

fn subtree(windows: &[Digest]) -> Digest {
    if let [only] = windows {
        return *only;
    }
    let (left, right) = windows.split_at(left_len(windows.len()));
    Digest(merge_subtrees_non_root(&subtree(left).0, &subtree(right).0, Mode::Hash))
}

/// The left subtree takes the largest power of two that leaves something for the right.
fn left_len(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_digests_of_any_size_give_the_root_of_the_image() {
        let window_len = 1 << 16;
        let image: Vec<u8> =
            (0..9 * window_len + 5).map(|i: usize| ((i * i) >> 7).to_le_bytes()[0]).collect();
        for size in [0, 1, window_len - 1, window_len, window_len + 1, 2 * window_len + 1]
            .into_iter()
            .chain((1..9).map(|n| n * window_len + 5))
        {
            let image = &image[..size];
            let windows: Vec<_> = image
                .chunks(window_len)
                .enumerate()
                .map(|(i, bytes)| window(bytes, (i * window_len) as u64, size as u64))
                .collect();
            assert_eq!(root(&windows), Digest::of(image), "size {size}");
            for shift in 0..4 {
                assert_eq!(root(&widen(&windows, shift)), Digest::of(image), "{size} {shift}");
                let wide = window_len << shift;
                if size > wide {
                    assert_eq!(
                        widen(&windows, shift)[1],
                        window(&image[wide..size.min(2 * wide)], wide as u64, size as u64)
                    );
                }
            }
        }
    }
}
