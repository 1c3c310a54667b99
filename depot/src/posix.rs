//! Folders of a real file system: every open relative to the depot's own handle, no link followed.
//!
//! FAT has no journal, and what has it is pulled at any moment. So what is on it must make sense
//! after every single write: clusters are taken in the table before an entry of a folder leads to
//! them, and given back after none does any more. Else Linux finds a free cluster in a chain the
//! next time, and makes the stick read-only; or a name without content stays. fsync of Linux writes
//! the entry before the table, and after a rename one without a length; syncfs writes from the
//! front of the medium on, where the table is. `cli/tests/stick_qemu.rs` pulls sticks from under
//! this.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Advice, AtFlags, Dir, FallocateFlags, FileType, FlockOperation, FsWord, Mode, OFlags,
};
use rustix::io::{Errno, pwritev, retry_on_intr};

use crate::files::Files;
use crate::limits::HOLDER_LEN_MAX;
use crate::store::{Edit, Kind, Listed, Lock, LockError, Object};

/// A folder, held open: what is done stays in it even if it is moved.
#[derive(Debug)]
pub struct Posix {
    top: OwnedFd,
    path: PathBuf,
    is_fat: bool,
}

/// An open regular file.
#[derive(Debug)]
pub struct PosixFile {
    file: File,
    len: u64,
    is_fat: bool,
}

/// A lock that the system takes back when the process ends.
struct Flock {
    _file: File,
}

/// What Linux calls FAT and exFAT: MSDOS_SUPER_MAGIC and EXFAT_SUPER_MAGIC.
const FAT: [FsWord; 2] = [0x4d44, 0x2011_bab0];

impl Posix {
    /// A depot's folder, made if it is missing.
    ///
    /// # Errors
    /// If it cannot be made or opened.
    pub fn make(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// A depot's folder, which must be there. A link to it is followed, links in it are not.
    ///
    /// # Errors
    /// If it cannot be opened or is no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty())?;
        let is_fat = rustix::fs::fstatfs(&top).is_ok_and(|found| FAT.contains(&found.f_type));
        Ok(Self { top, path: path.into(), is_fat })
    }

    /// A folder in it, with nothing of what is above. A link is not followed.
    ///
    /// # Errors
    /// If it cannot be opened or is no folder.
    pub fn below(&self, folder: &str) -> io::Result<Self> {
        let (top, path) = (self.folder(folder)?, self.path.join(folder));
        Ok(Self { top, path, is_fat: self.is_fat })
    }

    fn folder(&self, folder: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = self.top.try_clone()?;
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            at = rustix::fs::openat(&at, part, flags, Mode::empty())?;
        }
        Ok(at)
    }

    fn file(&self, folder: &str, file: &str, flags: OFlags) -> io::Result<PosixFile> {
        let at = self.folder(folder)?;
        // A FIFO would block the open; NONBLOCK does nothing to a regular file.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = rustix::fs::openat(at, file, flags, Mode::from(0o644))?.into();
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(PosixFile { len: metadata.len(), file, is_fat: self.is_fat })
    }
}

impl Files for Posix {
    type File = PosixFile;

    fn open(&self, folder: &str, file: &str) -> io::Result<Option<PosixFile>> {
        match self.file(folder, file, OFlags::RDONLY) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, folder: &str, file: &str) -> io::Result<PosixFile> {
        self.file(folder, file, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn edit(&self, folder: &str, file: &str) -> io::Result<PosixFile> {
        self.file(folder, file, OFlags::RDWR | OFlags::CREATE)
    }

    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        let at = self.folder(folder)?;
        if !self.is_fat {
            return Ok(rustix::fs::renameat(&at, from, &at, to)?);
        }
        // What is replaced gives its clusters back only when nothing leads to them any more.
        let replaced = self.open(folder, to);
        rustix::fs::renameat(&at, from, &at, to)?;
        let synced = self.sync_folder(folder);
        drop(replaced);
        synced
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        let at = match self.folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            at => at?,
        };
        // While it is open its clusters are not given back.
        let held = if self.is_fat { self.open(folder, file).ok().flatten() } else { None };
        match rustix::fs::unlinkat(&at, file, AtFlags::empty()) {
            Ok(()) if held.is_some() => self.sync_folder(folder),
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let folder = self.folder(folder)?;
        if self.is_fat {
            // FAT keeps a file's length in the folder, and after a rename fsync of the folder
            // writes an entry without one.
            rustix::fs::syncfs(&folder)?;
        }
        match rustix::fs::fsync(folder) {
            // Some network file systems cannot sync a folder, and say so. There is no other way.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
        match rustix::fs::mkdirat(self.folder(above)?, name, Mode::from(0o755)) {
            Ok(()) => self.sync_folder(above),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, folder: &str, count_max: usize) -> io::Result<Vec<Listed>> {
        let at = match self.folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            at => at?,
        };
        let mut entries = Vec::new();
        for entry in Dir::read_from(&at)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_bytes() == b"." || name.to_bytes() == b".." {
                continue;
            }
            if entries.len() == count_max {
                let text = format!("{folder}: more than {count_max} entries");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
            }
            let stat = match rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Removed by the writer since it was listed.
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Folder,
                _ => Kind::Other,
            };
            let len = u64::try_from(stat.st_size).unwrap_or_default();
            entries.push(Listed { file: name.to_string_lossy().into_owned(), kind, len });
        }
        Ok(entries)
    }

    fn lock(&self, file: &str, who: &str) -> Result<Box<dyn Lock>, LockError> {
        let mut file = self.file("", file, OFlags::RDWR | OFlags::CREATE)?.file;
        match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = Vec::new();
                Read::by_ref(&mut file).take(HOLDER_LEN_MAX as u64).read_to_end(&mut holder)?;
                return Err(LockError::Held(String::from_utf8_lossy(&holder).trim().into()));
            }
            Err(error) => return Err(io::Error::from(error).into()),
        }
        // It is never made shorter: FAT would give its cluster back while an entry leads there.
        let before = file.metadata()?.len().min(HOLDER_LEN_MAX as u64);
        let width = usize::try_from(before).unwrap_or(HOLDER_LEN_MAX);
        file.write_all_at(format!("{who:width$}").as_bytes(), 0)?;
        Ok(Box::new(Flock { _file: file }))
    }

    fn title(&self) -> String {
        self.path.display().to_string()
    }
}

impl Lock for Flock {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Object for PosixFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn forget(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    fn ahead(&self, offset: u64, len: u64) {
        if let Some(len) = NonZeroU64::new(len) {
            // A hint: where it is not taken, the read itself says what is wrong.
            rustix::fs::fadvise(&self.file, offset, Some(len), Advice::WillNeed)
                .unwrap_or_default();
        }
    }
}

impl Edit for PosixFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_all_at(&self, mut offset: u64, stretches: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<_> = stretches.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let mut rest = &mut slices[..];
        // Empty ones in front would look like a disk that takes nothing.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let now = &rest[..rest.len().min(SLICES_MAX)];
            let len = retry_on_intr(|| pwritev(&self.file, now, offset))?;
            if len == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, len);
            offset += len as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_fat {
            rustix::fs::syncfs(&self.file)?;
        }
        // Before Linux 5.8 only this one tells what failed.
        self.file.sync_all()
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        if !self.is_fat || len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, len) {
            Ok(()) => self.sync(),
            // exFAT, and file systems in user space.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Stretches that are written at once: every system takes 16 (POSIX's `IOV_MAX`), Linux 1024.
const SLICES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that is named shorter than the one before made the lock's file shorter: on FAT its
    /// cluster was free before the entry that leads there was written, and a stick that was pulled
    /// in between could not be written again.
    #[test]
    fn lock_never_shrinks_and_tells_who_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Posix::open(folder.path()).expect("opened");
        let len = || std::fs::metadata(folder.path().join("lock")).expect("made").len();
        drop(files.lock("lock", "neap stick export, captain@bridge").expect("free"));
        let before = len();
        let held = files.lock("lock", "neap").expect("free again");
        assert_eq!(len(), before);
        let refused = files.lock("lock", "another").map(drop).expect_err("it is held");
        assert_eq!(refused.to_string(), "another writer is at work: neap");
        drop(held);
        assert_eq!(len(), before, "who was refused wrote nothing");
    }
}
