//! A stick whose cable is pulled in one call: from then on every call fails, reads too.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use neap_depot::files::Files;
use neap_depot::store::{Edit, Listed, Lock, LockError, Object};

/// Counts calls, and is pulled in one of them.
#[derive(Debug, Clone)]
pub(crate) struct Cable(Arc<(AtomicU64, u64)>);

impl Default for Cable {
    fn default() -> Self {
        Self::pulled_at(u64::MAX)
    }
}

impl Cable {
    /// A cable that is pulled in this call, counted from 0.
    pub(crate) fn pulled_at(call: u64) -> Self {
        Self(Arc::new((AtomicU64::new(0), call)))
    }

    /// Whether it was pulled.
    pub(crate) fn is_pulled(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) > self.0.1
    }

    fn call(&self) -> io::Result<()> {
        match self.0.0.fetch_add(1, Ordering::Relaxed) >= self.0.1 {
            // ENODEV, as Linux says.
            true => Err(io::Error::from_raw_os_error(19)),
            false => Ok(()),
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
