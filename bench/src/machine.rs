//! Where a comparison ran: processor, kernel, memory, versions. Reads `/proc` and asks the tools.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::pairs::workspace_root;
use crate::tools::{Origin, Programs, Tool, is_neap};

/// One machine and what is installed on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub cpu: String,
    /// Cores that this program may use.
    pub core_count: usize,
    /// Bytes of memory.
    pub memory_size: u64,
    /// Kernel name, release and architecture.
    pub kernel: String,
    /// The distribution's own name.
    pub system: String,
    /// Version by tool; tools that are absent are absent here, too.
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// This machine, with the versions of `tools`.
    #[must_use]
    pub fn here(tools: &[&Tool], programs: &Programs) -> Self {
        let uname = rustix::system::uname();
        let words = [uname.sysname(), uname.release(), uname.machine()];
        let present = tools.iter().filter(|tool| tool.needs.iter().all(|need| programs.has(need)));
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
            core_count: std::thread::available_parallelism().map_or(1, usize::from),
            memory_size: meminfo("MemTotal"),
            kernel: words.map(|word| word.to_string_lossy().into_owned()).join(" "),
            system: system(),
            versions: present.map(|tool| (tool.name.into(), version(tool, programs))).collect(),
        }
    }
}

/// Bytes of memory that can be used without swapping.
#[must_use]
pub fn memory_available() -> u64 {
    meminfo("MemAvailable")
}

/// The load of the last minute; NaN is never returned, 0 where it is not known.
#[must_use]
pub fn load() -> f64 {
    read("/proc/loadavg").split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// Free bytes of the file system at `folder`; 0 where it cannot be asked.
#[must_use]
pub fn free_space(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn version(tool: &Tool, programs: &Programs) -> String {
    let asked = match tool.origin {
        Origin::Ours if is_neap(tool.name) => {
            let commit = first_line("git", &["-C", &root(), "rev-parse", "--short", "HEAD"]);
            let own = first_line(&programs.path("neap").to_string_lossy(), &["--version"]);
            own.map(|own| format!("{own}, commit {}", commit.unwrap_or_else(|| "unknown".into())))
        }
        Origin::Ours => Some(format!("neap-bench {}", env!("CARGO_PKG_VERSION"))),
        Origin::Apt(package) => {
            let found = first_line("dpkg-query", &["-W", "-f", "${Version}", package]);
            found.map(|version| format!("{package} {version} (apt)"))
        }
        Origin::Pip(package) => {
            let script = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))";
            let python = programs.path("python").to_string_lossy().into_owned();
            let found = first_line(&python, &["-c", script, package]);
            found.map(|version| format!("{package} {version} (PyPI)"))
        }
        Origin::User(program) => first_line(&programs.path(program).to_string_lossy(), &["-v"]),
    };
    asked.unwrap_or_else(|| "unknown version".into())
}

fn root() -> String {
    workspace_root().to_string_lossy().into_owned()
}

fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    Some(line.trim().to_owned())
}

fn system() -> String {
    let name = read("/etc/os-release")
        .lines()
        .find_map(|line| Some(line.strip_prefix("PRETTY_NAME=")?.trim_matches('"').to_owned()));
    name.unwrap_or_else(|| "unknown".into())
}

fn meminfo(name: &str) -> u64 {
    let kib = field(&read("/proc/meminfo"), name)
        .and_then(|text| text.split(' ').next().and_then(|word| word.parse::<u64>().ok()));
    kib.unwrap_or(0).saturating_mul(1024)
}

/// The value of the first `name: value` line.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(field(text, "model nam"), None);
    }

    #[test]
    fn this_machine_has_memory_and_room() {
        assert!(memory_available() > 1 << 20);
        assert!(free_space(&std::env::temp_dir()) > 0);
        assert_eq!(free_space(Path::new("/no/such/folder")), 0);
    }
}
