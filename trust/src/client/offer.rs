//! What a group's role offers, one typed target at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::identity::Fleet;
use crate::target::{CRL_PRODUCT, Custom, Kind};

/// A file that a device of the group may take: signed, and of a form that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its path in the metadata: `g/<group>/<product>/<version>/<name>`.
    pub path: String,
    /// Bytes of the file.
    pub len: u64,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// What the release says of it.
    pub custom: Custom,
}

/// A target that is signed and not understood. Others in its role are offered all the same: what a
/// later version of the format adds must not keep a device from what it does understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedTarget {
    /// Its path in the metadata.
    pub path: String,
    /// What is wrong with it.
    pub why: CustomError,
}

/// What can be wrong with a target; whoever signed it wrote it so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CustomError {
    /// Not `g/<group>/<product>/<version>/<name>`.
    Path,
    /// No `custom`, or not as it must be.
    Json(String),
    /// A digest that is not 64 hexadecimal digits in small letters.
    Digest(&'static str),
    /// Something that this kind of target must say and does not.
    Lacks(&'static str),
    /// Something that its path says otherwise.
    Differs(&'static str),
}

/// A target as a role has it (TUF 4.5).
#[derive(Deserialize)]
pub(crate) struct Target<'a> {
    length: u64,
    #[serde(borrow)]
    hashes: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow, default)]
    custom: Option<&'a RawValue>,
}

impl Offer {
    /// What a role says of a target.
    ///
    /// # Errors
    /// If it is not of a form that is understood.
    pub(crate) fn new(path: &str, target: &Target<'_>) -> Result<Self, CustomError> {
        let named = Named::of(path).ok_or(CustomError::Path)?;
        let custom = target.custom.ok_or(CustomError::Lacks("custom"))?;
        let custom: Custom = serde_json::from_str(custom.get())
            .map_err(|error| CustomError::Json(error.to_string()))?;
        let sha256 = target.hashes.get("sha256").ok_or(CustomError::Lacks("sha256"))?;
        let digests = [
            ("sha256", Some(&**sha256)),
            ("blake3", Some(&*custom.blake3)),
            ("from", custom.from.as_deref()),
            ("to", custom.to.as_deref()),
            ("sbom", custom.sbom.as_deref()),
        ];
        let wrong = digests.into_iter().find(|(_, digest)| digest.is_some_and(|d| !is_digest(d)));
        if let Some((field, _)) = wrong {
            return Err(CustomError::Digest(field));
        }
        if named.product != custom.product {
            return Err(CustomError::Differs("product"));
        }
        if named.version != custom.version {
            return Err(CustomError::Differs("version"));
        }
        complete(&named, &custom)?;
        let sha256 = sha256.clone().into_owned();
        Ok(Self { path: path.to_owned(), len: target.length, sha256, custom })
    }

    /// The last part of its path: `full`, `from-…`, `sbom.json`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// What a path of a target says.
struct Named<'a> {
    product: &'a str,
    version: &'a str,
    name: &'a str,
}

impl<'a> Named<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let mut parts = path.split('/');
        let (g, group) = (parts.next()?, parts.next()?);
        let (product, version, name) = (parts.next()?, parts.next()?, parts.next()?);
        let is_named = parts.next().is_none()
            && g == "g"
            && is_group(group)
            && made_of(product, 64, "-")
            && made_of(version, 64, ".+~_-ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            && made_of(name, 64, ".-_");
        is_named.then_some(Self { product, version, name })
    }
}

impl fmt::Display for CustomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => write!(f, "the path is not g/<group>/<product>/<version>/<name>"),
            Self::Json(why) => write!(f, "custom is not understood: {why}"),
            Self::Digest(field) => write!(f, "{field} is not a digest of 64 hexadecimal digits"),
            Self::Lacks(field) => write!(f, "there is no {field}"),
            Self::Differs(field) => write!(f, "{field} is not what the path says"),
        }
    }
}

impl std::error::Error for CustomError {}

/// Whether this names a group: 1 to 32 small letters, digits and hyphens.
#[must_use]
pub fn is_group(name: &str) -> bool {
    made_of(name, 32, "-")
}

/// What each kind must say, and how its file is called.
fn complete(named: &Named<'_>, custom: &Custom) -> Result<(), CustomError> {
    let name_is = |name: &str| {
        if named.name == name { Ok(()) } else { Err(CustomError::Differs("kind")) }
    };
    if matches!(custom.kind, Kind::Full | Kind::Delta) {
        custom.to.as_ref().ok_or(CustomError::Lacks("to"))?;
        custom.to_len.ok_or(CustomError::Lacks("to_len"))?;
        custom.content.ok_or(CustomError::Lacks("content"))?;
    }
    if named.product == CRL_PRODUCT && custom.kind != Kind::Crl {
        return Err(CustomError::Differs("kind"));
    }
    match custom.kind {
        Kind::Full => name_is("full"),
        Kind::Delta => {
            let from = custom.from.as_ref().ok_or(CustomError::Lacks("from"))?;
            // All digits: `is_digest` was asked before.
            let named_from = named.name.strip_prefix("from-");
            if named_from.is_some_and(|digits| digits.len() == 16 && from.starts_with(digits)) {
                return Ok(());
            }
            Err(CustomError::Differs("from"))
        }
        Kind::SiteProfile => {
            let number = named.version.parse::<u32>();
            if named.product != "site" || number.is_err() || named.version.starts_with('+') {
                return Err(CustomError::Path);
            }
            name_is("profile")
        }
        Kind::Crl => {
            // One spelling of a number: lists are told apart by their paths.
            let number = named.version.parse::<u64>().ok();
            let is_number = number.is_some_and(|number| number.to_string() == named.version);
            match named.product == CRL_PRODUCT && is_number && Fleet::new(named.name).is_ok() {
                true => Ok(()),
                false => Err(CustomError::Path),
            }
        }
        Kind::Document => Ok(()),
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// 1 to `len_max` small letters, digits and these.
fn made_of(name: &str, len_max: usize, others: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || others.contains(c);
    (1..=len_max).contains(&name.len()) && name.chars().all(fits)
}
