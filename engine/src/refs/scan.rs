//! Scanning: the fields in one block of the source, from its bytes and the region's headers alone.

use super::field::Field;
use super::region::{Arch, Kind, Region, Span};
use super::{aarch64, arm, btf, narrow, tables, x86_64};

/// Appends the fields in a block of the source, by offset, none over another.
///
/// `bytes` starts at `offset` of the source: what of the region lies in one block of
/// [`crate::limits::SOURCE_BLOCK`] bytes. Fields that reach into another block are not found.
pub fn fields(region: &Region, offset: u64, bytes: &[u8], out: &mut Vec<Field>) {
    let kept = out.len();
    let end = offset.saturating_add(bytes.len() as u64);
    let next = region.spans.partition_point(|span| span.offset.saturating_add(span.len) <= offset);
    for span in region.spans.iter().skip(next).take_while(|span| span.offset < end) {
        let from = span.offset.max(offset);
        let to = span.offset.saturating_add(span.len).min(end);
        let (Ok(start), Ok(stop)) = (usize::try_from(from - offset), usize::try_from(to - offset))
        else {
            continue;
        };
        if let Some(bytes) = bytes.get(start..stop) {
            span_fields(region, span, from, bytes, out);
        }
    }
    set_apart(kept, out);
}

/// Brings the fields from index `first` on into order, and removes those over another. Most are in
/// order and apart as they were found.
fn set_apart(first: usize, fields: &mut Vec<Field>) {
    let end = |field: &Field| field.offset.saturating_add(field.form.len() as u64);
    if fields[first..].is_sorted_by(|field, next| end(field) <= next.offset) {
        return;
    }
    fields[first..].sort_by_key(|field| field.offset);
    let (mut kept, mut kept_end) = (first, 0);
    for index in first..fields.len() {
        let field = fields[index];
        if field.offset >= kept_end {
            kept_end = end(&field);
            fields[kept] = field;
            kept += 1;
        }
    }
    fields.truncate(kept);
}

fn span_fields(region: &Region, span: &Span, offset: u64, bytes: &[u8], out: &mut Vec<Field>) {
    match (span.kind, region.arch) {
        (Kind::Code, Arch::X86_64) => x86_64::fields(region, span, offset, bytes, out),
        (Kind::Code, Arch::AArch64) => aarch64::fields(region, span, offset, bytes, out),
        (Kind::Code, Arch::Arm) => arm::fields(region, span, offset, bytes, out),
        (Kind::ArmIndex, _) => arm::index_fields(region, span, offset, bytes, out),
        (Kind::ArmTables, _) => arm::table_fields(region, span, offset, bytes, out),
        (Kind::Types, _) => btf::fields(span, offset, bytes, out),
        (Kind::Code, _) => {}
        (
            Kind::Pointers | Kind::Relocations { .. } | Kind::Symbols { .. } | Kind::Dynamic { .. },
            _,
        ) if !region.is_wide => narrow::fields(region, span, offset, bytes, out),
        _ => tables::fields(region, span, offset, bytes, out),
    }
}
