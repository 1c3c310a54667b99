//! What a patch holds, found by walking through its frames without a source or a target.
//!
//! Everything that can be checked without the source is: digests, restart points, columns and the
//! sum of the frames. Whether copies meet the source is for `apply` to check.

use crate::cm::{self, SegmentLimits};
use crate::coder::{self, Decoder};
use crate::digest::Digest;
use crate::error::FormatError;
use crate::format::frame::{COLUMN_COUNT, COLUMN_NAMES, FRAME_PREFIX_LEN};
use crate::format::{Blocks, Frame, FramePrefix, Header};
use crate::limits::{LITERAL_WINDOW_LOG2, SEGMENTS_MAX, WINDOWS_IN_FLIGHT};
use crate::refs::rewriter::decode_regions;
use crate::varint;

/// Memory that the program takes beside what a patch makes it hold, in bytes (measured): 4 MiB
/// itself, and 2 MiB that the allocator cannot give out again.
const PROGRAM_LEN: u64 = 6 << 20;

/// What the coder `cm` holds, in bytes: its model, and the segments of a frame.
const MODEL_LEN: u64 = 24 << 20;

/// What the layer `refs` holds, in bytes: a frame's copies and moves, the maps made of them, and
/// the regions and blocks that are kept.
const MAPS_LEN: u64 = 6 << 20;

/// What the frames of a patch hold. All sums are bytes unless the name says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many frames there are.
    pub frame_count: u64,
    /// Of those, how many each coder coded, by its number.
    pub coders: [u64; 3],
    /// How many segments they hold.
    pub segment_count: u64,
    /// Target bytes copied from the source.
    pub copies: u64,
    /// Of those, bytes that differ from the source.
    pub differing: u64,
    /// Target bytes that are runs of zeros.
    pub zeros: u64,
    /// Target bytes carried as literals.
    pub literals: u64,
    /// Patch bytes of each column, in the order of [`COLUMN_NAMES`].
    pub columns: [u64; COLUMN_COUNT],
    /// Patch bytes of the literals.
    pub literals_coded: u64,
    /// Patch bytes of what the coder `cm` codes.
    pub mixed: u64,
    /// Executables whose addresses are rewritten, frame by frame.
    pub regions: u64,
    /// Patch bytes of frame prefixes and lengths.
    pub framing: u64,
    /// Memory that `apply` needs, at most.
    pub memory: u64,
}

/// Takes the frames of one patch in order.
#[derive(Debug)]
pub struct Walk {
    header: Header,
    /// The header as the frames see it.
    view: Header,
    decoder: Decoder,
    /// Made when the first frame of the coder `cm` comes.
    mixer: Option<Box<cm::Decoder>>,
    frame: Frame,
    patch_offset: u64,
    target_offset: u64,
    restarts_met: usize,
    body_len_max: u64,
    columns_len_max: u64,
    literal_window: u64,
    report: Report,
}

impl Walk {
    /// Stands in front of the first frame.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self {
            decoder: Decoder::new(),
            mixer: None,
            frame: Frame::default(),
            patch_offset: header.header_len,
            target_offset: 0,
            restarts_met: 0,
            body_len_max: 0,
            columns_len_max: 0,
            literal_window: 0,
            report: Report::default(),
            view: header.of_view(),
            header,
        }
    }

    /// Whether another frame follows.
    ///
    /// # Errors
    /// If the frames so far do not end where the header says, or miss a restart point.
    pub fn has_next(&self) -> Result<bool, FormatError> {
        self.header.is_restart(self.restarts_met, self.patch_offset, self.target_offset)?;
        if self.target_offset == self.view.target_size {
            return match self.patch_offset == self.header.patch_size {
                true => Ok(false),
                false => Err(FormatError::TrailingBytes("frames")),
            };
        }
        Ok(true)
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// If it is damaged or not well-formed.
    pub fn take(&mut self, prefix: FramePrefix, body: &[u8]) -> Result<(), FormatError> {
        if Digest::of(body).short() != prefix.body_digest {
            return Err(FormatError::FrameDamaged { patch_offset: self.patch_offset });
        }
        if self.header.is_restart(self.restarts_met, self.patch_offset, self.target_offset)? {
            self.restarts_met += 1;
            if let Some(mixer) = &mut self.mixer {
                mixer.restart();
            }
        }
        self.frame.decode(body, self.header.refs, &mut self.decoder)?;
        self.patch_offset += (FRAME_PREFIX_LEN + body.len()) as u64;
        let (made, expected) = (self.target_offset + self.frame.target_len, self.view.target_size);
        if made > expected || self.patch_offset > self.header.patch_size {
            return Err(FormatError::TargetSize { made, expected });
        }
        self.target_offset = made;
        let coded: usize = self.frame.coded_lens.iter().sum();
        let stream_len = self.frame.stream.len();
        if self.frame.coder == coder::ZSTD {
            let window = coder::literal_window(&body[self.frame.stream.clone()]).unwrap_or(0);
            self.literal_window = self.literal_window.max(window.min(1 << LITERAL_WINDOW_LOG2));
        }
        let (literals_coded, mixed) = match self.frame.coder {
            coder::CM => (0, stream_len),
            _ => (stream_len, 0),
        };
        if mixed > 0 {
            self.add_mixed(body)?
        } else {
            self.add_segments()?
        }
        let [.., regions, moves] = &self.frame.columns;
        let regions = decode_regions(regions, moves)?.len() as u64;
        let report = &mut self.report;
        for (sum, len) in report.columns.iter_mut().zip(self.frame.coded_lens) {
            *sum += len as u64;
        }
        report.frame_count += 1;
        report.coders[usize::from(self.frame.coder.min(coder::CM))] += 1;
        report.literals_coded += literals_coded as u64;
        report.mixed += mixed as u64;
        report.regions += regions;
        report.framing += (FRAME_PREFIX_LEN + body.len() - coded - stream_len) as u64;
        let raw: usize = self.frame.columns.iter().map(Vec::len).sum();
        self.columns_len_max = self.columns_len_max.max((raw + literals_coded) as u64);
        self.body_len_max = self.body_len_max.max(body.len() as u64);
        Ok(())
    }

    /// What was found, once [`Walk::has_next`] has said that no frame follows.
    #[must_use]
    pub fn finish(self) -> (Header, Report) {
        let header = &self.header;
        let map = &header.source_map;
        // Of each restart, run and group 16 bytes are held, of each target window 32.
        let tables = 16 * (header.restarts.len() + map.runs.len() + map.groups.len())
            + Digest::LEN * header.target_windows.len();
        let window = |header: &Header| header.window_len().min(header.target_size);
        // Windows of a view, and the one of the target that they are packed into.
        let packed = if header.blocks.is_some() { window(header) } else { 0 };
        let windows = WINDOWS_IN_FLIGHT as u64 * window(&self.view) + packed;
        // A model and a frame's segments; maps, and headers of executables.
        let model = if self.report.mixed > 0 { MODEL_LEN } else { 0 };
        let maps = if self.report.regions > 0 { MAPS_LEN } else { 0 };
        let held =
            windows + self.literal_window + self.body_len_max + self.columns_len_max + model + maps;
        // The header's tables are there twice: as read, and in the applier.
        let blocks = header.blocks.as_ref().map_or(0, Blocks::memory);
        let memory = PROGRAM_LEN + held + blocks + 2 * tables as u64;
        (self.header, Report { memory, ..self.report })
    }

    /// Adds up the segments of a frame of the coder `cm`; what copies differ in is only known
    /// beside the source.
    fn add_mixed(&mut self, body: &[u8]) -> Result<(), FormatError> {
        let mixer = self.mixer.get_or_insert_with(|| Box::new(cm::Decoder::new()));
        mixer.open(body[self.frame.stream.clone()].to_vec());
        let target_len = self.frame.target_len;
        let mut segments = Vec::new();
        let limits = SegmentLimits { count: SEGMENTS_MAX as u64, target_len };
        mixer.segments(&mut segments, limits)?;
        let made: u64 = segments.iter().map(|segment| segment.literals + segment.run).sum();
        if made != target_len {
            return Err(FormatError::SegmentPastFrame);
        }
        let report = &mut self.report;
        report.segment_count += segments.len() as u64;
        for segment in segments {
            report.literals += segment.literals;
            let runs = if segment.zeros { &mut report.zeros } else { &mut report.copies };
            *runs += segment.run;
        }
        Ok(())
    }

    /// Adds up the segments of the frame just decoded.
    fn add_segments(&mut self) -> Result<(), FormatError> {
        let [literal_lens, run_lens, ..] = &self.frame.columns;
        let (mut literals_at, mut runs_at) = (0, 0);
        let mut left = self.frame.target_len;
        let mut literals_left = self.frame.literals_len;
        while left > 0 {
            let literals = varint::take(literal_lens, &mut literals_at)?;
            let run = varint::take(run_lens, &mut runs_at)?;
            let (run, zeros) = (run >> 1, run & 1 == 1);
            if literals == 0 && run == 0 {
                return Err(FormatError::EmptySegment);
            }
            let len = literals.checked_add(run).filter(|len| *len <= left);
            left -= len.ok_or(FormatError::SegmentPastFrame)?;
            literals_left =
                literals_left.checked_sub(literals).ok_or(FormatError::Undecodable("literals"))?;
            self.report.segment_count += 1;
            self.report.literals += literals;
            *(if zeros { &mut self.report.zeros } else { &mut self.report.copies }) += run;
        }
        self.report.differing += self.frame.columns[5].len() as u64;
        for (at, index) in [(literals_at, 0), (runs_at, 1)] {
            if at != self.frame.columns[index].len() {
                return Err(FormatError::TrailingBytes(COLUMN_NAMES[index]));
            }
        }
        if literals_left > 0 { Err(FormatError::TrailingBytes("literals")) } else { Ok(()) }
    }
}
