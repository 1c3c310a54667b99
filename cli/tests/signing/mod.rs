//! A release manager's desk: a folder of keys, their secrets, and a token if there is SoftHSM; and
//! a town of two of them and a depot.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::common::Run;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// One person's folder.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    /// What else is in the environment here: where a bucket is, and who asks.
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let desk = Self { folder, variables: Vec::new() };
        desk.secret("pass", "correct horse");
        desk.secret("pin", "1234");
        desk
    }

    /// All that is on it, to begin other desks with.
    fn packed(&self) -> Vec<u8> {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(self.folder.path()).args(["-cf", "-", "."]);
        let output = tar.output().expect("tar starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn unpacked(packed: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(folder.path())
            .args(["-xpf", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("tar starts");
        tar.stdin.take().expect("piped").write_all(packed).expect("tar reads");
        assert!(tar.wait().expect("tar ends").success());
        Self { folder, variables: Vec::new() }
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

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("text")
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
            // A no-break space stays within a word.
            .args(arguments.split(' ').filter(|w| !w.is_empty()).map(|w| w.replace('\u{a0}', " ")))
            .current_dir(self.folder.path())
            .env("NEAP_KEYS", self.path("keys"))
            .env("NEAP_PASSPHRASE", "correct horse")
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("neap starts");
        Run::new(&output)
    }
}

/// Alice and bob on their laptops, and the depot on a server of its own with the online key.
pub(crate) struct Town {
    pub(crate) alice: Desk,
    pub(crate) bob: Desk,
    pub(crate) depot: Desk,
}

impl Town {
    /// A town where bob has a key already, and all public keys are at the depot.
    pub(crate) fn of(bob: Desk) -> Self {
        let town = Self { alice: Desk::new(), bob, depot: Desk::new() };
        town.alice.run("key new alice").expect_code(0);
        town.depot.run("key new online").expect_code(0);
        town.take(&town.alice, "keys/alice.pub");
        town.take(&town.bob, "keys/bob.pub");
        town
    }

    /// A town with a repository that is published, and a group `fleet` that both sign for. It is
    /// founded once, and copied.
    pub(crate) fn published() -> Self {
        static FOUNDED: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
        Self::unpacked(FOUNDED.get_or_init(|| Self::founded().packed()))
    }

    pub(crate) fn packed(&self) -> [Vec<u8>; 3] {
        [&self.alice, &self.bob, &self.depot].map(Desk::packed)
    }

    pub(crate) fn unpacked([alice, bob, depot]: &[Vec<u8>; 3]) -> Self {
        let [alice, bob, depot] = [alice, bob, depot].map(|packed| Desk::unpacked(packed));
        Self { alice, bob, depot }
    }

    /// The same, of another repository: with keys that no other town has.
    pub(crate) fn founded() -> Self {
        let bob = Desk::new();
        bob.run("key new bob").expect_code(0);
        let town = Self::of(bob);
        town.init();
        for role in ["root", "targets", "g.fleet"] {
            for person in ["alice", "bob"] {
                town.sign(person, role);
                town.merge(&[&format!("{role}.{person}.sig")]);
            }
        }
        town.depot.run("repo publish depot --key online").expect_code(0);
        town
    }

    /// Stages root, targets and the group `fleet`.
    pub(crate) fn init(&self) {
        let both = |role: &str| format!("--{role}-key alice.pub --{role}-key bob.pub");
        let init = format!(
            "repo init depot {} {} --snapshot-key online --timestamp-key online",
            both("root"),
            both("targets")
        );
        self.depot.run(&init).expect_code(0);
        let group = "repo add group depot fleet --key alice.pub --key bob.pub --threshold 2";
        self.depot.run(group).expect_code(0);
    }

    /// The path of a staged file.
    pub(crate) fn staged(&self, role: &str) -> String {
        self.depot.path(&format!("depot/staged/{role}.json")).display().to_string()
    }

    /// One person signs what is staged, on a copy, and sends the signature back. Returns what the
    /// person was shown.
    pub(crate) fn sign(&self, person: &str, role: &str) -> String {
        let desk = if person == "alice" { &self.alice } else { &self.bob };
        let request = self.depot.read(&format!("depot/staged/{role}.json"));
        desk.write("request.json", &request);
        let name = format!("{role}.{person}.sig");
        drop(fs::remove_file(desk.path(&name)));
        let sign = format!("repo sign request.json --key {person} -o {name} --yes");
        let shown = desk.run(&sign).expect_code(0).stderr;
        self.take(desk, &name);
        shown
    }

    /// Both sign what is staged, and it is published.
    pub(crate) fn sign_and_publish(&self, role: &str) {
        for person in ["alice", "bob"] {
            self.sign(person, role);
            self.merge(&[&format!("{role}.{person}.sig")]);
        }
        self.depot.run("repo publish depot --key online").expect_code(0);
    }

    /// Merges signatures that lie at the depot.
    pub(crate) fn merge(&self, names: &[&str]) {
        self.depot.run(&format!("repo merge depot {}", names.join(" "))).expect_code(0);
    }

    /// Copies a file of a person to the depot.
    pub(crate) fn take(&self, from: &Desk, name: &str) {
        let base = name.rsplit('/').next().unwrap_or(name);
        self.depot.write(base, &from.read(name));
    }
}
