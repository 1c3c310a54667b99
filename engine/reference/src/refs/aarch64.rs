//! Code for AArch64 (9.3.7).

use super::form::Form;
use super::region::Region;
use super::scan::Scan;

/// Words that are looked at together: if they do not look like code they are passed over.
const STRETCH_WORDS: usize = 32;

/// The page that a register holds, and the field of the word that put it there, until a low part
/// told its address.
type Held = Option<(u64, Option<usize>)>;

pub(super) fn scan(scan: &mut Scan<'_>) {
    let first = scan.fields.len();
    let words: Vec<(u64, u32)> =
        scan.multiples(4).filter_map(|at| Some((at, u32::try_from(scan.u32(at)?).ok()?))).collect();
    let mut held: [Held; 32] = [None; 32];
    let mut is_any_outside = false;
    for stretch in words.chunks(STRETCH_WORDS) {
        let is_odd = |(_, word): &&(u64, u32)| *word != 0 && matches!(word >> 25 & 15, 0 | 1 | 3);
        if stretch.iter().filter(is_odd).count() > 1 {
            continue;
        }
        for (at, word) in stretch {
            is_any_outside |= fields(scan, *at, *word, &mut held);
            forget(*word, &mut held);
        }
    }
    if is_any_outside {
        let region = scan.region;
        let mut index = 0;
        scan.fields.retain(|field| {
            index += 1;
            index <= first || region.is_loaded(field.address)
        });
    }
}

/// Notes the fields of a word; whether it names a page that is not loaded.
fn fields(scan: &mut Scan<'_>, at: u64, word: u32, held: &mut [Held; 32]) -> bool {
    let (to, base) = ((word & 31) as usize, (word >> 5 & 31) as usize);
    match word >> 24 {
        0x14..=0x17 | 0x94..=0x97 => scan.add_if(at, Form::Branch26, Region::is_code),
        0x54 | 0x34 | 0x35 | 0xb4 | 0xb5 => scan.add_if(at, Form::Branch19, Region::is_code),
        0x18 | 0x1c | 0x58 | 0x5c | 0x98 | 0x9c | 0xd8 | 0xdc => {
            scan.add_if(at, Form::Branch19, Region::is_loaded)
        }
        0x36 | 0x37 | 0xb6 | 0xb7 => scan.add_if(at, Form::Branch14, Region::is_code),
        0x10 | 0x30 | 0x50 | 0x70 => scan.add_if(at, Form::Adr, Region::is_loaded),
        0x90 | 0xb0 | 0xd0 | 0xf0 => {
            let page = Form::Page.read(word.into(), at);
            scan.add(at, Form::Page, page);
            held[to] = Some((page, Some(scan.fields.len() - 1)));
            return !scan.region.is_loaded(page);
        }
        _ => {
            let Some(scale) = low12_scale(word) else { return false };
            let low = u64::from(word >> 10 & 0xfff) << scale;
            let Some((page, page_field)) = held[base].filter(|_| base != 31 && low < 4096) else {
                return false;
            };
            let address = page.wrapping_add(low);
            if scan.region.is_loaded(address) {
                scan.add(at, Form::Low12(scale), address);
                if let Some(index) = page_field {
                    scan.fields[index].address = address;
                    held[base] = Some((page, None));
                }
            }
            None
        }
    };
    false
}

/// What the low 12 bits of an address are scaled by, in words that have such.
fn low12_scale(word: u32) -> Option<u32> {
    match word >> 24 {
        0x91 if word >> 22 & 3 == 0 => Some(0),
        0x39 | 0x3d | 0x79 | 0x7d | 0xb9 | 0xbd | 0xf9 | 0xfd => {
            Some(if word >> 23 & 9 == 9 { 4 } else { word >> 30 })
        }
        _ => None,
    }
}

/// Takes their pages from the registers that a word changes.
fn forget(word: u32, held: &mut [Held; 32]) {
    let (to, second, base) = (word & 31, word >> 10 & 31, word >> 5 & 31);
    let mut drop = |register: u32| held[register as usize] = None;
    match word >> 24 {
        0x14..=0x17 => *held = [None; 32],
        0xd6 if word >> 21 & 3 != 1 => *held = [None; 32],
        0x94..=0x97 | 0x54 | 0x34..=0x37 | 0xb4..=0xb7 | 0x90 | 0xb0 | 0xd0 | 0xf0 => {}
        0x18 | 0x1c | 0x58 | 0x5c | 0x98 | 0x9c | 0xd8 | 0xdc => drop(to),
        0x10 | 0x30 | 0x50 | 0x70 => drop(to),
        0x91 if word >> 22 & 3 == 0 => drop(to),
        0x39 | 0x3d | 0x79 | 0x7d | 0xb9 | 0xbd | 0xf9 | 0xfd => {
            if word >> 26 & 1 == 0 && word >> 22 & 3 != 0 {
                drop(to);
            }
        }
        _ => match word >> 25 & 15 {
            8 | 9 => drop(to),
            5 | 13 if word & 0x1fe0_0000 != 0x1a40_0000 => drop(to),
            4 | 6 | 12 | 14 => {
                let (is_pair, is_single) = (word >> 27 & 7 == 5, word >> 27 & 7 == 7);
                let is_load = if is_single { word >> 22 & 3 != 0 } else { word >> 22 & 1 == 1 };
                if is_load && word >> 26 & 1 == 0 {
                    drop(to);
                    if is_pair {
                        drop(second);
                    }
                }
                let is_written = is_pair && word >> 23 & 1 == 1;
                if is_written || is_single && word & 0x0120_0400 == 0x0000_0400 {
                    drop(base);
                }
            }
            7 | 15 if word & 0x5f20_fc00 == 0x1e20_0000 => drop(to),
            7 | 15 if word & 0xbfe0_fc00 == 0x0e00_3c00 => drop(to),
            _ => {}
        },
    }
}
