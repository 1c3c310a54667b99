//! Images that the real tools make of a small tree, and what is in a view.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use neap_engine::unpack::Block;
use neap_engine::unpack::find::{Found, find};

/// Longest plain block of any test.
const PLAIN_LEN_MAX: usize = 64 << 20;

/// A folder that is gone after the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("neap-find-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary folder can be written");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// Runs a tool in a folder; none, and a printed line, if it is not installed or lacks an option.
pub(crate) fn run(folder: &Path, line: &str) -> Option<()> {
    let mut words = line.split(' ');
    let tool = words.next().expect("a line has a word");
    let status = Command::new(tool).args(words).current_dir(folder).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Some(()),
        Ok(status) => {
            println!("SKIPPED: {line}: {status}");
            None
        }
        Err(error) => {
            println!("SKIPPED: {line}: {error}");
            None
        }
    }
}

/// An image that a tool makes of the tree: the line names them `image` and `tree`. Made once.
pub(crate) fn image_of_tree(line: &'static str) -> Option<Vec<u8>> {
    type Made = Mutex<HashMap<&'static str, Option<Vec<u8>>>>;
    static MADE: LazyLock<Made> = LazyLock::new(Made::default);
    let known = MADE.lock().expect("no test fails in here").get(line).cloned();
    known.unwrap_or_else(|| {
        let image = image_of(&tree(), line);
        MADE.lock().expect("no test fails in here").insert(line, image.clone());
        image
    })
}

/// The same of other files.
pub(crate) fn image_of(tree: &[(String, Vec<u8>)], line: &str) -> Option<Vec<u8>> {
    let folder = Folder::new();
    for (name, content) in tree {
        let path = folder.path("tree").join(name);
        fs::create_dir_all(path.parent().expect("it is in the tree")).expect("it can be made");
        fs::write(path, content).expect("it can be written");
    }
    std::os::unix::fs::symlink("a-file", folder.path("tree/link")).expect("it can be made");
    run(&folder.path(""), line)?;
    Some(fs::read(folder.path("image")).expect("the tool made it"))
}

/// The file that a tool makes of the file `content`.
pub(crate) fn packed(content: &[u8], file: &str, line: &str) -> Option<Vec<u8>> {
    let folder = Folder::new();
    fs::write(folder.path("content"), content).expect("it can be written");
    run(&folder.path(""), line)?;
    Some(fs::read(folder.path(file)).expect("the tool made it"))
}

/// Files of many lengths around those of blocks, some of them alike, one with a hole.
pub(crate) fn tree() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (index, len) in
        [0, 1, 100, 4095, 4096, 4097, 70_000, 131_072, 131_073, 400_000].into_iter().enumerate()
    {
        files.push((format!("text-{index}"), text(len, index as u64)));
        files.push((format!("deep/er/copy-{index}"), text(len, index as u64)));
        files.push((format!("deep/noise-{index}"), noise(len.min(70_000), index as u64)));
    }
    let mut with_hole = text(300_000, 77);
    with_hole[131_072..262_144].fill(0);
    files.push(("hole".into(), with_hole));
    for index in 0..300 {
        files.push((format!("many/small-{index}"), text(index, 1000 + index as u64)));
    }
    files
}

/// Words that compress about as programs do.
pub(crate) fn text(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 32);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state % 3 {
            0 => bytes.extend_from_slice(&state.to_be_bytes()[..3]),
            kind => {
                let words = b"the block of an image is packed and unpacked again as it was ";
                let start = usize::from(state.to_be_bytes()[0]) % 40;
                bytes.extend_from_slice(&words[start..start + 8 * usize::from(kind == 1) + 5]);
            }
        }
    }
    bytes.truncate(len);
    bytes
}

/// Bytes that do not compress.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x1234_5678_9abc_def1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[2]
    };
    (0..len).map(|_| next()).collect()
}

/// What is found, which must be in order, inside the image, and not over each other.
pub(crate) fn found(image: &[u8]) -> Found {
    let found = find(&image.to_vec(), &[]).expect("memory can be read");
    let mut end = 0;
    for block in &found.blocks {
        assert!(block.offset >= end && block.len > 0, "{block:?}");
        end = block.offset + block.len;
    }
    assert!(end <= image.len() as u64);
    let count: u64 = found.containers.iter().map(|container| container.block_count).sum();
    assert_eq!(count, found.blocks.len() as u64);
    found
}

/// The image with its blocks unpacked, each of which must.
pub(crate) fn view(image: &[u8], blocks: &[Block]) -> Vec<u8> {
    view_with(image, blocks, |_| true)
}

/// The same without the zeros that fill up clusters, so that files are in one piece.
pub(crate) fn joined_view(image: &[u8], blocks: &[Block]) -> Vec<u8> {
    view_with(image, blocks, |gap| gap.len() >= 4096 || gap.iter().any(|&byte| byte != 0))
}

fn view_with(image: &[u8], blocks: &[Block], keeps: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut view = Vec::new();
    let mut at = 0;
    for block in blocks {
        let [start, end] = [block.offset, block.offset + block.len]
            .map(|at| usize::try_from(at).expect("it is in memory"));
        let gap = &image[at..start];
        view.extend_from_slice(if keeps(gap) { gap } else { &[] });
        let plain = block.codec.unpack(&image[start..end], PLAIN_LEN_MAX);
        assert!(plain.is_ok(), "{block:?}: {plain:?}");
        view.extend(plain.unwrap_or_default());
        at = end;
    }
    view.extend_from_slice(&image[at..]);
    view
}

/// Whether bytes are somewhere in others.
pub(crate) fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(wanted) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}
