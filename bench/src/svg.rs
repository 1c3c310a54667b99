//! `results.svg`: one panel per pair, one bar per tool, patch size relative to the full image.
//!
//! Every panel has its own scale, up to its largest bar, because a good patch is a hundredth of a
//! bad one; the numbers beside the bars are what can be compared across panels.

use std::fmt::Write;

use crate::record::{PairRecord, Record};
use crate::stats::{float, ratio, readable};
use crate::tools::{FULL, is_neap};

const PANEL_WIDTH: usize = 560;
const COLUMN_COUNT: usize = 2;
/// Pixels around a picture.
pub(crate) const MARGIN: usize = 20;
const HEAD_HEIGHT: usize = 44;
const BAR_HEIGHT: usize = 18;
const LABEL_WIDTH: usize = 150;
const BAR_WIDTH_MAX: usize = 240;
/// Letters and colours of all our pictures.
pub(crate) const STYLE: &str = "text{font:12px sans-serif;fill:#222}\
    .head{font-weight:bold;font-size:14px}\
    .small{fill:#666}.neap{fill:#0b6e99}.other{fill:#b8c4cc}.absent{fill:#999;font-style:italic}";

/// The picture of a record.
#[must_use]
pub fn draw(record: &Record) -> String {
    let panels: Vec<&PairRecord> = record.pairs.iter().collect();
    let row_count = panels.iter().map(|pair| bars(pair).len()).max().unwrap_or(0);
    let panel_height = HEAD_HEIGHT + row_count * BAR_HEIGHT + MARGIN;
    let width = COLUMN_COUNT * PANEL_WIDTH + MARGIN;
    let height = panels.len().div_ceil(COLUMN_COUNT) * panel_height + HEAD_HEIGHT + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\"><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"head\" x=\"{MARGIN}\" y=\"28\">Patch size, as a part of the full image at \
         zstd -19 (shorter is better; each panel has its own scale)</text>\n",
    );
    for (index, pair) in panels.into_iter().enumerate() {
        let x = MARGIN + index % COLUMN_COUNT * PANEL_WIDTH;
        let y = HEAD_HEIGHT + index / COLUMN_COUNT * panel_height;
        svg.push_str(&panel(pair, x, y));
    }
    svg.push_str("</svg>\n");
    svg
}

/// A tool and its patch size; the full image is the measure and no bar.
fn bars(pair: &PairRecord) -> Vec<(&str, Option<u64>)> {
    let rows = pair.rows.iter().filter(|row| row.tool != FULL);
    rows.map(|row| (row.tool.as_str(), pair.patch_size(&row.tool))).collect()
}

fn panel(pair: &PairRecord, x: usize, y: usize) -> String {
    // Without a full image the plain target is the measure, and the panel says so.
    let full = pair.patch_size(FULL);
    let whole = float(full.unwrap_or(pair.pair.target_size).max(1));
    let measure = if full.is_some() { "full image" } else { "target, uncompressed," };
    let bars = bars(pair);
    let largest = bars.iter().filter_map(|(_, size)| *size).max().unwrap_or(1).max(1);

    let mut svg = String::new();
    let name = escaped(&pair.pair.name);
    let kind = escaped(&pair.pair.kind);
    // Below 2^53: whole is a size in bytes and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let size = readable(whole as u64);
    push(
        &mut svg,
        format_args!(
            "<g transform=\"translate({x},{y})\"><text class=\"head\" y=\"16\">{name}</text>\
             <text class=\"small\" y=\"32\">{kind}; {measure} {size} = 100 %</text>\n"
        ),
    );
    for (index, (tool, size)) in bars.into_iter().enumerate() {
        let top = HEAD_HEIGHT + index * BAR_HEIGHT;
        let base = top + 12;
        let label = LABEL_WIDTH - 8;
        let tool_text = escaped(tool);
        push(
            &mut svg,
            format_args!("<text x=\"{label}\" y=\"{base}\" text-anchor=\"end\">{tool_text}</text>"),
        );
        let Some(size) = size else {
            push(
                &mut svg,
                format_args!(
                    "<text class=\"absent\" x=\"{LABEL_WIDTH}\" y=\"{base}\">no result</text>\n"
                ),
            );
            continue;
        };
        let width = bar_width(size, largest);
        let class = if is_neap(tool) { "neap" } else { "other" };
        let percent = ratio(float(size), whole).unwrap_or(0.0) * 100.0;
        let beside = float(u64::try_from(LABEL_WIDTH).unwrap_or(0)) + width + 6.0;
        let size = readable(size);
        push(
            &mut svg,
            format_args!(
                "<rect class=\"{class}\" x=\"{LABEL_WIDTH}\" y=\"{top}\" width=\"{width:.1}\" \
                 height=\"14\"/><text x=\"{beside:.1}\" y=\"{base}\">{percent:.2} % · {size}\
                 </text>\n"
            ),
        );
    }
    svg.push_str("</g>\n");
    svg
}

/// Pixels of a bar; at least one, so that a tiny patch is still seen.
fn bar_width(size: u64, largest: u64) -> f64 {
    let full = float(u64::try_from(BAR_WIDTH_MAX).unwrap_or(0));
    (ratio(float(size), float(largest)).unwrap_or(0.0) * full).max(1.0)
}

/// Text as it may stand between tags.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Appends to a picture.
pub(crate) fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::{record, row};
    use crate::record::{Outcome, Row};
    use crate::tools::NEAP;

    #[test]
    fn every_tool_but_the_full_image_has_a_bar_or_says_that_it_has_none() {
        let absent = Row::empty("bsdiff", Outcome::NotInstalled, "not installed".into());
        let rows = vec![row(NEAP, 100, 1.0, 1), row(FULL, 1000, 1.0, 1), absent];
        let svg = draw(&record(vec![("a<b", "model", rows)]));
        assert_eq!(svg.matches("<rect class=").count(), 1);
        assert!(svg.contains("10.00 % · 100 B") && svg.contains("no result"), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"), "{svg}");
    }

    #[test]
    fn the_longest_bar_fills_the_panel_and_the_shortest_is_seen() {
        assert!((bar_width(500, 500) - 240.0).abs() < 1e-9);
        assert!((bar_width(1, 1_000_000) - 1.0).abs() < 1e-9);
    }
}
