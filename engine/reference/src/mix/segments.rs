//! Numbers, and the list of segments that is made of them (10.4, 10.5).

use super::decide::{Code, Decider, hash, size};
use crate::bytes::within;
use crate::{Result, must};

/// Decodes numbers, small ones in few bits.
struct Numbers {
    sizes: Decider<5>,
    bits: Decider<5>,
}

impl Numbers {
    fn new() -> Self {
        Self { sizes: Decider::new(14, 64), bits: Decider::new(14, 64) }
    }

    fn number(&mut self, code: &mut Code, kind: u32, c: [u32; 5]) -> Result<u64> {
        let mut s = 0;
        while s < 64
            && !self.sizes.decide(code, c.map(|c| hash(&[c, s])), kind * 4 + (s / 4).min(3))?
        {
            s += 1;
        }
        if s < 2 {
            return Ok(s.into());
        }
        let mut m = 1_u64;
        for a in (0..s - 1).rev() {
            let w = if m < 64 { low(m) } else { 64 };
            let k = low(m);
            let contexts = [
                hash(&[c[0], s, k]),
                hash(&[c[1], s, w, a]),
                hash(&[c[2], s, w, a]),
                hash(&[c[3], s, k]),
                hash(&[c[4], s, w, a]),
            ];
            let bit = self.bits.decide(code, contexts, kind * 4 + (a / 4).min(3))?;
            m = m << 1 | u64::from(bit);
        }
        Ok(m)
    }
}

/// The low 32 bits.
pub(super) fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).expect("it was cut")
}

/// Literals, then zeros or a copy.
pub(super) struct Told {
    pub(super) literals_len: u64,
    pub(super) run_len: u64,
    /// Offset in the source less that in the target, modulo 2^64; nothing for zeros.
    pub(super) diagonal: Option<u64>,
}

pub(super) struct Segments {
    numbers: Numbers,
    choices: Decider<5>,
    /// The last copies, the newest first: diagonal and end.
    recent: Vec<(u64, u64)>,
    at: u64,
    ways: u32,
    runs: u32,
    gaps: u32,
    froms: u32,
    steps: u32,
}

impl Segments {
    pub(super) fn new() -> Self {
        let (numbers, choices, recent) = (Numbers::new(), Decider::new(12, 16), vec![(0, 0); 16]);
        let (at, ways, runs, gaps, froms, steps) = (0, 0, 0, 0, 0, 0);
        Self { numbers, choices, recent, at, ways, runs, gaps, froms, steps }
    }

    /// Decodes the segments of a frame that makes `target_len` bytes.
    pub(super) fn list(&mut self, code: &mut Code, target_len: u64) -> Result<Vec<Told>> {
        let count = within(0..=131_072, self.numbers.number(code, 0, [0; 5])?, "segments")?;
        let (mut segments, mut room) = (Vec::new(), target_len);
        for _ in 0..count {
            let segment = self.segment(code)?;
            let Told { literals_len, run_len, .. } = segment;
            room -= within(0..=room, literals_len, "literals")?;
            room -= within(0..=room, run_len, "the length of a run")?;
            must(literals_len > 0 || run_len > 0, "a segment makes no byte")?;
            segments.push(segment);
        }
        must(room == 0, "the segments make less than the frame")?;
        Ok(segments)
    }

    fn segment(&mut self, code: &mut Code) -> Result<Told> {
        let Self { ways, runs, gaps, .. } = *self;
        let contexts = [
            hash(&[1, ways & 255]),
            hash(&[2, runs & 255, gaps & 255]),
            hash(&[3, gaps & 65535]),
            hash(&[4, ways & 4095, runs & 255]),
            hash(&[5]),
        ];
        let literals_len = self.numbers.number(code, 1, contexts)?;
        self.gaps = gaps << 8 | size(literals_len);
        let near = low(literals_len.min(20));
        let contexts = [
            hash(&[6, ways & 255, size(literals_len)]),
            hash(&[7, runs & 65535]),
            hash(&[8, near, runs & 255]),
            hash(&[9, ways & 65535]),
            hash(&[10]),
        ];
        let run_len = self.numbers.number(code, 2, contexts)?;
        self.runs = runs << 8 | size(run_len);
        let mut diagonal = None;
        if run_len > 0 && self.choice(code, 0, near)? {
            self.ways = ways << 4 | 15;
        } else if run_len > 0 {
            diagonal = Some(self.diagonal(code, literals_len, run_len)?);
        }
        self.at = self.at.wrapping_add(literals_len).wrapping_add(run_len);
        Ok(Told { literals_len, run_len, diagonal })
    }

    fn choice(&mut self, code: &mut Code, choice: u32, near: u32) -> Result<bool> {
        let (r, run_before, gap_before) =
            (self.runs & 255, self.runs >> 8 & 255, self.gaps >> 8 & 255);
        let contexts = [
            hash(&[26, choice, self.ways & 4095]),
            hash(&[27, choice, near, r]),
            hash(&[28, choice, r, run_before, self.ways & 15]),
            hash(&[29, choice, near, gap_before, self.ways & 15]),
            hash(&[30, choice]),
        ];
        self.choices.decide(code, contexts, choice)
    }

    fn diagonal(&mut self, code: &mut Code, literals_len: u64, run_len: u64) -> Result<u64> {
        let (place, near) = (self.at.wrapping_add(literals_len), low(literals_len.min(20)));
        let (r, ways) = (self.runs & 255, self.ways);
        let last = self.recent[0].0;
        let (way, diagonal) = if self.choice(code, 1, near)? {
            (1, last)
        } else if self.choice(code, 2, near)? {
            (2, last.wrapping_sub(literals_len))
        } else if self.choice(code, 3, near)? {
            let contexts = [
                hash(&[11]),
                hash(&[12, ways & 15]),
                hash(&[13, r]),
                hash(&[14, ways & 255]),
                hash(&[15, near]),
            ];
            (3, self.recent(code, contexts)?.1.0)
        } else {
            let froms = self.froms;
            let contexts = [
                hash(&[16]),
                hash(&[17, ways & 255]),
                hash(&[18, froms & 15]),
                hash(&[19, froms & 255]),
                hash(&[20, r]),
            ];
            let (index, (_, end)) = self.recent(code, contexts)?;
            self.froms = froms << 4 | index;
            let (froms, steps) = (self.froms, self.steps);
            let contexts = [
                hash(&[21, froms & 15]),
                hash(&[22, steps & 255, froms & 15]),
                hash(&[23, froms & 255]),
                hash(&[24, near, froms & 15]),
                hash(&[25, r, froms & 15]),
            ];
            let z = self.numbers.number(code, 3, contexts)?;
            self.steps = steps << 8 | size(z);
            let step = z >> 1 ^ (z & 1).wrapping_neg();
            (4, end.wrapping_add(step).wrapping_sub(place))
        };
        self.ways = ways << 4 | way;
        let found = self.recent.iter().position(|recent| recent.0 == diagonal);
        self.recent.remove(found.unwrap_or(15));
        self.recent.insert(0, (diagonal, place.wrapping_add(diagonal).wrapping_add(run_len)));
        Ok(diagonal)
    }

    /// One of the recent copies, and its index.
    fn recent(&mut self, code: &mut Code, contexts: [u32; 5]) -> Result<(u32, (u64, u64))> {
        let index = low(self.numbers.number(code, 4, contexts)?) % 16;
        Ok((index, self.recent[index as usize]))
    }
}
