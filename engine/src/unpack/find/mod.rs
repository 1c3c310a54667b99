//! Where the packed blocks of an image are, whatever contains them.
//!
//! The whole image is scanned for the first bytes of containers (`scan`), so that partitions need
//! not be known. Each place is then looked at by the parser of its container, which follows the
//! container's own tables and lengths and refuses what does not fit: what it says is exact, or it
//! says nothing. Whether a block unpacks is not proven here but by who unpacks it.
//!
//! File systems come first, as their tables know more than a scan does: also where bytes of a file
//! end whose others lie elsewhere (`stretches`), so that no stream is followed into those of
//! another. What lies inside of a block is not looked at. Streams are looked at beside each other,
//! on all cores, and taken in order.
//!
//! Hostile images cost bounded time and memory: see `FIND_WORK`, `BLOCK_SPACING` and
//! `CANDIDATE_SPACING` in [`crate::limits`]. What is found does not depend on the number of cores.

mod blocks;
mod cramfs;
mod derived;
mod erofs;
mod ext4;
mod kallsyms;
mod reader;
mod scan;
mod squashfs;
mod stream;
mod stretches;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use super::Block;
use crate::io::{Error, Source};
use crate::limits::{
    DERIVED_MAX, FIND_WORK, FIND_WORK_MIN, SCAN_PIECE_LEN, SCAN_PIECES, STREAM_BATCH,
    STREAM_WORK_FIRST,
};
use blocks::{Blocks, count_max};
use derived::Superblock;
pub use derived::{Region, regions};
use reader::{Parsed, Reader, Stop};
use scan::{Candidate, Kind};
use stretches::Stretches;

/// What was found in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The blocks, in order, none over another.
    pub blocks: Vec<Block>,
    /// What contains them, in order, for people.
    pub containers: Vec<Container>,
    /// Where the first blocks of files are, as far as file systems tell, in order.
    pub files: Vec<u64>,
    /// Where superblocks of dm-verity are, for [`regions`].
    pub superblocks: Vec<u64>,
}

/// A file system, archive, stream or kernel that holds blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// What it is: `squashfs`, `erofs`, `gzip` …
    pub name: &'static str,
    /// Where it starts in the image, in bytes.
    pub offset: u64,
    /// Its length, in bytes, as far as it is known.
    pub len: u64,
    /// How many blocks were found in it.
    pub block_count: u64,
    /// Why not all of it, or nothing, was looked into.
    pub not_followed: Option<NotFollowed>,
}

/// What containers have that no parser follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotFollowed {
    /// Blocks of squashfs that are packed with lzo.
    Lzo,
    /// Blocks of an lz4 frame that look back into those before them.
    Linked,
    /// A png whose stream lies in several chunks.
    Chunks,
}

/// Looks through the whole image, but not into containers and blocks that start at `known` places,
/// which are in order.
///
/// # Errors
/// What the image's device says. What is malformed is not found; it is no error.
pub fn find(image: &dyn Source, known: &[u64]) -> Result<Found, Error> {
    let mut search = Search::new(image, known);
    let step = SCAN_PIECE_LEN * SCAN_PIECES;
    for index in 0..image.size().div_ceil(step) {
        let start = index * step;
        let mut candidates = scan::scan(image, start..image.size().min(start + step))?;
        candidates.retain(|candidate| known.binary_search(&candidate.offset).is_err());
        search.superblocks(&mut candidates)?;
        let (file_systems, streams): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| candidate.kind.is_file_system());
        search.file_systems(&file_systems)?;
        for batch in streams.chunks(STREAM_BATCH) {
            search.streams(batch)?;
        }
    }
    Ok(search.found())
}

/// What a parser found.
struct Hit {
    container: Container,
    blocks: Blocks,
    /// Bytes of files that go on elsewhere.
    stretches: Vec<Range<u64>>,
}

impl Hit {
    /// The blocks of a container.
    fn new(name: &'static str, offset: u64, len: u64, blocks: Blocks) -> Self {
        let block_count = blocks.len() as u64;
        let container = Container { name, offset, len, block_count, not_followed: None };
        Self { container, blocks, stretches: Vec::new() }
    }

    /// The same where something is not followed, if so.
    fn without(mut self, not_followed: Option<NotFollowed>) -> Self {
        self.container.not_followed = not_followed;
        self
    }
}

/// What was found so far, and the work that is left.
struct Search<'a> {
    image: &'a dyn Source,
    blocks: Blocks,
    stretches: Stretches,
    containers: Vec<Container>,
    superblocks: Vec<u64>,
    /// Where containers and blocks start that are not looked into, in order.
    known: &'a [u64],
    work_left: u64,
}

impl<'a> Search<'a> {
    fn new(image: &'a dyn Source, known: &'a [u64]) -> Self {
        let work_left = FIND_WORK_MIN + FIND_WORK * image.size();
        let (blocks, stretches) = (Blocks::new(image.size()), Stretches::new(image.size()));
        let (containers, superblocks) = (Vec::new(), Vec::new());
        Self { image, blocks, stretches, containers, superblocks, known, work_left }
    }

    /// Takes superblocks of dm-verity out of the candidates.
    fn superblocks(&mut self, candidates: &mut Vec<Candidate>) -> Result<(), Error> {
        for candidate in candidates.extract_if(.., |candidate| candidate.kind == Kind::Verity) {
            let mut reader = Reader::new(self.image, self.work_left.min(Superblock::WORK));
            match derived::superblock(&mut reader, candidate.offset) {
                Ok(_) if self.superblocks.len() < DERIVED_MAX => {
                    self.superblocks.push(candidate.offset);
                }
                Err(Stop::Device(error)) => return Err(error),
                _ => {}
            }
            self.work_left = self.work_left.saturating_sub(LOOK_WORK);
        }
        Ok(())
    }

    fn file_systems(&mut self, candidates: &[Candidate]) -> Result<(), Error> {
        for candidate in candidates {
            if self.is_free(candidate) {
                let (found, spent) = look(Reader::new(self.image, self.work_left), candidate);
                self.work_left = self.work_left.saturating_sub(spent);
                self.take(found)?;
            }
        }
        // Once, and not for each of what may be very many.
        self.stretches.sort();
        Ok(())
    }

    fn streams(&mut self, candidates: &[Candidate]) -> Result<(), Error> {
        let free: Vec<_> = candidates.iter().filter(|candidate| self.is_free(candidate)).collect();
        let work = self.work_left.min(STREAM_WORK_FIRST);
        let looked: Vec<_> = free
            .par_iter()
            .map(|candidate| look(self.reader(candidate.offset, work), candidate))
            .collect();
        for (candidate, (found, spent)) in free.into_iter().zip(looked) {
            self.work_left = self.work_left.saturating_sub(spent);
            if !self.is_free(candidate) {
                continue;
            }
            if matches!(found, Err(Stop::Spent)) {
                let again = look(self.reader(candidate.offset, self.work_left), candidate);
                self.work_left = self.work_left.saturating_sub(again.1);
                self.take(again.0)?;
            } else {
                self.take(found)?;
            }
        }
        Ok(())
    }

    /// Reads a stream that starts at `offset`, up to where its file goes on elsewhere.
    fn reader(&self, offset: u64, work: u64) -> Reader<'a> {
        let reader = Reader::new(self.image, work);
        match self.stretches.of(offset) {
            Some(end) => reader.up_to_end_of_stretch(end),
            None => reader,
        }
    }

    fn is_free(&self, candidate: &Candidate) -> bool {
        self.blocks.is_free(candidate.offset, 1)
    }

    /// Takes what is new of a parser's blocks.
    fn take(&mut self, found: Parsed<Hit>) -> Result<(), Error> {
        let mut hit = match found {
            Ok(hit) => hit,
            Err(Stop::Device(error)) => return Err(error),
            Err(Stop::Malformed | Stop::Spent) => return Ok(()),
        };
        let known = self.known;
        let is_known = |offset: &u64| known.binary_search(offset).is_ok();
        // A file system is noticed by its superblock, which need not be its start.
        if is_known(&hit.container.offset) {
            return Ok(());
        }
        self.stretches.add(hit.stretches);
        self.blocks.add_files(hit.blocks.files());
        // An archive is known by its first entry: of the others their blocks are.
        let unknown = hit.blocks.iter().filter(|block| !is_known(&block.offset));
        let added = unknown.filter(|block| self.blocks.add(*block)).count();
        hit.container.block_count = added as u64;
        let is_kept = self.is_kept(&hit.container);
        match self.containers.last_mut() {
            // An archive is found entry by entry.
            Some(last) if last.name == "zip" && last.is_continued_by(&hit.container) => {
                last.len = hit.container.end() - last.offset;
                last.block_count += hit.container.block_count;
            }
            _ if is_kept => self.containers.push(hit.container),
            _ => {}
        }
        Ok(())
    }

    /// Whether there is anything to say of a container, as long as there is memory. An entry
    /// without a block stands between others of its archive.
    fn is_kept(&self, container: &Container) -> bool {
        let has_room = (self.containers.len() as u64) < count_max(self.image.size());
        has_room && (container.is_told() || container.name == "zip")
    }

    fn found(mut self) -> Found {
        self.containers.retain(Container::is_told);
        self.containers.sort_by_key(|container| container.offset);
        let mut files = self.blocks.files().to_vec();
        files.sort_unstable();
        let (blocks, containers) = (self.blocks.iter().collect(), self.containers);
        Found { blocks, containers, files, superblocks: self.superblocks }
    }
}

impl Container {
    fn end(&self) -> u64 {
        self.offset + self.len
    }

    fn is_told(&self) -> bool {
        self.block_count > 0 || self.not_followed.is_some()
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        self.name == next.name && self.end() == next.offset
    }
}

/// Lets the parser of a candidate look, and says how much work it took.
fn look(mut reader: Reader<'_>, candidate: &Candidate) -> (Parsed<Hit>, u64) {
    let work = reader.work_left();
    let Candidate { offset, kind } = *candidate;
    let found = match kind {
        Kind::Squashfs => squashfs::find(&mut reader, offset),
        Kind::Erofs => erofs::find(&mut reader, offset),
        Kind::Cramfs => cramfs::find(&mut reader, offset),
        Kind::Ext4 => ext4::find(&mut reader, offset),
        Kind::Kallsyms => kallsyms::find(&mut reader, offset),
        _ => stream::find(&mut reader, kind, offset),
    };
    // A place that is refused at once is not for free, either.
    (found, work - reader.work_left() + LOOK_WORK)
}

/// What looking at a candidate costs at least, in bytes of work.
const LOOK_WORK: u64 = 256;
