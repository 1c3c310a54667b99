//! `link-emulator`: an emulated satellite link between two network namespaces that exist.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use neap_sim::bed::link::{GATEWAY, SHORE};
use neap_sim::bed::options::LinkOptions;
use neap_sim::bed::pump::{End, Pump};

/// Emulate a link between two network namespaces until standard input ends or SIGTERM comes.
///
/// A line `begin` on standard input sets the clock of outages and statistics to 0. Both ends get
/// a device `sat`, an address and a default route. Prints READY, and at the end the totals.
///
/// Example: link-emulator --shore a --site b --rate-kbit 2000 --loss-percent 1
#[derive(Parser)]
struct Options {
    /// Namespace of the shore
    #[arg(long)]
    shore: String,
    /// Namespace of the site's gateway
    #[arg(long)]
    site: String,
    /// Address of the shore's end
    #[arg(long, default_value_t = format!("{SHORE}/30"))]
    shore_address: String,
    /// Address of the site's end
    #[arg(long, default_value_t = format!("{GATEWAY}/30"))]
    site_address: String,
    /// Write statistics to this file, a line of JSON for each second and direction
    #[arg(long)]
    stats: Option<PathBuf>,
    #[command(flatten)]
    link: LinkOptions,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let ends = [
        End { namespace: options.shore, address: options.shore_address },
        End { namespace: options.site, address: options.site_address },
    ];
    let stats = options.stats.map(File::create).transpose()?;
    let name = format!("n{}.", process::id());
    let pump = Pump::new(&name, &ends, &options.link, stats)?;
    println!("READY");
    let totals = pump.run(std::io::stdin(), &stop)?;
    println!("{}", serde_json::to_string(&totals)?);
    Ok(())
}
