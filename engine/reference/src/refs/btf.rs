//! BTF, descriptions of types (9.3.9).

use super::form::Form;
use super::region::{FILE, Kind, Reader, Span, number};
use super::scan::Scan;

/// Addresses of types are these plus their index, of names plus their offset.
const TYPES: u64 = 5 << 60;
const NAMES: u64 = 6 << 60;

/// The types of a region that is BTF and nothing else.
pub(super) fn span(reader: &mut Reader<'_>, head: &[u8]) -> Option<Span> {
    let field = |at| number(head, at, 4);
    let is_btf = head.starts_with(&[0x9f, 0xeb, 1, 0]) && field(4) == Some(24);
    let types = (24 + field(8)?, field(12)?);
    let names = (24 + field(16)?, field(20)?);
    let len = (types.0 + types.1).max(names.0 + names.1);
    (is_btf && types.1 > 0 && reader.holds(0, len)).then(|| Span {
        kind: Kind::Types,
        offset: reader.region.range.start + types.0,
        len: types.1,
        address: FILE + types.0,
        link: 0,
        info: 0,
        rows: None,
    })
}

pub(super) fn scan(scan: &mut Scan<'_>) {
    // Behind this many bytes of the part no record was seen; whether one ends just there.
    let (mut free, mut is_behind_record) = (0, false);
    for at in scan.entries(4) {
        let index = at.wrapping_sub(scan.start);
        if index >= scan.len() || index < free {
            continue;
        }
        let is_believed = is_behind_record && index == free;
        match record_len(scan, at) {
            Some(len) if is_believed || starts_records(scan, at) => {
                fields(scan, at);
                (free, is_behind_record) = (index + len, true);
            }
            _ => is_behind_record = false,
        }
    }
}

/// Whether four records follow one another, or all until there is no room for one.
fn starts_records(scan: &Scan<'_>, at: u64) -> bool {
    let mut at = at;
    for _ in 0..4 {
        let room = scan.len().saturating_sub(at.wrapping_sub(scan.start));
        match record_len(scan, at) {
            _ if room < 12 => return true,
            Some(len) => at = at.wrapping_add(len),
            None => return false,
        }
    }
    true
}

/// Kind and count of what could be a record.
fn kind(scan: &Scan<'_>, at: u64) -> Option<(u64, u64)> {
    let bits = scan.u32(at.wrapping_add(4))?;
    let (kind, is_plain) = (bits >> 24 & 31, bits & 0x60ff_0000 == 0);
    (is_plain && (1..=19).contains(&kind)).then_some((kind, bits & 0xffff))
}

fn record_len(scan: &Scan<'_>, at: u64) -> Option<u64> {
    let (kind, count) = kind(scan, at)?;
    Some(
        12 + match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * count,
            6 | 13 => 8 * count,
            _ => 0,
        },
    )
}

fn fields(scan: &mut Scan<'_>, at: u64) {
    let Some((kind, count)) = kind(scan, at) else { return };
    let mut field = |offset: u64, base| {
        let at = at.wrapping_add(offset);
        if let Some(number) = scan.u32(at).filter(|number| *number != 0) {
            scan.add(at, Form::Base(base), base + number);
        }
    };
    field(0, NAMES);
    match kind {
        2 | 8..=14 | 17 | 18 => field(8, TYPES),
        3 => [12, 16].into_iter().for_each(|offset| field(offset, TYPES)),
        _ => {}
    }
    let entry_len = if matches!(kind, 6 | 13) { 8 } else { 12 };
    for entry in (0..count).map(|index| 12 + index * entry_len) {
        if matches!(kind, 4 | 5 | 6 | 13 | 19) {
            field(entry, NAMES);
        }
        match kind {
            4 | 5 | 13 => field(entry + 4, TYPES),
            15 => field(entry, TYPES),
            _ => {}
        }
    }
}
