//! The certificate of a fleet's authority, and those that it issued to devices. Both are of one
//! shape, and any other is refused: fewer things can be said, fewer can be misunderstood.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use x509_cert::certificate::{Certificate as X509, TbsCertificate, Version};
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::serial_number::SerialNumber;

use super::crl::Crl;
use super::encoding::{
    self, Extensions, check_authority, decoded, der, device_key, signed, timestamp, wrong,
};
use super::error::{IdentityError, What};
use super::name::{DeviceName, Fleet};
use crate::device_key::DeviceKey;
use crate::key::PublicKey;
use crate::key::sealed::random;

/// TLS of servers and of clients (RFC 5280, 4.2.1.12): peers are both.
pub(super) const PURPOSES: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
];

/// The number of a certificate, which its authority gives once: 1 to 20 bytes, positive (RFC 5280,
/// 4.1.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Number(Vec<u8>);

/// A fleet's authority: its certificate, which it signed itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub(super) der: Vec<u8>,
    pub(super) tbs: TbsCertificate,
    pub(super) fleet: Fleet,
    pub(super) key: PublicKey,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// A certificate that an authority issued to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    number: Number,
    device: DeviceName,
    key: DeviceKey,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Number {
    /// A new one: 126 random bits, so that nobody can guess it and none comes twice.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut bytes = [0; 16];
        random(&mut bytes)?;
        Ok(Self::from_random(bytes))
    }

    /// The number of these random bytes.
    #[must_use]
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        // Positive, and always of the same length.
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Self(bytes.to_vec())
    }

    /// Its bytes, most significant first.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn of(serial: &SerialNumber) -> Result<Self, IdentityError> {
        let bytes = serial.as_bytes();
        let is_positive = bytes.first().is_some_and(|first| first & 0x80 == 0);
        // A number below 128 in each byte may begin with a zero byte; zero itself is none.
        let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
        match is_positive && !bytes.is_empty() && serial.as_bytes().len() <= 20 {
            true => Ok(Self(bytes.to_vec())),
            false => Err(IdentityError::Encoding {
                what: What::Certificate,
                why: "its number is not positive or longer than 20 bytes".into(),
            }),
        }
    }

    pub(super) fn serial(&self) -> SerialNumber {
        SerialNumber::new(&self.0).expect("at most 20 bytes with the sign")
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Number {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = hex::decode(text).ok().filter(|bytes| hex::encode(bytes) == text);
        let bytes = bytes.filter(|bytes| bytes.first().is_some_and(|first| *first != 0));
        let number = bytes.and_then(|bytes| SerialNumber::new(&bytes).ok());
        let none = || IdentityError::Name("no number of a certificate: expected its digits".into());
        Self::of(&number.ok_or_else(none)?)
    }
}

impl TryFrom<String> for Number {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Number> for String {
    fn from(number: Number) -> Self {
        number.to_string()
    }
}

impl Authority {
    /// An authority's certificate in PEM or DER, which somebody trusted pinned: that it signed
    /// itself says only that it is whole.
    ///
    /// # Errors
    /// If it is not of the shape that authorities have.
    pub fn read(bytes: &[u8]) -> Result<Self, IdentityError> {
        let what = What::Authority;
        let der = der(bytes, what)?.into_owned();
        let certificate: X509 = decoded(&der, what)?;
        let tbs = certificate.tbs_certificate().clone();
        let fleet = Fleet::of_subject(tbs.subject())?;
        if tbs.issuer() != tbs.subject() {
            return Err(IdentityError::Issuer);
        }
        let DeviceKey::Ed25519(key) = device_key(tbs.subject_public_key_info())? else {
            let found = "P-256 as the key of an authority".into();
            return Err(IdentityError::Algorithm { found });
        };
        let (not_before, not_after) = validity(&tbs)?;
        Number::of(tbs.serial_number())?;
        check_form(&tbs, what)?;
        let list = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
        let mut extensions = Extensions::new(list, what)?;
        let constraints: BasicConstraints = extensions.take(true)?;
        if !constraints.ca || constraints.path_len_constraint != Some(0) {
            let why = "not that of an authority without others below it";
            return Err(wrong(<BasicConstraints as Oid>::OID, why));
        }
        let usage: KeyUsage = extensions.take(true)?;
        if usage.0 != (KeyUsages::KeyCertSign | KeyUsages::CRLSign) {
            return Err(wrong(<KeyUsage as Oid>::OID, "expected keyCertSign and cRLSign"));
        }
        check_key_ids(&mut extensions, &DeviceKey::Ed25519(key.clone()), &key)?;
        extensions.finish()?;
        check_authority(
            &key,
            [tbs.signature(), certificate.signature_algorithm()],
            &signed(&tbs, what)?,
            certificate.signature(),
            what,
        )?;
        Ok(Self { der, tbs, fleet, key, not_before, not_after })
    }

    /// A device's certificate in PEM or DER, if this authority issued it. Whether it is valid now,
    /// or was revoked, is not asked here.
    ///
    /// # Errors
    /// If it is of another authority, or not of the shape that certificates of devices have.
    pub fn certificate(&self, bytes: &[u8]) -> Result<Certificate, IdentityError> {
        let what = What::Certificate;
        let der = der(bytes, what)?.into_owned();
        let certificate: X509 = decoded(&der, what)?;
        let tbs = certificate.tbs_certificate();
        if *tbs.issuer() != self.fleet.subject() {
            return Err(IdentityError::Issuer);
        }
        // The signature first: what follows is then the word of the authority.
        let algorithms = [tbs.signature(), certificate.signature_algorithm()];
        let message = signed(tbs, what)?;
        check_authority(&self.key, algorithms, &message, certificate.signature(), what)?;
        check_form(tbs, what)?;
        let device = DeviceName::of_subject(tbs.subject(), what)?;
        if *tbs.subject() != device.subject(&self.fleet) {
            return Err(IdentityError::Name("the subject is not that of a device".into()));
        }
        let key = device_key(tbs.subject_public_key_info())?;
        let (not_before, not_after) = validity(tbs)?;
        if not_after > self.not_after {
            let why = format!("valid until {not_after}, its authority until {}", self.not_after);
            return Err(IdentityError::Validity(why));
        }
        let list = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
        check_device(Extensions::new(list, what)?, &device, &key, self)?;
        let number = Number::of(tbs.serial_number())?;
        Ok(Certificate { der, number, device, key, not_before, not_after })
    }

    /// A list of revoked certificates in PEM or DER, if it is this authority's.
    ///
    /// # Errors
    /// If it is of another authority, or not of the shape that such lists have.
    pub fn crl(&self, bytes: &[u8]) -> Result<Crl, IdentityError> {
        Crl::read(bytes, self)
    }

    /// The fleet.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Since when and until when it is valid.
    #[must_use]
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        (self.not_before, self.not_after)
    }

    /// Its bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its bytes as text.
    #[must_use]
    pub fn pem(&self) -> String {
        encoding::pem(&self.der, What::Authority)
    }
}

impl Certificate {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> &Number {
        &self.number
    }

    /// The device that it names.
    #[must_use]
    pub fn device(&self) -> &DeviceName {
        &self.device
    }

    /// The device's key.
    #[must_use]
    pub fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// Since when and until when it is valid.
    #[must_use]
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        (self.not_before, self.not_after)
    }

    /// Its bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its bytes as text.
    #[must_use]
    pub fn pem(&self) -> String {
        encoding::pem(&self.der, What::Certificate)
    }
}

use x509_cert::der::oid::AssociatedOid as Oid;

/// The id of a key in certificates: the first 20 bytes of its digest (RFC 7093, 2).
pub(super) fn key_id(key: &DeviceKey) -> OctetString {
    OctetString::new(&key.digest()[..20]).expect("20 bytes are short")
}

/// Both key ids, of the subject and of the authority.
pub(super) fn check_key_ids(
    extensions: &mut Extensions<'_>,
    subject: &DeviceKey,
    authority: &PublicKey,
) -> Result<(), IdentityError> {
    let found: SubjectKeyIdentifier = extensions.take(false)?;
    if found.0 != key_id(subject) {
        return Err(wrong(<SubjectKeyIdentifier as Oid>::OID, "not that of its key"));
    }
    check_authority_id(extensions, authority)
}

/// The key id of the authority.
pub(super) fn check_authority_id(
    extensions: &mut Extensions<'_>,
    authority: &PublicKey,
) -> Result<(), IdentityError> {
    let found: AuthorityKeyIdentifier = extensions.take(false)?;
    let expected = authority_id(authority);
    match found == expected {
        true => Ok(()),
        false => Err(wrong(<AuthorityKeyIdentifier as Oid>::OID, "not that of the authority")),
    }
}

pub(super) fn authority_id(authority: &PublicKey) -> AuthorityKeyIdentifier {
    let id = key_id(&DeviceKey::Ed25519(authority.clone()));
    AuthorityKeyIdentifier { key_identifier: Some(id), ..AuthorityKeyIdentifier::default() }
}

fn check_device(
    mut extensions: Extensions<'_>,
    device: &DeviceName,
    key: &DeviceKey,
    authority: &Authority,
) -> Result<(), IdentityError> {
    let constraints: BasicConstraints = extensions.take(true)?;
    if constraints.ca || constraints.path_len_constraint.is_some() {
        return Err(wrong(<BasicConstraints as Oid>::OID, "a device is no authority"));
    }
    let usage: KeyUsage = extensions.take(true)?;
    if usage.0 != KeyUsages::DigitalSignature {
        return Err(wrong(<KeyUsage as Oid>::OID, "expected digitalSignature alone"));
    }
    let purposes: ExtendedKeyUsage = extensions.take(false)?;
    if purposes.0 != PURPOSES {
        return Err(wrong(<ExtendedKeyUsage as Oid>::OID, "expected serverAuth and clientAuth"));
    }
    let names: SubjectAltName = extensions.take(false)?;
    if names != alternative(device, &authority.fleet) {
        return Err(wrong(<SubjectAltName as Oid>::OID, "expected the device's DNS name alone"));
    }
    check_key_ids(&mut extensions, key, &authority.key)?;
    extensions.finish()
}

pub(super) fn alternative(device: &DeviceName, fleet: &Fleet) -> SubjectAltName {
    let dns = Ia5String::new(&device.dns(fleet)).expect("names are of ASCII");
    SubjectAltName(vec![GeneralName::DnsName(dns)])
}

fn check_form(tbs: &TbsCertificate, what: What) -> Result<(), IdentityError> {
    let unique = tbs.issuer_unique_id().is_some() || tbs.subject_unique_id().is_some();
    match tbs.version() == Version::V3 && !unique {
        true => Ok(()),
        false => Err(IdentityError::Encoding { what, why: "not of version 3".into() }),
    }
}

fn validity(tbs: &TbsCertificate) -> Result<(Timestamp, Timestamp), IdentityError> {
    let validity = tbs.validity();
    let (from, until) = (timestamp(&validity.not_before)?, timestamp(&validity.not_after)?);
    match from <= until {
        true => Ok((from, until)),
        false => Err(IdentityError::Validity(format!("valid from {from} until {until}"))),
    }
}
