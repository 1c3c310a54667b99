//! A stick whose cable is pulled in one call, so that from then on every call fails, reads too; or
//! that fails once, or reads one wrong byte once, and is well again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use neap_depot::files::Files;
use neap_depot::store::{Edit, Listed, Lock, LockError, Object};

/// Counts calls, and something happens in one of them.
#[derive(Debug, Clone)]
pub(crate) struct Cable(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: AtomicU64,
    at: u64,
    happens: Happens,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    Pulled,
    Fails,
    Lies,
}

impl Default for Cable {
    fn default() -> Self {
        Self::pulled_at(u64::MAX)
    }
}

impl Cable {
    /// A cable that is pulled in this call, counted from 0.
    pub(crate) fn pulled_at(call: u64) -> Self {
        Self::new(call, Happens::Pulled)
    }

    /// All that can happen in this call: it is pulled, it fails, it reads a wrong byte.
    pub(crate) fn all(call: u64) -> [Self; 3] {
        [Happens::Pulled, Happens::Fails, Happens::Lies].map(|happens| Self::new(call, happens))
    }

    fn new(at: u64, happens: Happens) -> Self {
        Self(Arc::new(Inner { calls: AtomicU64::new(0), at, happens }))
    }

    /// Whether it came to that call.
    pub(crate) fn was_reached(&self) -> bool {
        self.0.calls.load(Ordering::Relaxed) > self.0.at
    }

    /// Counts a call: whether it reads a wrong byte.
    fn call(&self) -> io::Result<bool> {
        let call = self.0.calls.fetch_add(1, Ordering::Relaxed);
        match self.0.happens {
            // ENODEV and EIO, as Linux says.
            Happens::Pulled if call >= self.0.at => Err(io::Error::from_raw_os_error(19)),
            Happens::Fails if call == self.0.at => Err(io::Error::from_raw_os_error(5)),
            happens => Ok(happens == Happens::Lies && call == self.0.at),
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
        let lies = self.cable.call()?;
        self.file.read_at(offset, bytes)?;
        if let Some(byte) = bytes.get_mut(7).filter(|_| lies) {
            *byte ^= 0x20;
        }
        Ok(())
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
