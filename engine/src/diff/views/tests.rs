//! Why blocks pass, and how much is unpacked.

use flate2::{Compress, Compression, FlushCompress};

use super::*;
use crate::limits::UNPACK_MEMORY;
use crate::unpack::codec::Family;

const BLOCK_LEN: u64 = 10_000;

/// An image of so many deflate streams, and where each is. They unpack to [`BLOCK_LEN`] each.
fn image(count: u8) -> (Vec<u8>, Vec<Block>) {
    let (mut image, mut blocks) = (Vec::new(), Vec::new());
    for index in 0..count {
        let plain: Vec<u8> = (0..BLOCK_LEN).map(|at| (at / 9).to_le_bytes()[0] ^ index).collect();
        let mut packed = Vec::with_capacity(plain.len());
        let mut encoder = Compress::new(Compression::default(), false);
        let status = encoder.compress_vec(&plain, &mut packed, FlushCompress::Finish);
        assert_eq!(status.expect("it has its settings"), flate2::Status::StreamEnd);
        let (offset, len) = (image.len() as u64, packed.len() as u64);
        blocks.push(Block { offset, len, codec: Codec::Deflate });
        image.extend(packed);
    }
    (image, blocks)
}

fn limits(budget: u64) -> Limits {
    Limits {
        memory: UNPACK_MEMORY,
        not_unpacked: Families::default(),
        of_source: Budget::new(budget),
        of_target: Budget::new(budget),
    }
}

/// What becomes of the blocks on so many threads: why each passes, or nothing.
fn passed(
    image: &dyn Source,
    blocks: &[Block],
    limits: &Limits,
    threads: usize,
) -> Vec<Option<Why>> {
    let is_known = vec![false; blocks.len()];
    let scratch = Scratch::default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let fates = pool
        .expect("threads can be started")
        .install(|| fates(image, blocks, &[], &is_known, &scratch, limits, &|_| ()));
    let fates = fates.expect("memory can be read").into_iter();
    let passed = fates.map(|fate| match fate {
        Fate::Passed(why) => Some(why),
        Fate::Rebuilt(_) | Fate::Unchanged => None,
    });
    passed.collect()
}

#[test]
fn block_that_passes_says_why() {
    let (mut image, mut blocks) = image(1);
    blocks.push(Block { offset: blocks[0].len, len: 100, codec: Codec::Deflate });
    image.extend([0xff; 100]);
    let of = |limits: &Limits| passed(&image, &blocks, limits, 1);
    let all = limits(1 << 20);
    assert_eq!(of(&all), [None, Some(Why::Unknown)]);
    let small = Limits { memory: BLOCK_LEN - 1, ..limits(1 << 20) };
    assert_eq!(of(&small), [Some(Why::TooLarge), Some(Why::Unknown)]);
    let little = Limits { memory: BLOCK_LEN + 100, ..limits(1 << 20) };
    assert_eq!(of(&little), [Some(Why::TooLarge), Some(Why::Unknown)], "it unpacks");
    let not_unpacked = [Family::Deflate].into_iter().collect();
    let without = Limits { not_unpacked, ..limits(1 << 20) };
    assert_eq!(of(&without), [Some(Why::SwitchedOff); 2]);
}

/// A gigabyte of frames of which each unpacks to megabytes filled any disk. Which blocks pass then
/// must not depend on which thread came first, as all of the patch does.
#[test]
fn blocks_that_unpack_to_too_much_pass_on_any_number_of_threads() {
    let (image, blocks) = image(200);
    let all = BLOCK_LEN * blocks.len() as u64;
    for threads in [1, 3] {
        let of = |budget| passed(&image, &blocks, &limits(budget), threads);
        assert_eq!(of(all + 1), vec![None; blocks.len()]);
        let few = [vec![None; FIRST], vec![Some(Why::TooMany); blocks.len() - FIRST]].concat();
        assert_eq!(of(all), few);
        assert_eq!(of(BLOCK_LEN * FIRST as u64 + 1), few);
        assert_eq!(of(BLOCK_LEN), vec![Some(Why::TooMany); blocks.len()]);
    }
}

#[test]
fn source_is_not_unpacked_where_that_is_too_much() {
    let (image, blocks) = image(200);
    let all = BLOCK_LEN * blocks.len() as u64;
    let parts = in_parts(blocks, &[]);
    let count = |budget| {
        let unpacked = unpack(&image, &parts, &Scratch::default(), &limits(budget), &|_| ());
        let unpacked = unpacked.expect("memory can be read");
        assert_eq!(unpacked.len(), parts.len());
        unpacked.into_iter().flatten().count()
    };
    assert_eq!([count(all + 1), count(all)], [parts.len(), 0]);
}
