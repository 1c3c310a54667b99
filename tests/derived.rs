//! Regions that follow from the rest of the target: left out of the patch, made again by whoever
//! applies it. What is made is held against what veritysetup makes.

use std::fs;
use std::path::Path;
use std::process::Command;

use neap_engine::diff::{Coder, Options, Parts};
use neap_engine::digest::Digest;
use neap_engine::error::ApplyError;
use neap_engine::format::{Blocks, TargetBlock};
use neap_engine::io::drive;
use neap_engine::io::error::DriveError;
use neap_engine::unpack::Codec;
use neap_engine::unpack::derived::Hash;
use neap_sim::chain::sweep;
use neap_sim::derived;
use neap_sim::layered;
use neap_sim::pair::{Pair, WINDOW};
use neap_sim::random::Random;
use neap_sim::run::{resumed, with_blocks};

fn diffed(source: Vec<u8>, target: Vec<u8>, unpack: bool) -> Pair {
    let parts = Parts { unpack, ..Parts::default() };
    let memory = Options::MEMORY_MIN;
    let options = Options { effort: 3, memory, coder: Coder::Zstd, parts, ..Options::default() };
    layered::diffed(source, target, &options).0
}

/// What of the target is derived: how, where, and how long.
fn derived_of(pair: &Pair) -> Vec<(Codec, u64, u64)> {
    let Some(Blocks { methods, levels, .. }) = &pair.header.blocks else { return Vec::new() };
    let blocks = levels.first().into_iter().flatten();
    let all = blocks.map(|block| (methods[block.method as usize].codec(), block.offset, block.len));
    all.filter(|(codec, ..)| codec.is_derived()).collect()
}

/// The patch makes the target, applied by both appliers.
fn check(pair: &Pair, about: &str) {
    for one_thread in [true, false] {
        let made = resumed(pair, 0, drive::Options { one_thread, ..drive::Options::default() });
        assert!(made.is_ok(), "{about}: {:?}", made.err());
        assert!(made.is_ok_and(|made| made == pair.target), "{about}");
    }
    let slow = neap_reference::apply(&pair.patch, &pair.source);
    assert!(slow.as_ref() == Ok(&pair.target), "{about}: {:?}", slow.err());
}

/// A source and a target of whole blocks of 4096 bytes that are alike but for some bytes.
fn data(seed: u64) -> [Vec<u8>; 2] {
    let mut random = Random::new(seed);
    let source = random.bytes(301 * 4096);
    let mut target = source.clone();
    for _ in 0..40 {
        let at = random.index(target.len());
        target[at] ^= 1;
    }
    [source, target]
}

/// What veritysetup makes of data: the options name the files `data`, `hash` and `fec`, as its
/// parts are named in the image; the same file may be all.
fn format(data: &[u8], options: &str) -> [Vec<u8>; 3] {
    let name = format!(
        "derived-{}-{}",
        std::process::id(),
        Digest::of(&[options.as_bytes(), data].concat())
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    // Parity covers what is between the tree and itself, which must be there.
    let gap = vec![0; if options.contains("--fec-offset") { 16 * 4096 } else { 0 }];
    fs::write(folder.join("data"), [data, &gap].concat()).expect("the folder can be written");
    let mut command = Command::new("veritysetup");
    let words = options.split(' ').map(|word| match word.split_once("=@") {
        Some((option, file)) => format!("{option}={}", folder.join(file).display()),
        None => {
            word.strip_prefix('@').map_or(word.into(), |f| folder.join(f).display().to_string())
        }
    });
    let made = command.arg("format").args(words).output().expect("veritysetup is installed");
    assert!(made.status.success(), "{options}: {}", String::from_utf8_lossy(&made.stderr));
    let parts = ["data", "hash", "fec"].map(|name| fs::read(folder.join(name)).unwrap_or_default());
    fs::remove_dir_all(&folder).expect("the folder is ours");
    parts
}

/// An ext4 image of so many files, of which those with these numbers are new.
fn ext4(is_new: impl Fn(usize) -> bool) -> Vec<u8> {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ext4-{}", std::process::id()));
    fs::create_dir_all(folder.join("tree")).expect("the target folder can be written");
    for index in 0..1500 {
        let time = if is_new(index) { 1_700_000_000 } else { 1_600_000_000 };
        let file = fs::File::create(folder.join(format!("tree/{index}")));
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
        file.and_then(|file| file.set_modified(time)).expect("the folder can be written");
    }
    let image = folder.join("image");
    let id = "6e656170-636f-7270-7573-000000000001";
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-U", id, "-E", &format!("hash_seed={id}"), "-d"]);
    let made = command.arg(folder.join("tree")).arg(&image).arg("8M").status();
    assert!(made.expect("mkfs.ext4 is installed").success());
    let bytes = fs::read(&image).expect("it was made");
    fs::remove_dir_all(&folder).expect("the folder is ours");
    bytes
}

#[test]
fn checksums_of_inodes_of_ext4_are_left_out() {
    let [source, target] = [7, 3].map(|every| ext4(|index| index % every == 0));
    let [with, without] =
        [true, false].map(|unpack| diffed(source.clone(), target.clone(), unpack));
    let methods = with.header.blocks.iter().flat_map(|blocks| &blocks.methods);
    assert!(methods.clone().any(|method| matches!(method.codec(), Codec::Ext4Inodes(_))));
    check(&with, "ext4");
    let [with, without] = [with, without].map(|pair| pair.patch.len());
    println!("{with} bytes, {without} with checksums");
    assert!(with + 1500 < without, "{with} bytes, {without} with checksums");
}

/// The patch between two images of which each was made with the same options, and that the tree,
/// and the parity, are left out.
fn check_left_out(options: &str, seed: u64, codecs: &[Codec]) {
    let [source, target] = data(seed).map(|data| {
        let salt = if options.contains("--salt") { "" } else { " --salt=0123456789abcdef" };
        format(&data, &format!("{options}{salt}")).concat()
    });
    let pair = diffed(source, target, true);
    let derived = derived_of(&pair);
    let found: Vec<_> = derived.iter().map(|(codec, ..)| *codec).collect();
    assert_eq!(found, codecs, "{options}");
    check(&pair, options);
    let plain = data(seed);
    let [source, target] = plain;
    let without = diffed(source, target, false).patch.len();
    let with = pair.patch.len();
    // The table, parameters, the superblock, which has an id of its own, and digests of windows.
    let table = 400 + 300 * codecs.len() + pair.target.len() / WINDOW;
    assert!(with < without + table, "{options}: {with} bytes, {without} without");
}

#[test]
fn trees_of_every_hash_and_block_size_are_left_out() {
    let offset = 301 * 4096;
    let behind = format!("@data @data --hash-offset={offset} --data-blocks=301");
    let long_salt = "ab".repeat(256);
    let cases = [
        behind.clone(),
        format!("{behind} --hash=sha1"),
        format!("{behind} --hash=sha512"),
        format!("{behind} --hash=sha224 --format=0"),
        format!("{behind} --hash=sha384"),
        format!("{behind} --format=0"),
        format!("{behind} --format=0 --hash=sha1"),
        format!("{behind} --salt=-"),
        format!("{behind} --salt={long_salt}"),
        format!("{behind} --hash-block-size=1024"),
        format!("{behind} --hash-block-size=512 --hash=sha512"),
        "@data @hash".into(),
        "@data @hash --data-block-size=1024 --hash-block-size=1024".into(),
        "@data @hash --data-block-size=512 --hash-block-size=65536".into(),
    ];
    for (seed, options) in cases.iter().enumerate() {
        check_left_out(options, seed as u64, &[Codec::Verity]);
    }
}

#[test]
fn parity_of_every_place_and_of_many_roots_is_left_out() {
    let offset = 301 * 4096;
    let behind = format!("@data @data --hash-offset={offset} --data-blocks=301");
    // The superblock, two levels and a gap.
    let fec_offset = offset + 4096 * (1 + 4 + 3);
    let cases = [
        format!("{behind} --fec-device=@fec --fec-roots=2"),
        format!("{behind} --fec-device=@data --fec-offset={fec_offset} --fec-roots=7"),
        "@data @hash --fec-device=@fec --fec-roots=24".into(),
        "@data @hash --fec-device=@fec --fec-roots=3 --data-block-size=1024 --hash-block-size=1024"
            .into(),
    ];
    for (seed, options) in cases.iter().enumerate() {
        check_left_out(options, seed as u64, &[Codec::Verity, Codec::Fec]);
    }
}

#[test]
fn target_is_made_from_any_window_on() {
    let (source, target) = derived::images(600_000, 1);
    let pair = diffed(source, target, true);
    let codecs: Vec<_> = derived_of(&pair).iter().map(|(codec, ..)| *codec).collect();
    assert_eq!(codecs, [Codec::Verity, Codec::Fec]);
    check(&pair, "all windows");
    for windows in 0..=pair.header.target_windows.len() as u64 {
        for one_thread in [true, false] {
            let options = drive::Options { one_thread, ..drive::Options::default() };
            let made = resumed(&pair, windows, options);
            assert!(made.is_ok(), "window {windows}: {:?}", made.err());
            assert!(made.is_ok_and(|made| made == pair.target), "window {windows}");
        }
    }
}

#[test]
fn power_cuts_end_in_the_target_where_regions_are_derived() {
    let (source, target) = derived::images(WINDOW * 3, 2);
    let pair = diffed(source, target, true);
    assert_eq!(derived_of(&pair).len(), 2);
    let cuts = sweep(&pair, 2);
    println!("{cuts} power cuts survived");
    assert!(cuts > 20, "only {cuts} power cuts happened");
}

/// An image with a GPT: each part from a sector on.
fn partitioned(parts: [(usize, &[u8]); 2]) -> Vec<u8> {
    let mut image = vec![0; 34 * 512];
    image[512..520].copy_from_slice(b"EFI PART");
    let [entries, count, entry_len] = [2, 128, 128_u32].map(u32::to_le_bytes);
    image[512 + 72..512 + 76].copy_from_slice(&entries);
    image[512 + 80..512 + 84].copy_from_slice(&count);
    image[512 + 84..512 + 88].copy_from_slice(&entry_len);
    for (index, (sector, bytes)) in parts.into_iter().enumerate() {
        let entry = 1024 + 128 * index;
        image[entry] = 1;
        let last = sector + bytes.len() / 512 - 1;
        image[entry + 32..entry + 40].copy_from_slice(&(sector as u64).to_le_bytes());
        image[entry + 40..entry + 48].copy_from_slice(&(last as u64).to_le_bytes());
        image.resize(sector * 512, 0);
        image.extend(bytes);
    }
    image
}

#[test]
fn tree_in_a_partition_of_its_own_is_left_out() {
    let images = data(7).map(|data| {
        let [data, hash, _] = format(&data, "@data @hash --salt=77");
        // Blocks of neither partition lie at multiples of their length.
        partitioned([(35, &data), (4005, &hash)])
    });
    let [source, target] = images;
    let pair = diffed(source, target, true);
    let tree = (Codec::Verity, 4005 * 512 + 4096, 4 * 4096);
    assert_eq!(derived_of(&pair), [tree]);
    check(&pair, "partitions");
}

#[test]
fn tree_that_the_source_has_is_copied_and_another_one_is_found_behind_it() {
    let mut random = Random::new(8);
    let mut part = |byte: u8| {
        let mut part = data(9)[0].clone();
        part[5000] = byte;
        derived::seal(&mut part, Hash::Sha256, random.bytes(16), 12);
        part
    };
    let (first, second, changed) = (part(0), part(1), part(2));
    let len = first.len() as u64;
    let pair = diffed([&first[..], &second].concat(), [&first[..], &changed].concat(), true);
    let offsets: Vec<_> = derived_of(&pair).iter().map(|(_, offset, _)| *offset).collect();
    assert_eq!(offsets, [len + 302 * 4096]);
    check(&pair, "two trees");
}

#[test]
fn region_with_a_wrong_byte_is_sent_as_it_is() {
    let (source, target) = derived::images(300_000, 5);
    let right = diffed(source.clone(), target.clone(), true);
    let expected: [&[Codec]; 2] = [&[], &[Codec::Verity]];
    for ((_, offset, len), expected) in derived_of(&right).into_iter().zip(expected) {
        let mut target = target.clone();
        target[usize::try_from(offset + len / 2).expect("it is small")] ^= 1;
        let pair = diffed(source.clone(), target, true);
        let codecs: Vec<_> = derived_of(&pair).iter().map(|(codec, ..)| *codec).collect();
        assert_eq!(codecs, expected);
        check(&pair, "a wrong byte");
    }
}

#[test]
fn table_that_lies_about_regions_is_refused() {
    let (source, target) = derived::images(400_000, 3);
    let pair = diffed(source, target, true);
    let blocks = pair.header.blocks.clone().expect("the patch has blocks");
    assert!(blocks.levels.len() > 1 && !blocks.source.is_empty());
    assert_eq!(with_blocks(&pair, |_| ()).ok().as_ref(), Some(&pair.target));
    let codec = |index: u32| blocks.methods[index as usize].codec();
    let of = |wanted: Codec| blocks.levels[0].iter().find(|block| codec(block.method) == wanted);
    let [tree, parity] = [Codec::Verity, Codec::Fec].map(|codec| *of(codec).expect("it is there"));
    let last = blocks.levels[0].len() - 1;
    let is_format_error = |made: &Result<Vec<u8>, DriveError>| {
        matches!(made, Err(DriveError::Apply(ApplyError::Format(_)) | DriveError::Io { .. }))
    };
    let refused = [
        with_blocks(&pair, |blocks| blocks.levels[0][last - 1].method = parity.method),
        with_blocks(&pair, |blocks| blocks.levels[0][last].method = tree.method),
        with_blocks(&pair, |blocks| blocks.levels[1][0].method = tree.method),
        with_blocks(&pair, |blocks| blocks.source[0].method = tree.method),
        // Another length, so that parity lies elsewhere.
        with_blocks(&pair, |blocks| blocks.levels[0][last - 1].len -= 4096),
    ];
    for (index, made) in refused.iter().enumerate() {
        assert!(is_format_error(made), "case {index}: {:?}", made.as_ref().err());
    }
    // More than a device is asked to compute.
    let small = TargetBlock { len: 1, plain_len: 22, correction_len: 0, ..tree };
    for count in [64, 65] {
        let made = with_blocks(&pair, |blocks| {
            let places = (0..count).map(|at| (2 * at, 23 * at));
            let level =
                places.map(|(offset, view_offset)| TargetBlock { offset, view_offset, ..small });
            blocks.levels[0] = level.collect();
            blocks.levels.truncate(1);
        });
        let error = made.expect_err("the frames make another view").to_string();
        assert_eq!(error.contains("derived_count"), count > 64, "{error}");
    }
}

#[test]
fn region_that_is_derived_otherwise_is_no_window() {
    let (source, target) = derived::images(200_000, 4);
    let pair = diffed(source, target, true);
    let (_, tree, _) = derived_of(&pair)[0];
    let mut target = pair.target.clone();
    target[usize::try_from(tree).expect("it is small") + 20] ^= 1;
    let used = pair.header.source_map.runs.clone();
    let pair = layered::reheaded(Pair { target, ..pair }, &used);
    let made = resumed(&pair, 0, drive::Options::default());
    let expected = matches!(made, Err(DriveError::Apply(ApplyError::WindowDiffers { .. })));
    assert!(expected, "{:?}", made.err());
    assert!(neap_reference::apply(&pair.patch, &pair.source).is_err());
}
