//! Call frames and their search table (9.3.5).

use super::form::Form;
use super::region::Region;
use super::scan::Scan;

pub(super) fn scan(scan: &mut Scan<'_>) {
    let mut free = 0;
    for at in scan.multiples(4) {
        if at.wrapping_sub(scan.start) >= free
            && let Some(len) = record(scan, at)
        {
            free = at.wrapping_sub(scan.start) + 4 + len;
        }
    }
}

/// Notes the fields of a record of a function; gives its length.
fn record(scan: &mut Scan<'_>, at: u64) -> Option<u64> {
    let place = |offset: u64| at.wrapping_add(offset);
    let len = scan.u32(at).filter(|len| len % 4 == 0 && (12..=65536).contains(len))?;
    let back = scan.u32(place(4)).filter(|back| *back != 0 && back % 4 == 0)?;
    let is_within = back <= place(4).wrapping_sub(scan.span.address);
    let start = Form::Place.read(scan.u32(place(8))?, place(8));
    if !is_within || !scan.region.is_code(start) {
        return None;
    }
    scan.add(place(4), Form::Back, place(4).wrapping_sub(back));
    scan.add(place(8), Form::Place, start);
    if scan.u32(place(12)).is_some_and(|len| (1..=1 << 24).contains(&len)) {
        scan.add_if(place(12), Form::Last(start), |_, _| true);
        let has_more = scan.number(place(16), 1) == Some(4);
        if has_more && scan.u32(place(17)).is_some_and(|distance| distance != 0) {
            scan.add_if(place(17), Form::Place, Region::is_loaded);
        }
    }
    Some(len)
}

pub(super) fn scan_search_table(scan: &mut Scan<'_>) {
    let base = scan.span.address;
    for at in scan.multiples(4) {
        match at.wrapping_sub(base) {
            4 => scan.add_if(at, Form::Place, Region::is_loaded),
            9.. => scan.add_if(at, Form::Base(base), Region::is_loaded),
            _ => None,
        };
    }
}
