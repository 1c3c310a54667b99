//! The parse: which diagonal each byte of the target is copied along, or whether it is a literal,
//! so that the sum of what everything costs to code is least.
//!
//! A shortest path over the bytes of a stretch (A. Viterbi, 1967): one state for literals and one
//! for each diagonal that a match suggests nearby. Costs are integers, so that every machine makes
//! the same patch.

use rayon::prelude::*;

use super::DiffError;
use super::agreement::Agreement;
use super::price::Price;
use super::regions::{Regions, Scans};
use super::segment::{From, Segment, common_prefix};
use super::waiting::Waiting;
use crate::format::SourceRange;
use crate::io::{Event, Progress, Source};

/// Most bytes by which a match may grow beyond where it was found.
const MARGIN: u64 = 1024;

/// Bytes by which the exact matches beside a stretch may grow into it.
const NEIGHBOUR_MARGIN: u64 = 16 << 10;

/// Longest stretch parsed in one piece, in bytes: bounds the memory of a task.
const PIECE: u64 = 1 << 20;

/// Most bytes of source along all diagonals of a piece before it is parsed in two halves, and the
/// length of one that is parsed whatever its diagonals are: tables that repeat themselves agree
/// along hundreds, which took 630 MiB for one piece of a root image.
const LANES_LEN_MAX: u64 = 16 << 20;
const PIECE_MIN: u64 = 32 << 10;

/// A copy or literals, and in what the copy differs from its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) segment: Segment,
    pub(super) islands: Islands,
}

/// Where a copy differs from its source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Islands {
    /// For each island, the bytes that agree before it, and its length.
    pub(super) places: Vec<(u32, u32)>,
    /// What to add to the source's bytes, island after island.
    pub(super) differences: Vec<u8>,
}

impl Islands {
    fn of(source: &[u8], target: &[u8]) -> Self {
        let mut islands = Self::default();
        islands.extend(0, source, target);
        islands
    }

    /// Adds the islands of the next bytes; `behind` bytes agreed since the last one. Returns how
    /// many agree at the end.
    pub(super) fn extend(&mut self, behind: usize, source: &[u8], target: &[u8]) -> usize {
        let mut at = 0;
        let mut behind = behind;
        loop {
            let agreeing = common_prefix(&source[at..], &target[at..]);
            at += agreeing;
            if at >= target.len().min(source.len()) {
                return behind + agreeing;
            }
            let pairs = target[at..].iter().zip(&source[at..]);
            let differences = pairs.map(|(t, s)| t.wrapping_sub(*s)).take_while(|d| *d != 0);
            let before = self.differences.len();
            self.differences.extend(differences);
            let len = self.differences.len() - before;
            self.places.push((in_piece(behind + agreeing), in_piece(len)));
            behind = 0;
            at += len;
        }
    }
}

/// Parses the stretches of the target between `exact` segments, given near `matches`; both are
/// sorted. Copies are priced with the addresses of `regions` rewritten. Returns copies only: what
/// no piece covers is literal.
pub(super) fn parse(
    source: &dyn Source,
    target: &dyn Source,
    exact: &[Segment],
    matches: &[Segment],
    regions: &Regions,
    price: &Price,
    progress: Progress,
) -> Result<Vec<Piece>, DiffError> {
    let stretches = stretches(exact, target.size());
    let longest = matches.iter().map(|segment| segment.len).max().unwrap_or(0);
    let parsed: Vec<_> = stretches
        .par_iter()
        .with_max_len(1)
        .map(|stretch| {
            let range = stretch.range;
            let from = matches.partition_point(|m| m.target + longest + MARGIN <= range.offset);
            let to = matches.partition_point(|m| m.target < range.end() + MARGIN);
            let near = [&matches[from..to], &stretch.neighbours];
            let pieces = of_range(source, target, range, near, regions, price)?;
            progress(Event::Advance(range.len));
            Ok(pieces)
        })
        .collect::<Result<_, DiffError>>()?;
    Ok(parsed.into_iter().flatten().collect())
}

/// Parses a range of the target with the matches that touch it.
fn of_range(
    source: &dyn Source,
    target: &dyn Source,
    range: SourceRange,
    matches: [&[Segment]; 2],
    regions: &Regions,
    price: &Price,
) -> Result<Vec<Piece>, DiffError> {
    let spans = spans(source.size(), range, matches.into_iter().flatten());
    let len: u64 = spans.iter().map(|span| span.end - span.start).sum();
    if len > LANES_LEN_MAX && range.len > PIECE_MIN {
        let first = SourceRange { len: range.len / 2, ..range };
        let second = SourceRange { offset: first.end(), len: range.len - first.len };
        let mut pieces = of_range(source, target, first, matches, regions, price)?;
        pieces.extend(of_range(source, target, second, matches, regions, price)?);
        return Ok(pieces);
    }
    let mut bytes = vec![0; in_memory(range.len)];
    target.read_at(range.offset, &mut bytes).map_err(DiffError::Target)?;
    let lanes = lanes(source, &bytes, range, spans, regions)?;
    Ok(Viterbi::new(&bytes, &lanes, price).run(range.offset))
}

/// A stretch to parse and the exact matches that touch it.
struct Stretch {
    range: SourceRange,
    neighbours: Vec<Segment>,
}

fn stretches(exact: &[Segment], target_size: u64) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut at = 0;
    let ends = [Segment { target: target_size, len: 0, from: From::Zeros }];
    let mut before: Option<&Segment> = None;
    for next in exact.iter().chain(&ends) {
        while at < next.target {
            let len = (next.target - at).min(PIECE);
            let reach = NEIGHBOUR_MARGIN - MARGIN;
            let left = before.map(|s| Segment { target: at, len: reach.min(len), from: s.from });
            let tail = reach.min(len);
            let right = Segment { target: at + len - tail, len: tail, from: next.from };
            let neighbours = left.into_iter().chain([right]).collect();
            stretches.push(Stretch { range: SourceRange { offset: at, len }, neighbours });
            at += len;
        }
        at = at.max(next.end());
        before = Some(next);
    }
    stretches
}

/// A diagonal, where it may be used in the stretch, and the source's bytes there.
struct Lane {
    diagonal: i64,
    start: usize,
    bytes: Vec<u8>,
    /// Where they are those of the target.
    agreement: Agreement,
}

impl Lane {
    /// The byte behind the last.
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }

    /// Which bytes agree from byte `at` of the target up to the next multiple of 64.
    fn bits(&self, at: usize) -> u64 {
        self.agreement.from(at - self.start) & !0 >> (at % 64)
    }
}

/// Bytes by which a match of `len` bytes may grow each way: short ones are mostly chance.
fn margin(len: u64) -> u64 {
    (len * 8).clamp(256, MARGIN)
}

/// Where a diagonal may be used in the target.
struct Span {
    diagonal: i64,
    start: u64,
    end: u64,
}

/// The diagonals that the matches suggest, each widened by the margin, overlapping ones joined.
fn spans<'a>(
    source_size: u64,
    range: SourceRange,
    matches: impl Iterator<Item = &'a Segment>,
) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for segment in matches {
        let From::Source { diagonal } = segment.from else { continue };
        let margin = margin(segment.len);
        let start = segment.target.saturating_sub(margin).max(range.offset);
        let end = (segment.end() + margin).min(range.end());
        // What lies outside the source cannot be copied.
        let start = start.max((-diagonal).max(0).cast_unsigned());
        let end = end.min(source_size.saturating_add_signed(diagonal.saturating_neg()));
        if start < end {
            spans.push(Span { diagonal, start, end });
        }
    }
    spans.sort_unstable_by_key(|span| (span.diagonal, span.start, span.end));
    spans.dedup_by(|next, last| {
        let joined = next.diagonal == last.diagonal && next.start <= last.end;
        if joined {
            last.end = last.end.max(next.end);
        }
        joined
    });
    spans
}

/// The lanes of these spans.
fn lanes(
    source: &dyn Source,
    target: &[u8],
    range: SourceRange,
    mut spans: Vec<Span>,
    regions: &Regions,
) -> Result<Vec<Lane>, DiffError> {
    // In source order, so that neighbours scan the same blocks for addresses.
    spans.sort_by_key(|span| span.start.saturating_add_signed(span.diagonal));
    let mut scans = Scans::default();
    let mut lanes = Vec::with_capacity(spans.len());
    for Span { diagonal, start, end } in spans {
        let mut bytes = vec![0; in_memory(end - start)];
        let offset = start.checked_add_signed(diagonal).expect("the span was cut to the source");
        source.read_at(offset, &mut bytes).map_err(DiffError::Source)?;
        regions
            .rewrite(source, offset, Some(diagonal), &mut bytes, &mut scans)
            .map_err(DiffError::Source)?;
        let start = in_memory(start - range.offset);
        let agreement = Agreement::of(&bytes, &target[start..start + bytes.len()]);
        lanes.push(Lane { diagonal, start, bytes, agreement });
    }
    lanes.sort_by_key(|lane| (lane.start, lane.diagonal));
    Ok(lanes)
}

/// A run on one state, and the run before it.
#[derive(Clone, Copy)]
struct Run {
    state: u32,
    start: u32,
    before: u32,
}

/// No run, or the state of literals.
const NONE: u32 = u32::MAX;

/// A cost that no path has.
const UNREACHED: u64 = u64::MAX / 2;

/// The best path that ends on one state.
#[derive(Clone, Copy)]
struct Path {
    state: u32,
    cost: u64,
    start: u32,
    before: u32,
    /// This run's place among `runs`, once another path needs it.
    run: u32,
    missed: bool,
    /// Which of the next bytes of its lane agree, up to the next multiple of 64.
    bits: u64,
}

/// The shortest path. Only paths are followed from byte to byte that may still win: a lane that is
/// as cheap to enter anew waits for its next run of bytes that agree.
struct Viterbi<'a> {
    target: &'a [u8],
    lanes: &'a [Lane],
    price: &'a Price,
    runs: Vec<Run>,
    literal: Path,
    active: Vec<Path>,
    waiting: Waiting,
    /// Lanes that have waited enough: memory that is used again.
    due: Vec<u32>,
    opened: usize,
    at: usize,
    best: Best,
    /// Whether the last step left a path that may be no better than a new one.
    has_dear: bool,
}

/// The cheapest path so far: its cost, its state's place, and its run.
#[derive(Clone, Copy)]
struct Best {
    cost: u64,
    /// Index into `active`; `None` for literals.
    index: Option<usize>,
}

impl<'a> Viterbi<'a> {
    fn new(target: &'a [u8], lanes: &'a [Lane], price: &'a Price) -> Self {
        let literal = Path {
            state: NONE,
            cost: 0,
            start: 0,
            before: NONE,
            run: NONE,
            missed: false,
            bits: 0,
        };
        Self {
            target,
            lanes,
            price,
            runs: Vec::new(),
            literal,
            active: Vec::new(),
            waiting: Waiting::new(target.len(), lanes.len()),
            due: Vec::new(),
            opened: 0,
            at: 0,
            best: Best { cost: 0, index: None },
            has_dear: false,
        }
    }

    fn run(mut self, offset: u64) -> Vec<Piece> {
        while self.at < self.target.len() {
            self.open();
            self.close();
            let event = self.next_event();
            if self.active.is_empty() {
                self.literal.cost += (event - self.at) as u64 * self.price.literal;
                self.best = Best { cost: self.literal.cost, index: None };
                self.at = event;
            }
            while self.at < event && !self.sprint() {
                self.step();
                if self.retire() {
                    break;
                }
            }
        }
        self.trace(offset)
    }

    /// Takes in lanes that start here or wait for this byte.
    fn open(&mut self) {
        let at = in_piece(self.at);
        while self.lanes.get(self.opened).is_some_and(|lane| lane.start <= self.at) {
            self.waiting.push(at, in_piece(self.opened));
            self.opened += 1;
        }
        let mut due = std::mem::take(&mut self.due);
        self.waiting.take(at, &mut due);
        for state in due.drain(..) {
            let lane = &self.lanes[state as usize];
            let bits = lane.bits(self.at);
            if bits & 1 == 1 {
                self.active.push(Path { state, cost: UNREACHED, bits, ..self.literal });
            } else {
                self.wait(state);
            }
        }
        self.due = due;
    }

    /// Leaves a lane until bytes agree there again.
    fn wait(&mut self, state: u32) {
        let lane = &self.lanes[state as usize];
        let next = lane.agreement.next_run((self.at - lane.start).min(lane.bytes.len()));
        if let Some(next) = next {
            self.waiting.push(in_piece(lane.start + next), state);
        }
    }

    /// The next byte at which a lane starts, ends, or has waited enough.
    fn next_event(&self) -> usize {
        let next = self.lanes.get(self.opened).map_or(self.target.len(), |lane| lane.start);
        let waited = self.waiting.first().map_or(next, |first| first as usize);
        let ends = self.active.iter().map(|path| self.lanes[path.state as usize].end());
        ends.fold(next.min(waited), usize::min)
    }

    /// Drops lanes that end here.
    fn close(&mut self) {
        let (lanes, at) = (self.lanes, self.at);
        let ends = |path: &Path| lanes[path.state as usize].end() <= at;
        if !self.active.iter().any(ends) {
            return;
        }
        if let Some(index) = self.best.index
            && ends(&self.active[index])
        {
            // The best path goes on as literals.
            let run = self.keep(Some(index));
            let cost = self.best.cost;
            self.literal =
                Path { cost, start: in_piece(self.at), before: run, run: NONE, ..self.literal };
            self.best.index = None;
        }
        self.retain(|path| !ends(path));
    }

    /// Keeps some of the active paths, the best one among them.
    fn retain(&mut self, kept: impl Fn(&Path) -> bool) {
        let best = self.best.index.map(|index| self.active[index].state);
        self.active.retain(kept);
        self.best.index = best.and_then(|best| self.active.iter().position(|p| p.state == best));
    }

    /// Lets lanes wait that differ here and are no dearer to enter anew. Says whether any did.
    fn retire(&mut self) -> bool {
        if !std::mem::take(&mut self.has_dear) {
            return false;
        }
        let dear = self.best.cost + self.price.enter;
        let ends = |path: &Path| path.missed && path.cost >= dear;
        for index in 0..self.active.len() {
            if ends(&self.active[index]) {
                self.wait(self.active[index].state);
            }
        }
        self.retain(|path| !ends(path));
        true
    }

    /// Where the best lane agrees for long, no other can win: run ahead. Says whether it did.
    fn sprint(&mut self) -> bool {
        let Some(index) = self.best.index else { return false };
        let path = &self.active[index];
        let lane = &self.lanes[path.state as usize];
        if path.bits != !0 >> (self.at % 64) || lane.agreement.from(self.at - lane.start) != !0 {
            return false;
        }
        let len = lane.agreement.run(self.at - lane.start);
        self.at += len;
        let mut path = self.active.swap_remove(index);
        path.cost += len as u64 * self.price.matched;
        path.missed = false;
        self.best.cost = path.cost;
        self.literal.cost = UNREACHED;
        let (at, lanes) = (self.at, self.lanes);
        let agrees = |path: &Path| {
            let lane = &lanes[path.state as usize];
            lane.agreement.run(at - len - lane.start) >= len
        };
        // Others that agree as long keep their distance.
        let gain = len as u64 * self.price.matched;
        for other in &mut self.active {
            if agrees(other) {
                other.cost = (other.cost + gain).min(UNREACHED);
                other.missed = false;
            } else {
                self.waiting.push(in_piece(at), other.state);
            }
        }
        self.active.retain(agrees);
        self.best.index = Some(self.active.len());
        self.active.push(path);
        self.refill();
        true
    }

    /// Looks up which bytes agree next.
    fn refill(&mut self) {
        for path in &mut self.active {
            path.bits = self.lanes[path.state as usize].bits(self.at);
        }
    }

    /// The place of a path's run among the runs that are kept.
    fn keep(&mut self, index: Option<usize>) -> u32 {
        let next = in_piece(self.runs.len());
        let path = match index {
            Some(index) => &mut self.active[index],
            None => &mut self.literal,
        };
        if path.run == NONE {
            path.run = next;
            self.runs.push(Run { state: path.state, start: path.start, before: path.before });
        }
        path.run
    }

    fn step(&mut self) {
        let at = in_piece(self.at);
        let best = self.best.cost;
        let mut before = NONE;
        if best < self.literal.cost {
            before = self.keep(self.best.index);
            self.literal = Path { cost: best, start: at, before, run: NONE, ..self.literal };
        }
        let best_state = self.best.index.map_or(NONE, |index| self.active[index].state);
        let resumed = self.resumable();
        let mut winner = Best { cost: self.literal.cost + self.price.literal, index: None };
        for index in 0..self.active.len() {
            let path = self.active[index];
            let matched = path.bits & 1 == 1;
            if matched && path.state != best_state {
                let diagonal = || self.lanes[path.state as usize].diagonal;
                let resumes = resumed.is_some_and(|resumed| resumed == diagonal());
                let enter = if resumes { self.price.resume } else { self.price.enter };
                if best + enter < path.cost {
                    if before == NONE {
                        before = self.keep(self.best.index);
                    }
                    let path = &mut self.active[index];
                    (path.cost, path.start, path.before) = (best + enter, at, before);
                    (path.run, path.missed) = (NONE, false);
                }
            }
            let path = &mut self.active[index];
            path.cost += self.price.byte(matched, path.missed);
            path.missed = !matched;
            path.bits >>= 1;
            self.has_dear |= path.missed && path.cost >= best + self.price.enter;
            if path.cost < winner.cost {
                winner = Best { cost: path.cost, index: Some(index) };
            }
        }
        self.literal.cost += self.price.literal;
        self.best = winner;
        self.at += 1;
        if self.at.is_multiple_of(64) {
            self.refill();
        }
    }

    /// The diagonal of the last copy, where the best path is on literals behind it: going on along
    /// it is cheap to say.
    fn resumable(&self) -> Option<i64> {
        let before = match self.best.index {
            None if self.literal.before != NONE => self.runs[self.literal.before as usize],
            _ => return None,
        };
        (before.state != NONE).then(|| self.lanes[before.state as usize].diagonal)
    }

    fn trace(mut self, offset: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut run = self.keep(self.best.index);
        let mut end = self.target.len();
        while run != NONE {
            let Run { state, start, before } = self.runs[run as usize];
            let start = start as usize;
            if state != NONE && start < end {
                let lane = &self.lanes[state as usize];
                let from = From::Source { diagonal: lane.diagonal };
                let len = (end - start) as u64;
                let segment = Segment { target: offset + start as u64, len, from };
                let source = &lane.bytes[start - lane.start..end - lane.start];
                let islands = Islands::of(source, &self.target[start..end]);
                pieces.push(Piece { segment, islands });
            }
            end = start;
            run = before;
        }
        pieces.reverse();
        pieces
    }
}

/// Offsets and counts within a piece of [`PIECE`] bytes.
fn in_piece(len: usize) -> u32 {
    u32::try_from(len).expect("a piece is far below 4 GiB")
}

/// Lengths of a piece.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a piece fits in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of a file system agreed with itself along hundreds of diagonals, each of which was
    /// held whole: 630 MiB for a piece of 1 MiB. Now such a piece is parsed in parts.
    #[test]
    fn pieces_that_agree_along_hundreds_of_diagonals_are_parsed_in_parts() {
        let row =
            |index: u32| (0..64).map(move |at| if at == 7 { index.to_le_bytes()[0] } else { at });
        let source: Vec<u8> = (0..4096).flat_map(row).collect();
        let mut target = source.clone();
        target[100_000..100_010].fill(255);
        let len = source.len() as u64;
        let shifts = (-150_i64..150).map(|rows| rows * 64);
        let mut matches: Vec<_> = shifts
            .map(|diagonal| {
                let (start, end) = ((-diagonal).max(0), len.cast_signed() - diagonal.max(0));
                let (target, len) = (start.cast_unsigned(), (end - start).cast_unsigned());
                Segment { target, len, from: From::Source { diagonal } }
            })
            .collect();
        matches.sort_unstable();
        let whole = SourceRange { offset: 0, len };
        let held = spans(len, whole, matches.iter()).iter().map(|s| s.end - s.start).sum::<u64>();
        assert!(held > 2 * LANES_LEN_MAX, "{held}");
        let none = Regions::default();
        let parsed = parse(&source, &target, &[], &matches, &none, &Price::ZSTD, &|_| ());
        let parsed = parsed.expect("images in memory can be read");
        let mut at = 0;
        for Piece { segment, islands } in parsed {
            assert_eq!((segment.target, segment.from), (at, From::Source { diagonal: 0 }));
            assert!(segment.len < len && islands.differences.len() <= 10);
            at = segment.end();
        }
        assert_eq!(at, len);
    }
}
