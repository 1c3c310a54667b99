//! Hours of a day, UTC, in which a link may be used.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::shown;

/// From one minute of the day to before another, UTC; past midnight if it ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    /// 0 to 1439.
    start_min: u16,
    /// 0 to 1440, and not the start.
    end_min: u16,
}

impl Hours {
    /// Reads `HH:MM-HH:MM`: `22:00-06:00`, `08:00-24:00`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is not HH:MM-HH:MM", shown(text));
        let (start, end) = text.split_once('-').ok_or_else(wrong)?;
        let (start_min, end_min) =
            (minute(start).ok_or_else(wrong)?, minute(end).ok_or_else(wrong)?);
        match () {
            () if start_min == DAY_MIN => Err(format!("`{text}` begins at 24:00, which is 00:00")),
            () if start_min == end_min => {
                Err(format!("`{text}` is no time at all; a whole day is 00:00-24:00"))
            }
            () => Ok(Self { start_min, end_min }),
        }
    }

    /// Whether this moment is in them.
    #[must_use]
    pub fn contains(self, now: Timestamp) -> bool {
        let minute = second_of_day(now) / 60;
        let (start, end) = (i64::from(self.start_min), i64::from(self.end_min));
        match start < end {
            true => (start..end).contains(&minute),
            false => minute >= start || minute < end,
        }
    }

    /// When they begin next, from now on.
    pub(super) fn next_start(self, now: Timestamp) -> Timestamp {
        let wait = (i64::from(self.start_min) * 60 - second_of_day(now)).rem_euclid(DAY_S);
        // At the end of all time there is no next day.
        Timestamp::from_second(second(now) + wait).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start_min, self.end_min);
        write!(f, "{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        hours.to_string()
    }
}

/// `HH:MM` as minutes, up to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str, max: u16| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| digits && *number <= max)
    };
    let minutes = two(hour, 24)? * 60 + two(minute, 59)?;
    (minutes <= DAY_MIN).then_some(minutes)
}

/// The whole second that a moment is in.
fn second(now: Timestamp) -> i64 {
    now.as_millisecond().div_euclid(1000)
}

/// 0 to 86,399.
fn second_of_day(now: Timestamp) -> i64 {
    second(now).rem_euclid(DAY_S)
}

/// Minutes of a day.
const DAY_MIN: u16 = 24 * 60;

/// Seconds of a day; UTC as jiff counts it has no leap seconds.
const DAY_S: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hours_are_shown_as_they_are_written() {
        for text in ["22:00-06:00", "08:05-17:59", "00:00-24:00", "23:59-00:00"] {
            assert_eq!(Hours::parse(text).map(|hours| hours.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn neighbours_of_hours_are_refused() {
        for text in [
            "",
            "-",
            "22:00",
            "22:00-",
            "22-06",
            "22:00-06:60",
            "25:00-06:00",
            "22:00-24:01",
            "24:00-06:00",
            "06:00-06:00",
            "+2:00-06:00",
            "2:00-06:00",
            "22:00 - 06:00",
            "22:00-06:00-07:00",
            "22:000-06:00",
        ] {
            assert!(Hours::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn next_start_is_within_a_day_and_open_and_nothing_before_it_is(
            start in 0_u16..1440,
            len in 1_u16..1440,
            now_s in -100_000_i64..4_000_000_000,
        ) {
            let hours = Hours { start_min: start, end_min: (start + len) % 1440 };
            let now = Timestamp::from_second(now_s).expect("a time");
            let next = hours.next_start(now);
            prop_assert!(next >= now && next.as_second() - now_s < DAY_S);
            prop_assert!(hours.contains(next));
            let before = Timestamp::from_second(next.as_second() - 1).expect("a time");
            prop_assert!(!hours.contains(before));
        }
    }
}
