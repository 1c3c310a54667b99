//! Spans of time that measurements are taken over.

use std::time::{Duration, Instant};

/// From a time until a packet sent after it is acknowledged. Counted so, a round is a round trip
/// however long the queue has become.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) start: Instant,
    pub(super) rtt_min: Duration,
    /// Greatest sample, in bytes per second.
    pub(super) rate: Option<u64>,
    /// Bytes.
    pub(super) acked: u64,
    pub(super) lost: u64,
    pub(super) is_app_limited: bool,
    /// A moment of it has measured the rate better than its own samples do.
    pub(super) is_braked: bool,
    pub(super) is_over: bool,
}

impl Round {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            rtt_min: Duration::MAX,
            rate: None,
            acked: 0,
            lost: 0,
            is_app_limited: false,
            is_braked: false,
            is_over: false,
        }
    }

    /// A packet was acknowledged, after `rtt`, with the sampler at `rate`.
    pub(super) fn ack(&mut self, sent: Instant, rtt: Duration, bytes: u64, rate: Option<u64>) {
        self.rtt_min = self.rtt_min.min(rtt);
        self.rate = self.rate.max(rate);
        self.acked += bytes;
        self.is_over |= sent >= self.start;
    }

    /// Loss in per mille. Of a few packets it says nothing, and is none.
    pub(super) fn loss(&self, mtu: u64) -> u64 {
        if self.lost <= LOST_DATAGRAMS_MIN * mtu {
            return 0;
        }
        self.lost * 1000 / (self.lost + self.acked)
    }
}

/// A part of a round: short enough to see a queue before it is full, long enough to measure a rate.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) start: Instant,
    pub(super) rtt_min: Duration,
    /// Bytes.
    pub(super) acked: u64,
}

impl Moment {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, rtt_min: Duration::MAX, acked: 0 }
    }

    pub(super) fn ack(&mut self, rtt: Duration, bytes: u64) {
        self.rtt_min = self.rtt_min.min(rtt);
        self.acked += bytes;
    }

    pub(super) fn is_over(&self, now: Instant, rtt_min: Duration, mtu: u64) -> bool {
        let time_min = Duration::max(rtt_min / MOMENTS_PER_ROUND, Duration::from_millis(1));
        now >= self.start + time_min && self.acked >= MOMENT_DATAGRAMS_MIN * mtu
    }
}

/// Eight of 200 lost could be by chance at 2 %, twice as many could not.
const LOST_DATAGRAMS_MIN: u64 = 8;

const MOMENTS_PER_ROUND: u32 = 4;

/// Four acknowledgements at a receiver that acknowledges every second packet: the rate is then
/// known to a quarter, and the shortest of their round trips is no accident.
const MOMENT_DATAGRAMS_MIN: u64 = 8;
