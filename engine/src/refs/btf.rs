//! Indices in BTF, the type information of Linux kernels and their modules: of types, and offsets
//! of names.
//!
//! Records stand one behind the other without a table, so a block finds its first one by trial.
//! That is safe: the second word of a record has its kind in bits 24 to 28, and numbers that stand
//! elsewhere are smaller. Layout: Linux, "BPF Type Format (BTF)", section 2.

use super::field::{Field, Form};
use super::region::{Arch, Kind, Load, Region, Span};

/// The first bytes of BTF: magic, version 1, no flags.
pub(super) const MAGIC: [u8; 4] = [0x9f, 0xeb, 1, 0];

/// Bytes of the header, as it says of itself.
const HEADER_LEN: u32 = 24;

/// BTF that stands for itself in an image of `image_size` bytes, from `offset` on, by the first
/// bytes of its header.
pub(super) fn region(offset: u64, header: &[u8], image_size: u64) -> Option<Region> {
    let word = |at| number(header, at);
    if !header.starts_with(&MAGIC) || word(4)? != HEADER_LEN {
        return None;
    }
    let types = u64::from(HEADER_LEN) + u64::from(word(8)?);
    let types_len = u64::from(word(12)?);
    let names = u64::from(HEADER_LEN) + u64::from(word(16)?);
    let len = types.saturating_add(types_len).max(names.saturating_add(word(20)?.into()));
    if types_len == 0 || offset.checked_add(len)? > image_size || u32::try_from(len).is_err() {
        return None;
    }
    let file = Load { offset, len, address: Region::FILE, memory_len: len, code: false };
    let span = Span {
        offset: offset + types,
        len: types_len,
        address: Region::FILE + types,
        kind: Kind::Types,
    };
    Some(Region {
        offset,
        len,
        arch: Arch::Other,
        is_wide: false,
        is_fixed: false,
        loads: vec![file],
        spans: vec![span],
        sections: Vec::new(),
        section_symbols: Vec::new(),
    })
}

/// Appends the fields in a block of types, by offset.
pub(super) fn fields(span: &Span, offset: u64, bytes: &[u8], out: &mut Vec<Field>) {
    // Records stand at multiples of 4 from the start.
    let skip = span.offset.wrapping_sub(offset) % 4;
    let mut at = usize::try_from(skip).unwrap_or(0);
    let mut is_known = false;
    while at < bytes.len() {
        is_known = if is_known { record(bytes, at).is_some() } else { starts(bytes, at) };
        let Some(record) = record(bytes, at).filter(|_| is_known) else {
            at += 4;
            continue;
        };
        record.fields(bytes, at, |at, base| {
            let Some(value) = number(bytes, at).filter(|value| *value != 0) else { return };
            let (offset, address) = (offset.wrapping_add(at as u64), base + u64::from(value));
            out.push(Field { offset, address, form: Form::Base32(base) });
        });
        at = at.saturating_add(record.len());
    }
}

/// How many records must follow one another for the first to be believed.
const TRIALS: usize = 4;

/// Whether records start here: as many as are tried, or all up to the end.
fn starts(bytes: &[u8], mut at: usize) -> bool {
    for _ in 0..TRIALS {
        match record(bytes, at) {
            Some(record) => at = at.saturating_add(record.len()),
            None => return at.saturating_add(RECORD_LEN) > bytes.len(),
        }
    }
    true
}

/// The second word of a record.
#[derive(Debug, Clone, Copy)]
struct Record {
    kind: u32,
    count: usize,
}

/// Bytes of a record without what its kind appends.
const RECORD_LEN: usize = 12;

/// The record that starts here, if one can.
fn record(bytes: &[u8], at: usize) -> Option<Record> {
    let info = number(bytes, at.checked_add(4)?)?;
    let kind = info >> 24 & 31;
    // Bits 16 to 23, 29 and 30 are unused.
    let is_sound = info & 0x60ff_0000 == 0 && (1..=19).contains(&kind);
    is_sound.then_some(Record { kind, count: (info & 0xffff) as usize })
}

impl Record {
    fn len(self) -> usize {
        let appended = match self.kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * self.count,
            6 | 13 => 8 * self.count,
            _ => 0,
        };
        RECORD_LEN + appended
    }

    /// Calls `each` with where each index stands, and what it counts from.
    fn fields(self, bytes: &[u8], at: usize, mut each: impl FnMut(usize, u64)) {
        each(at, Region::NAMES);
        // Pointers, names for types and what qualifies them, functions, variables and tags.
        if matches!(self.kind, 2 | 8..=14 | 17 | 18) {
            each(at + 8, Region::TYPES);
        }
        let (size, name, index) = match self.kind {
            // An array: of what, indexed by what.
            3 => {
                each(at + RECORD_LEN, Region::TYPES);
                each(at + RECORD_LEN + 4, Region::TYPES);
                return;
            }
            // Members, enumerators, parameters, variables of a section.
            4 | 5 => (12, Some(0), Some(4)),
            6 => (8, Some(0), None),
            13 => (8, Some(0), Some(4)),
            15 => (12, None, Some(0)),
            19 => (12, Some(0), None),
            _ => return,
        };
        let first = at + RECORD_LEN;
        let left = bytes.len().saturating_sub(first).div_ceil(size);
        for entry in (0..self.count.min(left)).map(|entry| first + entry * size) {
            if let Some(name) = name {
                each(entry + name, Region::NAMES);
            }
            if let Some(index) = index {
                each(entry + index, Region::TYPES);
            }
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPAN: Span = Span { offset: 24, len: 4000, address: Region::FILE, kind: Kind::Types };

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Names and types that are found in these words, by the index of the word.
    fn found(words: &[u32]) -> Vec<(u64, char, u64)> {
        let mut out = Vec::new();
        fields(&SPAN, 24, &bytes(words), &mut out);
        let found = out.iter().map(|field| {
            let is_type = field.form == Form::Base32(Region::TYPES);
            let base = if is_type { Region::TYPES } else { Region::NAMES };
            ((field.offset - 24) / 4, if is_type { 't' } else { 'n' }, field.address - base)
        });
        found.collect()
    }

    const INT: [u32; 4] = [7, 0x0100_0000, 4, 32];
    const STRUCT: [u32; 9] = [9, 0x0400_0002, 8, 11, 1, 0, 13, 2, 32];
    const POINTER: [u32; 3] = [0, 0x0200_0000, 5];
    const ARRAY: [u32; 6] = [0, 0x0300_0000, 0, 2, 1, 16];
    const ENUM: [u32; 5] = [21, 0x0600_0001, 4, 23, 99];
    const PROTOTYPE: [u32; 5] = [0, 0x0d00_0001, 3, 25, 6];

    #[test]
    fn records_hold_names_and_types_by_their_kind() {
        let words = [&INT[..], &STRUCT, &POINTER, &ARRAY, &ENUM, &PROTOTYPE].concat();
        let expected = [
            (0, 'n', 7),
            (4, 'n', 9),
            (7, 'n', 11),
            (8, 't', 1),
            (10, 'n', 13),
            (11, 't', 2),
            (15, 't', 5),
            (19, 't', 2),
            (20, 't', 1),
            (22, 'n', 21),
            (25, 'n', 23),
            (29, 't', 3),
            (30, 'n', 25),
            (31, 't', 6),
        ];
        assert_eq!(found(&words), expected);
    }

    #[test]
    fn a_block_that_starts_within_a_record_finds_the_next_one() {
        let words = [&STRUCT[..], &POINTER, &INT, &ENUM, &POINTER].concat();
        for from in 1..9 {
            let rest: Vec<_> =
                found(&words[from..]).into_iter().map(|(at, ..)| at + from as u64).collect();
            assert_eq!(rest, [11, 12, 16, 19, 23], "from word {from}");
        }
    }

    #[test]
    fn text_and_small_numbers_are_no_records() {
        let text: Vec<u32> = b"the names of all things, one by one, stand behind the types."
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_le_bytes(*word))
            .collect();
        assert_eq!(found(&text), []);
        assert_eq!(found(&[0x00ff_ffff; 40]), []);
    }

    #[test]
    fn btf_is_a_region_if_all_of_it_is_in_the_image() {
        let header = bytes(&[0x0001_eb9f, 24, 0, 400, 400, 100]);
        let region = |size| super::region(1000, &header, size);
        assert!(region(1523).is_none());
        let region = region(1524).expect("the header is sound");
        assert_eq!((region.offset, region.len), (1000, 524));
        assert_eq!((region.spans[0].offset, region.spans[0].len), (1024, 400));
        for (at, byte) in [(0, 0x9e), (2, 2), (4, 25), (15, 0xff)] {
            let mut header = header.clone();
            header[at] = byte;
            assert!(super::region(1000, &header, 1524).is_none(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn fields_of_any_words_are_in_order_and_hold_what_stands_there(
            words in prop::collection::vec(
                prop_oneof![
                    any::<u32>(),
                    0_u32..40,
                    (1_u32..20, 0_u32..4).prop_map(|(kind, count)| kind << 24 | count),
                ],
                0..200,
            ),
            cut in 0_usize..4,
        ) {
            let bytes = bytes(&words);
            let bytes = &bytes[..bytes.len().saturating_sub(cut)];
            let mut out = Vec::new();
            fields(&SPAN, 24, bytes, &mut out);
            let mut end = 24;
            for field in out {
                prop_assert!(field.offset >= end);
                end = field.offset + 4;
                let at = usize::try_from(field.offset - 24).unwrap_or(usize::MAX);
                let is_type = field.form == Form::Base32(Region::TYPES);
                let base = if is_type { Region::TYPES } else { Region::NAMES };
                prop_assert_eq!(number(bytes, at).map(u64::from), Some(field.address - base));
            }
        }
    }
}
