//! The applier: a machine that says what it wants next and is fed bytes. It touches no device.
//!
//! It turns frames into windows of the target in order. Asking for the next want says that the
//! last one was met.

use crate::coder::{self, Decoder};
use crate::digest::Digest;
use crate::error::{ApplyError, FormatError};
use crate::format::frame::FRAME_PREFIX_LEN;
use crate::format::{Frame, FramePrefix, Header};
use crate::limits::{BODY_LEN_MAX, CHECKPOINT_LEN};
use crate::varint;
use crate::window::Window;

/// What the applier needs before it can go on.
#[derive(Debug)]
pub enum Want<'a> {
    /// The next bytes of the patch: fill the buffer, then ask again.
    Patch(&'a mut [u8]),
    /// Bytes of the source at `offset`: fill the buffer, then ask again.
    Source {
        /// Where to read, in bytes.
        offset: u64,
        /// What to fill.
        into: &'a mut [u8],
    },
    /// The window is full: verify and write it, and give a buffer back with
    /// [`Applier::reuse`].
    Write(Window),
    /// All windows written so far shall survive a power cut; then record the checkpoint.
    Sync(Checkpoint),
    /// The whole target was made.
    Done,
}

/// A claim that the first windows of the target are written and flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Digest of the header of the patch that was being applied.
    pub patch: Digest,
    /// How many windows, from the first.
    pub windows: u64,
}

/// Turns the frames of one patch into the windows of its target.
#[derive(Debug)]
pub struct Applier {
    header: Header,
    next: Next,
    /// Where the next byte goes in the target.
    at: u64,
    /// Bytes before this one are on the target already: make them only where the rest needs them.
    skip_to: u64,
    /// Where the next frame starts in the patch.
    patch_offset: u64,
    /// Count of restart points in front of the next frame.
    restarts_met: usize,
    prefix: [u8; FRAME_PREFIX_LEN],
    body: Vec<u8>,
    frame: FrameCursor,
    window: Vec<u8>,
    synced: u64,
    checkpoint_len: u64,
}

/// What the machine does when it is asked for its next want.
#[derive(Debug, Clone, Copy)]
enum Next {
    ReadPrefix,
    PrefixRead,
    BodyRead(FramePrefix),
    Make,
    /// A copy of this many bytes was read to the end of the window.
    SourceRead(usize),
    WindowFull,
}

impl Applier {
    /// An applier that makes the target from window `windows_done` on; the windows before it must
    /// be on the target, checked.
    ///
    /// # Panics
    /// If there are fewer windows than that.
    #[must_use]
    pub fn new(header: Header, windows_done: u64) -> Self {
        assert!(windows_done <= header.target_windows.len() as u64, "no such window");
        let skip_to = (windows_done << header.window_log2).min(header.target_size);
        let restart = header.restart_before(skip_to);
        Self {
            next: Next::ReadPrefix,
            at: restart.target_offset,
            skip_to,
            patch_offset: restart.patch_offset,
            restarts_met: header
                .restarts
                .partition_point(|r| r.target_offset < restart.target_offset),
            prefix: [0; FRAME_PREFIX_LEN],
            body: Vec::new(),
            frame: FrameCursor::new(),
            window: Vec::new(),
            synced: skip_to,
            checkpoint_len: CHECKPOINT_LEN,
            header,
        }
    }

    /// The same applier with this many bytes of target between two checkpoints, rounded up to
    /// whole windows.
    #[must_use]
    pub fn with_checkpoint_len(self, checkpoint_len: u64) -> Self {
        Self { checkpoint_len, ..self }
    }

    /// Where the patch must be read from, in bytes: the restart point that this applier starts at.
    #[must_use]
    pub fn patch_offset(&self) -> u64 {
        self.patch_offset
    }

    /// Takes the memory of a written window for a later one.
    pub fn reuse(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.window = buffer;
    }

    /// Says what is needed next.
    ///
    /// # Errors
    /// If the patch is not well-formed. Nothing that was made from the faulty part was wanted
    /// written, and the applier is of no further use.
    pub fn want(&mut self) -> Result<Want<'_>, ApplyError> {
        loop {
            match self.next {
                Next::ReadPrefix => {
                    self.check_restart()?;
                    if self.at == self.header.target_size {
                        return self.finish();
                    }
                    self.next = Next::PrefixRead;
                    return Ok(Want::Patch(&mut self.prefix));
                }
                Next::PrefixRead => {
                    let prefix = FramePrefix::decode(&self.prefix)?;
                    self.body.clear();
                    self.body.reserve_exact(BODY_LEN_MAX.min(prefix.body_len));
                    self.body.resize(prefix.body_len, 0);
                    self.next = Next::BodyRead(prefix);
                    return Ok(Want::Patch(&mut self.body));
                }
                Next::BodyRead(prefix) => {
                    self.open_frame(prefix)?;
                    self.next = Next::Make;
                }
                Next::SourceRead(len) => {
                    let from = self.window.len() - len;
                    self.frame.add_differences(&mut self.window[from..])?;
                    self.next = Next::Make;
                }
                Next::WindowFull => {
                    self.next = Next::Make;
                    let due = self.at - self.synced >= self.checkpoint_len;
                    if due || self.at == self.header.target_size {
                        self.synced = self.at;
                        return Ok(Want::Sync(self.checkpoint()));
                    }
                }
                Next::Make => match self.make()? {
                    Made::Copy { offset, len } => {
                        self.next = Next::SourceRead(len);
                        let from = self.window.len();
                        self.window.resize(from + len, 0);
                        return Ok(Want::Source { offset, into: &mut self.window[from..] });
                    }
                    Made::Window => {
                        self.next = Next::WindowFull;
                        return Ok(Want::Write(self.take_window()));
                    }
                    Made::Frame => self.next = Next::ReadPrefix,
                },
            }
        }
    }

    fn finish(&mut self) -> Result<Want<'_>, ApplyError> {
        let expected = self.header.patch_size;
        if self.patch_offset != expected {
            return Err(FormatError::TrailingBytes("frames").into());
        }
        Ok(Want::Done)
    }

    /// A frame that stands at a restart point's place in the patch must stand at its place in the
    /// target too, and starts the literal stream afresh. None may be passed over.
    fn check_restart(&mut self) -> Result<(), FormatError> {
        if self.header.is_restart(self.restarts_met, self.patch_offset, self.at)? {
            self.restarts_met += 1;
            self.frame.decoder.restart();
        }
        Ok(())
    }

    fn open_frame(&mut self, prefix: FramePrefix) -> Result<(), FormatError> {
        if Digest::of(&self.body).short() != prefix.body_digest {
            return Err(FormatError::FrameDamaged { patch_offset: self.patch_offset });
        }
        self.frame.open(&self.body)?;
        self.patch_offset += (FRAME_PREFIX_LEN + self.body.len()) as u64;
        let made = self.at + self.frame.frame.target_len;
        let expected = self.header.target_size;
        if made > expected || self.patch_offset > self.header.patch_size {
            return Err(FormatError::TargetSize { made, expected });
        }
        Ok(())
    }

    /// Makes bytes until something from outside is needed.
    fn make(&mut self) -> Result<Made, FormatError> {
        loop {
            if self.window.len() as u64 == self.window_room() {
                return Ok(Made::Window);
            }
            let skip = self.skip_to.saturating_sub(self.at);
            let room = match skip {
                0 => self.window_room() - self.window.len() as u64,
                skip => skip,
            };
            match self.frame.step(self.at, room, &self.header)? {
                Step::FrameEnd => return Ok(Made::Frame),
                Step::Literals(len) if skip > 0 => {
                    self.frame.literals(len.min(1 << 16), &mut self.window)?;
                    self.at += self.window.len() as u64;
                    self.window.clear();
                }
                Step::Literals(len) => {
                    self.frame.literals(len, &mut self.window)?;
                    self.at += len;
                }
                Step::Zeros(len) => {
                    self.at += self.frame.take_run(len);
                    if skip == 0 {
                        self.window.resize(self.window.len() + in_memory(len), 0);
                    }
                }
                Step::Copy { offset, len } => {
                    self.at += self.frame.take_run(len);
                    if skip == 0 {
                        return Ok(Made::Copy { offset, len: in_memory(len) });
                    }
                    self.frame.skip_differences(len)?;
                }
            }
        }
    }

    /// Bytes that the window under construction holds when it is full; none is while skipping.
    fn window_room(&self) -> u64 {
        let start = self.at - self.window.len() as u64;
        if start < self.skip_to || start == self.header.target_size {
            return u64::MAX;
        }
        self.header.window_len().min(self.header.target_size - start)
    }

    fn take_window(&mut self) -> Window {
        let bytes = std::mem::take(&mut self.window);
        let offset = self.at - bytes.len() as u64;
        let index = in_memory(offset >> self.header.window_log2);
        let expected = self.header.target_windows[index];
        Window::new(offset, bytes, expected, self.header.target_size)
    }

    fn checkpoint(&self) -> Checkpoint {
        let windows = self.at.div_ceil(self.header.window_len());
        Checkpoint { patch: self.header.id, windows }
    }
}

/// Why [`Applier::make`] stopped.
enum Made {
    Copy { offset: u64, len: usize },
    Window,
    Frame,
}

/// The next part of a segment, cut to the room there is.
enum Step {
    Literals(u64),
    Zeros(u64),
    Copy { offset: u64, len: u64 },
    FrameEnd,
}

/// Walks through one frame's columns.
#[derive(Debug)]
struct FrameCursor {
    frame: Frame,
    decoder: Decoder,
    at: [usize; 6],
    literals_at: usize,
    literals_left: u64,
    target_left: u64,
    segment: Segment,
    diagonal: i64,
    gap: u64,
    island: u64,
}

/// What is left of a segment.
#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    literals: u64,
    run: u64,
    zeros: bool,
}

impl FrameCursor {
    fn new() -> Self {
        Self {
            frame: Frame::default(),
            decoder: Decoder::new(),
            at: [0; 6],
            literals_at: 0,
            literals_left: 0,
            target_left: 0,
            segment: Segment::default(),
            diagonal: 0,
            gap: 0,
            island: 0,
        }
    }

    fn open(&mut self, body: &[u8]) -> Result<(), FormatError> {
        self.frame.clear();
        self.frame.decode(body, &mut self.decoder)?;
        self.at = [0; 6];
        self.literals_at = 0;
        self.literals_left = self.frame.literals_len;
        self.target_left = self.frame.target_len;
        self.segment = Segment::default();
        self.diagonal = 0;
        if self.frame.coder == coder::ZSTD && self.literals_left > 0 {
            self.decoder.open_piece(&self.frame.literals)?;
        }
        self.next_island()
    }

    /// The next part of the frame, at most `room` bytes, when the target stands at `at`.
    fn step(&mut self, at: u64, room: u64, header: &Header) -> Result<Step, FormatError> {
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
        let offset = (at.cast_signed() + self.diagonal).cast_unsigned();
        Ok(Step::Copy { offset, len })
    }

    fn next_segment(&mut self, at: u64, header: &Header) -> Result<(), FormatError> {
        let literals = self.take(0)?;
        let run = self.take(1)?;
        let (run, zeros) = (run >> 1, run & 1 == 1);
        if literals == 0 && run == 0 {
            return Err(FormatError::EmptySegment);
        }
        let len = literals.checked_add(run).filter(|len| *len <= self.target_left);
        self.target_left -= len.ok_or(FormatError::SegmentPastFrame)?;
        self.literals_left =
            self.literals_left.checked_sub(literals).ok_or(FormatError::Undecodable("literals"))?;
        self.segment = Segment { literals, run, zeros };
        if run == 0 || zeros {
            return Ok(());
        }
        let change = varint::take_signed(&self.frame.columns[2], &mut self.at[2])?;
        let diagonal = i128::from(self.diagonal) + i128::from(change);
        let offset = i128::from(at + literals) + diagonal;
        let source_size = header.source_size;
        if offset < 0 || offset + i128::from(run) > i128::from(source_size) {
            return Err(FormatError::CopyPastEnd { offset, len: run, source_size });
        }
        self.diagonal = i64::try_from(diagonal).expect("two offsets of 37 bits are apart by 38");
        let offset = u64::try_from(offset).expect("checked to be positive");
        if !header.source_map.covers(offset, run) {
            return Err(FormatError::CopyUnchecked { offset, len: run });
        }
        Ok(())
    }

    /// Appends the next `len` literals to `window`.
    fn literals(&mut self, len: u64, window: &mut Vec<u8>) -> Result<(), FormatError> {
        self.segment.literals -= len;
        let from = window.len();
        window.resize(from + in_memory(len), 0);
        let into = &mut window[from..];
        if self.frame.coder == coder::STORED {
            let end = self.literals_at + into.len();
            let bytes = self.frame.literals.get(self.literals_at..end);
            into.copy_from_slice(bytes.ok_or(FormatError::Undecodable("literals"))?);
            self.literals_at = end;
            return Ok(());
        }
        self.decoder.literals(&self.frame.literals, &mut self.literals_at, into)
    }

    fn take_run(&mut self, len: u64) -> u64 {
        self.segment.run -= len;
        len
    }

    /// Adds the islands that fall into `bytes`, which a copy just made.
    fn add_differences(&mut self, bytes: &mut [u8]) -> Result<(), FormatError> {
        let mut rest = bytes;
        while (rest.len() as u64) > self.gap {
            rest = &mut rest[in_memory(self.gap)..];
            self.gap = 0;
            let len = in_memory(self.island.min(rest.len() as u64));
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

    /// Passes over the islands of a copy that is not made.
    fn skip_differences(&mut self, mut len: u64) -> Result<(), FormatError> {
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
        self.at[5] += in_memory(len);
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

    /// At the end of a frame every column has been used up.
    fn close(&mut self) -> Result<(), FormatError> {
        for (index, column) in self.frame.columns.iter().enumerate() {
            if self.at[index] != column.len() {
                return Err(FormatError::TrailingBytes(crate::format::frame::COLUMN_NAMES[index]));
            }
        }
        if self.literals_left > 0 || self.literals_at != self.frame.literals.len() {
            return Err(FormatError::TrailingBytes("literals"));
        }
        if self.frame.coder == coder::ZSTD && self.frame.literals_len > 0 {
            return self.decoder.close_piece();
        }
        Ok(())
    }
}

/// Lengths within a window, which the limits keep below 2 MiB.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a length within a window fits in memory")
}
