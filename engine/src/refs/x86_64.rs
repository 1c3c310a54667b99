//! Addresses in x86-64 code: calls, jumps, and operands relative to the instruction pointer.
//!
//! Lengths of instructions are all that is decoded. From the start of a block the walk soon falls
//! into step with the true instructions, whatever byte it began at. Encodings: "Intel 64 and IA-32
//! Architectures Software Developer's Manual", volume 2, chapter 2 and appendix A.

use super::field::{Field, Form};
use super::region::{Addresses, Region, Span};

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
    let mut scan = Scan { addresses: Addresses::of(region), offset, place, bytes, out };
    let mut at = 0;
    while at < bytes.len() {
        at += match Instruction::of(&bytes[at..]) {
            Some(instruction) => {
                scan.instruction(instruction, at);
                instruction.len
            }
            None => 1,
        };
    }
}

/// A walk over the instructions of a block.
struct Scan<'a> {
    addresses: Addresses<'a>,
    /// Where the block starts, in the source and in the address space.
    offset: u64,
    place: u64,
    bytes: &'a [u8],
    out: &'a mut Vec<Field>,
}

impl Scan<'_> {
    /// Takes the instruction at byte `at` of the block.
    #[inline(always)]
    fn instruction(&mut self, instruction: Instruction, at: usize) {
        let Instruction { len, number_at, holds, constant } = instruction;
        if matches!(holds, Holds::Jump | Holds::Relative) {
            let distance = self.number(at + number_at);
            let end = self.place.wrapping_add((at + len) as u64);
            let address = end.wrapping_add_signed(distance.into());
            let is_field = match holds {
                Holds::Jump => self.addresses.is_code(address),
                _ => self.addresses.is_loaded(address),
            };
            // A distance of 0 is one that a linker will fill in.
            if is_field && distance != 0 {
                let form = match constant {
                    0 => Form::Behind32,
                    ahead => Form::Ahead32 { ahead },
                };
                self.push(at + number_at, address, form);
            }
        }
        if self.addresses.region.is_fixed {
            if holds == Holds::Displacement {
                self.absolute(at + number_at);
            }
            if constant == 4 {
                self.absolute(at + len - 4);
            }
        }
    }

    /// 4 bytes that may hold an address whole.
    fn absolute(&mut self, at: usize) {
        let address = u64::from(self.number(at).cast_unsigned());
        if self.addresses.is_loaded(address) {
            self.push(at, address, Form::Absolute32);
        }
    }

    fn push(&mut self, at: usize, address: u64, form: Form) {
        self.out.push(Field { offset: self.offset.wrapping_add(at as u64), address, form });
    }

    fn number(&self, at: usize) -> i32 {
        let field = self.bytes.get(at..).and_then(|field| field.first_chunk());
        field.map_or(0, |field| i32::from_le_bytes(*field))
    }
}

/// What an instruction is for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    /// Its bytes.
    len: usize,
    /// Where in it the 4 bytes stand that it holds, if it does.
    number_at: usize,
    holds: Holds,
    /// Bytes of the constant at its end; none of a jump.
    constant: u8,
}

/// What 4 bytes of an instruction are, beside a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// Relative to the end of the instruction: where it jumps to.
    Jump,
    /// Relative to the end of the instruction: an operand.
    Relative,
    /// Added to a register or to none.
    Displacement,
}

impl Instruction {
    /// The instruction that `code` starts with, if it is a known one and all there.
    #[inline(always)]
    fn of(code: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut byte = *code.first()?;
        let mut is_narrow = false;
        while ONE_BYTE[0][usize::from(byte)] == PREFIX {
            is_narrow |= byte == 0x66;
            at += 1;
            byte = *code.get(at)?;
        }
        let is_wide = byte & 0xf8 == 0x48;
        // Not a branch: it would be mispredicted as often as not.
        at += usize::from(byte & 0xf0 == 0x40);
        let opcode = *code.get(at)?;
        at += 1;
        let mut tail =
            ONE_BYTE[usize::from(is_narrow) + 2 * usize::from(is_wide)][usize::from(opcode)];
        if tail & RARE != 0 {
            let opcode_len;
            (opcode_len, tail) = rare(opcode, &code[at..], is_narrow)?;
            at += opcode_len;
        }
        if tail & JUMP != 0 {
            let len = at + 4;
            let jump = Self { len, number_at: at, holds: Holds::Jump, constant: 0 };
            return (len <= code.len()).then_some(jump);
        }
        let mut holds = Holds::Nothing;
        if tail & OPERAND != 0 {
            let operand = OPERANDS[usize::from(*code.get(at)?)];
            let has_base =
                operand & SCALE == 0 || code.get(at + 1).is_none_or(|scale| scale & 7 != 5);
            at += usize::from(operand & LEN);
            holds = match operand & (RELATIVE | FAR) {
                0 => Holds::Nothing,
                FAR => Holds::Displacement,
                _ => Holds::Relative,
            };
            if !has_base {
                at += 4;
                holds = Holds::Displacement;
            }
        }
        let constant = tail & LEN;
        let len = at + usize::from(constant);
        (len <= code.len()).then_some(Self { len, number_at: at.wrapping_sub(4), holds, constant })
    }
}

/// What follows an opcode, in a byte: how long the constant at the end is, and these.
type Tail = u8;
const LEN: Tail = 0x0f;
/// An operand byte (ModRM) and what it asks for.
const OPERAND: Tail = 0x10;
/// 4 bytes relative to the end, where it jumps to.
const JUMP: Tail = 0x20;
/// What [`rare`] knows.
const RARE: Tail = 0x80;
/// It is no opcode but a prefix.
const PREFIX: Tail = 0xc0;

/// What follows opcodes of one byte, where a constant of full length is of 4 bytes, and of 2
/// (`66`), and the same for instructions of 64 bits.
static ONE_BYTE: [[Tail; 256]; 4] = [
    one_bytes(false, false),
    one_bytes(true, false),
    one_bytes(false, true),
    one_bytes(true, true),
];

/// What follows the second byte of an opcode whose first is `0f`.
static TWO_BYTE: [Tail; 256] = two_bytes();

/// What follows an operand byte, itself included: how long it is, and these.
static OPERANDS: [u8; 256] = operands();
/// 4 bytes at its end are relative to the end of the instruction.
const RELATIVE: u8 = 0x20;
/// 4 bytes at its end are added to a register or to none.
const FAR: u8 = 0x40;
/// A scale byte follows; without a base, so do 4 bytes behind it.
const SCALE: u8 = 0x80;
/// What follows an opcode of which its byte alone does not tell it, and how many bytes more it has;
/// none where there is no such instruction.
fn rare(opcode: u8, behind: &[u8], is_narrow: bool) -> Option<(usize, Tail)> {
    let next = behind.first().copied().unwrap_or(0);
    let (opcode_len, tail) = match opcode {
        0x0f => (1 + usize::from(next & 0xfd == 0x38), TWO_BYTE[usize::from(next)]),
        0xc5 => (2, vector(1, *behind.get(1)?)),
        0xc4 => (3, vector(next & 0x1f, *behind.get(2)?)),
        0x62 => (4, vector(next & 7, *behind.get(3)?)),
        // Only the first two of the eight instructions have a constant.
        0xf6 | 0xf7 if next & 0x30 != 0 => (0, OPERAND),
        0xf6 => (0, OPERAND | 1),
        0xf7 => (0, OPERAND | if is_narrow { 2 } else { 4 }),
        _ => return None,
    };
    (tail != RARE).then_some((opcode_len, tail))
}

/// What follows an opcode of one byte.
const fn one_byte(opcode: u8, is_narrow: bool, is_wide: bool) -> Tail {
    let full = if is_narrow { 2 } else { 4 };
    match opcode {
        0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => PREFIX,
        0x0f => RARE,
        0x00..=0x3f => match opcode & 7 {
            0..=3 => OPERAND,
            4 => 1,
            5 => full,
            _ => RARE,
        },
        0x50..=0x5f | 0x6c..=0x6f | 0x90..=0x99 | 0x9b..=0x9f | 0xa4..=0xa7 | 0xaa..=0xaf => 0,
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
        | 0xf8..=0xfd => 0,
        0x63 | 0x84..=0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => OPERAND,
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => 1,
        0x68 | 0xa9 => full,
        0x69 | 0x81 | 0xc7 => OPERAND | full,
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => OPERAND | 1,
        0xa0..=0xa3 => 8,
        0xb8..=0xbf if is_wide => 8,
        0xb8..=0xbf => full,
        0xc2 | 0xca => 2,
        0xc8 => 3,
        0xe8 | 0xe9 => JUMP,
        _ => RARE,
    }
}

const fn one_bytes(is_narrow: bool, is_wide: bool) -> [Tail; 256] {
    let mut table = [0; 256];
    let mut opcode = 0_u8;
    loop {
        table[opcode as usize] = one_byte(opcode, is_narrow, is_wide);
        match opcode.checked_add(1) {
            Some(next) => opcode = next,
            None => return table,
        }
    }
}

/// What follows the second byte of an opcode whose first is `0f`, or the third behind `38` and
/// `3a`.
const fn two_byte(opcode: u8) -> Tail {
    match opcode {
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f | 0xa6 | 0xa7 => RARE,
        0x05..=0x09
        | 0x0b
        | 0x0e
        | 0x30..=0x37
        | 0x77
        | 0xa0..=0xa2
        | 0xa8..=0xaa
        | 0xc8..=0xcf => 0,
        0x80..=0x8f => JUMP,
        0x0f | 0x3a | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => OPERAND | 1,
        _ => OPERAND,
    }
}

const fn two_bytes() -> [Tail; 256] {
    let mut table = [0; 256];
    let mut opcode = 0_u8;
    loop {
        table[opcode as usize] = two_byte(opcode);
        match opcode.checked_add(1) {
            Some(next) => opcode = next,
            None => return table,
        }
    }
}

/// What follows the opcode of a vector instruction (VEX, EVEX) of a map.
fn vector(map: u8, opcode: u8) -> Tail {
    match (map, opcode) {
        (1, 0x77) => 0,
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) => OPERAND | 1,
        (1 | 2 | 5 | 6, _) => OPERAND,
        (3, _) => OPERAND | 1,
        _ => RARE,
    }
}

/// What follows an operand byte, if a scale byte says that there is a base.
const fn operand(byte: u8) -> u8 {
    let (mode, register) = (byte >> 6, byte & 7);
    let scale_len = if mode != 3 && register == 4 { 1 } else { 0 };
    match mode {
        0 if register == 5 => RELATIVE | 5,
        0 if register == 4 => SCALE | 2,
        0 | 3 => 1,
        1 => 2 + scale_len,
        _ => FAR | (5 + scale_len),
    }
}

const fn operands() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = operand(byte);
        match byte.checked_add(1) {
            Some(next) => byte = next,
            None => return table,
        }
    }
}
