//! An erofs whose files are stored as they are, the end of each behind its inode: streams in them
//! are cut.

use std::io::Write;

use crate::packed::text;
use crate::random::Random;

const BLOCK_LEN: usize = 4096;

/// Where the superblock is, and where inodes are counted from.
const SUPERBLOCK_AT: usize = 1024;
const INODES_AT: usize = BLOCK_LEN;

/// Length of an inode, and the unit of their numbers, in bytes.
const INODE_LEN: usize = 32;

/// Kinds of entries of a directory.
const FILE: u8 = 1;
const DIRECTORY: u8 = 2;

/// Source and target: the same texts with changes, packed by several tools, in files whose last
/// bytes lie elsewhere.
#[must_use]
pub fn images(count: usize, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::new(seed);
    let (mut source, mut target) = (Vec::new(), Vec::new());
    for index in 0..count {
        let mut plain: Vec<u8> = (0..4 * (1 + index % 4)).flat_map(|_| text(&mut random)).collect();
        source.push(pack(&plain, index));
        for _ in 0..1 + random.index(3) {
            let at = random.index(plain.len());
            let inserted = random.bytes(7);
            plain.splice(at..at, inserted);
        }
        target.push(pack(&plain, index));
    }
    (image(&source), image(&target))
}

/// The bytes packed by one of several tools.
fn pack(plain: &[u8], tool: usize) -> Vec<u8> {
    let done = "memory can be written";
    match tool % 4 {
        0 => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(plain).expect(done);
            encoder.finish().expect(done)
        }
        1 => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(plain).expect(done);
            encoder.finish().expect(done)
        }
        2 => {
            let options = liblzma::stream::LzmaOptions::new_preset(0).expect("it is a preset");
            let stream = liblzma::stream::Stream::new_lzma_encoder(&options).expect("memory");
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(plain).expect(done);
            let mut packed = encoder.finish().expect(done);
            packed[5..13].copy_from_slice(&(plain.len() as u64).to_le_bytes());
            packed
        }
        _ => {
            let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
            zstd_safe::compress(&mut packed, plain, 3).expect("there is room");
            packed
        }
    }
}

/// The file system with these files.
///
/// # Panics
/// If they are so many that their names do not fit behind the inode of the root.
#[must_use]
pub fn image(files: &[Vec<u8>]) -> Vec<u8> {
    let root_len = (files.len() + 2) * 12 + 3 + files.len() * 5;
    assert!(root_len < BLOCK_LEN - INODE_LEN, "a small tree");
    let mut inodes_len = (INODE_LEN + root_len).next_multiple_of(INODE_LEN);
    let mut numbers = Vec::new();
    for file in files {
        numbers.push(inodes_len / INODE_LEN);
        let len = INODE_LEN + file.len() % BLOCK_LEN;
        inodes_len = (inodes_len + len).next_multiple_of(INODE_LEN);
    }
    let mut image = vec![0; (INODES_AT + inodes_len).next_multiple_of(BLOCK_LEN)];
    put_inode(&mut image, 0, 0o040_755, root_len, 0);
    let root = root(&numbers);
    image[INODES_AT + INODE_LEN..][..root_len].copy_from_slice(&root);
    for (file, number) in files.iter().zip(numbers) {
        let block = image.len() / BLOCK_LEN;
        put_inode(&mut image, number, 0o100_644, file.len(), block);
        let (data, end) = file.split_at(file.len() / BLOCK_LEN * BLOCK_LEN);
        let at = INODES_AT + (number + 1) * INODE_LEN;
        image[at..at + end.len()].copy_from_slice(end);
        image.extend(data);
    }
    let superblock = &mut image[SUPERBLOCK_AT..];
    superblock[..4].copy_from_slice(&[0xe2, 0xe1, 0xf5, 0xe0]);
    superblock[12] = 12;
    let blocks = u32::try_from(image.len() / BLOCK_LEN).expect("a small tree");
    image[SUPERBLOCK_AT + 36..][..4].copy_from_slice(&blocks.to_le_bytes());
    image[SUPERBLOCK_AT + 40] = 1;
    image
}

fn put_inode(image: &mut [u8], number: usize, mode: u16, len: usize, block: usize) {
    let inode = &mut image[INODES_AT + number * INODE_LEN..][..INODE_LEN];
    // Short, with its end behind it.
    inode[0] = 2 << 1;
    inode[4..6].copy_from_slice(&mode.to_le_bytes());
    inode[6] = 1;
    inode[8..12].copy_from_slice(&u32::try_from(len).expect("a small file").to_le_bytes());
    inode[16..20].copy_from_slice(&u32::try_from(block).expect("a small tree").to_le_bytes());
}

/// The entries of the root, in the order of their names, and then the names.
fn root(numbers: &[usize]) -> Vec<u8> {
    let own = [(0, ".".to_owned(), DIRECTORY), (0, "..".to_owned(), DIRECTORY)];
    let files = numbers.iter().enumerate();
    let files = files.map(|(index, number)| (*number, format!("f{index:04}"), FILE));
    let entries: Vec<_> = own.into_iter().chain(files).collect();
    let (mut root, mut names) = (Vec::new(), Vec::new());
    for (number, name, kind) in &entries {
        root.extend((*number as u64).to_le_bytes());
        let name_at = entries.len() * 12 + names.len();
        root.extend(u16::try_from(name_at).expect("a small tree").to_le_bytes());
        root.extend([*kind, 0]);
        names.extend(name.bytes());
    }
    [root, names].concat()
}
