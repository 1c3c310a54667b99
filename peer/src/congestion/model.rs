//! What is believed of the link, and the window that follows.

use super::Satellite;
use super::cubic::Cubic;
use super::rate::{Sampler, bytes_in, rate_of, time_of};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The link as acknowledgements show it.
#[derive(Debug, Clone)]
pub(super) struct Model {
    /// Upper bound, in bytes of IP packets per second.
    rate_max: Option<u64>,
    initial_window: u64,
    mtu: u64,
    sampler: Sampler,
    /// Shortest round trip, and when it was last measured.
    rtt_min: Option<(Duration, Instant)>,
    phase: Phase,
    /// Rates of the latest rounds, in bytes per second.
    rates: VecDeque<u64>,
    /// Loss of the latest rounds, in per mille.
    losses: VecDeque<u64>,
    round: Round,
    moment: Moment,
    search: Search,
    /// Rounds in a row that had a queue which was not meant.
    queued_rounds: u32,
    /// The window before the first of them, in bytes.
    window_before: u64,
    window: u64,
}

/// What the window is made from.
#[derive(Debug, Clone)]
enum Phase {
    /// The window grows by what is acknowledged, until there is a queue or no more to gain.
    StartUp { best: u64, rounds_without_gain: u32 },
    /// By the model.
    Cruise,
    /// Below what the link carries, to see the shortest round trip; so many rounds yet.
    Drain { rounds: u32 },
    /// Somebody else keeps the queue full: as CUBIC does. Just after a cut, by the model: if the
    /// queue goes, it was our own.
    Compete { cubic: Cubic, cut_at: Instant, is_looking: bool },
}

/// From the sending of a packet to its acknowledgement, or a little more.
#[derive(Debug, Clone)]
struct Round {
    start: Instant,
    rtt_min: Duration,
    /// Greatest sample, in bytes per second; nothing once the brake has measured better.
    rate: Option<u64>,
    acked: u64,
    lost: u64,
    is_app_limited: bool,
    is_braked: bool,
    is_over: bool,
}

/// A part of a round: short enough to see a queue before it is full, long enough to measure a rate.
#[derive(Debug, Clone)]
struct Moment {
    start: Instant,
    rtt_min: Duration,
    acked: u64,
}

/// The headroom, and whether a larger one found anything.
#[derive(Debug, Clone, Default)]
struct Search {
    /// Bytes of the window beyond what the link carries in a round trip; `None` is the usual.
    headroom: Option<u64>,
    /// Rate when the headroom was last seen to help, in bytes per second.
    rate: u64,
    /// Rounds since.
    rounds: u32,
    /// Rounds to wait before the next.
    rest: u32,
}

impl Model {
    pub(super) fn new(config: &Satellite, now: Instant, mtu: u16) -> Self {
        Self {
            rate_max: config.rate.map(|bits| bits / 8),
            initial_window: config.initial_window,
            mtu: u64::from(mtu),
            sampler: Sampler::new(),
            rtt_min: None,
            phase: START_UP,
            rates: VecDeque::new(),
            losses: VecDeque::new(),
            round: Round::new(now),
            moment: Moment::new(now),
            search: Search::default(),
            queued_rounds: 0,
            window_before: 0,
            window: config.initial_window,
        }
    }

    /// Bytes that may be in flight.
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// What the link is believed to deliver, in bytes per second; at most what it may.
    pub(super) fn rate(&self) -> u64 {
        let believed = self.rates.iter().copied().max().unwrap_or(0);
        self.rate_bound().map_or(believed, |bound| believed.min(bound))
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
        self.window = self.window.max(WINDOW_DATAGRAMS_MIN * self.mtu);
    }

    pub(super) fn send(&mut self, now: Instant) {
        if self.sampler.send(now) {
            self.round = Round::new(now);
            self.moment = Moment::new(now);
        }
    }

    /// A packet of so many bytes, sent at `sent`, was acknowledged.
    pub(super) fn ack(&mut self, now: Instant, sent: Instant, bytes: u64, is_app_limited: bool) {
        let rtt = now.saturating_duration_since(sent);
        if self.rtt_min.is_none_or(|(rtt_min, _)| rtt <= rtt_min) {
            self.rtt_min = Some((rtt, now));
        }
        self.sampler.ack(sent, bytes);
        if let Some(sample) = self.sampler.sample(now, sent) {
            self.round.rate = self.round.rate.max(Some(sample));
        }
        self.round.acked += bytes;
        self.round.rtt_min = self.round.rtt_min.min(rtt);
        self.round.is_app_limited |= is_app_limited;
        self.round.is_over |= sent >= self.round.start;
        self.moment.acked += bytes;
        self.moment.rtt_min = self.moment.rtt_min.min(rtt);
        if matches!(self.phase, Phase::StartUp { .. }) && !is_app_limited {
            self.window += bytes;
        }
    }

    /// The acknowledgements of one packet have ended, with so many bytes in flight.
    pub(super) fn end_batch(&mut self, now: Instant, in_flight: u64) {
        let Some((rtt_min, _)) = self.rtt_min else { return };
        self.sampler.end_batch(now, in_flight, rtt_min / 128);
        if let (Phase::StartUp { .. }, Some(bound)) = (&self.phase, self.rate_bound()) {
            self.rates.push_back(bound);
            self.phase = Phase::Cruise;
        }
        let moment_min = Duration::max(rtt_min / MOMENTS_PER_ROUND, Duration::from_millis(1));
        if now >= self.moment.start + moment_min && self.moment.acked >= MOMENT_DATAGRAMS * self.mtu
        {
            self.end_moment(now, rtt_min);
        }
        if self.round.is_over {
            self.end_round(now, rtt_min);
        }
        self.set_window(now);
    }

    /// Packets were lost, the latest of them sent at `sent`.
    pub(super) fn lose(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.round.lost += bytes;
        if let Phase::Compete { cubic, cut_at, is_looking } = &mut self.phase
            && sent > *cut_at
        {
            *cubic = cubic.cut(now, self.mtu);
            *cut_at = now;
            *is_looking = true;
            self.round = Round::new(now);
            self.set_window(now);
        }
    }

    /// Nothing was delivered for long. That is an outage, not congestion; but the link may have
    /// come back slower: as at the beginning, from a part of what it carried.
    pub(super) fn restart(&mut self, now: Instant) {
        let carried = self.rtt_min.map_or(0, |(rtt_min, _)| bytes_in(self.rate(), rtt_min));
        self.window = self.initial_window.max(carried / RESTART_PART);
        self.phase = START_UP;
        self.rates.clear();
        self.losses.clear();
        self.search = Search::default();
        self.queued_rounds = 0;
        self.round = Round::new(now);
        self.moment = Moment::new(now);
    }

    fn end_moment(&mut self, now: Instant, rtt_min: Duration) {
        let time = now.saturating_duration_since(self.moment.start);
        let delivered = rate_of(self.moment.acked, time);
        let queue = self.moment.rtt_min.saturating_sub(rtt_min);
        let limit = self.queue_limit(delivered, rtt_min);
        if queue > limit && !self.round.is_app_limited {
            self.brake(delivered);
        } else if matches!(self.phase, Phase::Compete { .. }) && queue < limit / 2 {
            self.phase = Phase::Cruise;
            self.queued_rounds = 0;
        }
        self.moment = Moment::new(now);
    }

    /// There is a queue that was not meant: what comes out of it is what the link, or our part of
    /// it, carries.
    fn brake(&mut self, delivered: u64) {
        if self.queued_rounds == 0 && !self.round.is_braked {
            self.window_before = self.window;
        }
        self.rates.clear();
        self.rates.push_back(delivered);
        self.round.is_braked = true;
        self.search = Search::default();
        if matches!(self.phase, Phase::StartUp { .. } | Phase::Drain { .. }) {
            self.phase = Phase::Cruise;
        }
    }

    fn end_round(&mut self, now: Instant, rtt_min: Duration) {
        let lost = self.round.lost * 1000 / (self.round.lost + self.round.acked).max(1);
        push(&mut self.losses, lost);
        let sample = self.round.rate.filter(|_| !self.round.is_braked).unwrap_or(0);
        if sample > self.rate() || (sample > 0 && !self.round.is_app_limited) {
            push(&mut self.rates, sample);
        }
        let queue = self.round.rtt_min.saturating_sub(rtt_min);
        match &mut self.phase {
            Phase::StartUp { best, rounds_without_gain } => {
                if sample >= *best + *best / 4 {
                    *best = sample;
                    *rounds_without_gain = 0;
                } else if !self.round.is_app_limited {
                    *rounds_without_gain += 1;
                }
                if *rounds_without_gain >= 3 || lost > LOSS_TOLERATED {
                    self.phase = Phase::Cruise;
                }
            }
            Phase::Cruise => self.cruise(now, rtt_min, queue, lost),
            Phase::Drain { rounds } => {
                *rounds -= 1;
                if *rounds == 0 {
                    self.rtt_min = Some((self.round.rtt_min, now));
                    self.phase = Phase::Cruise;
                }
            }
            Phase::Compete { is_looking, .. } => *is_looking = false,
        }
        self.round = Round::new(now);
    }

    /// A round by the model is over, whose shortest wait in the queue was `queue`.
    fn cruise(&mut self, now: Instant, rtt_min: Duration, queue: Duration, lost: u64) {
        let rate = self.rate();
        if queue > self.queue_limit(rate, rtt_min) {
            self.queued_rounds += 1;
            if self.queued_rounds >= QUEUED_ROUNDS_MAX {
                let start = self.window_before / 10 * 7;
                let cubic = Cubic::new(now, start, self.window_before, self.mtu);
                self.phase = Phase::Compete { cubic, cut_at: now, is_looking: false };
            }
            return;
        }
        self.queued_rounds = 0;
        let usual = self.usual_headroom(rate, rtt_min);
        let is_empty = queue < time_of(usual / 2, rate);
        self.search.end_round(rate, usual, bytes_in(rate, rtt_min) / 2, {
            is_empty && !self.round.is_app_limited && lost <= LOSS_TOLERATED
        });
        let is_stale = self.rtt_min.is_some_and(|(_, at)| now > at + RTT_MIN_AGE);
        if is_stale && !self.round.is_app_limited {
            self.search = Search::default();
            self.phase = Phase::Drain { rounds: 2 };
        }
    }

    fn set_window(&mut self, now: Instant) {
        let Some((rtt_min, _)) = self.rtt_min else { return };
        let rate = self.rate();
        // What is lost by chance has taken its place in flight as well.
        let lost = self.losses.iter().copied().min().unwrap_or(0).min(LOSS_TOLERATED);
        let carried = bytes_in(rate, rtt_min) * 1000 / (1000 - lost);
        let headroom = self.search.headroom.unwrap_or(self.usual_headroom(rate, rtt_min));
        let window = match &self.phase {
            Phase::StartUp { .. } => self.window,
            Phase::Cruise | Phase::Compete { is_looking: true, .. } => carried + headroom,
            Phase::Drain { .. } => carried / 4 * 3,
            Phase::Compete { cubic, .. } => cubic.window(now, self.mtu).max(carried + headroom),
        };
        // One datagram more, as quinn sends only while the window would not be full afterwards.
        let bound = self.rate_bound().map(|bound| bytes_in(bound, rtt_min) + self.mtu);
        let window = window.min(bound.unwrap_or(u64::MAX));
        self.window = window.max(WINDOW_DATAGRAMS_MIN * self.mtu);
    }

    /// The configured rate, in bytes of UDP payload per second.
    fn rate_bound(&self) -> Option<u64> {
        self.rate_max.map(|rate| rate * self.mtu / (self.mtu + IP_UDP_HEADERS))
    }

    /// Headroom in bytes where there is nothing to search for.
    fn usual_headroom(&self, rate: u64, rtt_min: Duration) -> u64 {
        let carried = bytes_in(rate, rtt_min);
        (HEADROOM_DATAGRAMS * self.mtu).min(carried / 4) + carried / HEADROOM_PART
    }

    /// The wait from which a queue is not meant.
    fn queue_limit(&self, rate: u64, rtt_min: Duration) -> Duration {
        (rtt_min / 8).max(2 * time_of(self.usual_headroom(rate, rtt_min), rate))
    }
}

impl Round {
    fn new(start: Instant) -> Self {
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
}

impl Moment {
    fn new(start: Instant) -> Self {
        Self { start, rtt_min: Duration::MAX, acked: 0 }
    }
}

impl Search {
    /// `has_room`: the round made no queue although the window was used.
    fn end_round(&mut self, rate: u64, usual: u64, most: u64, has_room: bool) {
        self.rest = self.rest.saturating_sub(1);
        if !has_room || self.rest > 0 {
            *self = Self { rest: self.rest, rate, ..Self::default() };
            return;
        }
        self.rounds += 1;
        if rate > self.rate + self.rate / 10 {
            self.rate = rate;
            self.rounds = 0;
        } else if self.rounds > SEARCH_ROUNDS_MAX {
            *self = Self { rest: SEARCH_REST_ROUNDS, ..Self::default() };
            return;
        }
        let headroom = self.headroom.unwrap_or(usual) * 2;
        self.headroom = Some(headroom.min(most).max(usual));
    }
}

fn push(recent: &mut VecDeque<u64>, value: u64) {
    if recent.len() == RECENT_ROUNDS {
        recent.pop_front();
    }
    recent.push_back(value);
}

const START_UP: Phase = Phase::StartUp { best: 0, rounds_without_gain: 0 };

/// IPv4 and UDP headers, in bytes: metered, but not in quinn's count.
const IP_UDP_HEADERS: u64 = 28;

/// Fewer would not make the receiver acknowledge at once (RFC 9000, section 13.2.2).
const WINDOW_DATAGRAMS_MIN: u64 = 4;

const RECENT_ROUNDS: usize = 8;
const MOMENTS_PER_ROUND: u32 = 4;
const MOMENT_DATAGRAMS: u64 = 8;
const HEADROOM_DATAGRAMS: u64 = 6;
const HEADROOM_PART: u64 = 32;
const QUEUED_ROUNDS_MAX: u32 = 3;
const LOSS_TOLERATED: u64 = 200;
const RTT_MIN_AGE: Duration = Duration::from_secs(30);
const SEARCH_ROUNDS_MAX: u32 = 6;
const SEARCH_REST_ROUNDS: u32 = 8;
const RESTART_PART: u64 = 4;
