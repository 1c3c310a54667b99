//! `ablation.md`: what each part of the diff is worth, pair by pair and in geometric means.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::ablation::{AblationPair, AblationRecord, CODERS, PARTS};
use crate::stats::{float, geometric_mean, grouped, ratio};

/// Bytes by which a part may enlarge a patch before it is marked: what it adds to the header.
const HEADER_MARGIN: u64 = 16;

/// The whole report.
#[must_use]
pub fn markdown(record: &AblationRecord) -> String {
    let machine = &record.machine;
    let mut text = format!(
        "# What each part of the diff is worth\n\nPatch bytes with everything on, and with one \
         part left out at a time, on {} ({} cores), {}. Every patch was applied and its target \
         compared. `without ÷ with` above 1 means that the part makes patches smaller; **bold** \
         where it makes one larger by more than {HEADER_MARGIN} bytes. Without `refs` there are \
         neither `moves` nor `rematch`.\n",
        machine.cpu, machine.core_count, machine.system,
    );
    for (coder, _) in CODERS {
        if record.pairs.iter().any(|pair| pair.patch(coder, None).is_some()) {
            text.push_str(&coder_tables(record, coder));
        }
    }
    text.push_str(&failures(record));
    text
}

fn coder_tables(record: &AblationRecord, coder: &str) -> String {
    let parts = PARTS.map(|(part, _)| part);
    let mut text = format!("\n## Coder `{coder}`\n\n| pair | everything on |");
    parts.iter().for_each(|part| push(&mut text, format_args!(" without `{part}` | ÷ with |")));
    text.push_str("\n|---|---:|");
    text.push_str(&"---:|---:|".repeat(parts.len()));
    text.push('\n');
    for pair in &record.pairs {
        let with = pair.size(coder, None);
        push(&mut text, format_args!("| {} | {} |", pair.pair.name, bytes(with)));
        for part in parts {
            let without = pair.size(coder, Some(part));
            push(&mut text, format_args!(" {} | {} |", bytes(without), worth(with, without)));
        }
        text.push('\n');
    }
    push(
        &mut text,
        format_args!(
            "\nGeometric means of `without ÷ with`, and of the time of a diff with everything on \
             over that without `refs` (single runs):\n\n| kind | pairs | {} | time |\n\
             |---|---:|{}---:|\n",
            parts.map(|part| format!("`{part}`")).join(" | "),
            "---:|".repeat(parts.len()),
        ),
    );
    for (kind, pairs) in kinds(record, coder) {
        push(&mut text, format_args!("| {kind} | {} |", pairs.len()));
        for part in parts {
            let each = |pair: &&AblationPair| {
                let without = pair.size(coder, Some(part))?;
                ratio(float(without), float(pair.size(coder, None)?))
            };
            push(&mut text, format_args!(" {} |", mean(&pairs, each)));
        }
        let time = |pair: &&AblationPair| {
            let without = pair.patch(coder, Some(parts[0]))?;
            ratio(pair.patch(coder, None)?.diff_s, without.diff_s)
        };
        push(&mut text, format_args!(" {} |\n", mean(&pairs, time)));
    }
    text
}

/// The pairs that have a patch with everything on, by kind, and all of them.
fn kinds<'a>(record: &'a AblationRecord, coder: &str) -> BTreeMap<&'a str, Vec<&'a AblationPair>> {
    let mut kinds: BTreeMap<&str, Vec<&AblationPair>> = BTreeMap::new();
    for pair in record.pairs.iter().filter(|pair| pair.size(coder, None).is_some()) {
        kinds.entry(&pair.pair.kind).or_default().push(pair);
        kinds.entry("*all*").or_default().push(pair);
    }
    kinds
}

fn mean(pairs: &[&AblationPair], value: impl Fn(&&AblationPair) -> Option<f64>) -> String {
    let values: Vec<f64> = pairs.iter().filter_map(value).collect();
    geometric_mean(&values).map_or_else(|| "–".to_owned(), |mean| format!("{mean:.3}"))
}

fn worth(with: Option<u64>, without: Option<u64>) -> String {
    let (Some(with), Some(without)) = (with, without) else { return "–".to_owned() };
    let Some(ratio) = ratio(float(without), float(with)) else { return "–".to_owned() };
    if with > without.saturating_add(HEADER_MARGIN) {
        format!("**{ratio:.3}**")
    } else {
        format!("{ratio:.3}")
    }
}

fn bytes(size: Option<u64>) -> String {
    size.map_or_else(|| "–".to_owned(), grouped)
}

fn failures(record: &AblationRecord) -> String {
    let mut text = String::new();
    for pair in &record.pairs {
        for patch in pair.patches.iter().filter(|patch| patch.patch_size.is_none()) {
            let without = patch.without.as_deref().unwrap_or("nothing");
            let (name, coder) = (&pair.pair.name, &patch.coder);
            let reason = &patch.reason;
            push(&mut text, format_args!("- {name}, `{coder}` without {without}: {reason}\n"));
        }
    }
    if text.is_empty() { text } else { format!("\n## No result\n\n{text}") }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ablation::AblationPatch;
    use crate::machine::Machine;
    use crate::pairs::Pair;

    fn pair(name: &str, sizes: [Option<u64>; 6]) -> AblationPair {
        let pair = Pair {
            name: name.into(),
            kind: "executable-x86_64".into(),
            source_size: 1000,
            target_size: 1000,
            source_version: "1".into(),
            target_version: "2".into(),
            sets: Vec::new(),
            source: "s".into(),
            target: "t".into(),
        };
        let withouts = [None].into_iter().chain(PARTS.map(|(part, _)| Some(part.to_owned())));
        let patch = |(without, patch_size): (Option<String>, Option<u64>)| AblationPatch {
            coder: "cm".into(),
            without,
            patch_size,
            diff_s: 2.0,
            reason: if patch_size.is_none() { "broken".into() } else { String::new() },
        };
        let patches = withouts.zip(sizes).map(patch).collect();
        AblationPair { pair, load_before: 0.0, patches }
    }

    fn text(pairs: Vec<AblationPair>) -> String {
        markdown(&AblationRecord { machine: Machine::default(), pairs })
    }

    #[test]
    fn a_part_that_enlarges_a_patch_by_more_than_its_header_is_marked() {
        let text = text(vec![pair("a", [1000, 2000, 1000, 984, 983, 1000].map(Some))]);
        let row = "| a | 1,000 | 2,000 | 2.000 | 1,000 | 1.000 | 984 | 0.984 | 983 | **0.983** \
                   | 1,000 | 1.000 |";
        assert!(text.contains(row), "{text}");
        assert!(!text.contains("Coder `zstd`"), "no patch was made with it: {text}");
    }

    #[test]
    fn means_leave_out_what_was_not_measured_and_failures_are_told() {
        let first = pair("a", [100, 400, 100, 100, 100, 100].map(Some));
        let sizes = [Some(100), Some(100), Some(100), None, Some(100), Some(100)];
        let second = pair("b", sizes);
        let text = text(vec![first, second]);
        let mean = "| executable-x86_64 | 2 | 2.000 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 |";
        assert!(text.contains(mean), "{text}");
        assert!(text.contains("- b, `cm` without moves: broken"), "{text}");
    }

    #[test]
    fn every_row_of_a_table_has_as_many_cells_as_its_head() {
        let text = text(vec![pair("a", [Some(9), Some(9), Some(9), None, Some(9), None])]);
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
