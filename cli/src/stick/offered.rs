//! Which of the offers lie on a stick: what does not cannot be installed from it.

use neap_depot::blob::BlobError;
use neap_depot::version;
use neap_engine::digest::Digest;
use neap_trust::client::{Checked, Offer};
use neap_trust::target::Kind;
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

/// The images that lie on a stick so, of one product or of all: one offer for each, the latest
/// version of each product first.
pub(super) fn images<'a>(
    checked: &'a Checked,
    stick: &Stick,
    product: Option<&str>,
    lie: &[Lies],
) -> Vec<&'a Offer> {
    let offers = checked.groups.iter().flat_map(|group| &group.offers);
    let mut images: Vec<&Offer> = offers
        .filter(|offer| product.is_none_or(|product| product == offer.custom.product))
        .filter(|offer| is_image(offer) && lie.contains(&Lies::of(offer, stick)))
        .collect();
    images.sort_by(|a, b| {
        let (a, b) = (&a.custom, &b.custom);
        let products = a.product.cmp(&b.product);
        let versions = || version::compare(&b.version, &a.version);
        products.then_with(versions).then_with(|| a.to.cmp(&b.to))
    });
    images.dedup_by(|a, b| {
        let (a, b) = (&a.custom, &b.custom);
        (&a.product, &a.version, &a.to) == (&b.product, &b.version, &b.to)
    });
    images
}

/// Whether an offer makes an image.
fn is_image(offer: &Offer) -> bool {
    matches!(offer.custom.kind, Kind::Full | Kind::Delta) && offer.custom.to.is_some()
}
