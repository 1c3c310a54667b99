//! A region: an executable found in the source, its address space, and what stands where in it.

use super::field::Rows;
pub use super::kernel::Shape;
pub use super::reader::RegionReader;

/// Most loads of a region, beside the file itself.
const LOADS_MAX: usize = 16;

/// The processor whose code a region holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// 64-bit ARM.
    AArch64,
    /// 32-bit ARM, A32 and T32.
    Arm,
    /// Another one: only tables are rewritten.
    Other,
}

/// What stands in a stretch of a region. Entries have the sizes of the region's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The file's header.
    Header,
    /// Program headers.
    Programs,
    /// Section headers.
    Sections {
        /// The address of their names.
        names: u64,
    },
    /// Machine code.
    Code,
    /// Constants: may hold jump tables.
    Constants,
    /// Aligned pointers, among others.
    Pointers,
    /// Entries of a table of a Linux kernel that begin with distances from where they stand.
    Distances(Shape),
    /// Pointers and jump tables, as data of PE files is.
    Data,
    /// The table of functions of a PE file (`.pdata`).
    Functions {
        /// The address that its numbers count from.
        base: u64,
    },
    /// Relocations of loaded bytes.
    Relocations {
        /// The address of the symbol table that they point into.
        symbols: u64,
        /// Whether entries have an addend.
        addends: bool,
    },
    /// Relocations of one section of a relocatable file.
    SectionRelocations {
        /// The address of the symbol table that they point into.
        symbols: u64,
        /// The address of the section.
        section: u64,
        /// Its rows, if it is a table.
        rows: Option<Rows>,
    },
    /// Symbols.
    Symbols {
        /// The address of their names.
        names: u64,
    },
    /// The dynamic table.
    Dynamic {
        /// The address of the names it points into.
        names: u64,
    },
    /// Call frame information (`.eh_frame`).
    EhFrame,
    /// Its search table (`.eh_frame_hdr`).
    EhFrameHdr,
    /// The index of unwinding of 32-bit ARM (`.ARM.exidx`).
    ArmIndex,
    /// The tables that it points into (`.ARM.extab`).
    ArmTables,
    /// Types of BTF.
    Types,
    /// Checksums of the symbols that a kernel module uses (`__versions`).
    Versions,
}

/// A stretch of a region's bytes that are of one kind; spans do not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it starts, as an offset in the source image.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The address of its first byte.
    pub address: u64,
    /// What stands there.
    pub kind: Kind,
}

/// A stretch of the address space that is loaded from the region's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Where its bytes start, as an offset in the source image.
    pub offset: u64,
    /// Bytes in the image.
    pub len: u64,
    /// The address of its first byte.
    pub address: u64,
    /// Bytes of address space; what is beyond `len` is zero and has no bytes in the image.
    pub memory_len: u64,
    /// Whether it is executable.
    pub code: bool,
}

impl Load {
    /// Whether it loads this address. The end is not part of it.
    #[must_use]
    pub fn holds(&self, address: u64) -> bool {
        address.wrapping_sub(self.address) < self.memory_len
    }

    /// Whether its addresses keep clear of those of the file.
    pub(super) fn is_sound(&self) -> bool {
        self.address.checked_add(self.memory_len).is_some_and(|end| {
            end < Region::FILE || self.address > Region::FILE + u64::from(u32::MAX)
        })
    }
}

/// An executable in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Where it starts, as an offset in the source image.
    pub offset: u64,
    /// Its length in bytes; less than 4 GiB.
    pub len: u64,
    /// Its processor.
    pub arch: Arch,
    /// Whether addresses have 64 bits, not 32.
    pub is_wide: bool,
    /// Whether it is loaded where its headers say, so that its code may hold addresses whole.
    pub is_fixed: bool,
    /// Its address space, by address. The last one is the file itself, at [`Region::FILE`]: what
    /// is not loaded has its addresses there.
    pub loads: Vec<Load>,
    /// What stands where, by offset.
    pub spans: Vec<Span>,
    /// The address of each section of a relocatable file, by index; 0 where there is none.
    pub sections: Vec<u64>,
    /// Symbols that stand for a section of a relocatable file: their index and the section's
    /// address, by index.
    pub section_symbols: Vec<(u32, u64)>,
}

impl Region {
    /// The address of the file's first byte, for what is not loaded.
    pub const FILE: u64 = 1 << 62;

    /// The address of type 0 of BTF, for indices of types: they move by `moves` alone.
    pub const TYPES: u64 = 5 << 60;

    /// The address of the first name of BTF, for offsets of names.
    pub const NAMES: u64 = 6 << 60;

    /// The address of checksum 0 of a symbol.
    pub const CHECKSUMS: u64 = 7 << 60;

    /// A region of which nothing is known yet.
    pub(super) fn new(offset: u64) -> Self {
        Self {
            offset,
            len: 0,
            arch: Arch::Other,
            is_wide: false,
            is_fixed: false,
            loads: Vec::new(),
            spans: Vec::new(),
            sections: Vec::new(),
            section_symbols: Vec::new(),
        }
    }

    /// Sets length and address space: these loads by address, and the file behind them.
    pub(super) fn load(&mut self, len: u64, mut loads: Vec<Load>, is_file_code: bool) {
        let (offset, address, code) = (self.offset, Self::FILE, is_file_code);
        loads.sort_by_key(|load| load.address);
        loads.truncate(LOADS_MAX);
        loads.push(Load { offset, len, address, memory_len: len, code });
        (self.len, self.loads) = (len, loads);
    }

    /// Spans in order, without those that start in one before them.
    pub(super) fn apart(mut spans: Vec<Span>) -> Vec<Span> {
        spans.sort_by_key(|span| span.offset);
        let mut end = 0;
        spans.retain(|span| {
            let is_apart = span.offset >= end;
            if is_apart {
                end = span.offset.saturating_add(span.len);
            }
            is_apart
        });
        spans
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn memory_len(&self) -> usize {
        size_of_val(&self.loads[..])
            + size_of_val(&self.spans[..])
            + size_of_val(&self.sections[..])
            + size_of_val(&self.section_symbols[..])
    }

    /// Whether an address is an index of a type, or the offset of a name: no byte's address.
    #[must_use]
    pub fn is_index(address: u64) -> bool {
        (Self::TYPES >> 60..=Self::NAMES >> 60).contains(&(address >> 60))
    }

    /// Whether an address is the checksum of a symbol.
    #[must_use]
    pub fn is_checksum(address: u64) -> bool {
        address >> 60 == Self::CHECKSUMS >> 60
    }

    /// The byte behind the last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// The address of a byte of the source, in the first load that has it.
    #[must_use]
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        self.addresses_from(offset).map(|(address, _)| address)
    }

    /// The same, and how many bytes from there on have the addresses that follow.
    pub(super) fn addresses_from(&self, offset: u64) -> Option<(u64, u64)> {
        let mut count = u64::MAX;
        for load in &self.loads {
            let into = offset.wrapping_sub(load.offset);
            if into < load.len {
                return Some((load.address.wrapping_add(into), count.min(load.len - into)));
            }
            if load.offset > offset {
                count = count.min(load.offset - offset);
            }
        }
        None
    }

    /// Whether an address is one that is loaded.
    #[must_use]
    pub fn is_loaded(&self, address: u64) -> bool {
        self.loads.iter().any(|load| load.address != Self::FILE && load.holds(address))
    }

    /// Whether an address is one of code.
    #[must_use]
    pub fn is_code(&self, address: u64) -> bool {
        self.loads.iter().any(|load| load.code && load.holds(address))
    }
}

/// Asks a region of many addresses, most of which are in the load that the last one was in.
pub(super) struct Addresses<'a> {
    pub(super) region: &'a Region,
    /// The first address and how many there are, of the load last found.
    code: (u64, u64),
    loaded: (u64, u64),
}

impl<'a> Addresses<'a> {
    pub(super) fn of(region: &'a Region) -> Self {
        Self { region, code: (0, 0), loaded: (0, 0) }
    }

    /// As [`Region::is_loaded`].
    pub(super) fn is_loaded(&mut self, address: u64) -> bool {
        let is_loaded = |load: &Load| load.address != Region::FILE;
        Self::holds(&mut self.loaded, self.region, address, is_loaded)
    }

    /// As [`Region::is_code`].
    pub(super) fn is_code(&mut self, address: u64) -> bool {
        Self::holds(&mut self.code, self.region, address, |load| load.code)
    }

    fn holds(
        last: &mut (u64, u64),
        region: &Region,
        address: u64,
        counts: impl Fn(&Load) -> bool,
    ) -> bool {
        if address.wrapping_sub(last.0) < last.1 {
            return true;
        }
        let load = region.loads.iter().find(|load| counts(load) && load.holds(address));
        if let Some(load) = load {
            *last = (load.address, load.memory_len);
        }
        load.is_some()
    }
}
