//! Headers of PE files (9.2.1), and their table of functions (9.3.2).

use super::form::Form;
use super::region::{FILE, Kind, Load, Machine, Reader, Span, number};
use super::scan::Scan;
use crate::Result;
use crate::bytes::memory;

const SECTIONS_MAX: u64 = 96;
const SECTION_LEN: u64 = 40;
const OPTIONAL_LEN_MAX: u64 = 4096;
const LOADS_MAX: usize = 16;

/// Bytes of the signature and what stands in front of the optional header.
const FILE_HEADER_LEN: u64 = 24;

/// The headers that follow the file's front: the machine's number, the optional header, and those
/// of the sections.
struct Headers<'a> {
    machine: u64,
    optional: &'a [u8],
    sections: &'a [u8],
}

impl<'a> Headers<'a> {
    fn read(reader: &mut Reader<'a>, front: &[u8]) -> Result<Option<Self>> {
        let at = number(front, 60, 4).unwrap_or(0);
        if front.len() < 64 || !reader.holds(at, FILE_HEADER_LEN) {
            return Ok(None);
        }
        let header = reader.part(at, FILE_HEADER_LEN)?;
        let field = |at| number(header, at, 2).unwrap_or(0);
        let (machine, count, optional_len) = (field(4), field(6).min(SECTIONS_MAX), field(20));
        let (start, len) = (at + FILE_HEADER_LEN, optional_len + count * SECTION_LEN);
        let is_sound = header.starts_with(b"PE\0\0") && optional_len <= OPTIONAL_LEN_MAX;
        if !is_sound || !reader.holds(start, len) {
            return Ok(None);
        }
        let (optional, sections) = reader.part(start, len)?.split_at(memory(optional_len));
        Ok(Some(Self { machine, optional, sections }))
    }

    /// A number of the optional header; behind its end is 0.
    fn optional(&self, at: u64, len: u64) -> u64 {
        let bytes = self.optional.get(memory(at)..).unwrap_or_default();
        let bytes: Vec<u8> = bytes.iter().copied().chain([0; 8]).take(8).collect();
        number(&bytes, 0, len).unwrap_or(0)
    }
}

/// Reads the headers of a file that starts with these bytes; if they hold, the region is it.
pub(super) fn read(reader: &mut Reader<'_>, front: &[u8]) -> Result<()> {
    let Some(headers) = Headers::read(reader, front)? else { return Ok(()) };
    let optional = |at, len| headers.optional(at, len);
    let is_wide = match optional(0, 2) {
        0x10b => false,
        0x20b => true,
        _ => return Ok(()),
    };
    let machine = match (headers.machine, is_wide) {
        (0x8664, true) => Machine::X86_64,
        (0xaa64, true) => Machine::AArch64,
        (0x1c0 | 0x1c2 | 0x1c4, false) => Machine::Arm,
        _ => Machine::Other,
    };
    let base = if is_wide { optional(24, 8) } else { optional(28, 4) };
    let (table_count, table) = if is_wide { (108, 136) } else { (92, 120) };
    let functions = if optional(table_count, 4) > 3 { optional(table, 4) } else { 0 };
    let (source, room) = (reader.region.range.start, reader.len);
    let load = |offset: u64, file_len: u64, address: u64, len: u64, is_code| {
        let file_len = file_len.min(room.saturating_sub(offset));
        let len = len.max(file_len);
        let end = address.checked_add(len);
        let is_apart = end.is_some_and(|end| end < FILE) || address > FILE + u64::from(u32::MAX);
        let is_load = file_len > 0 && end.is_some() && is_apart;
        is_load.then_some(Load { offset: source + offset, file_len, address, len, is_code })
    };
    let mut loads = Vec::new();
    let mut spans = Vec::new();
    loads.extend(load(0, optional(60, 4), base, optional(60, 4), false));
    for section in headers.sections.chunks_exact(40) {
        let field = |at| number(section, at, 4).unwrap_or(0);
        let (len, rva, file_len) = (field(8), field(12), field(16));
        let file_len = if len == 0 { file_len } else { file_len.min(len) };
        let (address, flags) = (base.wrapping_add(rva), field(36));
        let is_code = flags & 0x2000_0020 != 0;
        let Some(load) = load(field(20), file_len, address, len, is_code) else { continue };
        let name = section[..8].split(|byte| *byte == 0).next().unwrap_or_default();
        let kind = match name {
            _ if functions != 0 && functions == rva => Some(Kind::Functions),
            b".rela" if is_wide => Some(Kind::Relocations { has_addends: true }),
            b".dynamic" => Some(Kind::Dynamic),
            _ if is_code => Some(Kind::Code),
            _ => (flags & 0x40 != 0).then_some(Kind::Data),
        };
        let Load { offset, file_len: len, .. } = load;
        let info = if kind == Some(Kind::Functions) { base } else { 0 };
        spans.extend(kind.map(|kind| Span {
            kind,
            offset,
            len,
            address,
            link: 0,
            info,
            rows: None,
        }));
        loads.push(load);
    }
    let Some(end) = loads.iter().map(|load| load.offset + load.file_len).max() else {
        return Ok(());
    };
    reader.region.is_wide = is_wide;
    reader.region.machine = machine;
    reader.region.range.end = end;
    loads.sort_by_key(|load| load.address);
    loads.truncate(LOADS_MAX);
    reader.region.loads = loads;
    reader.region.spans = Span::apart(spans);
    Ok(())
}

/// Finds the fields of one part of a table of functions.
pub(super) fn scan_functions(scan: &mut Scan<'_>) {
    let base = scan.span.info;
    let is_x86 = scan.region.machine == Machine::X86_64;
    let len = if is_x86 { 12 } else { 8 };
    for at in scan.entries(len) {
        let add = |scan: &mut Scan<'_>, at, form| {
            if scan.u32(at).is_some_and(|value| value != 0) {
                scan.add_if(at, form, |region, address| region.is_loaded(address));
            }
        };
        add(scan, at, Form::Base(base));
        if is_x86 {
            add(scan, at.wrapping_add(4), Form::Last(base));
        }
        let last = at.wrapping_add(len - 4);
        if scan.u32(last).is_some_and(|value| value % 4 == 0) {
            add(scan, last, Form::Base(base));
        }
    }
}
