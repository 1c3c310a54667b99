//! Which of the offers lie on a stick: what does not cannot be installed from it.

use neap_depot::blob::BlobError;
use neap_engine::digest::Digest;
use neap_trust::client::Offer;
use neap_usb_sideload::error::Closed;
use neap_usb_sideload::stick::Stick;

/// How the blob of an offer lies on a stick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lies {
    Not,
    /// It is there, encrypted to another key than the one that was given.
    Closed,
    /// It is there; one that cannot be read, too: why is said when it is taken.
    Open,
}

impl Lies {
    pub(super) fn of(offer: &Offer, stick: &Stick) -> Self {
        let Some(digest) = Digest::from_hex(&offer.custom.blake3) else { return Self::Not };
        match stick.depot().blob(&digest) {
            Ok(None) => Self::Not,
            Err(BlobError::Io(error)) if Closed::is_in(&error) => Self::Closed,
            _ => Self::Open,
        }
    }
}
