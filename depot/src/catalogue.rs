//! What published metadata names, followed from `timestamp.json` down. No signature is looked at:
//! this is for the keeper of a depot, who must find what is missing and keep what is named.

use std::collections::{BTreeMap, BTreeSet};
use std::{error, fmt, io};

use neap_engine::digest::Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::limits::METADATA_LEN_MAX;
use crate::name::Name;
use crate::store::{self, Store};

/// Everything that one snapshot names.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Version of the timestamp, 0 if it was not read.
    pub timestamp: u64,
    /// Version of the snapshot.
    pub snapshot: u64,
    /// The metadata files: the snapshot and one for each role.
    pub files: BTreeSet<Name>,
    /// The targets of all roles.
    pub entries: Vec<Entry>,
    /// Every digest that any of the files mentions.
    pub mentioned: BTreeSet<Digest>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its role, such as `g.fleet`.
    pub role: String,
    /// Its path, such as `g/fleet/bridge-display/1.4.0/full`.
    pub path: String,
    /// Its length in bytes.
    pub len: u64,
    /// SHA-256 of its bytes, if the role names it.
    pub sha256: Option<String>,
    /// The blob that it is, if the role names it.
    pub blob: Option<Digest>,
}

/// What is wrong with a metadata file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It is no metadata of its kind.
    Parse(String),
    /// It is of another version than its name, or what names it, says.
    Version {
        /// The version in it.
        found: u64,
        /// The version that was named.
        expected: u64,
    },
    /// It is of another length than what names it says.
    Length {
        /// Bytes of it.
        found: u64,
        /// Bytes that were named.
        expected: u64,
    },
    /// Its SHA-256 is not the one that was named.
    Sha256,
    /// No carrier can have a file of such a name.
    Name,
    /// It cannot be read.
    Io(io::Error),
}

/// Where metadata is read from: the store, and before it what is about to be published.
pub(crate) trait Shelf {
    fn take(&self, name: &Name) -> io::Result<Option<Vec<u8>>>;
}

impl Shelf for &dyn Store {
    fn take(&self, name: &Name) -> io::Result<Option<Vec<u8>>> {
        store::read(*self, name, METADATA_LEN_MAX)
    }
}

/// Collects what metadata names, and tells `sink` of every fault on the way.
pub(crate) struct Walk<'a, S> {
    pub(crate) shelf: S,
    pub(crate) sink: &'a mut dyn FnMut(Name, Fault),
}

impl<S: Shelf> Walk<'_, S> {
    /// Follows the timestamp.
    pub(crate) fn current(&mut self) -> Catalogue {
        let mut catalogue = Catalogue::default();
        let name = Name::timestamp();
        let Some(bytes) = self.read(&name, &MetaFile::default()) else { return catalogue };
        let Some(timestamp) = self.parse::<Timestamp>(&name, &bytes, "timestamp") else {
            return catalogue;
        };
        catalogue.timestamp = timestamp.version;
        match timestamp.meta.get("snapshot.json") {
            Some(meta) => self.snapshot(meta, &mut catalogue),
            None => (self.sink)(name, Fault::Parse("it names no snapshot.json".into())),
        }
        catalogue
    }

    /// Follows the snapshot of a version.
    pub(crate) fn version(&mut self, version: u64) -> Catalogue {
        let mut catalogue = Catalogue::default();
        self.snapshot(&MetaFile { version, ..MetaFile::default() }, &mut catalogue);
        catalogue
    }

    fn snapshot(&mut self, meta: &MetaFile, catalogue: &mut Catalogue) {
        catalogue.snapshot = meta.version;
        let Some(name) = Name::metadata(&format!("{}.snapshot.json", meta.version)) else {
            return (self.sink)(Name::timestamp(), Fault::Parse("snapshot of version 0".into()));
        };
        catalogue.files.insert(name.clone());
        let Some(bytes) = self.read(&name, meta) else { return };
        let Some(snapshot) = self.parse::<Snapshot>(&name, &bytes, "snapshot") else { return };
        self.version_is(&name, snapshot.version, meta.version);
        let mut roles = BTreeMap::new();
        for (file, meta) in &snapshot.meta {
            let role = file.strip_suffix(".json").unwrap_or(file);
            let Some(file) = Name::metadata(&format!("{}.{role}.json", meta.version)) else {
                (self.sink)(name.clone(), Fault::Name);
                continue;
            };
            catalogue.files.insert(file.clone());
            roles.extend(self.role(&file, meta).map(|read| (role.to_owned(), read)));
        }
        // A snapshot names the roles of removed groups for ever. No device follows them, so what
        // they name is named no more.
        let mut followed = vec!["targets".to_owned()];
        while let Some(role) = followed.pop() {
            let Some((targets, mentioned)) = roles.remove(&role) else { continue };
            catalogue.mentioned.extend(mentioned);
            let delegated = targets.delegations.into_iter().flat_map(|all| all.roles);
            followed.extend(delegated.map(|role| role.name));
            for (path, target) in targets.targets {
                let blob = target.custom.get("blake3").and_then(Value::as_str);
                let blob = blob.and_then(Digest::from_hex);
                let sha256 = target.hashes.get("sha256").cloned();
                let (role, len) = (role.clone(), target.length);
                catalogue.entries.push(Entry { role, path, len, sha256, blob });
            }
        }
    }

    /// A role's file, and every digest in it.
    fn role(&mut self, name: &Name, meta: &MetaFile) -> Option<(Targets, BTreeSet<Digest>)> {
        let bytes = self.read(name, meta)?;
        let targets = self.parse::<Targets>(name, &bytes, "targets")?;
        self.version_is(name, targets.version, meta.version);
        let mut mentioned = BTreeSet::new();
        if let Ok(value) = serde_json::from_slice(&bytes) {
            mentions(&value, &mut mentioned);
        }
        Some((targets, mentioned))
    }

    fn read(&mut self, name: &Name, meta: &MetaFile) -> Option<Vec<u8>> {
        let bytes = match self.shelf.take(name) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                (self.sink)(name.clone(), Fault::Missing);
                return None;
            }
            Err(error) => {
                (self.sink)(name.clone(), Fault::Io(error));
                return None;
            }
        };
        let found = bytes.len() as u64;
        if let Some(expected) = meta.length.filter(|length| *length != found) {
            (self.sink)(name.clone(), Fault::Length { found, expected });
        } else if meta.hashes.get("sha256").is_some_and(|hash| *hash != sha256(&bytes)) {
            (self.sink)(name.clone(), Fault::Sha256);
        }
        Some(bytes)
    }

    fn parse<T: DeserializeOwned>(&mut self, name: &Name, bytes: &[u8], kind: &str) -> Option<T> {
        match parse(bytes, kind) {
            Ok(signed) => Some(signed),
            Err(why) => {
                (self.sink)(name.clone(), Fault::Parse(why));
                None
            }
        }
    }

    fn version_is(&mut self, name: &Name, found: u64, expected: u64) {
        if found != expected {
            (self.sink)(name.clone(), Fault::Version { found, expected });
        }
    }
}

/// The version that metadata of a kind (`root`, `timestamp`, …) says it has.
///
/// # Errors
/// If it is none of that kind.
pub(crate) fn version(bytes: &[u8], kind: &str) -> Result<u64, String> {
    #[derive(Deserialize)]
    struct Any {
        version: u64,
    }
    parse::<Any>(bytes, kind).map(|any| any.version)
}

/// Adds every digest in a document, wherever it stands.
pub(crate) fn mentions(value: &Value, digests: &mut BTreeSet<Digest>) {
    match value {
        Value::String(text) => digests.extend(Digest::from_hex(text)),
        Value::Array(values) => values.iter().for_each(|value| mentions(value, digests)),
        Value::Object(members) => {
            for (key, value) in members {
                digests.extend(Digest::from_hex(key));
                mentions(value, digests);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// SHA-256 in hexadecimal, as TUF writes it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn parse<T: DeserializeOwned>(bytes: &[u8], kind: &str) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Envelope<T> {
        signed: T,
    }
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "_type")]
        kind: String,
    }
    let found: Envelope<Kind> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if found.signed.kind != kind {
        return Err(format!("it is of type {:?}, expected {kind:?}", found.signed.kind));
    }
    let envelope: Envelope<T> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok(envelope.signed)
}

#[derive(Debug, Default, Deserialize)]
struct MetaFile {
    version: u64,
    length: Option<u64>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Timestamp {
    version: u64,
    meta: BTreeMap<String, MetaFile>,
}

#[derive(Deserialize)]
struct Snapshot {
    version: u64,
    meta: BTreeMap<String, MetaFile>,
}

#[derive(Deserialize)]
struct Targets {
    version: u64,
    #[serde(default)]
    targets: BTreeMap<String, Target>,
    delegations: Option<Delegations>,
}

#[derive(Deserialize)]
struct Delegations {
    #[serde(default)]
    roles: Vec<Delegated>,
}

#[derive(Deserialize)]
struct Delegated {
    name: String,
}

#[derive(Deserialize)]
struct Target {
    length: u64,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    #[serde(default)]
    custom: Value,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is missing"),
            Self::Parse(why) => write!(f, "it cannot be parsed: {why}"),
            Self::Version { found, expected } => {
                write!(f, "it is version {found}, expected {expected}")
            }
            Self::Length { found, expected } => write!(f, "{found} bytes, {expected} expected"),
            Self::Sha256 => f.write_str("its SHA-256 is not the one that names it"),
            Self::Name => f.write_str("it names a role that no carrier can hold"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl error::Error for Fault {}
