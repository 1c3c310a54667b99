//! The diff: from two images to a patch.
//!
//! Exact blocks first (`blocks`), then near matches in what is left (`seeds`), then short ones
//! from near (`local`) and far (`chains`); a parse chooses among them by price (`parse`); the
//! result is laid out in frames (`draft`) and coded (`pack`).

mod agreement;
mod blocks;
mod chains;
mod draft;
mod entries;
mod estimate;
mod frames;
mod gaps;
mod images;
mod local;
mod mixed;
mod pack;
mod parse;
mod plan;
mod price;
mod regions;
mod seeds;
mod segment;
mod views;
mod waiting;

pub use views::{Count, Kind, Place, Seen, Tallies, Tally, Why};

use core::time::Duration;
use std::fmt;

use crate::digest::Digest;
use crate::format::frame::COLUMN_COUNT;
use crate::format::{Estimates, Header, SourceRange};
use crate::io::{self, Event, Progress, Source, Spool};
use crate::limits::{IMAGE_SIZE_MAX, RESTART_LEN, UNPACK_MEMORY, WINDOW_LOG2_MAX, WINDOW_LOG2_MIN};
use crate::refs::votes::Worth;
use crate::unpack::codec::Families;
use draft::Room;
use images::Images;
use parse::{Islands, Piece};
use plan::{Candidate, Planner};
use price::Price;
use rayon::prelude::*;
use regions::{Regions, Rewritten};
use segment::{From, Segment};
use views::Views;

/// How to make a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// From 1, fast, to 9, small.
    pub effort: u8,
    /// Bytes of memory to stay within.
    pub memory: u64,
    /// Bytes of patch after which decoding can start afresh.
    pub restart_len: u64,
    /// What codes the frames.
    pub coder: Coder,
    /// Memory that blocks may take on a device, in bytes.
    pub unpack_memory: u64,
    /// Codecs whose blocks stay packed.
    pub not_unpacked: Families,
    /// Bytes that the link brings in a second, where nothing counts but the time until a device is
    /// updated: packing again must save more than it takes.
    pub link_rate: Option<u64>,
    /// Which parts of the diff are used, where they pay.
    pub parts: Parts,
}

/// Parts of the diff that can be left out, to see what each is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// What is packed is seen as what it was packed from.
    pub unpack: bool,
    /// Short matches are sought in all of the source.
    pub chains: bool,
    /// Addresses in executables are rewritten.
    pub refs: bool,
    /// The target's own fields correct where addresses moved (needs `refs`).
    pub moves: bool,
    /// What still differs is matched again with addresses rewritten (needs `refs`).
    pub rematch: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Self { unpack: true, chains: true, refs: true, moves: true, rematch: true }
    }
}

/// What codes the frames of a patch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Coder {
    /// zstd: decodes at the speed of storage.
    #[default]
    Zstd,
    /// Context mixing: smallest, and slow to decode.
    Cm,
}

impl Options {
    /// The effort taken by default.
    pub const EFFORT_DEFAULT: u8 = 6;
    /// The memory limit by default, in bytes: 2 GiB.
    pub const MEMORY_DEFAULT: u64 = 2 << 30;
    /// Least memory a diff can work in, in bytes.
    pub const MEMORY_MIN: u64 = 256 << 20;

    /// The zstd level of each effort.
    fn level(&self) -> i32 {
        const LEVELS: [i32; 9] = [3, 6, 9, 12, 16, 19, 20, 21, 22];
        LEVELS[usize::from(self.effort.clamp(1, 9)) - 1]
    }

    fn price(&self) -> &'static Price {
        match self.coder {
            Coder::Zstd => &Price::ZSTD,
            Coder::Cm => &Price::CM,
        }
    }

    /// Most bytes on either side that are matched throughout by chains of seeds: they find a few
    /// hundredths more than seeds do, at many times the time.
    fn chains_len_max(&self, pass: Pass) -> u64 {
        let first = match self.effort {
            _ if !self.parts.chains => 0,
            ..=3 => 0,
            4..=5 => 8 << 20,
            6..=7 => 64 << 20,
            8 => 256 << 20,
            _ => u64::MAX,
        };
        match pass {
            Pass::First => first,
            // Of what they match at first.
            Pass::Again => first / 2,
        }
    }

    /// Whether in larger images chains match what seeds left over. Once is nearly as good as in
    /// both passes, and better in the later one, where less is left.
    fn chains_match_rest(&self, pass: Pass) -> bool {
        match pass {
            _ if !self.parts.chains => false,
            Pass::First => self.effort > Self::EFFORT_DEFAULT,
            Pass::Again => self.effort >= Self::EFFORT_DEFAULT,
        }
    }
}

/// Which search for matches it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    /// With addresses rewritten, in what did not agree after the first.
    Again,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            effort: Self::EFFORT_DEFAULT,
            memory: Self::MEMORY_DEFAULT,
            restart_len: RESTART_LEN,
            coder: Coder::default(),
            unpack_memory: UNPACK_MEMORY,
            not_unpacked: Families::default(),
            link_rate: None,
            parts: Parts::default(),
        }
    }
}

/// A finished patch: its header, to be written in front of the spool, and where its bytes went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The header's bytes.
    pub header_bytes: Vec<u8>,
    /// The header.
    pub header: Header,
    /// Where target and patch bytes went.
    pub summary: Summary,
}

/// Where the bytes of the target come from, and where those of the patch went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Target bytes copied from exact block matches.
    pub exact: u64,
    /// Target bytes that are runs of zeros.
    pub zeros: u64,
    /// Target bytes copied from near matches.
    pub near: u64,
    /// Of those, bytes that differ from the source.
    pub differing: u64,
    /// Target bytes carried as literals.
    pub literals: u64,
    /// Patch bytes of each column.
    pub columns: [u64; COLUMN_COUNT],
    /// Patch bytes of the literals.
    pub literals_coded: u64,
    /// Patch bytes of what the coder `cm` codes.
    pub mixed: u64,
    /// Executables whose addresses are rewritten, frame by frame.
    pub regions: u64,
    /// What was seen inside the target, and what became of it.
    pub seen: Seen,
    /// Bytes of the target's view, which all of the sums above are about.
    pub view: u64,
    /// Patch bytes of the header and its tables.
    pub header: u64,
    /// Whether the patch is the whole target, since no delta was smaller.
    pub is_full: bool,
}

/// Why no patch could be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum DiffError {
    /// The source could not be read.
    Source(io::Error),
    /// The target could not be read.
    Target(io::Error),
    /// What was unpacked could not be kept.
    Scratch(io::Error),
    /// The patch could not be kept.
    Spool(io::Error),
    /// An image is larger than the format allows.
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
}

impl fmt::Display for DiffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => write!(f, "reading the source: {error}"),
            Self::Target(error) => write!(f, "reading the target: {error}"),
            Self::Scratch(error) => {
                write!(f, "keeping what was unpacked in the folder for temporary files: {error}")
            }
            Self::Spool(error) => write!(f, "keeping the patch: {error}"),
            Self::TooLarge { size } => {
                write!(f, "the image has {size} bytes, the most is {IMAGE_SIZE_MAX}")
            }
        }
    }
}

impl std::error::Error for DiffError {}

/// Makes the patch that turns `source` into `target`. Runs on the caller's `rayon` pool.
///
/// The frames go to `spool`; the same images and options give the same bytes on any number of
/// threads.
///
/// # Errors
/// If an image cannot be read or is too large, or the spool fails.
pub fn diff(
    source: &dyn Source,
    target: &dyn Source,
    options: &Options,
    spool: &mut dyn Spool,
    progress: Progress,
) -> Result<Patch, DiffError> {
    for size in [source.size(), target.size()] {
        if size > IMAGE_SIZE_MAX {
            return Err(DiffError::TooLarge { size });
        }
    }
    let images = Images::of(source, target, progress)?;
    let views = match options.parts.unpack {
        true => Some(Views::of(source, target, options, progress)?),
        false => None,
    };
    let seen = views.as_ref().map(|views| views.seen().clone()).unwrap_or_default();
    let views = views.filter(Views::has_blocks);
    let estimates = match &views {
        // By what others see: blocks that are packed as they were.
        Some(_) => Some(estimate::estimate(target, &unparsed(&images.exact), progress)?),
        None => None,
    };
    let views = views.filter(|views| match (options.link_rate, estimates) {
        (Some(rate), Some(estimates)) => {
            // No more can be saved than others would send.
            let saved_max = Duration::from_millis(estimates.delta * 1000 / rate.max(1));
            views.pack_time() < saved_max
        }
        _ => true,
    });
    let inside = match &views {
        Some(views) => Some(images.unpacked(views, options, spool, progress)?),
        None => None,
    };
    // What was unpacked is hardly ever larger; where it is not clearly smaller, both are tried.
    let least = estimates.map_or(u64::MAX, |estimates| estimates.delta.min(estimates.full));
    let is_clear = inside.as_ref().is_some_and(|made| made.len() < least / 8 * 7);
    let plain = match is_clear {
        true => None,
        false => {
            let spooled = inside.as_ref().map_or(0, |made| made.spooled);
            Some(images.plain(options, spool, spooled, progress)?)
        }
    };
    let made = match (inside, plain) {
        (Some(inside), Some(plain)) if plain.len() < inside.len() => plain,
        (Some(made), _) | (None, Some(made)) => made,
        (None, None) => unreachable!("what is not there is not clearly smaller"),
    };
    spool.keep(made.range.clone()).map_err(DiffError::Spool)?;
    let mut header = made.header;
    header.estimates = estimates.or(header.estimates);
    let frames_len = made.range.end - made.range.start;
    let (header_bytes, header) = header.encode(frames_len);
    let summary = Summary { header: header.header_len, seen, ..made.summary };
    Ok(Patch { header_bytes, header, summary })
}

/// What is seen inside an image, and what would become of it if all of it changed, for whoever
/// builds it. Runs on the caller's `rayon` pool, and takes as long as packing all of it.
///
/// # Errors
/// If the image cannot be read or is too large.
pub fn look(image: &dyn Source, options: &Options, progress: Progress) -> Result<Seen, DiffError> {
    let size = image.size();
    if size > IMAGE_SIZE_MAX {
        return Err(DiffError::TooLarge { size });
    }
    let nothing = Vec::new();
    Ok(Views::of(&nothing, image, options, progress)?.seen().clone())
}

/// Exact matches, and what they were found by.
fn exact(
    source: &dyn Source,
    target: &dyn Source,
    progress: Progress,
) -> Result<(blocks::BlockIndex, Vec<Segment>, Vec<Digest>), DiffError> {
    progress(Event::Phase { name: "index", total: source.size() });
    let index = blocks::BlockIndex::new(source, progress)?;
    progress(Event::Phase { name: "match blocks", total: target.size() });
    let (exact, target_windows) = blocks::find(&index, source, target, progress)?;
    Ok((index, exact, target_windows))
}

/// Matches as pieces that differ in nothing.
fn unparsed(exact: &[Segment]) -> Vec<Piece> {
    exact.iter().map(|s| Piece { segment: *s, islands: Islands::default() }).collect()
}

/// The ways to make the target that are worth coding: with addresses rewritten, if there are any,
/// and as they are.
fn candidates(
    source: &dyn Source,
    target: &dyn Source,
    exact: Vec<Segment>,
    calmed: &dyn Fn(Vec<Piece>) -> Vec<Piece>,
    options: &Options,
    progress: Progress,
) -> Result<(Vec<Candidate>, Estimates), DiffError> {
    let price = options.price();
    let unused = |found: &[Segment]| source_gaps(found, source.size());
    let near = near_matches(source, unused, target, &exact, options, Pass::First, progress)?;
    let none = Regions::default();
    let pieces = parsed(source, target, &exact, &near, &none, price, progress)?;
    let room = match options.coder {
        Coder::Zstd => Room::RAW,
        Coder::Cm => Room::MIXED,
    };
    let planner = Planner { source, target, regions: &none, moves: Worth::NONE, price, room };
    let plain = Candidate::new(calmed(pieces.clone()), &planner)?;
    let estimates = estimate::estimate(target, &pieces, progress)?;
    if !options.parts.refs {
        return Ok((vec![plain], estimates));
    }
    let moves = match options.coder {
        _ if !options.parts.moves => Worth::NONE,
        Coder::Zstd => Worth::ZSTD,
        Coder::Cm => Worth::CM,
    };
    let regions = Regions::find(source, target, &pieces, moves, progress)?;
    if regions.is_empty() {
        return Ok((vec![plain], estimates));
    }
    let pieces = match options.parts.rematch {
        true => rematched(source, target, pieces, &exact, &regions, options, progress)?,
        false => pieces,
    };
    progress(Event::Phase { name: "frames", total: target.size() });
    let planner = Planner { regions: &regions, moves, ..planner };
    let rewritten = Candidate::new(calmed(pieces), &planner)?;
    // Close ones are both coded; where the estimate is clear, it is right.
    let (with, without) = (rewritten.cost(price), plain.cost(price));
    let clear = without / CLEAR;
    let candidates = match (with + clear < without, without + clear < with) {
        (true, _) => vec![rewritten],
        (_, true) => vec![plain],
        _ => vec![rewritten, plain],
    };
    Ok((candidates, estimates))
}

/// Matches again what does not agree once addresses are rewritten, and chooses anew where pieces
/// touch the regions.
fn rematched(
    source: &dyn Source,
    target: &dyn Source,
    pieces: Vec<Piece>,
    exact: &[Segment],
    regions: &Regions,
    options: &Options,
    progress: Progress,
) -> Result<Vec<Piece>, DiffError> {
    let rewritten = Rewritten { source, regions };
    let total = pieces.iter().map(|piece| &piece.segment).filter(|segment| regions.touch(segment));
    progress(Event::Phase { name: "rewrite", total: total.map(|segment| segment.len).sum() });
    let new = || frames::Comparison::new(source, target, regions);
    let left: Vec<u64> = pieces
        .par_iter()
        .map_init(new, |comparison, piece| {
            let differing = comparison.differing(&piece.segment)?;
            if regions.touch(&piece.segment) {
                progress(Event::Advance(piece.segment.len));
            }
            Ok(differing)
        })
        .collect::<Result<_, DiffError>>()?;
    let settles = |segment: &Segment, differing: u64| {
        !regions.touch(segment)
            || (segment.len >= SETTLED_LEN && differing * SETTLED_PART <= segment.len)
    };
    let settled = pieces.iter().zip(&left).filter(|(piece, left)| settles(&piece.segment, **left));
    let settled: Vec<_> = settled.map(|(piece, _)| piece.segment).collect();
    // Elsewhere the source is what it was, and was looked at.
    let unused = |found: &[Segment]| regions.cover(&source_gaps(found, source.size()));
    let mut near =
        near_matches(&rewritten, unused, target, &settled, options, Pass::Again, progress)?;
    near.extend(entries::find(source, target, regions)?);
    let (mut fixed, mut touching) = (Vec::new(), Vec::new());
    for (piece, left) in pieces.into_iter().zip(left) {
        let segment = piece.segment;
        if !regions.touch(&segment) {
            fixed.push(piece);
        } else if segment.len >= FIXED_LEN && left == 0 {
            fixed.push(Piece { segment, islands: Islands::default() });
        } else {
            touching.push(piece);
        }
    }
    near.extend(exact.iter().filter(|segment| regions.touch(segment)));
    near.extend(touching.iter().map(|piece| piece.segment));
    let mut near: Vec<_> = near.into_iter().flat_map(|s| s.parts(MATCH_LEN_MAX)).collect();
    near.par_sort_unstable();
    near.dedup();
    let ends: Vec<_> = fixed.iter().map(|piece| piece.segment).collect();
    let total = target.size() - ends.iter().map(|segment| segment.len).sum::<u64>();
    progress(Event::Phase { name: "parse again", total });
    let price = options.price();
    fixed.extend(parse::parse(source, target, &ends, &near, regions, price, progress)?);
    fixed.sort_unstable_by_key(|piece| piece.segment);
    Ok(fixed)
}

/// Two estimates are clearly apart from this part of them on.
const CLEAR: u64 = 32;

/// Longest match, in bytes: the parse looks as far back as the longest reaches.
const MATCH_LEN_MAX: u64 = 64 << 10;

/// Least length of a piece that needs no other match, in bytes, and of how many of its bytes at
/// most one may differ once addresses are rewritten.
const SETTLED_LEN: u64 = 256;
const SETTLED_PART: u64 = 32;

/// Least length of a piece that agrees throughout and is not parsed again, in bytes.
const FIXED_LEN: u64 = 4096;

/// Near matches in what the exact ones leave over, sought in what those found leave `unused` of the
/// source; in target order.
fn near_matches(
    source: &dyn Source,
    unused: impl Fn(&[Segment]) -> Vec<SourceRange>,
    target: &dyn Source,
    exact: &[Segment],
    options: &Options,
    pass: Pass,
    progress: Progress,
) -> Result<Vec<Segment>, DiffError> {
    // Shorter stretches are settled by the exact matches beside them.
    const STRETCH_MIN: u64 = 32;
    let left = |segments: &[Segment]| target_gaps(segments, target.size(), STRETCH_MIN);
    let sum = |ranges: &[SourceRange]| ranges.iter().map(|range| range.len).sum::<u64>();
    let unmatched = left(exact);
    let mut found = exact.to_vec();
    let mut clear = exact.to_vec();
    let mut near = Vec::new();
    for grain in [seeds::Grain::COARSE, seeds::Grain::FINE] {
        let stretches = left(&found);
        progress(Event::Phase { name: "match seeds", total: sum(&stretches) });
        let source_len_max = seeds::source_len_max(options.memory, grain);
        for part in gaps::parts(&unused(&found), source_len_max) {
            let joined = gaps::Joined::read(source, &part, DiffError::Source)?;
            let seeds = seeds::find(&joined, target, &stretches, grain, progress)?;
            found.extend(&seeds.strict);
            near.extend(seeds.strict);
            near.extend(seeds.wide);
            clear.extend(seeds.clear);
        }
        found.sort_unstable();
    }
    let unused = unused(exact);
    let is_small = sum(&unmatched).max(sum(&unused)) <= options.chains_len_max(pass);
    // The second look nearby finds little that a look anywhere does not.
    let rest_anywhere = !is_small && options.chains_match_rest(pass);
    if !rest_anywhere || pass == Pass::First {
        clear.sort_unstable();
        // Of little that is left all is worth a closer look.
        let unclear = if is_small { unmatched.clone() } else { left(&clear) };
        progress(Event::Phase { name: "match nearby", total: sum(&unclear) });
        near.extend(local::find(source, target, &unclear, &found, progress)?);
    }
    if is_small || rest_anywhere {
        found.extend(&near);
        found.sort_unstable();
        let rest = if is_small { unmatched } else { left(&found) };
        progress(Event::Phase { name: "match anywhere", total: sum(&rest) });
        near.extend(chains::find(source, target, &unused, &rest, options.memory, progress)?);
    }
    let mut near: Vec<_> = near.into_iter().flat_map(|s| s.parts(MATCH_LEN_MAX)).collect();
    near.par_sort_unstable();
    near.dedup();
    Ok(near)
}

/// Chooses among the matches and puts all pieces in target order.
fn parsed(
    source: &dyn Source,
    target: &dyn Source,
    exact: &[Segment],
    near: &[Segment],
    regions: &Regions,
    price: &Price,
    progress: Progress,
) -> Result<Vec<Piece>, DiffError> {
    let total = target.size() - exact.iter().map(|segment| segment.len).sum::<u64>();
    progress(Event::Phase { name: "parse", total });
    let mut pieces = parse::parse(source, target, exact, near, regions, price, progress)?;
    pieces.extend(unparsed(exact));
    pieces.sort_unstable_by_key(|piece| piece.segment);
    Ok(pieces)
}

fn target_gaps(segments: &[Segment], target_size: u64, min_len: u64) -> Vec<SourceRange> {
    let covered = segments.iter().map(|s| SourceRange { offset: s.target, len: s.len });
    gaps::between(covered, SourceRange { offset: 0, len: target_size }, min_len)
}

fn source_gaps(segments: &[Segment], source_size: u64) -> Vec<SourceRange> {
    // Shorter ones hold no match worth its price.
    const GAP_MIN: u64 = 32;
    let mut covered: Vec<_> = segments.iter().filter_map(source_range).collect();
    covered.sort_unstable();
    gaps::between(covered.into_iter(), SourceRange { offset: 0, len: source_size }, GAP_MIN)
}

/// What a segment copies.
fn source_range(segment: &Segment) -> Option<SourceRange> {
    let From::Source { diagonal } = segment.from else { return None };
    let offset = segment.target.checked_add_signed(diagonal).expect("copies lie in the source");
    Some(SourceRange { offset, len: segment.len })
}

/// How far windows are widened beyond the least: until the tables are a thousandth of the patch.
/// For windows of 1 MiB they may be a four-hundredth: of wider ones an apply holds more, and its
/// threads share the work less evenly (2 % of the time on a root image).
fn window_shift(frames_len: u64, image_size: u64) -> u8 {
    const MIB_LOG2: u8 = 20;
    (0..WINDOW_LOG2_MAX - WINDOW_LOG2_MIN)
        .find(|shift| {
            let part = if WINDOW_LOG2_MIN + shift == MIB_LOG2 { 400 } else { 1000 };
            (image_size >> (WINDOW_LOG2_MIN + shift)) * 48 <= frames_len / part
        })
        .unwrap_or(WINDOW_LOG2_MAX - WINDOW_LOG2_MIN)
}
