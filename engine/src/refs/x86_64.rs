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
        let scan = Scan { region, offset: offset.wrapping_add(at as u64), code: rest };
        scan.instruction(instruction, place.wrapping_add(at as u64), out);
        at += instruction.len;
    }
}

/// An instruction and what it is part of.
struct Scan<'a> {
    region: &'a Region,
    /// Where it starts in the source.
    offset: u64,
    /// Its bytes and those behind.
    code: &'a [u8],
}

impl Scan<'_> {
    fn instruction(&self, instruction: Instruction, place: u64, out: &mut Vec<Field>) {
        if let Some(at) = instruction.relative_at {
            let end = place.wrapping_add(instruction.len as u64);
            let address = end.wrapping_add_signed(self.number(at).into());
            let is_field = if instruction.is_jump {
                self.region.is_code(address)
            } else {
                self.region.is_loaded(address)
            };
            // A distance of 0 is one that a linker will fill in.
            if is_field && self.number(at) != 0 {
                let form = match instruction.constant {
                    0 => Form::Behind32,
                    ahead => Form::Ahead32 { ahead },
                };
                self.push(at, address, form, out);
            }
        }
        if self.region.is_fixed {
            let constant_at = instruction.len - usize::from(instruction.constant);
            for at in instruction
                .displacement_at
                .into_iter()
                .chain((instruction.constant == 4 && !instruction.is_jump).then_some(constant_at))
            {
                let address = u64::from(self.number(at).cast_unsigned());
                if self.region.is_loaded(address) {
                    self.push(at, address, Form::Absolute32, out);
                }
            }
        }
    }

    fn push(&self, at: usize, address: u64, form: Form, out: &mut Vec<Field>) {
        out.push(Field { offset: self.offset.wrapping_add(at as u64), address, form });
    }

    fn number(&self, at: usize) -> i32 {
        let field = self.code.get(at..).and_then(|field| field.first_chunk());
        field.map_or(0, |field| i32::from_le_bytes(*field))
    }
}

/// What an instruction is for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    /// Its bytes.
    len: usize,
    /// Where in it 4 bytes stand that are relative to its end.
    relative_at: Option<usize>,
    /// Where in it 4 bytes stand that are added to a register or to none.
    displacement_at: Option<usize>,
    /// Bytes of the constant at its end.
    constant: u8,
    /// Whether the relative bytes are where it jumps to.
    is_jump: bool,
}

/// What follows an opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tail {
    /// Whether an operand byte (ModRM) and what it asks for.
    has_operand: bool,
    /// Bytes of constants behind that.
    constant: u8,
}

impl Tail {
    const NONE: Self = Self { has_operand: false, constant: 0 };
    const OPERAND: Self = Self { has_operand: true, constant: 0 };

    const fn constant(constant: u8) -> Option<Self> {
        Some(Self { has_operand: false, constant })
    }

    const fn operand_and(constant: u8) -> Option<Self> {
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
        let (mut relative_at, mut displacement_at) = (None, None);
        if has_operand {
            let operand = *code.get(at)?;
            let scale = code.get(at + 1).copied();
            let (has_scale, displacement) = operand_shape(operand, scale);
            at += 1 + usize::from(has_scale);
            if operand & 0xc7 == 5 {
                relative_at = Some(at);
            } else if displacement == 4 {
                displacement_at = Some(at);
            }
            at += displacement;
        }
        let len = at + usize::from(constant);
        let is_jump = false;
        let is_whole = len <= code.len();
        is_whole.then_some(Self { len, relative_at, displacement_at, constant, is_jump })
    }

    fn jump(code: &[u8], at: usize) -> Option<Self> {
        let len = at + 4;
        let (relative_at, displacement_at, constant, is_jump) = (Some(at), None, 0, true);
        let is_whole = len <= code.len();
        is_whole.then_some(Self { len, relative_at, displacement_at, constant, is_jump })
    }
}

/// Whether a scale byte follows an operand byte, and the bytes of its displacement.
fn operand_shape(operand: u8, scale: Option<u8>) -> (bool, usize) {
    let (mode, register) = (operand >> 6, operand & 7);
    let has_scale = mode != 3 && register == 4;
    let has_no_base = register == 5 || has_scale && scale.is_some_and(|scale| scale & 7 == 5);
    let displacement = match mode {
        0 if has_no_base => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    (has_scale, displacement)
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
        0xf6 => Tail::operand_and(u8::from(next & 0x30 == 0)),
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
