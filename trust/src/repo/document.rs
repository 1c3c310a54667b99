//! TUF metadata as the editor reads and writes it (TUF 1.0, section 4): the same bytes for the
//! same content, members in order, no white space.
//!
//! The client does not use this: it has its own reading of the same files.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sigstore_tuf::canonical_json::to_canonical_bytes;

use super::error::RepoError;
use crate::client::ISSUED;
use crate::key::{KeyId, PublicKey};
use crate::target::Custom;

/// The version of TUF that is written.
pub const SPEC_VERSION: &str = "1.0.31";
/// The member of a key object that says what people call the key.
const NAME: &str = "x-neap-name";

/// A metadata file: what is said, and signatures over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    signed: Value,
    /// By key id, in hexadecimal digits.
    signatures: BTreeMap<String, String>,
    /// What signatures are over.
    canonical: Vec<u8>,
}

/// Keys of a role and how many of them must sign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// Their ids.
    pub keyids: BTreeSet<String>,
    /// How many distinct ones must sign.
    pub threshold: usize,
}

/// Who may say what (TUF 4.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    /// From 1, by one each time.
    pub version: u64,
    /// Until when it is valid.
    pub expires: Timestamp,
    /// Whether file names begin with versions: always, here.
    pub consistent_snapshot: bool,
    /// Keys by id.
    pub keys: BTreeMap<String, Value>,
    /// The four top-level roles.
    pub roles: BTreeMap<String, RoleKeys>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// What may be installed, or who may say so (TUF 4.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    /// From 1, by one each time.
    pub version: u64,
    /// Until when it is valid.
    pub expires: Timestamp,
    /// Files by path.
    pub targets: BTreeMap<String, TargetFile>,
    /// Who may say it for which paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// Roles that others sign for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// Keys by id.
    pub keys: BTreeMap<String, Value>,
    /// In order of search.
    pub roles: Vec<DelegatedRole>,
}

/// A role that others sign for, and the paths that it may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// Its name, such as `g.fleet`.
    pub name: String,
    /// Its keys and threshold.
    #[serde(flatten)]
    pub keys: RoleKeys,
    /// Patterns of paths.
    pub paths: Vec<String>,
    /// Whether the search for a path ends here.
    pub terminating: bool,
}

/// A file that may be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Its length in bytes.
    pub length: u64,
    /// Its digests; SHA-256 is always among them.
    pub hashes: BTreeMap<String, String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
}

/// Snapshot and timestamp: which versions of which files are current (TUF 4.4, 4.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    /// From 1, by one each time.
    pub version: u64,
    /// Until when it is valid.
    pub expires: Timestamp,
    /// The files by name.
    pub meta: BTreeMap<String, MetaFile>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// One file that is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// Its version.
    pub version: u64,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hashes: BTreeMap<String, String>,
}

/// A public key and what people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// The key.
    pub key: PublicKey,
    /// Such as `alice`; may be empty.
    pub name: String,
}

impl Envelope {
    /// What is said, unsigned yet.
    ///
    /// # Errors
    /// If it has no canonical form: a number in it is no integer.
    pub fn new(signed: Value) -> Result<Self, RepoError> {
        let canonical = to_canonical_bytes(&signed)
            .map_err(|error| malformed("metadata", &error.to_string()))?;
        Ok(Self { signed, signatures: BTreeMap::new(), canonical })
    }

    /// Reads a metadata file, called `file` in errors.
    ///
    /// # Errors
    /// If it is none, or has two signatures of one key.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, RepoError> {
        let value = serde_json::from_slice(bytes)
            .map_err(|error| malformed(file, &format!("no JSON: {error}")))?;
        Self::from_value(file, value)
    }

    /// The same of JSON that was read.
    ///
    /// # Errors
    /// As [`Envelope::parse`].
    pub fn from_value(file: &str, value: Value) -> Result<Self, RepoError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            signed: Value,
            signatures: Vec<Signature>,
        }
        let read: File = serde_json::from_value(value)
            .map_err(|error| malformed(file, &format!("no TUF metadata: {error}")))?;
        let mut envelope = Self::new(read.signed)?;
        envelope.set_signatures(file, read.signatures)?;
        Ok(envelope)
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.value().to_string().into_bytes()
    }

    /// The file as JSON, members in order.
    #[must_use]
    pub fn value(&self) -> Value {
        let signatures = self.signature_list();
        json!({"signatures": signatures, "signed": ordered(&self.signed)})
    }

    /// The signatures as a file has them.
    #[must_use]
    pub fn signature_list(&self) -> Value {
        let all = self.signatures.iter();
        all.map(|(keyid, sig)| json!({"keyid": keyid, "sig": sig})).collect()
    }

    /// What is said.
    #[must_use]
    pub fn signed(&self) -> &Value {
        &self.signed
    }

    /// The bytes that signatures are over.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// SHA-256 of those bytes, in hexadecimal digits: two people who sign the same see the same.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.canonical))
    }

    /// The version, 0 if there is none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.signed["version"].as_u64().unwrap_or(0)
    }

    /// When it expires.
    ///
    /// # Errors
    /// If it does not say.
    pub fn expires(&self) -> Result<Timestamp, RepoError> {
        let text = self.signed["expires"].as_str().unwrap_or_default();
        text.parse().map_err(|_| malformed("metadata", "`expires` is no time"))
    }

    /// Takes the signatures of a file.
    pub(super) fn set_signatures(
        &mut self,
        file: &str,
        signatures: Vec<Signature>,
    ) -> Result<(), RepoError> {
        for Signature { keyid, sig } in signatures {
            if self.signatures.insert(keyid.clone(), sig).is_some() {
                return Err(malformed(file, &format!("two signatures of key {keyid}")));
            }
        }
        Ok(())
    }

    /// Adds a signature that was checked.
    pub(super) fn sign(&mut self, key: &KeyId, signature: &[u8; 64]) {
        self.signatures.insert(key.as_str().to_owned(), hex::encode(signature));
    }

    /// Drops signatures of keys that are not among these.
    pub(super) fn keep_signatures(&mut self, keep: impl Fn(&str) -> bool) {
        self.signatures.retain(|key, _| keep(key));
    }

    /// Ids of the distinct keys of a role that validly sign this.
    #[must_use]
    pub fn signers(&self, role: &RoleKeys, keys: &BTreeMap<String, Value>) -> BTreeSet<String> {
        let is_valid = |id: &&String| {
            let signature = self.signatures.get(*id).and_then(|digits| hex::decode(digits).ok());
            let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
            let key = keys.get(*id).and_then(PublicKey::from_tuf);
            // Under another id, one key could count twice.
            let key = key.filter(|key| key.id().as_str() == **id);
            matches!((key, signature), (Some(key), Some(signature))
                if key.verifies(&self.canonical, &signature))
        };
        role.keyids.iter().filter(is_valid).cloned().collect()
    }

    /// The root metadata in it, checked.
    ///
    /// # Errors
    /// If it is none, or its keys and thresholds make no sense.
    pub fn root(&self) -> Result<Root, RepoError> {
        let root: Root = self.typed("root")?;
        check_keys("root", &root.keys)?;
        for name in ["root", "targets", "snapshot", "timestamp"] {
            let role =
                root.roles.get(name).ok_or_else(|| malformed("root", "a role is missing"))?;
            role.check(name, &root.keys)?;
        }
        if root.roles.len() != 4 {
            return Err(malformed("root", "there are other roles than TUF's four"));
        }
        Ok(root)
    }

    /// The targets metadata in it, checked.
    ///
    /// # Errors
    /// If it is none, or its keys and thresholds make no sense.
    pub fn targets(&self) -> Result<Targets, RepoError> {
        let targets: Targets = self.typed("targets")?;
        let none = Delegations::default();
        let delegations = targets.delegations.as_ref().unwrap_or(&none);
        check_keys("targets", &delegations.keys)?;
        let mut names = BTreeSet::new();
        for role in &delegations.roles {
            role.keys.check(&role.name, &delegations.keys)?;
            if !names.insert(&role.name) {
                return Err(malformed("targets", &format!("two roles are called {}", role.name)));
            }
        }
        Ok(targets)
    }

    /// The snapshot or timestamp in it.
    ///
    /// # Errors
    /// If it is none.
    pub fn listing(&self, kind: &str) -> Result<Listing, RepoError> {
        self.typed(kind)
    }

    fn typed<T: DeserializeOwned>(&self, kind: &str) -> Result<T, RepoError> {
        if self.signed["_type"] != kind {
            return Err(malformed(kind, "`_type` says something else"));
        }
        let spec = self.signed["spec_version"].as_str().unwrap_or_default();
        if spec.split('.').next() != Some("1") {
            return Err(malformed(kind, "`spec_version` is not 1"));
        }
        T::deserialize(&self.signed).map_err(|error| malformed(kind, &error.to_string()))
    }
}

impl RoleKeys {
    /// Whether a key is one of the role's.
    #[must_use]
    pub fn has(&self, key: &KeyId) -> bool {
        self.keyids.contains(key.as_str())
    }

    fn check(&self, name: &str, keys: &BTreeMap<String, Value>) -> Result<(), RepoError> {
        let (count, threshold) = (self.keyids.len(), self.threshold);
        if let Some(id) = self.keyids.iter().find(|id| !keys.contains_key(*id)) {
            return Err(malformed(name, &format!("there is no key {id}")));
        }
        match (1..=count).contains(&threshold) {
            true => Ok(()),
            false => Err(RepoError::Impossible(format!(
                "role {name} has {count} keys and a threshold of {threshold}"
            ))),
        }
    }
}

impl Root {
    /// Root metadata of version 1, whose roles have no keys yet.
    #[must_use]
    pub fn new(expires: Timestamp) -> Self {
        Self {
            kind: "root".into(),
            spec_version: SPEC_VERSION.into(),
            version: 1,
            expires,
            consistent_snapshot: true,
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Forgets keys that no role has.
    pub fn drop_unused_keys(&mut self) {
        let Self { keys, roles, .. } = self;
        keys.retain(|id, _| roles.values().any(|role| role.keyids.contains(id)));
    }

    /// As metadata, unsigned.
    ///
    /// # Errors
    /// If keys and thresholds make no sense.
    pub fn envelope(&self) -> Result<Envelope, RepoError> {
        let envelope = envelope(self)?;
        envelope.root().map(|_| envelope)
    }
}

impl Targets {
    /// Targets metadata of version 1 that says nothing.
    #[must_use]
    pub fn new(expires: Timestamp) -> Self {
        Self {
            kind: "targets".into(),
            spec_version: SPEC_VERSION.into(),
            version: 1,
            expires,
            targets: BTreeMap::new(),
            delegations: None,
            extra: Map::new(),
        }
    }

    /// The delegated role of this name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&DelegatedRole> {
        self.delegations.iter().flat_map(|all| &all.roles).find(|role| role.name == name)
    }

    /// Forgets keys that no role has.
    pub fn drop_unused_keys(&mut self) {
        let Some(Delegations { keys, roles }) = &mut self.delegations else { return };
        keys.retain(|id, _| roles.iter().any(|role| role.keys.keyids.contains(id)));
    }

    /// As metadata, unsigned.
    ///
    /// # Errors
    /// If keys and thresholds make no sense.
    pub fn envelope(&self) -> Result<Envelope, RepoError> {
        let envelope = envelope(self)?;
        envelope.targets().map(|_| envelope)
    }
}

impl TargetFile {
    /// What is said of a file of this length and SHA-256.
    ///
    /// # Errors
    /// Never with a `Custom` that was made by hand; a serialiser may fail.
    pub fn new(length: u64, sha256: &str, custom: &Custom) -> Result<Self, RepoError> {
        let custom = serde_json::to_value(custom)
            .map_err(|error| malformed("custom", &error.to_string()))?;
        let hashes = BTreeMap::from([("sha256".to_owned(), sha256.to_owned())]);
        Ok(Self { length, hashes, custom: Some(custom) })
    }

    /// What the file is, if it says so in words that neap knows.
    #[must_use]
    pub fn custom(&self) -> Option<Custom> {
        self.custom.as_ref().and_then(|custom| Custom::deserialize(custom).ok())
    }
}

impl Listing {
    /// A snapshot or timestamp of these files.
    #[must_use]
    pub fn new(
        kind: &str,
        version: u64,
        expires: Timestamp,
        meta: BTreeMap<String, MetaFile>,
    ) -> Self {
        let (kind, spec_version) = (kind.to_owned(), SPEC_VERSION.to_owned());
        Self { kind, spec_version, version, expires, meta, extra: Map::new() }
    }

    /// The same, saying when it was issued: devices without a clock learn the time from it.
    #[must_use]
    pub fn issued(mut self, at: Timestamp) -> Self {
        // In whole seconds, as all times of TUF.
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
        self.extra.insert(ISSUED.to_owned(), Value::String(at.to_string()));
        self
    }

    /// As metadata, unsigned.
    ///
    /// # Errors
    /// Never with what this crate made.
    pub fn envelope(&self) -> Result<Envelope, RepoError> {
        envelope(self)
    }
}

impl MetaFile {
    /// What a listing says of a file.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        let bytes = envelope.bytes();
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Self {
            version: envelope.version(),
            length: u64::try_from(bytes.len()).ok(),
            hashes: BTreeMap::from([("sha256".to_owned(), sha256)]),
        }
    }
}

impl NamedKey {
    /// The key object of TUF, with the name in it.
    #[must_use]
    pub fn tuf(&self) -> Value {
        let mut value = self.key.tuf();
        if !self.name.is_empty() {
            value[NAME] = self.name.clone().into();
        }
        value
    }

    /// A key and its name from a TUF key object.
    #[must_use]
    pub fn from_tuf(value: &Value) -> Option<Self> {
        let name = value[NAME].as_str().unwrap_or_default().to_owned();
        PublicKey::from_tuf(value).map(|key| Self { key, name })
    }
}

/// A signature as metadata files and requests have it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signature {
    keyid: String,
    sig: String,
}

/// Every key is of a kind that is used, under its own id.
fn check_keys(file: &str, keys: &BTreeMap<String, Value>) -> Result<(), RepoError> {
    for (id, value) in keys {
        let Some(key) = PublicKey::from_tuf(value) else {
            return Err(malformed(file, &format!("key {id} is no Ed25519 key")));
        };
        let own = key.id();
        if own.as_str() != id {
            return Err(malformed(file, &format!("key {own} goes under another id, {id}")));
        }
    }
    Ok(())
}

fn envelope(document: &impl Serialize) -> Result<Envelope, RepoError> {
    let signed = serde_json::to_value(document)
        .map_err(|error| malformed("metadata", &error.to_string()))?;
    Envelope::new(ordered(&signed))
}

/// The same with the members of all objects in order.
pub(super) fn ordered(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let sorted = sorted.into_iter().map(|(name, value)| (name.clone(), ordered(value)));
            Value::Object(sorted.collect())
        }
        Value::Array(items) => items.iter().map(ordered).collect(),
        other => other.clone(),
    }
}

pub(super) fn malformed(file: &str, why: &str) -> RepoError {
    RepoError::Malformed(file.to_owned(), why.to_owned())
}
