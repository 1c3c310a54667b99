//! How far the estimates that a patch carries are from what the tools send that they stand for.

use std::fmt::Write;

use neap_engine::diff::{self, Options};
use neap_engine::io::file::FileSource;

use crate::measure::{self, Settings};
use crate::pairs::Pair;
use crate::record::{Outcome, PairRecord};
use crate::stats::{float, grouped, ratio};
use crate::tools::{BLOCKS, FULL, XDELTA3};

/// What is estimated, and the tool whose patches it stands for.
pub const WAYS: [(&str, &str); 3] =
    [("whole image", FULL), ("block reuse", BLOCKS), ("xdelta3 class", XDELTA3)];

/// The effort of the diff whose estimates are taken.
const EFFORT: u8 = 3;

/// How far an estimate may be off and still be called right, as `neap estimate` says.
const TOLERANCE: f64 = 0.15;

/// One pair.
#[derive(Clone, Debug)]
pub struct EstimatedPair {
    /// Its name.
    pub name: String,
    /// For each of [`WAYS`] the estimate, and what the tool's patch has, in bytes; `None` where the
    /// tool made none.
    pub sizes: [(u64, Option<u64>); 3],
}

/// Estimates and measures one pair with the tools of these settings.
///
/// # Errors
/// The pair cannot be read.
pub fn pair(pair: &Pair, settings: &Settings) -> Result<EstimatedPair, String> {
    let open = |path| FileSource::open(path).map_err(|error| error.to_string());
    let options = Options { effort: EFFORT, ..Options::default() };
    let (source, target) = (open(&pair.source)?, open(&pair.target)?);
    let made = diff::diff(&source, &target, &options, &mut Vec::new(), &|_| ());
    let estimates = made.map_err(|error| error.to_string())?.header.estimates;
    let estimates = estimates.ok_or("the patch has no estimates")?;
    let measured = measure::pair(pair, settings).map_err(|error| error.to_string())?;
    let estimates = [estimates.full, estimates.blocks, estimates.delta];
    let mut sizes = estimates.map(|estimate| (estimate, None));
    for (size, (_, tool)) in sizes.iter_mut().zip(WAYS) {
        size.1 = patch_size(&measured, tool);
    }
    Ok(EstimatedPair { name: pair.name.clone(), sizes })
}

/// The size of a tool's patch, whether or not it was tried out.
fn patch_size(measured: &PairRecord, tool: &str) -> Option<u64> {
    let row = measured.rows.iter().find(|row| row.tool == tool)?;
    row.patch_size.filter(|_| row.outcome != Outcome::Differs)
}

/// The content of `estimates.md`.
#[must_use]
pub fn markdown(pairs: &[EstimatedPair]) -> String {
    let ways = WAYS.map(|(way, _)| way).join(" | ");
    let tools = WAYS.map(|(way, tool)| format!("{way}: `{tool}`")).join(", ");
    let mut text = format!(
        "# Estimate ÷ measured\n\nBy a diff at effort {EFFORT}, against the tools of the \
         comparison ({tools}).\n\n| pair | {ways} |\n|---|---:|---:|---:|\n"
    );
    for pair in pairs {
        let cells = quotients(pair).map(|quotient| match quotient {
            Some(quotient) => format!("{quotient:.2}"),
            None => "–".to_owned(),
        });
        push(&mut text, format_args!("| {} | {} |\n", pair.name, cells.join(" | ")));
    }
    let all: Vec<f64> = pairs.iter().flat_map(quotients).flatten().collect();
    let right = all.iter().filter(|quotient| (*quotient - 1.0).abs() <= TOLERANCE).count();
    let percent = TOLERANCE * 100.0;
    push(&mut text, format_args!("\n{right} of {} are within {percent} %.\n\n", all.len()));
    push(&mut text, format_args!("| pair, estimate and patch in bytes | {ways} |\n"));
    text.push_str("|---|---:|---:|---:|\n");
    for pair in pairs {
        let cells = pair.sizes.map(|(estimate, measured)| {
            format!("{} / {}", grouped(estimate), measured.map_or("–".to_owned(), grouped))
        });
        push(&mut text, format_args!("| {} | {} |\n", pair.name, cells.join(" | ")));
    }
    text
}

fn quotients(pair: &EstimatedPair) -> [Option<f64>; 3] {
    pair.sizes.map(|(estimate, measured)| ratio(float(estimate), float(measured?)))
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("a string can be written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_quotients_and_counts_those_that_are_near() {
        let sizes = [(115, Some(100)), (84, Some(100)), (7, None)];
        let text = markdown(&[EstimatedPair { name: "one".to_owned(), sizes }]);
        assert!(text.contains("| one | 1.15 | 0.84 | – |"), "{text}");
        assert!(text.contains("1 of 2 are within 15 %."), "{text}");
        assert!(text.contains("| one | 115 / 100 | 84 / 100 | 7 / – |"), "{text}");
    }
}
