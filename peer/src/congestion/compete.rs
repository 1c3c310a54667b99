//! A flow among others: what it does while somebody else keeps the queue full.

use super::cubic::Cubic;
use std::time::Instant;

/// CUBIC's window, and now and then a look whether anybody else is there at all.
///
/// A look is some rounds below the model's window. If the queue goes and stays away, it was our
/// own. CUBIC, after a cut, sends nothing for part of a round trip and empties the queue that way,
/// which is why a look is longer than one round. Each costs us part of our share; so after one that
/// found somebody, twice as many cuts pass before the next, and at the first cut there is none: we
/// have just braked for some rounds, which was as good as a look. Where we have all of the link for
/// some rounds, whoever was there seems to be gone, and we look at once.
#[derive(Debug, Clone)]
pub(super) struct Compete {
    cubic: Cubic,
    cut_at: Instant,
    /// Nothing was lost yet: we may still be far below our share.
    is_new: bool,
    /// Rounds that the look yet lasts; 0 is no look.
    look_rounds: u32,
    /// Looks that found somebody, up to [`LOOKS_MAX`].
    looks: u32,
    /// Cuts before the next look.
    cuts: u32,
    /// Rounds in a row that ended without a queue.
    empty_rounds: u32,
    /// Rounds in a row in which all of the link was ours.
    full_rounds: u32,
    /// We look because of these.
    has_had_all: bool,
}

impl Compete {
    /// From now on, against somebody, with a window of `window` bytes until then.
    pub(super) fn new(now: Instant, window: u64, mtu: u64) -> Self {
        Self {
            cubic: Cubic::new(now, window / 20 * 17, window, mtu),
            cut_at: now,
            is_new: true,
            look_rounds: 0,
            looks: 0,
            cuts: 1,
            empty_rounds: 0,
            full_rounds: 0,
            has_had_all: false,
        }
    }

    /// CUBIC's window now, in bytes.
    pub(super) fn window(&self, now: Instant, mtu: u64) -> u64 {
        self.cubic.window(now, mtu)
    }

    pub(super) fn is_looking(&self) -> bool {
        self.look_rounds > 0
    }

    /// Whether we had all of the link before we looked: nobody comes back soon.
    pub(super) fn has_had_all(&self) -> bool {
        self.has_had_all
    }

    /// A packet sent at `sent` was lost. Says whether that is a reason to slow down: only once in a
    /// round trip (RFC 9438, section 4.6). If it is the first, the window then grows towards
    /// `share`, in bytes, rather than towards what it was, which says how far we had sunk.
    pub(super) fn lose(&mut self, now: Instant, sent: Instant, share: u64, mtu: u64) -> bool {
        if sent <= self.cut_at {
            return false;
        }
        self.cubic = self.cubic.cut(now, if self.is_new { share } else { 0 }, mtu);
        self.cut_at = now;
        self.is_new = false;
        if self.cuts == 0 {
            self.look_rounds = LOOK_ROUNDS;
        } else {
            self.cuts -= 1;
        }
        true
    }

    /// A round is over. Until the first loss the window doubles, as that of any flow which begins,
    /// up to `share`, in bytes: CUBIC alone, from the window that we braked to, takes a minute.
    pub(super) fn take_share(&mut self, now: Instant, share: u64, mtu: u64) {
        let window = self.cubic.window(now, mtu);
        if self.is_new && window < share {
            let start = (window * 2).min(share);
            self.cubic = Cubic::new(now, start, start, mtu);
        }
    }

    /// A round is over, at whose end there was no queue, or there was, and in which we had all of
    /// the link, or not: then it is time to look. Says whether we are alone.
    pub(super) fn end_round(&mut self, is_empty: bool, is_full: bool) -> bool {
        self.full_rounds = if is_full { self.full_rounds + 1 } else { 0 };
        self.empty_rounds = if is_empty { self.empty_rounds + 1 } else { 0 };
        let was_looking = self.is_looking();
        self.look_rounds = self.look_rounds.saturating_sub(1);
        let has_looked = was_looking && !self.is_looking();
        if has_looked && !is_empty {
            self.has_had_all = false;
            self.looks = (self.looks + 1).min(LOOKS_MAX);
            self.cuts = 1 << self.looks;
        }
        if self.full_rounds >= FULL_ROUNDS && !was_looking {
            self.look_rounds = LOOK_ROUNDS;
            self.full_rounds = 0;
            self.has_had_all = true;
        }
        is_empty && (has_looked || self.empty_rounds > LOOK_ROUNDS)
    }
}

/// One for what was in flight to go, one for CUBIC to send again, one to see.
const LOOK_ROUNDS: u32 = 3;

/// After a cut of its own, CUBIC leaves us the link for one round, and part of another.
const FULL_ROUNDS: u32 = 3;

/// Eight cuts between looks: some two minutes at geostationary round trips.
const LOOKS_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_window_doubles_up_to_the_share_and_not_after_a_loss() {
        let (now, mtu) = (Instant::now(), 1_000);
        let mut compete = Compete::new(now, 20_000, mtu);
        let mut windows = Vec::new();
        for _ in 0..5 {
            compete.take_share(now, 100_000, mtu);
            windows.push(compete.window(now, mtu) / mtu);
        }
        assert_eq!(windows, [34, 68, 100, 100, 100]);
        let later = now + Duration::from_secs(1);
        assert!(compete.lose(later, later, 100_000, mtu));
        let cut = compete.window(later, mtu);
        compete.take_share(later, 100_000, mtu);
        assert_eq!(compete.window(later, mtu), cut);
        assert!(cut < 80_000, "{cut}");
    }

    #[test]
    fn a_first_loss_below_the_share_does_not_become_the_goal() {
        let (start, mtu) = (Instant::now(), 1_000);
        let mut compete = Compete::new(start, 20_000, mtu);
        let mut now = start + Duration::from_secs(1);
        assert!(compete.lose(now, now, 100_000, mtu));
        // From 14 segments or fewer: K = ∛(86 / 0.4) = 6 s.
        now += Duration::from_millis(6_100);
        let window = compete.window(now, mtu);
        assert!(window >= 100_000, "{window}");
        assert!(compete.lose(now, now, 200_000, mtu));
        now += Duration::from_millis(6_100);
        let window = compete.window(now, mtu);
        assert!(window < 120_000, "{window}");
    }
}
