//! The layer `refs` of one frame (9.1, 9.5): copies of executables, with their addresses changed.
//!
//! Read `region` (what is where in an executable), `elf`, `pe`, `scan` (which calls the scanners of
//! each kind of span), `form` (how an address is spelled), `map` (what it becomes), then the
//! scanners.

mod aarch64;
mod arm;
mod btf;
mod call_frames;
mod constants;
mod elf;
mod form;
mod map;
mod pe;
mod region;
mod scan;
mod tables;
mod x86_64;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::bytes::{Bytes, memory, within};
use crate::header::Header;
use crate::{Result, must};
use form::{Field, Form};
use map::{Map, Move};
use region::Region;

/// Length of what is scanned at once; aligned in the source.
const BLOCK_LEN: u64 = 4096;

/// Shortest copy that says where addresses move.
const COPY_LEN_MIN: u64 = 24;

/// Most copies that all loads of a frame look at (9.1).
const LOOKS_MAX: u64 = 1 << 24;

/// A copy: from `source`, to `target`.
#[derive(Clone, Copy)]
pub(crate) struct Copy {
    pub(crate) source: u64,
    pub(crate) target: u64,
    pub(crate) len: u64,
}

impl Copy {
    /// The copy of `len` bytes to `target`, along a diagonal (4.4).
    pub(crate) fn new(target: u64, diagonal: u64, len: u64, source_size: u64) -> Result<Self> {
        let source = target.wrapping_add(diagonal);
        within(len..=source_size, source.saturating_add(len), "the end of a copy")?;
        Ok(Self { source, target, len })
    }

    fn end(self) -> u64 {
        self.source + self.len
    }

    fn diagonal(self) -> u64 {
        self.source.wrapping_sub(self.target)
    }

    fn touches(self, range: &Range<u64>) -> bool {
        self.source < range.end && range.start < self.end()
    }
}

/// A field in the bytes of a copy, for the coder that corrects fields (10.10).
pub(crate) struct Mark {
    /// Index of its first byte that is copied.
    pub(crate) at: u64,
    /// Bytes of it in front of the copy.
    pub(crate) skip: u64,
    /// Its whole length in bytes.
    pub(crate) len: u64,
    /// Number of its form (9.3.1).
    pub(crate) kind: u8,
    /// The address that it holds in the source.
    pub(crate) address: u64,
}

/// What a copy makes before its islands are added.
pub(crate) struct Guess {
    pub(crate) bytes: Vec<u8>,
    /// In order of their place.
    pub(crate) fields: Vec<Mark>,
}

/// The regions of a frame, and the copies that tell how they move.
#[derive(Default)]
pub(crate) struct Refs {
    regions: Vec<Listed>,
    copies: Vec<Copy>,
}

/// A region as the columns list it.
struct Listed {
    range: Range<u64>,
    biases: Vec<u64>,
    moves: Vec<Move>,
    /// What was read of it and of the frame's copies, once it is used.
    loaded: Option<Loaded>,
}

struct Loaded {
    region: Region,
    map: Map,
    /// The fields of each block that was looked at, by its number.
    blocks: BTreeMap<u64, Vec<Field>>,
}

impl Refs {
    /// Reads columns 6 and 7 (9.1); there are none in patches without the layer.
    pub(crate) fn open(columns: &[Vec<u8>], copies: &[Copy], source_size: u64) -> Result<Self> {
        let [regions, moves] = columns else { return Ok(Self::default()) };
        let (mut column, mut moves) = (Bytes::new(regions, "regions"), Bytes::new(moves, "moves"));
        let (mut regions, mut end, mut room) = (Vec::new(), 0, 32768);
        while column.len() > 0 {
            must(regions.len() < 16384, "a frame has too many regions")?;
            let start = end + within(0..=source_size - end, column.varint()?, "region_gap")?;
            end = start + within(1..=source_size - start, column.varint()?, "region_len")?;
            let bias_count = within(0..=16, column.varint()?, "bias_count")?;
            let move_count = within(0..=room, column.varint()?, "move_count")?;
            room -= move_count;
            let biases = (0..bias_count).map(|_| Ok(column.signed()?.cast_unsigned()));
            let biases = biases.collect::<Result<_>>()?;
            let moves = Move::read(&mut moves, move_count)?;
            regions.push(Listed { range: start..end, biases, moves, loaded: None });
        }
        moves.end()?;
        let loads = loads(&regions, copies);
        must(loads.iter().sum::<u64>() <= 16384, "a frame loads regions too often")?;
        let mut copies = copies.to_vec();
        copies.retain(|copy| copy.len >= COPY_LEN_MIN && !touched(&regions, *copy).is_empty());
        must(copies.len() <= 65536, "too many copies of a frame touch regions")?;
        let touches = copies.iter().flat_map(|copy| touched(&regions, *copy));
        let looks: u64 = touches.map(|region| loads[region]).sum();
        must(looks <= LOOKS_MAX, "loads of a frame look at too many copies")?;
        Ok(Self { regions, copies })
    }

    /// What a copy makes, or a part of one along the same diagonal (9.5).
    pub(crate) fn guess(&mut self, header: &Header, source: &[u8], copy: Copy) -> Result<Guess> {
        let bytes = header.used(source, copy.source, copy.len)?.to_vec();
        let mut guess = Guess { bytes, fields: Vec::new() };
        let touched = touched(&self.regions, copy);
        for listed in &mut self.regions[touched] {
            if listed.loaded.is_none() {
                let region = Region::read(header, source, listed.range.clone())?;
                let copies = self.copies.iter().filter(|copy| copy.touches(&listed.range));
                let map = Map::of(copies.copied().collect(), &region, listed);
                listed.loaded = Some(Loaded { region, map, blocks: BTreeMap::new() });
            }
            if let Some(loaded) = &mut listed.loaded {
                loaded.rewrite(source, copy, &mut guess);
            }
        }
        Ok(guess)
    }
}

/// How often each region is touched when it is not among the last four (9.1).
fn loads(regions: &[Listed], copies: &[Copy]) -> Vec<u64> {
    let (mut loads, mut last) = (vec![0; regions.len()], vec![usize::MAX; 4]);
    for region in copies.iter().flat_map(|copy| touched(regions, *copy)) {
        let known = last.iter().position(|last| *last == region);
        loads[region] += u64::from(known.is_none());
        last.remove(known.unwrap_or(0));
        last.push(region);
    }
    loads
}

/// Which of the regions a copy touches.
fn touched(regions: &[Listed], copy: Copy) -> Range<usize> {
    let first = regions.partition_point(|listed| listed.range.end <= copy.source);
    let end = regions.partition_point(|listed| listed.range.start < copy.end());
    first..end
}

impl Loaded {
    /// Writes the fields of this region anew.
    fn rewrite(&mut self, source: &[u8], copy: Copy, guess: &mut Guess) {
        let Self { region, map, blocks } = self;
        let range = copy.source.max(region.range.start)..copy.end().min(region.range.end);
        if range.is_empty() {
            return;
        }
        for block in range.start / BLOCK_LEN..=(range.end - 1) / BLOCK_LEN {
            let fields = blocks.entry(block).or_insert_with(|| scan::fields(region, source, block));
            for field in fields {
                let end = field.offset + field.form.len();
                if field.offset >= range.end || end <= range.start {
                    continue;
                }
                let old = &source[memory(field.offset)..memory(end)];
                let new = match map.is_empty() {
                    true => old.to_vec(),
                    false => rewritten(field, old, region, map, copy.diagonal()),
                };
                let copied = field.offset.max(copy.source)..end.min(copy.end());
                let (at, skip) = (copied.start - copy.source, copied.start - field.offset);
                for index in 0..memory(copied.end - copied.start) {
                    guess.bytes[memory(at) + index] = new[memory(skip) + index];
                }
                let (len, kind) = (field.form.len(), field.form.kind());
                guess.fields.push(Mark { at, skip, len, kind, address: field.address });
            }
        }
    }
}

/// The bytes of a field, once its address is another (9.5).
fn rewritten(field: &Field, old: &[u8], region: &Region, map: &Map, diagonal: u64) -> Vec<u8> {
    let place = region.address_of(field.offset);
    let is_elsewhere = map.diagonal(field.offset) != diagonal;
    let moved = |address: u64| {
        // What is copied from elsewhere takes its surroundings with it.
        if is_elsewhere && address.abs_diff(place) < 1024 {
            return map.place(region, address, diagonal);
        }
        map.address(region, address)
    };
    let form = match field.form {
        Form::Row(base, row) => Form::Row(map.address(region, base), row),
        form => form.with_base(moved),
    };
    let word = old.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let written = form.write(word, moved(field.address), map.place(region, place, diagonal));
    written.unwrap_or(word).to_le_bytes()[..old.len()].to_vec()
}
