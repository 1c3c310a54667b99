//! What came of a run: goodput, surplus bytes, queueing delay.

use super::Link;
use std::time::Duration;

/// Length of the bins that bytes are counted in.
const BIN: Duration = Duration::from_millis(100);

/// Of one flow. Bytes are of UDP payload unless said.
#[derive(Default)]
pub(crate) struct FlowCount {
    pub(crate) sent: u64,
    /// Lost by the link itself, by chance or by an outage.
    pub(crate) lost: u64,
    /// Dropped by the full queue.
    pub(crate) dropped: u64,
    pub(crate) arrived: u64,
    /// Bytes of streams read at the receiver.
    pub(crate) delivered: u64,
    delivered_bins: Vec<u64>,
    sent_bins: Vec<u64>,
}

/// Of a run.
pub(crate) struct Report {
    pub(crate) link: Link,
    pub(crate) flows: Vec<FlowCount>,
    /// When a packet left the queue and how long it had waited there.
    pub(crate) waits: Vec<(Duration, Duration)>,
    pub(crate) duration: Duration,
}

impl FlowCount {
    pub(crate) fn deliver(&mut self, at: Duration, bytes: u64) {
        self.delivered += bytes;
        *bin(&mut self.delivered_bins, at) += bytes;
    }

    pub(crate) fn send(&mut self, at: Duration, bytes: u64) {
        self.sent += bytes;
        *bin(&mut self.sent_bins, at) += bytes;
    }

    fn delivered_between(&self, from: Duration, to: Duration) -> u64 {
        sum(&self.delivered_bins, from, to)
    }

    pub(crate) fn sent_between(&self, from: Duration, to: Duration) -> u64 {
        sum(&self.sent_bins, from, to)
    }
}

impl Report {
    /// Stream bytes delivered from one time to another, in percent of what the link can carry,
    /// its IP and UDP headers included: 95 is about the most that packets of 1,452 bytes reach.
    pub(crate) fn goodput(&self, flow: usize, from: Duration, to: Duration) -> f64 {
        let delivered = self.flows[flow].delivered_between(from, to);
        percent(delivered, self.link.capacity(from, to))
    }

    /// Goodput from [`Report::start_up`] to the end.
    pub(crate) fn goodput_after_start(&self, flow: usize) -> f64 {
        let from = self.start_up(flow).unwrap_or(self.duration / 2);
        self.goodput(flow, from, self.duration)
    }

    /// From the beginning of the handshake to the end of the first second with 80 % of the link.
    pub(crate) fn start_up(&self, flow: usize) -> Option<Duration> {
        self.back_up(flow, Duration::ZERO)
    }

    /// When the first second ends, from a time on, with 80 % of the link.
    pub(crate) fn back_up(&self, flow: usize, from: Duration) -> Option<Duration> {
        let mut at = from;
        while at + 10 * BIN <= self.duration {
            if self.goodput(flow, at, at + 10 * BIN) >= 80.0 {
                return Some(at + 10 * BIN);
            }
            at += BIN;
        }
        None
    }

    /// Bytes of UDP payload that reached the link in the whole run beyond what was needed, in
    /// percent of the stream bytes delivered: all sent, less those the link itself lost, less
    /// those still under way, less the stream bytes. It counts QUIC's headers (2.5 %), the
    /// handshake, drops by the queue, and what was sent again without need; a packet that the
    /// link lost by chance costs nothing here, its repetition being the needed one.
    pub(crate) fn surplus(&self, flow: usize) -> f64 {
        let count = &self.flows[flow];
        percent(count.arrived + count.dropped - count.delivered, count.delivered)
    }

    /// Bytes dropped by the queue, in percent of the stream bytes delivered.
    pub(crate) fn dropped(&self, flow: usize) -> f64 {
        percent(self.flows[flow].dropped, self.flows[flow].delivered)
    }

    /// Mean, 95th percentile and greatest wait in the queue, in ms, from a time to another.
    pub(crate) fn waits_ms(&self, from: Duration, to: Duration) -> (f64, f64, f64) {
        let mut waits: Vec<Duration> = self
            .waits
            .iter()
            .filter(|&&(at, _)| from <= at && at < to)
            .map(|&(_, wait)| wait)
            .collect();
        waits.sort_unstable();
        let Some(last) = waits.last() else { return (0.0, 0.0, 0.0) };
        let count = u32::try_from(waits.len()).expect("a run has few packets");
        let mean = waits.iter().sum::<Duration>() / count;
        let p95 = waits[(waits.len() - 1) * 95 / 100];
        (ms(mean), ms(p95), ms(*last))
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn bin(bins: &mut Vec<u64>, at: Duration) -> &mut u64 {
    let index = index(at);
    if bins.len() <= index {
        bins.resize(index + 1, 0);
    }
    &mut bins[index]
}

fn sum(bins: &[u64], from: Duration, to: Duration) -> u64 {
    let to = index(to).min(bins.len());
    bins[index(from).min(to)..to].iter().sum()
}

fn index(at: Duration) -> usize {
    usize::try_from(at.as_millis() / BIN.as_millis()).expect("runs are short")
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}
