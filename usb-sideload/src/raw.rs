//! Short files beside a depot: what a stick holds that no other carrier does.

use std::io;

use neap_depot::files::Files;
use neap_depot::store::{Edit, Listed, Object};

use crate::limits::ENTRIES_MAX;

/// Whole short files in a folder.
pub trait Raw: Send + Sync {
    /// A file that is at most `len_max` bytes long; nothing if it is not there.
    ///
    /// # Errors
    /// If it is longer: [`io::ErrorKind::FileTooLarge`], without having read it.
    fn read(&self, folder: &str, file: &str, len_max: u64) -> io::Result<Option<Vec<u8>>>;

    /// Puts a file in place of what has its name: a cut leaves the old content or the new.
    ///
    /// # Errors
    /// If the stick is full, gone, or cannot be written.
    fn put(&self, folder: &str, file: &str, content: &[u8]) -> io::Result<()>;

    /// What is in a folder; nothing if it is not there.
    ///
    /// # Errors
    /// If there are too many entries, or it cannot be read.
    fn entries(&self, folder: &str) -> io::Result<Vec<Listed>>;

    /// Removes a file that a writer left which was cut short.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn clear(&self, folder: &str, file: &str) -> io::Result<()>;
}

impl<F: Files> Raw for F {
    fn read(&self, folder: &str, file: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(object) = self.open(folder, file)? else { return Ok(None) };
        let len = object.len();
        if len > len_max {
            let text = format!("{len} bytes, at most {len_max} allowed");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let mut content = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        object.read_at(0, &mut content)?;
        Ok(Some(content))
    }

    fn put(&self, folder: &str, file: &str, content: &[u8]) -> io::Result<()> {
        if !folder.is_empty() {
            self.make_folder(folder)?;
        }
        // Whoever writes holds the lock: what has this name was left by one that was cut short.
        self.remove(folder, TEMPORARY)?;
        let temporary = self.create(folder, TEMPORARY)?;
        temporary.write_at(0, content)?;
        temporary.sync()?;
        drop(temporary);
        self.rename(folder, TEMPORARY, file)?;
        self.sync_folder(folder)
    }

    fn entries(&self, folder: &str) -> io::Result<Vec<Listed>> {
        self.list(folder, ENTRIES_MAX)
    }

    fn clear(&self, folder: &str, file: &str) -> io::Result<()> {
        self.remove(folder, file)
    }
}

/// A name that a depot takes for temporary, and its writer does not use.
const TEMPORARY: &str = "~stick.tmp";
