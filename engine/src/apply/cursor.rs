//! Walks through one frame after another: what comes next, and what copies differ in.

use super::later::Later;
use crate::cm::{self, Guess, Segment, SegmentLimits};
use crate::coder::{self, Decoder};
use crate::error::FormatError;
use crate::format::frame::{COLUMN_NAMES, MOVES, REGIONS, SegmentReader};
use crate::format::{Frame, Header};
use crate::limits::SEGMENTS_MAX;
use crate::refs::Copy;
use crate::refs::rewriter::Rewriter;
use crate::varint;

/// The next part of a segment, cut to the room there is.
pub(super) enum Step {
    Literals(u64),
    Zeros(u64),
    Copy { offset: u64, len: u64 },
    FrameEnd,
}

/// Walks through one frame's columns.
#[derive(Debug)]
pub(super) struct FrameCursor {
    frame: Frame,
    decoder: Decoder,
    /// The other coder, made when the first frame needs it.
    mixer: Option<Box<cm::Decoder>>,
    /// The segments of a frame coded by it, and how many were taken.
    segments: Vec<Segment>,
    segments_at: usize,
    pub(super) rewriter: Rewriter,
    reader: SegmentReader,
    at: [usize; 6],
    literals_at: usize,
    literals_left: u64,
    target_left: u64,
    segment: Segment,
    gap: u64,
    island: u64,
}

impl FrameCursor {
    pub(super) fn new() -> Self {
        Self {
            frame: Frame::default(),
            decoder: Decoder::new(),
            mixer: None,
            segments: Vec::new(),
            segments_at: 0,
            rewriter: Rewriter::default(),
            reader: SegmentReader::default(),
            at: [0; 6],
            literals_at: 0,
            literals_left: 0,
            target_left: 0,
            segment: Segment::default(),
            gap: 0,
            island: 0,
        }
    }

    /// The coders forget what they learned.
    pub(super) fn restart(&mut self) {
        self.decoder.restart();
        // Its 20 MiB go before the next frame that needs it takes as many.
        self.mixer = None;
    }

    /// Opens the frame with this body, whose first byte is byte `at` of the target. What the coder
    /// `cm` coded is taken out of it, so that it is not held twice.
    pub(super) fn open(
        &mut self,
        body: &mut Vec<u8>,
        at: u64,
        header: &Header,
    ) -> Result<(), FormatError> {
        self.frame.clear();
        self.frame.decode(body, header.refs, &mut self.decoder)?;
        self.at = [0; 6];
        self.reader = SegmentReader::default();
        self.literals_left = self.frame.literals_len;
        self.target_left = self.frame.target_len;
        self.segment = Segment::default();
        let stream = self.frame.stream.clone();
        self.literals_at = stream.start;
        if self.is_mixed() {
            let mixer = self.mixer.get_or_insert_with(|| Box::new(cm::Decoder::new()));
            let mut coded = std::mem::take(body);
            coded.drain(..stream.start);
            mixer.open(coded);
            // Of the largest frame they are 4 MiB.
            self.segments = Vec::new();
            self.segments_at = 0;
            let target_len = self.frame.target_len;
            let limits = SegmentLimits { count: SEGMENTS_MAX as u64, target_len };
            mixer.segments(&mut self.segments, limits)?;
        } else if self.frame.coder == coder::ZSTD && self.literals_left > 0 {
            self.decoder.open_piece(&body[stream])?;
        }
        let [.., regions, moves] = &self.frame.columns;
        self.rewriter.open(regions, moves, header.source_size)?;
        if !self.rewriter.is_empty() {
            self.add_copies(at)?;
        }
        self.next_island()
    }

    /// Tells the rewriter of all copies before the first is made.
    fn add_copies(&mut self, mut at: u64) -> Result<(), FormatError> {
        let end = at + self.frame.target_len;
        let mut reader = SegmentReader::default();
        let mut segments = self.segments.iter();
        while at < end {
            let segment = match self.frame.coder {
                coder::CM => *segments.next().ok_or(FormatError::Truncated("segments"))?,
                _ => reader.next(&self.frame.columns)?,
            };
            let Segment { literals, run, zeros, diagonal } = segment;
            let start = at.saturating_add(literals);
            at = start.saturating_add(run);
            if literals == 0 && run == 0 || at > end {
                return Err(FormatError::SegmentPastFrame);
            }
            let offset = start.checked_add_signed(diagonal).filter(|_| run > 0 && !zeros);
            if let Some(offset) = offset.filter(|offset| offset.checked_add(run).is_some()) {
                self.rewriter.add_copy(Copy { offset, len: run, diagonal })?;
            }
        }
        self.rewriter.copies_added();
        Ok(())
    }

    /// Bytes of target that the frame makes.
    pub(super) fn target_len(&self) -> u64 {
        self.frame.target_len
    }

    /// Whether the frame is coded by `cm`.
    pub(super) fn is_mixed(&self) -> bool {
        self.frame.coder == coder::CM
    }

    /// The next part of the frame, at most `room` bytes, when the target stands at `at`.
    pub(super) fn step(
        &mut self,
        at: u64,
        room: u64,
        header: &Header,
    ) -> Result<Step, FormatError> {
        if self.segment.literals == 0 && self.segment.run == 0 {
            if self.target_left == 0 {
                return self.close().map(|()| Step::FrameEnd);
            }
            self.next_segment(at, header)?;
        }
        let segment = self.segment;
        if segment.literals > 0 {
            return Ok(Step::Literals(segment.literals.min(room)));
        }
        let len = segment.run.min(room);
        if segment.zeros {
            return Ok(Step::Zeros(len));
        }
        let offset = (at.cast_signed() + segment.diagonal).cast_unsigned();
        Ok(Step::Copy { offset, len })
    }

    fn next_segment(&mut self, at: u64, header: &Header) -> Result<(), FormatError> {
        let segment = if self.is_mixed() {
            let next = self.segments.get(self.segments_at);
            self.segments_at += 1;
            *next.ok_or(FormatError::Truncated("segments"))?
        } else {
            self.reader.next(&self.frame.columns)?
        };
        let Segment { literals, run, zeros, diagonal } = segment;
        if literals == 0 && run == 0 {
            return Err(FormatError::EmptySegment);
        }
        let len = literals.checked_add(run).filter(|len| *len <= self.target_left);
        self.target_left -= len.ok_or(FormatError::SegmentPastFrame)?;
        if !self.is_mixed() {
            let left = self.literals_left.checked_sub(literals);
            self.literals_left = left.ok_or(FormatError::Undecodable("literals"))?;
        }
        self.segment = segment;
        if run == 0 || zeros {
            return Ok(());
        }
        let offset = i128::from(at + literals) + i128::from(diagonal);
        let source_size = header.source_size;
        if offset < 0 || offset + i128::from(run) > i128::from(source_size) {
            return Err(FormatError::CopyPastEnd { offset, len: run, source_size });
        }
        let offset = u64::try_from(offset).expect("checked to be positive");
        header.source_map.check(offset, run)
    }

    /// Whether a copy of these bytes must be made in pieces; `skipped`: whether it is on the target
    /// already.
    pub(super) fn takes_pieces(&self, offset: u64, len: u64, skipped: bool) -> bool {
        self.is_mixed() || (!skipped && !self.rewriter.touched(offset, len).is_empty())
    }

    /// Source offset minus target offset of the copy at hand.
    pub(super) fn diagonal(&self) -> i64 {
        self.segment.diagonal
    }

    /// Fills `into` with the next literals.
    pub(super) fn literals(&mut self, body: &[u8], into: &mut [u8]) -> Result<(), FormatError> {
        self.segment.literals -= into.len() as u64;
        match (self.frame.coder, &mut self.mixer) {
            (coder::STORED, _) => {
                let end = self.literals_at + into.len();
                let bytes = body.get(self.literals_at..end);
                into.copy_from_slice(bytes.ok_or(FormatError::Undecodable("literals"))?);
                self.literals_at = end;
                Ok(())
            }
            (coder::CM, Some(mixer)) => mixer.literals(into),
            _ => self.decoder.literals(body, &mut self.literals_at, into),
        }
    }

    pub(super) fn take_run(&mut self, len: u64) -> u64 {
        self.segment.run -= len;
        len
    }

    /// Fills `into` with what the piece of a copy makes that the coder `cm` guesses like this.
    pub(super) fn mixed(&mut self, guess: &Guess, into: &mut [u8]) -> Result<(), FormatError> {
        let mixer = self.mixer.as_mut().expect("a frame of this coder was opened");
        mixer.copy(guess, into)
    }

    /// Adds the islands that fall into `bytes`, which a copy just made.
    pub(super) fn add_differences(&mut self, bytes: &mut [u8]) -> Result<(), FormatError> {
        let mut rest = bytes;
        while (rest.len() as u64) > self.gap {
            rest = &mut rest[super::in_memory(self.gap)..];
            self.gap = 0;
            let len = super::in_memory(self.island.min(rest.len() as u64));
            let (island, behind) = rest.split_at_mut(len);
            let differences = &self.frame.columns[5][self.at[5]..self.at[5] + len];
            for (byte, difference) in island.iter_mut().zip(differences) {
                *byte = byte.wrapping_add(*difference);
            }
            rest = behind;
            self.used_island(len as u64)?;
        }
        self.gap -= rest.len() as u64;
        Ok(())
    }

    /// Whether the next `len` bytes that copies make differ in nothing.
    pub(super) fn is_exact(&self, len: u64) -> bool {
        len <= self.gap
    }

    /// Leaves the islands of a copy of `len` bytes, which starts at byte `at` of the window.
    pub(super) fn put_off_differences(
        &mut self,
        mut len: u64,
        mut at: usize,
        later: &mut Later,
    ) -> Result<(), FormatError> {
        while len > self.gap {
            at += super::in_memory(self.gap);
            len -= self.gap;
            self.gap = 0;
            let used = self.island.min(len);
            let island = self.at[5]..self.at[5] + super::in_memory(used);
            later.island(at, &self.frame.columns[5][island]);
            at += super::in_memory(used);
            len -= used;
            self.used_island(used)?;
        }
        self.gap -= len;
        Ok(())
    }

    /// Passes over the islands of a copy that is not made.
    pub(super) fn skip_differences(&mut self, mut len: u64) -> Result<(), FormatError> {
        while len > self.gap {
            len -= self.gap;
            self.gap = 0;
            let used = self.island.min(len);
            len -= used;
            self.used_island(used)?;
        }
        self.gap -= len;
        Ok(())
    }

    fn used_island(&mut self, len: u64) -> Result<(), FormatError> {
        self.at[5] += super::in_memory(len);
        self.island -= len;
        if self.island == 0 { self.next_island() } else { Ok(()) }
    }

    /// Reads the next island's place; behind the last one the gap has no end.
    fn next_island(&mut self) -> Result<(), FormatError> {
        if self.at[3] == self.frame.columns[3].len() {
            self.gap = u64::MAX;
            return Ok(());
        }
        self.gap = self.take(3)?;
        let left = (self.frame.columns[5].len() - self.at[5]) as u64;
        let len = self.take(4)?;
        if len >= left || self.gap > self.frame.target_len {
            return Err(FormatError::SegmentPastFrame);
        }
        self.island = len + 1;
        Ok(())
    }

    fn take(&mut self, column: usize) -> Result<u64, FormatError> {
        varint::take(&self.frame.columns[column], &mut self.at[column])
    }

    /// At the end of a frame everything has been used up.
    fn close(&mut self) -> Result<(), FormatError> {
        if let Some(mixer) = self.mixer.as_mut().filter(|_| self.frame.coder == coder::CM) {
            if self.segments_at != self.segments.len() {
                return Err(FormatError::TrailingBytes("segments"));
            }
            return mixer.close();
        }
        self.at[..3].copy_from_slice(&self.reader.at());
        for (index, column) in self.frame.columns[..REGIONS].iter().enumerate() {
            if self.at[index] != column.len() {
                return Err(FormatError::TrailingBytes(COLUMN_NAMES[index]));
            }
        }
        if self.literals_left > 0 || self.literals_at != self.frame.stream.end {
            return Err(FormatError::TrailingBytes("literals"));
        }
        if self.frame.coder == coder::ZSTD && self.frame.literals_len > 0 {
            return self.decoder.close_piece();
        }
        Ok(())
    }
}

const _: () = assert!(REGIONS == 6 && MOVES == 7, "the columns of the layer are the last two");
