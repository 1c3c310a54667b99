//! The one writer of a depot: adds blobs and files.

use std::io::{self, Read, Seek, SeekFrom};
use std::{error, fmt};

use neap_engine::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::blob::{self, BlobError};
use crate::depot::Depot;
use crate::limits::{BLOB_LEN_MAX, COPY_LEN, RECEIPT_LEN_MAX, STAGED_LEN_MAX};
use crate::name::{Device, Folder, Name};
use crate::store::{self, Lock, LockError, Put, Stamp};
use crate::tree::{self, Builder};

/// Whoever holds this is the only writer.
pub struct Writer<'a> {
    pub(crate) depot: &'a Depot,
    pub(crate) lock: Box<dyn Lock>,
    /// The timestamp as it was when this began.
    pub(crate) seen: Stamp,
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its name among the blobs.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
    /// SHA-256 of its bytes in hexadecimal, as TUF wants it.
    pub sha256: String,
    /// Whether it was written; otherwise it was there.
    pub written: bool,
}

/// What is thought of a blob that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// It is read and checked, and written again only if it is damaged.
    Verify,
    /// Its lengths are looked at: for a store that is known to be good, where reading costs.
    Trust,
}

/// Why a blob was not added. Nothing is there under its name that was not before.
#[derive(Debug)]
#[non_exhaustive]
pub enum AddError {
    /// What was read is not what it should have been.
    Differs {
        /// The digest of what was read.
        found: Digest,
        /// The digest that it should have had.
        expected: Digest,
    },
    /// What was read ended early or went on.
    LengthDiffers {
        /// Bytes that were announced.
        expected: u64,
    },
    /// It is longer than any blob.
    TooLong {
        /// Its length in bytes.
        len: u64,
    },
    /// What is there cannot be judged.
    Present(BlobError),
    /// It cannot be read.
    Read(io::Error),
    /// The store failed.
    Store(io::Error),
}

impl Depot {
    /// Becomes the one writer, until what this returns is dropped.
    ///
    /// `who` is told to whoever is refused meanwhile, such as `neap repo publish, ana@shore-1`.
    ///
    /// # Errors
    /// If there is another writer, or the lock cannot be made.
    pub fn writer(&self, who: &str) -> Result<Writer<'_>, LockError> {
        let lock = self.store.lock(who)?;
        let seen = self.store.stamp(&Name::timestamp())?;
        Ok(Writer { depot: self, lock, seen })
    }
}

impl Writer<'_> {
    /// Adds what can be read twice: once for its digest, and, if it is not there, once to write it.
    ///
    /// # Errors
    /// If it cannot be read or written, or changes meanwhile.
    pub fn add(&self, input: &mut (impl Read + Seek), present: Present) -> Result<Added, AddError> {
        let mut hashes = (blake3::Hasher::new(), Sha256::new(), 0_u64);
        input.seek(SeekFrom::Start(0)).map_err(AddError::Read)?;
        each(input, |bytes| {
            hashes.0.update(bytes);
            hashes.1.update(bytes);
            hashes.2 += bytes.len() as u64;
            Ok(())
        })?;
        let (blake3, sha256, len) = hashes;
        let digest = Digest(*blake3.finalize().as_bytes());
        let sha256 = hex::encode(sha256.finalize());
        if len > BLOB_LEN_MAX {
            return Err(AddError::TooLong { len });
        }
        let written = !self.is_there(&digest, len, present)?;
        if written {
            input.seek(SeekFrom::Start(0)).map_err(AddError::Read)?;
            self.write(&digest, len, input)?;
        }
        Ok(Added { digest, len, sha256, written })
    }

    /// Adds what is known: from another depot, or a link. It is read once, in constant memory, and
    /// not at all if it is there.
    ///
    /// # Errors
    /// If it is not what it should be, or cannot be written.
    pub fn add_known(
        &self,
        digest: &Digest,
        len: u64,
        input: &mut dyn Read,
        present: Present,
    ) -> Result<bool, AddError> {
        if len > BLOB_LEN_MAX {
            return Err(AddError::TooLong { len });
        }
        if self.is_there(digest, len, present)? {
            return Ok(false);
        }
        self.write(digest, len, input)?;
        Ok(true)
    }

    /// Puts a metadata file that still lacks signatures, or replaces one.
    ///
    /// # Errors
    /// If it is too long or cannot be written.
    pub fn stage(&self, file: &str, content: &[u8]) -> io::Result<()> {
        let name = Name::staged(file).ok_or(io::ErrorKind::InvalidFilename)?;
        if content.len() as u64 > STAGED_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        store::put(&*self.depot.store, &name, content)
    }

    /// Removes a staged file, once it is published or given up.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn unstage(&self, file: &str) -> io::Result<()> {
        let name = Name::staged(file).ok_or(io::ErrorKind::InvalidFilename)?;
        self.depot.store.delete(&name)?;
        self.depot.store.settle(&Folder::Staged)
    }

    /// Keeps a receipt; `false` if the same one was there.
    ///
    /// # Errors
    /// If another one is there under its number: a receipt is never replaced.
    pub fn keep_receipt(&self, device: &Device, sequence: u64, bytes: &[u8]) -> io::Result<bool> {
        if bytes.len() as u64 > RECEIPT_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let name = Name::receipt(device, sequence);
        match store::read(&*self.depot.store, &name, RECEIPT_LEN_MAX)? {
            Some(found) if found == bytes => Ok(false),
            // FAT can leave a name without content where it was pulled: that is no receipt.
            Some(found) if !found.is_empty() => {
                let text = format!("{name}: there is another receipt of this number");
                Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
            }
            _ => store::put(&*self.depot.store, &name, bytes).map(|()| true),
        }
    }

    /// Whether a blob is there and, by policy, good.
    fn is_there(&self, digest: &Digest, len: u64, present: Present) -> Result<bool, AddError> {
        let blob = match self.depot.blob(digest) {
            Ok(Some(blob)) => blob,
            Ok(None) => return Ok(false),
            Err(BlobError::Io(error)) => return Err(AddError::Store(error)),
            // Cut short, or damaged in a way that lengths show.
            Err(_) => return Ok(false),
        };
        if blob.len() != len {
            return Ok(false);
        }
        if present == Present::Trust {
            return Ok(true);
        }
        Ok(blob.check().map_err(AddError::Present)?.is_good())
    }

    /// Writes a blob: data first and its tree last, each durable before the next is visible.
    fn write(&self, digest: &Digest, len: u64, input: &mut dyn Read) -> Result<(), AddError> {
        let store = &*self.depot.store;
        let mut files = blob::files(digest, len, self.depot.part_len);
        let mut parts: Vec<Box<dyn Put + '_>> = Vec::new();
        let mut left_in_part = 0;
        let mut tree = store.put(&Name::tree(digest)).map_err(AddError::Store)?;
        tree.reserve(tree::tree_len(len)).map_err(AddError::Store)?;
        let (mut builder, mut pairs) = (Builder::default(), Vec::new());
        let mut limited = input.take(len.saturating_add(1));
        let mut read: u64 = 0;
        if len == 0 {
            parts.push(store.put(&Name::blob(digest)).map_err(AddError::Store)?);
        }
        each(&mut limited, |mut bytes| {
            read += bytes.len() as u64;
            if read > len {
                return Err(AddError::LengthDiffers { expected: len });
            }
            builder.update(bytes, &mut pairs);
            tree.write(&pairs).map_err(AddError::Store)?;
            pairs.clear();
            while !bytes.is_empty() {
                if left_in_part == 0 {
                    let (name, part_len) = files.next().expect("parts are for all of `len`");
                    let mut part = store.put(&name).map_err(AddError::Store)?;
                    part.reserve(part_len).map_err(AddError::Store)?;
                    parts.push(part);
                    left_in_part = part_len;
                }
                let now = usize::try_from(left_in_part).unwrap_or(usize::MAX).min(bytes.len());
                let part = parts.last_mut().expect("one was begun");
                part.write(&bytes[..now]).map_err(AddError::Store)?;
                left_in_part -= now as u64;
                bytes = &bytes[now..];
            }
            Ok(())
        })?;
        if read != len {
            return Err(AddError::LengthDiffers { expected: len });
        }
        let (found, _) = builder.finish(&mut pairs);
        if found != *digest {
            return Err(AddError::Differs { found, expected: *digest });
        }
        tree.write(&pairs).map_err(AddError::Store)?;
        for part in parts {
            part.finish().map_err(AddError::Store)?;
        }
        tree.finish().map_err(AddError::Store)
    }
}

/// Gives all that can be read, piece by piece.
fn each(
    input: &mut dyn Read,
    mut take: impl FnMut(&[u8]) -> Result<(), AddError>,
) -> Result<(), AddError> {
    let mut buffer = vec![0; COPY_LEN];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => take(&buffer[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(AddError::Read(error)),
        }
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({:?})", self.depot)
    }
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { found, expected } => {
                write!(f, "its digest is {found}, expected {expected}")
            }
            Self::LengthDiffers { expected } => write!(f, "it is not {expected} bytes long"),
            Self::TooLong { len } => write!(f, "{len} bytes, at most {BLOB_LEN_MAX} allowed"),
            Self::Present(error) => write!(f, "the blob that is there: {error}"),
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Store(error) => write!(f, "the depot: {error}"),
        }
    }
}

impl error::Error for AddError {}
