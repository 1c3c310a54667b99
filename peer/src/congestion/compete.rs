//! A flow among others: what it does while somebody else keeps the queue full.

use super::cubic::Cubic;
use std::time::Instant;

/// CUBIC's window, and now and then a look whether anybody else is there at all.
///
/// A look is some rounds below the model's window. If the queue goes and stays away, it was our
/// own. CUBIC, after a cut, sends nothing for part of a round trip and empties the queue that way,
/// which is why a look is longer than one round. Each costs us part of our share; so after one that
/// found somebody, twice as many cuts pass before the next.
#[derive(Debug, Clone)]
pub(super) struct Compete {
    cubic: Cubic,
    cut_at: Instant,
    /// Rounds that the look yet lasts; 0 is no look.
    look_rounds: u32,
    /// Looks that found somebody, up to [`LOOKS_MAX`].
    looks: u32,
    /// Cuts before the next look.
    cuts: u32,
    /// Rounds in a row that ended without a queue.
    empty_rounds: u32,
}

impl Compete {
    /// From now on, against somebody, with a window of `window` bytes until then.
    pub(super) fn new(now: Instant, window: u64, mtu: u64) -> Self {
        Self {
            cubic: Cubic::new(now, window / 20 * 17, window, mtu),
            cut_at: now,
            look_rounds: 0,
            looks: 0,
            cuts: 0,
            empty_rounds: 0,
        }
    }

    /// CUBIC's window now, in bytes.
    pub(super) fn window(&self, now: Instant, mtu: u64) -> u64 {
        self.cubic.window(now, mtu)
    }

    pub(super) fn is_looking(&self) -> bool {
        self.look_rounds > 0
    }

    /// A packet sent at `sent` was lost. Says whether that is a reason to slow down: only once in a
    /// round trip (RFC 9438, section 4.6).
    pub(super) fn lose(&mut self, now: Instant, sent: Instant, mtu: u64) -> bool {
        if sent <= self.cut_at {
            return false;
        }
        self.cubic = self.cubic.cut(now, mtu);
        self.cut_at = now;
        if self.cuts == 0 {
            self.look_rounds = LOOK_ROUNDS;
        } else {
            self.cuts -= 1;
        }
        true
    }

    /// A round is over, at whose end there was no queue, or there was. Says whether we are alone.
    pub(super) fn end_round(&mut self, is_empty: bool) -> bool {
        self.empty_rounds = if is_empty { self.empty_rounds + 1 } else { 0 };
        let was_looking = self.is_looking();
        self.look_rounds = self.look_rounds.saturating_sub(1);
        let has_looked = was_looking && !self.is_looking();
        if has_looked && !is_empty {
            self.looks = (self.looks + 1).min(LOOKS_MAX);
            self.cuts = 1 << self.looks;
        }
        is_empty && (has_looked || self.empty_rounds > LOOK_ROUNDS)
    }
}

/// One for what was in flight to go, one for CUBIC to send again, one to see.
const LOOK_ROUNDS: u32 = 3;

/// Eight cuts between looks: some two minutes at geostationary round trips.
const LOOKS_MAX: u32 = 3;
