//! What the agreement tests share: both appliers, the diff, and a writer of patches by hand.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::io;

use neap_engine::coder::{self, LiteralEncoder};
use neap_engine::diff;
use neap_engine::digest::{self, Digest};
use neap_engine::error::ApplyError;
use neap_engine::io::drive::{self, Options};
use neap_engine::io::error::DriveError;
use neap_engine::io::memory::{MemoryJournal, MemoryTarget, PatchBytes};
use neap_engine::io::{Source, Target};
use neap_engine::window::Verified;

pub const WINDOW_LEN: usize = 1 << 16;

/// A target that takes memory only for what is written, whatever size the patch claims.
#[derive(Default)]
struct GrowingTarget(MemoryTarget);

impl Target for GrowingTarget {
    fn size(&self) -> u64 {
        u64::MAX
    }

    fn resize(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, window: &Verified) -> io::Result<()> {
        self.0.resize(window.offset() + window.bytes().len() as u64)?;
        self.0.write(window)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read_back(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.bytes.read_at(offset, into)
    }
}

/// The engine's answer.
pub fn fast(patch: &[u8], source: &[u8]) -> Result<Vec<u8>, DriveError> {
    let (source, mut target) = (source.to_vec(), GrowingTarget::default());
    let mut journal = MemoryJournal::default();
    let options = Options { one_thread: true, ..Options::default() };
    let mut patch = PatchBytes::new(patch);
    drive::apply(&mut patch, &source, &mut target, &mut journal, options, &|_| {})
        .map(|_| target.0.bytes)
        .map_err(|stopped| stopped.error)
}

/// The one answer of both appliers.
///
/// # Panics
/// If they differ.
pub fn both(patch: &[u8], source: &[u8]) -> Result<Vec<u8>, String> {
    let (fast, slow) = (fast(patch, source), neap_reference::apply(patch, source));
    match (&fast, &slow) {
        (Ok(fast), Ok(slow)) => assert!(fast == slow, "both accept, and make different targets"),
        (Err(_), Err(_)) => {}
        _ => {
            assert_eq!(fast.err().map(|error| error.to_string()), slow.clone().err(), "fast, slow")
        }
    }
    slow
}

/// The patch that the diff makes.
pub fn patch_of(source: &[u8], target: &[u8], restart_len: u64) -> Vec<u8> {
    let options = diff::Options { restart_len, effort: 5, ..diff::Options::default() };
    let (source, target, mut frames) = (source.to_vec(), target.to_vec(), Vec::new());
    let patch = diff::diff(&source, &target, &options, &mut frames, &|_| {});
    let mut bytes = patch.expect("images in memory can be read").header_bytes;
    bytes.extend(frames);
    bytes
}

/// A patch written by hand. Its source map lists `runs`, in blocks: first and count.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub source: Vec<u8>,
    /// Entries of the layer list.
    pub layers: Vec<Vec<u8>>,
    pub runs: Vec<(u64, u64)>,
    pub frames: Vec<FrameScript>,
    /// Instead of those of the frames: offsets behind the header, and in the target.
    pub restarts: Option<Vec<(u64, u64)>>,
}

#[derive(Debug, Clone, Default)]
pub struct FrameScript {
    pub coder: u8,
    pub is_restart: bool,
    pub segments: Vec<(Vec<u8>, Run)>,
    /// Gap and differences.
    pub islands: Vec<(u64, Vec<u8>)>,
    /// The columns `regions` and `moves`, in patches with the layer `refs`.
    pub refs: Option<[Vec<u8>; 2]>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Run {
    #[default]
    None,
    Zeros(u64),
    /// Offset in the source, and length.
    Copy(u64, u64),
}

/// The fields of a frame body, where a test can put what no writer would.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    pub coder: u8,
    pub target_len: u64,
    pub columns: [Vec<u8>; 8],
    /// Where it is not `columns`, stored.
    pub coded: [Option<Vec<u8>>; 8],
    /// Whether the last two columns are written.
    pub refs: bool,
    pub literals_len: u64,
    pub piece: Vec<u8>,
}

impl Script {
    /// Frames over a source whose every block is in the source map.
    pub fn new(source: Vec<u8>, frames: Vec<FrameScript>) -> Self {
        let count = (source.len() as u64).div_ceil(4096);
        let runs = if count > 0 { vec![(0, count)] } else { Vec::new() };
        Self { source, layers: Vec::new(), runs, frames, restarts: None }
    }

    /// The patch, and digests in it that are right wherever it makes a target at all.
    pub fn patch(&self) -> Vec<u8> {
        self.patch_with(|_, _| {})
    }

    /// The same, with the frames' parts changed first.
    pub fn patch_with(&self, change: impl Fn(usize, &mut Parts)) -> Vec<u8> {
        let (mut frames, mut restarts, mut target_len) = (Vec::new(), Vec::new(), 0);
        let mut encoder = LiteralEncoder::new(1 << 14, 3);
        for (index, frame) in self.frames.iter().enumerate() {
            if frame.is_restart && index > 0 {
                encoder = LiteralEncoder::new(1 << 14, 3);
                restarts.push((frames.len() as u64, target_len));
            }
            let mut parts = frame.parts(target_len, &mut encoder);
            change(index, &mut parts);
            let body = parts.body();
            frames.extend(u32::try_from(body.len()).expect("bodies are short").to_le_bytes());
            frames.extend(Digest::of(&body).short());
            frames.extend(body);
            target_len += parts.target_len;
        }
        let restarts = self.restarts.as_ref().unwrap_or(&restarts);
        let mut patch = self.header(restarts, frames.len() as u64, target_len);
        patch.extend(frames);
        sealed(patch, &self.source)
    }

    /// A header whose target digests are those of zeros.
    fn header(&self, restarts: &[(u64, u64)], frames_len: u64, target_len: u64) -> Vec<u8> {
        let zeros = vec![0; usize::try_from(target_len).expect("targets are short")];
        let (map, table) = (self.map(), target_table(&zeros));
        let layers = self.layers.concat();
        let lens = [layers.len(), 16 * restarts.len(), table.len(), map.len()];
        let header_len = 112 + lens.iter().sum::<usize>() + 32;
        let u32 = |len: usize| u32::try_from(len).expect("headers are short").to_le_bytes();
        let mut header = b"\x89neap\r\n\x1a\x01\x00\x10".to_vec();
        header.push(u8::try_from(self.layers.len()).expect("few layers"));
        header.extend(u32(header_len));
        for size in [header_len as u64 + frames_len, self.source.len() as u64, target_len] {
            header.extend(size.to_le_bytes());
        }
        header.extend(Digest::of(&self.source).0);
        header.extend(Digest::of(&zeros).0);
        header.extend(u32(restarts.len()));
        header.extend(u32(map.len()));
        header.extend(layers);
        for (patch_offset, target_offset) in restarts {
            header.extend((header_len as u64 + patch_offset).to_le_bytes());
            header.extend(target_offset.to_le_bytes());
        }
        header.extend(table);
        header.extend(map);
        header.extend(Digest::of(&header).0);
        header
    }

    fn map(&self) -> Vec<u8> {
        let mut map = Vec::new();
        put(&mut map, self.runs.len() as u64);
        if self.runs.is_empty() {
            return map;
        }
        let (mut raw, mut used, mut block) = (Vec::new(), Vec::new(), 0);
        for (first, count) in &self.runs {
            put(&mut raw, first - block);
            put(&mut raw, *count);
            block = first + count;
            let place = |block: u64| usize::try_from(block * 4096).unwrap_or(usize::MAX);
            let end = place(block).min(self.source.len());
            used.extend(self.source.get(place(*first)..end).unwrap_or_default());
        }
        put(&mut map, raw.len() as u64);
        put(&mut map, raw.len() as u64);
        map.extend(raw);
        used.chunks(WINDOW_LEN).for_each(|group| map.extend(Digest::of(group).short()));
        map
    }
}

impl FrameScript {
    fn parts(&self, target_offset: u64, encoder: &mut LiteralEncoder) -> Parts {
        let mut parts = Parts { coder: self.coder, ..Parts::default() };
        let (mut literals, mut diagonal) = (Vec::new(), 0);
        for (text, run) in &self.segments {
            put(&mut parts.columns[0], text.len() as u64);
            literals.extend(text);
            parts.target_len += text.len() as u64;
            let at = target_offset + parts.target_len;
            let (len, is_zeros) = match *run {
                Run::None => (0, 0),
                Run::Zeros(len) => (len, 1),
                Run::Copy(_, len) => (len, 0),
            };
            put(&mut parts.columns[1], len << 1 | is_zeros);
            if let Run::Copy(offset, 1..) = *run {
                let next = offset.cast_signed() - at.cast_signed();
                neap_engine::varint::put_signed(&mut parts.columns[2], next - diagonal);
                diagonal = next;
            }
            parts.target_len += len;
        }
        for (gap, differences) in &self.islands {
            put(&mut parts.columns[3], *gap);
            put(&mut parts.columns[4], differences.len() as u64 - 1);
            parts.columns[5].extend(differences);
        }
        if let Some([regions, moves]) = &self.refs {
            parts.refs = true;
            parts.columns[6].clone_from(regions);
            parts.columns[7].clone_from(moves);
        }
        parts.literals_len = literals.len() as u64;
        parts.piece = if self.coder == 0 { literals } else { encoder.code(&literals) };
        if self.coder == 1 {
            parts.coded = parts.columns.each_ref().map(|raw| Some(coder::column(raw, 3)));
        }
        parts
    }
}

impl Parts {
    fn body(&self) -> Vec<u8> {
        let mut body = vec![self.coder];
        put(&mut body, self.target_len);
        let coded = |index: usize| self.coded[index].as_ref().unwrap_or(&self.columns[index]);
        let count = if self.refs { 8 } else { 6 };
        for (index, raw) in self.columns[..count].iter().enumerate() {
            put(&mut body, raw.len() as u64);
            put(&mut body, coded(index).len() as u64);
        }
        put(&mut body, self.literals_len);
        put(&mut body, self.piece.len() as u64);
        (0..count).for_each(|index| body.extend(coded(index)));
        body.extend(&self.piece);
        body
    }
}

/// A patch with each digest that stands in it made right, so that a change of any other byte
/// reaches what decodes it: first those of the frames and the header, then, if the frames make
/// anything, those of the target.
pub fn sealed(mut patch: Vec<u8>, source: &[u8]) -> Vec<u8> {
    let Some(header_len) = number::<4>(&patch, 12) else { return patch };
    let mut at = header_len;
    while let Some(body_len) = number::<4>(&patch, at) {
        let Some(body) = patch.get(at + 20..at + 20 + body_len) else { break };
        let digest = Digest::of(body).short();
        patch[at + 4..at + 20].copy_from_slice(&digest);
        at += 20 + body_len;
    }
    seal_header(&mut patch, header_len);
    if let Ok(target) = neap_reference::apply_unverified(&patch, source) {
        let table_at = table_at(&patch).expect("the header was read");
        let log2 = u32::from(patch[10]);
        let table = table(&target, 1 << log2);
        patch[72..104].copy_from_slice(&Digest::of(&target).0);
        patch[table_at..table_at + table.len()].copy_from_slice(&table);
        seal_header(&mut patch, header_len);
    } else {
        seal_by_engine(&mut patch, source, header_len);
    }
    patch
}

/// Makes the target's digests those of what the engine makes of a patch that the other refuses:
/// with wrong ones, the engine too would refuse what it should have refused before.
fn seal_by_engine(patch: &mut [u8], source: &[u8], header_len: usize) {
    let mut next = 0;
    while let Err(DriveError::Apply(ApplyError::WindowDiffers { offset, found, .. })) =
        fast(patch, source)
    {
        assert!(offset >= next, "the window at {offset} was put right before");
        next = offset + 1;
        let table_at = table_at(patch).expect("the header was read");
        let target_size = number::<8>(patch, 32).expect("the header was read");
        let index = usize::try_from(offset).expect("targets are short") >> patch[10];
        let count = target_size.div_ceil(1 << patch[10]);
        let mut table = vec![found; count];
        if count > 1 {
            for (place, digest) in table.iter_mut().enumerate().filter(|(place, _)| *place != index)
            {
                let bytes = patch[table_at + 32 * place..].first_chunk();
                *digest = Digest(*bytes.expect("the table was read"));
            }
            patch[table_at + 32 * index..][..32].copy_from_slice(&found.0);
        }
        patch[72..104].copy_from_slice(&digest::root(&table).0);
        seal_header(patch, header_len);
    }
}

/// Where the target table starts: behind the layers and the restart table.
fn table_at(patch: &[u8]) -> Option<usize> {
    let mut at = 112;
    for _ in 0..*patch.get(11)? {
        at += 4 + number::<2>(patch, at + 2)?;
    }
    Some(at + 16 * number::<4>(patch, 104)?)
}

fn seal_header(patch: &mut [u8], header_len: usize) {
    let Some(header) = patch.get_mut(..header_len) else { return };
    let Some((bytes, digest)) = header.split_last_chunk_mut::<32>() else { return };
    *digest = Digest::of(bytes).0;
}

fn target_table(target: &[u8]) -> Vec<u8> {
    table(target, WINDOW_LEN)
}

fn table(target: &[u8], window_len: usize) -> Vec<u8> {
    if target.len() <= window_len {
        return Vec::new();
    }
    let windows = target.chunks(window_len).enumerate().map(|(index, window)| {
        digest::window(window, (index * window_len) as u64, target.len() as u64).0
    });
    windows.flatten().collect()
}

fn number<const LEN: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes: &[u8; LEN] = bytes.get(at..)?.first_chunk()?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

pub fn put(out: &mut Vec<u8>, value: u64) {
    neap_engine::varint::put(out, value);
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let bytes = (0..len).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    });
    bytes.collect()
}
