//! The window of a CUBIC flow, for when one shares our link.

use std::time::{Duration, Instant};

/// RFC 9438's window over time: `W(t) = C (t − K)³ + W_max`, with its C of 0.4 and beta of 0.7.
///
/// Left out: the Reno-friendly region, which at the round trips and rates of the links this is for
/// is below the cubic one, and slow start.
#[derive(Debug, Clone)]
pub(super) struct Cubic {
    /// Window of the last cut, in bytes.
    most: u64,
    /// Since when the window has grown.
    since: Instant,
    /// When it reaches `most` again, after `since`.
    until_most: Duration,
}

impl Cubic {
    /// Grows from `start` towards `most` and beyond; both in bytes.
    pub(super) fn new(now: Instant, start: u64, most: u64, mtu: u64) -> Self {
        let most = most.max(start);
        // K = ∛((W_max − start) / C), in segments and seconds (section 4.2).
        let segments = u32::try_from((most - start) / mtu).unwrap_or(u32::MAX);
        let until_most = Duration::from_secs_f64((f64::from(segments) / 0.4).cbrt());
        Self { most, since: now, until_most }
    }

    /// The window now, in bytes.
    pub(super) fn window(&self, now: Instant, mtu: u64) -> u64 {
        let time = now.saturating_duration_since(self.since);
        let cube = |time: Duration| {
            let millis = time.as_millis().min(1_000_000);
            // C is 0.4 segments per cubic second; a cubic second is 10⁹ cubic milliseconds.
            u64::try_from(millis.pow(3) * u128::from(mtu) * 4 / 10_000_000_000).unwrap_or(u64::MAX)
        };
        match time.checked_sub(self.until_most) {
            Some(after) => self.most.saturating_add(cube(after)),
            None => self.most.saturating_sub(cube(self.until_most - time)),
        }
    }

    /// A packet was lost: 0.7 of the window, and less as the next goal where the last was not
    /// reached, which leaves room to who came later (sections 4.6 and 4.7); no goal below `goal`.
    pub(super) fn cut(&self, now: Instant, goal: u64, mtu: u64) -> Self {
        let window = self.window(now, mtu);
        let most = if window < self.most { window / 100 * 85 } else { window };
        Self::new(now, window / 10 * 7, most.max(goal), mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u64 = 1_000;

    #[test]
    fn the_window_of_the_last_cut_is_reached_after_k() {
        let now = Instant::now();
        // 100 segments to 0.7 of them: K = ∛(30 / 0.4) = 4.217 s.
        let cubic = Cubic::new(now, 70 * MTU, 100 * MTU, MTU);
        let after = |ms| cubic.window(now + Duration::from_millis(ms), MTU) / MTU;
        assert_eq!((after(0), after(4_217)), (70, 100));
        // One second later: 0.4 segments more; five: 50.
        assert_eq!((after(5_217), after(9_220)), (100, 150));
    }

    #[test]
    fn a_cut_below_the_last_one_leaves_room() {
        let now = Instant::now();
        let cubic = Cubic::new(now, 70 * MTU, 100 * MTU, MTU).cut(now, 0, MTU);
        // 0.7 of 70 segments, to a segment; next goal 0.85 of them.
        assert_eq!((cubic.window(now, MTU) / 100, cubic.most), (495, 59_500));
    }

    #[test]
    fn no_time_is_too_long() {
        let now = Instant::now();
        let cubic = Cubic::new(now, u64::MAX / 2, u64::MAX, 1);
        assert!(cubic.window(now + Duration::from_secs(1 << 30), 65_535) >= u64::MAX / 2);
    }
}
