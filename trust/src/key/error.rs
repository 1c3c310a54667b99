//! Why a key cannot be made, read or used.

use std::fmt;
use std::io;

use crate::repo::changes::plain;

/// What went wrong with a key. Nothing secret is ever in the text.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes are no key that neap uses.
    NotAKey(String),
    /// The passphrase does not open the file, or the file is damaged.
    WrongPassphrase,
    /// The file is sealed and no passphrase was given.
    PassphraseNeeded,
    /// A new passphrase has fewer characters than this.
    PassphraseShort(usize),
    /// Others than the owner can read or write the file: its permission bits.
    TooOpen(u32),
    /// There is a key of this name, and keys are never overwritten.
    Exists,
    /// The file or pipe fails.
    Io(io::Error),
    /// The URI of a token is not well formed.
    Uri(String),
    /// A token does not do what was asked.
    Token(String),
    /// The command that signs fails.
    Command(String),
    /// The command that signs did not end in time and was stopped.
    CommandLate {
        /// The command.
        command: String,
        /// Seconds that it was given.
        limit_s: u64,
    },
    /// What was made is not a signature of the key over the message.
    WrongSignature,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKey(why) => f.write_str(why),
            Self::WrongPassphrase => {
                f.write_str("the passphrase does not open the key, or the key is damaged")
            }
            Self::PassphraseNeeded => f.write_str("the key is sealed, and no passphrase was given"),
            Self::PassphraseShort(min) => {
                write!(f, "the passphrase is shorter than {min} characters")
            }
            Self::TooOpen(mode) => {
                write!(f, "permissions are {mode:04o}, and only the owner may read a private key")
            }
            Self::Exists => f.write_str("exists, and keys are never overwritten"),
            Self::Io(error) => error.fmt(f),
            Self::Uri(why) => write!(f, "no URI of a token's key: {why}"),
            Self::Token(why) => write!(f, "the token refuses: {why}"),
            Self::Command(why) => write!(f, "the command that signs fails: {why}"),
            Self::CommandLate { command, limit_s } => {
                let shown = plain(command);
                write!(f, "`{shown}` did not end within {limit_s} seconds and was stopped")
            }
            Self::WrongSignature => {
                f.write_str("what was returned is not a signature of this public key")
            }
        }
    }
}

impl std::error::Error for KeyError {}

impl From<io::Error> for KeyError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists,
            _ => Self::Io(error),
        }
    }
}
