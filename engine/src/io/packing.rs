//! From the windows of a view to those of the target: blocks are packed by as many threads as there
//! are, and go on in order.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};

use super::error::DriveError;
use super::view::SourceView;
use crate::apply::later::Later;
use crate::error::FormatError;
use crate::format::{Blocks, Header};
use crate::limits::{PACKED_AT_ONCE, PACKERS_MAX};
use crate::unpack::derived::Derived;
use crate::unpack::pack::{Job, Packer, Piece, Start, in_memory};
use crate::window::{Verified, Window};

/// Packs a view and cuts what it makes into windows.
pub(super) struct Packing<'a> {
    blocks: &'a Blocks,
    source: &'a SourceView<'a>,
    levels: Vec<Level<'a>>,
    /// Bytes at the front of the view that nobody needs.
    unneeded: u64,
    /// Where threads that pack take jobs from, if there are any.
    jobs: Option<Sender<Task>>,
    windows: Windows<'a>,
}

/// What packs one level, and what it made and is being made, in order.
struct Level<'a> {
    packer: Packer<'a>,
    queue: VecDeque<Slot>,
    /// Bytes of memory that the queue takes, at most.
    len: u64,
}

enum Slot {
    Plain(Vec<u8>),
    Block(Receiver<Result<Vec<u8>, FormatError>>, u64),
}

/// A job, and whom to tell what came of it.
type Task = (Job, Sender<Result<Vec<u8>, FormatError>>);

/// Where windows go.
pub(super) trait Output {
    /// Takes a verified window; gives its memory back.
    fn write(&mut self, window: Verified) -> Result<Vec<u8>, DriveError>;
    /// Fills `into` from byte `offset` of what was written, in this run or one before.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DriveError>;
}

type Out<'w> = &'w mut dyn Output;

impl<'a> Packing<'a> {
    /// Packs what `start` begins; the target begins at `offset`.
    pub(super) fn new(
        header: &'a Header,
        blocks: &'a Blocks,
        source: &'a SourceView<'a>,
        start: Start<'a>,
        at: u64,
    ) -> Self {
        let level = |packer| Level { packer, queue: VecDeque::new(), len: 0 };
        let levels = start.packers.into_iter().map(level).collect();
        let windows = Windows { header, at, bytes: Vec::new() };
        Self { blocks, source, levels, unneeded: start.unneeded, jobs: None, windows }
    }

    /// The same with threads that pack, which end when it does.
    pub(super) fn with_threads<'s>(mut self, scope: &'s Scope<'s, 'a>) -> Self {
        let (jobs, taken) = mpsc::channel::<Task>();
        let taken = Arc::new(Mutex::new(taken));
        let count = thread::available_parallelism().map_or(1, usize::from).min(PACKERS_MAX);
        for _ in 0..count {
            let (taken, methods) = (Arc::clone(&taken), &self.blocks.methods);
            scope.spawn(move || {
                loop {
                    let next = taken.lock().expect("nobody panics with the lock").recv();
                    let Ok((job, made)) = next else { return };
                    // Whoever waited may have met an error.
                    drop(made.send(job.run(methods)));
                }
            });
        }
        self.jobs = Some(jobs);
        self
    }

    /// Takes the next bytes of the view.
    pub(super) fn take(&mut self, view: &[u8], out: Out) -> Result<(), DriveError> {
        let unneeded = self.unneeded.min(view.len() as u64);
        self.unneeded -= unneeded;
        let from = usize::try_from(unneeded).expect("within what is in memory");
        self.feed(self.levels.len(), &view[from..], out)
    }

    /// Waits for all that is being packed, once the whole view was taken.
    pub(super) fn finish(&mut self, out: Out) -> Result<(), DriveError> {
        for level in (0..self.levels.len()).rev() {
            self.settle(level, 0, out)?;
        }
        self.windows.check_end()
    }

    /// Takes the next bytes of the view of so many levels.
    fn feed(&mut self, depth: usize, bytes: &[u8], out: Out) -> Result<(), DriveError> {
        let Some(level) = depth.checked_sub(1) else { return self.windows.take(bytes, out) };
        let mut rest = bytes;
        loop {
            // A large block is not gathered beside others that are being packed.
            if let Some(len) = self.levels[level].packer.gathers() {
                self.settle(level, PACKED_AT_ONCE.saturating_sub(len), out)?;
            }
            let Some(piece) = self.levels[level].packer.next(&mut rest) else { return Ok(()) };
            match piece {
                Piece::Plain(plain) if self.levels[level].queue.is_empty() => {
                    self.pass(level, plain, out)?;
                }
                Piece::Plain(plain) => {
                    let level = &mut self.levels[level];
                    level.len += plain.len() as u64;
                    level.queue.push_back(Slot::Plain(plain.to_vec()));
                }
                Piece::Block(job) => self.start(level, job, out)?,
            }
            self.settle(level, PACKED_AT_ONCE, out)?;
        }
    }

    fn start(&mut self, level: usize, job: Job, out: Out) -> Result<(), DriveError> {
        if let Some(derived) = job.derived(&self.blocks.methods)? {
            return self.derive(&derived, level, out);
        }
        let memory = job.memory(&self.blocks.methods);
        self.settle(level, PACKED_AT_ONCE.saturating_sub(memory), out)?;
        self.levels[level].len += memory;
        self.lend();
        let Some(jobs) = &self.jobs else {
            let packed = job.run(&self.blocks.methods)?;
            self.levels[level].len -= memory;
            self.lend();
            return self.pass(level, &packed, out);
        };
        let (send, receive) = mpsc::channel();
        jobs.send((job, send)).expect("the threads live as long as this");
        self.levels[level].queue.push_back(Slot::Block(receive, memory));
        Ok(())
    }

    /// Has the source keep as much less as all levels take beyond what one is to: a block larger
    /// than that is soon waited for by who makes the view, and so needs the source.
    fn lend(&self) {
        let len: u64 = self.levels.iter().map(|level| level.len).sum();
        self.source.lend(len.saturating_sub(PACKED_AT_ONCE));
    }

    /// Computes a region from the target's bytes before it.
    fn derive(&mut self, derived: &Derived, level: usize, out: Out) -> Result<(), DriveError> {
        assert_eq!(level, 0, "other levels have no such blocks");
        self.settle(level, 0, out)?;
        let windows = &self.windows;
        let made = derived.make(|offset, into| windows.read(offset, into, out))?;
        self.pass(level, &made, out)
    }

    /// Passes on what is made; waits for what is not while the queue takes more than so many bytes.
    fn settle(&mut self, level: usize, len_max: u64, out: Out) -> Result<(), DriveError> {
        while let Some(slot) = self.levels[level].queue.pop_front() {
            let (made, len) = match slot {
                Slot::Plain(plain) => {
                    let len = plain.len() as u64;
                    (plain, len)
                }
                Slot::Block(receive, len) => {
                    let must_wait = self.levels[level].len > len_max;
                    let made = match must_wait {
                        true => Some(receive.recv().expect("a thread answers for each job")),
                        false => receive.try_recv().ok(),
                    };
                    let Some(made) = made else {
                        self.levels[level].queue.push_front(Slot::Block(receive, len));
                        return Ok(());
                    };
                    (made?, len)
                }
            };
            self.levels[level].len -= len;
            self.lend();
            self.pass(level, &made, out)?;
        }
        Ok(())
    }

    /// Passes on what a level made.
    fn pass(&mut self, level: usize, made: &[u8], out: Out) -> Result<(), DriveError> {
        let needed = self.levels[level].packer.needed(made);
        self.feed(level, needed, out)
    }
}

/// The target's bytes, cut into windows.
struct Windows<'a> {
    header: &'a Header,
    /// Where the next byte goes in the target.
    at: u64,
    bytes: Vec<u8>,
}

impl Windows<'_> {
    fn take(&mut self, mut bytes: &[u8], out: Out) -> Result<(), DriveError> {
        let Header { target_size, window_log2, .. } = *self.header;
        while !bytes.is_empty() {
            let start = self.at - self.bytes.len() as u64;
            let len = self.header.window_len().min(target_size - start);
            let room = usize::try_from(len).expect("a window fits in memory") - self.bytes.len();
            if room == 0 {
                return Err(past_end(self.header));
            }
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            self.bytes.reserve_exact(room);
            self.bytes.extend(part);
            self.at += part.len() as u64;
            bytes = rest;
            if part.len() == room {
                let index = usize::try_from(start >> window_log2).expect("windows are few");
                let expected = self.header.target_windows.get(index).copied();
                let bytes = std::mem::take(&mut self.bytes);
                let window = Window::new(start, (bytes, Later::default()), expected, target_size);
                self.bytes = out.write(window.verify()?)?;
                self.bytes.clear();
            }
        }
        Ok(())
    }

    /// Fills `into` from byte `offset` of the target, up to which it was made.
    fn read(&self, offset: u64, into: &mut [u8], out: Out) -> Result<(), DriveError> {
        let written = self.at - self.bytes.len() as u64;
        let len = written.saturating_sub(offset).min(into.len() as u64);
        let (of_device, of_window) = into.split_at_mut(in_memory(len));
        if !of_device.is_empty() {
            out.read(offset, of_device)?;
        }
        if !of_window.is_empty() {
            let from = in_memory(offset + len - written);
            of_window.copy_from_slice(&self.bytes[from..from + of_window.len()]);
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), DriveError> {
        if self.at == self.header.target_size { Ok(()) } else { Err(past_end(self.header)) }
    }
}

/// The blocks do not make the target; what is in a table cannot add up to anything else.
fn past_end(header: &Header) -> DriveError {
    let expected = header.target_size;
    FormatError::TargetSize { made: expected, expected }.into()
}
