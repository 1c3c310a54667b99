//! One child process: its wall time, its peak resident memory, its end.
//!
//! Peak memory is what the kernel counted, read by GNU `time` (`wait4`), and covers children of the
//! child (the largest of them). It runs between us and the tool so that our own memory is not
//! counted: a forked child starts with its parent's pages. coreutils `timeout` sits inside it and
//! holds the time limit; both stay in our process group, so an interrupt reaches all of them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A program and its arguments.
pub type Argv = Vec<OsString>;

/// What one child, or several one after the other, cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Wall seconds; of several children the sum.
    pub wall_s: f64,
    /// Peak resident bytes; of several children the largest. `None` where GNU `time` is missing.
    pub peak_rss: Option<u64>,
}

impl Cost {
    /// The cost of both, one after the other.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self { wall_s: self.wall_s + next.wall_s, peak_rss: self.peak_rss.max(next.peak_rss) }
    }
}

/// Why a child gave no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChildError {
    /// The program could not be started.
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        error: io::Error,
    },
    /// It ended badly, or was killed.
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last line it wrote to standard error.
        last_line: String,
    },
    /// It ran past the limit and was killed.
    TimedOut {
        /// Its name.
        program: String,
        /// The limit, in seconds.
        limit_s: u64,
    },
    /// Its output is not there or not readable.
    Output(io::Error),
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { program, error } => write!(f, "{program} does not start: {error}"),
            Self::Failed { program, status, last_line } => {
                write!(f, "{program} ended with {status}: {last_line}")
            }
            Self::TimedOut { program, limit_s } => {
                write!(f, "{program} was stopped after the limit of {limit_s} s")
            }
            Self::Output(error) => write!(f, "its output cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ChildError {}

impl From<io::Error> for ChildError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Where children run, and how long they may.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Working folder; also takes `stdout`, `stderr` and the memory reading.
    pub folder: PathBuf,
    /// Longest time of one child.
    pub limit: Duration,
    /// GNU `time`, where it is installed.
    pub gnu_time: Option<PathBuf>,
}

impl Runner {
    /// Runs one child to its end and returns what it cost and what it printed.
    ///
    /// # Errors
    /// It does not start, fails, runs past the limit, or its output is not UTF-8.
    pub fn run(&self, argv: &[OsString]) -> Result<(Cost, String), ChildError> {
        let (stdout, stderr) = (self.folder.join("stdout"), self.folder.join("stderr"));
        let reading = self.folder.join("peak-rss");
        let limit_s = self.limit.as_secs().max(1);
        let wrapped = wrap(argv, self.gnu_time.as_deref(), &reading, limit_s);
        let program = argv.first().map(|program| name_of(program)).unwrap_or_default();

        let mut command = Command::new(&wrapped[0]);
        command.args(&wrapped[1..]).current_dir(&self.folder).env("TMPDIR", &self.folder);
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let start = Instant::now();
        let status = command
            .status()
            .map_err(|error| ChildError::Start { program: program.clone(), error })?;
        let wall_s = start.elapsed().as_secs_f64();

        if !status.success() {
            if wall_s >= self.limit.as_secs_f64() {
                return Err(ChildError::TimedOut { program, limit_s });
            }
            let text = String::from_utf8_lossy(&fs::read(&stderr)?).into_owned();
            return Err(ChildError::Failed { program, status, last_line: last_line(&text) });
        }
        let peak_rss = match self.gnu_time {
            Some(_) => parse_peak_rss(&fs::read_to_string(&reading)?),
            None => None,
        };
        Ok((Cost { wall_s, peak_rss }, fs::read_to_string(&stdout)?))
    }

    /// Runs several children one after the other; the first failure ends it. Returns the cost of
    /// all and what the last one printed.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run_all(&self, steps: &[Argv]) -> Result<(Cost, String), ChildError> {
        let mut all = (Cost::default(), String::new());
        for argv in steps {
            let (cost, stdout) = self.run(argv)?;
            all = (all.0.then(cost), stdout);
        }
        Ok(all)
    }
}

/// A program looked up in `folders` and then in `PATH`.
#[must_use]
pub fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The command line with the memory reading and the time limit around it.
fn wrap(argv: &[OsString], gnu_time: Option<&Path>, reading: &Path, limit_s: u64) -> Argv {
    let mut wrapped = Argv::new();
    if let Some(time) = gnu_time {
        wrapped.extend([time.into(), "-q".into(), "-f".into(), "%M".into()]);
        wrapped.extend(["-o".into(), reading.into()]);
    }
    let limit = format!("{limit_s}");
    wrapped.extend(["timeout", "--foreground", "-s", "KILL", &limit].map(OsString::from));
    wrapped.extend_from_slice(argv);
    wrapped
}

/// The reading of GNU `time`, KiB in its last line, as bytes.
fn parse_peak_rss(text: &str) -> Option<u64> {
    text.lines().last()?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Longest error text kept in a table row, in characters.
const LAST_LINE_LEN_MAX: usize = 200;

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    line.trim().chars().take(LAST_LINE_LEN_MAX).collect()
}

fn name_of(program: &OsStr) -> String {
    Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(name: &str, limit_s: u64) -> Runner {
        let folder = std::env::temp_dir().join(format!("neap-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be made");
        Runner { folder, limit: Duration::from_secs(limit_s), gnu_time: find("time", &[]) }
    }

    fn shell(script: &str) -> Argv {
        vec!["sh".into(), "-c".into(), script.into()]
    }

    #[test]
    fn the_reading_is_the_last_line_in_kib() {
        assert_eq!(parse_peak_rss("Command terminated by signal 9\n1492\n"), Some(1492 * 1024));
        assert_eq!(parse_peak_rss("Command exited with non-zero status\n"), None);
        assert_eq!(parse_peak_rss(""), None);
    }

    #[test]
    fn a_failing_child_is_named_with_its_last_words() {
        let runner = runner("fails", 60);
        let error = runner.run(&shell("echo first >&2; echo 'no space' >&2; exit 3"));
        let text = error.expect_err("it ends with 3").to_string();
        assert!(text.contains("sh ended with") && text.contains("no space"), "{text}");
        assert!(!text.contains("first"), "{text}");
    }

    #[test]
    fn a_child_past_the_limit_is_stopped_and_said_to_be() {
        let runner = runner("limit", 1);
        let error = runner.run(&["sleep".into(), "600".into()]).expect_err("it sleeps too long");
        assert!(matches!(error, ChildError::TimedOut { limit_s: 1, .. }), "{error}");
    }

    #[test]
    fn memory_of_a_grandchild_is_counted() {
        let runner = runner("memory", 60);
        if runner.gnu_time.is_none() {
            return;
        }
        // `tail` keeps the whole of a line that does not end: 48 MiB of zeros.
        let script = "sh -c 'head -c 50331648 /dev/zero | tail -n 1 | wc -c'; true";
        let (cost, printed) = runner.run(&shell(script)).expect("it ends well");
        assert_eq!(printed.trim(), "50331648");
        assert!(cost.peak_rss.is_some_and(|peak| peak > 40 << 20), "{cost:?}");
    }

    #[test]
    fn one_after_the_other_adds_time_and_keeps_the_larger_memory() {
        let a = Cost { wall_s: 1.0, peak_rss: Some(5) };
        let b = Cost { wall_s: 2.0, peak_rss: Some(3) };
        assert_eq!(a.then(b), Cost { wall_s: 3.0, peak_rss: Some(5) });
    }
}
