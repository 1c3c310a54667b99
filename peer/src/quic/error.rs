//! Why a peer was not reached.

use std::fmt;

/// Why a peer was not reached.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// No connection came about: no route, no answer, or one side does not admit the other.
    Connect(String),
    /// It is another device than expected.
    OtherDevice {
        /// The one that answered.
        found: String,
        /// The one that was expected.
        expected: String,
    },
    /// It did not say who it is as the protocol wants.
    Protocol(String),
    /// There are too many connections, or a better one to it.
    Superfluous,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "not reached: {why}"),
            Self::OtherDevice { found, expected } => write!(f, "it is {found}, not {expected}"),
            Self::Protocol(why) => f.write_str(why),
            Self::Superfluous => f.write_str("there is another connection to it, or too many"),
        }
    }
}

impl std::error::Error for DialError {}
