//! The layer `unpack` through the whole machine: diff, then apply with resumes, power cuts, faults
//! and hostile tables.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use neap_engine::diff::{Coder, Options, Parts};
use neap_engine::digest::Digest;
use neap_engine::error::{ApplyError, FormatError};
use neap_engine::format::{Blocks, Header};
use neap_engine::io::drive;
use neap_engine::io::error::DriveError;
use neap_engine::io::memory::{MemoryJournal, MemoryTarget, PatchBytes};
use neap_engine::limits::{WINDOW_LOG2_MAX, WINDOW_LOG2_MIN};
use neap_engine::unpack::codec::{Families, Family, Method};
use neap_sim::chain::sweep;
use neap_sim::erofs;
use neap_sim::executable::{self, Arch};
use neap_sim::layered;
use neap_sim::packed;
use neap_sim::pair::{Pair, WINDOW};
use neap_sim::random::Random;
use neap_sim::run::{resumed, with_blocks};

fn options(coder: Coder, unpack: bool) -> Options {
    let parts = Parts { unpack, ..Parts::default() };
    Options { effort: 4, memory: Options::MEMORY_MIN, coder, parts, ..Options::default() }
}

fn diffed(size: usize, seed: u64, coder: Coder, unpack: bool) -> Pair {
    let (source, target) = packed::images(size, seed);
    layered::diffed(source, target, &options(coder, unpack)).0
}

#[test]
fn patches_are_smaller_where_packed_bytes_are_seen_as_what_they_were() {
    for (seed, coder) in [(1, Coder::Zstd), (2, Coder::Cm)] {
        let [with, without] = [true, false].map(|unpack| diffed(1 << 20, seed, coder, unpack));
        let blocks = with.header.blocks.expect("blocks were found");
        assert!(blocks.levels.len() >= 2, "{} levels", blocks.levels.len());
        assert!(without.header.blocks.is_none());
        let [with, without] = [with.patch, without.patch].map(|patch| patch.len());
        println!("{coder:?}: {with} bytes, {without} without");
        assert!(with * 4 < without, "{coder:?}: {with} bytes, {without} without");
    }
}

fn gzip(plain: &str) -> Vec<u8> {
    let mut command = Command::new("gzip");
    command.arg("-9n").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut gzip = command.spawn().expect("gzip is installed");
    let mut stdin = gzip.stdin.take().expect("it is a pipe");
    stdin.write_all(plain.as_bytes()).expect("gzip reads it");
    drop(stdin);
    gzip.wait_with_output().expect("gzip ends").stdout
}

#[test]
fn blocks_of_codecs_that_are_switched_off_stay_packed() {
    let (mut source, mut target) = packed::images(300_000, 3);
    let text: String = (0..5000).map(|number| format!("line {}\n", number * number)).collect();
    source.extend(gzip(&text));
    target.extend(gzip(&text.replace("line 16\n", "line 17\n")));
    let families = |blocks: &Blocks| {
        let all = [Family::Deflate, Family::Lz4, Family::Xz, Family::Zstd, Family::Bzip2];
        let codecs: Vec<_> = blocks.methods.iter().map(Method::codec).collect();
        let is_used = |family: &Family| codecs.iter().any(|codec| codec.family() == Some(*family));
        all.into_iter().filter(is_used).collect::<Vec<_>>()
    };
    let with = |not_unpacked| {
        let options = Options { not_unpacked, ..options(Coder::Zstd, true) };
        let pair = layered::diffed(source.clone(), target.clone(), &options).0;
        pair.header.blocks.as_ref().map(families).unwrap_or_default()
    };
    let all = with(Families::default());
    assert!(all.len() > 1, "the images have {all:?}");
    for family in &all {
        let rest = with([*family].into_iter().collect());
        assert!(!rest.contains(family), "{family:?} was unpacked");
        assert!(!rest.is_empty(), "without {family:?} nothing was unpacked");
    }
    assert!(with(all.into_iter().collect()).is_empty());
}

/// With a link on which nothing but time counts, a device is not made to pack for longer than the
/// bytes would have taken.
#[test]
fn nothing_is_unpacked_where_the_link_is_faster_than_packing() {
    let (source, target) = packed::images(1 << 20, 4);
    let is_unpacked = |link_rate| {
        let options = Options { link_rate: Some(link_rate), ..options(Coder::Zstd, true) };
        let pair = layered::diffed(source.clone(), target.clone(), &options).0;
        pair.header.blocks.is_some()
    };
    assert!(is_unpacked(1000));
    assert!(!is_unpacked(100_000_000_000));
}

/// The last blocks of a source were left out where nothing was copied from them, but an executable
/// that is rewritten ended there: no device took the patch. A frame that lies across others was
/// not seen as what it was packed from.
#[test]
fn executables_are_rewritten_in_frames_and_in_frames_across_frames() {
    for (seed, is_nested) in [(40, false), (41, true)] {
        let (source, target) = executable::images(Arch::X86_64, 3000, seed);
        let [source, target] = [source, target].map(|image| {
            let image = if is_nested { packed::in_frames(&image, image.len()) } else { image };
            packed::in_frames(&image, 16384)
        });
        let pair = layered::diffed(source, target, &options(Coder::Zstd, true)).0;
        let blocks = pair.header.blocks.as_ref().expect("blocks were found");
        assert_eq!(blocks.levels.len(), 1 + usize::from(is_nested));
        assert!(pair.header.refs, "addresses are rewritten");
        let made = resumed(&pair, 0, drive::Options::default());
        assert!(made.as_ref().is_ok_and(|made| *made == pair.target), "{:?}", made.err());
        let slow = neap_reference::apply(&pair.patch, &pair.source);
        assert!(slow.as_ref() == Ok(&pair.target), "{:?}", slow.err());
    }
}

#[test]
fn target_is_made_from_any_window_on_by_both_appliers() {
    for (seed, coder) in (10..14).zip([Coder::Zstd, Coder::Cm].into_iter().cycle()) {
        let pair = diffed(500_000, seed, coder, true);
        assert!(pair.header.blocks.is_some(), "seed {seed}");
        let expected = neap_reference::apply(&pair.patch, &pair.source);
        assert!(expected.as_ref() == Ok(&pair.target), "seed {seed}: {:?}", expected.err());
        for windows in 0..=pair.header.target_windows.len() as u64 {
            let one_thread = windows % 2 == 1;
            let options = drive::Options { one_thread, ..drive::Options::default() };
            let made = resumed(&pair, windows, options);
            assert!(made.is_ok(), "seed {seed}, window {windows}: {:?}", made.err());
            assert!(made.is_ok_and(|made| made == pair.target), "seed {seed}, window {windows}");
        }
    }
}

fn cut(count: usize, seed: u64, coder: Coder) -> Pair {
    let (source, target) = erofs::images(count, seed);
    layered::diffed(source, target, &options(coder, true)).0
}

#[test]
fn streams_whose_ends_lie_elsewhere_are_packed_again_up_to_there() {
    for (seed, coder) in [(50, Coder::Zstd), (51, Coder::Cm)] {
        let pair = cut(8, seed, coder);
        let Blocks { methods, levels, .. } = pair.header.blocks.as_ref().expect("blocks");
        let mut codecs: Vec<_> = levels[0]
            .iter()
            .map(|block| methods[usize::try_from(block.method).expect("few")].codec().name())
            .collect();
        codecs.sort_unstable();
        codecs.dedup();
        assert_eq!(codecs, ["deflate, cut", "lzma, cut", "xz, cut", "zstd, cut"]);
        let len: u64 = levels[0].iter().map(|block| block.len).sum();
        println!("{coder:?}: {} bytes, of {len} packed again", pair.patch.len());
        assert!((pair.patch.len() as u64) < len / 3);
    }
}

#[test]
fn target_with_cut_streams_is_made_from_any_window_on_by_both_appliers() {
    for (seed, coder) in (60..62).zip([Coder::Zstd, Coder::Cm]) {
        let pair = cut(8, seed, coder);
        let expected = neap_reference::apply(&pair.patch, &pair.source);
        assert!(expected.as_ref() == Ok(&pair.target), "seed {seed}: {:?}", expected.err());
        for windows in 0..=pair.header.target_windows.len() as u64 {
            let made = resumed(&pair, windows, drive::Options::default());
            assert!(made.is_ok_and(|made| made == pair.target), "seed {seed}, window {windows}");
        }
    }
}

#[test]
fn power_cuts_end_in_the_target_where_blocks_are_packed_again() {
    // The longest of these tests by far.
    let cuts: u64 = thread::scope(|scope| {
        let sweeps = [(20, Coder::Zstd), (21, Coder::Cm)].map(|(seed, coder)| {
            scope.spawn(move || sweep(&diffed(WINDOW * 3, seed, coder, true), seed))
        });
        sweeps.map(|sweep| sweep.join().expect("each is survived")).iter().sum()
    });
    println!("{cuts} power cuts survived");
    assert!(cuts > 60, "only {cuts} power cuts happened");
}

fn is_format_error(made: &Result<Vec<u8>, DriveError>) -> bool {
    matches!(made, Err(DriveError::Apply(ApplyError::Format(_))))
}

#[test]
fn table_of_blocks_that_lies_is_refused() {
    let pair = diffed(300_000, 30, Coder::Zstd, true);
    assert_eq!(with_blocks(&pair, |_| ()).ok(), Some(pair.target.clone()));
    let last = |blocks: &mut Blocks| blocks.levels[0].len() - 1;
    let refused = [
        // Longer than the target, and over the block before.
        with_blocks(&pair, |blocks| {
            let last = last(blocks);
            blocks.levels[0][last].len = 1 << 20;
        }),
        // Packs to another length.
        with_blocks(&pair, |blocks| blocks.levels[0][0].len += 1),
        // Of more plain bytes than there are.
        with_blocks(&pair, |blocks| blocks.levels[0][0].plain_len += 1),
        // In itself.
        with_blocks(&pair, |blocks| blocks.source[0].offset = blocks.source[0].view_offset),
        // Behind the source.
        with_blocks(&pair, |blocks| blocks.source[0].offset = pair.header.source_size - 1),
    ];
    for (index, made) in refused.iter().enumerate() {
        assert!(made.is_err(), "case {index} was accepted");
        // The frames may end before the view does, or a window differ before a block is packed.
        let is_late = matches!(
            made,
            Err(DriveError::PatchEnded(_) | DriveError::Apply(ApplyError::WindowDiffers { .. }))
        );
        assert!(is_late || is_format_error(made), "case {index}: {:?}", made.as_ref().err());
    }
    // What the source does not unpack to; of blocks that have no other in them.
    let made = with_blocks(&pair, |blocks| {
        let source_size = pair.header.source_size;
        let ends: Vec<u64> = blocks.source.iter().map(|b| b.offset + b.len).collect();
        for index in 0..blocks.source.len() {
            let block = &blocks.source[index];
            let is_inner = |end: &u64| (block.view_offset..=block.view_end()).contains(end);
            if block.offset < source_size && !ends.iter().any(is_inner) {
                blocks.source[index].plain_len -= 1;
                return;
            }
        }
    });
    assert!(matches!(made, Err(DriveError::Io { .. })), "{:?}", made.err());
}

#[test]
fn block_of_the_source_that_was_not_checked_is_refused() {
    let pair = diffed(300_000, 31, Coder::Zstd, true);
    let source_size = pair.header.source_size;
    let blocks = pair.header.blocks.as_ref().expect("the patch has blocks");
    let mut outer = blocks.source.iter().filter(|block| block.offset < source_size);
    let map = &pair.header.source_map;
    assert!(outer.all(|block| map.covers(block.offset, block.len)));
    let mut header = pair.header.clone();
    header.source_map = neap_engine::format::SourceMap {
        group_len: header.source_map.group_len,
        ..neap_engine::format::SourceMap::default()
    };
    let (bytes, _) = header.encode(0);
    assert!(matches!(Header::decode(&bytes), Err(FormatError::CopyUnchecked { .. })));
}

#[test]
fn patch_that_takes_more_memory_than_is_allowed_is_refused_before_the_first_write() {
    let pair = diffed(300_000, 32, Coder::Zstd, true);
    let needed = pair.header.blocks.as_ref().map(Blocks::memory).expect("the patch has blocks");
    let with = |unpack_memory_max| {
        let options = drive::Options { unpack_memory_max, ..drive::Options::default() };
        resumed(&pair, 0, options)
    };
    assert!(with(needed).is_ok());
    let refused = with(needed - 1);
    assert!(
        matches!(refused, Err(DriveError::MemoryTooLarge { needed: n, .. }) if n == needed),
        "{:?}",
        refused.err()
    );
}

/// Three of them are in memory at once, beside one of the target: with those of 2 MiB that a patch
/// of a large image has, they took 6 MiB.
#[test]
fn windows_of_a_view_are_short() {
    let header = diffed(300_000, 34, Coder::Zstd, true).header;
    let of_view = |header: Header| header.of_view().window_len();
    let long = Header { window_log2: WINDOW_LOG2_MAX, ..header.clone() };
    assert_eq!(of_view(long.clone()), 256 << 10);
    assert_eq!(of_view(Header { blocks: None, ..long }), 2 << 20);
    assert_eq!(of_view(Header { window_log2: WINDOW_LOG2_MIN, ..header }), 64 << 10);
}

/// Any byte of the table changed: refused, or the target; the fast applier and the slow one agree.
#[test]
fn appliers_agree_on_tables_with_a_byte_changed() {
    let pair = diffed(200_000, 33, Coder::Zstd, true);
    let header_len = index(pair.header.header_len);
    let plain = Header { blocks: None, ..pair.header.clone() }.encode(0).1.header_len;
    let table_len = header_len - index(plain);
    let mut random = Random::new(1);
    for _ in 0..400 {
        let mut patch = pair.patch.clone();
        let at = header_len - 32 - 1 - random.index(table_len - 8);
        patch[at] = patch[at].wrapping_add(1 + random.bytes(1)[0] % 255);
        let digest = Digest::of(&patch[..header_len - 32]);
        patch[header_len - 32..header_len].copy_from_slice(&digest.0);
        let slow = neap_reference::apply(&patch, &pair.source);
        let (mut target, mut journal) = (MemoryTarget::default(), MemoryJournal::default());
        let mut bytes = PatchBytes::new(&patch);
        let options = drive::Options { one_thread: true, ..drive::Options::default() };
        let made =
            drive::apply(&mut bytes, &pair.source, &mut target, &mut journal, options, &|_| {});
        let (fast, slow) = (made.err(), slow.err());
        assert_eq!(fast.is_some(), slow.is_some(), "byte {at}: {fast:?}, {slow:?}");
        assert!(fast.is_some() || target.bytes == pair.target, "byte {at}");
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a header is short")
}
