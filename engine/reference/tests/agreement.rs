//! The fast applier and the slow one agree: on what the diff makes, on patches no diff makes, and
//! on both with any byte changed and every digest made right again.

mod common;

use common::{FrameScript, Run, Script, WINDOW_LEN, both, noise, patch_of, sealed};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Sizes around the edges of a source block and of a window.
fn sizes() -> Vec<usize> {
    let edges = |len: usize| [len - 1, len, len + 1, 2 * len + 1];
    [&[0, 1], &edges(4096)[..], &edges(WINDOW_LEN)].concat()
}

/// A change of an image: a stretch at a place is replaced by something.
#[derive(Debug, Clone)]
enum Edit {
    Noise(Index, usize, u64),
    Zeros(Index, usize),
    Moved(Index, Index, usize),
    Bumped(Index, usize),
    Removed(Index, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let len = 1..9000_usize;
    let edit = prop_oneof![
        (any::<Index>(), len.clone(), any::<u64>())
            .prop_map(|(at, len, seed)| { Edit::Noise(at, len, seed) }),
        (any::<Index>(), len.clone()).prop_map(|(at, len)| Edit::Zeros(at, len)),
        (any::<Index>(), any::<Index>(), len.clone())
            .prop_map(|(from, to, len)| Edit::Moved(from, to, len)),
        (any::<Index>(), len.clone()).prop_map(|(at, len)| Edit::Bumped(at, len)),
        (any::<Index>(), len).prop_map(|(at, len)| Edit::Removed(at, len)),
    ];
    vec(edit, 0..6)
}

fn edited(source: &[u8], edits: &[Edit], size: usize) -> Vec<u8> {
    let mut image = source.to_vec();
    for edit in edits {
        let room = image.len();
        let place = |at: &Index, len: usize| {
            let start = at.index(room + 1);
            start..(start + len).min(room)
        };
        match edit {
            Edit::Noise(at, len, seed) => {
                image.splice(place(at, *len), noise(*len, *seed));
            }
            Edit::Zeros(at, len) => {
                image.splice(place(at, 0), vec![0; *len]);
            }
            Edit::Moved(from, to, len) => {
                let moved: Vec<u8> = image[place(from, *len)].to_vec();
                image.splice(place(to, 0), moved);
            }
            Edit::Bumped(at, len) => {
                image[place(at, *len)].iter_mut().step_by(97).for_each(|byte| *byte ^= 0x41);
            }
            Edit::Removed(at, len) => {
                image.drain(place(at, *len));
            }
        }
    }
    image.resize(size, 0x55);
    image
}

fn source() -> impl Strategy<Value = Vec<u8>> {
    (select(sizes()), any::<u64>()).prop_map(|(len, seed)| noise(len, seed))
}

fn frames() -> impl Strategy<Value = Vec<FrameScript>> {
    let run = prop_oneof![
        1 => Just(Run::None),
        2 => select(vec![0, 1, 4096, 65535, 65536, 65537, 131_073]).prop_map(Run::Zeros),
        5 => (0..140_000_u64, 0..9000_u64).prop_map(|(offset, len)| Run::Copy(offset, len)),
    ];
    let text = prop_oneof![
        Just(Vec::new()),
        (0..3000_usize, any::<u64>())
            .prop_map(|(len, seed)| { noise(len, seed).iter().map(|byte| byte & 0x33).collect() })
    ];
    let segment = (text, run).prop_map(|(text, run)| match (text.is_empty(), run) {
        (true, Run::None | Run::Zeros(0) | Run::Copy(_, 0)) => (vec![7], run),
        _ => (text, run),
    });
    let island = (0..2000_u64, vec(any::<u8>(), 1..40));
    let frame = (0..=1_u8, any::<bool>(), vec(segment, 1..6), vec(island, 0..4));
    vec(
        frame.prop_map(|(coder, is_restart, segments, mut islands)| {
            // Islands beyond the copies would be refused, each time for the same reason.
            let sum = |run: &Run| if let Run::Copy(_, len) = run { *len } else { 0 };
            let copied: u64 = segments.iter().map(|(_, run)| sum(run)).sum();
            let mut end = 0;
            islands.retain(|(gap, differences)| {
                let next = end + gap + differences.len() as u64;
                let fits = next <= copied;
                end = if fits { next } else { end };
                fits
            });
            FrameScript { coder, is_restart, segments, islands, refs: None }
        }),
        0..5,
    )
}

/// Any bytes changed, then all digests made right.
fn changed(patch: &[u8], changes: &[(Index, u8)], source: &[u8]) -> Vec<u8> {
    let mut patch = patch.to_vec();
    for (index, with) in changes {
        let at = index.index(patch.len());
        patch[at] = patch[at].wrapping_add(*with);
    }
    sealed(patch, source)
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8)>> {
    // Steps of one make the next value of a length or a gap; others make anything.
    let with = prop_oneof![Just(1_u8), Just(255), Just(128), any::<u8>()];
    vec((any::<Index>(), with), 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_make_the_target_that_was_diffed(
        source in source(),
        edits in edits(),
        size in select(sizes()),
    ) {
        let target = edited(&source, &edits, size);
        let patch = patch_of(&source, &target, 1 << 20);
        prop_assert_eq!(both(&patch, &source), Ok(target));
    }

    #[test]
    fn both_agree_on_a_changed_patch_of_the_diff(
        source in source(),
        edits in edits(),
        size in select(sizes()),
        changes in vec(changes(), 12),
    ) {
        let target = edited(&source, &edits, size);
        let patch = patch_of(&source, &target, 1 << 20);
        for changes in changes {
            let patch = changed(&patch, &changes, &source);
            both(&patch, &source).ok();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn both_agree_on_a_patch_written_by_hand(frames in frames(), seed: u64) {
        let script = Script::new(noise(2 * WINDOW_LEN + 1, seed), frames);
        both(&script.patch(), &script.source).ok();
    }

    #[test]
    fn both_agree_on_a_changed_patch_written_by_hand(
        frames in frames(),
        runs in vec((0..3_u64, 1..9_u64), 0..9),
        changes in vec(changes(), 8),
    ) {
        let source = noise(2 * WINDOW_LEN + 1, 3);
        let mut script = Script::new(source, frames);
        if !runs.is_empty() {
            let mut block = 0;
            script.runs = runs.iter().map(|(gap, count)| {
                let first = block + gap;
                block = first + count;
                (first, *count)
            }).collect();
        }
        let patch = script.patch();
        both(&patch, &script.source).ok();
        for changes in changes {
            let patch = changed(&patch, &changes, &script.source);
            both(&patch, &script.source).ok();
        }
    }
}

/// The tests above prove nothing if every patch they try is refused.
#[test]
fn changed_patches_are_accepted_and_refused_in_turn() {
    let source = noise(40_000, 5);
    let copy = (vec![1, 2, 3], Run::Copy(700, 3000));
    let frame = FrameScript {
        coder: 1,
        segments: vec![copy, (Vec::new(), Run::Zeros(9)), (vec![4; 99], Run::Copy(9000, 500))],
        islands: vec![(20, vec![1, 2]), (2990, vec![9; 30])],
        ..FrameScript::default()
    };
    let script = Script::new(source.clone(), vec![frame.clone(), frame]);
    let patch = script.patch();
    assert!(both(&patch, &source).is_ok());
    let answers: Vec<bool> = (112..patch.len())
        .map(|at| {
            let mut patch = patch.clone();
            patch[at] = patch[at].wrapping_add(1);
            both(&sealed(patch, &source), &source).is_ok()
        })
        .collect();
    let accepted = answers.iter().filter(|accepted| **accepted).count();
    assert!(accepted > 50, "{accepted} of {} accepted", answers.len());
    assert!(answers.len() - accepted > 50, "{accepted} of {} accepted", answers.len());
}
