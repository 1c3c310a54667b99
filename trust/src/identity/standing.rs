//! What a device's receipts are worth by its certificate.
//!
//! A receipt is good if the certificate's key signed it, it names the certificate's device, and the
//! certificate was not revoked when it was made. That it was made within the certificate's time is
//! told and not required: a device that was offline for long goes on, with a certificate that ran
//! out or a clock that lags, and its word is as good as before. The time is the device's own word:
//! where a key was stolen, whoever has it writes any time, and only what was collected before, or
//! follows in the chain on what was, is beyond doubt.

use std::fmt;

use super::certificate::Certificate;
use super::crl::{Crl, Revocation};
use crate::receipt::{Receipt, ReceiptError, Verified};

/// When a receipt was made, by the certificate's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// Before the certificate was valid: the device's clock lags, or the receipt is older.
    Before,
    /// While it was valid.
    Valid,
    /// After it ran out.
    After,
}

/// What a receipt is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// When it was made.
    pub within: Within,
    /// The certificate was revoked since: the receipt is from before.
    pub revoked_since: Option<Revocation>,
}

/// Why a receipt is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Worthless {
    /// It is no receipt, or not of this key.
    Receipt(ReceiptError),
    /// It names another device than the certificate.
    OtherDevice {
        /// The one that it names.
        found: String,
        /// The one of the certificate.
        expected: String,
    },
    /// It was made when the certificate was revoked.
    Revoked(Revocation),
}

impl fmt::Display for Worthless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receipt(error) => error.fmt(f),
            Self::OtherDevice { found, expected } => {
                write!(f, "it is of the device {found}, the certificate of {expected}")
            }
            Self::Revoked(Revocation { at, reason }) => {
                write!(f, "the device's certificate was revoked at {at} ({reason}), before it")
            }
        }
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before the certificate was valid",
            Self::Valid => "while the certificate was valid",
            Self::After => "after the certificate ran out",
        })
    }
}

/// Verifies a receipt by its device's certificate and the newest list there is, if any.
///
/// # Errors
/// [`Worthless`]: why it counts for nothing.
pub fn verify(
    bytes: &[u8],
    certificate: &Certificate,
    crl: Option<&Crl>,
) -> Result<(Verified, Standing), Worthless> {
    let verified = Receipt::verify(bytes, certificate.key()).map_err(Worthless::Receipt)?;
    let receipt = &verified.receipt;
    if receipt.device != certificate.device().as_str() {
        let expected = certificate.device().to_string();
        return Err(Worthless::OtherDevice { found: receipt.device.clone(), expected });
    }
    let revocation = crl.and_then(|crl| crl.revoked().get(certificate.number()).copied());
    if let Some(revocation) = revocation.filter(|revocation| receipt.at >= revocation.at) {
        return Err(Worthless::Revoked(revocation));
    }
    let (from, until) = certificate.validity();
    let within = match receipt.at {
        at if at < from => Within::Before,
        at if at > until => Within::After,
        _ => Within::Valid,
    };
    Ok((verified, Standing { within, revoked_since: revocation }))
}
