//! The role of a group: verified, and typed target by target.
//!
//! It is the one file that grows with every release, so it is not made a tree of JSON values first:
//! its signed bytes are taken as they lie in the file, and each target is typed as it is met. The
//! rules are those of the core for every other role: length and digest, distinct keys up to the
//! threshold, type, version, expiry.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256, Sha512};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_tuf::{Key, MetaFile, RoleKeys, Signature};
use sigstore_types::SignatureBytes;

use super::offer::{CustomError, Offer, Target};
use super::refusal::Refusal;

/// Who may sign a role.
pub(crate) struct Signers {
    pub(crate) keys: BTreeMap<String, Key>,
    pub(crate) needed: RoleKeys,
}

/// A group's role whose signatures were checked.
#[derive(Debug)]
pub(crate) struct SignedRole {
    pub(crate) version: u64,
    pub(crate) expires: Timestamp,
    /// Its targets by path.
    pub(crate) targets: BTreeMap<String, Result<Offer, CustomError>>,
}

/// Why a role is not taken.
#[derive(Debug)]
pub(crate) enum RoleError {
    /// Its length, digest or version is not the one that was signed for.
    Pin(String),
    /// Something else.
    Refused(Refusal),
}

impl SignedRole {
    /// Verifies the bytes of a role against what the snapshot says of them and who may sign.
    /// Whether it has expired is for the caller to see.
    ///
    /// # Errors
    /// If they are not the ones.
    pub(crate) fn read(
        file: &str,
        bytes: &[u8],
        pin: Option<&MetaFile>,
        role: &str,
        signers: &Signers,
    ) -> Result<Self, RoleError> {
        if let Some(pin) = pin {
            pinned(bytes, pin).map_err(RoleError::Pin)?;
        }
        let damaged = |error: serde_json::Error| {
            let file = file.to_owned();
            RoleError::Refused(Refusal::Damaged { file, why: error.to_string() })
        };
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
        let message = message(&envelope, signers);
        // Only what was signed is read on.
        signed(file, &message, &envelope.signatures, role, signers).map_err(RoleError::Refused)?;
        let part: Part = serde_json::from_slice(&message).map_err(damaged)?;
        if part.kind != "targets" || part.spec_version.split('.').next() != Some("1") {
            let why = format!("{} of TUF {}", part.kind, part.spec_version);
            let file = file.to_owned();
            return Err(RoleError::Refused(Refusal::Damaged { file, why }));
        }
        if let Some(pin) = pin.filter(|pin| pin.version != part.version) {
            let Part { version, .. } = part;
            return Err(RoleError::Pin(format!("version {version}, not {}", pin.version)));
        }
        Ok(Self { version: part.version, expires: part.expires, targets: part.targets.0 })
    }
}

/// The targets by path of a role that was verified when it was kept; nothing if that is no role.
pub(super) fn kept_targets(bytes: &[u8]) -> Option<BTreeMap<String, Result<Offer, CustomError>>> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).ok()?;
    let part: Part = serde_json::from_str(envelope.signed.get()).ok()?;
    Some(part.targets.0)
}

/// The file, its signed part as it lies there.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    signed: &'a RawValue,
    signatures: Vec<Signature>,
}

/// The signed part. What a role delegates is not followed.
#[derive(Deserialize)]
struct Part {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    version: u64,
    expires: Timestamp,
    targets: Offers,
}

/// Targets by path.
struct Offers(BTreeMap<String, Result<Offer, CustomError>>);

impl<'de> Deserialize<'de> for Offers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OffersVisitor)
    }
}

struct OffersVisitor;

impl<'de> Visitor<'de> for OffersVisitor {
    type Value = Offers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("targets by path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Offers, A::Error> {
        let mut targets = BTreeMap::new();
        while let Some((path, target)) = map.next_entry::<String, Target<'de>>()? {
            let offer = Offer::new(&path, &target);
            if targets.insert(path, offer).is_some() {
                return Err(A::Error::custom("a target is there twice"));
            }
        }
        Ok(Offers(targets))
    }
}

/// What the signatures are over: the signed part in canonical form. Our own files have it so, and
/// then it is not made anew; any valid signature tells.
fn message<'a>(envelope: &Envelope<'a>, signers: &Signers) -> Cow<'a, [u8]> {
    let raw = envelope.signed.get().as_bytes();
    if envelope.signatures.iter().any(|signature| is_valid(raw, signature, signers)) {
        return Cow::Borrowed(raw);
    }
    let value = serde_json::from_slice::<Value>(raw).ok();
    let canonical = value.and_then(|value| to_canonical_bytes(&value).ok());
    canonical.map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// Whether enough different keys signed, none of them twice (TUF 4.2.1).
fn signed(
    file: &str,
    message: &[u8],
    signatures: &[Signature],
    role: &str,
    signers: &Signers,
) -> Result<(), Refusal> {
    let file = file.to_owned();
    let mut seen = BTreeSet::new();
    let mut valid = 0;
    for signature in signatures {
        if !signers.needed.keyids.contains(&signature.keyid) || signature.sig.is_empty() {
            continue;
        }
        if !seen.insert(&signature.keyid) {
            return Err(Refusal::SignedTwice { file, key: signature.keyid.clone() });
        }
        valid += usize::from(is_valid(message, signature, signers));
    }
    let needed = signers.needed.threshold;
    // A threshold of nobody is refused where the delegation is read; here it lets nobody in.
    match valid >= needed.max(1) {
        true => Ok(()),
        false => Err(Refusal::Threshold { file, role: role.to_owned(), valid, needed }),
    }
}

fn is_valid(message: &[u8], signature: &Signature, signers: &Signers) -> bool {
    let is_signer = signers.needed.keyids.contains(&signature.keyid);
    let key = signers.keys.get(&signature.keyid).filter(|_| is_signer);
    let bytes = hex::decode(&signature.sig).ok();
    let both = key.zip(bytes);
    both.is_some_and(|(key, bytes)| key.verify(message, &SignatureBytes::new(bytes)).is_ok())
}

/// Whether bytes are the ones that a parent signed for.
fn pinned(bytes: &[u8], pin: &MetaFile) -> Result<(), String> {
    let len = bytes.len() as u64;
    if let Some(wanted) = pin.length.filter(|wanted| *wanted != len) {
        return Err(format!("{len} bytes, {wanted} were signed for"));
    }
    let Some(hashes) = &pin.hashes else { return Ok(()) };
    let mut is_known = false;
    for (algorithm, wanted) in hashes {
        let found = match algorithm.as_str() {
            "sha256" => hex::encode(Sha256::digest(bytes)),
            "sha512" => hex::encode(Sha512::digest(bytes)),
            _ => continue,
        };
        if !found.eq_ignore_ascii_case(wanted) {
            return Err(format!("{algorithm} is {found}, {wanted} was signed for"));
        }
        is_known = true;
    }
    match is_known {
        true => Ok(()),
        false => Err("no digest that is known was signed for".into()),
    }
}
