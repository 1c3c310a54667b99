//! How a verb fails: the object and the fact, the state left behind, the next step.

use std::io;
use std::path::Path;

use neap_engine::format::SourceRange;
use neap_engine::io::error::{DriveError, Part};
use neap_engine::unpack::Codec;
use neap_engine::unpack::codec::Family;
use serde_json::{Value, json};

use crate::exit::Exit;

/// Ranges listed on stderr; JSON has all.
const RANGES_SHOWN: usize = 16;

/// State of all that verbs which only read leave behind.
pub(crate) const NOTHING_WRITTEN: &str = "nothing was written";

/// One failed verb.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code it ends with.
    pub(crate) exit: Exit,
    /// The object and the fact.
    pub(crate) error: String,
    /// What was left behind.
    pub(crate) state: String,
    /// What to do.
    pub(crate) next: String,
    /// Ranges of an image that are not as they must be.
    pub(crate) differing: Vec<SourceRange>,
    /// What else was found, a line each.
    pub(crate) found: Box<[String]>,
}

impl Failure {
    /// A failure that left everything as it was.
    pub(crate) fn new(exit: Exit, error: String, next: impl Into<String>) -> Self {
        let (state, next) = (NOTHING_WRITTEN.into(), next.into());
        let (differing, found) = (Vec::new(), Box::default());
        Self { exit, error, state, next, differing, found }
    }

    /// Something could not be opened.
    pub(crate) fn open(what: &str, path: &Path, error: &io::Error) -> Self {
        let shown = path.display();
        let (fact, next) = match error.kind() {
            io::ErrorKind::NotFound => ("no such file or device".into(), "check the path".into()),
            io::ErrorKind::PermissionDenied => {
                ("permission denied".into(), format!("run as a user who may open {shown}"))
            }
            io::ErrorKind::ResourceBusy => (
                "mounted, or in use by another program".into(),
                format!("find out by whom (`findmnt {shown}`, `fuser -v {shown}`), unmount it"),
            ),
            io::ErrorKind::InvalidInput => (
                "neither a regular file nor a block device".into(),
                format!("name the file or device that the {what} is"),
            ),
            _ => (error.to_string(), format!("check {shown}")),
        };
        Self::new(io_exit(error), format!("{shown}: cannot open the {what}: {fact}"), next)
    }

    /// The three lines of an error, with the ranges that differ after the first.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        for range in self.differing.iter().take(RANGES_SHOWN) {
            let SourceRange { offset, len } = range;
            text += &format!("       differs: {len} bytes at {offset}\n");
        }
        if let Some(more @ 1..) = self.differing.len().checked_sub(RANGES_SHOWN) {
            text += &format!("       and {more} ranges more; --json lists all\n");
        }
        for line in &self.found {
            text += &format!("       {line}\n");
        }
        text += &format!("state: {}\nnext:  {}\n", self.state, self.next);
        text
    }

    /// The same as an object.
    pub(crate) fn json(&self) -> Value {
        let ranges = self.differing.iter();
        let ranges: Vec<_> = ranges.map(|r| json!({"offset": r.offset, "len": r.len})).collect();
        json!({
            "schema": "neap.error.v1",
            "exit": self.exit.code(),
            "error": self.error,
            "state": self.state,
            "next": self.next,
            "differing": ranges,
            "found": self.found,
        })
    }
}

/// The paths that an error can be about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Objects<'a> {
    pub(crate) patch: &'a Path,
    pub(crate) source: &'a Path,
    pub(crate) target: &'a Path,
    pub(crate) journal: &'a Path,
}

/// What to do where this program cannot pack what a patch has of a codec.
fn without_encoder(codec: Codec) -> &'static str {
    match codec.family() {
        Some(Family::Zstd) => {
            "build neap without ZSTD_SYS_USE_PKG_CONFIG, or make the patch with --no-unpack=zstd"
        }
        _ => "make the patch with --no-unpack, or the image with -Xhc or -zlz4hc",
    }
}

/// What stopped the engine, in the words of the command: the state is still to be filled in.
pub(crate) fn of_drive(error: DriveError, objects: Objects<'_>) -> Failure {
    let fact = error.to_string();
    let Objects { patch, source, target, journal } = objects;
    let patch_name = if patch == Path::new("-") { "standard input".into() } else { shown(patch) };
    let again = "run the same command again: it goes on where this run stopped";
    let inspect = match patch_name.as_str() {
        "standard input" => "find the patch that starts from this image".into(),
        patch => format!("neap inspect {patch}   (shows which image it starts from)"),
    };
    let on = |path: &Path| format!("{}: {fact}", path.display());
    match error {
        DriveError::PatchEnded(_) => {
            Failure::new(Exit::Interrupted, format!("{patch_name}: {fact}"), again)
        }
        DriveError::SourceTooSmall { .. } => Failure::new(Exit::WrongSource, on(source), inspect),
        DriveError::WrongSource { differing, .. } => {
            Failure { differing, ..Failure::new(Exit::WrongSource, on(source), inspect) }
        }
        DriveError::TargetTooSmall { .. } => {
            Failure::new(Exit::NoSpace, on(target), "name a target that is large enough")
        }
        DriveError::NotPackable { codec, .. } => {
            Failure::new(Exit::Error, format!("{patch_name}: {fact}"), without_encoder(codec))
        }
        DriveError::MemoryTooLarge { .. } => Failure::new(
            Exit::Error,
            format!("{patch_name}: {fact}"),
            "allow more with --unpack-memory, or make the patch with less, or with --no-unpack",
        ),
        DriveError::ReadBackDiffers { differing } => Failure {
            differing,
            ..Failure::new(
                Exit::VerificationFailed,
                on(target),
                "do not boot from it; run the same command again, and replace the device if it \
                 fails again",
            )
        },
        DriveError::Io { part, ref error, .. } => {
            let object = match part {
                Part::Patch => &patch_name,
                Part::Source => &shown(source),
                Part::Target => &shown(target),
                Part::Journal => &shown(journal),
            };
            let exit = io_exit(error);
            let next = match exit {
                Exit::NoSpace => format!("make room, then {again}"),
                Exit::DeviceIo => "look at the kernel's messages (`dmesg`) for the device".into(),
                _ => again.into(),
            };
            Failure::new(exit, format!("{object}: {fact}"), next)
        }
        DriveError::Apply(neap_engine::error::ApplyError::WindowDiffers { .. }) => Failure::new(
            Exit::Error,
            format!(
                "{patch_name}: {fact}: the source changed after it was checked or was not \
                 checked, or the patch was made to deceive; this window was not written"
            ),
            format!("neap verify {} --patch {} --as source", shown(source), shown(patch)),
        ),
        _ => Failure::new(
            Exit::Error,
            format!("{patch_name}: {fact}"),
            "fetch the patch again, or get a neap that knows it",
        ),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The code for what the system says about a file or device.
pub(crate) fn io_exit(error: &io::Error) -> Exit {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge | Kind::WriteZero => {
            Exit::NoSpace
        }
        Kind::NotFound
        | Kind::AlreadyExists
        | Kind::PermissionDenied
        | Kind::ReadOnlyFilesystem
        | Kind::ResourceBusy
        | Kind::InvalidInput
        | Kind::IsADirectory
        | Kind::NotADirectory => Exit::Error,
        _ => Exit::DeviceIo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_and_failing_devices_have_their_own_codes() {
        let exit = |errno| io_exit(&io::Error::from_raw_os_error(errno));
        // EIO, ENOSPC, EDQUOT, EFBIG, EACCES, EROFS
        let codes = [5, 28, 122, 27, 13, 30].map(|errno| exit(errno).code());
        assert_eq!(codes, [14, 12, 12, 12, 1, 1]);
    }

    #[test]
    fn only_the_first_ranges_are_shown_and_all_are_in_the_object() {
        let differing = (0..20).map(|i| SourceRange { offset: i * 8192, len: 4096 }).collect();
        let failure =
            Failure { differing, ..Failure::new(Exit::WrongSource, "a: b".into(), "do it") };
        assert!(failure.text().contains("4096 bytes at 122880"));
        assert!(!failure.text().contains("131072"));
        assert!(failure.text().contains("4 ranges more"));
        assert_eq!(failure.json()["differing"].as_array().map(Vec::len), Some(20));
    }
}
