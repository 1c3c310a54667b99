//! The receipts of one device in order: each names the digest of the one before, so that none can
//! be left out, changed or put in later without being seen.

use std::fmt;

use super::{Digest, Verified};

/// What is wrong with a chain. It names sequence numbers; receipts that are there stay valid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainFault {
    /// Receipts are missing, from the first to the last of these. They may still arrive.
    Missing {
        /// The first one.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// Two receipts of one number: the device was reset to an earlier state, or its key is used by
    /// another.
    Fork {
        /// Their number.
        sequence: u64,
    },
    /// A receipt that names another one before it than the one that is there.
    Broken {
        /// Its number.
        sequence: u64,
    },
    /// A receipt of another device.
    OtherDevice {
        /// Its number.
        sequence: u64,
        /// Whose it is.
        device: String,
    },
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { first, last } if first == last => {
                write!(f, "receipt {first} is missing")
            }
            Self::Missing { first, last } => write!(f, "receipts {first} to {last} are missing"),
            Self::Fork { sequence } => write!(
                f,
                "there are two receipts {sequence}: the device went back to an earlier state, or \
                 its key is used elsewhere"
            ),
            Self::Broken { sequence } => {
                write!(f, "receipt {sequence} does not follow the one before it")
            }
            Self::OtherDevice { sequence, device } => {
                write!(f, "receipt {sequence} is of {device}")
            }
        }
    }
}

/// Puts the receipts of `device` in order, drops copies, and says what is wrong.
///
/// `known` is the last one that was accepted before, if any: its number and digest.
pub fn order(
    device: &str,
    known: Option<(u64, Digest)>,
    receipts: &mut Vec<Verified>,
) -> Vec<ChainFault> {
    receipts.sort_by_key(|verified| (verified.receipt.sequence, verified.digest));
    receipts.dedup_by_key(|verified| verified.digest);
    let mut faults = Vec::new();
    let (mut last, mut digest) = known.unzip();
    for verified in receipts.iter() {
        let sequence = verified.receipt.sequence;
        if verified.receipt.device != device {
            let device = verified.receipt.device.clone();
            faults.push(ChainFault::OtherDevice { sequence, device });
            continue;
        }
        let (before, next) = (last.unwrap_or(0), last.unwrap_or(0).saturating_add(1));
        if sequence < before || (sequence == before && digest == Some(verified.digest)) {
            continue;
        }
        if sequence == before {
            faults.push(ChainFault::Fork { sequence });
            continue;
        }
        if sequence > next {
            faults.push(ChainFault::Missing { first: next, last: sequence - 1 });
        } else if verified.receipt.previous != digest {
            faults.push(ChainFault::Broken { sequence });
        }
        (last, digest) = (Some(sequence), Some(verified.digest));
    }
    faults
}
