//! A link in virtual time, and flows over it: what congestion control is judged by.
//!
//! [`Link`] says what the link is like, [`Sim`] runs flows over one bottleneck, [`Report`] says
//! what came of it. Nothing reads a clock or a socket; the same seed gives the same run. A flow is
//! a pair of `quinn-proto` endpoints, real TLS included, of which the server pushes.
#![allow(dead_code, reason = "the bench and the tests each use a part")]

mod flow;
mod report;
mod sim;

pub(crate) use flow::{FlowPlan, Wake};
pub(crate) use report::Report;
pub(crate) use sim::Sim;

use std::time::Duration;

/// IPv4 and UDP headers, in bytes: they take the link's time and its queue.
pub(crate) const IP_UDP_HEADERS: u64 = 28;

/// What a link is like. The data's direction has the rate and the queue; acknowledgements have the
/// same delay, loss and outages, and no limit of rate.
#[derive(Clone)]
pub(crate) struct Link {
    /// Rate from the beginning, in bit/s, IP and UDP headers included.
    pub(crate) rate: u64,
    /// When the rate changes and to what, in bit/s; ascending.
    pub(crate) steps: Vec<(Duration, u64)>,
    pub(crate) one_way: Duration,
    /// Longest extra delay; uniform, order kept.
    pub(crate) jitter: Duration,
    /// Of the droptail queue, in bytes of IP packets, without the one being sent.
    pub(crate) queue: u64,
    pub(crate) loss: Loss,
    /// From when on the way is longer, and by how much, each way.
    pub(crate) detour: Option<(Duration, Duration)>,
    /// From when to when whatever is sent is lost.
    pub(crate) outages: Vec<(Duration, Duration)>,
}

/// Packets that the link loses, apart from those its queue drops.
#[derive(Clone, Copy)]
pub(crate) enum Loss {
    /// Each by itself, so many in a million.
    Random { ppm: u64 },
    /// In runs: a good packet begins a run with `begin_ppm`, in which all are lost, and of which
    /// each packet is the last with `end_ppm`, in a million.
    Bursts { begin_ppm: u64, end_ppm: u64 },
}

impl Link {
    /// A link with a queue of one bandwidth-delay product; loss in per mille.
    pub(crate) fn new(rate_kbit: u64, rtt_ms: u64, loss_per_mille: u64) -> Self {
        Self {
            rate: rate_kbit * 1000,
            steps: Vec::new(),
            one_way: Duration::from_millis(rtt_ms) / 2,
            jitter: Duration::ZERO,
            queue: rate_kbit * rtt_ms / 8,
            loss: Loss::Random { ppm: loss_per_mille * 1000 },
            detour: None,
            outages: Vec::new(),
        }
    }

    /// The same with a queue of so many percent of a bandwidth-delay product.
    pub(crate) fn queue_percent(mut self, percent: u64) -> Self {
        self.queue = self.queue * percent / 100;
        self
    }

    /// The rate at a time since the beginning, in bit/s.
    pub(crate) fn rate_at(&self, at: Duration) -> u64 {
        self.steps.iter().rev().find(|step| step.0 <= at).map_or(self.rate, |step| step.1)
    }

    /// How long a packet takes from one end to the other.
    pub(crate) fn one_way_at(&self, at: Duration) -> Duration {
        let detour = self.detour.filter(|&(from, _)| from <= at);
        self.one_way + detour.map_or(Duration::ZERO, |(_, longer)| longer)
    }

    /// Bytes that the link can carry from one time to another; outages count as time lost.
    pub(crate) fn capacity(&self, from: Duration, to: Duration) -> u64 {
        let step = Duration::from_millis(10);
        let mut at = from;
        let mut bits = 0;
        while at < to {
            if !self.is_out(at) {
                bits += self.rate_at(at) / 100;
            }
            at += step;
        }
        bits / 8
    }

    pub(crate) fn is_out(&self, at: Duration) -> bool {
        self.outages.iter().any(|&(from, to)| from <= at && at < to)
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seeded, good enough to lose packets by.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether something of so many in a million happens now.
    pub(crate) fn happens(&mut self, ppm: u64) -> bool {
        self.draw() % 1_000_000 < ppm
    }
}
