//! Releases without signatures, and a client that follows them as a device would.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{Cursor, Read};

use neap_depot::depot::Depot;
use neap_depot::directory::Directory;
use neap_depot::memory::Memory;
use neap_depot::publish::Publication;
use neap_depot::writer::{Present, Writer};
use neap_engine::digest::Digest;
use neap_trust::carrier::Carrier;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Parts of blobs in these tests: two groups.
pub(crate) const PART_LEN: u64 = 2 * 16_384;

/// Longest metadata of these tests.
const LEN_MAX: u64 = 1 << 20;

/// A depot on a disk.
pub(crate) fn depot(memory: &Memory) -> Depot {
    Depot::new(Box::new(Directory::new(memory.clone()))).with_part_len(PART_LEN)
}

/// Bytes that differ by seed.
pub(crate) fn image(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A release: what it publishes and the blobs that it needs.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    /// Its blobs.
    pub(crate) images: Vec<Vec<u8>>,
    /// Its metadata.
    pub(crate) publication: Publication,
}

/// Release `version`, whose timestamp is signed by these keys.
pub(crate) fn release(version: u64, images: &[Vec<u8>], keys: &[&str]) -> Release {
    let mut targets = serde_json::Map::new();
    for (index, image) in images.iter().enumerate() {
        let custom = json!({
            "blake3": Digest::of(image).to_string(), "kind": "full", "product": "p",
            "version": version.to_string(), "severity": "low",
        });
        let target = json!({
            "length": image.len(), "hashes": {"sha256": sha256(image)}, "custom": custom,
        });
        targets.insert(format!("g/fleet/p/{version}.{index}/full"), target);
    }
    let delegations = json!({"keys": {}, "roles": [{"name": "g.fleet"}]});
    let top = json!({"_type": "targets", "version": 1, "targets": {}, "delegations": delegations});
    let top = file(top, &[]);
    let role = json!({"_type": "targets", "version": version, "targets": targets});
    let role = file(role, keys);
    let meta = json!({
        "targets.json": named(1, &top),
        "g.fleet.json": named(version, &role),
    });
    let snapshot = file(json!({"_type": "snapshot", "version": version, "meta": meta}), keys);
    let meta = json!({"snapshot.json": named(version, &snapshot)});
    let timestamp = file(json!({"_type": "timestamp", "version": version, "meta": meta}), keys);
    let roles = vec![("1.targets.json".into(), top), (format!("{version}.g.fleet.json"), role)];
    let publication = Publication {
        roles,
        snapshot: Some((format!("{version}.snapshot.json"), snapshot)),
        timestamp: Some(timestamp),
        roots: Vec::new(),
        is_root_first: false,
    };
    Release { images: images.to_vec(), publication }
}

/// A root that trusts one key with the timestamp.
pub(crate) fn root(version: u64, key: &str) -> (String, Vec<u8>) {
    let root = json!({"_type": "root", "version": version, "timestamp": key});
    (format!("{version}.root.json"), file(root, &[]))
}

/// Adds the blobs of a release and publishes it.
pub(crate) fn publish(writer: &mut Writer<'_>, release: &Release) -> Result<(), String> {
    for image in &release.images {
        let added = writer.add(&mut Cursor::new(image), Present::Verify);
        added.map_err(|error| error.to_string())?;
    }
    writer.publish(&release.publication).map_err(|error| error.to_string())
}

/// Follows a depot as a device does and reads all of the release: its version.
pub(crate) fn client(depot: &Depot) -> Result<u64, String> {
    let mut root = None;
    for version in 1_u64.. {
        match read(depot, &format!("{version}.root.json"))? {
            Some(next) => root = Some(next),
            None => break,
        }
    }
    let root = root.ok_or("there is no root")?;
    let timestamp = read(depot, "timestamp.json")?.ok_or("there is no timestamp")?;
    let key = &root["signed"]["timestamp"];
    let signatures = timestamp["signatures"].as_array().ok_or("no signatures")?;
    if !signatures.iter().any(|signature| signature["keyid"] == *key) {
        return Err(format!("the timestamp is not signed by {key}"));
    }
    let meta = &timestamp["signed"]["meta"]["snapshot.json"];
    let snapshot = follow(depot, "snapshot", meta)?;
    for (file, meta) in snapshot["signed"]["meta"].as_object().ok_or("no meta")? {
        let role = follow(depot, file.trim_end_matches(".json"), meta)?;
        for (path, target) in role["signed"]["targets"].as_object().ok_or("no targets")? {
            let content = target_content(depot, target).map_err(|e| format!("{path}: {e}"))?;
            if json!(sha256(&content)) != target["hashes"]["sha256"] {
                return Err(format!("{path}: wrong content"));
            }
        }
    }
    timestamp["signed"]["version"].as_u64().ok_or_else(|| "no version".into())
}

fn target_content(depot: &Depot, target: &Value) -> Result<Vec<u8>, String> {
    let digest = target["custom"]["blake3"].as_str().and_then(Digest::from_hex);
    let blob = depot.blob(&digest.ok_or("no digest")?).map_err(|error| error.to_string())?;
    let mut content = Vec::new();
    let blob = blob.ok_or("there is no such blob")?;
    blob.reader().read_to_end(&mut content).map_err(|error| error.to_string())?;
    Ok(content)
}

fn follow(depot: &Depot, role: &str, meta: &Value) -> Result<Value, String> {
    let file = format!("{}.{role}.json", meta["version"]);
    let bytes = depot.metadata(&file, LEN_MAX).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("{file}: missing"))?;
    if json!(sha256(&bytes)) != meta["hashes"]["sha256"] {
        return Err(format!("{file}: wrong content"));
    }
    serde_json::from_slice(&bytes).map_err(|error| format!("{file}: {error}"))
}

fn read(depot: &Depot, file: &str) -> Result<Option<Value>, String> {
    let bytes = depot.metadata(file, LEN_MAX).map_err(|error| format!("{file}: {error}"))?;
    let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
    bytes.map(parse).transpose().map_err(|error| format!("{file}: {error}"))
}

fn file(signed: Value, keys: &[&str]) -> Vec<u8> {
    let signatures: Vec<_> = keys.iter().map(|key| json!({"keyid": key, "sig": ""})).collect();
    serde_json::to_vec(&json!({"signed": signed, "signatures": signatures})).expect("it is JSON")
}

fn named(version: u64, bytes: &[u8]) -> Value {
    json!({"version": version, "length": bytes.len(), "hashes": {"sha256": sha256(bytes)}})
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
