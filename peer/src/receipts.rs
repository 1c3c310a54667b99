//! Which receipts are kept, by who brings them.
//!
//! Whoever is admitted may bring receipts of others: a ship that passes takes them along. Where the
//! certificate of the key that signed one is known, the signature decides, whoever brings it. Where
//! it is not, nobody's word but the device's own, or that of its neighbours, gets a receipt a place
//! that the true one could not take any more.

use std::collections::BTreeMap;
use std::fmt;

use neap_trust::identity::standing::{self, Worthless};
use neap_trust::identity::{Certificate, Crl};
use neap_trust::receipt::{Receipt, ReceiptError};

use crate::limits::CERTIFICATE_COUNT_MAX;

/// Who brings a receipt.
#[derive(Debug, Clone, Copy)]
pub struct Bearer<'a> {
    /// Its device name, by its certificate.
    pub name: &'a str,
    /// Whether it is a member of our site.
    pub same_site: bool,
}

/// Certificates that receipts are verified by, by the id of their key.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    by_key: BTreeMap<[u8; 16], Certificate>,
}

/// Why a receipt is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotKept {
    /// It is none.
    NoReceipt(ReceiptError),
    /// It is another one than is said: kept, it would keep the place of the true one.
    Another {
        /// The device that it names.
        device: String,
        /// Its number.
        number: u64,
    },
    /// Its device's certificate does not stand for it.
    Worthless(Worthless),
    /// The key that signed it is not known, and who brings it does not speak for its device.
    Unknown {
        /// The device that it names.
        device: String,
        /// Who brings it.
        bearer: String,
    },
}

impl Certificates {
    /// Takes a certificate. Of two for one key, the one that is valid for longer says the same and
    /// more. Where there are too many, it is not taken.
    pub(crate) fn add(&mut self, certificate: Certificate) {
        let key = certificate.key().id();
        let is_full = self.by_key.len() >= CERTIFICATE_COUNT_MAX;
        let is_better = match self.by_key.get(&key) {
            Some(known) => known.validity().1 < certificate.validity().1,
            None => !is_full,
        };
        if is_better {
            self.by_key.insert(key, certificate);
        }
    }

    /// Whether a receipt from `bearer` is kept, by the newest list of revoked certificates.
    pub(crate) fn judge(
        &self,
        bytes: &[u8],
        bearer: &Bearer<'_>,
        crl: Option<&Crl>,
    ) -> Result<(), NotKept> {
        let key = Receipt::key_id(bytes).map_err(NotKept::NoReceipt)?;
        let known = <[u8; 16]>::try_from(key).ok().and_then(|key| self.by_key.get(&key));
        if let Some(certificate) = known {
            let verified = standing::verify(bytes, certificate, crl);
            return verified.map(drop).map_err(NotKept::Worthless);
        }
        let device = Receipt::claimed(bytes).map_err(NotKept::NoReceipt)?.device;
        match bearer.same_site || bearer.name == device {
            true => Ok(()),
            false => Err(NotKept::Unknown { device, bearer: bearer.name.to_owned() }),
        }
    }
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReceipt(error) => error.fmt(f),
            Self::Another { device, number } => write!(f, "it is receipt {number} of {device}"),
            Self::Worthless(why) => why.fmt(f),
            Self::Unknown { device, bearer } => write!(
                f,
                "a receipt of {device} by a key whose certificate is not known, brought by {bearer}"
            ),
        }
    }
}

impl std::error::Error for NotKept {}

#[cfg(test)]
mod tests {
    use super::*;
    use neap_trust::device_key::file::Kind;
    use neap_trust::fixture::identity::{Ca, at, device, receipts, request};
    use neap_trust::identity::issuer::Span;
    use neap_trust::identity::{Number, Reason, Revocation};

    const STRANGER: Bearer<'_> = Bearer { name: "ferry-1", same_site: false };
    const NEIGHBOUR: Bearer<'_> = Bearer { name: "sonar-2", same_site: true };
    const ITSELF: Bearer<'_> = Bearer { name: "radar-7", same_site: false };

    #[test]
    fn where_the_certificate_is_known_only_its_signature_counts() {
        let (ca, key) = (Ca::new(1), device(Kind::P256, 7));
        let certificate = ca.certificate(&request("radar-7", &key), 7);
        let mut known = Certificates::default();
        known.add(certificate.clone());
        let [first, second] = receipts("radar-7", &key);
        assert_eq!(known.judge(&first, &STRANGER, None), Ok(()), "a ship that passes brings it");
        let mut forged = second.clone();
        *forged.last_mut().expect("a signature") ^= 1;
        let [of_other, _] = receipts("radar-8", &key);
        for bearer in [STRANGER, NEIGHBOUR, ITSELF] {
            for bytes in [&forged, &of_other] {
                let judged = known.judge(bytes, &bearer, None);
                assert!(matches!(judged, Err(NotKept::Worthless(_))), "{bearer:?}: {judged:?}");
            }
        }
        let why = Revocation { at: at(-60), reason: Reason::KeyCompromise };
        let crl = ca.crl(1, &[(certificate.number(), why)]);
        let judged = known.judge(&first, &ITSELF, Some(&crl));
        assert_eq!(judged, Err(NotKept::Worthless(Worthless::Revoked(why))));
    }

    #[test]
    fn where_it_is_not_the_device_and_its_neighbours_are_believed_and_nobody_else() {
        let known = Certificates::default();
        let [first, _] = receipts("radar-7", &device(Kind::Ed25519, 7));
        assert_eq!(known.judge(&first, &ITSELF, None), Ok(()));
        assert_eq!(known.judge(&first, &NEIGHBOUR, None), Ok(()));
        let judged = known.judge(&first, &STRANGER, None).expect_err("refused").to_string();
        assert!(judged.contains("radar-7") && judged.contains("ferry-1"), "{judged}");
        assert!(matches!(known.judge(b"", &ITSELF, None), Err(NotKept::NoReceipt(_))));
    }

    #[test]
    fn of_two_certificates_for_a_key_the_one_that_is_valid_for_longer_is_kept() {
        let (ca, key) = (Ca::new(1), device(Kind::Ed25519, 7));
        let asked = request("radar-7", &key);
        let of = |number: u8, until: i64| {
            let (number, span) =
                (Number::from_random([number; 16]), Span { from: at(-60), until: at(until) });
            ca.issuer().certificate(&asked, &number, span).expect("made")
        };
        let (short, long) = (of(1, 3_600), of(2, 7_200));
        for order in [[&short, &long], [&long, &short]] {
            let mut known = Certificates::default();
            order.into_iter().for_each(|certificate| known.add(certificate.clone()));
            assert!(known.by_key.values().eq([&long]));
        }
    }
}
