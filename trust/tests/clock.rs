//! Time without a clock, and how stale a site may be: neither bricks a device nor opens a hole.

mod common;

use common::{Device, days, repository, start, versions};
use jiff::Timestamp;
use neap_trust::client::ISSUED;
use neap_trust::fixture::Repository;
use neap_trust::profile::Approval;
use neap_trust::time::Source;
use serde_json::{Value, json};

fn profile(stale_days: u32) -> Value {
    json!({"neap_profile": 1, "site": "MV Aurora", "stale_days": stale_days, "approval": "crew"})
}

/// The repository, published again so many days later with one version more.
fn later(repository: &Repository, after: i64, version: &str) -> Repository {
    let mut made = repository.clone();
    made.now += days(after);
    for role in ["root", "targets", "snapshot", "g.bridge", "g.engine"] {
        made.valid_days(role, 365);
    }
    made.valid_days("timestamp", 30);
    made.release("bridge", "display", version);
    made.publish_role("root");
    made.publish(&["g.bridge", "g.engine", "targets"]);
    made
}

#[test]
fn dead_clock_does_not_stop_an_update() {
    let repository = repository();
    for rtc in [Some(Timestamp::UNIX_EPOCH), None] {
        let mut device = Device::new(&repository);
        device.rtc = rtc;
        let checked = device.accepts(&repository.files);
        assert_eq!(checked.staleness.time.source, Source::Signed);
        assert_eq!(checked.staleness.time.at, start());
        assert_eq!(checked.notes.len(), 1, "{:?}", checked.notes);
        let new = later(&repository, 700, "2.0");
        assert_eq!(versions(&device.accepts(&new.files)), ["1.0", "2.0"]);
    }
}

#[test]
fn dead_clock_opens_no_hole_for_what_expired_before_the_newest_signed_time() {
    let repository = repository();
    let mut device = Device::new(&repository);
    device.accepts(&later(&repository, 700, "2.0").files);
    device.rtc = Some(Timestamp::UNIX_EPOCH);
    // Even where the versions seen were lost, the time was not.
    for name in ["timestamp.json", "snapshot.json", "targets.json", "g.bridge.json"] {
        device.state.0.remove(name);
    }
    let (exit, word, text) = device.refuses(&repository.files);
    assert_eq!((exit, word), (8, "expired"), "{text}");
}

#[test]
fn dead_clock_knows_when_the_program_was_built() {
    let mut old = repository();
    old.now = start() - days(100);
    old.valid_days("timestamp", 30);
    old.publish(&[]);
    let mut device = Device::new(&old);
    device.rtc = Some(Timestamp::UNIX_EPOCH);
    let (exit, _, text) = device.refuses(&old.files);
    assert_eq!(exit, 8);
    assert!(text.ends_with("by the build of this program"), "{text}");
}

#[test]
fn clock_that_went_back_does_not_take_the_time_back() {
    let repository = repository();
    let mut device = Device::new(&repository);
    device.rtc = Some(start() + days(29));
    device.accepts(&repository.files);
    device.rtc = Some(start() + days(1));
    let checked = device.accepts(&repository.files);
    assert_eq!(checked.staleness.time.at, start() + days(29));
    assert_eq!(checked.staleness.time.source, Source::Kept);
}

#[test]
fn clock_years_ahead_refuses_until_it_is_set_and_no_longer() {
    let repository = repository();
    let mut device = Device::new(&repository);
    device.rtc = Some(start() + days(2000));
    let (exit, word, text) = device.refuses(&repository.files);
    assert_eq!((exit, word), (8, "expired"));
    assert!(text.contains("the device's clock"), "{text}");
    device.rtc = Some(start() + days(1));
    let checked = device.accepts(&repository.files);
    assert_eq!(checked.staleness.time.at, start() + days(1));
}

#[test]
fn clock_a_lifetime_ahead_is_not_believed() {
    let repository = repository();
    let mut device = Device::new(&repository);
    device.rtc = Some("2106-02-07T06:28:15Z".parse().expect("a time"));
    let checked = device.accepts(&repository.files);
    assert_eq!(checked.staleness.time.source, Source::Signed);
    assert_eq!(checked.notes[0].word(), "clock-absurd");
}

/// Even where a stale site is allowed to go on, its clock is kept only while nothing expired by it.
#[test]
fn clock_of_a_stale_site_is_not_kept() {
    let mut repository = repository();
    repository.profile("bridge", 1, &profile(3650));
    repository.publish(&["g.bridge"]);
    let mut device = Device::new(&repository);
    device.accepts(&repository.files);
    device.rtc = Some(start() + days(1500));
    device.accepts(&repository.files);
    device.rtc = Some(start() + days(2));
    assert_eq!(device.accepts(&repository.files).staleness.time.at, start() + days(2));
}

#[test]
fn stolen_timestamp_key_cannot_push_time_past_what_others_signed() {
    let repository = repository();
    let mut device = Device::new(&repository);
    device.accepts(&repository.files);
    let mut thief = repository.clone();
    thief.now = start() + days(20_000);
    thief.valid_days("timestamp", 30);
    thief.publish_role("timestamp");
    assert_eq!(device.refuses(&thief.files).0, 8);
    // Once the key is revoked the device goes on as if nothing had been.
    let mut cured = later(&repository, 1, "1.1");
    cured.root_role("timestamp", &["timestamp-new"], 1);
    cured.publish_role("root");
    cured.publish(&[]);
    device.rtc = Some(start() + days(1));
    let checked = device.accepts(&cured.files);
    assert_eq!(checked.staleness.time.at, start() + days(1));
}

#[test]
fn issue_time_that_is_none_is_refused() {
    for issued in [json!("yesterday"), json!(7), json!("2026-08-01T00:00:00Z"), json!("2026-06-01")]
    {
        let mut repository = repository();
        repository.set("timestamp", ISSUED, issued.clone());
        let bytes = repository.envelope("timestamp");
        repository.files.metadata.insert("timestamp.json".into(), bytes);
        assert_eq!(Device::new(&repository).refuses(&repository.files).1, "damaged", "{issued}");
    }
}

#[test]
fn repository_that_says_no_issue_time_is_followed() {
    let mut repository = repository();
    repository
        .signed
        .get_mut("timestamp")
        .and_then(Value::as_object_mut)
        .expect("one")
        .remove(ISSUED);
    let bytes = repository.envelope("timestamp");
    repository.files.metadata.insert("timestamp.json".into(), bytes);
    let checked = Device::new(&repository).accepts(&repository.files);
    assert_eq!((checked.staleness.issued, checked.staleness.age_s()), (None, None));
}

// How stale a site may be.

#[test]
fn site_may_be_as_stale_as_its_profile_says_and_no_longer() {
    let mut repository = repository();
    repository.profile("bridge", 1, &profile(90));
    repository.publish(&["g.bridge"]);
    let mut device = Device::new(&repository);
    let checked = device.accepts(&repository.files);
    let found = checked.groups[0].profile.as_ref().expect("it is signed");
    assert_eq!(found.approval, Approval::Crew);
    assert!(!checked.staleness.is_stale());
    // The timestamp expires after 30 days.
    device.rtc = Some(start() + days(120));
    let checked = device.accepts(&repository.files);
    assert_eq!(checked.staleness.stale_s(), 90 * 86_400);
    assert_eq!(checked.staleness.age_s(), Some(120 * 86_400));
    assert_eq!(checked.staleness.allowed_days, 90);
    device.rtc = Some(start() + days(121));
    let (exit, _, text) = device.refuses(&repository.files);
    assert_eq!(exit, 8);
    assert!(text.contains("may be stale for 90 days"), "{text}");
}

#[test]
fn profile_does_not_excuse_what_is_older_than_the_newest_signed_time() {
    let mut repository = repository();
    repository.profile("bridge", 1, &profile(3650));
    repository.publish(&["g.bridge"]);
    let mut device = Device::new(&repository);
    device.accepts(&repository.files);
    // Signers of targets let their role lapse; timestamps went on.
    let mut lapsed = repository.clone();
    lapsed.now = start() + days(400);
    lapsed.valid_days("timestamp", 30);
    lapsed.valid_days("root", 800);
    lapsed.valid_days("snapshot", 800);
    lapsed.publish_role("root");
    lapsed.publish(&[]);
    device.rtc = None;
    let (exit, _, text) = device.refuses(&lapsed.files);
    assert_eq!(exit, 8, "{text}");
}

#[test]
fn stricter_profile_counts_at_once() {
    let mut repository = repository();
    repository.profile("bridge", 1, &profile(3650));
    repository.publish(&["g.bridge"]);
    let mut device = Device::new(&repository);
    device.accepts(&repository.files);
    repository.profile("bridge", 2, &profile(1));
    repository.publish(&["g.bridge"]);
    device.rtc = Some(start() + days(60));
    let (exit, _, text) = device.refuses(&repository.files);
    assert_eq!(exit, 8);
    assert!(text.contains("may be stale for 1 days"), "{text}");
}

#[test]
fn withheld_profile_allows_nothing() {
    let mut repository = repository();
    repository.profile("bridge", 1, &profile(90));
    repository.publish(&["g.bridge"]);
    repository.files.blobs.clear();
    let mut device = Device::new(&repository);
    let checked = device.accepts(&repository.files);
    assert_eq!(checked.staleness.allowed_days, 0);
    assert_eq!(checked.notes[0].word(), "profile-missing");
    device.rtc = Some(start() + days(31));
    assert_eq!(device.refuses(&repository.files).0, 8);
}

#[test]
fn profile_that_was_not_signed_is_refused() {
    let mut repository = repository();
    repository.profile("bridge", 1, &profile(90));
    repository.publish(&["g.bridge"]);
    for blob in repository.files.blobs.values_mut() {
        *blob = profile(3650).to_string().into_bytes();
    }
    let (exit, word, _) = Device::new(&repository).refuses(&repository.files);
    assert_eq!((exit, word), (1, "damaged"));
}

#[test]
fn profile_of_one_group_is_none_of_another() {
    let mut repository = repository();
    repository.profile("bridge", 1, &profile(90));
    repository.publish(&["g.bridge"]);
    let mut device = Device::new(&repository);
    device.ask(&repository.files, &["bridge", "engine"], None).expect("both are there");
    device.rtc = Some(start() + days(40));
    device.ask(&repository.files, &["bridge", "engine"], None).expect_err("engine has none");
    device.accepts(&repository.files);
}

#[test]
fn removed_profile_allows_nothing() {
    let mut repository = repository();
    let before = repository.signed["g.bridge"].clone();
    repository.profile("bridge", 1, &profile(90));
    repository.publish(&["g.bridge"]);
    let mut device = Device::new(&repository);
    device.accepts(&repository.files);
    let targets = before["targets"].clone();
    repository.set("g.bridge", "targets", targets);
    repository.publish(&["g.bridge"]);
    assert_eq!(device.accepts(&repository.files).staleness.allowed_days, 0);
    assert!(!device.state.0.contains_key("site-profile.bridge"));
}
