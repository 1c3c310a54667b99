//! What time a device may believe it is, when its clock may be wrong or dead.
//!
//! Known time is the latest of three: the clock, the newest issue time that the owner of the
//! timestamp key signed, and the time this program was built. It is a lower bound: metadata that
//! has expired by it has expired. This file owns the rule and the bytes that are kept between
//! runs; it never asks a clock.
//!
//! What is kept is only what signed metadata vouched for: a reading of the clock is kept once the
//! whole chain was accepted by it, which no reading past the earliest expiry can be. So a clock
//! that runs years ahead refuses updates while it does, and is forgotten when it is set right.

use std::fmt;

use jiff::SignedDuration;
pub use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limits::{CLOCK_AHEAD_DAYS_MAX, KNOWN_TIME_LEN_MAX};

/// How sure a known time is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The clock, now.
    Rtc,
    /// The clock at an earlier run, which signed metadata vouched for; it has gone back since.
    Kept,
    /// The newest signed issue time: it is at least that late.
    Signed,
    /// The time this program was built: it is at least that late.
    Build,
}

/// A lower bound of the time, and where it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownTime {
    /// It is at least this late.
    pub at: Timestamp,
    /// Who says so.
    pub source: Source,
}

/// What tells a run the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The device's clock, if it has one.
    pub rtc: Option<Timestamp>,
    /// When this program was built.
    pub build: Timestamp,
}

/// What the clock is worth, beside what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockFault {
    /// The device has no clock.
    None,
    /// It is before a time that has certainly passed: a dead battery reads 1970.
    Behind,
    /// It is further ahead of all that is known than a device lives: a broken clock.
    Absurd,
}

/// The times that a run has seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    clock: Clock,
    kept: Option<Kept>,
    issued: Option<Timestamp>,
}

/// What is kept between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Latest time that signed metadata vouched for.
    known: KnownTime,
    /// Issue time of the newest timestamp whose chain was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued: Option<Timestamp>,
}

impl Times {
    /// What an earlier run kept, and this run's clock. `None` if what was kept is damaged.
    pub(crate) fn new(clock: Clock, kept: Option<&[u8]>) -> (Self, bool) {
        let fits = |bytes: &&[u8]| bytes.len() as u64 <= KNOWN_TIME_LEN_MAX;
        let parsed = kept.filter(fits).and_then(|bytes| serde_json::from_slice(bytes).ok());
        let damaged = kept.is_some() && parsed.is_none();
        let issued = parsed.and_then(|kept: Kept| kept.issued);
        (Self { clock, kept: parsed, issued }, damaged)
    }

    /// A signed timestamp says when it was issued.
    pub(crate) fn saw_issue(&mut self, issued: Timestamp) {
        self.issued = self.issued.max(Some(issued));
    }

    /// Issue time of the newest signed timestamp.
    pub(crate) fn issued(&self) -> Option<Timestamp> {
        self.issued
    }

    /// What the clock does not tell, if it is not believed.
    pub(crate) fn fault(&self) -> Option<ClockFault> {
        let floor = self.floor().at;
        match self.clock.rtc {
            None => Some(ClockFault::None),
            Some(rtc) if rtc < floor => Some(ClockFault::Behind),
            Some(rtc) if rtc.duration_since(floor) > ahead_max() => Some(ClockFault::Absurd),
            Some(_) => None,
        }
    }

    /// The latest time that it certainly is.
    pub(crate) fn known(&self) -> KnownTime {
        match (self.fault(), self.clock.rtc) {
            (None, Some(at)) => KnownTime { at, source: Source::Rtc },
            _ => self.floor(),
        }
    }

    /// The time to judge expiry by, where a site may be stale for `allowance`: never before the
    /// newest signed issue time, so that an allowance cannot excuse what was stale when issued.
    pub(crate) fn effective(&self, allowance: SignedDuration) -> Timestamp {
        let lowered = self.known().at.checked_sub(allowance).unwrap_or(Timestamp::MIN);
        self.issued.map_or(lowered, |issued| lowered.max(issued))
    }

    /// What to keep after the whole chain was accepted, whose earliest expiry is `expires`.
    ///
    /// # Panics
    /// Never: times serialise.
    pub(crate) fn to_keep(self, expires: Timestamp) -> Vec<u8> {
        let known = self.known();
        // The clock is vouched for only by metadata that has not expired by it.
        let vouched = known.source != Source::Rtc || known.at <= expires;
        let known = if vouched { known } else { self.floor() };
        let kept = Kept { known, issued: self.issued };
        serde_json::to_vec(&kept).expect("times serialise")
    }

    /// The latest of all but the clock.
    fn floor(&self) -> KnownTime {
        let mut floor = KnownTime { at: self.clock.build, source: Source::Build };
        let kept = self.kept.map(|kept| match kept.known.source {
            Source::Rtc => KnownTime { source: Source::Kept, ..kept.known },
            _ => kept.known,
        });
        let issued = self.issued.map(|at| KnownTime { at, source: Source::Signed });
        for other in [kept, issued].into_iter().flatten() {
            if other.at > floor.at {
                floor = other;
            }
        }
        floor
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rtc => "the device's clock",
            Self::Kept => "the device's clock at an earlier run",
            Self::Signed => "the newest signed timestamp",
            Self::Build => "the build of this program",
        })
    }
}

/// Days as a duration.
pub(crate) fn days(count: u32) -> SignedDuration {
    SignedDuration::from_hours(i64::from(count) * 24)
}

fn ahead_max() -> SignedDuration {
    days(CLOCK_AHEAD_DAYS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn times(rtc: &str, kept: Option<&[u8]>) -> Times {
        let clock = Clock { rtc: Some(at(rtc)), build: at("2026-01-01T00:00:00Z") };
        Times::new(clock, kept).0
    }

    #[test]
    fn dead_clock_is_outvoted_by_the_build_and_by_what_was_signed() {
        let mut times = times("1970-01-01T00:00:07Z", None);
        assert_eq!(times.known().source, Source::Build);
        assert_eq!(times.fault(), Some(ClockFault::Behind));
        times.saw_issue(at("2026-05-01T00:00:00Z"));
        let known = KnownTime { at: at("2026-05-01T00:00:00Z"), source: Source::Signed };
        assert_eq!(times.known(), known);
    }

    #[test]
    fn time_never_goes_back_between_runs() {
        let first = times("2026-07-01T00:00:00Z", None);
        let kept = first.to_keep(at("2026-08-01T00:00:00Z"));
        let second = times("1970-01-01T00:00:00Z", Some(&kept));
        let known = KnownTime { at: at("2026-07-01T00:00:00Z"), source: Source::Kept };
        assert_eq!(second.known(), known);
        let third = times("1970-01-01T00:00:00Z", Some(&second.to_keep(Timestamp::MAX)));
        assert_eq!(third.known(), known);
    }

    #[test]
    fn clock_past_the_expiry_of_what_was_accepted_is_not_kept() {
        let mut wrong = times("2031-01-01T00:00:00Z", None);
        wrong.saw_issue(at("2026-07-01T00:00:00Z"));
        assert_eq!(wrong.known().source, Source::Rtc);
        let kept = wrong.to_keep(at("2026-08-01T00:00:00Z"));
        let set_right = times("2026-07-02T00:00:00Z", Some(&kept));
        assert_eq!(set_right.known().at, at("2026-07-02T00:00:00Z"));
    }

    #[test]
    fn clock_a_lifetime_ahead_is_broken_and_not_believed() {
        for (rtc, fault) in [
            ("2045-12-01T00:00:00Z", None),
            ("2046-02-01T00:00:00Z", Some(ClockFault::Absurd)),
            ("2106-02-07T06:28:15Z", Some(ClockFault::Absurd)),
        ] {
            assert_eq!(times(rtc, None).fault(), fault, "{rtc}");
        }
    }

    #[test]
    fn allowance_lowers_the_time_but_not_below_what_was_signed() {
        let mut times = times("2026-07-01T00:00:00Z", None);
        assert_eq!(times.effective(days(30)), at("2026-06-01T00:00:00Z"));
        times.saw_issue(at("2026-06-15T00:00:00Z"));
        assert_eq!(times.effective(days(30)), at("2026-06-15T00:00:00Z"));
        assert_eq!(times.effective(days(0)), at("2026-07-01T00:00:00Z"));
    }

    #[test]
    fn damaged_kept_time_is_said_and_ignored() {
        let clock = Clock { rtc: None, build: at("2026-01-01T00:00:00Z") };
        for kept in [&b"{"[..], b"{\"known\":1}", &[b' '; 5000]] {
            let (times, damaged) = Times::new(clock, Some(kept));
            assert!(damaged);
            assert_eq!(times.known().source, Source::Build);
        }
        assert!(!Times::new(clock, None).1);
    }
}
