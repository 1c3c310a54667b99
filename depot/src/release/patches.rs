//! Patches in a working folder: made, and applied to see that they make the image.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use neap_engine::diff::{self, Options};
use neap_engine::digest::Digest;
use neap_engine::io::file::{FileSource, FileTarget};
use neap_engine::io::memory::MemoryJournal;
use neap_engine::io::{Patch as PatchInput, Source, Target, drive};
use neap_engine::window::Verified;

use super::{Earlier, Making, ReleaseError, blob_of};
use crate::depot::Depot;
use crate::spool::FileSpool;

/// A patch in a file without a name, which is gone when this is.
pub(super) struct Patch {
    file: File,
    /// Its length in bytes.
    pub(super) len: u64,
    /// Digest of the image that it makes.
    pub(super) target_root: Digest,
}

impl Patch {
    /// Its bytes, from the first.
    pub(super) fn bytes(&self) -> impl Read + Seek + '_ {
        Whole(&self.file)
    }
}

/// A file that is read from its start by whoever asks first.
struct Whole<'a>(&'a File);

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Seek for Whole<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// The whole image, packed: a patch that needs no source.
pub(super) fn full(image: &dyn Source, making: &Making<'_>) -> Result<Patch, ReleaseError> {
    let nothing: &[u8] = &[];
    let patch = make(&nothing.to_vec(), image, &making.options, making.folder)?;
    prove(&patch, &nothing.to_vec(), image, "nothing")?;
    Ok(patch)
}

/// A patch from each of the earlier images, some at the same time.
pub(super) fn from_each<'a>(
    earlier: &[&'a Earlier],
    image: &dyn Source,
    depot: &Depot,
    making: &Making<'_>,
) -> Result<Vec<(&'a Earlier, Patch)>, ReleaseError> {
    let jobs = making.jobs.clamp(1, earlier.len().max(1));
    let memory = (making.options.memory / jobs as u64).max(Options::MEMORY_MIN);
    let options = Options { memory, ..making.options };
    let next = Mutex::new(earlier.iter());
    let one_after_another = || {
        let mut made = Vec::new();
        loop {
            let earlier = next.lock().map_or(None, |mut next| next.next());
            let Some(earlier) = earlier else { return Ok::<_, ReleaseError>(made) };
            (making.say)(&format!("from {}: comparing", earlier.version));
            made.push((*earlier, from_one(earlier, image, depot, &options, making)?));
        }
    };
    let mut made = thread::scope(|scope| -> Result<_, ReleaseError> {
        let running: Vec<_> = (0..jobs).map(|_| scope.spawn(one_after_another)).collect();
        let mut made = Vec::new();
        for thread in running {
            made.extend(thread.join().expect("a diff returns its errors")?);
        }
        Ok(made)
    })?;
    // As they were asked for, whoever was faster.
    made.sort_by_key(|(one, _)| earlier.iter().position(|other| other.image == one.image));
    Ok(made)
}

fn from_one(
    earlier: &Earlier,
    image: &dyn Source,
    depot: &Depot,
    options: &Options,
    making: &Making<'_>,
) -> Result<Patch, ReleaseError> {
    let folder = tempfile::tempdir_in(making.folder).map_err(ReleaseError::Work)?;
    let path = folder.path().join("image");
    unpack(earlier, depot, &path)?;
    let source = FileSource::open(&path).map_err(ReleaseError::Work)?;
    let patch = make(&source, image, options, making.folder)?;
    prove(&patch, &source, image, &earlier.version)?;
    Ok(patch)
}

/// The earlier image, from the blob that holds it whole.
fn unpack(earlier: &Earlier, depot: &Depot, path: &Path) -> Result<(), ReleaseError> {
    let blob = blob_of(depot, earlier)?;
    let mut target = FileTarget::open(path).map_err(ReleaseError::Work)?;
    let mut patch = Forward::new(blob.reader());
    apply(&mut patch, &Vec::new(), &mut target)
        .map_err(|error| ReleaseError::NotProved { version: earlier.version.clone(), error })
}

fn make(
    source: &dyn Source,
    target: &dyn Source,
    options: &Options,
    folder: &Path,
) -> Result<Patch, ReleaseError> {
    let mut spool = FileSpool::new(folder).map_err(ReleaseError::Work)?;
    let made = diff::diff(source, target, options, &mut spool, &|_| ());
    let made = made.map_err(ReleaseError::Diff)?;
    let file = spool.nameless(&made.header_bytes, folder).map_err(ReleaseError::Work)?;
    let target_root = made.header.target_root;
    Ok(Patch { file, len: made.header.patch_size, target_root })
}

/// Applies the patch to what it was made from. Every window is verified; nothing is kept, as what
/// was verified is what the image has.
fn prove(
    patch: &Patch,
    source: &dyn Source,
    image: &dyn Source,
    version: &str,
) -> Result<(), ReleaseError> {
    let failed = |error| ReleaseError::NotProved { version: version.to_owned(), error };
    let mut bytes = patch.bytes();
    bytes.seek(SeekFrom::Start(0)).map_err(ReleaseError::Work)?;
    let mut input = Forward::new(io::BufReader::with_capacity(1 << 18, bytes));
    apply(&mut input, source, &mut Nowhere { image }).map_err(failed)
}

fn apply(
    patch: &mut dyn PatchInput,
    source: &dyn Source,
    target: &mut dyn Target,
) -> Result<(), String> {
    // What was verified before it was written need not be read back from a working folder.
    let options = drive::Options { no_read_back: true, ..drive::Options::default() };
    let mut journal = MemoryJournal::default();
    drive::apply(patch, source, target, &mut journal, options, &|_| ())
        .map(drop)
        .map_err(|stopped| stopped.error.to_string())
}

/// A patch from anything that reads forward.
struct Forward<R> {
    input: R,
    at: u64,
}

impl<R> Forward<R> {
    fn new(input: R) -> Self {
        Self { input, at: 0 }
    }
}

impl<R: Read> PatchInput for Forward<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.input.read_exact(into)?;
        self.at += into.len() as u64;
        Ok(())
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        let wanted = offset.saturating_sub(self.at);
        let skipped = io::copy(&mut self.input.by_ref().take(wanted), &mut io::sink())?;
        self.at += skipped;
        if skipped == wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Takes windows, which were verified, and keeps none: the image has the same bytes.
struct Nowhere<'a> {
    image: &'a dyn Source,
}

impl Target for Nowhere<'_> {
    fn size(&self) -> u64 {
        u64::MAX
    }

    fn resize(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &Verified) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read_back(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_written(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.image.read_at(offset, into)
    }
}
