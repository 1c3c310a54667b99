//! The patch header: what the patch turns into what, and the tables that let a reader check both
//! before the first write.

use super::layers::{Estimates, Layers};
use super::source_map::{SourceMap, SourceRange};
use super::unpack::Blocks;
use super::{bounded, split, split_array};
use crate::digest::{self, Digest};
use crate::error::FormatError;
use crate::limits::{
    HEADER_LEN_MAX, IMAGE_SIZE_MAX, LAYERS_MAX, RESTARTS_MAX, VIEW_WINDOW_LOG2_MAX,
    WINDOW_LOG2_MAX, WINDOW_LOG2_MIN,
};

/// The first eight bytes of every patch. The high bit and the line ends show a transfer that was
/// not 8-bit clean, as PNG does (RFC 2083, section 12.11).
pub const MAGIC: [u8; 8] = *b"\x89neap\r\n\x1a";

/// The one version this program writes and reads.
pub const VERSION: u16 = 1;

/// Everything in front of the frames. A value that exists has passed every check below.
///
/// All integers are little-endian (format 2).
///
/// | at | size | field          | bound                                |
/// |----|------|----------------|--------------------------------------|
/// |  0 |    8 | `magic`        | `89 6e 65 61 70 0d 0a 1a`            |
/// |  8 |    2 | `version`      | 1                                    |
/// | 10 |    1 | `window_log2`  | 16 ..= 21                            |
/// | 11 |    1 | `layer_count`  | 0 ..= 16                             |
/// | 12 |    4 | `header_len`   | 145 ..= 6 MiB                        |
/// | 16 |    8 | `patch_size`   | `header_len` ..                      |
/// | 24 |    8 | `source_size`  | 0 ..= 128 GiB                        |
/// | 32 |    8 | `target_size`  | 0 ..= 128 GiB                        |
/// | 40 |   32 | `source_root`  |                                      |
/// | 72 |   32 | `target_root`  |                                      |
/// | 104 |   4 | `restart_count` | 0 ..= 65536                         |
/// | 108 |   4 | `source_map_len` | 0 ..= `header_len`                 |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Window size, as log2 of bytes.
    pub window_log2: u8,
    /// Size of the whole patch, in bytes.
    pub patch_size: u64,
    /// Size of the source image, in bytes.
    pub source_size: u64,
    /// Size of the target image, in bytes.
    pub target_size: u64,
    /// BLAKE3 root of the whole source image.
    pub source_root: Digest,
    /// BLAKE3 root of the target image.
    pub target_root: Digest,
    /// Whether addresses in the source are rewritten before they are copied; frames then carry two
    /// more columns.
    pub refs: bool,
    /// What of both images is seen as what it was packed from; frames then make the target's view
    /// from the source's.
    pub blocks: Option<Blocks>,
    /// What other ways of sending the target would have cost, where the patch has this note.
    pub estimates: Option<Estimates>,
    /// Where decoding can start afresh, in order; the first frame is one without being listed.
    pub restarts: Vec<Restart>,
    /// One digest a window of the target; they hash to `target_root`.
    pub target_windows: Vec<Digest>,
    /// Which blocks of the source the frames copy from, and what they hash to.
    pub source_map: SourceMap,
    /// Length of the header as coded, in bytes: where the first frame starts.
    pub header_len: u64,
    /// Digest of the header: the name a journal knows the patch by.
    pub id: Digest,
}

/// A frame whose literal stream starts afresh, so that decoding can begin there.
///
/// | at | size | field           | bound                                   |
/// |----|------|-----------------|-----------------------------------------|
/// |  0 |    8 | `patch_offset`  | above the one before, below `patch_size` |
/// |  8 |    8 | `target_offset` | above the one before, below `target_size` |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Where the frame starts in the patch, in bytes.
    pub patch_offset: u64,
    /// Where its bytes start in the target.
    pub target_offset: u64,
}

impl Header {
    /// Length of the fixed part, in bytes.
    pub const FIXED_LEN: usize = 112;
    /// Length of the shortest header, in bytes: the fixed part, an empty source map, the digest.
    pub const LEN_MIN: usize = Self::FIXED_LEN + 1 + Digest::LEN;

    /// Reads how long the header is from its fixed part, so that a caller knows how much to read.
    ///
    /// # Errors
    /// If these are not the first bytes of a patch of a known version, or the length is out of
    /// bounds.
    pub fn header_len(fixed: &[u8; Self::FIXED_LEN]) -> Result<usize, FormatError> {
        if fixed[..8] != MAGIC {
            return Err(FormatError::NotAPatch);
        }
        let mut rest = &fixed[8..];
        let version = u16::from_le_bytes(split_array(&mut rest, "header")?);
        if version != VERSION {
            return Err(FormatError::UnknownVersion(version));
        }
        rest = &rest[2..];
        let len = u32::from_le_bytes(split_array(&mut rest, "header")?);
        let len = bounded("header_len", len.into(), Self::LEN_MIN as u64, HEADER_LEN_MAX as u64)?;
        usize::try_from(len).map_err(|_| FormatError::Truncated("header"))
    }

    /// Reads a header of exactly `bytes`.
    ///
    /// # Errors
    /// If any field is out of bounds, a layer is unknown, or the tables do not hash to the roots.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let fixed = bytes.first_chunk().ok_or(FormatError::Truncated("header"))?;
        let header_len = Self::header_len(fixed)?;
        if bytes.len() < header_len {
            return Err(FormatError::Truncated("header"));
        }
        if bytes.len() > header_len {
            return Err(FormatError::TrailingBytes("header"));
        }
        let (body, id) = bytes.split_at(header_len - Digest::LEN);
        if Digest::of(body).0 != id {
            return Err(FormatError::HeaderDamaged);
        }
        Self::decode_fields(&mut &body[10..], header_len as u64, Digest::of(body))
    }

    fn decode_fields(rest: &mut &[u8], header_len: u64, id: Digest) -> Result<Self, FormatError> {
        let [window_log2, layer_count] = split_array(rest, "header")?;
        let min_max = (WINDOW_LOG2_MIN.into(), WINDOW_LOG2_MAX.into());
        bounded("window_log2", window_log2.into(), min_max.0, min_max.1)?;
        bounded("layer_count", layer_count.into(), 0, LAYERS_MAX as u64)?;
        split(rest, 4, "header")?;
        let mut u64_field = |field, min, max| {
            bounded(field, u64::from_le_bytes(split_array(rest, "header")?), min, max)
        };
        let patch_size = u64_field("patch_size", header_len, u64::MAX)?;
        let source_size = u64_field("source_size", 0, IMAGE_SIZE_MAX)?;
        let target_size = u64_field("target_size", 0, IMAGE_SIZE_MAX)?;
        let source_root = Digest(split_array(rest, "header")?);
        let target_root = Digest(split_array(rest, "header")?);
        let restart_count = u32::from_le_bytes(split_array(rest, "header")?);
        bounded("restart_count", restart_count.into(), 0, RESTARTS_MAX as u64)?;
        let source_map_len = u32::from_le_bytes(split_array(rest, "header")?);
        let Layers { refs, blocks_len, estimates } = Layers::decode(rest, layer_count)?;
        // What the view comes to is known once the table of blocks is read.
        let restart_end = if blocks_len.is_some() { IMAGE_SIZE_MAX } else { target_size };
        let mut restarts = Vec::new();
        let mut before = Restart { patch_offset: header_len, target_offset: 0 };
        for _ in 0..restart_count {
            before = Restart::decode(rest, before, patch_size, restart_end)?;
            restarts.push(before);
        }
        let target_windows = windows(rest, target_size, window_log2, target_root)?;
        let source_map_len = usize::try_from(source_map_len).unwrap_or(usize::MAX);
        let coded = split(rest, source_map_len, "source map")?;
        let source_map = SourceMap::decode(coded, source_size, 1 << window_log2)?;
        let blocks = match blocks_len {
            Some(len) => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                let coded = split(rest, len, "blocks")?;
                Some(Blocks::decode(coded, source_size, target_size)?)
            }
            None => None,
        };
        if !rest.is_empty() {
            return Err(FormatError::TrailingBytes("source map"));
        }
        let header = Self {
            window_log2,
            patch_size,
            source_size,
            target_size,
            source_root,
            target_root,
            refs,
            blocks,
            estimates,
            restarts,
            target_windows,
            source_map,
            header_len,
            id,
        };
        header.check_blocks()?;
        Ok(header)
    }

    /// Blocks of the source lie in its map, and restart points in the target's view.
    fn check_blocks(&self) -> Result<(), FormatError> {
        let Some(blocks) = &self.blocks else { return Ok(()) };
        // Those in other blocks were checked with these.
        for block in blocks.source.iter().filter(|block| block.offset < self.source_size) {
            self.source_map.check(block.offset, block.len)?;
        }
        let view_size = blocks.target_view_size(self.target_size);
        match self.restarts.last() {
            Some(last) => {
                bounded("target_offset", last.target_offset, 1, view_size.saturating_sub(1))
                    .map(drop)
            }
            None => Ok(()),
        }
    }

    /// The bytes of this header, with `header_len`, the restarts' patch offsets and `patch_size`
    /// counted from the frames' lengths: `frames_len` bytes follow, and the offsets given in
    /// `restarts` count from the first frame.
    pub fn encode(mut self, frames_len: u64) -> (Vec<u8>, Self) {
        let map = self.source_map.encode();
        let blocks = self.blocks.as_ref().map(|blocks| blocks.encode(self.source_size));
        let blocks_len = blocks.as_ref().map(|blocks| blocks.len() as u64);
        let layers = Layers { refs: self.refs, blocks_len, estimates: self.estimates };
        let (layer_count, layers) = layers.encode();
        let blocks = blocks.unwrap_or_default();
        let table_len =
            if self.target_windows.len() > 1 { self.target_windows.len() * 32 } else { 0 };
        let restarts_len = self.restarts.len() * 16;
        let tables_len = restarts_len + table_len + map.len() + blocks.len();
        let len = Self::FIXED_LEN + layers.len() + tables_len + Digest::LEN;
        self.header_len = len as u64;
        self.patch_size = self.header_len + frames_len;
        let mut out = Vec::with_capacity(len);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([self.window_log2, layer_count]);
        out.extend(u32_len(len));
        for size in [self.patch_size, self.source_size, self.target_size] {
            out.extend(size.to_le_bytes());
        }
        out.extend(self.source_root.0);
        out.extend(self.target_root.0);
        out.extend(u32_len(self.restarts.len()));
        out.extend(u32_len(map.len()));
        out.extend(layers);
        for restart in &mut self.restarts {
            restart.patch_offset += self.header_len;
            out.extend(restart.patch_offset.to_le_bytes());
            out.extend(restart.target_offset.to_le_bytes());
        }
        if table_len > 0 {
            self.target_windows.iter().for_each(|digest| out.extend(digest.0));
        }
        out.extend(map);
        out.extend(blocks);
        self.id = Digest::of(&out);
        out.extend(self.id.0);
        (out, self)
    }

    /// Window size, in bytes.
    #[must_use]
    pub fn window_len(&self) -> u64 {
        1 << self.window_log2
    }

    /// The header as the frames see it: of the views, where blocks are unpacked. No window of a
    /// view has a digest, so they need not be as long as those of the target.
    #[must_use]
    pub fn of_view(&self) -> Self {
        let Some(blocks) = &self.blocks else { return self.clone() };
        let mut view = Self { blocks: None, target_windows: Vec::new(), ..self.clone() };
        view.source_size = blocks.source_view_size(self.source_size);
        view.target_size = blocks.target_view_size(self.target_size);
        view.window_log2 = self.window_log2.min(VIEW_WINDOW_LOG2_MAX);
        // What is unpacked was checked as it is packed.
        let offset = self.source_size;
        let len = view.source_size - offset;
        match view.source_map.runs.last_mut() {
            Some(last) if last.end() == offset => last.len += len,
            _ if len > 0 => view.source_map.runs.push(SourceRange { offset, len }),
            _ => {}
        }
        view
    }

    /// Whether the frame at these offsets is a restart point, where `met` of them came before it.
    ///
    /// # Errors
    /// If a restart point stands at only one of the two offsets, or was passed over.
    pub fn is_restart(
        &self,
        met: usize,
        patch_offset: u64,
        target_offset: u64,
    ) -> Result<bool, FormatError> {
        let Some(next) = self.restarts.get(met) else { return Ok(false) };
        let here = next.patch_offset == patch_offset && next.target_offset == target_offset;
        let ahead = next.patch_offset > patch_offset && next.target_offset > target_offset;
        if here || ahead {
            return Ok(here);
        }
        Err(FormatError::RestartMisplaced { patch_offset: next.patch_offset })
    }

    /// The last restart point at or before byte `target_offset` of the target.
    #[must_use]
    pub fn restart_before(&self, target_offset: u64) -> Restart {
        let after = self.restarts.partition_point(|r| r.target_offset <= target_offset);
        match after.checked_sub(1) {
            Some(index) => self.restarts[index],
            None => Restart { patch_offset: self.header_len, target_offset: 0 },
        }
    }
}

impl Restart {
    fn decode(
        rest: &mut &[u8],
        before: Self,
        patch_size: u64,
        target_size: u64,
    ) -> Result<Self, FormatError> {
        let patch_offset = u64::from_le_bytes(split_array(rest, "restart table")?);
        let target_offset = u64::from_le_bytes(split_array(rest, "restart table")?);
        bounded(
            "patch_offset",
            patch_offset,
            before.patch_offset + 1,
            patch_size.saturating_sub(1),
        )?;
        bounded(
            "target_offset",
            target_offset,
            before.target_offset + 1,
            target_size.saturating_sub(1),
        )?;
        Ok(Self { patch_offset, target_offset })
    }
}

/// Takes the target table, which must hash to the target's root.
fn windows(
    rest: &mut &[u8],
    target_size: u64,
    window_log2: u8,
    target_root: Digest,
) -> Result<Vec<Digest>, FormatError> {
    let window_count = match target_size.div_ceil(1 << window_log2) {
        0 | 1 => 0,
        count => count,
    };
    let mut target_windows = Vec::new();
    for _ in 0..window_count {
        target_windows.push(Digest(split_array(rest, "target table")?));
    }
    if target_windows.is_empty() && target_size > 0 {
        target_windows.push(target_root);
    }
    let found = digest::root(&target_windows);
    if found != target_root {
        return Err(FormatError::TargetTableNotRoot { found, expected: target_root });
    }
    Ok(target_windows)
}

/// Lengths of our own tables, which the limits keep far below 4 GiB.
fn u32_len(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("table lengths are bounded by HEADER_LEN_MAX").to_le_bytes()
}
