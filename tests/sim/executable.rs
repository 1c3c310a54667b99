//! Small executables, and the same ones after some of their functions grew: images in which every
//! address behind a change holds another value, as a rebuilt program has it.
//!
//! Each is an ELF file ("System V Application Binary Interface", chapters 4 and 5) inside of an
//! image, with code, constants, relocations and pointers.

use crate::random::Random;

/// What processor a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// 64-bit ARM.
    AArch64,
    /// 32-bit ARM.
    Arm,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::X86_64, Self::AArch64, Self::Arm];

    fn is_wide(self) -> bool {
        self != Self::Arm
    }

    /// `e_machine`.
    fn machine(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::AArch64 => 183,
            Self::Arm => 40,
        }
    }

    /// The type of relocations that add where the file is loaded.
    fn relative(self) -> u64 {
        match self {
            Self::X86_64 => 8,
            Self::AArch64 => 1027,
            Self::Arm => 23,
        }
    }
}

/// An image with a program of so many functions in it, about 130 bytes each, and the image after
/// an update.
#[must_use]
pub fn images(arch: Arch, functions: u32, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::new(seed);
    let mut program = Program::new(arch, functions, &mut random);
    let around = [random.bytes(8192), random.bytes(5000)];
    let image = |program: &Program, front: usize| {
        [&around[0][front..], &program.file(), &around[1]].concat()
    };
    let source = image(&program, 0);
    program.update(&mut random);
    // Files in an image lie at another block after an update.
    let target = image(&program, 4096);
    (source, target)
}

/// The same images with programs in PE files (Microsoft, "PE Format").
#[must_use]
pub fn pe_images(arch: Arch, functions: u32, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut source, mut target) = images(arch, functions, seed);
    pe_header(arch, &mut source[8192..]);
    pe_header(arch, &mut target[4096..]);
    (source, target)
}

/// Writes a PE header over that of a program, for its code, constants and pointers.
fn pe_header(arch: Arch, file: &mut [u8]) {
    let is_wide = arch.is_wide();
    let (optional_len, section_len, word_len) = if is_wide { (240, 64, 8) } else { (224, 40, 4) };
    let number = |at: usize| {
        let bytes = file[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes)
    };
    let table = usize::try_from(number(if is_wide { 40 } else { 32 })).expect("a small file");
    let flags = [0x6000_0020, 0x4000_0040, 0xc000_0040_u32];
    let sections = [1, 2, 4].into_iter().zip(flags).flat_map(|(index, flags)| {
        let at = table + index * section_len + 8 + word_len;
        let [address, offset, len] = [0, 1, 2].map(|word| number(at + word * word_len));
        let base = u32::try_from(BASE).expect("a small address");
        let numbers = [len, address - base, len, offset, 0, 0, 0, flags];
        let numbers = numbers.into_iter().flat_map(u32::to_le_bytes);
        [0; 8].into_iter().chain(numbers).collect::<Vec<_>>()
    });
    let machine: u16 = match arch {
        Arch::X86_64 => 0x8664,
        Arch::AArch64 => 0xaa64,
        Arch::Arm => 0x1c4,
    };
    let mut header = b"MZ".to_vec();
    header.resize(60, 0);
    header.extend(64_u32.to_le_bytes());
    header.extend(b"PE\0\0");
    header.extend(machine.to_le_bytes());
    header.extend(3_u16.to_le_bytes());
    header.resize(84, 0);
    header.extend(u16::to_le_bytes(optional_len));
    header.resize(88, 0);
    header.extend((if is_wide { 0x20b_u16 } else { 0x10b }).to_le_bytes());
    header.resize(88 + if is_wide { 24 } else { 28 }, 0);
    header.extend(BASE.to_le_bytes());
    header.resize(88 + 60, 0);
    header.extend(4096_u32.to_le_bytes());
    header.resize(88 + usize::from(optional_len), 0);
    let header: Vec<_> = header.into_iter().chain(sections).collect();
    file[..1024].fill(0);
    file[..header.len()].copy_from_slice(&header);
}

/// A program whose addresses are not yet fixed.
#[derive(Debug, Clone)]
struct Program {
    arch: Arch,
    /// In the order of their addresses: the number that others know each by, and its parts.
    functions: Vec<(u32, Vec<Part>)>,
    /// Functions that are pointed to from data.
    pointers: Vec<u32>,
    constants: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    /// An instruction without an address, of these bits.
    Plain(u32),
    /// A call of a function.
    Call(u32),
    /// A constant is pointed to.
    Constant(u16),
}

/// Address of the first byte of the file, and what those of data are beyond their offsets.
const BASE: u64 = 0x1_0000;
const DATA_SHIFT: u64 = 0x1000;

impl Program {
    fn new(arch: Arch, functions: u32, random: &mut Random) -> Self {
        let body = |random: &mut Random| {
            let count = 10 + random.index(30);
            (0..count).map(|_| Part::random(functions, random)).collect()
        };
        Self {
            arch,
            functions: (0..functions).map(|number| (number, body(random))).collect(),
            pointers: (0..functions / 2).map(|_| number(random, functions)).collect(),
            constants: random.bytes(4096),
        }
    }

    /// Some functions grow, one in the middle goes, a new one comes.
    fn update(&mut self, random: &mut Random) {
        let count = u32::try_from(self.functions.len()).expect("a program is small");
        for (_, parts) in self.functions.iter_mut().step_by(9) {
            let at = random.index(parts.len());
            let more: Vec<_> = (0..=random.index(4)).map(|_| Part::Plain(bits(random))).collect();
            parts.splice(at..at, more);
        }
        let parts = (0..30).map(|_| Part::random(count, random)).collect();
        self.functions.insert(self.functions.len() / 5, (count, parts));
        self.pointers.push(count);
    }

    /// The file's bytes.
    fn file(&self) -> Vec<u8> {
        let is_wide = self.arch.is_wide();
        let sections: u16 = 6;
        let (start_len, load_len, section_len) = if is_wide { (64, 56, 64) } else { (52, 32, 40) };
        let mut file = vec![0; 4096];
        let (addresses, text_end) = self.addresses(file.len() as u64);
        let text = file.len() as u64;
        let constants = text_end;
        file.extend(self.code(&addresses, BASE + constants));
        assert_eq!(file.len() as u64, text_end, "functions are as long as they were laid out");
        file.extend(&self.constants);
        let word_len: u64 = if is_wide { 8 } else { 4 };
        let relocation_len = if is_wide { 24 } else { 8 };
        let relocations = file.len() as u64;
        let data = relocations + relocation_len * self.pointers.len() as u64;
        for (index, pointer) in (0_u64..).zip(&self.pointers) {
            word(&mut file, BASE + DATA_SHIFT + data + index * word_len, is_wide);
            word(&mut file, self.arch.relative(), is_wide);
            if is_wide {
                word(&mut file, addresses[index_of(*pointer)], true);
            }
        }
        let pointers = self.pointers.iter().map(|pointer| addresses[index_of(*pointer)]);
        pointers.for_each(|address| word(&mut file, address, is_wide));
        let names = file.len() as u64;
        let names_bytes = b"\0.text\0.rodata\0.rela.dyn\0.data\0.shstrtab\0";
        file.extend(names_bytes);
        file.resize(file.len().next_multiple_of(8), 0);
        let table = file.len() as u64;
        let relocations_kind = if is_wide { 4 } else { 9 };
        let parts: [(u32, u32, u64, u64, u64); 6] = [
            (0, 0, 0, 0, 0),
            (1, 1, 6, text, constants - text),
            (7, 1, 2, constants, relocations - constants),
            (15, relocations_kind, 2, relocations, data - relocations),
            (25, 1, 3, data, names - data),
            (31, 3, 0, names, names_bytes.len() as u64),
        ];
        for (name, kind, flags, at, len) in parts {
            let shift = if flags & 1 == 1 { DATA_SHIFT } else { 0 };
            let address = if flags & 2 == 0 { 0 } else { BASE + shift + at };
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            [flags, address, at, len].iter().for_each(|value| word(&mut file, *value, is_wide));
            file.extend([0; 8]);
            word(&mut file, 1, is_wide);
            word(&mut file, 0, is_wide);
        }
        let mut start = b"\x7fELF\x02\x01\x01".to_vec();
        start[4] = if is_wide { 2 } else { 1 };
        start.resize(16, 0);
        start.extend(3_u16.to_le_bytes());
        start.extend(self.arch.machine().to_le_bytes());
        start.extend(1_u32.to_le_bytes());
        [BASE + text, u64::from(start_len), table]
            .iter()
            .for_each(|v| word(&mut start, *v, is_wide));
        start.extend(0_u32.to_le_bytes());
        let counts: [u16; 6] = [start_len, load_len, 2, section_len, sections, sections - 1];
        start.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        loads(&mut start, [(5, 0, 0, data), (6, data, DATA_SHIFT, names - data)], is_wide);
        file[..start.len()].copy_from_slice(&start);
        file
    }

    /// Where each function starts, by number, if the first stands at `offset`, and the offset of
    /// the end.
    fn addresses(&self, offset: u64) -> (Vec<u64>, u64) {
        let mut addresses = vec![0; self.functions.len()];
        let mut at = offset;
        for (number, parts) in &self.functions {
            addresses[index_of(*number)] = BASE + at;
            at += parts.iter().map(|part| part.len(self.arch)).sum::<u64>();
            at = at.next_multiple_of(16);
        }
        (addresses, at)
    }

    fn code(&self, addresses: &[u64], constants: u64) -> Vec<u8> {
        let mut code = Vec::new();
        for (number, parts) in &self.functions {
            let start = addresses[index_of(*number)];
            let begin = code.len();
            for part in parts {
                let place = start + (code.len() - begin) as u64;
                part.encode(self.arch, place, addresses, constants, &mut code);
            }
            // Filled up with instructions that do nothing.
            while !code.len().is_multiple_of(16) {
                match self.arch {
                    Arch::X86_64 => code.push(0x90),
                    Arch::AArch64 => code.extend(0xd503_201f_u32.to_le_bytes()),
                    Arch::Arm => code.extend(0xe1a0_0000_u32.to_le_bytes()),
                }
            }
        }
        code
    }
}

impl Part {
    fn random(functions: u32, random: &mut Random) -> Self {
        match random.index(4) {
            0 => Self::Call(number(random, functions)),
            1 => Self::Constant(u16::try_from(random.below(4096)).expect("below 4096")),
            _ => Self::Plain(bits(random)),
        }
    }

    /// Bytes of code.
    fn len(self, arch: Arch) -> u64 {
        match (self, arch) {
            (Self::Plain(_) | Self::Call(_), Arch::X86_64) => 5,
            (Self::Constant(_), Arch::X86_64) => 7,
            (Self::Constant(_), Arch::AArch64) => 8,
            _ => 4,
        }
    }

    fn encode(self, arch: Arch, place: u64, addresses: &[u64], constants: u64, out: &mut Vec<u8>) {
        let low = |value: u64| u32::try_from(value & 0xffff_ffff).expect("32 bits were kept");
        let words = |code: &[u32]| code.iter().flat_map(|word| word.to_le_bytes()).collect();
        let code: Vec<u8> = match (self, arch) {
            // mov eax, bits
            (Self::Plain(bits), Arch::X86_64) => [&[0xb8], &bits.to_le_bytes()[..]].concat(),
            // add, with registers and a constant
            (Self::Plain(bits), Arch::AArch64) => words(&[0x9100_0000 | bits & 0x003f_ffff]),
            (Self::Plain(bits), Arch::Arm) => words(&[0xe280_0000 | bits & 0x000f_ffff]),
            (Self::Call(number), _) => {
                let distance = addresses[index_of(number)].wrapping_sub(place);
                match arch {
                    Arch::X86_64 => {
                        [&[0xe8], &low(distance.wrapping_sub(5)).to_le_bytes()[..]].concat()
                    }
                    Arch::AArch64 => words(&[0x9400_0000 | low(distance) >> 2 & 0x03ff_ffff]),
                    Arch::Arm => {
                        words(&[0xeb00_0000 | low(distance.wrapping_sub(8)) >> 2 & 0x00ff_ffff])
                    }
                }
            }
            // lea rax, [rip + distance]
            (Self::Constant(at), Arch::X86_64) => {
                let distance = (constants + u64::from(at)).wrapping_sub(place + 7);
                [&[0x48, 0x8d, 0x05], &low(distance).to_le_bytes()[..]].concat()
            }
            // adrp x0, page; add x0, x0, low bits
            (Self::Constant(at), Arch::AArch64) => {
                let address = constants + u64::from(at);
                let pages = low((address >> 12).wrapping_sub(place >> 12));
                let page = 0x9000_0000 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5;
                words(&[page, 0x9100_0000 | low(address & 0xfff) << 10])
            }
            // mov r0, #at
            (Self::Constant(at), Arch::Arm) => words(&[0xe3a0_0000 | u32::from(at)]),
        };
        out.extend(code);
    }
}

fn number(random: &mut Random, bound: u32) -> u32 {
    u32::try_from(random.below(bound.into())).expect("below a number of 32 bits")
}

fn bits(random: &mut Random) -> u32 {
    u32::try_from(random.any() >> 32).expect("32 bits are left")
}

/// Appends program headers of loads: flags, offset, what the address is further on, length.
fn loads(start: &mut Vec<u8>, loads: [(u32, u64, u64, u64); 2], is_wide: bool) {
    for (flags, at, shift, len) in loads {
        let numbers = [at, BASE + shift + at, BASE + shift + at, len, len];
        start.extend(1_u32.to_le_bytes());
        if is_wide {
            start.extend(flags.to_le_bytes());
        }
        numbers.iter().for_each(|value| word(start, *value, is_wide));
        if !is_wide {
            start.extend(flags.to_le_bytes());
        }
        word(start, 4096, is_wide);
    }
}

fn index_of(number: u32) -> usize {
    usize::try_from(number).expect("a program is in memory")
}

fn word(out: &mut Vec<u8>, value: u64, is_wide: bool) {
    let bytes = value.to_le_bytes();
    out.extend(if is_wide { &bytes[..] } else { &bytes[..4] });
}
