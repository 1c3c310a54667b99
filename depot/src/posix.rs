//! Folders of a real file system: every open relative to the depot's own handle, no link followed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::files::Files;
use crate::limits::HOLDER_LEN_MAX;
use crate::store::{Edit, Kind, Listed, Lock, LockError, Object};

/// A folder, held open: what is done stays in it even if it is moved.
#[derive(Debug)]
pub struct Posix {
    top: OwnedFd,
    path: PathBuf,
}

/// An open regular file.
#[derive(Debug)]
pub struct PosixFile {
    file: File,
    len: u64,
}

/// A lock that the system takes back when the process ends.
struct Flock {
    _file: File,
}

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
        Ok(Self { top: rustix::fs::open(path, flags, Mode::empty())?, path: path.into() })
    }

    /// A folder in it, with nothing of what is above. A link is not followed.
    ///
    /// # Errors
    /// If it cannot be opened or is no folder.
    pub fn below(&self, folder: &str) -> io::Result<Self> {
        Ok(Self { top: self.folder(folder)?, path: self.path.join(folder) })
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
        Ok(PosixFile { len: metadata.len(), file })
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
        Ok(rustix::fs::renameat(&at, from, &at, to)?)
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        let at = match self.folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            at => at?,
        };
        match rustix::fs::unlinkat(at, file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        match rustix::fs::fsync(self.folder(folder)?) {
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
        file.set_len(0)?;
        file.write_all_at(who.as_bytes(), 0)?;
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
}

impl Edit for PosixFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
