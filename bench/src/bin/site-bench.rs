//! `site-bench`: one scenario on an emulated site, as a row, a record and a picture.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use neap_bench::site::record::HEAD;
use neap_bench::site::run::run;
use neap_bench::site::scenario::Scenario;
use neap_bench::timeline;
use neap_sim::bed::namespace::available;
use neap_sim::bed::site::STATS;
use neap_sim::bed::tally;

/// Get a blob to every device of a site behind an emulated satellite link, and say what it cost.
///
/// Example: site-bench --method http-cubic --devices 8 --rate-kbit 2000 --loss-percent 1
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    scenario: Scenario,
    /// Write record.json, row.md, timeline.svg, logs and statistics into this folder;
    /// an earlier run's is emptied
    #[arg(long, default_value = "site-results")]
    output: PathBuf,
    /// Print the record as JSON instead of the row
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    if let Err(why) = available() {
        println!("SKIPPED: {why}");
        return ExitCode::SUCCESS;
    }
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let folder = std::path::absolute(&options.output)?;
    let record = run(&options.scenario, &folder, &stop)?;
    let json = serde_json::to_string_pretty(&record)?;
    write(&folder, "record.json", &json)?;
    write(&folder, "row.md", &format!("{HEAD}{}", record.row()))?;
    let lines = tally::lines(&fs::read_to_string(folder.join(STATS))?);
    write(&folder, "timeline.svg", &timeline::draw(&record, &lines))?;
    for node in &record.nodes {
        let done = node.done_s.map_or_else(|| "never".into(), |done_s| format!("{done_s:.2} s"));
        eprintln!("{}: {}, complete: {done}", node.name, node.end);
    }
    for (name, devices) in &record.blamed {
        eprintln!("{name} gave wrong bytes: {devices} devices say so");
    }
    if options.json {
        println!("{json}");
    } else {
        print!("{HEAD}{}", record.row());
    }
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    fs::write(folder.join(name), text)
}
