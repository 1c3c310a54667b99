//! What a depot is kept in: a folder, a bucket. Every operation either happens as a whole or not.

use std::{fmt, io};

use crate::limits::COPY_LEN;
use crate::name::{Folder, Name};

/// Files by name, put whole, read at any place, and one writer at a time.
///
/// A carrier is never believed: what comes out of here is checked by whoever reads it.
pub trait Store: Send + Sync {
    /// Opens a file, or says that there is none.
    ///
    /// # Errors
    /// If it cannot be opened or is no regular file.
    fn open(&self, name: &Name) -> io::Result<Option<Box<dyn Object>>>;

    /// What is in a folder, in order of name. A folder that is not there is empty.
    ///
    /// # Errors
    /// If it cannot be listed, or holds more than [`LIST_COUNT_MAX`](crate::limits) entries.
    fn list(&self, folder: &Folder) -> io::Result<Vec<Listed>>;

    /// Begins a file that takes this name, and the place of what had it, once it is finished.
    ///
    /// # Errors
    /// If it cannot be made.
    fn put(&self, name: &Name) -> io::Result<Box<dyn Put + '_>>;

    /// What [`Store::switch`] compares: which content a file has now.
    ///
    /// # Errors
    /// If it cannot be read.
    fn stamp(&self, name: &Name) -> io::Result<Stamp>;

    /// Replaces a short file if it is still the one that was `seen`. When this returns the new
    /// content lasts.
    ///
    /// # Errors
    /// If another writer was faster: [`io::ErrorKind::AlreadyExists`]; nothing was changed.
    fn switch(&self, name: &Name, seen: &Stamp, content: &[u8]) -> io::Result<()>;

    /// Removes a file; one that is not there is no error. Lasts after [`Store::settle`].
    ///
    /// # Errors
    /// If it cannot be removed.
    fn delete(&self, name: &Name) -> io::Result<()>;

    /// Makes removals in a folder last.
    ///
    /// # Errors
    /// If the disk fails.
    fn settle(&self, folder: &Folder) -> io::Result<()>;

    /// Becomes the one writer, under a name that others are told.
    ///
    /// # Errors
    /// If there is another writer.
    fn lock(&self, who: &str) -> Result<Box<dyn Lock>, LockError>;

    /// Takes the lock from a writer that is gone: what it said of itself, or nothing if there was
    /// no lock to take. Folders need it never: the system takes the lock back from a dead process.
    ///
    /// # Errors
    /// If the store fails.
    fn break_lock(&self) -> io::Result<Option<String>>;

    /// Opens a file for writing at any place; made if it is not there.
    ///
    /// # Errors
    /// Buckets cannot: [`io::ErrorKind::Unsupported`].
    fn edit(&self, name: &Name) -> io::Result<Box<dyn Edit>>;

    /// Gives a file that was edited and synced its last name.
    ///
    /// # Errors
    /// If it is not there; buckets cannot: [`io::ErrorKind::Unsupported`].
    fn promote(&self, from: &Name, to: &Name) -> io::Result<()>;

    /// What the store is, for people: a path or an address.
    fn title(&self) -> String;

    /// Bytes that crossed a network for it so far, with what headers take at most: for budgets.
    /// 0 for stores that need none, or do not count.
    fn crossed(&self) -> u64 {
        0
    }
}

/// An open file. It stays what it was when it was opened even if it is removed or replaced.
pub trait Object: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Whether it holds nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// If the file ends before, or cannot be read.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Drops what the system keeps of it in memory, as far as it can: what is read next comes from
    /// the medium. What was not synced stays.
    ///
    /// # Errors
    /// If the system refuses.
    fn forget(&self) -> io::Result<()> {
        Ok(())
    }

    /// Lets the medium begin to read what will be asked for next, while the caller does other
    /// things. Nothing depends on it.
    fn ahead(&self, _offset: u64, _len: u64) {}

    /// Gives `len` bytes from `offset` in order, as they come.
    ///
    /// # Errors
    /// As [`Object::read_at`], and what `take` returns: then it ends there.
    fn stream(&self, offset: u64, len: u64, take: &mut Take<'_>) -> io::Result<()> {
        let mut buffer = vec![0; usize::try_from(len).unwrap_or(COPY_LEN).min(COPY_LEN)];
        let mut done = 0;
        while done < len {
            let now = usize::try_from(len - done).unwrap_or(COPY_LEN).min(COPY_LEN);
            self.read_at(offset + done, &mut buffer[..now])?;
            done += now as u64;
            self.ahead(offset + done, (len - done).min(COPY_LEN as u64));
            take(&buffer[..now])?;
        }
        Ok(())
    }
}

/// What takes bytes piece by piece.
pub type Take<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// A file that is being written. Dropped unfinished, it leaves nothing under its name.
pub trait Put {
    /// Says how long it will be, at the most, before anything is written: where that matters, room
    /// for it is taken at once.
    ///
    /// # Errors
    /// If there is too little room.
    fn reserve(&mut self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Appends.
    ///
    /// # Errors
    /// If the store is full or fails.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes it durable, then visible under its name, then that durable.
    ///
    /// # Errors
    /// If the store fails; then the name still has what it had.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A file that is written in any order.
pub trait Edit: Object {
    /// Writes at `offset`; a gap before it reads as zeros.
    ///
    /// # Errors
    /// If the store is full or fails.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes several stretches of memory one after the other from `offset` on, at once where the
    /// system can.
    ///
    /// # Errors
    /// As [`Edit::write_at`].
    fn write_all_at(&self, mut offset: u64, stretches: &[&[u8]]) -> io::Result<()> {
        for bytes in stretches {
            self.write_at(offset, bytes)?;
            offset += bytes.len() as u64;
        }
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// If the store fails.
    fn sync(&self) -> io::Result<()>;

    /// As [`Put::reserve`].
    ///
    /// # Errors
    /// If there is too little room.
    fn reserve(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Held by the one writer; dropped, another may write.
pub trait Lock: Send {
    /// Whether nobody took it away.
    ///
    /// # Errors
    /// If somebody did, or it cannot be asked.
    fn check(&self) -> io::Result<()>;
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name, as far as that is text.
    pub file: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file.
    pub len: u64,
}

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A link, a device, a socket: never opened.
    Other,
}

/// Which content a file had; nothing if there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(pub(crate) Option<String>);

/// Why one cannot become the writer.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// There is one: what it said of itself.
    Held(String),
    /// The lock cannot be made or read.
    Io(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(who) if who.is_empty() => f.write_str("another writer is at work"),
            Self::Held(who) => write!(f, "another writer is at work: {who}"),
            Self::Io(error) => write!(f, "the lock: {error}"),
        }
    }
}

impl std::error::Error for LockError {}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a whole file that is at most `len_max` bytes long.
///
/// # Errors
/// If it is longer: [`io::ErrorKind::FileTooLarge`], without having read it.
pub fn read(store: &dyn Store, name: &Name, len_max: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(object) = store.open(name)? else { return Ok(None) };
    let len = object.len();
    if len > len_max {
        let text = format!("{name}: {len} bytes, at most {len_max} allowed");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut content = vec![0; len];
    object.read_at(0, &mut content)?;
    Ok(Some(content))
}

/// Puts a short file.
///
/// # Errors
/// As [`Store::put`] and [`Put`] do.
pub fn put(store: &dyn Store, name: &Name, content: &[u8]) -> io::Result<()> {
    let mut file = store.put(name)?;
    file.write(content)?;
    file.finish()
}
