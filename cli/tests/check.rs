//! What `neap check` lists, refuses and keeps.

mod common;

use std::fs;
use std::time::SystemTime;

use common::Bench;
use neap_trust::fixture::Repository;
use neap_trust::time::Timestamp;
use serde_json::json;

fn repository() -> Repository {
    let now = Timestamp::try_from(SystemTime::now()).expect("the test machine has a clock");
    let mut made = Repository::new(now);
    made.group("bridge");
    made.release("bridge", "display", "1.0");
    made.delta("bridge", "display", "1.0", "0.9");
    let profile = json!({
        "neap_profile": 1, "site": "MV Aurora", "stale_days": 90, "approval": "crew",
    });
    made.profile("bridge", 1, &profile);
    made.target("bridge", "g/bridge/display/1.0/odd", 1, "no digest", json!({}));
    made.publish(&["g.bridge", "targets"]);
    made
}

/// Writes the depot as a carrier has it.
fn write(bench: &Bench, repository: &Repository) {
    let folders = [("metadata", &repository.files.metadata), ("blobs", &repository.files.blobs)];
    for (folder, files) in folders {
        let folder = bench.path("depot").join(folder);
        fs::create_dir_all(&folder).expect("a folder for the depot");
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).expect("test file written");
        }
    }
    bench.write("root.json", &repository.first_root());
}

#[test]
fn offers_are_listed_for_people_and_for_programs() {
    let bench = Bench::new();
    write(&bench, &repository());
    let run = bench.run("check depot --group bridge --root root.json").expect_code(0);
    for part in ["1.0", "full", "from ", "400,000 bytes", "severity low", "MV Aurora", "odd: "] {
        assert!(run.stdout.contains(part), "`{part}` is not in\n{}", run.stdout);
    }
    let run = bench.run("check depot --group bridge --root root.json --json").expect_code(0);
    let json = run.json();
    assert_eq!(json["schema"], "neap.check.v1");
    assert_eq!(json["groups"][0]["offers"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["groups"][0]["refused"][0]["path"], "g/bridge/display/1.0/odd");
    assert_eq!(json["groups"][0]["profile"]["approval"], "crew");
    assert_eq!(json["staleness"]["stale_s"], 0);
    assert_eq!(json["time"]["source"], "rtc");
    assert_eq!(bench.names(), ["depot", "root.json"], "nothing is kept unless asked");
}

#[test]
fn what_was_seen_is_kept_and_an_older_carrier_is_refused() {
    let bench = Bench::new();
    let old = repository();
    let mut new = old.clone();
    new.publish(&["g.bridge"]);
    write(&bench, &new);
    bench.run("check depot --group bridge --root root.json --state state").expect_code(0);
    write(&bench, &old);
    let run = bench.run("check depot --group bridge --state state --json").expect_code(7);
    assert!(run.stderr.contains("depot: timestamp is version 2"), "{}", run.stderr);
    assert_eq!(run.json()["exit"], 7);
    // Without what was seen it cannot be told.
    bench.run("check depot --group bridge --root root.json").expect_code(0);
}

#[test]
fn refusals_have_their_codes() {
    let bench = Bench::new();
    let mut repository = repository();
    write(&bench, &repository);
    bench.run("check depot --group bridge").expect_code(1);
    bench.run("check depot --group galley --root root.json").expect_code(1);
    bench.run("check depot --root root.json").expect_code(2);
    bench.run("check nowhere --group bridge --root root.json").expect_code(1);
    repository.valid_days("g.bridge", -1);
    repository.publish(&["g.bridge"]);
    write(&bench, &repository);
    let run = bench.run("check depot --group bridge --root root.json").expect_code(8);
    assert!(run.stderr.contains("check the device's clock"), "{}", run.stderr);
    repository.valid_days("g.bridge", 1);
    repository.signers.get_mut("g.bridge").expect("it is there").pop();
    repository.publish(&["g.bridge"]);
    write(&bench, &repository);
    bench.run("check depot --group bridge --root root.json").expect_code(6);
}
