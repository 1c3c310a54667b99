//! `site`: a site behind an emulated link, to try things by hand, and the broom for leftovers.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::{Args, Parser, Subcommand};
use neap_sim::bed::namespace::{available, clean};
use neap_sim::bed::node::{LOOK_EVERY, Process};
use neap_sim::bed::options::LinkOptions;
use neap_sim::bed::site::{Node, Site};

/// Processes in network namespaces: a shore, an emulated satellite link, a LAN of devices.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build a site and keep it until the device commands end, or until interrupted
    ///
    /// Example: site up --devices 3 --rate-kbit 2000 --shore 'python3 -m http.server'
    /// --device 'curl -so /dev/null http://10.77.0.1:8000/image'
    Up(Box<UpOptions>),
    /// Remove what killed processes left behind
    Clean {
        /// Also what belongs to processes that run
        #[arg(long)]
        all: bool,
    },
}

#[derive(Args)]
struct UpOptions {
    /// Devices on the LAN
    #[arg(long, default_value_t = 3)]
    devices: u32,
    /// Logs and statistics go to this folder
    #[arg(long, default_value = "site-logs")]
    folder: PathBuf,
    /// Shell command to run on shore
    #[arg(long)]
    shore: Option<String>,
    /// Shell command to run at each device; $DEVICE is its number
    #[arg(long)]
    device: Option<String>,
    #[command(flatten)]
    link: LinkOptions,
}

fn main() -> ExitCode {
    let done = match Options::parse().verb {
        Verb::Clean { all } => clean(all).map_err(Into::into).map(|names| {
            for name in names {
                println!("removed {name}");
            }
        }),
        Verb::Up(options) => {
            if let Err(why) = available() {
                println!("SKIPPED: {why}");
                return ExitCode::SUCCESS;
            }
            Site::start(options.devices, &options.link, &options.folder)
                .map_err(Into::into)
                .and_then(|site| up(site, options.shore.as_deref(), options.device.as_deref()))
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

fn up(site: Site, shore: Option<&str>, device: Option<&str>) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    for node in [Node::Shore, Node::Gateway].into_iter().chain(site.devices()) {
        println!("{node}: {} ip netns exec {} …", Site::address(node), site.namespace(node));
    }
    let mut background = Vec::new();
    if let Some(line) = shore {
        background.push(site.spawn(Node::Shore, "shore", &["sh", "-c", line])?);
    }
    let mut running: Vec<Process> = Vec::new();
    for (node, index) in site.devices().zip(1_u32..) {
        let Some(line) = device else { break };
        let line = format!("DEVICE={index}; {line}");
        running.push(site.spawn(node, &node.to_string(), &["sh", "-c", &line])?);
    }
    site.link().begin()?;
    while !stop.load(Ordering::Relaxed) {
        let mut open = running.is_empty();
        for process in &mut running {
            open |= process.look()?.is_none();
        }
        if !open {
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    for process in &mut running {
        if let Some(ended) = process.look()? {
            println!("{}: {} after {:.2} s", process.name(), ended.status, ended.wall_s);
        }
    }
    drop((running, background));
    for (node, bytes) in site.lan_bytes()? {
        println!("{node}: LAN bytes {} sent, {} received", bytes.sent, bytes.received);
    }
    println!("{}", serde_json::to_string(&site.finish()?)?);
    Ok(())
}
