//! Code for x86-64 (9.3.6).

use super::form::Form;
use super::region::Region;
use super::scan::Scan;

/// What stands behind an opcode, in this order.
#[derive(Clone, Copy)]
enum Has {
    /// Where it jumps to, 4 bytes.
    Jump,
    /// So many bytes of constant.
    Constant(usize),
    /// An operand, and so many bytes of constant.
    Operand(usize),
}

const NOTHING: Has = Has::Constant(0);

struct Instruction {
    len: usize,
    has: Has,
    /// The operand's byte.
    operand: u8,
    /// Where a displacement of 4 bytes starts.
    displacement: Option<usize>,
    constant_len: usize,
}

pub(super) fn scan(scan: &mut Scan<'_>) {
    let mut at = 0;
    while at < scan.bytes.len() {
        if let Some(instruction) = decode(&scan.bytes[at..]) {
            let address = scan.start.wrapping_add(at as u64);
            fields(scan, address, &instruction);
            at += instruction.len;
        } else {
            at += 1;
        }
    }
}

fn fields(scan: &mut Scan<'_>, at: u64, instruction: &Instruction) {
    let place = |index: usize| at.wrapping_add(index as u64);
    let constant = instruction.len - instruction.constant_len;
    let behind = instruction.constant_len as u64;
    let is_zero = |scan: &Scan<'_>, at| scan.u32(at) == Some(0);
    if matches!(instruction.has, Has::Jump) {
        if !is_zero(scan, place(constant)) {
            scan.add_if(place(constant), Form::Behind(0), Region::is_code);
        }
        return;
    }
    if let Some(displacement) = instruction.displacement.map(place) {
        if instruction.operand & 0xc7 == 5 {
            if !is_zero(scan, displacement) {
                scan.add_if(displacement, Form::Behind(behind), Region::is_loaded);
            }
        } else if scan.region.is_fixed {
            scan.add_if(displacement, Form::Absolute4, Region::is_loaded);
        }
    }
    if scan.region.is_fixed && behind == 4 {
        scan.add_if(place(constant), Form::Absolute4, Region::is_loaded);
    }
}

/// The instruction that these bytes begin with, if it is known and all there.
fn decode(code: &[u8]) -> Option<Instruction> {
    const PREFIXES: &[u8] = b"\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65";
    let mut at = code.iter().position(|byte| !PREFIXES.contains(byte))?;
    let full = if code[..at].contains(&0x66) { 2 } else { 4 };
    let mut is_long = false;
    if code[at] & 0xf0 == 0x40 {
        is_long = code[at] & 8 != 0;
        at += 1;
    }
    let mut next = || {
        at += 1;
        code.get(at - 1).copied()
    };
    let opcode = next()?;
    let has = match opcode {
        0x0f => match next()? {
            0x38 => next().map(|_| Has::Operand(0))?,
            0x3a => next().map(|_| Has::Operand(1))?,
            second => two_bytes(second)?,
        },
        0xc5 => {
            next()?;
            mapped(1, next()?)?
        }
        0xc4 => {
            let map = next()? & 31;
            next()?;
            mapped(map, next()?)?
        }
        0x62 => {
            let map = next()? & 7;
            next()?;
            next()?;
            mapped(map, next()?)?
        }
        0xb8..=0xbf if is_long => Has::Constant(8),
        _ => one_byte(opcode, full, code.get(at).copied())?,
    };
    let (mut operand, mut displacement) = (0, None);
    if let Has::Operand(_) = has {
        operand = *code.get(at)?;
        at += 1;
        let mut is_based = operand & 7 != 5;
        if operand >> 6 != 3 && operand & 7 == 4 {
            is_based = code.get(at)? & 7 != 5;
            at += 1;
        }
        match operand >> 6 {
            1 => at += 1,
            mode @ (0 | 2) if mode == 2 || !is_based => {
                displacement = Some(at);
                at += 4;
            }
            _ => {}
        }
    }
    let (Has::Constant(constant_len) | Has::Operand(constant_len)) = has else {
        let len = at + 4;
        return (len <= code.len()).then_some(Instruction {
            len,
            has,
            operand,
            displacement,
            constant_len: 4,
        });
    };
    let len = at + constant_len;
    (len <= code.len()).then_some(Instruction { len, has, operand, displacement, constant_len })
}

/// Opcodes of one byte; `operand` is the byte behind.
fn one_byte(opcode: u8, full: usize, operand: Option<u8>) -> Option<Has> {
    Some(match opcode {
        0xe8 | 0xe9 => Has::Jump,
        0x00..=0x3f => match opcode & 7 {
            0..=3 => Has::Operand(0),
            4 => Has::Constant(1),
            5 => Has::Constant(full),
            _ => return None,
        },
        0x50..=0x5f | 0x6c..=0x6f | 0x90..=0x99 | 0x9b..=0x9f => NOTHING,
        0xa4..=0xa7 | 0xaa..=0xaf | 0xc3 | 0xc9 | 0xcb | 0xcc | 0xcf | 0xd7 => NOTHING,
        0xec..=0xef | 0xf1 | 0xf4 | 0xf5 | 0xf8..=0xfd => NOTHING,
        0x63 | 0x84..=0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => Has::Operand(0),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => Has::Constant(1),
        0x68 | 0xa9 | 0xb8..=0xbf => Has::Constant(full),
        0xc2 | 0xca => Has::Constant(2),
        0xc8 => Has::Constant(3),
        0xa0..=0xa3 => Has::Constant(8),
        0x69 | 0x81 | 0xc7 => Has::Operand(full),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => Has::Operand(1),
        0xf6 | 0xf7 if operand? & 0x30 != 0 => Has::Operand(0),
        0xf6 => Has::Operand(1),
        0xf7 => Has::Operand(full),
        _ => return None,
    })
}

/// Opcodes behind `0f`.
fn two_bytes(opcode: u8) -> Option<Has> {
    Some(match opcode {
        0x80..=0x8f => Has::Jump,
        0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x35 | 0x37 | 0x77 => NOTHING,
        0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => NOTHING,
        0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => Has::Operand(1),
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f | 0xa6 | 0xa7 => return None,
        _ => Has::Operand(0),
    })
}

/// Opcodes of a map, behind `c4`, `c5` and `62`.
fn mapped(map: u8, opcode: u8) -> Option<Has> {
    match (map, opcode) {
        (1, 0x77) => Some(NOTHING),
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) | (3, _) => Some(Has::Operand(1)),
        (1 | 2 | 5 | 6, _) => Some(Has::Operand(0)),
        _ => None,
    }
}
