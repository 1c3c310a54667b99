//! Blocks are found in what the real tools make, exactly, and not in what only looks like it.

#[path = "find_blocks/tools.rs"]
mod tools;

use neap_engine::unpack::codec::{Method, Methods, Rebuilt};
use neap_engine::unpack::find::{Container, Found, NotFollowed};
use neap_engine::unpack::{Block, Codec};
use proptest::prelude::*;
use tools::{
    contains, found, image_of, image_of_tree, joined_view, noise, packed, text, tree, view,
};

/// Tools that make a file system of the tree, and what it is called.
const FILE_SYSTEMS: [(&str, &str); 23] = [
    ("squashfs", "mksquashfs tree image -comp gzip -quiet -no-progress"),
    ("squashfs", "mksquashfs tree image -comp gzip -b 4096 -quiet -no-progress"),
    ("squashfs", "mksquashfs tree image -comp gzip -no-fragments -no-exports -quiet -no-progress"),
    (
        "squashfs",
        "mksquashfs tree image -comp gzip -no-xattrs -noappend -nopad -quiet -no-progress",
    ),
    ("squashfs", "mksquashfs tree image -comp gzip -no-duplicates -tailends -quiet -no-progress"),
    ("squashfs", "mksquashfs tree image -comp gzip -noI -noF -noX -quiet -no-progress"),
    ("squashfs", "mksquashfs tree image -comp xz -quiet -no-progress"),
    ("squashfs", "mksquashfs tree image -comp xz -Xbcj x86,arm -b 1M -quiet -no-progress"),
    ("squashfs", "mksquashfs tree image -comp lz4 -quiet -no-progress"),
    ("squashfs", "mksquashfs tree image -comp lz4 -Xhc -quiet -no-progress"),
    ("squashfs", "mksquashfs tree image -comp zstd -quiet -no-progress"),
    ("erofs", "mkfs.erofs --quiet -zlz4 image tree"),
    ("erofs", "mkfs.erofs --quiet -zlz4hc image tree"),
    ("erofs", "mkfs.erofs --quiet -zlz4hc -C65536 image tree"),
    ("erofs", "mkfs.erofs --quiet -zlz4hc -C65536 -Eztailpacking image tree"),
    ("erofs", "mkfs.erofs --quiet -zlz4hc -C16384 -Elegacy-compress image tree"),
    ("erofs", "mkfs.erofs --quiet -zlz4 -C12288 image tree"),
    ("erofs", "mkfs.erofs --quiet -zlz4hc -C65536 -Efragments,dedupe image tree"),
    ("cramfs", "mkfs.cramfs tree image"),
    // These take a mkfs.erofs of 1.8 that was built with the libraries.
    ("erofs", "mkfs.erofs --quiet -zlzma image tree"),
    ("erofs", "mkfs.erofs --quiet -zlzma,level=109,dictsize=8192 -C65536 image tree"),
    ("erofs", "mkfs.erofs --quiet -zdeflate image tree"),
    ("erofs", "mkfs.erofs --quiet -zzstd -C65536 image tree"),
];

/// Tools that make a stream of the file `content`: its name here, that of the file, and the line.
const STREAMS: [(&str, &str, &str); 16] = [
    ("gzip", "content.gz", "gzip content"),
    ("gzip", "content.gz", "gzip -1 -n content"),
    ("xz", "content.xz", "xz content"),
    ("xz", "content.xz", "xz -T2 --block-size=100000 content"),
    ("xz", "content.xz", "xz --check=sha256 --x86 --lzma2=dict=64KiB content"),
    ("xz", "content.xz", "xz --check=none content"),
    ("xz", "content.xz", "xz --check=crc32 -0 content"),
    ("lzma", "content.lzma", "xz --format=lzma content"),
    ("zstd", "content.zst", "zstd -q content"),
    ("zstd", "content.zst", "zstd -q -19 --no-check content"),
    ("zstd", "content.zst", "zstd -q -1 --no-content-size content"),
    ("lz4", "content.lz4", "lz4 -q content content.lz4"),
    ("lz4", "content.lz4", "lz4 -q -9 -B4 -BX --content-size --no-frame-crc content content.lz4"),
    ("lz4-legacy", "content.lz4", "lz4 -q -l -9 content content.lz4"),
    ("bzip2", "content.bz2", "bzip2 content"),
    ("zip", "content.zip", "zip -q -fd content.zip content"),
];

/// Container, its offset and length, and blocks by codec: what a stream is found as.
fn only(found: &Found) -> &Container {
    assert_eq!(found.containers.len(), 1, "{:?}", found.containers);
    &found.containers[0]
}

#[test]
fn all_of_every_file_is_in_the_view_of_a_file_system() {
    for (name, line) in FILE_SYSTEMS {
        let Some(image) = image_of_tree(line) else { continue };
        let found = found(&image);
        assert!(found.containers.iter().any(|container| container.name == name), "{line}");
        // Small files lie in fragments where blocks are large.
        assert!(!found.files.is_empty() || !line.contains("-b 4096"), "{line}");
        assert!(found.files.is_sorted(), "{line}");
        let view = joined_view(&image, &found.blocks);
        for (file, content) in tree() {
            // Tails that lie between inodes are left out.
            let is_inline = line.contains("ztailpacking");
            let wanted = if !is_inline { content.len() } else { content.len() / 200_000 * 100_000 };
            // Ends of files lie apart, and holes nowhere.
            for piece in content[..wanted].chunks(4096) {
                let is_hole = piece.iter().all(|&byte| byte == 0);
                let is_there = is_hole || contains(&view, piece);
                assert!(is_there, "{line}: {file} of {}", content.len());
            }
        }
    }
}

/// Of a file that is stored as it is, erofs keeps the last bytes in its metadata.
#[test]
fn streams_in_erofs_are_seen_up_to_where_their_ends_lie_elsewhere() {
    for (name, file, line) in STREAMS {
        let mut tree: Vec<(String, Vec<u8>)> = Vec::new();
        for index in 0..6 {
            let content = text(500_000 + 777 * index, index as u64);
            let Some(packed) = packed(&content, file, line) else { continue };
            tree.push((format!("{index}"), packed));
        }
        for options in ["", "-zlz4hc "] {
            let line = format!("mkfs.erofs --quiet {options}image tree");
            let Some(image) = image_of(&tree, &line) else { continue };
            let found = found(&image);
            let in_files = found.containers.iter().filter(|found| found.name == name);
            // Blocks of lz4 and streams of bzip2 are seen whole or not at all.
            let is_left_out = name.starts_with("lz4") || name == "bzip2";
            // Entries of zip that follow each other are one container, also across files.
            let is_each = name == "zip" || in_files.count() == tree.len();
            assert!(is_left_out || is_each, "{name} {line}");
            let plain_len: usize = view(&image, &found.blocks).len();
            let share = plain_len as f64 / 3_000_000.0;
            println!("{name}: {share:.2} of the plain bytes are seen: {line}");
            assert!(is_left_out || share > if name == "zstd" { 0.7 } else { 0.9 }, "{name} {line}");
        }
    }
}

#[test]
fn packed_bytes_of_a_file_system_are_in_blocks() {
    for (name, line) in FILE_SYSTEMS {
        let Some(image) = image_of_tree(line) else { continue };
        let found = found(&image);
        // What is left of text outside of blocks is what is stored.
        let covered: u64 = found.blocks.iter().map(|block| block.len).sum();
        let share = covered as f64 / image.len() as f64;
        println!("{name}: {share:.3} of the image: {line}");
        let plain = view(&image, &found.blocks).len();
        assert!(plain > image.len() + image.len() / 2, "{line}: {plain} of {}", image.len());
    }
}

#[test]
fn file_system_is_found_at_any_place_of_a_disk() {
    for (_, line) in FILE_SYSTEMS {
        let Some(image) = image_of_tree(line) else { continue };
        let alone = found(&image);
        for before in [1, 512, 4097] {
            let disk = [noise(before, 3), image.clone(), noise(5000, 4)].concat();
            let moved = found(&disk);
            assert_eq!(moved.blocks.len(), alone.blocks.len(), "{line}");
            for (moved, block) in moved.blocks.iter().zip(&alone.blocks) {
                assert_eq!(moved.offset, block.offset + before as u64, "{line}");
                assert_eq!((moved.len, moved.codec), (block.len, block.codec), "{line}");
            }
        }
    }
}

#[test]
fn inodes_of_ext4_are_found_with_checksums_that_follow() {
    for line in [
        "mkfs.ext4 -q -F -d tree image 16M",
        "mkfs.ext4 -q -F -b 1024 -I 128 -d tree image 16M",
        "mkfs.ext4 -q -F -O ^flex_bg,metadata_csum_seed -b 1024 -g 2048 -d tree image 16M",
        "mkfs.ext4 -q -F -O ^64bit -I 1024 -d tree image 16M",
    ] {
        let Some(image) = image_of_tree(line) else { continue };
        let image = [noise(1536, 9), image].concat();
        let found = found(&image);
        let container = found.containers.iter().find(|found| found.name == "ext4");
        assert_eq!(
            container.map(|found| (found.offset, found.len)),
            Some((1536, 16 << 20)),
            "{line}"
        );
        let inodes = |block: &&Block| matches!(block.codec, Codec::Ext4Inodes(_));
        let mut changed = 0;
        for block in found.blocks.iter().filter(inodes) {
            let [start, end] = [block.offset, block.offset + block.len]
                .map(|at| usize::try_from(at).expect("it is in memory"));
            let packed = &image[start..end];
            let plain = block.codec.unpack(packed, packed.len()).expect("it is whole inodes");
            let pairs = packed.iter().zip(&plain);
            changed += pairs.filter(|(packed, plain)| packed != plain).count();
            let rebuilt = Methods::default().find(block.codec, packed, &plain);
            assert!(rebuilt.is_some(), "{line}: {block:?}");
            let Some(Rebuilt { method, correction, .. }) = rebuilt else { return };
            assert!(
                correction.is_empty() && Method::decode(&method.encode()) == Ok(method),
                "{line}"
            );
        }
        // Of 320 files, two bytes or four each.
        assert!(changed > 600, "{line}: {changed} bytes");
    }
    let line = "mkfs.ext4 -q -F -O ^metadata_csum -d tree image 16M";
    let Some(image) = image_of_tree(line) else { return };
    assert!(found(&image).containers.iter().all(|found| found.name != "ext4"));
}

#[test]
fn stream_ends_where_its_file_ends_whatever_follows() {
    for content in [text(1, 1), text(3000, 2), text(700_001, 3), vec![0; 1 << 20]] {
        for (name, file, line) in STREAMS {
            let Some(packed) = packed(&content, file, line) else { continue };
            for before in [0, 7, 4096] {
                for after in [0, 1, 9, 300_000] {
                    // Bytes that look like nothing.
                    let image = [vec![0xee; before], packed.clone(), vec![0xee; after]].concat();
                    let found = found(&image);
                    if content.len() == 1 && found.blocks.is_empty() {
                        continue; // It is stored.
                    }
                    let container = only(&found);
                    assert_eq!((container.name, container.offset), (name, before as u64), "{line}");
                    // The directory of an archive is not part of its entries.
                    if name != "zip" {
                        assert_eq!(container.len, packed.len() as u64, "{line} {after}");
                    }
                    if after == 0 {
                        // Sizes of blocks stay between them.
                        let view = view(&image, &found.blocks);
                        let mut pieces = content.chunks(4096);
                        assert!(pieces.all(|piece| contains(&view, piece)), "{line}");
                    }
                }
            }
        }
    }
}

#[test]
fn kernel_payload_ends_before_the_size_behind_it() {
    // A kernel is packed as one stream, and its plain length comes right behind.
    let streams = || STREAMS.into_iter().filter(|(name, ..)| *name != "zip");
    for (name, file, line) in streams() {
        let is_first = streams().find(|(first, ..)| *first == name).is_some_and(|s| s.2 == line);
        // A long one takes most tools seconds: one of each kind.
        let lens = [3000, 700_001, (8 << 20) + 5].into_iter().take(if is_first { 3 } else { 2 });
        for len in lens {
            let content = text(len, 5);
            let Some(packed) = packed(&content, file, line) else { continue };
            let size = u32::try_from(len).expect("it is small").to_le_bytes();
            let image = [b"head".to_vec(), packed.clone(), size.to_vec(), noise(9000, 6)].concat();
            let found = found(&image);
            let container = only(&found);
            assert_eq!(
                (container.name, container.len),
                (name, packed.len() as u64),
                "{line} {len}"
            );
        }
    }
}

#[test]
fn neighbour_of_what_is_found_is_refused() {
    // A byte counted from the start, or from the end if below zero, and the bits that are flipped.
    let file_systems = [
        (0, 28, 1),       // squashfs: version 5.0
        (0, 22, 1),       // block size and its logarithm differ
        (0, 20, 8),       // no such codec
        (0, 72, 0xff),    // directories are not behind the inodes, or not where they should be
        (11, 1107, 0x80), // erofs: a feature nobody knows
        (11, 1036, 0x80), // no such block size
        (18, 9, 8),       // cramfs: pointers with flags
        (18, 16, 1),      // signature
    ];
    for (which, at, flip) in file_systems {
        let (name, line) = FILE_SYSTEMS[which];
        if let Some(image) = image_of_tree(line) {
            refuse(image, at, flip, name);
        }
    }
    let streams = [
        (0, -1, 1),    // gzip: plain length
        (0, 3, 0x80),  // reserved flag
        (0, 8, 1),     // no such speed
        (2, -1, 1),    // xz: footer
        (2, -5, 1),    // size of the index
        (2, 7, 2),     // no such check
        (2, 12, 1),    // header of the block
        (8, 4, 8),     // zstd: reserved bit
        (8, 4, 1),     // a dictionary
        (11, 4, 0x20), // lz4: blocks that are linked
        (11, 6, 1),    // check of the header
        (14, 4, 1),    // bzip2: mark of a block
        (7, 13, 1),    // lzma: first byte of the range coder
        (7, 3, 1),     // size of the dictionary
    ];
    for (which, at, flip) in streams {
        let (name, file, line) = STREAMS[which];
        if let Some(packed) = packed(&text(9000, 4), file, line) {
            refuse(packed, at, flip, name);
        }
    }
}

/// Fails if what was made is not found, or is still found with some bits flipped.
fn refuse(mut image: Vec<u8>, at: isize, flip: u8, name: &str) {
    let is_found = |image: &[u8]| found(image).containers.iter().any(|found| found.name == name);
    assert!(is_found(&image), "{name}");
    let at = at.rem_euclid(image.len().cast_signed()).cast_unsigned();
    image[at] ^= flip;
    assert!(!is_found(&image), "{name} with {flip:#x} at {at}");
}

/// What no parser follows was as if it were not there: nobody was told why a patch is large.
#[test]
fn what_is_not_followed_is_told() {
    let content = text(300_000, 5);
    let png = |lens: &[usize]| {
        let mut image = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |kind: &[u8], content: &[u8]| {
            let len = u32::try_from(content.len()).expect("it is small");
            image.extend([&len.to_be_bytes(), kind, content, &[0; 4]].concat());
        };
        chunk(b"IHDR", &[0; 13]);
        lens.iter().for_each(|len| chunk(b"IDAT", &content[..*len]));
        chunk(b"IEND", &[]);
        image
    };
    let cases = [
        (NotFollowed::Lzo, image_of_tree("mksquashfs tree image -comp lzo -quiet -no-progress")),
        (
            NotFollowed::Linked,
            packed(&content, "content.lz4", "lz4 -q -BD -B4 content content.lz4"),
        ),
        (NotFollowed::Chunks, Some(png(&[8192, 8192, 5]))),
        (NotFollowed::Chunks, Some(png(&[1, 1]))),
    ];
    for (why, image) in cases {
        let Some(image) = image else { continue };
        let found = found(&[noise(4096, 8), image.clone(), noise(70, 9)].concat());
        let told = found.containers.iter().filter(|found| found.not_followed.is_some());
        let told: Vec<_> = told.map(|found| (found.offset, found.not_followed)).collect();
        assert_eq!(told, [(4096, Some(why))]);
        let told = found.containers.iter().find(|found| found.not_followed.is_some());
        let rest = told.map(|found| (image.len() as u64).checked_sub(found.len));
        assert!(matches!(rest, Some(Some(..4096))), "{why:?}: {rest:?}");
    }
    let followed = found(&png(&[8192]));
    assert!(followed.containers.iter().all(|found| found.not_followed.is_none()));
}

#[test]
fn streams_behind_each_other_are_all_found() {
    let mut image = Vec::new();
    let mut count = 0;
    for round in 0..3 {
        for (_, file, line) in STREAMS {
            let Some(packed) = packed(&text(20_000, round), file, line) else { continue };
            image.extend_from_slice(&packed);
            count += 1;
        }
    }
    assert_eq!(found(&image).containers.len(), count);
}

#[test]
fn what_is_found_is_the_same_on_any_number_of_threads() {
    let Some(mut image) = image_of_tree(FILE_SYSTEMS[0].1) else { return };
    for (_, file, line) in STREAMS {
        if let Some(packed) = packed(&text(20_000, 1), file, line) {
            image.extend_from_slice(&packed);
        }
    }
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads can be started").install(|| found(&image))
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn image_full_of_first_bytes_is_looked_through() {
    // Each of these headers is one of gzip, and behind it a stored block that goes over the next
    // 65535 bytes.
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0, 0xff, 0xff, 0, 0];
    let magics: [&[u8]; 8] = [
        &gzip,
        b"hsqs",
        b"PK\x03\x04",
        b"BZh91AY&SY",
        &[0x5d, 0, 0, 0x80, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 1, 2],
        &[2, 0x21, 0x4c, 0x18, 9, 0, 0, 0],
        &[0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 1, 0, 0],
        &[0xe2, 0xe1, 0xf5, 0xe0],
    ];
    for magic in magics {
        let image = magic.repeat((2 << 20) / magic.len());
        found(&image);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Some bytes of a real image are others: blocks may be missing or wrong, but never outside or
    /// over each other.
    #[test]
    fn mutated_image_gives_sorted_blocks_or_none(
        changes in prop::collection::vec((any::<u32>(), any::<u8>()), 1..20),
        is_head in any::<bool>(),
    ) {
        for image in small_images() {
            let mut image = image.clone();
            for (at, byte) in &changes {
                let range = if is_head { image.len().min(1200) } else { image.len() };
                let at = usize::try_from(*at).expect("it is 32 bits") % range;
                image[at] = *byte;
            }
            found(&image);
        }
    }

    /// The same of an image that is cut.
    #[test]
    fn cut_image_gives_sorted_blocks_or_none(at in any::<u32>()) {
        for image in small_images() {
            let at = usize::try_from(at).expect("it is 32 bits") % image.len();
            found(&image[..at]);
        }
    }
}

/// Every file system and stream there is a tool for, made once.
fn small_images() -> &'static [Vec<u8>] {
    static IMAGES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    IMAGES.get_or_init(|| {
        let file_systems = FILE_SYSTEMS.iter().filter_map(|(_, line)| image_of_tree(line));
        let content = text(30_000, 9);
        let streams = STREAMS.iter().filter_map(|(_, file, line)| packed(&content, file, line));
        file_systems.chain(streams).collect()
    })
}
