//! neap makes a small patch from one system image to the next and applies it to a file or block
//! device, verified and through power cuts. This file starts the verbs and prints what they return.

mod apply;
mod args;
mod ca;
mod check;
mod depot;
mod diff;
mod estimate;
mod exit;
mod failure;
mod fields;
mod inside;
mod inspect;
mod key;
mod keyring;
mod net;
mod outcome;
mod plan;
mod progress;
mod receipt;
mod release;
mod repo;
mod sbom;
mod secret;
mod size;
mod stick;
mod tariff;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Verb};

fn main() -> ExitCode {
    let Args { verb } = Args::parse();
    let common = *verb.common();
    let done = match verb {
        Verb::Diff(args) => diff::run(&args),
        Verb::Apply(args) => apply::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Estimate(args) => estimate::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Key(args) => key::run(&args.verb),
        Verb::Release(args) => release::run(&args.verb),
        Verb::Plan(args) => plan::run(&args),
        Verb::Receipt(args) => receipt::run(&args.verb),
        Verb::Sbom(args) => sbom::run(&args.verb),
        Verb::Ca(args) => ca::run(&args.verb),
        Verb::Repo(args) => repo::run(&args.verb),
        Verb::Depot(args) => depot::run(&args),
        Verb::Serve(args) => net::serve::run(&args),
        Verb::Fetch(args) => net::fetch::run(&args),
        Verb::Peers(args) => net::peers::run(&args),
        Verb::Sync(args) => net::sync::run(&args),
        Verb::Stick(args) => stick::run(&args),
    };
    outcome::print(done, common.json).into()
}
