//! How fast the link is, from packets that were sent at once.

use super::rate::rate_of;
use std::collections::VecDeque;
use std::time::Instant;

/// Packets sent at the same instant leave the narrowest link one after another; how far apart their
/// acknowledgements come says how fast it is, long before it is full (packet trains; Jain and
/// Routhier, 1986). quinn's pacer lets ten datagrams go at once.
///
/// Acknowledgements that come in lumps make it seem faster, so that it is only good as a bound.
#[derive(Debug, Clone)]
pub(super) struct Trains {
    current: Option<Train>,
    /// Bytes per second of the latest trains.
    rates: VecDeque<u64>,
}

#[derive(Debug, Clone)]
struct Train {
    sent: Instant,
    first_ack: Instant,
    /// Bytes acknowledged after the first acknowledgement, and when the latest were.
    acked: (u64, Instant),
    /// The same without the latest.
    before: (u64, Instant),
}

impl Trains {
    pub(super) fn new() -> Self {
        Self { current: None, rates: VecDeque::new() }
    }

    /// A packet sent at `sent` was acknowledged.
    pub(super) fn ack(&mut self, now: Instant, sent: Instant, bytes: u64, mtu: u64) {
        match &mut self.current {
            Some(train) if train.sent == sent => {
                if now > train.first_ack {
                    if now > train.acked.1 {
                        train.before = train.acked;
                    }
                    train.acked = (train.acked.0 + bytes, now);
                }
                return;
            }
            Some(train) => {
                // The end came together with what was sent later: its own acknowledgement was lost.
                if now == train.acked.1 {
                    train.acked = train.before;
                }
                if self.rates.len() == TRAIN_COUNT {
                    self.rates.pop_front();
                }
                self.rates.extend(train.rate(mtu));
            }
            None => {}
        }
        let none = (0, now);
        self.current = Some(Train { sent, first_ack: now, acked: none, before: none });
    }

    /// The fastest of the latest trains, in bytes per second.
    pub(super) fn bound(&self) -> Option<u64> {
        self.rates.iter().copied().max()
    }
}

impl Train {
    /// Bytes per second, where the train is long enough to say.
    fn rate(&self, mtu: u64) -> Option<u64> {
        let (bytes, last) = self.acked;
        let time = last.saturating_duration_since(self.first_ack);
        (bytes >= TRAIN_DATAGRAMS_MIN * mtu).then(|| rate_of(bytes, time))
    }
}

/// Fewer say more about when the receiver acknowledges than about the link.
const TRAIN_DATAGRAMS_MIN: u64 = 6;

const TRAIN_COUNT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ten_packets_at_once_show_the_rate() {
        let epoch = Instant::now();
        let mut trains = Trains::new();
        assert_eq!(trains.bound(), None);
        // Two at a time, 2 ms apart: 1 MB/s.
        for pair in 0..5 {
            let now = epoch + Duration::from_millis(600 + pair * 2);
            trains.ack(now, epoch, 1_000, 1_000);
            trains.ack(now, epoch, 1_000, 1_000);
        }
        assert_eq!(trains.bound(), None, "more of it may come");
        let next = epoch + Duration::from_millis(700);
        trains.ack(next + Duration::from_millis(600), next, 1_000, 1_000);
        assert_eq!(trains.bound(), Some(1_000_000));
    }

    /// The last acknowledgement of a train was lost, and its end acknowledged with the next train,
    /// a round trip later: the link seemed to be a fiftieth of what it was, and start-up ended.
    #[test]
    fn an_end_that_is_acknowledged_with_the_next_train_does_not_count() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let mut trains = Trains::new();
        for pair in 0..4 {
            trains.ack(at(600 + pair * 2), epoch, 1_000, 1_000);
            trains.ack(at(600 + pair * 2), epoch, 1_000, 1_000);
        }
        trains.ack(at(1_202), epoch, 1_000, 1_000);
        trains.ack(at(1_202), epoch, 1_000, 1_000);
        trains.ack(at(1_202), at(600), 1_000, 1_000);
        assert_eq!(trains.bound(), Some(1_000_000));
    }
}
