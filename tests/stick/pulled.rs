//! A stick whose cable is pulled in one call, so that from then on every call fails, reads too; or
//! that fails once and is well again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use neap_depot::files::Files;
use neap_depot::store::{Edit, Listed, Lock, LockError, Object};

/// Counts calls, and is pulled in one of them, or lets that one fail.
#[derive(Debug, Clone)]
pub(crate) struct Cable(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: AtomicU64,
    at: u64,
    for_good: bool,
}

impl Default for Cable {
    fn default() -> Self {
        Self::pulled_at(u64::MAX)
    }
}

impl Cable {
    /// A cable that is pulled in this call, counted from 0.
    pub(crate) fn pulled_at(call: u64) -> Self {
        Self(Arc::new(Inner { calls: AtomicU64::new(0), at: call, for_good: true }))
    }

    /// A cable that lets this call fail, and no other.
    pub(crate) fn fails_at(call: u64) -> Self {
        Self(Arc::new(Inner { calls: AtomicU64::new(0), at: call, for_good: false }))
    }

    /// Whether it came to that call.
    pub(crate) fn was_reached(&self) -> bool {
        self.0.calls.load(Ordering::Relaxed) > self.0.at
    }

    fn call(&self) -> io::Result<()> {
        let call = self.0.calls.fetch_add(1, Ordering::Relaxed);
        match (call >= self.0.at, self.0.for_good) {
            // ENODEV and EIO, as Linux says.
            (true, true) => Err(io::Error::from_raw_os_error(19)),
            (true, false) if call == self.0.at => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }
}

/// Files behind a cable.
#[derive(Debug)]
pub(crate) struct Pulled<F> {
    files: F,
    cable: Cable,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct PulledFile<T> {
    file: T,
    cable: Cable,
}

impl<F: Files> Pulled<F> {
    pub(crate) fn new(files: F, cable: &Cable) -> Self {
        Self { files, cable: cable.clone() }
    }

    fn behind(&self, file: F::File) -> PulledFile<F::File> {
        PulledFile { file, cable: self.cable.clone() }
    }
}

impl<F: Files> Files for Pulled<F> {
    type File = PulledFile<F::File>;

    fn open(&self, folder: &str, file: &str) -> io::Result<Option<Self::File>> {
        self.cable.call()?;
        Ok(self.files.open(folder, file)?.map(|file| self.behind(file)))
    }

    fn create(&self, folder: &str, file: &str) -> io::Result<Self::File> {
        self.cable.call()?;
        Ok(self.behind(self.files.create(folder, file)?))
    }

    fn edit(&self, folder: &str, file: &str) -> io::Result<Self::File> {
        self.cable.call()?;
        Ok(self.behind(self.files.edit(folder, file)?))
    }

    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        self.cable.call()?;
        self.files.rename(folder, from, to)
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        self.cable.call()?;
        self.files.remove(folder, file)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.cable.call()?;
        self.files.sync_folder(folder)
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        self.cable.call()?;
        self.files.make_folder(folder)
    }

    fn list(&self, folder: &str, count_max: usize) -> io::Result<Vec<Listed>> {
        self.cable.call()?;
        self.files.list(folder, count_max)
    }

    fn lock(&self, file: &str, who: &str) -> Result<Box<dyn Lock>, LockError> {
        self.cable.call()?;
        self.files.lock(file, who)
    }

    fn title(&self) -> String {
        self.files.title()
    }
}

impl<T: Edit> Object for PulledFile<T> {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.cable.call()?;
        self.file.read_at(offset, bytes)
    }
}

impl<T: Edit> Edit for PulledFile<T> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.cable.call()?;
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.cable.call()?;
        self.file.sync()
    }
}
