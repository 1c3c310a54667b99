//! What a device says of an update, signed: a COSE_Sign1 (RFC 9052) over a CBOR map.
//!
//! Every byte is defined in `docs/receipts.md`. [`chain`] puts the receipts of a device in order;
//! [`export`] makes them tables and service reports.

mod cbor;
pub mod chain;
pub mod export;

use std::fmt;

use jiff::Timestamp;

use crate::cose::{self, Fault};
use crate::device_key::{DeviceKey, DeviceSigner};
use crate::limits::RECEIPT_LEN_MAX;
use crate::time::Source;

/// A digest: BLAKE3, 32 bytes.
pub type Digest = [u8; 32];

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Nothing was updated: the device says what it is and runs.
    Inventory = 0,
    /// The target was written, read back and kept.
    Committed = 1,
    /// The target was written and not kept.
    RolledBack = 2,
    /// Nothing was written.
    Refused = 3,
    /// The target is not whole.
    Failed = 4,
}

/// How an update came to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Carrier {
    /// By hand, as a file.
    File = 0,
    /// Over a link that costs.
    Wan = 1,
    /// From another device of the site.
    Lan = 2,
    /// On a stick.
    Stick = 3,
}

/// A receipt. Texts are at most [`Receipt::TEXT_LEN_MAX`] bytes, and hold no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The device, as its certificate names it.
    pub device: String,
    /// From 1, without gaps.
    pub sequence: u64,
    /// BLAKE3 of the whole receipt before; nothing in the first one.
    pub previous: Option<Digest>,
    /// What hardware it is.
    pub hardware: String,
    /// The product.
    pub product: String,
    /// The version that runs now, or that was refused.
    pub version: String,
    /// Digest of the image before.
    pub from: Option<Digest>,
    /// Digest of the image that was to be made.
    pub to: Option<Digest>,
    /// Digest of what was read back from the device.
    pub read_back: Option<Digest>,
    /// What became of it.
    pub outcome: Outcome,
    /// The exit code that stands for it.
    pub exit: u8,
    /// Why, in words; empty where all went well.
    pub detail: String,
    /// When, in whole seconds.
    pub at: Timestamp,
    /// How sure of the time.
    pub at_source: Source,
    /// Seconds by which the metadata was past its expiry.
    pub stale_s: u64,
    /// Version of the timestamp that was acted on; 0 for none.
    pub timestamp_version: u64,
    /// How it came.
    pub carrier: Carrier,
    /// Which one: a stick's label, a peer's name; may be empty.
    pub carrier_id: String,
    /// Who approved, by name or key.
    pub approvals: Vec<String>,
}

/// A receipt whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it says.
    pub receipt: Receipt,
    /// BLAKE3 of its bytes: what the next receipt names.
    pub digest: Digest,
}

/// Why bytes are no receipt. Whoever carried them can cause each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Longer than [`RECEIPT_LEN_MAX`].
    TooLong {
        /// Its length in bytes.
        len: u64,
    },
    /// No COSE_Sign1 with tag 18, or with bytes behind it.
    NotCose,
    /// Signed by an algorithm that is not the key's, or with header fields that are not expected.
    Header,
    /// Signed by another key.
    OtherKey {
        /// The key's id in the receipt, in hexadecimal digits.
        found: String,
    },
    /// Not signed by the key that it names.
    Signature,
    /// A form of receipt that this program does not know.
    Version {
        /// Its number.
        version: u64,
    },
    /// A field that is missing, of another type, or out of bounds.
    Field {
        /// Its name.
        name: &'static str,
    },
    /// A field that is not known, or comes out of order.
    UnknownField,
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => write!(f, "{len} bytes, {RECEIPT_LEN_MAX} allowed"),
            Self::NotCose => f.write_str("no COSE_Sign1 message"),
            Self::Header => f.write_str("the header is not that of a receipt"),
            Self::OtherKey { found } => write!(f, "signed by the key {found}, not by the device's"),
            Self::Signature => f.write_str("the signature is not of the key that it names"),
            Self::Version { version } => write!(f, "a receipt of form {version}, 1 is known"),
            Self::Field { name } => write!(f, "the field `{name}` is missing or out of bounds"),
            Self::UnknownField => f.write_str("a field that is not known"),
        }
    }
}

impl std::error::Error for ReceiptError {}

/// What the content is, in the protected header (RFC 9052, 3.1).
const CONTENT_TYPE: &str = "application/vnd.neap.receipt+cbor";

impl Receipt {
    /// Longest text, in bytes.
    pub const TEXT_LEN_MAX: usize = 256;
    /// Most who approved.
    pub const APPROVALS_MAX: usize = 8;

    /// Signs the receipt.
    ///
    /// # Errors
    /// If a field is out of bounds, or the signer does not sign; the text says why.
    pub fn sign(&self, signer: &dyn DeviceSigner) -> Result<Vec<u8>, String> {
        if let Some(name) = cbor::out_of_bounds(self) {
            return Err(ReceiptError::Field { name }.to_string());
        }
        seal(cbor::encode(self), signer)
    }

    /// The receipt in `bytes`, if it is whole and signed by `key`.
    ///
    /// # Errors
    /// [`ReceiptError`]: why it is not.
    pub fn verify(bytes: &[u8], key: &DeviceKey) -> Result<Verified, ReceiptError> {
        within_limit(bytes)?;
        let payload = cose::open(bytes, CONTENT_TYPE, key)?;
        let receipt = cbor::decode(&payload)?;
        Ok(Verified { receipt, digest: blake3::hash(bytes).into() })
    }

    /// The id of the key that the bytes claim to be signed by: to find the certificate for it.
    ///
    /// # Errors
    /// If they are no receipt.
    pub fn key_id(bytes: &[u8]) -> Result<Vec<u8>, ReceiptError> {
        Ok(message(bytes)?.protected.header.key_id)
    }

    /// What the bytes claim, verified by nobody: to find out whose key to verify with.
    ///
    /// # Errors
    /// If they are no receipt.
    pub fn claimed(bytes: &[u8]) -> Result<Self, ReceiptError> {
        cbor::decode(message(bytes)?.payload.as_deref().unwrap_or_default())
    }
}

/// A payload as a receipt, whatever it says: [`Receipt::sign`] says only what a receipt can.
///
/// # Errors
/// If the signer does not sign.
pub(crate) fn seal(payload: Vec<u8>, signer: &dyn DeviceSigner) -> Result<Vec<u8>, String> {
    cose::seal(payload, CONTENT_TYPE, signer)
}

fn message(bytes: &[u8]) -> Result<coset::CoseSign1, ReceiptError> {
    within_limit(bytes)?;
    Ok(cose::message(bytes)?)
}

fn within_limit(bytes: &[u8]) -> Result<(), ReceiptError> {
    let len = bytes.len() as u64;
    if len > RECEIPT_LEN_MAX { Err(ReceiptError::TooLong { len }) } else { Ok(()) }
}

impl From<Fault> for ReceiptError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotCose => Self::NotCose,
            Fault::Header => Self::Header,
            Fault::OtherKey(id) => Self::OtherKey { found: hex::encode(id) },
            Fault::Signature => Self::Signature,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
