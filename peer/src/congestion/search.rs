//! The search for a faster link, by more in flight.

/// The headroom: bytes of the window beyond what the link carries in a round trip.
///
/// While it leaves no queue it is doubled, since the link could carry more; once there is a queue
/// it falls back to the usual. This also makes up for random loss: what is lost takes its place in
/// flight but is not delivered, and headroom fills the place.
#[derive(Debug, Clone, Default)]
pub(super) struct Search {
    /// `None` is the usual.
    headroom: Option<u64>,
    /// Rate when more was last seen to help, in bytes per second.
    rate: u64,
    /// Rounds since.
    rounds: u32,
    /// Loss while not searching, in per mille, smoothed.
    lost: Option<u64>,
    /// Rounds to wait before searching again.
    rest: u32,
}

/// What a round has shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Bytes per second.
    pub(super) rate: u64,
    /// The usual headroom at this rate, and the greatest, in bytes.
    pub(super) usual: u64,
    pub(super) most: u64,
    /// Bytes of ours that were always in the queue.
    pub(super) queued: u64,
    /// In per mille.
    pub(super) lost: u64,
}

impl Search {
    pub(super) fn headroom(&self, usual: u64) -> u64 {
        self.headroom.unwrap_or(usual)
    }

    /// A round is over in which the window was used.
    pub(super) fn end_round(&mut self, found: Found) {
        let Found { rate, usual, most, queued, lost } = found;
        let headroom = self.headroom(usual);
        let has_gained = rate > self.rate + self.rate / 10;
        let usual_loss = (3 * *self.lost.get_or_insert(lost) + lost) / 4;
        let lost_max = usual_loss + LOSS_GROWTH.max(usual_loss / 2);
        if self.rest > 0 {
            self.rest -= 1;
            self.lost = Some(usual_loss);
        } else if lost > lost_max.min(LOSS_TOLERATED) {
            *self = Self { rest: REST_ROUNDS, lost: self.lost, ..Self::default() };
        } else if queued >= usual / 2 {
            let part = if queued > usual * 3 / 2 { 2 } else { 4 };
            let headroom = headroom - headroom.saturating_sub(usual) / part;
            let headroom = Some(headroom.max(usual));
            *self = Self { headroom, rate, rounds: 0, lost: Some(usual_loss), rest: 0 };
        } else if has_gained || self.rounds < ROUNDS_MAX {
            self.headroom = Some((headroom * 2).min(most).max(usual));
            self.rounds = if has_gained { 0 } else { self.rounds + 1 };
            self.rate = if has_gained { rate } else { self.rate };
        } else {
            *self = Self { rest: REST_ROUNDS, lost: self.lost, ..Self::default() };
        }
    }
}

/// A round that loses more, in per mille, is not helped by sending more.
pub(super) const LOSS_TOLERATED: u64 = 200;

/// More loss than before the search, in per mille: a policer, or a queue too short to be seen.
/// Three standard deviations of 5 % random loss over the 200 datagrams of a round at 4 Mbit/s and
/// 600 ms.
const LOSS_GROWTH: u64 = 46;

/// Doubling four times is sixteen times the headroom: if that does not gain a tenth, the link is
/// not what limits.
const ROUNDS_MAX: u32 = 4;

/// Then not again for so many rounds: ten seconds at geostationary round trips.
const REST_ROUNDS: u32 = 16;
