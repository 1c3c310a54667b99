//! `compare`: the one command that reproduces every number we print. Owns the options and the files
//! it writes; the measuring is the library's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use neap_bench::ablation::{self, AblationRecord};
use neap_bench::machine::Machine;
use neap_bench::measure::{self, Settings};
use neap_bench::pairs::{self, Pair};
use neap_bench::record::Record;
use neap_bench::tools::{self, NEAP, Programs, TOOLS, Tool};
use neap_bench::{ablation_table, blocks, estimates, report, scaling, svg};

/// Compare neap with the tools of today, on the same pairs in the same run.
///
/// Example: compare --set small --runs 3 --output results
#[derive(Parser)]
#[command(name = "compare", args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: RunOptions,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure neap on a pair and on an image twice as large
    Scaling(RunOptions),
    /// Leave out each part of neap's diff in turn, and say what that does to the patches
    Ablation(AblationOptions),
    /// Say how far the estimates in neap's patches are from what other tools send
    Estimates(EstimatesOptions),
    /// The 4 KiB block reuse that the comparison measures
    #[command(hide = true, subcommand)]
    Blocks(Blocks),
}

#[derive(Subcommand)]
enum Blocks {
    Diff { source: PathBuf, target: PathBuf, patch: PathBuf },
    Apply { source: PathBuf, patch: PathBuf, rebuilt: PathBuf },
}

#[derive(Args)]
struct PairOptions {
    /// Take these sets (small, full) or pairs of the corpus cache [default: small]
    #[arg(long, num_args = 1.., value_name = "NAME")]
    set: Vec<String>,
    /// Compare these two files; may be given more than once
    #[arg(long, num_args = 2, value_names = ["SOURCE", "TARGET"])]
    pair: Vec<PathBuf>,
    /// Judge the files of --pair as this kind, as rootfs-ext4
    #[arg(long, default_value = "given")]
    kind: String,
}

#[derive(Args)]
struct AblationOptions {
    #[command(flatten)]
    pairs: PairOptions,
    /// Take these coders only
    #[arg(long, num_args = 1.., value_name = "CODER", value_parser = ["zstd", "cm"])]
    coders: Vec<String>,
    /// Write ablation.md and ablation.json into this folder
    #[arg(long, default_value = "bench-results")]
    output: PathBuf,
}

#[derive(Args)]
struct EstimatesOptions {
    #[command(flatten)]
    pairs: PairOptions,
    /// Write estimates.md into this folder
    #[arg(long, default_value = "bench-results")]
    output: PathBuf,
    /// Stop a tool after this many seconds
    #[arg(long, default_value_t = 900, value_name = "S")]
    time_limit: u64,
}

#[derive(Args)]
struct RunOptions {
    #[command(flatten)]
    pairs: PairOptions,
    /// Take the median of this many runs
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Measure these tools only, by the names in the tables; a part of a name is enough
    #[arg(long, num_args = 1.., value_name = "TOOL")]
    tools: Vec<String>,
    /// Write results.md, results.json and results.svg into this folder
    #[arg(long, default_value = "bench-results")]
    output: PathBuf,
    /// Stop a tool after this many seconds
    #[arg(long, default_value_t = 900, value_name = "S")]
    time_limit: u64,
    /// Also measure neap on an image twice as large as the last ext4 root (or the last pair)
    #[arg(long)]
    scaling: bool,
    /// Work in this folder [default: /dev/shm where there is room]
    #[arg(long)]
    work: Option<PathBuf>,
    /// Pass one more option to `neap diff`, as --neap-option=--effort=9
    #[arg(long, allow_hyphen_values = true, value_name = "OPTION")]
    neap_option: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.verb {
        None => compare(&options.run, false),
        Some(Verb::Scaling(run)) => compare(&run, true),
        Some(Verb::Ablation(options)) => ablate(&options),
        Some(Verb::Estimates(options)) => estimate(&options),
        Some(Verb::Blocks(Blocks::Diff { source, target, patch })) => {
            blocks::diff(&source, &target, &patch).map_err(|error| error.to_string())
        }
        Some(Verb::Blocks(Blocks::Apply { source, patch, rebuilt })) => {
            blocks::apply(&source, &patch, &rebuilt).map_err(|error| error.to_string())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures every pair, or only the scaling of the last one, and writes the results after each.
fn compare(options: &RunOptions, only_scaling: bool) -> Result<(), String> {
    let pairs = wanted_pairs(&options.pairs)?;
    let tools = wanted_tools(&options.tools)?;
    if tools.iter().any(|tool| tools::is_neap(tool.name)) {
        build_neap()?;
    }
    let mut programs = Programs::of_this_machine();
    programs.neap_diff_options = options.neap_option.iter().map(Into::into).collect();
    let limit = Duration::from_secs(options.time_limit.max(1));
    // The tools run in folders of their own: a path from here would lead elsewhere there.
    let work = options.work.as_ref().map(fs::canonicalize).transpose();
    let work = work.map_err(|error| format!("--work: {error}"))?;
    let run_count = options.runs.max(1);
    let machine = Machine::here(&tools, &programs);
    let settings = Settings { tools, programs: &programs, run_count, limit, work };
    let time_limit_s = limit.as_secs();
    let (measured, scaling) = (Vec::new(), Vec::new());
    let mut record = Record { machine, run_count, time_limit_s, pairs: measured, scaling };

    if !only_scaling {
        for (index, pair) in pairs.iter().enumerate() {
            eprintln!("[{}/{}] {} ({})", index + 1, pairs.len(), pair.name, pair.kind);
            let one = measure::pair(pair, &settings);
            record.pairs.push(one.map_err(|error| format!("{}: {error}", pair.name))?);
            write(&record, &options.output)?;
        }
    }
    if only_scaling || options.scaling {
        let ext4 = pairs.iter().rfind(|pair| pair.kind == "rootfs-ext4");
        let pair = ext4.or(pairs.last()).ok_or("no pair to double")?;
        let neap = tools::by_name(NEAP).ok_or("neap is not in the table of tools")?;
        eprintln!("[scaling] {}", pair.name);
        let one = scaling::measure(pair, neap, &settings);
        record.scaling.push(one.map_err(|error| format!("{}: {error}", pair.name))?);
        write(&record, &options.output)?;
    }
    println!("{}", options.output.join("results.md").display());
    Ok(())
}

/// Leaves out each part on every pair, and writes the results after each.
fn ablate(options: &AblationOptions) -> Result<(), String> {
    let pairs = wanted_pairs(&options.pairs)?;
    let machine = Machine::here(&[], &Programs::default());
    let mut record = AblationRecord { machine, pairs: Vec::new() };
    for (index, pair) in pairs.iter().enumerate() {
        eprintln!("[{}/{}] {} ({})", index + 1, pairs.len(), pair.name, pair.kind);
        record.pairs.push(ablation::pair(pair, &options.coders));
        let json = serde_json::to_string_pretty(&record).map_err(|error| error.to_string())?;
        let files = [("ablation.json", json), ("ablation.md", ablation_table::markdown(&record))];
        write_files(&options.output, &files)?;
    }
    println!("{}", options.output.join("ablation.md").display());
    Ok(())
}

/// Measures what is estimated on every pair, and writes the table after each.
fn estimate(options: &EstimatesOptions) -> Result<(), String> {
    let pairs = wanted_pairs(&options.pairs)?;
    let tools = estimates::WAYS.iter().filter_map(|(_, tool)| tools::by_name(tool)).collect();
    let programs = Programs::of_this_machine();
    let limit = Duration::from_secs(options.time_limit.max(1));
    let settings = Settings { tools, programs: &programs, run_count: 1, limit, work: None };
    let mut estimated = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        eprintln!("[{}/{}] {} ({})", index + 1, pairs.len(), pair.name, pair.kind);
        let one = estimates::pair(pair, &settings);
        estimated.push(one.map_err(|error| format!("{}: {error}", pair.name))?);
        write_files(&options.output, &[("estimates.md", estimates::markdown(&estimated))])?;
    }
    println!("{}", options.output.join("estimates.md").display());
    Ok(())
}

fn wanted_pairs(options: &PairOptions) -> Result<Vec<Pair>, String> {
    let mut wanted = Vec::new();
    for files in options.pair.chunks(2) {
        let [source, target] = files else { return Err("--pair takes two files".to_owned()) };
        let mut pair = pairs::given(source, target)?;
        pair.kind.clone_from(&options.kind);
        wanted.push(pair);
    }
    if !options.set.is_empty() || wanted.is_empty() {
        let cache = pairs::default_cache();
        let all = pairs::load(&cache).map_err(|error| error.to_string())?;
        if all.is_empty() {
            let next = "cargo run --release -p neap-corpus -- build --set small";
            return Err(format!("{}: no built pairs\nnext:  {next}", cache.display()));
        }
        let default = ["small".to_owned()];
        let names = if options.set.is_empty() { &default[..] } else { &options.set };
        wanted.extend(pairs::select(all, names)?);
    }
    Ok(wanted)
}

fn wanted_tools(parts: &[String]) -> Result<Vec<&'static Tool>, String> {
    for part in parts {
        if !TOOLS.iter().any(|tool| tool.name.contains(part)) {
            let names: Vec<&str> = TOOLS.iter().map(|tool| tool.name).collect();
            return Err(format!("{part}: no such tool; there are: {}", names.join(", ")));
        }
    }
    let chosen =
        |tool: &&Tool| parts.is_empty() || parts.iter().any(|part| tool.name.contains(part));
    Ok(TOOLS.iter().filter(chosen).collect())
}

/// Under cargo, builds the `neap` beside this program, so that one command is enough and what is
/// measured is what is in the working tree. `NEAP` names another one.
fn build_neap() -> Result<(), String> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    if std::env::var_os("NEAP").is_some() {
        return Ok(());
    }
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "-p", "neap"]).current_dir(pairs::workspace_root());
    match build.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("neap cannot be built: cargo ended with {status}")),
        Err(error) => Err(format!("neap cannot be built: {error}")),
    }
}

fn write(record: &Record, folder: &Path) -> Result<(), String> {
    let json = serde_json::to_string_pretty(record).map_err(|error| error.to_string())?;
    let files = [
        ("results.json", json),
        ("results.md", report::markdown(record, "results.svg")),
        ("results.svg", svg::draw(record)),
    ];
    write_files(folder, &files)
}

fn write_files(folder: &Path, files: &[(&str, String)]) -> Result<(), String> {
    let name = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(name)?;
    for (file, text) in files {
        fs::write(folder.join(file), text).map_err(name)?;
    }
    Ok(())
}
