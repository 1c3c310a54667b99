//! What one peer may be sent in a day: a device that asks without end, by mistake or on purpose,
//! must not use up the link of those who serve it. Counted for as long as the node runs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits::QUOTA_PEERS_MAX;

/// A day, by a clock that nobody sets.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes sent to each peer. Times count from any start.
#[derive(Debug)]
pub struct Quota {
    day_bytes: u64,
    /// When a peer's day began, and what it was sent since.
    sent: BTreeMap<String, (Duration, u64)>,
}

impl Quota {
    /// At most `day_bytes` to each peer in 24 hours.
    #[must_use]
    pub fn new(day_bytes: u64) -> Self {
        Self { day_bytes, sent: BTreeMap::new() }
    }

    /// Whether so many bytes may still be sent to a peer; if so, they are counted.
    pub fn take(&mut self, peer: &str, bytes: u64, now: Duration) -> bool {
        if !self.sent.contains_key(peer) {
            self.sent.retain(|_, (since, _)| now.saturating_sub(*since) < DAY);
            // More names than a fleet has at a time: whoever comes last waits for a day to end.
            if self.sent.len() >= QUOTA_PEERS_MAX {
                return false;
            }
        }
        let (since, sent) = self.sent.entry(peer.to_owned()).or_insert((now, 0));
        if now.saturating_sub(*since) >= DAY {
            (*since, *sent) = (now, 0);
        }
        let allowed = sent.saturating_add(bytes) <= self.day_bytes;
        if allowed {
            *sent += bytes;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_own_and_gets_it_anew_after_a_day() {
        let mut quota = Quota::new(100);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert!(quota.take("pump-1", 100, hours(5)));
        assert!(!quota.take("pump-1", 1, hours(6)));
        assert!(quota.take("pump-2", 60, hours(6)));
        assert!(!quota.take("pump-2", 60, hours(7)), "what is refused is not counted");
        assert!(quota.take("pump-2", 40, hours(7)));
        assert!(!quota.take("pump-1", 1, hours(28)));
        assert!(quota.take("pump-1", 100, hours(29)));
        assert!(!quota.take("pump-1", u64::MAX, hours(29)));
    }

    #[test]
    fn names_without_number_take_no_memory_without_bound() {
        let mut quota = Quota::new(100);
        for number in 0..2 * QUOTA_PEERS_MAX {
            quota.take(&number.to_string(), 1, Duration::ZERO);
        }
        assert_eq!(quota.sent.len(), QUOTA_PEERS_MAX);
        assert!(quota.take("new", 1, DAY), "days end, and names with them");
        assert_eq!(quota.sent.len(), 1);
    }
}
