//! What is measured on a site: how many devices, which link, which method, who is killed.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum, value_parser};
use neap_sim::bed::options::LinkOptions;
use serde::{Deserialize, Serialize};

/// Options of one run.
#[derive(Args, Clone, Debug)]
pub struct Scenario {
    /// How the devices get the blob
    #[arg(long, value_enum, default_value_t = Method::HttpCubic)]
    pub method: Method,
    /// Devices on the LAN
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=200))]
    pub devices: u32,
    /// Bytes of the blob
    #[arg(long, default_value_t = 10_000_000,
        value_parser = value_parser!(u64).range(1..=4 << 30))]
    pub blob_bytes: u64,
    /// Let a TCP download without end, on a device of its own, share the link
    #[arg(long, value_enum, value_name = "CONTROL")]
    pub rival: Option<Congestion>,
    /// SIGKILL the process of a device at a second, as 2:30; may be given more than once
    #[arg(long, value_name = "DEVICE:SECOND")]
    pub kill_at: Vec<Kill>,
    /// Start a killed process again after this many seconds
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    pub restart_after: f64,
    /// Give a device another address at a second, as 2:30; may be given more than once
    #[arg(long, value_name = "DEVICE:SECOND")]
    pub readdress_at: Vec<Kill>,
    /// Tell devices of the shore alone; they find each other by multicast DNS (neap)
    #[arg(long)]
    pub discover: bool,
    /// Let this device say that it has everything and give wrong bytes (neap)
    #[arg(long, value_name = "DEVICE")]
    pub liar: Option<u32>,
    /// End the run after this many seconds
    #[arg(long, default_value_t = 3600.0, value_name = "S")]
    pub time_limit: f64,
    /// Goodput is measured from this second on
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    pub startup: f64,
    /// The link
    #[command(flatten)]
    pub link: LinkOptions,
}

/// How devices get a blob from shore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// `curl` on each device by itself, TCP with CUBIC
    HttpCubic,
    /// `curl` on each device by itself, TCP with BBR
    HttpBbr,
    /// `neap fetch` on each device, `neap serve` on shore
    Neap,
}

/// Congestion control of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Congestion {
    /// What most TCP connections use.
    Cubic,
    /// What is made for links like these.
    Bbr,
}

/// What happens to a device: its process is killed, or its address changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// The device, from 1.
    pub device: u32,
    /// Seconds since the devices were started.
    pub t_s: f64,
}

impl FromStr for Kill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':');
        let read = parts.and_then(|(device, second)| {
            Some(Self { device: device.parse().ok()?, t_s: second.parse().ok()? })
        });
        let is_good = |kill: &Self| kill.device > 0 && kill.t_s >= 0.0;
        read.filter(is_good).ok_or_else(|| format!("`{text}` is not `device:second`, as 2:30"))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HttpCubic => "HTTP, curl, CUBIC",
            Self::HttpBbr => "HTTP, curl, BBR",
            Self::Neap => "neap",
        })
    }
}

impl fmt::Display for Congestion {
    /// As the kernel calls it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        })
    }
}

/// The link in a few words: `10000/1000 kbit/s, 600 ms, 1 % loss in bursts of 8`.
#[must_use]
pub fn link_words(link: &LinkOptions) -> String {
    let mut words = match link.rate_up_kbit {
        Some(up) if up != link.rate_kbit => format!("{}/{up} kbit/s", link.rate_kbit),
        _ => format!("{} kbit/s", link.rate_kbit),
    };
    words.push_str(&format!(", {} ms, {} % loss", 2.0 * link.delay_ms, link.loss_percent));
    if link.burst > 1 {
        words.push_str(&format!(" in bursts of {}", link.burst));
    }
    if let Some(every) = link.outage_every {
        words.push_str(&format!(", out {every}"));
    }
    if !link.outage.is_empty() {
        words.push_str(&format!(", outages: {}", link.outage.len()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_names_device_and_second() {
        assert_eq!("2:30.5".parse(), Ok(Kill { device: 2, t_s: 30.5 }));
        for text in ["2", "0:1", "1:-1", "a:1", "1:b", "1:2:3"] {
            assert!(text.parse::<Kill>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_link_is_told_in_a_few_words() {
        let link = LinkOptions {
            rate_up_kbit: Some(256),
            loss_percent: 1.5,
            burst: 8,
            outage_every: "120:30".parse().ok(),
            ..LinkOptions::default()
        };
        let words = "10000/256 kbit/s, 600 ms, 1.5 % loss in bursts of 8, out 30 s every 120 s";
        assert_eq!(link_words(&link), words);
        assert_eq!(link_words(&LinkOptions::default()), "10000 kbit/s, 600 ms, 0 % loss");
    }
}
