//! The layer `refs` and the coder `cm` through the whole machine: diff, then apply with power cuts,
//! resumes and hostile headers.

use neap_engine::diff::{self, Coder, Options, Parts};
use neap_engine::error::{ApplyError, FormatError};
use neap_engine::format::frame::MOVES;
use neap_engine::io::drive;
use neap_engine::io::error::DriveError;
use neap_engine::limits::MOVES_MAX;
use neap_sim::chain::sweep;
use neap_sim::executable::{self, Arch};
use neap_sim::layered;
use neap_sim::pair::{Pair, WINDOW};
use neap_sim::random::Random;
use neap_sim::run::resumed;
use neap_sim::strange;
use rayon::ThreadPoolBuilder;

/// Effort 4 has all parts, chains too.
fn options(coder: Coder, refs: bool) -> Options {
    let parts = Parts { refs, ..Parts::default() };
    Options { effort: 4, memory: Options::MEMORY_MIN, coder, parts, ..Options::default() }
}

fn diffed(arch: Arch, functions: u32, seed: u64, coder: Coder, refs: bool) -> Pair {
    let (source, target) = executable::images(arch, functions, seed);
    layered::diffed(source, target, &options(coder, refs)).0
}

fn applied(pair: &Pair, windows: u64, one_thread: bool) -> Result<Vec<u8>, DriveError> {
    resumed(pair, windows, drive::Options { one_thread, ..drive::Options::default() })
}

#[test]
fn rewriting_makes_patches_of_moved_code_smaller() {
    for arch in Arch::ALL {
        for coder in [Coder::Zstd, Coder::Cm] {
            let [with, without] = [true, false].map(|refs| diffed(arch, 800, 1, coder, refs));
            assert!(with.header.refs && !without.header.refs, "{arch:?}");
            let [with, without] = [with, without].map(|pair| pair.patch.len());
            println!("{arch:?} {coder:?}: {with} bytes with refs, {without} without");
            assert!(with * 5 < without * 4, "{arch:?} {coder:?}: {with} and {without} bytes");
        }
    }
}

#[test]
fn rewriting_makes_patches_of_pe_files_smaller() {
    for arch in Arch::ALL {
        let (source, target) = executable::pe_images(arch, 800, 1);
        let [with, without] = [true, false].map(|refs| {
            let options = options(Coder::Zstd, refs);
            layered::diffed(source.clone(), target.clone(), &options).0
        });
        assert!(with.header.refs && !without.header.refs, "{arch:?}");
        let [with, without] = [with, without].map(|pair| pair.patch.len());
        println!("{arch:?}: {with} bytes with refs, {without} without");
        assert!(with * 5 < without * 4, "{arch:?}: {with} and {without} bytes");
    }
}

/// Programs that no linker makes, against themselves with other bytes in places, and against each
/// other: what looks like addresses there is none, or moves as it likes.
#[test]
fn layer_never_costs_more_than_sixteen_bytes() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let [source, mut target] = [(); 2].map(|()| strange::image(&mut random).image);
        if random.happens(192) {
            target.clone_from(&source);
            for _ in 0..random.index(40) {
                let at = random.index(target.len());
                let len = (1 + random.index(30)).min(target.len() - at);
                random.fill(&mut target[at..at + len]);
            }
            let (from, to) = (random.index(target.len()), random.index(target.len()));
            let moved = target.split_off(from.min(to));
            target.extend(random.bytes(16).into_iter().chain(moved));
        }
        for coder in [Coder::Zstd, Coder::Cm] {
            let [with, without] = [true, false].map(|refs| {
                layered::diffed(source.clone(), target.clone(), &options(coder, refs)).0.patch.len()
            });
            assert!(
                with <= without + 16,
                "seed {seed}, {coder:?}: {with} bytes, {without} without"
            );
        }
    }
}

#[test]
fn patches_of_every_kind_make_the_target_from_any_window_on() {
    let mut pairs: Vec<_> = (0..12).map(|seed| layered::by_hand(400_000, seed)).collect();
    for arch in Arch::ALL {
        for coder in [Coder::Zstd, Coder::Cm] {
            pairs.extend([true, false].map(|refs| diffed(arch, 1200, 2, coder, refs)));
        }
    }
    for pair in pairs {
        let expected = neap_reference::apply(&pair.patch, &pair.source);
        assert!(expected.as_ref() == Ok(&pair.target), "the reference: {:?}", expected.err());
        for windows in 0..=pair.header.target_windows.len() as u64 {
            let made = applied(&pair, windows, windows % 2 == 1);
            assert!(made.is_ok(), "from window {windows} on: {:?}", made.err());
            assert!(made.is_ok_and(|made| made == pair.target), "differs from window {windows} on");
        }
    }
}

#[test]
fn power_cuts_end_in_the_target_with_every_layer_and_coder() {
    let mut cuts = 0;
    for seed in 0..2 {
        cuts += sweep(&layered::by_hand(WINDOW * 7 / 2, seed), seed);
    }
    for (seed, coder) in [(1, Coder::Zstd), (2, Coder::Cm)] {
        cuts += sweep(&diffed(Arch::X86_64, 600, seed, coder, false), seed);
    }
    let coders = [Coder::Zstd, Coder::Cm].into_iter().cycle();
    for ((seed, arch), coder) in (3..).zip(Arch::ALL).zip(coders) {
        cuts += sweep(&diffed(arch, 700, seed, coder, true), seed);
    }
    println!("{cuts} power cuts survived");
    assert!(cuts > 200, "only {cuts} power cuts happened");
}

/// The map of addresses is made from what the applier reads; a patch whose source map leaves out
/// the headers of an executable would have it read bytes that nobody checked.
#[test]
fn region_whose_headers_are_not_in_the_source_map_is_refused() {
    for seed in 0..9 {
        let refused = applied(&layered::with_unchecked_headers(300_000, seed), 0, true);
        assert!(
            matches!(
                refused,
                Err(DriveError::Apply(ApplyError::Format(FormatError::CopyUnchecked { .. })))
            ),
            "seed {seed}: {:?}",
            refused.err()
        );
    }
}

/// Of what is kept by hash nothing may be taken in its order, and no thread may wait for another.
#[test]
fn patches_are_the_same_on_any_number_of_threads_and_each_time() {
    let patch = |source: &Vec<u8>, target: &Vec<u8>, options: &Options| {
        let mut frames = Vec::new();
        let made = diff::diff(source, target, options, &mut frames, &|_| {});
        [made.expect("images in memory can be read").header_bytes, frames].concat()
    };
    for (arch, coder) in Arch::ALL.into_iter().zip([Coder::Cm, Coder::Zstd, Coder::Cm]) {
        let (source, target) = executable::images(arch, 1500, 4);
        let options = Options { effort: 6, ..options(coder, true) };
        let first = patch(&source, &target, &options);
        for threads in [1, 4] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.expect("threads can be started");
            let again = pool.install(|| patch(&source, &target, &options));
            assert!(again == first, "{arch:?} {coder:?}: other bytes on {threads} threads");
        }
    }
}

/// Noise in which short stretches come again, a mebibyte apart, for which the coder `cm` does not
/// look.
#[test]
fn coder_cm_never_loses_to_zstd_on_noise() {
    let mut target = Random::new(3).bytes(3 << 20);
    for at in (1 << 20..target.len() - 24).step_by(200) {
        target.copy_within(at - (1 << 20)..at - (1 << 20) + 24, at);
    }
    let [zstd, cm] = [Coder::Zstd, Coder::Cm].map(|coder| {
        let pair = layered::diffed(Vec::new(), target.clone(), &options(coder, true)).0;
        assert!(applied(&pair, 0, true).is_ok_and(|made| made == target), "{coder:?}");
        pair.patch.len()
    });
    assert!(cm <= zstd, "{cm} bytes with cm, {zstd} with zstd");
}

/// Six pointers to each place, and each place is moved by another distance: more moves than a
/// frame may have would pay. All were sent, and no device took the patch.
#[test]
fn frame_never_has_more_moves_than_devices_take() {
    let groups = u64::try_from(MOVES_MAX / 2 * 3).expect("a small count");
    let mut random = Random::new(5);
    let file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0";
    let mut source = file.to_vec();
    [0, 64, 0].into_iter().for_each(|word: u64| source.extend(word.to_le_bytes()));
    [0_u16, 0, 64, 56, 1, 0, 0, 0].into_iter().for_each(|half| source.extend(half.to_le_bytes()));
    let (len, room) = (120 + groups * 6 * 16, 64 << 20);
    [6_u64 << 32 | 1, 0, 1 << 16, 0, len, len + room, 4096]
        .into_iter()
        .for_each(|word| source.extend(word.to_le_bytes()));
    let mut target = source.clone();
    for group in 0..groups {
        let address = (1 << 16) + len + group * 512;
        let moved = address + 1 + group % 2 * 100 + u64::from(random.bytes(1)[0]) % 100;
        for _ in 0..6 {
            let noise = random.bytes(8);
            source.extend(address.to_le_bytes().iter().chain(&noise));
            target.extend(moved.to_le_bytes().iter().chain(&noise));
        }
    }
    let (pair, summary) = layered::diffed(source, target, &options(Coder::Zstd, true));
    assert!(pair.header.refs && summary.columns[MOVES] > 20_000, "{summary:?}");
    let made = applied(&pair, 0, true);
    assert!(made.as_ref().is_ok_and(|made| *made == pair.target), "{:?}", made.err());
}
