//! ELF headers, read step by step: from a file's first bytes to its address space and its spans.
//!
//! Everything is bounded and nothing is refused: what is malformed, or lies outside the image, is
//! left out. Layouts: "System V Application Binary Interface", chapters 4 and 5.

use super::field::Rows;
use super::kernel;
use super::region::{Arch, Kind, Load, Region, Span};

/// Most program headers that are read.
const PROGRAMS_MAX: u16 = 64;

/// Most section headers that are read: as many as one read brings.
const SECTIONS_MAX: u16 = 1024;

/// Most bytes that are wanted at once.
const READ_LEN_MAX: u64 = 64 << 10;

/// Bytes of a relocation in a wide relocatable file.
const RELOCATION_LEN: u64 = 24;

/// Most relocations of a row of a table.
const ROW_COUNT_MAX: u8 = 3;

/// Most bytes of a row.
const ROW_LEN_MAX: u8 = 64;

/// Bytes of an entry of a wide symbol table.
const SYMBOL_LEN: usize = 24;

/// Reads the headers of an ELF file that starts at an offset of an image.
///
/// Ask for [`ElfReader::want`] and [`ElfReader::give`] that, until nothing is wanted.
#[derive(Debug)]
pub(super) struct ElfReader {
    image_size: u64,
    step: Step,
    header: Header,
    loads: Vec<Load>,
    /// Where bytes of the file end that anything is known of.
    end: u64,
    sections: Vec<Section>,
    names: Vec<u8>,
    region: Region,
}

/// What is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Header,
    Programs,
    Sections,
    Names,
    Symbols,
    Done,
}

/// What of the file header is used.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    is_relocatable: bool,
    programs: Table,
    sections: Table,
    names_index: u16,
}

/// A table of the file: its offset in the file, and entries.
#[derive(Debug, Clone, Copy, Default)]
struct Table {
    offset: u64,
    entry_len: u16,
    count: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct Section {
    name: u32,
    kind: u32,
    flags: u64,
    address: u64,
    /// In the file.
    offset: u64,
    len: u64,
    link: u32,
    info: u32,
}

impl ElfReader {
    /// A reader of the file at byte `offset` of an image, of which bytes up to `image_size` may be
    /// read.
    pub(super) fn new(offset: u64, image_size: u64) -> Self {
        let region = Region::new(offset);
        let (loads, sections, names) = (Vec::new(), Vec::new(), Vec::new());
        let (step, header) = (Step::Header, Header::default());
        let mut reader = Self { image_size, step, header, loads, end: 0, sections, names, region };
        reader.skip_empty();
        reader
    }

    /// Which bytes of the image are needed next, at most 64 KiB, if any: offset and length.
    pub(super) fn want(&self) -> Option<(u64, usize)> {
        let (offset, len) = self.wanted();
        let is_wanted = self.step != Step::Done;
        is_wanted.then(|| Some((offset, usize::try_from(len).ok()?)))?
    }

    /// Takes the bytes that were wanted.
    pub(super) fn give(&mut self, bytes: &[u8]) {
        match self.step {
            Step::Header => self.take_header(bytes),
            Step::Programs => self.take_programs(bytes),
            Step::Sections => self.take_sections(bytes),
            Step::Names => self.names = bytes.to_vec(),
            Step::Symbols => self.take_symbols(bytes),
            Step::Done => return,
        }
        self.advance();
        self.skip_empty();
    }

    /// Whether the section that has the names of sections has its own.
    pub(super) fn is_whole(&self) -> bool {
        let names = self.section(self.header.names_index.into());
        names.kind == STRTAB && self.name(names.name) == b".shstrtab"
    }

    /// The region, once nothing more is wanted; none where no executable starts.
    pub(super) fn finish(mut self) -> Option<Region> {
        if self.step != Step::Done || self.end == 0 {
            return None;
        }
        self.region.spans = self.spans();
        let Self { mut region, end, loads, header, .. } = self;
        region.load(end, loads, header.is_relocatable);
        Some(region)
    }

    /// Bytes that this step needs: offset in the image and length, 0 if they are not all there.
    fn wanted(&self) -> (u64, u64) {
        let (at, len) = match self.step {
            Step::Header => (0, 64),
            Step::Programs => self.header.programs.range(),
            Step::Sections => self.header.sections.range(),
            Step::Names => self.section(self.header.names_index.into()).range(),
            Step::Symbols => self.symbols().map_or((0, 0), Section::range),
            Step::Done => (0, 0),
        };
        let len = len.min(READ_LEN_MAX);
        let offset = self.region.offset.saturating_add(at);
        let is_within = offset.saturating_add(len) <= self.image_size;
        (offset, if is_within { len } else { 0 })
    }

    fn advance(&mut self) {
        self.step = match self.step {
            Step::Header if self.end == 0 => Step::Done,
            Step::Header => Step::Programs,
            Step::Programs => Step::Sections,
            Step::Sections => Step::Names,
            Step::Names if self.header.is_relocatable => Step::Symbols,
            Step::Names | Step::Symbols | Step::Done => Step::Done,
        };
    }

    fn skip_empty(&mut self) {
        while self.step != Step::Done && self.wanted().1 == 0 {
            self.advance();
        }
    }

    fn section(&self, index: u32) -> Section {
        let index = usize::try_from(index).ok();
        index.and_then(|index| self.sections.get(index)).copied().unwrap_or_default()
    }

    /// The symbol table of a relocatable file.
    fn symbols(&self) -> Option<Section> {
        self.sections.iter().find(|section| section.kind == SYMTAB).copied()
    }

    /// Whether these bytes of the file are in the image; then the region reaches to their end.
    fn covers(&mut self, offset: u64, len: u64) -> bool {
        let end = offset.saturating_add(len);
        let is_within = self.region.offset.saturating_add(end) <= self.image_size;
        if is_within {
            self.end = self.end.max(end);
        }
        is_within
    }

    fn take_header(&mut self, bytes: &[u8]) {
        let fields = Fields { bytes, is_wide: bytes.get(4) == Some(&2) };
        let is_elf = bytes.starts_with(b"\x7fELF") && matches!(bytes.get(4), Some(1 | 2));
        // Byte 5: little-endian.
        if !is_elf || bytes.get(5) != Some(&1) {
            return;
        }
        let is_wide = fields.is_wide;
        self.region.is_wide = is_wide;
        self.region.arch = match (fields.u16(18), is_wide) {
            (62, true) => Arch::X86_64,
            (183, true) => Arch::AArch64,
            (40, false) => Arch::Arm,
            _ => Arch::Other,
        };
        let table = |at: usize, entry_len: usize, most: u16| Table {
            offset: fields.word(at, at),
            entry_len: fields.u16(entry_len),
            count: fields.u16(entry_len + 2).min(most),
        };
        let (programs, sections) = if is_wide {
            (table(32, 54, PROGRAMS_MAX), table(40, 58, SECTIONS_MAX))
        } else {
            (table(28, 42, PROGRAMS_MAX), table(32, 46, SECTIONS_MAX))
        };
        let names_index = fields.u16(if is_wide { 62 } else { 50 });
        let is_relocatable = fields.u16(16) == 1;
        self.region.is_fixed = fields.u16(16) == 2;
        let (program_len, section_len) = if is_wide { (56, 64) } else { (32, 40) };
        let known = |table: Table, len| {
            let is_known = table.entry_len == len && table.offset > 0;
            if is_known { table } else { Table::default() }
        };
        self.header = Header {
            is_relocatable,
            // A relocatable file has no addresses yet.
            programs: known(if is_relocatable { Table::default() } else { programs }, program_len),
            sections: known(sections, section_len),
            names_index,
        };
        self.covers(0, if is_wide { 64 } else { 52 });
    }

    fn take_programs(&mut self, bytes: &[u8]) {
        const LOAD: u32 = 1;
        let is_wide = self.region.is_wide;
        let (offset, len) = self.header.programs.range();
        self.covers(offset, len);
        for bytes in bytes.chunks_exact(self.header.programs.entry_len.max(1).into()) {
            let fields = Fields { bytes, is_wide };
            let flags = fields.u32(if is_wide { 4 } else { 24 });
            let (file_offset, len) = (fields.word(8, 4), fields.word(32, 16));
            let load = Load {
                offset: self.region.offset.saturating_add(file_offset),
                len,
                address: fields.word(16, 8),
                memory_len: fields.word(40, 20).max(len),
                code: flags & 1 == 1,
            };
            let is_load = fields.u32(0) == LOAD && load.len > 0 && load.is_sound();
            if is_load && self.covers(file_offset, len) {
                self.loads.push(load);
            }
        }
    }

    fn take_sections(&mut self, bytes: &[u8]) {
        let is_wide = self.region.is_wide;
        let (offset, len) = self.header.sections.range();
        self.covers(offset, len);
        for bytes in bytes.chunks_exact(self.header.sections.entry_len.max(1).into()) {
            let fields = Fields { bytes, is_wide };
            let mut section = Section {
                name: fields.u32(0),
                kind: fields.u32(4),
                flags: fields.word(8, 8),
                address: fields.word(16, 12),
                offset: fields.word(24, 16),
                len: fields.word(32, 20),
                link: fields.u32(if is_wide { 40 } else { 24 }),
                info: fields.u32(if is_wide { 44 } else { 28 }),
            };
            if section.kind == NOBITS || section.kind == 0 {
                section.len = 0;
            }
            if section.len > 0 && !self.covers(section.offset, section.len) {
                section = Section::default();
            }
            self.sections.push(section);
        }
        if self.header.is_relocatable {
            let addresses = self.sections.iter().map(|section| self.address_of(*section));
            self.region.sections = addresses.collect();
        }
    }

    /// Notes which symbols stand for sections.
    fn take_symbols(&mut self, bytes: &[u8]) {
        const SECTION: u8 = 3;
        if !self.region.is_wide {
            return;
        }
        for (index, bytes) in (0_u32..).zip(bytes.as_chunks::<SYMBOL_LEN>().0) {
            let fields = Fields { bytes, is_wide: true };
            let section = self.section(fields.u16(6).into());
            if bytes.get(4).is_some_and(|info| info & 15 == SECTION) && section.len > 0 {
                self.region.section_symbols.push((index, self.address_of(section)));
            }
        }
    }

    /// Where a section starts in the address space, or in the file's own where it is not loaded.
    fn address_of(&self, section: Section) -> u64 {
        if section.flags & ALLOC != 0 && !self.header.is_relocatable {
            section.address
        } else if section.kind == 0 {
            0
        } else {
            Region::FILE.wrapping_add(section.offset)
        }
    }

    /// The spans, by offset, none over another: of two the first is kept.
    fn spans(&self) -> Vec<Span> {
        let base = self.region.offset;
        let mut spans: Vec<Span> = self
            .sections
            .iter()
            .filter(|section| section.len > 0 && section.flags & COMPRESSED == 0)
            .filter_map(|section| {
                let (len, address) = (section.len, self.address_of(*section));
                let offset = base.saturating_add(section.offset);
                Some(Span { offset, len, address, kind: self.kind(section)? })
            })
            .collect();
        if self.sections.is_empty() {
            // All but the file itself.
            let loads = self.loads.iter().filter(|load| load.address != Region::FILE);
            spans.extend(loads.map(|load| Span {
                offset: load.offset,
                len: load.len,
                address: load.address,
                kind: if load.code { Kind::Code } else { Kind::Pointers },
            }));
        }
        let headers = self.headers();
        spans.extend(headers.into_iter().filter(|span| {
            span.len > 0 && span.offset.saturating_add(span.len) <= base.saturating_add(self.end)
        }));
        Region::apart(spans)
    }

    /// The spans of the headers themselves.
    fn headers(&self) -> [Span; 3] {
        let names = Region::FILE.wrapping_add(self.section(self.header.names_index.into()).offset);
        let (sections, programs) = (self.header.sections.range(), self.header.programs.range());
        let header_len = if self.region.is_wide { 64 } else { 52 };
        [
            ((0, header_len), Kind::Header),
            (programs, Kind::Programs),
            (sections, Kind::Sections { names }),
        ]
        .map(|((at, len), kind)| Span {
            offset: self.region.offset.saturating_add(at),
            len,
            address: Region::FILE.saturating_add(at),
            kind,
        })
    }

    fn kind(&self, section: &Section) -> Option<Kind> {
        let name = self.name(section.name);
        let is_loaded = section.flags & ALLOC != 0;
        let linked = || self.address_of(self.section(section.link));
        let is_final = is_loaded && !self.header.is_relocatable && self.region.is_wide;
        if section.kind == PROGBITS
            && is_final
            && let Some(shape) = kernel::distances(name, section.len)
        {
            return Some(Kind::Distances(shape));
        }
        match section.kind {
            PROGBITS | UNWIND if is_loaded && name == b".eh_frame" => Some(Kind::EhFrame),
            PROGBITS if is_loaded && name == b".eh_frame_hdr" => Some(Kind::EhFrameHdr),
            // The same number is ARM's type for the index of unwinding.
            UNWIND if is_loaded && self.region.arch == Arch::Arm => Some(Kind::ArmIndex),
            PROGBITS if name == b".BTF" => Some(Kind::Types),
            PROGBITS if name == b"__versions" && self.header.is_relocatable => Some(Kind::Versions),
            PROGBITS if is_loaded && name == b".ARM.extab" => Some(Kind::ArmTables),
            PROGBITS if is_loaded && section.flags & EXECUTED != 0 => Some(Kind::Code),
            PROGBITS if is_loaded && section.flags & WRITTEN != 0 => Some(Kind::Pointers),
            PROGBITS if is_loaded && name.starts_with(b".rodata") => Some(Kind::Constants),
            INIT_ARRAY | FINI_ARRAY | PREINIT_ARRAY | RELR => Some(Kind::Pointers),
            RELA | REL if self.header.is_relocatable => {
                let target = self.section(section.info);
                (section.kind == RELA).then(|| Kind::SectionRelocations {
                    symbols: linked(),
                    section: self.address_of(target),
                    rows: rows(section, &target),
                })
            }
            RELA | REL => {
                Some(Kind::Relocations { symbols: linked(), addends: section.kind == RELA })
            }
            SYMTAB | DYNSYM => Some(Kind::Symbols { names: linked() }),
            DYNAMIC => Some(Kind::Dynamic { names: linked() }),
            _ => None,
        }
    }

    fn name(&self, at: u32) -> &[u8] {
        let rest = usize::try_from(at).ok().and_then(|at| self.names.get(at..)).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// How the relocations of a section go together with its rows, if it is a table of such: the
/// kernel's tables of places in its code are.
fn rows(relocations: &Section, section: &Section) -> Option<Rows> {
    let count = relocations.len / RELOCATION_LEN;
    if section.flags & EXECUTED != 0 || section.len == 0 {
        return None;
    }
    (1..=ROW_COUNT_MAX).find_map(|of_row| {
        let rows = count / u64::from(of_row);
        let is_even = rows > 0 && count.is_multiple_of(of_row.into());
        let len = (is_even && section.len.is_multiple_of(rows)).then(|| section.len / rows)?;
        let len = u8::try_from(len).ok().filter(|len| *len <= ROW_LEN_MAX)?;
        Some(Rows { count: of_row, len })
    })
}

impl Table {
    fn range(self) -> (u64, u64) {
        (self.offset, u64::from(self.entry_len) * u64::from(self.count))
    }
}

impl Section {
    fn range(self) -> (u64, u64) {
        (self.offset, self.len)
    }
}

/// Little-endian fields of a header; what is behind its end is 0.
pub(super) struct Fields<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) is_wide: bool,
}

impl Fields<'_> {
    fn number<const LEN: usize>(&self, at: usize) -> [u8; LEN] {
        let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.copied().unwrap_or([0; LEN])
    }

    pub(super) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.number(at))
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.number(at))
    }

    /// A field of 8 bytes at `wide`, or of 4 bytes at `narrow`.
    pub(super) fn word(&self, wide: usize, narrow: usize) -> u64 {
        if self.is_wide { u64::from_le_bytes(self.number(wide)) } else { self.u32(narrow).into() }
    }
}

// Types of sections, and flags.
const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const RELA: u32 = 4;
const DYNAMIC: u32 = 6;
const NOBITS: u32 = 8;
const REL: u32 = 9;
const DYNSYM: u32 = 11;
const INIT_ARRAY: u32 = 14;
const FINI_ARRAY: u32 = 15;
const PREINIT_ARRAY: u32 = 16;
const RELR: u32 = 19;
/// The x86-64 supplement's own type for `.eh_frame`.
const UNWIND: u32 = 0x7000_0001;
const WRITTEN: u64 = 1;
const ALLOC: u64 = 2;
const EXECUTED: u64 = 4;
const COMPRESSED: u64 = 0x800;
