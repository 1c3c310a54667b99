//! What was measured on a site, and its row of the table.

use std::collections::BTreeMap;

use neap_sim::bed::NS_PER_S;
use neap_sim::bed::site::LanBytes;
use neap_sim::bed::tally::Tally;
use serde::Serialize;

use super::scenario::Kill;
use crate::stats::{float, mebibytes, ratio, readable, seconds};

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct SiteRecord {
    /// How the devices got the blob.
    pub method: String,
    /// The link, in words.
    pub link: String,
    /// Rate from shore to site.
    pub rate_bit_s: u64,
    /// Devices.
    pub device_count: u32,
    /// Bytes of the blob.
    pub blob_bytes: u64,
    /// Seconds until the last device had it, or the run was ended.
    pub wall_s: f64,
    /// Whether all devices had it.
    pub complete: bool,
    /// Seconds that the blob takes once over the link, without delay, loss and headers, outages
    /// waited for.
    pub fluid_s: f64,
    /// What crossed the link to the site.
    pub down: Tally,
    /// What crossed the link to the shore.
    pub up: Tally,
    /// Bytes of the blob that devices got from second `startup` on, as a part of what the link
    /// could carry; nothing where they had it before.
    pub goodput: Option<f64>,
    /// What the rival got in the same time, as a part of the same.
    pub rival_goodput: Option<f64>,
    /// Processor seconds of the link emulator.
    pub emulator_cpu_s: f64,
    /// Every process, the shore's first.
    pub nodes: Vec<NodeRecord>,
    /// Processes killed, and when that was.
    pub kills: Vec<Kill>,
    /// Devices that got another address, and when that was.
    pub readdressed: Vec<Kill>,
    /// The device that lies, if one does.
    pub liar: Option<u32>,
    /// Who gave wrong bytes, and how many devices say so.
    pub blamed: BTreeMap<String, u32>,
    /// Outages, first second and last, until the end.
    pub outages: Vec<(f64, f64)>,
    /// What devices had, over time.
    pub samples: Vec<Sample>,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeRecord {
    /// As `dev1`.
    pub name: String,
    /// How its process ended.
    pub end: String,
    /// Seconds until it had all; nothing where it never had.
    pub done_s: Option<f64>,
    /// Most resident memory of its processes, in bytes.
    pub peak_rss: u64,
    /// What crossed its LAN cable; nothing of the shore.
    pub lan: Option<LanBytes>,
}

/// How much a device had at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the devices were started.
    pub t_s: f64,
    /// The device, from 1; the rival is the one after the last.
    pub device: u32,
    /// Bytes.
    pub bytes: u64,
}

/// The head of the table.
pub const HEAD: &str = "\
| method | devices | blob | link | complete | down ÷ blob | up ÷ blob | s | ÷ fluid | \
goodput | rival | MiB shore | MiB device | sent to LAN |
|---|--:|--:|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";

impl SiteRecord {
    /// Bytes sent over the air to the site, of those of the blob.
    #[must_use]
    pub fn down_ratio(&self) -> f64 {
        ratio(float(self.down.sent_bytes()), float(self.blob_bytes)).unwrap_or(0.0)
    }

    /// Bytes sent over the air to the shore, of those of the blob.
    #[must_use]
    pub fn up_ratio(&self) -> f64 {
        ratio(float(self.up.sent_bytes()), float(self.blob_bytes)).unwrap_or(0.0)
    }

    /// The row of the table.
    #[must_use]
    pub fn row(&self) -> String {
        let time = ratio(self.wall_s, self.fluid_s).filter(|_| self.complete);
        let peak = |of: &dyn Fn(&&NodeRecord) -> bool| {
            mebibytes(self.nodes.iter().filter(of).map(|node| node.peak_rss).max().unwrap_or(0))
        };
        let shore = peak(&|node| node.lan.is_none());
        let liar = self.liar.map(|index| format!("dev{index}"));
        let device = peak(&|node| node.lan.is_some() && Some(&node.name) != liar.as_ref());
        let lan: u64 = self.nodes.iter().filter_map(|node| Some(node.lan?.sent)).sum();
        let optional = |value: Option<String>| value.unwrap_or_else(|| "–".into());
        let percent =
            |part: Option<f64>| optional(part.map(|part| format!("{:.1} %", part * 100.0)));
        format!(
            "| {} | {} | {} | {} | {} | {:.3} | {:.3} | {} | {} | {} | {} | \
             {shore} | {device} | {} |\n",
            self.method,
            self.device_count,
            readable(self.blob_bytes),
            self.link,
            if self.complete { "yes" } else { "no" },
            self.down_ratio(),
            self.up_ratio(),
            seconds(self.wall_s),
            optional(time.map(|ratio| format!("{ratio:.2}"))),
            percent(self.goodput),
            percent(self.rival_goodput),
            readable(lan),
        )
    }
}

/// Goodput of the devices and of the rival, from `startup_s` until the first device has all or the
/// samples end; nothing where that is less than a second.
#[must_use]
pub fn goodput(
    samples: &[Sample],
    (device_count, blob_bytes): (u32, u64),
    startup_s: f64,
    rate_bit_s: u64,
) -> Option<(f64, f64)> {
    let (ours, rival): (Vec<&Sample>, Vec<&Sample>) =
        samples.iter().partition(|sample| sample.device <= device_count);
    let first_full = ours.iter().filter(|sample| sample.bytes >= blob_bytes);
    let last = samples.last().map_or(0.0, |sample| sample.t_s);
    let end_s = first_full.map(|sample| sample.t_s).fold(last, f64::min);
    let begin_s = samples.iter().map(|sample| sample.t_s).find(|t_s| *t_s >= startup_s)?;
    if end_s - begin_s < 1.0 {
        return None;
    }
    let at = |of: &[&Sample], t_s: f64, most: u64| -> f64 {
        let near = of.iter().filter(|sample| (sample.t_s - t_s).abs() < 1e-6);
        near.map(|sample| float(sample.bytes.min(most))).sum()
    };
    let part = |of: &[&Sample], most: u64| {
        let bits = (at(of, end_s, most) - at(of, begin_s, most)) * 8.0;
        ratio(bits / (end_s - begin_s), float(rate_bit_s))
    };
    Some((part(&ours, blob_bytes)?, part(&rival, u64::MAX)?))
}

/// Nanoseconds of the testbed as seconds.
#[must_use]
pub fn seconds_of(ns: u64) -> f64 {
    float(ns) / float(NS_PER_S)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record() -> SiteRecord {
        let node = |name: &str, lan| NodeRecord {
            name: name.into(),
            end: "exit status: 0".into(),
            done_s: Some(12.0),
            peak_rss: 20 << 20,
            lan,
        };
        let mut down = Tally::default();
        down.offered.bytes = 10_500_000;
        SiteRecord {
            method: "neap".into(),
            link: "10000 kbit/s".into(),
            rate_bit_s: 10_000_000,
            device_count: 1,
            blob_bytes: 10_000_000,
            wall_s: 12.0,
            complete: true,
            fluid_s: 8.0,
            down,
            up: Tally::default(),
            goodput: Some(0.9),
            rival_goodput: None,
            emulator_cpu_s: 0.1,
            nodes: vec![node("shore", None), node("dev1", Some(LanBytes::default()))],
            readdressed: Vec::new(),
            liar: None,
            blamed: BTreeMap::new(),
            kills: vec![Kill { device: 1, t_s: 3.0 }],
            outages: vec![(5.0, 7.0)],
            samples: samples(),
        }
    }

    /// A megabyte a second, from the first on.
    fn samples() -> Vec<Sample> {
        let at = |second: u32| Sample {
            t_s: f64::from(second),
            device: 1,
            bytes: u64::from(second) * 1_000_000,
        };
        (0..=12).map(at).collect()
    }

    #[test]
    fn a_row_has_a_cell_for_each_head() {
        let columns = |line: &str| line.matches('|').count();
        let head = HEAD.lines().next().map(columns);
        assert_eq!(Some(columns(&record().row())), head);
        assert!(record().row().contains("| 1.050 | 0.000 | 12.00 | 1.50 | 90.0 % | – |"));
        let cut = SiteRecord { complete: false, goodput: None, ..record() };
        assert!(cut.row().contains("| no |") && cut.row().contains("| 12.00 | – | – |"));
    }

    #[test]
    fn goodput_is_taken_between_start_up_and_the_first_that_has_all() {
        let mut samples = samples();
        let (ours, rival) =
            goodput(&samples, (1, 10_000_000), 4.0, 16_000_000).expect("seconds 4 to 10");
        assert!((ours - 0.5).abs() < 1e-9 && rival == 0.0, "{ours} {rival}");
        assert_eq!(goodput(&samples, (1, 4_500_000), 4.5, 16_000_000), None);
        let half = |sample: &Sample| Sample { device: 2, bytes: sample.bytes / 2, ..*sample };
        samples.extend(samples.clone().iter().map(half));
        let both = goodput(&samples, (1, 10_000_000), 4.0, 16_000_000).expect("seconds 4 to 10");
        assert!((both.0 - 0.5).abs() < 1e-9 && (both.1 - 0.25).abs() < 1e-9, "{both:?}");
        assert_eq!(goodput(&[], (1, 1), 0.0, 1), None);
    }
}
