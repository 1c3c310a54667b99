//! Why a change of the repository is refused.

use std::fmt;
use std::io;

use crate::key::KeyError;

/// What the editor refuses. Files may come from anybody; what they hold is never believed.
#[derive(Debug)]
#[non_exhaustive]
pub enum RepoError {
    /// A file is not what it should be: the file, and what is wrong with it.
    Malformed(String, String),
    /// A file of the depot cannot be read: its name.
    Io(String, io::Error),
    /// What was asked for makes no sense: a role that is not there, a threshold no keys can meet.
    Impossible(String),
    /// There is a repository here already.
    Exists,
    /// There is no repository here.
    Missing,
    /// Everything is as asked for already.
    NothingToDo(String),
    /// Older than what is there, or another of the same number.
    Older(String),
    /// A key that may not sign for this role: the key, the role.
    WrongRole(String, String),
    /// A signature that is not of this key over these bytes.
    WrongSignature(String),
    /// A signature over other bytes than those that are staged, and why that may be.
    OtherBytes(String),
    /// A change that does not follow on what is published.
    StaleBase(String),
    /// A role with fewer signatures than its threshold: role, signatures, threshold, whose.
    BelowThreshold {
        /// The role.
        role: String,
        /// Valid signatures of distinct keys of the role.
        count: usize,
        /// How many there must be.
        threshold: usize,
        /// Who decides that.
        authority: String,
    },
    /// Metadata whose time is over.
    Expired(String),
    /// A signer fails.
    Key(KeyError),
}

impl fmt::Display for RepoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(file, why) => write!(f, "{file}: {why}"),
            Self::Io(file, error) => write!(f, "{file}: {error}"),
            Self::Exists => f.write_str("there is a repository here already"),
            Self::Missing => f.write_str("there is no repository here"),
            Self::WrongRole(key, role) => write!(f, "key {key} may not sign for role {role}"),
            Self::BelowThreshold { role, count, threshold, authority } => write!(
                f,
                "role {role} has {count} valid signatures of distinct keys, and {authority} \
                 asks for {threshold}"
            ),
            Self::Key(error) => error.fmt(f),
            Self::Impossible(text)
            | Self::NothingToDo(text)
            | Self::Older(text)
            | Self::WrongSignature(text)
            | Self::OtherBytes(text)
            | Self::StaleBase(text)
            | Self::Expired(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for RepoError {}

impl From<KeyError> for RepoError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}
