//! Whether a longer round trip is a longer way and no queue.

use std::time::{Duration, Instant};

/// The shortest round trips of rounds in a row that were all about the same.
///
/// A queue moves, with what we send and with what others do. A round trip that stays as it is for
/// long while our window changes is how long the way is now.
#[derive(Debug, Clone)]
pub(super) struct Steady {
    since: Instant,
    shortest: Duration,
    longest: Duration,
    rounds: u32,
    /// Greatest rate of ours in that time, in bytes per second.
    rate: u64,
}

impl Steady {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, shortest: Duration::MAX, longest: Duration::ZERO, rounds: 0, rate: 0 }
    }

    /// A round is over, with a shortest round trip of `rtt`.
    pub(super) fn end_round(&mut self, now: Instant, rtt: Duration, rate: u64) {
        let (shortest, longest) = (self.shortest.min(rtt), self.longest.max(rtt));
        if longest > shortest + shortest / SPREAD_PART {
            *self = Self::new(now);
        }
        self.shortest = self.shortest.min(rtt);
        self.longest = self.longest.max(rtt);
        self.rounds += 1;
        self.rate = self.rate.max(rate);
    }

    /// The round trip, where it has been the same for long enough.
    pub(super) fn rtt(&self, now: Instant) -> Option<Duration> {
        let is_long = self.rounds >= ROUNDS_MIN && now >= self.since + AGE_MIN;
        is_long.then_some(self.shortest)
    }

    /// Whether our rate has fallen meanwhile, by a fifth or more.
    pub(super) fn has_lost(&self, rate: u64) -> bool {
        rate < self.rate / 5 * 4
    }
}

/// The same to one part in so many: 19 ms of 600.
const SPREAD_PART: u32 = 32;

const ROUNDS_MIN: u32 = 8;

/// CUBIC's window stands nearly still for some seconds where it was cut before; the 50 datagrams by
/// which it grows in the 8 s around that are 60 ms at 10 Mbit/s.
const AGE_MIN: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_that_moves_is_a_queue() {
        let mut now = Instant::now();
        let mut steady = Steady::new(now);
        for round in 0..100 {
            now += Duration::from_millis(600);
            steady.end_round(now, Duration::from_millis(600 + round * 5), 1);
            assert_eq!(steady.rtt(now), None, "round {round}");
        }
    }

    #[test]
    fn a_round_trip_that_stays_is_the_way() {
        let mut now = Instant::now();
        let mut steady = Steady::new(now);
        for round in 0..20 {
            now += Duration::from_millis(600);
            steady.end_round(now, Duration::from_millis(800 + round % 2), 100 - round);
        }
        assert_eq!(steady.rtt(now), Some(Duration::from_millis(800)));
        assert!(!steady.has_lost(80) && steady.has_lost(79));
    }
}
