//! Files that are synced every few megabytes while they are written: what is pulled in the middle
//! then holds up nobody, and a stick's own speed is what is shown as progress. What waits for the
//! stick is counted by [`pulse`](crate::pulse).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use neap_depot::files::Files;
use neap_depot::store::{Edit, Listed, Lock, LockError, Object};

use crate::pulse::Call;

/// The same files, synced as they are written.
#[derive(Debug)]
pub struct Paced<F> {
    files: F,
    step_len: u64,
}

/// One of them.
#[derive(Debug)]
pub struct PacedFile<T> {
    file: T,
    step_len: u64,
    unsynced: AtomicU64,
}

impl<F: Files> Paced<F> {
    /// Files that are synced after every `step_len` bytes.
    pub fn new(files: F, step_len: u64) -> Self {
        Self { files, step_len }
    }

    fn paced(&self, file: F::File) -> PacedFile<F::File> {
        PacedFile { file, step_len: self.step_len, unsynced: AtomicU64::new(0) }
    }
}

impl<F: Files> Files for Paced<F> {
    type File = PacedFile<F::File>;

    fn open(&self, folder: &str, file: &str) -> io::Result<Option<Self::File>> {
        let _call = Call::begin();
        Ok(self.files.open(folder, file)?.map(|file| self.paced(file)))
    }

    fn create(&self, folder: &str, file: &str) -> io::Result<Self::File> {
        let _call = Call::begin();
        Ok(self.paced(self.files.create(folder, file)?))
    }

    fn edit(&self, folder: &str, file: &str) -> io::Result<Self::File> {
        let _call = Call::begin();
        Ok(self.paced(self.files.edit(folder, file)?))
    }

    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        let _call = Call::begin();
        self.files.rename(folder, from, to)
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        let _call = Call::begin();
        self.files.remove(folder, file)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let _call = Call::begin();
        self.files.sync_folder(folder)
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        let _call = Call::begin();
        self.files.make_folder(folder)
    }

    fn list(&self, folder: &str, count_max: usize) -> io::Result<Vec<Listed>> {
        let _call = Call::begin();
        self.files.list(folder, count_max)
    }

    fn lock(&self, file: &str, who: &str) -> Result<Box<dyn Lock>, LockError> {
        let _call = Call::begin();
        self.files.lock(file, who)
    }

    fn title(&self) -> String {
        self.files.title()
    }
}

impl<T: Edit> Object for PacedFile<T> {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let (call, len) = (Call::begin(), bytes.len());
        call.ended(len, self.file.read_at(offset, bytes))
    }

    fn forget(&self) -> io::Result<()> {
        let _call = Call::begin();
        self.file.forget()
    }

    fn ahead(&self, offset: u64, len: u64) {
        let _call = Call::begin();
        self.file.ahead(offset, len);
    }
}

impl<T: Edit> Edit for PacedFile<T> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Call::begin().ended(bytes.len(), self.file.write_at(offset, bytes))?;
        let len = bytes.len() as u64;
        let before = self.unsynced.fetch_add(len, Ordering::Relaxed);
        if before + len >= self.step_len {
            self.sync()?;
        } else if before / START_LEN != (before + len) / START_LEN {
            // The medium writes while we read and hash what comes next, instead of waiting for the
            // sync; and what was written need not stay in memory, since it is read back from there.
            self.file.forget()?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        let _call = Call::begin();
        self.file.sync()
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let _call = Call::begin();
        self.file.reserve(len)
    }
}

/// Written bytes after which the system is told to begin writing them to the medium.
const START_LEN: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use neap_depot::memory::{Fate, Memory};

    use super::*;

    #[test]
    fn no_more_than_a_step_is_ever_unsynced() {
        let memory = Memory::default();
        memory.make_folder("a").expect("made");
        let files = Paced::new(memory.clone(), 10);
        let file = files.create("a", "x").expect("made");
        files.sync_folder("a").expect("synced");
        let lasting = || {
            let disk = memory.after_cut(Fate::Lost);
            disk.open("a", "x").expect("opened").expect("it is there").len()
        };
        for (at, len, lasts) in [(0, 6, 0), (6, 3, 0), (9, 2, 11), (11, 9, 11), (20, 1, 21)] {
            file.write_at(at, &vec![7; len]).expect("written");
            assert_eq!(lasting(), lasts, "after {len} bytes at {at}");
        }
    }
}
