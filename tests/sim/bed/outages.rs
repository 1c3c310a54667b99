//! When a link is dead, and what a link without any other fault could carry in between. Pure.

use std::fmt;
use std::str::FromStr;

use super::NS_PER_S;

/// Spans of time in which a link swallows everything, in nanoseconds since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outages {
    /// Single ones: start and end, the end not included.
    spans: Vec<(u64, u64)>,
    /// Recurring: the last `len` of every `period`.
    every: Option<Every>,
}

/// `120:30`: the last 30 s of every 120 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    period_ns: u64,
    len_ns: u64,
}

/// `30:5`: from second 30, for 5 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start_ns: u64,
    len_ns: u64,
}

impl Outages {
    /// Single outages and a recurring one.
    #[must_use]
    pub fn new(spans: &[Span], every: Option<Every>) -> Self {
        let ends = |span: &Span| (span.start_ns, span.start_ns.saturating_add(span.len_ns));
        Self { spans: spans.iter().map(ends).collect(), every }
    }

    /// Whether the link is dead at a time.
    #[must_use]
    pub fn cover(&self, at_ns: u64) -> bool {
        self.spans.iter().any(|(start, end)| (*start..*end).contains(&at_ns))
            || self.every.is_some_and(|every| {
                at_ns % every.period_ns >= every.period_ns.saturating_sub(every.len_ns)
            })
    }

    /// Shortest time in which `size` bytes pass at `rate_bit_s`, in nanoseconds: a fluid that
    /// stands still in outages, without delay, loss or headers. `u64::MAX` if it never does.
    #[must_use]
    pub fn fluid_ns(&self, size: u64, rate_bit_s: u64) -> u64 {
        let bit_ns = u128::from(size) * 8 * u128::from(NS_PER_S);
        let mut needed =
            u64::try_from(bit_ns / u128::from(rate_bit_s.max(1))).unwrap_or(FLUID_NS_MAX);
        let mut at = 0;
        while at < FLUID_NS_MAX {
            let change = self.next_change(at);
            let alive = if self.cover(at) { 0 } else { change.saturating_sub(at) };
            if needed <= alive {
                let end = at.saturating_add(needed);
                return if end < FLUID_NS_MAX { end } else { u64::MAX };
            }
            needed -= alive;
            at = change;
        }
        u64::MAX
    }

    /// Spans of outage before `end_ns`, joined where they touch.
    #[must_use]
    pub fn before(&self, end_ns: u64) -> Vec<(u64, u64)> {
        let (mut found, mut at): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
        while at < end_ns {
            let change = self.next_change(at).min(end_ns);
            if self.cover(at) {
                match found.last_mut() {
                    Some(last) if last.1 == at => last.1 = change,
                    _ => found.push((at, change)),
                }
            }
            at = change;
        }
        found
    }

    /// The first time after `at_ns` at which an outage may begin or end.
    fn next_change(&self, at_ns: u64) -> u64 {
        let ends = self.spans.iter().flat_map(|(start, end)| [*start, *end]);
        let recurring = self.every.into_iter().flat_map(|every| {
            let period = at_ns / every.period_ns * every.period_ns;
            let alive = every.period_ns.saturating_sub(every.len_ns);
            [period.saturating_add(alive), period.saturating_add(every.period_ns)]
        });
        ends.chain(recurring).filter(|change| *change > at_ns).min().unwrap_or(u64::MAX)
    }
}

impl Every {
    /// The last `len_s` of every `period_s`.
    ///
    /// # Errors
    /// If an outage is as long as its period, or the period is nothing.
    pub fn new(period_s: f64, len_s: f64) -> Result<Self, String> {
        let (period_ns, len_ns) = (nanoseconds(period_s)?, nanoseconds(len_s)?);
        if len_ns >= period_ns {
            return Err(format!("an outage of {len_s} s every {period_s} s leaves no link"));
        }
        Ok(Self { period_ns, len_ns })
    }
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (period_s, len_s) = pair(text)?;
        Self::new(period_s, len_s)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (start_s, len_s) = pair(text)?;
        Ok(Self { start_ns: nanoseconds(start_s)?, len_ns: nanoseconds(len_s)? })
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s every {} s", self.len_ns / NS_PER_S, self.period_ns / NS_PER_S)
    }
}

/// A fluid that takes longer than this takes for ever: 30 days.
const FLUID_NS_MAX: u64 = 30 * 86_400 * NS_PER_S;

fn pair(text: &str) -> Result<(f64, f64), String> {
    let parts = text.split_once(':').ok_or_else(|| format!("`{text}` is not `seconds:seconds`"))?;
    let number = |part: &str| part.parse().map_err(|_| format!("`{part}` is no number of seconds"));
    Ok((number(parts.0)?, number(parts.1)?))
}

/// Seconds of an option as nanoseconds: not negative, at most 30 days.
pub(super) fn nanoseconds(s: f64) -> Result<u64, String> {
    let duration = std::time::Duration::try_from_secs_f64(s).map_err(|why| why.to_string())?;
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if ns > FLUID_NS_MAX { Err(format!("{s} s is more than 30 days")) } else { Ok(ns) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outages(spans: &[&str], every: Option<&str>) -> Outages {
        let spans: Vec<Span> = spans.iter().filter_map(|text| text.parse().ok()).collect();
        Outages::new(&spans, every.and_then(|text| text.parse().ok()))
    }

    #[test]
    fn a_span_begins_at_its_start_and_is_over_at_its_end() {
        let outages = outages(&["2:1.5"], None);
        let at = |ms: u64| outages.cover(ms * 1_000_000);
        assert_eq!([at(1999), at(2000), at(3499), at(3500)], [false, true, true, false]);
    }

    #[test]
    fn a_recurring_outage_ends_each_period() {
        let outages = outages(&[], Some("120:30"));
        let at = |s: u64| outages.cover(s * NS_PER_S);
        assert_eq!([at(0), at(89), at(90), at(119), at(120)], [false, false, true, true, false]);
        assert!(at(120 * 1000 + 95));
    }

    #[test]
    fn a_fluid_stands_still_in_outages() {
        // 1000 bytes at 8 kbit/s are one second.
        let plain = outages(&[], None);
        assert_eq!(plain.fluid_ns(1000, 8000), NS_PER_S);
        let cut = outages(&["0.5:2"], None);
        assert_eq!(cut.fluid_ns(500, 8000), NS_PER_S / 2);
        assert_eq!(cut.fluid_ns(1000, 8000), 3 * NS_PER_S);
        let often = outages(&[], Some("10:5"));
        assert_eq!(often.fluid_ns(12_000, 8000), 22 * NS_PER_S);
        assert_eq!(plain.fluid_ns(u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn spans_that_touch_are_one() {
        let outages = outages(&["1:1", "2:1"], Some("10:2"));
        let s = NS_PER_S;
        assert_eq!(outages.before(15 * s), [(s, 3 * s), (8 * s, 10 * s)]);
        assert_eq!(outages.before(9 * s), [(s, 3 * s), (8 * s, 9 * s)]);
    }

    #[test]
    fn an_outage_that_never_ends_is_refused() {
        assert!("30:30".parse::<Every>().is_err());
        assert!("0:0".parse::<Every>().is_err());
        assert!("5".parse::<Span>().is_err() && "a:1".parse::<Span>().is_err());
        assert!("-1:1".parse::<Span>().is_err());
    }
}
