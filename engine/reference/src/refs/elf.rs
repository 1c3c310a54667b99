//! Headers of ELF files (9.2): loads, spans, and what relocatable files have.

use super::form::Rows;
use super::region::{FILE, Kind, Load, Machine, Reader, Region, Span, number};
use crate::Result;
use crate::bytes::memory;

/// Most of a table that is read, in bytes.
const TABLE_LEN_MAX: u64 = 64 << 10;

const PROGRAMS_MAX: u64 = 64;
const SECTIONS_MAX: u64 = 1024;
const LOADS_MAX: usize = 16;

/// A section header, with what it says about addresses made out.
struct Section<'a> {
    name: &'a [u8],
    kind: u64,
    flags: u64,
    /// From the region's start.
    offset: u64,
    /// 0 where the section has no bytes.
    len: u64,
    link: u64,
    info: u64,
}

/// A table of headers: where it is from the region's start, its bytes, and the length of one.
struct Table<'a> {
    offset: u64,
    bytes: &'a [u8],
    entry_len: u64,
}

/// Reads the headers of a file, unless they do not fit.
pub(super) fn read(reader: &mut Reader<'_>, head: &[u8]) -> Result<()> {
    let is_wide = match head.get(4..6) {
        Some([1, 1]) => false,
        Some([2, 1]) => true,
        _ => return Ok(()),
    };
    let (header_len, word_len) = if is_wide { (64, 8) } else { (52, 4) };
    let field = |at, len| number(head, at, len).unwrap_or(0);
    reader.holds(0, header_len);
    let region = &mut reader.region;
    region.is_wide = is_wide;
    region.is_relocatable = field(16, 2) == 1;
    region.is_fixed = field(16, 2) == 2;
    region.machine = match (field(18, 2), is_wide) {
        (62, true) => Machine::X86_64,
        (183, true) => Machine::AArch64,
        (40, false) => Machine::Arm,
        _ => Machine::Other,
    };
    let behind = 24 + 3 * word_len + 4;
    let counts = |at| (field(behind + at, 2), field(behind + at + 2, 2));
    let programs = match region.is_relocatable {
        true => None,
        false => table(reader, field(24 + word_len, word_len), counts(2), [32, 56], PROGRAMS_MAX)?,
    };
    let sections =
        table(reader, field(24 + 2 * word_len, word_len), counts(6), [40, 64], SECTIONS_MAX)?;
    let mut spans = Vec::new();
    read_loads(reader, programs.as_ref());
    match &sections {
        Some(sections) => spans = read_sections(reader, sections, field(behind + 10, 2))?,
        None => spans.extend(reader.region.loads.iter().map(span_of_load)),
    }
    let start = reader.region.range.start;
    let file_header = (Kind::FileHeader, 0, header_len);
    let tables = [(Kind::Programs, programs), (Kind::Sections, sections)];
    let tables = tables.iter().filter_map(|(kind, table)| {
        table.as_ref().map(|table| (*kind, table.offset, table.bytes.len() as u64))
    });
    spans.extend([file_header].into_iter().chain(tables).map(|(kind, offset, len)| Span {
        kind,
        offset: start + offset,
        len,
        address: FILE + offset,
        link: 0,
        info: 0,
        rows: None,
    }));
    reader.region.spans = Span::apart(spans);
    Ok(())
}

/// A table at `offset` of entries of a size, so many: narrow or wide ones.
fn table<'a>(
    reader: &mut Reader<'a>,
    offset: u64,
    (size, count): (u64, u64),
    sizes: [u64; 2],
    count_max: u64,
) -> Result<Option<Table<'a>>> {
    let entry_len = sizes[usize::from(reader.region.is_wide)];
    let len = count.min(count_max) * entry_len;
    if offset == 0 || size != entry_len || len == 0 || !reader.holds(offset, len) {
        return Ok(None);
    }
    Ok(Some(Table { offset, bytes: reader.part(offset, len)?, entry_len }))
}

impl<'a> Table<'a> {
    /// Each entry, as what reads a number of it.
    fn entries(&self) -> impl Iterator<Item = impl Fn(u64, u64) -> u64 + 'a> {
        let bytes = self.bytes;
        let starts = (0..bytes.len() as u64 / self.entry_len).map(|index| index * self.entry_len);
        starts.map(move |start| move |at, len| number(bytes, start + at, len).unwrap_or(0))
    }
}

fn read_loads(reader: &mut Reader<'_>, programs: Option<&Table<'_>>) {
    let (start, is_wide) = (reader.region.range.start, reader.region.is_wide);
    let mut loads = Vec::new();
    for entry in programs.iter().flat_map(|programs| programs.entries()) {
        let word = |narrow, wide| if is_wide { entry(wide, 8) } else { entry(narrow, 4) };
        let (offset, address) = (word(4, 8), word(8, 16));
        let (file_len, memory_len) = (word(16, 32), word(20, 40));
        let flags = if is_wide { entry(4, 4) } else { entry(24, 4) };
        let len = memory_len.max(file_len);
        let is_apart = |end: u64| end < FILE || address >= FILE + (1 << 32);
        let is_sound = address.checked_add(len).is_some_and(is_apart);
        if entry(0, 4) == 1 && file_len > 0 && is_sound && reader.holds(offset, file_len) {
            let (offset, is_code) = (start + offset, flags & 1 != 0);
            loads.push(Load { offset, file_len, address, len, is_code });
        }
    }
    loads.sort_by_key(|load| load.address);
    loads.truncate(LOADS_MAX);
    reader.region.loads = loads;
}

fn span_of_load(load: &Load) -> Span {
    Span {
        kind: if load.is_code { Kind::Code } else { Kind::Pointers },
        offset: load.offset,
        len: load.file_len,
        address: load.address,
        link: 0,
        info: 0,
        rows: None,
    }
}

/// The spans that sections make; notes where sections and their names are.
fn read_sections(reader: &mut Reader<'_>, table: &Table<'_>, names: u64) -> Result<Vec<Span>> {
    let is_wide = reader.region.is_wide;
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut addresses = Vec::new();
    let mut name_offsets = Vec::new();
    for entry in table.entries() {
        let word = |narrow, wide| if is_wide { entry(wide, 8) } else { entry(narrow, 4) };
        let (kind, offset, len) = (entry(4, 4), word(16, 24), word(20, 32));
        let len = if matches!(kind, 0 | 8) { 0 } else { len };
        let (link, info) = if is_wide { (40, 44) } else { (24, 28) };
        let (flags, link, info) = (word(8, 8), entry(link, 4), entry(info, 4));
        // What is not wholly in the region is no section.
        let is_here = len == 0 || reader.holds(offset, len);
        let (kind, flags) = if is_here { (kind, flags) } else { (0, 0) };
        addresses.push(match kind {
            _ if flags & 2 != 0 && !reader.region.is_relocatable => word(12, 16),
            0 => 0,
            _ => FILE.wrapping_add(offset),
        });
        name_offsets.push(entry(0, 4));
        let (offset, len) = if is_here { (offset, len) } else { (0, 0) };
        sections.push(Section { name: &[], kind, flags, offset, len, link, info });
    }
    if let Some(section) = sections.get(memory(names)) {
        reader.region.names = FILE.wrapping_add(section.offset);
        let bytes = reader.part(section.offset, section.len.min(TABLE_LEN_MAX))?;
        for (section, at) in sections.iter_mut().zip(name_offsets) {
            let name = bytes.get(memory(at)..).unwrap_or_default();
            section.name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        }
    }
    let address = |index: u64| addresses.get(memory(index)).copied().unwrap_or(0);
    let mut spans = Vec::new();
    for (section, own) in sections.iter().zip(&addresses) {
        if section.len == 0 || section.flags & 0x800 != 0 {
            continue;
        }
        let Some(kind) = section.span(&reader.region) else { continue };
        spans.push(Span {
            kind,
            offset: reader.region.range.start + section.offset,
            len: section.len,
            address: *own,
            link: address(section.link),
            info: address(section.info),
            rows: sections.get(memory(section.info)).and_then(|table| rows(section.len, table)),
        });
    }
    if reader.region.is_relocatable {
        if let Some(symbols) = sections.iter().find(|section| section.kind == 2) {
            let bytes = reader.part(symbols.offset, symbols.len.min(TABLE_LEN_MAX))?;
            let section_of = |symbol: &[u8]| {
                let index = number(symbol, 6, 2)?;
                let section = sections.get(memory(index))?;
                (symbol[4] & 15 == 3 && section.len > 0).then(|| address(index))
            };
            reader.region.section_symbols = bytes.chunks_exact(24).map(section_of).collect();
        }
        if is_wide {
            reader.region.sections = addresses;
        }
    }
    Ok(spans)
}

/// The rows of a section that has relocations of so many bytes, if it is a table (9.3.3).
fn rows(len: u64, table: &Section<'_>) -> Option<Rows> {
    let entries = len / 24;
    (1..=3).find_map(|count| {
        let rows = entries / count;
        let is_table = table.flags & 4 == 0 && rows > 0 && entries.is_multiple_of(count);
        let len = table.len.checked_div(rows).filter(|len| len * rows == table.len)?;
        (is_table && (1..=64).contains(&len)).then_some(Rows { count, len })
    })
}

impl Section<'_> {
    /// What the section holds: the first row that fits.
    fn span(&self, region: &Region) -> Option<Kind> {
        const ARM_INDEX: u64 = 0x7000_0001;
        let (is_plain, is_allocated) = (self.kind == 1, self.flags & 2 != 0);
        let is_final = is_plain && is_allocated && region.is_wide && !region.is_relocatable;
        if let Some((len, count)) = distances(self.name, self.len).filter(|_| is_final) {
            return Some(Kind::Distances { len, count });
        }
        Some(match (self.kind, self.name) {
            (1 | ARM_INDEX, b".eh_frame") if is_allocated => Kind::CallFrames,
            (1, b".eh_frame_hdr") if is_allocated => Kind::SearchTable,
            (ARM_INDEX, _) if is_allocated && region.machine == Machine::Arm => Kind::UnwindIndex,
            (1, b".BTF") => Kind::Types,
            (1, b"__versions") if region.is_relocatable => Kind::Versions,
            (1, b".ARM.extab") if is_allocated => Kind::UnwindTables,
            _ if is_plain && is_allocated && self.flags & 4 != 0 => Kind::Code,
            _ if is_plain && is_allocated && self.flags & 1 != 0 => Kind::Pointers,
            (1, name) if is_allocated && name.starts_with(b".rodata") => Kind::Constants,
            (14 | 15 | 16 | 19, _) => Kind::Pointers,
            (4, _) if region.is_relocatable => Kind::SectionRelocations,
            (9, _) if region.is_relocatable => return None,
            (4, _) => Kind::Relocations { has_addends: true },
            (9, _) => Kind::Relocations { has_addends: false },
            (2 | 11, _) => Kind::Symbols,
            (6, _) => Kind::Dynamic,
            _ => return None,
        })
    }
}

/// Length of an entry of a kernel's table, and how many distances it begins with (9.3.10).
fn distances(name: &[u8], len: u64) -> Option<(u64, u64)> {
    Some(match name {
        b".orc_unwind_ip" | b".return_sites" | b".retpoline_sites" | b".call_sites" => (4, 1),
        b".ibt_endbr_seal" | b".cfi_sites" | b".smp_locks" => (4, 1),
        b"__ksymtab" | b"__ksymtab_gpl" => (12, 3),
        b"__ex_table" | b"__bug_table" => (12, 2),
        b".altinstructions" if len.is_multiple_of(12) => (12, 2),
        b".altinstructions" => (14, 2),
        _ => return None,
    })
}
