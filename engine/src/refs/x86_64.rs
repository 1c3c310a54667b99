//! Addresses in x86-64 code: calls, jumps, and operands relative to the instruction pointer.
//!
//! Lengths of instructions are all that is decoded. From the start of a block the walk soon falls
//! into step with the true instructions, whatever byte it began at. Encodings: "Intel 64 and IA-32
//! Architectures Software Developer's Manual", volume 2, chapter 2 and appendix A.

use super::field::{Field, Form};
use super::region::{Region, Span};

/// Appends the fields in a block of code, by offset.
///
/// `bytes` starts at `offset` of the source and lies within `span`.
pub(super) fn fields(
    region: &Region,
    span: &Span,
    offset: u64,
    bytes: &[u8],
    out: &mut Vec<Field>,
) {
    let place = span.address.wrapping_add(offset.wrapping_sub(span.offset));
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(instruction) = Instruction::of(rest) else {
            at += 1;
            continue;
        };
        if let Some((field_at, ahead)) = instruction.relative {
            let into = (at + field_at) as u64;
            let distance = rest.get(field_at..).and_then(|field| field.first_chunk());
            let distance = distance.map_or(0, |field| i32::from_le_bytes(*field));
            let behind = place.wrapping_add(into).wrapping_add(4 + u64::from(ahead));
            let address = behind.wrapping_add_signed(distance.into());
            let is_field = if instruction.is_jump {
                region.is_code(address)
            } else {
                region.is_loaded(address)
            };
            // A distance of 0 is one that a linker will fill in.
            if is_field && distance != 0 {
                let form = if ahead == 0 { Form::Behind32 } else { Form::Ahead32 { ahead } };
                out.push(Field { offset: offset.wrapping_add(into), address, form });
            }
        }
        at += instruction.len;
    }
}

/// What an instruction is for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    /// Its bytes.
    len: usize,
    /// Where in it 4 bytes stand that are relative to its end, and how many are behind them.
    relative: Option<(usize, u8)>,
    /// Whether they are where it jumps to.
    is_jump: bool,
}

/// What follows an opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tail {
    /// Whether an operand byte (ModRM) and what it asks for.
    has_operand: bool,
    /// Bytes of constants behind that.
    constant: usize,
}

impl Tail {
    const NONE: Self = Self { has_operand: false, constant: 0 };
    const OPERAND: Self = Self { has_operand: true, constant: 0 };

    const fn constant(constant: usize) -> Option<Self> {
        Some(Self { has_operand: false, constant })
    }

    const fn operand_and(constant: usize) -> Option<Self> {
        Some(Self { has_operand: true, constant })
    }
}

impl Instruction {
    /// The instruction that `code` starts with, if it is a known one and all there.
    fn of(code: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut is_narrow = false;
        while let Some(0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65) =
            code.get(at)
        {
            is_narrow |= code.get(at) == Some(&0x66);
            at += 1;
        }
        let is_wide = code.get(at).is_some_and(|byte| byte & 0xf8 == 0x48);
        if code.get(at).is_some_and(|byte| byte & 0xf0 == 0x40) {
            at += 1;
        }
        let opcode = *code.get(at)?;
        let next = code.get(at + 1).copied().unwrap_or(0);
        let (opcode_len, tail) = match opcode {
            0xe8 | 0xe9 => return Self::jump(code, at + 1),
            0x0f if next & 0xf0 == 0x80 => return Self::jump(code, at + 2),
            0x0f if next == 0x38 => (3, Some(Tail::OPERAND)),
            0x0f if next == 0x3a => (3, Tail::operand_and(1)),
            0x0f => (2, two_byte(next)),
            0xc5 => (3, vector(1, *code.get(at + 2)?)),
            0xc4 => (4, vector(next & 0x1f, *code.get(at + 3)?)),
            0x62 => (5, vector(next & 7, *code.get(at + 4)?)),
            _ => (1, one_byte(opcode, next, is_narrow, is_wide)),
        };
        let Tail { has_operand, constant } = tail?;
        at += opcode_len;
        let mut relative = None;
        if has_operand {
            let operand = *code.get(at)?;
            at += 1;
            if operand & 0xc7 == 5 {
                relative = Some((at, u8::try_from(constant).ok()?));
            }
            at += operand_len(operand, code.get(at).copied());
        }
        let len = at + constant;
        (len <= code.len()).then_some(Self { len, relative, is_jump: false })
    }

    fn jump(code: &[u8], at: usize) -> Option<Self> {
        let len = at + 4;
        (len <= code.len()).then_some(Self { len, relative: Some((at, 0)), is_jump: true })
    }
}

/// Bytes behind an operand byte: the scale byte and the displacement.
fn operand_len(operand: u8, scale: Option<u8>) -> usize {
    let (mode, register) = (operand >> 6, operand & 7);
    let has_scale = mode != 3 && register == 4;
    let has_no_base = register == 5 || has_scale && scale.is_some_and(|scale| scale & 7 == 5);
    let displacement = match mode {
        0 if has_no_base => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    usize::from(has_scale) + displacement
}

/// What follows an opcode of one byte; none where there is no such instruction.
fn one_byte(opcode: u8, next: u8, is_narrow: bool, is_wide: bool) -> Option<Tail> {
    let full = if is_narrow { 2 } else { 4 };
    match opcode {
        0x00..=0x3f => match opcode & 7 {
            0..=3 => Some(Tail::OPERAND),
            4 => Tail::constant(1),
            5 => Tail::constant(full),
            _ => None,
        },
        0x50..=0x5f | 0x6c..=0x6f | 0x90..=0x99 | 0x9b..=0x9f | 0xa4..=0xa7 | 0xaa..=0xaf => {
            Some(Tail::NONE)
        }
        0xc3
        | 0xc9
        | 0xcb
        | 0xcc
        | 0xcf
        | 0xd7
        | 0xec..=0xef
        | 0xf1
        | 0xf4
        | 0xf5
        | 0xf8..=0xfd => Some(Tail::NONE),
        0x63 | 0x84..=0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => Some(Tail::OPERAND),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => Tail::constant(1),
        0x68 | 0xa9 => Tail::constant(full),
        0x69 | 0x81 | 0xc7 => Tail::operand_and(full),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => Tail::operand_and(1),
        0xa0..=0xa3 => Tail::constant(8),
        0xb8..=0xbf => Tail::constant(if is_wide { 8 } else { full }),
        0xc2 | 0xca => Tail::constant(2),
        0xc8 => Tail::constant(3),
        // Only the first two of the eight instructions have a constant.
        0xf6 => Tail::operand_and(usize::from(next & 0x30 == 0)),
        0xf7 => Tail::operand_and(if next & 0x30 == 0 { full } else { 0 }),
        _ => None,
    }
}

/// What follows the second byte of an opcode whose first is `0f`.
fn two_byte(opcode: u8) -> Option<Tail> {
    match opcode {
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f | 0xa6 | 0xa7 => None,
        0x05..=0x09
        | 0x0b
        | 0x0e
        | 0x30..=0x37
        | 0x77
        | 0xa0..=0xa2
        | 0xa8..=0xaa
        | 0xc8..=0xcf => Some(Tail::NONE),
        0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => Tail::operand_and(1),
        _ => Some(Tail::OPERAND),
    }
}

/// What follows the opcode of a vector instruction (VEX, EVEX) of a map.
fn vector(map: u8, opcode: u8) -> Option<Tail> {
    match (map, opcode) {
        (1, 0x77) => Some(Tail::NONE),
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) => Tail::operand_and(1),
        (1 | 2 | 5 | 6, _) => Some(Tail::OPERAND),
        (3, _) => Tail::operand_and(1),
        _ => None,
    }
}
