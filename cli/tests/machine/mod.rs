//! A machine with a USB bus: QEMU without KVM, Debian's kernel, and one stick that can be plugged
//! in and pulled at any moment. It owns the wires; what is done with them is the test's.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The machine, until it is dropped.
pub(crate) struct Machine {
    qemu: Child,
    monitor: BufReader<UnixStream>,
    console: UnixStream,
    lines: Receiver<String>,
    /// Lines that came, and that nobody waited for yet.
    came: VecDeque<String>,
    /// Commands that were sent.
    sent: u32,
    /// Sticks that were plugged in; the last one is there if it was not pulled.
    plugged: u32,
}

/// A command that was started.
pub(crate) struct Started {
    number: u32,
    at: Instant,
}

/// Bytes that crossed the bus between the machine and the stick.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

impl Moved {
    pub(crate) fn all(self) -> u64 {
        self.read + self.written
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { read: self.read - before.read, written: self.written - before.written }
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none if it did not end in time.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) text: String,
    pub(crate) took: Duration,
}

/// Longest start: an emulated processor takes 6 s on an idle core.
const BOOT: Duration = Duration::from_secs(180);

/// Longest command: one that is not done then hangs.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

impl Machine {
    /// Makes what it boots from: the reason where this cannot be had.
    fn bed(bed: &Path, fleet: &Path) -> Result<(), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/bed.sh");
        let ran = Command::new(script)
            .args([bed, Path::new(env!("CARGO_BIN_EXE_neap")), fleet])
            .output()
            .map_err(|error| error.to_string())?;
        let out = String::from_utf8_lossy(&ran.stdout).into_owned();
        let code = ran.status.code();
        if code == Some(77) {
            return Err(out.lines().last().unwrap_or_default().to_owned());
        }
        assert_eq!(code, Some(0), "bed.sh: {out}{}", String::from_utf8_lossy(&ran.stderr));
        Ok(())
    }

    /// Boots a machine that works in a folder and has a disk of so many bytes there. Where this
    /// machine cannot have one, says why.
    pub(crate) fn at(folder: &Path, disk_len: u64) -> Option<Self> {
        let (place, disk) = (place(), folder.join("disk"));
        fs::create_dir_all(&place).expect("a place for the kernel");
        let folder = folder.canonicalize().expect("it is there");
        if let Err(why) = Self::bed(&place, &folder) {
            println!("SKIPPED: {why}");
            return None;
        }
        File::create(&disk).and_then(|disk| disk.set_len(disk_len)).expect("a disk");
        Some(Self::boot(&place, &folder, &disk))
    }

    /// Starts it, with this image as the disk `/dev/vda`.
    fn boot(bed: &Path, work: &Path, disk: &Path) -> Self {
        let socket = |name: &str| work.join(name);
        let (monitor, console) = (socket("monitor"), socket("console"));
        let text = |path: &Path| path.display().to_string();
        let wire = |path: &Path| format!("unix:{},server=on,wait=off", text(path));
        let log = File::create(work.join("machine.log")).expect("a log");
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-M", "pc", "-accel", "tcg,thread=single"])
            .args(["-m", "512", "-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-kernel", &text(&bed.join("vmlinuz"))])
            .args(["-initrd", &text(&bed.join("initramfs"))])
            .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr"])
            .args(["-serial", "stdio", "-qmp", &wire(&monitor)])
            .args([
                "-chardev",
                &format!("socket,id=console,path={},server=on,wait=off", text(&console)),
            ])
            .args(["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=console"])
            .args(["-device", "qemu-xhci,id=usb"])
            .args(["-drive", &format!("file={},if=virtio,format=raw", text(disk))])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the same log"))
            .stderr(log)
            .spawn()
            .expect("qemu starts");
        let connected = |path: &Path| {
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                match UnixStream::connect(path) {
                    Ok(stream) => return stream,
                    Err(error) => assert!(Instant::now() < until, "{path:?}: {error}"),
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        let console = connected(&console);
        let lines = lines(&console);
        let monitor = BufReader::new(connected(&monitor));
        let mut machine =
            Self { qemu, monitor, console, lines, came: VecDeque::new(), sent: 0, plugged: 0 };
        machine.answer().expect("a greeting");
        machine.ask("qmp_capabilities", json!({})).expect("granted");
        let up = machine.until(">up", BOOT, &mut String::new());
        assert!(up.is_some(), "the machine did not start: {}", machine.log(work));
        machine
    }

    /// What its kernel said, for the end of a test that failed.
    pub(crate) fn log(&self, work: &Path) -> String {
        String::from_utf8_lossy(&fs::read(work.join("machine.log")).unwrap_or_default())
            .into_owned()
    }

    fn answer(&mut self) -> Result<Value, String> {
        loop {
            let mut line = String::new();
            self.monitor.read_line(&mut line).map_err(|error| error.to_string())?;
            let value: Value = serde_json::from_str(&line).map_err(|e| format!("{e}: {line}"))?;
            // Events come at any time.
            if value.get("event").is_none() {
                return match value.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(value),
                };
            }
        }
    }

    fn ask(&mut self, what: &str, arguments: Value) -> Result<Value, String> {
        let line = json!({ "execute": what, "arguments": arguments }).to_string();
        self.monitor.get_mut().write_all(line.as_bytes()).map_err(|error| error.to_string())?;
        self.answer()
    }

    /// Plugs a stick in, and mounts it.
    pub(crate) fn plug(&mut self, image: &Path, system: &str) {
        self.plugged += 1;
        let name = format!("stick{}", self.plugged);
        let file = json!({ "driver": "file", "filename": image });
        // Not through QEMU's throttle, which does not live through a pull.
        let node = json!({ "driver": "raw", "node-name": name, "file": file });
        self.ask("blockdev-add", node).expect("an image");
        let device = json!({
            "driver": "usb-storage", "bus": "usb.0", "id": name, "drive": name, "removable": true,
        });
        self.ask("device_add", device).expect("plugged");
        self.run(&format!("mount-stick {system}")).expect_code(0);
    }

    /// What was read from the stick, and written to it, since it was plugged in.
    pub(crate) fn moved(&mut self) -> Moved {
        let name = format!("stick{}", self.plugged);
        let told = self.ask("query-blockstats", json!({})).expect("counted");
        let drives = told["return"].as_array().expect("a list of drives");
        let stick = drives.iter().find(|drive| drive["node-name"] == name.as_str());
        let stats = &stick.expect("the stick is plugged in")["stats"];
        let bytes = |of: &str| stats[of].as_u64().expect("a number");
        Moved { read: bytes("rd_bytes"), written: bytes("wr_bytes") }
    }

    /// Pulls the stick, as it is, whoever uses it.
    pub(crate) fn pull(&mut self) {
        let name = format!("stick{}", self.plugged);
        self.ask("device_del", json!({ "id": name })).expect("pulled");
        // The image is let go of a moment later.
        let until = Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.ask("blockdev-del", json!({ "node-name": name })) {
            assert!(Instant::now() < until, "{error}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets go of a stick that was pulled.
    pub(crate) fn forget(&mut self) {
        self.run("forget-stick").expect_code(0);
    }

    /// Unmounts the stick and takes it out.
    pub(crate) fn eject(&mut self) {
        self.run("umount /media/stick").expect_code(0);
        self.pull();
        self.run("while ls /dev/sd?; do usleep 50000; done").expect_code(0);
    }

    pub(crate) fn start(&mut self, command: &str) -> Started {
        self.sent += 1;
        if std::env::var_os("NEAP_QEMU_TRACE").is_some() {
            eprintln!("  {} {command}", self.sent);
        }
        let line = format!("{} {command}\n", self.sent);
        self.console.write_all(line.as_bytes()).expect("the console takes a line");
        Started { number: self.sent, at: Instant::now() }
    }

    /// Whether a command has ended.
    pub(crate) fn is_done(&mut self, started: &Started) -> bool {
        self.came.extend(self.lines.try_iter());
        let end = format!("<{} ", started.number);
        self.came.iter().any(|line| line.starts_with(&end))
    }

    pub(crate) fn wait(&mut self, started: &Started) -> Ended {
        let ended = self.ended(started);
        if std::env::var_os("NEAP_QEMU_TRACE").is_some() {
            eprintln!("  {} {:?} {:.1} s", started.number, ended.code, ended.took.as_secs_f64());
        }
        ended
    }

    fn ended(&mut self, started: &Started) -> Ended {
        let mut text = String::new();
        let end = format!("<{} ", started.number);
        let code = match self.until(&format!(">{}", started.number), LONGEST, &mut String::new()) {
            Some(_) => self.until(&end, LONGEST, &mut text),
            None => None,
        };
        let code = code.and_then(|line| line[end.len()..].trim().parse().ok());
        if code.is_none() {
            text += &self.hanging();
        }
        Ended { code, text, took: started.at.elapsed() }
    }

    /// Where in the kernel every thread of neap is.
    fn hanging(&mut self) -> String {
        let started = self.start(
            "for t in $(pidof neap); do for k in /proc/$t/task/*; do grep -e State $k/status; \
             cat $k/syscall $k/stack; done; done; dmesg | tail -n 20",
        );
        let (mut text, end) = (String::new(), format!("<{} ", started.number));
        let told = self.until(&end, Duration::from_secs(20), &mut text).is_some();
        if told { text } else { format!("{text}\nthe machine says no more") }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&mut self, command: &str) -> Ended {
        let started = self.start(command);
        self.wait(&started)
    }

    /// The line that begins so, with those before it put into `text`; none if none comes in time.
    fn until(&mut self, begins: &str, longest: Duration, text: &mut String) -> Option<String> {
        let until = Instant::now() + longest;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let came = self.came.pop_front();
            let line = came.or_else(|| self.lines.recv_timeout(left).ok())?;
            if line.starts_with(begins) {
                return Some(line);
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
}

/// The lines that come from a console, for as long as there is one.
fn lines(console: &UnixStream) -> Receiver<String> {
    let (send, lines) = channel();
    let reader = BufReader::new(console.try_clone().expect("the same console"));
    std::thread::spawn(move || {
        for line in reader.split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if std::env::var_os("NEAP_QEMU_TRACE").is_some() {
                eprintln!("    {line:?}");
            }
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Ended {
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.text);
        self
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What it was for is done or has failed; its end changes neither.
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}

/// Where the kernel is kept from one run to the next.
fn place() -> PathBuf {
    let below = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let target = below("CARGO_TARGET_DIR");
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    below("NEAP_QEMU_BED").unwrap_or_else(|| target.join("stick-qemu"))
}
