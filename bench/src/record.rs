//! What was measured: the content of `results.json`, from which every table is made.

use serde::{Deserialize, Serialize};

use crate::copy_limit::CopyLimit;
use crate::machine::Machine;
use crate::pairs::Pair;
use crate::process::Cost;
use crate::stats::median;

/// One run of the comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Where it ran, and with which versions.
    pub machine: Machine,
    /// How often an apply was run; the median is reported.
    pub run_count: usize,
    /// Longest time of one child, in seconds.
    pub time_limit_s: u64,
    /// The pairs, in the order they were measured.
    pub pairs: Vec<PairRecord>,
    /// Twice the image, where that was asked for.
    pub scaling: Vec<ScalingRecord>,
}

/// One pair and every tool's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairRecord {
    /// What was compared.
    pub pair: Pair,
    /// Whether the files lay in memory (`/dev/shm`).
    pub memory_backed: bool,
    /// Load of the machine when the pair began: above 0.5 someone else was working, too.
    pub load_before: f64,
    /// A plain copy of the target, with and without hashing. `None` where it could not be made.
    pub copy_limit: Option<CopyLimit>,
    /// One row per tool, in the order of the table of tools.
    pub rows: Vec<Row>,
}

impl PairRecord {
    /// The row of a tool, where it ran and rebuilt the target.
    #[must_use]
    pub fn good_row(&self, tool: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.tool == tool && row.outcome == Outcome::Identical)
    }

    /// The patch size of a tool that rebuilt the target.
    #[must_use]
    pub fn patch_size(&self, tool: &str) -> Option<u64> {
        self.good_row(tool)?.patch_size
    }
}

/// How a tool fared with a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It rebuilt the target byte for byte.
    Identical,
    /// It rebuilt something else and did not say so.
    Differs,
    /// It failed, refused, or ran past the time limit.
    Failed,
    /// It was not tried: memory would not have been enough.
    Skipped,
    /// It is not on this machine.
    NotInstalled,
}

/// One tool on one pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The tool's name in the table of tools.
    pub tool: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it is anything but [`Outcome::Identical`].
    pub reason: String,
    /// Bytes that cross the link.
    pub patch_size: Option<u64>,
    /// Making the patch.
    pub diff: Option<Timing>,
    /// Rebuilding the target, as a user would by default.
    pub apply: Option<Timing>,
    /// neap only: rebuilding without the source check and the read-back.
    pub apply_unchecked: Option<Timing>,
    /// neap only: where the time of the default apply went.
    pub phases: Option<Phases>,
}

impl Row {
    /// A row with nothing measured.
    #[must_use]
    pub fn empty(tool: &str, outcome: Outcome, reason: String) -> Self {
        let tool = tool.to_owned();
        let (patch_size, diff, apply, apply_unchecked, phases) = (None, None, None, None, None);
        Self { tool, outcome, reason, patch_size, diff, apply, apply_unchecked, phases }
    }
}

/// Time and memory of one or more runs of the same thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median wall seconds.
    pub wall_s: f64,
    /// Every run's wall seconds.
    pub runs_s: Vec<f64>,
    /// Largest peak resident bytes of any run.
    pub peak_rss: Option<u64>,
}

impl Timing {
    /// The median of several runs. `None` of no run.
    #[must_use]
    pub fn of(costs: &[Cost]) -> Option<Self> {
        let runs_s: Vec<f64> = costs.iter().map(|cost| cost.wall_s).collect();
        let peak_rss = costs.iter().filter_map(|cost| cost.peak_rss).max();
        Some(Self { wall_s: median(&runs_s)?, runs_s, peak_rss })
    }
}

/// The phases that `neap apply --json` prints, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Checking what the patch uses of the source.
    #[serde(default)]
    pub source_check_s: f64,
    /// Decoding, hashing and writing.
    #[serde(default)]
    pub apply_s: f64,
    /// Reading the target back.
    #[serde(default)]
    pub read_back_s: f64,
}

impl Phases {
    /// The median of each phase. `None` of no run.
    #[must_use]
    pub fn of(runs: &[Self]) -> Option<Self> {
        let middle = |phase: fn(&Self) -> f64| median(&runs.iter().map(phase).collect::<Vec<_>>());
        Some(Self {
            source_check_s: middle(|run| run.source_check_s)?,
            apply_s: middle(|run| run.apply_s)?,
            read_back_s: middle(|run| run.read_back_s)?,
        })
    }
}

/// An image, and an image twice as large of the same nature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScalingRecord {
    /// The pair it was made of.
    pub pair: Pair,
    /// neap on the pair.
    pub once: Row,
    /// neap on the pair and its altered copy behind it.
    pub twice: Row,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timing_is_the_median_time_and_the_largest_memory() {
        let cost = |wall_s, peak| Cost { wall_s, peak_rss: Some(peak) };
        let timing =
            Timing::of(&[cost(3.0, 10), cost(1.0, 30), cost(2.0, 20)]).expect("three runs");
        assert_eq!((timing.wall_s, timing.peak_rss), (2.0, Some(30)));
        assert_eq!(Timing::of(&[]), None);
    }

    #[test]
    fn phases_take_what_they_know_of_the_printed_object() {
        let text = r#"{"source_check_s":0.5,"apply_s":1.5,"read_back_s":0.25,"windows":7}"#;
        let phases: Phases = serde_json::from_str(text).expect("an object of numbers");
        assert_eq!(phases, Phases { source_check_s: 0.5, apply_s: 1.5, read_back_s: 0.25 });
    }
}
