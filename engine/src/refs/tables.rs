//! Addresses in tables: relocations, symbols, the dynamic table, aligned pointers, and headers.
//! Tables of 32-bit files that differ in more than their words are read by `narrow`.
//!
//! Layouts: "System V Application Binary Interface", chapters 4 and 5.

use super::field::{Field, Form, Rows};
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
    let table = Part { region, span, offset, bytes };
    match span.kind {
        Kind::EhFrame => table.eh_frame(out),
        Kind::EhFrameHdr => table.eh_frame_hdr(out),
        Kind::Constants => {
            if region.is_fixed {
                table.pointers(out);
            }
            table.jump_tables(out);
        }
        Kind::Pointers => table.pointers(out),
        Kind::Distances(shape) => table.distances(shape, out),
        Kind::Data => {
            table.pointers(out);
            table.jump_tables(out);
        }
        Kind::Functions { base } => table.functions(base, out),
        Kind::Relocations { symbols, addends } => table.relocations(symbols, addends, out),
        Kind::Symbols { names } => table.symbols(names, out),
        Kind::SectionRelocations { symbols, section, rows } if region.is_wide => {
            table.section_relocations(symbols, section, rows, out);
        }
        Kind::Versions => table.versions(out),
        Kind::Header => table.header(out),
        Kind::Programs => table.programs(out),
        Kind::Sections { names } => table.sections(names, out),
        Kind::Dynamic { names } => table.dynamic(names, out),
        _ => {}
    }
}

impl Part<'_> {
    /// `wide` in a file of 64 bits, `narrow` in one of 32.
    fn either<T>(&self, wide: T, narrow: T) -> T {
        if self.region.is_wide { wide } else { narrow }
    }

    /// A number as long as an address.
    fn word(&self, at: u64) -> Option<u64> {
        if self.region.is_wide { self.u64(at) } else { self.u32(at).map(u64::from) }
    }

    fn pointers(&self, out: &mut Vec<Field>) {
        for at in self.aligned(self.either(8, 4)) {
            self.absolute(at, out);
        }
    }

    /// A field that holds an address whole, if it does.
    fn absolute(&self, at: u64, out: &mut Vec<Field>) {
        if let Some(address) = self.word(at)
            && address != 0
            && self.region.is_loaded(address)
        {
            let form = self.either(Form::Absolute64, Form::Absolute32);
            out.push(Field { offset: at, address, form });
        }
    }

    /// An index of 4 bytes into a table, but for index 0, which means none.
    fn index(&self, at: u64, base: u64, size: u8, out: &mut Vec<Field>) {
        if let Some(index) = self.u32(at).filter(|index| *index != 0)
            && base != 0
        {
            let address = base.wrapping_add(u64::from(index) * u64::from(size));
            out.push(Field { offset: at, address, form: Form::Index32 { base, size } });
        }
    }

    fn relocations(&self, symbols: u64, addends: bool, out: &mut Vec<Field>) {
        for at in self.entries(if addends { 24 } else { 16 }) {
            self.absolute(at, out);
            self.index(at.wrapping_add(12), symbols, 24, out);
            // Relative ones hold an address, others what is added to a symbol's.
            let is_relative = match (self.region.arch, self.u32(at.wrapping_add(8))) {
                (Arch::X86_64, Some(kind)) => matches!(kind, 8 | 37),
                (Arch::AArch64, Some(kind)) => matches!(kind, 1027 | 1032),
                (_, Some(_)) => false,
                (_, None) => true,
            };
            if addends && is_relative {
                self.absolute(at.wrapping_add(16), out);
            }
        }
    }

    /// A number as long as an address: an offset from `base`, in a section or in the file.
    fn based(&self, at: u64, base: u64, more: i8, out: &mut Vec<Field>) {
        let Some(value) = self.word(at).filter(|value| *value < self.region.len) else { return };
        let address = base.wrapping_add(value).wrapping_sub_signed(more.into());
        let form = match (self.region.is_wide, more) {
            (true, _) => Form::Base64 { base, more },
            (false, 0) => Form::Base32(base),
            (false, 1) => Form::Last32(base),
            (false, _) => return,
        };
        if base != 0 && value != 0 {
            out.push(Field { offset: at, address, form });
        }
    }

    fn section_relocations(
        &self,
        symbols: u64,
        section: u64,
        rows: Option<Rows>,
        out: &mut Vec<Field>,
    ) {
        for at in self.entries(24) {
            match rows.and_then(|rows| self.row(at, rows)) {
                Some(form) => out.push(Field { offset: at, address: self.address(at), form }),
                None => self.based(at, section, 0, out),
            }
            self.index(at.wrapping_add(12), symbols, 24, out);
            let anchors = &self.region.section_symbols;
            let anchor = self.u32(at.wrapping_add(12)).and_then(|symbol| {
                let place = anchors.binary_search_by_key(&symbol, |(index, _)| *index).ok()?;
                anchors.get(place).map(|(_, address)| *address)
            });
            // Distances are from the end of the field, which is 4 bytes behind where it is put.
            let is_distance = self.region.arch == Arch::X86_64
                && matches!(self.u32(at.wrapping_add(8)), Some(2 | 4));
            if let Some(anchor) = anchor {
                self.based(at.wrapping_add(16), anchor, if is_distance { -4 } else { 0 }, out);
            }
        }
    }

    /// The form of the first number of a relocation that is where it ought to be by its row.
    fn row(&self, at: u64, rows: Rows) -> Option<Form> {
        let place = at.wrapping_sub(self.span.offset) / 24;
        let (row, index) = (place / u64::from(rows.count), place % u64::from(rows.count));
        let more = self.u64(at)?.checked_sub(row * u64::from(rows.len))?;
        let more = u8::try_from(more).ok().filter(|more| *more < rows.len)?;
        let index = u8::try_from(index).ok()?;
        Some(Form::Row64 { base: self.span.address, rows, index, more })
    }

    /// Checksums in front of symbols' names, 64 bytes each.
    fn versions(&self, out: &mut Vec<Field>) {
        for at in self.entries(64) {
            if let Some(checksum) = self.u32(at) {
                let address = Region::CHECKSUMS + u64::from(checksum);
                out.push(Field { offset: at, address, form: Form::Base32(Region::CHECKSUMS) });
            }
        }
    }

    fn symbols(&self, names: u64, out: &mut Vec<Field>) {
        let sections = &self.region.sections;
        for at in self.entries(24) {
            self.index(at, names, 1, out);
            let section = self.u16(at.wrapping_add(6)).unwrap_or(0);
            // Symbols of no section and of thread-local storage have no address.
            let kind = self.number(at.wrapping_add(4)).map(|[info]: [u8; 1]| info & 15);
            if section == 0 || kind == Some(6) {
                continue;
            }
            if sections.is_empty() {
                self.absolute(at.wrapping_add(8), out);
            } else if let Some(base) = sections.get(usize::from(section)) {
                self.based(at.wrapping_add(8), *base, 0, out);
            }
        }
    }

    fn header(&self, out: &mut Vec<Field>) {
        let at = self.span.offset.wrapping_add(24);
        let word = self.either(8, 4);
        self.absolute(at, out);
        self.based(at.wrapping_add(word), Region::FILE, 0, out);
        self.based(at.wrapping_add(2 * word), Region::FILE, 0, out);
    }

    /// Offset, addresses, bytes in the file and in memory of each load.
    fn programs(&self, out: &mut Vec<Field>) {
        let word = self.either(8, 4);
        for at in self.entries(self.either(56, 32)) {
            let at = at.wrapping_add(word);
            self.based(at, Region::FILE, 0, out);
            self.absolute(at.wrapping_add(word), out);
            self.absolute(at.wrapping_add(2 * word), out);
            if let Some(start) = self.word(at.wrapping_add(word)) {
                self.based(at.wrapping_add(3 * word), start, 1, out);
                self.based(at.wrapping_add(4 * word), start, 1, out);
            }
        }
    }

    /// Name, address, offset and size of each section.
    fn sections(&self, names: u64, out: &mut Vec<Field>) {
        let word = self.either(8, 4);
        for at in self.entries(self.either(64, 40)) {
            self.index(at, names, 1, out);
            let at = at.wrapping_add(8 + word);
            self.absolute(at, out);
            self.based(at.wrapping_add(word), Region::FILE, 0, out);
            if let Some(start) = self.word(at.wrapping_add(word)) {
                let start = Region::FILE.wrapping_add(start);
                self.based(at.wrapping_add(2 * word), start, 1, out);
            }
        }
    }

    fn dynamic(&self, names: u64, out: &mut Vec<Field>) {
        for at in self.entries(16) {
            match self.u64(at) {
                // Names: needed libraries, the library's own, search paths.
                Some(1 | 14 | 15 | 29) => self.index(at.wrapping_add(8), names, 1, out),
                // Sizes and counts.
                Some(2 | 8 | 9 | 10 | 11 | 18 | 19 | 20 | 24 | 27 | 28 | 30) => {}
                _ => self.absolute(at.wrapping_add(8), out),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refs::map::{Copy, Map};
    use crate::refs::region::Load;
    use crate::refs::votes::{Votes, Worth};
    use crate::refs::{rewrite, scan};

    /// A region that nothing is known of, at the start of an image.
    fn region(len: u64) -> Region {
        let load = Load { offset: 0, len, address: Region::FILE, memory_len: len, code: false };
        Region {
            offset: 0,
            len,
            arch: Arch::Other,
            is_wide: true,
            is_fixed: false,
            loads: vec![load],
            spans: Vec::new(),
            sections: Vec::new(),
            section_symbols: Vec::new(),
        }
    }

    /// Relocations of a table, `count` for each row of `len` bytes, and some that are for no row.
    fn table_region(rows: Rows, entries: u64) -> (Region, Vec<u8>) {
        let len = 24 * entries;
        let mut region = region(len);
        region.spans = vec![Span {
            offset: 0,
            len,
            address: Region::FILE,
            kind: Kind::SectionRelocations { symbols: 0, section: Region::FILE, rows: Some(rows) },
        }];
        let entry = |index: u64| {
            let row = index / u64::from(rows.count) * u64::from(rows.len) + index % 3;
            [row, 2, 1000 + index].into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>()
        };
        let bytes = (0..entries).flat_map(entry).collect();
        (region, bytes)
    }

    #[test]
    fn relocations_of_a_table_are_of_the_row_where_they_stand() {
        for (count, len) in [(1, 4), (1, 8), (3, 16)] {
            let (region, source) = table_region(Rows { count, len }, 60);
            // Three entries are put in before the twentieth, the rest follows.
            let map = |diagonal| {
                let copies = [(0, 480, 0), (480, 960, diagonal)];
                let copies = copies.map(|(offset, len, diagonal)| Copy { offset, len, diagonal });
                Map::of(copies, &region, &[], &[])
            };
            let mut bytes = source[20 * 24..].to_vec();
            let mut fields = Vec::new();
            scan::fields(&region, 0, &source, &mut fields);
            rewrite(&region, &map(-72), &fields, -72, 20 * 24, &mut bytes);
            let first = |bytes: &[u8]| u64::from_le_bytes(*bytes.first_chunk().expect("a word"));
            for (index, (new, old)) in
                bytes.chunks(24).zip(source[20 * 24..].chunks(24)).enumerate()
            {
                let moved = u64::from(3 / count * len);
                assert_eq!(first(new), first(old) + moved, "{count} of {len}: {index}");
                assert_eq!(new[8..], old[8..]);
            }
            // Of rows of three, one put in leaves no row whole.
            let mut bytes = source[20 * 24..].to_vec();
            rewrite(&region, &map(-24), &fields, -24, 20 * 24, &mut bytes);
            assert_eq!(bytes == source[20 * 24..], count == 3);
        }
    }

    #[test]
    fn relocation_that_is_not_of_its_row_is_an_offset() {
        let (region, mut source) = table_region(Rows { count: 1, len: 4 }, 9);
        source[48..56].copy_from_slice(&100_u64.to_le_bytes());
        let mut fields = Vec::new();
        scan::fields(&region, 0, &source, &mut fields);
        let is_row = fields.iter().map(|field| matches!(field.form, Form::Row64 { .. }));
        let expected = (0..9).map(|index| index != 2);
        assert!(is_row.eq(expected), "{fields:?}");
    }

    /// Those above 2^31 were read as if they had a sign: all that are as before voted for one move.
    #[test]
    fn checksums_have_no_moves() {
        let region = region(1000);
        let copy = Copy { offset: 0, len: 1000, diagonal: 0 };
        let map = Map::of([copy], &region, &[], &[]);
        let checksums = (1_u32..9).map(|index| index << 28);
        let fields: Vec<_> = (0..).step_by(64).zip(checksums.clone()).collect();
        let fields = fields.iter().map(|(offset, checksum)| Field {
            offset: *offset,
            address: Region::CHECKSUMS + u64::from(*checksum),
            form: Form::Base32(Region::CHECKSUMS),
        });
        let bytes = checksums.flat_map(|checksum| {
            let mut entry = checksum.to_le_bytes().to_vec();
            entry.resize(64, 0);
            entry
        });
        let (fields, bytes) = (fields.collect::<Vec<_>>(), bytes.collect::<Vec<_>>());
        let mut votes = Votes::default();
        (0..8).for_each(|_| votes.count(&region, &map, &fields, 0, 0, &bytes));
        assert_eq!(votes.moves(&map, Worth::ZSTD), []);
    }
}
