//! That someone on site agrees to one image for one device or one site, signed: a COSE_Sign1
//! (RFC 9052) over a CBOR map. Every byte is defined in `docs/stick.md`.
//!
//! An approval never makes an image good: the release signs that. It only lets a good one be
//! installed, where the device's configuration or its site's profile asks for it.

use std::collections::BTreeMap;
use std::fmt;

use coset::cbor::{self, Value};
use jiff::Timestamp;

use crate::cose::{self, Fault};
use crate::device_key::{DeviceKey, DeviceSigner};
use crate::limits::{APPROVAL_LEN_MAX, APPROVAL_LIFE_S_MAX};
use crate::receipt::Receipt;

/// What an approval is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One device, as its certificate names it.
    Device(String),
    /// All devices of a site.
    Site(String),
}

/// Someone on site agrees to an image. Texts are 1 to 128 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// BLAKE3 of the image that is to be made.
    pub to: [u8; 32],
    /// Where it may be installed.
    pub scope: Scope,
    /// The product, for people.
    pub product: String,
    /// The version, for people.
    pub version: String,
    /// Who approves, as the receipt will name them.
    pub approver: String,
    /// When it was signed, in whole seconds.
    pub at: Timestamp,
    /// Until when it counts.
    pub expires: Timestamp,
}

/// Where an image is about to be installed, and when.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// BLAKE3 of the image.
    pub to: &'a [u8; 32],
    /// The device, if it has a name.
    pub device: Option<&'a str>,
    /// The site; empty if it has no name.
    pub site: &'a str,
    /// The known time.
    pub now: Timestamp,
}

/// Why an approval does not count. Whoever carried it can cause each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApprovalError {
    /// Longer than [`APPROVAL_LEN_MAX`].
    TooLong {
        /// Its length in bytes.
        len: u64,
    },
    /// No COSE_Sign1 with tag 18, or with bytes behind it.
    NotCose,
    /// Header fields of something else, or of another algorithm than the key's.
    Header,
    /// Signed by a key that may not approve here.
    UnknownKey {
        /// Its id in hexadecimal digits.
        found: String,
    },
    /// Not signed by the key that it names.
    Signature,
    /// A form that this program does not know.
    Form {
        /// Its number.
        form: u64,
    },
    /// A field that is missing, of another type, or out of bounds.
    Field {
        /// Its name.
        name: &'static str,
    },
    /// Not spelled as an approval is.
    Spelling,
    /// It is for another image.
    OtherImage,
    /// It is for another device or site.
    Elsewhere {
        /// Which.
        scope: Scope,
    },
    /// It has expired.
    Expired {
        /// When.
        at: Timestamp,
    },
}

/// What the content is, in the protected header (RFC 9052, 3.1).
const CONTENT_TYPE: &str = "application/vnd.neap.approval+cbor";

/// The form that is written, and the only one that is read.
const FORM: u64 = 1;

/// Fields by key. Keys are never used again.
///
/// | key | field | type |
/// |----:|-------|------|
/// | 0 | `form` | unsigned, 1 |
/// | 1 | `to` | 32 bytes: BLAKE3 of the image |
/// | 2 | `scope` | unsigned: 0 device, 1 site |
/// | 3 | `name` | text: of the device or site |
/// | 4 | `product` | text |
/// | 5 | `version` | text |
/// | 6 | `approver` | text |
/// | 7 | `at` | integer, seconds since 1970 |
/// | 8 | `expires` | integer, seconds since 1970; after `at`, by at most 366 days |
const NAMES: [&str; 9] =
    ["form", "to", "scope", "name", "product", "version", "approver", "at", "expires"];

impl Approval {
    /// Longest text, in bytes.
    pub const TEXT_LEN_MAX: usize = 128;

    /// Signs it.
    ///
    /// # Errors
    /// If a field is out of bounds, or the signer does not sign; the text says why.
    pub fn sign(&self, signer: &dyn DeviceSigner) -> Result<Vec<u8>, String> {
        let payload = self.payload();
        match decode(&payload) {
            Ok(again) if again == *self => seal(payload, signer),
            Ok(_) => Err(ApprovalError::Field { name: "at" }.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The approval in `bytes` and the key that signed it, if that is one of `keys`.
    ///
    /// # Errors
    /// [`ApprovalError`]: why it is none.
    pub fn verify<'a>(
        bytes: &[u8],
        keys: &'a [DeviceKey],
    ) -> Result<(Self, &'a DeviceKey), ApprovalError> {
        within_limit(bytes)?;
        let named = cose::message(bytes)?.protected.header.key_id;
        let unknown = || ApprovalError::UnknownKey { found: hex::encode(&named) };
        let key = keys.iter().find(|key| key.id()[..] == named[..]).ok_or_else(unknown)?;
        let payload = cose::open(bytes, CONTENT_TYPE, key)?;
        Ok((decode(&payload)?, key))
    }

    /// What the bytes claim, verified by nobody.
    ///
    /// # Errors
    /// If they are no approval.
    pub fn claimed(bytes: &[u8]) -> Result<Self, ApprovalError> {
        within_limit(bytes)?;
        decode(&cose::message(bytes)?.payload.unwrap_or_default())
    }

    /// Whether it lets this image be installed here and now.
    ///
    /// # Errors
    /// [`ApprovalError`]: why it does not.
    pub fn covers(&self, asked: &Asked<'_>) -> Result<(), ApprovalError> {
        if self.to != *asked.to {
            return Err(ApprovalError::OtherImage);
        }
        let is_here = match &self.scope {
            Scope::Device(name) => asked.device == Some(name),
            Scope::Site(name) => asked.site == name,
        };
        if !is_here {
            return Err(ApprovalError::Elsewhere { scope: self.scope.clone() });
        }
        match asked.now < self.expires {
            true => Ok(()),
            false => Err(ApprovalError::Expired { at: self.expires }),
        }
    }

    fn payload(&self) -> Vec<u8> {
        let (scope, name) = match &self.scope {
            Scope::Device(name) => (0, name),
            Scope::Site(name) => (1, name),
        };
        let text = |text: &String| Value::Text(text.clone());
        let values = [
            FORM.into(),
            Value::Bytes(self.to.into()),
            Value::from(scope),
            text(name),
            text(&self.product),
            text(&self.version),
            text(&self.approver),
            self.at.as_second().into(),
            self.expires.as_second().into(),
        ];
        let pairs = (0_u64..).map(Value::from).zip(values).collect();
        let mut bytes = Vec::new();
        cbor::into_writer(&Value::Map(pairs), &mut bytes).expect("memory takes what is written");
        bytes
    }
}

/// Who approved, for a receipt: those whose approvals count, one for each key. Nothing if they are
/// fewer than `threshold`. Beside it why each of the others does not count, by its name.
#[must_use]
pub fn approved(
    files: &[(String, Vec<u8>)],
    keys: &[DeviceKey],
    threshold: usize,
    asked: &Asked<'_>,
) -> (Option<Vec<String>>, Vec<String>) {
    let mut who = BTreeMap::new();
    let mut refused = Vec::new();
    for (name, bytes) in files {
        let judged = Approval::verify(bytes, keys);
        match judged.and_then(|(approval, key)| approval.covers(asked).map(|()| (approval, key))) {
            Ok((approval, key)) => {
                let id = key.id();
                let text = format!("{} (key {})", approval.approver, hex::encode(id));
                who.entry(id).or_insert(text);
            }
            Err(why) => refused.push(format!("{name}: {why}")),
        }
    }
    let is_enough = who.len() >= threshold.max(1);
    let who = who.into_values().take(Receipt::APPROVALS_MAX).collect();
    (is_enough.then_some(who), refused)
}

/// A payload as an approval, whatever it says: [`Approval::sign`] says only what one can.
///
/// # Errors
/// If the signer does not sign.
pub(crate) fn seal(payload: Vec<u8>, signer: &dyn DeviceSigner) -> Result<Vec<u8>, String> {
    cose::seal(payload, CONTENT_TYPE, signer)
}

fn within_limit(bytes: &[u8]) -> Result<(), ApprovalError> {
    let len = bytes.len() as u64;
    if len > APPROVAL_LEN_MAX { Err(ApprovalError::TooLong { len }) } else { Ok(()) }
}

/// Reads a payload: all fields in order and no others, in their one spelling.
fn decode(bytes: &[u8]) -> Result<Approval, ApprovalError> {
    let Ok(Value::Map(pairs)) = cbor::from_reader(bytes) else {
        return Err(ApprovalError::Spelling);
    };
    let mut pairs = pairs.into_iter();
    let mut take = |at: usize| match pairs.next() {
        Some((key, value)) if key == Value::from(at as u64) => Ok(value),
        Some(_) => Err(ApprovalError::Spelling),
        None => Err(ApprovalError::Field { name: NAMES[at] }),
    };
    let form = number(take(0)?).ok_or(ApprovalError::Field { name: NAMES[0] })?;
    if form != i128::from(FORM) {
        let form = u64::try_from(form).unwrap_or(u64::MAX);
        return Err(ApprovalError::Form { form });
    }
    let wrong = |at: usize| move || ApprovalError::Field { name: NAMES[at] };
    let to = take(1)?.into_bytes().ok().and_then(|bytes| bytes.try_into().ok());
    let to = to.ok_or_else(wrong(1))?;
    let scope = number(take(2)?);
    let name = text(take(3)?).ok_or_else(wrong(3))?;
    let scope = match scope {
        Some(0) => Scope::Device(name),
        Some(1) => Scope::Site(name),
        _ => return Err(wrong(2)()),
    };
    let approval = Approval {
        to,
        scope,
        product: text(take(4)?).ok_or_else(wrong(4))?,
        version: text(take(5)?).ok_or_else(wrong(5))?,
        approver: text(take(6)?).ok_or_else(wrong(6))?,
        at: time(take(7)?).ok_or_else(wrong(7))?,
        expires: time(take(8)?).ok_or_else(wrong(8))?,
    };
    let life_s = approval.expires.as_second() - approval.at.as_second();
    if !(1..=APPROVAL_LIFE_S_MAX).contains(&life_s) {
        return Err(wrong(8)());
    }
    match pairs.next() {
        None if approval.payload() == bytes => Ok(approval),
        _ => Err(ApprovalError::Spelling),
    }
}

fn number(value: Value) -> Option<i128> {
    value.into_integer().ok().map(i128::from)
}

fn time(value: Value) -> Option<Timestamp> {
    number(value).and_then(|n| i64::try_from(n).ok()).and_then(|n| Timestamp::from_second(n).ok())
}

/// Terminals show these texts.
fn text(value: Value) -> Option<String> {
    let text = value.into_text().ok()?;
    let fits = (1..=Approval::TEXT_LEN_MAX).contains(&text.len());
    (fits && !text.chars().any(char::is_control)).then_some(text)
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => write!(f, "the device {name}"),
            Self::Site(name) => write!(f, "the site {name}"),
        }
    }
}

impl fmt::Display for ApprovalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => write!(f, "{len} bytes, {APPROVAL_LEN_MAX} allowed"),
            Self::NotCose => f.write_str("no COSE_Sign1 message"),
            Self::Header => f.write_str("the header is not that of an approval"),
            Self::UnknownKey { found } => {
                write!(f, "signed by the key {found}, which may not approve here")
            }
            Self::Signature => f.write_str("the signature is not of the key that it names"),
            Self::Form { form } => write!(f, "an approval of form {form}, 1 is known"),
            Self::Field { name } => write!(f, "the field `{name}` is missing or out of bounds"),
            Self::Spelling => f.write_str("not spelled as an approval is"),
            Self::OtherImage => f.write_str("it approves another image"),
            Self::Elsewhere { scope } => write!(f, "it is for {scope}"),
            Self::Expired { at } => write!(f, "it expired at {at}"),
        }
    }
}

impl std::error::Error for ApprovalError {}

impl From<Fault> for ApprovalError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotCose => Self::NotCose,
            Fault::Header => Self::Header,
            Fault::OtherKey(id) => Self::UnknownKey { found: hex::encode(id) },
            Fault::Signature => Self::Signature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_key::file::{DeviceFileKey, Kind};

    const TO: [u8; 32] = [2; 32];

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).expect("a time")
    }

    fn key(byte: u8, kind: Kind) -> DeviceFileKey {
        DeviceFileKey::from_seed(kind, &[byte; 32]).expect("a key")
    }

    fn approval() -> Approval {
        Approval {
            to: TO,
            scope: Scope::Device("radar-7".into()),
            product: "radar".into(),
            version: "1.5.0".into(),
            approver: "master of the MV Aurora".into(),
            at: time(0),
            expires: time(100),
        }
    }

    fn asked(to: &[u8; 32]) -> Asked<'_> {
        Asked { to, device: Some("radar-7"), site: "MV Aurora", now: time(50) }
    }

    #[test]
    fn approval_of_either_kind_of_key_comes_back_and_every_changed_bit_is_seen() {
        for kind in [Kind::Ed25519, Kind::P256] {
            let key = key(7, kind);
            let keys = [key.device_key()];
            let bytes = approval().sign(&key).expect("signed");
            assert!(bytes.len() < 300, "{}", bytes.len());
            assert_eq!(Approval::verify(&bytes, &keys), Ok((approval(), &keys[0])));
            assert_eq!(Approval::claimed(&bytes), Ok(approval()));
            for at in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[at / 8] ^= 1 << (at % 8);
                assert!(Approval::verify(&changed, &keys).is_err(), "bit {at}");
            }
        }
    }

    #[test]
    fn receipts_are_no_approvals_and_unknown_keys_approve_nothing() {
        let (ours, theirs) = (key(7, Kind::Ed25519), key(8, Kind::Ed25519));
        let sealed = crate::receipt::seal(approval().payload(), &ours).expect("signed");
        let keys = [ours.device_key()];
        assert_eq!(Approval::verify(&sealed, &keys), Err(ApprovalError::Header));
        let bytes = approval().sign(&theirs).expect("signed");
        let refused = Approval::verify(&bytes, &keys).expect_err("unknown");
        assert!(matches!(refused, ApprovalError::UnknownKey { .. }), "{refused}");
    }

    #[test]
    fn approval_counts_for_its_image_its_place_and_its_time_alone() {
        let covers = |approval: &Approval, asked: &Asked<'_>| approval.covers(asked);
        assert_eq!(covers(&approval(), &asked(&TO)), Ok(()));
        assert_eq!(covers(&approval(), &asked(&[3; 32])), Err(ApprovalError::OtherImage));
        let elsewhere =
            [Asked { device: Some("radar-8"), ..asked(&TO) }, Asked { device: None, ..asked(&TO) }];
        for asked in elsewhere {
            let refused = covers(&approval(), &asked).expect_err("elsewhere");
            assert_eq!(refused.to_string(), "it is for the device radar-7");
        }
        let site = Approval { scope: Scope::Site("MV Aurora".into()), ..approval() };
        assert_eq!(covers(&site, &Asked { device: None, ..asked(&TO) }), Ok(()));
        assert!(covers(&site, &Asked { site: "", ..asked(&TO) }).is_err());
        for (second, counts) in [(99, true), (100, false), (101, false)] {
            let covered = covers(&approval(), &Asked { now: time(second), ..asked(&TO) });
            assert_eq!(covered.is_ok(), counts, "{second}: {covered:?}");
        }
    }

    #[test]
    fn two_approvals_of_one_key_are_one() {
        let (first, second) = (key(7, Kind::Ed25519), key(8, Kind::P256));
        let keys = [first.device_key(), second.device_key()];
        let other = Approval { approver: "somebody else".into(), ..approval() };
        let file = |name: &str, approval: &Approval, key: &DeviceFileKey| {
            (name.to_owned(), approval.sign(key).expect("signed"))
        };
        let twice = [file("a", &approval(), &first), file("b", &other, &first)];
        assert_eq!(approved(&twice, &keys, 2, &asked(&TO)), (None, vec![]));
        assert!(approved(&twice, &keys, 1, &asked(&TO)).0.is_some_and(|who| who.len() == 1));
        let both = [file("a", &approval(), &first), file("b", &other, &second)];
        assert!(approved(&both, &keys, 2, &asked(&TO)).0.is_some_and(|who| who.len() == 2));
        assert_eq!(approved(&[], &keys, 0, &asked(&TO)).0, None, "nobody is never enough");
        let (none, refused) = approved(&[("x".into(), vec![0; 9])], &keys, 1, &asked(&TO));
        assert_eq!((none, refused), (None, vec!["x: no COSE_Sign1 message".to_owned()]));
    }

    #[test]
    fn fields_out_of_bounds_are_neither_signed_nor_read() {
        let long = "x".repeat(Approval::TEXT_LEN_MAX + 1);
        let wrong = [
            (Approval { approver: long.clone(), ..approval() }, "approver"),
            (Approval { approver: String::new(), ..approval() }, "approver"),
            (Approval { version: "\u{1b}[2J".into(), ..approval() }, "version"),
            (Approval { scope: Scope::Site(long), ..approval() }, "name"),
            (Approval { expires: time(0), ..approval() }, "expires"),
            (Approval { expires: time(APPROVAL_LIFE_S_MAX + 1), ..approval() }, "expires"),
        ];
        for (approval, field) in wrong {
            let refused = approval.sign(&key(7, Kind::Ed25519)).expect_err("refused");
            assert!(refused.contains(&format!("`{field}`")), "{refused}");
        }
        let last = Approval { expires: time(APPROVAL_LIFE_S_MAX), ..approval() };
        assert!(last.sign(&key(7, Kind::Ed25519)).is_ok());
        let len = APPROVAL_LEN_MAX + 1;
        let long = vec![0; usize::try_from(len).expect("small")];
        assert_eq!(Approval::claimed(&long), Err(ApprovalError::TooLong { len }));
    }
}
