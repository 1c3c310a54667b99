//! Fields of a copy: what their addresses became where they were last seen (10.11).

use super::decide::hash;
use super::segments::low;
use crate::refs::Mark;

/// What is known of the address of a field.
#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) count: u32,
    pub(super) near: u32,
    pub(super) error: i64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    check: u16,
    count: u8,
    error: i32,
}

pub(super) struct Errors {
    slots: Vec<Slot>,
    /// The last error that was not 0; the last one by its low byte.
    pub(super) last: i64,
    pub(super) by_low: Vec<i64>,
}

impl Errors {
    pub(super) fn new() -> Self {
        Self { slots: vec![Slot::default(); 65536], last: 0, by_low: vec![0; 256] }
    }

    pub(super) fn known(&self, mark: &Mark) -> Known {
        let own = self.slot(mark.kind, mark.address, 0);
        let near = self.slot(mark.kind, mark.address, 10);
        let near = near.or_else(|| self.slot(mark.kind, mark.address.wrapping_sub(1024), 10));
        let (own, near) = (own.unwrap_or_default(), near.unwrap_or_default());
        match (own.count, near.count) {
            (0, 0..2) => Known::default(),
            (0, _) => Known { count: 0, near: near.count.into(), error: near.error.into() },
            _ => {
                Known { count: own.count.into(), near: near.count.into(), error: own.error.into() }
            }
        }
    }

    fn slot(&self, kind: u8, address: u64, scale: u32) -> Option<Slot> {
        let (index, check) = place(kind, address, scale);
        Some(self.slots[index]).filter(|slot| slot.check == check && slot.count > 0)
    }

    /// Learns the error of a field whose bytes are told.
    pub(super) fn learn(&mut self, mark: &Mark, guessed: u64, told: u64) {
        let error = Spelling::of(mark, guessed).error(guessed, told, u32::MAX);
        for scale in [0, 10] {
            let (index, check) = place(mark.kind, mark.address, scale);
            let slot = &mut self.slots[index];
            let error = i32::try_from(error).expect("errors fit 32 bits");
            if (slot.check, slot.error) == (check, error) {
                slot.count = (slot.count + 1).min(15);
            } else {
                *slot = Slot { check, count: 1, error };
            }
        }
        if error != 0 {
            self.last = error;
            self.by_low[usize::from(error.to_le_bytes()[0])] = error;
        }
    }
}

/// The slot of an address at a scale, and its check.
fn place(kind: u8, address: u64, scale: u32) -> (usize, u16) {
    let class = match kind {
        3 | 4 | 5 | 13 | 14 | 20 | 29 | 30 => u32::from(kind),
        _ => 0,
    };
    let scaled = address >> scale;
    let hash = hash(&[class << 8 | scale, low(scaled), low(scaled >> 32)]);
    let [h0, h1, h2, h3] = hash.to_le_bytes();
    (((hash ^ hash >> 16) & 65535) as usize, u16::from_le_bytes([h2 ^ h0, h3 ^ h1.rotate_left(3)]))
}

/// Where the value of a field stands in its word.
pub(super) struct Spelling {
    /// Lowest bit and width, the lowest part of the value first.
    parts: Vec<(u32, u32)>,
    unit: u32,
    /// Whether two bits are spelled by whether they differ from the sign.
    flips: bool,
}

impl Spelling {
    pub(super) fn of(mark: &Mark, guessed: u64) -> Self {
        let bit = |place: u32| guessed >> place & 1 == 1;
        let low12_unit = match (guessed >> 27 & 7, guessed >> 30 & 3) {
            (7, 0) if bit(23) && bit(26) => 4,
            (7, size) => u32::try_from(size).expect("it has two bits"),
            _ => 0,
        };
        let (parts, unit): (&[_], _) = match mark.kind {
            9 => (&[(0, 26)], 2),
            10 => (&[(5, 19)], 2),
            11 => (&[(5, 14)], 2),
            12 => (&[(29, 2), (5, 19)], 0),
            13 => (&[(29, 2), (5, 19)], 12),
            14 => (&[(10, 12)], low12_unit),
            17 => (&[(0, 24)], 2),
            18 => (&[(24, 1), (0, 24)], 1),
            20 => (&[(0, 12)], 0),
            21 => (&[(16, 11), (0, 10), (27, 1), (29, 1), (10, 1)], 1),
            22 => (&[(16, 11), (0, 6), (29, 1), (27, 1), (10, 1)], 1),
            23 => (&[(17, 10), (0, 10), (27, 1), (29, 1), (10, 1)], 2),
            24 => (&[(16, 12)], 0),
            25 => (&[(0, 11)], 1),
            26 => (&[(0, 8)], 1),
            27 => (&[(3, 5), (9, 1)], 1),
            28 => (&[(0, 8)], 2),
            29 => (&[(0, 31)], 0),
            30 => (&[(8, 24)], 0),
            _ if mark.len == 8 => (&[(0, 64)], 0),
            _ => (&[(0, 32)], 0),
        };
        Self { parts: parts.to_vec(), unit, flips: matches!(mark.kind, 21 | 23) }
    }

    fn flipped(&self, word: u64) -> u64 {
        if self.flips && word >> 10 & 1 == 0 { word ^ 0x2800_0000 } else { word }
    }

    fn value(&self, word: u64) -> (u64, u32) {
        let (word, mut value, mut width) = (self.flipped(word), 0, 0);
        for (lowest, bits) in &self.parts {
            value |= (word >> lowest & u64::MAX >> (64 - bits)) << width;
            width += bits;
        }
        (value, width)
    }

    /// The difference of the values in the low bits that are known of the value.
    pub(super) fn error(&self, guessed: u64, told: u64, known_bits: u32) -> i64 {
        let ((guessed, width), (told, _)) = (self.value(guessed), self.value(told));
        let width = width.min(known_bits);
        if width == 0 {
            return 0;
        }
        let difference = told.wrapping_sub(guessed) << (64 - width);
        let error = i128::from(difference.cast_signed() >> (64 - width)) << self.unit;
        i32::try_from(error).unwrap_or(0).into()
    }

    /// The low bits of the value that stand in the first bytes.
    pub(super) fn bits_in(&self, bytes: u32) -> u32 {
        let (lowest, width) = self.parts[0];
        (8 * bytes).saturating_sub(lowest).min(width)
    }

    /// The guessed word with its value moved.
    pub(super) fn moved(&self, guessed: u64, error: i64) -> u64 {
        let step = (error >> self.unit).cast_unsigned();
        let (mut value, mut word) =
            (self.value(guessed).0.wrapping_add(step), self.flipped(guessed));
        for (lowest, bits) in &self.parts {
            let mask = u64::MAX >> (64 - bits);
            word = word & !(mask << lowest) | (value & mask) << lowest;
            value = value.checked_shr(*bits).unwrap_or(0);
        }
        self.flipped(word)
    }
}
