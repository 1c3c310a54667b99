//! Pieces of a blob in any order, wrong ones, power cuts and full disks.

use super::*;
use crate::depot::Depot;
use crate::directory::Directory;
use crate::memory::{Fate, Memory};
use crate::tree::Builder;

const LEN: usize = 5 * GROUP_LEN + 100;

fn depot(memory: &Memory) -> Depot {
    let depot = Depot::new(Box::new(Directory::new(memory.clone())));
    depot.with_part_len(2 * GROUP_LEN as u64)
}

/// A blob, its digest and its tree.
fn made() -> (Vec<u8>, Digest, Vec<u8>) {
    let bytes: Vec<u8> = (0..LEN).map(|i| (i / 97).to_le_bytes()[0]).collect();
    let (mut builder, mut tree) = (Builder::default(), Vec::new());
    builder.update(&bytes, &mut tree);
    let (digest, _) = builder.finish(&mut tree);
    (bytes, digest, tree)
}

/// The pieces of some groups, each with the pairs above it that were not yet given.
fn pieces<'a>(bytes: &'a [u8], tree: &'a [u8], wanted: &[u64]) -> Vec<Piece<'a>> {
    let (mut pieces, mut open) = (Vec::new(), vec![Subtree::whole(bytes.len() as u64)]);
    while let Some(at) = open.pop() {
        if !wanted.iter().any(|index| (at.first..at.first + at.groups).contains(index)) {
            continue;
        }
        let Some((left, right)) = at.halves() else {
            let start = usize::try_from(at.first).expect("short") * GROUP_LEN;
            let group = &bytes[start..bytes.len().min(start + GROUP_LEN)];
            pieces.push(Piece::Group { index: at.first, bytes: group });
            continue;
        };
        let offset = usize::try_from(at.pair_offset().expect("it has halves")).expect("short");
        let pair = tree[offset..].first_chunk().expect("it is in the tree");
        pieces.push(Piece::Pair { first: at.first, groups: at.groups, pair });
        open.extend([right, left]);
    }
    pieces
}

#[test]
fn groups_come_in_any_order_and_only_right_ones() {
    let (memory, (bytes, digest, tree)) = (Memory::default(), made());
    let depot = depot(&memory);
    let writer = depot.writer("test").expect("free");
    let partial = writer.partial(&digest, LEN as u64).expect("begun");
    let last = pieces(&bytes, &tree, &[5]);
    assert!(partial.put(last.last().copied()).is_err(), "no pairs came");
    assert_eq!(partial.put(last.iter().copied()).expect("kept"), last.len());
    let wrong = |piece| partial.put([piece]).expect("asked") == 0;
    assert!(wrong(Piece::Group { index: 4, bytes: &bytes[..GROUP_LEN] }));
    assert!(wrong(Piece::Group { index: 6, bytes: &[] }), "past the end");
    let pair = &[7; PAIR_LEN];
    assert!(wrong(Piece::Pair { first: 4, groups: 2, pair }), "it is not that pair");
    for wanted in [&[3][..], &[0, 1]] {
        let pieces = pieces(&bytes, &tree, wanted);
        assert_eq!(partial.put(pieces.iter().copied()).expect("kept"), pieces.len());
    }
    assert!(wrong(Piece::Pair { first: 1, groups: 2, pair }), "there is no such subtree");
    let group = GROUP_LEN as u64;
    assert_eq!(partial.missing().expect("read"), [2 * group..3 * group, 4 * group..5 * group]);
    assert!(!partial.finish().expect("asked"));
    assert!(depot.blob(&digest).expect("not there").is_none());

    let partial = writer.partial(&digest, LEN as u64).expect("gone on with");
    let rest = pieces(&bytes, &tree, &[2, 4]);
    assert_eq!(partial.put(rest.iter().copied()).expect("kept"), rest.len());
    assert!(partial.finish().expect("all is there"));
    let blob = depot.blob(&digest).expect("whole").expect("there");
    assert!(blob.check().expect("read").is_good());
}

#[test]
fn what_comes_before_a_wrong_piece_is_kept_and_nothing_behind_it() {
    let (mut bytes, digest, tree) = made();
    let right = bytes.clone();
    bytes[3 * GROUP_LEN + 5] ^= 1;
    let all = pieces(&bytes, &tree, &[0, 1, 2, 3, 4, 5]);
    let is_wrong = |piece: &Piece<'_>| matches!(piece, Piece::Group { index: 3, .. });
    let before = all.iter().position(is_wrong).expect("it is one of them");
    let memory = Memory::default();
    let depot = depot(&memory);
    let writer = depot.writer("test").expect("free");
    let partial = writer.partial(&digest, LEN as u64).expect("begun");
    assert_eq!(partial.put(all.iter().copied()).expect("kept"), before);
    let missing = partial.missing().expect("read");
    assert_eq!((missing.len(), &missing[0]), (1, &(3 * GROUP_LEN as u64..LEN as u64)));
    let rest = pieces(&right, &tree, &[3, 4, 5]);
    assert_eq!(partial.put(rest.iter().copied()).expect("kept"), rest.len());
    assert!(partial.finish().expect("all is there"));
}

#[test]
fn after_a_full_disk_pairs_that_were_not_written_are_asked_for_again() {
    let (bytes, digest, tree) = made();
    let all = pieces(&bytes, &tree, &[0, 1, 2, 3, 4, 5]);
    let memory = Memory::default();
    let depot = depot(&memory);
    let writer = depot.writer("test").expect("free");
    let partial = writer.partial(&digest, LEN as u64).expect("begun");
    memory.cut_at(memory.steps());
    assert!(partial.put(all.iter().copied()).is_err(), "nothing can be written");
    let first = all.iter().find(|piece| matches!(piece, Piece::Group { .. })).copied();
    let early = partial.put(first).expect_err("its pairs are not there");
    assert!(early.to_string().contains("before the pairs"), "{early}");
}

#[test]
fn subtree_is_kept_at_once_across_parts_but_for_its_wrong_groups() {
    let (memory, (mut bytes, digest, tree)) = (Memory::default(), made());
    let depot = depot(&memory);
    let writer = depot.writer("test").expect("free");
    let partial = writer.partial(&digest, LEN as u64).expect("begun");
    let whole = Subtree::whole(LEN as u64);
    let (left, right) = whole.halves().expect("it has six groups");
    let pairs = |at: &Subtree| {
        let start = usize::try_from(at.base).expect("few") * PAIR_LEN;
        &tree[start..start + usize::try_from(at.groups - 1).expect("few") * PAIR_LEN]
    };
    let middle = usize::try_from(right.first).expect("few") * GROUP_LEN;
    let early = partial.put_subtree(&left, pairs(&left), &bytes[..middle]);
    assert_eq!(early.expect("asked"), None, "the pair above did not come");
    let false_pairs = vec![7; pairs(&whole).len()];
    assert!(partial.put_subtree(&whole, &false_pairs, &bytes).is_err());
    bytes[3 * GROUP_LEN + 5] ^= 1;
    let put = partial.put_subtree(&whole, pairs(&whole), &bytes).expect("asked");
    assert_eq!(put, Some(vec![3]));
    let group = GROUP_LEN as u64;
    let missing = partial.missing().expect("read");
    assert_eq!((missing.len(), &missing[0]), (1, &(3 * group..4 * group)));
    bytes[3 * GROUP_LEN + 5] ^= 1;
    let put = partial.put_subtree(&left, pairs(&left), &bytes[..middle]).expect("asked");
    assert_eq!(put, Some(Vec::new()));
    assert!(partial.finish().expect("all is there"));
    let blob = depot.blob(&digest).expect("whole").expect("there");
    assert!(blob.check().expect("read").is_good());
}

#[test]
fn after_a_power_cut_what_is_there_is_hashed_and_nothing_assumed() {
    let (bytes, digest, tree) = made();
    for seed in 0..50 {
        let memory = Memory::default();
        let before = depot(&memory);
        let writer = before.writer("test").expect("free");
        let partial = writer.partial(&digest, LEN as u64).expect("begun");
        let some = pieces(&bytes, &tree, &[0, 1, 2, 3]);
        assert_eq!(partial.put(some.iter().copied()).expect("kept"), some.len());
        let after = depot(&memory.after_cut(Fate::Mixed(seed)));
        let writer = after.writer("test").expect("free");
        let partial = writer.partial(&digest, LEN as u64).expect("gone on with");
        let group = GROUP_LEN as u64;
        let missing = partial.missing().expect("read").into_iter();
        let missing = missing.flat_map(|at| at.start / group..at.end.div_ceil(group));
        let rest = pieces(&bytes, &tree, &missing.collect::<Vec<_>>());
        assert_eq!(partial.put(rest.iter().copied()).expect("kept"), rest.len());
        assert!(partial.finish().expect("all is there"));
        let blob = after.blob(&digest).expect("whole").expect("there");
        assert!(blob.check().expect("read").is_good());
    }
}
