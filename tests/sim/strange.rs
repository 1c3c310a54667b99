//! Executables that no linker makes: sections of every kind, of any machine, wherever they like,
//! each filled with what is likely to be found there, and some of it damaged.
//!
//! For tests that hold two readers of executables against each other.

#![expect(clippy::cast_possible_truncation, reason = "low bits are as good as others")]

use crate::random::Random;

/// Names, types and flags of sections that readers know, and of some that they do not.
const SECTIONS: &[(&[u8], u32, u32)] = &[
    (b".text", 1, 6),
    (b".text", 1, 6),
    (b".init.text", 1, 6),
    (b".data", 1, 3),
    (b".rodata.str", 1, 2),
    (b".rodata", 1, 2),
    (b".eh_frame", 1, 2),
    (b".eh_frame", 0x7000_0001, 2),
    (b".eh_frame_hdr", 1, 2),
    (b".ARM.exidx", 0x7000_0001, 2),
    (b".ARM.extab", 1, 2),
    (b".BTF", 1, 0),
    (b".BTF", 1, 2),
    (b".init_array", 14, 3),
    (b".relr.dyn", 19, 2),
    (b".rela.dyn", 4, 2),
    (b".rela.text", 4, 0x40),
    (b"__table", 1, 2),
    (b"__table", 1, 3),
    (b"__versions", 1, 2),
    (b"__ksymtab", 1, 2),
    (b"__bug_table", 1, 3),
    (b".orc_unwind_ip", 1, 2),
    (b".altinstructions", 1, 2),
    (b".rel.dyn", 9, 2),
    (b".symtab", 2, 0),
    (b".dynsym", 11, 2),
    (b".dynamic", 6, 3),
    (b".bss", 8, 3),
    (b".debug", 1, 0x800),
    (b".comment", 1, 0x30),
];

/// An image, and where in it the executable lies.
#[derive(Debug, Clone)]
pub struct Strange {
    /// The whole image.
    pub image: Vec<u8>,
    /// First byte of the executable.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The address of its first byte, where it is loaded as a whole.
    pub base: u64,
}

/// An image with an executable that is never the same.
#[must_use]
pub fn image(random: &mut Random) -> Strange {
    let front = match random.index(4) {
        0 => random.index(5000),
        1 => 8 * random.index(600),
        _ => 4096 * random.index(2),
    };
    let mut image = random.bytes(front);
    let mut file =
        if random.happens(20) { btf_file(random) } else { File::new(random).bytes(random) };
    let base = file.1;
    image.append(&mut file.0);
    let len = image.len() - front;
    image.extend(random.bytes(4096));
    Strange { image, start: front as u64, len: len as u64, base }
}

/// BTF that is a file of its own.
fn btf_file(random: &mut Random) -> (Vec<u8>, u64) {
    let types = types(random, 9000);
    let mut file = vec![0x9f, 0xeb, 1, 0];
    let damage = u32::from(random.happens(20));
    for word in [24 + damage, 0, len_32(&types), len_32(&types), 100] {
        file.extend(word.to_le_bytes());
    }
    file.extend(types);
    file.extend(random.bytes(100));
    (file, 5 << 60)
}

/// Relocations of a table of rows, each where it ought to be, mostly; and the table's length.
fn table(random: &mut Random) -> (Vec<u8>, usize) {
    let (rows, count, len) = (1 + random.below(120), 1 + random.below(4), 1 + random.below(66));
    let mut relocations = Vec::new();
    for entry in 0..rows * count {
        let row = if random.happens(8) { random.below(rows + 9) } else { entry / count };
        relocations.extend((row * len + entry % count).to_le_bytes());
        relocations.extend([2, 0, 0, 0, random.bytes(1)[0] & 31, 0, 0, 0]);
        relocations.extend(random.below(40_000).to_le_bytes());
    }
    (relocations, (rows * len) as usize + usize::from(random.happens(20)))
}

fn len_32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("it is small")
}

struct File {
    is_wide: bool,
    machine: u16,
    kind: u16,
    base: u64,
    /// A guess at how long it will be, for addresses.
    len: u64,
}

impl File {
    fn new(random: &mut Random) -> Self {
        let (machine, is_wide) = match random.index(8) {
            0..=1 => (62, true),
            2..=3 => (183, true),
            4..=5 => (40, false),
            6 => (243, random.happens(128)),
            _ => ([62, 183, 40, 3][random.index(4)], random.happens(128)),
        };
        let kind = [1, 2, 3, 3][random.index(4)];
        let base = match (random.index(6), is_wide) {
            (0, _) => 0,
            (1, true) => 0xffff_ffff_8100_0000,
            (1, false) => 0xffff_0000,
            (2, true) => (1 << 62) - 9000,
            (3, true) => random.any() & !4095,
            (2 | 3, false) => random.any() & 0xffff_f000,
            _ => 0x40_0000,
        };
        Self { is_wide, machine, kind, base, len: 30_000 }
    }

    fn word(&self, out: &mut Vec<u8>, value: u64) {
        out.extend(&value.to_le_bytes()[..if self.is_wide { 8 } else { 4 }]);
    }

    /// The file, and the address of its first byte.
    fn bytes(&self, random: &mut Random) -> (Vec<u8>, u64) {
        let (header_len, program_len) = if self.is_wide { (64, 56) } else { (52, 32) };
        let programs = random.index(5);
        let programs_at = header_len + 4 * random.index(3);
        let mut file = vec![0; programs_at + programs * program_len];
        let mut names = vec![0];
        let mut sections = vec![(0, 0, 0, 0, 0, 0)];
        for _ in 0..1 + random.index(9) {
            let (name, kind, flags) = SECTIONS[random.index(SECTIONS.len())];
            let align = [1, 4, 8, 16, 16, 64][random.index(6)];
            file.resize(file.len().next_multiple_of(align), 0);
            let mut content = self.content(name, kind, flags, random);
            if name == b"__table" {
                let (relocations, len) = table(random);
                sections.push((
                    names.len(),
                    4,
                    0x40,
                    file.len() as u64,
                    relocations.len() as u64,
                    0,
                ));
                names.extend(b".rela__table\0");
                file.extend(relocations);
                content = random.bytes(len);
            }
            sections.push((names.len(), kind, flags, file.len() as u64, content.len() as u64, 0));
            let address = match random.index(16) {
                0 => random.any(),
                1 => self.base + file.len() as u64 + random.below(9000),
                _ => self.base.wrapping_add(file.len() as u64),
            };
            sections.last_mut().expect("one was pushed").5 = address;
            names.extend(name);
            names.push(0);
            file.extend(content);
        }
        sections.push((0, 3, 0, file.len() as u64, names.len() as u64, 0));
        file.extend(&names);
        let sections_at = file.len().next_multiple_of(4);
        file.resize(sections_at, 0);
        self.section_headers(&sections, &mut file, random);
        self.program_headers(programs, programs_at, &mut file, random);
        let has_sections = !random.happens(20);
        let (programs_at, count) =
            (programs_at as u64, if has_sections { sections.len() } else { 0 });
        self.file_header(programs_at, programs, sections_at as u64, count, &mut file, random);
        if random.happens(90) {
            for _ in 0..random.index(5) {
                let places = [0..header_len, header_len..header_len + 200, sections_at..file.len()];
                let place = places[random.index(3)].clone();
                let at = (place.start + random.index(place.len())).min(file.len() - 1);
                file[at] = [0, 1, 255, random.bytes(1)[0]][random.index(4)];
            }
        }
        (file, self.base)
    }

    fn section_headers(
        &self,
        sections: &[(usize, u32, u32, u64, u64, u64)],
        file: &mut Vec<u8>,
        random: &mut Random,
    ) {
        for (index, (name, kind, flags, offset, len, address)) in (0_u32..).zip(sections) {
            file.extend((*name as u64 as u32).to_le_bytes());
            file.extend(kind.to_le_bytes());
            self.word(file, u64::from(*flags));
            self.word(file, *address);
            let shift = if random.happens(12) { random.below(64) } else { 0 };
            self.word(file, offset.wrapping_add(shift).wrapping_sub(shift / 2));
            self.word(file, *len);
            let any = sections.len() as u64 + 1;
            file.extend((random.below(any) as u32).to_le_bytes());
            // Relocations stand before what they are for.
            let info = if random.happens(128) { random.below(any) as u32 } else { index + 1 };
            file.extend(info.to_le_bytes());
            self.word(file, 16);
            self.word(file, 8);
        }
    }

    fn program_headers(&self, count: usize, at: usize, file: &mut [u8], random: &mut Random) {
        let len = file.len() as u64;
        let mut headers = Vec::new();
        let mut offset = 0;
        for _ in 0..count {
            if random.happens(40) {
                offset = random.below(len);
            }
            let part = 1 + random.below(len - offset);
            let shift = match random.index(8) {
                0 => random.any() & 0xfff_f000,
                1 => random.below(90),
                2..=3 => 4096,
                _ => 0,
            };
            let address = self.base.wrapping_add(offset).wrapping_add(shift);
            let flags = [4_u32, 5, 5, 6][random.index(4)];
            let more = if random.happens(60) { random.below(5000) } else { 0 };
            let kind = if random.happens(20) { 2_u32 } else { 1 };
            headers.extend(kind.to_le_bytes());
            if self.is_wide {
                headers.extend(flags.to_le_bytes());
            }
            for word in [offset, address, address, part, part + more] {
                self.word(&mut headers, word);
            }
            if !self.is_wide {
                headers.extend(flags.to_le_bytes());
            }
            self.word(&mut headers, 4096);
            offset = (offset + part).min(len - 1);
        }
        file[at..at + headers.len()].copy_from_slice(&headers);
    }

    fn file_header(
        &self,
        programs_at: u64,
        programs: usize,
        sections_at: u64,
        sections: usize,
        file: &mut [u8],
        random: &mut Random,
    ) {
        let mut header = b"\x7fELF".to_vec();
        header.extend([if self.is_wide { 2 } else { 1 }, 1, 1]);
        header.resize(16, 0);
        header.extend(self.kind.to_le_bytes());
        header.extend(self.machine.to_le_bytes());
        header.extend(1_u32.to_le_bytes());
        self.word(&mut header, self.base.wrapping_add(random.below(self.len)));
        self.word(&mut header, programs_at);
        self.word(&mut header, sections_at);
        header.extend(0_u32.to_le_bytes());
        let sizes: [u64; 6] = match self.is_wide {
            true => [64, 56, programs as u64, 64, sections as u64, sections.max(1) as u64 - 1],
            false => [52, 32, programs as u64, 40, sections as u64, sections.max(1) as u64 - 1],
        };
        for size in sizes {
            header.extend(&size.to_le_bytes()[..2]);
        }
        file[..header.len()].copy_from_slice(&header);
    }

    fn content(&self, name: &[u8], kind: u32, flags: u32, random: &mut Random) -> Vec<u8> {
        let len = match random.index(6) {
            0 => random.index(9),
            1 => random.index(100),
            _ => random.index(7000),
        };
        let mut content = match (name, kind, flags) {
            (_, 8, _) => return Vec::new(),
            (b".BTF", ..) => types(random, len),
            (b".eh_frame", ..) => self.call_frames(random, len),
            (b".rodata", ..) => self.constants(random, len),
            (.., 6) => self.code(random, len),
            _ => self.words(random, len),
        };
        content.truncate(len);
        content
    }

    /// An address in or near the file.
    fn address(&self, random: &mut Random) -> u64 {
        self.base.wrapping_add(random.below(self.len + 2000))
    }

    /// Words of all that tables hold.
    fn words(&self, random: &mut Random, len: usize) -> Vec<u8> {
        let mut words = Vec::new();
        while words.len() < len {
            match random.index(10) {
                0 => self.word(&mut words, 0),
                1 => words.extend((random.below(40) as u32).to_le_bytes()),
                2 => self.word(&mut words, [2, 4, 8, 23, 37, 1027, 1032][random.index(7)]),
                3 => self.word(&mut words, random.below(self.len)),
                4 => words
                    .extend((random.below(2 * self.len) as u32).wrapping_sub(30_000).to_le_bytes()),
                5 => words.extend((random.any() as u32 & 0x7fff_ffff).to_le_bytes()),
                6 => words.extend(random.bytes(4)),
                7 => words.extend([0, 0, 0, 0, random.bytes(1)[0] & 0x13, 0, 1, 0]),
                _ => self.word(&mut words, self.address(random)),
            }
        }
        words
    }

    fn constants(&self, random: &mut Random, len: usize) -> Vec<u8> {
        let mut words = Vec::new();
        while words.len() < len {
            if random.happens(60) {
                words.extend(self.words(random, 20));
            }
            let start = random.below(self.len) as u32;
            for _ in 0..random.index(9) {
                let word = start.wrapping_sub(20_000).wrapping_add(random.below(300) as u32);
                words.extend(word.to_le_bytes());
            }
        }
        words
    }

    fn call_frames(&self, random: &mut Random, len: usize) -> Vec<u8> {
        let mut frames = Vec::new();
        while frames.len() < len {
            let record_len = 4 * (3 + random.below(6) as u32);
            let back = 4 * random.below(frames.len() as u64 / 4 + 3) as u32;
            frames.extend(record_len.to_le_bytes());
            frames.extend(back.to_le_bytes());
            let start = random.below(2 * self.len) as u32;
            frames.extend(start.wrapping_sub(30_000).to_le_bytes());
            frames.extend((random.below(400) as u32).to_le_bytes());
            if record_len > 16 {
                frames.push([0, 4, 4][random.index(3)]);
                let place = random.below(self.len) as u32;
                frames.extend(place.wrapping_sub(15_000).to_le_bytes());
            }
            frames.resize(frames.len().next_multiple_of(4), 0);
        }
        frames
    }

    fn code(&self, random: &mut Random, len: usize) -> Vec<u8> {
        let mut code = Vec::new();
        while code.len() < len {
            match self.machine {
                62 => self.x86(&mut code, random),
                183 => code.extend(a64(random).to_le_bytes()),
                40 => arm(&mut code, random),
                _ => code.extend(random.bytes(4)),
            }
        }
        code
    }

    fn x86(&self, code: &mut Vec<u8>, random: &mut Random) {
        const OPCODES: [&[u8]; 12] = [
            &[0xe8],
            &[0xe9],
            &[0x0f, 0x84],
            &[0x48, 0x8d, 0x05],
            &[0x48, 0x8b, 0x0d],
            &[0xc7, 0x05],
            &[0x80, 0x3d],
            &[0xc5, 0xf9, 0x6f, 0x05],
            &[0x66, 0x81, 0x3d],
            &[0xff, 0x14, 0x25],
            &[0x48, 0xc7, 0xc0],
            &[0xbf],
        ];
        if random.happens(160) {
            code.extend(OPCODES[random.index(12)]);
            for _ in 0..=random.index(2) {
                let near = (random.below(2 * self.len) as u32).wrapping_sub(30_000);
                let word = if random.happens(90) { self.address(random) as u32 } else { near };
                code.extend(word.to_le_bytes());
            }
        } else {
            let len = random.index(9);
            code.extend(random.bytes(len));
        }
    }
}

/// A word of AArch64 code, its distances short.
fn a64(random: &mut Random) -> u32 {
    const TOPS: [u32; 40] = [
        0x14, 0x17, 0x94, 0x97, 0x54, 0x34, 0xb5, 0x18, 0x5c, 0xd8, 0x36, 0xb7, 0x10, 0x70, 0x90,
        0xb0, 0xd0, 0xf0, 0x90, 0xb0, 0xd0, 0xf0, 0x91, 0x91, 0x39, 0x3d, 0x79, 0x7d, 0xb9, 0xbd,
        0xf9, 0xfd, 0xd6, 0xa9, 0xb8, 0xf8, 0x1e, 0x0e, 0xaa, 0x1a,
    ];
    let bits = random.any() as u32;
    let register = bits & 3 | bits & 0x60;
    match random.index(16) {
        0 if random.happens(60) => 0,
        0 => bits,
        1 => TOPS[random.index(40)] << 24 | bits & 0xff_ffff,
        2..=5 => {
            // A page near, and a low part of it.
            let sign = if bits >> 9 & 1 == 1 { 0xff_ffe0 } else { 0 };
            0x90 << 24 | (bits & 0x60) << 24 | sign & !(bits >> 4 & 0x60) | bits & 3
        }
        6 => TOPS[random.index(40)] << 24 | 0xff_f000 | register,
        _ => TOPS[random.index(40)] << 24 | bits & 0x3f_fc00 & random.any() as u32 | register,
    }
}

/// Some A32 or T32 code, or constants.
fn arm(code: &mut Vec<u8>, random: &mut Random) {
    const A32: [u32; 12] = [
        0xeb00_0000,
        0x0aff_f000,
        0xfa00_0100,
        0xe59f_1010,
        0xe51f_2004,
        0xe08f_1001,
        0xe79f_1001,
        0xe081_100f,
        0xed9f_0b04,
        0xe28f_c600,
        0xe28c_ca00,
        0xe5bc_f000,
    ];
    const T32: [u16; 14] = [
        0x4479, 0x44fc, 0x4902, 0x4904, 0xd0fe, 0xe7f0, 0xb120, 0xb938, 0x4478, 0xbf00, 0x4601,
        0xb5f0, 0xe001, 0xdd01,
    ];
    const LONG: [(u16, u16); 7] = [
        (0xf7ff, 0xfffe),
        (0xf000, 0xf801),
        (0xf000, 0xe802),
        (0xf43f, 0xaf00),
        (0xf8df, 0xc010),
        (0xed9f, 0x0b04),
        (0xf85f, 0x1008),
    ];
    let count = random.index(50);
    let is_a32 = random.happens(128);
    for _ in 0..count {
        let bits = random.any() as u32;
        if random.happens(20) {
            code.extend((bits & 0x7fff).to_le_bytes());
        } else if is_a32 {
            let word = A32[random.index(12)] ^ bits & random.any() as u32 & 0x1f;
            code.extend((word | if random.happens(150) { 0 } else { bits & 0x7ff }).to_le_bytes());
        } else if random.happens(100) {
            let (h, n) = LONG[random.index(7)];
            code.extend((h ^ bits as u16 & 0x43 & random.any() as u16).to_le_bytes());
            code.extend((n ^ (bits >> 16) as u16 & 0x7f).to_le_bytes());
        } else {
            code.extend(
                (T32[random.index(14)] ^ bits as u16 & 0xf & random.any() as u16).to_le_bytes(),
            );
        }
    }
    if random.happens(60) {
        code.extend(
            [0xe28f_c600_u32, 0xe28c_ca00, 0xe5bc_f000 | random.below(4096) as u32]
                .map(u32::to_le_bytes)
                .concat(),
        );
    }
}

/// Descriptions of types in the order of BTF, some of them broken.
fn types(random: &mut Random, len: usize) -> Vec<u8> {
    let mut types = Vec::new();
    while types.len() < len {
        let kind = 1 + random.below(19) as u32;
        let count = random.below(6) as u32;
        let info = kind << 24 | count | if random.happens(20) { 0x8000_0000 } else { 0 };
        let info = if random.happens(12) { random.any() as u32 } else { info };
        let mut number = || (random.below(9000) as u32) * u32::from(random.happens(220));
        types.extend([number(), info, number()].map(u32::to_le_bytes).concat());
        let words = match kind {
            1 | 14 | 17 => 1,
            3 => 3,
            4 | 5 | 15 | 19 => 3 * count,
            6 | 13 => 2 * count,
            _ => 0,
        };
        (0..words).for_each(|_| types.extend(number().to_le_bytes()));
    }
    types
}
