//! The fast applier and the slow one agree on the layer `refs` and the coder `cm`: on programs and
//! on what is none, with any regions, moves and copies.

#[path = "../engine/reference/tests/common/mod.rs"]
mod common;

use common::{FrameScript, Run, Script, both, put, sealed};
use neap_engine::diff::{Coder, Options, Parts};
use neap_engine::limits::REGION_LOOKS_MAX;
use neap_engine::varint::put_signed;
use neap_sim::executable::{self, Arch};
use neap_sim::layered;
use neap_sim::pair::Pair;
use neap_sim::random::Random;
use neap_sim::strange::{self, Strange};

/// Entry of the layer list.
const REFS: [u8; 4] = [1, 0, 0, 0];

/// Regions: the executable, more or less of it, or anything; and what moves in it.
fn columns(strange: &Strange, random: &mut Random) -> [Vec<u8>; 2] {
    let (mut regions, mut moves) = (Vec::new(), Vec::new());
    let size = strange.image.len() as u64;
    let (start, len) = match random.index(8) {
        0 => (random.below(size), 1 + random.below(size)),
        1 => (strange.start, 1 + random.below(strange.len)),
        _ => (strange.start, strange.len),
    };
    let len = if random.happens(4) { len } else { len.min(size - start) };
    let behind = size.saturating_sub(start + len);
    for (gap, len) in [(start, len), (behind / 3, behind / 3)] {
        if len == 0 && random.happens(250) {
            continue;
        }
        let (biases, count) = (random.below(7), random.below(5));
        [gap, len, biases, count].into_iter().for_each(|number| put(&mut regions, number));
        (0..biases).for_each(|_| put_signed(&mut regions, small(random)));
        for index in 0..count {
            let first = if random.happens(128) { strange.base } else { 6 << 60 };
            put(&mut moves, if index == 0 { first } else { 0 } + random.below(6000));
            put(&mut moves, random.below(9000));
            put_signed(&mut moves, small(random));
        }
    }
    [regions, moves]
}

fn small(random: &mut Random) -> i64 {
    let small = random.below(9000).cast_signed() - 4500;
    if random.happens(128) { small & !15 } else { small }
}

/// A frame of copies that go roughly where they were, and of others.
fn frame(strange: &Strange, random: &mut Random) -> FrameScript {
    let size = strange.image.len() as u64;
    let mut segments = Vec::new();
    let mut at = 0;
    for _ in 0..1 + random.index(12) {
        let len = match random.index(6) {
            0 => 1 + random.below(40),
            1 => 1 + random.below(500),
            _ => 1 + random.below(size / 2),
        };
        if random.happens(50) {
            at = random.below(size);
        }
        at += random.below(200);
        let len = len.min(size.saturating_sub(at));
        let text_len = random.index(60);
        let text = random.bytes(if len == 0 { 1 } else { text_len });
        segments.push((text, if len == 0 { Run::None } else { Run::Copy(at, len) }));
        at += len;
    }
    let is_restart = random.happens(60);
    let refs = Some(columns(strange, random));
    let coder = u8::from(random.happens(128));
    FrameScript { coder, is_restart, segments, refs, ..FrameScript::default() }
}

fn script(seed: u64) -> Script {
    let mut random = Random::new(seed);
    let strange = strange::image(&mut random);
    let frames = (0..1 + random.index(2)).map(|_| frame(&strange, &mut random)).collect();
    let mut script = Script { layers: vec![REFS.to_vec()], ..Script::new(strange.image, frames) };
    if random.happens(40) {
        let count = (script.source.len() as u64).div_ceil(4096);
        let hole = 1 + random.below(count);
        script.runs =
            [(0, hole - 1), (hole, count - hole)].into_iter().filter(|run| run.1 > 0).collect();
    }
    script
}

/// A thousand seeds find what one in ten thousand of such programs shows only by chance: try more
/// after a change, from another first one.
const SEEDS: std::ops::Range<u64> = 0..1000;

#[test]
fn both_agree_on_programs_that_no_linker_makes() {
    let mut accepted = 0;
    for seed in SEEDS {
        let script = script(seed);
        println!("seed {seed}");
        accepted += u64::from(both(&script.patch(), &script.source).is_ok());
    }
    assert!(accepted > SEEDS.end / 2, "only {accepted} of {} were accepted", SEEDS.end);
}

#[test]
fn both_make_the_target_of_programs_of_every_kind() {
    for (arch, seed) in Arch::ALL.into_iter().zip(7..) {
        for coder in [Coder::Zstd, Coder::Cm] {
            let pair = diffed(arch, 600, seed, coder);
            assert!(pair.header.refs, "{arch:?}: the patch has the layer");
            assert!(both(&pair.patch, &pair.source) == Ok(pair.target), "{arch:?} {coder:?}");
        }
    }
}

/// What the columns `regions` and `moves` say is as hostile as any other byte.
#[test]
fn both_agree_on_changed_patches_of_programs() {
    let mut accepted = 0;
    let mut random = Random::new(5);
    for arch in Arch::ALL {
        let pair = diffed(arch, 40, 3, Coder::Zstd);
        let start = usize::try_from(pair.header.header_len).expect("a header is short");
        for _ in 0..300 {
            let mut patch = pair.patch.clone();
            let at = start + 20 + random.index(patch.len() - start - 20);
            patch[at] = patch[at].wrapping_add([1, 255, 128, 7][random.index(4)]);
            accepted += u64::from(both(&sealed(patch, &pair.source), &pair.source).is_ok());
        }
    }
    assert!((30..870).contains(&accepted), "{accepted} of 900 were accepted");
}

/// Five regions touched in turn are loaded again each time, since four are kept.
#[test]
fn both_refuse_frames_that_load_regions_more_than_16384_times() {
    let source = Random::new(9).bytes(8192);
    for (loads, is_taken) in [(16384, true), (16385, false)] {
        let (mut regions, moves) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            [100, 4, 0, 0].into_iter().for_each(|number| put(&mut regions, number));
        }
        // Twice in one region: loaded once.
        let places = (0..loads).flat_map(|load| [104 * (load % 5) + 100, 104 * (load % 5) + 101]);
        let segments = places.map(|place| (b"-".to_vec(), Run::Copy(place, 2))).collect();
        let refs = Some([regions, moves]);
        let frame = FrameScript { coder: 1, segments, refs, ..FrameScript::default() };
        let script =
            Script { layers: vec![REFS.to_vec()], ..Script::new(source.clone(), vec![frame]) };
        assert_eq!(both(&script.patch(), &source).is_ok(), is_taken, "{loads} loads");
    }
}

/// One of five regions, which is loaded again for each round of copies, and looks at all those of
/// 24 bytes that touch it.
#[test]
fn both_refuse_frames_whose_loads_look_at_too_many_copies() {
    let (source, rounds) = (Random::new(9).bytes(8192), 2048);
    for (more, is_taken) in [(0, true), (1, false)] {
        let (mut regions, moves) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            [100, 40, 0, 0].into_iter().for_each(|number| put(&mut regions, number));
        }
        let long = REGION_LOOKS_MAX / rounds / rounds;
        let places = (0..rounds).flat_map(|round| {
            let long = long + if round == 0 { more } else { 0 };
            let long = (0..long).map(|place| (100 + place, 24));
            long.chain((1..5).map(|region| (140 * region + 100, 23)))
        });
        let segments = places.map(|(place, len)| (b"-".to_vec(), Run::Copy(place, len))).collect();
        let refs = Some([regions, moves]);
        let frame = FrameScript { coder: 1, segments, refs, ..FrameScript::default() };
        let script =
            Script { layers: vec![REFS.to_vec()], ..Script::new(source.clone(), vec![frame]) };
        assert_eq!(both(&script.patch(), &source).is_ok(), is_taken, "{more} more");
    }
}

/// The coder `cm` too, whose code says nothing any more once a byte of it is another.
#[test]
fn both_refuse_changed_code() {
    let mut random = Random::new(6);
    let pair = diffed(Arch::X86_64, 40, 3, Coder::Cm);
    let start = usize::try_from(pair.header.header_len).expect("a header is short");
    let mut refused = 0;
    for _ in 0..100 {
        let mut patch = pair.patch.clone();
        let at = start + 20 + random.index(patch.len() - start - 20);
        patch[at] = patch[at].wrapping_add([1, 255, 128, 7][random.index(4)]);
        refused += u64::from(both(&sealed(patch, &pair.source), &pair.source).is_err());
    }
    assert!(refused > 60, "{refused} of 100 were refused");
}

/// Fields of every kind are guessed and missed.
#[test]
fn both_make_the_target_of_strange_programs_by_every_coder() {
    for seed in 0..200 {
        let strange = strange::image(&mut Random::new(seed));
        let program = strange.start..strange.start + strange.len;
        let pair = layered::by_hand_from(strange.image, program, 100_000, seed);
        let made = both(&pair.patch, &pair.source);
        assert!(made.as_ref() == Ok(&pair.target), "seed {seed}: {:?}", made.err());
    }
}

fn diffed(arch: Arch, functions: u32, seed: u64, coder: Coder) -> Pair {
    let (source, target) = executable::images(arch, functions, seed);
    let parts = Parts { refs: true, ..Parts::default() };
    let options = Options { effort: 4, coder, parts, ..Options::default() };
    layered::diffed(source, target, &options).0
}
