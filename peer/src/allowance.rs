//! What a peer may ask or tell in a time: an allowance that grows with time up to a bound. Whoever
//! is over it waits; nobody is told off, for an honest peer may be fast.

use std::time::Duration;

/// The allowance of one connection. Times count from any start.
#[derive(Debug)]
pub struct Allowance {
    per_s: u64,
    burst: Duration,
    /// Until when what was taken is paid for.
    paid: Duration,
}

impl Allowance {
    /// `per_s` in a second, `burst` at once.
    ///
    /// # Panics
    /// If one of them is zero.
    #[must_use]
    pub fn new(per_s: u64, burst: u64) -> Self {
        assert!(per_s > 0 && burst > 0, "an allowance of nothing");
        Self { per_s, burst: time(burst, per_s), paid: Duration::ZERO }
    }

    /// Takes `cost` of it; says how long to wait before it is used.
    pub fn take(&mut self, cost: u64, now: Duration) -> Duration {
        self.paid = self.paid.max(now).saturating_add(time(cost, self.per_s));
        self.paid.saturating_sub(now).saturating_sub(self.burst)
    }
}

/// How long `cost` takes to grow.
fn time(cost: u64, per_s: u64) -> Duration {
    Duration::from_nanos(cost.saturating_mul(1_000_000_000) / per_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_pass_and_what_goes_on_is_slowed_to_the_rate() {
        let mut allowance = Allowance::new(100, 10);
        let at = Duration::from_secs(7);
        for _ in 0..10 {
            assert_eq!(allowance.take(1, at), Duration::ZERO);
        }
        assert_eq!(allowance.take(1, at), Duration::from_millis(10));
        assert_eq!(allowance.take(4, at), Duration::from_millis(50));
        // A tenth of a second later the debt is paid and half of the burst is back.
        let later = at + Duration::from_millis(100);
        assert_eq!(allowance.take(5, later), Duration::ZERO);
        assert_eq!(allowance.take(1, later), Duration::from_millis(10));
    }

    #[test]
    fn rest_saves_no_more_than_a_burst_and_costs_beyond_all_time_do_not_overflow() {
        let mut allowance = Allowance::new(100, 10);
        let long = Duration::from_secs(1 << 40);
        assert_eq!(allowance.take(10, long), Duration::ZERO);
        assert_eq!(allowance.take(1, long), Duration::from_millis(10));
        assert!(allowance.take(u64::MAX, long) > Duration::from_secs(1 << 20));
    }
}
