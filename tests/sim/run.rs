//! One apply of a pair's patch on a machine, with a source and a patch that may fail too.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use neap_engine::apply::Checkpoint;
use neap_engine::format::Blocks;
use neap_engine::io::drive::{self, Applied, Options, Stopped};
use neap_engine::io::error::DriveError;
use neap_engine::io::memory::{MemoryJournal, MemoryTarget, PatchBytes};
use neap_engine::io::{Patch, Source};
use neap_engine::journal::Slot;

use crate::machine::Port;
use crate::pair::{Pair, WINDOW};

/// A read that fails: the `nth`, from 0.
#[derive(Debug, Clone, Copy)]
pub struct ReadFault {
    /// Which read.
    pub nth: u64,
    /// What it says.
    pub kind: io::ErrorKind,
}

/// What is read, and which reads fail.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The images and the patch.
    pub pair: &'a Pair,
    /// The read of the source that fails; `InvalidData` is a wrong byte and no error.
    pub source_fault: Option<ReadFault>,
    /// The read of the patch that fails.
    pub patch_fault: Option<ReadFault>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What the apply said.
    pub result: Result<Applied, Stopped>,
    /// Where it went on in the patch after the header, if it came so far.
    pub patch_from: Option<u64>,
    /// How often the source was read.
    pub source_reads: u64,
}

impl<'a> Inputs<'a> {
    /// Inputs that do not fail.
    #[must_use]
    pub fn new(pair: &'a Pair) -> Self {
        Self { pair, source_fault: None, patch_fault: None }
    }

    /// Applies the patch.
    #[must_use]
    pub fn apply(&self, port: &Port, options: Options) -> Outcome {
        let source = FailingSource {
            bytes: &self.pair.source,
            fault: self.source_fault,
            reads: AtomicU64::new(0),
        };
        let mut patch = FailingPatch {
            bytes: PatchBytes::new(&self.pair.patch),
            fault: self.patch_fault,
            reads: 0,
            from: None,
        };
        let (mut target, mut journal) = (port.clone(), port.clone());
        let result = drive::apply(&mut patch, &source, &mut target, &mut journal, options, &|_| {});
        let source_reads = source.reads.into_inner();
        Outcome { result, patch_from: patch.from, source_reads }
    }
}

struct FailingSource<'a> {
    bytes: &'a [u8],
    fault: Option<ReadFault>,
    reads: AtomicU64,
}

impl Source for FailingSource<'_> {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let nth = self.reads.fetch_add(1, Ordering::Relaxed);
        match self.fault.filter(|fault| fault.nth == nth).map(|fault| fault.kind) {
            Some(io::ErrorKind::InvalidData) => {
                self.bytes.read_at(offset, into)?;
                let middle = into.len() / 2;
                into[middle] ^= 1;
                Ok(())
            }
            Some(kind) => Err(kind.into()),
            None => self.bytes.read_at(offset, into),
        }
    }
}

struct FailingPatch<'a> {
    bytes: PatchBytes<'a>,
    fault: Option<ReadFault>,
    reads: u64,
    from: Option<u64>,
}

impl FailingPatch<'_> {
    fn count(&mut self) -> io::Result<()> {
        self.reads += 1;
        match self.fault.filter(|fault| fault.nth + 1 == self.reads) {
            Some(fault) => Err(fault.kind.into()),
            None => Ok(()),
        }
    }
}

impl Patch for FailingPatch<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.count()?;
        self.bytes.read(into)
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        self.count()?;
        self.from = Some(offset);
        self.bytes.skip_to(offset)
    }
}

/// What an apply in memory makes that finds `windows` made.
///
/// # Errors
/// What stopped it.
///
/// # Panics
/// If it does not go on from there.
pub fn resumed(pair: &Pair, windows: u64, options: Options) -> Result<Vec<u8>, DriveError> {
    let mut journal = MemoryJournal::default();
    let checkpoint = Checkpoint { patch: pair.header.id, windows };
    journal.slots[1] = Slot { sequence: 1, checkpoint }.encode();
    let done = (usize::try_from(windows).expect("few windows") * WINDOW).min(pair.target.len());
    let mut target = MemoryTarget::default();
    target.bytes.extend(&pair.target[..done]);
    let mut patch = PatchBytes::new(&pair.patch);
    let applied =
        drive::apply(&mut patch, &pair.source, &mut target, &mut journal, options, &|_| {});
    let applied = applied.map_err(|stopped| stopped.error)?;
    assert_eq!(applied.windows_resumed, windows);
    Ok(target.bytes)
}

/// The pair with another table of blocks, applied by both appliers, which must agree.
///
/// # Panics
/// If they do not, or the patch has no blocks.
///
/// # Errors
/// What the fast one says.
pub fn with_blocks(pair: &Pair, change: impl Fn(&mut Blocks)) -> Result<Vec<u8>, DriveError> {
    let header_len = usize::try_from(pair.header.header_len).expect("a header is short");
    let frames = pair.patch[header_len..].to_vec();
    let mut header = pair.header.clone();
    for restart in &mut header.restarts {
        restart.patch_offset -= pair.header.header_len;
    }
    change(header.blocks.as_mut().expect("the patch has blocks"));
    let (bytes, header) = header.encode(frames.len() as u64);
    let (source, target) = (pair.source.clone(), pair.target.clone());
    let pair = Pair { source, target, patch: [bytes, frames].concat(), header };
    let made = resumed(&pair, 0, drive::Options::default());
    let slow = neap_reference::apply(&pair.patch, &pair.source);
    let (fast, slow) = (made.as_ref().err(), slow.err());
    assert_eq!(fast.is_some(), slow.is_some(), "the appliers disagree: {fast:?}, {slow:?}");
    made
}
