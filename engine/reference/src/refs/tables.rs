//! Tables of pointers, relocations, symbols and headers (9.3.2, 9.3.3).

use super::form::{Form, Row};
use super::region::{FILE, Kind, Machine, Region};
use super::scan::Scan;

/// What checksums of symbols count from (9.3.3).
const CHECKSUMS: u64 = 7 << 60;

/// Finds the fields of one part of such a span.
pub(super) fn scan(scan: &mut Scan<'_>) {
    let (region, word_len) = (scan.region, scan.region.word_len());
    let wide = |narrow, wide| if region.is_wide { wide } else { narrow };
    let (len, entry): (u64, fn(&mut Scan<'_>, u64)) = match scan.span.kind {
        Kind::Pointers => {
            return scan.multiples(word_len).for_each(|at| scan.pointer(at));
        }
        Kind::Distances { len, count } => {
            for at in scan.entries(len) {
                (0..count).for_each(|index| distance(scan, at.wrapping_add(4 * index)));
            }
            return;
        }
        Kind::SectionRelocations if region.is_wide => (24, section_relocation),
        Kind::Versions => (64, version),
        Kind::Relocations { has_addends: true } => (3 * word_len, relocation),
        Kind::Relocations { has_addends: false } => (2 * word_len, relocation),
        Kind::Symbols => (wide(16, 24), symbol),
        Kind::Dynamic => (2 * word_len, dynamic),
        Kind::FileHeader => (wide(52, 64), file_header),
        Kind::Programs => (wide(32, 56), program),
        Kind::Sections => (wide(40, 64), section),
        _ => return,
    };
    scan.entries(len).for_each(|at| entry(scan, at));
}

/// A distance from where it stands.
fn distance(scan: &mut Scan<'_>, at: u64) {
    if scan.u32(at).is_some_and(|distance| distance != 0) {
        scan.add_if(at, Form::Place, Region::is_loaded);
    }
}

impl Scan<'_> {
    /// Pointer at `at`.
    pub(super) fn pointer(&mut self, at: u64) {
        let form = if self.region.is_wide { Form::Absolute8 } else { Form::Absolute4 };
        self.add_if(at, form, |region, address| address != 0 && region.is_loaded(address));
    }

    /// Index at `at` of a base, of things of a size.
    fn index(&mut self, at: u64, base: u64, size: u64) {
        if base != 0 && self.u32(at).is_some_and(|index| index != 0) {
            self.add_if(at, Form::Index(base, size), |_, _| true);
        }
    }

    /// Offset at `at` from a base plus a number.
    fn offset(&mut self, at: u64, base: u64, plus: u64) {
        let len = self.region.len();
        let form = match (self.region.is_wide, plus) {
            (true, _) => Form::Offset(base, plus),
            (false, 0) => Form::Base(base),
            (false, _) => Form::Last(base),
        };
        if let Some(word) = self.word(at).filter(|word| base != 0 && *word != 0 && *word < len) {
            self.add(at, form, base.wrapping_add(word).wrapping_sub(plus));
        }
    }
}

fn relocation(scan: &mut Scan<'_>, at: u64) {
    let has_addends = scan.span.kind == (Kind::Relocations { has_addends: true });
    scan.pointer(at);
    if scan.region.is_wide {
        scan.index(at.wrapping_add(12), scan.span.link, 24);
        let is_relative = match (scan.u32(at.wrapping_add(8)), scan.region.machine) {
            (Some(kind), Machine::X86_64) => matches!(kind, 8 | 37),
            (Some(kind), Machine::AArch64) => matches!(kind, 1027 | 1032),
            (kind, _) => kind.is_none(),
        };
        if has_addends && is_relative {
            scan.pointer(at.wrapping_add(16));
        }
        return;
    }
    let info = scan.u32(at.wrapping_add(4));
    if scan.span.link != 0 && info.is_some_and(|info| info >> 8 != 0) {
        scan.add_if(at.wrapping_add(4), Form::Index24(scan.span.link), |_, _| true);
    }
    if has_addends && scan.region.machine == Machine::Arm && info == Some(23) {
        scan.pointer(at.wrapping_add(8));
    }
}

/// A checksum in front of the name of a symbol.
fn version(scan: &mut Scan<'_>, at: u64) {
    if let Some(checksum) = scan.u32(at) {
        scan.add(at, Form::Base(CHECKSUMS), CHECKSUMS + checksum);
    }
}

/// Where a relocation of a table of rows points to, if it is where it ought to be.
fn row(scan: &Scan<'_>, at: u64) -> Option<Form> {
    let (span, rows) = (scan.span, scan.span.rows?);
    let entry = at.wrapping_sub(span.address) / 24;
    let more = scan.word(at)?.checked_sub(entry / rows.count * rows.len)?;
    let row = Row { rows, index: entry % rows.count, more };
    (more < rows.len).then_some(Form::Row(span.address, row))
}

fn section_relocation(scan: &mut Scan<'_>, at: u64) {
    match row(scan, at) {
        Some(form) => scan.add(at, form, at),
        None => scan.offset(at, scan.span.info, 0),
    }
    scan.index(at.wrapping_add(12), scan.span.link, 24);
    let Some(symbol) = scan.u32(at.wrapping_add(12)) else { return };
    let Ok(symbol) = usize::try_from(symbol) else { return };
    if let Some(Some(address)) = scan.region.section_symbols.get(symbol) {
        let is_x86 = scan.region.machine == Machine::X86_64;
        let is_behind = matches!(scan.u32(at.wrapping_add(8)), Some(2 | 4));
        let plus = if is_x86 && is_behind { 4_u64.wrapping_neg() } else { 0 };
        scan.offset(at.wrapping_add(16), *address, plus);
    }
}

fn symbol(scan: &mut Scan<'_>, at: u64) {
    scan.index(at, scan.span.link, 1);
    let (value, kind, section) = if scan.region.is_wide { (8, 4, 6) } else { (4, 12, 14) };
    let section = scan.number(at.wrapping_add(section), 2).filter(|section| *section != 0);
    let is_local = scan.number(at.wrapping_add(kind), 1).is_some_and(|kind| kind & 15 == 6);
    let (Some(section), false) = (section, is_local) else { return };
    let value = at.wrapping_add(value);
    scan.pointer(value);
    // Only wide relocatable files have noted sections.
    let base = usize::try_from(section).ok().and_then(|index| scan.region.sections.get(index));
    if let Some(base) = base {
        scan.offset(value, *base, 0);
    }
}

fn dynamic(scan: &mut Scan<'_>, at: u64) {
    let value = at.wrapping_add(scan.region.word_len());
    match scan.word(at) {
        Some(1 | 14 | 15 | 29) => scan.index(value, scan.span.link, 1),
        Some(2 | 8..=11 | 18..=20 | 24 | 27 | 28 | 30) => {}
        _ => scan.pointer(value),
    }
}

fn file_header(scan: &mut Scan<'_>, at: u64) {
    let w = scan.region.word_len();
    scan.pointer(at.wrapping_add(24));
    scan.offset(at.wrapping_add(24 + w), FILE, 0);
    scan.offset(at.wrapping_add(24 + 2 * w), FILE, 0);
}

fn program(scan: &mut Scan<'_>, at: u64) {
    let w = scan.region.word_len();
    scan.offset(at.wrapping_add(w), FILE, 0);
    scan.pointer(at.wrapping_add(2 * w));
    scan.pointer(at.wrapping_add(3 * w));
    if let Some(start) = scan.word(at.wrapping_add(2 * w)) {
        scan.offset(at.wrapping_add(4 * w), start, 1);
        scan.offset(at.wrapping_add(5 * w), start, 1);
    }
}

fn section(scan: &mut Scan<'_>, at: u64) {
    let w = scan.region.word_len();
    let address = at.wrapping_add(8 + w);
    scan.index(at, scan.region.names, 1);
    scan.pointer(address);
    scan.offset(address.wrapping_add(w), FILE, 0);
    if let Some(start) = scan.word(address.wrapping_add(w)) {
        scan.offset(address.wrapping_add(2 * w), FILE.wrapping_add(start), 1);
    }
}
