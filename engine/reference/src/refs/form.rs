//! Forms: how a field spells an address (9.3.1, and the tables of 9.3.7 and 9.3.8).

/// A place in the source that holds an address.
pub(super) struct Field {
    /// Of its first byte in the source.
    pub(super) offset: u64,
    pub(super) form: Form,
    pub(super) address: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Form {
    Behind(u64),
    Place,
    Back,
    Base(u64),
    Last(u64),
    Index(u64, u64),
    Index24(u64),
    /// Of 4 bytes.
    Absolute4,
    /// Of 8 bytes.
    Absolute8,
    Offset(u64, u64),
    /// Of the relocations from an address on, one of a row.
    Row(u64, Row),
    Place31,
    Branch26,
    Branch19,
    Branch14,
    Adr,
    Page,
    Low12(u32),
    A32Branch,
    A32Exchange,
    A32Stub(u64),
    T32Branch24,
    T32Exchange,
    T32Branch20,
    T32Literal12,
    T32Literal8,
    T32Branch11,
    T32Branch8,
    T32Zero,
}

/// A relocation of a table of rows (9.3.3).
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) rows: Rows,
    /// Which one of its row it is.
    pub(super) index: u64,
    /// From the row's start.
    pub(super) more: u64,
}

/// How many relocations a row has, and how many bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) count: u64,
    pub(super) len: u64,
}

/// Where a number stands in its word: lowest bit and width of each part, the lowest part first.
type Parts = &'static [(u32, u32)];

impl Form {
    /// Length in bytes.
    pub(super) fn len(self) -> u64 {
        match self {
            Self::Absolute8 | Self::Offset(..) | Self::Row(..) => 8,
            Self::T32Literal8 | Self::T32Branch11 | Self::T32Branch8 | Self::T32Zero => 2,
            _ => 4,
        }
    }

    /// Parts of the number, what a one of it counts, whether it is signed.
    fn spelling(self) -> (Parts, u64, bool) {
        match self {
            Self::Behind(_) | Self::Place | Self::Back => (&[(0, 32)], 1, true),
            Self::Base(_) | Self::Last(_) => (&[(0, 32)], 1, true),
            Self::Index(_, size) => (&[(0, 32)], size, false),
            Self::Index24(_) => (&[(8, 24)], 16, false),
            Self::Absolute4 => (&[(0, 32)], 1, false),
            Self::Absolute8 | Self::Offset(..) | Self::Row(..) => (&[(0, 64)], 1, false),
            Self::Place31 => (&[(0, 31)], 1, true),
            Self::Branch26 => (&[(0, 26)], 4, true),
            Self::Branch19 => (&[(5, 19)], 4, true),
            Self::Branch14 => (&[(5, 14)], 4, true),
            Self::Adr | Self::Page => (&[(29, 2), (5, 19)], 1, true),
            Self::Low12(scale) => (&[(10, 12)], 1 << scale, false),
            Self::A32Branch => (&[(0, 24)], 4, true),
            Self::A32Exchange => (&[(24, 1), (0, 24)], 2, true),
            Self::A32Stub(0 | 1) => (&[(0, 8)], 1, false),
            Self::A32Stub(_) => (&[(0, 12)], 1, false),
            Self::T32Literal12 => (&[(16, 12)], 1, false),
            Self::T32Branch24 => (&[(16, 11), (0, 10), (27, 1), (29, 1), (10, 1)], 2, true),
            Self::T32Exchange => (&[(17, 10), (0, 10), (27, 1), (29, 1), (10, 1)], 4, true),
            Self::T32Branch20 => (&[(16, 11), (0, 6), (29, 1), (27, 1), (10, 1)], 2, true),
            Self::T32Literal8 => (&[(0, 8)], 4, false),
            Self::T32Branch11 => (&[(0, 11)], 2, true),
            Self::T32Branch8 => (&[(0, 8)], 2, true),
            Self::T32Zero => (&[(3, 5), (9, 1)], 2, false),
        }
    }

    /// Whether addresses are taken modulo 2^32 (9.3.8).
    fn is_modular(self) -> bool {
        use Form::*;
        let is_a32 = matches!(self, A32Branch | A32Exchange | A32Stub(_));
        let is_long = matches!(self, T32Branch24 | T32Exchange | T32Branch20 | T32Literal12);
        let is_short = matches!(self, T32Literal8 | T32Branch11 | T32Branch8 | T32Zero);
        is_a32 || is_long || is_short || matches!(self, Place31)
    }

    /// What the number counts from, in a field at `place`.
    fn origin(self, place: u64) -> u64 {
        use Form::*;
        match self {
            Behind(count) => place.wrapping_add(4 + count),
            Base(base) | Index(base, _) | Index24(base) | Row(base, _) => base,
            Last(base) => base.wrapping_sub(1),
            Offset(base, plus) => base.wrapping_sub(plus),
            Absolute4 | Absolute8 | Low12(_) => 0,
            A32Branch | A32Exchange => place.wrapping_add(8),
            A32Stub(part) => place.wrapping_sub(4 * part).wrapping_add(8),
            T32Branch24 | T32Branch20 | T32Branch11 | T32Branch8 | T32Zero => place.wrapping_add(4),
            T32Exchange | T32Literal12 | T32Literal8 => place.wrapping_add(4) & !3,
            Place | Back | Place31 | Branch26 | Branch19 | Branch14 | Adr | Page => place,
        }
    }

    /// The form with its base moved.
    pub(super) fn with_base(self, moved: impl Fn(u64) -> u64) -> Self {
        match self {
            Self::Base(base) => Self::Base(moved(base)),
            Self::Last(base) => Self::Last(moved(base)),
            Self::Index(base, size) => Self::Index(moved(base), size),
            Self::Index24(base) => Self::Index24(moved(base)),
            Self::Offset(base, plus) => Self::Offset(moved(base), plus),
            other => other,
        }
    }

    /// The address that a word at `place` holds; not for the forms that need other words too.
    pub(super) fn read(self, word: u64, place: u64) -> u64 {
        let (parts, unit, is_signed) = self.spelling();
        let word_bits = self.flipped(word);
        let (mut number, mut width) = (0, 0);
        for (low, bits) in parts {
            number |= (word_bits >> low & (u64::MAX >> (64 - bits))) << width;
            width += bits;
        }
        let number = if is_signed { sext(number, width) } else { number };
        let distance = number.wrapping_mul(unit);
        let address = match self {
            Self::Back => place.wrapping_sub(distance),
            Self::Page => (place & !4095).wrapping_add(distance << 12),
            Self::T32Literal12 if word >> 7 & 1 == 0 => self.origin(place).wrapping_sub(distance),
            _ => self.origin(place).wrapping_add(distance),
        };
        if self.is_modular() { address & 0xffff_ffff } else { address }
    }

    /// The word, holding another address at another place; nothing if it cannot.
    pub(super) fn write(self, word: u64, address: u64, place: u64) -> Option<u64> {
        let mut distance = match self {
            Self::Back => place.wrapping_sub(address),
            Self::Page => sext((address >> 12).wrapping_sub(place >> 12), 52),
            Self::Low12(_) => address & 4095,
            _ => address.wrapping_sub(self.origin(place)),
        };
        let (parts, unit, is_signed) = self.spelling();
        let mut word = word;
        match self {
            Self::A32Stub(part) => {
                if distance >> 28 != 0 {
                    return None;
                }
                distance = match part {
                    0 => distance >> 20,
                    1 => distance >> 12 & 0xff,
                    _ => distance & 0xfff,
                };
            }
            Self::Row(_, Row { rows, index, more }) => {
                let entry = distance.is_multiple_of(24).then_some(distance / 24)?;
                if entry % rows.count != index {
                    return None;
                }
                distance = entry / rows.count * rows.len + more;
            }
            Self::T32Literal12 if distance != 0 => {
                let is_added = distance.cast_signed() > 0;
                word = word & !0x80 | u64::from(is_added) << 7;
                distance = distance.cast_signed().unsigned_abs();
            }
            _ => {}
        }
        let width: u32 = parts.iter().map(|(_, bits)| bits).sum();
        let number = if is_signed {
            let (distance, unit) = (distance.cast_signed(), unit.cast_signed());
            let number = (distance / unit).cast_unsigned();
            (distance % unit == 0 && sext(number, width) == number).then_some(number)?
        } else {
            let number = distance / unit;
            (distance.is_multiple_of(unit) && (width == 64 || number >> width == 0))
                .then_some(number)?
        };
        let (mut word_bits, mut rest) = (self.flipped(word), number);
        for (low, bits) in parts {
            let mask = u64::MAX >> (64 - bits);
            word_bits = word_bits & !(mask << low) | (rest & mask) << low;
            rest = rest.checked_shr(*bits).unwrap_or(0);
        }
        Some(self.flipped(word_bits))
    }

    /// Bits 27 and 29 of long branches say whether they differ from the sign, bit 10.
    fn flipped(self, word: u64) -> u64 {
        let is_long = matches!(self, Self::T32Branch24 | Self::T32Exchange);
        if is_long && word >> 10 & 1 == 0 { word ^ 0x2800_0000 } else { word }
    }

    /// The number of the form, for the coder that corrects fields.
    pub(super) fn kind(self) -> u8 {
        match self {
            Self::Behind(0) => 1,
            Self::Behind(_) => 2,
            Self::Place => 3,
            Self::Base(_) => 4,
            Self::Index(..) => 5,
            Self::Absolute8 => 6,
            Self::Offset(..) => 7,
            Self::Absolute4 => 8,
            Self::Branch26 => 9,
            Self::Branch19 => 10,
            Self::Branch14 => 11,
            Self::Adr => 12,
            Self::Page => 13,
            Self::Low12(_) => 14,
            Self::Back => 15,
            Self::Last(_) => 16,
            Self::A32Branch => 17,
            Self::A32Exchange => 18,
            Self::Row(..) => 19,
            Self::A32Stub(_) => 20,
            Self::T32Branch24 => 21,
            Self::T32Branch20 => 22,
            Self::T32Exchange => 23,
            Self::T32Literal12 => 24,
            Self::T32Branch11 => 25,
            Self::T32Branch8 => 26,
            Self::T32Zero => 27,
            Self::T32Literal8 => 28,
            Self::Place31 => 29,
            Self::Index24(_) => 30,
        }
    }
}

/// A number of `width` bits with its sign extended to 64.
pub(super) fn sext(number: u64, width: u32) -> u64 {
    ((number << (64 - width)).cast_signed() >> (64 - width)).cast_unsigned()
}
