//! What a device without a screen shows of a stick: an LED, and one line on a console. Neither is
//! believed to be there, and none that fails is a reason to stop.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::exit::Exit;

/// How often the LED blinks for an end that is none of those that were asked for; steady light is
/// the end that was.
///
/// | blinks | means | exit codes |
/// |-------:|-------|------------|
/// | 1 | not a stick of ours, or not for this site, or a setting is wrong | 1, 2, 11 |
/// | 2 | pulled too early, or it cannot be read | 10, 14 |
/// | 3 | older than what the device knows, or expired | 7, 8 |
/// | 4 | a signature is refused | 6 |
/// | 5 | nobody approved | 9 |
/// | 6 | no room | 12 |
/// | 7 | wrong bytes on the stick or on the device | 13 |
/// | 8 | the device runs another image than what the patch needs | 5 |
pub(super) fn blinks(exit: Exit) -> u8 {
    match exit {
        Exit::Ok | Exit::NothingToDo => 0,
        Exit::Interrupted | Exit::DeviceIo => 2,
        Exit::Rollback | Exit::Expired => 3,
        Exit::Refused => 4,
        Exit::ApprovalMissing => 5,
        Exit::NoSpace => 6,
        Exit::VerificationFailed => 7,
        Exit::WrongSource => 8,
        Exit::Error | Exit::Usage | Exit::OverBudget => 1,
    }
}

/// How long the LED is lit, and dark, in one blink.
const BLINK: Duration = Duration::from_millis(300);

/// How long it is dark between one showing of a code and the next.
const PAUSE: Duration = Duration::from_secs(2);

/// Milliseconds that it is lit and dark while something is being done: quick, unlike a code.
const WORKING_MS: &str = "80";

/// An LED as Linux has it: a folder with files, `Documentation/leds/leds-class.rst`.
pub(super) struct Led<'a> {
    folder: Option<&'a Path>,
    wait: fn(Duration),
}

impl<'a> Led<'a> {
    /// The LED of a folder, or none.
    pub(super) fn new(folder: Option<&'a Path>) -> Self {
        Self { folder, wait: thread::sleep }
    }

    /// Something is being done: it flickers, as the kernel sees to.
    pub(super) fn working(&self) -> io::Result<()> {
        if self.write("trigger", "timer").is_err() {
            return self.light(true);
        }
        self.write("delay_on", WORKING_MS)?;
        self.write("delay_off", WORKING_MS)
    }

    /// All was done: it stays lit.
    pub(super) fn done(&self) -> io::Result<()> {
        self.write("trigger", "none")?;
        self.light(true)
    }

    /// Refused: it blinks so often, pauses, and does so again; then it is dark.
    pub(super) fn refused(&self, blinks: u8, repeat: u16) -> io::Result<()> {
        if self.folder.is_none() {
            return Ok(());
        }
        self.write("trigger", "none")?;
        self.light(false)?;
        for _ in 0..repeat {
            (self.wait)(PAUSE);
            for _ in 0..blinks {
                for is_lit in [true, false] {
                    self.light(is_lit)?;
                    (self.wait)(BLINK);
                }
            }
        }
        Ok(())
    }

    fn light(&self, is_lit: bool) -> io::Result<()> {
        let Some(folder) = self.folder else { return Ok(()) };
        let max = fs::read_to_string(folder.join("max_brightness")).unwrap_or_default();
        let lit = max.trim().parse::<u32>().unwrap_or(1).max(1).to_string();
        self.write("brightness", if is_lit { &lit } else { "0" })
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let Some(folder) = self.folder else { return Ok(()) };
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(folder.join(file))?
            .write_all(text.as_bytes())
    }
}

/// One line on a console. A terminal that nobody holds does not keep us waiting.
pub(super) fn say(console: Option<&Path>, line: &str) -> io::Result<()> {
    let Some(console) = console else { return Ok(()) };
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened: io::Result<File> =
        OpenOptions::new().append(true).custom_flags(flags).open(console);
    opened?.write_all(format!("{line}\r\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;

    const GUIDE: &str = include_str!("../../../docs/field-guide.md");

    const ALL: [Exit; 14] = [
        Exit::Ok,
        Exit::Error,
        Exit::Usage,
        Exit::NothingToDo,
        Exit::WrongSource,
        Exit::Refused,
        Exit::Rollback,
        Exit::Expired,
        Exit::ApprovalMissing,
        Exit::Interrupted,
        Exit::OverBudget,
        Exit::NoSpace,
        Exit::VerificationFailed,
        Exit::DeviceIo,
    ];

    fn led() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (file, text) in [
            ("trigger", "[none] timer"),
            ("brightness", "0"),
            ("max_brightness", "255\n"),
            ("delay_on", "500"),
            ("delay_off", "500"),
        ] {
            fs::write(folder.path().join(file), text).expect("written");
        }
        folder
    }

    /// The codes of the guide: exit codes by blinks.
    fn of_guide() -> BTreeMap<u8, u8> {
        let rows = GUIDE.lines().skip_while(|line| !line.starts_with("| blinks |")).skip(2);
        let mut codes = BTreeMap::new();
        for row in rows.take_while(|line| line.starts_with('|')) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let blinks: u8 = cells[1].parse().expect(row);
            for exit in cells[3].split(',') {
                codes.insert(exit.trim().parse().expect(row), blinks);
            }
        }
        codes
    }

    #[test]
    fn guide_has_the_blinks_of_every_exit_code() {
        let guide = of_guide();
        for exit in ALL {
            let told = guide.get(&exit.code()).copied().unwrap_or(0);
            assert_eq!(told, blinks(exit), "exit code {}", exit.code());
        }
        assert!(guide.len() >= ALL.len() - 2, "{guide:?}");
    }

    thread_local! {
        static SEEN: RefCell<(PathBuf, Vec<String>)> = RefCell::default();
    }

    /// Looks at the LED instead of waiting.
    fn look(_: Duration) {
        SEEN.with_borrow_mut(|(folder, seen)| {
            let lit = fs::read_to_string(folder.join("brightness")).expect("read");
            seen.push(lit);
        });
    }

    #[test]
    fn refusal_blinks_its_code_and_pauses() {
        let folder = led();
        SEEN.with_borrow_mut(|seen| *seen = (folder.path().to_owned(), Vec::new()));
        let led = Led { folder: Some(folder.path()), wait: look };
        led.refused(3, 2).expect("written");
        let seen = SEEN.with_borrow(|(_, seen)| seen.join(" "));
        assert_eq!(seen, "0 255 0 255 0 255 0 0 255 0 255 0 255 0");
        let trigger = fs::read_to_string(folder.path().join("trigger")).expect("read");
        assert_eq!(trigger, "none");
    }

    #[test]
    fn working_flickers_and_done_is_steady() {
        let folder = led();
        let led = Led::new(Some(folder.path()));
        let read = |file: &str| fs::read_to_string(folder.path().join(file)).expect("read");
        led.working().expect("written");
        assert_eq!((&*read("trigger"), &*read("delay_on")), ("timer", WORKING_MS));
        led.done().expect("written");
        assert_eq!((&*read("trigger"), &*read("brightness")), ("none", "255"));
        fs::remove_file(folder.path().join("brightness")).expect("removed");
        assert!(led.done().is_err(), "nothing is made where there is no LED");
        assert!(!folder.path().join("brightness").exists());
        assert!(Led::new(None).refused(1, u16::MAX).is_ok(), "without an LED nothing waits");
    }
}
