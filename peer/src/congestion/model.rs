//! What is believed of the link, and the window that follows.

use super::Satellite;
use super::compete::Compete;
use super::rate::{Sampler, bytes_in, rate_of, time_of};
use super::search::{Found, LOSS_TOLERATED, Search};
use super::span::{Moment, Round};
use super::steady::Steady;
use super::train::Trains;
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
    /// Round trip of the latest packets on average.
    rtt_mean: Duration,
    phase: Phase,
    /// Rates of the latest rounds, in bytes per second.
    rates: VecDeque<u64>,
    round: Round,
    moment: Moment,
    /// Shortest wait in the queue in the latest moment.
    queue: Duration,
    search: Search,
    steady: Steady,
    /// Since there is a queue that was not meant.
    braked: Option<Braked>,
    /// The window when last somebody else was met, in bytes, and when that was.
    met: Option<(u64, Instant)>,
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
    /// Somebody else keeps the queue full.
    Compete(Compete),
}

/// We have slowed down for a queue: it goes, or it is not ours.
#[derive(Debug, Clone)]
struct Braked {
    /// The window before, in bytes.
    window: u64,
    /// Rounds that have ended since.
    rounds: u32,
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
            rtt_mean: Duration::ZERO,
            phase: START_UP,
            rates: VecDeque::new(),
            round: Round::new(now),
            moment: Moment::new(now),
            queue: Duration::ZERO,
            search: Search::default(),
            steady: Steady::new(now),
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

    /// The link takes no more than this, in bit/s with IPv4 and UDP headers.
    pub(super) fn bound_rate(&mut self, bits_per_second: u64) {
        let bound = bits_per_second / 8;
        self.rate_max = Some(self.rate_max.map_or(bound, |known| known.min(bound)));
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
            None => {
                self.rtt_min = Some((rtt, now));
                self.rtt_mean = rtt;
            }
        }
        self.rtt_mean = self.rtt_mean * (MEAN_PACKETS - 1) / MEAN_PACKETS + rtt / MEAN_PACKETS;
        self.sampler.ack(sent, bytes);
        self.round.ack(sent, rtt, bytes, self.sampler.sample(now, sent));
        self.round.is_app_limited |= is_app_limited;
        self.moment.ack(rtt, bytes);
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
        if self.moment.is_over(now, rtt_min, self.mtu) {
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
        let share = self.share();
        if let Phase::Compete(compete) = &mut self.phase
            && compete.lose(now, sent, share, self.mtu)
        {
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
        self.queue = self.moment.rtt_min.saturating_sub(rtt_min);
        let limit = match self.phase {
            // The window has grown by another round trip's worth before we see what this one did.
            Phase::StartUp { .. } => self.queue_limit(delivered, rtt_min) / 2,
            Phase::Cruise | Phase::Drain { .. } => self.queue_limit(delivered, rtt_min),
            Phase::Compete(_) => Duration::MAX,
        };
        if self.queue > limit && !self.round.is_app_limited {
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
        self.phase = match self.met.filter(|&(_, at)| now < at + MET_AGE) {
            Some((window, _)) => Phase::Compete(Compete::new(now, window, self.mtu)),
            None => Phase::Cruise,
        };
    }

    fn end_round(&mut self, now: Instant, rtt_min: Duration) {
        let sample = self.round.rate.filter(|_| !self.round.is_braked).unwrap_or(0);
        if sample > self.rate() || (sample > 0 && !self.round.is_app_limited) {
            push(&mut self.rates, sample);
        }
        if self.is_longer_way(now, rtt_min) {
            self.rtt_min = Some((self.round.rtt_min, now));
            self.steady = Steady::new(now);
            self.braked = None;
            self.met = None;
            self.phase = Phase::Cruise;
            self.round = Round::new(now);
            return;
        }
        let lost = self.round.loss(self.mtu);
        match &mut self.phase {
            Phase::StartUp { best, rounds_without_gain } => {
                if sample >= *best + *best / 4 {
                    *best = sample;
                    *rounds_without_gain = 0;
                } else if !self.round.is_app_limited {
                    *rounds_without_gain += 1;
                }
                if *rounds_without_gain >= START_UP_ROUNDS_MAX || lost > LOSS_TOLERATED {
                    self.phase = Phase::Cruise;
                }
            }
            Phase::Cruise if self.braked.is_some() => self.end_braked_round(now, rtt_min),
            Phase::Cruise => self.end_cruise_round(now, rtt_min),
            Phase::Drain { rounds } => {
                *rounds -= 1;
                if *rounds == 0 {
                    self.rtt_min = Some((self.round.rtt_min, now));
                    self.phase = Phase::Cruise;
                }
            }
            Phase::Compete(_) => self.end_compete_round(now, rtt_min, sample),
        }
        self.round = Round::new(now);
    }

    /// Whether what looked like a queue is the way: the round trip stays as it is while we compete,
    /// or while we sink for a queue that does not go.
    fn is_longer_way(&mut self, now: Instant, rtt_min: Duration) -> bool {
        let rate = self.rate();
        self.steady.end_round(now, self.round.rtt_min, rate);
        let Some(rtt) = self.steady.rtt(now) else { return false };
        let unmeant = rtt.saturating_sub(rtt_min) > rtt_min / RTT_LONGER_PART;
        unmeant && (matches!(self.phase, Phase::Compete(_)) || self.steady.has_lost(rate))
    }

    fn end_braked_round(&mut self, now: Instant, rtt_min: Duration) {
        let queue = self.round.rtt_min.saturating_sub(rtt_min);
        let limit = self.queue_limit(self.rate(), rtt_min);
        let share = self.share();
        let Some(braked) = &mut self.braked else { return };
        braked.rounds += 1;
        if queue <= limit / 2 {
            self.braked = None;
        } else if queue > limit && braked.rounds >= BRAKED_ROUNDS_MAX {
            let window = braked.window.max(share / 2);
            self.phase = Phase::Compete(Compete::new(now, window, self.mtu));
        }
    }

    fn end_cruise_round(&mut self, now: Instant, rtt_min: Duration) {
        if self.round.is_app_limited {
            self.search = Search::default();
            return;
        }
        let rate = self.rate();
        let queue = self.round.rtt_min.saturating_sub(rtt_min);
        self.search.end_round(Found {
            rate,
            usual: self.usual_headroom(rate, rtt_min),
            most: bytes_in(rate, rtt_min) / 2,
            queued: bytes_in(rate, queue),
            lost: self.round.loss(self.mtu),
        });
        let known = self.rtt_min.map(|(_, at)| at).max(self.met.map(|(_, at)| at));
        if known.is_some_and(|at| now > at + RTT_MIN_AGE) {
            self.search = Search::default();
            self.phase = Phase::Drain { rounds: 2 };
        }
    }

    fn end_compete_round(&mut self, now: Instant, rtt_min: Duration, sample: u64) {
        let share = self.share();
        let is_full = self.rate_of_link().is_some_and(|link| sample >= link / 8 * 7);
        let Phase::Compete(compete) = &mut self.phase else { return };
        compete.take_share(now, share, self.mtu);
        self.met = Some((compete.window(now, self.mtu), now));
        self.rates.clear();
        self.rates.push_back(sample);
        if compete.end_round(self.queue < rtt_min / QUEUE_EMPTY_PART, is_full) {
            self.met = self.met.filter(|_| !compete.has_had_all());
            self.phase = Phase::Cruise;
            self.braked = None;
        }
    }

    fn set_window(&mut self, now: Instant) {
        let Some((rtt_min, _)) = self.rtt_min else { return };
        let rate = self.rate();
        let carried = bytes_in(rate, rtt_min);
        let headroom = self.search.headroom(self.usual_headroom(rate, rtt_min));
        let window = match &self.phase {
            Phase::StartUp { .. } => {
                let bound = self.trains.bound().map_or(u64::MAX, |rate| {
                    bytes_in(rate, rtt_min) + self.usual_headroom(rate, rtt_min)
                });
                self.window.min(bound)
            }
            Phase::Cruise => carried + headroom,
            Phase::Drain { .. } => carried / 4 * 3,
            Phase::Compete(compete) if compete.is_looking() => carried / 8 * 7,
            Phase::Compete(compete) => compete.window(now, self.mtu).max(carried + headroom),
        };
        // What is sent in a round trip as it is, late acknowledgements included, is the rate; of a
        // queue only a little counts, unless somebody else keeps it. One datagram more, as quinn
        // sends only while the window would not be full afterwards.
        let rtt = match &self.phase {
            Phase::Compete(_) => self.rtt_mean.max(rtt_min),
            _ => self.rtt_mean.clamp(rtt_min, rtt_min + rtt_min / MEAN_PART_MAX),
        };
        let bound = self.rate_bound().map(|bound| bytes_in(bound, rtt) + self.mtu);
        let window = window.min(bound.unwrap_or(u64::MAX));
        self.window = window.max(WINDOW_DATAGRAMS_MIN * self.mtu);
    }

    /// The configured rate, in bytes of UDP payload per second.
    fn rate_bound(&self) -> Option<u64> {
        self.rate_max.map(|rate| rate * self.mtu / (self.mtu + IP_UDP_HEADERS))
    }

    /// What the link is known to carry at least, whoever's it is, in bytes per second.
    fn rate_of_link(&self) -> Option<u64> {
        self.trains.bound().max(self.rate_bound())
    }

    /// Half of what the link holds, its queue included: what is ours where one other is there.
    fn share(&self) -> u64 {
        self.rate_of_link().map_or(0, |link| bytes_in(link, self.rtt_mean) / 2)
    }

    /// Headroom in bytes where there is nothing to search for, at a rate of ours.
    fn usual_headroom(&self, rate: u64, rtt_min: Duration) -> u64 {
        let link = self.rate_of_link().map_or(u64::MAX, |link| bytes_in(link.max(rate), rtt_min));
        let equal = (HEADROOM_DATAGRAMS * self.mtu).min(link / HEADROOM_PART_MAX);
        equal + bytes_in(rate, rtt_min) / HEADROOM_PART
    }

    /// The wait from which a queue is not meant: there may be a few of us.
    fn queue_limit(&self, rate: u64, rtt_min: Duration) -> Duration {
        let link = self.rate_of_link().map_or(u64::MAX, |link| link.max(rate));
        rtt_min / 4 + 2 * time_of(self.usual_headroom(rate, rtt_min), link)
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

/// Packets that the mean of round trips reaches back.
const MEAN_PACKETS: u32 = 32;

/// The mean of round trips counts up to so much above the shortest: 75 ms of 600.
const MEAN_PART_MAX: u32 = 8;

/// Fewer would leave the receiver's delayed acknowledgement to set the pace.
const WINDOW_DATAGRAMS_MIN: u64 = 4;

/// The greatest rate of so many rounds is believed. One that is too short for noise shrinks the
/// window by chance; one that is too long keeps two of ours from their fair shares.
const RECENT_ROUNDS: usize = 4;

/// Rounds in start-up without a quarter more before it ends (BBR draft, section 4.3.1.2).
const START_UP_ROUNDS_MAX: u32 = 3;

/// The usual headroom: eight datagrams, the same for all flows, which is what makes shares equal in
/// the long run (Wei, Jin, Low and Hegde, FAST TCP, 2006); at most an eighth of what the link
/// carries, whoever's it is, which on slow links is less; and a part of what is ours, for noise.
const HEADROOM_DATAGRAMS: u64 = 8;
const HEADROOM_PART_MAX: u64 = 8;
const HEADROOM_PART: u64 = 64;

/// Rounds that a queue may last although we braked. One for what is in flight, one to see, one
/// more.
const BRAKED_ROUNDS_MAX: u32 = 3;

/// Who was met is believed to be there so long: some of CUBIC's cycles at 600 ms.
const MET_AGE: Duration = Duration::from_secs(20);

/// A shortest round trip not seen for so long is looked for, at a quarter of two round trips: 1 %
/// at geostationary ones.
const RTT_MIN_AGE: Duration = Duration::from_secs(30);

/// A wait below this part of the round trip, 38 ms of 600, is no queue of somebody else's.
const QUEUE_EMPTY_PART: u32 = 16;

/// A round trip longer by this part, 19 ms of 600, may be a longer way.
const RTT_LONGER_PART: u32 = 32;

/// After an outage begin with a half of what the link carried.
const RESTART_PART: u64 = 2;
