//! What passed a link, and what did not: the lines of the statistics. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Packets and their bytes, IP headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    pub packets: u64,
    /// Their bytes together.
    pub bytes: u64,
}

/// One direction of a link, from some time to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// What the sending end gave to the link.
    pub offered: Count,
    /// What the other end was given. Later than `offered` by the queue and the delay.
    pub delivered: Count,
    /// Sent and lost on the air.
    pub lost: Count,
    /// Refused by a full queue; never sent.
    pub tail_dropped: Count,
    /// Swallowed by an outage.
    pub outage_dropped: Count,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From the shore to the site.
    Down,
    /// From the site to the shore.
    Up,
}

/// A line of the statistics, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// End of the time that is told of, in seconds since the link began.
    pub t_s: f64,
    /// Which way.
    pub way: Way,
    /// Whether this is the total since the link began, and not the last second.
    pub total: bool,
    /// The counts.
    #[serde(flatten)]
    pub tally: Tally,
}

impl Count {
    pub(super) fn add(&mut self, len: u64) {
        self.packets += 1;
        self.bytes += len;
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

impl Tally {
    /// What was added to an earlier tally.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            offered: self.offered.since(earlier.offered),
            delivered: self.delivered.since(earlier.delivered),
            lost: self.lost.since(earlier.lost),
            tail_dropped: self.tail_dropped.since(earlier.tail_dropped),
            outage_dropped: self.outage_dropped.since(earlier.outage_dropped),
        }
    }

    /// Bytes that were sent over the air and are paid for: all but what never left the queue and
    /// what an outage swallowed.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.offered.bytes.saturating_sub(self.tail_dropped.bytes + self.outage_dropped.bytes)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Up => "up",
        })
    }
}

/// The lines of a statistics file; a line that is cut off, as of a killed process, is left out.
#[must_use]
pub fn lines(text: &str) -> Vec<Line> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written_and_a_torn_one_is_left_out() {
        let mut tally = Tally::default();
        tally.offered.add(1500);
        tally.lost.add(1500);
        let line = Line { t_s: 1.0, way: Way::Down, total: false, tally };
        let text = serde_json::to_string(&line).expect("numbers are JSON");
        assert!(text.contains(r#""way":"down""#) && text.contains(r#""lost":{"packets":1"#));
        assert_eq!(lines(&format!("{text}\n{}", &text[..20])), [line]);
    }

    #[test]
    fn what_never_left_is_not_sent() {
        let mut tally = Tally::default();
        for part in [&mut tally.tail_dropped, &mut tally.outage_dropped, &mut tally.lost] {
            part.add(100);
        }
        tally.offered = Count { packets: 4, bytes: 400 };
        assert_eq!(tally.sent_bytes(), 200);
        assert_eq!(tally.since(&tally), Tally::default());
    }
}
