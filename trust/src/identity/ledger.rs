//! What an authority issued, whom it allows in advance, and who asks: one file, so that each change
//! is whole. A certificate is recorded, with its bytes, before anybody gets it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::certificate::{Authority, Certificate, Number};
use super::crl::{Reason, Revocation};
use super::error::{IdentityError, What};
use super::name::{DeviceName, Fleet};
use super::request::Request;
use crate::device_key::DeviceKey;
use crate::limits::{
    ALLOWED_MAX, CRL_ENTRIES_MAX, ISSUED_MAX, LEDGER_LEN_MAX, WAITING_MAX, WAITING_PER_DEVICE_MAX,
};

/// The form that is written, and the only one that is read.
const FORM: u32 = 1;

/// SHA-256 of a public key, as people compare it: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyDigest(String);

/// An authority's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    neap_ca: u32,
    fleet: Fleet,
    crl_number: u64,
    allowed: Vec<Allowed>,
    waiting: Vec<Waiting>,
    issued: Vec<Issued>,
}

/// A device that gets one certificate without being asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// The device.
    pub device: DeviceName,
    /// Its key; any, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
}

/// A request that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// The device that it names.
    pub device: DeviceName,
    /// The key that it is about.
    pub key: KeyDigest,
    /// When it came.
    pub at: Timestamp,
    /// The request, in PEM.
    pub request: String,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Its number.
    pub number: Number,
    /// The device.
    pub device: DeviceName,
    /// Its key.
    pub key: KeyDigest,
    /// When it was issued.
    pub at: Timestamp,
    /// Until when it is valid.
    pub until: Timestamp,
    /// Since when it is revoked, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// The certificate, in PEM.
    pub certificate: String,
}

/// What somebody who runs the authority said of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leave {
    /// They looked at it and accept it.
    pub accepted: bool,
    /// The device may have another key than before, whose certificates are then revoked.
    pub replace: bool,
    /// A device with a valid certificate gets another one for the same key.
    pub renew: bool,
}

/// What is to be done about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The device has a certificate for this key already: this is it.
    Has(Box<Issued>),
    /// It gets one.
    Issue,
    /// Somebody must look at it.
    Wait,
}

/// Why a device gets no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// A certificate for this key was revoked: who has the key may be anybody.
    KeyRevoked(Number),
    /// The key is that of another device.
    KeyOfOther(DeviceName),
    /// The device has a valid certificate for another key.
    OtherKey(Number),
    /// The device is allowed in advance, with another key.
    NotTheAllowedKey(KeyDigest),
    /// There is no room for more.
    Full(&'static str, usize),
    /// No such device, certificate or request.
    Unknown(String),
    /// It is as asked for already.
    Already(String),
    /// More than one thing is meant.
    Ambiguous(String),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyRevoked(number) => {
                write!(f, "its key was revoked with certificate {number}; it needs a new key")
            }
            Self::KeyOfOther(device) => write!(f, "its key is that of the device {device}"),
            Self::OtherKey(number) => {
                write!(f, "the device has a valid certificate {number} for another key")
            }
            Self::NotTheAllowedKey(key) => {
                write!(f, "the device is allowed in advance with the key {key}, not with this one")
            }
            Self::Full(what, max) => write!(f, "{max} {what} are the most that are kept"),
            Self::Unknown(why) | Self::Already(why) | Self::Ambiguous(why) => f.write_str(why),
        }
    }
}

impl KeyDigest {
    /// The digest of a key.
    #[must_use]
    pub fn of(key: &DeviceKey) -> Self {
        Self(hex::encode(key.digest()))
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.len() == 64 && text.bytes().all(fits) {
            true => Ok(Self(text)),
            false => Err("no digest of a key: expected 64 hexadecimal digits".into()),
        }
    }
}

impl std::str::FromStr for KeyDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl From<KeyDigest> for String {
    fn from(digest: KeyDigest) -> Self {
        digest.0
    }
}

impl Issued {
    /// Whether it is neither revoked nor past its end.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now <= self.until
    }
}

impl Ledger {
    /// That of a new authority.
    #[must_use]
    pub fn new(fleet: &Fleet) -> Self {
        let (allowed, waiting, issued) = (Vec::new(), Vec::new(), Vec::new());
        Self { neap_ca: FORM, fleet: fleet.clone(), crl_number: 0, allowed, waiting, issued }
    }

    /// A ledger of this authority.
    ///
    /// # Errors
    /// If it is not well formed, of another fleet, or has more than it may.
    pub fn parse(bytes: &[u8], authority: &Authority) -> Result<Self, IdentityError> {
        let what = What::Ledger;
        let wrong = |why: String| IdentityError::Encoding { what, why };
        if bytes.len() as u64 > LEDGER_LEN_MAX {
            let len_max = usize::try_from(LEDGER_LEN_MAX).unwrap_or(usize::MAX);
            return Err(IdentityError::TooLong { what, len: bytes.len(), len_max });
        }
        let ledger: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if ledger.neap_ca != FORM {
            return Err(wrong(format!("of form {}, {FORM} is known", ledger.neap_ca)));
        }
        if ledger.fleet != *authority.fleet() {
            return Err(wrong(format!("of the fleet {}", ledger.fleet)));
        }
        let counts = [
            (ledger.issued.len(), ISSUED_MAX),
            (ledger.allowed.len(), ALLOWED_MAX),
            (ledger.waiting.len(), WAITING_MAX),
        ];
        if let Some((count, max)) = counts.into_iter().find(|(count, max)| count > max) {
            return Err(IdentityError::Entries(format!("{count} entries, {max} allowed")));
        }
        let mut numbers: Vec<_> = ledger.issued.iter().map(|issued| &issued.number).collect();
        numbers.sort();
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(IdentityError::Entries(format!("{} was issued twice", pair[0])));
        }
        Ok(ledger)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("all its fields are JSON");
        bytes.push(b'\n');
        bytes
    }

    /// The fleet.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Number of the last list of revoked certificates; 0 before the first.
    #[must_use]
    pub fn crl_number(&self) -> u64 {
        self.crl_number
    }

    /// Who is allowed in advance.
    #[must_use]
    pub fn allowed(&self) -> &[Allowed] {
        &self.allowed
    }

    /// Who asks.
    #[must_use]
    pub fn waiting(&self) -> &[Waiting] {
        &self.waiting
    }

    /// What was issued, oldest first.
    #[must_use]
    pub fn issued(&self) -> &[Issued] {
        &self.issued
    }

    /// What the next list has.
    #[must_use]
    pub fn revoked(&self) -> BTreeMap<Number, Revocation> {
        let revoked = self.issued.iter();
        revoked.filter_map(|issued| Some((issued.number.clone(), issued.revoked?))).collect()
    }

    /// Allows a device in advance; what was allowed of it before is forgotten.
    ///
    /// # Errors
    /// If there is no room, or it is as asked for.
    pub fn allow(&mut self, allowed: Allowed) -> Result<(), Denied> {
        if self.allowed.contains(&allowed) {
            return Err(Denied::Already(format!("{} is allowed already", allowed.device)));
        }
        self.allowed.retain(|before| before.device != allowed.device);
        if self.allowed.len() >= ALLOWED_MAX {
            return Err(Denied::Full("allowed devices", ALLOWED_MAX));
        }
        self.allowed.push(allowed);
        Ok(())
    }

    /// Allows a device no longer.
    ///
    /// # Errors
    /// If it was not allowed.
    pub fn disallow(&mut self, device: &DeviceName) -> Result<(), Denied> {
        let before = self.allowed.len();
        self.allowed.retain(|allowed| allowed.device != *device);
        match self.allowed.len() < before {
            true => Ok(()),
            false => Err(Denied::Already(format!("{device} is not allowed in advance"))),
        }
    }

    /// What is to be done about a request.
    ///
    /// # Errors
    /// [`Denied`]: why it gets nothing.
    pub fn decide(
        &self,
        request: &Request,
        leave: Leave,
        now: Timestamp,
    ) -> Result<Decision, Denied> {
        let (device, key) = (request.device(), KeyDigest::of(request.key()));
        let mut of_key = self.issued.iter().filter(|issued| issued.key == key);
        if let Some(revoked) = of_key.clone().find(|issued| issued.revoked.is_some()) {
            return Err(Denied::KeyRevoked(revoked.number.clone()));
        }
        if let Some(other) = of_key.find(|issued| issued.device != *device) {
            return Err(Denied::KeyOfOther(other.device.clone()));
        }
        let mut live = self.issued.iter().rev().filter(|i| i.device == *device && i.is_live(now));
        let other = live.clone().find(|issued| issued.key != key);
        let own = live.find(|issued| issued.key == key);
        match (own, other) {
            (_, Some(other)) if !leave.replace => Err(Denied::OtherKey(other.number.clone())),
            (Some(own), _) if !leave.renew => Ok(Decision::Has(Box::new(own.clone()))),
            // Who runs the authority said so, and the key is known.
            (Some(_), _) => Ok(Decision::Issue),
            (None, _) if leave.accepted => Ok(Decision::Issue),
            (None, _) => match self.allowed.iter().find(|allowed| allowed.device == *device) {
                None => Ok(Decision::Wait),
                Some(Allowed { key: Some(allowed), .. }) if *allowed != key => {
                    Err(Denied::NotTheAllowedKey(allowed.clone()))
                }
                Some(_) => Ok(Decision::Issue),
            },
        }
    }

    /// Records a certificate: an allowance is used up, the device's requests are done with, and
    /// with another key than before, what it had is superseded. Returns what was revoked.
    ///
    /// # Errors
    /// If there is no room.
    pub fn record(
        &mut self,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<Vec<Number>, Denied> {
        if self.issued.len() >= ISSUED_MAX {
            return Err(Denied::Full("certificates", ISSUED_MAX));
        }
        let (device, key) = (certificate.device().clone(), KeyDigest::of(certificate.key()));
        let revocation = Revocation { at: now, reason: Reason::Superseded };
        let old = |i: &Issued| i.device == device && i.key != key && i.revoked.is_none();
        let revoked = self.revoke_where(old, revocation)?;
        self.forget(&device);
        self.issued.push(Issued {
            number: certificate.number().clone(),
            device,
            key,
            at: now,
            until: certificate.validity().1,
            revoked: None,
            certificate: certificate.pem(),
        });
        Ok(revoked)
    }

    /// Keeps a request until somebody looks at it. The same one is kept once.
    ///
    /// # Errors
    /// If too many wait.
    pub fn wait(&mut self, request: &Request, now: Timestamp) -> Result<(), Denied> {
        let (device, key) = (request.device().clone(), KeyDigest::of(request.key()));
        let of_device = || self.waiting.iter().filter(|waiting| waiting.device == device);
        if of_device().any(|waiting| waiting.key == key) {
            return Ok(());
        }
        if of_device().count() >= WAITING_PER_DEVICE_MAX {
            return Err(Denied::Full("waiting requests of one device", WAITING_PER_DEVICE_MAX));
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(Denied::Full("waiting requests", WAITING_MAX));
        }
        self.waiting.push(Waiting { device, key, at: now, request: request.pem() });
        Ok(())
    }

    /// The waiting request that a device's name or the first 8 or more digits of a key mean.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn asked(&self, text: &str) -> Result<&Waiting, Denied> {
        let by_key = text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found = self.waiting.iter().filter(|waiting| {
            waiting.device.as_str() == text || by_key && waiting.key.as_str().starts_with(text)
        });
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(Denied::Unknown(format!("no request of {text} is waiting"))),
            _ => {
                let why = "requests are waiting; name it by the digits of its key";
                Err(Denied::Ambiguous(format!("{text}: more {why}")))
            }
        }
    }

    /// Drops a waiting request.
    pub fn drop_waiting(&mut self, key: &KeyDigest, device: &DeviceName) {
        self.waiting.retain(|waiting| waiting.key != *key || waiting.device != *device);
    }

    /// Revokes a certificate by its number, with all others of its key, or all of a device by its
    /// name. A device of which any is revoked is no longer allowed in advance either.
    ///
    /// # Errors
    /// If there is none, or none that is not revoked.
    pub fn revoke(&mut self, text: &str, revocation: Revocation) -> Result<Vec<Number>, Denied> {
        let of_number = self.issued.iter().find(|issued| issued.number.to_string() == text);
        // Whoever has a key has it for every certificate.
        let key = of_number.map(|issued| issued.key.clone());
        let means = |i: &Issued| match &key {
            Some(key) => i.key == *key,
            None => i.device.as_str() == text,
        };
        let meant = self.issued.iter().find(|issued| means(issued));
        let Some(device) = meant.map(|issued| issued.device.clone()) else {
            return Err(Denied::Unknown(format!("{text} is no certificate and no device")));
        };
        let revoked = self.revoke_where(|i| means(i) && i.revoked.is_none(), revocation)?;
        let had_leave = self.allowed.iter().any(|allowed| allowed.device == device);
        if revoked.is_empty() && !had_leave {
            return Err(Denied::Already(format!("{text} is revoked already")));
        }
        self.forget(&device);
        Ok(revoked)
    }

    /// Counts a new list of revoked certificates: its number.
    #[must_use]
    pub fn next_crl(&mut self) -> u64 {
        self.crl_number += 1;
        self.crl_number
    }

    /// Nothing is allowed in advance of this device, and none of its requests waits.
    fn forget(&mut self, device: &DeviceName) {
        self.allowed.retain(|allowed| allowed.device != *device);
        self.waiting.retain(|waiting| waiting.device != *device);
    }

    fn revoke_where(
        &mut self,
        mut is_meant: impl FnMut(&Issued) -> bool,
        revocation: Revocation,
    ) -> Result<Vec<Number>, Denied> {
        let (revoked, meant): (Vec<_>, Vec<_>) = (
            self.issued.iter().filter(|issued| issued.revoked.is_some()).collect(),
            self.issued.iter().filter(|issued| is_meant(issued)).collect(),
        );
        if revoked.len() + meant.len() > CRL_ENTRIES_MAX {
            return Err(Denied::Full("revoked certificates", CRL_ENTRIES_MAX));
        }
        let numbers: Vec<_> = meant.iter().map(|issued| issued.number.clone()).collect();
        for issued in self.issued.iter_mut().filter(|issued| numbers.contains(&issued.number)) {
            issued.revoked = Some(revocation);
        }
        Ok(numbers)
    }
}
