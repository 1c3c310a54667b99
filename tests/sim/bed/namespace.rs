//! Network namespaces: made, entered, and removed again, also after a process that was killed.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{error, fmt, io, process, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Why there is no testbed, or why something in it failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum BedError {
    /// A command or a process did not do what it should.
    Failed(String),
    /// A process did not end in time.
    TimedOut(String),
    /// The user wants it to end.
    Interrupted,
    /// A file or socket.
    Io(io::Error),
}

impl fmt::Display for BedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::TimedOut(what) => write!(f, "{what} did not end in time"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl error::Error for BedError {}

impl From<io::Error> for BedError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether this machine lets us make networks.
///
/// # Errors
/// Says what is missing; the caller prints it after `SKIPPED`.
pub fn available() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("network namespaces take root".into());
    }
    if !Path::new(TUN).exists() {
        return Err(format!("there is no {TUN}"));
    }
    let network = Network::new().map_err(|why| why.to_string())?;
    let namespace = network.namespace("try").map_err(|why| why.to_string())?;
    ip(&["-n", &namespace, "link", "add", "br0", "type", "bridge"])
        .map_err(|why| why.to_string())?;
    ip(&["-n", &namespace, "tuntap", "add", "t0", "mode", "tun"]).map_err(|why| why.to_string())?;
    Ok(())
}

/// Namespaces that are removed together, with all that runs in them.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    /// Short enough for names of devices.
    device_prefix: String,
}

impl Network {
    /// No namespace yet. Removes what killed processes left behind.
    ///
    /// # Errors
    /// If there is no command `ip`.
    pub fn new() -> Result<Self, BedError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        clean(false)?;
        let (id, count) = (process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Ok(Self {
            prefix: format!("{PREFIX}{id}-{count}-"),
            device_prefix: format!("n{id}.{count}"),
        })
    }

    /// Makes a namespace, its loopback up and IPv6 off: nothing shall be sent that nobody asked
    /// for. Returns its whole name.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn namespace(&self, name: &str) -> Result<String, BedError> {
        let whole = self.name(name);
        ip(&["netns", "add", &whole])?;
        ip(&["-n", &whole, "link", "set", "lo", "up"])?;
        without_ipv6(&whole, "all")?;
        without_ipv6(&whole, "default")?;
        Ok(whole)
    }

    /// The whole name of a namespace.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A name for devices until they are moved: at most 14 characters.
    #[must_use]
    pub fn device_prefix(&self) -> &str {
        &self.device_prefix
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in namespaces().unwrap_or_default() {
            if name.starts_with(&self.prefix) {
                remove(&name);
            }
        }
    }
}

/// Runs `work` in a thread whose network is the namespace; sockets made there stay there.
///
/// # Errors
/// If the namespace cannot be entered; what `work` returns otherwise.
pub fn inside<T: Send>(
    namespace: &str,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let file = File::open(Path::new(FOLDER).join(namespace))?;
    thread::scope(|scope| {
        let entered = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        entered.join().unwrap_or_else(|_| Err(io::Error::other("a thread in a namespace panicked")))
    })
}

/// Sets a kernel parameter of a namespace, as `net/ipv4/ip_forward`.
///
/// # Errors
/// If there is no such parameter, or it does not take the value.
pub fn set(namespace: &str, parameter: &str, value: &str) -> Result<(), BedError> {
    // A thread's own view: /proc/sys/net is that of who opens it.
    let path = Path::new("/proc/sys").join(parameter);
    inside(namespace, || fs::write(&path, value))
        .map_err(|error| BedError::Failed(format!("{parameter} = {value}: {error}")))
}

/// Turns IPv6 off at a device, where the kernel has it: it would speak without being asked.
///
/// # Errors
/// If the kernel refuses.
pub fn without_ipv6(namespace: &str, device: &str) -> Result<(), BedError> {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Ok(());
    }
    set(namespace, &format!("net/ipv6/conf/{device}/disable_ipv6"), "1")
}

/// Runs `ip`.
///
/// # Errors
/// If it cannot be started or fails.
pub fn ip(arguments: &[&str]) -> Result<String, BedError> {
    let failed =
        |why: &dyn fmt::Display| BedError::Failed(format!("ip {}: {why}", arguments.join(" ")));
    let output = Command::new("ip").args(arguments).output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Removes namespaces of processes that are gone, or `all` of ours, and ends what runs in them.
/// Returns the names.
///
/// # Errors
/// If there is no command `ip`.
pub fn clean(all: bool) -> Result<Vec<String>, BedError> {
    let is_stale = |name: &String| {
        let id = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        id.and_then(|id| id.parse::<u32>().ok())
            .is_some_and(|id| all || !Path::new("/proc").join(id.to_string()).exists())
    };
    let stale: Vec<_> = namespaces()?.into_iter().filter(is_stale).collect();
    for name in &stale {
        remove(name);
    }
    Ok(stale)
}

/// Begin of the names of our namespaces; the id of the process that made it follows.
const PREFIX: &str = "neap-bed-";
const FOLDER: &str = "/run/netns";
const TUN: &str = "/dev/net/tun";

fn namespaces() -> Result<Vec<String>, BedError> {
    let listed = ip(&["netns", "list"])?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.map(str::to_owned).collect())
}

/// Kills what runs in a namespace and deletes it. What fails is somebody else's deletion.
fn remove(name: &str) {
    for id in ip(&["netns", "pids", name]).unwrap_or_default().lines() {
        let id = id.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            // It may have ended by itself meanwhile.
            rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap_or_default();
        }
    }
    drop(ip(&["netns", "del", name]));
}
