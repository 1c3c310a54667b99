//! A process in a namespace: its output in files, its peak memory, its end.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::namespace::BedError;

/// A process that runs in a namespace, and is killed when this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    started: Instant,
    ended: Option<Ended>,
    peak_rss: u64,
    log: PathBuf,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Seconds from its start to when that was seen.
    pub wall_s: f64,
}

impl Process {
    /// Starts a program in `namespace`, in a process group of its own. Output is appended to
    /// `name.out` and `name.err` in `folder`.
    ///
    /// # Errors
    /// If it cannot be started, or the files cannot be made.
    pub fn start<S: AsRef<std::ffi::OsStr>>(
        namespace: &str,
        name: &str,
        folder: &Path,
        argv: &[S],
    ) -> Result<Self, BedError> {
        let open = |end: &str| {
            File::options().create(true).append(true).open(folder.join(format!("{name}.{end}")))
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).args(argv).process_group(0);
        command.stdin(Stdio::null()).stdout(open("out")?).stderr(open("err")?);
        let failed = |error| BedError::Failed(format!("{name} does not start: {error}"));
        Ok(Self {
            name: name.into(),
            child: command.spawn().map_err(failed)?,
            started: Instant::now(),
            ended: None,
            peak_rss: 0,
            log: folder.join(format!("{name}.err")),
        })
    }

    /// Looks at the process: how it ended, if it did. Asked often, it also keeps the peak memory
    /// up to date, which the kernel forgets when a process ends.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn look(&mut self) -> Result<Option<Ended>, BedError> {
        if self.ended.is_none() {
            // The kernel's own maximum since the program was loaded, so the last reading counts.
            self.peak_rss = peak_rss(self.child.id()).unwrap_or(self.peak_rss);
            let wall_s = self.started.elapsed().as_secs_f64();
            self.ended = self.child.try_wait()?.map(|status| Ended { status, wall_s });
        }
        Ok(self.ended)
    }

    /// Waits for the end, at most `limit`; then the process is left running.
    ///
    /// # Errors
    /// If it runs past the limit.
    pub fn wait(&mut self, limit: Duration) -> Result<Ended, BedError> {
        let until = Instant::now() + limit;
        loop {
            if let Some(ended) = self.look()? {
                return Ok(ended);
            }
            if Instant::now() >= until {
                return Err(BedError::TimedOut(self.name.clone()));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// SIGKILL to the process and its children; waits until it is gone.
    ///
    /// # Errors
    /// If it was gone already.
    pub fn kill(&mut self) -> Result<Ended, BedError> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(5))
    }

    /// Sends a signal to the process and its children.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&mut self, signal: Signal) -> Result<(), BedError> {
        self.look()?;
        let gone = || BedError::Failed(format!("{} is not running", self.name));
        if self.ended.is_some() {
            return Err(gone());
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        kill_process_group(group, signal).map_err(|error| BedError::Io(error.into()))
    }

    /// Most bytes of memory it held resident, as last looked at.
    #[must_use]
    pub fn peak_rss(&self) -> u64 {
        self.peak_rss
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last line it complained with.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message").to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself meanwhile.
        drop(self.kill());
    }
}

/// How often a process that is waited for is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `VmHWM` of a process, in bytes; nothing of one that has ended.
fn peak_rss(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}
