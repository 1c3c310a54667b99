//! Links: what a byte over each costs, when it may be used, and how long a session on it may idle.
//!
//! A [`Profile`] is what the configuration says of a link, completed by the defaults of its
//! [`Class`]. Counting what crosses it is [`crate::budget`]'s. Nothing here asks a clock.

mod hours;
mod price;

use std::time::Duration;

use jiff::Timestamp;
use neap_trust::profile::Budget;
use serde::{Deserialize, Serialize};

pub use hours::Hours;
pub use price::{Price, money};

use crate::budget::Limits;
use crate::limits::{ASKED_LEN_MAX, SPAN_GROUPS};

/// What kind of link it is, the cheapest first.
///
/// | class | is | metered | round trip | idle timeout | keep-alive if not metered |
/// |-------|----|---------|------------|--------------|---------------------------|
/// | `lan` | the site's own network | no | 2 ms | 6 s | 2 s |
/// | `port` | a quay's network, a mobile network, a ship alongside | no | 80 ms | 60 s | 20 s |
/// | `sat` | a satellite, or whatever else is dear and slow | yes | 700 ms | 120 s | 40 s |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The site's own network: a byte costs nothing.
    Lan,
    /// What a site sees where it is near others.
    Port,
    /// What a site has everywhere, at a price.
    Sat,
}

impl Class {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Lan, Self::Port, Self::Sat];

    /// What it is called in files, metrics and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Port => "port",
            Self::Sat => "sat",
        }
    }

    /// Whether a byte costs money unless something else is said.
    #[must_use]
    pub const fn is_metered(self) -> bool {
        matches!(self, Self::Sat)
    }

    /// A round trip, in milliseconds, until one was measured.
    #[must_use]
    pub const fn rtt_ms(self) -> u64 {
        match self {
            Self::Lan => 2,
            Self::Port => 80,
            Self::Sat => 700,
        }
    }

    /// How long a connection may be silent, in milliseconds. On a LAN, so long is waited for what a
    /// killed member fetched. Over a satellite it must outlast an
    /// outage of half a minute and the time that loss recovery has backed off to by then.
    #[must_use]
    pub const fn idle_ms(self) -> u64 {
        match self {
            Self::Lan => 6_000,
            Self::Port => 60_000,
            Self::Sat => 120_000,
        }
    }
}

/// A link, all its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What the configuration calls it.
    pub name: String,
    /// Its kind.
    pub class: Class,
    /// Most bits a second, if that is known.
    pub rate_bps: Option<u64>,
    /// A round trip, in milliseconds, if that is known.
    pub rtt_ms: Option<u64>,
    /// What a megabyte costs; none is nothing.
    pub price: Option<Price>,
    /// Most bytes for one update.
    pub update_bytes: Option<u64>,
    /// Most bytes in a day, UTC.
    pub day_bytes: Option<u64>,
    /// Most bytes in a month, UTC.
    pub month_bytes: Option<u64>,
    /// When it may be used; none is always.
    pub hours: Vec<Hours>,
    /// Whether a byte costs money: no keep-alive, and the signed budget of the site holds.
    pub metered: bool,
}

impl Profile {
    /// A link of which no more is known than its class.
    #[must_use]
    pub fn of_class(name: &str, class: Class) -> Self {
        Self {
            name: name.to_owned(),
            class,
            rate_bps: None,
            rtt_ms: None,
            price: None,
            update_bytes: None,
            day_bytes: None,
            month_bytes: None,
            hours: Vec::new(),
            metered: class.is_metered(),
        }
    }

    /// A round trip to begin with.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        Duration::from_millis(self.rtt_ms.unwrap_or(self.class.rtt_ms()))
    }

    /// How long a connection may be silent before it counts as lost.
    #[must_use]
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.class.idle_ms())
    }

    /// How often to say that we are still there; never where a byte costs money.
    #[must_use]
    pub fn keep_alive(&self) -> Option<Duration> {
        (!self.metered).then(|| self.idle_timeout() / 3)
    }

    /// Bytes to ask for at a time, so that the sender never waits for us. A question takes a round
    /// trip, and what was lost of an answer another one, in which nothing behind it counts as come;
    /// some is lost again. With 3 % loss four times what the link holds fill it, and twice do not
    /// (docs/congestion.md).
    #[must_use]
    pub fn window(&self) -> u64 {
        let Some(rate) = self.rate_bps else { return ASKED_LEN_MAX };
        let held = u128::from(rate / 8) * self.rtt().as_millis() / 1000;
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        held.saturating_mul(4).saturating_add(2 * SPAN_LEN).min(ASKED_LEN_MAX)
    }

    /// Whether it may be used now.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.hours.is_empty() || self.hours.iter().any(|hours| hours.contains(now))
    }

    /// When it may be used next: now, or when the first of its hours begins.
    #[must_use]
    pub fn next_open(&self, now: Timestamp) -> Timestamp {
        match self.is_open(now) {
            true => now,
            false => self.hours.iter().map(|hours| hours.next_start(now)).min().unwrap_or(now),
        }
    }

    /// What may cross it: the stricter of its own limits and, where a byte costs money, of the
    /// signed budget of the site.
    #[must_use]
    pub fn limits(&self, site: Option<&Budget>) -> Limits {
        let own = Limits {
            update_bytes: self.update_bytes,
            day_bytes: self.day_bytes,
            month_bytes: self.month_bytes,
        };
        match site {
            Some(budget) if self.metered => own.stricter(Limits::from(*budget)),
            _ => own,
        }
    }

    /// Sorts links by what a byte costs, the cheapest first: class, then metered or not, then
    /// price; then name, so that all peers of a site sort alike.
    #[must_use]
    pub fn rank(&self) -> (Class, bool, u64, &str) {
        let price = self.price.as_ref().map_or(0, Price::micros_per_mb);
        (self.class, self.metered, price, &self.name)
    }
}

/// A text from outside, short enough for a message and without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN_COUNT_MAX) {
        match c.is_control() {
            true => shown.extend(c.escape_debug()),
            false => shown.push(c),
        }
    }
    shown
}

/// What is asked for in one question, in bytes.
const SPAN_LEN: u64 = SPAN_GROUPS * neap_depot::limits::GROUP_LEN as u64;

/// Characters of a text from outside that a message repeats.
const SHOWN_COUNT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn sat() -> Profile {
        Profile::of_class("sat", Class::Sat)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    #[test]
    fn metered_links_are_never_kept_alive() {
        for class in Class::ALL {
            for metered in [false, true] {
                let link = Profile { metered, ..Profile::of_class("a", class) };
                assert_eq!(link.keep_alive().is_none(), metered, "{class:?}");
                assert!(link.keep_alive().is_none_or(|every| every * 2 < link.idle_timeout()));
            }
        }
        assert!(sat().metered);
    }

    #[test]
    fn table_of_classes_is_the_one_of_the_reference() {
        let (code, reference) = (include_str!("link.rs"), include_str!("../../docs/links.md"));
        for class in Class::ALL {
            let start = format!("| `{}` | ", class.name());
            let row =
                reference.lines().find(|row| row.starts_with(&start) && row.contains(" ms |"));
            let row = row.expect("a row of the class");
            assert!(code.contains(&format!("/// {row}\n")), "{row}");
            let metered = if class.is_metered() { "yes" } else { "no" };
            let (rtt, idle_s) = (class.rtt_ms(), class.idle_ms() / 1000);
            let end = format!("| {metered} | {rtt} ms | {idle_s} s | {} s |", idle_s / 3);
            assert!(row.ends_with(&end), "{row}: {end}");
        }
    }

    #[test]
    fn satellite_sessions_outlast_an_outage_of_half_a_minute() {
        assert!(sat().idle_timeout() > Duration::from_secs(60));
    }

    #[test]
    fn cheaper_links_come_first() {
        let priced = |name: &str, class, price: &str| Profile {
            price: Some(Price::parse(price).expect(price)),
            metered: true,
            ..Profile::of_class(name, class)
        };
        let mut links = [
            priced("dear", Class::Sat, "5 USD/MB"),
            priced("a-quay", Class::Port, "9 USD/MB"),
            priced("cheap", Class::Sat, "2 USD/GB"),
            Profile::of_class("quay", Class::Port),
            Profile::of_class("lan", Class::Lan),
            sat(),
        ];
        links.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let names: Vec<_> = links.iter().map(|link| &*link.name).collect();
        assert_eq!(names, ["lan", "quay", "a-quay", "sat", "cheap", "dear"]);
    }

    #[test]
    fn link_without_hours_is_always_open() {
        let now = at("2026-11-26T12:00:00Z");
        assert!(sat().is_open(now));
        assert_eq!(sat().next_open(now), now);
    }

    #[test]
    fn closed_link_opens_at_the_first_of_its_hours() {
        let hours = ["22:00-06:00", "13:30-14:00"].map(|text| Hours::parse(text).expect(text));
        let link = Profile { hours: hours.to_vec(), ..sat() };
        for (now, open, next) in [
            ("2026-11-26T05:59:59Z", true, "2026-11-26T05:59:59Z"),
            ("2026-11-26T06:00:00Z", false, "2026-11-26T13:30:00Z"),
            ("2026-11-26T13:29:59.5Z", false, "2026-11-26T13:30:00Z"),
            ("2026-11-26T13:30:00Z", true, "2026-11-26T13:30:00Z"),
            ("2026-11-26T14:00:00Z", false, "2026-11-26T22:00:00Z"),
            ("2026-11-30T22:00:00Z", true, "2026-11-30T22:00:00Z"),
        ] {
            assert_eq!(link.is_open(at(now)), open, "{now}");
            assert_eq!(link.next_open(at(now)), at(next), "{now}");
        }
    }

    #[test]
    fn signed_budget_holds_on_metered_links_alone_and_only_where_it_is_stricter() {
        let budget = Budget { update_bytes: None, day_bytes: Some(10), month_bytes: Some(50) };
        let own = Profile { update_bytes: Some(7), day_bytes: Some(20), ..sat() };
        let limits = own.limits(Some(&budget));
        let expected = Limits { update_bytes: Some(7), day_bytes: Some(10), month_bytes: Some(50) };
        assert_eq!(limits, expected);
        let free = Profile { metered: false, ..own.clone() };
        assert_eq!(free.limits(Some(&budget)), own.limits(None));
        assert_eq!(Profile::of_class("lan", Class::Lan).limits(None), Limits::default());
    }
}
