//! A stick on site: who must approve before it is installed, what happens when it is plugged in,
//! and the field guide, typed as it stands.

mod common;
mod fleet;
mod signing;

use std::fs;
use std::path::Path;
use std::process::Command;

use fleet::{Fleet, image};

/// A device whose configuration says who must approve.
fn device_with_policy(fleet: &Fleet, name: &str, keys: &str, threshold: usize) {
    fleet.device(name, 1);
    let desk = &fleet.0.depot;
    let file = format!("{name}.toml");
    let mut text = String::from_utf8(desk.read(&file)).expect("text");
    let keys: Vec<_> = keys.split(' ').map(|key| format!("{:?}", desk.path(key))).collect();
    text += &format!("[approval]\nkeys = [{}]\nthreshold = {threshold}\n", keys.join(", "));
    desk.write(&file, text.as_bytes());
}

#[test]
fn approval_of_this_image_for_this_device_by_a_named_key_lets_it_be_installed() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    for key in ["captain", "chief", "stranger"] {
        fleet.run(&format!("key new {key}")).expect_code(0);
        fleet.run(&format!("key export-public {key} -o {key}.pem")).expect_code(0);
    }
    device_with_policy(&fleet, "radar-7", "captain.pem chief.pem", 2);
    fleet.run("stick export depot stick").expect_code(0);
    let install = "stick install stick --config radar-7.toml --source radar-7.a --target b";
    fleet.run(install).expect_error(9, &["someone must approve radar 1.1", "2 of the keys"]);
    let approve = |key: &str, rest: &str| {
        let line = format!(
            "stick approve stick --key {key} --as {key} --group fleet --state desk \
             --root depot/metadata/1.root.json {rest}"
        );
        fleet.run(&line)
    };
    let shown = approve("captain", "--device radar-7").expect_error(9, &["shown, and not signed"]);
    assert!(shown.stderr.contains("version  1.1") && shown.stderr.contains("severity"));
    assert!(!desk.path("stick/neap/approvals").exists(), "nothing was written");
    approve("captain", "--yes").expect_error(2, &["neither a device nor a site"]);
    approve("captain", "--device radar-7 --yes").expect_code(0);
    approve("stranger", "--device radar-7 --yes").expect_code(0);
    approve("chief", "--device radar-8 --yes").expect_code(0);
    desk.write("stick/neap/approvals/1.cose", &[0xd2; 5000]);
    desk.write("stick/neap/approvals/._1.cose", b"a scanning station's");
    let why = ["which may not approve here", "it is for the device radar-8", "no COSE_Sign1"];
    let refused = fleet.run(install).expect_error(9, &why);
    assert!(!desk.path("b").exists(), "{}", refused.stderr);
    approve("chief", "--device radar-7 --yes").expect_code(0);
    fleet.run(install).expect_code(0);
    assert!(desk.read("b") == image(2));
    let show = "receipt show radar-7.depot/receipts/radar-7 --ca ca/ca.pem --certificate \
                ca/certificates --json";
    let shown = fleet.run(show).expect_code(0).json();
    let approvals = shown[0]["approvals"].to_string();
    assert!(approvals.contains("captain (key") && approvals.contains("chief (key"), "{shown}");
}

/// Cause: only the highest version of all that is offered was approved and announced, on the stick
/// or not, while an install takes the latest that lies there and is one patch away. Effect: exit
/// code 9 for ever. Cure: what lies on the stick is approved, and nothing else is announced.
#[test]
fn every_image_on_the_stick_is_approved_and_no_other() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    fleet.run("key new captain").expect_code(0);
    fleet.run("key export-public captain -o captain.pem").expect_code(0);
    device_with_policy(&fleet, "radar-7", "captain.pem", 1);
    fleet.device("radar-8", 1);
    let visit = |version: &str, image: &str| {
        fleet.inventory("radar-8", version, image);
        let give = "stick import stick --receipts-only --config radar-8.toml";
        fleet.run(give).expect_code(0);
        fleet.collect("stick").expect_code(0);
        fleet.run("stick export depot stick --deltas-only").expect_code(0);
    };
    let approve = |rest: &str| {
        let line = "stick approve stick --key captain --as master --device radar-7 \
                    --config radar-7.toml --yes --json";
        fleet.run(&format!("{line} {rest}"))
    };
    let announced = || {
        let said = fleet.run("stick plugged stick --config radar-7.toml --json");
        said.expect_code(0).json()["latest"].clone()
    };
    // The site runs the latest already: metadata comes, and no image.
    desk.write("radar-8.b", &image(2));
    fs::create_dir(desk.path("stick/neap")).expect("made");
    visit("1.1", "radar-8.b");
    assert_eq!(announced(), serde_json::json!([]));
    approve("").expect_error(1, &["nothing is on it that could be installed"]);

    // Then a patch from each version to the next: the second one is not for radar-7 yet.
    visit("1.0", "radar-8.a");
    desk.write("3.img", &image(3));
    let create = "release create depot --group fleet --product radar --version 1.2 --image 3.img \
                  --quiet --from last:1";
    fleet.run(create).expect_code(0);
    fleet.0.sign_and_publish("g.fleet");
    visit("1.1", "radar-8.b");
    assert_eq!(announced(), serde_json::json!(["radar 1.2"]));
    let install = "stick install stick --config radar-7.toml --source radar-7.a --target radar-7.b";
    let versions = |done: serde_json::Value| -> Vec<String> {
        let all = done["approvals"].as_array().expect("approvals").clone();
        all.iter().map(|one| one["version"].as_str().expect("a version").to_owned()).collect()
    };
    assert_eq!(versions(approve("--version 1.2").expect_code(0).json()), ["1.2"]);
    fleet.run(install).expect_error(9, &["must approve radar 1.1"]);
    assert_eq!(versions(approve("").expect_code(0).json()), ["1.2", "1.1"]);
    fleet.run(install).expect_code(0);
    assert!(desk.read("radar-7.b") == image(2));
}

/// Cause: whether the crew must approve was asked of the group that offers the image. Effect:
/// whoever had the stick took another group's role off it, and with it that group's rule. Cure:
/// what the device knows of all its groups counts.
#[test]
fn group_that_was_taken_off_the_stick_still_has_its_crew_asked() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    fleet.device("radar-7", 1);
    let profile = "repo add profile depot fleet --site Aurora --stale-days 90 --approval crew";
    fleet.run(profile).expect_code(0);
    fleet.run("repo add group depot galley --key alice.pub").expect_code(0);
    fleet.run(
        "release create depot --group galley --product radar --version 1.1 --image 2.img --quiet \
         --from none",
    )
    .expect_code(0);
    fleet.0.sign("alice", "g.galley");
    fleet.0.merge(&["g.galley.alice.sig"]);
    for role in ["g.fleet", "targets"] {
        for person in ["alice", "bob"] {
            fleet.0.sign(person, role);
            fleet.0.merge(&[&format!("{role}.{person}.sig")]);
        }
    }
    fleet.run("repo publish depot --key online").expect_code(0);
    let configured = desk.text("radar-7.toml");
    let both = configured.replace("[\"fleet\"]", "[\"galley\", \"fleet\"]");
    desk.write("radar-7.toml", both.as_bytes());
    fleet.run("stick export depot stick").expect_code(0);
    let install = "stick install stick --config radar-7.toml --source radar-7.a --target b";
    fleet.run(install).expect_error(9, &["the crew of Aurora must approve radar 1.1 first"]);
    let remove = |folder: &str, is_it: &dyn Fn(&Path) -> bool| {
        for entry in fs::read_dir(desk.path(folder)).expect("listed") {
            let path = entry.expect("an entry").path();
            if is_it(&path) {
                fs::remove_file(path).expect("removed");
            }
        }
    };
    let is_role = |path: &Path| path.to_string_lossy().ends_with("g.fleet.json");
    remove("stick/neap/metadata", &is_role);
    fleet.run(install).expect_error(9, &["the crew of Aurora must approve radar 1.1 first"]);
    // A newer profile is taken off first, and with it what the device kept of the one before.
    fleet.run(&profile.replace("90", "91")).expect_code(0);
    fleet.0.sign_and_publish("g.fleet");
    fleet.run("stick export depot stick").expect_code(0);
    let is_profile = |path: &Path| {
        let bytes = fs::read(path).expect("read");
        String::from_utf8_lossy(&bytes).contains("Aurora")
    };
    remove("stick/neap/blobs", &is_profile);
    fleet.run(install).expect_error(9, &["must approve radar 1.1 first"]);
    remove("stick/neap/metadata", &is_role);
    fleet.run(install).expect_error(9, &["must approve radar 1.1 first"]);
    assert!(!desk.path("b").exists());
}

const LED: [(&str, &str); 5] = [
    ("trigger", "[none] timer"),
    ("brightness", "0"),
    ("max_brightness", "255"),
    ("delay_on", "500"),
    ("delay_off", "500"),
];

#[test]
fn plugged_stick_is_announced_by_default_and_more_only_where_the_configuration_says_so() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    fleet.run("key new captain").expect_code(0);
    fleet.run("key export-public captain -o captain.pem").expect_code(0);
    device_with_policy(&fleet, "radar-7", "captain.pem", 1);
    fs::create_dir(desk.path("led")).expect("made");
    for (file, text) in LED {
        desk.write(&format!("led/{file}"), text.as_bytes());
    }
    desk.write("console", b"");
    let configured = String::from_utf8(desk.read("radar-7.toml")).expect("text");
    let path = |file: &str| desk.path(file);
    let hooks = format!("[stick]\nled = {:?}\nconsole = {:?}\n", path("led"), path("console"));
    let set = |policy: &str| {
        desk.write("radar-7.toml", format!("{configured}{hooks}{policy}").as_bytes());
    };
    let plugged = || fleet.run("stick plugged stick --config radar-7.toml --repeat 1 --json");
    let light = || {
        let read = |file: &str| String::from_utf8(desk.read(file)).expect("text");
        (read("led/trigger"), read("led/brightness"))
    };
    set("");
    // Nothing is on it yet.
    plugged().expect_error(1, &["no folder `neap`"]);
    assert_eq!(light(), ("none".into(), "0".into()));
    fleet.run("stick export depot stick").expect_code(0);
    let said = plugged().expect_code(0).json();
    assert_eq!(said["latest"], serde_json::json!(["radar 1.1"]));
    assert_eq!(light(), ("none".into(), "255".into()));
    assert!(!path("radar-7.depot").exists(), "nothing is taken");
    let console = String::from_utf8(desk.read("console")).expect("text");
    let lines: Vec<_> = console.lines().collect();
    assert!(lines[0].starts_with("neap: refused, 1 blinks, exit code 1: "), "{console}");
    assert!(lines[1].contains("radar 1.1; code "), "{console}");
    assert_eq!(lines.len(), 2, "one line each time");

    set("when_plugged = \"import\"\n");
    plugged().expect_code(0);
    assert!(path("radar-7.depot/metadata").exists());

    let places = format!("source = {:?}\ntarget = {:?}\n", path("radar-7.a"), path("b"));
    set(&format!("when_plugged = \"install-after-approval\"\n{places}"));
    plugged().expect_error(9, &["must approve radar 1.1 first"]);
    assert!(!path("b").exists());
    let approve = "stick approve stick --key captain --as master --device radar-7 --yes \
                   --config radar-7.toml";
    fleet.run(approve).expect_code(0);
    plugged().expect_code(0);
    assert!(desk.read("b") == image(2));
}

// The unit is given a mount that is only read: what is taken does not need to write.
#[test]
fn stick_that_can_only_be_read_is_imported_and_receipts_wait() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    fleet.device("radar-7", 1);
    fleet.inventory("radar-7", "1.0", "radar-7.a");
    fleet.run("stick export depot stick").expect_code(0);
    let place = desk.path("mounted");
    fs::create_dir(&place).expect("a mount point");
    if !fleet.ran("mount", "--bind stick mounted") {
        println!("SKIPPED: mount is not allowed here");
        return;
    }
    let is_read_only = fleet.ran("mount", "-o remount,bind,ro,nosuid,nodev,noexec mounted");
    let text = String::from_utf8(desk.read("radar-7.toml")).expect("text");
    let text = format!("{text}[stick]\nwhen_plugged = \"import\"\n");
    desk.write("radar-7.toml", text.as_bytes());
    let done = fleet.run("stick plugged mounted --config radar-7.toml --json");
    let install = "stick install mounted --config radar-7.toml --source radar-7.a --target b";
    let installed = fleet.run(install);
    assert!(fleet.ran("umount", "mounted") && is_read_only);
    let done = done.expect_code(0).json();
    assert_eq!(done["files"][0]["whole"], true, "{done}");
    assert!(done["receipts_error"].is_string(), "{done}");
    let installed = installed.expect_code(0);
    assert!(installed.stdout.contains("it is not on the stick"), "{}", installed.stdout);
    assert!(desk.path("radar-7.depot/receipts/radar-7/2.cose").exists());
}

#[test]
fn field_guide_as_it_stands_updates_a_site_in_at_most_eight_commands() {
    let guide = include_str!("../../docs/field-guide.md");
    let typed = guide.lines().filter_map(|line| line.strip_prefix("$ ")).map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        line.strip_prefix("neap ").expect("it is neap that is typed")
    });
    let (mut shore, mut site): (Vec<_>, Vec<_>) =
        typed.partition(|line| line.contains("/srv/depot"));
    assert!(shore.len() + site.len() <= 8, "{shore:?} {site:?}");
    let collect = shore.pop().expect("collect");
    let mut commands = shore;
    commands.append(&mut site);
    commands.push(collect);

    let fleet = Fleet::new();
    fleet.run("key new captain").expect_code(0);
    fleet.run("key export-public captain -o captain.pem").expect_code(0);
    let profile = "repo add profile depot fleet --site Aurora --stale-days 90 --approval crew";
    fleet.run(profile).expect_code(0);
    fleet.0.sign_and_publish("g.fleet");
    device_with_policy(&fleet, "radar-7", "captain.pem", 1);
    let mut said = Vec::new();
    for command in &commands {
        let mut line = command.to_string();
        for (typed, here) in [
            ("/srv/depot", "depot"),
            ("/media/stick", "stick"),
            ("/dev/mmcblk0p2", "radar-7.a"),
            ("/dev/mmcblk0p3", "radar-7.b"),
            (
                "--ca ca.pem --certificate certificates",
                "--ca ca/ca.pem --certificate ca/certificates",
            ),
        ] {
            line = line.replace(typed, here);
        }
        if ["import", "approve", "install"].iter().any(|verb| line.contains(verb)) {
            line += " --config radar-7.toml";
        }
        println!("neap {line}");
        said.push(fleet.run(&line).expect_code(0).stdout);
    }
    let verbs: Vec<_> = commands.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(verbs, ["export", "import", "approve", "install", "show", "collect"]);
    assert!(fleet.0.depot.read("radar-7.b") == image(2));
    // The digits on the job sheet are those that are read over the phone.
    let code =
        |said: &String| said.lines().find(|line| line.starts_with("code ")).map(String::from);
    let (written, shown) = (code(&said[0]), code(&said[4]));
    assert!(written.is_some() && written == shown, "{written:?} {shown:?}");
    assert!(said[5].contains("radar-7: 1 new receipts; committed radar 1.1 since "), "{}", said[5]);
    let verify = "receipt show depot/receipts/radar-7 --ca ca/ca.pem --certificate \
                  ca/certificates --json";
    let shown = fleet.run(verify).expect_code(0).json();
    assert_eq!(shown[0]["outcome"], "committed");
    assert!(shown[0]["approvals"][0].as_str().is_some_and(|who| who.starts_with("master (key")));
}

/// The unit of plugged sticks with each example of a drop-in, as systemd reads them.
#[test]
fn units_and_examples_of_drop_ins_are_understood_by_systemd() {
    let analyze = Command::new("systemd-analyze").arg("--version").output();
    if !analyze.is_ok_and(|ran| ran.status.success()) {
        println!("SKIPPED: systemd-analyze is not there (package systemd)");
        return;
    }
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let folder = tempfile::tempdir().expect("a folder");
    let mut texts = String::new();
    for unit in ["neap-stick@.service", "neap-stick-mount@.service"] {
        let text = fs::read_to_string(packaging.join(unit)).expect("it is there");
        // The program need not be installed here.
        let text = text.replace("/usr/bin/neap ", &format!("{} ", env!("CARGO_BIN_EXE_neap")));
        fs::write(folder.path().join(unit), text).expect("written");
    }
    let from = packaging.join("neap-stick@.service.d");
    let to = folder.path().join("neap-stick@.service.d");
    fs::create_dir(&to).expect("made");
    let mut count = 0;
    for entry in fs::read_dir(&from).expect("listed") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("read");
        fs::write(to.join(path.file_stem().expect("x.conf.example")), &text).expect("written");
        texts += &text;
        count += 1;
    }
    assert_eq!(count, 3, "one for each thing that a plugged stick may be configured to use");
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(folder.path().join("neap-stick@sda1.service"))
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .output()
        .expect("it starts");
    // What it does not understand it only says.
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    let ours: Vec<_> = said.lines().filter(|line| line.contains("neap-stick")).collect();
    assert!(verify.status.success() && ours.is_empty(), "{said}");
    for word in ["DeviceAllow=", "ReadWritePaths=", "SupplementaryGroups=disk"] {
        assert!(texts.contains(word), "{word}");
    }
}
