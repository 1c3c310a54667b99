//! Until when metadata shall be valid: a time, or so long from now.

use jiff::Timestamp;
use neap_trust::repo::When;

const DAY_S: i64 = 86_400;

/// A time, or so long from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// A time.
    At(Timestamp),
    /// Seconds from now.
    In(i64),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Expiry {
    /// Until when it is valid: 90d, 8w, 2y, or 2027-01-31T00:00:00Z [default: 365d, a root 730d]
    #[arg(long, value_name = "WHEN", value_parser = parse)]
    pub(crate) expires: Option<Until>,
}

impl Expiry {
    /// This change, made now.
    pub(crate) fn when(&self) -> When {
        let now = Timestamp::now();
        When { now, expires: self.expires.map(|until| until.at(now)) }
    }
}

impl Until {
    /// The time that it is, now.
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::In(seconds) => {
                let at = now.as_second().saturating_add(seconds);
                Timestamp::from_second(at).unwrap_or(Timestamp::MAX)
            }
        }
    }
}

/// `90d`, `8w`, `2y`, `12h`, `30s`, or a time as RFC 3339 has it.
pub(crate) fn parse(text: &str) -> Result<Until, String> {
    if let Ok(time) = text.parse() {
        return Ok(Until::At(time));
    }
    let wrong = || "expected 90d, 8w, 2y, 12h, 30s, or 2027-01-31T00:00:00Z".to_owned();
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "h" => 3600,
        "d" => DAY_S,
        "w" => 7 * DAY_S,
        "y" => 365 * DAY_S,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Until::In(i64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_are_read() {
        assert_eq!(parse("90d"), Ok(Until::In(90 * 86_400)));
        assert_eq!(parse("2y"), Ok(Until::In(730 * 86_400)));
        assert!(matches!(parse("2027-01-31T00:00:00Z"), Ok(Until::At(_))));
        for text in ["", "d", "90", "-1d", "1.5d", "90 d", "tomorrow", "9é"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
