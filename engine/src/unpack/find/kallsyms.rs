//! The symbols of a Linux kernel, wherever it is unpacked: their tables stand side by side, without
//! anything that says so.
//!
//! Tokens are found by those that every kernel has: its digits, which stand for themselves. Behind
//! the tokens it says where each of them starts, and that is proof. From there the other tables are
//! found as `scripts/kallsyms.c` of Linux lays them out: since 6.1 the sequence stands before the
//! tokens, behind markers and names; since 6.4 with the offsets behind them.

use super::Hit;
use super::blocks::Blocks;
use super::reader::{Parsed, Reader, Stop, check, le16, le32};
use crate::unpack::codec::{Kallsyms, name_len};
use crate::unpack::{Block, Codec};

/// Tokens, and which of them is the digit 0.
const TOKENS: usize = 256;
const DIGIT: usize = b'0' as usize;

/// Most bytes of all tokens together.
const TOKENS_LEN_MAX: usize = 8 << 10;

/// Most symbols, and fewest: what has less is none, or not worth it.
const COUNT_MAX: usize = 1 << 19;
const COUNT_MIN: usize = 4096;

/// Symbols for each marker, and how many bytes these may have.
const MARKED: usize = 256;
const MARKED_LEN: std::ops::RangeInclusive<u32> = 256..=16384;

/// Most bytes of names.
const NAMES_LEN_MAX: usize = 8 << 20;

/// Finds the symbols with the digits of their tokens at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, offset: u64) -> Parsed<Hit> {
    let (tokens, index) = tokens(reader, offset)?;
    let (markers, last) = markers(reader, tokens)?;
    let names = names(reader, markers, &last)?;
    let places = names.before(reader, markers, tokens, last.len());
    let places = places.or_else(|_| names.behind(reader, index))?;
    let count = names.count as u64;
    let (start, sequence_end) = (places.offsets.min(names.start), places.sequence + 3 * count);
    let end = sequence_end.max(index + 2 * TOKENS as u64).max(places.offsets + 4 * count);
    check(end <= reader.size())?;
    let from = |at: u64| u32::try_from(at - start).map_err(|_| Stop::Malformed);
    let kallsyms = Kallsyms {
        count: u32::try_from(count).map_err(|_| Stop::Malformed)?,
        offsets: from(places.offsets)?,
        names: from(names.start)?,
        markers: from(markers)?,
        sequence: from(places.sequence)?,
        tokens: from(tokens)?,
        index: from(index)?,
    };
    let len = end - start;
    let mut blocks = Blocks::new(reader.size());
    blocks.add(Block { offset: start, len, codec: Codec::Kallsyms(kallsyms) });
    Ok(Hit::new("kernel symbols", start, len, blocks))
}

/// Where the tokens start, and their index.
fn tokens(reader: &mut Reader<'_>, digit: u64) -> Parsed<(u64, u64)> {
    let bytes = reader.up_to(digit, TOKENS_LEN_MAX)?;
    for (place, digit) in (b'0'..=b'9').enumerate() {
        check(bytes.get(2 * place..2 * place + 2) == Some(&[digit, 0][..]))?;
    }
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == 0);
    let last = ends.map(|(at, _)| at).nth(TOKENS - DIGIT - 1).ok_or(Stop::Malformed)?;
    // The index is aligned to 8 bytes, or 4 in kernels of 32 bits, and the tokens are.
    let index = (last + 1..last + 9).find_map(|at| {
        let index = bytes.get(at..at + 2 * TOKENS)?;
        let start = digit.checked_sub(u64::from(le16(index, 2 * DIGIT)))?;
        let index = digit + at as u64;
        ((index - start).is_multiple_of(4)).then_some((start, index))
    });
    let (start, index) = index.ok_or(Stop::Malformed)?;
    let len = usize::try_from(index - start).map_err(|_| Stop::Malformed)?;
    let bytes = reader.bytes(start, len + 2 * TOKENS)?;
    let (tokens, index_bytes) = bytes.split_at(len);
    check(le16(index_bytes, 0) == 0)?;
    for token in 1..TOKENS {
        let (before, at) = (le16(index_bytes, 2 * token - 2), le16(index_bytes, 2 * token));
        check(at > before && tokens.get(usize::from(at) - 1) == Some(&0))?;
    }
    Ok((start, index))
}

/// Where the markers start that are nearest before `end`, and what they say.
fn markers(reader: &mut Reader<'_>, end: u64) -> Parsed<(u64, Vec<u32>)> {
    let len_max = 3 * COUNT_MAX + 4 * (COUNT_MAX / MARKED) + 16;
    let len = usize::try_from(end.min(len_max as u64)).unwrap_or(len_max) / 4 * 4;
    let bytes = reader.bytes(end - len as u64, len)?;
    let words: Vec<u32> =
        bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let rises =
        |pair: &[u32]| pair[1].checked_sub(pair[0]).is_some_and(|more| MARKED_LEN.contains(&more));
    let count_from = |at: usize| 1 + words[at..].windows(2).take_while(|pair| rises(pair)).count();
    let is_start = |at: &usize| words[*at] == 0 && count_from(*at) >= COUNT_MIN / MARKED;
    let at = (0..words.len()).rev().find(is_start).ok_or(Stop::Malformed)?;
    let marks = words[at..at + count_from(at)].to_vec();
    Ok((end - (len - 4 * at) as u64, marks))
}

/// The names.
struct Names {
    start: u64,
    count: usize,
    /// Where it says how many there are.
    count_at: u64,
    /// Bytes of an address.
    word: u64,
}

/// The names that end before the markers, by what these say.
fn names(reader: &mut Reader<'_>, markers: u64, marks: &[u32]) -> Parsed<Names> {
    let last = marks.last().map_or(0, |mark| *mark as usize);
    check(last <= NAMES_LEN_MAX)?;
    let len_max = last + *MARKED_LEN.end() as usize + 16;
    let len = usize::try_from(markers.min(len_max as u64)).unwrap_or(len_max) / 4 * 4;
    let work_left = reader.work_left();
    let bytes = reader.bytes(markers - len as u64, len)?;
    let starts = (4..bytes.len().saturating_sub(last)).step_by(4);
    let starts = starts.flat_map(|at| [(at, 8), (at, 4)]).filter(|(at, word)| at >= word);
    let (mut work, mut found) = (0, Err(Stop::Malformed));
    for (at, word) in starts {
        let count = le32(bytes, at - word) as usize;
        let is_count = (COUNT_MIN..=COUNT_MAX).contains(&count);
        if !is_count || count.div_ceil(MARKED) != marks.len() {
            continue;
        }
        let (is_marked, walked) = is_marked(&bytes[at..], count, marks);
        work += walked as u64;
        if is_marked {
            let start = markers - (len - at) as u64;
            found = Ok(Names { start, count, count_at: start - word as u64, word: word as u64 });
        }
        if is_marked || work > work_left {
            break;
        }
    }
    reader.spend(work)?;
    found
}

/// Whether so many names start here, as the markers say, and end with the bytes but for padding;
/// and how many bytes were looked at to know.
fn is_marked(bytes: &[u8], count: usize, marks: &[u32]) -> (bool, usize) {
    let mut at = 0;
    for symbol in 0..count {
        if symbol.is_multiple_of(MARKED)
            && marks.get(symbol / MARKED) != u32::try_from(at).ok().as_ref()
        {
            return (false, at);
        }
        let name = bytes.get(at..).and_then(name_len);
        let Some((len, len_len)) = name.filter(|(len, _)| *len > 0) else { return (false, at) };
        at += len_len + len;
    }
    (at <= bytes.len() && bytes.len() - at < 8, at)
}

/// Where the tables are that may stand on either side of the tokens.
struct Places {
    offsets: u64,
    sequence: u64,
}

impl Names {
    /// As Linux 6.1 to 6.3 has them: offsets before the names, the sequence behind the markers.
    fn before(
        &self,
        reader: &mut Reader<'_>,
        markers: u64,
        tokens: u64,
        marks: usize,
    ) -> Parsed<Places> {
        let count = self.count as u64;
        let markers_end = markers + 4 * marks as u64;
        // All are aligned as the tokens are.
        let room = tokens.checked_sub(markers_end).ok_or(Stop::Malformed)?;
        let room = room / self.word * self.word;
        let sequence = tokens - room;
        check(room >= 3 * count && room - 3 * count < self.word)?;
        self.check_sequence(reader, sequence)?;
        let base = self.count_at.checked_sub(self.word).ok_or(Stop::Malformed)?;
        let offsets = base.checked_sub((4 * count).next_multiple_of(self.word));
        Ok(Places { offsets: offsets.ok_or(Stop::Malformed)?, sequence })
    }

    /// As Linux 6.4 and later has them: both behind the index of the tokens.
    fn behind(&self, reader: &mut Reader<'_>, index: u64) -> Parsed<Places> {
        // All are aligned as the names are.
        let aligned = |at: u64| self.start + (at - self.start).next_multiple_of(self.word);
        let offsets = aligned(index + 2 * TOKENS as u64);
        let sequence = aligned(offsets + 4 * self.count as u64) + self.word;
        self.check_sequence(reader, sequence)?;
        Ok(Places { offsets, sequence })
    }

    /// Whether what starts here may be which symbol comes when by name.
    fn check_sequence(&self, reader: &mut Reader<'_>, start: u64) -> Parsed<()> {
        let bytes = reader.bytes(start, 3 * COUNT_MIN)?;
        let symbols = bytes.as_chunks::<3>().0.iter();
        let symbols =
            symbols.map(|[high, middle, low]| u32::from_be_bytes([0, *high, *middle, *low]));
        let is_sound = symbols.map(|symbol| symbol as usize).all(|symbol| symbol < self.count);
        check(is_sound && bytes.iter().any(|byte| *byte != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every fourth byte starts as many names as the word before it says, and none of them is
    /// right: each of thousands of places was walked to its end, for the work of reading them once.
    #[test]
    fn places_where_names_may_start_cost_work() {
        let marks: Vec<u32> = (0..17).map(|index| index * 1024).collect();
        let name = [3, 0x10, 0, 0];
        let mut image = name.repeat(8196);
        image.extend([0; 8]);
        let work = |work: u64| {
            let mut reader = Reader::new(&image, work);
            let found = names(&mut reader, image.len() as u64, &marks);
            (found.err(), work - reader.work_left())
        };
        let (found, spent) = work(u64::MAX);
        assert!(matches!(found, Some(Stop::Malformed)));
        assert!(spent > 50_000_000, "{spent}");
        assert!(matches!(work(1 << 20), (Some(Stop::Spent), _)));
    }
}
