//! The units of `packaging/systemd`: what systemd says of them, and what they must say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UNITS: [&str; 5] = [
    "neap-serve.service",
    "neap-fetch.service",
    "neap-fetch.timer",
    "neap-stick@.service",
    "neap-stick-mount@.service",
];

/// Asks systemd for a mount and does nothing else: it is no user's, and has a capability.
const MOUNTER: &str = "neap-stick-mount@.service";

/// Of 10, where 10 is a service that may do all that root may: systemd calls up to 2 safe.
const EXPOSURE_MAX: f64 = 2.0;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

fn unit(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect(name)
}

/// Runs `systemd-analyze`; nothing if it is not there.
fn analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("SKIPPED: systemd-analyze: {error}");
            None
        }
    }
}

/// The services that run neap.
fn services() -> impl Iterator<Item = &'static str> {
    UNITS.into_iter().filter(|name| name.ends_with(".service") && *name != MOUNTER)
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The units in a folder of their own, with a program that is there.
fn staged() -> tempfile::TempDir {
    let staged = tempfile::tempdir().expect("a folder");
    for name in UNITS {
        let text = unit(name).replace("/usr/bin/neap", "/bin/true");
        let text = text.replace("/usr/bin/systemd-", "/bin/true systemd-");
        fs::write(staged.path().join(name), text).expect("written");
    }
    staged
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let staged = staged();
    for name in UNITS {
        // A template is verified as one of its units.
        let path = staged.path().join(name.replace('@', "@sda1"));
        let path = path.to_str().expect("a path that is text");
        let Some(output) = analyze(&["verify", "--man=no", "--recursive-errors=no", path]) else {
            return;
        };
        let complaints = said(&output);
        let ours: Vec<_> = complaints.lines().filter(|line| line.contains("neap-")).collect();
        assert!(output.status.success() && ours.is_empty(), "{name}: {complaints}");
    }
}

#[test]
fn units_with_a_mistake_are_complained_about() {
    let staged = staged();
    let path = staged.path().join(UNITS[0]);
    fs::write(&path, unit(UNITS[0]).replace("/usr/bin/neap", "true/")).expect("written");
    let path = path.to_str().expect("a path that is text");
    if let Some(output) = analyze(&["verify", "--man=no", "--recursive-errors=no", path]) {
        assert!(!output.status.success(), "{}", said(&output));
    }
}

#[test]
fn services_are_exposed_as_little_as_systemd_calls_safe() {
    for name in services() {
        let path = folder().join(name);
        let path = path.to_str().expect("a path that is text");
        let Some(output) = analyze(&["security", "--offline=true", "--no-pager", path]) else {
            return;
        };
        let said = said(&output);
        let Some(line) = said.lines().find(|line| line.contains("Overall exposure level")) else {
            println!("SKIPPED: systemd-analyze says nothing of exposure: {said}");
            return;
        };
        println!("{line}");
        let level = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next());
        let level: f64 = level.and_then(|level| level.parse().ok()).expect(line);
        assert!(level <= EXPOSURE_MAX, "{line}");
    }
}

#[test]
fn services_are_sandboxed_and_bounded_and_wait_for_no_clock() {
    for name in services() {
        let text = unit(name);
        let families = match name {
            "neap-stick@.service" => "RestrictAddressFamilies=AF_UNIX",
            _ => "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        };
        for line in [
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "MemoryMax=64M",
            "User=neap",
            "StateDirectory=neap",
            families,
            "SystemCallFilter=@system-service",
        ] {
            assert!(text.lines().any(|found| found == line), "{name}: no {line}");
        }
    }
    for name in UNITS {
        assert!(!unit(name).contains("time-sync"), "{name} waits for a clock");
        assert!(!unit(name).contains("OnCalendar"), "{name} waits for a time of day");
    }
}

#[test]
fn exits_that_are_no_fault_leave_the_fetch_unit_green() {
    let text = unit("neap-fetch.service");
    assert!(text.lines().any(|line| line == "SuccessExitStatus=3 10 11"));
    assert!(unit("neap-serve.service").lines().any(|line| line == "Restart=on-failure"));
}

// What a stick holds must not decide what runs, or be written, before it was verified.
#[test]
fn stick_is_only_announced_and_mounted_to_be_read() {
    let rules = folder().join("../udev/70-neap-stick.rules");
    let rules = fs::read_to_string(rules).expect("the rule");
    let keys: Vec<_> = rules.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(keys.len(), 1, "one rule");
    for forbidden in ["RUN", "PROGRAM", "IMPORT", "SYMLINK", "MODE", "%E", "$env"] {
        assert!(!keys[0].contains(forbidden), "{forbidden}");
    }
    assert!(keys[0].contains("ENV{SYSTEMD_WANTS}+=\"neap-stick@%k.service\""));
    assert!(keys[0].contains("ENV{ID_BUS}==\"usb\"") && keys[0].contains("TAG+=\"systemd\""));
    let mounter = unit(MOUNTER);
    assert!(mounter.contains("--options=ro,nosuid,nodev,noexec /dev/%I /run/neap-stick/%i\n"));
    let service = unit("neap-stick@.service");
    for line in [
        "ExecStart=/usr/bin/neap stick plugged /run/neap-stick/%i",
        "Requires=neap-stick-mount@%i.service",
        "After=neap-stick-mount@%i.service",
        "BindsTo=dev-%i.device",
        "PrivateNetwork=yes",
    ] {
        assert!(service.lines().any(|found| found == line), "no {line}");
    }
}
