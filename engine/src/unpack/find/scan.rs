//! Where something may begin: looks at every byte of the image for the first bytes of containers.
//!
//! Each pattern is four sets of bytes. A byte has, for each of the four places, a bit for every
//! pattern that allows it there, so that one look at two bytes tells for all patterns at once
//! whether any can begin: about 900 MB/s a core where none does, reading included.

use std::ops::Range;

use rayon::prelude::*;

use crate::io::{Error, Source};
use crate::limits::{CANDIDATE_SPACING, SCAN_PIECE_LEN};

/// What may begin somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Squashfs,
    Erofs,
    Cramfs,
    Gzip,
    Zip,
    Png,
    Xz,
    Zstd,
    Lz4Frame,
    Lz4Legacy,
    Lzma,
    LzmaSection,
    Bzip2,
    Verity,
    Ext4,
    Kallsyms,
}

impl Kind {
    /// Whether it is a file system: its tables tell where blocks are.
    pub(super) fn is_file_system(self) -> bool {
        matches!(self, Self::Squashfs | Self::Erofs | Self::Cramfs | Self::Ext4)
    }
}

/// A place where a container may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Where its first bytes are, in bytes; for `Erofs`, `Ext4`, `Kallsyms` and
    /// `LzmaSection` that is inside of it.
    pub(super) offset: u64,
    /// What it may be.
    pub(super) kind: Kind,
}

struct Pattern {
    kind: Kind,
    /// Lowest and highest byte allowed at each place.
    places: [(u8, u8); 4],
}

/// The candidates of a range of the image, in order. Memory is a fixed share of the range.
pub(super) fn scan(image: &dyn Source, range: Range<u64>) -> Result<Vec<Candidate>, Error> {
    let pieces = (range.end - range.start).div_ceil(SCAN_PIECE_LEN);
    let found: Result<Vec<Vec<Candidate>>, Error> = (0..pieces)
        .into_par_iter()
        .map(|index| {
            let start = range.start + index * SCAN_PIECE_LEN;
            let end = range.end.min(start + SCAN_PIECE_LEN);
            // A pattern may begin in this piece and end in the next.
            let overlap = (PLACES as u64 - 1).min(image.size() - end);
            let len = usize::try_from(end + overlap - start).expect("a piece is 2 MiB");
            let mut bytes = vec![0; len];
            image.read_at(start, &mut bytes)?;
            Ok(scan_piece(&bytes, start))
        })
        .collect();
    Ok(found?.concat())
}

fn scan_piece(bytes: &[u8], start: u64) -> Vec<Candidate> {
    let mut found = Vec::new();
    let count_max = bytes.len() / CANDIDATE_SPACING + 1;
    for (index, four) in bytes.windows(PLACES).enumerate() {
        if FIRST[usize::from(four[0])] & SECOND[usize::from(four[1])] == 0 {
            continue;
        }
        if let Some(pattern) = PATTERNS.iter().find(|pattern| pattern.is(four)) {
            found.push(Candidate { offset: start + index as u64, kind: pattern.kind });
            // An image full of these is made to cost us time.
            if found.len() == count_max {
                break;
            }
        }
    }
    found
}

impl Pattern {
    const fn new(kind: Kind, bytes: [u8; 4]) -> Self {
        let [a, b, c, d] = bytes;
        Self { kind, places: [(a, a), (b, b), (c, c), (d, d)] }
    }

    /// The last byte is one of a range.
    const fn ending(kind: Kind, bytes: [u8; 3], last: (u8, u8)) -> Self {
        let [a, b, c] = bytes;
        Self { kind, places: [(a, a), (b, b), (c, c), last] }
    }

    fn is(&self, bytes: &[u8]) -> bool {
        self.places.iter().zip(bytes).all(|((low, high), byte)| (low..=high).contains(&byte))
    }
}

/// Bytes of a pattern.
const PLACES: usize = 4;

/// First bytes of what can be found; each is documented with its parser.
const PATTERNS: [Pattern; 16] = [
    Pattern::new(Kind::Squashfs, *b"hsqs"),
    Pattern::new(Kind::Erofs, [0xe2, 0xe1, 0xf5, 0xe0]),
    Pattern::new(Kind::Cramfs, [0x45, 0x3d, 0xcd, 0x28]),
    // Deflate, and none of the flags that RFC 1952 reserves.
    Pattern::ending(Kind::Gzip, [0x1f, 0x8b, 8], (0, 0x1f)),
    Pattern::new(Kind::Zip, *b"PK\x03\x04"),
    Pattern::new(Kind::Png, *b"\x89PNG"),
    Pattern::new(Kind::Xz, *b"\xfd7zX"),
    Pattern::new(Kind::Zstd, [0x28, 0xb5, 0x2f, 0xfd]),
    Pattern::new(Kind::Lz4Frame, [4, 0x22, 0x4d, 0x18]),
    Pattern::new(Kind::Lz4Legacy, [2, 0x21, 0x4c, 0x18]),
    // The properties that every encoder uses, and a dictionary of 64 KiB or a multiple of it.
    Pattern::ending(Kind::Lzma, [0x5d, 0, 0], (0, 0xff)),
    Pattern::new(Kind::LzmaSection, [0x98, 0x58, 0x4e, 0xee]),
    Pattern::ending(Kind::Bzip2, *b"BZh", (b'1', b'9')),
    Pattern::new(Kind::Verity, *b"veri"),
    // The tokens of two digits.
    Pattern::new(Kind::Kallsyms, *b"0\x001\x00"),
    // The signature, and flags of its state.
    Pattern { kind: Kind::Ext4, places: [(0x53, 0x53), (0xef, 0xef), (0, 7), (0, 0)] },
];

static FIRST: [u16; 256] = allowed(0);
static SECOND: [u16; 256] = allowed(1);

/// For each byte, the patterns that allow it at a place.
const fn allowed(place: usize) -> [u16; 256] {
    let mut allowed = [0; 256];
    let mut index = 0;
    while index < PATTERNS.len() {
        let (low, high) = PATTERNS[index].places[place];
        let mut byte = low as usize;
        while byte <= high as usize {
            allowed[byte] |= 1 << index;
            byte += 1;
        }
        index += 1;
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_is_found_at_every_place_of_a_piece_and_across_two() {
        let piece = usize::try_from(SCAN_PIECE_LEN).expect("it is small");
        for at in [0, 1, 77, piece - 4, piece - 3, piece - 1, piece, 2 * piece - 4] {
            let mut image = vec![0_u8; 2 * piece];
            image[at..at + 4].copy_from_slice(b"hsqs");
            let found = scan(&image, 0..image.len() as u64).expect("memory can be read");
            let offset = at as u64;
            assert_eq!(found, [Candidate { offset, kind: Kind::Squashfs }]);
        }
    }

    #[test]
    fn magic_without_its_last_byte_is_not_found() {
        let mut image = vec![0_u8; 4096];
        image[4093..].copy_from_slice(b"hsq");
        image[..4].copy_from_slice(&[0x1f, 0x8b, 8, 0x20]);
        assert_eq!(scan(&image, 0..4096).expect("memory can be read"), []);
    }

    #[test]
    fn candidates_of_a_hostile_piece_are_bounded() {
        let image = b"hsqs".repeat(100_000);
        let found = scan(&image, 0..400_000).expect("memory can be read");
        assert_eq!(found.len(), 400_000 / CANDIDATE_SPACING + 1);
    }
}
