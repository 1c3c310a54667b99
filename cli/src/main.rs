//! neap makes a small patch from one system image to the next and applies it to a file or block
//! device, verified and through power cuts. This file starts the verbs and prints what they return.

mod apply;
mod args;
mod depot;
mod diff;
mod estimate;
mod exit;
mod failure;
mod fields;
mod inspect;
mod outcome;
mod progress;
mod size;
mod spool;
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
        Verb::Depot(args) => depot::run(&args),
    };
    outcome::print(done, common.json).into()
}
