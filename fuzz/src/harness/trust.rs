//! Metadata against the client: whatever a carrier holds, and whatever a signer signs, nothing is
//! offered that was not released, and nothing panics.

use std::sync::LazyLock;

use neap_trust::client::{Ask, Checked, Refusal, check};
use neap_trust::fixture::{Files, Repository};
use neap_trust::profile::Profile;
use neap_trust::state::MemoryState;
use neap_trust::time::{Clock, Timestamp};
use serde_json::Value;

/// Files of a carrier and of a device's memory that are replaced, by the first byte.
const FILES: [&str; 6] = [
    "timestamp.json",
    "2.snapshot.json",
    "2.targets.json",
    "1.g.bridge.json",
    "1.g.engine.json",
    "2.root.json",
];
const KEPT: [&str; 7] = [
    "root.json",
    "timestamp.json",
    "snapshot.json",
    "targets.json",
    "g.bridge.json",
    "known-time",
    "site-profile.bridge",
];
const ROLES: [&str; 5] = ["root", "timestamp", "snapshot", "targets", "g.bridge"];

/// A file of the carrier is any bytes: what is offered is what was released, or nothing.
pub fn metadata(bytes: &[u8]) {
    let Some((choice, file)) = bytes.split_first() else { return };
    let mut carrier = HONEST.files.clone();
    let name = FILES[usize::from(*choice) % FILES.len()];
    carrier.metadata.insert(name.into(), file.to_vec());
    if let Ok(checked) = asked(&carrier, &mut MemoryState::default()) {
        assert_eq!(paths(&checked), ["g/bridge/display/1.0/full", "g/bridge/site/1/profile"]);
    }
}

/// A file of the device's memory is any bytes: an honest carrier is believed all the same, unless
/// the bytes are a floor or a time that was really signed.
pub fn state(bytes: &[u8]) {
    let Some((choice, file)) = bytes.split_first() else { return };
    let mut state = KNOWING.clone();
    let name = KEPT[usize::from(*choice) % KEPT.len()];
    state.0.insert(name.into(), file.to_vec());
    match asked(&HONEST.files, &mut state) {
        Ok(checked) => assert_eq!(paths(&checked).len(), 2),
        Err(refusal) => assert!(name == "known-time" || name == "root.json", "{refusal}"),
    }
}

/// The signers of a role sign any members: what is offered keeps to the paths of the group.
pub fn signed(bytes: &[u8]) {
    drop(Profile::parse(bytes));
    let Some((choice, text)) = bytes.split_first() else { return };
    let Ok(Value::Object(members)) = serde_json::from_slice(text) else { return };
    let mut repository = HONEST.clone();
    let role = ROLES[usize::from(*choice) % ROLES.len()];
    let part = repository.signed.get_mut(role).and_then(Value::as_object_mut);
    let part = part.expect("every role has members");
    for (name, value) in members {
        // Whole numbers only, as TUF signs no others; the fixture would not sign the rest.
        if is_canonical(&value) {
            part.insert(name, value);
        }
    }
    let version = part.get("version").and_then(Value::as_u64);
    let Some(version) = version.and_then(|version| version.checked_add(1)) else { return };
    repository.publish_as(role, version);
    if role != "root" && role != "timestamp" {
        if role != "snapshot" {
            repository.publish_role("snapshot");
        }
        repository.publish_role("timestamp");
    }
    if let Ok(checked) = asked(&repository.files, &mut MemoryState::default()) {
        assert!(paths(&checked).iter().all(|path| path.starts_with("g/bridge/")));
    }
}

/// The honest files, in the order in which the first byte picks them.
#[must_use]
#[allow(dead_code, reason = "the seeds are made of them")]
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    let found = FILES.iter().map(|name| (*name, HONEST.files.metadata.get(*name)));
    found.filter_map(|(name, bytes)| Some((name, bytes?.clone()))).collect()
}

static HONEST: LazyLock<Repository> = LazyLock::new(|| {
    let mut made = Repository::new(now());
    for group in ["bridge", "engine"] {
        made.group(group);
        made.release(group, "display", "1.0");
    }
    let profile = r#"{"neap_profile":1,"site":"A","stale_days":30}"#;
    made.profile("bridge", 1, &serde_json::from_str(profile).expect("JSON of our own"));
    made.publish(&["g.bridge", "g.engine", "targets"]);
    made
});

/// What a device remembers that has checked the honest carrier.
static KNOWING: LazyLock<MemoryState> = LazyLock::new(|| {
    let mut state = MemoryState::default();
    asked(&HONEST.files, &mut state).expect("it is honest");
    state
});

fn asked(carrier: &Files, state: &mut MemoryState) -> Result<Checked, Refusal> {
    let root = HONEST.first_root();
    let clock = Clock { rtc: Some(now()), build: now() };
    check(carrier, state, &Ask { groups: &["bridge"], root: Some(&root), clock, seen: None })
}

fn paths(checked: &Checked) -> Vec<&str> {
    checked.groups[0].offers.iter().map(|offer| offer.path.as_str()).collect()
}

/// 2026-06-01.
fn now() -> Timestamp {
    Timestamp::from_second(1_780_272_000).expect("it is in range")
}

fn is_canonical(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Array(items) => items.iter().all(is_canonical),
        Value::Object(members) => members.values().all(is_canonical),
        _ => true,
    }
}
