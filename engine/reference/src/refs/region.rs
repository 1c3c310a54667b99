//! A region (9.2): what of an executable is where, in the source and in memory.

use std::ops::Range;

use super::form::Rows;
use super::{btf, elf, pe};
use crate::Result;
use crate::bytes::memory;
use crate::header::Header;

/// Address of what is not loaded: that of the region's first byte.
pub(super) const FILE: u64 = 1 << 62;

/// Bytes at the front that are read before all others.
const HEAD_LEN: u64 = 64;

/// What an instruction is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    AArch64,
    Arm,
    Other,
}

pub(super) struct Load {
    /// Of its first byte in the source.
    pub(super) offset: u64,
    /// Bytes of it in the source; never 0.
    pub(super) file_len: u64,
    pub(super) address: u64,
    pub(super) len: u64,
    pub(super) is_code: bool,
}

/// What a span holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    CallFrames,
    SearchTable,
    UnwindIndex,
    UnwindTables,
    Types,
    Code,
    Pointers,
    /// Entries of `len` bytes that begin with `count` distances.
    Distances {
        len: u64,
        count: u64,
    },
    Constants,
    Data,
    Functions,
    SectionRelocations,
    Versions,
    Relocations {
        has_addends: bool,
    },
    Symbols,
    Dynamic,
    FileHeader,
    Programs,
    Sections,
}

pub(super) struct Span {
    pub(super) kind: Kind,
    /// Of its first byte in the source.
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) address: u64,
    /// Address of the section that it links to, and of the one it is for; 0 for none.
    pub(super) link: u64,
    pub(super) info: u64,
    /// The rows of the section that it is for, if that is a table.
    pub(super) rows: Option<Rows>,
}

impl Span {
    /// The spans by offset, without those that start before the end of one that is kept.
    pub(super) fn apart(mut spans: Vec<Self>) -> Vec<Self> {
        spans.sort_by_key(|span| span.offset);
        let mut end = 0;
        spans.retain(|span| {
            let is_free = span.offset >= end;
            end = if is_free { span.offset + span.len } else { end };
            is_free
        });
        spans
    }
}

pub(super) struct Region {
    /// From its start in the source to the end of the last thing that its headers name.
    pub(super) range: Range<u64>,
    pub(super) is_wide: bool,
    pub(super) machine: Machine,
    pub(super) is_fixed: bool,
    pub(super) is_relocatable: bool,
    /// By address; behind them the region as a whole.
    pub(super) loads: Vec<Load>,
    /// By offset; they do not overlap.
    pub(super) spans: Vec<Span>,
    /// Addresses of the sections, by index, 0 for none.
    pub(super) sections: Vec<u64>,
    /// Where the names of sections are.
    pub(super) names: u64,
    /// Addresses of the sections that symbols stand for, by the symbol's index.
    pub(super) section_symbols: Vec<Option<u64>>,
}

impl Region {
    /// Reads the headers of what is in this range of the source.
    pub(super) fn read(header: &Header, source: &[u8], range: Range<u64>) -> Result<Self> {
        let region = Self {
            // What is known of it; so far nothing.
            range: range.start..range.start,
            is_wide: false,
            machine: Machine::Other,
            is_fixed: false,
            is_relocatable: false,
            loads: Vec::new(),
            spans: Vec::new(),
            sections: Vec::new(),
            names: FILE,
            section_symbols: Vec::new(),
        };
        let len = (range.end - range.start).min(u32::MAX.into());
        let mut reader = Reader { header, source, len, region };
        if len < HEAD_LEN {
            return Ok(reader.region);
        }
        let head = reader.part(0, HEAD_LEN)?;
        if head.starts_with(b"\x7fELF") {
            elf::read(&mut reader, head)?;
        } else if head.starts_with(b"MZ") {
            pe::read(&mut reader, head)?;
        } else if let Some(span) = btf::span(&mut reader, head) {
            reader.region.spans.push(span);
        }
        let mut region = reader.region;
        let len = region.len();
        let is_code = region.is_relocatable;
        let whole = Load { offset: range.start, file_len: len, address: FILE, len, is_code };
        region.loads.push(whole);
        Ok(region)
    }

    /// Length of what is known of it.
    pub(super) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Length of a word.
    pub(super) fn word_len(&self) -> u64 {
        if self.is_wide { 8 } else { 4 }
    }

    /// The load that the map takes an address to be in (9.4), and its index.
    pub(super) fn load_of(&self, address: u64) -> Option<(usize, &Load)> {
        let before = self.loads.iter().enumerate().filter(|(_, load)| load.address <= address);
        let (index, load) = before.max_by_key(|(_, load)| load.address)?;
        (address - load.address <= load.len).then_some((index, load))
    }

    /// The address of a byte of the source.
    pub(super) fn address_of(&self, offset: u64) -> u64 {
        let has = |load: &&Load| load.offset <= offset && offset - load.offset < load.file_len;
        let load = self.loads.iter().find(has);
        load.map_or(0, |load| load.address.wrapping_add(offset - load.offset))
    }

    pub(super) fn is_loaded(&self, address: u64) -> bool {
        self.loads.iter().any(|load| load.address != FILE && load.has(address))
    }

    pub(super) fn is_code(&self, address: u64) -> bool {
        self.loads.iter().any(|load| load.is_code && load.has(address))
    }
}

impl Load {
    fn has(&self, address: u64) -> bool {
        self.address <= address && address - self.address < self.len
    }
}

/// Reads parts of a region, which must lie in the source map.
pub(super) struct Reader<'a> {
    header: &'a Header,
    source: &'a [u8],
    /// Length of the region as the frame lists it.
    pub(super) len: u64,
    pub(super) region: Region,
}

impl<'a> Reader<'a> {
    /// Bytes from `offset` of the region on.
    pub(super) fn part(&self, offset: u64, len: u64) -> Result<&'a [u8]> {
        match len {
            0 => Ok(&[]),
            _ => self.header.used(self.source, self.region.range.start + offset, len),
        }
    }

    /// Whether this part lies within the region; then the region is known to reach to its end.
    pub(super) fn holds(&mut self, offset: u64, len: u64) -> bool {
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        let range = &mut self.region.range;
        range.end = range.end.max(range.start + end.unwrap_or(0));
        end.is_some()
    }
}

/// The little-endian number of `len` bytes at `at`; nothing if it is not all there.
pub(super) fn number(bytes: &[u8], at: u64, len: u64) -> Option<u64> {
    let end = at.checked_add(len).filter(|end| *end <= bytes.len() as u64)?;
    let bytes = &bytes[memory(at)..memory(end)];
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
