//! Tells which containers the blocks of a target lie in, level by level.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::seen::{Outcome, Place, Seen, Tallies};
use crate::format::TargetBlock;
use crate::unpack::Block;
use crate::unpack::find::{Container, NotFollowed};

/// What was seen at all levels so far.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) seen: Seen,
    /// Of each level's blocks that are unpacked, the kinds of their containers.
    kinds: Vec<Vec<usize>>,
}

/// Looks at the blocks of one level, in order.
pub(super) struct Level<'a> {
    watch: &'a mut Watch,
    /// The levels before.
    before: &'a [Vec<TargetBlock>],
    /// Containers that start behind the last block.
    containers: Peekable<IntoIter<Container>>,
    /// Containers that the last block lies in, the innermost at the end.
    open: Vec<Open>,
    /// Of the blocks that are unpacked.
    kinds: Vec<usize>,
}

/// A container with what became of its blocks so far.
struct Open {
    kind: usize,
    /// Where it ends in the view.
    end: u64,
    place: Place,
}

impl Watch {
    /// Looks at a level of which these are the containers, in order.
    pub(super) fn level<'a>(
        &'a mut self,
        before: &'a [Vec<TargetBlock>],
        containers: Vec<Container>,
    ) -> Level<'a> {
        let containers = containers.into_iter().peekable();
        Level { watch: self, before, containers, open: Vec::new(), kinds: Vec::new() }
    }

    /// Takes the kinds of blocks that [`Level::finish`] told, if the level is one.
    pub(super) fn push(&mut self, kinds: Vec<usize>) {
        self.kinds.push(kinds);
    }

    /// Where in the target a byte of the view of all levels comes from, or the packed block that
    /// has it; and the kind of container that this lies in, if it is in one.
    fn origin(&self, before: &[Vec<TargetBlock>], mut offset: u64) -> (u64, Option<usize>) {
        let mut kind = None;
        for (level, kinds) in before.iter().zip(&self.kinds).rev() {
            let next = level.partition_point(|block| block.view_end() <= offset);
            offset = match (level.get(next), level[..next].last()) {
                (Some(block), _) if block.front() <= offset => {
                    kind = kind.or(Some(kinds[next]));
                    block.offset
                }
                (_, Some(before)) => offset - before.view_end() + before.end(),
                (_, None) => offset,
            };
        }
        (offset, kind)
    }
}

impl Level<'_> {
    /// Takes the next block of the level, and what became of it.
    pub(super) fn add(&mut self, block: &Block, outcome: Outcome) {
        let Block { offset, len, codec } = *block;
        while let Some(next) = self.containers.next_if(|next| next.offset <= offset) {
            self.open(next.name, next.offset, next.len, next.not_followed);
        }
        self.close(offset);
        // What is derived, or found without anything around it, is a container of its own.
        if self.open.is_empty() || codec.is_derived() {
            self.open(codec.name(), offset, len, None);
        }
        let inner = self.open.last_mut().expect("one was opened");
        inner.place.codecs.add(codec, len, outcome);
        self.watch.seen.codecs.add(codec, len, outcome);
        if let Outcome::Rebuilt { .. } = outcome {
            self.kinds.push(inner.kind);
        }
    }

    /// Looks at the containers that are left; tells the kinds of those that unpacked blocks lie in.
    pub(super) fn finish(mut self) -> Vec<usize> {
        while let Some(next) = self.containers.next() {
            self.open(next.name, next.offset, next.len, next.not_followed);
        }
        self.close(u64::MAX);
        let kinds = &mut self.watch.seen.kinds;
        kinds.iter_mut().for_each(|kind| kind.places.sort_by_key(|place| place.offset));
        self.kinds
    }

    fn open(
        &mut self,
        name: &'static str,
        start: u64,
        len: u64,
        not_followed: Option<NotFollowed>,
    ) {
        self.close(start);
        let (offset, outer) = self.watch.origin(self.before, start);
        let within = self.open.last().map(|open| open.kind).or(outer);
        let kind = self.watch.seen.kind(name, within);
        let place = Place { offset, len, codecs: Tallies::default(), not_followed };
        self.open.push(Open { kind, end: start + len, place });
    }

    /// Lets go of the containers that end before `offset`.
    fn close(&mut self, offset: u64) {
        while let Some(open) = self.open.pop_if(|open| open.end <= offset) {
            self.watch.seen.kinds[open.kind].add(open.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen::{Count, Why};
    use super::*;
    use crate::unpack::Codec;

    fn container(name: &'static str, offset: u64, len: u64) -> Container {
        Container { name, offset, len, block_count: 1, not_followed: None }
    }

    fn block(offset: u64, codec: Codec) -> Block {
        Block { offset, len: 10, codec }
    }

    const REBUILT: Outcome = Outcome::Rebuilt { correction_len: 3 };
    const PASSED: Outcome = Outcome::Passed(Why::Unknown);

    /// What is told of each kind: its names from the inside out, how many there are, the bytes of
    /// blocks that are rebuilt and that pass, and where they are.
    fn told(watch: &Watch) -> Vec<(String, u64, u64, u64, Vec<u64>)> {
        let kinds = watch.seen.kinds.iter().map(|kind| {
            let names: Vec<_> = std::iter::once(kind.name).chain(watch.seen.around(kind)).collect();
            let rebuilt = kind.codecs.0.iter().map(|(_, tally)| tally.rebuilt.len).sum();
            let places = kind.places.iter().map(|place| place.offset).collect();
            (names.join(" in "), kind.count.count, rebuilt, kind.codecs.passed().len, places)
        });
        kinds.collect()
    }

    #[test]
    fn block_belongs_to_the_innermost_container_around_it() {
        let mut watch = Watch::default();
        let containers = vec![
            container("squashfs", 0, 1000),
            container("gzip", 100, 50),
            container("gzip", 300, 50),
            container("xz", 2000, 10),
        ];
        let mut level = watch.level(&[], containers);
        level.add(&block(50, Codec::Zstd), REBUILT);
        level.add(&block(110, Codec::Deflate), PASSED);
        level.add(&block(200, Codec::Zstd), PASSED);
        level.add(&block(310, Codec::Deflate), REBUILT);
        level.add(&block(1000, Codec::Verity), REBUILT);
        level.add(&block(2000, Codec::Xz), Outcome::Unchanged);
        assert_eq!(level.finish(), [0, 1, 2]);
        let of = |name: &str, count, rebuilt, passed, places: &[u64]| {
            (name.to_owned(), count, rebuilt, passed, places.to_vec())
        };
        let expected = [
            of("squashfs", 1, 10, 10, &[0]),
            of("gzip in squashfs", 2, 10, 10, &[100, 300]),
            of("dm-verity tree", 1, 10, 0, &[1000]),
            of("xz", 1, 0, 0, &[2000]),
        ];
        assert_eq!(told(&watch), expected);
        assert_eq!(watch.seen.codecs.passed(), Count { count: 2, len: 20 });
    }

    /// Offsets of a view say nothing to people: where the packed block is does.
    #[test]
    fn container_in_a_packed_block_is_told_by_where_that_is() {
        let mut watch = Watch::default();
        let mut level = watch.level(&[], vec![container("squashfs", 0, 1000)]);
        level.add(&block(50, Codec::Zstd), REBUILT);
        let kinds = level.finish();
        watch.push(kinds);
        let (offset, len, view_offset, plain_len) = (50, 10, 50, 500);
        let packed = TargetBlock { offset, len, view_offset, plain_len, ..Default::default() };
        let levels = [vec![packed]];
        let containers = vec![container("gzip", 60, 40), container("gzip", 600, 40)];
        let mut level = watch.level(&levels, containers);
        level.add(&block(70, Codec::Deflate), REBUILT);
        level.add(&block(610, Codec::Deflate), REBUILT);
        level.finish();
        let places: Vec<_> = told(&watch).into_iter().map(|kind| (kind.0, kind.4)).collect();
        let expected = [("squashfs", vec![0]), ("gzip in squashfs", vec![50]), ("gzip", vec![110])];
        assert_eq!(places, expected.map(|(name, places)| (name.to_owned(), places)));
    }

    #[test]
    fn the_places_told_of_many_are_those_that_pass_most() {
        let mut watch = Watch::default();
        let containers = (0..100).map(|index| container("gzip", 100 * index, 50)).collect();
        let mut level = watch.level(&[], containers);
        for index in 0..100 {
            let outcome = if index % 40 == 7 { PASSED } else { REBUILT };
            level.add(&block(100 * index, Codec::Deflate), outcome);
        }
        level.finish();
        // Three pass, and the first one of the others is told, too.
        let expected = ("gzip".to_owned(), 100, 970, 30, vec![0, 700, 4700, 8700]);
        assert_eq!(told(&watch), [expected]);
    }

    /// A hostile image may have any file system in any other.
    #[test]
    fn kinds_are_few_however_deep_containers_lie() {
        let mut watch = Watch::default();
        let names = ["squashfs", "erofs", "ext4"];
        let containers = (0..3000_u64).map(|index| {
            let name = names[usize::try_from(index).expect("it is small") % 3];
            Container {
                not_followed: Some(NotFollowed::Lzo),
                ..container(name, index, 10_000 - index)
            }
        });
        watch.level(&[], containers.collect()).finish();
        assert!(watch.seen.kinds.len() <= 70, "{} kinds", watch.seen.kinds.len());
        let count: u64 = watch.seen.kinds.iter().map(|kind| kind.count.count).sum();
        assert_eq!(count, 3000);
    }
}
