//! Addresses in the tables of 32-bit files: relocations, symbols, the dynamic table, and aligned
//! pointers.
//!
//! Layouts: "System V Application Binary Interface", chapters 4 and 5.

use super::field::{Field, Form};
use super::part::Part;
use super::region::{Arch, Kind, Region, Span};

/// Appends the fields of a table in a block, in no order.
///
/// `bytes` starts at `offset` of the source and lies within `span`.
pub(super) fn fields(
    region: &Region,
    span: &Span,
    offset: u64,
    bytes: &[u8],
    out: &mut Vec<Field>,
) {
    let table = Narrow(Part { region, span, offset, bytes });
    match span.kind {
        Kind::Pointers => table.0.aligned(4).for_each(|at| table.absolute(at, out)),
        Kind::Relocations { symbols, addends } => table.relocations(symbols, addends, out),
        Kind::Symbols { names } => table.symbols(names, out),
        Kind::Dynamic { names } => table.dynamic(names, out),
        _ => {}
    }
}

struct Narrow<'a>(Part<'a>);

impl Narrow<'_> {
    /// A field of 4 bytes that holds an address, if it does.
    fn absolute(&self, at: u64, out: &mut Vec<Field>) {
        if let Some(address) = self.0.u32(at).map(u64::from)
            && address != 0
            && self.0.region.is_loaded(address)
        {
            out.push(Field { offset: at, address, form: Form::Absolute32 });
        }
    }

    fn relocations(&self, symbols: u64, addends: bool, out: &mut Vec<Field>) {
        for at in self.0.entries(if addends { 12 } else { 8 }) {
            self.absolute(at, out);
            let info = self.0.u32(at.wrapping_add(4));
            let symbol = info.map(|info| u64::from(info >> 8)).filter(|symbol| *symbol != 0);
            if let Some(symbol) = symbol
                && symbols != 0
            {
                let address = symbols.wrapping_add(symbol * SYMBOL_LEN);
                let form = Form::Index24 { base: symbols };
                out.push(Field { offset: at.wrapping_add(4), address, form });
            }
            // R_ARM_RELATIVE, as R_386_RELATIVE is another number, holds an address.
            if addends && self.0.region.arch == Arch::Arm && info == Some(23) {
                self.absolute(at.wrapping_add(8), out);
            }
        }
    }

    fn symbols(&self, names: u64, out: &mut Vec<Field>) {
        for at in self.0.entries(SYMBOL_LEN) {
            if let Some(name) = self.0.u32(at).filter(|name| *name != 0 && names != 0) {
                let address = names.wrapping_add(name.into());
                let form = Form::Index32 { base: names, size: 1 };
                out.push(Field { offset: at, address, form });
            }
            // Symbols of no section and of thread-local storage have no address.
            let section = self.0.u16(at.wrapping_add(14)).unwrap_or(0);
            let kind = self.0.number(at.wrapping_add(12)).map(|[info]: [u8; 1]| info & 15);
            if section != 0 && kind != Some(6) {
                self.absolute(at.wrapping_add(4), out);
            }
        }
    }

    fn dynamic(&self, names: u64, out: &mut Vec<Field>) {
        for at in self.0.entries(8) {
            match self.0.u32(at) {
                // Names: needed libraries, the library's own, search paths.
                Some(1 | 14 | 15 | 29) if names != 0 => {
                    if let Some(name) = self.0.u32(at.wrapping_add(4)).filter(|name| *name != 0) {
                        let address = names.wrapping_add(name.into());
                        let form = Form::Index32 { base: names, size: 1 };
                        out.push(Field { offset: at.wrapping_add(4), address, form });
                    }
                }
                // Sizes and counts.
                Some(1 | 2 | 8..=11 | 14 | 15 | 18..=20 | 24 | 27..=30) => {}
                _ => self.absolute(at.wrapping_add(4), out),
            }
        }
    }
}

/// Bytes of an entry of a narrow symbol table.
pub(super) const SYMBOL_LEN: u64 = 16;

#[cfg(test)]
mod tests {
    use super::super::region::Load;
    use super::*;

    fn found(kind: Kind, words: &[u32]) -> Vec<(u64, u64, Form)> {
        let load = Load { offset: 0, len: 0x1000, address: 0x1000, memory_len: 0x1000, code: true };
        let span = Span { offset: 0, len: 0x1000, address: 0x1000, kind };
        let region = Region {
            offset: 0,
            len: 0x1000,
            arch: Arch::Arm,
            is_wide: false,
            is_fixed: false,
            loads: vec![load],
            spans: vec![span],
            sections: Vec::new(),
            section_symbols: Vec::new(),
        };
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut out = Vec::new();
        fields(&region, &span, 0, &bytes, &mut out);
        out.iter().map(|field| (field.offset / 4, field.address, field.form)).collect()
    }

    #[test]
    fn pointers_are_aligned_words_that_are_loaded() {
        let expected = [(1, 0x1004, Form::Absolute32), (3, 0x1fff, Form::Absolute32)];
        assert_eq!(found(Kind::Pointers, &[0, 0x1004, 0x2000, 0x1fff]), expected);
    }

    #[test]
    fn relocations_hold_where_and_which_symbol() {
        let symbols = 0x1100;
        let words = [0x1004, 23, 0x1008, 0x0000_0516];
        let index = Form::Index24 { base: symbols };
        let expected =
            [(0, 0x1004, Form::Absolute32), (2, 0x1008, Form::Absolute32), (3, 0x1150, index)];
        assert_eq!(found(Kind::Relocations { symbols, addends: false }, &words), expected);
        let words = [0x1004, 23, 0x1010, 0x1008, 0x0000_0502, 0x1010];
        let expected = [
            (0, 0x1004, Form::Absolute32),
            (2, 0x1010, Form::Absolute32),
            (3, 0x1008, Form::Absolute32),
            (4, 0x1150, index),
        ];
        assert_eq!(found(Kind::Relocations { symbols, addends: true }, &words), expected);
    }

    #[test]
    fn symbols_hold_a_name_and_an_address_unless_they_have_none() {
        let name = Form::Index32 { base: 0x1200, size: 1 };
        let words =
            [5, 0x1005, 8, 0x0007_0002, 6, 0x1008, 8, 0x0000_0002, 7, 0x1008, 8, 0x0007_0006];
        let expected = [
            (0, 0x1205, name),
            (1, 0x1005, Form::Absolute32),
            (4, 0x1206, name),
            (8, 0x1207, name),
        ];
        assert_eq!(found(Kind::Symbols { names: 0x1200 }, &words), expected);
    }

    #[test]
    fn the_dynamic_table_holds_addresses_where_it_holds_no_sizes() {
        let words = [4, 0x1010, 10, 0x1010, 1, 9];
        let name = Form::Index32 { base: 0x1200, size: 1 };
        let expected = [(1, 0x1010, Form::Absolute32), (5, 0x1209, name)];
        assert_eq!(found(Kind::Dynamic { names: 0x1200 }, &words), expected);
    }
}
