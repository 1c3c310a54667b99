//! The applier: a machine that says what it wants next and is fed bytes. It touches no device.
//!
//! It turns frames into windows of the target in order. Asking for the next want says that the
//! last one was met.

mod cursor;

use cursor::{FrameCursor, Step};

use crate::digest::Digest;
use crate::error::{ApplyError, FormatError};
use crate::format::frame::FRAME_PREFIX_LEN;
use crate::format::{FramePrefix, Header};
use crate::limits::{BODY_LEN_MAX, CHECKPOINT_LEN, PIECE_LEN};
use crate::refs::rewriter::Piece;
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
    piece: Piece,
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
    /// The raw bytes of the piece were read, or something that its addresses need.
    PieceRead,
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
            piece: Piece::default(),
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
                Next::PieceRead => match self.rewrite_piece()? {
                    Some((offset, len)) => {
                        let into = self.frame.rewriter.room(len);
                        return Ok(Want::Source { offset, into });
                    }
                    None => self.next = Next::Make,
                },
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
                    Made::Piece { offset, len } => {
                        self.next = Next::PieceRead;
                        self.piece.reset(offset, self.frame.diagonal(), len);
                        return Ok(Want::Source { offset, into: &mut self.piece.raw });
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

    /// Makes the bytes of the piece, or says what must be read of the source before.
    fn rewrite_piece(&mut self) -> Result<Option<(u64, usize)>, FormatError> {
        if let Some((offset, len)) = self.frame.rewriter.step(&mut self.piece) {
            if !self.header.source_map.covers(offset, len as u64) {
                return Err(FormatError::CopyUnchecked { offset, len: len as u64 });
            }
            return Ok(Some((offset, len)));
        }
        self.frame.piece(&self.piece, &mut self.window)?;
        if self.at <= self.skip_to {
            self.window.clear();
        }
        Ok(None)
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
            self.frame.restart();
        }
        Ok(())
    }

    fn open_frame(&mut self, prefix: FramePrefix) -> Result<(), FormatError> {
        if Digest::of(&self.body).short() != prefix.body_digest {
            return Err(FormatError::FrameDamaged { patch_offset: self.patch_offset });
        }
        self.frame.open(&self.body, self.at, &self.header)?;
        self.patch_offset += (FRAME_PREFIX_LEN + self.body.len()) as u64;
        let made = self.at + self.frame.target_len();
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
                    self.frame.literals(len.min(1 << 16), &self.body, &mut self.window)?;
                    self.at += self.window.len() as u64;
                    self.window.clear();
                }
                Step::Literals(len) => {
                    self.frame.literals(len, &self.body, &mut self.window)?;
                    self.at += len;
                }
                Step::Zeros(len) => {
                    self.at += self.frame.take_run(len);
                    if skip == 0 {
                        self.window.resize(self.window.len() + in_memory(len), 0);
                    }
                }
                // A coder that learns from copies must see them all, written before or not.
                Step::Copy { offset, len } if self.frame.takes_pieces(offset, len, skip > 0) => {
                    let len = len.min(PIECE_LEN - self.at % PIECE_LEN);
                    self.at += self.frame.take_run(len);
                    return Ok(Made::Piece { offset, len: in_memory(len) });
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
    Piece { offset: u64, len: usize },
    Window,
    Frame,
}

/// Lengths within a window, which the limits keep below 2 MiB.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a length within a window fits in memory")
}
