//! How fast packets were delivered, from acknowledgements alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Counts delivered bytes and keeps enough of the past to say at which rate they came.
///
/// The estimate is that of the BBR draft, section 4.1 (delivery rate): what was delivered between
/// the sending of a packet and its acknowledgement, over the time that took. The draft stores the
/// count with each packet; the trait names no packets, so it is looked up by the time of sending.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    delivered: u64,
    marks: VecDeque<Mark>,
    /// When the latest of the acknowledged packets was sent.
    newest_sent: Option<Instant>,
    /// Nothing is in flight: time that passes now is not the link's.
    is_idle: bool,
}

/// The count at a time.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    delivered: u64,
    newest_sent: Instant,
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self { delivered: 0, marks: VecDeque::new(), newest_sent: None, is_idle: true }
    }

    /// Packets were sent. Says whether nothing was in flight before.
    pub(super) fn send(&mut self, now: Instant) -> bool {
        let was_idle = self.is_idle;
        if was_idle {
            self.is_idle = false;
            self.newest_sent = Some(now);
            self.mark(now, Duration::ZERO);
        }
        was_idle
    }

    /// A packet sent at `sent` was acknowledged.
    pub(super) fn ack(&mut self, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.newest_sent = self.newest_sent.max(Some(sent));
    }

    /// The rate, in bytes per second, at which what was acknowledged since `sent` came. `None`
    /// where nothing is known about that time.
    pub(super) fn sample(&self, now: Instant, sent: Instant) -> Option<u64> {
        let index = self.marks.partition_point(|mark| mark.at <= sent).checked_sub(1)?;
        let mark = self.marks[index];
        // The slower of sending and acknowledging: acknowledgements that come in a lump would
        // otherwise look like a faster link.
        let sending = sent.saturating_duration_since(mark.newest_sent);
        let time = now.saturating_duration_since(mark.at).max(sending);
        Some(rate_of(self.delivered - mark.delivered, time))
    }

    /// A batch of acknowledgements has ended with so much in flight. Marks are at least `spacing`
    /// apart.
    pub(super) fn end_batch(&mut self, now: Instant, in_flight: u64, spacing: Duration) {
        self.is_idle = in_flight == 0;
        self.mark(now, spacing);
    }

    fn mark(&mut self, now: Instant, spacing: Duration) {
        let Some(newest_sent) = self.newest_sent else { return };
        if self.marks.back().is_some_and(|mark| now < mark.at + spacing) {
            return;
        }
        if self.marks.len() == MARK_COUNT_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark { at: now, delivered: self.delivered, newest_sent });
    }
}

/// Bytes per second.
pub(super) fn rate_of(bytes: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

/// Bytes that `rate`, in bytes per second, carries in `time`.
pub(super) fn bytes_in(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
}

/// The time that `bytes` take at `rate`, in bytes per second.
pub(super) fn time_of(bytes: u64, rate: u64) -> Duration {
    let micros = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Marks kept. They are a 128th of a round trip apart, so these reach eight round trips back: more
/// than the queue of any sane modem adds.
const MARK_COUNT_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_what_came_between_sending_and_acknowledgement() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let mut sampler = Sampler::new();
        assert!(sampler.send(at(0)));
        // A packet of 1,000 bytes each 10 ms, acknowledged after 600 ms: 100 kB/s.
        for count in 0..200 {
            assert!(!sampler.send(at(count * 10)));
            if let Some(sent) = (count * 10).checked_sub(600) {
                sampler.ack(at(sent), 1_000);
                sampler.end_batch(at(count * 10), 60_000, Duration::ZERO);
            }
        }
        let sample = sampler.sample(at(1_990), at(1_390));
        assert_eq!(sample, Some(100_000));
    }

    #[test]
    fn idle_time_is_not_the_links() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let mut sampler = Sampler::new();
        sampler.send(at(0));
        sampler.ack(at(0), 1_000);
        sampler.end_batch(at(100), 0, Duration::ZERO);
        assert!(sampler.send(at(60_000)));
        sampler.ack(at(60_000), 10_000);
        assert_eq!(sampler.sample(at(60_100), at(60_000)), Some(100_000));
    }

    #[test]
    fn acknowledgements_in_a_lump_are_not_a_faster_link() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let mut sampler = Sampler::new();
        sampler.send(at(0));
        for count in 0..10 {
            sampler.ack(at(count * 10), 1_000);
        }
        sampler.end_batch(at(190), 10_000, Duration::ZERO);
        sampler.ack(at(200), 10_000);
        // 10,000 bytes in 10 ms since the lump, but sent over 110 ms.
        assert_eq!(sampler.sample(at(200), at(200)), Some(90_909));
    }
}
