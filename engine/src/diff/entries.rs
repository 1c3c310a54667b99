//! Entries of tables that say places, matched one by one.
//!
//! Of the 24 bytes of a relocation most are like those of its neighbours: along a diagonal that is
//! a few relocations off, hardly a byte more differs than along the right one, and no seed is
//! longer than what all modules of a kernel have alike. A distance from where it stands is another
//! number along each diagonal. But once it is known where their fields point in the target, entries
//! that are the same are equal, so that they are looked up whole.

use std::collections::HashMap;

use rayon::prelude::*;

use super::DiffError;
use super::regions::{Moved, Regions, Scans};
use super::segment::{From, Segment};
use crate::io::Source;
use crate::refs::region::{Kind, Shape, Span};

/// Bytes of a relocation.
const RELOCATION_LEN: usize = 24;

/// Bytes of what an entry says: of a relocation, or of three addresses.
const KEY_LEN: usize = 24;

/// Least entries of a match: single ones are not worth a segment.
const COUNT_MIN: usize = 2;

/// Longest table looked at, in bytes.
const TABLE_LEN_MAX: u64 = 64 << 20;

/// What an entry says, once addresses are those of the target.
type Key = [u8; KEY_LEN];

/// Runs of entries that say the same, in no order.
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
        let twins = twin.spans.iter().filter(|span| is_like(span, table));
        let Some(other) = twins.min_by_key(|span| span.offset.abs_diff(start)) else { continue };
        let mut old = read(source, table, DiffError::Source)?;
        let new = read(target, other, DiffError::Target)?;
        let (old, new, len) = if let Kind::Distances(shape) = table.kind {
            let len = usize::from(shape.len);
            (addresses(&old, table, shape, Some(moved)), addresses(&new, other, shape, None), len)
        } else {
            let mut scans = Scans::default();
            moved
                .rewrite(source, table.offset, None, &mut old, &mut scans, |_, _| ())
                .map_err(DiffError::Source)?;
            (keys(&old, table), keys(&new, table), RELOCATION_LEN)
        };
        matches(&old, &new, len, (table.offset, other.offset), &mut found);
    }
    Ok(found)
}

fn is_table(span: &Span) -> bool {
    let is_table = matches!(span.kind, Kind::SectionRelocations { .. } | Kind::Distances(_));
    is_table && span.len <= TABLE_LEN_MAX
}

/// Whether a table of the target may be this one of the source.
fn is_like(span: &Span, table: &Span) -> bool {
    is_table(span)
        && match table.kind {
            Kind::Distances(_) => span.kind == table.kind,
            _ => matches!(span.kind, Kind::SectionRelocations { .. }),
        }
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
    let keys = bytes.as_chunks::<RELOCATION_LEN>().0.iter().map(|entry| {
        let mut key = *entry;
        if is_rows {
            key[..8].fill(0);
        }
        key
    });
    keys.collect()
}

/// What the entries of a table of distances say: addresses in place of distances. Those of the
/// source are as they will be in the target, by the region's map.
fn addresses(bytes: &[u8], table: &Span, shape: Shape, moved: Option<&Moved>) -> Vec<Key> {
    let len = usize::from(shape.len);
    let entries = bytes.chunks_exact(len).zip((0..).step_by(len));
    let keys = entries.map(|(entry, at)| {
        let (mut key, mut filled) = ([0; KEY_LEN], 0);
        let (distances, rest) = entry.split_at(4 * usize::from(shape.count));
        for (distance, more) in distances.as_chunks().0.iter().zip((0_u64..).step_by(4)) {
            let distance = i32::from_le_bytes(*distance);
            let place = table.address.wrapping_add(at + more);
            let address = place.wrapping_add_signed(distance.into());
            let address = match moved {
                _ if distance == 0 => 0,
                Some(moved) => moved.map.address(address),
                None => address,
            };
            key[filled..filled + 8].copy_from_slice(&address.to_le_bytes());
            filled += 8;
        }
        key[filled..filled + rest.len()].copy_from_slice(rest);
        key
    });
    keys.collect()
}

/// Appends the runs of equal entries. Of several that are equal to one, that counts which goes on
/// where the last one was, else the first.
fn matches(
    old: &[Key],
    new: &[Key],
    entry_len: usize,
    places: (u64, u64),
    found: &mut Vec<Segment>,
) {
    let mut first = HashMap::new();
    for (index, key) in old.iter().enumerate() {
        first.entry(key).or_insert(index);
    }
    let place = |start: u64, index: usize| start + (index * entry_len) as u64;
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
            let len = (count * entry_len) as u64;
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
        let keys = |names: &str| names.bytes().map(|name| [name; KEY_LEN]).collect::<Vec<_>>();
        let runs = |old: &str, new: &str| {
            let mut found = Vec::new();
            matches(&keys(old), &keys(new), RELOCATION_LEN, (1000, 500), &mut found);
            let run = |segment: &Segment| {
                let From::Source { diagonal } = segment.from else { unreachable!("a copy") };
                let entries = RELOCATION_LEN as u64;
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

    /// Each distance is from where it stands: with a row more in front, all others differ.
    #[test]
    fn rows_of_distances_are_equal_where_they_point_to_the_same() {
        let shape = Shape { len: 12, count: 2 };
        let row = |place: i32, to: i32, more: i32| {
            [to - place, if more == 0 { 0 } else { to + 64 - place - 4 }, more]
        };
        let table = |rows: &[(i32, i32)]| {
            let rows = (0..).step_by(12).zip(rows);
            let numbers = rows.flat_map(|(at, (to, more))| row(0x5000 + at, *to, *more));
            numbers.flat_map(i32::to_le_bytes).collect::<Vec<u8>>()
        };
        let span = |kind| Span { offset: 96, len: 48, address: 0x5000, kind };
        let keys = |rows: &[(i32, i32)]| {
            addresses(&table(rows), &span(Kind::Distances(shape)), shape, None)
        };
        let old = keys(&[(0x1000, 1), (0x1010, 0), (0x1010, 2)]);
        let new = keys(&[(0x2000, 1), (0x1000, 1), (0x1010, 0), (0x1010, 3)]);
        let mut found = Vec::new();
        matches(&old, &new, 12, (96, 96), &mut found);
        let from = From::Source { diagonal: -12 };
        assert_eq!(found, [Segment { target: 96 + 12, len: 24, from }]);
    }
}
