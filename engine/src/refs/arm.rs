//! Addresses in 32-bit ARM code, A32 and T32: where instructions and their literal pools hold
//! them, and how they are written.
//!
//! A branch holds its address whole. Position-independent code takes all others from words behind
//! the function, its literal pool: one instruction loads the word, another adds the program counter
//! to it. So the pool word that each register was last loaded from is remembered, within a block.
//! Which words are pool is known by their loads, and these are not taken for code. Encodings:
//! "Arm Architecture Reference Manual ARMv7-A and ARMv7-R edition" (ARM DDI 0406), chapters A5, A6.

use super::field::{Field, Form};
use super::region::{Kind, Region, Span};

/// Appends the fields in a block of code, in any order.
///
/// `bytes` starts at `offset` of the source and lies within `span`.
pub(super) fn fields(
    region: &Region,
    span: &Span,
    offset: u64,
    bytes: &[u8],
    out: &mut Vec<Field>,
) {
    let place = place(span, offset);
    let pool = [false; POOL_WORDS];
    let mut scan = Scan { region, offset, place, bytes, pool, literals: [None; 16], out };
    // Instructions stand at even addresses, those of A32 at multiples of 4.
    let mut at = usize::from(place & 1 == 1);
    let mut is_a32 = scan.is_a32(0, bytes.len()).unwrap_or(false);
    let mut stretch = None;
    while at < bytes.len() {
        if stretch != Some(at / STRETCH) {
            stretch = Some(at / STRETCH);
            is_a32 = scan.is_a32(at / STRETCH * STRETCH, STRETCH).unwrap_or(is_a32);
        }
        at += if scan.is_pool(at) {
            4
        } else if is_a32 {
            scan.a32(at)
        } else {
            scan.t32(at)
        };
    }
}

/// Appends the fields in a block of an index of unwinding (`.ARM.exidx`): where each function
/// starts, and where its table is, if that is not in the entry ("Exception Handling ABI for the
/// Arm Architecture", section 6).
pub(super) fn index_fields(
    region: &Region,
    span: &Span,
    offset: u64,
    bytes: &[u8],
    out: &mut Vec<Field>,
) {
    let skip = (span.offset.wrapping_sub(offset)) % 8;
    let bytes = usize::try_from(skip).ok().and_then(|skip| bytes.get(skip..)).unwrap_or_default();
    let mut offset = offset.wrapping_add(skip);
    for entry in bytes.as_chunks::<4>().0 {
        let is_function = offset.wrapping_sub(span.offset).is_multiple_of(8);
        let word = u32::from_le_bytes(*entry);
        // The table may be 1, for none, or have the high bit, for one that stands here.
        if word >> 31 == 0 && (is_function || word != 1) {
            let address = read(Form::Place31, place(span, offset), word);
            if let Some(address) = address.filter(|address| region.is_loaded(*address)) {
                out.push(Field { offset, address, form: Form::Place31 });
            }
        }
        offset = offset.wrapping_add(4);
    }
}

/// Appends the fields in a block of tables of unwinding (`.ARM.extab`): where the routine is that
/// reads the table, which is code.
pub(super) fn table_fields(
    region: &Region,
    span: &Span,
    offset: u64,
    bytes: &[u8],
    out: &mut Vec<Field>,
) {
    let skip = (span.offset.wrapping_sub(offset)) % 4;
    let bytes = usize::try_from(skip).ok().and_then(|skip| bytes.get(skip..)).unwrap_or_default();
    let mut offset = offset.wrapping_add(skip);
    for word in bytes.as_chunks::<4>().0 {
        let word = u32::from_le_bytes(*word);
        let is_code = |address: &u64| {
            let code = region.spans.iter().filter(|span| span.kind == Kind::Code);
            code.into_iter().any(|span| address.wrapping_sub(span.address) < span.len)
        };
        let address = read(Form::Place31, place(span, offset), word);
        if word >> 31 == 0
            && let Some(address) = address.filter(is_code)
        {
            out.push(Field { offset, address, form: Form::Place31 });
        }
        offset = offset.wrapping_add(4);
    }
}

/// The address of a byte of the source in a span.
fn place(span: &Span, offset: u64) -> u64 {
    span.address.wrapping_add(offset.wrapping_sub(span.offset))
}

/// Bytes that are judged together, whether they are A32 or T32.
const STRETCH: usize = 128;

/// Words of a block that may be pool, one more where it starts between words.
const POOL_WORDS: usize = 1025;

/// A walk over the instructions of a block.
struct Scan<'a> {
    region: &'a Region,
    /// Where the block starts, in the source and in the address space.
    offset: u64,
    place: u64,
    bytes: &'a [u8],
    /// Which words, at addresses that are multiples of 4, are known to be pool.
    pool: [bool; POOL_WORDS],
    /// The pool word that each register was last loaded from, by its place in the block.
    literals: [Option<usize>; 16],
    out: &'a mut Vec<Field>,
}

impl Scan<'_> {
    /// Whether the `len` bytes from `at` on are A32, if that is clear. Most words of A32 have the
    /// condition "always" in their high four bits, of T32 and of tables one in twelve or fewer.
    fn is_a32(&self, at: usize, len: usize) -> Option<bool> {
        let skip = usize::try_from(self.place.wrapping_neg() % 4).unwrap_or(0);
        let words = self.bytes.get(at + skip..).unwrap_or_default().as_chunks::<4>().0;
        let words = words.get(..len / 4).unwrap_or(words);
        let always = words.iter().filter(|[_, _, _, high]| high >> 4 == 0xe).count();
        match (100 * always).checked_div(words.len())? {
            0..15 => Some(false),
            15..50 => None,
            _ => Some(true),
        }
    }

    fn is_pool(&self, at: usize) -> bool {
        let place = self.place_of(at);
        place.is_multiple_of(4) && self.word_index(place).is_some_and(|index| self.pool[index])
    }

    fn place_of(&self, at: usize) -> u64 {
        self.place.wrapping_add(at as u64)
    }

    /// The index of the aligned word at `place`, if it lies in the block.
    fn word_index(&self, place: u64) -> Option<usize> {
        let index = usize::try_from(place.wrapping_sub(self.place & !3) / 4).ok()?;
        (index < POOL_WORDS).then_some(index)
    }

    fn half(&self, at: usize) -> Option<u32> {
        let half = self.bytes.get(at..)?.first_chunk::<2>()?;
        Some(u16::from_le_bytes(*half).into())
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
    }

    fn a32(&mut self, at: usize) -> usize {
        let place = self.place_of(at);
        if !place.is_multiple_of(4) {
            return 2;
        }
        let Some(word) = self.word(at) else { return 4 };
        if word >> 28 == 15 {
            if word & 0xfe00_0000 == 0xfa00_0000 {
                self.branch(at, Form::A32Exchange, word);
            }
        } else if word & 0x0e00_0000 == 0x0a00_0000 {
            self.branch(at, Form::A32Branch, word);
        } else if word & 0x0f7f_0000 == 0x051f_0000 {
            // No field: it reaches so far that what is copied with it seldom holds the word.
            let distance = literal_12(word & 0xfff, word >> 23 & 1);
            self.load(place.wrapping_add_signed(8 + distance), word >> 12 & 15);
        } else if word & 0x0f3f_0e00 == 0x0d1f_0a00 {
            self.vector_literal(place.wrapping_add(8), word);
        } else if word & 0x0fff_0ff0 == 0x008f_0000 || word & 0x0f8f_0ff0 == 0x078f_0000 {
            // ADD Rd, PC, Rm and LDR Rd, [PC, Rm].
            self.pointer(place.wrapping_add(8), word & 15);
        } else if word & 0x0ff0_0fff == 0x0080_000f {
            self.pointer(place.wrapping_add(8), word >> 16 & 15);
        } else if word & 0xffff_ff00 == 0xe28f_c600 {
            self.stub(at, word);
        }
        4
    }

    fn t32(&mut self, at: usize) -> usize {
        let Some(half) = self.half(at) else { return 2 };
        let place = self.place_of(at);
        if half >> 11 < 0x1d {
            match half >> 8 {
                0x44 if half & 0x78 == 0x78 => {
                    self.pointer(place.wrapping_add(4), half & 7 | half >> 4 & 8);
                }
                0x48..=0x4f => self.literal(at, Form::T32Literal8, half, half >> 8 & 7),
                0xd0..=0xdd => self.branch(at, Form::T32Branch8, half),
                0xe0..=0xe7 => self.branch(at, Form::T32Branch11, half),
                0xb1 | 0xb3 | 0xb9 | 0xbb => self.branch(at, Form::T32Zero, half),
                _ => {}
            }
            return 2;
        }
        if self.is_pool(at + 2) {
            return 2;
        }
        let Some(word) = self.word(at) else { return 4 };
        // The first half is the low one.
        let next = word >> 16;
        if half & 0xf800 == 0xf000 {
            match next & 0xd000 {
                0xd000 => self.branch(at, Form::T32Branch24, word),
                0xc000 if next & 1 == 0 => self.branch(at, Form::T32Exchange, word),
                0x9000 => self.branch(at, Form::T32Branch24, word),
                0x8000 if half & 0x0380 != 0x0380 => self.branch(at, Form::T32Branch20, word),
                _ => {}
            }
        } else if half & 0xff7f == 0xf85f {
            self.literal(at, Form::T32Literal12, word, next >> 12);
        } else if half & 0xff3f == 0xed1f && next & 0x0e00 == 0x0a00 {
            self.vector_literal(place.wrapping_add(4) & !3, half << 16 | next);
        }
        4
    }

    fn branch(&mut self, at: usize, form: Form, word: u32) {
        let Some(address) = read(form, self.place_of(at), word) else { return };
        if self.region.is_code(address) {
            self.push(at, address, form);
        }
    }

    fn push(&mut self, at: usize, address: u64, form: Form) {
        self.out.push(Field { offset: self.offset.wrapping_add(at as u64), address, form });
    }

    fn literal(&mut self, at: usize, form: Form, word: u32, register: u32) {
        let Some(address) = read(form, self.place_of(at), word) else { return };
        if self.region.is_loaded(address) {
            self.push(at, address, form);
        }
        self.load(address, register);
    }

    /// Takes a load of the pool word at `address` into a register.
    fn load(&mut self, address: u64, register: u32) {
        let at = usize::try_from(address.wrapping_sub(self.place)).ok();
        self.literals[register as usize & 15] = at.filter(|at| self.word(*at).is_some());
        self.mark(address, 4);
    }

    fn mark(&mut self, address: u64, len: u64) {
        for place in (0..len).step_by(4).map(|into| address.wrapping_add(into)) {
            if let Some(index) = self.word_index(place) {
                self.pool[index] = true;
            }
        }
    }

    /// Takes a load from the pool, which is around `base`, into a vector register.
    fn vector_literal(&mut self, base: u64, word: u32) {
        let distance = u64::from(word & 0xff) * 4;
        let is_up = word >> 23 & 1 == 1;
        let address = if is_up { base.wrapping_add(distance) } else { base.wrapping_sub(distance) };
        self.mark(address, if word >> 8 & 1 == 1 { 8 } else { 4 });
    }

    /// Takes an instruction that adds `base` to a register: its pool word is an address less that.
    fn pointer(&mut self, base: u64, register: u32) {
        let Some(at) = self.literals[register as usize & 15].take() else { return };
        let Some(word) = self.word(at) else { return };
        let address = base.wrapping_add(word.into()) & 0xffff_ffff;
        if self.region.is_loaded(address) {
            self.push(at, address, Form::Base32(base));
        }
    }

    /// Takes the three instructions of a procedure linkage table entry: `ADD IP, PC, #x`,
    /// `ADD IP, IP, #y`, `LDR PC, [IP, #z]!`.
    fn stub(&mut self, at: usize, first: u32) {
        let (Some(second), Some(third)) = (self.word(at + 4), self.word(at + 8)) else { return };
        if second & 0xffff_ff00 != 0xe28c_ca00 || third & 0xffff_f000 != 0xe5bc_f000 {
            return;
        }
        let distance = (first & 0xff) << 20 | (second & 0xff) << 12 | third & 0xfff;
        let address = self.place_of(at).wrapping_add(8 + u64::from(distance)) & 0xffff_ffff;
        if self.region.is_loaded(address) {
            for (at, part) in [at, at + 4, at + 8].into_iter().zip(0..) {
                self.push(at, address, Form::A32Stub { part });
            }
        }
    }
}

/// What the instruction `word` at `place`, which is of `form`, points to. The first half of a T32
/// instruction is the low one.
pub(super) fn read(form: Form, place: u64, word: u32) -> Option<u64> {
    let base = base(form, place);
    let half = word >> 16;
    let distance = match form {
        Form::Place31 => i64::from((word << 1).cast_signed() >> 1),
        Form::A32Branch => i64::from((word << 8).cast_signed() >> 6),
        Form::A32Exchange => i64::from((word << 8).cast_signed() >> 6) | i64::from(word >> 23 & 2),
        Form::T32Literal12 => literal_12(half & 0xfff, word >> 7 & 1),
        Form::T32Literal8 => i64::from(word & 0xff) * 4,
        Form::T32Branch8 => i64::from((word << 24).cast_signed() >> 23),
        Form::T32Branch11 => i64::from((word << 21).cast_signed() >> 20),
        Form::T32Zero => i64::from(word >> 3 & 0x1f | word >> 4 & 0x20) * 2,
        Form::T32Branch20 => {
            let high = (word >> 10 & 1) << 19 | (half >> 11 & 1) << 18 | (half >> 13 & 1) << 17;
            let units = high | (word & 0x3f) << 11 | half & 0x7ff;
            i64::from((units << 12).cast_signed() >> 11)
        }
        Form::T32Branch24 | Form::T32Exchange => {
            let sign = word >> 10 & 1;
            let first = !(half >> 13 ^ sign) & 1;
            let second = !(half >> 11 ^ sign) & 1;
            let units =
                sign << 23 | first << 22 | second << 21 | (word & 0x3ff) << 11 | half & 0x7ff;
            i64::from((units << 8).cast_signed() >> 7)
        }
        _ => return None,
    };
    Some(base.wrapping_add_signed(distance) & 0xffff_ffff)
}

fn literal_12(distance: u32, is_up: u32) -> i64 {
    if is_up == 1 { distance.into() } else { -i64::from(distance) }
}

/// What distances of `form` count from: the program counter, for some rounded down to a word.
fn base(form: Form, place: u64) -> u64 {
    match form {
        Form::A32Branch | Form::A32Exchange => place.wrapping_add(8),
        Form::A32Stub { part } => place.wrapping_add(8).wrapping_sub(4 * u64::from(part)),
        Form::T32Literal8 | Form::T32Literal12 | Form::T32Exchange => place.wrapping_add(4) & !3,
        Form::Place31 => place,
        _ => place.wrapping_add(4),
    }
}

/// Writes into the instruction `bytes` that stands at `place`, if it is of `form`, that it points
/// to `address`; short ones are the first two bytes. False, and nothing is written, if that is
/// misaligned or too far.
pub(super) fn write(form: Form, place: u64, address: u64, bytes: &mut [u8; 4]) -> bool {
    let word = u32::from_le_bytes(*bytes);
    let distance = address.wrapping_sub(base(form, place)).cast_signed();
    written(form, word, distance).map(|word| *bytes = word.to_le_bytes()).is_some()
}

fn written(form: Form, word: u32, distance: i64) -> Option<u32> {
    let positive = u32::try_from(distance).ok();
    Some(match form {
        Form::Place31 => word & 1 << 31 | signed(distance, 0, 31)?,
        Form::A32Branch => word & 0xff00_0000 | signed(distance, 2, 24)?,
        Form::A32Exchange => {
            let units = signed(distance, 1, 25)?;
            word & 0xfe00_0000 | (units & 1) << 24 | units >> 1
        }
        Form::T32Literal12 => {
            let (units, is_up) = distance_12(distance, word >> 7 & 1)?;
            word & 0xf000_ff7f | is_up << 7 | units << 16
        }
        Form::T32Literal8 => {
            let units = positive.filter(|distance| distance % 4 == 0 && *distance < 1 << 10)? / 4;
            word & 0xffff_ff00 | units
        }
        Form::T32Branch8 => word & 0xffff_ff00 | signed(distance, 1, 8)?,
        Form::T32Branch11 => word & 0xffff_f800 | signed(distance, 1, 11)?,
        Form::T32Zero => {
            let units = positive.filter(|distance| distance % 2 == 0 && *distance < 1 << 7)? / 2;
            word & 0xffff_fd07 | (units & 0x1f) << 3 | (units & 0x20) << 4
        }
        Form::T32Branch20 => {
            let units = signed(distance, 1, 20)?;
            let low = (units >> 19 & 1) << 10 | units >> 11 & 0x3f;
            let high = (units >> 18 & 1) << 11 | (units >> 17 & 1) << 13 | units & 0x7ff;
            word & 0xd000_fbc0 | high << 16 | low
        }
        Form::T32Branch24 | Form::T32Exchange => {
            let units = signed(distance, 1, 24)?;
            if form == Form::T32Exchange && units & 1 == 1 {
                return None;
            }
            let sign = units >> 23 & 1;
            let first = !(units >> 22 ^ sign) & 1;
            let second = !(units >> 21 ^ sign) & 1;
            let high = first << 13 | second << 11 | units & 0x7ff;
            word & 0xd000_f800 | high << 16 | sign << 10 | units >> 11 & 0x3ff
        }
        Form::A32Stub { part } => {
            let distance = positive.filter(|distance| *distance < 1 << 28)?;
            match part {
                0 => word & 0xffff_ff00 | distance >> 20,
                1 => word & 0xffff_ff00 | distance >> 12 & 0xff,
                _ => word & 0xffff_f000 | distance & 0xfff,
            }
        }
        _ => return None,
    })
}

/// `distance` in units of `1 << shift` bytes as a signed number of `bits` bits.
fn signed(distance: i64, shift: u32, bits: u32) -> Option<u32> {
    let units = distance >> shift;
    let fits = units << shift == distance && matches!(units >> (bits - 1), 0 | -1);
    let low = units.cast_unsigned() & ((1 << bits) - 1);
    u32::try_from(low).ok().filter(|_| fits)
}

/// A distance of 12 bits, and whether it is up; a distance of 0 keeps the sign it had.
fn distance_12(distance: i64, was_up: u32) -> Option<(u32, u32)> {
    let units = u32::try_from(distance.unsigned_abs()).ok().filter(|units| *units < 1 << 12)?;
    Some((units, if distance == 0 { was_up } else { u32::from(distance > 0) }))
}

#[cfg(test)]
mod tests {
    use super::super::region::{Arch, Load};
    use super::*;
    use proptest::prelude::*;

    const CODE: u64 = 0x1_1000;
    const DATA: u64 = 0x2_0f80;

    /// 4 KiB of code at 0x11000, 4 KiB of data at 0x20f80.
    fn region() -> Region {
        let load =
            |offset, address, code| Load { offset, len: 0x1000, address, memory_len: 0x1000, code };
        Region {
            offset: 0,
            len: 0x4000,
            arch: Arch::Arm,
            is_wide: false,
            is_fixed: false,
            loads: vec![load(0x1000, CODE, true), load(0x2000, DATA, false)],
            spans: vec![Span { offset: 0x1000, len: 0x1000, address: CODE, kind: Kind::Code }],
            sections: Vec::new(),
            section_symbols: Vec::new(),
        }
    }

    /// The fields of these bytes at the start of the code, by offset.
    fn found(bytes: &[u8]) -> Vec<(u64, u64, Form)> {
        let (region, mut out) = (region(), Vec::new());
        fields(&region, &region.spans[0], 0x1000, bytes, &mut out);
        out.sort_by_key(|field| field.offset);
        out.iter().map(|field| (field.offset - 0x1000, field.address, field.form)).collect()
    }

    fn a32(words: &[u32]) -> Vec<(u64, u64, Form)> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        found(&bytes)
    }

    fn t32(halves: &[u16]) -> Vec<(u64, u64, Form)> {
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        found(&bytes)
    }

    #[test]
    fn branches_of_a32_hold_their_address_whole() {
        let words = [
            0xeb00_0002, // bl    +16
            0xeaff_fffd, // b     -4
            0x1aff_fffc, // bne   -8
            0xfb00_0000, // blx   +10
            0xfaff_fffc, // blx   -8
            0xea40_0000, // b     far away
        ];
        let expected = [
            (0, CODE + 16, Form::A32Branch),
            (4, CODE, Form::A32Branch),
            (8, CODE, Form::A32Branch),
            (12, CODE + 22, Form::A32Exchange),
            (16, CODE + 8, Form::A32Exchange),
        ];
        assert_eq!(a32(&words), expected);
    }

    #[test]
    fn branches_of_t32_hold_their_address_whole() {
        let halves = [
            0xf000, 0xf806, // bl +16
            0xf7ff, 0xeffe, // blx to the start: 4 + 4 - 4, rounded
            0xf7ff, 0xbffa, // b.w -8
            0xf43f, 0xaffa, // beq.w -8
            0xd0fe, // beq 0
            0xe7fd, // b -2
            0xb108, // cbz r0, +6
            0xb910, // cbnz r0, +8
        ];
        let expected = [
            (0, CODE + 16, Form::T32Branch24),
            (4, CODE + 4, Form::T32Exchange),
            (8, CODE, Form::T32Branch24),
            (12, CODE + 4, Form::T32Branch20),
            (16, CODE + 16, Form::T32Branch8),
            (18, CODE + 16, Form::T32Branch11),
            (20, CODE + 26, Form::T32Zero),
            (22, CODE + 30, Form::T32Zero),
        ];
        assert_eq!(t32(&halves), expected);
    }

    #[test]
    fn a_pool_word_of_a32_is_an_address_less_the_program_counter_where_it_is_added() {
        let words = [
            0xe59f_0008, // ldr r0, [pc, #8]
            0xe59f_1008, // ldr r1, [pc, #8]
            0xe08f_0000, // add r0, pc, r0
            0xe79f_1001, // ldr r1, [pc, r1]
            0x0000_fff0, // DATA + 0x80 - (CODE + 16)
            0xea00_0000, // pool, though it looks like a branch
        ];
        assert_eq!(a32(&words), [(16, DATA + 0x80, Form::Base32(CODE + 16))]);
        let added_other_way = [0xe59f_0000, 0xe080_000f, 0x0000_fff4];
        assert_eq!(a32(&added_other_way), [(8, DATA + 0x80, Form::Base32(CODE + 12))]);
        let never_added = [0xe59f_0000, 0xe1a0_0000, 0x0000_fff4];
        assert_eq!(a32(&never_added), []);
    }

    #[test]
    fn a_pool_word_of_t32_is_an_address_less_the_program_counter_where_it_is_added() {
        let halves = [
            0x4801, // ldr r0, [pc, #4]
            0xf8df, 0x8004, // ldr.w r8, [pc, #4]
            0x4478, // add r0, pc
            0x44f8, // add r8, pc
            0xbf00, // nop
            0xfff0, 0x0000, // unknown: nobody loads it
        ];
        let expected = [
            (0, CODE + 8, Form::T32Literal8),
            (2, CODE + 8, Form::T32Literal12),
            (8, CODE + 0xbf00_44f8 + 10, Form::Base32(CODE + 10)),
        ];
        // The word at 8 is `add r8, pc; nop`: as an address it is outside of the region.
        assert_eq!(t32(&halves), expected[..2]);
        let halves = [0x4801, 0x4478, 0x4770, 0xbf00, 0xffb0, 0x0000];
        let pool = (8, DATA + 0x36, Form::Base32(CODE + 6));
        assert_eq!(t32(&halves), [(0, CODE + 8, Form::T32Literal8), pool]);
    }

    #[test]
    fn a_linkage_table_entry_holds_one_address_in_three_instructions() {
        let words = [0xe28f_c600, 0xe28c_ca0f, 0xe5bc_ffa0];
        let part = |part| Form::A32Stub { part };
        let address = CODE + 8 + 0xffa0;
        assert_eq!(
            a32(&words),
            [(0, address, part(0)), (4, address, part(1)), (8, address, part(2))]
        );
        assert_eq!(a32(&[0xe28f_c600, 0xe28c_ca0f, 0xe59c_ffa0]), []);
    }

    #[test]
    fn a_stretch_of_either_kind_is_read_as_what_it_is() {
        let mut bytes: Vec<u8> = 0xe1a0_0000_u32.to_le_bytes().repeat(31);
        bytes.extend(0xeaff_fffe_u32.to_le_bytes());
        bytes.extend(0xbf00_u16.to_le_bytes().repeat(62));
        bytes.extend([0xff, 0xf7, 0xfe, 0xff]);
        let expected = [(124, CODE + 124, Form::A32Branch), (252, CODE + 252, Form::T32Branch24)];
        assert_eq!(found(&bytes), expected);
    }

    #[test]
    fn the_index_of_unwinding_holds_functions_and_tables() {
        let region = region();
        let span = Span { offset: 0x2000, len: 0x1000, address: DATA, kind: Kind::Pointers };
        let words: [u32; 8] = [
            0x7fff_0080,
            0x0000_0008, // a function, a table
            0x7fff_0088,
            0x0000_0001, // no table
            0x7fff_0090,
            0x80b0_b0b0, // a table in the entry
            0x3000_0000,
            0x0000_0fff, // outside of the region
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut out = Vec::new();
        index_fields(&region, &span, 0x2000, &bytes, &mut out);
        let field = |offset, address| Field { offset, address, form: Form::Place31 };
        let expected = [
            field(0x2000, CODE),
            field(0x2004, DATA + 12),
            field(0x2008, CODE + 0x10),
            field(0x2010, CODE + 0x20),
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn tables_of_unwinding_hold_their_routine_only() {
        let region = region();
        let span = Span { offset: 0x2000, len: 0x1000, address: DATA, kind: Kind::Pointers };
        let words: [u32; 3] = [0x7fff_0080, 0xffff_0080, 0x0000_0010];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut out = Vec::new();
        table_fields(&region, &span, 0x2000, &bytes, &mut out);
        assert_eq!(out, [Field { offset: 0x2000, address: CODE, form: Form::Place31 }]);
    }

    /// Each form with a word of it, the unit of its distances, and their bounds.
    const FORMS: [(Form, u32, i64, i64, i64); 10] = [
        (Form::A32Branch, 0x1bab_cdef, 4, -1 << 25, 1 << 25),
        (Form::A32Exchange, 0xfbab_cdef, 2, -1 << 25, 1 << 25),
        (Form::T32Branch24, 0xf812_f345, 2, -1 << 24, 1 << 24),
        (Form::T32Exchange, 0xe812_f345, 4, -1 << 24, 1 << 24),
        (Form::T32Branch20, 0x8812_f305, 2, -1 << 20, 1 << 20),
        (Form::T32Literal12, 0x5123_f8df, 1, -4095, 4096),
        (Form::T32Branch11, 0xabcd_e123, 2, -1 << 11, 1 << 11),
        (Form::T32Branch8, 0xabcd_d123, 2, -1 << 8, 1 << 8),
        (Form::T32Zero, 0xabcd_b9aa, 2, 0, 1 << 7),
        (Form::T32Literal8, 0xabcd_4812, 4, 0, 1 << 10),
    ];

    #[test]
    fn an_address_too_far_or_between_units_is_not_written() {
        const PLACE: u64 = 1 << 30;
        for (form, word, unit, from, to) in FORMS {
            let base = base(form, PLACE);
            for (distance, fits) in
                [(from, true), (to - unit, true), (from - unit, false), (to, false), (1, unit == 1)]
            {
                let mut bytes = word.to_le_bytes();
                let address = base.wrapping_add_signed(distance);
                assert_eq!(write(form, PLACE, address, &mut bytes), fits, "{form:?} {distance}");
                if fits {
                    let read = read(form, PLACE, u32::from_le_bytes(bytes));
                    assert_eq!(read, Some(address), "{form:?} {distance}");
                } else {
                    assert_eq!(bytes, word.to_le_bytes(), "{form:?} {distance}");
                }
            }
        }
        assert!(!write(Form::Absolute32, PLACE, PLACE, &mut [0; 4]));
    }

    fn halves() -> impl Strategy<Value = u16> {
        prop_oneof![
            any::<u16>(),
            (0xe0_u16..0xf0, 0_u16..256).prop_map(|(high, low)| high << 8 | low),
            (0x48_u16..0x4a, 0_u16..16).prop_map(|(high, low)| high << 8 | low),
            (0_u16..2).prop_map(|register| 0x4478 | register),
            (0xf000_u16..0xf900),
            (0xd000_u16..0xe800),
        ]
    }

    proptest! {
        #[test]
        fn fields_of_any_bytes_lie_within_and_rewrite_to_themselves(
            halves in prop::collection::vec(halves(), 0..400),
            cut in 0_usize..4,
            shift in 0_u64..4,
        ) {
            let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
            let bytes = &bytes[..bytes.len().saturating_sub(cut)];
            let (mut region, mut out) = (region(), Vec::new());
            region.spans[0].address = CODE + shift;
            fields(&region, &region.spans[0], 0x1000, bytes, &mut out);
            for field in out {
                prop_assert!(region.is_loaded(field.address));
                let at = usize::try_from(field.offset - 0x1000).unwrap_or(usize::MAX);
                let place = region.spans[0].address + field.offset - 0x1000;
                let len = field.form.len();
                prop_assert!(at + len <= bytes.len());
                let mut old = [0; 4];
                old[..len].copy_from_slice(&bytes[at..at + len]);
                let mut new = old;
                if let Form::Base32(base) = field.form {
                    let distance = u32::try_from(field.address.wrapping_sub(base) & 0xffff_ffff);
                    prop_assert_eq!(distance.map(u32::to_le_bytes), Ok(old));
                } else {
                    prop_assert!(write(field.form, place, field.address, &mut new));
                    prop_assert_eq!(new, old, "{:?}", field);
                }
            }
        }

        #[test]
        fn what_is_written_is_read_again(
            form in 0..FORMS.len(),
            place in 1_u64 << 26..1 << 30,
            distance in any::<i32>(),
            word in any::<u32>(),
        ) {
            let (form, _, unit, from, to) = FORMS[form];
            let place = place & !1;
            let distance = from + i64::from(distance).rem_euclid(to - from) / unit * unit;
            let address = base(form, place).wrapping_add_signed(distance);
            let mut bytes = word.to_le_bytes();
            prop_assert!(write(form, place, address, &mut bytes));
            prop_assert_eq!(read(form, place, u32::from_le_bytes(bytes)), Some(address));
        }
    }
}
