//! A stick from shore to a site without a link and back: written, read, pulled, copied by a
//! scanning station, and brought home with receipts.

mod common;
mod fleet;
mod signing;

use std::fs;
use std::path::Path;

use fleet::{Fleet, image};

fn blobs(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("listed");
    let names = entries.map(|e| e.expect("read").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.len() == 64).count()
}

#[test]
fn site_without_a_link_is_updated_and_brings_proof_back() {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    // The first visit only collects: what the device runs is signed on the way, and once.
    fleet.run("stick export depot stick --deltas-only").expect_code(0);
    let visit = "stick import stick --receipts-only --config radar-7.toml --image radar-7.a \
                 --version 1.0 --json";
    assert_eq!(fleet.run(visit).expect_code(0).json()["receipts_written"], 1);
    assert_eq!(fleet.run(visit).expect_code(0).json()["receipts_written"], 0);
    let home = fleet.collect("stick").expect_code(0).json();
    assert_eq!(home["devices"][0]["device"], "radar-7");
    assert_eq!(home["devices"][0]["new"][0]["version"], "1.0");

    // The second stick has exactly the patch that it needs.
    fs::create_dir(fleet.0.depot.path("usb")).expect("a mount point");
    let dry = fleet.run("stick export depot usb --deltas-only --dry-run --json").expect_code(0);
    assert!(common::is_empty(&fleet.0.depot.path("usb")), "nothing is written");
    assert_eq!(dry.json()["devices"][0]["takes"], "path");
    let out = fleet.run("stick export depot usb --deltas-only --json").expect_code(0).json();
    assert_eq!(out["files"].as_array().map(Vec::len), Some(1), "{out}");
    assert!(out["files"][0]["path"].as_str().is_some_and(|p| p.contains("1.1/from-")), "{out}");
    let code = out["code"].as_str().expect("a code").to_owned();
    assert_eq!(code.len(), 14, "{code}");
    let shown = fleet.run("stick show usb --json").expect_code(0).json();
    assert_eq!(shown["code"], code.as_str());

    // On site: a copy into the device's depot, or straight to the device.
    let taken = fleet.run("stick import usb --config radar-7.toml --json").expect_code(0).json();
    assert_eq!(taken["code"], code.as_str());
    assert_eq!(taken["files"][0]["whole"], true);
    assert_eq!(blobs(&fleet.0.depot.path("radar-7.depot/blobs")), 1);
    let check = "check radar-7.depot --group fleet --root depot/metadata/1.root.json";
    fleet.run(check).expect_code(0);
    let install = "stick install usb --config radar-7.toml --source radar-7.a --target radar-7.b";
    let done = fleet.run(&format!("{install} --json")).expect_code(0).json();
    assert_eq!((&done["version"], &done["receipt"]), (&"1.1".into(), &2.into()));
    assert!(fleet.0.depot.read("radar-7.b") == image(2));
    let again = "stick install usb --config radar-7.toml --source radar-7.b --target radar-7.a";
    fleet.run(again).expect_error(3, &["1.1 is there already"]);

    // On shore: verified, added, and known to the next export.
    let home = fleet.collect("usb").expect_code(0).json();
    let new = &home["devices"][0]["new"];
    assert_eq!(new.as_array().map(Vec::len), Some(1), "{home}");
    assert_eq!((&new[0]["outcome"], &new[0]["carrier"]), (&"committed".into(), &"stick".into()));
    assert_eq!(new[0]["carrier_id"], shown["id"]);
    assert_eq!(home["devices"][0]["before"]["version"], "1.0");
    let next = fleet.run("stick export depot usb --deltas-only --dry-run --json");
    assert_eq!(next.expect_code(0).json()["devices"][0]["takes"], "nothing");
    let verify =
        "receipt verify depot/receipts/radar-7 --ca ca/ca.pem --certificate ca/certificates";
    fleet.run(verify).expect_code(0);
}

#[test]
fn stick_that_went_through_a_scanning_station_is_as_good() {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    let out = fleet.run("stick export depot stick --json").expect_code(0).json();
    // Names in capitals, foreign files, and a copy of the folder alone.
    let (from, to) = (fleet.0.depot.path("stick/neap"), fleet.0.depot.path("copied"));
    copy_in_capitals(&from, &to);
    fs::write(to.join("._BLOBS"), b"x").expect("written");
    fs::create_dir(to.join("System Volume Information")).expect("made");
    // A link where receipts would go leads nowhere.
    fleet.inventory("radar-7", "1.0", "radar-7.a");
    fs::create_dir(fleet.0.depot.path("elsewhere")).expect("made");
    let elsewhere = fleet.0.depot.path("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, to.join("RECEIPTS")).expect("linked");
    let taken = fleet.run("stick import copied --config radar-7.toml --json");
    let taken = taken.expect_code(0).json();
    assert_eq!(taken["code"], out["code"]);
    assert!(common::is_empty(&elsewhere), "no link is followed");
    fs::remove_file(to.join("RECEIPTS")).expect("removed");
    assert!(taken["files"].as_array().is_some_and(|files| !files.is_empty()), "{taken}");
    let install =
        "stick install copied --config radar-7.toml --source radar-7.a --target radar-7.b";
    fleet.run(install).expect_code(0);
    assert!(fleet.0.depot.read("radar-7.b") == image(2));
    fleet.collect("copied").expect_code(0);
}

/// Copies a tree as a station would that knows capitals only.
fn copy_in_capitals(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    let entries = fs::read_dir(from).expect("listed").map(|entry| entry.expect("read"));
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    for entry in entries {
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if entry.file_type().expect("told").is_dir() {
            copy_in_capitals(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).expect("copied");
        }
    }
}

#[test]
fn older_and_foreign_and_expired_sticks_are_refused_by_name_and_reason() {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    fs::create_dir(fleet.0.depot.path("new")).expect("a mount point");
    fleet.run("stick export depot stick").expect_code(0);
    fleet.release(3);
    fleet.run("stick export depot new").expect_code(0);
    let import = |stick: &str| fleet.run(&format!("stick import {stick} --config radar-7.toml"));
    import("new").expect_code(0);
    import("stick").expect_error(7, &["stick: timestamp is version", "this device has seen"]);
    let install = "stick install stick --config radar-7.toml --source radar-7.a --target b";
    fleet.run(install).expect_error(7, &["stick: timestamp is version", "nothing was installed"]);
    assert!(!fleet.0.depot.path("b").exists());
    // The older release is not written over the newer one.
    fs::create_dir(fleet.0.depot.path("none")).expect("a mount point");
    import("none").expect_error(1, &["no folder `neap`"]);
    let other = fleet.run("stick import new --config radar-7.toml --group galley");
    other.expect_error(1, &["it is for fleet, and this device is of galley"]);
}

#[test]
fn depot_of_a_device_is_whole_without_the_rest_and_damaged_when_it_loses_what_it_took() {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    fleet.inventory("radar-7", "1.0", "radar-7.a");
    let nothing = fleet.run("depot fsck radar-7.depot").expect_code(0);
    assert!(nothing.stdout.contains("nothing is published here"), "{nothing:?}");
    fleet.run("stick export depot stick").expect_code(0);
    fleet.run("stick import stick --config radar-7.toml --receipts-only").expect_code(0);
    fleet.collect("stick").expect_code(0);
    // Now shore knows what the device runs: the patch comes alone.
    fs::create_dir(fleet.0.depot.path("other")).expect("a mount point");
    fleet.run("stick export depot other --deltas-only").expect_code(0);
    fleet.run("stick import other --config radar-7.toml").expect_code(0);
    for place in ["stick/neap", "other/neap", "radar-7.depot"] {
        let whole = fleet.run(&format!("depot fsck {place}")).expect_code(0);
        assert!(whole.stdout.contains("not here: blobs "), "{place}: {}", whole.stdout);
        fleet.run(&format!("depot list {place}")).expect_code(0);
    }
    let told = fleet.run("depot fsck radar-7.depot --json").expect_code(0).json();
    assert!(told["not_here"]["blobs"].as_u64() > Some(0), "{told}");
    let blobs = fleet.0.depot.path("radar-7.depot/blobs");
    let largest = fs::read_dir(blobs).expect("listed").map(|entry| entry.expect("read").path());
    let largest = largest.max_by_key(|path| fs::metadata(path).expect("there").len());
    let largest = largest.expect("the patch");
    fs::remove_file(largest.with_extension("obao")).expect("removed");
    fs::remove_file(&largest).expect("removed");
    fleet.run("depot fsck radar-7.depot").expect_error(13, &["it is missing"]);
    fleet.run("stick import other --config radar-7.toml").expect_code(0);
    fleet.run("depot fsck radar-7.depot").expect_code(0);
}

#[test]
fn encrypted_images_and_receipts_are_for_their_own_key_alone() {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    fleet.inventory("radar-7", "1.0", "radar-7.a");
    let key = |file: &str| {
        let made = fleet.run(&format!("stick new-key {file} --json")).expect_code(0).json();
        made["recipient"].as_str().expect("a recipient").to_owned()
    };
    let (site, shore) = (key("radar-7.state/stick.key"), key("shore.key"));
    assert_eq!(fleet.0.depot.mode("shore.key"), 0o600);
    fleet.run("stick new-key shore.key").expect_error(1, &["there already"]);
    fleet.run(&format!("stick export depot stick --encrypt-to {site}")).expect_code(0);
    let import = format!("stick import stick --config radar-7.toml --encrypt-to {shore}");
    fleet.run(&format!("{import} --identity shore.key")).expect_error(1, &["encrypted"]);
    let taken = fleet.run(&format!("{import} --json")).expect_code(0).json();
    assert!(taken["files"].as_array().is_some_and(|files| !files.is_empty()));
    fleet.run("depot fsck radar-7.depot").expect_code(0);
    fleet.run("depot fsck stick/neap").expect_code(0);
    let install = format!(
        "stick install stick --config radar-7.toml --source radar-7.a --target b \
         --encrypt-to {shore}"
    );
    fleet.run(&install).expect_code(0);
    assert!(fleet.0.depot.read("b") == image(2));
    assert!(!fleet.0.depot.path("stick/neap/receipts").exists());
    let closed = fleet.collect("stick").expect_code(0).json();
    assert_eq!((&closed["closed"], &closed["devices"]), (&2.into(), &serde_json::json!([])));
    let opened = fleet.run(
        "stick collect stick depot --ca ca/ca.pem --certificate ca/certificates \
         --identity shore.key --json",
    );
    let opened = opened.expect_code(0).json();
    assert_eq!(opened["devices"][0]["new"].as_array().map(Vec::len), Some(2), "{opened}");
}

/// Cause: one blob that is encrypted to another key ended the whole import, and counted as there
/// for an install. Effect: of two sites on one stick neither could use it, nor one whose key was
/// changed. Cure: it is passed over, and is told where there is nothing else.
#[test]
fn what_is_encrypted_to_another_site_is_passed_over() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    fleet.device("radar-7", 1);
    fleet.inventory("radar-7", "1.0", "radar-7.a");
    let key = |file: &str| {
        let made = fleet.run(&format!("stick new-key {file} --json")).expect_code(0).json();
        made["recipient"].as_str().expect("a recipient").to_owned()
    };
    let (ours, theirs) = (key("radar-7.state/stick.key"), key("theirs.key"));
    key("nobody.key");
    // The whole image for us, and then the patch, which would be cheaper, for others.
    fleet.run(&format!("stick export depot stick --encrypt-to {ours}")).expect_code(0);
    fleet.run("stick import stick --receipts-only --config radar-7.toml").expect_code(0);
    fleet.collect("stick").expect_code(0);
    let export = format!("stick export depot stick --deltas-only --encrypt-to {theirs}");
    fleet.run(&export).expect_code(0);

    let import = "stick import stick --config radar-7.toml";
    let taken = fleet.run(&format!("{import} --json")).expect_code(0).json();
    assert_eq!(taken["files"].as_array().map(Vec::len), Some(1), "{taken}");
    assert_eq!(taken["files"][0]["whole"], true, "{taken}");
    assert!(taken["closed"][0].as_str().is_some_and(|path| path.contains("from-")), "{taken}");
    let none = fleet.run(&format!("{import} --to ship --identity nobody.key"));
    none.expect_error(1, &["all it has of radar is encrypted", "--identity", "1.1/full"]);
    assert!(desk.path("ship/metadata/timestamp.json").exists(), "metadata comes all the same");

    let install = "stick install stick --config radar-7.toml --source radar-7.a --target b";
    let none = fleet.run(&format!("{install} --identity nobody.key"));
    none.expect_error(1, &["it is encrypted, and not to the key", "--identity"]);
    fleet.run(install).expect_code(0);
    assert!(desk.read("b") == image(2));
}

/// Cause: a file of its number on the stick was taken for the receipt. Effect: the install said
/// that its proof was on the stick. Cure: what is there is compared, and told if it is another.
#[test]
fn install_whose_number_is_taken_on_the_stick_says_that_its_proof_is_not_there() {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    fleet.run("stick export depot stick").expect_code(0);
    fs::create_dir_all(fleet.0.depot.path("stick/neap/receipts/radar-7")).expect("made");
    fleet.0.depot.write("stick/neap/receipts/radar-7/1.cose", b"something else");
    let install = "stick install stick --config radar-7.toml --source radar-7.a --target b";
    let done = fleet.run(install).expect_code(0);
    assert!(done.stdout.contains("receipt  1 of radar-7\n"), "{}", done.stdout);
    assert!(done.stdout.contains("it is not on the stick: receipts/radar-7/1.cose"));
}

/// A device two releases behind, at a stick that was made for others: it goes as far as one patch
/// leads, and from there the next time. It has two places for images, and no third one for what
/// lies between.
#[test]
fn device_that_is_two_patches_behind_is_brought_forward_patch_by_patch() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    fleet.device("radar-7", 1);
    fleet.device("radar-8", 1);
    fleet.inventory("radar-8", "1.0", "radar-8.a");
    let export = || fleet.run("stick export depot stick --deltas-only").expect_code(0);
    let install = |device: &str, from: &str, to: &str| {
        let line = format!(
            "stick install stick --config {device}.toml --source {device}.{from} \
             --target {device}.{to}"
        );
        fleet.run(&line)
    };
    // The whole image for nobody, then a patch for radar-8 from each version that it had.
    fs::create_dir(desk.path("first")).expect("a mount point");
    fleet.run("stick export depot first").expect_code(0);
    fleet.run("stick import first --receipts-only --config radar-8.toml").expect_code(0);
    fleet.collect("first").expect_code(0);
    export();
    install("radar-8", "a", "b").expect_code(0);
    fleet.collect("stick").expect_code(0);
    desk.write("3.img", &image(3));
    let create = "release create depot --group fleet --product radar --version 1.2 --image 3.img \
                  --quiet --from last:1";
    fleet.run(create).expect_code(0);
    fleet.0.sign_and_publish("g.fleet");
    export();

    let first = install("radar-7", "a", "b").expect_code(0);
    assert!(first.stdout.contains("note     1.2 is on the stick too:"), "{}", first.stdout);
    assert!(desk.read("radar-7.b") == image(2));
    let second = install("radar-7", "b", "a").expect_code(0);
    assert!(!second.stdout.contains("is on the stick too"), "{}", second.stdout);
    assert!(desk.read("radar-7.a") == image(3));
    install("radar-7", "a", "b").expect_code(3);
}

#[test]
fn site_whose_crew_must_approve_is_not_written_without() {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    let profile = "repo add profile depot fleet --site Aurora --stale-days 90 --approval crew";
    fleet.run(profile).expect_code(0);
    fleet.0.sign_and_publish("g.fleet");
    fleet.run("stick export depot stick --site Aurora").expect_code(0);
    fleet.run("stick export depot stick --site Borealis").expect_error(1, &["Borealis"]);
    let install = "stick install stick --config radar-7.toml --source radar-7.a --target b";
    fleet.run(install).expect_error(9, &["the crew of Aurora must approve radar 1.1 first"]);
    // Whoever had the stick took the profile off it, for a device that does not know it yet.
    let desk = &fleet.0.depot;
    for entry in fs::read_dir(desk.path("stick/neap/blobs")).expect("listed") {
        let path = entry.expect("an entry").path();
        if String::from_utf8_lossy(&fs::read(&path).expect("read")).contains("Aurora") {
            fs::remove_file(&path).expect("removed");
            fs::remove_file(path.with_extension("obao")).expect("removed");
        }
    }
    fleet.device("radar-8", 1);
    let install = "stick install stick --config radar-8.toml --source radar-8.a --target radar-8.b";
    fleet.run(install).expect_error(9, &["must approve radar 1.1 first"]);
    assert!(!desk.path("radar-8.b").exists() || desk.read("radar-8.b") != image(2));
    assert!(!fleet.0.depot.path("b").exists());
}

#[test]
fn bad_spots_of_one_stick_are_made_good_by_another() {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    let desk = &fleet.0.depot;
    fs::create_dir(desk.path("other")).expect("a mount point");
    for stick in ["stick", "other"] {
        fleet.run(&format!("stick export depot {stick} --full")).expect_code(0);
    }
    let spoil = |stick: &str, at: usize| {
        let blobs = desk.path(&format!("{stick}/neap/blobs"));
        for entry in fs::read_dir(blobs).expect("listed") {
            let path = entry.expect("read").path();
            let mut bytes = fs::read(&path).expect("read");
            if path.extension().is_none() && bytes.len() > at {
                bytes[at] ^= 1;
                fs::write(path, bytes).expect("written");
            }
        }
    };
    spoil("stick", 400_000);
    spoil("other", 600_000);
    let install = |stick: &str| {
        let source = "--source radar-7.a --target radar-7.b";
        fleet.run(&format!("stick install {stick} --config radar-7.toml {source}"))
    };
    let stopped = install("stick").expect_error(10, &["the 16384 bytes at 393216 are not those"]);
    assert!(stopped.stderr.contains("only verified bytes were written"), "{}", stopped.stderr);
    fleet.run("stick export depot stick --full").expect_code(0);
    install("stick").expect_code(0);
    assert!(desk.read("radar-7.b") == image(2));
    spoil("stick", 100_000);
    let import = |stick: &str| fleet.run(&format!("stick import {stick} --config radar-7.toml"));
    let first = import("stick").expect_error(10, &["is not whole yet", "16,384 are wrong on this"]);
    assert!(first.stderr.contains("put the stick back, or use another one"), "{}", first.stderr);
    assert_eq!(blobs(&desk.path("radar-7.depot/blobs")), 0, "nothing looks whole");
    import("other").expect_code(0);
    assert!(blobs(&desk.path("radar-7.depot/blobs")) > 0);
    // A stick whose file is another one is told apart, and what is good beside it is taken.
    let tree = fs::read_dir(desk.path("other/neap/blobs")).expect("listed");
    let tree = tree.map(|entry| entry.expect("read").path());
    let mut trees: Vec<_> = tree.filter(|p| p.extension().is_some_and(|e| e == "obao")).collect();
    trees.sort();
    fs::write(&trees[0], b"short").expect("written");
    fs::remove_dir_all(desk.path("radar-7.depot")).expect("removed");
    import("other").expect_error(13, &["its tree is damaged", "bring another stick"]);
}

#[test]
fn older_depot_is_not_written_over_a_newer_stick_and_a_full_one_is_refused_first() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    fleet.copy("depot", "old");
    fleet.release(3);
    fleet.run("stick export depot stick").expect_code(0);
    let shown = |stick: &str| fleet.run(&format!("stick show {stick} --json")).json();
    let before = shown("stick");
    fleet.run("stick export old stick").expect_error(7, &["newer than version", "another stick"]);
    assert_eq!(shown("stick"), before);
    // The reserve for receipts alone is more than this holds.
    let small = desk.path("small");
    fs::create_dir(&small).expect("a mount point");
    if !fleet.ran("mount", "-t tmpfs -o size=8m none small") {
        println!("SKIPPED: mount is not allowed here");
        return;
    }
    let full = fleet.run("stick export depot small");
    let is_empty = common::is_empty(&small.join("neap"));
    assert!(fleet.ran("umount", "small"));
    full.expect_error(12, &["bytes are needed, and", "nothing was written"]);
    assert!(is_empty, "it was refused before anything was written");
}

/// Cause: room was asked for before what an export that was cut short had left was removed. Effect:
/// one that would have fit was refused, each time. Cure: it goes first, and a dry run counts it.
#[test]
fn export_that_fits_without_what_an_earlier_one_left_is_not_refused() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    let place = desk.path("mounted");
    fs::create_dir(&place).expect("a mount point");
    if !fleet.ran("mount", "-t tmpfs -o size=24m none mounted") {
        println!("SKIPPED: mount is not allowed here");
        return;
    }
    fs::create_dir_all(place.join("neap/blobs")).expect("made");
    desk.write("mounted/neap/blobs/~1.tmp", &common::noise(3, 10 << 20));
    let dry = fleet.run("stick export depot mounted --dry-run");
    let is_left = place.join("neap/blobs/~1.tmp").exists();
    let done = fleet.run("stick export depot mounted");
    let is_gone = !place.join("neap/blobs/~1.tmp").exists();
    assert!(fleet.ran("umount", "mounted"));
    dry.expect_code(0);
    assert!(is_left, "a dry run removes nothing");
    done.expect_code(0);
    assert!(is_gone);
}

const TIME: &str = "/usr/bin/time";

/// Most memory that an install from the stick held, in KiB.
fn peak_of_install(fleet: &Fleet) -> u64 {
    let neap = env!("CARGO_BIN_EXE_neap");
    let arguments = "stick install stick --config radar-7.toml --source radar-7.a --target b";
    let ran = std::process::Command::new(TIME)
        .args(["-f", "%M", neap])
        .args(arguments.split(' '))
        .current_dir(fleet.0.depot.path("."))
        .output()
        .expect("it starts");
    let ran = common::Run::new(&ran).expect_code(0);
    let peak = ran.stderr.lines().last().and_then(|line| line.parse().ok());
    println!("{peak:?} KiB at the most");
    peak.expect("time says it")
}

/// Packed blocks are unpacked and packed again on the device: that takes what the patch says, and
/// no more, on top of what an install takes from any stick.
#[test]
fn install_of_packed_blocks_needs_what_inspect_names_on_top() {
    let has = |tool: &str| {
        std::process::Command::new(tool).arg("-version").output().is_ok()
            && Path::new(TIME).exists()
    };
    if !has("mksquashfs") {
        println!("SKIPPED: mksquashfs or {TIME} is not there (packages squashfs-tools, time)");
        return;
    }
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    fleet.device("radar-7", 1);
    for (version, image) in [("2.0", "radar-7.a"), ("2.1", "new.img")] {
        fs::create_dir_all(desk.path("tree")).expect("made");
        for file in 0..8_u32 {
            let line = |i: u32| {
                let seen = if file == 3 && i.is_multiple_of(997) { version } else { "quiet" };
                format!("{i} {seen} {:x}\n", i.wrapping_mul(2_654_435_761).rotate_left(file))
            };
            let text: String = (0..15_000).map(line).collect();
            desk.write(&format!("tree/{file}"), text.as_bytes());
        }
        let packed = std::process::Command::new("mksquashfs")
            .args(["tree", image, "-comp", "xz", "-noappend", "-quiet", "-no-progress"])
            .args(["-all-root", "-mkfs-time", "0", "-all-time", "0"])
            .current_dir(desk.path("."))
            .output()
            .expect("it starts");
        assert!(packed.status.success(), "{packed:?}");
        let from = if version == "2.0" { "none" } else { "last:1" };
        let create = format!(
            "release create depot --group fleet --product radar --version {version} \
             --image {image} --quiet --from {from}"
        );
        fleet.run(&create).expect_code(0);
        fleet.0.sign_and_publish("g.fleet");
    }
    fleet.inventory("radar-7", "2.0", "radar-7.a");
    fleet.run("stick export depot stick --full --quiet").expect_code(0);
    fleet.run("stick import stick --receipts-only --config radar-7.toml").expect_code(0);
    fleet.collect("stick").expect_code(0);
    let out = fleet.run("stick export depot stick --quiet --json").expect_code(0).json();
    let patch = out["devices"][0]["path"].as_str().expect("a path").to_owned();
    assert!(patch.contains("2.1/from-"), "{patch}");
    let files = out["files"].as_array().expect("files");
    let file = files.iter().find(|file| file["path"] == patch.as_str()).expect("the patch");
    let blob = file["blake3"].as_str().expect("a digest");
    let inspect = format!("inspect stick/neap/blobs/{blob} --json");
    let said = fleet.run(&inspect).expect_code(0).json();
    assert_eq!(said["inside"][0]["codec"], "xz", "{said}");
    let needs = said["apply_memory"].as_u64().expect("bytes");
    let peak = peak_of_install(&fleet);
    println!("inspect names {} KiB", needs >> 10);
    assert!(desk.read("b") == desk.read("new.img"));
    assert!(peak <= (32 << 10) + (needs >> 10), "{peak} KiB, {needs} bytes named");
}

/// What a device has: 32 MiB for an install of any size, and no room for a copy.
#[test]
fn install_needs_little_memory_and_no_copy() {
    if !Path::new(TIME).exists() {
        println!("SKIPPED: {TIME} is not there (package time)");
        return;
    }
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    let desk = &fleet.0.depot;
    desk.write("big.img", &common::noise(9, 33 << 20));
    fleet.run(
        "release create depot --group fleet --product radar --version 2.0 --image big.img --quiet \
         --from none",
    );
    fleet.0.sign_and_publish("g.fleet");
    fleet.run("stick export depot stick --quiet").expect_code(0);
    let peak = peak_of_install(&fleet);
    assert!(peak <= 32 << 10, "{peak} KiB");
    assert!(desk.read("b") == desk.read("big.img"));
    let largest = |folder: &str| {
        let entries = fs::read_dir(desk.path(folder)).expect("listed");
        entries.map(|e| e.expect("read").metadata().expect("told").len()).max().unwrap_or(0)
    };
    assert!(largest("radar-7.state") < 1 << 20, "no copy is kept");
}
