//! Executables in the source whose bytes moved, and the source as it reads once their addresses
//! are rewritten.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rayon::prelude::*;

use super::DiffError;
use super::parse::Piece;
use super::segment::From;
use crate::format::SourceRange;
use crate::io::{self, Event, Progress, Source};
use crate::limits::{SOURCE_BLOCK, START_SPACING, STARTS_MIN};
use crate::refs::field::Field;
use crate::refs::map::{Copy, Map, Move};
use crate::refs::region::{Kind, Region, RegionReader};
use crate::refs::rewriter::{RegionEntry, encode_regions};
use crate::refs::votes::{Votes, Worth};
use crate::refs::{rewrite, scan};

/// The first bytes of an ELF file (System V ABI, "ELF Identification") and of a PE file
/// (Microsoft, "PE Format", section "MS-DOS Stub").
const ELF: &[u8] = b"\x7fELF";
const PE: &[u8] = b"MZ";
/// And of BTF (Linux, "BPF Type Format", section 2).
const BTF: &[u8] = &[0x9f, 0xeb, 1, 0];

/// Where executables may start: files in images, archives of both kinds, and in memory are aligned
/// to at least this many bytes.
const ALIGNMENT: u64 = 4;

/// Most executables that may start within another, unless that is whole for sure, as a kernel is
/// with the libraries it maps into programs: one with more is the start of a file in pieces, whose
/// headers were sought in another file.
const NESTED_MAX: usize = 3;

/// Bytes of source looked through by one task.
const TASK: u64 = 4 << 20;

/// An executable of the source, and how its addresses move.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub(super) region: Region,
    pub(super) entry: RegionEntry,
    pub(super) map: Map,
    /// What must be read of the source to know the region.
    pub(super) reads: Vec<SourceRange>,
}

impl Moved {
    fn end(&self) -> u64 {
        self.entry.end()
    }
}

/// Fields of blocks that were read for a part of them: copies that lie close together, as they do,
/// scan each block once.
#[derive(Debug, Default)]
pub(super) struct Scans {
    blocks: HashMap<u64, Vec<Field>>,
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

/// Most blocks whose fields are kept at once: some 30 KiB each.
const SCANS_MAX: usize = 512;

impl Scans {
    /// The fields of the block that byte `at` of the source is in, which lies in the region.
    fn of(&mut self, moved: &Moved, source: &dyn Source, at: u64) -> Result<&[Field], io::Error> {
        let block = at / SOURCE_BLOCK * SOURCE_BLOCK;
        let from = block.max(moved.entry.offset);
        if self.blocks.len() >= SCANS_MAX && !self.blocks.contains_key(&from) {
            self.blocks.clear();
        }
        match self.blocks.entry(from) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(room) => {
                let to = (block + SOURCE_BLOCK).min(moved.end());
                self.bytes.resize(within(to - from), 0);
                source.read_at(from, &mut self.bytes)?;
                let mut fields = Vec::new();
                scan::fields(&moved.region, from, &self.bytes, &mut fields);
                Ok(room.insert(fields))
            }
        }
    }
}

/// Executables in order of where they start; they do not overlap.
#[derive(Debug, Clone, Default)]
pub(super) struct Regions(pub(super) Vec<Moved>);

impl Regions {
    /// The executables that pieces copy from and in which something moved or differs.
    pub(super) fn find(
        source: &dyn Source,
        target: &dyn Source,
        pieces: &[Piece],
        moves: Worth,
        progress: Progress,
    ) -> Result<Self, DiffError> {
        let mut regions = Self::default();
        progress(Event::Phase { name: "find regions", total: source.size() });
        let candidates = candidates(source, progress)?;
        let types: Vec<u64> =
            candidates.iter().filter(|found| found.is_types).map(|found| found.offset).collect();
        for (index, Found { offset, end, is_whole, .. }) in candidates.iter().enumerate() {
            if regions.0.last().is_some_and(|last| last.end() > *offset) {
                continue;
            }
            let within = &candidates[index + 1..];
            let within = &within[..within.partition_point(|next| next.offset < *end)];
            let types = types.get(types.partition_point(|types| types <= offset));
            let many = within.first().filter(|_| !is_whole && within.len() > NESTED_MAX);
            let first = types.filter(|types| *types < end).or(many.map(|first| &first.offset));
            let known = match first {
                Some(first) => cut(source, *offset, *first)?,
                None => None,
            };
            let known = match known {
                None if many.is_none() => {
                    read(source, *offset, source.size()).map_err(DiffError::Source)?
                }
                known => known,
            };
            let Some(Known { region, reads, .. }) = known else { continue };
            let entry =
                RegionEntry { offset: region.offset, len: region.len, ..Default::default() };
            regions.0.push(Moved { region, entry, map: Map::default(), reads });
        }
        progress(Event::Phase { name: "map regions", total: 0 });
        let copies = regions.copies(pieces);
        let damaged = regions.damaged(pieces);
        let moved = regions.0.into_par_iter().zip(copies).zip(damaged);
        let moved = moved.filter(|((_, copies), damaged)| {
            *damaged || copies.windows(2).any(|two| two[0].diagonal != two[1].diagonal)
        });
        let moved = moved.map(|((mut moved, copies), _)| {
            moved.map = Map::of(copies.iter().copied(), &moved.region, &[], &[]);
            moved.entry.biases = biases(&moved, target).map_err(DiffError::Target)?;
            moved.mapped(&copies, source, target, moves)
        });
        Ok(Self(moved.collect::<Result<_, DiffError>>()?))
    }

    /// Appends the columns that name these regions.
    pub(super) fn encode(&self, regions: &mut Vec<u8>, moves: &mut Vec<u8>) {
        let entries: Vec<_> = self.0.iter().map(|moved| moved.entry.clone()).collect();
        encode_regions(&entries, regions, moves);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Indices of the regions that overlap a range of the source.
    pub(super) fn touched(&self, range: SourceRange) -> std::ops::Range<usize> {
        let from = self.0.partition_point(|moved| moved.end() <= range.offset);
        let to = self.0.partition_point(|moved| moved.entry.offset < range.end());
        from..to.max(from)
    }

    /// Whether a segment copies from any of them.
    pub(super) fn touch(&self, segment: &super::Segment) -> bool {
        super::source_range(segment).is_some_and(|range| !self.touched(range).is_empty())
    }

    /// The parts of these ranges, which are in order, that lie in regions.
    pub(super) fn cover(&self, ranges: &[SourceRange]) -> Vec<SourceRange> {
        let parts = ranges.iter().flat_map(|range| {
            let regions = self.0[self.touched(*range)].iter();
            regions.map(|moved| {
                let offset = range.offset.max(moved.entry.offset);
                SourceRange { offset, len: range.end().min(moved.end()) - offset }
            })
        });
        parts.collect()
    }

    /// For each region the copies that touch it, in target order, as the frame will have them.
    pub(super) fn copies<'a>(&self, pieces: impl IntoIterator<Item = &'a Piece>) -> Vec<Vec<Copy>> {
        let mut copies = vec![Vec::new(); self.0.len()];
        for copy in joined(pieces) {
            let range = SourceRange { offset: copy.offset, len: copy.len };
            self.touched(range).for_each(|index| copies[index].push(copy));
        }
        copies
    }

    /// For each region whether a copy from it differs from it.
    fn damaged(&self, pieces: &[Piece]) -> Vec<bool> {
        let mut damaged = vec![false; self.0.len()];
        for piece in pieces.iter().filter(|piece| !piece.islands.places.is_empty()) {
            if let Some(range) = super::source_range(&piece.segment) {
                self.touched(range).for_each(|index| damaged[index] = true);
            }
        }
        damaged
    }

    /// Rewrites the addresses in `bytes`, which are the source's from `offset` and are copied along
    /// `diagonal`; without one, along that which the map has for each byte.
    pub(super) fn rewrite(
        &self,
        source: &dyn Source,
        offset: u64,
        diagonal: Option<i64>,
        bytes: &mut [u8],
        scans: &mut Scans,
    ) -> Result<(), io::Error> {
        let range = SourceRange { offset, len: bytes.len() as u64 };
        for moved in &self.0[self.touched(range)] {
            moved.rewrite(source, offset, diagonal, bytes, scans, |_, _| ())?;
        }
        Ok(())
    }
}

/// The copies of these pieces, in target order, as the frame will have them: pieces that go on
/// along one diagonal are one copy.
pub(super) fn joined<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Vec<Copy> {
    let mut joined: Vec<super::Segment> = Vec::new();
    for piece in pieces {
        let next = piece.segment;
        match joined.last_mut() {
            Some(last) if last.end() == next.target && last.from == next.from => {
                last.len += next.len;
            }
            _ => joined.push(next),
        }
    }
    let copies = joined.iter().filter_map(|segment| {
        let From::Source { diagonal } = segment.from else { return None };
        let SourceRange { offset, len } = super::source_range(segment)?;
        Some(Copy { offset, len, diagonal })
    });
    copies.collect()
}

impl Moved {
    /// The region as these copies map it, corrected by what the target's own fields say.
    pub(super) fn mapped(
        &self,
        copies: &[Copy],
        source: &dyn Source,
        target: &dyn Source,
        moves: Worth,
    ) -> Result<Self, DiffError> {
        let mut moved = self.clone();
        let Self { region, entry, map, .. } = &mut moved;
        *map = Map::of(copies.iter().copied(), region, &entry.biases, &[]);
        if moves == Worth::NONE {
            return Ok(moved);
        }
        entry.moves = self.moves(map, copies, source, target, moves)?;
        *map = Map::of(copies.iter().copied(), region, &entry.biases, &entry.moves);
        Ok(moved)
    }

    /// Where its like is in the target, if its first byte went there.
    pub(super) fn target(&self) -> Option<std::ops::Range<u64>> {
        let start = self.start_in_target()?;
        Some(start..start.saturating_add(self.entry.len))
    }

    fn start_in_target(&self) -> Option<u64> {
        let diagonal = self.map.diagonal(self.entry.offset);
        self.entry.offset.checked_add_signed(diagonal.checked_neg()?)
    }

    /// The executable of the target that starts where this one's first byte went, if one does.
    pub(super) fn twin(&self, target: &dyn Source) -> Result<Option<Region>, io::Error> {
        let start = self.start_in_target().filter(|start| *start < target.size());
        let Some(start) = start else { return Ok(None) };
        let twin = read(target, start, target.size())?;
        Ok(twin.map(|known| known.region))
    }

    /// Keeps only the first `count` moves.
    pub(super) fn limit_moves(&mut self, count: usize, copies: &[Copy]) {
        if self.entry.moves.len() > count {
            self.entry.moves.truncate(count);
            let Self { region, entry, map, .. } = self;
            *map = Map::of(copies.iter().copied(), region, &entry.biases, &entry.moves);
        }
    }

    /// Where the target's fields agree that addresses moved otherwise than the map says.
    fn moves(
        &self,
        map: &Map,
        copies: &[Copy],
        source: &dyn Source,
        target: &dyn Source,
        worth: Worth,
    ) -> Result<Vec<Move>, DiffError> {
        let mut votes = Votes::default();
        let (mut made, mut scans) = (Vec::new(), Scans::default());
        for copy in copies {
            let mut at = copy.offset.max(self.entry.offset);
            let end = (copy.offset + copy.len).min(self.end());
            while at < end {
                let block_end = (at / SOURCE_BLOCK + 1) * SOURCE_BLOCK;
                let len = within(block_end.min(end) - at);
                made.resize(len, 0);
                let into = at.wrapping_sub(copy.diagonal.cast_unsigned());
                target.read_at(into, &mut made).map_err(DiffError::Target)?;
                let fields = scans.of(self, source, at).map_err(DiffError::Source)?;
                votes.count(&self.region, map, fields, copy.diagonal, at, &made);
                at += len as u64;
            }
        }
        Ok(votes.moves(map, worth))
    }

    /// As [`Regions::rewrite`], for this region only; `each` takes the fields of each block that
    /// was rewritten, and which bytes of `bytes` it covers.
    pub(super) fn rewrite(
        &self,
        source: &dyn Source,
        offset: u64,
        diagonal: Option<i64>,
        bytes: &mut [u8],
        scans: &mut Scans,
        mut each: impl FnMut(&[Field], std::ops::Range<usize>),
    ) -> Result<(), io::Error> {
        let end = offset + bytes.len() as u64;
        let mut at = offset.max(self.entry.offset);
        while at < end.min(self.end()) {
            let block = at / SOURCE_BLOCK * SOURCE_BLOCK;
            let from = block.max(self.entry.offset);
            let to = (block + SOURCE_BLOCK).min(self.end());
            let part = within(at - offset)..within(to.min(end) - offset);
            let into = &mut bytes[part.clone()];
            let fields = if from >= offset && to <= end {
                scans.fields.clear();
                scan::fields(&self.region, from, into, &mut scans.fields);
                &scans.fields
            } else {
                scans.of(self, source, at)?
            };
            match diagonal {
                Some(diagonal) => rewrite(&self.region, &self.map, fields, diagonal, at, into),
                None => fields.iter().for_each(|field| {
                    let diagonal = self.map.diagonal(field.offset);
                    let field = std::slice::from_ref(field);
                    rewrite(&self.region, &self.map, field, diagonal, at, into);
                }),
            }
            each(fields, part);
            at = to;
        }
        Ok(())
    }
}

/// The source with its addresses rewritten by where the maps put each byte.
pub(super) struct Rewritten<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) regions: &'a Regions,
}

impl Source for Rewritten<'_> {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), io::Error> {
        self.source.read_at(offset, into)?;
        self.regions.rewrite(self.source, offset, None, into, &mut Scans::default())
    }
}

/// Where executables may start, in order, with no more than are worth the time.
fn starts(source: &dyn Source, progress: Progress) -> Result<Vec<u64>, DiffError> {
    let tasks: Vec<u64> = (0..source.size().div_ceil(TASK)).collect();
    let found: Vec<Vec<u64>> = tasks
        .par_iter()
        .map(|index| {
            let offset = index * TASK;
            let mut bytes = vec![0; within(TASK.min(source.size() - offset))];
            source.read_at(offset, &mut bytes).map_err(DiffError::Source)?;
            progress(Event::Advance(bytes.len() as u64));
            let places = bytes.chunks(within(ALIGNMENT)).enumerate();
            let starts = |word: &[u8]| [ELF, PE, BTF].iter().any(|magic| word.starts_with(magic));
            let places = places.filter(|(_, word)| starts(word));
            Ok(places.map(|(place, _)| offset + place as u64 * ALIGNMENT).collect())
        })
        .collect::<Result<_, DiffError>>()?;
    let count = (source.size() / START_SPACING).max(STARTS_MIN);
    Ok(found.into_iter().flatten().take(within(count)).collect())
}

/// Where an executable may be. No more is kept of each: an image can be made to have one in every
/// few bytes.
struct Found {
    offset: u64,
    end: u64,
    /// Whether it is nothing but types.
    is_types: bool,
    /// Whether it lies there in one piece for sure.
    is_whole: bool,
}

/// Where executables may be, in order of where they start.
fn candidates(source: &dyn Source, progress: Progress) -> Result<Vec<Found>, DiffError> {
    let found = starts(source, progress)?.into_par_iter().map(|start| {
        let known = read(source, start, source.size()).map_err(DiffError::Source)?;
        Ok(known.map(|Known { region, is_whole, .. }| Found {
            offset: region.offset,
            end: region.end(),
            is_types: region.spans.iter().all(|span| span.kind == Kind::Types),
            is_whole,
        }))
    });
    found.filter_map(Result::transpose).collect()
}

/// A region that was found.
struct Known {
    region: Region,
    /// What was read to know it.
    reads: Vec<SourceRange>,
    /// Whether it lies there in one piece for sure.
    is_whole: bool,
}

/// The front of a PE file at `offset` that wraps others, as a kernel wraps its types and a boot
/// loader its modules: up to the first types, or the first file if there are many.
fn cut(source: &dyn Source, offset: u64, first: u64) -> Result<Option<Known>, DiffError> {
    let mut magic = [0; PE.len()];
    source.read_at(offset, &mut magic).map_err(DiffError::Source)?;
    if magic != PE {
        return Ok(None);
    }
    read(source, offset, first).map_err(DiffError::Source)
}

/// The region at `start`, if one is there, as if the image ended at `end`.
fn read(image: &dyn Source, start: u64, end: u64) -> Result<Option<Known>, io::Error> {
    let Some(Known { region, .. }) = read_headers(image, start, end)? else { return Ok(None) };
    // A device reads up to the region's end: what is known by bytes behind it is not known there.
    let known = read_headers(image, start, region.end())?;
    Ok(known.filter(|known| known.region == region))
}

fn read_headers(image: &dyn Source, start: u64, end: u64) -> Result<Option<Known>, io::Error> {
    let mut reader = RegionReader::new(start, end);
    let mut reads = Vec::new();
    let mut bytes = Vec::new();
    while let Some((offset, len)) = reader.want() {
        bytes.resize(len, 0);
        image.read_at(offset, &mut bytes)?;
        reads.push(SourceRange { offset, len: len as u64 });
        reader.give(&bytes);
    }
    let is_whole = reader.is_whole();
    let region = reader.finish().filter(|region| region.len > 0 && !region.spans.is_empty());
    Ok(region.map(|region| Known { region, reads, is_whole }))
}

/// What each load of the target's executable is moved by beside its bytes, up to the last that is.
fn biases(moved: &Moved, target: &dyn Source) -> Result<Vec<i64>, io::Error> {
    let twin = moved.twin(target)?;
    let Some(twin) = twin.filter(|twin| twin.loads.len() == moved.region.loads.len()) else {
        return Ok(Vec::new());
    };
    let pairs = moved.region.loads.iter().zip(&twin.loads);
    let mut biases: Vec<i64> = pairs
        .map(|(source, target)| {
            let relation = |load: &crate::refs::region::Load, offset: u64| {
                load.address.wrapping_sub(load.offset - offset)
            };
            let source = relation(source, moved.region.offset);
            relation(target, twin.offset).wrapping_sub(source).cast_signed()
        })
        .collect();
    while biases.last() == Some(&0) {
        biases.pop();
    }
    Ok(biases)
}

/// Lengths within a task or a block.
fn within(len: u64) -> usize {
    usize::try_from(len).expect("a task fits in memory")
}

#[cfg(test)]
mod tests {
    use super::super::parse::Islands;
    use super::super::segment::Segment;
    use super::*;

    /// The headers of each lie in part behind its last load, or its types: a device that is given
    /// the region reads none of them and copies it as it is. The encoder rewrote it, and made a
    /// patch that no device could apply.
    #[test]
    fn region_that_ends_before_its_headers_is_none() {
        let mut types = vec![0; 24];
        types[..8].copy_from_slice(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]);
        types[12] = 16;
        types.extend([1, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 32, 0, 0, 0]);
        let mut narrow = b"\x7fELF\x01\x01\x01".to_vec();
        narrow.resize(52, 0);
        let mut file = b"MZ".to_vec();
        file.resize(64, 0);
        file[60..62].copy_from_slice(&4096_u16.to_le_bytes());
        file.resize(4096, 0);
        file.extend(b"PE\0\0\x64\x86\x01\0");
        file.resize(4096 + 20, 0);
        file.extend([240, 0, 0, 0, 0x0b, 2]);
        file.resize(4096 + 24 + 240 + 8, 0);
        for number in [1024_u32, 4096, 1024, 1024, 0, 0, 0, 0x6000_0020] {
            file.extend(number.to_le_bytes());
        }
        for mut image in [types, narrow, file] {
            image.resize(8192, 0);
            assert!(matches!(read_headers(&image, 0, 8192), Ok(Some(_))));
            assert!(matches!(read(&image, 0, 8192), Ok(None)));
        }
    }

    /// A kernel has libraries in it that it maps into programs, and was taken for the start of a
    /// file in pieces: its addresses stayed as they were.
    #[test]
    fn executable_with_many_in_it_is_one_if_it_is_whole_for_sure() {
        for (names, is_whole) in [(*b"\0.shstrtab\0", true), (*b"\0.shstrtaX\0", false)] {
            let header = |sections: u64, count: u8, names: u8| {
                let mut header = b"\x7fELF\x02\x01\x01".to_vec();
                header.resize(64, 0);
                header[40..48].copy_from_slice(&sections.to_le_bytes());
                (header[58], header[60], header[62]) = (64, count, names);
                header
            };
            let mut source = header(64, 2, 1);
            source.resize(64 + 64, 0);
            let section = [1_u32, 3, 0, 0, 0, 0, 512, 0, 11, 0, 0, 0, 0, 0, 0, 0];
            source.extend(section.iter().flat_map(|number| number.to_le_bytes()));
            for _ in 0..=NESTED_MAX {
                source.extend(header(0, 0, 0));
            }
            source.resize(512, 0);
            source.extend(names);
            source.resize(1024, 7);
            let mut target = source.clone();
            target[64 + 64 + 3] = 1;
            let segment = Segment { target: 0, len: 512, from: From::Source { diagonal: 0 } };
            let mut islands = Islands::default();
            islands.extend(0, &source[..512], &target[..512]);
            let pieces = [Piece { segment, islands }];
            let regions = Regions::find(&source, &target, &pieces, Worth::NONE, &|_| ());
            let regions = regions.expect("images in memory can be read").0;
            assert_eq!(regions.iter().any(|moved| moved.entry.offset == 0), is_whole);
        }
    }

    /// An image can have what looks like an executable in every few bytes, each with tables that
    /// must be read, and diff read them all. Now it looks at the first ones.
    #[test]
    fn executables_are_looked_for_at_a_bounded_number_of_places() {
        for (size, count) in [(400, 100), (4096, 1024), (4100, 1024), (2 << 20, 2048)] {
            let image = b"MZ\0\0".repeat(size / 4);
            let starts = starts(&image, &|_| ()).expect("memory can be read");
            assert_eq!(starts, (0..count).map(|index| 4 * index).collect::<Vec<_>>());
        }
    }
}
