//! `timeline.svg`: what a site's link carried and what its devices had, second by second.
//!
//! Above, the link to the site: delivered bytes of each second as bars of its rate, with what was
//! lost or dropped on top. Below, a line for each device, from nothing to the whole blob; the
//! rival's is grey. Outages are shaded over both, kills marked on the device's line.

use neap_sim::bed::tally::{Line, Way};

use crate::site::record::{Sample, SiteRecord};
use crate::stats::{float, ratio, readable};
use crate::svg::{MARGIN, STYLE, escaped, push};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const LINK_TOP: f64 = 60.0;
const LINK_HEIGHT: f64 = 140.0;
const PROGRESS_TOP: f64 = 240.0;
const PROGRESS_HEIGHT: f64 = 220.0;
const BOTTOM: f64 = PROGRESS_TOP + PROGRESS_HEIGHT;
const MORE_STYLE: &str = ".outage{fill:#f3d9d9}.lost{fill:#c0504d}.axis{stroke:#666}\
    .line{fill:none;stroke:#0b6e99;stroke-opacity:.7}\
    .rival{fill:none;stroke:#999}.kill{stroke:#c0504d;stroke-width:2}";

/// The picture of a run, with the lines of its link's statistics.
#[must_use]
pub fn draw(record: &SiteRecord, lines: &[Line]) -> String {
    let end_s = record.wall_s.max(1.0);
    let x = |t_s: f64| LEFT + (t_s / end_s).clamp(0.0, 1.0) * WIDTH;
    let (full_width, full_height) = (LEFT + WIDTH + 30.0, BOTTOM + 40.0);
    let title = escaped(&format!(
        "{}, {} devices, {}, {}",
        record.method,
        record.device_count,
        readable(record.blob_bytes),
        record.link
    ));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full_width} {full_height}\" \
         width=\"{full_width}\" height=\"{full_height}\"><style>{STYLE}{MORE_STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"head\" x=\"{MARGIN}\" y=\"28\">{title}</text>\n"
    );
    for (start, end) in &record.outages {
        let (left, width) = (x(*start), x(*end) - x(*start));
        let height = BOTTOM - LINK_TOP;
        push(
            &mut svg,
            format_args!(
                "<rect class=\"outage\" x=\"{left:.1}\" y=\"{LINK_TOP}\" width=\"{width:.1}\" \
                 height=\"{height}\"/>\n"
            ),
        );
    }
    draw_link(&mut svg, record, lines, &x);
    draw_progress(&mut svg, record, &x);
    draw_axes(&mut svg, end_s, &x);
    svg.push_str("</svg>\n");
    svg
}

/// Bars of each second: delivered, and on top of it what was lost or dropped.
fn draw_link(svg: &mut String, record: &SiteRecord, lines: &[Line], x: &dyn Fn(f64) -> f64) {
    let rate = float(record.rate_bit_s) / 8.0;
    let base = LINK_TOP + LINK_HEIGHT;
    let seconds = lines.iter().filter(|line| !line.total && line.way == Way::Down);
    for line in seconds.filter(|line| line.t_s <= record.wall_s + 1.0) {
        let tally = &line.tally;
        let bad = tally.lost.bytes + tally.tail_dropped.bytes + tally.outage_dropped.bytes;
        let part = |bytes: u64| ratio(float(bytes), rate).unwrap_or(0.0) * LINK_HEIGHT;
        let good_height = part(tally.delivered.bytes).min(LINK_HEIGHT);
        // What is dropped at the tail may be many times the rate.
        let bad_height = part(bad).min(LINK_HEIGHT * 1.2 - good_height);
        let (left, width) = (x(line.t_s - 1.0), x(line.t_s) - x(line.t_s - 1.0));
        for (class, height, top) in [
            ("neap", good_height, base - good_height),
            ("lost", bad_height, base - good_height - bad_height),
        ] {
            if height > 0.0 {
                push(
                    svg,
                    format_args!(
                        "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" \
                         width=\"{width:.1}\" height=\"{height:.1}\"/>"
                    ),
                );
            }
        }
    }
    let label = base + 16.0;
    let (down, up) = (readable(record.down.sent_bytes()), readable(record.up.sent_bytes()));
    push(
        svg,
        format_args!(
            "\n<text class=\"small\" x=\"{LEFT}\" y=\"{label}\">link to the site, as a part of its \
             rate; {down} down and {up} up in all; red: lost or dropped</text>\n"
        ),
    );
}

/// A line for each device, and a mark for each kill.
fn draw_progress(svg: &mut String, record: &SiteRecord, x: &dyn Fn(f64) -> f64) {
    let y = |bytes: u64| {
        let part = ratio(float(bytes), float(record.blob_bytes)).unwrap_or(0.0);
        BOTTOM - part.min(1.0) * PROGRESS_HEIGHT
    };
    // The rival is the one after the last.
    for device in 1..=record.device_count + 1 {
        let class = if device <= record.device_count { "line" } else { "rival" };
        let own = record.samples.iter().filter(|sample| sample.device == device);
        let points: Vec<String> =
            own.map(|sample| format!("{:.1},{:.1}", x(sample.t_s), y(sample.bytes))).collect();
        if points.is_empty() {
            continue;
        }
        let points = points.join(" ");
        push(svg, format_args!("<polyline class=\"{class}\" points=\"{points}\"/>\n"));
    }
    for kill in &record.kills {
        let before = |sample: &&Sample| sample.device == kill.device && sample.t_s <= kill.t_s;
        let bytes = record.samples.iter().rfind(before).map_or(0, |sample| sample.bytes);
        let (cx, cy) = (x(kill.t_s), y(bytes));
        push(
            svg,
            format_args!(
                "<path class=\"kill\" d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\"/>\
                 <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">dev{} killed</text>\n",
                cx - 5.0,
                cy - 5.0,
                cx + 8.0,
                cy - 6.0,
                kill.device
            ),
        );
    }
}

fn draw_axes(svg: &mut String, end_s: f64, x: &dyn Fn(f64) -> f64) {
    let right = LEFT + WIDTH;
    for (top, height) in [(LINK_TOP, LINK_HEIGHT), (PROGRESS_TOP, PROGRESS_HEIGHT)] {
        let base = top + height;
        push(
            svg,
            format_args!("<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {top}V{base}H{right}\"/>"),
        );
        for (text, at) in [("100 %", top), ("0", base)] {
            let (label, middle) = (LEFT - 6.0, at + 4.0);
            push(
                svg,
                format_args!(
                    "<text class=\"small\" text-anchor=\"end\" x=\"{label}\" y=\"{middle}\">{text}\
                     </text>\n"
                ),
            );
        }
    }
    let step = tick(end_s);
    let mut at = 0.0;
    while at <= end_s {
        let (left, below) = (x(at), BOTTOM + 16.0);
        push(
            svg,
            format_args!(
                "<text class=\"small\" text-anchor=\"middle\" x=\"{left:.1}\" y=\"{below}\">{at} s\
                 </text>\n"
            ),
        );
        at += step;
    }
}

/// Seconds between marks: 1, 2 or 5 times a power of ten, such that there are at most twelve.
fn tick(end_s: f64) -> f64 {
    let mut step = 1.0;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if end_s / step <= 12.0 {
            break;
        }
        step *= factor;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::record::tests::record;

    #[test]
    fn outages_kills_bars_and_lines_are_drawn() {
        let mut tally = neap_sim::bed::tally::Tally::default();
        tally.delivered.bytes = 625_000;
        tally.tail_dropped.bytes = 1 << 30;
        let line = Line { t_s: 1.0, way: Way::Down, total: false, tally };
        let others = [Line { way: Way::Up, ..line }, Line { total: true, ..line }];
        let svg = draw(&record(), &[&[line], &others[..]].concat());
        for (what, count) in [
            ("class=\"outage\"", 1),
            ("class=\"neap\"", 1),
            ("class=\"lost\"", 1),
            ("<polyline", 1),
            ("dev1 killed", 1),
        ] {
            assert_eq!(svg.matches(what).count(), count, "{what} in {svg}");
        }
        // Half the rate is half the height.
        assert!(svg.contains("height=\"70.0\""), "{svg}");
    }

    #[test]
    fn marks_are_few_and_round() {
        assert_eq!([8.0, 13.0, 60.0, 100.0, 700.0].map(tick), [1.0, 2.0, 5.0, 10.0, 100.0]);
    }
}
