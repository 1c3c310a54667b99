//! Why a stick is not taken, or cannot be written.

use std::path::{Path, PathBuf};
use std::{error, fmt, io};

use neap_depot::blob::BlobError;
use neap_depot::publish::PublishError;
use neap_depot::store::LockError;
use neap_depot::writer::AddError;
use neap_engine::digest::Digest;

use crate::manifest::ManifestError;

/// What stops a stick. Whoever had it can cause each of these, but for the last three.
#[derive(Debug)]
#[non_exhaustive]
pub enum StickError {
    /// Nothing of ours lies there.
    NoStick {
        /// Where it was looked for.
        place: PathBuf,
    },
    /// What has the name of our folder is a link or a file.
    NotAFolder {
        /// What it is.
        place: PathBuf,
    },
    /// Two folders have our folder's name, in different case.
    Twins {
        /// Their name.
        place: PathBuf,
    },
    /// The list of what is encrypted is none.
    Manifest {
        /// The stick.
        title: String,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// A blob of it is not what is signed, or is damaged.
    Blob {
        /// Which.
        digest: Digest,
        /// What is wrong with it.
        error: BlobError,
    },
    /// A blob of it is not as long as what is signed.
    BlobLength {
        /// Which.
        digest: Digest,
        /// Bytes that it says it has.
        found: u64,
        /// Bytes that are signed.
        expected: u64,
    },
    /// What was written reads back otherwise.
    ReadBack {
        /// The blob.
        digest: Digest,
    },
    /// The stick holds a newer release than the one that was to be written.
    Newer {
        /// Version of its timestamp.
        found: u64,
        /// Version of ours.
        ours: u64,
    },
    /// A release was published while the depot was read.
    Published {
        /// The metadata file that is another one now.
        file: String,
    },
    /// There is too little room.
    NoRoom {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// It cannot be read or written.
    Io {
        /// What: a path, or a file of the stick.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// Another program writes to the depot or the stick.
    Lock(LockError),
    /// A blob of the depot cannot be read, or cannot be written.
    Add {
        /// Which.
        digest: Digest,
        /// Why.
        error: AddError,
    },
    /// Metadata cannot be kept.
    Publish(PublishError),
}

/// Why the system says that an encrypted blob may not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// No key was given.
    NoKey,
    /// It is encrypted to another key than the one that was given.
    OtherKey,
}

impl Closed {
    /// Whether this is why something was not read.
    #[must_use]
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKey => "it is encrypted, and no key was given",
            Self::OtherKey => "it is encrypted, and not to the key that was given",
        })
    }
}

impl error::Error for Closed {}

impl From<Closed> for io::Error {
    fn from(closed: Closed) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, closed)
    }
}

impl StickError {
    pub(crate) fn at(place: &Path, error: io::Error) -> Self {
        Self::Io { what: place.display().to_string(), error }
    }

    pub(crate) fn of(title: &str, file: &str, error: io::Error) -> Self {
        Self::Io { what: format!("{title}/{file}"), error }
    }

    /// What the system said, where it did.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { error, .. }
            | Self::Blob { error: BlobError::Io(error), .. }
            | Self::Lock(LockError::Io(error))
            | Self::Add { error: AddError::Store(error) | AddError::Read(error), .. }
            | Self::Publish(PublishError::Io(_, error)) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for StickError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStick { place } => {
                write!(f, "{}: no folder `neap` is on it", place.display())
            }
            Self::NotAFolder { place } => {
                write!(f, "{}: not a folder; links are not followed", place.display())
            }
            Self::Twins { place } => {
                write!(f, "{}: two folders have this name in different case", place.display())
            }
            Self::Manifest { title, error } => write!(f, "{title}/stick.json: {error}"),
            Self::Blob { digest, error } => write!(f, "blob {digest}: {error}"),
            Self::BlobLength { digest, found, expected } => {
                write!(f, "blob {digest}: it says that it has {found} bytes, {expected} are signed")
            }
            Self::ReadBack { digest } => {
                write!(f, "blob {digest}: what was written reads back otherwise: a bad stick")
            }
            Self::Newer { found, ours } => write!(
                f,
                "the stick holds timestamp version {found}, newer than version {ours} of the depot"
            ),
            Self::Published { file } => {
                write!(f, "{file} was published anew meanwhile")
            }
            Self::NoRoom { needed, free } => {
                write!(f, "{needed} bytes are needed, and {free} are free")
            }
            Self::Io { what, error } => write!(f, "{what}: {error}"),
            Self::Lock(error) => error.fmt(f),
            Self::Add { digest, error } => write!(f, "blob {digest}: {error}"),
            Self::Publish(error) => error.fmt(f),
        }
    }
}

impl error::Error for StickError {}

impl From<LockError> for StickError {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

impl From<PublishError> for StickError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}
