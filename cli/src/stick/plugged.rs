//! `neap stick plugged`: what happens by itself when a stick is plugged in. It is verified; then
//! the configuration says what is done, and by default it is only said what is there.

use std::io;
use std::path::PathBuf;

use clap::Args as Group;
use neap_peer::config::{Config, WhenPlugged};
use neap_trust::repo::changes::plain;
use serde_json::json;

use super::led::{Led, blinks, say};
use super::offered::{Lies, images};
use super::{Here, import, install, of_stick, staleness, unless_pulled, verified};
use crate::args::Common;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;

#[derive(Debug, Group)]
pub(super) struct Args {
    /// The stick: where it is mounted
    stick: PathBuf,
    /// Times that the LED shows the code of a refusal
    #[arg(long, value_name = "N", default_value_t = 60)]
    repeat: u16,
    #[command(flatten)]
    here: Here,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Failure> {
    let config = args.here.load()?;
    let led = Led::new(config.stick.led.as_deref());
    told(led.working(), "led");
    let installs = config.stick.when_plugged == WhenPlugged::InstallAfterApproval;
    let done = unless_pulled((&args.stick, args.common), installs, || act(args, &config));
    let line = match &done {
        Ok(outcome) => outcome.text.lines().next().unwrap_or_default().to_owned(),
        Err(failure) if failure.exit == Exit::NothingToDo => failure.error.clone(),
        Err(Failure { exit, error, .. }) => {
            format!("refused, {} blinks, exit code {}: {error}", blinks(*exit), exit.code())
        }
    };
    told(say(config.stick.console.as_deref(), &format!("neap: {}", plain(&line))), "console");
    let code = done.as_ref().err().map_or(0, |failure| blinks(failure.exit));
    match code {
        0 => told(led.done(), "led"),
        code => told(led.refused(code, args.repeat), "led"),
    }
    done
}

/// An LED or a console that is not there stops nothing.
fn told(done: io::Result<()>, what: &str) {
    if let Err(error) = done {
        eprintln!("{what}: not used: {error}");
    }
}

fn act(args: &Args, config: &Config) -> Result<Outcome, Failure> {
    match (config.stick.when_plugged, &config.stick.places) {
        (WhenPlugged::Import, _) => {
            let (stick, here) = (args.stick.clone(), args.here.clone());
            import::run(&import::Args::plugged(stick, here, args.common))
        }
        (WhenPlugged::InstallAfterApproval, Some(places)) => {
            let (stick, here) = (args.stick.clone(), args.here.clone());
            install::run(&install::Args::plugged(stick, here, places.clone(), args.common))
        }
        (WhenPlugged::Announce | WhenPlugged::InstallAfterApproval, _) => announce(args, config),
    }
}

/// Says what is on it, and changes nothing but what the device remembers of versions.
fn announce(args: &Args, config: &Config) -> Result<Outcome, Failure> {
    let stick = args.here.open(&args.stick, config)?;
    let code = stick.code().map_err(|error| of_stick(&error, &args.stick))?;
    let code = code.map(|code| code.to_string());
    let checked = verified(&stick, config, &args.stick)?.checked;
    let product = config.product.as_deref();
    let mut latest = images(&checked, &stick, product, &[Lies::Open]);
    latest.dedup_by(|later, first| later.custom.product == first.custom.product);
    let named = latest.iter().map(|offer| &offer.custom);
    let there: Vec<_> =
        named.map(|it| format!("{} {}", plain(&it.product), plain(&it.version))).collect();
    let shown = if there.is_empty() { "nothing for this device".into() } else { there.join(", ") };
    let code_shown = code.as_deref().unwrap_or("none");
    let mut text = format!("stick {}: {shown}; code {code_shown}\n", stick.id());
    text += &staleness(&checked);
    let json = json!({
        "schema": "neap.stick-plugged.v1",
        "id": stick.id(),
        "code": code,
        "latest": there,
    });
    Ok(Outcome { text, json })
}
