//! Rewritten addresses: what they were off by, remembered for the thing they point to.
//!
//! Where the rewriting is wrong about one reference to a thing, it is wrong about all of them by
//! the same distance. So the distance is remembered by the thing's address, and the guess of the
//! next field that points to it is moved by as much before it is compared.

use super::decide::hash;

/// A field (an address that was rewritten) within the guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldMark {
    /// Index of its first byte in the guess that lies in it.
    pub at: u32,
    /// Bytes of it in front of the guess.
    pub skip: u8,
    /// Its whole length in bytes, 1 to 8.
    pub len: u8,
    /// How it is spelled: see [`spelling`].
    pub kind: u8,
    /// What it points to in the source: equal for all fields that point to the same thing.
    pub address: u64,
}

/// Kinds of fields: which bits of the little-endian word hold the value, and its unit in bytes.
pub mod spelling {
    /// Bytes that are one integer, whatever it counts from.
    pub const INTEGER: u8 = 0;
    /// AArch64 `B`, `BL`: 26 bits from bit 0, in words.
    pub const A64_BRANCH_26: u8 = 1;
    /// AArch64 `B.cond`, `CBZ`, `LDR` literal: 19 bits from bit 5, in words.
    pub const A64_BRANCH_19: u8 = 2;
    /// AArch64 `TBZ`: 14 bits from bit 5, in words.
    pub const A64_BRANCH_14: u8 = 3;
    /// AArch64 `ADRP`: 19 bits from bit 5 above 2 bits from bit 29, in pages.
    pub const A64_PAGE: u8 = 4;
    /// AArch64 low 12 bits from bit 10, in bytes.
    pub const A64_LOW: u8 = 5;
    /// The same in units of 2, 4, 8 and 16 bytes: kinds 6 to 9.
    pub const A64_LOW_16: u8 = 9;
    /// A32 `B`, `BL`: 24 bits from bit 0, in words.
    pub const A32_BRANCH: u8 = 10;
    /// Thumb-2 `BL`, `B.W`: 24 bits in two halfwords, in units of 2 bytes.
    pub const T32_BRANCH: u8 = 11;
    /// A32 `MOVW`, `MOVT`: 12 bits from bit 0, 4 from bit 16.
    pub const A32_MOVE: u8 = 12;
    /// Thumb-2 `MOVW`, `MOVT`: 16 bits in two halfwords.
    pub const T32_MOVE: u8 = 13;
    /// From here on: an integer of another meaning (a symbol's index, a type's).
    pub const OTHER: u8 = 16;
}

/// Parts of a word that hold a value, lowest first: the place of the lowest bit, and the width.
type Parts = &'static [(u32, u32)];

fn parts(kind: u8) -> Parts {
    match kind {
        spelling::A64_BRANCH_26 => &[(0, 26)],
        spelling::A64_BRANCH_19 => &[(5, 19)],
        spelling::A64_BRANCH_14 => &[(5, 14)],
        spelling::A64_PAGE => &[(29, 2), (5, 19)],
        spelling::A64_LOW..=spelling::A64_LOW_16 => &[(10, 12)],
        spelling::A32_BRANCH => &[(0, 24)],
        // imm11, imm10, J2, J1, S: the value is not the address, but adds up but for the top.
        spelling::T32_BRANCH => &[(16, 11), (0, 10), (27, 1), (29, 1), (10, 1)],
        spelling::A32_MOVE => &[(0, 12), (16, 4)],
        // imm8, imm3, i, imm4.
        spelling::T32_MOVE => &[(16, 8), (28, 3), (10, 1), (0, 4)],
        _ => &[],
    }
}

/// The value in the word of a field of `len` bytes.
pub(super) fn value(kind: u8, word: u64) -> u64 {
    let parts = parts(kind);
    if parts.is_empty() {
        return word;
    }
    let mut value = 0;
    let mut shift = 0;
    for (low, width) in parts {
        value |= (word >> low & ((1 << width) - 1)) << shift;
        shift += width;
    }
    value
}

/// The word with another value in it.
pub(super) fn with_value(kind: u8, word: u64, value: u64) -> u64 {
    let parts = parts(kind);
    if parts.is_empty() {
        return value;
    }
    let mut word = word;
    let mut shift = 0;
    for (low, width) in parts {
        let mask = ((1 << width) - 1) << low;
        word = word & !mask | (value >> shift << low) & mask;
        shift += width;
    }
    word
}

/// How many bits the value of a kind has.
pub(super) fn width(kind: u8, len: u8) -> u32 {
    let parts = parts(kind);
    if parts.is_empty() { 8 * u32::from(len) } else { parts.iter().map(|part| part.1).sum() }
}

/// Errors remembered by hash.
const SLOTS: usize = 1 << 16;

/// What is remembered for one key.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    check: u16,
    /// How often the error was the same in a row, up to 15; 0 for an empty slot.
    count: u8,
    error: i32,
}

/// What is known about a field before it is decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// What the guess is moved by.
    pub(super) error: i32,
    /// 0: nothing is known of this thing; else how often it was so, up to 15.
    pub(super) count: u8,
    /// How often the neighbourhood was off as its last error says, up to 15.
    pub(super) near: u8,
}

/// Errors of the past, by thing and by neighbourhood.
#[derive(Debug)]
pub(super) struct Fields {
    slots: Vec<Slot>,
    /// The last error with each low byte.
    pub(super) by_low: Box<[i32; 256]>,
    /// The last error that was not 0.
    pub(super) last: i32,
    /// Whether any error was not 0.
    pub(super) any: bool,
}

impl Fields {
    pub(super) fn new() -> Self {
        let slots = vec![Slot::default(); SLOTS];
        Self { slots, by_low: Box::new([0; 256]), last: 0, any: false }
    }

    /// Kinds whose errors are in the same unit share what they know.
    fn class(kind: u8) -> u32 {
        match kind {
            spelling::INTEGER => 0,
            kind => kind.into(),
        }
    }

    fn place(kind: u8, address: u64, scale: u32) -> (usize, u16) {
        let [a, b, c, d, e, f, g, h] = (address >> scale).to_le_bytes();
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let hash = hash(&[Self::class(kind) << 8 | scale, low, high]);
        let [a, b, c, d] = hash.to_le_bytes();
        (
            (hash ^ hash >> 16) as usize & (SLOTS - 1),
            u16::from_le_bytes([c ^ a, d ^ b.rotate_left(3)]),
        )
    }

    /// What is known about a field.
    pub(super) fn known(&self, mark: &FieldMark) -> Known {
        let (at, check) = Self::place(mark.kind, mark.address, 0);
        let slot = self.slots[at];
        let (at, check_near) = Self::place(mark.kind, mark.address, NEAR);
        let near = self.slots[at];
        let is_near = near.check == check_near && near.count > 0;
        let near_count = if is_near { near.count } else { 0 };
        if slot.check == check && slot.count > 0 {
            Known { error: slot.error, count: slot.count, near: near_count }
        } else if is_near {
            Known { error: near.error, count: 0, near: near_count }
        } else {
            Known::default()
        }
    }

    /// Remembers what a field was off by.
    pub(super) fn learn(&mut self, mark: &FieldMark, error: i32) {
        if error != 0 {
            self.any = true;
            self.last = error;
            self.by_low[usize::from(error.to_le_bytes()[0])] = error;
        }
        for scale in [0, NEAR] {
            let (at, check) = Self::place(mark.kind, mark.address, scale);
            let slot = &mut self.slots[at];
            if slot.check == check && slot.error == error {
                slot.count = (slot.count + 1).min(15);
            } else {
                *slot = Slot { check, count: 1, error };
            }
        }
    }
}

/// A neighbourhood is `1 << NEAR` bytes.
const NEAR: u32 = 8;
