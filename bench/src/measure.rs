//! One tool on one pair: prepare, diff, size, apply, compare byte for byte.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::copy_limit;
use crate::machine;
use crate::pairs::Pair;
use crate::process::{Argv, ChildError, Cost, Runner, find};
use crate::record::{Outcome, PairRecord, Phases, Row, Timing};
use crate::stats::{mebibytes, readable, seconds};
use crate::tools::{Job, Programs, Tool, is_neap, neap_apply_unchecked};

/// What holds for a whole run.
pub struct Settings<'a> {
    /// The tools, in the order of the tables.
    pub tools: Vec<&'static Tool>,
    /// The programs of this machine.
    pub programs: &'a Programs,
    /// How often an apply is run, and a diff that is done in [`REPEATED_DIFF_S_MAX`].
    pub run_count: usize,
    /// Longest time of one child.
    pub limit: Duration,
    /// Where to work; `None` takes memory where there is room, otherwise the temporary folder.
    pub work: Option<PathBuf>,
}

/// A diff that takes longer than this is run once, in seconds.
pub const REPEATED_DIFF_S_MAX: f64 = 10.0;

/// Bytes of memory that no tool is given, so that the machine does not kill one of them: 512 MiB.
const MEMORY_RESERVE: u64 = 512 << 20;

/// The working folder's name, before the number of the process.
const FOLDER_PREFIX: &str = "neap-bench-work-";

/// A working folder that is removed at the end, and whether it lies in memory.
pub struct Workplace {
    /// The folder.
    pub folder: PathBuf,
    /// Whether its files lie in memory.
    pub memory_backed: bool,
}

impl Workplace {
    /// A folder with room for a pair of these sizes and what the tools make of it.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn for_pair(settings: &Settings, source_size: u64, target_size: u64) -> io::Result<Self> {
        // Both images, the rebuilt target, and two stores or patches as large as the target.
        let room = source_size.saturating_add(target_size.saturating_mul(4));
        let shm = Path::new("/dev/shm");
        let memory_backed = settings.work.as_ref().map_or_else(
            || machine::free_space(shm).min(machine::memory_available() / 2) >= room,
            |work| work.starts_with(shm),
        );
        let default = if memory_backed { shm.to_owned() } else { std::env::temp_dir() };
        let base = settings.work.clone().unwrap_or(default);
        sweep(&base)?;
        let folder = base.join(format!("{FOLDER_PREFIX}{}", std::process::id()));
        remake(&folder)?;
        Ok(Self { folder, memory_backed })
    }
}

/// Removes the folders of interrupted runs, which may hold gigabytes of memory: those that carry
/// the number of a process that is no more.
fn sweep(base: &Path) -> io::Result<()> {
    for entry in fs::read_dir(base)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix(FOLDER_PREFIX) else { continue };
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{}: left behind: {error}", self.folder.display());
        }
    }
}

/// Measures every tool on one pair, telling progress on standard error.
///
/// # Errors
/// The pair cannot be copied to the working folder. A tool that fails is a row, not an error.
pub fn pair(pair: &Pair, settings: &Settings) -> io::Result<PairRecord> {
    let workplace = Workplace::for_pair(settings, pair.source_size, pair.target_size)?;
    let load_before = machine::load();
    let source = workplace.folder.join("source");
    let target = workplace.folder.join("target");
    fs::copy(&pair.source, &source)?;
    fs::copy(&pair.target, &target)?;

    let copy = workplace.folder.join("copy");
    let copy_limit = Some(copy_limit::measure(&target, &copy, settings.run_count)?);
    let mut rows = Vec::new();
    for tool in &settings.tools {
        let row = self::tool(tool, &source, &target, &workplace.folder, settings);
        eprintln!("  {}", line(&row));
        rows.push(row);
    }
    let memory_backed = workplace.memory_backed;
    Ok(PairRecord { pair: pair.clone(), memory_backed, load_before, copy_limit, rows })
}

/// Measures one tool on one pair.
#[must_use]
pub fn tool(tool: &Tool, source: &Path, target: &Path, work: &Path, settings: &Settings) -> Row {
    let absent: Vec<&str> =
        tool.needs.iter().copied().filter(|need| !settings.programs.has(need)).collect();
    if !absent.is_empty() {
        let reason = format!("not installed: {}", absent.join(", "));
        return Row::empty(tool.name, Outcome::NotInstalled, reason);
    }
    let mut row = Row::empty(tool.name, Outcome::Failed, String::new());
    if let Err(error) = fill(&mut row, tool, source, target, work, settings) {
        row.reason = error.to_string();
    }
    row
}

/// Fills a row as far as the tool gets; what stands in it when an error returns was measured.
fn fill(
    row: &mut Row,
    tool: &Tool,
    source: &Path,
    target: &Path,
    work: &Path,
    settings: &Settings,
) -> Result<(), ChildError> {
    let (source_size, target_size) = (fs::metadata(source)?.len(), fs::metadata(target)?.len());
    let needed = (tool.diff_memory)(source_size, target_size);
    let free = machine::memory_available().saturating_sub(MEMORY_RESERVE);
    if needed > free {
        row.outcome = Outcome::Skipped;
        row.reason = format!("needs {} of memory, free {}", readable(needed), readable(free));
        return Ok(());
    }
    let folder = work.join("tool");
    let runner =
        Runner { folder: folder.clone(), limit: settings.limit, gnu_time: find("time", &[]) };
    let (source, target) = (source.to_owned(), target.to_owned());
    let job = Job { programs: settings.programs, runner: &runner, source, target, source_size };

    row.diff = diff_timing(tool, &job, settings.run_count)?;
    row.patch_size = Some((tool.patch_size)(&job)?);
    let checked = apply_timing(&job, &(tool.apply)(&job), settings.run_count)?;
    row.apply = checked.timing;
    row.phases = checked.phases;
    if !checked.identical {
        row.outcome = Outcome::Differs;
        row.reason = "rebuilt another target and did not say so".into();
        return Ok(());
    }
    if is_neap(tool.name) {
        let unchecked = apply_timing(&job, &[neap_apply_unchecked(&job)], settings.run_count)?;
        row.apply_unchecked = unchecked.timing;
    }
    row.outcome = Outcome::Identical;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn diff_timing(tool: &Tool, job: &Job, run_count: usize) -> Result<Option<Timing>, ChildError> {
    let mut costs: Vec<Cost> = Vec::new();
    while costs.len() < run_count.max(1) {
        remake(&job.runner.folder)?;
        job.runner.run_all(&(tool.prepare)(job))?;
        let (cost, _) = job.runner.run_all(&(tool.diff)(job))?;
        costs.push(cost);
        if cost.wall_s > REPEATED_DIFF_S_MAX {
            break;
        }
    }
    Ok(Timing::of(&costs))
}

struct Applied {
    timing: Option<Timing>,
    phases: Option<Phases>,
    identical: bool,
}

/// Applies `run_count` times, each time to a target that does not exist yet.
fn apply_timing(job: &Job, steps: &[Argv], run_count: usize) -> Result<Applied, ChildError> {
    let (mut costs, mut phases, mut identical) = (Vec::new(), Vec::new(), true);
    for _ in 0..run_count.max(1) {
        remove(&job.rebuilt())?;
        remove(&job.file("state"))?;
        let (cost, printed) = job.runner.run_all(steps)?;
        costs.push(cost);
        phases.extend(serde_json::from_str::<Phases>(printed.trim()));
        identical &= same_bytes(&job.target, &job.rebuilt())?;
    }
    Ok(Applied { timing: Timing::of(&costs), phases: Phases::of(&phases), identical })
}

/// Whether two files have the same bytes.
///
/// # Errors
/// One of them cannot be read.
pub fn same_bytes(a: &Path, b: &Path) -> io::Result<bool> {
    const STEP_SIZE: u64 = 1 << 20;
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    loop {
        of_a.clear();
        of_b.clear();
        a.by_ref().take(STEP_SIZE).read_to_end(&mut of_a)?;
        b.by_ref().take(STEP_SIZE).read_to_end(&mut of_b)?;
        if of_a != of_b {
            return Ok(false);
        }
        if of_a.is_empty() {
            return Ok(true);
        }
    }
}

/// Whether a file has these bytes.
///
/// # Errors
/// It cannot be read.
pub fn holds(file: &Path, bytes: &[u8]) -> io::Result<bool> {
    const STEP_SIZE: usize = 1 << 20;
    if fs::metadata(file)?.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut file = File::open(file)?;
    let mut step = vec![0; STEP_SIZE];
    for bytes in bytes.chunks(STEP_SIZE) {
        file.read_exact(&mut step[..bytes.len()])?;
        if step[..bytes.len()] != *bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A row as one line of progress.
#[must_use]
pub fn line(row: &Row) -> String {
    let time = |timing: &Option<Timing>| {
        timing.as_ref().map_or_else(
            || "-".to_owned(),
            |timing| {
                let peak = timing.peak_rss.map_or_else(|| "?".to_owned(), mebibytes);
                format!("{} s {peak} MiB", seconds(timing.wall_s))
            },
        )
    };
    let size = row.patch_size.map_or_else(|| "-".to_owned(), readable);
    let (diff, apply) = (time(&row.diff), time(&row.apply));
    format!("{:22} {size:>10}  diff {diff}  apply {apply}  {}", row.tool, row.reason)
}

fn remake(folder: &Path) -> io::Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_in_the_last_byte_or_in_length_are_not_the_same() {
        let folder = std::env::temp_dir().join(format!("neap-same-{}", std::process::id()));
        remake(&folder).expect("made");
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.join(name), bytes).expect("written");
            folder.join(name)
        };
        let a = write("a", &vec![1; (1 << 20) + 1]);
        let mut changed = vec![1; (1 << 20) + 1];
        changed[1 << 20] = 2;
        assert!(same_bytes(&a, &write("b", &vec![1; (1 << 20) + 1])).expect("read"));
        assert!(!same_bytes(&a, &write("c", &changed)).expect("read"));
        assert!(!same_bytes(&a, &write("d", &vec![1; 1 << 20])).expect("read"));
        assert!(holds(&a, &vec![1; (1 << 20) + 1]).expect("read"));
        assert!(!holds(&a, &changed).expect("read"));
        assert!(!holds(&a, &changed[..1 << 20]).expect("read"));
        remove(&folder).expect("removed");
    }

    #[test]
    fn the_folder_of_a_dead_run_is_removed_and_that_of_a_living_one_kept() {
        let base = std::env::temp_dir().join(format!("neap-sweep-{}", std::process::id()));
        // Process numbers end at 2^22, so no process has this one.
        let dead = base.join(format!("{FOLDER_PREFIX}4194305"));
        let living = base.join(format!("{FOLDER_PREFIX}{}", std::process::id()));
        let foreign = base.join(format!("{FOLDER_PREFIX}notes"));
        for folder in [&dead, &living, &foreign] {
            remake(folder).expect("made");
        }
        sweep(&base).expect("swept");
        assert!(!dead.exists() && living.exists() && foreign.exists());
        remove(&base).expect("removed");
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        assert!(remove(Path::new("/no/such/thing")).is_ok());
    }
}
