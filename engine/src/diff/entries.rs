//! Relocations of relocatable files, matched one by one.
//!
//! Of the 24 bytes of a relocation most are like those of its neighbours: along a diagonal that is
//! a few relocations off, hardly a byte more differs than along the right one, and no seed is
//! longer than what all modules of a kernel have alike. But once their fields are rewritten,
//! relocations that are the same are equal, so that they are looked up whole.

use std::collections::HashMap;

use rayon::prelude::*;

use super::DiffError;
use super::regions::{Moved, Regions, Scans};
use super::segment::{From, Segment};
use crate::io::Source;
use crate::refs::region::{Kind, Span};

/// Bytes of a relocation.
const ENTRY_LEN: usize = 24;

/// Least entries of a match: single ones are not worth a segment.
const COUNT_MIN: usize = 2;

/// Longest table looked at, in bytes.
const TABLE_LEN_MAX: u64 = 64 << 20;

/// What an entry says, once addresses are those of the target.
type Key = [u8; ENTRY_LEN];

/// Runs of relocations that are equal once their fields are rewritten, in no order.
pub(super) fn find(
    source: &dyn Source,
    target: &dyn Source,
    regions: &Regions,
) -> Result<Vec<Segment>, DiffError> {
    let found = regions.0.par_iter().map(|moved| of_region(moved, source, target));
    Ok(found.collect::<Result<Vec<_>, DiffError>>()?.concat())
}

fn of_region(
    moved: &Moved,
    source: &dyn Source,
    target: &dyn Source,
) -> Result<Vec<Segment>, DiffError> {
    let mut found = Vec::new();
    let mut tables = moved.region.spans.iter().filter(|span| is_table(span)).peekable();
    if tables.peek().is_none() {
        return Ok(found);
    }
    let Some(twin) = moved.twin(target).map_err(DiffError::Target)? else { return Ok(found) };
    for table in tables {
        let start = table.offset.wrapping_sub(moved.map.diagonal(table.offset).cast_unsigned());
        let twins = twin.spans.iter().filter(|span| is_table(span));
        let Some(twin) = twins.min_by_key(|span| span.offset.abs_diff(start)) else { continue };
        let mut old = read(source, table, DiffError::Source)?;
        let new = read(target, twin, DiffError::Target)?;
        let mut scans = Scans::default();
        moved
            .rewrite(source, table.offset, None, &mut old, &mut scans, |_, _| ())
            .map_err(DiffError::Source)?;
        let places = (table.offset, twin.offset);
        matches(&keys(&old, table), &keys(&new, table), places, &mut found);
    }
    Ok(found)
}

fn is_table(span: &Span) -> bool {
    matches!(span.kind, Kind::SectionRelocations { .. }) && span.len <= TABLE_LEN_MAX
}

fn read(
    image: &dyn Source,
    span: &Span,
    failed: fn(crate::io::Error) -> DiffError,
) -> Result<Vec<u8>, DiffError> {
    let mut bytes = vec![0; usize::try_from(span.len).expect("a section fits in memory")];
    image.read_at(span.offset, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// What the entries say: in a table of rows, which row it is says only where the entry stands.
fn keys(bytes: &[u8], table: &Span) -> Vec<Key> {
    let is_rows = matches!(table.kind, Kind::SectionRelocations { rows: Some(_), .. });
    let keys = bytes.as_chunks::<ENTRY_LEN>().0.iter().map(|entry| {
        let mut key = *entry;
        if is_rows {
            key[..8].fill(0);
        }
        key
    });
    keys.collect()
}

/// Appends the runs of equal entries. Of several that are equal to one, that counts which goes on
/// where the last one was, else the first.
fn matches(old: &[Key], new: &[Key], places: (u64, u64), found: &mut Vec<Segment>) {
    let mut first = HashMap::new();
    for (index, key) in old.iter().enumerate() {
        first.entry(key).or_insert(index);
    }
    let place = |start: u64, index: usize| start + (index * ENTRY_LEN) as u64;
    let mut next = 0;
    let mut at = 0;
    while at < new.len() {
        let goes_on = old.get(next) == Some(&new[at]);
        let Some(from) = goes_on.then_some(next).or_else(|| first.get(&new[at]).copied()) else {
            (at, next) = (at + 1, next + 1);
            continue;
        };
        let count = old[from..].iter().zip(&new[at..]).take_while(|(old, new)| old == new).count();
        if count >= COUNT_MIN {
            let (offset, target) = (place(places.0, from), place(places.1, at));
            let diagonal = offset.cast_signed() - target.cast_signed();
            let len = (count * ENTRY_LEN) as u64;
            found.push(Segment { target, len, from: From::Source { diagonal } });
        }
        (at, next) = (at + count, from + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_entries_are_found_in_runs_and_the_next_of_several_is_taken() {
        let keys = |names: &str| names.bytes().map(|name| [name; ENTRY_LEN]).collect::<Vec<_>>();
        let runs = |old: &str, new: &str| {
            let mut found = Vec::new();
            matches(&keys(old), &keys(new), (1000, 500), &mut found);
            let run = |segment: &Segment| {
                let From::Source { diagonal } = segment.from else { unreachable!("a copy") };
                let entries = ENTRY_LEN as u64;
                let at = (segment.target - 500) / entries;
                (at, segment.len / entries, (diagonal - 500) / entries.cast_signed())
            };
            found.iter().map(run).collect::<Vec<_>>()
        };
        assert_eq!(runs("abcdefgh", "abcXdefgh"), [(0, 3, 0), (4, 5, -1)]);
        assert_eq!(runs("abcdefgh", "abefgh"), [(0, 2, 0), (2, 4, 2)]);
        assert_eq!(runs("aaaabaaaac", "aaaabaaaac"), [(0, 10, 0)]);
        assert_eq!(runs("abab", "abXab"), [(0, 2, 0), (3, 2, -3)]);
        assert_eq!(runs("ab", "aXb"), []);
    }
}
