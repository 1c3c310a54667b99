//! The views of both images: finds their blocks, and keeps what they unpack to.
//!
//! A block of the target is unpacked if the source does not have the same packed bytes and we know
//! how to pack it again. A block of the source is unpacked if the target does not have it.

use core::time::Duration;
use std::collections::HashSet;
use std::sync::Arc;

use rayon::prelude::*;

mod budget;
mod calm;
mod derived;
mod parts;
mod read;
mod runs;
mod seen;
#[cfg(test)]
mod tests;
mod watch;

use super::parse::Piece;
use super::{DiffError, Options};
use crate::digest::Digest;
use crate::format::unpack::{pack_times, touched, view_place, view_size};
use crate::format::{Blocks, SourceRange, TargetBlock};
use crate::io::scratch::Scratch;
use crate::io::{Error, Event, Progress, Source};
use crate::limits::{
    BLOCK_LEN_MAX, BLOCKS_MAX, IMAGE_SIZE_MAX, METHODS_MAX, PLAIN_LEN_MAX, UNPACK_DEPTH_MAX,
};
use crate::unpack::codec::{Families, Method, Methods, Rebuilt, UnpackError};
use crate::unpack::find::{self, Found, Region};
use crate::unpack::pack::{in_memory, packing_memory};
use crate::unpack::{Block, Codec};
use budget::Budget;
use parts::{Part, in_parts, near_changes};
use read::{SourceView, Store, TargetView, TargetViews};
use seen::Outcome;
pub use seen::{Count, Kind, Place, Seen, Tallies, Tally, Why};
use watch::{Level, Watch};

/// Both images as they are seen, and what was found in the target.
pub(super) struct Views<'a> {
    pub(super) source: SourceView<'a>,
    target: TargetViews<'a>,
    methods: Vec<Method>,
    watch: Watch,
}

/// What becomes of a block of the target.
enum Fate {
    Unchanged,
    Rebuilt(Box<Kept>),
    Passed(Why),
}

/// A block of the target whose view is kept.
struct Kept {
    method: Method,
    /// As long as it is packed again: of a block that is cut maybe less than was found.
    packed: TargetBlock,
    /// Where the plain bytes are, and behind them the correction.
    stored: u64,
}

/// What the diff lets blocks take, of a device and of this machine.
struct Limits {
    memory: u64,
    not_unpacked: Families,
    of_source: Budget,
    of_target: Budget,
}

impl<'a> Views<'a> {
    /// The views.
    pub(super) fn of(
        source: &'a dyn Source,
        target: &'a dyn Source,
        options: &Options,
        progress: Progress,
    ) -> Result<Self, DiffError> {
        let scratch = Arc::new(Scratch::default());
        let of_source = Store { scratch: Arc::clone(&scratch), stored: Vec::new() };
        let of_target = Store { scratch, stored: Vec::new() };
        let mut views = Self {
            source: SourceView { image: source, blocks: Vec::new(), store: of_source },
            target: TargetViews { image: target, levels: Vec::new(), store: of_target },
            methods: Vec::new(),
            watch: Watch::default(),
        };
        let limits = Limits {
            memory: options.unpack_memory,
            not_unpacked: options.not_unpacked,
            of_source: Budget::of_image(source.size()),
            of_target: Budget::of_image(target.size()),
        };
        let mut known = Known::default();
        while (views.target.levels.len() as u64) < UNPACK_DEPTH_MAX
            && views.look_deeper(&mut known, &limits, progress)?
        {}
        Ok(views)
    }

    /// What was seen inside the target.
    pub(super) fn seen(&self) -> &Seen {
        &self.watch.seen
    }

    /// Whether anything in the target is worth to be unpacked.
    pub(super) fn has_blocks(&self) -> bool {
        !self.target.levels.is_empty()
    }

    /// The target's last view.
    pub(super) fn target(&self) -> TargetView<'_> {
        TargetView { views: &self.target, depth: self.target.levels.len() }
    }

    /// Time of one core that packing the target's blocks takes on a device like ours.
    pub(super) fn pack_time(&self) -> Duration {
        pack_times(&self.methods, &self.target.levels).sum()
    }

    /// The pieces that a device can make in time.
    pub(super) fn calmed(&self, pieces: Vec<Piece>) -> Vec<Piece> {
        calm::calmed(pieces, &self.source.blocks, self.source.image.size())
    }

    /// Unpacks what the views have that is packed; whether there was anything in the target.
    fn look_deeper(
        &mut self,
        known: &mut Known,
        limits: &Limits,
        progress: Progress,
    ) -> Result<bool, DiffError> {
        progress(Event::Phase { name: "look inside", total: 0 });
        let target = self.target();
        let (found_source, found) = rayon::join(
            || find::find(&self.source, &known.source_starts),
            || find::find(&target, &known.starts),
        );
        let found_source = found_source.map_err(DiffError::Source)?;
        let (found_source, files_source) = known.unseen(found_source, limits);
        let mut found = found.map_err(DiffError::Target)?;
        found.blocks.retain(|block| block.codec != Codec::Stored);
        // What is derived is derived from the target itself.
        let is_image = self.target.levels.is_empty();
        let regions = if is_image { derived::regions(&target, &mut found)? } else { Vec::new() };
        let Found { blocks: found, containers, mut files, .. } = found;
        if found.is_empty() {
            self.watch.level(&self.target.levels, containers).finish();
            return Ok(false);
        }
        let source_digests = digests(&self.source, &found_source, DiffError::Source)?;
        let target_digests = digests(&target, &found, DiffError::Target)?;
        known.digests.extend(&source_digests);
        let in_place = derived::in_place(&regions, self.source.size());
        known.digests.extend(digests(&self.source, &in_place, DiffError::Source)?);
        let is_known: Vec<bool> =
            target_digests.iter().map(|digest| known.digests.contains(digest)).collect();
        progress(Event::Phase { name: "pack again", total: len_of_new(&found, &is_known) });
        let scratch = Arc::clone(&self.source.store.scratch);
        let fronts = containers.iter().map(|found| found.offset);
        files.extend(fronts.clone());
        files.sort_unstable();
        let starts = fronts.chain(found.iter().map(|block| block.offset));
        let starts: Vec<u64> = starts.chain(known.starts.drain(..)).collect();
        let fates = fates(&target, &found, &regions, &is_known, &scratch, limits, progress)?;
        let size = target.size();
        let room = BLOCKS_MAX / 2 - self.target.levels.iter().map(Vec::len).sum::<usize>();
        let mut watched = self.watch.level(&self.target.levels, containers);
        let (mut level, plains) = level(&mut self.methods, room, found, fates, &mut watched);
        let kinds = watched.finish();
        let stored = runs::joined(&mut level, &plains, &files, &scratch);
        let stored = stored.map_err(DiffError::Scratch)?;
        if level.is_empty() || view_size(size, &level) > IMAGE_SIZE_MAX {
            return Ok(false);
        }
        // In place of a block that is unpacked there may be another.
        let is_gone = |start: &u64| level.binary_search_by_key(start, |b| b.offset).is_ok();
        let starts = starts.iter().filter(|start| !is_gone(start));
        known.starts = starts.map(|start| view_place(&level, *start)).collect();
        known.starts.sort_unstable();
        known.starts.dedup();
        let unchanged: HashSet<_> = target_digests.into_iter().collect();
        let is_changed: Vec<bool> =
            source_digests.iter().map(|digest| !unchanged.contains(digest)).collect();
        let changed =
            in_parts(near_changes(&found_source, &is_changed, &files_source), &files_source);
        let total = changed.iter().map(|part| part.block.len).sum();
        progress(Event::Phase { name: "unpack source", total });
        let unpacked = unpack(&self.source, &changed, &scratch, limits, progress)?;
        self.source.add(&mut self.methods, &changed, unpacked);
        self.target.levels.push(level);
        self.watch.push(kinds);
        self.target.store.stored.push(stored);
        Ok(true)
    }

    /// The blocks of which something is used, and what is used of the source itself; `used` is in
    /// order, of the source's view.
    pub(super) fn used(&self, used: &[SourceRange]) -> (Blocks, Vec<SourceRange>) {
        let source_size = self.source.image.size();
        let listed = &self.source.blocks;
        let mut is_used = vec![false; listed.len()];
        let mut of_image = Vec::new();
        for range in used {
            if range.offset < source_size {
                let len = range.len.min(source_size - range.offset);
                of_image.push(SourceRange { offset: range.offset, len });
            }
            is_used[touched(listed, *range)].fill(true);
        }
        // Executables may end behind what is copied of them: the view is as long as it was.
        if let Some(last) = is_used.last_mut() {
            *last = true;
        }
        let mut blocks = Blocks { levels: self.target.levels.clone(), ..Blocks::default() };
        // A block in blocks needs those, which lie before it.
        for (index, block) in listed.iter().enumerate().rev() {
            if !is_used[index] {
                continue;
            }
            if block.offset < source_size {
                of_image.push(SourceRange { offset: block.offset, len: block.len });
            } else {
                let (offset, len) = (block.offset, block.len);
                is_used[touched(listed, SourceRange { offset, len })].fill(true);
            }
            blocks.source.push(*block);
        }
        blocks.source.reverse();
        let methods = &mut blocks.methods;
        let of_source = blocks.source.iter_mut().map(|block| &mut block.method);
        let of_target = blocks.levels.iter_mut().flatten().map(|block| &mut block.method);
        for method in of_source.chain(of_target) {
            *method = index_of(methods, &self.methods[*method as usize]);
        }
        of_image.sort_unstable();
        (blocks, of_image)
    }
}

/// What is known of the levels before.
#[derive(Default)]
struct Known {
    /// Short digests of the source's packed blocks.
    digests: HashSet<[u8; 16]>,
    /// Where containers and blocks that were seen start in the target's view, in order.
    starts: Vec<u64>,
    /// The same in the source's view, where nothing moves.
    source_starts: Vec<u64>,
}

impl Known {
    /// The blocks of the source that no level before had, and where files begin. What file systems
    /// store as it is, they find at the first level, and what is in it at the next one.
    fn unseen(&mut self, found: Found, limits: &Limits) -> (Vec<Block>, Vec<u64>) {
        let Found { mut blocks, containers, files, .. } = found;
        blocks.retain(|block| {
            let is_seen = self.source_starts.binary_search(&block.offset).is_ok();
            !is_seen && !limits.not_unpacked.has(block.codec)
        });
        let packed = blocks.iter().filter(|block| block.codec != Codec::Stored);
        let starts = containers.iter().map(|found| found.offset);
        self.source_starts.extend(starts.chain(packed.map(|block| block.offset)));
        self.source_starts.sort_unstable();
        self.source_starts.dedup();
        (blocks, files)
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

/// Bytes of the blocks that are not known.
fn len_of_new(blocks: &[Block], is_known: &[bool]) -> u64 {
    let new = blocks.iter().zip(is_known).filter(|(_, is_known)| !**is_known);
    new.map(|(block, _)| block.len).sum()
}

/// The short digests of packed blocks.
fn digests(
    image: &dyn Source,
    blocks: &[Block],
    failed: fn(Error) -> DiffError,
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

/// Blocks that are unpacked beside each other before it is known whether that was too much.
const BATCH: usize = 64 * RUN;

/// As many are looked at before all others, for what most of an image is packed with.
const FIRST: usize = 4;

fn fates(
    target: &dyn Source,
    blocks: &[Block],
    regions: &[Region],
    is_known: &[bool],
    scratch: &Scratch,
    limits: &Limits,
    progress: Progress,
) -> Result<Vec<Fate>, DiffError> {
    let of = |methods: &mut Methods, (block, is_known): (&Block, &bool)| match is_known {
        true => Ok(Fate::Unchanged),
        false if limits.of_target.is_spent() => Ok(Fate::Passed(Why::TooMany)),
        false => {
            let fate = match regions.iter().find(|region| region.block == *block) {
                Some(region) => derived::fate(region, scratch, limits),
                None => fate(target, block, methods, scratch, limits),
            };
            progress(Event::Advance(block.len));
            fate
        }
    };
    let first = is_known.iter().enumerate().filter(|(_, is_known)| !**is_known);
    let first = first.map(|(index, _)| index + 1).take(FIRST).last().unwrap_or(0);
    let mut methods = Methods::default();
    let front = blocks[..first].iter().zip(is_known).map(|next| of(&mut methods, next));
    let front = front.collect::<Result<Vec<_>, _>>()?;
    let mut fates: Vec<_> = front.into_iter().map(|fate| limits.admitted(fate)).collect();
    let batches = blocks[first..].chunks(BATCH).zip(is_known[first..].chunks(BATCH));
    for (blocks, is_known) in batches {
        let runs = blocks.par_chunks(RUN).zip(is_known.par_chunks(RUN));
        let runs = runs.map(|(blocks, is_known)| {
            let mut methods = methods.clone();
            let fates = blocks.iter().zip(is_known).map(|next| of(&mut methods, next));
            fates.collect::<Result<Vec<_>, _>>()
        });
        let made = runs.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        fates.extend(made.map(|fate| limits.admitted(fate)));
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
    if limits.not_unpacked.has(block.codec) {
        return Ok(Fate::Passed(Why::SwitchedOff));
    }
    let Some(packed) = packed(target, block, DiffError::Target)? else {
        return Ok(Fate::Passed(Why::TooLarge));
    };
    let plain = match block.codec.unpack(&packed, in_memory(limits.plain_len_max())) {
        Ok(plain) if !plain.is_empty() => plain,
        Err(UnpackError::TooLarge) => return Ok(Fate::Passed(Why::TooLarge)),
        Ok(_) | Err(UnpackError::Malformed) => return Ok(Fate::Passed(Why::Unknown)),
    };
    if !limits.of_target.take(plain.len() as u64) {
        return Ok(Fate::Passed(Why::TooMany));
    }
    let Some(rebuilt) = methods.find(block.codec, &packed, &plain) else {
        return Ok(Fate::Passed(Why::Unknown));
    };
    kept(block, &plain, rebuilt, scratch, limits)
}

/// Keeps the view of a block, unless it is not worth it.
fn kept(
    block: &Block,
    plain: &[u8],
    Rebuilt { method, packed_len, plain_len, correction }: Rebuilt,
    scratch: &Scratch,
    limits: &Limits,
) -> Result<Fate, DiffError> {
    let plain = &plain[..plain_len];
    let (plain_len, correction_len) = (plain_len as u64, correction.len() as u64);
    let (offset, len) = (block.offset, packed_len as u64);
    let packed = TargetBlock { offset, len, plain_len, correction_len, ..Default::default() };
    let methods = [method];
    let is_small = correction_len <= BLOCK_LEN_MAX && correction_len < len / 2;
    if !is_small {
        return Ok(Fate::Passed(Why::Unknown));
    }
    if packing_memory(&methods, &packed) > limits.memory {
        return Ok(Fate::Passed(Why::TooLarge));
    }
    let [method] = methods;
    let stored = scratch.append(&[plain, &correction]).map_err(DiffError::Scratch)?;
    Ok(Fate::Rebuilt(Box::new(Kept { method, packed, stored })))
}

/// The bytes of a block, unless it is too long.
fn packed(
    image: &dyn Source,
    block: &Block,
    failed: fn(Error) -> DiffError,
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
        self.memory.min(PLAIN_LEN_MAX as u64)
    }

    /// What became of a block of a batch that was looked at: all of one that took too much pass.
    fn admitted(&self, fate: Fate) -> Fate {
        match fate {
            Fate::Rebuilt(_) | Fate::Passed(_) if self.of_target.is_spent() => {
                Fate::Passed(Why::TooMany)
            }
            fate => fate,
        }
    }
}

/// The blocks that are rebuilt, at most so many, and where their plain bytes are kept, with their
/// corrections behind them.
fn level(
    methods: &mut Vec<Method>,
    room: usize,
    found: Vec<Block>,
    fates: Vec<Fate>,
    watched: &mut Level<'_>,
) -> (Vec<TargetBlock>, Vec<u64>) {
    let (mut level, mut stored): (Vec<TargetBlock>, Vec<u64>) = Default::default();
    for (block, fate) in found.into_iter().zip(fates) {
        let is_listed = |kept: &Kept| {
            level.len() < room
                && (methods.len() < METHODS_MAX / 2 || methods.contains(&kept.method))
        };
        let kept = match fate {
            Fate::Rebuilt(kept) if is_listed(&kept) => kept,
            Fate::Unchanged => {
                watched.add(&block, Outcome::Unchanged);
                continue;
            }
            Fate::Rebuilt(_) => {
                watched.add(&block, Outcome::Passed(Why::TooMany));
                continue;
            }
            Fate::Passed(why) => {
                watched.add(&block, Outcome::Passed(why));
                continue;
            }
        };
        let packed = TargetBlock { method: index_of(methods, &kept.method), ..kept.packed };
        let correction_len = packed.correction_len;
        // What is cut may be packed again up to a little before its end.
        watched.add(&Block { len: packed.len, ..block }, Outcome::Rebuilt { correction_len });
        level.push(packed);
        stored.push(kept.stored);
    }
    (level, stored)
}

/// What a block of the source unpacks to: where it is kept, its length, and the method.
type Unpacked = (u64, u64, Method);

/// What blocks of the source unpack to. None where they do not, or where that is too much.
fn unpack(
    source: &dyn Source,
    parts: &[Part],
    scratch: &Scratch,
    limits: &Limits,
    progress: Progress,
) -> Result<Vec<Option<Unpacked>>, DiffError> {
    let plain_len_max = in_memory(limits.plain_len_max());
    let of = |Part { block, .. }: &Part| {
        let Some(packed) = packed(source, block, DiffError::Source)? else { return Ok(None) };
        progress(Event::Advance(block.len));
        let Some(method) = Method::of_block(block.codec, &packed) else { return Ok(None) };
        let plain_len_max =
            block.codec.plain_len().map_or(plain_len_max, |len| len.min(plain_len_max));
        let plain = method.unpack(&packed, plain_len_max);
        let Ok(plain) = plain else { return Ok(None) };
        let len = plain.len() as u64;
        if len == 0 || len + block.len + method.unpack_memory(len) > limits.memory {
            return Ok(None);
        }
        if !limits.of_source.take(len) {
            return Ok(None);
        }
        let stored = scratch.append(&[&plain]).map_err(DiffError::Scratch)?;
        Ok(Some((stored, len, method)))
    };
    let mut unpacked = Vec::new();
    for batch in parts.chunks(BATCH) {
        let made = batch.par_iter().map(of).collect::<Result<Vec<_>, _>>()?;
        if limits.of_source.is_spent() {
            break;
        }
        unpacked.extend(made);
    }
    unpacked.resize(parts.len(), None);
    Ok(unpacked)
}
