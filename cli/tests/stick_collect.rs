//! Receipts from a stick, on shore: what is refused, what is taken beside it, and how much is read.

mod common;
mod fleet;
mod signing;

use std::fs;

use fleet::Fleet;

/// A fleet whose stick was at a device that has one receipt.
fn visited() -> Fleet {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    fleet.inventory("radar-7", "1.0", "radar-7.a");
    fleet.run("stick export depot stick").expect_code(0);
    fleet.run("stick import stick --receipts-only --config radar-7.toml").expect_code(0);
    fleet
}

#[test]
fn forged_receipts_are_refused_and_good_ones_beside_them_are_taken() {
    let fleet = Fleet::new();
    fleet.device("radar-7", 1);
    fleet.device("radar-8", 1);
    for device in ["radar-7", "radar-8"] {
        fleet.inventory(device, "1.0", &format!("{device}.a"));
        fleet.run("stick export depot stick").expect_code(0);
        let import = format!("stick import stick --receipts-only --config {device}.toml");
        fleet.run(&import).expect_code(0);
    }
    let forged = fleet.0.depot.path("stick/neap/receipts/radar-8/1.cose");
    let mut bytes = fs::read(&forged).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&forged, bytes).expect("written");
    // A receipt of one device under the name of another.
    let other = fleet.0.depot.path("stick/neap/receipts/radar-9");
    fs::create_dir(&other).expect("made");
    let good = fleet.0.depot.path("stick/neap/receipts/radar-7/1.cose");
    fs::copy(good, other.join("1.cose")).expect("copied");
    let home = fleet.collect("stick");
    let home = home.expect_error(6, &["2 receipts are refused", "it is receipt 1 of radar-7"]);
    assert!(home.stderr.contains("1 receipts were added"), "{}", home.stderr);
    assert!(fleet.0.depot.path("depot/receipts/radar-7/1.cose").exists());
    assert!(!fleet.0.depot.path("depot/receipts/radar-9").exists());
}

/// Cause: two receipts of one number ended the whole visit. Effect: those of other devices on the
/// stick stayed there. Cure: the fork is told, the first one stays, and all others are taken.
#[test]
fn two_receipts_of_one_number_are_told_and_those_of_other_devices_taken() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    for device in ["radar-7", "radar-8"] {
        fleet.device(device, 1);
        fleet.inventory(device, "1.0", &format!("{device}.a"));
    }
    fleet.run("stick export depot stick").expect_code(0);
    let made = fleet.run("stick new-key shore.key --json").expect_code(0).json();
    let shore = made["recipient"].as_str().expect("a recipient").to_owned();
    let give = |device: &str, rest: &str| {
        let line = format!("stick import stick --receipts-only --config {device}.toml {rest}");
        fleet.run(&line).expect_code(0);
    };
    give("radar-7", "");
    let first = desk.read("stick/neap/receipts/radar-7/1.cose");
    // The device was set back and signs another first receipt, which comes encrypted.
    fs::remove_dir_all(desk.path("radar-7.depot")).expect("removed");
    fs::remove_dir_all(desk.path("stick/neap/receipts")).expect("removed");
    fleet.inventory("radar-7", "1.1", "radar-7.a");
    give("radar-7", &format!("--encrypt-to {shore}"));
    fs::create_dir_all(desk.path("stick/neap/receipts/radar-7")).expect("made");
    desk.write("stick/neap/receipts/radar-7/1.cose", &first);
    give("radar-8", "");
    let collect = "stick collect stick depot --ca ca/ca.pem --certificate ca/certificates \
                   --identity shore.key";
    let home = fleet.run(collect).expect_error(13, &["two receipts 1"]);
    assert!(home.stderr.contains("2 receipts were added"), "{}", home.stderr);
    assert!(desk.read("depot/receipts/radar-7/1.cose") == first, "none is replaced");
    assert!(desk.path("depot/receipts/radar-8/1.cose").exists());
    // Again, now that one of them is known.
    fleet.run(collect).expect_error(13, &["two receipts 1", "0 receipts were added"]);
}

/// Cause: all receipts on shore were listed for each device on the stick. Effect: a visit of 4,000
/// devices listed 4,000 folders 4,000 times. Cure: only the device's own are listed. Another one's
/// place, which cannot be listed, shows it.
#[test]
fn receipts_of_no_other_device_are_listed_on_shore() {
    let fleet = visited();
    fs::create_dir_all(fleet.0.depot.path("depot/receipts")).expect("made");
    fleet.0.depot.write("depot/receipts/radar-8", b"no folder");
    fleet.collect("stick").expect_code(0);
}

/// Cause: a visit ended after so many bytes of receipts, and that was told as a refusal. Effect:
/// junk under one name hid all devices behind it, and people looked at their keys. Cure: each
/// device has its own bound, and what is past it is told as a limit.
#[test]
fn device_with_too_many_receipts_is_told_and_others_are_taken() {
    let fleet = visited();
    let desk = &fleet.0.depot;
    let good = desk.read("stick/neap/receipts/radar-7/1.cose");
    fs::create_dir_all(desk.path("stick/neap/receipts/a")).expect("made");
    for number in 1..=10_001 {
        desk.write(&format!("stick/neap/receipts/a/{number}.cose"), &good);
    }
    fs::create_dir(desk.path("stick/neap/receipts/b")).expect("made");
    for number in 0..=32_768 {
        desk.write(&format!("stick/neap/receipts/b/{number}"), b"");
    }
    let home = fleet.collect("stick").expect_error(6, &["10001 receipts are refused"]);
    assert!(home.stderr.contains("a: only the first of its receipts were read"));
    assert!(home.stderr.contains("1 receipts were added"), "{}", home.stderr);
    assert!(desk.path("depot/receipts/radar-7/1.cose").exists());
}
