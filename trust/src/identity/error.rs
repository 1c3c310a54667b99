//! Why bytes are no request, certificate or list, and why none is made.

use std::fmt;

use crate::key::KeyError;

/// What is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The certificate of a fleet's authority.
    Authority,
    /// A certificate of a device.
    Certificate,
    /// A request for one (RFC 2986).
    Request,
    /// A list of revoked certificates.
    Crl,
    /// The authority's record of what it issued.
    Ledger,
}

/// What is wrong. Whoever made the bytes can cause each, but for the last three.
#[derive(Debug)]
#[non_exhaustive]
pub enum IdentityError {
    /// More bytes than are read.
    TooLong {
        /// What it is.
        what: What,
        /// Its bytes; of a file that was cut off, those that were read.
        len: usize,
        /// How many are allowed.
        len_max: usize,
    },
    /// Not what it should be, or not in the one encoding that DER allows.
    Encoding {
        /// What it should be.
        what: What,
        /// What is wrong.
        why: String,
    },
    /// A signature or key of a kind that is weak or not known.
    Algorithm {
        /// Its name, or its number.
        found: String,
    },
    /// A key that is no key, or one that anybody can use.
    Key(String),
    /// Not signed by the key that should have signed it.
    Signature(What),
    /// A name that a device or fleet cannot have, or the name of another.
    Name(String),
    /// An extension that is missing, there twice, or says something else than it must.
    Extension {
        /// Its name or number.
        extension: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is of another authority.
    Issuer,
    /// Valid until before it is valid, or longer than the authority.
    Validity(String),
    /// More entries than there may be, or entries that contradict each other.
    Entries(String),
    /// The signer is not the authority's key.
    OtherKey,
    /// The signer does not sign.
    Signer(KeyError),
    /// The request may not be met; the ledger says why.
    Denied(super::ledger::Denied),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "certificate of an authority",
            Self::Certificate => "certificate of a device",
            Self::Request => "certificate request",
            Self::Crl => "list of revoked certificates",
            Self::Ledger => "ledger of an authority",
        })
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { what, len, len_max } => {
                write!(f, "a {what} of {len} bytes or more, {len_max} allowed")
            }
            Self::Encoding { what, why } => write!(f, "no {what}: {why}"),
            Self::Algorithm { found } => {
                write!(f, "{found} is not taken: keys are Ed25519 or P-256 with SHA-256")
            }
            Self::Key(why) => f.write_str(why),
            Self::Signature(What::Request) => {
                f.write_str("the request is not signed by the key that it asks for")
            }
            Self::Signature(what) => write!(f, "the {what} is not signed by the authority"),
            Self::Name(why) => f.write_str(why),
            Self::Extension { extension, why } => write!(f, "extension {extension}: {why}"),
            Self::Issuer => f.write_str("it is of another authority"),
            Self::Validity(why) | Self::Entries(why) => f.write_str(why),
            Self::OtherKey => f.write_str("the key is not that of the authority's certificate"),
            Self::Signer(error) => error.fmt(f),
            Self::Denied(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for IdentityError {}

impl From<KeyError> for IdentityError {
    fn from(error: KeyError) -> Self {
        Self::Signer(error)
    }
}

impl From<super::ledger::Denied> for IdentityError {
    fn from(why: super::ledger::Denied) -> Self {
        Self::Denied(why)
    }
}
