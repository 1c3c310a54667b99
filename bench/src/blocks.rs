//! 4 KiB block reuse, as RAUC's adaptive updates do it: fetch the blocks the source has not.
//!
//! A block of the target whose digest is that of an aligned block of the source is a reference;
//! every other block is stored, and the stored blocks are compressed together. Layout of the patch,
//! little-endian: target size (8), then one 4-byte word per target block (a source block's index or
//! `STORED`), then the stored blocks; all of it one zstd frame.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a block: what RAUC's `block-hash-index` uses.
pub const BLOCK_SIZE: usize = 4096;

/// The word of a block that the patch carries itself.
const STORED: u32 = u32::MAX;

/// Compression of the stored blocks, the level every zstd row uses.
const LEVEL: i32 = 19;

/// Window of the compressor, as a power of two: 128 MiB, as `zstd --long=27`.
const WINDOW_LOG: u32 = 27;

/// Writes a patch of `target` over the aligned blocks of `source`. Memory: about 60 bytes per
/// source block, plus the compressor's window.
///
/// # Errors
/// A file that cannot be read or written, or a source of 2^32 − 1 blocks or more.
pub fn diff(source: &Path, target: &Path, patch: &Path) -> io::Result<()> {
    let mut index_of = HashMap::new();
    let mut index = 0u32;
    each_block(source, |block| {
        index_of.entry(*blake3::hash(block).as_bytes()).or_insert(index);
        index = index.checked_add(1).ok_or_else(|| io::Error::other("source has 2^32 blocks"))?;
        Ok(())
    })?;

    let mut words = Vec::new();
    each_block(target, |block| {
        let word = index_of.get(blake3::hash(block).as_bytes()).copied().unwrap_or(STORED);
        words.push(word);
        Ok(())
    })?;

    let mut coder = zstd::Encoder::new(BufWriter::new(File::create(patch)?), LEVEL)?;
    coder.long_distance_matching(true)?;
    coder.window_log(WINDOW_LOG)?;
    coder.write_all(&fs::metadata(target)?.len().to_le_bytes())?;
    for word in &words {
        coder.write_all(&word.to_le_bytes())?;
    }
    let mut next = words.iter();
    each_block(target, |block| match next.next() {
        Some(&STORED) => coder.write_all(block),
        _ => Ok(()),
    })?;
    coder.finish()?.flush()
}

/// Rebuilds the target that `patch` describes.
///
/// # Errors
/// A file that cannot be read or written, or a patch that does not fit the source.
pub fn apply(source: &Path, patch: &Path, rebuilt: &Path) -> io::Result<()> {
    let source = File::open(source)?;
    let mut coder = zstd::Decoder::new(File::open(patch)?)?;
    coder.window_log_max(WINDOW_LOG)?;
    let mut size = [0; 8];
    coder.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    let block_size = u64::try_from(BLOCK_SIZE).map_err(io::Error::other)?;

    let mut words = Vec::new();
    for _ in 0..size.div_ceil(block_size) {
        let mut word = [0; 4];
        coder.read_exact(&mut word)?;
        words.push(u32::from_le_bytes(word));
    }
    let mut rebuilt = BufWriter::with_capacity(1 << 20, File::create(rebuilt)?);
    let mut left = size;
    let mut block = [0; BLOCK_SIZE];
    for word in words {
        let len = usize::try_from(left.min(block_size)).map_err(io::Error::other)?;
        match word {
            STORED => coder.read_exact(&mut block[..len])?,
            index => source.read_exact_at(&mut block[..len], u64::from(index) * block_size)?,
        }
        rebuilt.write_all(&block[..len])?;
        left -= u64::try_from(len).map_err(io::Error::other)?;
    }
    rebuilt.flush()
}

/// Calls `see` with every block of a file in order; the last one may be short.
fn each_block(path: &Path, mut see: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut block = Vec::with_capacity(BLOCK_SIZE);
    loop {
        block.clear();
        let limit = u64::try_from(BLOCK_SIZE).map_err(io::Error::other)?;
        file.by_ref().take(limit).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(());
        }
        see(&block)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that do not compress, the same on every run.
    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    /// The size of the patch from `source` to `target`, after it has rebuilt the target.
    fn round_trip(name: &str, source: &[u8], target: &[u8]) -> u64 {
        let folder =
            std::env::temp_dir().join(format!("neap-blocks-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be made");
        let path = |file: &str| folder.join(file);
        fs::write(path("source"), source).expect("written");
        fs::write(path("target"), target).expect("written");
        diff(&path("source"), &path("target"), &path("patch")).expect("diff");
        apply(&path("source"), &path("patch"), &path("rebuilt")).expect("apply");
        assert_eq!(fs::read(path("rebuilt")).expect("read"), target);
        let size = fs::metadata(path("patch")).expect("patch").len();
        fs::remove_dir_all(&folder).expect("removed");
        size
    }

    #[test]
    fn every_size_around_a_block_is_rebuilt() {
        for len in [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE + 1] {
            round_trip(&format!("edge{len}"), &noise(1, 3 * BLOCK_SIZE), &noise(1, len));
            round_trip(&format!("from{len}"), &noise(1, len), &noise(1, 3 * BLOCK_SIZE));
        }
    }

    #[test]
    fn a_moved_block_is_not_stored_but_a_shifted_one_is() {
        let source = noise(2, 64 * BLOCK_SIZE);
        let mut moved = source[32 * BLOCK_SIZE..].to_vec();
        moved.extend_from_slice(&source[..32 * BLOCK_SIZE]);
        assert!(round_trip("moved", &source, &moved) < 1024);
        assert!(round_trip("shifted", &source, &source[1..]) > 60 * 4096);
    }
}
