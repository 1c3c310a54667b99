//! The model of a frame's content, written once for both ends of the coder.
//!
//! A copy is coded as where it is not as guessed. A piece of it, then each kibibyte, then each 32
//! bytes are clean or not; within 32 bytes that are not, each byte is as guessed or not, and one
//! that is not is coded like a literal. So long clean runs cost neither bytes nor time.

use super::Guess;
use super::ahead::Ahead;
use super::bytes::{Around, Bytes, literal_hashes};
use super::decide::{Decider, hash};
use super::fields::{self, FieldMark, Fields, Known};
use super::history::History;
use super::range::Coder;
use super::segments::Segments;

/// Lengths in bytes of the spans that are clean or not, below the whole piece.
const SPANS: [usize; 2] = [1024, 32];

/// Bytes at the end of a clean span that are learned from: what literals are like.
const NOTED: usize = 64;

/// Most bytes of clean spans that are learned from: half a second's work.
const ROOM: usize = 1 << 20;

/// Bytes as guessed are learned from if one of the four before them was not.
const MISSED_LATELY: u64 = 0xf;

/// The sum of costs is of about this many literals.
const COST_LOG2: u32 = 8;

/// Literals that cost more than 8 bits each are compressed or encrypted: they are coded plain.
const COST_PLAIN: u32 = (8 * 256 + 4) << COST_LOG2;

/// So many literals are coded plain before the model is tried again.
const PLAIN_LEN: u32 = 2048;

/// The sum of costs then: what 64 literals can bring back above.
const COST_AGAIN: u32 = (8 * 256) << COST_LOG2;

/// A match of this length ends what is coded plain.
const MATCH_LEN_PLAIN: u32 = 8;

/// Contexts of whether a byte is as guessed.
const FLAG_CONTEXTS: usize = 12;

/// All that is learned from a frame and kept for the next.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) segments: Segments,
    bytes: Bytes,
    history: History,
    fields: Fields,
    spans: Decider<6, 1, { 1 << 14 }, 32>,
    flags: Decider<FLAG_CONTEXTS, 2, { 1 << 16 }, 2048>,
    /// The last eight bytes of the target, the newest lowest.
    tail: u64,
    /// Whether the last 64 bytes of copies were as guessed: a set bit is a miss, the newest lowest.
    missed: u64,
    /// Bytes of copies since the last miss.
    since: u32,
    /// Whether the last spans of each size were dirty.
    dirty: [u32; 3],
    /// What the last missed bytes differed by, the newest lowest.
    differences: u32,
    /// The last differences by place in a field.
    by_place: [u8; 8],
    /// What literals cost lately: a sum that loses one part in 256 with each, in 256ths of a bit.
    literal_cost: u32,
    /// Literals that are still to be coded without a model.
    plain: u32,
    /// Bytes at the ends of clean spans that may still be learned from.
    room: usize,
}

/// A piece of a copy while it is coded.
struct Piece<'a> {
    guess: &'a Guess<'a>,
    /// What an encoder knows.
    truth: Option<&'a [u8]>,
    out: &'a mut [u8],
    /// The next field to be learned from, by its last byte.
    learned: usize,
}

/// Where a byte lies in a field.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The field's kind plus one, and the byte's index in it; 0 for none.
    kind: u32,
    index: u32,
    known: Known,
    /// Whether a byte before in the same field was missed.
    missed: bool,
    address: u32,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            segments: Segments::new(),
            bytes: Bytes::new(),
            history: History::new(),
            fields: Fields::new(),
            spans: Decider::new(),
            flags: Decider::new(),
            tail: 0,
            missed: 0,
            since: 0,
            dirty: [0; 3],
            differences: 0,
            by_place: [0; 8],
            literal_cost: 0,
            plain: 0,
            room: ROOM,
        }
    }

    /// Codes literals, in place.
    pub(super) fn literals<C: Coder>(&mut self, coder: &mut C, out: &mut [u8]) {
        for byte in out {
            if self.plain > 0 && self.history.expected().1 < MATCH_LEN_PLAIN {
                self.plain -= 1;
                *byte = plain(coder, *byte);
            } else {
                let around = self.literal_around();
                let ahead = Ahead { history: &self.history, tail: self.tail, is_literal: true };
                *byte = self.bytes.code(coder, &around, ahead, *byte);
                self.literal_cost += self.bytes.cost;
                self.literal_cost -= self.literal_cost >> COST_LOG2;
                if self.literal_cost > COST_PLAIN {
                    self.plain = PLAIN_LEN;
                    self.literal_cost = COST_AGAIN;
                }
            }
            self.push(*byte, true);
        }
    }

    fn literal_around(&self) -> Around {
        let (expected, len) = self.history.expected();
        let tail = self.tail;
        Around {
            hashes: literal_hashes(tail),
            expected: [(expected, len.min(32)), (0, 0), (0, 0), (0, 0)],
            mode: 0,
            set: len.min(15),
            before: tail.to_le_bytes()[0],
        }
    }

    fn push(&mut self, byte: u8, seek: bool) {
        self.tail = self.tail << 8 | u64::from(byte);
        self.history.push(byte, self.tail, self.plain > 0, seek);
    }

    /// Codes a piece of a copy into `out`.
    pub(super) fn copy<C: Coder>(
        &mut self,
        coder: &mut C,
        guess: &Guess,
        truth: Option<&[u8]>,
        out: &mut [u8],
    ) {
        out.copy_from_slice(guess.bytes);
        let len = out.len();
        let mut piece = Piece { guess, truth, out, learned: 0 };
        self.span(coder, &mut piece, (0, len), 0, false);
    }

    /// Codes a span of a piece; says whether it was clean.
    fn span<C: Coder>(
        &mut self,
        coder: &mut C,
        piece: &mut Piece,
        (start, end): (usize, usize),
        level: usize,
        is_dirty: bool,
    ) -> bool {
        let size = SPANS.get(level).copied();
        // A span of the next size is told of there.
        if let Some(size) = size
            && end - start <= size
        {
            return self.span(coder, piece, (start, end), level + 1, is_dirty);
        }
        let (known, fields) = self.adjust(piece, (start, end));
        let clean = piece.truth.is_some_and(|truth| truth[start..end] == piece.out[start..end]);
        if !is_dirty {
            let clean = self.is_clean(coder, (level, end - start), (known, fields), clean);
            self.dirty[level] = self.dirty[level] << 1 | u32::from(!clean);
            if clean {
                self.passed(piece, (start, end));
                return true;
            }
        } else {
            self.dirty[level] = self.dirty[level] << 1 | 1;
        }
        let Some(size) = size else {
            self.zone(coder, piece, (start, end));
            return false;
        };
        let mut all_clean = true;
        let mut at = start;
        while at < end {
            let next = end.min(at + size);
            // What must be dirty since nothing before was.
            let is_dirty = all_clean && next == end;
            all_clean &= self.span(coder, piece, (at, next), level + 1, is_dirty);
            at = next;
        }
        false
    }

    fn is_clean<C: Coder>(
        &mut self,
        coder: &mut C,
        (level, len): (usize, usize),
        (doubts, fields): (u32, u32),
        clean: bool,
    ) -> bool {
        let level = u32::try_from(level).unwrap_or(0);
        let size = usize::BITS - len.leading_zeros();
        let dirty = self.dirty[level as usize % 3];
        let doubts = doubts.min(7);
        let since = 32 - self.since.leading_zeros();
        let contexts = [
            hash(&[level, size, dirty & 7]),
            hash(&[level, doubts, dirty & 3]),
            hash(&[level, since, doubts]),
            hash(&[level, dirty & 0xff]),
            hash(&[level, fields.min(15), doubts, size]),
            hash(&[level, since, self.dirty[(level as usize + 1) % 3] & 3, dirty & 1]),
        ];
        let set = (level << 3 | doubts) as usize;
        self.spans.code(coder, &contexts, set, clean)
    }

    /// Moves the guesses of all fields that start in a span by what is known of them. Counts the
    /// fields that may be wrong, and all.
    fn adjust(&mut self, piece: &mut Piece, (start, end): (usize, usize)) -> (u32, u32) {
        let fields = piece.guess.fields;
        let first = fields.partition_point(|field| (field.at as usize) < start);
        let (mut doubts, mut count) = (0, 0);
        for field in fields[first..].iter().take_while(|field| (field.at as usize) < end) {
            let known = self.fields.known(field);
            doubts += u32::from(known.count == 0);
            count += 1;
            self.place_field(piece, field, known);
        }
        (doubts, count)
    }

    /// Writes the guess of a field, moved by what is known.
    fn place_field(&self, piece: &mut Piece, field: &FieldMark, known: Known) {
        let Some(range) = whole(field, piece.out.len()) else { return };
        let guessed = &piece.guess.bytes[range.clone()];
        let out = &mut piece.out[range];
        if known.error == 0 {
            out.copy_from_slice(guessed);
            return;
        }
        let moved = fields::moved(field, word(guessed), known.error).to_le_bytes();
        out.copy_from_slice(&moved[..out.len()]);
    }

    /// Learns from a span that was as guessed, all at once.
    fn passed(&mut self, piece: &mut Piece, (start, end): (usize, usize)) {
        let len = end - start;
        self.history.cut();
        let room = self.room.min(NOTED);
        let from = start.max(end.saturating_sub(room.max(8)));
        let passed = &piece.out[from..end];
        if room == NOTED {
            self.note_all(passed);
        } else {
            self.tail = passed.iter().fold(self.tail, |tail, byte| tail << 8 | u64::from(*byte));
        }
        self.room -= if room == NOTED { end - from } else { 0 };
        self.missed = if len < 64 { self.missed << len } else { 0 };
        self.since = self.since.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        self.history.cut();
        self.learn_fields(piece, end);
    }

    /// Learns from bytes that are known.
    fn note_all(&mut self, bytes: &[u8]) {
        let mut hashes = literal_hashes(self.tail);
        // While one is learned from, what the next will need is brought into the cache.
        for (byte, next) in bytes.iter().zip(bytes.iter().skip(1).chain(&[0])) {
            let tail = self.tail << 8 | u64::from(*byte);
            let then = literal_hashes(tail);
            self.bytes.fetch(&then, *next);
            self.history.fetch_place(tail << 8 | u64::from(*next));
            self.bytes.note(&hashes, *byte);
            self.push(*byte, false);
            hashes = then;
        }
    }

    /// Learns from all fields that end at `end` or before.
    fn learn_fields(&mut self, piece: &mut Piece, end: usize) {
        while let Some(field) = piece.guess.fields.get(piece.learned) {
            let field_end = field.at as usize + usize::from(field.len.saturating_sub(field.skip));
            if field_end > end {
                break;
            }
            piece.learned += 1;
            if let Some(range) = whole(field, piece.out.len()) {
                let guessed = word(&piece.guess.bytes[range.clone()]);
                let error = fields::error(field, guessed, word(&piece.out[range]));
                self.fields.learn(field, error);
            }
        }
    }

    /// Codes each byte of a span that is not clean.
    fn zone<C: Coder>(&mut self, coder: &mut C, piece: &mut Piece, (start, end): (usize, usize)) {
        let fields = piece.guess.fields;
        let mut next = fields.partition_point(|field| {
            field.at as usize + usize::from(field.len.saturating_sub(field.skip)) <= start
        });
        let mut place = Place::default();
        let mut seen = false;
        for at in start..end {
            let field = fields.get(next).filter(|field| field.at as usize <= at);
            if let Some(field) = field {
                if field.at as usize == at {
                    let known = self.fields.known(field);
                    self.place_field(piece, field, known);
                    place = Place { known, ..Place::default() };
                }
                let index = at - field.at as usize + usize::from(field.skip);
                place.kind = u32::from(field.kind) + 1;
                place.index = u32::try_from(index & 7).unwrap_or(0);
                place.address = u32::try_from(field.address & 0xffff_ffff).unwrap_or(0);
            } else {
                place = Place::default();
            }
            let as_guessed = self.byte(coder, piece, at, place, (seen, end - at));
            seen |= !as_guessed;
            place.missed |= !as_guessed;
            if let Some(field) = field {
                if !as_guessed {
                    self.carry(piece, field, at);
                }
                if at + 1 >= field.at as usize + usize::from(field.len.saturating_sub(field.skip)) {
                    next += 1;
                }
            }
            self.learn_fields(piece, at + 1);
        }
    }

    /// After a miss in a field, guesses the rest of it anew: as in the source, by an error of the
    /// past, or by the least error, whichever agrees first with the bytes that are known.
    fn carry(&self, piece: &mut Piece, field: &FieldMark, at: usize) {
        let Some(range) = whole(field, piece.out.len()) else { return };
        let done = at + 1 - range.start;
        let len = range.len();
        if done >= len {
            return;
        }
        let guessed = word(&piece.guess.bytes[range.clone()]);
        let told = word(&piece.out[range.clone()]);
        let done_bits = u32::try_from(8 * done).unwrap_or(0);
        let least = fields::least_error(field, guessed, told, done_bits / 8);
        let raw = piece.guess.raw.get(range.clone()).map_or(guessed, word);
        let by_low = self.fields.by_low[usize::from(least.to_le_bytes()[0])];
        let agreeing = [
            raw,
            fields::moved(field, guessed, by_low),
            fields::moved(field, guessed, self.fields.last),
            fields::moved(field, guessed, least),
        ]
        .into_iter()
        .find(|word| (word ^ told) << (64 - done_bits) == 0);
        if let Some(word) = agreeing {
            piece.out[range][done..].copy_from_slice(&word.to_le_bytes()[done..len]);
        }
    }

    /// Codes one byte of a copy: whether it is as guessed, and if not, the byte.
    fn byte<C: Coder>(
        &mut self,
        coder: &mut C,
        piece: &mut Piece,
        at: usize,
        place: Place,
        (seen, left): (bool, usize),
    ) -> bool {
        let guess = piece.out[at];
        let first = piece.guess.bytes[at];
        let raw = piece.guess.raw.get(at).copied().unwrap_or(first);
        let ahead = [1, 2, 3].map(|by| u32::from(piece.out.get(at + by).copied().unwrap_or(0)));
        let (told, len) = self.history.expected();
        let truth = piece.truth.map_or(0, |truth| truth[at]);
        let foretold = if len == 0 { 0 } else { 1 + u32::from(told == guess) };
        let len = 32 - (len >> 1).leading_zeros();
        let contexts =
            self.flag_contexts(guess, raw, ahead, place, (seen, left), foretold << 4 | len);
        // What is asked now, and what is learned if it is as guessed, are fetched together.
        self.flags.fetch(&contexts);
        self.history.fetch_place(self.tail << 8 | u64::from(guess));
        let noted = self.missed & MISSED_LATELY != 0;
        let noted = noted.then(|| literal_hashes(self.tail));
        if let Some(hashes) = &noted {
            self.bytes.fetch(hashes, guess);
        }
        let as_guessed = if !seen && left == 1 {
            // The span is not clean, and this is its last byte.
            false
        } else {
            let set = foretold + 3 * (u32::from(seen) + 2 * (place.kind.min(31) * 8 + place.index));
            self.flags.code(coder, &contexts, set as usize, truth == guess)
        };
        let byte = if as_guessed {
            if let Some(hashes) = &noted {
                self.bytes.note(hashes, guess);
            }
            guess
        } else {
            let around = self.missed_around(guess, raw, first, ahead, place);
            let ahead = Ahead { history: &self.history, tail: self.tail, is_literal: false };
            let byte = self.bytes.code(coder, &around, ahead, truth);
            let difference = byte.wrapping_sub(guess);
            self.differences = self.differences << 8 | u32::from(difference);
            self.by_place[place.index as usize & 7] = difference;
            byte
        };
        piece.out[at] = byte;
        self.missed = self.missed << 1 | u64::from(!as_guessed);
        self.since = if as_guessed { self.since.saturating_add(1) } else { 0 };
        self.push(byte, !as_guessed);
        as_guessed
    }

    fn flag_contexts(
        &self,
        guess: u8,
        raw: u8,
        ahead: [u32; 3],
        place: Place,
        (seen, left): (bool, usize),
        foretold: u32,
    ) -> [u32; FLAG_CONTEXTS] {
        let since = self.since.min(15) + (32 - (self.since >> 4).leading_zeros());
        let left = u32::try_from(left.min(32)).unwrap_or(0);
        let left = if seen { 0 } else { left };
        let guessed = u32::from(guess);
        let changed = u32::from(raw != guess);
        let [b1, b2, b3, ..] = self.tail.to_le_bytes().map(u32::from);
        let slot = place.kind << 4 | place.index << 1 | u32::from(place.missed);
        let recent = u32::try_from(self.missed & 0xffff).unwrap_or(0);
        let apart = [4, 8, 12, 16, 24]
            .iter()
            .fold(0, |bits, by| bits << 1 | u32::from(self.missed >> (by - 1) & 1 == 1));
        let known = u32::from(place.known.count) << 4 | u32::from(place.known.near);
        [
            hash(&[1, slot, since, left]),
            hash(&[2, slot, known, u32::from(place.known.error != 0)]),
            hash(&[3, recent & 0xff, slot]),
            hash(&[4, guessed, b1, slot]),
            hash(&[5, guessed, ahead[0], recent & 3, slot]),
            hash(&[6, b1, b2, guessed, recent & 1]),
            hash(&[7, changed, slot, since.min(4), u32::from(seen)]),
            hash(&[8, apart, recent & 1, slot]),
            hash(&[9, foretold, recent & 3, guessed]),
            hash(&[10, place.address, slot]),
            hash(&[11, b1, b2, b3, guessed, ahead[0]]),
            hash(&[12, left, since]),
        ]
    }

    fn missed_around(
        &self,
        guess: u8,
        raw: u8,
        first: u8,
        ahead: [u32; 3],
        place: Place,
    ) -> Around {
        let (told, len) = self.history.expected();
        let [b1, b2, b3, b4, ..] = self.tail.to_le_bytes().map(u32::from);
        let four = b1 | b2 << 8 | b3 << 16 | b4 << 24;
        let slot = place.kind << 4 | place.index << 1 | u32::from(place.missed);
        let guessed = u32::from(guess);
        let by_place = self.by_place[place.index as usize & 7];
        let last = self.differences.to_le_bytes();
        let known = u32::from(place.known.count.min(3)) + 1;
        Around {
            hashes: [
                hash(&[1, b1]),
                hash(&[2, b1, b2]),
                hash(&[3, four & 0xff_ffff]),
                hash(&[21, guessed, ahead[0], ahead[1]]),
                hash(&[22, guessed, b1, slot]),
                hash(&[23, guessed, by_place.into(), slot]),
                hash(&[24, guessed, last[0].into(), last[1].into()]),
                hash(&[25, place.address, slot, guessed]),
            ]
            .map(|context| hash(&[context])),
            expected: [
                (told, if told == guess { 0 } else { len.min(32) }),
                (raw, if raw == guess { 0 } else { known }),
                (guess.wrapping_add(by_place), 1 + place.index + 8 * place.kind.min(31)),
                (first, if first == guess { 0 } else { known }),
            ],
            mode: if place.kind == 0 { 1 } else { 2 + place.index },
            set: 16 + (place.kind.min(31) << 3 | place.index),
            before: guess,
        }
    }
}

/// Codes a byte that nothing is known of.
fn plain<C: Coder>(coder: &mut C, byte: u8) -> u8 {
    (0..8).rev().fold(0, |made, at| made << 1 | u8::from(coder.code(byte >> at & 1 == 1, 1 << 15)))
}

/// The bytes of a field in a piece, if all of them lie in it.
fn whole(field: &FieldMark, len: usize) -> Option<std::ops::Range<usize>> {
    let start = field.at as usize;
    let end = start + usize::from(field.len);
    (field.skip == 0 && (1..=8).contains(&field.len) && end <= len).then_some(start..end)
}

/// Up to eight bytes as a little-endian integer.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}
