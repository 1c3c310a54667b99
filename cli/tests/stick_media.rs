//! The same on real FAT32 and exFAT, through FUSE. Skipped, with the reason on stderr, where their
//! programs are missing or this user may not mount.

mod common;
mod fleet;
mod signing;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fleet::{Fleet, image};

/// How one file system is made, mounted from an image or a loop device, and checked.
struct Kind {
    make: &'static [&'static str],
    mount: &'static [&'static str],
    needs_loop: bool,
    check: &'static [&'static str],
}

const FAT32: Kind = Kind {
    make: &["mkfs.vfat", "-F", "32"],
    mount: &["fusefat", "-o", "rw+"],
    needs_loop: false,
    check: &["fsck.vfat", "-n"],
};

const EXFAT: Kind = Kind {
    make: &["mkfs.exfat"],
    mount: &["mount.exfat-fuse"],
    needs_loop: true,
    check: &["fsck.exfat", "-n"],
};

/// A stick: an image, and where it is mounted.
struct Medium<'a> {
    kind: &'a Kind,
    image: PathBuf,
    place: PathBuf,
    device: Option<String>,
}

fn run(words: &[&str], paths: &[&Path]) -> Result<String, String> {
    let (program, arguments) = words.split_first().expect("a program");
    let ran = Command::new(program).args(arguments).args(paths).output();
    let ran = ran.map_err(|error| format!("{program}: {error}"))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if ran.status.success() { Ok(text) } else { Err(format!("{program}: {text}")) }
}

impl<'a> Medium<'a> {
    fn new(kind: &'a Kind, folder: &Path) -> Result<Self, String> {
        let (image, place) = (folder.join("medium.img"), folder.join("medium"));
        fs::create_dir(&place).expect("a mount point");
        File::create(&image).and_then(|file| file.set_len(200 << 20)).expect("an image");
        run(kind.make, &[&image])?;
        let mut medium = Self { kind, image, place, device: None };
        medium.plug()?;
        Ok(medium)
    }

    fn plug(&mut self) -> Result<(), String> {
        let mut from = self.image.clone();
        if self.kind.needs_loop {
            let device = run(&["losetup", "--find", "--show"], &[&self.image])?;
            from = device.trim().into();
            self.device = Some(device.trim().to_owned());
        }
        run(self.kind.mount, &[&from, &self.place]).map(drop)
    }

    fn unplug(&mut self) {
        drop(run(&["umount"], &[&self.place]));
        if let Some(device) = self.device.take() {
            drop(run(&["losetup", "--detach", &device], &[]));
        }
    }

    /// What the checker says of any file. fusefat 0.1a loses the cluster of a file that is cut to
    /// nothing and written again, which only the lock is.
    fn check(&self) {
        let Err(told) = run(self.kind.check, &[&self.image]) else { return };
        let named: Vec<_> = told.lines().filter(|line| line.starts_with('/')).collect();
        let ours = |line: &&str| !line.ends_with("/writer.lock") && !line.starts_with("/tmp");
        let wrong = named.iter().copied().filter(ours).count();
        assert!(!named.is_empty() && wrong == 0, "{told}");
    }
}

impl Drop for Medium<'_> {
    fn drop(&mut self) {
        self.unplug();
    }
}

/// Past the harness, which keeps what passing tests print to itself.
fn skip(reason: &str) {
    let line = format!("skipped: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
}

/// A medium in this folder; none where the machine has no such file system.
fn medium<'a>(kind: &'a Kind, folder: &Path) -> Option<Medium<'a>> {
    Medium::new(kind, folder).inspect_err(|reason| skip(reason.trim())).ok()
}

fn carries(kind: &Kind) {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    let Some(mut medium) = medium(kind, &desk.path(".")) else { return };
    fleet.device("radar-7", 1);
    let out = fleet.run("stick export depot medium --full --json").expect_code(0).json();
    medium.unplug();
    medium.check();
    medium.plug().expect("it was mounted before");
    let taken = fleet.run("stick import medium --config radar-7.toml --json");
    assert_eq!(taken.expect_code(0).json()["code"], out["code"]);
    let install =
        "stick install medium --config radar-7.toml --source radar-7.a --target radar-7.b";
    fleet.run(install).expect_code(0);
    assert!(desk.read("radar-7.b") == image(2));
    fleet.release(3);
    fleet.run("stick export depot medium --json").expect_code(0);
    medium.unplug();
    medium.check();
    medium.plug().expect("it was mounted before");
    let home = fleet.collect("medium").expect_code(0).json();
    assert_eq!(home["devices"][0]["new"].as_array().map(Vec::len), Some(1), "{home}");
    medium.unplug();
}

#[test]
fn fat32_carries_a_release_there_and_receipts_back() {
    carries(&FAT32);
}

#[test]
fn exfat_carries_a_release_there_and_receipts_back() {
    carries(&EXFAT);
}

impl Medium<'_> {
    /// Pulls it at once, from under whoever uses it: what was not written back is lost.
    fn pull(&mut self) {
        let from = match &self.device {
            Some(device) => device.clone(),
            None => self.image.display().to_string(),
        };
        drop(Command::new("pkill").args(["-9", "-f", &format!("fat.*{from}")]).status());
        drop(run(&["umount", "-l"], &[&self.place]));
        if let Some(device) = self.device.take() {
            drop(run(&["losetup", "--detach", &device], &[]));
        }
    }
}

/// Cause: a stick whose driver does not answer holds up whoever reads it. Effect: neap stood still
/// without a word. Cure: it says that it waits, and goes on when the stick does.
#[test]
fn stick_that_does_not_answer_is_said_to_be_waited_for_and_goes_on_when_it_does() {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    let Some(medium) = medium(&FAT32, &desk.path(".")) else { return };
    fleet.device("radar-7", 1);
    fleet.run("stick export depot medium --full").expect_code(0);
    let driver = format!("fusefat.*{}", medium.image.display());
    let signal = |name: &str| {
        let sent = Command::new("pkill").args([name, "-f", &driver]).status();
        assert!(sent.expect("pkill is there").success(), "{driver}");
    };
    signal("-STOP");
    let mut child = Command::new(env!("CARGO_BIN_EXE_neap"))
        .args("stick import medium --config radar-7.toml".split_whitespace())
        .current_dir(desk.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("neap starts");
    let reader = BufReader::new(child.stderr.take().expect("a pipe"));
    let (send, lines) = std::sync::mpsc::channel();
    // Until it ends: whoever takes no lines any more must not stop it.
    std::thread::spawn(move || reader.lines().for_each(|line| drop(send.send(line))));
    let line = lines.recv_timeout(Duration::from_secs(30));
    signal("-CONT");
    let line = line.expect("a line comes").expect("text");
    assert!(line.starts_with("the stick has not answered for 5 s: it is waited for"), "{line}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// How often a stick is pulled each way, at moments spread over the whole of what is done:
/// NEAP_UNPLUGS=50 for a full run.
fn unplugs() -> u32 {
    std::env::var("NEAP_UNPLUGS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Starts neap, pulls the stick after a while, and puts it back; how neap ended.
fn pulled_after(
    fleet: &Fleet,
    medium: &mut Medium<'_>,
    arguments: &str,
    wait: Duration,
) -> Option<i32> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_neap"))
        .args(arguments.split_whitespace())
        .current_dir(fleet.0.depot.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("neap starts");
    std::thread::sleep(wait);
    medium.pull();
    let code = child.wait().expect("it ends").code();
    medium.plug().expect("it was mounted before");
    code
}

/// How many blobs lie in a folder; each is what its name says.
fn blobs(folder: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("listed") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.contains('.') {
            let bytes = fs::read(entry.path()).expect("read");
            assert_eq!(blake3::hash(&bytes).to_hex().as_str(), name);
            count += 1;
        }
    }
    count
}

fn goes_on_after_each_pull(kind: &Kind) {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    let Some(mut medium) = medium(kind, &desk.path(".")) else { return };
    fleet.device("radar-7", 1);
    let export = "stick export depot medium --full --json";
    let begun = Instant::now();
    let code = fleet.run(export).expect_code(0).json()["code"].clone();
    let took = begun.elapsed();
    let exported = blobs(&desk.path("medium/neap/blobs"));
    assert!(exported > 0);
    let mut ends = BTreeMap::<_, u32>::new();
    for turn in 0..unplugs() {
        let wait = took * turn / unplugs();
        // What stands on it is whole, and is there again after a pull.
        fs::remove_file(desk.path("medium/neap/metadata/timestamp.json")).expect("it was there");
        fs::remove_dir_all(desk.path("medium/neap/blobs")).expect("they were there");
        let end = pulled_after(&fleet, &mut medium, export, wait);
        *ends.entry(("export", end)).or_default() += 1;
        let again = fleet.run(export).expect_code(0).json();
        assert_eq!(again["code"], code, "pulled after {wait:?}");

        let import = format!("stick import medium --config radar-7.toml --to to-{turn} --json");
        let end = pulled_after(&fleet, &mut medium, &import, wait);
        *ends.entry(("import", end)).or_default() += 1;
        let again = fleet.run(&import).expect_code(0).json();
        assert_eq!(again["code"], code, "pulled after {wait:?}");
        assert_eq!(blobs(&desk.path(&format!("to-{turn}/blobs"))), exported, "{wait:?}");
    }
    // Done before the pull; pulled before it began (1); interrupted; or, since the dying driver
    // gives wrong bytes, read back otherwise than written (13). Nothing else.
    let line = format!("{}: {ends:?}\n", kind.make.join(" "));
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
    for (what, end) in ends.keys() {
        assert!(matches!(end, Some(0 | 1 | 10 | 13)), "{what} ended with {end:?}");
    }
    medium.unplug();
}

#[test]
#[ignore = "fusefat may hang for good on what a pull left of its table: run it by name"]
fn fat32_pulled_at_any_moment_is_written_and_read_to_the_end_the_next_time() {
    goes_on_after_each_pull(&FAT32);
}

#[test]
#[ignore = "kills a driver that the machine may share: run it by name"]
fn exfat_pulled_at_any_moment_is_written_and_read_to_the_end_the_next_time() {
    goes_on_after_each_pull(&EXFAT);
}
