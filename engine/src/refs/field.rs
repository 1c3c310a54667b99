//! A field that holds an address: where it is, what it points to, and how it spells that.

/// A field of the source that holds an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Where it starts, as an offset in the source image.
    pub offset: u64,
    /// What it points to, in the region's address space.
    pub address: u64,
    /// How the address is spelled.
    pub form: Form,
}

/// How a field spells an address. `place` is the address of the field's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// 4 bytes: address less the address behind the field (x86 calls, jumps, RIP operands).
    Behind32,
    /// 4 bytes: address less the address `ahead` bytes behind the field (x86 RIP operands in
    /// front of an immediate).
    Ahead32 {
        /// Bytes of the instruction behind the field.
        ahead: u8,
    },
    /// 4 bytes: address less `place` (`.eh_frame` pointers).
    Place32,
    /// 4 bytes: `place` less address (`.eh_frame` records, back to their common one).
    Back32,
    /// 4 bytes: one more than address less the given address (a length, by its last byte).
    Last32(u64),
    /// 4 bytes: address less the given address (jump tables, `.eh_frame_hdr`).
    Base32(u64),
    /// 4 bytes: address less the given address, in units of `size` bytes (indices into tables).
    Index32 {
        /// Where the table starts.
        base: u64,
        /// Bytes of an entry.
        size: u8,
    },
    /// The high 24 bits of 4 bytes: address less the given address, in units of 16 bytes (symbols
    /// of 32-bit relocations).
    Index24 {
        /// Where the table starts.
        base: u64,
    },
    /// 8 bytes: the address.
    Absolute64,
    /// 8 bytes: address less the given address, and `more` (offsets into sections).
    Base64 {
        /// Where the section starts.
        base: u64,
        /// What the value is more than the distance.
        more: i8,
    },
    /// 8 bytes: where a row starts in the table that relocations are for, and `more`; the address
    /// is that of the relocation itself.
    Row64 {
        /// Where the relocations start.
        base: u64,
        /// How they and the rows go together.
        rows: Rows,
        /// Which one of its row it is.
        index: u8,
        /// Where in the row it points to.
        more: u8,
    },
    /// 4 bytes: the address.
    Absolute32,
    /// AArch64 instruction: 26 bits of words from `place` (`B`, `BL`).
    A64Branch26,
    /// AArch64 instruction: 19 bits of words from `place` (`B.cond`, `CBZ`, `LDR` literal).
    A64Branch19,
    /// AArch64 instruction: 14 bits of words from `place` (`TBZ`, `TBNZ`).
    A64Branch14,
    /// AArch64 `ADR`: 21 bits of bytes from `place`.
    A64Adr,
    /// AArch64 `ADRP`: pages from the page of `place`.
    A64Page,
    /// AArch64 instruction with the low 12 bits, in units of `1 << shift` bytes.
    A64Low12 {
        /// log2 of the unit.
        shift: u8,
    },
    /// 4 bytes: low 31 bits of address less `place`, without the high bit (ARM unwinding).
    Place31,
    /// A32 instruction: 24 bits of words from `place + 8` (`B`, `BL`).
    A32Branch,
    /// A32 instruction: 25 bits of half words from `place + 8` (`BLX`).
    A32Exchange,
    /// A32 instruction of a linkage table entry: bits 20 to 27, 12 to 19 or 0 to 11 of the
    /// distance from 8 bytes behind the first.
    A32Stub {
        /// Which of the three.
        part: u8,
    },
    /// T32 instruction: 24 bits of half words from `place + 4` (`B`, `BL`).
    T32Branch24,
    /// T32 instruction: 20 bits of half words from `place + 4` (`B` with a condition).
    T32Branch20,
    /// T32 instruction: 23 bits of words from `place + 4`, rounded down to one (`BLX`).
    T32Exchange,
    /// T32 instruction: 12 bits and a sign from `place + 4`, rounded down to a word (`LDR`
    /// literal).
    T32Literal12,
    /// T32 instruction of 2 bytes: 11 bits of half words from `place + 4` (`B`).
    T32Branch11,
    /// T32 instruction of 2 bytes: 8 bits of half words from `place + 4` (`B` with a condition).
    T32Branch8,
    /// T32 instruction of 2 bytes: 6 bits of half words from `place + 4`, upwards (`CBZ`, `CBNZ`).
    T32Zero,
    /// T32 instruction of 2 bytes: 8 bits of words from `place + 4`, rounded down to one, upwards
    /// (`LDR` literal).
    T32Literal8,
}

/// A table of rows that all have as many relocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Relocations of a row, at least 1.
    pub count: u8,
    /// Bytes of a row.
    pub len: u8,
}

impl Form {
    /// Bytes of the field.
    #[expect(clippy::len_without_is_empty, reason = "a field has bytes")]
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Absolute64 | Self::Base64 { .. } | Self::Row64 { .. } => 8,
            Self::T32Branch11 | Self::T32Branch8 | Self::T32Zero | Self::T32Literal8 => 2,
            _ => 4,
        }
    }

    /// A number for the form, by which the coder `cm` knows where in a word the value lies.
    #[must_use]
    pub fn kind(self) -> u8 {
        match self {
            Self::Behind32 => 1,
            Self::Ahead32 { .. } => 2,
            Self::Place32 => 3,
            Self::Base32(_) => 4,
            Self::Index32 { .. } => 5,
            Self::Absolute64 => 6,
            Self::Base64 { .. } => 7,
            Self::Absolute32 => 8,
            Self::A64Branch26 => 9,
            Self::A64Branch19 => 10,
            Self::A64Branch14 => 11,
            Self::A64Adr => 12,
            Self::A64Page => 13,
            Self::A64Low12 { .. } => 14,
            Self::Back32 => 15,
            Self::Last32(_) => 16,
            Self::A32Branch => 17,
            Self::A32Exchange => 18,
            Self::Row64 { .. } => 19,
            Self::A32Stub { .. } => 20,
            Self::T32Branch24 => 21,
            Self::T32Branch20 => 22,
            Self::T32Exchange => 23,
            Self::T32Literal12 => 24,
            Self::T32Branch11 => 25,
            Self::T32Branch8 => 26,
            Self::T32Zero => 27,
            Self::T32Literal8 => 28,
            Self::Place31 => 29,
            Self::Index24 { .. } => 30,
        }
    }
}
