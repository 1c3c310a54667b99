//! `neap stick show`: what lies on a stick, and its code. Nothing of it is verified here.

use std::path::PathBuf;

use clap::Args as Group;
use neap_trust::repo::changes::plain;
use neap_usb_sideload::back;
use neap_usb_sideload::stick::Stick;
use serde_json::json;

use super::{of_io, of_stick};
use crate::args::Common;
use crate::failure::Failure;
use crate::outcome::Outcome;

#[derive(Debug, Group)]
pub(super) struct Args {
    /// The stick: where it is mounted, or a copy of its folder
    pub(super) stick: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Failure> {
    let shown = args.stick.display().to_string();
    let stick = Stick::open(&args.stick, None).map_err(|error| of_stick(&error, &args.stick))?;
    let failed = |error: std::io::Error| of_io(&error, &shown);
    let code = stick.code().map_err(|error| of_stick(&error, &args.stick))?;
    let code = code.map(|code| code.to_string());
    let groups = stick.groups().map_err(failed)?;
    let blobs = stick.blobs().map_err(failed)?.len();
    let sealed = stick.manifest().map_or(0, |manifest| manifest.sealed.len());
    let devices = back::devices(&stick).map_err(failed)?;
    let numbers = devices.iter().map(|device| Ok(back::numbers(&stick, device)?.len()));
    let count: usize = numbers.sum::<std::io::Result<_>>().map_err(failed)?;
    let text = format!(
        "stick    {}, number {}\ncode     {}\ngroups   {}\nblobs    {blobs}, {sealed} encrypted\n\
         receipts {count} of {} devices\n",
        plain(&shown),
        stick.id(),
        code.as_deref().unwrap_or("none: no release is on it"),
        groups.join(", "),
        devices.len(),
    );
    let json = json!({
        "schema": "neap.stick.v1",
        "id": stick.id(),
        "code": code,
        "groups": groups,
        "blobs": blobs,
        "sealed": sealed,
        "receipts": count,
        "devices": devices.len(),
    });
    Ok(Outcome { text, json })
}
