//! PE headers, read step by step: programs of UEFI and Windows, and kernels that UEFI starts.
//!
//! As with ELF, everything is bounded and nothing is refused. Layouts: Microsoft, "PE Format".

use super::elf::Fields;
use super::region::{Arch, Kind, Load, Region, Span};

/// The first bytes of a PE file.
pub(super) const MAGIC: &[u8] = b"MZ";

/// Bytes of the signature and the file header, and of a section header.
const FILE_HEADER_LEN: u16 = 24;
const SECTION_LEN: u16 = 40;

/// Most sections that are read, and most bytes of the optional header.
const SECTIONS_MAX: u16 = 96;
const OPTIONAL_LEN_MAX: u16 = 4096;

/// The index of the table of functions among the data directories.
const FUNCTIONS: u32 = 3;

/// Reads the headers of a PE file that starts at an offset of an image.
#[derive(Debug)]
pub(super) struct PeReader {
    image_size: u64,
    /// Where the signature is, from the start.
    at: u64,
    step: Step,
    region: Region,
    loads: Vec<Load>,
    spans: Vec<Span>,
    /// Where bytes of the file end that anything is known of.
    end: u64,
}

/// What is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    FileHeader,
    /// The optional header, of so many bytes, and so many section headers behind it.
    Sections(u16, u16),
    Done,
}

impl PeReader {
    /// A reader of the file at byte `offset` of an image, whose first 64 bytes are `start`.
    pub(super) fn new(offset: u64, image_size: u64, start: &[u8]) -> Self {
        let at = Fields { bytes: start, is_wide: false }.u32(60).into();
        let (step, region) = (Step::FileHeader, Region::new(offset));
        let (loads, spans) = (Vec::new(), Vec::new());
        Self { image_size, at, step, region, loads, spans, end: 0 }
    }

    /// Which bytes of the image are needed next, if any.
    pub(super) fn want(&self) -> Option<(u64, usize)> {
        let (at, len) = match self.step {
            Step::FileHeader => (self.at, FILE_HEADER_LEN),
            Step::Sections(optional, count) => {
                (self.at + u64::from(FILE_HEADER_LEN), optional + count * SECTION_LEN)
            }
            Step::Done => return None,
        };
        let offset = self.region.offset.saturating_add(at);
        let is_within = offset.saturating_add(len.into()) <= self.image_size;
        (is_within && len > 0).then_some((offset, len.into()))
    }

    /// Takes the bytes that were wanted.
    pub(super) fn give(&mut self, bytes: &[u8]) {
        self.step = match self.step {
            Step::FileHeader => self.file_header(bytes),
            Step::Sections(optional, _) => {
                let (optional, sections) = bytes.split_at(bytes.len().min(optional.into()));
                self.sections(optional, sections);
                Step::Done
            }
            Step::Done => Step::Done,
        };
    }

    /// The region; none where there is no PE file.
    pub(super) fn finish(self) -> Option<Region> {
        let Self { mut region, loads, spans, end, .. } = self;
        region.spans = Region::apart(spans);
        region.load(end, loads, false);
        (end > 0).then_some(region)
    }

    fn file_header(&mut self, bytes: &[u8]) -> Step {
        let fields = Fields { bytes, is_wide: false };
        let optional = fields.u16(20);
        if !bytes.starts_with(b"PE\0\0") || optional > OPTIONAL_LEN_MAX {
            return Step::Done;
        }
        self.region.arch = match fields.u16(4) {
            0x8664 => Arch::X86_64,
            0xaa64 => Arch::AArch64,
            0x1c0 | 0x1c2 | 0x1c4 => Arch::Arm,
            _ => Arch::Other,
        };
        Step::Sections(optional, fields.u16(6).min(SECTIONS_MAX))
    }

    fn sections(&mut self, optional: &[u8], sections: &[u8]) {
        let fields = Fields { bytes: optional, is_wide: false };
        let is_wide = match fields.u16(0) {
            0x10b => false,
            0x20b => true,
            _ => return,
        };
        self.region.is_wide = is_wide;
        let is_fitting = match self.region.arch {
            Arch::X86_64 | Arch::AArch64 => is_wide,
            Arch::Arm => !is_wide,
            Arch::Other => true,
        };
        if !is_fitting {
            self.region.arch = Arch::Other;
        }
        let base = Fields { bytes: optional, is_wide }.word(24, 28);
        let (count, table) = if is_wide { (108, 136) } else { (92, 120) };
        let functions = if fields.u32(count) > FUNCTIONS { fields.u32(table) } else { 0 };
        let header_len = fields.u32(60);
        self.add(base, 0, header_len, header_len, false);
        for bytes in sections.chunks_exact(SECTION_LEN.into()) {
            let fields = Fields { bytes, is_wide };
            let (memory_len, start, len) = (fields.u32(8), fields.u32(12), fields.u32(16));
            let (offset, flags) = (fields.u32(20), fields.u32(36));
            let len = if memory_len == 0 { len } else { len.min(memory_len) };
            let code = flags & CODE != 0;
            let address = base.wrapping_add(start.into());
            let Some(load) = self.add(address, offset, len, memory_len, code) else { continue };
            let name = bytes.get(..8).unwrap_or_default();
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let kind = match name {
                _ if functions != 0 && start == functions => Kind::Functions { base },
                b".rela" if is_wide => Kind::Relocations { symbols: 0, addends: true },
                b".dynamic" => Kind::Dynamic { names: 0 },
                _ if code => Kind::Code,
                _ if flags & DATA != 0 => Kind::Data,
                _ => continue,
            };
            self.spans.push(Span { offset: load.offset, len: load.len, address, kind });
        }
    }

    /// Adds a load, up to where the image ends.
    fn add(
        &mut self,
        address: u64,
        offset: u32,
        len: u32,
        memory_len: u32,
        code: bool,
    ) -> Option<Load> {
        let room = self.image_size.saturating_sub(self.region.offset);
        let len = u64::from(len).min(room.saturating_sub(offset.into()));
        let memory_len = len.max(memory_len.into());
        let offset_in_image = self.region.offset.saturating_add(offset.into());
        let load = Load { offset: offset_in_image, len, address, memory_len, code };
        if len == 0 || !load.is_sound() {
            return None;
        }
        self.end = self.end.max(u64::from(offset) + len);
        self.loads.push(load);
        Some(load)
    }
}

// Flags of sections: code or executed, and data.
const CODE: u32 = 0x2000_0020;
const DATA: u32 = 0x40;
