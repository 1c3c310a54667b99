//! Folders: a depot to read metadata from, and the device's own state.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::carrier::Carrier;
use crate::state::State;

/// A depot in a folder: `metadata/` and `blobs/`.
#[derive(Debug, Clone)]
pub struct Folder {
    metadata: PathBuf,
    blobs: PathBuf,
}

/// The device's own memory: a folder that only it writes to.
#[derive(Debug, Clone)]
pub struct StateFolder {
    folder: PathBuf,
}

impl Folder {
    /// The depot in this folder.
    #[must_use]
    pub fn new(depot: &Path) -> Self {
        Self { metadata: depot.join("metadata"), blobs: depot.join("blobs") }
    }
}

impl Carrier for Folder {
    fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        read(&self.metadata.join(plain(name)?), len_max)
    }

    fn document(&self, blake3: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        read(&self.blobs.join(plain(blake3)?), len_max)
    }
}

impl StateFolder {
    /// The state in this folder, which is made when something is first kept.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

impl State for StateFolder {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        read(&self.folder.join(plain(name)?), STATE_LEN_MAX)
    }

    fn store(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let name = plain(name)?;
        fs::create_dir_all(&self.folder)?;
        // One process writes the state; what a killed one left under this name is written over.
        let unfinished = self.folder.join(format!("{name}{UNFINISHED}"));
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.folder.join(name))?;
        sync_folder(&self.folder)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(plain(name)?)) {
            Ok(()) => sync_folder(&self.folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Longest file of the state: no metadata is longer.
const STATE_LEN_MAX: u64 = crate::limits::TARGETS_LEN_MAX;

/// Ends the names of files that are being written; no file of the state ends so.
const UNFINISHED: &str = ".new";

/// A rename is on the disk once its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A name that stays in its folder.
fn plain(name: &str) -> io::Result<&str> {
    let leaves = ["", ".", ".."].contains(&name) || name.contains(['/', '\\', '\0']);
    match leaves || name.ends_with(UNFINISHED) {
        true => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name"))),
        false => Ok(name),
    }
}

fn read(path: &Path, len_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // A pipe or a device of that name would never end, or hold the reader for ever.
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if found.len() > len_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default());
    // It may grow while it is read.
    file.take(len_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > len_max {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(Some(bytes)),
    }
}
