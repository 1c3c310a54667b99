//! Pairs whose patches have the layer `refs`, the coder `cm`, or both.
//!
//! Those of [`diffed`] are made by `diff`; those of [`by_hand`] are coded here, so that a small
//! target has many frames of all coders, many restart points, and regions that are found nowhere.

use std::ops::Range;

use neap_engine::cm::{Encoder, FieldMark, Guess, Segment};
use neap_engine::coder::{self, LiteralEncoder};
use neap_engine::diff::{self, Options};
use neap_engine::digest::Digest;
use neap_engine::format::frame::{COLUMN_COUNT, MOVES, REGIONS};
use neap_engine::format::{Restart, SourceRange};
use neap_engine::limits::PIECE_LEN;
use neap_engine::refs::Copy;
use neap_engine::refs::rewriter::{Piece, Rewriter};
use neap_engine::varint;

use crate::executable::{self, Arch};
use crate::pair::{self, Pair, WINDOW, index};
use crate::random::Random;

/// A piece of a copy as it is expected, as the source has it, and which bytes are addresses.
struct Expected {
    guess: Vec<u8>,
    raw: Vec<u8>,
    marks: Vec<FieldMark>,
}

/// The pair with the patch that `diff` makes, and what `diff` says of it; windows are as small as
/// they can be.
///
/// # Panics
/// If `diff` fails.
#[must_use]
pub fn diffed(source: Vec<u8>, target: Vec<u8>, options: &Options) -> (Pair, diff::Summary) {
    let mut frames = Vec::new();
    let made = diff::diff(&source, &target, options, &mut frames, &|_| {});
    let made = made.expect("images in memory can be read");
    let patch = [made.header_bytes, frames].concat();
    let used = made.header.source_map.runs.clone();
    (reheaded(Pair { source, target, patch, header: made.header }, &used), made.summary)
}

/// The pair with the smallest windows and another source map, of what is used.
#[must_use]
pub fn reheaded(pair: Pair, used: &[SourceRange]) -> Pair {
    let Pair { source, target, mut patch, header } = pair;
    let frames = patch.split_off(index(header.header_len));
    let unplaced = |restart: Restart| Restart {
        patch_offset: restart.patch_offset - header.header_len,
        ..restart
    };
    let restarts = header.restarts.iter().copied().map(unplaced);
    let mut again = pair::header(&source, &target, used, restarts.collect());
    again.refs = header.refs;
    again.blocks.clone_from(&header.blocks);
    let (header_bytes, header) = again.encode(frames.len() as u64);
    Pair { source, target, patch: [header_bytes, frames].concat(), header }
}

/// A pair coded by hand, with a target of this size; the seed chooses all else.
#[must_use]
pub fn by_hand(target_size: usize, seed: u64) -> Pair {
    Layered::pair(target_size, seed, 0)
}

/// The same, whose copies leave out the headers of the program, and its source map too.
#[must_use]
pub fn with_unchecked_headers(target_size: usize, seed: u64) -> Pair {
    Layered::pair(target_size, seed, 12288)
}

/// The same from another source, with the program at `program`.
#[must_use]
pub fn by_hand_from(source: Vec<u8>, program: Range<u64>, target_size: usize, seed: u64) -> Pair {
    Layered::pair_from(source, program, target_size, Random::new(seed), 0)
}

/// A pair that is being made by hand.
struct Layered {
    source: Vec<u8>,
    /// Where the program is in the source.
    program: Range<u64>,
    target: Vec<u8>,
    frames: Vec<u8>,
    restarts: Vec<Restart>,
    used: Vec<SourceRange>,
    random: Random,
    /// Bytes at the front of the source that are not used.
    front: u64,
    literals: LiteralEncoder,
    mixer: Encoder,
}

impl Layered {
    fn pair(target_size: usize, seed: u64, front: u64) -> Pair {
        let mut random = Random::new(seed);
        let arch = Arch::ALL[random.index(3)];
        let (source, _) = executable::images(arch, 500, seed);
        let program = 8192..source.len() as u64 - 5000;
        Self::pair_from(source, program, target_size, random, front)
    }

    fn pair_from(
        source: Vec<u8>,
        program: Range<u64>,
        target_size: usize,
        random: Random,
        front: u64,
    ) -> Pair {
        let mut made = Self {
            source,
            program,
            target: Vec::with_capacity(target_size),
            frames: Vec::new(),
            restarts: Vec::new(),
            used: Vec::new(),
            random,
            front,
            literals: LiteralEncoder::new(1 << 20, 1),
            mixer: Encoder::new(),
        };
        while made.target.len() < target_size {
            if !made.target.is_empty() && made.random.happens(128) {
                let (patch_offset, target_offset) =
                    (made.frames.len() as u64, made.target.len() as u64);
                made.restarts.push(Restart { patch_offset, target_offset });
                made.literals = LiteralEncoder::new(1 << 20, 1);
                made.mixer.restart();
            }
            let room = target_size - made.target.len();
            let len = room.min(1 + made.random.index(3 * WINDOW / 2));
            made.frame(len);
        }
        made.used.retain(|range| range.offset >= front);
        made.used.sort_unstable();
        let mut header = pair::header(&made.source, &made.target, &made.used, made.restarts);
        header.refs = true;
        let (header_bytes, header) = header.encode(made.frames.len() as u64);
        let patch = [header_bytes, made.frames].concat();
        Pair { source: made.source, target: made.target, patch, header }
    }

    /// Adds a frame that makes `len` bytes.
    fn frame(&mut self, len: usize) {
        let start = self.target.len() as u64;
        let segments = self.segments(start, len as u64);
        let mut columns: [Vec<u8>; COLUMN_COUNT] = Default::default();
        if self.random.happens(224) {
            self.regions(&mut columns);
        }
        let mut rewriter = Rewriter::default();
        let source_size = self.source.len() as u64;
        let opened = rewriter.open(&columns[REGIONS], &columns[MOVES], source_size);
        opened.expect("the regions are well-formed");
        let mut at = start;
        for segment in &segments {
            at += segment.literals;
            let diagonal = segment.diagonal;
            if segment.run > 0 && !segment.zeros {
                let offset = at.checked_add_signed(diagonal).expect("copies lie in the source");
                let taken = rewriter.add_copy(Copy { offset, len: segment.run, diagonal });
                taken.expect("copies are few");
                self.used.push(SourceRange { offset, len: segment.run });
            }
            at += segment.run;
        }
        rewriter.copies_added();
        let body = match self.random.index(3) {
            0 => self.plain(&segments, columns, &mut rewriter, coder::STORED),
            1 => self.plain(&segments, columns, &mut rewriter, coder::ZSTD),
            _ => self.mixed(&segments, &columns, &mut rewriter),
        };
        assert_eq!(self.target.len() as u64, start + len as u64, "the frame makes what it shall");
        let body_len = u32::try_from(body.len()).expect("frames are small");
        self.frames.extend(body_len.to_le_bytes());
        self.frames.extend(Digest::of(&body).short());
        self.frames.extend(body);
    }

    /// Segments that make `len` bytes of target from byte `at` on.
    fn segments(&mut self, mut at: u64, len: u64) -> Vec<Segment> {
        let end = at + len;
        let mut segments = Vec::new();
        let mut diagonal = 0;
        while at < end {
            let literals = match self.random.index(6) {
                0 => self.random.below(90_000),
                _ => self.random.below(300),
            };
            let literals = literals.min(end - at);
            let start = at + literals;
            let source_len = self.source.len() as u64 - self.front;
            let run = (1 + self.random.below(40_000)).min(end - start).min(source_len);
            let zeros = run > 0 && self.random.happens(30);
            if run > 0 && !zeros {
                let room = source_len - run;
                let offset = self.front + self.random.below(room + 1);
                diagonal = offset.cast_signed() - start.cast_signed();
            }
            segments.push(Segment { literals, run, zeros, diagonal });
            at = start + run;
        }
        segments
    }

    /// Names the program, and a region where none is, with biases and moves.
    fn regions(&mut self, columns: &mut [Vec<u8>; COLUMN_COUNT]) {
        let Range { start, end } = self.program;
        let len = end - start - self.random.below(3).min(end - start - 1);
        let [.., regions, moves] = columns;
        let is_room = self.source.len() as u64 - start - len >= 1700;
        for (gap, len) in [(start, len), (700, 1000)].into_iter().take(1 + usize::from(is_room)) {
            let (biases, move_count) = (self.random.below(4), self.random.below(5));
            for number in [gap, len, biases, move_count] {
                varint::put(regions, number);
            }
            for _ in 0..biases {
                varint::put_signed(regions, self.random.below(64).cast_signed() - 32);
            }
            for _ in 0..move_count {
                varint::put(moves, 0x1_1000 + self.random.below(0x4000));
                varint::put(moves, self.random.below(500));
                varint::put_signed(moves, self.random.below(9000).cast_signed() - 4500);
            }
        }
    }

    /// A copy's bytes as they are expected, piece by piece as the device takes them.
    fn pieces(&mut self, at: u64, segment: &Segment, rewriter: &mut Rewriter) -> Vec<Expected> {
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < segment.run {
            let place = at + done;
            let len = (segment.run - done).min(PIECE_LEN - place % PIECE_LEN);
            let offset = place.checked_add_signed(segment.diagonal).expect("it lies in the source");
            let mut piece = Piece::default();
            piece.reset(offset, segment.diagonal, true);
            let raw = self.source[index(offset)..index(offset + len)].to_vec();
            let mut guess = raw.clone();
            while let Some((offset, len)) = rewriter.step(&mut piece, &mut guess) {
                self.used.push(SourceRange { offset, len: len as u64 });
                let bytes = &self.source[index(offset)..index(offset) + len];
                rewriter.room(len).copy_from_slice(bytes);
            }
            pieces.push(Expected { guess, raw, marks: piece.marks().to_vec() });
            done += len;
        }
        pieces
    }

    /// Some bytes otherwise than expected.
    fn changed(&mut self, expected: &[u8]) -> Vec<u8> {
        let mut made = expected.to_vec();
        for _ in 0..made.len() / 2000 {
            let at = self.random.index(made.len());
            made[at] = self.random.bytes(1)[0];
        }
        made
    }

    /// The body of a frame of the coder `cm`.
    fn mixed(
        &mut self,
        segments: &[Segment],
        columns: &[Vec<u8>; COLUMN_COUNT],
        rewriter: &mut Rewriter,
    ) -> Vec<u8> {
        self.mixer.segments(segments);
        let start = self.target.len();
        for segment in segments {
            let literals = self.random.bytes(index(segment.literals) / 2);
            let literals = [&literals[..], &literals, b"!"].concat();
            let literals = &literals[..index(segment.literals)];
            self.mixer.literals(literals);
            self.target.extend(literals);
            if segment.zeros {
                self.target.resize(self.target.len() + index(segment.run), 0);
                continue;
            }
            for piece in self.pieces(self.target.len() as u64, segment, rewriter) {
                let made = self.changed(&piece.guess);
                let Expected { guess, raw, marks } = &piece;
                let guess = Guess { bytes: guess, raw, fields: marks };
                self.mixer.copy(&guess, &made);
                self.target.extend(made);
            }
        }
        let mut body = vec![coder::CM];
        varint::put(&mut body, (self.target.len() - start) as u64);
        let coded = columns.each_ref().map(|column| coder::column(column, 1));
        for (raw, coded) in columns[REGIONS..].iter().zip(&coded[REGIONS..]) {
            varint::put(&mut body, raw.len() as u64);
            varint::put(&mut body, coded.len() as u64);
        }
        coded[REGIONS..].iter().for_each(|coded| body.extend(coded));
        body.extend(self.mixer.finish());
        body
    }

    /// The body of a frame of another coder.
    fn plain(
        &mut self,
        segments: &[Segment],
        mut columns: [Vec<u8>; COLUMN_COUNT],
        rewriter: &mut Rewriter,
        coder: u8,
    ) -> Vec<u8> {
        let start = self.target.len();
        let (mut all_literals, mut diagonal, mut gap) = (Vec::new(), 0, 0);
        for segment in segments {
            varint::put(&mut columns[0], segment.literals);
            varint::put(&mut columns[1], segment.run << 1 | u64::from(segment.zeros));
            let literals = self.random.bytes(index(segment.literals));
            all_literals.extend(&literals);
            self.target.extend(literals);
            if segment.zeros || segment.run == 0 {
                self.target.resize(self.target.len() + index(segment.run), 0);
                continue;
            }
            varint::put_signed(&mut columns[2], segment.diagonal - diagonal);
            diagonal = segment.diagonal;
            for piece in self.pieces(self.target.len() as u64, segment, rewriter) {
                let made = self.changed(&piece.guess);
                for (made, guess) in made.iter().zip(&piece.guess) {
                    if made == guess {
                        gap += 1;
                        continue;
                    }
                    varint::put(&mut columns[3], gap);
                    varint::put(&mut columns[4], 0);
                    columns[5].push(made.wrapping_sub(*guess));
                    gap = 0;
                }
                self.target.extend(made);
            }
        }
        let mut body = vec![coder];
        varint::put(&mut body, (self.target.len() - start) as u64);
        let is_stored = coder == coder::STORED;
        let coded = columns.each_ref().map(|column| match is_stored {
            true => column.clone(),
            false => coder::column(column, 1),
        });
        for (raw, coded) in columns.iter().zip(&coded) {
            varint::put(&mut body, raw.len() as u64);
            varint::put(&mut body, coded.len() as u64);
        }
        let literals_len = all_literals.len() as u64;
        let literals = if is_stored { all_literals } else { self.literals.code(&all_literals) };
        varint::put(&mut body, literals_len);
        varint::put(&mut body, literals.len() as u64);
        coded.iter().for_each(|coded| body.extend(coded));
        body.extend(literals);
        body
    }
}
