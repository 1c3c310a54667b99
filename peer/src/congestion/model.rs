//! What is believed of the link, and the window that follows.

use super::Satellite;
use super::cubic::Cubic;
use super::train::Trains;
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
    trains: Trains,
    /// Shortest round trip, and when it was last measured.
    rtt_min: Option<(Duration, Instant)>,
    phase: Phase,
    /// Rates of the latest rounds, in bytes per second.
    rates: VecDeque<u64>,
    round: Round,
    moment: Moment,
    /// Shortest wait in the queue in the latest moment.
    queue: Duration,
    search: Search,
    /// Since there is a queue that was not meant.
    braked: Option<Braked>,
    /// The window when last somebody else was met, in bytes, and when that was.
    met: Option<(u64, Instant)>,
    window: u64,
}

/// We have slowed down for a queue: it goes, or it is not ours.
#[derive(Debug, Clone)]
struct Braked {
    /// The window before, in bytes.
    window: u64,
    /// Rounds that have ended since.
    rounds: u32,
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
    /// Somebody else keeps the queue full: as CUBIC does.
    Compete(Compete),
}

/// A flow among others.
#[derive(Debug, Clone)]
struct Compete {
    cubic: Cubic,
    cut_at: Instant,
    /// After some cuts the window is that of the model for so many rounds yet: if the queue goes and
    /// stays away, it was our own.
    look_rounds: u32,
    /// Looks that found somebody.
    looks: u32,
    /// Cuts before the next look.
    cuts: u32,
    /// Rounds in a row without a queue.
    empty_rounds: u32,
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
            trains: Trains::new(),
            rtt_min: None,
            phase: START_UP,
            rates: VecDeque::new(),
            round: Round::new(now),
            moment: Moment::new(now),
            queue: Duration::ZERO,
            search: Search::default(),
            braked: None,
            met: None,
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
        match &mut self.rtt_min {
            Some((rtt_min, at)) if rtt <= *rtt_min + *rtt_min / 64 => {
                *rtt_min = rtt.min(*rtt_min);
                *at = now;
            }
            Some(_) => {}
            None => self.rtt_min = Some((rtt, now)),
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
            self.trains.ack(now, sent, bytes, self.mtu);
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
        if let Phase::Compete(compete) = &mut self.phase
            && sent > compete.cut_at
        {
            compete.cut(now, self.mtu);
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
        self.search = Search::default();
        self.braked = None;
        self.trains = Trains::new();
        self.round = Round::new(now);
        self.moment = Moment::new(now);
    }

    fn end_moment(&mut self, now: Instant, rtt_min: Duration) {
        let time = now.saturating_duration_since(self.moment.start);
        let delivered = rate_of(self.moment.acked, time);
        let queue = self.moment.rtt_min.saturating_sub(rtt_min);
        let limit = self.queue_limit(delivered, rtt_min);
        self.queue = queue;
        let limit = if matches!(self.phase, Phase::StartUp { .. }) { limit / 2 } else { limit };
        let is_competing = matches!(self.phase, Phase::Compete(_));
        if queue > limit && !is_competing && !self.round.is_app_limited {
            self.brake(now, delivered);
        }
        self.moment = Moment::new(now);
    }

    /// There is a queue that was not meant: what comes out of it is what the link, or our part of
    /// it, carries.
    fn brake(&mut self, now: Instant, delivered: u64) {
        self.braked.get_or_insert(Braked { window: self.window, rounds: 0 });
        self.rates.clear();
        self.rates.push_back(delivered);
        self.round.is_braked = true;
        self.search = Search::default();
        self.phase = Phase::Cruise;
        if let Some((window, _)) = self.met.filter(|&(_, at)| now < at + MET_AGE) {
            self.phase = Phase::Compete(Compete::new(now, window, self.mtu));
        }
    }

    fn end_round(&mut self, now: Instant, rtt_min: Duration) {
        let lost = self.round.lost * 1000 / (self.round.lost + self.round.acked).max(1);
        let sample = self.round.rate.filter(|_| !self.round.is_braked).unwrap_or(0);
        if sample > self.rate() || (sample > 0 && !self.round.is_app_limited) {
            push(&mut self.rates, sample);
        }
        let queue = self.round.rtt_min.saturating_sub(rtt_min);
        let is_lossy = self.is_lossy(lost);
        self.debug(now, rtt_min, queue, lost);
        match &mut self.phase {
            Phase::StartUp { best, rounds_without_gain } => {
                if sample >= *best + *best / 4 {
                    *best = sample;
                    *rounds_without_gain = 0;
                } else if !self.round.is_app_limited {
                    *rounds_without_gain += 1;
                }
                if *rounds_without_gain >= 3 || is_lossy {
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
            Phase::Compete(compete) => {
                self.met = Some((compete.cubic.window(now, self.mtu), now));
                self.rates.clear();
                self.rates.push_back(sample);
                let looked = compete.look_rounds == 1;
                if compete.end_round(self.queue < rtt_min / 16) {
                    self.phase = Phase::Cruise;
                    self.braked = None;
                }
                if looked && self.rtt_min.is_some_and(|(_, at)| now > at + 4 * RTT_MIN_AGE) {
                    self.rtt_min = Some((self.round.rtt_min, now));
                }
            }
        }
        self.round = Round::new(now);
    }

    /// A round by the model is over, whose shortest wait in the queue was `queue`.
    fn cruise(&mut self, now: Instant, rtt_min: Duration, queue: Duration, lost: u64) {
        let rate = self.rate();
        let limit = self.queue_limit(rate, rtt_min);
        if let Some(braked) = &mut self.braked {
            braked.rounds += 1;
            if queue <= limit / 2 {
                self.braked = None;
            } else if queue > limit && braked.rounds >= BRAKED_ROUNDS_MAX {
                self.phase = Phase::Compete(Compete::new(now, braked.window, self.mtu));
            }
            return;
        }
        let usual = self.usual_headroom(rate, rtt_min);
        if self.round.is_app_limited {
            self.search = Search::default();
        } else if self.is_lossy(lost) {
            self.search = Search { rest: SEARCH_REST_ROUNDS, ..Search::default() };
        } else {
            let most = bytes_in(rate, rtt_min) / 2;
            self.search.end_round(rate, usual, most, bytes_in(rate, queue));
        }
        let known = self.rtt_min.map(|(_, at)| at).max(self.met.map(|(_, at)| at));
        let is_stale = known.is_some_and(|at| now > at + RTT_MIN_AGE);
        if is_stale && !self.round.is_app_limited {
            self.search = Search::default();
            self.phase = Phase::Drain { rounds: 2 };
        }
    }

    /// Whether so much was lost, in per mille, of enough packets to say, that more is no use.
    fn is_lossy(&self, lost: u64) -> bool {
        lost > LOSS_TOLERATED && self.round.lost > 8 * self.mtu
    }

    fn set_window(&mut self, now: Instant) {
        let Some((rtt_min, _)) = self.rtt_min else { return };
        let rate = self.rate();
        let carried = bytes_in(rate, rtt_min);
        let headroom = self.search.headroom.unwrap_or(self.usual_headroom(rate, rtt_min));
        let window = match &self.phase {
            Phase::StartUp { .. } => {
                let bound = self.trains.bound(self.mtu).map_or(u64::MAX, |rate| {
                    bytes_in(rate, rtt_min) + self.usual_headroom(rate, rtt_min)
                });
                self.window.min(bound)
            }
            Phase::Cruise => carried + headroom,
            Phase::Compete(compete) if compete.look_rounds > 0 => carried / 8 * 7,
            Phase::Drain { .. } => carried / 4 * 3,
            Phase::Compete(compete) => {
                compete.cubic.window(now, self.mtu).max(carried + headroom)
            }
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
        (HEADROOM_DATAGRAMS * self.mtu).min(carried / 8) + carried / HEADROOM_PART
    }

    /// The wait from which a queue is not meant.
    fn queue_limit(&self, rate: u64, rtt_min: Duration) -> Duration {
        rtt_min / 4 + time_of(self.usual_headroom(rate, rtt_min), rate)
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

impl Compete {
    fn new(now: Instant, window: u64, mtu: u64) -> Self {
        Self {
            cubic: Cubic::new(now, window / 20 * 17, window, mtu),
            cut_at: now,
            look_rounds: 0,
            looks: 0,
            cuts: 0,
            empty_rounds: 0,
        }
    }

    fn cut(&mut self, now: Instant, mtu: u64) {
        self.cubic = self.cubic.cut(now, mtu);
        self.cut_at = now;
        if self.cuts == 0 {
            self.look_rounds = LOOK_ROUNDS;
        } else {
            self.cuts -= 1;
        }
    }

    /// A round is over; says whether nobody else is there.
    fn end_round(&mut self, is_empty: bool) -> bool {
        self.empty_rounds = if is_empty { self.empty_rounds + 1 } else { 0 };
        let is_last = self.look_rounds == 1;
        self.look_rounds = self.look_rounds.saturating_sub(1);
        if is_last && !is_empty {
            self.looks = (self.looks + 1).min(LOOKS_DOUBLED);
            self.cuts = 1 << self.looks;
        }
        (is_last && is_empty) || self.empty_rounds > LOOK_ROUNDS
    }
}

impl Search {
    /// A round at `rate` left so many bytes of ours in the queue. Without any, the headroom is
    /// doubled, up to `most`; with more than the `usual`, it is halved.
    fn end_round(&mut self, rate: u64, usual: u64, most: u64, queued: u64) {
        let headroom = self.headroom.unwrap_or(usual);
        if self.rest > 0 {
            self.rest -= 1;
        } else if queued >= usual / 2 {
            let part = if queued > usual * 3 / 2 { 2 } else { 4 };
            let headroom = headroom - headroom.saturating_sub(usual) / part;
            *self = Self { headroom: Some(headroom.max(usual)), rate, rounds: 0, rest: 0 };
        } else if rate > self.rate + self.rate / 10 {
            *self = Self { headroom: Some((headroom * 2).min(most).max(usual)), rate, ..*self };
            self.rounds = 0;
        } else if self.rounds < SEARCH_ROUNDS_MAX {
            self.headroom = Some((headroom * 2).min(most).max(usual));
            self.rounds += 1;
        } else {
            *self = Self { rest: SEARCH_REST_ROUNDS, ..Self::default() };
        }
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

const RECENT_ROUNDS: usize = 4;
const MOMENTS_PER_ROUND: u32 = 4;
const MOMENT_DATAGRAMS: u64 = 8;
const HEADROOM_DATAGRAMS: u64 = 8;
const HEADROOM_PART: u64 = 64;
const BRAKED_ROUNDS_MAX: u32 = 3;
const LOOK_ROUNDS: u32 = 3;
const LOOKS_DOUBLED: u32 = 3;
const MET_AGE: Duration = Duration::from_secs(20);
const LOSS_TOLERATED: u64 = 200;
const RTT_MIN_AGE: Duration = Duration::from_secs(30);
const SEARCH_ROUNDS_MAX: u32 = 4;
const SEARCH_REST_ROUNDS: u32 = 16;
const RESTART_PART: u64 = 2;
