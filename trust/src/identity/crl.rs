//! The list of a fleet's revoked certificates (RFC 5280, 5). It is whole: each list has all that
//! were ever revoked, expired ones too, because receipts are judged by the date of revocation.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use x509_cert::crl::{CertificateList, RevokedCert};
use x509_cert::ext::pkix::{CrlNumber, CrlReason};

use super::certificate::{Authority, Number, check_authority_id};
use super::encoding::{self, Extensions, check_authority, decoded, der, signed, timestamp};
use super::error::{IdentityError, What};
use crate::limits::CRL_ENTRIES_MAX;

/// Why a certificate was revoked (RFC 5280, 5.3.1). A certificate never comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Not stated.
    Unspecified,
    /// Somebody else has or may have the key: the device was stolen, opened, or lost.
    KeyCompromise,
    /// The device went to another fleet or owner.
    AffiliationChanged,
    /// The device has another certificate in its place.
    Superseded,
    /// The device is out of service.
    CessationOfOperation,
    /// The device may no longer take part.
    PrivilegeWithdrawn,
}

/// Since when a certificate is revoked, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// A list that its authority signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    number: u64,
    this_update: Timestamp,
    next_update: Timestamp,
    revoked: BTreeMap<Number, Revocation>,
}

impl Reason {
    /// All that there are.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    pub(super) fn code(self) -> CrlReason {
        match self {
            Self::Unspecified => CrlReason::Unspecified,
            Self::KeyCompromise => CrlReason::KeyCompromise,
            Self::AffiliationChanged => CrlReason::AffiliationChanged,
            Self::Superseded => CrlReason::Superseded,
            Self::CessationOfOperation => CrlReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => CrlReason::PrivilegeWithdrawn,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|reason| reason.as_str()).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

impl Crl {
    pub(super) fn read(bytes: &[u8], authority: &Authority) -> Result<Self, IdentityError> {
        let what = What::Crl;
        let der = der(bytes, what)?.into_owned();
        let list: CertificateList = decoded(&der, what)?;
        let tbs = &list.tbs_cert_list;
        if tbs.issuer != authority.fleet.subject() {
            return Err(IdentityError::Issuer);
        }
        let algorithms = [&tbs.signature, &list.signature_algorithm];
        check_authority(&authority.key, algorithms, &signed(tbs, what)?, &list.signature, what)?;
        let wrong = |why: &str| IdentityError::Encoding { what, why: why.into() };
        if tbs.version != x509_cert::Version::V2 {
            return Err(wrong("not of version 2"));
        }
        let this_update = timestamp(&tbs.this_update)?;
        let next_update =
            tbs.next_update.as_ref().ok_or_else(|| wrong("there is no nextUpdate"))?;
        let next_update = timestamp(next_update)?;
        if next_update < this_update {
            let why = format!("made {this_update}, and the next one due {next_update}");
            return Err(IdentityError::Validity(why));
        }
        let found = tbs.crl_extensions.as_deref().unwrap_or_default();
        let mut extensions = Extensions::new(found, what)?;
        let number: CrlNumber = extensions.take(false)?;
        check_authority_id(&mut extensions, &authority.key)?;
        extensions.finish()?;
        let number = number_of(&number).ok_or_else(|| wrong("its number is not below 2^63"))?;
        let revoked = revoked(tbs.revoked_certificates.as_deref().unwrap_or_default())?;
        Ok(Self { der, number, this_update, next_update, revoked })
    }

    /// Its number: a later list has a higher one.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When it was made.
    #[must_use]
    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// When the next one is due at the latest. A list that is older still says who is revoked.
    #[must_use]
    pub fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// All that are revoked.
    #[must_use]
    pub fn revoked(&self) -> &BTreeMap<Number, Revocation> {
        &self.revoked
    }

    /// Its bytes: what is published.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its bytes as text.
    #[must_use]
    pub fn pem(&self) -> String {
        encoding::pem(&self.der, What::Crl)
    }
}

fn number_of(number: &CrlNumber) -> Option<u64> {
    let bytes = number.0.as_bytes();
    let mut value = [0; 8];
    let start = value.len().checked_sub(bytes.len())?;
    value[start..].copy_from_slice(bytes);
    Some(u64::from_be_bytes(value)).filter(|number| *number < 1 << 63)
}

fn revoked(entries: &[RevokedCert]) -> Result<BTreeMap<Number, Revocation>, IdentityError> {
    if entries.len() > CRL_ENTRIES_MAX {
        let why = format!("{} entries, {CRL_ENTRIES_MAX} allowed", entries.len());
        return Err(IdentityError::Entries(why));
    }
    let mut revoked = BTreeMap::new();
    for entry in entries {
        let number = Number::of(&entry.serial_number)?;
        let found = entry.crl_entry_extensions.as_deref().unwrap_or_default();
        let mut extensions = Extensions::new(found, What::Crl)?;
        let reason = match extensions.take_if_there::<CrlReason>()? {
            None => Reason::Unspecified,
            Some(code) => {
                Reason::ALL.into_iter().find(|reason| reason.code() == code).ok_or_else(|| {
                    IdentityError::Entries(format!("{number} is revoked for a reason not known"))
                })?
            }
        };
        extensions.finish()?;
        let at = timestamp(&entry.revocation_date)?;
        if revoked.insert(number.clone(), Revocation { at, reason }).is_some() {
            return Err(IdentityError::Entries(format!("{number} is there twice")));
        }
    }
    Ok(revoked)
}
