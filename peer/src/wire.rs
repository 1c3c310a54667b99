//! What peers say to each other, byte for byte as `docs/wire.md` defines it. Whatever decodes has
//! passed every check that needs no other knowledge.
//!
//! - [`Notice`]: frames on the one stream that each side opens to tell the other what it has.
//! - [`Request`]: what a stream of its own asks; [`Status`] begins the answer.

mod bytes;
mod notice;
mod request;

use std::fmt;

pub use notice::{Address, Hello, Notice};
pub(crate) use request::file_len;
pub use request::{Request, Status, decode_files, decode_receipts, encode_files, encode_receipts};

/// The protocol in TLS's negotiation (RFC 7301). A later version has another name, and both are
/// offered while both are spoken.
pub const ALPN: &[u8] = b"neap/1";

/// The protocol's version within that name: a peer may say less or more, and the lower one counts.
pub const VERSION: u16 = 1;

/// Why bytes are no message; the peer that sent them wrote them so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// A frame or a request ends before it should, or goes on.
    Length {
        /// Of what.
        what: &'static str,
    },
    /// More than is allowed.
    TooLong {
        /// Of what.
        what: &'static str,
        /// What was announced.
        found: u64,
        /// What is allowed.
        allowed: u64,
    },
    /// A kind of message that this version does not have.
    Kind(u8),
    /// A field that cannot have this value.
    Value {
        /// The field.
        what: &'static str,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { what } => write!(f, "{what} ends early or goes on"),
            Self::TooLong { what, found, allowed } => {
                write!(f, "{what} of {found}, at most {allowed} allowed")
            }
            Self::Kind(kind) => write!(f, "message of unknown kind {kind}"),
            Self::Value { what } => write!(f, "{what} cannot have this value"),
        }
    }
}

impl std::error::Error for WireError {}
