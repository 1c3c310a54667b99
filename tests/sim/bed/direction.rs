//! One direction of a link: queue, rate, loss, delay. Pure: told the time, it keeps packets and
//! gives them back when they are due.
//!
//! A packet waits for those before it, takes its time on the air, may be lost there (a lost packet
//! costs its time), and arrives a delay later. What would be on the air in an outage is swallowed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::NS_PER_S;
use super::outages::Outages;
use super::tally::Tally;
use crate::random::Random;

/// What a direction does to packets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the end of sending to arrival, in nanoseconds.
    pub delay_ns: u64,
    /// Largest deviation from it, either way, evenly distributed. At most `delay_ns` is subtracted.
    pub jitter_ns: u64,
    /// Whether jitter may let packets overtake each other.
    pub reorder: bool,
    /// Packets lost of 10^9, on average.
    pub loss_ppb: u64,
    /// Mean count of packets lost in a row; 1 is what chance does by itself.
    pub burst_packets: u64,
    /// Bits a second, IP headers included.
    pub rate_bit_s: u64,
    /// Bytes that may wait, with what is being sent.
    pub queue_size: u64,
    /// When it is dead.
    pub outages: Outages,
    /// Of loss and jitter.
    pub seed: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Direction {
    settings: Settings,
    random: Random,
    /// Whether the last packet was lost in a burst.
    bad: bool,
    /// When the link has sent what it was given.
    free_ns: u64,
    /// When the last packet arrives: none overtakes it.
    last_due_ns: u64,
    /// When the outages' clock was 0.
    begun_ns: u64,
    flying: BinaryHeap<Reverse<Flying>>,
    count: u64,
    tally: Tally,
}

/// A packet on its way; of two that arrive at once, the one that was given first goes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    due_ns: u64,
    index: u64,
    packet: Vec<u8>,
}

impl Direction {
    /// An idle link.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let random = Random::new(settings.seed);
        Self {
            settings,
            random,
            bad: false,
            free_ns: 0,
            last_due_ns: 0,
            begun_ns: 0,
            flying: BinaryHeap::new(),
            count: 0,
            tally: Tally::default(),
        }
    }

    /// Outages are counted from now, the tally begins at nothing. Packets on their way stay so.
    pub fn begin(&mut self, now_ns: u64) {
        self.begun_ns = now_ns;
        self.tally = Tally::default();
    }

    /// Takes a packet from the sending end.
    pub fn offer(&mut self, now_ns: u64, packet: Vec<u8>) {
        let len = packet.len() as u64;
        self.tally.offered.add(len);
        if self.is_dead(now_ns) {
            return self.tally.outage_dropped.add(len);
        }
        let waiting_ns = self.free_ns.saturating_sub(now_ns);
        let airtime_ns = airtime_ns(len, self.settings.rate_bit_s);
        if waiting_ns + airtime_ns > airtime_ns_of_queue(&self.settings) {
            return self.tally.tail_dropped.add(len);
        }
        self.free_ns = self.free_ns.max(now_ns) + airtime_ns;
        if self.is_dead(self.free_ns) {
            return self.tally.outage_dropped.add(len);
        }
        if self.loses() {
            return self.tally.lost.add(len);
        }
        let due_ns = self.due_ns();
        self.flying.push(Reverse(Flying { due_ns, index: self.count, packet }));
        self.count += 1;
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.flying.peek().map(|first| first.0.due_ns)
    }

    /// A packet that has arrived by now.
    pub fn take(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        if self.due()? > now_ns {
            return None;
        }
        let Reverse(first) = self.flying.pop()?;
        self.tally.delivered.add(first.packet.len() as u64);
        Some(first.packet)
    }

    /// Everything since [`Direction::begin`].
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn is_dead(&self, at_ns: u64) -> bool {
        self.settings.outages.cover(at_ns.saturating_sub(self.begun_ns))
    }

    /// Gilbert-Elliott with a bad state that loses all (Gilbert, "Capacity of a burst-noise
    /// channel", 1960): bursts of mean length b end with chance 1/b, and begin as often as makes
    /// the average loss p.
    fn loses(&mut self) -> bool {
        let Settings { loss_ppb: loss, burst_packets: burst, .. } = self.settings;
        if burst <= 1 || loss >= PPB {
            return self.random.below(PPB) < loss;
        }
        self.bad = if self.bad {
            self.random.below(burst) != 0
        } else {
            self.random.below(PPB) < PPB * loss / ((PPB - loss) * burst)
        };
        self.bad
    }

    fn due_ns(&mut self) -> u64 {
        let Settings { delay_ns, jitter_ns, reorder, .. } = self.settings;
        let varied = delay_ns + self.random.below(2 * jitter_ns + 1);
        let due_ns = self.free_ns + varied.saturating_sub(jitter_ns);
        if reorder {
            return due_ns;
        }
        self.last_due_ns = self.last_due_ns.max(due_ns);
        self.last_due_ns
    }
}

/// Parts in a billion.
pub(super) const PPB: u64 = 1_000_000_000;

/// Time that `len` bytes are on the air.
fn airtime_ns(len: u64, rate_bit_s: u64) -> u64 {
    let ns = u128::from(len) * 8 * u128::from(NS_PER_S) / u128::from(rate_bit_s.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX / 4)
}

fn airtime_ns_of_queue(settings: &Settings) -> u64 {
    airtime_ns(settings.queue_size, settings.rate_bit_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// 8 Mbit/s: a byte is a microsecond. 10 ms of delay, room for 10 packets of 1000 bytes.
    fn settings() -> Settings {
        Settings {
            delay_ns: 10 * MS,
            jitter_ns: 0,
            reorder: false,
            loss_ppb: 0,
            burst_packets: 1,
            rate_bit_s: 8_000_000,
            queue_size: 10_000,
            outages: Outages::default(),
            seed: 1,
        }
    }

    /// Which of `count` packets, one every 10 ms, are lost.
    fn losses(loss_ppb: u64, burst_packets: u64, seed: u64, count: usize) -> Vec<bool> {
        let mut link = Direction::new(Settings { loss_ppb, burst_packets, seed, ..settings() });
        let mut lost = Vec::with_capacity(count);
        for at in (0..).step_by(10_000_000).take(count) {
            let before = link.tally().lost.packets;
            link.offer(at, vec![0; 100]);
            lost.push(link.tally().lost.packets > before);
            while link.take(u64::MAX).is_some() {}
        }
        lost
    }

    #[test]
    fn a_packet_arrives_after_airtime_and_delay_and_not_before() {
        let mut link = Direction::new(settings());
        link.offer(5 * MS, vec![7; 1000]);
        assert_eq!(link.due(), Some(16 * MS));
        assert_eq!(link.take(16 * MS - 1), None);
        assert_eq!(link.take(16 * MS), Some(vec![7; 1000]));
        assert_eq!((link.due(), link.take(u64::MAX)), (None, None));
    }

    #[test]
    fn packets_wait_for_those_before_them() {
        let mut link = Direction::new(settings());
        for index in 0..3 {
            link.offer(0, vec![index; 1000]);
        }
        let mut times = Vec::new();
        while let Some(due) = link.due() {
            times.push((due / MS, link.take(due).map(|packet| packet[0])));
        }
        assert_eq!(times, [(11, Some(0)), (12, Some(1)), (13, Some(2))]);
    }

    #[test]
    fn the_queue_holds_its_size_and_no_byte_more() {
        let mut link = Direction::new(settings());
        for _ in 0..12 {
            link.offer(0, vec![0; 1000]);
        }
        assert_eq!(link.tally().tail_dropped.packets, 2);
        link.offer(MS, vec![0; 1001]);
        assert_eq!(link.tally().tail_dropped.packets, 3);
        link.offer(MS, vec![0; 1000]);
        assert_eq!(link.tally().tail_dropped.packets, 3);
        assert_eq!(link.tally().sent_bytes(), 11_000);
    }

    #[test]
    fn loss_is_what_was_asked_for_and_the_same_for_a_seed() {
        let lost = losses(PPB / 50, 1, 3, 50_000);
        let count = lost.iter().filter(|lost| **lost).count();
        // 2 % of 50,000 are 1000; the standard deviation is 31.
        assert!((875..1125).contains(&count), "{count}");
        assert_eq!(lost, losses(PPB / 50, 1, 3, 50_000));
        assert_ne!(lost, losses(PPB / 50, 1, 4, 50_000));
        assert!(losses(0, 1, 3, 1000).iter().all(|lost| !lost));
        assert!(losses(PPB, 8, 3, 1000).iter().all(|lost| *lost));
    }

    #[test]
    fn bursts_have_their_mean_length_and_the_same_loss() {
        let lost = losses(PPB / 20, 8, 5, 200_000);
        let count = lost.iter().filter(|lost| **lost).count();
        let bursts = lost.windows(2).filter(|pair| pair[1] && !pair[0]).count();
        assert!((9_000..11_000).contains(&count), "{count}");
        assert!((7.2..8.8).contains(&(count as f64 / bursts as f64)), "{count} in {bursts}");
    }

    #[test]
    fn an_outage_swallows_what_is_offered_and_what_is_on_the_air() {
        let span = "0.1:0.2".parse().expect("a span");
        let outages = Outages::new(&[span], None);
        let mut link = Direction::new(Settings { outages, ..settings() });
        link.begin(1000 * MS);
        for at in [1000, 1098, 1100, 1200, 1299, 1300] {
            link.offer(at * MS, vec![0; 1000]);
        }
        assert_eq!(link.tally().outage_dropped.packets, 3);
        // Sending begins before the outage and would end in it.
        let mut link =
            Direction::new(Settings { outages: Outages::new(&[span], None), ..settings() });
        link.offer(99 * MS + 1, vec![0; 1000]);
        assert_eq!(link.tally().outage_dropped.packets, 1);
    }

    #[test]
    fn jitter_keeps_its_bounds_and_by_default_the_order() {
        for reorder in [false, true] {
            let mut link = Direction::new(Settings { jitter_ns: 5 * MS, reorder, ..settings() });
            let mut order = Vec::new();
            for index in 0..100_u8 {
                link.offer(u64::from(index) * 2 * MS, vec![index; 1000]);
            }
            while let Some(due) = link.due() {
                let index = link.take(due).expect("it is due")[0];
                let flight = due - u64::from(index) * 2 * MS - MS;
                assert!((5 * MS..=15 * MS).contains(&flight), "{index}: {flight}");
                order.push(index);
            }
            assert_eq!(order.is_sorted(), !reorder);
        }
    }
}
