//! The one loop between the applier and the devices.
//!
//! One thread reads, decodes and makes windows; another verifies and writes them, and makes what
//! copies it has time for; where blocks are packed again, `packing` has more. They run the same
//! code that a simulator runs on one thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use super::error::{DriveError, Part};
use super::packing::{Output, Packing};
use super::reads::Reads;
use super::view::SourceView;
use super::{Event, JournalStore, Patch, Progress, Source, Target, check};
use crate::apply::{Applier, Checkpoint, Filler, Want};
use crate::format::{Blocks, Header};
use crate::journal::Slot;
use crate::limits::{CHECKPOINT_LEN, UNPACK_MEMORY_MAX, WINDOWS_IN_FLIGHT};
use crate::unpack::pack::Start;
use crate::window::{Verified, Window};

/// What to leave out or do otherwise, for those who know why.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Do not check the source before the first write; windows are still verified one by one.
    pub no_source_check: bool,
    /// Do not read the target back afterwards.
    pub no_read_back: bool,
    /// Verify and write on the calling thread, so that a run can be replayed step by step.
    pub one_thread: bool,
    /// Bytes of target between two checkpoints: what a power cut can cost in repeated writes.
    pub checkpoint_len: u64,
    /// Most memory that blocks may take, in bytes.
    pub unpack_memory_max: u64,
    /// Called when much memory was freed and as much is about to be taken, in other pieces: an
    /// allocator that keeps what is freed may give it to the system.
    pub give_back: fn(),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            no_source_check: false,
            no_read_back: false,
            one_thread: false,
            checkpoint_len: CHECKPOINT_LEN,
            unpack_memory_max: UNPACK_MEMORY_MAX,
            give_back: || (),
        }
    }
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The patch's header.
    pub header: Header,
    /// Windows that a journal claimed and that were found to be right.
    pub windows_resumed: u64,
    /// What was said about the journal, where it was not simply absent or used.
    pub journal_note: Option<&'static str>,
}

/// An apply that stopped, and what it left behind.
#[derive(Debug)]
pub struct Stopped {
    /// Why.
    pub error: DriveError,
    /// Whether the target may have been written to in this run.
    pub wrote: bool,
}

impl From<DriveError> for Stopped {
    fn from(error: DriveError) -> Self {
        Self { error, wrote: false }
    }
}

/// Reads the header from the front of a patch.
///
/// # Errors
/// If it is not the header of a patch this program can apply.
pub fn read_header(patch: &mut dyn Patch) -> Result<Header, DriveError> {
    let failed = DriveError::io(Part::Patch, "reading the patch");
    let mut bytes = vec![0; Header::FIXED_LEN];
    patch.read(&mut bytes).map_err(&failed)?;
    let fixed = bytes.first_chunk().expect("the buffer has the length of the fixed part");
    bytes.resize(Header::header_len(fixed)?, 0);
    patch.read(&mut bytes[Header::FIXED_LEN..]).map_err(&failed)?;
    let header = Header::decode(&bytes)?;

    Ok(header)
}

/// Makes the target from the source and the patch, or goes on where a journal says it stopped.
///
/// # Errors
/// [`Stopped`]: why, and whether the target was written to.
pub fn apply(
    patch: &mut dyn Patch,
    source: &dyn Source,
    target: &mut dyn Target,
    journal: &mut dyn JournalStore,
    options: Options,
    progress: Progress,
) -> Result<Applied, Stopped> {
    let header = read_header(patch)?;
    let (size, needed) = (source.size(), header.source_size);
    if size < needed {
        return Err(DriveError::SourceTooSmall { size, needed }.into());
    }
    let (size, needed) = (target.size(), header.target_size);
    if size < needed {
        return Err(DriveError::TargetTooSmall { size, needed }.into());
    }
    if let Some((block, codec)) = header.blocks.as_ref().and_then(Blocks::not_packable_here) {
        return Err(DriveError::NotPackable { offset: block.offset, codec }.into());
    }
    let needed = header.blocks.as_ref().map_or(0, Blocks::memory);
    if needed > options.unpack_memory_max {
        return Err(
            DriveError::MemoryTooLarge { needed, allowed: options.unpack_memory_max }.into()
        );
    }
    if !options.no_source_check {
        check::source(source, &header.source_map, progress)?;
    }
    let resumed = resume(&header, target, journal, progress)?;
    let wrote = |error| Stopped { error, wrote: true };
    target.resize(header.target_size).map_err(|error| {
        wrote(DriveError::Io { part: Part::Target, doing: "sizing the target", error })
    })?;
    make(patch, source, target, journal, &header, &resumed, options, progress).map_err(wrote)?;
    if !options.no_read_back {
        progress(Event::Phase { name: "read-back", total: header.target_size });
        let windows = header.target_windows.len() as u64;
        let differing = check::target(target, &header, windows, progress).map_err(wrote)?;
        if !differing.is_empty() {
            return Err(wrote(DriveError::ReadBackDiffers { differing }));
        }
    }
    journal
        .remove()
        .map_err(DriveError::io(Part::Journal, "removing the journal"))
        .map_err(wrote)?;
    Ok(Applied { header, windows_resumed: resumed.windows, journal_note: resumed.note })
}

/// Where to go on, and the sequence number of the last record.
struct Resume {
    windows: u64,
    sequence: u64,
    note: Option<&'static str>,
}

/// Finds how much of the target is there already: what the journal claims, hashed again.
fn resume(
    header: &Header,
    target: &mut dyn Target,
    journal: &mut dyn JournalStore,
    progress: Progress,
) -> Result<Resume, DriveError> {
    let failed = DriveError::io(Part::Journal, "reading the journal");
    let slots = journal.load().map_err(failed)?;
    let mut resume = Resume { windows: 0, sequence: 0, note: None };
    let Some(slot) = Slot::newest(&slots) else {
        if slots.iter().flatten().any(|byte| *byte != 0) {
            resume.note = Some("the journal was damaged; started from the first window");
        }
        return Ok(resume);
    };
    resume.sequence = slot.sequence;
    if slot.checkpoint.patch != header.id {
        resume.note = Some("the journal was of another patch; started from the first window");
        return Ok(resume);
    }
    let claimed = slot.checkpoint.windows.min(header.target_windows.len() as u64);
    let total = (claimed << header.window_log2).min(header.target_size);
    progress(Event::Phase { name: "resume check", total });
    let differing = check::target(target, header, claimed, progress)?;
    resume.windows = differing.first().map_or(claimed, |range| range.offset >> header.window_log2);
    if resume.windows < claimed {
        resume.note = Some("the journal claimed more than the target holds; went on from there");
    }
    Ok(resume)
}

#[expect(clippy::too_many_arguments, reason = "every part of an apply meets here, once")]
fn make(
    patch: &mut dyn Patch,
    source: &dyn Source,
    target: &mut dyn Target,
    journal: &mut dyn JournalStore,
    header: &Header,
    resumed: &Resume,
    options: Options,
    progress: Progress,
) -> Result<(), DriveError> {
    let done = (resumed.windows << header.window_log2).min(header.target_size);
    let (mut applier, start) = match &header.blocks {
        Some(blocks) => {
            let start = Start::of(blocks, header.target_size, done);
            (Applier::of_view(header, start.view_offset), Some((blocks, start)))
        }
        None => (Applier::new(header.clone(), resumed.windows), None),
    };
    applier = applier.with_checkpoint_len(options.checkpoint_len);
    patch
        .skip_to(applier.patch_offset())
        .map_err(DriveError::io(Part::Patch, "reading the patch"))?;
    progress(Event::Phase { name: "apply", total: header.target_size - done });
    let none = Blocks::default();
    let blocks = header.blocks.as_ref().unwrap_or(&none);
    let view = SourceView::new(source, header.source_size, blocks, options.give_back);
    let packing = start.map(|(blocks, start)| Packing::new(header, blocks, &view, start, done));
    let has_packing = packing.is_some();
    let source: &dyn Source = if has_packing { &view } else { source };
    let filler = Filler::default();
    let (reads, mut source) = (Reads::new(source), Reads::new(source));
    let checkpoints = Checkpoints { header, synced: done, len: options.checkpoint_len };
    let device = Device { target, journal, sequence: resumed.sequence, checkpoints, progress };
    let mut writer = Writer { source: reads, filler, packing, device };
    if options.one_thread {
        let never = || false;
        return feed(&mut applier, patch, &mut source, never, |out| {
            writer.take(out).map(Option::unwrap_or_default)
        });
    }
    on_two_threads(&mut applier, patch, &mut source, writer)
}

/// Makes windows on this thread, and writes them on another.
fn on_two_threads<'a>(
    applier: &mut Applier,
    patch: &mut dyn Patch,
    source: &mut Reads,
    mut writer: Writer<'a>,
) -> Result<(), DriveError> {
    let has_packing = writer.packing.is_some();
    // Whether the writer waits: which of the two makes a copy, or verifies a window, changes
    // nothing but the time.
    let is_idle = &AtomicBool::new(true);
    thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel(1);
        let (give, take) = mpsc::channel();
        for _ in 0..WINDOWS_IN_FLIGHT - 1 {
            give.send(Vec::new()).expect("the receiver lives in this function");
        }
        let writing = scope.spawn(move || {
            thread::scope(|packers| {
                writer.packing = writer.packing.map(|packing| packing.with_threads(packers));
                receive.iter().try_for_each(|out| {
                    is_idle.store(false, Ordering::Relaxed);
                    if let Some(buffer) = writer.take(out)? {
                        // The maker may be gone after an error of its own; its buffers go with it.
                        drop(give.send(buffer));
                    }
                    is_idle.store(true, Ordering::Relaxed);
                    Ok(())
                })
            })
        });
        // A closed channel means that the writer has failed; its error is the one to report.
        let puts_off = || is_idle.load(Ordering::Relaxed);
        let made = feed(applier, patch, source, puts_off, |out| {
            let out = match out {
                Out::Window(window) if !has_packing && !puts_off() && window.is_made() => {
                    Out::Verified(window.verify()?)
                }
                out => out,
            };
            let needs_buffer = matches!(out, Out::Window(_) | Out::Verified(_));
            if send.send(out).is_err() {
                return Err(writer_gone());
            }
            if needs_buffer { take.recv().map_err(|_| writer_gone()) } else { Ok(Vec::new()) }
        });
        drop(send);
        let written = writing.join().expect("the writer does not panic");
        written.and(made)
    })
}

/// Stands for the writer's own error, which replaces it.
fn writer_gone() -> DriveError {
    let error = std::io::ErrorKind::BrokenPipe.into();
    DriveError::Io { part: Part::Target, doing: "writing the target", error }
}

/// What leaves the applier for the device.
enum Out {
    Window(Window),
    Verified(Verified),
    Sync(Checkpoint),
    Done,
}

/// Feeds the applier until it is done; `out` takes its windows and gives buffers back. Where
/// `puts_off` says so, making a copy is left to it.
fn feed(
    applier: &mut Applier,
    patch: &mut dyn Patch,
    source: &mut Reads,
    puts_off: impl Fn() -> bool,
    mut out: impl FnMut(Out) -> Result<Vec<u8>, DriveError>,
) -> Result<(), DriveError> {
    loop {
        match applier.want()? {
            Want::Patch(into) => {
                patch.read(into).map_err(DriveError::io(Part::Patch, "reading the patch"))?;
            }
            Want::Copy { .. } if puts_off() => applier.put_off(),
            Want::Source { offset, into } | Want::Copy { offset, into } => {
                read(source, offset, into)?;
            }
            Want::Write(window) => {
                let buffer = out(Out::Window(window))?;
                applier.reuse(buffer);
            }
            Want::Sync(checkpoint) => drop(out(Out::Sync(checkpoint))?),
            Want::Done => return out(Out::Done).map(drop),
        }
    }
}

fn read(source: &mut Reads, offset: u64, into: &mut [u8]) -> Result<(), DriveError> {
    source.read_at(offset, into).map_err(DriveError::io(Part::Source, "reading the source"))
}

/// Makes what was put off of windows and packs them where they are of a view.
struct Writer<'a> {
    source: Reads<'a>,
    filler: Filler,
    packing: Option<Packing<'a>>,
    device: Device<'a>,
}

impl Writer<'_> {
    /// Does what the applier wants done; gives the memory of a window back.
    fn take(&mut self, out: Out) -> Result<Option<Vec<u8>>, DriveError> {
        match (out, &mut self.packing) {
            (Out::Done, _) => self.finish().map(|()| None),
            (Out::Verified(window), _) => self.device.write(window).map(Some),
            // What is packed has checkpoints of its own.
            (Out::Sync(_), Some(_)) => Ok(None),
            (Out::Sync(checkpoint), None) => self.device.sync(checkpoint).map(|()| None),
            (Out::Window(mut window), packing) => {
                while let Some((offset, into)) = self.filler.want(&mut window) {
                    read(&mut self.source, offset, into)?;
                }
                let Some(packing) = packing else {
                    return self.device.write(window.verify()?).map(Some);
                };
                let view = window.into_view();
                packing.take(&view, &mut self.device)?;
                Ok(Some(view))
            }
        }
    }

    /// Writes what is left once all was taken.
    fn finish(&mut self) -> Result<(), DriveError> {
        match &mut self.packing {
            Some(packing) => packing.finish(&mut self.device),
            None => Ok(()),
        }
    }
}

/// Writes windows; flushes them and records it.
struct Device<'a> {
    target: &'a mut dyn Target,
    journal: &'a mut dyn JournalStore,
    sequence: u64,
    checkpoints: Checkpoints<'a>,
    progress: Progress<'a>,
}

/// When windows that were packed are to be flushed.
struct Checkpoints<'a> {
    header: &'a Header,
    synced: u64,
    len: u64,
}

impl Device<'_> {
    fn write(&mut self, verified: Verified) -> Result<Vec<u8>, DriveError> {
        self.target.write(&verified).map_err(DriveError::io(Part::Target, "writing the target"))?;
        (self.progress)(Event::Advance(verified.bytes().len() as u64));
        Ok(verified.into_buffer())
    }

    fn sync(&mut self, checkpoint: Checkpoint) -> Result<(), DriveError> {
        self.target.sync().map_err(DriveError::io(Part::Target, "flushing the target"))?;
        // Only a foreign journal can hold the highest number; what it claims was hashed anyway.
        self.sequence = self.sequence.wrapping_add(1);
        let slot = Slot { sequence: self.sequence, checkpoint };
        self.journal
            .store(slot.index(), &slot.encode())
            .map_err(DriveError::io(Part::Journal, "writing the journal"))
    }
}

impl Output for Device<'_> {
    /// Writes a window, and flushes where that is due, as the applier wants it without blocks.
    fn write(&mut self, verified: Verified) -> Result<Vec<u8>, DriveError> {
        let end = verified.offset() + verified.bytes().len() as u64;
        let buffer = Device::write(self, verified)?;
        let Checkpoints { header, synced, len } = self.checkpoints;
        if end - synced >= len || end == header.target_size {
            self.checkpoints.synced = end;
            let windows = end.div_ceil(header.window_len());
            self.sync(Checkpoint { patch: header.id, windows })?;
        }
        Ok(buffer)
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DriveError> {
        let failed = DriveError::io(Part::Target, "reading the target");
        self.target.read_written(offset, into).map_err(failed)
    }
}
