//! Tables of random levels, and the views that they make: as they are told, and back.

use proptest::prelude::*;

use super::*;
use crate::unpack::pack::{Packer, Piece, Start, in_memory};

/// What a table has of a block: the gap before it, its lengths, its correction, and whether it
/// begins a run.
type Told = (u64, u64, u64, u64, bool);

/// A level of what has `size` bytes, as much of it as fits.
fn level(told: &[Told], size: u64) -> Vec<TargetBlock> {
    let (mut level, mut begins_run, mut end) = (Vec::new(), Vec::new(), 0);
    for &(gap, len, plain_len, correction_len, begins) in told {
        let offset = end + gap;
        if offset + len > size {
            break;
        }
        level.push(TargetBlock { offset, len, plain_len, correction_len, ..Default::default() });
        begins_run.push(begins);
        end = offset + len;
    }
    well_formed(&level, &mut begins_run);
    lay_out(&mut level, &begins_run);
    level
}

/// The first correction is of a run, and each run has one.
fn well_formed(level: &[TargetBlock], begins_run: &mut [bool]) {
    let mut first = None;
    for (index, block) in level.iter().enumerate() {
        if begins_run[index] || first.is_none() {
            begins_run[index] = false;
            first = Some(index);
        }
        if let Some(first) = first.filter(|_| block.correction_len > 0) {
            begins_run[first] = true;
        }
    }
}

fn tables() -> impl Strategy<Value = (Blocks, u64)> {
    let correction_len = prop_oneof![2 => Just(0_u64), 3 => 1..9_u64];
    let gap = prop_oneof![1 => Just(0_u64), 1 => 1..20_u64];
    let told = (gap, 1..30_u64, 1..40_u64, correction_len, proptest::bool::weighted(0.3));
    let levels = proptest::collection::vec(proptest::collection::vec(told, 1..20), 1..4);
    (levels, 30..600_u64).prop_map(|(told, target_size)| {
        let mut blocks = Blocks { methods: vec![Method::STORED], ..Blocks::default() };
        let mut size = target_size;
        for told in told {
            let level = level(&told, size);
            if level.is_empty() {
                break;
            }
            size = view_size(size, &level);
            blocks.levels.push(level);
        }
        (blocks, target_size)
    })
}

/// The view of bytes, as the format says it: what each block has is a number of its own.
fn view_of(bytes: &[u8], level: &[TargetBlock]) -> Vec<u8> {
    let (mut view, mut end) = (Vec::new(), 0);
    for (index, block) in level.iter().enumerate() {
        view.extend(&bytes[end..in_memory(block.offset)]);
        let run = &level[index..];
        if block.front_len > 0 {
            let others = run[1..].iter().take_while(|block| block.front_len == 0);
            for block in run[..1].iter().chain(others) {
                view.extend(correction_of(block));
            }
        }
        view.extend(plain_of(block));
        end = in_memory(block.end());
    }
    view.extend(&bytes[end..]);
    view
}

fn plain_of(block: &TargetBlock) -> Vec<u8> {
    (0..block.plain_len).map(|at| (block.offset * 31 + at * 7).to_le_bytes()[0]).collect()
}

fn correction_of(block: &TargetBlock) -> Vec<u8> {
    (0..block.correction_len).map(|at| (block.offset * 17 + at * 5 + 99).to_le_bytes()[0]).collect()
}

/// What a packer makes of a view from where it stands, given so many bytes at once: of a block the
/// bytes that it had, as a method that stands for itself would make them.
fn packed(packer: &mut Packer, mut view: &[u8], bytes: &[u8], step: usize) -> Vec<u8> {
    let mut made = Vec::new();
    while !view.is_empty() {
        let (mut part, rest) = view.split_at(step.min(view.len()));
        view = rest;
        while let Some(piece) = packer.next(&mut part) {
            let piece = match piece {
                Piece::Plain(plain) => plain.to_vec(),
                Piece::Block(job) => {
                    let block = &job.block;
                    let expected = [plain_of(block), correction_of(block)].concat();
                    assert_eq!(job.view, expected, "the block at {}", block.offset);
                    bytes[in_memory(block.offset)..in_memory(block.end())].to_vec()
                }
            };
            made.extend(packer.needed(&piece));
        }
    }
    made
}

proptest! {
    #[test]
    fn table_is_read_as_it_was_written((blocks, size) in tables()) {
        let read = Blocks::decode(&blocks.encode(0), 0, size);
        prop_assert_eq!(read.ok(), Some(blocks));
    }

    #[test]
    fn view_has_each_byte_where_its_place_is_told((blocks, size) in tables()) {
        let mut bytes: Vec<u8> = (0..size).map(|at| (at * 13).to_le_bytes()[0]).collect();
        for level in &blocks.levels {
            let view = view_of(&bytes, level);
            prop_assert_eq!(view.len() as u64, view_size(bytes.len() as u64, level));
            for block in level {
                let plain = in_memory(block.view_offset)..in_memory(block.view_end());
                prop_assert_eq!(&view[plain], plain_of(block));
            }
            let mut last = 0;
            for (offset, byte) in bytes.iter().enumerate() {
                let place = view_place(level, offset as u64);
                prop_assert!(last <= place && place < view.len() as u64);
                last = place;
                let next = level.partition_point(|block| block.end() <= offset as u64);
                match level.get(next).filter(|block| block.offset <= offset as u64) {
                    Some(block) => prop_assert_eq!(place, block.view_offset),
                    None => prop_assert_eq!(view[in_memory(place)], *byte),
                }
            }
            bytes = view;
        }
    }

    /// Back, from any byte of the target on: what comes before is not needed, and blocks get their
    /// own corrections.
    #[test]
    fn target_is_made_of_its_view_from_any_byte_on(
        (blocks, size) in tables(),
        offset in any::<prop::sample::Index>(),
        step in 1..50_usize,
    ) {
        let target = (0..size).map(|at| (at * 13).to_le_bytes()[0]);
        let mut images = vec![target.collect::<Vec<u8>>()];
        for (depth, level) in blocks.levels.iter().enumerate() {
            let view = view_of(&images[depth], level);
            images.push(view);
        }
        let offset = offset.index(images[0].len() + 1);
        let Start { view_offset, unneeded, mut packers } = Start::of(&blocks, size, offset as u64);
        let last = images.last().expect("there is the target");
        let mut made = last[in_memory(view_offset + unneeded)..].to_vec();
        for (packer, image) in packers.iter_mut().zip(&images).rev() {
            made = packed(packer, &made, image, step);
            prop_assert!(image.ends_with(&made));
        }
        prop_assert_eq!(&made, &images[0][offset..]);
    }

    #[test]
    fn any_bytes_are_no_table_or_a_bounded_one(
        (blocks, size) in tables(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = blocks.encode(0);
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Ok(read) = Blocks::decode(&bytes, 0, size) {
            let mut view_len = size;
            for level in &read.levels {
                let begins: Vec<bool> = level.iter().map(|block| block.front_len > 0).collect();
                prop_assert!(check_runs(level, &begins).is_ok());
                prop_assert!(level.last().is_none_or(|block| block.end() <= view_len));
                view_len = view_size(view_len, level);
            }
            prop_assert!(view_len <= IMAGE_SIZE_MAX);
            let start = Start::of(&read, size, size / 2);
            prop_assert_eq!(start.packers.len(), read.levels.len());
        }
    }
}

/// A level of blocks with these plain lengths and corrections, the first of which begins a run.
fn run(told: &[(u64, u64)]) -> Result<Blocks, FormatError> {
    let told: Vec<Told> =
        told.iter().map(|&(plain, correction)| (0, 1, plain, correction, false)).collect();
    let mut blocks = Blocks { methods: vec![Method::STORED], ..Blocks::default() };
    blocks.levels.push(level(&told, 100));
    Blocks::decode(&blocks.encode(0), 0, 100)
}

#[test]
fn run_that_is_longer_than_allowed_is_refused() {
    let [plain, corrections] = [RUN_LEN_MAX, CORRECTIONS_LEN_MAX];
    assert!(run(&[(plain, 1), (1, 1)]).is_ok());
    assert!(run(&[(plain - 1, 1), (1, 0), (1, 1)]).is_ok());
    assert!(run(&[(plain + 1, 1), (1, 1)]).is_err());
    assert!(run(&[(plain, 1), (1, 0), (1, 1)]).is_err());
    // What has no correction counts only where one comes behind it.
    assert!(run(&[(1, 1), (plain, 0), (9, 0)]).is_ok());
    assert!(run(&[(1, corrections - 1), (1, 1)]).is_ok());
    assert!(run(&[(1, corrections), (1, 1)]).is_err());
    assert!(run(&[(1, 1), (1, corrections)]).is_err());
    assert!(run(&[(1, 0), (1, BLOCK_LEN_MAX), (1, 0)]).is_ok());
    assert!(run(&[(1, BLOCK_LEN_MAX + 1)]).is_err());
}

#[test]
fn correction_without_a_run_and_run_without_a_correction_are_refused() {
    let blocks = run(&[(1, 1), (1, 1)]).expect("it is a run");
    let with = |front_lens: [u64; 2], correction_lens: [u64; 2]| {
        let mut blocks = blocks.clone();
        for (index, block) in blocks.levels[0].iter_mut().enumerate() {
            block.front_len = front_lens[index];
            block.correction_len = correction_lens[index];
        }
        Blocks::decode(&blocks.encode(0), 0, 100).map(drop)
    };
    assert_eq!(with([2, 0], [1, 1]), Ok(()));
    assert_eq!(with([1, 1], [1, 1]), Ok(()));
    assert_eq!(with([0, 1], [0, 1]), Ok(()));
    assert_eq!(with([1, 0], [0, 1]), Ok(()));
    for (front_lens, correction_lens) in
        [([0, 1], [1, 1]), ([0, 0], [0, 1]), ([1, 0], [0, 0]), ([1, 1], [1, 0]), ([1, 1], [0, 1])]
    {
        let refused = with(front_lens, correction_lens);
        assert!(refused.is_err(), "{front_lens:?} {correction_lens:?}");
    }
}

#[test]
fn what_is_kept_of_corrections_is_told() {
    let memory = |told: &[(u64, u64)]| run(told).map(|blocks| blocks.memory());
    let alone = memory(&[(1000, 500_000), (1000, 0)]).expect("it is a run");
    let both = memory(&[(1000, 500_000), (1000, 500_000)]).expect("it is a run");
    assert!(alone >= 2 * 500_000 && both >= alone + 500_000, "{alone}, {both}");
}

/// A table of blocks of the source: where their packed bytes are, and the lengths of those and of
/// the plain ones, which follow each other behind the source.
fn source_blocks(told: &[(u64, u64, u64)], source_size: u64) -> Result<Blocks, FormatError> {
    let mut blocks = Blocks { methods: vec![Method::STORED], ..Blocks::default() };
    let mut view_offset = source_size;
    for &(offset, len, plain_len) in told {
        blocks.source.push(SourceBlock { offset, len, view_offset, plain_len, method: 0 });
        view_offset += plain_len;
    }
    Blocks::decode(&blocks.encode(source_size), source_size, 0)
}

/// Reading them would otherwise cost more than the source, as often as there are blocks.
#[test]
fn blocks_of_the_source_on_the_same_bytes_are_refused() {
    const SIZE: u64 = 1000;
    let on_all = (0, SIZE, 1);
    assert!(source_blocks(&[on_all; 2], SIZE).is_ok());
    let refused = source_blocks(&[on_all; 3], SIZE).map(drop);
    let (value, max) = (3 * SIZE, 2 * (SIZE + 3));
    assert_eq!(refused, bounded("source_block_lens", value, 0, max).map(drop));
    // To the byte: three times 1000 against twice the view.
    assert!(source_blocks(&[on_all, on_all, (0, SIZE, 498)], SIZE).is_ok());
    assert!(source_blocks(&[on_all, on_all, (0, SIZE, 497)], SIZE).is_err());
}

/// While what a block lies in is unpacked, its packed bytes are held, and so on three deep.
#[test]
fn memory_of_a_block_in_a_block_has_both() {
    const SIZE: u64 = 2000;
    let memory = |told: &[(u64, u64, u64)]| {
        source_blocks(told, SIZE).expect("the table is well-formed").memory()
    };
    let outer = (0, 1000, 9_000_000);
    let beside = memory(&[outer, (1000, 700, 10), (1700, 50, 10)]);
    let inside = memory(&[outer, (SIZE, 700, 10), (1700, 50, 10)]);
    assert_eq!(inside, beside + 700);
    let deeper = memory(&[outer, (SIZE, 700, 100), (SIZE + 9_000_000, 50, 10)]);
    assert_eq!(deeper, beside + 700 + 50);
}
