//! Code for 32-bit ARM, and its tables of unwinding (9.3.8). Addresses are modulo 2^32.

use std::collections::BTreeSet;

use super::form::Form;
use super::region::{Kind, Region};
use super::scan::Scan;

/// Bytes that are judged together: which set of instructions they are of.
const STRETCH_LEN: u64 = 128;

/// Most words of them.
const STRETCH_WORDS: usize = 32;

/// What is known of the code before.
#[derive(Default)]
struct State {
    /// Places of words that are loaded, and thus no instructions.
    pool: BTreeSet<u64>,
    /// Per register the place of the word that was loaded.
    loaded: [Option<u64>; 16],
}

pub(super) fn scan(scan: &mut Scan<'_>) {
    let mut is_a32 = judged(scan, 0, usize::MAX).unwrap_or(false);
    let mut state = State::default();
    let (mut index, mut stretch) = (scan.start & 1, None);
    while index + 2 <= scan.len() {
        if stretch != Some(index / STRETCH_LEN) {
            stretch = Some(index / STRETCH_LEN);
            let start = index / STRETCH_LEN * STRETCH_LEN;
            is_a32 = judged(scan, start, STRETCH_WORDS).unwrap_or(is_a32);
        }
        let at = scan.start.wrapping_add(index);
        index += if at.is_multiple_of(4) && state.pool.contains(&at) {
            4
        } else if is_a32 {
            a32(scan, at, &mut state)
        } else {
            t32(scan, at, &mut state)
        };
    }
}

/// Whether the first words from byte `start` of the part on are A32; nothing where it is unclear.
fn judged(scan: &Scan<'_>, start: u64, count_max: usize) -> Option<bool> {
    let is_behind = |at: &u64| at.wrapping_sub(scan.start) >= start;
    let words = scan.multiples(4).filter(is_behind).filter_map(|at| scan.u32(at)).take(count_max);
    let (count, always) = words
        .fold((0, 0), |(count, always), word| (count + 1, always + u64::from(word >> 28 == 14)));
    match (100 * always).checked_div(count)? {
        0..15 => Some(false),
        50.. => Some(true),
        _ => None,
    }
}

impl State {
    /// Words at `at` are loaded, into a register if there is one.
    fn load(&mut self, scan: &Scan<'_>, at: u64, words: u64, register: Option<u64>) {
        for word in 0..words {
            self.pool.insert(at.wrapping_add(4 * word) & !3);
        }
        if let Some(register) = register {
            self.loaded[crate::bytes::memory(register)] = scan.u32(at).map(|_| at);
        }
    }

    /// A register is added to a base.
    fn using(&mut self, scan: &mut Scan<'_>, register: u64, base: u64) {
        if let Some(at) = self.loaded[crate::bytes::memory(register)].take() {
            let Some(word) = scan.u32(at) else { return };
            let address = base.wrapping_add(word) & 0xffff_ffff;
            if scan.region.is_loaded(address) {
                scan.add(at, Form::Base(base), address);
            }
        }
    }
}

/// Looks at an instruction of 4 bytes; how far to go on.
fn a32(scan: &mut Scan<'_>, at: u64, state: &mut State) -> u64 {
    let Some(word) = scan.u32(at).filter(|_| at.is_multiple_of(4)) else { return 2 };
    let q = at.wrapping_add(8);
    let around = |distance: u64| match word >> 23 & 1 {
        1 => q.wrapping_add(distance),
        _ => q.wrapping_sub(distance),
    };
    let register = |place: u32| word >> place & 15;
    if word >> 28 == 15 {
        if word >> 25 == 0x7d {
            scan.add_if(at, Form::A32Exchange, Region::is_code);
        }
    } else if word >> 25 & 7 == 5 {
        scan.add_if(at, Form::A32Branch, Region::is_code);
    } else if word & 0x0f7f_0000 == 0x051f_0000 {
        state.load(scan, around(word & 0xfff), 1, Some(register(12)));
    } else if word & 0x0f3f_0e00 == 0x0d1f_0a00 {
        state.load(scan, around(4 * (word & 0xff)), 1 + (word >> 8 & 1), None);
    } else if word & 0x0fff_0ff0 == 0x008f_0000 || word & 0x0f8f_0ff0 == 0x078f_0000 {
        state.using(scan, register(0), q);
    } else if word & 0x0ff0_0fff == 0x0080_000f {
        state.using(scan, register(16), q);
    } else if word & 0xffff_ff00 == 0xe28f_c600 {
        stub(scan, at, word);
    }
    4
}

/// Three instructions that jump far, one behind the other.
fn stub(scan: &mut Scan<'_>, at: u64, first: u64) {
    let word = |index: u64| scan.u32(at.wrapping_add(4 * index));
    let (Some(second), Some(third)) = (word(1), word(2)) else { return };
    if second & 0xffff_ff00 != 0xe28c_ca00 || third & 0xffff_f000 != 0xe5bc_f000 {
        return;
    }
    let distance = (first & 0xff) << 20 | (second & 0xff) << 12 | third & 0xfff;
    let address = at.wrapping_add(8).wrapping_add(distance) & 0xffff_ffff;
    if scan.region.is_loaded(address) {
        (0..3).for_each(|part| scan.add(at.wrapping_add(4 * part), Form::A32Stub(part), address));
    }
}

/// Looks at an instruction of 2 or 4 bytes; how far to go on.
fn t32(scan: &mut Scan<'_>, at: u64, state: &mut State) -> u64 {
    let Some(h) = scan.number(at, 2) else { return 2 };
    let q = at.wrapping_add(4);
    if h >> 11 < 0x1d {
        match h >> 8 {
            0x44 if h & 0x78 == 0x78 => state.using(scan, h >> 4 & 8 | h & 7, q),
            0x48..=0x4f => {
                scan.add_if(at, Form::T32Literal8, Region::is_loaded);
                state.load(scan, Form::T32Literal8.read(h, at), 1, Some(h >> 8 & 7));
            }
            0xd0..=0xdd => drop(scan.add_if(at, Form::T32Branch8, Region::is_code)),
            0xe0..=0xe7 => drop(scan.add_if(at, Form::T32Branch11, Region::is_code)),
            0xb1 | 0xb3 | 0xb9 | 0xbb => drop(scan.add_if(at, Form::T32Zero, Region::is_code)),
            _ => {}
        }
        return 2;
    }
    let behind = at.wrapping_add(2);
    let Some(n) = scan.number(behind, 2).filter(|_| !state.pool.contains(&behind)) else {
        return 2;
    };
    if h >> 11 == 0x1e {
        match n & 0xd000 {
            0xd000 | 0x9000 => drop(scan.add_if(at, Form::T32Branch24, Region::is_code)),
            0xc000 if n & 1 == 0 => drop(scan.add_if(at, Form::T32Exchange, Region::is_code)),
            0x8000 if h & 0x380 != 0x380 => {
                scan.add_if(at, Form::T32Branch20, Region::is_code);
            }
            _ => {}
        }
    } else if h & 0xff7f == 0xf85f {
        scan.add_if(at, Form::T32Literal12, Region::is_loaded);
        state.load(scan, Form::T32Literal12.read(h | n << 16, at), 1, Some(n >> 12));
    } else if h & 0xff3f == 0xed1f && n & 0x0e00 == 0x0a00 {
        let (distance, q) = (4 * (n & 0xff), q & !3);
        let from =
            if h >> 7 & 1 == 1 { q.wrapping_add(distance) } else { q.wrapping_sub(distance) };
        state.load(scan, from, 1 + (n >> 8 & 1), None);
    }
    4
}

/// The index of unwinding: places of functions, and of what is told about them.
pub(super) fn scan_unwind_index(scan: &mut Scan<'_>) {
    let (start, len) = (scan.start, scan.len());
    for entry in scan.entries(8).skip_while(|entry| entry.wrapping_sub(start) >= len) {
        unwinding(scan, entry, Region::is_loaded);
        if scan.u32(entry.wrapping_add(4)) != Some(1) {
            unwinding(scan, entry.wrapping_add(4), Region::is_loaded);
        }
    }
}

/// The tables of unwinding: places of functions that are called.
pub(super) fn scan_unwind_tables(scan: &mut Scan<'_>) {
    for at in scan.entries(4) {
        unwinding(scan, at, |region, address| {
            region.spans.iter().any(|span| {
                span.kind == Kind::Code && address.wrapping_sub(span.address) < span.len
            })
        });
    }
}

fn unwinding(scan: &mut Scan<'_>, at: u64, test: impl Fn(&Region, u64) -> bool) {
    if scan.u32(at).is_some_and(|word| word >> 31 == 0) {
        scan.add_if(at, Form::Place31, test);
    }
}
