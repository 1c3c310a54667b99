//! A copy: where it is as guessed, and what comes where it is not (10.10, 10.12).

use std::ops::Range;

use super::Mix;
use super::bytes::Contexts;
use super::decide::{Decider, hash, size};
use super::fields::{Errors, Known, Spelling};
use super::segments::low;
use crate::Result;
use crate::refs::{Guess, Mark};

/// Length of spans by their level.
const SPAN_LENS: [usize; 3] = [1 << 16, 1024, 32];

pub(super) struct Copies {
    clean: Decider<6>,
    as_guessed: Decider<12>,
    errors: Errors,
    dirty: [u32; 3],
    /// Bytes that may still be noted in clean spans.
    room: usize,
    since: u32,
    missed: u64,
    by_place: [u8; 8],
    differences: [u8; 2],
}

impl Copies {
    pub(super) fn new() -> Self {
        Self {
            clean: Decider::new(14, 32),
            as_guessed: Decider::new(16, 2048),
            errors: Errors::new(),
            dirty: [0; 3],
            room: 1 << 20,
            since: 0,
            missed: 0,
            by_place: [0; 8],
            differences: [0; 2],
        }
    }
}

/// A piece that is being made.
pub(super) struct Piece<'a> {
    guess: &'a [u8],
    raw: &'a [u8],
    fields: &'a [Mark],
    out: Vec<u8>,
    /// Fields that were learned from.
    learned: usize,
}

/// A field at a byte of a dirty span.
#[derive(Clone, Copy)]
struct Here<'a> {
    mark: &'a Mark,
    known: Known,
    has_missed: bool,
}

impl<'a> Piece<'a> {
    pub(super) fn new(guess: &'a Guess, raw: &'a [u8]) -> Self {
        let out = guess.bytes.clone();
        Self { guess: &guess.bytes, raw, fields: &guess.fields, out, learned: 0 }
    }

    fn fields_in(&self, span: &Range<usize>) -> &'a [Mark] {
        let before = |end: usize| self.fields.partition_point(|mark| mark.at < end as u64);
        &self.fields[before(span.start)..before(span.end)]
    }

    /// Where a field lies; nothing if the piece has only a part of it.
    fn whole(&self, mark: &Mark) -> Option<Range<usize>> {
        let at = usize::try_from(mark.at).ok()?;
        let end = at + usize::try_from(mark.len).ok()?;
        (mark.skip == 0 && end <= self.guess.len()).then_some(at..end)
    }

    /// Writes a field anew.
    fn adjust(&mut self, mark: &Mark, known: Known) {
        if let Some(range) = self.whole(mark) {
            let guessed = number(&self.guess[range.clone()]);
            let word = Spelling::of(mark, guessed).moved(guessed, known.error);
            self.out[range.clone()].copy_from_slice(&word.to_le_bytes()[..range.len()]);
        }
    }

    /// Learns from the fields that end before this.
    fn passed(&mut self, end: usize, errors: &mut Errors) {
        while let Some(mark) = self.fields.get(self.learned)
            && mark.at + mark.len - mark.skip <= end as u64
        {
            if let Some(range) = self.whole(mark) {
                errors.learn(mark, number(&self.guess[range.clone()]), number(&self.out[range]));
            }
            self.learned += 1;
        }
    }

    /// Corrects the rest of a field once some bytes of it are told.
    fn correct(&mut self, mark: &Mark, done: usize, errors: &Errors) {
        let Some(range) = self.whole(mark).filter(|range| done < range.len()) else { return };
        let guessed = number(&self.guess[range.clone()]);
        let spelling = Spelling::of(mark, guessed);
        let told = number(&self.out[range.clone()]);
        let bits = spelling.bits_in(u32::try_from(done).expect("fields are short"));
        let least = spelling.error(guessed, told, bits);
        let by_low = errors.by_low[usize::from(least.to_le_bytes()[0])];
        let moved = [by_low, errors.last, least].map(|error| spelling.moved(guessed, error));
        let words = [number(&self.raw[range.clone()])].into_iter().chain(moved);
        let told = told.to_le_bytes();
        let mut words = words.map(u64::to_le_bytes);
        if let Some(word) = words.find(|word| word[..done] == told[..done]) {
            self.out[range.clone()].copy_from_slice(&word[..range.len()]);
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

impl Mix {
    /// Decodes a piece of a copy: up to 64 KiB, within a multiple of 64 KiB of target.
    pub(super) fn piece(&mut self, guess: &Guess, raw: &[u8]) -> Result<Vec<u8>> {
        let mut piece = Piece::new(guess, raw);
        self.span(&mut piece, 0..raw.len(), 0, false)?;
        Ok(piece.out)
    }

    /// Decodes a span, and says whether it is clean.
    fn span(
        &mut self,
        piece: &mut Piece<'_>,
        span: Range<usize>,
        mut level: usize,
        must_be_dirty: bool,
    ) -> Result<bool> {
        while SPAN_LENS.get(level + 1).is_some_and(|len| span.len() <= *len) {
            level += 1;
        }
        let (mut doubts, fields) = (0, piece.fields_in(&span));
        for mark in fields {
            let known = self.copies.errors.known(mark);
            doubts += usize::from(known.count == 0);
            piece.adjust(mark, known);
        }
        let is_clean = !must_be_dirty && self.is_clean(level, span.len(), doubts, fields.len())?;
        let dirty = &mut self.copies.dirty[level];
        *dirty = *dirty << 1 | u32::from(!is_clean);
        if is_clean {
            self.clean(piece, span);
            return Ok(true);
        }
        if level == 2 {
            self.bytes(piece, span)?;
            return Ok(false);
        }
        let (mut start, mut all_clean) = (span.start, true);
        while start < span.end {
            let end = (start + SPAN_LENS[level + 1]).min(span.end);
            let must_be_dirty = end == span.end && all_clean;
            all_clean &= self.span(piece, start..end, level + 1, must_be_dirty)?;
            start = end;
        }
        Ok(false)
    }

    fn is_clean(&mut self, level: usize, len: usize, doubts: usize, fields: usize) -> Result<bool> {
        let Copies { dirty, since, clean, .. } = &mut self.copies;
        let (l, s, q) = (low(level as u64), size(len as u64), size((*since).into()));
        let (doubts, fields) = (low(doubts.min(7) as u64), low(fields.min(15) as u64));
        let (d, above) = (dirty[level], dirty[(level + 1) % 3] & 3);
        let contexts = [
            hash(&[l, s, d & 7]),
            hash(&[l, doubts, d & 3]),
            hash(&[l, q, doubts]),
            hash(&[l, d & 255]),
            hash(&[l, fields, doubts, s]),
            hash(&[l, q, above, d & 1]),
        ];
        clean.decide(&mut self.code, contexts, l << 3 | doubts)
    }

    /// Goes past a clean span.
    fn clean(&mut self, piece: &mut Piece<'_>, span: Range<usize>) {
        self.past.cut();
        let end = &piece.out[span.end.saturating_sub(64).max(span.start)..span.end];
        for byte in end {
            if self.copies.room >= 64 {
                self.note(*byte);
                self.past.push(*byte, false, self.plain == 0);
            } else {
                self.past.pass(*byte);
            }
        }
        if self.copies.room >= 64 {
            self.copies.room -= end.len();
        }
        let len = span.len() as u64;
        let missed = self.copies.missed.checked_shl(low(len));
        self.copies.missed = missed.unwrap_or(0);
        self.copies.since = self.copies.since.saturating_add(low(len));
        self.past.cut();
        piece.passed(span.end, &mut self.copies.errors);
    }

    /// Decodes the bytes of a dirty span.
    fn bytes(&mut self, piece: &mut Piece<'_>, span: Range<usize>) -> Result<()> {
        let mut fields = piece.fields.iter().peekable();
        let (mut here, mut seen): (Option<Here<'_>>, _) = (None, false);
        for at in span.clone() {
            while let Some(mark) = fields.next_if(|mark| mark.at <= at as u64) {
                let mut known = Known::default();
                if mark.at >= span.start as u64 {
                    known = self.copies.errors.known(mark);
                    piece.adjust(mark, known);
                }
                here = Some(Here { mark, known, has_missed: false });
            }
            let ends = |here: &Here<'_>| here.mark.at + here.mark.len - here.mark.skip;
            here = here.filter(|here| ends(here) > at as u64);
            let left = if seen { 0 } else { span.end - at };
            let has_missed = self.one(piece, at, here, left)?;
            seen |= has_missed;
            if let Some(here) = here.as_mut().filter(|_| has_missed) {
                here.has_missed = true;
                let done = at + 1 - usize::try_from(here.mark.at).expect("it is in memory");
                piece.correct(here.mark, done, &self.copies.errors);
            }
            piece.passed(at + 1, &mut self.copies.errors);
        }
        Ok(())
    }

    /// Decodes a byte, and says whether it is not as guessed. `left` bytes are left in the span if
    /// none was missed in it, else 0.
    fn one(
        &mut self,
        piece: &mut Piece<'_>,
        at: usize,
        here: Option<Here<'_>>,
        left: usize,
    ) -> Result<bool> {
        let look = Look::of(piece, at, here, left);
        let has_missed = left == 1 || !self.is_as_guessed(&look)?;
        if has_missed {
            piece.out[at] = self.missed(&look)?;
        } else if self.copies.missed & 15 != 0 {
            self.note(look.g);
        }
        let Copies { missed, since, .. } = &mut self.copies;
        *missed = *missed << 1 | u64::from(has_missed);
        *since = if has_missed { 0 } else { since.saturating_add(1) };
        self.past.push(piece.out[at], has_missed, self.plain == 0);
        Ok(has_missed)
    }

    fn is_as_guessed(&mut self, look: &Look) -> Result<bool> {
        let (m, since, past) = (self.copies.missed, self.copies.since, &self.past);
        let Look { n0, left, slot, known, address, .. } = *look;
        let (g, w) = (u32::from(look.g), u32::from(look.w != look.g));
        let s = since.min(15) + size(u64::from(since >> 4));
        let seen = u32::from(left == 0);
        let (m_byte, m1, m3) = (low(m & 255), low(m & 1), low(m & 3));
        let (b1, b2, b3) = (past.b(1), past.b(2), past.b(3));
        let foretold = if past.len > 0 { 1 + u32::from(past.expected() == look.g) } else { 0 };
        let match_size = size(u64::from(past.len >> 1));
        let p = [3, 7, 11, 15, 23].iter().fold(0, |p, bit| p << 1 | low(m >> bit & 1));
        let contexts = [
            hash(&[1, slot, s, left]),
            hash(&[2, slot, known.count << 4 | known.near, u32::from(known.error != 0)]),
            hash(&[3, m_byte, slot]),
            hash(&[4, g, b1, slot]),
            hash(&[5, g, n0, m3, slot]),
            hash(&[6, b1, b2, g, m1]),
            hash(&[7, w, slot, s.min(4), seen]),
            hash(&[8, p, m1, slot]),
            hash(&[9, foretold << 4 | match_size, m3, g]),
            hash(&[10, address, slot]),
            hash(&[11, b1, b2, b3, g, n0]),
            hash(&[12, left, s]),
        ];
        let set = foretold + 3 * (seen + 2 * look.place);
        self.copies.as_guessed.decide(&mut self.code, contexts, set)
    }

    fn missed(&mut self, look: &Look) -> Result<u8> {
        let Look { n0, n1, slot, address, place, .. } = *look;
        let (past, g) = (&self.past, u32::from(look.g));
        let (b1, b2, b3) = (past.b(1), past.b(2), past.b(3));
        let [t0, t1] = self.copies.differences;
        let by_place = &mut self.copies.by_place[look.index as usize];
        let hashes = [
            hash(&[1, b1]),
            hash(&[2, b1, b2]),
            hash(&[3, b1 | b2 << 8 | b3 << 16]),
            hash(&[21, g, n0, n1]),
            hash(&[22, g, b1, slot]),
            hash(&[23, g, u32::from(*by_place), slot]),
            hash(&[24, g, t0.into(), t1.into()]),
            hash(&[25, address, slot, g]),
        ];
        let class = 1 + look.known.count.min(3);
        let unless_guessed = |byte, class| (byte, if byte == look.g { 0 } else { class });
        let expected = [
            unless_guessed(past.expected(), past.len.min(32)),
            unless_guessed(look.w, class),
            (look.g.wrapping_add(*by_place), 1 + place),
            unless_guessed(look.f, class),
        ];
        let mode = if look.kind == 0 { 1 } else { 2 + look.index };
        let asked = Contexts { hashes, expected, mode, set: 16 + place, before: g };
        let byte = self.model.byte(&mut self.code, &asked, &mut 0)?;
        *by_place = byte.wrapping_sub(look.g);
        self.copies.differences = [*by_place, t0];
        Ok(byte)
    }
}

/// What is seen of a byte before it is decoded.
struct Look {
    /// The byte as it is guessed by now, at first, and in the source.
    g: u8,
    f: u8,
    w: u8,
    /// The next two bytes.
    n0: u32,
    n1: u32,
    /// Bytes left in the span; 0 if one was missed in it.
    left: u32,
    /// Number of the field's form plus one, and the index in the field; 0 outside.
    kind: u32,
    index: u32,
    address: u32,
    known: Known,
    slot: u32,
    place: u32,
}

impl Look {
    fn of(piece: &Piece<'_>, at: usize, here: Option<Here<'_>>, left: usize) -> Self {
        let next = |n: usize| u32::from(piece.out.get(at + n).copied().unwrap_or(0));
        let (mut kind, mut index, mut has_missed) = (0, 0, 0);
        let (mut address, mut known) = (0, Known::default());
        if let Some(here) = here {
            kind = u32::from(here.mark.kind) + 1;
            index = low(at as u64 - here.mark.at + here.mark.skip) & 7;
            has_missed = u32::from(here.has_missed);
            (address, known) = (low(here.mark.address), here.known);
        }
        Self {
            g: piece.out[at],
            f: piece.guess[at],
            w: piece.raw[at],
            n0: next(1),
            n1: next(2),
            left: low(left as u64),
            kind,
            index,
            address,
            known,
            slot: kind << 4 | index << 1 | has_missed,
            place: kind.min(31) << 3 | index,
        }
    }
}
