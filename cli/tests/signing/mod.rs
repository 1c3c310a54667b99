//! A release manager's desk: a folder of keys, their secrets, and a token if there is SoftHSM.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::Run;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// One person's folder.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().expect("a folder for the test") };
        desk.secret("pass", "correct horse");
        desk.secret("pin", "1234");
        desk
    }

    /// A desk with a token on it. Without SoftHSM there is none, and the test says so.
    pub(crate) fn with_token(label: &str) -> Option<Self> {
        if !PathBuf::from(MODULE).exists() {
            println!("SKIPPED: {MODULE} is not there (package softhsm2)");
            return None;
        }
        let desk = Self::new();
        fs::create_dir(desk.path("tokens")).expect("made");
        let config = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            desk.path("tokens").display()
        );
        desk.write("softhsm2.conf", config.as_bytes());
        let arguments =
            ["--init-token", "--free", "--label", label, "--so-pin", "5678", "--pin", "1234"];
        let made = Command::new("softhsm2-util")
            .args(arguments)
            .env("SOFTHSM2_CONF", desk.path("softhsm2.conf"))
            .output()
            .expect("softhsm2-util is installed with the library");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(desk)
    }

    /// The URI of a key on the token.
    pub(crate) fn uri(&self, token: &str, object: &str) -> String {
        let pin = self.path("pin");
        let pin = pin.display();
        format!("pkcs11:token={token};object={object}?module-path={MODULE}&pin-source={pin}")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("written");
    }

    /// A file for its owner alone.
    pub(crate) fn secret(&self, name: &str, text: &str) {
        self.write(name, format!("{text}\n").as_bytes());
        self.set_mode(name, 0o600);
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("read")
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).expect("it is there").permissions().mode() & 0o7777
    }

    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(name), permissions).expect("set");
    }

    /// Runs the binary here, without a terminal. The passphrase is in the environment, unless a
    /// file is named.
    pub(crate) fn run(&self, arguments: &str) -> Run {
        let output = Command::new("setsid")
            .arg(env!("CARGO_BIN_EXE_neap"))
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .env("NEAP_KEYS", self.path("keys"))
            .env("NEAP_PASSPHRASE", "correct horse")
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .stdin(Stdio::null())
            .output()
            .expect("neap starts");
        Run::new(&output)
    }
}
