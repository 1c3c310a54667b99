//! A link as it is asked for on a command line, and what that means for each direction. Pure.

use clap::{Args, value_parser};

use super::direction::{PPB, Settings};
use super::outages::{Every, Outages, Span, nanoseconds};
use super::tally::Way;

/// What a link does to packets.
#[derive(Args, Clone, Debug)]
pub struct LinkOptions {
    /// Delay each way, in milliseconds
    #[arg(long, default_value_t = 300.0, value_name = "MS")]
    pub delay_ms: f64,
    /// Largest deviation of the delay, either way
    #[arg(long, default_value_t = 0.0, value_name = "MS")]
    pub jitter_ms: f64,
    /// Let jitter reorder packets
    #[arg(long)]
    pub reorder: bool,
    /// Packets lost on the air, in each direction, as a part of those sent
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub loss_percent: f64,
    /// Lose packets in bursts of this mean length (Gilbert-Elliott), the loss being the same
    #[arg(long, default_value_t = 1, value_name = "PACKETS",
        value_parser = value_parser!(u64).range(1..=10_000))]
    pub burst: u64,
    /// Rate from shore to site, in kbit/s of IP packets
    #[arg(long, default_value_t = 10_000, value_name = "KBIT",
        value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub rate_kbit: u64,
    /// Rate from site to shore [default: the same]
    #[arg(long, value_name = "KBIT",
        value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub rate_up_kbit: Option<u64>,
    /// Bytes that may wait in each direction [default: rate times round trip]
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u64).range(1500..=1 << 32))]
    pub queue_bytes: Option<u64>,
    /// Swallow everything from second START for LEN seconds
    #[arg(long, value_name = "START:LEN", value_delimiter = ',')]
    pub outage: Vec<Span>,
    /// Swallow everything in the last LEN seconds of every PERIOD
    #[arg(long, value_name = "PERIOD:LEN")]
    pub outage_every: Option<Every>,
    /// Seed of loss and jitter
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl Default for LinkOptions {
    /// 10 Mbit/s, 600 ms, and no fault.
    fn default() -> Self {
        Self {
            delay_ms: 300.0,
            jitter_ms: 0.0,
            reorder: false,
            loss_percent: 0.0,
            burst: 1,
            rate_kbit: 10_000,
            rate_up_kbit: None,
            queue_bytes: None,
            outage: Vec::new(),
            outage_every: None,
            seed: 1,
        }
    }
}

impl LinkOptions {
    /// The settings of one direction.
    ///
    /// # Errors
    /// If a number is not in its range.
    pub fn settings(&self, way: Way) -> Result<Settings, String> {
        if !(0.0..=100.0).contains(&self.loss_percent) {
            return Err(format!("a loss of {} % is not between 0 and 100", self.loss_percent));
        }
        let (delay_ns, jitter_ns) =
            (nanoseconds(self.delay_ms / 1e3)?, nanoseconds(self.jitter_ms / 1e3)?);
        if jitter_ns > delay_ns {
            return Err(format!("jitter of {} ms is more than the delay", self.jitter_ms));
        }
        let rate_bit_s = self.rate_bit_s(way);
        let product = u128::from(rate_bit_s) * u128::from(2 * delay_ns) / 8 / u128::from(PPB);
        let product = u64::try_from(product).unwrap_or(u64::MAX).max(QUEUE_SIZE_MIN);
        Ok(Settings {
            delay_ns,
            jitter_ns,
            reorder: self.reorder,
            // A percent is 10^7 parts in a billion; seconds are read to the billionth, too.
            loss_ppb: nanoseconds(self.loss_percent / 1e2)?,
            burst_packets: self.burst,
            rate_bit_s,
            queue_size: self.queue_bytes.unwrap_or(product),
            outages: self.outages(),
            seed: self.seed.wrapping_mul(2).wrapping_add(u64::from(way == Way::Up)),
        })
    }

    /// When the link is dead, in both directions.
    #[must_use]
    pub fn outages(&self) -> Outages {
        Outages::new(&self.outage, self.outage_every)
    }

    /// Bits a second of one direction.
    #[must_use]
    pub fn rate_bit_s(&self, way: Way) -> u64 {
        match way {
            Way::Down => self.rate_kbit * 1000,
            Way::Up => self.rate_up_kbit.unwrap_or(self.rate_kbit) * 1000,
        }
    }
}

/// Smallest queue that is chosen by itself, in bytes: ten full packets, a window's beginning.
const QUEUE_SIZE_MIN: u64 = 15_000;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        link: LinkOptions,
    }

    fn down(words: &str) -> Result<Settings, String> {
        let words = std::iter::once("link").chain(words.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.link.settings(Way::Down)
    }

    #[test]
    fn the_queue_is_one_product_of_rate_and_round_trip() {
        assert_eq!(down("").map(|settings| settings.queue_size), Ok(750_000));
        assert_eq!(down("--rate-kbit 64").map(|settings| settings.queue_size), Ok(15_000));
        assert_eq!(down("--queue-bytes 3000").map(|settings| settings.queue_size), Ok(3000));
    }

    #[test]
    fn percents_are_parts_in_a_billion() {
        assert_eq!(down("--loss-percent 1.5").map(|settings| settings.loss_ppb), Ok(15_000_000));
        assert_eq!(down("--loss-percent 100").map(|settings| settings.loss_ppb), Ok(PPB));
        assert!(down("--loss-percent 100.1").is_err() && down("--loss-percent=-1").is_err());
    }

    #[test]
    fn directions_have_their_own_rate_and_their_own_luck() {
        let link = LinkOptions { rate_up_kbit: Some(256), ..LinkOptions::default() };
        let both = [Way::Down, Way::Up].map(|way| link.settings(way).expect("in range"));
        assert_eq!(both.each_ref().map(|way| way.rate_bit_s), [10_000_000, 256_000]);
        assert_ne!(both[0].seed, both[1].seed);
    }

    #[test]
    fn outages_are_listed_with_commas() {
        let outages = down("--outage 1:1,5:0.5 --outage-every 120:30").map(|s| s.outages);
        let dead = |s| outages.as_ref().is_ok_and(|outages| outages.cover(s * PPB));
        assert!(dead(1) && dead(5) && dead(100) && !dead(3));
        assert!(down("--jitter-ms 301").is_err());
    }
}
