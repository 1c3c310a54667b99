//! Addresses in AArch64 code: where instructions hold them, and how they are written.
//!
//! A branch, `ADR` or literal load holds its address whole. `ADRP` holds only the page, and the low
//! 12 bits stand in instructions behind it that use its register; so the page in each register is
//! remembered, within a block, and both parts get the full address. Encodings: "Arm Architecture
//! Reference Manual for A-profile architecture" (ARM DDI 0487), section C4.1.

use super::field::{Field, Form};
use super::region::{Region, Span};

/// Appends the fields in a block of code, by offset.
///
/// `bytes` starts at `offset` of the source and lies within `span`. Instructions stand at addresses
/// that are multiples of 4.
pub(super) fn fields(
    region: &Region,
    span: &Span,
    offset: u64,
    bytes: &[u8],
    out: &mut Vec<Field>,
) {
    let place = span.address.wrapping_add(offset.wrapping_sub(span.offset));
    let skip = place.wrapping_neg() % 4;
    let code = usize::try_from(skip).ok().and_then(|skip| bytes.get(skip..)).unwrap_or_default();
    let mut scan = Scan {
        region,
        offset: offset.wrapping_add(skip),
        place: place.wrapping_add(skip),
        held: 0,
        registers: [Page::default(); 32],
        has_doubtful: false,
        out,
    };
    let first = scan.out.len();
    for stretch in code.as_chunks().0.chunks(STRETCH) {
        let is_data = unallocated(stretch) > UNALLOCATED_MAX;
        for word in stretch {
            if !is_data {
                scan.instruction(u32::from_le_bytes(*word));
            }
            scan.offset = scan.offset.wrapping_add(4);
            scan.place = scan.place.wrapping_add(4);
        }
    }
    if scan.has_doubtful {
        remove_unheld(region, first, out);
    }
}

/// Words that are judged together, and how many of them may be no instructions.
const STRETCH: usize = 32;
const UNALLOCATED_MAX: usize = 1;

/// How many words are neither 0 nor an instruction: three of 16 values of bits 25 to 28 are not
/// allocated, which random data has in every fifth word.
fn unallocated(words: &[[u8; 4]]) -> usize {
    let words = words.iter().map(|word| u32::from_le_bytes(*word));
    words.filter(|word| *word != 0 && matches!(word >> 25 & 15, 0 | 1 | 3)).count()
}

/// Removes the fields from index `first` on that point outside of the region.
fn remove_unheld(region: &Region, first: usize, out: &mut Vec<Field>) {
    let mut kept = first;
    for index in first..out.len() {
        let field = out[index];
        if region.is_loaded(field.address) {
            out[kept] = field;
            kept += 1;
        }
    }
    out.truncate(kept);
}

/// Writes into the instruction `bytes` that stands at `place`, if it is of `form`, that it points
/// to `address`. False, and nothing is written, if that is misaligned or too far.
pub(super) fn write(form: Form, place: u64, address: u64, bytes: &mut [u8; 4]) -> bool {
    let word = u32::from_le_bytes(*bytes);
    let distance = address.wrapping_sub(place).cast_signed();
    let pages = (address >> 12).wrapping_sub(place >> 12).cast_signed();
    let written = match form {
        Form::A64Branch26 => units(distance, 2, 26).map(|units| word & !BITS_26 | units),
        Form::A64Branch19 => units(distance, 2, 19).map(|units| word & !BITS_19 | units << 5),
        Form::A64Branch14 => units(distance, 2, 14).map(|units| word & !BITS_14 | units << 5),
        Form::A64Adr => units(distance, 0, 21).map(|units| split_21(word, units)),
        // Addresses wrap at 64 bits, pages at 52.
        Form::A64Page => units(pages << 12 >> 12, 0, 21).map(|units| split_21(word, units)),
        Form::A64Low12 { shift } => low_12(address, shift).map(|low| word & !BITS_12 | low << 10),
        _ => None,
    };
    written.map(|word| *bytes = word.to_le_bytes()).is_some()
}

const BITS_26: u32 = 0x03ff_ffff;
const BITS_19: u32 = 0x00ff_ffe0;
const BITS_14: u32 = 0x0007_ffe0;
const BITS_12: u32 = 0x003f_fc00;
/// `ADR` and `ADRP`: two low bits at 29, 19 bits at 5.
const BITS_21: u32 = 0x60ff_ffe0;

/// `distance` in units of `1 << shift` bytes as a signed number of `bits` bits.
fn units(distance: i64, shift: u32, bits: u32) -> Option<u32> {
    let units = distance >> shift;
    let fits = units << shift == distance && matches!(units >> (bits - 1), 0 | -1);
    let low = units.cast_unsigned() & ((1 << bits) - 1);
    u32::try_from(low).ok().filter(|_| fits)
}

fn split_21(word: u32, units: u32) -> u32 {
    word & !BITS_21 | (units & 3) << 29 | units >> 2 << 5
}

fn low_12(address: u64, shift: u8) -> Option<u32> {
    let low = u32::try_from(address & 0xfff).ok()?;
    let units = low.checked_shr(shift.into())?;
    (units << shift == low).then_some(units)
}

/// What a register got from `ADRP`.
#[derive(Debug, Clone, Copy, Default)]
struct Page {
    address: u64,
    /// Index of the `ADRP`'s field, until its low 12 bits were seen.
    field: Option<usize>,
}

/// A walk over the instructions of a block.
struct Scan<'a> {
    region: &'a Region,
    /// Where the instruction stands, in the source and in the address space.
    offset: u64,
    place: u64,
    /// Bit `n`: register `n` holds a page.
    held: u32,
    registers: [Page; 32],
    /// Whether some page starts outside of the region; the full address may still be inside.
    has_doubtful: bool,
    out: &'a mut Vec<Field>,
}

impl Scan<'_> {
    fn instruction(&mut self, word: u32) {
        match word >> 24 {
            0x14..=0x17 => {
                self.branch(Form::A64Branch26, signed(word << 6) >> 4);
                self.held = 0;
            }
            0x94..=0x97 => self.branch(Form::A64Branch26, signed(word << 6) >> 4),
            0x54 | 0x34 | 0x35 | 0xb4 | 0xb5 => {
                self.branch(Form::A64Branch19, signed(word << 8) >> 13 << 2);
            }
            0x36 | 0x37 | 0xb6 | 0xb7 => {
                self.branch(Form::A64Branch14, signed(word << 13) >> 18 << 2);
            }
            0x18 | 0x1c | 0x58 | 0x5c | 0x98 | 0x9c | 0xd8 | 0xdc => {
                self.pointer(Form::A64Branch19, signed(word << 8) >> 13 << 2);
                self.forget(word);
            }
            0x10 | 0x30 | 0x50 | 0x70 => {
                self.pointer(Form::A64Adr, distance_21(word));
                self.forget(word);
            }
            0x90 | 0xb0 | 0xd0 | 0xf0 => self.page(word),
            _ if self.held == 0 => {}
            0x91 if word & 0x00c0_0000 == 0 => {
                self.low_12(word, 0);
                self.forget(word);
            }
            0x39 | 0x3d | 0x79 | 0x7d | 0xb9 | 0xbd | 0xf9 | 0xfd => self.load_or_store(word),
            // BR and RET, not BLR.
            0xd6 if word & 0x0060_0000 != 0x0020_0000 => self.held = 0,
            _ => self.held &= !written(word),
        }
    }

    fn branch(&mut self, form: Form, distance: i64) {
        let address = self.place.wrapping_add_signed(distance);
        if self.region.is_code(address) {
            self.out.push(Field { offset: self.offset, address, form });
        }
    }

    fn pointer(&mut self, form: Form, distance: i64) {
        self.push(form, self.place.wrapping_add_signed(distance));
    }

    /// Whether `address` is one of the region's, and so was appended.
    fn push(&mut self, form: Form, address: u64) -> bool {
        let holds = self.region.is_loaded(address);
        if holds {
            self.out.push(Field { offset: self.offset, address, form });
        }
        holds
    }

    fn page(&mut self, word: u32) {
        let address = (self.place & !0xfff).wrapping_add_signed(distance_21(word) << 12);
        let register = word & 31;
        self.registers[register as usize] = Page { address, field: Some(self.out.len()) };
        self.held |= 1 << register;
        self.has_doubtful |= !self.region.is_loaded(address);
        self.out.push(Field { offset: self.offset, address, form: Form::A64Page });
    }

    fn low_12(&mut self, word: u32, shift: u8) {
        let register = word >> 5 & 31;
        let low = u64::from(word >> 10 & 0xfff) << shift;
        if register == 31 || self.held >> register & 1 == 0 || low > 0xfff {
            return;
        }
        let address = self.registers[register as usize].address.wrapping_add(low);
        if self.push(Form::A64Low12 { shift }, address)
            && let Some(field) = self.registers[register as usize].field.take()
            && let Some(page) = self.out.get_mut(field)
        {
            page.address = address;
        }
    }

    fn load_or_store(&mut self, word: u32) {
        let is_vector = word >> 26 & 1 == 1;
        let is_128_bits = is_vector && word >> 23 & 1 == 1;
        let shift = if is_128_bits { 4 } else { word.to_le_bytes()[3] >> 6 };
        self.low_12(word, shift);
        let is_store = word >> 22 & 3 == 0;
        if !is_vector && !is_store {
            self.forget(word);
        }
    }

    fn forget(&mut self, word: u32) {
        self.held &= !(1 << (word & 31));
    }
}

fn signed(word: u32) -> i64 {
    word.cast_signed().into()
}

/// The 21 bits of `ADR` and `ADRP`.
fn distance_21(word: u32) -> i64 {
    signed(word << 8) >> 13 << 2 | i64::from(word >> 29 & 3)
}

/// Which general registers an instruction writes that is none of the above; a few too many.
fn written(word: u32) -> u32 {
    let first = 1_u32 << (word & 31);
    let base = 1 << (word >> 5 & 31);
    let is_vector = word >> 26 & 1 == 1;
    match word >> 25 & 15 {
        // Data processing; comparisons write register 31, which is none. CCMP writes none.
        0x8 | 0x9 => first,
        0x5 | 0xd if word & 0x1fe0_0000 == 0x1a40_0000 => 0,
        0x5 | 0xd => first,
        // Loads and stores. Pairs write their second register too, some forms their base.
        0x4 | 0x6 | 0xc | 0xe => {
            let is_pair = word >> 27 & 7 == 5;
            let is_single = word >> 27 & 7 == 7;
            let is_load = if is_single { word >> 22 & 3 != 0 } else { word >> 22 & 1 == 1 };
            let changes_base =
                is_pair && word >> 23 & 1 == 1 || is_single && word & 0x0120_0400 == 0x0000_0400;
            let loaded = match (is_load && !is_vector, is_pair) {
                (true, true) => first | 1 << (word >> 10 & 31),
                (true, false) => first,
                (false, _) => 0,
            };
            if changes_base { loaded | base } else { loaded }
        }
        // Vectors to general registers: FMOV and conversions, UMOV.
        0x7 | 0xf => {
            let is_to_general =
                word & 0x5f20_fc00 == 0x1e20_0000 || word & 0xbfe0_fc00 == 0x0e00_3c00;
            if is_to_general { first } else { 0 }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::region::{Arch, Kind, Load};
    use super::*;
    use proptest::prelude::*;

    const CODE: u64 = 0x40_1000;
    const DATA: u64 = 0x60_0f80;

    /// A page of code at 0x401000, 8 KiB of data at 0x600f80.
    fn region() -> Region {
        let load =
            |offset, len, address, code| Load { offset, len, address, memory_len: len, code };
        Region {
            offset: 0,
            len: 0x4000,
            arch: Arch::AArch64,
            is_fixed: false,
            is_wide: true,
            loads: vec![load(0x1000, 0x1000, CODE, true), load(0x2000, 0x2000, DATA, false)],
            spans: vec![Span { offset: 0x1000, len: 0x1000, address: CODE, kind: Kind::Code }],
            sections: Vec::new(),
            section_symbols: Vec::new(),
        }
    }

    /// The fields of these instructions at the start of the code.
    fn found(words: &[u32]) -> Vec<(u64, u64, Form)> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (region, mut out) = (region(), Vec::new());
        fields(&region, &region.spans[0], 0x1000, &bytes, &mut out);
        out.iter().map(|field| (field.offset - 0x1000, field.address, field.form)).collect()
    }

    #[test]
    fn branches_and_literals_hold_their_address_whole() {
        let words = [
            0x9400_0004, // bl      +16
            0x17ff_ffff, // b       -4
            0x5400_0040, // b.eq    +8
            0xb4ff_ffc1, // cbz x1, -8
            0x3708_0062, // tbnz w2, #1, +12
            0x5800_0043, // ldr x3, +8
            0x1000_0044, // adr x4, +8
            0x7000_0005, // adr x5, +3
        ];
        let expected = [
            (0, CODE + 16, Form::A64Branch26),
            (4, CODE, Form::A64Branch26),
            (8, CODE + 16, Form::A64Branch19),
            (12, CODE + 4, Form::A64Branch19),
            (16, CODE + 28, Form::A64Branch14),
            (20, CODE + 28, Form::A64Branch19),
            (24, CODE + 32, Form::A64Adr),
            (28, CODE + 31, Form::A64Adr),
        ];
        assert_eq!(found(&words), expected);
    }

    #[test]
    fn a_page_and_its_low_bits_get_the_full_address() {
        let words = [
            0xf000_0ff0, // adrp x16, 0x600000
            0xf947_c611, // ldr  x17, [x16, #3976]
            0x913e_2210, // add  x16, x16, #3976
            0xf947_c611, // ldr  x17, [x16, #3976]: the register is no page any more
        ];
        let expected = [
            (0, DATA + 8, Form::A64Page),
            (4, DATA + 8, Form::A64Low12 { shift: 3 }),
            (8, DATA + 8, Form::A64Low12 { shift: 0 }),
        ];
        assert_eq!(found(&words), expected);
    }

    #[test]
    fn low_bits_have_the_unit_of_the_access() {
        let low = |shift| Form::A64Low12 { shift };
        let words = [
            0x9000_1000, // adrp x0, 0x601000
            0x3900_0401, // strb w1, [x0, #1]
            0x7940_0401, // ldrh w1, [x0, #2]
            0xb940_0401, // ldr  w1, [x0, #4]
            0x3dc0_0401, // ldr  q1, [x0, #16]
            0xbd40_0401, // ldr  s1, [x0, #4]
        ];
        let page = 0x60_1000;
        let expected = [
            (0, page + 1, Form::A64Page),
            (4, page + 1, low(0)),
            (8, page + 2, low(1)),
            (12, page + 4, low(2)),
            (16, page + 16, low(4)),
            (20, page + 4, low(2)),
        ];
        assert_eq!(found(&words), expected);
    }

    #[test]
    fn a_page_is_forgotten_where_its_register_is_written_or_code_ends() {
        let (page, used) = (0x9000_1000, 0xb940_0401);
        let kept = [0xd63f_0020, 0xf900_0020, 0xeb01_001f, 0x5400_0041, 0x9400_0001];
        for between in kept {
            let fields = found(&[page, between, used]);
            assert!(fields.iter().any(|field| field.0 == 8), "{between:08x}");
        }
        // mov x0, x1; ldr x0, [x1]; ldp x2, x0, [x1]; ldr x1, [x0], #8; ret; b +4; movz x0, 1
        for between in [
            0xaa01_03e0,
            0xf940_0020,
            0xa940_0022,
            0xf840_8401,
            0xd65f_03c0,
            0x1400_0001,
            0xd280_0020,
        ] {
            let fields = found(&[page, between, used]);
            assert!(fields.iter().all(|field| field.0 != 8), "{between:08x}");
        }
    }

    #[test]
    fn what_points_outside_of_the_region_or_branches_into_data_is_no_field() {
        // bl into data, b.eq far away, adrp far away.
        assert_eq!(found(&[0x9408_0000, 0x547f_ffe0, 0x907f_ffe0]), []);
        // adrp to a page that only starts before the data, and is used beyond its start or not.
        assert_eq!(found(&[0xf000_0ff0]), []);
        assert_eq!(found(&[0xf000_0ff0, 0xf940_0611]), []);
        assert_eq!(found(&[0xf000_0ff0, 0xf947_c611]).len(), 2);
    }

    #[test]
    fn tables_between_functions_are_no_code() {
        let table = [0x0000_0001, 0x5400_0040, 0x0200_0001, 0x5400_0040];
        assert_eq!(found(&table), []);
        let code = [0x0000_0000, 0x5400_0040, 0x0200_0001, 0x5400_0040];
        assert_eq!(found(&code).len(), 2);
    }

    #[test]
    fn a_span_that_starts_between_words_has_them_where_their_addresses_are() {
        let region = region();
        let span = Span { offset: 0x1002, len: 0xffe, address: CODE + 2, kind: Kind::Code };
        let mut out = Vec::new();
        fields(&region, &span, 0x1002, &[0, 0, 4, 0, 0, 0x94], &mut out);
        let field = Field { offset: 0x1004, address: CODE + 20, form: Form::A64Branch26 };
        assert_eq!(out, [field]);
    }

    #[test]
    fn an_address_too_far_or_between_words_is_not_written() {
        let written = |form, distance: i64| {
            let mut bytes = [0; 4];
            write(form, 1 << 40, (1_u64 << 40).wrapping_add_signed(distance), &mut bytes)
        };
        for (form, bits) in
            [(Form::A64Branch26, 27), (Form::A64Branch19, 20), (Form::A64Branch14, 15)]
        {
            assert!(written(form, (1 << bits) - 4) && written(form, -1 << bits), "{form:?}");
            assert!(!written(form, 1 << bits) && !written(form, (-1 << bits) - 4), "{form:?}");
            assert!(!written(form, 2), "{form:?}");
        }
        assert!(written(Form::A64Adr, (1 << 20) - 1) && !written(Form::A64Adr, 1 << 20));
        assert!(written(Form::A64Page, (1 << 32) - 1) && !written(Form::A64Page, 1 << 32));
        assert!(written(Form::A64Low12 { shift: 4 }, 16));
        assert!(!written(Form::A64Low12 { shift: 4 }, 8));
        assert!(!written(Form::Absolute32, 0));
    }

    fn words() -> impl Strategy<Value = u32> {
        // Instructions that hold addresses, more often than chance has them.
        const TOPS: [u32; 12] =
            [0x14, 0x94, 0x54, 0xb4, 0x36, 0x58, 0x10, 0x90, 0xb0, 0x91, 0xf9, 0x3d];
        prop_oneof![
            any::<u32>(),
            (0..TOPS.len(), 0_u32..1 << 24).prop_map(|(top, low)| TOPS[top] << 24 | low),
            (0_u32..2, 0_u32..4).prop_map(|(page, to)| 0x9000_1000 | page << 29 | to),
            (0_u32..4, 0_u32..4, 0_u32..1 << 12)
                .prop_map(|(to, from, low)| 0x9100_0000 | low << 10 | from << 5 | to),
        ]
    }

    proptest! {
        #[test]
        fn fields_of_any_bytes_are_in_order_and_rewrite_to_themselves(
            words in prop::collection::vec(words(), 0..200),
            cut in 0_usize..8,
        ) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let bytes = &bytes[..bytes.len().saturating_sub(cut)];
            let (region, mut out) = (region(), Vec::new());
            fields(&region, &region.spans[0], 0x1000, bytes, &mut out);
            let mut end = 0x1000;
            for field in out {
                prop_assert!(field.offset >= end && region.is_loaded(field.address));
                end = field.offset + 4;
                let at = usize::try_from(field.offset - 0x1000).unwrap_or(usize::MAX);
                let old: [u8; 4] = bytes[at..at + 4].try_into().unwrap_or_default();
                let mut new = old;
                let place = field.offset + CODE - 0x1000;
                prop_assert!(write(field.form, place, field.address, &mut new));
                prop_assert_eq!(new, old, "{:?}", field);
            }
        }

        #[test]
        fn what_is_written_is_found_again(distance in -(1_i64 << 17)..1 << 17, form in 0_usize..4) {
            let (form, word) = [
                (Form::A64Branch26, 0x97ab_cdef_u32),
                (Form::A64Branch19, 0x5412_3456),
                (Form::A64Branch14, 0x3612_3456),
                (Form::A64Adr, 0x5012_3456),
            ][form];
            let mut region = region();
            region.loads[0].address = 0;
            region.loads[0].memory_len = 1 << 40;
            region.spans[0].address = 1 << 20;
            let address = (1_u64 << 20).wrapping_add_signed(distance);
            let mut bytes = word.to_le_bytes();
            let fits = write(form, 1 << 20, address, &mut bytes);
            let unit = if form == Form::A64Adr { 1 } else { 4 };
            let reach = if form == Form::A64Branch14 { 1 << 15 } else { 1 << 17 };
            prop_assert_eq!(fits, distance % unit == 0 && (-reach..reach).contains(&distance));
            if fits {
                let mut out = Vec::new();
                fields(&region, &region.spans[0], 0x1000, &bytes, &mut out);
                prop_assert_eq!(out, [Field { offset: 0x1000, address, form }]);
            } else {
                prop_assert_eq!(bytes, word.to_le_bytes());
            }
        }
    }
}
