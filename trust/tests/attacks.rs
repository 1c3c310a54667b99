//! The attacks of `docs/trust-threats.md`, each with the honest story beside it: the same carrier
//! without the attack is believed. It is one piece, since it is read beside that page's table.

mod common;

use std::io;

use common::{Device, days, repository, start, versions};
use neap_trust::carrier::Carrier;
use neap_trust::client::Refusal;
use neap_trust::device_key::file::Kind;
use neap_trust::fixture::identity::{Ca, device, request};
use neap_trust::fixture::{Files, Repository, envelope, key_id, tuf_key};
use neap_trust::key::sealed::FileKey;
use neap_trust::limits::{ROOTS_MAX, TIMESTAMP_LEN_MAX};
use serde_json::json;
use sha2::{Digest, Sha256};

/// A repository and, published later, the same with version 1.1 for `bridge`.
fn two_times() -> (Repository, Repository) {
    let old = repository();
    let mut new = old.clone();
    new.release("bridge", "display", "1.1");
    new.publish(&["g.bridge"]);
    (old, new)
}

#[test]
fn honest_carrier_offers_what_was_released() {
    let (old, new) = two_times();
    let mut device = Device::new(&old);
    assert_eq!(versions(&device.accepts(&old.files)), ["1.0"]);
    assert_eq!(versions(&device.accepts(&new.files)), ["1.0", "1.1"]);
}

#[test]
fn only_roles_of_the_devices_groups_are_read() {
    let repository = repository();
    let mut device = Device::new(&repository);
    repository.files.take_reads();
    device.accepts(&repository.files);
    let reads = repository.files.take_reads();
    let needed =
        ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "1.g.bridge.json"];
    assert_eq!(reads, needed);
    // Nothing changed: only whether something did is asked.
    device.accepts(&repository.files);
    assert_eq!(repository.files.take_reads(), ["2.root.json", "timestamp.json"]);
}

// Rollback, of each role.

#[test]
fn old_carrier_after_a_new_one_is_refused() {
    let (old, new) = two_times();
    let mut device = Device::new(&old);
    device.accepts(&new.files);
    let (exit, word, text) = device.refuses(&old.files);
    assert_eq!((exit, word), (7, "rollback"));
    assert_eq!(text, "timestamp is version 2, older than version 3 which this device has seen");
}

#[test]
fn timestamp_rollback_is_refused_after_it_expired() {
    let (old, mut new) = two_times();
    let mut device = Device::new(&old);
    device.accepts(&new.files);
    // The floor outlives the validity of what set it.
    device.rtc = Some(start() + days(100));
    new.files
        .metadata
        .insert("timestamp.json".into(), old.files.metadata["timestamp.json"].clone());
    assert_eq!(device.refuses(&new.files).0, 7);
}

#[test]
fn snapshot_rollback_by_the_timestamp_key_is_refused() {
    let (mut old, new) = two_times();
    let mut device = Device::new(&old);
    device.accepts(&new.files);
    // A thief of the timestamp key signs a newer timestamp for the old snapshot.
    old.publish_as("timestamp", 9);
    let (exit, _, text) = device.refuses(&old.files);
    assert_eq!((exit, text.contains("snapshot")), (7, true), "{text}");
}

#[test]
fn snapshot_rollback_is_refused_where_the_kept_timestamp_is_damaged() {
    let (mut old, new) = two_times();
    let mut device = Device::new(&old);
    device.accepts(&new.files);
    device.state.0.insert("timestamp.json".into(), b"torn".to_vec());
    old.publish_as("timestamp", 9);
    assert_eq!(device.refuses(&old.files).0, 7);
}

#[test]
fn targets_rollback_by_both_online_keys_is_refused() {
    let mut old = repository();
    let mut new = old.clone();
    new.publish(&["targets"]);
    let mut device = Device::new(&old);
    device.accepts(&new.files);
    old.publish_as("snapshot", 9);
    old.publish_as("timestamp", 9);
    let (exit, _, text) = device.refuses(&old.files);
    assert_eq!((exit, text.contains("targets")), (7, true), "{text}");
}

#[test]
fn group_rollback_by_both_online_keys_is_refused() {
    let (mut old, new) = two_times();
    let mut device = Device::new(&old);
    device.accepts(&new.files);
    old.publish_as("snapshot", 9);
    old.publish_as("timestamp", 9);
    let (exit, _, text) = device.refuses(&old.files);
    assert_eq!((exit, text.contains("g.bridge")), (7, true), "{text}");
}

/// The core checks a snapshot against the kept one only where that is the one the kept timestamp
/// names. A thief of both online keys could part them by a timestamp whose snapshot is missing.
#[test]
fn group_rollback_in_two_steps_is_refused() {
    let (mut old, new) = two_times();
    let mut device = Device::new(&old);
    device.accepts(&new.files);
    old.publish_as("snapshot", 9);
    old.publish_as("timestamp", 9);
    let mut torn = old.files.clone();
    torn.metadata.remove("9.snapshot.json");
    assert_eq!(device.refuses(&torn).1, "missing");
    let (exit, word, _) = device.refuses(&old.files);
    assert_eq!((exit, word), (7, "rollback"));
}

#[test]
fn role_dropped_from_the_snapshot_is_refused() {
    let (old, mut new) = two_times();
    let mut device = Device::new(&old);
    device.accepts(&old.files);
    let meta = new.signed.get_mut("snapshot").expect("there is a snapshot")["meta"].as_object_mut();
    meta.expect("an object").remove("g.bridge.json");
    new.publish(&[]);
    let (exit, _, text) = device.refuses(&new.files);
    assert_eq!(exit, 7);
    assert!(text.contains("g.bridge"), "{text}");
}

#[test]
fn root_rollback_is_refused() {
    let mut repository = repository();
    repository.publish_role("root");
    let mut device = Device::new(&repository);
    assert_eq!(device.accepts(&repository.files).root, 2);
    // The next root is an old one again, properly signed.
    let old = repository.files.metadata["1.root.json"].clone();
    repository.files.metadata.insert("3.root.json".into(), old);
    let (exit, word, _) = device.refuses(&repository.files);
    assert_eq!((exit, word), (7, "mix-and-match"));
}

// Freeze.

#[test]
fn frozen_carrier_is_refused_once_its_timestamp_expired() {
    let repository = repository();
    let mut device = Device::new(&repository);
    device.rtc = Some(start() + days(30));
    device.accepts(&repository.files);
    device.rtc = Some(start() + days(31));
    let (exit, word, text) = device.refuses(&repository.files);
    assert_eq!((exit, word), (8, "expired"));
    assert_eq!(
        text,
        "timestamp was valid until 2026-07-01T00:00:00Z, and it is 2026-07-02T00:00:00Z or later \
         by the device's clock"
    );
}

#[test]
fn frozen_carrier_is_refused_once_a_peer_showed_a_newer_timestamp() {
    let (old, new) = two_times();
    let mut device = Device::new(&old);
    device.accepts(&old.files);
    let seen = &new.files.metadata["timestamp.json"];
    let refused = device.ask(&old.files, &["bridge"], Some(seen)).expect_err("older than seen");
    assert_eq!((refused.exit_code(), refused.word()), (7, "rollback"));
    // It is remembered without the peer.
    assert_eq!(device.refuses(&old.files).0, 7);
    device.accepts(&new.files);
    // One that is older than what was seen changes nothing.
    let older = &old.files.metadata["timestamp.json"];
    device.ask(&new.files, &["bridge"], Some(older)).expect("as new as was seen");
}

#[test]
fn peers_cannot_invent_a_newer_timestamp() {
    let (old, mut new) = two_times();
    let mut device = Device::new(&old);
    new.signers.insert("timestamp".into(), vec!["stranger".into()]);
    let seen = new.envelope("timestamp");
    let refused = device.ask(&old.files, &["bridge"], Some(&seen)).expect_err("by a stranger");
    assert_eq!(refused.exit_code(), 6);
    device.accepts(&old.files);
}

#[test]
fn expired_role_of_each_kind_is_refused() {
    for role in ["root", "timestamp", "snapshot", "targets", "g.bridge"] {
        let mut repository = repository();
        repository.valid_days(role, -1);
        match role {
            "root" | "timestamp" | "snapshot" => repository.publish_role(role),
            _ => repository.publish(&[role]),
        }
        if role == "snapshot" {
            repository.publish_role("timestamp");
        }
        // Issued before it expired, as the owner would.
        if role == "timestamp" {
            repository.now = start() - days(2);
            repository.publish_role(role);
            repository.now = start();
        }
        let mut device = Device::new(&repository);
        let (exit, word, text) = device.refuses(&repository.files);
        assert_eq!((exit, word, text.contains(role)), (8, "expired", true), "{role}: {text}");
    }
}

// Mix-and-match.

#[test]
fn snapshot_of_another_time_is_refused() {
    let (old, mut new) = two_times();
    let mut device = Device::new(&old);
    let stale = old.files.metadata["2.snapshot.json"].clone();
    new.files.metadata.insert("3.snapshot.json".into(), stale);
    let (exit, word, _) = device.refuses(&new.files);
    assert_eq!((exit, word), (7, "mix-and-match"));
}

#[test]
fn group_role_of_another_time_is_refused() {
    let (old, mut new) = two_times();
    let mut device = Device::new(&old);
    let stale = old.files.metadata["1.g.bridge.json"].clone();
    new.files.metadata.insert("2.g.bridge.json".into(), stale);
    let (exit, word, text) = device.refuses(&new.files);
    assert_eq!((exit, word), (7, "mix-and-match"), "{text}");
}

#[test]
fn second_file_of_the_same_version_is_refused() {
    let (old, mut new) = two_times();
    let mut device = Device::new(&old);
    // The signers of the group made two files of version 2; one is in the snapshot.
    let mut other = old.clone();
    other.release("bridge", "display", "6.6");
    other.publish_role("g.bridge");
    let file = other.files.metadata["2.g.bridge.json"].clone();
    new.files.metadata.insert("2.g.bridge.json".into(), file);
    let (exit, word, text) = device.refuses(&new.files);
    assert_eq!((exit, word), (7, "mix-and-match"), "{text}");
}

// Endless data, slow and oversized files, damage.

/// A carrier whose every file goes on for ever, and which ignores what it may send.
struct Endless(Files, &'static str);

impl Carrier for Endless {
    fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        if name.ends_with(self.1) {
            return Ok(Some(vec![b' '; usize::try_from(len_max).expect("it fits") + 1]));
        }
        self.0.metadata(name, len_max)
    }
}

#[test]
fn endless_file_of_each_kind_is_refused() {
    let repository = repository();
    for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json", "g.bridge.json"] {
        let mut device = Device::new(&repository);
        let (exit, word, text) = device.refuses(&Endless(repository.files.clone(), name));
        assert_eq!((exit, word, text.contains(name)), (1, "too-long", true), "{text}");
    }
}

#[test]
fn timestamp_at_its_limit_is_taken_and_one_byte_more_is_not() {
    let mut repository = repository();
    let timestamp = repository.files.metadata.get_mut("timestamp.json").expect("there is one");
    timestamp.resize(usize::try_from(TIMESTAMP_LEN_MAX).expect("it fits"), b' ');
    Device::new(&repository).accepts(&repository.files);
    let timestamp = repository.files.metadata.get_mut("timestamp.json").expect("there is one");
    timestamp.push(b' ');
    assert_eq!(Device::new(&repository).refuses(&repository.files).1, "too-long");
}

#[test]
fn slow_carrier_can_be_tried_again() {
    struct Slow;
    impl Carrier for Slow {
        fn metadata(&self, _: &str, _: u64) -> io::Result<Option<Vec<u8>>> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
    assert_eq!(Device::new(&repository()).refuses(&Slow).0, 10);
}

#[test]
fn endless_chain_of_roots_is_followed_in_parts() {
    let mut repository = repository();
    for _ in 0..ROOTS_MAX + 2 {
        repository.publish_role("root");
    }
    let mut device = Device::new(&repository);
    let (exit, word, _) = device.refuses(&repository.files);
    assert_eq!((exit, word), (1, "many-roots"));
    assert_eq!(device.accepts(&repository.files).root, ROOTS_MAX + 3);
}

#[test]
fn damage_to_any_file_is_named() {
    let repository = repository();
    let files = ["timestamp.json", "2.snapshot.json", "2.targets.json", "1.g.bridge.json"];
    for name in files {
        let whole = &repository.files.metadata[name];
        for damage in [&whole[..whole.len() / 2], b"", b"[]", b"{\"signed\":1}"] {
            let mut carrier = repository.files.clone();
            carrier.metadata.insert(name.into(), damage.to_vec());
            let (exit, word, text) = Device::new(&repository).refuses(&carrier);
            assert_eq!((exit, word, text.contains(name)), (1, "damaged", true), "{text}");
        }
        let mut carrier = repository.files.clone();
        carrier.metadata.remove(name);
        assert_eq!(Device::new(&repository).refuses(&carrier).1, "missing");
    }
}

// Signatures.

#[test]
fn each_role_below_its_threshold_is_refused() {
    for role in ["root", "timestamp", "snapshot", "targets", "g.bridge"] {
        let mut repository = repository();
        repository.signers.get_mut(role).expect("there is such a role").pop();
        match role {
            "root" | "timestamp" => repository.publish_role(role),
            "snapshot" => repository.publish(&[]),
            _ => repository.publish(&[role]),
        }
        let (exit, word, text) = Device::new(&repository).refuses(&repository.files);
        assert_eq!((exit, word, text.contains(role)), (6, "threshold", true), "{text}");
    }
}

#[test]
fn one_key_signing_twice_is_not_two_people() {
    for role in ["root", "targets", "g.bridge"] {
        let mut repository = repository();
        let signers = repository.signers.get_mut(role).expect("there is such a role");
        signers[1] = signers[0].clone();
        match role {
            "root" => repository.publish_role(role),
            _ => repository.publish(&[role]),
        }
        let (exit, word, _) = Device::new(&repository).refuses(&repository.files);
        assert_eq!((exit, word), (6, "signed-twice"), "{role}");
    }
}

#[test]
fn one_key_under_two_ids_is_not_two_people() {
    let mut repository = repository();
    let targets = repository.signed.get_mut("targets").expect("there are targets");
    let delegations = &mut targets["delegations"];
    delegations["keys"]["alias"] = tuf_key("bridge-a");
    delegations["roles"][0]["keyids"] = json!([key_id("bridge-a"), "alias"]);
    repository.publish(&["targets"]);
    let signed = repository.signed["g.bridge"].clone();
    let mut file: serde_json::Value =
        serde_json::from_slice(&envelope(&signed, &["bridge-a".into()])).expect("ours");
    let sig = file["signatures"][0]["sig"].clone();
    let alias = json!({"keyid": "alias", "sig": sig});
    file["signatures"].as_array_mut().expect("a list").push(alias);
    let bytes = file.to_string().into_bytes();
    let pin = &mut repository.signed.get_mut("snapshot").expect("there is one")["meta"];
    pin["g.bridge.json"] = json!({"version": 1, "length": bytes.len()});
    repository.publish(&[]);
    repository.files.metadata.insert("1.g.bridge.json".into(), bytes);
    let (exit, word, text) = Device::new(&repository).refuses(&repository.files);
    assert_eq!((exit, word), (6, "role"), "{text}");
}

#[test]
fn root_that_counts_one_key_as_two_is_refused() {
    let mut repository = repository();
    let root = repository.signed.get_mut("root").expect("there is a root");
    root["keys"]["alias"] = tuf_key("targets-a");
    root["roles"]["targets"]["keyids"] = json!([key_id("targets-a"), "alias"]);
    repository.publish_role("root");
    let (exit, word, text) = Device::new(&repository).refuses(&repository.files);
    assert_eq!((exit, word), (6, "role"), "{text}");
}

#[test]
fn signatures_by_strangers_do_not_count() {
    for role in ["root", "timestamp", "snapshot", "targets", "g.bridge"] {
        let mut repository = repository();
        let strangers = vec!["stranger-a".into(), "stranger-b".into()];
        repository.signers.insert(role.into(), strangers);
        match role {
            "root" | "timestamp" => repository.publish_role(role),
            "snapshot" => repository.publish(&[]),
            _ => repository.publish(&[role]),
        }
        let (exit, word, _) = Device::new(&repository).refuses(&repository.files);
        assert_eq!((exit, word), (6, "threshold"), "{role}");
    }
}

// Whoever stole the authority's key passes for any device; what devices install is not its to say.
#[test]
fn authority_of_a_fleet_can_name_devices_and_sign_no_release() {
    let ca = Ca::with(FileKey::from_seed(&Sha256::digest("authority").into()));
    let passes_for = ca.certificate(&request("radar-7", &device(Kind::Ed25519, 66)), 1);
    assert_eq!(passes_for.device().as_str(), "radar-7");
    for role in ["root", "timestamp", "snapshot", "targets", "g.bridge"] {
        let mut repository = repository();
        repository.signers.insert(role.into(), vec!["authority".into()]);
        match role {
            "root" | "timestamp" => repository.publish_role(role),
            "snapshot" => repository.publish(&[]),
            _ => repository.publish(&[role]),
        }
        assert_eq!(Device::new(&repository).refuses(&repository.files).0, 6, "{role}");
    }
}

#[test]
fn keys_of_another_group_do_not_count() {
    let mut repository = repository();
    let theirs = repository.signers["g.engine"].clone();
    repository.signers.insert("g.bridge".into(), theirs);
    repository.publish(&["g.bridge"]);
    assert_eq!(Device::new(&repository).refuses(&repository.files).0, 6);
}

#[test]
fn threshold_of_nobody_is_refused() {
    let mut repository = repository();
    let targets = repository.signed.get_mut("targets").expect("there are targets");
    targets["delegations"]["roles"][0]["threshold"] = 0.into();
    repository.signers.insert("g.bridge".into(), Vec::new());
    repository.publish(&["g.bridge", "targets"]);
    assert_eq!(Device::new(&repository).refuses(&repository.files).0, 6);
}

#[test]
fn changed_byte_under_good_signatures_is_refused() {
    let mut repository = repository();
    let timestamp = repository.files.metadata.get_mut("timestamp.json").expect("there is one");
    let text = String::from_utf8(timestamp.clone()).expect("JSON");
    let changed = text.replace("2026-07-01", "2036-07-01");
    assert_ne!(text, changed);
    *timestamp = changed.into_bytes();
    assert_eq!(Device::new(&repository).refuses(&repository.files).0, 6);
}

// Delegations.

#[test]
fn group_role_naming_another_groups_path_is_refused() {
    let mut repository = repository();
    let custom = repository.signed["g.bridge"]["targets"]["g/bridge/display/1.0/full"].clone();
    let path = "g/engine/display/1.0/full";
    repository.signed.get_mut("g.bridge").expect("it is there")["targets"][path] = custom;
    repository.publish(&["g.bridge"]);
    let (exit, word, text) = Device::new(&repository).refuses(&repository.files);
    assert_eq!((exit, word), (6, "role"));
    assert!(text.contains(path), "{text}");
}

#[test]
fn group_role_cannot_reach_devices_of_another_group() {
    let mut repository = repository();
    let custom = repository.signed["g.engine"]["targets"]["g/engine/pump/1.0/full"].clone();
    let path = "g/bridge/display/9.9/full";
    repository.signed.get_mut("g.engine").expect("it is there")["targets"][path] = custom;
    repository.publish(&["g.engine"]);
    // Devices of `bridge` do not even read what the other group signs.
    assert_eq!(versions(&Device::new(&repository).accepts(&repository.files)), ["1.0"]);
    let mut device = Device::new(&repository);
    let refused = device.ask(&repository.files, &["engine"], None).expect_err("not its path");
    assert_eq!(refused.exit_code(), 6);
}

#[test]
fn delegation_for_other_paths_than_the_groups_is_refused() {
    for paths in [json!(["g/*/*/*/*"]), json!(["g/bridge/*/*/*", "g/engine/*/*/*"]), json!([])] {
        let mut repository = repository();
        let targets = repository.signed.get_mut("targets").expect("there are targets");
        targets["delegations"]["roles"][0]["paths"] = paths;
        repository.publish(&["targets"]);
        let (exit, word, _) = Device::new(&repository).refuses(&repository.files);
        assert_eq!((exit, word), (6, "role"));
    }
}

#[test]
fn role_reusing_a_top_level_name_is_refused() {
    for name in ["root", "timestamp", "snapshot", "targets"] {
        let mut repository = repository();
        let targets = repository.signed.get_mut("targets").expect("there are targets");
        let mut role = targets["delegations"]["roles"][0].clone();
        role["name"] = name.into();
        targets["delegations"]["roles"].as_array_mut().expect("a list").push(role);
        repository.publish(&["targets"]);
        let (exit, word, text) = Device::new(&repository).refuses(&repository.files);
        assert_eq!((exit, word), (6, "role"), "{text}");
    }
}

#[test]
fn role_delegated_twice_is_refused() {
    let mut repository = repository();
    let targets = repository.signed.get_mut("targets").expect("there are targets");
    let mut role = targets["delegations"]["roles"][0].clone();
    role["keyids"] = json!([key_id("stranger")]);
    targets["delegations"]["roles"].as_array_mut().expect("a list").push(role);
    repository.publish(&["targets"]);
    assert_eq!(Device::new(&repository).refuses(&repository.files).0, 6);
}

#[test]
fn group_that_nobody_delegates_to_is_unknown() {
    let repository = repository();
    for group in ["galley", "../bridge", "", "targets"] {
        let mut device = Device::new(&repository);
        let refused = device.ask(&repository.files, &[group], None).expect_err("no such group");
        assert!(matches!(refused, Refusal::UnknownGroup { .. }), "{refused}");
    }
}

// Roots.

#[test]
fn roots_of_years_are_followed() {
    let mut repository = repository();
    for year in 0..40 {
        let keys = [format!("root-{year}-a"), format!("root-{year}-b")];
        let mut signers = repository.signers["root"].clone();
        repository.root_role("root", &[&keys[0], &keys[1]], 2);
        // The old keys let the new ones in.
        signers.extend(keys.clone());
        repository.signers.insert("root".into(), signers);
        repository.publish_role("root");
        repository.signers.insert("root".into(), keys.into());
    }
    assert_eq!(Device::new(&repository).accepts(&repository.files).root, 41);
}

#[test]
fn withheld_root_is_named() {
    let mut repository = repository();
    repository.root_role("timestamp", &["timestamp-new"], 1);
    repository.publish_role("root");
    repository.publish_role("root");
    repository.publish(&[]);
    Device::new(&repository).accepts(&repository.files);
    repository.files.metadata.remove("2.root.json");
    let (exit, word, text) = Device::new(&repository).refuses(&repository.files);
    assert_eq!((exit, word), (7, "withheld"));
    assert_eq!(text, "2.root.json is missing though 3.root.json is there: a root is held back");
}

#[test]
fn root_that_the_old_keys_did_not_sign_is_refused() {
    let mut repository = repository();
    repository.root_role("root", &["usurper-a", "usurper-b"], 2);
    repository.publish_role("root");
    let (exit, word, _) = Device::new(&repository).refuses(&repository.files);
    assert_eq!((exit, word), (6, "threshold"));
}

#[test]
fn revoked_timestamp_key_counts_no_more() {
    let mut repository = repository();
    let mut device = Device::new(&repository);
    device.accepts(&repository.files);
    // The thief has the key, and signs on after it was revoked.
    let mut thief = repository.clone();
    repository.root_role("timestamp", &["timestamp-new"], 1);
    repository.publish_role("root");
    thief.publish(&[]);
    let root = repository.files.metadata["2.root.json"].clone();
    thief.files.metadata.insert("2.root.json".into(), root);
    let (exit, word, _) = device.refuses(&thief.files);
    assert_eq!((exit, word), (6, "threshold"));
    repository.publish(&[]);
    device.accepts(&repository.files);
}

#[test]
fn revoked_group_key_counts_no_more() {
    let mut repository = repository();
    let targets = repository.signed.get_mut("targets").expect("there are targets");
    let delegations = &mut targets["delegations"];
    delegations["keys"][key_id("bridge-c")] = tuf_key("bridge-c");
    delegations["roles"][0]["keyids"] = json!([key_id("bridge-b"), key_id("bridge-c")]);
    repository.publish(&["targets"]);
    let (exit, word, _) = Device::new(&repository).refuses(&repository.files);
    assert_eq!((exit, word), (6, "threshold"));
    repository.signers.insert("g.bridge".into(), vec!["bridge-b".into(), "bridge-c".into()]);
    repository.publish(&["g.bridge"]);
    Device::new(&repository).accepts(&repository.files);
}

#[test]
fn versions_that_a_stolen_key_ran_up_are_forgotten_with_the_key() {
    let mut repository = repository();
    let mut device = Device::new(&repository);
    let mut thief = repository.clone();
    thief.publish_as("timestamp", u64::from(u32::MAX));
    device.accepts(&thief.files);
    repository.publish(&[]);
    assert_eq!(device.refuses(&repository.files).0, 7);
    repository.root_role("timestamp", &["timestamp-new"], 1);
    repository.publish_role("root");
    repository.publish(&[]);
    device.accepts(&repository.files);
}

// What the device starts from and remembers.

#[test]
fn device_without_a_root_believes_nobody() {
    let repository = repository();
    let mut device = Device::new(&repository);
    device.root = b"{}".to_vec();
    assert_eq!(device.refuses(&repository.files).1, "bad-root");
}

#[test]
fn root_of_another_repository_is_refused() {
    let repository = repository();
    let mut device = Device::new(&repository);
    device.accepts(&repository.files);
    let mut other = repository.clone();
    other.root_role("timestamp", &["other"], 1);
    other.publish_as("root", 1);
    device.root = other.files.metadata["1.root.json"].clone();
    assert_eq!(device.refuses(&repository.files).1, "bad-root");
}

#[test]
fn damaged_memory_is_said_and_does_not_stop_updates() {
    let repository = repository();
    for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json", "known-time"] {
        let mut device = Device::new(&repository);
        device.accepts(&repository.files);
        device.state.0.insert(name.into(), b"\0torn".to_vec());
        let checked = device.accepts(&repository.files);
        let said = checked.notes.iter().any(|note| note.to_string().contains(name));
        assert!(said || name == "targets.json", "{name}: {:?}", checked.notes);
    }
}

#[test]
fn memory_is_no_more_believed_than_a_carrier() {
    let (old, new) = two_times();
    let mut device = Device::new(&old);
    device.accepts(&old.files);
    let mut forged = new.clone();
    forged.signers.insert("g.bridge".into(), vec!["stranger".into()]);
    forged.release("bridge", "display", "6.6");
    device.state.0.insert("g.bridge.json".into(), forged.envelope("g.bridge"));
    device.state.0.insert("targets.json".into(), forged.envelope("targets"));
    assert_eq!(versions(&device.accepts(&new.files)), ["1.0", "1.1"]);
}

#[test]
fn state_that_cannot_be_written_is_told() {
    use neap_trust::client::{Ask, check};
    use neap_trust::state::State;
    struct Full;
    impl State for Full {
        fn load(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
            Ok(None)
        }
        fn store(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn remove(&mut self, _: &str) -> io::Result<()> {
            Ok(())
        }
    }
    let repository = repository();
    let root = repository.first_root();
    let clock = neap_trust::time::Clock { rtc: Some(start()), build: start() };
    let ask = Ask { groups: &["bridge"], root: Some(&root), clock, seen: None };
    let refused = check(&repository.files, &mut Full, &ask).expect_err("nothing can be kept");
    assert!(matches!(refused, Refusal::State { .. }), "{refused}");
}

// Forms of a file.

/// Puts these bytes in place of the group's role, as the owner of both online keys could.
fn replaced(repository: &mut Repository, bytes: Vec<u8>) {
    let meta = &mut repository.signed.get_mut("snapshot").expect("there is one")["meta"];
    meta["g.bridge.json"] = json!({"version": 1, "length": bytes.len()});
    repository.publish(&[]);
    repository.files.metadata.insert("1.g.bridge.json".into(), bytes);
}

#[test]
fn role_that_another_tool_wrote_with_spaces_is_the_same_role() {
    let mut repository = repository();
    let file: serde_json::Value =
        serde_json::from_slice(&repository.files.metadata["1.g.bridge.json"]).expect("JSON");
    replaced(&mut repository, serde_json::to_vec_pretty(&file).expect("JSON"));
    assert_eq!(versions(&Device::new(&repository).accepts(&repository.files)), ["1.0"]);
}

/// Signatures are over the canonical form, which holds a member once. A file with a member twice
/// must not be read with the one that nobody signed.
#[test]
fn member_that_is_there_twice_says_only_what_was_signed() {
    let signed = repository().files.metadata["1.g.bridge.json"].clone();
    let text = String::from_utf8(signed).expect("JSON");
    let entry = text.split_once("\"targets\":{").expect("it has targets").1;
    let entry = entry.split_once("},\"version\"").expect("a version ends it").0;
    let forged = entry.replace("/1.0/", "/6.6/").replace("\"1.0\"", "\"6.6\"");
    let larger = entry.replace("1000000", "6666666");
    for (from, to) in [
        ("\"targets\":{", format!("\"targets\":{{{larger},")),
        ("\"to_len\":", "\"to_len\":6666666,\"to_len\":".to_owned()),
        ("\"targets\":{", format!("\"targets\":{{{forged},")),
        ("\"targets\":{", format!("\"targets\":{{{forged}}},\"targets\":{{")),
        ("\"version\":1,", "\"version\":9,\"version\":1,".to_owned()),
        ("\"version\":1}", "\"version\":9,\"version\":1}".to_owned()),
        ("\"signed\":{", format!("\"signed\":{{\"targets\":{{{forged}}}}},\"signed\":{{")),
    ] {
        let changed = text.replacen(from, &to, 1);
        assert!(changed != text || from.ends_with([',', '}']), "{from} is not there");
        let mut repository = repository();
        replaced(&mut repository, changed.into_bytes());
        match Device::new(&repository).check(&repository.files) {
            Ok(checked) => {
                assert_eq!(versions(&checked), ["1.0"], "{to}");
                assert_eq!(checked.groups[0].offers[0].custom.to_len, Some(1_000_000));
            }
            Err(refusal) => assert!([1, 6].contains(&refusal.exit_code()), "{refusal}"),
        }
    }
}

// Targets.

#[test]
fn target_that_is_not_understood_is_named_and_others_are_offered() {
    let digest = "0".repeat(64);
    let good = json!({
        "blake3": digest, "kind": "full", "to": digest, "to_len": 1, "content": "image",
        "product": "display", "version": "2.0", "severity": "low",
    });
    let changes = [
        ("kind", json!("hologram")),
        ("blake3", json!("0".repeat(63))),
        ("blake3", json!("G".repeat(64))),
        ("to", json!(null)),
        ("to_len", json!(-1)),
        ("content", json!(null)),
        ("product", json!("pump")),
        ("version", json!("2.1")),
        ("severity", json!("meh")),
        ("kind", json!("delta")),
        ("kind", json!("site-profile")),
    ];
    let path = "g/bridge/display/2.0/full";
    for (field, value) in changes {
        let mut repository = repository();
        let mut custom = good.clone();
        custom[field] = value;
        repository.target("bridge", path, 1, &digest, custom);
        repository.publish(&["g.bridge"]);
        let checked = Device::new(&repository).accepts(&repository.files);
        assert_eq!(versions(&checked), ["1.0"], "{field}");
        assert_eq!(checked.groups[0].refused[0].path, path);
    }
    let mut repository = repository();
    repository.target("bridge", path, 1, &digest, good);
    repository.publish(&["g.bridge"]);
    let checked = Device::new(&repository).accepts(&repository.files);
    assert_eq!(versions(&checked), ["1.0", "2.0"]);
}
