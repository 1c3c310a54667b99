//! The same on real loop devices and a full file system. Skipped, with the reason on stderr, where
//! this user may not make them.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use common::{Bench, noise, pair};

/// A loop device over a file, detached afterwards.
struct Loop(String);

impl Loop {
    /// A device of `size` bytes over the file `name`; `None`, and why on stderr, where none can be.
    fn new(bench: &Bench, name: &str, bytes: &[u8]) -> Option<Self> {
        bench.write(name, bytes);
        let file = bench.path(name);
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        let made = made.map_err(|error| error.to_string()).and_then(|made| match made.status {
            status if status.success() => Ok(made.stdout),
            _ => Err(String::from_utf8_lossy(&made.stderr).trim().to_owned()),
        });
        match made {
            Ok(path) => Some(Self(String::from_utf8_lossy(&path).trim().to_owned())),
            Err(reason) => {
                skip(&format!("no loop device: {reason}"));
                None
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.0).expect("the device is read")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["--detach", &self.0]);
    }
}

/// A mounted file system, unmounted afterwards.
struct Mount(String);

impl Mount {
    fn new(arguments: &[&str], folder: &Path) -> Option<Self> {
        std::fs::create_dir(folder).expect("a folder to mount on");
        let folder = folder.display().to_string();
        let arguments: Vec<_> = arguments.iter().copied().chain([folder.as_str()]).collect();
        if run("mount", &arguments) {
            return Some(Self(folder));
        }
        skip("mount is not allowed here");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &[&self.0]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|done| done.status.success())
}

/// Past the harness, which keeps what passing tests print to itself.
fn skip(reason: &str) {
    let line = format!("skipped: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
}

#[test]
fn loop_device_becomes_the_target_and_keeps_what_is_behind_it() {
    let bench = Bench::with_patch();
    let target = bench.read("target");
    // Whole sectors, and more than the image needs, with other bytes in them.
    let before = noise(6, target.len().next_multiple_of(4096) + (1 << 20));
    let Some(device) = Loop::new(&bench, "disk", &before) else { return };
    let apply = format!("apply patch --source source --target {} --state state", device.0);
    bench.run(&apply).expect_code(0);
    assert!(device.bytes()[..target.len()] == target);
    assert!(device.bytes()[target.len()..] == before[target.len()..]);
    bench.run(&format!("verify {} --patch patch", device.0)).expect_code(0);
}

// An image whose zeros end inside a sector: the device refuses to zero part of one, and the apply
// failed. Now such an end is written plainly.
#[test]
fn zeros_that_end_inside_a_sector_reach_the_device() {
    let bench = Bench::new();
    let (source, mut target) = pair();
    target.resize((4 << 20) + 77, 0);
    bench.write("source", &source);
    bench.write("target", &target);
    bench.run("diff source target --output patch --effort 1").expect_code(0);
    let Some(device) = Loop::new(&bench, "disk", &noise(6, 5 << 20)) else { return };
    let apply = format!("apply patch --source source --target {} --state state", device.0);
    bench.run(&apply).expect_code(0);
    assert!(device.bytes()[..target.len()] == target);
}

#[test]
fn loop_device_serves_as_source_and_is_not_written() {
    let bench = Bench::with_patch();
    let mut source = bench.read("source");
    source.resize(source.len().next_multiple_of(4096), 0);
    let Some(device) = Loop::new(&bench, "disk", &source) else { return };
    let apply = format!("apply patch --source {} --target made --state state", device.0);
    bench.run(&apply).expect_code(0);
    assert!(bench.read("made") == bench.read("target"));
    assert!(device.bytes() == source);
    let apply = format!("apply patch --source {0} --target {0} --state state", device.0);
    bench.run(&apply).expect_error(2, &["source and target are the same"]);
}

// The file behind a loop device is the device's bytes: an apply onto the device was let through and
// would have overwritten its own source.
#[test]
fn loop_device_over_the_source_is_refused_untouched() {
    let bench = Bench::with_patch();
    let mut source = bench.read("source");
    source.resize(source.len().next_multiple_of(4096), 0);
    let Some(device) = Loop::new(&bench, "disk", &source) else { return };
    let apply = "apply patch --state state";
    let onto = bench.run(&format!("{apply} --source disk --target {}", device.0));
    let from = bench.run(&format!("{apply} --source {} --target disk", device.0));
    onto.expect_error(2, &["source and target", "nothing was written"]);
    from.expect_error(2, &["source and target", "nothing was written"]);
    assert!(device.bytes() == source);
}

// A disk and its partition have two device numbers: an apply from one to the other was let through
// and would have overwritten its own source.
#[test]
fn disk_that_holds_the_source_is_refused_untouched() {
    let bench = Bench::with_patch();
    let Some(device) = Loop::new(&bench, "disk", &vec![0; 16 << 20]) else { return };
    // 8 MiB from 1 MiB on.
    if !run("partx", &["--version"]) || !run("addpart", &[&device.0, "1", "2048", "16384"]) {
        return skip("addpart does not work here");
    }
    let part = format!("{}p1", device.0);
    if !Path::new(&part).exists() {
        run("delpart", &[&device.0, "1"]);
        return skip("partitions of loop devices get no node here");
    }
    // Disk and partition have a cache each: what the partition still holds back would come later.
    let mut file = std::fs::OpenOptions::new().write(true).open(&part).expect("the partition");
    file.write_all(&bench.read("source")).expect("the partition takes the source");
    file.sync_all().expect("the partition is written");
    let before = device.bytes();
    let apply = "apply patch --state state";
    let onto = bench.run(&format!("{apply} --source {part} --target {}", device.0));
    let from = bench.run(&format!("{apply} --source {} --target {part}", device.0));
    run("delpart", &[&device.0, "1"]);
    onto.expect_error(2, &["source and target", "nothing was written"]);
    from.expect_error(2, &["source and target", "nothing was written"]);
    assert!(device.bytes() == before);
}

#[test]
fn device_that_is_too_small_is_refused_untouched() {
    let bench = Bench::with_patch();
    let before = noise(6, 1 << 20);
    let Some(device) = Loop::new(&bench, "disk", &before) else { return };
    let apply = format!("apply patch --source source --target {} --state state", device.0);
    bench.run(&apply).expect_error(12, &[&device.0, "room for 1048576", "nothing was written"]);
    assert!(device.bytes() == before);
}

#[test]
fn mounted_device_is_refused_untouched() {
    let bench = Bench::with_patch();
    let Some(device) = Loop::new(&bench, "disk", &vec![0; 16 << 20]) else { return };
    if !run("mkfs.ext4", &["-q", &device.0]) {
        return skip("mkfs.ext4 does not work here");
    }
    let Some(mount) = Mount::new(&[&device.0], &bench.path("mounted")) else { return };
    let before = device.bytes();
    let apply = format!("apply patch --source source --target {} --state state", device.0);
    bench.run(&apply).expect_error(1, &[&device.0, "mounted", "nothing was written", "findmnt"]);
    assert!(device.bytes() == before);
    drop(mount);
    bench.run(&apply).expect_code(0);
}

#[test]
fn full_file_system_stops_apply_and_diff_with_their_own_code() {
    let bench = Bench::with_patch();
    let folder = bench.path("small");
    let size = ["-t", "tmpfs", "-o", "size=1m", "none"];
    let Some(_mount) = Mount::new(&size, &folder) else { return };
    let apply = "apply patch --source source --target small/made --state state";
    bench.run(apply).expect_error(12, &["small/made: ", "not complete", "make room"]);
    bench.write("small/made", b"");
    bench.write("target", &noise(9, 3 << 20));
    bench.run("diff source target --output small/patch --effort 1").expect_error(12, &["small"]);
    assert!(!bench.path("small/patch").exists());
}
