//! Names of devices and fleets, and the distinguished names that certificates have for them.
//!
//! A device is named by its serial number, as IEEE 802.1AR has it: the attribute `serialNumber` of
//! the subject. The name is also a folder under `receipts/` and part of a DNS name, so it is of
//! small letters, digits, hyphens and dots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::Tagged;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::name::Name;

use super::error::{IdentityError, What};
use crate::limits::{DEVICE_LEN_MAX, FLEET_LEN_MAX, SUBJECT_ATTRIBUTES_MAX};

/// Where names of devices stand in DNS: a top-level domain that is nowhere (RFC 2606).
const DOMAIN: &str = "neap.invalid";
/// What the authority of a fleet is called beside the fleet's name.
const AUTHORITY: &str = "device authority";
/// The attribute `serialNumber` (X.520, 6.2.9).
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
/// The attribute `organizationName`.
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
/// Names that some systems give to devices of their own, whatever follows a dot.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// A device's serial number: 1 to 63 of a-z, 0-9, `-` and `.`, of which the last two stand neither
/// at an end nor beside a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceName(String);

/// A fleet: 1 to 32 of a-z, 0-9 and `-`, which does not stand at an end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fleet(String);

impl DeviceName {
    /// A device of this name.
    ///
    /// # Errors
    /// If no device can be called so.
    pub fn new(name: &str) -> Result<Self, IdentityError> {
        let stem = name.split('.').next().unwrap_or_default();
        let numbered = |prefix| {
            let number = stem.strip_prefix(prefix);
            number.is_some_and(|n: &str| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
        };
        let reserved = RESERVED.contains(&stem) || numbered("com") || numbered("lpt");
        let fits = (1..=DEVICE_LEN_MAX).contains(&name.len());
        match fits && !reserved && name.split('.').all(is_label) {
            true => Ok(Self(name.to_owned())),
            false => Err(IdentityError::Name(format!(
                "`{}` names no device: expected 1 to {DEVICE_LEN_MAX} of a-z, 0-9, `-`, `.`",
                shown(name)
            ))),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its DNS name in a fleet, which TLS checks: `radar-7.coast.neap.invalid`.
    #[must_use]
    pub fn dns(&self, fleet: &Fleet) -> String {
        format!("{}.{}.{DOMAIN}", self.0, fleet.0)
    }

    /// The subject of its certificates.
    pub(super) fn subject(&self, fleet: &Fleet) -> Name {
        // The text form begins with what comes last.
        name(&format!("serialNumber={},O={}", self.0, fleet.0))
    }

    /// The subject of its requests.
    pub(super) fn subject_alone(&self) -> Name {
        name(&format!("serialNumber={}", self.0))
    }

    /// The device that a subject names: by exactly one serial number, beside a few other things.
    pub(super) fn of_subject(subject: &Name, what: What) -> Result<Self, IdentityError> {
        let count = subject.iter().count();
        if count > SUBJECT_ATTRIBUTES_MAX {
            let why = format!("a subject of {count} attributes, {SUBJECT_ATTRIBUTES_MAX} allowed");
            return Err(IdentityError::Encoding { what, why });
        }
        Self::new(&only(subject, SERIAL_NUMBER, "serialNumber")?)
    }
}

impl Fleet {
    /// A fleet of this name.
    ///
    /// # Errors
    /// If no fleet can be called so.
    pub fn new(name: &str) -> Result<Self, IdentityError> {
        match (1..=FLEET_LEN_MAX).contains(&name.len()) && is_label(name) {
            true => Ok(Self(name.to_owned())),
            false => Err(IdentityError::Name(format!(
                "`{}` names no fleet: expected 1 to {FLEET_LEN_MAX} of a-z, 0-9, `-`",
                shown(name)
            ))),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The subject of its authority.
    pub(super) fn subject(&self) -> Name {
        name(&format!("CN={AUTHORITY},O={}", self.0))
    }

    /// The fleet whose authority has this subject.
    pub(super) fn of_subject(subject: &Name) -> Result<Self, IdentityError> {
        let fleet = Self::new(&only(subject, ORGANIZATION, "organizationName")?)?;
        match *subject == fleet.subject() {
            true => Ok(fleet),
            false => Err(IdentityError::Name("the subject is not that of a fleet".into())),
        }
    }
}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdentityError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}
text!(DeviceName);
text!(Fleet);

/// A name of attributes whose values need no escapes.
fn name(text: &str) -> Name {
    Name::from_str(text).expect("the characters of these names need no escapes")
}

/// The value of an attribute that is there once.
fn only(subject: &Name, oid: ObjectIdentifier, called: &str) -> Result<String, IdentityError> {
    let mut found = subject.iter().filter(|attribute| attribute.oid == oid);
    let wrong = |why: &str| IdentityError::Name(format!("the subject has {why} {called}"));
    let attribute = found.next().ok_or_else(|| wrong("no"))?;
    match found.next() {
        None => text(attribute).ok_or_else(|| wrong("something else than text as its")),
        Some(_) => Err(wrong("more than one")),
    }
}

fn text(attribute: &AttributeTypeAndValue) -> Option<String> {
    use x509_cert::der::Tag;
    let tag = attribute.value.tag();
    let is_text = matches!(tag, Tag::PrintableString | Tag::Utf8String | Tag::Ia5String);
    String::from_utf8(attribute.value.value().to_vec()).ok().filter(|_| is_text)
}

/// A part of a DNS name.
fn is_label(label: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty() && label.bytes().all(fits) && !label.starts_with('-') && !label.ends_with('-')
}

/// What a stranger wrote, short and without what a terminal acts on.
fn shown(text: &str) -> String {
    crate::repo::changes::plain(&text.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_and_folders_on_any_carrier() {
        for good in ["a", "7", "radar-7", "sn.00a7-1", &"x".repeat(63)] {
            assert!(DeviceName::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "A", "ä", "a b", "a/b", &long]
        {
            assert!(DeviceName::new(bad).is_err(), "{bad}");
        }
        for bad in ["con", "nul.1", "com1", "lpt0.a"] {
            assert!(DeviceName::new(bad).is_err(), "{bad}");
        }
        assert!(DeviceName::new("com10").is_ok());
        for bad in ["", "a.b", "-a", &"x".repeat(33)] {
            assert!(Fleet::new(bad).is_err(), "{bad}");
        }
        let told = DeviceName::new("\u{1b}[2J").expect_err("refused").to_string();
        assert!(told.contains("\\u{1b}[2J"), "{told}");
    }

    #[test]
    fn subjects_name_what_they_were_made_of() {
        let (device, fleet) = (DeviceName::new("radar-7"), Fleet::new("coast"));
        let (device, fleet) = (device.expect("a device"), fleet.expect("a fleet"));
        let subject = device.subject(&fleet);
        assert_eq!(subject.to_string(), "SERIALNUMBER=radar-7,O=coast");
        assert_eq!(DeviceName::of_subject(&subject, What::Request).expect("named"), device);
        assert_eq!(Fleet::of_subject(&fleet.subject()).expect("named"), fleet);
        assert!(Fleet::of_subject(&subject).is_err(), "a device is no authority");
        for text in ["CN=radar-7", "serialNumber=a,serialNumber=b", "serialNumber=#0101ff"] {
            assert!(DeviceName::of_subject(&name(text), What::Request).is_err(), "{text}");
        }
        let many = ["CN=a"; SUBJECT_ATTRIBUTES_MAX].join(",");
        let many = name(&format!("serialNumber=a,{many}"));
        assert!(DeviceName::of_subject(&many, What::Request).is_err());
    }
}
