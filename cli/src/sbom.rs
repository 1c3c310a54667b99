//! `neap sbom diff`: what changed between the components of two releases.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args as Group, Subcommand};
use neap_depot::sbom::{Changes, SBOM_LEN_MAX, Sbom};
use serde_json::{Value, json};

use crate::args::Common;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;

#[derive(Debug, Group)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show which components were added, removed and changed between two SBOMs
    #[command(after_help = "Example:\n  neap sbom diff radar-1.4.cdx.json radar-1.5.cdx.json\n\n\
        CycloneDX and SPDX, as JSON; one may be of either kind.")]
    Diff(Diff),
}

impl Verb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Diff(args) => &args.common,
        }
    }
}

#[derive(Debug, Group)]
pub(crate) struct Diff {
    /// The SBOM before
    pub(crate) before: PathBuf,
    /// The SBOM after
    pub(crate) after: PathBuf,
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) fn run(verb: &Verb) -> Result<Outcome, Failure> {
    let Verb::Diff(args) = verb;
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let changes = before.changes(&after);
    Ok(Outcome { text: text(&changes), json: json(&changes) })
}

/// Reads an SBOM, and no more of it than one may have.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SBOM_LEN_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::open("SBOM", path, &error))?;
    Ok(bytes)
}

fn read(path: &Path) -> Result<Sbom, Failure> {
    Sbom::decode(&bytes(path)?).map_err(|error| {
        let error = format!("{}: {error}", path.display());
        Failure::new(Exit::Error, error, "give a CycloneDX or SPDX document as JSON")
    })
}

fn text(changes: &Changes) -> String {
    let mut text = String::new();
    let mut line = |sign: &str, name: &str, version: &str| {
        let (name, version) = (shown(name), shown(version));
        text += format!("{sign} {name} {version}").trim_end();
        text += "\n";
    };
    changes.removed.iter().for_each(|(name, version)| line("-", name, version));
    changes.added.iter().for_each(|(name, version)| line("+", name, version));
    for (name, before, after) in &changes.changed {
        line("~", name, &format!("{} -> {}", or_none(before), or_none(after)));
    }
    let Changes { added, removed, changed, same_count } = changes;
    let counts = [added.len(), removed.len(), changed.len(), *same_count];
    let [added, removed, changed, same] = counts;
    format!("{text}{added} added, {removed} removed, {changed} changed, {same} as before\n")
}

fn or_none(version: &str) -> &str {
    if version.is_empty() { "no version" } else { version }
}

/// Whoever wrote the SBOM does not steer the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn json(changes: &Changes) -> Value {
    let one = |(name, version): &(String, String)| json!({"name": name, "version": version});
    let changed = changes
        .changed
        .iter()
        .map(|(name, before, after)| json!({"name": name, "before": before, "after": after}));
    json!({
        "schema": "neap.sbom-diff.v1",
        "added": changes.added.iter().map(one).collect::<Vec<_>>(),
        "removed": changes.removed.iter().map(one).collect::<Vec<_>>(),
        "changed": changed.collect::<Vec<_>>(),
        "same": changes.same_count,
    })
}
