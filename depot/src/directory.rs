//! A depot in a folder: what is put is synced under a temporary name, renamed, and its folder
//! synced, so that a power cut leaves the old content or the new.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use neap_engine::digest::Digest;

use crate::files::Files;
use crate::limits::{LIST_COUNT_MAX, METADATA_LEN_MAX};
use crate::name::{self, Folder, Name};
use crate::store::{self, Edit, Listed, Lock, LockError, Object, Put, Stamp, Store};

/// A store on a file system, real or modelled.
#[derive(Debug)]
pub struct Directory<F> {
    files: F,
    temporary: AtomicU64,
}

struct Pending<'a, F: Files> {
    directory: &'a Directory<F>,
    name: Name,
    folder: String,
    temporary: String,
    file: F::File,
    len: u64,
    finished: bool,
}

impl<F: Files> Directory<F> {
    /// A depot in the folder that `files` holds.
    pub fn new(files: F) -> Self {
        Self { files, temporary: AtomicU64::new(0) }
    }

    /// The file system.
    pub fn files(&self) -> &F {
        &self.files
    }

    fn make(&self, folder: &Folder) -> io::Result<String> {
        if matches!(folder, Folder::Device(_)) {
            self.files.make_folder(&Folder::Receipts.path())?;
        }
        let path = folder.path();
        if *folder != Folder::Top {
            self.files.make_folder(&path)?;
        }
        Ok(path)
    }

    /// A new file under a name that no other has: writers that were cut short leave theirs.
    fn temporary(&self, folder: &str) -> io::Result<(String, F::File)> {
        let mut refused = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..TEMPORARY_TRIES {
            let name = name::temporary(self.temporary.fetch_add(1, Ordering::Relaxed));
            match self.files.create(folder, &name) {
                Ok(file) => return Ok((name, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }
}

impl<F: Files> Store for Directory<F> {
    fn open(&self, name: &Name) -> io::Result<Option<Box<dyn Object>>> {
        let file = self.files.open(&name.folder().path(), name.file());
        Ok(file?.map(|file| Box::new(file) as Box<dyn Object>))
    }

    fn list(&self, folder: &Folder) -> io::Result<Vec<Listed>> {
        let mut entries = self.files.list(&folder.path(), LIST_COUNT_MAX)?;
        entries.sort_unstable();
        Ok(entries)
    }

    fn put(&self, name: &Name) -> io::Result<Box<dyn Put + '_>> {
        let folder = self.make(name.folder())?;
        let (temporary, file) = self.temporary(&folder)?;
        let (name, len, finished) = (name.clone(), 0, false);
        Ok(Box::new(Pending { directory: self, name, folder, temporary, file, len, finished }))
    }

    fn stamp(&self, name: &Name) -> io::Result<Stamp> {
        let content = store::read(self, name, METADATA_LEN_MAX)?;
        Ok(Stamp(content.map(|content| Digest::of(&content).to_string())))
    }

    fn switch(&self, name: &Name, seen: &Stamp, content: &[u8]) -> io::Result<()> {
        // Only the holder of the lock comes here; that nobody went around it is still looked at.
        if self.stamp(name)? != *seen {
            let text = format!("{name}: changed by another writer");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        store::put(self, name, content)
    }

    fn delete(&self, name: &Name) -> io::Result<()> {
        self.files.remove(&name.folder().path(), name.file())
    }

    fn settle(&self, folder: &Folder) -> io::Result<()> {
        match self.files.sync_folder(&folder.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            settled => settled,
        }
    }

    fn lock(&self, who: &str) -> Result<Box<dyn Lock>, LockError> {
        self.files.lock(Name::lock().file(), who)
    }

    fn break_lock(&self) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn edit(&self, name: &Name) -> io::Result<Box<dyn Edit>> {
        let folder = self.make(name.folder())?;
        Ok(Box::new(self.files.edit(&folder, name.file())?))
    }

    fn promote(&self, from: &Name, to: &Name) -> io::Result<()> {
        assert_eq!(from.folder(), to.folder(), "a file keeps its folder");
        let folder = from.folder().path();
        self.files.rename(&folder, from.file(), to.file())?;
        self.files.sync_folder(&folder)
    }

    fn title(&self) -> String {
        self.files.title()
    }
}

impl<F: Files> Put for Pending<'_, F> {
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.len, bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.file.sync()?;
        let files = &self.directory.files;
        files.rename(&self.folder, &self.temporary, self.name.file())?;
        self.finished = true;
        self.directory.files.sync_folder(&self.folder)
    }
}

impl<F: Files> Drop for Pending<'_, F> {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is removed by `fsck --repair` or `gc`.
            drop(self.directory.files.remove(&self.folder, &self.temporary));
        }
    }
}

/// Temporary files of writers that were cut short, passed over at most.
const TEMPORARY_TRIES: u32 = 10_000;
