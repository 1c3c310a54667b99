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
    /// How it is spelled: [`crate::refs::field::Form::kind`].
    pub kind: u8,
    /// What it points to in the source: equal for all fields that point to the same thing.
    pub address: u64,
}

/// Parts of a word that hold a value, lowest first: the place of the lowest bit, and the width.
type Parts = &'static [(u32, u32)];

/// Where the value of a field lies in its little-endian word; kinds are those of
/// [`crate::refs::field::Form::kind`]. No parts: the whole word is one integer.
const fn parts(kind: u8) -> Parts {
    match kind {
        BRANCH_26 => &[(0, 26)],
        BRANCH_19 => &[(5, 19)],
        BRANCH_14 => &[(5, 14)],
        ADR | PAGE => &[(29, 2), (5, 19)],
        LOW_12 => &[(10, 12)],
        A32_BRANCH => &[(0, 24)],
        A32_EXCHANGE => &[(24, 1), (0, 24)],
        A32_STUB => &[(0, 12)],
        T32_BRANCH_24 => &[(16, 11), (0, 10), (27, 1), (29, 1), (10, 1)],
        T32_BRANCH_20 => &[(16, 11), (0, 6), (29, 1), (27, 1), (10, 1)],
        T32_EXCHANGE => &[(17, 10), (0, 10), (27, 1), (29, 1), (10, 1)],
        T32_LITERAL_12 => &[(16, 12)],
        T32_BRANCH_11 => &[(0, 11)],
        T32_BRANCH_8 | T32_LITERAL_8 => &[(0, 8)],
        T32_ZERO => &[(3, 5), (9, 1)],
        PLACE_31 => &[(0, 31)],
        INDEX_24 => &[(8, 24)],
        _ => &[],
    }
}

/// log2 of the bytes that a value of one stands for.
fn unit(kind: u8, word: u64) -> u32 {
    match kind {
        BRANCH_26 | BRANCH_19 | BRANCH_14 | A32_BRANCH | T32_EXCHANGE | T32_LITERAL_8 => 2,
        A32_EXCHANGE | T32_BRANCH_24 | T32_BRANCH_20 | T32_BRANCH_11 | T32_BRANCH_8 | T32_ZERO => 1,
        PAGE => 12,
        // Loads and stores count in what they load: bits 30 and 31, and 16 bytes for vectors.
        LOW_12 if word >> 27 & 7 == 7 => match word >> 30 & 3 {
            0 if word >> 23 & 9 == 9 => 4,
            0 => 0,
            1 => 1,
            2 => 2,
            _ => 3,
        },
        _ => 0,
    }
}

/// Fields of one class share what they know: their errors are of one address.
fn class(kind: u8) -> u32 {
    match kind {
        PLACE_32 | BASE_32 | INDEX_32 | PAGE | LOW_12 | A32_STUB | PLACE_31 | INDEX_24 => {
            kind.into()
        }
        _ => 0,
    }
}

const PLACE_32: u8 = 3;
const BASE_32: u8 = 4;
const INDEX_32: u8 = 5;
const BRANCH_26: u8 = 9;
const BRANCH_19: u8 = 10;
const BRANCH_14: u8 = 11;
const ADR: u8 = 12;
const PAGE: u8 = 13;
const LOW_12: u8 = 14;
const A32_BRANCH: u8 = 17;
const A32_EXCHANGE: u8 = 18;
const A32_STUB: u8 = 20;
const T32_BRANCH_24: u8 = 21;
const T32_BRANCH_20: u8 = 22;
const T32_EXCHANGE: u8 = 23;
const T32_LITERAL_12: u8 = 24;
const T32_BRANCH_11: u8 = 25;
const T32_BRANCH_8: u8 = 26;
const T32_ZERO: u8 = 27;
const T32_LITERAL_8: u8 = 28;
const PLACE_31: u8 = 29;
const INDEX_24: u8 = 30;

/// Two bits of long T32 branches are stored as whether they equal the sign.
fn flipped(kind: u8, word: u64) -> u64 {
    let is_long = kind == T32_BRANCH_24 || kind == T32_EXCHANGE;
    if is_long && word >> 10 & 1 == 0 { word ^ 0x2800_0000 } else { word }
}

/// The value in the word of a field.
fn value(kind: u8, word: u64) -> u64 {
    let parts = parts(kind);
    if parts.is_empty() {
        return word;
    }
    let word = flipped(kind, word);
    let (value, _) = parts.iter().fold((0, 0), |(value, shift), (low, width)| {
        (value | (word >> low & ((1 << width) - 1)) << shift, shift + width)
    });
    value
}

/// The word with another value in it.
fn with_value(kind: u8, word: u64, value: u64) -> u64 {
    let parts = parts(kind);
    if parts.is_empty() {
        return value;
    }
    let (word, _) = parts.iter().fold((word, 0), |(word, shift), (low, width)| {
        let mask = ((1 << width) - 1) << low;
        (word & !mask | (value >> shift << low) & mask, shift + width)
    });
    flipped(kind, word)
}

/// How many bits the value of a kind has.
fn width(kind: u8, len: u8) -> u32 {
    let parts = parts(kind);
    if parts.is_empty() { 8 * u32::from(len) } else { parts.iter().map(|part| part.1).sum() }
}

/// By how many bytes of address the field `told` differs from the field `guessed`.
pub(super) fn error(mark: &FieldMark, guessed: u64, told: u64) -> i32 {
    let difference = value(mark.kind, told).wrapping_sub(value(mark.kind, guessed));
    let shift = 64 - width(mark.kind, mark.len).clamp(1, 64);
    let difference = (difference << shift).cast_signed() >> shift;
    i32::try_from(difference << unit(mark.kind, guessed)).unwrap_or(0)
}

/// The field `guessed` moved by an error.
pub(super) fn moved(mark: &FieldMark, guessed: u64, error: i32) -> u64 {
    let units = i64::from(error) >> unit(mark.kind, guessed);
    let value = value(mark.kind, guessed).wrapping_add(units.cast_unsigned());
    with_value(mark.kind, guessed, value)
}

/// The least error that agrees with the first `done` bytes of `told`.
pub(super) fn least_error(mark: &FieldMark, guessed: u64, told: u64, done: u32) -> i32 {
    // How many low bits of the value lie in bytes that are known.
    let bits = match parts(mark.kind) {
        [] => 8 * done,
        [(low, width), ..] => (8 * done).saturating_sub(*low).min(*width),
    };
    if bits == 0 {
        return 0;
    }
    let difference = value(mark.kind, told).wrapping_sub(value(mark.kind, guessed));
    let shift = 64 - bits.clamp(1, 64);
    let difference = (difference << shift).cast_signed() >> shift;
    i32::try_from(difference << unit(mark.kind, guessed)).unwrap_or(0)
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

    fn place(kind: u8, address: u64, scale: u32) -> (usize, u16) {
        let [a, b, c, d, e, f, g, h] = (address >> scale).to_le_bytes();
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let hash = hash(&[class(kind) << 8 | scale, low, high]);
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
        // The neighbourhood, or the one below.
        let near = [0, 1 << NEAR].into_iter().find_map(|below| {
            let address = mark.address.wrapping_sub(below);
            let (at, check) = Self::place(mark.kind, address, NEAR);
            let near = self.slots[at];
            (near.check == check && near.count > 0).then_some(near)
        });
        let near = near.unwrap_or_default();
        let near_count = near.count;
        let is_near = near.count >= NEAR_COUNT;
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
const NEAR: u32 = 10;

/// How often in a row a neighbourhood must have been off alike to be believed.
const NEAR_COUNT: u8 = 2;
