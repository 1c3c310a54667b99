//! `results.md`: the figures, the summary by kind, and one table per pair.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::figures::{self, Verdict, size_ratio};
use crate::record::{Outcome, PairRecord, Record, Row, Timing};
use crate::stats::{float, geometric_mean, grouped, mebibytes, ratio, readable, seconds};
use crate::tools::{FULL, NEAP, NEAP_CM, is_neap};

/// The whole report. `picture` is the file name of the picture beside it.
#[must_use]
pub fn markdown(record: &Record, picture: &str) -> String {
    let mut text = String::from("# neap against the tools of today\n\n");
    text.push_str(&machine(record));
    text.push_str(&figures_table(record));
    text.push_str(&summary(record));
    push(&mut text, format_args!("## Pair by pair\n\n![patch sizes]({picture})\n\n"));
    for pair in &record.pairs {
        text.push_str(&pair_table(pair));
    }
    text
}

fn machine(record: &Record) -> String {
    let machine = &record.machine;
    let memory = readable(machine.memory_size);
    let mut text = format!(
        "Every row of this page was measured in one run on {} ({} cores), {memory} of memory, {}, \
         {}. Medians of {} runs for apply, and for a diff of less than 10 s; a longer diff was \
         run once. A tool was stopped after {} s. Ratios below 1 mean that neap is smaller or \
         faster.\n\n",
        machine.cpu,
        machine.core_count,
        machine.system,
        machine.kernel,
        record.run_count,
        record.time_limit_s,
    );
    for (tool, version) in &machine.versions {
        push(&mut text, format_args!("- {tool}: {version}\n"));
    }
    text.push('\n');
    text
}

fn figures_table(record: &Record) -> String {
    let mut text =
        String::from("## Figures to reach\n\n| what | target | measured | |\n|---|---|---|---|\n");
    for figure in figures::of(record) {
        let verdict = match figure.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::NotMeasured => "not measured",
            Verdict::Told => "told",
        };
        let (what, target, measured) = (figure.what, figure.target, figure.measured);
        push(&mut text, format_args!("| {what} | {target} | {measured} | {verdict} |\n"));
    }
    text.push('\n');
    text
}

/// Geometric means of neap's patch size over each tool's, by kind, with the worst pair, for each
/// of neap's coders.
fn summary(record: &Record) -> String {
    let mut by_kind: BTreeMap<&str, Vec<&PairRecord>> = BTreeMap::new();
    for pair in &record.pairs {
        by_kind.entry(&pair.pair.kind).or_default().push(pair);
    }
    let mut text = String::from(
        "## Patch size, neap ÷ tool, by kind\n\nGeometric mean over the pairs that both rebuilt; \
         the worst pair for neap behind it.\n\n| kind | tool | neap's coder | pairs | mean \
         | worst | |\n|---|---|---|---:|---:|---|---|\n",
    );
    for (kind, pairs) in by_kind {
        let coders = coders_of(&pairs);
        for (tool, (neap, coder)) in
            tools_of(&pairs).iter().flat_map(|tool| coders.iter().map(move |coder| (tool, *coder)))
        {
            let cells = summary_cells(&pairs, neap, tool);
            push(&mut text, format_args!("| {kind} | {tool} | {coder} | {cells} |\n"));
        }
    }
    text.push('\n');
    text
}

/// neap's rows that any of the pairs has, and what their coders are called.
fn coders_of(pairs: &[&PairRecord]) -> Vec<(&'static str, &'static str)> {
    let coders = [(NEAP, "default"), (NEAP_CM, "cm")];
    let has = |name: &str| pairs.iter().flat_map(|pair| &pair.rows).any(|row| row.tool == name);
    coders.into_iter().filter(|(neap, _)| has(neap)).collect()
}

/// How many pairs both rebuilt, the mean, the worst, and what neap loses.
fn summary_cells(pairs: &[&PairRecord], neap: &str, tool: &str) -> String {
    let named: Vec<(&str, f64)> = pairs
        .iter()
        .filter_map(|pair| Some((pair.pair.name.as_str(), size_ratio(pair, neap, tool)?)))
        .collect();
    let ratios: Vec<f64> = named.iter().map(|(_, ratio)| *ratio).collect();
    let worst = named.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let (Some(mean), Some((name, worst))) = (geometric_mean(&ratios), worst) else {
        return "0 | – | – | not measured".to_owned();
    };
    let lost = ratios.iter().filter(|ratio| **ratio > 1.0).count();
    let mark = if lost > 0 { format!("**neap loses {lost}**") } else { String::new() };
    format!("{} | {mean:.3} | {worst:.3} {name} | {mark}", ratios.len())
}

/// The tools that have a row in any of the pairs, but for neap itself.
fn tools_of<'a>(pairs: &[&'a PairRecord]) -> Vec<&'a str> {
    let mut tools: Vec<&str> = Vec::new();
    for row in pairs.iter().flat_map(|pair| &pair.rows) {
        if !is_neap(&row.tool) && !tools.contains(&row.tool.as_str()) {
            tools.push(&row.tool);
        }
    }
    tools
}

fn pair_table(record: &PairRecord) -> String {
    let pair = &record.pair;
    let mut text = format!(
        "### {}\n\n{}: {} → {}; {} → {} bytes; files {}; load before {:.1}.\n\n",
        pair.name,
        pair.kind,
        pair.source_version,
        pair.target_version,
        grouped(pair.source_size),
        grouped(pair.target_size),
        if record.memory_backed { "in memory" } else { "on disk" },
        record.load_before,
    );
    text.push_str(
        "| tool | patch, bytes | of full | neap ÷ tool | cm ÷ tool | diff, s | diff, MiB \
         | apply, s | apply, MiB | apply, MB/s | target | neap loses in |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|\n",
    );
    let full = record.patch_size(FULL);
    let neap = record.good_row(NEAP);
    for row in &record.rows {
        text.push_str(&tool_row(row, record, full));
        if let Some(bare) = &row.apply_unchecked {
            text.push_str(&unchecked_row(&row.tool, bare, pair.target_size));
        }
    }
    if let Some(limit) = record.copy_limit {
        push(
            &mut text,
            format_args!(
                "| *copy + BLAKE3* | | | | | | | {} | | {} | limit | |\n",
                seconds(limit.copy_hash_s),
                speed(pair.target_size, limit.copy_hash_s),
            ),
        );
    }
    if let Some(phases) = neap.and_then(|row| row.phases) {
        push(
            &mut text,
            format_args!(
                "\nneap's apply: source check {} s, apply {} s, read-back {} s.\n",
                seconds(phases.source_check_s),
                seconds(phases.apply_s),
                seconds(phases.read_back_s),
            ),
        );
    }
    text.push('\n');
    text
}

fn tool_row(row: &Row, record: &PairRecord, full: Option<u64>) -> String {
    let (neap, target_size) = (record.good_row(NEAP), record.pair.target_size);
    let size = row.patch_size.map_or_else(dash, grouped);
    let of_full = row.patch_size.zip(full).and_then(|(size, full)| ratio_of(size, full));
    let to_tool = |neap: &str| {
        let ratio = record.patch_size(neap).zip(row.patch_size);
        let ratio = ratio.and_then(|(neap, size)| ratio_of(neap, size));
        ratio.map_or_else(dash, |ratio| format!("{ratio:.3}"))
    };
    let percent = of_full.map_or_else(dash, |part| format!("{:.2} %", part * 100.0));
    let throughput =
        row.apply.as_ref().map_or_else(dash, |timing| speed(target_size, timing.wall_s));
    let name = if is_neap(&row.tool) { format!("**{}**", row.tool) } else { row.tool.clone() };
    let lost = match neap {
        Some(neap) if row.outcome == Outcome::Identical && !is_neap(&row.tool) => {
            losses(neap, row).join(", ")
        }
        _ => String::new(),
    };
    format!(
        "| {name} | {size} | {percent} | {} | {} | {} | {} | {} | {} | {throughput} | {} \
         | {} |\n",
        to_tool(NEAP),
        to_tool(NEAP_CM),
        time(row.diff.as_ref()),
        memory(row.diff.as_ref()),
        time(row.apply.as_ref()),
        memory(row.apply.as_ref()),
        outcome(row),
        if lost.is_empty() { lost } else { format!("**{lost}**") },
    )
}

fn unchecked_row(tool: &str, bare: &Timing, target_size: u64) -> String {
    format!(
        "| {tool}, no source check, no read-back | | | | | | | {} | {} | {} | identical | |\n",
        seconds(bare.wall_s),
        memory(Some(bare)),
        speed(target_size, bare.wall_s),
    )
}

/// What a tool does better than neap's default.
fn losses(neap: &Row, row: &Row) -> Vec<&'static str> {
    let time = |part: fn(&Row) -> Option<&Timing>| {
        part(neap).zip(part(row)).is_some_and(|(ours, theirs)| ours.wall_s > theirs.wall_s)
    };
    let memory = |part: fn(&Row) -> Option<&Timing>| {
        part(neap).zip(part(row)).is_some_and(|(ours, theirs)| ours.peak_rss > theirs.peak_rss)
    };
    let of = [
        ("size", neap.patch_size > row.patch_size),
        ("diff time", time(|row| row.diff.as_ref())),
        ("diff memory", memory(|row| row.diff.as_ref())),
        ("apply time", time(|row| row.apply.as_ref())),
        ("apply memory", memory(|row| row.apply.as_ref())),
    ];
    of.into_iter().filter_map(|(what, lost)| lost.then_some(what)).collect()
}

fn outcome(row: &Row) -> String {
    let reason = row.reason.replace('|', "/");
    match row.outcome {
        Outcome::Identical => "identical".to_owned(),
        Outcome::Differs => format!("**differs**: {reason}"),
        Outcome::Failed => format!("failed: {reason}"),
        Outcome::Skipped => format!("skipped: {reason}"),
        Outcome::NotInstalled => reason,
    }
}

fn time(timing: Option<&Timing>) -> String {
    timing.map_or_else(dash, |timing| seconds(timing.wall_s))
}

fn memory(timing: Option<&Timing>) -> String {
    timing.and_then(|timing| timing.peak_rss).map_or_else(dash, mebibytes)
}

fn speed(size: u64, wall_s: f64) -> String {
    ratio(float(size) / 1e6, wall_s).map_or_else(dash, |speed| format!("{speed:.0}"))
}

fn ratio_of(part: u64, whole: u64) -> Option<f64> {
    ratio(float(part), float(whole))
}

fn dash() -> String {
    "–".to_owned()
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::{record, row};

    #[test]
    fn a_lost_row_says_what_was_lost() {
        let rows =
            vec![row(NEAP, 120, 2.0, 9), row("bsdiff", 100, 3.0, 8), row(FULL, 1000, 9.0, 99)];
        let text = markdown(&record(vec![("a", "executable-x86_64", rows)]), "results.svg");
        let bsdiff = text.lines().find(|line| line.starts_with("| bsdiff")).expect("has a row");
        assert!(bsdiff.contains("| 1.200 |"), "{bsdiff}");
        assert!(bsdiff.contains("**size, diff memory, apply memory**"), "{bsdiff}");
        assert!(text.contains(
            "| executable-x86_64 | bsdiff | default | 1 | 1.200 | 1.200 a | **neap loses 1** |"
        ));
    }

    #[test]
    fn a_tool_that_failed_keeps_its_row_and_its_reason() {
        let failed = Row::empty("casync 16K", Outcome::Failed, "casync ended | badly".into());
        let text = markdown(&record(vec![("a", "model", vec![row(NEAP, 5, 1.0, 1), failed])]), "p");
        let line = text.lines().find(|line| line.starts_with("| casync 16K | –")).expect("a row");
        assert!(line.contains("failed: casync ended / badly"), "{line}");
        assert_eq!(line.matches('|').count(), 13, "{line}");
    }

    #[test]
    fn both_coders_are_compared_with_each_tool_and_not_with_each_other() {
        let rows = vec![row(NEAP, 120, 2.0, 9), row(NEAP_CM, 80, 9.0, 20), row(FULL, 1000, 9.0, 9)];
        let text = markdown(&record(vec![("a", "model", rows)]), "p");
        assert!(text.contains("| model | full zstd -19 | default | 1 | 0.120 |"), "{text}");
        assert!(text.contains("| model | full zstd -19 | cm | 1 | 0.080 |"), "{text}");
        assert!(!text.contains("| model | neap"), "{text}");
        let full = text.lines().find(|line| line.starts_with("| full zstd -19 ")).expect("a row");
        assert!(full.contains("| 0.120 | 0.080 |"), "{full}");
    }

    #[test]
    fn every_row_of_a_table_has_as_many_cells_as_its_head() {
        let rows = vec![row(NEAP, 120, 2.0, 9), row(FULL, 1000, 9.0, 99)];
        let text = markdown(&record(vec![("a", "model", rows)]), "results.svg");
        let mut cell_count = None;
        for line in text.lines() {
            if !line.starts_with('|') {
                cell_count = None;
                continue;
            }
            let count = line.matches('|').count();
            assert_eq!(*cell_count.get_or_insert(count), count, "{line}");
        }
    }
}
