//! A stick that is plugged into a real bus, as the rule for udev and the LED of a device see it:
//! udevd, FAT32 and exFAT of Debian, and an LED of the kernel's own class. It takes minutes, so it
//! is run by name: `cargo test --release -p neap --test plugged_qemu -- --ignored --nocapture`.

mod common;
mod fleet;
mod machine;
mod signing;

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use fleet::Fleet;
use machine::{Ended, Machine};

/// Bytes of the new image, all of them new: it takes the device many flickers to import them.
const IMAGE_LEN: usize = 12 << 20;

/// The site and the machine there, with a stick of the last release and one of that before.
struct Site {
    fleet: Fleet,
    machine: Machine,
    led: String,
}

impl Site {
    /// None where this machine cannot have one.
    fn new() -> Option<Self> {
        let fleet = Fleet::new();
        fleet.device("radar-7", 1);
        let desk = &fleet.0.depot;
        fleet.copy("depot", "old");
        fleet.release_image(3, &common::noise(6, IMAGE_LEN));
        let machine = Machine::at(&desk.path("."), 1 << 20)?;
        for stick in ["vfat", "exfat", "old.vfat"] {
            let image = desk.path(stick);
            File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("an image");
            let make = format!("mkfs.{}", stick.trim_start_matches("old."));
            let made = Command::new(make).arg(&image).output().expect("it starts");
            assert!(made.status.success(), "{made:?}");
        }
        let mut site = Self { fleet, machine, led: String::new() };
        site.run("systemd-udevd --daemon").expect_code(0);
        let led = site.run("ls -d /sys/class/leds/*::scrolllock").expect_code(0).text;
        site.led = led.trim().to_owned();
        for policy in ["announce", "import"] {
            let config = format!(
                "(cat radar-7.toml; printf '[stick]\\nled = \"%s\"\\nwhen_plugged = \"%s\"\\n' \
                  {} {policy}) >{policy}.toml",
                site.led
            );
            site.run(&config).expect_code(0);
        }
        Some(site)
    }

    fn run(&mut self, command: &str) -> Ended {
        let folder = self.fleet.0.depot.path(".").canonicalize().expect("it is there");
        self.machine.run(&format!("cd {} && {command}", folder.display()))
    }

    fn stick(&self, name: &str) -> PathBuf {
        self.fleet.0.depot.path(name)
    }

    /// Runs `neap stick plugged`, and gives its end and what the LED showed meanwhile: `w` and `W`
    /// while it works, dark and lit, `.` and `#` else; each as long as it lasts once.
    fn plugged(&mut self, policy: &str, options: &str) -> (Ended, String) {
        let led = &self.led;
        let watch = format!(
            "(while [ ! -e stop ]; do \
                 read -r t <{led}/trigger; read -r b <{led}/brightness; \
                 case \"$t\" in *'[timer]'*) s=wW;; *) s=.#;; esac; \
                 [ $b = 0 ] && echo ${{s%?}} || echo ${{s#?}}; usleep 10000; \
             done | uniq >seen) & "
        );
        let command = format!(
            "rm -f stop; {watch} neap stick plugged /media/stick --config {policy}.toml {options}; \
             code=$?; usleep 100000; touch stop; wait; exit $code"
        );
        let ended = self.run(&command);
        let seen = self.run("tr -d '\\n' <seen; echo").text;
        (ended, seen.trim().to_owned())
    }
}

/// How often the light came on while nothing worked.
fn blinks(seen: &str) -> usize {
    seen.matches(".#").count()
}

#[test]
#[ignore = "takes minutes, and a kernel from the network: run it by name"]
fn plugged_stick_is_announced_by_udev_and_shown_by_an_led_of_the_kernel() {
    let Some(mut site) = Site::new() else { return };
    for (name, system) in [("vfat", "vfat"), ("exfat", "exfat"), ("old.vfat", "vfat")] {
        site.machine.plug(&site.stick(name), system);
        let from = if name == "old.vfat" { "old" } else { "depot" };
        site.run(&format!("neap stick export {from} /media/stick")).expect_code(0);
        let known = site.run(
            "udevadm settle; for disk in /dev/sd?; do udevadm info --query=property $disk; done",
        );
        let known = known.expect_code(0).text;
        println!("{name}: {known}");
        for property in
            ["ID_BUS=usb", &format!("ID_FS_TYPE={system}"), "SYSTEMD_WANTS=neap-stick@sd"]
        {
            assert!(known.contains(property), "{name}: no {property} in {known}");
        }
        site.machine.eject();
    }

    site.machine.plug(&site.stick("vfat"), "vfat");
    let (ended, seen) = site.plugged("import", "");
    println!("done: {seen}");
    ended.expect_code(0);
    assert!(seen.contains("wWw") && seen.ends_with('#'), "it flickers, then stays lit: {seen}");
    let (ended, seen) = site.plugged("announce", "--group galley --repeat 2");
    println!("another site's: {seen}");
    ended.expect_code(1);
    assert_eq!(blinks(&seen), 2, "one blink, twice: {seen}");
    let sig =
        "sed -i 's/\"sig\": *\"..../\"sig\":\"0000/' /media/stick/neap/metadata/timestamp.json";
    site.run(sig).expect_code(0);
    let (ended, seen) = site.plugged("announce", "--repeat 1 --state fresh");
    println!("forged: {seen}");
    ended.expect_code(6);
    assert_eq!(blinks(&seen), 4, "{seen}");
    site.machine.eject();
    site.machine.plug(&site.stick("old.vfat"), "vfat");
    let (ended, seen) = site.plugged("announce", "--repeat 1");
    println!("older: {seen}");
    ended.expect_code(7);
    assert_eq!(blinks(&seen), 3, "{seen}");
}
