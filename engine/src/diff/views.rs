//! The views of both images: finds their blocks, and keeps what they unpack to.
//!
//! A block of the target is unpacked if the source does not have the same packed bytes and we know
//! how to pack it again. A block of the source is unpacked if the target does not have it.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use rayon::prelude::*;

use super::{DiffError, Options};
use crate::digest::Digest;
use crate::format::unpack::{view_size, view_start};
use crate::format::{Blocks, SourceBlock, SourceRange, TargetBlock};
use crate::io::scratch::Scratch;
use crate::io::{Event, Progress, Source};
use crate::limits::{BLOCK_LEN_MAX, BLOCK_PLAIN_LEN_MAX, BLOCKS_MAX, IMAGE_SIZE_MAX, METHODS_MAX};
use crate::unpack::codec::{Method, Methods, Rebuilt};
use crate::unpack::find::{self, Container};
use crate::unpack::pack::packing_memory;
use crate::unpack::{Block, Codec};

/// Both images as they are seen, and what was found in the target.
pub(super) struct Views<'a> {
    pub(super) source: SourceView<'a>,
    pub(super) target: TargetView<'a>,
    pub(super) blocks: Blocks,
    pub(super) seen: Seen,
}

/// What was seen inside the target, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What contains blocks.
    pub containers: Vec<Container>,
    /// Of each codec in turn, what became of its blocks.
    pub codecs: Vec<(&'static str, Tally)>,
}

/// What became of the blocks of one codec. Lengths are bytes as packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blocks that the source has, too.
    pub unchanged: Count,
    /// Blocks that are packed again on the device.
    pub rebuilt: Count,
    /// Bytes of corrections that these need.
    pub corrections_len: u64,
    /// Blocks that we do not know how to pack, or that take too much memory.
    pub passed: Count,
}

/// How many there are, and how many bytes they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// Their bytes together.
    pub len: u64,
}

impl Count {
    fn add(&mut self, len: u64) {
        self.count += 1;
        self.len += len;
    }
}

/// What becomes of a block of the target.
enum Fate {
    Unchanged,
    Rebuilt(Box<Kept>),
    Passed,
}

/// A block of the target whose view is kept.
struct Kept {
    method: Method,
    plain_len: u64,
    correction_len: u64,
    stored: u64,
}

/// What the diff lets blocks take of a device.
struct Limits {
    memory: u64,
}

impl<'a> Views<'a> {
    /// The views, if anything in the target is worth to be unpacked.
    pub(super) fn of(
        source: &'a dyn Source,
        target: &'a dyn Source,
        options: &Options,
        progress: Progress,
    ) -> Result<Option<Self>, DiffError> {
        progress(Event::Phase { name: "look inside", total: 0 });
        let (found_source, found) = rayon::join(|| find::find(source), || find::find(target));
        let found_source = found_source.map_err(DiffError::Source)?.blocks;
        let find::Found { blocks: found, containers } = found.map_err(DiffError::Target)?;
        let mut seen = Seen { containers, codecs: Vec::new() };
        if found.is_empty() {
            return Ok(None);
        }
        let source_digests = digests(source, &found_source, DiffError::Source)?;
        let digests = digests(target, &found, DiffError::Target)?;
        let known: HashSet<_> = source_digests.iter().copied().collect();
        let total = found.iter().zip(&digests).filter(|(_, digest)| !known.contains(*digest));
        let total = total.map(|(block, _)| block.len).sum();
        progress(Event::Phase { name: "pack again", total });
        let scratch = Scratch::new().map_err(DiffError::Scratch)?;
        let limits = Limits { memory: options.unpack_memory };
        let is_known: Vec<bool> = digests.iter().map(|digest| known.contains(digest)).collect();
        let fates = fates(target, &found, &is_known, &scratch, &limits, progress)?;
        let mut blocks = Blocks::default();
        let (level, stored) = level(&mut blocks, found, fates, &mut seen);
        if level.is_empty() || view_size(target.size(), &level) > IMAGE_SIZE_MAX {
            return Ok(None);
        }
        let known: HashSet<_> = digests.into_iter().collect();
        let of_source = found_source.into_iter().zip(source_digests);
        let changed: Vec<_> = of_source
            .filter(|(_, digest)| !known.contains(digest))
            .map(|(block, _)| block)
            .collect();
        let total = changed.iter().map(|block| block.len).sum();
        progress(Event::Phase { name: "unpack source", total });
        let unpacked = unpack(source, &changed, &scratch, &limits, progress)?;
        let source_stored =
            of_source_blocks(&mut blocks, source.size(), &changed, &unpacked, level.len());
        let scratch = Arc::new(scratch);
        let view = |stored| Store { scratch: Arc::clone(&scratch), stored };
        let source_view =
            SourceView { image: source, blocks: blocks.source.clone(), store: view(source_stored) };
        let target_view = TargetView { image: target, level: level.clone(), store: view(stored) };
        blocks.levels.push(level);
        Ok(Some(Self { source: source_view, target: target_view, blocks, seen }))
    }

    /// The blocks of which something is used, and what is used of the source itself; `used` is in
    /// order, of the source's view.
    pub(super) fn used(&self, used: &[SourceRange]) -> (Blocks, Vec<SourceRange>) {
        let source_size = self.source.image.size();
        let mut is_used = vec![false; self.blocks.source.len()];
        let mut of_image = Vec::new();
        for range in used {
            if range.offset < source_size {
                let len = range.len.min(source_size - range.offset);
                of_image.push(SourceRange { offset: range.offset, len });
            }
            let first = self.blocks.source.partition_point(|b| b.view_end() <= range.offset);
            for (index, block) in self.blocks.source.iter().enumerate().skip(first) {
                if block.view_offset >= range.end() {
                    break;
                }
                is_used[index] = true;
            }
        }
        let mut blocks = Blocks { levels: self.blocks.levels.clone(), ..Blocks::default() };
        // A block in a block uses that one; it lies behind it.
        for index in (0..is_used.len()).rev() {
            let block = self.blocks.source[index];
            if !is_used[index] {
                continue;
            }
            match self.blocks.source_block_at(block.offset) {
                Some(outer) => is_used[outer] = true,
                None => of_image.push(SourceRange { offset: block.offset, len: block.len }),
            }
            blocks.source.push(block);
        }
        blocks.source.reverse();
        let methods = &self.blocks.methods;
        blocks.source.iter_mut().for_each(|block| {
            block.method = index_of(&mut blocks.methods, &methods[block.method as usize]);
        });
        for block in blocks.levels.iter_mut().flatten() {
            block.method = index_of(&mut blocks.methods, &methods[block.method as usize]);
        }
        of_image.sort_unstable();
        (blocks, of_image)
    }
}

/// The index of a method in the list, to which it is added if need be.
fn index_of(methods: &mut Vec<Method>, method: &Method) -> u32 {
    let index = methods.iter().position(|known| known == method).unwrap_or_else(|| {
        methods.push(method.clone());
        methods.len() - 1
    });
    u32::try_from(index).expect("methods are few")
}

/// The short digests of packed blocks.
fn digests(
    image: &dyn Source,
    blocks: &[Block],
    failed: fn(io::Error) -> DiffError,
) -> Result<Vec<[u8; 16]>, DiffError> {
    let digests = blocks.par_iter().map(|block| {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; in_memory(block.len.min(PIECE))];
        let mut at = 0;
        while at < block.len {
            let piece = &mut buffer[..in_memory((block.len - at).min(PIECE))];
            image.read_at(block.offset + at, piece).map_err(failed)?;
            hasher.update(piece);
            at += piece.len() as u64;
        }
        Ok(Digest(*hasher.finalize().as_bytes()).short())
    });
    digests.collect()
}

/// Bytes of a block read at once to be hashed.
const PIECE: u64 = 1 << 20;

/// Blocks whose methods are sought one after another, so that one that was right is tried first;
/// of a fixed size, so that the threads do not change what is found.
const RUN: usize = 64;

/// As many are looked at before all others, for what most of an image is packed with.
const FIRST: usize = 4;

fn fates(
    target: &dyn Source,
    blocks: &[Block],
    is_known: &[bool],
    scratch: &Scratch,
    limits: &Limits,
    progress: Progress,
) -> Result<Vec<Fate>, DiffError> {
    let of = |methods: &mut Methods, (block, is_known): (&Block, &bool)| match is_known {
        true => Ok(Fate::Unchanged),
        false => {
            let fate = fate(target, block, methods, scratch, limits);
            progress(Event::Advance(block.len));
            fate
        }
    };
    let first = is_known.iter().enumerate().filter(|(_, is_known)| !**is_known);
    let first = first.map(|(index, _)| index + 1).take(FIRST).last().unwrap_or(0);
    let mut methods = Methods::default();
    let front = blocks[..first].iter().zip(is_known).map(|next| of(&mut methods, next));
    let mut fates = front.collect::<Result<Vec<_>, _>>()?;
    let runs = blocks[first..].par_chunks(RUN).zip(is_known[first..].par_chunks(RUN));
    let runs = runs.map(|(blocks, is_known)| {
        let mut methods = methods.clone();
        let fates = blocks.iter().zip(is_known).map(|next| of(&mut methods, next));
        fates.collect::<Result<Vec<_>, _>>()
    });
    for run in runs.collect::<Result<Vec<_>, _>>()? {
        fates.extend(run);
    }
    Ok(fates)
}

fn fate(
    target: &dyn Source,
    block: &Block,
    methods: &mut Methods,
    scratch: &Scratch,
    limits: &Limits,
) -> Result<Fate, DiffError> {
    let Some(packed) = packed(target, block, DiffError::Target)? else { return Ok(Fate::Passed) };
    let Ok(plain) = block.codec.unpack(&packed, in_memory(limits.plain_len_max())) else {
        return Ok(Fate::Passed);
    };
    if plain.is_empty() {
        return Ok(Fate::Passed);
    }
    let Some(Rebuilt { method, correction }) = methods.find(block.codec, &packed, &plain) else {
        return Ok(Fate::Passed);
    };
    let (plain_len, correction_len) = (plain.len() as u64, correction.len() as u64);
    let (offset, len) = (block.offset, block.len);
    let target = TargetBlock { offset, len, view_offset: 0, plain_len, correction_len, method: 0 };
    let methods = [method];
    let is_small = correction_len <= BLOCK_LEN_MAX && correction_len < len / 2;
    if !is_small || packing_memory(&methods, &target) > limits.memory {
        return Ok(Fate::Passed);
    }
    let [method] = methods;
    let stored = scratch.append(&[&plain, &correction]).map_err(DiffError::Scratch)?;
    Ok(Fate::Rebuilt(Box::new(Kept { method, plain_len, correction_len, stored })))
}

/// The bytes of a block, unless it is too long.
fn packed(
    image: &dyn Source,
    block: &Block,
    failed: fn(io::Error) -> DiffError,
) -> Result<Option<Vec<u8>>, DiffError> {
    if block.len > BLOCK_LEN_MAX {
        return Ok(None);
    }
    let mut packed = vec![0; in_memory(block.len)];
    image.read_at(block.offset, &mut packed).map_err(failed)?;
    Ok(Some(packed))
}

impl Limits {
    fn plain_len_max(&self) -> u64 {
        self.memory.min(BLOCK_PLAIN_LEN_MAX)
    }
}

/// The blocks that are rebuilt, and where their views are kept.
fn level(
    blocks: &mut Blocks,
    found: Vec<Block>,
    fates: Vec<Fate>,
    seen: &mut Seen,
) -> (Vec<TargetBlock>, Vec<u64>) {
    let (mut level, mut stored): (Vec<TargetBlock>, Vec<u64>) = Default::default();
    for (Block { offset, len, codec }, fate) in found.into_iter().zip(fates) {
        let tally = seen.tally(codec);
        let kept = match fate {
            Fate::Unchanged => {
                tally.unchanged.add(len);
                continue;
            }
            Fate::Rebuilt(kept) if level.len() < BLOCKS_MAX / 2 => kept,
            _ => {
                tally.passed.add(len);
                continue;
            }
        };
        let is_known = blocks.methods.contains(&kept.method);
        if blocks.methods.len() == METHODS_MAX / 2 && !is_known {
            tally.passed.add(len);
            continue;
        }
        tally.rebuilt.add(len);
        tally.corrections_len += kept.correction_len;
        let method = index_of(&mut blocks.methods, &kept.method);
        let Kept { plain_len, correction_len, .. } = *kept;
        let view_offset = level.last().map_or(offset, |last| offset - last.end() + last.view_end());
        level.push(TargetBlock { offset, len, view_offset, plain_len, correction_len, method });
        stored.push(kept.stored);
    }
    (level, stored)
}

impl Seen {
    fn tally(&mut self, codec: Codec) -> &mut Tally {
        let name = codec.name();
        let index = self.codecs.iter().position(|(known, _)| *known == name);
        let index = index.unwrap_or_else(|| {
            self.codecs.push((name, Tally::default()));
            self.codecs.len() - 1
        });
        &mut self.codecs[index].1
    }
}

/// What blocks of the source unpack to: where it is kept, and its length. None where they do not.
fn unpack(
    source: &dyn Source,
    blocks: &[Block],
    scratch: &Scratch,
    limits: &Limits,
    progress: Progress,
) -> Result<Vec<Option<(u64, u64)>>, DiffError> {
    let unpacked = blocks.par_iter().map(|block| {
        let packed = packed(source, block, DiffError::Source)?;
        progress(Event::Advance(block.len));
        let plain_len_max = in_memory(limits.plain_len_max());
        let plain = packed.and_then(|packed| block.codec.unpack(&packed, plain_len_max).ok());
        let Some(plain) = plain.filter(|plain| !plain.is_empty()) else { return Ok(None) };
        let len = plain.len() as u64;
        if len + block.len + block.codec.memory(len) > limits.memory {
            return Ok(None);
        }
        let stored = scratch.append(&[&plain]).map_err(DiffError::Scratch)?;
        Ok(Some((stored, len)))
    });
    unpacked.collect()
}

/// Lists the blocks of the source that were unpacked; says where they are kept.
fn of_source_blocks(
    blocks: &mut Blocks,
    source_size: u64,
    found: &[Block],
    unpacked: &[Option<(u64, u64)>],
    level_count: usize,
) -> Vec<u64> {
    let mut kept = Vec::new();
    let mut end = source_size;
    let unpacked = found.iter().zip(unpacked).filter_map(|(block, kept)| Some((block, (*kept)?)));
    for (block, (stored, plain_len)) in unpacked.take(BLOCKS_MAX - level_count) {
        let view_offset = view_start(end);
        if view_offset + plain_len > IMAGE_SIZE_MAX {
            break;
        }
        end = view_offset + plain_len;
        let method = index_of(&mut blocks.methods, &Method::of_codec(block.codec));
        let (offset, len) = (block.offset, block.len);
        blocks.source.push(SourceBlock { offset, len, view_offset, plain_len, method });
        kept.push(stored);
    }
    kept
}

/// Where the plain bytes of blocks are kept, by the index of the block.
struct Store {
    scratch: Arc<Scratch>,
    stored: Vec<u64>,
}

/// The source, and behind it what its blocks unpack to.
pub(super) struct SourceView<'a> {
    image: &'a dyn Source,
    blocks: Vec<SourceBlock>,
    store: Store,
}

impl Source for SourceView<'_> {
    fn size(&self) -> u64 {
        self.blocks.last().map_or(self.image.size(), SourceBlock::view_end)
    }

    fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        let image_size = self.image.size();
        while !into.is_empty() {
            let len_to = |end: u64| in_memory(end - offset).min(into.len());
            let next = self.blocks.partition_point(|block| block.view_end() <= offset);
            let len = if offset < image_size {
                let len = len_to(image_size);
                self.image.read_at(offset, &mut into[..len])?;
                len
            } else {
                let block = self.blocks.get(next).ok_or(io::ErrorKind::UnexpectedEof)?;
                if let Some(within) = offset.checked_sub(block.view_offset) {
                    let len = len_to(block.view_end());
                    self.store
                        .scratch
                        .read_at(self.store.stored[next] + within, &mut into[..len])?;
                    len
                } else {
                    let len = len_to(block.view_offset);
                    into[..len].fill(0);
                    len
                }
            };
            into = &mut into[len..];
            offset += len as u64;
        }
        Ok(())
    }
}

/// The target, with what its blocks unpack to in place of them.
pub(super) struct TargetView<'a> {
    image: &'a dyn Source,
    level: Vec<TargetBlock>,
    store: Store,
}

impl Source for TargetView<'_> {
    fn size(&self) -> u64 {
        view_size(self.image.size(), &self.level)
    }

    fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        let size = self.size();
        while !into.is_empty() {
            let next = self.level.partition_point(|block| block.view_end() <= offset);
            let block = self.level.get(next);
            let end = block.map_or(size, |block| block.view_offset);
            let within =
                block.and_then(|block| Some((block, offset.checked_sub(block.view_offset)?)));
            let len = if let Some((block, within)) = within {
                let len = in_memory(block.view_end() - offset).min(into.len());
                self.store.scratch.read_at(self.store.stored[next] + within, &mut into[..len])?;
                len
            } else {
                let before = next.checked_sub(1).map(|index| &self.level[index]);
                let place = before.map_or(offset, |last| offset - last.view_end() + last.end());
                let len = in_memory(end.saturating_sub(offset)).min(into.len());
                if len == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.image.read_at(place, &mut into[..len])?;
                len
            };
            into = &mut into[len..];
            offset += len as u64;
        }
        Ok(())
    }
}

/// Lengths that the limits keep below what is held in memory.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
