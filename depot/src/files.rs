//! What a depot in a folder asks of a file system: few calls, so that a model can answer them too.

use std::io;

use crate::store::{Edit, Listed, Lock, LockError};

/// A tree of folders. Paths of folders are from the depot's top, `""` is the top itself.
///
/// What is written, renamed or removed may be lost, in any order, until it is synced: a file's
/// content by [`Edit::sync`], its name by [`Files::sync_folder`].
pub trait Files: Send + Sync + 'static {
    /// An open file.
    type File: Edit + 'static;

    /// Opens a regular file for reading. Links are not followed, and refused.
    ///
    /// # Errors
    /// If it cannot be opened, or is something else.
    fn open(&self, folder: &str, file: &str) -> io::Result<Option<Self::File>>;

    /// Makes a new file.
    ///
    /// # Errors
    /// If there is one of this name: [`io::ErrorKind::AlreadyExists`].
    fn create(&self, folder: &str, file: &str) -> io::Result<Self::File>;

    /// Opens a regular file for writing, or makes one.
    ///
    /// # Errors
    /// If it cannot be opened, or is something else.
    fn edit(&self, folder: &str, file: &str) -> io::Result<Self::File>;

    /// Gives a file another name in its folder, and takes the place of what had it, at once.
    ///
    /// # Errors
    /// If it is not there.
    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn remove(&self, folder: &str, file: &str) -> io::Result<()>;

    /// Makes names in a folder last.
    ///
    /// # Errors
    /// If the disk fails.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Makes a folder that lasts; one that is there is no error.
    ///
    /// # Errors
    /// If it cannot be made.
    fn make_folder(&self, folder: &str) -> io::Result<()>;

    /// What is in a folder, in any order; nothing if it is not there.
    ///
    /// # Errors
    /// If there are more than `count_max` entries, or it cannot be read.
    fn list(&self, folder: &str, count_max: usize) -> io::Result<Vec<Listed>>;

    /// Becomes the one writer, until the lock is dropped or the process ends.
    ///
    /// # Errors
    /// If there is another.
    fn lock(&self, file: &str, who: &str) -> Result<Box<dyn Lock>, LockError>;

    /// What it is, for people.
    fn title(&self) -> String;
}
