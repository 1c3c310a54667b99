//! What it costs a device to verify a depot from cold: 1,000 releases in each of 5 groups, one of
//! which is the device's. Prints milliseconds and peak memory of a process that does only that.
//!
//! The depot is made in a temporary folder with keys that are secret to nobody. Each run is a new
//! process without memory of the last: it reads the root that devices come with, follows the
//! roots, verifies every role it needs, types every target and keeps what it saw.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use clap::Parser;
use neap_bench::stats::median;
use neap_trust::carrier::Carrier;
use neap_trust::client::directory::{Folder, StateFolder};
use neap_trust::client::{Ask, check};
use neap_trust::fixture::Repository;
use neap_trust::time::{Clock, Timestamp};
use serde_json::{Value, json};

/// Verifies a made depot from cold, in processes of its own
#[derive(Debug, Parser)]
struct Args {
    /// Releases in each group
    #[arg(long, default_value_t = 1000)]
    releases: u32,
    /// Deltas to each release
    #[arg(long, default_value_t = 3)]
    deltas: u32,
    /// Groups
    #[arg(long, default_value_t = 5)]
    groups: u32,
    /// Runs, of which the fastest and the one with most memory are told
    #[arg(long, default_value_t = 10)]
    runs: u32,
    /// Where the process that is measured finds the depot
    #[arg(long, hide = true)]
    measured: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if let Some(folder) = &args.measured {
        println!("{}", measured(folder)?);
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("neap-cold-verify-{}", std::process::id()));
    let told = make(&args, &folder).and_then(|()| run(&args, &folder));
    fs::remove_dir_all(&folder)?;
    println!("{:#}", told?);
    Ok(())
}

/// Makes the depot, as a carrier has it.
fn make(args: &Args, folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut made = Repository::new(Timestamp::try_from(SystemTime::now())?);
    let groups: Vec<_> = (0..args.groups).map(|group| format!("group-{group}")).collect();
    for group in &groups {
        made.group(group);
        for release in 0..args.releases {
            made.release(group, "bridge-display", &format!("1.{release}.0"));
            for back in 1..=args.deltas {
                let from = format!("1.{}.0", release.wrapping_sub(back));
                made.delta(group, "bridge-display", &format!("1.{release}.0"), &from);
            }
        }
    }
    let mut roles: Vec<_> = groups.iter().map(|group| format!("g.{group}")).collect();
    roles.push("targets".into());
    made.publish(&roles.iter().map(String::as_str).collect::<Vec<_>>());
    let metadata = folder.join("metadata");
    fs::create_dir_all(&metadata)?;
    for (name, bytes) in &made.files.metadata {
        fs::write(metadata.join(name), bytes)?;
    }
    Ok(fs::write(folder.join("root.json"), made.first_root())?)
}

fn run(args: &Args, folder: &Path) -> Result<Value, Box<dyn Error>> {
    let mut told = Vec::new();
    for _ in 0..args.runs.max(1) {
        let state = folder.join("state");
        if state.exists() {
            fs::remove_dir_all(&state)?;
        }
        let program = std::env::current_exe()?;
        let ran = Command::new(program).arg("--measured").arg(folder).output()?;
        if !ran.status.success() {
            return Err(String::from_utf8_lossy(&ran.stderr).into_owned().into());
        }
        told.push(serde_json::from_slice::<Value>(&ran.stdout)?);
    }
    let times: Vec<f64> = told.iter().filter_map(|told| told["ms"].as_f64()).collect();
    let peaks = told.iter().filter_map(|told| told["peak_kib"].as_u64());
    Ok(json!({
        "releases": args.releases, "deltas": args.deltas, "groups": args.groups,
        "role_len": told[0]["role_len"], "offers": told[0]["offers"],
        "ms_median": median(&times),
        "ms_max": times.iter().copied().reduce(f64::max),
        "peak_kib_max": peaks.max(),
        "runs": told.len(),
    }))
}

/// The process that is measured: verifies for one group.
fn measured(folder: &Path) -> Result<Value, Box<dyn Error>> {
    let root = fs::read(folder.join("root.json"))?;
    let now = Timestamp::try_from(SystemTime::now())?;
    let clock = Clock { rtc: Some(now), build: now };
    let ask = Ask { groups: &["group-0"], root: Some(&root), clock, seen: None };
    let carrier = Folder::new(folder);
    let mut state = StateFolder::new(folder.join("state"));
    let begun = Instant::now();
    let checked = check(&carrier, &mut state, &ask)?;
    let ms = begun.elapsed().as_secs_f64() * 1000.0;
    let peak_kib = peak_kib();
    let role = carrier.metadata("1.g.group-0.json", u64::MAX)?.unwrap_or_default();
    let offers = checked.groups[0].offers.len();
    Ok(json!({"ms": ms, "peak_kib": peak_kib, "role_len": role.len(), "offers": offers}))
}

/// Most memory that this process has held, as the kernel counts it; 0 where it does not tell.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}
