//! Why a configuration is refused.

use std::fmt;
use std::path::PathBuf;

use crate::limits::{CONFIG_FILE_COUNT_MAX, CONFIG_LEN_MAX};

/// Why a configuration is refused; whoever wrote it wrote it so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file or folder that cannot be read.
    Read {
        /// Which.
        file: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A file of more bytes than a configuration has.
    TooLong {
        /// Which.
        file: PathBuf,
    },
    /// More files than a configuration has.
    TooMany {
        /// How many.
        found: usize,
    },
    /// A line that says nothing that is known.
    Line {
        /// In which file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What stands there.
        text: String,
        /// What was found and what is allowed.
        why: String,
    },
    /// A key whose value does not fit the others.
    Key {
        /// The last file that sets it.
        file: PathBuf,
        /// Its path, with dots.
        key: String,
        /// What was found and what is allowed.
        why: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, why } => write!(f, "{}: {why}", file.display()),
            Self::TooLong { file } => {
                write!(f, "{}: more than {CONFIG_LEN_MAX} bytes", file.display())
            }
            Self::TooMany { found } => {
                write!(f, "{found} files of configuration, {CONFIG_FILE_COUNT_MAX} allowed")
            }
            Self::Line { file, line, text, why } => {
                write!(f, "{}: line {line}, `{text}`: {why}", file.display())
            }
            Self::Key { file, key, why } => write!(f, "{}: {key}: {why}", file.display()),
        }
    }
}

impl std::error::Error for ConfigError {}
