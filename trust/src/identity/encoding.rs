//! What requests, certificates and lists have in common: PEM or DER, limits, keys, signatures,
//! times, and extensions each of which is there once and understood.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{self, DateTime, Decode, Document, Encode};
use x509_cert::ext::Extension;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::Time;

use super::error::{IdentityError, What};
use crate::device_key::DeviceKey;
use crate::key::PublicKey;
use crate::limits::{CERTIFICATE_LEN_MAX, CRL_LEN_MAX, EXTENSIONS_MAX, REQUEST_DER_LEN_MAX};

/// Ed25519 (RFC 8410): of keys and of signatures.
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// ECDSA with SHA-256 (RFC 5758).
pub(super) const ECDSA_SHA256: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// Keys on elliptic curves (RFC 5480).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// The curve P-256.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// Kinds that people ask for and do not get, by name. Others are named by their number.
const REFUSED: [(&str, &str); 13] = [
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.113549.1.1.11", "RSA with SHA-256"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.10045.2.1", "an elliptic curve other than P-256"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256 in this place"),
];

impl What {
    fn label(self) -> &'static str {
        match self {
            Self::Authority | Self::Certificate | Self::Ledger => "CERTIFICATE",
            Self::Request => "CERTIFICATE REQUEST",
            Self::Crl => "X509 CRL",
        }
    }

    fn len_max(self) -> usize {
        match self {
            Self::Crl => CRL_LEN_MAX,
            Self::Request => REQUEST_DER_LEN_MAX,
            _ => CERTIFICATE_LEN_MAX,
        }
    }

    /// Bytes of a file that are worth reading: PEM takes a third more and lines around it.
    #[must_use]
    pub fn file_len_max(self) -> u64 {
        self.len_max() as u64 * 3 / 2 + 256
    }
}

/// The DER of a file in PEM or DER.
pub(super) fn der(bytes: &[u8], what: What) -> Result<Cow<'_, [u8]>, IdentityError> {
    let len_max = what.len_max();
    let len = bytes.len();
    if len as u64 > what.file_len_max() {
        return Err(IdentityError::TooLong { what, len, len_max });
    }
    let der = match std::str::from_utf8(bytes).ok().filter(|text| text.contains("-----BEGIN ")) {
        None => Cow::Borrowed(bytes),
        Some(text) => {
            let wrong = |why: String| IdentityError::Encoding { what, why };
            let (label, document) =
                Document::from_pem(text).map_err(|error| wrong(format!("no PEM: {error}")))?;
            if label != what.label() {
                return Err(wrong(format!(
                    "`{}` in its place",
                    crate::repo::changes::plain(label)
                )));
            }
            Cow::Owned(document.into_vec())
        }
    };
    match der.len() {
        len if len > len_max => Err(IdentityError::TooLong { what, len, len_max }),
        _ => Ok(der),
    }
}

/// What DER says, if it is the one encoding of that.
pub(super) fn decoded<'a, T>(bytes: &'a [u8], what: What) -> Result<T, IdentityError>
where
    T: Decode<'a, Error = der::Error> + Encode,
{
    let wrong = |why: String| IdentityError::Encoding { what, why };
    let value = T::from_der(bytes).map_err(|error| wrong(error.to_string()))?;
    // Signatures are checked over what is encoded again, so nothing else may have been there.
    match value.to_der() {
        Ok(again) if again == bytes => Ok(value),
        _ => Err(wrong("it is not in the one encoding that DER allows".into())),
    }
}

/// DER in PEM.
pub(super) fn pem(der: &[u8], what: What) -> String {
    let document = Document::try_from(der).expect("what was encoded or decoded is DER");
    document.to_pem(what.label(), LineEnding::LF).expect("a label and bytes are PEM")
}

/// What is signed, as bytes.
pub(super) fn signed(part: &impl Encode, what: What) -> Result<Vec<u8>, IdentityError> {
    part.to_der().map_err(|error| IdentityError::Encoding { what, why: error.to_string() })
}

/// Checks that a fleet's key signed `message`; authorities have Ed25519 keys.
pub(super) fn check_authority(
    key: &PublicKey,
    algorithms: [&AlgorithmIdentifierOwned; 2],
    message: &[u8],
    signature: &BitString,
    what: What,
) -> Result<(), IdentityError> {
    for algorithm in algorithms {
        if *algorithm != ed25519() {
            return Err(refused(algorithm.oid));
        }
    }
    let signature: Option<&[u8; 64]> = signature.as_bytes().and_then(|s| s.try_into().ok());
    match signature.is_some_and(|signature| key.verifies(message, signature)) {
        true => Ok(()),
        false => Err(IdentityError::Signature(what)),
    }
}

/// Ed25519, which has no parameters.
pub(super) fn ed25519() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: ED25519, parameters: None }
}

/// A kind of key or signature that is not taken, by name.
pub(super) fn refused(oid: ObjectIdentifier) -> IdentityError {
    let text = oid.to_string();
    let name = REFUSED.iter().find(|(number, _)| *number == text);
    let found = name.map_or_else(|| format!("algorithm {text}"), |(_, name)| (*name).to_owned());
    IdentityError::Algorithm { found }
}

/// The key that a request or certificate has: Ed25519 or P-256, uncompressed, in one encoding.
pub(super) fn device_key(info: &SubjectPublicKeyInfoOwned) -> Result<DeviceKey, IdentityError> {
    let wrong = || IdentityError::Key("its public key is no point of the curve".into());
    let algorithm = &info.algorithm;
    let bits = info.subject_public_key.as_bytes().ok_or_else(wrong)?;
    let curve = algorithm.parameters.as_ref().and_then(|any| any.decode_as().ok());
    let key = if algorithm.oid == ED25519 {
        let key = PublicKey::new(bits.try_into().map_err(|_| wrong())?);
        let weak = || IdentityError::Key("a key of small order, which anybody can use".into());
        DeviceKey::Ed25519(key.strong().ok_or_else(weak)?)
    } else if algorithm.oid == EC && curve == Some(P256) {
        DeviceKey::p256(bits).ok_or_else(wrong)?
    } else {
        return Err(refused(algorithm.oid));
    };
    match key_info(&key)? == *info {
        true => Ok(key),
        false => Err(IdentityError::Key("its public key is not in its one encoding".into())),
    }
}

/// A key as certificates have it.
pub(super) fn key_info(key: &DeviceKey) -> Result<SubjectPublicKeyInfoOwned, IdentityError> {
    let info = key.der().and_then(|der| SubjectPublicKeyInfoOwned::from_der(&der).ok());
    info.ok_or_else(|| IdentityError::Key("its public key is no point of the curve".into()))
}

/// A time in whole seconds, from 1970 to 9999.
pub(super) fn time(at: Timestamp) -> Result<Time, IdentityError> {
    let seconds = u64::try_from(at.as_second()).ok().map(Duration::from_secs);
    let date = seconds.and_then(|seconds| DateTime::from_unix_duration(seconds).ok());
    let outside = || IdentityError::Validity(format!("{at} is not from 1970 to 9999"));
    date.map(Time::from).ok_or_else(outside)
}

/// The same back.
pub(super) fn timestamp(time: &Time) -> Result<Timestamp, IdentityError> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    let outside = |_| IdentityError::Validity(format!("{time} is later than times can be"));
    Timestamp::from_second(seconds).map_err(outside)
}

/// Extensions that are taken one by one; what is left must not be critical.
pub(super) struct Extensions<'a> {
    left: Vec<&'a Extension>,
}

impl<'a> Extensions<'a> {
    /// All of them: not too many, and none twice.
    pub(super) fn new(list: &'a [Extension], what: What) -> Result<Self, IdentityError> {
        if list.len() > EXTENSIONS_MAX {
            let why = format!("{} extensions, {EXTENSIONS_MAX} allowed", list.len());
            return Err(IdentityError::Encoding { what, why });
        }
        for (index, extension) in list.iter().enumerate() {
            if list[..index].iter().any(|before| before.extn_id == extension.extn_id) {
                return Err(wrong(extension.extn_id, "it is there twice"));
            }
        }
        Ok(Self { left: list.iter().collect() })
    }

    /// One that must be there, and as critical as it must be (RFC 5280, 4.2 and 5.2).
    pub(super) fn take<T>(&mut self, critical: bool) -> Result<T, IdentityError>
    where
        T: Decode<'a, Error = der::Error> + Encode + AssociatedOid,
    {
        let at = self.left.iter().position(|extension| extension.extn_id == T::OID);
        let Some(at) = at else { return Err(wrong(T::OID, "it is missing")) };
        let extension = self.left.remove(at);
        if extension.critical != critical {
            return Err(wrong(T::OID, if critical { "not critical" } else { "critical" }));
        }
        let bytes = extension.extn_value.as_bytes();
        let value = T::from_der(bytes)
            .ok()
            .filter(|value| value.to_der().is_ok_and(|again| again == bytes));
        value.ok_or_else(|| wrong(T::OID, "it is not well formed"))
    }

    /// The same, where it may be missing.
    pub(super) fn take_if_there<T>(&mut self) -> Result<Option<T>, IdentityError>
    where
        T: Decode<'a, Error = der::Error> + Encode + AssociatedOid,
    {
        match self.left.iter().any(|extension| extension.extn_id == T::OID) {
            true => self.take(false).map(Some),
            false => Ok(None),
        }
    }

    /// Nothing is left that must be understood.
    pub(super) fn finish(self) -> Result<(), IdentityError> {
        match self.left.iter().find(|extension| extension.critical) {
            None => Ok(()),
            Some(extension) => Err(wrong(extension.extn_id, "critical, and not known")),
        }
    }
}

/// What is wrong with an extension, by name.
pub(super) fn wrong(oid: ObjectIdentifier, why: &'static str) -> IdentityError {
    let name = match oid.to_string().as_str() {
        "2.5.29.14" => "subjectKeyIdentifier".into(),
        "2.5.29.15" => "keyUsage".into(),
        "2.5.29.17" => "subjectAltName".into(),
        "2.5.29.19" => "basicConstraints".into(),
        "2.5.29.20" => "cRLNumber".into(),
        "2.5.29.21" => "reasonCode".into(),
        "2.5.29.35" => "authorityKeyIdentifier".into(),
        "2.5.29.37" => "extKeyUsage".into(),
        number => number.to_owned(),
    };
    IdentityError::Extension { extension: name, why }
}
