//! The applier: a machine that says what it wants next and is fed bytes. It touches no device.
//!
//! It turns frames into windows of the target in order. Asking for the next want says that the
//! last one was met.

mod cursor;
pub(crate) mod later;
mod making;

pub use later::Filler;

use cursor::{FrameCursor, Step};
use making::Making;

use crate::cm::Guess;
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
    /// Bytes of the source that are copied: fill the buffer, or [`Applier::put_off`] the copy, then
    /// ask again.
    Copy {
        /// Where to read, in bytes.
        offset: u64,
        /// What to fill.
        into: &'a mut [u8],
    },
    /// The window is full: make what was put off with a [`Filler`], verify and write it, and give a
    /// buffer back with [`Applier::reuse`].
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
    /// With the coder `cm`, what the piece is guessed to be, and what the source has there.
    guess: Vec<u8>,
    raw: Vec<u8>,
    window: Making,
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
    /// A copy was read to the end of the window.
    SourceRead(Copy),
    /// The bytes of a copy that is rewritten were read, or something that its addresses need.
    PieceRead(Copy),
    /// A copy is put off, and rewritten in the region with this index.
    PutOff(Copy, Option<usize>),
    WindowFull,
}

/// A copy that is being made: where it starts in the source, and how many bytes it is.
#[derive(Debug, Clone, Copy)]
struct Copy {
    offset: u64,
    len: usize,
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
        Self::starting(header, skip_to)
    }

    /// An applier that makes the target's view from byte `skip_to` on, in windows that are packed
    /// and not verified; without blocks the view is the target.
    #[must_use]
    pub fn of_view(header: &Header, skip_to: u64) -> Self {
        Self::starting(header.of_view(), skip_to)
    }

    fn starting(header: Header, skip_to: u64) -> Self {
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
            guess: Vec::new(),
            raw: Vec::new(),
            window: Making::in_memory_of(Vec::new(), longest_window(&header)),
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
    pub fn reuse(&mut self, buffer: Vec<u8>) {
        self.window = Making::in_memory_of(buffer, longest_window(&self.header));
    }

    /// Leaves the [`Want::Copy`] that was wanted last to a [`Filler`], so that whoever writes the
    /// window may make it.
    pub fn put_off(&mut self) {
        self.next = match self.next {
            Next::SourceRead(copy) => Next::PutOff(copy, None),
            Next::PieceRead(copy) => {
                Next::PutOff(copy, self.frame.rewriter.touched(copy.offset, copy.len as u64).next())
            }
            next => next,
        };
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
                Next::SourceRead(copy) => {
                    self.frame.add_differences(self.window.last(copy.len))?;
                    self.next = Next::Make;
                }
                Next::PieceRead(copy) => match self.rewrite_piece(copy.len)? {
                    Some((offset, len)) => {
                        let into = self.frame.rewriter.room(len);
                        return Ok(Want::Source { offset, into });
                    }
                    None => self.next = Next::Make,
                },
                Next::PutOff(copy, region) => match self.leave(copy, region)? {
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
                    Made::Copy(copy) => {
                        self.next = Next::SourceRead(copy);
                        return Ok(self.want_copy(copy, 0));
                    }
                    Made::Piece(copy) => {
                        self.next = Next::PieceRead(copy);
                        self.piece.reset(copy.offset, self.frame.diagonal(), self.frame.is_mixed());
                        let touched = self.frame.rewriter.touched(copy.offset, copy.len as u64);
                        return Ok(self.want_copy(copy, touched.len()));
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

    /// Wants the source's bytes of a copy that is rewritten in so many regions.
    fn want_copy(&mut self, copy: Copy, region_count: usize) -> Want<'_> {
        let Copy { offset, len } = copy;
        if self.frame.is_mixed() {
            self.raw.clear();
            self.guess.resize(len, 0);
            return Want::Source { offset, into: &mut self.guess };
        }
        let is_worth_it = len >= PUT_OFF_LEN_MIN || region_count == 1;
        let has_few_islands = len as u64 <= PIECE_LEN || self.frame.is_exact(len as u64);
        let may_wait =
            is_worth_it && has_few_islands && region_count <= 1 && self.window.later.has_room();
        let into = self.window.more(len);
        if may_wait { Want::Copy { offset, into } } else { Want::Source { offset, into } }
    }

    /// Puts a copy off, or says what must be read of the source before.
    fn leave(
        &mut self,
        copy: Copy,
        region: Option<usize>,
    ) -> Result<Option<(u64, usize)>, FormatError> {
        let region = match region.map(|index| self.frame.rewriter.region(index)) {
            Some(Err((offset, len))) => {
                self.header.source_map.check(offset, len as u64)?;
                return Ok(Some((offset, len)));
            }
            Some(Ok(region)) => Some(region),
            None => None,
        };
        // Checked here, so that which error is found does not depend on who makes the copy.
        for (offset, len) in region.iter().flat_map(|r| r.cut_blocks(copy.offset, copy.len as u64))
        {
            self.header.source_map.check(offset, len)?;
        }
        let within = self.window.len() - copy.len..self.window.len();
        let later = &mut self.window.later;
        self.frame.put_off_differences(copy.len as u64, within.start, later)?;
        later.copy(copy.offset, self.frame.diagonal(), within, region);
        Ok(None)
    }

    /// Makes the bytes of the piece, or says what must be read of the source before.
    fn rewrite_piece(&mut self, len: usize) -> Result<Option<(u64, usize)>, FormatError> {
        let is_mixed = self.frame.is_mixed();
        if is_mixed && self.raw.is_empty() {
            self.raw.clone_from(&self.guess);
        }
        let bytes = if is_mixed { &mut self.guess } else { self.window.last(len) };
        if let Some((offset, len)) = self.frame.rewriter.step(&mut self.piece, bytes) {
            self.header.source_map.check(offset, len as u64)?;
            return Ok(Some((offset, len)));
        }
        if !is_mixed {
            return self.frame.add_differences(bytes).map(|()| None);
        }
        let guess = Guess { bytes: &self.guess, raw: &self.raw, fields: self.piece.marks() };
        self.frame.mixed(&guess, self.window.more(len))?;
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
        self.patch_offset += (FRAME_PREFIX_LEN + self.body.len()) as u64;
        self.frame.open(&mut self.body, self.at, &self.header)?;
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
                    let len = len.min(1 << 16);
                    self.frame.literals(&self.body, self.window.more(in_memory(len)))?;
                    self.at += len;
                    self.window.clear();
                }
                Step::Literals(len) => {
                    self.frame.literals(&self.body, self.window.more(in_memory(len)))?;
                    self.at += len;
                }
                Step::Zeros(len) => {
                    self.at += self.frame.take_run(len);
                    if skip == 0 {
                        self.window.more(in_memory(len)).fill(0);
                    }
                }
                // A coder that learns from copies must see them all, written before or not.
                Step::Copy { offset, len } if self.frame.takes_pieces(offset, len, skip > 0) => {
                    let len = len.min(PIECE_LEN - self.at % PIECE_LEN);
                    self.at += self.frame.take_run(len);
                    return Ok(Made::Piece(Copy { offset, len: in_memory(len) }));
                }
                Step::Copy { offset, len } => {
                    self.at += self.frame.take_run(len);
                    if skip == 0 {
                        return Ok(Made::Copy(Copy { offset, len: in_memory(len) }));
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
        // The first window of a view may begin anywhere, and ends where others do.
        let window_len = self.header.window_len();
        (window_len - start % window_len).min(self.header.target_size - start)
    }

    fn take_window(&mut self) -> Window {
        let offset = self.at - self.window.len() as u64;
        let index = in_memory(offset >> self.header.window_log2);
        let expected = self.header.target_windows.get(index).copied();
        Window::new(offset, self.window.take(), expected, self.header.target_size)
    }

    fn checkpoint(&self) -> Checkpoint {
        let windows = self.at.div_ceil(self.header.window_len());
        Checkpoint { patch: self.header.id, windows }
    }
}

/// Why [`Applier::make`] stopped.
enum Made {
    Copy(Copy),
    Piece(Copy),
    Window,
    Frame,
}

/// Shortest copy that may be put off without being rewritten, in bytes: of a shorter one that would
/// be as much work.
const PUT_OFF_LEN_MIN: usize = 256;

/// Bytes of the target's longest window.
fn longest_window(header: &Header) -> usize {
    in_memory(header.window_len().min(header.target_size))
}

/// Lengths within a window, which the limits keep below 2 MiB.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a length within a window fits in memory")
}
