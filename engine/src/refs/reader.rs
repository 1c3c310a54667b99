//! What a region is, by its first bytes: an ELF file, a PE file or BTF.

use super::elf::ElfReader;
use super::pe::PeReader;
use super::region::Region;
use super::{btf, pe};

/// Bytes by which regions are told apart.
const START_LEN: usize = 64;

/// Reads the headers of an executable that starts at an offset of an image.
///
/// Ask for [`RegionReader::want`] and [`RegionReader::give`] that, until nothing is wanted.
#[derive(Debug)]
pub struct RegionReader(Reader);

#[derive(Debug)]
enum Reader {
    /// The first bytes are to be read: where they are, and where the image ends.
    Start(u64, u64),
    Elf(Box<ElfReader>),
    Pe(PeReader),
    Btf(Region),
}

impl RegionReader {
    /// A reader of the executable at byte `offset` of an image, of which bytes up to `image_size`
    /// may be read.
    #[must_use]
    pub fn new(offset: u64, image_size: u64) -> Self {
        Self(Reader::Start(offset, image_size.min(offset.saturating_add(u32::MAX.into()))))
    }

    /// Which bytes of the image are needed next, at most 64 KiB, if any: offset and length.
    #[must_use]
    pub fn want(&self) -> Option<(u64, usize)> {
        match &self.0 {
            Reader::Start(offset, end) => {
                let is_within = offset.saturating_add(START_LEN as u64) <= *end;
                is_within.then_some((*offset, START_LEN))
            }
            Reader::Elf(reader) => reader.want(),
            Reader::Pe(reader) => reader.want(),
            Reader::Btf(_) => None,
        }
    }

    /// Takes the bytes that were wanted.
    pub fn give(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Reader::Start(offset, end) => self.0 = Reader::of(*offset, *end, bytes),
            Reader::Elf(reader) => reader.give(bytes),
            Reader::Pe(reader) => reader.give(bytes),
            Reader::Btf(_) => {}
        }
    }

    /// Whether it is sure that the file lies here in one piece, once nothing more is wanted: the
    /// section that has the names of ELF sections has its own.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(&self.0, Reader::Elf(reader) if reader.is_whole())
    }

    /// The region, once nothing more is wanted; none where no executable starts.
    #[must_use]
    pub fn finish(self) -> Option<Region> {
        match self.0 {
            Reader::Start(..) => None,
            Reader::Elf(reader) => reader.finish(),
            Reader::Pe(reader) => reader.finish(),
            Reader::Btf(region) => Some(region),
        }
    }
}

impl Reader {
    fn of(offset: u64, image_size: u64, bytes: &[u8]) -> Self {
        if let Some(region) = btf::region(offset, bytes, image_size) {
            return Self::Btf(region);
        }
        if bytes.starts_with(pe::MAGIC) {
            return Self::Pe(PeReader::new(offset, image_size, bytes));
        }
        let mut reader = ElfReader::new(offset, image_size);
        reader.give(bytes);
        Self::Elf(Box::new(reader))
    }
}
