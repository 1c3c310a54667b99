//! Files that lie in several packed blocks with corrections: seen whole, and made again from any
//! window on, through power cuts and hostile tables.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use neap_engine::diff::{Coder, Options};
use neap_engine::format::{Blocks, TargetBlock};
use neap_engine::io::drive;
use neap_engine::io::error::DriveError;
use neap_engine::limits::{BLOCK_LEN_MAX, CORRECTIONS_LEN_MAX, RUN_LEN_MAX};
use neap_sim::chain::sweep;
use neap_sim::executable::{self, Arch};
use neap_sim::layered;
use neap_sim::packed;
use neap_sim::pair::{Pair, WINDOW};
use neap_sim::random::Random;
use neap_sim::run::{resumed, with_blocks};

fn options(coder: Coder) -> Options {
    // A restart point at each frame.
    Options {
        effort: 4,
        memory: Options::MEMORY_MIN,
        coder,
        restart_len: 1000,
        ..Options::default()
    }
}

fn diffed(size: usize, seed: u64, coder: Coder) -> Pair {
    let (source, target) = packed::images_in_blocks(size, seed);
    layered::diffed(source, target, &options(coder)).0
}

fn blocks(pair: &Pair) -> &Blocks {
    pair.header.blocks.as_ref().expect("blocks were found")
}

/// Of each run of a level, how many corrections it has.
fn runs(level: &[TargetBlock]) -> Vec<usize> {
    let mut runs: Vec<usize> = Vec::new();
    for block in level {
        if block.front_len > 0 {
            runs.push(0);
        }
        if block.correction_len > 0 {
            *runs.last_mut().expect("each correction is of a run") += 1;
        }
    }
    runs
}

/// Makes the target from these windows on, with one thread and with several.
fn check_from(pair: &Pair, windows: impl Iterator<Item = u64>, about: &str) {
    for windows in windows {
        let one_thread = windows % 2 == 1;
        let options = drive::Options { one_thread, ..drive::Options::default() };
        let made = resumed(pair, windows, options);
        assert!(made.is_ok(), "{about}, window {windows}: {:?}", made.err());
        assert!(made.is_ok_and(|made| made == pair.target), "{about}, window {windows}");
    }
}

#[test]
fn streams_over_blocks_with_corrections_are_seen() {
    let pair = diffed(400_000, 1, Coder::Zstd);
    let Blocks { levels, .. } = blocks(&pair);
    println!("{} bytes; corrections in runs: {:?}", pair.patch.len(), runs(&levels[0]));
    assert_eq!(runs(&levels[0]).len(), 1);
    assert!(runs(&levels[0])[0] > 10);
    // Blocks without a correction, and bytes that are in none, lie in the run, too.
    let last = levels[0].iter().rposition(|block| block.correction_len > 0).expect("some have");
    let before = &levels[0][..last];
    assert!(before.iter().any(|block| block.correction_len == 0));
    assert!(before.windows(2).any(|two| two[0].end() < two[1].offset));
    // Streams that are longer than a block.
    let block_len = levels[0].iter().map(|block| block.plain_len).max();
    assert!(levels[1].iter().filter(|block| Some(block.len) > block_len).count() > 2);
}

#[test]
fn executables_over_blocks_with_corrections_are_rewritten() {
    let (source, target) = executable::images(Arch::X86_64, 3000, 2);
    let [source, target] = [source, target].map(|image| packed::in_corrected_frames(&image, 16384));
    let pair = layered::diffed(source, target, &options(Coder::Zstd)).0;
    assert!(runs(&blocks(&pair).levels[0])[0] > 10);
    assert!(pair.header.refs, "addresses are rewritten");
    check_from(&pair, 0..2, "an executable");
}

#[test]
fn target_with_runs_is_made_from_any_window_on_by_both_appliers() {
    for (seed, coder) in (10..14).zip([Coder::Zstd, Coder::Cm].into_iter().cycle()) {
        let pair = diffed(600_000, seed, coder);
        assert!(runs(&blocks(&pair).levels[0])[0] > 10, "seed {seed}");
        let expected = neap_reference::apply(&pair.patch, &pair.source);
        assert!(expected.as_ref() == Ok(&pair.target), "seed {seed}: {:?}", expected.err());
        let windows = pair.header.target_windows.len() as u64;
        check_from(&pair, 0..=windows, &format!("seed {seed}"));
    }
}

/// A squashfs that has one file, of text that gzip packed: it is stored as it is.
fn squashfs_of_packed(text: &str, name: &str) -> Option<Vec<u8>> {
    let folder = format!("runs-{}-{name}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    fs::create_dir_all(folder.join("tree")).expect("the target folder can be written");
    let file = File::create(folder.join("tree/changelog.gz")).expect("the folder can be written");
    let mut encoder = GzEncoder::new(file, Compression::new(9));
    encoder.write_all(text.as_bytes()).expect("the folder can be written");
    encoder.finish().expect("the folder can be written");
    let line = "tree image -comp zstd -quiet -no-progress -all-time 0 -mkfs-time 0";
    let made = Command::new("mksquashfs").args(line.split(' ')).current_dir(&folder).status();
    let image = made.is_ok_and(|made| made.success()).then(|| fs::read(folder.join("image")));
    fs::remove_dir_all(&folder).expect("it was made here");
    image.transpose().expect("it was made here")
}

/// What a file system stored was looked through in the target, at the second level, and in the
/// source never: a changelog was sent whole.
#[test]
fn streams_in_what_is_stored_are_seen_on_both_sides() {
    let line = |number: u32| format!("entry {}\n", number.wrapping_mul(2_654_435_761));
    // So long that its front is not near anything that changed.
    let text: String = (0..300_000).map(line).collect();
    let changed = text.replace("entry 77", "entry nought");
    let made = [(&text, "source"), (&changed, "target")]
        .map(|(text, name)| squashfs_of_packed(text, name));
    let [Some(source), Some(target)] = made else {
        println!("mksquashfs is not installed");
        return;
    };
    assert!(source.len() > 1_500_000, "{} bytes", source.len());
    let pair = layered::diffed(source, target, &options(Coder::Zstd)).0;
    println!("{} bytes", pair.patch.len());
    assert!(pair.patch.len() < pair.target.len() / 6, "{} bytes", pair.patch.len());
    assert!(!blocks(&pair).source.is_empty());
    check_from(&pair, 0..2, "a changelog");
}

/// More plain bytes than one run may have: the next one begins where something starts.
#[test]
fn long_files_are_several_runs() {
    let line = |index: u32| format!("{index:>30} {:x}\n", index.wrapping_mul(2_654_435_761));
    let plain: Vec<u8> = (0..500_000).flat_map(|index| line(index).into_bytes()).collect();
    let mut changed = plain.clone();
    for at in (0..changed.len()).step_by(100_000) {
        changed[at] = b'!';
    }
    // Frames are cut where bytes are many that nobody has.
    let noise = Random::new(3).bytes(5 << 20);
    changed.splice(10 << 20..10 << 20, noise);
    let [source, target] = [plain, changed].map(|file| packed::in_corrected_frames(&file, 1 << 20));
    let pair = layered::diffed(source, target, &options(Coder::Zstd)).0;
    let level = &blocks(&pair).levels[0];
    assert!(runs(level).len() > 1, "{:?}", runs(level));
    let second = level.iter().rposition(|block| block.front_len > 0).expect("there are runs");
    assert!(level[second].view_offset > RUN_LEN_MAX / 2);
    let restarts = pair.header.restarts.iter();
    let is_inside = |offset: u64| (level[0].view_end()..level[second].front()).contains(&offset);
    assert!(restarts.filter(|restart| is_inside(restart.target_offset)).count() > 0);
    let windows = pair.header.target_windows.len() as u64;
    let near = level[second].offset / WINDOW as u64;
    let middle = windows / 3..windows / 3 + 4;
    let places = [0, near - 1, near, near + 1, windows].into_iter().chain(middle);
    check_from(&pair, places, "two runs");
    let slow = neap_reference::apply(&pair.patch, &pair.source);
    assert!(slow.as_ref() == Ok(&pair.target), "{:?}", slow.err());
}

#[test]
fn power_cuts_end_in_the_target_where_blocks_are_runs() {
    let mut cuts = 0;
    for (seed, coder) in (20..22).zip([Coder::Zstd, Coder::Cm]) {
        let (source, target) = packed::images_in_blocks(WINDOW * 3, seed);
        // One restart point: which one a device goes on from is for another test.
        let options = Options { restart_len: 8 << 20, ..options(coder) };
        cuts += sweep(&layered::diffed(source, target, &options).0, seed);
    }
    println!("{cuts} power cuts survived");
    assert!(cuts > 50, "only {cuts} power cuts happened");
}

#[test]
fn table_that_lies_about_runs_is_refused() {
    let pair = diffed(300_000, 30, Coder::Zstd);
    assert_eq!(with_blocks(&pair, |_| ()).ok().as_ref(), Some(&pair.target));
    let level = &blocks(&pair).levels[0];
    let first = level.iter().position(|block| block.front_len > 0).expect("there is a run");
    let last = level.iter().rposition(|block| block.correction_len > 0).expect("it is long");
    let empty = level.iter().rposition(|block| block.correction_len == 0).expect("some have none");
    let field = |made: Result<Vec<u8>, DriveError>| {
        made.expect_err("it lies").to_string().split(' ').next().map(str::to_owned)
    };
    let change = |index: usize, change: fn(&mut TargetBlock)| {
        field(with_blocks(&pair, |blocks| change(&mut blocks.levels[0][index])))
    };
    let refused = [
        ("correction_len", change(first, |block| block.front_len = 0)),
        ("correction", change(last, |block| block.correction_len = BLOCK_LEN_MAX + 1)),
        ("front_len", change(last, |block| block.correction_len = CORRECTIONS_LEN_MAX)),
        ("run_len", change(last - 1, |block| block.plain_len = RUN_LEN_MAX + 1)),
    ];
    for (expected, found) in refused {
        assert_eq!(found.as_deref(), Some(expected));
    }
    let tail_is_empty = with_blocks(&pair, |blocks| {
        let level = &mut blocks.levels[0];
        level.truncate(empty + 1);
        level[empty].front_len = 1;
    });
    assert_eq!(field(tail_is_empty).as_deref(), Some("front_len"));
    // The same bytes in two runs instead of one: another view, whose blocks are not packed right.
    let made = with_blocks(&pair, |blocks| blocks.levels[0][last].front_len = 1);
    assert!(made.is_err());
    // Corrections of other lengths, which are as long together.
    let made = with_blocks(&pair, |blocks| {
        blocks.levels[0][first].correction_len += 1;
        blocks.levels[0][last].correction_len -= 1;
    });
    assert!(made.is_err());
}
