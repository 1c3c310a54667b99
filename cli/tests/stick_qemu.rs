//! Real unplugs: a stick is taken off the bus of a machine while neap writes or reads it there,
//! with the drivers of Debian's kernel for USB, FAT32 and exFAT. It takes minutes, so it is run by
//! name: `cargo test --release -p neap --test stick_qemu -- --ignored --nocapture`.

mod common;
mod fleet;
mod machine;
mod signing;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fleet::Fleet;
use machine::{Ended, LONGEST, Machine, Moved};

/// File systems of sticks: how one is made, and what the kernel calls it.
const SYSTEMS: [(&str, &[&str]); 2] =
    [("vfat", &["mkfs.vfat", "-F", "32"]), ("exfat", &["mkfs.exfat"])];

/// Bytes of an image: more than neap writes to a stick without a sync.
const IMAGE_LEN: usize = 9 << 20;

/// Receipts that the device has, and how many of them are on the stick already.
const RECEIPTS: (u32, u32) = (120, 20);

/// A stick is pulled so often before it may stay in to the end.
const PULLS: u32 = 2;

/// Of the pulls of each deed, and of all, these parts at the least must cut it short: others come
/// between its last byte and its end, or while it looks for the stick.
const CUT_MIN: (f64, f64) = (0.5, 0.7);

/// Bytes that a deed must move for a pull to hit each third of them: less cross the bus at once.
const SPREAD_LEN: u64 = 1 << 20;

/// What is done with a stick: each is pulled, goes on, and must come to its end.
struct Deed {
    name: &'static str,
    /// The stick that it begins with.
    stick: &'static str,
    command: &'static str,
}

const DEEDS: [Deed; 5] = [
    Deed {
        name: "export",
        stick: "old",
        command: "neap stick export depot /media/stick --full --json",
    },
    Deed {
        name: "import",
        stick: "new",
        command: "neap stick import /media/stick --config radar-7.toml --json",
    },
    Deed {
        name: "receipts",
        stick: "new",
        command: "neap stick import /media/stick --receipts-only --config radar-7.toml --json",
    },
    Deed {
        name: "install",
        stick: "new",
        command: "neap stick install /media/stick --config radar-7.toml --source radar-7.a \
                  --target /dev/vda --json",
    },
    Deed {
        name: "collect",
        stick: "full",
        command: "neap stick collect /media/stick shore --ca ca/ca.pem \
                  --certificate ca/certificates --json",
    },
];

/// Receipts by path, each with the digest of what it holds.
type Receipts = BTreeMap<String, String>;

/// What was seen of one deed on one file system.
#[derive(Default)]
struct Row {
    pulls: u32,
    /// How many pulls came in the first, the second and the last third of all bytes, and how many
    /// after the end.
    places: [u32; 4],
    /// How often each exit code came of a pull.
    ends: BTreeMap<String, u32>,
    lost_receipts: Vec<String>,
    damaged_depots: Vec<String>,
    wrong_installs: Vec<String>,
    /// What did not end, or not well, once the stick stayed in.
    stuck: Vec<String>,
    /// From the pull until neap ended.
    slowest: Duration,
}

/// When a stick is pulled: after so many bytes, of those that the whole deed moves.
#[derive(Clone, Copy)]
struct Mark {
    at: u64,
    of: Moved,
}

/// The site, the machine there, and what was seen.
struct Bed {
    fleet: Fleet,
    machine: Machine,
    system: &'static str,
    /// The code of a stick with the new release.
    code: String,
    random: Vec<u8>,
}

/// Version `version` of a large image: its second half is new each time.
fn image(version: u64) -> Vec<u8> {
    let mut bytes = common::noise(40, IMAGE_LEN / 2);
    bytes.extend(common::noise(version, IMAGE_LEN - IMAGE_LEN / 2));
    bytes
}

/// A fleet whose device runs version 1.2, has receipts, and is to be at 1.3.
fn fleet() -> Fleet {
    let fleet = Fleet::new();
    let desk = &fleet.0.depot;
    fleet.device("radar-7", 1);
    fleet.release_image(3, &image(3));
    desk.write("radar-7.a", &image(3));
    for _ in 0..RECEIPTS.0 {
        fleet.inventory("radar-7", "1.2", "radar-7.a");
    }
    fleet.copy("depot", "depot.old");
    fleet.release_image(4, &image(4));
    fs::rename(desk.path("radar-7.depot"), desk.path("device")).expect("renamed");
    for name in ["1.img", "2.img", "3.img"] {
        fs::remove_file(desk.path(name)).expect("removed");
    }
    fleet
}

impl Bed {
    /// A machine at a site, and the sticks `old`, `new` and `full` of each file system; none where
    /// this machine cannot have one.
    fn new() -> Option<Self> {
        let fleet = fleet();
        let desk = &fleet.0.depot;
        let machine = Machine::at(&desk.path("."), 16 << 20)?;
        // A seed of another run shows other moments.
        let seed = std::env::var("NEAP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let random = common::noise(seed, 4096);
        let (code, system) = (String::new(), "");
        let mut bed = Self { fleet, machine, system, code, random };
        let prepare = format!(
            "mkdir -p shore early/receipts/radar-7; cp -r depot/metadata early; \
             for i in $(seq {}); do cp device/receipts/radar-7/$i.cose early/receipts/radar-7; \
             done; cp -r early/receipts depot",
            RECEIPTS.1
        );
        bed.run(&prepare).expect_code(0);
        Some(bed)
    }

    /// In the folder of the fleet.
    fn within(&self, command: &str) -> String {
        let folder = self.fleet.0.depot.path(".").canonicalize().expect("it is there");
        format!("cd {} && {command}", folder.display())
    }

    fn run(&mut self, command: &str) -> Ended {
        let command = self.within(command);
        self.machine.run(&command)
    }

    fn stick(&self, name: &str) -> PathBuf {
        self.fleet.0.depot.path(&format!("{name}.{}", self.system))
    }

    /// A stick with the release from before, one with the new one, one with all receipts too.
    fn make_sticks(&mut self, system: &'static str, make: &[&str]) {
        self.system = system;
        let old = self.stick("old");
        File::create(&old).and_then(|file| file.set_len(128 << 20)).expect("an image");
        let made = Command::new(make[0]).args(&make[1..]).arg(&old).output().expect("it starts");
        assert!(made.status.success(), "{made:?}");
        let early = "neap stick import /media/stick --receipts-only --to early \
                     --config radar-7.toml";
        let steps = [
            (
                "old",
                "old",
                format!("{} && {early}", DEEDS[0].command.replace("depot", "depot.old")),
            ),
            ("old", "new", DEEDS[0].command.to_owned()),
            ("new", "full", DEEDS[2].command.to_owned()),
        ];
        for (from, to, command) in steps {
            if from != to {
                fs::copy(self.stick(from), self.stick(to)).expect("copied");
            }
            self.reset();
            self.machine.plug(&self.stick(to), system);
            let done = self.run(&command).expect_code(0);
            if to == "new" {
                self.code = code(&done.text).expect("a code");
            }
            self.machine.eject();
        }
    }

    /// The device and the desk as they were before any stick came.
    fn reset(&mut self) {
        let command = "rm -rf radar-7.state radar-7.depot shore t && cp -r device radar-7.depot \
                       && mkdir shore && cp -r depot/metadata shore \
                       && dd if=/dev/zero of=/dev/vda bs=1M count=16 conv=fsync";
        self.run(command).expect_code(0);
    }

    /// Receipts below a folder, as the machine reads them now.
    fn receipts(&mut self, folder: &str) -> Result<Receipts, String> {
        let ended = self.run(&format!(
            "if [ -d {folder} ]; then cd {folder} && \
             find . -name '*.cose' -exec sha256sum {{}} +; fi"
        ));
        if ended.code != Some(0) {
            return Err(format!("{folder}: {:?}: {}", ended.code, ended.text));
        }
        let lines = ended.text.lines().filter_map(|line| line.split_once("  "));
        Ok(lines.map(|(digest, path)| (path.to_owned(), digest.to_owned())).collect())
    }

    /// A number from 0 to below 1.
    fn random(&mut self) -> f64 {
        f64::from(self.random.pop().unwrap_or(128)) / 256.0
    }

    /// Lets the next bytes come from the stick, and not from memory. Linux reads the whole table of
    /// FAT once, when it is first asked for free room: that comes before.
    fn uncache(&mut self) -> Moved {
        self.run("stat -f /media/stick && sync && echo 3 >/proc/sys/vm/drop_caches").expect_code(0);
        self.machine.moved()
    }

    /// Pulls the stick in the middle of a deed, once so many bytes have crossed the bus, puts it
    /// back, and looks at what is left. Gives how many had crossed.
    fn pull(&mut self, deed: &Deed, image: &Path, mark: Mark, row: &mut Row) -> Moved {
        let before = self.uncache();
        let command = self.within(deed.command);
        let started = self.machine.start(&command);
        let begun = Instant::now();
        let (moved, is_done) = loop {
            let moved = self.machine.moved().since(before);
            let is_done = self.machine.is_done(&started);
            if moved.all() >= mark.at || is_done || begun.elapsed() > LONGEST {
                break (moved, is_done);
            }
        };
        let pulled = Instant::now();
        self.machine.pull();
        let ended = self.machine.wait(&started);
        row.slowest = row.slowest.max(pulled.elapsed());
        row.count(deed, self.system, mark.of, moved, (is_done, &ended));
        self.machine.forget();
        if std::env::var_os("NEAP_QEMU_TRACE").is_some() {
            self.run("dmesg -c | grep -v usb");
        }
        self.machine.plug(image, self.system);
        if deed.name == "install" && ended.code == Some(0) && !self.is_installed() {
            row.wrong_installs.push(format!("done, and wrong: {}", ended.text));
        }
        moved
    }

    /// Whether the device holds the new image, byte for byte.
    fn is_installed(&mut self) -> bool {
        let command = format!("head -c {IMAGE_LEN} /dev/vda | cmp - 4.img");
        self.run(&command).code == Some(0)
    }

    /// Whether what stands on the stick and on the device is whole, whatever was cut short.
    fn look(&mut self, deed: &Deed, before: &Receipts, row: &mut Row) {
        let device = self.receipts("radar-7.depot/receipts").expect("the device's own disk");
        let kept = device.len() >= usize::try_from(RECEIPTS.0).expect("few");
        if !kept {
            row.lost_receipts.push(format!("{}: the device has {}", deed.name, device.len()));
        }
        match self.receipts("/media/stick/neap/receipts") {
            Err(why) => row.damaged_depots.push(why),
            Ok(there) => {
                let lost = before.keys().filter(|path| !there.contains_key(*path));
                let lost = lost.map(|path| format!("{}: {path} is gone", deed.name));
                row.lost_receipts.extend(lost);
                let torn = there.iter().filter(|(path, digest)| device.get(*path) != Some(*digest));
                let torn = torn.map(|(path, _)| format!("{}: {path} is torn", deed.name));
                row.lost_receipts.extend(torn);
            }
        }
        if deed.name == "collect" {
            let home = self.receipts("shore/receipts").expect("the desk's own disk");
            let torn = home.iter().filter(|(path, digest)| device.get(*path) != Some(*digest));
            let torn = torn.map(|(path, _)| format!("{}: {path} is torn on shore", deed.name));
            row.lost_receipts.extend(torn);
        }
        // A device that never saw this stick takes a whole release from it: this one or the last.
        let taken = self.run(
            "rm -rf t u; neap stick import /media/stick --to t --state u --config radar-7.toml \
             --json",
        );
        if taken.code != Some(0) {
            row.damaged_depots.push(format!("{}: {}", deed.name, taken.text));
        }
        for depot in ["t", "radar-7.depot", "/media/stick/neap"] {
            let fsck = self.run(&format!("neap depot fsck {depot}"));
            if fsck.code != Some(0) {
                row.damaged_depots.push(format!("{}, in {depot}: {}", deed.name, fsck.text));
            }
        }
    }

    /// One deed, pulled twice, and then to its end: first at `part` of its bytes, then somewhere in
    /// what was left.
    fn turn(&mut self, deed: &Deed, of: Moved, part: f64, row: &mut Row) {
        let image = self.stick("used");
        fs::copy(self.stick(deed.stick), &image).expect("copied");
        self.reset();
        self.machine.plug(&image, self.system);
        let mut before =
            self.receipts("/media/stick/neap/receipts").expect("it was not pulled yet");
        let mut at = bytes_of(part, of.all());
        for _ in 0..PULLS {
            let moved = self.pull(deed, &image, Mark { at, of }, row);
            self.look(deed, &before, row);
            before = self.receipts("/media/stick/neap/receipts").unwrap_or(before);
            at = bytes_of(self.random() * 0.9, of.all().saturating_sub(moved.all()));
        }
        let last = self.run(deed.command);
        if std::env::var_os("NEAP_QEMU_TRACE").is_some() {
            self.run("dmesg -c | grep -v usb");
        }
        // A device where the last pull came after the end has the latest.
        let ended = last.code == Some(0) || (deed.name == "install" && last.code == Some(3));
        let shown = self.run("neap stick show /media/stick --json");
        if !ended || code(&shown.text).as_ref() != Some(&self.code) {
            row.stuck.push(format!("{} goes not on: {last:?} {shown:?}", deed.name));
        }
        self.look(deed, &before, row);
        let device = self.receipts("radar-7.depot/receipts").expect("the device's own disk");
        if deed.name == "install" && !self.is_installed() {
            row.wrong_installs.push(format!("it is another image: {last:?}"));
        }
        let (there, to) = match deed.name {
            "export" => (None, ""),
            "collect" => (self.receipts("shore/receipts").ok(), "on shore"),
            _ => (self.receipts("/media/stick/neap/receipts").ok(), "on the stick"),
        };
        if there.is_some_and(|there| there != device) {
            row.lost_receipts.push(format!("{}: not all are {to}", deed.name));
        }
        self.machine.eject();
    }

    /// How long a deed takes if nobody pulls the stick, and what it moves.
    fn unpulled(&mut self, deed: &Deed) -> (Duration, Moved) {
        let image = self.stick("used");
        fs::copy(self.stick(deed.stick), &image).expect("copied");
        self.reset();
        self.machine.plug(&image, self.system);
        let before = self.uncache();
        let took = self.run(deed.command).expect_code(0).took;
        let moved = self.machine.moved().since(before);
        self.machine.eject();
        (took, moved)
    }
}

impl Row {
    /// Counts a pull by where it came and how the deed ended.
    fn count(
        &mut self,
        deed: &Deed,
        system: &str,
        of: Moved,
        moved: Moved,
        (was_done, ended): (bool, &Ended),
    ) {
        let end = ended.code.map_or("hangs".into(), |code| code.to_string());
        let third = usize::try_from(moved.all() * 3 / of.all().max(1)).unwrap_or(2).min(2);
        let place = if was_done { 3 } else { third };
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let line = format!(
            "pulled at {:.2} of {:.2} MB read, {:.2} of {:.2} MB written, exit code {end}",
            mb(moved.read),
            mb(of.read),
            mb(moved.written),
            mb(of.written),
        );
        say(&format!("  {system} {}: {line}{}", deed.name, if was_done { ", after" } else { "" }));
        // Done before it was pulled; gone before it was found; interrupted; or read back otherwise.
        if !matches!(ended.code, Some(0 | 1 | 10 | 13)) {
            self.stuck.push(format!("{} {line}: {}", deed.name, ended.text));
        }
        self.pulls += 1;
        self.places[place] += 1;
        *self.ends.entry(end).or_default() += 1;
    }

    /// Pulls that cut the deed short.
    fn cut(&self) -> u32 {
        self.ends.get("10").copied().unwrap_or(0)
    }

    /// Why these pulls show too little; nothing if they do not.
    fn is_spread(&self, of: Moved) -> Result<(), String> {
        let (cut, Self { pulls, places, .. }) = (self.cut(), self);
        // Of fewer turns than thirds, some third has none.
        let can_have = of.all() >= SPREAD_LEN && *pulls >= 3 * PULLS;
        let has_thirds = !can_have || !places[..3].contains(&0);
        if f64::from(cut) < CUT_MIN.0 * f64::from(*pulls) || !has_thirds {
            return Err(format!("{cut} of {pulls} pulls cut it short, by thirds {places:?}"));
        }
        Ok(())
    }

    fn told(&self, system: &str, deed: &Deed, took: Duration, of: Moved) -> String {
        let ends = self.ends.iter().map(|(end, count)| format!("{end}: {count}"));
        let places = self.places.map(|count| count.to_string());
        format!(
            "| {system} | {} | {:.1} | {:.1} | {:.1} | {} | {} | {} | {:.1} | {} | {} | {} | {} |",
            deed.name,
            took.as_secs_f64(),
            of.read as f64 / 1e6,
            of.written as f64 / 1e6,
            self.pulls,
            places.join(", "),
            ends.collect::<Vec<_>>().join(", "),
            self.slowest.as_secs_f64(),
            self.lost_receipts.len(),
            self.damaged_depots.len(),
            self.wrong_installs.len(),
            self.stuck.len()
        )
    }
}

/// A part of some bytes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a u64")]
fn bytes_of(part: f64, bytes: u64) -> u64 {
    (part * bytes as f64) as u64
}

/// The code of a stick, in what a command said for programs.
fn code(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with('{'))?;
    let said: serde_json::Value = serde_json::from_str(line).ok()?;
    said["code"].as_str().map(str::to_owned)
}

/// How often each deed is begun on each file system; a stick is pulled twice each time.
fn turns() -> u32 {
    std::env::var("NEAP_UNPLUGS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn say(line: &str) {
    let line = format!("{line}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
}

#[test]
#[ignore = "takes minutes, and a kernel from the network: run it by name"]
fn stick_that_is_pulled_from_a_real_bus_loses_nothing_and_the_next_try_goes_on() {
    let Some(mut bed) = Bed::new() else { return };
    let mut faults = Vec::new();
    let (mut pulls, mut cut) = (0, 0);
    let mut table = vec![
        "| file system | deed | s | MB read | MB written | pulls | in each third, after | \
         exit codes | slowest end, s | lost receipts | damaged depots | wrong installs | stuck |"
            .to_owned(),
        "|--|--|--:|--:|--:|--:|--|--|--:|--:|--:|--:|--:|".to_owned(),
    ];
    for (system, make) in SYSTEMS {
        bed.make_sticks(system, make);
        for deed in &DEEDS {
            let (took, of) = bed.unpulled(deed);
            let mut row = Row::default();
            for turn in 0..turns() {
                let part = (f64::from(turn) + bed.random()) / f64::from(turns());
                bed.turn(deed, of, part, &mut row);
            }
            pulls += row.pulls;
            cut += row.cut();
            table.push(row.told(system, deed, took, of));
            let spread = row.is_spread(of).err().map(|why| format!("{}: {why}", deed.name));
            let rows = [row.lost_receipts, row.damaged_depots, row.wrong_installs, row.stuck];
            let rows = rows.into_iter().flatten().chain(spread);
            faults.extend(rows.map(|fault| format!("{system}: {fault}")));
        }
    }
    say(&table.join("\n"));
    say(&format!("{pulls} pulls, {cut} cut short what was being done"));
    assert!(f64::from(cut) >= CUT_MIN.1 * f64::from(pulls), "too few of the pulls show anything");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
