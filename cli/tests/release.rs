//! A release from an image to a device's slot: made, signed by two, published, planned, applied.

mod common;
mod signing;

use signing::Town;

/// Bytes that no coder makes much smaller, with a few changed by version.
fn image(version: u32) -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes: Vec<u8> = (0..600_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_le_bytes()[7]
        })
        .collect();
    for at in 0..version as usize {
        bytes[at * 50_000 + 17] ^= 0x55;
    }
    bytes
}

fn create(town: &Town, version: &str, number: u32, more: &str) -> serde_json::Value {
    town.depot.write(&format!("{version}.img"), &image(number));
    let create = format!(
        "release create depot --group fleet --product radar --version {version} --image \
         {version}.img --quiet --json {more}"
    );
    town.depot.run(&create).expect_code(0).json()
}

#[test]
fn release_reaches_a_slot_as_a_patch_that_two_signed() {
    let town = Town::published();
    let first = create(&town, "1.4.0", 1, "");
    assert_eq!(first["patches"].as_array().map(Vec::len), Some(0));
    town.sign_and_publish("g.fleet");
    let sbom = br#"{"bomFormat":"CycloneDX","components":[{"name":"zlib","version":"1.3"}]}"#;
    town.depot.write("sbom.json", sbom);
    let made = create(&town, "1.5.0", 2, "--sbom sbom.json --severity high --security-epoch 2");
    assert_eq!(made["patches"][0]["from_version"], "1.4.0");
    assert_eq!(made["patches"][0]["offered"], true);
    let full_len = made["full_len"].as_u64().expect("a length");
    let len = made["patches"][0]["len"].as_u64().expect("a length");
    assert!(len * 10 < full_len, "{len} of {full_len}");
    let shown = town.sign("alice", "g.fleet");
    assert!(shown.contains("radar 1.5.0") && shown.contains("severity high"), "{shown}");
    town.sign("bob", "g.fleet");
    town.merge(&["g.fleet.alice.sig", "g.fleet.bob.sig"]);

    let plan = "plan depot --group fleet --root depot/metadata/1.root.json --product radar";
    let unseen = town.depot.run(&format!("{plan} --image 1.4.0.img"));
    unseen.expect_error(3, &["1.4.0 is there already"]);
    town.depot.run("repo publish depot --key online").expect_code(0);
    let planned = town.depot.run(&format!("{plan} --image 1.4.0.img --json"));
    let planned = planned.expect_code(0).json();
    assert_eq!(planned["fetch_len"], len);
    assert_eq!(planned["full_len"], full_len);
    let blob = planned["steps"][0]["blake3"].as_str().expect("a digest");
    let apply = format!("apply depot/blobs/{blob} --source 1.4.0.img --target slot --state .");
    town.depot.run(&apply).expect_code(0);
    assert_eq!(town.depot.read("slot"), image(2));

    let done = town.depot.run(&format!("{plan} --image slot --version 1.5.0"));
    done.expect_error(3, &["1.5.0 is there already"]);
    let dear = town.depot.run(&format!("{plan} --image 1.4.0.img --budget {}", len - 1));
    dear.expect_error(11, &["not started"]);
    let old = town.depot.run(&format!("{plan} --wanted 1.4.0 --security-epoch 2"));
    old.expect_error(7, &["security epoch 0"]);
    let fsck = town.depot.run("depot fsck depot");
    fsck.expect_code(0);
}

#[test]
fn release_of_a_folder_starts_from_the_folder_that_a_device_has() {
    let town = Town::published();
    let fill = |folder: &str, version: u32| {
        std::fs::create_dir_all(town.depot.path(folder).join("models")).expect("a folder");
        town.depot.write(&format!("{folder}/models/weights"), &image(version));
        town.depot.write(&format!("{folder}/VERSION"), version.to_string().as_bytes());
    };
    for (number, version) in [(1, "2026.10"), (2, "2026.11")] {
        fill("charts", number);
        let create = format!(
            "release create depot --group fleet --product charts --version {version} --tree charts"
        );
        town.depot.run(&create).expect_code(0);
        town.sign_and_publish("g.fleet");
    }
    fill("device", 1);
    town.depot.run("release pack device --output have.tar").expect_code(0);
    let plan = "plan depot --group fleet --root depot/metadata/1.root.json --product charts \
                --image have.tar --json";
    let planned = town.depot.run(plan).expect_code(0).json();
    assert!(planned["steps"][0]["from"].is_string(), "{planned}");
    let blob = planned["steps"][0]["blake3"].as_str().expect("a digest");
    let apply = format!("apply depot/blobs/{blob} --source have.tar --target new.tar --state .");
    town.depot.run(&apply).expect_code(0);
    town.depot.run("release pack charts --output charts.tar").expect_code(0);
    assert_eq!(town.depot.read("new.tar"), town.depot.read("charts.tar"));
}

#[test]
fn names_that_the_group_may_not_have_are_refused_before_anything_is_made() {
    let town = Town::published();
    town.depot.write("image", &image(1));
    let create = |product: &str, version: &str, group: &str| {
        town.depot.run(&format!(
            "release create depot --group {group} --product {product} --version {version} \
             --image image"
        ))
    };
    create("Radar", "1.0", "fleet").expect_error(1, &["product"]);
    create("radar", "1/0", "fleet").expect_error(1, &["g/fleet/"]);
    create("radar", "1.0", "nobody").expect_error(1, &["no group nobody"]);
    let blobs = town.depot.path("depot/blobs");
    assert!(!blobs.exists() || std::fs::read_dir(blobs).expect("listed").next().is_none());
    create("radar", "1.0", "fleet").expect_code(0);
    create("radar", "1.0", "fleet").expect_error(3, &["offered already"]);
}
