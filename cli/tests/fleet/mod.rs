//! A fleet with a signed release of two versions, an authority, and devices that have certificates.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use crate::common;
use crate::signing::Town;

/// Bytes that no coder makes smaller, with a few changed by version.
pub(crate) fn image(version: u64) -> Vec<u8> {
    let mut bytes = common::noise(5, 900_000);
    for at in 0..usize::try_from(version).expect("few") {
        bytes[at * 50_000 + 17] ^= 0x55;
    }
    bytes
}

/// A town that has released version 1.0 and 1.1 of a radar, and knows a fleet's devices.
pub(crate) struct Fleet(pub(crate) Town);

impl Fleet {
    /// Founded once, and copied.
    pub(crate) fn new() -> Self {
        static FOUNDED: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
        Self(Town::unpacked(FOUNDED.get_or_init(|| Self::founded().0.packed())))
    }

    fn founded() -> Self {
        let fleet = Self(Town::published());
        let desk = &fleet.0.depot;
        desk.run("key new coast").expect_code(0);
        desk.run("ca init ca --key coast --name coast").expect_code(0);
        fleet.release(1);
        fleet.release(2);
        fs::create_dir(desk.path("stick")).expect("a mount point");
        fleet
    }

    pub(crate) fn run(&self, arguments: &str) -> common::Run {
        self.0.depot.run(arguments)
    }

    pub(crate) fn release(&self, version: u64) {
        self.release_image(version, &image(version));
    }

    /// Releases this image as version 1.{version - 1}.
    pub(crate) fn release_image(&self, version: u64, image: &[u8]) {
        let file = format!("{version}.img");
        self.0.depot.write(&file, image);
        let from = if version > 1 { "--from last:2" } else { "" };
        let create = format!(
            "release create depot --group fleet --product radar --version 1.{} --image {file} \
             --quiet {from}",
            version - 1
        );
        self.run(&create).expect_code(0);
        self.0.sign_and_publish("g.fleet");
    }

    /// Runs another program in the desk's folder: whether it could, and did what it was told.
    pub(crate) fn ran(&self, program: &str, arguments: &str) -> bool {
        let mut command = Command::new(program);
        let command = command.args(arguments.split(' ')).current_dir(self.0.depot.path("."));
        command.output().is_ok_and(|ran| ran.status.success())
    }

    /// Copies a folder of the desk.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let desk = &self.0.depot;
        let mut copy = Command::new("cp");
        let copied = copy.arg("-r").args([desk.path(from), desk.path(to)]).status();
        assert!(copied.expect("cp is there").success());
    }

    /// Gives a device a certificate and a configuration, and the image that it runs.
    pub(crate) fn device(&self, name: &str, runs: u64) {
        let ask = format!("ca request {name} --new-key {name}.key -o {name}.csr --json");
        let asked = self.run(&ask).expect_code(0).json();
        let digest = asked["key"].as_str().expect("a digest").to_owned();
        self.run(&format!("ca allow ca {name} --digest {digest}")).expect_code(0);
        let issued = self.run(&format!("ca issue ca {name}.csr --key coast --json"));
        let issued = issued.expect_code(0).json();
        let path = issued["issued"][0]["certificate"].as_str().expect("a path").to_owned();
        let desk = &self.0.depot;
        fs::copy(desk.path(&path), desk.path(&format!("{name}.crt"))).expect("copied");
        let path = |file: &str| desk.path(file);
        let text = format!(
            "depot = {:?}\nstate = {:?}\ngroups = [\"fleet\"]\nproduct = \"radar\"\nroot = {:?}\n\
             [identity]\ncertificate = {:?}\nkey = {:?}\nauthority = {:?}\n",
            path(&format!("{name}.depot")),
            path(&format!("{name}.state")),
            path("depot/metadata/1.root.json"),
            path(&format!("{name}.crt")),
            path(&format!("{name}.key")),
            path("ca/ca.pem"),
        );
        desk.write(&format!("{name}.toml"), text.as_bytes());
        desk.write(&format!("{name}.a"), &image(runs));
    }

    /// The device says what it runs, as an agent would.
    pub(crate) fn inventory(&self, name: &str, version: &str, image: &str) {
        let digest = blake3::hash(&self.0.depot.read(image)).to_hex().to_string();
        let create = format!(
            "receipt create {name}.depot/receipts/{name} --device {name} --key {name}.key \
             --outcome inventory --product radar --version {version} --read-back {digest}"
        );
        self.run(&create).expect_code(0);
    }

    pub(crate) fn collect(&self, stick: &str) -> common::Run {
        self.run(&format!(
            "stick collect {stick} depot --ca ca/ca.pem --certificate ca/certificates --json"
        ))
    }
}
